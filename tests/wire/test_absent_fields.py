"""A field that is there and says nothing is as good as absent: every field of the recorded answers is set to what says nothing.

Each distinct path of each format is tried once, in the shortest recordings that have it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from llmdispatcher import DispatchError, Response
from llmdispatcher.wire.codecs import CODECS

from .corpus import CODEC_OF, body_of, decode_stream, needs_corpus, recorded, streamed

pytestmark = [needs_corpus, pytest.mark.usefixtures("untraced")]

NOTHING: tuple[Any, ...] = (None, 0, "", {}, [])
LONGEST = 6_000
"""Bytes of a recording that is taken apart."""
Path = tuple[str, ...]

CHOSEN = ("args", "input", "arguments")
"""What the model chose the names in: its nulls and zeros are said on purpose."""
DIGITS = frozenset(
    {"arguments", "content", "delta", "input", "partial_json", "reasoning", "reasoning_content", "refusal", "text", "thinking"}
)
"""Text, where a zero is a digit of it (Cloudflare)."""
COSTS = frozenset({"cost", "total_cost"})
"""Dollars, of which none are what a free model costs (OpenRouter)."""


def is_said(path: Path, value: Any, exchange: dict[str, Any]) -> bool:
    """Whether a value that says nothing elsewhere says something here."""
    if value == 0 and type(value) is int and path[-1] in DIGITS | COSTS:
        return True
    structured = path[:3] == ("choices", "message", "content") and "content_object" in exchange["expect"]
    return not set(CHOSEN).isdisjoint(path[:-1]) or (structured and len(path) > 3)


def answered(exchange: dict[str, Any]) -> bool:
    """Whether it is an answer, and short enough."""
    return exchange["response"]["status"] == 200 and len(body_of(exchange)) <= LONGEST and "error" not in exchange.get("expect", {})


def documents_of(exchange: dict[str, Any]) -> list[Any]:
    """The JSON of an answer: one document, or one for each event."""
    text = body_of(exchange).decode("utf-8", "replace")
    if not streamed(exchange):
        return [json.loads(text)]
    lines = [line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith(("data:", "{"))]
    return [json.loads(line) for line in lines if line.startswith("{")]


def body(exchange: dict[str, Any], documents: list[Any]) -> bytes:
    """Those documents as the answer came."""
    if not streamed(exchange):
        return json.dumps(documents[0]).encode()
    if CODEC_OF[exchange["api"]] == "ollama_chat":
        return b"".join([json.dumps(one).encode() + b"\n" for one in documents])
    end = b"data: [DONE]\n\n" if b"[DONE]" in body_of(exchange) else b""
    return b"".join([b"data: " + json.dumps(one).encode() + b"\n\n" for one in documents]) + end


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any, Any]]:
    """Every field: its path without numbers, what holds it, its name. A document's ``type`` is part of the path."""
    if isinstance(value, dict):
        about = (str(value["type"]),) if isinstance(value.get("type"), str) else ()
        for name, inner in value.items():
            yield (*path, *about, name), value, name
            yield from places(inner, (*path, *about, name))
    elif isinstance(value, list):
        for inner in value:
            yield from places(inner, path)


@cache
def tried(name: str) -> list[tuple[Path, dict[str, Any], list[Any]]]:
    """Each path of a format once, with a recording that has it, the shortest first."""
    found = [
        exchange for (api, _), group in recorded().items() if CODEC_OF.get(api) == name for exchange in group if answered(exchange)
    ]
    seen: dict[tuple[bool, Path], tuple[Path, dict[str, Any], list[Any]]] = {}
    for exchange in sorted(found, key=lambda one: len(body_of(one))):
        try:
            documents = documents_of(exchange)
        except ValueError:
            continue
        for path, _, _ in places(documents):
            seen.setdefault((streamed(exchange), path), (path, exchange, documents))
    return list(seen.values())


def read(exchange: dict[str, Any], documents: list[Any]) -> Any:
    """What an answer says, or the name of the error that it is."""
    codec = CODECS[CODEC_OF[exchange["api"]]]
    try:
        if streamed(exchange):
            answer, error = decode_stream(codec, [body(exchange, documents)])
            return type(error).__name__ if error is not None else told(answer)
        return told(codec.decode(body(exchange, documents)))
    except DispatchError as error:
        return type(error).__name__


def told(answer: Response) -> tuple[Any, ...]:
    """All that a caller goes by; a vendor's own records and further fields are kept as they came."""
    calls = [(call.name, call.id, call.arguments.strip() or "{}", call.kind, call.signature) for call in answer.tool_calls]
    cited = [(one.url, one.title, one.text) for one in answer.citations]
    parts = [(type(part).__name__, getattr(part, "text", None)) for part in answer.parts]
    facts = (answer.finish_reason, answer.finish_reason_raw or None, answer.model, answer.response_id, answer.service_tier)
    return (answer.content, answer.reasoning, answer.refusal, calls, facts, answer.usage.counts, answer.usage.cost, cited, parts)


ABSENT = object()


def changed(documents: list[Any], path: Path) -> Iterator[tuple[Any, list[Any]]]:
    """The documents without the fields of a path, then with each value that says nothing there: the same ones, changed in place."""
    fields = [(holder, name, dict(holder)) for place, holder, name in places(documents) if place == path]
    for value in (ABSENT, *NOTHING):
        for holder, name, _ in fields:
            if value is ABSENT:
                del holder[name]
            else:
                holder[name] = value
        yield value, documents
        for holder, _, kept in fields:
            holder.clear()
            holder.update(kept)


def test_fields_are_told_from_each_other():
    """Two kinds of blocks have two paths."""
    assert [("a",), ("a", "x", "type"), ("a", "x", "b")] == [path for path, _, _ in places({"a": [{"type": "x", "b": 1}]})]


@pytest.mark.parametrize("name", list(CODECS))
def test_a_field_that_says_nothing_is_absent(name, numbered_ids):
    """The same answer, or one of our errors."""
    different = []
    for path, exchange, documents in tried(name):
        for value, spoilt in changed(documents, path):
            numbered_ids()
            seen = read(exchange, spoilt)
            if value is ABSENT:
                absent = seen
            elif (
                seen != absent and not isinstance(seen, str) and not isinstance(absent, str) and not is_said(path, value, exchange)
            ):
                different.append((".".join(path), value, exchange["id"], seen, absent))
    assert [] == different
