"""Flask: views over one dispatcher, behind a real server."""

from __future__ import annotations

import json
import queue
import socket
import threading

import pytest

from llmdispatcher import (
    Cancelled,
    CircuitOpen,
    ConfigError,
    ContentFiltered,
    Dispatcher,
    LedgerError,
    OpenAIVendor,
    RateLimitError,
    Request,
    VendorUnavailable,
)
from llmdispatcher.integrations.events import error_headers, error_status, stream_events
from llmdispatcher.testing import FakeVendor, faults

flask = pytest.importorskip("flask", reason="Flask is not installed; scripts/test installs it")
from werkzeug.serving import make_server  # noqa: E402 - it comes with Flask

from llmdispatcher.integrations.flask import LLMDispatcher  # noqa: E402 - it needs Flask


@pytest.fixture
def ended():
    """The outcomes of calls, as they end."""
    return queue.Queue()


@pytest.fixture
def app(simulator, ended):
    """An application with a plain view and a streaming one."""
    dispatcher = Dispatcher(observers=[ended.put])
    dispatcher.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
    made = flask.Flask("shop")
    llm = LLMDispatcher(dispatcher=dispatcher)
    llm.init_app(made)

    @made.get("/ask")
    def ask():
        return llm.dispatcher.send(Request("gpt-4o-mini", "Why?")).content

    @made.get("/stream")
    def stream():
        return llm.stream(Request("gpt-4o-mini", "Why?"), heartbeat=0.05, patience=0.05)

    with dispatcher:
        yield made


@pytest.fixture
def address(app):
    """The application behind a real server with threads."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield "127.0.0.1", server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def events(body: bytes) -> list[tuple[str, dict]]:
    """Name and data of each event, without comments."""
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields.get("event", "message"), json.loads(fields["data"])))
    return found


def test_an_answer_and_its_events(app):
    """The pieces add up to the answer; the last event tells vendor, model, usage and cost."""
    client = app.test_client()
    whole, streamed = client.get("/ask"), client.get("/stream")
    *pieces, (last, summary) = events(streamed.data)

    assert (200, "text/event-stream; charset=utf-8", "no") == (
        streamed.status_code,
        streamed.content_type,
        streamed.headers["X-Accel-Buffering"],
    )
    assert whole.text == "".join(data.get("content", "") for _name, data in pieces)
    assert ("done", "openai", "stop") == (last, summary["vendor"], summary["finish_reason"])
    assert summary["output_tokens"] > 0
    assert float(summary["cost"]) > 0


@pytest.mark.parametrize(
    ("error", "status", "wait"),
    [
        (RateLimitError("slow down", status=429, retry_after=7.2), 503, "8"),  # not before
        (VendorUnavailable("down", status=500, retry_here=False), 502, None),
        (ContentFiltered("not such words", status=400), 400, None),
        (LedgerError("no room"), 500, None),
    ],
)
@pytest.mark.parametrize("path", ["/ask", "/stream"])
def test_a_failure_has_a_status(error, status, wait, path):
    """Before the first output; the client hears the class, the log the text."""
    app = flask.Flask("shop")
    dispatcher = Dispatcher({"retry_policy": {"max_retries": 0}})
    dispatcher.register_vendor(FakeVendor(error))
    llm = LLMDispatcher(app, dispatcher=dispatcher)
    app.add_url_rule("/ask", "ask", lambda: llm.dispatcher.send(Request("m", "x")).content)
    app.add_url_rule("/stream", "stream", lambda: llm.stream(Request("m", "x")))
    answer = app.test_client().get(path)

    assert (status, {"error": type(error).__name__}, wait) == (answer.status_code, answer.json, answer.headers.get("Retry-After"))


def test_a_process_that_cannot_ask_now():
    """An open circuit, and a process that ends: come back."""
    assert (503, {"Retry-After": "3"}) == (error_status(CircuitOpen("open")), error_headers(CircuitOpen("open", retry_after=2.1)))
    assert 503 == error_status(Cancelled("closed"))


@pytest.mark.parametrize("seconds", [{"heartbeat": 0}, {"heartbeat": -1}, {"patience": -1}, {"heartbeat": float("nan")}])
def test_seconds_that_cannot_be(seconds):
    """Are refused before the response begins, and the vendor is stopped."""
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor("yes"))
        stream = dispatcher.send_streaming(Request("m", "x"))
        with pytest.raises(ValueError, match=r"heartbeat is .* and patience .*; give seconds"):
            stream_events(stream, **seconds)


def test_a_failure_in_the_middle_is_an_event(app, simulator):
    """The status is sent already."""
    simulator.script(faults.cut_after())
    name, data = events(app.test_client().get("/stream").data)[-1]

    assert ("error", "StreamInterrupted") == (name, data["error"])


def test_a_client_that_leaves_stops_a_silent_vendor(address, simulator, ended):
    """A heartbeat that cannot be written tells the server."""
    simulator.script(faults.stall_after())
    with socket.create_connection(address, timeout=20) as client:
        client.sendall(b"GET /stream HTTP/1.1\r\nHost: shop\r\n\r\n")
        received = b""
        while b"data: " not in received:
            received += client.recv(4096)

    assert "Cancelled" == type(ended.get(timeout=20).error).__name__


def test_a_body_that_nobody_reads_stops_the_vendor(app, simulator, ended):
    """As of a HEAD request: the server closes it before it has begun. A view may still have the stream."""
    simulator.script(faults.stall_after())
    stream = app.extensions["llmdispatcher"].send_streaming(Request("gpt-4o-mini", "Why?"))
    stream_events(stream, patience=0.05).close()

    assert "Cancelled" == type(ended.get(timeout=20).error).__name__


def test_the_configuration_of_the_application(tmp_path, monkeypatch):
    """A file, fields, or nothing; a mistake is told when the application is made."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk")
    file = tmp_path / "llm.toml"
    file.write_text('timeout = 9\n[vendors.openai]\napi_key = "sk"\n')
    made = {}
    for name, setting in {
        "file": str(file),
        "fields": {"timeout": 8},
        "vendors": {"timeout": 7, "vendors": {"mine": {"kind": "openai", "api_key": "sk"}}},
        "nothing": None,
    }.items():
        app = flask.Flask(name)
        app.config["LLMDISPATCHER"] = setting
        llm = LLMDispatcher(app)
        with app.app_context():
            made[name] = (llm.dispatcher.config.timeout, "groq" in llm.dispatcher.get_vendors())
    wrong = flask.Flask("wrong")
    wrong.config["LLMDISPATCHER"] = {"timeot": 3}

    assert {"file": (9, False), "fields": (8, True), "vendors": (7, False), "nothing": ("auto", True)} == made
    with pytest.raises(ConfigError, match="did you mean 'timeout'"):
        LLMDispatcher(wrong)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (5, r"app\.config\['LLMDISPATCHER'\]: int is no setting; give the path"),
        ("", r"app\.config\['LLMDISPATCHER'\]: "),
        (Dispatcher, r"type is no setting"),
        ({"timeot": 3}, r"app\.config\['LLMDISPATCHER'\]: config: unknown key 'timeot'"),
        (
            {"vendors": ["openai"]},
            r"app\.config\['LLMDISPATCHER'\]: vendors: list is no mapping; give the settings of each by its name",
        ),
        ({"vendors": {"openai": {"api_kei": "sk"}}}, r"vendors\.openai.*did you mean 'api_key'"),
        ({"vendors": {"opnai": {"api_key": "sk"}}}, r"vendors\.opnai\.kind: 'opnai' is not in the catalog"),
        ({"vendors": {"openai": "sk-secret"}}, r"vendors\.openai: str is not a table"),
        ({"vendors": {"openai": {"api_key": "sk"}}, "timeot": 3}, r"config: unknown key 'timeot'"),
        ("no.toml", r"app\.config\['LLMDISPATCHER'\]: no\.toml: No such file"),
    ],
)
def test_a_setting_that_is_none_of_these(setting, told):
    """Is told with its place, when the application is made; Django and Celery read theirs by the same function."""
    app = flask.Flask("wrong")
    app.config["LLMDISPATCHER"] = setting
    with pytest.raises(ConfigError, match=told):
        LLMDispatcher(app)


def test_an_application_without_a_dispatcher_and_two_with_one_each():
    """The first says what to call; the others do not share."""
    llm = LLMDispatcher()
    apps = [flask.Flask("a"), flask.Flask("b")]
    made = []
    for number, app in enumerate(apps):
        app.config["LLMDISPATCHER"] = Dispatcher({"origin": f"app{number}"})
        llm.init_app(app)
    for app in apps:
        with app.app_context():
            made.append(llm.dispatcher.config.origin)

    assert ["app0", "app1"] == made
    with flask.Flask("c").app_context(), pytest.raises(ConfigError, match=r"application 'c' has no dispatcher; call init_app"):
        _ = llm.dispatcher
