"""The example projects in the servers that people run: streams, clients that leave, budgets, and the end of a worker."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import attrs
import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..loopback_redis import quiet_port
from ..orphans import mortal
from ..process.conftest import with_library
from ..threads import in_threads

pytest.importorskip("flask", reason="Flask is not installed; scripts/test installs it")
pytest.importorskip("django", reason="Django is not installed; scripts/test installs it")

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVERS = Path(__file__).parents[2] / ".venv-servers" / "bin"
PATIENCE = 120.0


@attrs.define(eq=False)
class Site:
    """A project behind a server."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path):
        """Status and body."""
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as line:
            line.request("GET", path)
            answer = line.getresponse()
            return answer.status, answer.read().decode()


def await_true(condition, what):
    """Wait until it is."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what()
        time.sleep(0.02)


def gunicorn(port, target, *options):
    told = ["-c", "gunicorn_conf.py", "--no-control-socket", "--bind", f"127.0.0.1:{port}"]
    return [SERVERS / "python", "-m", "gunicorn", *told, *options, target]


def uwsgi(port, target):
    """Processes without threads: with some uWSGI waits for all of ``worker-reload-mercy`` at its end."""
    told = [
        "--master",
        "--processes",
        "2",
        "--enable-threads",
        "--py-call-uwsgi-fork-hooks",
        "--need-app",
        "--worker-reload-mercy",
        "30",
    ]
    end = ["--hook-master-start", "unix_signal:15 gracefully_kill_them_all"]
    return [SERVERS / "uwsgi", "--http-socket", f"127.0.0.1:{port}", *told, *end, "--module", target]


def granian(port, target):
    told = ["--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--blocking-threads", "8"]
    return [SERVERS / "python", "-m", "granian", *told, target]


SITES = {
    "Flask, gunicorn gthread --preload": ("flask_app", lambda port: gunicorn(port, "app:app", "--preload")),
    "Flask, uWSGI": ("flask_app", lambda port: uwsgi(port, "app:app")),
    "Flask, granian": ("flask_app", lambda port: granian(port, "app:app")),
    "Django, gunicorn gthread": ("django_project", lambda port: gunicorn(port, "shop.wsgi", "--workers", "1")),
}


@contextlib.contextmanager
def served(project, command, vendor, folder):
    """The project, once it answers."""
    config = folder / "llm.toml"
    text = (EXAMPLES / project / "llm.toml").read_text()
    config.write_text(text.replace("http://127.0.0.1:8100/v1", vendor.openai_url).replace("calls.db", f"{folder}/calls.db"))
    port, log = quiet_port(), folder / "log"
    own = with_library()
    environment = {
        "PATH": "/usr/bin:/bin",
        **own,
        "PYTHONPATH": os.pathsep.join([str(EXAMPLES / project), own["PYTHONPATH"]]),
        "LLM_CONFIG": str(config),
        "FLASK_HEARTBEAT": "0.1",
        "SHOP_HEARTBEAT": "0.1",
        "SHOP_DB": str(folder / "shop.db"),
        "LLM_KEYS": str(folder / "gateway.db"),
    }
    words = [str(word) for word in command(port)]
    if not Path(words[0]).exists():
        (pytest.fail if os.environ.get("CI") and "uwsgi" not in words[0] else pytest.skip)(
            f"{Path(words[0]).name} is not installed: `scripts/test tests/integrations` does it (uWSGI needs a C compiler)"
        )
    with log.open("wb") as out:
        process = subprocess.Popen(mortal(words), cwd=EXAMPLES / project, stdout=out, stderr=out, env=environment)

    def listens():
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True

    try:
        await_true(listens, log.read_text)
        yield Site(process, port, log)
    finally:
        process.terminate()  # granian's workers outlive a master that is killed
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def data(text):
    """The data of the events of a stream."""
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


@pytest.mark.parametrize(("project", "command"), SITES.values(), ids=SITES)
def test_a_project_in_a_server(project, command, tmp_path):
    """One server, from its start to its end."""
    with VendorSimulator(responses="It is blue.") as vendor, served(project, command, vendor, tmp_path) as site:
        # whole answers, of many at once
        answers: list[tuple[int, str]] = []
        in_threads(lambda: answers.append(site.get("/ask?q=Why")), 8)
        assert [(200, "It is blue.")] * 8 == [(status, json.loads(body)["answer"]) for status, body in answers]
        status, streamed = site.get("/stream?q=Why")
        assert (200, "It is blue.") == (status, "".join(one.get("content", "") for one in data(streamed)))

        # pieces and heartbeats come while the vendor is in the middle of its answer; a client that leaves stops it
        stalled, left = faults.stall_after(2), threading.Event()
        vendor.script(attrs.evolve(stalled, act=lambda peer, context: stalled.act(peer, context) and not left.set()))
        with socket.create_connection(("127.0.0.1", site.port), timeout=PATIENCE) as client:
            client.sendall(b"GET /stream?q=Why HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            received = b""
            while b'"content"' not in received or b":\n\n" not in received.rpartition(b'"content"')[2]:
                piece = client.recv(4096)
                assert piece, received
                received += piece

        assert left.wait(PATIENCE), site.log.read_text()

        # ada's budget
        vendor.responses = " ".join(["word"] * 200)
        ends = []
        while not ends or (ends[-1][0] == 200 and len(ends) < 40):
            ends.append(site.get("/ask?q=Why&user=ada"))
        assert (429, {"error": "BudgetExceeded"}, True) == (ends[-1][0], json.loads(ends[-1][1]), len(ends) > 1)
        assert 200 == site.get("/ask?q=Why&user=bob")[0]

        # the end: what is under way is answered
        release, last = threading.Event(), []
        vendor.responses = lambda _body: "It is late." if release.wait(PATIENCE) else ""
        asker = threading.Thread(target=lambda: last.append(site.get("/ask?q=Why")))
        hits = vendor.hits
        asker.start()
        assert vendor.await_hits(hits + 1, PATIENCE)
        site.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # it has heard of it, unless the machine is busy: then this shows less
        release.set()
        asker.join()
        code = site.process.wait(PATIENCE)
    assert [(200, "It is late.")] == [(status, json.loads(body)["answer"]) for status, body in last]
    assert (0, False) == (code, "Traceback" in site.log.read_text()), site.log.read_text()
