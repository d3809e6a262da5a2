"""What the simulated vendors say to the SDKs, and small requests to make them."""

from __future__ import annotations

import base64
from typing import Any

from llmdispatcher.messages import ToolCall
from llmdispatcher.testing import Answer

TEXT = "Grüße aus Zürich 🏔️\n\n“Quotes”, \\slashes\\, \u2028 and a tab\t: done"
OSLO = ToolCall(name="get_weather", arguments='{"city": "Oslo", "days": 3}', id="call_one")
LIMA = ToolCall(name="get_weather", arguments='{"city": "Lima ☀", "days": 1}', id="call_two")
NOW = ToolCall(name="now", arguments="{}", id="call_three")
CALLS = Answer("I look it up.", tool_calls=(OSLO, LIMA, NOW))
THOUGHT = Answer("It is 42.", reasoning="Six times seven makes it.")
FORM = Answer('{"city": "Oslo", "degrees": -3}')
WEATHER = {"city": "Oslo", "degrees": -3}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}
PICTURE = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
ENCODED = base64.b64encode(PICTURE).decode()


def told_calls(*calls: ToolCall) -> list[dict[str, str | None]]:
    """Calls as OpenAI's SDK tells them."""
    return [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in calls]
