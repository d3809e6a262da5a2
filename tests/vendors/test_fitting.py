"""A request is fitted to the model that it goes to, and says so where it cannot be."""

import pytest

from llmdispatcher import InvalidRequest, Request, catalog
from llmdispatcher.catalog import Traits
from llmdispatcher.fitting import fitted, nearest
from llmdispatcher.types import EFFORTS


def quirky(*quirks, efforts=()):
    return Traits(quirks=frozenset(quirks), efforts=efforts)


def test_a_request_that_fits_is_not_copied():
    """The usual case costs nothing."""
    request = Request("gpt-4o", "hi", temperature=0.0)

    assert fitted(request, catalog.traits("openai", "gpt-4o")) is request


@pytest.mark.parametrize(
    ("quirk", "settings"),
    [
        ("no_sampling", {"temperature": 0.0, "top_p": 0.5, "top_k": 3, "frequency_penalty": 1, "presence_penalty": 0}),
        ("no_penalties", {"frequency_penalty": 1, "presence_penalty": 0}),
        ("no_user", {"user": "u1"}),
        ("no_effort", {"reasoning_effort": "low", "reasoning_tokens": 9, "reasoning_summary": "auto"}),
        ("no_parallel_tools", {"parallel_tool_calls": False}),
    ],
)
def test_what_only_tunes_is_left_out(quirk, settings):
    """The answer comes without it, rather than not at all."""
    fit = fitted(Request("m", "hi", **settings), quirky(quirk))

    assert [None] * len(settings) == [getattr(fit, name) for name in settings]


@pytest.mark.parametrize(("quirk", "field", "value"), [("no_stop", "stop", ("END",)), ("no_logprobs", "logprobs", True)])
def test_what_decides_the_answer_is_refused(quirk, field, value):
    """A stop sequence that is not looked at would be an answer that nobody asked for."""
    with pytest.raises(InvalidRequest, match=f"{field}: is refused by this model .*drop_params"):
        fitted(Request("m", "hi", **{field: value}), quirky(quirk))


def test_what_decides_is_dropped_where_that_is_allowed(caplog):
    """With a line in the log that names it."""
    with caplog.at_level("INFO", logger="llmdispatcher"):
        fit = fitted(Request("m", "hi", stop="END", drop_params=True), quirky("no_stop"))

    assert () == fit.stop
    assert "stop is not sent to m" in caplog.text


def test_sampling_goes_where_there_is_no_effort():
    """Newer models of OpenAI's take a temperature as long as they are not told to think."""
    quirks = quirky("sampling_without_effort")

    assert [0.5, 0.5, None] == [
        fitted(Request("m", "hi", temperature=0.5, reasoning_effort=effort), quirks).temperature for effort in (None, "none", "low")
    ]


@pytest.mark.parametrize(
    ("asked", "known", "sent"),
    [
        ("none", ("low", "medium", "high"), "low"),
        ("max", ("none", "low", "medium", "high", "xhigh"), "xhigh"),
        ("minimal", ("none", "low", "high"), "none"),
        ("medium", ("low", "medium", "high"), "medium"),
    ],
)
def test_the_effort_is_the_nearest_that_a_model_knows(asked, known, sent):
    """And of two as near the lower, which costs less."""
    assert sent == nearest(asked, known)
    assert sent == fitted(Request("m", "hi", reasoning_effort=asked), quirky(efforts=known)).reasoning_effort


@pytest.mark.parametrize("effort", EFFORTS)
def test_any_effort_goes_where_nothing_is_known(effort):
    """A model without traits gets what was asked for."""
    assert effort == fitted(Request("m", "hi", reasoning_effort=effort), Traits()).reasoning_effort
