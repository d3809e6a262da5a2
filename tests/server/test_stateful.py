"""``stateful = true``: each organization names what vendors keep for it, and nobody else's."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from llmdispatcher import ConfigError
from llmdispatcher.server import GatewaySettings, KeyStore, create_app
from llmdispatcher.server.gateway.passthrough import read_rows
from llmdispatcher.server.kept_ids import KeptIds, references_in

from ..cases import each
from .conftest import Passing, dispatcher_over, serving
from .test_passing import MESSAGES, MESSAGES_ANSWER, RESPONSES_ANSWER, RESPONSES_STREAM
from .upstream import streamed, whole

ROWS = [
    {"path": "/v1/files", "vendor": "openai"},
    {"path": "/v1/files/{id}", "vendor": "openai", "methods": ["GET", "DELETE"]},
    {"path": "/v1/files/{id}/content", "vendor": "openai", "methods": ["GET"]},
    {"path": "/v1/batches", "vendor": "openai"},
    {"path": "/v1/batches/{id}", "vendor": "openai", "methods": ["GET"]},
    {"path": "/v1/responses/{id}", "vendor": "openai", "methods": ["GET", "DELETE"]},
]
ASK = {"model": "gpt-4o-mini", "input": "a"}


@pytest.fixture
def both(vendor: Any, keys: Any) -> Any:
    """Two organizations at one gateway, over the same database as a second one."""
    for name in ("ours", "theirs"):
        keys.owners.ensure("organization", name)
    secrets = [keys.create("a test", organization=name)[1] for name in ("ours", "theirs")]
    settings = GatewaySettings(threads=8, stateful=True, passthrough=read_rows(ROWS))
    with dispatcher_over(vendor.url) as first, dispatcher_over(vendor.url) as second:
        apps = [create_app(one, keys=keys, settings=settings) for one in (first, second)]
        with serving(apps[0]) as one, serving(apps[1]) as other:
            yield [
                Passing(apps[0], one, secrets[0], vendor),
                Passing(apps[1], other, secrets[0], vendor),
                Passing(apps[0], one, secrets[1], vendor),
            ]


@each("is_stream", [False, True])
def test_an_answer_is_gone_on_with_by_its_organization_alone(both, vendor, is_stream):
    """On every host; for anybody else it is not there, and nothing is sent."""
    ours, other_host, theirs = both
    said = streamed(RESPONSES_STREAM) if is_stream else whole(json.dumps(RESPONSES_ANSWER).encode())
    vendor.answers = [said, whole(json.dumps(RESPONSES_ANSWER).encode())]
    further = {**ASK, "previous_response_id": "resp_1"}
    vendor.heard.clear()
    if not is_stream:
        assert 404 == ours.post("/v1/responses", further).status_code
    ours.post("/v1/responses", {**ASK, "stream": is_stream})
    statuses = [one.post("/v1/responses", further).status_code for one in (ours, other_host, theirs)]

    assert ([200, 200, 404], 3) == (statuses, len(vendor.heard))
    assert further == json.loads(vendor.heard[-1].body)


def get(gate: Passing, path: str, method: str = "GET") -> Any:
    """Ask without a body."""
    import requests

    return requests.request(method, gate.url + path, headers={"Authorization": f"Bearer {gate.key}"}, timeout=30)


def test_files_and_batches_are_their_organization_s(both, vendor):
    """What was uploaded, what a batch reads, and what it wrote."""
    ours, _, theirs = both
    form = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n{}\r\n--x--\r\n'
    vendor.answers = [whole(b'{"id": "file-1"}')]
    ours.post("/v1/files", form, headers={"Content-Type": "multipart/form-data; boundary=x"})
    vendor.answers = [whole(b'{"id": "batch_1", "input_file_id": "file-1"}')]
    refused = theirs.post("/v1/batches", {"input_file_id": "file-1"})
    made = ours.post("/v1/batches", {"input_file_id": "file-1"})
    early = get(ours, "/v1/files/file-2/content")
    vendor.answers = [whole(b'{"id": "batch_1", "output_file_id": "file-2"}')]
    foreign, mine = get(theirs, "/v1/batches/batch_1"), get(ours, "/v1/batches/batch_1")
    vendor.answers = [whole(b'{"a": 1}\n{"a": 2}\n', content_type="application/octet-stream")]
    content, stolen = get(ours, "/v1/files/file-2/content"), get(theirs, "/v1/files/file-2/content")
    deleted, kept = get(ours, "/v1/files/file-1", "DELETE"), get(theirs, "/v1/files/file-1", "DELETE")

    assert [404, 200, 404, 404, 200] == [one.status_code for one in (refused, made, early, foreign, mine)]
    assert (200, b'{"a": 1}\n{"a": 2}\n', 404) == (content.status_code, content.content, stolen.status_code)
    assert (200, 404) == (deleted.status_code, kept.status_code)
    sent = [("POST", "/v1/files"), ("POST", "/v1/batches"), ("GET", "/v1/batches/batch_1"), ("GET", "/v1/files/file-2/content")]
    assert [*sent, ("DELETE", "/v1/files/file-1")] == [(heard.method, heard.path) for heard in vendor.heard]


def test_a_container_of_an_answer(both, vendor):
    """Anthropic's, which a later request names."""
    ours, _, theirs = both
    vendor.answers = [whole(json.dumps({**MESSAGES_ANSWER, "container": {"id": "container_1", "expires_at": "x"}}).encode())]
    ours.post("/v1/messages", MESSAGES)
    statuses = [one.post("/v1/messages", {**MESSAGES, "container": "container_1"}).status_code for one in (ours, theirs)]

    assert [200, 404] == statuses


FOUND = {
    "by a field": ({"previous_response_id": "r", "x": [{"file_id": "f"}, {"file_ids": ["g", "h"]}]}, {"r", "f", "g", "h"}),
    "by an object": (
        {"conversation": {"id": "c"}, "prompt": {"id": "p"}, "container": {"id": "k", "type": "auto"}},
        {"c", "p", "k"},
    ),
    "by a reference": ({"input": [{"type": "item_reference", "id": "i"}]}, {"i"}),
    "a text that is none": ({"prompt": "a cat", "fileUri": "https://example.com/a"}, set()),
    "an argument of a tool": ({"messages": [{"content": [{"input": {"file_id": "f"}}]}]}, set()),
    "Google's": ({"contents": [{"parts": [{"fileData": {"fileUri": "https://x.googleapis.com/v1/files/a"}}]}]}, None),
}


@each("document, ids", [*FOUND.values()])
def test_what_a_document_names(document, ids):
    """Ids, wherever they stand; not what a tool is told."""
    assert ids == references_in(document) if ids is not None else references_in(document)


def test_a_path_with_an_id_needs_the_setting(vendor, keys):
    """Else anybody could name what another left."""
    with dispatcher_over(vendor.url) as made, pytest.raises(ConfigError, match="stateful = true"):
        create_app(made, keys=keys, settings=GatewaySettings(passthrough=read_rows(ROWS)))


def test_postgresql_keeps_them_too(postgres):
    """For several hosts; an id that is somebody's stays theirs."""
    place = postgres.database()
    with contextlib.closing(KeyStore(place)) as first, contextlib.closing(KeyStore(place)) as second:
        one, other = KeptIds(first), KeptIds(second)
        one.add("ours", ["resp_1", "file_1"])
        other.add("theirs", ["resp_1", "file_2"])

        assert other.are_of("ours", ["resp_1", "file_1"])
        assert one.are_of("theirs", ["file_2"])
        assert not one.are_of("theirs", ["resp_1"])


def test_a_first_use_that_fails_leaves_the_table_to_the_next(tmp_path):
    """It is gone with the transaction that made it."""
    store = KeyStore(tmp_path / "keys.db")
    kept = KeptIds(store)
    with pytest.raises(IntegrityError):
        kept.add(None, ["file-1"])  # type: ignore[arg-type]  # something that no row can have
    kept.add("acme", ["file-1"])
    assert [True, False] == [kept.are_of(name, ["file-1"]) for name in ("acme", "another")]
    store.close()
