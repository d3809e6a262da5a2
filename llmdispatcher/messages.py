"""What is said in a conversation: messages, their content parts, tools and tool calls.

The model is complete for every format; what a given codec cannot express it refuses with an
:class:`~llmdispatcher.errors.InvalidRequest` that names the part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from .errors import InvalidRequest

ROLES = ("system", "developer", "user", "assistant", "tool")


@attrs.frozen(kw_only=True)
class TextPart:
    """Plain text."""

    text: str


@attrs.frozen(kw_only=True)
class ImagePart:
    """An image, by ``url`` or as ``data`` (raw bytes, not base64) with its ``media_type``."""

    url: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    detail: str | None = None


@attrs.frozen(kw_only=True)
class FilePart:
    """A document such as a PDF, by ``url``, by the vendor's ``file_id``, or as ``data`` (raw bytes)."""

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    name: str | None = None


@attrs.frozen(kw_only=True)
class AudioPart:
    """A recording as ``data`` (raw bytes) in ``format`` ("wav", "mp3", ...)."""

    data: bytes = attrs.field(repr=False)
    format: str


@attrs.frozen(kw_only=True)
class ReasoningPart:
    """What a model thought, with what a vendor needs to get back unchanged in a tool loop.

    ``signature`` proves the text; ``encrypted`` stands in its place where a vendor hides it. ``origin`` is the wire format that it
    came in: only that one gets it back, since no other can make anything of it.
    """

    text: str = ""
    signature: str | None = attrs.field(default=None, repr=False)
    encrypted: str | None = attrs.field(default=None, repr=False)
    id: str | None = None
    origin: str | None = None


@attrs.frozen(kw_only=True)
class ToolCall:
    """A model's wish to have a function called. ``arguments`` is the raw text that the model wrote."""

    name: str
    arguments: str = ""
    id: str | None = None
    signature: str | None = attrs.field(default=None, repr=False)

    @property
    def parsed(self) -> Any:
        """The arguments as Python values; ``None`` for an empty text. Raises ``ValueError`` for text that is not JSON."""
        return json.loads(self.arguments) if self.arguments.strip() else None


@attrs.frozen(kw_only=True)
class Tool:
    """A function that a model may ask for; ``parameters`` is the JSON schema of its arguments."""

    name: str
    description: str | None = None
    parameters: Mapping[str, Any] = attrs.field(factory=dict)
    strict: bool | None = None

    @classmethod
    def from_dict(cls, tool: Mapping[str, Any]) -> Tool:
        """Read OpenAI's ``{"type": "function", "function": {...}}`` or the bare function object."""
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not function.get("name"):
            raise InvalidRequest(
                "tools: a tool has no name; give {'name': ..., 'parameters': {...}} or OpenAI's {'type': 'function', ...}"
            )
        return cls(
            name=function["name"],
            description=function.get("description"),
            parameters=function.get("parameters") or {},
            strict=function.get("strict"),
        )


Part = TextPart | ImagePart | FilePart | AudioPart | ReasoningPart
Content = str | tuple[Part, ...]


def _content(value: Any) -> Content:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return tuple(_part(item) for item in value)
    raise InvalidRequest(f"message.content: {type(value).__name__} is not text; give a string or a list of parts")


def _part(item: Any) -> Part:
    if isinstance(item, Part):
        return item
    if isinstance(item, str):
        return TextPart(text=item)
    if isinstance(item, Mapping):
        reader = _PART_READERS.get(item.get("type", ""))
        if reader is not None:
            return reader(item)
    raise InvalidRequest(
        f"message.content: a {_kind(item)} is not a part; use a string, a part object or {{'type': 'text', 'text': ...}}"
    )


def _kind(item: Any) -> str:
    return f"part of type {item.get('type')!r}" if isinstance(item, Mapping) else type(item).__name__


def _text_part(item: Mapping[str, Any]) -> Part:
    return TextPart(text=item.get("text", ""))


def _image_part(item: Mapping[str, Any]) -> Part:
    image = item.get("image_url")
    if isinstance(image, Mapping):
        return ImagePart(url=image.get("url"), detail=image.get("detail"))
    return ImagePart(url=image)


_PART_READERS = {"text": _text_part, "image_url": _image_part}


def _tool_calls(value: Any) -> tuple[ToolCall, ...]:
    return tuple(call if isinstance(call, ToolCall) else _tool_call(call) for call in value or ())


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    function = call.get("function", call)
    return ToolCall(name=function.get("name", ""), arguments=function.get("arguments") or "", id=call.get("id"))


def _role(_instance: Any, _attribute: Any, value: str) -> None:
    if value not in ROLES:
        raise InvalidRequest(f"message.role: {value!r} is not a role; use one of {', '.join(ROLES)}")


@attrs.frozen
class Message:
    """One turn of a conversation.

    ``content`` is text or a sequence of parts. An assistant's turn may consist of ``tool_calls`` alone; a turn of role
    ``"tool"`` answers the call named by ``tool_call_id``.
    """

    role: str = attrs.field(validator=_role)
    content: Content = attrs.field(default="", converter=_content)
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), converter=_tool_calls)
    tool_call_id: str | None = None
    is_error: bool | None = None

    def __attrs_post_init__(self) -> None:
        if not self.content and not self.tool_calls and self.role not in ("assistant", "tool"):
            raise InvalidRequest(f"message.content: a {self.role} message is empty; give it text or parts")
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequest(f"message.tool_calls: a {self.role} message cannot call tools; only an assistant's can")

    @property
    def text(self) -> str:
        """The text of all text parts, joined."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

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
