"""``python -m benchmarks.fuzz --minutes 60``: broken answers and requests for every codec, until the time is over.

Seeds are answers and requests of our own making and, with ``--seeds FOLDER``, recorded ones. Each is damaged (bytes changed, pieces
cut out, doubled or exchanged, values replaced), cut into reads anywhere, and given to a codec: whatever comes out is an answer that
can be encoded, or one of our errors. A request that can be read is also written in every format. Prints what else came out, exits 1
if anything did.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher import DispatchError, ImagePart, Message, ReasoningPart, Request, Response, TextPart, Tool, ToolCall, Usage
from llmdispatcher.types import fold, unfold
from llmdispatcher.wire import CODECS
from llmdispatcher.wire.base import Codec

CODEC_OF = {
    "chat_completions": "openai_chat",
    "responses": "openai_responses",
    "messages": "anthropic_messages",
    "generate_content": "gemini",
    "stream_generate_content": "gemini",
    "ollama_chat": "ollama_chat",
}
JUNK: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2.5,
    10**30,
    "",
    "x",
    "\ud800",
    "\u0000",
    [],
    [[]],
    ["x"],
    {},
    {"a": []},
    [None],
    {"type": "text"},
)
TOKENS = (
    b"null",
    b"{}",
    b"[]",
    b'"',
    b"\\ud800",
    b"\n\n",
    b"data: ",
    b"event: error\n",
    b"[DONE]",
    b"\r",
    b"\xff\xfe",
    b"1e999",
    b"-",
    b":",
    b",",
)


@attrs.frozen
class Seed:
    """Something that a codec reads: an ``answer`` (whole or streamed) or a ``request``, sent to ``path``."""

    codec: str
    kind: str
    body: bytes
    path: str = ""


def own_seeds() -> Iterator[Seed]:
    """An answer with everything in it and a request with everything in it, as each format writes them."""
    call = ToolCall(name="look", arguments='{"a": [1, "ü"]}', id="call_1")
    said = Response(
        content="hello, wörld",
        model="m-1",
        tool_calls=(call,),
        reasoning="hm",
        parts=(ReasoningPart(text="hm", signature="c2ln"), TextPart(text="hello, wörld"), call),
        finish_reason="tool_calls",
        usage=Usage(input_tokens=9, output_tokens=4, reasoning_tokens=1, cache_read_tokens=2),
        response_id="r-1",
    )
    picture = ImagePart(data=b"\x89PNG", media_type="image/png")
    asked = Request(
        "m-1",
        [
            Message.system("be brief"),
            Message.user("look", picture),
            Message.assistant("I look", tool_calls=[call]),
            Message.tool("it is there", "call_1", name="look"),
        ],
        temperature=0.5,
        max_tokens=9,
        tools=[Tool(name="look", parameters={"type": "object", "properties": {"a": {"type": "array"}}})],
        tool_choice="auto",
    )
    for name, codec in CODECS.items():
        yield Seed(name, "answer", codec.write_response(said))
        writer = codec.writer()
        yield Seed(name, "answer", b"".join([*[writer.write(chunk) for chunk in unfold(said)], writer.end()]))
        yield Seed(name, "request", codec.encode(asked, stream=True), codec.path("m-1", True))


def recorded_seeds(folder: Path) -> Iterator[Seed]:
    """Recorded exchanges: a JSON file each, with ``api``, ``request`` and ``response``."""
    for path in sorted(folder.rglob("*.json")):
        exchange = json.loads(path.read_bytes())
        name = CODEC_OF.get(exchange.get("api", ""), "") if isinstance(exchange, dict) else ""
        if name in CODECS:
            asked, got = exchange["request"], exchange["response"]
            text = got["text"] if "text" in got else json.dumps(got.get("json"), ensure_ascii=False)
            yield Seed(name, "answer", str(text).encode("utf-8", "surrogatepass"))
            yield Seed(name, "request", json.dumps(asked.get("json")).encode(), asked.get("path", ""))


def damaged(body: bytes, others: list[Seed], chance: random.Random) -> bytes:
    """The body after one to four accidents."""
    for _ in range(chance.randint(1, 4)):
        body = chance.choice(_ACCIDENTS)(body, others, chance)
    return body


def _place(body: bytes, chance: random.Random) -> int:
    return chance.randrange(len(body) + 1)


def _change(body: bytes, _others: list[Seed], chance: random.Random) -> bytes:
    at = _place(body, chance)
    return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]


def _insert(body: bytes, _others: list[Seed], chance: random.Random) -> bytes:
    at = _place(body, chance)
    return body[:at] + chance.choice(TOKENS) + body[at:]


def _remove(body: bytes, _others: list[Seed], chance: random.Random) -> bytes:
    at = _place(body, chance)
    return body[:at] + body[at + chance.choice((1, 2, 10, 100, len(body))) :]


def _double(body: bytes, _others: list[Seed], chance: random.Random) -> bytes:
    at, size = _place(body, chance), chance.choice((1, 10, 200))
    return body[: at + size] + body[at:]


def _splice(body: bytes, others: list[Seed], chance: random.Random) -> bytes:
    other = chance.choice(others).body
    return body[: _place(body, chance)] + other[_place(other, chance) :]


def _replace(body: bytes, _others: list[Seed], chance: random.Random) -> bytes:
    """One value, in the JSON or in one event of a stream, becomes another."""
    lines = body.split(b"\n")
    number = chance.randrange(len(lines))
    head, _, data = lines[number].rpartition(b"data: ")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return body
    spots = list(_spots(document))
    if spots:
        holder, key = chance.choice(spots)
        holder[key] = chance.choice(JUNK)
    prefix = head + b"data: " if lines[number].startswith(b"data: ") else b""
    lines[number] = prefix + json.dumps(document).encode()
    return b"\n".join(lines)


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(pairs):
        yield value, key
        yield from _spots(inner)


_ACCIDENTS: tuple[Callable[[bytes, list[Seed], random.Random], bytes], ...] = (
    _change,
    _insert,
    _remove,
    _double,
    _splice,
    _replace,
    _replace,
    _replace,
)


def try_answer(codec: Codec, body: bytes, chance: random.Random) -> None:
    """Read it whole, and as a stream in reads of any size; what comes out can be written again in this format."""
    for streamed in (False, True):
        try:
            response = _streamed(codec, body, chance) if streamed else codec.decode(body)
            assert math.isfinite(response.usage.total_tokens)
            codec.write_response(response).decode()
            writer = codec.writer()
            b"".join([*[writer.write(chunk) for chunk in unfold(response)], writer.end()]).decode()
        except DispatchError as error:
            str(error).encode()


def _streamed(codec: Codec, body: bytes, chance: random.Random) -> Response:
    decoder, chunks, at = codec.decoder(), [], 0
    while at < len(body) and not decoder.done:
        size = chance.choice((1, 3, 50, 1460, len(body)))
        chunks += decoder.feed(body[at : at + size])
        decoder.check()
        at += size
    return fold([*chunks, *([] if decoder.done else decoder.finish())])


def try_request(codec: Codec, body: bytes, path: str) -> None:
    """Read it; what can be read is written in every format, or refused."""
    try:
        asked = codec.read_request(body, path)
    except DispatchError as error:
        str(error).encode()
        return
    for other in CODECS.values():
        for request in (asked.request, attrs.evolve(asked.request, drop_params=True)):
            try:
                other.encode(request, stream=asked.stream).decode()
            except DispatchError as error:
                str(error).encode()


Crashes = dict[str, tuple[Seed, bytes, str]]
"""By place: what was read, the damaged body, and the traceback."""


def run(seconds: float, seeds: list[Seed], seed: int) -> tuple[Counter[str], Crashes]:
    """How many were tried, by codec and kind, and what went wrong, one example of each place."""
    chance, counts = random.Random(seed), Counter[str]()
    crashes: Crashes = {}
    by_codec = {name: [each for each in seeds if each.codec == name] for name in CODECS}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        chosen = chance.choice(by_codec[chance.choice(list(CODECS))])
        body = damaged(chosen.body, seeds, chance)
        counts[f"{chosen.codec} {chosen.kind}"] += 1
        try:
            if chosen.kind == "answer":
                try_answer(CODECS[chosen.codec], body, chance)
            else:
                try_request(CODECS[chosen.codec], body, chosen.path)
        except Exception as error:  # noqa: BLE001 - anything but our errors is what is looked for
            where = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}"
            crashes.setdefault(place, (chosen, body, traceback.format_exc()))
        if sys.stderr.isatty() and counts.total() % 200 == 0:
            left = end - time.monotonic()
            print(f"\r{counts.total():,} tried, {len(crashes)} crashes, {left:.0f} s to go ", end="", file=sys.stderr)
    return counts, crashes


def main() -> int:
    """Run, and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="how long; default 1")
    parser.add_argument("--seeds", type=Path, help="a folder of recorded exchanges to damage as well")
    parser.add_argument("--seed", type=int, default=0, help="the same accidents again for the same number")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    seeds = [*own_seeds(), *(recorded_seeds(options.seeds) if options.seeds else ())]
    counts, crashes = run(options.minutes * 60, seeds, options.seed)
    if options.json:
        print(json.dumps({"tried": counts, "seeds": len(seeds), "crashes": list(crashes)}, indent=1))
    else:
        print(f"{counts.total():,} tried from {len(seeds)} seeds in {options.minutes:g} min; {len(crashes)} crashes")
        print("\n".join(f"  {name}: {count:,}" for name, count in sorted(counts.items())))
        for place, (seed, body, trace) in crashes.items():
            print(f"\n{place} ({seed.codec} {seed.kind})\n{trace[-1500:]}\n{body[:600]!r}")
    return bool(crashes)


if __name__ == "__main__":
    sys.exit(main())
