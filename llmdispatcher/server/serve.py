"""``serve``: the gateway in a process of its own, with granian, or waitress where that is not installed.

The workers are processes; each makes its dispatcher from the same options, which it finds in an environment variable.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import logging
import math
import multiprocessing.util
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import attrs

from .._text import room_logger
from ..catalog import canonical, vendor_row
from ..dispatcher import ConfigFile, Dispatcher, read_config_file
from ..errors import ConfigError
from ..runtime import from_environment, make_data_folder, make_file, new_lock
from ..vendors import HttpVendor
from .gateway.access import write_to_stdout
from .gateway.app import Gateway, make_gateway
from .gateway.file_settings import SERVERS, check_ports, gateway_mistakes, settings_in, start_in
from .gateway.hosts import HostRules
from .gateway.http import GatewaySettings, claim_ports, reserved_port
from .keys import ApiKey, KeyStore
from .reload import EVERY, ConfigWatch
from .settings import ServiceSettings, with_providers

logger = room_logger("server")

VARIABLE = "LLMDISPATCHER_SERVE"
"""The variable that carries the options to the workers."""
ADMIN_KEY = "LLMDISPATCHER_ADMIN_KEY"
PUBLIC_URL = "LLMDISPATCHER_PUBLIC_URL"
TRUSTED_PROXIES, CORS_ORIGINS = "LLMDISPATCHER_TRUSTED_PROXIES", "LLMRING_CORS_ORIGINS"
_SIMULATED = ("kind", "name", "models", "model_map", "default_model", "api", "drop_params", "rate_limit")
"""What a simulated vendor has of the one in whose place it is: nothing that says where to go."""
_ORPHANED = 5
"""Seconds for calls under way, and as many for what waits to be written, in a worker whose main process has been killed."""
_TO_STDERR = {"class": "logging.StreamHandler", "formatter": "generic", "stream": "ext://sys.stderr"}
"""Where granian logs, since the access log has the standard output for itself."""


@attrs.frozen(kw_only=True)
class ServeOptions:
    """Where and how to serve. ``config`` is a configuration file; without one the vendors are those of the environment.

    With ``simulate`` simulated vendors answer, and nothing leaves the machine. ``database`` is the keys' file of SQLite, or the
    URL of a PostgreSQL server. ``drain`` is the seconds that calls under way have when the process is told to end. ``redis`` is
    the address of the server on which limits of keys are counted for all workers and hosts. With port 0 the system chooses one.
    ``cache_size`` answers are kept for ``cache_ttl`` seconds; none without a size. ``metrics_port`` is a port of its own for
    metrics and health; ``access_log`` writes a line of JSON for each request. ``public_url`` is the address that clients use.
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
    cache_size: int | None = None
    cache_ttl: float | None = None
    max_retries: int | None = None
    load_balance: str | None = None
    metrics_port: int | None = None
    access_log: bool = False
    public_url: str | None = None
    redis: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def over_file(cls, given: Mapping[str, Any]) -> Self:
        """The options that are given, and what ``[server]`` in the file of ``config`` says to the others.

        Raises :class:`ConfigError` for a mistake there, :class:`TypeError` for an option that is none.
        """
        path = given.get("config")
        said = start_in(read_config_file(path, only=())) if path is not None else {}
        if from_environment((PUBLIC_URL,)):
            said.pop("public_url", None)  # the environment counts before the file
        return cls(**{**said, **given})

    def rules(self) -> HostRules:
        """The names of this server, its proxies and origins, by the options and the environment.

        Raises :class:`ConfigError` for a mistake, also where others can reach it and ``public_url`` is not told.
        """
        url = self.public_url or from_environment((PUBLIC_URL,))
        return HostRules.of(self.host, url, from_environment((TRUSTED_PROXIES,)), from_environment((CORS_ORIGINS,)))

    def settings(self) -> ServiceSettings:
        """How to cache, retry and balance: by the options, else by the environment. Raises :class:`ConfigError` for a mistake."""
        names = [field.name for field in attrs.fields(ServiceSettings)]
        return ServiceSettings.read(ServiceSettings(**{name: getattr(self, name) for name in names}))

    def store(self) -> KeyStore:
        """The keys; in the user's data folder where no database is named."""
        return KeyStore(self.database or make_data_folder() / "server.db")


def first_keys(options: ServeOptions) -> tuple[list[tuple[ApiKey, str]], Path | None]:
    """Make the first keys where there are none. Off a terminal they stand in a file that its owner alone reads; returns its path.

    Raises :class:`ConfigError` for an administrator's key in the environment that can be guessed, and where the file cannot be
    written: then there are no keys, and the next start makes them.
    """
    store, paths = options.store(), list[Path]()
    try:
        keep = (lambda _made: None) if sys.stderr.isatty() else lambda made: paths.append(_write_first(made))
        made = store.first(from_environment((ADMIN_KEY,)), keep)
        store.budgets.prepare()
    finally:
        store.close()
    return made, paths[-1] if paths else None


def _write_first(made: list[tuple[ApiKey, str]]) -> Path:
    path = make_data_folder() / f"first-keys-{made[0][0].id[:8]}.txt"
    try:
        make_file(path)
        path.write_text("".join([f"{key.label}: {secret}\n" for key, secret in made]), encoding="utf-8")
    except OSError as error:
        remedy = f"name a folder that can be written in LLMDISPATCHER_HOME, or give the administrator's key in {ADMIN_KEY}"
        raise ConfigError(f"{path}: the first keys cannot be written ({error.strerror}); {remedy}") from None
    return path


def make_dispatcher(options: ServeOptions) -> Dispatcher:
    """Return the dispatcher of one worker. Raises :class:`ConfigError`, also where no vendor has a key."""
    settings = options.settings()
    try:
        file = with_providers(read_config_file(options.config))
        config, vendors = settings.over(file.config(), said=file.fields), file.make_vendors()
    except ConfigError as error:
        at = f"{options.config}: " if options.config is not None else ""
        raise ConfigError(error.message if error.message.startswith(at) else f"{at}{error.message}") from None
    if options.simulate:
        if options.config is None:
            config = attrs.evolve(config, default_vendor="openai")
        made, vendors = Dispatcher(config), _simulated(file)
    else:
        made = Dispatcher(config) if vendors else Dispatcher.from_env(config)
    for one in vendors:
        made.register_vendor(one)
    made.check_vendors()
    return made


def _simulated(file: ConfigFile) -> list[HttpVendor]:
    """Simulated vendors in place of those of a file, and of OpenAI, Anthropic and Google; none has a real key or address."""
    from ..testing import VendorSimulator

    simulator = VendorSimulator(latency=0.05, tokens_per_second=200.0).start()
    atexit.register(simulator.close)
    urls = {"anthropic_messages": simulator.anthropic_url, "gemini": simulator.google_url}
    tables = {name: {field: table[field] for field in _SIMULATED if field in table} for name, table in file.vendors.items()}
    taken = {canonical(str(table.get("name", name))) for name, table in tables.items()}
    tables |= {kind: {} for kind in ("openai", "anthropic", "google") if kind not in taken and vendor_row(kind) is not None}
    for name, table in tables.items():
        row = vendor_row(table.get("kind", name))
        codec = row.codec if row is not None else ""
        url = simulator.azure_url if row is not None and row.name == "azure" else urls.get(codec, simulator.openai_url)
        table |= {"api_key": "simulated", "base_url": url, "trust_env": False}
    return attrs.evolve(file, vendors=tables).make_vendors()


def make_application(options: ServeOptions, *, registry: Any = None) -> Gateway:
    """Return the application of one worker. With a port for metrics they are in ``registry``, by default in one of its own."""
    gateway = make_gateway(make_dispatcher(options), options.store(), _settings_of(options))
    if options.access_log:
        write_to_stdout()
    if options.metrics_port is not None:
        _require_prometheus()
        from prometheus_client import CollectorRegistry  # late: with a port for metrics alone

        from .gateway.metrics import GatewayMetrics

        metrics = GatewayMetrics(
            registry if registry is not None else CollectorRegistry(),
            gateway.dispatcher,
            gateway.records,
            ready=gateway.is_ready,
            in_flight=gateway.in_flight,
        )
        gateway.log.listeners.append(metrics.observe)
        gateway.at_end.append(metrics.close)
        gateway.at_reload.append(metrics.follow)
    return gateway


def _settings_of(options: ServeOptions) -> GatewaySettings:
    """The gateway's, by the options and the file. Raises :class:`ConfigError`."""
    settings = GatewaySettings(threads=options.threads, redis=options.redis, access_log=options.access_log, rules=options.rules())
    return settings_in(read_config_file(options.config), settings) if options.config is not None else settings


def _checked_dispatcher(options: ServeOptions) -> Dispatcher:
    made = make_dispatcher(options)
    if not made.get_vendors():
        made.close()
        raise ConfigError(
            "no vendor is configured; set the variable of a vendor's key, such as OPENAI_API_KEY or ANTHROPIC_API_KEY"
            " (`llmdispatcher vendors` shows all), write [vendors.NAME] into the file of --config, or use --simulate"
        )
    return made


def _all_mistakes(file: ConfigFile) -> list[str]:
    return [*file.mistakes(), *gateway_mistakes(file)]


def _require_prometheus() -> None:
    if find_spec("prometheus_client") is None:
        raise ConfigError("metrics_port: prometheus-client is not installed; pip install prometheus-client")


def _options_of(text: str) -> ServeOptions:
    """The options that a variable carries. Raises :class:`ConfigError` for a text that is none."""
    try:
        given = json.loads(text)
        if not isinstance(given, dict):
            raise TypeError(f"{type(given).__name__} is no object")
        return ServeOptions.over_file(given)
    except (ValueError, TypeError) as error:
        known = ", ".join([field.name for field in attrs.fields(ServeOptions)])
        raise ConfigError(f"{VARIABLE}: {error}; give a JSON object with fields of {known}") from None


def _at_end(work: Callable[[float], None], drain: float) -> None:
    """Do this when the process ends; a worker that was forked by multiprocessing runs no functions of atexit."""
    if multiprocessing.parent_process() is not None:
        multiprocessing.util.Finalize(None, work, (drain,), exitpriority=100)
    else:
        atexit.register(work, drain)


def _end_with_parent(gateway: Gateway) -> None:
    """End this worker when its main process has been killed, which tells nobody; calls under way have some seconds to end."""
    parent, pause = os.getppid(), threading.Event()
    while os.getppid() == parent:
        pause.wait(EVERY)
    logger.error("process %d: the main process is gone, so this worker ends", os.getpid())
    gateway.draining = True
    os.kill(os.getpid(), signal.SIGTERM)
    for _ in range(_ORPHANED):
        pause.wait(0.0 if gateway.is_idle() else EVERY)
    closing = threading.Thread(target=gateway.close, daemon=True)  # which writes what waits
    closing.start()
    closing.join(_ORPHANED)
    os._exit(1)


class _Application:
    """The application of a worker, made at its first request or when the worker starts."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._gateway: Gateway | None = None
        self._watch: ConfigWatch | None = None
        self._options = ServeOptions()
        self._started: dict[str, Any] = {}

    def start(self, registry: Any = None) -> Gateway:
        """Make it, once however many threads ask, and look after its configuration in this process."""
        with self._lock:
            if self._gateway is None:
                self._gateway = self._make(registry)
            if self._watch is not None:
                self._watch.start(self._take_over)
            return self._gateway

    def _make(self, registry: Any) -> Gateway:
        options = self._options = _options_of(os.environ.get(VARIABLE) or "{}")
        if options.config is not None:
            remake = functools.partial(_checked_dispatcher, options)
            self._watch = ConfigWatch(Path(options.config), remake, options.drain, _all_mistakes)
            self._started = start_in(read_config_file(options.config, only=()))
        made = make_application(options, registry=registry)
        _at_end(made.close, options.drain)
        if multiprocessing.parent_process() is not None:
            threading.Thread(target=_end_with_parent, args=(made,), name="llmdispatcher-parent", daemon=True).start()
        return made

    def _take_over(self, made: Dispatcher, drain: float) -> None:
        """Go on with another dispatcher and what the file says to the gateway; raises for a mistake, and nothing has changed."""
        assert self._gateway is not None, "it is made before its configuration is looked after"
        said = start_in(read_config_file(self._options.config, only=()))  # raises, and so before anything has changed
        self._gateway.replace_dispatcher(made, drain, _settings_of(self._options))
        self._tell_of_start(said)

    def _tell_of_start(self, said: dict[str, Any]) -> None:
        """Log which settings have changed that count from a start alone, given what the file says of them now."""
        changed = sorted({*said, *self._started} - {name for name in said if said[name] == self._started.get(name)})
        if changed:
            logger.warning("server.%s: what the file says now counts from the next start of `serve`", ", server.".join(changed))
        self._started = said

    def __call__(self, environ: Any, start_response: Callable[..., Any]) -> Iterable[bytes]:
        return self.start()(environ, start_response)


application = _Application()
"""What a WSGI server loads, with the options in the variable :data:`VARIABLE`."""


def make_worker() -> _Application:
    """Return the application of this process; a mistake in the configuration ends the worker at its start."""
    application.start()
    return application


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


def run_server(
    options: ServeOptions,
    tell: Callable[[int, int | None], None] = lambda _port, _metrics: None,
    begin: Callable[[], None] = lambda: None,
) -> None:
    """Serve until the process is told to end. Raises :class:`ConfigError` for a configuration that cannot be.

    ``begin`` is called before anything else is made, once nothing is in the way and no other gateway can get the ports. ``tell``
    hears the port, and that of the metrics, before the first request is taken.
    """
    name = choose_server(options.server)
    if name == "waitress" and options.workers > 1:
        raise ConfigError("workers: waitress serves in one process; install granian for more")
    if options.metrics_port is not None:
        check_ports(options.port, options.metrics_port)
        _require_prometheus()
    with claim_ports(options.host, options.port, options.metrics_port) as claims:
        if not options.simulate:
            _checked_dispatcher(options).close()
        begin()
        os.environ[VARIABLE] = json.dumps(attrs.asdict(options))

        def tell_and_release(port: int, metrics_port: int | None) -> None:
            claims.close()  # the ports are held or listened on by now
            tell(port, metrics_port)

        (_serve_with_waitress if name == "waitress" else _serve_with_granian)(options, tell_and_release)


def _serve_with_granian(options: ServeOptions, tell: Callable[[int, int | None], None]) -> None:
    from granian import Granian
    from granian.log import logger as its_logger

    its_logger.addFilter(_is_no_news)
    with reserved_port(options.host, options.port) as port, _metrics_of_workers(options) as exposition:
        server = Granian(
            "llmdispatcher.server.serve:make_worker",
            address=options.host,
            port=port,
            interface="wsgi",  # type: ignore[arg-type]  # an enum of texts
            workers=options.workers,
            blocking_threads=options.threads,
            websockets=False,
            factory=True,
            log_access=False,
            log_dictconfig={"handlers": dict.fromkeys(("console", "access"), _TO_STDERR)},
            respawn_failed_workers=True,
            workers_kill_timeout=max(1, math.ceil(options.drain)),  # 0 would be for ever
        )
        interrupt: Callable[..., None] = server.signal_handler_interrupt

        def end(*args: object, **more: object) -> None:
            if server.interrupt_signal:
                _kill_workers()
            interrupt(*args, **more)

        server.signal_handler_interrupt = end  # type: ignore[method-assign]  # granian would wait for the streams again
        server.signal_handler_reload = _hand_on  # type: ignore[method-assign]  # granian would end the workers, and their streams
        if exposition is not None:
            exposition.ready = lambda: not server.interrupt_signal
        tell(port, exposition.port if exposition is not None else None)
        server.serve()


def _is_no_news(record: logging.LogRecord) -> bool:
    """Whether granian says something else than that there are many threads: ours wait for vendors, and need no cores."""
    return not record.getMessage().startswith("Configuration allows spawning up to")


def _hand_on(*_args: object, **_more: object) -> None:
    """Hand SIGHUP on to the workers, which reload the configuration."""
    for worker in multiprocessing.active_children():
        if worker.pid is not None:
            os.kill(worker.pid, signal.SIGHUP)


def _kill_workers() -> None:
    """End the workers at once: the second signal says not to wait."""
    for worker in multiprocessing.active_children():
        worker.kill()


@contextlib.contextmanager
def _metrics_of_workers(options: ServeOptions) -> Iterator[Any]:
    """The port of the metrics of all workers, which count in files of a folder, unless one is named in the environment."""
    if options.metrics_port is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="llmdispatcher-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)  # before prometheus-client is loaded
        from .exposition import Exposition

        exposition = Exposition(options.host, options.metrics_port, folder=os.environ["PROMETHEUS_MULTIPROC_DIR"])
        try:
            yield exposition
        finally:
            exposition.close()


def _serve_with_waitress(options: ServeOptions, tell: Callable[[int, int | None], None]) -> None:
    from .waitress import run_waitress

    registry = exposition = None
    if options.metrics_port is not None:
        from prometheus_client import CollectorRegistry

        from .exposition import Exposition

        registry = CollectorRegistry()
    gateway = application.start(registry)
    if options.metrics_port is not None:
        exposition = Exposition(options.host, options.metrics_port, registry=registry, ready=gateway.is_ready)
    metrics_port = exposition.port if exposition is not None else None
    run_waitress(
        gateway,
        host=options.host,
        port=options.port,
        threads=options.threads,
        drain=options.drain,
        tell=lambda port: tell(port, metrics_port),
    )
