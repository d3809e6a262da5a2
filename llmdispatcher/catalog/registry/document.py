"""One version of one vendor's models: the published document and its rows, read strictly and written in the same layout.

The document is somebody else's file, so it is bounded in size, count and range. Bad rows are dropped and reported; good rows are
kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Context, Decimal
from typing import Any

import attrs

from ..._text import room_logger
from ...errors import MalformedReply

MOST_DOLLARS = 10_000
"""The limit of a price, in US dollars per million tokens: fifteen times the dearest model so far."""
MOST_TOKENS = 10**9
"""The greatest limit, in tokens."""
MOST_LETTERS = 200
"""Characters of a name; a description is cut at ten times as many."""
MOST_ALIASES = 64
_MOST_FLAGS = 128
_SUPPORTS = "supports_"
_EXACT = Context(prec=60)
_LEAST = Decimal("1e-12")

DOLLARS: Mapping[str, tuple[str, ...]] = {
    "input": ("dollars_per_million_tokens_input",),
    "output": ("dollars_per_million_tokens_output",),
    "cache_read": ("dollars_per_million_tokens_cache_read", "dollars_per_million_tokens_cached_input"),
    "cache_write": ("dollars_per_million_tokens_cache_write_5m",),
    "cache_write_long": ("dollars_per_million_tokens_cache_write_1h",),
    "thinking": ("dollars_per_million_tokens_output_thinking",),
    "long_input": ("dollars_per_million_tokens_input_long_context",),
    "long_output": ("dollars_per_million_tokens_output_long_context",),
    "cache_storage": ("cache_storage_cost_per_million_tokens_per_hour",),
}
"""Price -> its published names; the first one that is given counts."""
TOKENS: Mapping[str, str] = {
    "long_above": "long_context_threshold_tokens",
    "max_input_tokens": "max_input_tokens",
    "max_output_tokens": "max_output_tokens",
    "min_reasoning_tokens": "min_recommended_reasoning_tokens",
}
_DATES: Mapping[str, str] = {"released": "release_date", "deprecated": "deprecated_date"}


@attrs.frozen(kw_only=True)
class RegistryModel:
    """One model of a vendor. Prices are US dollars per million tokens, ``None`` where none is published; limits are tokens.

    ``cache_write`` lives for 5 minutes, ``cache_write_long`` for an hour; ``cache_storage`` is per million tokens and hour. Above
    ``long_above`` input tokens the whole request costs ``long_input`` and ``long_output``. ``supports`` and ``lacks`` hold the
    published flags without their ``supports_``.
    """

    vendor: str
    name: str
    aliases: tuple[str, ...] = ()
    display_name: str = ""
    description: str = ""
    input: Decimal | None = None
    output: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_long: Decimal | None = None
    thinking: Decimal | None = None
    long_above: int | None = None
    long_input: Decimal | None = None
    long_output: Decimal | None = None
    cache_storage: Decimal | None = None
    max_input_tokens: int | None = None
    max_output_tokens: int | None = None
    min_reasoning_tokens: int | None = None
    supports: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    endpoint: str | None = None
    reasons: bool = False
    active: bool = True
    released: date | None = None
    deprecated: date | None = None

    @property
    def ref(self) -> str:
        """``vendor:name``."""
        return f"{self.vendor}:{self.name}"

    @classmethod
    def from_row(cls, vendor: str, key: str, row: Any) -> RegistryModel:
        """Read a published row. Raises ``ValueError`` with the reason why it is not used."""
        if not isinstance(row, Mapping):
            raise ValueError(f"a row is an object, not {type(row).__name__}")
        name = _text(row, "model_name", required=True)
        if row.get("provider", vendor) != vendor or key != f"{vendor}:{name}":
            raise ValueError("provider, model_name and key do not agree")
        supports, lacks = _flags(row)
        long = row.get("supports_long_context_pricing") is not False
        values: dict[str, Any] = {field: _dollars(row, names) for field, names in DOLLARS.items()}
        values |= {field: _tokens(row, given) for field, given in TOKENS.items()}
        values |= {field: _date(row, given) for field, given in _DATES.items()}
        if not long:
            values = {field: value for field, value in values.items() if not field.startswith("long_")}
        return cls(
            vendor=vendor,
            name=name,
            aliases=_aliases(row, name),
            display_name=_text(row, "display_name"),
            description=_text(row, "description", most=10 * MOST_LETTERS),
            supports=supports,
            lacks=lacks,
            endpoint=_text(row, "api_endpoint") or None,
            reasons=_flag(row, "is_reasoning_model", otherwise=False),
            active=_flag(row, "is_active", otherwise=True),
            **values,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the row in the published layout, without unknown fields."""
        values: dict[str, Any] = {"provider": self.vendor, "model_name": self.name, "display_name": self.display_name}
        values |= {"description": self.description, "model_aliases": list(self.aliases), "api_endpoint": self.endpoint}
        values |= {names[0]: float(amount) for field, names in DOLLARS.items() if (amount := getattr(self, field)) is not None}
        values |= {given: getattr(self, field) for field, given in TOKENS.items()}
        values |= {f"supports_{name}": True for name in sorted(self.supports)}
        values |= {f"supports_{name}": False for name in sorted(self.lacks)}
        values |= {"is_reasoning_model": self.reasons, "is_active": self.active}
        values |= {given: value.isoformat() for field, given in _DATES.items() if (value := getattr(self, field)) is not None}
        return {name: value for name, value in values.items() if value is not None}


def _dollars(row: Mapping[str, Any], names: tuple[str, ...]) -> Decimal | None:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    if not 0 <= value <= MOST_DOLLARS:  # neither is a NaN
        raise ValueError(f"{name} is not within 0 to {MOST_DOLLARS} US dollars")
    return _round(Decimal(str(value)))


def _round(amount: Decimal) -> Decimal:
    """The amount with at most twelve decimals; the rest is noise of floats."""
    cut = _EXACT.quantize(amount, _LEAST)
    return amount if cut == amount else cut.normalize(_EXACT)


def _tokens(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{name} is not a whole number from 0 to {MOST_TOKENS}")
    return value or None  # published rows say 0 for unknown


def _flag(row: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return otherwise if value is None else value


def _flags(row: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    values = {name: value for name, value in row.items() if value is not None and name.startswith(_SUPPORTS)}
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name[:MOST_LETTERS]!a} is neither true nor false")
    if len(values) > _MOST_FLAGS or not "".join(values).isprintable() or max(map(len, values), default=0) > MOST_LETTERS:
        raise ValueError("supports_* are too many, or not names")
    yes = frozenset([name.removeprefix(_SUPPORTS) for name, value in values.items() if value])
    return yes, frozenset([name.removeprefix(_SUPPORTS) for name, value in values.items() if not value])


def _text(row: Mapping[str, Any], name: str, *, most: int = MOST_LETTERS, required: bool = False) -> str:
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise ValueError(f"{name} is no text")
    if most > MOST_LETTERS:  # prose: its lines are joined, and it is cut
        value = " ".join(value[: 2 * most].split())[:most]
    if len(value) > most or not value.isprintable():
        raise ValueError(f"{name} has more than {most} letters, or control characters")
    return value


def _aliases(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = row.get("model_aliases") or []
    if not isinstance(value, list) or len(value) > MOST_ALIASES:
        raise ValueError(f"model_aliases is no list of at most {MOST_ALIASES}")
    aliases = [_text({"model_aliases": alias}, "model_aliases", required=True) for alias in value]
    return tuple(dict.fromkeys(alias for alias in aliases if alias != name))


def _date(row: Mapping[str, Any], name: str) -> date | None:
    value = row.get(name)
    if value is None:
        return None
    try:
        return date.fromisoformat(value[:10])
    except (TypeError, ValueError):
        raise ValueError(f"{name} is no date") from None


logger = room_logger("catalog")

MOST_BYTES = 8 * 1024 * 1024
"""Bytes of one document; the largest published one has 135,000."""
MOST_MODELS = 5_000
MOST_VALUES = 200_000
"""The number of values in a document: decoded, small values take a hundred times their bytes."""
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
        """If two models claim an alias, the one with the greater name has it; the name of a model is no alias of another."""
        aliases = {alias: name for name in sorted(self.models) for alias in self.models[name].aliases}
        return aliases | {name: name for name in self.models}

    def find(self, name: str) -> RegistryModel | None:
        """Return the model of that name or alias, with or without the vendor before it, or ``None``."""
        listed = self.names.get(name.removeprefix(f"{self.vendor}:"))
        return None if listed is None else self.models[listed]

    def as_dict(self) -> dict[str, Any]:
        """Return the document in the published layout."""
        values = {"provider": self.vendor, "version": self.version, _SUM: self.checksum}
        if self.updated_at is not None:
            values["updated_at"] = self.updated_at.isoformat()
        models = {model.ref: model.as_dict() for model in self.models.values()}
        return {name: value for name, value in values.items() if value is not None} | {"models": models}


def read_edition(vendor: str, body: bytes, version: int | None = None) -> Edition:
    """Read a document, which must be of this vendor, and of this ``version`` if one is given.

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
        updated_at=parse_time(document.get("updated_at")),
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
    return value if isinstance(value, str) and len(value) <= 128 and value.isprintable() else None


def parse_time(value: Any) -> datetime | None:
    """Return a published time as an aware datetime, ``None`` for anything else; without a zone it is UTC."""
    try:
        found = datetime.fromisoformat(value)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def read_json(body: bytes) -> Any:
    """Parse a JSON document. Raises :class:`MalformedReply` for anything else, and for too many values."""
    if len(body) > MOST_BYTES or body.count(b",") + body.count(b"[") + body.count(b"{") > MOST_VALUES:
        raise MalformedReply(f"the registry's document has more than {MOST_BYTES} bytes or {MOST_VALUES} values")
    try:
        return json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise MalformedReply("the registry's document is no valid JSON, cut short, or nested too deeply") from None


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def checksum_holds(edition: Edition, before: str | None) -> bool | None:
    """Whether an edition's checksum is that of its document; ``None`` if that is unknown. For reports, not to reject.

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
