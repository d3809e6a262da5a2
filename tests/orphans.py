"""No process that the tests start outlives them, even where the run is killed: the kernel ends it with its parent."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

_MORTAL = """
import ctypes, os, sys
parent, number, user, group, *command = sys.argv[1:]
if int(user):
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(number), 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit("the one who started this is gone")
os.execvp(command[0], command)
"""
# PR_SET_PDEATHSIG is 1. It outlives exec and is lost when the user changes, so it comes after that.


def mortal(command: Sequence[str], *, ending: signal.Signals = signal.SIGKILL, owner: tuple[int, int] = (0, 0)) -> list[str]:
    """The command, run as ``owner`` (user and group), and sent ``ending`` when the thread that starts it is gone.

    A fixture's finalizer does not run in a process that is killed; this needs no finalizer. Where the system is not Linux, nothing
    but the finalizers ends it.
    """
    words = [str(os.getpid()), str(int(ending)), str(owner[0]), str(owner[1])]
    return [sys.executable, "-I", "-S", "-c", _MORTAL, *words, *command]
