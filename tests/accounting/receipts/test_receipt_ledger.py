"""Receipts in a ledger, on SQLite and PostgreSQL: which calls they certify, and that no row can be altered unseen."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from itertools import product

import pytest
from sqlalchemy import delete, insert, select, text, update

from llmdispatcher import (
    ConfigError,
    InvalidRequest,
    Ledger,
    LedgerError,
    PublicKeys,
    Receipt,
    Receipts,
    SigningKey,
    verify_receipts,
)
from llmdispatcher.accounting.ledger.schema import calls, marks, receipt_calls, receipts
from llmdispatcher.accounting.receipts.rows import ROW_FIELDS
from llmdispatcher.accounting.units import micros
from llmdispatcher.testing import ManualClock
from tests.cases import each

from ..conftest import IN_BOTH
from .conftest import NOON, call_row, settle


def write(ledger, *statements):
    """Alter the database behind everybody's back."""
    with ledger.transaction() as connection:
        for statement in statements:
            connection.execute(statement)


def told(verified):
    """Code and sequence of each problem."""
    return [(one.code, one.sequence) for one in verified.problems]


@IN_BOTH
def test_a_single_receipt(ledger, book):
    """It shows the call, is stored as it is signed, and verifies with the public key alone."""
    (call_id,) = settle(ledger, 1)
    receipt = book.create(call_id, description="Ordered", tags=["shop"])

    assert ("single", 1, "Ordered", ("shop",)) == (receipt.receipt_type, receipt.sequence, receipt.description, receipt.tags)
    assert (call_id, "0.000246913578", 151) == tuple(receipt.call[name] for name in ("id", "cost", "total_tokens"))
    assert receipt == book.get(receipt.id)
    assert receipt.text == book.get(receipt.id).text
    assert verify_receipts(receipt.text, book.public_keys())
    assert (call_id,) == book.certified_calls(receipt.id)


def test_a_receipt_tells_nobody_who_the_user_was(ledger, book):
    """User and metadata are certified by digest, and not shown."""
    (call_id,) = settle(ledger, 1, user="ann@example.com", metadata={"secret": "blue"})
    receipt = book.create(call_id)

    assert "ann@" not in receipt.text
    assert "blue" not in receipt.text


@IN_BOTH
def test_a_batch_adds_up(ledger, book):
    """Counts, tokens, exact cost, first and last, by model and by alias; a preview says the same and writes nothing."""
    settle(ledger, 0, 1, 2)
    settle(ledger, 3, cost=None, alias=None)
    preview = book.preview(origin="shop")
    receipt = book.create(origin="shop")
    summary = receipt.summary

    assert preview == summary
    assert (4, 406, 200, 606, 1) == (
        summary.total_calls,
        summary.input_tokens,
        summary.output_tokens,
        summary.total_tokens,
        summary.unpriced_calls,
    )
    assert Decimal("0.000123456789") * 6 == summary.total_cost
    assert (NOON, NOON + timedelta(seconds=3)) == (summary.start, summary.end)
    assert {"anthropic:claude-opus-4-1": (2, 303), "openai:gpt-4o": (2, 303)} == {
        name: (share.calls, share.tokens) for name, share in summary.by_model.items()
    }
    assert {"deep": 2, "fast": 1} == {name: share.calls for name, share in summary.by_alias.items()}
    assert ([], 1) == (list(book.uncertified_calls()), len(book.list()))


@IN_BOTH
def test_calls_are_chosen(ledger, book):
    """By ids, by time, by origin and its own id, and what is left; the receipt says how."""
    ids = settle(ledger, *range(8))
    other = settle(ledger, 20, origin="lab")
    by_ids = book.create(ids[:2])
    by_time = book.create(since=NOON, until=NOON + timedelta(seconds=4))
    by_order = book.create(origin="shop", id_at_origin="order-5")
    rest = book.create()

    assert [2, 2, 1, 4] == [one.summary.total_calls for one in (by_ids, by_time, by_order, rest)]
    assert ["ids", "range", "range", "uncertified"] == [
        one.as_dict()["selection"]["by"] for one in (by_ids, by_time, by_order, rest)
    ]
    assert 2 == by_time.as_dict()["selection"]["certified_before"]
    assert tuple(sorted([ids[4], ids[6], ids[7], *other])) == book.certified_calls(rest.id)
    assert book.verify()


def test_a_call_has_one_receipt(ledger, book):
    """Receipts can be added up: what is certified is refused by its id, and left out of a range."""
    ids = settle(ledger, 1, 2)
    book.create(ids[0])

    with pytest.raises(InvalidRequest, match=f"{ids[0]} has a receipt, sequence 1"):
        book.create(ids)
    assert 1 == book.create(origin="shop").summary.total_calls
    with pytest.raises(InvalidRequest, match="there is none to certify"):
        book.create()


@pytest.mark.parametrize("status", ["open", "unknown"])
def test_calls_that_may_still_change_are_left(ledger, book, status):
    """One that is under way, and one whose process died, whose end may still come out of a spool."""
    (unsettled,) = settle(ledger, 1, status=status)
    settle(ledger, 2, status="error", cost=None)

    assert 1 == book.create().summary.total_calls
    with pytest.raises(InvalidRequest, match=f"is {status}: its row may still change"):
        book.create(unsettled)


WISHES = [
    ({"calls": "f" * 32}, "the ledger has no ffff"),
    ({"calls": []}, "it names none"),
    ({"calls": [3]}, "it names none"),
    ({"calls": ["f" * 32], "origin": "shop"}, "do not go together"),
    ({"since": NOON.replace(tzinfo=None)}, "aware datetime"),
    ({"since": "2026-11-21"}, "aware datetime"),
    ({"origin": 3}, "origin: 3 is no text"),
    ({"vendor": "openai"}, "vendor: calls are not chosen by it"),
    ({"description": 3}, "are texts"),
    ({"tags": [3]}, "are texts"),
    ({"description": "\ud800"}, "RFC 8785"),
]


def test_wishes_that_cannot_be(ledger, book):
    """Each is told with what to do, and nothing is written."""
    settle(ledger, 1)
    for wish, reason in WISHES:
        with pytest.raises(InvalidRequest, match=reason):
            book.create(**wish)
    assert () == book.list()


@IN_BOTH
def test_receipts_are_listed_page_by_page(ledger, book, other_key):
    """The newest first, from a sequence on, of one type."""
    for call_id in settle(ledger, 1, 2, 3):
        book.create(call_id)
    book.rotate(other_key)

    assert [4, 3] == [one.sequence for one in book.list(limit=2)]
    assert [2, 1] == [one.sequence for one in book.list(before=3)]
    assert [4] == [one.sequence for one in book.list(receipt_type="rotation")]
    assert book.get("rcpt_x") is None
    with pytest.raises(InvalidRequest, match="is none of this ledger"):
        book.certified_calls("rcpt_x")


def test_a_call_made_elsewhere(book):
    """Recorded and certified at once: an id and a signature."""
    receipt = book.create_receipt("openai:gpt-4o", input_tokens=1200, output_tokens=300, cost="0.0105")

    assert ("gpt-4o", "openai", "0.0105", 1500) == tuple(receipt.call[name] for name in ("model", "vendor", "cost", "total_tokens"))
    assert (True, True) == (receipt.id.startswith("rcpt_"), receipt.signature.startswith("ed25519:"))
    assert book.verify()


def test_the_columns_that_are_certified_are_those_that_there_are():
    """A new column of a call must be thought about: it is certified by the next version of receipts, or it is bookkeeping."""
    assert set(ROW_FIELDS) == {column.name for column in calls.columns} - {"writer"}


ALTERED = (
    {
        name: value
        for name, value in call_row(
            7,
            begun_at=NOON,
            **dict.fromkeys(("origin", "user", "alias", "profile", "vendor", "model", "status", "error_class"), "other"),
            cost=Decimal("0.000000000001"),
            metadata={"team": "blue", "weight": 0.25},
            streamed=False,
            cached=True,
            hedged=False,
            attempts=9,
        ).items()
        if name != "id"
    }
    | dict.fromkeys(("latency_us", "first_token_us"), 1)
    | {"cost_status": "x", "price_version": "x", "output_tokens": 51}
)
ALTERED |= {name: 999 for name in ROW_FIELDS if name.endswith("_tokens")}


@pytest.mark.parametrize(("kind", "store"), [("single", "sqlite"), ("batch", "postgresql")], indirect=["store"])
def test_every_column_of_a_row_is_proven(ledger, book, kind):
    """Each column of each settled row, altered or emptied, shows with call and sequence; put back, all is well."""
    ids = settle(ledger, 1, 2)
    book.create(ids[1])
    book.create(ids[0] if kind == "single" else ids[:1])
    row = call_row(1)
    for name, value in ALTERED.items():
        assert value != row[name], name
        for other in (value,) if not calls.c[name].nullable else (value, None):
            write(ledger, update(calls).where(calls.c.id == ids[0]).values({name: other}))
            problems = book.verify().problems

            assert ("call_altered", 2, ids[0]) == (problems[0].code, problems[0].sequence, problems[0].call_id), name
            assert problems[0].field in (None, f"call.{name}", "call.total_tokens")
            write(ledger, update(calls).where(calls.c.id == ids[0]).values({name: row[name]}))
    assert book.verify()


@IN_BOTH
def test_values_that_nobody_can_read_are_found(ledger, book):
    """Numbers and times beyond all bounds, and on SQLite texts where numbers belong: a finding, not an exception."""
    ids = settle(ledger, 1, 2)
    book.create(ids[0])
    book.create(ids[1:])
    wild = {"begun_at": 2**62, "cost": 2**62, "input_tokens": 2**62, "latency_us": -1}
    if ledger.engine.dialect.name == "sqlite":
        wild |= dict.fromkeys(("begun_at", "cost", "output_tokens", "streamed", "attempts"), "'wild'") | {
            "metadata": "'{'",
            "cached": 7,
        }
    for name, value in wild.items():
        with ledger.transaction() as connection:
            connection.execute(text(f"UPDATE llmdispatcher_calls SET {name} = {value}"))
        assert [("call_altered", 1), ("call_altered", 2)] == told(book.verify()), name
        with ledger.transaction() as connection:
            connection.execute(text("DELETE FROM llmdispatcher_calls"))
        settle(ledger, 1, 2)
        assert book.verify()


@IN_BOTH
def test_rows_that_are_deleted_exchanged_or_slipped_in(ledger, book):
    """A row that is gone, one that has another's id, and a noted call that was never certified."""
    ids = settle(ledger, 1, 2, 3)
    book.create(ids)
    write(ledger, delete(calls).where(calls.c.id == ids[1]))
    assert [("call_missing", 1)] == told(book.verify())
    assert ids[1] == book.verify().problems[0].call_id

    settle(ledger, 2, user="bob")
    assert [("call_altered", 1)] == told(book.verify())

    write(
        ledger,
        delete(calls).where(calls.c.id == ids[1]),
        update(receipt_calls).where(receipt_calls.c.call_id == ids[1]).values(call_id="f" * 32),
    )
    assert [("call_missing", 1), ("calls_digest", 1)] == sorted(told(book.verify()))


@IN_BOTH
def test_retention_is_a_warning(ledger, book):
    """Rows that the ledger itself deleted for their age cannot be compared, and are no sign of harm; others are."""
    ids = settle(ledger, 1, 2)
    late = settle(ledger, 90_000)
    book.create(ids)
    book.create(late)
    mark = insert(marks).values(name="pruned", value=micros(NOON + timedelta(days=1)))
    write(ledger, delete(calls).where(calls.c.id.in_(ids)), mark)
    verified = book.verify()
    assert (True, [("calls_pruned", 1)]) == (verified.valid, [(one.code, one.sequence) for one in verified.warnings])

    write(ledger, delete(calls))
    assert [("call_missing", 2)] == told(book.verify())


COLUMNS = {
    "receipt_id": "rcpt_" + "0" * 32,
    "receipt_type": "batch",
    "key_id": "key_" + "0" * 16,
    "created_at": NOON,
    "sequence": 9,
}


@IN_BOTH
def test_every_column_of_a_receipt_is_compared(ledger, book):
    """The columns beside the document must say what it says."""
    for call_id in settle(ledger, 1, 2, 3):
        book.create(call_id)
    row = receipts.c.sequence == 2
    with ledger.reading() as connection:
        before = connection.execute(select(receipts).where(row)).mappings().one()
    for name, value in COLUMNS.items():
        write(ledger, update(receipts).where(row).values({name: value}))
        verified = book.verify()

        assert ("stored", 2) in told(verified), name
        assert any(one.field == ("timestamp" if name == "created_at" else name) for one in verified.problems), name
        write(ledger, update(receipts).where(receipts.c.sequence == 9 if name == "sequence" else row).values({name: before[name]}))
    assert book.verify()


def test_a_document_that_is_none(ledger, book):
    """Nonsense in a row is a problem, not an exception."""
    for call_id in settle(ledger, 1, 2):
        book.create(call_id)
    for damage in ("{", "[]", '{"a":1,"a":2}', "null"):
        write(ledger, update(receipts).where(receipts.c.sequence == 1).values(document=damage))

        assert {"stored", "form"} <= {one.code for one in book.verify().problems}, damage


def test_another_layout_of_a_stored_document_shows(ledger, book):
    """The stored text is the canonical one, to the byte."""
    receipt = book.create(settle(ledger, 1)[0])
    write(ledger, update(receipts).values(document=json.dumps(receipt.as_dict(), indent=1)))

    assert [("stored", 1)] == told(book.verify())


@pytest.mark.parametrize("gone", [2, 3])
def test_a_deleted_receipt_shows(ledger, book, gone):
    """In the middle by the gap and the calls that are noted for it; at the end by those, or by the anchor."""
    for call_id in settle(ledger, 1, 2, 3):
        book.create(call_id)
    anchor = book.anchor()
    assert book.verify(anchor=anchor)
    write(ledger, delete(receipts).where(receipts.c.sequence == gone))

    assert {("stored", gone)} <= set(told(book.verify()))
    write(ledger, delete(receipt_calls).where(receipt_calls.c.sequence == gone))
    assert ([("missing", gone)] if gone < 3 else []) == told(book.verify())
    assert (("missing", gone) if gone < 3 else ("anchor", 3)) in told(book.verify(anchor=anchor))


def test_a_whole_ledger_that_is_gone_shows_by_the_anchor(ledger, book):
    """An empty chain is a chain, but not the one that was noted."""
    book.create(settle(ledger, 1)[0])
    anchor = book.anchor()
    write(ledger, delete(receipts), delete(receipt_calls), delete(calls))

    assert book.verify()
    assert [("anchor", 1)] == told(book.verify(anchor=anchor))


def test_a_receipt_from_elsewhere_is_compared_with_the_ledger(ledger, book):
    """The fields in which it differs from the stored one are named, and its rows are looked at."""
    ids = settle(ledger, 1, 2)
    receipt, document = book.create(ids[0]), None
    document = receipt.as_dict()
    document["call"]["cost"] = "0.1"
    verified = book.verify(document)

    assert book.verify(receipt)
    assert [("signature", "signature"), ("stored", "call.cost")] == [(one.code, one.field) for one in verified.problems]
    write(ledger, update(calls).where(calls.c.id == ids[0]).values(cost=Decimal("0.1")))
    assert [("call_altered", "call.cost")] == [(one.code, one.field) for one in book.verify(receipt).problems]
    write(ledger, delete(receipts))
    assert [("stored", "receipt_id")] == [(one.code, one.field) for one in book.verify(receipt).problems]


def test_a_key_changes_hands(ledger, book, key, other_key):
    """After a rotation the old key is refused, its receipts still verify, and both are published by id."""
    ids = settle(ledger, 1, 2, 3)
    first = book.create(ids[0])
    record = book.rotate(other_key, description="yearly")
    second = book.create(ids[1])

    assert (key.key_id, other_key.key_id, other_key.public) == (record.key_id, second.key_id, record.new_key)
    with pytest.raises(ConfigError, match=f"{other_key.key_id} signs this ledger's receipts, not {key.key_id}"):
        Receipts(ledger, key).create(ids[2])
    assert PublicKeys((other_key.public, key.public), other_key.key_id) == book.public_keys()
    assert verify_receipts(first, book.public_keys())
    for trusted in (key.public, other_key.public):
        assert book.verify(public_keys=trusted)
    assert {("unknown_key", number) for number in (1, 2, 3)} == set(told(book.verify(public_keys=SigningKey(bytes(32)).public)))
    with pytest.raises(ConfigError, match="signs already"):
        book.rotate(other_key)


def test_a_lost_key_is_taken_over_from(ledger, book, key, other_key):
    """The chain goes on; whoever verifies is told, and must know the old key from elsewhere."""
    ids = settle(ledger, 1, 2)
    book.create(ids[0])
    successor = Receipts(ledger, other_key)
    with pytest.raises(ConfigError, match="take_over"):
        successor.create(ids[1])
    successor.take_over(description="the disk is gone")
    successor.create(ids[1])
    verified = successor.verify(public_keys=[key.public, other_key.public])

    assert (True, ["took_over"]) == (verified.valid, [one.code for one in verified.warnings])
    assert [("unknown_key", 1)] == told(successor.verify())
    with pytest.raises(ConfigError, match="nothing to take over"):
        successor.take_over()


def test_without_a_key_receipts_are_read(ledger, book):
    """Who only reads needs none; who signs is told."""
    receipt = book.create(settle(ledger, 1)[0])
    reader = Receipts(ledger)

    assert (receipt,) == reader.list()
    assert reader.verify(public_keys=book.public_keys())
    for sign in (reader.create, reader.verify, reader.public_keys, reader.take_over):
        with pytest.raises(ConfigError, match="key: there is none"):
            sign()


def test_an_export_is_verified_anywhere(ledger, book, other_key, tmp_path):
    """With the public key alone; with rows those too; one altered byte shows."""
    ids = settle(ledger, *range(6))
    book.create(ids[0])
    book.rotate(other_key)
    book.create(ids[1:])
    names = ("chain.json", "chain.jsonl", "chain.ndjson", "chain.JSONL", "chain")
    for path, rows in product([tmp_path / name for name in names], (False, True)):
        assert 3 == book.export(path, rows=rows)
        verified = verify_receipts(path, book.public_keys().to_json(), anchor=book.anchor())
        assert (True, 3, 6 if rows else 0) == (verified.valid, verified.receipts, verified.calls), path.name
        path.write_text(path.read_text().replace("gpt-4o", "gpt-4", 1))
        assert not verify_receipts(path, book.public_keys()), path.name


def test_an_export_has_a_name_of_its_format(book, tmp_path):
    """Another is refused, and nothing is written."""
    for name in ("chain.xml", "chain.csv", "chain.txt"):
        with pytest.raises(ConfigError, match=r"^path: no format has the suffix .*\.jsonl, \.ndjson or \.json"):
            book.export(tmp_path / name)
        assert not (tmp_path / name).exists()


def test_torn_and_foreign_lines_are_told(ledger, book, tmp_path):
    """A line that is no JSON, one that has a name twice, one that is no receipt; the others are verified all the same."""
    for call_id in settle(ledger, 1, 2):
        book.create(call_id)
    path = tmp_path / "chain.jsonl"
    book.export(path)
    with path.open("a") as file:
        file.write('{"a":1,"a":2}\n7\n{"receipt": {}, "calls": 3}\n{"receipt')
    verified = verify_receipts(path, book.public_keys())

    assert {3, 4, 5, 6} == {one.position for one in verified.problems}
    assert any("'a' twice" in one.text for one in verified.problems)


@each("content", ["", "x", "{", '{"a":1,"a":1}', "[NaN]"])
def test_files_that_are_no_json(tmp_path, content):
    """An error that names the file."""
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(InvalidRequest, match=r"r\.json: "):
        verify_receipts(tmp_path / "r.json", SigningKey(bytes(32)).public)
    with pytest.raises(ConfigError, match="cannot be read"):
        verify_receipts(tmp_path / "none.json", SigningKey(bytes(32)).public)


def test_an_export_that_cannot_be_written(ledger, book, tmp_path):
    """Told with the place; an empty ledger has an empty export."""
    with pytest.raises(ConfigError, match="cannot be written"):
        book.export(tmp_path / "nowhere" / "chain.json")
    assert 0 == book.export(tmp_path / "chain.json")
    assert [] == json.loads((tmp_path / "chain.json").read_text())


def test_the_clock_is_the_callers(ledger, key):
    """The time that is signed is that of the clock that was handed in, stored as it is signed."""
    clock = ManualClock()
    receipt = Receipts(ledger, key, clock=clock).create(settle(ledger, 1)[0])
    with ledger.engine.connect() as connection:
        stored = connection.execute(text("SELECT created_at, document FROM llmdispatcher_receipts")).one()

    assert clock.now() == receipt.timestamp == Receipt(stored[1]).timestamp
    assert micros(clock.now()) == stored[0]


def test_a_ledger_that_is_away(tmp_path, key):
    """An error of the ledger's, whatever is asked."""
    book = Receipts(Ledger(tmp_path), key)
    for ask in (book.create, book.list, book.anchor, book.verify, book.take_over):
        with pytest.raises(LedgerError):
            ask()
