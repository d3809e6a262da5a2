"""A client of the shape of OpenAI's SDK: the same lines of code, whichever vendor answers."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
from types import SimpleNamespace

import pydantic
import pytest

import llmdispatcher as ours
from llmdispatcher import AnthropicVendor, Dispatcher, OpenAIVendor, ToolCall
from llmdispatcher.integrations import openai
from llmdispatcher.integrations.openai import OpenAI
from llmdispatcher.testing import FakeVendor, SimulatedResponse, VendorSimulator, faults

from ..cases import each
from .openai_answers import SAID, SCRIPT, script

HELLO = [{"role": "user", "content": "Why is the sky blue?"}]
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture
def simulator():
    """All vendors on the loopback."""
    with VendorSimulator(responses="It is blue.") as running:
        yield running


@pytest.fixture(params=["gpt-4o-mini", "claude-haiku-4-5"])
def model(request):
    """One of OpenAI's, and one of another format."""
    return request.param


@pytest.fixture
def client(simulator):
    """A client over two vendors."""
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        dispatcher.register_vendor(AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url))
        yield OpenAI(dispatcher=dispatcher)


def test_chat(client, model):
    """Attributes, keys and plain dicts; the answer goes back into the conversation."""
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=50, temperature=0.5)
    message = answer.choices[0].message
    again = client.chat.completions.create(model=model, messages=[*HELLO, message, *HELLO])

    assert ("It is blue.", "assistant", None, None) == (message.content, message.role, message.tool_calls, message.function_call)
    assert ("stop", "chat.completion", answer["id"]) == (answer.choices[0].finish_reason, answer.object, answer.id)
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0
    assert json.loads(answer.model_dump_json()) == answer.model_dump() == answer
    assert "It is blue." == again.choices[0].message.content


def test_a_stream_of_chat(client, model):
    """Its pieces add up; the usage comes where it is asked for."""
    with client.chat.completions.create(model=model, messages=HELLO, stream=True, stream_options={"include_usage": True}) as stream:
        chunks = list(stream)

    assert "It is blue." == "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "stop" in [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    assert chunks[-1].usage.completion_tokens > 0
    assert {"chat.completion.chunk"} == {chunk.object for chunk in chunks}


def test_tools(client, simulator, model):
    """A call comes back as OpenAI writes it, and its result is understood."""
    simulator.script(SimulatedResponse(tool_calls=[ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}')]))
    answer = client.chat.completions.create(model=model, messages=HELLO, tools=[TOOL])
    [call] = answer.choices[0].message.tool_calls
    result = {"role": "tool", "tool_call_id": call.id, "content": "sun"}
    final = client.chat.completions.create(model=model, messages=[*HELLO, answer.choices[0].message, result], tools=[TOOL])

    assert ("tool_calls", "weather", {"city": "Paris"}) == (
        answer.choices[0].finish_reason,
        call.function.name,
        json.loads(call.function.arguments),
    )
    assert "It is blue." == final.choices[0].message.content


def test_responses(client, model):
    """The newer API, whole and streamed."""
    answer = client.responses.create(model=model, input="Why?", instructions="Be brief.")
    with client.responses.create(model=model, input="Why?", stream=True) as stream:
        events = list(stream)

    assert ("It is blue.", "completed", None) == (answer.output_text, answer.status, answer.error)
    assert "It is blue." == "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert "It is blue." == events[-1].response.output_text


def test_embeddings_and_models(client):
    """Vectors in the order of the texts, and every vendor's models."""
    found = client.embeddings.create(model="text-embedding-3-small", input=["a", "b"], dimensions=8)
    models = client.models.list()

    assert [(0, 8), (1, 8)] == [(one.index, len(one.embedding)) for one in found.data]
    assert found.usage.prompt_tokens > 0
    assert {"openai", "anthropic"} == {one.owned_by for one in models.data} == {one.owned_by for one in models}


_STATUS = (openai.APIStatusError, openai.APIError, openai.OpenAIError)
_AWAY = (openai.APIConnectionError, openai.APIError, openai.OpenAIError)
_KINDS = [kind for kind in vars(openai).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@each(
    "fault, own, kinds, status",
    [
        (faults.status(400), ours.InvalidRequest, (openai.BadRequestError, *_STATUS), 400),
        (faults.status(401), ours.AuthenticationError, (openai.AuthenticationError, *_STATUS), 401),
        (faults.status(403), ours.AuthenticationError, (openai.PermissionDeniedError, *_STATUS), 403),
        (faults.status(404), ours.ModelNotFound, (openai.NotFoundError, *_STATUS), 404),
        (faults.status(409), ours.DispatchError, (openai.ConflictError, *_STATUS), 409),
        (faults.status(418), ours.DispatchError, _STATUS, 418),
        (faults.status(422), ours.DispatchError, (openai.UnprocessableEntityError, *_STATUS), 422),
        (faults.status(429), ours.RateLimitError, (openai.RateLimitError, *_STATUS), 429),
        (faults.status(500), ours.VendorUnavailable, (openai.InternalServerError, *_STATUS), 500),
        (faults.status(529), ours.DispatchError, (openai.InternalServerError, *_STATUS), 529),
        (faults.html(), ours.MalformedReply, (openai.APIResponseValidationError, openai.APIError, openai.OpenAIError), 200),
        (faults.silent(), ours.DeadlineExceeded, (openai.APITimeoutError, *_AWAY), None),
        (faults.reset_midway(), ours.VendorUnavailable, _AWAY, None),
    ],
)
def test_an_error_is_of_the_sdks_classes_and_of_ours(simulator, fault, own, kinds, status):
    """Of those that the SDK's has and of no other, whole and streamed, so that handlers may stand in any order."""
    wait = 0.2 if own is ours.DeadlineExceeded else 20
    with OpenAI(api_key="sk", base_url=simulator.openai_url, max_retries=0) as client:
        for stream in (False, True):
            simulator.script(fault)
            with pytest.raises(own) as caught:
                list(client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, timeout=wait, stream=stream))

            assert set(kinds) == {kind for kind in _KINDS if isinstance(caught.value, kind)}
            assert (status, kinds[0].__name__) == (caught.value.status_code, type(caught.value).__name__)


def _failure(*vendors):
    """What a call of these vendors raises."""
    with Dispatcher({"retry_policy": {"max_retries": 0}}) as dispatcher:
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        client = OpenAI(dispatcher=dispatcher)
        with pytest.raises(ours.DispatchError) as caught:
            client.responses.create(model="m", input="Why?")
        return caught.value


@each(
    "error, kinds, status",
    [
        (ours.BudgetExceeded("b"), (openai.RateLimitError, *_STATUS), 429),
        (ours.CircuitOpen("c"), (openai.InternalServerError, *_STATUS), 503),
        (ours.Overloaded("o"), (openai.InternalServerError, *_STATUS), 503),
        (ours.ContentFiltered("f"), (openai.BadRequestError, *_STATUS), 400),
        (ours.VendorUnavailable("silent", phase="idle", timed_out=True), (openai.APITimeoutError, *_AWAY), None),
        (ours.StreamInterrupted("cut"), _AWAY, None),
        (ours.ConfigError("no key"), (openai.OpenAIError,), None),
        (ours.CostUnknown("?"), (openai.APIError, openai.OpenAIError), None),
    ],
)
def test_an_error_without_a_status_is_of_the_sdks_classes_too(error, kinds, status):
    """Whatever raises it; copied and pickled it stays so."""
    caught = _failure(FakeVendor(error))

    for one in (caught, copy.copy(caught), pickle.loads(pickle.dumps(caught))):
        assert set(kinds) == {kind for kind in _KINDS if isinstance(one, kind)}
        assert (type(caught), str(caught), status) == (type(one), str(one), one.status_code)
        assert isinstance(one, type(error))


@each(
    "fault, kinds",
    [
        (faults.error_event(2), (openai.APIError, openai.OpenAIError)),
        (faults.cut_after(), _AWAY),
    ],
)
def test_a_stream_that_breaks_off(simulator, fault, kinds):
    """By an error within it, or with its connection: as the SDK has it, after what was said before."""
    simulator.script(fault)
    with (
        OpenAI(api_key="sk", base_url=simulator.openai_url, max_retries=0) as client,
        pytest.raises(ours.StreamInterrupted) as caught,
    ):
        list(client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True))

    assert set(kinds) == {kind for kind in _KINDS if isinstance(caught.value, kind)}
    assert caught.value.partial.content
    assert "It is blue.".startswith(caught.value.partial.content)


def test_when_all_targets_failed_the_last_failure_tells_the_class():
    """As it does where the library's errors become statuses."""
    down = FakeVendor(ours.VendorUnavailable("down", status=500), name="a")
    caught = _failure(down, FakeVendor(ours.RateLimitError("slower", status=429, code="tokens", retry_after=2.5), name="b"))

    assert isinstance(caught, openai.RateLimitError)
    assert isinstance(caught, ours.AllTargetsFailed)
    assert (429, "tokens", "tokens") == (caught.status_code, caught.code, caught.body["code"])
    assert "3" == caught.response.headers["Retry-After"]


def test_a_script_for_the_sdk_moves_with_one_line(simulator, monkeypatch, capsys):
    """The import; what it prints is what it prints with the SDK (tests/sdks)."""
    for name, value in script(simulator).items():
        monkeypatch.setenv(name, value)
    moved = SCRIPT.read_text().replace("from openai import", "from llmdispatcher.integrations.openai import")
    exec(compile(moved, SCRIPT, "exec"), {"__name__": "__main__"})

    assert SAID == capsys.readouterr().out


def test_an_error_has_what_handlers_of_the_sdk_read(simulator):
    """Status, headers and the rest, of a call and of a stream; without an answer there is no status."""
    simulator.always(faults.rate_limit(1))
    with OpenAI(api_key="sk", base_url=simulator.openai_url, max_retries=0) as client:
        with pytest.raises(openai.RateLimitError) as whole:
            client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
        with pytest.raises(openai.RateLimitError) as streamed:
            list(client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True))
    with (
        OpenAI(api_key="sk", base_url="http://127.0.0.1:9", max_retries=0) as client,
        pytest.raises(openai.APIConnectionError) as unreachable,
    ):
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)

    for error in (whole.value, streamed.value):
        assert (429, 429, 1.0) == (error.status_code, error.response.status_code, float(error.response.headers["retry-after"]))
    assert (None, None, {}) == (unreachable.value.status_code, unreachable.value.body, unreachable.value.response.headers)


def test_a_stream_with_every_line_end():
    """Characters that Python takes for line ends, and JSON does not, are text."""
    text = "a\u2028b\x85c\x0cd\u2029e\r\nf"
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor(text))
        chunks = list(OpenAI(dispatcher=dispatcher).chat.completions.create(model="m", messages=HELLO, stream=True))

    assert text == "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_what_is_not_there_says_so(client):
    """By its name; a field that an answer has not got is no silent None."""
    with pytest.raises(AttributeError, match="no 'images'; it has chat"):
        _ = client.images
    with pytest.raises(AttributeError, match=r"no chat\.completions\.list; it has chat\.completions\.create, chat\.completions\.p"):
        _ = client.chat.completions.list
    with pytest.raises(ImportError, match="use OpenAI, in threads"):
        _ = openai.AsyncOpenAI
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    with pytest.raises(AttributeError, match=r"'chat\.completion' has no 'text'; it has id"):
        _ = answer.text
    assert not hasattr(answer, "output_text")
    with pytest.raises(openai.BadRequestError, match="extra_query: the dispatcher chooses"):
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, extra_query={"x": "y"})
    with pytest.raises(openai.BadRequestError, match="'Authorization' is a credential"):
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, extra_headers={"Authorization": "y"})
    with pytest.raises(openai.BadRequestError, match="set is no JSON"):
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stop={"a"})


def test_settings_of_a_call(client, simulator):
    """``extra_body`` is merged, ``timeout`` is the call's, and what the SDK marks as not given is left out."""

    class Omit:
        """As the SDK's own."""

    client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, extra_headers={"X-Tenant": "t-1"})
    assert "t-1" == simulator.requests[-1].headers["x-tenant"]
    left_out = {"temperature": Omit(), "top_p": openai.NOT_GIVEN, "stop": openai.omit}
    client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, **left_out, extra_body={"seed": 3}, timeout=9)
    body = simulator.requests[-1].json

    assert (3, set()) == (body["seed"], body.keys() & left_out.keys())
    simulator.script(faults.silent())
    with pytest.raises(openai.APITimeoutError):
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, timeout=0.05)
    simulator.script(faults.silent())
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.05).chat.completions.create(model="gpt-4o-mini", messages=HELLO)


@each(
    "ask, told",
    [
        (lambda client: client.chat.completions.create(model="m", messages=HELLO, temprature=0), "did you mean 'temperature'"),
        (lambda client: client.chat.completions.create(model="m", messages=HELLO, top_k=3), "goes into extra_body="),
        (lambda client: client.chat.completions.parse(model="m", messages=HELLO, stream=True), "parse.. got an unexpected"),
        (lambda client: client.responses.create(model="m", input="a", max_tokens=3), "did you mean 'max_output_tokens'"),
        (lambda client: client.responses.stream(model="m", input="a", response_format=3), "'response_format'"),
        (lambda client: client.embeddings.create(model="m", input="a", dimension=3), "did you mean 'dimensions'"),
        (lambda client: client.models.list(limit=3), "'limit'"),
        (lambda client: client.with_options(max_retries=3), "OpenAI.max_retries="),
        (lambda client: client.responses.parse(model="m", input="a", text_format=int), "'int' is no class of Pydantic"),
        (lambda _client: OpenAI(http_client=3), "give proxy and ca_bundle to a vendor"),
    ],
)
def test_an_argument_that_the_api_does_not_have(client, simulator, ask, told):
    """Is refused as the SDK refuses it, with the name that was meant."""
    with pytest.raises(TypeError, match=told):
        ask(client)
    assert [] == simulator.requests


class Weather(pydantic.BaseModel):
    """The form of a structured answer."""

    city: str
    degrees: int


def test_structured_answers(client, simulator, model):
    """An object of the class, whole and streamed, by both APIs; a message with one goes back as it came."""
    simulator.always('{"city": "Oslo", "degrees": -3}')
    asked = {"model": model, "messages": HELLO, "response_format": Weather}
    whole = client.beta.chat.completions.parse(**asked)
    with client.chat.completions.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_completion()
    response = client.responses.parse(model=model, input="How is it?", text_format=Weather)
    with client.responses.stream(model=model, input="How is it?", text_format=Weather) as streamed:
        last = streamed.get_final_response()
    client.chat.completions.create(model=model, messages=[*HELLO, whole.choices[0].message, *HELLO])

    oslo = Weather(city="Oslo", degrees=-3)
    assert [oslo] * 4 == [
        whole.choices[0].message.parsed,
        final.choices[0].message.parsed,
        response.output_parsed,
        last.output_parsed,
    ]
    assert oslo == next(event.parsed for event in events if event.type == "content.done") == response.output[-1].content[0].parsed
    assert "parsed" not in whole.model_dump_json() + json.dumps(simulator.requests[-1].json)


def test_a_stream_of_events(client, simulator, model):
    """Chunks, what each adds to a text or a call, and the whole of them at the end."""
    called = SimulatedResponse("I look.", tool_calls=[ToolCall(id="c1", name="weather", arguments='{"city": "Paris"}')])
    simulator.script(called)
    with client.chat.completions.stream(model=model, messages=HELLO, tools=[TOOL]) as stream:
        events = list(stream.until_done() and stream)
        message = stream.get_final_completion().choices[0].message
    simulator.script(called)
    events = list(client.chat.completions.stream(model=model, messages=HELLO, tools=[TOOL]))

    kinds = [kind for kind, _ in itertools.groupby(event.type for event in events if event.type != "chunk")]
    texts = [event for event in events if event.type == "content.delta"]
    [done] = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    arguments = "tool_calls.function.arguments"
    assert ["content.delta", f"{arguments}.delta", "content.done", f"{arguments}.done"] == kinds
    assert ("I look.", "I look.") == ("".join(event.delta for event in texts), texts[-1].snapshot)
    assert ("weather", {"city": "Paris"}) == (done.name, json.loads(done.arguments))
    assert ("I look.", "weather") == (message.content, message.tool_calls[0].function.name)


def test_structured_answers_that_are_none(client, simulator):
    """Cut off, filtered or of another form: the SDK's errors, and Pydantic's."""
    asked = {"model": "gpt-4o-mini", "messages": HELLO, "response_format": Weather}
    assert client.beta.chat is client.chat
    for finish, error in (("length", openai.LengthFinishReasonError), ("content_filter", openai.ContentFilterFinishReasonError)):
        simulator.script(SimulatedResponse('{"city": "Os', finish=finish))
        with pytest.raises(error) as caught:
            client.chat.completions.parse(**asked)
        assert '{"city": "Os' == caught.value.completion.choices[0].message.content
    simulator.script('{"city": 3}')
    with pytest.raises(pydantic.ValidationError, match="degrees"):
        client.chat.completions.parse(**asked)
    with pytest.raises(openai.BadRequestError, match=r"Weather is a class; give it to parse\(\)"):
        client.chat.completions.create(**asked)


@each(
    "timeout, seconds",
    [
        (SimpleNamespace(connect=5.0, read=600.0, write=60, pool=60), 600),
        (SimpleNamespace(connect=5.0, read=None, write=60, pool=60), float("inf")),
        (None, float("inf")),
        (7, 7),
    ],
)
def test_timeouts(timeout, seconds):
    """Of a call, of a client and of ``with_options``: a number, an ``httpx.Timeout`` whose longest counts, or no limit."""
    vendor = FakeVendor("Because.")
    left = []
    vendor.send = lambda request, deadline, send=vendor.send: (left.append(deadline.seconds), send(request, deadline))[1]
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor)
        plain = OpenAI(dispatcher=dispatcher)
        plain.responses.create(model="m", input="Why?", timeout=timeout)
        plain.with_options(timeout=timeout).responses.create(model="m", input="Why?")
        OpenAI(dispatcher=dispatcher, timeout=timeout).with_options().responses.create(model="m", input="Why?")

    assert [seconds] * 3 == left


def test_settings_of_the_one_vendor(simulator):
    """Organization, project and headers go to it; beside a dispatcher they are refused by name."""
    settings = {"organization": "org-1", "project": "proj-1", "default_headers": {"X-Team": "blue"}}
    with OpenAI(api_key="sk", base_url=simulator.openai_url, **settings) as client:
        client.responses.create(model="gpt-4o-mini", input="Why?")
    headers = simulator.requests[-1].headers

    assert ("org-1", "proj-1", "blue") == tuple(headers[name] for name in ("openai-organization", "openai-project", "x-team"))
    with pytest.raises(openai.OpenAIError, match="api_key: it is empty"):
        OpenAI(api_key="")
    for name, value in {"api_key": "sk", "base_url": "http://127.0.0.1:9", "max_retries": 1, "organization": "o"}.items():
        with pytest.raises(openai.OpenAIError, match=f"^{name if name != 'organization' else 'headers'}: the dispatcher"):
            OpenAI(dispatcher=Dispatcher(), **{name: value})


def _nested(depth):
    made = []
    for _ in range(depth):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": _nested(5000)}, "the request is no JSON: |nested deeper"),  # by the limit of the interpreter, or ours
        ({"messages": HELLO, "temperature": float("nan")}, "the request is no JSON: "),
        ({"messages": HELLO, "extra_body": [1]}, "extra_body: list is not a mapping; give a dict"),
        ({"messages": []}, "messages: there are none"),
        ({"messages": "Why?"}, "messages: str is not allowed here"),
        ({}, "messages: there are none"),
    ],
)
def test_a_request_that_cannot_be(client, simulator, fields, told):
    """Is refused as OpenAI refuses it, and never sent."""
    with pytest.raises(openai.BadRequestError, match=told) as caught:
        client.chat.completions.create(model="gpt-4o-mini", **fields)

    assert (400, []) == (caught.value.status_code, simulator.requests)


@pytest.mark.parametrize("tokens", [[1, 2, 3], [[1, 2], [3]]])
def test_embeddings_of_tokens(client, tokens):
    """Are refused with what to give."""
    with pytest.raises(openai.BadRequestError, match="input: tokens are not taken"):
        client.embeddings.create(model="text-embedding-3-small", input=tokens)
