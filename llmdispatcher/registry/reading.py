"""Brings a registry's documents, from the net or from files: bounded, no redirects, one deadline, nothing sent but an ETag."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Protocol

import attrs

from .._version import __version__
from ..clock import Deadline
from ..errors import Cancelled, ConfigError, DeadlineExceeded, DispatchError, MalformedReply, VendorUnavailable
from ..http_values import HttpCall
from ..locks import new_lock
from ..transport import Limits, Transport
from .edition import MOST_BYTES
from .source import Source

_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"llmdispatcher/{__version__}"}
_LIMITS = Limits(connect=5.0, first_byte=None, idle=10.0, max_body=MOST_BYTES)
_CONNECTIONS = 2
MOST_ETAG = 512


@attrs.frozen(kw_only=True)
class Brought:
    """What an address brought; ``body`` is ``None`` where it is what ``etag`` already stood for."""

    body: bytes | None = attrs.field(repr=False)
    etag: str | None


class Reader(Protocol):
    """Brings documents by their path below the registry's address."""

    def read(self, path: str, etag: str | None, deadline: Deadline) -> Brought:
        """The document, or that it is the one of ``etag``. Raises a :class:`~llmdispatcher.errors.DispatchError`."""

    def close(self) -> None:
        """Close what is idle."""


class FolderReader:
    """From a folder, or the ``pages`` in it; a file's tag is its identity, size and time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, etag: str | None, deadline: Deadline) -> Brought:
        """The file. Raises :class:`VendorUnavailable` where there is none, :class:`MalformedReply` for one that is too large."""
        deadline.check()
        pages = self._folder / "pages"
        file = (pages if pages.is_dir() else self._folder) / path
        try:
            known = file.stat()
            tag = f"{known.st_ino}-{known.st_size}-{known.st_mtime_ns}"
            return Brought(body=None if tag == etag else read_bounded(file, MOST_BYTES), etag=tag)
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            text = f"registry: {path} {'is not there' if absent else f'cannot be read: {error.strerror}'}"
            raise VendorUnavailable(text, status=404 if absent else None) from None
        except ValueError as wrong:
            raise MalformedReply(f"registry: {path} is {wrong}") from None

    def close(self) -> None:
        """There is nothing to close."""


class HttpReader:
    """From a server, over the library's own transport: certificates verified, kept connections, no cookies or credentials."""

    def __init__(self, source: Source, ca_bundle: str | None) -> None:
        self._base = source.url
        self._ca_bundle = ca_bundle
        self._lock = new_lock()
        self._transport: Transport | None = None

    def read(self, path: str, etag: str | None, deadline: Deadline) -> Brought:
        """The document. Raises what the transport raises, :class:`VendorUnavailable` for any other status than 200 and 304."""
        try:
            return self._brought(path, etag, deadline)
        except (Cancelled, DeadlineExceeded, ConfigError):
            raise
        except DispatchError as error:
            if error.phase is None:
                raise type(error)(f"registry: {path}: {error.message}", status=error.status) from None
            what = "was cut off" if error.sent else "could not be reached"
            raise VendorUnavailable(f"registry: {path} {what} ({error.phase})", phase=error.phase, sent=error.sent) from None

    def _brought(self, path: str, etag: str | None, deadline: Deadline) -> Brought:
        headers = _HEADERS if etag is None else {**_HEADERS, "If-None-Match": etag}
        call = HttpCall(method="GET", url=f"{self._base}/{path}", headers=headers)
        with closing(self._connected().open(call, deadline)) as reply:
            if reply.status == 304 and etag is not None:
                return Brought(body=None, etag=etag)
            if reply.status != 200:
                where = "; redirects are not followed, give the address that it leads to" if 300 <= reply.status < 400 else ""
                raise VendorUnavailable(f"answered with status {reply.status}{where}", status=reply.status)
            return Brought(body=reply.read(), etag=known_etag(reply.headers.get("etag")))

    def close(self) -> None:
        """Close idle connections; a later read opens new ones."""
        transport = self._transport
        if transport is not None:
            transport.close()

    def _connected(self) -> Transport:
        """The transport, made at the first read, since it looks at the environment; a loopback is not asked through a proxy."""
        with self._lock:
            if self._transport is None:
                secure = self._base.startswith("https://")
                self._transport = Transport(
                    self._base, limits=_LIMITS, pool_size=_CONNECTIONS, ca_bundle=self._ca_bundle, trust_env=secure
                )
            return self._transport


def reader_for(source: Source, ca_bundle: str | None) -> Reader:
    """What reads a source."""
    return FolderReader(source.folder) if source.folder is not None else HttpReader(source, ca_bundle)


def read_bounded(path: Path, most: int) -> bytes:
    """The bytes of a regular file. Raises ``OSError``, and ``ValueError`` for one that is longer or no file."""
    if path.exists() and not path.is_file():
        raise ValueError("not a file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError("too long")
    return data


def known_etag(value: object) -> str | None:
    """An entity tag that can be sent back, ``None`` for anything else."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_ETAG or value != value.strip():
        return None
    return value if value.isascii() and value.isprintable() else None
