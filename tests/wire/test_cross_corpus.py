"""Recorded requests of one format, written in every other: with every word, or refused for a reason to be accepted."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

import attrs
import pytest

from llmdispatcher import InvalidRequest, Message, Request, TextPart
from llmdispatcher.wire.codecs import CODECS
from llmdispatcher.wire.encoding import telling_dropped

from ..cases import each
from .corpus import CODEC_OF, exchanges, needs_corpus

pytestmark = needs_corpus

REASONS = {
    "does not carry": "a kind of part that the format has no place for",
    "takes no": "a kind of part that the format has no place for",
    "has neither a url nor data": "a file known to one vendor alone, by its id",
    "must be text here": "pictures in the instructions",
    "are not JSON": "arguments that a model wrote wrong, for a format that wants objects",
    "at least one message": "nothing but instructions, or a conversation that the vendor keeps",
    "is no conversation": "a conversation that the vendor keeps",
    "nothing else is asked": "nothing but what the vendor keeps",
    "name": "a result of a tool whose call is not in the conversation",
    "ends with": "a beginning of the answer, which the format cannot be given",
    "give the bytes": "an address, for a format that takes bytes alone",
    "model": "a request that leaves the model to a template of the vendor's",
}
"""What may be said against a request that was recorded in another format, and what that means."""


def read(name):
    """Every recorded request of a format, as far as it is one."""
    for (api, _), found in exchanges().items():
        if CODEC_OF[api] == name:
            for exchange in found:
                asked = exchange["request"]
                try:
                    inbound = CODECS[name].read_request(json.dumps(asked["json"]).encode(), asked["path"])
                except InvalidRequest:
                    continue  # told and counted by the tests of the format itself
                yield exchange["id"], inbound.request


def words(request):
    """Every text that was said; a result of a tool that is JSON may be written as JSON, so it counts by its strings."""
    found = set()
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, TextPart) and part.text:
                found |= strings(part.text) if message.role == "tool" else {part.text}
    return found


def strings(text):
    """The strings in a JSON text, or the text itself."""
    try:
        value = json.loads(text)
    except ValueError:
        return {text}
    return {line for line in texts(value).split("\n") if line}


def texts(value):
    """Every string in a document, and those in JSON inside of strings."""
    if isinstance(value, str):
        return value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return "\n".join([texts(item) for item in inner])


@pytest.mark.parametrize("name", CODECS)
def test_recorded_requests_are_written_in_every_other_format(name, capsys):
    """What only one format knows is dropped where the request allows it; no word of the conversation is."""
    counts, wrong = Counter(), []
    for identity, request in read(name):
        for other in CODECS.values():
            if other.name == name:
                continue
            counts[other.name, "asked"] += 1
            try:
                document = json.loads(other.encode(attrs.evolve(request, drop_params=True), stream=False))
            except InvalidRequest as error:
                reason = next((meaning for words, meaning in REASONS.items() if words in error.message), None)
                counts[other.name, reason or "unexplained"] += 1
                wrong += [] if reason else [f"{identity} → {other.name}: {error.message}"]
                continue
            said = texts(document)
            lost = [word for word in words(request) if word not in said and word not in json.dumps(said, ensure_ascii=False)]
            wrong += [f"{identity} → {other.name}: lost {lost[0][:80]!r}"] if lost else []
    with capsys.disabled():
        for other in sorted({pair[0] for pair in counts}):
            refused = {reason: count for (of, reason), count in counts.items() if of == other and reason != "asked"}
            total = counts[other, "asked"]
            print(
                f"\n{name} → {other}: {total - sum(refused.values())} of {total}" + (f"; refused: {refused}" if refused else ""),
                end="",
            )
        print()

    assert [] == wrong


@each("name", list(CODECS))
def test_nothing_is_dropped_in_silence(name):
    """What only one format knows is told by its name."""
    silent = []
    for identity, request in read(name):
        foreign = [field for field in request.extra_params if field not in ("metadata", "store")]
        if foreign and len(request.messages):
            other = next(codec for codec in CODECS.values() if codec.name != name)
            try:
                _, dropped = telling_dropped(partial(other.encode, request, stream=False))
            except InvalidRequest:
                continue
            silent += [f"{identity}: {field}" for field in foreign if not any(field in told for told in dropped)]

    assert [] == silent


def test_a_request_read_from_nowhere_is_for_anybody():
    """Parameters that the user gave go to whichever vendor is asked."""

    request = Request("m", [Message.user("hi")], extra_params={"new_setting": 1})

    assert [1] * len(CODECS) == [json.loads(codec.encode(request, stream=False))["new_setting"] for codec in CODECS.values()]
