"""Messages of a conversation, their parts (text, media, reasoning, tool calls), and tools.

The model covers every format. What a codec cannot express, it refuses with an :class:`~llmdispatcher.InvalidRequest` that names the
part. ``extra`` holds, by the name of a wire format, the fields of a part that have no name here; only that format writes them back.
Plain dicts in OpenAI's chat format are accepted too (:func:`part_from_dict`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

import attrs

from ..errors import InvalidRequest
from .extra_params import texts_in
from .json_text import has_null, parse_text
from .keywords import choices, suggest

Extra = Mapping[str, Mapping[str, Any]]
"""Further fields, by wire format."""

CACHE_TIMES = (None, "5m", "1h")
"""How long a vendor is asked to remember what comes up to and with a part."""


def cache_time(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate a cache mark."""
    if value not in CACHE_TIMES:
        raise InvalidRequest(f"{attribute.name}: {value!r} is not a cache time; use '5m', '1h' or None")


@suggest
@attrs.frozen(kw_only=True)
class TextPart:
    """Plain text."""

    text: str
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)


@suggest
@attrs.frozen(kw_only=True)
class ImagePart:
    """An image, by ``url``, by the vendor's ``file_id``, or as ``data`` (raw bytes, not base64) with its ``media_type``.

    ``vendor`` is the name of the one that has the file: no other is asked.
    """

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    detail: str | None = None
    vendor: str | None = None
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)


@suggest
@attrs.frozen(kw_only=True)
class FilePart:
    """A document such as a PDF, by ``url``, by the vendor's ``file_id``, or as ``data`` (raw bytes).

    ``vendor`` is the name of the one that has the file: no other is asked.
    """

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    name: str | None = None
    vendor: str | None = None
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)


@suggest
@attrs.frozen(kw_only=True)
class AudioPart:
    """A recording as ``data`` (raw bytes) in ``format`` ("wav", "mp3", ...); ``transcript`` is what an answer says in it."""

    data: bytes = attrs.field(repr=False)
    format: str
    transcript: str | None = None
    extra: Extra = attrs.field(factory=dict, repr=False)


@suggest
@attrs.frozen(kw_only=True)
class VideoPart:
    """A film, by ``url`` or as ``data`` (raw bytes) with its ``media_type``."""

    url: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    extra: Extra = attrs.field(factory=dict, repr=False)


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
    extra: Extra = attrs.field(factory=dict, repr=False)


@suggest
@attrs.frozen(kw_only=True)
class OtherPart:
    """A block that only the wire format ``origin`` knows, such as a vendor's own tool at work; ``data`` is the block as it was."""

    origin: str
    data: Mapping[str, Any] = attrs.field(repr=False)


def _arguments(value: str | Mapping[str, Any] | None) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    try:
        if isinstance(value, Mapping):
            return json.dumps(dict(value), ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"tool call: its arguments cannot be written as JSON ({error}); use plain values in them") from None
    raise InvalidRequest(f"tool call: its arguments are {type(value).__name__}; give the text that the model wrote, or a dict")


@suggest
@attrs.frozen(kw_only=True)
class ToolCall:
    """A call of a function that a model asks for. ``arguments`` is the raw text that the model wrote; a dict becomes that text.

    ``kind`` is ``"function"``, whose arguments are JSON, or ``"custom"``, whose arguments are free text.
    """

    name: str
    arguments: str = attrs.field(default="", converter=_arguments)
    id: str | None = None
    signature: str | None = attrs.field(default=None, repr=False)
    kind: str = "function"
    extra: Extra = attrs.field(factory=dict, repr=False)

    @property
    def parsed(self) -> Any:
        """The arguments as Python values; ``None`` for an empty text. Raises ``ValueError`` for text that is not JSON."""
        return parse_text(self.arguments, lenient=True) if self.arguments.strip() else None


Part = TextPart | ImagePart | FilePart | AudioPart | VideoPart | ReasoningPart | OtherPart | ToolCall


MEDIA_TYPES: Mapping[str, str] = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-png": "image/png",
    "image/x-webp": "image/webp",
    "application/x-pdf": "application/pdf",
    "text/x-markdown": "text/markdown",
    "video/mpg": "video/mpeg",
}
"""What programs write for a media type that has another name. https://www.iana.org/assignments/media-types"""


def media_type(said: str) -> str:
    """A media type by the name that it is registered under, without parameters."""
    plain = said.partition(";")[0].strip().lower()
    return MEDIA_TYPES.get(plain, plain)


def data_url(url: str) -> tuple[str, bytes] | None:
    """Media type and bytes of a ``data:`` URL, base64 or percent-encoded (RFC 2397).

    ``None`` for any other URL, and where the base64 is none.
    """
    head, comma, encoded = url.partition(",")
    if not comma or head[:5].lower() != "data:":
        return None
    kind, *further = [word.strip() for word in head[5:].split(";")]
    kind = kind or "text/plain"
    if not any(word.lower() == "base64" for word in further):
        return kind, unquote_to_bytes(encoded)
    try:
        plain = "".join(unquote_to_bytes(encoded).decode("ascii").split())
        return kind, base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def part_from_dict(item: Mapping[str, Any]) -> Part:
    """One part in the plain form of OpenAI's chat: ``{"type": "text", "text": ...}``, ``image_url``, ``input_audio``, ``file``."""
    kind = item.get("type")
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        raise InvalidRequest(
            f"message.content: a part of type {kind!r} is not a part; use a string, a part object, or a dict of type"
            f" {', '.join(map(repr, _READERS))}"
        )
    return reader(item)


def _text(item: Mapping[str, Any]) -> Part:
    return TextPart(text=_string(item.get("text", ""), "text"))


def _image(item: Mapping[str, Any]) -> Part:
    image = item.get("image_url")
    if isinstance(image, Mapping):
        return ImagePart(url=_string(image.get("url"), "image_url.url"), detail=image.get("detail"))
    return ImagePart(url=_string(image, "image_url"))


def _video(item: Mapping[str, Any]) -> Part:
    video = item.get("video_url")
    return VideoPart(url=_string(video.get("url") if isinstance(video, Mapping) else video, "video_url.url"))


def _audio(item: Mapping[str, Any]) -> Part:
    audio = item.get("input_audio")
    if not isinstance(audio, Mapping):
        raise InvalidRequest("message.content: input_audio is not a dict; give {'data': base64, 'format': 'wav'}")
    return AudioPart(
        data=_decode_base64(audio.get("data"), "input_audio.data"), format=_string(audio.get("format"), "input_audio.format")
    )


def _file(item: Mapping[str, Any]) -> Part:
    file = item.get("file")
    if not isinstance(file, Mapping):
        raise InvalidRequest("message.content: file is not a dict; give {'file_id': ...} or {'filename': ..., 'file_data': ...}")
    name, data = file.get("filename"), file.get("file_data")
    if file.get("file_id") is not None:
        return FilePart(file_id=_string(file["file_id"], "file.file_id"), name=name)
    whole = data_url(_string(data, "file.file_data"))
    if whole is not None:
        return FilePart(data=whole[1], media_type=whole[0], name=name)
    return FilePart(url=data, name=name)


def _sourced(item: Mapping[str, Any]) -> Part:
    """An image or a document as Anthropic and llmring write it: with a ``source`` of type "base64", "url" or "file"."""
    make, given = ImagePart if item["type"] == "image" else FilePart, item.get("source")
    source: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    kind = source.get("type")
    if kind == "base64":
        data, media = _decode_base64(source.get("data"), "source.data"), source.get("media_type")
        return make(data=data, media_type=_string(media, "source.media_type"))
    if kind == "url":
        return make(url=_string(source.get("url"), "source.url"))
    if kind == "file":
        return make(file_id=_string(source.get("file_id"), "source.file_id"))
    raise InvalidRequest(
        f"message.content: the source of a part of type {item['type']!r} is none; give"
        " {'type': 'base64', 'media_type': ..., 'data': ...}, {'type': 'url', 'url': ...} or {'type': 'file', 'file_id': ...}"
    )


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part]] = {
    "text": _text,
    "image": _sourced,
    "document": _sourced,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "video_url": _video,
}


def _string(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"message.content: {field} is {type(value).__name__}, not text; give a string")
    return value


def _decode_base64(value: Any, field: str) -> bytes:
    try:
        return base64.b64decode(_string(value, field), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"message.content: {field} is not base64; encode the bytes with base64.b64encode") from None


ROLES = ("system", "developer", "user", "assistant", "tool")


_FUNCTION_KEYS = ("name", "description", "parameters", "strict", "type")
"""The last is what OpenAI's responses have in the function's own object."""


@suggest
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

    @cached_property
    def characters(self) -> int:
        """The length of its texts, for estimates, which are made several times for one request."""
        return sum(map(len, texts_in([self.name, self.description, self.parameters])))

    @cached_property
    def has_nulls(self) -> bool:
        """Whether a null is anywhere in its parameters, as programs in Go write them; looked for once."""
        return has_null(self.parameters)

    @classmethod
    def from_dict(cls, tool: Mapping[str, Any]) -> Tool:
        """Read OpenAI's ``{"type": "function", "function": {...}}`` or the bare function object."""
        function = tool.get("function", tool)
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str) or not function["name"]:
            raise InvalidRequest(
                "tools: a tool has no name; give {'name': ..., 'parameters': {...}} or OpenAI's {'type': 'function', ...}"
            )
        unknown = next((key for key in function if key not in _FUNCTION_KEYS), None)
        if unknown is not None:
            hint = choices(unknown, _FUNCTION_KEYS[:-1], "a tool has {}")
            raise InvalidRequest(f"tools: unknown key {unknown!r} of {function['name']!r}; {hint}")
        return cls(
            name=function["name"],
            description=function.get("description"),
            parameters=function.get("parameters") or {},
            strict=function.get("strict"),
        )


@suggest
@attrs.frozen(kw_only=True)
class VendorTool:
    """A tool that the vendor itself runs, such as its web search; ``data`` is its entry in the format ``origin``."""

    origin: str
    data: Mapping[str, Any]


Content = str | tuple[Part, ...]


def _content(value: str | Sequence[str | Part | Mapping[str, Any]] | None) -> Content:
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


def _tool_calls(value: Sequence[ToolCall | Mapping[str, Any]] | None) -> tuple[ToolCall, ...]:
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
        raise InvalidRequest(f"message.role: {value!r} is not a role; {choices(value, ROLES, 'use one of {}')}")


def _check_text(field: str, value: Any) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidRequest(f"message.{field}: {value!r} is not text; give a string, or leave it out")


@suggest
@attrs.frozen(slots=False)
class Message:
    """One turn of a conversation.

    ``content`` is text or a sequence of parts. An assistant's turn may consist of ``tool_calls`` alone; they come after what was
    said, and a call that came in between stands in ``content`` as well. A turn of role ``"tool"`` answers the call named by
    ``tool_call_id``, which a request needs where the call has an id. ``extra`` holds further fields by wire format.
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
            self._move_calls(self.content)
        if not self.content and not self.tool_calls and self.role not in ("assistant", "tool"):
            raise InvalidRequest(f"message.content: a {self.role} message is empty; give it text or parts")
        if self.name is not None or self.tool_call_id is not None:
            _check_text("name", self.name)
            _check_text("tool_call_id", self.tool_call_id)
        if self.tool_calls and self.role != "assistant":
            raise InvalidRequest(f"message.tool_calls: a {self.role} message cannot call tools; only an assistant's can")

    def _move_calls(self, content: tuple[Part, ...]) -> None:
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
        """The text of all text parts and the transcripts of recordings, joined."""
        if isinstance(self.content, str):
            return self.content
        said = [part for part in self.content if isinstance(part, TextPart | AudioPart)]
        return "".join([part.text if isinstance(part, TextPart) else part.transcript or "" for part in said])

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
        return cls("system", _join_content(content))

    @classmethod
    def user(cls, *content: str | Part) -> Message:
        """What the user says: text, parts, or a mix."""
        return cls("user", _join_content(content))

    @classmethod
    def assistant(cls, *content: str | Part, tool_calls: Sequence[ToolCall] = ()) -> Message:
        """What the model said in an earlier turn."""
        return cls("assistant", _join_content(content), tool_calls=tool_calls)

    @classmethod
    def tool(cls, content: str, tool_call_id: str | None = None, *, name: str | None = None) -> Message:
        """The result of a tool call."""
        return cls("tool", content, name=name, tool_call_id=tool_call_id)

    @classmethod
    def from_dict(cls, message: Mapping[str, Any]) -> Message:
        """Read the plain form ``{"role": ..., "content": ...}``; raises :class:`InvalidRequest` that names a wrong key.

        OpenAI's deprecated fields are understood: ``function_call`` is a tool's call without an id, role ``"function"`` the
        result of one, by its name.
        """
        if "function_call" in message or message.get("role") == "function":
            message = _modernize(message)
        unknown = message.keys() - _MESSAGE_KEYS
        if unknown:
            hint = choices(min(unknown), sorted(_MESSAGE_KEYS), "a message has {}")
            raise InvalidRequest(f"messages: unknown key {min(unknown)!r}; {hint}")
        if "role" not in message:
            raise InvalidRequest(f"messages: {sorted(message)!s} has no 'role'; use one of {', '.join(ROLES)}")
        return cls(**message)


def _modernize(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message with OpenAI's deprecated fields, written with those of today."""
    kept = {name: value for name, value in message.items() if name != "function_call"}
    call = message.get("function_call")
    if call and not kept.get("tool_calls"):
        if not isinstance(call, Mapping) or not call.get("name"):
            raise InvalidRequest("message.function_call: this is no call; give {'name': ..., 'arguments': '{...}'}")
        kept["tool_calls"] = [{"name": call["name"], "arguments": call.get("arguments") or ""}]
    if kept.get("role") == "function":
        if not kept.get("name"):
            raise InvalidRequest("message.name: a message of role 'function' names the function whose result it is")
        kept["role"] = "tool"
    return kept


_MESSAGE_KEYS = frozenset(field.name for field in attrs.fields(Message))


def _join_content(content: tuple[str | Part, ...]) -> str | tuple[str | Part, ...]:
    return content[0] if len(content) == 1 and isinstance(content[0], str) else content
