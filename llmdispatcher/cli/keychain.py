"""Keys in the system's keychain. A keychain cannot list its keys, so a file holds the names of the vendors that have one."""

from __future__ import annotations

import importlib.util
import json
from importlib import import_module
from typing import Any

from .. import vendors  # a door: what it offers is loaded when it is used
from ..catalog import vendor_row, vendor_rows
from ..runtime import make_data_folder, own_file, write_file
from ..types import choices
from .terminal import CommandFailed, UsageError

SERVICE = "llmdispatcher"
_LIST = "keys.json"


def list_vendors() -> list[str]:
    """Return the vendors whose keys are in the keychain."""
    file = own_file(_LIST)
    try:
        names = json.loads(file.read_text(encoding="utf-8")) if file is not None else []
    except (OSError, ValueError):
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def key_of(vendor: str) -> str | None:
    """Return the key of a vendor or ``None``. Raises :class:`CommandFailed` if the keychain cannot be opened."""
    return _call_keyring("get_password", vendor) or None


def put(vendor: str, key: str) -> None:
    """Store a key. Raises :class:`UsageError` for a vendor that is not in the catalog, :class:`ConfigError` for what is no key."""
    vendors.check_key(key, vendor)
    _call_keyring("set_password", vendor, key)
    _write_list([*list_vendors(), vendor])


def remove(vendor: str) -> None:
    """Delete a key. Raises :class:`UsageError` if there is none."""
    if vendor not in list_vendors():
        raise UsageError(f"{vendor}: the keychain has no key of this vendor; `llmdispatcher keys list` shows which it has")
    if key_of(vendor) is not None:
        _call_keyring("delete_password", vendor)
    _write_list([name for name in list_vendors() if name != vendor])


def vendor_name(name: str) -> str:
    """Return the catalog's name of a vendor. Raises :class:`UsageError`."""
    row = vendor_row(name)
    if row is None:
        hint = choices(name, [row.name for row in vendor_rows()], "there are {}")
        raise UsageError(f"{name}: no vendor of the catalog has this name; {hint}")
    return row.name


def mask(key: str) -> str:
    """Mask a key; its first and last four characters stay, if that hides enough of it."""
    return f"{key[:4]}…{key[-4:]}" if len(key) >= 20 else "…"


def _call_keyring(verb: str, vendor: str, *more: str) -> Any:
    if importlib.util.find_spec("keyring") is None:
        raise UsageError("keys in the system's keychain need keyring: pip install 'llmdispatcher[keyring]'")
    keyring = import_module("keyring")
    try:
        return getattr(keyring, verb)(SERVICE, vendor, *more)
    except keyring.errors.KeyringError as error:
        row = vendor_row(vendor)
        instead = f"; set {' or '.join(row.key_env)} instead" if row is not None else ""
        raise CommandFailed(f"keychain: {type(error).__name__}: {error}{instead}") from None


def _write_list(names: list[str]) -> None:
    write_file(make_data_folder() / _LIST, json.dumps(sorted(set(names))).encode())
