"""Which kind of medium bytes are: by how they begin, and only then by a name or by what somebody says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import attrs

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


def begins_as(data: bytes) -> str | None:
    """The media type that the first bytes tell; ``None`` where they tell nothing, as those of text do."""
    for mark, media_type in _BEGINNINGS:
        if data.startswith(mark):
            return media_type
    return next((told for look in _LOOKS if (told := look(data)) is not None), None)


def named_as(name: str) -> str | None:
    """The media type that the end of a file name or of a URL's path tells."""
    path = urlsplit(name).path if "://" in name else name
    return _SUFFIXES.get(PurePosixPath(path).suffix.lower())


def media_type_of(data: bytes, name: str | None = None, said: str | None = None) -> str | None:
    """The media type of ``data``: from its beginning, its ``name``, what was ``said`` of it; text is what reads as text.

    A name or a word can tell one kind of text from another, but cannot make a picture of what does not begin like one.
    """
    told = begins_as(data)
    if told is not None:
        return told
    if not _reads_as_text(data):
        return None
    claims = [claim for claim in (named_as(name) if name else None, said) if claim is not None and claim.startswith(_TEXTUAL)]
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
"""Media type -> the word for it in :class:`~llmdispatcher.parts.AudioPart`."""


def medium_of(media_type: str | None) -> Medium | None:
    """The first kind that takes this media type."""
    return next((medium for medium in MEDIA if medium.takes(media_type)), None)
