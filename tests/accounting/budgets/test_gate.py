"""What a dispatcher does with budgets: refuse, go elsewhere, begin anew, tell."""

import json
import pickle
from decimal import Decimal
from operator import attrgetter

import attrs
import pytest

from llmdispatcher import (
    Budget,
    BudgetExceeded,
    BudgetStatus,
    Config,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    OpenAIVendor,
    QuotaExceeded,
    Request,
    VendorUnavailable,
)
from llmdispatcher.accounting.budgets.store import BudgetStoreUnavailable
from llmdispatcher.testing import ManualClock, VendorSimulator, faults

from .conftest import moment
from .spent import ASK, AT_ONCE, KEY, dispatcher, remembering


@pytest.fixture
def simulator():
    with VendorSimulator(responses="ok") as made:
        yield made


def bound_of(made, request=ASK):
    """What asking reserves, as it is told before."""
    return made.explain(request).budgets[0].reserves


@pytest.fixture
def bound(simulator):
    """What one call of ASK's reserves at gpt-4o."""
    with dispatcher(simulator) as made:
        return bound_of(made)


def test_a_call_without_money_is_refused_before_it_is_sent(simulator, bound):
    """The error names the budget, what there is, what is needed, and when its period ends."""
    with dispatcher(simulator, budgets=[Budget(limit=bound / 2, name="tiny", period="month")]) as made:
        with pytest.raises(BudgetExceeded, match=r"budget 'tiny': .* are spent") as raised:
            made.send(ASK)
        with pytest.raises(BudgetExceeded, match=r"; set max_tokens, or raise limit$"):
            made.send(attrs.evolve(ASK, max_tokens=None))
        with pytest.raises(BudgetExceeded, match=r"; shorten the request or its max_tokens, or raise limit$"):
            made.send(attrs.evolve(ASK, max_tokens=200))
        status = made.get_budgets()[0]

    error = raised.value
    assert ("tiny", bound / 2, Decimal(0), Decimal(0), bound) == attrgetter("budget", "limit", "spent", "reserved", "needed")(error)
    assert (status.ends, False, False) == (error.ends, error.retry_here, error.try_elsewhere)
    assert 0 < error.retry_after <= 31 * 86_400
    assert 0 == simulator.hits
    assert ["v0:gpt-4o"] == [passed.target for passed in error.trace.skipped]


def test_a_budget_that_fits_exactly_lets_a_call_go(simulator, bound):
    """And a picodollar less does not."""
    with dispatcher(simulator, budgets=[Budget(limit=bound)]) as made:
        assert "ok" == made.send(ASK).content
    with dispatcher(simulator, budgets=[Budget(limit=bound - Decimal("1e-12"))]) as made, pytest.raises(BudgetExceeded):
        made.send(ASK)


def test_a_dear_target_is_left_out_for_a_cheaper_one(simulator, bound):
    """Where the budget says so; the trace tells why."""
    budget = Budget(limit=bound / 2, on_exceed="next_target", match={"model": "gpt-4o"})
    with dispatcher(simulator, budgets=[budget], pools={"smart": ["v0:gpt-4o", "v0:gpt-4o-mini"]}) as made:
        response = made.send(attrs.evolve(ASK, model="smart"))

    assert ("ok", "gpt-4o-mini") == (response.content, response.trace[0].model)
    assert ["v0:gpt-4o"] == [passed.target for passed in response.trace.skipped]


def test_where_nobody_is_left_the_first_refusal_is_told(simulator, bound):
    """All targets are over."""
    made = dispatcher(simulator, simulator, budgets=[Budget(limit=bound / 2, on_exceed="next_target")])
    with made, pytest.raises(BudgetExceeded, match=r"^v0:gpt-4o: budget") as raised:
        made.send(ASK)

    assert ["v0:gpt-4o", "v1:gpt-4o"] == [passed.target for passed in raised.value.trace.skipped]


def test_a_failure_is_told_where_another_target_is_over_budget(simulator, bound):
    """The vendor's own error says more than the budget of the fallback."""
    simulator.always(faults.status(503))
    budget = Budget(limit=bound / 2, on_exceed="next_target", match={"vendor": "v1"})
    with (
        dispatcher(simulator, simulator, budgets=[budget], retry_policy={"max_retries": 0}) as made,
        pytest.raises(VendorUnavailable),
    ):
        made.send(ASK)


def test_a_retry_that_there_is_no_money_for_is_not_made(simulator, bound):
    """What came before is the cause."""
    simulator.always(faults.reset_before_head())
    with dispatcher(simulator, budgets=[Budget(limit=bound * 3 / 2)]) as made, pytest.raises(BudgetExceeded) as raised:
        made.send(ASK)

    assert 1 == simulator.hits
    assert isinstance(raised.value.__cause__, VendorUnavailable)


def test_a_budget_for_each_call_counts_its_attempts_together(simulator, bound):
    """Two that may be billed are one too many; the next call begins with nothing."""
    simulator.script(faults.reset_before_head())
    with dispatcher(simulator, budgets=[Budget(limit=bound * 3 / 2, period="call")]) as made:
        with pytest.raises(BudgetExceeded, match="call"):
            made.send(ASK)
        assert "ok" == made.send(ASK).content
        assert () == made.get_budgets()


def test_what_one_account_has_no_room_for_is_given_back_to_the_others(simulator, bound):
    """A call's own budget allowed it, the day's did not."""
    budgets = [Budget(limit=1, period="call"), Budget(limit=1, per="user"), Budget(limit=bound / 2)]
    with dispatcher(simulator, budgets=budgets) as made:
        with pytest.raises(BudgetExceeded, match="'dispatcher/day'"):
            made.send(ASK)
        assert {Decimal(0)} == {status.spent + status.reserved for status in made.get_budgets()}


def test_a_user_who_has_spent_his_money_leaves_that_of_others_alone(simulator, bound):
    """One account for each; those who do not say who they are share one."""
    with dispatcher(simulator, budgets=[Budget(limit=bound, per="user")]) as made:
        for user in ("ann", "ben", None):
            made.send(attrs.evolve(ASK, user=user))
            with pytest.raises(BudgetExceeded):
                made.send(attrs.evolve(ASK, user=user))
        assert ["", "ann", "ben"] == [status.share for status in made.get_budgets()]


def test_the_configured_origin_is_who_asks(simulator, bound):
    """Where a request names none."""
    with dispatcher(simulator, budgets=[Budget(limit=1, per="origin")], origin="shop") as made:
        made.send(ASK)
        made.send(attrs.evolve(ASK, origin="blog"))
        assert ["blog", "shop"] == [status.share for status in made.get_budgets()]


def test_a_free_model_is_always_allowed():
    """Also where there is no money at all."""
    with VendorSimulator(responses="ok") as simulator:
        made = Dispatcher(Config(budgets=[Budget(limit=0)]))
        made.register_vendor(OpenAIVendor(name="local", kind="ollama", api_key=KEY, base_url=simulator.openai_url, trust_env=False))
        with made:
            assert "ok" == made.send(Request("llama3", "hi")).content


def clocked(simulator, clock, *budgets):
    made = Dispatcher(Config(budgets=budgets, retry_policy=AT_ONCE, timeout=None), clock=clock)
    made.register_vendor(OpenAIVendor(name="v0", api_key=KEY, base_url=simulator.openai_url, trust_env=False))
    return made


def test_a_new_day_begins_with_nothing_spent(simulator, bound):
    """At midnight of its zone; an hour before it does not."""
    clock = ManualClock()  # it shows the first of January, midnight UTC, which is an hour later in Berlin
    with clocked(simulator, clock, Budget(limit=bound, zone="Europe/Berlin")) as made:
        made.send(ASK)
        with pytest.raises(BudgetExceeded) as raised:
            made.send(ASK)
        assert (23 * 3600, moment("2026-01-01 23:00")) == (raised.value.retry_after, raised.value.ends)
        clock.advance(23 * 3600 - 1)
        with pytest.raises(BudgetExceeded):
            made.send(ASK)
        clock.advance(1)
        assert "ok" == made.send(ASK).content
        assert moment("2026-01-01 23:00") == made.get_budgets()[0].begins


def test_a_call_is_settled_in_the_day_in_which_it_began(simulator):
    """Though it ends in the next."""
    clock = ManualClock()
    with clocked(simulator, clock, Budget(limit=1)) as made:
        store = remembering(made)
        stream = made.send_streaming(ASK)
        next(iter(stream))
        clock.advance(86_400)
        assert [(Decimal(0), Decimal(0))] == [(status.spent, status.reserved) for status in made.get_budgets()]
        cost = stream.response().usage.cost
        accounts = store.balances(["dispatcher/day"], 0)

    assert [(int(moment("2026-01-01").timestamp() * 1e6), int(cost.scaleb(12)), 0)] == [
        (one.account.begins, one.spent, one.reserved) for one in accounts
    ]


class Unavailable:
    """A store that does not answer."""

    def __init__(self):
        self.settled = []

    def reserve(self, wanted, now, patience):
        raise BudgetStoreUnavailable("its database is asleep")

    def settle(self, held, spent, *, booked=True):
        self.settled.append((spent, booked))

    def balances(self, budgets, now, patience):
        raise BudgetStoreUnavailable("its database is asleep")

    def close(self):
        """Nothing."""


def test_a_store_that_is_unavailable_lets_calls_go(simulator, caplog):
    """With a warning; each is booked later, by what it did cost. Whoever looks at the accounts is told why."""
    with dispatcher(simulator, budgets=[Budget(limit=1)]) as made:
        made._attempt_loop.spending.store = store = Unavailable()
        response = made.send(ASK)
        with pytest.raises(BudgetExceeded, match="cannot be looked at: its database is asleep") as raised:
            made.get_budgets()

    assert [(int(response.usage.cost.scaleb(12)), False)] == store.settled
    assert "its database is asleep; v0:gpt-4o is asked nevertheless" in caplog.text
    assert isinstance(raised.value.__cause__, BudgetStoreUnavailable)


def test_a_strict_budget_refuses_while_its_store_is_unavailable(simulator):
    """One of several is enough; the error has the reason as its cause, and nothing is sent."""
    with dispatcher(simulator, budgets=[Budget(limit=1), Budget(limit=1, strict=True, name="hard")]) as made:
        made._attempt_loop.spending.store = store = Unavailable()
        with pytest.raises(BudgetExceeded, match="budget 'hard' cannot be looked at: its database is asleep") as raised:
            made.send(ASK)

    assert (0, [], False) == (simulator.hits, store.settled, raised.value.sent)
    assert "its database is asleep" == str(raised.value.__cause__)


def test_a_strict_budget_lets_others_be(simulator):
    """A call that it does not concern goes on."""
    other = Budget(limit=1, strict=True, match={"user": "nobody"}, name="hard")
    with dispatcher(simulator, budgets=[Budget(limit=1), other]) as made:
        made._attempt_loop.spending.store = Unavailable()
        made.send(ASK)

    assert 1 == simulator.hits


@pytest.mark.parametrize("strict", [True, False])
def test_a_store_that_is_unavailable_for_longer_than_the_call_has_time(simulator, strict):
    """Of a strict budget the deadline is what the caller hears of; of another one the call goes on with half of its time."""
    clock = ManualClock()

    class Slow(Unavailable):
        def reserve(self, wanted, now, patience):
            clock.advance(patience)
            raise BudgetStoreUnavailable("its database is asleep")

    with clocked(simulator, clock, Budget(limit=1, strict=strict)) as made:
        made._attempt_loop.spending.store = Slow()
        if strict:
            with pytest.raises(DeadlineExceeded):
                made.send(ASK, timeout=2.0)
        else:
            assert "ok" == made.send(ASK, timeout=30.0).content


def test_explain_tells_what_would_be_reserved_and_what_is_in_the_way(simulator, bound):
    """For people and for machines, and reserves nothing."""
    with dispatcher(simulator, budgets=[Budget(limit=bound * 3 / 2)]) as made:
        before = made.explain(ASK)
        made.send(ASK)
        with dispatcher(simulator, budgets=[Budget(limit=bound / 2)]) as tight:
            after = tight.explain(ASK)

    assert f"  $  v0:gpt-4o: at most ${bound.normalize():f}" in str(before)
    assert "budget 'dispatcher/day': $0 of" in str(after)
    assert {"target": "v0:gpt-4o", "reserves": f"{bound:f}", "refusal": ""} == json.loads(json.dumps(before.as_dict()))["budgets"][
        0
    ]
    assert after.as_dict()["budgets"][0]["refusal"].startswith("budget 'dispatcher/day'")


def test_a_status_tells_people_and_machines(simulator):
    """Spent, reserved, left, from when, until when."""
    status = BudgetStatus(
        budget="b", share="ann", limit=Decimal(5), spent=Decimal(4), reserved=Decimal(2), begins=moment("2026-01-01"), ends=None
    )

    assert Decimal(0) == status.left
    assert "b of ann: $4 of $5 spent, $2 reserved" == str(status)
    assert {"left": "0", "begins": "2026-01-01T00:00:00+00:00", "ends": None}.items() <= json.loads(
        json.dumps(status.as_dict())
    ).items()


def test_without_budgets_nothing_is_asked(simulator):
    """No account, no line in the plan."""
    with dispatcher(simulator, budgets=[]) as made:
        response = made.send(ASK)
        assert (None, (), ()) == (made._attempt_loop.spending, made.get_budgets(), made.explain(ASK).budgets)
    assert response.trace[0].reserved is None


def test_the_error_survives_pickling():
    """With its money."""
    error = pickle.loads(pickle.dumps(BudgetExceeded("no", budget="b", limit=Decimal(1), ends=moment("2026-01-01"))))

    assert ("b", Decimal(1), moment("2026-01-01")) == (error.budget, error.limit, error.ends)


def keyed(simulator, *keys, **budget):
    """A vendor of several keys, and a budget for each."""
    made = Dispatcher(Config(budgets=[Budget(per="key", **budget)], retry_policy=AT_ONCE))
    made.register_vendor(OpenAIVendor(name="v0", api_key=list(keys), base_url=simulator.openai_url, trust_env=False))
    return made


def shown(simulator):
    """The keys of the requests, by their last letter."""
    return [request.headers["authorization"][-1] for request in simulator.requests]


KEYS = ("sk-spending-012345678a", "sk-spending-012345678b")


def test_the_next_key_is_shown_when_the_money_of_one_is_spent(simulator, bound):
    """Each has an account; where none has money the call is refused."""
    with keyed(simulator, *KEYS, limit=bound) as made:
        made.send(ASK)
        made.send(ASK)
        with pytest.raises(BudgetExceeded, match="of 'v0#1'"):
            made.send(ASK)
        shares = [status.share for status in made.get_budgets() if status.spent]

    assert (["a", "b"], ["v0#1", "v0#2"]) == (shown(simulator), shares)


def test_the_reservation_goes_with_the_key(simulator, bound):
    """The first key is refused, so the second pays."""
    simulator.script(faults.quota())
    with keyed(simulator, *KEYS, limit=bound) as made:
        response = made.send(ASK)
        spent = {status.share: status.spent for status in made.get_budgets()}

    assert ["a", "b"] == shown(simulator)
    assert {"v0#1": Decimal(0), "v0#2": response.usage.cost} == spent


def test_a_key_without_money_is_not_gone_on_to(simulator, bound):
    """The refusal of the first is what the caller hears."""
    with keyed(simulator, *KEYS, limit=bound * 3 / 2, match={"key": "v0#2"}) as made:
        simulator.script(faults.quota(), faults.quota())
        with pytest.raises(DispatchError):
            made.send(ASK)
        assert ["a", "b"] == shown(simulator)
    with keyed(simulator, *KEYS, limit=bound / 2, match={"key": "v0#2"}) as made:
        simulator.script(faults.quota())
        with pytest.raises(QuotaExceeded):
            made.send(ASK)
        assert ["a", "b", "a"] == shown(simulator)
