"""The stored texts by the names of their files, and the programs that make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from . import command_line, loaded, values
from .errors_told import errors_told
from .explained import explained
from .signatures import names, signatures, signatures_of_testing
from .surroundings import cleaned

PARTS: dict[str, Callable[[], str]] = {
    "names.txt": names,
    "signatures.txt": signatures,
    "signatures_testing.txt": signatures_of_testing,
    "errors.json": errors_told,
    "explained.txt": explained,
    "values.json": values.values,
    "options.txt": command_line.options,
    "command_line.json": command_line.shapes,
    "modules.json": loaded.modules,
    "threads.txt": loaded.threads,
    "loggers.txt": loaded.loggers,
}


def made(name: str) -> str:
    """The text as the package of today makes it, in an environment without anything of the user's own."""
    with TemporaryDirectory() as home, cleaned(Path(home)):
        return PARTS[name]()
