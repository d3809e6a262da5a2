"""Event streams are read as the standard says, however the bytes arrive, in bounded memory and linear time."""

import itertools
import logging
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import MalformedReply
from llmdispatcher.wire.sse import MAX_EVENT, MAX_LINE, SseParser

from ..cases import each

READ = 1460
BOM = b"\xef\xbb\xbf"
M = "message"
VECTORS = {
    "one event": (b"data: a\n\n", [(M, "a")]),
    "a named event": (b"event: ping\ndata: a\n\n", [("ping", "a")]),
    "several lines of data": (b"data: a\ndata:  b\ndata:c\n\n", [(M, "a\n b\nc")]),
    "CR LF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [(M, "a"), (M, "b")]),
    "CR alone": (b"data: a\r\rdata: b\r\r", [(M, "a"), (M, "b")]),
    "mixed line ends": (b"data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\n\r", [(M, "a"), (M, "b"), (M, "c"), (M, "d")]),
    "a byte order mark": (BOM + b"data: a\n\ndata: b\n\n", [(M, "a"), (M, "b")]),
    "a byte order mark in the middle": (b"data: a\n\n" + BOM + b"data: b\n\n", [(M, "a")]),
    "comments": (b": hi\n\n:\ndata: a\n: within\ndata: b\n\n:\n\n", [(M, "a\nb")]),
    "data without a colon": (b"data\n\ndata: \n\n", [(M, ""), (M, "")]),
    "no data": (b"event: x\n\nid: 1\n\ndata: a\n\n", [(M, "a")]),
    "unknown fields": (b"foo: 1\nbar\n data: x\ndata: a\n\n", [(M, "a")]),
    "a bad retry and a NUL id": (b"retry: soon\nid: a\0b\ndata: a\n\n", [(M, "a")]),
    "many empty lines": (b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(M, "a"), (M, "b")]),
    "line ends that are none": ("data: a\u2028b\u0085c\x0bd\n\n".encode(), [(M, "a\u2028b\u0085c\x0bd")]),
    "four-byte characters": ("data: 😀é\n\n".encode(), [(M, "😀é")]),
    "invalid UTF-8": (b"data: a\xff\xf0\x9f\ndata: b\n\n", [(M, "a\ufffd\ufffd\nb")]),
    "a truncated last event": (b"data: a\n\ndata: b\n", [(M, "a")]),
    "a truncated last line": (b"data: a\n\ndata: b", [(M, "a")]),
    "bare JSON among events": (b'data: a\n\n{"x": 1}\n\ndata: b\n\n', [(M, "a"), (M, "b")]),
    "nothing": (b"", []),
}
EACH = each("stream, expected", VECTORS)


def parsed(pieces):
    """Name and data of every event."""
    parser = SseParser()
    return [(event.event, event.data) for piece in pieces for event in parser.feed(piece)]


def pieces_of(stream, places):
    """The stream cut at some places."""
    return [stream[start:end] for start, end in itertools.pairwise([0, *sorted(places), len(stream)])]


def reads(stream, size=READ):
    """The stream as small reads bring it."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def seconds(pieces):
    """CPU time that reading takes, the best of two."""
    taken = []
    for _ in range(2):
        start = time.process_time()
        parsed(pieces)
        taken.append(time.process_time() - start)
    return min(taken)


@EACH
def test_a_stream_is_read_as_the_standard_says(stream, expected):
    """The vectors in which readers differ, in one read."""
    assert expected == parsed([stream])


@EACH
def test_every_two_and_three_cut_gives_the_same_events(stream, expected):
    """Where a read ends says nothing about the stream."""
    places = range(len(stream) + 1)
    wrong = [cut for cut in itertools.combinations_with_replacement(places, 2) if expected != parsed(pieces_of(stream, cut))]

    assert [] == wrong


@EACH
def test_byte_by_byte_gives_the_same_events(stream, expected):
    """The smallest reads there are."""
    assert expected == parsed(reads(stream, 1))


@given(
    st.lists(st.sampled_from(["data: x", "data", "event: e", ": c", "\n", "\r", "\r\n", "{", "é", "\ufeff"]), max_size=12),
    st.data(),
)
@settings(max_examples=300)
def test_any_stream_reads_the_same_in_any_cut(words, data):
    """Streams that nobody thought of, cut where nobody would."""
    stream = "".join(words).encode()
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=5))

    assert parsed([stream]) == parsed(pieces_of(stream, places))


def test_what_is_no_event_is_kept_for_the_end():
    """Bare JSON and an event that never ended can be looked at, though they are no events."""
    parser = SseParser()
    for piece in reads(b'data: a\n\n{"error": 1}\n\ndata: b\n\n[2', 3):
        parser.feed(piece)

    assert b'{"error": 1}\n\n[2' == parser.rest()


@each("size", [READ, 65_536, 1 << 22])
def test_a_line_beyond_the_limit_is_refused(size):
    """A server that never ends its line cannot fill the memory."""
    with pytest.raises(MalformedReply, match="line"):
        parsed(reads(b"data: " + b"x" * (2 * MAX_LINE) + b"\n\n", size))


def test_a_line_below_the_limit_is_read():
    """A large picture in one event is fine."""
    assert [(M, "x" * (MAX_LINE - 10))] == parsed(reads(b"data: " + b"x" * (MAX_LINE - 10) + b"\n\n"))


@each("size", [READ, 1 << 20, 1 << 25])
def test_an_event_beyond_the_limit_is_refused(size):
    """A server that never ends its event cannot fill the memory."""
    line = b"data: " + b"x" * (MAX_LINE // 2) + b"\n"

    with pytest.raises(MalformedReply, match="event"):
        parsed(reads(line * (MAX_EVENT // len(line) + 2) + b"\n", size))


def test_an_event_of_endless_lines_is_refused():
    """Lines that say nothing are no way around the limit, nor a way to burn time."""
    with pytest.raises(MalformedReply, match="event"):
        parsed(reads(b"data:\n" * 1_000_000))


def test_eight_megabytes_in_small_reads_take_linear_time():
    """As much takes about as long in long lines as in short ones; a quadratic reader takes hundreds of times as long."""
    long, short = b"data: " + b"x" * 900_000 + b"\n\n", b"data: " + b"x" * 9_000 + b"\n\n"

    assert seconds(reads(long * 9)) < 10 * seconds(reads(short * 900)) + 0.05


@each("unit", [b"data: {}\n\n", b": a comment\n", b"data: x\n: c\n\n", b"\n"])
def test_many_small_things_take_linear_time(unit):
    """Four times as many take about four times as long, whatever the machine."""
    small, large = reads(unit * 15_000), reads(unit * 60_000)

    assert seconds(large) < 12 * seconds(small) + 0.05


def test_nothing_of_a_stream_is_logged(caplog):
    """The reader underneath would log field names, which may be anything."""
    caplog.set_level(logging.DEBUG)
    parsed([b"a secret answer\ndata: a secret\n\n"])

    assert "" == caplog.text


def test_an_event_may_stand_in_a_field_called_error():
    """Such as llama.cpp writes it."""
    assert [(M, "a"), ("error", '{"code": 500}'), (M, "b")] == parsed([b'data: a\n\nerror: {"code": 500}\n\ndata: b\n\n'])
