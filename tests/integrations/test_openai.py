"""A client of the shape of OpenAI's SDK: the same lines of code, whichever vendor answers."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import AnthropicVendor, Dispatcher, OpenAIVendor, ToolCall
from llmdispatcher.integrations import openai
from llmdispatcher.integrations.openai import OpenAI
from llmdispatcher.testing import FakeVendor, SimulatedResponse, VendorSimulator, faults

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


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.status(401), openai.AuthenticationError),
        (faults.status(429), openai.RateLimitError),
        (faults.status(400), openai.BadRequestError),
        (faults.status(404), openai.NotFoundError),
        (faults.status(500), openai.InternalServerError),
    ],
)
def test_errors_have_the_names_of_the_sdk(simulator, fault, error):
    """And are the library's own."""
    simulator.always(fault)
    with OpenAI(api_key="sk", base_url=simulator.openai_url, max_retries=0) as client, pytest.raises(error) as caught:
        client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)

    assert isinstance(caught.value, openai.APIError)
    assert isinstance(caught.value.status_code, int)


def test_an_error_has_what_handlers_of_the_sdk_read(simulator):
    """Status, headers and the rest, of a call and of a stream; without an answer there is no status."""
    simulator.always(faults.rate_limit(7))
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
        assert (429, 429, 7.0) == (error.status_code, error.response.status_code, float(error.response.headers["retry-after"]))
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
    with pytest.raises(AttributeError, match=r"no chat\.completions\.parse; it has chat\.completions\.create"):
        _ = client.chat.completions.parse
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


def _nested(depth):
    made = []
    for _ in range(depth):
        made = [made]
    return made


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"messages": _nested(5000)}, "the request is no JSON: |nested deeper than 100 levels"),  # by how deep Python may go
        ({"messages": HELLO, "temperature": float("nan")}, "the request is no JSON: "),
        ({"messages": HELLO, "extra_body": [1]}, "the request is no JSON: "),
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
