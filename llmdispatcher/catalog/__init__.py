"""Which models exist, what they cost, and which aliases stand for them. The tables are read at the first look-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .facts import ABILITIES as ABILITIES
    from .facts import CAPABILITIES as CAPABILITIES
    from .facts import ModelFacts as ModelFacts
    from .facts import Pace as Pace
    from .facts import Traits as Traits
    from .facts import VendorRow as VendorRow
    from .facts import answers_prompts as answers_prompts
    from .facts import canonical as canonical
    from .facts import pace_of as pace_of
    from .facts import traits_of as traits_of
    from .facts import vendor_row as vendor_row
    from .facts import vendor_rows as vendor_rows
    from .lockfile.alias import Alias as Alias
    from .lockfile.alias import parse_failures as parse_failures
    from .lockfile.aliases import Aliases as Aliases
    from .lockfile.aliases import Source as Source
    from .lockfile.aliases import parse_source as parse_source
    from .lockfile.lockfile import Lockfile as Lockfile
    from .lockfile.paths import BUNDLED as BUNDLED
    from .models import CURRENT as CURRENT
    from .models import NameClaim as NameClaim
    from .models import all_models as all_models
    from .models import claim_on as claim_on
    from .models import get_model as get_model
    from .models import list_models as list_models
    from .models import model_facts as model_facts
    from .models import model_names as model_names
    from .models import models_of as models_of
    from .models import overlay as overlay
    from .models import owner as owner
    from .models import price_at as price_at
    from .models import room_for_thoughts as room_for_thoughts
    from .nearest import newer_first as newer_first
    from .nearest import stand_ins as stand_ins
    from .registry.client import Registry as Registry
    from .registry.client import registry_from as registry_from
    from .registry.source import PUBLISHED as PUBLISHED
    from .registry.status import RegistryStatus as RegistryStatus
    from .target import Target as Target
    from .target import missing_capabilities as missing_capabilities
    from .target import target_facts as target_facts
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "facts": (
                "ABILITIES",
                "answers_prompts",
                "canonical",
                "CAPABILITIES",
                "ModelFacts",
                "Pace",
                "pace_of",
                "Traits",
                "traits_of",
                "vendor_row",
                "vendor_rows",
                "VendorRow",
            ),
            "lockfile.alias": ("Alias", "parse_failures"),
            "lockfile.aliases": ("Aliases", "Source", "parse_source"),
            "lockfile.lockfile": ("Lockfile",),
            "lockfile.paths": ("BUNDLED",),
            "models": (
                "all_models",
                "NameClaim",
                "claim_on",
                "CURRENT",
                "get_model",
                "list_models",
                "model_facts",
                "model_names",
                "models_of",
                "overlay",
                "owner",
                "price_at",
                "room_for_thoughts",
            ),
            "nearest": ("newer_first", "stand_ins"),
            "registry.client": ("Registry", "registry_from"),
            "registry.source": ("PUBLISHED",),
            "registry.status": ("RegistryStatus",),
            "target": ("target_facts", "Target", "missing_capabilities"),
        },
    )
