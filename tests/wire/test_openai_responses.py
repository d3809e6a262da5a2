"""OpenAI's responses as a client speaks them: requests written, answers and streams read."""

import copy
import json

import pytest

from llmdispatcher import (
    AudioPart,
    ContentFiltered,
    FilePart,
    ImagePart,
    InvalidRequest,
    MalformedReply,
    Message,
    OtherPart,
    QuotaExceeded,
    ReasoningPart,
    Request,
    StreamInterrupted,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    VendorUnavailable,
    VideoPart,
)
from llmdispatcher.types import fold
from llmdispatcher.wire import OPENAI_RESPONSES

from ..cases import each
from .corpus import decode_stream
from .recordings import sse

NAME = "openai_responses"
CALL = {"type": "function_call", "id": "fc", "call_id": "c", "name": "f", "arguments": '{"a":1}', "status": "completed"}
MESSAGE = {"type": "message", "id": "msg", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}
THOUGHT = {"type": "reasoning", "id": "rs", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]}


def sent(messages="Hi", stream=False, quirks=frozenset(), **fields):
    """What is sent for a request."""
    return json.loads(OPENAI_RESPONSES.encode(Request("m", messages, **fields), stream=stream, quirks=quirks))


def items(*messages, **fields):
    """The items of a conversation."""
    return sent(list(messages), **fields)["input"]


def decoded(output, status="completed", **fields):
    """A whole answer."""
    return OPENAI_RESPONSES.decode(json.dumps({"id": "r", "model": "m", "status": status, "output": output, **fields}).encode())


def event(kind, **fields):
    """One event of a stream."""
    return {"type": f"response.{kind}", **fields}


def done(output=(), kind="completed", **fields):
    """The event that ends a stream."""
    return event(kind, response={"id": "r", "model": "m", "status": kind, "output": list(output), **fields})


def folded(*events):
    """The answer of a stream."""
    answer, error = decode_stream(OPENAI_RESPONSES, [sse(*events)])
    assert error is None, error
    return answer


def test_the_path_is_always_the_same():
    """The model is in the body."""
    assert "/responses" == OPENAI_RESPONSES.path("m", True)


def test_roles_stay_what_they_are():
    """Instructions are items like any other."""
    assert ["system", "developer", "user", "assistant"] == [
        item["role"] for item in items(Message.system("a"), Message("developer", "b"), Message.user("c"), Message.assistant("d"))
    ]


def test_developers_are_the_system_where_they_are_not_known():
    """The quirk comes from the catalog."""
    assert "system" == items(Message("developer", "b"), Message.user("c"), quirks=frozenset({"system_role"}))[0]["role"]


def test_parts_of_a_users_turn_are_written():
    """Each by what it has."""
    parts = [
        TextPart(text="t"),
        ImagePart(data=b"x", media_type="image/png", detail="low"),
        ImagePart(url="https://example.com/a.png"),
        ImagePart(file_id="file-1"),
        FilePart(data=b"x", media_type="application/pdf", name="a.pdf"),
        FilePart(url="https://example.com/a.pdf"),
        FilePart(file_id="file-2"),
        AudioPart(data=b"x", format="wav"),
        OtherPart(origin=NAME, data={"type": "input_hologram"}),
    ]

    assert [
        {"type": "input_text", "text": "t"},
        {"type": "input_image", "image_url": "data:image/png;base64,eA==", "detail": "low"},
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_image", "file_id": "file-1"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,eA=="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
        {"type": "input_file", "file_id": "file-2"},
        {"type": "input_audio", "input_audio": {"data": "eA==", "format": "wav"}},
        {"type": "input_hologram"},
    ] == items(Message.user(*parts))[0]["content"]


def test_an_assistants_turn_is_items_in_order():
    """A thought stands before what it led to."""
    turn = Message.assistant(
        ReasoningPart(text="hm", id="rs_1", encrypted="e", origin=NAME),
        TextPart(text="a"),
        ToolCall(name="f", arguments="{}", id="c1"),
        ReasoningPart(text="my own"),
        ToolCall(name="g", arguments="x", id="c2", kind="custom"),
        OtherPart(origin=NAME, data={"type": "web_search_call", "id": "ws"}),
    )

    assert [
        {"type": "reasoning", "id": "rs_1", "encrypted_content": "e", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "assistant", "content": "a"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "my own"}]},
        {"type": "custom_tool_call", "call_id": "c2", "name": "g", "input": "x"},
        {"type": "web_search_call", "id": "ws"},
    ] == items(Message.user("Hi"), turn)[1:]


def test_results_answer_calls_of_their_kind():
    """A call of free text gets its own kind of result; parts stay parts."""
    calls = [ToolCall(name="f", id="c1"), ToolCall(name="g", id="c2", kind="custom")]
    seen = items(
        Message.assistant(tool_calls=calls), Message("tool", [TextPart(text="a")], tool_call_id="c1"), Message.tool("b", "c2")
    )

    assert [
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "a"}]},
        {"type": "custom_tool_call_output", "call_id": "c2", "output": "b"},
    ] == seen[2:]


def test_calls_and_results_without_ids_are_paired_by_order():
    """Some formats have none."""
    turns = [Message.assistant(tool_calls=[ToolCall(name="f"), ToolCall(name="g")]), Message.tool("a"), Message.tool("b")]

    assert ["call_0", "call_1", "call_0", "call_1"] == [item["call_id"] for item in items(*turns)]


def test_another_vendors_thoughts_are_not_sent():
    """They mean nothing here."""
    assert [{"role": "assistant", "content": "a"}] == items(
        Message.assistant(ReasoningPart(text="hm", origin="gemini"), TextPart(text="a"))
    )


@each(
    "messages, fields, name",
    [
        ("Hi", {"stop": ["x"]}, "stop"),
        ("Hi", {"seed": 1}, "seed"),
        ("Hi", {"n": 2}, "n"),
        ("Hi", {"top_k": 2}, "top_k"),
        ("Hi", {"presence_penalty": 1.0}, "presence_penalty"),
        ("Hi", {"frequency_penalty": 1.0}, "frequency_penalty"),
        ("Hi", {"reasoning_tokens": 99}, "reasoning_tokens"),
        ("Hi", {"tools": [VendorTool(origin="gemini", data={"googleSearch": {}})]}, "tools"),
        ([Message.user(VideoPart(url="https://example.com/a.mp4"))], {}, "message.content"),
        ([Message.user("a", OtherPart(origin="gemini", data={}))], {}, "message.content"),
        ([Message.assistant(ImagePart(url="https://example.com/a.png"))], {}, "message.content"),
        ([Message.assistant(OtherPart(origin="gemini", data={}))], {}, "message.content"),
        ([Message("user", "a", name="Ann")], {}, "message.name"),
    ],
)
def test_what_has_no_place_is_refused_or_dropped(messages, fields, name):
    """By name; where the request allows it, the rest is sent."""
    with pytest.raises(InvalidRequest, match=rf"^{name}: "):
        sent(messages, **fields)

    assert {"model", "input"} == sent(messages, drop_params=True, **fields).keys()


def test_settings_without_an_effect_are_left_out():
    """One answer is what there is; the vendor remembers by itself."""
    assert {"model", "input"} == sent(n=1, prompt_cache="5m", reasoning_summary="none").keys()


def test_settings_are_written_in_the_formats_words():
    """Grouped where it groups them."""
    schema = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}, "strict": True}}
    seen = sent(
        max_tokens=9,
        reasoning_effort="low",
        reasoning_summary="auto",
        response_format=schema,
        tools=[Tool(name="f", description="d", strict=True)],
        extra_params={"text": {"verbosity": "low"}, "reasoning": {"context": "all_turns"}},
        stream=True,
    )

    assert {
        "max_output_tokens": 9,
        "reasoning": {"effort": "low", "summary": "auto", "context": "all_turns"},
        "text": {
            "format": {"type": "json_schema", "name": "response", "schema": {"type": "object"}, "strict": True},
            "verbosity": "low",
        },
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": True}],
        "stream": True,
    } == {name: value for name, value in seen.items() if name not in ("model", "input")}


@each(
    "choice, expected",
    [
        ("auto", "auto"),
        ("any", "required"),
        ("f", {"type": "function", "name": "f"}),
        ({"type": "function", "function": {"name": "f"}}, {"type": "function", "name": "f"}),
        ({"type": "web_search"}, {"type": "web_search"}),
    ],
)
def test_a_choice_of_tools_is_written(choice, expected):
    """Words of any format, and a function's bare name."""
    assert expected == sent(tools=[Tool(name="f")], tool_choice=choice)["tool_choice"]


@each("include", [None, [], ["reasoning.encrypted_content"], ["message.output_text.logprobs"]])
def test_logprobs_are_asked_for(include):
    """Beside what the request wants included itself."""
    extra = {} if include is None else {"include": include}
    seen = sent(logprobs=True, top_logprobs=2, extra_params=extra)

    assert ({*(include or ()), "message.output_text.logprobs"}, 2) == (set(seen["include"]), seen["top_logprobs"])


def test_nothing_is_included_that_was_not_asked_for():
    """Encrypted thoughts are the caller's to want."""
    assert "include" not in sent(reasoning_effort="high", extra_params={"store": False})


def test_what_a_model_refuses_is_left_out():
    """Quirks of the catalog."""
    quirks = frozenset({"no_sampling", "no_effort", "no_user", "no_parallel_tools"})

    assert {"model", "input"} == sent(
        temperature=1.0, top_p=0.5, reasoning_effort="low", user="u", parallel_tool_calls=True, quirks=quirks
    ).keys()


def test_a_forced_call_that_a_model_refuses_is_told():
    """The answer would be another."""
    with pytest.raises(InvalidRequest, match=r"^tool_choice: "):
        sent(tools=[Tool(name="f")], tool_choice="required", quirks=frozenset({"no_forced_tools"}))
    assert "tool_choice" not in sent(tool_choice="f", quirks=frozenset({"no_forced_tools"}), drop_params=True)


@each(
    "status, fields, output, reason",
    [
        ("completed", {}, [MESSAGE], "stop"),
        ("completed", {}, [MESSAGE, CALL], "tool_calls"),
        ("incomplete", {"incomplete_details": {"reason": "max_output_tokens"}}, [MESSAGE], "length"),
        ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, [], "content_filter"),
        ("incomplete", {"incomplete_details": {"reason": "steered"}}, [], "steered"),
        ("incomplete", {}, [], "incomplete"),
        ("queued", {}, [], "queued"),
    ],
)
def test_why_an_answer_ended_is_read(status, fields, output, reason):
    """The common word beside the vendor's own."""
    answer = decoded(output, status, **fields)

    assert (reason, status) == (answer.finish_reason, answer.finish_reason_raw)


def test_a_failed_answer_is_its_error():
    """Also with a 200."""
    with pytest.raises(QuotaExceeded, match="spent"):
        decoded([], "failed", error={"code": "insufficient_quota", "message": "spent"})


def test_what_hangs_on_a_text_is_read():
    """Annotations as citations, counted from the beginning of the answer; logprobs; what the item says of itself."""
    note = {"type": "url_citation", "url": "https://example.com", "title": "t", "start_index": 1, "end_index": 3}
    text = {"type": "output_text", "text": "b c", "annotations": [note], "logprobs": [{"token": "b"}]}
    answer = decoded([MESSAGE, {**MESSAGE, "id": "msg_2", "phase": "final_answer", "content": [text]}])
    source = answer.citations[0]

    assert ("https://example.com", "t", 7, 9, note) == (source.url, source.title, source.start, source.end, source.raw)
    assert ({"token": "b"},) == answer.logprobs
    assert {"item": {"id": "msg_2", "phase": "final_answer"}, "annotations": [note]} == answer.parts[1].extra[NAME]


def test_blocks_of_the_vendors_own_are_kept_in_order():
    """Whole, and between what stood around them."""
    search = {"type": "web_search_call", "id": "ws", "action": {"type": "search"}}
    picture = {"type": "output_picture", "x": 1}
    answer = decoded([search, {**MESSAGE, "content": [*MESSAGE["content"], picture]}])

    assert [OtherPart(origin=NAME, data=search), OtherPart(origin=NAME, data={**MESSAGE, "content": [picture]})] == [
        answer.parts[0],
        answer.parts[2],
    ]


DELTAS = [
    event("created", response={"id": "r", "model": "m", "status": "in_progress", "output": []}),
    event("output_item.added", output_index=0, item={**THOUGHT, "content": []}),
    event("reasoning_text.delta", output_index=0, item_id="rs", content_index=0, delta="hm"),
    event("output_item.done", output_index=0, item=THOUGHT),
    event("output_item.added", output_index=1, item={**MESSAGE, "content": []}),
    event("output_text.delta", output_index=1, item_id="msg", content_index=0, delta="Hel"),
    event("output_text.delta", output_index=1, item_id="msg", content_index=0, delta="lo."),
    event("output_text.done", output_index=1, item_id="msg", content_index=0, text="Hello."),
    event("output_item.done", output_index=1, item=MESSAGE),
    event("output_item.added", output_index=2, item={**CALL, "arguments": "", "status": "in_progress"}),
    event("function_call_arguments.delta", output_index=2, item_id="fc", delta='{"a":'),
    event("function_call_arguments.delta", output_index=2, item_id="fc", delta="1}"),
    event("function_call_arguments.done", output_index=2, item_id="fc", arguments='{"a":1}'),
    event("output_item.done", output_index=2, item=CALL),
]
OUTPUT = [THOUGHT, MESSAGE, CALL]


def without(*kinds):
    """The events of a server that sends no such ones."""
    return [said for said in DELTAS if not said["type"].endswith(kinds)]


@each(
    "events",
    [
        [*DELTAS, done(OUTPUT)],
        [*DELTAS, done()],
        [*DELTAS, done(OUTPUT), "[DONE]"],
        [*without(".delta"), done(OUTPUT)],
        [*without(".delta", "_text.done", "arguments.done"), done()],
        [*without(".delta", "item.done"), done(OUTPUT)],
        [*without("item.done"), done(OUTPUT)],
        [*without("item.added"), done(OUTPUT)],
        [*without("item.added", "item.done"), done(OUTPUT)],
        [*without("item.done", "text.done", "arguments.done"), done(OUTPUT)],
        [done(OUTPUT)],
        [*DELTAS[:4], done(OUTPUT)],
        [*DELTAS[:6], done(OUTPUT)],
        [*DELTAS[:11], done(OUTPUT)],
        [*DELTAS, *DELTAS[-1:], done(OUTPUT)],
    ],
)
def test_nothing_is_lost_or_doubled(events):
    """Whichever of deltas, finished items and the whole response a server sends."""
    whole, seen = decoded(OUTPUT), folded(*events)

    assert (whole.content, whole.reasoning, whole.tool_calls, whole.finish_reason, whole.response_id) == (
        (seen.content, seen.reasoning, seen.tool_calls, seen.finish_reason, seen.response_id)
    )


@each("rename", ["ids", "places", "both missing"])
def test_items_are_known_by_id_or_by_place(rename):
    """Some servers give each event another id, some every item the same place."""
    events = copy.deepcopy([*DELTAS, done(OUTPUT)])
    for number, said in enumerate(events):
        for holder, field in (
            (said, "item_id"),
            (said.get("item", {}), "id"),
            *((item, "id") for item in said.get("response", {}).get("output", ())),
        ):
            if rename == "ids" and field in holder:
                holder[field] = f"{holder[field]}-{number}"
        if rename == "places" and "output_index" in said:
            said["output_index"] = 0
        if rename == "both missing":
            said.pop("item_id", None)
    whole, seen = decoded(OUTPUT), folded(*events)

    assert (whole.content, whole.reasoning, len(whole.tool_calls)) == (seen.content, seen.reasoning, len(seen.tool_calls))
    assert [call.arguments for call in whole.tool_calls] == [call.arguments for call in seen.tool_calls]


def test_a_message_that_is_finished_late_is_not_doubled():
    """Where the next item begins before the message is told to be finished."""
    late = [*DELTAS[:8], *DELTAS[9:11], DELTAS[8], *DELTAS[11:], done(OUTPUT)]

    assert ("Hello.", '{"a":1}') == (lambda seen: (seen.content, seen.tool_calls[0].arguments))(folded(*late))


def test_two_messages_under_way_at_once_are_both_kept():
    """No finished one takes the other's text with it."""
    second = {**MESSAGE, "id": "msg_2", "content": [{"type": "output_text", "text": " Bye."}]}
    events = [
        event("output_text.delta", output_index=0, item_id="msg", content_index=0, delta="Hello."),
        event("output_text.delta", output_index=1, item_id="msg_2", content_index=0, delta=" Bye."),
        event("output_item.done", output_index=1, item=second),
        event("output_item.done", output_index=0, item=MESSAGE),
        done([MESSAGE, second]),
    ]

    assert "Hello. Bye." == folded(*events).content


def test_what_a_vendor_said_stays_said():
    """A finished item that contradicts its deltas does not take them back."""
    events = [*DELTAS[4:7], event("output_item.done", output_index=1, item={**MESSAGE, "content": []}), done()]

    assert "Hello." == folded(*events).content


def test_a_message_of_several_parts_is_read():
    """Each finished part is a part of ours."""
    content = [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]
    events = [
        event("output_text.delta", output_index=0, item_id="msg", content_index=0, delta="a"),
        event("output_text.delta", output_index=0, item_id="msg", content_index=1, delta="b"),
        event("output_text.done", output_index=0, item_id="msg", content_index=1, text="b"),
        done([{**MESSAGE, "content": content}]),
    ]

    assert decoded([{**MESSAGE, "content": content}]) == folded(*events)
    assert ["a", "b"] == [part.text for part in folded(*events).parts]


def test_annotations_and_logprobs_may_come_by_themselves():
    """Where the finished message has none."""
    note = {"type": "url_citation", "url": "https://example.com"}
    here = {"output_index": 0, "item_id": "msg", "content_index": 0}
    events = [
        event("output_text.delta", **here, delta="Hello.", logprobs=[{"token": "Hello."}]),
        event("output_text.annotation.added", **here, annotation=note),
        done([MESSAGE]),
    ]
    seen = folded(*events)

    assert ([note], ({"token": "Hello."},)) == ([source.raw for source in seen.citations], seen.logprobs)


def test_a_custom_call_is_streamed():
    """Its input is free text."""
    call = {"type": "custom_tool_call", "id": "ctc", "call_id": "c", "name": "g", "input": "free text"}
    events = [
        event("output_item.added", output_index=0, item={**call, "input": ""}),
        event("custom_tool_call_input.delta", output_index=0, item_id="ctc", delta="free "),
        done([call]),
    ]

    assert (ToolCall(name="g", arguments="free text", id="c", kind="custom", extra={NAME: {"id": "ctc"}}),) == folded(
        *events
    ).tool_calls


def test_a_thought_that_ends_without_text_keeps_what_was_told():
    """The deltas had it."""
    events = [*DELTAS[:3], event("output_item.done", output_index=0, item={"type": "reasoning", "id": "rs", "summary": []}), done()]

    assert [("hm", "rs")] == [(part.text, part.id) for part in folded(*events).reasoning_parts]


def test_an_id_is_told_before_an_item_is_finished():
    """What passes a stream on can name its items from the first piece on."""
    chunks = OPENAI_RESPONSES.decoder().feed(sse(*DELTAS))

    assert ["rs", "msg", "msg"] == [chunk.item for chunk in chunks if chunk.reasoning or chunk.content]


@each(
    "last, kind",
    [
        (event("failed", response={"status": "failed", "error": {"code": "server_error", "message": "oh"}}), VendorUnavailable),
        (event("failed", response={"status": "failed", "error": None}), VendorUnavailable),
        (
            done(kind="completed") | {"response": {"status": "failed", "error": {"code": "content_filter", "message": "oh"}}},
            ContentFiltered,
        ),
        ({"type": "error", "code": "insufficient_quota", "message": "spent", "param": None}, QuotaExceeded),
        ({"type": "error", "error": {"type": "server_error", "code": None, "message": "oh"}}, VendorUnavailable),
        ("nonsense", StreamInterrupted),
    ],
)
def test_a_failure_after_the_beginning_is_raised(last, kind):
    """With a 200 behind it, after what was said."""
    answer, error = decode_stream(
        OPENAI_RESPONSES, [sse(*DELTAS[:7], last, "[DONE]")] if kind is not StreamInterrupted else [sse(*DELTAS[:7])]
    )

    assert ("Hello.", kind) == (answer.content, type(error))


def test_a_failure_that_is_billed_tells_the_bill():
    """Usage comes before the error."""
    usage = {"input_tokens": 5, "output_tokens": 7}
    answer, error = decode_stream(OPENAI_RESPONSES, [sse(event("failed", response={"error": {"message": "oh"}, "usage": usage}))])

    assert (5, 7, VendorUnavailable) == (answer.usage.input_tokens, answer.usage.output_tokens, type(error))


def test_long_and_short_cache_writes_are_told_apart():
    """The longer is the dearer."""
    details = {
        "cached_tokens": 1,
        "cache_write_tokens": 5,
        "cache_write_tokens_details": {"ttl_30m_tokens": 2, "ttl_12h_tokens": 3},
    }
    usage = decoded([], usage={"input_tokens": 9, "input_tokens_details": details, "output_tokens": 0}).usage

    assert (9, 1, 5, 3) == (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_long_tokens)


def test_an_answer_without_output_is_malformed():
    """Whatever else it says."""
    with pytest.raises(MalformedReply, match="no output"):
        OPENAI_RESPONSES.decode(b'{"id": "r", "status": "completed"}')


def test_what_is_said_without_its_place_is_said_once():
    """A gateway tells the place of a thought's text only where it is done."""
    about = {"item_id": "rs", "output_index": 0}
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": {"type": "reasoning", "id": "rs"}},
        {"type": "response.reasoning_summary_text.delta", **about, "delta": "h"},
        {"type": "response.reasoning_summary_text.delta", **about, "delta": "m"},
        {"type": "response.reasoning_summary_text.done", **about, "summary_index": 0, "text": "hm"},
        {"type": "response.completed", "response": {"status": "completed", "output": []}},
    ]

    assert "hm" == fold(OPENAI_RESPONSES.decoder().feed(sse(*events))).reasoning
