"""The base class of simulated formats, and simulated responses as the values that codecs encode."""

from __future__ import annotations

import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from ...errors import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    DispatchError,
    InvalidRequest,
    ModelNotFound,
    QuotaExceeded,
    VendorUnavailable,
)
from ...runtime import SYSTEM_CLOCK
from ...types import Part, ReasoningPart, Response, StreamChunk, TextPart, ToolCall, ToolCallDelta, Usage, unfold
from ...wire import STATUSES, Codec, Inbound
from ..answers import SimulatedResponse, pieces


@attrs.frozen(kw_only=True)
class Names:
    """A vendor's names: the prefixes of its ids, its service tier, its signatures of thoughts and calls.

    ``stop`` is the vendor's finish reason for a stop sequence, if it has one; ``early_usage``: a stream begins with the input
    tokens.
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
    """What a vendor adds to the content of a response."""

    model: str
    id: str
    input_tokens: int
    names: Names
    cached: tuple[float, float] = (0.0, 0.0)

    def usage(self, answer: SimulatedResponse | None) -> Usage:
        """Return the usage; before the response, it has one output token."""
        read, written = [int(self.input_tokens * share) for share in self.cached]
        begun = Usage(input_tokens=self.input_tokens, output_tokens=1, cache_read_tokens=read, cache_write_tokens=written)
        if answer is None:
            return begun
        thought = answer.reasoning_tokens
        return attrs.evolve(begun, output_tokens=answer.output_tokens + thought, reasoning_tokens=thought)

    def raw(self, answer: SimulatedResponse) -> str | None:
        """Return the vendor's own finish reason, if the common one does not tell it."""
        return self.names.stop if answer.stop_sequence is not None and answer.reason == "stop" else None

    def calls(self, answer: SimulatedResponse) -> tuple[ToolCall, ...]:
        """Return the calls, with ids and signatures if the vendor has them."""
        return tuple([self._call(number, call) for number, call in enumerate(answer.tool_calls)])

    def thought(self, answer: SimulatedResponse) -> tuple[ReasoningPart, ...]:
        """Return the reasoning with its signature, if the vendor signs any."""
        if not answer.reasoning or self.names.thought_proof is None:
            return ()
        return (ReasoningPart(text=answer.reasoning, signature=self.names.thought_proof + self.id, origin=self.names.origin),)

    def _call(self, number: int, call: ToolCall) -> ToolCall:
        made = f"{self.names.call}{self.id}{number}" if self.names.call is not None else None
        proof = f"{self.names.call_proof}{self.id}" if self.names.call_proof is not None else None
        return attrs.evolve(call, id=call.id or made, signature=call.signature or proof)


def response(facts: Facts, answer: SimulatedResponse | Response) -> Response:
    """Return a whole response; one that was given as a :class:`Response` is only completed."""
    if isinstance(answer, Response):
        return _complete(facts, answer)
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


def _complete(facts: Facts, given: Response) -> Response:
    """Add what a vendor always sends and the response lacks."""
    return attrs.evolve(
        given,
        model=given.model or facts.model,
        response_id=given.response_id or facts.names.answer + facts.id,
        finish_reason=given.finish_reason or ("tool_calls" if given.tool_calls else "stop"),
        created_at=given.created_at or SYSTEM_CLOCK.now(),
    )


def chunks(facts: Facts, answer: SimulatedResponse | Response) -> tuple[StreamChunk, Iterator[StreamChunk], StreamChunk]:
    """Return the first chunk, the chunks with content, and the last chunk of a streamed response."""
    if isinstance(answer, Response):
        begun, *said, ended = unfold(_complete(facts, answer))
        return begun, iter(said), ended
    begun = StreamChunk(
        model=facts.model,
        response_id=facts.names.answer + facts.id,
        service_tier=facts.names.tier,
        usage=facts.usage(None) if facts.names.early_usage else None,
    )
    ended = StreamChunk(finish_reason=answer.reason, finish_reason_raw=facts.raw(answer), usage=facts.usage(answer))
    return begun, _content_chunks(facts, answer), ended


def _content_chunks(facts: Facts, answer: SimulatedResponse) -> Iterator[StreamChunk]:
    for piece in pieces(answer.reasoning):
        yield _chunk(reasoning=piece)
    for part in facts.thought(answer):
        yield StreamChunk(parts=(part,))
    for piece in pieces(answer.text):
        yield _chunk(content=piece)
    for number, call in enumerate(facts.calls(answer)):
        head = ToolCallDelta(index=number, id=call.id, name=call.name, signature=call.signature, kind=call.kind)
        yield StreamChunk(tool_calls=(head,))
        for at in range(0, len(call.arguments), 8):
            yield StreamChunk(tool_calls=(ToolCallDelta(index=number, arguments=call.arguments[at : at + 8]),))


_chunk = functools.lru_cache(maxsize=8192)(StreamChunk)
"""Makes a chunk, or gives the one that was made: simulated responses repeat words."""


@attrs.frozen(kw_only=True)
class SimulatedRequest:
    """One request as the simulator understood it; ``json`` is ``None`` if the body was no JSON.

    ``format`` is ``"openai"``, ``"openai_responses"``, ``"azure"``, ``"anthropic"``, ``"gemini"``, ``"ollama"``, or empty for a
    path that is of no format. ``server_request`` is the decoded request, ``None`` if it cannot be decoded.
    ``number`` counts from 0; equal ``connection`` numbers mean a reused connection. ``id`` depends on seed and number alone.
    """

    format: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    json: Any = attrs.field(repr=False)
    model: str
    stream: bool
    connection: int
    reused: bool
    number: int
    id: str
    server_request: Inbound | None = attrs.field(default=None, repr=False)
    cached: tuple[float, float] = (0.0, 0.0)
    """The shares of its input that are read from a prompt cache, and written into one."""


@attrs.frozen
class ApiError:
    """Why a vendor refuses, before any format.

    ``kind`` picks a special case of the status: ``"key"``, ``"model"``, ``"quota"``, ``"context"``, ``"filter"``; empty is the
    usual one. ``message``, ``param`` and ``code`` replace the usual words. ``delay`` is Google's ``retryDelay``.
    """

    status: int
    kind: str = ""
    message: str = attrs.field(default="", kw_only=True)
    param: str | None = attrs.field(default=None, kw_only=True)
    code: str | None = attrs.field(default=None, kw_only=True)
    delay: str | None = attrs.field(default=None, kw_only=True)

    @property
    def error(self) -> type[DispatchError]:
        """The class of error that a caller of the library gets."""
        usual = STATUSES.get(self.status, VendorUnavailable if self.status >= 500 else InvalidRequest)
        return _KINDS.get(self.kind, usual)


_KINDS: Mapping[str, type[DispatchError]] = {
    "key": AuthenticationError,
    "model": ModelNotFound,
    "quota": QuotaExceeded,
    "context": ContextWindowExceeded,
    "filter": ContentFiltered,
}


ErrorTexts = Mapping[str | int, str | tuple[str, str]]
"""By kind or status, 0 for every other: the vendor's usual message, or that and its code."""


@attrs.frozen
class Pieces:
    """The events of a streamed response: before the first word, the words, and after them."""

    opening: list[bytes]
    deltas: list[bytes]
    closing: list[bytes]
    content_type: str = "text/event-stream; charset=utf-8"

    @property
    def all(self) -> list[bytes]:
        """Every event in order."""
        return [*self.opening, *self.deltas, *self.closing]


class Format(ABC):
    """One vendor's side of a wire format: its codec, and what a codec does not know.

    That is the header of the key, the checks of a request, the texts of errors, and names.
    """

    name: ClassVar[str]
    """``"openai"``, ``"anthropic"`` ..."""
    id_header: ClassVar[str] = "x-request-id"
    """The header with the request's id."""
    codec: ClassVar[Codec]
    key_header: ClassVar[str] = ""
    """The header with the key; a bearer token counts, too."""
    errors: ClassVar[ErrorTexts]
    ping: ClassVar[bytes]
    """A sign of life that says nothing."""
    names: ClassVar[Names] = Names()
    separator: ClassVar[bytes] = b"\n\n"
    """The end of an event."""
    is_list: ClassVar[bool] = False
    """Whether it lists models, which clients do in between; scripts are for other requests."""

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the API key of the request; one in the address does not count, since it would leak into logs."""
        return headers.get(self.key_header) or bearer(headers)

    @abstractmethod
    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Return what is wrong with the request, as a real server would find it."""

    def read(self, body: bytes, path: str) -> Inbound | None:
        """Decode a request; ``None`` for an invalid body."""
        try:
            return self.codec.read_request(body, path)
        except InvalidRequest:
            return None

    def side_response(self, request: SimulatedRequest, models: Sequence[str]) -> bytes | None:
        """Return a list, vectors or a count; ``None`` for a conversation. ``models`` are globs of the vendor's models."""
        return None

    def turns(self, request: SimulatedRequest) -> list[str]:
        """Return the texts of the conversation, the system's first."""
        return [message.text for message in _inbound_of(request).request.messages]

    def limits(self, request: SimulatedRequest) -> tuple[int | None, Sequence[str]]:
        """Return the output limit and the stop sequences."""
        asked = _inbound_of(request).request
        return asked.max_tokens, asked.stop

    def body(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> bytes:
        """Encode a whole response."""
        return self.codec.write_response(response(self._facts(request), answer), request.server_request)

    def pieces(self, request: SimulatedRequest, answer: SimulatedResponse | Response) -> Pieces:
        """Encode a streamed response."""
        writer = self.codec.writer(request.server_request)
        begun, said, ended = chunks(self._facts(request), answer)
        opening, deltas = [writer.write(begun)], [event for chunk in said if (event := writer.write(chunk))]
        if deltas:  # the opening of the first block is no word
            *before, first = self._events(deltas[0])
            opening, deltas[0] = [*opening, *before], first
        return Pieces(opening, deltas, [writer.write(ended) + writer.end()], self.codec.content_type)

    def error(self, api_error: ApiError) -> tuple[int, dict[str, Any]]:
        """Return status and body of an error response."""
        status, body = self.codec.write_error(self.fault(api_error))
        return status, json.loads(body)

    def error_event(self, api_error: ApiError) -> bytes:
        """Return the event of an error within a stream."""
        return self.codec.writer().fail(self.fault(api_error))

    def fault(self, api_error: ApiError) -> DispatchError:
        """Return the error that a codec encodes."""
        words = self.errors.get(api_error.kind) or self.errors.get(api_error.status) or self.errors[0]
        message, code = (words, None) if isinstance(words, str) else words
        return api_error.error(api_error.message or message, status=api_error.status, code=api_error.code or code)

    def _facts(self, request: SimulatedRequest) -> Facts:
        tokens = input_tokens(self.turns(request))
        return Facts(model=request.model, id=request.id, input_tokens=tokens, names=self.names, cached=request.cached)

    def _events(self, data: bytes) -> list[bytes]:
        return [event + self.separator for event in data.split(self.separator)[:-1]]


def _inbound_of(request: SimulatedRequest) -> Inbound:
    if request.server_request is None:
        raise LookupError("the request is none")
    return request.server_request


def parse_json(data: bytes) -> Any:
    """The value; ``None`` for what is no JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def dumps(value: Any) -> bytes:
    """Encode as compact JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def bearer(headers: Mapping[str, str]) -> str | None:
    """Return the token of an Authorization header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def input_tokens(turns: Sequence[str]) -> int:
    """Return a quarter of the characters of all turns, and three tokens for the frame of each."""
    return sum(-(-len(turn) // 4) + 3 for turn in turns)


def out_of_range(asked: Mapping[str, Any], key: str, low: float, high: float) -> bool:
    """Tell whether there is a number out of its range."""
    value = asked.get(key)
    return value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high)
