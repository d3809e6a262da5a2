"""The service as one WSGI application."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..dispatcher import Config, Dispatcher, read_config_file
from .gateway.app import Gateway, make_gateway
from .gateway.http import GatewaySettings
from .gateway.passthrough import settings_in
from .keys import KeyStore


def create_app(
    dispatcher: Dispatcher | Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    keys: KeyStore | str | os.PathLike[str],
    settings: GatewaySettings | None = None,
) -> Gateway:
    """Return the gateway as a WSGI application, for any server, or mounted in an application under a prefix.

    ``dispatcher`` may be the path of a configuration file, the fields of a :class:`Config` for the vendors of the environment, or
    nothing, for these with the defaults. ``keys`` is a store, the path of its file, or the URL of its PostgreSQL server. Raises
    :class:`ConfigError` for a mistake.
    """
    if isinstance(dispatcher, str | os.PathLike):
        settings = settings_in(read_config_file(dispatcher), settings or GatewaySettings())
        dispatcher = Dispatcher.from_file(dispatcher)
    elif dispatcher is None or isinstance(dispatcher, Config | Mapping):
        dispatcher = Dispatcher.from_env(dispatcher)
    return make_gateway(dispatcher, keys if isinstance(keys, KeyStore) else KeyStore(keys), settings)
