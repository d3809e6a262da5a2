"""From a lockfile's text to its contents. Every mistake is told, with its line and path, in one error."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import attrs

from ..errors import LockfileInvalid
from ..request_fields import ANY_MODEL
from .lines import Path, line_of, written
from .values import DEFAULT_PROFILE, VERSION, Binding, Contents, Profile

_PACKAGE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")
"""A distribution's name, https://packaging.python.org/en/latest/specifications/name-normalization/; no line end behind it."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@attrs.frozen
class Source:
    """A lockfile as it was read: its text, ``form`` ("toml" or "json"), the plain tree in it, and what that means."""

    text: str
    form: str
    tree: Mapping[str, Any]
    contents: Contents


def form_of(name: str, text: str = "") -> str:
    """``"json"`` or ``"toml"``, by the name of a file, else by what it begins with."""
    return "json" if name.lower().endswith(".json") or text.lstrip("\ufeff \t\r\n").startswith("{") else "toml"


def read(text: str, name: str) -> Source:
    """The lockfile in a text; ``name`` is the file's, for messages. Raises :class:`LockfileInvalid`."""
    form = form_of(name, text)
    try:
        tree = plain(text, form)
    except (ValueError, RecursionError) as error:  # both parsers tell line and column in theirs
        told = str(error) or type(error).__name__
        raise LockfileInvalid(f"{name}: this is no {form.upper()}: {told}", problems=[told]) from None
    reader = _Reader()
    contents = reader.contents(tree)
    if reader.problems:
        told_all = [_told(text, form, path, problem) for path, problem in reader.problems]
        raise LockfileInvalid("\n  ".join([f"{name}: {_counted(told_all)}", *told_all]), problems=told_all)
    return Source(text, form, tree, contents)


def plain(text: str, form: str) -> Any:
    """The tree in a text, as its parser gives it."""
    return json.loads(text) if form == "json" else tomllib.loads(text)


def _told(text: str, form: str, path: Path, problem: str) -> str:
    line = line_of(text, form, path)
    where = f"{written(path)}: {problem}" if path else problem
    return f"line {line}: {where}" if line is not None else where


def _counted(problems: list[str]) -> str:
    return "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"


def alias_problem(alias: Any) -> str | None:
    """Why something cannot be an alias, or ``None`` where it can."""
    if not isinstance(alias, str) or not alias.strip() or _CONTROL.search(alias) or alias.strip().lower() == ANY_MODEL:
        return f"{alias!r} is no name for an alias; give a text in one line, other than {ANY_MODEL!r}"
    return None


def model_problem(model: Any) -> str | None:
    """Why something cannot be a model of an alias, or ``None`` where it can."""
    if not isinstance(model, str) or not model.strip() or _CONTROL.search(model):
        return f"{model!r} is no model's name; give 'vendor:model'"
    if model.partition(":")[2].strip() == "" and ":" in model:
        return f"{model!r} names no model behind its vendor; give 'vendor:model'"
    return None


def package_problem(name: Any) -> str | None:
    """Why something cannot be a package's name, or ``None`` where it can."""
    if isinstance(name, str) and _PACKAGE.match(name):
        return None
    return f"{name!r} is no package's name; give that of an installed distribution, such as 'my-library'"


class _Reader:
    """Reads what is right and writes down what is not."""

    def __init__(self) -> None:
        self.problems: list[tuple[Path, str]] = []

    def contents(self, tree: Any) -> Contents:
        """The whole file."""
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
        return Binding(entry["alias"].strip(), models, constraints) if named else None

    def _models(self, entry: Mapping[str, Any], path: Path) -> tuple[str, ...]:
        """A binding's models; earlier files had ``provider`` and ``model`` for the one there was."""
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
