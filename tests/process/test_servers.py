"""The library in foreign servers: gunicorn's forked workers and their shutdown (F1, X2), uWSGI (F2), gevent (F3)."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE, SLACK
from ..threads import in_threads
from .conftest import with_library

HERE = Path(__file__).parent
PORT = re.compile(r"(?:Listening at: http://127\.0\.0\.1:|bound to TCP address 127\.0\.0\.1:)(\d+)")
READY = re.compile(r"Booting worker|spawned uWSGI worker|WSGI app 0 .* ready")


@attrs.define(eq=False)
class Server:
    """A foreign server at work; ``log`` is what it has said."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def get(self, path: str, timeout: float = 45, heard: Callable[[], object] = bool) -> tuple[str, str, float]:
        """The answer, the worker's process, and the seconds that it took; ``heard`` is called when its first bytes are there."""
        began = time.monotonic()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)) as line:
            line.request("GET", path)
            answer = line.getresponse()
            first = answer.read1(1)
            heard()
            return (first + answer.read()).decode(), answer.headers["X-Pid"], time.monotonic() - began

    def await_workers(self, count: int) -> None:
        """Wait until so many are ready to drain: one that is told to stop while it boots does not hear it."""
        end = time.monotonic() + 2 * PATIENCE
        while self.log.read_text().count("is ready to drain") < count:
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def stop(self) -> int:
        """Tell it to stop; gives its status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def served(command: Sequence[str | Path], log: Path, url: str, **environment: str) -> Iterator[Server]:
    """A server of the app, once it listens; killed at the end if it is still there."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command,
            cwd=HERE,
            stdout=out,
            stderr=out,
            env={"PATH": "/usr/bin:/bin", **with_library(), "VENDOR_URL": url, **environment},
        )
    try:
        end = time.monotonic() + 2 * PATIENCE
        while (found := PORT.search(log.read_text())) is None or READY.search(log.read_text()) is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.02)
        yield Server(process, log, int(found[1]))
    finally:
        if process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        process.kill()
        process.wait()


def gunicorn(servers: Path, *options: str) -> list[str | Path]:
    """Two preloaded workers with many threads."""
    workers = ["--preload", "--worker-class", "gthread", "--workers", "2", "--threads", "64", "--no-control-socket"]
    return [servers / "python", "-m", "gunicorn", *workers, "--bind", "127.0.0.1:0", *options, "wsgi_app"]


def echo(body):
    return body["messages"][0]["content"]


def all_at_once(count, work):
    """What ``work(number)`` gives, each in a thread of its own, in their order."""
    results = [None] * count

    def call(number):
        results[number] = work(number)

    in_threads(call, range(count))
    return results


def test_workers_of_a_preloaded_app_answer_each_their_own(servers, tmp_path):
    """F1: a dispatcher that was made and used before the fork serves two workers: 200 calls and streams, no wrong answer.

    C6: the app, which comments every half second, notices that a client has hung up while its vendor is silent.
    """
    gone = tmp_path / "gone"
    with (
        VendorSimulator(responses=echo) as vendor,
        served(gunicorn(servers), tmp_path / "log", vendor.openai_url, WARM="send, stream", GONE=str(gone)) as server,
    ):
        first = server.get("/send/first")
        answers = all_at_once(20, lambda n: [server.get(f"/{'send' if k % 2 else 'stream'}/w{n}x{k}") for k in range(10)])
        vendor.always(faults.stall_after(1))
        with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE) as client:
            client.sendall(b"GET /beat/one%20two HTTP/1.1\r\nHost: here\r\n\r\n")
            heard = b""
            while b"one" not in heard or not heard.rstrip(b"\r\n").endswith(b": still there"):
                heard += client.recv(4096)
        left = time.monotonic()
        while not (gone.exists() and gone.read_text()) and time.monotonic() < left + PATIENCE:
            time.sleep(0.01)
        status = server.stop()

    said = [[text for text, _, _ in row] for row in answers]
    assert [[f"w{n}x{k}" + ("" if k % 2 else "\nend") for k in range(10)] for n in range(20)] == said
    assert ("first", 0, True) == (first[0], status, first[2] < SLACK)
    assert 2 == len({pid for row in answers for _, pid, _ in row})
    assert 0.0 < float(gone.read_text()) - left < SLACK  # the first comment after the end goes into the void, the second fails
    assert "Traceback" not in server.log.read_text()


def test_streams_end_with_an_error_event_before_gunicorn_kills(servers, tmp_path):
    """X2: told to stop with 50 streams under way and some grace, each ends with an event that the app made of its error."""
    with VendorSimulator(responses=" ".join(["word"] * 600), tokens_per_second=10) as vendor:
        command = gunicorn(servers, "--graceful-timeout", "35", "--config", "gunicorn_conf.py")
        with served(command, tmp_path / "log", vendor.openai_url, DRAIN="1") as server:
            server.await_workers(2)
            told, speaking = [], threading.Semaphore(0)

            def stop():
                for _ in range(50):
                    assert speaking.acquire(timeout=PATIENCE)
                told.append(time.monotonic())
                server.process.send_signal(signal.SIGTERM)

            stopper = threading.Thread(target=stop)
            stopper.start()
            streams = all_at_once(50, lambda n: server.get(f"/stream/s{n}", heard=speaking.release)[0])
            stopper.join()
            seconds = time.monotonic() - told[0]
            status = server.process.wait(PATIENCE)
            log = server.log.read_text()

    assert [] == [text[-70:] for text in streams if not text.endswith("the dispatcher was closed")]
    assert [] == [text[:200] for text in streams if not text.startswith("word")]
    assert 1.0 <= seconds < 1.0 + SLACK
    assert (0, False) == (status, "SIGKILL" in log or "Traceback" in log)


def test_short_calls_end_whole_while_a_worker_drains(servers, tmp_path):
    """X2: what would end within the drain is not cut: calls that the stop finds unanswered get their answers."""
    stopped = threading.Event()

    def answer(_body):
        assert stopped.wait(PATIENCE)
        time.sleep(0.3)  # the workers have heard of it too
        return "whole"

    with VendorSimulator(responses=answer) as vendor:
        command = gunicorn(servers, "--graceful-timeout", "35", "--config", "gunicorn_conf.py")
        with served(command, tmp_path / "log", vendor.openai_url, DRAIN="30") as server:
            server.await_workers(2)

            def stop():
                assert vendor.await_hits(20, timeout=PATIENCE)
                server.process.send_signal(signal.SIGTERM)
                stopped.set()

            stopper = threading.Thread(target=stop)
            stopper.start()
            answers = all_at_once(20, lambda n: server.get(f"/{'send' if n % 2 else 'stream'}/x")[0])
            stopper.join()
            status = server.process.wait(PATIENCE)

    assert ["whole\nend", "whole"] * 10 == answers
    assert 0 == status


UWSGI = {
    # Without its hooks uWSGI forks without a word to Python; a thread that is alive then, as after a stream, hangs the worker.
    "no threads": ((), "send"),
    "no threads, lazy": (("--lazy-apps",), "send, stream"),
    "threads": (("--enable-threads", "--py-call-uwsgi-fork-hooks"), "send, stream"),
}


@pytest.mark.parametrize(("options", "warm"), UWSGI.values(), ids=UWSGI)
def test_uwsgi_with_and_without_threads(uwsgi, tmp_path, options, warm):
    """F2: calls and streams are answered within a request, although without ``enable-threads`` threads rest between requests."""
    command = [
        uwsgi,
        "--master",
        "--http-socket",
        "127.0.0.1:0",
        "--wsgi-file",
        "wsgi_app.py",
        "--die-on-term",
        "--need-app",
        *options,
    ]
    with VendorSimulator(responses=echo) as vendor, served(command, tmp_path / "log", vendor.openai_url, WARM=warm) as server:
        server.get("/send/zero")
        answers = [server.get(path) for path in ("/stream/one", "/send/two", "/stream/three")]
        server.stop()

    assert ["one\nend", "two", "three\nend"] == [text for text, _, _ in answers]
    assert max(seconds for _, _, seconds in answers) < SLACK
    assert ("threads support is disabled" in server.log.read_text()) == ("--enable-threads" not in options)
