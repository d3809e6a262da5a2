"""Documents kept in files between processes: each file is whole or not believed, and replaced in one step."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path

import attrs

from .edition import MOST_BYTES, moment
from .reading import known_etag, read_bounded

logger = logging.getLogger(__name__)

MOST_HEAD = 4096
_SUFFIX = ".kept"
_HALF = ".half"
_ODD = re.compile(r"[^a-z0-9_-]")
LEFT_BEHIND = 3600.0
"""Seconds after which a half file is nobody's any more."""


@attrs.frozen(kw_only=True)
class Kept:
    """A document as it was fetched: its bytes, the server's ``etag``, and when the server last said that this is it."""

    body: bytes = attrs.field(repr=False)
    etag: str | None
    checked_at: datetime


class Shelf:
    """The files of one registry in the folder that ``where`` tells, asked at the first use; ``None`` keeps nothing.

    What cannot be read or written is not there, and is logged. Processes and threads share the folder without locks: a file is
    written beside its place and then moved there.
    """

    def __init__(self, where: Callable[[], Path | None]) -> None:
        self._where = where

    @cached_property
    def folder(self) -> Path | None:
        """Where the files are."""
        return self._where()

    def load(self, name: str) -> Kept | None:
        """The document of that name, if there is one and every byte of it is there."""
        if self.folder is None:
            return None
        try:
            data = read_bounded(self.folder / _file(name), MOST_HEAD + MOST_BYTES)
            return _unpacked(data)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("a kept copy of the registry cannot be used and is fetched again: %s", type(error).__name__)
            return None

    def save(self, name: str, kept: Kept) -> bool:
        """Keep a document, readable for its owner only; False where that failed."""
        if self.folder is None:
            return False
        half = None
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            number, half = tempfile.mkstemp(suffix=_HALF, dir=self.folder)  # 0600
            with open(number, "wb") as file:  # noqa: PTH123  # it is a descriptor
                file.write(_packed(kept))
            os.replace(half, self.folder / _file(name))  # noqa: PTH105  # both are one file system's
            self._sweep(self.folder, kept.checked_at)
        except OSError as error:
            logger.warning("a copy of the registry was not kept: %s", error.strerror or type(error).__name__)
            if half is not None:
                with contextlib.suppress(OSError):
                    os.unlink(half)  # noqa: PTH108  # a name from mkstemp
            return False
        return True

    @staticmethod
    def _sweep(folder: Path, now: datetime) -> None:
        """Delete what processes that were killed have left half."""
        for half in folder.glob(f"*{_HALF}"):
            with contextlib.suppress(FileNotFoundError):
                if half.stat().st_mtime < now.timestamp() - LEFT_BEHIND:
                    half.unlink()

    def clear(self) -> int:
        """Delete the kept documents of this registry; how many there were."""
        if self.folder is None or not self.folder.is_dir():
            return 0
        files = [path for path in self.folder.iterdir() if path.suffix in (_SUFFIX, _HALF)]
        for path in files:
            path.unlink(missing_ok=True)
        return len([path for path in files if path.suffix == _SUFFIX])


def _file(name: str) -> str:
    return f"{_ODD.sub('-', name.removesuffix('.json'))}{_SUFFIX}"


def _packed(kept: Kept) -> bytes:
    head = {"etag": kept.etag, "checked_at": kept.checked_at.isoformat(), "sha256": hashlib.sha256(kept.body).hexdigest()}
    return json.dumps(head).encode() + b"\n" + kept.body


def _unpacked(data: bytes) -> Kept:
    first, _, body = data.partition(b"\n")
    head = json.loads(first[:MOST_HEAD])
    if not isinstance(head, dict) or head.get("sha256") != hashlib.sha256(body).hexdigest():
        raise ValueError("not what was written")
    checked_at = moment(head.get("checked_at"))
    if checked_at is None:
        raise ValueError("not what was written")
    return Kept(body=body, etag=known_etag(head.get("etag")), checked_at=checked_at)
