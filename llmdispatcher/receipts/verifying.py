"""Verify receipts with nothing but them and public keys: no ledger, no network."""

from __future__ import annotations

from collections.abc import Iterator

from ..errors import InvalidRequest
from .chain import ChainCheck, vouched
from .checking import problem
from .files import Item, Read, Source, read
from .findings import Problem, ReceiptVerification
from .keys import Keys, PublicKeys
from .receipt import ReceiptAnchor


def verify_receipts(
    source: Source, public_keys: Keys, *, anchor: ReceiptAnchor | None = None, after: ReceiptAnchor | None = None
) -> ReceiptVerification:
    """Whether a receipt, or a chain of them, is what the owner of a key has signed.

    A single receipt, or JSON of one, is verified by itself. Several are verified as a chain too: it begins with sequence 1, or
    right behind ``after``, and must have the receipt that ``anchor`` has noted. Where the rows of calls came along, they are
    compared with what was certified. ``public_keys`` are what you trust: keys, or their JSON or PEM as a text or a ``Path``;
    keys that rotations in the chain lead to are trusted as well.

    Whatever is wrong with receipts is in the result. Raises :class:`~llmdispatcher.errors.InvalidRequest` for a source that is not
    JSON, or an anchor beside a single receipt; :class:`~llmdispatcher.errors.ConfigError` for keys or files that cannot be read.
    """
    found = read(source)
    if not found.chain and (anchor or after):
        raise InvalidRequest("anchor: one receipt by itself is no chain; give the whole chain as a list or a file")
    trusted = vouched(PublicKeys.of(public_keys), [item.document for item in found.items])
    check = ChainCheck(trusted, after)
    return check.verification(list(_problems(found, check, anchor)))


def _problems(found: Read, check: ChainCheck, anchor: ReceiptAnchor | None) -> Iterator[Problem]:
    for position, item in enumerate(found.items, 1):
        yield from item_problems(item, check, position)
    if found.chain:
        yield from check.together(anchor)
        if not found.items:
            yield Problem(code="missing", text="there is no receipt at all")


def item_problems(item: Item, check: ChainCheck, position: int) -> Iterator[Problem]:
    """What was wrong with reading a receipt, and with the receipt."""
    for path, text in item.faults:
        yield problem(item.document, position, "form", text, field=path or None)
    if item.document is not None or not item.faults:
        yield from check.read(item.document, item.calls)
