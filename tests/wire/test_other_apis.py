"""Counts of tokens, lists of models, and texts continued."""

import json

import pytest

from llmdispatcher import (
    DispatchError,
    EmbeddingRequest,
    InvalidRequest,
    MalformedReply,
    Message,
    ModelNotFound,
    Request,
    StreamInterrupted,
    Tool,
    VendorUnavailable,
)
from llmdispatcher.wire import COUNTING, EMBEDDING_CODECS, LISTINGS
from llmdispatcher.wire.codecs import CODECS
from llmdispatcher.wire.completions import COMPLETIONS

from ..cases import each
from . import equivalences
from .corpus import body_of, decode_stream, differing, needs_corpus, recorded, streamed
from .recordings import lines, sse
from .small_apis import question, spoilt

EVERY_COUNT = each("counting", COUNTING)
FULL = {"max_tokens": 9, "temperature": 0.5, "top_p": 0.5, "user": "me", "reasoning_effort": "low", "tools": [Tool(name="f")]}


def asked(kind, **fields):
    """What is sent to count a request's tokens."""
    return json.loads(COUNTING[kind].encode(question(**fields)))


def test_anthropic_counts_what_it_would_answer():
    """Thoughts and tools count, limits and sampling have no place."""
    assert "/v1/messages/count_tokens" == COUNTING["anthropic_messages"].path("m")
    assert {"model", "messages", "thinking", "tools"} == asked("anthropic_messages", **FULL).keys()


def test_openai_counts_what_it_would_answer():
    """Text is its form, reasoning its effort."""
    assert "/responses/input_tokens" == COUNTING["openai_responses"].path("m")
    assert {"model", "input", "reasoning", "tools"} == asked("openai_responses", **FULL).keys()


def test_google_counts_a_whole_request():
    """With its model and instructions; its cloud takes the body as it is."""
    request = Request("m", [Message.system("Be brief."), Message.user("Hi")])
    whole = json.loads(COUNTING["gemini"].encode(request))["generateContentRequest"]

    assert "/models/m:countTokens" == COUNTING["gemini"].path("m")
    assert {"model", "contents", "systemInstruction"} == whole.keys()
    assert "models/m" == whole.pop("model")
    assert whole == json.loads(COUNTING["vertex"].encode(request))


@EVERY_COUNT
def test_a_count_is_read_as_it_was_written(counting):
    """A number, and nothing else is one."""
    assert 7 == counting.decode(counting.write(7))


@EVERY_COUNT
@each("number", ["null", "true", '"7"', "-1", "1e30", "[7]"])
def test_what_is_no_count_is_malformed(counting, number):
    """Rather an error than a wrong number."""
    with pytest.raises(MalformedReply):
        counting.decode(f'{{"{counting.answered}": {number}}}'.encode())


@EVERY_COUNT
def test_a_request_that_cannot_be_written_cannot_be_counted(counting):
    """The same refusal as for an answer."""
    with pytest.raises(InvalidRequest, match="JSON"):
        counting.encode(question(extra_params={"tools": float("nan")}))


FORMATS = {"anthropic": "anthropic_messages", "google": "gemini", "openai": "openai_responses"}


def counted():
    """Every recorded request for a count, in a format that is read."""
    return [
        exchange
        for (api, vendor), found in recorded().items()
        if api in ("count_tokens", "responses_input_tokens")
        for exchange in found
    ]


def unlike(exchange):
    """How a request for a count differs after it was read and written, empty where it does not."""
    kind, body, path = FORMATS[exchange["vendor"]], exchange["request"]["json"], exchange["request"]["path"]
    again = json.loads(COUNTING[kind].encode(CODECS[kind].read_request(json.dumps(body).encode(), path).request))
    again = {
        name: value for name, value in again.get("generateContentRequest", again).items() if kind != "gemini" or name != "model"
    }
    normal = getattr(equivalences, kind)
    one, other = normal(body), normal(again)
    return differing(one, other)


@needs_corpus
def test_every_recorded_request_for_a_count_is_written_as_it_was_read(capsys):
    """A gateway counts what it was asked to count."""
    wrong = [f"{exchange['id']}: {problem}" for exchange in counted() if (problem := unlike(exchange))]
    with capsys.disabled():
        print(f"\ncounts: {len(counted()) - len(wrong)} of {len(counted())} requests")

    assert [] == wrong


def test_names_of_models_are_read_in_any_form():
    """A list in an object, a list by itself, one model by itself."""
    assert ("a", "b") == LISTINGS["openai_chat"].decode(b'{"data": [{"id": "a"}, {"id": "b"}, {}, 7]}')
    assert ("a",) == LISTINGS["openai_chat"].decode(b'[{"id": "a"}]')
    assert ("a",) == LISTINGS["openai_chat"].decode(b'{"id": "a", "object": "model"}')
    assert ("models/a",) == LISTINGS["gemini"].decode(b'{"models": [{"name": "models/a"}]}')
    assert ("a:1b",) == LISTINGS["ollama_chat"].decode(b'{"models": [{"name": "a:1b", "model": "a:1b"}]}')
    assert () == LISTINGS["ollama_chat"].decode(b'{"models": []}')


@each(
    "kind, body, path",
    [
        ("anthropic_messages", b'{"data": [], "has_more": true, "last_id": "a b"}', "/v1/models?limit=1000&after_id=a%20b"),
        ("anthropic_messages", b'{"data": [], "has_more": false, "last_id": "a"}', None),
        ("gemini", b'{"models": [], "nextPageToken": "t"}', "/models?pageSize=1000&pageToken=t"),
        ("gemini", b'{"models": []}', None),
        ("openai_chat", b'{"data": []}', None),
    ],
)
def test_a_long_list_has_pages(kind, body, path):
    """Each names the next."""
    assert path == LISTINGS[kind].next(body)


@each("body", [b"", b"{}", b"7", b'{"data": {}}', b"<html>"])
def test_what_is_no_list_is_malformed(body):
    """Whatever the bytes."""
    with pytest.raises(MalformedReply):
        LISTINGS["openai_chat"].decode(body)


def test_an_error_in_place_of_a_list_or_count_is_raised():
    """A 200 proves nothing."""
    error = b'{"error": {"message": "no such model", "code": 404}}'
    for decode in (LISTINGS["openai_chat"].decode, COUNTING["gemini"].decode, *[api.decode for api in COMPLETIONS.values()]):
        with pytest.raises(ModelNotFound):
            decode(error)


@each("api", COMPLETIONS)
@each("body", [b"", b"{}", b"[]", b"null", b"<html>", b'{"choices": []}', b'{"choices": 7, "response": 7}'])
def test_what_is_no_text_is_malformed(api, body):
    """Whatever the bytes."""
    with pytest.raises(MalformedReply):
        api.decode(body)


def test_a_text_generated_by_hugging_face_is_read():
    """A list of one, with details where they were asked for."""
    body = [{"generated_text": "Hi", "details": {"finish_reason": "eos_token", "generated_tokens": 2}}]
    answer = COMPLETIONS["hf_text_generation"].decode(json.dumps(body).encode())

    assert ("Hi", "stop", "eos_token", 2) == (
        answer.content,
        answer.finish_reason,
        answer.finish_reason_raw,
        answer.usage.output_tokens,
    )


STREAMS = {
    "completions": [{"choices": [{"index": 0, "text": "a"}]}, {"choices": [{"index": 0, "text": "b", "finish_reason": "stop"}]}],
    "ollama_generate": [{"response": "a", "done": False}, {"response": "b", "done": True, "done_reason": "stop"}],
}
FRAMES = {"completions": sse, "ollama_generate": lines}


@each("kind", list(STREAMS))
def test_a_stream_of_text_is_complete_at_its_end_and_not_before(kind):
    """An answer that broke off is none."""
    api, events, frames = COMPLETIONS[kind], STREAMS[kind], FRAMES[kind]
    response, error = decode_stream(api, [frames(*events)])

    assert ("ab", "stop", None) == (response.content, response.finish_reason, error)
    assert StreamInterrupted is type(decode_stream(api, [frames(events[0])])[1])
    assert VendorUnavailable is type(decode_stream(api, [frames(events[0], {"error": "gone"})])[1])
    assert "b" == decode_stream(api, [json.dumps(events[1], indent=1).encode()])[0].content


@needs_corpus
def test_no_recorded_text_that_broke_off_is_complete():
    """Cut anywhere before its end."""
    streams = [each for (api, _), found in recorded().items() if api in STREAMS for each in found if streamed(each)]
    taken = []
    for exchange in streams:
        body = body_of(exchange)
        end = min(place for mark in (b'finish_reason":"', b'"done":true') if (place := body.find(mark)) >= 0)
        api = COMPLETIONS[exchange["api"]]
        taken += [(exchange["id"], cut) for cut in range(0, end, max(1, end // 20)) if decode_stream(api, [body[:cut]])[1] is None]

    assert streams
    assert [] == taken


ANSWERS = [
    {
        "data": [{"index": 0, "embedding": [0.5, 1], "id": "x"}],
        "model": "m",
        "usage": {"prompt_tokens": 1, "cost": {"total_cost": 1}},
    },
    {"embeddings": [{"values": [1.0]}], "usageMetadata": {"promptTokenCount": 1}},
    {"embeddings": [[1.0, 2]], "model": "m", "prompt_eval_count": 1},
    {"input_tokens": 1, "totalTokens": 2, "models": [{"name": "x"}], "has_more": True, "last_id": "x", "nextPageToken": "y"},
    {"choices": [{"index": 0, "text": "a", "finish_reason": "stop", "logprobs": {"a": 1}}], "usage": {"completion_tokens": 2}},
    {"response": "a", "thinking": "b", "done": True, "done_reason": "x", "eval_count": 1, "completion": "x", "stop_reason": "y"},
    [{"generated_text": "x", "details": {"finish_reason": "x", "generated_tokens": 1}}],
]
DECODERS = [
    *[lambda body, codec=codec: codec.decode(body, EmbeddingRequest("m", "x")) for codec in EMBEDDING_CODECS.values()],
    *[each.decode for table in (COUNTING, LISTINGS, COMPLETIONS) for each in table.values()],
    *[listing.next for listing in LISTINGS.values()],
]


def raised(decode, body):
    """The class of our error, if one was raised."""
    try:
        decode(body)
    except DispatchError as error:
        return type(error)
    return None


@each("junk", [None, True, -1, 2.5, 10**30, 10**400, "", "x", "\ud800", [], [[]], {}, {"a": []}])
def test_junk_in_any_place_is_an_answer_or_one_of_our_errors(junk):
    """One value of the wrong type is no crash."""
    bodies = [json.dumps(spoiled).encode() for answer in ANSWERS for spoiled in (junk, *spoilt(answer, junk))]

    assert {raised(decode, body) for decode in DECODERS for body in bodies} >= {None, MalformedReply}
