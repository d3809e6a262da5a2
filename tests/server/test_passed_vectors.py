"""Same format, same bytes, for embeddings and counts of tokens: diffed at both ends, with fields that nobody knows."""

from __future__ import annotations

import base64
import json
from array import array
from typing import Any

import pytest

from llmdispatcher import PatternGuard
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.kept_ids import is_googles_file, references_in

from ..cases import each
from .conftest import Passing, dispatcher_over, serving
from .test_passing import GEMINI, INVENTED, LIMITS, MESSAGES, as_sent, hashed, parsed
from .upstream import whole

SHORT = base64.b64encode(array("f", [0.5, -0.5]).tobytes()).decode()
OPENAI_ANSWER = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.50, -1e-3], **INVENTED}],
    "usage": {"prompt_tokens": 9, "total_tokens": 9, "x_details": INVENTED},
    **INVENTED,
}
OPENAI = {"model": "text-embedding-3-small", "input": ["a"], "encoding_format": "float", **INVENTED}
PART = {"parts": [{"text": "a", **INVENTED}], **INVENTED}
BATCH = "/v1beta/models/gemini-embedding-001:batchEmbedContents"
SINGLE = "/v1beta/models/gemini-embedding-001:embedContent"
ENTRY = {"model": "models/gemini-embedding-001", "content": PART, "taskType": "RETRIEVAL_QUERY"}
VALUES = {"values": [0.50, 1e-5], **INVENTED}
COUNT = "/v1/messages/count_tokens"
GOOGLE_COUNT = "/v1beta/models/gemini-2.5-flash:countTokens"
WRAPPED = {"generateContentRequest": {"model": "models/gemini-2.5-flash", **GEMINI}}
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "openai": ("/v1/embeddings", OPENAI, OPENAI_ANSWER),
    "a text alone": ("/v1/embeddings", {**OPENAI, "input": "a"}, OPENAI_ANSWER),
    "base64": ("/v1/embeddings", {**OPENAI, "encoding_format": "base64"}, {**OPENAI_ANSWER, "data": [{"embedding": SHORT}]}),
    "an encoding that nobody knows": ("/v1/embeddings", OPENAI, {**OPENAI_ANSWER, "data": [{"embedding": {"x": "0110"}}]}),
    "tokens": ("/v1/embeddings", {**OPENAI, "input": [1, 2, 3]}, OPENAI_ANSWER),
    "lists of tokens": ("/v1/embeddings", {**OPENAI, "input": [[1, 2], [3]]}, OPENAI_ANSWER),
    "google's batch": (BATCH, {"requests": [{**ENTRY, **INVENTED}], **INVENTED}, {"embeddings": [VALUES], **INVENTED}),
    "settings that differ": (BATCH, {"requests": [ENTRY, {**ENTRY, "title": "b"}]}, {"embeddings": [VALUES, VALUES]}),
    "google's single text": (SINGLE, {"content": PART, **INVENTED}, {"embedding": VALUES, **INVENTED}),
    "a picture": (
        SINGLE,
        {"content": {"parts": [{"inlineData": {"data": "AAAA"}}]}},
        {"embedding": VALUES},
    ),
    "ollama": (
        "/api/embed",
        {"model": "ollama:nomic-embed-text", "input": ["a"], **INVENTED},
        {"embeddings": [[0.50]], **INVENTED},
    ),
    "anthropic's count": (COUNT, MESSAGES, {"input_tokens": 14, **INVENTED}),
    "a count with beta": (f"{COUNT}?beta=true", MESSAGES, {"input_tokens": 14, "context_management": INVENTED}),
    "google's count": (GOOGLE_COUNT, GEMINI, {"totalTokens": 31, "promptTokensDetails": [INVENTED]}),
    "google's count of a request": (GOOGLE_COUNT, WRAPPED, {"totalTokens": 31, **INVENTED}),
}


@each("case", list(CASES))
def test_request_and_answer_are_the_same_at_both_ends(passing, case):
    """With invented fields at every depth; the vendor's id and limits come back, too."""
    path, body, answer = CASES[case]
    sent, said = as_sent(body), as_sent(answer)
    passing.vendor.heard.clear()
    passing.vendor.answers = [whole(said, headers=LIMITS)]
    got = passing.post(path, sent)

    assert (200, said) == (got.status_code, got.content), got.text
    sent = sent.replace(b'"ollama:', b'"')
    assert [(path, sent)] == [(heard.path, heard.body) for heard in passing.vendor.heard]
    assert ("41", "req_vendor") == (
        got.headers["x-ratelimit-remaining-requests"],
        got.headers["x-llmdispatcher-vendor-request-id"],
    )
    assert got.headers["x-llmdispatcher-model"] in f"{path} {body}"


def test_the_usage_is_read_beside_it(passing):
    """And priced: 9 tokens at $0.02 a million."""
    passing.vendor.answers = [whole(json.dumps(OPENAI_ANSWER).encode())]
    got = passing.post("/v1/embeddings", {**OPENAI, "input": [1, 2, 3]})

    assert 0.00000018 == float(got.headers["x-llmdispatcher-cost"])
    assert 9 == passing.app.dispatcher.get_stats().total_tokens


@each(
    "path, body, changed",
    [
        ("/v1/embeddings", '{"input": "a", "model": "openai:text-embedding-3-small" , "z": 1.0}', ("openai:", "")),
        (
            SINGLE.replace("gemini-e", "google/gemini-e"),
            '{"model":  "models/google/gemini-embedding-001","content":{"parts":[{"text":"a"}]}}',
            ("google/", ""),
        ),
        (
            GOOGLE_COUNT.replace("gemini-2", "google:gemini-2"),
            '{"generateContentRequest":{"model": "models/google:gemini-2.5-flash", "contents":[{"parts":[{"text":"a"}]}]}}',
            ("google:", ""),
        ),
        (COUNT, '{"messages":[{"role":"user","content":"a"}] , "model": "anthropic:claude-haiku-4-5"}', ("anthropic:", "")),
    ],
)
def test_the_model_s_name_alone_changes(passing, path, body, changed):
    """Where the client's is another than the vendor's."""
    vectors = {"embedding": {"values": [1]}} if "embedContent" in path else {"data": [{"embedding": [1]}]}
    passing.vendor.answers = [whole(json.dumps({**vectors, "totalTokens": 1, "input_tokens": 1}).encode())]
    got = passing.post(path, body.encode())

    assert 200 == got.status_code, got.text
    assert body.replace(*changed) == passing.vendor.heard[-1].body.decode()


@each("field", ["user", "safety_identifier", "prompt_cache_key"])
def test_names_of_users_go_out_hashed(passing, field):
    """Also where the body is encoded anew, as for more texts than a call takes."""
    answers = {**OPENAI_ANSWER, "data": [{"embedding": [1]}] * 2048}
    passing.vendor.answers = [whole(json.dumps(one).encode()) for one in (OPENAI_ANSWER, answers, OPENAI_ANSWER)]
    body = json.dumps({**OPENAI, field: "ann"})
    passing.vendor.heard.clear()
    passing.post("/v1/embeddings", body.encode())
    several = passing.post("/v1/embeddings", {**OPENAI, "input": ["a"] * 2049, field: "ann"})

    expected = hashed(passing.app, "ann")
    assert body.replace('"ann"', f'"{expected}"').encode() == passing.vendor.heard[0].body
    assert [expected] * 2 == [parsed(heard.body).get(field) for heard in passing.vendor.heard[1:]]
    assert 2049 == len(several.json()["data"])


GOOGLES = "https://generativelanguage.googleapis.com/v1beta/files/a"
TOKENS = {"model": "google:gemini-embedding-001", "input": [1, 2, 3]}


def test_tokens_to_another_format_are_refused_before_anything_is_sent(passing):
    """With the field, the value and the remedy."""
    got = passing.post("/v1/embeddings", TOKENS)
    long = passing.post("/v1/embeddings", {**TOKENS, "input": list(range(10_000))})

    assert (400, "input: [1, 2, 3] is no text") == (got.status_code, got.json()["error"]["message"][:27])
    assert "send the text itself" in got.json()["error"]["message"]
    assert (400, True) == (long.status_code, len(long.text) < 400)
    assert [] == passing.vendor.heard


def test_what_google_alone_knows_is_refused_by_others(passing):
    """Settings that differ within a batch."""
    got = passing.post(BATCH.replace("gemini-embedding-001", "openai:text-embedding-3-small"), CASES["settings that differ"][1])

    assert (400, []) == (got.status_code, passing.vendor.heard)
    assert "a batch for each setting" in got.json()["error"]["message"]


def test_another_model_within_a_batch_is_none_that_was_not_looked_at(passing):
    """The address says which may be asked."""
    passing.vendor.answers = [whole(json.dumps({"embeddings": [VALUES]}).encode())]
    entry = {"model": "models/gemini-embedding-2", "content": {"parts": [{"text": "a"}]}}
    alike = passing.post(BATCH, {"requests": [entry]})
    differing = passing.post(BATCH, {"requests": [entry, {**entry, "title": "b"}]})

    assert (200, 400) == (alike.status_code, differing.status_code)
    assert ["models/gemini-embedding-001"] == [parsed(heard.body)["requests"][0]["model"] for heard in passing.vendor.heard]


@each(
    "path, body, param",
    [
        (
            SINGLE,
            {"content": {"parts": [{"fileData": {"fileUri": "https://generativelanguage.googleapis.com/v1beta/files/a"}}]}},
            "fileUri",
        ),
        (SINGLE, {"content": {"parts": [{"fileData": {"fileUri": "/etc/passwd"}}]}}, "fileUri"),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": [{"type": "file", "file_id": "file-1"}]}, "file_id"),
        ("/v1/embeddings", {**OPENAI, "tools": [{"vector_store_ids": ["vs_1"]}]}, "vector_store_ids"),
    ],
)
def test_what_a_vendor_keeps_and_paths_are_refused(passing, path, body, param):
    """As in a conversation."""
    got = passing.post(path, body)

    assert (400, []) == (got.status_code, passing.vendor.heard)
    assert param in got.text


def test_a_budget_reserves_for_tokens_and_refuses_what_cannot_be_counted(passing):
    """Each number is a token; the model's window holds for each list of them."""
    _, secret = passing.app.keys.create("narrow", budget="0.0001/day")
    own = {"headers": {"Authorization": f"Bearer {secret}"}}
    passing.vendor.answers = [whole(json.dumps(OPENAI_ANSWER).encode())]
    few = passing.post("/v1/embeddings", {**OPENAI, "input": [7] * 100}, **own)
    many = passing.post("/v1/embeddings", {**OPENAI, "input": [[7] * 100] * 100}, **own)
    picture = passing.post(SINGLE, CASES["a picture"][1], **own)

    assert (200, 402, 403) == (few.status_code, many.status_code, picture.status_code), many.text
    assert 1 == len(passing.vendor.heard)


@pytest.fixture
def guarded(vendor, keys):
    """A gateway whose guard masks a word."""
    _, secret = keys.create("a test")
    with dispatcher_over(vendor.url, guards=[PatternGuard(pattern="secret", action="mask")]) as made:
        app = create_app(made, keys=keys, settings=GatewaySettings(threads=8))
        with serving(app) as url:
            yield Passing(app, url, secret, vendor)


def test_a_text_that_a_guard_changes_goes_out_changed_and_tokens_not_at_all(guarded):
    """A guard reads texts alone."""
    guarded.vendor.answers = [whole(json.dumps(OPENAI_ANSWER).encode())]
    masked = guarded.post("/v1/embeddings", {**OPENAI, "input": ["a secret"]})
    tokens = guarded.post("/v1/embeddings", {**OPENAI, "input": [1, 2]})

    assert (200, 400) == (masked.status_code, tokens.status_code), tokens.text
    assert [["a [removed]"]] == [parsed(heard.body)["input"] for heard in guarded.vendor.heard]
    guarded.vendor.answers = [whole(b'{"input_tokens": 3}')]
    guarded.post(COUNT, {"model": "claude-haiku-4-5", "messages": [{"role": "user", "content": "a secret"}]})
    assert b"secret" not in guarded.vendor.heard[-1].body


@each(
    "path, body, further",
    [
        (BATCH, {"requests": [ENTRY]}, {"x": {"fileId": "files/of-another"}}),
        (BATCH, {"requests": [ENTRY]}, {"api_base": "https://elsewhere.example"}),
        (BATCH, {"requests": [ENTRY]}, {"fallbacks": ["gemini-3-pro"]}),
    ],
)
def test_what_was_not_looked_at_makes_a_document_stay_here(passing, path, body, further):
    """It is encoded anew, from what was read; other fields pass."""
    passing.vendor.answers = [whole(json.dumps({"data": [{"embedding": [1]}], "embeddings": [VALUES]}).encode())]
    passing.vendor.heard.clear()
    sent = json.dumps({**body, **further}).encode()
    got = passing.post(path, sent)

    assert got.status_code == 200, got.text
    assert sent != passing.vendor.heard[0].body
    assert not further.keys() & parsed(passing.vendor.heard[0].body).keys()


@each("wrapper", ["generateContentRequest", "generate_content_request", "generatecontent_request", "Generate_Content_Request"])
def test_a_count_asks_for_the_model_of_its_address_however_it_is_spelt(passing, wrapper):
    """Google takes both spellings of every field; a key may be limited to the address's model."""
    _, secret = passing.app.keys.create("narrow", models=["gemini-2.5-flash"])
    passing.vendor.answers = [whole(b'{"totalTokens": 1}')]
    passing.vendor.heard.clear()
    body = {wrapper: {"model": "models/gemini-2.5-pro", "contents": [{"parts": [{"text": "a"}]}]}}
    got = passing.post(GOOGLE_COUNT, body, headers={"Authorization": f"Bearer {secret}"})

    assert got.status_code in (200, 400), got.text
    assert (got.status_code == 200) == bool(passing.vendor.heard)
    assert not [heard for heard in passing.vendor.heard if b"gemini-2.5-pro" in heard.body]
    if wrapper in ("generateContentRequest", "generate_content_request"):
        assert json.dumps(body).replace("2.5-pro", "2.5-flash").encode() == passing.vendor.heard[-1].body


@each(
    "path, body",
    [
        (GOOGLE_COUNT, {"generate_content_request": {"Model": "models/x-other", **GEMINI}}),
        (GOOGLE_COUNT, {"generate_content_request": [{"model": "models/x-other"}], **GEMINI}),
        (GOOGLE_COUNT, {"generate_content_request": {"model": "models/x-other"}, **GEMINI}),
        (BATCH, {"requests": [{**ENTRY, "Model": "models/x-other"}]}),
        (BATCH, {"requests": [ENTRY], "Requests": [{"model": "models/x-other"}]}),
        (SINGLE, {"content": PART, "apiBase": "x-other"}),
        (SINGLE, {"content": PART, "_model": "x-other"}),
        (SINGLE, {"content": PART, "requests": None, "fallbacks": ["x-other"]}),
    ],
)
def test_a_name_that_is_spelt_otherwise_does_not_pass(passing, path, body):
    """It is encoded anew from what was read, or refused."""
    passing.vendor.answers = [whole(json.dumps({"embeddings": [VALUES], "totalTokens": 1}).encode())]
    passing.vendor.heard.clear()
    sent = json.dumps(body).encode()
    got = passing.post(path, sent)

    assert got.status_code in (200, 400), got.text
    assert sent not in [heard.body for heard in passing.vendor.heard]


def test_the_number_of_dimensions_is_read_in_both_spellings(passing):
    """So that a vendor of another format gives as many."""
    passing.vendor.answers = [whole(json.dumps(OPENAI_ANSWER).encode())]
    path = SINGLE.replace("gemini-embedding-001", "openai:text-embedding-3-small")
    passing.vendor.heard.clear()
    got = passing.post(path, {"content": PART, "output_dimensionality": 2})

    assert 200 == got.status_code, got.text
    assert 2 == parsed(passing.vendor.heard[-1].body)["dimensions"]


LONG = "word " * 30_000
WITHIN = {"content": PART}
PLAIN = {"content": {"parts": [{"text": "a"}]}}
MORE: dict[str, tuple[str, dict[str, Any]]] = {
    "a title": (SINGLE, {**WITHIN, "title": LONG}),
    "an instruction": (SINGLE, {**WITHIN, "instruction": LONG}),
    "a title of a batch": (BATCH, {"requests": [{**ENTRY, "title": LONG}]}),
    "settings that differ": (BATCH, {"requests": [PLAIN, {**PLAIN, "title": LONG}]}),
    "a second content": (SINGLE, {**WITHIN, "contents": [{"parts": [{"text": LONG}]}]}),
    "beside the requests": (BATCH, {"requests": [ENTRY], "x": [LONG]}),
    "a name": (SINGLE, {**WITHIN, "x": {LONG: 1}}),
    "a long setting": (SINGLE, {**WITHIN, "taskType": LONG}),
    "within a part": (SINGLE, {"content": {"parts": [{"text": "a", "x": {"y": LONG}}]}}),
    "many short ones": (SINGLE, {**WITHIN, "x": ["a"] * 40_000}),
    "many empty ones": (BATCH, {"requests": [{"content": {"parts": [{"text": ""}]}}] * 40_000}),
    "a prompt": ("/v1/embeddings", {**OPENAI, "prompt": LONG}),
    "inputs": ("/v1/embeddings", {**OPENAI, "inputs": [LONG]}),
    "tokens elsewhere": ("/v1/embeddings", {**OPENAI, "inputs": [[7] * 40_000]}),
}


@each("case", list(MORE))
@each("strict", [False, True])
def test_a_budget_reserves_for_all_that_a_body_says(passing, case, strict):
    """Also for what nobody knows: it passes to the vendor, which may embed it."""
    path, body = MORE[case]
    _, secret = passing.app.keys.create("narrow", budget="0.0005/day", strict=strict)
    passing.vendor.heard.clear()
    got = passing.post(path, body, headers={"Authorization": f"Bearer {secret}"})

    assert (402, []) == (got.status_code, passing.vendor.heard), (case, got.text)


def test_a_budget_reserves_no_more_for_usual_settings(passing):
    """Nobody embeds these; Google tells no usage, so that what was reserved is what is paid."""
    passing.vendor.answers = [whole(json.dumps({"embedding": VALUES}).encode())] * 2
    costs = []
    for further in ({}, {"model": "models/gemini-embedding-001", "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 9}):
        _, secret = passing.app.keys.create("narrow", budget="0.0005/day")
        got = passing.post(SINGLE, {**PLAIN, **further}, headers={"Authorization": f"Bearer {secret}"})
        assert 200 == got.status_code, got.text
        costs.append(got.headers["x-llmdispatcher-reserved"])

    assert costs[0] == costs[1]


HOST = "generativelanguage.googleapis.com"
ODD = [
    f"https://{HOST}:443/v1beta/files/x",
    f"https://{HOST}./v1beta/files/x",
    f"https://{HOST}.:443/v1beta/files/x",
    f"https://{HOST.upper()}/v1beta/FILES/x",
    f"https://{HOST}/v1beta/%66iles/x",
    f"https://{HOST}/v1beta/%2566iles/x",
    f"https://{HOST}/v1alpha//files/x",
    f"https://{HOST}/v1beta/./a/../files/x",
    f"https://{HOST}/v1beta%2Ffiles%2Fx",
    f"https://{HOST}\\v1beta\\files\\x",
    f"https://{HOST}\t/v1beta/files/x",
    f"https://{HOST}/v1beta/fi\nles/x",
    f"https://{HOST}\\@example.com/v1beta/files/x",
    f"https://user@{HOST}/v1beta/files/x",
    f"https:{HOST}/v1beta/files/x",
    f"https:///{HOST}/v1beta/files/x",
    f"https://{HOST.replace('.com', '%2Ecom')}/v1beta/files/x",
    f"https://{HOST.replace('.com', chr(0x3002) + 'com')}/v1beta/files/x",
    f"https://{HOST.replace('google', 'go' + chr(0xAD) + 'ogle')}/v1beta/files/x",
    f" https://{HOST}/v1beta/files;a/x?alt=media",
]
OTHERS = [
    "https://example.com/files/x",
    "https://storage.googleapis.com/bucket/a/files/x.png",
    "https://example.com/?googleapis.com",
    "https://notgoogleapis.com/files/x",
    "gs://bucket/files/x",
    "data:text/plain,files/x",
    "http://[::1/files/x",
    "files/x",
    "",
]


@each("url", ODD)
def test_a_file_that_google_keeps_is_known_by_every_spelling(passing, url):
    """Of a request for vectors, of a conversation, and beside a text; where ids are looked up, too."""
    passing.vendor.heard.clear()
    part = {"fileData": {"fileUri": url}}
    turn = {"contents": [{"parts": [{"text": "a"}, {"fileData": {"fileUri": url, "mimeType": "image/png"}}]}]}
    asked = [(SINGLE, {"content": {"parts": parts}}) for parts in ([part], [{"text": "a", **part}], [{"text": "a"}, part])]
    asked += [(BATCH, {"requests": [{"content": {"parts": [part]}}]}), (GOOGLE_COUNT, turn)]
    statuses = [passing.post(path, body).status_code for path, body in asked]

    assert ([400] * 5, []) == (statuses, passing.vendor.heard), url
    assert {url} == references_in(part) == references_in({"file_data": {"file_uri": url}})
    assert {url} == references_in({"image_url": {"url": url}})
    assert {"files/x"} == references_in({"fileUri": "files/x"})


@each("url", OTHERS)
def test_other_addresses_are_no_files_of_google_s(url):
    """They are fetched by whoever is asked."""
    assert not is_googles_file(url)
    assert set() == references_in({"image_url": {"url": url}})


@each("field", ["previous_response_id", "conversation", "cachedContent", "file_id", "training_file"])
def test_a_refusal_names_the_field_that_was_meant(passing, field):
    """And no other."""
    got = passing.post("/v1/embeddings", {**OPENAI, field: "one_1"})

    assert (400, field) == (got.status_code, got.json()["error"]["param"])
    assert got.json()["error"]["message"].startswith(f"{field}: ")
