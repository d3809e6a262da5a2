"""The table of exit codes in docs/cli.md, against every command and every kind of end; and questions before something is lost."""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path

import click
import pytest

from llmdispatcher import ConfigError, InvalidRequest, LedgerError, ModelNotFound, RateLimitError, VendorUnavailable
from llmdispatcher.cli.options import CODES
from llmdispatcher.cli.terminal import CommandFailed, UsageError

from .started import Pty
from .test_help import ALL

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "cli.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Exit codes")[2].partition("\n## ")[0]
ROWS = [tuple(cell.strip() for cell in line.strip("|\n ").split("|")) for line in SECTION.splitlines() if line.startswith("|")]
NAMED = {row[0].strip("`") for row in ROWS if row[0].startswith("`")}
COMMANDS = {" ".join(path): found for path, found in ALL.items() if path and not isinstance(found, click.Group)}

ENDS = {
    "done": (lambda: 0, 0),
    "a vendor": (VendorUnavailable("down"), 1),
    "a limit": (RateLimitError("slow down"), 1),
    "a ledger": (LedgerError("gone"), 1),
    "a failure": (CommandFailed("no"), 1),
    "a full disk": (OSError(28, "No space left on device"), 1),
    "a defect": (ZeroDivisionError(), 1),
    "wrong usage": (UsageError("no"), 2),
    "click's wrong usage": (click.BadParameter("no"), 2),
    "a configuration": (ConfigError("no"), 2),
    "no file": (FileNotFoundError(2, "No such file", "a.txt"), 2),
    "no right": (PermissionError(13, "Permission denied", "a.txt"), 2),
    "a model that nobody has": (ModelNotFound("none"), 2),
    "a value that the library refuses": (InvalidRequest("no"), 2),
    "a request that a vendor refuses": (InvalidRequest("no", attempts=1), 1),
    "Ctrl-C": (KeyboardInterrupt(), 130),
}


def test_every_end_of_every_command_has_its_code(command, monkeypatch):
    """Whatever the command is; with one line of a reason, and no traceback."""
    for name, found in COMMANDS.items():
        needed = [word for param in found.params if param.required for word in needed_words(param)]
        for kind, (end, code) in ENDS.items():
            monkeypatch.setattr(found, "callback", partial(finish, end))
            ended = command(*name.split(), *needed)
            assert code == ended.code, (name, kind, ended)
            assert "Traceback" not in ended.err, (name, kind)
            assert "" == ended.out, (name, kind)


def finish(end, /, **_given):
    """What a command does in the place of its work."""
    if callable(end):
        return end()
    raise end


def needed_words(param):
    """The words of a parameter that a command cannot be run without."""
    value = param.type.choices[0] if isinstance(param.type, click.Choice) else "1"
    return [param.opts[0], value] if isinstance(param, click.Option) else [value]


def test_what_no_command_takes_is_wrong_usage(command):
    """An option, a value of the options of all, and one argument too many."""
    for name in COMMANDS:
        for words in (["--no-such-option"], ["--db"], ["--db", "x", "--sqlite", "y"], ["--config", "."]):
            ended = command(*name.split(), *words)
            assert (2, "") == (ended.code, ended.out), (name, words, ended.err)


def test_the_table_names_what_a_code_means_elsewhere():
    """A command has a row where its help says more than that of every command, and no other one has."""
    assert ("every command",) == ROWS[2][:1]
    assert NAMED == {name for name, found in COMMANDS.items() if found.codes != CODES}
    for name, found in COMMANDS.items():
        assert {"0", "1", "2", "130"} <= {*re.findall(r"(?:^|, )(\d+) ", found.codes)}, name


LOSSES = {
    "export": ("export", "there.txt", "--format", "csv"),
    "a picture": ("usage", "--plot", "there.svg"),
    "receipts": ("receipts", "export", "there.jsonl"),
    "a lockfile": ("lock", "init", "there.lock"),
}


@pytest.fixture
def ledger(command, openai, away):
    """A ledger with a call and a receipt, and files that are there."""
    command("init-db")
    command("ask", "Hello", "-m", "gpt-4o-mini")
    command("receipts", "new-key")
    command("receipts", "create")
    for suffix in ("txt", "svg", "jsonl", "lock"):
        (away / f"there.{suffix}").write_text("mine")
    return away


def test_nothing_is_overwritten_unasked(command, ledger):
    """Where nobody can be asked the code is 2 and the remedy is named; --force and --yes are a yes. A folder is no file."""
    for name, words in LOSSES.items():
        file = next(ledger / word for word in words if word.startswith("there"))
        refused = command(*words)
        assert (2, "mine") == (refused.code, file.read_text()), name
        assert f"{file.name} exists and will be overwritten; nobody can be asked" in refused.err, name
        assert "--force overwrites it" in refused.err, name
        for yes in ("--force", "--yes", "-y"):
            file.write_text("mine")
            assert 0 == command(*words, yes).code, name
            assert "mine" != file.read_text(), name
        for where in (".", "no/such/there.svg"):
            wrong = command(*[where if word.startswith("there") else word for word in words], "--force")
            assert 2 == wrong.code, (name, where)


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("typed", "code", "left"), [("n\n", 1, "mine"), ("\n", 1, "mine"), ("y\n", 0, "call")], ids=["no", "nothing", "yes"]
)
def test_a_person_is_asked_before_a_file_is_overwritten(ledger, typed, code, left):
    """No is the answer that is meant by nothing."""
    with Pty("export", "there.txt", "--format", "csv") as terminal:
        terminal.until(r"there\.txt exists and will be overwritten\. Go on\? \[y/N\] ")
        terminal.type(typed)

        assert code == terminal.ended()
    assert bool(code) is ((ledger / "there.txt").read_text() == "mine")


@pytest.mark.timeout(240)
def test_a_person_is_asked_before_answers_are_overwritten(prompts, openai, away):
    """Of a batch; --force asks nobody."""
    (away / "out.jsonl").write_text("mine")
    file = prompts({})
    with Pty("batch", file, "--output", "out.jsonl") as terminal:
        terminal.until(r"out\.jsonl exists and will be overwritten\. Go on\? \[y/N\] ")
        terminal.type("n\n")
        assert (1, 0) == (terminal.ended(), openai.hits)
    with Pty("batch", file, "--output", "out.jsonl", "--force") as terminal:
        assert 0 == terminal.ended()


def test_a_chat_overwrites_its_own_files_alone(command, openai, away, monkeypatch):
    """Those that it has saved; from a pipe another one is refused, and --force overwrites it."""
    (away / "mine.json").write_text("mine")
    lines = "/save own.json\n/save own.json\n/save mine.json\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    ended = command("chat", "-m", "gpt-4o-mini")

    assert (1, "mine") == (ended.code, (away / "mine.json").read_text())
    assert "/save mine.json --force overwrites it" in ended.err
    monkeypatch.setattr("sys.stdin", io.StringIO("/save mine.json --force\n"))
    assert 0 == command("chat", "-m", "gpt-4o-mini").code
    assert "mine" != (away / "mine.json").read_text()
