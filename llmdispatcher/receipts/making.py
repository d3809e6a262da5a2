"""Receipts before they are signed: what goes into each kind of document."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import attrs

from ..errors import InvalidRequest
from .canonical import MOST, canonical, moment_text
from .forms import VERSION, signature_text
from .keys import SigningKey
from .receipt import Receipt, signed
from .rows import Tally, calls_digest, row_digest, shown_call


@attrs.frozen
class Words:
    """What the signer says of a receipt; any text and any number of tags."""

    description: str = ""
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, description: str, tags: Iterable[str]) -> Words:
        """Raises :class:`InvalidRequest` for what is no text, or none that JSON can carry."""
        found = cls(description, (tags,) if isinstance(tags, str) else tuple(tags))
        if not all(isinstance(word, str) for word in (description, *found.tags)):
            raise InvalidRequest("description: it and the tags are texts; give a text, and a list of texts")
        canonical([description, *found.tags])
        return found

    def fields(self) -> dict[str, Any]:
        """As a receipt has them."""
        return {"description": self.description, "tags": list(self.tags)}


@attrs.frozen
class Draft:
    """What a receipt is about to say of calls, and which rows it certifies, by id and digest."""

    fields: Mapping[str, Any]
    certified: tuple[tuple[str, str], ...] = ()


def single(facts: Mapping[str, Any]) -> Draft:
    """Of one call."""
    certified = ((facts["id"], row_digest(facts)),)
    return Draft({"receipt_type": "single", "call": shown_call(facts), "calls_digest": calls_digest(certified)}, certified)


def batch(rows: Iterable[Mapping[str, Any]], selection: Mapping[str, Any]) -> Draft:
    """Of several; ``selection`` says how they were chosen."""
    tally, certified = Tally(), []
    for facts in rows:
        tally.add(facts)
        certified.append((facts["id"], row_digest(facts)))
    summary = tally.summary()
    if summary["total_tokens"] > MOST:
        raise InvalidRequest("calls: their tokens are beyond 2**53 - 1; certify fewer at once")
    fields = {"selection": dict(selection), "summary": summary, "calls_digest": calls_digest(certified)}
    return Draft({"receipt_type": "batch", **fields}, tuple(certified))


def selection(by: str, wanted: Mapping[str, Any], certified_before: int) -> dict[str, Any]:
    """How calls were chosen, and how many such calls were left out since they have receipts of their own."""
    moments = {name: wanted.get(name) for name in ("since", "until")}
    texts = {name: wanted.get(name) for name in ("origin", "id_at_origin")}
    return {
        "by": by,
        **{name: None if moment is None else moment_text(moment) for name, moment in moments.items()},
        **texts,
        "certified_before": certified_before,
    }


def following(last: Receipt | None, now: datetime) -> dict[str, Any]:
    """The fields of the next receipt that say where it is in the chain; the first one names the ledger by chance."""
    anchor = last.anchor if last is not None else None
    return {
        "version": VERSION,
        "receipt_id": f"rcpt_{secrets.token_hex(16)}",
        "ledger": anchor.ledger if anchor is not None else f"ledger_{secrets.token_hex(16)}",
        "sequence": anchor.sequence + 1 if anchor is not None else 1,
        "previous": anchor.hash if anchor is not None else None,
        "timestamp": moment_text(now),
    }


def rotation(place: Mapping[str, Any], words: Words, old: SigningKey, new: SigningKey) -> Receipt:
    """The record that another key signs from here on; both keys sign it."""
    body = {
        **place,
        **words.fields(),
        "receipt_type": "rotation",
        "key_id": old.key_id,
        "old_key": old.public.as_dict(),
        "new_key": new.public.as_dict(),
    }
    return signed({**body, "acceptance": signature_text(new.sign(canonical(body)))}, old)


def takeover(place: Mapping[str, Any], words: Words, new: SigningKey) -> Receipt:
    """The record that a key signs from here on since the one before is lost; who verifies must know it from elsewhere."""
    fields = {"receipt_type": "rotation", "old_key": None, "new_key": new.public.as_dict(), "acceptance": None}
    return signed({**place, **words.fields(), **fields}, new)
