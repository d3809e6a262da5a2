"""``info``: the versions, paths and extras that a bug report should contain."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
from typing import Any

from ..._version import __version__
from ...catalog import all_models, vendor_rows
from ...runtime import data_folder
from .. import keychain
from ..options import make_command
from ..settings import Settings
from ..terminal import OK, tell, tell_json

_EXTRAS = {
    "cli": ("click", "rich"),
    "keyring": ("keyring",),
    "ledger": ("sqlalchemy", "alembic"),
    "postgres": ("psycopg",),
    "receipts": ("cryptography", "rfc8785"),
    "lockfile": ("tomlkit",),
    "redis": ("redis",),
    "limits": ("limits",),
    "tokens": ("tiktoken",),
    "schema": ("jsonschema_rs",),
    "parquet": ("pyarrow",),
    "plot": ("matplotlib",),
}
"""The packages of each extra."""


_NO_FOLDER = "none, since this user has no home folder; LLMDISPATCHER_HOME names one"


@make_command("info", examples=("llmdispatcher info", "llmdispatcher info --json"))
def command(settings: Settings) -> int:
    """Show versions, paths and extras, without keys, addresses and passwords."""
    facts = _facts(settings)
    if settings.json:
        tell_json(facts)
        return OK
    for name, value in (facts | {"data_folder": facts["data_folder"] or _NO_FOLDER}).items():
        lines = [f"{key}: {_line(part)}" for key, part in value.items()] if isinstance(value, dict) else [_line(value)]
        for number, line in enumerate(lines):
            tell(f"{name.replace('_', ' ') if not number else '':<13} {line}")
    return OK


def _facts(settings: Settings) -> dict[str, Any]:
    folder = data_folder()
    environment = [row.name for row in vendor_rows() if any(os.environ.get(name) for name in row.key_env)]
    return {
        "llmdispatcher": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()}, {platform.system()})",
        "prices": next(facts.price_version for facts in all_models("openai")),
        "data_folder": str(folder) if folder is not None else None,
        "config": str(settings.config) if settings.config is not None else None,
        "profile": settings.profile,
        "database": _kind(settings.database) if settings.database else None,
        "keys": {"environment": environment, "keychain": keychain.list_vendors()},
        "extras": {name: _versions(packages) for name, packages in _EXTRAS.items()},
    }


def _kind(database: str) -> str:
    """The kind of database of a path or an address."""
    kind, colon, _ = database.partition("://")
    return kind if colon else "sqlite"


def _versions(packages: tuple[str, ...]) -> str | None:
    """The versions of an extra's packages; ``None`` if one is missing."""
    if any(importlib.util.find_spec(name) is None for name in packages):
        return None
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def _line(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "–"
    return str(value) if value is not None else "–"
