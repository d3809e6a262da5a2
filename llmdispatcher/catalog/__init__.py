"""Facts as data: vendors, models and prices, each with source and date; the tables are read at the first look-up."""

from .models import ModelFacts, knows_not, model_facts, model_names, models, owner
from .prices import Price, cost
from .traits import CAPABILITIES, Traits, traits
from .vendors import VendorRow, canonical, in_family, vendor_row, vendor_rows

__all__ = [
    "CAPABILITIES",
    "ModelFacts",
    "Price",
    "Traits",
    "VendorRow",
    "canonical",
    "cost",
    "in_family",
    "knows_not",
    "model_facts",
    "model_names",
    "models",
    "owner",
    "traits",
    "vendor_row",
    "vendor_rows",
]
