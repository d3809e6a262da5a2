"""Facts about models and vendors, read from the catalog's tables.

- ``ModelFacts``: what is known of one model at one vendor.
- ``VendorRow``: a row of ``vendors.toml``, found by name or alias, with the families of model names that belong to the vendor.
- ``Traits``: what a model refuses, requires or names differently at a vendor, by the rows of ``traits.toml``.
- ``Pace``: how fast a model writes, and how much, by the rows of ``paces.toml``.
"""

from __future__ import annotations

import datetime
import pkgutil
import re
import tomllib
from collections import ChainMap
from collections.abc import Mapping
from decimal import Decimal
from fnmatch import fnmatchcase, translate
from functools import cache, cached_property, lru_cache
from typing import Any

import attrs

from ..types import Price


@attrs.frozen(kw_only=True)
class VendorRow:
    """One vendor of the catalog; ``vendors.toml`` says what each field means."""

    name: str
    codec: str
    base_url: str | None = None
    key_header: str = "Authorization"
    key_prefix: str = "Bearer "
    headers: tuple[tuple[str, str], ...] = ()
    header_env: tuple[tuple[str, str], ...] = ()
    key_env: tuple[str, ...] = ()
    url_env: tuple[str, ...] = ()
    version_env: tuple[str, ...] = ()
    keyless: bool = False
    families: tuple[str, ...] = ()
    any_model: bool = False
    free: bool = False
    paid_models: tuple[str, ...] = ()
    own_names: bool = False
    reports_cost: bool = False
    quirks: tuple[str, ...] = ()
    limits: Mapping[str, Any] = attrs.field(factory=dict, hash=False)
    source: str
    date: str


_ALIASES = {"azure-openai": "azure", "gemini": "google"}


@cache
def _toml(file: str) -> Mapping[str, Any]:
    """A table of the catalog, by the name of its file."""
    return tomllib.loads((pkgutil.get_data(__package__, f"data/{file}.toml") or b"").decode())


@cache
def _table() -> Mapping[str, VendorRow]:
    return {name: _row(name, **fields) for name, fields in _toml("vendors").items()}


def _row(name: str, **fields: Any) -> VendorRow:
    lists = {key: tuple(value) for key, value in fields.items() if isinstance(value, list)}
    pairs = {key: tuple(fields.get(key, {}).items()) for key in ("headers", "header_env")}
    return VendorRow(name=name, **{**fields, **lists, **pairs})


def canonical(name: str) -> str:
    """Return a vendor's canonical name: lower case, without blanks, "azure" for "azure-openai"."""
    name = name.strip().lower()
    return _ALIASES.get(name, name)


def vendor_row(name: str) -> VendorRow | None:
    """Return the row of a vendor, by its name or alias."""
    return _table().get(canonical(name))


def vendor_rows() -> tuple[VendorRow, ...]:
    """Return all rows, in the order in which a bare model name is looked up."""
    return tuple(_table().values())


def in_family(kind: str, model: str) -> bool:
    """Tell whether the model's name belongs to this vendor's families.

    A name with a tag, such as ``deepseek-r1:8b``, is that of a local server: only a family with a colon matches it.
    """
    row = vendor_row(kind)
    if row is None:
        return False
    families = [family for family in row.families if ":" in family or ":" not in model]
    if any(family.startswith("!") and fnmatchcase(model, family[1:]) for family in families):
        return False
    return any(fnmatchcase(model, family) for family in families)


FREE_PRICE = Price.flat(Decimal(0))
"""The price of a model on the user's own server."""
_FREE_ROW: Mapping[str, Any] = {"input": "0", "output": "0"}


def is_free(row: VendorRow, model: str) -> bool:
    """Tell whether a model costs nothing at a vendor, which is then the user's own server."""
    return row.free and not any(fnmatchcase(model, pattern) for pattern in row.paid_models)


_CACHE_SIZE = 4096
CAPABILITIES = ("streaming", "vision", "tools", "json_schema", "audio", "documents", "reasoning", "embeddings")
"""The capabilities that a request may use and a model may lack."""


@attrs.frozen(kw_only=True)
class Traits:
    """The traits of one model: ``quirks`` for the codec, the ``efforts`` that it knows (empty: any), the ``api`` that it needs.

    ``limits`` are its limits, by words of the wire's ``LIMITS``. ``lacks`` are words of :data:`CAPABILITIES`; a capability that no
    row names counts as there.
    """

    quirks: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    efforts: tuple[str, ...] = ()
    api: str | None = None
    limits: Mapping[str, Any] = attrs.field(factory=dict, hash=False)


@attrs.frozen(kw_only=True)
class _Family:
    vendors: tuple[str, ...] = attrs.field(converter=tuple)
    models: tuple[str, ...] = attrs.field(converter=tuple)
    quirks: frozenset[str] = attrs.field(default=(), converter=frozenset)
    lacks: frozenset[str] = attrs.field(default=(), converter=frozenset)
    efforts: tuple[str, ...] = attrs.field(default=(), converter=tuple)
    api: str | None = None
    limits: Mapping[str, Any] = attrs.field(factory=dict)
    source: str
    date: str


@cache
def families() -> tuple[_Family, ...]:
    """Return the rows of ``traits.toml``, in their order."""
    return tuple([_Family(**row) for row in _toml("traits")["family"]])


@lru_cache(maxsize=_CACHE_SIZE)
def answers_prompts(model: str) -> bool:
    """Tell whether a model answers prompts, by its name; one for embeddings, ranking, speech or transcription does not."""
    name = model.lower().rpartition("/")[2]
    return not any(fnmatchcase(name, pattern) for pattern in _toml("traits")["no_prompts"]["models"])


@cache
def _families_of(vendor: str) -> tuple[tuple[_Family, re.Pattern[str]], ...]:
    """The families of a vendor's models, each with its globs as one pattern, which is many times faster than single globs."""
    mine = [family for family in families() if "*" in family.vendors or vendor in family.vendors]
    return tuple([(family, re.compile("|".join(map(translate, family.models)))) for family in mine])


@lru_cache(maxsize=_CACHE_SIZE)
def traits_of(kind: str, model: str) -> Traits:
    """Return the traits of a model at a vendor: the vendor's own quirks, and those of every family that matches the name.

    Without a ``kind`` there are none.
    """
    if not kind:
        return Traits()
    vendor, row = canonical(kind), vendor_row(kind)
    name = model.lower().removeprefix("models/")
    short = name.rpartition("/")[2]
    mine = [family for family, glob in _families_of(vendor) if glob.match(name) or (short != name and glob.match(short))]
    own, limits = (row.quirks, row.limits) if row is not None else ((), {})
    quirks = frozenset(own).union(*[family.quirks for family in mine])
    lacks = frozenset(("reasoning",) if "no_effort" in quirks else ())
    return Traits(
        quirks=quirks,
        lacks=lacks.union(*[family.lacks for family in mine]),
        efforts=next((family.efforts for family in reversed(mine) if family.efforts), ()),
        api=next((family.api for family in reversed(mine) if family.api), None),
        limits=dict(ChainMap(*[dict(family.limits) for family in reversed(mine)], dict(limits))),
    )


@attrs.frozen(kw_only=True)
class Pace:
    """Output tokens per second, and the usual number in an answer, without thoughts and with them.

    ``thinks``: the model thinks before it answers, without being asked to.
    """

    tokens_per_second: float
    usual_tokens: int
    usual_thinking_tokens: int
    thinks: bool = False


@lru_cache(maxsize=_CACHE_SIZE)
def pace_of(kind: str, model: str) -> Pace:
    """Return the pace of a model at a vendor; the first row is for all models."""
    vendor, name = canonical(kind), model.lower().removeprefix("models/")
    known: dict[str, Any] = {}
    for row in _toml("paces")["pace"]:
        if not {vendor, "*"}.isdisjoint(row["vendors"]) and any(
            fnmatchcase(name.rpartition("/")[2], glob) for glob in row["models"]
        ):
            known |= row
    return Pace(**{field.name: known[field.name] for field in attrs.fields(Pace) if field.name in known})


def usual_thoughts(effort: str) -> int:
    """Return the tokens of thought that an effort usually needs at OpenAI's models."""
    return int(_toml("traits")["room_for_thoughts"][effort])


ABILITIES = (*CAPABILITIES, "audio_output", "video", "prompt_caching", "web_search", "computer_use")
"""All known abilities of models: the capabilities that requests may use, and more."""
_BY_DEFAULT = frozenset({"streaming"})
_VECTORS = frozenset(CAPABILITIES) - {"embeddings"}
_PLAIN_FIELDS = ("kind", "context_window", "max_tokens", "retired", "checked", "source", "date")
"""Fields of a row that are fields of :class:`ModelFacts` as they are."""


@attrs.frozen(kw_only=True)
class ModelFacts:
    """What is known of one model at one vendor; ``quirks`` tell codecs what it refuses or calls differently.

    ``listed`` is the name that ``model`` is an alias of, ``kind`` "chat", "responses" (asked by that API alone) or "embedding".
    ``price_row`` is its ``price`` as the data has it. ``capabilities`` (words of :data:`ABILITIES`) it is known to have, ``lacks``
    it is known not to have; what is in neither is unknown. ``context_window`` is the most input tokens, ``max_tokens`` the most
    output tokens, 0 where unknown. ``released`` and ``deprecated`` are the days on which it came and goes, ``retired`` says that it
    has gone. ``checked`` marks facts that were read on the vendor's own pages; ``date`` is when ``source`` was looked at, and
    ``price_version`` names the edition that the price is of.
    """

    vendor: str
    model: str
    listed: str
    kind: str = "chat"
    price_row: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    context_window: int = 0
    max_tokens: int = 0
    capabilities: frozenset[str] = frozenset()
    lacks: frozenset[str] = frozenset()
    quirks: frozenset[str] = frozenset()
    aliases: tuple[str, ...] = ()
    released: datetime.date | None = None
    deprecated: datetime.date | None = None
    retired: bool = False
    checked: bool = False
    source: str = ""
    date: str = ""
    price_version: str = ""

    @cached_property
    def price(self) -> Price | None:
        """The price, read from ``price_row`` at the first use; ``None`` if it is not known."""
        if self.price_row is _FREE_ROW:
            return FREE_PRICE
        return Price.from_row(self.price_row) if self.price_row is not None else None

    @property
    def ref(self) -> str:
        """``"vendor:model"``, as a request can name it."""
        return f"{self.vendor}:{self.model}"

    @property
    def supports_sampling_params(self) -> bool:
        """Whether the model takes temperature, top_p and the like; else it answers them with a 400."""
        return "no_sampling" not in self.quirks

    @property
    def supports_vision(self) -> bool:
        """Whether it is known to take images."""
        return "vision" in self.capabilities

    @property
    def supports_tools(self) -> bool:
        """Whether it is known to call tools."""
        return "tools" in self.capabilities

    @property
    def supports_streaming(self) -> bool:
        """Whether it streams, as every model does that is not known not to."""
        return "streaming" not in self.lacks

    def is_active(self, day: datetime.date) -> bool:
        """Tell whether the vendor serves it on a day, as far as is known."""
        return not self.retired and (self.deprecated is None or day < self.deprecated)


def facts_of(vendor: str, name: str, row: Mapping[str, Any], version: str) -> ModelFacts:
    """Read a row: ``price`` as :meth:`Price.from_row` reads it, ``can`` and ``lacks`` lists of words, days as "2026-11-21".

    Further ``kind``, ``context_window``, ``max_tokens``, ``aliases``, ``since``, ``ends``, ``retired``, ``checked``, ``source`` and
    ``date``; each may be missing.
    """
    own, kind = traits_of(vendor, name), row.get("kind")
    lacks = own.lacks.union(row.get("lacks", ()))
    if kind == "embedding" or row.get("checked"):
        lacks |= _VECTORS if kind == "embedding" else {"embeddings"}
    return ModelFacts(
        vendor=vendor,
        model=name,
        listed=name,
        price_row=row.get("price") or _free_row(vendor, name),
        capabilities=_BY_DEFAULT.union(row.get("can", ())) - lacks,
        lacks=lacks,
        quirks=own.quirks,
        aliases=tuple(row.get("aliases", ())),
        released=_day(row.get("since")),
        deprecated=_day(row.get("ends")),
        price_version=version,
        **{field: row[field] for field in _PLAIN_FIELDS if field in row},
    )


def _free_row(vendor: str, name: str) -> Mapping[str, Any] | None:
    row = vendor_row(vendor)
    return _FREE_ROW if row is not None and is_free(row, name) else None


def _day(text: str | None) -> datetime.date | None:
    return datetime.date.fromisoformat(text) if text else None
