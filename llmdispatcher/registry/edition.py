"""One version of one vendor's models: read from the published document, bounded in every direction, good rows kept."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from ..errors import MalformedReply
from .rows import RegistryModel, plain

logger = logging.getLogger(__name__)

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of one document; the largest published one has 135,000."""
MOST_MODELS = 5_000
MOST_VALUES = 1_000_000
"""Values that a document may hold: small ones cost a hundred times their bytes once they are read."""
MOST_VERSION = 10**9
_TOLD = 5
_SUM = "content_sha256_jcs"


@attrs.frozen(kw_only=True)
class Edition:
    """A vendor's models by name, as of one version. ``updated_at`` is aware, ``None`` where the document does not say.

    ``names`` leads from every name and alias to the model's name. ``skipped`` says which rows are not used, and why. ``checksum``
    is what the document says of itself, ``body`` the document as it came.
    """

    vendor: str
    version: int
    updated_at: datetime | None
    models: Mapping[str, RegistryModel]
    names: Mapping[str, str] = attrs.field(init=False, repr=False, eq=False)
    skipped: tuple[str, ...] = ()
    checksum: str | None = None
    body: bytes = attrs.field(default=b"", repr=False, eq=False)

    @names.default
    def _all_names(self) -> Mapping[str, str]:
        """Of two models that claim an alias the one with the largest name has it; a model's own name is nobody's alias."""
        aliases = {alias: name for name in sorted(self.models) for alias in self.models[name].aliases}
        return aliases | {name: name for name in self.models}

    def find(self, name: str) -> RegistryModel | None:
        """The model of that name or alias, with or without the vendor before it."""
        listed = self.names.get(name.removeprefix(f"{self.vendor}:"))
        return None if listed is None else self.models[listed]

    def as_dict(self) -> dict[str, Any]:
        """The document in the published layout."""
        told = {"provider": self.vendor, "version": self.version, _SUM: self.checksum}
        if self.updated_at is not None:
            told["updated_at"] = self.updated_at.isoformat()
        models = {model.ref: model.as_dict() for model in self.models.values()}
        return {name: value for name, value in told.items() if value is not None} | {"models": models}


def read_edition(vendor: str, body: bytes, version: int | None = None) -> Edition:
    """The edition in a document, which must be of this vendor, and of this ``version`` where one is given.

    Rows that are wrong are left out with a line in the log. Raises :class:`MalformedReply` for a document that is none.
    """
    document = read_json(body)
    if not isinstance(document, dict) or document.get("provider") != vendor:
        raise MalformedReply(f"registry {vendor}: this is no document of that vendor's models")
    found = document.get("version")
    if isinstance(found, bool) or not isinstance(found, int) or not 0 < found <= MOST_VERSION:
        raise MalformedReply(f"registry {vendor}: the document has no version that is a whole number > 0")
    if version not in (None, found):
        raise MalformedReply(f"registry {vendor}: version {found} is published where {version} should be")
    models, skipped = _models(vendor, document.get("models"))
    if skipped:
        logger.warning("registry %s %d: %d rows are left out: %s", vendor, found, len(skipped), "; ".join(skipped[:_TOLD]))
    return Edition(
        vendor=vendor,
        version=found,
        updated_at=moment(document.get("updated_at")),
        models=models,
        skipped=skipped,
        checksum=_checksum(document),
        body=body,
    )


def _models(vendor: str, rows: Any) -> tuple[dict[str, RegistryModel], tuple[str, ...]]:
    if not isinstance(rows, dict) or not 0 < len(rows) <= MOST_MODELS:
        raise MalformedReply(f"registry {vendor}: its models are not an object with 1 to {MOST_MODELS} rows")
    models, skipped = {}, []
    for key, row in rows.items():
        try:
            model = RegistryModel.from_row(vendor, key, row)
        except ValueError as wrong:
            skipped.append(f"{key[:80]!a}: {wrong}")
        else:
            models[model.name] = model
    if not models:
        raise MalformedReply(f"registry {vendor}: none of its {len(rows)} rows can be used: {skipped[0]}")
    return models, tuple(skipped)


def _checksum(document: Mapping[str, Any]) -> str | None:
    value = document.get(_SUM)
    return value if isinstance(value, str) and len(value) <= 128 and plain(value) else None


def moment(value: Any) -> datetime | None:
    """A time as people publish it, aware; one without a zone is UTC, and what is none is ``None``."""
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def read_json(body: bytes) -> Any:
    """The JSON in a document. Raises :class:`MalformedReply` for anything else, and for what would take too much to hold."""
    if len(body) > MOST_BYTES or body.count(b",") > MOST_VALUES:
        raise MalformedReply(f"the registry's document has more than {MOST_BYTES} bytes or {MOST_VALUES} values")
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise MalformedReply("the registry's document is no valid JSON, cut short, or nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def checksum_holds(edition: Edition, before: str | None) -> bool | None:
    """Whether an edition's checksum is that of its document; ``None`` where that cannot be told. To be reported, not to reject.

    It is the SHA-256 of the document as sorted compact JSON, with the checksum of the version ``before`` in the place of its own:
    a chain. First versions have none there. Of the published ones two match neither.
    """
    document = read_json(edition.body) if edition.body else None
    if edition.checksum is None or not isinstance(document, dict):
        return None
    rest = {name: value for name, value in document.items() if name != _SUM}
    if edition.checksum in (_sha(rest), _sha({**rest, _SUM: before})):
        return True
    return False if before is not None or edition.version == 1 else None


def _sha(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
