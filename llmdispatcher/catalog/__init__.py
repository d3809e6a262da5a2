"""Facts as data: vendors, models and prices, each with source and date; the tables are read at the first look-up."""

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
