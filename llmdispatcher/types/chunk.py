"""Chunks of a streamed response, and the fold that makes a whole ``Response`` of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import attrs

from ..errors import DispatchError
from .keywords import suggest
from .message import Part, ReasoningPart, TextPart, ToolCall
from .response import Choice, Citation, Response, Usage


@attrs.frozen(kw_only=True)
class ToolCallDelta:
    """A piece of a tool call; pieces with the same ``index`` belong together, ``arguments`` are concatenated."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    signature: str | None = attrs.field(default=None, repr=False)
    kind: str | None = None
    extra: Any = attrs.field(default=None, repr=False)


@suggest
@attrs.define(kw_only=True, unsafe_hash=True)
class StreamChunk:
    """One piece of an answer; the fields that it has no news of are empty.

    Do not change one, since the readers of a stream share it; ``attrs.evolve`` makes a changed copy. It is not frozen, since a
    stream makes one for every piece, and a frozen object takes three times as long to make.

    ``usage`` is the whole usage so far, not a difference: the last one counts. ``parts`` come when one is finished that is
    more than its text: a thought with its signature, text with what its vendor hung on it, a block of the vendor's own.
    Their text was in ``reasoning`` or ``content`` before. ``choice`` is not 0 where the request asked for several answers.
    ``item`` is the vendor's id of what ``content`` or ``reasoning`` is a piece of, where it names that before it is finished.
    """

    content: str = ""
    reasoning: str = ""
    parts: tuple[Part, ...] = ()
    refusal: str | None = None
    tool_calls: tuple[ToolCallDelta, ...] = ()
    finish_reason: str | None = None
    finish_reason_raw: str | None = None
    usage: Usage | None = None
    model: str | None = None
    response_id: str | None = None
    service_tier: str | None = None
    citations: tuple[Citation, ...] = ()
    logprobs: tuple[Any, ...] = ()
    choice: int = 0
    item: str | None = None

    @property
    def delta(self) -> str:
        """Another name for ``content``."""
        return self.content

    @property
    def has_output(self) -> bool:
        """Whether a reader sees anything of it, more than blanks; the first such chunk commits a stream."""
        for text in (self.content, self.reasoning, self.refusal):
            if text and not text.isspace():
                return True
        return bool(self.tool_calls)


class Fold:
    """Collects chunks one by one; cheap per chunk, so that a partial answer is at hand at any moment."""

    __slots__ = (
        "_calls",
        "_citations",
        "_finish",
        "_logprobs",
        "_model",
        "_order",
        "_others",
        "_reasoning",
        "_refusal",
        "_response_id",
        "_run",
        "_service_tier",
        "usage",
    )

    def __init__(self) -> None:
        self._order: list[list[str] | int | Part] = []  # runs of text, places of calls, finished parts: as they came
        self._run: list[str] | None = None  # the run of text that is still growing, last in the order
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, list[ToolCallDelta]] = {}
        self._finish: tuple[str | None, str | None] = (None, None)
        self._model: str | None = None
        self._response_id: str | None = None
        self._service_tier: str | None = None
        self._citations: list[Citation] = []
        self._logprobs: list[Any] = []
        self._others: dict[int, Fold] = {}
        self.usage: Usage | None = None

    def add(self, chunk: StreamChunk) -> None:
        """Take in the next chunk."""
        if chunk.usage is not None:
            self.usage = chunk.usage
        if chunk.choice:
            self._others.setdefault(chunk.choice, Fold()).add(attrs.evolve(chunk, choice=0))
            return
        if chunk.content:
            if self._run is None:
                self._run = []
                self._order.append(self._run)
            self._run.append(chunk.content)
        if chunk.reasoning:
            self._reasoning.append(chunk.reasoning)
        if chunk.refusal:
            self._refusal.append(chunk.refusal)
        if chunk.tool_calls or chunk.parts:
            self._add_calls(chunk.tool_calls)
            self._add_parts(chunk.parts)
        if chunk.finish_reason_raw is not None or chunk.finish_reason is not None:
            self._finish = (chunk.finish_reason, chunk.finish_reason_raw)
        if self._model is None or self._response_id is None or chunk.service_tier or chunk.citations or chunk.logprobs:
            self._add_facts(chunk)

    def _add_facts(self, chunk: StreamChunk) -> None:
        self._model = self._model or chunk.model or None
        self._response_id = self._response_id or chunk.response_id or None
        self._service_tier = chunk.service_tier or self._service_tier
        self._citations += chunk.citations
        self._logprobs += chunk.logprobs

    def _add_calls(self, deltas: tuple[ToolCallDelta, ...]) -> None:
        for delta in deltas:
            if delta.index not in self._calls:
                self._calls[delta.index] = []
                self._order.append(delta.index)
                self._run = None
            self._calls[delta.index].append(delta)

    def _add_parts(self, parts: tuple[Part, ...]) -> None:
        for part in parts:
            if isinstance(part, TextPart) and self._run is not None:
                self._order[-1] = part  # the same text, with what hangs on it
            else:
                self._order.append(part)
            self._run = None

    def response(self) -> Response:
        """The answer so far."""
        calls = {index: _join_deltas(deltas) for index, deltas in self._calls.items()}
        content, parts = self._content_and_parts(calls)
        return Response(
            content=content,
            reasoning="".join(self._reasoning),
            parts=parts,
            refusal="".join(self._refusal) or None,
            tool_calls=tuple([calls[index] for index in sorted(calls)]),
            finish_reason=self._finish[0],
            finish_reason_raw=self._finish[1],
            usage=self.usage or Usage(),
            model=self._model or "",
            response_id=self._response_id,
            service_tier=self._service_tier,
            citations=tuple(self._citations),
            logprobs=tuple(self._logprobs),
            other_choices=tuple([self._others[index]._choice(index) for index in sorted(self._others)]),
        )

    def _content_and_parts(self, calls: dict[int, ToolCall]) -> tuple[str, tuple[Part, ...]]:
        """The text, and all parts where there is more to their order than text and then calls."""
        kinds = [type(entry) for entry in self._order]
        if kinds == [list]:
            return "".join(self._order[0]), ()  # type: ignore[arg-type]  # it is a run of text
        parts = tuple([_part(entry, calls) for entry in self._order])
        more = kinds != [list] * (kinds[:1] == [list]) + [int] * len(self._calls)
        return "".join([part.text for part in parts if isinstance(part, TextPart)]), parts if more else ()

    def _choice(self, index: int) -> Choice:
        return attrs.evolve(self.response().choices[0], index=index)


def _part(entry: list[str] | int | Part, calls: dict[int, ToolCall]) -> Part:
    if isinstance(entry, list):
        return TextPart(text="".join(entry))
    return calls[entry] if isinstance(entry, int) else entry


def fold(chunks: Iterable[StreamChunk]) -> Response:
    """The whole answer that the chunks make up."""
    if isinstance(chunks, list) and len(chunks) == 1 and not (chunks[0].tool_calls or chunks[0].parts or chunks[0].choice):
        return response_of({name: getattr(chunks[0], name) or empty for name, empty in _OF_ONE})
    collected = Fold()
    for chunk in chunks:
        collected.add(chunk)
    return collected.response()


_OF_ONE = tuple([(field.name, field.default) for field in attrs.fields(StreamChunk) if field.name not in ("choice", "item")])


def response_of(fields: Mapping[str, Any]) -> Response:
    """The whole answer that a single chunk with these fields makes up; one without calls and parts, where nothing is joined."""
    return Response(**{**fields, "usage": fields["usage"] or Usage(), "model": fields["model"] or ""})


def unfold(response: Response) -> Iterator[StreamChunk]:
    """Split a whole answer into chunks, its model and id first; their fold gives the answer again."""
    yield StreamChunk(model=response.model or None, response_id=response.response_id, service_tier=response.service_tier)
    for choice in response.choices:
        yield from _unfold_choice(choice)
    yield StreamChunk(usage=response.usage, citations=response.citations)


def _unfold_choice(choice: Choice) -> Iterator[StreamChunk]:
    thoughts = "".join([part.text for part in choice.parts if isinstance(part, ReasoningPart)])
    if thoughts != choice.reasoning:  # a codec that has no parts for its thoughts
        yield StreamChunk(reasoning=choice.reasoning, choice=choice.index)
    numbered = 0
    said: tuple[Part, ...] = (TextPart(text=choice.content),) if choice.content else ()
    for part in choice.parts or (*said, *choice.tool_calls):
        if isinstance(part, ToolCall):
            yield StreamChunk(tool_calls=(_delta(numbered, part),), choice=choice.index)
            numbered += 1
        elif isinstance(part, ReasoningPart):
            yield StreamChunk(reasoning=part.text if thoughts == choice.reasoning else "", parts=(part,), choice=choice.index)
        elif isinstance(part, TextPart):
            yield StreamChunk(content=part.text, parts=(part,) if choice.parts else (), choice=choice.index)
        else:
            yield StreamChunk(parts=(part,), choice=choice.index)
    yield StreamChunk(
        refusal=choice.refusal,
        finish_reason=choice.finish_reason,
        finish_reason_raw=choice.finish_reason_raw,
        logprobs=choice.logprobs,
        choice=choice.index,
    )


def _delta(index: int, call: ToolCall) -> ToolCallDelta:
    return ToolCallDelta(
        index=index,
        id=call.id,
        name=call.name,
        arguments=call.arguments,
        signature=call.signature,
        kind=call.kind,
        extra=call.extra or None,
    )


def _join_deltas(deltas: list[ToolCallDelta]) -> ToolCall:
    return ToolCall(
        id=next((delta.id for delta in deltas if delta.id), None),
        name=next((delta.name for delta in deltas if delta.name), ""),
        arguments="".join([delta.arguments for delta in deltas]),
        signature=next((delta.signature for delta in deltas if delta.signature), None),
        kind=next((delta.kind for delta in deltas if delta.kind), "function"),
        extra=next((delta.extra for delta in reversed(deltas) if delta.extra), {}),
    )


class ChunkSource(Protocol):
    """An answer that has begun, as the attempt loop hands it over. ``movable``: any thread may read on, one at a time."""

    vendor: str
    model: str
    movable: bool

    @property
    def batches(self) -> Iterator[list[StreamChunk]]:
        """What arrives, read by read."""

    def finish(self, response: Response) -> Response:
        """Settle as a success; gives the response with cost, latency and trace filled in."""

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure."""

    def close(self) -> None:
        """Read no more, and let the vendor go."""
