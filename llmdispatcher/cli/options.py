"""The commands' base class, and the options that all commands take, before or after the command's name."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import click

from . import values

_Function = TypeVar("_Function", bound=Callable[..., Any])

CODES = "0 ok, 1 failed, 2 wrong usage, 130 interrupted"
"""The exit codes of a command that has no other ones."""

COMPLETE = "_LLMDISPATCHER_COMPLETE"
"""The variable by which a shell's completion script asks for words."""


def remember(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep a global option's value; a value after the command's name precedes one before it."""
    if value not in (None, False):
        ctx.find_root().ensure_object(dict)[param.name] = value


def _global(name: str, text: str, **more: Any) -> click.Option:
    return click.Option([name], help=text, expose_value=False, callback=remember, **more)


FILE = click.Path(dir_okay=False, path_type=Path)
"""The path of a file, which need not exist."""

GLOBALS = (
    _global("--db", "The database of the ledger, sqlite:///FILE or postgresql://...; before $DATABASE_URL.", metavar="URL"),
    _global("--sqlite", "The database of the ledger, as an SQLite file.", metavar="PATH", type=FILE),
    _global(
        "--profile", "The profile of the lockfile; before $LLMDISPATCHER_PROFILE.", metavar="NAME", shell_complete=values.PROFILE
    ),
    _global("--config", "A TOML or JSON file: fields of Config, and [vendors.NAME] tables.", metavar="FILE", type=FILE),
    _global("--json", "Print JSON for programs.", is_flag=True),
    _global("--quiet", "Print only the output and errors.", is_flag=True),
    _global("--debug", "Show where an error came from, and what the library logs.", is_flag=True),
    _global("--no-color", "Print no colours; the variable NO_COLOR does the same.", is_flag=True),
)
"""The options of every command."""


class DocumentedCommand(click.Command):
    """A command whose help has examples, exit codes and a section of global options."""

    def __init__(self, *given: Any, examples: Sequence[str] = (), codes: str = CODES, **more: Any) -> None:
        super().__init__(*given, **more)
        self.examples = tuple(examples)
        self.codes = codes

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return its own parameters and the global options."""
        return [*super().get_params(ctx)[:-1], *GLOBALS, *super().get_params(ctx)[-1:]]

    def format_arguments(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its arguments under a heading."""
        own = [param for param in super().get_params(ctx) if isinstance(param, click.Argument)]
        _write_section("Arguments", own, ctx, formatter)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write its own options, then the global ones."""
        own = [param for param in super().get_params(ctx) if not isinstance(param, click.Argument)]
        _write_section("Options", own, ctx, formatter)
        _write_section("Global options", GLOBALS, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes."""
        write_end(self.examples, self.codes, formatter)


class Suite(DocumentedCommand, click.Group):
    """A command that has subcommands."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the subcommands, each with its first sentence; each explains its own options."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, (one.help or "").partition("\n\n")[0]) for name, one in found if one is not None])


def _write_section(heading: str, params: Sequence[click.Parameter], ctx: click.Context, formatter: click.HelpFormatter) -> None:
    rows = [row for param in params if (row := param.get_help_record(ctx)) is not None]
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows)


def write_end(examples: Sequence[str], codes: str, formatter: click.HelpFormatter) -> None:
    """Write the end of a help text."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"  {example}\n")
    formatter.write_paragraph()
    formatter.write_text(f"Exit codes: {codes}.")


def make_command(
    name: str, *, examples: Sequence[str], codes: str = CODES, suite: Suite | None = None
) -> Callable[[Callable[..., int]], DocumentedCommand]:
    """Make a command of a function of the settings and its options, in *suite* if given; its docstring is the help."""

    def decorate(function: Callable[..., int]) -> DocumentedCommand:
        @functools.wraps(function)
        def run(**given: Any) -> int:
            from .settings import Settings  # late: --help needs no attrs

            given_globally = click.get_current_context().find_root().ensure_object(dict)
            return function(Settings.of(given_globally, os.environ), **given)

        command = click.command(name, cls=DocumentedCommand, examples=examples, codes=codes)(run)
        if suite is not None:
            suite.add_command(command)
        return command

    return decorate


class Positive(click.ParamType[float]):
    """A finite number above 0."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number; fail for anything else."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is not a number", param, ctx)
        if not 0 < number < float("inf"):
            self.fail(f"{value} is not a number above 0", param, ctx)
        return number


class WholeNumber(click.IntRange):
    """A whole number within bounds."""

    name = "whole number"


class Number(click.FloatRange):
    """A number within bounds."""

    name = "number"


NO_FAILOVER = click.option("--no-failover", is_flag=True, help="Ask the first vendor of the route alone; it is still retried.")

SYSTEM = click.option("-s", "--system", metavar="TEXT", help="The system prompt.")
SIMULATE = click.option("--simulate", is_flag=True, help="Ask simulated vendors; nothing is sent.")
_FILES = click.option(
    "-f",
    "--file",
    "files",
    multiple=True,
    metavar="FILE",
    shell_complete=values.file_names,
    help="Attach a text, document, recording or video; may be repeated.",
)
_IMAGES = click.option(
    "-i",
    "--image",
    "images",
    multiple=True,
    metavar="FILE|URL",
    shell_complete=values.file_names,
    help="Attach an image; may be repeated.",
)


def with_attachments(function: _Function) -> _Function:
    """Add the options for the files that go with a question."""
    return _FILES(_IMAGES(function))


COUNT = WholeNumber(min=1)
"""A whole number above 0."""


class OneOf(click.Choice[str]):
    """A choice of words; its error for any other word suggests the closest."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Return the words that there are, and the one that was meant."""
        near = get_close_matches(str(value).lower(), self.choices, 1)
        text = f"{value!r} is not one of {', '.join(map(repr, self.choices))}"
        return f"{text}; did you mean {near[0]!r}?" if near else text


def model_option(text: str) -> Callable[[_Function], _Function]:
    """The option ``--model``, with the text of its help."""
    return click.option("-m", "--model", metavar="MODEL", shell_complete=values.MODEL, help=text)


ASKED_MODEL = "A model, vendor:model or alias; else $LLMDISPATCHER_MODEL, else whichever fits best."
"""The help of ``--model`` where a question is asked."""

OVERWRITE = click.option("--force", "--yes", "-y", "force", is_flag=True, help="Overwrite a file without asking.")
"""The option of commands that write a file."""
