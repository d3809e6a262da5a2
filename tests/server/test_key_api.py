"""Making, changing and revoking keys: over HTTP by a key with the scope for it, and at the command line."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import pytest
import sqlalchemy as sa

from llmdispatcher import ConfigError
from llmdispatcher.cli.main import main
from llmdispatcher.server import KeyStore

from ..cases import each
from .conftest import HELLO

_OLD_TABLE = """CREATE TABLE llmdispatcher_api_keys (id VARCHAR(32) PRIMARY KEY, hash VARCHAR(64) NOT NULL UNIQUE,
organization VARCHAR(255) NOT NULL, label VARCHAR(255) NOT NULL, shown VARCHAR(32) NOT NULL, scopes JSON NOT NULL, models JSON,
created_at TIMESTAMP NOT NULL, expires_at TIMESTAMP, revoked_at TIMESTAMP)"""
_OLD_ROW = """INSERT INTO llmdispatcher_api_keys (id, hash, organization, label, shown, scopes, models, created_at) VALUES
('old', '{hash}', 'default', 'old', 'llmr', '["gateway"]', 'null', '2026-01-01 00:00:00')"""


def _hash(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """A file, and a server."""
    return str(tmp_path / "keys.db") if request.param == "sqlite" else request.getfixturevalue("postgres").database()


def test_a_table_of_an_older_version_gets_the_new_columns(place):
    """Its keys are good on, without limits, and the older version can still write a row."""
    url = place.replace("postgresql://", "postgresql+psycopg://") if "://" in place else f"sqlite:///{place}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text(_OLD_TABLE))
        connection.exec_driver_sql(_OLD_ROW.format(hash=_hash("s3cret")))
    first, second = KeyStore(place), KeyStore(place)
    found = first.find("s3cret")
    assert found == second.find("s3cret")
    assert (None, None, None, None, ()) == (
        found.requests_per_minute,
        found.tokens_per_minute,
        found.in_flight,
        found.budget,
        found.tags,
    )
    changed = first.change("old", requests_per_minute=5, budget="1.50/day", tags=["a"])
    third = KeyStore(place)
    assert changed == third.find("s3cret")
    with engine.begin() as connection:
        connection.exec_driver_sql(_OLD_ROW.format(hash=_hash("later")).replace("'old', '", "'older', '", 1))
    assert first.find("later").budget is None
    for one in (first, second, third):
        one.close()
    engine.dispose()


def test_an_expiry_in_another_zone_is_the_same_moment(place):
    """SQLite keeps no zones."""
    store = KeyStore(place)
    until = datetime(2999, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    made, secret = store.create("a", expires_at=until)
    assert until == made.expires_at == store.find(secret).expires_at
    store.close()


def test_rotating_keeps_all_but_the_secret(place):
    """And of a key that is revoked, or another's, nothing is rotated or changed."""
    store = KeyStore(place)
    store.owners.ensure("organization", "ours")
    key, secret = store.create("a", budget="5/day", requests_per_minute=7, organization="ours")
    rotated, fresh = store.rotate(key.id)
    assert store.find(secret) is None
    assert rotated == store.find(fresh)
    assert (key.id, key.budget, 7) == (rotated.id, rotated.budget, rotated.requests_per_minute)
    assert store.rotate(key.id, "theirs") is None
    assert store.change(key.id, "theirs", budget=None) is None
    store.revoke(key.id)
    assert store.rotate(key.id) is None
    assert store.change(key.id, budget=None) is None
    store.close()


@each(
    "settings, told",
    [
        ({"requests_per_minute": 0}, "requests_per_minute: '0' is no limit"),
        ({"tokens_per_minute": True}, "tokens_per_minute: 'True' is no limit"),
        ({"in_flight": 1.5}, "in_flight: '1.5' is no limit"),
        ({"requests_per_minute": 10**13}, "requests_per_minute: "),
        ({"budget": "5/week"}, "budget: '5/week' is no budget; give US dollars as in 5/day"),
        ({"budget": "-5"}, "budget: "),
        ({"budget": "nan/day"}, "budget: "),
        ({"budget": 5}, "budget: '5' is no budget"),
        ({"budget": "9" * 400}, "budget: "),
        ({"tags": "nightly"}, "tags: str is no list"),
        ({"tags": ["a\nb"]}, r"tags\[0\]: "),
        ({"tags": ["a"] * 21}, "tags: 21 are too many"),
        ({"models": "gpt-*"}, "models: str is no list"),
        ({"rpm": 5}, "rpm: there is no such setting"),
    ],
)
def test_limits_that_cannot_be(tmp_path, settings, told):
    """Are refused by field, value and remedy, and nothing is made."""
    store = KeyStore(tmp_path / "keys.db")
    with pytest.raises(ConfigError, match=told):
        store.create("a", **settings)
    assert [] == store.all()
    store.close()


@pytest.fixture
def maker(served):
    """A key that manages keys, in an organization of its own."""
    served.app.keys.owners.ensure("organization", "ours")
    return served.app.keys.create("manager", scopes=["keys", "gateway"], organization="ours")[1]


def test_keys_over_http(served, maker):
    """Made, listed, shown, used, revoked; the secret is in the first answer alone."""
    fields = {"label": "ci", "budget": "5/day", "requests_per_minute": 60, "tags": ["nightly"], "models": ["gpt-*"]}
    answer = served.post("/api/v1/keys", fields, key=maker)
    assert 201 == answer.status_code
    made = answer.json()
    secret = made.pop("key")
    assert fields == {name: made[name] for name in fields}
    assert ("ours", ["gateway"], "0", "active") == (made["organization"], made["scopes"], made["spent"], made["state"])
    cost = served.post("/v1/chat/completions", HELLO, key=secret).headers["x-llmdispatcher-cost"]
    served.app.keys.budgets.close()
    listed = served.get("/api/v1/keys", key=maker)
    assert secret not in listed.text
    assert "no-store" == listed.headers["Cache-Control"]
    assert ["ci", "manager"] == [one["label"] for one in listed.json()["keys"]]
    shown = served.get(f"/api/v1/keys/{made['id']}", key=maker).json()
    assert listed.json()["keys"][0] == shown
    assert float(cost) == float(shown["spent"])

    gone = _delete(served, made["id"], maker)
    assert (200, {"id": made["id"], "revoked": True}) == (gone.status_code, gone.json())
    assert 401 == served.post("/v1/chat/completions", HELLO, key=secret).status_code
    assert 404 == _delete(served, made["id"], maker).status_code


def _delete(served, key_id, key):
    import requests

    return requests.delete(f"{served.url}/api/v1/keys/{key_id}", headers={"X-API-Key": key}, timeout=30)


def test_another_organization_s_keys_are_not_there(served, maker):
    """404, as for an id that nobody has; and they are in no list."""
    served.app.keys.owners.ensure("organization", "theirs")
    other, secret = served.app.keys.create("theirs", organization="theirs")
    for answer in (
        _delete(served, other.id, maker),
        served.get(f"/api/v1/keys/{other.id}", key=maker),
        _delete(served, "x", maker),
        _delete(served, "%00", maker),
    ):
        assert 404 == answer.status_code
        assert {"detail", "error"} == answer.json().keys()
        assert "not_found" == answer.json()["error"]["code"]
        assert answer.headers["X-Request-Id"] == answer.json()["error"]["request_id"]
    assert served.app.keys.find(secret) is not None
    assert ["manager"] == [one["label"] for one in served.get("/api/v1/keys", key=maker).json()["keys"]]


def test_a_key_without_the_scope_manages_nothing(served):
    """403, with the error body of this API; without a key 401."""
    refused = served.get("/api/v1/keys")
    assert (403, "scope_required") == (refused.status_code, refused.json()["error"]["code"])
    assert refused.json()["error"]["message"] == refused.json()["detail"]
    assert 401 == served.post("/api/v1/keys", {"label": "a"}, key="unknown").status_code


@each(
    "body, param",
    [
        ({"label": "a", "organization": "theirs"}, "organization"),
        ({"label": "a", "secret": "mine"}, "secret"),
        ({}, "label"),
        ({"label": 7}, "label"),
        ({"label": "a", "scopes": "gateway"}, "scopes"),
        ({"label": "a", "scopes": [{}]}, "scopes"),
        ({"label": "a", "budget": "much"}, "budget"),
        ({"label": "a", "in_flight": -1}, "in_flight"),
        ({"label": "a", "expires_at": "tomorrow"}, "expires_at"),
        ({"label": "a", "override": {"limit": "5"}}, "override"),
        ({"label": "a", "override": {"limit": "5/day", "until": "2027-01-31"}}, "override"),
        ({"label": "a", "model_budgets": "gpt-*=5/day"}, "model_budgets"),
        ({"label": "a", "model_budgets": ["gpt-*=5/day", "GPT-*=6/day"]}, "model_budgets"),
        ({"label": "a", "model_budgets": ["gpt-*=5/day then gpt-4o"]}, "model_budgets"),
        ({"label": "a", "strict": "yes"}, "strict"),
        ({"label": "a", "team": "nobody's"}, "team"),
        ({"label": "a", "member": 5}, "member"),
        ({"label": "a", "expires_at": "9999-12-31T23:59:59-12:00"}, "expires_at"),
        ({"label": "a", "tags": ["\0"]}, "tags"),
        ({"label": "\ud800"}, "label"),
        ([], None),
    ],
)
def test_what_no_key_can_be_over_http(served, maker, body, param):
    """400, with the field."""
    answer = served.post("/api/v1/keys", body, key=maker)
    assert 400 == answer.status_code, answer.text
    assert param == answer.json()["error"]["param"]


def test_a_new_key_never_has_more_than_its_maker(served):
    """What the request does not say comes from the maker."""
    soon = datetime.now(UTC) + timedelta(days=1)
    _, maker = served.app.keys.create(
        "narrow", scopes=["keys", "gateway"], models=["gpt-*"], budget="5/day", requests_per_minute=60, expires_at=soon
    )
    for field, value in {
        "scopes": ["operator"],
        "models": ["claude-*"],
        "budget": "5.01/day",
        "requests_per_minute": 61,
        "expires_at": (soon + timedelta(days=1)).isoformat(),
    }.items():
        refused = served.post("/api/v1/keys", {"label": "a", field: value}, key=maker)
        assert (403, "more_than_maker", field) == (refused.status_code, *[refused.json()["error"][x] for x in ("code", "param")])
    for field, value in {"models": ["*"], "budget": "5/month"}.items():
        assert 403 == served.post("/api/v1/keys", {"label": "a", field: value}, key=maker).status_code
    made = served.post("/api/v1/keys", {"label": "a", "models": ["gpt-4*"]}, key=maker).json()
    assert (["gpt-4*"], "5/day", 60, soon.isoformat()) == (
        made["models"],
        made["budget"],
        made["requests_per_minute"],
        made["expires_at"],
    )


@each(
    "more",
    [
        {"scopes": ["operator"]},
        {"models": None},
        {"models": ["*"]},
        {"budget": None},
        {"budget": "9/day"},
        {"requests_per_minute": None},
    ],
)
def test_a_key_with_more_than_its_maker_gets_no_new_secret(served, more):
    """The secret would be the maker's way to what it has not; an equal key gets one."""
    keys, least = served.app.keys, {"models": ["gpt-*"], "budget": "5/day", "requests_per_minute": 60}
    _, maker = keys.create("narrow", scopes=["keys", "gateway"], **least)
    mine, _ = keys.create("equal", scopes=["keys"], **least)
    other, secret = keys.create("wide", **{**least, **more})
    refused = served.post(f"/api/v1/keys/{other.id}/rotate", None, key=maker)

    assert (403, "more_than_maker", next(iter(more))) == (
        refused.status_code,
        *[refused.json()["error"][x] for x in ("code", "param")],
    )
    assert other == keys.find(secret)
    assert 200 == served.post(f"/api/v1/keys/{mine.id}/rotate", None, key=maker).status_code


def test_while_the_database_is_away_nothing_is_managed(served, maker):
    """503 with a code, not a failure of the gateway's."""
    assert 200 == served.get("/api/v1/keys", key=maker).status_code
    served.app.keys._database.write(
        lambda connection: connection.exec_driver_sql("ALTER TABLE llmdispatcher_api_keys RENAME TO away")
    )
    for answer in (served.get("/api/v1/keys", key=maker), served.post("/api/v1/keys", {"label": "a"}, key=maker)):
        assert (503, "store_unavailable") == (answer.status_code, answer.json()["error"]["code"])
        assert "5" == answer.headers["Retry-After"]


@pytest.fixture
def run(place, capsys):
    """Runs `server key`, and returns its exit code and what it wrote as JSON."""

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            raise SystemExit(main(["server", "key", *words, "--database", place, "--json"]))
        out = capsys.readouterr().out
        return ended.value.code, json.loads(out) if out else None

    return run


def test_at_the_command_line(run):
    """Made with limits, changed, one taken away, rotated, listed with what is spent."""
    _, made = run("create", "ci", "--rpm", "60", "--tpm", "9000", "--in-flight", "4", "--budget", "5/day", "--tag", "a")
    assert (60, 9000, 4, "5/day", ["a"]) == tuple(
        made[name] for name in ("requests_per_minute", "tokens_per_minute", "in_flight", "budget", "tags")
    )
    _, changed = run("set", made["id"], "--rpm", "none", "--budget", "7.5/month")
    assert (None, 9000, "7.5/month") == (changed["requests_per_minute"], changed["tokens_per_minute"], changed["budget"])
    _, rotated = run("rotate", made["id"])
    assert rotated["key"] != made["key"]
    _, listed = run("list")
    assert [(made["id"], "0", "7.5/month")] == [(one["id"], one["spent"], one["budget"]) for one in listed]
    assert (1, None) == run("set", "nobody", "--rpm", "5")
    assert (1, None) == run("rotate", "nobody")


def test_an_organization_that_nobody_made_has_no_keys(run, place, capsys):
    """A mistyped name would have no budget; the error tells the names, and keys are listed by them."""
    with closing(KeyStore(place)) as store:
        store.owners.create("organization", "acme", budget="5/day")
        store.owners.create("team", "research", organization="acme")
        store.owners.create("member", "ann", organization="acme", team="research")
    assert (2, None) == run("create", "ci", "--organization", "acem")
    _, made = run("create", "laptop", "--organization", "acme", "--member", "ann")
    run("create", "other")
    _, listed = run("list", "--organization", "acme")
    assert [made["id"]] == [one["id"] for one in listed]
    assert (2, None) == run("list", "--organization", "acem")
    assert 0 == main(["server", "key", "list", "--database", place])
    assert 2 == main(["server", "team", "list", "--organization", "acem", "--database", place])
    assert "acme/research/ann" in capsys.readouterr().out


def test_a_team_of_an_organization_that_nobody_made(tmp_path, capsys):
    """Is refused for the same reason."""
    words = ["server", "team", "create", "research", "--organization", "NOPE", "--database", str(tmp_path / "keys.db")]

    assert 2 == main(words)
    assert "`llmdispatcher server org create` makes one" in capsys.readouterr().err
