"""Bodies that are nearly right, at every path: each is answered, and never by a failure of the gateway's own."""

from __future__ import annotations

import json

import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .test_gateway import ASKING
from .test_streams import STREAMED

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
BODIES = [
    *ASKING.values(),
    *STREAMED.values(),
    ("/v1/embeddings", {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 3}),
    ("/v1/messages/count_tokens", {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "Why?"}]}),
    ("/v1beta/models/gpt-4o-mini:countTokens", {"contents": [{"role": "user", "parts": [{"text": "Why?"}]}]}),
    ("/api/embed", {"model": "text-embedding-3-small", "input": "a"}),
    (
        "/v1/messages",
        {
            "model": "gpt-4o-mini",
            "max_tokens": 9,
            "system": [{"type": "text", "text": "Be short."}],
            "tools": [{"name": "read", "description": "Reads.", "input_schema": {"type": "object", "properties": {}}}],
            "tool_choice": {"type": "auto"},
            "thinking": {"type": "enabled", "budget_tokens": 1024},
            "metadata": {"user_id": "u"},
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Read it."}]},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "read", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "short"}]},
            ],
        },
    ),
]
FAILED = (b"the gateway failed", b'"internal"')


def places(value, path=()):
    """The path of every value within a document."""
    yield path
    for name, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, name))


def put(value, path, new):
    """A document with another value at a path."""
    if not path:
        return new
    changed = dict(value) if isinstance(value, dict) else list(value)
    changed[path[0]] = put(value[path[0]], path[1:], new)
    return changed


@st.composite
def broken(draw):
    """A path, and a body of which one to three values are something else."""
    path, body = draw(st.sampled_from(BODIES))
    for _ in range(draw(st.integers(1, 3))):
        body = put(body, draw(st.sampled_from(list(places(body)))), draw(JSON))
    return path, body


@settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(asked=broken())
def test_no_body_is_a_failure_of_the_gateway(served, asked):
    """400, 403, 404 or 422, or an answer; what a simulated vendor refuses is the client's mistake, too."""
    path, body = asked
    answer = requests.post(served.url + path, json=None, data=json.dumps(body), headers={"x-api-key": served.key}, timeout=60)

    assert answer.status_code < 500, (path, body, answer.text)
    assert not any(word in answer.content for word in FAILED), (path, body, answer.text)
