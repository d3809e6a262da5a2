"""Plans with modes and pools, and the capabilities that decide before all of them."""

from decimal import Decimal

import attrs
import pytest

from llmdispatcher import (
    AudioPart,
    Balance,
    ConfigError,
    CostOptimization,
    FilePart,
    InvalidRequest,
    LatencyOptimization,
    Message,
    Price,
    Request,
    RoutingCondition,
    RoutingRule,
    SkippedTarget,
)
from llmdispatcher.catalog import CAPABILITIES, Target, target_facts
from llmdispatcher.routing import (
    Balancer,
    Latencies,
    Modes,
    Preferences,
    RoutingContext,
    RuleTable,
    Selection,
    dead_end,
    own_modes,
    plan,
    pools,
)
from llmdispatcher.routing.modes import cost_saving
from llmdispatcher.routing.planner import needs_of

SCHEMA = {"type": "object", "properties": {"x": {"type": "integer"}}}
ASK = Request("m", "Hello")


def target(vendor, dollars=None, model="m", **facts):
    price = Price.flat(Decimal(dollars)) if dollars is not None else None
    return Target(vendor=vendor, model=model, price=price, **facts)


DEAR, CHEAP, MIDDLE = target("dear", 50), target("cheap", 1), target("middle", 9)
ALL = (DEAR, CHEAP, MIDDLE)
WORDS = frozenset({"json_schema"})


def route(
    request=ASK, targets=ALL, *, choice=Selection.VENDORS, latencies=None, vectors=False, rules=(), mode=None, modes=None, **more
):
    wishes = Preferences(rules=RuleTable(rules), modes=Modes(own=own_modes(modes), default=mode), **more)
    moment = RoutingContext(latencies=latencies or Latencies(), now=0.0, vectors=vectors)
    return plan(request, targets, wishes, moment, choice)


def order(*args, **settings):
    return [step.target.vendor for step in route(*args, **settings).steps]


@pytest.mark.parametrize(
    ("request_", "needs"),
    [
        (Request("m", "hi", response_format=SCHEMA), {"json_schema"}),
        (Request("m", "hi", response_format={"type": "json_object"}), set()),
        (Request("m", [Message.user(AudioPart(data=b"RIFF", format="wav"))]), {"audio"}),
        (Request("m", [Message.user(FilePart(data=b"%PDF", media_type="application/pdf"))]), {"documents"}),
        (Request("m", "hi", reasoning_effort="low"), {"reasoning"}),
        (Request("m", "hi", reasoning_tokens=100), {"reasoning"}),
        (Request("m", "hi", reasoning_effort="none"), set()),
        (Request("m", "hi", reasoning_effort="high", drop_params=True), set()),
    ],
)
def test_what_a_request_uses(request_, needs):
    """Words of the catalog; a wish for thought that may be dropped is no need."""
    assert needs == needs_of(request_, streamed=False)
    assert needs <= {*CAPABILITIES}


def test_who_lacks_a_capability_is_out():
    """Where it is known; unknown is able."""
    deaf = target("deaf", lacks=frozenset({"audio"}))
    heard = Request("m", [Message.user(AudioPart(data=b"RIFF", format="wav"))])
    found = route(heard, (deaf, CHEAP))

    assert (SkippedTarget("deaf", "m has no audio", "audio"),) == found.skipped
    assert ("cheap",) == tuple(step.target.vendor for step in found.steps)


def test_a_schema_told_in_words_comes_after_one_that_is_kept():
    """Also before the default vendor's wish and the optimizers', but not before a rule's."""
    wordy = target("wordy", 0, makeshift=WORDS)
    asked = Request("m", "hi", response_format=SCHEMA)

    assert ["dear", "wordy"] == order(asked, (wordy, DEAR))
    assert ["dear", "wordy"] == order(asked, (wordy, DEAR), default_vendor="wordy")
    assert ["dear", "wordy"] == order(asked, (wordy, DEAR), cost=CostOptimization(), mode="cost_saving")
    assert ["wordy", "dear"] == order(asked, (wordy, DEAR), rules=[RoutingRule(vendor="wordy")])
    assert ["wordy", "dear"] == order(ASK, (wordy, DEAR))
    assert "json_schema in a roundabout way" in str(route(asked, (wordy, DEAR)))


def test_a_shorter_answer_than_asked_for_is_the_second_best():
    """Where another gives a longer one; where none does it is for the vendor to say."""
    short, long = target("short", max_output=1_000), target("long", max_output=9_000)
    asked = attrs.evolve(ASK, max_tokens=4_000)

    assert ["long"] == order(asked, (short, long))
    assert "output" == route(asked, (short, long)).skipped[0].code
    assert ["short"] == order(asked, (short,))
    assert () == route(asked, (short,)).skipped


def test_the_cap_on_cost_holds_for_the_second_best_too():
    """A target that is too dear is not let in because its answers are short."""
    short = target("short", 50, max_output=1_000)

    assert [] == order(attrs.evolve(ASK, max_tokens=4_000), (short,), cost=CostOptimization(max_cost="0.001"))


@pytest.mark.parametrize(
    "params",
    [
        {"functions": [{"description": "x" * 40_000}]},
        {"prediction": {"type": "content", "content": "x" * 40_000}},
        {"suffix": "x" * 40_000},
        {"extra_body": {"documents": [{"text": "x" * 40_000}]}},
    ],
    ids=lambda params: next(iter(params)),
)
def test_the_cap_on_cost_sees_the_text_of_extra_params(params):
    """10,000 tokens for 50 dollars a million are half a dollar; the request alone costs a cent."""
    cap = CostOptimization(max_cost="0.03")

    assert ["dear"] == order(ASK, (DEAR,), cost=cap)
    assert [] == order(attrs.evolve(ASK, extra_params=params), (DEAR,), cost=cap)


def test_the_cap_on_cost_sees_the_text_of_tools():
    """They are sent like messages."""
    asked = attrs.evolve(ASK, tools=[{"name": "f", "description": "x" * 40_000, "parameters": {"type": "object"}}])

    assert [] == order(asked, (DEAR,), cost=CostOptimization(max_cost="0.03"))


@pytest.mark.parametrize("params", [{"previous_response_id": "r"}, {"extra_body": {"google": {"cached_content": "c"}}}])
def test_what_a_vendor_stores_counts_as_the_whole_window_under_a_cap(params):
    """It may be as long as that; without a cap it is a feature like others."""
    small, large, unknown = (
        target("small", 1, context_window=1_000),
        target("large", 1, context_window=900_000),
        target("unknown", 1),
    )
    asked = attrs.evolve(ASK, extra_params=params)
    planned = route(asked, (small, large, unknown), cost=CostOptimization(max_cost="0.01"))

    assert ["small"] == [step.target.vendor for step in planned.steps]
    assert "may add 900000 tokens" in planned.skipped[0].reason
    assert {"large", "small", "unknown"} == set(order(asked, (small, large, unknown)))


def test_models_that_came_over_a_wire_keep_no_cap():
    """Nobody has seen their prices."""
    asked = attrs.evolve(ASK, extra_params={"models": ["x"]}, wire_format="openai_chat")
    planned = route(asked, (CHEAP,), cost=CostOptimization(max_cost="1"))

    assert () == planned.steps
    assert "extra_params['models'] may name models of unknown price" in planned.skipped[0].reason


def test_vectors_are_made_by_those_that_make_them():
    """Of a chat model of the catalog it is known that it makes none."""
    chat = Target(vendor="openai", model="gpt-4o", kind="openai", **target_facts("openai", "gpt-4o"))
    made = route(ASK, (chat, target("other")), vectors=True)

    assert ["other"] == [step.target.vendor for step in made.steps]
    assert isinstance(dead_end(route(ASK, (chat,), vectors=True)), InvalidRequest)


def test_a_rule_may_require_any_capability():
    """All words of the catalog are words for rules."""
    rules = [RoutingRule(vendor="dear", condition=RoutingCondition(requires=("json_schema",)))]

    assert "dear" == order(Request("m", "hi", response_format=SCHEMA), (CHEAP, DEAR), rules=rules)[0]
    assert "cheap" == order(ASK, (CHEAP, DEAR), rules=rules)[0]


def test_a_mode_orders_all_and_says_why():
    """With the figures that count."""
    found = route(Request("m", "Hello", mode="cost_saving"))

    assert ["cheap", "middle", "dear"] == [step.target.vendor for step in found.steps]
    assert "mode cost_saving: about $0.000505, speed not measured lately, $1 per million output tokens" == found.steps[0].reason
    assert "mode auto: about $0.000505" in str(route(mode="auto"))


def test_rules_and_pins_are_stronger_than_a_mode():
    """A mode orders the rest."""
    asked = Request("m", "Hello", mode="cost_saving")

    assert ["dear", "cheap", "middle"] == order(asked, rules=[RoutingRule(vendor="dear")])
    assert ["dear"] == order(Request("dear:m", "Hello", mode="cost_saving"), (DEAR,))


def test_a_mode_is_stronger_than_optimizers_and_names():
    """Whoever says how a request is to be answered has said what counts; too slow is too slow in every mode."""
    seen = Latencies()
    seen.observe(CHEAP, 9.0, None, 0.0)
    asked = Request("m", "Hello", mode="cost_saving")

    assert ["cheap", "middle", "dear"] == order(asked, default_vendor="dear", latency=LatencyOptimization(), latencies=seen)
    assert ["middle", "dear", "cheap"] == order(asked, latency=LatencyOptimization(max_latency=5), latencies=seen)


def test_fast_sees_weighted_seconds():
    """As the configuration weighs them."""
    seen = Latencies()
    for each, seconds in ((DEAR, 1.0), (CHEAP, 2.0), (MIDDLE, 3.0)):
        seen.observe(each, seconds, None, 0.0)
    weighed = LatencyOptimization(latency_weights={"dear": 10})

    assert ["dear", "cheap", "middle"] == order(mode="fast", latencies=seen)
    assert ["cheap", "middle", "dear"] == order(mode="fast", latencies=seen, latency=weighed)


def test_equals_of_a_mode_share_the_calls():
    """Where balancing is on, it decides what the mode leaves undecided."""
    twins = (target("a", 1), target("b", 1))
    balancer = Balancer(Balance(), lambda: 0.5)
    chosen = Preferences(modes=Modes(default="cost_saving"), balancer=balancer, loads=balancer)

    firsts = [
        plan(ASK, twins, chosen, RoutingContext(latencies=Latencies(), now=0.0, turn=turn)).targets[0].vendor for turn in range(4)
    ]

    assert ["a", "b", "a", "b"] == firsts


def test_a_mode_of_ones_own_sees_the_situation():
    """What it leaves out is not asked, and told; what it makes up is refused."""

    def mine(now):
        return [each for each in cost_saving(now) if now.dollars(each) < 0.01]

    found = route(modes={"mine": mine}, mode="mine")

    assert ["cheap", "middle"] == [step.target.vendor for step in found.steps]
    assert (SkippedTarget("dear", "the mode mine leaves m out"),) == found.skipped
    with pytest.raises(ConfigError, match="mode bad: it gave something"):
        route(modes={"bad": lambda now: ["cheap"]}, mode="bad")


def test_a_pool_keeps_its_order():
    """Whatever the configuration prefers; a mode that the request itself names is stronger."""
    wishes = {"cost": CostOptimization(), "default_vendor": "middle", "mode": "cost_saving"}
    found = route(choice=Selection.POOL, **wishes)

    assert ["dear", "cheap", "middle"] == [step.target.vendor for step in found.steps]
    assert found.choice is Selection.POOL
    assert ["cheap", "middle", "dear"] == order(Request("m", "Hello", mode="cost_saving"), choice=Selection.POOL)


def test_an_open_model_is_a_few_of_each_vendor():
    """The next after a vendor's second is another vendor's; without a word about the mode it is auto."""
    many = [target("a", number, model=f"m{number}") for number in (3, 1, 2)] + [target("b", 9, model="n")]
    found = route(Request("auto", "Hello"), many, choice=Selection.ANY)

    assert ["a:m1", "a:m2", "b:n"] == [str(step.target) for step in found.steps]
    assert (SkippedTarget("a", "1 more of its models come after these"),) == found.skipped


def test_a_rule_picks_among_a_vendors_open_models():
    """In the order of the mode."""
    many = [target("a", number, model=f"m{number}") for number in (3, 1)] + [target("b", 0, model="n")]
    found = route(Request("auto", "Hello"), many, choice=Selection.ANY, rules=[RoutingRule(vendor="a")])

    assert ["a:m1", "a:m3", "b:n"] == [str(step.target) for step in found.steps]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (["a"], "pools: list is not a mapping"),
        ({"auto": ["gpt-4o"]}, r"pools\['auto'\]: this is no name"),
        ({" ": ["gpt-4o"]}, "no name for a pool"),
        ({"smart": "gpt-4o"}, r"pools\['smart'\]: 'gpt-4o' is not a list"),
        ({"smart": []}, "is not a list of models"),
        ({"smart": ["gpt-4o", 3]}, r"pools\['smart'\]\[1\]: 3 is not a model's name"),
        ({"a": ["b"], "b": ["gpt-4o"]}, "is a pool itself"),
    ],
)
def test_mistakes_in_pools_have_a_path(value, text):
    """As all mistakes of a configuration."""
    with pytest.raises(ConfigError, match=text):
        pools(value)


def test_pools_are_a_mapping():
    """Of names to ordered models."""
    made = pools({" smart ": [" openai:gpt-5 ", "claude-opus-5"]})

    assert {"smart": ("openai:gpt-5", "claude-opus-5")} == dict(made)
    assert made is pools(made)
