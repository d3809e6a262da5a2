"""A wrong keyword, or key of a mapping, is told together with the name that was meant, or with where it belongs."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

import llmdispatcher
from llmdispatcher import (
    Capabilities,
    Config,
    ConfigError,
    Dispatcher,
    Hedge,
    InvalidRequest,
    Lockfile,
    Message,
    Observer,
    OpenAIVendor,
    PersonalDataGuard,
    Request,
    VendorUnavailable,
    open_ledger,
    run_tools,
    testing,
)
from llmdispatcher.testing import FakeVendor
from llmdispatcher.types import closest_name

from ..cases import each

MADE_BY_HAND = [
    "AdaptiveConcurrency", "Admission", "AudioPart", "Balance", "Budget", "Capabilities", "Choice", "CircuitBreaker", "Citation",
    "Config", "Continuation", "CostOptimization", "Dispatcher", "EmbeddingRequest", "Embeddings", "FilePart", "Hedge", "ImagePart",
    "LatencyOptimization", "Ledger", "MaxLengthGuard", "Message", "OtherPart", "PatternGuard", "PersonalDataGuard", "RateLimit",
    "RateLimitRemaining", "Registry", "RemoteFetch", "Request", "Response", "ResponseCache", "RetryBudget", "RetryPolicy",
    "RoutingCondition", "RoutingRule", "SchemaGuard", "StreamChunk", "TextPart", "Tool", "ToolCall", "Usage", "VendorConfig",
    "VendorTool", "VideoPart",
]  # fmt: skip
"""Public classes whose objects users make."""


def _misspelt(kind: Any) -> tuple[str, str]:
    parameters = inspect.signature(kind).parameters.values()
    name = next(one.name for one in parameters if len(one.name) >= 4 and one.kind is not one.VAR_POSITIONAL)
    return name, f"{name[:-1]}x{name[-1]}"


@each("kind", [getattr(llmdispatcher, name) for name in MADE_BY_HAND] + [FakeVendor, testing.VendorSimulator])
def test_constructor_suggests_the_keyword_that_was_meant(kind: type[Any]) -> None:
    """Every class that users make objects of names the right keyword for a misspelt one."""
    name, wrong = _misspelt(kind)
    with pytest.raises(
        TypeError, match=rf"^{kind.__name__}\(\) got an unexpected keyword argument '{wrong}'; did you mean '{name}'\?$"
    ):
        kind(**{wrong: 1})


def _dispatcher() -> Dispatcher:
    dispatcher = Dispatcher()
    dispatcher.register_vendor(FakeVendor("yes", name="openai"))
    return dispatcher


REQUEST = Request("m", "Hello")
CALLS: dict[str, tuple[Callable[..., Any], str, str]] = {
    "send": (lambda **given: _dispatcher().send(REQUEST, **given), "timout", "timeout"),
    "send_streaming": (lambda **given: _dispatcher().send_streaming(REQUEST, **given), "cancle", "cancel"),
    "send_to_vendor": (lambda **given: _dispatcher().send_to_vendor("openai", REQUEST, **given), "timout", "timeout"),
    "send_streaming_to_vendor": (
        lambda **given: _dispatcher().send_streaming_to_vendor("openai", REQUEST, **given),
        "timout",
        "timeout",
    ),
    "map": (lambda **given: _dispatcher().map([REQUEST], **given), "max_worker", "max_workers"),
    "count_tokens": (lambda **given: _dispatcher().count_tokens(REQUEST, **given), "timout", "timeout"),
    "explain": (lambda **given: _dispatcher().explain(REQUEST, **given), "stream", "streaming"),
    "run_tools": (lambda **given: _dispatcher().run_tools(REQUEST, [], **given), "max_round", "max_rounds"),
    "EmbeddingRequest": (lambda **given: _dispatcher().embed("m", "x", **given), "dimension", "dimensions"),
}


@each("name", list(CALLS))
def test_call_suggests_the_keyword_that_was_meant(name: str) -> None:
    """The methods that ask name the right keyword for a misspelt one."""
    call, wrong, right = CALLS[name]
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument '{wrong}'; did you mean '{right}'\?$"):
        call(**{wrong: 1})


@each(
    "call, told",
    [
        (lambda: Dispatcher(timeout=3), "give Dispatcher(Config(timeout=...))"),  # type: ignore[call-arg]  # the mistake
        (lambda: Dispatcher.from_env(timeout=3), "give Dispatcher.from_env(Config(timeout=...))"),
        (lambda: Request("m", "x", timeout=3), "dispatcher.send(request, timeout=...)"),  # type: ignore[call-arg]  # the mistake
        (lambda: Request("m", "x", stream=True), "send_streaming"),  # type: ignore[call-arg]  # the mistake
        (lambda: Request("m", system="x"), "Message.system(...)"),  # type: ignore[call-arg]  # the mistake
        (lambda: Request("m", prompt="x"), "did you mean 'messages'?"),  # type: ignore[call-arg]  # the mistake
        (lambda: _dispatcher().send(REQUEST, max_tokens=5), "Request(..., max_tokens=...)"),  # type: ignore[call-arg]  # the mistake
    ],
)
def test_setting_of_another_call_is_told_where_it_belongs(call: Callable[[], Any], told: str) -> None:
    """A setting that exists elsewhere, or under another library's name, is told with its place."""
    with pytest.raises(TypeError) as caught:
        call()
    assert told in str(caught.value)


def test_keys_of_mappings_and_settings_of_vendors_suggest_too() -> None:
    """A configuration given as a dict, and a vendor's settings, name what was meant."""
    with pytest.raises(ConfigError, match=r"config\.retry_policy: unknown key 'max_retry'; did you mean 'max_retries'\?"):
        Dispatcher({"retry_policy": {"max_retry": 3}})
    with pytest.raises(ConfigError, match=r"unknown setting 'apikey'; did you mean 'api_key'\?"):
        OpenAIVendor(apikey="sk-" + "a" * 20)
    with pytest.raises(ConfigError, match=r"unknown setting 'api_base'; did you mean 'base_url'\?"):
        OpenAIVendor(api_base="http://localhost/v1")


def test_a_missing_argument_is_told_as_before() -> None:
    """What lacks an argument, and has no wrong one, is told by the name of the missing one."""
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'messages'"):
        Request("m")  # type: ignore[call-arg]  # the mistake
    with pytest.raises(TypeError, match="missing 2 required positional arguments: 'model' and 'messages'"):
        Request()  # type: ignore[call-arg]  # the mistake
    with pytest.raises(TypeError, match=r"Message\(\) got an unexpected keyword argument 'rol'; did you mean 'role'\?"):
        Message(rol="user", content="x")  # type: ignore[call-arg]  # the mistake


def test_signatures_are_those_of_the_definitions() -> None:
    """The wrapped constructors and calls show their own parameters to help() and editors."""
    assert list(inspect.signature(Dispatcher.send).parameters) == ["self", "request", "timeout", "cancel"]
    assert "given" not in str(inspect.signature(Config))
    assert "_other" not in str(inspect.signature(Request))


def test_ledger_suggests_its_keywords(tmp_path: Any) -> None:
    """Questions to a ledger name what was meant, their own parameters among it."""
    with open_ledger(tmp_path / "calls.db") as ledger:
        with pytest.raises(TypeError, match=r"no argument 'origins'; did you mean 'origin'\?"):
            ledger.list_recent_calls(origins="x")  # type: ignore[call-arg]  # the mistake
        with pytest.raises(InvalidRequest, match=r"older_than: 90 is not an age; give one like timedelta\(days=90\), or a day"):
            ledger.prune(older_than=90)  # type: ignore[arg-type]  # the mistake
        with pytest.raises(TypeError, match=r"no argument 'input_token'; did you mean 'input_tokens'\?"):
            ledger.record("openai", "m", input_token=3)  # type: ignore[call-arg]  # the mistake


def test_what_is_no_request_is_told_by_every_method() -> None:
    """A bare prompt in place of a request is an InvalidRequest that says what to give, of each method that takes one."""
    dispatcher: Any = _dispatcher()
    for method in ("send", "send_streaming", "explain", "count_tokens", "run_tools"):
        with pytest.raises(InvalidRequest, match=r"request: str is not a Request; use Request\(model=\.\.\., messages=\.\.\.\)"):
            getattr(dispatcher, method)("Hello")
    with pytest.raises(ConfigError, match="vendor: Request is not a vendor's name"):
        dispatcher.send_to_vendor(REQUEST, "openai")


def test_a_bare_function_is_no_list_of_functions() -> None:
    """run_tools says that it takes a list, and shows it."""

    def add(a: int, b: int) -> int:
        """Add."""
        return a + b

    functions: Any = add
    with pytest.raises(InvalidRequest, match=r"functions: function is not a list of functions; give \[add\]"):
        run_tools(_dispatcher(), REQUEST, functions)


@each(
    "word, known, name",
    [
        ("maxTokens", ["max_tokens", "model"], "max_tokens"),
        ("Max-Tokens", ["max_tokens"], "max_tokens"),
        ("rpm", ["requests_per_minute"], "requests_per_minute"),
        ("rpm", ["model"], None),
        ("modle", ["mode", "model"], "model"),
        ("modle", ["model_pattern", "max_tokens"], "model_pattern"),
        ("max", ["max_calls", "max_wait"], None),
        ("zebra", ["model", "messages"], None),
        ("", ["model"], None),
    ],
)
def test_meant(word: str, known: list[str], name: str | None) -> None:
    """Case, hyphens and underscores make no difference; another library's word is known; what is like nothing has no suggestion."""
    assert closest_name(word, known) == name


class _Own:
    """A vendor of a user's own."""

    name = "own"
    capabilities = Capabilities()

    def send(self, request: Any) -> Any:
        """Lacks a parameter."""

    def stream(self, request: Any) -> Any:
        """Lacks a parameter."""

    def is_available(self) -> bool:
        """Always."""
        return True


MISTAKES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "text as a list of models": (
        lambda: Capabilities(models="echo-*"),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "models: 'echo-*' is not a list; give a list of names, such as ['echo-*']",
    ),
    "class as a guard": (
        lambda: Config(guards=[PersonalDataGuard]),
        ConfigError,
        "guards[0]: PersonalDataGuard is a class; give an object of it: PersonalDataGuard(...)",
    ),
    "class as an observer": (
        lambda: Dispatcher(observers=[Observer]),  # type: ignore[list-item]  # the mistake
        ConfigError,
        "observers[0]: Observer is a class; give an object of it: Observer()",
    ),
    "one observer": (
        lambda: Dispatcher(observers=Observer()),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "observers: Observer is not a list of observers; give [observer, ...]",
    ),
    "name as a vendor": (
        lambda: Dispatcher().register_vendor("groq"),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "register_vendor: 'groq' is a name; give the vendor itself: vendor('groq')",
    ),
    "class as a vendor": (
        lambda: Dispatcher().register_vendor(OpenAIVendor),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "register_vendor: OpenAIVendor is a class; give an object of it: OpenAIVendor(...)",
    ),
    "misspelt schema of a tool": (
        lambda: Request("m", "x", tools=[{"type": "function", "function": {"name": "f", "paramters": {}}}]),
        InvalidRequest,
        "tools: unknown key 'paramters' of 'f'; did you mean 'parameters'?",
    ),
    "schema of a tool in another vendor's words": (
        lambda: Request("m", "x", tools=[{"name": "f", "input_schema": {}}]),
        InvalidRequest,
        "tools: unknown key 'input_schema' of 'f'; did you mean 'parameters'?",
    ),
    "message without a list": (
        lambda: Request("m", Message.user("x")),  # type: ignore[arg-type]  # the mistake
        InvalidRequest,
        "messages: Message is no conversation; put it into a list: [message]",
    ),
    "nothing as messages": (
        lambda: Request("m", None),  # type: ignore[arg-type]  # the mistake
        InvalidRequest,
        "messages: NoneType is no conversation; give a text, or a list of messages",
    ),
    "flag as a number": (
        lambda: Request("m", "x", reask=True),
        InvalidRequest,
        "reask: True is not a whole number ≥ 0; omit it for 0",
    ),
    "object as a form": (
        lambda: Request("m", "x", response_format=Hedge()),
        InvalidRequest,
        "response_format: it is an object of Hedge; give the class itself",
    ),
    "class of Pydantic 1 as a form": (
        lambda: Request("m", "x", response_format=type("Weather", (), {"__fields__": {}, "parse_obj": None})),
        InvalidRequest,
        "response_format: Weather: Weather is a class of Pydantic 1; make it one of Pydantic 2",
    ),
    "method without its object": (
        lambda: Request("m", "x", tools=[_Own.is_available]),  # type: ignore[list-item]  # the mistake
        InvalidRequest,
        "tools: is_available is a method without its object; give that of an object, as in 'thing.is_available'",
    ),
    "flag as a circuit breaker": (
        lambda: Config(circuit_breaker=False),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "circuit_breaker: bool is not a CircuitBreaker; give one, or a dict of its fields; leave it out for the default,"
        " or give enabled=False in it",
    ),
    "vendors as a configuration": (
        lambda: Dispatcher([OpenAIVendor(api_key="sk-" + "a" * 20)]),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "config: list is not a Config; give each vendor to register_vendor(vendor)",
    ),
    "time that is over": (lambda: _dispatcher().leave_alone("openai", seconds=-1), ConfigError, "seconds: -1 is not a number ≥ 0"),
    "number as models": (
        lambda: Lockfile.create_default("x.lock").bind("a", 5),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "bind: int is not a list of models; give 'vendor:model', or a list of them",
    ),
    "key as a configuration": (
        lambda: OpenAIVendor("sk-" + "a" * 20),  # type: ignore[arg-type]  # the mistake
        ConfigError,
        "vendor: a text is not a VendorConfig; give a key as api_key=..., an address as base_url=...",
    ),
    "key with its scheme": (
        lambda: OpenAIVendor(api_key="Bearer sk-" + "a" * 20),
        ConfigError,
        "api_key: the key begins with 'Bearer'; leave that out, it is added",
    ),
    "address without its scheme": (
        lambda: OpenAIVendor(base_url="127.0.0.1:8000/v1"),
        ConfigError,
        "base_url: the value is not an address; it lacks http:// or https:// at its beginning",
    ),
    "address with a port that cannot be": (
        lambda: OpenAIVendor(base_url="http://127.0.0.1:99999/v1"),
        ConfigError,
        "base_url: the value is not an address; write http:// or https://, a host, and a port up to 65535 if it has one",
    ),
    "per cent as a share": (
        lambda: Hedge(after=8, share=5),
        ConfigError,
        "share: 5 is more than all calls; give a part of them, such as 0.05 for one in twenty",
    ),
}


@each("name", list(MISTAKES))
def test_value_that_would_be_taken_for_another_is_refused(name: str) -> None:
    """What would be obeyed in another sense than the user's, or fail later, is refused where it is given."""
    make, kind, text = MISTAKES[name]
    with pytest.raises(kind) as caught:
        make()
    assert str(caught.value) == text


@each("streamed", [False, True])
def test_method_of_a_vendor_with_other_parameters_is_named(streamed: bool) -> None:
    """A vendor whose methods lack a parameter is told what they are called with, not a line of this library."""
    vendor: Any = _Own()
    dispatcher = Dispatcher()
    dispatcher.register_vendor(vendor)
    with pytest.raises(VendorUnavailable, match=r"cannot be called as send\(request, deadline\) and stream\(request, deadline\)"):
        dispatcher.send_streaming(REQUEST).response() if streamed else dispatcher.send(REQUEST)
