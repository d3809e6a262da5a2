"""Metrics that a real Prometheus scrapes, health on a port of its own, the access log, and how the service is started."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from llmdispatcher import Config, Dispatcher, OpenAIVendor
from llmdispatcher.server import GatewaySettings, KeyStore, create_app
from llmdispatcher.server.records import RequestRecords
from llmdispatcher.testing import OK, faults

from ..conftest import PATIENCE
from ..orphans import mortal
from .conftest import HELLO, serving, wait_until
from .test_serve import _environment

client = pytest.importorskip("prometheus_client", reason="prometheus-client is not installed; scripts/test installs it")
pytest.importorskip("granian", reason="granian is not installed; scripts/test installs it")
from llmdispatcher.server.gateway.metrics import GatewayMetrics  # noqa: E402 - it needs the client

PROMPT = "the prompt that no metric and no log may tell"


@contextlib.contextmanager
def _running(home, *command, awaited=r"Serving \S+.* on (http://\S+);"):
    """A server in a process of its own; its address, the rest of what it says, and the process."""
    with (home / "log").open("wb") as log, (home / "out").open("wb") as out:
        process = subprocess.Popen(
            mortal([sys.executable, "-m", *command], ending=signal.SIGTERM), env=_environment(home), stdout=out, stderr=log
        )
    try:
        found = None
        end = time.monotonic() + 10 * PATIENCE
        while found is None or not _answers(found[1]):
            assert process.poll() is None, (home / "log").read_text()
            assert time.monotonic() < end, (home / "log").read_text()
            found = re.search(awaited, (home / "log").read_text())
            time.sleep(0.05)
        yield found[1], process
    finally:
        process.kill()
        process.wait()


def _answers(url):
    try:
        return requests.get(f"{url}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def _gateway_key(home):
    path = Path(re.search(r"The first keys are in (\S+);", (home / "log").read_text())[1])
    return dict(line.split(": ") for line in path.read_text().splitlines())["gateway"]


def _ask(url, key, path="/v1/chat/completions", **more):
    return requests.post(url + path, json={**HELLO, **more}, headers={"x-api-key": key}, timeout=60)


def test_prometheus_scrapes_all_workers(prometheus_server, tmp_path):
    """Requests by face, vendor, model and status, tokens, cost and readiness; no key, user or prompt is in any of it."""
    port = prometheus_server.take_port()
    words = ["serve", "--simulate", "--port", "0", "--metrics-port", f"{port}", "--workers", "2", "--threads", "32", "--access-log"]
    with _running(tmp_path, "llmdispatcher", *words) as (url, process):
        key, body = _gateway_key(tmp_path), {"messages": [{"role": "user", "content": PROMPT}], "user": "somebody"}
        assert [200] * 6 == [_ask(url, key, **body).status_code for _ in range(6)]
        assert [404] * 2 == [_ask(url, key, "/v1/messages", **body, model="none:x", max_tokens=5).status_code for _ in range(2)]
        assert _ask(url, key, **body, stream=True).text.endswith("data: [DONE]\n\n")
        requests.get(f"{url}/v1/models", headers={"x-api-key": "nobody"}, timeout=60)

        asked = 'face="chat.completions",vendor="openai",model="gpt-4o-mini",status="200"'
        prometheus_server.await_value(f"sum(llmdispatcher_gateway_requests_total{{{asked}}})", 7)
        prometheus_server.await_value('sum(llmdispatcher_gateway_requests_total{face="messages",status="404"})', 2)
        prometheus_server.await_value('sum(llmdispatcher_gateway_requests_total{face="models",status="401"})', 1)
        prometheus_server.await_value('sum(llmdispatcher_gateway_request_seconds_count{face="chat.completions"})', 7)
        prometheus_server.await_value('sum(llmdispatcher_gateway_first_output_seconds_count{face="chat.completions"})', 1)
        prometheus_server.await_value("llmdispatcher_gateway_ready", 1)
        prometheus_server.await_value('llmdispatcher_gateway_records{state="written"}', 9)
        [cost] = prometheus_server.ask("query", query="sum(llmdispatcher_cost_dollars_total)")["result"]
        answers = {
            name: requests.get(f"http://127.0.0.1:{port}/{name}", timeout=10) for name in ("metrics", "livez", "readyz", "x")
        }
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE * 3) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()

    assert float(cost["value"][1]) > 0
    assert [200, 200, 200, 404] == [answer.status_code for answer in answers.values()]
    lines = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert 7 == len([line for line in lines if line["face"] == "chat.completions" and line["status"] == 200])
    for told in (answers["metrics"].text, (tmp_path / "out").read_text(), (tmp_path / "log").read_text()):
        assert not any(word in told for word in (PROMPT, key, "somebody"))


def test_the_port_tells_of_draining(tmp_path):
    """While a stream is finished, the metrics' port says that no requests are taken, and still that the process lives."""
    words = ["serve", "--simulate", "--port", "0", "--metrics-port", "0", "--server", "waitress", "--threads", "8", "--drain", "60"]
    with _running(tmp_path, "llmdispatcher", *words) as (url, process):
        metrics = re.search(r"Metrics are on (http://\S+)/metrics", (tmp_path / "log").read_text())[1]
        assert 200 == requests.get(f"{metrics}/readyz", timeout=10).status_code
        body = {**HELLO, "stream": True, "messages": [{"role": "user", "content": "word " * 400}], "max_tokens": 4000}
        headers = {"x-api-key": _gateway_key(tmp_path)}
        with requests.post(f"{url}/v1/chat/completions", json=body, headers=headers, timeout=60, stream=True) as answer:
            lines = answer.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: requests.get(f"{metrics}/readyz", timeout=10).status_code == 503)
            assert 200 == requests.get(f"{metrics}/livez", timeout=10).status_code
            assert b"data: [DONE]" == [line for line in lines if line][-1]
        assert 0 == process.wait(PATIENCE * 3), (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "command",
    [("llmdispatcher.server",), ("llmdispatcher",), ("llmdispatcher", "serve")],
    ids=["the package", "options alone", "the command"],
)
def test_the_ways_to_start_it(tmp_path, command):
    """With the options of the LLM proxy service; port 0 tells the port that it got."""
    further = ("--simulate", "--server", "waitress", "--threads", "8", "--load-balance", "ROUND_ROBIN", "--max-retries", "3")
    with _running(tmp_path, *command, "--port", "0", "--cache-size", "2000", "--cache-ttl", "3600", *further) as (url, _):
        key = _gateway_key(tmp_path)
        answers = [_ask(url, key, temperature=0) for _ in "12"]
    assert [None, "true"] == [answer.headers.get("x-llmdispatcher-cached") for answer in answers]


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_the_last_record_is_written_at_the_end(tmp_path, server):
    """Of a request that ended a moment before the process did."""
    words = ["serve", "--simulate", "--port", "0", "--server", server, "--threads", "8", "--drain", "10"]
    with _running(tmp_path, "llmdispatcher", *words) as (url, process):
        answer = _ask(url, _gateway_key(tmp_path))
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE * 3) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()
    keys = KeyStore(tmp_path / ".local" / "share" / "llmdispatcher" / "server.db")
    records = RequestRecords(keys.url)
    assert 200 == records.find(answer.headers["x-request-id"], "default")["status"]
    records.close()
    keys.close()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--load-balance", "sideways"], "load_balance: 'sideways' is not a strategy"),
        (["--cache-size", "-1"], "--cache-size"),
        (["--metrics-port", "70000"], "--metrics-port"),
    ],
)
def test_options_that_cannot_be(tmp_path, words, told):
    """Are told before any key is made."""
    command = [sys.executable, "-m", "llmdispatcher", "serve", "--simulate", *words]
    done = subprocess.run(command, env=_environment(tmp_path), capture_output=True, text=True, timeout=120, check=False)
    assert (2, True) == (done.returncode, told in done.stderr), done.stderr
    assert "first keys" not in done.stderr


def test_gauges_follow_circuits_limits_and_records(simulator, keys):
    """A circuit that opens and closes, what is left of a limit, the rows that are written; labels are bounded."""
    config = Config(circuit_breaker={"failure_rate": 0.5, "min_calls": 2}, retry_policy={"max_retries": 0})
    registry = client.CollectorRegistry()
    with Dispatcher(config) as dispatcher:
        dispatcher.register_vendor(
            OpenAIVendor(api_key="sk", base_url=simulator.openai_url, rate_limit={"requests_per_minute": 50})
        )
        _, key = keys.create("a test")
        app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8))
        metrics = GatewayMetrics(registry, dispatcher, app.records, ready=app.is_ready, in_flight=app.in_flight)
        app.log.listeners.append(metrics.observe)
        with serving(app) as url:

            def value(name, **labels):
                metrics.refresh()
                return registry.get_sample_value(f"llmdispatcher_gateway_{name}", labels)

            assert 200 == _ask(url, key).status_code
            assert (1.0, 49.0, 0.0) == (
                value("ready"),
                value("limit_remaining", vendor="openai", unit="requests"),
                value("in_flight"),
            )
            simulator.always(faults.status(503))
            for _ in range(8):
                _ask(url, key)
            assert 1.0 == value("circuits_open", vendor="openai", model="gpt-4o-mini")
            simulator.always(OK)
            assert app.records.flush(PATIENCE)
            assert 9.0 == value("records", state="written")
            for number in range(3):
                _ask(url, key, model=f"openai:{number}\ud800")
            assert client.generate_latest(registry)
            app.draining = True
            assert 0.0 == value("ready")
            app.draining = False
        metrics.close()
        app.records.close()


def test_without_a_vendor_nothing_is_ready(tmp_path):
    """The process lives, and no requests are sent to it."""
    keys = KeyStore(tmp_path / "server.db")
    with Dispatcher() as dispatcher, serving(create_app(dispatcher, keys=keys)) as url:
        assert 503 == requests.get(f"{url}/readyz", timeout=10).status_code
        assert 200 == requests.get(f"{url}/livez", timeout=10).status_code
    keys.close()


def test_the_access_log_has_facts_alone(dispatcher, keys, caplog):
    """One line of JSON for each request, refused ones too."""
    caplog.set_level(logging.INFO, logger="llmdispatcher.access")
    made, key = keys.create("a test")
    app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8, access_log=True))
    with serving(app) as url:
        body = {**HELLO, "messages": [{"role": "user", "content": PROMPT}]}
        answer = requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": key}, timeout=60)
        requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": "nobody-at-all"}, timeout=60)
        requests.get(f"{url}/v1beta/models?key={key}", timeout=60)
    app.records.close()
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "llmdispatcher.access"]

    assert [("chat.completions", 200), ("chat.completions", 401), ("v1beta.models", 200)] == [
        (line["face"], line["status"]) for line in lines
    ]
    assert [None, "invalid_api_key", None] == [line["code"] for line in lines]
    first = lines[0]
    assert (made.id, answer.headers["x-request-id"], "openai", "gpt-4o-mini", 1) == tuple(
        first[name] for name in ("key", "request_id", "vendor", "model", "attempts")
    )
    assert (answer.headers["x-llmdispatcher-cost"], True) == (first["cost"], first["ms"] > 0)
    assert not any(word in caplog.text for word in (PROMPT, key, "nobody-at-all"))
