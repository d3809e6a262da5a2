"""``[[passthrough]]``: an exact path goes to its vendor byte for byte, counted and limited, and nothing else does."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from llmdispatcher import ConfigError, Dispatcher, Ledger, OpenAIVendor
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.server import GatewaySettings, KeyStore, create_app
from llmdispatcher.server.gateway.passthrough import read_rows

from ..cases import each
from ..conftest import PATIENCE
from .conftest import Passing, dispatcher_over, serving, wait_until
from .upstream import Upstream, streamed, whole

ROWS = [
    {"path": "/v1/moderations", "vendor": "openai", "unpriced": "allow"},
    {"path": "/v1/images/generations", "vendor": "openai"},
    {"path": "/v1/audio/transcriptions", "vendor": "openai"},
    {"path": "/v1/audio/speech", "vendor": "openai"},
    {"path": "/v1/rerank", "vendor": "anthropic", "to": "/v9/else"},
]


@contextlib.contextmanager
def passing_over(vendor: Upstream, keys: KeyStore, rows: Any = ROWS, **more: Any) -> Iterator[Passing]:
    """A gateway with rows."""
    _, secret = keys.create("a test", **more.pop("key", {}))
    with dispatcher_over(vendor.url, **more.pop("config", {})) as made:
        app = create_app(made, keys=keys, settings=GatewaySettings(threads=8, passthrough=read_rows(rows), **more))
        with serving(app) as url:
            yield Passing(app, url, secret, vendor)


def test_a_body_of_any_kind_passes_both_ways(vendor, keys):
    """JSON as it is written, a form with bytes, sound back; with our key, and no header of the client but the content's."""
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--x\r\nContent-Disposition: form-data; '
    form += b'name="file"; filename="a"\r\n\r\n' + bytes(range(256)) * 300 + b"[[[[{{{{" * 90_000 + b"\r\n--x--\r\n"
    sound = bytes(range(256)) * 1000
    vendor.answers = [
        whole(b'{ "results" : [1.50] }', headers={"x-request-id": "req_v", "x-ratelimit-limit-requests": "9", "set-cookie": "a=b"}),
        whole(b'{"text": "so"}'),
        whole(sound, content_type="audio/mpeg"),
        whole(b"{}"),
    ]
    with passing_over(vendor, keys) as gate:
        said = gate.post(
            "/v1/moderations", b' {"input":  "a", "x":1.0}\n', headers={"X-Mine": "1", "Cookie": "c", "User-Agent": "me/1"}
        )
        heard = gate.post("/v1/audio/transcriptions?x=1", form, headers={"Content-Type": "multipart/form-data; boundary=x"})
        spoken = gate.post("/v1/audio/speech", {"input": "so"}, headers={"Accept": "audio/mpeg"})
        gate.post("/v1/rerank", {"query": "a"})
    moderation, transcription, _, rerank = vendor.heard

    assert (200, b'{ "results" : [1.50] }', "application/json") == (said.status_code, said.content, said.headers["content-type"])
    assert ("req_v", "9", "openai") == tuple([said.headers[name] for name in VENDOR_FACTS])
    assert "set-cookie" not in said.headers
    assert ("/v1/moderations", b' {"input":  "a", "x":1.0}\n') == (moderation.path, moderation.body)
    assert "Bearer sk-of-the-gateway" == moderation.headers["authorization"]
    assert not {"x-mine", "cookie"} & moderation.headers.keys()
    assert "me/1" not in moderation.headers["user-agent"]
    assert ("/v1/audio/transcriptions?x=1", form) == (transcription.path, transcription.body)
    assert "multipart/form-data; boundary=x" == transcription.headers["content-type"]
    assert (b'{"text": "so"}', sound, "audio/mpeg") == (heard.content, spoken.content, spoken.headers["content-type"])
    assert ("/v9/else", "sk-of-the-gateway") == (rerank.path, rerank.headers["x-api-key"])


VENDOR_FACTS = ("x-llmdispatcher-vendor-request-id", "x-ratelimit-limit-requests", "x-llmdispatcher-vendor")


def test_a_stream_passes_as_it_comes(vendor, keys):
    """The first piece is there before the vendor says the second; one that breaks off is not taken for whole."""
    go_on = threading.Event()
    vendor.answers = [streamed(b"data: 1\n\n", lambda: go_on.wait(PATIENCE), b"data: 2\n\n"), streamed(b"data: 1\n\n", broken=True)]
    with passing_over(vendor, keys) as gate:
        with gate.post("/v1/images/generations", {"prompt": "a", "stream": True}, stream=True) as got:
            pieces = got.iter_content(None)
            first = next(pieces)
            go_on.set()
            rest = b"".join(pieces)
        with pytest.raises(OSError):
            gate.post("/v1/images/generations", {"prompt": "a", "stream": True})

    assert (b"data: 1\n\n", b"data: 2\n\n", "text/event-stream") == (first, rest, got.headers["content-type"])


def test_it_is_counted_limited_and_written_down(vendor, keys, tmp_path):
    """As an unpriced call of its path."""
    vendor.answers = [whole(b"{}")]
    ledger = Ledger(tmp_path / "calls.db")
    with passing_over(vendor, keys, config={"ledger": ledger}, key={"requests_per_minute": 2, "tags": ["blue"]}) as gate:
        statuses = [gate.post("/v1/moderations", {"input": "a"}).status_code for _ in range(3)]
        stats = gate.app.dispatcher.get_stats()
    calls = ledger.list_recent_calls()
    ledger.close()

    assert ([200, 200, 429], 2, 2) == (statuses, stats.total_requests, len(vendor.heard))
    assert [("openai", "v1/moderations", None, "default")] * 2 == [(c.vendor, c.model, c.cost, c.origin) for c in calls]


def test_keys_with_a_budget_or_with_models(vendor, keys):
    """A budget is not spent where nobody knows the cost, unless the row allows it; a key's globs hold for the models in bodies."""
    vendor.answers = [whole(b"{}")]
    form = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\ngpt-5-image\r\n--x--\r\n'
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    with passing_over(vendor, keys, key={"budget": "5/day"}) as gate:
        spent = [gate.post(path, {"input": "a"}) for path in ("/v1/images/generations", "/v1/moderations")]
    with passing_over(vendor, keys, key={"models": ["omni-*", "openai:v1/moderations"]}) as gate:
        named = [gate.post("/v1/moderations", {"model": model}).status_code for model in ("omni-1", "gpt-5")]
        unnamed = [gate.post(path, {"input": "a"}).status_code for path in ("/v1/moderations", "/v1/images/generations")]
        formed = gate.post("/v1/audio/transcriptions", form, headers=multipart).status_code
        twice = gate.post("/v1/moderations", b'{"model": "omni-1", "model": "gpt-5"}').status_code

    assert [(403, "model_unpriced"), (200, None)] == [(s.status_code, s.json().get("error", {}).get("code")) for s in spent]
    assert ([200, 403], [200, 403], 403, 400) == (named, unnamed, formed, twice)
    assert 3 == len(vendor.heard)


PATHS = [
    "//v1/moderations",
    "/v1%2Fmoderations",
    "/v1/x/../moderations",
    "/v1/moderations;x",
    "/v1/./moderations",
    "/v1/moderations/",
    "/V1/moderations",
]


@each("path", PATHS)
def test_no_other_spelling_of_a_path_passes(vendor, keys, path):
    """As it is sent, without what a client library makes of it."""
    vendor.answers = [whole(b"{}")]
    with passing_over(vendor, keys) as gate, socket.create_connection(("127.0.0.1", urlsplit(gate.url).port), PATIENCE) as line:
        head = f"POST {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gate.key}\r\nContent-Length: 2\r\n"
        line.sendall(f"{head}Connection: close\r\n\r\n{{}}".encode())
        answer = b"".join(iter(lambda: line.recv(65536), b""))

    assert answer.split(b" ", 2)[1] in (b"404", b"400"), answer
    assert [] == vendor.heard


def test_a_row_may_spell_its_vendor_in_any_way(vendor, keys):
    """A key is asked by the name that is registered."""
    vendor.answers = [whole(b"{}")]
    rows = [{"path": "/v1/moderations", "vendor": "OpenAI"}]
    with passing_over(vendor, keys, rows, key={"vendors": ["openai"], "models": ["openai:v1/*"]}) as gate:
        assert 200 == gate.post("/v1/moderations", {"input": "a"}).status_code
    with passing_over(vendor, keys, rows, key={"vendors": ["anthropic"]}) as gate:
        assert 403 == gate.post("/v1/moderations", {"input": "a"}).status_code


def test_no_key_in_an_address_reaches_the_vendor(vendor, keys):
    """The gateway's own, as Google's clients show it, nor any other; the other parameters do."""
    vendor.answers = [whole(b"{}")]
    rows = [{"path": "/v1beta/files", "vendor": "google", "to": "/files"}]
    with passing_over(vendor, keys, rows) as gate:
        address = f"{gate.url}/v1beta/files?key={gate.key}&k%65y={gate.key}&API_KEY=mine&uploadType=media"
        got = requests.post(address, json={}, timeout=PATIENCE)

    assert (200, ["/v1beta/files?uploadType=media"]) == (got.status_code, [one.path for one in vendor.heard])


def test_without_a_row_the_path_tells_how_to_have_one(passing):
    """Never a silent 200."""
    for path in ("/v1/moderations", "/v1/images/generations", "/v1/audio/speech", "/v1/files"):
        got = passing.post(path, {})
        assert (404, "not_configured") == (got.status_code, got.json()["error"]["code"])
        assert "[[passthrough]]" in got.text
    assert [] == passing.vendor.heard


def test_a_refusal_and_a_page_of_a_vendor(vendor, keys):
    """The first in words of ours where they would name accounts; the second is no page of the gateway's."""
    vendor.answers = [
        whole(b'{"error": {"message": "key of org-1 is bad"}}', status=401),
        whole(b"<script>", content_type="text/html"),
    ]
    with passing_over(vendor, keys) as gate:
        refused, page = gate.post("/v1/moderations", {}), gate.post("/v1/moderations", {})

    assert (502, False) == (refused.status_code, "org-1" in refused.text)
    assert ("text/plain", "nosniff") == (page.headers["content-type"], page.headers["x-content-type-options"])


def test_what_a_vendor_keeps_is_not_named(vendor, keys):
    """Without stateful = true."""
    vendor.answers = [whole(b"{}")]
    with passing_over(vendor, keys) as gate:
        got = gate.post("/v1/images/generations", {"image": {"file_id": "file-of-another"}})

    assert (400, "stateful_not_allowed", []) == (got.status_code, got.json()["error"]["code"], vendor.heard)


WRONG = {
    "passthrough": "no list",
    "passthrough[0]": ["no table"],
    "passthrough[0].pth": [{"pth": "/v1/a", "vendor": "openai"}],
    "passthrough[0].path": [{"path": "v1/a", "vendor": "openai"}],
    "passthrough[0].vendor": [{"path": "/v1/a"}],
    "passthrough[0].to": [{"path": "/v1/a", "vendor": "openai", "to": "/../a"}],
    "passthrough[0].methods": [{"path": "/v1/a", "vendor": "openai", "methods": ["GET"]}],
    "passthrough[1].path": [{"path": "/v1/a", "vendor": "openai"}] * 2,
    "passthrough[0].unpriced": [{"path": "/v1/a", "vendor": "openai", "unpriced": "yes"}],
}


@each("place, rows", list(WRONG.items()))
def test_a_mistake_is_told_with_its_place(place, rows):
    """When the gateway starts."""
    with pytest.raises(ConfigError, match=f"^{place.replace('[', r'.').replace(']', r'.')}"):
        read_rows(rows)


def test_a_configuration_file_has_the_rows(vendor, keys, tmp_path):
    """And what it says of a vendor that is not there is told."""
    path = tmp_path / "llmdispatcher.toml"
    text = f'[vendors.openai]\napi_key = "sk-1"\nbase_url = "{vendor.url}/v1"\n'
    text += '[[passthrough]]\npath = "/v1/moderations"\nvendor = "openai"\n'
    path.write_text(text)
    vendor.answers = [whole(b"{}")]
    _, secret = keys.create("a test")
    app = create_app(path, keys=keys)
    with app.dispatcher, serving(app) as url:
        assert 200 == Passing(app, url, secret, vendor).post("/v1/moderations", {}).status_code
    path.write_text(text.replace('vendor = "openai"', 'vendor = "opena"'))
    with pytest.raises(ConfigError, match=r"passthrough\[0\]\.vendor: 'opena'"):
        create_app(path, keys=keys)
    assert {} == json.loads(vendor.heard[0].body)


def test_a_client_that_leaves_stops_the_vendor(vendor, keys):
    """Within a moment, although the vendor is silent."""
    silent, ended = threading.Event(), threading.Event()
    vendor.answers = [streamed(b"data: 1\n\n", lambda: silent.wait(PATIENCE), *[b"x" * 65536] * 64, ended.set)]
    with passing_over(vendor, keys) as gate:
        got = gate.post("/v1/images/generations", {"prompt": "a", "stream": True}, stream=True)
        assert b"data: 1\n\n" == next(got.iter_content(None))
        got.close()
        end = SYSTEM_CLOCK.monotonic() + PATIENCE
        while not gate.app.is_idle() and SYSTEM_CLOCK.monotonic() < end:
            threading.Event().wait(0.02)
        assert gate.app.is_idle()
        silent.set()


def test_a_vendor_without_a_key_of_its_own_has_no_rows(keys):
    """Nobody's credentials would be there to show."""
    made = Dispatcher()
    made.register_vendor(OpenAIVendor(credentials="client"))
    with made, pytest.raises(ConfigError, match=r"passthrough\[0\]\.vendor"):
        create_app(made, keys=keys, settings=GatewaySettings(passthrough=read_rows(ROWS)))


def test_what_fails_is_counted_under_the_same_names_as_what_does_not(vendor, keys):
    """The vendor of the row and its path, whether the vendor was asked or not."""
    vendor.answers = [whole(b"{}"), whole(b"{}", status=500)]
    with passing_over(vendor, keys, key={"models": ["openai:v1/moderations", "gpt-4o-mini"]}) as gate:
        seen = []
        gate.app.log.listeners.append(lambda record: seen.append((record.status, record.vendor, record.model)))
        for body in ({"input": "a"}, {"input": "a"}, {"input": "a", "model": "gpt-5"}):
            gate.post("/v1/moderations", body)
        wait_until(lambda: len(seen) == 3)

    assert [200, 503, 403] == [status for status, *_ in seen]
    assert [("openai", "v1/moderations")] * 3 == [tuple(labels) for _status, *labels in seen]
