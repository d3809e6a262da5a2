"""Google's format as a server speaks it: requests read, answers, streams and refusals written."""

import base64
import json
from datetime import UTC, datetime

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import (
    AudioPart,
    Choice,
    Citation,
    DispatchError,
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    OtherPart,
    RateLimitError,
    ReasoningPart,
    Request,
    Response,
    StreamChunk,
    TextPart,
    Tool,
    ToolCall,
    ToolCallDelta,
    Usage,
    VendorTool,
    VideoPart,
)
from llmdispatcher.types import fold, unfold
from llmdispatcher.wire import GEMINI, Inbound, fault

from ..cases import each
from .corpus import again, through
from .small_apis import spoilt

PATH = "/v1beta/models/m:generateContent"
PIXEL = base64.b64encode(b"\x89PNG\xff\xfe").decode()
HI = {"role": "user", "parts": [{"text": "Hi"}]}


def read(path=PATH, **fields):
    """A request as it arrives, with what every one has."""
    return GEMINI.read_request(json.dumps({"contents": [HI], **fields}).encode(), path)


def sent(request):
    """What is sent for a request."""
    return json.loads(GEMINI.encode(request, stream=False))


def events(chunks, asked=None):
    """The pieces of a stream."""
    writer = GEMINI.writer(asked)
    body = b"".join([*[writer.write(chunk) for chunk in chunks], writer.end()]).decode()
    return [json.loads(event.removeprefix("data: ")) for event in body.removesuffix("\r\n\r\n").split("\r\n\r\n")]


def written(response):
    """The JSON of a whole answer."""
    return json.loads(GEMINI.write_response(response))


def test_a_request_with_everything_is_read():
    """Each field has its place, whatever the format that the request goes on in."""
    inbound = read(
        path="/v1/models/m:streamGenerateContent?alt=sse",
        systemInstruction={"parts": [{"text": "a"}]},
        generationConfig={
            "temperature": 0,
            "topP": 0.5,
            "topK": 3.0,
            "maxOutputTokens": 9,
            "candidateCount": 2,
            "seed": -1,
            "stopSequences": ["x"],
            "presencePenalty": 1,
            "frequencyPenalty": -1,
            "responseLogprobs": True,
            "logprobs": 2,
            "responseMimeType": "application/json",
            "responseJsonSchema": {"type": "object"},
            "thinkingConfig": {"thinkingLevel": "HIGH", "includeThoughts": True},
            "responseModalities": ["TEXT"],
        },
        tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}, {"googleSearch": {}}],
        toolConfig={
            "functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]},
            "includeServerSideToolInvocations": True,
        },
        serviceTier="FLEX",
        safetySettings=[{"category": "C", "threshold": "BLOCK_NONE"}],
        cachedContent="cachedContents/x",
        labels={"a_b": "c"},
    )

    assert inbound == Inbound(
        request=Request(
            "m",
            [Message.system("a"), Message.user("Hi")],
            temperature=0,
            top_p=0.5,
            top_k=3,
            max_tokens=9,
            n=2,
            seed=-1,
            stop=["x"],
            presence_penalty=1,
            frequency_penalty=-1,
            logprobs=True,
            top_logprobs=2,
            response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}}},
            reasoning_effort="high",
            reasoning_summary="auto",
            tools=[Tool(name="f", parameters={"type": "object"}), VendorTool(origin="gemini", data={"googleSearch": {}})],
            tool_choice={"type": "function", "function": {"name": "f"}},
            service_tier="flex",
            extra_params={
                "generationConfig": {"responseModalities": ["TEXT"]},
                "toolConfig": {"includeServerSideToolInvocations": True},
                "safetySettings": [{"category": "C", "threshold": "BLOCK_NONE"}],
                "cachedContent": "cachedContents/x",
                "labels": {"a_b": "c"},
            },
            wire_format="gemini",
        ),
        stream=True,
    )


@each(
    "path, model, stream",
    [
        ("/v1beta/models/gemini-3-pro:generateContent", "gemini-3-pro", False),
        ("/models/gemini-3-pro:streamGenerateContent?alt=sse", "gemini-3-pro", True),
        ("/v1/models/gemini-3-pro:streamGenerateContent", "gemini-3-pro", True),
        ("/v1beta/tunedModels/mine:generateContent", "tunedModels/mine", False),
        ("/v1beta1/projects/p/locations/l/publishers/google/models/g:generateContent?x=1", "g", False),
        ("/v1/projects/p/locations/l/endpoints/7:streamGenerateContent?alt=sse", "projects/p/locations/l/endpoints/7", True),
        ("/v1beta/models/a%20b%3Fc:generateContent", "a b?c", False),
        ("/v1beta/models/llama3:8b:generateContent", "llama3:8b", False),
        ("/v1beta/models/gemini-3-pro:countTokens", "gemini-3-pro", False),
        ("", "", False),
        ("/", "", False),
    ],
)
def test_model_and_stream_are_in_the_path(path, model, stream):
    """In any version, at AI Studio and at Vertex."""
    inbound = read(path)

    assert (model, stream) == (inbound.request.model, inbound.stream)


def test_a_count_has_the_request_inside():
    """With the model, where the path has none."""
    inside = {"contents": [HI], "model": "models/m-2", "generationConfig": {"topK": 1}}
    request = GEMINI.read_request(json.dumps({"generateContentRequest": inside}).encode()).request

    assert ("m-2", 1, (Message.user("Hi"),)) == (request.model, request.top_k, request.messages)


def test_snake_case_is_read_too():
    """Google takes both; what is not Google's own keeps its names."""
    schema = {"type": "object", "any_name": {"max_items": None}}
    request = read(
        system_instruction={"parts": {"text": "a"}},
        generation_config={"max_output_tokens": 5, "response_mime_type": "application/json", "response_json_schema": schema},
        tools={"function_declarations": {"name": "f_g", "parameters_json_schema": schema}},
        contents={"parts": [{"function_response": {"name": "f", "response": {"a_b": None}}}]},
    ).request

    assert 5 == request.max_tokens
    assert schema == request.response_format["json_schema"]["schema"]
    assert (Tool(name="f_g", parameters=schema),) == request.tools
    assert [{"functionResponse": {"name": "f", "response": {"a_b": None}}}] == sent(request)["contents"][0]["parts"]


PARTS = {
    "text": {"text": "a"},
    "no text": {"text": ""},
    "signed text": {"text": "a", "thoughtSignature": "s"},
    "thought": {"text": "a", "thought": True},
    "signed thought": {"text": "", "thought": True, "thoughtSignature": "s"},
    "picture": {"inlineData": {"mimeType": "image/png", "data": PIXEL, "displayName": "p"}, "mediaResolution": {"level": "L"}},
    "picture by address": {"fileData": {"fileUri": "gs://a/b", "mimeType": "image/png"}},
    "film": {"inlineData": {"mimeType": "video/mp4", "data": PIXEL}, "videoMetadata": {"fps": 2}},
    "film by address": {"fileData": {"fileUri": "gs://a/b", "mimeType": "video/mp4"}},
    "paper": {"inlineData": {"mimeType": "application/pdf", "data": PIXEL}},
    "address alone": {"fileData": {"fileUri": "https://a.example/b"}},
    "mp3": {"inlineData": {"mimeType": "audio/mp3", "data": PIXEL}},
    "mpeg": {"inlineData": {"mimeType": "audio/mpeg", "data": PIXEL}, "thoughtSignature": "s"},
    "samples": {"inlineData": {"mimeType": "audio/L16;rate=24000", "data": PIXEL}},
    "code": {"executableCode": {"code": "x", "language": "PYTHON"}, "thoughtSignature": "s"},
    "no base64": {"inlineData": {"mimeType": "image/png", "data": "%"}},
    "nothing known": {"somethingNew": {"a": 1}},
    "two at once": {"text": "a", "inlineData": {"mimeType": "image/png", "data": PIXEL}},
}


@each("part", PARTS)
@each("role", ["user", "model"])
def test_a_part_is_written_as_it_was_read(role, part):
    """With all that hangs on it."""
    turn = {"role": role, "parts": [{"text": "first"}, part]}

    assert [turn] == sent(read(contents=[turn]).request)["contents"]


@each(
    "name, part",
    [
        ("picture by address", ImagePart(url="gs://a/b", media_type="image/png")),
        ("film by address", VideoPart(url="gs://a/b", media_type="video/mp4")),
        ("paper", FilePart(data=base64.b64decode(PIXEL), media_type="application/pdf")),
        ("address alone", FilePart(url="https://a.example/b")),
        ("mp3", AudioPart(data=base64.b64decode(PIXEL), format="mp3")),
        ("thought", ReasoningPart(text="a", origin="gemini")),
        ("nothing known", OtherPart(origin="gemini", data={"somethingNew": {"a": 1}})),
    ],
)
def test_a_part_is_read_for_any_format(name, part):
    """As the kind that its media type tells."""
    assert part == read(contents=[{"role": "user", "parts": [{"text": "x"}, PARTS[name]]}]).request.messages[0].parts[1]


def test_sound_is_known_by_the_word_that_all_vendors_use():
    """Whatever Google was told."""
    sound = read(contents=[{"parts": [PARTS["mpeg"]]}]).request.messages[0].parts[0]

    assert "mp3" == sound.format


def test_base64_of_the_other_alphabet_is_read():
    """Google's own library writes it."""
    data = base64.urlsafe_b64encode(b"\xff\xfe\xfb").decode().rstrip("=")
    part = read(contents=[{"parts": [{"inlineData": {"mimeType": "image/png", "data": data}}]}]).request.messages[0].parts[0]

    assert ImagePart(data=b"\xff\xfe\xfb", media_type="image/png") == part


CALLS = {
    "role": "model",
    "parts": [
        {"text": "a"},
        {"functionCall": {"name": "f", "args": {"x": 1.5}, "id": "c"}, "thoughtSignature": "s"},
        {"text": "b", "thoughtSignature": "t"},
        {"functionCall": {"name": "g", "args": {}, "mood": "good"}, "thought": True},
        {"functionCall": {"name": "g", "args": {}}},
    ],
}
RESULTS = {
    "role": "user",
    "parts": [
        {"functionResponse": {"name": "f", "response": {"result": "fine"}, "id": "c"}},
        {"functionResponse": {"name": "f", "response": {"result": "42"}}},
        {"functionResponse": {"name": "f", "response": {"result": 42}}},
        {"functionResponse": {"name": "f", "response": {"error": "broken"}}},
        {
            "functionResponse": {"name": "f", "response": {"error": "broken", "code": 7}, "scheduling": "SILENT"},
            "thoughtSignature": "s",
        },
        {
            "functionResponse": {
                "name": "f",
                "response": {},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": PIXEL}}, {"text": "x"}],
            }
        },
    ],
}


@each("turn", [CALLS, RESULTS, {**RESULTS, "role": "function"}, {"role": "model", "parts": []}])
def test_a_turn_is_written_as_it_was_read(turn):
    """Calls in their places, results as objects."""
    assert [turn] == sent(read(contents=[turn]).request)["contents"]


def test_results_are_read_for_any_format():
    """As plain text where that says it all; a failure is one."""
    assert [
        ("fine", "c", None),
        ('{"result": "42"}', None, None),
        ("42", None, None),
        ("broken", None, True),
        ('{"error": "broken", "code": 7}', None, None),
        ("{}", None, None),
    ] == [(message.text, message.tool_call_id, message.is_error) for message in read(contents=[RESULTS]).request.messages]


def test_calls_are_read_for_any_format():
    """With their ids and proofs."""
    calls = read(contents=[CALLS]).request.messages[0].tool_calls

    assert [("f", {"x": 1.5}, "c", "s"), ("g", {}, None, None), ("g", {}, None, None)] == [
        (call.name, call.parsed, call.id, call.signature) for call in calls
    ]


def test_what_comes_with_results_is_a_turn_of_the_user():
    """Behind them."""
    messages = read(contents=[{"role": "user", "parts": [RESULTS["parts"][0], {"text": "Go on"}]}]).request.messages

    assert [("tool", "fine"), ("user", "Go on")] == [(message.role, message.text) for message in messages]


def test_instructions_keep_their_parts():
    """And the role that some clients give them."""
    said = {"parts": [{"text": "a"}, {"text": "b"}], "role": "user"}

    assert said == sent(read(systemInstruction=said).request)["systemInstruction"]


def test_instructions_that_are_no_text_are_the_vendors():
    """They are written back as they came."""
    said = {"parts": [{"fileData": {"fileUri": "gs://a/b"}}]}

    assert said == sent(read(systemInstruction=said).request)["systemInstruction"]


@each(
    "config",
    [
        {"thinkingLevel": "MINIMAL"},
        {"thinkingLevel": "THINKING_LEVEL_UNSPECIFIED"},
        {"thinkingBudget": 0},
        {"thinkingBudget": -1, "includeThoughts": True},
        {"thinkingBudget": 7, "includeThoughts": False},
        {"thinkingBudget": 7, "thinkingLevel": "LOW"},
        {"thinkingBudget": 7, "somethingNew": 1},
        {"includeThoughts": True},
    ],
)
def test_what_was_said_of_thoughts_is_written_back(config):
    """A level, a budget, or that the model may choose."""
    assert config == sent(read(generationConfig={"thinkingConfig": config}).request)["generationConfig"]["thinkingConfig"]


def test_a_budget_that_the_model_chooses_asks_other_vendors_for_nothing():
    """It is what they do anyway."""
    request = read(generationConfig={"thinkingConfig": {"thinkingBudget": -1}}).request

    assert (None, None, {}) == (request.reasoning_effort, request.reasoning_tokens, request.extra_params)


@each(
    "settings",
    [
        {"temperature": 2.5},
        {"topK": -1},
        {"topK": 1.5},
        {"maxOutputTokens": "9"},
        {"stopSequences": "x"},
        {"responseMimeType": "text/x.enum", "responseSchema": {"type": "STRING", "enum": ["a"]}},
        {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT", "nullable": True}},
        {"responseMimeType": "application/json", "responseSchema": {"type": "OBJECT"}, "responseJsonSchema": {}},
        {"responseSchema": {"type": "STRING"}},
        {"mediaResolution": "MEDIA_RESOLUTION_LOW", "speechConfig": {"languageCode": "de"}},
    ],
)
def test_settings_are_written_as_they_were_read(settings):
    """What is out of our bounds, or has no name in ours, is the vendor's to judge."""
    assert settings == sent(read(generationConfig=settings).request)["generationConfig"]


OPENAPI = {
    "type": "OBJECT",
    "properties": {
        "type": {"type": "STRING", "nullable": True, "format": "enum", "enum": ["TALL"]},
        "list": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1", "max_items": 3},
        "any": {"anyOf": [{"type": "NUMBER"}], "nullable": True},
    },
    "required": ["type"],
    "propertyOrdering": ["type", "list"],
}
JSON_SCHEMA = {
    "type": "object",
    "properties": {
        "type": {"type": ["string", "null"], "format": "enum", "enum": ["TALL"]},
        "list": {"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3},
        "any": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
    "required": ["type"],
}


def test_a_schema_in_googles_dialect_is_read_for_any_format():
    """And written back as it came, as long as nobody changed it."""
    declared = {"name": "f", "description": "d", "parameters": OPENAPI, "behavior": "BLOCKING"}
    config = {"responseMimeType": "application/json", "responseSchema": OPENAPI}
    request = read(tools=[{"functionDeclarations": [declared]}], generationConfig=config).request

    assert (JSON_SCHEMA, JSON_SCHEMA) == (request.tools[0].parameters, request.response_format["json_schema"]["schema"])
    assert ([{"functionDeclarations": [declared]}], config) == (sent(request)["tools"], sent(request)["generationConfig"])


@each(
    "spelt",
    [{}, {"parameters": {}}, {"parametersJsonSchema": {}}, {"parameters": OPENAPI, "parametersJsonSchema": {"type": "object"}}],
)
def test_a_function_is_written_as_it_was_read(spelt):
    """Whatever it says of its parameters."""
    declared = {"name": "f", **spelt, "response": {"type": "STRING"}}

    assert [{"functionDeclarations": [declared]}] == sent(read(tools=[{"functionDeclarations": [declared]}]).request)["tools"]


def test_a_schema_that_was_changed_is_sent_as_it_is_now():
    """The dialect that it came in is over."""
    request = read(tools=[{"functionDeclarations": [{"name": "f", "parameters": OPENAPI}]}]).request
    other = attrs.evolve(request, tools=[attrs.evolve(request.tools[0], parameters={"type": "object"})])

    assert [{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}] == sent(other)["tools"]


@each(
    "config, choice",
    [
        ({"mode": "AUTO"}, "auto"),
        ({"mode": "NONE"}, "none"),
        ({"mode": "ANY"}, "required"),
        ({"mode": "ANY", "allowedFunctionNames": ["f"]}, {"type": "function", "function": {"name": "f"}}),
        ({"mode": "ANY", "allowedFunctionNames": ["f", "g"]}, None),
        ({"mode": "VALIDATED"}, None),
        ({"mode": "AUTO", "streamFunctionCallArguments": True}, None),
        ({"allowedFunctionNames": ["f"]}, None),
    ],
)
def test_a_choice_of_tools_is_written_as_it_was_read(config, choice):
    """What is not one of our choices is the vendor's."""
    request = read(toolConfig={"functionCallingConfig": config}).request

    assert choice == request.tool_choice
    assert {"functionCallingConfig": config} == sent(request)["toolConfig"]


@each(
    "fields, name",
    [
        ({"contents": []}, "contents"),
        ({"contents": "Hi"}, "contents.0"),
        ({"contents": [{"role": "bot", "parts": [{"text": "x"}]}]}, "contents.0"),
        ({"contents": [{"role": ["user"], "parts": [{"text": "x"}]}]}, "contents.0"),
        ({"contents": [{"role": "user", "parts": []}]}, "contents.0.parts"),
        ({"contents": [{"role": "user", "parts": ["x"]}]}, "contents.0.parts"),
        ({"contents": [{"parts": [{"functionResponse": {"response": {}}}]}]}, "contents.0"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "response": "x"}}]}]}, "contents.0"),
        ({"contents": [{"parts": [{"functionResponse": {"name": "f", "parts": "x"}}]}]}, "contents.0"),
        ({"generationConfig": []}, "generationConfig"),
        ({"tools": ["f"]}, "tools.0"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools.0"),
        ({"tools": [{"functionDeclarations": [{"name": "f", "parameters": "x"}]}]}, "tools.0"),
    ],
)
def test_what_is_no_request_is_named(fields, name):
    """The field, what it is, and what it should be."""
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)

    assert name == str(caught.value).partition(":")[0]


def test_an_answer_of_another_vendor_is_written():
    """With its calls, of another form of arguments too, its refusal, its sources, and the tokens that it took."""
    answer = Response(
        content="Zür",
        model="m",
        reasoning="Hm.",
        refusal="No.",
        tool_calls=(
            ToolCall(name="f", arguments='{"a": 1}', id="c1"),
            ToolCall(name="g", arguments="[1]"),
            ToolCall(name="h", arguments="{"),
            ToolCall(name="i", arguments="x", kind="custom"),
            ToolCall(name="j"),
        ),
        finish_reason="tool_calls",
        finish_reason_raw="tool_use",
        usage=Usage(input_tokens=3, output_tokens=4, reasoning_tokens=1, cache_read_tokens=2, raw={"input_tokens": 3}),
        citations=(
            Citation(url="https://a.example", title="A", start=1, end=3, raw={"type": "x"}),
            Citation(url="https://b.example"),
        ),
        service_tier="flex",
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        other_choices=(Choice(index=1, content="b", finish_reason="length"),),
    )

    assert {
        "candidates": [
            {
                "content": {
                    "parts": [
                        {"text": "Hm.", "thought": True},
                        {"text": "Zür"},
                        {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c1"}},
                        {"functionCall": {"name": "g", "args": {"input": [1]}}},
                        {"functionCall": {"name": "h", "args": {"input": "{"}}},
                        {"functionCall": {"name": "i", "args": {"input": "x"}}},
                        {"functionCall": {"name": "j", "args": {}}},
                        {"text": "No."},
                    ],
                    "role": "model",
                },
                "index": 0,
                "finishReason": "STOP",
                "groundingMetadata": {
                    "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}, {"web": {"uri": "https://b.example"}}],
                    "groundingSupports": [
                        {"segment": {"startIndex": 1, "endIndex": 4, "text": "ür"}, "groundingChunkIndices": [0]}
                    ],
                },
            },
            {"content": {"parts": [{"text": "b"}], "role": "model"}, "index": 1, "finishReason": "MAX_TOKENS"},
        ],
        "usageMetadata": {
            "promptTokenCount": 3,
            "candidatesTokenCount": 3,
            "totalTokenCount": 7,
            "cachedContentTokenCount": 2,
            "thoughtsTokenCount": 1,
            "serviceTier": "flex",
        },
        "createTime": "2026-01-02T00:00:00Z",
        "modelVersion": "m",
    } == written(answer)


@each(
    "reason, raw, word",
    [
        ("stop", "end_turn", "STOP"),
        ("stop", None, "STOP"),
        ("length", "max_tokens", "MAX_TOKENS"),
        ("length", "MAX_TOKENS", "MAX_TOKENS"),
        ("tool_calls", "STOP", "STOP"),
        ("content_filter", "RECITATION", "RECITATION"),
        ("content_filter", "refusal", "SAFETY"),
        ("malformed_function_call", "MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
        ("pause_turn", "pause_turn", "OTHER"),
        (None, None, "STOP"),
    ],
)
def test_a_reason_is_written_as_a_word_of_this_format(reason, raw, word):
    """Where it has one."""
    answer = written(Response(content="x", finish_reason=reason, finish_reason_raw=raw))

    assert word == answer["candidates"][0].get("finishReason")


def test_a_prompt_that_was_refused_has_no_candidates():
    """Nothing was said, and nothing is billed."""
    refused = Response(finish_reason="content_filter", finish_reason_raw="OTHER", usage=Usage(input_tokens=3))

    assert {"promptFeedback": {"blockReason": "OTHER"}} == {
        name: value for name, value in written(refused).items() if name != "usageMetadata"
    }
    assert ("content_filter", "OTHER", "") == (
        again(GEMINI, refused).finish_reason,
        again(GEMINI, refused).finish_reason_raw,
        again(GEMINI, refused).content,
    )


def test_calls_are_told_whole_and_in_their_place():
    """Pieces of arguments are collected; what is said after a call comes after it."""
    pieces = [
        StreamChunk(content="a"),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, id="c", name="f", arguments='{"x"'),)),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, arguments=": 1}"),)),
        StreamChunk(content="b"),
        StreamChunk(tool_calls=(ToolCallDelta(index=1, name="g"), ToolCallDelta(index=2, name="h"))),
        StreamChunk(tool_calls=(ToolCallDelta(index=2, arguments="{}"), ToolCallDelta(index=1, arguments='{"y": 2}'))),
        StreamChunk(finish_reason="tool_calls"),
    ]

    assert [
        [{"text": "a"}],
        [{"functionCall": {"name": "f", "args": {"x": 1}, "id": "c"}}, {"text": "b"}],
        [{"functionCall": {"name": "g", "args": {"y": 2}}}, {"functionCall": {"name": "h", "args": {}}}],
    ] == [event["candidates"][0]["content"].get("parts") for event in events(pieces)]


def test_the_last_piece_has_the_reason_and_the_tokens():
    """And there is nothing behind it."""
    *others, last = events(
        [StreamChunk(content="a", usage=Usage(input_tokens=1, output_tokens=2)), StreamChunk(choice=1, content="x")]
    )

    assert [] == [piece for piece in others if "usageMetadata" in piece or "finishReason" in piece["candidates"][0]]
    assert ["STOP", "STOP"] == [candidate["finishReason"] for candidate in last["candidates"]]
    assert {"promptTokenCount": 1, "candidatesTokenCount": 2, "totalTokenCount": 3} == last["usageMetadata"]


def test_a_stream_names_the_model_that_was_asked_for():
    """Until the vendor says which one answers."""
    pieces = events([StreamChunk(content="a"), StreamChunk(content="b", model="m-2", response_id="r")], read())

    assert [("m", None), ("m-2", "r"), ("m-2", "r")] == [(piece["modelVersion"], piece.get("responseId")) for piece in pieces]


def test_thoughts_and_proofs_of_others_are_not_google_s():
    """The thought is told, what proves it is not; a foreign block is nothing here."""
    parts = (
        ReasoningPart(text="a", signature="s", origin="anthropic_messages"),
        OtherPart(origin="anthropic_messages", data={"type": "x"}),
        TextPart(text="b", extra={"anthropic_messages": {"citations": []}}),
    )
    answer = Response(content="b", reasoning="a", parts=parts, finish_reason="stop")

    assert [{"text": "a", "thought": True}, {"text": "b"}] == written(answer)["candidates"][0]["content"]["parts"]


def test_tokens_in_openais_words_are_told_in_googles():
    """With their rivals."""
    entries = ({"token": "a", "logprob": -0.5, "top_logprobs": [{"token": "b", "logprob": -1.5}]}, {"token": "c", "logprob": 0})

    assert {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}, {"token": "c", "logProbability": 0}],
        "topCandidates": [{"candidates": [{"token": "b", "logProbability": -1.5}]}, {"candidates": []}],
    } == written(Response(content="ac", logprobs=entries))["candidates"][0]["logprobsResult"]


def test_tokens_are_passed_on_as_they_were_counted():
    """A cost that another layer found changes nothing of the vendor's own record."""
    raw = {"promptTokenCount": 3, "candidatesTokenCount": 4, "trafficType": "ON_DEMAND", "thoughtsTokenCount": 0}
    usage = Usage(input_tokens=3, output_tokens=4, raw=raw, cost_status="free")

    assert raw == written(Response(content="x", usage=usage))["usageMetadata"]


def test_the_time_to_wait_is_told():
    """In Google's details of an error."""
    assert 1.5 == fault(429, {}, GEMINI.write_error(RateLimitError("no", status=429, retry_after=1.5))[1]).retry_after


EVERYTHING = {
    "contents": [
        {"role": "user", "parts": [PARTS["picture"], PARTS["mpeg"], PARTS["film by address"], PARTS["text"]]},
        CALLS,
        RESULTS,
    ],
    "systemInstruction": {"parts": [{"text": "a"}], "role": "user"},
    "generationConfig": {
        "temperature": 0,
        "topK": 3,
        "seed": 1,
        "stopSequences": ["x"],
        "responseLogprobs": True,
        "responseMimeType": "application/json",
        "responseSchema": OPENAPI,
        "thinkingConfig": {"thinkingLevel": "LOW", "thinkingBudget": -1, "includeThoughts": True},
    },
    "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parameters": OPENAPI}]}, {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "serviceTier": "FLEX",
    "model": "models/m",
}


JUNK = each("junk", [None, True, -1, 2.5, 10**400, "", "x", "\ud800", [], ["x"], {}, {"a": []}])


ANSWER = {
    "candidates": [
        {
            "content": {
                "parts": [
                    *CALLS["parts"],
                    PARTS["picture"],
                    PARTS["two at once"],
                    PARTS["code"],
                    PARTS["signed thought"],
                    {
                        "functionCall": {
                            "name": "p",
                            "partialArgs": [{"jsonPath": "$.a[1]", "stringValue": "x"}],
                            "willContinue": True,
                        }
                    },
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "index": 0,
            "groundingMetadata": {
                "groundingChunks": [{"web": {"uri": "u", "title": "t"}}],
                "groundingSupports": [{"segment": {"startIndex": 0, "endIndex": 1}, "groundingChunkIndices": [0]}],
            },
            "logprobsResult": {"chosenCandidates": [{"token": "a"}], "topCandidates": [{"candidates": [{"token": "a"}]}]},
        },
        {"content": {"parts": [{"text": "b"}]}, "index": 1, "finishReason": "STOP"},
    ],
    "usageMetadata": {"promptTokenCount": 1, "serviceTier": "standard"},
    "modelVersion": "m",
    "responseId": "r",
}


def lost(document):
    """How an answer differs after it was written, whole and in pieces; empty where it is none."""
    try:
        answer = GEMINI.decode(json.dumps(document).encode())
    except DispatchError:
        return []
    return [other for other in (again(GEMINI, answer), through(GEMINI, unfold(answer))) if told(other) != told(answer)]


def told(answer):
    """What is said in an answer, without what is no part of Google's; arguments that are no object become part of one."""
    calls = [(call.name, call.id, call.signature, call.parsed) for call in answer.tool_calls]
    objects = [(*known, given if isinstance(given, dict) else {"input": given}) for *known, given in calls]
    return answer.content, answer.reasoning, [part.text for part in answer.parts if isinstance(part, TextPart)], objects


@JUNK
def test_junk_in_any_place_of_an_answer_is_written_as_it_was_read(junk):
    """A vendor's answer is not to be trusted either."""
    assert [] == [(document, seen) for document in [ANSWER, *spoilt(ANSWER, junk)] if (seen := lost(document))]


TEXTS = st.sampled_from(["", "a", "ü"])
MOVES = st.one_of(
    st.builds(lambda text: {"text": text}, TEXTS),
    st.builds(lambda text: {"text": text, "thoughtSignature": "s"}, TEXTS),
    st.builds(lambda text: {"text": text, "thought": True}, TEXTS),
    st.builds(lambda text: {"text": text, "thought": True, "thoughtSignature": "s"}, TEXTS),
    st.builds(lambda name: PARTS[name], st.sampled_from(["picture", "code", "two at once"])),
    st.builds(lambda part: part, st.sampled_from([part for part in CALLS["parts"] if "mood" not in str(part)])),
)


@given(moves=st.lists(MOVES, max_size=8))
@settings(max_examples=100)
def test_any_order_of_parts_is_the_same_however_it_comes(moves):
    """Whole, streamed, and written again in both ways."""
    whole = {"candidates": [{"content": {"parts": moves}, "finishReason": "STOP"}]}
    stream = [{"candidates": [{"content": {"parts": [move]}}]} for move in moves]
    body = "".join([f"data: {json.dumps(piece)}\n\n" for piece in [*stream, {"candidates": [{"finishReason": "STOP"}]}]])
    answer = GEMINI.decode(json.dumps(whole).encode())
    chunks = GEMINI.decoder().feed(body.encode())

    assert [answer] * 4 == [fold(chunks), again(GEMINI, answer), through(GEMINI, chunks), through(GEMINI, unfold(answer))]
