"""The service as one WSGI application."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..dispatcher import Config, Dispatcher, read_config_file
from ..errors import ConfigError
from ..runtime import make_data_folder
from ..types import build
from .gateway.app import Gateway, make_gateway
from .gateway.caching import apart_by_organization
from .gateway.file_settings import settings_in
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

    A cache of a configuration keeps organizations apart. That of a dispatcher that is made already does not, and is not used.
    """
    if keys is None:
        if users is None:
            raise ConfigError("keys: nobody could ask; name the file of the keys, such as 'server.db', or give users")
        keys = make_data_folder() / "server.db"
    if isinstance(dispatcher, str | os.PathLike):
        settings = settings_in(read_config_file(dispatcher), settings or GatewaySettings())
        dispatcher = _from_file(dispatcher)
    elif dispatcher is None or isinstance(dispatcher, Config | Mapping):
        config = build(Config, {} if dispatcher is None else dispatcher, "config")
        dispatcher = Dispatcher.from_env(apart_by_organization(config))
    store = keys if isinstance(keys, KeyStore) else KeyStore(keys)
    if users is not None:
        store.prepare()  # no key is looked up before their first budget
    return make_gateway(dispatcher, store, settings, users=users)


def _from_file(path: str | os.PathLike[str]) -> Dispatcher:
    file = read_config_file(path)
    try:
        config, vendors = apart_by_organization(file.config()), file.make_vendors()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.message}") from None
    made = Dispatcher(config) if vendors else Dispatcher.from_env(config)
    for one in vendors:
        made.register_vendor(one)
    made.check_vendors()
    return made
