"""The entry point of ``llmdispatcher`` and ``python -m llmdispatcher``: prepare the streams, run the command, report errors."""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from .signals import TerminatedBySignal, catch_termination
from .terminal import USAGE, complain

_NEEDED = ("click", "rich")
INSTALL = "the command line needs {}: pip install 'llmdispatcher[cli]'"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code, that of a signal too."""
    try:
        with catch_termination():
            return _run(arguments)
    except TerminatedBySignal as ended:
        return ended.code


def _run(arguments: Sequence[str] | None) -> int:
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed at the start, as by >&-
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - open as long as the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # an answer may hold what the terminal's encoding does not
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        complain(INSTALL.format(" and ".join(missing)))
        return USAGE
    from .app import run  # late: it needs click, which is an extra

    return run(sys.argv[1:] if arguments is None else arguments)
