"""Routes: who is asked in which order, and why the others are not."""

from decimal import Decimal

import attrs
import pytest

from llmdispatcher import (
    BudgetExceeded,
    ConfigError,
    ContextWindowExceeded,
    CostOptimization,
    Dispatcher,
    ImagePart,
    LatencyOptimization,
    Message,
    ModelNotFound,
    OpenAIVendor,
    Price,
    Request,
    Route,
    RoutingCondition,
    RoutingRule,
    SkippedTarget,
    Tool,
    VendorUnavailable,
)
from llmdispatcher.catalog import Target, model_facts
from llmdispatcher.routing import NO_MODEL, Latencies, Preferences, RoutingContext, RuleTable, Step, dead_end, plan, split_ref
from llmdispatcher.routing.planner import needs_of


def target(vendor, dollars=None, **facts):
    """A target whose every token costs ``dollars`` a million."""
    price = Price.flat(Decimal(dollars)) if dollars is not None else None
    return Target(vendor=vendor, model=facts.pop("model", "m"), price=price, **facts)


OPENAI, ANTHROPIC, GOOGLE = target("openai", 20), target("anthropic", 30), target("google", 10)
ALL = (OPENAI, ANTHROPIC, GOOGLE)
ASK = Request("m", "Hello")


def route(request=ASK, targets=ALL, latencies=None, streamed=False, rules=(), **preferences):
    chosen = Preferences(rules=RuleTable(rules), **preferences)
    return plan(request, targets, chosen, RoutingContext(latencies=latencies or Latencies(), now=0.0, streamed=streamed))


def order(*args, **settings):
    return [step.target.vendor for step in route(*args, **settings).steps]


def skipped(*args, **settings):
    return {skip.vendor: skip.reason for skip in route(*args, **settings).skipped}


def test_without_preferences_registration_is_the_order():
    """All that are able, as they were registered."""
    assert ["openai", "anthropic", "google"] == order()


def test_default_and_fallback_come_first():
    """The default vendor, the fallback vendor, all others."""
    assert ["google", "anthropic", "openai"] == order(default_vendor="google", fallback_vendor="anthropic")


@pytest.mark.parametrize("name", ["Google", " google "])
def test_vendors_are_known_in_any_spelling(name):
    """In the default, in rules, and with both of Azure's names."""
    azure = target("azure")

    assert "google" == order(default_vendor=name)[0]
    assert "google" == order(rules=[RoutingRule(vendor=name)])[0]
    assert "azure" == order(targets=(*ALL, azure), default_vendor="azure-openai")[0]


def test_an_unregistered_default_is_passed_over():
    """It is a wish, not a condition."""
    assert ["openai", "anthropic", "google"] == order(default_vendor="acme")


def test_rules_come_before_everything():
    """The most important first; whoever a rule names is not named again by a later one."""
    rules = [RoutingRule(vendor="anthropic", priority=1), RoutingRule(vendor="google", priority=9), RoutingRule(vendor="google")]

    assert ["google", "anthropic", "openai"] == order(rules=rules, default_vendor="openai")


def test_a_rule_may_name_the_model():
    """The vendor is asked for the rule's model first and for the request's own later, each with its own price."""
    openai = target("openai", kind="openai", model="gpt-4o")
    steps = route(targets=(openai,), rules=[RoutingRule(vendor="openai", model="gpt-4.1")]).steps

    assert ["openai:gpt-4.1", "openai:gpt-4o"] == [str(step.target) for step in steps]
    assert model_facts("openai", "gpt-4.1").price == steps[0].target.price


def test_a_rules_model_outside_the_catalog_has_no_price():
    """The price of the other model is not carried over."""
    steps = route(rules=[RoutingRule(vendor="openai", model="mystery")]).steps

    assert ("openai:mystery", None) == (str(steps[0].target), steps[0].target.price)


def test_a_rules_model_must_be_able_too():
    """What the rule puts in the place of the model is judged like it."""
    openai = target("openai", kind="openai", model="gpt-4o")
    request = Request("gpt-4o", "a" * 70_000)
    rules = [RoutingRule(vendor="openai", model="gpt-3.5-turbo")]

    assert ["openai:gpt-4o"] == [str(step.target) for step in route(request, targets=(openai,), rules=rules).steps]


def test_rules_that_cannot_be_followed_are_told():
    """Disabled ones and those that name a stranger stand among the skipped."""
    rules = [RoutingRule(vendor="openai", enabled=False, name="off"), RoutingRule(vendor="acme", name="gone")]

    assert {
        "openai": "the rule 'off' is disabled",
        "acme": "the rule 'gone' names it, but it is not registered or cannot be asked for this model",
    } == skipped(rules=rules)


def test_a_rule_for_a_vendor_that_lacks_something_adds_no_second_reason():
    """The vendor's own reason says it all."""
    unable = target("acme", lacks=frozenset({"streaming"}))

    told = route(targets=(OPENAI, unable), streamed=True, rules=[RoutingRule(vendor="acme")]).skipped

    assert (SkippedTarget("acme", "m has no streaming", "streaming"),) == told


def test_a_rule_that_does_not_match_is_silent():
    """Explanations tell what mattered."""
    assert {} == skipped(rules=[RoutingRule(vendor="acme", condition=RoutingCondition(model_pattern="other-*"))])


def test_the_cheapest_comes_first():
    """Whatever the default vendor; rules still come before it."""
    cost = CostOptimization()

    assert ["google", "openai", "anthropic"] == order(cost=cost, default_vendor="anthropic")
    assert ["anthropic", "google", "openai"] == order(cost=cost, rules=[RoutingRule(vendor="anthropic")])


def test_the_fastest_comes_first():
    """By what was observed, times the vendor's weight."""
    latencies = Latencies()
    for measured, seconds in zip(ALL, (2.0, 1.0, 3.0), strict=True):
        latencies.observe(measured, seconds, None, now=0)

    assert ["anthropic", "openai", "google"] == order(latencies=latencies, latency=LatencyOptimization())
    weighted = LatencyOptimization(latency_weights={"Anthropic": 2.5})
    assert ["openai", "anthropic", "google"] == order(latencies=latencies, latency=weighted)


def test_over_max_latency_is_last_but_not_out():
    """Slow is better than nothing; the reason is told."""
    latencies = Latencies()
    latencies.observe(GOOGLE, 9.0, None, now=0)
    steps = route(latencies=latencies, cost=CostOptimization(), latency=LatencyOptimization(max_latency=5.0)).steps

    assert ["openai", "anthropic", "google"] == [step.target.vendor for step in steps]
    assert "over max_latency" in str(steps[-1].why)


@pytest.mark.parametrize("cost", [CostOptimization(enabled=False, max_cost=0), CostOptimization(prefer_cheap=False), None])
@pytest.mark.parametrize("latency", [LatencyOptimization(enabled=False), None])
def test_what_is_switched_off_orders_nothing(cost, latency):
    """Default vendor and registration decide."""
    assert ["anthropic", "openai", "google"] == order(cost=cost, latency=latency, default_vendor="anthropic")


def test_over_max_cost_is_out():
    """About 504 tokens: $0.01 at 20, $0.015 at 30, $0.005 at 10 dollars a million."""
    assert ["openai", "google"] == order(cost=CostOptimization(max_cost="0.0102", prefer_cheap=False))
    assert "over max_cost $0.0102" in skipped(cost=CostOptimization(max_cost="0.0102"))["anthropic"]


@pytest.mark.parametrize(
    ("request_", "streamed", "lacks", "reason"),
    [
        (ASK, True, "streaming", "m has no streaming"),
        (Request("m", "Hello", tools=[Tool(name="f")]), False, "tools", "m has no tools"),
        (
            Request("m", [Message.user("Look", ImagePart(url="https://x.example/i.png"))]),
            False,
            "vision",
            "m has no vision",
        ),
    ],
)
def test_who_lacks_what_is_used_is_out(request_, streamed, lacks, reason):
    """A capability counts only when the request uses it."""
    unable = target("acme", lacks=frozenset({lacks}))

    assert {"acme": reason} == skipped(request_, targets=(OPENAI, unable), streamed=streamed)
    assert ["acme"] == order(targets=(unable,))


def test_a_window_that_is_too_small_is_out():
    """By the estimate of 4 characters a token; an unknown window excludes nobody."""
    request = Request("m", "a" * 4_000)

    assert {"small": "about 1004 tokens do not fit the window of 1000 of m"} == skipped(
        request, targets=(target("small", context_window=1000), target("large", context_window=2000), target("unknown"))
    )


def test_each_text_to_embed_has_the_window_for_itself(simulator):
    """However many they are; one that is too long is refused."""
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-0123456789", base_url=simulator.openai_url))
        assert 20 == len(dispatcher.embed("text-embedding-3-small", ["a" * 4_000] * 20).vectors)
        with pytest.raises(ContextWindowExceeded, match="about 10004 tokens do not fit the window of 8191"):
            dispatcher.embed("text-embedding-3-small", ["a", "a" * 40_000])


def test_a_pinned_request_follows_no_rule():
    """The caller's own word is stronger, and its model is not replaced."""
    request = Request("OpenAI:m", "Hello")
    steps = route(request, targets=(OPENAI,), rules=[RoutingRule(vendor="openai", model="other")]).steps

    assert [(OPENAI, "the request names it")] == [(step.target, step.why) for step in steps]


@pytest.mark.parametrize(
    ("model", "split"),
    [
        ("openai:gpt-4o", ("openai", "gpt-4o")),
        ("OpenAI : gpt-4o ", ("openai", "gpt-4o")),
        ("openai:ft:gpt-4o:org", ("openai", "ft:gpt-4o:org")),
        ("azure-openai:gpt-4o", ("azure", "gpt-4o")),
        ("llama3:8b", (None, "llama3:8b")),
        (" gpt-4o ", (None, "gpt-4o")),
        ("openai:", (None, "openai:")),
        (":gpt-4o", (None, ":gpt-4o")),
    ],
)
def test_a_vendor_is_pinned_by_its_name(model, split):
    """Split at the first colon, if a vendor of that name is registered; the model keeps its case."""
    assert split == split_ref(model, ("openai", "azure"))


def test_needs_are_what_is_used():
    """Text alone needs nothing; images in any turn need vision."""
    seen = Request(
        "m", [Message.user("Look", ImagePart(url="https://x.example/i.png")), Message.assistant("Yes"), Message.user("And?")]
    )

    assert frozenset() == needs_of(ASK, streamed=False)
    assert {"vision", "streaming"} == needs_of(seen, streamed=True)
    assert {"tools"} == needs_of(attrs.evolve(ASK, tools=[Tool(name="f")]), streamed=False)


def test_a_route_explains_itself():
    """Each target with its place and reason, each skipped vendor with what is wrong."""
    told = Route("m", (Step(OPENAI, "default vendor"),), (SkippedTarget("acme", "does not have m"),))

    assert "m:\n  1. openai:m  (default vendor)\n  -  acme  skipped: does not have m" == str(told)
    assert (OPENAI,) == told.targets


def test_figures_of_the_optimizers_are_told_to_people_and_machines():
    """``why`` is text when printed and numbers when asked."""
    step = route(targets=(GOOGLE,), cost=CostOptimization()).steps[0]

    assert "optimizer, by price: about $0.00505" == str(step.why)
    assert Decimal("0.00505") == step.why.cost


def failure(*skips):
    return dead_end(Route("m", (), skips))


def test_nobody_registered_is_a_mistake_of_configuration():
    """The remedy is told."""
    assert ConfigError is type(failure())
    assert "register_vendor" in str(failure())


@pytest.mark.parametrize(
    ("skips", "kind"),
    [
        ([SkippedTarget("a", "about $1 is over max_cost $0.5", "cost"), SkippedTarget("b", f"{NO_MODEL} m")], BudgetExceeded),
        ([SkippedTarget("a", f"{NO_MODEL} m"), SkippedTarget("b", f"{NO_MODEL} m")], ModelNotFound),
        ([SkippedTarget("a", f"{NO_MODEL} m"), SkippedTarget("x", "the rule names it", "rule")], ModelNotFound),
        ([SkippedTarget("a", "too long", "window")], ContextWindowExceeded),
        ([SkippedTarget("a", "m has no vision", "vision"), SkippedTarget("b", "too long", "window")], VendorUnavailable),
        ([SkippedTarget("x", "the rule names it", "rule")], ConfigError),
    ],
)
def test_a_dead_end_is_of_the_kind_that_fits(skips, kind):
    """It names every vendor with its reason, and nobody is asked again for it."""
    error = failure(*skips)

    assert kind is type(error)
    assert all(f"{skip.vendor}: {skip.reason}" in str(error) for skip in skips)
    assert (False, False) == (error.retry_here, error.try_elsewhere)


def test_a_cap_that_leaves_nobody_is_a_budget():
    """From the plan to the error."""
    assert BudgetExceeded is type(dead_end(route(cost=CostOptimization(max_cost="0.001"))))
