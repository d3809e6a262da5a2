"""The models of a vendor that are nearest to another vendor's model, by abilities, window and price."""

from __future__ import annotations

import difflib
import math
import re

from ..runtime import SYSTEM_CLOCK
from ..types import Price
from .facts import ModelFacts, vendor_rows
from .models import all_models, model_facts, model_names, owner

_ABILITIES = frozenset({"tools", "vision", "json_schema"})
"""The abilities that an application is likely to rely on without asking for them in each request."""
_LACK, _SMALL_WINDOW = 2.0, 1.0
"""The distance of a missing ability and of a smaller window, in doublings of the price."""
_LEAST = 1e-6
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")
_NUMBER = re.compile(r"\d+")


def stand_ins(kind: str, model: str) -> tuple[str, ...]:
    """Return the names of a vendor's models that can stand in for a model that it does not have, the nearest first.

    They are models that the vendor serves today, that answer with text and have a price. For a model that the catalog does not
    have, the facts of the most similar name count; without one, the cheapest comes first.
    """
    today = SYSTEM_CLOCK.now().date()
    there = [
        facts for facts in all_models(kind) if facts.kind != "embedding" and facts.price is not None and facts.is_active(today)
    ]
    there = [facts for facts in there if facts.checked] or there
    wanted = _facts_of(model)
    return tuple([facts.listed for facts in sorted(there, key=lambda facts: _distance(facts, wanted))])


def newer_first(name: str) -> tuple[bool, list[int]]:
    """Return a key that sorts the names of models: the newer version first, a name without one last; dates are no versions."""
    numbers = [-int(number) for number in _NUMBER.findall(_DATE.sub("", name))]
    return not numbers, [*numbers, 1]


def _facts_of(model: str) -> ModelFacts | None:
    """The facts of a model by its bare name, or of the one with the most similar name."""
    mine = owner(model)
    vendors = [mine] if mine is not None else [row.name for row in vendor_rows()]
    found = next((facts for vendor in vendors if (facts := model_facts(vendor, model)) is not None), None)
    if found is None and mine is not None:
        alike = difflib.get_close_matches(model, model_names(mine), 1)
        found = model_facts(mine, alike[0]) if alike else None
    return found


def _distance(facts: ModelFacts, wanted: ModelFacts | None) -> tuple[object, ...]:
    """The distance of a model; at the same distance the cheaper model is nearer, then the newer one."""
    own = _dollars(facts.price)
    version = newer_first(facts.listed)
    if wanted is None:
        return ("tools" not in facts.capabilities, own, version)
    far = abs(math.log2(own / _dollars(wanted.price))) if wanted.price is not None else math.log2(own / _LEAST)
    far += _LACK * len((wanted.capabilities & _ABILITIES) - facts.capabilities)
    far += _SMALL_WINDOW if 0 < facts.context_window < wanted.context_window else 0.0
    is_same = facts.listed.rpartition("/")[2] == wanted.listed.rpartition("/")[2]
    return (not is_same, round(far, 6), own, version)


def _dollars(price: Price | None) -> float:
    """The cost of a usual call, in proportion: three input tokens for each output token."""
    return max(float(3 * price.input + price.output), _LEAST) if price is not None else _LEAST
