"""No prompt goes to a vendor that was neither named nor is known to have the model, whatever happens to the others."""

import contextlib
import itertools

import pytest

from llmdispatcher import (
    AnthropicVendor,
    Balance,
    Capabilities,
    ConfigError,
    DispatchError,
    InvalidRequest,
    Lockfile,
    ModelNotFound,
    OpenAIVendor,
    RoutingCondition,
    RoutingRule,
    StreamChunk,
    StreamInterrupted,
    VendorUnavailable,
)
from llmdispatcher.catalog import NameClaim
from llmdispatcher.routing import Named, may_be_asked
from llmdispatcher.testing import FakeVendor, VendorSimulator, faults
from llmdispatcher.vendors import vendor

from ..matrix.conftest import hangs
from ..matrix.test_ways import HEAVY
from .parts import KEY, asked, at, made, read

STRANGERS = ("groq", "openrouter", "together", "huggingface", "ollama", "vllm", "local")
STRATEGIES = ("round_robin", "weighted", "random", "least_loaded", "fastest", "cheapest", "priority")
FAULTS = {
    "401": faults.wrong_key(),
    "403": faults.status(403),
    "no such model": faults.model_missing(),
    "429": faults.rate_limit(1),
    "quota": faults.quota(),
    "500": faults.status(500),
    "503": faults.status(503),
    "overloaded": faults.overloaded(),
    "reset": faults.reset_before_head(),
    "no answer": faults.close_before_head(),
    "web page": faults.html(),
}


class Anybody:
    """A vendor of the user's own that says nothing of its models."""

    capabilities = Capabilities()

    def __init__(self, name):
        self.name, self.seen = name, []

    def send(self, request, deadline):
        self.seen.append(request.model)
        return FakeVendor("here").send(request, deadline)

    def stream(self, request, deadline):
        self.seen.append(request.model)
        return FakeVendor("here").stream(request, deadline)

    def is_available(self):
        return True


def test_the_rule():
    """Has it; or is alone and not restricted; or is named and may have it."""
    for named, alone, shared in itertools.product(Named, (True, False), (True, False)):
        may = {
            NameClaim.LISTED: True,
            NameClaim.FAMILY: True,
            NameClaim.ANY: alone or named is not Named.NOT,
            NameClaim.UNKNOWN: alone or named is Named.MODEL or (shared and named is Named.DEFAULT),
            NameClaim.FOREIGN: False,
            NameClaim.CLOSED: False,
        }
        assert may == {claim: may_be_asked(claim, named, alone=alone, shared=shared) for claim in NameClaim}, (named, alone, shared)


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_failure_of_the_only_vendor_that_has_it_reaches_no_other(serve, fault, streamed):
    """Seven vendors of any model are registered, and hear of nothing."""
    others = serve()
    with VendorSimulator() as simulator:
        simulator.always(fault)
        first = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False)
        with made(first, *[at(kind, others.url) for kind in STRANGERS]) as dispatcher:
            assert ["openai"] == [target.vendor for target in dispatcher.explain(asked("gpt-4o-mini")).targets]
            with pytest.raises(DispatchError):
                read(dispatcher, asked("gpt-4o-mini"), streamed=streamed)

        assert simulator.hits > 0
    assert ([], 0) == (others.prompts, others.lists)


@pytest.mark.parametrize("row", faults.FAULTS)
def test_nothing_that_a_vendor_does_sends_a_prompt_elsewhere(serve, row):
    """Each fault of the matrix that ends by itself, whole and streamed, at the only vendor that has the model."""
    others = serve()
    with VendorSimulator() as simulator:
        first = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False)
        with made(first, *[at(kind, others.url) for kind in STRANGERS]) as dispatcher:
            for fault in [fault for fault in faults.FAULTS[row] if not hangs(fault) and fault.name not in HEAVY]:
                simulator.always(fault)
                for streamed in (False, True):
                    with contextlib.suppress(DispatchError):
                        read(dispatcher, asked("gpt-4o-mini"), streamed=streamed)

    assert [] == others.prompts


@pytest.mark.parametrize(
    "config",
    [
        {"mode": "fast"},
        {"mode": "cost_saving"},
        {"balance": "round_robin"},
        {"cost_optimization": {}},
        {"latency_optimization": {}},
        {"hedge": {"after": 0.001, "share": 1.0}},
        {"continuation": True},
        {"circuit_breaker": {"min_calls": 1}},
    ],
    ids=str,
)
def test_no_setting_makes_a_stranger_a_target(serve, config):
    """What orders, shares, hurries or goes on does so among those who may be asked."""
    down, others = serve(status=503), serve()
    with made(at("openai", down.url), *[at(kind, others.url) for kind in STRANGERS], **config) as dispatcher:
        for streamed in (False, True, False):
            with pytest.raises(DispatchError):
                read(dispatcher, asked("gpt-4o-mini"), streamed=streamed)

    assert ([], True) == (others.prompts, len(down.prompts) > 2)


def test_a_vendor_of_ones_own_without_a_list_is_a_stranger_too():
    """Beside one that has the model, and beside another like itself."""
    first, second, third = FakeVendor(DispatchError("no"), name="has"), Anybody("a"), Anybody("b")
    with made(first, second, third) as dispatcher, pytest.raises(DispatchError):
        dispatcher.send(asked("m"))
    with (
        made(second, third) as dispatcher,
        pytest.raises(ModelNotFound, match=r"no registered vendor is known to have the model \(a, b\)"),
    ):
        dispatcher.send(asked("m"))

    assert [] == second.seen == third.seen


@pytest.mark.parametrize(
    "config",
    [
        {"default_vendor": "a"},
        {"fallback_vendor": "a"},
        {"routing_rules": [RoutingRule(condition=RoutingCondition(model_pattern="m*"), vendor="a")]},
        {"pools": {"mine": ["a:m"]}},
        {"balance": Balance(weights={"a": 2})},
        {"balance": Balance(strategy="priority", priorities={"a": 1})},
    ],
    ids=lambda config: next(iter(config)),
)
def test_a_named_vendor_of_any_model_takes_the_name(config):
    """Who else is registered gets nothing."""
    named, other = Anybody("a"), Anybody("b")
    with made(named, other, **config) as dispatcher:
        answer = dispatcher.send(asked("mine" if "pools" in config else "m"))

    assert ("a", "m", ["m"], []) == (answer.vendor, answer.model, named.seen, other.seen)


def last_first(now):
    return list(reversed(now.targets))


def test_a_mode_of_ones_own_chooses_where_nobody_is_known():
    """It is a way to name vendors; where somebody has the model only those are shown to it."""
    config = {"modes": {"mine": last_first}, "mode": "mine"}
    first, second = Anybody("a"), Anybody("b")
    with made(first, second, **config) as dispatcher:
        assert {"b"} == {dispatcher.send(asked("m")).vendor for _ in range(4)}
    second.seen.clear()
    with made(FakeVendor(DispatchError("no"), name="has"), second, **config) as dispatcher, pytest.raises(DispatchError):
        dispatcher.send(asked("m"))

    assert [] == second.seen


@pytest.mark.parametrize("modes", [{}, {"modes": {"mine": last_first}}], ids=["", "modes"])
@pytest.mark.parametrize(
    "balance",
    [*STRATEGIES, last_first, Balance(sticky="user"), Balance(weights={"a": 0})],
    ids=[*STRATEGIES, "own", "sticky", "weights"],
)
def test_a_balance_without_a_group_names_nobody(serve, balance, modes):
    """It orders those who may be asked; names that nobody is known to have are refused, whatever is wanted of them."""
    first, second, server = Anybody("a"), Anybody("b"), serve()
    vendors = [first, second, *[at(kind, server.url) for kind in ("groq", "together", "huggingface")]]
    with made(*vendors, balance=balance, **modes) as dispatcher:
        for model in ("zzz", "gpt-4o-mini", "text-embedding-9"):
            for streamed in (False, True):
                with pytest.raises(ModelNotFound):
                    read(dispatcher, asked(model), streamed=streamed)
            with pytest.raises(ModelNotFound):
                dispatcher.embed(model, ["secret"])
            assert "vendor" != dispatcher.count_tokens(asked(model)).source
        assert "groq" == dispatcher.send(asked("groq:zzz")).vendor

    assert ([], [], ["zzz"]) == (first.seen, second.seen, server.models_asked)


@pytest.mark.parametrize("group", [{"weights": {"a": 1}}, {"priorities": {"a": 1}}])
def test_a_balance_of_a_group_names_nobody_else(group):
    """Whoever has no weight and no priority is a stranger to names that nobody is known to have."""
    inside, outside = Anybody("a"), Anybody("b")
    strategy = "weighted" if "weights" in group else "priority"
    with made(inside, outside, balance={"strategy": strategy, **group}) as dispatcher:
        answers = {dispatcher.send(asked("m")).vendor for _ in range(4)}

    assert ({"a"}, []) == (answers, outside.seen)


def test_a_vendor_of_ones_own_may_say_its_kind():
    """Then it has what the catalog knows of that vendor."""
    own, other = Anybody("wrapped"), Anybody("b")
    own.kind = "openai"
    with made(own, other) as dispatcher:
        assert "wrapped" == dispatcher.send(asked("gpt-4o")).vendor


def test_the_default_vendor_is_asked_for_what_another_one_has(serve):
    """A name that a vendor of the user's own has is no typo, and whether the default vendor has it nobody knows."""
    server, other = serve(status=503), FakeVendor("Here.", name="other", capabilities=Capabilities(models=("house-model",)))
    with made(at("openai", server.url), other, default_vendor="openai") as dispatcher:
        assert "other" == dispatcher.send(asked("house-model")).vendor
        with pytest.raises(ModelNotFound):
            dispatcher.send(asked("hose-model"))
    other = serve()
    with made(at("openai", server.url), at("cerebras", other.url), default_vendor="openai") as dispatcher:
        assert "cerebras" == dispatcher.send(asked("llama3.1-8b")).vendor, "the catalog knows whose it is"

    assert {"house-model"} == {*server.models_asked}


def test_a_rule_may_name_a_model_of_a_vendor_that_lacks_the_one_asked_for():
    """That is what its ``model`` is for."""
    first, second = FakeVendor(name="openai"), FakeVendor("Here.", name="other", capabilities=Capabilities(models=("theirs",)))
    rule = RoutingRule(condition=RoutingCondition(model_pattern="gpt-*"), vendor="other", model="theirs")
    with made(first, second, routing_rules=[rule]) as dispatcher:
        assert "other:theirs" == dispatcher.send(asked("gpt-4o")).ref

    assert 0 == first.hits


@pytest.mark.parametrize("model", ["gpt-99-nova", "o9-mini", "ft:gpt-4o-mini:me"])
def test_a_new_name_of_a_family_goes_to_its_vendor(serve, model):
    """Next month's models work, and nobody else is asked for them."""
    own, others = serve(), serve()
    vendors = [at("openai", own.url), at("anthropic", others.url), *[at(kind, others.url) for kind in STRANGERS]]
    with made(*vendors) as dispatcher:
        assert "openai" == dispatcher.send(asked(model)).vendor

    assert ([model], []) == (own.models_asked, others.prompts)


@pytest.mark.parametrize("model", ["anything-7", "openai/gpt-4o-mini", "qwen3:8b", "company-chat"])
@pytest.mark.parametrize("kind", ["openai", "mistral", "groq", "ollama", "local"])
def test_one_vendor_alone_is_asked_for_every_name(serve, kind, model):
    """There is nobody else that could be meant; only what is known to be another's is refused, and told."""
    server = serve()
    with made(at(kind, server.url)) as dispatcher:
        assert (kind, model) == (dispatcher.send(asked(model)).vendor, server.models_asked[-1])
        if kind in ("openai", "mistral"):
            with pytest.raises(ModelNotFound, match="It is a model of anthropic, which is not registered"):
                dispatcher.send(asked("claude-haiku-4-5"))

    assert ([model], 0) == (server.models_asked, server.lists)


class TestMisspeltAliases:
    """With one vendor, which gets every name, a misspelt alias is still no model."""

    @pytest.mark.parametrize("kind", ["openai", "groq", "ollama", "local"])
    @pytest.mark.parametrize("name", ["sumarizer", "Summarizer", "summariser", "summarizers"])
    def test_of_a_pool(self, serve, kind, name):
        """Refused with the pool's name, for calls, streams, lists of vectors and explanations; nothing is sent."""
        server = serve()
        with made(at(kind, server.url), pools={"summarizer": [f"{kind}:gpt-4o-mini"]}) as dispatcher:
            text = rf"Did you mean the pool 'summarizer'\? Write '{kind}:{name}' to ask {kind}"
            with pytest.raises(ModelNotFound, match=text):
                dispatcher.send(asked(name))
            with pytest.raises(ModelNotFound, match=text), dispatcher.send_streaming(asked(name)) as stream:
                list(stream)
            assert not dispatcher.explain(asked(name)).targets
            assert [] == server.prompts
            assert kind == dispatcher.send(asked(f"{kind}:{name}")).vendor

    @pytest.mark.parametrize(
        ("name", "hint"), [("sumarizer", "did you mean 'summarizer'"), ("titles", "'titles' is bound in 'prod'")]
    )
    def test_of_a_lockfile(self, serve, tmp_path, name, hint):
        """Refused with the alias, or with the profile that has it."""
        lock = Lockfile.create_default(tmp_path / "llmdispatcher.lock")
        lock.bind("summarizer", ["openai:gpt-4o-mini"])
        lock.bind("titles", ["openai:gpt-4o-mini"], profile="prod")
        server = serve()
        with made(at("openai", server.url), lockfile=lock) as dispatcher, pytest.raises(ModelNotFound) as caught:
            dispatcher.send(asked(name))

        assert hint in str(caught.value)
        assert f"Write 'openai:{name}' to ask openai" in str(caught.value)
        assert [] == server.prompts

    def test_a_rule_may_mean_it(self, serve):
        """Whose vendor is named for such names."""
        server = serve()
        rule = RoutingRule(condition=RoutingCondition(model_pattern="summarizer*"), vendor="local")
        with made(at("local", server.url), pools={"summarizer": ["local:m"]}, routing_rules=[rule]) as dispatcher:
            dispatcher.send(asked("summarizer2"))

        assert ["summarizer2"] == server.models_asked

    @pytest.mark.parametrize("name", ["gpt-4o-mini", "gpt-9-nano", "whatever-7"])
    def test_a_model_is_none(self, serve, name):
        """Neither one that the vendor has, however like a pool's name it is, nor one that is like no pool's."""
        server = serve()
        with made(
            at("openai", server.url), pools={"gpt-4o-minis": ["openai:gpt-4o"], "gpt-9-nanos": ["openai:gpt-4o"]}
        ) as dispatcher:
            dispatcher.send(asked(name))

        assert [name] == server.models_asked


@pytest.mark.parametrize(
    ("config", "fields"), [({}, {"profile": "prod"}), ({"profile": "prod"}, {})], ids=["of a request", "of the configuration"]
)
def test_a_profile_without_a_lockfile_is_told_once(serve, caplog, config, fields):
    """It chooses nothing."""
    with made(at("openai", serve().url), **config) as dispatcher:
        for _ in range(2):
            dispatcher.send(asked("gpt-4o-mini", **fields))
    told = [record.getMessage() for record in caplog.records if "profile" in record.getMessage()]

    assert ["profile: 'prod' is ignored, since there is no lockfile; give Config(lockfile=True), or its path"] == told


def test_a_profile_of_a_lockfile_is_not_told(serve, caplog):
    """It chooses."""
    lock = Lockfile.create_default()
    lock.bind("titles", ["openai:gpt-4o-mini"], profile="prod")
    with made(at("openai", serve().url), lockfile=lock) as dispatcher:
        dispatcher.send(asked("titles", profile="prod"))

    assert not [record for record in caplog.records if "profile" in record.getMessage()]


@pytest.mark.parametrize(
    ("model", "meant"),
    [("llama3:8b", "ollama:llama3:8b"), ("llama2:custom", "ollama:llama2:custom"), ("olama:llama3", "ollama:llama3")],
)
def test_a_local_models_tag_is_no_misspelt_vendor(serve, model, meant):
    """The suggestion keeps the whole name, where no local server is registered."""
    there = at("openai", serve().url), at("anthropic", serve().url)
    with made(*there) as dispatcher, pytest.raises(DispatchError, match=f"Did you mean '{meant}'\\?"):
        dispatcher.send(asked(model))


class TestAbsentTools:
    """A choice of a tool that the request does not have."""

    TOOLS = ({"name": "get_weather"}, {"name": "get_time"})

    @pytest.mark.parametrize("kind", ["openai", "anthropic", "groq", "ollama"])
    @pytest.mark.parametrize(
        "choice", ["get_wether", {"type": "function", "function": {"name": "get_wether"}}, {"type": "tool", "name": "get_wether"}]
    )
    def test_it_is_refused_with_those_that_there_are(self, serve, kind, choice):
        """In whichever words it is made; nothing is sent."""
        server = serve()
        model = "claude-haiku-4-5" if kind == "anthropic" else "gpt-4o-mini"
        with made(at(kind, server.url)) as dispatcher, pytest.raises(InvalidRequest) as caught:
            dispatcher.send(asked(f"{kind}:{model}", tools=self.TOOLS, tool_choice=choice))

        text = (
            "tool_choice: 'get_wether': it is none of the request's tools ('get_weather', 'get_time'); did you mean 'get_weather'?"
        )
        assert text in str(caught.value)
        assert [] == server.prompts

    @pytest.mark.parametrize(
        "choice", ["auto", "none", "required", "get_time", {"type": "function", "function": {"name": "get_time"}}]
    )
    def test_the_others_are_sent(self, serve, choice):
        """Words, and tools that there are."""
        with made(at("openai", serve().url)) as dispatcher:
            assert "here" == dispatcher.send(asked("gpt-4o-mini", tools=self.TOOLS, tool_choice=choice)).content

    def test_it_is_dropped_where_that_is_allowed(self, serve):
        """And told in the answer."""
        with made(at("openai", serve().url)) as dispatcher:
            answer = dispatcher.send(asked("gpt-4o-mini", tools=self.TOOLS, tool_choice="other", drop_params=True))

        assert ("tool_choice: 'other'",) == tuple(answer.dropped)


class Blank(Anybody):
    """A vendor whose stream says blanks and breaks off."""

    def stream(self, request, deadline):
        self.seen.append(request.model)
        yield StreamChunk(content="\n")
        yield StreamChunk(reasoning=" ")
        raise StreamInterrupted("cut", sent=True)


def test_a_stream_of_blanks_is_no_output():
    """What breaks off after nothing but blanks is asked of the next vendor, and its blanks are nobody's."""
    first = Blank("first")
    vendors = first, FakeVendor("here", name="second")
    with (
        made(*vendors, default_vendor="first", fallback_vendor="second") as dispatcher,
        dispatcher.send_streaming(asked("m")) as stream,
    ):
        text = "".join(chunk.content for chunk in stream)

    assert ("second", "here", ["m"]) == (stream.vendor, text, first.seen)


def test_several_accounts_of_one_vendor_are_one_vendor(serve):
    """A name of one's own goes to either."""
    eu, us = serve(status=503), serve()
    with made(at("openai", eu.url, name="eu"), at("openai", us.url, name="us")) as dispatcher:
        assert "us" == dispatcher.send(asked("our-own")).vendor


def test_a_vendor_with_a_list_of_names_is_asked_for_no_other(serve):
    """Alone or not, by a reference or not."""
    server = serve()
    with made(at("openai", server.url, models=("gpt-4o*",))) as dispatcher:
        for model in ("gpt-5", "openai:gpt-5"):
            with pytest.raises(ModelNotFound, match="openai does not have gpt-5"):
                dispatcher.send(asked(model))

    assert [] == server.prompts


class TestRefused:
    """Names that nobody is known to have, refused before anything is sent."""

    NAMES = {
        "cluade-haiku-4-5": "Did you mean 'claude-haiku-4-5'",
        "summariser": "Did you mean 'summarizer'",
        "openai/gpt-4o-mini": "Did you mean 'openai:gpt-4o-mini'",
        "anthropic/claude-sonnet-5": "Did you mean 'anthropic:claude-sonnet-5'",
        "gemini/gemini-2.5-pro": "Did you mean 'google:gemini-2.5-pro'",
        "zzz": "Write 'groq:zzz' to ask groq all the same.",
        "grok-4": "It is a model of xai, which is not registered: set XAI_API_KEY",
    }

    @pytest.mark.parametrize("default", [None, "openai"])
    @pytest.mark.parametrize(("model", "hint"), NAMES.items(), ids=NAMES)
    def test_with_a_suggestion(self, serve, model, hint, default):
        """In the error, in the explanation, plain and streamed; a default vendor of its own models only changes nothing."""
        server = serve()
        vendors = [at(kind, server.url) for kind in ("openai", "anthropic", "groq")]
        settings = {"pools": {"summarizer": ["openai:gpt-4o"]}, "default_vendor": default, "fallback_vendor": "anthropic"}
        with made(*vendors, **settings) as dispatcher:
            for streamed in (False, True):
                with pytest.raises(ModelNotFound) as raised:
                    read(dispatcher, asked(model), streamed=streamed)
                assert hint in str(raised.value)
            plan = dispatcher.explain(asked(model))
            assert () == plan.targets
            assert hint in str(plan)
            assert hint in plan.as_dict()["hint"]
            with pytest.raises(ModelNotFound):
                dispatcher.resolve_alias(model)

        assert [] == server.prompts

    def test_a_router_that_has_the_slash_form_is_asked(self, serve):
        """OpenRouter's names look like that."""
        server, others = serve(), serve()
        with made(at("openai", others.url), at("groq", others.url), at("openrouter", server.url)) as dispatcher:
            assert "openrouter" == dispatcher.send(asked("openai/gpt-4o-mini")).vendor

        assert (["openai/gpt-4o-mini"], []) == (server.models_asked, others.prompts)

    def test_vectors_and_counts_follow_the_same_rule(self, serve):
        """Texts are no less private than prompts; a count is estimated where nobody is to be asked."""
        server = serve()
        with made(*[at(kind, server.url) for kind in ("openai", "anthropic", *STRANGERS[:4])]) as dispatcher:
            with pytest.raises(ModelNotFound):
                dispatcher.embed("text-embeding-3-small", ["secret"])
            assert "vendor" != dispatcher.count_tokens(asked("zzz")).source
            assert "openai" == dispatcher.embed("text-embedding-9", ["x"]).vendor

        assert ["text-embedding-9"] == server.models_asked

    def test_vectors_never_come_from_a_stand_in(self, serve):
        """Those of two models cannot be compared."""
        down, second = serve(status=503), serve()
        with (
            made(at("openai", down.url), at("mistral", second.url), fallback_vendor="mistral") as dispatcher,
            pytest.raises(DispatchError),
        ):
            dispatcher.embed("text-embedding-3-small", ["x"])

        assert [] == second.prompts


class TestReferences:
    """``vendor:model`` names its vendor."""

    @pytest.mark.parametrize("others", [(), ("groq",), ("ollama",), ("openai", "openrouter", "vllm", "local")], ids=str)
    @pytest.mark.parametrize("streamed", [False, True])
    def test_a_vendor_that_is_not_registered_is_not_replaced(self, serve, others, streamed):
        """The error says how to register it; nobody is asked for anything, not even for a list."""
        server = serve("anthropic:claude-haiku-4-5")
        with made(*[at(kind, server.url) for kind in others]) as dispatcher:
            with pytest.raises(ConfigError, match="anthropic is not registered; set ANTHROPIC_API_KEY") as raised:
                read(dispatcher, asked("anthropic:claude-haiku-4-5"), streamed=streamed)
            assert "AnthropicVendor(api_key=...)" in str(raised.value)
            assert "anthropic is not registered" in str(dispatcher.explain(asked("anthropic:claude-haiku-4-5")))

        assert ([], 0) == (server.prompts, server.lists)

    @pytest.mark.parametrize(
        ("reference", "told"),
        [
            ("groq:llama", r"groq is not registered; set GROQ_API_KEY .*vendor\('groq', api_key=\.\.\.\)"),
            ("ollama:llama3", r"ollama is not registered; set OLLAMA_BASE_URL or OLLAMA_HOST .*OllamaVendor\(\)"),
            ("azure-openai:gpt-4o", r"azure is not registered; .*AzureOpenAIVendor\(api_key=\.\.\., base_url=\.\.\.\)"),
            ("Gemini:gemini-2.5-pro", "google is not registered; set GEMINI_API_KEY"),
            ("google:auto", "google is not registered"),
            ("openai:gpt-4o", "openai is not registered; one of its kind is, so write 'eu:gpt-4o'"),
        ],
    )
    def test_how_to_register_is_told(self, serve, reference, told):
        """By variable and class, or by the name that it has."""
        with made(at("openai", serve().url, name="eu"), FakeVendor()) as dispatcher, pytest.raises(ConfigError, match=told):
            dispatcher.send(asked(reference))

    def test_other_calls_too(self, serve):
        """Vectors, and a name for resolving; a count is estimated."""
        server = serve()
        with made(at("groq", server.url), at("openai", server.url)) as dispatcher:
            with pytest.raises(ConfigError, match="mistral is not registered"):
                dispatcher.embed("mistral:mistral-embed", ["x"])
            with pytest.raises(ConfigError, match="mistral is not registered"):
                dispatcher.resolve_alias("mistral:mistral-small-latest")
            assert "vendor" != dispatcher.count_tokens(asked("anthropic:claude-haiku-4-5")).source

        assert [] == server.prompts

    @pytest.mark.parametrize("model", [":", "openai:", ":gpt-4o", " : ", "openai: "])
    def test_half_a_reference_is_invalid(self, model):
        """In requests, pools, rules and settings."""
        with pytest.raises(InvalidRequest, match="lacks a part; write 'vendor:model'"):
            asked(model)
        with made(FakeVendor()) as dispatcher, pytest.raises(InvalidRequest, match="lacks a part"):
            dispatcher.resolve_alias(model)
        for config in (
            {"pools": {"mine": [model]}},
            {"fallback_model": model},
            {"routing_rules": [{"vendor": "a", "model": model}]},
        ):
            with pytest.raises(ConfigError):
                made(**config)

    def test_a_local_models_tag_may_look_like_a_vendor(self, serve):
        """Ollama's ``mistral:7b`` is asked for where its list has it, and is no reason to ask for more."""
        server, others = serve("mistral:7b"), serve()
        with made(at("ollama", server.url), at("openai", others.url)) as dispatcher:
            assert "ollama:mistral:7b" == dispatcher.send(asked("mistral:7b")).ref
            with pytest.raises(ConfigError, match="mistral is not registered"):
                dispatcher.send(asked("mistral:instruct"))

        assert (["mistral:7b"], 1, []) == (server.models_asked, server.lists, others.prompts)

    def test_a_pinned_vendor_is_the_only_one(self, serve):
        """By a reference and by ``send_to_vendor``, whatever it answers; a name of another vendor's is a contradiction."""
        down, others = serve(status=503), serve()
        with made(at("openai", others.url), at("groq", down.url), fallback_vendor="openai") as dispatcher:
            with pytest.raises(DispatchError):
                dispatcher.send(asked("groq:gpt-4o-mini"))
            with pytest.raises(DispatchError):
                dispatcher.send_to_vendor("Groq", asked("anything"))
            with pytest.raises(InvalidRequest, match="names openai, and the call names groq"):
                dispatcher.send_to_vendor("groq", asked("openai:gpt-4o-mini"))
            with pytest.raises(InvalidRequest, match="names anthropic, and the call names groq"):
                dispatcher.send_to_vendor("groq", asked("anthropic:claude-haiku-4-5"))

        assert ({"gpt-4o-mini", "anything"}, []) == ({*down.models_asked}, others.prompts)


def test_azure_is_one_vendor_by_both_names():
    """For registering, sending, looking up and rules."""
    fake = FakeVendor(name="azure")
    rule = RoutingRule(vendor="azure-openai")
    with made(FakeVendor(name="other"), fake, routing_rules=[rule]) as dispatcher:
        assert fake is dispatcher.get_vendor("azure-openai")
        assert "azure" == dispatcher.send_to_vendor("azure-openai", asked("m")).vendor
        assert "azure" == dispatcher.send(asked("m")).vendor
        assert "azure" == dispatcher.send(asked("azure-openai:m")).vendor
        assert () == dispatcher.list_models("Azure-OpenAI")
    assert "azure" == at("azure", "https://x.example", name="azure-openai").name
    assert "eu" == AnthropicVendor(api_key=KEY, name="eu").name


def test_one_vendor_alone_is_asked_by_the_same_rule_as_a_reference(serve):
    """What a reference may not ask it for, ``send_to_vendor`` may not either, and the vendor's own reason is told."""
    server = serve()
    with made(at("openai", server.url), at("groq", server.url)) as dispatcher:
        for model in ("gpt-99-nova", "our-own"):
            assert f"openai:{model}" == dispatcher.send(asked(f"openai:{model}")).ref
            assert f"openai:{model}" == dispatcher.send_to_vendor("openai", asked(model)).ref
        for streamed in (False, True):
            with pytest.raises(ModelNotFound, match="openai does not have claude-sonnet-5"):
                read(dispatcher, asked("openai:claude-sonnet-5"), streamed=streamed)
        with pytest.raises(ModelNotFound):
            dispatcher.embed("openai:claude-sonnet-5", ["x"])
        with pytest.raises(ModelNotFound):
            dispatcher.resolve_alias("openai:claude-sonnet-5")
        with pytest.raises(ModelNotFound, match="openai does not have claude-sonnet-5"):
            dispatcher.send_to_vendor("openai", asked("claude-sonnet-5"))

    assert ["gpt-99-nova", "gpt-99-nova", "our-own", "our-own"] == server.models_asked


MANY = (
    "openai",
    "anthropic",
    "google",
    "mistral",
    "deepseek",
    "xai",
    "groq",
    "openrouter",
    "together",
    "fireworks",
    "ollama",
    "vllm",
)
NOWHERE = "http://127.0.0.1:9"


class TestNamed:
    """Which names a vendor takes because the configuration names it, or because there is no other."""

    TABLE = (
        # registered, the configuration, the name, who is asked in which order
        (("openai", "groq"), {"default_vendor": "groq"}, "zzz", ["groq"]),
        (("openai", "groq"), {"default_vendor": "groq"}, "gpt-4o-mini", ["groq", "openai"]),
        (("openai", "groq"), {"fallback_vendor": "groq"}, "zzz", ["groq"]),
        (("openai", "groq"), {"default_vendor": "openai"}, "zzz", []),
        (("openai", "groq"), {"default_vendor": "openai"}, "claude-haiku-4-5", []),
        (("openai", "anthropic"), {"fallback_vendor": "anthropic"}, "zzz", []),
        (("openai", "anthropic"), {"fallback_vendor": "anthropic"}, "gpt-4o", ["openai", "anthropic"]),
        (("openai", "groq"), {"balance": {"strategy": "weighted", "weights": {"groq": 1}}}, "zzz", ["groq"]),
        (("openai", "groq", "together"), {"balance": "round_robin"}, "zzz", []),
        (("openai", "groq", "together"), {"balance": "round_robin"}, "gpt-4o-mini", ["openai"]),
        (("openai",), {}, "zzz", ["openai"]),
        (("openai",), {}, "claude-haiku-4-5", []),
        (("groq",), {}, "claude-haiku-4-5", ["groq"]),
        (("local",), {}, "gpt-4o", ["local"]),
        (("ollama",), {}, "gpt-4o", ["ollama"]),
        (("ollama", "vllm"), {}, "zzz", []),
    )

    @pytest.mark.parametrize(("kinds", "config", "model", "order"), TABLE, ids=str)
    def test_who_is_asked(self, serve, kinds, config, model, order):
        """By every kind of call; where nobody may be asked a count is an estimate."""
        server = serve()
        with made(*[at(kind, server.url) for kind in kinds], **config) as dispatcher:
            assert order == [target.vendor for target in dispatcher.explain(asked(model)).targets]
            if order[:1] != ["openai"]:  # whose own count this server does not know
                assert "vendor" != dispatcher.count_tokens(asked(model)).source
            for streamed in (False, True):
                if order:
                    assert order[0] == read(dispatcher, asked(model), streamed=streamed).vendor
                    continue
                with pytest.raises(ModelNotFound):
                    read(dispatcher, asked(model), streamed=streamed)
            if not order:
                with pytest.raises(ModelNotFound):
                    dispatcher.embed(model, ["x"])
                assert [] == server.prompts


class TestSuggestions:
    """Each refusal has one sentence of cause and one of remedy, and suggests only what can be asked for."""

    TABLE = (
        # registered, the name, the end of the error
        (("openai", "groq"), "opneai:gpt-4o", "Did you mean 'openai:gpt-4o'?"),
        (("openai", "groq"), "Opneai:GPT-4o", "Did you mean 'openai:gpt-4o'?"),
        (("openai", "groq"), "opneai/gpt-4o-mini", "Did you mean 'openai:gpt-4o-mini'?"),
        (("openai", "groq"), "gorq:llama-9", "Did you mean 'groq:llama-9'?"),
        (("openai", "anthropic"), "antropic:claude-haiku-4.5", "Did you mean 'anthropic:claude-haiku-4-5'?"),
        (
            ("openai", "groq"),
            "antropic:claude-haiku-4-5",
            "Did you mean 'anthropic:claude-haiku-4-5'? anthropic is not registered: set ANTHROPIC_API_KEY",
        ),
        (("openai", "ollama"), "opneai:gpt-4o", "Did you mean 'openai:gpt-4o'?"),
        (("openai", "groq"), "GPT-4o", "Did you mean 'gpt-4o'?"),
        (("openai", "groq"), "Gpt4o", "Did you mean 'gpt-4o'?"),
        (("openai", "anthropic"), "CLAUDE-HAIKU-4-5", "Did you mean 'claude-haiku-4-5'?"),
        (
            ("openai", "groq"),
            "Claude-Haiku-4-5",
            "Did you mean 'anthropic:claude-haiku-4-5'? anthropic is not registered: set ANTHROPIC_API_KEY",
        ),
        (("openai", "groq"), "claude-haiku-4-5", "It is a model of anthropic, which is not registered: set ANTHROPIC_API_KEY"),
        (("openai", "groq"), "xai/grok-4", "Did you mean 'xai:grok-4'? xai is not registered: set XAI_API_KEY"),
        (("openai", "groq"), "cluade-haiku-4-5", "Did you mean 'anthropic:claude-haiku-4-5'? anthropic is not registered"),
        (("groq", "openrouter"), "gpt-4o-mini", "Did you mean 'openai/gpt-4o-mini'?"),
        (("openai", "anthropic"), "openai:claude-haiku-4-5", "Did you mean 'claude-haiku-4-5'?"),
        (("openai", "groq"), "openai:claude-haiku-4-5", "It is a model of anthropic, which is not registered"),
        (("openai", "groq"), "zzz", "Write 'groq:zzz' to ask groq all the same."),
        (("openai", "mistral"), "zzz", "Write 'openai:zzz' to ask openai all the same."),
        (("openai", "groq"), "zzz:qqq", "No vendor is named 'zzz'; write 'vendor:model' with a registered vendor."),
        (MANY, "zzz", "(openai, anthropic, google, mistral, deepseek and 7 more). Write 'groq:zzz' to ask groq all the same."),
    )

    @pytest.mark.parametrize(("kinds", "model", "told"), TABLE, ids=[f"{model} of {len(kinds)}" for kinds, model, _told in TABLE])
    def test_what_was_meant(self, kinds, model, told):
        """By ``explain`` and by a call, in a few words however many vendors are registered."""
        with made(*[at(kind, NOWHERE) for kind in kinds]) as dispatcher:
            with pytest.raises(ModelNotFound) as raised:
                dispatcher.resolve_alias(model)
            assert told in str(raised.value)
            assert dispatcher.explain(asked(model)).as_dict()["hint"] in str(raised.value)

        assert len(str(raised.value)) < (300 if "is not registered: set" in str(raised.value) else 250)
        assert len(kinds) <= 5 or "vllm" not in str(raised.value)

    def test_each_kind_of_call_says_the_same(self, serve):
        """Whole, in pieces, vectors, and by a vendor's name; a count is estimated."""
        server = serve()
        with made(*[at(kind, server.url) for kind in ("openai", "anthropic", "groq", "together")]) as dispatcher:
            for model in ("zzz", "opneai:gpt-4o", "GPT-4o", "openai:claude-haiku-4-5", "text-embeding-3-small"):
                errors = []
                for call in (
                    lambda model=model: read(dispatcher, asked(model), streamed=False),
                    lambda model=model: read(dispatcher, asked(model), streamed=True),
                    lambda model=model: dispatcher.embed(model, ["x"]),
                ):
                    with pytest.raises(ModelNotFound) as raised:
                        call()
                    errors.append(str(raised.value))
                assert 1 == len({*errors})
                assert "vendor" != dispatcher.count_tokens(asked(model)).source

        assert ([], 0) == (server.prompts, server.lists)

    def test_a_name_that_is_not_served_is_not_suggested(self):
        """Neither a retired model nor one that ``models=`` leaves out."""
        with made(at("openai", NOWHERE, models=("gpt-5*",)), at("groq", NOWHERE)) as dispatcher:
            told = dispatcher.explain(asked("GPT-4o")).as_dict()["hint"]

        assert "'gpt-4o'" not in told

    @pytest.mark.parametrize(
        ("vendor", "told"),
        [
            (FakeVendor(name="own", capabilities=Capabilities(models=("m",))), "Add the name to the capabilities of the vendor"),
            (at("openai", NOWHERE, models=("house-*",)), "Add the name to the models= of the vendor"),
        ],
        ids=["own", "models"],
    )
    def test_a_vendor_whose_names_are_closed(self, vendor, told):
        """It would refuse a reference too, so none is suggested."""
        with made(vendor) as dispatcher, pytest.raises(ModelNotFound, match=told):
            dispatcher.send(asked("completely-different"))

    def test_a_missing_alias_is_told_without_a_path_of_the_package(self):
        """The library's own lockfile is no file of the user's."""
        with (
            made(at("openai", NOWHERE), at("groq", NOWHERE), lockfile=True) as dispatcher,
            pytest.raises(ModelNotFound, match=r"does not have an alias 'advisr' .* \(did you mean 'advisor'\?\)$") as raised,
        ):
            dispatcher.resolve_alias("advisr")

        assert "bundled" not in str(raised.value)

    def test_a_key_that_is_missing_is_told_of_the_vendor_that_is_named(self, monkeypatch):
        """Others are of no interest."""
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
        with (
            made(OpenAIVendor(trust_env=False), at("groq", NOWHERE)) as dispatcher,
            pytest.raises(ConfigError, match="no vendor can be asked: openai: ") as raised,
        ):
            dispatcher.send(asked("openai:gpt-4o"))

        assert "groq" not in str(raised.value)

    def test_a_vendor_that_is_not_registered_is_told_for_a_call_that_names_it(self):
        """The name that may be meant, or how to register it; no more than five of those there are."""
        with made(*[at(kind, NOWHERE) for kind in MANY if kind != "anthropic"]) as dispatcher:
            for name, told in (
                ("opneai", "vendor: 'opneai' is not registered; did you mean 'openai'\\?$"),
                ("anthropic", "there are openai, google, mistral, deepseek, xai and 6 more; set ANTHROPIC_API_KEY"),
                ("zzz", "there are openai, google, mistral, deepseek, xai and 6 more$"),
            ):
                with pytest.raises(ConfigError, match=told):
                    dispatcher.send_to_vendor(name, asked("gpt-4o"))


class TestNamesOfLocalModels:
    """A prompt for a model of one's own machine never goes to a cloud whose name the model's begins with."""

    @pytest.mark.parametrize("streamed", [False, True])
    @pytest.mark.parametrize(
        "settings", [{}, {"default_vendor": "ollama"}, {"default_vendor": "mistral"}, {"pools": {"p": ["mistral:7b"]}}]
    )
    @pytest.mark.parametrize("kind", ["ollama", "vllm"])
    def test_what_a_local_list_has_is_local(self, serve, kind, settings, streamed):
        """The list is read first, also where the cloud is the default vendor, and in a pool."""
        local, cloud = serve("mistral:7b"), serve()
        config = {key: kind if value == "ollama" else value for key, value in settings.items()}
        with made(at("mistral", cloud.url), at(kind, local.url), **config) as dispatcher:
            model = "p" if "pools" in settings else "mistral:7b"
            assert () == dispatcher.explain(asked(model)).targets, "nobody is asked before the list is read"
            assert kind == read(dispatcher, asked(model), streamed=streamed).vendor
            assert [kind] == [target.vendor for target in dispatcher.explain(asked(model)).targets]

        assert ([], ["mistral:7b"], 1) == (cloud.prompts, local.models_asked, local.lists)

    @pytest.mark.parametrize(
        "settings", [{"models": ("mistral:7b",)}, {"models": ("mistral*",)}, {"model_map": {"mistral:7b": "mistral:7b"}}]
    )
    @pytest.mark.parametrize(
        "taking", [{}, {"default_model": "mistral-small-latest"}, {"model_map": {"*": "mistral-small-latest"}}]
    )
    def test_what_its_settings_name_is_local(self, serve, settings, taking):
        """Whatever names the cloud takes."""
        local, cloud = serve(), serve()
        with made(at("mistral", cloud.url, **taking), at("ollama", local.url, **settings)) as dispatcher:
            assert "ollama:mistral:7b" == dispatcher.send(asked("mistral:7b")).ref

        assert [] == cloud.prompts

    def test_a_vendor_of_ones_own_that_has_it(self, serve):
        """By its capabilities."""
        cloud, own = serve(), FakeVendor("here", name="mine", capabilities=Capabilities(models=("mistral:7b",)))
        with made(at("mistral", cloud.url), own, default_vendor="mistral") as dispatcher:
            assert "mine" == dispatcher.send(asked("mistral:7b")).vendor

        assert [] == cloud.prompts

    @pytest.mark.parametrize("model", ["mistral:7b", "mistral:latest", "Mistral:instruct", "mistral:mine", "mistral:7b-q4_K_M"])
    @pytest.mark.parametrize("status", [200, 500])
    def test_what_nobody_is_known_to_have_is_refused(self, serve, model, status):
        """With the reference that asks the local server; also where its list cannot be read, and for vectors and counts."""
        local, cloud = serve("other:1b", list_status=status), serve()
        with made(at("mistral", cloud.url), at("ollama", local.url)) as dispatcher:
            for ask in (dispatcher.send, dispatcher.send_streaming, dispatcher.explain):
                with contextlib.suppress(ModelNotFound):
                    ask(asked(model))
            with pytest.raises(ModelNotFound, match=f"Write 'ollama:{model}' to ask ollama"):
                dispatcher.send(asked(model))
            with pytest.raises(ModelNotFound, match=f"Write 'ollama:{model}'"):
                dispatcher.embed(model, ["x"])
            dispatcher.count_tokens(asked(model))
            assert "mistral" == dispatcher.send(asked("mistral:mistral-small-latest")).vendor

        assert ["mistral-small-latest"] == cloud.models_asked

    @pytest.mark.parametrize("model", ["mistral:7b", "mistral:latest", "Mistral:7b-instruct-q4_K_M", "mistral:instruct"])
    @pytest.mark.parametrize("others", [(), ("openai",)])
    def test_a_cloud_alone_is_not_sent_a_tag(self, serve, model, others):
        """No local server is registered; a model of that name at the cloud is named in its models=."""
        clouds = [(name, serve()) for name in ("mistral", *others)]
        with made(*[at(name, cloud.url) for name, cloud in clouds]) as dispatcher:
            for streamed in (False, True):
                with pytest.raises(ModelNotFound, match=f"Write 'ollama:{model}' to ask a local server that you register"):
                    read(dispatcher, asked(model), streamed=streamed)
            assert "mistral" == dispatcher.send(asked("mistral:mistral-new-7b")).vendor
        assert ["mistral-new-7b"] == [name for _vendor, cloud in clouds for name in cloud.models_asked]

        cloud = serve()
        tail = model.partition(":")[2]
        with made(at("mistral", cloud.url, models=(tail,))) as dispatcher:
            assert "mistral" == dispatcher.send(asked(model)).vendor
        assert [tail] == cloud.models_asked

    def test_without_the_cloud_the_error_names_the_local_server_too(self, serve):
        """Who follows it may register either."""
        with made(at("openai", serve().url)) as dispatcher, pytest.raises(ConfigError, match="write 'ollama:mistral:7b'"):
            dispatcher.send(asked("mistral:7b"))

    def test_a_key_is_no_remedy(self, serve):
        """Without Mistral the error names the local server, and no variable of the cloud."""
        with made(at("ollama", serve().url), at("openai", serve().url)) as dispatcher:
            with pytest.raises(ConfigError, match="write 'ollama:mistral:7b'") as told:
                dispatcher.send(asked("mistral:7b"))
            assert "MISTRAL_API_KEY" not in str(told.value)

    def test_a_reference_to_a_cloud_is_followed(self, serve):
        """Where it does not look like a local model: the local list is read first, and may fail."""
        local, cloud = serve(list_status=500), serve()
        with made(at("groq", cloud.url), at("ollama", local.url)) as dispatcher:
            assert "groq" == dispatcher.send(asked("groq:llama-9")).vendor
            assert ["groq"] == [target.vendor for target in dispatcher.explain(asked("groq:llama-9")).targets]

        assert (1, []) == (local.lists, local.prompts)

    @pytest.mark.parametrize("field", ["default_vendor", "fallback_vendor"])
    def test_a_tag_is_looked_for_here_first(self, serve, field):
        """Also where the cloud takes any name and is the default, or the fallback."""
        local, cloud = serve("qwen9:8b"), serve()
        with made(at("groq", cloud.url), at("ollama", local.url), **{field: "groq"}) as dispatcher:
            assert "ollama" == dispatcher.send(asked("qwen9:8b")).vendor

        assert [] == cloud.prompts


class TestWhatMayHaveBeenMeant:
    """The error names what the vendors that are there have."""

    @pytest.mark.parametrize(
        ("kind", "model", "meant"), [("openai", "gpt-4o-mimi", "gpt-4o-mini"), ("anthropic", "claude-haku-4-5", "claude-haiku-4-5")]
    )
    def test_a_name_that_a_cloud_does_not_know(self, serve, kind, model, meant):
        """New names are sent to the maker of their family; its 404 names those of its catalog that are like it."""
        with made(at(kind, serve(status=404).url)) as dispatcher, pytest.raises(ModelNotFound, match=f"did you mean '{meant}'"):
            dispatcher.send(asked(model))

    @pytest.mark.parametrize("kind", ["ollama", "vllm"])
    @pytest.mark.parametrize(("model", "told"), [("lama3.2", "did you mean 'llama3.2'"), ("zzz", "its list has llama3.2:latest")])
    def test_a_name_that_the_only_local_server_does_not_know(self, serve, kind, model, told):
        """Its list is read for the error."""
        server = serve("llama3.2:latest", status=404)
        with made(at(kind, server.url)) as dispatcher, pytest.raises(ModelNotFound, match=told):
            dispatcher.send(asked(model))

        assert 1 == server.lists

    def test_what_nobody_here_has_is_not_named(self, serve):
        """The catalog's names of local models are not those of the server."""
        there = at("openai", serve().url), at("ollama", serve("llama3.2:latest").url)
        with made(*there) as dispatcher, pytest.raises(ModelNotFound, match=r"Did you mean 'llama3\.2'\?"):
            dispatcher.send(asked("lama3.2"))

    @pytest.mark.parametrize("name", ["fast", "cost_saving", "sophisticated"])
    def test_a_mode_is_no_model(self, serve, name):
        """Where one is written as a model."""
        there = at("openai", serve().url), at("groq", serve().url)
        with made(*there) as dispatcher, pytest.raises(ModelNotFound, match=f"mode='{name}'") as told:
            dispatcher.send(asked(name))
        assert "openai:" not in str(told.value)

    @pytest.mark.parametrize("kind", ["vllm", "openai", "local"])
    def test_an_address_without_its_version(self, serve, kind):
        """The 404 asks whether it lacks it; with it nothing is said."""
        for path, is_asked in (("", True), ("/v1", False)):
            there = vendor(kind, api_key=KEY, base_url=serve(status=404, list_status=404).url + path, trust_env=False)
            with made(there) as dispatcher, pytest.raises(ModelNotFound) as told:
                dispatcher.send(asked("gpt-9-unheard"))
            assert is_asked is ("does base_url lack /v1?" in str(told.value))

    def test_a_list_that_is_not_there_names_its_vendor(self, serve):
        """The error of list_models says whose list it was."""
        there = vendor("openai", api_key=KEY, base_url=serve(list_status=404).url + "/v1", trust_env=False)
        with made(there) as dispatcher, pytest.raises(DispatchError, match=r"^openai: "):
            dispatcher.list_models("openai")

    def test_an_alias_of_another_profile_is_told_where_the_only_vendor_lacks_the_model(self, serve, tmp_path):
        """The name went to the only vendor as a model; its 404 is told with the profile that has the alias, and one like it."""
        lock = Lockfile.create_default(tmp_path / "llmdispatcher.lock")
        lock.bind("titles", ["openai:gpt-4o-mini"], profile="prod")
        lock.bind("drafts", ["openai:gpt-4o-mini"])
        lock.save()
        there = vendor("openai", api_key=KEY, base_url=serve(status=404, words="no such model").url + "/v1", trust_env=False)
        with made(there, lockfile=str(lock.path)) as dispatcher:
            for name, hint in (("titles", "'titles' is bound in 'prod'"), ("draft", "did you mean 'drafts'?")):
                with pytest.raises(ModelNotFound) as caught:
                    dispatcher.send(asked(name))
                assert f"lacks an alias {name!r} in the profile 'default' ({hint})" in str(caught.value)

    def test_a_local_server_that_is_down_is_unavailable(self):
        """Whether its model is named or not."""
        for model in ("auto", "llama3"):
            with made(at("ollama", "http://127.0.0.1:9")) as dispatcher, pytest.raises(VendorUnavailable):
                dispatcher.send(asked(model))

    @pytest.mark.parametrize(
        ("path", "status", "words", "told", "not_told"),
        [
            ("", 404, "404 page not found", "nothing is at this path: does base_url lack /v1?", "did you mean"),
            ("/v2", 404, "404 page not found", "nothing that can be asked is at this path; check base_url", "did you mean"),
            ("/v2", 405, "Method Not Allowed", "nothing that can be asked is at this path; check base_url", "did you mean"),
            ("/v1", 404, "The model `gpt-4o-mini` does not exist", "did you mean", "at this path"),
        ],
    )
    def test_a_path_that_is_not_there_is_no_model_that_is_not_there(self, serve, path, status, words, told, not_told):
        """A refusal that speaks of no model, at an address of one's own, is told by the address; the known model is not doubted."""
        there = vendor("openai", api_key=KEY, base_url=serve(status=status, words=words).url + path, trust_env=False)
        with made(there) as dispatcher, pytest.raises(DispatchError) as caught:
            dispatcher.send(asked("gpt-4o-mini"))
        assert told in str(caught.value)
        assert not_told not in str(caught.value)
