"""The settings, and the rule that follows from them."""

from pathlib import Path

import attrs
import pytest

from llmdispatcher import Choice, ConfigError, Request, Response, ResponseCache, Tool, ToolCall

from .conftest import ANSWER, REQUEST

TOOL = Tool(name="f")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"enabled": "yes"}, "enabled: 'yes' is neither True nor False"),
        ({"ttl": 0}, "ttl: 0 is no time; give a number of seconds > 0"),
        ({"ttl": -1}, "ttl: -1"),
        ({"ttl": float("inf")}, "ttl: inf"),
        ({"ttl": None}, "ttl: None"),
        ({"max_entries": 0}, "max_entries: 0 leaves room for nothing"),
        ({"max_entries": 1.5}, "max_entries: 1.5"),
        ({"max_temperature": -1}, "max_temperature: -1"),
        ({"tools": 1}, "tools: 1"),
        ({"finish_reasons": "stop"}, "finish_reasons: 'stop' is not a list"),
        ({"max_entry_bytes": 0}, "max_entry_bytes: 0"),
        ({"store": ""}, "store: '' is no store"),
        ({"store": None}, "store: None is no store"),
        ({"store": ":memory:"}, "store: ':memory:' is no store; use 'memory'"),
        ({"store": "mysql://user:geheim@host/db"}, "store: 'mysql://user@host/db' is no store"),
        ({"store_timeout": 0}, "store_timeout: 0"),
        ({"tenant": 3}, "tenant: 3 names no tenant"),
        ({"tenant": ""}, "tenant: '' names no tenant"),
    ],
)
def test_a_wrong_setting_is_named(settings, text):
    """Field, value and remedy, and never a password."""
    with pytest.raises(ConfigError, match=text) as caught:
        ResponseCache(**settings)
    assert "geheim" not in str(caught.value)


def test_a_password_is_not_shown():
    """Neither in the address nor in its query."""
    shown = repr(ResponseCache(store="redis://user:geheim@host:6379/0?password=geheim"))

    assert "geheim" not in shown
    assert "redis://user@host:6379/0'" in shown


def test_a_path_is_a_store():
    """As an object, too."""
    assert "/var/cache/answers.db" == ResponseCache(store=Path("/var/cache/answers.db")).store


@pytest.mark.parametrize(
    ("settings", "fields", "ttl"),
    [
        ({}, {}, 3600.0),
        ({}, {"temperature": 0.0}, 3600.0),
        ({}, {"temperature": 0.1}, 3600.0),
        ({}, {"temperature": 0.2}, None),
        ({"max_temperature": None}, {"temperature": 2}, 3600.0),
        ({}, {"tools": [TOOL]}, None),
        ({"tools": True}, {"tools": [TOOL]}, 3600.0),
        ({}, {"extra_params": {"previous_response_id": "r"}}, None),
        ({}, {"extra_params": {"verbosity": "low"}}, 3600.0),
        ({}, {"cache": False}, None),
        ({}, {"cache": True, "temperature": 2, "tools": [TOOL]}, 3600.0),
        ({}, {"cache": {"ttl_seconds": 60}}, 60),
        ({}, {"cache": {"ttl_seconds": 60}, "temperature": 2}, 60),
        ({}, {"cache": {}, "temperature": 2}, None),
        ({}, {"cache": {"enabled": True, "ttl_seconds": 60}, "temperature": 2}, 60),
        ({}, {"cache": {"enabled": False, "ttl_seconds": 60}}, None),
        ({"enabled": False}, {"cache": True}, None),
        ({"ttl": 5}, {}, 5),
    ],
)
def test_what_is_cached_and_for_how_long(settings, fields, ttl):
    """The rule, what a request says over it, and the switch over both."""
    assert ttl == ResponseCache(**settings).ttl_of(Request("m", "hi", **fields))


@pytest.mark.parametrize(
    ("response", "kept"),
    [
        (ANSWER, True),
        (Response(content="by a vendor of one's own"), True),
        (Response(tool_calls=(ToolCall(name="f"),), finish_reason="tool_calls"), True),
        (Response(content="and then", finish_reason="length"), False),
        (Response(content="and then", finish_reason="content_filter"), False),
        (Response(content="and then", finish_reason="pause_turn"), False),
        (Response(content="", finish_reason="stop"), False),
        (Response(content="x", refusal="I will not.", finish_reason="stop"), False),
        (Response(content="x", finish_reason="stop", other_choices=(Choice(index=1, finish_reason="length"),)), False),
    ],
)
def test_what_is_worth_keeping(response, kept):
    """Whole answers only."""
    assert kept is ResponseCache().worth_keeping(response)


def test_the_reasons_can_be_set():
    """An answer that was cut off at the caller's own limit may be good enough."""
    assert ResponseCache(finish_reasons=["stop", "length"]).worth_keeping(attrs.evolve(ANSWER, finish_reason="length"))


def test_a_tenant_is_a_key_of_the_metadata_or_a_function():
    """Or nobody."""
    request = attrs.evolve(REQUEST, metadata={"tenant": "acme"})

    assert "acme" == ResponseCache(tenant="tenant").tenant_of(request)
    assert "ACME" == ResponseCache(tenant=lambda request: request.metadata["tenant"].upper()).tenant_of(request)
    assert ResponseCache(tenant="tenant").tenant_of(REQUEST) is ResponseCache().tenant_of(request) is None
