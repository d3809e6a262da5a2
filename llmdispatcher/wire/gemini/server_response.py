"""Encode responses, streams and errors as Google's generateContent sends them. https://cloud.google.com/apis/design/errors"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from heapq import heappop, heappush
from operator import attrgetter
from typing import Any

from ...errors import AuthenticationError, BudgetExceeded, DispatchError, QuotaExceeded
from ...types import (
    Citation,
    OtherPart,
    Part,
    ReasoningPart,
    Response,
    StreamChunk,
    TextPart,
    Usage,
    unfold,
)
from ..base import Inbound
from ..decoding import CallBuffer
from ..encoding import own, tell_unwritten, written
from ..server_errors import refused
from ..shapes import fitted, kinds
from .fields import NAME, answered_part, encoded_part, finish_word, grounding_of, logprobs_result, raw_usage

_RPC = "type.googleapis.com/google.rpc."
_STATUSES: Mapping[type[DispatchError], int] = {QuotaExceeded: 429, BudgetExceeded: 429}
_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def refusal(error: DispatchError) -> tuple[int, bytes]:
    """Status and body of an error; a type is added only where it would be read as another class without."""
    return refused(error, lambda status, code: _document(error, status, {"type": code} if code else None), _STATUSES)


def _document(error: DispatchError, status: int, further: Mapping[str, str] | None = None) -> dict[str, Any]:
    word = _WORDS.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    told: dict[str, Any] = {"code": status, "message": error.message, "status": word, **(further or {})}
    details = _details(error, status)
    return {"error": {**told, "details": details} if details else told}


def _details(error: DispatchError, status: int) -> list[dict[str, Any]]:
    """What Google's own clients go by: which limit it was, and when to come back."""
    details: list[dict[str, Any]] = []
    if isinstance(error, AuthenticationError):
        details.append({"@type": f"{_RPC}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"})
    if isinstance(error, QuotaExceeded) and status == 429:
        violation = {"quotaId": "GenerateRequestsPerDayPerProjectPerModel"}
        details.append({"@type": f"{_RPC}QuotaFailure", "violations": [violation]})
    if error.retry_after is not None:
        details.append({"@type": f"{_RPC}RetryInfo", "retryDelay": f"{error.retry_after:.9f}".rstrip("0").rstrip(".") + "s"})
    return details


_OWN = (None, NAME)
_WORD = b'data: {"candidates":[{"content":{"parts":[{"text":%s}],"role":"model"},"index":0}]%s\r\n\r\n'
"""The piece that a stream mostly consists of; only the text, and who says it, are still to be written."""
_more = attrgetter(
    "reasoning", "parts", "refusal", "tool_calls", "finish_reason", "finish_reason_raw", "citations", "logprobs", "choice"
)


def write_response(response: Response, _asked: Inbound | None = None) -> bytes:
    """The body of a whole answer; this format repeats nothing of the request."""
    writer = ContentWriter()
    for chunk in unfold(response):
        writer.learn(chunk, grown=True)
    return writer.in_one(response.created_at)


class _GeminiCall(CallBuffer):
    """A call under way; it is told once it is whole."""

    __slots__ = ()

    def block(self) -> dict[str, Any]:
        """The call as it is told; arguments that are no JSON are put into an object."""
        try:
            return answered_part(self.as_call(self.told_id))
        except DispatchError:
            return answered_part(self.as_call(self.told_id, "custom"))


class _Answer:
    """An answer under way: what was taken in and not told yet, in order."""

    __slots__ = ("_calls", "_owed", "_text", "blocked", "finish", "logprobs", "parts")

    def __init__(self) -> None:
        self._calls: dict[int, _GeminiCall] = {}
        self._owed: list[int] = []  # a heap of those that are not told yet
        self._text: list[str] = []
        self.parts: list[dict[str, Any]] = []
        self.logprobs: list[Any] = []
        self.finish: str | None = None
        self.blocked: str | None = None

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._text)

    @property
    def has_calls(self) -> bool:
        """Whether there are calls, which may be owed."""
        return bool(self._calls)

    def hear(self, text: str) -> None:
        """Remember a text that is told elsewhere."""
        self._text.append(text)

    def learn(self, chunk: StreamChunk, *, grown: bool) -> None:
        """Take in what a chunk says of this answer; calls that are ``grown`` come whole, in whatever form."""
        begins = any(delta.index not in self._calls for delta in chunk.tool_calls)
        if self._calls and (begins or chunk.content or chunk.reasoning or chunk.refusal or chunk.parts):
            self.tell_calls(even_broken=grown)
        self._say(chunk)
        for delta in chunk.tool_calls:
            if delta.index not in self._calls:
                self._calls[delta.index] = _GeminiCall()
                heappush(self._owed, delta.index)
            self._calls[delta.index].learn(delta)
        self.logprobs += chunk.logprobs
        if chunk.finish_reason is not None or chunk.finish_reason_raw is not None:
            self.finish = finish_word(chunk.finish_reason, chunk.finish_reason_raw)
            self.blocked = _blocking(chunk.finish_reason_raw, self.finish) if chunk.finish_reason == "content_filter" else None

    def tell_calls(self, *, even_broken: bool = False) -> None:
        """The calls that are owed, in their order: the first that is not whole holds up those behind it."""
        while self._owed and (even_broken or self._calls[self._owed[0]].is_whole):
            self.parts.append(self._calls[heappop(self._owed)].block())

    def _say(self, chunk: StreamChunk) -> None:
        content, reasoning = chunk.content, chunk.reasoning
        finished: list[dict[str, Any]] = []
        for part in chunk.parts:
            if isinstance(part, TextPart):
                finished += _hung(part, content)
                content = "" if own(part, NAME) and content == part.text else content
            elif isinstance(part, ReasoningPart):
                finished += _proved(part, reasoning)
                reasoning = "" if finished and "thought" in finished[-1] else reasoning
            else:
                finished += _shown(part)
        self._text += [text for text in (chunk.content, chunk.refusal) if text]
        self.parts += [{"text": text} for text in (content, chunk.refusal) if text]
        self.parts += [{"text": reasoning, "thought": True}] if reasoning else []
        self.parts += finished


def _blocking(raw: str | None, word: str | None) -> str:
    """Why a prompt was refused, in a word that there is for that."""
    return next((one for one in (raw, word) if one in _BLOCKING), "OTHER")


_BLOCKING = frozenset({"SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK"})
"""The last two are Vertex AI's. https://ai.google.dev/api/generate-content#BlockReason"""


def _hung(part: TextPart, content: str) -> list[dict[str, Any]]:
    """What hangs on a text; the text itself, if it is not told yet."""
    further = own(part, NAME)
    return _whole({"text": part.text if content == part.text else "", **further}) if further else []


def _proved(part: ReasoningPart, reasoning: str) -> list[dict[str, Any]]:
    """What proves a thought; its text, if it is not told yet. Another format's proof is none here."""
    if part.origin not in _OWN or not (part.signature or own(part, NAME)):
        return []
    proof = {"thoughtSignature": part.signature} if part.signature else {}
    return _whole({"text": reasoning, "thought": True, **proof, **own(part, NAME)})


def _shown(part: Part) -> list[dict[str, Any]]:
    """A block of Google's own, or a medium."""
    if isinstance(part, OtherPart) and part.origin != NAME:
        tell_unwritten(part)
        return []
    return _whole(encoded_part(part))


def _whole(block: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A block without what clients could not read; none if it says nothing else."""
    whole = fitted(block, kinds(NAME)["part"])
    if not whole:
        tell_unwritten(OtherPart(origin=NAME, data=block))
    return [whole] if whole else []


def _tail(facts: Mapping[str, str]) -> bytes:
    """The end of a piece, from behind its candidates."""
    return b"," + written(facts)[1:] if facts else b"}"


class ContentWriter:
    """A piece for each chunk that says something; reasons, sources and tokens are in the last."""

    __slots__ = ("_answers", "_citations", "_facts", "_tail", "_tier", "_told", "_usage")

    def __init__(self, asked: Inbound | None = None) -> None:
        self._answers: dict[int, _Answer] = {0: _Answer()}
        self._facts: dict[str, str] = {}
        if asked is not None and asked.request.model:
            self._facts["modelVersion"] = asked.request.model
        self._tail = _tail(self._facts)
        self._citations: list[Citation] = []
        self._tier: str | None = None
        self._usage: Usage | None = None
        self._told = False

    def write(self, chunk: StreamChunk) -> bytes:
        """The piece that one chunk becomes; may be empty."""
        if chunk.content and not self._more(chunk):
            return self._word(chunk)
        self.learn(chunk)
        answer = self._answers[chunk.choice]
        if not answer.parts and not answer.logprobs:
            return b""
        return self._event({"candidates": [self._candidate(chunk.choice, answer)]})

    def _more(self, chunk: StreamChunk) -> bool:
        """Whether a chunk says more than a text, or something is owed before it."""
        return any(_more(chunk)) or self._answers[0].has_calls

    def _word(self, chunk: StreamChunk) -> bytes:
        self._learn_facts(chunk)
        self._answers[0].hear(chunk.content)
        self._told = True
        return _WORD % (written(chunk.content), self._tail)

    def _learn_facts(self, chunk: StreamChunk) -> None:
        self._tier, self._usage = chunk.service_tier or self._tier, chunk.usage or self._usage
        told = chunk.model or self._facts.get("modelVersion"), chunk.response_id or self._facts.get("responseId")
        if told != (self._facts.get("modelVersion"), self._facts.get("responseId")):
            self._facts = {name: value for name, value in zip(("modelVersion", "responseId"), told, strict=True) if value}
            self._tail = _tail(self._facts)

    def learn(self, chunk: StreamChunk, *, grown: bool = False) -> None:
        """Take in what a chunk says; calls that are ``grown`` come whole."""
        self._learn_facts(chunk)
        self._citations += chunk.citations
        self._answers.setdefault(chunk.choice, _Answer()).learn(chunk, grown=grown)

    def end(self) -> bytes:
        """What is still owed, with the reasons why the answers ended."""
        return self._event(self._rest())

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure in the middle of a stream."""
        return b"data: " + refusal(error)[1] + b"\r\n\r\n"

    def in_one(self, created: datetime | None) -> bytes:
        """All of it as one document."""
        at = {} if created is None else {"createTime": created.astimezone(UTC).isoformat().replace("+00:00", "Z")}
        return written({**self._rest(), **at, **self._facts})

    def _event(self, document: Mapping[str, Any]) -> bytes:
        self._told = True
        return b"data: " + written({**document, **self._facts}) + b"\r\n\r\n"

    def _rest(self) -> dict[str, Any]:
        usage = raw_usage(self._usage or Usage(), self._tier)
        counted = {"usageMetadata": usage} if usage else {}
        for answer in self._answers.values():
            answer.tell_calls(even_broken=True)
            answer.finish = answer.finish or "STOP"
        blocked = self._blocked()
        if blocked is not None:
            return {"promptFeedback": {"blockReason": blocked}, **counted}
        candidates = [self._candidate(index, answer, last=True) for index, answer in sorted(self._answers.items())]
        grounding = grounding_of(self._citations, self._answers[0].text)
        if grounding:
            candidates[0]["groundingMetadata"] = grounding
        return {"candidates": candidates, **counted}

    def _blocked(self) -> str | None:
        """Why a prompt was refused: nothing was said, and nothing is billed for it."""
        answer = self._answers[0]
        said = self._told or len(self._answers) > 1 or answer.parts or answer.logprobs or self._citations
        if said or (self._usage is not None and self._usage.output_tokens):
            return None
        return answer.blocked

    def _candidate(self, index: int, answer: _Answer, *, last: bool = False) -> dict[str, Any]:
        content: dict[str, Any] = {"role": "model"}
        if answer.parts:
            content, answer.parts = {"parts": answer.parts, "role": "model"}, []
        candidate: dict[str, Any] = {"content": content, "index": index}
        if last and answer.finish is not None:
            candidate["finishReason"] = answer.finish
        if answer.logprobs:
            candidate["logprobsResult"], answer.logprobs = logprobs_result(answer.logprobs), []
        return candidate
