"""The environment in which promises are written down and compared: no keys, no addresses, nothing of the user's own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

_OURS = ("LLMDISPATCHER_", "LLMRING_")
_KEYS = ("_KEY", "_TOKEN", "_URL", "_ENDPOINT", "_HOST", "_PROXY")
_OTHERS = ("NO_COLOR", "DATABASE_URL", "TERM", "COLUMNS")


def clean(home: Path) -> dict[str, str]:
    """The variables that are left, and a folder of the user's own in ``home``."""
    kept = {name: value for name, value in os.environ.items() if not _speaks(name)}
    return kept | {
        "LLMDISPATCHER_HOME": str(home / "home"),
        "LLMDISPATCHER_CACHE_DIR": str(home / "cache"),
        "NO_PROXY": "127.0.0.1",
    }


def _speaks(name: str) -> bool:
    return name.startswith(_OURS) or name.upper().endswith(_KEYS) or name in _OTHERS


@contextmanager
def cleaned(home: Path) -> Iterator[None]:
    """Nothing else in the environment of this process."""
    with mock.patch.dict(os.environ, clean(home), clear=True):
        yield
