"""The receipts of one ledger: create, find, export and verify them.

A receipt certifies calls chosen by ids or by a range. Each of them must be settled and have no receipt yet.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Unpack, cast

import attrs

from ...errors import ConfigError, InvalidRequest
from ...runtime import SYSTEM_CLOCK, Clock
from ..ledger.ledger import Ledger
from .format import MOST, VERSION, canonical, moment_text, require_extra, signature_text
from .keys import Keys, PublicKeys, SigningKey
from .receipt import Range, Receipt, ReceiptAnchor, Summary, sign_document
from .rows import CallTotals, call_fields, calls_digest, row_digest
from .verify import CertifiedCall, ReceiptVerification, Source, extend_trust, is_lines, write_receipts

try:
    from sqlalchemy import Connection

    from ..ledger.queries import reading
    from ..ledger.schema import receipts
    from . import store
    from .audit import audit
except ModuleNotFoundError as missing:  # `require_extra` says so
    if missing.name != "sqlalchemy":
        raise


def label_fields(description: str = "", tags: Iterable[str] = ()) -> dict[str, Any]:
    """The signer's description and tags. Raises :class:`InvalidRequest` for what is no text, or none that JSON can hold."""
    listed = [tags] if isinstance(tags, str) else list(tags)
    if not all(isinstance(word, str) for word in (description, *listed)):
        raise InvalidRequest("description: it and the tags are texts; give a text, and a list of texts")
    canonical([description, *listed])
    return {"description": description, "tags": listed}


@attrs.frozen
class Draft:
    """What a receipt will say of calls, and the rows that it certifies, by id and digest."""

    fields: Mapping[str, Any]
    certified: tuple[tuple[str, str], ...] = ()


def draft_single(facts: Mapping[str, Any]) -> Draft:
    """The draft for one call."""
    certified = ((facts["id"], row_digest(facts)),)
    return Draft({"receipt_type": "single", "call": call_fields(facts), "calls_digest": calls_digest(certified)}, certified)


def draft_batch(rows: Iterable[Mapping[str, Any]], selection_fields: Mapping[str, Any]) -> Draft:
    """The draft for several calls; ``selection_fields`` says how they were chosen."""
    totals, certified = CallTotals(), []
    for facts in rows:
        totals.add(facts)
        certified.append((facts["id"], row_digest(facts)))
    summary = totals.summary()
    if summary["total_tokens"] > MOST:
        raise InvalidRequest("calls: their tokens are beyond 2**53 - 1; certify fewer at once")
    fields = {"selection": dict(selection_fields), "summary": summary, "calls_digest": calls_digest(certified)}
    return Draft({"receipt_type": "batch", **fields}, tuple(certified))


def selection_fields(by: str, selected: Mapping[str, Any], certified_before: int) -> dict[str, Any]:
    """How calls were chosen, and how many such calls were left out since they have receipts already."""
    moments = {name: selected.get(name) for name in ("since", "until")}
    texts = {name: selected.get(name) for name in ("origin", "id_at_origin")}
    return {
        "by": by,
        **{name: None if moment is None else moment_text(moment) for name, moment in moments.items()},
        **texts,
        "certified_before": certified_before,
    }


def next_place(last: Receipt | None, now: datetime) -> dict[str, Any]:
    """The fields that place the next receipt in the chain; the first one gets a random id for the ledger."""
    anchor = last.anchor if last is not None else None
    return {
        "version": VERSION,
        "receipt_id": f"rcpt_{secrets.token_hex(16)}",
        "ledger": anchor.ledger if anchor is not None else f"ledger_{secrets.token_hex(16)}",
        "sequence": anchor.sequence + 1 if anchor is not None else 1,
        "previous": anchor.hash if anchor is not None else None,
        "timestamp": moment_text(now),
    }


def rotation(place: Mapping[str, Any], label: Mapping[str, Any], old: SigningKey | None, new: SigningKey) -> Receipt:
    """A receipt by which a new key signs the following ones; both keys sign it.

    If the ``old`` key is lost (``None``), the new key signs alone, and verifiers must know it from elsewhere.
    """
    keys = {"old_key": old.public.as_dict() if old is not None else None, "new_key": new.public.as_dict()}
    body = {**place, **label, "receipt_type": "rotation", **keys}
    if old is None:
        return sign_document({**body, "acceptance": None}, new)
    acceptance = signature_text(new.sign(canonical({**body, "key_id": old.key_id})))
    return sign_document({**body, "acceptance": acceptance}, old)


Calls = str | Iterable[str] | None
"""One id, several, or ``None`` for all calls in a range."""

_NAMES = Range.__annotations__.keys()


def draft_receipt(connection: Connection, calls: Calls, chosen: Range) -> Draft:
    """The draft of a single receipt for one id, of a batch for anything else; raises :class:`InvalidRequest`."""
    selected = check_range(chosen)
    if calls is None:
        rows = store.uncertified_rows(connection, selected)
        before = store.count_certified(connection, selected) if selected else 0
        return draft_batch(rows, selection_fields("range" if selected else "uncertified", selected, before))
    if selected:
        raise InvalidRequest(f"calls: ids and {', '.join(selected)} do not go together; give one of them")
    if isinstance(calls, str):
        return draft_single(next(_facts_by_id(connection, [calls])))
    return draft_batch(_facts_by_id(connection, _check_ids(calls)), selection_fields("ids", {}, 0))


def check_range(chosen: Range) -> Range:
    """The given part of a range; raises :class:`InvalidRequest` for an unknown name, a naive datetime or no text."""
    given: dict[str, Any] = {name: value for name, value in chosen.items() if value is not None}
    for name, value in given.items():
        if name not in _NAMES:
            raise InvalidRequest(f"{name}: calls are not chosen by it; give {', '.join(_NAMES)}")
        if name in ("since", "until") and (not isinstance(value, datetime) or value.tzinfo is None):
            raise InvalidRequest(f"{name}: {value!r} is no time with a zone; give an aware datetime")
        if name in ("origin", "id_at_origin") and not isinstance(value, str):
            raise InvalidRequest(f"{name}: {value!r} is no text; give the text that the calls have")
    return cast(Range, given)


def _facts_by_id(connection: Connection, ids: list[str]) -> Iterator[dict[str, Any]]:
    """The facts of exactly these calls; raises :class:`InvalidRequest` for the first that cannot be certified."""
    missing = set(ids)
    for facts, sequence in store.rows_by_id(connection, ids):
        if sequence is not None:
            raise InvalidRequest(f"calls: {facts['id']} has a receipt, sequence {sequence}; leave it out")
        if facts["status"] in store.UNSETTLED:
            raise InvalidRequest(
                f"calls: {facts['id']} is {facts['status']}: its row may still change; certify it when it has ended"
            )
        missing.discard(facts["id"])
        yield facts
    if missing:
        raise InvalidRequest(f"calls: the ledger has no {min(missing)}; flush() it first, or give another id")


def _check_ids(ids: Iterable[str]) -> list[str]:
    found = list(ids)
    if not found or not all(isinstance(one, str) for one in found):
        raise InvalidRequest("calls: it names none; give ids of the ledger, or leave it out for all that have no receipt")
    return found


class Receipts:
    """The receipts of a ledger, in one chain; safe to share between threads and processes. The constructor does no I/O.

    ``key`` signs; without one receipts can be read and verified. A call has at most one receipt, so that receipts can be added up.
    Methods raise :class:`~llmdispatcher.LedgerError` if the database is unavailable.
    """

    def __init__(self, ledger: Ledger, key: SigningKey | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        require_extra("sqlalchemy")
        self._ledger = ledger
        self._key = key
        self._clock = clock

    def create(self, calls: Calls = None, *, description: str = "", tags: Iterable[str] = (), **chosen: Unpack[Range]) -> Receipt:
        """Sign a receipt: for one call by its id, for several by their ids, or for all settled calls that have none yet.

        The last can be narrowed by ``since`` and ``until`` (when the call began; aware), ``origin`` and ``id_at_origin``. Calls in
        progress, and those of a process that died, are left for later. Raises :class:`InvalidRequest` if there is no such call,
        and for an id that has a receipt, is not settled or is unknown; :class:`ConfigError` without the key that signs next.
        """
        key, label = self._own_key(), label_fields(description, tags)
        with reading(self._ledger) as connection:  # outside of the chain's lock, since there may be a million
            seen = store.head(connection)
            draft = draft_receipt(connection, calls, chosen)
        with store.chain_transaction(self._ledger) as connection:
            newer = store.certified_since(connection, seen.sequence if seen is not None else 0)
            if not {call_id for call_id, _ in draft.certified}.isdisjoint(newer):  # another was faster; now the chain is locked
                draft = draft_receipt(connection, calls, chosen)
            receipt = sign_document({**self._place(connection, key), **label, **draft.fields}, key)
            store.append(connection, receipt, draft.certified)
        return receipt

    def preview(self, calls: Calls = None, **chosen: Unpack[Range]) -> Summary:
        """Return the summary that a batch receipt of these calls would have; signs and writes nothing."""
        with reading(self._ledger) as connection:
            draft = draft_receipt(connection, [calls] if isinstance(calls, str) else calls, chosen)
        return Summary.of(draft.fields["summary"])

    def create_receipt(
        self, model: str, input_tokens: int, output_tokens: int, cost: Decimal | float | str | None = None
    ) -> Receipt:
        """Record a call that was made elsewhere, and sign a receipt for it: ``.id`` and ``.signature``.

        ``model`` may pin its vendor, ``"openai:gpt-4o"``; a missing ``cost`` (US dollars) is computed from the catalog.
        """
        recorded = self._ledger.record(None, model, input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)
        return self.create(recorded.id)

    def rotate(self, new_key: SigningKey, *, description: str = "") -> Receipt:
        """Let another key sign from now on, by a receipt that both keys sign; this object then signs with the new key.

        Save the new key before. Older receipts are verified with the old public key, which :meth:`public_keys` keeps.
        """
        old, label = self._own_key(), label_fields(description)
        if new_key.key_id == old.key_id:
            raise ConfigError(f"new_key: {old.key_id} is the key that signs already; generate another")
        with store.chain_transaction(self._ledger) as connection:
            receipt = rotation(self._place(connection, old), label, old, new_key)
            store.append(connection, receipt, ())
        self._key = new_key
        return receipt

    def take_over(self, *, description: str = "") -> Receipt:
        """Continue with this key if the one before is lost.

        Verifiers must know both public keys from elsewhere, since neither vouches for the other; verification reports a warning.
        """
        key, label = self._own_key(), label_fields(description)
        with store.chain_transaction(self._ledger) as connection:
            last = store.head(connection)
            if last is None or last.next_key_id == key.key_id:
                raise ConfigError(f"key: there is nothing to take over, {key.key_id} may sign already; create receipts with it")
            receipt = rotation(next_place(last, self._clock.now()), label, None, key)
            store.append(connection, receipt, ())
        return receipt

    def get(self, receipt_id: str) -> Receipt | None:
        """Return the receipt with this id, or ``None``."""
        with reading(self._ledger) as connection:
            found = next(store.stored_receipts(connection, receipts.c.receipt_id == receipt_id), None)
        return Receipt(found.document) if found is not None else None

    def of_call(self, call_id: str) -> Receipt | None:
        """Return the receipt that has this call, or ``None``."""
        with reading(self._ledger) as connection:
            sequence = next((place for _facts, place in store.rows_by_id(connection, [call_id])), None)
            here = receipts.c.sequence == sequence
            found = next(store.stored_receipts(connection, here), None) if sequence is not None else None
        return Receipt(found.document) if found is not None else None

    def list(self, *, limit: int = 100, before: int | None = None, receipt_type: str | None = None) -> tuple[Receipt, ...]:
        """Return receipts, the newest first; ``before`` is the sequence to continue from."""
        with reading(self._ledger) as connection:
            return store.list_receipts(connection, limit, before, receipt_type)

    def certified_calls(self, receipt_id: str) -> tuple[str, ...]:
        """Return the ids of the calls that a receipt certifies; raises :class:`InvalidRequest` for an unknown id."""
        receipt = self.get(receipt_id)
        if receipt is None:
            raise InvalidRequest(f"receipt_id: {receipt_id!r} is none of this ledger; list() tells which there are")
        with reading(self._ledger) as connection:
            found = store.certified_calls(connection, receipt.sequence, receipt.sequence)
            return tuple([call.call_id for _, calls in found for call in calls])

    def uncertified_calls(self, *, limit: int = 1000, **chosen: Unpack[Range]) -> tuple[str, ...]:
        """Return the ids of settled calls that have no receipt, the oldest first."""
        with reading(self._ledger) as connection:
            return store.uncertified_ids(connection, check_range(chosen), limit)

    def anchor(self) -> ReceiptAnchor | None:
        """Return the end of the chain, to be kept where nobody can alter it; ``None`` before the first receipt."""
        with reading(self._ledger) as connection:
            last = store.head(connection)
        return last.anchor if last is not None else None

    def public_keys(self) -> PublicKeys:
        """Return the public key of this object, and the older ones that rotations lead back to; to be published."""
        key = self._own_key().public
        with reading(self._ledger) as connection:
            rotations = [
                Receipt(row.document).as_dict() for row in store.stored_receipts(connection, receipts.c.receipt_type == "rotation")
            ]
        return extend_trust(PublicKeys((key,), key.key_id), rotations)

    def export(self, path: str | os.PathLike[str], *, rows: bool = False) -> int:
        """Write the whole chain to a file; return the number of receipts.

        It is JSON Lines if its name ends in ``.jsonl`` or ``.ndjson``, JSON if it ends in ``.json`` or has no suffix.

        With ``rows`` the certified rows of the calls are included, users too, so that they can be verified elsewhere.
        Raises :class:`ConfigError` for another suffix, and if the file cannot be written.
        """
        target = Path(path)
        lines = is_lines(target)
        if not lines and target.suffix.lower() not in ("", ".json"):
            raise ConfigError(f"path: no format has the suffix {target.suffix!r}; use a name that ends in .jsonl, .ndjson or .json")
        try:
            with reading(self._ledger) as connection, target.open("w", encoding="utf-8", newline="\n") as file:
                return write_receipts(_chain(connection, rows), file, lines=lines)
        except OSError as error:
            raise ConfigError(f"path: {target} cannot be written ({error.strerror}); choose another place") from None

    def verify(
        self, source: Source | None = None, public_keys: Keys | None = None, *, anchor: ReceiptAnchor | None = None
    ) -> ReceiptVerification:
        """Compare receipts with this ledger: the chain, each signature, each certified row of a call.

        Without ``source`` the whole chain; with it these receipts, which must equal the ledger's. ``anchor`` is one that was kept
        before. ``public_keys`` are trusted instead of this object's own key. The result holds all problems.
        """
        trusted = PublicKeys.of(public_keys if public_keys is not None else self._own_key().public)
        with reading(self._ledger) as connection:
            return audit(connection, trusted, source, anchor)

    def _own_key(self) -> SigningKey:
        if self._key is None:
            raise ConfigError("key: there is none; give Receipts(ledger, key) the signing key, or verify with public_keys=")
        return self._key

    def _place(self, connection: Connection, key: SigningKey) -> dict[str, Any]:
        """The next place in the chain; raises :class:`ConfigError` if another key signs next."""
        last = store.head(connection)
        if last is not None and last.next_key_id != key.key_id:
            raise ConfigError(
                f"key: {last.next_key_id} signs this ledger's receipts, not {key.key_id}; load that key, rotate() with it,"
                " or where it is lost take_over() with this one"
            )
        return next_place(last, self._clock.now())


def _chain(connection: Connection, rows: bool) -> Iterator[tuple[Receipt, Iterable[CertifiedCall] | None]]:
    certified = store.CallsByReceipt(store.certified_calls(connection)) if rows else None
    for row in store.stored_receipts(connection):
        yield Receipt(row.document), None if certified is None else certified.of(row.sequence)
