"""Strategies of balancing: shares of the calls, orders of failover, and conversations that stay where they are."""

import random as dice
from collections import Counter

import pytest

from llmdispatcher import Balance, ConfigError, Request
from llmdispatcher.catalog import Target
from llmdispatcher.routing import Balancer
from llmdispatcher.routing.balance import STRATEGIES, by_session

A, B, C = (Target(vendor=name, model="m") for name in "abc")
ALL = (A, B, C)
REQUEST = Request("m", "hi")


def unknown(target):
    return None


def orders(balance, turns, seconds=unknown, dollars=unknown, request=REQUEST, targets=ALL):
    """The order of each of so many calls, as words."""
    chance = dice.Random(7)
    balancer = Balancer(balance, chance.random)
    return ["".join(target.vendor for target in balancer.order(request, targets, turn, seconds, dollars)) for turn in range(turns)]


def test_round_robin_gives_each_its_turn():
    """And the others follow in the same order."""
    assert ["abc", "bca", "cab", "abc"] == orders(Balance(), 4)


def test_weights_are_shares():
    """Three to one, and none at all for a weight of zero unless the others fail."""
    seen = Counter(order[0] for order in orders(Balance(strategy="weighted", weights={"a": 3, "b": 1, "c": 0}), 4_000))

    assert set("ab") == set(seen)
    assert 0.70 < seen["a"] / 4_000 < 0.80
    assert {"c"} == {order[2] for order in orders(Balance(strategy="weighted", weights={"c": 0}), 50)}


def test_random_is_fair():
    """A third each."""
    seen = Counter(order[0] for order in orders(Balance(strategy="random"), 3_000))

    assert all(0.28 < seen[name] / 3_000 < 0.39 for name in "abc")


def test_least_loaded_counts_calls_under_way():
    """Not calls in all; a finished call weighs nothing."""
    balancer = Balancer(Balance(strategy="least_loaded"), dice.random)
    for target in (A, A, B):
        balancer.begin(target)
    first = [balancer.order(REQUEST, ALL, 0, unknown, unknown)[0].vendor]
    balancer.end(A)
    balancer.end(A)
    balancer.begin(C)
    first.append(balancer.order(REQUEST, ALL, 0, unknown, unknown)[0].vendor)

    assert ["c", "a"] == first


def test_the_fastest_comes_first_and_the_unknown_before_it():
    """An infinite guess would keep it unknown for ever."""
    seconds = {A: 2.0, B: 0.5}

    assert ["cba"] == orders(Balance(strategy="fastest"), 1, seconds=seconds.get)


def test_the_cheapest_comes_first_and_the_unpriced_last():
    """What nobody knows the price of may cost anything."""
    dollars = {A: 0.02, B: 0.01}

    assert ["bac"] == orders(Balance(strategy="cheapest"), 1, dollars=dollars.get)


def test_the_lowest_number_has_priority_and_equals_take_turns():
    """Two at the front share, the third is their reserve."""
    assert ["abc", "bac", "abc"] == orders(Balance(strategy="priority", priorities={"c": 9}), 3)


def test_a_session_stays_where_it_is():
    """Its prompt cache is there."""
    balance = Balance(sticky="user")

    assert 1 == len(set(orders(balance, 20, request=Request("m", "hi", user="u1"))))
    assert 3 == len({orders(balance, 1, request=Request("m", "hi", user=f"u{number}"))[0][0] for number in range(50)})


def test_without_a_session_the_strategy_decides():
    """A request that names no user takes its turn."""
    assert ["abc", "bca"] == orders(Balance(sticky="user"), 2)


def test_a_session_is_any_key_of_the_metadata():
    """Whatever the caller calls its conversations."""
    request = Request("m", "hi", metadata={"session": 42})

    assert 1 == len(set(orders(Balance(sticky="session"), 9, request=request)))


def test_a_vendor_that_goes_moves_only_its_own_sessions():
    """All others keep their caches."""
    before = {name: by_session(name, ALL)[0] for name in map(str, range(300))}
    after = {name: by_session(name, (A, B))[0] for name in before}

    assert [] == [name for name in before if before[name] is not C and before[name] is not after[name]]


def test_a_strategy_of_ones_own_is_a_function():
    """It may leave targets out; it may not make any up."""
    assert ["c", "c"] == orders(Balance(strategy=lambda now: now.targets[-1:]), 2)
    with pytest.raises(ConfigError, match="strategy"):
        orders(Balance(strategy=lambda now: [Target(vendor="x", model="m")]), 1)


def test_one_target_is_not_balanced():
    """There is nothing to decide."""
    assert ["a"] == orders(Balance(strategy=lambda now: []), 1, targets=(A,))


@pytest.mark.parametrize("name", [*STRATEGIES, "ROUND_ROBIN", " Random "])
def test_strategies_are_known_by_name_in_any_case(name):
    """The names of other tools' settings are understood."""
    assert callable(Balance(strategy=name).strategy)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"strategy": "best"}, "strategy: 'best' is not a strategy; use round_robin"),
        ({"weights": {"a": -1}}, r"weights\['a'\]: -1 is not a number"),
        ({"weights": 3}, "weights: int is not a mapping"),
        ({"priorities": {"a": True}}, r"priorities\['a'\]: True"),
    ],
)
def test_a_mistake_is_told(settings, text):
    """With field, value and remedy."""
    with pytest.raises(ConfigError, match=text):
        Balance(**settings)
