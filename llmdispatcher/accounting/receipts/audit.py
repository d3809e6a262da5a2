"""Compare receipts with the ledger that they came from: the rows of receipts, and the rows of the calls that they certify."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import attrs
from sqlalchemy import Connection, func, select

from ...errors import InvalidRequest
from ..ledger.queries import erased_calls, pruned_before
from ..ledger.schema import receipt_calls, receipts
from ..units import micros
from . import store
from .format import canonical, moment_text, parse_json, parse_moment
from .keys import PublicKeys
from .receipt import ReceiptAnchor, differences
from .store import StoredReceipt
from .verify import (
    CertifiedCall,
    ChainCheck,
    Problem,
    ReceiptVerification,
    Source,
    SourceReceipts,
    call_problems,
    extend_trust,
    form_problems,
    item_problems,
    problem,
    read_source,
)


def audit(connection: Connection, trusted: PublicKeys, source: Source | None, anchor: ReceiptAnchor | None) -> ReceiptVerification:
    """Verify the whole chain of a ledger, or the receipts of a source, against what the ledger has."""
    rotations = [_document_of(row) for row in store.stored_receipts(connection, receipts.c.receipt_type == "rotation")]
    if source is None:
        check = ChainCheck(extend_trust(trusted, rotations))
        problems = list(_check_ledger(connection, check, anchor))
    else:
        found = read_source(source)
        if not found.chain and anchor:
            raise InvalidRequest("anchor: one receipt by itself is no chain; leave source out to verify the ledger's chain")
        check = ChainCheck(extend_trust(trusted, chain(rotations, [item.document for item in found.items])))
        problems = list(_check_source(connection, check, found, anchor))
    return check.verification(problems)


def _check_ledger(connection: Connection, check: ChainCheck, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    retention = _RetentionFilter(connection, check)
    certified = store.CallsByReceipt(store.certified_calls(connection))
    for position, row in enumerate(store.stored_receipts(connection), 1):
        document = _document_of(row)
        yield from (problem(document, position, "stored", text, field=field) for field, text in _row_faults(row, document))
        calls = certified.of(row.sequence)
        yield from retention.filter(check.read(document, calls), document, position)
        yield from _uncertified_problems(document, position, calls)
    yield from check.check_chain(anchor)
    yield from _stray_problems(connection)


def _check_source(
    connection: Connection, check: ChainCheck, found: SourceReceipts, anchor: ReceiptAnchor | None
) -> Iterator[Problem]:
    retention = _RetentionFilter(connection, check)
    for position, item in enumerate(found.items, 1):
        yield from item_problems(item, check, position)
        document = item.document
        row = _find_row(connection, document)
        if row is None:
            yield problem(document, position, "stored", "the ledger has no receipt of this id", field="receipt_id")
            continue
        theirs = _document_of(row)
        for path in differences(theirs, document):
            yield problem(document, position, "stored", "the ledger's receipt has another value there", field=path or None)
        if not any(form_problems(theirs, position)) and "calls_digest" in theirs:
            calls = [call for _, group in store.certified_calls(connection, row.sequence, row.sequence) for call in group]
            yield from retention.filter(call_problems(theirs, check.count_calls(calls), position), theirs, position)
    if found.chain:
        yield from check.check_chain(anchor)


def _document_of(row: StoredReceipt) -> Any:
    """The fields in a row; ``None`` if its text is not JSON."""
    try:
        return parse_json(row.document)
    except InvalidRequest:
        return None


def _find_row(connection: Connection, document: Any) -> StoredReceipt | None:
    receipt_id = document.get("receipt_id") if isinstance(document, dict) else None
    if not isinstance(receipt_id, str):
        return None
    return next(store.stored_receipts(connection, receipts.c.receipt_id == receipt_id), None)


def _row_faults(row: StoredReceipt, document: Any) -> Iterator[tuple[str, str]]:
    """Columns that differ from the document, and a document that is not in canonical form."""
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


def _uncertified_problems(document: Any, position: int, calls: list[CertifiedCall]) -> Iterator[Problem]:
    if calls and isinstance(document, dict) and "calls_digest" not in document:
        text = f"{len(calls)} calls are noted as certified by it, which certifies none"
        yield problem(document, position, "calls_digest", text)


def _stray_problems(connection: Connection) -> Iterator[Problem]:
    """Calls that are certified by receipts that do not exist."""
    known = select(receipts.c.sequence)
    query = select(receipt_calls.c.sequence, func.count()).where(receipt_calls.c.sequence.not_in(known))
    for sequence, count in connection.execute(query.group_by(receipt_calls.c.sequence)):
        text = f"{count} calls are noted as certified by it, and it is not there"
        yield Problem(code="stored", text=text, sequence=sequence)


class _RetentionFilter:
    """Turns missing rows into one warning if retention may have deleted them, and altered ones if their user was erased.

    They cannot be compared any more.
    """

    def __init__(self, connection: Connection, check: ChainCheck) -> None:
        self._before = pruned_before(connection)
        self._erased = erased_calls(connection)
        self._check = check

    def filter(self, problems: Iterable[Problem], document: Any, position: int) -> Iterator[Problem]:
        """The problems without those of deleted rows, and of rows whose user was erased."""
        gone = erased = 0
        for one in problems:
            if one.code == "call_altered" and one.call_id in self._erased and _may_be_erasure(one):
                erased += 1
            elif one.code == "call_missing" and self._is_pruned(document, one.call_id or ""):
                gone += 1
            else:
                yield one
        if gone:
            text = f"{gone} rows of its calls were deleted by retention"
            self._check.warnings.append(problem(document, position, "calls_pruned", text))
        if erased:
            text = f"the user of {erased} of its calls was erased"
            self._check.warnings.append(problem(document, position, "calls_erased", text))

    def _is_pruned(self, document: dict[str, Any], call_id: str) -> bool:
        """Whether the call may have begun before the mark, by the first half of its id, within the receipt's span."""
        if "summary" in document:
            start, end = (micros(parse_moment(document["summary"][name])) for name in ("start", "end"))
        else:
            start = end = micros(parse_moment(document["call"]["begun_at"]))
        try:
            begun = int(call_id[:16], 16)
        except ValueError:
            begun = end
        return (begun if start <= begun <= end else end) < self._before


def _may_be_erasure(altered: Problem) -> bool:
    """Whether a row differs by what an erasure takes out; a receipt of one call shows the other fields."""
    return altered.field in (None, "call.id_at_origin") and "," not in altered.text
