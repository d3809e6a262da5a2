"""Tables: as wide as the terminal, with ids whole, and money that adds up."""

from __future__ import annotations

import json
import re
import sys
from decimal import Decimal

import hypothesis
import pytest
from hypothesis import strategies
from rich.cells import cell_len

from llmdispatcher.cli.tables import money_cells, print_columns, print_rows, wrapped

from .test_main import Terminal

ID = "0006618000000000e7f405ca247ef12e"
HEADS = ("call", "begun (UTC)", "model", "status", "tokens in", "tokens out", "US$", "seconds")
ROW = (ID, "2026-11-29 21:12:56", "anthropic:claude-haiku-4-5", "rate_limited", "1,234,567", "593", "0.000031", "1.20")
SPARE = ("seconds", "tokens out", "tokens in")


@pytest.fixture
def table(monkeypatch):
    """Draw a table in a terminal of some columns, or in a pipe; returns its lines without what makes them bold."""

    def draw(columns, *rows, heads=HEADS, **more):
        shown = Terminal()
        monkeypatch.setattr(shown, "isatty", lambda: columns is not None)
        monkeypatch.setattr(sys, "stdout", shown)
        monkeypatch.setenv("COLUMNS", str(columns or 33))
        print_rows(heads, rows, **more)
        return re.sub(r"\x1b\[[01]m", "", shown.getvalue()).splitlines()

    return draw


def test_a_table_fits_the_terminal_and_breaks_no_id(table):
    """From 20 columns to 400; what has no place is told or stands in lines of its own."""
    for columns in (20, 33, 40, 60, 80, 81, 100, 132, 400):
        lines = table(columns, ROW, ROW, spare=SPARE)
        assert [] == [line for line in lines if cell_len(line) > max(columns, len(ID))], columns
        assert 2 == sum(ID in line for line in lines), columns
        assert "0.000031" in "".join(lines), columns


def test_columns_give_way_in_their_order(table):
    """Texts are broken first; then the spare columns go, one after the other, and a line names them; last come lines of values."""
    assert [ID + "  2026-11-29 21:12:56" in line for line in table(200, ROW)][2]
    assert "No room for: seconds; --json has all." in table(104, ROW, spare=SPARE)
    assert "No room for: tokens in, tokens out, seconds; --json has all." in table(80, ROW, spare=SPARE)
    narrow = table(40, ROW, spare=SPARE)
    assert {"call", ID, "status       rate_limited", "tokens in    1,234,567", "seconds      1.20"} <= {*narrow}


def test_a_pipe_gets_a_line_for_each_row(table):
    """Whatever the terminal and COLUMNS are; without colours and spaces at the ends of lines."""
    lines = table(None, ROW, ("", *ROW[1:]), spare=SPARE)

    assert 4 == len(lines)
    assert ROW == tuple(lines[2].split("  ")[:4]) + tuple(lines[2].split()[-4:])
    assert lines == [line.rstrip() for line in lines]


def test_wide_letters_and_sequences_keep_the_columns(table):
    """A letter of two columns counts as two; what would control the terminal is an escape."""
    lines = table(80, ("漢字ユーザー", "1"), ("b\x1b[31mo\n", "22"), ("", "333"), heads=("user", "calls"))

    assert {cell_len(line) for line in lines} == {max(map(cell_len, lines))}
    assert "b\\x1b[31mo\\n     22" in lines


def test_a_total_stands_below_a_line(table):
    """It is no row, and may have fewer cells."""
    lines = table(80, ("a", "1.25"), heads=("model", "US$"), total=("all", "1.25"))

    assert ["a      1.25", "───────────", "all    1.25"] == lines[2:]


def test_lines_are_ascii_where_the_encoding_is(monkeypatch):
    """So are dashes; the rest is left to the stream."""
    shown = Terminal()
    monkeypatch.setattr(Terminal, "encoding", "ascii", raising=False)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setenv("TERM", "dumb")
    print_rows(("model", "US$"), [("a", "–")])

    assert "model  US$\n----------\na        -\n" == shown.getvalue()


BROKEN = {
    "at spaces": ("one two three", 7, ["one two", "three"]),
    "behind marks": ("openai:gpt-4o-mini", 11, ["openai:", "gpt-4o-mini"]),
    "a date is whole": ("2026-11-29 21:12:56", 11, ["2026-11-29", "21:12:56"]),
    "anywhere": ("abcdefgh", 3, ["abc", "def", "gh"]),
    "wide letters": ("漢字漢字", 5, ["漢字", "漢字"]),
    "its own lines": ("a\n\nb", 5, ["a", "", "b"]),
    "nothing": ("", 5, [""]),
}


@pytest.mark.parametrize(("text", "width", "lines"), BROKEN.values(), ids=BROKEN)
def test_a_text_is_broken_where_it_reads_well(text, width, lines):
    """At spaces, within a long word behind marks, else anywhere."""
    assert lines == wrapped(text, width)


@hypothesis.given(strategies.text(strategies.characters(codec="utf-8", exclude_categories=["C", "M"])), strategies.integers(2, 30))
def test_a_broken_text_fits_and_loses_nothing(text, width):
    """But spaces."""
    lines = wrapped(text, width)

    assert max(map(cell_len, lines)) <= max(width, 2)
    assert "".join(text.split()) == "".join("".join(lines).split())


MONEY = {
    "cents": ("1.23 0.5", "1.23 0.50", "1.73"),
    "a small one decides": ("0.000045 1.5", "0.000045 1.500000", "1.500045"),
    "nothing is 0, unknown a dash": ("0 - 0.25", "0 – 0.25", "0.25"),
    "thirds add up": ("0.333333333 0.333333333 0.333333334", "0.3333 0.3333 0.3334", "1.0000"),
    "halves add up": ("0.00005 0.00005 0.00005", "0.00005 0.00005 0.00005", "0.00015"),
    "nothing": ("", "", "0.00"),
    "a picodollar": ("0.000000000001", "0.000000000001", "0.000000000001"),
}


@pytest.mark.parametrize(("amounts", "texts", "total"), MONEY.values(), ids=MONEY)
def test_money_has_the_digits_that_matter(amounts, texts, total):
    """Two significant ones of the smallest; the column adds up to its sum."""
    given = [None if text == "-" else Decimal(text) for text in amounts.split()]

    assert (texts.split(), total) == money_cells(given)


@hypothesis.given(strategies.lists(strategies.decimals(0, 10**6, places=12), max_size=30))
def test_money_adds_up(amounts):
    """To the last digit; what costs is never 0, and no text is further from its amount than the last digit."""
    texts, total = money_cells(amounts)

    assert Decimal(total) == sum(map(Decimal, texts))
    for text, amount in zip(texts, amounts, strict=True):
        assert (Decimal(text) == 0) is (amount == 0)
        assert abs(Decimal(text) - amount) < Decimal(1).scaleb(-len(total.partition(".")[2]))


def test_answers_stand_side_by_side_where_there_is_room(monkeypatch, capsys):
    """Else, and in a pipe, one below the other."""
    texts = {"a": "one two three", "b": "漢字"}
    print_columns(texts, narrowest=20)
    piped = capsys.readouterr().out
    for columns, rows in ((42, "a                     b"), (41, "a")):
        shown = Terminal()
        monkeypatch.setattr(sys, "stdout", shown)
        monkeypatch.setenv("COLUMNS", str(columns))
        print_columns(texts, narrowest=20, no_color=True)
        assert rows == shown.getvalue().splitlines()[0]

    assert "a\n────\none two three\n\nb\n────\n漢字\n" == piped


def test_data_alone_is_on_stdout(command, openai):
    """A sentence that there is nothing goes to stderr; JSON is JSON then, too."""
    command("init-db")

    for arguments in (["calls"], ["receipts", "list"], ["keys", "list"], ["models", "no-such-model"]):
        ended = command(*arguments)
        assert "" == ended.out, arguments
    assert [] == json.loads(command("calls", "--json").out)


def test_a_misspelt_filter_gets_a_suggestion(command, openai):
    """Where no call matches."""
    command("init-db")

    assert "did you mean 'openai'?" in command("calls", "--vendor", "opnai").err
    assert "did you mean 'gpt-4o-mini'?" in command("usage", "--model", "gpt-4o-mni").err
    assert "did you mean 'model'?" in command("usage", "--by", "modle").err
    assert "mean" not in command("calls", "--vendor", "openai").err
