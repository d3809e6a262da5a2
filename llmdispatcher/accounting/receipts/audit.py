"""Compare receipts with the ledger that they came from: the rows of receipts, and the rows of the calls that they certify."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs
from sqlalchemy import Connection, func, select

from ...errors import InvalidRequest
from ..ledger.queries import pruned_before
from ..ledger.schema import receipt_calls, receipts
from ..units import micros
from . import store
from .format import canonical, moment_of, moment_text, parsed
from .keys import PublicKeys
from .receipt import ReceiptAnchor, differences
from .store import StoredReceipt
from .verify import (
    CertifiedCall,
    ChainCheck,
    Problem,
    Read,
    ReceiptVerification,
    Source,
    call_problems,
    form_problems,
    item_problems,
    problem,
    read,
    vouched,
)


def audit(connection: Connection, trusted: PublicKeys, source: Source | None, anchor: ReceiptAnchor | None) -> ReceiptVerification:
    """Verify the whole chain of a ledger, or the receipts of a source, against what the ledger has."""
    rotations = [_document(row) for row in store.stored(connection, receipts.c.receipt_type == "rotation")]
    if source is None:
        check = ChainCheck(vouched(trusted, rotations))
        problems = list(_whole(connection, check, anchor))
    else:
        found = read(source)
        if not found.chain and anchor:
            raise InvalidRequest("anchor: one receipt by itself is no chain; leave source out to verify the ledger's chain")
        check = ChainCheck(vouched(trusted, chain(rotations, [item.document for item in found.items])))
        problems = list(_given(connection, check, found, anchor))
    return check.verification(problems)


def _whole(connection: Connection, check: ChainCheck, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    retention = _Retention(connection, check)
    certified = store.Merged(store.certified_calls(connection))
    for position, row in enumerate(store.stored(connection), 1):
        document = _document(row)
        yield from (problem(document, position, "stored", text, field=field) for field, text in _row_faults(row, document))
        calls = certified.of(row.sequence)
        yield from retention.sifted(check.read(document, calls), document, position)
        yield from _of_none(document, position, calls)
    yield from check.together(anchor)
    yield from _strays(connection)


def _given(connection: Connection, check: ChainCheck, found: Read, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    retention = _Retention(connection, check)
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
        if not any(form_problems(theirs, position)) and "calls_digest" in theirs:
            calls = [call for _, group in store.certified_calls(connection, row.sequence, row.sequence) for call in group]
            yield from retention.sifted(call_problems(theirs, check.counted(calls), position), theirs, position)
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


class _Retention:
    """Rows that retention has deleted are no problem but a warning: what is gone cannot be compared any more."""

    def __init__(self, connection: Connection, check: ChainCheck) -> None:
        self._before = pruned_before(connection)
        self._check = check

    def sifted(self, problems: Iterable[Problem], document: Any, position: int) -> Iterator[Problem]:
        """The problems without those of deleted rows, which become one warning."""
        gone = 0
        for one in problems:
            if one.code == "call_missing" and self._may_be_gone(document, one.call_id or ""):
                gone += 1
            else:
                yield one
        if gone:
            text = f"{gone} rows of its calls were deleted by retention"
            self._check.warnings.append(problem(document, position, "calls_pruned", text))

    def _may_be_gone(self, document: dict[str, Any], call_id: str) -> bool:
        """Whether the call began before the mark: as the receipt tells, else as the first half of its id does."""
        said = document["summary"] if "summary" in document else dict.fromkeys(("start", "end"), document["call"]["begun_at"])
        start, end = (micros(moment_of(said[name])) for name in ("start", "end"))
        try:
            begun = int(call_id[:16], 16)
        except ValueError:
            begun = end
        return (begun if start <= begun <= end else end) < self._before
