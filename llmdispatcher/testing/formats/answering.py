"""A simulated answer in the library's own words, whole or in chunks: what the codecs write."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import attrs

from ...chunks import StreamChunk, ToolCallDelta, unfold
from ...clock import SYSTEM_CLOCK
from ...messages import Part, ReasoningPart, TextPart, ToolCall
from ...response_values import Response, Usage
from ..answers import SimulatedResponse, pieces


@attrs.frozen(kw_only=True)
class Names:
    """How a vendor names what it makes: the beginnings of its ids, its service tier, what proves a thought or a call.

    ``stop`` is the vendor's word for an end at a stop sequence, where that has one; ``early_usage`` says that a stream begins with
    the count of what was read.
    """

    answer: str = ""
    call: str | None = "call_"
    tier: str | None = None
    origin: str | None = None
    thought_proof: str | None = None
    call_proof: str | None = None
    stop: str | None = None
    early_usage: bool = False


@attrs.frozen(kw_only=True)
class Facts:
    """What a vendor knows of an answer apart from what is said in it."""

    model: str
    id: str
    input_tokens: int
    names: Names

    def usage(self, answer: SimulatedResponse | None) -> Usage:
        """What was consumed; before the answer, a single token was written."""
        if answer is None:
            return Usage(input_tokens=self.input_tokens, output_tokens=1)
        thought = answer.reasoning_tokens
        return Usage(input_tokens=self.input_tokens, output_tokens=answer.output_tokens + thought, reasoning_tokens=thought)

    def raw(self, answer: SimulatedResponse) -> str | None:
        """The vendor's own word for the end, where the common one does not tell it."""
        return self.names.stop if answer.stop_sequence is not None and answer.reason == "stop" else None

    def calls(self, answer: SimulatedResponse) -> tuple[ToolCall, ...]:
        """The calls with ids and proofs where the vendor has them."""
        return tuple([self._call(number, call) for number, call in enumerate(answer.tool_calls)])

    def thought(self, answer: SimulatedResponse) -> tuple[ReasoningPart, ...]:
        """The thought with what proves it, where the vendor proves any."""
        if not answer.reasoning or self.names.thought_proof is None:
            return ()
        return (ReasoningPart(text=answer.reasoning, signature=self.names.thought_proof + self.id, origin=self.names.origin),)

    def _call(self, number: int, call: ToolCall) -> ToolCall:
        made = f"{self.names.call}{self.id}{number}" if self.names.call is not None else None
        proof = f"{self.names.call_proof}{self.id}" if self.names.call_proof is not None else None
        return attrs.evolve(call, id=call.id or made, signature=call.signature or proof)


def response(facts: Facts, answer: SimulatedResponse | Response) -> Response:
    """A whole answer; one that was given as a response is only completed."""
    if isinstance(answer, Response):
        return _completed(facts, answer)
    calls, thought = facts.calls(answer), facts.thought(answer)
    said: tuple[Part, ...] = (TextPart(text=answer.text),) if answer.text else ()
    return Response(
        content=answer.text,
        model=facts.model,
        usage=facts.usage(answer),
        finish_reason=answer.reason,
        finish_reason_raw=facts.raw(answer),
        tool_calls=calls,
        reasoning=answer.reasoning,
        parts=(*thought, *said, *calls) if thought else (),
        service_tier=facts.names.tier,
        response_id=facts.names.answer + facts.id,
        created_at=SYSTEM_CLOCK.now(),
    )


def _completed(facts: Facts, given: Response) -> Response:
    """What a vendor always says, where it was not given."""
    return attrs.evolve(
        given,
        model=given.model or facts.model,
        response_id=given.response_id or facts.names.answer + facts.id,
        finish_reason=given.finish_reason or ("tool_calls" if given.tool_calls else "stop"),
        created_at=given.created_at or SYSTEM_CLOCK.now(),
    )


def chunks(facts: Facts, answer: SimulatedResponse | Response) -> tuple[StreamChunk, Iterator[StreamChunk], StreamChunk]:
    """The same as it is streamed: what begins it, the words, what ends it."""
    if isinstance(answer, Response):
        begun, *said, ended = unfold(_completed(facts, answer))
        return begun, iter(said), ended
    begun = StreamChunk(
        model=facts.model,
        response_id=facts.names.answer + facts.id,
        service_tier=facts.names.tier,
        usage=facts.usage(None) if facts.names.early_usage else None,
    )
    ended = StreamChunk(finish_reason=answer.reason, finish_reason_raw=facts.raw(answer), usage=facts.usage(answer))
    return begun, _said(facts, answer), ended


def _said(facts: Facts, answer: SimulatedResponse) -> Iterator[StreamChunk]:
    for piece in pieces(answer.reasoning):
        yield _thought(piece)
    for part in facts.thought(answer):
        yield StreamChunk(parts=(part,))
    for piece in pieces(answer.text):
        yield _word(piece)
    for number, call in enumerate(facts.calls(answer)):
        head = ToolCallDelta(index=number, id=call.id, name=call.name, signature=call.signature, kind=call.kind)
        yield StreamChunk(tool_calls=(head,))
        for at in range(0, len(call.arguments), 8):
            yield StreamChunk(tool_calls=(ToolCallDelta(index=number, arguments=call.arguments[at : at + 8]),))


@functools.lru_cache(maxsize=8192)
def _word(piece: str) -> StreamChunk:
    """Kept, since simulated answers say the same words again and again."""
    return StreamChunk(content=piece)


@functools.lru_cache(maxsize=1024)
def _thought(piece: str) -> StreamChunk:
    return StreamChunk(reasoning=piece)
