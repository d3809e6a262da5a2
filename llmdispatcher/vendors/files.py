"""Files that vendors keep: uploads by their Files APIs, whose ids stand in messages, and deletions.

OpenAI https://platform.openai.com/docs/api-reference/files (2026-11-01), Anthropic https://platform.claude.com/docs/en/api/files-create
(2026-11-01), Google https://ai.google.dev/api/files (2026-11-01).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlsplit

import attrs

from ..errors import InvalidRequest, MalformedReply, VendorUnavailable
from ..runtime import Deadline, user_path
from ..types import FilePart, ImagePart, media_type_of
from .raw import VendorReply

MOST_BYTES = 512 << 20
"""Bytes of a file; OpenAI and Anthropic take no more."""
ANTHROPIC_BETA = "files-api-2025-04-14"
"""What requests of the version 2023-06-01 have to ask for, messages that name a file too."""
_POLL_SECONDS = 1.0
_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,255}")
_GOOGLE_NAME = re.compile(r"(?:.*/)?(files/[A-Za-z0-9_-]{1,64})")
Source = str | os.PathLike[str] | bytes | BinaryIO | FilePart | ImagePart


@attrs.frozen(kw_only=True)
class UploadedFile:
    """A file at a vendor. ``id`` is what messages name it by; :attr:`part` is that part of a message."""

    id: str
    vendor: str
    name: str
    media_type: str
    size: int
    """Bytes."""
    expires_at: datetime | None = None

    @property
    def part(self) -> FilePart | ImagePart:
        """The file in a message, which goes to this vendor alone."""
        if self.media_type.startswith("image/"):
            return ImagePart(file_id=self.id, media_type=self.media_type, vendor=self.vendor)
        return FilePart(file_id=self.id, media_type=self.media_type, name=self.name, vendor=self.vendor)


class Ask(Protocol):
    """Sends a request to the vendor's API."""

    def __call__(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] = ...,
    ) -> VendorReply:
        """The answer."""


@attrs.frozen(kw_only=True)
class Upload:
    """A file on its way: what is in it, and what the vendor is told about it."""

    data: bytes = attrs.field(repr=False)
    name: str
    media_type: str
    purpose: str | None = None
    expires_after: int | None = None

    @classmethod
    def of(cls, file: Source, name: str | None, media_type: str | None, purpose: str | None, expires_after: int | None) -> Upload:
        """Read a file. Raises :class:`InvalidRequest` for one that cannot be read, is empty or too large."""
        if isinstance(file, FilePart | ImagePart):
            data, named, media_type = file.data, getattr(file, "name", None), media_type or file.media_type
        else:
            data, named = _read(file)
        if not data:
            raise InvalidRequest("file: it is empty, or a part without data; give a path, bytes, an open file, or a part with data")
        if len(data) > MOST_BYTES:
            raise InvalidRequest(f"file: it has more than {MOST_BYTES:,} bytes; divide it")
        name = name or named or "file"
        if not isinstance(name, str) or not name.isprintable() or len(name) > 255:
            raise InvalidRequest("name: it is no name of a file; give up to 255 printable characters")
        media_type = media_type or media_type_of(data, name) or "application/octet-stream"
        if not isinstance(media_type, str) or not re.fullmatch(r"[\w.+-]{1,64}/[\w.+-]{1,64}", media_type, re.ASCII):
            raise InvalidRequest(f"media_type: {str(media_type)[:80]!r} is not one; give one such as 'application/pdf'")
        if purpose is not None and (not isinstance(purpose, str) or not re.fullmatch(r"[\w-]{1,64}", purpose, re.ASCII)):
            raise InvalidRequest(f"purpose: {str(purpose)[:80]!r} is not one; give one such as 'user_data', or leave it out")
        if expires_after is not None and (
            isinstance(expires_after, bool) or not isinstance(expires_after, int) or expires_after < 1
        ):
            raise InvalidRequest(f"expires_after: {expires_after!r} is not a whole number of seconds ≥ 1")
        return cls(data=data, name=name, media_type=media_type, purpose=purpose, expires_after=expires_after)

    def multipart(self, fields: Mapping[str, str]) -> tuple[bytes, str]:
        """The file and some fields as a form (RFC 7578), and its media type."""
        boundary = hashlib.blake2b(self.data, digest_size=16).hexdigest()  # which a file cannot hold that was made before it
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()
        ]
        name = self.name.replace('"', "%22").replace("\\", "%5C")
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        parts.append(f"{head}Content-Type: {self.media_type}\r\n\r\n")
        return b"".join(
            ["".join(parts).encode(), self.data, f"\r\n--{boundary}--\r\n".encode()]
        ), f"multipart/form-data; boundary={boundary}"


def _read(file: Any) -> tuple[bytes, str | None]:
    if isinstance(file, bytes | bytearray | memoryview):
        return bytes(file), None
    if isinstance(file, str) and file.lower().startswith(("http://", "https://")):
        raise InvalidRequest("file: an address is not uploaded; give the bytes, or the address in the message itself")
    if isinstance(file, str | os.PathLike):
        path = user_path(file, "file")
        try:
            if stat.S_ISREG(path.stat().st_mode):  # a pipe or a device may never end
                with path.open("rb") as opened:
                    return opened.read(MOST_BYTES + 1), path.name
            why = "it is a folder, a pipe or a device"
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no path"
        raise InvalidRequest(f"file: {path.name!r} cannot be read: {why}; give the path of a file, or its bytes")
    try:
        data = file.read(MOST_BYTES + 1) if hasattr(file, "read") else None
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"file: it cannot be read: {getattr(error, 'strerror', None) or 'it is closed'}") from None
    if not isinstance(data, bytes):
        raise InvalidRequest(f"file: {type(file).__name__} is no file; give a path, bytes, a file open for bytes, or a part")
    name = getattr(file, "name", None)
    return data, os.path.basename(name) if isinstance(name, str) else None  # noqa: PTH119 - the name alone, of whatever was opened


Put = Callable[[Ask, Upload, str, Deadline], UploadedFile]


def _to_openai(ask: Ask, upload: Upload, vendor: str, deadline: Deadline) -> UploadedFile:
    usual = "vision" if upload.media_type.startswith("image/") else "user_data"
    fields = {"purpose": upload.purpose or usual}
    if upload.expires_after is not None:
        fields |= {"expires_after[anchor]": "created_at", "expires_after[seconds]": f"{upload.expires_after}"}
    body, kind = upload.multipart(fields)
    told = _object(ask("POST", "/files", deadline, data=body, headers={"Content-Type": kind}))
    return _made(told.get("id"), upload, vendor, told.get("filename"), told.get("expires_at"))


def _to_anthropic(ask: Ask, upload: Upload, vendor: str, deadline: Deadline) -> UploadedFile:
    _refuse(upload, vendor, "purpose", "expires_after")
    body, kind = upload.multipart({})
    headers = {"Content-Type": kind, "anthropic-beta": ANTHROPIC_BETA}
    told = _object(ask("POST", "/v1/files", deadline, data=body, headers=headers))
    return _made(told.get("id"), upload, vendor, told.get("filename"), told.get("expires_at"))


def _to_google(ask: Ask, upload: Upload, vendor: str, deadline: Deadline) -> UploadedFile:
    """Two requests: one that names the file, one with its bytes at the address that the first has told."""
    _refuse(upload, vendor, "purpose", "expires_after")
    first = {
        "X-Goog-Upload-Protocol": "resumable",
        "X-Goog-Upload-Command": "start",
        "X-Goog-Upload-Header-Content-Length": f"{len(upload.data)}",
        "X-Goog-Upload-Header-Content-Type": upload.media_type,
    }
    named = {"file": {"displayName": upload.name}}
    where = ask("POST", "upload:/files", deadline, json=named, headers=first).headers.get("x-goog-upload-url", "")
    parts = urlsplit(where)
    if not parts.path.startswith("/"):
        raise MalformedReply("the vendor told no address to upload to (x-goog-upload-url)", vendor=vendor, sent=True)
    headers = {
        "Content-Type": upload.media_type,
        "X-Goog-Upload-Command": "upload, finalize",
        "X-Goog-Upload-Offset": "0",
    }
    told = _object(ask("POST", f"origin:{parts.path}?{parts.query}", deadline, data=upload.data, headers=headers))
    while True:
        file = told.get("file", told)
        file = file if isinstance(file, Mapping) else {}
        state, name = file.get("state"), _GOOGLE_NAME.fullmatch(str(file.get("name")))
        if state == "FAILED" or name is None:
            text = "the vendor could not process the file; see whether it takes files of this kind"
            raise VendorUnavailable(text, vendor=vendor, retry_here=False, sent=True)
        if state != "PROCESSING":
            return _made(file.get("uri"), upload, vendor, file.get("displayName"), file.get("expirationTime"))
        deadline.sleep(_POLL_SECONDS)
        told = _object(ask("GET", f"/{name[1]}", deadline))


def _refuse(upload: Upload, vendor: str, *fields: str) -> None:
    for field in fields:
        if getattr(upload, field) is not None:
            raise InvalidRequest(f"{field}: files of {vendor} have none; leave it out", vendor=vendor)


def _object(reply: VendorReply) -> Mapping[str, Any]:
    told = reply.json()
    return told if isinstance(told, Mapping) else {}


def _made(id_: Any, upload: Upload, vendor: str, name: Any, expires: Any) -> UploadedFile:
    if not isinstance(id_, str) or not 0 < len(id_) <= 1024 or not id_.isprintable():
        raise MalformedReply("the vendor told no id of the file", vendor=vendor, sent=True)
    name = name if isinstance(name, str) and name else upload.name
    return UploadedFile(
        id=id_, vendor=vendor, name=name, media_type=upload.media_type, size=len(upload.data), expires_at=_moment(expires)
    )


def _moment(told: Any) -> datetime | None:
    try:
        if isinstance(told, str):
            return datetime.fromisoformat(told).astimezone(UTC)
        return datetime.fromtimestamp(told, UTC) if isinstance(told, int | float) and told > 0 else None
    except (ValueError, OverflowError, OSError):
        return None


@attrs.frozen
class FilesApi:
    """How one format's vendors keep files; ``delete`` gives the path and the headers of a deletion."""

    upload: Put
    delete: Callable[[str], tuple[str, Mapping[str, str]]]


def _of_google(file_id: str) -> tuple[str, Mapping[str, str]]:
    name = _GOOGLE_NAME.fullmatch(file_id)
    if name is None:
        raise InvalidRequest("file: it is not the id of a file of Google's; give the UploadedFile, or a name such as 'files/abc'")
    return f"/{name[1]}", {}


def _checked(file_id: str) -> str:
    if not _ID.fullmatch(file_id):
        raise InvalidRequest(f"file: {file_id[:80]!r} is not the id of a file; give the UploadedFile, or its id")
    return file_id


_OPENAI = FilesApi(_to_openai, lambda file_id: (f"/files/{_checked(file_id)}", {}))
_APIS: Mapping[str, FilesApi] = {
    "openai_chat": _OPENAI,
    "openai_responses": _OPENAI,
    "anthropic_messages": FilesApi(
        _to_anthropic, lambda file_id: (f"/v1/files/{_checked(file_id)}", {"anthropic-beta": ANTHROPIC_BETA})
    ),
    "gemini": FilesApi(_to_google, _of_google),
}
_WITHOUT = ("vertex",)
"""Vendors whose format has files, and who keep them elsewhere."""


def files_api(kind: str, codec: str) -> FilesApi:
    """The Files API of a vendor. Raises :class:`InvalidRequest` where it has none."""
    api = None if kind in _WITHOUT else _APIS.get(codec)
    if api is None:
        raise InvalidRequest(f"file: {kind} keeps no files; send the bytes in the message", vendor=kind)
    return api
