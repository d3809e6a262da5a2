"""Decode answers and streams of Google's generateContent and streamGenerateContent.

https://ai.google.dev/api/generate-content#GenerateContentResponse; the arguments of a function call may arrive in pieces that name
their place by a path: https://ai.google.dev/api/caching#FunctionCall
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import attrs

from ...errors import DispatchError, MalformedReply, StreamInterrupted
from ...types import MOST_MEMBERS, OtherPart, Part, ReasoningPart, Response, StreamChunk, TextPart, ToolCallDelta, fold, parse_text
from ..base import Bounds
from ..decoding import mapping, missing, number_in, recount, says, text_of, words_of
from ..finish import ends, error_of, finish_of
from ..streams import EventDecoder, documents_in
from .fields import NAME, citations_of, gemini_usage, listed, logprobs_of, part_of, tier_of, to_camel

_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d{1,4})\]|\[(?:'([^']*)'|\"([^\"]*)\")\]")
_VALUES = ("stringValue", "numberValue", "boolValue")
_MOST_STEPS = 64


class Arguments:
    """The object that grows piece by piece: each piece names a place in it, and a value or the next words of a text."""

    __slots__ = ("_open", "_root")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._root: dict[str, Any] = dict(given)
        self._open: str | None = None  # the place of a text that goes on

    def add(self, piece: Mapping[str, Any]) -> None:
        """Take in a piece; one that names no place is left out."""
        path = piece.get("jsonPath")
        steps = _steps(path) if isinstance(path, str) else []
        if not steps or not isinstance(path, str) or not ("nullValue" in piece or any(name in piece for name in _VALUES)):
            return
        value = next((piece[name] for name in _VALUES if name in piece), None)
        goes_on = self._open == path and isinstance(value, str)
        self._put(steps, value, append=goes_on)
        self._open = path if piece.get("willContinue") is True else None

    def _put(self, steps: list[str | int], value: Any, *, append: bool) -> None:
        place: Any = self._root
        for step, following in pairwise(steps):
            inner = _at(place, step)
            if not isinstance(inner, list if isinstance(following, int) else dict):
                inner = [] if isinstance(following, int) else {}
                _set(place, step, inner)
            place = inner
        known = _at(place, steps[-1])
        _set(place, steps[-1], known + value if append and isinstance(known, str) else value)

    def value(self) -> dict[str, Any]:
        """The object so far."""
        return self._root


def _steps(path: str) -> list[str | int]:
    """The names and numbers of ``$.a[0]['b']``; none where it is no such path."""
    found = list(_STEP.finditer(path, 1))
    if not path.startswith("$") or "".join([step.group() for step in found]) != path[1:] or len(found) > _MOST_STEPS:
        return []
    steps: list[str | int] = []
    for step in found:
        dotted, number, single, double = step.groups()
        steps.append(int(number) if number is not None else next(name for name in (dotted, single, double) if name is not None))
    return steps if steps and isinstance(steps[0], str) else []


def _at(place: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return place[step] if step < len(place) else None
    return place.get(step)


def _set(place: Any, step: str | int, value: Any) -> None:
    if isinstance(step, int):
        place.extend([None] * (step + 1 - len(place)))
    place[step] = value


_MOST_CANDIDATES = 1_000
_GROWING = ("partialArgs", "willContinue")
_PLAIN = frozenset({"content", "index"})
_Fields = dict[str, Any]
"""The fields of a chunk."""


@attrs.define(eq=False, repr=False)
class _Candidate:
    """An answer under way: its texts, thoughts and calls so far."""

    _text: list[str] = attrs.Factory(list)  # all of it
    _run: int = 0  # where in it the run begins that is still growing
    _thought: list[str] = attrs.Factory(list)
    _thoughts: list[str] = attrs.Factory(list)  # the pieces of those that are over
    _calls: int = 0
    _whole: list[Mapping[str, Any]] = attrs.Factory(list)  # the calls that came whole
    _call: int = 0  # the call whose arguments come in pieces
    _given: Arguments | None = None
    broken: DispatchError | None = None
    finished: bool = False

    def word(self, candidate: Mapping[str, Any]) -> str | None:
        """The text of a piece that holds only text, as most pieces of a stream do; ``None`` for any other piece."""
        if self._thought or not candidate.keys() <= _PLAIN:
            return None
        content = candidate.get("content")
        parts = content.get("parts") if type(content) is dict else None
        part = parts[0] if type(parts) is list and len(parts) == 1 else None
        text = part.get("text") if type(part) is dict and len(part) == 1 else None
        if type(text) is not str:
            return None
        self._text.append(text)
        return text

    def read(self, candidate: Mapping[str, Any]) -> list[_Fields]:
        """What a piece says of this answer, in order."""
        pieces: list[_Fields] = []
        parts, ended = _parts(candidate.get("content")), ends(candidate.get("finishReason"))
        for part in self._new(parts) if ended and not self.finished else parts:
            pieces += self._part(part)
        if ended:
            pieces += self._finish(candidate["finishReason"])
        further = self._beside(candidate)
        return [*pieces, further] if further else pieces

    def _new(self, parts: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """The parts of a last piece without what the pieces before it said: a gateway may say all of that there once more.

        Without ids a model may mean the same call twice, so one is left out only beside such a text.
        """
        again = [
            thought
            for thought, pieces in ((False, self._text), (True, [*self._thoughts, *self._thought]))
            if _repeat(pieces, [text_of(part.get("text")) for part in parts if bool(part.get("thought")) is thought])
        ]
        if again:
            parts = [{**part, "text": ""} if "text" in part and bool(part.get("thought")) in again else part for part in parts]
        return [part for part in parts if part.get("functionCall") not in self._whole] if again else parts

    def _beside(self, candidate: Mapping[str, Any]) -> _Fields:
        grounding, tokens = candidate.get("groundingMetadata"), candidate.get("logprobsResult")
        citations = citations_of(grounding, "".join(self._text)) if grounding and type(grounding) is dict else ()
        logprobs = logprobs_of(tokens) if tokens else ()
        return {"citations": citations, "logprobs": logprobs} if citations or logprobs else {}

    def _part(self, part: Mapping[str, Any]) -> list[_Fields]:
        if len(part) > 1 or type(part.get("text")) is not str:
            part = _without_silent_fields(part)
        text = part.get("text")
        if "functionCall" in part:
            before = self._part({"text": text}) if text and type(text) is str and not part.get("thought") else []
            return [*before, *self._end_thought(), *self._read_call(part)]
        if type(text) is not str:
            return self._other(part_of(part)) if part else []
        if part.get("thought"):
            return self._think(part, text)
        if len(part) > 1:
            return [*self._end_thought(), *self._read_signed_text(part_of(part), text)]
        self._text.append(text)
        return [*self._end_thought(), {"content": text}]

    def _think(self, part: Mapping[str, Any], text: str) -> list[_Fields]:
        """A piece of a thought; one with a proof is its last."""
        known = part_of({**part, "thought": True})
        proven = isinstance(known, ReasoningPart) and bool(known.signature or known.extra)
        if not text and not proven:
            return []
        self._run = len(self._text)
        self._thought.append(text)
        if isinstance(known, ReasoningPart) and proven:
            return [{"reasoning": text, "parts": (self._whole_thought(known.signature, known.extra),)}]
        return [{"reasoning": text}]

    def _end_thought(self) -> list[_Fields]:
        return [{"parts": (self._whole_thought(None, {}),)}] if self._thought else []

    def _whole_thought(self, signature: str | None, extra: Any) -> Part:
        text = "".join(self._thought)
        self._thoughts += self._thought
        self._thought = []
        return ReasoningPart(text=text, signature=signature, origin=NAME, extra=extra)

    def _read_signed_text(self, part: Part, text: str) -> list[_Fields]:
        """Text with what hangs on it, which must not grow together with the text before it."""
        if not isinstance(part, TextPart):
            self._text.append(text)
            return [{"content": text}, *self._other(part_of({**part.data, "text": None}) if isinstance(part, OtherPart) else part)]
        if not part.extra:
            self._text.append(text)
            return [{"content": text}]
        before = "".join(self._text[self._run :])
        self._text.append(text)
        self._run = len(self._text)
        fields: _Fields = {"content": text, "parts": (part,)}
        return [{"parts": (TextPart(text=before),)}, fields] if before else [fields]

    def _other(self, part: Part) -> list[_Fields]:
        """A block of Google's own, or a picture."""
        if isinstance(part, OtherPart) and not part.data:
            return []
        self._run = len(self._text)
        return [*self._end_thought(), {"parts": (part,)}]

    def _read_call(self, part: Mapping[str, Any]) -> list[_Fields]:
        """A call arrives whole, or its arguments piece by piece."""
        self._run = len(self._text)
        call = mapping(part.get("functionCall"))
        over = self._end_call() if call.get("name") else []
        if self._given is None and not (call.get("willContinue") or call.get("partialArgs")):
            is_call = bool(text_of(call.get("name")) or call.get("args"))
            self._whole.append(call)
            return [*over, self._call_delta(part, _arguments(call.get("args")))] if is_call else over
        if self._given is None:
            self._call, self._given = self._calls, Arguments(mapping(call.get("args")))
            over.append(self._call_delta(part, ""))
        pieces = call.get("partialArgs")
        for piece in pieces if isinstance(pieces, list) else ():
            self._given.add(mapping(piece))
        return over if call.get("willContinue") else [*over, *self._end_call()]

    def _call_delta(self, part: Mapping[str, Any], arguments: str) -> _Fields:
        slot, self._calls = self._calls, self._calls + 1
        call = {name: value for name, value in mapping(part.get("functionCall")).items() if name not in _GROWING}
        known = part_of({**part, "functionCall": call})
        further = {} if isinstance(known, OtherPart) else known.extra
        delta = ToolCallDelta(
            index=slot,
            id=words_of(call.get("id") or None) or None,
            name=text_of(call.get("name")) or None,
            arguments=arguments,
            signature=text_of(part.get("thoughtSignature")) or None,
            extra=further or None,
        )
        return {"tool_calls": (delta,)}

    def _end_call(self) -> list[_Fields]:
        if self._given is None:
            return []
        text, self._given = json.dumps(self._given.value(), ensure_ascii=False), None
        return [{"tool_calls": (ToolCallDelta(index=self._call, arguments=text),)}]

    def flush(self) -> list[_Fields]:
        """What was still growing."""
        return [*self._end_thought(), *self._end_call()]

    def _finish(self, raw: Any) -> list[_Fields]:
        self.finished, over = True, self.flush()
        self.broken = error_of(raw)
        if not isinstance(raw, str):
            return over
        return [*over, {"finish_reason": finish_of(raw, called=self._calls > 0), "finish_reason_raw": raw}]


class GeminiDecoder(EventDecoder):
    """Each event is a piece of an answer in the form of a whole one; complete once every answer in it has a reason why it ended."""

    __slots__ = ("_candidates", "_usage", "has_answered")
    END_MARKER = "a finishReason"
    ANSWER = "candidates"

    def __init__(self) -> None:
        super().__init__()
        self._candidates: dict[int, _Candidate] = {}
        self._usage: Mapping[str, Any] = {}
        self.has_answered = False

    def read_event(self, document: Mapping[str, Any]) -> list[StreamChunk]:
        """One piece."""
        if "candidates" not in document and type(document.get("response")) is dict:  # as Google's Code Assist wraps it
            document = document["response"]
        candidates = document.get("candidates")
        candidates = candidates if type(candidates) is list else listed(candidates)
        word = self._word(candidates[0]) if len(candidates) == 1 else None
        if word is not None:
            return [StreamChunk(content=word, **self._facts(document))]
        pieces: list[_Fields] = []
        document = to_camel(document)
        numbered = any(type(candidate) is dict and "index" in candidate for candidate in candidates)
        for place, candidate in enumerate(candidates):
            if type(candidate) is dict and candidate:
                pieces += self._read(to_camel(candidate), 0 if numbered else place)
        if "promptFeedback" in document and not self.ended:
            pieces += self._refuse_prompt(mapping(document["promptFeedback"]).get("blockReason"))
        facts = self._facts(document)
        if self._usage and isinstance(self._broken, MalformedReply):
            self._broken = None  # what such an answer cost is known only from itself, and whoever asked reads its word
        if facts and pieces and "choice" not in pieces[-1]:
            pieces[-1] |= facts
        elif facts:
            pieces.append(facts)
        return [StreamChunk(**fields) for fields in pieces]

    def _word(self, candidate: Any) -> str | None:
        if type(candidate) is not dict or candidate.get("index") or 0 not in self._candidates:
            return None
        return self._candidates[0].word(candidate)

    def _read(self, candidate: Mapping[str, Any], place: int) -> list[_Fields]:
        self.has_answered = True
        index = number_in(candidate.get("index", place))
        index = index if index is not None and 0 <= index < _MOST_CANDIDATES else 0
        if index not in self._candidates:
            self._candidates[index] = _Candidate()
        pieces = self._candidates[index].read(candidate)
        if ends(candidate.get("finishReason")):
            self._broken = self._broken or self._candidates[index].broken
            self.ended = all(answer.finished for answer in self._candidates.values())
        return [{**fields, "choice": index} for fields in pieces] if index else pieces

    def _facts(self, document: Mapping[str, Any]) -> _Fields:
        usage = document.get("usageMetadata")
        if usage is None:
            document = to_camel(document)
            usage = document.get("usageMetadata") or document.get("usage")
        facts: _Fields = {}
        if usage and type(usage) is dict:
            self._usage = recount(self._usage, usage)
            facts["usage"] = gemini_usage(self._usage)
            facts["service_tier"] = tier_of(self._usage)
        model, response_id = document.get("modelVersion"), document.get("responseId")
        if model and type(model) is str:
            facts["model"] = model
        if response_id and type(response_id) is str:
            facts["response_id"] = response_id
        return facts

    def _refuse_prompt(self, reason: Any) -> list[_Fields]:
        """A prompt that was refused has no candidates, or ones that never end."""
        if not ends(reason) or reason.endswith("_UNSPECIFIED"):
            return []
        self.has_answered = self.ended = True
        pieces: list[_Fields] = []
        for index, candidate in (self._candidates or {0: _Candidate()}).items():
            if not candidate.finished:
                candidate.finished, choice = True, {"choice": index} if index else {}
                end = {"finish_reason": "content_filter", "finish_reason_raw": reason}
                pieces += [{**fields, **choice} for fields in (*candidate.flush(), end)]
        return pieces

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The array of pieces that Google sends where ``alt=sse`` was lost on the way; it too must be complete."""
        chunks = self.read_pieces(body)
        if not self.ended:
            raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
        return chunks

    def read_pieces(self, body: bytes) -> list[StreamChunk]:
        """All pieces of a body, in a list or one behind another; raises what an error in their place stands for."""
        documents = documents_in(body, self.bounds.members)
        chunks = self.take_documents(body, documents)
        if not self.has_answered:
            raise missing(documents[0] if len(documents) == 1 else documents, "candidates")
        return chunks

    def flush(self) -> list[StreamChunk]:
        """What the answers that have not ended hold back."""
        return [StreamChunk(**fields, choice=index) for index, answer in self._candidates.items() for fields in answer.flush()]

    def read_whole(self, body: bytes) -> Response:
        """A whole answer, or the array of pieces that a stream without ``alt=sse`` is."""
        return fold(self.read_pieces(body))


def _parts(content: Any) -> list[Mapping[str, Any]]:
    """The parts of a content; a part alone, and a text, stand for a list of it."""
    parts = listed(content.get("parts") if type(content) is dict else content)
    return [part for part in [{"text": part} if type(part) is str else part for part in parts] if type(part) is dict]


def _repeat(pieces: list[str], texts: list[str]) -> bool:
    """Whether texts are once more what several pieces were."""
    nonempty = [piece for piece in pieces if piece]
    return len(nonempty) > 1 and "".join(texts) == "".join(nonempty)


def _arguments(given: Any) -> str:
    """Arguments as text; a text that is an object stands for it."""
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            if isinstance(parse_text(given), dict):
                return given
    return json.dumps(given or {}, ensure_ascii=False)


def _without_silent_fields(part: Mapping[str, Any]) -> Mapping[str, Any]:
    """A part without the fields of it that say nothing; a number that stands for a text is one, and so is what was heard."""
    fields = {name: value for name, value in to_camel(part).items() if name == "text" or says(value)}
    if "audioTranscription" in fields and not says(fields.get("text")):
        transcription = fields.pop("audioTranscription")
        fields["text"] = words_of(transcription.get("text") if isinstance(transcription, dict) else transcription)
    if "text" in fields and not isinstance(fields["text"], str):
        text = words_of(fields.pop("text"))
        return {**fields, "text": text} if text else fields
    return fields


def decode(body: bytes, members: int = MOST_MEMBERS) -> Response:
    """A whole answer, or the array of pieces that a stream without ``alt=sse`` is."""
    decoder = GeminiDecoder()
    decoder.bounds = Bounds(members=members)
    return decoder.read_whole(body)
