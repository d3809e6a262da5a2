"""What is said in a conversation: its turns and the tools that a model may ask for.

The model is complete for every format; what a given codec cannot express it refuses with an
:class:`~llmdispatcher.errors.InvalidRequest` that names the part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .errors import InvalidRequest
from .fast_init import fast_init
from .parts import (
    AudioPart,
    Extra,
    FilePart,
    ImagePart,
    OtherPart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCall,
    VideoPart,
    cache_time,
    part_from_dict,
)

__all__ = [
    "ROLES",
    "AudioPart",
    "Content",
    "FilePart",
    "ImagePart",
    "Message",
    "OtherPart",
    "Part",
    "ReasoningPart",
    "TextPart",
    "Tool",
    "ToolCall",
    "VendorTool",
    "VideoPart",
]

ROLES = ("system", "developer", "user", "assistant", "tool")


@attrs.frozen(kw_only=True)
class Tool:
    """A function that a model may ask for; ``parameters`` is the JSON schema of its arguments.

    ``cache`` asks to remember the tools up to this one; ``extra`` holds further fields by wire format.
    """

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    strict: bool | None = None
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)

    @classmethod
    def from_dict(cls, tool: Mapping[str, Any]) -> Tool:
        """Read OpenAI's ``{"type": "function", "function": {...}}`` or the bare function object."""
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise InvalidRequest(
                "tools: a tool has no name; give {'name': ..., 'parameters': {...}} or OpenAI's {'type': 'function', ...}"
            )
        return cls(
            name=function["name"],
            description=function.get("description"),
            parameters=function.get("parameters") or {},
            strict=function.get("strict"),
        )


@attrs.frozen(kw_only=True)
class VendorTool:
    """A tool that the vendor itself runs, such as its web search; ``data`` is its entry in the format ``origin``."""

    origin: str
    data: Mapping[str, Any]


Content = str | tuple[Part, ...]


def _content(value: Any) -> Content:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return tuple([_part(item) for item in value])
    raise InvalidRequest(f"message.content: {type(value).__name__} is not text; give a string or a list of parts")


def _part(item: Any) -> Part:
    if isinstance(item, Part):
        return item
    if isinstance(item, str):
        return TextPart(text=item)
    if isinstance(item, Mapping):
        return part_from_dict(item)
    raise InvalidRequest(
        f"message.content: a {type(item).__name__} is not a part; use a string, a part object or {{'type': 'text', 'text': ...}}"
    )


def _tool_calls(value: Any) -> tuple[ToolCall, ...]:
    if value is None or value == ():
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise InvalidRequest(f"message.tool_calls: {type(value).__name__} is not a list of calls; give [ToolCall(...), ...]")
    return tuple([call if isinstance(call, ToolCall) else _tool_call(call) for call in value])


def _tool_call(call: Any) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping):
        raise InvalidRequest("message.tool_calls: a call is neither a ToolCall nor OpenAI's {'id': ..., 'function': {...}}")
    return ToolCall(name=function.get("name", ""), arguments=function.get("arguments") or "", id=call.get("id"))


def _role(_instance: Any, _attribute: Any, value: str) -> None:
    if value not in ROLES:
        raise InvalidRequest(f"message.role: {value!r} is not a role; use one of {', '.join(ROLES)}")


@fast_init
@attrs.frozen(weakref_slot=False)
class Message:
    """One turn of a conversation.

    ``content`` is text or a sequence of parts. An assistant's turn may consist of ``tool_calls`` alone; they come after what was
    said, and a call that came in between stands in ``content`` as well. A turn of role ``"tool"`` answers the call named by
    ``tool_call_id``. ``extra`` holds further fields by wire format.
    """

    role: str = attrs.field(validator=_role)
    content: Content = attrs.field(default="", converter=_content)
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_tool_calls)
    tool_call_id: str | None = None
    is_error: bool | None = None
    extra: Extra = attrs.field(factory=dict, repr=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if type(self.content) is tuple and any(isinstance(part, ToolCall) for part in self.content):
            self._settle_calls(self.content)
        if not self.content and not self.tool_calls and self.role not in ("assistant", "tool"):
            raise InvalidRequest(f"message.content: a {self.role} message is empty; give it text or parts")
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequest(f"message.tool_calls: a {self.role} message cannot call tools; only an assistant's can")

    def _settle_calls(self, content: tuple[Part, ...]) -> None:
        """All calls are in ``tool_calls``; only one that something was said after stays in its place in ``content``."""
        inside = tuple([part for part in content if isinstance(part, ToolCall)])
        after = tuple([call for call in self.tool_calls if call not in inside])
        end = len(content)
        while end and isinstance(content[end - 1], ToolCall):
            end -= 1
        object.__setattr__(self, "content", content[:end])
        object.__setattr__(self, "tool_calls", inside + after)

    @property
    def text(self) -> str:
        """The text of all text parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join([part.text for part in self.content if isinstance(part, TextPart)])

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything of this turn in order, calls included; text alone is one part."""
        if isinstance(self.content, str):
            said: tuple[Part, ...] = (TextPart(text=self.content),) if self.content else ()
            return (*said, *self.tool_calls)
        placed = sum([isinstance(part, ToolCall) for part in self.content])
        return (*self.content, *self.tool_calls[placed:])

    @classmethod
    def system(cls, *content: str | Part) -> Message:
        """Instructions that hold for the whole conversation."""
        return cls("system", _joined(content))

    @classmethod
    def user(cls, *content: str | Part) -> Message:
        """What the user says: text, parts, or a mix."""
        return cls("user", _joined(content))

    @classmethod
    def assistant(cls, *content: str | Part, tool_calls: Sequence[ToolCall] = ()) -> Message:
        """What the model said in an earlier turn."""
        return cls("assistant", _joined(content), tool_calls=tool_calls)

    @classmethod
    def tool(cls, content: str, tool_call_id: str | None = None, *, name: str | None = None) -> Message:
        """The result of a tool call."""
        return cls("tool", content, name=name, tool_call_id=tool_call_id)

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> Message:
        """Read the plain form ``{"role": ..., "content": ...}``; raises :class:`InvalidRequest` that names a wrong key."""
        unknown = message.keys() - _MESSAGE_KEYS
        if unknown:
            raise InvalidRequest(f"messages: unknown key {sorted(unknown)[0]!r}; a message has {', '.join(sorted(_MESSAGE_KEYS))}")
        if "role" not in message:
            raise InvalidRequest(f"messages: {sorted(message)!s} has no 'role'; use one of {', '.join(ROLES)}")
        return cls(**message)


_MESSAGE_KEYS = frozenset(field.name for field in attrs.fields(Message))


def _joined(content: tuple[str | Part, ...]) -> str | tuple[str | Part, ...]:
    return content[0] if len(content) == 1 and isinstance(content[0], str) else content
