"""How much an answer may be: members and depth are counted before anything is decoded; numbers that cannot be are set aside."""

import json
import math
from decimal import Decimal

import pytest

from llmdispatcher import InvalidRequest, MalformedReply
from llmdispatcher.types import MOST_DEPTH, MOST_MEMBERS, EmbeddingRequest, TooMuch, count_members, fold, parse_text
from llmdispatcher.wire import Bounds, anthropic_usage, gemini_usage, ollama_usage, openai_chat_usage, openai_responses_usage
from llmdispatcher.wire.base import ENVELOPE, STREAMED
from llmdispatcher.wire.codecs import CODECS
from llmdispatcher.wire.completions import COMPLETIONS
from llmdispatcher.wire.counting import COUNTING, LISTINGS
from llmdispatcher.wire.embeddings import EMBEDDING_CODECS, WIDEST, usage_of

from ..cases import each

EVERY_CODEC = each("codec", CODECS.values())
MANY = "[" + "[]," * MOST_MEMBERS + "1]"
DEEP = "[" * (MOST_DEPTH + 1) + "]" * (MOST_DEPTH + 1)
"""A document of more members, and one of more levels, than there may be."""


@each(
    "text", [MANY, "{" + '"a":{},' * MOST_MEMBERS + '"a":1}', "[" + "1," * MOST_MEMBERS + "1]", '["' + '","' * MOST_MEMBERS + '"]']
)
def test_too_many_members_are_refused_undecoded(text):
    """Whatever they are; the text says how many there may be."""
    with pytest.raises(TooMuch, match="more than 200,000 members"):
        count_members(text)


@each("text", [DEEP, '{"a":' * 101 + "1" + "}" * 101, "[" * 5_000, '[{"a":[' * 60 + "]}]" * 60])
def test_what_is_nested_too_deeply_is_refused_undecoded(text):
    """Also where it does not end."""
    with pytest.raises(TooMuch, match="deeper than 100 levels"):
        count_members(text)


@each(
    "text",
    [
        json.dumps("[" * 5_000 + "{" * 5_000),
        json.dumps({"code": "x = [[1, 2], {3: 4}]\n" * 40_000}),
        json.dumps(["1,2,3," * 100_000, '\\"[' * 1_000, "\\"]),
        json.dumps([{"a": [number]} for number in range(1_000)]),
        "[" * MOST_DEPTH + "]" * MOST_DEPTH,
    ],
)
def test_what_stands_in_texts_is_no_member(text):
    """A long answer of code, or of numbers with commas, is one member."""
    assert parse_text(text) == json.loads(text)


@EVERY_CODEC
@each("text", [MANY, DEEP])
def test_an_answer_of_too_much_is_malformed(codec, text):
    """As a whole answer, as an event of a stream, and as plain JSON in the place of one."""
    body = b'{"choices": ' + text.encode() + b"}"
    event = body + b"\n" if codec.name == "ollama_chat" else b"data: " + body + b"\n\n"
    for answered in (lambda: codec.decode(body), lambda: codec.decoder().feed(event), lambda: whole(codec, body)):
        with pytest.raises(MalformedReply, match=r"200,000 members|deeper than"):
            answered()


def chat_event(text, **more):
    """A piece of a text, as an event of a stream."""
    piece = {"choices": [{"index": 0, "delta": {"content": text}}], **more}
    return b"data: " + json.dumps(piece).encode() + b"\n\n"


def feed(decoder, pieces, fed):
    """Feed one after the other, and note each that was taken."""
    for piece in pieces:
        decoder.feed(piece)
        fed.append(piece)


def whole(codec, body):
    """A body that answers a request for a stream."""
    decoder = codec.decoder()
    decoder.feed(body)
    return decoder.finish()


def test_other_answers_are_bounded_as_well():
    """Older APIs, counts of tokens, lists of models."""
    readers = [one.decode for one in COMPLETIONS.values()]
    readers += [one.decode for one in (*COUNTING.values(), *LISTINGS.values())]
    for read in readers:
        with pytest.raises(MalformedReply, match="200,000 members"):
            read(MANY.encode())


@each("codec", EMBEDDING_CODECS.values())
def test_vectors_may_have_the_numbers_that_were_asked_for(codec):
    """And not many more."""
    one, many = EmbeddingRequest("m", ["a"]), EmbeddingRequest("m", ["a"] * 100)
    body = b'{"error": {"message": "no"}, "data": [' + b"1," * (MOST_MEMBERS + 50 * WIDEST) + b"1]}"
    with pytest.raises(MalformedReply, match="members"):
        codec.decode(body, one)
    with pytest.raises(Exception, match="no"):  # it is read, and says that there are none
        codec.decode(body, many)


@each("codec", [name for name in CODECS if name != "ollama_chat"])
def test_too_many_objects_are_refused_undecoded(codec):
    """Choices, parts or items that are next to nothing: to read them would take seconds. Within a text they are no objects."""
    many = b",".join([b"{}"] * 20_000)
    for name in (b"choices", b"output", b"content", b"candidates"):
        with pytest.raises(MalformedReply, match="more than 10,000 objects"):
            CODECS[codec].decode(b'{"%s": [%s]}' % (name, many))

    assert 1 == count_members(json.dumps({"text": "{}," * 20_000}), objects=10)


def test_more_members_are_read_where_more_were_asked_for():
    """Log probabilities are many small members."""
    codec = CODECS["openai_chat"]
    answer = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop", "logprobs": {"content": [[]] * MOST_MEMBERS}}]}
    body = json.dumps(answer).encode()
    with pytest.raises(MalformedReply):
        codec.decode(body)

    assert "x" == codec.decode(body, 3 * MOST_MEMBERS).content


def test_a_stream_is_bounded_in_sum():
    """Many events, none of which is too much: in bytes beyond their envelopes, and in members."""
    text, members = chat_event("x" * 4 * ENVELOPE), chat_event("x", odd=[[]] * 100)
    for event, bounds in ((text, Bounds(size=50 * ENVELOPE)), (members, Bounds(members=300))):
        decoder = CODECS["openai_chat"].decoder()
        decoder.bounds = bounds
        fed: list[bytes] = []
        with pytest.raises(MalformedReply, match=r"the stream is longer|events of the stream have more"):
            feed(decoder, [event] * 100, fed)

        assert 10 <= len(fed) <= STREAMED * 3


def test_a_long_stream_of_small_events_is_read():
    """An envelope counts for nothing: a text has a hundred times its bytes in a stream."""
    decoder = CODECS["openai_chat"].decoder()
    decoder.bounds = Bounds(size=1_000)
    chunks = [chunk for _ in range(100) for chunk in decoder.feed(chat_event("word "))]

    assert "word " * 100 == fold(chunks).content


@each("name", ["openai_chat", "ollama_chat"])
def test_plain_json_in_the_place_of_a_stream_is_bounded_too(name):
    """It is held until it ends."""
    decoder = CODECS[name].decoder()
    decoder.bounds = Bounds(size=1_000)
    with pytest.raises(MalformedReply, match="longer than 1,000 bytes"):
        feed(decoder, [b'{"a":\n' + b" " * 100] * 100, [])


def test_a_large_picture_is_one_line():
    """Where that much may come."""
    event = chat_event("x" * 3_000_000)
    with pytest.raises(MalformedReply, match="longer"):
        CODECS["openai_chat"].decoder().feed(event)
    decoder = CODECS["openai_chat"].decoder()
    decoder.bounds = Bounds(size=64 << 20)

    assert 3_000_000 == len(decoder.feed(event)[0].content)


@EVERY_CODEC
def test_a_request_of_too_much_is_refused(codec):
    """What a client sends is bounded before it is decoded, as what a vendor sends."""
    with pytest.raises(InvalidRequest):
        codec.read_request(b'{"messages": ' + MANY.encode() + b"}", "/models/m:generateContent")


ABSURD = (-1, 10**9 + 1, 10**14, 2**70, 10**400, 1e308, math.inf, -math.inf, math.nan, -0.5)
USAGES = {
    "chat": lambda count, cost: openai_chat_usage({"usage": {"prompt_tokens": count, "completion_tokens": 2, "cost": cost}}),
    "chat, cached": lambda count, cost: openai_chat_usage(
        {"usage": {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": count}, "cost": cost}}
    ),
    "responses": lambda count, cost: openai_responses_usage({"input_tokens": 3, "output_tokens": count, "cost": cost}),
    "messages": lambda count, cost: anthropic_usage({"input_tokens": 3, "output_tokens": count, "cost": cost}),
    "searches": lambda count, cost: anthropic_usage(
        {"input_tokens": 3, "server_tool_use": {"web_search_requests": count}, "cost": cost}
    ),
    "gemini": lambda count, cost: gemini_usage({"promptTokenCount": count, "candidatesTokenCount": 2}),
    "gemini, modality": lambda count, cost: gemini_usage({"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": count}]}),
    "completions": lambda count, cost: usage_of(
        {"usage": {"prompt_tokens": 3, "completion_tokens": count, "cost": cost}}, output="completion_tokens"
    ),
    "ollama": lambda count, cost: ollama_usage({"prompt_eval_count": count, "eval_count": 2}),
}


@each("read", USAGES.values())
@each("count", ABSURD)
def test_a_count_that_cannot_be_is_set_aside(read, count):
    """With a status of its own, and nothing infinite is left in the record."""
    usage = read(count, 0.5)

    assert (None, "implausible_count") == (usage.cost, usage.cost_status)
    assert 0 <= usage.total_tokens <= 5
    assert set() == set(usage.tool_requests.values()) - {0}
    json.dumps(usage.raw, allow_nan=False)


@each("read", [USAGES[name] for name in ("chat", "responses", "messages", "searches", "completions")])
@each("cost", [-5, 1e308, 2**70, 1e13, 9.3e6, 10_001, "1e30", "-1", "NaN", math.inf, math.nan, 10**400])
def test_a_cost_that_cannot_be_is_set_aside(read, cost):
    """The counts stay, so that the price can tell what it is."""
    usage = read(2, cost)

    assert (None, "implausible_cost") == (usage.cost, usage.cost_status)
    assert usage.total_tokens
    json.dumps(usage.raw, allow_nan=False)


@each(
    "told, cost",
    [
        (0, "0"),
        (0.25, "0.25"),
        ("0.000001", "0.000001"),
        (10_000, "10000"),
        ("1e-7", "1e-7"),
        ("1e-999999", "0"),
        (None, None),
        ("", None),
        (True, None),
        ([], None),
    ],
)
def test_a_cost_that_can_be_is_the_vendors_word(told, cost):
    """What says nothing is no cost, and nothing odd either."""
    usage = openai_chat_usage({"usage": {"prompt_tokens": 3, "cost": told}})

    assert (cost and Decimal(cost), "no_price" if cost is None else "vendor_reported") == (usage.cost, usage.cost_status)
    assert cost is None or len(f"{usage.cost:f}") < 50


@each("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5_000])
def test_a_number_that_python_writes_costs_no_answer(number):
    """Python's own JSON writes NaN, and a digit too many is no reason to lose what was paid."""
    event = '{"choices": [{"index": 0, "delta": {"content": "hi"}, "logprobs": {"content": [{"logprob": NUMBER}]}}]}'
    body = '{"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "cost": NUMBER}}'
    event, body = event.replace("NUMBER", number), body.replace("NUMBER", number)
    answer = CODECS["openai_chat"].decode(body.encode())

    assert ("hi", "implausible_cost") == (answer.content, answer.usage.cost_status)
    assert "hi" == CODECS["openai_chat"].decoder().feed(f"data: {event}\n\n".encode())[0].content


@each("told", [-1, 10**12, math.inf, True, "7", None])
def test_a_count_of_tokens_that_cannot_be_is_no_answer(told):
    """Whoever asks for it gets a number, or an error."""
    with pytest.raises(MalformedReply):
        COUNTING["anthropic_messages"].decode(json.dumps({"input_tokens": told}).encode())
