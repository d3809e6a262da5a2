"""Periods that slide, weeks that begin on another day, warnings before the end, and resets; in memory and in databases."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal

import pytest

from llmdispatcher import Budget, BudgetExceeded, Config, ConfigError, Dispatcher, Price, Request
from llmdispatcher.accounting import CallBudget, Reservation, Spending
from llmdispatcher.accounting.budgets.reservation import bound, measure
from llmdispatcher.accounting.budgets.store import MemoryBudgetStore
from llmdispatcher.runtime import Deadline
from llmdispatcher.testing import ManualClock

from ...cases import each
from .conftest import in_child, moment, opened, target

ASK = Request("gpt-4o", "hi", max_tokens=100, user="ann")
PRICED = target(price=Price(input=Decimal(1), output=Decimal(1)))
"""At a dollar for a million tokens."""
BOUND = bound(measure(ASK), ASK, PRICED, moment("2026-01-01"))
"""What a call reserves."""


class CostedCalls:
    """Budgets whose calls cost what the test says, on a clock that it moves."""

    def __init__(self, place, *budgets, clock=None):
        self.clock = clock or ManualClock()
        self.warnings = []
        self.store = MemoryBudgetStore() if place is None else opened(place)
        self.spending = Spending(budgets, self.clock, self.store, self.warnings.append)

    def spend(self, cost, request=ASK):
        """Make a call that costs so many dollars, ``None`` for all that it reserves; the error if it is refused."""
        held = Reservation(CallBudget(request), self.spending)
        refusal = self.spending.reserve(held, PRICED, (), Deadline.after(40.0, clock=self.clock))
        if refusal is None:
            held.settle(None, Decimal(cost) if cost is not None else None)
        return refusal

    def status(self):
        self.store.balances(["flush"], 0, 40.0)  # behind all settlements
        (one,) = self.spending.statuses()
        return one


def test_a_sliding_period_is_always_the_last_hours(place):
    """What was spent counts for its length; the error tells when there is room again."""
    costed = CostedCalls(place, Budget(limit="1.00", period="24h"))
    assert costed.spend("0.60") is None
    costed.clock.advance(12 * 3600)
    assert costed.spend("0.3999") is None
    status = costed.status()
    assert (Decimal("0.9999"), "24h", None) == (status.spent, status.period, status.ends)
    assert str(status).endswith("$1 spent, in the last 24h")

    refused = costed.spend("0.60")
    assert isinstance(refused, BudgetExceeded)
    assert "are spent in the last 24h," in str(refused)
    assert "there is room again" in str(refused)
    assert "there is room again" in costed.spending.forecast(ASK, [PRICED])[0].refusal
    assert timedelta(hours=12) == refused.ends - costed.clock.now()
    assert 12 * 3600 == refused.retry_after
    costed.clock.advance(12 * 3600 - 1)  # midnight, or whatever the clocks say, changes nothing
    assert costed.spend("0.60") is not None
    costed.clock.advance(1)
    assert costed.spend("0.60") is None
    costed.clock.advance(11 * 3600)
    assert Decimal("0.9999") == costed.status().spent


def test_a_call_that_is_larger_than_the_limit_is_told_no_time(place):
    """There will never be room for it."""
    refused = CostedCalls(place, Budget(limit="0.0001", period="1h")).spend("1")
    assert (None, None) == (refused.ends, refused.retry_after)


def test_a_warning_comes_once_in_each_period(place):
    """When so much is spent; again in the next one, for each account."""
    costed = CostedCalls(place, Budget(limit="1.00", period="day", per="user", warn_at=0.8, name="daily"))
    bob = Request("gpt-4o", "hi", max_tokens=100, user="bob")
    for cost in ("0.79", "0.01", "0.01"):
        assert costed.spend(cost) is None
    costed.spend("0.9", bob)
    costed.store.balances(["flush"], 0, 40.0)
    (first, second) = costed.warnings
    assert ("budget", "daily", "ann", "usd", Decimal(1), Decimal("0.8"), "day") == (
        first.source,
        first.name,
        first.share,
        first.unit,
        first.limit,
        first.used,
        first.period,
    )
    assert "budget 'daily' of 'ann': $0.80 of $1.00 are used this day, until 2026-01-02 00:00 UTC" == str(first)
    assert "bob" == second.share
    costed.clock.advance(86_400)
    costed.spend("0.85")
    costed.store.balances(["flush"], 0, 40.0)
    assert [moment("2026-01-02"), moment("2026-01-03")] == [one.ends for one in costed.warnings if one.share == "ann"]


def test_a_sliding_period_warns_again_when_the_last_warning_has_slid_out(place):
    """Not at each call that crosses the threshold again."""
    costed = CostedCalls(place, Budget(limit="1.00", period="10h", warn_at=0.5))
    for hours, cost, told in ((0, "0.4", 0), (1, "0.2", 1), (9.2, "0.45", 1), (10, "0.5", 2)):
        costed.clock.advance(hours * 3600)
        assert costed.spend(cost) is None
        costed.store.balances(["flush"], 0, 40.0)
        assert told == len(costed.warnings), hours


def test_an_observer_may_ask_how_budgets_stand(place):
    """Also in the thread that books, which would wait for itself."""
    costed = CostedCalls(place, Budget(limit="1.00", warn_at=0.5))
    heard = []
    costed.store.on_warning = lambda claim, balance: heard.append((balance.spent, costed.spending.statuses()[0].spent))
    costed.spend("0.6")
    costed.status()
    assert [(600_000_000_000, Decimal("0.6"))] == heard


def test_a_reset_leaves_what_is_reserved(place):
    """Spent money is there again, at once and for one share alone; a call under way is settled as ever."""
    for period in ("month", "30d"):
        costed = CostedCalls(place, Budget(limit="1.00", period=period, per="user", name=period, warn_at=0.5))
        bob = Request("gpt-4o", "hi", max_tokens=100, user="bob")
        assert costed.spend("0.0001") is None
        assert costed.spend("0.0001", bob) is None
        costed.clock.advance(20_000)  # into another grain
        held = Reservation(CallBudget(ASK), costed.spending)
        assert costed.spending.reserve(held, PRICED, (), Deadline.after(40.0, clock=costed.clock)) is None
        assert costed.spend("0.99") is None
        assert costed.spend("1.00", bob) is None
        assert costed.spend("0.99", bob) is not None
        assert 1 == costed.spending.reset(period, "bob")
        assert costed.spend("0.10", bob) is None
        assert 2 == costed.spending.reset(period, None)
        held.settle(None, Decimal("0.25"))
        costed.store.balances(["flush"], 0, 40.0)
        left = {one.share: (one.spent, one.reserved) for one in costed.spending.statuses()}
        assert {"ann": (Decimal("0.25"), 0), "bob": (0, 0)} == left
        assert 2 == len(costed.warnings)
        assert costed.spend("0.7") is None
        costed.store.balances(["flush"], 0, 40.0)
        assert 3 == len(costed.warnings)


def test_a_hundred_threads_never_overspend_a_sliding_period(place):
    """Of many calls as many go as there is money for."""
    costed = CostedCalls(place, Budget(limit=30 * BOUND, period="7d"))
    with ThreadPoolExecutor(50) as threads:
        refusals = list(threads.map(lambda _: costed.spend(None), range(60)))
    assert 30 == refusals.count(None)
    assert 30 * BOUND == costed.status().spent


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
def test_processes_share_a_sliding_period_and_its_warning(place):
    """Together they spend no more than there is, and one of them warns."""
    costed = CostedCalls(place, Budget(limit=30 * BOUND, period="24h", warn_at=0.5))
    costed.status()

    def work():
        mine = [number for number in range(20) if costed.spend(None) is None]
        costed.status()
        return len(mine) + 100 * len(costed.warnings)

    with ThreadPoolExecutor(3) as threads:
        statuses = list(threads.map(lambda _: in_child(work), range(3)))
    assert 30 + 100 == sum(statuses), statuses


def test_a_week_begins_on_the_day_that_was_chosen():
    """1 January 2026 is a Thursday; by the clocks of the zone."""
    for day, zone, begins in (
        ("monday", "UTC", "2025-12-29"),
        ("sunday", "UTC", "2025-12-28"),
        ("thursday", "UTC", "2026-01-01"),
        ("friday", "Asia/Tokyo", "2025-12-25T15:00"),
    ):
        costed = CostedCalls(None, Budget(limit="1", period="week", week_start=day, zone=zone))
        assert moment(begins) == costed.status().begins, day
        assert moment(begins) + timedelta(days=7) == costed.status().ends, day


@each(
    "wrong, told",
    [
        ({"period": "30 days"}, "period: '30 days' is not known; .* or a sliding period: minutes, hours, days or weeks"),
        ({"period": "0d"}, "period: '0d' is not known"),
        ({"period": "9999999w"}, "period: '9999999w' is more than 366 days"),
        ({"period": "999999999w"}, "period: '999999999w' is not known"),
        ({"period": "400d"}, "period: '400d' is more than 366 days; give a shorter one"),
        ({"period": timedelta(seconds=30)}, "give whole minutes"),
        ({"period": 30}, "period: 30 is not known"),
        ({"week_start": "sunday"}, "week_start: the period is 'day', which has no weeks"),
        ({"period": "week", "week_start": "Sun"}, "week_start: 'Sun' is not known; .*sunday"),
        ({"warn_at": 80}, "warn_at: 80 is not a fraction of the limit; give one such as 0.8"),
        ({"warn_at": 0}, "warn_at: 0 is not a fraction"),
        ({"warn_at": True}, "warn_at: True is not a fraction"),
        ({"warn_at": 0.5, "period": "call"}, "warn_at: a budget of each call has nothing to warn of"),
    ],
)
def test_settings_are_checked(wrong, told):
    """What is no setting is told with its field and the remedy."""
    with pytest.raises(ConfigError, match=told):
        Config(budgets=[{"limit": "1", **wrong}])


@each("period, text", [(timedelta(days=30), "30d"), (timedelta(hours=36), "36h"), (timedelta(minutes=90), "90m"), ("24 H", "24h")])
def test_a_sliding_period_may_be_a_timedelta(period, text):
    """It has one spelling."""
    assert (text, f"dispatcher/{text}") == ((made := Budget(limit="1", period=period)).period, made.name)


def test_only_what_is_configured_can_be_reset():
    """Others are told, with the names that there are."""
    with Dispatcher({"budgets": [{"limit": "1", "name": "weekly"}, {"limit": "1", "period": "call"}]}) as dispatcher:
        with pytest.raises(ConfigError, match="budget: 'weekly!' is not configured; did you mean 'weekly'"):
            dispatcher.reset_budget("weekly!")
        with pytest.raises(ConfigError, match="'dispatcher/call' is counted by call"):
            dispatcher.reset_budget("dispatcher/call")
        assert 0 == dispatcher.reset_budget("weekly")
    with Dispatcher() as dispatcher, pytest.raises(ConfigError, match="there is none to reset"):
        dispatcher.reset_budget("weekly")
