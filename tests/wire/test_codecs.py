"""What holds for every wire format: streams and whole answers mean the same, nothing is taken for complete that is not."""

import importlib
import inspect
import json
import pkgutil
import time

import attrs
import pytest

from llmdispatcher import (
    AudioPart,
    AuthenticationError,
    BudgetExceeded,
    Cancelled,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    DeadlineExceeded,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    Message,
    ModelNotFound,
    Overloaded,
    QuotaExceeded,
    RateLimitError,
    Request,
    StreamInterrupted,
    ToolCall,
    VendorUnavailable,
    wire,
)
from llmdispatcher.types import StreamChunk, fold
from llmdispatcher.wire import Bounds, fault
from llmdispatcher.wire.base import Codec
from llmdispatcher.wire.codecs import CODECS

from ..cases import each
from .corpus import cut, decode_stream, sliced
from .recordings import ARGUMENTS, OLLAMA_USAGE, SAID, STREAMS, WHOLE, framed, sse

FORMATS = each("codec", CODECS)


def whole(codec):
    """The answer in one piece."""
    return codec.decode(json.dumps(WHOLE[codec.name]).encode())


def payload(codec, stream=False, quirks=frozenset(), **fields):
    """What is sent for a request."""
    messages = fields.pop("messages", [Message.system("Be brief."), Message.user("Hi")])
    return json.loads(codec.encode(Request("m-1", messages, **fields), stream=stream, quirks=quirks))


@FORMATS
def test_a_whole_answer_is_read(codec):
    """Text, thoughts, calls, reason, tokens, model and id, in our words."""
    answer = whole(codec)

    assert ("Grüezi, let me look.", "The user wants weather.") == (answer.content, answer.reasoning)
    assert [("weather", "call_1", json.loads(ARGUMENTS))] == [(call.name, call.id, call.parsed) for call in answer.tool_calls]
    assert ("tool_calls", None) == (answer.finish_reason, answer.refusal)
    assert WHOLE[codec.name].get("id", IDS_ELSEWHERE.get(codec.name)) == answer.response_id
    assert answer.model


IDS_ELSEWHERE = {"gemini": "r1", "ollama_chat": None}
DETAILS = {"ollama_chat": (0, 0)}
"""Tokens read from a cache and thought, where a format tells them not, or other than below."""


@FORMATS
def test_tokens_mean_the_same_for_every_vendor(codec):
    """Input counts the cache, output the thoughts, whatever the vendor's own record leaves out."""
    usage = whole(codec).usage

    assert (40, 25, *DETAILS.get(codec.name, (10, 9)), 65) == (
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.reasoning_tokens,
        usage.total_tokens,
    )
    assert WHOLE[codec.name].get("usage", WHOLE[codec.name].get("usageMetadata", OLLAMA_USAGE)) == usage.raw


@FORMATS
def test_a_stream_folds_to_the_whole_answer(codec):
    """A caller cannot tell from the answer how it came."""
    streamed, error = decode_stream(codec, [STREAMS[codec.name]])

    assert None is error
    assert whole(codec) == streamed


@FORMATS
@pytest.mark.usefixtures("untraced")
def test_every_cut_gives_the_same_answer(codec):
    """Reads end in characters, in names, between CR and LF."""
    stream = STREAMS[codec.name]
    expected = whole(codec)

    starts = range(97)  # in so many readings, each cut at every 97th byte, every place is cut once
    assert [] == [
        start for start in starts if decode_stream(codec, cut(stream, *range(start, len(stream), len(starts)))) != (expected, None)
    ]
    assert (expected, None) == decode_stream(codec, sliced(stream, 1))


ENDS = {
    "openai_chat": b'"finish_reason": "',
    "openai_responses": b"response.completed",
    "anthropic_messages": b'"stop_reason": "',
    "gemini": b'"finishReason"',
    "ollama_chat": b'"done": true',
}


@FORMATS
def test_every_truncation_raises(codec):
    """Before the reason why the answer ended, no end of the bytes is an end of the answer."""
    stream = STREAMS[codec.name]
    end = stream.index(ENDS[codec.name])

    places = [*range(0, end, 7), *range(end - 200, end)]
    assert [] == [place for place in places if decode_stream(codec, [stream[:place]])[1] is None]


@FORMATS
def test_a_truncated_stream_is_called_interrupted(codec):
    """It is not the vendor's format that is wrong, but that it ended."""
    stream = STREAMS[codec.name]
    _, error = decode_stream(codec, [stream[: stream.index(ENDS[codec.name])]])

    assert StreamInterrupted is type(error)


@FORMATS
def test_text_comes_as_it_arrives(codec):
    """A read that completes an event brings its chunk at once."""
    decoder = codec.decoder()

    assert ["said"] == [chunk.content for chunk in decoder.feed(framed(codec.name, SAID[codec.name]))]
    assert not decoder.done


OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded", "code": 529, "status": "UNAVAILABLE"}}


@FORMATS
def test_an_error_first_thing_raises_at_once(codec):
    """Nothing was said, so another target can still be asked."""
    with pytest.raises(VendorUnavailable, match="Overloaded"):
        codec.decoder().feed(framed(codec.name, OVERLOADED))


@FORMATS
def test_an_error_keeps_what_came_before_it(codec):
    """Also where both came in one read: the text first, then the error."""
    decoder = codec.decoder()

    assert ["said"] == [chunk.content for chunk in decoder.feed(framed(codec.name, SAID[codec.name], OVERLOADED))]
    with pytest.raises(VendorUnavailable, match="Overloaded"):
        decoder.check()


@FORMATS
def test_an_error_event_that_is_no_json_raises(codec):
    """A gateway's own words in place of the format's."""
    with pytest.raises(VendorUnavailable, match="upstream went away"):
        codec.decoder().feed(b"event: error\ndata: upstream went away\n\n")


@FORMATS
def test_bare_json_after_events_is_an_error_too(codec):
    """Google appends it so, over several lines and with no event around it."""
    error = json.dumps(OVERLOADED, indent=2).encode()
    for end in (b"", b"\n", b"\n\n"):
        answer, raised = decode_stream(codec, [sse(SAID[codec.name]) + error + end])

        assert ("said", VendorUnavailable) == (answer.content, type(raised))


@FORMATS
def test_a_malformed_event_is_skipped_and_counted(codec):
    """One broken line does not cost the answer."""
    decoder = codec.decoder()
    chunks = decoder.feed(framed(codec.name, "{broken") + STREAMS[codec.name])

    assert (whole(codec), 1) == (fold([*chunks, *([] if decoder.done else decoder.finish())]), decoder.skipped)


@FORMATS
@each("end", [b"", b"data: [DONE]\n\n"])
def test_nothing_but_malformed_events_is_malformed(codec, end):
    """A stream of which nothing can be read is no empty answer."""
    _, error = decode_stream(codec, [b"data: {broken\n\ndata: nonsense\n\n" + end])

    assert MalformedReply is type(error)
    assert "event 1" in str(error)


@FORMATS
def test_a_whole_answer_in_place_of_a_stream_is_read(codec):
    """Some servers ignore that a stream was asked for."""
    body = b"\n " + json.dumps(WHOLE[codec.name], indent=1).encode()

    assert (whole(codec), None) == decode_stream(codec, sliced(body, 7))


@FORMATS
def test_an_error_in_place_of_a_stream_is_raised(codec):
    """Also as a list of one, as Google has it."""
    for body in (OVERLOADED, [OVERLOADED]):
        assert VendorUnavailable is type(decode_stream(codec, [json.dumps(body).encode()])[1])


@FORMATS
def test_an_error_in_place_of_an_answer_is_raised(codec):
    """A 200 proves nothing."""
    with pytest.raises(VendorUnavailable, match="Overloaded"):
        codec.decode(json.dumps(OVERLOADED).encode())


@FORMATS
@each("body", [b"", b"{}", b"[]", b"null", b"<html>hello</html>", b"Bad Gateway", b'{"choices": ['])
def test_what_is_no_answer_is_malformed(codec, body):
    """Whole or as a stream."""
    with pytest.raises(MalformedReply):
        codec.decode(body)
    assert isinstance(decode_stream(codec, [body])[1], MalformedReply | StreamInterrupted)


@FORMATS
def test_a_broken_answer_is_not_quoted(codec):
    """What the model said has no place in an error or a log."""
    body = json.dumps(WHOLE[codec.name]).encode()[:-40]
    with pytest.raises(MalformedReply) as caught:
        codec.decode(body)

    assert "weather" not in str(caught.value)


@FORMATS
def test_blanks_around_an_answer_are_fine(codec):
    """Servers send line ends to keep a connection open."""
    body = b"\n\n   " + json.dumps(WHOLE[codec.name]).encode() + b"\r\n"

    assert whole(codec) == codec.decode(body)


@FORMATS
def test_half_a_character_becomes_the_replacement(codec):
    """JSON can name it; nothing else can carry it."""
    text = json.dumps(WHOLE[codec.name]).replace("let me look", r"\ud83d").encode()

    assert "Grüezi, \ufffd." == codec.decode(text).content


@FORMATS
def test_escapes_within_a_text_stay_what_they_are(codec):
    """Arguments and code may hold escaped escapes: they are text, not characters."""
    document = json.dumps(WHOLE[codec.name]).replace("let me look", r"\\ud83d\\ude00 \ud83d\ude00").encode()

    assert r"Grüezi, \ud83d\ude00 😀." == codec.decode(document).content


def seconds(codec, pieces):
    """CPU time that reading takes, the best of three; for four times as much a quadratic reader needs sixteen times as long."""
    taken = []
    for _ in range(3):
        decoder = codec.decoder()
        decoder.bounds = Bounds(size=sum(map(len, pieces)))
        start = time.process_time()
        for piece in pieces:
            decoder.feed(piece)
        taken.append(time.process_time() - start)
    return min(taken)


@FORMATS
def test_a_long_plain_body_in_small_reads_takes_linear_time(codec):
    """A server that answers in JSON where a stream was asked for costs no more for sending it in pieces."""
    few, many = ([b'{"x": "'] + [b"y" * 1460] * count for count in (2_000, 8_000))

    assert seconds(codec, many) < 10 * seconds(codec, few) + 0.02


@FORMATS
def test_blanks_before_anything_in_small_reads_take_linear_time(codec):
    """A server, or a bomb, that sends nothing but blanks is read once, not again with each piece."""
    few, many = ([b" " * 4096] * count for count in (500, 2_000))

    assert seconds(codec, many) < 10 * seconds(codec, few) + 0.02


@FORMATS
def test_nothing_is_sent_that_was_not_said(codec):
    """None is left out; the vendor's own defaults hold."""
    allowed = {"model", "messages", "input", "max_tokens", "system", "contents", "systemInstruction"}
    allowed |= {"stream"} if codec.name == "ollama_chat" else set()  # where its absence means yes

    assert set() == payload(codec).keys() - allowed


@FORMATS
def test_a_zero_is_sent(codec):
    """0.0 is a temperature like any other."""
    sent = payload(codec, temperature=0.0, top_p=0.0)
    settings = sent.get("generationConfig", sent.get("options", sent))

    assert (0.0, 0.0) == (settings["temperature"], settings.get("top_p", settings.get("topP")))


@FORMATS
def test_extra_params_are_merged_last_and_one_level_deep(codec):
    """They add to a group of settings."""
    sent = payload(codec, top_p=1.0, extra_params={"temp": 0.5, "deep": {"a": 1}, "generationConfig": {"topK": 4}})

    assert (0.5, {"a": 1}, 4) == (sent["temp"], sent["deep"], sent["generationConfig"]["topK"])
    assert codec.name != "gemini" or sent["generationConfig"]["topP"] == 1.0


@FORMATS
def test_sampling_is_left_out_where_the_model_refuses_it(codec):
    """The quirk comes from the catalog."""
    sent = payload(codec, temperature=0.5, top_p=0.5, max_tokens=7, quirks=frozenset({"no_sampling"}))

    assert "0.5" not in json.dumps(sent)
    assert "7" in json.dumps(sent)


@FORMATS
@each("bad", [float("nan"), object(), {1, 2}, b"bytes"])
def test_what_is_no_json_is_refused(codec, bad):
    """Before it is sent, and as a fault of the request."""
    with pytest.raises(InvalidRequest, match="JSON"):
        payload(codec, extra_params={"x": bad})


@FORMATS
def test_half_a_character_in_a_prompt_is_sent_as_a_question_mark(codec):
    """Broken input from elsewhere does not crash a call."""
    assert "a?b" in json.dumps(payload(codec, messages=[Message.user("a\ud800b")]))


@FORMATS
def test_the_request_is_not_changed(codec):
    """The same object is encoded again for the next target."""
    request = Request(
        "m",
        [Message.system("s"), Message.user("u")],
        temperature=1.0,
        stop=["x"],
        extra_params={"stream_options": {"a": 1}, "z": {}},
        drop_params=True,
    )
    before = attrs.evolve(request)
    kept = json.dumps(dict(request.extra_params))
    for stream in (True, False):
        codec.encode(request, stream=stream)

    assert (before, kept) == (request, json.dumps(dict(request.extra_params)))


@FORMATS
def test_what_the_format_does_not_carry_yet_is_named(codec):
    """A refusal says which part of the request it is about."""
    request = Request("m", [Message.user("listen", AudioPart(data=b"x", format="wav"))])
    try:
        sent = codec.encode(request, stream=False)
    except InvalidRequest as error:
        assert "AudioPart" in str(error)  # noqa: PT017  # some formats carry it
    else:
        assert b"input_audio" in sent or b"audio/wav" in sent


@FORMATS
def test_it_is_a_codec(codec):
    """The table holds what the protocol promises."""
    typed: Codec = codec

    assert typed is CODECS[typed.name]
    assert typed.path("m", True).startswith("/")


@FORMATS
def test_a_call_is_the_same_call_however_the_arguments_were_spelt(codec):
    """Calls keep what a next turn needs."""
    call = attrs.evolve(whole(codec).tool_calls[0], extra={})

    assert ToolCall(id="call_1", name="weather", arguments=ARGUMENTS, signature="c2ln" if codec.name == "gemini" else None) == call


REFUSALS = [
    *(InvalidRequest("no", status=400), InvalidRequest("too large", status=413)),
    *(AuthenticationError("no"), AuthenticationError("no", status=401), AuthenticationError("no", status=403)),
    AuthenticationError("no", status=403, code="PERMISSION_DENIED"),
    AuthenticationError("API key not valid. Please pass a valid API key.", status=400),
    *(QuotaExceeded("spent"), QuotaExceeded("no", status=402), QuotaExceeded("no", status=429)),
    QuotaExceeded("no", status=429, code="RESOURCE_EXHAUSTED"),
    *(ModelNotFound("model"), ModelNotFound("models/x is not found", status=404), ModelNotFound("no", status=400)),
    ModelNotFound("no", status=404, code="model_not_found"),
    *(RateLimitError("no"), RateLimitError("no", status=429), RateLimitError("no", status=503)),
    RateLimitError("no", status=429, code="rate_limit_error"),
    *(ContextWindowExceeded("no"), ContextWindowExceeded("no", status=400)),
    ContextWindowExceeded("no", status=400, code="invalid_request_error"),
    *(ContentFiltered("no"), ContentFiltered("no", status=400)),
    *(VendorUnavailable("no", status=500), VendorUnavailable("no", status=503), VendorUnavailable("no", status=529)),
    VendorUnavailable("no", status=529, code="overloaded_error"),
]


@each("error", REFUSALS)
@FORMATS
def test_a_refusal_is_read_as_it_was_meant(codec, error):
    """Class, status and message; as an answer of its own and, behind what was said, in a stream."""
    status, body = codec.write_error(error)
    seen = fault(status, {}, body)
    writer = codec.writer()
    answer, late = decode_stream(codec, [writer.write(StreamChunk(model="m", content="a")), writer.fail(error)])

    assert (type(error), error.status or status, error.message) == (type(seen), seen.status, seen.message)
    assert ("a", type(error), error.message) == (answer.content, type(late), late.message)
    assert codec.name == "anthropic_messages" or seen.status == late.status  # Anthropic's events tell no status


OWN_STATUSES = {("anthropic_messages", Overloaded): 529, ("gemini", BudgetExceeded): 429}
"""What one format has another status for."""


@each(
    "error, status, words",
    [
        (InvalidRequest("no"), 400, {"anthropic_messages": "invalid_request_error", "gemini": "INVALID_ARGUMENT"}),
        (InvalidRequest("no", status=422), 422, {"gemini": "INVALID_ARGUMENT"}),
        (BudgetExceeded("no"), 402, {}),
        (RateLimitError("slow down"), 429, {"gemini": "RESOURCE_EXHAUSTED"}),
        (Cancelled("gone"), 499, {"gemini": "CANCELLED"}),
        (ConfigError("no"), 500, {}),
        (MalformedReply("no", status=200), 502, {"anthropic_messages": "api_error"}),
        (DispatchError("no"), 503, {"anthropic_messages": "overloaded_error"}),
        (StreamInterrupted("no"), 503, {}),
        (VendorUnavailable("away"), 503, {"gemini": "UNAVAILABLE"}),
        (DeadlineExceeded("no"), 504, {"anthropic_messages": "timeout_error"}),
        (Overloaded("full"), 503, {"anthropic_messages": "overloaded_error", "gemini": "UNAVAILABLE"}),
    ],
)
@FORMATS
def test_a_failure_without_a_status_gets_that_of_its_class(codec, error, status, words):
    """And a word of the format."""
    seen, body = codec.write_error(error)
    told = json.loads(body)["error"]
    word = {"anthropic_messages": "type", "gemini": "status"}.get(codec.name)

    assert OWN_STATUSES.get((codec.name, type(error)), status) == seen
    assert word is None or codec.name not in words or words[codec.name] == told[word]
    assert codec.name != "gemini" or seen == told["code"]


@each("body", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 9_999, b"[" * 200_000, b'{"a":' * 900 + b"1" + b"}" * 900])
@FORMATS
def test_a_body_that_is_no_request_is_refused(codec, body):
    """Whatever the bytes; as a fault of the request, which names the body or what it lacks."""
    with pytest.raises(InvalidRequest, match=r"body|contents|messages|input"):
        codec.read_request(body, codec.path("m", False))


def test_what_holds_a_vendors_words_has_no_repr():
    """A crash reporter writes down what the frames of an error hold, and a vendor may have echoed the key."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(wire.__path__, f"{wire.__name__}.")]
    classes = {kind for module in modules for kind in vars(module).values() if inspect.isclass(kind)}
    own = [kind for kind in classes if kind.__module__.startswith(wire.__name__) and kind.__repr__ is not object.__repr__]
    without_words = {
        "Bounds",
        "Codec",
        "Completions",
        "Counting",
        "Dialect",
        "Inbound",
        "InboundEmbedding",
        "InboundRequest",
        "Listing",
        "ToolNames",
        "_Row",
    }

    assert without_words == {kind.__name__ for kind in own if not issubclass(kind, dict | Exception)}
