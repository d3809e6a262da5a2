"""Where a registry's documents come from: a URL or a folder, its settings, and the checks of both.

Requests to the network are bounded, follow no redirect, have one deadline and send nothing but an ETag. Mistakes in the settings
are reported with their field and remedy.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from contextlib import closing
from ipaddress import ip_address
from os import PathLike, fspath
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

import attrs

from ..._version import __version__
from ...errors import Cancelled, ConfigError, DeadlineExceeded, DispatchError, MalformedReply, VendorUnavailable
from ...runtime import Deadline, cache_folder, new_lock, user_path
from ...transport import IoLimits, Transport
from ...types import HttpCall
from ..facts import canonical
from .document import MOST_BYTES, MOST_VERSION

PUBLISHED = "https://llmring.github.io/registry"
"""The public registry whose layout this is."""
VENDOR = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""The name of a vendor in an address."""
MANIFEST = "manifest.json"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HALF_A_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")


@attrs.frozen
class RegistrySource:
    """A registry's address: ``url`` for the net, without a slash at its end, or ``folder``; ``str()`` is for people."""

    url: str = ""
    folder: Path | None = None

    @classmethod
    def of(cls, value: str | PathLike[str]) -> RegistrySource:
        """A source from an https address, a ``file://`` address or a path. Raises :class:`ConfigError`."""
        if not isinstance(value, str | PathLike) or not fspath(value):
            raise ConfigError(f"registry: {value!r} is no address; give an https:// address, or the path of a folder")
        text = fspath(value)
        if "\0" in text or (isinstance(value, str) and not text.isprintable()):
            raise ConfigError("registry: the address has control characters; give an https:// address, or the path of a folder")
        if isinstance(value, PathLike) or "://" not in text:
            return cls(folder=user_path(text, "registry"))
        try:
            parts = urlsplit(text)
            parts.port  # noqa: B018  # it raises for an invalid port
        except ValueError:
            raise ConfigError("registry: this is not a URL; use one such as 'https://registry.example.com/models'") from None
        return cls._file(parts) if parts.scheme == "file" else cls._net(parts)

    @classmethod
    def _file(cls, parts: SplitResult) -> RegistrySource:
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path:
            raise ConfigError("registry: a file:// address names a folder of this machine, as in 'file:///srv/registry'")
        return cls(folder=Path(url2pathname(parts.path)))

    @classmethod
    def _net(cls, parts: SplitResult) -> RegistrySource:
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme not in ("https", "http") or not host:
            raise ConfigError("registry: only https:// and file:// addresses are asked; use 'https://registry.example.com/models'")
        if "@" in parts.netloc or parts.query or parts.fragment or not parts.geturl().isascii() or " " in parts.geturl():
            raise ConfigError("registry: an address has no user, password, query or fragment, and ASCII letters only")
        if parts.scheme == "http" and host not in _LOOPBACK:
            raise ConfigError(f"registry: {host!r} is asked over https:// only; http:// is for localhost, 127.0.0.1 and ::1")
        if _unspecified(host):
            raise ConfigError(f"registry: {host!r} is no address of a machine; write localhost, 127.0.0.1 or the machine's own")
        return cls(url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")

    def __str__(self) -> str:
        return self.url or str(self.folder)


def _unspecified(host: str) -> bool:
    """Whether a host is 0.0.0.0 or ::, or a number that resolvers take for an address and people do not."""
    try:
        ip = ip_address(host)
    except ValueError:
        return _HALF_A_NUMBER.fullmatch(host) is not None
    mapped = getattr(ip, "ipv4_mapped", None)
    return ip.is_unspecified or (mapped is not None and mapped.is_unspecified)


def document_path(vendor: str, version: int | None = None) -> str:
    """Return the path of a vendor's models below a registry's address: the current ones, or those of a version."""
    if not VENDOR.fullmatch(vendor):
        raise ConfigError(f"registry: {vendor!r} is no vendor's name; use lower-case letters, digits and hyphens")
    return f"{vendor}/models.json" if version is None else f"{vendor}/v/{version}/models.json"


_HEADERS = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": f"llmdispatcher/{__version__}"}
_LIMITS = IoLimits(connect=5.0, first_byte=None, idle=10.0, max_body=MOST_BYTES)
_CONNECTIONS = 2
MOST_ETAG = 512


@attrs.frozen(kw_only=True)
class Reply:
    """The answer to a request for a document; ``body`` is ``None`` if the document still has the known ``etag``."""

    body: bytes | None = attrs.field(repr=False)
    etag: str | None


class Reader(Protocol):
    """Reads documents by their path below the registry's address."""

    def read(self, path: str, etag: str | None, deadline: Deadline) -> Reply:
        """Read a document, unless it still has ``etag``. Raises a :class:`~llmdispatcher.DispatchError`."""

    def close(self) -> None:
        """Close idle connections."""


class FolderReader:
    """Reads from a folder, or the ``pages`` in it; a file's tag is its inode, size and time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str, etag: str | None, deadline: Deadline) -> Reply:
        """Read a file. Raises :class:`VendorUnavailable` if it is missing, :class:`MalformedReply` if it is too large."""
        deadline.check()
        pages = self._folder / "pages"
        file = (pages if pages.is_dir() else self._folder) / path
        try:
            known = file.stat()
            tag = f"{known.st_ino}-{known.st_size}-{known.st_mtime_ns}"
            return Reply(body=None if tag == etag else read_bounded(file, MOST_BYTES), etag=tag)
        except OSError as error:
            absent = isinstance(error, FileNotFoundError)
            text = f"registry: {path} {'is not there' if absent else f'cannot be read: {error.strerror}'}"
            raise VendorUnavailable(text, status=404 if absent else None) from None
        except ValueError as wrong:
            raise MalformedReply(f"registry: {path} is {wrong}") from None

    def close(self) -> None:
        """Do nothing: there are no connections."""


class HttpReader:
    """Reads from a server over the library's own transport: verified certificates, kept connections, no cookies or credentials."""

    def __init__(self, source: RegistrySource, ca_bundle: str | None) -> None:
        self._base = source.url
        self._ca_bundle = ca_bundle
        self._lock = new_lock()
        self._transport: Transport | None = None

    def read(self, path: str, etag: str | None, deadline: Deadline) -> Reply:
        """Read a document. Raises what the transport raises, :class:`VendorUnavailable` for any other status than 200 and 304."""
        try:
            return self._open(path, etag, deadline)
        except (Cancelled, DeadlineExceeded, ConfigError):
            raise
        except DispatchError as error:
            if error.phase is None:
                raise type(error)(f"registry: {path}: {error.message}", status=error.status) from None
            what = "was cut off" if error.sent else "could not be reached"
            raise VendorUnavailable(f"registry: {path} {what} ({error.phase})", phase=error.phase, sent=error.sent) from None

    def _open(self, path: str, etag: str | None, deadline: Deadline) -> Reply:
        headers = _HEADERS if etag is None else {**_HEADERS, "If-None-Match": etag}
        call = HttpCall(method="GET", url=f"{self._base}/{path}", headers=headers)
        with closing(self._connect().open(call, deadline)) as reply:
            if reply.status == 304 and etag is not None:
                return Reply(body=None, etag=etag)
            if reply.status != 200:
                where = "; redirects are not followed, give the address that it leads to" if 300 <= reply.status < 400 else ""
                raise VendorUnavailable(f"answered with status {reply.status}{where}", status=reply.status)
            return Reply(body=reply.read(), etag=valid_etag(reply.headers.get("etag")))

    def close(self) -> None:
        """Close idle connections; a later read opens new ones."""
        transport = self._transport
        if transport is not None:
            transport.close()

    def _connect(self) -> Transport:
        """The transport, made at the first read, since it reads the environment. A loopback address is asked without a proxy."""
        with self._lock:
            if self._transport is None:
                secure = self._base.startswith("https://")
                self._transport = Transport(
                    self._base, limits=_LIMITS, pool_size=_CONNECTIONS, ca_bundle=self._ca_bundle, trust_env=secure
                )
            return self._transport


def reader_for(source: RegistrySource, ca_bundle: str | None) -> Reader:
    """Return the reader of a source."""
    return FolderReader(source.folder) if source.folder is not None else HttpReader(source, ca_bundle)


def read_bounded(path: Path, most: int) -> bytes:
    """Read a regular file. Raises ``OSError``, and ``ValueError`` for one that is longer, or is no regular file."""
    if path.exists() and not path.is_file():
        raise ValueError("not a file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError("too long")
    return data


def valid_etag(value: object) -> str | None:
    """Return an entity tag that can be sent back, ``None`` for anything else."""
    if not isinstance(value, str) or not 0 < len(value) <= MOST_ETAG or value != value.strip():
        return None
    return value if value.isascii() and value.isprintable() else None


def cache_folder_of(source: RegistrySource, cache_dir: str | PathLike[str] | None) -> Path | None:
    """Return the cache folder of a source, each its own; ``None`` for a source that is a folder itself."""
    if source.folder is not None:
        return None
    base = user_path(cache_dir, "registry.cache_dir") if cache_dir is not None else cache_folder()
    return None if base is None else base / "registry" / hashlib.sha256(source.url.encode()).hexdigest()[:16]


def parse_vendor(name: Any) -> str:
    """Return a vendor's canonical name. Raises :class:`ConfigError`."""
    found = canonical(name) if isinstance(name, str) else ""
    if not VENDOR.fullmatch(found):
        raise ConfigError(f"registry: {name!r} is no vendor's name; use one such as 'openai'")
    return found


def check_version(version: Any) -> int | None:
    """Check a version; ``None`` is the current one. Raises :class:`ConfigError`."""
    if version is not None and (isinstance(version, bool) or not isinstance(version, int) or not 0 < version <= MOST_VERSION):
        raise ConfigError(f"registry.versions: {version!r} is no version; give a whole number > 0, such as 7")
    return version


def check_since(since: Any) -> int:
    """Check a version; 0 is the time before the first. Raises :class:`ConfigError`."""
    return 0 if since == 0 and not isinstance(since, bool) else check_version(since) or 0


def parse_pins(versions: Any) -> dict[str, int]:
    """Check pinned versions by vendor, such as a lockfile's ``registry_versions``. Raises :class:`ConfigError`."""
    if versions is not None and not isinstance(versions, Mapping):
        raise ConfigError(f"registry.versions: {type(versions).__name__} is no mapping; give one such as {{'openai': 7}}")
    return {
        parse_vendor(vendor): check_version(version) or 0 for vendor, version in (versions or {}).items() if version is not None
    }


def check_seconds(field: str, value: Any) -> float:
    """Check a number of seconds. Raises :class:`ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"registry.{field}: {value!r} is not a number of seconds > 0")
    return float(value)
