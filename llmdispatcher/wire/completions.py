"""Decode responses of the older APIs that continue a text instead of a conversation. Requests to them are not encoded.

Nothing else in the package reads such responses yet: the module is for the gateway's ``/v1/completions``, and the recorded
exchanges of these APIs test it until then.

https://platform.openai.com/docs/api-reference/completions, https://docs.ollama.com/api/generate,
https://platform.claude.com/docs/en/api/complete, https://docs.mistral.ai/api/endpoint/fim
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..types import Response, StreamChunk, Usage, fold
from .base import StreamDecoder
from .decoding import Counter, mapping, missing, parse_object, raise_error, text_of
from .embeddings import usage_of
from .finish import ends, error_of, finish_of, raise_broken
from .ollama.response import OllamaDecoder, read_body
from .openai_chat.codec import OPENAI_CHAT
from .streams import EventDecoder


class TextDecoder(EventDecoder):
    """OpenAI's text completions: the text of choice 0; complete like a chat's stream."""

    __slots__ = ("answered",)
    END_MARKER = "[DONE] or a finish reason"
    ANSWER = "choices"

    def __init__(self) -> None:
        super().__init__()
        self.answered = False

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk:
        """One piece, or a whole answer, which has the same form."""
        choices = document.get("choices")
        self.answered = self.answered or (isinstance(choices, list) and bool(choices))
        first = mapping(choices[0]) if isinstance(choices, list) and choices else {}
        choice = {} if first.get("index") else first
        raw = text_of(choice.get("finish_reason")) or None
        self.ended, self._broken = self.ended or ends(raw), error_of(raw)
        logprobs = choice.get("logprobs")
        return StreamChunk(
            content=text_of(choice.get("text")),
            finish_reason=finish_of(raw),
            finish_reason_raw=raw,
            usage=usage_of(document, output="completion_tokens") if document.get("usage") else None,
            model=text_of(document.get("model")) or None,
            response_id=text_of(document.get("id")) or None,
            logprobs=(logprobs,) if isinstance(logprobs, dict) else (),
        )

    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""
        return decode_text(body)


class GenerateDecoder(OllamaDecoder):
    """Ollama's text completions: lines as in its chat, where the text is the ``response``."""

    __slots__ = ()

    def message_of(self, document: Mapping[str, Any]) -> Any:
        """What a line says, as a message."""
        text = document.get("response")
        return {"content": text, "thinking": document.get("thinking")} if isinstance(text, str) else None

    def read_whole(self, body: bytes) -> Response:
        """A whole answer."""
        return decode_generated(body)


def decode_text(body: bytes) -> Response:
    """A whole answer of OpenAI's text completions."""
    decoder, document = TextDecoder(), parse_object(body)
    raise_error(document)
    chunk = decoder.read_event(document)
    decoder.raise_if_broken()
    if not decoder.answered:
        raise missing(document, "choices")
    return fold([chunk])


def decode_generated(body: bytes) -> Response:
    """A whole answer of Ollama's text completions."""
    return read_body(body, GenerateDecoder())


def _decode_one(document: Mapping[str, Any], text: str, reason: Any, usage: Usage) -> Response:
    """A whole answer of one text, which stands in the field ``text``."""
    raise_error(document)
    raw = text_of(reason) or None
    if not isinstance(document.get(text), str):
        raise missing(document, text.replace("_", " "))
    raise_broken(raw)
    return Response(
        content=document[text],
        finish_reason=finish_of(raw),
        finish_reason_raw=raw,
        model=text_of(document.get("model")),
        response_id=text_of(document.get("id")) or None,
        usage=usage,
    )


def decode_complete(body: bytes) -> Response:
    """A whole answer of Anthropic's oldest API, which counts no tokens."""
    document = parse_object(body)
    return _decode_one(document, "completion", document.get("stop_reason"), Usage())


def decode_generation(body: bytes) -> Response:
    """A whole answer of Hugging Face's text generation: a text, and what went into it if that was asked for."""
    document, counter = parse_object(body), Counter()
    details = mapping(document.get("details"))
    usage = counter.usage(output_tokens=counter.count(details.get("generated_tokens")), raw=details)
    return _decode_one(document, "generated_text", details.get("finish_reason"), usage)


@attrs.frozen(kw_only=True)
class Completions:
    """How an API's answers are read, whole and as streams where it has them."""

    decode: Callable[[bytes], Response]
    decoder: Callable[[], StreamDecoder] | None = None


COMPLETIONS: Mapping[str, Completions] = {
    "completions": Completions(decode=decode_text, decoder=TextDecoder),
    "fim_completions": Completions(decode=OPENAI_CHAT.decode, decoder=OPENAI_CHAT.decoder),
    "ollama_generate": Completions(decode=decode_generated, decoder=GenerateDecoder),
    "complete_legacy": Completions(decode=decode_complete),
    "hf_text_generation": Completions(decode=decode_generation),
}
"""By the name of an API."""
