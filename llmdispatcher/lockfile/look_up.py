"""Looking an alias up: in a profile of the file, or of a package that it extends; what was found once is remembered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from ..errors import ConfigError, LockfileInvalid, LockfileNotFound
from . import places, reading
from .alias import Alias
from .values import Binding, Contents

_REMEMBERED = 4096
_UNASKED: Any = object()
"""Not looked up yet, as opposed to looked up and not there."""


@attrs.frozen
class Extension:
    """A package whose aliases a lockfile extends: the path of its lockfile, or what is wrong with it."""

    name: str
    path: Path | None = None
    problem: str | None = None
    contents: Contents = attrs.field(factory=Contents, repr=False)


class Extensions:
    """The lockfiles of packages, each read once; one that is not there is looked for again."""

    def __init__(self) -> None:
        self._known: dict[str, Extension] = {}

    def of(self, name: str) -> Extension:
        """That of a package, by the name in ``extends``."""
        known = self._known.get(name)
        if known is not None:
            return known
        path = None
        try:
            path = places.in_package(name)
            found = Extension(name, path, contents=reading.read(places.text_at(path), str(path)).contents)
        except ConfigError as error:
            return Extension(name, path, error.message)
        return self._known.setdefault(name, found)


def package_key(name: str) -> str:
    """A package's one spelling: case, ``-``, ``_`` and ``.`` make no difference, as the packaging specifications have it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _spelled(alias: str, packages: Mapping[str, str]) -> str:
    """An alias with its package as ``extends`` spells it; other names as they are."""
    head, colon, tail = alias.partition(":")
    package = packages.get(package_key(head)) if colon else None
    return alias if package is None else f"{package}:{tail.strip()}"


@attrs.frozen(eq=False)
class Table:
    """A lockfile's contents, laid out for look-ups; ``where`` is the file, for messages. Never changed, but for its memory."""

    contents: Contents
    extensions: Extensions
    where: str
    packages: Mapping[str, str]
    bindings: Mapping[str, Mapping[str, Binding]]
    names: frozenset[str]
    found: dict[tuple[str, str], Alias | None] = attrs.field(factory=dict)
    heads: dict[str, str | None] = attrs.field(factory=dict)

    @classmethod
    def of(cls, contents: Contents, extensions: Extensions, where: str) -> Table:
        """Laid out anew."""
        packages = {package_key(name): name for name in contents.packages}
        bindings = {
            name: {_spelled(alias, packages): binding for alias, binding in profile.bindings.items()}
            for name, profile in contents.profiles.items()
        }
        names = frozenset([alias for bound in bindings.values() for alias in bound])
        return cls(contents, extensions, where, packages, bindings, names)

    def profile(self, given: str | None) -> str:
        """The profile that holds: the one given, the environment's, or the default."""
        if given is not None and (given := given.strip()):
            return given
        named = places.profile_of_environment()
        return named[0] if named is not None else self.contents.default_profile

    def existing(self, given: str | None) -> str:
        """The same. Raises :class:`ConfigError` where the file has none of that name."""
        name = self.profile(given)
        if name in self.contents.profiles or name == self.contents.default_profile:
            return name
        named = None if given is not None and given.strip() else places.profile_of_environment()
        there = ", ".join(self.contents.profiles) or "none"
        raise ConfigError(f"{named[1] if named else 'profile'}: there is no {name!r} in {self.where}; there are {there}")

    def find(self, name: str, given: str | None) -> Alias | None:
        """What a name stands for in a profile; ``None`` where it is no alias there."""
        name = name.strip()
        if name not in self.names:
            head, colon, _ = name.partition(":")
            if not colon or not self.packages or self._package(head) is None:
                return None
        key = (name, self.profile(given))
        found = self.found.get(key, _UNASKED)
        return self._look_up(key, given) if found is _UNASKED else found

    def _package(self, head: str) -> str | None:
        """The extended package that stands before a colon, as ``extends`` spells it; ``None`` where none does."""
        package: str | None = self.heads.get(head, _UNASKED)
        if package is _UNASKED:
            if len(self.heads) >= _REMEMBERED:
                self.heads.clear()
            package = self.heads[head] = self.packages.get(package_key(head))
        return package

    def _look_up(self, key: tuple[str, str], given: str | None) -> Alias | None:
        profile = self.existing(given)
        name = _spelled(key[0], self.packages)
        binding = self.bindings.get(profile, {}).get(name)
        if binding is None:
            head, colon, tail = name.partition(":")
            package = self._package(head) if colon else None
            binding = self._of_package(package, tail, profile) if package is not None else None
        found = Alias(name, profile, binding.models) if binding is not None else None
        if len(self.found) >= _REMEMBERED:
            self.found.clear()
        return self.found.setdefault(key, found)

    def _of_package(self, package: str, alias: str, profile: str) -> Binding | None:
        """A package's own binding: of its profile of that name, else of its default; what it extends itself does not count."""
        extension = self.extensions.of(package)
        if extension.problem is not None:
            kind = LockfileNotFound if extension.path is None else LockfileInvalid
            raise kind(f"alias '{package}:{alias}': {extension.problem}")
        theirs = extension.contents
        return theirs.profile(profile).bindings.get(alias) or theirs.profile(theirs.default_profile).bindings.get(alias)
