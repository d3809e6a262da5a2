"""Receipts as values: the signed document, its content, and the anchor: the end of a chain, to be noted elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, TypedDict

import attrs

from ...errors import InvalidRequest
from .format import canonical, digest, faults, form_of, parse_json, parse_moment, parse_money, signature_text
from .keys import PublicKey, SigningKey


class Range(TypedDict, total=False):
    """The calls that began from ``since`` until before ``until`` (aware), of an origin and an ``id_at_origin``."""

    since: datetime | None
    until: datetime | None
    origin: str | None
    id_at_origin: str | None


@attrs.frozen
class Share:
    """The part of one model or one alias in a batch; ``cost`` in US dollars."""

    calls: int
    tokens: int
    cost: Decimal


@attrs.frozen(kw_only=True)
class Summary:
    """The sums of a batch. ``start`` and ``end`` are when its first and its last call began.

    ``total_cost`` is in US dollars, exact, of the calls whose cost is known; ``unpriced_calls`` are the others. ``by_model`` has
    keys ``"vendor:model"``; calls without an alias are not in ``by_alias``. ``total_tokens`` is input and output together.
    """

    total_calls: int
    input_tokens: int
    output_tokens: int
    total_tokens: int
    total_cost: Decimal
    unpriced_calls: int
    start: datetime
    end: datetime
    by_model: Mapping[str, Share]
    by_alias: Mapping[str, Share]

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> Summary:
        """Read the field ``summary`` of a batch receipt."""
        read = {
            "total_cost": parse_money(fields["total_cost"]),
            "start": parse_moment(fields["start"]),
            "end": parse_moment(fields["end"]),
            "by_model": _shares(fields["by_model"]),
            "by_alias": _shares(fields["by_alias"]),
        }
        return cls(**{**fields, **read})


def _shares(fields: Mapping[str, Any]) -> dict[str, Share]:
    return {name: Share(share["calls"], share["tokens"], parse_money(share["cost"])) for name, share in fields.items()}


@attrs.frozen
class ReceiptAnchor:
    """The end of a chain at some time: kept elsewhere, it shows later whether receipts were cut off or replaced.

    ``str()`` writes it in one line, ``parse`` reads that.
    """

    ledger: str
    sequence: int
    hash: str

    def __str__(self) -> str:
        return f"{self.ledger}/{self.sequence}/{self.hash}"

    @classmethod
    def parse(cls, text: str) -> ReceiptAnchor:
        """Read an anchor from its text; raises :class:`InvalidRequest`."""
        ledger, _, rest = text.strip().partition("/")
        sequence, _, noted = rest.partition("/")
        number = int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) < 17 else 0
        fields = {"ledger": ledger, "sequence": number, "previous": noted}
        if any(path in fields for path, _ in faults(fields, form_of({}))):
            raise InvalidRequest(f"anchor: {text[:60]!r} is none; give it as it was written: ledger_.../number/sha256:...")
        return cls(ledger, number, noted)


@attrs.frozen(repr=False)
class Receipt:
    """One signed receipt. ``text`` is its canonical JSON, the signature included; the properties are read from it.

    ``receipt_type`` is "single", "batch" or "rotation". Verify a receipt before you trust it.
    """

    text: str

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Receipt:
        """Make a receipt of its fields; raises :class:`InvalidRequest` that names the first malformed field."""
        document = dict(document)
        for path, reason in faults(document, form_of(document)):
            raise InvalidRequest(f"receipt: {path}: {reason}; give a receipt as it was exported")
        return cls(canonical(document).decode())

    @classmethod
    def from_json(cls, text: str | bytes) -> Receipt:
        """Read a receipt from JSON, in which no name occurs twice."""
        document = parse_json(text)
        if not isinstance(document, dict):
            raise InvalidRequest("receipt: it is no JSON object; give one receipt")
        return cls.of(document)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy of all fields."""
        document: dict[str, Any] = parse_json(self.text)
        return document

    @property
    def receipt_id(self) -> str:
        """``"rcpt_"`` and 32 hexadecimal digits."""
        return str(self._field("receipt_id"))

    id = receipt_id

    @property
    def receipt_type(self) -> str:
        """``"single"``, ``"batch"`` or ``"rotation"``."""
        return str(self._field("receipt_type"))

    @property
    def sequence(self) -> int:
        """The number of the receipt in the chain, from 1."""
        return int(self._field("sequence"))

    @property
    def timestamp(self) -> datetime:
        """When it was signed, by the signer's clock; aware."""
        return parse_moment(self._field("timestamp"))

    @property
    def key_id(self) -> str:
        """The id of the key that signed it."""
        return str(self._field("key_id"))

    @property
    def signature(self) -> str:
        """``"ed25519:"`` and 86 letters of base64url."""
        return str(self._field("signature"))

    @property
    def description(self) -> str:
        """The signer's text about it."""
        return str(self._field("description"))

    @property
    def tags(self) -> tuple[str, ...]:
        """The signer's words to find it by."""
        return tuple(self._field("tags"))

    @property
    def call(self) -> dict[str, Any] | None:
        """The call of a single receipt; times and costs are texts."""
        found: dict[str, Any] | None = self._field("call")
        return found

    @property
    def summary(self) -> Summary | None:
        """The sums of a batch receipt."""
        fields = self._field("summary")
        return None if fields is None else Summary.of(fields)

    @property
    def new_key(self) -> PublicKey | None:
        """The key that signs the following receipts, in a rotation."""
        entry = self._field("new_key")
        return None if entry is None else PublicKey.from_dict(entry)

    @property
    def next_key_id(self) -> str:
        """The id of the key that signs the next receipt."""
        entry = self._field("new_key")
        return self.key_id if entry is None else str(entry["key_id"])

    @property
    def anchor(self) -> ReceiptAnchor:
        """The anchor of a chain that ends with this receipt."""
        return ReceiptAnchor(str(self._field("ledger")), self.sequence, digest(self.text.encode()))

    def _field(self, name: str) -> Any:
        return self.as_dict().get(name)

    def __repr__(self) -> str:
        return f"Receipt({self.receipt_id}, {self.receipt_type}, sequence {self.sequence}, signed with {self.key_id})"


def omit_fields(document: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The document without some fields; without ``signature`` it is what is signed."""
    return {name: value for name, value in document.items() if name not in names}


def sign_document(document: Mapping[str, Any], key: SigningKey) -> Receipt:
    """Sign all fields of ``document``, with the key's id."""
    body = {**document, "key_id": key.key_id}
    return Receipt.of({**body, "signature": signature_text(key.sign(canonical(body)))})


def differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """The paths of all fields in which two documents differ; an empty path is the whole."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted({*one, *other}):
            below = f"{path}.{name}" if path else name
            if name in one and name in other:
                yield from differences(one[name], other[name], below)
            else:
                yield below
    elif type(one) is not type(other) or one != other:
        yield path
