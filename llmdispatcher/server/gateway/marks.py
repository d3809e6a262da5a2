"""Cache marks in a body of Anthropic's own format whose client has set none.

Only the values that get a mark are written anew, with all their fields; the rest of the body stays as it came.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MARK = {"type": "ephemeral"}
_MARKED = frozenset({"text", "image", "document", "tool_result"})
"""Kinds of blocks that take a mark."""


def marks_for(body: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """The values with marks, by their path: behind the tools, the instructions, and the last two turns of the user.

    A question without tools and history gets none, since a mark costs. The next request of a session finds what this one wrote:
    its last mark but one stands where the last one stands here.
    """
    tools, messages = _objects(body.get("tools")), _objects(body.get("messages"))
    if not messages or not (tools or any(message.get("role") == "assistant" for message in messages)):
        return {}
    found: dict[tuple[str, ...], Any] = {}
    own = [place for place, tool in enumerate(tools) if "input_schema" in tool]
    if own:
        found["tools",] = [{**tool, "cache_control": MARK} if place == own[-1] else tool for place, tool in enumerate(tools)]
    if (system := _with_mark(body.get("system"))) is not None:
        found["system",] = system
    turns = list(messages)
    for place in _ends_of_turns(messages):
        if (content := _with_mark(turns[place].get("content"))) is not None:
            turns[place] = {**turns[place], "content": content}
    found["messages",] = turns
    return found


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """A list of objects; empty for anything else."""
    return value if isinstance(value, list) and all(isinstance(one, dict) for one in value) else []


def _ends_of_turns(messages: Sequence[Mapping[str, Any]]) -> list[int]:
    """The places where the last two turns of the user end."""
    ends = [
        place
        for place, message in enumerate(messages)
        if message.get("role") == "user" and (place + 1 == len(messages) or messages[place + 1].get("role") == "assistant")
    ]
    return ends[-2:]


def _with_mark(content: Any) -> list[Any] | None:
    """A text or a list of blocks with a mark at its end; ``None`` where it has no place for one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content, "cache_control": MARK}] if content.strip() else None
    if not isinstance(content, list) or not content or not isinstance(content[-1], dict):
        return None
    last = content[-1]
    if last.get("type") not in _MARKED or (last["type"] == "text" and not str(last.get("text", "")).strip()):
        return None
    return [*content[:-1], {**last, "cache_control": MARK}]
