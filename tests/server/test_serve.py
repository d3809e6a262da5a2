"""``serve`` as a user starts it: simulated vendors, the first keys in a file, two workers, a quick end."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest
import requests

from llmdispatcher import ConfigError, Request
from llmdispatcher.server import ServeOptions, first_keys
from llmdispatcher.server.gateway.http import claim_ports
from llmdispatcher.server.serve import _Application, make_dispatcher
from llmdispatcher.testing import VendorSimulator

from ..cases import each
from ..conftest import PATIENCE
from ..orphans import mortal
from .conftest import HELLO
from .processes import end

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
            end(process)


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


SECOND = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n"


def _framed(*headers, body, path=b"/v1/chat/completions"):
    return b"POST %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n%s" % (path, b"\r\n".join(headers), body)


def _in_pieces(body):
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def _confusing():
    """Requests with a second one in them that one server may see and another may not."""
    pieces, length = b"Transfer-Encoding: chunked", b"Content-Length: %d" % len(SECOND)
    key = b"X-API-Key: nobody"
    return {
        "a length and pieces": _framed(key, pieces, b"Content-Length: 5", body=_in_pieces(b"{}") + SECOND),
        "a length of all and pieces": _framed(key, pieces, b"Content-Length: 99", body=_in_pieces(b"{}") + SECOND),
        "two lengths": _framed(key, b"Content-Length: 0", length, body=SECOND),
        "a list of lengths": _framed(key, b"Content-Length: 0, %d" % len(SECOND), body=SECOND),
        "a negative length": _framed(key, b"Content-Length: -1", body=SECOND),
        "a signed length": _framed(key, b"Content-Length: +0", body=SECOND),
        "an encoding that is none": _framed(key, b"Transfer-Encoding: xchunked", body=_in_pieces(b"{}") + SECOND),
        "pieces that are not last": _framed(key, b"Transfer-Encoding: chunked, identity", body=_in_pieces(b"{}") + SECOND),
        "two encodings": _framed(key, pieces, b"Transfer-Encoding: identity", body=_in_pieces(b"{}") + SECOND),
        "a blank before the colon": _framed(key, b"Content-Length : 0", body=SECOND),
        "a piece of no length": _framed(key, pieces, body=b"zz\r\n{}\r\n0\r\n\r\n" + SECOND),
        "a body that nobody reads": _framed(length, body=SECOND),
        "pieces that nobody reads": _framed(pieces, body=_in_pieces(SECOND)),
        "a body at no path": _framed(length, body=SECOND, path=b"/v1/nothing"),
        "an expectation and no key": _framed(b"Expect: 100-continue", length, body=SECOND),
        "an expectation and too much": _framed(b"Expect: 100-continue", b"Content-Length: 99000000", body=SECOND),
    }


def _answers(address, sent):
    """The statuses of all answers to some bytes, up to the end of the connection or a second of silence.

    A server that is slow may hide a second answer from this, and never makes one up.
    """
    got = b""
    with socket.create_connection(address, timeout=PATIENCE) as connection:
        connection.sendall(sent)
        with contextlib.suppress(ConnectionResetError, TimeoutError):
            while piece := connection.recv(1 << 16):
                got += piece
                connection.settimeout(1)
    return [status for status in re.findall(rb"HTTP/1\.[01] (\d+)", got) if status != b"100"]


def _check_framing(url):
    address, cases = (urlsplit(url).hostname, urlsplit(url).port), _confusing()
    with ThreadPoolExecutor(len(cases)) as pool:
        found = dict(zip(cases, pool.map(lambda sent: _answers(address, sent), cases.values()), strict=True))
    assert {} == {name: statuses for name, statuses in found.items() if statuses[1:] not in ([], [b"400"]) or b"200" in statuses}
    assert [b"200", b"200"] == _answers(address, SECOND + SECOND)


def test_no_request_hides_in_another(running):
    """However its end is told."""
    _check_framing(running[0])


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_a_taken_port_is_told(running, tmp_path, server):
    """Also where another gateway listens, whose workers share the port among themselves; no first keys are made."""
    port = urlsplit(running[0]).port
    refused = _run(tmp_path, "serve", "--simulate", "--port", str(port), "--server", server)

    assert (2, True) == (refused.returncode, f"port: 127.0.0.1:{port} cannot be listened on" in refused.stderr), refused.stderr
    assert [] == list(tmp_path.rglob("*"))


def test_gunicorn_is_refused_a_taken_port(running, tmp_path):
    """It binds the port itself, and shares it with nobody."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed; scripts/test installs it")
    words = ["-m", "gunicorn", "--no-control-socket", "-b", f"127.0.0.1:{urlsplit(running[0]).port}"]
    command = [sys.executable, *words, "llmdispatcher.server.serve:make_worker()"]
    environment = {**_environment(tmp_path), "LLMDISPATCHER_SERVE": '{"simulate": true}'}
    refused = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)

    assert (1, True) == (refused.returncode, "Address already in use" in refused.stderr), refused.stderr
    assert [] == list(tmp_path.rglob("*"))


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_a_taken_metrics_port_is_told(tmp_path, server):
    """Before anything is made."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = taken.getsockname()[1]
        words = ["--server", server, "--port", str(_free_port()), "--metrics-port", str(metrics)]
        refused = _run(tmp_path, "serve", "--simulate", *words)

    told = f"metrics_port: 127.0.0.1:{metrics} cannot be listened on" in refused.stderr
    assert (2, True) == (refused.returncode, told), refused.stderr
    assert [] == list(tmp_path.rglob("*"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is claimed")
def test_a_port_that_is_claimed_is_taken(tmp_path):
    """By a gateway that starts and does not listen yet; another port, and another address, are not."""
    port = _free_port()
    with claim_ports("127.0.0.1", port):
        claim_ports("127.0.0.1", _free_port()).close()
        claim_ports("127.0.0.2", port).close()
        refused = _run(tmp_path, "serve", "--simulate", "--port", str(port))
    claim_ports("127.0.0.1", port).close()

    assert (2, True) == (refused.returncode, f"port: 127.0.0.1:{port} cannot be listened on" in refused.stderr), refused.stderr
    assert [] == list(tmp_path.rglob("*"))


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is claimed")
@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_of_two_that_start_together_one_serves(tmp_path, server):
    """The other is refused, and has made nothing."""
    port, processes = _free_port(), {}
    try:
        for name in ("one", "other"):
            home = tmp_path / name
            home.mkdir()
            words = ["serve", "--simulate", "--port", str(port), "--server", server]
            with (tmp_path / f"log-{name}").open("wb") as log:
                command = mortal([sys.executable, "-m", "llmdispatcher", *words], ending=signal.SIGTERM)
                processes[name] = subprocess.Popen(command, env=_environment(home), stdout=log, stderr=log)
        last = time.monotonic() + 10 * PATIENCE
        while all(process.poll() is None for process in processes.values()):
            assert time.monotonic() < last
            time.sleep(0.05)
        [refused] = [name for name, process in processes.items() if process.returncode is not None]
        [serving] = set(processes) - {refused}
        (tmp_path / serving / "log").symlink_to(tmp_path / f"log-{serving}")
        _awaited(f"http://127.0.0.1:{port}", processes[serving], tmp_path / serving)

        assert 2 == processes[refused].returncode, (tmp_path / f"log-{refused}").read_text()
        assert [] == list((tmp_path / refused).rglob("*"))
        assert "The first keys are in" in (tmp_path / f"log-{serving}").read_text()
    finally:
        for process in processes.values():
            end(process)


def test_gunicorn_serves_the_same(tmp_path):
    """Loaded before its workers are made; a mistake in the variable is told."""
    pytest.importorskip("gunicorn", reason="gunicorn is not installed; scripts/test installs it")
    port, place = _free_port(), str(tmp_path / "keys.db")
    made = json.loads(_run(tmp_path, "server", "key", "create", "mine", "--database", place, "--json").stdout)["key"]
    options = json.dumps({"simulate": True, "threads": 8, "database": place})
    words = ["-m", "gunicorn", "-k", "gthread", "--threads", "8", "-w", "2", "--preload", "--no-control-socket"]
    command = [sys.executable, *words, "-b", f"127.0.0.1:{port}", "llmdispatcher.server.serve:make_worker()"]
    environment = {**_environment(tmp_path), "LLMDISPATCHER_SERVE": options}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(mortal(command, ending=signal.SIGTERM), env=environment, stdout=log, stderr=log)
    try:
        url = _awaited(f"http://127.0.0.1:{port}", process, tmp_path)
        headers = {"x-api-key": made}
        answers = [requests.post(f"{url}/v1/chat/completions", json=HELLO, headers=headers, timeout=60) for _ in range(6)]
        streamed = requests.post(f"{url}/v1/chat/completions", json={**HELLO, "stream": True}, headers=headers, timeout=60)
        assert [200] * 6 == [answer.status_code for answer in answers]
        assert streamed.text.endswith("data: [DONE]\n\n")
        _check_framing(url)
        process.send_signal(signal.SIGTERM)
        assert 0 == process.wait(PATIENCE * 3)
        assert made not in (tmp_path / "log").read_text()
    finally:
        end(process)


@each("text", ["{", "[]", '{"thread": 4}', "7"])
def test_options_in_the_variable_that_are_none(text, monkeypatch):
    """Are told by the variable's name and the fields that there are."""
    monkeypatch.setenv("LLMDISPATCHER_SERVE", text)
    with pytest.raises(ConfigError, match=r"LLMDISPATCHER_SERVE: .*; give a JSON object with fields of host, port"):
        _Application().start()


def test_two_first_requests_make_one_application(monkeypatch):
    """Where a server loads the application without a worker's start, and its threads get the first requests together."""
    made: list[SimpleNamespace] = []
    both = threading.Barrier(2)

    def make(_options, registry):
        made.append(SimpleNamespace(close=registry))
        with contextlib.suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return made[-1]

    monkeypatch.setenv("LLMDISPATCHER_SERVE", "{}")
    monkeypatch.setattr("llmdispatcher.server.serve.make_application", make)
    monkeypatch.setattr("llmdispatcher.server.serve._at_end", lambda *_: None)
    served = _Application()
    with ThreadPoolExecutor(2) as threads:
        found = list(threads.map(lambda _: served.start(), range(2)))

    assert [*made, *made] == found


def test_simulated_vendors_stand_in_for_those_of_a_file(tmp_path):
    """No key and no prompt leaves the machine, whatever a file names; names and models are those of the file."""
    with VendorSimulator() as real:
        path = tmp_path / "llm.toml"
        path.write_text(
            f'[vendors.openai]\napi_key = "sk-real-000"\nbase_url = "{real.openai_url}"\n'
            f'[vendors.mine]\nkind = "anthropic"\napi_key = "sk-real-000"\nbase_url = "{real.anthropic_url}"\n'
            f'[vendors.plan]\nkind = "google"\nname = "google"\nheaders = {{x-secret = "s"}}\napi_key = "k-real-000"\n'
            f'[vendors.local]\nkind = "vllm"\nbase_url = "{real.openai_url}"\nmodels = ["llama-9"]\n'
            f'[vendors.blue]\nkind = "azure"\napi_key = "sk-real-000"\nbase_url = "{real.azure_url}"\n'
        )
        with make_dispatcher(ServeOptions(config=str(path), simulate=True)) as made:
            assert {"openai", "mine", "google", "local", "blue", "anthropic"} == set(made.get_vendors())
            asked = ("openai:gpt-4o", "mine:claude-haiku-4-5", "google:gemini-2.5-flash", "local:llama-9", "blue:gpt-4o")
            answers = [made.send(Request(model, "Why is the sky blue?")).vendor for model in asked]
            assert ["openai", "mine", "google", "local", "blue"] == answers
        assert [] == list(real.requests)


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_a_stream_under_way_is_finished_after_sigterm(tmp_path, server):
    """It is whole, and then the process ends."""
    port = _free_port()
    with VendorSimulator(responses=" ".join(["word"] * 20), tokens_per_second=15.0) as simulator:
        (tmp_path / "c.toml").write_text(
            f'[vendors.openai]\nkind = "openai"\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
        )
        made = json.loads(_run(tmp_path, "server", "key", "create", "mine", "--json").stdout)["key"]
        words = ["serve", "--config", str(tmp_path / "c.toml"), "--port", str(port), "--server", server, "--drain", "60"]
        with (tmp_path / "log").open("wb") as log:
            command = mortal([sys.executable, "-m", "llmdispatcher", *words], ending=signal.SIGTERM)
            process = subprocess.Popen(command, env=_environment(tmp_path), stdout=log, stderr=log)
        try:
            url = _awaited(f"http://127.0.0.1:{port}", process, tmp_path)
            asked = {"json": {**HELLO, "stream": True}, "headers": {"x-api-key": made}, "timeout": 60, "stream": True}
            with requests.post(f"{url}/v1/chat/completions", **asked) as answer:
                lines = answer.iter_lines()
                first = next(line for line in lines if b'"content":"word' in line)
                process.send_signal(signal.SIGTERM)
                rest = [line for line in lines if line]
            assert first
            assert b"data: [DONE]" == rest[-1]
            assert 0 == process.wait(PATIENCE * 3), (tmp_path / "log").read_text()
        finally:
            end(process)


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
        [sys.executable, "-m", "llmdispatcher", "serve", "--simulate", "--port", str(_free_port())],
        env={**_environment(tmp_path), "LLMDISPATCHER_ADMIN_KEY": "sk-1234"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    port = str(_free_port())
    clash = _run(tmp_path, "serve", "--simulate", "--port", port, "--metrics-port", port)

    assert (2, True) == (none.returncode, "no vendor" in none.stderr), none.stderr
    assert "OPENAI_API_KEY" in none.stderr
    assert (2, True) == (clash.returncode, f"metrics_port: {port} is the port of the gateway itself" in clash.stderr), clash.stderr
    assert (2, True) == (weak.returncode, "LLMDISPATCHER_ADMIN_KEY: the key is too weak" in weak.stderr), weak.stderr
    assert "sk-1234" not in weak.stderr


def test_first_keys_that_cannot_be_written_are_not_made(tmp_path, monkeypatch):
    """Nobody would know them, and no later start would make others."""
    (tmp_path / "file").write_text("")
    options = ServeOptions(simulate=True, database=f"sqlite:///{tmp_path}/keys.db")
    monkeypatch.setattr("sys.stderr", io.StringIO())
    for folder, error in ((tmp_path / "file" / "home", "cannot be made"), (tmp_path / "home", None)):
        monkeypatch.setenv("LLMDISPATCHER_HOME", str(folder))
        if error is not None:
            with pytest.raises(ConfigError, match=error):
                first_keys(options)
            continue
        made, path = first_keys(options)
        assert [f"{key.label}: {secret}" for key, secret in made] == path.read_text().splitlines()
