"""What the simulated vendors say to the SDKs, and small requests to make them."""

from __future__ import annotations

import base64
from typing import Any

from llmdispatcher import Choice, Citation, ReasoningPart, Response, TextPart, ToolCall, Usage
from llmdispatcher.testing import SimulatedResponse

TEXT = "Grüße aus Zürich 🏔️\n\n“Quotes”, \\slashes\\, \u2028 and a tab\t: done"
OSLO = ToolCall(name="get_weather", arguments='{"city": "Oslo", "days": 3}', id="call_one")
LIMA = ToolCall(name="get_weather", arguments='{"city": "Lima ☀", "days": 1}', id="call_two")
NOW = ToolCall(name="now", arguments="{}", id="call_three")
CALLS = SimulatedResponse("I look it up.", tool_calls=(OSLO, LIMA, NOW))
THOUGHT = SimulatedResponse("It is 42.", reasoning="Six times seven makes it.")
FORM = SimulatedResponse('{"city": "Oslo", "degrees": -3}')
WEATHER = {"city": "Oslo", "degrees": -3}

COUNTED = Usage(input_tokens=30, output_tokens=12, cache_read_tokens=20, reasoning_tokens=4)
REFUSED = Response(refusal="I cannot help with that.", finish_reason="stop", usage=COUNTED)
CITED = Response(
    content="It rains in Bergen.",
    citations=(Citation(url="https://weather.example/bergen", title="Bergen", text="It rains.", start=0, end=19),),
    usage=COUNTED,
)
CUSTOM = Response(tool_calls=(ToolCall(name="run", arguments="print('Grüße')", id="call_x", kind="custom"),), usage=COUNTED)
SEVERAL = Response(
    content="heads", other_choices=(Choice(index=1, content="tails", finish_reason="stop"),), finish_reason="stop", usage=COUNTED
)
LIKELY = Response(
    content="so", logprobs=({"token": "so", "logprob": -0.5, "bytes": [115, 111], "top_logprobs": []},), usage=COUNTED
)


def between(origin: str, **proof: str) -> Response:
    """A thought, a call, another thought, a text: as models with interleaved thinking answer."""
    thoughts = [ReasoningPart(text=text, origin=origin, **proof) for text in ("First the weather.", "So it is cold.")]
    return Response(
        content="Take a coat.",
        reasoning="First the weather.So it is cold.",
        tool_calls=(OSLO,),
        parts=(thoughts[0], OSLO, thoughts[1], TextPart(text="Take a coat.")),
        finish_reason="tool_calls",
        usage=COUNTED,
    )


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
