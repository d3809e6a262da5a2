"""No number and no text of a vendor, a user or a file makes a ledger refuse a row."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest

from llmdispatcher import Dispatcher, DispatchError, InvalidRequest, Ledger, Request, Response, Usage
from llmdispatcher.accounting.units import MOST_SUM, dollars
from llmdispatcher.testing import FakeVendor

from ..conftest import IN_BOTH

COUNTS: tuple[Any, ...] = (10**14, 10**400, -7, math.inf, math.nan, 1.5)
COSTS = tuple(map(Decimal, ("1e308", "9.3e6", "-5", "NaN", "Infinity")))
DAY = "2026-03-01T12:00:00Z"


class Priced(FakeVendor):
    """A vendor whose prices the catalog knows."""

    kind = "openai"


def is_whole(ledger: Ledger, calls: int) -> list[Any]:
    """Nothing was refused, the sums are those of the rows; gives the calls."""
    assert ledger.flush()
    found = ledger.list_recent_calls()
    assert (0, 0, calls) == (ledger.stats().refused, ledger.stats().dropped, len(found))
    assert () == ledger.check_rollups().differences
    return found


@IN_BOTH
def test_absurd_numbers_of_answers(ledger):
    """The row is there, with what can be, and says so."""
    usages = [*[Usage(input_tokens=one) for one in COUNTS], *[Usage(input_tokens=3, cost=one) for one in COSTS]]
    with Dispatcher(ledger=ledger) as made:
        made.register_vendor(Priced(*[Response(content="x", usage=usage) for usage in usages], name="openai"))
        for number in range(len(usages)):
            made.send(Request("gpt-4o-mini", "hi", id_at_origin=str(number)))

    for call in is_whole(ledger, len(usages)):
        usage = usages[int(call.id_at_origin)]
        assert ("implausible_cost" if usage.cost is not None else "implausible_count") == call.cost_status, usage
        assert call.cost is None or 0 < call.cost < Decimal("0.01"), usage


@IN_BOTH
def test_a_status_that_is_none(ledger):
    """A vendor of a user's own may say anything."""
    with Dispatcher({"retry_policy": {"max_retries": 0}}, ledger=ledger) as made:
        made.register_vendor(FakeVendor(DispatchError("no", status=10**12), name="v"))
        with pytest.raises(DispatchError):
            made.send(Request("m", "hi"))

    (call,) = is_whole(ledger, 1)
    assert [None] == [attempt.http_status for attempt in ledger.get_attempts(call.id)]


class Odd:
    """A key that cannot be written."""

    def __str__(self):
        raise ValueError("no")


ODD_METADATA = ({"n": 10**5_000}, {10**5_000: 1}, {Odd(): 1}, {"half \ud800": "nul \0"}, {"f": math.nan}, {"l": [-(10**5_000)]})
ODD_TEXTS = ("half \ud800", "nul \0 here", "é" * 5_000, "\ud83d")


@IN_BOTH
def test_odd_metadata(ledger):
    """It must not cost the call its row."""
    with Dispatcher(ledger=ledger) as made:
        made.register_vendor(FakeVendor(Response(content="x"), name="v"))
        for metadata in ODD_METADATA:
            made.send(Request("m", "hi", metadata=metadata))

    is_whole(ledger, len(ODD_METADATA))


@IN_BOTH
def test_odd_texts(ledger):
    """Users, origins and the like are kept in whole characters, and are found by what was asked."""
    with Dispatcher(ledger=ledger) as made:
        made.register_vendor(FakeVendor(Response(content="x"), name="v"))
        for text in ODD_TEXTS:
            made.send(Request("m", "hi", user=text, origin=text, id_at_origin=text))
            ledger.record("v", "m", user=text, origin=text, begun_at=DAY)

    is_whole(ledger, 2 * len(ODD_TEXTS))
    for text in ODD_TEXTS:
        assert 2 == len(ledger.list_recent_calls(user=text, origin=text))
        assert 1 == len(ledger.list_recent_calls(id_at_origin=text))
        assert 1 == ledger.get_usage_stats(user=text, start="2026-03-01", end="2026-03-01").total_calls


@IN_BOTH
def test_a_usage_that_was_recorded(ledger):
    """What a vendor's usage says is set aside; what a caller says himself is told to be wrong."""
    for usage in (Usage(input_tokens=10**14), Usage(input_tokens=3, cost=Decimal("NaN")), Usage(input_tokens=3, cost=Decimal(-5))):
        ledger.record("openai", "gpt-4o-mini", usage=usage, begun_at=DAY)
    for facts in ({"input_tokens": 10**14}, {"cost": -5}, {"cost": 1e308}, {"input_tokens": 10**5_000}, {"cost": "NaN"}):
        with pytest.raises(InvalidRequest, match="cannot be"):
            ledger.record("openai", "gpt-4o-mini", **facts)

    found = is_whole(ledger, 3)
    assert {"implausible_count", "implausible_cost"} == {call.cost_status for call in found}
    assert {None, Decimal("0.00000045")} == {call.cost for call in found}


def test_counts_whose_price_is_beyond_all_money(ledger):
    """Each count can be, what they come to cannot."""
    made = ledger.record("openai", "gpt-4o-mini", input_tokens=10**12, output_tokens=10**12, begun_at=DAY)

    assert (None, "implausible_count") == (made.cost, made.cost_status)
    is_whole(ledger, 1)


@IN_BOTH
def test_a_logged_call(ledger):
    """By what an SDK's answer says, and by facts that were taken from one."""
    answers = (
        {"usage": {"prompt_tokens": 10**14, "completion_tokens": 2}},
        {"usage": {"input_tokens": -1, "output_tokens": math.inf}},
        {"usage": {"prompt_tokens": 3, "cost": -5}},
        {"usage": {"cache_read_tokens": math.inf, "input_tokens": 5}},
        {"usage_metadata": {"prompt_token_count": 10**400}},
    )
    for answer in answers:
        with ledger.log_call("openai", "gpt-4o-mini") as call:
            call.usage(answer)
    with ledger.log_call("openai", "gpt-4o-mini") as call:
        call.usage(input_tokens=10**30, output_tokens=2, cost=math.nan)

    assert all(call.cost_status.startswith("implausible") for call in is_whole(ledger, len(answers) + 1))


@IN_BOTH
def test_sums_that_are_full(ledger):
    """A day that has cost more than a column holds ends there; no row is refused for it."""
    rows = [{"id": f"r{number}", "model": "m", "cost": 999_999, "begun_at": DAY} for number in range(25)]
    report = ledger.import_usage_logs(rows[:20])
    more = [ledger.import_usage_logs([row]) for row in rows[20:]]
    ledger.record("v", "m", cost=999_999, begun_at=DAY)

    assert (20, 5) == (report.imported, sum(one.imported for one in more))
    assert ledger.flush()
    assert () == ledger.check_rollups().differences
    assert dollars(MOST_SUM) == ledger.get_usage_stats(start="2026-03-01", end="2026-03-01", vendor="").total_cost
    assert 1 == ledger.rebuild_rollups()
    assert () == ledger.check_rollups().differences


def test_a_file_with_absurd_numbers(ledger):
    """Their rows are told, the others are imported."""
    good = {"model": "m", "begun_at": DAY}
    absurd = [good | {name: value} for name in ("input_tokens", "cost", "latency") for value in (10**5_000, -1)]
    report = ledger.import_usage_logs([good, *absurd, good | {"id": 10**5_000}, good])

    assert (2, 7) == (report.imported, report.failed)
    is_whole(ledger, 2)
