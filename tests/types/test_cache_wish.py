"""A request's own word about the cache is checked where it is made."""

import pytest

from llmdispatcher import InvalidRequest, Request
from llmdispatcher.types import CacheControl

from ..cases import each


@each(
    "value, wish",
    [
        (None, CacheControl(None, None)),
        (True, CacheControl(True, None)),
        (False, CacheControl(False, None)),
        ({}, CacheControl(None, None)),
        ({"enabled": False}, CacheControl(False, None)),
        ({"enabled": None, "ttl_seconds": None}, CacheControl(None, None)),
        ({"ttl_seconds": 0.5}, CacheControl(True, 0.5)),
        ({"enabled": None, "ttl_seconds": 60}, CacheControl(True, 60)),
        ({"enabled": False, "ttl_seconds": 60}, CacheControl(False, 60)),
        ({"enabled": True, "ttl_seconds": None}, CacheControl(True, None)),
        ({"enabled": True, "ttl_seconds": 60}, CacheControl(True, 60)),
    ],
)
def test_a_wish_is_read(value, wish):
    """A time alone is a wish for the cache; what says nothing is left to the dispatcher."""
    assert wish == CacheControl.of(Request("m", "hi", cache=value).cache)


@each(
    "value, text",
    [
        ("yes", "cache: 'yes' is no wish"),
        (1, "cache: 1 is no wish"),
        ({"ttl": 60}, "cache: unknown key 'ttl'; did you mean 'ttl_seconds'?"),
        ({"enabled": 1}, "cache.enabled: 1 is neither True nor False"),
        ({"ttl_seconds": 0}, "cache.ttl_seconds: 0 is not a number of seconds > 0"),
        ({"ttl_seconds": True}, "cache.ttl_seconds: True"),
        ({"ttl_seconds": "60"}, "cache.ttl_seconds: '60'"),
        ({"ttl_seconds": float("inf")}, "cache.ttl_seconds: inf"),
        ({"ttl_seconds": float("nan")}, "cache.ttl_seconds: nan"),
    ],
)
def test_a_wrong_wish_is_named(value, text):
    """Field, value and remedy."""
    with pytest.raises(InvalidRequest, match=text):
        Request("m", "hi", cache=value)
