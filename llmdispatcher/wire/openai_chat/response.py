"""Decode the choices of OpenAI's chat completions API and their tool calls, chunk by chunk.

Pieces of a streamed tool call are matched to their call, whatever a compatible server leaves out or repeats.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import DispatchError
from ...types import (
    MOST_MEMBERS,
    Citation,
    ImagePart,
    OtherPart,
    Part,
    ReasoningPart,
    Response,
    StreamChunk,
    ToolCallDelta,
    data_url,
    fold,
    parse_text,
)
from ..decoding import EventDecoder, lacking, mapping, parse_object, raise_told, text_of
from ..errors import fault_inside, tells
from ..finish import broken_off, ends, finish_of
from ..quirks import TagSplitter
from .fields import (
    AS,
    LEGACY,
    NAME,
    REASONING,
    block_of,
    details_in,
    noted,
    openai_chat_usage,
    rest,
    text_within,
    thought_of,
    thought_text,
)

_CALL = frozenset({"id", "type", "function", "index"})


class CallSlots:
    """Gives each piece of a streamed tool call the place of its call, whatever the server leaves out or repeats.

    Servers omit ``index``, give every call index 0, repeat ids or omit them after the first piece, or send whole calls. Of a
    ``whole`` answer each entry is a call.
    """

    __slots__ = ("_arguments", "_by_id", "_by_index", "_last", "_whole")

    def __init__(self, *, whole: bool = False) -> None:
        self._arguments: list[list[str]] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._last = -1
        self._whole = whole

    @property
    def any(self) -> bool:
        """Whether a call was seen."""
        return self._last >= 0

    def deltas(self, delta: Mapping[str, Any]) -> tuple[ToolCallDelta, ...]:
        """The pieces in one delta."""
        listed = delta.get("tool_calls")
        if isinstance(listed, list) and (listed or "function_call" not in delta):
            return tuple([self._piece(piece) for piece in listed if isinstance(piece, dict)])
        legacy = delta.get("function_call")
        return (self._piece({"index": 0, "function": legacy, AS: LEGACY}),) if isinstance(legacy, dict) else ()

    def _piece(self, piece: Mapping[str, Any]) -> ToolCallDelta:
        custom = piece.get("type") == "custom" or "custom" in piece
        function = mapping(piece.get("custom") if custom else piece.get("function"))
        name, arguments = text_of(function.get("name")), arguments_in(function.get("input" if custom else "arguments"))
        call_id, index = text_of(piece.get("id")), piece.get("index")
        slot = self._slot(call_id, index if isinstance(index, int) else None, bool(name))
        self._arguments[slot].append(arguments)
        return ToolCallDelta(
            index=slot,
            id=call_id or None,
            name=name or None,
            arguments=arguments,
            kind="custom" if custom else None,
            extra=None if piece.keys() <= _CALL else noted(rest(piece, "custom", *_CALL)) or None,
        )

    def _slot(self, call_id: str, index: int | None, named: bool) -> int:
        slot = None if self._whole else self._known(call_id, index, named)
        if slot is None:
            slot = len(self._arguments)
            self._arguments.append([])
        self._last = slot
        if call_id:
            self._by_id[call_id] = slot
        if index is not None:
            self._by_index[index] = slot
        return slot

    def _known(self, call_id: str, index: int | None, named: bool) -> int | None:
        if call_id and call_id in self._by_id:
            return self._by_id[call_id]
        slot = self._by_index.get(index) if index is not None else (self._last if self.any else None)
        if slot is None or not named:
            return slot
        # A name opens a call; a server that repeats it without an id is told by the call before not being finished.
        return None if call_id or _complete("".join(self._arguments[slot])) else slot


def _complete(arguments: str) -> bool:
    try:
        parse_text(arguments)
    except ValueError:
        return False
    return True


def arguments_in(value: Any) -> str:
    """Arguments as text; some servers send the object that they mean."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


_NOTHING: dict[str, Any] = {}
_THOUGHTS = frozenset(REASONING)
_COMMON = frozenset({"role", "content", *REASONING})
"""What most pieces of a stream consist of."""
_SPELT = ("reasoning_content", "reasoning")
_RUNNING = ("text", "summary")
"""What grows from piece to piece in a detail of a thought."""


class ChoiceReader:
    """Reads one choice; of a ``whole`` answer all at once."""

    __slots__ = ("_calls", "_index", "_thought", "_whole", "broken", "finished")

    def __init__(self, index: int, *, whole: bool = False) -> None:
        self._index, self._whole = index, whole
        self._calls = CallSlots(whole=whole)
        self._thought: _Thought | None = None  # under way
        self.broken: DispatchError | None = None
        self.finished = False

    def read(self, choice: Mapping[str, Any], document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk]:
        """What one piece says, with the facts of the document around it."""
        delta = choice["delta"] if "delta" in choice else choice.get("message")
        if type(delta) is not dict:
            delta = _NOTHING
        content = delta.get("content") or ""
        usage = document.get("usage") or ("x_groq" in document and mapping(document["x_groq"]).get("usage"))
        model, response_id, tier = document.get("model"), document.get("id"), document.get("service_tier")
        logprobs = choice.get("logprobs")
        reasoning = "" if _THOUGHTS.isdisjoint(delta) else self._think(delta)
        common = delta.keys() <= _COMMON and type(content) is str and choice.get("finish_reason") is None
        before, said = ([], {"content": content}) if common else self._said(choice, delta, content)
        chunk = StreamChunk(
            reasoning=reasoning,
            usage=openai_chat_usage({"usage": usage}) if usage else None,
            model=model or None if type(model) is str else None,
            response_id=response_id or None if type(response_id) is str else None,
            service_tier=tier or None if type(tier) is str else None,
            logprobs=_logprobs(logprobs) if logprobs else (),
            choice=self._index,
            **said,
        )
        if self._thought is not None and (chunk.content or chunk.tool_calls or chunk.finish_reason):
            return [*before, *self.rest(), chunk]
        return [*before, chunk] if before else chunk

    def _said(self, choice: Mapping[str, Any], delta: Mapping[str, Any], content: Any) -> tuple[list[StreamChunk], dict[str, Any]]:
        """What comes before a piece that says more than text and thoughts, and the fields of all that it says."""
        raw = choice.get("finish_reason")
        text, before = (content, []) if type(content) is str else self._listed(content)
        return before, {
            "content": text,
            "refusal": text_of(delta.get("refusal")) or None,
            "parts": _pictures(delta["images"]) if "images" in delta else (),
            "tool_calls": self._calls.deltas(delta) if "tool_calls" in delta or "function_call" in delta else (),
            "finish_reason": self._finish(raw),
            "finish_reason_raw": raw if isinstance(raw, str) else None,
            "citations": _annotated(delta["annotations"]) if delta.get("annotations") else (),
        }

    def _finish(self, raw: Any) -> str | None:
        if not ends(raw):
            return None
        self.finished = True
        reason = finish_of(raw, called=self._calls.any)
        self.broken = broken_off(raw) if reason is None else None
        return reason

    def rest(self) -> list[StreamChunk]:
        """The thought that is now finished, if there is one."""
        if self._thought is None:
            return []
        part, self._thought = self._thought.part(), None
        return [StreamChunk(parts=(part,), choice=self._index)]

    def _think(self, delta: Mapping[str, Any]) -> str:
        if self._thought is None:
            if not any(delta.get(name) for name in REASONING):
                return ""
            self._thought = _Thought(whole=self._whole)
        return self._thought.add(delta)

    def _listed(self, content: Any) -> tuple[str, list[StreamChunk]]:
        """A content that is no text: some servers send the object of a structured answer, some a list of parts."""
        if isinstance(content, dict):
            return json.dumps(content, ensure_ascii=False), []
        chunks: list[StreamChunk] = []
        for block in content if isinstance(content, list) else ():
            chunks += self._block(block) if isinstance(block, dict) else []
        return "", chunks

    def _block(self, block: Mapping[str, Any]) -> list[StreamChunk]:
        if block.get("type") == "thinking":
            before = self.rest() if self._thought is not None and (self._whole or not self._thought.is_block) else []
            self._thought = self._thought or _Thought(whole=self._whole)
            return [*before, StreamChunk(reasoning=self._thought.add_block(block), choice=self._index)]
        text = block.get("text")
        if isinstance(text, str) or block.get("type") in ("text", None):
            return self._text(text_of(text))
        return [*self.rest(), StreamChunk(parts=(OtherPart(origin=NAME, data=block),), choice=self._index)]

    def _text(self, text: str) -> list[StreamChunk]:
        return [*self.rest(), StreamChunk(content=text, choice=self._index)] if text else []


class _Thought:
    """A thought under way, in the fields that its server writes; of a ``whole`` one nothing is put together."""

    __slots__ = ("_block", "_details", "_texts", "_whole")

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._texts: dict[str, list[str]] = {}
        self._details: list[dict[str, Any]] = []
        self._block: dict[str, Any] = {}

    @property
    def is_block(self) -> bool:
        """Whether it stands among the content."""
        return bool(self._block)

    def add(self, delta: Mapping[str, Any]) -> str:
        """Take in a piece; its text, unless it only repeats in detail what was said already."""
        said = ""
        for name in _SPELT:
            text = delta.get(name)
            if text and type(text) is str:
                self._texts.setdefault(name, []).append(text)
                said = said or text
        if "reasoning_details" not in delta:
            return said
        said = said or ("" if self._texts else thought_text(delta))
        for detail in details_in(delta):
            self._detail(detail)
        return said

    def _detail(self, detail: Mapping[str, Any]) -> None:
        last = self._details[-1] if self._details else None
        running = any(name in detail for name in _RUNNING) or ("data" not in detail and "signature" in detail)
        if self._whole or last is None or not running or any(last.get(name) != detail.get(name) for name in ("type", "index")):
            self._details.append(dict(detail))
            return
        for name, value in detail.items():
            grows = name in _RUNNING and isinstance(last.get(name), str) and isinstance(value, str)
            if grows:
                last[name] += value
            elif value is not None and value != "":
                last[name] = value

    def add_block(self, block: Mapping[str, Any]) -> str:
        """Take in a piece of a block of content."""
        pieces = block.get("thinking")
        if isinstance(pieces, str):
            pieces = [{"type": "text", "text": pieces}]
        known = list(pieces) if self._whole and isinstance(pieces, list) else self._block.get("thinking", [])
        for piece in pieces if isinstance(pieces, list) and not self._whole else ():
            _append(known, piece)
        self._block = {**self._block, **block, "thinking": known}
        return text_within(pieces)

    def part(self) -> ReasoningPart:
        """The whole thought."""
        if self._block:
            return block_of(self._block)
        fields: dict[str, Any] = {name: "".join(texts) for name, texts in self._texts.items()}
        return thought_of({**fields, "reasoning_details": self._details} if self._details else fields)


def _append(pieces: list[Any], piece: Any) -> None:
    """Puts a piece of a block behind the others; text grows."""
    last = pieces[-1] if pieces else None
    if isinstance(piece, dict) and isinstance(last, dict) and piece.keys() == last.keys() == {"type", "text"}:
        pieces[-1] = {**last, "text": text_of(last["text"]) + text_of(piece["text"])}
    else:
        pieces.append(piece)


def _logprobs(logprobs: Any) -> tuple[Any, ...]:
    entries = mapping(logprobs).get("content")
    return tuple(entries) if isinstance(entries, list) else ()


def _annotated(annotations: Any) -> tuple[Citation, ...]:
    """The sources that a message names, each with the characters that rest on it."""
    listed = [mapping(annotation) for annotation in annotations] if isinstance(annotations, list) else []
    return tuple([_citation(raw, mapping(raw.get("url_citation"))) for raw in listed if raw.get("type") == "url_citation"])


def _citation(raw: Mapping[str, Any], source: Mapping[str, Any]) -> Citation:
    start, end = source.get("start_index"), source.get("end_index")
    return Citation(
        url=text_of(source.get("url")) or None,
        title=text_of(source.get("title")) or None,
        text=text_of(source.get("content")) or None,
        start=start if type(start) is int else None,
        end=end if type(end) is int else None,
        raw=raw,
    )


def sources_in(document: Mapping[str, Any]) -> tuple[Citation, ...]:
    """The sources of the answer as a whole, as Perplexity lists them."""
    if "search_results" not in document and "citations" not in document:
        return ()
    found, urls = document.get("search_results"), document.get("citations")
    listed = [mapping(result) for result in found] if isinstance(found, list) else []
    told = [
        Citation(
            url=text_of(result.get("url")) or None,
            title=text_of(result.get("title")) or None,
            text=text_of(result.get("snippet")) or None,
            raw=result,
        )
        for result in listed
    ]
    known = {citation.url for citation in told}
    bare = [url for url in urls if isinstance(url, str) and url not in known] if isinstance(urls, list) else []
    return (*told, *[Citation(url=url, raw={"url": url}) for url in bare])


def _pictures(images: Any) -> tuple[Part, ...]:
    """Pictures that the model made, as OpenRouter sends them."""
    listed = [mapping(mapping(image).get("image_url")).get("url") for image in images] if isinstance(images, list) else []
    return tuple([_picture(url) for url in listed if isinstance(url, str) and url])


def _picture(url: str) -> ImagePart:
    whole = data_url(url)
    return ImagePart(url=url) if whole is None else ImagePart(media_type=whole[0], data=whole[1])


def failed(choice: Mapping[str, Any]) -> None:
    """Raise what an error inside of a choice stands for: OpenRouter puts it there where its upstream failed."""
    if "error" in choice and tells(choice["error"]):
        raise fault_inside(choice)


def decode(body: bytes, members: int = MOST_MEMBERS) -> Response:
    """A whole answer, of all its choices."""
    return fold(_chunks(body, members))


def decode_tagged(body: bytes, members: int = MOST_MEMBERS) -> Response:
    """The same of a model that writes its thoughts into the text."""
    return fold(TagSplitter().all(_chunks(body, members)))


def _chunks(body: bytes, members: int) -> list[StreamChunk]:
    document = parse_object(body, members)
    choices = document.get("choices")
    if not isinstance(choices, list) or not choices:
        raise lacking(document, "choices")
    raise_told(document)
    return _whole(document, [mapping(choice) for choice in choices])


def _whole(document: Mapping[str, Any], choices: Sequence[Mapping[str, Any]]) -> list[StreamChunk]:
    """The chunks that a whole answer is worth; its choices are numbered as they stand."""
    chunks: list[StreamChunk] = []
    for place, choice in enumerate(choices):
        failed(choice)
        reader = ChoiceReader(place, whole=True)
        said = {**choice, "delta": choice["message"] if "message" in choice else choice.get("delta")}
        read = reader.read(said, document)
        if reader.broken is not None:
            raise reader.broken
        chunks += [*(read if isinstance(read, list) else [read]), *reader.rest()]
    sources = sources_in(document)
    return [*chunks, StreamChunk(citations=sources)] if sources else chunks


_MOST_CHOICES = 1024
"""Of one answer; vendors give 128 at most."""


class ChatDecoder(EventDecoder):
    """chat.completion.chunk events; complete at ``[DONE]``, or at the end of the body once a finish reason was seen."""

    __slots__ = ("_choices", "_first", "_sourced", "_told")
    END_MARKER = "[DONE] or a finish reason"
    ANSWER = "choices"

    def __init__(self) -> None:
        super().__init__()
        self._first = ChoiceReader(0)
        self._choices = {0: self._first}
        self._sourced: Mapping[str, Any] | None = None  # the last event that named the sources of the answer
        self._told = False  # whether they were said

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk]:
        """What one event says; usage is taken from wherever a server puts it."""
        choices: Any = document.get("choices")
        choice = choices[0] if choices and type(choices) is list else None
        sourced = "search_results" in document or "citations" in document
        if type(choice) is not dict or choices[1:] or choice.get("index") or sourced or self._sourced is not None:
            return self._unusual(choices, document, sourced=sourced)
        failed(choice)
        read = self._first.read(choice, document)
        if choice.get("finish_reason") is not None:
            self._broken = self._first.broken
            self.ended = all(reader.finished for reader in self._choices.values())
        return read

    def _unusual(self, choices: Any, document: Mapping[str, Any], *, sourced: bool) -> list[StreamChunk]:
        """An event without a choice, such as the one that tells the usage, with several, or with sources of the whole answer."""
        chunks: list[StreamChunk] = []
        listed = [mapping(choice) for choice in choices] if isinstance(choices, list) else []
        for choice in listed or [{}]:
            failed(choice)
            index = choice.get("index")
            place = index if isinstance(index, int) and 0 < index < _MOST_CHOICES else 0
            if place not in self._choices:
                self._choices[place] = ChoiceReader(place)
            read = self._choices[place].read(choice, document)
            chunks += read if isinstance(read, list) else [read]
            self._broken = self._broken or self._choices[place].broken
        self.ended = all(reader.finished for reader in self._choices.values())
        if document.get("usage") and not listed:  # the end, also of thoughts that nothing was said after
            chunks = [*[chunk for reader in self._choices.values() for chunk in reader.rest()], *chunks]
        return chunks + self._sources(document if sourced else None)

    def _sources(self, document: Mapping[str, Any] | None) -> list[StreamChunk]:
        """The sources of the answer, which every event repeats, once: when the answer is complete."""
        self._sourced = self._sourced if document is None else document
        if not self.ended or self._told or not self._sourced:
            return []
        self._told = True
        return [StreamChunk(citations=sources_in(self._sourced))]

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return decode(body, self.bounds.members)


class TaggedDecoder(ChatDecoder):
    """The same for a model that writes its thoughts into the text."""

    __slots__ = ("_tags",)

    def __init__(self) -> None:
        super().__init__()
        self._tags = TagSplitter()

    def read_event(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        """What one event says, thoughts told from the text."""
        read = super().read_event(document)
        return [piece for chunk in (read if isinstance(read, list) else [read]) for piece in self._tags.split(chunk)]

    def _take(self, name: str, data: str, chunks: list[StreamChunk]) -> None:
        super()._take(name, data, chunks)
        if self.done:
            chunks += self._tags.rest()

    def finish(self) -> list[StreamChunk]:
        """What is left, and what might have been the beginning of a tag."""
        return [*super().finish(), *self._tags.rest()]

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return decode_tagged(body, self.bounds.members)
