"""``serve``: run the gateway in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...errors import ConfigError
from ..options import make_command
from ..server_settings import PLACE
from ..settings import Settings
from ..terminal import OK, UsageError, say, tell_json

if TYPE_CHECKING:
    from ...server import ApiKey


@make_command(
    "serve",
    examples=(
        "llmdispatcher serve --simulate",
        "llmdispatcher serve",
        "llmdispatcher serve --config llmdispatcher.toml --host 0.0.0.0 --public-url https://gateway.example.com --workers 2",
    ),
)
@click.option("--host", metavar="TEXT", help="The address to listen on.  [default: 127.0.0.1]")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    envvar="PORT",
    help="The port; 0 takes a free one.  [default: 8080]",
)
@click.option("--workers", type=click.IntRange(1, 64), metavar="N", help="Processes.  [default: 1]")
@click.option("--threads", type=click.IntRange(4, 4096), metavar="N", help="Requests at a time, in each process.  [default: 512]")
@click.option("--simulate", is_flag=True, help="Let simulated vendors answer; nothing is sent anywhere.")
@PLACE
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    metavar="S",
    help="Seconds for calls under way at the end.  [default: 600]",
)
@click.option("--cache-size", type=click.IntRange(0), metavar="N", help="Keep N answers to answer again.  [default: none]")
@click.option("--cache-ttl", type=click.FloatRange(min=0), metavar="S", help="Seconds for which they are kept.  [default: 3600]")
@click.option("--max-retries", type=click.IntRange(0), metavar="N", help="Returns to a target that failed.  [default: 3]")
@click.option("--load-balance", metavar="NAME", help="How equal vendors share the calls.  [default: ROUND_ROBIN]")
@click.option("--metrics-port", type=click.IntRange(0, 65535), metavar="N", help="Serve metrics and health on a port of their own.")
@click.option(
    "--access-log/--no-access-log", default=None, help="Log a line of JSON for each request; of what is said it has nothing."
)
@click.option("--public-url", metavar="URL", help="The address that clients use; else $LLMDISPATCHER_PUBLIC_URL.")
@click.option(
    "--redis", metavar="URL", envvar="LLMRING_REDIS_URL", help="Count keys' limits on this Redis server, for all workers and hosts."
)
@click.option("--server", type=click.Choice(["granian", "waitress"]), help="What serves.  [default: what is installed]")
def command(settings: Settings, **given: object) -> int:
    """Serve the formats of OpenAI, Anthropic, Google and Ollama, with keys of its own, until it is told to end.

    Vendors are those of --config, or of the environment. What is not said here says [server] in that file. The first start makes
    two keys: one to manage keys with, and one to ask with.
    """
    try:
        from ...server import ServeOptions, first_keys, run_server
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'llmdispatcher[server]'") from None
    said = {name: value for name, value in given.items() if value is not None}
    try:
        options = ServeOptions.over_file({"config": str(settings.config) if settings.config else None, **said})
        options.settings()
        options.rules()
        keys_file: list[Path | None] = []

        def begin() -> None:
            keys_file.append(_tell_keys(*first_keys(options)))

        def tell_address(port: int, metrics_port: int | None) -> None:
            address = f"http://{options.host}:{port}"
            if settings.json:
                further = {} if metrics_port is None else {"metrics_port": metrics_port}
                tell_json({"address": address, "keys_file": str(keys_file[0]) if keys_file[0] is not None else None, **further})
            elif not settings.quiet:
                say(f"Serving {'simulated vendors' if options.simulate else 'the gateway'} on {address}; Ctrl-C ends it.")
                if metrics_port is not None:
                    say(f"Metrics are on http://{options.host}:{metrics_port}/metrics.")

        run_server(options, tell_address, begin)
    except ConfigError as error:
        raise UsageError(error.message) from None
    return OK


def _tell_keys(made: list[tuple[ApiKey, str]], path: Path | None) -> Path | None:
    """Tell the first keys, or the file that they are in, which is returned."""
    if path is not None:
        say(f"The first keys are in {path}; read them, and delete the file.")
        return path
    for key, secret in made:
        say(f"{key.label} key: {secret}")
    if made:
        say("They are not shown again.")
    return None
