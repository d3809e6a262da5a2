"""``Lockfile``: which models an alias stands for, in each profile; read, look up, change and save it.

An alias is looked up in a profile of the file, then in those of the packages that it extends. Results are cached.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs

from ...errors import ConfigError, LockfileInvalid, LockfileNotFound
from ...runtime import SYSTEM_CLOCK, Clock, new_lock, user_path
from ..facts import canonical
from . import paths, plain_toml, reading, writing
from .alias import Alias
from .reading import PROFILES, Binding, Contents, Profile

_CACHE_SIZE = 4096
_MISSING: Any = object()
"""Not looked up yet, as opposed to ``None``: there is none."""


@attrs.frozen
class Extension:
    """A package that a lockfile extends: the path of its lockfile, or what is wrong with it."""

    name: str
    path: Path | None = None
    problem: str | None = None
    contents: Contents = attrs.field(factory=Contents, repr=False)


class Extensions:
    """The lockfiles of packages, each read once; a missing one is looked for again."""

    def __init__(self) -> None:
        self._known: dict[str, Extension] = {}

    def of(self, name: str) -> Extension:
        """Return the lockfile of a package, by its name in ``extends``."""
        known = self._known.get(name)
        if known is not None:
            return known
        path = None
        try:
            path = paths.find_in_package(name)
            found = Extension(name, path, contents=reading.read(paths.read_text(path), str(path)).contents)
        except ConfigError as error:
            return Extension(name, path, error.message)
        return self._known.setdefault(name, found)


def package_key(name: str) -> str:
    """Return a package's normalized name: case, ``-``, ``_`` and ``.`` make no difference, as in the packaging specifications."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _spell(alias: str, packages: Mapping[str, str]) -> str:
    """An alias with its package as ``extends`` spells it; other names are unchanged."""
    head, colon, tail = alias.partition(":")
    package = packages.get(package_key(head)) if colon else None
    return alias if package is None else f"{package}:{tail.strip()}"


@attrs.frozen(eq=False)
class Table:
    """A lockfile's contents, arranged for look-ups; ``where`` is the file, for messages. Only its caches change."""

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
        """Arrange contents for look-ups."""
        packages = {package_key(name): name for name in contents.packages}
        bindings = {
            name: {_spell(alias, packages): binding for alias, binding in profile.bindings.items()}
            for name, profile in contents.profiles.items()
        }
        names = frozenset([alias for bound in bindings.values() for alias in bound])
        return cls(contents, extensions, where, packages, bindings, names)

    def profile(self, given: str | None) -> str:
        """Return the profile in use: the one given, the environment's, or the default."""
        if given is not None and (given := given.strip()):
            return given
        named = paths.profile_of_environment()
        return named[0] if named is not None else self.contents.default_profile

    def existing(self, given: str | None) -> str:
        """Return the profile in use. Raises :class:`ConfigError` if the file has none of that name."""
        name = self.profile(given)
        if name in self.contents.profiles or name == self.contents.default_profile:
            return name
        named = None if given is not None and given.strip() else paths.profile_of_environment()
        there = ", ".join(self.contents.profiles) or "none"
        raise ConfigError(f"{named[1] if named else 'profile'}: there is no {name!r} in {self.where}; there are {there}")

    def find(self, name: str, given: str | None) -> Alias | None:
        """Return the alias of that name in a profile, or ``None``."""
        name = name.strip()
        if name not in self.names:
            head, colon, _ = name.partition(":")
            if not colon or not self.packages or self._package(head) is None:
                return None
        key = (name, self.profile(given))
        found = self.found.get(key, _MISSING)
        return self._look_up(key, given) if found is _MISSING else found

    def _package(self, head: str) -> str | None:
        """The extended package before a colon, as ``extends`` spells it, or ``None``."""
        package: str | None = self.heads.get(head, _MISSING)
        if package is _MISSING:
            if len(self.heads) >= _CACHE_SIZE:
                self.heads.clear()
            package = self.heads[head] = self.packages.get(package_key(head))
        return package

    def _look_up(self, key: tuple[str, str], given: str | None) -> Alias | None:
        profile = self.existing(given)
        name = _spell(key[0], self.packages)
        binding = self.bindings.get(profile, {}).get(name)
        if binding is None:
            head, colon, tail = name.partition(":")
            package = self._package(head) if colon else None
            binding = self._of_package(package, tail, profile) if package is not None else None
        found = Alias(name, profile, binding.models, binding.on) if binding is not None else None
        if len(self.found) >= _CACHE_SIZE:
            self.found.clear()
        return self.found.setdefault(key, found)

    def _of_package(self, package: str, alias: str, profile: str) -> Binding | None:
        """A package's own binding in its profile of that name, else in its default profile; what it extends does not count."""
        extension = self.extensions.of(package)
        if extension.problem is not None:
            kind = LockfileNotFound if extension.path is None else LockfileInvalid
            raise kind(f"alias '{package}:{alias}': {extension.problem}")
        other = extension.contents
        return other.profile(profile).bindings.get(alias) or other.profile(other.default_profile).bindings.get(alias)


class Lockfile:
    """Aliases → ordered pools of models, in profiles; safe to share between threads.

    Names of aliases and profiles are exact, but for blanks around them; case and ``-_.`` make no difference in the package of
    ``pkg:alias``. Where a method takes a ``profile``, the one of ``LLMDISPATCHER_PROFILE`` holds if none is given, then that of
    ``LLMRING_PROFILE``, then the file's own default. Changes hold at once, in dispatchers too, and are written by ``save``.
    """

    def __init__(
        self,
        contents: Contents | None = None,
        path: Path | None = None,
        *,
        source: reading.LockfileText | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.path = path
        """The file that it was read from and is saved to."""
        self._source = source
        self._clock = clock
        self._lock = new_lock()
        self._saving = new_lock()  # held while a file is written: saves of one object follow each other, other methods do not wait
        self._extensions = Extensions()
        self._table = self._lay_out(contents or Contents())

    def _lay_out(self, contents: Contents) -> Table:
        return Table.of(contents, self._extensions, str(self.path or "the lockfile"))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, clock: Clock = SYSTEM_CLOCK) -> Self:
        """Read a lockfile, TOML or JSON. Raises :class:`LockfileNotFound`, or :class:`LockfileInvalid` with each mistake."""
        file = paths.require_file(user_path(path, "lockfile")).absolute()  # the working directory may change before it is saved
        source = reading.read(paths.read_text(file), str(file))
        return cls(source.contents, file, source=source, clock=clock)

    @classmethod
    def discover(cls, folder: str | os.PathLike[str] | None = None, *, clock: Clock = SYSTEM_CLOCK) -> Self:
        """Read the lockfile that applies here.

        That of ``LLMDISPATCHER_LOCKFILE``, then ``LLMRING_LOCKFILE_PATH``; then ``llmdispatcher.lock``, then ``llmring.lock`` in
        ``folder``, without which it is the working directory; then the one that comes with the library.
        """
        return cls.load(paths.discover(Path(folder) if folder is not None else None), clock=clock)

    @classmethod
    def create_default(cls, path: str | os.PathLike[str] | None = None, *, clock: Clock = SYSTEM_CLOCK) -> Self:
        """Make a new lockfile with the empty profiles default, prod, staging and dev; nothing is written before ``save``."""
        contents = Contents(created_at=(now := clock.now()), updated_at=now, profiles={name: Profile(name) for name in PROFILES})
        return cls(contents, user_path(path, "lockfile").absolute() if path is not None else None, clock=clock)

    @property
    def contents(self) -> Contents:
        """The contents: profiles with their aliases, packages, times, metadata."""
        return self._table.contents

    @property
    def digest(self) -> str:
        """SHA-256, hex, of the contents in canonical form, times included."""
        return self.contents.digest()

    @property
    def is_bundled(self) -> bool:
        """Whether it is the one that comes with the library."""
        return self.path == paths.BUNDLED

    def profile_in_use(self, profile: str | None = None) -> str:
        """Return the profile in use: the one given, the environment's, or the default, whether or not it exists."""
        return self._table.profile(profile)

    def aliases(self, profile: str | None = None) -> dict[str, tuple[str, ...]]:
        """Return the aliases of a profile with their models; those of readable extended packages follow, as ``pkg:alias``."""
        table = self._table
        profile = table.existing(profile)
        known = {alias: binding.models for alias, binding in table.bindings.get(profile, {}).items()}
        for extension in self.extensions():
            for alias in extension.contents.aliases():
                found = table.find(f"{extension.name}:{alias}", profile)
                if found is not None:
                    known.setdefault(found.name, found.models)
        return known

    def has_alias(self, alias: str, profile: str | None = None) -> bool:
        """Tell whether a profile has the alias; False for one of a package that is missing or cannot be read."""
        try:
            return self.find(alias, profile) is not None
        except (LockfileNotFound, LockfileInvalid):
            return False

    def require_aliases(self, names: str | Iterable[str], *, context: str | None = None, profile: str | None = None) -> None:
        """Raise one :class:`ConfigError` for all aliases that are missing; ``context`` says who needs them."""
        wanted = [names] if isinstance(names, str) else list(names)
        missing = [name for name in dict.fromkeys(wanted) if not self.has_alias(name, profile)]
        if missing:
            raise self.missing(missing, profile, context)

    def resolve(self, alias: str, profile: str | None = None, *, available: Iterable[str] | None = None) -> tuple[str, ...]:
        """Return the models of an alias, the first choice first; with ``available`` only those of such vendors, and bare names.

        Raises :class:`ConfigError` for an unknown alias, with the text that would add it, and if no vendor is available.
        """
        found = self.find(alias, profile)
        if found is None:
            raise self.missing([alias], profile)
        if available is None:
            return found.models
        vendors = {canonical(name) for name in available}
        left = tuple([model for model in found.models if ":" not in model or canonical(model.partition(":")[0]) in vendors])
        if not left:
            there = ", ".join(sorted(vendors)) or "no vendors"
            raise ConfigError(f"alias {found.name!r}: it stands for {', '.join(found.models)}; available are {there}")
        return left

    def find(self, name: str, profile: str | None = None) -> Alias | None:
        """Return the alias of that name in a profile, or ``None``.

        Raises :class:`ConfigError` for an unknown profile, :class:`LockfileNotFound` for a package that is not there.
        """
        return self._table.find(name, profile)

    def extensions(self) -> tuple[Extension, ...]:
        """Return the packages of ``extends`` with their lockfiles, found without importing them, and what is wrong with each."""
        return tuple([self._extensions.of(name) for name in self.contents.packages])

    def bind(
        self, alias: str, models: str | Sequence[str], *, profile: str | None = None, constraints: Mapping[str, Any] | None = None
    ) -> Binding:
        """Bind an alias to models: a list, or a text with commas. A former binding is replaced; a missing profile is made."""
        given: Any = models
        if not isinstance(given, str | Sequence):
            raise ConfigError(f"bind: {type(given).__name__} is not a list of models; give 'vendor:model', or a list of them")
        listed = [model.strip() for model in models.split(",")] if isinstance(models, str) else list(models)
        for problem in (reading.alias_problem(alias), *map(reading.model_problem, listed)):
            if problem is not None:
                raise ConfigError(f"bind: {problem}")
        if not listed:
            raise ConfigError(f"bind: {alias!r} needs a model; give 'vendor:model', or a list of them")
        if (problem := reading.constraints_problem(constraints)) is not None:
            raise ConfigError(f"bind: constraints.on: {problem}")
        binding = Binding(alias.strip(), tuple([model.strip() for model in listed]), dict(constraints) if constraints else None)

        def with_binding(there: Profile) -> Profile:
            for model in binding.models:
                if model in there.bindings or model == binding.alias:
                    raise ConfigError(f"bind: {model!r} is an alias itself; an alias holds models, such as 'vendor:model'")
            return attrs.evolve(there, bindings={**there.bindings, binding.alias: binding})

        self._change(profile, with_binding)
        return binding

    def unbind(self, alias: str, *, profile: str | None = None) -> bool:
        """Remove an alias from a profile; returns whether it was there."""

        def without_alias(there: Profile) -> Profile:
            return attrs.evolve(there, bindings={name: bound for name, bound in there.bindings.items() if name != alias.strip()})

        return self._change(profile, without_alias)

    def pin(self, vendor: str, version: int | None, *, profile: str | None = None) -> bool:
        """Pin a profile to a version of a vendor's models in the registry, or with ``None`` to the current one."""
        if version is not None and (isinstance(version, bool) or not isinstance(version, int) or version < 0):
            raise ConfigError(f"pin: {version!r} is no whole number ≥ 0; give the version of the vendor's page, or None")

        def with_version(there: Profile) -> Profile:
            versions = {name: number for name, number in there.registry_versions.items() if name != vendor}
            return attrs.evolve(there, registry_versions=versions | ({} if version is None else {vendor: version}))

        return self._change(profile, with_version)

    def extend(self, *packages: str) -> None:
        """Add the aliases of these packages, as ``pkg:alias``. A missing package is noticed when its alias is looked up."""
        for name in packages:
            if (problem := reading.package_problem(name)) is not None:
                raise ConfigError(f"extend: {problem}")
        with self._lock:
            known = {package_key(name): name for name in self.contents.packages}
            added = {package_key(name): name for name in packages} | known
            self._table = self._lay_out(
                attrs.evolve(self.contents, packages=tuple(dict.fromkeys([*known.values(), *added.values()])))
            )

    def _change(self, profile: str | None, change: Callable[[Profile], Profile]) -> bool:
        name = self.profile_in_use(profile)
        with self._lock:
            before = self.contents
            changed = change(before.profile(name))
            if changed == before.profile(name) and name in before.profiles:
                return False
            self._table = self._lay_out(before.with_profile(changed))
        return True

    def save(self, path: str | os.PathLike[str] | None = None) -> Path:
        """Write it atomically, to its own path or another; comments and unknown keys stay. Returns the path.

        A new file is JSON if its name ends in ``.json``, TOML if it ends in ``.lock`` or ``.toml`` or has no suffix.
        ``updated_at`` becomes now. Raises :class:`ConfigError` for another suffix, if the file has changed since it was read, or,
        for a new lockfile, if it exists already. A path that is given is written in any case.
        """
        target = user_path(path, "save").absolute() if path is not None else self.path
        if target is None or target == paths.BUNDLED:
            raise ConfigError("save: this lockfile has no file of its own; give a path, such as 'llmdispatcher.lock'")
        with self._saving:
            self._write(target, given=path is not None)
        return target

    def _write(self, target: Path, *, given: bool) -> None:
        now, source = self._clock.now(), self._source
        form = source.form if source is not None and target == self.path else reading.form_to_write(str(target))
        contents = attrs.evolve(self.contents, updated_at=now)
        if source is None and contents.created_at is None:
            contents = attrs.evolve(contents, created_at=now)
        if target == self.path and target.exists():
            if source is not None and paths.read_text(target) != source.text:
                raise ConfigError(f"{target}: it has been changed since it was read; load it again, and make the change there")
            if source is None and not given:
                raise ConfigError(f"{target}: there is a file already; load it and change it, or take it away first")
        text = writing.check(text_of(contents, source, form), contents, str(target))
        writing.replace(target, text)
        with self._lock:
            self.path, self._source = target, reading.LockfileText(text, form, reading.parse(text, form), contents)
            self._table = self._lay_out(attrs.evolve(self.contents, created_at=contents.created_at, updated_at=now))

    def missing(self, aliases: Sequence[str], profile: str | None = None, context: str | None = None) -> ConfigError:
        """Return the error for missing aliases, with the text that would add them."""
        name = self.profile_in_use(profile)
        text = writing.missing_text(self.contents, self.path, name, aliases)
        text += f"; {context} needs {'it' if len(aliases) == 1 else 'them'}" if context else ""
        problems = [extension.problem for extension in self.extensions() if extension.problem is not None]
        text += "".join([f"; {problem}" for problem in problems if any(":" in alias for alias in aliases)])
        bindings = [Binding(alias.strip(), _suggest_models(alias.strip())) for alias in aliases]
        if self.path is None or self.is_bundled:
            return ConfigError(f"{text}. Write llmdispatcher.lock:\n\n{writing.file_text(name, bindings)}")
        source = self._source
        form, now = (source.form, source.text) if source is not None else (reading.form_of(self.path.name), "")
        return ConfigError(f"{text}. Add {writing.bindings_text(form, now, self.contents, name, bindings)}")

    def describe_missing(self, alias: str, profile: str | None = None) -> str:
        """Describe a missing alias, for the middle of a sentence."""
        name = self.profile_in_use(profile)
        return f"an alias {alias!r} in the profile {name!r}{writing.hints_text(self.contents, name, [alias])}"

    def __repr__(self) -> str:
        return f"Lockfile({str(self.path) if self.path is not None else None!r}, {len(self._table.names)} aliases)"


def _suggest_models(alias: str) -> tuple[str, ...]:
    """Models for an alias: those of the library's own lockfile, if it has the alias."""
    bundled = reading.read(paths.read_text(paths.BUNDLED), paths.BUNDLED.name).contents
    binding = bundled.profile(bundled.default_profile).bindings.get(alias)
    return binding.models if binding is not None else writing.EXAMPLE


def text_of(contents: Contents, source: reading.LockfileText | None, form: str) -> str:
    """Return the file's new text. Raises :class:`ConfigError` if a TOML file was read and tomlkit is not installed."""
    if source is None or source.form != form:
        return plain_toml.document(writing.tree_of(contents)) if form == "toml" else writing.json_of(writing.tree_of(contents))
    if form == "json":
        tree = copy.deepcopy(dict(source.tree))
        writing.apply(tree, source.contents, contents, writing.as_is)
        return writing.json_of(tree)
    try:
        from .commented import change_text
    except ImportError:
        raise ConfigError(
            "a lockfile in TOML is changed with tomlkit, which keeps its comments; pip install 'llmdispatcher[lockfile]'"
        ) from None
    text: str = change_text(source, contents)
    return text
