"""Where the parts of the gateway meet: what one part has checked is what another one sends."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from llmdispatcher import Dispatcher, HttpVendor
from llmdispatcher.errors import ConfigError
from llmdispatcher.server.gateway.checks import MOST_MEMBERS

from ..cases import each
from ..conftest import PATIENCE
from .test_passthrough import passing_over
from .upstream import whole

ROWS = [
    {"path": "/v1/batches", "vendor": "openai"},
    {"path": "/v1/audio/transcriptions", "vendor": "openai"},
    {"path": "/v1/moderations", "vendor": "openai"},
]
BATCH = b'{"input_file_id": "file-of-another", "model": "gpt-5-pro"}'
JSONS = ["Application/JSON", "application/Json; charset=utf-8", "text/plain", "application/octet-stream", "application/x-unknown"]


@each("kind", JSONS)
def test_what_a_body_names_is_read_whatever_it_calls_itself(vendor, keys, kind):
    """A vendor may read JSON under any name, and names of types have no case."""
    vendor.answers = [whole(b"{}")]
    headers = {"Content-Type": kind}
    with passing_over(vendor, keys, ROWS) as gate:
        assert 400 == gate.post("/v1/batches", BATCH, headers=headers).status_code
    with passing_over(vendor, keys, ROWS, stateful=True) as gate:
        assert 404 == gate.post("/v1/batches", BATCH, headers=headers).status_code
    with passing_over(vendor, keys, ROWS, key={"models": ["gpt-4o-mini", "openai:v1/moderations"]}) as gate:
        assert 403 == gate.post("/v1/moderations", b'{"model": "gpt-5-pro"}', headers=headers).status_code
    assert [] == vendor.heard


@each("kind", JSONS)
def test_a_body_is_bounded_whatever_it_calls_itself(vendor, keys, kind):
    """Before it is decoded: neither deeper nor longer than a body that says that it is JSON."""
    vendor.answers = [whole(b"{}")]
    with passing_over(vendor, keys, ROWS) as gate:
        refused = [
            gate.post("/v1/moderations", body, headers={"Content-Type": kind}).json()["error"]["code"]
            for body in (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", b'{"a": [' + b"1," * MOST_MEMBERS + b"1]}")
        ]

    assert (["too_deep", "too_many_members"], []) == (refused, vendor.heard)


@each("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_json_in_another_encoding_than_utf_8_is_refused(vendor, keys, encoding):
    """A sign of it has the byte of a quotation mark, behind which nothing would be counted."""
    vendor.answers = [whole(b"{}")]
    with passing_over(vendor, keys, ROWS) as gate:
        got = gate.post("/v1/moderations", '{"a": "\u2200", "input": "b"}'.encode(encoding))

    assert (400, "invalid_request_error", []) == (got.status_code, got.json()["error"]["code"], vendor.heard)


def _form(*heads: str, value: str) -> bytes:
    parts = [f"--x\r\n{head}\r\n\r\n{value}\r\n" for head in heads]
    return "".join([*parts, "--x--\r\n"]).encode()


FORMS = [
    ("multipart/form-data; boundary=x", "Content-Disposition: form-data; name={}"),
    ("multipart/form-data; boundary=x", 'content-disposition: form-data; NAME="{}"'),
    ("multipart/form-data; boundary=x", 'Content-Disposition: form-data; name="{}"\r\nContent-Type: text/plain'),
    ("multipart/form-data; boundary=x", 'Content-Disposition: form-data; name="{}"; x=y'),
    ("multipart/form-data; boundary=x", 'Content-Disposition: form-data; name = "{}"'),
    ("multipart/form-data; boundary=x", 'Content-Disposition: form-data;\r\n name="{}"'),
    ("multipart/form-data; boundary=x", "Content-Disposition: form-data; name*=utf-8''{}"),
    ("Multipart/Form-Data; boundary=x", 'Content-Disposition: form-data; name="{}"'),
]


@each("form", FORMS)
def test_a_form_is_read_in_every_spelling(vendor, keys, form):
    """The model and the ids in it are those of the key, however a field is written."""
    vendor.answers = [whole(b"{}")]
    kind, head = form
    headers = {"Content-Type": kind}
    with passing_over(vendor, keys, ROWS, key={"models": ["whisper-1", "openai:v1/audio/transcriptions"]}) as gate:
        body = _form(head.format("model"), value="gpt-5-pro")
        assert gate.post("/v1/audio/transcriptions", body, headers=headers).status_code in (400, 403)
    with passing_over(vendor, keys, ROWS, stateful=True) as gate:
        body = _form(head.format("file_id"), value="file-of-another")
        assert gate.post("/v1/audio/transcriptions", body, headers=headers).status_code in (400, 404)
    assert [] == vendor.heard


@each("name", ["model", "Model", "models[]", "models[0]", "fallback_models", "fallbacks[0][model]"])
def test_a_field_of_a_form_names_a_model_as_one_of_json_does(vendor, keys, name):
    """In each spelling in which a vendor may read it, with the index that forms have."""
    vendor.answers = [whole(b"{}")]
    body = _form(f'Content-Disposition: form-data; name="{name}"', value="gpt-5-pro")
    with passing_over(vendor, keys, ROWS, key={"models": ["whisper-1", "openai:v1/audio/transcriptions"]}) as gate:
        got = gate.post("/v1/audio/transcriptions", body, headers={"Content-Type": "multipart/form-data; boundary=x"})

    assert (403, []) == (got.status_code, vendor.heard)


FURTHER = [{"models": ["gpt-5-pro"]}, {"fallbacks": [{"model": "gpt-5-pro"}]}, {"models": "gpt-5-pro"}, {"Models": ["gpt-5-pro"]}]
PATHS: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a"}]}),
    ("/v1/completions", {"model": "gpt-4o-mini", "prompt": "a"}),
    ("/v1/responses", {"model": "gpt-4o-mini", "input": "a"}),
    ("/v1/embeddings", {"model": "gpt-4o-mini", "input": "a"}),
    ("/v1/moderations", {"model": "gpt-4o-mini", "input": "a"}),
]


@each("path", PATHS)
@each("further", FURTHER)
def test_further_models_are_those_of_the_key(vendor, keys, path, further):
    """Some vendors fall back to these."""
    vendor.answers = [whole(b"{}")]
    where, body = path
    with passing_over(vendor, keys, ROWS, key={"models": ["gpt-4o-mini"]}) as gate:
        assert gate.post(where, {**body, **further}).status_code in (400, 403)
    assert [] == vendor.heard


def _with_client_credentials(url: str, *names: str) -> Dispatcher:
    made = Dispatcher({"default_vendor": names[0]})
    for name in names:
        made.register_vendor(HttpVendor(kind="openai", name=name, base_url=f"{url}/v1", credentials="client"))
    return made


def test_a_configuration_that_the_gateway_cannot_have_changes_nothing(vendor, keys):
    """Two that take clients' credentials, or a passing path without its vendor: the mistake is told, and the old one goes on."""
    vendor.answers = [whole(b"{}")]
    with passing_over(vendor, keys, ROWS, key={}) as gate:
        before = gate.app.dispatcher
        for made in (
            _with_client_credentials(vendor.url, "openai", "other"),
            _with_client_credentials(vendor.url, "openai"),
            Dispatcher(),
        ):
            with made, pytest.raises(ConfigError):
                gate.app.replace_dispatcher(made)
            assert before is gate.app.dispatcher
            assert 200 == gate.post("/v1/moderations", {"input": "a"}).status_code


def _over(vendor, name):
    made = Dispatcher({"default_vendor": name, "retry_policy": {"max_retries": 0}})
    made.register_vendor(HttpVendor(kind="openai", name=name, base_url=f"{vendor.url}/v1", api_key="sk-of-the-gateway"))
    return made


def _fetch(gate, path):
    return requests.get(gate.url + path, headers={"x-api-key": gate.key}, timeout=PATIENCE).json()


def test_a_request_ends_with_the_configuration_that_it_began_with(vendor, keys, monkeypatch):
    """Also one of ``/proxy``, in the middle of which there is a reload; the next one has the new configuration."""
    with passing_over(vendor, keys, (), key={}) as gate, _over(vendor, "other") as other:
        replacing = [lambda _seconds: gate.app.replace_dispatcher(other)]
        monkeypatch.setattr(gate.app.records, "flush", lambda seconds: replacing.pop()(seconds) if replacing else None)
        during, after = _fetch(gate, "/proxy/stats"), _fetch(gate, "/proxy/stats")

        assert "openai" in during["providers"]
        assert {"other"} == set(after["providers"])


def test_a_reload_leaves_the_health_of_vendors_in_sight(vendor, keys):
    """The calls of the new dispatcher are heard."""
    with passing_over(vendor, keys, (), key={}) as gate, _over(vendor, "other") as other:
        gate.app.replace_dispatcher(other)
        vendor.answers = [whole(b"{}", status=500)]
        gate.post("/v1/chat/completions", {"model": "other:gpt-4o-mini", "messages": [{"role": "user", "content": "a"}]})

        assert {"other": "error"} == _fetch(gate, "/proxy/health")["providers"]


LEVELS = {
    "a glob of each spelling": (["openai:gpt-4o*"], ["gpt-4o-mini"], 200),
    "the name with a slash": (["openai/gpt-4o-mini"], None, 200),
    "a level that says no": (["openai:gpt-4o*"], ["gpt-5"], 403),
    "another vendor's": (["anthropic:gpt-4o-mini"], None, 403),
}


@each("case", list(LEVELS))
def test_a_further_model_is_asked_for_as_any_is(vendor, keys, case):
    """By the globs of each level, whichever spelling each of them has."""
    own, of_team, status = LEVELS[case]
    vendor.answers = [whole(b"{}")]
    organization = f"org-{list(LEVELS).index(case)}"
    keys.owners.create("organization", organization)
    keys.owners.create("team", "a", organization=organization, models=of_team)
    with passing_over(vendor, keys, ROWS, key={"models": own, "organization": organization, "team": "a"}) as gate:
        named = "openai/gpt-4o-mini" if "slash" in case else "openai:gpt-4o-mini"
        assert status == gate.post("/v1/moderations", {"input": "a", "model": named}).status_code


def test_a_vendor_that_echoes_its_key_as_an_id_tells_it_nobody(vendor, keys):
    """On no path on which its answers pass."""
    own = "sk-of-the-gateway"
    head = {"x-request-id": own, "request-id": own}
    vectors = {"object": "list", "model": "m", "data": [{"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 1}}
    vendor.answers = [whole(body, headers=head) for body in (json.dumps(vectors).encode(), b'{"input_tokens": 5}', b"{}")]
    asked = [
        ("/v1/embeddings", {"model": "openai:text-embedding-3-small", "input": "a"}),
        ("/v1/messages/count_tokens", {"model": "anthropic:claude-haiku-4-5", "messages": [{"role": "user", "content": "a"}]}),
        ("/v1/moderations", {"input": "a", "stream": True}),
    ]
    with passing_over(vendor, keys, ROWS) as gate:
        answers = [gate.post(path, body) for path, body in asked]

    assert [(200, False)] * 3 == [(one.status_code, own in str(one.headers)) for one in answers]
    assert all(one.headers["x-llmdispatcher-vendor-request-id"] for one in answers)
