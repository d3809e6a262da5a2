"""Lockfiles: aliases that stand for ordered pools of models, in profiles; found, read, changed and saved.

Names are loaded at their first use: whoever has no lockfile does not pay for one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .alias import Alias
    from .aliases import Aliases
    from .lock import Lockfile
    from .look_up import Extension
    from .values import Binding, Contents, Profile

_ROOM_OF = {
    "Alias": "alias",
    "Aliases": "aliases",
    "Binding": "values",
    "Contents": "values",
    "Extension": "look_up",
    "Lockfile": "lock",
    "Profile": "values",
}

__all__ = ["Alias", "Aliases", "Binding", "Contents", "Extension", "Lockfile", "Profile"]


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{room}", __name__), name)
    globals()[name] = value
    return value
