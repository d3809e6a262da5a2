"""What a configuration file says to the gateway: ``stateful``, ``cache_marks``, ``[[passthrough]]`` and the table ``[server]``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from ...dispatcher import ConfigFile
from ...errors import ConfigError
from ...types import at_least, build, optional_seconds
from .http import GatewaySettings
from .passthrough import read_rows


def settings_in(file: ConfigFile, settings: GatewaySettings) -> GatewaySettings:
    """The settings with those of a configuration file. Raises :class:`ConfigError` with the path of a mistake."""
    given = file.gateway
    found: dict[str, Any] = {}
    for name in ("stateful", "cache_marks"):
        if name in given:
            if not isinstance(given[name], bool):
                raise ConfigError(f"{name}: {given[name]!r} is no flag; write true or false")
            found[name] = given[name]
    if "passthrough" in given:
        found["passthrough"] = read_rows(given["passthrough"])
    if "server" in given:
        table = attrs.asdict(build(ServerTable, given["server"], "server"))
        found |= {name: value for name, value in table.items() if value is not None}
    return attrs.evolve(settings, **found)


def _positive(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ConfigError(f"{attribute.name}: {value!r} is not a whole number ≥ 1")


def _names(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not all(isinstance(name, str) and name for name in value):
        raise ConfigError(f"{attribute.name}: {list(value)!r} is no list of vendors' names; write one such as ['openai'], or ['*']")


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value if value is None else (value,)


@attrs.frozen(kw_only=True)
class ServerTable:
    """The table ``[server]``; what each name means says :class:`GatewaySettings`. ``None`` leaves a setting as it is."""

    timeout: float | None = attrs.field(default=None, validator=optional_seconds)
    patience: float | None = attrs.field(default=None, validator=optional_seconds)
    heartbeat: float | None = attrs.field(default=None, validator=optional_seconds)
    auth_grace: float | None = attrs.field(default=None, validator=at_least(0))
    default_max_tokens: int | None = attrs.field(default=None, validator=_positive)
    max_max_tokens: int | None = attrs.field(default=None, validator=_positive)
    record_days: int | None = attrs.field(default=None, validator=_positive)
    drain_vendors: tuple[str, ...] | None = attrs.field(default=None, converter=_listed, validator=_names)
