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
"""The names of lockfiles, in the order in which they are looked for."""
_PATHS = ("LLMDISPATCHER_LOCKFILE", "LLMRING_LOCKFILE_PATH")
_PROFILES = ("LLMDISPATCHER_PROFILE", "LLMRING_PROFILE")
BUNDLED = Path(__file__).parents[1] / "data" / "bundled.lock"


def discover(folder: Path | None = None) -> Path:
    """Return the lockfile that applies here: the environment's, the one in the working directory, or the library's own.

    Raises :class:`LockfileNotFound` if the environment names one that does not exist.
    """
    for variable in _PATHS:
        named = os.environ.get(variable, "").strip()
        if named:
            return require_file(user_path(named, variable), f"{variable}: ")
    here = [(folder or Path()) / name for name in NAMES]
    return next((path for path in here if path.is_file()), BUNDLED)


def require_file(path: Path, why: str = "") -> Path:
    """Return the path if it is a file. Raises :class:`LockfileNotFound`."""
    if not path.is_file():
        raise LockfileNotFound(f"{why}{path}: there is no such file; write one with Lockfile.create_default({str(path)!r}).save()")
    return path


def read_text(path: Path) -> str:
    """Read a file. Raises :class:`LockfileInvalid` if it is no UTF-8, :class:`ConfigError` if it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LockfileInvalid(f"{path}: this is no UTF-8, from byte {error.start} on; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{path}: it cannot be read: {error.strerror}") from None


def profile_of_environment() -> tuple[str, str] | None:
    """Return the profile that the environment names, and the variable."""
    for variable in _PROFILES:
        named = os.environ.get(variable)
        if named and (named := named.strip()):
            return named, variable
    return None


def find_in_package(name: str) -> Path:
    """Return the lockfile of an installed distribution, without importing it.

    Raises :class:`LockfileNotFound` if the distribution is not installed or has none.
    """
    try:
        distribution = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        raise LockfileNotFound(f"the package {name!r} is not installed; pip install {name}") from None
    found = next((path for path in _candidates(distribution) if path.is_file()), None)
    if found is None:
        raise LockfileNotFound(f"the package {name!r} has no {' or '.join(NAMES)} in it; take it out of 'extends'")
    return found


def _candidates(distribution: metadata.Distribution) -> Iterator[Path]:
    """The paths where its lockfile may be: its files, or, for an editable install, the folders of its packages."""
    files = distribution.files or []
    for name in NAMES:
        listed = sorted([file for file in files if file.name == name], key=lambda file: len(file.parts))
        yield from [Path(str(distribution.locate_file(file))) for file in listed]
    for package in _packages(distribution):
        with suppress(ValueError):  # a module without a spec; a name without a dot is found without an import
            spec = find_spec(package)
            yield from [Path(place) / name for place in (spec and spec.submodule_search_locations) or () for name in NAMES]


def _packages(distribution: metadata.Distribution) -> list[str]:
    """The names by which it is imported, as far as it tells."""
    listed = (distribution.read_text("top_level.txt") or "").split()
    named = (distribution.metadata["Name"] or "").replace("-", "_").replace(".", "_")
    return [name for name in dict.fromkeys([*listed, named, named.lower()]) if name.isidentifier()]
