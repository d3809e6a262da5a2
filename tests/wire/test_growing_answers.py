"""No piece of a stream costs in proportion to all before it, when it is read and when it is passed on in any format."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator

import pytest

from llmdispatcher.types import Citation, StreamChunk, ToolCallDelta, json_text
from llmdispatcher.wire import CODECS, decoding

from ..cases import each

OPEN = '{"a":['


def _call(index: int, arguments: str, name: str | None = "f") -> StreamChunk:
    return StreamChunk(model="m", tool_calls=(ToolCallDelta(index=index, id=f"c{index}", name=name, arguments=arguments),))


def _turns(count: int) -> Iterator[StreamChunk]:
    return (StreamChunk(content="a") if number % 2 else StreamChunk(reasoning="b") for number in range(count))


def _open_call_before_text(count: int) -> Iterator[StreamChunk]:
    yield _call(0, OPEN + '"x",' * count)
    yield from _turns(count)


def _open_call_before_calls(count: int) -> Iterator[StreamChunk]:
    yield _call(0, OPEN + '"x",' * count)
    yield from (_call(number + 1, "{}") for number in range(count))


def _open_calls(count: int) -> Iterator[StreamChunk]:
    yield from (_call(number, OPEN) for number in range(count))
    yield from _turns(count)


def _ended_calls(count: int) -> Iterator[StreamChunk]:
    yield from (_call(number, "{}") for number in range(count))
    yield from _turns(count)


def _call_by_turns(count: int) -> Iterator[StreamChunk]:
    yield _call(0, OPEN + "{}")
    for number in range(count):
        yield _call(0, ",{}", None)
        yield StreamChunk(content="a", citations=(Citation(url=f"https://a.example/{number}", start=number, end=number + 1),))


def _nameless(count: int) -> Iterator[StreamChunk]:
    return (_call(0, "1,", None) for _ in range(count))


ODD = (_open_call_before_text, _open_call_before_calls, _open_calls, _ended_calls, _call_by_turns, _nameless)


@pytest.fixture
def work(monkeypatch) -> Callable[[Callable[[], object]], int]:
    """Counts the calls that a function makes, and the characters that are parsed as JSON in it."""
    counted = 0
    count_members = json_text.count_members

    def count(text, *args):
        nonlocal counted
        counted += len(text)
        return count_members(text, *args)

    def hear(_frame, event, _argument):
        nonlocal counted
        counted += event in ("call", "c_call")

    def run(function: Callable[[], object]) -> int:
        nonlocal counted
        counted = 0
        sys.setprofile(hear)
        try:
            function()
        finally:
            sys.setprofile(None)
        return counted

    monkeypatch.setattr(json_text, "count_members", count)
    return run


@each("name", list(CODECS))
@each("odd", ODD)
def test_writing_costs_as_much_as_there_is_to_write(work, name, odd):
    """Four times as many chunks cost four times as much, not sixteen times."""

    def write(count: int) -> int:
        writer, chunks = CODECS[name].writer(), list(odd(count))
        return work(lambda: [*map(writer.write, chunks), writer.end()])

    write(1)  # which reads what is read once
    assert write(160) < 6 * write(40)


def _piece(choices: list[object], **further: object) -> bytes:
    return b"data: " + json.dumps({"id": "c", "model": "m", "choices": choices, **further}).encode() + b"\n\n"


def _strange_calls(count: int) -> Iterator[bytes]:
    """Pieces of one call, each with an index of its own."""
    for number in range(count):
        function = {"name": "f", "arguments": OPEN + "{}"} if not number else {"arguments": ",{}" * 10}
        yield _piece([{"index": 0, "delta": {"tool_calls": [{"index": number, "function": function}]}}])


def _halves(count: int) -> Iterator[bytes]:
    """Choices that all end in half a character, as many as are waited for."""
    yield _piece([{"index": number, "delta": {"content": "a\ud83d"}} for number in range(count)])


def _usages(count: int) -> Iterator[bytes]:
    """Records of usage, each with a field of its own."""
    for number in range(3 * count):
        yield _piece([{"index": 0, "delta": {"content": "a"}}], usage={"prompt_tokens": 1, f"field_{number}": {"a": 1}})


def _ends(count: int) -> Iterator[bytes]:
    """Calls without arguments, and ends of the answer."""
    calls = [{"index": number, "id": f"c{number}", "function": {"name": "f", "arguments": "{}"}} for number in range(8 * count)]
    yield _piece([{"index": 0, "delta": {"tool_calls": calls}}])
    for _ in range(8 * count):
        yield _piece([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])


@each("odd", [_strange_calls, _halves, _usages, _ends])
def test_reading_costs_as_much_as_there_is_to_read(work, odd):
    """Four times as many events cost four times as much, not sixteen times."""

    def read(count: int) -> int:
        decoder, pieces = CODECS["openai_chat"].decoder(), [*odd(count), b"data: [DONE]\n\n"]
        return work(lambda: list(map(decoder.feed, pieces)))

    assert read(96) < 6 * read(24)


@each(
    "pieces, wholes",
    [
        (['{"a"', ":1", "}", " ", "x"], [False, False, True, True, False]),
        (['{"a":"', "}", "\\", '"', '"}'], [False, False, False, False, True]),
        (['{"a":"\\', "\\", '"}'], [False, False, True]),
        (['["{"', "]", "]"], [False, True, False]),
        (["{}", "{}"], [True, False]),
        (["", " ", "1", "2"], [False, False, True, True]),
        (['"a', " ", '"'], [False, False, True]),
        (["}", "{"], [False, False]),
    ],
)
def test_json_in_pieces_is_whole_when_it_is(pieces, wholes):
    """As often as one asks."""
    buffer = decoding.JsonBuffer()
    found = []
    for piece in pieces:
        buffer.pieces.append(piece)
        found.append(buffer.is_whole)

    assert wholes == found
    assert "".join(pieces) == buffer.text
