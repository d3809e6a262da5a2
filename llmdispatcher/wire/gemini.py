"""Google's generateContent and streamGenerateContent. https://ai.google.dev/api/generate-content"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ..chunks import StreamChunk, ToolCallDelta, fold
from ..errors import InvalidRequest, MalformedReply, StreamInterrupted
from ..types import Request, Response, Usage
from .faults import fault_inside
from .gemini_request import encoded_format, encoded_messages, encoded_tools
from .payload import EventDecoder, count, dump, instructions, mapping, parse, text_of

FINISH = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    **dict.fromkeys(
        (
            "SAFETY",
            "RECITATION",
            "BLOCKLIST",
            "PROHIBITED_CONTENT",
            "SPII",
            "MODEL_ARMOR",
            "IMAGE_SAFETY",
            "IMAGE_PROHIBITED_CONTENT",
        ),
        "content_filter",
    ),
}
_SETTINGS = (
    ("temperature", "temperature"),
    ("top_p", "topP"),
    ("max_tokens", "maxOutputTokens"),
    ("seed", "seed"),
    ("frequency_penalty", "frequencyPenalty"),
    ("presence_penalty", "presencePenalty"),
)
_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class Gemini:
    """The codec; without state."""

    name = "gemini"

    def path(self, model: str, *, stream: bool) -> str:
        """The model is part of the path; a stream is asked for as server-sent events."""
        if ".." in model.split("/"):
            raise InvalidRequest(f"model: {model!r} is not a model's name")
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/{quote(model if '/' in model else f'models/{model}')}:{method}"

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body of a request; the user's name has no place in this format and is left out."""
        payload: dict[str, Any] = {"contents": encoded_messages(request.messages), **encoded_tools(request)}
        system = [{"text": text} for text in instructions(request)]
        if system:
            payload["systemInstruction"] = {"parts": system}
        settings = encoded_format(request.response_format)
        for name, theirs in _SETTINGS:
            value = getattr(request, name)
            if value is not None and not ("no_sampling" in quirks and name in _SAMPLING):
                settings[theirs] = value
        if request.stop:
            settings["stopSequences"] = list(request.stop)
        if settings:
            payload["generationConfig"] = settings
        return dump(payload, request, self.name)

    def decode(self, body: bytes) -> Response:
        """A whole answer, or the array of pieces that a stream without ``alt=sse`` is."""
        document = parse(body)
        pieces = document if isinstance(document, list) else [document]
        decoder = GeminiDecoder()
        answer = fold([chunk for piece in pieces if (chunk := decoder.read_piece(mapping(piece))) is not None])
        if not decoder.answered:
            raise MalformedReply("the vendor's answer has no candidates", sent=True)
        return answer

    def decoder(self) -> GeminiDecoder:
        """A fresh decoder for one stream."""
        return GeminiDecoder()


GEMINI = Gemini()


class GeminiDecoder(EventDecoder):
    """Each event is a piece of an answer in the form of a whole one; complete once a finish or block reason was seen."""

    __slots__ = ("_calls", "answered")
    END_MARKER = "a finishReason"

    def __init__(self) -> None:
        super().__init__()
        self._calls = 0
        self.answered = False

    def read_piece(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """One piece; raises what an error in its place stands for."""
        if document.get("error"):
            raise fault_inside(document)
        return self.read_event(document)

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """One piece of candidate 0."""
        candidate = _first_candidate(document)
        blocked = mapping(document["promptFeedback"]).get("blockReason") if "promptFeedback" in document else None
        self.answered = self.answered or bool(candidate or blocked)
        parts = mapping(candidate.get("content")).get("parts")
        content, reasoning, calls = self._said(parts) if isinstance(parts, list) else ("", "", ())
        raw = candidate.get("finishReason") or (blocked if not candidate else None)
        if raw:
            self.ended = True
        usage = document.get("usageMetadata")
        return StreamChunk(
            content=content,
            reasoning=reasoning,
            tool_calls=calls,
            finish_reason=self._finish(raw, blocked) if raw else None,
            finish_reason_raw=raw if isinstance(raw, str) else None,
            usage=usage_of(usage) if usage and isinstance(usage, dict) else None,
            model=text_of(document.get("modelVersion")) or None,
            response_id=text_of(document.get("responseId")) or None,
        )

    def _said(self, parts: list[Any]) -> tuple[str, str, tuple[ToolCallDelta, ...]]:
        """Text, thoughts and calls; other parts (code, its results, what Google's own tools did) are no part of the answer."""
        content, reasoning, calls = "", "", []
        for part in parts:
            if type(part) is not dict:
                continue
            if "functionCall" in part:
                calls.append(self._call(part))
            text = part.get("text")
            if type(text) is not str:
                continue
            if part.get("thought"):
                reasoning += text
            else:
                content += text
        return content, reasoning, tuple(calls)

    def _finish(self, raw: Any, blocked: Any) -> str | None:
        if not isinstance(raw, str):
            return None
        reason = "content_filter" if raw == blocked else FINISH.get(raw, raw.lower())
        return "tool_calls" if self._calls and reason == "stop" else reason

    def _call(self, part: Mapping[str, Any]) -> ToolCallDelta:
        """A call arrives whole, its arguments as an object."""
        call = mapping(part.get("functionCall"))
        slot, self._calls = self._calls, self._calls + 1
        return ToolCallDelta(
            index=slot,
            id=text_of(call.get("id")) or None,
            name=text_of(call.get("name")) or None,
            arguments=json.dumps(call.get("args") or {}, ensure_ascii=False),
            signature=text_of(part.get("thoughtSignature")) or None,
        )

    def finish_plain(self, body: bytes) -> list[StreamChunk]:
        """The array of pieces that Google sends where ``alt=sse`` was lost on the way; it too must be complete."""
        document = parse(body)
        pieces = document if isinstance(document, list) else [document]
        chunks = [chunk for piece in pieces if (chunk := self.read_piece(mapping(piece))) is not None]
        if not self.answered:
            raise MalformedReply("the vendor's answer has no candidates", sent=True)
        if not self.ended:
            raise StreamInterrupted(f"the stream ended without {self.END_MARKER}", sent=True)
        return chunks

    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""
        return GEMINI.decode(body)


def _first_candidate(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of several candidates only the first is read, whichever a piece of a stream brings."""
    candidates = document.get("candidates")
    candidate = candidates[0] if candidates and type(candidates) is list else None
    return {} if type(candidate) is not dict or candidate.get("index") else candidate


def usage_of(raw: Mapping[str, Any]) -> Usage:
    """The canonical usage: thoughts are billed output beside the candidates, prompts of tools are further input."""
    thoughts = count(raw.get("thoughtsTokenCount"))
    into = count(raw.get("promptTokenCount")) + count(raw.get("toolUsePromptTokenCount"))
    return Usage(
        input_tokens=into,
        output_tokens=count(raw.get("candidatesTokenCount")) + thoughts,
        cache_read_tokens=min(into, count(raw.get("cachedContentTokenCount"))),
        reasoning_tokens=thoughts,
        audio_input_tokens=_audio(raw.get("promptTokensDetails")),
        audio_output_tokens=_audio(raw.get("candidatesTokensDetails")),
        raw=raw,
    )


def _audio(details: Any) -> int:
    if not isinstance(details, list):
        return 0
    return sum([count(entry.get("tokenCount")) for entry in map(mapping, details) if entry.get("modality") == "AUDIO"])
