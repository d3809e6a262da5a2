"""The optimizers' figures: what a call would cost, how fast a target was, and the order of both together."""

import math
import threading
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import ConfigError, CostOptimization, LatencyOptimization, Message, Price, Request, Usage
from llmdispatcher.catalog import Target, model_facts
from llmdispatcher.routing import Latencies, Ranking, tokens_of
from llmdispatcher.routing import optimize as room
from llmdispatcher.routing.optimize import ranked

from ..threads import in_threads

TARGET = Target(vendor="openai", model="gpt-4o", kind="openai", price=model_facts("openai", "gpt-4o").price)
USAGE = Usage(input_tokens=1000, output_tokens=500)


def test_tokens_are_estimated_from_characters():
    """4 characters a token, 4 tokens a message, 500 back unless the request says."""
    request = Request("gpt-4o", [Message.system("a" * 400), Message.user("b" * 400)])

    assert (208, 500) == (tokens_of(request).input_tokens, tokens_of(request).output_tokens)
    assert 7 == tokens_of(attrs.evolve(request, max_tokens=7)).output_tokens


@pytest.mark.parametrize(
    ("settings", "tokens"),
    [
        ({"n": 3, "max_tokens": 10}, 30),
        ({"max_tokens": 10, "extra_params": {"max_tokens": 100}}, 100),
        ({"extra_params": {"max_completion_tokens": 100, "n": 2}}, 200),
        ({"extra_params": {"reasoning": {"max_tokens": 10}}}, 500),
        ({"max_tokens": 10, "extra_params": {"thinking": {"budget_tokens": 900}}}, 900),
        ({"max_tokens": 10, "extra_params": {"options": {"num_predict": -1}}}, 500),
        ({"max_tokens": 0, "extra_params": {"user": "me"}}, 0),
    ],
)
def test_an_estimate_counts_answers_and_limits_in_every_spelling(settings, tokens):
    """Thoughts may make an answer longer, and -1 is no limit."""
    assert tokens == tokens_of(Request("m", "hi", **settings, wire_format="openai_chat")).output_tokens


def test_an_estimate_is_the_catalogs_price_of_the_estimated_tokens():
    """1,000 tokens in at $2.5 and 500 out at $10 a million."""
    assert Decimal("0.0075") == CostOptimization().estimate(TARGET, USAGE)


@pytest.mark.parametrize("name", ["openai", "OpenAI", " openai "])
def test_vendor_costs_override_the_catalog(name):
    """US dollars per 1,000 tokens of any class, for the vendor in any spelling."""
    assert Decimal("0.045") == CostOptimization(vendor_costs={name: 0.03}).estimate(TARGET, USAGE)


@pytest.mark.parametrize("cap", ["0.0075", 0.0075, Decimal("0.0075")])
def test_a_cap_admits_what_it_names(cap):
    """The cap itself is within the cap, however it was written."""
    assert None is CostOptimization(max_cost=cap).objection(TARGET, USAGE)


def test_a_cap_tells_what_is_over_it():
    """The reason names both amounts."""
    objection = CostOptimization(max_cost="0.005").objection(TARGET, USAGE)

    assert "about $0.0075 is over max_cost $0.005" == objection


def test_an_unknown_price_cannot_hold_a_cap():
    """What nobody can price is refused under a cap, with the remedy."""
    unknown = attrs.evolve(TARGET, price=None)

    assert "give vendor_costs['openai']" in CostOptimization(max_cost="1").objection(unknown, USAGE)
    assert None is CostOptimization().objection(unknown, USAGE)


def test_what_is_free_holds_every_cap():
    """A local model passes a cap of nothing."""
    free = attrs.evolve(TARGET, price=Price.flat(Decimal(0)))

    assert None is CostOptimization(max_cost=0).objection(free, USAGE)


def test_a_disabled_cap_caps_nothing():
    """``enabled=False`` switches the whole of it off."""
    assert None is CostOptimization(enabled=False, max_cost=0).objection(TARGET, USAGE)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"max_cost": "cheap"}, "max_cost: 'cheap' is not an amount"),
        ({"max_cost": -1}, "max_cost: -1 is not an amount ≥ 0"),
        ({"max_cost": "nan"}, "max_cost: 'nan'"),
        ({"max_cost": True}, "max_cost: True"),
        ({"vendor_costs": {"openai": None}}, r"vendor_costs\['openai'\]: None"),
        ({"vendor_costs": ["openai"]}, "vendor_costs: list is not a mapping"),
        ({"prefer_cheap": "no"}, "prefer_cheap: 'no'"),
        ({"max_latency": -1}, "max_latency: -1"),
        ({"latency_weights": {"openai": 0}}, r"latency_weights\['openai'\]: 0"),
        ({"latency_weights": {"openai": "2"}}, r"latency_weights\['openai'\]: '2'"),
        ({"latency_weights": 2}, "latency_weights: int is not a mapping"),
    ],
)
def test_a_wrong_setting_is_named(settings, named):
    """Field and value stand in the error."""
    of_cost = named.startswith(("max_cost", "vendor_costs", "prefer_cheap"))
    with pytest.raises(ConfigError, match=named):
        (CostOptimization if of_cost else LatencyOptimization)(**settings)


def test_a_copy_with_a_change_keeps_the_rest():
    """``attrs.evolve`` works on values that were converted."""
    changed = attrs.evolve(CostOptimization(max_cost="0.05", vendor_costs={"a": "0.01"}), prefer_cheap=False)

    assert CostOptimization(max_cost="0.05", vendor_costs={"a": "0.01"}, prefer_cheap=False) == changed


def test_an_estimate_moves_towards_what_is_observed():
    """New observations count 0.3, old ones the rest; first tokens apart from whole answers."""
    latencies = Latencies()
    latencies.observe(TARGET, 1.0, 0.1, now=0)
    latencies.observe(TARGET, 2.0, 0.2, now=1)

    assert pytest.approx(1.3) == latencies.estimate(TARGET, 2, streamed=False)
    assert pytest.approx(0.13) == latencies.estimate(TARGET, 2, streamed=True)


def test_a_stream_without_a_first_token_yet_is_judged_by_whole_answers():
    """Better a long estimate than none."""
    latencies = Latencies()
    latencies.observe(TARGET, 1.0, None, now=0)
    assert 1.0 == latencies.estimate(TARGET, 0, streamed=True)

    latencies.observe(TARGET, 1.0, 0.2, now=0)
    latencies.observe(TARGET, 1.0, None, now=0)
    assert 0.2 == latencies.estimate(TARGET, 0, streamed=True)


@pytest.mark.parametrize(("later", "estimate"), [(300.0, 1.0), (300.1, None)])
def test_old_observations_count_for_nothing(later, estimate):
    """After 300 s a target is as good as unmeasured."""
    latencies = Latencies()
    latencies.observe(TARGET, 1.0, None, now=0)

    assert estimate == latencies.estimate(TARGET, later, streamed=False)


def test_an_observation_after_a_long_silence_starts_anew():
    """A stale average does not weigh on what is seen now."""
    latencies = Latencies()
    latencies.observe(TARGET, 9.0, None, now=0)
    latencies.observe(TARGET, 1.0, None, now=500)

    assert 1.0 == latencies.estimate(TARGET, 500, streamed=False)


def test_a_target_that_only_fails_is_not_unmeasured():
    """Else a broken vendor would be tried first by every call."""
    latencies = Latencies()
    latencies.failed(TARGET, now=0)
    assert math.inf == latencies.estimate(TARGET, 1, streamed=False)

    latencies.observe(TARGET, 1.0, None, now=2)
    latencies.failed(TARGET, now=3)
    assert 1.0 == latencies.estimate(TARGET, 4, streamed=False)


def test_latencies_are_bounded(monkeypatch):
    """Endless different models do not fill the memory."""
    monkeypatch.setattr(room, "_MOST_TARGETS", 3)
    latencies = Latencies()
    for number in range(10):
        latencies.observe(Target(vendor="a", model=str(number)), 1.0, None, now=0)

    assert 3 == len(latencies._estimates)
    assert 1.0 == latencies.estimate(Target(vendor="a", model="9"), 0, streamed=False)


def test_threads_share_one_estimate():
    """Eight threads observing the same latency leave exactly that latency."""
    latencies, start = Latencies(), threading.Barrier(8)

    def observe():
        start.wait()
        for _ in range(200):
            latencies.observe(TARGET, 2.0, 0.5, now=0)

    in_threads(observe, 8)

    assert (2.0, 0.5) == (latencies.estimate(TARGET, 0, streamed=False), latencies.estimate(TARGET, 0, streamed=True))


def order(figures, *, cheap=False, fast=False):
    rankings = [
        Ranking(target=Target(vendor=name, model="m"), by="", cost=cost, seconds=seconds, too_slow=slow)
        for name, (cost, seconds, slow) in figures.items()
    ]
    return "".join(ranking.target.vendor for ranking in ranked(rankings, cheap=cheap, fast=fast))


def test_cheap_ones_come_first_and_unknown_prices_last():
    """Ties stay as they were given."""
    figures = {
        "a": (None, None, False),
        "b": (Decimal(2), None, False),
        "c": (Decimal(1), None, False),
        "d": (Decimal(2), None, False),
    }

    assert "cbda" == order(figures, cheap=True)


def test_unmeasured_ones_come_first_and_then_the_fast():
    """What is not known is tried, so that it becomes known; what only failed comes last."""
    figures = {"a": (None, 2.0, False), "b": (None, math.inf, False), "c": (None, 1.0, False), "d": (None, None, False)}

    assert "dcab" == order(figures, fast=True)


def test_both_optimizers_add_their_places():
    """Second by price and first by speed beats first by price and third by speed."""
    figures = {"a": (Decimal(1), 3.0, False), "b": (Decimal(2), 1.0, False), "c": (Decimal(3), 2.0, False)}

    assert "bac" == order(figures, cheap=True, fast=True)


def test_too_slow_ones_come_after_all_others():
    """However cheap they are."""
    figures = {"a": (Decimal(1), 9.0, True), "b": (Decimal(5), 1.0, False)}

    assert "ba" == order(figures, cheap=True, fast=True)


@pytest.mark.parametrize(
    ("by", "cost", "seconds", "slow", "text"),
    [
        ("price", Decimal("0.00250"), None, False, "optimizer, by price: about $0.0025"),
        ("price", None, None, False, "optimizer, by price: price unknown"),
        ("speed", None, 1.234, True, "optimizer, by speed: about 1.23 s, over max_latency"),
        ("speed", None, math.inf, False, "optimizer, by speed: failed lately"),
        ("price and speed", Decimal(1), None, False, "optimizer, by price and speed: about $1, speed not measured lately"),
    ],
)
def test_a_ranking_explains_itself(by, cost, seconds, slow, text):
    """Only the figures that count are told."""
    assert text == str(Ranking(target=TARGET, by=by, cost=cost, seconds=seconds, too_slow=slow))
