"""What a turn of a conversation is made of: text, media, thoughts, calls, and blocks that only one format knows.

``extra`` holds, by the name of a wire format, the fields of a part that have no name here; that format writes them back as they
were, no other does. Plain dicts in the form of OpenAI's chat are read too (:func:`part_from_dict`).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from .errors import InvalidRequest

Extra = Mapping[str, Mapping[str, Any]]
"""Further fields, by wire format."""

CACHE_TIMES = (None, "5m", "1h")
"""How long a vendor is asked to remember what comes up to and with a part."""


def cache_time(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Validate a cache mark."""
    if value not in CACHE_TIMES:
        raise InvalidRequest(f"{attribute.name}: {value!r} is not a cache time; use '5m', '1h' or None")


@attrs.frozen(kw_only=True)
class TextPart:
    """Plain text."""

    text: str
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class ImagePart:
    """An image, by ``url``, by the vendor's ``file_id``, or as ``data`` (raw bytes, not base64) with its ``media_type``."""

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    detail: str | None = None
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class FilePart:
    """A document such as a PDF, by ``url``, by the vendor's ``file_id``, or as ``data`` (raw bytes)."""

    url: str | None = None
    file_id: str | None = None
    data: bytes | None = attrs.field(default=None, repr=False)
    media_type: str | None = None
    name: str | None = None
    cache: str | None = attrs.field(default=None, validator=cache_time)
    extra: Extra = attrs.field(factory=dict, repr=False)


@attrs.frozen(kw_only=True)
class AudioPart:
    """A recording as ``data`` (raw bytes) in ``format`` ("wav", "mp3", ...)."""

    data: bytes = attrs.field(repr=False)
    format: str
    extra: Extra = attrs.field(factory=dict, repr=False)


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


@attrs.frozen(kw_only=True)
class OtherPart:
    """A block that only the wire format ``origin`` knows, such as a vendor's own tool at work; ``data`` is the block as it was."""

    origin: str
    data: Mapping[str, Any] = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class ToolCall:
    """A model's wish to have a function called. ``arguments`` is the raw text that the model wrote.

    ``kind`` is ``"function"``, whose arguments are JSON, or ``"custom"``, whose arguments are free text.
    """

    name: str
    arguments: str = ""
    id: str | None = None
    signature: str | None = attrs.field(default=None, repr=False)
    kind: str = "function"
    extra: Extra = attrs.field(factory=dict, repr=False)

    @property
    def parsed(self) -> Any:
        """The arguments as Python values; ``None`` for an empty text. Raises ``ValueError`` for text that is not JSON."""
        return json.loads(self.arguments) if self.arguments.strip() else None


Part = TextPart | ImagePart | FilePart | AudioPart | VideoPart | ReasoningPart | OtherPart | ToolCall


def data_url(url: str) -> tuple[str, bytes] | None:
    """Media type and bytes of a ``data:`` URL with base64; ``None`` for any other URL, and where the base64 is none."""
    head, comma, encoded = url.partition(",")
    if not (url.startswith("data:") and comma and head.endswith(";base64")):
        return None
    try:
        return head[5:].partition(";")[0] or "text/plain", base64.b64decode(encoded, validate=True)
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
        data=_decoded(audio.get("data"), "input_audio.data"), format=_string(audio.get("format"), "input_audio.format")
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


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part]] = {
    "text": _text,
    "image_url": _image,
    "input_audio": _audio,
    "file": _file,
    "video_url": _video,
}


def _string(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"message.content: {field} is {type(value).__name__}, not text; give a string")
    return value


def _decoded(value: Any, field: str) -> bytes:
    try:
        return base64.b64decode(_string(value, field), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"message.content: {field} is not base64; encode the bytes with base64.b64encode") from None
