"""Models that a request names beside its own, which a vendor may ask and bill: a budget reserves the dearest."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ..cases import each
from .conftest import HELLO

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
ASKED = {
    CHAT: {**HELLO, "max_tokens": 100},
    MESSAGES: {"model": "claude-haiku-4-5", "max_tokens": 100, "messages": HELLO["messages"]},
    RESPONSES: {"model": "gpt-4o-mini", "max_output_tokens": 100, "input": "Why is the sky blue?"},
}
DEARER = [
    (CHAT, {"models": ["gpt-4o-mini", "gpt-5-pro"]}),
    (CHAT, {"fallbacks": [{"model": "gpt-5-pro"}]}),
    (MESSAGES, {"fallbacks": [{"model": "claude-opus-4-5"}]}),
    (MESSAGES, {"tools": [{"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-5"}]}),
    (RESPONSES, {"fallbackModels": ["gpt-5-pro"]}),
]


@each("strict", [False, True])
@each("path, more", DEARER)
def test_the_dearest_is_reserved(served, path, more, strict):
    """In every format; what vendors fall back to, and what their tools ask."""
    _, secret = served.app.keys.create("a key", budget="500/day", strict=strict)
    reserved = []
    for further in ({}, more):
        answer = served.post(path, {**ASKED[path], **further}, key=secret)
        assert 200 == answer.status_code, answer.text
        reserved.append(Decimal(answer.headers["x-llmdispatcher-reserved"]))

    assert reserved[1] > 3 * reserved[0]


@pytest.mark.parametrize("more", [{"models": ["nobody-knows-it"]}, {"models": "gpt-4o"}, {"fallbacks": [{"model": 7}]}])
def test_what_costs_nobody_knows_what_is_refused(served, more):
    """By keys with a budget; others may name what they like."""
    _, secret = served.app.keys.create("a key", budget="5/day")
    refused = served.post(CHAT, {**ASKED[CHAT], **more}, key=secret)

    assert (403, "model_unpriced") == (refused.status_code, refused.json()["error"]["code"])
    assert 200 == served.post(CHAT, {**ASKED[CHAT], **more}).status_code


def test_the_models_are_bounded(served):
    """Each is looked up."""
    _, secret = served.app.keys.create("a key", budget="5/day")
    refused = served.post(CHAT, {**ASKED[CHAT], "models": [f"m{number}" for number in range(17)]}, key=secret)

    assert (400, "models") == (refused.status_code, refused.json()["error"]["param"])


def test_a_budget_that_is_too_small_for_the_dearest_refuses(served):
    """Nothing is sent: the vendor might have asked that one."""
    _, secret = served.app.keys.create("a key", budget="0.001/day", strict=True)
    before = len(served.simulator.requests)
    refused = served.post(CHAT, {**ASKED[CHAT], "models": ["gpt-5-pro"]}, key=secret)

    assert (402, before) == (refused.status_code, len(served.simulator.requests))


def test_a_tool_asks_for_no_model_that_its_key_may_not(served):
    """A picture of another model, say."""
    _, secret = served.app.keys.create("a key", models=["gpt-4o-mini"])
    tools = [{"type": "image_generation", "model": "gpt-image-1"}]
    refused = served.post(RESPONSES, {**ASKED[RESPONSES], "tools": tools}, key=secret)

    assert (403, "model_not_allowed") == (refused.status_code, refused.json()["error"]["code"])
