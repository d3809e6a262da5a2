"""A configuration that changes while the gateway runs: no call is dropped, and one with a mistake changes nothing."""

from __future__ import annotations

import gc
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import requests

from llmdispatcher import Config, ConfigError, Dispatcher, OpenAIVendor, Request
from llmdispatcher.dispatcher import read_config_file
from llmdispatcher.server import Gateway, GatewaySettings, ServeOptions, serve
from llmdispatcher.server.gateway.file_settings import start_in
from llmdispatcher.server.reload import ConfigWatch
from llmdispatcher.testing import VendorSimulator

from ..conftest import PATIENCE
from .conftest import serving as in_thread
from .processes import serving
from .reloads import reload_again_and_again

pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")
pytest.importorskip("gunicorn", reason="gunicorn is not installed; scripts/test installs it")


@pytest.fixture
def two():
    """A vendor that answers "old" slowly, and one that answers "new"."""
    slow = VendorSimulator(responses=" ".join(["old"] * 40), tokens_per_second=8.0)
    with slow as old, VendorSimulator(responses="new answer") as new:
        yield old, new


def _config(simulator, *, more=""):
    vendor = f'[vendors.openai]\nkind = "openai"\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
    return f'{more}\n[pools]\nsmart = ["openai:gpt-4o-mini"]\n{vendor}'


def _replace(path: Path, content: str) -> None:
    """Write a file beside it and put it there, as editors and Kubernetes do."""
    fresh = path.with_name("fresh")
    fresh.write_text(content)
    fresh.replace(path)


def _text(answer):
    return answer.json()["choices"][0]["message"]["content"]


@pytest.mark.parametrize(("server", "workers"), [("granian", 2), ("waitress", 1), ("gunicorn", 2)])
def test_a_changed_file_is_in_force_and_drops_no_call(tmp_path, two, server, workers):
    """A stream under way is finished by the old vendor, while new calls go to the new one; and then a mistake changes nothing."""
    old, new = two
    path = tmp_path / "llmdispatcher.toml"
    path.write_text(_config(old))
    with serving(tmp_path, server, path, workers=workers) as running:
        with running.ask(stream=True) as answer:
            lines = answer.iter_lines()
            first = next(line for line in lines if b'"content":"old' in line)
            _replace(path, _config(new))
            if server == "gunicorn":  # whose log has only what its operator configures
                running.until(lambda: {_text(running.ask()) for _ in range(8)} == {"new answer"})
            else:
                running.until(lambda: running.log.count("the configuration is reloaded") == workers)
            answers = {_text(running.ask()) for _ in range(6)}
            rest = [line for line in lines if line]
        assert (answers, rest[-1]) == ({"new answer"}, b"data: [DONE]")
        assert first
        if server == "gunicorn":
            return
        assert sum(b'"content"' in line for line in rest) > 20

        _replace(path, _config(new, more='timeout = -3\nmodle = "x"'))
        running.until(lambda: running.log.count("is not reloaded") >= 2 * workers)
        assert "timeout: " in running.log
        assert "modle" in running.log
        assert {_text(running.ask()) for _ in range(6)} == {"new answer"}
        path.unlink()
        running.until(lambda: running.log.count("is not reloaded") >= 3 * workers)
        assert _text(running.ask()) == "new answer"


@pytest.mark.parametrize(("server", "workers"), [("granian", 2), ("waitress", 1)])
def test_sighup_reloads_what_stands_in_the_environment(tmp_path, two, server, workers):
    """Of the same file: all workers read it again, and none ends."""
    _old, new = two
    path = tmp_path / "llmdispatcher.toml"
    path.write_text(_config(new))
    with serving(tmp_path, server, path, workers=workers) as running:

        def reloaded():
            running.process.send_signal(signal.SIGHUP)  # one that comes before a worker has begun needs no reload
            return set(re.findall(r"process (\d+): the configuration is reloaded", running.log))

        running.until(lambda: len(reloaded()) == workers)
        pids, before = reloaded(), running.log.count("is reloaded")
        running.until(lambda: reloaded() and running.log.count("is reloaded") >= before + workers)
        assert (reloaded(), _text(running.ask())) == (pids, "new answer")


ROW = '[[passthrough]]\npath = "/v1/moderations"\nvendor = "openai"\n'
KEPT = f'stateful = true\n{ROW}[[passthrough]]\npath = "/v1/files/{{id}}"\nvendor = "openai"\nmethods = ["GET"]\n'


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_what_the_gateway_alone_reads_is_reloaded_too(tmp_path, two, server):
    """Its paths and its flags, added and taken away; with a mistake in them the old ones stay."""
    _old, new = two
    path = tmp_path / "llmdispatcher.toml"
    path.write_text(_config(new))
    with serving(tmp_path, server, path, workers=2 if server == "granian" else 1) as running:
        headers = {"x-api-key": running.key, "Connection": "close"}

        def codes():
            """What each worker says of a path that passes, and of one with an id."""
            found = set()
            for _ in range(8):
                asked = [
                    requests.post(f"{running.url}/v1/moderations", json={"file_id": "file-1"}, headers=headers, timeout=60),
                    requests.get(f"{running.url}/v1/files/file-1", headers=headers, timeout=60),
                ]
                found.add(tuple([one.json()["error"]["code"] for one in asked]))
            return found

        assert codes() == {("not_configured", "not_configured")}
        _replace(path, _config(new, more=ROW))
        running.until(lambda: codes() == {("stateful_not_allowed", "not_configured")})
        _replace(path, _config(new, more=KEPT))
        running.until(lambda: codes() == {("not_found", "not_found")})
        _replace(path, _config(new, more=KEPT.replace("stateful = true", "")))
        running.until(lambda: "set stateful = true" in running.log)
        assert codes() == {("not_found", "not_found")}
        _replace(path, _config(new, more="cache_marks = 7"))
        running.until(lambda: "cache_marks: 7 is no flag" in running.log)
        assert codes() == {("not_found", "not_found")}
        _replace(path, _config(new))
        running.until(lambda: codes() == {("not_configured", "not_configured")})


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_a_second_sigterm_ends_at_once(tmp_path, two, server):
    """While a stream would go on for seconds."""
    old, _new = two
    path = tmp_path / "llmdispatcher.toml"
    path.write_text(_config(old))
    with serving(tmp_path, server, path, "--drain", "600") as running, running.ask(stream=True) as answer:
        lines = answer.iter_lines()  # one that nobody holds would close the connection
        assert next(line for line in lines if b'"content":"old' in line)
        running.process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            running.process.wait(1)
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(PATIENCE * 3)


def _dispatcher(simulator):
    made = Dispatcher(Config(default_vendor="openai", retry_policy={"max_retries": 0}))
    made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
    return made


def test_the_old_dispatcher_is_closed_after_its_last_call(two, keys):
    """Not before; a request that has just begun gets its answer."""
    old, new = two
    first, second = _dispatcher(old), _dispatcher(new)
    closed = threading.Event()
    close, first_close = first.close, lambda **more: (close(**more), closed.set())
    first.close = first_close  # type: ignore[method-assign]  # a double
    gateway = Gateway(first, keys)
    with gateway._generations.use() as mine:
        gateway.replace_dispatcher(second, 60)
        assert mine.dispatcher is first
        assert not closed.is_set()
        with gateway._generations.use() as other:
            assert other.dispatcher is second
    assert closed.wait(PATIENCE)
    gateway.draining = True
    assert not gateway.is_ready()
    gateway.close()


def test_a_file_that_is_still_written_is_not_read(tmp_path, two, keys, monkeypatch):
    """It is read when it is the same at two looks; once for each change; and never with a mistake."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    path = tmp_path / "c.toml"
    path.write_text("1")
    made: list[Dispatcher] = []

    def remake():
        if "bad" in path.read_text():
            raise ConfigError("bad")
        made.append(_dispatcher(two[1]))
        return made[-1]

    gateway = Gateway(_dispatcher(two[1]), keys)
    watch = ConfigWatch(path, remake, 1.0)
    watch._replace = gateway.replace_dispatcher  # without its thread, whose looks are made here
    assert [watch.look(), watch.look()] == [False, False]
    for number, content in enumerate(("22", "333")):
        path.write_text(content)
        os.utime(path, ns=(number, number))
        assert not watch.look()
    assert [watch.look(), watch.look(), len(made)] == [True, False, 1]
    path.write_text("bad!!")
    assert [watch.look(), watch.look(), watch.look(), len(made)] == [False, False, False, 1]
    watch.ask()
    assert [watch.look(), gateway.dispatcher is made[0]] == [False, True]
    gateway.close()


def test_all_mistakes_of_the_gateway_s_tables_are_logged(tmp_path, two, keys, monkeypatch, caplog):
    """As `config check` tells them; nothing has changed."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    path = tmp_path / "c.toml"
    path.write_text(_config(two[1]))
    gateway = Gateway(_dispatcher(two[1]), keys)
    before = gateway.dispatcher
    watch = ConfigWatch(path, lambda: serve.make_dispatcher(ServeOptions(config=str(path))), 1.0, serve._all_mistakes)
    watch._replace = lambda made, drain: gateway.replace_dispatcher(made, drain, serve._settings_of(ServeOptions(config=str(path))))
    path.write_text(_config(two[1]) + "[server]\ntimeout = 0\nport = -1\n")
    watch.ask()
    assert (False, True) == (watch.look(), gateway.dispatcher is before)
    assert all(f"{path}: server.{name}" in caplog.text for name in ("timeout: 0 is not", "port: -1 is not"))
    gateway.close()


def test_a_changed_port_counts_from_the_next_start(tmp_path, two, keys, caplog):
    """And is told so; settings of the gateway itself count at once, and are not."""
    path = tmp_path / "c.toml"
    served = serve._Application()
    served._gateway = Gateway(_dispatcher(two[1]), keys)
    for text, told in (
        ("", False),
        ("[server]\ntimeout = 5\n", False),
        ("[server]\nport = 9001\n", True),
        ("[server]\nport = 9001\n", False),
    ):
        caplog.clear()
        path.write_text(_config(two[1]) + text)
        served._tell_of_start(start_in(read_config_file(path, only=())))
        assert told is ("server.port: what the file says now counts from the next start" in caplog.text)
    served._gateway.close()


@pytest.fixture
def application(tmp_path, two, monkeypatch):
    """One that reloads when it is told to, with its file."""
    path = tmp_path / "c.toml"
    path.write_text(_config(two[1], more='[server]\npublic_url = "https://one.example"\n'))
    monkeypatch.setenv(serve.VARIABLE, json.dumps({"config": str(path), "database": str(tmp_path / "server.db")}))
    monkeypatch.setattr(ConfigWatch, "start", lambda watch, replace: setattr(watch, "_replace", replace))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(serve, "_at_end", lambda *_: None)
    made = serve._Application()
    gateway = made.start()
    yield made, gateway, path
    gateway.close()


def test_a_file_that_vanishes_behind_a_reload_takes_no_dispatcher_away(application):
    """What it says is read before anything has changed: the new dispatcher answers, and is not closed."""
    served, gateway, path = application
    gateway.at_reload.append(lambda _dispatcher: path.unlink())
    before = gateway.dispatcher
    assert served._watch.reload()
    assert gateway.dispatcher is not before
    assert "new answer" == gateway.dispatcher.send(Request("gpt-4o-mini", "hi")).content


def test_the_public_address_counts_from_the_next_start(application, caplog):
    """The rules of hosts stay, where the file alone names it, too; and that is told."""
    served, gateway, path = application
    before = gateway.settings.rules
    path.write_text(path.read_text().replace("one.example", "two.example"))
    assert served._watch.reload()
    assert before == gateway.settings.rules
    assert "server.public_url: what the file says now counts from the next start" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="it counts descriptors in /proc")
@pytest.mark.skipif(sys.platform != "linux", reason="what a process holds is told by Linux")
@pytest.mark.parametrize("server", ["granian", "gunicorn"])
def test_workers_that_reload_again_and_again(tmp_path, server):
    """Hold no more threads and files than before, drop no call, and are the same processes."""
    reload_again_and_again(tmp_path, server, 4)


def test_fifty_reloads_leave_nothing_behind(two, keys):
    """No thread, no socket and no dispatcher, though each has answered; a stream that began before all of them is whole."""
    old, new = two
    _, secret = keys.create("a test")
    gateway = Gateway(_dispatcher(old), keys, GatewaySettings(threads=8))

    def ask(url, **more):
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], **more}
        return requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": secret}, timeout=60, **more)

    def left():
        gc.collect()
        dispatchers = sum([isinstance(one, Dispatcher) for one in gc.get_objects()])
        return (threading.active_count(), len(list(Path("/proc/self/fd").iterdir())), dispatchers)

    with in_thread(gateway) as url:
        with ask(url, stream=True) as answer:
            lines = answer.iter_lines()
            assert next(line for line in lines if b'"content":"old' in line)
            begun = left()
            for number in range(50):
                gateway.replace_dispatcher(_dispatcher(new), 60)
                text = ask(url, stream=number % 2 == 1).text
                assert ("new" in text, "old" in text) == (True, False)
            assert sum(b'"content"' in line for line in lines) == 39
        gateway._generations.join(60)
        ended = left()
    gateway.close()

    assert ended[2] <= begun[2] + 2  # what the last requests hold
    assert ended[0] <= begun[0] + 6, (begun, ended)
    assert ended[1] <= begun[1] + 6, (begun, ended)  # servers hold some connections
