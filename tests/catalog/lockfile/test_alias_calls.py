"""An alias works wherever a model's name does, end to end: over HTTP, as a stream, with failover through its pool."""

import attrs
import pytest

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    Capabilities,
    CircuitBreaker,
    Config,
    ConfigError,
    Dispatcher,
    DispatchError,
    Embeddings,
    InvalidRequest,
    Lockfile,
    LockfileInvalid,
    LockfileNotFound,
    ModelNotFound,
    Observer,
    OpenAIVendor,
    QuotaExceeded,
    Request,
    RetryPolicy,
    RoutingCondition,
    RoutingRule,
    StreamInterrupted,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, VendorSimulator, faults

FIRST, SECOND = "openai:gpt-5-mini", "anthropic:claude-haiku-4-5"
PASSING = {
    "429": faults.rate_limit(0.2),
    "500": faults.status(500),
    "502": faults.status(502),
    "503": faults.status(503),
    "529": faults.overloaded(),
    "silence": faults.silent(),
    "reset": faults.reset_before_head(),
    "no answer": faults.close_before_head(),
    "html": faults.html(),
}
LASTING = {
    "400": (faults.bad_request(), InvalidRequest),
    "401": (faults.wrong_key(), AuthenticationError),
    "no such model": (faults.model_missing(), ModelNotFound),
    "quota": (faults.quota(), QuotaExceeded),
}


@attrs.define
class Stage:
    """Two vendors behind an alias, and what was heard of the calls."""

    openai: VendorSimulator
    anthropic: VendorSimulator
    lock: Lockfile
    outcomes: list = attrs.field(factory=list)
    settings: dict = attrs.field(factory=dict)
    patience: float = 30.0
    """Seconds that the first choice has for its first byte."""

    def dispatcher(self, **settings):
        config = Config(**{"lockfile": self.lock, "retry_policy": RetryPolicy(max_retries=0), **settings})
        made = Dispatcher(config, observers=[self.outcomes.append])
        plain = {"api_key": "k", "trust_env": False}
        made.register_vendor(OpenAIVendor(base_url=self.openai.openai_url, api="chat", first_byte_timeout=self.patience, **plain))
        made.register_vendor(AnthropicVendor(base_url=self.anthropic.anthropic_url, **plain))
        return made


@pytest.fixture
def stage(here):
    lock = Lockfile.create_default("llmdispatcher.lock")
    lock.bind("summarizer", [FIRST, SECOND])
    lock.bind("summarizer", [SECOND], profile="prod")
    lock.save()
    with VendorSimulator(responses="one two three four") as openai, VendorSimulator(responses="five six") as anthropic:
        yield Stage(openai, anthropic, Lockfile.load("llmdispatcher.lock"))


def said(dispatcher, streamed, request=None):
    """The whole text of an answer, whole or in pieces, and who gave it."""
    request = request or Request("summarizer", "Sum up.")
    if not streamed:
        response = dispatcher.send(request)
        return response.content, response.ref
    with dispatcher.send_streaming(request) as stream:
        text = "".join([chunk.content for chunk in stream])
    return text, stream.response().ref


@pytest.mark.parametrize("streamed", [False, True])
def test_the_first_choice_answers(stage, streamed):
    """Nobody else is asked; outcome, trace and explanation tell alias and profile."""
    with stage.dispatcher() as dispatcher:
        assert ("one two three four", FIRST) == said(dispatcher, streamed)
        (outcome,) = stage.outcomes
        told = dispatcher.explain(Request("summarizer", "?"))

    assert (1, 0) == (stage.openai.hits, stage.anthropic.hits)
    assert ("summarizer", "default", "gpt-5-mini") == (outcome.alias, outcome.profile, outcome.model)
    assert ("summarizer", "default") == (told.as_dict()["alias"], told.as_dict()["profile"])
    assert str(told).startswith("summarizer (an alias in the profile default):\n  1. openai:gpt-5-mini")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", PASSING)
def test_a_passing_failure_goes_on(stage, kind, streamed):
    """To the second choice, which is heard as a failover; the outcome is still the alias's."""
    stage.openai.always(PASSING[kind])
    if kind == "silence":
        stage.patience = 0.2
    with stage.dispatcher() as dispatcher:
        assert ("five six", SECOND) == said(dispatcher, streamed)

    (outcome,) = stage.outcomes
    assert [False, True] == [attempt.failover for attempt in outcome.attempts]
    assert ("summarizer", "default", None) == (outcome.alias, outcome.profile, outcome.error)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("kind", LASTING)
def test_a_lasting_failure_does_not(stage, kind, streamed):
    """It is told at once, lest the second choice hide it."""
    fault, error = LASTING[kind]
    stage.openai.always(fault)
    with stage.dispatcher() as dispatcher, pytest.raises(error):
        said(dispatcher, streamed)

    assert (1, 0) == (stage.openai.hits, stage.anthropic.hits)
    (outcome,) = stage.outcomes
    assert ("summarizer", "default", error.__name__) == (outcome.alias, outcome.profile, type(outcome.error).__name__)


@pytest.mark.parametrize("streamed", [False, True])
def test_an_open_circuit_goes_on(stage, streamed):
    """The first choice is not even asked."""
    stage.openai.always(faults.status(503))
    with stage.dispatcher(circuit_breaker=CircuitBreaker(min_calls=2, open_time=60.0)) as dispatcher:
        for _ in range(4):
            assert ("five six", SECOND) == said(dispatcher, streamed)

    assert (2, 4) == (stage.openai.hits, stage.anthropic.hits)


def test_a_strict_open_circuit_goes_on(stage):
    """Also where an open circuit is an error."""
    stage.openai.always(faults.status(503))
    breaker = CircuitBreaker(min_calls=1, open_time=60.0, strict=True)
    with stage.dispatcher(circuit_breaker=breaker) as dispatcher:
        assert [SECOND, SECOND] == [said(dispatcher, False)[1] for _ in range(2)]


def test_a_stream_goes_on_before_its_first_output_only(stage):
    """Cut off before the first word it is asked elsewhere, cut off behind it, it ends there."""
    stage.openai.script(faults.cut_before_words(), faults.cut_after(2))
    with stage.dispatcher() as dispatcher:
        assert ("five six", SECOND) == said(dispatcher, True)
        with pytest.raises(StreamInterrupted):
            said(dispatcher, True)

    assert 1 == stage.anthropic.hits


def test_where_all_fail_each_is_told(stage):
    """With the failures in the pool's order."""
    stage.openai.always(faults.status(503))
    stage.anthropic.always(faults.overloaded())
    with stage.dispatcher() as dispatcher, pytest.raises(DispatchError) as raised:
        said(dispatcher, False)

    assert ["openai", "anthropic"] == [failure.vendor for failure in raised.value.failures]


def test_a_request_has_a_profile(stage, monkeypatch):
    """Stronger than the configuration's, which is stronger than the environment's; no vendor sees it."""
    monkeypatch.setenv("LLMDISPATCHER_PROFILE", "prod")
    plain, own = Request("summarizer", "?"), Request("summarizer", "?", profile="default")
    with stage.dispatcher() as dispatcher:
        assert [SECOND, FIRST] == [said(dispatcher, False, request)[1] for request in (plain, own)]
    with stage.dispatcher(profile="default") as dispatcher:
        assert FIRST == said(dispatcher, False, plain)[1]

    assert ["prod", "default", "default"] == [outcome.profile for outcome in stage.outcomes]
    assert all("profile" not in request.json for request in [*stage.openai.requests, *stage.anthropic.requests])


def test_the_cache_does_not_mix_profiles(stage):
    """An answer is remembered for who gave it, whatever he was called."""
    with stage.dispatcher(cache={}) as dispatcher:
        asked = [Request("summarizer", "?", temperature=0.0, profile=profile) for profile in ("default", "prod", "default", "prod")]
        assert [FIRST, SECOND, FIRST, SECOND] == [said(dispatcher, False, request)[1] for request in asked]
        assert FIRST == said(dispatcher, False, Request(FIRST, "?", temperature=0.0))[1]

    assert (1, 1) == (stage.openai.hits, stage.anthropic.hits)
    assert [False, False, True, True, True] == [outcome.cached for outcome in stage.outcomes]
    assert ("summarizer", "prod") == (stage.outcomes[3].alias, stage.outcomes[3].profile)


def test_map_and_one_vendor_alone(stage):
    """Many at once; and a vendor that is named gets the models of the pool that are its own."""
    with stage.dispatcher() as dispatcher:
        answers = list(dispatcher.map([Request("summarizer", str(number)) for number in range(6)], max_workers=3))
        assert [FIRST] * 6 == [answer.ref for answer in answers]
        assert SECOND == dispatcher.send_to_vendor("anthropic", Request("summarizer", "?")).ref
        with dispatcher.send_streaming_to_vendor("anthropic", Request("summarizer", "?")) as stream:
            assert "five six" == "".join([chunk.content for chunk in stream])
        with pytest.raises(DispatchError):  # of that profile it has none
            dispatcher.send_to_vendor("openai", Request("summarizer", "?", profile="prod"))

    assert {"summarizer"} == {outcome.alias for outcome in stage.outcomes}


def test_what_an_alias_resolves_to(stage):
    """The first that can be asked now; other names too."""
    with stage.dispatcher(pools={"mine": [SECOND]}) as dispatcher:
        assert [FIRST, SECOND, SECOND, "openai:gpt-4o"] == [
            dispatcher.resolve_alias("summarizer"),
            dispatcher.resolve_alias("summarizer", "prod"),
            dispatcher.resolve_alias("mine"),
            dispatcher.resolve_alias("gpt-4o"),
        ]
        assert dispatcher.lockfile is stage.lock
    with Dispatcher(Config(lockfile=stage.lock)) as dispatcher:
        assert dispatcher.lockfile.has_alias("summarizer")
        with pytest.raises(ModelNotFound, match="it is of the pool 'summarizer'"):
            dispatcher.resolve_alias("summarizer")


class Embedder(FakeVendor):
    """Makes a vector of anything."""

    def embed(self, asked, deadline):
        return Embeddings(vectors=((1.0,),) * len(asked.texts), model=asked.model)


def test_vectors_and_counts():
    """``embed`` and ``count_tokens`` take an alias and a profile."""
    lock = Lockfile()
    lock.bind("vectors", ["openai:text-embedding-3-small"])
    lock.bind("vectors", ["openai:text-embedding-3-large"], profile="prod")
    outcomes = []
    with Dispatcher(Config(lockfile=lock), observers=[outcomes.append]) as dispatcher:
        dispatcher.register_vendor(Embedder("hi", name="openai"))
        models = [dispatcher.embed("vectors", "a").model, dispatcher.embed("vectors", "a", profile="prod").model]
        lock.bind("talk", [FIRST])
        assert dispatcher.count_tokens(Request("talk", "one two three")).tokens > 0

    assert ["text-embedding-3-small", "text-embedding-3-large"] == models
    assert [("vectors", "default"), ("vectors", "prod")] == [(outcome.alias, outcome.profile) for outcome in outcomes]


def test_rules_know_aliases(stage):
    """As a pattern of the request's model, and as the model that a vendor is asked for."""
    stage.lock.bind("cheap", ["openai:gpt-5-nano", SECOND])
    rules = [
        RoutingRule(condition=RoutingCondition(model_pattern="summ*"), vendor="anthropic", priority=2),
        RoutingRule(condition=RoutingCondition(model_pattern="gpt-4o"), vendor="openai", model="cheap"),
    ]
    with stage.dispatcher(routing_rules=rules) as dispatcher:
        assert SECOND == said(dispatcher, False)[1]
        assert "openai:gpt-5-nano" == said(dispatcher, False, Request("gpt-4o", "?"))[1]


def test_a_mode_orders_a_pool_that_is_an_alias(stage):
    """Where the request itself names one."""
    stage.lock.bind("either", ["openai:gpt-5.6", "openai:gpt-5-nano"])
    with stage.dispatcher() as dispatcher:
        assert "openai:gpt-5.6" == said(dispatcher, False, Request("either", "?"))[1]
        assert "openai:gpt-5-nano" == said(dispatcher, False, Request("either", "?", mode="cost_saving"))[1]


def test_a_change_holds_at_once(stage):
    """In a dispatcher that has resolved the alias before."""
    with stage.dispatcher() as dispatcher:
        refs = [said(dispatcher, False)[1]]
        stage.lock.bind("summarizer", [SECOND])
        refs.append(said(dispatcher, False)[1])
        stage.lock.bind("summarizer", [FIRST])
        refs.append(said(dispatcher, False)[1])
        stage.lock.unbind("summarizer")

        assert dispatcher.explain(Request("summarizer", "?")).route.alias is None
    assert [FIRST, SECOND, FIRST] == refs


def test_a_pool_of_the_configuration_is_stronger(stage):
    """What stands in the code was meant for this program."""
    with stage.dispatcher(pools={"summarizer": [SECOND]}) as dispatcher:
        assert SECOND == said(dispatcher, False)[1]

    assert ("summarizer", None) == (stage.outcomes[0].alias, stage.outcomes[0].profile)


def test_a_model_is_no_alias(stage):
    """Its outcome names none."""
    with stage.dispatcher() as dispatcher:
        said(dispatcher, False, Request(FIRST, "?"))

    assert (None, None) == (stage.outcomes[0].alias, stage.outcomes[0].profile)


def test_the_lockfile_is_found_by_path_or_by_itself(stage, here):
    """At the first call, not before: a configuration may be made where no file is yet."""
    for lockfile in (str(here / "llmdispatcher.lock"), here / "llmdispatcher.lock", True):
        with stage.dispatcher(lockfile=lockfile) as dispatcher:
            assert FIRST == said(dispatcher, False)[1]
    with stage.dispatcher(lockfile="later.lock") as dispatcher:
        with pytest.raises(LockfileNotFound, match=r"later\.lock: there is no such file"):
            said(dispatcher, False)
        stage.lock.save("later.lock")
        assert FIRST == said(dispatcher, False)[1]
    (here / "later.lock").write_text("version = 9", encoding="utf-8")
    with stage.dispatcher(lockfile="later.lock") as dispatcher, pytest.raises(LockfileInvalid, match="version"):
        said(dispatcher, True)


@pytest.mark.parametrize("value", [3, "", " ", [], {"a": 1}])
def test_what_is_no_lockfile(value):
    """The configuration says what it takes."""
    with pytest.raises(ConfigError, match=r"lockfile: .* is no lockfile; give a path, a Lockfile, or True"):
        Config(lockfile=value)


def test_a_missing_alias_is_told_where_nobody_has_the_name():
    """With the likeliest reason; the error is the one for unknown models."""
    lock = Lockfile()
    lock.bind("summarizer", ["open:m"])
    with Dispatcher(Config(lockfile=lock)) as dispatcher:
        dispatcher.register_vendor(FakeVendor("hi", name="open", capabilities=Capabilities(models=("m",))))
        told = r"does not have an alias 'sumarizer' in the profile 'default' \(did you mean 'summarizer'\?\)"
        with pytest.raises(ModelNotFound, match=told):
            dispatcher.send(Request("sumarizer", "?"))


def test_a_pool_without_a_vendor_says_so():
    """Each member that nobody can be asked for is named."""
    lock = Lockfile()
    lock.bind("summarizer", ["closed:m", "shut:n"])
    with Dispatcher(Config(lockfile=lock)) as dispatcher:
        dispatcher.register_vendor(FakeVendor("hi", name="open", capabilities=Capabilities(models=("m",))))
        with pytest.raises(DispatchError) as raised:
            dispatcher.send(Request("summarizer", "?"))

    assert "closed:m" in str(raised.value)
    assert "shut:n" in str(raised.value)


class Ears(Observer):
    """Hears attempts."""

    def __init__(self):
        self.records = []

    def on_attempt(self, record):
        self.records.append(record)


def test_a_listener_hears_the_models(stage):
    """Attempts name the vendor's model, never the alias."""
    ears = Ears()
    stage.openai.always(faults.status(503))
    with Dispatcher(Config(lockfile=stage.lock, retry_policy=RetryPolicy(max_retries=0)), observers=[ears]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(VendorUnavailable("down"), name="openai"))
        dispatcher.register_vendor(FakeVendor("hi", name="anthropic"))
        dispatcher.send(Request("summarizer", "?"))

    assert [FIRST, SECOND] == [record.target for record in ears.records]


def test_a_program_asks_first_for_all_that_it_needs(stage):
    """Pools count, the configuration's profile holds, and what is missing is one error."""
    with stage.dispatcher(pools={"mine": [SECOND]}, profile="prod") as dispatcher:
        dispatcher.require_aliases(["mine", "summarizer"])
        dispatcher.require_aliases("mine")
        assert [True, True, False] == [dispatcher.has_alias(name) for name in ("mine", "summarizer", "drafts")]
        with pytest.raises(ConfigError, match=r"the profile 'prod' has no alias 'drafts'; App needs it\. Add at its end:"):
            dispatcher.require_aliases(["mine", "drafts"], context="App")
    with Dispatcher() as dispatcher:
        dispatcher.require_aliases([])
        assert not dispatcher.has_alias("drafts")
        with pytest.raises(ConfigError, match=r"the configuration has none, but 'drafts' are needed; give Config\(lockfile=True\)"):
            dispatcher.require_aliases(["drafts"])
    with Dispatcher(Config(lockfile="gone.lock")) as dispatcher, pytest.raises(LockfileNotFound):
        dispatcher.has_alias("drafts")
