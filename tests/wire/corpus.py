"""Recorded exchanges with vendors, where they are at hand, and ways to feed them to a decoder."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest

from llmdispatcher import DispatchError, Response
from llmdispatcher.types import OtherPart, StreamChunk, fold
from llmdispatcher.wire.base import Codec
from llmdispatcher.wire.codecs import CODECS

FOLDER = Path(os.environ.get("LLMDISPATCHER_WIRE_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "wire")
CODEC_OF = {
    "chat_completions": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "generate_content": "gemini",
    "stream_generate_content": "gemini",
    "ollama_chat": "ollama_chat",
}
ENDINGS = re.compile(
    rb'\[DONE\]|message_stop|response\.(?:completed|incomplete|failed)|"done"\s*:\s*true|"(?:finish_reason|stop_reason|finishReason|blockReason)"\s*:\s*"'
)
"""Where a stream may first be complete; cut before it, it never is."""

needs_corpus = pytest.mark.skipif(not (FOLDER / "exchanges").is_dir(), reason=f"no recorded exchanges at {FOLDER}")


@cache
def recorded() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Every recorded exchange, by (api, vendor)."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for path in sorted((FOLDER / "exchanges").glob("*.json")) if (FOLDER / "exchanges").is_dir() else ():
        if path.name != "index.json":
            exchange = json.loads(path.read_bytes())
            groups.setdefault((exchange["api"], exchange["vendor"]), []).append(exchange)
    return groups


@cache
def exchanges() -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Those of them whose format is one of our codecs'."""
    return {group: found for group, found in recorded().items() if group[0] in CODEC_OF}


def listed(groups: Iterable[tuple[str, str]]) -> list[dict[str, Any]]:
    """The exchanges of some groups, in one list."""
    return [exchange for group in groups for exchange in exchanges()[group]]


def codec_of(exchange: dict[str, Any]) -> Codec:
    """Who decodes it."""
    return CODECS[CODEC_OF[exchange["api"]]]


def headers_of(exchange: dict[str, Any]) -> dict[str, str]:
    """As the transport hands them over: lower-case names."""
    return {name.lower(): value for name, value in exchange["response"]["headers"].items()}


def body_of(exchange: dict[str, Any]) -> bytes:
    """The bytes of the answer."""
    response = exchange["response"]
    text = response["text"] if "text" in response else json.dumps(response["json"], ensure_ascii=False)
    return str(text).encode("utf-8", "surrogatepass")


def streamed(exchange: dict[str, Any]) -> bool:
    """Whether the answer is a stream, in whatever form."""
    return "text" in exchange["response"] and exchange["response"]["status"] == 200


def sliced(body: bytes, size: int) -> list[bytes]:
    """The body in reads of one size."""
    return [body[start : start + size] for start in range(0, len(body), size)]


def cut(body: bytes, *places: int) -> list[bytes]:
    """The body cut at some places."""
    edges = [0, *sorted(places), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(edges)]


def cuttings(body: bytes, seed: str, rounds: int) -> Iterator[list[bytes]]:
    """Many ways in which the same bytes may arrive; byte by byte for short bodies."""
    yield [body]
    yield sliced(body, 1460)
    if len(body) <= 5_000:
        yield sliced(body, 1)
    chance = random.Random(seed)
    for _ in range(rounds):
        yield cut(body, *(chance.randrange(len(body) + 1) for _ in range(chance.choice((1, 2, 2, 5)))))


def decode_stream(codec: Codec, pieces: Iterable[bytes]) -> tuple[Response, DispatchError | None]:
    """What a caller sees of a stream: the answer folded so far, and the error that ended it, if one did."""
    decoder, chunks, error = codec.decoder(), [], None
    try:
        for piece in pieces:
            chunks += decoder.feed(piece)
            if decoder.done:
                break
        else:
            chunks += decoder.finish()
    except DispatchError as raised:
        error = raised
    return fold(chunks), error


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The fields in which two documents differ, empty where they do not."""
    return "; ".join(
        f"{name}: {one.get(name)!r} → {other.get(name)!r}" for name in {**one, **other} if one.get(name) != other.get(name)
    )


def again(codec: Codec, response: Response) -> Response:
    """What a client of ours reads of an answer that our server wrote."""
    return codec.decode(codec.write_response(response))


def through(codec: Codec, chunks: Iterable[StreamChunk]) -> Response:
    """What a client of ours reads of a stream that our server wrote."""
    writer = codec.writer()
    answer, error = decode_stream(codec, [*[writer.write(chunk) for chunk in chunks], writer.end()])
    assert error is None, error
    return answer


def plainly(response: Response) -> Response:
    """An answer whose records say nothing twice: our servers fill in, by the vendor's schema, null and zero and who called."""
    return attrs.evolve(
        response,
        usage=attrs.evolve(response.usage, raw=_saying(response.usage.raw)),
        parts=tuple(map(_plain_part, response.parts)),
        tool_calls=tuple(map(_plain_part, response.tool_calls)),
        citations=tuple(
            [attrs.evolve(one, start=one.start or 0, end=one.end or 0, raw=_saying(one.raw)) for one in response.citations]
        ),
    )


def _plain_part(part: Any) -> Any:
    if isinstance(part, OtherPart):
        return attrs.evolve(part, data=_saying(part.data))
    return attrs.evolve(part, extra=_saying(part.extra)) if part.extra else part


def _saying(value: Any) -> Any:
    if isinstance(value, Mapping):
        said = {name: _saying(inner) for name, inner in value.items() if inner != {"type": "direct"}}
        return {name: inner for name, inner in said.items() if inner not in (None, 0, [], {})}
    return list(map(_saying, value)) if isinstance(value, list) else value
