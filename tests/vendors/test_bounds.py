"""How much a vendor's answer may be: by what was asked for, or by its setting; and the deadline counts the decoding too."""

import json
import threading

import attrs
import pytest

from llmdispatcher import ConfigError, Deadline, DeadlineExceeded, MalformedReply, OpenAIVendor, Request, Tool, VendorTool
from llmdispatcher.catalog import overlay
from llmdispatcher.testing import LoopbackServer, ManualClock
from llmdispatcher.types import EmbeddingRequest
from llmdispatcher.vendors.bounds import LOGPROBS, MEDIA, TEXT, VECTORS, bounds_of, size_of_vectors
from llmdispatcher.wire import OPENAI_CHAT

from ..cases import each

ASK = Request("m", "hi")
MIB = 1 << 20


def answer(text="hi", **more):
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}], **more}).encode()


def event(text, finish=None):
    return (
        b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}).encode() + b"\n\n"
    )


@pytest.fixture
def vendor_of():
    """A vendor whose server sends these bytes, as an answer or as a stream, with these settings."""
    made = []

    def make(body, stream=False, **settings):
        def handler(peer, wire):
            if not stream:
                peer.reply(200, body)
                return
            peer.start_stream()
            for piece in body:
                peer.chunk(piece)
            peer.chunk(b"")

        server = LoopbackServer(handler)
        vendor = OpenAIVendor(api_key="sk-0123456789", base_url=server.url, trust_env=False, **settings)
        made.extend([vendor, server])
        return vendor

    yield make
    for one in made:
        one.close()


def send(vendor, request=ASK):
    return vendor.send(request, Deadline.after(30)).content


def streamed(vendor, request=ASK):
    return "".join([chunk.content for chunk in vendor.stream(request, Deadline.after(30))])


def test_a_text_has_eight_mebibytes(vendor_of):
    """A longer one is refused as soon as it is announced."""
    assert 7 * MIB == len(send(vendor_of(answer("x" * 7 * MIB))))
    with pytest.raises(MalformedReply, match="more than 8,388,608; ask for less, or raise max_body"):
        send(vendor_of(answer("x" * 9 * MIB)))


@each(
    "request_",
    [
        Request("gpt-4o", "hi", extra_params={"modalities": ["text", "audio"], "audio": {"voice": "alloy"}}),
        Request("m", "hi", extra_params={"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}),
        Request("m", "hi", tools=[VendorTool(origin="openai_responses", data={"type": "image_generation"})]),
        Request("m", "hi", tools=[VendorTool(origin="gemini", data={"codeExecution": {}})]),
        Request("gemini-3-pro-image-preview", "hi"),
        Request("some/new-image-model", "hi"),
        Request("gpt-4o-audio-preview", "hi"),
        Request("black-forest-labs/flux.2-pro", "hi"),
        Request("bytedance-seed/seedream-4.5", "hi"),
        Request("nano-banana", "hi"),
    ],
)
def test_pictures_and_sound_have_more(request_):
    """Where they were asked for, by parameters, tools or the model."""
    assert (MEDIA, TEXT.members) == (bounds_of("google", request_).size, bounds_of("google", request_).members)


def test_what_a_model_makes_is_what_the_catalog_says_now():
    """A row that is put over the catalog's counts at once, and no longer once it is gone."""
    draws = {"openai": {"m": {"price": {"input": "1", "output": "2", "image_output": "30"}}}}
    sizes = [bounds_of("openai", ASK).size]
    for rows in (draws, None):
        overlay(rows)
        sizes.append(bounds_of("openai", ASK).size)

    assert [TEXT.size, MEDIA, TEXT.size] == sizes


@each(
    "request_",
    [
        ASK,
        Request("gpt-4o-mini", "hi", tools=[Tool(name="code", parameters={})]),
        Request("m", "hi", extra_params={"modalities": ["text"], "audio": None, "metadata": {"audio": ""}}),
        Request("m", "hi", tools=[VendorTool(origin="openai_responses", data={"type": "web_search"})]),
    ],
)
def test_all_else_is_a_text(request_):
    """And has its bounds."""
    assert TEXT == bounds_of("openai", request_)


def test_log_probabilities_are_many(vendor_of):
    """They have more bytes and more members."""
    assert LOGPROBS == bounds_of("openai", Request("m", "hi", logprobs=True, top_logprobs=20))
    entry = {"token": "x", "top_logprobs": [[]] * 100}
    body = answer(logprobs={"content": [entry] * 3_000})
    with pytest.raises(MalformedReply, match="members"):
        send(vendor_of(body))

    assert "hi" == send(vendor_of(body), Request("m", "hi", logprobs=True))


def test_vectors_are_as_long_as_they_are_many():
    """Up to a bound of their own."""
    few, many = EmbeddingRequest("m", ["x"], dimensions=256), EmbeddingRequest("m", ["x"] * 2048)
    assert TEXT.size < size_of_vectors(few) < size_of_vectors(many) == VECTORS


def test_the_setting_counts_for_everything(vendor_of):
    """For less and for more, whole and streamed."""
    small, large = answer("x" * 900), answer("x" * 9 * MIB)
    assert 900 == len(send(vendor_of(small, max_body=1_000)))
    assert 9 * MIB == len(send(vendor_of(large, max_body=10 * MIB)))
    with pytest.raises(MalformedReply, match="more than 900"):
        send(vendor_of(small, max_body=900))
    with pytest.raises(MalformedReply, match="longer than 900 bytes"):
        streamed(vendor_of([event("word ")] * 50, stream=True, max_body=900))
    with pytest.raises(MalformedReply, match="more than 900"):
        vendor_of(small, max_body=900).list_models(Deadline.after(30))


@each("most", [0, -1, 1.5, "8MiB", True])
def test_a_setting_that_is_no_size_is_refused(most):
    """With what to give."""
    with pytest.raises(ConfigError, match=r"max_body: .* is not a number of bytes; give a whole number"):
        OpenAIVendor(api_key="sk-0123456789", max_body=most)


def test_a_stream_of_small_pieces_may_be_longer_on_the_wire(vendor_of):
    """Its envelopes are not its text; the text itself is bounded like a whole one."""
    pieces = [event("x" * 500) * 100] * 200
    assert 10_000_000 == len(streamed(vendor_of([*pieces, event("", "stop")], stream=True)))
    with pytest.raises(MalformedReply, match="the stream is longer than 8,388,608 bytes"):
        streamed(vendor_of([event("x" * 60_000)] * 200, stream=True))
    assert 10 * MIB < sum(map(len, pieces)) < TEXT.streamed


def test_an_answer_of_a_million_lists_is_refused_before_it_is_decoded(vendor_of, monkeypatch):
    """The decoder would stop all threads meanwhile: it is not asked."""
    monkeypatch.setattr(json.JSONDecoder, "raw_decode", None)
    monkeypatch.setattr(json.JSONDecoder, "decode", None)
    with pytest.raises(MalformedReply, match="more than 200,000 members"):
        send(vendor_of(b"[" + b"[]," * 2_000_000 + b"1]"))
    with pytest.raises(MalformedReply, match="deeper than 100 levels"):
        streamed(vendor_of([b"data: " + b"[" * 100_000 + b"\n\n"], stream=True))


def test_the_time_of_decoding_counts(vendor_of, monkeypatch):
    """An answer that is read when the call is over is none."""
    clock = ManualClock()
    slow = attrs.evolve(OPENAI_CHAT, decode=lambda *body, **members: (clock.advance(60), OPENAI_CHAT.decode(*body, **members))[1])
    vendor = vendor_of(answer())
    assert "hi" == vendor.send(ASK, Deadline.after(30, clock=clock)).content
    monkeypatch.setattr("llmdispatcher.vendors.http.codec_for", lambda _name, _quirks: slow)
    with pytest.raises(DeadlineExceeded):
        vendor.send(ASK, Deadline.after(30, clock=clock))


def test_calls_beside_a_giant_answer_go_on(vendor_of):
    """A hundred of them are answered while somebody is sent one giant after the other."""
    giant, small, over = vendor_of(b"[" + b"[]," * 2_000_000 + b"1]"), vendor_of(answer()), threading.Event()
    refused = []

    def work():
        while not over.is_set():
            with pytest.raises(MalformedReply):
                send(giant)
            refused.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        assert ["hi"] * 100 == [send(small) for _ in range(100)]
    finally:
        over.set()
        thread.join()
    assert refused


@each("text", ["[" + "[]," * 300_000 + "1]", "[" * 5_000])
def test_arguments_that_are_too_much_are_no_arguments(vendor_of, text):
    """They are text until somebody reads them; then they are bounded like an answer."""
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": text}}
    body = {"choices": [{"message": {"content": None, "tool_calls": [call]}, "finish_reason": "tool_calls"}]}
    (made,) = vendor_of(json.dumps(body).encode()).send(ASK, Deadline.after(30)).tool_calls

    assert text == made.arguments
    with pytest.raises(ValueError, match=r"members|deeper"):
        _ = made.parsed


def test_a_text_of_halves_is_read_in_pieces(vendor_of):
    """Each half of a character is replaced; whole ones beside them stay, wherever the cuts are."""
    halves = "x\\ud83d" * 5_000 + "\\ud83d\\ude00" * 5_000
    body = answer("TEXT").replace(b"TEXT", halves.encode())

    assert "x\ufffd" * 5_000 + "\U0001f600" * 5_000 == send(vendor_of(body))
