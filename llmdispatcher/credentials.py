"""Keys and addresses: from the configuration, from a function that hands out fresh tokens, or from the environment."""

from __future__ import annotations

import os
import re

import attrs

from .catalog import VendorRow
from .config import VendorConfig
from .errors import ConfigError

_PLACES = re.compile(r"{(\w+)}")
_CARRIED = re.compile(r"[\x21-\x7e]{1,4096}")
"""What an HTTP header can carry as a key: printable ASCII without blanks, of a sane length."""


def checked_key(key: str, field: str) -> str:
    """The key, if a header can carry it; the error shows no more than its last four characters."""
    if not _CARRIED.fullmatch(key):
        tail = key[-4:] if len(key) >= 12 and key[-4:].isprintable() else ""
        raise ConfigError(
            f"{field}: the key ending in {tail!r} has blanks, line ends or characters that are not ASCII, or is over 4,096 long;"
            " copy it again without what surrounds it"
        )
    return key


@attrs.define(eq=False)
class Credentials:
    """What one vendor is reached with. The environment is read anew at each question, a function is asked for each key."""

    row: VendorRow
    config: VendorConfig = attrs.field(repr=False)
    _shown: str | None = attrs.field(default=None, init=False, repr=False)

    def key(self) -> str | None:
        """The key for the next call, if there is one. Raises :class:`ConfigError` for one that no header can carry."""
        given = self.config.api_key
        key = given() if callable(given) else given or from_environment(self.row.key_env)
        self._shown = key and checked_key(key, self.config.name or self.row.name)
        return self._shown

    @property
    def shown(self) -> str | None:
        """The key that was shown last, to be kept out of errors."""
        return self._shown

    def url(self) -> str | None:
        """The address, without a slash at its end."""
        row = self.row
        url = self.config.base_url or from_environment(row.url_env) or _filled(row.base_url)
        if url and "://" not in url:  # OLLAMA_HOST is a bare host, as its server's documentation has it
            url = f"http://{url}" if ":" in url else f"http://{url}:{(row.base_url or '').rpartition(':')[2]}"
        return url.rstrip("/") if url else None

    def version(self) -> str | None:
        """The API's version, where a vendor has several."""
        return self.config.api_version or from_environment(self.row.version_env)

    def missing(self) -> str | None:
        """What is still to be told, and where; ``None`` when nothing is."""
        row = self.row
        if not (self.config.api_key or from_environment(row.key_env) or row.keyless):
            return f"no API key; pass api_key=... or set {' or '.join(row.key_env)}"
        if self.url() is None:
            return f"no address; pass base_url=... or set {' or '.join((*row.url_env, *_PLACES.findall(row.base_url or '')))}"
        return None


def from_environment(names: tuple[str, ...]) -> str | None:
    """The first of some variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _filled(url: str | None) -> str | None:
    """An address whose {NAME}s are taken from the environment; ``None`` where one is not there."""
    for name in _PLACES.findall(url or ""):
        if not os.environ.get(name):
            return None
        url = (url or "").replace(f"{{{name}}}", os.environ[name].rstrip("/"))
    return url
