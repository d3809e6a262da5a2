"""``aliases``: list the aliases of the lockfile."""

from __future__ import annotations

from pathlib import Path

from ..options import make_command
from ..settings import Settings
from ..tables import print_records
from ..terminal import OK, complain, tell
from . import lock
from .lock import LOCKFILE_OPTION


@make_command("aliases", examples=("llmdispatcher aliases", "llmdispatcher aliases --profile prod --json"))
@LOCKFILE_OPTION
def command(settings: Settings, lockfile: Path | None) -> int:
    """List the aliases of a profile, those of extended packages too, and the models they stand for, the first choice first."""
    found = lock.find_lockfile(lockfile)
    aliases = found.aliases(settings.profile)
    profile = found.profile_in_use(settings.profile)
    as_json = {"lockfile": str(found.path), "profile": profile, "aliases": aliases}
    print_records(settings, as_json, ("alias", "models"), [(name, ", ".join(models)) for name, models in aliases.items()])
    if settings.json:
        return OK
    tell(f"{len(aliases)} aliases; profile {profile} of {lock.describe(found)}")
    for extension in found.extensions():
        if extension.problem is not None:
            complain(extension.problem)
    return OK
