"""A lockfile's contents as values: profiles of aliases, each an ordered pool of models; and their canonical form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import attrs

VERSION = "1.0"
DEFAULT_PROFILE = "default"
PROFILES = (DEFAULT_PROFILE, "prod", "staging", "dev")
"""What a new lockfile has."""


@attrs.frozen
class Binding:
    """An alias and its models, the first choice first; ``constraints`` are kept as they are written."""

    alias: str
    models: tuple[str, ...]
    constraints: Mapping[str, Any] | None = None

    def dump(self) -> dict[str, Any]:
        """As a file holds it."""
        said: dict[str, Any] = {"alias": self.alias, "models": list(self.models)}
        return said if self.constraints is None else said | {"constraints": self.constraints}


@attrs.frozen
class Profile:
    """The aliases of one surrounding, such as ``prod``, and the registry's version of each vendor that it goes by."""

    name: str
    bindings: Mapping[str, Binding] = attrs.field(factory=dict)
    registry_versions: Mapping[str, int] = attrs.field(factory=dict)

    def dump(self) -> dict[str, Any]:
        """As a file holds it; empty lists are left out, so that a binding can be added at the end of the file by hand."""
        said: dict[str, Any] = {"name": self.name}
        if self.bindings:
            said["bindings"] = [binding.dump() for binding in self.bindings.values()]
        return said | ({"registry_versions": dict(self.registry_versions)} if self.registry_versions else {})


@attrs.frozen(kw_only=True)
class Contents:
    """All that a lockfile says. Datetimes are aware; ``None`` where the file does not tell."""

    version: str = VERSION
    created_at: datetime | None = None
    updated_at: datetime | None = None
    default_profile: str = DEFAULT_PROFILE
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    packages: tuple[str, ...] = ()
    profiles: Mapping[str, Profile] = attrs.field(factory=dict)

    def profile(self, name: str) -> Profile:
        """The profile of that name; an empty one where there is none."""
        return self.profiles.get(name) or Profile(name)

    def with_profile(self, profile: Profile) -> Contents:
        """The same with this profile, in its place where there is one of its name."""
        return attrs.evolve(self, profiles={**self.profiles, profile.name: profile})

    def aliases(self) -> frozenset[str]:
        """The names that any profile binds."""
        return frozenset([alias for profile in self.profiles.values() for alias in profile.bindings])

    def digest(self) -> str:
        """SHA-256, hex, of the canonical form: compact JSON, sorted, every field there, datetimes with their offset."""
        document = {
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "default_profile": self.default_profile,
            "metadata": self.metadata,
            "extends": {"packages": list(self.packages)},
            "profiles": {name: _whole(profile) for name, profile in self.profiles.items()},
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=_plain)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def _whole(profile: Profile) -> dict[str, Any]:
    bindings = [binding.dump() | {"constraints": binding.constraints} for binding in profile.bindings.values()]
    return {"name": profile.name, "bindings": bindings, "registry_versions": profile.registry_versions}


def _plain(value: Any) -> Any:
    """What JSON has no word for: mappings that are no dicts, and TOML's dates and times."""
    return dict(value) if isinstance(value, Mapping) else value.isoformat()
