"""The dispatcher as a service: a gateway that speaks every client's format, its keys, and the process that serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .app import create_app as create_app
    from .gateway.app import Gateway as Gateway
    from .gateway.file_settings import gateway_mistakes as gateway_mistakes
    from .gateway.file_settings import settings_in as settings_in
    from .gateway.http import GatewaySettings as GatewaySettings
    from .gateway.users import GatewayUser as GatewayUser
    from .keys import ApiKey as ApiKey
    from .keys import KeyStore as KeyStore
    from .litellm_accounts import ImportedRow as ImportedRow
    from .litellm_accounts import import_accounts as import_accounts
    from .litellm_dump import read_dump as read_dump
    from .mounting import mount as mount
    from .policies import KeyOwner as KeyOwner
    from .serve import ServeOptions as ServeOptions
    from .serve import first_keys as first_keys
    from .serve import run_server as run_server
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "app": ("create_app",),
            "gateway.app": ("Gateway",),
            "gateway.file_settings": ("gateway_mistakes", "settings_in"),
            "gateway.http": ("GatewaySettings",),
            "gateway.users": ("GatewayUser",),
            "keys": ("ApiKey", "KeyStore"),
            "litellm_accounts": ("import_accounts", "ImportedRow"),
            "litellm_dump": ("read_dump",),
            "policies": ("KeyOwner",),
            "mounting": ("mount",),
            "serve": ("first_keys", "run_server", "ServeOptions"),
        },
    )
