"""Rate limits as callers feel them: elsewhere at once, or a wait that ends before the deadline."""

import pytest

from llmdispatcher import (
    Capabilities,
    DispatchError,
    Embeddings,
    RateLimit,
    RateLimitError,
    RateLimitRemaining,
    Request,
    Response,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.testing import FakeVendor, ManualClock

from ..cases import each
from .parts import dispatcher_of

REQUEST = Request("m", "hi")


class Counting:
    """A vendor that answers at once, and notes when."""

    capabilities = Capabilities(models=("m",))

    def __init__(self, name="v", rate_limit=None, rate_limit_remaining=None):
        self.name = name
        self.rate_limit = rate_limit
        self.rate_limit_remaining = rate_limit_remaining
        self.asked = []

    def send(self, request, deadline):
        self.asked.append(deadline.clock.monotonic())
        usage = Usage(input_tokens=10, output_tokens=10)
        return Response(content=self.name, finish_reason="stop", usage=usage, rate_limit_remaining=self.rate_limit_remaining)

    def stream(self, request, deadline):
        raise NotImplementedError

    def is_available(self):
        return True


def test_another_target_is_asked_rather_than_waited_for():
    """The first two calls fill the first vendor's minute."""
    made = dispatcher_of(Counting("a", RateLimit(requests_per_minute=2)), Counting("b"), clock=ManualClock(), timeout=120.0)

    assert ["a", "a", "b", "b"] == [made.send(REQUEST).content for _ in range(4)]


@each(
    "settings, seconds",
    {
        "until the first call is a minute old": ({"rate_limit": RateLimit(requests_per_minute=1)}, 60.0),
        "as the vendor says": ({"rate_limit_remaining": RateLimitRemaining(requests=0, requests_reset=5.0)}, 5.0),
    },
)
def test_without_another_target_the_call_waits(settings, seconds):
    """Nothing is sent before."""
    vendor = Counting(**settings)
    made = dispatcher_of(vendor, clock=ManualClock(), timeout=120.0)
    made.send(REQUEST)
    made.send(REQUEST)

    assert [0.0, seconds] == [round(at - vendor.asked[0], 3) for at in vendor.asked]


def test_no_wait_goes_past_the_deadline():
    """A place that comes too late is an error at once."""
    clock = ManualClock()
    made = dispatcher_of(Counting(rate_limit=RateLimit(requests_per_minute=1)), timeout=30.0, clock=clock)
    made.send(REQUEST)
    before = clock.monotonic()
    with pytest.raises(DispatchError, match="rate limit"):
        made.send(REQUEST)

    assert before == clock.monotonic()


def test_the_status_is_told():
    """In requests and tokens, after one call of twenty tokens."""
    made = dispatcher_of(
        Counting(rate_limit=RateLimit(requests_per_minute=9, tokens_per_minute=100)), clock=ManualClock(), timeout=120.0
    )
    made.send(REQUEST)
    status = made.get_rate_limit_status("v")

    assert (8, 80) == (status.requests_remaining, status.tokens_remaining)


def test_a_request_that_never_left_takes_no_place():
    """A connection that was refused used nothing up; the next call goes at once."""
    clock = ManualClock()
    vendor = Counting(rate_limit=RateLimit(requests_per_minute=1))
    answers = iter([VendorUnavailable("refused", sent=False, retry_here=False)])
    plain = vendor.send

    def send(request, deadline):
        for failure in answers:
            raise failure
        return plain(request, deadline)

    vendor.send = send
    made = dispatcher_of(vendor, clock=clock, timeout=120.0)
    before = clock.monotonic()
    with pytest.raises(VendorUnavailable):
        made.send(REQUEST)
    made.send(REQUEST)

    assert [before] == vendor.asked


class Embedding(FakeVendor):
    """A vendor whose script is for vectors."""

    def embed(self, request, deadline):
        self.send(Request(request.model, "hi"), deadline)
        return Embeddings(vectors=[[0.5]] * len(request.texts), usage=Usage())


def test_vectors_end_a_long_wish_to_be_left_alone():
    """After a minute one call tries it; when that has its vectors, all others are let through as well."""
    clock = ManualClock()
    vendor = Embedding(RateLimitError("slow down", status=429, retry_after=3_600.0), "vectors")
    made = dispatcher_of(vendor, timeout=5.0, clock=clock)
    for _ in range(2):
        with pytest.raises(RateLimitError):
            made.embed("m", "hi")
    clock.advance(61.0)
    vectors = [made.embed("m", "hi").vectors for _ in range(3)]

    assert ([((0.5,),)] * 3, 4) == ([tuple(map(tuple, each)) for each in vectors], vendor.hits)
