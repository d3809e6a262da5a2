"""``serve`` as a user starts it: simulated vendors, the first keys in a file, two workers, a quick end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from ..conftest import PATIENCE
from ..orphans import mortal
from .conftest import HELLO

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")


def _free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def _environment(home):
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return {**kept, "HOME": str(home), "PYTHONUTF8": "1"}


def _run(home, *words):
    command = [sys.executable, "-m", "llmdispatcher", *words]
    return subprocess.run(command, env=_environment(home), capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module", params=["granian", "waitress"])
def running(request, tmp_path_factory):
    """A server of each kind: its address, its home, its process."""
    home, port = tmp_path_factory.mktemp("home"), _free_port()
    workers = "2" if request.param == "granian" else "1"
    words = ["serve", "--simulate", "--port", str(port), "--server", request.param, "--workers", workers, "--drain", "10"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            mortal([sys.executable, "-m", "llmdispatcher", *words], ending=signal.SIGTERM),
            env=_environment(home),
            stdout=log,
            stderr=log,
        )
        try:
            yield _awaited(f"http://127.0.0.1:{port}", process, home), home, process
        finally:
            process.kill()
            process.wait()


def _awaited(url, process, home):
    end = time.monotonic() + 10 * PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, (home / "log").read_text()
        try:
            if requests.get(f"{url}/readyz", timeout=5).status_code == 200:
                return url
        except requests.ConnectionError:
            time.sleep(0.05)
    raise AssertionError((home / "log").read_text())


def test_the_first_minutes_of_a_user(running):
    """Keys from the file, an answer, a stream, a key of one's own that is revoked again, and the end."""
    url, home, process = running
    log = (home / "log").read_text()
    path = Path(re.search(r"The first keys are in (\S+);", log)[1])
    first = dict(line.split(": ") for line in path.read_text().splitlines())
    assert first["gateway"] not in log
    assert 0o600 == path.stat().st_mode & 0o777

    def ask(key, **more):
        return requests.post(f"{url}/v1/chat/completions", json={**HELLO, **more}, headers={"x-api-key": key}, timeout=60)

    answers = [ask(first["gateway"]) for _ in range(6)]
    assert [200] * 6 == [answer.status_code for answer in answers]
    assert ask(first["gateway"], stream=True).text.endswith("data: [DONE]\n\n")
    assert 403 == ask(first["administrator"]).status_code

    made = json.loads(_run(home, "server", "key", "create", "mine", "--models", "gpt-*", "--days", "1", "--json").stdout)
    assert 200 == ask(made["key"]).status_code
    assert 403 == ask(made["key"], model="claude-haiku-4-5").status_code
    listed = _run(home, "server", "key", "list")
    assert made["id"] in listed.stdout
    assert made["key"] not in listed.stdout
    assert 0 == _run(home, "server", "key", "revoke", made["id"]).returncode
    end = time.monotonic() + PATIENCE
    while ask(made["key"]).status_code == 200 and time.monotonic() < end:
        time.sleep(0.1)
    assert 401 == ask(made["key"]).status_code

    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE * 3) in (0, -signal.SIGTERM), (home / "log").read_text()
    assert first["gateway"] not in (home / "log").read_text()


def test_what_cannot_be_served_is_told(tmp_path):
    """Before a port is opened: no vendor, a weak key, a server that is not known."""
    none = _run(tmp_path, "serve", "--port", str(_free_port()))
    weak = subprocess.run(
        [sys.executable, "-m", "llmdispatcher", "serve", "--simulate"],
        env={**_environment(tmp_path), "LLMDISPATCHER_ADMIN_KEY": "sk-1234"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert (2, True) == (none.returncode, "no vendor" in none.stderr), none.stderr
    assert (2, True) == (weak.returncode, "LLMDISPATCHER_ADMIN_KEY: the key is too weak" in weak.stderr), weak.stderr
    assert "sk-1234" not in weak.stderr
