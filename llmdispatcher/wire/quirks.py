"""Adapt a request to what a model or vendor refuses, before it is encoded; separate reasoning written into the text.

One table serves all formats. A setting that only tunes a response is left out, since the model accepts nothing but its absence. One
that decides what the response is (``stop``, ``logprobs``) raises an error that says so, unless the request allows dropping it.
Reasoning between ``<think>`` and ``</think>`` at the beginning of a text is separated from the text.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..types import AudioPart, Message, Request, StreamChunk, TextPart
from .encoding import leave_out, only_texts, own, tell_dropped
from .shaping import SHAPES, without_nothings

_TUNES: Mapping[str, tuple[str, ...]] = {
    "no_sampling": ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    "no_penalties": ("frequency_penalty", "presence_penalty"),
    "no_user": ("user",),
    "no_prompt_cache_key": ("prompt_cache_key",),
    "no_parallel_tools": ("parallel_tool_calls",),
}
_DECIDES: Mapping[str, tuple[str, ...]] = {
    "no_stop": ("stop",),
    "no_logprobs": ("logprobs", "top_logprobs"),
    "no_top_k": ("top_k",),
}
_EFFORT = ("reasoning_effort", "reasoning_tokens", "reasoning_summary")
_EMPTY: Mapping[str, Any] = {"stop": ()}
_REFUSED = "is refused by this model"


_REFUSING = frozenset({*_TUNES, *_DECIDES})
_SHAPING = frozenset(SHAPES)


def adapted(request: Request, quirks: frozenset[str], codec: str) -> Request:
    """The request as a model with these quirks takes it; the same one where there is nothing to change."""
    request = without_refused(without_nothings(request), quirks, codec)
    if not _SHAPING.isdisjoint(quirks):
        for quirk, shape in SHAPES.items():
            request = shape(request) if quirk in quirks else request
    return request


def without_refused(request: Request, quirks: frozenset[str], codec: str) -> Request:
    """The request without what the quirks refuse; the same one where there is nothing of it."""
    if not only_texts(request.messages):
        request = _in_words(request, codec)
    if _REFUSING.isdisjoint(quirks):
        return request
    left_out: list[str] = []
    for quirk in _REFUSING.intersection(quirks):
        for name in _TUNES.get(quirk, ()):
            if getattr(request, name) is not None:
                tell_dropped(request, codec, name, _REFUSED)
                left_out.append(name)
        for name in _DECIDES.get(quirk, ()):
            value = getattr(request, name)
            if value:
                leave_out(request, codec, name, _REFUSED)
            if value not in (None, ()):  # no and 0 ask for nothing, and their field is refused all the same
                left_out.append(name)
    return _without(request, left_out) if left_out else request


def _in_words(request: Request, codec: str) -> Request:
    """The request with what an assistant or a tool said in sound said in text."""
    messages = [_transcribed(message, codec) for message in request.messages]
    return request if all(map(operator.is_, messages, request.messages)) else attrs.evolve(request, messages=messages)


def _transcribed(message: Message, codec: str) -> Message:
    """The message with transcripts for its sound; an assistant's stays where its vendor knows it by its id."""
    if message.role not in ("assistant", "tool") or isinstance(message.content, str):
        return message
    content = [
        TextPart(text=part.transcript)
        if isinstance(part, AudioPart) and part.transcript is not None and (message.role == "tool" or "id" not in own(part, codec))
        else part
        for part in message.content
    ]
    return message if all(map(operator.is_, content, message.content)) else attrs.evolve(message, content=content)


def without_effort(request: Request, quirks: frozenset[str]) -> Request:
    """The request without its wishes for thought, for formats whose only word for them is what ``no_effort`` refuses."""
    if "no_effort" not in quirks:
        return request
    left_out = [name for name in _EFFORT if getattr(request, name) is not None]
    for name in left_out:
        tell_dropped(request, request.model, name, _REFUSED)
    return _without(request, left_out)


def _without(request: Request, names: list[str]) -> Request:
    changes: dict[str, Any] = {name: _EMPTY.get(name) for name in names}
    return attrs.evolve(request, **changes) if changes else request


OPEN, CLOSE = "<think>", "</think>"


class TagSplitter:
    """Moves thoughts out of the text of chunks, wherever the cuts between them are."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[int, _Run] = {}  # by choice

    def all(self, chunks: Iterable[StreamChunk]) -> Iterator[StreamChunk]:
        """The chunks of a whole answer, split."""
        for chunk in chunks:
            yield from self.split(chunk)
        yield from self.rest()

    def split(self, chunk: StreamChunk) -> list[StreamChunk]:
        """One chunk, its thoughts in ``reasoning``; what may be the beginning of a tag is held back till more is known."""
        run = self._runs.get(chunk.choice)
        if run is None:
            run = self._runs[chunk.choice] = _Run()
        if run.is_over:
            return [chunk]
        thought, text = run.take(chunk.content) if chunk.content else ("", "")
        if chunk.finish_reason_raw or chunk.tool_calls:
            held = run.end()
            thought, text = thought + held[0], text + held[1]
        if (thought, text) == ("", chunk.content):
            return [chunk]
        before = [StreamChunk(reasoning=thought, choice=chunk.choice)] if thought and text else []
        return [*before, attrs.evolve(chunk, content=text, reasoning=chunk.reasoning if before else chunk.reasoning + thought)]

    def rest(self) -> list[StreamChunk]:
        """What was held back till the end of the answer."""
        held = [(choice, *run.end()) for choice, run in self._runs.items()]
        return [StreamChunk(reasoning=thought, content=text, choice=choice) for choice, thought, text in held if thought or text]


class _Run:
    """The text of one choice: before the tag, inside of the tags, or behind them."""

    __slots__ = ("_held", "_read", "_started", "is_over")

    def __init__(self) -> None:
        self._read = self._before
        self._held: list[str] = []  # what may be the beginning of a tag, and blanks that only count if more follows
        self._started = False  # whether anything was thought
        self.is_over = False

    def take(self, text: str) -> tuple[str, str]:
        """What is now known to be thought, and what to be text."""
        if text.isspace() and "".join(self._held[-1:]).strip() == "":
            self._held.append(text)
            return "", ""
        text, self._held = "".join([*self._held, text]), []
        return self._read(text)

    def end(self) -> tuple[str, str]:
        """What was held back, as what it is if nothing more comes."""
        held, self._held, self.is_over = "".join(self._held), [], True
        return (held.rstrip(), "") if self._read == self._inside else ("", held if self._read == self._before else "")

    def _before(self, text: str) -> tuple[str, str]:
        begun = text.lstrip()
        if len(begun) < len(OPEN) and OPEN.startswith(begun):
            self._held = [text]
            return "", ""
        if not begun.startswith(OPEN):
            self.is_over = True
            return "", text
        self._read = self._inside
        return self._inside(begun[len(OPEN) :])

    def _inside(self, text: str) -> tuple[str, str]:
        if not self._started:
            text = text.lstrip()
            self._started = bool(text)
        thought, closed, behind = text.partition(CLOSE)
        if closed:
            self._read = self._behind
            return thought.rstrip(), self._behind(behind)[1]
        cut = next((size for size in range(len(CLOSE) - 1, 0, -1) if text.endswith(CLOSE[:size])), 0)
        kept = text[: len(text) - cut].rstrip()
        self._held = [text[len(kept) :]]
        return kept, ""

    def _behind(self, text: str) -> tuple[str, str]:
        text = text.lstrip()
        self.is_over = bool(text)
        return "", text
