"""``cache``: show what a store of responses holds, or empty it."""

from __future__ import annotations

import attrs
import click

from ..._text import escaped
from ...cache import AnswerCache, ResponseCache, inspect_store
from ...dispatcher import read_config_file
from ...runtime import SYSTEM_CLOCK
from ...types import mask_store
from ..options import Suite, make_command
from ..settings import Settings
from ..terminal import FAILED, OK, UsageError, confirm, say, tell, tell_json

command = Suite("cache", help="Inspect a cache of answers, or empty it.", examples=("llmdispatcher cache info answers.db",))

_STORE = "A file or redis://host:6379/0; else that of --config."


@make_command(
    "info", suite=command, examples=("llmdispatcher cache info answers.db", "llmdispatcher --config app.toml cache info --json")
)
@click.argument("store", required=False, metavar="[STORE]", help=_STORE)
def info(settings: Settings, store: str | None) -> int:
    """Count the answers in a store."""
    place = _store_of(settings, store)
    found = inspect_store(place)
    if settings.json:
        tell_json({"store": mask_store(place), **attrs.asdict(found)})
        return OK
    size = "" if found.size is None else f", {found.size:,} bytes"
    tell(f"{mask_store(place)}: {found.entries:,} answers, {found.expired:,} of them expired{size}")
    return OK


@make_command(
    "clear",
    suite=command,
    examples=("llmdispatcher cache clear answers.db", "llmdispatcher cache clear answers.db --yes"),
)
@click.argument("store", required=False, metavar="[STORE]", help=_STORE)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear(settings: Settings, store: str | None, yes: bool) -> int:
    """Delete all answers in a store, for all programs that use it."""
    place = _store_of(settings, store)
    found = inspect_store(place)
    question = f"{found.entries:,} answers in {mask_store(place)} will be forgotten"
    if not yes and not confirm(escaped(question), otherwise="--yes forgets them"):
        return FAILED
    cache = AnswerCache(ResponseCache(store=place), SYSTEM_CLOCK)
    cache.clear()
    cache.close()
    if settings.json:
        tell_json({"store": mask_store(place), "forgotten": found.entries})
    elif not settings.quiet:
        say(f"{found.entries:,} answers forgotten")
    return OK


def _store_of(settings: Settings, store: str | None) -> str:
    if store is not None:
        return store
    cache = read_config_file(settings.config).config().cache
    if cache is None:
        raise UsageError("which store? llmdispatcher cache info FILE, or a --config with [cache]")
    return cache.store
