"""Where a registry is: the one place that decides which addresses may be one."""

from __future__ import annotations

import re
from ipaddress import ip_address
from os import PathLike, fspath
from pathlib import Path
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

import attrs

from ..errors import ConfigError

PUBLISHED = "https://llmring.github.io/registry"
"""The public registry whose layout this is."""
VENDOR = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
"""What a vendor is called in an address."""
MANIFEST = "manifest.json"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HALF_A_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)(\.(0x[0-9a-f]*|[0-9]+))*")


@attrs.frozen
class Source:
    """A registry's address: ``url`` for the net, without a slash at its end, or ``folder``; ``str()`` is for people."""

    url: str = ""
    folder: Path | None = None

    @classmethod
    def of(cls, value: str | PathLike[str]) -> Source:
        """A source from an https address, a ``file://`` address or a path. Raises :class:`ConfigError`."""
        if not isinstance(value, str | PathLike) or not fspath(value):
            raise ConfigError(f"registry: {value!r} is no address; give an https:// address, or the path of a folder")
        text = fspath(value)
        if "\0" in text or (isinstance(value, str) and not text.isprintable()):
            raise ConfigError("registry: the address has control characters; give an https:// address, or the path of a folder")
        if isinstance(value, PathLike) or "://" not in text:
            return cls(folder=Path(text).expanduser())
        try:
            parts = urlsplit(text)
            parts.port  # noqa: B018  # it raises where it is none
        except ValueError:
            raise ConfigError("registry: this is not a URL; use one such as 'https://registry.example.com/models'") from None
        return cls._file(parts) if parts.scheme == "file" else cls._net(parts)

    @classmethod
    def _file(cls, parts: SplitResult) -> Source:
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path:
            raise ConfigError("registry: a file:// address names a folder of this machine, as in 'file:///srv/registry'")
        return cls(folder=Path(url2pathname(parts.path)))

    @classmethod
    def _net(cls, parts: SplitResult) -> Source:
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
    """Where a vendor's models lie below a registry's address: the current ones, or those of one version for ever."""
    if not VENDOR.fullmatch(vendor):
        raise ConfigError(f"registry: {vendor!r} is no vendor's name; use lower-case letters, digits and hyphens")
    return f"{vendor}/models.json" if version is None else f"{vendor}/v/{version}/models.json"
