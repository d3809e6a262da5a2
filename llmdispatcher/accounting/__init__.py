"""What calls cost: the ledger of calls, budgets, and signed receipts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .budgets.budget import Budget as Budget
    from .budgets.budget import BudgetForecast as BudgetForecast
    from .budgets.budget import BudgetStatus as BudgetStatus
    from .budgets.budget import budgets_of as budgets_of
    from .budgets.budget import period_at as period_at
    from .budgets.budget import picodollars_up as picodollars_up
    from .budgets.budget import plain_dollars as plain_dollars
    from .budgets.database import BookingExchange as BookingExchange
    from .budgets.database import DatabaseBudgetStore as DatabaseBudgetStore
    from .budgets.reservation import CallBudget as CallBudget
    from .budgets.reservation import Measure as Measure
    from .budgets.reservation import Reservation as Reservation
    from .budgets.reservation import Spending as Spending
    from .budgets.reservation import bound as bound
    from .budgets.reservation import costs_nothing as costs_nothing
    from .budgets.reservation import has_price as has_price
    from .budgets.reservation import measure as measure
    from .budgets.reservation import spending_of as spending_of
    from .budgets.store import Account as Account
    from .budgets.store import AccountBalance as AccountBalance
    from .budgets.store import Booking as Booking
    from .budgets.store import BudgetStoreUnavailable as BudgetStoreUnavailable
    from .budgets.store import Claim as Claim
    from .ledger.call import ErasureReport as ErasureReport
    from .ledger.call import LedgerAttempt as LedgerAttempt
    from .ledger.call import LedgerCall as LedgerCall
    from .ledger.figures import LedgerModel as LedgerModel
    from .ledger.figures import ModelsReport as ModelsReport
    from .ledger.figures import UsageBucket as UsageBucket
    from .ledger.figures import UsageStats as UsageStats
    from .ledger.ledger import Ledger as Ledger
    from .ledger.ledger import open_ledger as open_ledger
    from .ledger.spool import Spool as Spool
    from .ledger.writer import LedgerStats as LedgerStats
    from .receipts.keys import ENVIRONMENT as ENVIRONMENT
    from .receipts.keys import PublicKey as PublicKey
    from .receipts.keys import PublicKeys as PublicKeys
    from .receipts.keys import SigningKey as SigningKey
    from .receipts.receipt import Receipt as Receipt
    from .receipts.receipt import ReceiptAnchor as ReceiptAnchor
    from .receipts.receipts import Receipts as Receipts
    from .receipts.verify import ReceiptVerification as ReceiptVerification
    from .receipts.verify import verify_receipts as verify_receipts
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "budgets.budget": (
                "Budget",
                "BudgetForecast",
                "budgets_of",
                "BudgetStatus",
                "period_at",
                "picodollars_up",
                "plain_dollars",
            ),
            "budgets.database": ("DatabaseBudgetStore", "BookingExchange"),
            "budgets.reservation": (
                "bound",
                "CallBudget",
                "costs_nothing",
                "has_price",
                "Measure",
                "measure",
                "Reservation",
                "Spending",
                "spending_of",
            ),
            "budgets.store": ("Account", "AccountBalance", "Booking", "BudgetStoreUnavailable", "Claim"),
            "ledger.call": ("ErasureReport", "LedgerAttempt", "LedgerCall"),
            "ledger.figures": ("LedgerModel", "ModelsReport", "UsageBucket", "UsageStats"),
            "ledger.ledger": ("Ledger", "open_ledger"),
            "ledger.spool": ("Spool",),
            "ledger.writer": ("LedgerStats",),
            "receipts.keys": ("ENVIRONMENT", "PublicKey", "PublicKeys", "SigningKey"),
            "receipts.receipt": ("Receipt", "ReceiptAnchor"),
            "receipts.receipts": ("Receipts",),
            "receipts.verify": ("ReceiptVerification", "verify_receipts"),
        },
    )
