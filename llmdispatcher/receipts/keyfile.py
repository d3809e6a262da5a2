"""The file of a private key: made whole or not at all, never over another, for its owner alone.

::

    # llmdispatcher: private key for receipts. Whoever has it signs in your name.
    key_id = key_0123456789abcdef
    private_key = 43 letters of base64url
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from pathlib import Path

from ..errors import ConfigError
from .forms import base64url

_HEAD = "# llmdispatcher: private key for receipts. Whoever has it signs in your name."


def key_text(key_id: str, raw: bytes) -> str:
    """What is in the file."""
    return f"{_HEAD}\nkey_id = {key_id}\nprivate_key = {base64url(raw)}\n"


def private_bytes(text: str) -> bytes | None:
    """The 32 bytes that a key file's text or bare base64 of either alphabet stands for, else ``None``."""
    lines = dict(line.partition("=")[::2] for line in text.splitlines() if line.startswith("private_key"))
    written = next(iter(lines.values()), text).strip().rstrip("=").replace("+", "-").replace("/", "_")
    try:
        raw = base64.b64decode(written + "=" * (-len(written) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == 32 else None


def write_key(path: Path, text: str) -> None:
    """Make the file with mode 0600; raises :class:`ConfigError` where there is one, or where none can be made."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        handle = os.open(unfinished, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(handle)
            os.link(unfinished, path)  # unlike a rename it fails where there is a file
        finally:
            unfinished.unlink()
    except FileExistsError:
        raise ConfigError(f"key: {path} exists, and a key is never overwritten; take another name") from None
    except OSError as error:
        raise ConfigError(f"key: {path} cannot be written ({error.strerror}); choose a directory of your own") from None


def read_key(path: Path) -> str:
    """The text of the file; raises :class:`ConfigError` where it cannot be read, or others than its owner may."""
    try:
        handle = os.open(path, os.O_RDONLY)
        with os.fdopen(handle, encoding="ascii", errors="replace") as file:
            mode = os.fstat(handle).st_mode
            text = file.read(65_536)
    except OSError as error:
        raise ConfigError(f"key: {path} cannot be read ({error.strerror}); give the path of a key file") from None
    if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"key: others than its owner may read {path} (mode {stat.S_IMODE(mode):04o}); chmod 600 it, or take a new key"
        )
    return text
