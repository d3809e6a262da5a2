"""Two vendors and nothing set: whatever is wrong with the first, the second answers in time, and nobody else hears of it."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import pytest

from llmdispatcher import Dispatcher, OpenAICompatibleVendor, OpenAIVendor, Request, StreamInterrupted
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.testing import FAULTS, VendorSimulator

from ..conftest import PATIENCE
from ..matrix.conftest import Hurried, hangs, listen, together
from ..matrix.test_ways import HEAVY

FIRST, SECOND = "one two three four five six seven eight nine ten.", "The second is here."
REQUEST = Request("gpt-4o-mini", "Hello", max_tokens=200)
PLAIN, STREAM = 0.3, 2.0
"""Seconds of the deadline of a call whose first vendor hangs; others have that of the defaults."""
LEARNING = 4
"""Calls; three that time out open a circuit."""


def faults_that(*, hang):
    variants = [fault for faults in FAULTS.values() for fault in faults]
    return [fault for fault in variants if hangs(fault) == hang and fault.name not in HEAVY]


@contextmanager
def house(fault):
    """A call by a dispatcher whose first vendor has the fault; a third takes any model and nobody named it."""
    with (
        VendorSimulator(responses=FIRST) as first,
        VendorSimulator(responses=SECOND) as second,
        VendorSimulator(responses="I heard it.") as third,
    ):
        first.always(fault)
        outcomes = []
        config = {"default_vendor": "first", "fallback_vendor": "second"}
        clock = SYSTEM_CLOCK if hangs(fault) else Hurried()
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


def wrong_in_calls(fault, **how):
    """What is wrong with the end of a call."""
    with house(fault) as ask:
        result = ask(**how)
    return [] if ended_well(result) else [f"{fault.name}: {result}"]


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
def test_the_second_answers(streamed):
    """With no setting and no deadline of its own."""
    trials = [partial(wrong_in_calls, fault, streamed=streamed, timeout=None) for fault in faults_that(hang=False)]
    assert [] == together(trials, at_once=4)


def test_a_stream_of_one_that_hangs_is_the_seconds():
    """Its beginning has only a share of the deadline."""
    trials = [partial(wrong_in_calls, fault, streamed=True, timeout=STREAM) for fault in faults_that(hang=True)]
    assert [] == together(trials, at_once=len(trials))


def test_calls_of_one_that_hangs_go_to_the_second():
    """A deadline shorter than an answer may need is not divided; after some calls the first is no longer asked."""

    def calls(fault):
        with house(fault) as ask:
            answers = (ask(streamed=False, timeout=seconds).text for seconds in (*[PLAIN] * LEARNING, *[PATIENCE] * 3))
            return [] if SECOND in answers else [fault.name]

    trials = [partial(calls, fault) for fault in faults_that(hang=True)]
    assert [] == together(trials, at_once=len(trials))
