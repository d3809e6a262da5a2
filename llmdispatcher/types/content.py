"""Parts of a message made from a path, bytes, an address or a data URL, and the detection of media types.

A file is read when its part is made. A plain address is passed on: the vendor fetches it, or, for a vendor that cannot,
``llmdispatcher.transport`` does where the user allows it. How a text begins tells whether it is an address or a path; ``source``
says it for text that strangers write, who must not name a file of the server. The media type is decided by the first bytes, and
only then by a name or by what the caller says.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import attrs

from ..errors import InvalidRequest
from .message import AudioPart, FilePart, ImagePart, Part, TextPart, VideoPart, data_url

_ISO_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"avif": "image/avif",
    b"avis": "image/avif",
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"), "image/heic"),
}
"""The brand in the first box of an ISO file (ISO/IEC 14496-12), where it is not a plain MP4."""

_BEGINNINGS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"ID3", "audio/mpeg"),
    (b"PK\x03\x04", "application/zip"),
)

_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}

_SUFFIXES = {
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".gif": "image/gif",
    ".webp": "image/webp",
    ".heic": "image/heic",
    ".heif": "image/heic",
    ".pdf": "application/pdf",
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".flac": "audio/flac",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".webm": "video/webm",
    ".mov": "video/quicktime",
    ".txt": "text/plain",
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".csv": "text/csv",
    ".json": "application/json",
    ".html": "text/html",
    ".htm": "text/html",
}

_EBML = b"\x1a\x45\xdf\xa3"
_PDF_WITHIN = 1024
"""Bytes within which a PDF's mark stands (PDF 1.7, appendix H.3, note 13)."""
_TEXTUAL = ("text/", "application/json")


def detect_media_type(data: bytes) -> str | None:
    """The media type that the first bytes show; ``None`` where they show none, as those of text do."""
    for mark, media_type in _BEGINNINGS:
        if data.startswith(mark):
            return media_type
    return next((told for look in _LOOKS if (told := look(data)) is not None), None)


def guess_media_type(name: str) -> str | None:
    """The media type that the end of a file name or of a URL's path tells."""
    path = urlsplit(name).path if "://" in name else name
    return _SUFFIXES.get(PurePosixPath(path).suffix.lower())


def media_type_of(data: bytes, name: str | None = None, said: str | None = None) -> str | None:
    """The media type of ``data``, from its first bytes, else its ``name``, else the type ``said``; what decodes as UTF-8 is text.

    Name and stated type only tell one kind of text from another; an image must begin like one.
    """
    told = detect_media_type(data)
    if told is not None:
        return told
    if not _reads_as_text(data):
        return None
    claims = [
        claim for claim in (guess_media_type(name) if name else None, said) if claim is not None and claim.startswith(_TEXTUAL)
    ]
    return claims[0] if claims else "text/plain"


def _riff(data: bytes) -> str | None:
    return _RIFF.get(data[8:12]) if data[:4] == b"RIFF" else None


def _iso(data: bytes) -> str | None:
    if data[4:8] == b"ftyp":
        return _ISO_BRANDS.get(data[8:12], "video/mp4")
    return "video/quicktime" if data[4:8] in (b"moov", b"mdat", b"wide") else None


def _ebml(data: bytes) -> str | None:
    if not data.startswith(_EBML):
        return None
    return "video/webm" if b"webm" in data[:64] else "video/x-matroska"


def _mpeg_audio(data: bytes) -> str | None:
    """An MP3 without tags: eleven bits set, layer III, a bit rate and a sampling rate that exist."""
    if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE6 != 0xE2:
        return None
    return "audio/mpeg" if data[2] & 0xF0 != 0xF0 and data[2] & 0x0C != 0x0C else None


def _pdf(data: bytes) -> str | None:
    return "application/pdf" if b"%PDF-" in data[:_PDF_WITHIN] else None


def _html(data: bytes) -> str | None:
    start = data[:64].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return "text/html" if start.startswith((b"<!doctype html", b"<html")) else None


_LOOKS: tuple[Callable[[bytes], str | None], ...] = (_riff, _iso, _ebml, _mpeg_audio, _html, _pdf)


def _reads_as_text(data: bytes) -> bool:
    if b"\0" in data:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@attrs.frozen(kw_only=True)
class Medium:
    """One kind of content: which media types it has, and how many bytes are sent of it."""

    name: str
    media_types: tuple[str, ...]
    most: int

    def takes(self, media_type: str | None) -> bool:
        """Whether a thing of this media type is of this kind."""
        return media_type in self.media_types


_MB = 1_000_000
IMAGE = Medium(name="image", media_types=("image/png", "image/jpeg", "image/gif", "image/webp", "image/heic"), most=20 * _MB)
DOCUMENT = Medium(
    name="document",
    media_types=("application/pdf", "text/plain", "text/markdown", "text/csv", "application/json", "text/html"),
    most=50 * _MB,
)
AUDIO = Medium(
    name="audio",
    media_types=("audio/wav", "audio/mpeg", "audio/flac", "audio/ogg", "audio/mp4", "video/mp4", "video/webm"),
    most=100 * _MB,
)
"""MP4 and WebM too: whether such a file holds pictures as well is not seen at its beginning."""
VIDEO = Medium(name="video", media_types=("video/mp4", "video/webm", "video/quicktime"), most=100 * _MB)
MEDIA = (IMAGE, DOCUMENT, VIDEO, AUDIO)

AUDIO_FORMATS: Mapping[str, str] = {
    "audio/wav": "wav",
    "audio/mpeg": "mp3",
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/mp4": "m4a",
    "video/mp4": "m4a",
    "video/webm": "webm",
}
"""Media type -> the word for it in :class:`~llmdispatcher.AudioPart`."""


def medium_of(media_type: str | None) -> Medium | None:
    """The first kind that takes this media type."""
    return next((medium for medium in MEDIA if medium.takes(media_type)), None)


Source = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, the bytes themselves, an address, or a data URL."""

_ADDRESSES = ("https://", "http://", "gs://")
_SOURCES = "a path, bytes, an https:// address or a data URL"
_SHOWN = 80

Naming = Literal["address", "path"] | None
"""What a text is: an address or a data URL, the path of a file, or, with ``None``, whichever it looks like."""


def image(given: Source, /, *, source: Naming = None, detail: str | None = None) -> ImagePart:
    """An image from a path, bytes, an address or a data URL; ``detail`` ("low", "high", "auto") is OpenAI's.

    With ``source="address"`` a text names no file; with ``"path"`` it names nothing else. Text of strangers needs one of them.
    Raises :class:`InvalidRequest` where there is no such file, it is empty, larger than 20 MB, or no PNG, JPEG, GIF, WebP or HEIC.
    """
    part: ImagePart = _MAKERS["image"](_read(given, source, IMAGE))
    return attrs.evolve(part, detail=detail)


def document(given: Source, /, *, source: Naming = None, name: str | None = None) -> FilePart:
    """A document, PDF or any text, of up to 50 MB; ``name`` is the file's own where it has one.

    With ``source="address"`` a text names no file; with ``"path"`` it names nothing else. Text of strangers needs one of them.
    Raises :class:`InvalidRequest` where there is no such file, it is empty, too large, or none of these.
    """
    part: FilePart = _MAKERS["document"](_read(given, source, DOCUMENT, name))
    return part if name is None else attrs.evolve(part, name=name)


def audio(given: Source, /, *, source: Naming = None) -> AudioPart:
    """A recording (WAV, MP3, FLAC, Ogg, M4A, WebM) of up to 100 MB; not by address.

    With ``source="address"`` a text names no file; with ``"path"`` it names nothing else. Text of strangers needs one of them.
    Raises :class:`InvalidRequest` where there is no such file, it is empty, too large, or none of these.
    """
    return _audio(_read(given, source, AUDIO))


def video(given: Source, /, *, source: Naming = None) -> VideoPart:
    """A film (MP4, WebM, QuickTime) of up to 100 MB, or the address of one.

    With ``source="address"`` a text names no file; with ``"path"`` it names nothing else. Text of strangers needs one of them.
    Raises :class:`InvalidRequest` where there is no such file, it is empty, too large, or none of these.
    """
    part: VideoPart = _MAKERS["video"](_read(given, source, VIDEO))
    return part


def analyze_image(path: Source, prompt: str, *, source: Naming = None) -> tuple[Part, ...]:
    """What to ask about an image: ``Message.user(*analyze_image("photo.png", "What is this?"))``."""
    return TextPart(text=prompt), image(path, source=source)


def analyze_file(path: Source, prompt: str, *, source: Naming = None) -> tuple[Part, ...]:
    """What to ask about any file: its kind, image, document, recording or film, is seen by how it begins."""
    read = _read(path, source, None)
    medium = medium_of(read.media_type)
    if medium is None:
        shown = _short(read.url or "")
        raise InvalidRequest(f"file: the address {shown!r} does not tell what is there; use image(), document() or video()")
    return TextPart(text=prompt), _MAKERS[medium.name](read)


@attrs.frozen(kw_only=True)
class _Read:
    """What was found at a source."""

    url: str | None = None
    data: bytes | None = None
    media_type: str | None = None
    name: str | None = None


def _audio(read: _Read) -> AudioPart:
    if read.data is None or read.media_type is None:
        raise InvalidRequest("audio: no vendor takes a recording by address; save it first, and give its path or its bytes")
    return AudioPart(data=read.data, format=AUDIO_FORMATS[read.media_type])


_MAKERS: Mapping[str, Callable[[_Read], Any]] = {
    "image": lambda read: ImagePart(url=read.url, data=read.data, media_type=read.media_type),
    "document": lambda read: FilePart(url=read.url, data=read.data, media_type=read.media_type, name=read.name),
    "audio": _audio,
    "video": lambda read: VideoPart(url=read.url, data=read.data, media_type=read.media_type),
}


def _read(given: Source, source: Naming, medium: Medium | None, name: str | None = None) -> _Read:
    kind = medium.name if medium is not None else "file"
    if source not in (None, "address", "path"):
        raise InvalidRequest(f"source: {source!r} is not one of them; use 'address', 'path' or None")
    if isinstance(given, bytes | bytearray | memoryview):
        return _check_content(bytes(given), None, name, medium)
    if isinstance(given, str) and source != "path":
        if given[:5].lower() == "data:":
            return _check_content(*_decode_data_url(given, kind), name, medium)
        if given.lower().startswith(_ADDRESSES):
            _check_address(given, kind)
            told = guess_media_type(given)
            suits = medium is None or medium.takes(told)
            return _Read(url=given, media_type=told if suits else None, name=_last(given))
    if not isinstance(given, str | os.PathLike):
        raise InvalidRequest(f"{kind}: {type(given).__name__} is not a source; give {_SOURCES}")
    if source == "address":
        shown = given if isinstance(given, str) else Path(given).name
        raise InvalidRequest(f"{kind}: {_short(shown)!r} is no address; give an https:// address or a data URL")
    path = Path(given)
    return _check_content(_read_file(path, medium), None, path.name, medium)


def _decode_data_url(url: str, kind: str) -> tuple[bytes, str]:
    whole = data_url(url)
    if whole is None:
        raise InvalidRequest(f"{kind}: the data URL is not 'data:<media type>;base64,' and then base64; give the bytes themselves")
    return whole[1], whole[0]


def _check_address(url: str, kind: str) -> None:
    try:
        is_one = bool(urlsplit(url).netloc) and url.isprintable() and " " not in url
    except ValueError:
        is_one = False
    if not is_one:
        raise InvalidRequest(f"{kind}: {_short(url)!r} is no address; give an https:// address or a data URL")


def _last(url: str) -> str | None:
    return unquote(PurePosixPath(urlsplit(url).path).name) or None


def _read_file(path: Path, medium: Medium | None) -> bytes:
    """The bytes of a file, and one more than the limit at most, even if the file grows meanwhile.

    Errors show its name without its folder, since the folders of a server are private.
    """
    kind, most = (medium.name, medium.most) if medium is not None else ("file", VIDEO.most)
    about = f"{kind}: {_short(path.name)!r}"
    try:
        path = path.expanduser()
        if _is_regular(path.stat()):  # looked at before it is opened: a reader alone makes a pipe or a device do things
            with open(path, "rb", opener=_open_at_once) as file:  # Path.open takes none
                if _is_regular(os.fstat(file.fileno())):
                    return file.read(most + 1) or b""  # None where a file of /proc would have to be waited for
        what = "is not a file"
    except (FileNotFoundError, NotADirectoryError, ValueError):
        what = "is no address, and no file is there"
    except RuntimeError:
        what = "is in a home folder that is not known"
    except OSError as foreign:
        raise InvalidRequest(f"{about} cannot be read ({foreign.strerror or type(foreign).__name__})") from None
    raise InvalidRequest(f"{about} {what}; give {_SOURCES}")


def _is_regular(status: os.stat_result) -> bool:
    return stat.S_ISREG(status.st_mode)


def _open_at_once(path: str, flags: int) -> int:
    """Open without waiting for a writer, where a pipe has taken the file's place; Windows has no such pipes, and not the flag."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_content(data: bytes, said: str | None, name: str | None, medium: Medium | None) -> _Read:
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
    """What to do with content of the wrong kind."""
    better = medium_of(media_type)
    if better is not None:
        return f"not for {medium.name}(); use {better.name}()" if medium is not None else "which nobody takes"
    listed = ", ".join(medium.media_types) if medium is not None else "an image, a document, a recording or a film"
    return f"which is not sent; give {listed}, or make the part yourself where a vendor takes it"


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
