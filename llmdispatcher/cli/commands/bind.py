"""``bind``: bind an alias to models."""

from __future__ import annotations

from pathlib import Path

import click

from ...catalog import Lockfile
from ..options import make_command
from ..settings import Settings
from ..terminal import OK, UsageError, complain, tell
from . import lock
from .lock import LOCKFILE_OPTION, doubt


@make_command(
    "bind",
    examples=(
        'llmdispatcher bind summarizer "openai:gpt-4o-mini,anthropic:claude-haiku-4-5"',
        "llmdispatcher bind summarizer openai:gpt-4o --profile prod",
        "llmdispatcher bind summarizer --remove",
    ),
)
@click.argument("alias", help="Its name.")
@click.argument("models", required=False, metavar='["M1,M2"]', help="Models, the first choice first, with commas between them.")
@click.option("--remove", is_flag=True, help="Remove the alias.")
@LOCKFILE_OPTION
def command(settings: Settings, alias: str, models: str | None, remove: bool, lockfile: Path | None) -> int:
    """Bind an alias to models in a profile of the lockfile; a former binding is replaced, comments stay.

    If this folder has no lockfile, one is made.
    """
    if remove is (models is not None):
        raise UsageError('bind: give models, such as "openai:gpt-4o-mini,anthropic:claude-haiku-4-5", or --remove')
    found = _lockfile_to_change(lockfile)
    if remove:
        if not found.unbind(alias, profile=settings.profile):
            raise UsageError(f"{alias}: there is no such alias in the profile {found.profile_in_use(settings.profile)!r}")
        change = "is gone"
    else:
        bound = found.bind(alias, models or "", profile=settings.profile).models
        change = f"→ {', '.join(bound)}"
        for text in filter(None, map(doubt, bound)):
            complain(text)
    path = found.save()
    if not settings.quiet:
        tell(f"{path}: {alias} {change} ({found.profile_in_use(settings.profile)})")
    return OK


def _lockfile_to_change(path: Path | None) -> Lockfile:
    if path is not None and not path.exists():
        return Lockfile.create_default(path)
    found = lock.find_lockfile(path)
    return Lockfile.create_default(lock.DEFAULT_FILE) if found.is_bundled else found
