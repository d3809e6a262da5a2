"""What holds between the formats, for any conversation and any answer: nothing said is lost, and nothing is made up."""

import json
import re

import attrs
import pytest
from hypothesis import given, settings

from llmdispatcher import Message, ReasoningPart, Request, TextPart, ToolCall
from llmdispatcher.types import unfold
from llmdispatcher.wire.base import Codec
from llmdispatcher.wire.codecs import CODECS

from ..cases import each
from .conversations import requests, responses
from .corpus import cut, decode_stream

pytestmark = pytest.mark.usefixtures("untraced")  # thousands of examples: a measure of coverage would take longer than they do
ANY = settings(max_examples=20)
EVERY_CODEC = each("codec", CODECS)
PAIRS = each("first, second", [(one, other) for one in CODECS.values() for other in CODECS.values() if one is not other])


STRIDE = 61
"""Bytes between two cuts: in so many readings each place is cut once."""


def written(codec: Codec, request, stream=False):
    """The JSON of a request; what a format has no place for is dropped."""
    return json.loads(codec.encode(attrs.evolve(request, drop_params=True), stream=stream))


def read_back(codec: Codec, request):
    """The request as a server of that format reads it."""
    body = codec.encode(attrs.evolve(request, drop_params=True), stream=False)
    return codec.read_request(body, codec.path(request.model, False)).request


def texts(value):
    """Every string in a document."""
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return {text for item in inner for text in texts(item)}


def said(request):
    """Every word of a conversation."""
    return {
        part.text if isinstance(part, TextPart) else part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, TextPart) or getattr(part, "arguments", None) is not None
    }


def seen(response, *codecs):
    """What a caller reads of an answer; a foreign thought may lose what only its vendor can check.

    Ollama's format has no word for what came from a cache.
    """
    calls = [(call.name, call.parsed) for call in response.tool_calls]
    usage = response.usage
    cached = 0 if any(codec.name == "ollama_chat" for codec in codecs) else usage.cache_read_tokens
    return (response.content, response.reasoning, calls, response.finish_reason, usage.input_tokens, usage.output_tokens, cached)


def turn(response):
    """The answer as the next turn; arguments count by their meaning: some formats stream them as text and send them as objects."""
    return [
        unnamed(attrs.evolve(part, arguments=json.dumps(part.parsed)) if isinstance(part, ToolCall) else part)
        for part in response.message.parts
    ]


MADE = re.compile("(?<=_)[0-9a-f]{32}")


def unnamed(part):
    """A part without the ids that we made up, of which no two are the same."""
    ids = {name: MADE.sub("", part.id) for name in ("id",) if getattr(part, name, None)}
    extra = {"extra": json.loads(MADE.sub("", json.dumps(part.extra)))} if getattr(part, "extra", None) else {}
    return attrs.evolve(part, **ids, **extra)


@given(request=requests())
@ANY
@EVERY_CODEC
def test_any_conversation_is_written_with_every_word(codec, request):
    """Whoever said what, by whatever part: it is in the request's JSON."""
    document = texts(written(codec, request))

    assert set() == {word for word in said(request) if not any(word in text for text in document)}


@given(request=requests())
@ANY
@EVERY_CODEC
def test_what_is_read_back_is_written_the_same(codec, request):
    """A gateway that reads a request and sends it on in the same format changes nothing."""
    once = written(codec, request)
    read = codec.read_request(json.dumps(once).encode(), codec.path("m-1", False)).request

    assert once == written(codec, read)


@given(request=requests())
@ANY
@PAIRS
def test_a_request_of_one_format_is_a_request_of_any_other(first, second, request):
    """Read in one format, it is written in another, with every word that the first had."""
    read = read_back(first, request)
    document = texts(written(second, read))

    assert set() == {word for word in said(read) if not any(word in text for text in document)}


@given(response=responses())
@ANY
@EVERY_CODEC
def test_an_answer_is_understood_as_it_was_meant(codec, response):
    """Written by our server and read by our client it says the same."""
    assert seen(response, codec) == seen(codec.decode(codec.write_response(response)), codec)


@given(response=responses())
@ANY
@EVERY_CODEC
def test_a_stream_says_what_the_whole_answer_says(codec, response):
    """Written in pieces, read in pieces, folded: the same answer as in one piece."""
    writer = codec.writer()
    body = b"".join([*[writer.write(chunk) for chunk in unfold(response)], writer.end()])
    streamed, error = decode_stream(codec, [body])

    assert None is error
    assert seen(response, codec) == seen(streamed, codec)
    assert turn(codec.decode(codec.write_response(response))) == turn(streamed)


@given(response=responses())
@settings(max_examples=4)
@EVERY_CODEC
def test_no_cut_changes_a_stream(codec, response):
    """Wherever a read ends."""
    writer = codec.writer()
    body = b"".join([*[writer.write(chunk) for chunk in unfold(response)], writer.end()])
    expected = decode_stream(codec, [body])

    assert [] == [start for start in range(STRIDE) if decode_stream(codec, cut(body, *range(start, len(body), STRIDE))) != expected]


@given(response=responses())
@ANY
@PAIRS
def test_an_answer_goes_through_a_gateway_of_another_format(first, second, response):
    """Read from a vendor of one format and passed on in another, it says the same."""
    arrived = first.decode(first.write_response(response))

    assert seen(arrived, first, second) == seen(second.decode(second.write_response(arrived)), first, second)


@given(response=responses())
@ANY
@EVERY_CODEC
def test_an_answer_can_be_the_next_turn(codec, response):
    """The answer's message, with its thoughts, is written back to the vendor that gave it."""
    answer = codec.decode(codec.write_response(response))
    if not answer.content and not answer.tool_calls:
        return
    message = answer.message
    mine = {part.text for part in message.parts if isinstance(part, ReasoningPart) and part.origin == codec.name and part.signature}
    document = json.loads(codec.encode(_next(message), stream=False, quirks=frozenset({"replay_reasoning"})))

    assert mine <= texts(document)


def _next(message):
    results = [Message.tool("done", call.id, name=call.name) for call in message.tool_calls]
    return Request("m-1", [Message.user("begin"), message, *(results or [Message.user("go on")])])
