"""The lists of the gateway's keys and their owners: what they show, and what a mistyped name is told."""

from __future__ import annotations

import json

import pytest

from llmdispatcher.server import KeyStore

from .started import Pty

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start


@pytest.fixture
def place(away):
    """A database with an organization, a team with a budget for each member, a member and two keys."""
    place = away / "keys.db"
    keys = KeyStore(place)
    keys.owners.create("organization", "acme", budget="2000/month")
    team = keys.owners.create("team", "research", organization="acme", member_budget="5/day", requests_per_minute=600)
    keys.owners.create("member", "ann", organization="acme", team=team.id)
    keys.create("ann's laptop", organization="acme", team="research", member="ann", models=["gpt-*", "claude-*"])
    keys.create("ci", budget="5/day", requests_per_minute=60)
    keys.close()
    return str(place)


def _lines(place, *words, width=80):
    with Pty("server", *words, "list", "--database", place, COLUMNS=str(width)) as terminal:
        assert 0 == terminal.ended()
        return terminal.text.splitlines()


@pytest.mark.parametrize("level", ["org", "team", "member", "key"])
def test_a_list_fits_eighty_columns_with_whole_ids(command, place, level):
    """Each id stands in one piece, no line is wider, and each row begins with its id."""
    lines = _lines(place, level)
    assert max(map(len, lines)) <= 80
    ids = [one["id"] for one in json.loads(command("server", level, "list", "--database", place, "--json").out)]
    assert ids == [line.split()[0] for line in lines if line[:1].isalnum() and line.split()[0] in ids]


def test_columns_that_say_nothing_are_left_out(command, place):
    """An organization without limits has no such column, a member's list no column of state while all are active."""
    assert ["id", "name", "spent"] == command("server", "org", "list", "--database", place).out.splitlines()[0].split()
    assert "state" not in command("server", "member", "list", "--database", place).out
    assert 0 == command("server", "org", "set", "acme", "--suspend", "--database", place).code
    head, _, row = command("server", "org", "list", "--database", place).out.splitlines()
    assert (["id", "name", "state", "spent"], "suspended") == (head.split(), row.split()[2])


def test_the_budget_of_members_is_shown(command, place):
    """A team's list and JSON have the budget of each member; a member's list and JSON have what is in force for it."""
    assert "each member" in command("server", "team", "list", "--database", place).out
    (team,) = json.loads(command("server", "team", "list", "--database", place, "--json").out)
    assert "5/day" == team["member_budget"]
    assert "$0 of $5/day" in command("server", "member", "list", "--database", place).out
    (ann,) = json.loads(command("server", "member", "list", "--database", place, "--json").out)
    assert (None, "5/day", "0") == (ann["budget"], ann["default_budget"], ann["spent"])
    assert 0 == command("server", "member", "set", "ann", "--organization", "acme", "--budget", "7/day", "--database", place).code
    (ann,) = json.loads(command("server", "member", "list", "--database", place, "--json").out)
    assert ("7/day", None) == (ann["budget"], ann["default_budget"])


def test_members_of_one_team(command, place):
    """--team lists its members alone, and a mistyped one is wrong usage."""
    assert 0 == command("server", "team", "create", "sales", "--organization", "acme", "--database", place).code
    assert "ann" in command("server", "member", "list", "--team", "research", "--database", place).out
    sales = command("server", "member", "list", "--organization", "acme", "--team", "sales", "--database", place)
    assert (0, "") == (sales.code, sales.out)
    wrong = command("server", "member", "list", "--team", "reserch", "--database", place)
    assert 2 == wrong.code
    assert "did you mean 'research'?" in wrong.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("org", "set", "acm", "--rpm", "5"), "did you mean 'acme'?"),
        (("org", "remove", "acm"), "did you mean 'acme'?"),
        (("team", "set", "reserch", "--organization", "acme", "--rpm", "5"), "did you mean 'research'?"),
        (("team", "set", "research", "--organization", "acm", "--rpm", "5"), "did you mean 'acme'?"),
        (("member", "remove", "anne", "--organization", "acme"), "did you mean 'ann'?"),
        (("org", "create", "acme"), "there is an organization 'acme' already"),
    ],
)
def test_a_mistyped_owner_is_wrong_usage_with_a_suggestion(command, place, words, told):
    """As for the options of a key; nothing is changed."""
    ended = command("server", *words, "--database", place)
    assert 2 == ended.code
    assert told in ended.err
