"""Receipts in a row: whether each is signed by the key whose turn it is, and whether any is missing, moved, doubled or replaced.

::

    sequence 1  <- previous = sha256(receipt 1) -  sequence 2  <- ...  the head, whose hash an anchor has noted

One chain has one key at a time. A key is vouched for by being given, or by a rotation that both it and such a key have signed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from .canonical import canonical, digest
from .checking import CertifiedCall, call_problems, form_problems, problem, signature_problem
from .findings import Problem, ReceiptVerification
from .keys import PublicKey, PublicKeys
from .receipt import ReceiptAnchor


@attrs.frozen
class Link:
    """What the chain needs to remember of a receipt."""

    position: int
    sequence: int
    receipt_id: str
    ledger: str
    previous: str | None
    hash: str

    @classmethod
    def of(cls, document: Mapping[str, Any], position: int) -> Link:
        """That of a well-formed receipt."""
        hashed = digest(canonical(document))
        return cls(position, document["sequence"], document["receipt_id"], document["ledger"], document["previous"], hashed)

    def problem(self, code: str, text: str, field: str) -> Problem:
        """A problem of this receipt."""
        return Problem(
            code=code, text=text, position=self.position, sequence=self.sequence, receipt_id=self.receipt_id, field=field
        )


def vouched(public_keys: PublicKeys, documents: Iterable[Any]) -> PublicKeys:
    """The keys, and those to which rotations among the documents lead from them, forwards and backwards."""
    pairs = []
    for document in documents:
        if not isinstance(document, dict) or document.get("receipt_type") != "rotation":
            continue
        if document.get("old_key") is None or any(form_problems(document, 0)):
            continue
        old, new = (PublicKey.from_dict(document[name]) for name in ("old_key", "new_key"))
        if not any(signature_problem(document, old, 0)):
            pairs.append((old, new))
    found = {key.key_id: key for key in public_keys.keys}
    for _ in pairs:
        for one, other in pairs:
            if one.key_id in found or other.key_id in found:
                found |= {one.key_id: one, other.key_id: other}
    return PublicKeys(tuple(found.values()), public_keys.current_key_id)


class ChainCheck:
    """Reads receipts one after the other, as they come, and tells at the end what is wrong with them together."""

    def __init__(self, public_keys: PublicKeys, after: ReceiptAnchor | None = None) -> None:
        self._keys = public_keys
        self._after = after
        self._turn: str | None = None
        self._clock = ""
        self._links: list[Link] = []
        self._malformed: set[int] = set()
        self._read = self._calls = 0
        self.warnings: list[Problem] = []

    def read(self, document: Any, calls: Iterable[CertifiedCall] | None = None) -> Iterator[Problem]:
        """What is wrong with this receipt by itself, and with the rows of its calls where they are given."""
        self._read += 1
        position = self._read
        faulty = list(form_problems(document, position))
        yield from faulty
        if any(one.code == "form" for one in faulty):
            self._malformed |= {one.sequence for one in faulty if one.sequence is not None}
            return
        self._links.append(Link.of(document, position))
        yield from self._signed(document, position)
        self._look_at_clock(document, position)
        if calls is not None and "calls_digest" in document:
            yield from call_problems(document, self.counted(calls), position)

    def counted(self, calls: Iterable[CertifiedCall]) -> Iterator[CertifiedCall]:
        """The same calls, counted as they are looked at."""
        for call in calls:
            self._calls += 1
            yield call

    def _signed(self, document: dict[str, Any], position: int) -> Iterator[Problem]:
        """The key, its turn, the signature."""
        key_id = document["key_id"]
        key = self._keys.get(key_id)
        takes_over = "new_key" in document and document["old_key"] is None
        if takes_over:
            text = f"{key_id} took over by itself, without a word of the key before it"
            self.warnings.append(problem(document, position, "took_over", text, field="new_key"))
        elif self._turn not in (None, key_id):
            yield problem(document, position, "wrong_key", f"{key_id} signed it, where {self._turn} has its turn", field="key_id")
        self._turn = document["new_key"]["key_id"] if "new_key" in document else self._turn or key_id
        if key is None:
            text = f"nobody vouches for {key_id}: it is not among the public keys, and no rotation leads from them to it"
            yield problem(document, position, "unknown_key", text, field="key_id")
        else:
            yield from signature_problem(document, key, position)

    def _look_at_clock(self, document: dict[str, Any], position: int) -> None:
        if document["timestamp"] < self._clock:
            text = f"the clock went back: the receipt before it is of {self._clock}"
            self.warnings.append(problem(document, position, "clock_back", text, field="timestamp"))
        self._clock = document["timestamp"]

    def together(self, anchor: ReceiptAnchor | None = None) -> Iterator[Problem]:
        """What is wrong with all of them as one chain, which begins at 1 or behind ``after``, and has ``anchor`` in it."""
        first = self._after.sequence if self._after is not None else 0
        seen = {first: self._after.hash} if self._after is not None else {}
        yield from self._places(seen)
        yield from self._follow(seen)
        yield from _gaps({*seen, *self._malformed}, first)
        if anchor is not None:
            yield from self._noted(seen, anchor)

    def _places(self, seen: dict[int, str]) -> Iterator[Problem]:
        """Twice, out of order, of another ledger."""
        ledger = self._after.ledger if self._after is not None else self._links[0].ledger if self._links else None
        ids: set[str] = set()
        highest = min(seen, default=0)
        for link in self._links:
            if link.ledger != ledger:
                yield link.problem("ledger", f"it belongs to {link.ledger}, the chain to {ledger}", "ledger")
            if link.sequence in seen:
                same = "the same" if seen[link.sequence] == link.hash else "another"
                yield link.problem("duplicate", f"{same} receipt of this number stands before it", "sequence")
            elif link.receipt_id in ids:
                yield link.problem("duplicate", "its id is that of another receipt", "receipt_id")
            elif link.sequence < highest:
                yield link.problem("order", f"it stands behind sequence {highest}", "sequence")
            seen.setdefault(link.sequence, link.hash)
            ids.add(link.receipt_id)
            highest = max(highest, link.sequence)

    def _follow(self, seen: Mapping[int, str]) -> Iterator[Problem]:
        for link in self._links:
            before = seen.get(link.sequence - 1)
            if before is not None and link.previous != before:
                text = f"it was signed to follow another receipt {link.sequence - 1} than the one that is here"
                yield link.problem("previous", text, "previous")

    def _noted(self, seen: Mapping[int, str], anchor: ReceiptAnchor) -> Iterator[Problem]:
        if self._links and self._links[0].ledger != anchor.ledger:
            text = f"the anchor was noted for another ledger, {anchor.ledger}"
        elif anchor.sequence not in seen:
            text = f"the anchor has noted it, the chain ends with {max(seen, default=0)}: its end was cut off"
        elif seen[anchor.sequence] != anchor.hash:
            text = "it is not the receipt that the anchor has noted"
        else:
            return
        yield Problem(code="anchor", text=text, sequence=anchor.sequence)

    def verification(self, problems: Iterable[Problem]) -> ReceiptVerification:
        """The end."""
        last = max(self._links, key=lambda link: link.sequence, default=None)
        head = ReceiptAnchor(last.ledger, last.sequence, last.hash) if last is not None else self._after
        return ReceiptVerification(
            problems=tuple(problems), warnings=tuple(self.warnings), receipts=self._read, calls=self._calls, head=head
        )


def _gaps(seen: Iterable[int], first: int) -> Iterator[Problem]:
    """Numbers that are not there, each run of them as one."""
    expected = first + 1
    for sequence in sorted(seen):
        if sequence > expected:
            text = "it is missing" if sequence == expected + 1 else f"it and the following up to {sequence - 1} are missing"
            yield Problem(code="missing", text=text, sequence=expected)
        expected = max(expected, sequence + 1)
