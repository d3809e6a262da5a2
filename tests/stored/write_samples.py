"""``python -m tests.stored.write_samples``: wrote the samples in ``v0_1_0``. Run once, with version 0.1.0, and never again.

It stays here to tell how they came to be. What another version writes belongs into a folder of its own, written by a program of its
own; these files show that what people have on their disks goes on being read.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
import keyring

import llmdispatcher
from llmdispatcher import DispatchError, Ledger, Lockfile, OpenAIVendor, PublicKeys, Receipts, Request, SigningKey, open_ledger
from llmdispatcher.testing import OK, FakeVendor, LoopbackServer, ManualClock, VendorSimulator, faults

from ..loopback_postgres import Postgres, binaries
from ..loopback_redis import Server
from .command_line import run, workplace
from .samples import CACHED, CACHED_AT, KEY, PROMPTS, REGISTRY_AT, SAMPLES, Keychain, found, remembering, shelved, spending
from .values import document

ASK = Request(
    "gpt-4o", "Why is the sky blue?", max_tokens=100, user="ann", origin="shop", id_at_origin="order 7", metadata={"team": 1}
)
BEGUN = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
INTERRUPTED = """
import os, sys
from llmdispatcher import OpenAIVendor, Request
from llmdispatcher.testing import VendorSimulator
from tests.stored.samples import KEY, spending

def die(_asked):
    made.ledger.flush(60)
    os._exit(9)

made = spending(sys.argv[1])
url = VendorSimulator(responses=die).openai_url
made.register_vendor(OpenAIVendor(api_key=KEY, base_url=url, trust_env=False))
made.send(Request("gpt-4o", "Why?", max_tokens=10, user="bob", origin="lab"))
"""
ELSEWHERE = "UPDATE writers SET place = 'elsewhere', begun_at = 1600000000000000, seen_at = 1600000000000000"
"""The process that died is made one of a machine that nobody knows, long ago."""


def main() -> None:
    """Write all of them; what they hold goes into ``expected.json``."""
    assert llmdispatcher.__version__ == "0.1.0", "these samples are of version 0.1.0"
    assert not SAMPLES.exists(), f"{SAMPLES} is there already"
    SAMPLES.mkdir()
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        told["ledger"], told["receipts"] = _sqlite(folder)
        told["postgresql"] = _postgresql(folder)
        told["spool"] = _spool(folder)
        told["cache"] = _caches(folder)
        told["lockfiles"] = _lockfiles()
        told["registry"] = _registry()
        _commands()
    text = json.dumps(told, indent=1, sort_keys=True, ensure_ascii=False)
    (SAMPLES / "expected.json").write_text(text + "\n", encoding="utf-8")


def _ledger(place: Any) -> None:
    """Calls of every kind, attempts, sums, budgets, a mark; a process that died in the middle of a call."""
    with open_ledger(place) as ledger:
        ledger.record("openai", "gpt-4o", id="0" * 31 + "1", begun_at="2025-06-01T00:00:00Z", input_tokens=1, output_tokens=1)
        ledger.prune("2025-12-01")
        for number, status in enumerate(("success", "error", "timeout", "rate_limited", "cancelled")):
            ledger.record("anthropic", "claude-haiku-4-5", **_facts(number, status))
        ledger.record("ollama", "llama3", id=f"{7:032x}", begun_at=BEGUN + timedelta(days=40), cached=True, streamed=True)
        with VendorSimulator(responses="Rayleigh scattering.") as simulator, spending(ledger) as made:
            made.register_vendor(OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False))
            simulator.script(faults.status(503), OK)
            made.send(ASK)
            made.send_streaming(attrs.evolve(ASK, user="grace")).response()
            simulator.script(faults.bad_request())
            with contextlib.suppress(DispatchError):
                made.send(attrs.evolve(ASK, model="gpt-4o-mini"))
        assert ledger.flush(60)
    died = subprocess.run([sys.executable, "-c", INTERRUPTED, str(place)], check=False)
    assert died.returncode == 9
    with open_ledger(place) as ledger, ledger.transaction() as connection:
        connection.exec_driver_sql(ELSEWHERE)


def _facts(number: int, status: str) -> dict[str, Any]:
    begun = BEGUN + timedelta(days=number)
    return {
        "id": f"{number + 2:032x}",
        "begun_at": begun,
        "ended_at": begun + timedelta(seconds=1.5),
        "status": status,
        "error_class": None if status == "success" else "VendorUnavailable",
        "origin": "bücher",
        "id_at_origin": f"order {number}",
        "user": "ann",
        "alias": "summarizer",
        "profile": "prod",
        "input_tokens": 1200,
        "output_tokens": 300,
        "cache_read_tokens": 100,
        "cache_write_tokens": 50,
        "cache_write_long_tokens": 20,
        "reasoning_tokens": 40,
        "audio_input_tokens": 3,
        "audio_output_tokens": 4,
        "cost": Decimal("0.000000000001") * (number + 1) if status != "timeout" else None,
        "latency": 1.5,
        "first_token": 0.25,
        "streamed": True,
        "hedged": number == 1,
        "attempts": 2,
        "metadata": {"feature": "chat", "deep": [1, {"ünï": None}]},
    }


def _sqlite(folder: Path) -> tuple[Any, Any]:
    place = folder / "ledger.db"
    _ledger(place)
    (SAMPLES / "receipts").mkdir()
    (SAMPLES / "exports").mkdir()
    with open_ledger(place) as ledger:
        receipts = _receipts(ledger)
        for ending in ("jsonl", "json", "csv", "parquet"):
            ledger.export_usage_logs(SAMPLES / "exports" / f"calls.{ending}")
        ledger.export_usage_logs(SAMPLES / "exports" / "calls-and-attempts.jsonl", attempts=True)
        told = found(ledger)
        with spending(ledger) as made:
            told["budgets"] = [status.as_dict() for status in made.get_budgets()]
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("VACUUM")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (SAMPLES / "ledger.db").write_bytes(place.read_bytes())
    return told, receipts


def _receipts(ledger: Ledger) -> Any:
    place, clock = SAMPLES / "receipts", ManualClock()
    first = SigningKey.generate(place / "throw-away-test-key-1.key")
    second = SigningKey.generate(place / "throw-away-test-key-2.key")
    receipts = Receipts(ledger, first, clock=clock)
    single = receipts.create(f"{2:032x}", description="Order 7 – ünï", tags=["shop", "test"])
    clock.advance(1.5)
    receipts.create([f"{3:032x}", f"{4:032x}"], description="two of them")
    receipts.rotate(second, description="yearly")
    clock.advance(1.5)
    receipts.create(since=BEGUN, until=BEGUN + timedelta(days=30), origin="bücher")
    receipts.create(description="the rest")
    assert receipts.verify().valid
    (place / "receipt.json").write_text(single.text, encoding="utf-8")
    receipts.export(place / "chain.jsonl")
    receipts.export(place / "chain-with-rows.json", rows=True)
    keys: PublicKeys = receipts.public_keys()
    (place / "public-keys.json").write_text(keys.to_json(), encoding="utf-8")
    (place / "public-keys.pem").write_text(keys.pem(), encoding="utf-8")
    checked = receipts.verify()
    return {"anchor": str(receipts.anchor()), "ids": [one.id for one in receipts.list()], "checked": checked.as_dict()}


def _postgresql(folder: Path) -> Any:
    programs = binaries()
    assert programs is not None, "PostgreSQL is not installed"
    place = Path(tempfile.mkdtemp(prefix="stored-pg-"))
    server = Postgres(programs, place)
    server.create()
    server.start()
    try:
        url = server.database()
        _ledger(url)
        with open_ledger(url) as ledger:
            Receipts(
                ledger, SigningKey.load(_private(SAMPLES / "receipts" / "throw-away-test-key-1.key")), clock=ManualClock()
            ).create()
            told = found(ledger)
        dump = subprocess.run(
            [programs / "pg_dump", "--inserts", "--no-owner", "--no-privileges", "--no-comments", url],
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        server.stop()
    kept = [line for line in dump.stdout.splitlines() if line and not line.startswith(("--", "SET ", "SELECT ", "\\"))]
    (SAMPLES / "ledger.postgresql.sql").write_text("\n".join(kept) + "\n", encoding="utf-8")
    return told


def _private(path: Path) -> Path:
    path.chmod(0o600)
    return path


def _spool(folder: Path) -> Any:
    """Calls while another holds the file: their rows wait on disk."""
    place = folder / "locked.db"
    open_ledger(place).close()
    ledger = Ledger(place, timeout=0.2, spool=folder / "spool")
    with contextlib.closing(sqlite3.connect(place)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        with spending_nothing(ledger) as made:
            for user in ("ann", "bob", "ünï"):
                made.send(attrs.evolve(ASK, user=user))
        ledger.close(timeout=5)
        told = attrs.asdict(ledger.stats())
    (SAMPLES / "spool").mkdir()
    for path in (folder / "spool").iterdir():
        (SAMPLES / "spool" / path.name).write_bytes(path.read_bytes())
    assert told["spooled"], told
    return told


def spending_nothing(ledger: Ledger) -> llmdispatcher.Dispatcher:
    """A dispatcher without budgets, since those need the database."""
    made = llmdispatcher.Dispatcher(ledger=ledger, clock=ManualClock())
    made.register_vendor(FakeVendor("Hello.", name="openai"))
    return made


def _caches(folder: Path) -> Any:
    server = Server(folder)
    server.start()
    answers = SAMPLES / "answers.db"
    told: dict[str, Any] = {}
    try:
        import redis

        with VendorSimulator(responses=["Rayleigh.", "A pixel."], port=CACHED_AT):
            for store in (str(answers), server.url):
                with remembering(store) as made:
                    told = {name: made.send(request).content for name, request in CACHED.items()}
        client = redis.Redis.from_url(server.url)
        entries = [
            {"key": key.decode(), "value": b64encode(client.get(key)).decode(), "seconds": round(client.pttl(key) / 1000)}
            for key in sorted(client.keys())
        ]
        client.close()
    finally:
        server.stop()
    (SAMPLES / "redis.json").write_text(json.dumps(entries, indent=1) + "\n")
    with contextlib.closing(sqlite3.connect(answers)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for beside in SAMPLES.glob("answers.db-*"):
        beside.unlink()
    return told


def _lockfiles() -> Any:
    place = SAMPLES / "lockfiles"
    place.mkdir()
    for name in ("llmdispatcher.lock", "llmdispatcher.json"):
        lock = Lockfile.create_default(place / name)
        lock.bind("summarizer", ["openai:gpt-4o-mini", "anthropic:claude-haiku-4-5"], constraints={"region": "eu", "most": 3})
        lock.bind("drafts", "google:gemini-2.5-flash", profile="prod")
        lock.bind("my-library:titles", "openai:gpt-4o", profile="dev")
        lock.pin("openai", 7)
        lock.pin("anthropic", 12, profile="prod")
        lock.save()
    lock = Lockfile.load(place / "llmdispatcher.lock")
    aliases = {
        profile: {name: list(models) for name, models in lock.aliases(profile).items()} for profile in lock.contents.profiles
    }
    versions = {name: dict(profile.registry_versions) for name, profile in lock.contents.profiles.items()}
    return {"aliases": aliases, "registry_versions": versions}


def _registry() -> Any:
    """A shelf with a current version, an old one that is pinned, and the registry's list of vendors."""
    documents = {
        "/manifest.json": json.dumps({"providers": {"openai": {}}}),
        "/openai/models.json": document(8, 1.25),
        "/openai/v/7/models.json": document(7, 1.5),
    }

    def answer(peer: Any, request: Any) -> None:
        found = documents.get(request.target)
        peer.reply(200 if found else 404, (found or "{}").encode(), ("ETag", '"v1"'))

    with LoopbackServer(answer, port=REGISTRY_AT), contextlib.closing(shelved(SAMPLES / "registry")) as registry:
        registry.refresh()
        registry.edition("openai", 7)
        return {name: attrs.asdict(state) for name, state in registry.status().items()}


def _commands() -> None:
    """What the command line writes: a batch that was half done, a conversation, the list of vendors with a key."""
    (SAMPLES / "batch").mkdir()
    with (
        VendorSimulator(responses=lambda asked: f"answer to {asked['messages'][-1]['content']}") as simulator,
        workplace(simulator) as here,
    ):
        lines = [{"id": f"p{number}", "model": "gpt-4o-mini", "messages": f"prompt {number}"} for number in range(PROMPTS)]
        (here / "prompts.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        simulator.script("One.", faults.bad_request(), "Three – ünï.", faults.bad_request())
        assert run("batch", "prompts.jsonl", "--output", "out.jsonl", "--workers", "1").code == 1
        for name in ("prompts.jsonl", "out.jsonl", "out.jsonl.journal"):
            (SAMPLES / "batch" / name).write_bytes((here / name).read_bytes())
        said = "Why is the sky blue?\n/system Be brief.\nAnd the sea?\n/save talk.json\n"
        ended = run("chat", "-m", "gpt-4o-mini", typed=said)
        assert ended.code == 0, ended.err
        (SAMPLES / "talk.json").write_bytes((here / "talk.json").read_bytes())
        keyring.set_keyring(Keychain())
        assert run("keys", "set", "openai", typed=KEY + "\n").code == 0
        (SAMPLES / "keys.json").write_bytes((here / "home" / "keys.json").read_bytes())


if __name__ == "__main__":
    main()
