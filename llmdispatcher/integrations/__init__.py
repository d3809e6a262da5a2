"""The library inside other libraries: one module for each, imported by those who use it."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from llmdispatcher import Config, ConfigError, Dispatcher
from llmdispatcher.dispatcher import ConfigFile

from .._lazy import door

if TYPE_CHECKING:
    from .litellm.proxy_config import read_proxy_config as read_proxy_config
else:
    __getattr__, __dir__ = door(__name__, {"litellm.proxy_config": ("read_proxy_config",)})

_LAST_WORDS = 1.0
"""Seconds in which those whose calls have ended may hand on the answers, before the process ends."""


def make_dispatcher(setting: Any, place: str) -> Dispatcher:
    """Return a dispatcher made of a framework's setting: a path, a mapping, nothing, or a dispatcher as it is.

    A mapping has the fields of :class:`Config`, and as ``vendors`` the settings of each vendor by its name, as a configuration file
    has them; without these, and for nothing, the vendors of the environment count. Raises :class:`ConfigError` for a mistake; its
    text begins with ``place``, where the setting stands.
    """
    try:
        if isinstance(setting, str | os.PathLike):
            return Dispatcher.from_file(setting)
        if isinstance(setting, Mapping) and setting.get("vendors"):
            return _with_vendors(dict(setting))
        if setting is None or isinstance(setting, Config | Mapping):
            return Dispatcher.from_env(setting)
    except ConfigError as error:
        raise ConfigError(f"{place}: {error.message}") from None
    if isinstance(setting, Dispatcher):
        return setting
    raise ConfigError(
        f"{place}: {type(setting).__name__} is no setting; give the path of a file, the fields of Config, or a Dispatcher"
    )


def _with_vendors(setting: dict[str, Any]) -> Dispatcher:
    vendors = setting.pop("vendors")
    if not isinstance(vendors, Mapping):
        text = "give the settings of each by its name: {'openai': {'api_key': ...}}; or give a Dispatcher that has your vendors"
        raise ConfigError(f"vendors: {type(vendors).__name__} is no mapping; {text}")
    described = ConfigFile(
        fields=setting, vendors={name: dict(one) if isinstance(one, Mapping) else one for name, one in vendors.items()}
    )
    dispatcher = Dispatcher(described.config())
    for vendor in described.make_vendors():
        dispatcher.register_vendor(vendor)
    dispatcher.check_vendors()
    return dispatcher


def drain_on_sigterm(dispatcher: Dispatcher, seconds: float) -> None:
    """Close the dispatcher when this process gets SIGTERM: calls under way have so many seconds, no call begins any more.

    What handled the signal before still does, at once; where nothing did, the process ends by the signal a second after the calls,
    or at the second signal. Call it in the main thread of a server's worker, in gunicorn's ``post_worker_init``: a server's own
    hooks at its end come when its streams have been cut. Raises :class:`ConfigError` for seconds that cannot be.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        raise ConfigError(f"seconds: {seconds!r} is not a number of seconds ≥ 0; leave some of the server's own time")
    before, begun = signal.getsignal(signal.SIGTERM), threading.Event()

    def close(number: int) -> None:
        dispatcher.close(drain=seconds)
        if before is signal.SIG_DFL:
            threading.Event().wait(_LAST_WORDS)
            os.kill(os.getpid(), number)

    def drain(number: int, frame: FrameType | None) -> None:
        if not begun.is_set():
            begun.set()
            threading.Thread(target=close, args=(number,), name="llmdispatcher-drain", daemon=True).start()
        elif before is signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGTERM, drain)
