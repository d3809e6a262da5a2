"""The retry budget, by a clock that is moved by hand."""

from llmdispatcher import RetryBudget
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Budgets

TARGET = Target(vendor="openai", model="m")


def spent(budgets, now, most=1_000):
    """How many retries go until one is refused."""
    return next((number for number in range(most) if not budgets.spend(TARGET, now)), most)


def test_a_caller_with_little_traffic_can_retry():
    """One a second over the window, without any calls to take a part of."""
    assert 10 == spent(Budgets(RetryBudget()), 100.0)


def test_much_traffic_may_retry_a_fifth():
    """And the ten besides."""
    budgets = Budgets(RetryBudget())
    for _ in range(1_000):
        budgets.called(TARGET, 100.0)

    assert 210 == spent(budgets, 100.0)


def test_the_window_moves():
    """Ten seconds later all is forgotten; five seconds later nothing."""
    budgets = Budgets(RetryBudget())
    spent(budgets, 100.0)

    assert (0, 10) == (spent(budgets, 105.0), spent(budgets, 110.5))


def test_time_that_stands_still_or_jumps_is_no_trouble():
    """A long pause is an empty window."""
    budgets = Budgets(RetryBudget())
    budgets.called(TARGET, 5.0)
    budgets.called(TARGET, 1e9)

    assert 10 == spent(budgets, 1e9)


def test_targets_have_their_own():
    """A failure of one takes nothing from another."""
    budgets = Budgets(RetryBudget())
    spent(budgets, 100.0)

    assert budgets.spend(Target(vendor="openai", model="other"), 100.0)


def test_a_budget_that_is_off_refuses_nothing():
    """As many as the retry policy wants."""
    assert 1_000 == spent(Budgets(RetryBudget(enabled=False)), 100.0)
