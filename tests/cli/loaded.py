"""A process that has loaded the command line and forks a process for each command that it is sent, which saves a second each.

A message over the socket is its length, in four bytes, with files: where to tell about the command, and what it gets as its three
streams; then the arguments, the folder and the environment as JSON. Told are its pid and, at its end, its exit code (negative for a
signal), as four bytes each.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import json
import os
import signal
import socket
import sys
import termios
import threading
from importlib import import_module

import click

import llmdispatcher
from llmdispatcher import testing
from llmdispatcher.cli.app import COMMANDS, top
from llmdispatcher.cli.main import main

_WIDTH = 4


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG


def _take(streams: list[int]) -> None:
    """Make the files this process's streams; a terminal becomes the one that it is controlled by."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in set(streams):
        os.close(stream)
    if os.isatty(0):
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", closefd=False)


def _carry_out(message: bytes, report: int, streams: list[int]) -> None:
    """Run a command in a child of this process and report on it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with_parent()
    child = os.fork()
    if child:
        os.write(report, child.to_bytes(_WIDTH, signed=True))
        for stream in set(streams):
            os.close(stream)
        os.write(report, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]).to_bytes(_WIDTH, signed=True))
        os._exit(0)
    _die_with_parent()
    os.close(report)
    _take(streams)
    arguments, folder, environment = json.loads(message)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    code = main(arguments)
    threading._shutdown()  # the end of an interpreter, without the unloading of modules, which takes most of its time
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _serve(orders: socket.socket) -> None:
    for name in ("rich.progress", "rich.table"):
        import_module(name)
    for name in COMMANDS:
        top.get_command(click.Context(top), name)
    for door in (llmdispatcher, testing):
        for name in door.__all__:
            getattr(door, name)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        size, files, _, _ = socket.recv_fds(orders, _WIDTH, 4)
        if not size:  # nobody is there to send more
            return
        message = orders.recv(int.from_bytes(size), socket.MSG_WAITALL)
        report, *streams = files
        if os.fork() == 0:
            orders.close()
            _carry_out(message, report, streams)
        for file in files:
            os.close(file)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as orders:
        _serve(orders)
