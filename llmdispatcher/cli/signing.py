"""The keys and receipts that commands work with; loads the extra ``receipts`` when it is first used."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .places import data_folder, made_folder
from .terminal import UsageError

if TYPE_CHECKING:
    from ..ledger import Ledger
    from ..receipts.book import Receipts
    from ..receipts.findings import Verification
    from ..receipts.keys import PublicKey, PublicKeys, SigningKey
    from ..receipts.receipt import ReceiptAnchor

FORMS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
"""How a moment may be written; without an offset it is UTC."""


def _room(name: str) -> Any:
    return import_module(f"...receipts.{name}", __name__)


def own_place() -> Path:
    """The user's own private key."""
    return data_folder() / "receipts.key"


def generate(path: Path | None) -> tuple[Path, str]:
    """Make a key; its file and its id."""
    if path is None:
        made_folder()
        path = own_place()
    key: SigningKey = _room("keys").SigningKey.generate(path)
    return path, key.key_id


def key(path: Path | None) -> SigningKey:
    """The private key that is meant. Raises :class:`UsageError` where there is none."""
    keys = _room("keys")
    found: SigningKey
    if path is not None:
        found = keys.SigningKey.load(path)
    elif keys.from_environment(keys.ENVIRONMENT) is not None:
        found = keys.SigningKey.from_environment()
    elif own_place().is_file():
        found = keys.SigningKey.load(own_place())
    else:
        raise UsageError("there is no key; `llmdispatcher receipts new-key` makes one, --key FILE names one")
    return found


def receipts(ledger: Ledger, signer: SigningKey | None = None) -> Receipts:
    """The receipts of a ledger."""
    made: Receipts = _room("book").Receipts(ledger, signer)
    return made


def alone(signer: SigningKey) -> PublicKeys:
    """The public half of a key, where no ledger knows of older ones."""
    made: PublicKeys = _room("keys").PublicKeys.of(signer.public)
    return made


def verified(file: Path, trusted: PublicKey | Path, noted: ReceiptAnchor | None) -> Verification:
    """What is wrong with the receipts in a file."""
    found: Verification = _room("verifying").verify_receipts(file, trusted, anchor=noted)
    return found


def anchor(text: str | None) -> ReceiptAnchor | None:
    """A head of a chain, as it was noted."""
    if text is None:
        return None
    found: ReceiptAnchor = _room("receipt").ReceiptAnchor.parse(text)
    return found


def aware(moment: datetime) -> datetime:
    """UTC where a moment says no offset."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
