"""The service as one WSGI application."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..dispatcher import Config, Dispatcher
from ..errors import ConfigError
from ..runtime import make_data_folder
from .gateway.app import Gateway, make_gateway
from .gateway.http import GatewaySettings
from .gateway.users import Users
from .keys import KeyStore


def create_app(
    dispatcher: Dispatcher | Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    *,
    keys: KeyStore | str | os.PathLike[str] | None = None,
    users: Users | None = None,
    settings: GatewaySettings | None = None,
) -> Gateway:
    """Return the gateway as a WSGI application, for any server, or mounted in an application under a prefix.

    ``dispatcher`` may be the path of a configuration file, the fields of a :class:`Config` for the vendors of the environment, or
    nothing, for these with the defaults. ``keys`` is a store, the path of its file, or the URL of its PostgreSQL server.

    With ``users`` the users of the application around it ask, without keys: a callable that takes the WSGI environ and returns an
    :class:`GatewayUser`, or ``None`` for somebody unknown. Their budgets are kept in ``keys``, by default in the
    user's data folder. Raises :class:`ConfigError` for a mistake.
    """
    if keys is None:
        if users is None:
            raise ConfigError("keys: nobody could ask; name the file of the keys, such as 'server.db', or give users")
        keys = make_data_folder() / "server.db"
    if isinstance(dispatcher, str | os.PathLike):
        dispatcher = Dispatcher.from_file(dispatcher)
    elif dispatcher is None or isinstance(dispatcher, Config | Mapping):
        dispatcher = Dispatcher.from_env(dispatcher)
    return make_gateway(dispatcher, keys if isinstance(keys, KeyStore) else KeyStore(keys), settings, users=users)
