"""HttpVendor: keys and addresses from arguments, configuration or environment; what goes over the wire; what it can do."""

import json
from contextlib import closing

import pytest

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    AzureOpenAIVendor,
    ConfigError,
    Deadline,
    Dispatcher,
    DispatchError,
    GoogleVendor,
    HttpVendor,
    OpenAIVendor,
    Request,
    Vendor,
    VendorConfig,
    VendorUnavailable,
    vendor,
)
from llmdispatcher.testing import VendorSimulator, faults
from llmdispatcher.vendors import http

from ..cases import each

KEY = "sk-test-0123456789"
MODELS = {"openai": "gpt-4o", "azure": "gpt-4o", "anthropic": "claude-sonnet-4-6", "google": "gemini-2.5-flash"}
MAKERS = {"openai": OpenAIVendor, "azure": AzureOpenAIVendor, "anthropic": AnthropicVendor, "google": GoogleVendor}


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No key or address of the machine's own."""
    for name in [
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_API_VERSION",
        "ANTHROPIC_API_KEY",
        "ANTHROPIC_BASE_URL",
        "GEMINI_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_GEMINI_API_KEY",
        "GEMINI_BASE_URL",
        "GOOGLE_BASE_URL",
        "GOOGLE_GEMINI_BASE_URL",
        "AZURE_OPENAI_API_KEY",
        "AZURE_OPENAI_ENDPOINT",
        "AZURE_OPENAI_API_VERSION",
    ]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def simulator():
    with VendorSimulator(responses="hello") as running:
        yield running


def address(simulator, kind):
    return getattr(simulator, f"{kind}_url")


def asked(simulator, kind="openai", fields=None, **settings):
    """What a vendor with these settings answers to a request with these fields."""
    with closing(MAKERS[kind](api_key=KEY, base_url=address(simulator, kind), **settings)) as made:
        return ask(made, kind, **(fields or {}))


def ask(made, kind, **settings):
    return made.send(Request(model=MODELS[kind], messages="hi", **settings), Deadline.after(30))


@each("kind", list(MAKERS))
def test_each_vendor_shows_its_key_in_its_own_header_and_nowhere_else(kind, simulator):
    """The key is in one header, not in the URL, and the answer comes back."""
    response = asked(simulator, kind)
    seen = simulator.requests[-1]

    header = {"openai": "authorization", "azure": "api-key", "anthropic": "x-api-key", "google": "x-goog-api-key"}[kind]
    assert "hello" == response.content
    assert [header] == [name for name, value in seen.headers.items() if KEY in value]
    assert KEY not in seen.path


@each("kind", list(MAKERS))
def test_keys_and_addresses_come_from_the_environment(kind, simulator, monkeypatch):
    """A vendor without arguments is what the environment says, read at the first use."""
    made = MAKERS[kind]()
    assert not made.is_available()
    names = {
        "openai": ("OPENAI_API_KEY", "OPENAI_BASE_URL"),
        "azure": ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"),
        "anthropic": ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"),
        "google": ("GOOGLE_API_KEY", "GEMINI_BASE_URL"),
    }[kind]
    monkeypatch.setenv(names[0], KEY)
    monkeypatch.setenv(names[1], address(simulator, kind))

    assert made.is_available()
    assert "hello" == ask(made, kind).content
    made.close()


def test_arguments_win_over_config_and_config_over_environment(monkeypatch):
    """The nearest word counts."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    config = VendorConfig(api_key="sk-config", name="from-config")

    assert "mine" == OpenAIVendor(config, name="mine").name
    assert "from-config" == OpenAIVendor(config).name


def test_config_may_be_a_dict():
    """Plain dicts are read like everywhere, and a typo is named."""
    assert "eu" == OpenAIVendor({"name": "eu", "api_key": KEY}).name
    with pytest.raises(ConfigError, match="'api_kee'"):
        OpenAIVendor({"api_kee": KEY})
    with pytest.raises(ConfigError, match="'tiemout'"):
        OpenAIVendor(tiemout=3)


@each("kind, told", [("opanai", "did you mean 'openai'"), ("zzz", "it has openai,")])
def test_a_name_that_the_catalog_does_not_have(kind, told):
    """The one that is meant is named, or all."""
    for make in (vendor, lambda name: HttpVendor(kind=name)):
        with pytest.raises(ConfigError, match=told):
            make(kind)


@each("quote", ["'", '"'])
def test_a_key_in_quotes_is_refused(quote, monkeypatch):
    """As some tools leave it in a file of variables; the key is not shown."""
    key = f"{quote}sk-0123456789abcdef{quote}"
    with pytest.raises(ConfigError, match="stands in quotes") as told:
        OpenAIVendor(api_key=key)
    assert "sk-0" not in str(told.value)
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="stands in quotes"):
        ask(OpenAIVendor(), "openai")


def test_without_a_key_the_first_use_says_what_to_set():
    """The error names the argument and the variables."""
    with pytest.raises(ConfigError, match=r"google: no API key; pass api_key=.* GEMINI_API_KEY or GOOGLE_API_KEY"):
        ask(GoogleVendor(), "google")


def test_azure_without_an_endpoint_says_what_to_set():
    """Azure has no address of its own."""
    with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT"):
        ask(AzureOpenAIVendor(api_key=KEY), "azure")


@each("bad", ["sk-with-\nnewline-1234", "sk-with blank-1234567", "sk-dots-…-1234567", "sk-nul-\0-1234567", "x" * 10_000])
def test_a_key_that_a_header_cannot_carry_is_refused_at_once(bad):
    """The message shows no more than the last four characters."""
    with pytest.raises(ConfigError, match="api_key: the key ending in") as caught:
        OpenAIVendor(api_key=bad)

    assert bad[:8] not in str(caught.value)


def test_a_bad_key_in_the_environment_is_refused_at_the_first_use(monkeypatch):
    """A line end in the middle of a key has no place in a header."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-\npart-abcd")

    with pytest.raises(ConfigError) as caught:
        ask(OpenAIVendor(), "openai")
    assert "secret" not in str(caught.value)


def test_no_repr_shows_the_key():
    """Neither the vendor's nor its configuration's."""
    config = VendorConfig(api_key=KEY, headers={"X-Token": KEY}, proxy=f"http://user:{KEY}@proxy")

    assert KEY not in repr(config) + repr(OpenAIVendor(config))


def test_a_vendor_that_echoes_the_key_is_censored(simulator):
    """What the vendor writes into its error does not bring the key into ours."""
    simulator.script(faults.status(401, message=f"Incorrect API key provided: {KEY}."))
    with pytest.raises(AuthenticationError, match=r"provided: \*\*\*\.") as caught:
        asked(simulator)
    assert KEY not in repr(caught.value) + str(caught.value.args)


LONG_KEY = "sk-" + "0123456789" * 16
ECHOES = {
    "cut in two by the excerpt": (401, b"the header " + b"x" * 100 + LONG_KEY.encode()),
    "as the code": (401, b'{"error": {"message": "no", "code": "%s"}}' % LONG_KEY.encode()),
    "inside a stream": (200, b'data: {"error": {"message": "no: %s"}}\n\n' % LONG_KEY.encode()),
}


@each("echo", list(ECHOES))
def test_an_echoed_key_is_censored_wherever_it_stands(echo, simulator):
    """Not in an excerpt, not in a code, not in a stream's error."""
    status, body = ECHOES[echo]
    simulator.always(faults.Fault("echo", lambda peer, _scene: peer.reply(status, body)))
    made = OpenAIVendor(api_key=LONG_KEY, base_url=simulator.openai_url)
    with pytest.raises(DispatchError) as caught:
        list(made.stream(Request(MODELS["openai"], "hi"), Deadline.after(30)))
    made.close()

    assert LONG_KEY[:12] not in f"{caught.value} {caught.value.__dict__} {caught.value.args}"


@each(
    "settings, path",
    [
        ({}, "/openai/v1/chat/completions"),
        ({"api_version": "v1"}, "/openai/v1/chat/completions"),
        ({"api_version": "2024-10-21"}, "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21"),
    ],
)
@each("suffix", ["", "/", "/openai", "/openai/v1"])
def test_azure_has_two_kinds_of_address(settings, path, suffix, simulator):
    """v1 without an api-version, classic deployments with one, however the endpoint is written."""
    if suffix == "/openai/v1" and "deployments" in path:
        path = "/openai/v1/chat/completions"
    made = AzureOpenAIVendor(api_key=KEY, base_url=simulator.azure_url + suffix, **settings)
    ask(made, "azure")
    made.close()

    assert path == simulator.requests[-1].path


def test_azures_version_comes_from_the_environment(simulator, monkeypatch):
    """AZURE_OPENAI_API_VERSION chooses the classic addresses."""
    monkeypatch.setenv("AZURE_OPENAI_API_VERSION", "2024-10-21")
    asked(simulator, "azure")

    assert "api-version=2024-10-21" in simulator.requests[0].path


def test_users_headers_are_sent(simulator):
    """Organisation, project, tracing: whatever the user wants to add."""
    asked(simulator, headers={"OpenAI-Organization": "org-1"})

    assert "org-1" == simulator.requests[0].headers["openai-organization"]


def test_none_is_never_sent_and_zero_is(simulator):
    """temperature=0.0 reaches the vendor; what was not said does not."""
    asked(simulator, fields={"temperature": 0.0})
    sent = simulator.requests[0].json

    assert ({"model", "messages", "temperature"}, 0.0) == (set(sent), sent["temperature"])


def test_models_refuse_what_the_catalog_says_they_refuse(simulator):
    """A reasoning model gets max_completion_tokens, a model without sampling parameters gets none."""
    openai = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url)
    anthropic = AnthropicVendor(api_key=KEY, base_url=simulator.anthropic_url)
    openai.send(Request(model="gpt-5.1", messages="hi", max_tokens=9), Deadline.after(30))
    anthropic.send(Request(model="claude-opus-4-7", messages="hi", max_tokens=9, temperature=0.5), Deadline.after(30))
    openai.close()
    anthropic.close()

    assert (9, False) == (simulator.requests[0].json["max_completion_tokens"], "max_tokens" in simulator.requests[0].json)
    assert "temperature" not in simulator.requests[1].json


def test_extra_params_are_merged_last(simulator):
    """What the library does not know yet can still be sent."""
    asked(simulator, fields={"top_p": 0.5, "extra_params": {"temperature": 0.7, "verbosity": "low"}})

    assert (0.7, "low") == (simulator.requests[0].json["temperature"], simulator.requests[0].json["verbosity"])


def test_model_names_are_mapped_passed_on_or_declined():
    """model_map first, then what the catalog knows, then the default model."""
    made = OpenAIVendor(api_key=KEY, model_map={"fast-*": "gpt-4o-mini"}, default_model="gpt-4o")
    strict = AnthropicVendor(api_key=KEY)
    listed = OpenAIVendor(api_key=KEY, models=("my-*",))

    assert ["gpt-4o-mini", "gpt-4.1", "brand-new-model", "gpt-4o"] == [
        made.model_for(name) for name in ("fast-one", "gpt-4.1", "brand-new-model", "claude-sonnet-4-6")
    ]
    assert [None, "brand-new-model"] == [strict.model_for(name) for name in ("gpt-4o", "brand-new-model")]
    assert ["my-model", None] == [listed.model_for(name) for name in ("my-model", "gpt-4o")]


def test_capabilities_come_from_the_catalog():
    """Models, window and abilities of the vendor's models together."""
    able = AnthropicVendor(api_key=KEY).capabilities

    assert "claude-sonnet-4-6" in able.models
    assert (True, True, True) == (able.context_window >= 200_000, able.max_tokens >= 8_192, able.supports_vision)


def test_every_http_vendor_is_a_vendor():
    """The protocol is checked by its members."""
    assert isinstance(vendor("anthropic", api_key=KEY), Vendor)
    assert ("anthropic", "anthropic") == (vendor("anthropic", api_key=KEY).name, vendor("anthropic", api_key=KEY).kind)
    assert "azure" == vendor("azure-openai", api_key=KEY).name


def test_from_env_registers_what_the_environment_has(monkeypatch):
    """Each vendor whose key is there, Azure only with an endpoint."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)

    assert ["anthropic", "google"] == Dispatcher.from_env().get_vendors()


def test_a_closed_vendor_opens_again(simulator):
    """close() drops connections; the next call makes new ones."""
    made = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url)
    ask(made, "openai")
    made.close()
    made.close()
    ask(made, "openai")
    made.close()

    assert 2 == simulator.connections


def test_a_response_carries_the_request_id(simulator):
    """The id to quote to the vendor's support."""
    assert asked(simulator).request_id


@each("kind", list(MAKERS))
def test_a_stream_can_be_read_chunk_by_chunk(kind, simulator):
    """The vendor's own iterator, without a dispatcher."""
    made = MAKERS[kind](api_key=KEY, base_url=address(simulator, kind))
    chunks = list(made.stream(Request(model=MODELS[kind], messages="hi"), Deadline.after(30)))
    made.close()

    assert "hello" == "".join(chunk.content for chunk in chunks)
    assert simulator.requests[0].stream
    assert json.dumps(simulator.requests[0].json)


def test_an_api_is_chosen_only_where_there_is_a_choice():
    """A vendor with one format of its own refuses the setting."""
    with pytest.raises(ConfigError, match="api: anthropic speaks one format of its own"):
        AnthropicVendor(api_key=KEY, api="responses")


def test_an_answer_in_one_piece_may_be_silent_for_longer_than_a_stream(monkeypatch):
    """Untouched, the limits of silence are those of streams: an answer is silent until it is whole."""
    monkeypatch.setattr(http, "STREAM_SILENCE", 0.3)
    with VendorSimulator(responses="hello", latency=1.0) as slow:
        asked = OpenAIVendor(api_key=KEY, base_url=slow.openai_url, trust_env=False)
        answer = asked.send(Request("gpt-4o", "hi"), Deadline.after(60))
        with pytest.raises(VendorUnavailable) as caught:
            list(asked.stream(Request("gpt-4o", "hi"), Deadline.after(60)))
        asked.close()

    assert "hello" == answer.content
    assert ("first_byte", True) == (caught.value.phase, caught.value.timed_out)


def test_a_limit_of_silence_that_is_set_holds_for_every_answer():
    """Of one piece, too."""
    with VendorSimulator(responses="hello").always(faults.silent()) as dead:
        asked = OpenAIVendor(api_key=KEY, base_url=dead.openai_url, trust_env=False, first_byte_timeout=0.3)
        with pytest.raises(VendorUnavailable, match=r"within first_byte=0\.3 s"):
            asked.send(Request("gpt-4o", "hi"), Deadline.after(60))
        asked.close()
