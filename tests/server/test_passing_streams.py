"""Streams that pass as they come: cut anywhere, broken off, silent, failing over, gone on with, and changed by guards."""

from __future__ import annotations

import json
import threading
from typing import Any

import attrs
import pytest

from llmdispatcher import Dispatcher, DispatchError, Message, OpenAIVendor, ResponseCache
from llmdispatcher.server import GatewaySettings, create_app
from llmdispatcher.server.gateway.caching import OrganizationTenant
from llmdispatcher.server.gateway.passing import PassedChunk, PassingDecoder, ReplyHead
from llmdispatcher.types import fold
from llmdispatcher.wire.codecs import CODECS

from ..cases import each
from ..conftest import PATIENCE
from .conftest import Passing, dispatcher_over, serving
from .test_passing import (
    CASES,
    CHAT,
    CHAT_ANSWER,
    CHAT_STREAM,
    MESSAGES,
    MESSAGES_STREAM,
    chat_piece,
    sse,
)
from .upstream import streamed, upstream, whole

CODEC_OF = {
    "chat": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "google": "gemini",
    "ollama": "ollama_chat",
}


def decoder_of(form: str) -> PassingDecoder:
    """One for a stream of a format."""
    return PassingDecoder(
        CODECS[CODEC_OF[form]].decoder(), lambda: ReplyHead(None, {}, ()), by_lines=form == "ollama", hides_usage=False
    )


def read(form: str, *pieces: bytes) -> tuple[bytes, list[Any], DispatchError | None]:
    """The bytes that pass, the chunks, and the failure, of a stream that comes in these pieces."""
    decoder, chunks = decoder_of(form), []
    try:
        for piece in pieces:
            chunks += decoder.feed(piece)
            decoder.check()
        chunks += decoder.finish()
    except DispatchError as error:
        return passed(chunks), chunks, error
    return passed(chunks), chunks, None


def passed(chunks: list[Any]) -> bytes:
    """Their bytes."""
    return b"".join([chunk.event or b"" for chunk in chunks if isinstance(chunk, PassedChunk)])


def cuts(stream: bytes) -> list[int]:
    """Every position near the end of a line, where it matters, and each seventh of the others."""
    return [at for at in range(len(stream) + 1) if at % 7 == 0 or b"\n" in stream[max(0, at - 4) : at + 4]]


@each("form", list(CASES))
def test_a_stream_cut_anywhere_passes_whole(form):
    """In two, and byte by byte; the codec's answer is the same as that of the whole stream."""
    stream = CASES[form].stream
    expected = fold(CODECS[CODEC_OF[form]].decoder().feed(stream))
    for cut in cuts(stream):
        told, chunks, failure = read(form, stream[:cut], stream[cut:])
        assert (stream, None, expected) == (told, failure, fold(chunks)), cut
    told, chunks, failure = read(form, *[stream[at : at + 1] for at in range(len(stream))])
    assert (stream, None, expected) == (told, failure, fold(chunks))


@each("form", list(CASES))
def test_a_stream_that_ends_anywhere_passes_in_whole_events(form):
    """A beginning of it, up to the end of an event, so that the failure's own event can follow."""
    stream = CASES[form].stream
    end = b"\n" if form == "ollama" else b"\r\n\r\n" if form == "google" else b"\n\n"
    for cut in cuts(stream)[:-1]:
        told, _chunks, failure = read(form, stream[:cut])
        assert stream.startswith(told)
        assert failure is None or told == b"" or told.endswith(end), (cut, told[-80:])


@each("form", list(CASES))
def test_other_ends_of_lines(form):
    """CR, and CR with LF, cut anywhere."""
    if form == "ollama":
        return
    stream = CASES[form].stream.replace(b"\r\n", b"\n")
    for mark in (b"\r", b"\r\n"):
        other = stream.replace(b"\n", mark)
        for cut in range(0, len(other), 19):
            told, _chunks, failure = read(form, other[:cut], other[cut:])
            assert (other, None) == (told, failure), (cut, mark)


@pytest.fixture
def make(keys: Any) -> Any:
    """A gateway over a dispatcher."""
    _, secret = keys.create("a test")

    def made(dispatcher: Dispatcher, vendor: Any, **settings: Any) -> Any:
        app = create_app(dispatcher, keys=keys, settings=GatewaySettings(threads=8, **settings))
        return app, secret

    return made


def events_of(body: bytes) -> list[bytes]:
    """The events of a stream."""
    return [event + b"\n\n" for event in body.split(b"\n\n") if event]


ERRORS = {
    "chat": (
        'data: {"error": {"message": "org-vendors is broken", "type": "server_error"}}\n\n',
        CHAT_STREAM,
        "/v1/chat/completions",
        CHAT,
    ),
    "messages": (
        'event: error\ndata: {"type": "error", "error": {"type": "api_error", "message": "org-vendors is broken"}}\n\n',
        MESSAGES_STREAM,
        "/v1/messages",
        MESSAGES,
    ),
}


@each("form", list(ERRORS))
@pytest.mark.parametrize("broken", [False, True])
def test_a_failure_in_the_middle_is_told_in_the_client_s_words(make, vendor, form, broken):
    """What came before passes as it was; half an event does not, and the vendor's own error does not."""
    error, stream, path, body = ERRORS[form]
    begun = b"".join(events_of(stream)[:-3])
    last = [b'data: {"half'] if broken else [error.encode()]
    vendor.answers = [streamed(begun, *last, broken=broken)]
    with dispatcher_over(vendor.url) as dispatcher:
        app, key = make(dispatcher, vendor)
        with serving(app) as url:
            got = Passing(app, url, key, vendor).post(path, {**body, "stream": True})

    assert got.content.startswith(begun.rstrip()), got.content[-500:]
    rest = got.content[len(begun) :]
    assert (True, False, False) == (b"error" in rest, b"half" in rest, b"org-vendors" in rest), rest
    assert [] == [line for line in rest.splitlines() if line.startswith(b"data: {") and not json.loads(line[6:])]


def test_heartbeats_stand_between_whole_events(make, vendor):
    """While half an event is there, and the vendor is silent."""
    events, go_on = events_of(MESSAGES_STREAM), threading.Event()
    whole_ones, half = b"".join(events[:5]), events[5]
    vendor.answers = [streamed(whole_ones + half[:9], lambda: go_on.wait(PATIENCE), half[9:] + b"".join(events[6:]))]
    with dispatcher_over(vendor.url) as dispatcher:
        app, key = make(dispatcher, vendor, heartbeat=0.3)
        with (
            serving(app) as url,
            Passing(app, url, key, vendor).post("/v1/messages", {**MESSAGES, "stream": True}, stream=True) as got,
        ):
            body = b""
            for piece in got.iter_content(1):
                body += piece
                if body.endswith(b'"ping"}\n\n') and len(body) > len(whole_ones):
                    go_on.set()
    beats = body.count(b"event: ping") - 1

    assert beats >= 1
    assert whole_ones + b'event: ping\ndata: {"type": "ping"}\n\n' * beats + b"".join(events[5:]) == body


def test_failover_goes_from_bytes_to_codecs_and_back(make, vendor):
    """The same request at another vendor: of another format by the codec, of the same with another model's name."""
    with upstream() as second:
        vendor.answers = [whole(b"{}", status=503)]
        second.answers = [streamed(CHAT_STREAM)]
        made = dispatcher_over(vendor.url, fallback_vendor="second", fallback_model="gpt-4o")
        made.register_vendor(
            OpenAIVendor(api_key="sk-2", base_url=f"{second.url}/v1", name="second", model_map={"gpt-4o*": "gpt-4o-eu"})
        )
        asks_chat = json.dumps({**CHAT, "stream": True, "stream_options": {"include_usage": True}}).encode()
        with made:
            app, key = make(made, vendor)
            with serving(app) as url:
                gate = Passing(app, url, key, vendor)
                same = gate.post("/v1/chat/completions", asks_chat)
                other = gate.post("/v1/messages", {**MESSAGES, "stream": True})

    assert (CHAT_STREAM, "second", "2") == (same.content, same.headers["x-llmdispatcher-vendor"], str(len(vendor.heard)))
    assert asks_chat.replace(b'"gpt-4o-mini"', b'"gpt-4o-eu"', 1) == second.heard[0].body
    assert b"event: message_start" in other.content
    assert b"So it is" not in other.content
    assert "So it is é😀." == "".join(
        [json.loads(line[6:])["delta"].get("text", "") for line in other.content.splitlines() if b"text_delta" in line]
    )


def test_another_vendor_goes_on_with_a_stream_that_has_passed(make, vendor):
    """The client sees one stream: the bytes of the first, then the codec's with the same id, and one end."""
    begun = b"".join(events_of(CHAT_STREAM)[:3])
    with upstream() as second:
        vendor.answers = [streamed(begun, broken=True)]
        second.answers = [
            streamed(
                sse(
                    chat_piece(content="it rains."),
                    {**chat_piece(), "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
                    "data: [DONE]\n\n",
                )
            )
        ]
        made = dispatcher_over(vendor.url, fallback_vendor="second", fallback_model="gpt-4o", continuation=True)
        made.register_vendor(OpenAIVendor(api_key="sk-2", base_url=f"{second.url}/v1", name="second"))
        body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Why?"}], "stream": True}
        with made:
            app, key = make(made, vendor)
            with serving(app) as url:
                got = Passing(app, url, key, vendor).post("/v1/chat/completions", body)

    assert got.content.startswith(begun), got.content
    documents = [json.loads(line[6:]) for line in got.content.splitlines() if line.startswith(b"data: {")]
    assert {"c1"} == {one["id"] for one in documents}
    texts = [choice["delta"].get("content") or "" for one in documents for choice in one["choices"]]
    assert "So it rains." == "".join(texts)
    assert (1, True) == (got.content.count(b'"finish_reason":"stop"'), got.content.endswith(b"data: [DONE]\n\n"))
    assert "So " == parsed_last(second.heard[0].body)


def parsed_last(body: bytes) -> str:
    """The text that a vendor is asked to go on with."""
    return next(turn["content"] for turn in json.loads(body)["messages"] if turn["role"] == "assistant")


class Changing:
    """A guard that changes both ways."""

    def before(self, request: Any) -> Any:
        return attrs.evolve(request, messages=[Message.user("changed")])

    def after(self, _request: Any, response: Any) -> Any:
        return attrs.evolve(response, content="also changed")


def test_what_a_guard_changes_is_encoded_anew(make, vendor):
    """The request and the answer: nothing that it has taken out goes out."""
    vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
    with dispatcher_over(vendor.url, guards=[Changing()]) as dispatcher:
        app, key = make(dispatcher, vendor)
        with serving(app) as url:
            got = Passing(app, url, key, vendor).post("/v1/chat/completions", CHAT)

    assert "also changed" == got.json()["choices"][0]["message"]["content"]
    assert [{"role": "user", "content": "changed"}] == json.loads(vendor.heard[0].body)["messages"]


def test_what_a_model_does_not_take_is_adapted(make, vendor):
    """As it was before bodies passed: an agent's request is not refused for a setting that a model has under another name."""
    vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
    ask = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 100}
    with dispatcher_over(vendor.url) as dispatcher:
        app, key = make(dispatcher, vendor)
        with serving(app) as url:
            gate = Passing(app, url, key, vendor)
            gate.post("/v1/chat/completions", {**ask, "model": "gpt-5"})
            gate.post("/v1/chat/completions", {**ask, "model": "gpt-4o-mini"})
    adapted, same = [json.loads(heard.body) for heard in vendor.heard]

    assert ("max_tokens" in adapted, adapted["max_completion_tokens"] >= 100) == (False, True)
    assert same == {**ask, "model": "gpt-4o-mini"}


def test_a_whole_answer_to_a_request_for_a_stream_becomes_one(make, vendor):
    """Some servers answer so; its bytes would mean nothing to the client."""
    vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode())]
    with dispatcher_over(vendor.url) as dispatcher:
        app, key = make(dispatcher, vendor)
        with serving(app) as url:
            got = Passing(app, url, key, vendor).post("/v1/chat/completions", {**CHAT, "stream": True})

    assert b'"content":"So."' in got.content
    assert got.content.endswith(b"data: [DONE]\n\n")


def test_google_s_list_of_events(make, vendor):
    """Without alt=sse the client gets one list, whose members are the vendor's own documents."""
    vendor.answers = [streamed(CASES["google"].stream)]
    with dispatcher_over(vendor.url) as dispatcher:
        app, key = make(dispatcher, vendor)
        with serving(app) as url:
            path = "/v1beta/models/gemini-2.5-flash:streamGenerateContent"
            got = Passing(app, url, key, vendor).post(path, CASES["google"].body)

    documents = [line.removeprefix(b"data: ") for line in CASES["google"].stream.splitlines() if line]
    assert b"[" + b",\r\n".join(documents) + b"]" == got.content


def test_an_answer_of_a_cache_is_written_anew(make, vendor):
    """Its headers and its time are its own; a stream of it is one."""
    vendor.answers = [whole(json.dumps(CHAT_ANSWER).encode(), headers={"x-request-id": "req_v", "x-ratelimit-limit-tokens": "9"})]
    ask = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "a"}], "temperature": 0}
    with dispatcher_over(vendor.url, cache=ResponseCache(max_entries=10, tenant=OrganizationTenant())) as dispatcher:
        app, key = make(dispatcher, vendor)
        with serving(app) as url:
            gate = Passing(app, url, key, vendor)
            first, second = [gate.post("/v1/chat/completions", ask) for _ in range(2)]
            stream = gate.post("/v1/chat/completions", {**ask, "stream": True})

    assert (1, "true", None) == (len(vendor.heard), second.headers["x-llmdispatcher-cached"], second.headers.get(LIMIT))
    assert ("9", "So.") == (first.headers[LIMIT], second.json()["choices"][0]["message"]["content"])
    assert b"So." in stream.content


LIMIT = "x-ratelimit-limit-tokens"
