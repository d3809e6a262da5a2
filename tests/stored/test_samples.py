"""Files that version 0.1.0 wrote are read: nothing that somebody has on a disk is lost by a newer version.

The samples are in ``v0_1_0``, and its README tells of each file that the library writes which sample there is of it.
"""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode
from contextlib import closing
from itertools import product

import keyring
import pytest

from llmdispatcher import (
    Dispatcher,
    Ledger,
    Lockfile,
    PublicKeys,
    Receipt,
    ReceiptAnchor,
    Receipts,
    Request,
    SigningKey,
    open_ledger,
    verify_receipts,
)
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator
from tests.cases import each

from .command_line import run, workplace
from .samples import CACHED, LONG, PROMPTS, SAMPLES, Keychain, budgets, expected, found, remembering, sample, shelved, spending
from .surroundings import cleaned

OLD, NEW = (SAMPLES / "receipts" / f"throw-away-test-key-{number}.key" for number in (1, 2))

pytestmark = pytest.mark.timeout(240)  # a busy machine opens databases slowly


@pytest.fixture(autouse=True)
def alone(tmp_path):
    """Nothing of the user's own in the environment."""
    with cleaned(tmp_path):
        yield


@pytest.fixture
def place(tmp_path):
    """A copy of the ledger."""
    return sample("ledger.db", tmp_path)


def holds(was, now, path=""):
    """Where something that was said is said otherwise now, or not at all; what is new is no loss."""
    if isinstance(was, dict) and isinstance(now, dict):
        return [told for key, value in was.items() for told in holds(value, now.get(key, "not there"), f"{path}.{key}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [told for number, pair in enumerate(zip(was, now, strict=True)) for told in holds(*pair, f"{path}[{number}]")]
    return [] if was == now else [f"{path}: {was!r}, now {now!r}"]


def rows(place):
    """All rows of a file of SQLite, by table, as sets of columns and values."""
    with closing(sqlite3.connect(place)) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()]
        return {name: [dict(row) for row in connection.execute(f'SELECT * FROM "{name}"')] for name in names}


def test_a_ledger_tells_what_it_told(place):
    """Calls, attempts and sums, to the last digit."""
    with open_ledger(place) as ledger:
        now = found(ledger)

    was = expected("ledger")
    assert [] == holds({name: was[name] for name in now}, now)


def test_a_ledger_is_migrated_without_a_loss(place):
    """Every row is there with all that was in it; the tables may have other names, and the version is another."""
    before = rows(place)
    with open_ledger(place):
        after = rows(place)

    lost = [
        (table, row)
        for table, had in before.items()
        if table != "llmdispatcher_schema"
        for row in had
        if not any(row.items() <= one.items() for one in after.get(f"llmdispatcher_{table}", ()))
    ]
    assert [] == lost


def test_the_sums_of_a_ledger_are_right(place):
    """Counted anew they are what they were."""
    with open_ledger(place) as ledger:
        checked = ledger.check_rollups()

    assert checked.exact, checked


def test_what_retention_has_deleted_is_known(place):
    """A question that would need such rows says that they are missing; a call of that time is not counted again."""
    with open_ledger(place) as ledger:
        stats = ledger.get_usage_stats("shop", "order 7", start="2025-01-01", end="2026-12-31")
        again = ledger.list_recent_calls(start="2025-01-01", end="2025-11-30")

    assert not stats.complete
    assert [] == again


def test_the_call_of_a_process_that_died_is_marked(place):
    """It was open, and is unknown now."""
    with open_ledger(place) as ledger:
        counted = ledger.reconcile()
        states = {call.status for call in ledger.list_recent_calls(origin="lab")}

    assert (1, {"unknown"}) == (counted, states)


def test_a_ledger_goes_on(place):
    """New calls stand beside the old ones."""
    with open_ledger(place) as ledger, Dispatcher(ledger=ledger) as made:
        made.register_vendor(FakeVendor("Hello.", name="other"))
        made.send(Request("m", "Hi"))
        assert ledger.flush(60)
        count = len(ledger.list_recent_calls(limit=1000))

    assert len(expected("ledger")["calls"]) + 1 == count


def test_budgets_go_on(place):
    """What was spent is spent, and what a process that died had reserved is reserved until its time is over."""
    clock = ManualClock()
    with open_ledger(place) as ledger, spending(ledger, clock) as made:
        now = [status.as_dict() for status in made.get_budgets()]
        clock.advance(3600)
        later = {status.budget: status for status in made.get_budgets()}

    was = expected("ledger")["budgets"]
    assert [] == holds(was, now)
    assert [{"all", "each", "vendors"}, 0] == [{status["budget"] for status in was} & set(later), later["all"].reserved]
    assert {budget.name for budget in budgets()} >= set(later)


def test_a_ledger_in_postgresql_tells_what_it_told(postgres):
    """Loaded from its dump, migrated, asked."""
    psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
    url = postgres.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute((SAMPLES / "ledger.postgresql.sql").read_text(encoding="utf-8"))
    with open_ledger(url) as ledger:
        now = found(ledger)
        checked = ledger.check_rollups()
        verified = Receipts(ledger).verify(
            public_keys=PublicKeys.from_text((SAMPLES / "receipts" / "public-keys.json").read_text())
        )

    assert [] == holds(expected("postgresql"), now)
    assert checked.exact, checked
    assert (True, 1) == (verified.valid, verified.receipts), verified


def test_rows_that_wait_on_disk_are_written(tmp_path):
    """A spool that another process left is emptied with the first row, and not lost."""
    spool = sample("spool", tmp_path)
    with Ledger(tmp_path / "new.db", spool=spool) as ledger, Dispatcher(ledger=ledger) as made:
        made.register_vendor(FakeVendor("Hello.", name="other"))
        made.send(Request("m", "Hi", origin="now"))
        assert ledger.flush(60)
        calls = ledger.list_recent_calls(origin="shop")
        attempts = [ledger.get_attempts(call.id) for call in calls]

    assert {"ann", "bob", "ünï"} == {call.user for call in calls}
    assert [1, 1, 1] == [len(asked) for asked in attempts]
    assert [("success", {"team": 1}, "order 7")] * 3 == [(call.status, call.metadata, call.id_at_origin) for call in calls]
    assert [] == list(spool.glob("*.jsonl"))


@pytest.mark.parametrize("name", CACHED)
def test_an_answer_in_a_file_is_given_again(tmp_path, name):
    """An equal request has an equal key; nobody is asked, for a call or for a stream."""
    with remembering(str(sample("answers.db", tmp_path))) as made:
        answer = made.send(CACHED[name])
        with made.send_streaming(CACHED[name]) as stream:
            streamed = stream.response()

    assert (True, expected("cache")[name]) == (answer.cached, answer.content)
    assert (True, answer.content) == (streamed.cached, streamed.content)


@pytest.mark.parametrize("name", CACHED)
def test_an_answer_on_a_redis_server_is_given_again(redis_server, name):
    """The same, of an entry that was put there byte by byte."""
    client = pytest.importorskip("redis").Redis.from_url(redis_server.url)
    with closing(client):
        for entry in json.loads((SAMPLES / "redis.json").read_text()):
            client.set(entry["key"], b64decode(entry["value"]), ex=LONG)
        with remembering(redis_server.url) as made:
            answer = made.send(CACHED[name])
        for entry in json.loads((SAMPLES / "redis.json").read_text()):
            client.delete(entry["key"])

    assert (True, expected("cache")[name]) == (answer.cached, answer.content)


def undated(lockfile):
    """The lines of a lockfile without the moment at which it was saved."""
    return [line for line in lockfile.read_text(encoding="utf-8").splitlines() if "updated_at" not in line]


@pytest.mark.parametrize("name", ["llmdispatcher.lock", "llmdispatcher.json"])
def test_a_lockfile_says_what_it_said(tmp_path, name):
    """Aliases and versions of the registry, profile by profile; saved again it is the same but for its date."""
    copy = sample(f"lockfiles/{name}", tmp_path)
    before = undated(copy)
    lock = Lockfile.load(copy)
    lock.save()

    profiles = lock.contents.profiles
    assert expected("lockfiles") == {
        "aliases": {profile: {alias: list(models) for alias, models in lock.aliases(profile).items()} for profile in profiles},
        "registry_versions": {profile: dict(found.registry_versions) for profile, found in profiles.items()},
    }
    assert {"region": "eu", "most": 3} == dict(profiles["default"].bindings["summarizer"].constraints)
    assert before == undated(copy)


@each("name, keys", product(("receipt.json", "chain.jsonl", "chain-with-rows.json"), ("public-keys.json", "public-keys.pem")))
def test_receipts_verify(name, keys):
    """Anywhere, with the public keys alone, and against the head of the chain that was noted."""
    anchor = ReceiptAnchor.parse(expected("receipts")["anchor"]) if name != "receipt.json" else None
    verified = verify_receipts(SAMPLES / "receipts" / name, (SAMPLES / "receipts" / keys).read_text(), anchor=anchor)

    assert verified.valid, verified


def test_an_altered_receipt_does_not_verify():
    """So that the samples prove something."""
    fields = json.loads((SAMPLES / "receipts" / "receipt.json").read_text(encoding="utf-8")) | {"description": "free of charge"}
    verified = verify_receipts(fields, (SAMPLES / "receipts" / "public-keys.json").read_text())

    assert ["signature"] == [problem.code for problem in verified.problems]


def test_the_receipts_in_a_ledger_verify(place):
    """With the certified rows, which a migration must not change."""
    with open_ledger(place) as ledger:
        receipts = Receipts(ledger)
        keys = PublicKeys.from_text((SAMPLES / "receipts" / "public-keys.json").read_text())
        verified = receipts.verify(public_keys=keys, anchor=ReceiptAnchor.parse(expected("receipts")["anchor"]))
        ids = [receipt.id for receipt in receipts.list()]

    assert [] == holds(expected("receipts")["checked"], verified.as_dict())
    assert expected("receipts")["ids"] == ids


def test_a_chain_of_receipts_goes_on(place, tmp_path):
    """With the key whose turn it is, read from its file."""
    key = SigningKey.load(sample(f"receipts/{NEW.name}", tmp_path))
    with open_ledger(place) as ledger:
        call = ledger.record("openai", "gpt-4o", input_tokens=1, output_tokens=1)
        receipts = Receipts(ledger, key)
        made = receipts.create(call.id)
        verified = receipts.verify()

    assert len(expected("receipts")["ids"]) + 1 == made.sequence
    assert verified.valid, verified


def test_keys_are_those_that_signed(tmp_path):
    """Both of their files can be read, and the first has signed the first receipt."""
    old, new = (SigningKey.load(sample(f"receipts/{key.name}", tmp_path)) for key in (OLD, NEW))
    first = Receipt.from_json((SAMPLES / "receipts" / "receipt.json").read_text(encoding="utf-8"))
    published = PublicKeys.from_text((SAMPLES / "receipts" / "public-keys.json").read_text())

    assert (old.key_id, new.key_id) == (first.as_dict()["key_id"], published.current_key_id)


def test_a_shelf_of_a_registry_is_used(tmp_path):
    """Documents that were fetched count without asking, a pinned version among them."""
    folder = sample("registry", tmp_path)
    with closing(shelved(folder)) as current, closing(shelved(folder, versions={"openai": 7})) as pinned:
        states = {name: state.as_dict() for name, state in current.status().items()}
        held = [registry.editions()["openai"].version for registry in (current, pinned)]

    assert [] == holds({"openai": {"state": "fresh", "version": 8}}, states)
    assert [8, 7] == held


def echo(asked):
    """The answer to a prompt names it."""
    return f"answer to {asked['messages'][-1]['content']}"


def test_a_batch_that_was_half_done_is_gone_on_with(tmp_path):
    """Only what is missing is asked, and the answers stand in the order of the prompts."""
    with VendorSimulator(responses=echo) as simulator, workplace(simulator) as here:
        for name in ("prompts.jsonl", "out.jsonl", "out.jsonl.journal"):
            sample(f"batch/{name}", here)
        ended = run("batch", "prompts.jsonl", "--output", "out.jsonl", "--resume", "--workers", "1", "--json")
        answers = [json.loads(line)["content"] for line in (here / "out.jsonl").read_text(encoding="utf-8").splitlines()]
        asked = [request.json["messages"][-1]["content"] for request in simulator.requests]

    told = json.loads(ended.out)
    assert (0, PROMPTS, 2) == (ended.code, told["answered"], told["answered_before"]), ended.err
    assert ["prompt 1", "prompt 3"] == asked
    assert ["One.", "answer to prompt 1", "Three – ünï.", "answer to prompt 3"] == answers


@pytest.mark.parametrize("name", ["calls.jsonl", "calls.json", "calls.csv", "calls.parquet", "calls-and-attempts.jsonl"])
def test_an_export_is_imported(tmp_path, name):
    """All calls that had ended, with all that is told of them."""
    if name.endswith(".parquet"):
        pytest.importorskip("pyarrow", reason="the extra 'parquet' is not installed")
    with open_ledger(tmp_path / "new.db") as ledger:
        report = ledger.import_usage_logs(sample(f"exports/{name}", tmp_path))
        calls = {call.id: json.loads(json.dumps(call.as_dict())) for call in ledger.list_recent_calls(limit=1000)}

    was = {call["id"]: call for call in expected("ledger")["calls"] if call["status"] != "open"}
    assert (len(was), 0) == (report.imported, report.failed), report
    assert [] == holds(was, calls)


def test_a_conversation_is_gone_on_with():
    """What was said comes before the next question, and is saved with it."""
    with VendorSimulator(responses="Because.") as simulator, workplace(simulator) as here:
        sample("talk.json", here)
        ended = run("chat", "--load", "talk.json", typed="And why?\n/save again.json\n")
        (asked,) = [request.json["messages"] for request in simulator.requests]
        again = json.loads((here / "again.json").read_text(encoding="utf-8"))

    was = json.loads((SAMPLES / "talk.json").read_text(encoding="utf-8"))
    assert 0 == ended.code, ended.err
    assert ["Be brief.", *[turn["content"] for turn in was["messages"]], "And why?"] == [turn["content"] for turn in asked]
    assert was["messages"] == again["messages"][:-2]


def test_vendors_with_a_key_in_the_keychain_are_known(monkeypatch):
    """Their names are in a file, the keys are not."""
    keychain = Keychain()
    monkeypatch.setattr(keyring, "get_keyring", lambda: keychain)
    with VendorSimulator() as simulator, workplace(simulator) as here:
        (here / "home").mkdir()
        sample("keys.json", here / "home")
        told = json.loads(run("keys", "list", "--json").out)

    assert ["openai"] == [row["vendor"] for row in told]


def test_no_sample_holds_a_secret():
    """No key of a vendor is in any of them; those that sign are throw-away ones, and say so by their name."""
    files = [path for path in SAMPLES.rglob("*") if path.is_file()]

    assert [] == [path.name for path in files if b"sk-" in path.read_bytes()]
    assert {OLD.name, NEW.name} == {path.name for path in files if path.suffix == ".key"}
