"""Write a lockfile: changes go into the text that was read, and the rest stays. Also the messages about missing aliases.

Such a message names the aliases and the profile, and has the complete text that adds them.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, MutableMapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ...errors import ConfigError
from ...runtime import write_file
from .plain_toml import document
from .reading import Binding, Contents, Profile, read

Make = Callable[[Any, Any], Any]
"""Makes an item of a plain value, for the table or list that it is put into."""


def tree_of(contents: Contents) -> dict[str, Any]:
    """Return the contents as a plain tree, in the order of a file."""
    tree: dict[str, Any] = {"version": contents.version}
    tree |= {key: moment.isoformat() for key, moment in _times(contents) if moment is not None}
    tree["default_profile"] = contents.default_profile
    if contents.metadata:
        tree["metadata"] = dict(contents.metadata)
    if contents.packages:
        tree["extends"] = {"packages": list(contents.packages)}
    tree["profiles"] = {name: profile.dump() for name, profile in contents.profiles.items()}
    return tree


def _times(contents: Contents) -> list[tuple[str, Any]]:
    return [("created_at", contents.created_at), ("updated_at", contents.updated_at)]


def json_of(tree: Any) -> str:
    return json.dumps(tree, indent=2, ensure_ascii=False, default=lambda value: value.isoformat()) + "\n"


def as_is(value: Any, inside: Any) -> Any:
    """Return the value itself: the item of a tree of plain values."""
    return value


def apply(tree: MutableMapping[str, Any], before: Contents, after: Contents, make: Make) -> None:
    """Write what differs into the tree that ``before`` was read from; unknown keys stay."""
    for key in ("version", "default_profile"):
        if getattr(before, key) != getattr(after, key):
            tree[key] = make(getattr(after, key), tree)
    for (key, old), (_, new) in zip(_times(before), _times(after), strict=True):
        if old != new:
            tree[key] = make(new.isoformat(), tree)
    if before.metadata != after.metadata:
        tree["metadata"] = make(dict(after.metadata), tree)
    if before.packages != after.packages:
        extends = _subtable(tree, "extends", make)
        extends["packages"] = make(list(after.packages), extends)
    for name, profile in after.profiles.items():
        old_profile = before.profiles.get(name)
        if old_profile is None:
            profiles = _subtable(tree, "profiles", make)
            profiles[name] = make(profile.dump(), profiles)
        elif old_profile != profile:
            _apply_profile(tree["profiles"][name], old_profile, profile, make)


def _subtable(tree: MutableMapping[str, Any], key: str, make: Make) -> Any:
    """The table of that name, made if there is none."""
    if tree.get(key) is None:
        tree[key] = make({}, tree)
    return tree[key]


def _apply_profile(tree: MutableMapping[str, Any], before: Profile, after: Profile, make: Make) -> None:
    if before.bindings != after.bindings:
        _apply_bindings(tree, before, after, make)
    if before.registry_versions != after.registry_versions:
        versions = _subtable(tree, "registry_versions", make)
        for vendor in before.registry_versions.keys() - after.registry_versions.keys():
            del versions[vendor]
        for vendor, version in after.registry_versions.items():
            if before.registry_versions.get(vendor) != version:
                versions[vendor] = make(version, versions)


def _apply_bindings(tree: MutableMapping[str, Any], before: Profile, after: Profile, make: Make) -> None:
    entries = tree.get("bindings")
    if not entries:
        if entries is not None:
            del tree["bindings"]
        tree["bindings"] = make([binding.dump() for binding in after.bindings.values()], tree)
        return
    for place in reversed(range(len(entries))):
        alias = entries[place]["alias"].strip()
        wanted = after.bindings.get(alias)
        if wanted is None:
            del entries[place]
        elif before.bindings[alias] != wanted:
            _apply_binding(entries[place], wanted, make)
    for alias, binding in after.bindings.items():
        if alias not in before.bindings:
            entries.append(make(binding.dump(), entries))


def _apply_binding(entry: MutableMapping[str, Any], binding: Binding, make: Make) -> None:
    for key in ("provider", "model"):
        entry.pop(key, None)
    entry["models"] = make(list(binding.models), entry)
    if binding.constraints is not None:
        entry["constraints"] = make(dict(binding.constraints), entry)
    else:
        entry.pop("constraints", None)


def check(text: str, contents: Contents, name: str) -> str:
    """Return the text if it reads as *contents*; a file is never replaced by one that says something else."""
    if read(text, name).contents != contents:
        raise ConfigError(f"{name}: these contents cannot be written without loss; save them as JSON, or to a new file")
    return text


def replace(path: Path, text: str) -> None:
    """Replace a file atomically: readers see the old or the new text. Mode and symbolic links are kept."""
    target = Path(os.path.realpath(path))
    try:
        write_file(target, text.encode(), private=False)
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be written: {error.strerror}") from None


EXAMPLE = ("vendor:model",)


def bindings_text(form: str, text: str, contents: Contents, profile: str, bindings: Sequence[Binding]) -> str:
    """Return what to add to a lockfile with this ``text`` and ``form``, so that a profile has these bindings."""
    if form == "json":
        entries = [json.dumps(binding.dump(), ensure_ascii=False) for binding in bindings]
        return f'in the list "bindings" of "profiles" → {json.dumps(profile, ensure_ascii=False)}:\n\n' + ",\n".join(entries)
    made = Profile(profile, {binding.alias: binding for binding in bindings}).dump()
    if profile in contents.profiles:
        del made["name"]
    added = document(made, "profiles", profile)
    if _is_toml(f"{text}\n{added}"):
        return f"at its end:\n\n{added}"
    made["bindings"] = [binding.dump() for binding in contents.profile(profile).bindings.values()] + made["bindings"]
    return f"at its end, and take 'bindings' out of [profiles.{profile}]:\n\n{document(made, 'profiles', profile)}"


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def file_text(profile: str, bindings: Sequence[Binding]) -> str:
    """Return a new lockfile, in TOML, with these bindings in a profile."""
    made = Profile(profile, {binding.alias: binding for binding in bindings})
    return document(tree_of(Contents(default_profile=profile, profiles={profile: made})))


def missing_text(contents: Contents, path: Path | None, profile: str, missing: Sequence[str]) -> str:
    """Return one sentence about the aliases that a profile lacks, with the likeliest reason for each."""
    where = f"{path}: " if path is not None else ""
    named = ", ".join(map(repr, missing))
    return f"{where}the profile {profile!r} has no alias {named}{hints_text(contents, profile, missing)}"


def hints_text(contents: Contents, profile: str, missing: Sequence[str]) -> str:
    """Return the likeliest reasons why aliases are missing, in brackets; empty if there is none."""
    hints = [hint for hint in (_hint(contents, profile, alias) for alias in missing) if hint]
    return f" ({'; '.join(hints)})" if hints else ""


def _hint(contents: Contents, profile: str, alias: str) -> str:
    others = [name for name, other in contents.profiles.items() if alias in other.bindings]
    if others:
        return f"{alias!r} is bound in {', '.join(map(repr, others))}"
    there = {name.lower(): name for name in contents.profile(profile).bindings}
    near = get_close_matches(alias.lower(), there, n=1, cutoff=0.75)
    return f"did you mean {there[near[0]]!r}?" if near else ""
