"""Records of requests: the whole decision, what sessions cost, who may see it, and rows while the database is away."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from llmdispatcher import AnthropicVendor, Config, Dispatcher, OpenAIVendor, Response, Usage, VendorUnavailable
from llmdispatcher.server import GatewaySettings, KeyStore, create_app
from llmdispatcher.server.records import COLUMNS, Looking, RecordSpan, RequestRecords
from llmdispatcher.testing import ManualClock, VendorSimulator, faults

from ..cases import each
from ..orphans import mortal
from .conftest import HELLO, Served, serving, wait_until

SECRET_WORDS = "the prompt that nobody may keep"


def _record(served, answer, key=None):
    request_id = answer.headers["x-llmdispatcher-request-id"]
    return served.get(f"/proxy/requests/{request_id}", key=key)


def test_a_record_tells_the_whole_decision(served):
    """Candidates, skips, attempts with class, time and cost; of what was said it tells nothing."""
    body = {**HELLO, "messages": [{"role": "user", "content": SECRET_WORDS}]}
    answer = served.post("/v1/chat/completions", body, headers={"X-Request-Id": "mine-1", "session-id": "s-1"})
    told = _record(served, answer).json()

    assert ("chat.completions", 200, "openai", "gpt-4o-mini", "mine-1", "s-1") == tuple(
        told[name] for name in ("face", "status", "vendor", "model", "client_request_id", "session")
    )
    assert "openai:gpt-4o-mini" == told["candidates"][0]["target"]
    assert {"anthropic", "google"} == {skip["target"] for skip in told["skipped"]}
    [attempt] = told["attempts"]
    assert (told["cost_text"], True) == (str(Decimal(attempt["cost"]).normalize()), attempt["latency"] > 0)
    assert answer.json()["usage"]["prompt_tokens"] == told["usage"]["input_tokens"]
    assert SECRET_WORDS not in json.dumps(told)
    assert SECRET_WORDS.encode() not in b"".join([path.read_bytes() for path in _files(served)])


def _files(served):
    database = Path(served.app.keys.url.database)
    return [path for path in database.parent.glob(f"{database.name}*") if path.is_file()]


def test_failed_attempts_are_told_with_their_class(tmp_path):
    """A first vendor that is down, and the one that answered; the cost is that of all."""
    with VendorSimulator() as a, VendorSimulator() as b:
        config = Config(default_vendor="a", retry_policy={"max_retries": 0})
        with Dispatcher(config) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=a.openai_url, name="a"))
            dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=b.openai_url, name="b"))
            a.always(faults.status(503, message=SECRET_WORDS))
            with _served(dispatcher, tmp_path, a) as served:
                told = _record(served, served.post("/v1/chat/completions", HELLO)).json()
                b.always(faults.status(503))
                failed = served.post("/v1/chat/completions", HELLO)
                lost = _record(served, failed).json()

    assert [("a", "VendorUnavailable", 503), ("b", None, None)] == [
        (one["vendor"], one.get("error"), one.get("status")) for one in told["attempts"]
    ]
    assert told["attempts"][1]["failover"]
    assert ("b", 200) == (told["vendor"], told["status"])
    assert (failed.status_code, "AllTargetsFailed", 2) == (lost["status"], lost["error"], len(lost["attempts"]))
    assert SECRET_WORDS not in json.dumps([told, lost])


@contextlib.contextmanager
def _served(dispatcher, tmp_path, simulator, **settings):
    keys = KeyStore(tmp_path / "server.db")
    _, secret = keys.create("a test")
    app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=16, **settings))
    with serving(app) as url:
        try:
            yield Served(app, url, secret, simulator)
        finally:
            app.close()


def test_a_listener_that_fails_takes_no_record_away(served, caplog):
    """The next one hears of the request, it is written down, and the failure is logged."""
    heard: list[str] = []

    def fail(_record):
        raise RuntimeError("a label")

    served.app.log.listeners += [fail, lambda record: heard.append(record.id)]
    answer = served.post("/v1/chat/completions", HELLO)

    assert 200 == _record(served, answer).status_code
    assert answer.headers["x-llmdispatcher-request-id"] in heard
    assert "RuntimeError in test_records.py" in caplog.text


def test_streams_are_recorded_when_they_end(served):
    """With their cost, and the time to the first piece."""
    answer = served.post("/v1/messages", {**HELLO, "max_tokens": 50, "stream": True, "model": "claude-haiku-4-5"})
    assert "message_stop" in answer.text
    wait_until(lambda: _record(served, answer).status_code == 200)
    told = _record(served, answer).json()
    assert (True, 200, "anthropic") == (told["streamed"], told["status"], told["vendor"])
    assert told["cost"] > 0
    assert 0 < told["first_output_seconds"] <= told["seconds"]


@each("vendor", ["openai", "anthropic"])
def test_a_stream_whose_client_leaves_is_recorded(served, vendor):
    """As 499, with what it cost as far as it came."""
    served.simulator.tokens_per_second = 20.0
    served.simulator.script(" ".join(["word"] * 400))
    path, model = {"openai": ("/v1/chat/completions", "gpt-4o-mini"), "anthropic": ("/v1/messages", "claude-haiku-4-5")}[vendor]
    body = {**HELLO, "model": model, "stream": True, "max_tokens": 1000}
    with served.post(path, body, stream=True) as answer:
        next(answer.iter_content(64))
    wait_until(lambda: _record(served, answer).status_code == 200)
    told = _record(served, answer).json()
    assert (499, "Cancelled", vendor) == (told["status"], told["error"], told["vendor"])
    assert told["cost"] > 0
    assert told["usage"]["output_tokens"] < 400


@each(
    "path, body, status, code",
    [
        ("/v1/chat/completions", {"model": "no-such-model", "messages": HELLO["messages"]}, 404, "model_not_found"),
        ("/v1/chat/completions", {**HELLO, "api_base": "http://example.org"}, 400, "invalid_request_error"),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"}, 200, None),
        ("/v1/messages/count_tokens", {**HELLO, "model": "claude-haiku-4-5"}, 200, None),
    ],
)
def test_refusals_and_other_faces_are_recorded(served, path, body, status, code):
    """With the status and the code that the client was told."""
    answer = served.post(path, body)
    told = _record(served, answer).json()
    assert (status, status, code) == (answer.status_code, told["status"], told["code"])
    assert path.removeprefix("/v1/").replace("/", ".") == told["face"]


def test_a_session_s_cost_and_what_prompt_caching_saved(served):
    """Summed over its requests, and by what is asked for; the saving is the price of the cache reads less what they cost."""
    usage = Usage(input_tokens=100_000, output_tokens=10, cache_read_tokens=90_000)
    served.simulator.always(Response(content="yes", model="claude-haiku-4-5", usage=usage, finish_reason="stop"))
    body = {**HELLO, "max_tokens": 50, "model": "claude-haiku-4-5"}
    headers = {"X-Claude-Code-Session-Id": "a session"}
    answers = [served.post("/v1/messages", body, headers=headers) for _ in range(2)]
    served.post("/v1/chat/completions", {**HELLO, "prompt_cache_key": "another"})
    one = _record(served, answers[0]).json()
    told = served.get("/proxy/usage?session=a%20session&by=model").json()
    whole = served.get("/proxy/usage?by=session").json()

    assert (2, 200_000, 180_000, 0.9) == tuple(
        told[name] for name in ("requests", "input_tokens", "cache_read_tokens", "cached_share")
    )
    assert Decimal(told["cost_text"]) == 2 * Decimal(one["cost_text"])
    assert Decimal("0.081") * 2 == Decimal(told["prompt_caching_saved_text"])  # 90,000 at $1.00 less $0.10 a million
    assert ["claude-haiku-4-5"] == [row["model"] for row in told["by_model"]]
    assert {"a session", "another"} == {row["session"] for row in whole["by_session"]}
    assert 404 == served.get("/proxy/usage?session=none").status_code


@each(
    "query, field",
    [
        ("by=colour", "by"),
        ("start=yesterday", "start"),
        ("start=2026-02-01&end=2026-01-01", "end"),
        ("by=day&by=key", "by"),
        ("x=1", "x"),
        ("&".join(["by=day"] * 21), "query"),
    ],
)
def test_queries_that_cannot_be(served, query, field):
    """Are told by the name of the parameter."""
    answer = served.get(f"/proxy/usage?{query}")
    assert (400, field) == (answer.status_code, answer.json()["error"]["param"])


def test_a_span_of_time(served):
    """A day as the end belongs whole; before it there is nothing."""
    served.post("/v1/chat/completions", HELLO)
    today = datetime.now(UTC)
    here = served.get(f"/proxy/usage?start={today:%Y-%m-%d}&end={today:%Y-%m-%d}&by=day").json()
    before = served.get(f"/proxy/usage?end={today - timedelta(days=1):%Y-%m-%d}").json()
    assert (1, 0) == (here["requests"], before["requests"])
    assert [f"{today:%Y-%m-%d}"] == [row["day"] for row in here["by_day"]]


def test_other_organizations_see_nothing_and_an_operator_s_look_is_written_down(served):
    """404 to a stranger, by the session's name too; the audit has the operator's key, address and what was looked at."""
    answer = served.post("/v1/chat/completions", HELLO, headers={"session-id": "mine"})
    served.app.keys.owners.ensure("organization", "another")
    _, stranger = served.app.keys.create("a stranger", organization="another")
    operator, secret = served.app.keys.create("an operator", scopes=("operator",), organization="another")
    request_id = answer.headers["x-llmdispatcher-request-id"]
    seen = [
        _record(served, answer, stranger).status_code,
        served.get("/proxy/usage?session=mine", key=stranger).status_code,
        served.get("/proxy/usage?organization=default", key=stranger).status_code,
        served.get("/proxy/usage", key=stranger).json()["requests"],
    ]
    assert [404, 404, 404, 0] == seen
    assert [] == served.app.records.looks()
    assert 200 == _record(served, answer, secret).status_code
    assert 1 == served.get("/proxy/usage?session=mine&organization=default", key=secret).json()["requests"]
    looks = served.app.records.looks()
    assert {(operator.id, "127.0.0.1", "default")} == {(one["key_id"], one["address"], one["organization"]) for one in looks}
    assert {f"request {request_id}", "usage"} == {one["object"] for one in looks}


def test_an_operator_is_told_of_a_mistyped_organization(served):
    """404 with the name that was probably meant, in place of zeros; one without requests has zeros."""
    served.app.keys.owners.create("organization", "another")
    _, secret = served.app.keys.create("an operator", scopes=("operator",), organization="another")
    served.app.keys.owners.create("organization", "idle")
    wrong = served.get("/proxy/usage?organization=idel", key=secret)
    assert (404, "organization") == (wrong.status_code, wrong.json()["error"]["param"])
    assert "there is no 'idel'; did you mean 'idle'?" in wrong.json()["error"]["message"]
    assert 0 == served.get("/proxy/usage?organization=idle", key=secret).json()["requests"]
    assert 0 == served.get("/proxy/usage?organization=another", key=secret).json()["requests"]


def _row(number, at=None, **fields):
    known = {
        "id": f"req_{number:032x}",
        "organization": "default",
        "begun_us": int((at or datetime.now(UTC)).timestamp() * 1_000_000),
        "took_us": 1,
        "face": "chat.completions",
        "status": 200,
        "streamed": False,
        "cached": False,
        "attempts": 1,
        "cost_pico": 10,
        **fields,
    }
    return lambda: tuple([known.get(name) for name in COLUMNS])


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """Where records are kept, and what takes that away and brings it back."""
    if request.param == "sqlite":
        yield sa.URL.create("sqlite+pysqlite", database=str(tmp_path / "r.db"))
        return
    yield _url(request.getfixturevalue("postgres"))


def _url(postgres):
    return sa.make_url(postgres.database()).set(drivername="postgresql+psycopg")


def test_rows_are_written_and_summed(place, tmp_path):
    """A row twice is one; sums are exact; the groups beyond the most are told together."""
    records = RequestRecords(place, spool=tmp_path / "spool")
    for number in range(30):
        records.put(_row(number, session=f"s{number % 3}", cost_pico=10**9 + number))
    records.put(_row(3))
    assert records.flush(20)
    [whole] = records.figures(RecordSpan(organization="default"))
    groups = records.figures(RecordSpan(organization="default"), "session")
    days = records.figures(RecordSpan(organization="default"), "day")
    assert (30, 30 * 10**9 + sum(range(30))) == (int(whole["requests"]), int(whole["cost_pico"]))
    assert [10, 10, 10] == [int(row["requests"]) for row in groups]
    assert sum(int(row["cost_pico"]) for row in groups) == int(whole["cost_pico"])
    assert [30] == [int(row["requests"]) for row in days]
    assert records.find(f"req_{3:032x}", "default")["session"] == "s0"
    assert records.find(f"req_{3:032x}", "another") is None
    records.looked(Looking(key_id="k", address="::1", request_id="req_1"), "default", "x")
    assert 1 == len(records.looks())
    records.close()


def test_old_rows_are_deleted(place, tmp_path):
    """Once an hour, with the first rows that are written then."""
    clock = ManualClock()
    records = RequestRecords(place, clock=clock, days=30, spool=tmp_path / "spool")
    records.put(_row(1, clock.now() - timedelta(days=31)))
    records.put(_row(2, clock.now() - timedelta(days=29)))
    assert records.flush(20)
    assert records.find(f"req_{1:032x}", None) is None
    assert records.find(f"req_{2:032x}", None) is not None
    records.close()


def test_rows_wait_on_the_disk_while_the_database_is_away(postgres, tmp_path):
    """Nothing is lost, and requests do not wait; they are counted as spooled."""
    records = RequestRecords(_url(postgres), spool=tmp_path / "spool")
    records.put(_row(1))
    assert records.flush(20)
    postgres.stop()
    try:
        records.put(_row(2))
        wait_until(lambda: records.stats().spooled == 1)
        assert records.stats().away
        [segment] = (tmp_path / "spool").glob("*.jsonl")
        assert 0o600 == segment.stat().st_mode & 0o777
    finally:
        postgres.start()
    wait_until(lambda: not records.stats().away)
    assert records.find(f"req_{2:032x}", "default") is not None
    assert (2, 0) == (records.stats().written, records.stats().dropped)
    records.close()


def test_a_database_that_hangs_holds_nobody_up(tmp_path, monkeypatch):
    """It takes connections and says nothing: queries are told so in time, and rows go to the disk."""
    monkeypatch.setattr("llmdispatcher.server.records._PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = sa.make_url(f"postgresql+psycopg://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        records = RequestRecords(url, spool=tmp_path / "spool")
        records.put(_row(1))

        def spooled():
            records.put(_row(2))
            return records.stats().spooled

        wait_until(spooled)
        with pytest.raises(VendorUnavailable, match="cannot be asked"):
            records.find("req_1", None)
        records.close(0.1)
    spooled_ids = "".join([path.read_text() for path in (tmp_path / "spool").glob("*.jsonl")])
    assert f"req_{1:032x}" in spooled_ids


def test_a_full_spool_drops_and_counts(tmp_path, monkeypatch):
    """Once what the disk may hold is used."""
    monkeypatch.setattr("llmdispatcher.server.records.MOST_SPOOL", 1)
    records = RequestRecords(sa.make_url("postgresql+psycopg://nobody@127.0.0.1:1/none"), spool=tmp_path / "spool")
    records.put(_row(1))
    wait_until(lambda: records.stats().dropped == 1)
    assert 0 == records.stats().spooled
    records.close()


KILLED = """
import sys, time
from datetime import UTC, datetime
import sqlalchemy as sa
from llmdispatcher.server.records import COLUMNS, RequestRecords

records = RequestRecords(sa.URL.create("sqlite+pysqlite", database=sys.argv[1]))
known = {"organization": "default", "begun_us": int(datetime.now(UTC).timestamp() * 1e6), "took_us": 1, "face": "f", "status": 200}
known |= {"streamed": False, "cached": False, "attempts": 1}
for number in range(200):
    row = tuple([{**known, "id": f"req_{number}"}.get(name) for name in COLUMNS])
    records.put(lambda row=row: row)
records.flush(20)
print("written", flush=True)
records.put(lambda: row)
sys.stdin.read()
"""


def test_a_killed_process_loses_only_the_last_moment(tmp_path):
    """What was written a tenth of a second before is there."""
    command = mortal([sys.executable, "-c", KILLED, str(tmp_path / "r.db")])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert "written" == process.stdout.readline().strip()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with contextlib.closing(sqlite3.connect(tmp_path / "r.db")) as database:
        assert (200,) == database.execute("SELECT count(*) FROM llmdispatcher_requests").fetchone()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
def test_a_forked_child_writes_its_own_rows(tmp_path, untraced):
    """And not those of its parent once more."""
    records = RequestRecords(sa.URL.create("sqlite+pysqlite", database=str(tmp_path / "r.db")))
    records.put(_row(1))
    assert records.flush(20)
    if (child := os.fork()) == 0:
        records.put(_row(2))
        done = records.flush(20)
        os._exit(0 if done else 1)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert {1, 2} == {number for number in (1, 2, 3) if records.find(f"req_{number:032x}", None) is not None}
    records.close()


def test_a_record_that_cannot_be_made_fails_no_answer(served, monkeypatch, caplog):
    """It is logged, by its class alone."""

    def broken(_self):
        raise ValueError(SECRET_WORDS)

    monkeypatch.setattr("llmdispatcher.server.gateway.record.RequestRecord.complete", broken)
    assert 200 == served.post("/v1/chat/completions", HELLO).status_code
    assert "the record of a request cannot be made" in caplog.text
    assert SECRET_WORDS not in caplog.text


def test_receipts_are_named(tmp_path):
    """Where the dispatcher's ledger has one for the call."""
    pytest.importorskip("cryptography", reason="cryptography is not installed; scripts/test installs it")
    from llmdispatcher import Ledger, Receipts, SigningKey

    ledger = Ledger(tmp_path / "calls.db")
    with VendorSimulator() as simulator, Dispatcher(ledger=ledger) as dispatcher:
        dispatcher.register_vendor(AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url))
        with _served(dispatcher, tmp_path, simulator) as served:
            answer = served.post("/v1/messages", {**HELLO, "model": "claude-haiku-4-5", "max_tokens": 5})
            before = _record(served, answer).json()
            assert ledger.flush()
            receipt = Receipts(ledger, SigningKey.generate()).create(before["call_id"])
            after = _record(served, answer).json()
            [call] = ledger.list_recent_calls()
    ledger.close()
    assert (None, receipt.receipt_id) == (before["receipt"], after["receipt"])
    assert (before["call_id"], before["id"]) == (call.id, call.metadata["request_id"])


@pytest.mark.parametrize("name", ["req_0", "req_" + "0" * 32, "nothing-of-the-kind"])
def test_a_request_that_is_not_there_is_told_with_where_its_id_stands(served, name):
    """Of any form."""
    got = served.get(f"/proxy/requests/{name}")

    assert 404 == got.status_code
    assert "x-llmdispatcher-request-id" in got.json()["error"]["message"]
