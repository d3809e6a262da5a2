"""Facts as data: vendors, models and prices, each with source and date; no look-up does more I/O than reading its own table once."""

from .models import ModelFacts, Price, cost, knows_not, model_facts, models, owner
from .vendors import ROWS, VendorRow, canonical, vendor_row

__all__ = [
    "ROWS",
    "ModelFacts",
    "Price",
    "VendorRow",
    "canonical",
    "cost",
    "knows_not",
    "model_facts",
    "models",
    "owner",
    "vendor_row",
]
