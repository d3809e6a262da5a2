"""Verify receipts with nothing but the receipts and public keys: no ledger, no network.

Checked are each receipt by itself (form, sums, signature, the rows of its calls if they are at hand), and the chain: whether every
receipt is signed by the right key, and none is missing, moved, duplicated or replaced.

::

    sequence 1  <- previous = sha256(receipt 1) -  sequence 2  <- ...  the last one, whose hash an anchor has noted

A chain has one key at a time. A key is trusted because it is given, or because a trusted key and the new key have both signed its
rotation. Receipts are read from JSON and JSON Lines, alone or with the rows of their calls.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import attrs

from ...errors import ConfigError, InvalidRequest
from .format import (
    CERTIFIED,
    canonical,
    decode_base64url,
    digest,
    faults,
    form_of,
    money_text,
    parse_json,
    parse_money,
    parse_signature,
    require_extra,
)
from .keys import Keys, PublicKey, PublicKeys
from .receipt import Receipt, ReceiptAnchor, differences, omit_fields
from .rows import CallTotals, call_fields, calls_digest, exact_sum, row_digest

PROBLEMS = {
    "form": "a field is missing, unknown or malformed",
    "sum": "a field does not follow from the others",
    "unknown_key": "it is signed with a key that nobody vouches for",
    "wrong_key": "it is signed with another key than the chain's at this place",
    "signature": "the signature does not fit the content",
    "ledger": "it belongs to another ledger's chain",
    "missing": "a sequence number is not there",
    "duplicate": "a sequence number or an id is there twice",
    "order": "it stands behind a later one",
    "previous": "it does not follow the receipt before it",
    "anchor": "the chain is not the one whose head was noted",
    "stored": "the ledger has it otherwise, or not at all",
    "call_altered": "a call's row is not as it was certified",
    "call_missing": "a call's row is gone",
    "calls_digest": "the list of certified calls is not the one that was signed",
    "summary": "the calls come to something else",
}
"""The codes of problems, and what they mean."""

WARNINGS = {
    "clock_back": "it has an earlier time than the receipt before it",
    "took_over": "its key took over without a word of the one before",
    "calls_pruned": "rows of its calls were deleted by retention, and cannot be compared any more",
    "calls_erased": "the user of its calls was erased, and their rows cannot be compared any more",
}
"""The codes of warnings: what may be in order."""


@attrs.frozen(kw_only=True)
class Problem:
    """One problem. ``code`` is one of :data:`PROBLEMS` or :data:`WARNINGS`; the other fields say where, as far as they apply.

    ``sequence`` and ``receipt_id`` are those in the receipt, ``position`` counts the given receipts from 1; ``field`` is a
    path such as ``"summary.total_cost"``, ``call_id`` a row.
    """

    code: str
    text: str
    position: int | None = None
    sequence: int | None = None
    receipt_id: str | None = None
    field: str | None = None
    call_id: str | None = None

    def __str__(self) -> str:
        where = [f"sequence {self.sequence}" if self.sequence is not None else f"receipt {self.position}" if self.position else ""]
        where += [f"call {self.call_id}" if self.call_id else "", self.field or ""]
        return ": ".join([part for part in (*where, self.text) if part])


@attrs.frozen(kw_only=True)
class ReceiptVerification:
    """The result of a verification: ``valid``, and true as a boolean, if there is no problem.

    ``receipts`` and ``calls`` count what was checked; ``calls`` is 0 if only receipts were given. ``warnings`` may be
    in order: a clock that went back, a key that took over. ``head`` is the last receipt's anchor, to be kept elsewhere.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    receipts: int
    calls: int = 0
    head: ReceiptAnchor | None = None

    @property
    def valid(self) -> bool:
        """Whether there is no problem."""
        return not self.problems

    def __bool__(self) -> bool:
        return self.valid

    def __str__(self) -> str:
        counts = f"{self.receipts:,} receipts and {self.calls:,} calls" if self.calls else f"{self.receipts:,} receipts"
        if self.valid:
            return f"{counts}: valid"
        codes = ", ".join(f"{code} {count}" for code, count in Counter(one.code for one in self.problems).items())
        return "\n".join([f"{counts}: NOT valid ({codes})", *map(str, self.problems)])

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON can hold it."""
        return {
            "valid": self.valid,
            "algorithm": "Ed25519",
            "receipts": self.receipts,
            "calls": self.calls,
            "head": str(self.head) if self.head is not None else None,
            "problems": [attrs.asdict(one) for one in self.problems],
            "warnings": [attrs.asdict(one) for one in self.warnings],
        }


@attrs.frozen
class CertifiedCall:
    """A call's row with the digest that was certified; ``facts`` is ``None`` if the row is gone."""

    call_id: str
    digest: str
    facts: Mapping[str, Any] | None = None


def problem(document: Any, position: int, code: str, text: str, **where: Any) -> Problem:
    """A problem of a receipt, with the sequence and the id that the receipt has."""
    receipt_says = document if isinstance(document, dict) else {}
    sequence, receipt_id = receipt_says.get("sequence"), receipt_says.get("receipt_id")
    return Problem(
        code=code,
        text=text,
        position=position,
        sequence=sequence if type(sequence) is int else None,
        receipt_id=receipt_id if isinstance(receipt_id, str) else None,
        **where,
    )


def form_problems(document: Any, position: int) -> Iterator[Problem]:
    """Malformed fields; without any, fields that do not follow from others."""
    if not isinstance(document, dict):
        yield problem(document, position, "form", "it is no object of JSON")
        return
    found = list(faults(document, form_of(document)))
    try:
        canonical(document)
    except InvalidRequest as error:
        found.append(("", str(error)))
    for path, reason in found:
        yield problem(document, position, "form", reason, field=path or None)
    if not found:
        for path, reason in _sum_faults(document):
            yield problem(document, position, "sum", reason, field=path)


def _sum_faults(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Fields of a well-formed receipt that contradict others."""
    if (document["sequence"] == 1) != (document["previous"] is None):
        yield "previous", "only the first receipt of a ledger has none before it"
    if "new_key" in document:
        yield from _rotation_faults(document)
    if "call" in document:
        call = document["call"]
        if call["total_tokens"] != (call["input_tokens"] or 0) + (call["output_tokens"] or 0):
            yield "call.total_tokens", "it is not input and output together"
    if "summary" in document:
        yield from _summary_faults(document["summary"])


def _rotation_faults(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("old_key", "new_key"):
        entry = document[name]
        if entry is not None and PublicKey(decode_base64url(entry["public_key"], 32)).key_id != entry["key_id"]:
            yield f"{name}.key_id", "it is not the id of this key"
    old = document["old_key"]
    signer = document["new_key"] if old is None else old
    if signer["key_id"] != document["key_id"]:
        yield "key_id", "a rotation is signed by the old key, or where that is lost by the new one"
    if (old is None) != (document["acceptance"] is None) or not (old is None or is_accepted(document)):
        yield "acceptance", "it is not the new key's signature over this rotation"


def is_accepted(rotation: Mapping[str, Any]) -> bool:
    """Whether the new key has signed a rotation too, so that each key vouches for the other."""
    new = PublicKey(decode_base64url(rotation["new_key"]["public_key"], 32))
    return new.verifies(parse_signature(rotation["acceptance"]), canonical(omit_fields(rotation, "acceptance", "signature")))


def _summary_faults(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if summary["total_tokens"] != summary["input_tokens"] + summary["output_tokens"]:
        yield "summary.total_tokens", "it is not input and output together"
    if summary["start"] > summary["end"]:
        yield "summary.end", "it is before the start"
    shares = summary["by_model"].values()
    for name, total in (("calls", "total_calls"), ("tokens", "total_tokens")):
        if sum(share[name] for share in shares) != summary[total]:
            yield f"summary.{total}", "the models' shares come to something else"
    if money_text(exact_sum(parse_money(share["cost"]) for share in shares)) != summary["total_cost"]:
        yield "summary.total_cost", "the models' shares come to something else"


def signature_problem(document: dict[str, Any], key: PublicKey, position: int) -> Iterator[Problem]:
    """A problem if the key's owner did not sign the other fields; the document is well-formed."""
    if not key.verifies(parse_signature(document["signature"]), canonical(omit_fields(document, "signature"))):
        text = "it is not what this key signed over these fields: at least one of them was altered"
        yield problem(document, position, "signature", text, field="signature")


def call_problems(document: dict[str, Any], calls: Iterable[CertifiedCall], position: int) -> Iterator[Problem]:
    """What is wrong with the rows of a single or batch receipt; the sums of intact rows are compared, too."""
    totals, noted, intact = CallTotals(), [], True
    shown: dict[str, Any] | None = None
    for call in calls:
        noted.append((call.call_id, call.digest))
        if call.facts is None:
            intact = False
            yield problem(document, position, "call_missing", "its row is gone", call_id=call.call_id)
        elif call.facts["id"] != call.call_id or not _is_intact(call):
            intact = False
            yield _altered_problem(document, position, call)
        else:
            totals.add(call.facts)
            shown = call_fields(call.facts)
    if calls_digest(noted) != document["calls_digest"]:
        text = f"the {len(noted)} certified calls that are noted are not those that were signed"
        yield problem(document, position, "calls_digest", text, field="calls_digest")
    if intact and noted:
        yield from _summary_problems(document, totals, shown, position)


def _is_intact(call: CertifiedCall) -> bool:
    """Whether the row has its digest; a row with values that no receipt can hold has none."""
    try:
        return row_digest(call.facts or {}) == call.digest
    except InvalidRequest:
        return False


def _altered_problem(document: dict[str, Any], position: int, call: CertifiedCall) -> Problem:
    """Which fields of the row differ, if the receipt shows the call itself."""
    receipt_says, facts = document.get("call", {}), call.facts or {}
    if receipt_says.get("id") != call.call_id:
        text = "its row has been altered since it was certified"
        return problem(document, position, "call_altered", text, call_id=call.call_id)
    found = [name for name in receipt_says if name in facts and list(differences(receipt_says[name], facts[name]))]
    text = f"its row has been altered: {', '.join(found) or 'a column that the receipt does not show'}"
    return problem(document, position, "call_altered", text, call_id=call.call_id, field=f"call.{found[0]}" if found else None)


def _summary_problems(document: dict[str, Any], totals: CallTotals, shown: Any, position: int) -> Iterator[Problem]:
    receipt_says, is_now = (document["summary"], totals.summary()) if "summary" in document else (document["call"], shown)
    name = "summary" if "summary" in document else "call"
    for path in differences(receipt_says, is_now):
        text = f"the receipt says {value_at(receipt_says, path)}, the rows come to {value_at(is_now, path)}"
        yield problem(document, position, "summary", text, field=f"{name}.{path}")


def value_at(value: Any, path: str) -> str:
    """The value at a path, as text; names may contain dots."""
    while path and isinstance(value, dict):
        name = max((name for name in value if path == name or path.startswith(f"{name}.")), key=len, default="")
        if not name:
            return "nothing"
        value, path = value[name], path[len(name) + 1 :]
    return repr(value)


@attrs.frozen
class Link:
    """What the chain needs to remember of a receipt: its place, and the fields that a problem of it names."""

    position: int
    fields: Mapping[str, Any]
    hash: str

    @property
    def sequence(self) -> int:
        """The number of the receipt in its chain."""
        return int(self.fields["sequence"])

    def problem(self, code: str, text: str, field: str) -> Problem:
        """A problem of this receipt."""
        return problem(self.fields, self.position, code, text, field=field)


def extend_trust(public_keys: PublicKeys, documents: Iterable[Any]) -> PublicKeys:
    """The keys, and those that rotations in the documents connect with them, in both directions."""
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
    """Checks receipts one after the other, and at the end their chain."""

    def __init__(self, public_keys: PublicKeys, after: ReceiptAnchor | None = None) -> None:
        self._keys = public_keys
        self._after = after
        self._signer: str | None = None
        self._clock = ""
        self._links: list[Link] = []
        self._malformed: set[int] = set()
        self._read = self._calls = 0
        self.warnings: list[Problem] = []

    def read(self, document: Any, calls: Iterable[CertifiedCall] | None = None) -> Iterator[Problem]:
        """What is wrong with this receipt by itself, and with the rows of its calls if they are given."""
        self._read += 1
        position = self._read
        faulty = list(form_problems(document, position))
        yield from faulty
        if any(one.code == "form" for one in faulty):
            self._malformed |= {one.sequence for one in faulty if one.sequence is not None}
            return
        fields = {name: document[name] for name in ("sequence", "receipt_id", "ledger", "previous")}
        self._links.append(Link(position, fields, digest(canonical(document))))
        yield from self._check_signature(document, position)
        self._check_clock(document, position)
        if calls is not None and "calls_digest" in document:
            yield from call_problems(document, self.count_calls(calls), position)

    def count_calls(self, calls: Iterable[CertifiedCall]) -> Iterator[CertifiedCall]:
        """Pass the calls on, and count them."""
        for call in calls:
            self._calls += 1
            yield call

    def _check_signature(self, document: dict[str, Any], position: int) -> Iterator[Problem]:
        """Check the key, its turn and the signature."""
        key_id = document["key_id"]
        key = self._keys.get(key_id)
        takes_over = "new_key" in document and document["old_key"] is None
        if takes_over:
            text = f"{key_id} took over by itself, without a word of the key before it"
            self.warnings.append(problem(document, position, "took_over", text, field="new_key"))
        elif self._signer not in (None, key_id):
            yield problem(document, position, "wrong_key", f"{key_id} signed it, where {self._signer} has its turn", field="key_id")
        self._signer = document["new_key"]["key_id"] if "new_key" in document else self._signer or key_id
        if key is None:
            text = f"nobody vouches for {key_id}: it is not among the public keys, and no rotation leads from them to it"
            yield problem(document, position, "unknown_key", text, field="key_id")
        else:
            yield from signature_problem(document, key, position)

    def _check_clock(self, document: dict[str, Any], position: int) -> None:
        if document["timestamp"] < self._clock:
            text = f"the clock went back: the receipt before it is of {self._clock}"
            self.warnings.append(problem(document, position, "clock_back", text, field="timestamp"))
        self._clock = document["timestamp"]

    def check_chain(self, anchor: ReceiptAnchor | None = None) -> Iterator[Problem]:
        """What is wrong with the chain, which begins at 1 or after ``after``, and must contain ``anchor``."""
        first = self._after.sequence if self._after is not None else 0
        seen = {first: self._after.hash} if self._after is not None else {}
        yield from self._check_order(seen)
        yield from self._check_links(seen)
        yield from _gaps({*seen, *self._malformed}, first)
        if anchor is not None:
            yield from self._check_anchor(seen, anchor)

    def _check_order(self, seen: dict[int, str]) -> Iterator[Problem]:
        """Duplicates, receipts out of order, and those of another ledger."""
        ledger = self._after.ledger if self._after is not None else self._links[0].fields["ledger"] if self._links else None
        ids: set[str] = set()
        highest = min(seen, default=0)
        for link in self._links:
            if link.fields["ledger"] != ledger:
                yield link.problem("ledger", f"it belongs to {link.fields['ledger']}, the chain to {ledger}", "ledger")
            if link.sequence in seen:
                same = "the same" if seen[link.sequence] == link.hash else "another"
                yield link.problem("duplicate", f"{same} receipt of this number stands before it", "sequence")
            elif link.fields["receipt_id"] in ids:
                yield link.problem("duplicate", "its id is that of another receipt", "receipt_id")
            elif link.sequence < highest:
                yield link.problem("order", f"it stands behind sequence {highest}", "sequence")
            seen.setdefault(link.sequence, link.hash)
            ids.add(link.fields["receipt_id"])
            highest = max(highest, link.sequence)

    def _check_links(self, seen: Mapping[int, str]) -> Iterator[Problem]:
        for link in self._links:
            before = seen.get(link.sequence - 1)
            if before is not None and link.fields["previous"] != before:
                text = f"it was signed to follow another receipt {link.sequence - 1} than the one that is here"
                yield link.problem("previous", text, "previous")

    def _check_anchor(self, seen: Mapping[int, str], anchor: ReceiptAnchor) -> Iterator[Problem]:
        if self._links and self._links[0].fields["ledger"] != anchor.ledger:
            text = f"the anchor was noted for another ledger, {anchor.ledger}"
        elif anchor.sequence not in seen:
            text = f"the anchor has noted it, the chain ends with {max(seen, default=0)}: its end was cut off"
        elif seen[anchor.sequence] != anchor.hash:
            text = "it is not the receipt that the anchor has noted"
        else:
            return
        yield Problem(code="anchor", text=text, sequence=anchor.sequence)

    def verification(self, problems: Iterable[Problem]) -> ReceiptVerification:
        """Return the result of the checks, with these problems."""
        last = max(self._links, key=lambda link: link.sequence, default=None)
        head = ReceiptAnchor(last.fields["ledger"], last.sequence, last.hash) if last is not None else self._after
        return ReceiptVerification(
            problems=tuple(problems), warnings=tuple(self.warnings), receipts=self._read, calls=self._calls, head=head
        )


def _gaps(seen: Iterable[int], first: int) -> Iterator[Problem]:
    """Missing sequence numbers, each run of them as one problem."""
    expected = first + 1
    for sequence in sorted(seen):
        if sequence > expected:
            text = "it is missing" if sequence == expected + 1 else f"it and the following up to {sequence - 1} are missing"
            yield Problem(code="missing", text=text, sequence=expected)
        expected = max(expected, sequence + 1)


Source = Receipt | Mapping[str, Any] | Path | str | Iterable[Receipt | Mapping[str, Any]]
"""A receipt, its fields, JSON of one or of a list, several receipts in order, or the path of a file of JSON or JSON Lines."""


@attrs.frozen
class SourceReceipt:
    """A receipt's fields as they are, the rows of its calls if they were given, and what was wrong with reading them."""

    document: Any
    calls: tuple[CertifiedCall, ...] | None = None
    faults: tuple[tuple[str, str], ...] = ()


@attrs.frozen
class SourceReceipts:
    """What a source held: one receipt, or several as a chain."""

    items: tuple[SourceReceipt, ...]
    chain: bool


def read_source(source: Source) -> SourceReceipts:
    """Read a source; what is no receipt becomes an item with a problem.

    Raises :class:`InvalidRequest` for a text that is not JSON, :class:`ConfigError` for a file that cannot be read.
    """
    if isinstance(source, Path):
        return _read_file(source)
    if isinstance(source, str):
        return _read_value(parse_json(source, "receipts"))
    return _read_value(source if isinstance(source, Receipt | Mapping) else list(source))


def is_lines(path: Path) -> bool:
    """Whether a file's name says that it is JSON Lines."""
    return path.suffix.lower() in (".jsonl", ".ndjson")


def _read_file(path: Path) -> SourceReceipts:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"receipts: {path} cannot be read ({error.strerror}); give a file of JSON or JSON Lines") from None
    if not is_lines(path):
        return _read_value(parse_json(content, str(path)))
    return SourceReceipts(
        tuple([_read_line(line, number) for number, line in enumerate(content.splitlines(), 1) if line.strip()]), chain=True
    )


def _read_line(line: bytes, number: int) -> SourceReceipt:
    try:
        return _read_item(parse_json(line, f"line {number}"))
    except InvalidRequest as error:
        return SourceReceipt(None, None, (("", error.message),))


def _read_value(value: Any) -> SourceReceipts:
    if isinstance(value, list):
        return SourceReceipts(tuple(map(_read_item, value)), chain=True)
    return SourceReceipts((_read_item(value),), chain=False)


def _read_item(given: Any) -> SourceReceipt:
    if isinstance(given, Receipt):
        return SourceReceipt(given.as_dict())
    if not isinstance(given, Mapping) or "receipt" not in given:
        return SourceReceipt(dict(given) if isinstance(given, Mapping) else given)
    entries = given.get("calls")
    if not isinstance(entries, list):
        return SourceReceipt(given["receipt"], None, (("calls", "it is not a list"),))
    found = tuple(
        [(path, text) for number, entry in enumerate(entries) for path, text in faults(entry, CERTIFIED, f"calls[{number}]")]
    )
    calls = None if found else tuple([CertifiedCall(entry["call_id"], entry["digest"], entry["row"]) for entry in entries])
    return SourceReceipt(given["receipt"], calls, found)


def write_receipts(items: Iterable[tuple[Receipt, Iterable[CertifiedCall] | None]], file: TextIO, *, lines: bool) -> int:
    """Write JSON Lines, or a JSON list; each receipt alone, or with the rows of its calls. Return the number of receipts."""
    count = 0
    for count, (receipt, calls) in enumerate(items, 1):
        file.write("" if lines else "[\n" if count == 1 else ",\n")
        file.write(receipt.text if calls is None else _bundle_text(receipt, calls))
        file.write("\n" if lines else "")
    file.write("" if lines else "\n]\n" if count else "[]\n")
    return count


def _bundle_text(receipt: Receipt, calls: Iterable[CertifiedCall]) -> str:
    entries = [json.dumps({"call_id": call.call_id, "digest": call.digest, "row": call.facts}) for call in calls]
    return f'{{"receipt":{receipt.text},"calls":[{",".join(entries)}]}}'


def verify_receipts(
    source: Source, public_keys: Keys, *, anchor: ReceiptAnchor | None = None, after: ReceiptAnchor | None = None
) -> ReceiptVerification:
    """Verify a receipt, or a chain of them, with public keys alone.

    A single receipt, or JSON of one, is verified by itself. Several are verified as a chain, too: it begins with sequence 1, or
    right after ``after``, and must contain the receipt of ``anchor``. Rows of calls in the source are compared with what was
    certified. ``public_keys`` are those that you trust: keys, or their JSON or PEM as text or ``Path``; keys that
    rotations in the chain lead to are trusted as well.

    The result holds all problems. Raises :class:`~llmdispatcher.InvalidRequest` for a source that is not JSON, or an anchor with a
    single receipt; :class:`~llmdispatcher.ConfigError` for keys or files that cannot be read.
    """
    require_extra()
    found = read_source(source)
    if not found.chain and (anchor or after):
        raise InvalidRequest("anchor: one receipt by itself is no chain; give the whole chain as a list or a file")
    trusted = extend_trust(PublicKeys.of(public_keys), [item.document for item in found.items])
    check = ChainCheck(trusted, after)
    return check.verification(list(_problems(found, check, anchor)))


def _problems(found: SourceReceipts, check: ChainCheck, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    for position, item in enumerate(found.items, 1):
        yield from item_problems(item, check, position)
    if found.chain:
        yield from check.check_chain(anchor)
        if not found.items:
            yield Problem(code="missing", text="there is no receipt at all")


def item_problems(item: SourceReceipt, check: ChainCheck, position: int) -> Iterator[Problem]:
    """What was wrong with reading a receipt, and what is wrong with the receipt."""
    for path, text in item.faults:
        yield problem(item.document, position, "form", text, field=path or None)
    if item.document is not None or not item.faults:
        yield from check.read(item.document, item.calls)
