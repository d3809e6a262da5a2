"""A key that is shown by every carrier is in nothing that a server in a process of its own writes, keeps or answers."""

from __future__ import annotations

import base64
import json
import sqlite3

import pytest
import requests

from llmdispatcher.testing import VendorSimulator, faults

from .processes import free_port, serving
from .test_reload import _config

CANARY = "llmr_pk_0123456789canary0123456789canary"
BASIC = base64.b64encode(f"user:{CANARY}".encode()).decode()
CHAT, GEMINI = "/v1/chat/completions", "/v1beta/models/gpt-4o-mini:generateContent"
HELLO = {"model": "openai:gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}
ROW = '[[passthrough]]\npath = "/v1/audio/transcriptions"\nvendor = "openai"\n'
FORM = f'--x\r\nContent-Disposition: form-data; name="{CANARY}"\r\n\r\n{CANARY}\r\n--x--\r\n'


def _carriers(good):
    """Requests with the canary wherever one can stand: method, path, headers, body."""
    own = {"x-api-key": good}
    for header in ("x-api-key", "x-goog-api-key", "x-llmdispatcher-key", "api-key", "Cookie", "Referer", "User-Agent", "Origin"):
        yield "POST", CHAT, {header: CANARY if header != "Cookie" else f"session={CANARY}"}, HELLO
        yield "POST", CHAT, {"x-api-key": good, header: CANARY} if header != "x-api-key" else {header: CANARY}, HELLO
    for header in ("X-Request-Id", "traceparent", "anthropic-beta", "x-claude-code-session-id", "Idempotency-Key", "originator"):
        yield "POST", CHAT, {**own, header: CANARY}, {**HELLO, "model": "nobody-knows-it"}
    for header in ("x-llmdispatcher-mode", "x-llmdispatcher-profile", "x-llmdispatcher-timeout", "x-llmdispatcher-tags"):
        yield "POST", CHAT, {**own, header: CANARY}, HELLO
    for scheme in (f"Bearer {CANARY}", f"Basic {BASIC}", f"Token {CANARY}", CANARY):
        yield "POST", CHAT, {"Authorization": scheme}, HELLO
    for query in (
        f"key={CANARY}",
        f"KEY={CANARY}",
        f"api_key={CANARY}",
        f"access_token={CANARY}",
        f"k%65y={CANARY}",
        f"token={CANARY}",
    ):
        yield "POST", f"{GEMINI}?{query}", {}, {"contents": []}
        yield "GET", f"/proxy/usage?{query}", own, None
    for field in ("api_key", "apiKey", "user", "metadata", "headers", "extra_headers", "authorization"):
        yield "POST", CHAT, own, {**HELLO, field: CANARY if field != "metadata" else {"user_id": CANARY}}
    for model in (CANARY, f"openai:{CANARY}"):
        yield "POST", CHAT, own, {**HELLO, "model": model}
    yield "POST", "/v1/audio/transcriptions", {**own, "Content-Type": "multipart/form-data; boundary=x"}, FORM
    yield "POST", "/v1/audio/transcriptions", {**own, "Content-Type": f"multipart/form-data; boundary={CANARY}"}, FORM
    yield "GET", f"/v1/{CANARY}", own, None
    yield "GET", f"/proxy/requests/{CANARY}", own, None
    yield "DELETE", f"/api/v1/keys/{CANARY}", own, None


@pytest.mark.parametrize("server", ["granian", "waitress"])
def test_a_canary_is_nowhere(tmp_path, server):
    """Access log, log, metrics, answers, records, ledger and files; refused or good, with a vendor that fails."""
    pytest.importorskip(server, reason=f"{server} is not installed; scripts/test installs it")
    path, metrics = tmp_path / "llmdispatcher.toml", free_port()
    words = ("--access-log", "--metrics-port", str(metrics))
    with VendorSimulator() as simulator:
        path.write_text(_config(simulator, more=f'ledger = "{tmp_path / "calls.db"}"\n').replace("[pools]", f"{ROW}[pools]"))
        with serving(tmp_path, server, path, *words, LLMDISPATCHER_DEBUG="1") as running:
            simulator.script(*[faults.status(400, message=f"you said {CANARY}")] * 8)
            answers = []
            for method, at, headers, body in _carriers(running.key):
                data = body if isinstance(body, str) else json.dumps(body) if body is not None else None
                given = {"Connection": "close", **headers}
                answer = requests.request(method, f"{running.url}{at}", data=data, headers=given, timeout=60)
                answers.append((answer.status_code, at, answer.text + str(answer.headers)))
            own = {"x-api-key": running.key}
            told = [requests.get(f"http://127.0.0.1:{metrics}/metrics", timeout=60).text]
            told += [
                requests.get(f"{running.url}{at}", headers=own, timeout=60).text for at in ("/proxy/usage?by=model", "/proxy/stats")
            ]
            for _, _, text in answers:
                if (number := text.partition("'x-llmdispatcher-request-id': '")[2][:36]).startswith("req_"):
                    told.append(requests.get(f"{running.url}/proxy/requests/{number}", headers=own, timeout=60).text)
            log = running.log

    assert '"path"' in log or "path=" in log or "chat" in log, log[-2000:]
    assert {200, 400, 401, 404} <= {status for status, _, _ in answers}
    for where, text in {"the log": log, **{f"answer {number}": text for number, text in enumerate(told)}}.items():
        assert CANARY not in text, (where, text[max(0, text.find(CANARY) - 300) : text.find(CANARY) + 60])
        assert BASIC not in text, where
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file
    assert sqlite3.connect(tmp_path / "keys.db").execute("select count(*) from sqlite_master").fetchone()[0] > 3
