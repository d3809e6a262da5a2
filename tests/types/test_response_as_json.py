"""Responses as JSON and back: nothing is lost but what is said to be, and a wrong mapping is told by its path."""

from __future__ import annotations

import itertools
import json
import math
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import Dispatcher, InvalidRequest, RateLimitRemaining, Request, Response, Usage
from llmdispatcher.testing import FakeVendor

from ..cache.test_entries import FULL
from ..cases import each


def through(response):
    """The response, written as JSON text and read again."""
    return Response.from_dict(json.loads(json.dumps(response.as_dict())))


@each("response", {"empty": Response(), "plain": Response(content="x", usage=Usage(input_tokens=3)), "full": FULL})
def test_everything_comes_back(response):
    """Parts and calls of every kind, bytes, costs and dates."""
    assert attrs.evolve(response, parsed=None, trace=None) == through(response)


def test_of_a_call():
    """With its cost and its details; parts tell their type."""
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor("It is blue.", name="openai"))
        response = dispatcher.send(Request("gpt-4o", "Why?"))
    written = response.as_dict()

    assert attrs.evolve(response, trace=None) == through(response)
    assert {"content": "It is blue.", "vendor": "openai"}.items() <= written.items()
    assert {"trace", "parsed", "refusal"}.isdisjoint(written)


def test_recorded_answers(corpus):
    """Whatever vendors have said."""
    from ..wire.corpus import body_of, codec_of, exchanges, streamed

    count = 0
    for exchange in itertools.chain.from_iterable(exchanges().values()):
        if not streamed(exchange) and exchange["response"]["status"] == 200:
            response = codec_of(exchange).decode(body_of(exchange))
            assert response == through(response)
            count += 1
    assert count > 100


def test_odd_numbers_of_vendors_are_kept():
    """A vendor may say that less than nothing is left."""
    response = Response(
        rate_limit_remaining=RateLimitRemaining(requests=-1, requests_reset=0.5), usage=Usage(cost=Decimal("1.0000000000000000001"))
    )
    assert response == through(response)
    assert response == Response.from_dict(response.as_dict())


@each(
    "fields, told",
    [
        ({"contents": "x"}, "response: extra fields found (contents)"),
        ({"usage": {"input_tokens": "many"}}, "response.usage.input_tokens"),
        ({"usage": {"cost": "dear"}}, "response.usage.cost"),
        ({"parts": [{"type": "hologram"}]}, "response.parts[0]"),
        ({"parts": [{"type": "image", "data": "%"}]}, "response.parts[0].data"),
        ({"created_at": "soon"}, "response.created_at"),
        (3, "response: int is no mapping"),
        ({1: 2}, "response: the key 1 is no text"),
        ({"usage": {1: 2}}, "response.usage: extra fields found (1)"),
        ({"usage": 3}, "response.usage: invalid value for type, expected Usage"),
        ({"content": None}, "response.content: NoneType is no text"),
        ({"cached": "no"}, "response.cached: 'no' is no true or false"),
        ({"latency": "nan"}, "response.latency: 'nan' is no number"),
        ({"latency": math.nan}, "response.latency: nan is no number"),
        ({"dropped": "seed"}, "response.dropped: str is no list of texts"),
        ({"usage": {"input_tokens": 10**400}}, "response.usage.input_tokens"),
        ({"usage": {"input_tokens": True}}, "response.usage.input_tokens"),
        ({"usage": {"cost": "NaN"}}, "response.usage.cost: 'NaN' is no text of US dollars"),
        ({"usage": {"cost": "1e999999"}}, "response.usage.cost"),
        ({"usage": {"cost": 0.1}}, "response.usage.cost: float is no text of US dollars"),
    ],
)
def test_a_mistake_is_told_by_its_path(fields, told):
    """As all bad input is."""
    with pytest.raises(InvalidRequest) as caught:
        Response.from_dict(fields)
    assert told in str(caught.value)
