"""Requests that two readers may frame in different ways, paths in disguise, and keys in logs, in the servers that people run."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from llmdispatcher.server import KeyStore
from llmdispatcher.testing import VendorSimulator

from ..loopback_redis import quiet_port
from ..orphans import mortal
from ..process.conftest import SERVERS, with_library

PATIENCE = 120.0
QUIET = 1.0
"""Seconds without a byte after which nothing more is expected; a slow machine only makes this show less."""
HIDDEN = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"
CANARY = "canary-0123456789abcdef"
LOAD = "llmdispatcher.server.serve:make_worker"


@attrs.frozen
class Host:
    """A gateway in a server: its port, a key, and what it has logged."""

    port: int
    key: str
    log: Path
    simulator: VendorSimulator

    def send(self, raw: bytes) -> bytes:
        """Everything that comes back for some bytes."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as line, contextlib.suppress(OSError):
            line.sendall(raw)
            got = line.recv(65536)
            line.settimeout(QUIET)
            while piece := line.recv(65536):
                got += piece
        return got


def serve(port: int, server: str) -> list[Any]:
    """The command line of ``llmdispatcher serve``; the options are in the environment, too, for the others."""
    return [
        sys.executable,
        "-m",
        "llmdispatcher",
        "serve",
        "--port",
        str(port),
        "--server",
        server,
        "--threads",
        "16",
        "--drain",
        "1",
    ]


def gunicorn(port: int) -> list[Any]:
    told = ["-k", "gthread", "--threads", "16", "--no-control-socket", "--access-logfile", "-", "--bind", f"127.0.0.1:{port}"]
    return [SERVERS / "bin" / "python", "-m", "gunicorn", *told, f"{LOAD}()"]


def uwsgi(port: int) -> list[Any]:
    told = ["--master", "--enable-threads", "--threads", "16", "--need-app", "--disable-logging", "--worker-reload-mercy", "2"]
    return [
        SERVERS / "bin" / "uwsgi",
        "--http-socket",
        f"127.0.0.1:{port}",
        *told,
        "--die-on-term",
        "--module",
        "llmdispatcher.server.serve:application",
    ]


NGINX = """daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
  log_format plain '$request_method $uri $status'; access_log {folder}/nginx.log plain;
  client_body_temp_path {folder}/a; proxy_temp_path {folder}/b; fastcgi_temp_path {folder}/c;
  uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  server {{
    listen 127.0.0.1:{front};
    client_max_body_size 60m;
    location / {{
      proxy_pass http://127.0.0.1:{back}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""
HOSTS = {
    "granian": lambda port: serve(port, "granian"),
    "waitress": lambda port: serve(port, "waitress"),
    "gunicorn": gunicorn,
    "uWSGI": uwsgi,
    "nginx": lambda port: serve(port, "granian"),
}


def await_port(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@contextlib.contextmanager
def run(command: list[Any], port: int, folder: Path, environment: dict[str, str]) -> Iterator[Path]:
    """A server, once it listens; its log."""
    words = [str(word) for word in command]
    if not Path(words[0]).exists():
        pytest.skip(f"{Path(words[0]).name} is not installed: `scripts/test tests/process` does it (uWSGI needs a C compiler)")
    log = folder / f"{port}.log"
    with log.open("wb") as out:
        process = subprocess.Popen(mortal(words), cwd=folder, stdout=out, stderr=out, env=environment)
    try:
        await_port(port, process, log)
        yield log
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture(scope="module", params=HOSTS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One server."""
    folder = tmp_path_factory.mktemp(request.param)
    folder.chmod(0o755)
    with VendorSimulator() as simulator, contextlib.ExitStack() as stack:
        config = folder / "llm.toml"
        config.write_text(f'[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n')
        database = folder / "keys.db"
        store = KeyStore(database)
        _, key = store.create("a test")
        store.close()
        options = {"config": str(config), "database": str(database), "threads": 16}
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            **with_library(),
            "LLMDISPATCHER_SERVE": json.dumps(options),
        }
        port = quiet_port()
        command = HOSTS[request.param](port)
        if command[0] == sys.executable:
            command += ["--config", config, "--database", database]
        log = stack.enter_context(run(command, port, folder, environment))
        if request.param == "nginx":
            if shutil.which("nginx") is None:
                pytest.skip("nginx is not installed")
            back, port = port, quiet_port()
            settings = folder / "nginx.conf"
            settings.write_text(NGINX.format(folder=folder, front=port, back=back))
            stack.enter_context(run([shutil.which("nginx"), "-c", settings, "-p", folder], port, folder, environment))
        yield Host(port, key, log, simulator)


def head(*lines: str, path: str = "/v1/messages", key: str | None = None) -> bytes:
    """The head of a POST."""
    shown = [f"X-API-Key: {key}"] if key else []
    return "\r\n".join(
        [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *shown, *lines, "", ""]
    ).encode()


def framings(key: str) -> dict[str, bytes]:
    """Requests whose body is a second request, for somebody who reads the frame in another way."""
    size = len(HIDDEN)
    chunked, length = "Transfer-Encoding: chunked", f"Content-Length: {size}"
    short = "Content-Length: 4"
    end = b"0\r\n\r\n"
    framed = {
        "an unread body": head(length) + HIDDEN,
        "an unread body in pieces": head(chunked) + b"%x\r\n%s\r\n" % (size, HIDDEN) + end,
        "an unread body at a path that is none": head(length, path="/nothing") + HIDDEN,
        "an unread body of GET": head(length).replace(b"POST", b"GET") + HIDDEN,
        "Expect, and 401": head(length, "Expect: 100-continue") + HIDDEN,
        "Expect, and 413": head("Content-Length: 99999999", "Expect: 100-continue", key=key) + HIDDEN,
        "413 at once": head("Content-Length: 99999999", key=key) + HIDDEN,
        "an expectation that is none": head(length, "Expect: a miracle") + HIDDEN,
        "a length that is none": head("Content-Length: +33", key=key) + HIDDEN,
        "a negative length": head("Content-Length: -1", key=key) + HIDDEN,
        "another coding": head("Transfer-Encoding: xchunked", length, key=key) + HIDDEN,
        "a bare LF before a length": head("X: a\n" + length, key=key) + HIDDEN,
        "a bare CR before a length": head("X: a\r" + length, key=key) + HIDDEN,
        "a fold before a length": head("X: a\r\n " + length, length, key=key) + HIDDEN,
        "a NUL in a header": head("X: a\0b", length, key=key) + HIDDEN,
    }
    for name, shown in (("401", None), ("a key", key)):
        framed |= {
            f"pieces and a length, {name}": head(chunked, length, key=shown) + end + HIDDEN,
            f"a length and pieces, {name}": head(short, chunked, key=shown) + b"21\r\n" + HIDDEN + end,
            f"two lengths, {name}": head(short, length, key=shown) + HIDDEN,
            f"two lengths in one line, {name}": head(f"Content-Length: 4, {size}", key=shown) + HIDDEN,
            f"a blank before the colon, {name}": head("Transfer-Encoding : chunked", length, key=shown) + HIDDEN,
            f"two codings, {name}": head("Transfer-Encoding: chunked", "Transfer-Encoding: identity", length, key=shown) + HIDDEN,
            f"a size with a sign, {name}": head(chunked, key=shown) + b"+21\r\n" + HIDDEN + b"\r\n" + end,
        }
    return framed


def statuses(answer: bytes) -> list[int]:
    """Those of the answers; an invitation to go on is none."""
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3})", answer) if found != b"100"]


def test_no_body_is_a_second_request(host):
    """However a request is framed it has one answer, and what it hides is not answered as a request.

    gunicorn tells of pieces that are none with a page of its own, behind the answer, and closes.
    """
    asked = framings(host.key)
    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(asked, pool.map(host.send, asked.values()), strict=True))
    wrong = {name: answer for name, answer in answers.items() if statuses(answer)[1:] not in ([], [400]) or b"ok\n" in answer}
    twice = {name for name, answer in answers.items() if len(statuses(answer)) > 1}
    answered = {name for name, answer in answers.items() if statuses(answer)}

    assert {} == wrong
    assert twice <= ({"a size with a sign, 401"} if b"gunicorn" in answers["an unread body"] else set())
    assert {"an unread body at a path that is none", "Expect, and 401"} <= answered, answers
    assert 0 == host.simulator.hits


PATHS = [
    "//v1/models",
    "/v1//models",
    "/v1%2Fmodels",
    "/v1%2fmodels",
    "/%2fv1/models",
    "/v1/./models",
    "/v1/x/../models",
    "/v1/models/..",
    "/livez/../v1/models",
    "/livez/..%2fv1/models",
    "/livez%2f..%2fv1/models",
    "/livez;/v1/models",
    "/livez;x",
    "/v1/models;x",
    "/v1/models%3bx",
    "/v1/models%00",
    "/v1/models%0a",
    "/%76%31/models",
    "/v1/models/",
    "/V1/models",
    "/v1/models%20",
    "/v1beta/models/../../livez",
    "/api/v1/keys/",
    "/api//v1/keys",
    "/api/v1/../v1/keys",
    "http://127.0.0.1/v1/models",
    "/v1/models#x",
    "/v1/models?x=/livez",
    "/livez/v1/models",
    "\\v1\\models",
]


def test_no_path_passes_a_check(host):
    """Without a key nothing but the words of health is told, whatever a path looks like."""

    def ask(path: str) -> bytes:
        return host.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())

    with ThreadPoolExecutor(8) as pool:
        answers = dict(zip(PATHS, pool.map(ask, PATHS), strict=True))
    told = {path: answer for path, answer in answers.items() if statuses(answer) == [200] and not answer.endswith(b"ok\n")}

    assert {} == told
    assert {400, 401, 404} >= {status for answer in answers.values() for status in statuses(answer)} - {200, 301}
    assert [200] == statuses(ask("/livez"))


def test_a_key_is_in_no_log(host):
    """By whichever carrier; the access log of gunicorn is on, and those of uWSGI and nginx as the page on the gateway has them."""
    body = b'{"model": "gpt-4o-mini", "messages": []}'
    carriers = [
        *[f"{name}: {CANARY}" for name in ("X-API-Key", "X-Goog-Api-Key", "x-llmdispatcher-key", "Api-Key", "Cookie")],
        *[f"{name}: {CANARY}" for name in ("X-Request-Id", "Idempotency-Key", "X_API_Key")],
        f"Authorization: Bearer {CANARY}",
        f"Authorization: Basic {CANARY}",
        f"Authorization: {CANARY}",
    ]
    paths = [f"/v1beta/models/gpt-4o:generateContent?key={CANARY}", f"/v1/models?key={CANARY}", f"/v1beta/models?k%65y={CANARY}"]
    asked = [head(f"Content-Length: {len(body)}", one, "Connection: close") + body for one in carriers]
    asked += [head(f"Content-Length: {len(body)}", "Connection: close", path=path) + body for path in paths]
    asked += [f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode() for path in paths]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(host.send, asked))
    logged = "".join([one.read_text(errors="replace") for one in host.log.parent.glob("*.log")])

    assert all(statuses(answer) for answer in answers)
    assert not any(CANARY.encode() in answer for answer in answers)
    assert CANARY not in logged


def test_it_still_answers(host):
    """After all of that."""
    body = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}]}).encode()
    asked = head(f"Content-Length: {len(body)}", "Connection: close", path="/v1/chat/completions", key=host.key) + body

    assert [200] == statuses(host.send(asked))
