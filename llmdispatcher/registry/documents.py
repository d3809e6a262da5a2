"""The documents of a registry: a vendor's current models, those of one version, and the list of vendors."""

from __future__ import annotations

from functools import partial

from .copies import Document
from .edition import Edition, read_edition, read_json
from .source import MANIFEST, VENDOR, document_path

USUAL = ("anthropic", "google", "openai")
"""The vendors of a registry that does not list its own."""
MOST_VENDORS = 64


def models_of(vendor: str, version: int | None = None) -> Document[Edition]:
    """A vendor's models: the current ones, or those of a version, which never changes."""
    path = document_path(vendor, version)
    return Document(path=path, parse=partial(_read, vendor, version), immutable=version is not None)


def _read(vendor: str, version: int | None, body: bytes) -> Edition:
    return read_edition(vendor, body, version)


def _listed(body: bytes) -> tuple[str, ...]:
    """The vendors that a manifest lists; what is no name is passed over."""
    document = read_json(body)
    providers = document.get("providers") if isinstance(document, dict) else None
    names = [name for name in (providers if isinstance(providers, dict) else ()) if VENDOR.fullmatch(name)]
    return tuple(names[:MOST_VENDORS]) or USUAL


VENDORS: Document[tuple[str, ...]] = Document(path=MANIFEST, parse=_listed)
"""The vendors that a registry lists."""
