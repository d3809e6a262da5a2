"""Observers: what they hear when a call begins and before a vendor is asked, and the headers that they add."""

from __future__ import annotations

import contextlib

import pytest

from llmdispatcher import (
    Config,
    Dispatcher,
    DispatchError,
    Observer,
    OpenAIVendor,
    PersonalDataGuard,
    Request,
    RetryPolicy,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, VendorSimulator

ASK = Request("m", "Why?", origin="shop")
DOWN = VendorUnavailable("down", status=503)


class Ear(Observer):
    """Keeps what it hears."""

    def __init__(self):
        self.calls, self.attempts, self.records, self.outcomes = [], [], [], []

    def on_call_start(self, start):
        self.calls.append(start)

    def on_attempt_start(self, start):
        self.attempts.append(start)

    def on_attempt(self, record):
        self.records.append(record)

    def on_outcome(self, outcome):
        self.outcomes.append(outcome)


def heard(*vendors, ask=lambda dispatcher: dispatcher.send(ASK), **settings):
    """What an observer hears of a call to these vendors."""
    ear = Ear()
    with Dispatcher(
        Config(retry_policy=RetryPolicy(max_retries=1, initial_delay=0.001), **settings), observers=[ear]
    ) as dispatcher:
        for number, outcomes in enumerate(vendors):
            dispatcher.register_vendor(FakeVendor(*outcomes, name="ab"[number]))
        with contextlib.suppress(DispatchError):
            ask(dispatcher)
    return ear


def test_a_call_and_its_attempts_have_one_name():
    """Each attempt is heard of before it, with what it is."""
    ear = heard([DOWN, DOWN], [DOWN, "yes"])
    [call], [outcome] = ear.calls, ear.outcomes

    assert (ASK, False, None, "shop") == (call.request, call.streamed, call.timeout, call.origin)
    assert {call.call_id} == {outcome.call_id, *[one.call_id for one in (*ear.attempts, *ear.records)]}
    assert [(one.number, one.vendor, one.model, one.retry, one.failover) for one in ear.records] == [
        (one.number, one.vendor, one.model, one.retry, one.failover) for one in ear.attempts
    ]
    assert len(ear.attempts) > 2
    assert sorted(one.started for one in ear.attempts) == [one.started for one in ear.attempts]
    assert call.started_at.utcoffset() is not None


@pytest.mark.parametrize(
    ("ask", "streamed", "timeout"),
    [
        (lambda dispatcher: dispatcher.send(ASK, timeout=9), False, 9),
        (lambda dispatcher: dispatcher.send_streaming(ASK).response(), True, None),
        (lambda dispatcher: list(dispatcher.send_streaming(ASK, timeout=7)), True, 7),
    ],
    ids=["plain", "stream", "stream, read"],
)
def test_every_way_of_calling(ask, streamed, timeout):
    """A stream's attempts are heard of in its own thread."""
    ear = heard(["yes"], ask=ask)

    assert [(streamed, timeout)] == [(call.streamed, call.timeout) for call in ear.calls]
    assert (1, 1, 1) == (len(ear.attempts), len(ear.records), len(ear.outcomes))


def test_a_call_that_asks_nobody_begins_and_ends():
    """An answer from the cache, and a model that nobody has."""
    ear = heard(["yes"], cache=True, ask=lambda dispatcher: [dispatcher.send(ASK) for _ in range(2)])
    lost = heard([], ask=lambda dispatcher: dispatcher.send(Request("anthropic:m", "x")))

    assert (2, 1, 2) == (len(ear.calls), len(ear.attempts), len(ear.outcomes))
    assert (1, 0, 1) == (len(lost.calls), len(lost.attempts), len(lost.outcomes))


def test_what_guards_mask_is_not_heard():
    """The request is the one that is sent."""
    ear = heard(
        ["yes"],
        guards=[PersonalDataGuard(kinds=["email"])],
        ask=lambda dispatcher: dispatcher.send(Request("m", "I am a@b.example")),
    )

    assert "a@b.example" not in str(ear.calls)


def test_headers_are_sent_along():
    """Never in place of the vendor's own."""

    class Tracing(Observer):
        def on_attempt_start(self, start):
            start.headers.update({"traceparent": f"00-{start.call_id}-{start.number:016x}-01", "AUTHORIZATION": "Bearer other"})

    with VendorSimulator() as simulator, Dispatcher(observers=[Tracing()]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-mine", base_url=simulator.openai_url))
        dispatcher.send(Request("gpt-4o-mini", "Why?"))
        dispatcher.send_streaming(Request("gpt-4o-mini", "Why?")).response()
        dispatcher.embed("text-embedding-3-small", "Why?")

    assert 3 == len(simulator.requests)
    for request in simulator.requests:
        assert request.headers["traceparent"].startswith("00-")
        assert "Bearer sk-mine" == request.headers["authorization"]


def test_a_header_that_is_none_is_refused():
    """As one of the vendor's settings is; it is never sent."""

    class Splitting(Observer):
        def on_attempt_start(self, start):
            start.headers["x-evil"] = "a\r\nx-other: b"

    with VendorSimulator() as simulator, Dispatcher(observers=[Splitting()]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-mine", base_url=simulator.openai_url))
        with pytest.raises(DispatchError, match="x-evil"):
            dispatcher.send(Request("gpt-4o-mini", "Why?"))

    assert [] == simulator.requests


def test_one_that_raises_is_felt_by_nobody(caplog):
    """As with the other events."""

    class Broken(Observer):
        def on_call_start(self, start):
            raise RuntimeError("no start for me")

        def on_attempt_start(self, start):
            raise RuntimeError("no attempt for me")

    with Dispatcher(observers=[Broken()]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("yes"))
        assert "yes" == dispatcher.send(ASK).content
    assert "no start for me" in caplog.text
    assert "no attempt for me" in caplog.text
