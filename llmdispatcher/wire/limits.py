"""Keep a request within a vendor's limits, which are data of the catalog: ids of calls, names of tools, and how much of a thing.

Ids of calls and names of tools are made anew where a vendor refuses their form: always the same for the same one, so that a call
and its result agree, and prompts stay in a vendor's cache. Names of tools are given back in answers (:class:`ToolNames`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import attrs

from ..errors import InvalidRequest
from ..types import Message, Request, Response, StreamChunk, Tool, ToolCall, replace
from .base import StreamDecoder
from .encoding import leave_out, logger, only_texts, tell_dropped, update

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")
_NAME_SIZE = 64


def digest(text: str, size: int) -> str:
    """So many letters and digits that stand for a text, always the same."""
    number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), "big")
    digits = ""
    while len(digits) < size:
        number, digit = divmod(number, len(_DIGITS))
        digits += _DIGITS[digit]
    return digits


def plain_id(call_id: str) -> str:
    """The id of a call in letters, digits, ``_`` and ``-``; always the same for the same one."""
    plain = _NOT_IN_NAMES.sub("_", call_id)
    return call_id if plain == call_id else f"{plain}_{digest(call_id, 8)}"


def within_limits(request: Request, limits: Mapping[str, Any], codec: str) -> Request:
    """The request within a vendor's limits; the same one where there is nothing beyond them.

    Raises :class:`InvalidRequest` for more stop sequences or choices than it takes, unless the request allows dropping them.
    """
    changes: dict[str, Any] = {}
    highest = limits.get("temperature")
    if highest is not None and request.temperature is not None and request.temperature > highest:
        logger.info("temperature is %s for %s, the highest that it takes", highest, request.model)
        changes["temperature"] = highest
    size = limits.get("user")
    for name in ("user", "prompt_cache_key") if size is not None else ():
        value = getattr(request, name)
        if value is not None and size is not None and len(value) > size:
            changes[name] = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:size]
    most = limits.get("stops")
    if most is not None and len(request.stop) > most:
        leave_out(request, codec, f"stop: {len(request.stop)} sequences", f"are more than the {most} that are taken")
        changes["stop"] = request.stop[:most]
    most = limits.get("n")
    if most is not None and (request.n or 1) > most:
        leave_out(request, codec, f"n: {request.n} choices", f"are more than the {most} that are given")
        changes["n"] = None
    messages = request.messages
    if ("name" in limits or "call_id" in limits) and not only_texts(messages):
        named = _with_valid_names(messages, limits["name"]) if "name" in limits else messages
        if any(new.name is None and old.name is not None for old, new in zip(messages, named, strict=True)):
            tell_dropped(request, codec, "message.name", "is not taken here")
        messages = named
        messages = with_valid_ids(messages, re.compile(limits["call_id"])) if "call_id" in limits else messages
    return request if messages is request.messages and not changes else update(request, messages=messages, **changes)


def _with_valid_names(messages: tuple[Message, ...], pattern: str) -> tuple[Message, ...]:
    """The messages with participants' names as a vendor takes them."""
    fits = re.compile(pattern).fullmatch
    named = list(messages)
    for place, message in enumerate(messages):
        if message.role != "tool" and message.name is not None and not fits(message.name):
            plain = _NOT_IN_NAMES.sub("_", message.name)[:_NAME_SIZE]
            named[place] = attrs.evolve(message, name=plain if fits(plain) else None)
    return tuple(named)


def with_valid_ids(messages: tuple[Message, ...], pattern: re.Pattern[str], *, orphans: bool = True) -> tuple[Message, ...]:
    """The messages with an id of that form on every call and result; the same ones where they are so already.

    A call without an id gets a new one, and a result without one that of the first call of its round, by name if it tells one,
    that has no result yet. Raises :class:`InvalidRequest` for a result of no call, unless ``orphans`` may have ids of their own.
    """
    fits = pattern.fullmatch
    ids = [call.id for message in messages for call in message.tool_calls]
    results = [message.tool_call_id for message in messages if message.role == "tool"]
    if not ids and not results:
        return messages
    if len({*ids}) == len(ids) and all(known_id and fits(known_id) for known_id in (*ids, *results)):
        return messages
    made = _CallIds(fits, {known_id for known_id in (*ids, *results) if known_id}, orphans=orphans)
    return tuple([made.identify(message) for message in messages])


def with_ids(messages: tuple[Message, ...], pattern: re.Pattern[str]) -> tuple[Message, ...]:
    """The messages of a request that was read in the format itself, where only what has no id gets one."""
    calls = [call for message in messages for call in message.tool_calls]
    if all(call.id for call in calls) and all(message.tool_call_id for message in messages if message.role == "tool"):
        return messages
    return with_valid_ids(messages, pattern)


_ANY = re.compile(r".+", re.DOTALL)


def with_names(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages with the function's name on every result that tells its call by id, or by its order alone."""
    if not any(message.role == "tool" and not message.name for message in messages):
        return messages
    names: dict[str | None, str] = {}
    named: list[Message] = []
    for message, known in zip(messages, with_valid_ids(messages, _ANY), strict=True):
        names |= {call.id: call.name for call in known.tool_calls}
        if message.role == "tool" and not message.name and known.tool_call_id in names:
            message = attrs.evolve(message, name=names[known.tool_call_id])
        named.append(message)
    return tuple(named)


class _CallIds:
    """The ids of one conversation."""

    def __init__(self, fits: Callable[[str], Any], taken: set[str], *, orphans: bool) -> None:
        self._fits = fits
        self._orphans = orphans
        self._taken = taken
        self._sent: set[str] = set()
        self._made = 0
        self._open: list[tuple[str | None, ToolCall]] = []  # calls without a result: their own ids, and as they are sent
        self._last: dict[str, str] = {}

    def identify(self, message: Message) -> Message:
        if message.role == "tool":
            return attrs.evolve(message, tool_call_id=self._result_id(message))
        if not message.tool_calls:
            return message
        named = [(call, self._call(call)) for call in message.tool_calls]
        self._open = [(old.id or None, new) for old, new in named]
        content = message.content
        if not isinstance(content, str):
            content = tuple([next((new for old, new in named if old is part or old == part), part) for part in content])
        return attrs.evolve(message, content=content, tool_calls=tuple([new for _, new in named]))

    def _call(self, call: ToolCall) -> ToolCall:
        call_id = call.id or self._new_id()
        sent = self._fit(call_id)
        again = 1
        while sent in self._sent:  # some servers count anew in every answer
            sent, again = digest(f"{call_id} {again}", 9), again + 1
        self._sent.add(sent)
        self._last[call_id] = sent
        return attrs.evolve(call, id=sent)

    def _new_id(self) -> str:
        while (made := f"call_{self._made}") in self._taken:
            self._made += 1
        self._made += 1
        return made

    def _fit(self, call_id: str) -> str:
        plain = call_id if self._fits(call_id) else _NOT_IN_NAMES.sub("_", call_id)
        return plain if self._fits(plain) else digest(call_id, 9)

    def _result_id(self, message: Message) -> str:
        call_id = message.tool_call_id or None
        if call_id is not None:
            answered = next((call for call in self._open if call[0] == call_id), None)
            if answered is None:
                return self._last.get(call_id) or self._fit(call_id)
        else:
            fitting = [call for call in self._open if message.name in (None, call[1].name)] or self._open
            if not fitting and self._orphans:
                return self._fit(self._new_id())
            if not fitting:
                raise InvalidRequest("message.tool_call_id: a tool message must name the call that it answers")
            answered = fitting[0]
        self._open.remove(answered)
        return answered[1].id or ""


@attrs.frozen
class ToolNames:
    """Which names a request's tools go by at a vendor, and the names that they have; empty for most requests."""

    sent: Mapping[str, str] = attrs.field(factory=dict)

    @classmethod
    def of(cls, request: Request, pattern: str | None) -> ToolNames:
        """Names for those that do not fit the pattern: letters, digits, ``_`` and ``-`` alone, 64 at most, no two the same."""
        if pattern is None or (not request.tools and only_texts(request.messages)):
            return _NO_NAMES
        names = {tool.name: None for tool in request.tools if isinstance(tool, Tool)}
        names |= {call.name: None for message in request.messages for call in message.tool_calls}
        fits = re.compile(pattern).fullmatch
        strange = [name for name in names if name and not fits(name)]
        return cls(_plain_names(strange, set(names))) if strange else _NO_NAMES

    def rename(self, request: Request) -> Request:
        """The request with the names that are sent."""
        if not self.sent:
            return request
        tools = _with_names(request.tools, self.sent)
        messages = [self._message(message) for message in request.messages]
        return attrs.evolve(request, tools=tools, tool_choice=self._within(request.tool_choice), messages=messages)

    def _within(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.sent.get(value, value)
        if isinstance(value, Mapping):
            return {name: self._within(inner) for name, inner in value.items()}
        return [self._within(inner) for inner in value] if isinstance(value, list | tuple) else value

    def _message(self, message: Message) -> Message:
        if message.role == "tool" and message.name is not None and message.name in self.sent:
            return attrs.evolve(message, name=self.sent[message.name])
        if not any(call.name in self.sent for call in message.tool_calls):
            return message
        content = message.content if isinstance(message.content, str) else _with_names(message.content, self.sent)
        return attrs.evolve(message, content=content, tool_calls=_with_names(message.tool_calls, self.sent))

    @property
    def _own(self) -> Mapping[str, str]:
        return {sent: own for own, sent in self.sent.items()}

    def restore(self, response: Response) -> Response:
        """The answer with the names that the tools have."""
        if not self.sent:
            return response
        own = self._own
        others = [
            attrs.evolve(choice, tool_calls=_with_names(choice.tool_calls, own), parts=_with_names(choice.parts, own))
            for choice in response.other_choices
        ]
        calls, parts = _with_names(response.tool_calls, own), _with_names(response.parts, own)
        return replace(response, tool_calls=calls, parts=parts, other_choices=tuple(others))

    def wrap(self, decoder: StreamDecoder) -> StreamDecoder:
        """The decoder, giving the names back; itself where all are as they were."""
        return _RenamingDecoder(decoder, self._own) if self.sent else decoder


class _RenamingDecoder:
    """A decoder whose chunks have the names of tools that the request had."""

    def __init__(self, decoder: StreamDecoder, names: Mapping[str, str]) -> None:
        self._decoder = decoder
        self._names = names
        self.bounds = decoder.bounds
        self.done = self.ended = False
        self.skipped = 0
        self.check = decoder.check

    def feed(self, data: bytes) -> list[StreamChunk]:
        return self._with_valid_names(self._decoder.feed(data))

    def finish(self) -> list[StreamChunk]:
        return self._with_valid_names(self._decoder.finish())

    def _with_valid_names(self, chunks: list[StreamChunk]) -> list[StreamChunk]:
        self.done, self.ended, self.skipped = self._decoder.done, self._decoder.ended, self._decoder.skipped
        return [_rename_chunk(chunk, self._names) for chunk in chunks]


_NO_NAMES = ToolNames()


def _plain_names(strange: Iterable[str], taken: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in strange:
        plain = _NOT_IN_NAMES.sub("_", name)
        plain = plain if plain[:1].isalpha() or plain.startswith("_") else f"_{plain}"
        if len(plain) > _NAME_SIZE or plain in taken:
            plain = f"{plain[: _NAME_SIZE - 9]}_{digest(name, 8)}"
        found[name] = plain
        taken.add(plain)
    return found


def _with_names(things: Sequence[Any], names: Mapping[str, str]) -> tuple[Any, ...]:
    """The tools, or the parts of a turn, with the names in place of those that calls and tools have."""
    named = [isinstance(thing, Tool | ToolCall) and thing.name in names for thing in things]
    return tuple([attrs.evolve(each, name=names[each.name]) if known else each for each, known in zip(things, named, strict=True)])


def _rename_chunk(chunk: StreamChunk, names: Mapping[str, str]) -> StreamChunk:
    if not any(delta.name in names for delta in chunk.tool_calls):
        return chunk
    deltas = [attrs.evolve(delta, name=names.get(delta.name or "", delta.name)) for delta in chunk.tool_calls]
    return attrs.evolve(chunk, tool_calls=tuple(deltas))
