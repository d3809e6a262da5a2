"""Where a ledger is: the password of its database is in no repr, error or log line, however the address is written."""

from __future__ import annotations

import logging
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from llmdispatcher import Budget, ConfigError, Dispatcher, Ledger, LedgerError, open_ledger
from llmdispatcher._text import traced
from tests.cases import each

pytest.importorskip("psycopg")


def address(text: str) -> Any:
    """Where a ledger of that address is."""
    return Ledger(text).address


PASSWORDS = ("hunter2", *[f"hunter2{rest}" for rest in ("/rest", "#rest", "?rest", "?a=rest", "[rest", "@rest", "@x/y", " x")])


@each("password, escape", product(PASSWORDS, (False, True)))
def test_a_password_is_shown_nowhere(password, escape, tmp_path, caplog):
    """Neither by a ledger that cannot be reached nor by one whose address cannot be read, which says what must be escaped."""
    caplog.set_level(logging.DEBUG)
    written = quote(password, safe="") if escape else password
    try:
        ledger = Ledger(f"postgresql://app:{written}@127.0.0.1:1/db", spool=tmp_path / "spool", timeout=1)
        told = f"{ledger!r} {ledger.address!r} {ledger.address.shown}"
        with pytest.raises(LedgerError) as caught:
            ledger.list_recent_calls(limit=1)
        error: Exception = caught.value
    except ConfigError as refused:
        told, error = "", refused
    assert isinstance(error, LedgerError) or (not escape and "%2F" in str(error))
    told += f"{error} {error!r} {traced(error)} {caplog.text}"

    assert "hunter" not in told
    assert "rest@" not in told


def test_a_budget_that_cannot_reach_its_database_tells_no_password(tmp_path, caplog):
    """It is the ledger's."""
    caplog.set_level(logging.DEBUG)
    ledger = Ledger("postgresql://app:hunter2%5Brest@127.0.0.1:1/db", spool=tmp_path / "spool", timeout=1)
    with Dispatcher({"budgets": [Budget(limit="1")]}, ledger=ledger) as dispatcher:
        try:
            told = repr(dispatcher.get_budgets())
        except Exception as error:
            told = f"{error!r} {traced(error)}"

    assert "hunter" not in told + caplog.text


@pytest.mark.parametrize(
    "text", ["postgresql:/app:hunter2@host/db", "postgres:app:hunter2@host", "mysql://app:hunter2@host/db", "app:hunter2@host/db"]
)
def test_what_is_no_address_of_a_ledger_is_not_taken_for_a_file(text):
    """A file of that name would show the password."""
    with pytest.raises(ConfigError) as caught:
        address(text)
    assert "hunter" not in str(caught.value)


def test_a_path_may_have_a_colon(tmp_path):
    """As any file."""
    assert Path(tmp_path / "a:b.db") == address(str(tmp_path / "a:b.db")).path


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_folder_that_is_not_there_is_told_and_not_made(tmp_path, form):
    """A misspelt path would begin another ledger without a word."""
    place = form.format(tmp_path / "misspelt" / "calls.db")
    for make in (Ledger, open_ledger, lambda place: Dispatcher(ledger=place), lambda place: Dispatcher({"ledger": place})):
        with pytest.raises(ConfigError, match=r"ledger: the folder '.*misspelt' is not there; make it, or correct the path"):
            make(place)

    assert [] == list(tmp_path.iterdir())
