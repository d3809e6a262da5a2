"""What any vendor was recorded to answer, the SDKs understand in their own vendor's format, whole and streamed."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import DispatchError, Response
from llmdispatcher.testing import VendorSimulator
from llmdispatcher.types import fold
from llmdispatcher.wire.codecs import CODECS

from ..wire.corpus import CODEC_OF

ASKED = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Tell me"}]},
    "respond": {"model": "m", "input": "Tell me"},
    "message": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Tell me"}]},
    "generate": {"model": "m", "contents": "Tell me"},
}
FILTERED = "ContentFilterFinishReasonError"
"""What OpenAI's accumulator of a chat raises, in place of the answer, where the vendor's filter ended it."""


@pytest.fixture(scope="session")
def answers(corpus):
    """Recorded answers by the name of their file, of those that look alike the first two; skipped where there are none."""
    found = [one for file in sorted((corpus / "exchanges").glob("*.json")) if (one := answer(file)) is not None]
    kinds: dict[object, list[tuple[str, Response]]] = {}
    for name, response in found:
        kinds.setdefault(kind(response), []).append((name, response))
    return dict(one for alike in kinds.values() for one in alike[:2])


def kind(response):
    """What an SDK could take otherwise: the kinds of parts, of calls and of the end, and what may be there or not."""
    optional = (response.content, response.reasoning, response.refusal, response.citations, response.logprobs)
    calls = [(call.kind, bool(call.id), call.arguments[:2]) for call in response.tool_calls]
    parts = [(type(part), getattr(part, "origin", None)) for part in response.parts]
    return repr((parts, calls, response.finish_reason, [bool(one) for one in optional], len(response.choices)))


def answer(file):
    """The answer in a recording, ``None`` for a refusal, another kind of call, or a stream that is cut."""
    exchange = json.loads(file.read_text()) if file.name != "index.json" else {}
    codec, response = CODECS.get(CODEC_OF.get(exchange.get("api"), "")), exchange.get("response")
    if codec is None or response["status"] != 200:
        return None
    try:
        if "json" in response:
            return file.stem, codec.decode(json.dumps(response["json"]).encode())
        decoder = codec.decoder()
        return file.stem, fold([*decoder.feed(response["text"].encode()), *decoder.finish()])
    except DispatchError:
        return None


def whole(call):
    """Whether a call's arguments are JSON."""
    try:
        return call.kind == "custom" or call.parsed is not ...
    except ValueError:
        return False


def given(call):
    """A call's arguments for formats that carry an object."""
    try:
        value = {"input": call.arguments} if call.kind == "custom" else call.parsed
    except ValueError:
        value = call.arguments
    return {} if value is None else value if isinstance(value, dict) else {"input": value}


def by_openai(response, told):
    """What is told by OpenAI's SDK, and what should be."""
    calls = [(call["name"], call["arguments"]) for call in told["calls"] if call["name"]] + [
        tuple(call[1:]) for call in told["custom"]
    ]
    refused = told["refusal"] if "refusal" in told else "".join(told["refusals"])
    wanted = sorted((call.name, call.arguments) for call in response.tool_calls if call.name)
    return (
        (told["content"] or "", told["reasoning"] or "", refused or None, sorted(calls)),
        (response.content, response.reasoning, response.refusal, wanted),
    )


def by_anthropic(response, told):
    """What is told by Anthropic's SDK, and what should be; of arguments that break off, a stream tells what is whole."""
    texts, thoughts = (
        "".join(block[kind] for block in told["blocks"] if block["type"] == name)
        for name, kind in (("text", "text"), ("thinking",) * 2)
    )
    calls = [(block["name"], block.get("input")) for block in told["blocks"] if block["type"] == "tool_use"]
    wanted = [(call.name, given(call)) for call in response.tool_calls]
    for place, call in enumerate(response.tool_calls[: len(calls)]):
        if not whole(call):
            calls[place] = (calls[place][0], given(call))
    return (texts, thoughts, calls), (response.content + (response.refusal or ""), response.reasoning, wanted)


def by_google(response, told):
    """What is told by Google's SDK, and what should be."""
    calls = [(call["name"], call["args"] or {}) for call in told["calls"]]
    wanted = [(call.name, given(call)) for call in response.tool_calls]
    return (told["content"], told["reasoning"], calls), (response.content + (response.refusal or ""), response.reasoning, wanted)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("sdk", "address", "way", "read"),
    [
        ("openai_sdk", "openai_url", "chat", by_openai),
        ("openai_sdk", "openai_url", "respond", by_openai),
        ("anthropic_sdk", "anthropic_url", "message", by_anthropic),
        ("google_sdk", "url", "generate", by_google),
    ],
    ids=["chat", "responses", "messages", "gemini"],
)
def test_every_recorded_answer_is_understood(answers, request, sdk, address, way, read, streamed):
    """Text, thoughts, refusals and calls; every other recording whole, the others streamed."""
    driven, wrong = request.getfixturevalue(sdk), []
    chosen = list(answers.items())[streamed::2]
    if way == "chat" and streamed:  # OpenAI's accumulator of a chat knows calls of functions alone
        chosen = [(name, one) for name, one in chosen if all(call.kind == "function" for call in one.tool_calls)]
    with VendorSimulator(responses=[answer for _, answer in chosen]) as sim:
        for name, response in chosen:
            reply = driven.tell(f"{way}_stream" if streamed else way, getattr(sim, address), **ASKED[way])
            if FILTERED == reply.get("error", {}).get("type"):
                continue
            told, wanted = read(response, reply["said"]) if "said" in reply else (reply, None)
            if told != wanted:
                wrong.append((name, told, wanted))

    assert not wrong, f"{len(wrong)} of {len(chosen)}: " + "\n".join(map(str, wrong[:5]))
