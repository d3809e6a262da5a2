"""Calls out to files and in again: the same calls, each once, and nothing that a hostile file could do."""

from __future__ import annotations

import csv
import io
import json
import stat
import threading
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from llmdispatcher import InvalidRequest, open_ledger
from llmdispatcher.accounting.ledger.call import ATTEMPT, CALL
from llmdispatcher.accounting.ledger.importing import FORMATS, guard, read_rows, unguard
from llmdispatcher.accounting.ledger.schema import attempts, calls
from tests.cases import each

from ..conftest import IN_BOTH
from .made_calls import at, between, made, made_attempt, put

START, END = at("2026-03-01T00:00"), at("2026-03-20T00:00")
LLMRING = {
    "id": "5f0f7a3e-8f7e-4f3a-9d53-0c6d8c1f9a11", "logged_at": "2025-09-27T10:00:00.5", "provider": "OpenAI",
    "model": "gpt-4o-mini", "alias": "advisor", "profile": "default", "origin": "llmring",
    "prompt_tokens": 1000, "completion_tokens": 500,
    "total_tokens": 1500, "cached_input_tokens": 200, "cost": 0.000435, "latency_ms": 812, "id_at_origin": "42",
    "conversation_id": "c-7", "metadata": {"feature": "chat"}, "messages": [{"role": "user", "content": "a secret"}],
}  # fmt: skip

NAMES = st.sampled_from([*CALL, "provider", "logged_at", "prompt_tokens", "attempt_records"])
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.lists(st.integers(), max_size=2)


def everything(ledger, table=calls, names=CALL):
    """All rows of a ledger that have ended, as they are, without whose process wrote them."""
    with ledger.engine.connect() as connection:
        rows = connection.execute(select(*[table.c[name] for name in names]).where(table.c.status != "open"))
        return sorted([tuple(row) for row in rows], key=repr)


def filled(place, seed=0, count=100):
    """A ledger with calls, two of which share each moment now and then."""
    ledger, chance = open_ledger(place), Random(seed)
    rows = [made(chance, between(chance, START, END)) for _ in range(count)]
    put(
        ledger,
        rows,
        [made_attempt(row, number) for row in rows for number in range(1, row["attempts"] + 1) if row["status"] != "open"],
    )
    return ledger


@pytest.mark.parametrize(
    ("format", "store"), [*[(name, "sqlite") for name in FORMATS], ("jsonl", "postgresql")], indirect=["store"]
)
def test_out_and_in_again(store, tmp_path, format):
    """An empty ledger that takes in what another has written has the same calls, and exact sums; a second time nothing is new."""
    path = tmp_path / "logs"
    with filled(tmp_path / "first.db") as first, open_ledger(store) as second:
        ended = everything(first)
        assert len(ended) == first.export_usage_logs(path, format).rows
        report = second.import_usage_logs(path, format)

        assert (len(ended), len(ended), 0, 0) == (report.rows, report.imported, report.known, report.failed)
        assert ended == everything(second)
        assert second.check_rollups().exact
        assert len(ended) == second.import_usage_logs(path, format).known
        assert first.get_usage_stats(start=START, end=END) == second.get_usage_stats(start=START, end=END)


@pytest.mark.parametrize(("format", "store"), [("json", "sqlite"), ("jsonl", "postgresql")], indirect=["store"])
def test_attempts_go_along(store, tmp_path, format):
    """Where they are asked for."""
    with filled(store) as first, open_ledger(tmp_path / "second.db") as second:
        first.export_usage_logs(tmp_path / "logs", format, attempts=True)
        second.import_usage_logs(tmp_path / "logs")

        assert everything(first, attempts, ATTEMPT) == everything(second, attempts, ATTEMPT) != []


@each("format", FORMATS)
def test_nothing_out_and_in_again(ledger, tmp_path, format):
    """A ledger without calls makes a file without rows."""
    assert 0 == ledger.export_usage_logs(tmp_path / "logs", format).rows
    assert 0 == ledger.import_usage_logs(tmp_path / "logs", format).rows


def test_what_another_can_read(ledger, tmp_path):
    """A line is an object by the names of the columns; times end in Z, money is a number with all its digits."""
    put(ledger, [made(Random(0), START, status="success", cost=Decimal("0.000000000001"), id="ab" * 16)])
    ledger.export_usage_logs(tmp_path / "logs.jsonl")
    text = (tmp_path / "logs.jsonl").read_text(encoding="utf-8")

    assert text.endswith('"cost":0.000000000001}\n')
    assert {**dict.fromkeys(CALL), "id": "ab" * 16}.keys() == json.loads(text).keys()
    assert "2026-03-01T00:00:00.000000Z" == json.loads(text)["begun_at"]


def test_without_a_target_it_is_a_list(tmp_path):
    """As the documents have it, and another ledger takes the list."""
    with filled(tmp_path / "first.db", count=20) as first, open_ledger(tmp_path / "second.db") as second:
        logs = first.export_usage_logs(start_date="2026-03-01", format="json")

        assert len(logs) == second.import_usage_logs(logs).imported
        assert everything(first) == everything(second)


@pytest.mark.parametrize("kind", [io.BytesIO, io.StringIO])
def test_open_files(tmp_path, kind):
    """Streams of bytes and of text, which stay open."""
    stream = kind()
    with filled(tmp_path / "first.db", count=50) as first, open_ledger(tmp_path / "second.db") as second:
        rows = first.export_usage_logs(stream, "csv").rows
        stream.seek(0)

        assert rows == second.import_usage_logs(stream).imported
        assert not stream.closed


def test_the_file_is_its_owners(tmp_path):
    """Nobody else may read it, and no half of it is left where writing fails."""
    path = tmp_path / "logs.csv"
    with filled(tmp_path / "ledger.db", count=20) as ledger:
        ledger.export_usage_logs(path)

        assert 0o600 == stat.S_IMODE(path.stat().st_mode)
        with pytest.raises(ZeroDivisionError):
            ledger.export_usage_logs(path, "jsonl", lambda done, total: 1 // 0)

    assert path.read_text(encoding="utf-8").startswith("id,begun_at")
    assert ["logs.csv"] == [entry.name for entry in tmp_path.iterdir() if "logs" in entry.name]


def test_a_link_is_replaced_not_followed(tmp_path):
    """What a symbolic link points to is not written over."""
    precious, link = tmp_path / "precious", tmp_path / "logs.jsonl"
    precious.write_text("kept")
    link.symlink_to(precious)
    with filled(tmp_path / "ledger.db", count=5) as ledger:
        ledger.export_usage_logs(link)

    assert "kept" == precious.read_text()


def test_only_what_is_asked_for(tmp_path):
    """The same filters as everywhere, and a span."""
    with filled(tmp_path / "ledger.db") as ledger:
        logs = ledger.export_usage_logs(start="2026-03-05", end="2026-03-06", model="openai:gpt-4o", status="success")

        assert {("openai", "gpt-4o", "success")} == {(log["vendor"], log["model"], log["status"]) for log in logs}
        assert {5, 6} >= {log["begun_at"].day for log in logs}


def test_progress(tmp_path, monkeypatch):
    """It counts up to all there are."""
    monkeypatch.setattr("llmdispatcher.accounting.ledger.exporting.PAGE", 40)
    told = []
    with filled(tmp_path / "ledger.db") as ledger:
        rows = ledger.export_usage_logs(tmp_path / "logs.jsonl", progress=lambda *counts: told.append(counts)).rows
        ledger.import_usage_logs(tmp_path / "logs.jsonl", progress=lambda *counts: told.append(counts))

    assert [(40, rows), (80, rows), (rows, rows), (rows, None)] == told


@IN_BOTH
def test_pages_lose_and_repeat_nothing(ledger, monkeypatch):
    """Also where a hundred calls share one microsecond."""
    monkeypatch.setattr("llmdispatcher.accounting.ledger.exporting.PAGE", 7)
    chance = Random(1)
    put(ledger, [made(chance, START, status="success") for _ in range(100)])
    ids = [log["id"] for log in ledger.export_usage_logs()]

    assert sorted(ids) == ids
    assert 100 == len(set(ids))


@pytest.mark.usefixtures("untraced")
def test_memory_is_that_of_a_page(ledger, tmp_path, monkeypatch):
    """Eight times the rows take no more of it."""
    monkeypatch.setattr("llmdispatcher.accounting.ledger.exporting.PAGE", 50)
    like, peaks = made(Random(0), START, status="success"), []
    put(ledger, [{**like, "id": f"{number:032x}", "model": "few" if number < 250 else "many"} for number in range(2000)])
    for asked in ({"model": "few"}, {}):
        tracemalloc.start()
        ledger.export_usage_logs(tmp_path / "logs.jsonl", **asked)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.3 * peaks[0]


@IN_BOTH
def test_what_llmring_logged(ledger):
    """Its words and its UUIDs are understood; naive times are UTC; what was said stays out."""
    report = ledger.import_usage_logs([LLMRING])
    call = ledger.get_call("5f0f7a3e8f7e4f3a9d530c6d8c1f9a11")
    everywhere = repr(everything(ledger))

    assert (1, 0) == (report.imported, report.failed)
    assert ("openai", "gpt-4o-mini", 1000, 500, 200) == (
        call.vendor, call.model, call.input_tokens, call.output_tokens, call.cache_read_tokens)  # fmt: skip
    assert (Decimal("0.000435"), "vendor_reported", 0.812) == (call.cost, call.cost_status, call.latency)
    assert at("2025-09-27T10:00:00.500") == call.begun_at
    assert {"feature": "chat", "conversation_id": "c-7"} == call.metadata
    assert "secret" not in everywhere


def test_a_cost_that_is_missing_is_the_catalogs(ledger):
    """Where the catalog knows none, the row says why; a server of one's own costs nothing, whichever model it was."""
    ledger.import_usage_logs([
        {"id": 1, "vendor": "openai", "model": "gpt-4o-mini", "input_tokens": 1000, "begun_at": "2026-03-01"},
        {"id": 2, "vendor": "openai", "model": "gpt-0", "input_tokens": 1000, "begun_at": "2026-03-02"},
        {"id": 3, "vendor": "vllm", "model": "my-model", "input_tokens": 1000, "begun_at": "2026-03-03"},
    ])  # fmt: skip
    own, unknown, known = ledger.list_recent_calls()

    assert (Decimal("0.00015"), "priced") == (known.cost, known.cost_status)
    assert known.price_version
    assert (None, "unknown_model") == (unknown.cost, unknown.cost_status)
    assert (Decimal(0), "priced", "catalog 2026-11-21") == (own.cost, own.cost_status, own.price_version)


def test_rows_without_an_id(ledger):
    """Rows that look alike are as many calls, and the same file again brings none of them."""
    row = {"provider": "openai", "model": "m", "input_tokens": 1, "logged_at": "2026-03-01T00:00:00"}
    reports = [ledger.import_usage_logs([row, row, {**row, "input_tokens": 2}]) for _ in range(2)]

    assert [(3, 0), (0, 3)] == [(report.imported, report.known) for report in reports]
    assert 3 == ledger.get_usage_stats(start=START, end=END).total_calls


@IN_BOTH
def test_an_id_that_is_told_twice(ledger):
    """The first counts, within a batch and across batches."""
    rows = [{"id": "x", "model": "m", "input_tokens": count, "begun_at": "2026-03-01"} for count in (1, 2)]
    report = ledger.import_usage_logs(rows)
    ledger.import_usage_logs(rows[1:])

    assert (1, 1) == (report.imported, report.known)
    assert 1 == ledger.get_usage_stats(start=START, end=END).input_tokens
    assert ledger.check_rollups().exact


@IN_BOTH
def test_bad_rows_are_told_and_the_rest_is_kept(ledger, tmp_path):
    """Each with its line and what is wrong with it."""
    good = {"model": "m", "begun_at": "2026-03-01T00:00Z"}
    lines = [
        json.dumps({**good, "id": 1}),
        "{",
        "[1, 2]",
        "",
        json.dumps({**good, "id": 2, "input_tokens": -1}),
        json.dumps({**good, "id": 3, "cost": 1e300}),
        json.dumps({**good, "id": 4, "begun_at": "yesterday"}),
        json.dumps({"id": 5, "model": "m"}),
        json.dumps({"id": 6, "begun_at": "2026-03-01"}),
        json.dumps({**good, "id": 7, "status": "open"}),
        '{"id": 8, "model": "m", "begun_at": "2026-03-01", "input_tokens": NaN}',
        json.dumps({**good, "id": 9, "metadata": "{"}),
        json.dumps({**good, "id": 10, "streamed": "perhaps"}),
        json.dumps({**good, "id": 11, "input_tokens": 10**13}),
        json.dumps({**good, "id": 12, "begun_at": "1969-12-31"}),
        json.dumps({**good, "id": 13, "attempt_records": [{"number": 1}]}),
        "[" * 100_000,
        '{"id": 14, "model": "m", "begun_at": "2026-03-01", "input_tokens": ' + "9" * 5000 + "}",
        json.dumps({**good, "id": 15, "begun_at": "0001-01-01T00:00+14:00"}),
        json.dumps({**good, "id": 16, "cost": "1E+999999"}),
        json.dumps({**good, "id": [1]}),
        json.dumps({**good, "id": 99, "origin": "nul \0 and half \ud800"}),
    ]
    path = tmp_path / "logs.jsonl"
    path.write_bytes(
        "\n".join(lines).encode() + b"\n\xff\xfe\n" + b"x" * (1 << 21) + b"\n" + json.dumps({**good, "id": 17}).encode()
    )
    report = ledger.import_usage_logs(path)

    assert 3 == ledger.get_usage_stats(start=START, end=END).total_calls
    assert ledger.check_rollups().exact
    assert (3, 21, 24) == (report.imported, report.failed, report.rows)
    reasons = {problem.line: problem.reason.partition(":")[0] for problem in report.problems}
    assert {
        2: "it is not JSON",
        5: "input_tokens",
        6: "cost",
        7: "begun_at",
        8: "begun_at",
        9: "model",
        10: "status",
    }.items() <= reasons.items()
    assert {
        12: "metadata",
        13: "streamed",
        14: "input_tokens",
        16: "attempt_records",
        20: "cost",
        21: "id",
    }.items() <= reasons.items()
    assert {23: "the line is not UTF-8", 24: "the line is longer than 1,048,576 bytes"}.items() <= reasons.items()
    assert all(len(problem.reason) < 200 for problem in report.problems)


def test_problems_are_told_up_to_a_thousand(ledger):
    """The rest are counted."""
    report = ledger.import_usage_logs([7] * 2500)

    assert (2500, 1000) == (report.failed, len(report.problems))


@each(
    "text, imported, reason",
    [
        ('[{"id":1,"model":"m","begun_at":"2026-03-01"}', 1, "the array has no end"),
        ('[{"id":2,"model":"m","begun_at":"2026-03-01"}, nonsense, {}]', 1, "it is not JSON; nothing behind it was read"),
        ("[1,[],{}]", 0, "int is no object"),
        ('[{"a": "' + "x" * (1 << 21) + '"}]', 0, "it is not JSON; nothing behind it was read"),
        ("{}", 0, "it is no JSON array"),
        ("", 0, "it is no JSON array"),
        ("[" * 5000, 0, "it is not JSON; nothing behind it was read"),
    ],
)
def test_arrays_that_are_broken(ledger, text, imported, reason):
    """What comes before the break is kept, and the break is told."""
    report = ledger.import_usage_logs(io.StringIO(text), "json")

    assert (imported, reason) == (report.imported, report.problems[0].reason)


@pytest.mark.usefixtures("untraced")
def test_an_array_on_one_line(ledger, tmp_path):
    """A file of four pieces without a line end is read a piece at a time."""
    logs = [{"id": number, "model": "ünï" * 99, "begun_at": "2026-03-01"} for number in range(500)]
    (tmp_path / "logs.json").write_text(json.dumps(logs, ensure_ascii=False, indent=None), encoding="utf-8-sig")
    assert 500 == ledger.import_usage_logs(tmp_path / "logs.json").imported


def test_csv_is_no_spreadsheet_program(tmp_path):
    """What a spreadsheet would take for a formula has a mark before it in the file, and none in the ledger that reads it."""
    evil = [
        "=HYPERLINK(1)",
        "+1",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "'=1",
        "＝1",
        "plain",
        'quote", "and comma',
        "'quoted'",
    ]
    chance = Random(0)
    with open_ledger(tmp_path / "first.db") as first, open_ledger(tmp_path / "second.db") as second:
        put(first, [made(chance, START, status="success", model=text, origin=text, user=text) for text in evil])
        first.export_usage_logs(tmp_path / "logs.csv")
        second.import_usage_logs(tmp_path / "logs.csv")
        with (tmp_path / "logs.csv").open(newline="", encoding="utf-8") as file:
            cells = [cell for row in csv.reader(file) for cell in row]

        assert [] == [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝"))]
        assert everything(first) == everything(second)


@settings(max_examples=50)
@given(st.text())
def test_the_mark_comes_off_again(text):
    """Whatever the text."""
    assert text == unguard(guard(text))


def test_hostile_csv(ledger, tmp_path):
    """Wrong numbers of cells, broken quotes, endless fields, no UTF-8: told with their lines, and the rest is kept."""
    path = tmp_path / "logs.csv"
    endless = b'7,"' + b"x" * 200_000 + b'"\n'
    path.write_bytes(
        b"\xef\xbb\xbfid,model,begun_at\r\n1,m,2026-03-01\r\n2,m\r\n3,m,2026-03-01,more\r\n\r\n"
        + endless + b'4,"m"x,2026-03-01\n5,\xff,2026-03-01\n6,"two\nlines",2026-03-01\n8,"never closed,2026-03-01\n'
    )  # fmt: skip
    report = ledger.import_usage_logs(path)

    assert ["m", "two\nlines"] == sorted(call.model for call in ledger.list_recent_calls())
    assert [3, 4, 6, 7, 8, 11] == [problem.line for problem in report.problems]


@settings(max_examples=75, deadline=None)
@given(
    st.sampled_from(FORMATS[:3]), st.binary(max_size=300) | st.text(max_size=300).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_end(format, raw):
    """Reading any bytes ends, in rows or in problems."""
    rows = list(read_rows(io.BytesIO(raw), format))

    assert all((row.fields is None) != (row.problem is None) for row in rows)


def test_any_values_are_kept_or_told(ledger):
    """No value breaks an import, and the sums are exact after it."""

    @settings(max_examples=30, deadline=None)
    @given(st.lists(st.dictionaries(NAMES, VALUES), max_size=4))
    def check(rows):
        report = ledger.import_usage_logs([{"model": "m", "begun_at": "2026-03-01", **row} for row in rows])

        assert len(rows) == report.imported + report.known + report.failed

    check()

    assert ledger.check_rollups().exact


@pytest.mark.usefixtures("untraced")
@IN_BOTH
def test_imports_and_statistics_at_once(store, tmp_path):
    """Four threads take in the same calls while another asks: each call once, and every answer is of one moment."""
    with filled(tmp_path / "first.db", count=150) as first, open_ledger(store) as ledger:
        path = tmp_path / "logs.jsonl"
        rows = first.export_usage_logs(path).rows
        answers, gate, done = [], threading.Barrier(5), threading.Event()

        def ask():
            gate.wait(30)
            while not done.is_set() and len(answers) < 200:
                answers.append(ledger.get_usage_stats(start=START, end=END, group_by="day", timezone="Asia/Kolkata"))

        def take_in(_):
            gate.wait(30)
            return ledger.import_usage_logs(path)

        with ThreadPoolExecutor(5) as threads:
            asking = threads.submit(ask)
            try:
                reports = list(threads.map(take_in, range(4)))
            finally:
                done.set()
            asking.result()

        assert rows == sum(report.imported for report in reports)
        assert 4 * rows == sum(report.imported + report.known for report in reports)
        assert [] == [answer for answer in answers if answer.total_calls != sum(bucket.total_calls for bucket in answer.buckets)]
        assert ledger.check_rollups().exact
        assert everything(first) == everything(ledger)


@IN_BOTH
def test_record(ledger):
    """A call that was made elsewhere is kept once, however often it is told; its cost is the catalog's."""
    told = [
        ledger.record("openai", "gpt-4o-mini", id="order 7", input_tokens=1000, output_tokens=0, latency=0.5, origin="shop")
        for _ in range(2)
    ]
    call = ledger.list_recent_calls("shop")[0]

    assert [True, False] == [one.new for one in told]
    assert (Decimal("0.00015"), "priced") == (told[0].cost, told[0].cost_status)
    assert (told[0].id, 0.5, timedelta(seconds=0.5), 1) == (call.id, call.latency, call.ended_at - call.begun_at, call.attempts)


def test_recorded_ids_sort_by_time(ledger):
    """Without an id of the caller's own."""
    ids = [ledger.record(None, "openai:gpt-4o", begun_at=START + timedelta(seconds=n)).id for n in range(3)]

    assert sorted(ids) == ids
    assert "openai" == ledger.get_call(ids[0]).vendor


@each("wrong", [{"input_tokens": -1}, {"cost": "much"}, {"status": "fine"}, {"metadata": [1]},
                                   {"begun_at": "now"}, {"usage": 7}, {"latency": -1}, {"origin": 1.5}, {"id": ""}])  # fmt: skip
def test_record_refuses(ledger, wrong):
    """What cannot be is told by its field, and nothing is written."""
    with pytest.raises(InvalidRequest, match=f"^{next(iter(wrong))}: .*; "):
        ledger.record("openai", "gpt-4o", **wrong)

    assert [] == ledger.list_recent_calls()


@each("source", [7, {"id": 1}, None])
def test_sources_that_are_none(ledger, source):
    """The error says what would do."""
    with pytest.raises(InvalidRequest, match=r"^source: .*; give a path"):
        ledger.import_usage_logs(source)


def test_formats_that_are_none(ledger, tmp_path):
    """Out and in; and attempts have no room in a table."""
    for asked, error in (({"format": "xml"}, "^format: 'xml'"), ({"format": "csv", "attempts": True}, "^attempts: csv")):
        with pytest.raises(InvalidRequest, match=error):
            ledger.export_usage_logs(tmp_path / "logs", **asked)
    with pytest.raises(InvalidRequest, match=r"^format: 'xml'"):
        ledger.import_usage_logs([], "xml")
    with pytest.raises(InvalidRequest, match=r"^target: int"):
        ledger.export_usage_logs(7)


@each("name", ["logs.xml", "logs.txt", "logs.jsonl.gz", "logs.2026-11"])
def test_a_name_of_another_format_is_refused(ledger, tmp_path, name):
    """Instead of JSON Lines in it; no file is made. A format that is given counts, and so does a name without a suffix."""
    with pytest.raises(InvalidRequest, match=r"^target: no format has the suffix .* \.jsonl, .*give the format: jsonl, json, csv"):
        ledger.export_usage_logs(tmp_path / name)
    assert not (tmp_path / name).exists()
    assert 0 == ledger.export_usage_logs(tmp_path / name, "csv").rows
    assert 0 == ledger.export_usage_logs(tmp_path / "logs").rows


def test_every_fact_has_a_place(store):
    """What is made for these tests has more than one value in each column."""
    with filled(store) as ledger:
        columns = zip(*everything(ledger), strict=True)

    values = dict(zip(CALL, columns, strict=True))
    assert {"cost_status", "price_version"} == {name for name in CALL if len(Counter(map(repr, values[name]))) < 2}
