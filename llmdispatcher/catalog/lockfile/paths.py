"""Where lockfiles are found: an explicit path, the environment, the program's folder, an installed package, or the bundled one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from ...errors import ConfigError, LockfileInvalid, LockfileNotFound
from ...runtime import user_path

NAMES = ("llmdispatcher.lock", "llmring.lock")
"""What a lockfile is called, in the order in which it is looked for."""
_PATHS = ("LLMDISPATCHER_LOCKFILE", "LLMRING_LOCKFILE_PATH")
_PROFILES = ("LLMDISPATCHER_PROFILE", "LLMRING_PROFILE")
BUNDLED = Path(__file__).parents[1] / "data" / "bundled.lock"


def discovered(folder: Path | None = None) -> Path:
    """The lockfile that holds here: the environment's, the one in the working directory, or the one that comes with the library.

    Raises :class:`LockfileNotFound` where the environment names one that is not there.
    """
    for variable in _PATHS:
        named = os.environ.get(variable, "").strip()
        if named:
            return existing(user_path(named, variable), f"{variable}: ")
    here = [(folder or Path()) / name for name in NAMES]
    return next((path for path in here if path.is_file()), BUNDLED)


def existing(path: Path, why: str = "") -> Path:
    """The path, if a file is there. Raises :class:`LockfileNotFound`."""
    if not path.is_file():
        raise LockfileNotFound(f"{why}{path}: there is no such file; write one with Lockfile.create_default({str(path)!r}).save()")
    return path


def text_at(path: Path) -> str:
    """What stands in a file. Raises :class:`LockfileInvalid` for what is no UTF-8, :class:`ConfigError` for what cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LockfileInvalid(f"{path}: this is no UTF-8, from byte {error.start} on; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read: {error.strerror}") from None


def profile_of_environment() -> tuple[str, str] | None:
    """The profile that the environment names, and in which variable."""
    for variable in _PROFILES:
        named = os.environ.get(variable)
        if named and (named := named.strip()):
            return named, variable
    return None


def in_package(name: str) -> Path:
    """The lockfile of an installed distribution, which is not imported for it.

    Raises :class:`LockfileNotFound` where the distribution is not installed or has none.
    """
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise LockfileNotFound(f"the package {name!r} is not installed; pip install {name}") from None
    found = next((path for path in _places(distribution) if path.is_file()), None)
    if found is None:
        raise LockfileNotFound(f"the package {name!r} has no {' or '.join(NAMES)} in it; take it out of 'extends'")
    return found


def _places(distribution: metadata.Distribution) -> Iterator[Path]:
    """Where its lockfile may be: among its files, or, where it is installed as a link to its sources, in their packages."""
    files = distribution.files or []
    for name in NAMES:
        listed = sorted([file for file in files if file.name == name], key=lambda file: len(file.parts))
        yield from [Path(str(distribution.locate_file(file))) for file in listed]
    for package in _packages(distribution):
        with suppress(ValueError):  # a module without a spec; what has no dot in its name is found without an import
            spec = find_spec(package)
            yield from [Path(place) / name for place in (spec and spec.submodule_search_locations) or () for name in NAMES]


def _packages(distribution: metadata.Distribution) -> list[str]:
    """The names that it is imported by, as far as it tells."""
    told = (distribution.read_text("top_level.txt") or "").split()
    named = (distribution.metadata["Name"] or "").replace("-", "_").replace(".", "_")
    return [name for name in dict.fromkeys([*told, named, named.lower()]) if name.isidentifier()]
