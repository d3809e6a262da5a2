"""Receipts against the ledger that they are of: the rows of receipts, and the rows of calls that they certify."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain as joined
from typing import Any

import attrs
from sqlalchemy import Connection, func, select

from ..errors import InvalidRequest
from ..ledger.schema import receipt_calls, receipts
from ..ledger.views import pruned_before
from . import store
from .canonical import canonical, moment_text, parsed
from .chain import ChainCheck, vouched
from .checking import CertifiedCall, call_problems, problem
from .files import Read, Source, read
from .findings import Problem, Verification
from .keys import PublicKeys
from .receipt import ReceiptAnchor, differences
from .store import StoredReceipt
from .verifying import item_problems


def audit(connection: Connection, trusted: PublicKeys, source: Source | None, anchor: ReceiptAnchor | None) -> Verification:
    """Verify the whole chain of a ledger, or the receipts of a source, against what the ledger has."""
    rotations = [_document(row) for row in store.stored(connection, receipts.c.receipt_type == "rotation")]
    if source is None:
        check = ChainCheck(vouched(trusted, rotations))
        problems = list(_whole(connection, check, anchor))
    else:
        found = read(source)
        if not found.chain and anchor:
            raise InvalidRequest("anchor: one receipt by itself is no chain; leave source out to verify the ledger's chain")
        check = ChainCheck(vouched(trusted, joined(rotations, [item.document for item in found.items])))
        problems = list(_given(connection, check, found, anchor))
    return _with_retention(connection, check.verification(problems))


def _whole(connection: Connection, check: ChainCheck, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    certified = store.Merged(store.certified_calls(connection))
    for position, row in enumerate(store.stored(connection), 1):
        document = _document(row)
        yield from (problem(document, position, "stored", text, field=field) for field, text in _row_faults(row, document))
        calls = certified.of(row.sequence)
        yield from check.read(document, calls)
        yield from _of_none(document, position, calls)
    yield from check.together(anchor)
    yield from _strays(connection)


def _given(connection: Connection, check: ChainCheck, found: Read, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    for position, item in enumerate(found.items, 1):
        yield from item_problems(item, check, position)
        document = item.document
        row = _row_of(connection, document)
        if row is None:
            yield problem(document, position, "stored", "the ledger has no receipt of this id", field="receipt_id")
            continue
        theirs = _document(row)
        for path in differences(theirs, document):
            yield problem(document, position, "stored", "the ledger's receipt has another value there", field=path or None)
        if isinstance(theirs, dict) and "calls_digest" in theirs:
            calls = [call for _, group in store.certified_calls(connection, row.sequence, row.sequence) for call in group]
            yield from call_problems(theirs, check.counted(calls), position)
    if found.chain:
        yield from check.together(anchor)


def _document(row: StoredReceipt) -> Any:
    """The fields in a row; ``None`` for a text that is no JSON."""
    try:
        return parsed(row.document)
    except InvalidRequest:
        return None


def _row_of(connection: Connection, document: Any) -> StoredReceipt | None:
    said = document.get("receipt_id") if isinstance(document, dict) else None
    return next(store.stored(connection, receipts.c.receipt_id == said), None) if isinstance(said, str) else None


def _row_faults(row: StoredReceipt, document: Any) -> Iterator[tuple[str, str]]:
    """Columns that say something else than the document, and a document that is not in its one form."""
    if not isinstance(document, dict):
        yield "document", f"the row of sequence {row.sequence} has no JSON"
        return
    columns: Mapping[str, Any] = {**attrs.asdict(row), "timestamp": moment_text(row.created_at)}
    for name in ("sequence", "receipt_id", "receipt_type", "key_id", "timestamp"):
        if document.get(name) != columns[name]:
            column = "created_at" if name == "timestamp" else name
            yield name, f"its row has {columns[name]!r} in the column {column}"
    try:
        if canonical(document).decode() != row.document:
            yield "document", "the text in the row is not the canonical one"
    except InvalidRequest:
        return


def _of_none(document: Any, position: int, calls: list[CertifiedCall]) -> Iterator[Problem]:
    if calls and isinstance(document, dict) and "calls_digest" not in document:
        text = f"{len(calls)} calls are noted as certified by it, which certifies none"
        yield problem(document, position, "calls_digest", text)


def _strays(connection: Connection) -> Iterator[Problem]:
    """Calls noted as certified by receipts that are not there."""
    known = select(receipts.c.sequence)
    query = select(receipt_calls.c.sequence, func.count()).where(receipt_calls.c.sequence.not_in(known))
    for sequence, count in connection.execute(query.group_by(receipt_calls.c.sequence)):
        text = f"{count} calls are noted as certified by it, and it is not there"
        yield Problem(code="stored", text=text, sequence=sequence)


def _with_retention(connection: Connection, found: Verification) -> Verification:
    """Rows that retention has deleted are no problem, but a warning: what was deleted cannot be compared any more."""
    before = pruned_before(connection)
    gone = [one for one in found.problems if one.code == "call_missing" and _begun(one.call_id or "") < before]
    if not gone:
        return found
    left = tuple([one for one in found.problems if one not in gone])
    warnings = tuple([attrs.evolve(one, code="call_pruned", text="its row was deleted by retention") for one in gone])
    return attrs.evolve(found, problems=left, warnings=found.warnings + warnings)


def _begun(call_id: str) -> float:
    """The microsecond at which a call began, as the first half of its id tells; never for an id of another kind."""
    try:
        return int(call_id[:16], 16) if len(call_id) == 32 else float("inf")
    except ValueError:
        return float("inf")
