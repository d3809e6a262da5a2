"""The README's tour of the command line, as a shell reads it; and the page of the command line against the commands."""

from __future__ import annotations

import io
import re
import shlex
import sys
from pathlib import Path

import click

from llmdispatcher.cli.app import COMMANDS, top
from llmdispatcher.cli.commands.chat import SLASH_COMMANDS
from llmdispatcher.cli.options import GLOBALS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
_STEP = re.compile(r"^\$ (.+)\n((?:[^$].*\n)*)", re.MULTILINE)


def steps():
    """What is typed, and the lines that are said to come."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```console\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[1]
    return [(typed, shown.splitlines()) for typed, shown in _STEP.findall(block)]


def test_the_tour_works(command, openai, prompts, away, monkeypatch):
    """Every line of it ends with 0, one after the other, and says what the README shows."""
    prompts({"id": "a"}, {"id": "b"})
    (away / "report.txt").write_text("All is well.")
    assert len(steps()) > 10

    for typed, shown in steps():
        *before, line = typed.split(" | ")
        piped = b"".join([Path(part.removeprefix("cat ")).read_bytes() for part in before])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        ended = command(*shlex.split(line, comments=True)[1:])
        assert (0, False) == (ended.code, "Traceback" in ended.err), f"{typed}: {ended.err}"
        assert [] == [one for one in shown if one not in ended.out], f"{typed}: {ended.out}"


def test_the_page_names_every_command():
    """Also those within suites."""
    assert [] == [name for name in COMMANDS if f"`{name}`" not in PAGE]
    for name in COMMANDS:
        found = top.get_command(click.Context(top), name)
        assert [] == [part for part in getattr(found, "commands", ()) if f"`{part}" not in PAGE]


def test_the_page_names_every_global_option():
    """And no other is called global."""
    assert [] == [option.opts[0] for option in GLOBALS if f"`{option.opts[0]}" not in PAGE]


def test_the_page_names_every_command_of_a_chat():
    """As /help does."""
    assert [] == [word for word in SLASH_COMMANDS if word not in PAGE]


def test_the_commands_that_simulate_are_named():
    """README tells which commands need no key with --simulate."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    named = set(re.findall(r"`(\w+)`", re.search(r"((?:`\w+`, )+`\w+` and `\w+`) take `--simulate`", text)[1]))
    context = click.Context(top)
    able = {
        name
        for name in COMMANDS
        if any("--simulate" in option.opts for option in getattr(top.get_command(context, name), "params", ()))
    }

    assert able == named
