"""The keys and receipts that commands work with; loads the extra ``receipts`` when it is first used."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from .places import data_folder, made_folder
from .terminal import UsageError

if TYPE_CHECKING:
    from ..ledger import Ledger
    from ..receipts.book import Receipts
    from ..receipts.findings import ReceiptVerification
    from ..receipts.keys import PublicKey, PublicKeys, SigningKey
    from ..receipts.receipt import ReceiptAnchor

FORMS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
"""How a moment may be written; without an offset it is UTC."""


def own_place() -> Path:
    """The user's own private key."""
    return data_folder() / "receipts.key"


def generate(path: Path | None) -> tuple[Path, str]:
    """Make a key; its file and its id."""
    if path is None:
        made_folder()
        path = own_place()
    from ..receipts.keys import SigningKey

    return path, SigningKey.generate(path).key_id


def key(path: Path | None) -> SigningKey:
    """The private key that is meant. Raises :class:`UsageError` where there is none."""
    from ..environment import from_environment
    from ..receipts.keys import ENVIRONMENT, SigningKey

    if path is not None:
        return SigningKey.load(path)
    if from_environment(ENVIRONMENT) is not None:
        return SigningKey.from_environment()
    if own_place().is_file():
        return SigningKey.load(own_place())
    raise UsageError("there is no key; `llmdispatcher receipts new-key` makes one, --key FILE names one")


def receipts(ledger: Ledger, signer: SigningKey | None = None) -> Receipts:
    """The receipts of a ledger."""
    from ..receipts.book import Receipts

    return Receipts(ledger, signer)


def alone(signer: SigningKey) -> PublicKeys:
    """The public half of a key, where no ledger knows of older ones."""
    from ..receipts.keys import PublicKeys

    return PublicKeys.of(signer.public)


def verified(file: Path, trusted: PublicKey | Path, noted: ReceiptAnchor | None) -> ReceiptVerification:
    """What is wrong with the receipts in a file."""
    from ..receipts.verifying import verify_receipts

    return verify_receipts(file, trusted, anchor=noted)


def anchor(text: str | None) -> ReceiptAnchor | None:
    """A head of a chain, as it was noted."""
    if text is None:
        return None
    from ..receipts.receipt import ReceiptAnchor

    return ReceiptAnchor.parse(text)


def aware(moment: datetime) -> datetime:
    """UTC where a moment says no offset."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
