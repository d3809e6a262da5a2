"""``cache``: show what a store of responses holds, or empty it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import click

from ..._text import escaped
from ...cache import AnswerCache, ResponseCache, inspect_store
from ...dispatcher import read_config_file
from ...runtime import SYSTEM_CLOCK
from ..options import Suite, make_command
from ..settings import Settings
from ..tables import print_result
from ..terminal import FAILED, OK, UsageError, confirm, say, tell, tell_json

command = Suite("cache", help="Inspect a cache of answers, or empty it.", examples=("llmdispatcher cache info answers.db",))

_STORE = "A file, redis://host:6379/0 or postgresql://host/name; else that of --config."


def _with_place(function: Any) -> Any:
    """Add what says where a store is."""
    options = [
        click.argument("store", required=False, metavar="[STORE]", help=_STORE),
        click.option("--prefix", metavar="TEXT", help="What stands before the keys on a Redis server."),
        click.option("--schema", metavar="NAME", help="The schema of the table in PostgreSQL."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@make_command(
    "info", suite=command, examples=("llmdispatcher cache info answers.db", "llmdispatcher --config app.toml cache info --json")
)
@_with_place
def info(settings: Settings, **given: Any) -> int:
    """Count the answers in a store."""
    cache = _cache_of(settings, given)
    found = inspect_store(cache)
    if settings.json:
        tell_json({"store": cache.place, **attrs.asdict(found)})
        return OK
    size = "" if found.size is None else f", {found.size:,} bytes"
    tell(f"{cache.place}: {found.entries:,} answers, {found.expired:,} of them expired{size}")
    return OK


@make_command(
    "clear",
    suite=command,
    examples=("llmdispatcher cache clear answers.db", "llmdispatcher cache clear answers.db --yes"),
)
@_with_place
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def clear(settings: Settings, yes: bool, **given: Any) -> int:
    """Delete all answers in a store, for all programs that use it."""
    place = _cache_of(settings, given)
    found = inspect_store(place)
    question = f"{found.entries:,} answers in {place.place} will be forgotten"
    if not yes and not confirm(escaped(question), otherwise="--yes forgets them"):
        return FAILED
    cache = AnswerCache(place, SYSTEM_CLOCK)
    cache.clear()
    cache.close()
    print_result(settings, {"store": place.place, "forgotten": found.entries}, f"{found.entries:,} answers forgotten", say)
    return OK


def _cache_of(settings: Settings, given: Mapping[str, Any]) -> ResponseCache:
    """The cache that an argument names, else that of the configuration."""
    place = {name: given[name] for name in ("store", "prefix", "schema") if given[name] is not None}
    if "store" in place:
        return ResponseCache(**place)
    cache = read_config_file(settings.config, only=("cache",)).config().cache
    if cache is None:
        raise UsageError("which store? llmdispatcher cache info FILE, or a --config with [cache]")
    return attrs.evolve(cache, **place)
