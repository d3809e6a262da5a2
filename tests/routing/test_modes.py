"""Modes: in which order each of them has the targets."""

from decimal import Decimal

import pytest

from llmdispatcher import (
    AudioPart,
    Balance,
    ConfigError,
    CostOptimization,
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    Price,
    Request,
    Tool,
)
from llmdispatcher.catalog import Target, model_facts, model_names, target_facts
from llmdispatcher.routing import Balancer, Latencies, Modes, Preferences, RoutingContext, own_modes, plan, tokens_of
from llmdispatcher.routing.modes import EVERY, MODES, cost_saving, fast, sophisticated

ASK = Request("m", "Hello")


def target(vendor, dollars=None, window=200_000, output=32_000, model="m"):
    price = Price.flat(Decimal(dollars)) if dollars is not None else None
    return Target(vendor=vendor, model=model, price=price, context_window=window, max_output=output)


def catalogued(kind, *models):
    return [Target(vendor=kind, model=model, kind=kind, **target_facts(kind, model)) for model in models]


def order(mode, targets, request=ASK, turn=0, **seconds):
    """The vendors as a mode has them, given seconds by vendor."""
    cost = CostOptimization()

    def dollars(target):
        amount = cost.estimate(target, tokens_of(request))
        return None if amount is None else float(amount)

    now = Balancer(Balance(), lambda: 0.5).situation(request, targets, turn, lambda each: seconds.get(each.vendor), dollars)
    return [each.vendor for each in mode(now)]


def models(mode, targets, request=ASK):
    now = Balancer(Balance(), lambda: 0.5).situation(request, targets, 0, lambda each: None, lambda each: float(each.price.input))
    return [each.model for each in mode(now)]


def test_fast_is_by_the_clock():
    """What was observed counts more than any fact; who only failed lately comes last."""
    targets = [target(name, 1) for name in "abcd"]

    assert ["b", "a", "d", "c"] == order(fast, targets, a=2.0, b=0.5, c=float("inf"))


def test_fast_takes_small_models_where_nothing_was_observed():
    """By price, up to which a model counts as small; one of unknown price is not taken for a small one."""
    targets = [target("large", 50), target("unknown"), target("small", 4), target("tiny", 1)]

    assert ["tiny", "small", "large", "unknown"] == order(fast, targets)


def test_fast_gets_to_know_the_others():
    """One call in so many goes to a target that was not measured, else the first to be asked would stay the first for ever."""
    targets = [target(name, 1) for name in "ab"]
    firsts = [order(fast, targets, turn=turn, a=0.5)[0] for turn in range(2 * EVERY)]

    assert 2 == firsts.count("b")
    assert ["a", "b"] == firsts[:2]


def test_sophisticated_is_the_dearest_of_the_present():
    """What costs much and holds little is of the past, and comes last."""
    targets = [target("old", 60, window=8_192, output=4_096), target("small", 2), target("best", 50), target("unknown")]

    assert ["best", "small", "unknown", "old"] == order(sophisticated, targets)


def test_sophisticated_prefers_the_newer_of_equals():
    """By the larger window, then by the version in the name; a date in it is none."""
    one = [target("a", 10, model=model) for model in ("x-4-2026-01-31", "x-5", "x-5.1", "x-4")]
    wide = target("a", 10, window=1_000_000, model="x-3")

    assert ["x-3", "x-5.1", "x-5", "x-4-2026-01-31", "x-4"] == models(sophisticated, [*one, wide])


@pytest.mark.parametrize("kind", ["openai", "anthropic", "google", "azure"])
def test_every_mode_has_an_order_of_the_catalogs_models(kind):
    """It holds all of them; the cheapest is not the best one, and the best one is of the present."""
    targets = catalogued(kind, *model_names(kind))
    best = model_facts(kind, models(sophisticated, targets)[0])

    assert all(sorted(models(mode, targets)) == sorted(model_names(kind)) for mode in MODES.values())
    assert models(cost_saving, targets)[0] != best.model
    assert best.max_tokens >= 64_000


def test_cost_saving_is_by_this_request():
    """A long question and a short one may have different cheapest targets; an unknown price comes last."""
    reads = Target(vendor="reads", model="m", price=Price(input=Decimal(1), output=Decimal(20)))
    writes = Target(vendor="writes", model="m", price=Price(input=Decimal(4), output=Decimal(4)))
    targets = [target("unknown"), reads, writes]

    assert ["writes", "reads", "unknown"] == order(cost_saving, targets, Request("m", "short"))
    assert ["reads", "writes", "unknown"] == order(cost_saving, targets, Request("m", "long " * 20_000, max_tokens=10))


@pytest.mark.parametrize(
    "request_",
    [
        ASK,
        Request("m", "Hello", tools=[Tool(name="f")]),
        Request("m", "Hello", reasoning_effort="high"),
        Request("m", [Message.user("Look", ImagePart(url="https://x.example/i.png"))]),
        Request("m", [Message.user(AudioPart(data=b"RIFF", format="wav"))]),
        Request("m", [Message.user(FilePart(data=b"%PDF", media_type="application/pdf"))]),
        Request("m", "a" * 9_000),
        Request("m", "Hello", max_tokens=4_000),
    ],
)
def test_auto_takes_the_cheapest_that_is_able(request_):
    """Whatever the request demands; the dearest is for those who ask for it."""
    targets = [target("best", 50), target("cheap", 1)]

    assert ["cheap", "best"] == order(MODES["auto"], targets, request_)
    assert ["best", "cheap"] == order(MODES["sophisticated"], targets, request_)


@pytest.mark.parametrize("name", ["fast", "Fast", " FAST "])
def test_a_mode_is_known_in_any_spelling(name):
    """Also with a hyphen."""
    assert fast is Modes().named(name).order
    assert cost_saving is Modes().named("cost-saving").order


def reasons(request, default):
    """Why two targets have their places, where the configuration has this mode."""
    moment = RoutingContext(latencies=Latencies(), now=0.0)
    route = plan(request, [target("a", 1), target("b", 2)], Preferences(modes=Modes(default=default)), moment)
    return {step.why if isinstance(step.why, str) else step.why.mode for step in route.steps}


def test_the_request_is_stronger_than_the_configuration():
    """And where neither names a mode there is none."""
    assert {"mode fast"} == reasons(Request("m", "hi", mode="fast"), "cost_saving")
    assert {"mode cost_saving"} == reasons(ASK, "cost_saving")
    assert {"able, in order of registration"} == reasons(ASK, None)


def test_a_mode_that_nobody_knows_is_the_callers_mistake():
    """The error names those there are, one's own included."""
    with pytest.raises(InvalidRequest, match=r"mode: 'slow' is not a mode; use fast, sophisticated, cost_saving, auto, mine"):
        Modes(own=own_modes({"mine": fast})).named("slow")
    with pytest.raises(InvalidRequest, match=r"mode: 'fats' is not a mode; did you mean 'fast'\?"):
        Modes(own=own_modes({"mine": fast})).named("fats")


def test_a_mode_of_ones_own_may_take_the_place_of_a_preset():
    """The user's word is the last."""
    assert sophisticated is Modes(own=own_modes({"Fast": sophisticated})).named("fast").order


@pytest.mark.parametrize("value", [[fast], {"mine": "fast"}, {"": fast}, {3: fast}])
def test_what_is_no_mode_is_refused(value):
    """A mode is a name and a function."""
    with pytest.raises(ConfigError, match="modes"):
        own_modes(value)
