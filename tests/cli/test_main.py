"""The command line as a whole: help, usage errors, exit codes, what comes out where."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import ConfigError, DeadlineExceeded, VendorUnavailable
from llmdispatcher._version import __version__
from llmdispatcher.cli import terminal
from llmdispatcher.cli.commands import simulate
from llmdispatcher.cli.commands.batch import progress
from llmdispatcher.cli.terminal import CommandFailed, UsageError


def test_version(command):
    """The package's."""
    assert f"llmdispatcher {__version__}\n" == command("--version").out


@pytest.mark.parametrize(("typed", "meant"), [("aks", "ask"), ("chta", "chat"), ("vendor", "vendors")])
def test_a_misspelt_command_gets_a_suggestion(command, typed, meant):
    """Within the error."""
    assert f"Did you mean {meant!r}?" in command(typed).err


def test_without_a_command_there_is_the_help(command):
    """On stderr, since nothing was done; of a suite, too."""
    for words in ([], ["keys"]):
        ended = command(*words)
        assert (2, "", True) == (ended.code, ended.out, ended.err.startswith("Usage: llmdispatcher ")), words


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(command, missing, monkeypatch):
    """In one line, before anything is done."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else found(name, *more))
    ended = command("--help")

    assert (2, "") == (ended.code, ended.out)
    assert f"llmdispatcher: the command line needs {missing}: pip install 'llmdispatcher[cli]'\n" == ended.err


def test_as_a_module():
    """``python -m llmdispatcher`` is the same command."""
    done = subprocess.run([sys.executable, "-m", "llmdispatcher", "--version"], capture_output=True, text=True, check=True)

    assert f"llmdispatcher {__version__}\n" == done.stdout


def test_help_loads_little():
    """The command line is quick where it only explains: neither the library nor what draws tables."""
    code = (
        "import sys\nfrom llmdispatcher.cli.main import main\nassert main(['--help']) == 0\n"
        "assert not {'requests', 'attrs', 'rich', 'sqlalchemy', 'asyncio'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def failing(monkeypatch, error):
    """Let the command ``simulate`` do nothing but fail."""

    def fail(**given):
        raise error

    monkeypatch.setattr(simulate.command, "callback", fail)


SILENT = """
import warnings
from llmdispatcher import Config, Dispatcher, OpenAIVendor, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor

class Unsure(FakeVendor):
    def is_available(self):
        raise RuntimeError("unsure")

class Observer:
    def __call__(self, outcome):
        raise RuntimeError("observer")

with Dispatcher(Config(fallback_vendor="nobody"), observers=[Observer()]) as dispatcher:
    for vendor in (FakeVendor("hi"), Unsure(name="unsure"), OpenAIVendor()):
        dispatcher.register_vendor(vendor)
    dispatcher.send(Request("fake:m", "hello"))
    dispatcher.explain(Request("unsure:m", "hello"))
"""


def test_a_library_prints_nothing(monkeypatch):
    """What it warns of goes to whoever has set up logging, and else nowhere."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    done = subprocess.run([sys.executable, "-c", SILENT], capture_output=True, text=True, check=False)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_a_second_ctrl_c_ends_at_once(command, monkeypatch):
    """With the code that shells expect, without a traceback."""
    failing(monkeypatch, KeyboardInterrupt())

    assert (130, "") == (command("simulate").code, command("simulate").err)


ENDS = {
    "usage": (UsageError("no"), 2, "llmdispatcher: no\n"),
    "configuration": (ConfigError("timeout: no"), 2, "llmdispatcher: timeout: no\n"),
    "dispatch": (VendorUnavailable("down"), 1, "llmdispatcher: VendorUnavailable: down\n"),
    "time": (
        DeadlineExceeded("too late", remedy="raise timeout="),
        1,
        "llmdispatcher: DeadlineExceeded: too late (raise timeout=)\n",
    ),
    "time of the system": (TimeoutError("timed out"), 1, "llmdispatcher: timed out\n"),
    "failed": (CommandFailed("no"), 1, "llmdispatcher: no\n"),
    "file": (PermissionError(13, "Permission denied", "a.txt"), 2, "llmdispatcher: a.txt: Permission denied\n"),
    "system": (OSError(28, "No space left on device", "a.txt"), 1, "llmdispatcher: a.txt: No space left on device\n"),
    "bug": (ZeroDivisionError("by 0"), 1, "llmdispatcher: ZeroDivisionError: by 0 (--debug shows where)\n"),
}


@pytest.mark.parametrize(("error", "code", "said"), ENDS.values(), ids=ENDS)
def test_every_end_has_its_code(command, monkeypatch, error, code, said):
    """And one line, without a traceback."""
    failing(monkeypatch, error)

    assert (code, "", said) == attrs.astuple(command("simulate"))


@pytest.mark.parametrize("arguments", [["--debug", "simulate"], ["simulate", "--debug"]], ids=["before", "behind"])
def test_debug_shows_where(command, monkeypatch, arguments):
    """The option stands before the command or behind it, as all global ones."""
    failing(monkeypatch, ZeroDivisionError("by 0"))

    assert "Traceback" in command(*arguments).err


def test_a_reader_that_left_is_no_traceback():
    """``llmdispatcher ... | head -0`` ends quietly."""
    code = (
        "import sys\nfrom llmdispatcher.cli.commands import simulate\nfrom llmdispatcher.cli.main import main\n"
        "def say(**given):\n    while True:\n        print('x' * 4096, flush=True)\n"
        "simulate.command.callback = say\nsys.exit(main(['simulate']))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        err = process.stderr.read()

    assert (1, b"") == (process.returncode, err)


def test_streams_that_are_closed_are_no_trouble():
    """Nothing is said there, and the work is done; what would go to stderr does not go to stdout."""
    for closed, words, code in ((">&-", "vendors", 0), ("2>&-", "nonsense", 2), (">&- 2>&-", "models zzz", 1)):
        done = subprocess.run(
            f"{sys.executable} -m llmdispatcher {words} {closed}", shell=True, capture_output=True, text=True, check=False
        )
        assert (code, "", "") == (done.returncode, done.stdout, done.stderr), closed


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        """It does."""
        return True


def test_a_terminal_is_not_steered():
    """Controls, returns and marks that reorder text are written as escapes; tabs, lines and letters of all kinds stay."""
    text = "\x1b[31mred\x07\r\n\tß\u202e漢\x9b2J"

    assert "\\x1b[31mred\\x07\n\tß\\u202e漢\\x9b2J" == terminal.for_stream(text, Terminal())


def test_a_pipe_gets_everything():
    """What is not a terminal cannot be steered."""
    assert "\x1b[31m" == terminal.for_stream("\x1b[31m", io.StringIO())


def test_trouble_is_escaped_as_well(capsys):
    """Errors may hold what a vendor said."""
    terminal.complain("a\x1b[2Jb")

    assert "llmdispatcher: a\\x1b[2Jb\n" == capsys.readouterr().err


def test_progress_on_a_terminal_is_a_bar(monkeypatch):
    """On stderr, so that stdout can be redirected."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    with progress(2) as advance:
        advance(cost=Decimal("0.5"))
        advance(failed=True)

    assert "2/2" in shown.getvalue()
    assert "1 failed, US$ 0.5000" in shown.getvalue()


def test_progress_elsewhere_is_ten_lines(capsys):
    """However many prompts there are."""
    with progress(1000) as advance:
        for _ in range(1000):
            advance()

    assert 10 == len(capsys.readouterr().err.splitlines())
