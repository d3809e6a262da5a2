"""Every command in a pseudo-terminal, one after the other in one folder, as somebody who tries them out."""

from __future__ import annotations

import re
import stat

import pytest

from llmdispatcher.cli.app import COMMANDS

from .started import Pty

# What is typed, the code it ends with, and what it says.
STEPS = (
    ("info", 0, "llmdispatcher +\\d"),
    ("init-db", 0, "ledger"),
    ("migrate", 0, "schema 00"),
    ("vendors", 0, "openai"),
    ("models gpt-4o*", 0, "128,000"),
    ("explain --model gpt-4o-mini", 0, "openai:gpt-4o-mini"),
    ("health", 0, "healthy"),
    ("ask Hello -m gpt-4o-mini", 0, "Certainly\\."),
    ("server key create team", 0, "llmr_pk_"),
    ("server key list", 0, "team"),
    ("compare Hello --models gpt-4o-mini,gpt-4o", 0, "Certainly\\."),
    ("lock init", 0, "4 aliases"),
    ("lock validate", 0, "4 aliases|nothing"),
    ("lock check", 0, "."),
    ("bind quick openai:gpt-4o-mini", 0, "quick → openai:gpt-4o-mini"),
    ("aliases", 0, "quick"),
    ("ask Again -m quick", 0, "Certainly\\."),
    ("batch prompts.jsonl --output answers.jsonl --yes", 0, "2 of 2 prompts answered"),
    ("usage --by model", 0, "gpt-4o-mini"),
    ("usage --by model --csv", 0, "gpt-4o-mini"),
    ("calls", 0, "success"),
    ("export logs.jsonl", 0, "6"),
    ("import logs.jsonl", 0, "6"),
    ("prune --older-than 90d", 0, "0 calls"),
    ("erase-user nobody", 0, "0 calls"),
    ("budgets show --config settings.toml", 2, "there are no budgets"),
    ("limits show --config settings.toml", 2, "there are no shared limits"),
    ("receipts new-key", 0, "receipts\\.key"),
    ("receipts create", 0, "6 calls|receipt"),
    ("receipts list", 0, "receipt"),
    ("receipts verify", 0, "nothing is wrong"),
    ("receipts public-key", 0, "current_key_id"),
    ("config check settings.toml", 0, "nothing is wrong"),
    ("cache info answers.db", 2, "a first answer makes it"),
    ("completion bash", 0, "complete"),
    ("json-refresh --registry nowhere", 1, "is not there"),
    ("keys list", 0, "no key in the keychain"),
)
ELSEWHERE = {
    "chat": "test_chat.py",
    "simulate": "test_processes.py",
    "serve": "tests/server/test_serve.py",
    "configure": "test_moving.py",
}
_STEERS = re.compile(r"\x1b\](?!8;)|\x1b\[\?1049|\x9b|[\x00-\x06\x0e-\x1a\x7f]")


@pytest.mark.timeout(300)
def test_every_command_does_its_work(openai, away, prompts):
    """It ends with the code that docs/cli.md gives it, says what is expected, shows no traceback, and steers no terminal."""
    openai.responses = "Certainly."
    prompts({"id": "a"}, {"id": "b"})
    (away / "settings.toml").write_text("timeout = 30\n")
    wrong = []
    for typed, code, said in STEPS:
        with Pty(*typed.split(), PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring") as terminal:
            ended, text = terminal.ended(), terminal.text
        if ended != code or not re.search(said, text) or "Traceback" in text or _STEERS.search(terminal.seen):
            wrong.append((typed, ended, text))

    assert [] == wrong, "\n".join(map(repr, wrong))
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in (away / "home").rglob("*") if path.is_file()}


def test_no_command_is_missing():
    """Those that do not end by themselves have terminals of their own."""
    assert set(COMMANDS) == {typed.split()[0] for typed, _code, _said in STEPS} | set(ELSEWHERE)
