"""Addresses in commands: a password in one is in no output, whatever the command and the form, with --debug too."""

from __future__ import annotations

import pytest

from tests.loopback_redis import quiet_port

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


@pytest.mark.parametrize("password", PASSWORDS)
@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_command_tells_the_password_of_an_address(command, away, monkeypatch, form, password):
    """Each fails with one line, or goes on where another ledger will do, and no file has the address as its name."""
    url = form.format(password=password, port=quiet_port())
    for line in (
        ("--db", url, "init-db", "--yes"),
        ("--sqlite", url, "init-db", "--yes"),
        ("--db", url, "--debug", "usage"),
        ("--db", url, "--json", "calls"),
        ("cache", "info", url),
        ("--debug", "cache", "clear", url, "--yes"),
    ):
        ended = command(*line)
        assert ended.code in (1, 2)
        assert "hunter" not in ended.out + ended.err
        assert "Traceback" not in ended.err or "--debug" in line
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("LLMRING_SQLITE_DB", url)
    for line in (("init-db", "--yes"), ("--debug", "usage"), ("info",), ("config",)):
        ended = command(*line)
        assert "hunter" not in ended.out + ended.err

    assert [] == [path for path in away.rglob("*") if "hunter" in str(path)]
