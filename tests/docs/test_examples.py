"""What the pages and the examples show, run against the simulator."""

from __future__ import annotations

import runpy
from wsgiref.util import setup_testing_defaults

import pytest

from examples.wsgi_view import Chat
from llmdispatcher import Dispatcher
from llmdispatcher.testing import faults

from .conftest import ROOT, blocks

BLOCKS = blocks()


def test_the_readme_has_examples():
    """The extractor finds them; the first is the ten-line example of the opening."""
    first = BLOCKS[0]

    assert "README.md" == first.page
    assert len(first.code.strip().splitlines()) <= 10


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_runs(block, vendors, capsys, tmp_path, monkeypatch):
    """Every block of Python in the README and in docs runs as it stands, in a folder of its own, since some write files."""
    monkeypatch.chdir(tmp_path)
    code = "\n" * (block.line - 1) + block.code
    exec(compile(code, block.page, "exec", dont_inherit=True), {"__name__": "example"})

    assert "Error" not in capsys.readouterr().out


def test_the_opening_example_prints_the_answer(vendors, capsys):
    """What a new user sees first is the answer, who gave it, and what it cost."""
    vendors.responses = "Rayleigh scattering."
    exec(BLOCKS[0].code, {"__name__": "example"})
    answer, told = capsys.readouterr().out.splitlines()

    assert "Rayleigh scattering." == answer
    assert told.startswith("openai:gpt-4o-mini ")


def test_quickstart(vendors, capsys):
    """It explains, asks and prints the cost."""
    vendors.responses = "To wait in."
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")
    printed = capsys.readouterr().out

    assert "To wait in." in printed
    assert "US$ " in printed


def test_quickstart_without_an_answer(vendors, capsys):
    """It tells what went wrong."""
    vendors.always(faults.wrong_key())
    runpy.run_path(str(ROOT / "examples" / "quickstart.py"), run_name="__main__")

    assert "AllTargetsFailed" in capsys.readouterr().out


def test_streaming(vendors, capsys):
    """It prints the chunks, and then who answered."""
    vendors.responses = "A sink has a drain."
    runpy.run_path(str(ROOT / "examples" / "streaming.py"), run_name="__main__")
    said, told = capsys.readouterr().out.splitlines()

    assert "A sink has a drain." == said
    assert told.startswith("anthropic:claude-haiku-4-5")


def served(query):
    """Status and body of one request to the view."""
    environ, statuses = {"QUERY_STRING": query}, []
    setup_testing_defaults(environ)
    with Dispatcher.from_env() as dispatcher:
        body = b"".join(Chat(dispatcher)(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], body.decode()


def test_view(vendors):
    """The view streams the answer to the question."""
    vendors.responses = "Because of the air."

    assert ("200 OK", "Because of the air.") == served("q=Why+is+the+sky+blue")


def test_view_without_a_question(vendors):
    """A browser that asks nothing is told how to ask, and no vendor is."""
    assert ("400 Bad Request", "ask with ?q=") == served("")
    assert 0 == vendors.hits


def test_view_when_nobody_answers(vendors):
    """The class of the error ends the page, not its text."""
    vendors.always(faults.wrong_key())

    assert ("200 OK", "\n[AllTargetsFailed]") == served("q=Why")
