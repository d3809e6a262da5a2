"""The commands: ``run`` dispatches a file of prompts, ``simulate`` serves pretended vendors."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .._version import __version__
from ..errors import ConfigError
from .terminal import UsageError, complain

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

_EPILOG = "exit codes: 0 all answered, 1 some prompts failed, 2 wrong usage, 130 interrupted (what was answered is in the file)"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code. Wrong options raise ``SystemExit(2)``, as argparse does."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an answer may hold what the terminal's encoding does not
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except (UsageError, ConfigError) as error:
        complain(str(error))
        return USAGE
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone; what the interpreter flushes at its end must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def parser() -> argparse.ArgumentParser:
    """All options, with their help."""
    top = argparse.ArgumentParser(
        prog="llmdispatcher", description="Dispatch prompts to large language models, whoever serves them."
    )
    top.add_argument("--version", action="version", version=f"llmdispatcher {__version__}")
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_simulate(commands)
    return top


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="dispatch a file of prompts",
        description="Dispatch every line of a JSONL file over the vendors whose keys are in the environment (OPENAI_API_KEY, "
        "ANTHROPIC_API_KEY, GEMINI_API_KEY, AZURE_OPENAI_API_KEY with AZURE_OPENAI_ENDPOINT), or over four simulated ones where "
        "there is no key.",
        epilog=_EPILOG,
    )
    run.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE.jsonl",
        help="prompts, one JSON object a line: model, messages and, "
        "as you like, id, temperature, max_tokens, stop, user, metadata, ...; default: the example prompts",
    )
    run.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="where answers go, in the order of the prompts; default: answers.jsonl, or a fresh name",
    )
    run.add_argument("--force", action="store_true", help="overwrite the --output file")
    run.add_argument("--workers", type=_count, default=8, metavar="N", help="prompts in flight at once (default: 8)")
    run.add_argument(
        "--timeout", type=_seconds, metavar="S", help="seconds for each prompt, all retries and failovers included (default: 30)"
    )
    run.add_argument("--limit", type=_count, metavar="N", help="only the first N prompts")
    run.add_argument("--stream", action="store_true", help="stream the answers and print them while they arrive, in order")
    run.add_argument("--json", action="store_true", help="print the summary as JSON instead of a table")
    run.add_argument("--simulate", action="store_true", help="use the simulated vendors even if there are keys")
    run.add_argument("--exact", action="store_true", help="never let a vendor answer with another model than the one asked for")
    run.set_defaults(command=_run)


def _add_simulate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    simulate = commands.add_parser(
        "simulate",
        help="serve pretended vendors on a port",
        description="Serve OpenAI, Azure, Anthropic and Gemini, all simulated, on one local port until Ctrl-C; any key is good.",
    )
    simulate.add_argument("--port", type=_port, default=8100, metavar="N", help="0 takes a free one (default: 8100)")
    simulate.add_argument("--latency", type=_seconds, default=0.1, metavar="S", help="seconds before the first byte (default: 0.1)")
    simulate.add_argument(
        "--tokens-per-second", type=_seconds, default=100.0, metavar="N", help="pace of the answers (default: 100)"
    )
    simulate.add_argument(
        "--error-rate", type=_share, default=0.0, metavar="P", help="share of requests that fail, 0 to 1 (default: 0)"
    )
    simulate.set_defaults(command=_simulate)


def _run(options: argparse.Namespace) -> int:
    from .run import run  # late: --help should not load the library

    return run(options)


def _simulate(options: argparse.Namespace) -> int:
    from .simulate import serve

    return serve(options)


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return number


def _share(text: str) -> float:
    number = float(text)
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return number


def _port(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not a port, 0 to 65535")
    return number
