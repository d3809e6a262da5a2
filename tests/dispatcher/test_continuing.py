"""Streams that broke off and go on elsewhere: over real sockets, every kind after every other, with nothing left behind."""

import itertools
from decimal import Decimal

import pytest

from llmdispatcher import Continuation, Message, Request, StreamInterrupted, Tool, ToolCall
from llmdispatcher.dispatcher.continuation import GO_ON
from llmdispatcher.testing import ApiError, SimulatedResponse, faults

from ..conftest import PATIENCE
from ..matrix.conftest import CANARY, MODELS, PROMPT, settled, workers
from .broken_streams import KINDS, REFUSES_PREFILL, REST, SAID, TEXT, WORDS, Stage


@pytest.mark.parametrize(("first", "second"), list(itertools.product(KINDS, KINDS)))
def test_every_kind_goes_on_after_every_other(first, second):
    """One text without a seam, of two vendors; each attempt is written down, and threads and descriptors come back."""
    with Stage(first, second) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        text, response, error = stage.read()
        outcome = stage.outcomes[0]

        assert (TEXT, TEXT, None) == (text, response.content, error)
        assert ("v1", MODELS[second], "stop") == (response.vendor, outcome.attempts[1].model, response.finish_reason)
        assert [("v0", "StreamInterrupted", "committed", False), ("v1", None, None, True)] == [
            (record.vendor, record.error, record.failure_class, record.continuation) for record in response.trace
        ]
        assert (None, "v1", 1, 1) == (outcome.error, outcome.vendor, stage.simulators[0].hits, stage.simulators[1].hits)
    assert (0, 0) == settled(stage.base, threads=workers)


@pytest.mark.parametrize(
    "fault",
    [
        faults.cut_after(WORDS),
        faults.eof_after(WORDS),
        faults.stall_after(WORDS),
        faults.reset_midway(WORDS),
        faults.fin_in_chunk(WORDS),
        faults.eof_cut(WORDS),
        faults.error_event(WORDS),
    ],
    ids=lambda fault: fault.name,
)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_breaks_it(kind, fault):
    """A cut, a reset, silence and a failure inside the stream are all gone on from."""
    with Stage(kind, "openai", idle=0.5 if fault.endless else PATIENCE) as stage:
        stage.simulators[0].script(fault)
        text, _, error = stage.read()

        assert (TEXT, None) == (text, error)


def test_off_by_default():
    """Without the setting, or with a request that says no, nobody else is asked."""
    for config, wish in ((None, None), (True, False)):
        with Stage("openai", "anthropic", continuation=config) as stage:
            stage.simulators[0].script(faults.cut_after(WORDS))
            text, _, error = stage.read(continue_broken=wish)

            assert (SAID, SAID, 0) == (text, error.partial.content, stage.simulators[1].hits)
            assert isinstance(error, StreamInterrupted)


def test_a_request_can_ask_for_it():
    """Its own switch is enough."""
    with Stage("openai", "anthropic", continuation=None) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))

        assert TEXT == stage.read(continue_broken=True)[0]


@pytest.mark.parametrize("pinned", ["by the verb", "by the request"])
def test_a_pinned_vendor_is_not_left(pinned):
    """What forbids a failover forbids it in the middle of a stream, too."""
    with Stage("openai", "anthropic") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        request = Request("any" if pinned == "by the verb" else "v0:any", PROMPT)
        send = stage.dispatcher.send_streaming
        stream = stage.dispatcher.send_streaming_to_vendor("v0", request) if pinned == "by the verb" else send(request)
        with pytest.raises(StreamInterrupted):
            stream.response()

        assert 0 == stage.simulators[1].hits


def test_a_model_that_takes_a_prefill_gets_one():
    """The text so far is its own turn, without a blank at the end, and what is left of max_tokens is asked for."""
    with Stage("openai", "anthropic") as stage:
        stage.simulators[0].responses = "one two three four five \n six"
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.read()
        asked = stage.asked(1)[0]

        assert [("user", PROMPT), ("assistant", SAID)] == [(turn.role, turn.text) for turn in asked.messages]
        assert 195 == asked.max_tokens


@pytest.mark.parametrize("kind", ["openai", "google", "anthropic"])
def test_a_model_that_takes_no_prefill_is_told_to_go_on(kind):
    """Of Anthropic's models, too, those that refuse a prefill get the user's word."""
    models = {**MODELS, "anthropic": REFUSES_PREFILL}
    with Stage("openai", kind, models=models) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        text, _, _ = stage.read()

        assert TEXT == text
        assert [("user", PROMPT), ("assistant", SAID), ("user", GO_ON)] == [
            (turn.role, turn.text) for turn in stage.asked(1)[0].messages
        ]


@pytest.mark.parametrize("again", ["five", "two three four five", SAID])
def test_a_repetition_at_the_seam_is_cut(again):
    """The reader sees it once, however much of the end the second one repeats."""
    with Stage("anthropic", "openai") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.simulators[1].responses = again + REST
        text, response, _ = stage.read()

        assert (TEXT, TEXT) == (text, response.content)


def test_usage_and_cost_of_both():
    """The tokens are added, each at its own vendor's price."""
    with Stage("anthropic", "openai") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        _, response, _ = stage.read()
        first, second = response.trace

        assert response.usage.cost == first.cost + second.cost == stage.outcomes[0].usage.cost == response.trace.cost
        assert min(first.cost, second.cost) > Decimal(0)
        assert response.usage.total_tokens == stage.dispatcher.get_stats().total_tokens > len(TEXT.split())


def test_thoughts_stay_with_their_vendor():
    """What the first has thought is not sent on, and stays in the answer."""
    with Stage("anthropic", "google") as stage:
        stage.simulators[0].responses = SimulatedResponse(TEXT, reasoning="let me count")
        stage.simulators[0].script(faults.cut_after(WORDS + 4))
        text, response, error = stage.read()

        assert (TEXT, None, "let me count") == (text, error, response.reasoning)
        assert "count" not in str(stage.simulators[1].requests[0].json)


@pytest.mark.parametrize("api_error", [faults.bad_request(), faults.wrong_key(), faults.status(503), faults.silent()], ids=repr)
def test_the_first_break_is_what_is_heard(api_error):
    """When the other fails, too, the error is that of the break, with its cause; the other's is an attempt."""
    with Stage("openai", "anthropic", idle=0.5, patience=0.5 if api_error.endless else PATIENCE) as stage:
        stage.simulators[0].script(faults.stall_after(WORDS))
        stage.simulators[1].always(api_error)
        text, _, error = stage.read()

        assert (SAID, "v0", "idle") == (text, error.vendor, error.__cause__.phase)
        assert ("StreamInterrupted", SAID, 2) == (type(error).__name__, error.partial.content, error.attempts)
        assert [None, "v0", "v1"] == [None, *(record.vendor for record in stage.outcomes[0].attempts)]
        assert error is stage.outcomes[0].error


def test_a_continuation_that_breaks_leaves_the_whole_text():
    """The error is the first one, its partial answer has the words and tokens of both."""
    with Stage("anthropic", "google", idle=0.5) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.simulators[1].script(faults.stall_after(2))
        text, _, error = stage.read()

        assert (SAID + " six seven", "v0") == (text, error.vendor)
        assert text == error.partial.content
        assert [("v0", "StreamInterrupted"), ("v1", "StreamInterrupted")] == [
            (record.vendor, record.error) for record in error.trace
        ]


def test_as_often_as_is_allowed():
    """Twice where the setting says so: the third is told all that was said."""
    with Stage("openai", "google", "anthropic", continuation=Continuation(max_times=2)) as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.simulators[1].script(faults.reset_midway(2))
        stage.simulators[2].responses = " eight nine ten"
        text, response, error = stage.read()

        assert (TEXT, None, "v2") == (text, error, response.vendor)
        assert [False, True, True] == [record.continuation for record in response.trace]
        assert SAID + " six seven" == stage.asked(2)[0].messages[-1].text


def test_the_next_one_where_the_other_cannot():
    """A continuation fails over before its first output like any call."""
    with Stage("openai", "google", "anthropic") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.simulators[1].always(faults.status(503))
        stage.simulators[2].responses = REST
        text, response, _ = stage.read()

        assert (TEXT, "v2", 3) == (text, response.vendor, len(response.trace))


@pytest.mark.parametrize(
    "settings",
    [
        {"response_format": {"type": "json_object"}},
        {"n": 2},
        {"logprobs": True},
        {"max_tokens": 5},
        {"extra_params": {"previous_response_id": "resp_1"}},
    ],
    ids=str,
)
def test_only_plain_text_is_gone_on_with(settings):
    """Not a form, several answers, single tokens, a conversation that a vendor keeps, or where nothing is left of max_tokens."""
    with Stage("openai", "openai") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS if "n" not in settings else 3 * WORDS))
        _, _, error = stage.read(**settings)

        assert ("StreamInterrupted", 0) == (type(error).__name__, stage.simulators[1].hits)


def test_a_call_that_has_begun_is_not_gone_on_with():
    """Nobody can finish the arguments that another has begun to write."""
    with Stage("openai", "anthropic") as stage:
        stage.simulators[0].responses = SimulatedResponse(
            "one", tool_calls=ToolCall(name="f", arguments='{"a": "b c d e"}', id="call_1")
        )
        stage.simulators[0].script(faults.cut_after(2))
        _, _, error = stage.read(tools=[Tool(name="f", parameters={"type": "object"})])

        assert ("f", 0) == (error.partial.tool_calls[0].name, stage.simulators[1].hits)


def test_a_filter_ends_it():
    """What a vendor's policy refuses in the middle is not asked for elsewhere."""
    with Stage("openai", "anthropic") as stage:
        stage.simulators[0].script(faults.error_event(WORDS, ApiError(400, "filter")))
        _, _, error = stage.read()

        assert ("ContentFiltered", 0) == (type(error).__name__, stage.simulators[1].hits)


def test_a_conversation_goes_on_with_all_its_turns():
    """Everything that was said before comes before the text so far."""
    turns = [Message.system("be brief"), Message.user("count"), Message.assistant("to?"), Message.user("ten")]
    with Stage("openai", "google") as stage:
        stage.simulators[0].script(faults.cut_after(WORDS))
        stage.read(messages=turns)

        assert ["system", "user", "assistant", "user", "assistant", "user"] == [turn.role for turn in stage.asked(1)[0].messages]
        assert CANARY not in str(stage.simulators[1].requests[0].json)
