"""Time: a stream has no end but silence, pings are no silence, and a proxy in front sees that the gateway lives."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import attrs
import pytest
import requests

from llmdispatcher import AnthropicVendor, Config, Dispatcher, OpenAIVendor
from llmdispatcher.resilience import share
from llmdispatcher.runtime import Deadline
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.gateway import app as app_module
from llmdispatcher.server.gateway.formats import RESPONSES
from llmdispatcher.server.gateway.targets import ClientRequest
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator, faults
from llmdispatcher.testing.fault_context import Fault, send_all
from llmdispatcher.types import Request, StreamChunk
from llmdispatcher.vendors import http as vendors_http

from ..conftest import PATIENCE
from ..orphans import mortal
from .conftest import HELLO, serving

STREAM = {**HELLO, "stream": True}


class Slow:
    """A vendor of a user's own whose answer takes hours of a clock that is moved by hand."""

    name = "slow"

    def __init__(self, clock, thinking, words, pause):
        self.capabilities = attrs.evolve(FakeVendor().capabilities, models=("m",))
        self._clock, self._thinking, self._words, self._pause = clock, thinking, words, pause

    def send(self, request, deadline):
        """Not asked."""
        raise NotImplementedError

    def stream(self, request, deadline):
        """Think, then say a word now and then."""
        yield StreamChunk(model="m", response_id="r")
        self._clock.advance(self._thinking)
        for number in range(self._words):
            deadline.check()
            yield StreamChunk(content=f"w{number} ")
            self._clock.advance(self._pause)
        yield StreamChunk(finish_reason="stop")

    def is_available(self):
        """It is."""
        return True


@pytest.mark.parametrize("timeout", ["auto", 100.0])
def test_a_stream_that_speaks_has_no_end_of_time(keys, timeout):
    """280 s of thinking, then 15 minutes of words; a timeout that the operator has set ends it."""
    clock = ManualClock()
    made = Dispatcher(Config(timeout=timeout, retry_policy={"max_retries": 0}), clock=clock)
    made.register_vendor(Slow(clock, 280.0, 90, 10.0))
    _, secret = keys.create("a test")
    with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
        body = {**STREAM, "model": "m"}
        answer = requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": secret}, timeout=60)

    if timeout == "auto":
        assert 200 == answer.status_code
        assert "w89 " in answer.text
        assert "[DONE]" in answer.text
    else:
        assert "w89 " not in answer.text


def test_a_client_s_own_time_ends_a_stream(keys):
    """``x-llmdispatcher-timeout`` shortens."""
    clock = ManualClock()
    made = Dispatcher(Config(retry_policy={"max_retries": 0}), clock=clock)
    made.register_vendor(Slow(clock, 1.0, 90, 10.0))
    _, secret = keys.create("a test")
    with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
        key = {"x-api-key": secret, "x-llmdispatcher-timeout": "300"}
        answer = requests.post(f"{url}/v1/messages", json={**STREAM, "model": "m", "max_tokens": 9}, headers=key, timeout=60)

    assert "w20 " in answer.text
    assert "w40 " not in answer.text
    assert "event: error" in answer.text


def _pinging(count, gate):
    """Pings, as many as asked, then an answer when the gate opens."""

    def act(peer, context):
        pieces = context.start(peer)
        send_all(peer, pieces.opening)
        for _ in range(count):
            peer.chunk(context.form.ping)
        assert gate.wait(PATIENCE)
        for _ in range(count):
            peer.chunk(context.form.ping)
        send_all(peer, [*pieces.deltas, *pieces.closing])
        peer.chunk(b"")
        return False

    return Fault("pinging", act)


def test_limits_of_silence_are_those_of_the_gateway(keys, monkeypatch):
    """300 s to the first event and between events, and none for pings; the library's own are 60 s and 120 s."""
    asked = []
    opened = vendors_http.Endpoint.create

    def create(*given):
        endpoint = opened(*given)
        inner = endpoint.transport.open

        def watch(call, deadline, limits):
            asked.append((limits.first_byte, limits.idle))
            return inner(call, deadline, limits)

        monkeypatch.setattr(endpoint.transport, "open", watch)
        return endpoint

    monkeypatch.setattr(vendors_http.Endpoint, "create", create)
    with VendorSimulator() as simulator:
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url, idle_timeout=45.0))
        _, secret = keys.create("a test")
        with made, serving(create_app(made, keys=keys, settings=GatewaySettings(threads=8))) as url:
            for model in ("gpt-4o-mini", "claude-haiku-4-5"):
                body = {**STREAM, "model": model}
                requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": secret}, timeout=30)
            made.send_streaming(Request("gpt-4o-mini", "Hi")).response()

    assert [(300.0, 300.0), (300.0, 45.0), (60.0, 60.0)] == asked


def test_pings_alone_are_life(keys):
    """Longer than the library waits for a stream that only pings: the limit is one of the clock, which is moved."""
    gate, clock = threading.Event(), ManualClock()
    with VendorSimulator(responses="late but whole") as simulator:
        simulator.always(_pinging(3, gate))
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        vendor = AnthropicVendor(api_key="sk", base_url=simulator.anthropic_url, clock=clock)
        made.register_vendor(vendor)
        _, secret = keys.create("a test")
        settings = GatewaySettings(threads=8, patience=0.05, heartbeat=0.3)
        with made, serving(create_app(made, keys=keys, settings=settings)) as url:
            body = {**STREAM, "model": "claude-haiku-4-5"}
            key = {"x-api-key": secret}
            with requests.post(f"{url}/v1/chat/completions", json=body, headers=key, timeout=30, stream=True) as answer:
                lines = answer.iter_lines()
                assert b": ping" == next(lines)
                clock.advance(290.0)
                gate.set()
                rest = b"".join(lines)

    assert b"whole" in rest
    assert b"[DONE]" in rest


def test_an_open_ended_deadline_ends_before_the_first_event_alone():
    """A vendor that never begins is left in time; one that has begun is not."""
    clock = ManualClock()
    deadline = Deadline.after(600.0, clock=clock)
    deadline.narrow(300.0, 5.0)
    assert 300.0 == deadline.remaining()
    deadline.lift()
    clock.advance(10_000.0)
    deadline.check()
    deadline.widen()
    deadline.check()
    assert ClientRequest.known(Request("m", "-"), endless=True).open_ended
    assert not Request("m", "-").open_ended


def test_a_silent_first_vendor_is_left_within_its_share(keys, monkeypatch):
    """The time until the first event is not without end: the second vendor answers."""
    for name, seconds in {"LEAST_NEED": 1.0, "BESIDE": 0.0, "SHORTEST_TIMEOUT": 4.0}.items():
        monkeypatch.setattr(share, name, seconds)
    with VendorSimulator() as one, VendorSimulator(responses="from the second") as two:
        one.always(faults.silent())
        made = Dispatcher(Config(default_vendor="openai", fallback_vendor="anthropic", retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=one.openai_url))
        made.register_vendor(AnthropicVendor(api_key="sk", base_url=two.anthropic_url))
        _, secret = keys.create("a test")
        settings = GatewaySettings(threads=8, patience=0.05, heartbeat=0.3, timeout=2.0)
        with made, serving(create_app(made, keys=keys, settings=settings)) as url:
            body = {**STREAM, "max_tokens": 10}
            answer = requests.post(f"{url}/v1/chat/completions", json=body, headers={"x-api-key": secret}, timeout=30)

    assert 200 == answer.status_code
    assert "second" in answer.text


def test_long_silence_is_an_event_to_codex(keys, monkeypatch):
    """A comment does not renew its patience; the event is the one that OpenAI sends, and the response's own count begins with 0."""
    gate = threading.Event()
    monkeypatch.setattr(app_module, "RESPONSES", attrs.evolve(RESPONSES, event_after=0.5))
    routes = tuple([route._replace(form=app_module.RESPONSES) if route.form is RESPONSES else route for route in app_module.ROUTES])
    monkeypatch.setattr(app_module, "ROUTES", routes)
    with VendorSimulator(responses="late but whole") as simulator:
        simulator.always(_pinging(1, gate))
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        _, secret = keys.create("a test")
        settings = GatewaySettings(threads=8, patience=0.05, heartbeat=0.25)
        with made, serving(create_app(made, keys=keys, settings=settings)) as url:
            body = {"model": "gpt-4o-mini", "input": "Why?", "stream": True}
            with requests.post(f"{url}/v1/responses", json=body, headers={"x-api-key": secret}, timeout=30, stream=True) as answer:
                pieces, text = answer.iter_content(None), ""
                while text.count("event: keepalive") < 2:
                    text += next(pieces).decode()
                gate.set()
                text += b"".join(pieces).decode()

    assert ": ping" in text
    assert 'event: keepalive\ndata: {"type":"keepalive","sequence_number":0}' in text
    assert '"type":"response.created","sequence_number":0' in text
    assert "response.completed" in text


NGINX = """
daemon off;
master_process off;
pid {home}/pid;
error_log {home}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass {url};
            proxy_http_version 1.1;
            proxy_read_timeout {seconds}s;
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx_before(url, home, seconds):
    """The address of nginx in front of another one, which waits so many seconds for a silent gateway."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed; apt-get install nginx-light")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    Path(home, "nginx.conf").write_text(NGINX.format(home=home, port=port, url=url, seconds=seconds))
    process = subprocess.Popen(mortal([nginx, "-p", str(home), "-c", f"{home}/nginx.conf", "-e", f"{home}/start.log"]))
    try:
        address, alive = f"http://127.0.0.1:{port}", threading.Event()
        for _ in range(200):
            with contextlib.suppress(requests.ConnectionError):
                if requests.get(f"{address}/livez", timeout=5).status_code == 200:
                    break
            alive.wait(0.05)
        yield address
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages", "/v1/responses"])
def test_behind_nginx_a_vendor_may_be_silent_for_longer_than_the_proxy_waits(keys, tmp_path, path):
    """Twice as long as ``proxy_read_timeout``: heartbeats pass through its buffers, and the answer comes whole."""
    beats = threading.Event()

    def act(peer, context):
        assert beats.wait(PATIENCE)
        send_all(peer, context.start(peer).all)
        peer.chunk(b"")
        return False

    with VendorSimulator(responses="late but whole") as simulator:
        simulator.always(Fault("late", act))
        made = Dispatcher(Config(retry_policy={"max_retries": 0}))
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        _, secret = keys.create("a test")
        settings = GatewaySettings(threads=8, patience=0.5, heartbeat=0.25)
        with made, serving(create_app(made, keys=keys, settings=settings)) as url, nginx_before(url, tmp_path, 2) as front:
            body = (
                {"model": "gpt-4o-mini", "stream": True, "input": "Why?"}
                if path.endswith("responses")
                else {**STREAM, "max_tokens": 99}
            )
            with requests.post(front + path, json=body, headers={"x-api-key": secret}, timeout=30, stream=True) as answer:
                assert 200 == answer.status_code
                pieces = answer.iter_content(None)
                seen = b""
                while seen.count(b"ping") < 16:  # four seconds of silence of the vendor, by the gateway's own beat
                    seen += next(pieces)
                beats.set()
                rest = b"".join(pieces)

    assert b"whole" in rest


def test_a_spent_budget_ends_a_turn_with_one_request(served):
    """402 and ``x-should-retry: false``, to each SDK's format, at once: nothing is sent to a vendor."""
    _, secret = served.app.keys.create("poor", budget="0.000001/day")
    for path, body in (
        ("/v1/messages", {**STREAM, "max_tokens": 9}),
        ("/v1/responses", {"model": "gpt-4o-mini", "input": "a", "stream": True}),
    ):
        answer = served.post(path, body, key=secret)
        assert (402, "false") == (answer.status_code, answer.headers["x-should-retry"]), answer.text
    assert 0 == served.simulator.hits
