"""The help of every command: complete, with an example that can be read, and quick."""

from __future__ import annotations

import os
import re
import resource
import shlex
import subprocess
import sys
import termios
from importlib import import_module
from pathlib import Path

import click
import pytest

from llmdispatcher.cli.app import ALIASES, COMMANDS, top
from llmdispatcher.cli.options import GLOBALS
from tests.orphans import mortal

from .started import piped

MOST = 1.7
"""Times the CPU of ``import click`` that ``--help`` may take; on an idle machine that keeps it well below 150 ms."""
TURNS = 40


def walked(command, path):
    """A command and all below it, with their paths."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            yield from walked(command.get_command(context, name), (*path, name))


ALL = dict(walked(top, ()))
EXAMPLES = [(path, example) for path, command in ALL.items() for example in getattr(command, "examples", ())]


def test_the_walk_finds_them_all():
    """Every command of the house, and those within suites."""
    assert {(name,) for name in COMMANDS} <= ALL.keys()
    assert {("keys", "set"), ("lock", "check"), ("receipts", "verify"), ("config", "check"), ("cache", "clear")} <= ALL.keys()


def test_every_command_explains_itself(command):
    """Its help, the help of each option and argument, the exit codes, and examples that begin as one would type them."""
    for path, found in ALL.items():
        ended = command(*path, "--help")
        context, suite = click.Context(found, info_name="x"), isinstance(found, click.Group)

        assert (0, True) == (ended.code, bool(found.help)), path
        texts = [(param.name, (param.get_help_record(context) or ("", ""))[1].strip()) for param in found.get_params(context)]
        assert [] == [name for name, text in texts if not text], path
        assert "Examples:" in ended.out, path
        assert suite or any("llmdispatcher " in example for example in found.examples), path
        assert "Exit codes: 0 " in ended.out, path
        assert ended.out.count("rguments:") <= 1, path
        assert suite or all(option.opts[0] in ended.out for option in GLOBALS), path


def test_help_says_nothing_twice_and_cuts_nothing(command):
    """Neither headings, arguments and options nor the names of click's own types; no sentence ends in dots."""
    for path in ALL:
        shown = command(*path, "--help").out
        first = [line.split()[0] for line in shown.splitlines() if re.match(r"  [-\[A-Z]", line) and "Usage" not in line]
        assert sorted({*first}) == sorted(first), path
        assert not re.search(r"\b(TEXT RANGE|INTEGER|FLOAT|NUMBER)\b|[a-z]\.\.\.$", shown, re.MULTILINE), path
        assert 80 >= max(len(line) for line in shown.partition("Examples:")[0].splitlines()), path


def test_every_example_can_be_read():
    """By the very parser; nothing is carried out."""
    for path, example in EXAMPLES:
        typed = shlex.split(example.rpartition("| ")[2].partition(" >")[0])
        rest = typed[typed.index("llmdispatcher") + 1 :]
        if "COMMAND" in rest or "..." in example:
            continue
        context, found = top.make_context("llmdispatcher", list(rest), obj={}), top
        while isinstance(found, click.Group):
            name, found, rest = found.resolve_command(context, [*context._protected_args, *context.args])
            context = found.make_context(name, rest, parent=context)

        assert found is ALL[path] or isinstance(ALL[path], click.Group), example


def test_the_list_says_what_the_commands_are():
    """Each file of commands is in the list, and each row of the list has a file."""
    folder = Path(import_module("llmdispatcher.cli.commands").__file__).parent

    assert {file.stem for file in folder.glob("*.py")} - {"__init__"} == {place.partition(":")[0] for place, _ in COMMANDS.values()}
    assert set(ALIASES.values()) <= set(COMMANDS)


def test_run_is_an_older_name_of_batch(command):
    """It still works."""
    assert command("batch", "--help").out.replace(" batch ", " run ", 1) == command("run", "--help").out


def test_help_is_quick():
    """Little more than importing click; the least of many each, in turns, since others use the machine too."""

    def seconds(*arguments):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    shown, bare = [], []
    while len(shown) < TURNS and not (shown and min(shown) < MOST * min(bare)):
        bare.append(seconds("-c", "import click"))
        shown.append(seconds("-m", "llmdispatcher", "--help"))

    assert min(shown) < MOST * min(bare)


OPTIONS = {
    "unknown command": ["walk"],
    "unknown option": ["run", "--fast"],
    "no workers": ["run", "--workers", "0"],
    "workers in words": ["run", "--workers", "many"],
    "no time": ["run", "--timeout", "0"],
    "endless time": ["run", "--timeout", "inf"],
    "too many errors": ["simulate", "--error-rate", "2"],
    "no port": ["simulate", "--port", "70000"],
    "a global option without its value": ["usage", "--db"],
    "a choice that there is not": ["usage", "--by", "moon"],
    "days below one": ["usage", "--days", "0"],
    "a shell that there is not": ["completion", "tcsh"],
    "too warm": ["chat", "--temperature", "2.5"],
    "no such subcommand": ["keys", "show"],
    "a missing argument": ["bind"],
    "a moment in words": ["receipts", "create", "--since", "yesterday"],
    "more arguments than there are": ["vendors", "extra"],
    "an option of another command": ["models", "--workers", "3"],
}


@pytest.mark.parametrize("arguments", OPTIONS.values(), ids=OPTIONS)
def test_wrong_options(command, arguments):
    """Exit code 2, a line that names what is wrong, and the way to the help."""
    ended = command(*arguments)

    assert (2, "") == (ended.code, ended.out)
    assert ended.err.startswith("llmdispatcher: ")
    assert "--help tells more" in ended.err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(command, shell):
    """Which asks the command itself for words."""
    ended = command("completion", shell)

    assert 0 == ended.code
    assert "_LLMDISPATCHER_COMPLETE" in ended.out
    assert shell != "fish" or 'string split -m 1 "," $completion' in ended.out  # of gpt-4o,gpt-4.1 all is the value


WORDS = {
    "commands": ("llmdispatcher us", "1", "usage"),
    "subcommands": ("llmdispatcher keys ", "2", "remove"),
    "options": ("llmdispatcher ask --temp", "2", "--temperature"),
    "choices": ("llmdispatcher usage --by ", "3", "vendor"),
    "models": ("llmdispatcher ask --model gpt-4o-mi", "3", "gpt-4o-mini"),
    "models of a vendor": ("llmdispatcher ask -m openai:gpt-4o-mi", "3", "openai:gpt-4o-mini"),
    "the last of several": ("llmdispatcher compare Why -m gpt-4o,claude-hai", "4", "gpt-4o,claude-haiku-4-5"),
    "aliases": ("llmdispatcher ask -m bal", "3", "balanced"),
    "vendors": ("llmdispatcher models --vendor anth", "3", "anthropic"),
    "vendors of the configuration": ("llmdispatcher --config v.toml usage --vendor eu", "5", "eu-openai"),
    "capabilities": ("llmdispatcher models --capability vis", "3", "vision"),
    "modes": ("llmdispatcher explain --mode fa", "3", "fast"),
    "time zones": ("llmdispatcher usage --timezone Europe/Zu", "3", "Europe/Zurich"),
    "behind a question": ("llmdispatcher 'Why me?' --mod", "2", "--model"),
}


@pytest.mark.parametrize(("line", "place", "word"), WORDS.values(), ids=WORDS)
def test_a_shell_gets_words(line, place, word, away):
    """As a script of an earlier version asks for them; values are those that catalog, lockfile and configuration know."""
    (away / "v.toml").write_text('[vendors.eu-openai]\nkind = "openai"\napi_key = "k"\n')
    asked = {"_LLMDISPATCHER_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": place}
    code, out, err = piped(**asked)

    assert f"plain,{word}" in out.splitlines()
    assert (0, "") == (code, err)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_the_whole_word(shell):
    """They replace all of ``--model=openai:...``, and not what is behind the last break."""
    asked = {"_LLMDISPATCHER_COMPLETE": f"{shell}_complete", "COMP_WORDS": "llmdispatcher ask --model=openai:gpt-4.1-mi"}
    _, out, err = piped(**asked, COMP_CWORD="2" if shell == "zsh" else "--model=openai:gpt-4.1-mi")

    assert ("--model=openai:gpt-4.1-mini" in out, "") == (True, err)


TYPED = {
    "a model": ("ask -m openai:gpt-4.1-mi", "ni "),
    "behind =": ("ask --model=openai:gpt-4.1-mi", "ni "),
    "in quotes": ('ask -m "openai:gpt-4.1-mi', 'ni" '),
    "the last of several": ("compare Why -m gpt-4o,openai:gpt-4.1-mi", "ni "),
    "a file": ("ask -f note", "s.txt "),
}


@pytest.mark.timeout(240)
def test_bash_completes_what_is_typed(away):
    """A real one, at a terminal, with its own breaks of words."""
    (away / "notes.txt").write_text("")
    (away / "llmdispatcher").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m llmdispatcher "$@"\n')
    (away / "llmdispatcher").chmod(0o700)
    (away / "rc").write_text("PS1='> '\nsource <(llmdispatcher completion bash)\necho ready\n")
    environment = {**os.environ, "TERM": "dumb", "INPUTRC": "/dev/null", "PATH": f"{away}:{os.environ['PATH']}"}
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (40, 200))
    with subprocess.Popen(
        mortal(["bash", "--noprofile", "--rcfile", str(away / "rc"), "-i"]),
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as shell:
        os.close(theirs)
        try:
            read_until(ours, "ready")
            for typed, completed in TYPED.values():
                os.write(ours, f"llmdispatcher {typed}\t".encode())
                read_until(ours, typed + completed)
                os.write(ours, b"\x15")
        finally:
            shell.kill()
            os.close(ours)


def read_until(terminal, text):
    """Read what comes until a text is there; the test's own limit ends it."""
    seen = ""
    while text not in seen:
        seen += os.read(terminal, 4096).decode(errors="replace")
