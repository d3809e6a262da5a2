"""What vendors, models and users write steers no terminal and forges no line; no password of a database is told."""

from __future__ import annotations

import json
import re

import pytest

from llmdispatcher.cli import terminal
from llmdispatcher.testing import faults
from tests.loopback_redis import quiet_port

from .started import Pty

EVIL = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b31m\u202eevil\r\x08\x7f"
    "\x1b]52;c;ZWNobyBoaQ==\x07 \u2066\u200b\ufeff\U000e0041 \x1b]8;;x\x07"
)
STEERS = re.compile("\x1b\\]|\x1b\\[2J|\x1b\\[31m|[\x07\x08\x7f\x9b\u202e\u2066\u200b\ufeff\U000e0041]")
ASK = ("ask", "-m", "openai:gpt-4o-mini", "--quiet", "Hello")


@pytest.mark.parametrize("more", [[], ["--no-stream"], ["--json"]], ids=["streamed", "whole", "JSON"])
def test_an_answer_steers_no_terminal(openai, more):
    """What is shown keeps the line ends of the answer."""
    openai.responses = f"first {EVIL}\nlast"
    with Pty(*ASK[:-1], *more, ASK[-1]) as seen:
        assert 0 == seen.ended()

    assert not STEERS.search(seen.seen)
    assert "owned" in seen.text
    assert more == ["--json"] or "\nlast" in seen.text


@pytest.mark.parametrize("debug", [[], ["--debug"]], ids=["plain", "debug"])
@pytest.mark.parametrize("kind", ["refusal", "page"])
def test_an_error_steers_no_terminal(openai, debug, kind):
    """Neither as a line nor as a traceback, nor by what is logged."""
    page = f"<html><title>{EVIL}</title>".encode()
    refusal = json.dumps({"error": {"message": f"no {EVIL}\nllmdispatcher: forged", "code": EVIL, "type": EVIL}}).encode()
    body = refusal if kind == "refusal" else page
    openai.always(faults.Fault("evil", lambda peer, _context: peer.reply(400, body)))
    with Pty(*debug, *ASK) as seen:
        assert 1 == seen.ended()

    assert not STEERS.search(seen.seen)
    assert [] == [line for line in seen.text.splitlines() if line.startswith("llmdispatcher: forged")]
    assert not debug or "Traceback" in seen.text


@pytest.mark.parametrize(
    "words", [["explain", "-m", f"openai:gpt{EVIL}\nllmdispatcher: forged", "Hello"], ["ask", "-m", f"x:{EVIL}", "Hi"], ["health"]]
)
def test_names_and_states_steer_no_terminal(openai, words):
    """A model that does not exist, a vendor that says no."""
    openai.always(faults.status(400, message=EVIL))
    with Pty(*words) as seen:
        seen.ended()

    assert not STEERS.search(seen.seen)
    assert [] == [line for line in seen.text.splitlines() if line.startswith("llmdispatcher: forged")]


def test_the_ids_and_failures_of_a_batch_are_lines(openai, prompts, command, monkeypatch):
    """A prompt's id comes from a file of somebody's."""
    openai.always(faults.status(400, message=f"no {EVIL}"))
    file = prompts({"id": f"a{EVIL}\nllmdispatcher: forged", "model": "openai:gpt-4o-mini"})
    told = command("batch", file, "--output", "answers.jsonl", "--yes")

    assert not STEERS.search(told.err + told.out)
    assert [] == [line for line in told.err.splitlines() if line.startswith("llmdispatcher: forged")]


def test_json_is_the_same_value():
    """What is escaped in it is not lost, and money is a text."""
    value = {"a": f"{EVIL}\n\t漢", "b": ["\U000e0041", "\ud800"]}
    told = terminal.json_text(value)
    assert not STEERS.search(told)
    assert value == json.loads(told)


def test_a_traceback_keeps_its_lines_and_no_other(command, monkeypatch):
    """What a foreign exception says is one of them."""

    def fail(_settings):
        raise RuntimeError(f"x\nllmdispatcher: forged {EVIL} postgresql://app:hunter2/x@host/db")

    monkeypatch.setattr("llmdispatcher.cli.commands.info._facts", fail)
    told = command("--debug", "info").err

    assert "Traceback" in told
    assert not STEERS.search(told)
    assert [] == [line for line in told.splitlines() if line.startswith("llmdispatcher: forged")]
    assert "hunter2" not in told


FORMS = {
    "nobody answers": "postgresql://app:{password}@127.0.0.1:{port}/db",
    "a bad port": "postgresql://app:{password}@127.0.0.1:none/db",
    "another driver": "postgresql+asyncpg://app:{password}@127.0.0.1:{port}/db",
    "another database": "mysql://app:{password}@127.0.0.1:{port}/db",
    "keywords": "host=127.0.0.1 port={port} user=app password={password} dbname=db",
    "no scheme": "//app:{password}@127.0.0.1:{port}/db",
    "of SQLite": "sqlite://app:{password}@127.0.0.1:{port}/db",
    "no slash": "postgres:app:{password}@127.0.0.1:{port}/db",
    "Redis": "redis://{password}@127.0.0.1:{port}/0",
    "Redis with a parameter": "redis://127.0.0.1:{port}/0?password={password}&db=none",
    "Redis with a parameter that there is not": "redis://127.0.0.1:{port}/0?none={password}",
}
PASSWORDS = ["hunter2", "hunter#2", "hunter?2", "hunter[2", "hunter@2", "hunter/2", "hunter%23%3F%5B%402"]


LINES = (
    *(("--db", "URL", "init-db", "--yes"), ("--sqlite", "URL", "init-db", "--yes")),
    *(("--db", "URL", "--debug", "usage"), ("--db", "URL", "--json", "calls")),
    *(("cache", "info", "URL"), ("--debug", "cache", "clear", "URL", "--yes")),
)
LINES_WITH_VARIABLES = (
    *(("init-db", "--yes"), ("--debug", "usage"), ("info",), ("config",)),
    ("--db", "URL", "ask", "-m", "openai:gpt-4o-mini", "Hello"),
    *(("init-db", "URL"), ("migrate", "--database", "URL"), ("migrate", "--database=URL")),  # wrong usage
)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_command_tells_the_password_of_an_address(command, away, monkeypatch, openai, form):
    """Each fails with one line, or goes on where another ledger will do, and no file has the address as its name."""
    wrong, port = [], quiet_port()
    for password in PASSWORDS:
        url = form.format(password=password, port=port)
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.delenv("LLMRING_SQLITE_DB", raising=False)
        for line in LINES:
            ended = command(*(word.replace("URL", url) for word in line))
            if (
                ended.code not in (1, 2)
                or ("Traceback" in ended.err and "--debug" not in line)
                or "hunter" in ended.out + ended.err
            ):
                wrong.append((password, line, ended))
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("LLMRING_SQLITE_DB", url)
        for line in LINES_WITH_VARIABLES:
            ended = command(*(word.replace("URL", url) for word in line))
            if "hunter" in ended.out + ended.err:
                wrong.append((password, line, ended))

    assert [] == wrong
    assert [] == [path for path in away.rglob("*") if "hunter" in str(path)]
