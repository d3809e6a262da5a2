"""The fold of chunks is the answer they make up."""

from llmdispatcher import Citation, StreamChunk, TextPart, ToolCall, ToolCallDelta, Usage
from llmdispatcher.types import fold

from ..cases import each


@each(
    "chunk",
    [
        StreamChunk(),
        StreamChunk(content="a", model="", response_id="", service_tier=""),
        StreamChunk(content="a", reasoning="hm", refusal="", finish_reason="stop", finish_reason_raw="STOP", model="m"),
        StreamChunk(usage=Usage(input_tokens=3), citations=(Citation(url="u"),), logprobs=(1,), service_tier="t"),
        StreamChunk(content="a", parts=(TextPart(text="a", cache="5m"),)),
        StreamChunk(tool_calls=(ToolCallDelta(index=0, name="f"),)),
        StreamChunk(content="b", choice=1),
    ],
)
def test_one_chunk_alone_is_read_as_one_of_many(chunk):
    """The short way of a list of one gives what the long way gives."""
    assert fold(iter([chunk])) == fold([chunk])


def test_text_reasoning_and_refusal_are_joined():
    """Pieces come out in order, each kind for itself."""
    answer = fold([StreamChunk(reasoning="hm "), StreamChunk(content="a", refusal="no"), StreamChunk(reasoning="ok", content="b")])

    assert ("ab", "hm ok", "no") == (answer.content, answer.reasoning, answer.refusal)


def test_tool_calls_are_assembled_by_index():
    """Interleaved pieces of parallel calls find their own."""
    answer = fold(
        [
            StreamChunk(tool_calls=(ToolCallDelta(index=1, id="b", name="g"),)),
            StreamChunk(
                tool_calls=(ToolCallDelta(index=0, id="a", name="f", arguments="{"), ToolCallDelta(index=1, arguments="{}"))
            ),
            StreamChunk(tool_calls=(ToolCallDelta(index=0, name="", arguments="}", signature="s"),)),
        ]
    )

    assert (
        ToolCall(id="a", name="f", arguments="{}", signature="s"),
        ToolCall(id="b", name="g", arguments="{}"),
    ) == answer.tool_calls


def test_the_last_usage_and_finish_and_the_first_model_count():
    """Usage is cumulative, the model is said once."""
    answer = fold(
        [
            StreamChunk(model="m1", response_id="r1", usage=Usage(input_tokens=1)),
            StreamChunk(model="m2", finish_reason="stop", finish_reason_raw="STOP", usage=Usage(input_tokens=2)),
            StreamChunk(),
        ]
    )

    assert ("m1", "r1", "stop", "STOP", 2) == (
        answer.model,
        answer.response_id,
        answer.finish_reason,
        answer.finish_reason_raw,
        answer.usage.input_tokens,
    )


def test_a_chunk_has_output_when_a_reader_would_see_something():
    """Roles, usage, finish reasons and blanks alone commit nothing."""
    assert [True, True, True, True, False, False, False] == [
        chunk.has_output
        for chunk in (
            StreamChunk(content="x"),
            StreamChunk(reasoning="x"),
            StreamChunk(refusal="x"),
            StreamChunk(tool_calls=(ToolCallDelta(index=0),)),
            StreamChunk(finish_reason="stop", usage=Usage(), model="m"),
            StreamChunk(content=" \n"),
            StreamChunk(reasoning="\t", refusal=" "),
        )
    ]


def test_delta_is_another_name_for_content():
    """Both words of the field work."""
    assert "x" == StreamChunk(content="x").delta
