"""The global options as one value: what is given on the command line takes precedence over the environment."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from ..runtime import user_path
from ..types import is_server
from .terminal import UsageError


@attrs.frozen(kw_only=True)
class Settings:
    """The global options. ``database`` is a URL or ``None``; ``database_given`` says that an option named it."""

    database: str | None = attrs.field(default=None, repr=False)
    database_given: bool = False
    profile: str | None = None
    config: Path | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False
    no_color: bool = False

    @classmethod
    def of(cls, given: Mapping[str, Any], environment: Mapping[str, str]) -> Self:
        """Read the options, which precede the variables of the environment. Raises :class:`UsageError` and :class:`ConfigError`."""
        if "db" in given and "sqlite" in given:
            raise UsageError("--db and --sqlite both name the database; give one of them")
        if given.get("debug"):
            logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
            logging.getLogger("llmdispatcher").setLevel(logging.DEBUG)
        taken = {name: given[name] for name in ("config", "json", "quiet", "debug", "no_color") if name in given}
        profile = given.get("profile") or environment.get("LLMDISPATCHER_PROFILE") or environment.get("LLMRING_PROFILE")
        named = "db" in given or "sqlite" in given
        return cls(database=_database(given, environment), database_given=named, profile=profile or None, **taken)


def _database(given: Mapping[str, Any], environment: Mapping[str, str]) -> str | None:
    if "db" in given:
        return str(given["db"])
    file = given.get("sqlite")
    if file is None and not environment.get("DATABASE_URL") and environment.get("LLMRING_SQLITE_DB"):
        file = environment["LLMRING_SQLITE_DB"]
    if file is not None and is_server(str(file)):
        raise UsageError("--sqlite takes the path of a file; --db takes an address, such as postgresql://user@host/name")
    if file is not None:
        return f"sqlite:///{user_path(file, '--sqlite').absolute()}"
    return environment.get("DATABASE_URL") or None
