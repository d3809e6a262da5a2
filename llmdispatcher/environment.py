"""The reader of environment variables."""

from __future__ import annotations

import os


def from_environment(names: tuple[str, ...]) -> str | None:
    """The first of some variables that is set and not empty."""
    return next((os.environ[name] for name in names if os.environ.get(name)), None)
