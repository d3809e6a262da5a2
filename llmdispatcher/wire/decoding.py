"""What codecs share: JSON in and out, checked fields, and the decoders of event streams and of streams of JSON lines.

https://github.com/ndjson/ndjson-spec
"""

from __future__ import annotations

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar

import attrs

from .._text import room_logger
from ..errors import DispatchError, InvalidRequest, MalformedReply, StreamInterrupted, to_raise
from ..runtime import SYSTEM_CLOCK, new_id
from ..types import (
    MOST_DEPTH,
    MOST_MEMBERS,
    MOST_OBJECTS,
    MOST_TOKENS,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    Response,
    StreamChunk,
    TextPart,
    ToolCall,
    TooMuch,
    Usage,
    VendorTool,
    check_written,
    json_encoder,
    mended,
    parse_several,
    parse_text,
    plausible_cost,
    relaxed,
    unfold,
    weighed,
)
from .base import ENVELOPE, STREAMED, Bounds
from .errors import MAX_EXCERPT, excerpt, fault_inside, read, tells, tells_beside, tells_of_failure
from .sse import SseParser

LEADING_ROLES = ("system", "developer")
EXTRA_CONTENT = "extra_content"
"""Where Google's chat endpoint keeps a call's thought signature, and our servers of other formats than Google's.

https://ai.google.dev/gemini-api/docs/thought-signatures#openai
"""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")


T = TypeVar("T")
_DROPPED: ContextVar[dict[str, None] | None] = ContextVar("dropped", default=None)
ADAPTIVE: Mapping[str, str] = {"thinking": "adaptive"}
"""The mark in ``request.metadata`` of one that was read from Anthropic's format: it is to think as the model sees fit."""
_UNSENT: Mapping[str, tuple[str, ...]] = {
    "anthropic_messages": ("prompt_cache_key",),
    "gemini": ("user", "prompt_cache", "prompt_cache_key"),
    "ollama_chat": ("user", "service_tier", "prompt_cache", "prompt_cache_key", "reasoning_summary"),
    "openai_chat": ("prompt_cache", "reasoning_summary"),
    "openai_responses": ("prompt_cache",),
}
"""What changes no answer, and has no place in a format: nobody is refused for it, and clients are told."""
_MARKING = ("anthropic_messages", "openai_chat")
"""Formats that have marks of what to remember; whether a server takes them is seen where they are written."""
_THEIR_WORDS: Mapping[tuple[str | None, str], str] = {
    ("anthropic_messages", "reasoning_tokens"): "thinking",
    ("anthropic_messages", "stop"): "stop_sequences",
    ("gemini", "reasoning_tokens"): "thinkingConfig",
    ("gemini", "stop"): "stopSequences",
    ("openai_responses", "reasoning_effort"): "reasoning",
}
"""What the sender of a request calls what we call otherwise."""
_NONE: Mapping[str, Any] = {}
logger = room_logger("wire")
_encode = json_encoder(_plain, ensure_ascii=False, allow_nan=False)


def parse(body: bytes, members: int = MOST_MEMBERS) -> Any:
    """The document in ``body``. Raises :class:`MalformedReply` for anything that is not JSON, with a safe excerpt.

    Also for one that has more members than that, or is nested too deeply, before it is decoded.
    """
    try:
        text = body.decode("utf-8", "replace").removeprefix("\ufeff")
        return parse_text(text, members, objects=_most_objects(members), lenient=True)
    except TooMuch as much:
        raise MalformedReply(f"the vendor's answer {much}", sent=True) from None
    except ValueError:
        fixed = relaxed(text) if text.lstrip()[:1] in _EVENTS else None
        if fixed is not None:
            return parse_text(fixed, members, objects=_most_objects(members), lenient=True)
        error = MalformedReply(f"the vendor's answer is {_described(body.strip())}", sent=True)
        raise error.shortened(MAX_EXCERPT) from None


def _most_objects(members: int) -> int | None:
    """How many objects an answer may have: one that may have more members than usual is made of many small ones."""
    return MOST_OBJECTS if members <= MOST_MEMBERS else None


def parse_object(body: bytes, members: int = MOST_MEMBERS) -> Mapping[str, Any]:
    """The object in ``body``, also where it is the first of a list; an empty one where there is none."""
    document = parse(body, members)
    if isinstance(document, list) and document:
        document = document[0]
    return mapping(document)


def _described(body: bytes) -> str:
    if not body:
        return "empty"
    if body[:1] in (b"{", b"["):  # a piece of an answer has no place in an error
        return f"no valid JSON, or cut short ({len(body)} bytes)"
    return f"not JSON: {excerpt(body)}"


class Asked(Protocol):
    """What every kind of request has."""

    @property
    def model(self) -> str:
        """Who is asked."""

    @property
    def extra_params(self) -> Mapping[str, Any]:
        """What is merged into the body."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What is not sent."""

    @property
    def drop_params(self) -> bool:
        """Whether what has no place is left out."""

    @property
    def wire_format(self) -> str | None:
        """The format that it was read from."""


def dump(payload: Mapping[str, Any], request: Asked, codec: str) -> bytes:
    """The body of a call; the request's ``extra_params`` are merged last, mappings one level deep.

    Those of a request that was read from another format are dropped.
    """
    merged = dict(payload)
    foreign = request.wire_format not in (None, codec)
    if foreign:
        _tell_foreign(request, codec)
    if request.extra_params and not foreign:
        check_written(request.extra_params, merged)
    for name, value in () if foreign else request.extra_params.items():
        known = merged.get(name)
        merged[name] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    try:
        try:
            return _encode(merged).encode("utf-8", "replace")
        except ValueError:  # a model wrote NaN or 1e999 into a call, or a tool into a result
            said = {name: _in_words(merged[name]) for name in _CONVERSATION if name in merged}
            return _encode({**merged, **said}).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request cannot be written as JSON: {error}; use plain values in it") from None


_CONVERSATION = ("messages", "contents", "input")
"""Where the formats have what was said."""


def _in_words(value: Any) -> Any:
    """The same with numbers that JSON cannot carry as text."""
    if isinstance(value, dict):
        return {name: _in_words(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_in_words(inner) for inner in value]
    return json.dumps(value) if isinstance(value, float) and not math.isfinite(value) else value


def arguments_of(request: Asked, call: ToolCall, vendor: str) -> dict[str, Any]:
    """A call's arguments as an object, for formats that want one; what is none goes into it as ``input``.

    Raises :class:`InvalidRequest` for a text that is no object, unless the request was read from a wire format: a client cannot
    take back what a model wrote.
    """
    if call.kind == "custom":
        return {"input": call.arguments}
    try:
        arguments = call.parsed
    except (ValueError, RecursionError):
        fault, arguments = "not JSON", call.arguments
    else:
        fault = "no object"
    if isinstance(arguments, dict | None):
        return arguments or {}
    if request.wire_format is None:
        raise InvalidRequest(f"message.tool_calls: the arguments of {call.name!r} are {fault}, as {vendor} wants them")
    return {"input": arguments}


def written(document: Any) -> bytes:
    """An answer as JSON. Raises :class:`MalformedReply` where a vendor's values are none, such as an infinite number."""
    try:
        return _encode(document).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError):
        raise MalformedReply("the vendor's answer has values that JSON cannot carry", sent=True) from None


def leave_out(request: Asked, codec: str, field: str, why: str = "has no place in this format") -> None:
    """Refuse what a format cannot express, or drop it and tell so where the request allows that.

    It does with ``drop_params``, and where it was read from a wire format: its sender does not know who is asked.
    """
    if not request.drop_params and request.wire_format is None:
        raise InvalidRequest(f"{field}: {why} ({codec}); leave it out, ask another vendor, or set drop_params=True")
    tell_dropped(request, codec, field, why)


def tell_dropped(request: Asked, codec: str, field: str, why: str = "has no place in this format") -> None:
    """Note for :func:`telling_dropped` that something is not sent; no library call is refused for it, or told."""
    if request.wire_format is None and not request.drop_params:
        return
    dropped, word = _DROPPED.get(), _THEIR_WORDS.get((request.wire_format, field), field)
    if dropped is None or word not in dropped:
        logger.info("%s is not sent to %s: it %s (%s)", word, request.model, why, codec)
    if dropped is not None:
        dropped[word] = None


def tell_thought(request: Asked, codec: str, part: ReasoningPart) -> None:
    """Note that a thought is not sent, which another vendor made."""
    kind = "encrypted reasoning" if part.encrypted is not None else "reasoning"
    tell_dropped(request, codec, f"message.content: {kind}", f"is known to {part.origin} alone")


def leave_out_foreign(request: Asked, codec: str) -> None:
    """Leave out the ``extra_params``, which another format knows. Raises :class:`InvalidRequest` where nothing else is said."""
    why = f"is known to {request.wire_format} alone"
    if request.extra_params and not (getattr(request, "messages", ()) or getattr(request, "texts", ())):
        raise InvalidRequest(f"{', '.join(request.extra_params)}: {why} ({codec}), and nothing else is asked; ask another vendor")
    for name in request.extra_params:
        leave_out(request, codec, name, why)


def _tell_foreign(request: Asked, codec: str) -> None:
    """Tell what a request that was read from another format says that this one has no place for, whatever the codec does."""
    why = f"is known to {request.wire_format} alone"
    leave_out_foreign(request, codec)
    for name in _UNSENT.get(codec, ()):
        if getattr(request, name, None) is not None:
            tell_dropped(request, codec, name)
    if isinstance(request, Request):
        if request.metadata.get(str(request.wire_format)) == ADAPTIVE and request.reasoning_effort is None:
            tell_dropped(request, codec, "thinking", why)
        if codec not in _MARKING and _has_marks(request):
            tell_dropped(request, codec, "cache_control")


def _has_marks(request: Request) -> bool:
    parts = [part for message in request.messages if not isinstance(message.content, str) for part in message.content]
    return any(getattr(part, "cache", None) is not None for part in (*parts, *request.tools))


def telling_dropped(encode: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """What ``encode`` gives, and what it left out of the request, each name once."""
    dropped: dict[str, None] = {}
    token = _DROPPED.set(dropped)
    try:
        return encode(), tuple(dropped)
    finally:
        _DROPPED.reset(token)


def only_texts(messages: Iterable[Message]) -> bool:
    """Whether a conversation is texts alone, without parts, calls, results, names and further fields: most are."""
    for message in messages:
        if type(message.content) is not str or message.tool_calls or message.role == "tool" or message.name is not None:
            return False
        if message.extra:
            return False
    return True


def own(part: Any, codec: str) -> Mapping[str, Any]:
    """The further fields of a part, call, tool or message that are of this format."""
    return part.extra.get(codec, _NONE) if part.extra else _NONE


def with_signature(signature: str | None) -> dict[str, Any]:
    """The further fields of a call that carry its thought signature through a client of another format."""
    return {EXTRA_CONTENT: {"google": {"thought_signature": signature}}} if signature else {}


def signature_of(call: Any) -> str | None:
    """A call's thought signature, its own or one that it carried through a client of another format."""
    if call.signature is not None or not call.extra:
        return call.signature if call.signature is None else str(call.signature)
    for further in call.extra.values():
        if EXTRA_CONTENT in further:
            return text_of(mapping(mapping(further[EXTRA_CONTENT]).get("google")).get("thought_signature")) or None
    return None


def in_text(request: Request, codec: str, messages: list[Message]) -> list[Message]:
    """System messages for formats that want them as text; other parts are left out, or refused."""
    return [message if isinstance(message.content, str) else _texts_of(request, codec, message) for message in messages]


def _texts_of(request: Request, codec: str, message: Message) -> Message:
    kept = tuple([part for part in message.content if isinstance(part, TextPart)])
    for part in message.content if len(kept) < len(message.content) else ():
        if not isinstance(part, TextPart):
            what = f"message.content: {part_kind(part)!r}"
            leave_out(request, codec, what, f"has no place in a {message.role} message, which must be text here")
    return message if len(kept) == len(message.content) else attrs.evolve(message, content=kept or " ")


def part_kind(part: Any) -> str:
    """What a part is, in its sender's word where it has one."""
    return (
        str(part.data.get("type") or next(iter(part.data), "a part"))
        if isinstance(part, OtherPart | VendorTool)
        else type(part).__name__
    )


NO_CHOICE = "is not a choice; use auto, none, required or a function's name"


def mapping(value: Any) -> Mapping[str, Any]:
    """``value`` if it is an object, else an empty one: vendors send null and worse where an object belongs."""
    return value if isinstance(value, dict) else {}


_CURRENCIES = ("currency", "cost_currency", "currency_code")
_DOLLARS = frozenset({"USD", "US$", "$", "US DOLLAR", "US DOLLARS", "DOLLARS"})
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,15})?")


class Counter:
    """Reads the numbers of one usage. One that cannot be is set aside: it counts as 0, and ``status`` says so."""

    status: str | None = None

    def count(self, value: Any) -> int:
        """A token count; some servers send floats, text, null, or nothing."""
        if type(value) is int and 0 <= value <= MOST_TOKENS:
            return value
        if not value or not says(value):
            return 0
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS:
            return int(value)
        self.status = "implausible_count"
        return 0

    def cost(self, value: Any, record: Mapping[str, Any] = _NONE) -> Decimal | None:
        """US dollars, as a number or a text, or in Perplexity's object; ``None`` where nothing is told, or what cannot be.

        ``record`` is what the cost stands in: one in another currency is none.
        """
        if isinstance(value, dict):
            record, value = {**record, **value}, value.get("total_cost")
        if value is None or isinstance(value, bool | dict | list):
            return None
        currency = next((record[name] for name in _CURRENCIES if says(record.get(name))), "USD")
        if not isinstance(currency, str) or currency.strip().upper() not in _DOLLARS:
            return None
        cost = plausible_cost(value)
        if cost is None and self.status is None and value != "":
            self.status = "implausible_cost"
        return cost

    def usage(self, *, cost: Decimal | None = None, raw: Mapping[str, Any], **counts: Any) -> Usage:
        """The usage of what was read; where a number was set aside ``raw`` is kept without those that JSON cannot carry."""
        if self.status is None:
            return Usage(cost=cost, raw=raw, **counts)
        cost = cost if self.status == "implausible_cost" else None
        return Usage(cost=cost, cost_status=self.status, raw=_finite(raw), **counts)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def says(value: Any) -> bool:
    """Whether a field holds anything: null, false, zero, blank text and containers of nothing but those are as good as absent."""
    if isinstance(value, str):
        return not (not value or value.isspace())
    if isinstance(value, dict):
        return any(map(says, value.values()))
    if isinstance(value, list | tuple):
        return any(map(says, value))
    return bool(value)


def text_of(value: Any) -> str:
    """``value`` if it is text, else nothing."""
    return value if isinstance(value, str) else ""


def raise_told(document: Mapping[str, Any]) -> None:
    """Raise the error that stands beside what a whole answer says, if it tells anything."""
    if ("error" in document and tells(document["error"])) or tells_beside(document):
        raise fault_inside(document)


def lacking(document: Any, what: str) -> DispatchError:
    """The error of a whole answer that has not got what its format promises: what it says instead, if that is an error."""
    if read(document) is not None or tells_of_failure(mapping(document)):
        return fault_inside(document)
    return MalformedReply(f"the vendor's answer has no {what}", sent=True)


def words_of(value: Any) -> str:
    """A piece of an answer as text: some servers write one that looks like a number as a number, 0 among them."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def arguments_in(value: Any) -> str:
    """Arguments as text; some servers send the object that they mean, and PHP an empty one as a list."""
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps({} if value == [] else value, ensure_ascii=False)


def number_in(value: Any) -> int | None:
    """A place among others, also as a float or as text; ``None`` for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _MOST_DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


_MOST_DIGITS = 10


def counted(known: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The record of usage after a later one: what that says replaces what was told, and its zeros and nulls replace nothing."""
    merged: dict[str, Any] = {}
    for name, value in known.items():
        now = told.get(name)
        if not now:
            if value and says(value):
                merged[name] = value
        elif type(now) is dict and type(value) is dict:
            merged[name] = counted(value, now)
    return {**told, **merged} if merged else told


_LEAST_LOGPROB = -9999.0
"""What OpenAI writes for a token that is not among the likely ones; JSON has no infinity."""


def log_probability(value: Any) -> float:
    """A logarithm of a probability as JSON carries it."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if is_number else _LEAST_LOGPROB


def made_id(kind: str) -> str:
    """An id for what came without one, such as ``call_…``. No two are the same: a conversation holds what many answers said."""
    return f"{kind}{new_id(SYSTEM_CLOCK)}"


CALL = "call_"
"""What the id of a call begins with that came without one."""


class Event(Protocol):
    """One event of a stream."""

    @property
    def event(self) -> str:
        """Its name."""

    @property
    def data(self) -> str:
        """What it says."""


class EventParser(Protocol):
    """Finds the events in the bytes of a stream, such as :class:`~llmdispatcher.wire.sse.SseParser`."""

    def feed(self, data: bytes) -> Sequence[Event]:
        """The events that ``data`` completes."""

    def last(self) -> Sequence[Event]:
        """The event that came in and that nothing ended; none where there is nothing of one."""

    def rest(self) -> bytes:
        """What came in and was no event."""


class EventDecoder(ABC):
    """A stream of JSON events; a format says what each means (:meth:`read_event`) and reads a whole answer (:meth:`read_whole`).

    A server that answers a stream request with plain JSON, with JSON lines, or with a list of all events is understood as well.
    Single events that are not JSON are skipped and counted (``skipped``); a stream of nothing but those is malformed, and so is one
    beyond its ``bounds``, which whoever reads it may set before the first :meth:`feed`.
    """

    __slots__ = (
        "_begun",
        "_broken",
        "_failure",
        "_good",
        "_halves",
        "_is_plain",
        "_members",
        "_one_line",
        "_plain",
        "_size",
        "_sse",
        "bounds",
        "done",
        "ended",
        "skipped",
    )

    END_MARKER: ClassVar[str]
    """What ends a stream of this format, for the error text."""
    ANSWER: ClassVar[str]
    """The field that only events with a piece of an answer have; in one without, an error is looked for in every shape."""
    TYPED: ClassVar[bool] = False
    """Whether an event says what it is in its ``type``."""
    ENDS_BY_DONE: ClassVar[bool] = False
    """Whether ``[DONE]`` alone ends an answer; where a format has an end of its own, a gateway may write it behind any stream."""

    def __init__(self) -> None:
        self.done = False
        self.ended = False
        self._failure: DispatchError | None = None
        self._broken: DispatchError | None = None  # what a finish reason told that is a failure
        self._sse: EventParser | None = None
        self._plain: list[bytes] = []  # a body that has not shown yet what it is, or is no event stream
        self._is_plain = False
        self._begun = False  # whether such a body begins as an object
        self._one_line = False  # whether its first line is whole
        self._halves: Halves | None = None
        self._good = 0
        self._size = 0  # bytes of a plain body, or of events without their envelopes
        self._members = 0
        self.bounds = Bounds()
        self.skipped = 0

    def feed(self, data: bytes) -> list[StreamChunk]:
        """The chunks that ``data`` completes."""
        parser = self._sse
        if parser is None:
            opened = self._opened(data)
            if opened is None:
                return []
            parser, data = opened
            self._sse, self._plain = parser, []
        if self._failure is not None:
            raise to_raise(self._failure)
        chunks: list[StreamChunk] = []
        try:
            for event in parser.feed(data):
                if self.done:
                    break
                self._take(event.event, event.data, chunks)
        except DispatchError as failure:
            if not chunks:
                raise
            self._failure = failure
        return chunks

    def _opened(self, data: bytes) -> tuple[EventParser, bytes] | None:
        """The parser for a stream and its first bytes, as soon as it shows itself to be one; till then all is kept."""
        self._keep(data)
        if self._is_plain:
            return None
        if not self._begun:  # all that came so far is blank
            start = data.lstrip(_BLANKS)[:1]
            self._begun = start == b"{"
            self._is_plain = start in (b"[", b"<")
            if self._is_plain or not start:
                return None
            if not self._begun:
                self._size = 0
                return SseParser(self.bounds.size), b"".join(self._plain)
        return self._second_line(data)

    def _second_line(self, data: bytes) -> tuple[EventParser, bytes] | None:
        """The parser for lines, once a second document begins behind the line of the first."""
        if not self._one_line:
            if b"\n" not in data:
                return None
            line, _, data = b"".join(self._plain).lstrip(_BLANKS).partition(b"\n")
            self._one_line, self._is_plain = True, line.rstrip().endswith(_GOES_ON)
        start = data.lstrip()
        if self._is_plain or not start:
            return None
        self._is_plain = not start.startswith((b"{", b"[", b"d"))
        if self._is_plain:
            return None
        self._size = 0
        return LineParser(self.bounds.size), b"".join(self._plain).lstrip(_BLANKS)

    def _keep(self, data: bytes) -> None:
        self._plain.append(data)
        self._size += len(data)
        if self._size > self.bounds.size:
            raise _too_long(self.bounds)

    def check(self) -> None:
        """Raise the error that came right behind the chunks of the last :meth:`feed`, if one did."""
        if self._failure is not None:
            raise to_raise(self._failure)

    def _take(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        if data.startswith("[DONE]"):
            self._raise_if_all_malformed()
            chunks += self._held()
            if not (self.ended or self.ENDS_BY_DONE):
                raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
            self.ended = self.done = True
            return
        self._weigh(data)
        try:
            document = parse_text(data, None, lenient=True, halves=True)
        except ValueError:
            self._take_apart(name, data, chunks)
            return
        self._good += 1
        if self._halves is not None or "\\ud" in data or "\\uD" in data:
            self._halves = self._halves or Halves()
            for one in self._halves.join(document):
                self._take_document(name, one, chunks)
            if self.done:
                chunks += self._held()
            return
        for piece in document if isinstance(document, list) else (document,):
            self._take_document(name, piece, chunks)

    def _take_apart(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        """What is no JSON: ``data:`` said twice, or several events that no empty line parts. All else is skipped."""
        lines = [_AGAIN.sub("", line, count=1) for line in data.split("\n") if line.strip()]
        if "".join(lines) != data and all(line.startswith(_EVENTS) for line in lines):
            for line in lines:
                if not self.done:
                    self._take(name, line, chunks)
        elif name == "error":
            raise fault_inside({"error": excerpt(data.encode("utf-8", "replace"))}).shortened(MAX_EXCERPT) from None
        elif (documents := parse_several(data)) is not None:
            self._good += 1
            for document in documents:
                self._take_document(name, document, chunks)
        elif (fixed := relaxed(data)) is not None:
            self._take(name, fixed, chunks)
        else:
            self.skipped += 1

    def _take_document(self, name: str, document: Any, chunks: list[StreamChunk]) -> None:
        if not isinstance(document, dict):
            if name == "error":
                raise fault_inside({"error": document})
            return
        if self.TYPED and "type" not in document and name != "message":
            document = {**document, "type": name}  # which some gateways say in the event's name alone
        failure = self.failure_in(name, document)
        if failure is None or failure.get("usage"):  # some servers bill in the same event what they then refuse
            said = self.read_event(document)
            if isinstance(said, list):
                chunks += said
            elif said is not None:
                chunks.append(said)
        if failure is not None:
            raise fault_inside(failure)
        if self._broken is not None:
            raise self._broken

    def raise_if_broken(self) -> None:
        """Raise the failure that a finish reason told."""
        if self._broken is not None:
            raise self._broken

    def _weigh(self, data: str) -> None:
        """Refuse an event that makes the stream too much, before it is decoded; of a small one only its brackets are counted."""
        bounds, members = self.bounds, data.count("{") + data.count("[")
        if members > MOST_DEPTH or len(data) > ENVELOPE:
            try:
                members = weighed(data, bounds.members, _most_objects(bounds.members))
            except TooMuch as much:
                raise MalformedReply(f"an event of the stream {much}", sent=True) from None
            self._size += max(0, len(data) - ENVELOPE)
            if self._size > bounds.size:
                raise _too_long(bounds)
        self._members += members
        if self._members > STREAMED * bounds.members:
            raise MalformedReply(f"the events of the stream have more than {STREAMED * bounds.members:,} members", sent=True)

    def failure_in(self, name: str, document: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """What tells of a failure in an event, if something does."""
        if name == "error" or ("error" in document and tells(document["error"])):
            return document
        if document.get(self.ANSWER):
            return document if tells_beside(document) else None
        return document if tells_of_failure(document) else None

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body. Raises :class:`StreamInterrupted` where the end marker is missing."""
        self.check()
        if self._sse is None:
            return self.finish_plain(b"".join(self._plain))
        chunks: list[StreamChunk] = []
        for event in self._sse.last():
            if not self.done and _is_whole(event.data):
                self._take(event.event, event.data, chunks)
        self._raise_trailing_error(self._sse.rest())
        if not self.ended:
            self._raise_if_all_malformed()
            raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
        return chunks if self.done else [*chunks, *self._held()]

    def _held(self) -> list[StreamChunk]:
        """What was held back till the end."""
        chunks: list[StreamChunk] = []
        for document in self._halves.rest() if self._halves is not None else ():
            self._take_document("", document, chunks)
        return [*chunks, *self.over()]

    def over(self) -> list[StreamChunk]:
        """What a format held back till the end of the stream."""
        return []

    def _raise_if_all_malformed(self) -> None:
        if self.skipped and not self._good:
            raise MalformedReply(f"none of the stream's {self.skipped} events, from event 1 on, is JSON", sent=True)

    def _raise_trailing_error(self, rest: bytes) -> None:
        """Google may append an error as bare JSON lines, which are no event."""
        if rest.lstrip()[:1] in (b"{", b"["):
            self.skipped += 1
            try:
                document = parse(rest)
            except MalformedReply:
                return
            if read(document) is not None:
                raise fault_inside(document)

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The chunks of a body that is no event stream: a whole answer, or all events at once."""
        documents = _documents(body, self.bounds.members)
        if len(documents) < 2:
            self.ended = self.done = True
            return list(unfold(self.read_whole(body)))
        chunks: list[StreamChunk] = []
        for document in documents:
            self._take_document("", document, chunks)
        if not self.ended:
            raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
        return [*chunks, *self._held()]

    @abstractmethod
    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk] | None:
        """What one event says; sets ``ended`` (complete as it stands) and ``done`` (nothing more is to come)."""

    @abstractmethod
    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""


def _too_long(bounds: Bounds) -> MalformedReply:
    return MalformedReply(f"the stream is longer than {bounds.size:,} bytes; ask for less, or raise max_body", sent=True)


_AGAIN = re.compile(r"\s*(?:data:\s*)*")
_EVENTS = ("{", "[")
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_GOES_ON = (b"{", b"[", b",", b":")
"""What a line of one document over several lines ends with."""


def _is_whole(data: str) -> bool:
    """Whether an event that nothing ended was not cut short."""
    text = _AGAIN.sub("", data, count=1)
    try:
        return text.startswith("[DONE]") or isinstance(parse_text(text, lenient=True), dict)
    except ValueError:
        return "\n" in text and all(map(_is_whole, text.split("\n")))


def _documents(body: bytes, members: int) -> Sequence[Any]:
    """The documents of a body that has several: a list of objects, or one behind another; none of a body that has not."""
    start = body.lstrip(_BLANKS)
    if start.startswith(b"["):
        listed = parse(body, members)
        return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else ()
    if not _BETWEEN.search(body):
        return ()
    return parse_several(start.decode("utf-8", "replace"), members) or ()


_BETWEEN = re.compile(rb"\}\s*\{")


_GROWING = frozenset(
    {
        "arguments",
        "content",
        "delta",
        "input",
        "partial_json",
        "reasoning",
        "reasoning_content",
        "refusal",
        "response",
        "text",
        "thinking",
        "transcript",
    }
)
"""The fields whose texts grow from event to event."""
_PLACES = frozenset({"content_index", "index", "item_id", "output_index", "summary_index", "thought", "type"})
"""What tells of an event, or of a member of a list in it, which text it is about."""
_Path = tuple[Any, ...]
_REPLACEMENT = "\ufffd"


class Halves:
    """Joins the halves of characters that a server named in two events, since it cuts text by UTF-16 units.

    The first half is taken out of the text that it ends, and waits for the next piece of that text, whatever comes between. Where
    no second one follows it becomes the replacement character.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[_Path, tuple[str, _Path]] = {}  # by the text that it ends: the half, and where that stands

    def join(self, document: Any) -> list[Any]:
        """The events to read in place of one."""
        for path, parent, name in _texts(document, ()):
            known, text = _known(path), parent[name]
            if text and known in self._held:
                half, _where = self._held.pop(known)
                text = half + text if _is_second(text[:1]) else _REPLACEMENT + text
            if _is_first(text[-1:]):
                self._held[known] = (text[-1], path)
                text = text[:-1]
            parent[name] = text
        return mended(document) if isinstance(document, list) else [mended(document)]

    def rest(self) -> list[Any]:
        """The events that are owed at the end."""
        held, self._held = self._held, {}
        return [_alone(path) for _, path in held.values()]


def _known(path: _Path) -> _Path:
    """By what a text is known: not by a type or a first place, which may be said once."""
    return tuple([tuple([at for at in step if at[0] != "type" and at[1]]) if isinstance(step, tuple) else step for step in path])


def _is_first(text: str) -> bool:
    return "\ud800" <= text <= "\udbff"


def _is_second(text: str) -> bool:
    return "\udc00" <= text <= "\udfff"


def _texts(value: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any]]:
    """Every text in an event that may grow: by what it is known, and where it stands."""
    if isinstance(value, dict):
        about = tuple([(name, place) for name, place in value.items() if name in _PLACES and not isinstance(place, dict | list)])
        for name, inner in value.items():
            if isinstance(inner, str) and name in _GROWING:
                yield (*path, about, name), value, name
            elif isinstance(inner, dict | list) and name != "logprobs":
                yield from _texts(inner, (*path, about, name))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _texts(inner, (*path, place))


def _alone(path: _Path) -> Any:
    """The event that a text stands in, with half a character for a text and nothing else."""
    if not path:
        return _REPLACEMENT
    if isinstance(path[0], int):
        return [{}] * path[0] + [_alone(path[1:])]
    return {**dict(path[0]), path[1]: _alone(path[2:])}


class Line(NamedTuple):
    """One line, as an event of a stream."""

    data: str
    event: str = "message"


class LineParser:
    """Bytes in, lines of at most ``most`` bytes out, whatever the cuts between them."""

    __slots__ = ("_most", "_partial", "_size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._partial: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Line]:
        """The lines that ``data`` completes, without the empty ones. Raises :class:`MalformedReply` for one that is too long."""
        end = data.rfind(b"\n") + 1
        if not end:
            self._hold(data)
            return []
        whole = b"".join([*self._partial, data[:end]]) if self._partial else data[:end]
        self._partial, self._size = [], 0
        if end < len(data):
            self._hold(data[end:])
        return [Line(line.decode("utf-8", "replace")) for line in map(bytes.strip, whole.split(b"\n")) if line]

    def _hold(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._size += len(piece)
        if self._size > self._most:
            raise MalformedReply(f"a line of the stream is longer than {self._most:,} bytes", sent=True)

    def last(self) -> list[Line]:
        """The line that has not ended."""
        line = self.rest().strip()
        return [Line(line.decode("utf-8", "replace"))] if line else []

    def rest(self) -> bytes:
        """The beginning of a line that has not ended."""
        return b"".join(self._partial)


class LineDecoder(EventDecoder):
    """A stream of JSON lines; one document over several lines is a whole answer, server-sent events are understood too."""

    __slots__ = ()

    def _opened(self, data: bytes) -> tuple[EventParser, bytes] | None:
        """A stream of lines shows itself by its first one."""
        if not self._plain:
            data = data.lstrip(_BLANKS)
            if not data:
                return None
        if self._is_plain or (self._plain or [data])[0][:1] != b"{":
            return super()._opened(data)
        self._keep(data)
        return self._first_line() if b"\n" in data else None

    def _first_line(self) -> tuple[EventParser, bytes] | None:
        data = b"".join(self._plain)
        self._is_plain = data.partition(b"\n")[0].rstrip().endswith(_GOES_ON)
        if self._is_plain:
            return None
        self._size = 0
        return LineParser(self.bounds.size), data

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body; its last line needs no line end."""
        self.check()
        is_sse = self._sse is not None and not isinstance(self._sse, LineParser)
        last = [] if self.done or self._is_plain or is_sse else self.feed(b"\n")
        return [*last, *super().finish()]
