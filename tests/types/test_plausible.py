"""Numbers of a usage that cannot be are set aside, whoever said them."""

import json
import math
from decimal import Decimal

from llmdispatcher import Usage
from llmdispatcher.types import MOST_COST, MOST_TOKENS, plausible, plausible_cost
from llmdispatcher.wire.decoding import Counter

from ..cases import each

SOUND = Usage(input_tokens=5, output_tokens=2, cache_read_tokens=1, tool_requests={"web_search": 1}, cost=Decimal("0.1"))


def test_a_sound_usage_is_the_same_one():
    """Nothing is made anew where nothing is wrong."""
    for usage in (Usage(), SOUND, Usage(input_tokens=MOST_TOKENS, cost=MOST_COST)):
        assert plausible(usage) is usage


@each("count", [-1, MOST_TOKENS + 1, 10**400, 1.5, math.nan, math.inf, "7", None, True])
@each("name", ["input_tokens", "reasoning_tokens", "image_output_tokens"])
def test_a_count_that_is_none_is_nothing(name, count):
    """And nobody knows what such an answer cost, whatever it says."""
    usage = plausible(Usage(**{"output_tokens": 2, name: count}, cost=Decimal(1)))

    assert (0, 2, None, "implausible_count") == (getattr(usage, name), usage.output_tokens, usage.cost, usage.cost_status)
    assert plausible(usage) is usage


def test_a_tool_that_was_asked_for_ever_is_nothing():
    """Tools are billed by the piece."""
    usage = plausible(Usage(input_tokens=1, tool_requests={"web_search": 10**30, "web_fetch": 2}))

    assert ({"web_search": 0, "web_fetch": 2}, "implausible_count") == (usage.tool_requests, usage.cost_status)


def test_what_cannot_be_makes_a_sum_unknown():
    """Also where nothing else is left of it."""
    nobody_knows = plausible(Usage(input_tokens=10**14))

    assert (None, "implausible_count") == ((SOUND + nobody_knows).cost, (nobody_knows + SOUND).cost_status)


@each("cost", ["-0.01", "10000.01", "1e30", "NaN", "sNaN", "Infinity", "-Infinity"])
def test_a_cost_that_is_none_is_unknown(cost):
    """The counts are as good as before."""
    usage = plausible(Usage(input_tokens=5, cost=Decimal(cost), cost_status="priced"))

    assert (5, None, "implausible_cost") == (usage.input_tokens, usage.cost, usage.cost_status)


@each(
    "told, cost",
    [(0.1, "0.1"), ("0.30", "0.30"), (3, "3"), (Decimal("1E+3"), "1000"), ("1e-999999", "0"), (Decimal("0E+999999"), "0")],
)
def test_a_cost_is_a_decimal_that_can_be_written(told, cost):
    """From a float as it is written; none has a million digits."""
    found = plausible_cost(told)

    assert Decimal(cost) == found
    assert len(f"{found:f}") < 50
    json.dumps(str(found))


@each("told", [True, "free", "", [], {}, 10**5000, "9" * 10_000, -1, math.nan])
def test_what_is_no_cost_is_none(told):
    """And raises nothing."""
    assert plausible_cost(told) is None


@each(
    "told, count, status",
    [("3", 3, None), ("3.0", 3, None), (" ", 0, None), (True, 0, "implausible_count"), ("many", 0, "implausible_count")],
)
def test_a_count_that_is_no_number(told, count, status):
    """Digits are one; what says something else is set aside."""
    counter = Counter()

    assert (count, status) == (counter.count(told), counter.status)
