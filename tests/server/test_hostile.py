"""The gateway under clients that mean harm: bodies, names, keys in logs, vendors' words, and clients that leave."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import logging
import resource
import socket
import threading

import pytest
import requests

from llmdispatcher import Config, Dispatcher, OpenAIVendor
from llmdispatcher.server import GatewaySettings, KeyStore, create_app
from llmdispatcher.server.gateway.answers import Events, place_of
from llmdispatcher.server.gateway.checks import check_members
from llmdispatcher.server.gateway.formats import GatewayError
from llmdispatcher.server.gateway.http import Bodies, _is_closed, hide_keys
from llmdispatcher.testing import ManualClock, VendorSimulator, faults

from ..cases import each
from ..conftest import PATIENCE
from .conftest import HELLO, serving
from .test_gateway import ASKING, GOOGLE
from .test_streams import STREAMED

CANARY = "canary-0123456789abcdef"


def _nested(depth):
    return b'{"x": ' + b"[" * depth + b"]" * depth + b"}"


DOCUMENTS = {
    "as deep as it may be": (_nested(63), None),
    "one deeper": (_nested(64), "too_deep"),
    "as deep as nobody can decode": (_nested(90_000), "too_deep"),
    "never closed": (b"[" * 100_000, "too_deep"),
    "brackets within a text": (b'{"x": "' + b"[{" * 5_000 + b'"}', None),
    "a text with quotes and backslashes": (b'{"x": "\\\\\\"' + b"[" * 5_000 + b'\\\\"}', None),
    "as many members as there may be": (b'{"x": [' + b"0," * 199_990 + b"0]}", None),
    "more": (b'{"x": [' + b"0," * 200_000 + b"0]}", "too_many_members"),
    "empty lists": (b"[" + b"[]," * 110_000 + b"[]]", "too_many_members"),
    "commas within a text": (b'{"x": "' + b"," * 300_000 + b'"}', None),
}


@each("body, code", DOCUMENTS)
def test_members_and_depth_are_counted_before_anything_is_decoded(body, code):
    """What stands within texts does not count."""
    with pytest.raises(GatewayError) if code else contextlib.nullcontext() as caught:
        check_members(body)
    assert code is None or code == caught.value.code


SMALL = {
    "lists": (b"[[],[]]", None),
    "more": (b"[[],[],[]]", "too_many_members"),
    "texts": (b'["[[[[", "]]]]", ",,,,"]', None),
    "a quote in a text": (b'["\\"[[[[", ","]', None),
    "a backslash at the end of a text": (b'["\\\\",[],[[]]]', "too_many_members"),
    "backslashes": (b'["\\\\\\\\\\"[[[[[["]', None),
    "closed too often": (b"[]]]]]]]]", None),
}


@each("piece", [1, 2, 3, 7, 100])
@pytest.mark.parametrize(("body", "code"), SMALL.values(), ids=SMALL)
def test_members_are_counted_wherever_a_document_is_cut(body, code, piece, monkeypatch):
    """It is looked at in pieces, so that a large one holds nobody up."""
    monkeypatch.setattr("llmdispatcher.server.gateway.checks._PIECE", piece)
    monkeypatch.setattr("llmdispatcher.server.gateway.checks.MOST_DEPTH", 2)
    with pytest.raises(GatewayError) if code else contextlib.nullcontext() as caught:
        check_members(body, 5)
    assert code is None or code == caught.value.code


@each("path, body", ASKING)
def test_a_document_that_is_too_deep_is_the_client_s_mistake(served, path, body):
    """In every format, and never sent."""
    deep = json.dumps(body)[:-1] + ', "x": ' + "[" * 80 + "]" * 80 + "}"
    answer = requests.post(served.url + path, data=deep, headers={"x-api-key": served.key}, timeout=30)

    assert (400, True) == (answer.status_code, "nested deeper than 64 levels" in answer.text), answer.text
    assert 0 == served.simulator.hits


def _says(*parts, **more):
    return {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": list(parts)}], "max_tokens": 5, **more}


def _input(*items, **more):
    return {"model": "gpt-4o-mini", "input": [{"role": "user", "content": "Why?"}, *items], **more}


def _google(part):
    return {"contents": [{"role": "user", "parts": [{"text": "Why?"}, part]}]}


CHAT, MESSAGES, RESPONSES, GEMINI = (ASKING[form][0] for form in ("chat", "messages", "responses", "google"))
IN_A_FILE = {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}
GOOGLES = {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a", "mimeType": "image/png"}
KEPT = {
    "a file of chat": (CHAT, _says({"type": "file", "file": {"file_id": "file-1"}})),
    "a file of Anthropic's": (MESSAGES, _says({"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
    "a picture of Anthropic's": (MESSAGES, _says({"type": "image", "source": {"type": "file", "file_id": "file_1"}})),
    "an upload for a container": (MESSAGES, _says({"type": "container_upload", "file_id": "file_1"})),
    "a file of responses": (RESPONSES, _input(IN_A_FILE)),
    "an item": (RESPONSES, _input({"type": "item_reference", "id": "msg_1"})),
    "a vector store": (RESPONSES, _input(tools=[{"type": "file_search", "vector_store_ids": ["vs_1"]}])),
    "a container": (RESPONSES, _input(tools=[{"type": "code_interpreter", "container": "cntr_1"}])),
    "files of a container": (
        RESPONSES,
        _input(tools=[{"type": "code_interpreter", "container": {"type": "auto", "file_ids": ["file-1"]}}]),
    ),
    "a file of Google's": (GEMINI, _google({"fileData": GOOGLES})),
    "a cache of Google's": (GEMINI, {**GOOGLE, "cached_content": "cachedContents/1"}),
}


@each("path, body", KEPT)
def test_what_a_vendor_keeps_cannot_be_named(served, path, body):
    """Wherever the id stands: with the gateway's keys it may be another client's."""
    answer = served.post(path, body)

    assert (400, True) == (answer.status_code, "keeps nothing at vendors" in answer.text), answer.text
    assert 0 == served.simulator.hits


def test_the_arguments_of_a_client_s_own_tools_are_not_looked_into(served):
    """They may have any names."""
    call = {"type": "tool_use", "id": "t1", "name": "read", "input": {"file_id": "f", "vector_store_ids": ["v"], "url": "/etc"}}
    result = {"type": "tool_result", "tool_use_id": "t1", "content": "it is short"}
    turns = [
        {"role": "user", "content": "Read it."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    schema = {"type": "object", "properties": {"file_id": {"type": "string"}}}
    body = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": turns, "tools": [{"name": "read", "input_schema": schema}]}

    assert 200 == served.post(MESSAGES, body).status_code


@each("url", ["file:///etc/passwd", "FILE:/etc/passwd", "/etc/passwd", "~/.ssh/id_rsa", "../x.png", "ftp://h/x", "s3://b/x"])
def test_a_client_s_text_is_never_a_path(served, url):
    """In no format; addresses go to the vendor, which fetches them itself."""
    before = served.simulator.hits
    asked = [
        (CHAT, _says({"type": "image_url", "image_url": {"url": url}})),
        (MESSAGES, _says({"type": "image", "source": {"type": "url", "url": url}})),
        (RESPONSES, _input({"role": "user", "content": [{"type": "input_image", "image_url": url}]})),
        (RESPONSES, _input({"role": "user", "content": [{"type": "input_file", "file_url": url}]})),
        (GEMINI, _google({"fileData": {"fileUri": url, "mimeType": "image/png"}})),
    ]

    assert [400] * 5 == [served.post(path, body).status_code for path, body in asked]
    assert before == served.simulator.hits
    assert 200 == served.post(CHAT, _says({"type": "image_url", "image_url": {"url": "https://example.com/a.png"}})).status_code


@each("name", ["api_base", "base_url", "api_key", "extra_headers", "extra_body", "proxy", "apiBase", "extraBody"])
def test_settings_of_a_client_library_are_refused_in_every_format(served, name):
    """Also where a format writes names in its own way, and of embeddings and counts."""
    asked = [*ASKING.values(), ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"})]
    asked += [("/v1/messages/count_tokens", {**HELLO, "model": "claude-haiku-4-5"})]

    assert [400] * 7 == [served.post(path, {**body, name: "http://127.0.0.1:1"}).status_code for path, body in asked]
    assert 0 == served.simulator.hits


def test_a_key_may_ask_for_what_it_is_shown(served, keys):
    """With the vendor before it, in both forms; and a list of models to fall back to is held to the same."""
    _, secret = keys.create("narrow", models=["gpt-4o-mini"])
    names = ["gpt-4o-mini", "openai:gpt-4o-mini", "openai/gpt-4o-mini", "nobody:gpt-4o-mini"]
    found = [served.post(CHAT, {**HELLO, "model": name}, key=secret).status_code for name in names]
    further = [
        served.post(CHAT, {**HELLO, field: value}, key=secret).status_code
        for field, value in (("models", ["gpt-4o"]), ("models", ["gpt-4o-mini"]), ("fallbacks", [{"model": "o3"}]), ("models", [7]))
    ]
    google = [
        served.post(f"/v1beta/models/{name}:generateContent", {**GOOGLE, "model": "gpt-4o-mini"}, key=secret).status_code
        for name in ("gpt%2D4o", "models/gpt-4o", "gpt-4o-mini%2F..%2Fgpt-4o", "gpt-4o%00", "x/models/gpt-4o", "gpt%2D4o%2Dmini")
    ]

    assert [200, 200, 200, 403] == found
    assert [403, 200, 403, 403] == further
    assert [403, 403, 403, 403, 403, 200] == google


@each("name", ["gpt-4o-mini", "openai/gpt-4o-mini", "openai%2Fgpt-4o-mini", "openai:gpt-4o-mini", "openai%3Agpt-4o-mini", "auto"])
def test_a_model_that_can_be_asked_is_shown(served, name):
    """In the asker's format; a name that is escaped twice is none."""
    plain = served.get(f"/v1/models/{name}")
    theirs = served.get(f"/v1/models/{name}", headers={"anthropic-version": "2023-06-01"}).json()
    google = served.get(f"/v1beta/models/{name}").json()

    assert 200 == plain.status_code
    assert ("model", plain.json()["id"], f"models/{theirs['id']}") == (theirs["type"], theirs["id"], google["name"])
    assert 404 == served.get("/v1/models/openai%253Agpt-4o-mini").status_code


def test_good_keys_pass_from_an_address_that_guesses(served, keys):
    """Behind a proxy all clients have one; also a key that nobody has shown yet, and for guesses the database is asked no more."""
    for n in range(60):
        assert 401 == served.get("/v1/models", key=f"no-{n}").status_code
    assert 429 == served.get("/v1/models", key="no-60").status_code
    assert 200 == served.get("/v1/models").status_code
    _, unseen = KeyStore(keys._url.database).create("of another process")
    keys._listed = None
    assert 200 == served.get("/v1/models", key=unseen).status_code
    assert 429 == served.get("/v1/models", key="no-61").status_code


def test_wrong_keys_push_no_good_ones_out(tmp_path):
    """What is remembered for a database that is away."""
    store = KeyStore(tmp_path / "keys.db")
    _, secret = store.create("a")
    store.find(secret)
    for n in range(20):
        assert store.find(f"no-{n}") is None
    assert 1 == len(store._verdicts)
    store.close()


def test_keys_are_in_no_log(served, keys, caplog, monkeypatch):
    """By whichever carrier, refused or good, of a vendor that fails, and where the gateway itself fails; nor are prompts."""
    keys.create("canary", secret=CANARY)
    caplog.set_level(logging.DEBUG, "llmdispatcher")
    headers = [{name: CANARY} for name in ("x-api-key", "x-goog-api-key")]
    headers += [{"Authorization": f"Bearer {CANARY}"}, {"Authorization": f"Basic {CANARY}"}, {"X-Request-Id": CANARY}]
    spoken = {**HELLO, "messages": [{"role": "user", "content": f"my secret is {CANARY}"}]}

    def ask():
        for given in headers:
            requests.post(f"{served.url}{CHAT}", json={**spoken, "api_key": CANARY}, headers=given, timeout=30)
            requests.post(f"{served.url}{CHAT}", json={**spoken, "model": CANARY}, headers=given, timeout=30)
            requests.post(f"{served.url}{CHAT}", json=spoken, headers=given, timeout=30)
        requests.post(f"{served.url}{GEMINI}?key={CANARY}", json=GOOGLE, timeout=30)
        requests.get(f"{served.url}/v1/models?key={CANARY}", timeout=30)

    ask()
    served.simulator.always(faults.status(400, message=f"you said {CANARY}"))
    ask()
    monkeypatch.setattr(served.app.dispatcher, "send", lambda *_a, **_k: (_ for _ in ()).throw(ValueError(CANARY)))
    broken = served.post(CHAT, HELLO)

    assert (500, False) == (broken.status_code, CANARY in broken.text)
    assert "ValueError in test_hostile.py" in caplog.text
    assert "llmdispatcher" in caplog.text
    assert CANARY not in "\n".join(
        [record.getMessage() + str(record.exc_info) for record in caplog.records if "urllib3" not in record.name]
    )


@each(
    "given, seen",
    [
        ("key=a", "key=***"),
        ("alt=sse&KEY=a&x=1", "alt=sse&KEY=***&x=1"),
        ("k%65y=a", "k%65y=***"),
        ("x=1;key=a", "x=1;key=***"),
        ("key=a&key=b", "key=***&key=***"),
        ("monkey=a", "monkey=a"),
        ("", ""),
    ],
)
def test_an_address_in_a_server_s_log_has_no_key(given, seen):
    """Servers and applications write these after the answer."""
    environ = {"QUERY_STRING": given, "RAW_URI": f"/v1beta/models?{given}", "REQUEST_URI": f"/v1beta/models?{given}"}
    hide_keys(environ)

    assert (seen, f"/v1beta/models?{seen}") == (environ["QUERY_STRING"], environ["RAW_URI"])
    assert environ["RAW_URI"] == environ["REQUEST_URI"]


WORDS = {
    "organization org-AbC123": "org-AbC123",
    "project proj_x9": "proj_x9",
    "key sk-proj-abc": "sk-proj-abc",
    "key AIzaSyA1234": "AIzaSyA1234",
    "arn:aws:bedrock:us-east-1:123456789012:model/x": "123456789012",
    "projects/my-project-7/locations/eu": "my-project-7",
    "at mycompany.openai.azure.com": "mycompany",
    "user-a1b2c3d4e5f6g7h8": "a1b2c3d4",
    "Bearer abc.def": "abc.def",
}


@each("words, secret", WORDS.items())
def test_a_vendor_s_words_name_no_accounts(served, words, secret):
    """Whole and at the head of a stream; the rest of its words is told."""
    served.simulator.always(faults.status(400, message=f"The value is wrong for {words}."))
    for body in (HELLO, {**HELLO, "stream": True}):
        answer = served.post(CHAT, {**body, "model": "openai:gpt-4o-mini"})
        assert (400, True) == (answer.status_code, "The value is wrong" in answer.text), answer.text
        assert secret not in answer.text


@each("status", [401, 403, 429, 500, 502, 503, 529])
def test_other_words_of_a_vendor_are_not_told(served, status):
    """Neither whole nor in a stream."""
    served.simulator.always(faults.status(status, message="the account of CANARY is shut"))
    for path, body in (ASKING["chat"], ASKING["messages"], STREAMED["responses"]):
        answer = served.post(path, {**body, "model": "openai:gpt-4o-mini"})
        assert answer.status_code >= 429
        assert "CANARY" not in answer.text


ENDS = {
    "chat": "[DONE]",
    "responses": "response.completed",
    "messages": "message_stop",
    "google": "finishReason",
    "ollama": '"done":true',
}


@each("form, end", ENDS.items())
def test_a_vendor_that_breaks_off_is_told_without_an_end_mark(served, form, end):
    """In each format an event of its own."""
    path, body = STREAMED[form]
    served.simulator.always(faults.reset_midway(words=2))
    asked = {**body, "model": "openai:gpt-4o-mini"} if "model" in body else body
    answer = served.post(path.replace("models/gpt", "models/openai:gpt"), asked)

    assert (200, True) == (answer.status_code, "broke the answer off" in answer.text), answer.text
    assert end not in answer.text.replace(" ", "")
    assert 0 == len(served.app._state.in_flight)


def test_a_fault_of_the_gateway_in_a_stream_is_an_event(served, monkeypatch, caplog):
    """The client is told, and no text of the error is in a log."""

    def broken(self):
        yield self._form.heartbeat
        raise ValueError(CANARY)

    monkeypatch.setattr(Events, "_pieces", broken)
    answer = served.post(CHAT, {**HELLO, "stream": True})

    assert (200, True) == (answer.status_code, "the gateway failed" in answer.text)
    assert "[DONE]" not in answer.text
    assert "ValueError in test_hostile.py" in caplog.text
    assert CANARY not in answer.text + caplog.text
    assert 0 == len(served.app._state.in_flight)


@pytest.fixture
def watched(keys):
    """A gateway whose vendor is scripted by a test: the application, a key, the vendor, and what tells that a call has ended."""
    _, secret = keys.create("a test")
    ended, outcomes = threading.Event(), []
    with VendorSimulator() as simulator:
        made = Dispatcher(
            Config(timeout=600, retry_policy={"max_retries": 0}), observers=[lambda one: (outcomes.append(one), ended.set())]
        )
        made.register_vendor(OpenAIVendor(api_key="sk", base_url=simulator.openai_url))
        with made:
            yield create_app(made, keys=keys, settings=GatewaySettings(threads=8)), secret, simulator, ended
    assert "Cancelled" == type(outcomes[0].error).__name__


@each("path, body", {"chat": (CHAT, HELLO), "vectors": ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "a"})})
def test_a_client_that_leaves_a_whole_answer_stops_the_vendor(watched, path, body):
    """Nobody reads it any more; the place of the request is free again."""
    app, secret, simulator, ended = watched
    simulator.always(faults.silent())
    ended.clear()
    with serving(app) as url:
        with pytest.raises(requests.Timeout):
            requests.post(url + path, json=body, headers={"x-api-key": secret}, timeout=(30, 0.5))
        assert ended.wait(PATIENCE)
    assert 0 == len(app._state.in_flight)
    assert app.settings.bodies_together == app._bodies._left


def test_a_stream_that_nobody_reads_stops_the_vendor(watched, monkeypatch):
    """Its place is kept until the server lets go of it, since the server's thread is."""
    app, secret, simulator, ended = watched
    monkeypatch.setattr("llmdispatcher.server.gateway.answers.BODY_SECONDS", 0.1)
    simulator.always(faults.stall_after(words=1))
    body = json.dumps({**HELLO, "stream": True}).encode()
    environ = {"REQUEST_METHOD": "POST", "PATH_INFO": CHAT, "HTTP_X_API_KEY": secret, "CONTENT_LENGTH": f"{len(body)}"}
    answer = app({**environ, "wsgi.input": io.BytesIO(body)}, lambda *_: None)

    assert next(answer).startswith(b"data: ")
    assert ended.wait(PATIENCE)
    assert 1 == len(app._state.in_flight)
    answer.close()
    assert 0 == len(app._state.in_flight)
    assert app.settings.bodies_together == app._bodies._left


SLOW = {
    "a head that never ends": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\n",
    "a body that never ends": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{",
    "pieces that never end": b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
}


@each("sent", SLOW)
def test_waitress_drops_a_client_that_is_slow(served, sent, monkeypatch):
    """However the bytes before looked."""
    with (
        monkeypatch.context() as limits,
        socket.create_connection(("127.0.0.1", int(served.url.rpartition(":")[2])), timeout=PATIENCE) as connection,
    ):
        limits.setattr("llmdispatcher.server.waitress.BODY_SECONDS", 0.2)
        connection.sendall(sent)
        assert b"" == connection.recv(100)
    assert 200 == served.get("/livez").status_code


def test_waitress_drops_a_client_that_reads_nothing(watched, monkeypatch):
    """While more comes than its socket takes."""
    app, secret, simulator, ended = watched
    simulator.script(f"{'w' * 5000} " * 6_000)  # more than waitress keeps for a client
    body = json.dumps({**HELLO, "stream": True}).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-API-Key: {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(app) as url, socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", int(url.rpartition(":")[2])))
        connection.sendall(head.encode() + body)
        assert simulator.await_hits(1, PATIENCE)
        monkeypatch.setattr("llmdispatcher.server.waitress.BODY_SECONDS", 0.3)
        assert ended.wait(PATIENCE)
    assert 0 == len(app._state.in_flight)


def test_every_answer_says_what_caches_may_do(served):
    """Refusals and streams, too; and a vendor that wants to be left alone for years is told as a day."""
    served.simulator.always(faults.status(429, ("Retry-After", "1e9")))
    answers = [
        served.get("/v1/models"),
        served.get("/nothing"),
        served.get("/livez"),
        served.post(CHAT, {**HELLO, "model": "anthropic:claude-haiku-4-5", "stream": True}),
    ]

    assert [("no-store", True)] * 4 == [(one.headers["cache-control"], "Authorization" in one.headers["vary"]) for one in answers]
    assert "86400" == answers[-1].headers["retry-after"]


def test_a_closed_connection_is_seen(monkeypatch):
    """Behind bytes that nobody has read, and with a descriptor of a large number."""
    near, far = socket.socketpair()
    far.sendall(b"GET /livez HTTP/1.1\r\n")
    assert not _is_closed(near)
    far.close()
    assert _is_closed(near)
    near.close()
    assert _is_closed(near)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 1100:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(2000, hard), hard))
    one, other = socket.socketpair()
    high = socket.socket(fileno=fcntl.fcntl(one.fileno(), fcntl.F_DUPFD, 1050))
    assert not _is_closed(high)
    for each_of_them in (one, other, high):
        each_of_them.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class _Source:
    """A body that takes a while for each piece, or breaks."""

    def __init__(self, clock, seconds, piece=b"x", error=None):
        self._clock, self._seconds, self._piece, self._error = clock, seconds, piece, error

    def read(self, _size):
        self._clock.advance(self._seconds)
        if self._error is not None:
            raise self._error
        return self._piece


@each(
    "seconds, piece, error, status",
    [
        (1.0, b"x", None, 408),
        (6.0, b"x" * 900, None, 408),
        (31.0, b"x" * 60_000, None, 408),
        (0.0, b"x", TimeoutError(CANARY), 408),
        (0.0, b"x", RuntimeError("a chunk that is none"), 400),
        (0.0, b"", None, 400),
    ],
)
def test_bodies_that_come_too_slowly_or_not_whole(seconds, piece, error, status):
    """Their room is given back."""
    clock = ManualClock()
    bodies = Bodies(1_000_000, 2_000_000, clock)
    with pytest.raises(GatewayError) as caught:
        bodies.read({"CONTENT_LENGTH": "500000", "wsgi.input": _Source(clock, seconds, piece, error)})

    assert status == caught.value.status
    assert CANARY not in str(caught.value)
    assert 2_000_000 == bodies._left


def test_a_body_without_a_length_that_has_an_end():
    """In pieces, and in HTTP/2; one without any end is none."""
    bodies = Bodies(100, 1000, ManualClock())
    told = ({"HTTP_TRANSFER_ENCODING": "chunked"}, {"SERVER_PROTOCOL": "HTTP/2"}, {"SERVER_PROTOCOL": "HTTP/1.1"})

    assert [b"{}", b"{}", b""] == [bodies.read({**one, "wsgi.input": io.BytesIO(b"{}")})[0] for one in told]


def test_the_place_of_an_error_has_none_of_its_text():
    """For a log."""
    try:
        raise KeyError(CANARY)
    except KeyError as error:
        told = place_of(error)

    assert told.startswith("KeyError in test_hostile.py:")
    assert CANARY not in told
