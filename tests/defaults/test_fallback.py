"""The fallback vendor that was named is asked, also for a model that it does not have: for its nearest, which is told."""

import logging

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    AnthropicVendor,
    BudgetExceeded,
    Capabilities,
    Config,
    ContextWindowExceeded,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    ImagePart,
    InvalidRequest,
    Message,
    ModelNotFound,
    OpenAIVendor,
    Request,
    RetryPolicy,
    VendorUnavailable,
)
from llmdispatcher.catalog import model_facts, stand_ins
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator, faults

from .parts import KEY, asked, at, made, read
from .test_strangers import FAULTS


@pytest.fixture
def world():
    """A first vendor that fails, a second that is well, and a third that must hear of nothing."""
    with VendorSimulator() as first, VendorSimulator() as second, VendorSimulator() as third:
        yield first, second, third


def documented(first, second, third=None, **config):
    """The complete example of the document: OpenAI, and Anthropic as the fallback."""
    settings = {"default_vendor": "openai", "fallback_vendor": "anthropic", "retry_policy": RetryPolicy(max_retries=3), **config}
    dispatcher = Dispatcher(Config(**settings), clock=ManualClock())
    dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=first.openai_url, trust_env=False))
    dispatcher.register_vendor(AnthropicVendor(api_key=KEY, base_url=second.anthropic_url, trust_env=False))
    if third is not None:
        dispatcher.register_vendor(at("groq", third.url))
    return dispatcher


QUESTION = Request("gpt-3.5-turbo", [Message.user("Hello, how are you?")], temperature=0.7, max_tokens=1000)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_the_complete_example(world, fault, streamed):
    """OpenAI is down in one way or another; Anthropic answers, and nobody else is asked."""
    first, second, third = world
    first.always(fault)
    with documented(first, second, third) as dispatcher:
        answer = read(dispatcher, QUESTION, streamed=streamed)

    assert ("anthropic", "claude-haiku-4-5") == (answer.vendor, answer.model)
    assert (1, 0) == (second.hits, third.hits)
    assert "claude-haiku-4-5" == second.requests[0].json["model"]


def test_while_the_first_vendor_is_well_it_answers(world):
    """Also where the stand-in would be cheaper or faster, or a balance shares calls."""
    first, second, _ = world
    for config in ({"cost_optimization": {}}, {"latency_optimization": {}}, {"balance": "round_robin"}, {"mode": "cost_saving"}):
        with documented(first, second, **config) as dispatcher:
            assert "openai" == dispatcher.send(Request("gpt-6-astra", "Hello")).vendor
            assert ["openai", "anthropic"] == [target.vendor for target in dispatcher.explain(asked("gpt-6-astra")).targets]

    assert 0 == second.hits


def test_it_is_told(world, caplog):
    """In the explanation, in the trace, and in one warning for each pair of models."""
    first, second, _ = world
    first.always(FAULTS["503"])
    with documented(first, second) as dispatcher, caplog.at_level(logging.WARNING):
        plan = dispatcher.explain(QUESTION)
        assert [] == [record for record in caplog.records if "in place of" in record.message]
        traces = [dispatcher.send(QUESTION).trace for _ in range(3)]
        dispatcher.send(Request("gpt-4o", "Hello"))

    told = "anthropic:claude-haiku-4-5  (fallback vendor, in place of gpt-3.5-turbo, which it does not have)"
    assert told in str(plan)
    assert all(told in str(trace) for trace in traces)
    assert "gpt-3.5-turbo" == plan.as_dict()["candidates"][1]["stands_in_for"]
    warnings = [record.getMessage() for record in caplog.records if "in place of" in record.getMessage()]
    assert ["anthropic:claude-haiku-4-5", "anthropic:claude-sonnet-5-5"] == [warning.split()[0] for warning in warnings]


@pytest.mark.parametrize("never", [None, False])
def test_it_can_be_forbidden(world, never):
    """The fallback vendor is then asked only for models that it has."""
    first, second, _ = world
    first.always(FAULTS["503"])
    with documented(first, second, fallback_model=never) as dispatcher:
        with pytest.raises(VendorUnavailable):
            dispatcher.send(QUESTION)
        assert "anthropic" == dispatcher.send(Request("claude-haiku-4-5", "Hello")).vendor


@pytest.mark.parametrize("never", [None, False])
def test_a_host_of_any_model_is_not_asked_for_anothers_either(world, never):
    """Where it may not stand in; a name that nobody is known to have is still its own."""
    first, _, third = world
    first.always(FAULTS["503"])
    config = Config(default_vendor="openai", fallback_vendor="groq", fallback_model=never, retry_policy=RetryPolicy(max_retries=0))
    with Dispatcher(config, clock=ManualClock()) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=first.openai_url, trust_env=False))
        dispatcher.register_vendor(at("groq", third.url))
        with pytest.raises(VendorUnavailable):
            dispatcher.send(Request("gpt-4o-mini", "Hello"))
        assert 0 == third.hits
        assert "groq" == dispatcher.send(Request("llama-9", "Hello")).vendor


def test_the_model_may_be_named(world):
    """By ``fallback_model``, by the vendor's ``model_map``, by its ``default_model``; the nearest is only for want of these."""
    first, second, _ = world
    first.always(FAULTS["503"])
    for config, vendor, model in (
        ({"fallback_model": "claude-opus-5"}, {}, "claude-opus-5"),
        ({"fallback_model": "anthropic:claude-opus-5"}, {}, "claude-opus-5"),
        ({}, {"model_map": {"gpt-3.5-*": "claude-sonnet-5"}}, "claude-sonnet-5"),
        ({}, {"default_model": "claude-opus-4-8"}, "claude-opus-4-8"),
        ({}, {"models": ("claude-sonnet-*",)}, "claude-sonnet-5-5"),
    ):
        settings = {"default_vendor": "openai", "fallback_vendor": "anthropic", **config}
        own = AnthropicVendor(api_key=KEY, base_url=second.anthropic_url, trust_env=False, **vendor)
        with made(OpenAIVendor(api_key=KEY, base_url=first.openai_url, trust_env=False), own, **settings) as dispatcher:
            assert model == dispatcher.send(QUESTION).model


def test_without_a_key_for_the_first_vendor_the_fallback_answers(world):
    """It is named, whatever is wrong with the other."""
    _, second, _ = world
    with made(
        OpenAIVendor(), AnthropicVendor(api_key=KEY, base_url=second.anthropic_url), fallback_vendor="anthropic"
    ) as dispatcher:
        assert "claude-haiku-4-5" == dispatcher.send(QUESTION).model


@pytest.mark.parametrize(("model", "answers"), [("gpt-3.5-turbo", True), ("grok-4", True), ("whatever", False)])
def test_the_fallback_vendor_alone(world, model, answers):
    """It is asked for its nearest to a model that is another's, and for an unknown name as it is."""
    _, second, _ = world
    vendor = AnthropicVendor(api_key=KEY, base_url=second.anthropic_url, trust_env=False)
    with made(vendor, default_vendor="openai", fallback_vendor="anthropic") as dispatcher:
        assert answers is bool(dispatcher.explain(asked(model)).targets[0].stands_in_for)


def test_a_host_of_any_model_is_asked_for_what_it_has(serve):
    """Groq has no gpt-4o-mini but its nearest; a proxy of one's own is asked for the name as it is."""
    down, second = serve(status=503), serve()
    for kind, model in (("groq", "openai/gpt-oss-120b"), ("openrouter", "openai/gpt-4o-mini"), ("local", "gpt-4o-mini")):
        with made(at("openai", down.url), at(kind, second.url), fallback_vendor=kind) as dispatcher:
            assert (kind, model) == (dispatcher.send(asked("gpt-4o-mini")).vendor, second.models_asked[-1])


def test_a_vendor_of_ones_own_is_asked_for_the_first_model_that_it_lists():
    """Of a vendor that the catalog does not know nothing better can be said."""
    spare = FakeVendor("Here.", name="spare", capabilities=Capabilities(models=("other-*", "exact", "second")))
    first = FakeVendor(VendorUnavailable("down"), name="first", capabilities=Capabilities(models=("m",)))
    with made(first, spare, fallback_vendor="spare") as dispatcher:
        assert "spare:exact" == dispatcher.send(asked("m")).ref


def test_a_typo_has_no_stand_in(world):
    """What nobody has is refused, fallback vendor or not."""
    first, second, _ = world
    with documented(first, second) as dispatcher, pytest.raises(ModelNotFound):
        dispatcher.send(asked("gtp-4o"))

    assert (0, 0) == (first.hits, second.hits)


def test_a_stand_in_is_able_to_do_what_the_request_uses():
    """A picture goes to one that sees; where none is able, nobody stands in."""
    picture = Request("gpt-4o", [Message.user("Look", ImagePart(url="https://x.example/i.png"))])
    with made(at("openai", "http://127.0.0.1:9"), at("deepseek", "http://127.0.0.1:9"), fallback_vendor="deepseek") as dispatcher:
        target = dispatcher.explain(picture).targets[-1]
        assert "deepseek" == target.vendor
        assert "vision" not in target.lacks
        long = Request("gpt-4.1", "word " * 3_000_000)
        assert "deepseek" not in [target.vendor for target in dispatcher.explain(long).targets]


@pytest.mark.parametrize(
    ("kind", "model", "nearest"),
    [
        ("anthropic", "gpt-3.5-turbo", "claude-haiku-4-5"),
        ("anthropic", "gpt-4o-mini", "claude-haiku-4-5"),
        ("anthropic", "gpt-4o", "claude-sonnet-5-5"),
        ("google", "gpt-4o-mini", "gemini-2.5-flash-lite"),
        ("openai", "claude-haiku-4-5", None),
        ("openai", "claude-opus-5", None),
        ("openrouter", "claude-opus-5", "anthropic/claude-opus-5"),
    ],
)
def test_the_nearest_is_of_the_same_class(kind, model, nearest):
    """By price within a factor of ten, served today, with the abilities that applications rely on."""
    first = stand_ins(kind, model)[0]
    facts, asked_for = model_facts(kind, first), next(filter(None, [model_facts(each, model) for each in ("openai", "anthropic")]))

    assert nearest in (None, first)
    assert 0.1 <= facts.price.output / asked_for.price.output <= 10
    assert not facts.retired
    assert {"tools", "vision"} & asked_for.capabilities <= facts.capabilities


def test_of_an_unknown_model_the_cheapest_stands_in():
    """Never the dearest."""
    prices = [model_facts("anthropic", name).price.output for name in stand_ins("anthropic", "company-chat")]

    assert prices == sorted(prices)
    assert () == stand_ins("acme", "gpt-4o")


def test_a_stand_in_is_no_hedge(world):
    """It is for failures; a slow answer of the model that was asked for is worth more."""
    first, second, _ = world
    with documented(first, second, hedge={"after": 0.001}) as dispatcher:
        assert dispatcher.explain(QUESTION).hedge is None
        assert "openai" == dispatcher.send(QUESTION).vendor
        first.always(FAULTS["503"])
        assert "anthropic" == dispatcher.send(QUESTION).vendor

    assert 1 == second.hits


def test_nothing_else_substitutes_a_model(world):
    """Without a fallback vendor the other vendor of the catalog is left alone."""
    first, second, _ = world
    first.always(FAULTS["503"])
    with documented(first, second, fallback_vendor=None) as dispatcher, pytest.raises(DispatchError):
        dispatcher.send(QUESTION)

    assert 0 == second.hits


def test_a_rule_for_the_fallback_vendor_contradicts_no_explanation(world):
    """It stands in, so nothing is told of a rule that names it; where it may not, the rule's remedy is told."""
    first, second, _ = world
    rules = [{"vendor": "anthropic", "name": "ours"}]
    with documented(first, second, routing_rules=rules) as dispatcher:
        plan = dispatcher.explain(QUESTION)
        assert ["openai", "anthropic"] == [target.vendor for target in plan.targets]
        assert () == plan.skipped
    with documented(first, second, routing_rules=rules, fallback_model=None) as dispatcher:
        told = "the rule 'ours' names it, but it does not have this model; `model=` in the rule names one"
        assert told in [skip.reason for skip in dispatcher.explain(QUESTION).skipped]


class TestWhatAStandInRefuses:
    """It never makes a call worse than it is without it."""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize("fields", [{"seed": 3}, {"n": 2}, {"logprobs": True}])
    @pytest.mark.parametrize("fault", ["500", "429"])
    def test_it_is_left_out_and_the_first_is_asked_again(self, world, fault, fields, streamed):
        """The explanation says so, too."""
        first, second, _ = world
        first.script(FAULTS[fault])
        with documented(first, second) as dispatcher:
            plan = dispatcher.explain(asked("gpt-4o-mini", **fields))
            assert (["openai"], ["unfit"]) == ([target.vendor for target in plan.targets], [skip.code for skip in plan.skipped])
            answer = read(dispatcher, asked("gpt-4o-mini", **fields), streamed=streamed)

        assert ("openai", 2, 0) == (answer.vendor, first.hits, second.hits)

    def test_the_error_is_the_first_vendors(self, world):
        """With the reason why the other was not asked."""
        first, second, _ = world
        first.always(FAULTS["500"])
        with documented(first, second) as dispatcher, pytest.raises(VendorUnavailable, match=r"anthropic was not asked.*seed"):
            dispatcher.send(asked("gpt-4o-mini", seed=3))

        assert 0 == second.hits

    @pytest.mark.parametrize("pool", [False, True])
    def test_what_is_seen_only_when_it_is_asked(self, pool):
        """By a vendor of one's own: it is skipped with its reason, and the first is asked again."""
        first = FakeVendor(VendorUnavailable("down"), "here", name="first")
        spare = FakeVendor(InvalidRequest("no such field"), name="spare")
        settings = {"pools": {"p": ["first:m", "spare:m"]}} if pool else {"default_vendor": "first", "fallback_vendor": "spare"}
        with made(first, spare, **settings) as dispatcher:
            answer = dispatcher.send(asked("p" if pool else "m"))

        assert "first" == answer.vendor
        assert [("spare:m", True)] == [(skip.target, "no such field" in skip.reason) for skip in answer.trace.skipped]

    def test_nobody_else_is_left(self):
        """Then the error of the vendor that failed is told."""
        first = FakeVendor(*[VendorUnavailable("down")] * 9, name="first")
        spare = FakeVendor(*[InvalidRequest("no such field")] * 9, name="spare")
        with (
            made(first, spare, default_vendor="first", fallback_vendor="spare") as it,
            pytest.raises(VendorUnavailable, match="down"),
        ):
            it.send(asked("m"))

    def test_the_first_vendors_own_word_counts(self):
        """What it finds invalid is asked of nobody else."""
        first, spare = FakeVendor(InvalidRequest("no"), name="first"), FakeVendor("here", name="spare")
        with made(first, spare, default_vendor="first", fallback_vendor="spare") as dispatcher, pytest.raises(InvalidRequest):
            dispatcher.send(asked("m"))

    def test_too_dear_is_told(self, world):
        """Instead of advice to register another vendor."""
        first, second, _ = world
        first.always(FAULTS["500"])
        with documented(first, second, cost_optimization={"max_cost": "0.001"}) as dispatcher:
            with pytest.raises(VendorUnavailable, match=r"anthropic was not asked: .*max_cost") as told:
                dispatcher.send(asked("gpt-4o-mini", max_tokens=500))
            assert "another vendor" not in str(told.value)

    @pytest.mark.parametrize("fault", ["500", "429", "quota"])
    @pytest.mark.parametrize(
        ("model", "why"),
        [
            (
                "gpt-4o-mini",
                r"anthropic was not asked, since nobody named it; fallback_vendor='anthropic' in the configuration does",
            ),
            ("openai:gpt-4o-mini", "anthropic was not asked, since the request names openai"),
        ],
    )
    def test_a_registered_vendor_that_nobody_named_is_told(self, world, fault, model, why):
        """Instead of advice to register one; it got no prompt."""
        first, second, _ = world
        first.always(FAULTS[fault])
        with documented(first, second, default_vendor=None, fallback_vendor=None) as dispatcher:
            for _ in range(2):  # the second call may hear of the first one's trouble
                with pytest.raises(DispatchError, match=why) as told:
                    dispatcher.send(asked(model))
                assert "another vendor" not in str(told.value)

        assert 0 == second.hits

    @pytest.mark.parametrize("streamed", [False, True])
    def test_it_is_told_of_a_vendor_that_was_silent_to_the_end(self, world, streamed):
        """The call's time was that vendor's alone."""
        first, second, _ = world
        first.always(faults.silent())
        settings = {"default_vendor": None, "fallback_vendor": None, "timeout": 0.3}
        with Dispatcher(settings) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=first.openai_url, trust_env=False))
            dispatcher.register_vendor(AnthropicVendor(api_key=KEY, base_url=second.anthropic_url, trust_env=False))
            with pytest.raises(
                DeadlineExceeded, match=r"since nobody named it; fallback_vendor='anthropic' in the configuration does"
            ):
                read(dispatcher, asked("gpt-4o-mini"), streamed=streamed)

        assert 0 == second.hits

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("antropic", "'antropic' was not asked: the fallback_vendor is not registered; did you mean 'anthropic'?"),
            ("gemini", "'gemini' was not asked: the fallback_vendor is not registered; there are"),
        ],
    )
    def test_a_fallback_vendor_that_is_not_there_is_told(self, world, name, why):
        """In the error that it was to prevent, besides the warning of the first call."""
        first, second, _ = world
        first.always(FAULTS["500"])
        with documented(first, second, fallback_vendor=name) as dispatcher, pytest.raises(VendorUnavailable) as told:
            dispatcher.send(asked("gpt-4o-mini"))

        assert why in str(told.value)
        assert 0 == second.hits

    def test_without_another_one_it_is_told_how_to_name_it(self, world):
        """Which registering alone would not do."""
        first, _, _ = world
        first.always(FAULTS["500"])
        with made(at("openai", first.url)) as it, pytest.raises(VendorUnavailable, match="name another vendor as fallback_vendor"):
            it.send(asked("gpt-4o-mini"))

    @pytest.mark.parametrize(
        ("fault", "told", "times"), [("401", "refuses the key", 2), ("quota", "has no credit or quota left", 1)]
    )
    def test_a_revoked_key_is_logged_once(self, world, caplog, fault, told, times):
        """Though the fallback answers every call; once more after the vendor was well again. A spent quota is left alone."""
        first, second, _ = world
        first.script(*[FAULTS[fault]] * 2)
        with documented(first, second, retry_policy=RetryPolicy(max_retries=0, max_cooldown=0)) as dispatcher:
            for _ in range(3):
                dispatcher.send(QUESTION)
            first.script(FAULTS[fault])
            dispatcher.send(QUESTION)

        assert times == len([record for record in caplog.records if told in record.message and record.levelno == logging.WARNING])

    def test_the_same_words_are_told_once(self):
        """With the targets that said them, and how often."""
        down = [VendorUnavailable("it is down")] * 9
        a, b = (FakeVendor(*down, name=name) for name in "ab")
        with made(a, b, pools={"p": ["a:m", "a:n", "b:m"]}) as dispatcher, pytest.raises(AllTargetsFailed) as told:
            dispatcher.send(asked("p"))

        assert (1, True) == (str(told.value).count("it is down"), "a:m, a:n, b:m: it is down" in str(told.value))
        assert 3 < len(told.value.failures)


class TestWhatNoModelTakes:
    """A request that the model cannot take is refused, with a remedy; a healthy vendor is no reason to ask another."""

    def test_thinking(self, world):
        """Said to a model that does not think; with ``drop_params`` it is asked without."""
        first, second, _ = world
        with documented(first, second) as dispatcher:
            with pytest.raises(InvalidRequest, match="leave reasoning_effort and reasoning_tokens out, set drop_params=True"):
                dispatcher.send(asked("gpt-4o-mini", reasoning_effort="low"))
            assert "openai" == dispatcher.send(asked("gpt-4o-mini", reasoning_effort="low", drop_params=True)).vendor

        assert (1, 0) == (first.hits, second.hits)

    @pytest.mark.parametrize("settings", [{}, {"fallback_vendor": None}])
    def test_a_picture(self, world, settings):
        """For a model that does not see."""
        first, second, _ = world
        picture = Request("gpt-3.5-turbo", [Message.user("Look", ImagePart(url="https://x.example/i.png"))])
        with (
            documented(first, second, **settings) as dispatcher,
            pytest.raises(InvalidRequest, match="name a model that has vision"),
        ):
            dispatcher.send(picture)

    def test_too_long(self, world):
        """Beside a vendor that does not have the model, and for vectors."""
        first, second, _ = world
        long = "word " * 400_000
        with documented(first, second, fallback_vendor=None) as dispatcher:
            with pytest.raises(ContextWindowExceeded, match="larger window"):
                dispatcher.send(Request("gpt-4o-mini", long))
            with pytest.raises(ContextWindowExceeded, match="larger window"):
                dispatcher.embed("text-embedding-3-small", [long])

    def test_max_cost(self, world):
        """The error says what to do."""
        first, second, _ = world
        with (
            documented(first, second, cost_optimization={"max_cost": "0.0000001"}) as it,
            pytest.raises(BudgetExceeded, match="raise max_cost"),
        ):
            it.send(asked("gpt-4o-mini"))
