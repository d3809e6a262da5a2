"""Models and prices as a registry publishes them: fetched with care, kept on disk, compared, put over the packaged catalog."""

from .client import Registry, registry_from
from .drift import Change, Changes, Drift
from .edition import Edition
from .rows import RegistryModel
from .settings import pins
from .source import PUBLISHED
from .standing import RegistryStatus

__all__ = [
    "PUBLISHED",
    "Change",
    "Changes",
    "Drift",
    "Edition",
    "Registry",
    "RegistryModel",
    "RegistryStatus",
    "pins",
    "registry_from",
]
