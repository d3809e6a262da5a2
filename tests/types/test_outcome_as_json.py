"""Outcomes, attempts and traces as JSON, and outcomes and attempts back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from llmdispatcher import (
    AllTargetsFailed,
    AttemptRecord,
    BudgetExceeded,
    Dispatcher,
    DispatchError,
    InvalidRequest,
    Outcome,
    RateLimitError,
    Request,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor

from ..cases import each


def outcomes_of(*vendors, request=None, streamed=False, **config):
    """The outcomes of one call, and what it brought."""
    found = []
    with Dispatcher({"retry_policy": {"max_retries": 0}, **config}, observers=[found.append]) as dispatcher:
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        request = request or Request("gpt-4o", "Why?")
        try:
            brought = list(dispatcher.send_streaming(request)) if streamed else dispatcher.send(request)
        except DispatchError as error:
            brought = error
    return found, brought


def through(outcome):
    return Outcome.from_dict(json.loads(json.dumps(outcome.as_dict())))


def same(one, other):
    """Two errors of one class, with the same words and facts."""
    return (type(one), str(one), one.failure_class, one.possibly_billed) == (
        type(other),
        str(other),
        other.failure_class,
        other.possibly_billed,
    )


def test_an_answer_comes_back():
    """With usage, cost, attempts, who asked; what JSON cannot hold of metadata is a text."""
    request = Request("gpt-4o", "Why?", user="u", origin="o", metadata={"team": "a", "at": datetime(2026, 1, 1, tzinfo=UTC)})
    for streamed in (False, True):
        vendor = FakeVendor("Blue.", name="openai")
        vendor.kind = "openai"
        (outcome,), _ = outcomes_of(vendor, request=request, streamed=streamed)
        read = through(outcome)

        assert outcome.cost is not None
        assert {"team": "a", "at": "2026-01-01 00:00:00+00:00"} == read.metadata
        assert (outcome.usage, outcome.attempts, outcome.call_id, "u", "o") == (
            read.usage,
            read.attempts,
            read.call_id,
            read.user,
            read.origin,
        )
        assert outcome.as_dict() == read.as_dict()


@each(
    "vendors, kind",
    [
        ((FakeVendor(RateLimitError("slow down", status=429, retry_after=3.0, code="rate"), name="openai"),), RateLimitError),
        (
            (
                FakeVendor(VendorUnavailable("down", phase="connect", sent=False), name="openai"),
                FakeVendor(VendorUnavailable("gone"), name="b"),
            ),
            AllTargetsFailed,
        ),
        ((FakeVendor(ValueError("key"), name="openai"),), VendorUnavailable),
    ],
)
def test_a_failure_comes_back(vendors, kind):
    """As an error of its class with its words and facts, and with those of all who failed."""
    (outcome,), error = outcomes_of(*vendors, fallback_vendor=vendors[-1].name)
    read = through(outcome)

    assert isinstance(error, kind)
    assert same(outcome.error, read.error)
    assert outcome.attempts == read.attempts
    assert outcome.as_dict() == read.as_dict()
    assert getattr(error, "retry_after", None) == read.error.retry_after
    for one, other in zip(getattr(error, "failures", ()), getattr(read.error, "failures", ()), strict=True):
        assert same(one, other)


def test_facts_of_an_error_keep_their_types():
    """Money and dates."""
    error = BudgetExceeded("used up", budget="team", limit=Decimal("1.50"), ends=datetime(2026, 1, 2, tzinfo=UTC))
    (outcome,), _ = outcomes_of(FakeVendor(error))
    read = through(outcome).error

    assert ("team", Decimal("1.50"), datetime(2026, 1, 2, tzinfo=UTC), None) == (read.budget, read.limit, read.ends, read.spent)


def test_what_a_model_said_is_no_fact_of_its_error():
    """It stays out of queues and logs."""
    (outcome,), _ = outcomes_of(FakeVendor(["canary", VendorUnavailable("gone")]), streamed=True)

    assert outcome.error.partial.content == "canary"
    assert "canary" not in json.dumps(outcome.as_dict())
    assert type(outcome.error) is type(through(outcome).error)


def test_a_trace_is_json():
    """Of a call that was answered and of one that failed; its attempts can be read."""
    _, response = outcomes_of(FakeVendor("Blue.", name="openai"))
    _, error = outcomes_of(
        FakeVendor(VendorUnavailable("down")), FakeVendor(VendorUnavailable("down"), name="b"), fallback_vendor="b"
    )
    for trace in (response.trace, error.trace):
        written = json.loads(json.dumps(trace.as_dict()))
        assert written == trace.as_dict() | {"attempts": written["attempts"]}
        assert list(trace) == [AttemptRecord.from_dict(one) for one in written["attempts"]]
        assert list(trace) == [AttemptRecord.from_dict(one.as_dict()) for one in trace]


@each(
    "fields, told",
    [
        ({"errors": []}, "outcome: "),
        ({"error": {"type": "Nothing", "message": "x"}}, "outcome.error: 'Nothing' with its message is no error of this library"),
        ({"error": 3}, "outcome.error: int is no mapping"),
        (
            {"error": {"type": "BudgetExceeded", "message": "x", "limit": "dear"}},
            "outcome.error.limit: 'dear' is no text of US dollars",
        ),
        ({"error": {"type": "BudgetExceeded", "message": "x", "ends": "soon"}}, "outcome.error.ends: invalid value"),
        ({"attempts": [{"vendor": "a"}]}, "attemptrecord"),
        ({"attempts": 3}, "outcome.attempts: invalid value for type, expected an iterable"),
        ({"latency": "long"}, "outcome.latency"),
        ({"attempts": 3}, "outcome.attempts: "),
        ({"attempts": [3]}, "attemptrecord: "),
        ({"error": "x"}, "outcome.error: "),
        ({"error": {"type": "BudgetExceeded", "message": "x", "limit": "a"}}, "outcome.error.limit: "),
        ({"error": {"type": "BudgetExceeded", "message": "x", "ends": "a"}}, "outcome.error.ends: "),
        ({"error": {"type": "RateLimitError", "message": "x", "retry_after": "a"}}, "outcome.error.retry_after: "),
        ({"error": {"type": "AllTargetsFailed", "message": "x", "failures": [3]}}, "outcome.error.failures[0]: "),
    ],
)
def test_a_mistake_is_told(fields, told):
    """By its path."""
    (outcome,), _ = outcomes_of(FakeVendor("x"))
    with pytest.raises(InvalidRequest) as caught:
        Outcome.from_dict({**outcome.as_dict(), **fields})
    assert told in str(caught.value)
    for kind in (Outcome, AttemptRecord):
        with pytest.raises(InvalidRequest, match="is no mapping"):
            kind.from_dict(None)
