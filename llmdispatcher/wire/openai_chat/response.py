"""Decode the choices of OpenAI's chat completions API, chunk by chunk."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import attrs

from ...errors import DispatchError, MalformedReply, StreamInterrupted
from ...types import (
    AUDIO_FORMATS,
    MOST_MEMBERS,
    AudioPart,
    Citation,
    ImagePart,
    OtherPart,
    Part,
    ReasoningPart,
    Response,
    StreamChunk,
    ToolCallDelta,
    data_url,
    detect_media_type,
    fold,
    response_of,
)
from ..decoding import (
    cite,
    decode_base64,
    entries_in,
    mapping,
    missing,
    number_in,
    parse_object,
    raise_error,
    recount,
    says,
    says_more,
    text_of,
    words_of,
)
from ..errors import fault_inside, tells
from ..finish import UNREADABLE, ends, error_of, finish_of, word_in
from ..streams import EventDecoder
from .calls import CallSlots
from .fields import (
    AS,
    NAME,
    REASONING,
    SOUND,
    block_of,
    details_in,
    noted,
    openai_chat_usage,
    span_of,
    text_within,
    thought_of,
    thought_text,
    usage_beside,
)

_WHOLE = "chat.completion"
"""The ``object`` of a whole answer; some servers write one at the end of a stream."""


def _message_in(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message of a choice, which may be a bare text."""
    message = choice.get("message") or (choice.get("text") if "delta" not in choice else None)
    return {"content": message} if isinstance(message, str) else message if isinstance(message, dict) else {}


_OTHER_THOUGHTS = ("reasoning_text", "thinking")
"""What some servers call a thought; it is sent back in the first of the usual fields."""
_THOUGHTS = frozenset({*REASONING, *_OTHER_THOUGHTS})
_COMMON = frozenset({"role", "content", *REASONING})
"""What most pieces of a stream consist of."""
_SPELT = ("reasoning_content", "reasoning")
_SHOWN = frozenset({"images", "audio", "annotations"})
_RUNNING = ("text", "summary")
"""What grows from piece to piece in a detail of a thought."""


@attrs.define(eq=False, repr=False)
class ChoiceReader:
    """Reads one choice; of a ``whole`` answer all at once."""

    _index: int
    _whole: bool = attrs.field(default=False, kw_only=True)
    _calls: CallSlots | None = None  # from the first one on
    _thought: _Thought | None = None  # under way
    broken: DispatchError | None = None
    finished: bool = False
    _thinks: bool = False  # whether any thought was told
    _by_messages: bool = False  # whether the pieces come as messages, each of its own text or of all so far
    _content: list[str] = attrs.Factory(list)
    _refusal: str = ""
    _shows: bool = False  # whether anything but text stood among the content
    _shown: frozenset[str] = frozenset()  # what was said of what a whole message repeats
    _sound: _Sound | None = None  # under way
    _usage: Mapping[str, Any] = attrs.Factory(dict)

    def read(self, choice: Mapping[str, Any], document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk]:
        """What one piece says, with the facts of the document around it."""
        before, fields = self.read_fields(choice, document)
        chunk = StreamChunk(**fields, choice=self._index)
        return [*before, chunk] if before else chunk

    def read_fields(self, choice: Mapping[str, Any], document: Mapping[str, Any]) -> tuple[list[StreamChunk], dict[str, Any]]:
        """What one piece says, as the fields of its chunk; and the chunks that come before it."""
        delta = choice.get("delta")
        if type(delta) is not dict or choice.get("message"):
            delta = self._unusual(choice)
        elif (
            self._content and choice.get("finish_reason") is not None and document.get("object") == _WHOLE and self._repeats(delta)
        ):
            delta = self._besides({}, delta)
        content = delta.get("content")
        if content is None:
            content = ""
        usage = document.get("usage") or (("usage" in choice or "x_groq" in document) and usage_beside(document, choice))
        model, response_id, tier = document.get("model"), document.get("id"), document.get("service_tier")
        logprobs = choice.get("logprobs")
        reasoning = "" if _THOUGHTS.isdisjoint(delta) else self._think(delta)
        common = delta.keys() <= _COMMON and type(content) is str and choice.get("finish_reason") is None and len(choice) > 0
        if not common and not (usage and says(usage)):
            usage = usage_beside(document, choice) or usage
        before, fields = ([], {"content": content}) if common else self._further(choice, delta, content)
        counted = None
        if usage and isinstance(usage, dict):
            self._usage = recount(self._usage, usage) if self._usage else usage
            counted = openai_chat_usage({"usage": self._usage})
        if fields["content"]:
            self._content.append(fields["content"])
        for one in before:
            self._content += [one.content] if one.content else []
            self._shows = self._shows or bool(one.reasoning or one.parts or one.refusal)
        fields["reasoning"] = reasoning
        fields["usage"] = counted
        fields["model"] = model or None if type(model) is str else None
        fields["response_id"] = response_id or None if type(response_id) is str else None
        fields["service_tier"] = tier or None if type(tier) is str else None
        fields["logprobs"] = _logprobs(logprobs) if logprobs else ()
        if self._thought is not None and (fields["content"] or fields.get("tool_calls") or fields.get("finish_reason")):
            before += self.rest()
        return before, fields

    @property
    def has_begun(self) -> bool:
        """Whether it said anything."""
        return self._thinks or self._shows or self._has_called or bool(self._content or self._refusal or self._shown)

    @property
    def _has_called(self) -> bool:
        return self._calls is not None and self._calls.any

    def _unusual(self, choice: Mapping[str, Any]) -> Mapping[str, Any]:
        """The delta of a piece without a plain ``delta``: it may have a text, as in text completions, or a whole message."""
        message = choice.get("message")
        delta = choice.get("delta") or (None if message else choice.get("text"))
        if isinstance(delta, str):
            return {"content": delta}
        self._by_messages = self._by_messages or not (self.has_begun or delta)
        message = {"content": message} if isinstance(message, str) else mapping(message)
        if self._by_messages and not message.get("content") and choice.get("finish_reason") is None:
            return message
        return self._besides(mapping(delta), message)

    def _besides(self, delta: Mapping[str, Any], message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Combine a piece with a whole message, which may repeat all pieces and add to them."""
        if self._whole or not (self.has_begun or says(delta)):
            return {**delta, **message}
        piece, content, refusal = map(words_of, (delta.get("content"), message.get("content"), message.get("refusal")))
        known = "".join(self._content) if content else ""
        piece = "" if piece == content == known else piece  # all of it again, in both places
        known += piece if content else ""
        more = content[len(known) :] if content.startswith(known) else content if self._by_messages else ""
        calls = ("tool_calls", "function_call") if self._has_called else ()
        repeated = (*(_THOUGHTS if self._thinks else ()), *calls, *self._shown)
        further = {name: value for name, value in message.items() if name not in repeated}
        if self._refusal:
            further["refusal"] = refusal[len(self._refusal) :] if refusal.startswith(self._refusal) else ""
        return {**further, **{name: value for name, value in delta.items() if says(value)}, "content": piece + more}

    def _repeats(self, delta: Mapping[str, Any]) -> bool:
        """Whether a last piece is the whole answer again."""
        return words_of(delta.get("content")).startswith("".join(self._content))

    def _further(
        self, choice: Mapping[str, Any], delta: Mapping[str, Any], content: Any
    ) -> tuple[list[StreamChunk], dict[str, Any]]:
        """What comes before a piece that says more than text and thoughts, and the fields of all that it says."""
        if "error" in delta:
            raise_if_failed(delta)
        raw = choice.get("finish_reason")
        if type(raw) is not str:
            raw = word_in(raw)
        content = content or delta.get("text") or content
        text, before = (content, []) if type(content) is str else self._read_list(content)
        calls: tuple[ToolCallDelta, ...] = ()
        if "tool_calls" in delta or "function_call" in delta:
            self._calls = self._calls or CallSlots(whole=self._whole)
            calls = self._calls.deltas(delta)
        if raw and self._calls is not None:
            calls = (*calls, *self._calls.rest())
        if "audio" in delta and says(delta["audio"]):
            self._sound = self._sound or _Sound()
            self._sound.add(mapping(delta["audio"]))
        refusal = words_of(delta["refusal"]) if delta.get("refusal") is not None else ""
        self._refusal += refusal
        if not _SHOWN.isdisjoint(delta):
            self._shown |= {name for name in _SHOWN.intersection(delta) if says(delta[name])}
        return before, {
            "content": text,
            "refusal": refusal or None,
            "parts": _pictures(delta["images"]) if "images" in delta else (),
            "tool_calls": calls,
            "finish_reason": self._finish(raw, choice),
            "finish_reason_raw": raw if isinstance(raw, str) else None,
            "citations": _read_annotations(delta["annotations"]) if delta.get("annotations") else (),
        }

    def _finish(self, raw: Any, choice: Mapping[str, Any]) -> str | None:
        reason = finish_of(raw, called=self._has_called)
        if reason is None and not ends(raw):
            return None
        self.finished = True
        self.broken = error_of(raw) if reason is None or reason in UNREADABLE else None
        if self.broken is None and "native_finish_reason" in choice:  # OpenRouter's: its upstream failed
            self.broken = error_of(choice["native_finish_reason"])
        return reason

    def rest(self) -> list[StreamChunk]:
        """The thought that is now finished, if there is one."""
        if self._thought is None:
            return []
        part, self._thought = self._thought.part(), None
        return [StreamChunk(parts=(part,), choice=self._index)]

    def flush(self) -> list[StreamChunk]:
        """All that was still under way at the end."""
        chunks = self.rest() if self._thought is not None else []
        calls = self._calls.rest() if self._calls is not None else ()
        sound, self._sound = self._sound.whole() if self._sound is not None else {}, None
        further = {**sound, "tool_calls": calls} if calls else sound
        return [*chunks, StreamChunk(**further, choice=self._index)] if further else chunks

    def _think(self, delta: Mapping[str, Any]) -> str:
        if self._thought is None:
            if not (says(delta.get("reasoning_details")) or any(thought_in(delta, name) for name in (*_SPELT, *_OTHER_THOUGHTS))):
                return ""
            self._thought, self._thinks = _Thought(whole=self._whole), True
        return self._thought.add(delta)

    def _read_list(self, content: Any) -> tuple[str, list[StreamChunk]]:
        """A content that is no text: some servers send the object of a structured answer, some a list of parts."""
        if isinstance(content, dict) and content.get("type") == "text":
            content = [content]
        if isinstance(content, dict):
            return json.dumps(content, ensure_ascii=False) if says(content) else "", []
        if not isinstance(content, list):
            return words_of(content), []
        chunks: list[StreamChunk] = []
        for block in content:
            chunks += self._block(block) if isinstance(block, dict) else self._text(words_of(block))
        return "", chunks

    def _block(self, block: Mapping[str, Any]) -> list[StreamChunk]:
        if block.get("type") == "thinking":
            before = self.rest() if self._thought is not None and (self._whole or not self._thought.is_block) else []
            self._thought = self._thought or _Thought(whole=self._whole)
            return [*before, StreamChunk(reasoning=self._thought.add_block(block), choice=self._index)]
        if block.get("type") == "reasoning" and (thought := _inner_text(block)):
            part = ReasoningPart(text=thought, origin=NAME, extra=noted(block))
            return [*self.rest(), StreamChunk(reasoning=thought, parts=(part,), choice=self._index)]
        if block.get("type") == "refusal" and (refusal := words_of(block.get("refusal"))):
            return [*self.rest(), StreamChunk(refusal=refusal, choice=self._index)]
        text = block.get("text")
        if block.get("type") == "text" and (text is None or isinstance(text, dict)):
            text = _inner_text(block)
        is_plain = text is not None or block.get("type") == "text" or not says(block.get("type"))
        if is_plain and not (isinstance(text, dict | list) and says(text)):
            return self._text(words_of(text))
        return [*self.rest(), StreamChunk(parts=(OtherPart(origin=NAME, data=block),), choice=self._index)]

    def _text(self, text: str) -> list[StreamChunk]:
        return [*self.rest(), StreamChunk(content=text, choice=self._index)] if text else []


class _Sound:
    """A spoken answer under way: ``audio`` of a message."""

    __slots__ = ("_data", "_fields", "_texts")

    def __init__(self) -> None:
        self._data: list[str] = []
        self._texts: list[str] = []
        self._fields: dict[str, Any] = {}

    def add(self, audio: Mapping[str, Any]) -> None:
        """Take in a piece."""
        self._texts.append(words_of(audio.get("transcript")))
        self._data += [audio["data"]] if text_of(audio.get("data")) else []
        self._fields |= {name: value for name, value in audio.items() if name not in ("data", "transcript") and says(value)}

    def whole(self) -> dict[str, Any]:
        """All of it, as the fields of a chunk. Raises :class:`MalformedReply` for sound that is no base64."""
        text = "".join(self._texts)
        if not self._data:
            return {"content": text} if text else {}
        each_padded = all(len(piece) % 4 == 0 for piece in self._data)
        pieces = [decode_base64(piece) for piece in (self._data if each_padded else ["".join(self._data)])]
        data = b"".join(filter(None, pieces))
        if None in pieces:
            raise MalformedReply("the sound in the vendor's answer is no base64", sent=True)
        form = AUDIO_FORMATS.get(detect_media_type(data) or "", _RAW_SOUND)
        extra = {NAME: {AS: SOUND, **self._fields} if "id" in self._fields else self._fields}
        return {"parts": (AudioPart(data=data, format=form, transcript=text or None, extra=extra),)}


_RAW_SOUND = "pcm16"
"""What OpenAI streams: samples without a head that would name them."""


class _Thought:
    """A thought under way, in the fields that its server writes. The pieces of a ``whole`` one stay as they are."""

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
        """Take in a piece and return its text, unless its details only repeat text that came before."""
        said = ""
        for name in _SPELT:
            text = thought_in(delta, name)
            if text:
                self._texts.setdefault(name, []).append(text)
                said = said or text
        if not said:
            said = next((text for name in _OTHER_THOUGHTS if (text := thought_in(delta, name))), "")
            if said:
                self._texts.setdefault(_SPELT[0], []).append(said)
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
            last = known[-1] if known else None
            if isinstance(piece, dict) and isinstance(last, dict) and piece.keys() == last.keys() == {"type", "text"}:
                known[-1] = {**last, "text": text_of(last["text"]) + text_of(piece["text"])}  # text grows
            else:
                known.append(piece)
        self._block = {**self._block, **block, "thinking": known}
        return text_within(pieces)

    def part(self) -> ReasoningPart:
        """The whole thought."""
        if self._block:
            return block_of(self._block)
        fields: dict[str, Any] = {name: "".join(texts) for name, texts in self._texts.items()}
        return thought_of({**fields, "reasoning_details": self._details} if self._details else fields)


def thought_in(delta: Mapping[str, Any], name: str) -> str:
    """A thought in one of its fields: a text, or an object or a list of blocks that hold one."""
    value = delta.get(name)
    return value if isinstance(value, str) else _inner_text(value) if isinstance(value, dict | list) else words_of(value)


def _inner_text(value: Any) -> str:
    """The text in blocks, under whichever of the usual names."""
    if isinstance(value, list):
        return "".join(map(_inner_text, value))
    if isinstance(value, dict):
        return next((text for name in _TEXTS if (text := _inner_text(value.get(name)))), "")
    return words_of(value)


_TEXTS = ("text", "content", "value", "thinking", "summary", "reasoning")


def _logprobs(logprobs: Any) -> tuple[Any, ...]:
    entries = mapping(logprobs).get("content")
    return tuple(entries) if isinstance(entries, list) else ()


def _read_annotations(annotations: Any) -> tuple[Citation, ...]:
    """The sources that a message names, each with the characters that rest on it."""
    listed = [mapping(annotation) for annotation in annotations] if isinstance(annotations, list) else []
    sources = [raw for raw in listed if raw.get("type") == "url_citation" and says_more(raw, "type")]
    return tuple([_citation(raw, mapping(raw.get("url_citation"))) for raw in sources])


def _citation(raw: Mapping[str, Any], source: Mapping[str, Any]) -> Citation:
    return cite(raw, url=source.get("url"), title=source.get("title"), text=source.get("content"), span=span_of(source))


def sources_in(document: Mapping[str, Any]) -> tuple[Citation, ...]:
    """The sources of the answer as a whole, as Perplexity lists them."""
    found, urls = document.get("search_results"), document.get("citations")
    listed = [mapping(result) for result in found] if isinstance(found, list) else []
    sources = [cite(raw, url=raw.get("url"), title=raw.get("title"), text=raw.get("snippet")) for raw in listed if says(raw)]
    known = {citation.url for citation in sources}
    bare = [url for url in urls if isinstance(url, str) and url and url not in known] if isinstance(urls, list) else []
    return (*sources, *[Citation(url=url, raw={"url": url}) for url in bare])


def _pictures(images: Any) -> tuple[Part, ...]:
    """Pictures that the model made, as OpenRouter sends them."""
    listed = [mapping(mapping(image).get("image_url")).get("url") for image in images] if isinstance(images, list) else []
    found = [(url, data_url(url)) for url in listed if isinstance(url, str) and url]
    return tuple([ImagePart(media_type=held[0], data=held[1]) if held else ImagePart(url=url) for url, held in found])


def raise_if_failed(choice: Mapping[str, Any]) -> None:
    """Raise what an error inside of a choice or its message stands for: OpenRouter puts it there where its upstream failed."""
    if "error" in choice and tells(choice["error"]):
        raise fault_inside(choice)


def decode(body: bytes, members: int = MOST_MEMBERS, *, tagged: bool = False) -> Response:
    """A whole answer, of all its choices, which are numbered by their order; ``tagged``: thoughts are in the text, between tags."""
    document = parse_object(body, members)
    choices = entries_in(document.get("choices"))
    ended = any(choices) and isinstance(choices[0], dict) and choices[0].get("finish_reason")
    if not (ended or says(choices)):
        raise missing(document, "choices")
    raise_error(document)
    listed = [choice if isinstance(choice, dict) else {} for choice in choices]
    if "message" not in listed[0] and all(map(_is_piece, listed)):
        raise StreamInterrupted("the vendor's answer is the first piece of a stream, and nothing follows it", sent=True)
    chunks: list[StreamChunk] = []
    sources = sources_in(document) if "search_results" in document or "citations" in document else ()
    for place, choice in enumerate(listed):
        if "error" in choice:
            raise_if_failed(choice)
        reader = ChoiceReader(place, whole=True)
        delta = _message_in(choice) if "message" in choice or "delta" not in choice else choice["delta"]
        before, fields = reader.read_fields({**choice, "delta": delta, "message": None}, document)
        if reader.broken is not None:
            raise reader.broken
        behind = reader.flush()
        if len(listed) == 1 and not (before or behind or sources or tagged or fields.get("tool_calls") or fields.get("parts")):
            return response_of(fields)
        chunks += [*before, StreamChunk(**fields, choice=place), *behind]
    if sources:
        chunks.append(StreamChunk(citations=sources))
    return fold(TagSplitter().all(chunks) if tagged else chunks)


decode_tagged = partial(decode, tagged=True)


def _is_piece(choice: Mapping[str, Any]) -> bool:
    """Whether a choice is a piece of a stream that has not ended, which no whole answer is made of."""
    return "delta" in choice and "message" not in choice and not choice.get("finish_reason") and "error" not in choice


_MOST_CHOICES = 1024
"""Of one answer; vendors give 128 at most."""


class ChatDecoder(EventDecoder):
    """chat.completion.chunk events; complete at ``[DONE]``, or at the end of the body once a finish reason was seen."""

    __slots__ = ("_choices", "_first", "_has_sent_sources", "_odd", "_sourced")
    END_MARKER = "[DONE] or a finish reason"
    ENDS_BY_DONE = True
    ANSWER = "choices"

    def __init__(self) -> None:
        super().__init__()
        self._first = ChoiceReader(0)
        self._choices = {0: self._first}
        self._odd: Mapping[str, Any] | None = None  # the first event that is no piece of an answer
        self._sourced: Mapping[str, Any] | None = None  # the last event that named the sources of the answer
        self._has_sent_sources = False  # whether they were said

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | list[StreamChunk]:
        """What one event says; usage is taken from wherever a server puts it."""
        choices: Any = document.get("choices")
        choice = choices[0] if choices and type(choices) is list else None
        sourced = "search_results" in document or "citations" in document
        if type(choice) is not dict or choices[1:] or choice.get("index") or sourced or self._sourced is not None:
            return self._unusual(choices, document, sourced=sourced)
        raise_if_failed(choice)
        read = self._first.read(choice, document)
        if choice.get("finish_reason") is not None:
            self._broken = self._first.broken
            self.ended = all(reader.finished for reader in self._choices.values())
        return read

    def _unusual(self, choices: Any, document: Mapping[str, Any], *, sourced: bool) -> list[StreamChunk]:
        """An event without a choice, such as the one that tells the usage, with several, or with sources of the whole answer."""
        chunks: list[StreamChunk] = []
        if "choices" not in document and not says(document.get("usage")):
            self._odd = self._odd or document
        listed = [mapping(choice) for choice in entries_in(choices)]
        for choice in listed or [{}]:
            raise_if_failed(choice)
            index = number_in(choice.get("index"))
            place = index if index is not None and 0 < index < _MOST_CHOICES else 0
            if place not in self._choices:
                self._choices[place] = ChoiceReader(place)
            read = self._choices[place].read(choice, document)
            chunks += read if isinstance(read, list) else [read]
            self._broken = self._broken or self._choices[place].broken
        self.ended = all(reader.finished for reader in self._choices.values())
        if document.get("usage") and not listed:  # the end, also of thoughts that nothing was said after
            chunks = [*[chunk for reader in self._choices.values() for chunk in reader.rest()], *chunks]
        return chunks + self._sources(document if sourced else None)

    def flush(self) -> list[StreamChunk]:
        """Calls, thoughts and sound that no finish reason ended. Raises what an answer of nothing known says instead."""
        if not any(reader.has_begun or reader.finished for reader in self._choices.values()):
            nothing = StreamInterrupted("the stream ended and had said nothing", sent=True)
            raise nothing if self._odd is None else fault_inside(self._odd)
        return [chunk for reader in self._choices.values() for chunk in reader.flush()]

    def _sources(self, document: Mapping[str, Any] | None) -> list[StreamChunk]:
        """The sources of the answer, which every event repeats, once: when the answer is complete."""
        self._sourced = self._sourced if document is None else document
        if not self.ended or self._has_sent_sources or not self._sourced:
            return []
        self._has_sent_sources = True
        return [StreamChunk(citations=sources_in(self._sourced))]

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return decode(body, self.bounds.members)


OPEN, CLOSE = "<think>", "</think>"
"""What a model with the quirk ``think_tags`` puts around the thoughts at the beginning of its text."""


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


class TaggedDecoder(ChatDecoder):
    """Reads the stream of a model that writes its thoughts into the text, between tags."""

    __slots__ = ("_tags",)

    def __init__(self) -> None:
        super().__init__()
        self._tags = TagSplitter()

    def read_event(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        """Read one event, with thoughts separated from the text."""
        read = super().read_event(document)
        return [piece for chunk in (read if isinstance(read, list) else [read]) for piece in self._tags.split(chunk)]

    def flush(self) -> list[StreamChunk]:
        """What is left, and what might have been the beginning of a tag."""
        return [*super().flush(), *self._tags.rest()]

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return decode_tagged(body, self.bounds.members)
