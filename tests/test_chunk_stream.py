"""The chunks of one HTTP answer, between a transport that fails and a decoder that knows what is complete."""

import pytest

from llmdispatcher.chunk_stream import LAST_WORDS, ChunkStream
from llmdispatcher.clock import SYSTEM_CLOCK
from llmdispatcher.errors import DeadlineExceeded, VendorUnavailable
from llmdispatcher.wire.base import HttpReply
from llmdispatcher.wire.openai_chat import ChatDecoder

FIRST = b'data: {"choices": [{"index": 0, "delta": {"content": "one"}, "finish_reason": "stop"}]}\n\n'


def heard(error, *, alone):
    """What comes of a stream that breaks with ``error`` after its first answer, and how it was hurried."""
    hurried = []

    def pieces():
        yield FIRST
        raise error

    reply = HttpReply(status=200, headers={}, chunks=pieces(), hurry=hurried.append)
    stream = ChunkStream(reply, ChatDecoder(), SYSTEM_CLOCK, None, lambda failure, _reply: failure, alone=alone)
    return "".join([chunk.content for chunk in stream]), hurried


@pytest.mark.parametrize("error", [VendorUnavailable("silence", phase="idle"), DeadlineExceeded("late")])
def test_one_complete_answer_loses_nothing(error):
    """Its vendor gets a few seconds more for the usage; neither its silence nor the deadline takes the answer away."""
    assert ("one", [LAST_WORDS]) == heard(error, alone=True)


def test_one_of_several_answers_is_not_all():
    """The next may begin later, so nobody is hurried, and a deadline is one."""
    with pytest.raises(DeadlineExceeded):
        heard(DeadlineExceeded("late"), alone=False)
    assert ("one", []) == heard(VendorUnavailable("silence", phase="idle"), alone=False)
