"""Pieces of an answer as they arrive, and the fold that makes a whole Response of them."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .messages import ReasoningPart, ToolCall
from .types import Response, Usage


@attrs.frozen(kw_only=True)
class ToolCallDelta:
    """A piece of a tool call; pieces with the same ``index`` belong together, ``arguments`` are concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = attrs.field(default=None, repr=False)


@attrs.frozen(kw_only=True)
class StreamChunk:
    """One piece of an answer; a field that this piece says nothing about is empty.

    ``usage`` is the whole usage so far, not a difference: the last one counts. ``reasoning_parts`` come when a thought is
    finished, with what its vendor wants back; their text was in ``reasoning`` before.
    """

    content: str = ""
    reasoning: str = ""
    reasoning_parts: tuple[ReasoningPart, ...] = ()
    refusal: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None

    @property
    def delta(self) -> str:
        """Another name for ``content``."""
        return self.content

    @property
    def has_output(self) -> bool:
        """Whether a reader sees anything of it; the first such chunk commits a stream."""
        return bool(self.content or self.reasoning or self.tool_calls or self.refusal)


class Fold:
    """Collects chunks one by one; cheap per chunk, so that a partial answer is at hand at any moment."""

    __slots__ = ("_calls", "_finish", "_ids", "_parts", "_reasoning", "_refusal", "_text", "usage")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._parts: tuple[ReasoningPart, ...] = ()
        self._refusal: list[str] = []
        self._calls: dict[int, list[ToolCallDelta]] = {}
        self._finish: tuple[str | None, str | None] = (None, None)
        self._ids: tuple[str | None, str | None] = (None, None)
        self.usage: Usage | None = None

    def add(self, chunk: StreamChunk) -> None:
        """Take in the next chunk."""
        if chunk.content:
            self._text.append(chunk.content)
        if chunk.reasoning:
            self._reasoning.append(chunk.reasoning)
        if chunk.reasoning_parts:
            self._parts += chunk.reasoning_parts
        if chunk.refusal:
            self._refusal.append(chunk.refusal)
        for delta in chunk.tool_calls:
            self._calls.setdefault(delta.index, []).append(delta)
        if chunk.finish_reason_raw is not None or chunk.finish_reason is not None:
            self._finish = (chunk.finish_reason, chunk.finish_reason_raw)
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.model or chunk.response_id:
            self._ids = (self._ids[0] or chunk.model, self._ids[1] or chunk.response_id)

    def response(self) -> Response:
        """The answer so far."""
        return Response(
            content="".join(self._text),
            reasoning="".join(self._reasoning),
            reasoning_parts=self._parts,
            refusal="".join(self._refusal) or None,
            tool_calls=tuple(_joined(deltas) for _, deltas in sorted(self._calls.items())),
            finish_reason=self._finish[0],
            finish_reason_raw=self._finish[1],
            usage=self.usage or Usage(cost_status="no usage reported"),
            model=self._ids[0] or "",
            response_id=self._ids[1],
        )


def fold(chunks: Iterable[StreamChunk]) -> Response:
    """The whole answer that the chunks make up."""
    collected = Fold()
    for chunk in chunks:
        collected.add(chunk)
    return collected.response()


def unfold(response: Response) -> StreamChunk:
    """The one chunk that a whole answer is worth; its fold gives the answer again."""
    return StreamChunk(
        content=response.content,
        reasoning=response.reasoning,
        reasoning_parts=response.reasoning_parts,
        refusal=response.refusal,
        tool_calls=tuple(
            ToolCallDelta(index=index, id=call.id, name=call.name, arguments=call.arguments, signature=call.signature)
            for index, call in enumerate(response.tool_calls)
        ),
        finish_reason=response.finish_reason,
        finish_reason_raw=response.finish_reason_raw,
        usage=response.usage,
        model=response.model or None,
        response_id=response.response_id,
    )


def _joined(deltas: list[ToolCallDelta]) -> ToolCall:
    return ToolCall(
        id=next((delta.id for delta in deltas if delta.id), None),
        name=next((delta.name for delta in deltas if delta.name), ""),
        arguments="".join(delta.arguments for delta in deltas),
        signature=next((delta.signature for delta in deltas if delta.signature), None),
    )
