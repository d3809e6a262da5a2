"""One model as a registry publishes it: read strictly, since a registry is somebody else's file, and written in the same layout."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Context, Decimal
from typing import Any

import attrs

MOST_DOLLARS = 10_000
"""US dollars per million tokens that a price may be: some fifteen times the dearest model there has been."""
MOST_TOKENS = 10**9
"""Tokens that a limit may be."""
MOST_LETTERS = 200
"""Letters of a name; a description is cut at ten times as many."""
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
"""Price -> the published names of it; of several that are given the first counts."""
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
        """Read a published row. Raises ``ValueError`` with the reason why it is not to be used."""
        if not isinstance(row, Mapping):
            raise ValueError(f"a row is an object, not {type(row).__name__}")
        name = _text(row, "model_name", required=True)
        if row.get("provider", vendor) != vendor or key != f"{vendor}:{name}":
            raise ValueError("provider, model_name and key do not agree")
        supports, lacks = _flags(row)
        long = row.get("supports_long_context_pricing") is not False
        told: dict[str, Any] = {field: _dollars(row, names) for field, names in DOLLARS.items()}
        told |= {field: _tokens(row, given) for field, given in TOKENS.items()}
        told |= {field: _date(row, given) for field, given in _DATES.items()}
        if not long:
            told = {field: value for field, value in told.items() if not field.startswith("long_")}
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
            **told,
        )

    def as_dict(self) -> dict[str, Any]:
        """The row in the published layout, without what is unknown."""
        told: dict[str, Any] = {"provider": self.vendor, "model_name": self.name, "display_name": self.display_name}
        told |= {"description": self.description, "model_aliases": list(self.aliases), "api_endpoint": self.endpoint}
        told |= {names[0]: _number(getattr(self, field)) for field, names in DOLLARS.items()}
        told |= {given: getattr(self, field) for field, given in TOKENS.items()}
        told |= {f"supports_{name}": True for name in sorted(self.supports)}
        told |= {f"supports_{name}": False for name in sorted(self.lacks)}
        told |= {"is_reasoning_model": self.reasons, "is_active": self.active}
        told |= {given: value.isoformat() for field, given in _DATES.items() if (value := getattr(self, field)) is not None}
        return {name: value for name, value in told.items() if value is not None}


def plain(text: str) -> bool:
    """Whether a text has no control characters, surrogates or the like."""
    return text.isprintable()


def _number(amount: Decimal | None) -> float | None:
    return None if amount is None else float(amount)


def _dollars(row: Mapping[str, Any], names: tuple[str, ...]) -> Decimal | None:
    name = next((name for name in names if row.get(name) is not None), None)
    if name is None:
        return None
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is no number")
    if not 0 <= value <= MOST_DOLLARS:  # neither is a NaN
        raise ValueError(f"{name} is not within 0 to {MOST_DOLLARS} US dollars")
    return _rounded(Decimal(str(value)))


def _rounded(amount: Decimal) -> Decimal:
    """The amount with at most twelve decimals, as nobody publishes more; noise of floats lies beyond."""
    cut = _EXACT.quantize(amount, _LEAST)
    return amount if cut == amount else cut.normalize(_EXACT)


def _tokens(row: Mapping[str, Any], name: str) -> int | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_TOKENS:
        raise ValueError(f"{name} is not a whole number from 0 to {MOST_TOKENS}")
    return value or None  # published ones say 0 where nobody knows


def _flag(row: Mapping[str, Any], name: str, *, otherwise: bool) -> bool:
    value = row.get(name)
    if value is not None and not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return otherwise if value is None else value


def _flags(row: Mapping[str, Any]) -> tuple[frozenset[str], frozenset[str]]:
    told = {name: value for name, value in row.items() if value is not None and name.startswith(_SUPPORTS)}
    for name, value in told.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name[:MOST_LETTERS]!a} is neither true nor false")
    if len(told) > _MOST_FLAGS or not plain("".join(told)) or max(map(len, told), default=0) > MOST_LETTERS:
        raise ValueError("supports_* are too many, or not names")
    yes = frozenset([name.removeprefix(_SUPPORTS) for name, value in told.items() if value])
    return yes, frozenset([name.removeprefix(_SUPPORTS) for name, value in told.items() if not value])


def _text(row: Mapping[str, Any], name: str, *, most: int = MOST_LETTERS, required: bool = False) -> str:
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        raise ValueError(f"{name} is no text")
    if most > MOST_LETTERS:  # prose: its lines are joined, and it is cut
        value = " ".join(value[: 2 * most].split())[:most]
    if len(value) > most or not plain(value):
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
