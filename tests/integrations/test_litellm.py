"""LiteLLM's names over the dispatcher: calls, streams, callbacks, exceptions, prices, settings."""

from __future__ import annotations

import importlib
import json
import pickle
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import attrs
import pytest

import llmdispatcher
from llmdispatcher import ToolCall
from llmdispatcher.integrations import litellm
from llmdispatcher.testing import ManualClock, SimulatedResponse, VendorSimulator, faults

from ..cases import each

HELLO = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def _fresh():
    """The module as it is after its import."""
    litellm.configure()  # the examples of the documentation have set it
    yield
    for field in attrs.fields(type(litellm.settings.SETTINGS)):
        setattr(litellm.settings.SETTINGS, field.name, getattr(type(litellm.settings.SETTINGS)(), field.name))
    litellm.configure()


@pytest.fixture(scope="module")
def vendors():
    """All vendors on the loopback."""
    with VendorSimulator() as running:
        yield running


@pytest.fixture
def simulator(vendors):
    """The same, with an answer and nothing heard yet."""
    vendors.requests.clear()
    vendors._script.clear()
    return vendors.always("It is blue.")


@pytest.fixture
def openai(simulator):
    """The arguments of a call to OpenAI."""
    return {"model": "openai/gpt-4o-mini", "api_key": "sk-openai-00", "api_base": simulator.openai_url, "num_retries": 0}


@pytest.fixture
def anthropic(simulator):
    """The arguments of a call to Anthropic."""
    return {"model": "anthropic/claude-haiku-4-5", "api_key": "sk-ant-00000", "api_base": simulator.anthropic_url, "num_retries": 0}


class Heard(litellm.CustomLogger):
    """What a logger heard."""

    def __init__(self, **options):
        super().__init__(**options)
        self.events = []

    def log_pre_api_call(self, model, messages, kwargs):
        self.events.append(("before", model, messages, kwargs))

    def log_success_event(self, kwargs, response_obj, start_time, end_time):
        self.events.append(("success", kwargs, response_obj, (end_time - start_time).total_seconds()))

    def log_failure_event(self, kwargs, response_obj, start_time, end_time):
        self.events.append(("failure", kwargs, response_obj, kwargs["exception"]))


# Calls


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_completion(request, simulator, vendor):
    """Attributes, items and plain dicts, whichever vendor answers, with the cost beside them."""
    arguments = request.getfixturevalue(vendor)
    answer = litellm.completion(messages=HELLO, max_tokens=50, temperature=0.5, **arguments)
    message = answer.choices[0].message
    again = litellm.completion(messages=[*HELLO, message, *HELLO], **arguments)

    assert ("It is blue.", "assistant", None, None) == (message.content, message["role"], message.tool_calls, message.function_call)
    assert ("stop", "chat.completion", answer.id) == (answer["choices"][0]["finish_reason"], answer.object, answer.get("id"))
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert answer.model_dump() == answer.json() == answer.dict() == json.loads(answer.model_dump_json())
    assert isinstance(answer, litellm.ModelResponse)
    assert answer._hidden_params["response_cost"] == litellm.completion_cost(answer) > 0
    assert vendor == answer._hidden_params["custom_llm_provider"]
    assert "It is blue." == again.choices[0].message.content


def test_an_answer_can_be_changed_and_sent_on(openai):
    """As an object: set, copied, and pickled as the result of a task."""
    answer = litellm.completion(messages=HELLO, **openai)
    copied = pickle.loads(pickle.dumps(answer))
    answer.choices[0].message.content = "It is grey."
    answer.extra = 1

    assert ("It is grey.", "It is blue.") == (answer["choices"][0]["message"]["content"], copied.choices[0].message.content)
    assert copied._hidden_params["response_cost"] > 0
    assert isinstance(copied, litellm.ModelResponse)
    assert 1 == answer["extra"]
    assert repr(answer).startswith("ModelResponse(id=")
    assert ("Message", "Usage") == (type(copied.choices[0].message).__name__, type(copied.usage).__name__)
    with pytest.raises(AttributeError, match="has no 'nothing'"):
        _ = answer.nothing


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_a_stream(request, vendor):
    """Its pieces add up, to the answer that stream_chunk_builder makes; the usage comes where it is asked for."""
    arguments = request.getfixturevalue(vendor)
    stream = litellm.completion(messages=HELLO, stream=True, stream_options={"include_usage": True}, **arguments)
    chunks = list(stream)
    whole = litellm.stream_chunk_builder(chunks, messages=HELLO)
    bare = list(litellm.completion(messages=HELLO, stream=True, **arguments))

    assert "It is blue." == "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "It is blue." == whole.choices[0].message.content
    assert "stop" == whole.choices[0].finish_reason == bare[-1].choices[0].finish_reason
    assert {"chat.completion.chunk"} == {chunk["object"] for chunk in chunks}
    assert whole.usage.total_tokens == chunks[-1].usage.total_tokens > 0
    assert stream._hidden_params["response_cost"] == litellm.completion_cost(whole) > 0
    assert not any("usage" in chunk for chunk in bare)
    assert litellm.stream_chunk_builder(bare, messages=HELLO).usage.prompt_tokens > 0
    assert litellm.stream_chunk_builder([]) is None


def test_a_stream_that_is_left(openai, simulator):
    """Closing it stops the vendor; leaving the with block closes it."""
    simulator.always(faults.stall_after(2))
    with litellm.completion(messages=HELLO, stream=True, **openai) as stream:
        first = next(stream)
    assert first.choices[0].delta.content is not None
    with pytest.raises(StopIteration):
        next(stream)


@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
def test_tools(request, simulator, vendor):
    """A call comes back as OpenAI writes it, whole and streamed, and its result is understood."""
    arguments = request.getfixturevalue(vendor)
    call = SimulatedResponse(tool_calls=[ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}')])
    simulator.script(call, call)
    answer = litellm.completion(messages=HELLO, tools=[TOOL], tool_choice="auto", **arguments)
    streamed = litellm.stream_chunk_builder(list(litellm.completion(messages=HELLO, tools=[TOOL], stream=True, **arguments)))
    said = answer.choices[0].message
    result = {"role": "tool", "tool_call_id": said.tool_calls[0].id, "content": "sun"}
    final = litellm.completion(messages=[*HELLO, said.model_dump(), result], tools=[TOOL], **arguments)

    for one in (answer, streamed):
        [made] = one.choices[0].message.tool_calls
        assert ("tool_calls", "weather", "function") == (one.choices[0].finish_reason, made.function.name, made.type)
        assert {"city": "Paris"} == json.loads(made.function["arguments"])
    assert "It is blue." == final.choices[0].message.content


def test_forms_of_answers(openai, anthropic, simulator):
    """A class of Pydantic, or a schema; what the model says is handed on as it is, also where it does not fit."""
    pydantic = pytest.importorskip("pydantic")
    kind = pydantic.create_model("Colour", name=(str, ...), depth=(int, 3))
    litellm.completion(messages=HELLO, response_format=kind, **openai)
    sent = simulator.requests[-1].json["response_format"]["json_schema"]
    answer = litellm.completion(messages=HELLO, response_format={"type": "json_object"}, **anthropic)

    assert ("Colour", True, ["name", "depth"]) == (sent["name"], sent["strict"], sent["schema"]["required"])
    assert sent["schema"]["additionalProperties"] is False
    assert "It is blue." == answer.choices[0].message.content


def test_what_a_model_does_not_take(anthropic, simulator):
    """Is refused with its name, or dropped where the call or the module says so; what is neither goes to the vendor."""
    with pytest.raises(litellm.UnsupportedParamsError, match=r"logit_bias.*litellm\.drop_params = True"):
        litellm.completion(messages=HELLO, logit_bias={"1": 2}, **anthropic)
    litellm.completion(messages=HELLO, logit_bias={"1": 2}, drop_params=True, **anthropic)
    litellm.drop_params = True
    litellm.completion(messages=HELLO, logit_bias={"1": 2}, thinking={"type": "enabled", "budget_tokens": 2000}, **anthropic)
    body = simulator.requests[-1].json
    litellm.completion(messages=HELLO, temperature=0.5, additional_drop_params=["temperature"], **anthropic)

    with pytest.raises(litellm.UnsupportedParamsError, match="temperature: o3-mini does not take it"):
        litellm.completion("openai/o3-mini", HELLO, temperature=0.2, drop_params=False, api_key="sk-openai-00")
    assert "logit_bias" not in body
    assert 2000 == body["thinking"]["budget_tokens"]
    assert "temperature" not in simulator.requests[-1].json


def test_what_is_a_vendors_own(openai, simulator):
    """Goes into the request as it is."""
    litellm.completion(messages=HELLO, top_k=4, guided_choice=["a"], extra_body={"min_p": 0.1}, logit_bias={"1": 2}, **openai)
    body = simulator.requests[-1].json

    assert (4, ["a"], 0.1, {"1": 2}) == (body["top_k"], body["guided_choice"], body["min_p"], body["logit_bias"])


def test_texts_and_vectors(openai, anthropic, simulator):
    """Text completions are asked for by chat; vectors come in the order of the texts."""
    one = litellm.text_completion("The sky is", **anthropic)
    two = litellm.text_completion(prompt=["The sky is", "The sea is"], **openai)
    pieces = list(litellm.text_completion("The sky is", stream=True, **openai))
    asked = {**openai, "model": "openai/text-embedding-3-small"}
    vectors = litellm.embedding(input=["a", "b"], dimensions=8, **asked)

    assert ("It is blue.", "text_completion") == (one.choices[0].text, one.object)
    assert [(0, "It is blue."), (1, "It is blue.")] == [(choice.index, choice.text) for choice in two.choices]
    assert "It is blue." == "".join(piece.choices[0].text for piece in pieces if piece.choices)
    assert [(0, 8), (1, 8)] == [(row["index"], len(row["embedding"])) for row in vectors.data]
    assert (vectors._hidden_params["response_cost"] or 0) > 0
    with pytest.raises(litellm.BadRequestError, match="input: tokens are not taken"):
        litellm.embedding(input=[1, 2], **asked)


def test_many_at_once(openai, simulator):
    """Answers in order, a failure in its place."""
    simulator.script(faults.status(400))
    found = litellm.batch_completion(messages=[HELLO, HELLO, HELLO], max_workers=1, **openai)

    assert isinstance(found[0], litellm.BadRequestError)
    assert ["It is blue.", "It is blue."] == [answer.choices[0].message.content for answer in found[1:]]


@each(
    "model, provider, expected",
    [
        ("openai/gpt-4o", None, ("gpt-4o", "openai")),
        ("gpt-4o", None, ("gpt-4o", "openai")),
        ("claude-haiku-4-5", None, ("claude-haiku-4-5", "anthropic")),
        ("gemini/gemini-2.5-flash", None, ("gemini-2.5-flash", "gemini")),
        ("groq/llama-9", None, ("llama-9", "groq")),
        ("openrouter/meta-llama/llama-9", None, ("meta-llama/llama-9", "openrouter")),
        ("together_ai/meta/llama", None, ("meta/llama", "together_ai")),
        ("hosted_vllm/mine", None, ("mine", "hosted_vllm")),
        ("ollama_chat/llama3:8b", None, ("llama3:8b", "ollama_chat")),
        ("azure/my-deployment", None, ("my-deployment", "azure")),
        ("mine", "openai", ("mine", "openai")),
        ("openai/mine", "openai", ("mine", "openai")),
    ],
)
def test_names_of_models(model, provider, expected):
    """The first word is the vendor's, as LiteLLM calls it; a bare name is its owner's."""
    assert expected == litellm.get_llm_provider(model, provider)[:2]


@each("model", ["foo/bar", "llama-of-mine", "", None, "/", "openai/"])
def test_a_vendor_that_is_not_known(model):
    """Is said with those that are, and nothing is sent."""
    with pytest.raises(litellm.BadRequestError, match=r"LLM Provider NOT provided|names no model"):
        litellm.completion(model=model, messages=HELLO)


def test_keys_and_addresses(simulator, monkeypatch):
    """Of the call, else of the module, else of LiteLLM's variables; a missing one is an AuthenticationError."""
    for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_API_BASE", "TOGETHERAI_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(litellm.AuthenticationError, match="ANTHROPIC_API_KEY"):
        litellm.completion("anthropic/claude-haiku-4-5", HELLO, num_retries=0)
    litellm.anthropic_key = "sk-of-the-module"
    monkeypatch.setenv("ANTHROPIC_API_BASE", simulator.anthropic_url)
    litellm.completion("anthropic/claude-haiku-4-5", HELLO)
    monkeypatch.setenv("MY_KEY", "sk-of-my-variable")
    litellm.completion("anthropic/claude-haiku-4-5", HELLO, api_key="os.environ/MY_KEY", extra_headers={"X-Team": "a"})
    sent = [request.headers for request in simulator.requests]

    assert ["sk-of-the-module", "sk-of-my-variable"] == [headers["x-api-key"] for headers in sent]
    assert ("a", None) == (sent[-1]["x-team"], sent[0].get("x-team"))
    with pytest.raises(litellm.AuthenticationError, match="the variable NO_SUCH_KEY is not set"):
        litellm.completion("anthropic/claude-haiku-4-5", HELLO, api_key="os.environ/NO_SUCH_KEY")
    assert {"keys_in_environment": False, "missing_keys": ["TOGETHER_API_KEY"]} == litellm.validate_environment("together_ai/x")


@each(
    "arguments, told",
    [
        ({"client": object()}, "client: it is not there; connections"),
        ({"aws_access_key_id": "x"}, "aws_access_key_id: it is not there"),
        ({"model_list": [1]}, r"model_list: it is not there; use Router"),
        ({"prompt_id": "x"}, "prompt_id: it is not there"),
        ({"timeout": "soon"}, "timeout: 'soon' is not a number"),
        ({"timeout": -1}, "timeout: -1 is not a number"),
        ({"messages": []}, "messages: there are none"),
        ({"messages": [{"role": "usr", "content": "x"}]}, "role: 'usr' is not a role"),
        ({"temperature": float("nan")}, "no JSON"),
        ({"stop": object()}, "object is no JSON"),
        ({"response_format": int}, "int is no class of Pydantic"),
        ({"extra_body": 3}, "extra_body: int is no dict"),
        ({"api_key": 3}, "api_key: int is no text"),
        ({"metadata": "x"}, "metadata: str is not allowed here; give a dict"),
        ({"extra_headers": 3}, "extra_headers: int is not allowed here; give a dict"),
        ({"fallbacks": "gpt-4o"}, "fallbacks: str is not allowed here; give a list"),
        ({"tags": "x"}, "tags: str is not allowed here; give a list"),
        ({"num_retries": "3"}, "num_retries: str is not allowed here; give a whole number"),
        ({"api_base": "http://x/?a=b"}, "base_url"),
        ({"extra_headers": {"X-A": "b\r\nX-C: d"}}, "headers"),
        ({"custom_llm_provider": ["openai"]}, "custom_llm_provider: list is no vendor's name"),
        ({"input_cost_per_token": "dear"}, "input_cost_per_token: 'dear' is no price of a token"),
        ({"input_cost_per_token": 1e-6, "output_cost_per_token": float("nan")}, "output_cost_per_token: 'nan' is no price"),
        ({"model_info": {"input_cost_per_token": -1}}, "input_cost_per_token: '-1' is no price"),
        ({"model": ["gpt-4o"]}, r"model: \['gpt-4o'\] names no model"),
    ],
)
def test_arguments_that_cannot_be(openai, simulator, arguments, told):
    """Are refused by their names, as LiteLLM's BadRequestError, before anything is sent."""
    with pytest.raises(litellm.BadRequestError, match=told):
        litellm.completion(**{"messages": HELLO, **openai, **arguments})
    assert [] == simulator.requests


# Retries and fallbacks


def test_retries_and_fallbacks(openai, anthropic, simulator):
    """Retries on the module's clock; then the fallbacks in order, none of which gets the first one's key."""
    clock = ManualClock()
    litellm.configure(clock=clock)
    simulator.script(faults.status(503), faults.rate_limit(7), "There.")
    answer = litellm.completion(messages=HELLO, **{**openai, "num_retries": 2})
    waited = [round(seconds, 4) for seconds in clock.sleeps]
    simulator.script(faults.status(500), faults.status(401))
    other = {**anthropic, "model": "anthropic/claude-haiku-4-5"}
    fallback = litellm.completion(messages=HELLO, fallbacks=[{**openai, "model": "openai/gpt-4o"}, other], **openai)
    keys = [request.headers.get("x-api-key") for request in simulator.requests[-3:]]

    assert ("There.", [0.4375, 7.0]) == (answer.choices[0].message.content, waited)
    assert ("It is blue.", [None, None, "sk-ant-00000"]) == (fallback.choices[0].message.content, keys)
    simulator.always(faults.status(401))
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(messages=HELLO, fallbacks=["anthropic/claude-haiku-4-5"], **openai)
    assert "sk-openai-00" not in json.dumps(
        [dict(request.headers) for request in simulator.requests[-1:] if "x-api-key" in request.headers]
    )


def test_a_larger_window(openai, simulator):
    """context_window_fallback_dict is for conversations that are too long."""
    simulator.script(faults.context_overflow())
    answer = litellm.completion(messages=HELLO, context_window_fallback_dict={openai["model"]: "openai/gpt-4.1"}, **openai)

    assert "It is blue." == answer.choices[0].message.content
    assert "gpt-4.1" == simulator.requests[-1].json["model"]


# Exceptions


@each(
    "fault, name, status, ours",
    [
        (faults.status(400), "BadRequestError", 400, llmdispatcher.InvalidRequest),
        (faults.status(401), "AuthenticationError", 401, llmdispatcher.AuthenticationError),
        (faults.status(403), "PermissionDeniedError", 403, llmdispatcher.AuthenticationError),
        (faults.model_missing(), "NotFoundError", 404, llmdispatcher.ModelNotFound),
        (faults.rate_limit(), "RateLimitError", 429, llmdispatcher.RateLimitError),
        (faults.status(500), "InternalServerError", 500, llmdispatcher.VendorUnavailable),
        (faults.status(502), "BadGatewayError", 502, llmdispatcher.VendorUnavailable),
        (faults.status(503), "ServiceUnavailableError", 503, llmdispatcher.VendorUnavailable),
        (faults.status(504), "Timeout", 504, llmdispatcher.DeadlineExceeded),
        (faults.context_overflow(), "ContextWindowExceededError", 400, llmdispatcher.ContextWindowExceeded),
        (faults.filtered(), "ContentPolicyViolationError", 400, llmdispatcher.ContentFiltered),
        (faults.html(), "APIResponseValidationError", 500, llmdispatcher.MalformedReply),
        (faults.close_before_head(), "APIConnectionError", 500, llmdispatcher.VendorUnavailable),
    ],
)
def test_exceptions(openai, simulator, fault, name, status, ours):
    """Have LiteLLM's names and attributes, and are the library's own; of a stream, too. They can be pickled."""
    simulator.always(fault)
    kind = getattr(litellm, name)
    for stream in (False, True):
        with pytest.raises(kind) as caught:
            list(litellm.completion(messages=HELLO, stream=stream, **openai))
        error = caught.value
        assert (kind, status, "gpt-4o-mini", "openai") == (type(error), error.status_code, error.model, error.llm_provider)
        assert isinstance(error, ours)
        assert error.message.startswith(f"litellm.{name}: openai: ")
        assert str(error) == error.message
        assert "sk-openai-00" not in f"{error!r} {vars(error)}"
    sent = pickle.loads(pickle.dumps(error))
    assert (type(error), error.message, error.llm_provider) == (type(sent), sent.message, sent.llm_provider)


def test_a_silent_vendor(openai, simulator):
    """Ends with Timeout, of a whole answer, a stream that does not begin, and one that stops."""
    simulator.always(faults.silent())
    with pytest.raises(litellm.Timeout):
        litellm.completion(messages=HELLO, timeout=0.05, **openai)
    with pytest.raises(litellm.Timeout):
        litellm.completion(messages=HELLO, stream=True, stream_timeout=0.05, **openai)
    simulator.always(faults.stall_after(3))
    with pytest.raises(litellm.Timeout, match="the stream was silent"):
        list(litellm.completion(messages=HELLO, stream=True, timeout=0.3, **openai))


def test_exceptions_of_ones_own():
    """Are made as LiteLLM's are, by position and by name."""
    made = litellm.RateLimitError("slow down", "openai", "gpt-4o")
    other = litellm.NotFoundError(message="none", model="gpt-4o", llm_provider="openai", response=None)
    spent = litellm.BudgetExceededError(current_cost=2.0, max_budget=1.0)
    cooled = [str(litellm.exceptions.RouterRateLimitError("main", wait)) for wait in (1.5, "five")]

    assert ("slow down", "openai", "gpt-4o", 429, {}) == (
        made.args[0],
        made.llm_provider,
        made.model,
        made.status_code,
        made.response.headers,
    )
    assert ("gpt-4o", 404) == (other.model, other.status_code)
    assert "Current cost: 2.0, Max budget: 1.0" in str(spent)
    assert (2.0, 1.0) == (spent.current_cost, spent.max_budget)
    assert ["Try again in 1.5 seconds" in cooled[0], "Try again in five seconds" in cooled[1]] == [True, True]


def test_exceptions_are_openais_where_it_is_installed(tmp_path):
    """A package of that name gives the bases; nothing imports it before an exception is needed."""
    names = ("APIStatusError", "RateLimitError", "APITimeoutError", "APIConnectionError", "BadRequestError")
    lines = ["class OpenAIError(Exception): pass", "class APIError(OpenAIError): pass"]
    lines += [
        f"class {name}(APIError):\n    def __init__(self, message, *, response, body): raise AssertionError" for name in names
    ]
    (tmp_path / "openai.py").write_text("\n".join(lines))
    code = (
        "import sys; from llmdispatcher.integrations import litellm; litellm.completion; assert 'openai' not in sys.modules\n"
        "import openai\n"
        "error = litellm.RateLimitError('x', 'openai', 'm')\n"
        "assert isinstance(error, openai.RateLimitError) and isinstance(error, openai.APIError), type(error).__mro__\n"
        "assert issubclass(litellm.ContextWindowExceededError, openai.BadRequestError)\n"
        "assert issubclass(litellm.Timeout, openai.APITimeoutError)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ("", 0) == (done.stderr, done.returncode)


# Callbacks


def test_callbacks(openai, simulator, caplog):
    """Functions and objects hear of each attempt, with its cost and metadata; one that raises is felt by nobody."""
    told, heard = [], Heard()

    def broken(*_):
        raise RuntimeError("broken")

    litellm.callbacks = [heard, lambda kwargs, answer, start, end: told.append(kwargs["log_event_type"])]
    litellm.input_callback = [lambda kwargs: told.append(kwargs["log_event_type"])]
    litellm.success_callback = [broken, lambda kwargs, answer, start, end: told.append((kwargs["model"], answer.id, end >= start))]
    litellm.failure_callback = [lambda kwargs, answer, *_: told.append((type(kwargs["exception"]).__name__, answer))]
    simulator.script(faults.status(400))
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(messages=HELLO, **openai)
    answer = litellm.completion(messages=HELLO, metadata={"team": "a"}, tags=["x"], user="ann", **openai)
    payload = heard.events[-1][1]["standard_logging_object"]

    assert ["before", "failure", "before", "success"] == [event[0] for event in heard.events]
    before, failed, done = "pre_api_call", "failed_api_call", "successful_api_call"
    assert [before, failed, ("BadRequestError", None), before, done, ("gpt-4o-mini", answer.id, True)] == told
    assert ["broken raised RuntimeError at"] == re.findall(r"broken raised \w+ at", caplog.text)
    kwargs = heard.events[-1][1]
    assert answer is heard.events[-1][2]
    assert ({"team": "a", "tags": ["x"]}, "ann", HELLO) == (
        kwargs["litellm_params"]["metadata"],
        kwargs["user"],
        kwargs["messages"],
    )
    assert kwargs["response_cost"] == answer._hidden_params["response_cost"] == payload["response_cost"] > 0
    assert ("success", ["x"], "openai", answer.usage.total_tokens) == (
        payload["status"],
        payload["request_tags"],
        payload["custom_llm_provider"],
        payload["total_tokens"],
    )
    assert "sk-openai-00" not in json.dumps(kwargs, default=str)
    assert "metadata" not in simulator.requests[-1].json


@each("setting", ["input_callback", "success_callback", "failure_callback"])
@each("kind", [SystemExit, GeneratorExit, KeyboardInterrupt])
def test_a_callback_ends_no_call(openai, simulator, caplog, setting, kind):
    """Whatever it raises; Ctrl-C alone does, in the main thread, where Python raises it."""

    def leave(*_):
        raise kind("leave")

    def ask():
        if setting == "failure_callback":
            simulator.script(faults.status(400))
            with pytest.raises(litellm.BadRequestError):
                litellm.completion(messages=HELLO, **openai)
            return "failed"
        said = litellm.completion(messages=HELLO, **openai).choices[0].message.content
        for piece in litellm.completion(messages=HELLO, stream=True, **openai):
            said += piece.choices[0].delta.content or ""
        return said

    litellm.input_callback, litellm.success_callback, litellm.failure_callback = [], [], []
    setattr(litellm, setting, [leave])
    with ThreadPoolExecutor(1) as thread:
        told = thread.submit(ask).result()
        assert told in ("failed", "It is blue." * 2)
        assert f"leave raised {kind.__name__} at" in caplog.text
    if kind is KeyboardInterrupt:
        with pytest.raises(KeyboardInterrupt):
            ask()
    else:
        assert told == ask()


def test_callbacks_of_a_stream(openai):
    """Hear of its end once, with the whole answer, when it has been read."""
    heard = Heard()
    litellm.callbacks = [heard]
    for _ in litellm.completion(messages=HELLO, stream=True, **openai):
        pass
    event = heard.events[-1]

    assert ["before", "success"] == [event[0] for event in heard.events]
    assert (
        "It is blue." == event[2].choices[0].message.content == event[1]["complete_streaming_response"].choices[0].message.content
    )
    assert event[1]["response_cost"] > 0
    assert event[1]["stream"] is True


def test_callbacks_without_texts(openai):
    """Where the module or the logger says so; others see them."""
    hidden, open_one = Heard(turn_off_message_logging=True), Heard()
    litellm.callbacks = [hidden, open_one]
    answer = litellm.completion(messages=HELLO, **openai)
    litellm.completion(messages=HELLO, **{**openai, "no-log": True})

    assert "blue" not in json.dumps(hidden.events, default=str)
    assert "It is blue." == open_one.events[-1][2].choices[0].message.content == answer.choices[0].message.content
    assert 2 == len(open_one.events)


@each("value, told", [("langfuse", "'langfuse' is not there"), (Heard, "Heard is a class"), (3, "int is no callback")])
def test_callbacks_that_cannot_be(openai, value, told):
    """Are refused when they are set, and at the call where they were appended."""
    with pytest.raises(ValueError, match=told):
        litellm.success_callback = [value]
    litellm.success_callback.append(value)
    with pytest.raises(ValueError, match=told):
        litellm.completion(messages=HELLO, **openai)
    litellm.success_callback.clear()


# Money


def test_prices(openai):
    """By the catalog, by the call, or as registered; budgets of the module stop calls."""
    assert (0.00015, 0.0006) == litellm.cost_per_token("gpt-4o-mini", 1000, 1000)
    assert 0 < litellm.completion_cost(model="gpt-4o-mini", prompt="Why?", completion="So.") < 1e-4
    info = litellm.get_model_info("anthropic/claude-haiku-4-5")
    assert ("anthropic", True, "chat") == (info["litellm_provider"], info["supports_function_calling"], info["mode"])
    assert 0 < litellm.get_max_tokens("gpt-4o-mini") == litellm.model_cost["gpt-4o-mini"]["max_output_tokens"]
    assert litellm.supports_vision("gpt-4o-mini")
    assert not litellm.supports_vision(model="openai/gpt-3.5-turbo")
    for unknown in (lambda: litellm.get_model_info("nobody-has-it"), lambda: litellm.get_max_tokens("nobody-has-it")):
        with pytest.raises(litellm.exceptions.ModelNotMappedError, match="isn't mapped yet"):
            unknown()
    with pytest.raises(litellm.exceptions.ModelNotMappedError, match=r"register_model\(\)"):
        litellm.cost_per_token("openai/mine", 1, 1)
    litellm.register_model({"openai/mine": {"input_cost_per_token": 0.5, "output_cost_per_token": 1.0, "max_tokens": 7}})
    mine = {**openai, "model": "openai/mine"}
    answer = litellm.completion(messages=HELLO, **mine)
    dear = litellm.completion(messages=HELLO, input_cost_per_token=1, output_cost_per_token=0, **openai)

    assert answer.usage.prompt_tokens / 2 + answer.usage.completion_tokens == answer._hidden_params["response_cost"]
    assert (7, dear.usage.prompt_tokens) == (litellm.get_max_tokens("openai/mine"), dear._hidden_params["response_cost"])
    costs = [
        litellm.completion(messages=HELLO, **{**openai, "model": model}, **further)._hidden_params["response_cost"]
        for model, further in [
            ("litellm_proxy/gpt-4o", {}),
            ("litellm_proxy/mine-too", {}),
            ("hosted_vllm/mine", {}),
            ("openai/my-tune", {"base_model": "azure/gpt-4o"}),
        ]
    ]
    assert (True, None, 0, costs[0]) == (costs[0] > 0, *costs[1:])
    litellm.max_budget = 0.01
    with pytest.raises(litellm.BudgetExceededError, match=r"Max budget: 0\.01"):
        litellm.completion(messages=HELLO, **openai)


def test_counts_of_tokens():
    """Of a text, and of messages with tools; an estimate."""
    assert [0, 1, 1] == [litellm.token_counter("gpt-4o", text=text) for text in ("", "d e", ["d", " e"])]
    assert 3 < litellm.token_counter("gpt-4o", text="Why is the sky blue?") < litellm.token_counter("gpt-4o", messages=HELLO) < 20
    assert litellm.token_counter("gpt-4o", messages=HELLO, tools=[TOOL]) > litellm.token_counter("gpt-4o", messages=HELLO)
    with pytest.raises(ValueError, match="give one of the two"):
        litellm.token_counter("gpt-4o")


def test_budgets_of_users(openai, tmp_path, monkeypatch, caplog):
    """Are kept in LiteLLM's file, by several threads at once, and begin anew when their time is over."""
    monkeypatch.chdir(tmp_path)
    budgets = litellm.BudgetManager(project_name="desk")
    budgets.create_budget(total_budget=1.0, user="ann", duration="daily", created_at=0.0)
    answer = litellm.completion(messages=HELLO, **openai)
    threads = [threading.Thread(target=budgets.update_cost, kwargs={"user": "ann", "completion_obj": answer}) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    cost = answer._hidden_params["response_cost"]
    other = litellm.BudgetManager(project_name="desk")  # as another worker has it

    assert pytest.approx(8 * cost) == budgets.get_current_cost("ann")
    assert {"gpt-4o-mini": pytest.approx(8 * cost)} == budgets.get_model_cost("ann")
    assert budgets.projected_cost("gpt-4o-mini", HELLO, "ann") > 8 * cost
    again = litellm.BudgetManager(project_name="desk")
    assert (["ann"], 1.0, pytest.approx(8 * cost)) == (
        again.get_users(),
        again.get_total_budget("ann"),
        again.get_current_cost("ann"),
    )
    other.update_cost(user="ann", completion_obj=answer)
    budgets.update_cost(user="ann", completion_obj=answer)
    assert pytest.approx(10 * cost) == budgets.get_current_cost("ann")
    again.update_budget_all_users()
    assert 0 == again.get_current_cost("ann")
    assert not again.is_valid_user("ben")
    with pytest.raises(KeyError, match="user 'ben' has no budget; call create_budget"):
        again.get_current_cost("ben")
    with pytest.raises(ValueError, match="client_type: 'hosted' is not there"):
        litellm.BudgetManager(project_name="desk", client_type="hosted")
    (tmp_path / ".user_cost.json.lock").unlink()
    (tmp_path / ".user_cost.json.lock").mkdir()  # nobody can write here
    budgets.update_cost(user="ann", completion_obj=answer)
    assert pytest.approx(11 * cost) == budgets.get_current_cost("ann")
    assert "is not shared with other processes" in caplog.text


# Mocks


def test_mock_response(simulator):
    """Answers, fails and streams without a vendor, with a cost and callbacks."""
    heard = Heard()
    litellm.callbacks = [heard]
    mocked = {"model": "gpt-4o-mini", "messages": HELLO}
    answer = litellm.completion(**mocked, mock_response="Pale.")
    pieces = list(litellm.completion(**mocked, mock_response="Pale.", stream=True))
    calls = litellm.completion(
        **mocked, mock_tool_calls=[{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    )
    vector = litellm.embedding("text-embedding-3-small", ["a", "b"], mock_response=[0.5])

    assert ("Pale.", 30) == (answer.choices[0].message.content, answer.usage.total_tokens)
    assert (10 * 0.15 + 20 * 0.6) / 1e6 == pytest.approx(answer._hidden_params["response_cost"])
    assert "Pale." == "".join(piece.choices[0].delta.content or "" for piece in pieces)
    assert ("f", "tool_calls") == (calls.choices[0].message.tool_calls[0].function.name, calls.choices[0].finish_reason)
    assert [[0.5], [0.5]] == [row.embedding for row in vector.data]
    assert 4 == len([event for event in heard.events if event[0] == "success"])
    for mock, kind in [
        ("litellm.RateLimitError", litellm.RateLimitError),
        ("litellm.ContextWindowExceededError", litellm.ContextWindowExceededError),
        (litellm.Timeout("late", "m", "openai"), litellm.Timeout),
        (RuntimeError("broken"), litellm.InternalServerError),
    ]:
        with pytest.raises(kind):
            litellm.completion(**mocked, mock_response=mock)
    assert [] == simulator.requests


# The module


def test_settings_of_the_module():
    """Are kept, refused by name, or have no effect and say so by being taken."""
    litellm.set_verbose = True
    litellm.telemetry = litellm.suppress_debug_info = litellm.modify_params = False
    litellm.num_retries = 4
    litellm._private_of_a_library = 1
    assert (True, 4, 1) == (litellm.set_verbose, litellm.num_retries, litellm._private_of_a_library)
    for name, told in [
        ("ssl_verify", "SSL_CERT_FILE"),
        ("num_retrys", "did you mean 'num_retries'"),
        ("max_tokens", "give max_tokens"),
    ]:
        with pytest.raises(AttributeError, match=f"no '{name}'.*{told}"):
            setattr(litellm, name, False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(litellm, "completion", lambda **_: "mocked")
        assert "mocked" == litellm.completion()
    assert "mocked" != litellm.completion(model="gpt-4o", messages=HELLO, mock_response="not").choices[0].message.content


def test_what_is_not_there_says_so():
    """By its name: as an attribute, imported, and called where it is asynchronous."""
    with pytest.raises(AttributeError, match=r"no 'image_generation': ask the vendor's own SDK.*docs/from-litellm\.md"):
        _ = litellm.image_generation
    with pytest.raises(ImportError, match="no 'rerank': ask the vendor's own SDK"):
        exec("from llmdispatcher.integrations.litellm import rerank")
    with pytest.raises(ImportError, match="no 'aimage_generation'"):
        exec("from llmdispatcher.integrations.litellm.main import aimage_generation")
    assert not hasattr(litellm, "moderation")
    with pytest.raises(NotImplementedError, match="acompletion: call completion from threads"):
        litellm.acompletion(model="gpt-4o", messages=HELLO)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("llmdispatcher.integrations.litellm.proxy")


def test_places_of_names():
    """Names are where LiteLLM has them, too."""
    for path, name in [
        ("exceptions", "RateLimitError"),
        ("router", "Router"),
        ("types.router", "RetryPolicy"),
        ("types.utils", "ModelResponse"),
        ("utils", "token_counter"),
        ("integrations.custom_logger", "CustomLogger"),
        ("caching.caching", "Cache"),
        ("budget_manager", "BudgetManager"),
        ("main", "completion"),
    ]:
        module = importlib.import_module(f"llmdispatcher.integrations.litellm.{path}")
        assert getattr(litellm, name) is getattr(module, name)


def test_configure(openai, anthropic, tmp_path):
    """Gives the dispatcher beneath a ledger, budgets and observers, for routers, too; what chooses a vendor is LiteLLM's."""
    heard = []
    litellm.configure({"budgets": [llmdispatcher.Budget(limit="0.000001")]}, observers=[heard.append])
    with pytest.raises(litellm.BudgetExceededError):
        litellm.completion(messages=HELLO, **openai)
    with litellm.Router([{"model_name": "m", "litellm_params": anthropic}]) as router, pytest.raises(litellm.BudgetExceededError):
        router.completion("m", HELLO)
    assert 2 == len(heard)
    with pytest.raises(llmdispatcher.ConfigError, match="fallback_vendor: LiteLLM's arguments decide this here"):
        litellm.configure(fallback_vendor="anthropic")


def test_a_cache(openai, simulator):
    """Answers from memory cost nothing and are marked; a call may do without."""
    litellm.cache = litellm.Cache(type="local", ttl=60)
    answers = [litellm.completion(messages=HELLO, temperature=0, **openai) for _ in range(2)]
    litellm.completion(messages=HELLO, temperature=0, cache={"no-cache": True}, **openai)

    assert 2 == len(simulator.requests)
    assert [None, True] == [answer._hidden_params["cache_hit"] for answer in answers]
    assert 0 == answers[1]._hidden_params["response_cost"]
    with pytest.raises(ValueError, match="type: 'redis' is not there"):
        litellm.Cache(type="redis")


def test_headers_of_calls(openai, simulator):
    """Are sent with their call alone, of streams and vectors, too; all calls share a vendor."""
    for number in range(3):
        litellm.completion(messages=HELLO, extra_headers={"X-Number": str(number)}, **openai)
    list(litellm.completion(messages=HELLO, headers={"X-Number": 3}, stream=True, **openai))
    litellm.embedding(input="a", extra_headers={"X-Number": "4"}, **{**openai, "model": "openai/text-embedding-3-small"})
    litellm.completion(messages=HELLO, **openai)

    assert ["0", "1", "2", "3", "4", None] == [request.headers.get("x-number") for request in simulator.requests]
    assert 1 == len(sys.modules["llmdispatcher.integrations.litellm.calls"].MODULE._vendors)


def test_headers_of_calls_are_secret(openai, simulator):
    """What a vendor echoes of one is masked in the error; a credential is refused before anything is sent."""
    simulator.script(faults.status(400, message="no tenant has the ticket ticket-12345678-of-acme"))
    with pytest.raises(litellm.BadRequestError) as caught:
        litellm.completion(messages=HELLO, extra_headers={"X-Ticket": "ticket-12345678-of-acme"}, **openai)
    with pytest.raises(litellm.BadRequestError, match="'Authorization' is a credential"):
        litellm.completion(messages=HELLO, extra_headers={"Authorization": "Bearer other"}, **openai)

    assert "12345678" not in str(caught.value)
    assert 1 == len(simulator.requests)


def test_many_keys(openai, monkeypatch):
    """A service with a key for each of its users does not keep them all."""
    monkeypatch.setattr(sys.modules["llmdispatcher.integrations.litellm.providers"], "_MOST", 3)
    for number in range(8):
        litellm.completion(messages=HELLO, **{**openai, "api_key": f"sk-of-user-{number}"})
    endpoints = sys.modules["llmdispatcher.integrations.litellm.calls"].MODULE

    assert len(endpoints._vendors) <= 3
    assert len(endpoints._earlier) <= 1
