"""The chunks of one HTTP answer, between a transport that fails and a decoder that knows what is complete."""

import pytest

from llmdispatcher import DeadlineExceeded, MalformedReply, VendorUnavailable
from llmdispatcher.runtime import SYSTEM_CLOCK, AttemptMetrics
from llmdispatcher.testing import ManualClock
from llmdispatcher.types import HttpReply
from llmdispatcher.vendors import ChunkStream
from llmdispatcher.vendors.chunk_stream import LAST_WORDS
from llmdispatcher.wire import CODECS
from llmdispatcher.wire.openai_chat.response import ChatDecoder

from ..cases import each

FIRST = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}, "finish_reason": "stop"}]}\n\n'


def heard(error, *, answers, said=(FIRST,)):
    """What comes of a stream that breaks with ``error`` after what is said, and how it was hurried."""
    hurried = []

    def pieces():
        yield from said
        raise error

    reply = HttpReply(status=200, headers={}, chunks=pieces(), hurry=hurried.append)
    stream = ChunkStream(reply, ChatDecoder(), SYSTEM_CLOCK, None, lambda failure, _reply: failure, answers=answers)
    return "".join([chunk.content for chunk in stream]), hurried


@each("error", [VendorUnavailable("silence", phase="idle"), DeadlineExceeded("late")])
def test_one_complete_answer_loses_nothing(error):
    """Its vendor gets a few seconds more for the usage; neither its silence nor the deadline takes the answer away."""
    assert ("one", [LAST_WORDS]) == heard(error, answers=1)


@each("error", [VendorUnavailable("silence", phase="idle"), DeadlineExceeded("late")])
def test_one_of_several_answers_is_not_all(error):
    """The next may begin later, so nobody is hurried, and an end before it is none."""
    with pytest.raises(type(error)):
        heard(error, answers=2)


@each("error", [VendorUnavailable("silence", phase="idle"), DeadlineExceeded("late")])
def test_all_of_several_answers_lose_nothing(error):
    """Whatever their order, and whoever's chunks come between."""
    second = FIRST.replace(b'"index": 0', b'"index": 1').replace(b'"one"', b'"two"')
    assert ("onetwo", [LAST_WORDS]) == heard(error, answers=2, said=(FIRST, second))
    assert ("twoone", [LAST_WORDS]) == heard(error, answers=2, said=(second + FIRST,))
    begun, end = second.replace(b'"stop"', b"null"), second.replace(b'"two"', b'""')
    assert ("onetwo", [LAST_WORDS]) == heard(error, answers=2, said=(FIRST + begun, end))


def pinged(words, clock, *, progress, answers=1):
    """The text of a stream whose vendor says these words and then sends a ping every two seconds, and how many were read."""
    read = []

    def pieces():
        yield words
        for number in range(1000):
            clock.advance(2.0)
            read.append(number)
            yield b": ping\n\n"

    reply = HttpReply(status=200, headers={}, chunks=pieces())
    stream = ChunkStream(reply, ChatDecoder(), clock, progress, lambda failure, _reply: failure, answers=answers)
    return "".join([chunk.content for chunk in stream]), len(read)


def test_pings_do_not_keep_a_complete_answer_open():
    """They are no last words: after as long as silence would be waited for the answer is what there is of it."""
    assert ("one", LAST_WORDS // 2 + 1) == pinged(FIRST, ManualClock(), progress=None)
    assert ("one", LAST_WORDS // 2 + 1) == pinged(FIRST, ManualClock(), progress=3.0)


def test_pings_before_the_end_are_bounded_by_the_progress_limit():
    """An answer under way, or one of several, of which the next may still begin, is waited for as long as the settings say."""
    begun = FIRST.replace(b'"stop"', b"null")
    for words, answers in ((begun, 1), (FIRST, 2)):
        with pytest.raises(VendorUnavailable, match="said nothing for 30 s"):
            pinged(words, ManualClock(), progress=30.0, answers=answers)


def test_events_that_could_not_be_read_are_counted_and_logged(caplog):
    """What is missing in an answer is not missing in silence; what was in them is not said."""
    reply = HttpReply(status=200, headers={}, chunks=iter([b"data: {broken\n\n" + FIRST, b"data: [DONE]\n\n"]))
    stream = ChunkStream(reply, ChatDecoder(), SYSTEM_CLOCK, None, lambda failure, _reply: failure)
    stream.meter = AttemptMetrics()

    assert "one" == "".join([chunk.content for chunk in stream])
    assert 1 == stream.meter.skipped
    assert ["1 events of a stream could not be read and are missing in the answer"] == [
        record.getMessage() for record in caplog.records
    ]


@each("index", [0, 1])
def test_an_answer_that_ended_with_an_unreadable_call_is_none(index):
    """One of several too; what it used was told before."""
    ends = (b'"STOP"', b'"MALFORMED_FUNCTION_CALL"')
    events = [
        b'data: {"candidates": [{"index": %d, "finishReason": %s}], "usageMetadata": {"promptTokenCount": 9}}\n\n' % (place, end)
        for place, end in ((1 - index, ends[0]), (index, ends[1]))
    ]
    reply = HttpReply(status=200, headers={}, chunks=iter(events))
    stream, counted = (
        ChunkStream(reply, CODECS["gemini"].decoder(), SYSTEM_CLOCK, None, lambda failure, _reply: failure, answers=2),
        [],
    )
    with pytest.raises(MalformedReply, match="cannot be used"):
        counted.extend(chunk.usage for chunk in stream)

    assert 9 == counted[-1].input_tokens
