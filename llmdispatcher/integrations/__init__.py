"""The library inside other libraries: one module for each, imported by those who use it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from llmdispatcher import Config, ConfigError, Dispatcher


def make_dispatcher(setting: Any, place: str) -> Dispatcher:
    """Return a dispatcher made of a framework's setting: a path, the fields of :class:`Config`, nothing, or a dispatcher as it is.

    Raises :class:`ConfigError` for a mistake; its text begins with ``place``, where the setting stands.
    """
    try:
        if isinstance(setting, str | os.PathLike):
            return Dispatcher.from_file(setting)
        if isinstance(setting, Mapping) and "vendors" in setting:
            raise ConfigError(
                "vendors: a mapping has the fields of Config alone; give the path of a file that has vendors, or a Dispatcher"
            )
        if setting is None or isinstance(setting, Config | Mapping):
            return Dispatcher.from_env(setting)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.message}") from None
    if isinstance(setting, Dispatcher):
        return setting
    raise ConfigError(
        f"{place}: {type(setting).__name__} is no setting; give the path of a file, the fields of Config, or a Dispatcher"
    )
