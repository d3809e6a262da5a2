"""Calls made outside the dispatcher: what they return is untouched, and what they consumed is in the ledger."""

from __future__ import annotations

import inspect
from decimal import Decimal
from types import SimpleNamespace as Object

import pytest

from llmdispatcher import ConfigError, RateLimitError, Response, Usage
from llmdispatcher.accounting.ledger.external import LoggedCall, log_calls, model_of, raw_usage, usage_of
from llmdispatcher.testing import ManualClock
from tests.cases import each

CHAT = Object(
    model="gpt-4o-mini-2024-07-18",
    usage=Object(
        prompt_tokens=1000,
        completion_tokens=50,
        total_tokens=1050,
        prompt_tokens_details=Object(cached_tokens=400, audio_tokens=None),
        completion_tokens_details=Object(reasoning_tokens=20),
    ),
)
RESPONSES = Object(
    model="gpt-5", usage=Object(input_tokens=1000, output_tokens=50, input_tokens_details=Object(cached_tokens=400),
    output_tokens_details=Object(reasoning_tokens=20)))  # fmt: skip
ANTHROPIC = Object(
    model="claude-haiku-4-5", type="message",
    usage=Object(input_tokens=100, output_tokens=50, cache_read_input_tokens=400, cache_creation_input_tokens=500,
    cache_creation=Object(ephemeral_1h_input_tokens=200, ephemeral_5m_input_tokens=300)))  # fmt: skip
GEMINI = Object(
    model_version="gemini-2.5-flash",
    usage_metadata=Object(
        prompt_token_count=1000, candidates_token_count=30, thoughts_token_count=20, cached_content_token_count=400))  # fmt: skip
WHOLE = Usage(input_tokens=1000, output_tokens=50, cache_read_tokens=400, reasoning_tokens=20)


def counts(usage):
    """The tokens of a usage."""
    return {name: getattr(usage, name) for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens",
            "cache_write_long_tokens", "reasoning_tokens")}  # fmt: skip


@pytest.fixture
def kept():
    """What was told of each call that ended."""
    return []


@pytest.fixture
def logged(kept):
    """A decorator that tells them."""
    return log_calls(lambda: LoggedCall(kept.append, ManualClock(), {"vendor": "openai"}))


@each("answer, meant", [
        (CHAT, WHOLE),
        ({"model": "m", "usage": {"prompt_tokens": 1000, "completion_tokens": 50, "prompt_tokens_details": {"cached_tokens": 400},
          "completion_tokens_details": {"reasoning_tokens": 20}}}, WHOLE),
        (RESPONSES, WHOLE),
        (Object(type="response.completed", response=RESPONSES), WHOLE),
        (GEMINI, WHOLE),
        ({"usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 30, "thoughtsTokenCount": 20,
          "cachedContentTokenCount": 400}}, WHOLE),
        (ANTHROPIC, Usage(input_tokens=1000, output_tokens=50, cache_read_tokens=400, cache_write_tokens=500,
                          cache_write_long_tokens=200)),
        ({"prompt_eval_count": 7, "eval_count": 3, "done": True}, Usage(input_tokens=7, output_tokens=3)),
        ({"usage": {"input_tokens": 7, "output_tokens": 3, "cached_input_tokens": 2}},
         Usage(input_tokens=7, output_tokens=3, cache_read_tokens=2)),
        ({"input_tokens": 7, "output_tokens": 3}, Usage(input_tokens=7, output_tokens=3)),
        (Response(usage=WHOLE), WHOLE),
        (WHOLE, WHOLE),
    ])  # fmt: skip
def test_usage_of_any_answer(answer, meant):
    """Of the SDKs' objects and of plain mappings, in the meaning that it has here."""
    assert counts(meant) == counts(usage_of(raw_usage(answer)))


class Anything:
    """Has every attribute, as a mock has."""

    def __getattr__(self, name):
        return self


def test_what_says_nothing():
    """An answer without counts has no usage, and nothing is raised."""
    for answer in (None, "text", b"", 7, [], {}, object(), {"usage": None}, {"usage": "much"}, Anything(), Object(usage=[1])):
        assert usage_of(raw_usage(answer)) is None, answer
        assert model_of(answer) is None, answer


def test_what_a_function_returns_is_untouched(logged, kept):
    """The same object, its name and its docstring."""

    @logged
    def ask(question, *, loud=False):
        """Ask."""
        return CHAT

    assert CHAT is ask("why", loud=True)
    assert ("ask", "Ask.") == (ask.__name__, ask.__doc__)
    assert [("success", "gpt-4o-mini-2024-07-18", 1000)] == [
        (told["status"], told["model"], told["usage"].input_tokens) for told in kept
    ]


class APIStatusError(Exception):
    """An SDK's error."""

    def __init__(self, status_code):
        self.status_code = status_code


class APITimeoutError(Exception):
    """Another."""


@each(
    "error, status, http",
    [
        (ValueError("no"), "error", None),
        (APIStatusError(503), "error", 503),
        (APIStatusError(429), "rate_limited", 429),
        (APITimeoutError(), "timeout", None),
        (TimeoutError(), "timeout", None),
        (RateLimitError("later", status=429), "rate_limited", 429),
        (KeyboardInterrupt(), "cancelled", None),
    ],
)
def test_what_a_function_raises_is_untouched(logged, kept, error, status, http):
    """The same error, told by its class."""

    @logged
    def ask():
        raise error

    with pytest.raises(type(error)) as caught:
        ask()

    assert error is caught.value
    told = kept.pop()
    assert (status, type(error).__name__, http) == (told["status"], told["error_class"], told["http_status"])


def events():
    """What Anthropic's stream says."""
    begun = Object(input_tokens=10, output_tokens=1, cache_read_input_tokens=90)
    yield Object(type="message_start", message=Object(model="claude-haiku-4-5", usage=begun))
    yield Object(type="content_block_delta", delta=Object(text="hi"))
    yield Object(type="message_delta", usage=Object(output_tokens=25))


def test_a_generator_is_heard(logged, kept):
    """Each piece passes as it is; usage that comes in pieces is put together; the row is there at the end."""
    ask = logged(events)
    assert inspect.isgeneratorfunction(ask)
    stream = ask()
    assert inspect.isgenerator(stream)
    next(stream)
    assert [] == kept
    list(stream)

    assert [("success", 100, 25, 90, True, "claude-haiku-4-5")] == [
        (told["status"], told["usage"].input_tokens, told["usage"].output_tokens, told["usage"].cache_read_tokens,
         told["streamed"], told["model"]) for told in kept
    ]  # fmt: skip


def test_a_generators_whole_protocol(logged, kept):
    """What is sent and thrown arrives, what it returns is returned."""

    @logged
    def echo():
        heard = []
        while True:
            try:
                heard.append((yield len(heard)))
            except LookupError:
                return heard

    stream = echo()
    assert [0, 1, 2] == [next(stream), stream.send("a"), stream.send("b")]
    with pytest.raises(StopIteration) as end:
        stream.throw(LookupError())
    assert ["a", "b"] == end.value.value
    assert ["success"] == [told["status"] for told in kept]


def test_a_generator_that_is_left(logged, kept):
    """Closed early it is cancelled, with what it had told; of one that was never begun there is nothing to tell."""
    stream = logged(events)()
    next(stream)
    stream.close()
    logged(events)().close()

    assert [("cancelled", 100)] == [(told["status"], told["usage"].input_tokens) for told in kept]


def test_a_generator_that_a_function_returns(logged, kept):
    """Heard alike; and one that is thrown away unread ended as cancelled."""
    ask = logged(lambda: events())
    list(ask())
    assert inspect.isgenerator(ask())

    assert ["success", "cancelled"] == [told["status"] for told in kept]


class Stream:
    """An SDK's stream: an iterator, a context manager, with more of its own."""

    def __init__(self):
        self.pieces = events()
        self.closed = False
        self.response = "headers"

    def __iter__(self):
        return self

    def __next__(self):
        return next(self.pieces)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self.close()

    def close(self):
        """Close it."""
        self.closed = True


def test_an_sdks_stream_is_heard(logged, kept):
    """What comes back passes for the stream: its class, its attributes, its way of closing."""
    inner = Stream()
    ask = logged(lambda: inner)
    with ask() as stream:
        assert isinstance(stream, Stream)
        assert "headers" == stream.response
        stream.mark = 7
        pieces = list(stream)

    assert (3, True, 7) == (len(pieces), inner.closed, inner.mark)
    assert [("success", 25)] == [(told["status"], told["usage"].output_tokens) for told in kept]


def test_an_sdks_stream_that_fails_or_is_left(logged, kept):
    """The error passes and is told; so is an early close, once."""

    class Broken(Stream):
        def __next__(self):
            raise APIStatusError(500)

    with pytest.raises(APIStatusError):
        next(logged(Broken)())
    stream = logged(Stream)()
    next(stream)
    stream.close()
    stream.close()

    assert [("error", 500), ("cancelled", None)] == [(told["status"], told["http_status"]) for told in kept]


def test_coroutines_are_refused(logged):
    """With the way that works."""

    async def ask():
        return CHAT

    with pytest.raises(ConfigError, match=r"ask is a coroutine; write `with ledger.log_call"):
        logged(ask)


def test_a_ledger_that_fails_is_felt_by_nobody(caplog):
    """Neither in keeping nor in reading what was consumed."""

    class Odd:
        @property
        def usage(self):
            raise RuntimeError("no")

    def keep(told):
        raise OSError("disk full")

    odd = Odd()
    assert odd is log_calls(lambda: LoggedCall(keep, ManualClock(), {}))(lambda: odd)()
    assert 2 == len([record for record in caplog.records if "the call is not affected" in record.message])


def test_into_the_ledger(ledger):
    """With its time, its cost by the catalog, and its attempt; facts say whose it was."""
    ledger.clock = clock = ManualClock()
    with ledger.log_call("openai", "gpt-4o-mini", origin="script", metadata={"job": 7}) as call:
        clock.advance(0.25)
        call.chunk({"choices": []})
        clock.advance(0.75)
        call.usage(CHAT)
    with pytest.raises(APIStatusError), ledger.log_call("openai", "gpt-4o-mini"):
        raise APIStatusError(429)
    assert ledger.flush()
    failed, made = sorted(ledger.list_recent_calls(), key=lambda call: call.status == "success")
    attempt = ledger.get_attempts(made.id)[0]

    assert ("success", 1000, 400, 1.0, 0.25, True, "script", {"job": 7}) == (
        made.status, made.input_tokens, made.cache_read_tokens, made.latency, made.first_token, made.streamed,
        made.origin, made.metadata)  # fmt: skip
    assert (Decimal("0.00015"), "priced") == (made.cost, made.cost_status)  # 600 fresh, 400 cached, 50 out
    assert (1, "success", made.cost) == (attempt.number, attempt.status, attempt.cost)
    assert ("rate_limited", "APIStatusError", 429) == (
        failed.status, failed.error_class, ledger.get_attempts(failed.id)[0].http_status)  # fmt: skip
    assert 2 == ledger.get_usage_stats(days=1).total_calls


def test_the_decorator_of_a_ledger(ledger):
    """Each call of the function is one of the ledger's."""

    @ledger.log_llm_call("anthropic", user="ada")
    def ask(question):
        return ANTHROPIC

    assert ANTHROPIC is ask("why")
    assert ANTHROPIC is ask("how")
    ledger.flush()

    assert [("anthropic", "claude-haiku-4-5", "ada", 1000)] * 2 == [
        (call.vendor, call.model, call.user, call.input_tokens) for call in ledger.list_recent_calls()
    ]
