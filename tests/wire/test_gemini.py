"""Google's format: pieces that are answers, calls that arrive whole, thoughts counted beside the answer."""

import json

import pytest

from llmdispatcher import (
    Choice,
    Citation,
    ImagePart,
    InvalidRequest,
    MalformedReply,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    StreamInterrupted,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    VendorUnavailable,
)
from llmdispatcher.wire import GEMINI

from ..cases import each
from .corpus import decode_stream, sliced
from .recordings import GEMINI_PIECES, GEMINI_WHOLE, sse


def sent(*messages, stream=False, quirks=frozenset(), **fields):
    """What is sent for a request."""
    request = Request("m", messages or (Message.user("Hi"),), **fields)
    return json.loads(GEMINI.encode(request, stream=stream, quirks=quirks))


def piece(*parts, finish=None, index=0, **more):
    """One event, or a whole answer."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, "index": index}
    return {"candidates": [{**candidate, "finishReason": finish} if finish else candidate], **more}


def answered(document):
    """A whole answer."""
    return GEMINI.decode(json.dumps(document).encode())


def test_a_request_with_everything():
    """Settings in a group of their own, in Google's spelling."""
    assert {
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}]},
        "contents": [{"role": "user", "parts": [{"text": "u"}, {"text": "w"}]}, {"role": "model", "parts": [{"text": "v"}]}],
        "generationConfig": {
            "temperature": 0.5,
            "topP": 0.25,
            "topK": 4,
            "candidateCount": 2,
            "responseLogprobs": True,
            "logprobs": 3,
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
            "maxOutputTokens": 9,
            "seed": 1,
            "frequencyPenalty": 1.0,
            "presencePenalty": 0.0,
            "stopSequences": ["x"],
        },
        "serviceTier": "FLEX",
    } == sent(
        Message.system("a"),
        Message.user("u", "w"),
        Message("developer", "b"),
        Message.assistant("v"),
        max_tokens=9,
        temperature=0.5,
        top_p=0.25,
        stop="x",
        user="me",
        seed=1,
        frequency_penalty=1.0,
        presence_penalty=0.0,
        top_k=4,
        n=2,
        top_logprobs=3,
        reasoning_effort="low",
        reasoning_summary="auto",
        service_tier="flex",
        prompt_cache="5m",
        prompt_cache_key="k",
        parallel_tool_calls=True,
        stream=True,
    )


@each(
    "model, stream, path",
    [
        ("gemini-3.6-flash", False, "/models/gemini-3.6-flash:generateContent"),
        ("gemini-3.6-flash", True, "/models/gemini-3.6-flash:streamGenerateContent?alt=sse"),
        ("tunedModels/mine", False, "/tunedModels/mine:generateContent"),
        ("a:bü", False, "/models/a%3Ab%C3%BC:generateContent"),
    ],
)
def test_the_model_is_in_the_path(model, stream, path):
    """As a piece of the path and nothing else."""
    assert path == GEMINI.path(model, stream)


@each(
    "messages, fields, name",
    [
        ([Message.system("x")], {}, "messages"),
        ([Message.system("x", ImagePart(url="https://x.example")), Message.user("x")], {}, "system"),
        ([Message.user("x"), Message.tool("42")], {}, "tool_call_id"),
        ([Message.user("x"), Message.tool("42", "c1")], {}, "message.name"),
        ([Message.user("x"), Message.assistant(tool_calls=[ToolCall(name="f", id="1", arguments="{")])], {}, "arguments of 'f'"),
        ([Message.user(ImagePart())], {}, "neither a url nor data"),
        ([Message.user("x")], {"tool_choice": "perhaps"}, "tool_choice: 'perhaps'"),
        ([Message.user("x")], {"response_format": {"type": "yaml"}}, "response_format: .* 'yaml'"),
        ([Message.user("x")], {"parallel_tool_calls": False}, "parallel_tool_calls"),
        ([Message.user("x")], {"tools": [VendorTool(origin="openai_responses", data={"type": "mcp"})]}, "tools: 'mcp'"),
        ([Message.user("x", OtherPart(origin="anthropic_messages", data={}))], {}, "message.content"),
    ],
)
def test_what_cannot_be_sent_is_named(messages, fields, name):
    """Nothing is dropped in silence."""
    with pytest.raises(InvalidRequest, match=name):
        sent(*messages, **fields)


BY_BUDGET = frozenset({"thinking_budget"})


@each(
    "quirks, fields, config",
    [
        (frozenset(), {"reasoning_effort": "medium"}, {"thinkingLevel": "MEDIUM"}),
        (frozenset(), {"reasoning_effort": "max"}, {"thinkingLevel": "XHIGH"}),
        (frozenset(), {"reasoning_effort": "none"}, {"thinkingBudget": 0}),
        (frozenset(), {"reasoning_tokens": 0}, {"thinkingBudget": 0}),
        (frozenset(), {"reasoning_tokens": 99}, {"thinkingBudget": 99}),
        (frozenset(), {"reasoning_tokens": 99, "reasoning_effort": "high"}, {"thinkingLevel": "HIGH"}),
        (BY_BUDGET, {"reasoning_tokens": 99, "reasoning_effort": "high"}, {"thinkingBudget": 99}),
        (BY_BUDGET, {"reasoning_effort": "medium"}, {"thinkingBudget": 8192}),
        (BY_BUDGET, {"reasoning_effort": "max"}, {"thinkingBudget": -1}),
        (BY_BUDGET, {"reasoning_effort": "none", "reasoning_summary": "none"}, {"thinkingBudget": 0, "includeThoughts": False}),
    ],
)
def test_an_effort_is_a_level_or_a_budget(quirks, fields, config):
    """Whichever the model takes, never both."""
    assert {"thinkingConfig": config} == sent(quirks=quirks, **fields)["generationConfig"]


def test_functions_are_in_one_entry():
    """Google's own tools each have another."""
    functions = [Tool(name="f"), Tool(name="g", description="d", parameters={"type": "object"})]
    search = VendorTool(origin="gemini", data={"googleSearch": {}})

    assert [
        {"functionDeclarations": [{"name": "f"}, {"name": "g", "description": "d", "parametersJsonSchema": {"type": "object"}}]},
        {"googleSearch": {}},
    ] == sent(tools=[functions[0], search, functions[1]])["tools"]


def test_a_function_may_be_chosen_by_its_name():
    """As the only one that is allowed."""
    config = sent(tools=[Tool(name="f")], tool_choice="f")["toolConfig"]

    assert {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}} == config


def test_a_choice_that_the_model_refuses_is_dropped_or_named():
    """As the request has it."""
    fields = {"tool_choice": "required", "quirks": frozenset({"no_forced_tools"})}

    assert {"functionCallingConfig": {"mode": "AUTO"}} == sent(**fields, drop_params=True)["toolConfig"]
    with pytest.raises(InvalidRequest, match="tool_choice"):
        sent(**fields)


def test_a_turn_with_nothing_to_say_is_left_out():
    """Google refuses one without parts."""
    foreign = ReasoningPart(text="x", origin="anthropic_messages")

    assert [{"role": "user", "parts": [{"text": "Hi"}]}] == sent(
        Message.user("Hi"), Message.assistant(""), Message.assistant(foreign)
    )["contents"]


def test_a_result_may_show_something():
    """Beside the object that it is."""
    shown = Message("tool", ("9", ImagePart(data=b"x", media_type="image/png")), name="f")

    assert {
        "functionResponse": {
            "name": "f",
            "response": {"result": 9},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "eA=="}}],
        }
    } == sent(shown)["contents"][0]["parts"][0]


def test_an_unreadable_call_that_was_counted_keeps_its_word_and_its_usage():
    """What it cost is known only from itself; the vendor's caller hears of a failure (tests/vendors)."""
    counted = {**piece(finish="MALFORMED_FUNCTION_CALL"), "usageMetadata": {"promptTokenCount": 3}}
    for answer in (answered(counted), decode_stream(GEMINI, [sse(counted)])[0]):
        assert ("malformed_function_call", 3) == (answer.finish_reason, answer.usage.input_tokens)


@each("content", [None, {}, {"parts": None}, {"parts": []}, {"role": "model"}])
def test_a_candidate_may_say_nothing(content):
    """The limit may have been spent on thoughts."""
    answer = answered({"candidates": [{"content": content, "finishReason": "MAX_TOKENS"}]})

    assert ("", "length") == (answer.content, answer.finish_reason)


def test_calls_get_places_in_order_across_pieces():
    """They come whole, mostly without ids, several in a piece."""
    stream = sse(
        piece({"functionCall": {"name": "f", "args": {"a": 1}}}, {"functionCall": {"name": "g"}, "thoughtSignature": "s"}),
        piece({"functionCall": {"name": "h", "args": {}, "id": "x"}}, finish="STOP"),
    )
    answer, _ = decode_stream(GEMINI, [stream])

    assert ("tool_calls", "STOP") == (answer.finish_reason, answer.finish_reason_raw)
    assert [("f", {"a": 1}, None, None), ("g", {}, None, "s"), ("h", {}, "x", None)] == [
        (call.name, call.parsed, call.id, call.signature) for call in answer.tool_calls
    ]


def test_every_candidate_is_read():
    """The first is the answer, whichever piece brings the others."""
    stream = sse(
        piece({"text": "a"}),
        piece({"text": "other"}, index=1, finish="MAX_TOKENS"),
        piece({"text": "b"}, finish="STOP", usageMetadata={"promptTokenCount": 3}),
    )
    answer, error = decode_stream(GEMINI, [stream])

    assert (None, "ab", "stop", 3) == (error, answer.content, answer.finish_reason, answer.usage.input_tokens)
    assert (Choice(index=1, content="other", finish_reason="length", finish_reason_raw="MAX_TOKENS"),) == answer.other_choices


def test_a_stream_is_complete_when_every_candidate_is():
    """One that ended says nothing of the others."""
    pieces = [piece({"text": "a"}), piece({"text": "b"}, index=1, finish="STOP")]

    assert StreamInterrupted is type(decode_stream(GEMINI, [sse(*pieces)])[1])
    assert None is decode_stream(GEMINI, [sse(*pieces, piece(finish="STOP"))])[1]


def test_code_and_its_results_are_no_part_of_the_text():
    """Google ran it itself; it stands in its place among the parts."""
    code, result = {"executableCode": {"code": "x"}, "thoughtSignature": "s"}, {"codeExecutionResult": {"output": "y"}}
    answer = answered(piece({"text": "a"}, code, result, {"text": "b"}, finish="STOP"))

    assert "ab" == answer.content
    assert (
        TextPart(text="a"),
        OtherPart(origin="gemini", data=code),
        OtherPart(origin="gemini", data=result),
        TextPart(text="b"),
    ) == answer.parts


def both(*parts):
    """The parts of an answer, which are the same whole and streamed one by one."""
    whole = answered(piece(*parts, finish="STOP"))
    streamed, error = decode_stream(GEMINI, [sse(*[piece(part) for part in parts], piece(finish="STOP"))])
    assert error is None
    assert whole == streamed
    return whole


def signed(text, signature="s"):
    """Text with a proof."""
    return TextPart(text=text, extra={"gemini": {"thoughtSignature": signature}})


def test_a_thought_is_a_part_as_soon_as_it_is_over():
    """Its pieces are one; its text is told as it comes."""
    answer = both(
        {"text": "Hm, ", "thought": True}, {"text": "so.", "thought": True}, {"text": "", "thought": True}, {"text": "Hi"}
    )

    assert ("Hm, so.", "Hi") == (answer.reasoning, answer.content)
    assert (ReasoningPart(text="Hm, so.", origin="gemini"), TextPart(text="Hi")) == answer.parts


def test_a_thought_ends_with_its_proof():
    """What comes behind it is another."""
    answer = both(
        {"text": "a", "thought": True}, {"text": "b", "thought": True, "thoughtSignature": "s"}, {"text": "c", "thought": True}
    )

    assert (ReasoningPart(text="ab", signature="s", origin="gemini"), ReasoningPart(text="c", origin="gemini")) == answer.parts


def test_a_proof_stays_with_its_text():
    """Google wants it back with that text alone, also where there is none."""
    answer = both(
        {"text": "a"}, {"text": "b"}, {"text": "c", "thoughtSignature": "s"}, {"text": "d"}, {"text": "", "thoughtSignature": "t"}
    )

    assert "abcd" == answer.content
    assert (TextPart(text="ab"), signed("c"), TextPart(text="d"), signed("", "t")) == answer.parts


def test_a_picture_is_a_part():
    """With its bytes and what hangs on it."""
    answer = both({"text": "Look:"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}, "thoughtSignature": "s"})

    picture = ImagePart(data=b"\x89PNG", media_type="image/png", extra={"gemini": {"thoughtSignature": "s"}})
    assert (TextPart(text="Look:"), picture) == answer.parts


def test_what_only_google_says_of_a_call_is_kept():
    """For the next turn."""
    call = both({"functionCall": {"name": "f", "args": {}, "mood": "good"}, "thought": True}).tool_calls[0]

    assert {"gemini": {"thought": True, "functionCall": {"mood": "good"}}} == call.extra


def growing(name=None, *pieces, goes_on=True):
    """A piece of a call whose arguments are streamed."""
    call = {"name": name, "partialArgs": list(pieces), "willContinue": goes_on}
    return {"functionCall": {key: value for key, value in call.items() if value}}


def test_arguments_in_pieces_become_an_object():
    """Each piece names its place; words of one text follow each other."""
    answer = both(
        growing("f", {"jsonPath": "$.city", "stringValue": "New ", "willContinue": True}),
        growing(None, {"jsonPath": "$.city", "stringValue": "York"}, {"jsonPath": "$.days[1]", "numberValue": 2}),
        growing(None, {"jsonPath": "$.days[0]", "nullValue": None}, {"jsonPath": "$['to']['be']", "boolValue": False}),
        growing(goes_on=False),
        growing("g", {"jsonPath": "nowhere", "stringValue": "x"}, {"jsonPath": "$", "stringValue": "x"}, {"stringValue": "y"}),
        {"functionCall": {"name": "h", "args": {"a": 1}}},
        growing("i", {"jsonPath": "$.a[0].b", "stringValue": "z"}),
    )

    assert [
        ("f", {"city": "New York", "days": [None, 2], "to": {"be": False}}),
        ("g", {}),
        ("h", {"a": 1}),
        ("i", {"a": [{"b": "z"}]}),
    ] == [(call.name, call.parsed) for call in answer.tool_calls]


def test_sources_are_told_with_the_characters_that_rest_on_them():
    """Google counts bytes; a source that no piece names is one of the answer as a whole."""
    web, store = {"web": {"uri": "https://a.example", "title": "A"}}, {"retrievedContext": {"text": "So it is."}}
    support = {"segment": {"startIndex": 8, "endIndex": 13, "text": "Züri"}, "confidenceScores": [0.5]}
    grounding = {"groundingChunks": [store, web], "groundingSupports": [{**support, "groundingChunkIndices": [1, 7]}]}
    document = piece({"text": "Grüezi Züri"}, finish="STOP")
    document["candidates"][0]["groundingMetadata"] = grounding

    assert (
        Citation(url="https://a.example", title="A", start=7, end=11, raw={**web, "groundingSupport": support}),
        Citation(text="So it is.", raw=store),
    ) == answered(document).citations


def test_tokens_are_told_with_their_rivals():
    """As Google gives them, one entry for each."""
    document = piece({"text": "a"}, finish="STOP")
    document["candidates"][0]["logprobsResult"] = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}, {"token": "b"}],
        "topCandidates": [{"candidates": [{"token": "a"}, {"token": "c"}]}],
    }

    assert ({"token": "a", "logProbability": -0.5, "topCandidates": [{"token": "a"}, {"token": "c"}]}, {"token": "b"}) == answered(
        document
    ).logprobs


@each(
    "usage, tier",
    [
        ({"serviceTier": "priority", "trafficType": "ON_DEMAND"}, "priority"),
        ({"trafficType": "ON_DEMAND"}, "standard"),
        ({"trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
        ({"promptTokenCount": 1}, None),
    ],
)
def test_the_tier_is_told(usage, tier):
    """By either of Google's interfaces."""
    assert tier == answered(piece({"text": "a"}, finish="STOP", usageMetadata=usage)).service_tier


def test_usage_counts_thoughts_tools_and_sound():
    """Thoughts are billed output, prompts of tools are further input."""
    usage = answered(
        piece(
            {"text": "x"},
            finish="STOP",
            usageMetadata={
                "promptTokenCount": 20,
                "toolUsePromptTokenCount": 5,
                "cachedContentTokenCount": 8,
                "candidatesTokenCount": 6,
                "thoughtsTokenCount": 4,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 18}, {"modality": "AUDIO", "tokenCount": 2}],
            },
        )
    ).usage

    assert (25, 8, 10, 4, 2) == (
        usage.input_tokens,
        usage.cache_read_tokens,
        usage.output_tokens,
        usage.reasoning_tokens,
        usage.audio_input_tokens,
    )


def test_a_stream_may_be_a_json_array():
    """Without ``alt=sse`` Google sends one, over many reads."""
    body = ("[" + "\n,\r\n".join(json.dumps(found, indent=2) for found in GEMINI_PIECES) + "\n]").encode()

    assert (answered(GEMINI_WHOLE), None) == decode_stream(GEMINI, sliced(body, 11))
    assert answered(GEMINI_WHOLE) == GEMINI.decode(body)


def test_an_array_that_is_cut_or_unfinished_is_no_answer():
    """Its end bracket, and a reason why it ended, must have come."""
    body = json.dumps(GEMINI_PIECES).encode()
    unfinished = json.dumps(GEMINI_PIECES[:-1]).encode()

    assert (MalformedReply, StreamInterrupted) == (
        type(decode_stream(GEMINI, [body[:-1]])[1]),
        type(decode_stream(GEMINI, [unfinished])[1]),
    )


def test_an_error_at_the_end_of_an_array_is_raised():
    """Half an answer and an error are an error."""
    body = json.dumps([GEMINI_PIECES[0], {"error": {"code": 503, "message": "overloaded", "status": "UNAVAILABLE"}}]).encode()

    assert VendorUnavailable is type(decode_stream(GEMINI, [body])[1])


def test_a_stream_is_read_on_behind_a_reason():
    """Google may give one, and go on."""
    stream = sse(piece({"text": "a"}, finish="STOP"), piece({"text": "b"}, finish="STOP"))
    answer, error = decode_stream(GEMINI, sliced(stream, 20))

    assert ("ab", None) == (answer.content, error)
