"""Read the text of a lockfile: profiles of aliases, each an ordered pool of models.

All mistakes of a file are reported in one error, each with its path; text that is no TOML or JSON with its line.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

import attrs

from ...errors import ConfigError, LockfileInvalid
from ...types import ANY_MODEL, has_both_parts
from .alias import parse_failures

Path = tuple[str | int, ...]
"""Keys of tables and numbers of list entries, from the outside in."""


def path_text(path: Path) -> str:
    """Write a path as ``profiles.prod.bindings[2].models``."""
    return "".join([f"[{step}]" if isinstance(step, int) else f".{step}" for step in path]).lstrip(".")


VERSION = "1.0"
DEFAULT_PROFILE = "default"
PROFILES = (DEFAULT_PROFILE, "prod", "staging", "dev")
"""The profiles of a new lockfile."""


@attrs.frozen
class Binding:
    """An alias and its models, the first choice first.

    ``constraints`` are kept as they are written; only ``on`` is read: the failures after which the next model is asked.
    """

    alias: str
    models: tuple[str, ...]
    constraints: Mapping[str, Any] | None = None

    @property
    def on(self) -> frozenset[str]:
        """The lasting failures after which the next model is asked."""
        return parse_failures((self.constraints or {}).get("on", ()))

    def dump(self) -> dict[str, Any]:
        """Return the binding as a file holds it."""
        record: dict[str, Any] = {"alias": self.alias, "models": list(self.models)}
        return record if self.constraints is None else record | {"constraints": self.constraints}


@attrs.frozen
class Profile:
    """The aliases of one environment, such as ``prod``, and the versions of vendors' models that it pins."""

    name: str
    bindings: Mapping[str, Binding] = attrs.field(factory=dict)
    registry_versions: Mapping[str, int] = attrs.field(factory=dict)

    def dump(self) -> dict[str, Any]:
        """Return the profile as a file holds it, without empty lists: a binding can be added by hand at the end of the file."""
        record: dict[str, Any] = {"name": self.name}
        if self.bindings:
            record["bindings"] = [binding.dump() for binding in self.bindings.values()]
        return record | ({"registry_versions": dict(self.registry_versions)} if self.registry_versions else {})


@attrs.frozen(kw_only=True)
class Contents:
    """The contents of a lockfile. Datetimes are aware, or ``None``."""

    version: str = VERSION
    created_at: datetime | None = None
    updated_at: datetime | None = None
    default_profile: str = DEFAULT_PROFILE
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    packages: tuple[str, ...] = ()
    profiles: Mapping[str, Profile] = attrs.field(factory=dict)

    def profile(self, name: str) -> Profile:
        """Return the profile of that name; an empty one if there is none."""
        return self.profiles.get(name) or Profile(name)

    def with_profile(self, profile: Profile) -> Contents:
        """Return the contents with this profile, in the place of the one with its name."""
        return attrs.evolve(self, profiles={**self.profiles, profile.name: profile})

    def aliases(self) -> frozenset[str]:
        """Return the aliases of all profiles."""
        return frozenset([alias for profile in self.profiles.values() for alias in profile.bindings])

    def digest(self) -> str:
        """Return the SHA-256, hex, of the canonical form: compact sorted JSON with every field, datetimes with their offset."""
        document = {
            "version": self.version,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "default_profile": self.default_profile,
            "metadata": self.metadata,
            "extends": {"packages": list(self.packages)},
            "profiles": {name: _profile_record(profile) for name, profile in self.profiles.items()},
        }
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), default=_plain)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


def _profile_record(profile: Profile) -> dict[str, Any]:
    bindings = [binding.dump() | {"constraints": binding.constraints} for binding in profile.bindings.values()]
    return {"name": profile.name, "bindings": bindings, "registry_versions": profile.registry_versions}


def _plain(value: Any) -> Any:
    """Values that are not JSON: mappings that are no dicts, and TOML's dates and times."""
    return dict(value) if isinstance(value, Mapping) else value.isoformat()


_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
"""A distribution's name, https://packaging.python.org/en/latest/specifications/name-normalization/; no line end follows."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@attrs.frozen
class LockfileText:
    """A lockfile as it was read: its text, ``form`` ("toml" or "json"), the plain tree, and the contents."""

    text: str
    form: str
    tree: Mapping[str, Any]
    contents: Contents


def form_of(name: str, text: str = "") -> str:
    """Return ``"json"`` or ``"toml"``, by the name of a file, else by its beginning."""
    return "json" if name.lower().endswith(".json") or text.lstrip("\ufeff \t\r\n").startswith("{") else "toml"


def form_to_write(name: str) -> str:
    """Return the form of a new file, by the suffix of its name. Raises :class:`ConfigError` for a suffix of neither form."""
    suffix = PurePath(name).suffix
    if suffix.lower() not in ("", ".lock", ".toml", ".json"):
        raise ConfigError(f"{name}: no lockfile has the suffix {suffix!r}; use a name that ends in .lock, .toml or .json")
    return form_of(name)


def read(text: str, name: str) -> LockfileText:
    """Read a lockfile; ``name`` is that of the file, for messages. Raises :class:`LockfileInvalid`."""
    form = form_of(name, text)
    try:
        tree = parse(text, form)
    except (ValueError, RecursionError) as error:  # both parsers tell line and column
        reason = str(error) or type(error).__name__
        raise LockfileInvalid(f"{name}: this is no {form.upper()}: {reason}", problems=[reason]) from None
    reader = _Reader()
    contents = reader.contents(tree)
    if reader.problems:
        problems = [f"{path_text(path)}: {problem}" if path else problem for path, problem in reader.problems]
        raise LockfileInvalid("\n  ".join([f"{name}: {_count_text(problems)}", *problems]), problems=problems)
    return LockfileText(text, form, tree, contents)


def parse(text: str, form: str) -> Any:
    """Parse the text of a file in this form. Raises ``ValueError``."""
    return json.loads(text) if form == "json" else tomllib.loads(text)


def _count_text(problems: list[str]) -> str:
    return "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"


def alias_problem(alias: Any) -> str | None:
    """Return why a value cannot be an alias, ``None`` if it can."""
    if not isinstance(alias, str) or not alias.strip() or _CONTROL.search(alias) or alias.strip().lower() == ANY_MODEL:
        return f"{alias!r} is no name for an alias; give a text in one line, other than {ANY_MODEL!r}"
    return None


def model_problem(model: Any) -> str | None:
    """Return why a value cannot be a model of an alias, ``None`` if it can."""
    if not isinstance(model, str) or not model.strip() or _CONTROL.search(model):
        return f"{model!r} is no model's name; give 'vendor:model'"
    if not has_both_parts(model):
        lack = "no model behind its vendor" if model.partition(":")[0].strip() else "no vendor before its colon"
        return f"{model!r} names {lack}; give 'vendor:model'"
    return None


def constraints_problem(constraints: Mapping[str, Any] | None) -> str | None:
    """Return why the constraints of an alias are invalid, ``None`` if they are not; unknown ones are kept."""
    try:
        parse_failures((constraints or {}).get("on", ()))
    except ValueError as error:
        return str(error)
    return None


def package_problem(name: Any) -> str | None:
    """Return why a value cannot be a package's name, ``None`` if it can."""
    if isinstance(name, str) and _PACKAGE.match(name):
        return None
    return f"{name!r} is no package's name; give that of an installed distribution, such as 'my-library'"


class _Reader:
    """Reads what is valid, and collects the problems."""

    def __init__(self) -> None:
        self.problems: list[tuple[Path, str]] = []

    def contents(self, tree: Any) -> Contents:
        """Read the whole file."""
        if not isinstance(tree, Mapping):
            self.problems.append(((), f"{type(tree).__name__} is no table; a lockfile is one, with 'profiles' in it"))
            return Contents()
        return Contents(
            version=self._version(tree.get("version", VERSION)),
            created_at=self._time(tree, "created_at"),
            updated_at=self._time(tree, "updated_at"),
            default_profile=self._name(tree.get("default_profile", DEFAULT_PROFILE), ("default_profile",), "profile"),
            metadata=self._table(tree, "metadata"),
            packages=self._packages(self._table(tree, "extends")),
            profiles={name: self._profile(name, tree["profiles"]) for name in self._table(tree, "profiles")},
        )

    def _version(self, value: Any) -> str:
        text = str(value)
        if text.partition(".")[0] != VERSION.partition(".")[0] or isinstance(value, bool):
            self.problems.append((("version",), f"{value!r} is not a version that is known here; this reads {VERSION}"))
        return text

    def _time(self, tree: Mapping[str, Any], key: str) -> datetime | None:
        value = tree.get(key)
        if value is None:
            return None
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
            return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        except (TypeError, ValueError):
            self.problems.append(((key,), f"{value!r} is no date and time; write it as '2026-11-01T12:00:00+00:00'"))
            return None

    def _name(self, value: Any, path: Path, what: str) -> str:
        if isinstance(value, str) and value.strip() and not _CONTROL.search(value):
            return value.strip()
        self.problems.append((path, f"{value!r} is no name of a {what}; give a text in one line"))
        return str(value)

    def _table(self, tree: Mapping[str, Any], key: str, path: Path = ()) -> Mapping[str, Any]:
        value = tree.get(key)
        if value is None or isinstance(value, Mapping):
            return value or {}
        self.problems.append(((*path, key), f"{type(value).__name__} is no table"))
        return {}

    def _list(self, tree: Mapping[str, Any], key: str, path: Path) -> list[Any]:
        value = tree.get(key)
        if value is None or isinstance(value, list):
            return value or []
        self.problems.append(((*path, key), f"{value!r} is no list"))
        return []

    def _packages(self, extends: Mapping[str, Any]) -> tuple[str, ...]:
        names = self._list(extends, "packages", ("extends",))
        for number, name in enumerate(names):
            self._note(("extends", "packages", number), package_problem(name))
        return tuple([str(name) for name in names])

    def _note(self, path: Path, problem: str | None) -> bool:
        if problem is not None:
            self.problems.append((path, problem))
        return problem is None

    def _profile(self, key: str, profiles: Mapping[str, Any]) -> Profile:
        path: Path = ("profiles", key)
        tree = self._table(profiles, key, ("profiles",))
        self._name(key, path, "profile")
        if tree.get("name", key) != key:
            self._note((*path, "name"), f"{tree['name']!r} is not the profile's own name; write {key!r}, or leave it out")
        return Profile(key, self._bindings(tree, path), self._versions(tree, path))

    def _bindings(self, tree: Mapping[str, Any], path: Path) -> Mapping[str, Binding]:
        places: dict[str, Path] = {}
        bindings: dict[str, Binding] = {}
        for number, entry in enumerate(self._list(tree, "bindings", path)):
            place: Path = (*path, "bindings", number)
            binding = self._binding(entry, place)
            if binding is None:
                continue
            if binding.alias in bindings:
                self._note((*place, "alias"), f"{binding.alias!r} is bound above already; keep one of the two")
            bindings[binding.alias], places[binding.alias] = binding, place
        for alias, binding in bindings.items():
            for number, model in enumerate(binding.models):
                if model in bindings:
                    text = f"{model!r} is an alias itself; an alias holds models, such as 'vendor:model'"
                    self._note((*places[alias], "models", number), text)
        return bindings

    def _versions(self, tree: Mapping[str, Any], path: Path) -> Mapping[str, int]:
        versions = self._table(tree, "registry_versions", path)
        for vendor, version in versions.items():
            if isinstance(version, bool) or not isinstance(version, int) or version < 0:
                self._note((*path, "registry_versions", vendor), f"{version!r} is no whole number ≥ 0; write the vendor's version")
        return dict(versions)

    def _binding(self, entry: Any, path: Path) -> Binding | None:
        if not isinstance(entry, Mapping):
            self._note(path, f"{entry!r} is no table; write alias = '...' and models = ['vendor:model']")
            return None
        named = self._note((*path, "alias"), alias_problem(entry.get("alias")))
        models = self._models(entry, path)
        constraints = self._table(entry, "constraints", path) if entry.get("constraints") is not None else None
        self._note((*path, "constraints", "on"), constraints_problem(constraints))
        return Binding(entry["alias"].strip(), models, constraints) if named else None

    def _models(self, entry: Mapping[str, Any], path: Path) -> tuple[str, ...]:
        """A binding's models. Older files have one model, as ``provider`` and ``model``."""
        models = entry.get("models")
        if models is None and "model" in entry:
            provider = entry.get("provider")
            models = [f"{provider}:{entry['model']}" if provider else entry["model"]]
        if not isinstance(models, list) or not models:
            self._note((*path, "models"), f"{models!r} is no list of models; write ['vendor:model', ...], the first choice first")
            return ()
        for number, model in enumerate(models):
            self._note((*path, "models", number), model_problem(model))
        return tuple([str(model).strip() for model in models])
