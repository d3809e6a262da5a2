"""What a model refuses is left out of a request, or said, once for all formats."""

import pytest

from llmdispatcher import InvalidRequest, Request
from llmdispatcher.wire import without_refused
from llmdispatcher.wire.base import QUIRKS
from llmdispatcher.wire.shaping import without_effort

from ..cases import each

EVERYTHING = {
    "stop": "END",
    "logprobs": True,
    "top_logprobs": 2,
    "temperature": 0.0,
    "top_p": 0.5,
    "top_k": 3,
    "frequency_penalty": 1,
    "presence_penalty": 0,
    "user": "u1",
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "reasoning_tokens": 9,
    "reasoning_summary": "auto",
}


def test_a_request_without_any_of_it_is_not_copied():
    """The usual case costs nothing."""
    request = Request("m", "hi")

    assert without_refused(request, QUIRKS, "chat") is request
    assert without_effort(request, QUIRKS) is request


def test_what_nobody_refuses_stays():
    """A model without quirks gets the request as it is."""
    request = Request("m", "hi", **EVERYTHING)

    assert without_refused(request, frozenset(), "chat") is request
    assert without_effort(request, frozenset()) is request


def test_the_effort_is_left_out_where_its_word_is_refused():
    """With the budget and the summary, which say the same."""
    fit = without_effort(Request("m", "hi", **EVERYTHING), frozenset({"no_effort"}))

    assert [None] * 3 == [fit.reasoning_effort, fit.reasoning_tokens, fit.reasoning_summary]
    assert 0.0 == fit.temperature


@each(
    "quirk, settings",
    [
        ("no_sampling", {"temperature": 0.0, "top_p": 0.5, "top_k": 3, "frequency_penalty": 1, "presence_penalty": 0}),
        ("no_penalties", {"frequency_penalty": 1, "presence_penalty": 0}),
        ("no_user", {"user": "u1"}),
        ("no_parallel_tools", {"parallel_tool_calls": False}),
        ("no_logprobs", {"logprobs": False, "top_logprobs": 0}),
        ("no_top_k", {"top_k": 0}),
    ],
)
def test_what_only_tunes_or_asks_for_nothing_is_left_out(quirk, settings):
    """The answer comes without it, rather than not at all; no and 0 ask for nothing, and their field is refused all the same."""
    fit = without_refused(Request("m", "hi", **settings), frozenset({quirk}), "chat")

    assert [None] * len(settings) == [getattr(fit, name) for name in settings]


@each("quirk, field, value", [("no_stop", "stop", ("END",)), ("no_logprobs", "logprobs", True)])
def test_what_decides_the_answer_is_refused(quirk, field, value):
    """A stop sequence that is not looked at would be an answer that nobody asked for."""
    with pytest.raises(InvalidRequest, match=f"{field}: is refused by this model .*drop_params"):
        without_refused(Request("m", "hi", **{field: value}), frozenset({quirk}), "chat")


def test_what_decides_is_dropped_where_that_is_allowed(caplog):
    """With a line in the log that names it."""
    with caplog.at_level("INFO", logger="llmdispatcher"):
        fit = without_refused(Request("m", "hi", stop="END", drop_params=True), frozenset({"no_stop"}), "chat")

    assert () == fit.stop
    assert "stop is not sent to m" in caplog.text
