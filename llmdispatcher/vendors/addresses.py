"""Where a vendor is asked: its base URL without the path of a call, and the address of each model."""

from __future__ import annotations

import re
from collections.abc import Callable

import attrs

from ..catalog import VendorRow
from ..errors import ConfigError
from ..types import base_url, name_in_path
from .config import VendorConfig

_CALLS = re.compile(
    r"(?:/chat/completions|/completions|/responses|/embeddings|/messages(?:/count_tokens)?|/api/(?:chat|generate|embed|tags)"
    r"|/(?:models|tunedModels)/[^/]+:[A-Za-z]+)$"
)
"""How the addresses of calls end, as consoles of vendors and gateways show them."""
_DEPLOYED = re.compile(r"/deployments(?:/[^/]+)?$")
_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}")


def root_of(row: VendorRow, address: str, field: str) -> str:
    """The base of an address, which may be that of a whole call; ``field`` is where it stands. Raises :class:`ConfigError`."""
    root = _CALLS.sub("", base_url(address, field))
    if row.name == "azure":
        root = _DEPLOYED.sub("", root)
    if row.codec == "anthropic_messages":  # its paths begin with the version
        root = root.removesuffix("/v1")
    return root


def check_version(version: str | None) -> str | None:
    """The version of an API, if an address can carry it."""
    if version is not None and (not _VERSION.fullmatch(version) or ".." in version):
        raise ConfigError(f"api_version: {version[:80]!r} is not a version; give one such as '2024-10-21'")
    return version


def addresses(row: VendorRow, config: VendorConfig, url: str) -> Callable[[str, str], str]:
    """Where a model is asked, given the path that its format wants."""
    if row.name == "azure":
        root, version = _azure(url, config)
        return _Deployments(root, version) if version is not None else lambda _model, path: root + path
    if row.codec == "ollama_chat":  # its own API and OpenAI's stand side by side
        root = url.removesuffix("/v1").removesuffix("/api")
        return lambda _model, path: root + (path if path.startswith("/api/") else f"/v1{path}")
    return lambda _model, path: url + path


@attrs.frozen
class _Deployments:
    """Azure's classic addresses: a deployment is part of most paths, the version of all.

    Lists of models and the Responses API belong to the resource.
    """

    root: str
    version: str

    def __call__(self, model: str, path: str) -> str:
        deployed = "" if path.startswith(("/responses", "/models")) else f"/deployments/{name_in_path(model, safe='')}"
        return f"{self.root}{deployed}{path}?api-version={self.version}"


def _azure(url: str, config: VendorConfig) -> tuple[str, str | None]:
    """Azure's two kinds of address: classic deployments with an api-version, or v1 without.

    https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    version = config.api_version
    if url.endswith("/openai/v1") or version in (None, "v1", "preview"):
        return (url if url.endswith("/v1") else f"{url.removesuffix('/openai')}/openai/v1"), None
    return f"{url.removesuffix('/openai')}/openai", version
