"""Conversations and answers that nobody wrote, for properties that hold for every format."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from llmdispatcher import ImagePart, Message, ReasoningPart, Request, Response, TextPart, Tool, ToolCall, Usage
from llmdispatcher.types import EFFORTS

WORDS = st.text(min_size=1, max_size=12).filter(str.strip)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
OBJECTS = st.dictionaries(NAMES, st.none() | st.booleans() | st.integers(-9, 9) | WORDS | st.lists(WORDS, max_size=2), max_size=3)
SCHEMAS = st.dictionaries(NAMES, st.sampled_from([{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]), max_size=3).map(
    lambda fields: {"type": "object", "properties": fields, "required": sorted(fields), "additionalProperties": False}
)
PICTURES = st.builds(ImagePart, data=st.binary(min_size=1, max_size=8), media_type=st.sampled_from(["image/png", "image/jpeg"]))
TOOLS = st.lists(
    st.builds(Tool, name=NAMES, description=WORDS, parameters=SCHEMAS), min_size=1, max_size=3, unique_by=lambda tool: tool.name
)


@st.composite
def rounds(draw: Any, number: int, names: list[str]) -> list[Message]:
    """The user asks, the assistant answers, perhaps with calls that are answered in turn."""
    asked = draw(st.lists(st.builds(TextPart, text=WORDS) | PICTURES, min_size=1, max_size=3))
    said = draw(WORDS)
    called = draw(st.lists(st.tuples(st.sampled_from(names), OBJECTS), max_size=3)) if names else []
    calls = [ToolCall(name=name, arguments=json.dumps(given), id=f"call_{number}_{at}") for at, (name, given) in enumerate(called)]
    results = [Message.tool(draw(WORDS), call.id, name=call.name) for call in calls]
    return [Message.user(*asked), Message.assistant(said, tool_calls=calls), *results]


@st.composite
def requests(draw: Any) -> Request:
    """A conversation that ends with the user's word, and settings that most formats have."""
    tools = draw(st.just([]) | TOOLS)
    names = [tool.name for tool in tools]
    turns = [turn for number in range(draw(st.integers(0, 2))) for turn in draw(rounds(number, names))]
    system = [Message.system(draw(WORDS))] if draw(st.booleans()) else []
    schema = {"type": "json_schema", "json_schema": {"name": "answer", "schema": draw(SCHEMAS), "strict": True}}
    settings = {
        "temperature": st.floats(0, 1),
        "max_tokens": st.integers(2048, 9999),
        "top_p": st.floats(0.1, 1),
        "stop": st.lists(WORDS, min_size=1, max_size=2),
        "response_format": st.just(schema),
        "reasoning_effort": st.sampled_from(EFFORTS),
        "user": NAMES,
        "seed": st.integers(0, 99),
        "top_k": st.integers(1, 50),
        "frequency_penalty": st.floats(-2, 2),
    }
    if tools:
        one = st.sampled_from(names).map(lambda name: {"type": "function", "function": {"name": name}})
        settings |= {"tool_choice": st.sampled_from(["auto", "none", "required"]) | one, "parallel_tool_calls": st.booleans()}
    chosen = draw(st.lists(st.sampled_from(sorted(settings)), unique=True, max_size=4))
    return Request(
        "m-1", [*system, *turns, Message.user(draw(WORDS))], tools=tools, **{name: draw(settings[name]) for name in chosen}
    )


@st.composite
def responses(draw: Any) -> Response:
    """An answer of text, thoughts and calls, as any vendor might give it."""
    thought, said = draw(st.just("") | WORDS), draw(st.just("") | WORDS)
    given = draw(st.lists(st.tuples(NAMES, OBJECTS), max_size=3))
    calls = tuple(ToolCall(name=name, arguments=json.dumps(args), id=f"call_{at}") for at, (name, args) in enumerate(given))
    texts = [TextPart(text=said)] if said else []
    thoughts = [ReasoningPart(text=thought, signature="c2lnbmVk", origin=draw(st.none() | st.just("gemini")))] if thought else []
    read, out, cached = draw(st.integers(1, 999)), draw(st.integers(1, 999)), draw(st.integers(0, 9))
    return Response(
        content=said,
        reasoning=thought,
        parts=(*thoughts, *texts, *calls) if thoughts else (),
        tool_calls=calls,
        finish_reason="tool_calls" if calls else draw(st.sampled_from(["stop", "length"])),
        model="m-1",
        response_id="r-1",
        usage=Usage(input_tokens=read + cached, output_tokens=out, cache_read_tokens=cached),
    )
