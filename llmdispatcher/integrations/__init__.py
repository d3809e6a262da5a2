"""The library inside other libraries: one module for each, imported by those who use it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping
from functools import partial
from types import FrameType
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


def drain_on_sigterm(dispatcher: Dispatcher, seconds: float) -> None:
    """Close the dispatcher when this process gets SIGTERM: calls under way have so many seconds, no call begins any more.

    What handled the signal before still does, at once. Call it in the main thread of a server's worker, in gunicorn's
    ``post_worker_init``: a server's own hooks at its end come when its streams have been cut. Raises :class:`ConfigError` for
    seconds that cannot be.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise ConfigError(f"seconds: {seconds!r} is not a number of seconds ≥ 0; leave some of the server's own time")
    before = signal.getsignal(signal.SIGTERM)

    def drain(number: int, frame: FrameType | None) -> None:
        close = partial(dispatcher.close, drain=seconds)
        threading.Thread(target=close, name="llmdispatcher-drain", daemon=True).start()
        if callable(before):
            before(number, frame)
        elif before is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, drain)
