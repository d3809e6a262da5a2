"""The current documents of a registry: in memory, in files that processes share, or fetched; one request at a time for each.

```
   in memory, not due ──► returned                    (a given version is never due again)
   else on disk, not due ──► returned                 (another process has fetched it)
   else fetched with its ETag ──► 304: confirmed ──► returned
                             └──► 200: read, kept ──► returned
                             └──► anything else: raised; what is held stays
```

A file is replaced in one step and is used only if it is complete.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from ..._text import room_logger
from ...cache import SingleFlight
from ...errors import DispatchError, MalformedReply
from ...runtime import Clock, Deadline, new_lock, write_file
from .document import MOST_BYTES, Edition, parse_time
from .source import Reader, read_bounded, valid_etag

logger = room_logger("catalog")

MOST_HEAD = 4096
_SUFFIX = ".kept"
_HALF = f".*{_SUFFIX}.*"
"""Files that :func:`~llmdispatcher.runtime.write_file` has begun."""
_ODD = re.compile(r"[^a-z0-9_-]")
LEFT_BEHIND = 3600.0
"""Seconds after which an incomplete file is deleted."""


@attrs.frozen(kw_only=True)
class CachedDocument:
    """A document as it was fetched: its bytes, the server's ``etag``, and when the server last confirmed it."""

    body: bytes = attrs.field(repr=False)
    etag: str | None
    checked_at: datetime


class DiskCache:
    """The files of one registry, in the folder that ``where`` returns at the first use; ``None`` keeps nothing.

    What cannot be read or written is logged and counts as missing. Processes and threads share the folder without locks: a file is
    written under another name and then moved to its place.
    """

    def __init__(self, where: Callable[[], Path | None]) -> None:
        self._where = where

    @cached_property
    def folder(self) -> Path | None:
        """The folder of the files."""
        return self._where()

    def load(self, name: str) -> CachedDocument | None:
        """Return the document of that name if it is there and complete."""
        if self.folder is None:
            return None
        try:
            data = read_bounded(self.folder / _file(name), MOST_HEAD + MOST_BYTES)
            return _unpack(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("a kept copy of the registry cannot be used and is fetched again: %s", type(error).__name__)
            return None

    def save(self, name: str, kept: CachedDocument) -> bool:
        """Write a document that only its owner can read; False if that failed."""
        if self.folder is None:
            return False
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self.folder / _file(name), _pack(kept))
            self._sweep(self.folder, kept.checked_at)
        except OSError as error:
            logger.warning("a copy of the registry was not kept: %s", error.strerror or type(error).__name__)
            return False
        return True

    @staticmethod
    def _sweep(folder: Path, now: datetime) -> None:
        """Delete incomplete files of processes that were killed."""
        for half in folder.glob(_HALF):
            with contextlib.suppress(FileNotFoundError):
                if half.stat().st_mtime < now.timestamp() - LEFT_BEHIND:
                    half.unlink()

    def clear(self) -> int:
        """Delete the documents of this registry; returns how many there were."""
        if self.folder is None or not self.folder.is_dir():
            return 0
        documents = list(self.folder.glob(f"*{_SUFFIX}"))
        for path in (*documents, *self.folder.glob(_HALF)):
            path.unlink(missing_ok=True)
        return len(documents)


def _file(name: str) -> str:
    return f"{_ODD.sub('-', name.removesuffix('.json'))}{_SUFFIX}"


def _pack(kept: CachedDocument) -> bytes:
    head = {"etag": kept.etag, "checked_at": kept.checked_at.isoformat(), "sha256": hashlib.sha256(kept.body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + kept.body


def _unpack(data: bytes) -> CachedDocument:
    first, _, body = data.partition(b"\n")
    head = json.loads(first[:MOST_HEAD])
    if not isinstance(head, dict) or head.get("sha256") != hashlib.sha256(body).hexdigest():
        raise ValueError("not what was written")
    checked_at = parse_time(head.get("checked_at"))
    if checked_at is None:
        raise ValueError("not what was written")
    return CachedDocument(body=body, etag=valid_etag(head.get("etag")), checked_at=checked_at)


T = TypeVar("T")


@attrs.frozen(kw_only=True)
class Document(Generic[T]):
    """One document of a registry: its path, the function that decodes it, and whether it never changes."""

    path: str
    parse: Callable[[bytes], T]
    immutable: bool = False


@attrs.frozen(kw_only=True)
class Copy(Generic[T]):
    """A document in memory; ``fetched``: this process has it from the registry, else from the disk."""

    value: T
    kept: CachedDocument = attrs.field(repr=False)
    fetched: bool
    shared: bool = True

    def age(self, now: datetime) -> float:
        """Return the seconds since the registry last confirmed it; negative if the wall clock was set back."""
        return (now - self.kept.checked_at).total_seconds()


class DocumentCache:
    """The documents of one registry; safe under threads, processes and a fork."""

    def __init__(self, reader: Reader, disk: DiskCache, ttl: float, clock: Clock) -> None:
        self._reader = reader
        self._disk = disk
        self._ttl = ttl
        self._clock = clock
        self._lock = new_lock()
        self._held: dict[str, Copy[Any]] = {}
        self._flights: SingleFlight[Copy[Any]] = SingleFlight()

    def get(self, document: Document[T], deadline: Deadline, *, force: bool = False) -> Copy[T]:
        """Return the document; with ``force`` the registry is asked even before it is due. Raises :class:`DispatchError`."""
        held = self.held(document)
        if held is not None and (document.immutable or not (force or self.due(held))):
            return held
        return self._flights.fly(document.path, deadline, lambda: self._fetch(document, deadline, force=force))[0]

    def held(self, document: Document[T]) -> Copy[T] | None:
        """Return what is in memory, else on disk; sends no request."""
        found: Copy[T] | None = self._held.get(document.path)
        return found or self._from_disk(document)

    def due(self, held: Copy[Any]) -> bool:
        """Whether it is time to ask again; a confirmation in the future does not count."""
        return not 0 <= held.age(self._clock.now()) < self._ttl

    def forget(self) -> int:
        """Delete the documents in memory and on disk; returns how many were on disk."""
        with self._lock:
            self._held = {}
        return self._disk.clear()

    def _fetch(self, document: Document[T], deadline: Deadline, *, force: bool) -> Copy[T]:
        held = self._from_disk(document) or self._held.get(document.path)
        if held is not None and (document.immutable or not (force or self.due(held))):
            return held
        reply = self._reader.read(document.path, held.kept.etag if held is not None else None, deadline)
        now = self._clock.now()
        if reply.body is None and held is not None:
            kept, value = attrs.evolve(held.kept, checked_at=now), held.value
        else:
            kept = CachedDocument(body=reply.body or b"", etag=reply.etag, checked_at=now)
            value = document.parse(kept.body)
            _check_order(held, value)
        self._disk.save(document.path, kept)
        return self._hold(document, Copy(value=value, kept=kept, fetched=True))

    def _from_disk(self, document: Document[T]) -> Copy[T] | None:
        """What a process has written to disk; a document that is the same as that in memory is not decoded again."""
        kept, held = self._disk.load(document.path), self._held.get(document.path)
        if kept is None or (held is not None and kept.checked_at <= held.kept.checked_at):
            return held
        if held is not None and kept.body == held.kept.body:
            return self._hold(document, attrs.evolve(held, kept=kept))
        with contextlib.suppress(DispatchError):  # complete, but no valid document: it counts as missing
            return self._hold(document, Copy(value=document.parse(kept.body), kept=kept, fetched=False))
        return held

    def _hold(self, document: Document[T], copy: Copy[T]) -> Copy[T]:
        with self._lock:
            self._held = {**self._held, document.path: copy}
        return copy


def _check_order(held: Copy[Any] | None, value: Any) -> None:
    """Refuse a version older than the one held: it comes from a stale server, or prices are rolled back."""
    if held is not None and isinstance(value, Edition) and value.version < held.value.version:
        raise MalformedReply(
            f"registry {value.vendor}: it serves version {value.version} after {held.value.version}, which stays; "
            "clear the cache if that is meant"
        )
