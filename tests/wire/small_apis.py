"""How the recorded exchanges of other APIs than those for answers are checked: vectors, counts, lists, texts continued."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from llmdispatcher import EmbeddingRequest, Message, Request, Response
from llmdispatcher.wire import COUNTING, EMBEDDING_CODECS, LISTINGS
from llmdispatcher.wire.completions import COMPLETIONS

from .corpus import body_of, decode_stream, streamed

NOT_SPOKEN = {
    "interactions": "Google's agents are not asked here, and nothing is established of what their recorded answers say",
    "moderations": "a moderation is no answer, and nothing is established of what the recorded ones say",
    "responses_compact": "a compacted conversation is no answer, and nothing is established of what the recorded ones say",
}
"""APIs whose successes are only data to us; what they refuse is read like any refusal."""
VENDOR_FORMATS = {"anthropic": "anthropic_messages", "google": "gemini", "ollama": "ollama_chat"}
EMBEDDING_FORMATS = {"embeddings": "openai_chat", "embed_content": "gemini", "ollama_embed": "ollama_chat"}


def embedding_request(exchange: dict[str, Any]) -> EmbeddingRequest:
    """What was asked, as a server of ours reads it."""
    codec = EMBEDDING_CODECS[EMBEDDING_FORMATS[exchange["api"]]]
    asked = exchange["request"]
    return codec.read_request(json.dumps(asked["json"]).encode(), asked["path"].partition("?")[0])


def embedded(exchange: dict[str, Any]) -> dict[str, Any]:
    """As many vectors as are known, of the known length, and what is known beside them."""
    request, expect = embedding_request(exchange), exchange["expect"]
    answer = EMBEDDING_CODECS[EMBEDDING_FORMATS[exchange["api"]]].decode(body_of(exchange), request)
    lengths = {len(vector) for vector in answer.vectors}
    asked_length = request.dimensions or next(iter(lengths))
    return {
        "n": len(answer.vectors),
        "dims": lengths.pop() if "dims" in expect else None,
        "lengths": lengths - {asked_length},
        "usage_raw": dict(answer.usage.raw) if "usage_raw" in expect else {},
        "model": answer.model if "model" in expect else "",
    }


def check_embeddings(exchange: dict[str, Any]) -> str:
    """Vectors."""
    expect = exchange["expect"]
    known = {
        "n": expect["n"],
        "dims": expect.get("dims"),
        "usage_raw": expect.get("usage_raw", {}),
        "model": expect.get("model", ""),
    }
    return _unlike({**known, "lengths": set()}, embedded(exchange))


def check_count(exchange: dict[str, Any]) -> str:
    """Tokens."""
    counting = COUNTING[VENDOR_FORMATS.get(exchange["vendor"], "openai_responses")]
    return _unlike({"tokens": exchange["expect"]["tokens"]}, {"tokens": counting.decode(body_of(exchange))})


def check_models(exchange: dict[str, Any]) -> str:
    """Names of models."""
    listing = LISTINGS[VENDOR_FORMATS.get(exchange["vendor"], "openai_chat")]
    return _unlike({"ids": tuple(exchange["expect"]["ids"])}, {"ids": listing.decode(body_of(exchange))})


def continued(exchange: dict[str, Any]) -> Response:
    """A text that was continued, in one piece or in many."""
    api = COMPLETIONS[exchange["api"]]
    if not streamed(exchange):
        return api.decode(body_of(exchange))
    response, error = decode_stream(api, [body_of(exchange)])  # type: ignore[arg-type]  # it has a decoder, which is all that is used
    if error is not None:
        raise error
    return response


def check_continued(exchange: dict[str, Any]) -> str:
    """Text, thoughts, reason, tokens, model and id, as far as they are known."""
    expect, response = exchange["expect"], continued(exchange)
    seen = {
        "text": response.content,
        "reasoning": response.reasoning,
        "finish_reason_raw": response.finish_reason_raw,
        "usage_raw": dict(response.usage.raw),
        "model": response.model,
        "response_id": response.response_id,
    }
    return _unlike({name: expect[name] for name in seen if name in expect}, seen)


def check_nothing(exchange: dict[str, Any]) -> str:
    """Nothing is known of it; see :data:`NOT_SPOKEN`."""
    return _unlike({}, exchange["expect"])


CHECKS: dict[str, Callable[[dict[str, Any]], str]] = {
    **dict.fromkeys(EMBEDDING_FORMATS, check_embeddings),
    **dict.fromkeys(("count_tokens", "responses_input_tokens"), check_count),
    "models": check_models,
    **dict.fromkeys(COMPLETIONS, check_continued),
    **dict.fromkeys(NOT_SPOKEN, check_nothing),
}


def spoilt(value: Any, junk: Any) -> Iterator[Any]:
    """The same with junk in each place of it in turn."""
    pairs = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, inner in pairs:
        for other in (junk, *spoilt(inner, junk)):
            copy = value.copy()
            copy[key] = other
            yield copy


def question(model: str = "m", **fields: Any) -> Request:
    """A request with little in it."""
    return Request(model, [Message.user("Hi")], **fields)


def _unlike(expected: dict[str, Any], seen: dict[str, Any]) -> str:
    return "; ".join(
        f"{name}: expected {expected[name]!r}, saw {seen[name]!r}" for name in expected if expected[name] != seen[name]
    )
