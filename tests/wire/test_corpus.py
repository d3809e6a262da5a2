"""Every recorded exchange decodes to what was established independently of us.

The recordings are data beside the checkout; without them these tests say so and skip. Nothing is left out silently: the last
test counts what the others went through.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from llmdispatcher import (
    AuthenticationError,
    ContentFiltered,
    ContextWindowExceeded,
    DispatchError,
    InvalidRequest,
    MalformedReply,
    ModelNotFound,
    QuotaExceeded,
    RateLimitError,
    Response,
    Usage,
    VendorUnavailable,
)
from llmdispatcher.wire import fault

from ..cases import each
from .corpus import (
    CODEC_OF,
    ENDINGS,
    FOLDER,
    body_of,
    codec_of,
    cuttings,
    decode_stream,
    exchanges,
    headers_of,
    needs_corpus,
    recorded,
    streamed,
)
from .small_apis import CHECKS, NOT_SPOKEN

pytestmark = needs_corpus

CLASS_OF = {
    400: InvalidRequest,
    401: AuthenticationError,
    402: QuotaExceeded,
    403: AuthenticationError,
    404: ModelNotFound,
    413: InvalidRequest,
    429: RateLimitError,
    500: VendorUnavailable,
    501: VendorUnavailable,
    503: VendorUnavailable,
    529: VendorUnavailable,
}
CLASS_BY_WORDS = {
    "API key not valid": AuthenticationError,
    "maximum context length": ContextWindowExceeded,
    "exceeds the available context size": ContextWindowExceeded,
    "exceeded max context length": ContextWindowExceeded,
    "supported API model names": ModelNotFound,
    "not a valid model ID": ModelNotFound,
    "The requested model '": ModelNotFound,
    "Model not found": ModelNotFound,
    "Incorrect API key provided": AuthenticationError,
    "exceeded your current quota": QuotaExceeded,
    "content management policy": ContentFiltered,
    "Tool call validation failed": MalformedReply,  # what the model wrote; another attempt, or vendor, may do better
    "Request too large for": RateLimitError,  # for a minute's tokens of this vendor
}
WRAPPED = "Provider returned error"
"""What OpenRouter says before the words of its upstream, which an error has too."""


def failures(group: tuple[str, str], check: Any) -> list[str]:
    """The ids of the exchanges that do not pass, each with what was wrong."""
    found = []
    for exchange in recorded()[group]:
        wrong = check(exchange)
        if wrong:
            found.append(f"{exchange['id']}: {wrong}")
    return found


def differences(expected: dict[str, Any], seen: dict[str, Any]) -> str:
    """What differs, shortened."""
    return "; ".join(
        f"{name}: expected {str(expected[name])[:300]!r}, saw {str(seen[name])[:300]!r}"
        for name in expected
        if expected[name] != seen[name]
    )


def raw_arguments(call: dict[str, Any]) -> str | None:
    """The text of a call's arguments, where they were recorded as text.

    Anthropic streams no text at all for a call without arguments; the object in the call's first event stands for it.
    """
    raw: str | None = call.get("custom_input", call.get("arguments_raw"))
    return None if raw == "" and isinstance(call["arguments"], dict) else raw


def calls_expected(expect: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Name, id and arguments: as text where they were recorded as text, else as an object. One that says nothing is none."""
    texts = [(call, raw_arguments(call)) for call in expect["tool_calls"] if call["name"]]
    return [(call["name"], call.get("id"), call["arguments"] if raw is None else raw) for call, raw in texts]


def calls_seen(expect: dict[str, Any], response: Response) -> list[tuple[Any, ...]]:
    """The same of our answer."""
    parsed = [raw_arguments(call) is None for call in expect["tool_calls"]] + [False] * len(response.tool_calls)
    return [
        (call.name, call.id, call.parsed if as_object else call.arguments)
        for call, as_object in zip(response.tool_calls, parsed, strict=False)
    ]


def usage_expected(raw: dict[str, Any]) -> dict[str, Any]:
    """Anthropic's stream reports usage twice; what counts is the later word on each number."""
    if "message_start" in raw:
        later = {name: value for name, value in (raw.get("message_delta") or {}).items() if value is not None}
        return {**(raw["message_start"] or {}), **later}
    return raw


def misread(expect: dict[str, Any], response: Response) -> str:
    """How the answer differs from what is expected, empty where it does not."""
    text = expect["text"] if "text" in expect else expect["content_object"]
    expected = {
        "text": text,
        "tool_calls": calls_expected(expect),
        "finish": expect.get("finish_reason_raw", expect.get("block_reason")),
        "model": expect.get("model") or "",
        "id": expect.get("response_id") or None,
        "refusal": expect.get("refusal") or None,
        "reasoning": expect.get("reasoning", response.reasoning),
        "usage": usage_expected(expect["usage_raw"]) if "usage_raw" in expect else {},
    }
    seen = {
        "text": response.content if "text" in expect else json.loads(response.content),
        "tool_calls": calls_seen(expect, response),
        "finish": response.finish_reason_raw,
        "model": response.model,
        "id": response.response_id,
        "refusal": response.refusal,
        "reasoning": response.reasoning,
        "usage": dict(response.usage.raw),
    }
    return differences(expected, seen) or broken_usage(response.usage) or unnormalised(response)


def broken_usage(usage: Usage) -> str:
    """The canonical record is consistent in itself, except where a vendor's own numbers are not."""
    counts = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.cache_write_tokens, usage.reasoning_tokens)
    if min(counts) < 0 or any(type(count) is not int for count in counts):
        return f"counts {counts}"
    if usage.cache_read_tokens + usage.cache_write_tokens > usage.input_tokens:
        return f"cache beyond input: {usage}"
    if usage.cache_write_long_tokens > usage.cache_write_tokens:
        return f"long writes beyond writes: {usage}"
    details = usage.raw.get("completion_tokens_details") or {}
    contradicts = (details.get("reasoning_tokens") or 0) > (usage.raw.get("completion_tokens") or 0)
    if usage.reasoning_tokens > usage.output_tokens and not contradicts:
        return f"reasoning beyond output: {usage}"
    return ""


def unnormalised(response: Response) -> str:
    """The common word for why an answer ended is one of ours, and calls are told from a plain end."""
    if response.tool_calls and response.finish_reason == "stop":
        return "a tool call ended with 'stop'"
    if response.finish_reason in ("STOP", "end_turn", "MAX_TOKENS", "max_tokens", "tool_use", "stop_sequence", "function_call"):
        return f"the finish reason {response.finish_reason!r} is the vendor's own word"
    return ""


def misjudged(exchange: dict[str, Any], error: DispatchError, expected: dict[str, Any]) -> str:
    """How the error differs from what the vendor said."""
    status = expected["status"]
    stands_for = error.status if status == 200 else status
    by_status = CLASS_OF.get(stands_for or 0, DispatchError)
    kind = next((kind for words, kind in CLASS_BY_WORDS.items() if words in expected["message"]), by_status)
    told = [expected.get(name) for name in ("error_code_raw", "error_type_raw", "error_status_raw")]
    codes = {str(code).lower() for code in told if code is not None}
    if type(error) is not kind:
        return f"expected {kind.__name__}, saw {type(error).__name__}"
    said = error.message[: len(WRAPPED)] if expected["message"] == WRAPPED else error.message
    if expected["message"][:2_000] != said:
        return f"expected the message {expected['message'][:200]!r}, saw {error.message[:200]!r}"
    if status not in (200, error.status):
        return f"expected status {status}, saw {error.status}"
    if codes and (error.code or "").lower() not in codes:
        return f"expected one of the codes {codes}, saw {error.code!r}"
    return ""


def check_whole(exchange: dict[str, Any]) -> str:
    """One answer in one piece."""
    expect = exchange["expect"]
    if "error" in expect:
        with pytest.raises(DispatchError) as caught:
            codec_of(exchange).decode(body_of(exchange))
        return misjudged(exchange, caught.value, expect["error"])
    try:
        return misread(expect, codec_of(exchange).decode(body_of(exchange)))
    except DispatchError as error:
        return f"raised {error!r}"


def check_stream(exchange: dict[str, Any]) -> str:
    """One stream, as it was recorded."""
    expect = exchange["expect"]
    response, error = decode_stream(codec_of(exchange), [body_of(exchange)])
    if "error" in expect:
        return "no error" if error is None else misjudged(exchange, error, expect["error"])
    return f"raised {error!r}" if error is not None else misread(expect, response)


def check_refusal(exchange: dict[str, Any]) -> str:
    """One answer with a status other than 2xx."""
    error = fault(exchange["response"]["status"], headers_of(exchange), body_of(exchange))
    return misjudged(exchange, error, exchange["expect"])


def check(exchange: dict[str, Any]) -> str:
    """One exchange of any kind."""
    if "status" in exchange["expect"]:
        return check_refusal(exchange)
    if exchange["api"] in CHECKS:
        return CHECKS[exchange["api"]](exchange)
    return check_stream(exchange) if streamed(exchange) else check_whole(exchange)


@each("group", list(recorded()))
def test_every_exchange_decodes_to_what_is_known_of_it(group):
    """Text, reasoning, tool calls, finish reason, usage, model, ids and errors are read as the vendor meant them."""
    assert [] == failures(group, check)


def check_cuts(exchange: dict[str, Any]) -> str:
    """A stream in many cuttings, fewer for long ones."""
    body, codec = body_of(exchange), codec_of(exchange)
    seen = {}
    for pieces in cuttings(body, exchange["id"], rounds=max(3, min(12, 100_000 // len(body)))):
        response, error = decode_stream(codec, pieces)
        seen.setdefault((repr(response), repr(error)), [len(piece) for piece in pieces][:8])
    return "" if len(seen) == 1 else f"{len(seen)} different answers, cut as {list(seen.values())}"


STREAMING = [group for group in exchanges() if any(map(streamed, exchanges()[group]))]


@each("group", STREAMING)
def test_a_stream_reads_the_same_however_it_is_cut(group):
    """Reads may end anywhere: in a character, between CR and LF, in the middle of a name."""
    assert [] == failures(group, lambda exchange: check_cuts(exchange) if streamed(exchange) else "")


def check_truncations(exchange: dict[str, Any]) -> str:
    """A stream that breaks off before its end marker, at several places."""
    body, codec = body_of(exchange), codec_of(exchange)
    found = ENDINGS.search(body)
    end = found.start() if found else len(body) - 1
    places = {end, end // 2, end // 3, end * 9 // 10, min(end, 1), 0}
    taken = [place for place in sorted(places) if decode_stream(codec, [body[:place]])[1] is None]
    return f"cut at {taken} of {len(body)} it passes as complete" if taken else ""


@each("group", STREAMING)
def test_a_stream_that_breaks_off_is_never_complete(group):
    """Without the format's end marker there is an error, whatever the transport says."""
    assert [] == failures(group, lambda exchange: check_truncations(exchange) if streamed(exchange) else "")


def test_quoted_errors_are_classed_by_what_they_mean():
    """Error bodies that users quoted in public, of statuses that no recording has."""
    wrong = []
    for number, quoted in enumerate(json.loads((FOLDER / "quoted_errors.json").read_bytes())):
        if "json" in quoted:
            error = fault(quoted["expect"]["status"], {}, json.dumps(quoted["json"]).encode())
            problem = misjudged(quoted, error, quoted["expect"])
        else:
            text = quoted["text"] if quoted["text"].startswith("event:") else f"event: error\ndata: {quoted['text']}\n\n"
            _, raised = decode_stream(codec_of(quoted), [text.encode()])
            problem = "" if type(raised) is VendorUnavailable else f"raised {raised!r}"
        if problem:
            wrong.append(f"{number} {quoted['vendor']}: {problem}")

    assert [] == wrong


def table(counts: Counter[tuple[str, str]]) -> str:
    """How many exchanges of each API each vendor has."""
    apis = sorted({api for api, _ in counts}, key=lambda api: -sum(count for (of, _), count in counts.items() if of == api))
    lines = []
    for api in apis:
        of_vendors = sorted(
            [(vendor, count) for (of, vendor), count in counts.items() if of == api], key=lambda pair: (-pair[1], pair[0])
        )
        total = sum(count for _, count in of_vendors)
        note = "" if api not in NOT_SPOKEN else f" (refusals only: {NOT_SPOKEN[api]})"
        lines.append(f"  {api} {total}: {', '.join(f'{vendor} {count}' for vendor, count in of_vendors)}{note}")
    return "\n".join(lines)


def test_nothing_is_left_out(capsys):
    """Every recorded exchange was in one of the groups above; the counts are printed."""
    counts = Counter({group: len(found) for group, found in recorded().items()})
    streams = sum(map(streamed, [exchange for found in recorded().values() for exchange in found]))
    with capsys.disabled():
        print(f"\n{counts.total()} exchanges, {streams} of them streams\n{table(counts)}")

    known = json.loads((FOLDER / "exchanges" / "index.json").read_bytes())["by_api"]
    assert known == {api: sum(count for (of, _), count in counts.items() if of == api) for api, _ in counts}
    assert known.keys() <= CODEC_OF.keys() | CHECKS.keys()
    assert {} == {
        exchange["id"]: exchange["expect"]
        for (api, _), found in recorded().items()
        for exchange in found
        if api in NOT_SPOKEN and exchange["expect"] and "status" not in exchange["expect"]
    }
