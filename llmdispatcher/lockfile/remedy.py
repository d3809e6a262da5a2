"""What is told of aliases that are missing: which, where, and the whole text that would mend it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from .plain_toml import document, section
from .values import Binding, Contents, Profile
from .writing import tree_of

EXAMPLE = ("vendor:model",)


def bindings_text(form: str, text: str, contents: Contents, profile: str, bindings: Sequence[Binding]) -> str:
    """What is to be added to a lockfile, to its ``text`` in its own form, so that a profile has these bindings."""
    if form == "json":
        entries = [json.dumps(binding.dump(), ensure_ascii=False) for binding in bindings]
        return f'in the list "bindings" of "profiles" → {json.dumps(profile, ensure_ascii=False)}:\n\n' + ",\n".join(entries)
    made = Profile(profile, {binding.alias: binding for binding in bindings}).dump()
    if profile in contents.profiles:
        del made["name"]
    added = section(("profiles", profile), made)
    if _is_toml(f"{text}\n{added}"):
        return f"at its end:\n\n{added}"
    made["bindings"] = [binding.dump() for binding in contents.profile(profile).bindings.values()] + made["bindings"]
    return f"at its end, and take 'bindings' out of [profiles.{profile}]:\n\n{section(('profiles', profile), made)}"


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def file_text(profile: str, bindings: Sequence[Binding]) -> str:
    """A whole new lockfile, in TOML, with these bindings in a profile."""
    made = Profile(profile, {binding.alias: binding for binding in bindings})
    return document(tree_of(Contents(default_profile=profile, profiles={profile: made})))


def missing_text(contents: Contents, path: Path | None, profile: str, missing: Sequence[str]) -> str:
    """Which aliases a profile has not got, in one sentence, with the likeliest reason for each."""
    where = f"{path}: " if path is not None else ""
    named = ", ".join(map(repr, missing))
    return f"{where}the profile {profile!r} has no alias {named}{hints_text(contents, profile, missing)}"


def hints_text(contents: Contents, profile: str, missing: Sequence[str]) -> str:
    """The likeliest reasons for aliases to be missing, in brackets; empty where none comes to mind."""
    hints = [hint for hint in (_hint(contents, profile, alias) for alias in missing) if hint]
    return f" ({'; '.join(hints)})" if hints else ""


def _hint(contents: Contents, profile: str, alias: str) -> str:
    others = [name for name, other in contents.profiles.items() if alias in other.bindings]
    if others:
        return f"{alias!r} is bound in {', '.join(map(repr, others))}"
    there = {name.lower(): name for name in contents.profile(profile).bindings}
    near = get_close_matches(alias.lower(), there, n=1, cutoff=0.75)
    return f"did you mean {there[near[0]]!r}?" if near else ""
