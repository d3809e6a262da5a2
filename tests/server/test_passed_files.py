"""Files of requests that pass to a vendor: each line is looked into, as a body of its own would be."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmdispatcher.errors import DispatchError
from llmdispatcher.server.gateway import passed_bodies

from ..cases import each
from .test_passthrough import passing_over
from .test_stateful import both  # noqa: F401 - a fixture of this file, too
from .upstream import whole

ROWS = [
    {"path": "/v1/files", "vendor": "openai"},
    {"path": "/v1/uploads", "vendor": "openai"},
    {"path": "/v1/batches", "vendor": "openai"},
    {"path": "/v1/messages/batches", "vendor": "anthropic"},
    {"path": "/v1/audio/transcriptions", "vendor": "openai"},
]
FORM = "multipart/form-data; boundary=x"


def part(name: str, value: bytes, further: str = "") -> bytes:
    """A part of a form."""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{further}\r\n\r\n'.encode() + value + b"\r\n"


def upload(content: bytes, purpose: str | None = "batch", *, file: str | None = "a", field: str = "file") -> bytes:
    """A form with a file."""
    said = part("purpose", purpose.encode()) if purpose is not None else b""
    return said + part(field, content, f'; filename="{file}"' if file is not None else "") + b"--x--\r\n"


def line(**body: Any) -> bytes:
    """A line of a batch in OpenAI's format."""
    return json.dumps({"custom_id": "a", "method": "POST", "url": "/v1/responses", "body": body}).encode()


MINE, OTHER = line(model="gpt-4o-mini", input="a"), line(model="gpt-5", input="a")
REFUSED = {
    "in the last line": upload(b"\n".join([MINE, MINE, OTHER])),
    "behind blank lines": upload(b"\r\n" * 4000 + MINE + b"\r" + OTHER),
    "behind the mark of an encoding": upload(b"\xef\xbb\xbf" + OTHER),
    "over several lines": upload(json.dumps(json.loads(OTHER), indent=1).encode()),
    "in another encoding": upload(OTHER.decode().encode("utf-16")),
    "behind a line that is no JSON": upload(b"no JSON\n" + OTHER),
    "twice": upload(MINE[:-2] + b', "model": "gpt-5"}}'),
    "without a purpose": upload(OTHER, None),
    "without a purpose, by its name": upload(b"-\n" + OTHER, None, file="a.JSONL"),
    "with two purposes": part("purpose", b"vision") + upload(OTHER),
    "as a field that is no file": upload(OTHER, file=None),
    "as a field of another name": upload(OTHER, file=None, field="data"),
    "compressed": upload(b"\x1f\x8b\x08\x00\x00"),
    "as base64": upload(OTHER).replace(b"\r\n\r\n{", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n{"),
    "as a model to fall back to": upload(line(model="gpt-4o-mini", fallbacks=[{"model": "gpt-5"}])),
}


@each("name", list(REFUSED))
def test_a_key_asks_for_no_other_model_by_a_file(vendor, keys, name):
    """Wherever in it a line names one, and however it is written; what cannot be read is refused."""
    vendor.answers = [whole(b'{"id": "file-1"}')]
    vendor.heard.clear()
    with passing_over(vendor, keys, ROWS, key={"models": ["gpt-4o-mini", "openai:v1/*"]}) as gate:
        good = gate.post("/v1/files", upload(MINE + b"\n" + MINE + b"\n"), headers={"Content-Type": FORM})
        got = gate.post("/v1/files", REFUSED[name], headers={"Content-Type": FORM})

    assert (200, 1) == (good.status_code, len(vendor.heard))
    assert got.status_code in (400, 403), got.text


def test_a_key_asks_for_no_other_model_by_a_batch_in_json(vendor, keys):
    """Anthropic's has its requests in the body itself; lines may come without a form."""
    vendor.answers = [whole(b"{}")]
    lines = {"Content-Type": "application/jsonl"}
    with passing_over(vendor, keys, ROWS, key={"models": ["claude-haiku-*", "gpt-4o-mini", "openai:v1/*"]}) as gate:
        asked = [
            {"model": "claude-haiku-4-5", "requests": [{"custom_id": "a", "params": {"model": model, "max_tokens": 9}}]}
            for model in ("claude-haiku-4-5", "claude-opus-4-5")
        ]
        statuses = [gate.post("/v1/messages/batches", body).status_code for body in asked]
        statuses += [gate.post("/v1/batches", body, headers=lines).status_code for body in (MINE, MINE + b"\n" + OTHER)]

    assert ([200, 403, 200, 403], 2) == (statuses, len(vendor.heard))


def test_a_file_that_is_none_of_requests_passes(vendor, keys):
    """Sound, and what a model is trained with: a name in it is no model that is asked."""
    vendor.answers = [whole(b"{}")]
    sound = part("model", b"gpt-4o-mini") + part("file", bytes(range(256)) * 9, '; filename="a.wav"') + b"--x--\r\n"
    trained = upload(b'{"model": "any", "messages": [{"role": "user", "content": "a", "file_id": "b"}]}\n', "fine-tune")
    with passing_over(vendor, keys, ROWS, key={"models": ["gpt-4o-mini", "openai:v1/*"]}) as gate:
        statuses = [
            gate.post(path, body, headers={"Content-Type": FORM}).status_code
            for path, body in (("/v1/audio/transcriptions", sound), ("/v1/files", trained))
        ]

    assert [200, 200] == statuses
    assert [sound, trained] == [one.body for one in vendor.heard]


def test_a_file_of_requests_does_not_come_in_parts(vendor, keys):
    """A line could be cut where nobody could read it; other files may."""
    vendor.answers = [whole(b"{}")]
    with passing_over(vendor, keys, ROWS) as gate:
        got = [gate.post("/v1/uploads", {"purpose": purpose, "bytes": 9}) for purpose in ("batch", None, "vision")]

    assert ([400, 400, 200], 1) == ([one.status_code for one in got], len(vendor.heard))
    assert "purpose: " in got[0].json()["error"]["message"]


def test_a_line_names_only_what_its_organization_keeps(both, vendor):  # noqa: F811 - the fixture
    """Another's is not there, and nothing is sent."""
    ours, _, theirs = both
    vendor.answers = [whole(b'{"id": "resp_9"}'), whole(b'{"id": "file-9"}')]
    ours.post("/v1/batches", {"made": "resp_9"})
    sent = upload(line(model="gpt-5") + b"\n" + line(model="gpt-5", previous_response_id="resp_9"))
    statuses = [one.post("/v1/files", sent, headers={"Content-Type": FORM}).status_code for one in (theirs, ours)]

    assert ([404, 200], 2) == (statuses, len(vendor.heard))


def test_a_line_names_nothing_kept_where_nothing_is(vendor, keys):
    """Without stateful = true."""
    with passing_over(vendor, keys, ROWS) as gate:
        got = gate.post("/v1/files", upload(line(model="gpt-5", conversation="conv_1")), headers={"Content-Type": FORM})

    assert (400, "stateful_not_allowed", []) == (got.status_code, got.json()["error"]["code"], vendor.heard)


@each(
    "content",
    [
        b"{}\n" * 50_001,
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"a": [' + b"1," * 300_000 + b"1]}",
        b"\n".join([b'{"model": "m%d"}' % number for number in range(1001)]),
    ],
)
def test_what_is_looked_into_is_bounded(content):
    """Lines, their depth and members, and the names in them."""
    with pytest.raises(DispatchError):
        passed_bodies.named_in_files(upload(content), FORM)
