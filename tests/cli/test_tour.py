"""The README's tour of the command line, typed into a shell; and the page of the command line against the commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

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


@pytest.mark.timeout(400)
@pytest.mark.skipif(shutil.which("bash") is None, reason="the tour is typed into bash, which this machine has not")
def test_the_tour_works(openai, prompts, away, monkeypatch):
    """Every line of it ends with 0, one after the other, and says what the README shows."""
    command = away / "bin" / "llmdispatcher"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llmdispatcher "$@"\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}{os.pathsep}{os.environ['PATH']}")
    prompts({"id": "a"}, {"id": "b"})
    (away / "report.txt").write_text("All is well.")
    assert len(steps()) > 10

    for typed, shown in steps():
        done = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert 0 == done.returncode, f"{typed}: {done.stderr}"
        assert "Traceback" not in done.stderr
        assert [] == [line for line in shown if line not in done.stdout], f"{typed}: {done.stdout}"


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
