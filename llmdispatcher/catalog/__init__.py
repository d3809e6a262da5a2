"""Facts as data: vendors, models and prices, each with source and date; the tables are read at the first look-up."""

from .facts import ABILITIES, ModelFacts
from .finding import get_model, list_models
from .models import all_models, edition, knows_not, model_facts, model_names, models, overlay, owner
from .prices import Price, cost
from .traits import CAPABILITIES, Traits, traits
from .vendors import VendorRow, canonical, in_family, vendor_row, vendor_rows

__all__ = [
    "ABILITIES",
    "CAPABILITIES",
    "ModelFacts",
    "Price",
    "Traits",
    "VendorRow",
    "all_models",
    "canonical",
    "cost",
    "edition",
    "get_model",
    "in_family",
    "knows_not",
    "list_models",
    "model_facts",
    "model_names",
    "models",
    "overlay",
    "owner",
    "traits",
    "vendor_row",
    "vendor_rows",
]
