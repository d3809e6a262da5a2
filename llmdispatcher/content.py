"""Parts of a message out of what people have at hand: a path, bytes, an address, a data URL.

A file is read when its part is made, and not before. A plain address is passed on as it is: the vendor fetches it, or, for a
vendor that cannot, :mod:`llmdispatcher.transport.fetching` where the user allows that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import attrs

from .errors import InvalidRequest
from .media import AUDIO, AUDIO_FORMATS, DOCUMENT, IMAGE, VIDEO, Medium, media_type_of, medium_of, named_as
from .parts import AudioPart, FilePart, ImagePart, Part, TextPart, VideoPart, data_url

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, the bytes themselves, an address, or a data URL."""

_ADDRESSES = ("https://", "http://", "gs://")
_SHOWN = 80
_LONGEST_PATH = 4096


def image(source: Source, *, detail: str | None = None) -> ImagePart:
    """An image from a path, bytes, an address or a data URL; ``detail`` ("low", "high", "auto") is OpenAI's.

    Raises :class:`InvalidRequest` where there is no such file, it is empty, larger than 20 MB, or no PNG, JPEG, GIF, WebP or HEIC.
    """
    return attrs.evolve(_image(_read(source, IMAGE)), detail=detail)


def document(source: Source, *, name: str | None = None) -> FilePart:
    """A document, PDF or any text, of up to 50 MB; ``name`` is the file's own where it has one. Raises as :func:`image`."""
    part = _document(_read(source, DOCUMENT, name))
    return part if name is None else attrs.evolve(part, name=name)


def audio(source: Source) -> AudioPart:
    """A recording (WAV, MP3, FLAC, Ogg, M4A, WebM) of up to 100 MB; not by address. Raises as :func:`image`."""
    return _audio(_read(source, AUDIO))


def video(source: Source) -> VideoPart:
    """A film (MP4, WebM, QuickTime) of up to 100 MB, or the address of one. Raises as :func:`image`."""
    return _video(_read(source, VIDEO))


def analyze_image(path: Source, prompt: str) -> tuple[Part, ...]:
    """What to ask about an image: ``Message.user(*analyze_image("photo.png", "What is this?"))``."""
    return TextPart(text=prompt), image(path)


def analyze_file(path: Source, prompt: str) -> tuple[Part, ...]:
    """What to ask about any file: its kind, image, document, recording or film, is seen by how it begins."""
    read = _read(path, None)
    medium = medium_of(read.media_type)
    if medium is None:
        shown = _short(read.url or "")
        raise InvalidRequest(f"file: the address {shown!r} does not tell what is there; use image(), document() or video()")
    return TextPart(text=prompt), _MAKERS[medium](read)


@attrs.frozen(kw_only=True)
class _Read:
    """What was found at a source."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    name: str | None = None


def _image(read: _Read) -> ImagePart:
    return ImagePart(url=read.url, data=read.data, media_type=read.media_type)


def _document(read: _Read) -> FilePart:
    return FilePart(url=read.url, data=read.data, media_type=read.media_type, name=read.name)


def _audio(read: _Read) -> AudioPart:
    if read.data is None or read.media_type is None:
        raise InvalidRequest("audio: no vendor takes a recording by address; save it first, and give its path or its bytes")
    return AudioPart(data=read.data, format=AUDIO_FORMATS[read.media_type])


def _video(read: _Read) -> VideoPart:
    return VideoPart(url=read.url, data=read.data, media_type=read.media_type)


_MAKERS: Mapping[Medium, Callable[[_Read], Part]] = {IMAGE: _image, DOCUMENT: _document, AUDIO: _audio, VIDEO: _video}


def _read(source: Source, medium: Medium | None, name: str | None = None) -> _Read:
    kind = medium.name if medium is not None else "file"
    if isinstance(source, str) and source.startswith("data:"):
        return _checked(*_unpacked(source, kind), name, medium)
    if isinstance(source, str) and source.lower().startswith(_ADDRESSES):
        told = named_as(source)
        suits = medium is None or medium.takes(told)
        return _Read(url=source, media_type=told if suits else None, name=_last(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _checked(bytes(source), None, name, medium)
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        return _checked(_contents(path, source, medium), None, path.name, medium)
    raise InvalidRequest(f"{kind}: {type(source).__name__} is not a source; give a path, bytes, an https:// address or a data URL")


def _unpacked(url: str, kind: str) -> tuple[bytes, str]:
    whole = data_url(url)
    if whole is None:
        raise InvalidRequest(f"{kind}: the data URL is not 'data:<media type>;base64,' and then base64; give the bytes themselves")
    return whole[1], whole[0]


def _last(url: str) -> str | None:
    return unquote(PurePosixPath(urlsplit(url).path).name) or None


def _contents(path: Path, source: object, medium: Medium | None) -> bytes:
    """The bytes of a file; not more than the limit are read, whatever it grows to meanwhile."""
    kind, most = (medium.name, medium.most) if medium is not None else ("file", VIDEO.most)
    shown = _short(str(source))
    if not _holds(path, path.is_file):
        what = "is not a file" if _holds(path, path.exists) else "is no address, and no file is there"
        raise InvalidRequest(
            f"{kind}: {shown!r} {what} (looked for {_short(str(path.absolute()))!r}); give a path, bytes, an https:// address"
            " or a data URL"
        )
    try:
        with path.open("rb") as file:
            return file.read(most + 1)
    except OSError as foreign:
        raise InvalidRequest(f"{kind}: {shown!r} cannot be read ({foreign.strerror or type(foreign).__name__})") from None


def _holds(path: Path, claim: Callable[[], bool]) -> bool:
    """Whether something is so of a path, which may be a whole text that was meant as something else."""
    try:
        return len(str(path)) <= _LONGEST_PATH and claim()
    except OSError:
        return False


def _checked(data: bytes, said: str | None, name: str | None, medium: Medium | None) -> _Read:
    kind = medium.name if medium is not None else "file"
    about = f"{kind}: {_short(name)!r}" if name else f"{kind}: this"
    if not data:
        raise InvalidRequest(f"{about} is empty; there is nothing to send")
    media_type = media_type_of(data, name, said)
    found = medium if medium is not None else medium_of(media_type)
    if found is None or not found.takes(media_type):
        raise InvalidRequest(f"{about} is {media_type or 'of no known kind'}, {_remedy(media_type, found)}")
    if len(data) > found.most:
        raise InvalidRequest(f"{about} has more than {found.most // 1_000_000} MB, the most for one {found.name}; send less of it")
    return _Read(data=data, media_type=media_type, name=name)


def _remedy(media_type: str | None, medium: Medium | None) -> str:
    """What to do with a thing of the wrong kind."""
    better = medium_of(media_type)
    if better is not None:
        return f"not for {medium.name}(); use {better.name}()" if medium is not None else "which nobody takes"
    listed = ", ".join(medium.media_types) if medium is not None else "an image, a document, a recording or a film"
    return f"which is not sent; give {listed}, or make the part yourself where a vendor takes it"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
