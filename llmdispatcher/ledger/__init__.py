"""What was asked, of whom, and what it cost: every call and every attempt in a database, never a prompt or an answer."""

from __future__ import annotations

from .ledger import Ledger, open_ledger
from .ticket import LedgerStats

__all__ = ["Ledger", "LedgerStats", "open_ledger"]
