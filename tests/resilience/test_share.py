"""The share of a deadline: who has how many seconds before the next target's turn comes."""

import math

import pytest

from llmdispatcher import EmbeddingRequest, Request
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Shares, TimeShare
from llmdispatcher.types import TokenLimits

MODEL = Target(vendor="v", model="m")
MINI, GPT4, CLAUDE, LOCAL = [
    Target(vendor="x", model=model, kind=kind)
    for kind, model in (("openai", "gpt-4o-mini"), ("openai", "gpt-4"), ("anthropic", "claude-haiku-4-5"), ("ollama", "llama3"))
]


def asked(**fields):
    return Request("m", "hi", **fields)


NEEDS = {
    "a usual answer": (asked(), MODEL, 60.0),
    "a quick model": (asked(), MINI, 50.0),
    "a slow model": (asked(), GPT4, 120.0),
    "a server of one's own": (asked(), LOCAL, 220.0),
    "few tokens": (asked(max_tokens=10), MODEL, 50.0),
    "none, as vectors have": (EmbeddingRequest("m", "hi").as_request(), MODEL, 50.0),
    "many tokens": (asked(max_tokens=5_000), MODEL, 220.0),
    "many tokens in another spelling": (asked(extra_params={"max_completion_tokens": 5_000}), MODEL, 220.0),
    "a limit that is taken away": (
        asked(max_tokens=5_000, extra_params={"max_tokens": -1}, wire_format="openai_chat"),
        MODEL,
        60.0,
    ),
    "more than the model can": (asked(max_tokens=90_000), Target(vendor="v", model="m", max_output=5_000), 220.0),
    "with thoughts": (asked(reasoning_effort="high"), MODEL, 340.0),
}


@pytest.mark.parametrize(("request_", "target", "seconds"), NEEDS.values(), ids=list(NEEDS))
def test_what_an_answer_may_need(request_, target, seconds):
    """Its tokens at the speed of the model, twice, 20 s more, and at least 50 s."""
    assert seconds == pytest.approx(Shares().need(request_, target).seconds)


INF = math.inf
SHARES = {
    # seconds left, other targets, streamed, target, request: seconds for the answer and for connecting
    "nobody else": (100, 0, False, MODEL, asked(), INF, INF),
    "nobody else, streamed": (100, 0, True, MODEL, asked(), INF, INF),
    "an answer in one piece": (100, 1, False, MODEL, asked(), 60, 50),
    "much time": (3_600, 1, False, MODEL, asked(), 60, 1_800),
    "no deadline": (INF, 1, False, MODEL, asked(), 60, INF),
    "a deadline shorter than the need": (59, 1, False, MODEL, asked(), INF, 29.5),
    "a deadline as long as the need": (60, 1, False, MODEL, asked(), INF, 30),
    "a stream": (100, 1, True, MODEL, asked(), 50, 50),
    "a stream with little time": (1, 1, True, MODEL, asked(), 0.5, 0.5),
    "a stream, many others": (100, 5, True, MODEL, asked(), 50, 50),
    "a model that thinks": (600, 1, False, Target(vendor="x", model="o3", kind="openai"), asked(), INF, 300),
    "a model that is asked to think": (600, 1, False, CLAUDE, asked(reasoning_tokens=2_000), INF, 300),
    "a model that can think": (600, 1, False, CLAUDE, asked(), 50, 300),
    "a model that is told not to think": (
        600,
        1,
        False,
        Target(vendor="x", model="o3", kind="openai"),
        asked(reasoning_effort="none"),
        60,
        300,
    ),
    "a model that thinks, streamed": (600, 1, True, Target(vendor="x", model="o3", kind="openai"), asked(), 300, 300),
}


@pytest.mark.parametrize("row", SHARES.values(), ids=list(SHARES))
def test_the_share_of_an_attempt(row):
    """Half for connecting and a stream's first event; what it may need for an answer in one piece, or all."""
    left, others, streamed, target, request, answer, connect = row
    share = Shares().share(request, target, left, [GPT4] * others, streamed=streamed)

    assert (answer, connect) == pytest.approx((share.answer, share.connect))
    assert isinstance(share, TimeShare)


def test_what_the_parameters_say_is_read_once_and_only_where_it_counts(monkeypatch):
    """They may be large, and a call is asked for its timeout and each of its attempts for its share."""
    read = []
    monkeypatch.setattr(TokenLimits, "of", lambda params, of=TokenLimits.of: read.append(params) or of(params))
    request, shares, counts = asked(extra_params={"seed": 1}), Shares(), []
    for ask in (
        lambda: shares.timeout(request, [MINI, GPT4]),
        lambda: shares.share(request, MINI, 100, [GPT4], streamed=False),
        lambda: shares.share(request, MINI, 50, [GPT4], streamed=False),
        lambda: shares.share(request, MINI, 100, [GPT4], streamed=True),
        lambda: shares.share(request, MINI, 100, [], streamed=False),
    ):
        ask()
        counts.append(len(read))

    assert [1, 2, 2, 2, 2] == counts


TIMEOUTS = {
    "nobody": ([], asked(), 60.0),
    "one": ([MINI], asked(), 60.0),
    "one that is slow": ([GPT4], asked(), 120.0),
    "two": ([MINI, GPT4], asked(), 170.0),
    "three": ([MINI, GPT4, GPT4], asked(), 170.0),
    "a long answer": ([MINI, GPT4], asked(max_tokens=20_000), 600.0),
}


@pytest.mark.parametrize(("targets", "request_", "seconds"), TIMEOUTS.values(), ids=list(TIMEOUTS))
def test_the_timeout_that_nobody_set(targets, request_, seconds):
    """The need of the first two, 60 to 600 s."""
    assert seconds == pytest.approx(Shares().timeout(request_, targets))


def test_the_measured_percentile_takes_the_place_of_the_speed():
    """After twenty answers; of a hundred, the five slowest do not count."""
    shares = Shares()
    for _ in range(19):
        shares.observe(MODEL, 10.0, 1_000)
    before = shares.need(asked(), MODEL).seconds
    shares.observe(MODEL, 10.0, 1_000)
    after = shares.need(asked(max_tokens=4_000), MODEL).seconds
    for number in range(100):
        shares.observe(MODEL, 1_000.0 if number < 5 else 100.0, 1_000)

    assert (60.0, 100.0, 820.0) == pytest.approx((before, after, shares.need(asked(max_tokens=4_000), MODEL).seconds))


def test_short_answers_make_no_model_quick():
    """Three tokens in a blink tell nothing of four thousand; three tokens in a minute do."""
    quick, slow = Shares(), Shares()
    for _ in range(20):
        quick.observe(MODEL, 0.1, 3)
        slow.observe(MODEL, 60.0, 3)

    assert (180.0, 4_820.0) == pytest.approx(
        (quick.need(asked(max_tokens=4_000), MODEL).seconds, slow.need(asked(max_tokens=4_000), MODEL).seconds)
    )


def test_each_target_has_its_own_pace():
    """By vendor and model."""
    shares = Shares()
    for _ in range(20):
        shares.observe(MODEL, 100.0, 1_000)

    assert (220.0, 60.0) == pytest.approx(
        (shares.need(asked(), MODEL).seconds, shares.need(asked(), Target(vendor="v", model="other")).seconds)
    )
