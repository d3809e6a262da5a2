"""Two vendors and nothing set: whatever is wrong with the first, the second answers in time, and nobody else hears of it."""

from __future__ import annotations

import pytest

from llmdispatcher import Dispatcher, OpenAICompatibleVendor, OpenAIVendor, Request, StreamInterrupted
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import FAULTS, VendorSimulator

from ..conftest import PATIENCE
from ..matrix.conftest import Hurried, hangs, listen

FIRST, SECOND = "one two three four five six seven eight nine ten.", "The second is here."
REQUEST = Request("gpt-4o-mini", "Hello", max_tokens=200)
PLAIN, STREAM = 0.3, 2.0
"""Seconds of the deadline of a call whose first vendor hangs; others have that of the defaults."""
LEARNING = 4
"""Calls; three that time out open a circuit."""


def faults_that(*, hang):
    for row, variants in FAULTS.items():
        for fault in variants:
            if hangs(fault) == hang:
                yield pytest.param(fault, id=f"{row}-{fault.name}".replace(" ", "_"))


@pytest.fixture
def house(request):
    """A dispatcher whose first vendor has the fault; a third takes any model and nobody named it."""
    with (
        VendorSimulator(responses=FIRST) as first,
        VendorSimulator(responses=SECOND) as second,
        VendorSimulator(responses="I heard it.") as third,
    ):
        first.always(request.param)
        outcomes = []
        config = {"default_vendor": "first", "fallback_vendor": "second"}
        clock = SYSTEM_CLOCK if hangs(request.param) else Hurried()
        with Dispatcher(config, observers=[outcomes.append], clock=clock) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(name="first", api_key="sk-first-1234", base_url=first.openai_url))
            dispatcher.register_vendor(OpenAIVendor(name="second", api_key="sk-second-12", base_url=second.openai_url))
            dispatcher.register_vendor(OpenAICompatibleVendor(name="third", api_key="sk-third-123", base_url=third.openai_url))
            yield lambda **how: listen(dispatcher, REQUEST, outcomes, **how)
        assert 0 == third.hits


def ended_well(result):
    """An answer; or what no other vendor could mend: a request that is wrong, and a stream that broke off in its middle."""
    if result.error is None:
        return result.text != ""
    return isinstance(result.error, StreamInterrupted) or not result.error.try_elsewhere


@pytest.mark.parametrize("house", list(faults_that(hang=False)), indirect=True)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_the_second_answers(house, streamed):
    """With no setting and no deadline of its own."""
    result = house(streamed=streamed, timeout=None)
    assert ended_well(result), result


@pytest.mark.parametrize("house", list(faults_that(hang=True)), indirect=True)
def test_a_stream_of_one_that_hangs_is_the_seconds(house):
    """Its beginning has only a share of the deadline."""
    result = house(streamed=True, timeout=STREAM)
    assert ended_well(result), result


@pytest.mark.parametrize("house", list(faults_that(hang=True)), indirect=True)
def test_calls_of_one_that_hangs_go_to_the_second(house):
    """A deadline shorter than an answer may need is not divided; after some calls the first is no longer asked."""
    answers = (house(streamed=False, timeout=seconds).text for seconds in (*[PLAIN] * LEARNING, *[PATIENCE] * 3))
    assert SECOND in answers
