"""Organizations, teams and members: what they may do holds for all of their keys together."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from datetime import timedelta
from decimal import Decimal

import pytest
import requests
import sqlalchemy as sa

from llmdispatcher.cli.main import main
from llmdispatcher.errors import ConfigError, VendorUnavailable
from llmdispatcher.server import Gateway, GatewaySettings, KeyStore, key_database
from llmdispatcher.server.budgets import accounts_of
from llmdispatcher.server.keys import hash_of
from llmdispatcher.testing import ManualClock

from ..cases import each
from ..conftest import PATIENCE
from .conftest import HELLO, Served, serving


@pytest.fixture
def team(keys):
    """A team of the organization "acme"."""
    return keys.owners.create("team", "research", organization="acme")


def _key(keys, label="a key", **settings):
    return keys.create(label, organization="acme", **settings)


def _ask(served, secret, **more):
    return served.post("/v1/chat/completions", {**HELLO, **more}, key=secret)


def _changed(served, owner, **settings):
    changed = served.app.keys.owners.change(owner.id, **settings)
    assert changed is not None
    return changed


def test_a_limit_of_a_team_counts_all_of_its_keys(served, keys, team):
    """The third request of the minute is refused whichever key asks; other teams go on."""
    _changed(served, team, requests_per_minute=2)
    _, ann = _key(keys, team="research")
    _, ben = _key(keys, team="research")
    keys.owners.create("team", "sales", organization="acme")
    _, cleo = _key(keys, team="sales")
    assert [200, 200, 429, 429] == [_ask(served, secret).status_code for secret in (ann, ben, ann, ben)]
    assert "the team of this key may have 2 requests per minute" in _ask(served, ann).text
    assert 200 == _ask(served, cleo).status_code


def test_the_tightest_of_all_levels_holds(served, keys, team):
    """And what one level refuses is taken of none: the key's own count is as it was."""
    keys.owners.create("member", "ann", organization="acme", team="research", requests_per_minute=1)
    key, secret = _key(keys, member="ann", requests_per_minute=5)
    _, plain = _key(keys, team="research", requests_per_minute=5)
    assert [200, 429, 429] == [_ask(served, secret).status_code for _ in range(3)]
    assert 1 == len(served.app._limits._counts[key.id].requests.entries)
    assert 200 == _ask(served, plain).status_code


@pytest.mark.parametrize("level", ["organization", "team", "member"])
def test_a_budget_holds_for_all_keys_of_an_owner(served, keys, team, level):
    """402 with the words of its level, and nothing is spent of the others."""
    member = keys.owners.create("member", "ann", organization="acme", team="research")
    organization = keys.owners.find("organization", "acme")
    owner = {"organization": organization, "team": team, "member": member}[level]
    _changed(served, owner, budget="0.000000001/month")
    key, secret = _key(keys, member="ann", budget="5/day")
    before = served.simulator.hits
    refused = _ask(served, secret)
    assert (402, "false") == (refused.status_code, refused.headers["x-should-retry"])
    assert f"the {level} of this key" in refused.text
    assert before == served.simulator.hits
    assert Decimal(0) == keys.spent([key])[key.id]
    _changed(served, owner, budget=None)
    assert 200 == _ask(served, secret).status_code


def test_every_level_is_charged_once(served, keys, team):
    """What a call costs stands in each account."""
    _changed(served, team, budget="10/month")
    organization = keys.owners.ensure("organization", "acme", budget="20")
    member = keys.owners.create("member", "ann", organization="acme", team="research", budget="5/day")
    key, secret = _key(keys, member="ann", budget="5/day")
    cost = Decimal(_ask(served, secret).headers["x-llmdispatcher-cost"])
    keys.budgets.close()
    holders = [key, member, keys.owners.find("team", "research", organization="acme"), organization]
    assert {one.id: cost for one in holders} == keys.spent(holders)


def test_members_have_their_team_s_default_budget(served, keys, team):
    """Unless they have their own."""
    _changed(served, team, member_budget="0.000000001/day")
    keys.owners.create("member", "ann", organization="acme", team="research")
    keys.owners.create("member", "ben", organization="acme", team="research", budget="5/day")
    _, ann = _key(keys, member="ann")
    _, ben = _key(keys, member="ben")
    _, service = _key(keys, team="research")
    assert [402, 200, 200] == [_ask(served, secret).status_code for secret in (ann, ben, service)]


def test_an_override_holds_until_its_date(tmp_path):
    """And then the budget is what it was."""
    clock = ManualClock()
    store = KeyStore(tmp_path / "keys.db", clock=clock)
    until = clock.now() + timedelta(hours=1)
    _, secret = store.create("a key", budget="5/day", override={"limit": "50", "until": until.isoformat()})
    assert [Decimal(50)] == [one.limit for one in accounts_of(store.find(secret).levels, clock.now())]
    clock.advance(3601)
    assert [Decimal(5)] == [one.limit for one in accounts_of(store.find(secret).levels, clock.now())]
    store.close()


def test_a_budget_of_some_models(served, keys):
    """Refuses these alone, or asks a cheaper one and says so."""
    key, secret = keys.create("a key", budget="5/day", model_budgets=["gpt-4o-mini=0.000000001/day"])
    assert [402, 200] == [_ask(served, secret, model=model).status_code for model in ("gpt-4o-mini", "gpt-4.1-nano")]
    keys.change(key.id, model_budgets=["gpt-4o-mini=0.000000001/day then gpt-4.1-nano"])
    answer = _ask(served, secret)
    assert (200, "gpt-4.1-nano") == (answer.status_code, answer.headers["x-llmdispatcher-budget-model"])
    assert "gpt-4.1-nano" == served.simulator.requests[-1].json["model"]
    keys.change(key.id, models=["gpt-4o-mini"])
    assert 403 == _ask(served, secret).status_code


def test_the_account_of_some_models_has_what_they_cost(served, keys):
    """Calls of others do not count there."""
    key, secret = keys.create("a key", budget="5/day", model_budgets=["gpt-4o-*=1/day"])
    cost = Decimal(_ask(served, secret).headers["x-llmdispatcher-cost"])
    other = Decimal(_ask(served, secret, model="gpt-4.1-nano").headers["x-llmdispatcher-cost"])
    keys.budgets.close()
    assert cost + other == keys.spent([key])[key.id]
    with sqlite3.connect(keys._url.database) as connection:
        rows = connection.execute("SELECT name, spent, reserved FROM llmdispatcher_budgets WHERE share = ?", [key.id]).fetchall()
    assert {"key/day": cost + other, "key/day/gpt-4o-*": cost} == {name: Decimal(spent).scaleb(-12) for name, spent, _ in rows}
    assert [0, 0] == [reserved for *_, reserved in rows]


@pytest.mark.parametrize("level", ["organization", "team", "member"])
def test_removing_an_owner_revokes_its_keys(served, keys, team, level):
    """Within two seconds everywhere; its name may be given again."""
    keys.owners.create("member", "ann", organization="acme", team="research")
    _, secret = _key(keys, member="ann")
    _, other = keys.create("another organization's")
    assert 200 == _ask(served, secret).status_code
    name = {"organization": "acme", "team": "research", "member": "ann"}[level]
    place = {} if level == "organization" else {"organization": "acme"}
    owner = keys.owners.find(level, name, **place)
    assert 1 == keys.owners.remove(owner.id)
    assert [401, 200] == [_ask(served, one).status_code for one in (secret, other)]
    assert keys.owners.find(level, name, **place) is None
    assert keys.owners.remove(owner.id) is None
    again = {"team": "research"} if level == "member" else {}
    assert name == keys.owners.create(level, name, **place, **again).name


def test_a_suspended_owner(served, keys, team):
    """Its keys are refused while it is, and good again after."""
    _, secret = _key(keys, team="research")
    for suspended, status in ((True, 401), (False, 200)):
        _changed(served, team, suspended=suspended)
        assert status == _ask(served, secret).status_code


def test_models_of_all_levels_must_allow_a_name(served, keys, team):
    """A key's own globs add nothing to those of its team."""
    _changed(served, team, models=["gpt-*"])
    _, secret = _key(keys, team="research", models=["gpt-4o-mini", "claude-*"])
    assert [200, 403, 403] == [
        _ask(served, secret, model=model).status_code for model in ("gpt-4o-mini", "gpt-4.1-nano", "claude-haiku-4-5")
    ]


def test_only_vendors_that_all_levels_allow_answer(served, keys, team):
    """Of several that have a model the ones that may; none is 403, and nobody else is asked."""
    _changed(served, team, vendors=["openai", "anthropic"])
    _, secret = _key(keys, team="research", vendors=["anthropic", "google"])
    before = served.simulator.hits
    for path, body in (
        ("/v1/chat/completions", HELLO),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}),
        ("/v1/messages/count_tokens", {**HELLO, "max_tokens": 9}),
    ):
        refused = served.post(path, body, key=secret)
        assert (403, before) == (refused.status_code, served.simulator.hits), refused.text
    answer = _ask(served, secret, model="claude-haiku-4-5")
    assert (200, "anthropic") == (answer.status_code, answer.headers["x-llmdispatcher-vendor"])
    assert 403 == _ask(served, secret, model="gemini-2.5-flash").status_code


def test_at_most_a_hundred_live_keys(keys, team):
    """Of one owner; its settings may say another number, and revoked ones do not count."""
    keys.owners.change(team.id, most_keys=2)
    made = [_key(keys, team="research")[0] for _ in range(2)]
    with pytest.raises(ConfigError, match="this team has 2 live keys, and may have 2"):
        _key(keys, team="research")
    assert keys.revoke(made[0].id)
    _key(keys, team="research")
    for _ in range(100):
        _key(keys)
    with pytest.raises(ConfigError, match="100 live keys"):
        _key(keys)


def test_keys_from_elsewhere_come_by_their_digest(served, keys):
    """With owners and what was spent; doing it twice changes nothing."""
    for _ in range(2):
        keys.owners.ensure("team", "research", organization="acme", budget="100/month")
        keys.owners.ensure("member", "ann", organization="acme", team="research")
        if (key := keys.find_digest(hash_of("sk-of-another-gateway"))) is None:
            key, secret = _key(keys, member="ann", digest=hash_of("sk-of-another-gateway"), budget="10/month")
            assert "" == secret
        keys.set_spent(key, Decimal("9.5"))
    assert 1 == len(keys.all("acme")) == len(keys.owners.all("member"))
    assert Decimal("9.5") == keys.spent([key])[key.id]
    assert 200 == _ask(served, "sk-of-another-gateway").status_code


@each(
    "level, name, more, told",
    [
        ("group", "a", {}, "level: 'group' is none"),
        ("team", " ", {}, "name: ' ' is no name"),
        ("team", "a\nb", {}, "is no name"),
        ("team", "a" * 201, {}, "1 to 200"),
        ("member", "ann", {}, "team: a member belongs to a team"),
        ("member", "ann", {"team": "nobody's"}, "there is no team"),
        ("organization", "acme", {"team": "a"}, "team: an organization has none"),
        ("team", "a", {"rpm": 5}, "rpm: there is no such setting"),
        ("team", "a", {"label": "b"}, "label: there is no such setting"),
        ("team", "a", {"member_budget": "much"}, "member_budget: 'much' is no budget"),
        ("team", "a", {"suspended": "yes"}, "suspended: 'yes'"),
    ],
)
def test_owners_that_cannot_be(keys, level, name, more, told):
    """The message names the field and the remedy."""
    with pytest.raises(ConfigError, match=told):
        keys.owners.create(level, name, **more)


def test_a_mistyped_team_is_told_before_its_member(keys, team):
    """The member is there; the team is not."""
    keys.owners.create("member", "ann", organization="acme", team="research")
    with pytest.raises(ConfigError, match="there is no team 'reserch' in the organization 'acme'; did you mean 'research'"):
        _key(keys, member="ann", team="reserch")


def test_two_owners_of_one_name(keys, team):
    """Are refused in one place, and are two in two."""
    with pytest.raises(ConfigError, match="there is a team 'research' already"):
        keys.owners.create("team", "research", organization="acme")
    keys.owners.create("team", "research", organization="other")
    keys.owners.create("team", "sales", organization="acme")
    for one in ("research", "sales"):
        keys.owners.create("member", "ann", organization="acme", team=one)
    with pytest.raises(ConfigError, match="is the name of 2, in several teams"):
        _key(keys, member="ann")
    assert _key(keys, member="ann", team="sales")[0].team == keys.owners.find("team", "sales", organization="acme").id


class TestOverHttp:
    """``/api/v1/keys`` of a maker that has an owner."""

    @pytest.fixture
    def makers(self, keys, team):
        """Keys with the scope ``keys``: of a member, of the team, of the organization."""
        keys.owners.create("member", "ann", organization="acme", team="research")
        keys.owners.create("member", "ben", organization="acme", team="research")
        scopes = ["keys", "gateway"]
        return {
            "member": _key(keys, "ann's desk", member="ann", scopes=scopes)[1],
            "team": _key(keys, "the team's desk", team="research", scopes=scopes)[1],
            "organization": _key(keys, "the desk", scopes=scopes)[1],
        }

    def test_a_key_is_its_maker_s(self, served, keys, makers):
        """Its team and member, unless a larger maker says which."""
        made = {level: served.post("/api/v1/keys", {"label": "a"}, key=maker).json() for level, maker in makers.items()}
        ann, team = (
            keys.owners.find("member", "ann", organization="acme"),
            keys.owners.find("team", "research", organization="acme"),
        )
        assert {"member": (team.id, ann.id), "team": (team.id, None), "organization": (None, None)} == {
            level: (one["team"], one["member"]) for level, one in made.items()
        }
        for level in ("team", "organization"):
            one = served.post("/api/v1/keys", {"label": "a", "member": "ann"}, key=makers[level]).json()
            assert (team.id, ann.id) == (one["team"], one["member"])

    def test_nobody_makes_keys_for_others(self, served, keys, makers):
        """Neither a member for another, nor a team for another."""
        keys.owners.create("team", "sales", organization="acme")
        for level, field, name in (("member", "member", "ben"), ("member", "team", "sales"), ("team", "team", "sales")):
            refused = served.post("/api/v1/keys", {"label": "a", field: name}, key=makers[level])
            assert (400, field) == (refused.status_code, refused.json()["error"]["param"])

    def test_a_member_sees_and_changes_its_own_keys_alone(self, served, keys, makers):
        """All else is 404."""
        other = _key(keys, "ben's", member="ben")[0]
        mine = served.post("/api/v1/keys", {"label": "mine"}, key=makers["member"]).json()
        listed = {one["label"] for one in served.get("/api/v1/keys", key=makers["member"]).json()["keys"]}
        assert {"ann's desk", "mine"} == listed
        for method, path, body in (
            ("GET", "", None),
            ("PATCH", "", {"label": "b"}),
            ("POST", "/rotate", {}),
            ("DELETE", "", None),
        ):
            statuses = [
                _send(served, method, f"/api/v1/keys/{one}{path}", body, makers["member"]).status_code
                for one in (other.id, mine["id"])
            ]
            assert [404, 200] == statuses, method
        assert "ben's" in {one["label"] for one in served.get("/api/v1/keys", key=makers["team"]).json()["keys"]}

    def test_a_key_is_changed_and_rotated(self, served, makers):
        """Fields that are not said stay; null takes a limit away; the old secret ends."""
        made = served.post("/api/v1/keys", {"label": "a", "budget": "5/day", "in_flight": 3}, key=makers["organization"]).json()
        path = f"/api/v1/keys/{made['id']}"
        changed = _send(served, "PATCH", path, {"budget": "6/day", "in_flight": None}, makers["organization"]).json()
        assert ("a", "6/day", None) == (changed["label"], changed["budget"], changed["in_flight"])
        rotated = _send(served, "POST", f"{path}/rotate", {}, makers["organization"]).json()
        assert [401, 200] == [_ask(served, secret).status_code for secret in (made["key"], rotated["key"])]
        for body, param in (({"rpm": 5}, "rpm"), ({"scopes": ["operator"]}, "scopes"), ({"budget": "much"}, "budget")):
            refused = _send(served, "PATCH", path, body, makers["organization"])
            assert (400, param) == (refused.status_code, refused.json()["error"]["param"])

    def test_a_change_never_gives_more_than_the_maker_has(self, served, keys, makers):
        """Null is the maker's own limit."""
        _, maker = _key(
            keys, "narrow", scopes=["keys", "gateway"], budget="5/day", vendors=["openai"], model_budgets=["gpt-*=1/day"]
        )
        made = served.post("/api/v1/keys", {"label": "a"}, key=maker).json()
        assert ("5/day", ["openai"], "1/day") == (made["budget"], made["vendors"], made["model_budgets"][0]["budget"])
        path = f"/api/v1/keys/{made['id']}"
        for body in (
            {"budget": "6/day"},
            {"vendors": ["openai", "google"]},
            {"model_budgets": ["gpt-*=2/day"]},
            {"override": {"limit": "6", "until": "2999-01-01"}},
        ):
            refused = _send(served, "PATCH", path, body, maker)
            assert (403, "more_than_maker") == (refused.status_code, refused.json()["error"]["code"]), body
        assert "5/day" == _send(served, "PATCH", path, {"budget": None}, maker).json()["budget"]


def _send(served, method, path, body, key):
    return requests.request(method, served.url + path, json=body, headers={"Authorization": f"Bearer {key}"}, timeout=30)


def _run(place, capsys, *words):
    with pytest.raises(SystemExit) as ended:
        raise SystemExit(main(["server", *words, "--database", place, "--json"]))
    out = capsys.readouterr().out
    return ended.value.code, json.loads(out) if out else None


def test_the_command_line(tmp_path, capsys):
    """Makes, changes, lists and removes each level."""
    place = str(tmp_path / "keys.db")
    assert 0 == _run(place, capsys, "org", "create", "acme", "--budget", "100/month")[0]
    assert 0 == _run(place, capsys, "team", "create", "research", "--organization", "acme", "--member-budget", "5/day")[0]
    code, ann = _run(place, capsys, "member", "create", "ann", "--organization", "acme", "--team", "research", "--tpm", "9000")
    assert (0, 9000) == (code, ann["tokens_per_minute"])
    code, key = _run(
        place, capsys, "key", "create", "laptop", "--organization", "acme", "--member", "ann", "--model-budget",
        "claude-opus-*=3/day then claude-haiku-4-5", "--vendors", "openai", "--strict", "--override", "50", "--until", "2027-01-31",
    )  # fmt: skip
    assert (0, ann["id"], ["openai"], True) == (code, key["member"], key["vendors"], key["strict"])
    assert {"limit": "50", "until": "2027-01-31T00:00:00+00:00"} == key["override"]
    assert 0 == _run(place, capsys, "key", "set", key["id"], "--override", "none", "--model-budget", "none", "--vendors", "all")[0]
    _, (listed,) = _run(place, capsys, "key", "list")
    assert (None, [], None) == (listed["override"], listed["model_budgets"], listed["vendors"])
    code, changed = _run(place, capsys, "team", "set", "research", "--organization", "acme", "--suspend", "--most-keys", "5")
    assert (0, True, 5) == (code, changed["suspended"], changed["most_keys"])
    assert ["100/month"] == [one["budget"] for one in _run(place, capsys, "org", "list")[1]]
    assert (2, None) == _run(place, capsys, "team", "set", "nobody", "--rpm", "5")
    assert 2 == _run(place, capsys, "team", "set", "research", "--organization", "acme")[0]
    assert 2 == _run(place, capsys, "member", "create", "ben")[0]
    assert 2 == _run(place, capsys, "key", "create", "a", "--override", "5")[0]
    assert {"name": "acme", "removed": True, "keys_revoked": 1} == _run(place, capsys, "org", "remove", "acme")[1]
    assert 2 == _run(place, capsys, "org", "remove", "acme")[0]


_BEFORE = """CREATE TABLE llmdispatcher_api_keys (id VARCHAR(32) NOT NULL, hash VARCHAR(64) NOT NULL,
organization VARCHAR(255) NOT NULL, label VARCHAR(255) NOT NULL, shown VARCHAR(32) NOT NULL, scopes JSON NOT NULL, models JSON,
created_at {time} NOT NULL, expires_at {time}, revoked_at {time}, requests_per_minute BIGINT,
tokens_per_minute BIGINT, in_flight BIGINT, budget VARCHAR(64),
tags JSON, PRIMARY KEY (id), UNIQUE (hash))"""
"""The table of the version before owners."""
_INSERT = """INSERT INTO llmdispatcher_api_keys (id, hash, organization, label, shown, scopes, models, created_at, expires_at,
revoked_at, requests_per_minute, tokens_per_minute, in_flight, budget, tags) VALUES ('{name}', '{digest}', 'default', '{name}',
'sk', '["gateway"]', '["gpt-*"]', '2026-01-01 00:00:00', NULL, NULL, 60, NULL, NULL, '5/day', '[]')"""
"""How that version makes a key."""


def _execute(place, text):
    url = place.replace("postgresql://", "postgresql+psycopg://") if "://" in place else f"sqlite:///{place}"
    with sa.create_engine(url, poolclass=sa.NullPool).begin() as connection:
        connection.exec_driver_sql(text)


def test_the_version_before_goes_on_with_these_tables(any_place):
    """Its rows are read, and what it writes into the tables afterwards, too; a host of each may run beside the other."""
    time = "TIMESTAMP WITH TIME ZONE" if "postgres" in any_place else "DATETIME"
    _execute(any_place, _BEFORE.format(time=time))
    _execute(any_place, _INSERT.format(name="before", digest=hash_of("a-key-of-before")))
    store = KeyStore(any_place)
    before = store.find("a-key-of-before")
    assert ("before", 60, (), None, False) == (
        before.label,
        before.requests_per_minute,
        before.model_budgets,
        before.team,
        before.strict,
    )
    _execute(any_place, _INSERT.format(name="beside", digest=hash_of("a-key-of-beside")))
    assert "beside" == store.find("a-key-of-beside").label
    assert "strict" == store.change(before.id, strict=True, label="strict").label
    store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def any_place(request, tmp_path):
    """A file, and a server."""
    return str(tmp_path / "keys.db") if request.param == "sqlite" else request.getfixturevalue("postgres").database()


def test_tables_that_are_too_new_are_refused(tmp_path):
    """With the version, and what to do."""
    place = tmp_path / "keys.db"
    KeyStore(place).all()
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE llmdispatcher_key_versions SET version = 9, oldest = 2")
    assert [] == KeyStore(place).all()  # a later version that this one goes on with
    with sqlite3.connect(place) as connection:
        connection.execute("UPDATE llmdispatcher_key_versions SET oldest = 9")
    with pytest.raises(ConfigError, match="of version 9"):
        KeyStore(place).all()


def test_a_migration_waits_for_the_transactions_of_others(postgres, monkeypatch):
    """Longer than a request would: gateways of the version before work on."""
    monkeypatch.setattr(key_database, "PATIENCE", 0.2)
    place, failed = postgres.database(), []
    with sa.create_engine(place.replace("postgresql:", "postgresql+psycopg:"), poolclass=sa.NullPool).begin() as other:
        other.execute(sa.text(f"SELECT pg_advisory_xact_lock({key_database._LOCK})"))

        def prepare():
            try:
                with contextlib.closing(KeyStore(place)) as store:
                    store.prepare()
            except VendorUnavailable as error:
                failed.append(error)

        migrating = threading.Thread(target=prepare)
        migrating.start()
        migrating.join(1.0)
        assert migrating.is_alive()
    migrating.join(PATIENCE * 3)
    assert [] == failed
    with contextlib.closing(KeyStore(place)) as store:
        assert [] == store.all()


def test_the_gateway_forgets_nothing_of_a_key_s_owners(dispatcher, keys, simulator, team):
    """A change of a team is in force within two seconds, in a process that has remembered the key's verdict."""
    clock = ManualClock()
    other = KeyStore(keys._url.database, clock=clock)
    _, secret = _key(keys, team="research")
    app = Gateway(dispatcher, other, GatewaySettings(threads=8), clock=clock)
    with serving(app) as url:
        served = Served(app, url, secret, simulator)
        assert 200 == _ask(served, secret).status_code
        keys.owners.change(team.id, suspended=True)
        clock.advance(2.1)
        assert 401 == _ask(served, secret).status_code
    other.close()
