"""``serve``: the gateway in a process of its own, with granian, or waitress where that is not installed.

The workers are processes; each makes its dispatcher from the same options, which it finds in an environment variable.
"""

from __future__ import annotations

import atexit
import json
import math
import os
import sys
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

from ..catalog import vendor_rows
from ..dispatcher import Config, Dispatcher
from ..errors import ConfigError
from ..runtime import from_environment, make_data_folder, make_file
from ..vendors import vendor
from .gateway.app import Gateway, make_gateway
from .gateway.http import GatewaySettings
from .keys import ApiKey, KeyStore

VARIABLE = "LLMDISPATCHER_SERVE"
"""The variable that carries the options to the workers."""
ADMIN_KEY = "LLMDISPATCHER_ADMIN_KEY"
SERVERS = ("granian", "waitress")


@attrs.frozen(kw_only=True)
class ServeOptions:
    """Where and how to serve. ``config`` is a configuration file; without one the vendors are those of the environment.

    With ``simulate`` simulated vendors answer, and nothing leaves the machine. ``database`` is the keys' file of SQLite, or the
    URL of a PostgreSQL server. ``drain`` is the seconds that calls under way have when the process is told to end. ``redis`` is
    the address of the server on which limits of keys are counted for all workers and hosts.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    threads: int = 512
    config: str | None = None
    simulate: bool = False
    database: str | None = attrs.field(default=None, repr=False)
    drain: float = 600.0
    server: str | None = None
    redis: str | None = attrs.field(default=None, repr=False)

    def store(self) -> KeyStore:
        """The keys; in the user's data folder where no database is named."""
        return KeyStore(self.database or make_data_folder() / "server.db")


def first_keys(options: ServeOptions) -> tuple[list[tuple[ApiKey, str]], Path | None]:
    """Make the first keys where there are none. Off a terminal they stand in a file that its owner alone reads; returns its path.

    Raises :class:`ConfigError` for an administrator's key in the environment that can be guessed.
    """
    store = options.store()
    try:
        made = store.first(from_environment((ADMIN_KEY,)))
        store.budgets.prepare()
    finally:
        store.close()
    if not made or sys.stderr.isatty():
        return made, None
    path = make_data_folder() / f"first-keys-{made[0][0].id[:8]}.txt"
    make_file(path)
    path.write_text("".join([f"{key.label}: {secret}\n" for key, secret in made]), encoding="utf-8")
    return made, path


def make_dispatcher(options: ServeOptions) -> Dispatcher:
    """Return the dispatcher of one worker. Raises :class:`ConfigError`, also where no vendor has a key."""
    if options.simulate:
        return _simulated(options)
    if options.config is not None:
        return Dispatcher.from_file(options.config)
    return Dispatcher.from_env()


def _simulated(options: ServeOptions) -> Dispatcher:
    from ..testing import VendorSimulator

    simulator = VendorSimulator(latency=0.05, tokens_per_second=200.0).start()
    atexit.register(simulator.close)
    made = Dispatcher.from_file(options.config) if options.config is not None else Dispatcher(Config(default_vendor="openai"))
    known = {row.name for row in vendor_rows()}
    for kind, url in (("openai", simulator.openai_url), ("anthropic", simulator.anthropic_url), ("google", simulator.google_url)):
        if kind in known and kind not in made.get_vendors():
            made.register_vendor(vendor(kind, api_key="simulated", base_url=url, trust_env=False))
    return made


def make_application(options: ServeOptions) -> Gateway:
    """Return the application of one worker."""
    return make_gateway(make_dispatcher(options), options.store(), GatewaySettings(threads=options.threads, redis=options.redis))


def _options_of(text: str) -> ServeOptions:
    """The options that a variable carries. Raises :class:`ConfigError` for a text that is none."""
    try:
        return ServeOptions(**json.loads(text))
    except (ValueError, TypeError) as error:
        known = ", ".join([field.name for field in attrs.fields(ServeOptions)])
        raise ConfigError(f"{VARIABLE}: {error}; give a JSON object with fields of {known}") from None


class _Application:
    """The application of a worker, made at its first request or when the worker starts."""

    def __init__(self) -> None:
        self._gateway: Gateway | None = None

    def start(self) -> Gateway:
        """Make it."""
        if self._gateway is None:
            options = _options_of(os.environ.get(VARIABLE) or "{}")
            self._gateway = make_application(options)
            atexit.register(self._gateway.close, options.drain)
        return self._gateway

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.start()(environ, start_response)


application = _Application()
"""What a WSGI server loads, with the options in the variable :data:`VARIABLE`."""


def make_worker() -> Gateway:
    """Return the application of this process; a mistake in the configuration ends the worker at its start."""
    return application.start()


def choose_server(wanted: str | None) -> str:
    """Return the server to use. Raises :class:`ConfigError` where none is installed."""
    found = [name for name in SERVERS if find_spec(name) is not None]
    if wanted is not None and wanted not in SERVERS:
        raise ConfigError(
            f"server: {wanted!r} is not known; use {' or '.join(SERVERS)}, or load llmdispatcher.server.serve:application"
        )
    if wanted is not None and wanted not in found:
        raise ConfigError(f"server: {wanted} is not installed; pip install {wanted}")
    if not found:
        raise ConfigError("no server is installed; pip install 'llmdispatcher[server]'")
    return wanted or found[0]


def run_server(options: ServeOptions) -> None:
    """Serve until the process is told to end. Raises :class:`ConfigError` for a configuration that cannot be."""
    name = choose_server(options.server)
    if not options.simulate:
        made = make_dispatcher(options)
        made.close()
        if not made.get_vendors():
            raise ConfigError("no vendor is configured; write [vendors.NAME] into the file of --config, or use --simulate")
    os.environ[VARIABLE] = json.dumps(attrs.asdict(options))
    if name == "waitress":
        _serve_with_waitress(options)
    else:
        _serve_with_granian(options)


def _serve_with_granian(options: ServeOptions) -> None:
    from granian import Granian

    Granian(
        "llmdispatcher.server.serve:make_worker",
        address=options.host,
        port=options.port,
        interface="wsgi",  # type: ignore[arg-type]  # an enum of texts
        workers=options.workers,
        blocking_threads=options.threads,
        websockets=False,
        factory=True,
        log_access=False,
        respawn_failed_workers=True,
        workers_kill_timeout=max(1, math.ceil(options.drain)),  # 0 would be for ever
    ).serve()


def _serve_with_waitress(options: ServeOptions) -> None:
    if options.workers > 1:
        raise ConfigError("workers: waitress serves in one process; install granian for more")
    from .waitress import run_waitress

    gateway = make_worker()
    most, drain = gateway.settings.max_body, options.drain
    run_waitress(gateway, host=options.host, port=options.port, threads=options.threads, most=most, drain=drain)
