"""Which lockfile a command means, and which registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..lockfile import Lockfile
from . import config_file
from .options import FILE
from .settings import Settings
from .terminal import complain

if TYPE_CHECKING:
    from ..registry import Registry

NEW = Path("llmdispatcher.lock")
"""What a lockfile is called where nobody said."""

REGISTRY = "LLMDISPATCHER_REGISTRY"
"""The variable that names a registry."""

LOCKFILE = click.option("--lockfile", type=FILE, metavar="FILE", help="Which lockfile; else the one that holds in this folder.")
"""The option of every command that is about a lockfile."""

FROM = click.option(
    "--registry", metavar="URL|DIR", help=f"Which registry; else that of --config, of ${REGISTRY}, or the published one."
)
"""The option of every command that asks a registry."""


def found(path: Path | None) -> Lockfile:
    """The lockfile that is meant."""
    return Lockfile.load(path) if path is not None else Lockfile.discover()


def registry(settings: Settings, given: str | None) -> Registry:
    """The registry that is meant; nothing is asked yet."""
    from ..registry import PUBLISHED, Registry  # late: only who asks one needs it

    configured: Any = config_file.read(settings.config).fields.get("registry")
    return Registry(given or configured or os.environ.get(REGISTRY) or PUBLISHED)


def told(lockfile: Lockfile) -> str:
    """The lockfile's place, for people."""
    return "the lockfile of llmdispatcher itself" if lockfile.is_bundled else str(lockfile.path)


def complain_of(text: str) -> None:
    """Each line of an error of many lines."""
    for line in text.splitlines():
        if line.strip():
            complain(line)
