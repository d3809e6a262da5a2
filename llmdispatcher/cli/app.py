"""The command line as one click application: commands are found by name and loaded when they run.

The table of commands has all that ``--help`` needs, so that ``--help`` loads no command. Every way that a command can end becomes
an exit code here.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import click

from .._text import traced
from .._version import __version__
from ..errors import ConfigError, DispatchError, InvalidRequest, ModelNotFound
from .options import CODES, COMPLETE, GLOBALS, write_end
from .terminal import FAILED, INTERRUPTED, USAGE, CommandFailed, UsageError, complain, say, show_warnings

SECTIONS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Asking": {
        "ask": ("ask", "Ask one question and print the answer."),
        "chat": ("chat", "Talk with a model."),
        "compare": ("compare", "Ask several models the same question, side by side."),
        "batch": ("batch", "Ask a file of prompts; a stopped batch can be resumed."),
    },
    "Looking": {
        "models": ("models", "List models, their limits and prices."),
        "vendors": ("vendors", "List vendors, and which of them have a key."),
        "explain": ("ask:explain", "Show which models would be asked, and why."),
        "health": ("vendors:health", "Check whether the vendors are available."),
        "info": ("info", "Show versions, paths and extras."),
    },
    "Accounting": {
        "usage": ("usage", "Show what was used and what it cost."),
        "calls": ("ledger:calls", "List the latest calls, or show one in full."),
        "export": ("ledger:export_calls", "Write the calls to a file."),
        "import": ("ledger:import_calls", "Add the calls of a file."),
        "init-db": ("ledger:init_db", "Create the ledger."),
        "migrate": ("ledger:migrate", "Bring the ledger's tables up to date."),
        "prune": ("ledger:prune", "Delete old calls; their sums stay."),
        "erase-user": ("ledger:erase_user", "Erase a user from the ledger."),
        "budgets": ("limits:budgets", "Show budgets, or reset one."),
        "limits": ("limits:limits", "Show shared rate limits, or reset one."),
        "receipts": ("receipts", "Sign what calls cost, and verify receipts."),
    },
    "Models by name": {
        "lock": ("lock", "Create and check a lockfile of aliases."),
        "bind": ("lock:bind", "Bind an alias to models."),
        "aliases": ("lock:aliases", "List aliases and their models."),
        "json-refresh": ("lock:json_refresh", "Fetch models and prices from the registry."),
    },
    "Setting up": {
        "config": ("config", "Check a configuration, or import one."),
        "keys": ("keys", "Store keys in the system's keychain."),
        "cache": ("cache", "Inspect a cache of answers, or empty it."),
        "completion": ("completion", "Print a shell's completion script."),
    },
    "Serving": {
        "serve": ("serve", "Serve the gateway: any client, any vendor."),
        "configure": ("configure", "Point a coding agent at the gateway."),
        "server": ("server", "Make, list and revoke the gateway's keys."),
    },
    "Tools": {"simulate": ("simulate", "Serve simulated vendors on a port.")},
}
"""The commands by heading: its module in ``commands/``, the variable there unless it is ``command``, and its line of help."""

COMMANDS: Mapping[str, tuple[str, str]] = {name: row for rows in SECTIONS.values() for name, row in rows.items()}
"""All commands by name, in the order of the help."""

ALIASES = {"run": "batch"}
"""Older names of commands."""

_SERVING = ("--port", "--cache-size", "--cache-ttl", "--load-balance")
"""Options that begin a line without a command: so the LLM proxy service is started."""

_DEFAULT = "ask"
"""The command of a question that names none."""


def _is_question(text: str) -> bool:
    return len(text.split()) > 1


class Commands(click.Group):
    """All commands; a command's file is imported when it is called or explained."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the global options; a question without a command is one for ``ask``, options of a server's are for ``serve``."""
        if args and args[0].partition("=")[0] in _SERVING:
            args = ["serve", *args]
        place = self._place_of_question(ctx, args)
        return super().parse_args(ctx, args if place is None else [*args[:place], _DEFAULT, *args[place:]])

    def _place_of_question(self, ctx: click.Context, args: list[str]) -> int | None:
        """Where the words of a question without a command begin: a text with a space in it, or what follows ``--``.

        A single word is the name of a command, be it misspelt: it is never sent to anybody. Options of ``ask`` may precede the
        question.
        """
        valued = {name for option in GLOBALS if not option.is_flag for name in option.opts}
        place = 0
        while place < len(args):
            word = args[place]
            if word == "--":
                return place if args[place + 1 :] else None
            if not word.startswith("-"):
                return place if _is_question(word) else None
            if word.partition("=")[0] not in _names(self, ctx):
                return place if self._has_question(ctx, args[place:]) else None
            place += 2 if word in valued else 1
        return None

    def _has_question(self, ctx: click.Context, args: list[str]) -> bool:
        """Whether ``ask`` would take these options, and what follows them is a question."""
        asking = self.get_command(ctx, _DEFAULT)
        assert asking is not None
        try:
            words = asking.make_parser(click.Context(asking, parent=ctx)).parse_args(list(args))[0].get("prompt")
        except click.UsageError:
            return False
        return "--" in args or (isinstance(words, tuple) and bool(words) and _is_question(words[0]))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of a name, which may be an older one."""
        row = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if row is None:
            return None
        module, _, variable = row[0].partition(":")
        command: click.Command = getattr(import_module(f".commands.{module}", __package__), variable or "command")
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Resolve the command; the error for an unknown one suggests a similar name, and how a question is asked."""
        if self.get_command(ctx, args[0]) is not None:
            return super().resolve_command(ctx, args)
        near = get_close_matches(args[0].lower(), [*COMMANDS, *ALIASES], 1)
        meant = f"Did you mean {near[0]!r}? " if near else ""
        how = f"put it in quotes, or write: {shlex.join(['llmdispatcher', _DEFAULT, *args])}"
        if len(args) == 1:
            how = f"write: {shlex.join(['llmdispatcher', '--', *args])}"
        raise click.UsageError(f"No such command {args[0]!r}. {meant}To ask it as a question, {how}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands under their headings."""
        for heading, rows in SECTIONS.items():
            with formatter.section(heading):
                formatter.write_dl([(name, text) for name, (_, text) in rows.items()], col_max=14)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        """Complete the names of commands without importing them."""
        from click.shell_completion import CompletionItem  # late: only a shell asks

        items = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return items or super().shell_complete(ctx, incomplete)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write an example and the exit codes."""
        write_end(('llmdispatcher "Why is the sky blue?"', "llmdispatcher COMMAND --help"), CODES, formatter)


def _version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"llmdispatcher {__version__}")
        ctx.exit()


top = Commands(
    "llmdispatcher",
    help=(
        "Dispatch prompts to large language models, whoever serves them.\n\nA text with a space in it is a question and needs no"
        " command; `--` makes one of a single word."
    ),
    params=[
        *GLOBALS,
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version."),
    ],
    context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
)
"""The command line."""


def run(arguments: Sequence[str]) -> int:
    """Run a command; returns the exit code, whatever happens."""
    asked = os.environ.get(COMPLETE)
    if asked:
        return _complete(asked)
    given: dict[str, Any] = {}
    try:
        with show_warnings(given):
            code = _invoke(list(arguments), given)
        if sys.stdout is not None:  # None if it was closed at the start
            sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader of our output is gone; the flush at the interpreter's end must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 - a traceback is for those who ask for it
        if given.get("debug"):
            say(traced(error))
        return _report(error)


def _invoke(arguments: list[str], given: dict[str, Any]) -> int:
    try:
        with top.make_context("llmdispatcher", arguments, obj=given) as context:
            return int(top.invoke(context) or 0)
    except click.exceptions.Exit as left:
        return left.exit_code


def _complete(asked: str) -> int:
    from click.shell_completion import add_completion_class, shell_complete  # late: only a shell asks

    from .commands.completion import SHELLS

    for name, kind in SHELLS.items():
        add_completion_class(kind, name)
    return shell_complete(top, {}, "llmdispatcher", COMPLETE, asked)


_EXTRA = re.compile(r"^(Got unexpected extra arguments?) \(.*[@:=].*\)$", re.DOTALL)
"""Click's message for an argument that no command takes, where the argument may be the address of a server."""


def _report(error: Exception) -> int:
    """Print what went wrong; returns the exit code for it."""
    code = FAILED
    match error:
        case click.exceptions.NoArgsIsHelpError():
            say(error.format_message())
            return USAGE
        case click.UsageError():
            text, code = _usage_text(error), USAGE
        case click.ClickException():
            text = error.format_message()
        case UsageError() | CommandFailed():
            text, code = str(error), USAGE if isinstance(error, UsageError) else FAILED
        case ConfigError():
            text, code = error.message, USAGE
        case DispatchError():
            text = f"{type(error).__name__}: {error}"
            code = USAGE if isinstance(error, ModelNotFound | InvalidRequest) and not error.attempts else FAILED
        case FileNotFoundError() | PermissionError() | IsADirectoryError() | NotADirectoryError() if error.filename:
            text, code = f"{error.filename}: {error.strerror}", USAGE
        case OSError():  # behind the library's own, some of which are OSErrors too
            place = f"{error.filename}: " if error.filename else ""
            text = f"{place}{error.strerror or error or type(error).__name__}"
        case _:
            text = f"{type(error).__name__}: {error} (--debug shows where)"
    complain(text, lines=isinstance(error, click.UsageError | ConfigError))
    return code


def _usage_text(error: click.UsageError) -> str:
    """What is wrong with a command line, and where its help is."""
    context = error.ctx
    told = _EXTRA.sub(r"\1; it is not shown, since it may hold a password; a ledger is given by --db", error.format_message())
    if isinstance(error, click.NoSuchOption) and context is not None:
        told = f"No such option {error.option_name!r}.{_similar_option(error.option_name, context)}"
    return f"{told}\n{context.command_path if context is not None else 'llmdispatcher'} --help tells more"


def _similar_option(name: str, context: click.Context) -> str:
    """A sentence about the option that was meant; at the top it may be one of ``ask``."""
    asking = top.get_command(context, _DEFAULT) if context.command is top else None
    if asking is not None and name in _names(asking, context):
        return f" It is one of `ask`, and stands behind that word: llmdispatcher {_DEFAULT} {name} ..."
    near = get_close_matches(name, _names(context.command, context), 1)
    return f" Did you mean {near[0]!r}?" if near else ""


def _names(command: click.Command, context: click.Context) -> list[str]:
    """The options of a command."""
    return [name for param in command.get_params(context) if isinstance(param, click.Option) for name in param.opts]
