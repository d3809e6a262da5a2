"""Lockfiles: aliases that stand for ordered pools of models, in profiles; found, read, changed and saved."""

from .aliases import Aliases
from .lock import Lockfile
from .look_up import Alias, Extension
from .values import Binding, Contents, Profile

__all__ = ["Alias", "Aliases", "Binding", "Contents", "Extension", "Lockfile", "Profile"]
