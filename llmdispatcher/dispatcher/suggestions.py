"""What may have been meant by a model's name that nobody has: another name, or a vendor that is not registered.

Only names are suggested that a registered vendor can be asked for, or those of a vendor together with how to register it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches

import attrs

from ..catalog import CURRENT, VendorRow, canonical, claim_on, owner, vendor_row, vendor_rows
from ..vendors import how_to_register

_MOST = 3
_EASILY_OTHER = re.compile(r"[-._\s]")
_MODELS_ALIKE = 0.6
"""How alike a name must be to one that can be asked for now; that costs nothing to try."""
_SURELY_ALIKE = 0.8
"""How alike it must be where the suggestion changes part of a reference, or means to register a vendor."""
_VENDORS_ALIKE = 0.75
_LESS_ALIKE = 0.1
"""How much less alike than the first name another may be that is suggested beside it."""


@attrs.frozen
class Registered:
    """A registered vendor, the names that it is known to have, and whether it may be asked for another one by a reference."""

    name: str
    kind: str
    is_local: bool
    models: Sequence[str]
    takes: Callable[[str], bool]


@attrs.frozen
class Suggestion:
    """Names that may have been meant; ``absent`` is the vendor that must be registered for them. ``str()`` is one sentence."""

    names: Sequence[str] = ()
    absent: VendorRow | None = None

    def __str__(self) -> str:
        meant = f"Did you mean {' or '.join(map(repr, self.names))}?" if self.names else ""
        if self.absent is None:
            return meant
        how = how_to_register(self.absent)
        if not meant:
            return f"It is a model of {self.absent.name}, which is not registered: {how}."
        return f"{meant} {self.absent.name} is not registered: {how}."


def suggestion(model: str, vendors: Sequence[Registered], aliases: Iterable[str] = ()) -> Suggestion:
    """What may have been meant by a name that none of the vendors is known to have; ``aliases`` are names beside theirs."""
    here = _by_letters([*aliases, *[name for vendor in vendors for name in vendor.models]])
    wanted = _letters(model)
    same = here.get(wanted) or next((name for key, name in here.items() if key.rpartition("/")[2] == wanted), None)
    if same is not None:
        return Suggestion([same])
    for separator in ":/":
        head, _, tail = model.partition(separator)
        found = _of_a_vendor(head, tail.strip(), vendors, separator) if tail.strip() else None
        if found is not None and found.absent is not None and separator == "/":
            found = _of_a_router(head, model, vendors) or found
        if found is not None:
            return found
    absent = vendor_row(owner(model) or owner(model.lower()) or "")
    if absent is not None and absent.name not in [vendor.kind for vendor in vendors]:
        name = _by_letters(CURRENT.snapshot.names(absent.name)).get(wanted, model)
        return Suggestion([f"{absent.name}:{name}"] if name != model else [], absent)
    near = _nearest(wanted, here)
    return Suggestion([here[name] for name in near]) if near else _elsewhere(model, vendors)


def near_names(model: str, names: Iterable[str]) -> Sequence[str]:
    """Those of a vendor's names that are like one which it says it does not have, the likest first."""
    there = _by_letters([name for name in names if name != model])
    return [there[name] for name in get_close_matches(_letters(model), there, _MOST, _MODELS_ALIKE)]


def _nearest(wanted: str, names: Iterable[str]) -> list[str]:
    """The names that are about as much like one as the one that is most like it."""
    near = get_close_matches(wanted, names, _MOST, _MODELS_ALIKE)
    alike = {name: SequenceMatcher(None, name, wanted).ratio() for name in near}
    return [name for name in near if alike[name] >= max(alike.values()) - _LESS_ALIKE]


def _of_a_router(head: str, model: str, vendors: Sequence[Registered]) -> Suggestion | None:
    """A registered vendor that has models of others by names with a slash, these among them, and may be asked for this one."""
    for vendor in vendors:
        if any(name.startswith(f"{head}/") for name in vendor.models) and vendor.takes(model):
            return Suggestion([f"{vendor.name}:{_by_letters(vendor.models).get(_letters(model), model)}"])
    return None


def _of_a_vendor(head: str, tail: str, vendors: Sequence[Registered], separator: str) -> Suggestion | None:
    """A reference whose vendor is misspelt, or written before a slash.

    What stands before a colon may be a local model's name and no vendor's; then the model behind it must be the vendor's.
    """
    found: dict[str, Registered | None] = {row.name: None for row in vendor_rows()}
    found |= {vendor.kind: vendor for vendor in vendors if vendor.kind}
    found |= {canonical(vendor.name): vendor for vendor in vendors}
    key = next(
        iter(
            [name for name in (canonical(head),) if name in found] or get_close_matches(canonical(head), found, 1, _VENDORS_ALIKE)
        ),
        "",
    )
    may_be_a_tag = separator == ":" and any(vendor.is_local for vendor in vendors)
    vendor, row = found.get(key), vendor_row(key)
    if vendor is not None:
        is_had = vendor.takes(tail) and (claim_on(vendor.kind, tail).has_it or not may_be_a_tag)
        model = _corrected(vendor.kind, tail, vendor.models) or (tail if is_had else None)
        return Suggestion([f"{vendor.name}:{model}"]) if model is not None else None
    if row is None:
        return None
    if row.keyless and key != canonical(head) and _is_local_family(head):  # "llama3:8b" is a model of Ollama's, and no vendor
        return Suggestion([f"ollama:{head}{separator}{tail}"], vendor_row("ollama")) if separator == ":" else None
    model = _corrected(row.name, tail, CURRENT.snapshot.names(row.name)) or (tail if not may_be_a_tag else None)
    return Suggestion([f"{row.name}:{model}"], row) if model is not None else None


def _is_local_family(head: str) -> bool:
    """Whether what stands before a colon is how names of Ollama's library begin, such as ``llama3``."""
    return any(name.partition(":")[0].casefold() == head.strip().casefold() for name in CURRENT.snapshot.names("ollama"))


def _elsewhere(model: str, vendors: Sequence[Registered]) -> Suggestion:
    """A name that a vendor has which is not registered, and makes its models itself."""
    kinds = {vendor.kind for vendor in vendors}
    for row in vendor_rows():
        if row.name in kinds or row.any_model:
            continue
        name = _corrected(row.name, model, CURRENT.snapshot.names(row.name))
        if name is not None:
            return Suggestion([f"{row.name}:{name}"], row)
    return Suggestion()


def _corrected(kind: str, model: str, names: Sequence[str]) -> str | None:
    """The name among some of a vendor's that is meant by one: itself, in other writing, or much like it; new ones stay."""
    if model in names:
        return model
    there = _by_letters(names)
    wanted = _letters(model)
    if wanted not in there and claim_on(kind, model).has_it:
        return model
    near = [wanted] if wanted in there else get_close_matches(wanted, there, 1, _SURELY_ALIKE)
    return there[near[0]] if near else None


def _by_letters(names: Iterable[str]) -> dict[str, str]:
    there: dict[str, str] = {}
    for name in names:
        there.setdefault(_letters(name), name)
    return there


def _letters(name: str) -> str:
    """A name without what is easily written in another way: case, hyphens, dots and blanks."""
    return _EASILY_OTHER.sub("", name.casefold())
