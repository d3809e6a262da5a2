"""Cache marks where a client has set none, in bodies of Anthropic's own format and in requests for other formats.

At most four places get one, which is what Anthropic takes: behind the tools, the instructions, and the last two turns of the user.
The next request of a session finds what this one wrote: its last mark but one stands where the last one stands here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import attrs

from ...types import FilePart, ImagePart, Message, Request, TextPart, Tool
from ...wire import ANTHROPIC_MESSAGES, OPENAI_CHAT

MARK = {"type": "ephemeral"}
_MARKED = frozenset({"text", "image", "document", "tool_result"})
"""Kinds of blocks that take a mark."""
_FIELD = "cache_control"
_TIME, _TIMES = "5m", ("5m", "1h")
_Marked = TypeVar("_Marked", bound=Request[Any])


def is_worth_marks(tools: Sequence[Any], roles: Sequence[Any]) -> bool:
    """Whether a request gets marks: a question without tools and history gets none, since a mark costs."""
    return bool(tools) or "assistant" in roles


def _ends_of_turns(roles: Sequence[Any]) -> list[int]:
    """The places where the last two turns of the user, or of tools, end."""
    following = [*roles[1:], "assistant"]
    return [place for place, role in enumerate(roles) if role in ("user", "tool") and following[place] == "assistant"][-2:]


def marks_for(body: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """The values of a body that get marks, by their path, with all their fields; the rest of the body stays as it came."""
    tools, messages = _objects(body.get("tools")), _objects(body.get("messages"))
    roles = [message.get("role") for message in messages]
    if not messages or not is_worth_marks(tools, roles):
        return {}
    found: dict[tuple[str, ...], Any] = {}
    own = [place for place, tool in enumerate(tools) if "input_schema" in tool]
    if own:
        found["tools",] = [{**tool, _FIELD: MARK} if place == own[-1] else tool for place, tool in enumerate(tools)]
    if (system := _with_mark(body.get("system"))) is not None:
        found["system",] = system
    turns = list(messages)
    for place in _ends_of_turns(roles):
        if (content := _with_mark(turns[place].get("content"))) is not None:
            turns[place] = {**turns[place], "content": content}
    found["messages",] = turns
    return found


def _objects(value: Any) -> list[Mapping[str, Any]]:
    """A list of objects; empty for anything else."""
    return value if isinstance(value, list) and all(isinstance(one, dict) for one in value) else []


def _with_mark(content: Any) -> list[Any] | None:
    """A text or a list of blocks with a mark at its end; ``None`` where it has no place for one."""
    if isinstance(content, str):
        return [{"type": "text", "text": content, _FIELD: MARK}] if content.strip() else None
    if not isinstance(content, list) or not content or not isinstance(content[-1], dict):
        return None
    last = content[-1]
    if last.get("type") not in _MARKED or (last["type"] == "text" and not str(last.get("text", "")).strip()):
        return None
    return [*content[:-1], {**last, _FIELD: MARK}]


def with_marks(request: _Marked, *, own: bool) -> _Marked:
    """The request with cache marks where its client has set none.

    ``own`` says that Anthropic itself is asked, which has marks on results of tools.
    """
    if request.prompt_cache is not None or _has_marks(request):
        return request
    changes: dict[str, Any] = {}
    last = next((tool for tool in reversed(request.tools) if isinstance(tool, Tool)), None)
    if last is not None:
        changes["tools"] = [attrs.evolve(last, cache=_TIME) if tool is last else tool for tool in request.tools]
    messages = list(request.messages)
    system = [place for place, message in enumerate(messages) if message.role in ("system", "developer")]
    for place in [*system[-1:], *_ends_of_turns([message.role for message in messages])]:
        if (marked := _marked(messages[place], own=own)) is not None:
            messages[place] = marked
    changes["messages"] = messages
    if request.prompt_cache_key is not None and own:
        changes["prompt_cache_key"] = None  # the marks are what Anthropic has in its place
    return attrs.evolve(request, **changes)


def with_placed_marks(request: _Marked, *, own: bool) -> _Marked:
    """The request with marks that stand at messages of OpenAI's format, as opencode and LiteLLM set them, at their last parts.

    A mark that says what no vendor takes, or has nothing that it could stand at, is left out.
    """
    if not any(_FIELD in message.extra.get(OPENAI_CHAT.name, {}) for message in request.messages):
        return request
    return attrs.evolve(request, messages=[_placed(message, own=own) for message in request.messages])


def _placed(message: Message, *, own: bool) -> Message:
    further = message.extra.get(OPENAI_CHAT.name, {})
    if _FIELD not in further:
        return message
    left = {name: value for name, value in further.items() if name != _FIELD}
    plain = attrs.evolve(message, extra={**message.extra, OPENAI_CHAT.name: left})
    mark = further[_FIELD]
    time = mark.get("ttl", _TIME) if isinstance(mark, Mapping) and mark.get("type") == MARK["type"] else None
    return (_marked(plain, own=own, time=time) if time in _TIMES else None) or plain


def _marked(message: Message, *, own: bool, time: str = _TIME) -> Message | None:
    """The message with a mark at its end; ``None`` where it has no place for one."""
    if message.role == "tool" and own:
        mark = MARK if time == _TIME else {**MARK, "ttl": time}
        further = {**message.extra.get(ANTHROPIC_MESSAGES.name, {}), _FIELD: mark}
        return attrs.evolve(message, extra={**message.extra, ANTHROPIC_MESSAGES.name: further})
    if isinstance(message.content, str):
        if not message.content.strip():
            return None
        return attrs.evolve(message, content=(TextPart(text=message.content, cache=time),))
    last = message.content[-1] if message.content else None
    if not isinstance(last, TextPart | ImagePart | FilePart) or (isinstance(last, TextPart) and not last.text.strip()):
        return None
    return attrs.evolve(message, content=(*message.content[:-1], attrs.evolve(last, cache=time)))


def _has_marks(request: Request[Any]) -> bool:
    things: list[Any] = [*request.tools]
    for message in request.messages:
        things += [message, *(message.content if not isinstance(message.content, str) else ()), *message.tool_calls]
    return any(getattr(thing, "cache", None) is not None or _is_marked(thing) for thing in things)


def _is_marked(thing: Any) -> bool:
    """Whether a mark stands among what a format says further of a thing."""
    further = getattr(thing, "extra", None) or {}
    data = getattr(thing, "data", None)
    return any(_FIELD in fields for fields in further.values()) or (isinstance(data, Mapping) and _FIELD in data)
