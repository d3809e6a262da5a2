"""The Files APIs of the simulated vendors: what is uploaded is kept until it is deleted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from email import message_from_bytes
from typing import Any

import attrs

from ..loopback import WireRequest
from .base import bearer, dumps

_PATH = re.compile(r"(?P<upload>/upload)?/(?P<version>v1|v1beta)/files(?:/(?P<id>[^/?]+))?(?:\?(?P<query>.*))?$")
_BETA = "files-api-2025-04-14"
Answer = tuple[int, bytes, tuple[tuple[str, str], ...]]


@attrs.frozen(kw_only=True)
class SimulatedFile:
    """A file that was uploaded to the simulator."""

    id: str
    name: str
    media_type: str
    data: bytes = attrs.field(repr=False)
    fields: Mapping[str, str] = attrs.field(factory=dict)
    """The texts of the form, such as ``purpose``."""


class FileStore:
    """The files of one simulator; ``held`` has them by their ids."""

    def __init__(self) -> None:
        self.held: dict[str, SimulatedFile] = {}
        self._announced: dict[str, tuple[str, str]] = {}
        self._numbers = itertools.count(1)

    def answer(self, wire: WireRequest, accepts: Callable[[str], bool]) -> Answer | None:
        """Return status, body and headers; ``None`` for a request of another API."""
        found = _PATH.search(wire.target)
        if found is None:
            return None
        headers = wire.headers
        key = headers.get("x-goog-api-key") or headers.get("x-api-key") or bearer(headers)
        if not key or not accepts(key):
            return _refusal(401, "The key is not valid.")
        if found["upload"] or "x-goog-api-key" in headers:
            return self._google(wire, found)
        anthropic = "anthropic-version" in headers
        if anthropic and _BETA not in headers.get("anthropic-beta", ""):
            return _refusal(400, f"anthropic-beta: {_BETA} is required")
        if found["id"]:
            return self._one(wire.method, found["id"], _anthropic if anthropic else _openai)
        if wire.method != "POST":
            return None
        file = self._of_form(wire, "file_" if anthropic else "file-")
        if file is None or not (anthropic or "purpose" in file.fields):
            return _refusal(400, "file and purpose are required")
        self.held[file.id] = file
        return 200, dumps((_anthropic if anthropic else _openai)(file)), ()

    def _one(self, method: str, file_id: str, describe: Callable[[SimulatedFile], dict[str, Any]]) -> Answer:
        file = self.held.get(file_id)
        if file is None:
            return _refusal(404, f"No such file: {file_id}")
        if method == "DELETE":
            del self.held[file_id]
            return 200, dumps({"id": file_id, "deleted": True, "type": "file_deleted"} if describe is not _google else {}), ()
        return 200, dumps(describe(file)), ()

    def _google(self, wire: WireRequest, found: re.Match[str]) -> Answer:
        command = wire.headers.get("x-goog-upload-command", "")
        if not found["upload"]:
            return self._one(wire.method, found["id"] or "", _google)
        if command == "start":
            upload = f"u{next(self._numbers)}"
            named = re.search(rb'"displayName":\s*"([^"]*)"', wire.body)
            self._announced[upload] = (
                named[1].decode() if named else "",
                wire.headers.get("x-goog-upload-header-content-type", ""),
            )
            where = f"https://{wire.headers.get('host', '')}/upload/{found['version']}/files?upload_id={upload}"
            return 200, b"", (("X-Goog-Upload-URL", where), ("X-Goog-Upload-Status", "active"))
        announced = self._announced.pop((found["query"] or "").removeprefix("upload_id="), None)
        if announced is None or "finalize" not in command:
            return _refusal(400, "Upload has not been started.")
        file = SimulatedFile(id=f"f{next(self._numbers)}", name=announced[0], media_type=announced[1], data=wire.body)
        self.held[file.id] = file
        return 200, dumps({"file": _google(file)}), (("X-Goog-Upload-Status", "final"),)

    def _of_form(self, wire: WireRequest, prefix: str) -> SimulatedFile | None:
        whole = message_from_bytes(f"Content-Type: {wire.headers.get('content-type', '')}\r\n\r\n".encode() + wire.body)
        file, fields = None, {}
        for part in whole.walk():
            name = part.get_param("name", header="content-disposition")
            if part.get_filename() is not None:
                file = part
            elif isinstance(name, str):
                fields[name] = str(part.get_payload())
        if file is None:
            return None
        data, name = file.get_payload(decode=True), str(file.get_filename())
        media_type = file.get_content_type()
        number = f"{prefix}{next(self._numbers):06}"
        return SimulatedFile(
            id=number, name=name, media_type=media_type, data=data if isinstance(data, bytes) else b"", fields=fields
        )


def _refusal(status: int, text: str) -> Answer:
    return status, dumps({"error": {"message": text, "code": status, "type": "invalid_request_error"}}), ()


def _openai(file: SimulatedFile) -> dict[str, Any]:
    purpose = file.fields.get("purpose", "")
    return {
        "id": file.id,
        "object": "file",
        "bytes": len(file.data),
        "created_at": 1_790_000_000,
        "filename": file.name,
        "purpose": purpose,
        "status": "processed",
    }


def _anthropic(file: SimulatedFile) -> dict[str, Any]:
    return {
        "id": file.id,
        "type": "file",
        "filename": file.name,
        "mime_type": file.media_type,
        "size_bytes": len(file.data),
        "created_at": "2026-11-01T00:00:00Z",
        "downloadable": False,
    }


def _google(file: SimulatedFile) -> dict[str, Any]:
    return {
        "name": f"files/{file.id}",
        "displayName": file.name,
        "mimeType": file.media_type,
        "sizeBytes": f"{len(file.data)}",
        "uri": f"https://generativelanguage.googleapis.com/v1beta/files/{file.id}",
        "state": "ACTIVE",
    }
