"""Systems that are not ours: without what only POSIX has, without a home folder. Each program runs in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmdispatcher.testing import VendorSimulator

LACKING = """
import os, select, signal, socket, sys, time
for name in ("fcntl", "grp", "posix_ipc", "pty", "pwd", "readline", "resource", "syslog", "termios", "tty"):
    sys.modules[name] = None
GONE = {
    os: ("fork", "forkpty", "register_at_fork", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getpgid", "setsid",
         "killpg", "fchmod", "fchown", "chown", "lchown", "uname", "set_blocking", "statvfs", "nice", "pread", "pwrite",
         "O_CLOEXEC", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK", "O_NOCTTY", "O_SYNC", "O_DSYNC", "O_ASYNC", "sched_getaffinity"),
    select: ("poll", "epoll"),
    signal: ("SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGKILL", "SIGPIPE", "SIGCHLD", "SIGCONT", "SIGWINCH",
             "pthread_sigmask", "pthread_kill", "setitimer", "siginterrupt", "sigwait", "alarm", "pause"),
    socket: ("AF_UNIX", "MSG_DONTWAIT", "MSG_NOSIGNAL", "SO_REUSEPORT", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "TCP_USER_TIMEOUT",
             "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "sethostname", "send_fds", "recv_fds"),
    time: ("tzset",),
}
for module, names in GONE.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)
"""

HOMELESS = """
import os, pwd
for name in ("HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "LLMDISPATCHER_HOME", "LLMDISPATCHER_CACHE_DIR"):
    os.environ.pop(name, None)
def unknown(who):
    raise KeyError(f"getpwuid(): uid not found: {who}")
pwd.getpwuid = unknown
"""

MAIN = "\nimport runpy\nrunpy.run_module('llmdispatcher', run_name='__main__')"

FIRST_STEPS = """
from llmdispatcher import Dispatcher, OpenAIVendor, Request, open_ledger
url, folder = sys.argv[1:]
with open_ledger(folder + "/ledger.db", strict_accounting=True) as ledger, Dispatcher(ledger=ledger) as dispatcher:
    dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=url, trust_env=False))
    request = Request("gpt-4o", "Hello", max_tokens=9)
    whole = dispatcher.send(request).content
    print(bool(whole), bool("".join(chunk.content for chunk in dispatcher.send_streaming(request))))
    ledger.flush(60)
    print(len(ledger.list_recent_calls()))
"""


def ran(program: str, *arguments: object, folder: Path) -> tuple[int, str, str]:
    """Exit code and output of a program in its own process."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("_API_KEY", "_BASE_URL"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_call_a_stream_and_the_ledger_need_nothing_of_posix_alone(tmp_path, vendor_simulator: VendorSimulator):
    """What Windows lacks is taken away: it is imported, asked, streamed from, and written down."""
    assert (0, "True True\n2\n", "") == ran(LACKING + FIRST_STEPS, vendor_simulator.openai_url, tmp_path, folder=tmp_path)


@pytest.mark.parametrize("missing", ["del os.register_at_fork", "del os.register_at_fork, os.fork", "sys.modules['fcntl'] = None"])
def test_each_thing_alone_may_be_missing(tmp_path, vendor_simulator: VendorSimulator, missing):
    """Between the two kinds of system; the standard library itself, which looks for some of it, is loaded before."""
    program = f"import asyncio, os, random, sys\n{missing}\n{FIRST_STEPS}"

    assert (0, "True True\n2\n", "") == ran(program, vendor_simulator.openai_url, tmp_path, folder=tmp_path)


def test_every_public_name_loads_without_posix(tmp_path):
    """Not only what a call needs."""
    program = LACKING + "import inspect, llmdispatcher, llmdispatcher.testing\nprint(len(inspect.getmembers(llmdispatcher)) > 100)"

    assert (0, "True\n", "") == ran(program, folder=tmp_path)


def test_a_batch_needs_nothing_of_posix_alone(tmp_path):
    """The journal is locked where the system can, and the answers are there."""
    (tmp_path / "prompts.jsonl").write_text('{"model": "gpt-4o-mini", "messages": "hi"}\n', encoding="utf-8")
    code, _, err = ran(
        LACKING + MAIN, "batch", "prompts.jsonl", "--simulate", "--quiet", "--output", "answers.jsonl", folder=tmp_path
    )

    assert (0, 1) == (code, len((tmp_path / "answers.jsonl").read_text(encoding="utf-8").splitlines())), err


def test_a_cache_in_a_file_needs_nothing_of_posix_alone(tmp_path):
    """The second call is answered from it."""
    program = """
from decimal import Decimal
from llmdispatcher import Dispatcher, Request, Response, Usage
from llmdispatcher.testing import FakeVendor
answer = Response(content="yes", usage=Usage(input_tokens=1, cost=Decimal(0)))  # of unknown cost the log would say so
with Dispatcher({"cache": {"store": sys.argv[1]}}) as dispatcher:
    dispatcher.register_vendor(vendor := FakeVendor(answer))
    print([dispatcher.send(Request("m", "Hello")).content for _ in range(2)], vendor.hits)
"""
    assert (0, "['yes', 'yes'] 1\n", "") == ran(LACKING + program, tmp_path / "answers.db", folder=tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="a user without an entry exists on POSIX alone")
class TestWithoutHome:
    """A container that runs as any number: no ``HOME``, no entry in ``/etc/passwd``."""

    def test_info_says_how_to_name_a_folder(self, tmp_path):
        """It runs, and tells that nothing is kept."""
        code, out, err = ran(HOMELESS + MAIN, "info", folder=tmp_path)

        assert (0, "") == (code, err)
        assert "LLMDISPATCHER_HOME names one" in out

    @pytest.mark.parametrize(
        "command",
        [
            ("ask", "--simulate", "--model", "gpt-4o-mini", "hi"),
            ("chat", "--simulate", "--model", "gpt-4o-mini"),
            ("models",),
            ("vendors",),
            ("keys", "list"),
            ("lock", "init"),
        ],
        ids=lambda command: command[0],
    )
    def test_what_needs_no_folder_works(self, tmp_path, command):
        """No home is looked for where nothing is kept."""
        code, _, err = ran(HOMELESS + MAIN, *command, folder=tmp_path)

        assert "home" not in err.lower()
        assert "Traceback" not in err
        assert 0 == code, err

    @pytest.mark.parametrize("command", [("init-db",), ("usage",), ("receipts", "new-key")], ids=lambda command: " ".join(command))
    def test_what_needs_a_folder_says_how_to_name_one(self, tmp_path, command):
        """A mistake in the surroundings that the user can mend, not a traceback."""
        code, _, err = ran(HOMELESS + MAIN, *command, folder=tmp_path)

        assert (2, True) == (code, "LLMDISPATCHER_HOME" in err), err

    def test_a_ledger_on_a_server_spools_in_the_temporary_folder(self, tmp_path):
        """Without a parameter; rows wait there while the server is away."""
        program = """
from llmdispatcher import Dispatcher, Request
from llmdispatcher.testing import FakeVendor
with Dispatcher(ledger="postgresql://u@127.0.0.1:1/db") as dispatcher:
    dispatcher.register_vendor(FakeVendor("yes"))
    print(dispatcher.send(Request("m", "Hello")).content)
import pathlib, tempfile
print(sum(path.read_text().count("\\n") for path in pathlib.Path(tempfile.gettempdir()).rglob("*.jsonl")) > 0)
"""
        (tmp_path / "temporary").mkdir()
        code, out, err = ran(
            f"import os\nos.environ['TMPDIR'] = {str(tmp_path / 'temporary')!r}\n{HOMELESS}{program}", folder=tmp_path
        )

        assert (0, "yes\nTrue\n") == (code, out), err
