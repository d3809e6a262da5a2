"""What our server codecs write is valid by the schemas that the vendors publish: answers, events of streams, errors."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache, partial

import pytest

from llmdispatcher import DispatchError, ImagePart, InvalidRequest, ReasoningPart, Response, TextPart, ToolCall, Usage, errors
from llmdispatcher.types import Citation, OtherPart, StreamChunk, ToolCallDelta, unfold
from llmdispatcher.wire import CODECS
from llmdispatcher.wire.anthropic.fields import anthropic_usage
from llmdispatcher.wire.base import Codec
from llmdispatcher.wire.encoding import telling_dropped
from llmdispatcher.wire.gemini.fields import gemini_usage
from llmdispatcher.wire.openai_chat.fields import openai_chat_usage
from llmdispatcher.wire.openai_responses.response import openai_responses_usage
from llmdispatcher.wire.sse import SseParser
from tests.wire.corpus import body_of, codec_of, decode_stream, exchanges, listed, needs_corpus, streamed
from tests.wire.published import EVENT, REFUSAL, WHOLE, violations
from tests.wire.spoilt import WRITTEN_BY_HAND, answer_with, selection

from ..cases import each

CALL = ToolCall(name="get_weather", id="call_1", arguments='{"city": "Oslo"}')
USAGE = Usage(
    input_tokens=20,
    output_tokens=9,
    cache_read_tokens=4,
    cache_write_tokens=6,
    cache_write_long_tokens=2,
    reasoning_tokens=3,
    cost=Decimal("0.01"),
)
LOGPROB = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
GOOGLES = {
    "token": "Hi",
    "logProbability": -0.1,
    "tokenId": 7,
    "topCandidates": [{"token": "Hi", "logProbability": -0.1, "tokenId": 7}],
}
_COUNTED = {"input_tokens": 3, "output_tokens": 4}
_TOLD = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
_FOUND = {"type": "web_search_result", "url": "https://a.example/", "title": "A", "encrypted_content": "e"}
_PAGE = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "A"}}
_FETCHED = {"type": "web_fetch_result", "url": "https://a.example/", "content": _PAGE}


def _chat_usage(raw):
    return openai_chat_usage({"usage": raw})


ANSWERS = {
    "text": Response(content="Hello.", model="m", finish_reason="stop", response_id="r-1", usage=USAGE),
    "nothing": Response(model="m", finish_reason="stop"),
    "no name": Response(content="Hello.", model="m"),
    "call": Response(model="m", tool_calls=(CALL,), finish_reason="tool_calls", usage=USAGE),
    "two calls and text": Response(content="See.", model="m", tool_calls=(CALL, ToolCall(name="now")), finish_reason="tool_calls"),
    "thought": Response(content="42", reasoning="Six by seven.", model="m", finish_reason="stop", usage=USAGE),
    "proven thought": Response(
        content="42",
        model="m",
        reasoning="Six.",
        parts=(ReasoningPart(text="Six.", signature="s", origin="anthropic_messages"), TextPart(text="42")),
        finish_reason="stop",
    ),
    "refusal": Response(refusal="I cannot.", model="m", finish_reason="content_filter"),
    "length": Response(content="Once", model="m", finish_reason="length", usage=USAGE),
    "sources": Response(
        content="It rains.",
        model="m",
        citations=(Citation(url="https://a.example/", title="A", start=0, end=2),),
        finish_reason="stop",
    ),
    "logprobs": Response(content="Hi", model="m", logprobs=(LOGPROB,), finish_reason="stop"),
    "logprobs without bytes": Response(
        content="Hi", model="m", logprobs=({**LOGPROB, "bytes": None, "top_logprobs": [{**LOGPROB, "bytes": None}]},)
    ),
    "Google's logprobs": Response(content="Hi", model="m", logprobs=(GOOGLES,), finish_reason="stop"),
    "bare logprobs": Response(
        content="Hi", model="m", logprobs=({"token": "Hi", "logprob": -0.1}, None, "x"), finish_reason="stop"
    ),
    "logprobs that JSON lacks": Response(
        content="Hi",
        model="m",
        logprobs=({**LOGPROB, "logprob": float("-inf"), "top_logprobs": [{"token": "a", "logprob": float("nan"), "bytes": None}]},),
        finish_reason="stop",
    ),
    "counts as text": Response(
        content="Hi",
        model="m",
        usage=Usage(input_tokens=5, output_tokens=7, raw={"prompt_tokens": "5", "completion_tokens": "7", "total_tokens": "12"}),
        finish_reason="stop",
    ),
    "counts that cannot be": Response(
        content="Hi",
        model="m",
        usage=Usage(output_tokens=7, raw={"prompt_tokens": -5, "completion_tokens": 7.0}),
        finish_reason="stop",
    ),
    "Google's counts as text": Response(
        content="Hi",
        model="m",
        usage=Usage(input_tokens=5, output_tokens=7, raw={"promptTokenCount": "5", "candidatesTokenCount": 7.0}),
        finish_reason="stop",
    ),
    "foreign part": Response(
        content="Hi", model="m", parts=(TextPart(text="Hi"), OtherPart(origin="ollama_chat", data={"x": 1})), finish_reason="stop"
    ),
    **{
        f"a {kind} usage of {name}'s": Response(content="Hi", model="m", usage=read(dict(raw)), finish_reason="stop")
        for name, read, kind, raw in (
            ("Anthropic", anthropic_usage, "minimal", {"input_tokens": 3, "output_tokens": 4}),
            ("Anthropic", anthropic_usage, "null", {"input_tokens": None, "output_tokens": 4, "server_tool_use": None}),
            ("Anthropic", anthropic_usage, "odd", {**_COUNTED, "service_tier": "x", "inference_geo": 5}),
            ("Anthropic", anthropic_usage, "half", {**_COUNTED, "cache_creation": {}, "server_tool_use": {}}),
            ("OpenAI", _chat_usage, "minimal", {"prompt_tokens": 3, "completion_tokens": 4}),
            ("OpenAI", _chat_usage, "null", {**_TOLD, "prompt_tokens_details": None, "completion_tokens_details": None}),
            ("OpenAI", _chat_usage, "half null", {**_TOLD, "completion_tokens_details": {"audio_tokens": None}}),
            ("OpenAI", _chat_usage, "worded", {**_TOLD, "prompt_tokens_details": {"cached_tokens": "0"}}),
            ("OpenAI", _chat_usage, "listed", {**_TOLD, "prompt_tokens_details": []}),
            ("Google", gemini_usage, "minimal", {"promptTokenCount": 3}),
            ("Google", gemini_usage, "null", {"promptTokenCount": 3, "promptTokensDetails": None, "candidatesTokenCount": None}),
            ("Google", gemini_usage, "half", {"promptTokenCount": 3, "promptTokensDetails": [{"modality": "TEXT"}]}),
            ("OpenAI Responses", openai_responses_usage, "minimal", {"input_tokens": 3, "output_tokens": 4}),
            ("OpenAI Responses", openai_responses_usage, "null", {**_COUNTED, "input_tokens_details": None}),
        )
    },
    **{
        f"source {number}": Response(content="It rains.", model="m", citations=(citation,), finish_reason="stop")
        for number, citation in enumerate(
            (
                Citation(url="https://a.example/"),
                Citation(url="https://a.example/", start=-3, end=99),
                Citation(url="https://a.example/", title="x" * 900),
                Citation(title="A book", text="It rained."),
                Citation(raw={"type": "url_citation", "url_citation": {"url": "https://a.example/"}}),
                Citation(raw={"type": "url_citation", "url_citation": {"title": None, "start_index": None, "end_index": "2"}}),
                Citation(url="https://a.example/", raw={"url": "https://a.example/", "title": None}),
                Citation(url="https://a.example/", raw={"type": "web_search_result_location", "url": "https://a.example/"}),
                Citation(url="https://a.example/", raw={"web": {"uri": "https://a.example/"}}),
            )
        )
    },
    **{
        f"{block['type']} of {name}": Response(content="Hi", model="m", parts=(TextPart(text="Hi", extra={name: {of: [block]}}),))
        for name, of, block in (
            ("anthropic_messages", "citations", {"type": "char_location", "cited_text": "It", "document_index": 0}),
            ("anthropic_messages", "citations", {"type": "page_location", "document_index": 0, "start_page_number": 2}),
            ("anthropic_messages", "citations", {"type": "content_block_location", "end_block_index": None}),
            ("anthropic_messages", "citations", {"type": "search_result_location", "source": "s", "title": 5}),
            ("anthropic_messages", "citations", {"type": "web_search_result_location", "url": "https://a.example/"}),
            ("openai_responses", "annotations", {"type": "url_citation", "url": "https://a.example/"}),
            ("openai_responses", "annotations", {"type": "file_citation", "file_id": "f"}),
            ("openai_responses", "annotations", {"type": "container_file_citation", "file_id": "f", "start_index": None}),
            ("openai_responses", "annotations", {"type": "file_path"}),
        )
    },
    **{
        f"{number}: {data['type']} of {name}": Response(content="", model="m", parts=(OtherPart(origin=name, data=data),))
        for number, (name, data) in enumerate(
            (
                ("anthropic_messages", {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}),
                ("anthropic_messages", {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [_FOUND]}),
                ("anthropic_messages", {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": _FETCHED}),
                ("openai_responses", {"type": "web_search_call"}),
                ("openai_responses", {"type": "file_search_call", "queries": None}),
                ("openai_responses", {"type": "code_interpreter_call", "code": "1"}),
                ("openai_responses", {"type": "image_generation_call"}),
                ("openai_responses", {"type": "web_search_call", "id": 5, "status": "x"}),
                ("openai_responses", {"type": "image_generation_call", "id": None, "status": []}),
            )
        )
    },
    "thoughts among the content": Response(
        content="42",
        model="m",
        reasoning="Six.",
        parts=(
            ReasoningPart(text="Six.", origin="openai_chat", extra={"openai_chat": {"type": "thinking", "thinking": "Six."}}),
            TextPart(text="42"),
        ),
    ),
    "odd items": Response(
        content="Hi",
        model="m",
        reasoning="Six.",
        parts=(
            ReasoningPart(
                text="Six.",
                origin="openai_responses",
                extra={"openai_responses": {"summary": [0, {"text": "Six."}], "status": "x", "content": None}},
            ),
            TextPart(text="Hi", extra={"openai_responses": {"item": {"id": 7, "status": -1, "phase": "x"}}}),
            ToolCall(name="f", extra={"openai_responses": {"id": [], "status": None}}),
        ),
        tool_calls=(ToolCall(name="f", extra={"openai_responses": {"id": [], "status": None}}),),
    ),
    "Google's odd details": Response(
        content="Hi",
        model="m",
        usage=gemini_usage(
            {
                "promptTokenCount": 3,
                "promptTokensDetails": [{"modality": None, "tokenCount": 3}, {"tokenCount": "3"}, 5],
                "serviceTier": "x",
                "trafficType": 5,
            }
        ),
    ),
    "a call without a name": Response(model="m", tool_calls=(ToolCall(name="", arguments='{"a": 1}'),)),
    "a prompt that was refused": Response(model="m", finish_reason="content_filter", finish_reason_raw="ERROR_TOXIC"),
    "odd logprobs": Response(
        content="Hi",
        model="m",
        logprobs=(
            {"token": None, "logprob": None, "bytes": ["x"], "top_logprobs": None},
            {"token": "a", "logprob": -1, "bytes": None, "top_logprobs": [None, {"token": "b"}]},
        ),
    ),
    "tier of another": Response(content="Hi", model="m", service_tier="on_demand", finish_reason="stop", usage=USAGE),
    "standard tier": Response(content="Hi", model="m", service_tier="standard", finish_reason="stop", usage=USAGE),
    "dated": Response(content="Hi", model="m", created_at=datetime(2026, 11, 30, tzinfo=UTC), finish_reason="stop"),
}
OPENAIS = [answer for kind, answer in ANSWERS.items() if kind.endswith("of openai_responses") and kind[:3] != "url"]
ERRORS = [
    kind("It failed.")
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, DispatchError) and kind.__module__ == errors.__name__
]


def _events(codec: Codec, response: Response) -> list[object]:
    writer = codec.writer()
    body = b"".join([*[writer.write(chunk) for chunk in unfold(response)], writer.end()])
    return [json.loads(event.data) for event in SseParser(1 << 30).feed(body) if event.data != "[DONE]"]


@each("answer", ANSWERS.values())
@each("name", list(WHOLE))
def test_an_answer_is_valid(name, answer):
    """In one piece; Open Responses has none of OpenAI's own items and file citations."""
    if name == "open_responses" and answer in OPENAIS:
        return
    codec = CODECS["openai_responses" if name == "open_responses" else name]

    assert set() == violations(WHOLE[name], json.loads(codec.write_response(answer)))


@each("answer", ANSWERS.values())
@each("name", list(EVENT))
def test_a_stream_is_valid(name, answer):
    """Event by event."""
    found = [violations(EVENT[name], event) for event in _events(CODECS[name], answer)]

    assert set() == set().union(*found)


@each("error", ERRORS)
@each("name", list(REFUSAL))
def test_a_refusal_is_valid(name, error):
    """Every class of ours."""
    assert set() == violations(REFUSAL[name], json.loads(CODECS[name].write_error(error)[1]))


@each("error", ERRORS)
def test_an_error_event_is_valid(error):
    """In the middle of a stream of the Responses API; of codes the schema lists fewer than OpenAI sends."""
    events = SseParser(1 << 30).feed(CODECS["openai_responses"].writer().fail(error))
    *_, said, failed = [json.loads(event.data) for event in events]
    failed["response"]["error"]["code"] = "server_error"

    assert ("error", "response.failed") == (said["type"], failed["type"])
    assert set() == violations(EVENT["openai_responses"], said) | violations(EVENT["openai_responses"], failed)


def _to(**asked):
    """The answer to a request of the Responses API."""
    codec = CODECS["openai_responses"]
    inbound = codec.read_request(json.dumps({"model": "m", "input": "Hi", **asked}).encode())
    return json.loads(codec.write_response(ANSWERS["text"], inbound))


@each("value", [[5], 5, -1, 2.5, 1e9, "extreme", "x" * 99, True, {"a": 1}, {"type": "hologram"}])
@each(
    "name",
    [
        *("background", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "tool_choice"),
        *("previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "store", "temperature", "text"),
        *("tools", "top_logprobs", "top_p", "truncation"),
    ],
)
def test_a_setting_that_cannot_be_is_not_repeated(name, value):
    """An answer of the Responses API has the settings of its request, but none of another kind or out of OpenAI's bounds."""
    try:
        answer = _to(**{name: value})
    except InvalidRequest:
        return

    assert set() == violations(WHOLE["openai_responses"], answer) | violations(WHOLE["open_responses"], answer)


@each(
    "asked",
    [
        {"reasoning": {"effort": "max"}},
        {"reasoning": {"effort": "extreme", "summary": "none", "generate_summary": "x"}},
        {"text": {"format": {"type": "grammar"}, "verbosity": "loud"}},
        {"text": {"format": {"type": "json_schema"}}},
        {"metadata": {"a": 1, "b": "two", "c": None}},
        {"tools": [{"type": "hologram"}, {"type": "function", "name": "f"}]},
        {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "allowed_tools"}},
        {"tools": [{"type": "function", "name": "f"}], "tool_choice": {"type": "custom"}},
    ],
)
def test_a_part_of_a_setting_that_cannot_be_is_not_repeated(asked):
    """The rest of it is."""
    answer = _to(**asked)

    assert set() == violations(WHOLE["openai_responses"], answer) | violations(WHOLE["open_responses"], answer)


def test_settings_that_can_be_are_repeated():
    """As they were asked for."""
    asked = {
        "temperature": 0.5,
        "top_p": 0.9,
        "truncation": "auto",
        "reasoning": {"effort": "high", "summary": "auto"},
        "metadata": {"a": "b"},
        "tools": [{"type": "function", "name": "f", "description": None, "parameters": {}, "strict": True}],
        "tool_choice": {"type": "function", "name": "f"},
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}, "verbosity": "low"},
    }
    answer = _to(**asked)

    assert asked == {name: answer[name] for name in asked}


def test_an_invalid_answer_is_seen():
    """The check can fail."""
    document = json.loads(CODECS["anthropic_messages"].write_response(ANSWERS["text"]))
    del document["usage"]["server_tool_use"]

    assert violations(WHOLE["anthropic_messages"], document)


_NEWER = {"anthropic_messages": ("toolu_REDACTED",), "gemini": ("MODEL_ARMOR",), "openai_chat": (), "openai_responses": ()}
"""What of the vendors' own recorded answers their schemas do not know; it is passed on to their own clients."""


@cache
def _recorded_answers():
    """Every recorded answer that is one: id, codec, answer."""
    found = []
    for exchange in listed(exchanges()):
        if exchange["response"]["status"] == 200:
            codec, body = codec_of(exchange), body_of(exchange)
            response, error = decode_stream(codec, [body]) if streamed(exchange) else _whole(codec, body)
            found += [(exchange["id"], codec, response)] if error is None else []
    return found


def _whole(codec, body):
    try:
        return codec.decode(body), None
    except DispatchError as error:
        return None, error


@needs_corpus
@each("name", list(WHOLE))
def test_recorded_answers_are_valid_in_every_format(name):
    """Also in their own, whatever their vendor left out; ``_NEWER`` lists what its schema lacks."""
    codec = CODECS["openai_responses" if name == "open_responses" else name]
    found: dict[str, str] = {}
    for identity, origin, response in _recorded_answers():
        if name == "open_responses" and (origin is codec or any(call.kind == "custom" for call in response.tool_calls)):
            continue  # it has functions alone
        said = violations(WHOLE[name], json.loads(codec.write_response(response)))
        for event in _events(codec, response) if name in EVENT else ():
            said |= violations(EVENT[name], event)
        known = _NEWER[name] if origin is codec else ()
        found |= dict.fromkeys([one for one in said if not any(word in one for word in known)], identity)

    assert {} == found


def _said_of(name, response):
    """What is invalid of an answer in all formats; Open Responses has functions and texts alone, no items of OpenAI's own."""
    said = set()
    parts = (*response.parts, *response.tool_calls)
    own = any(isinstance(part, ImagePart) or getattr(part, "kind", "") == "custom" for part in parts)
    for place in WHOLE:
        codec = CODECS["openai_responses" if place == "open_responses" else place]
        if place != "open_responses" or not (own or name == "openai_responses"):
            said |= {(place, one) for one in violations(WHOLE[place], json.loads(codec.write_response(response)))}
        if place in EVENT:
            said |= {(place, one) for event in _events(codec, response) for one in violations(EVENT[place], event)}
    return said


@pytest.mark.parametrize("name", WRITTEN_BY_HAND)
def test_a_spoilt_item_is_written_as_what_is_valid_or_left_out(name):
    """Whatever a vendor left out of a part of an answer, or wrote there, at any depth: in every format, whole and streamed."""
    found = {}
    for body in selection(name, 150):
        try:
            response = CODECS[name].decode(body)
        except DispatchError:
            continue
        if said := _said_of(name, response):
            found[body] = said

    assert {} == found


def _written(name, item):
    """What becomes of an item in its own format, and what is told to be left out."""
    response = CODECS[name].decode(answer_with(name, item))
    body, dropped = telling_dropped(partial(CODECS[name].write_response, response))
    document = json.loads(body)
    streamed, again = telling_dropped(partial(_events, CODECS[name], response))
    assert (dropped, bool(streamed)) == (again, True)
    return document.get("content", document.get("output")), dropped


_PAGE_CITED = {"type": "page_location", "cited_text": "It", "document_index": 0, "end_page_number": 3}
_RAN = {"type": "bash_code_execution_result", "stdout": "1", "stderr": "", "return_code": 0, "content": []}


@pytest.mark.parametrize(
    ("item", "dropped"),
    [
        ({"type": "hologram", "depth": 3}, "hologram"),
        ({"type": "tool_use", "id": "toolu_1", "name": "", "input": {"a": 1}}, "tool_use"),
        ({"type": "server_tool_use", "id": "srvtoolu_1", "name": "oracle", "input": {}}, "server_tool_use"),
        ({"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "caller": {"type": "x"}}, "server_tool_use"),
        ({"type": "bash_code_execution_tool_result", "content": _RAN}, "bash_code_execution_tool_result"),
        ({"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": 5}, "web_search_tool_result"),
    ],
    ids=repr,
)
def test_a_block_of_which_too_little_is_known_is_left_out_and_told(item, dropped):
    """Nothing is made up for it."""
    assert _written("anthropic_messages", item) == ([], (f"answer: {dropped!r}",))


def test_a_block_of_an_unknown_type_is_its_text():
    """If it has one."""
    text = {"type": "text", "text": "It rains.", "citations": []}

    assert _written("anthropic_messages", {**text, "type": "hologram"}) == ([text], ())


@pytest.mark.parametrize(
    ("citation", "dropped"), [(_PAGE_CITED, "page_location"), ({"type": "moon_location", "cited_text": "It"}, "moon_location")]
)
def test_a_citation_without_its_place_is_left_out_and_told(citation, dropped):
    """No page is made up for it, and the text stays."""
    [block], told = _written("anthropic_messages", {"type": "text", "text": "It rains.", "citations": [citation]})

    assert (block, told) == ({"type": "text", "text": "It rains.", "citations": []}, (f"answer: {dropped!r}",))


@each(
    "name, place, told",
    [
        ("container_file_citation", {}, None),
        ("container_file_citation", {"start_index": 3}, None),
        ("container_file_citation", {"start_index": 3, "end_index": -1}, None),
        ("container_file_citation", {"start_index": 3, "end_index": 5}, (3, 5)),
        ("url_citation", {}, (0, 0)),
        ("url_citation", {"start_index": 3, "end_index": None}, (0, 0)),
        ("url_citation", {"end_index": 7}, (0, 0)),
        ("url_citation", {"start_index": 3, "end_index": 5}, (3, 5)),
    ],
)
def test_half_a_place_in_a_text_is_none(name, place, told):
    """A page without one supports no text; a file that nobody can find again is left out and told."""
    source = {"type": name, "url": "u", "title": "t", "file_id": "f", "container_id": "c", "filename": "n", **place}
    text = {"type": "output_text", "text": "It rains.", "annotations": [source]}
    [item], dropped = _written("openai_responses", {"type": "message", "role": "assistant", "content": [text]})
    annotations = item["content"][0]["annotations"]

    assert [told] if told else [] == [(one["start_index"], one["end_index"]) for one in annotations]
    assert (() if told else (f"answer: {name!r}",)) == dropped


@each("start, end, told", [(None, None, (0, 0)), (3, None, (0, 0)), (None, 5, (0, 0)), (5, 3, (0, 0)), (3, 5, (3, 5))])
@each("name", ["openai_chat", "openai_responses"])
def test_a_source_of_another_format_has_a_place_or_none(start, end, told, name):
    """Half a place would say of another piece of the text that it rests on the source."""
    answer = Response(content="It rains.", model="m", citations=(Citation(url="u", start=start, end=end),))
    written = json.loads(CODECS[name].write_response(answer))
    chat = written.get("choices")
    [source] = chat[0]["message"]["annotations"] if chat else written["output"][0]["content"][0]["annotations"]
    source = source["url_citation"] if chat else source

    assert told == (source["start_index"], source["end_index"])


@each(
    "name, citation, parts, dropped",
    [
        ("ollama_chat", Citation(url="u"), (), True),
        ("anthropic_messages", Citation(url="u"), (), False),
        ("anthropic_messages", Citation(title="A book"), (), True),
        ("anthropic_messages", Citation(url="u"), (ToolCall(name="f", id="c"),), True),
        ("openai_chat", Citation(title="A book"), (), True),
        ("openai_responses", Citation(title="A book"), (), True),
    ],
)
def test_a_source_without_a_place_in_a_format_is_told(name, citation, parts, dropped):
    """Also where the text that it is for has ended before it comes."""
    chunks = [StreamChunk(content="It rains.", model="m"), StreamChunk(citations=(citation,)), StreamChunk(finish_reason="stop")]
    writer = CODECS[name].writer()
    calls = [StreamChunk(tool_calls=(ToolCallDelta(index=0, id=call.id, name=call.name, arguments="{}"),)) for call in parts]
    _, told = telling_dropped(lambda: [*map(writer.write, [chunks[0], *calls, *chunks[1:]]), writer.end()])

    assert (("answer: 'citation'",) if dropped else ()) == told
    if not parts:
        answer = Response(content="It rains.", model="m", citations=(citation,))
        assert told == telling_dropped(lambda: CODECS[name].write_response(answer))[1]


def test_a_long_title_is_cut():
    """Anthropic's schema bounds it."""
    citation = {"type": "web_search_result_location", "url": "u", "title": "x" * 600, "cited_text": "", "encrypted_index": "e"}
    [block], told = _written("anthropic_messages", {"type": "text", "text": "It rains.", "citations": [citation]})

    assert (block["citations"], told) == ([{**citation, "title": "x" * 512}], ())


@pytest.mark.parametrize(
    "item",
    [
        *[{"type": kind, "id": "h"} for kind in ("hologram", "record", "own")],
        {"type": "web_search_call", "id": "w", "status": "completed"},
        {"type": "web_search_call", "id": "w", "status": "completed", "action": {"type": "teleport"}},
        {"type": "code_interpreter_call", "id": "c", "status": "completed", "code": "1"},
        {"type": "local_shell_call", "id": "l", "call_id": "c", "action": {"type": "exec", "command": ["rm", None, "x"]}},
        {"type": "mcp_approval_request", "id": "m", "server_label": "s", "arguments": "{}"},
    ],
    ids=repr,
)
def test_an_item_of_which_too_little_is_known_is_left_out_and_told(item):
    """No search, container, command or name is made up for it."""
    assert _written("openai_responses", item) == ([], (f"answer: {item['type']!r}",))


@pytest.mark.parametrize("type_", ["hologram", "message"])
def test_an_unknown_part_of_a_message_is_its_text(type_):
    """And so is an item of an unknown type that says what a message says."""
    item = {"type": type_, "role": "assistant", "content": [{"type": "voice", "text": "It rains."}, {"type": "smell"}]}
    items, dropped = _written("openai_responses", item)

    assert (["It rains."], True) == (
        [part["text"] for item in items for part in item["content"]],
        "answer: 'smell'" in str(dropped),
    )


def test_an_entry_that_is_none_is_left_out_of_a_list():
    """And told; the item and its other entries stay."""
    logs = {"type": "logs", "logs": "1"}
    item = {"type": "code_interpreter_call", "id": "c", "container_id": "c", "code": "1", "outputs": [{"type": "smell"}, logs]}
    [written], dropped = _written("openai_responses", {**item, "status": "completed"})

    assert ([logs], ("answer: 'smell'",)) == (written["outputs"], dropped)


def test_a_source_without_an_address_is_left_out_and_told():
    """The text stays."""
    answer = Response(content="It rains.", model="m", citations=(Citation(title="A book", text="It rained."),))
    for name, told in (("openai_responses", "'citation'"), ("openai_chat", "'citation'")):
        body, dropped = telling_dropped(partial(CODECS[name].write_response, answer))
        assert (b"A book" in body, dropped) == (False, (f"answer: {told}",))
