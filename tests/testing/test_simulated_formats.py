"""Each format as its vendor speaks it: shapes of the recorded exchanges, limits, usage, tool calls, complaints."""

import itertools
import json

import pytest

from llmdispatcher import Request, ToolCall
from llmdispatcher.testing import ApiError, SimulatedRequest, SimulatedResponse, VendorSimulator
from llmdispatcher.testing.answers import count_tokens, plausible_text
from llmdispatcher.testing.formats import FORMATS as SPOKEN
from llmdispatcher.types import fold
from llmdispatcher.wire.codecs import CODECS

from .conftest import FORMATS, HEADERS, NINE_AND_MORE, PATHS, PROMPT, ask

CALL = ToolCall(name="get_weather", arguments='{"city": "Oslo", "days": 3}')
OWN = {"openai": "max_tokens", "azure": "max_tokens", "anthropic": "max_tokens"}
CODEC = {
    "openai": "openai_chat",
    "azure": "openai_chat",
    "anthropic": "anthropic_messages",
    "gemini": "gemini",
    "openai_responses": "openai_responses",
    "ollama": "ollama_chat",
}


def said(form, reply):
    """The text of a whole answer or of a stream."""
    decoder = CODECS[CODEC[form]].decoder()
    if not reply.headers["content-type"].startswith("application/json"):
        return fold(decoder.feed(reply.body) + decoder.finish())
    return CODECS[CODEC[form]].decode(reply.body)


def limited(form, tokens):
    """The change to a request that limits its output."""
    own = {
        "gemini": {"generationConfig": {"maxOutputTokens": tokens}},
        "openai_responses": {"max_output_tokens": tokens},
        "ollama": {"options": {"num_predict": tokens}},
    }
    return own.get(form, {"max_tokens": tokens})


@pytest.mark.parametrize(
    "answer",
    [
        SimulatedResponse(NINE_AND_MORE),
        SimulatedResponse("Grüße 😀 and\n\ntwo lines\u2028"),
        SimulatedResponse("I look it up.", tool_calls=CALL, reasoning="It is about weather."),
        SimulatedResponse(tool_calls=[CALL, ToolCall(name="now", id="mine-1")]),
        SimulatedResponse(""),
    ],
    ids=["text", "signs", "everything", "two calls", "nothing"],
)
def test_an_answer_arrives_as_it_was_given(answer):
    """Text, reasoning and tool calls come out of the library's own codec as they went in."""
    with VendorSimulator(responses=answer) as sim:
        for form, stream in itertools.product(FORMATS, (False, True)):
            assert_said(answer, said(form, ask(sim, form, stream=stream)))


def assert_said(answer, got):
    assert (answer.text, answer.reasoning) == (got.content, got.reasoning)
    assert [(call.name, call.parsed or {}) for call in answer.tool_calls] == [(c.name, c.parsed or {}) for c in got.tool_calls]
    assert "tool_calls" if answer.tool_calls else "stop" == got.finish_reason


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
def test_max_tokens_cuts_the_answer(form, stream):
    """Four characters to the token, finish reason length, usage to match."""
    with VendorSimulator(responses="x" * 100) as sim:
        options = {"stream_options": {"include_usage": True}} if form in ("openai", "azure") and stream else {}
        got = said(form, ask(sim, form, stream=stream, **limited(form, 5), **options))

    assert ("x" * 20, "length", 5) == (got.content, got.finish_reason, got.usage.output_tokens)
    assert count_tokens(PROMPT) + 3 == got.usage.input_tokens


@pytest.mark.parametrize(
    ("form", "changes", "raw"),
    [
        ("openai", {"stop": "four"}, "stop"),
        ("openai", {"stop": ["ten", "four"]}, "stop"),
        ("anthropic", {"stop_sequences": ["four"]}, "stop_sequence"),
        ("gemini", {"generationConfig": {"stopSequences": ["four"]}}, "STOP"),
    ],
)
def test_a_stop_sequence_ends_the_answer(form, changes, raw):
    """Before the sequence, in the vendor's word."""
    with VendorSimulator(responses=NINE_AND_MORE) as sim:
        got = said(form, ask(sim, form, **changes))

    assert ("one two three ", raw) == (got.content, got.finish_reason_raw)


def test_openai_streams_end_as_recorded():
    """Role first, usage in a chunk without choices if asked for, then [DONE]."""
    with VendorSimulator(responses="a b") as sim:
        events = ask(sim, stream=True, stream_options={"include_usage": True}).events
        bare = ask(sim, stream=True).events

    assert {"role": "assistant", "content": ""} == events[0]["choices"][0]["delta"]
    assert [[], "[DONE]"] == [events[-2]["choices"], events[-1]]
    assert (None, 9) == (events[1].get("usage"), events[-2]["usage"]["total_tokens"])
    assert "usage" not in bare[-2]


def test_azure_streams_begin_with_the_filters_verdict():
    """A chunk without choices comes first."""
    with VendorSimulator(responses="a") as sim:
        first = ask(sim, "azure", stream=True).events[0]

    assert ([], True) == (first["choices"], "prompt_filter_results" in first)


def test_anthropic_streams_have_named_events():
    """From message_start to message_stop, with a ping after the first block's start."""
    with VendorSimulator(responses="a b") as sim:
        body = ask(sim, "anthropic", stream=True).body.decode()
    names = [line[7:] for line in body.splitlines() if line.startswith("event: ")]
    delta = "content_block_delta"

    assert [
        "message_start",
        "content_block_start",
        "ping",
        delta,
        delta,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ] == names


def test_gemini_answers_with_an_array_without_alt_sse():
    """As the real one does for streamGenerateContent."""
    path = PATHS["gemini"].replace(":generate", ":streamGenerate")
    with VendorSimulator(responses="a b c") as sim:
        reply = ask(sim, "gemini", path=path)

    said = [item["candidates"][0]["content"].get("parts", [{"text": ""}])[0]["text"] for item in reply.json]

    assert ["a", " b", " c", ""] == said
    assert sim.requests[0].stream


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("stream", [False, True])
def test_nothing_is_said_that_no_recording_says(form, stream, corpus):
    """Every key of the simulated JSON stands at the same place in some recorded exchange with that vendor, or in its schema."""
    answer = SimulatedResponse(
        "some text", tool_calls=() if form == "azure" else CALL, reasoning="" if form in ("openai", "azure") else "hm"
    )
    with VendorSimulator(responses=answer) as sim:
        reply = ask(
            sim, form, stream=stream, **({"stream_options": {"include_usage": True}} if form == "openai" and stream else {})
        )
    documents = reply.events if stream else [reply.json]
    simulated = {path for document in documents if document != "[DONE]" for path in places(document)}

    assert set() == simulated - recorded(corpus, form, stream) - _PUBLISHED


_USAGE = ("cache_creation", "inference_geo", "output_tokens_details", "server_tool_use", "service_tier")
_PUBLISHED = {
    ".name",
    *(f"{at}.{field}" for at in ("", ".message", ".delta") for field in ("container", "stop_details")),
    *(f"{at}usage.{field}" for at in (".", ".message.") for field in _USAGE),
    *(f"{at}.{field}" for at in (".content", ".content_block") for field in ("caller", "caller.type", "citations")),
}
"""What newer versions of the vendors' schemas have, and no recording: see ``tests/wire/test_published_schemas.py``."""


def places(value, at=""):
    """Every place of a JSON document, list positions left out; a tool's own input is not the vendor's."""
    if isinstance(value, dict) and not at.endswith((".input", ".args", ".function.arguments")):
        for key, item in value.items():
            yield f"{at}.{key}"
            yield from places(item, f"{at}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from places(item, at)


_APIS = {
    "openai": ("openai-chat_completions-", "azure-chat_completions-"),
    "azure": ("openai-chat_completions-", "azure-chat_completions-"),
    "anthropic": ("anthropic-messages-",),
    "gemini": ("google-generate_content-", "google-stream_generate_content-"),
    "openai_responses": ("openai-responses-",),
    "ollama": ("ollama-",),
}


def recorded(corpus, form, stream):
    """All places of the vendor's recorded answers."""
    found = set()
    for prefix in _APIS[form]:
        for file in (corpus / "exchanges").glob(f"{prefix}*.json"):
            response = json.loads(file.read_text())["response"]
            for document in documents(response, stream):
                found.update(places(document))
    return found


def documents(response, stream):
    """The JSON documents of a recorded answer."""
    if "json" in response:
        return [] if stream else [response["json"]]
    lines = [line.removeprefix("data:").strip() for line in response["text"].splitlines()]
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}") and whole(line)]


def whole(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


COMPLAINTS = [
    ("openai", {"model": ...}, "model"),
    ("openai", {"messages": ...}, "messages"),
    ("openai", {"messages": []}, "messages"),
    ("openai", {"messages": ["hello"]}, "messages[0].role"),
    ("openai", {"messages": [{"role": "alien", "content": "x"}]}, "messages[0].role"),
    ("openai", {"temperature": 99}, "temperature"),
    ("openai", {"top_p": "high"}, "top_p"),
    ("openai", {"max_tokens": 0}, "max_tokens"),
    ("openai", {"stream_options": "yes", "stream": True}, "not valid"),
    ("openai", {"messages": 5}, "messages"),
    ("azure", {"messages": []}, "messages"),
    ("anthropic", {"max_tokens": ...}, "max_tokens: Field required"),
    ("anthropic", {"model": ...}, "model: Field required"),
    ("anthropic", {"max_tokens": 0}, "max_tokens"),
    ("anthropic", {"messages": []}, "at least one message"),
    ("anthropic", {"messages": [{"role": "system", "content": "x"}]}, "unexpected role 'system'"),
    ("anthropic", {"messages": [{"role": "user", "content": ""}]}, "non-empty"),
    ("anthropic", {"temperature": 1.5}, "temperature"),
    ("anthropic", {"stop_sequences": 5}, "not valid"),
    ("gemini", {"contents": ...}, "contents"),
    ("gemini", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
    ("gemini", {"contents": [{"role": "user", "parts": []}]}, "parts"),
    ("gemini", {"generationConfig": {"temperature": 3}}, "temperature"),
    ("gemini", {"generationConfig": "warm"}, "invalid argument"),
]


def test_a_wrong_request_is_refused():
    """400, in the vendor's own shape, naming what is wrong."""
    with VendorSimulator() as sim:
        replies = [(ask(sim, form, **changes), words) for form, changes, words in COMPLAINTS]

    assert {400} == {reply.status for reply, _ in replies}
    assert [] == [(words, reply.json) for reply, words in replies if words not in json.dumps(reply.json["error"])]


def test_a_conversation_with_anthropic_may_begin_with_the_assistant():
    """Its API refused that until October 2024."""
    begun = [{"role": "assistant", "content": "How can I help?"}, {"role": "user", "content": "Hi"}]
    with VendorSimulator() as sim:
        reply = ask(sim, "anthropic", messages=begun)

    assert (200, "message") == (reply.status, reply.json["type"])


@pytest.mark.parametrize("form", FORMATS)
def test_a_body_that_is_no_json_is_refused(form):
    """400 in the vendor's own shape, and the record has no JSON."""
    with VendorSimulator() as sim:
        reply = ask(sim, form, raw=b"{'single': quotes}", path=PATHS[form])

    assert (400, True, None) == (reply.status, "error" in reply.json, sim.requests[0].json)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"x-api-key": "k"}, "header is required"),
        ({"x-api-key": "k", "anthropic-version": "1999"}, "not a valid version"),
    ],
)
def test_anthropic_wants_its_version(headers, words):
    """The header is required and known."""
    with VendorSimulator() as sim:
        assert words in ask(sim, "anthropic", headers=headers).json["error"]["message"]


def test_anthropics_new_version_takes_no_sampling():
    """2026-10-21 refuses temperature, even a default one."""
    headers = {**HEADERS["anthropic"], "anthropic-version": "2026-10-21"}
    with VendorSimulator() as sim:
        assert [200, 400] == [ask(sim, "anthropic", headers=headers, **more).status for more in ({}, {"temperature": 1.0})]


def test_azures_deployments_need_an_api_version():
    """Without it there is nothing at that address."""
    with VendorSimulator() as sim:
        reply = ask(sim, "azure", path=PATHS["azure"].partition("?")[0])

    assert (404, {"error": {"code": "404", "message": "Resource not found"}}) == (reply.status, reply.json)


@pytest.mark.parametrize("form", FORMATS)
def test_errors_have_the_vendors_shape(form):
    """The keys of a recorded error of that vendor, and a message."""
    keys = {"anthropic": {"type", "message"}, "gemini": {"code", "message", "status", "details"}}
    for code in (400, 403, 404, 413, 429, 500, 503, 529):
        status, body = SPOKEN[form].error(ApiError(code))
        error = body["error"] if form != "ollama" else {"message": body["error"]}

        assert code == status
        assert error["message"]
        assert set(error) <= keys.get(form, {"message", "type", "param", "code"})


@pytest.mark.parametrize(
    ("form", "kind", "words"),
    [
        ("openai", "quota", "insufficient_quota"),
        ("openai", "context", "context_length_exceeded"),
        ("openai", "model", "model_not_found"),
        ("azure", "filter", "ResponsibleAIPolicyViolation"),
        ("azure", "model", "DeploymentNotFound"),
        ("anthropic", "quota", "enforced_spend_limit_reached"),
        ("anthropic", "context", "prompt is too long"),
        ("anthropic", "model", "model:"),
        ("gemini", "quota", "PerDay"),
        ("gemini", "key", "API_KEY_INVALID"),
    ],
)
def test_special_troubles_say_so(form, kind, words):
    """The words that tell a client what kind of refusal it is."""
    assert words in json.dumps(SPOKEN[form].error(ApiError(429, kind))[1])


def test_words_of_ones_own_replace_the_usual():
    """Message, code and parameter of a trouble are taken over."""
    error = SPOKEN["openai"].error(ApiError(400, message="No.", code="x", param="y"))[1]["error"]

    assert ("No.", "x", "y") == (error["message"], error["code"], error["param"])


def test_the_library_can_talk_to_it():
    """What the codecs encode, the simulator accepts and understands."""
    request = Request(
        "m", [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hi"}], max_tokens=9, stop=("ZZ",)
    )
    with VendorSimulator(responses="yes ZZ no") as sim:
        for form in ("openai", "anthropic", "gemini"):
            codec = CODECS[CODEC[form]]
            path = codec.path("m", True)
            path = path if path.startswith("/v1") else f"/v1{path}"
            reply = ask(sim, form, path=path, raw=codec.encode(request, stream=True))

            assert ("yes ", 200) == (said(form, reply).content, reply.status)


def test_text_is_found_in_every_kind_of_turn():
    """Instructions and results of tools count as read, pictures do not."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    turns = [
        {"role": "user", "content": [{"type": "text", "text": "abcd"}, picture]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": "efgh"}]},
    ]
    with VendorSimulator() as sim:
        usage = ask(sim, "anthropic", system="ijkl", messages=turns).json["usage"]

    assert 4 * 3 + 3 == usage["input_tokens"]


def test_a_plausible_answer_varies_in_length():
    """Two to nine sentences."""
    lengths = {plausible_text(f"prompt number {number}").count(".") for number in range(60)}

    assert {2, 9} <= lengths <= set(range(2, 10))


def test_a_request_does_not_show_what_was_said():
    """Its repr holds neither key nor prompt."""
    request = SimulatedRequest(
        format="openai",
        path="/",
        headers={"authorization": "Bearer secret"},
        json={"messages": "secret"},
        model="m",
        stream=False,
        connection=0,
        reused=False,
        number=0,
        id="1",
    )

    assert "secret" not in repr(request)
