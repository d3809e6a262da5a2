"""Keys, owners and budgets of a LiteLLM proxy's database: a real dump of one, and that the old keys work at the new address."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
from contextlib import closing
from decimal import Decimal

import psycopg
import pytest

from llmdispatcher import ConfigError
from llmdispatcher.server import KeyStore, import_accounts, read_dump
from llmdispatcher.server.litellm_accounts import budget_text_of

from ..cases import each

SCHEMA = """
CREATE TABLE "LiteLLM_BudgetTable" (budget_id TEXT PRIMARY KEY, max_budget DOUBLE PRECISION, soft_budget DOUBLE PRECISION,
  max_parallel_requests INTEGER, tpm_limit BIGINT, rpm_limit BIGINT, model_max_budget JSONB, budget_duration TEXT,
  budget_reset_at TIMESTAMP(3));
CREATE TABLE "LiteLLM_OrganizationTable" (organization_id TEXT PRIMARY KEY, organization_alias TEXT NOT NULL, budget_id TEXT,
  metadata JSONB DEFAULT '{}', models TEXT[], spend DOUBLE PRECISION DEFAULT 0);
CREATE TABLE "LiteLLM_TeamTable" (team_id TEXT PRIMARY KEY, team_alias TEXT, organization_id TEXT, members TEXT[],
  members_with_roles JSONB DEFAULT '{}', metadata JSONB DEFAULT '{}', max_budget DOUBLE PRECISION, spend DOUBLE PRECISION DEFAULT 0,
  models TEXT[], tpm_limit BIGINT, rpm_limit BIGINT, budget_duration TEXT, budget_reset_at TIMESTAMP(3),
  blocked BOOLEAN DEFAULT false);
CREATE TABLE "LiteLLM_UserTable" (user_id TEXT PRIMARY KEY, user_alias TEXT, user_email TEXT, max_budget DOUBLE PRECISION,
  budget_duration TEXT, spend DOUBLE PRECISION DEFAULT 0, models TEXT[], metadata JSONB DEFAULT '{}', organization_id TEXT);
CREATE TABLE "LiteLLM_TeamMembership" (user_id TEXT, team_id TEXT, spend DOUBLE PRECISION DEFAULT 0, budget_id TEXT);
CREATE TABLE "LiteLLM_VerificationToken" (token TEXT PRIMARY KEY, key_name TEXT, key_alias TEXT, spend DOUBLE PRECISION DEFAULT 0,
  expires TIMESTAMP(3), models TEXT[], aliases JSONB DEFAULT '{}', user_id TEXT, team_id TEXT, metadata JSONB DEFAULT '{}',
  blocked BOOLEAN, tpm_limit BIGINT, rpm_limit BIGINT, max_parallel_requests INTEGER, max_budget DOUBLE PRECISION,
  budget_duration TEXT, budget_reset_at TIMESTAMP(3), model_max_budget JSONB DEFAULT '{}', budget_id TEXT, organization_id TEXT);
CREATE TABLE "LiteLLM_ProxyModelTable" (model_id TEXT PRIMARY KEY, model_name TEXT, litellm_params JSONB);
CREATE TABLE "LiteLLM_SpendLogs" (request_id TEXT PRIMARY KEY, messages JSONB);
CREATE TABLE "Unrelated" (a TEXT);
"""
KEYS = {name: f"sk-{name}-0123456789" for name in ("service", "ann", "bob", "gone", "blocked", "admin", "personal")}


def _digest(name):
    return hashlib.sha256(KEYS[name].encode()).hexdigest()


def _fill(connection):
    def put(table, **columns):
        names, marks = ", ".join(columns), ", ".join(["%s"] * len(columns))
        connection.execute(f'INSERT INTO "LiteLLM_{table}" ({names}) VALUES ({marks})', list(columns.values()))

    put("BudgetTable", budget_id="b-org", max_budget=500.0, budget_duration="30d", rpm_limit=600)
    put("BudgetTable", budget_id="b-ann", max_budget=20.5, budget_duration="1d", soft_budget=10.0)
    put(
        "OrganizationTable",
        organization_id="o1",
        organization_alias="Acme\tInc",
        budget_id="b-org",
        models=["gpt-*", "smart"],
        spend=1.25,
    )
    put(
        "TeamTable",
        team_id="t1",
        team_alias='Core "A", B',
        organization_id="o1",
        members_with_roles=json.dumps([{"user_id": "u-ann", "role": "admin"}, {"user_id": "u-bob", "role": "user"}]),
        max_budget=100.0,
        budget_duration="7d",
        spend=3.5,
        models=[],
        tpm_limit=100_000,
        metadata=json.dumps({"tags": ["core"]}),
    )
    put("TeamTable", team_id="t2", team_alias="Closed", blocked=True, members_with_roles="[]")
    put("UserTable", user_id="u-ann", user_email="ann@example.com", max_budget=5.0)
    put("UserTable", user_id="u-bob", user_alias="Bob")
    put("UserTable", user_id="u-eve", user_email="eve@example.com", max_budget=7.0, budget_duration="1mo", spend=2.0)
    put("UserTable", user_id="u-idle", user_email="idle@example.com")
    put("TeamMembership", user_id="u-ann", team_id="t1", spend=4.0, budget_id="b-ann")
    common = {"team_id": "t1"}
    put(
        "VerificationToken",
        token=_digest("service"),
        key_alias="nightly",
        max_budget=50.0,
        budget_duration="30d",
        spend=12.345678,
        rpm_limit=60,
        models=["gpt-4o", 'a "b", \\c'],
        metadata=json.dumps({"tags": ["night", "batch"]}),
        model_max_budget=json.dumps({"gpt-4o": {"budget_limit": 2, "time_period": "1d"}}),
        max_parallel_requests=4,
        **common,
    )
    put("VerificationToken", token=_digest("ann"), key_name="sk-...6789", user_id="u-ann", models=["all-team-models"], **common)
    put("VerificationToken", token=_digest("bob"), key_alias="bob", user_id="u-bob", aliases=json.dumps({"x": "y"}), **common)
    put("VerificationToken", token=_digest("gone"), key_alias="gone", expires="2020-01-01")
    put("VerificationToken", token=_digest("blocked"), key_alias="blocked", blocked=True)
    put("VerificationToken", token="litellm-dashboard", key_alias="odd")
    put("VerificationToken", token=_digest("admin"), key_alias="plain", expires="2099-01-01 10:00:00")
    put("VerificationToken", token=_digest("personal"), key_alias="eve's", user_id="u-eve")
    put("ProxyModelTable", model_id="m", model_name="in the database", litellm_params=json.dumps({"api_key": "gAAAA"}))
    for number in range(3):
        put("SpendLogs", request_id=f"r{number}", messages=json.dumps({"text": "line\nCOPY x (a) FROM stdin;"}))


@pytest.fixture(scope="module")
def dumped(postgres, tmp_path_factory):
    """What pg_dump writes."""
    program = shutil.which("pg_dump")
    if program is None:
        pytest.skip("pg_dump is not installed")
    url = postgres.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SCHEMA)
        _fill(connection)
    path = tmp_path_factory.mktemp("dump") / "litellm.sql"
    subprocess.run([program, "--format=plain", "--file", str(path), url], check=True, timeout=120)
    return path


@pytest.fixture(params=["sqlite", "postgres"])
def store(request, tmp_path):
    """An empty one."""
    place = tmp_path / "keys.db" if request.param == "sqlite" else request.getfixturevalue("postgres").database()
    with closing(KeyStore(place)) as made:
        yield made


def _told(lines):
    return {line.place: (line.outcome, line.text) for line in lines}


def test_what_a_dump_brings(dumped, store):
    """Organisations, teams, members, budgets with what is spent, and keys that work as they are."""
    told = _told(import_accounts(read_dump(dumped), store))

    acme = store.owners.require("organization", "AcmeInc")
    assert (acme.models, f"{acme.budget.limit:f}", acme.budget.period, acme.requests_per_minute) == (
        ("gpt-*", "smart"),
        "500",
        "month",
        600,
    )
    team = store.owners.require("team", 'Core "A", B', organization="AcmeInc")
    assert (team.models, f"{team.budget.limit:f}/{team.budget.period}", team.tags) == (None, "14.285714/day", ("core",))
    ann = store.owners.require("member", "ann@example.com", organization="AcmeInc", team=team.id)
    assert f"{ann.budget.limit:f}/{ann.budget.period}" == "20.5/day"
    assert store.owners.require("team", "Closed").suspended

    service = store.find(KEYS["service"])
    assert (service.label, service.team, service.member, service.organization) == ("nightly", team.id, None, "AcmeInc")
    assert (service.requests_per_minute, service.in_flight, service.tags) == (60, 4, ("night", "batch"))
    assert service.models == ("gpt-4o", 'a "b", \\c')
    assert service.model_budgets[0].as_json() == {"models": "gpt-4o", "budget": "2/day", "then": None}
    assert store.find(KEYS["ann"]).member == ann.id
    assert store.find(KEYS["bob"]).member is not None
    assert store.find(KEYS["admin"]).organization == "default"
    eve = store.find(KEYS["personal"])
    assert next(one.name for one in eve.owners if one.level == "member") == "eve@example.com"
    assert [store.find(KEYS[name]) for name in ("gone", "blocked")] == [None, None]

    spent = store.spent([acme, team, ann, service, *[one for one in eve.owners if one.level == "member"]])
    assert spent == {
        acme.id: Decimal("1.25"),
        team.id: Decimal("3.5"),
        ann.id: Decimal(4),
        service.id: Decimal("12.345678"),
        eve.member: Decimal(2),
    }
    assert told["key odd"] == ("left", "its token is no SHA-256, so it belongs to no key that anybody has")
    assert told["key gone"] == ("left", "it has expired")
    assert told["user idle@example.com"] == ("left", "it has no team and no keys")
    assert told["key bob"] == ("changed", "aliases is left out")
    assert told["key plain"] == ("changed", "it has no organization, so it is in the organization 'default'")
    assert told["SpendLogs (3 rows)"][0] == told["model in the database"][0] == "left"
    assert "in 7d is $14.285714 a day here" in told['team Core "A", B'][1]


def test_a_second_run_changes_nothing(dumped, store):
    """What was changed and spent meanwhile stays."""
    import_accounts(read_dump(dumped), store)
    service = store.find(KEYS["service"])
    store.change(service.id, requests_per_minute=7)
    store.set_spent(service, Decimal(40))
    before = ([key.as_dict() for key in store.all()], [owner.as_dict() for owner in store.owners.all()])

    told = _told(import_accounts(read_dump(dumped), store))

    assert before == ([key.as_dict() for key in store.all()], [owner.as_dict() for owner in store.owners.all()])
    assert store.spent([service])[service.id] == 40
    assert told["key nightly"] == ("landed", "was here already, and stays as it is")


def test_json_brings_the_same(dumped, tmp_path):
    """As an export of the tables has it."""
    digest = hashlib.sha256(b"sk-json").hexdigest()
    tables = {
        "LiteLLM_TeamTable": [{"team_id": "t", "team_alias": "Json", "max_budget": 3, "models": ["m"], "spend": 1}],
        "LiteLLM_VerificationToken": [
            {"token": digest, "key_alias": "k", "team_id": "t", "metadata": {"tags": ["x"]}},
            {"token": "sk-raw", "key_alias": "raw", "team_id": "missing"},
        ],
        "LiteLLM_Config": [{"param_name": "x"}],
    }
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(tables))
    with closing(KeyStore(tmp_path / "keys.db")) as store:
        told = _told(import_accounts(read_dump(path), store))
        assert store.find("sk-json").tags == ("x",)
        assert store.owners.require("team", "Json").models == ("m",)
    assert told["key raw"] == ("left", "team: 'missing' is not in the dump")


def test_more_keys_than_an_owner_may_have(tmp_path):
    """Come all the same."""
    tokens = [{"token": hashlib.sha256(f"{n}".encode()).hexdigest(), "key_alias": f"k{n}", "team_id": "t"} for n in range(120)]
    path = tmp_path / "dump.json"
    path.write_text(json.dumps({"TeamTable": [{"team_id": "t", "team_alias": "Many"}], "VerificationToken": tokens}))
    with closing(KeyStore(tmp_path / "keys.db")) as store:
        assert {line.outcome for line in import_accounts(read_dump(path), store)} == {"landed"}
        assert len(store.all()) == 120


def test_the_old_key_asks_at_the_new_address(served, dumped, keys):
    """With an SDK's header, as it was given to its user."""
    import_accounts(read_dump(dumped), keys)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}
    assert served.post("/v1/chat/completions", body, key=KEYS["service"]).status_code == 200
    assert served.post("/v1/chat/completions", {**body, "model": "claude-haiku-4-5"}, key=KEYS["service"]).status_code == 403
    assert served.post("/v1/chat/completions", body, key=KEYS["blocked"]).status_code == 401


@each(
    "content, told",
    [
        (b"", "no table of LiteLLM"),
        (b"PGDMP\0\1", "packed; make it with"),
        (b"\x1f\x8b\x08", "packed"),
        (b"{", "not JSON"),
        (b"\xff\xfe\xfd" * 40, "not UTF-8"),
        (b'COPY public."LiteLLM_TeamTable" (team_id) FROM stdin;\nx\n', "it ends within LiteLLM_TeamTable"),
        (b'INSERT INTO public."LiteLLM_TeamTable" VALUES (1);\n', "it has INSERTs"),
    ],
)
def test_what_is_no_dump(tmp_path, content, told):
    """Is told with what to do."""
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(told)):
        read_dump(path)


@each(
    "amount, duration, text",
    [
        (5, "1d", "5/day"),
        (5, "24h", "5/day"),
        (5, "30d", "5/month"),
        (5, "1mo", "5/month"),
        (5, None, "5"),
        (0.1, "1h", "0.1/day"),
        (70, "7d", "10/day"),
        (90, "90d", "30/month"),
        (1e9 - 1, "30d", "999999999/month"),
        (None, "1d", None),
    ],
)
def test_budgets(amount, duration, text):
    """Of LiteLLM's durations."""
    assert budget_text_of(amount, duration)[0] == text
