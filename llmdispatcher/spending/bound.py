"""What one attempt can cost at most, worked out before it is sent.

Text is counted by its bytes in UTF-8: the tokenizers in use (byte-pair encodings of bytes, sentencepieces that fall back to bytes)
make no token of less than a byte, so a text has at most as many tokens as bytes; one that normalises first (NFKC) can lengthen a
text, so the longer form counts. What a vendor writes around it (roles, its own instructions for tools) is covered by allowances.
Images have a ceiling for each vendor. What cannot be bounded, such as sound, films, documents, what a vendor's own tool finds or a
conversation that it keeps, counts as the model's whole window. Output is ``max_tokens`` or as much as the model can say, for each
of ``n`` answers. All of it costs the dearest price that such tokens may have: writes to a cache, sound, bands and tiers that the
request can reach.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import attrs

from ..catalog import Price
from ..catalog.prices import EXACT
from ..messages import Message, Tool, VendorTool
from ..parts import AudioPart, FilePart, ImagePart, OtherPart, ReasoningPart, TextPart, ToolCall, VideoPart
from ..policy.target import Target
from ..types import Request

PER_REQUEST = 768
"""Tokens that a vendor writes around a conversation by itself; the most that was seen are 612, of Llama's template."""
WITH_SETTINGS = 2_048
"""The same besides where vendors' own settings are used: a character, or a mode with instructions of its own (1,690 were seen)."""
PER_MESSAGE = 16
"""Tokens that mark a turn: its role, its beginning and end."""
WITH_TOOLS = 1_024
"""Tokens of a vendor's own instructions for tools."""
PER_TOOL = 64
PER_IMAGE: Mapping[str, int] = {"anthropic": 5_000, "google": 5_000, "vertex": 5_000, "bedrock": 5_000}
"""The most tokens of an image that a vendor scales down itself."""
ANY_IMAGE = 50_000
"""The same where it is not known: what the dearest model of all, gpt-4o-mini, bills for one."""
ANY_WINDOW = 2_000_000
ANY_OUTPUT = 131_072
THOUGHTS = 65_536
"""Tokens that some formats need for thoughts above ``max_tokens``, at the highest effort."""
LEAST_OUTPUT = 16
"""What some APIs make of a smaller ``max_tokens``; others go over it by one."""
OVER_OUTPUT: Mapping[str, int] = {"google": 2, "vertex": 2}
"""How many times ``max_tokens`` a vendor may bill: its thoughts are counted, and not always stopped in time (by 30 % was seen)."""
FEES: Mapping[str, Decimal] = {"perplexity": Decimal("0.022")}
"""US dollars that a vendor takes at most for a request as such."""
ROUTERS = frozenset({"openrouter/auto", "openrouter/bodybuilder", "typesafe/jev-router"})
"""Names that stand for whichever model a vendor chooses: what a list of prices says of them, 0, is no price."""
SEARCHES = 10
"""How often a vendor's own tool is used where it sets no ``max_uses``."""

_NOTHING = Decimal(0)
_DAY = timedelta(days=1)
_REMEMBERED = 1024
_KEPT = frozenset({"background", "container", "conversation", "previous_response_id", "cachedContent", "cached_content", "prompt"})
_SEARCHING = frozenset({"web_search_options", "plugins", "tools", "mcp_servers", "search_parameters", "googleSearch"})
_LIMITS = frozenset(
    {
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "num_predict",
        "budget_tokens",
        "thinkingBudget",
    }
)
_ANSWERS = frozenset({"n", "candidateCount", "candidate_count", "best_of"})


@attrs.frozen(kw_only=True)
class Measure:
    """What a request holds, whoever is asked: ``text`` in tokens at most, ``images``, whether there is something ``unbounded``.

    ``searches`` is how often vendors' own tools may be used.
    """

    text: int
    images: int = 0
    unbounded: bool = False
    searches: int = 0
    answers: int = 1
    output: int | None = None


def measured(request: Request) -> Measure:
    """The measure of a request; one pass over its text."""
    extra = request.extra_params
    vendor_tools = [tool for tool in request.tools if isinstance(tool, VendorTool)]
    searching = bool(vendor_tools) or not _SEARCHING.isdisjoint(extra)
    text, images, unbounded = PER_REQUEST + _of_tools(request.tools) + _of_json(request.response_format), 0, searching
    for message in request.messages:
        text += _of_message(message)
        if isinstance(message.content, str):
            text += text_tokens(message.content)
            continue
        for part in message.content:
            text += _of_part(part)
            images += isinstance(part, ImagePart)
            unbounded = unbounded or _unbounded(part)
    counts = dict(_numbers(extra)) if extra else {}
    return Measure(
        text=text + _of_json(extra) + (WITH_SETTINGS if extra else 0),
        images=images,
        unbounded=unbounded or not _KEPT.isdisjoint(extra),
        searches=sum([_uses(tool) for tool in vendor_tools]) or (SEARCHES if searching else 0),
        answers=max([request.n or 1, *[count for name, count in counts.items() if name in _ANSWERS]]),
        output=_most_output(request, [count for name, count in counts.items() if name in _LIMITS]),
    )


def bound(measure: Measure, request: Request, target: Target, now: datetime) -> Decimal:
    """US dollars that a request can cost at a target with a known price, at most."""
    per_image = PER_IMAGE.get(target.kind or "", ANY_IMAGE)
    into = measure.text + measure.images * per_image + ((target.context_window or ANY_WINDOW) if measure.unbounded else 0)
    output = measure.output
    if output is None:
        output = target.max_output or target.context_window or ANY_OUTPUT
    else:
        output *= OVER_OUTPUT.get(target.kind or "", 1)
    ladder, search = _rates(target, request.service_tier, measure.unbounded, (now + _DAY).date())
    steps = [step for step in ladder if into > step[0]]
    dearest_in, dearest_out = max([step[1] for step in steps]), max([step[2] for step in steps])
    tokens = EXACT.scaleb(EXACT.fma(into, dearest_in, EXACT.multiply(measure.answers * output, dearest_out)), -6)
    fees = FEES.get(target.kind or "")
    if fees is not None:
        tokens = EXACT.add(tokens, fees)
    return EXACT.fma(measure.searches, search, tokens) if measure.searches else tokens


@lru_cache(maxsize=_REMEMBERED)
def _rates(target: Target, tier: str | None, audible: bool, soon: date) -> tuple[tuple[tuple[int, Decimal, Decimal], ...], Decimal]:
    """What tokens may cost at a target: (above so many, in at most, out at most); and the dearest call of a tool.

    Of this day's prices and the next one's, of the tiers that a vendor may choose.
    """
    price = target.price
    assert price is not None  # the gate has looked
    ladder: list[tuple[int, Decimal, Decimal]] = []
    for one in (price, *[later for later in price.later if later.valid_from is not None and later.valid_from <= soon]):
        tiers = one.tiers.values() if tier in (None, "auto") else [one.of(0, tier)]
        for way in (one, *tiers):
            for above, rung in ((-1, way), *way.bands):
                ladder.append((above, max(_of_input(rung, audible=audible)), _of_output(rung)))
    return tuple(ladder), max(price.calls.values(), default=_NOTHING)


def has_price(target: Target) -> bool:
    """Whether it is known what a target costs."""
    return target.price is not None and target.model not in ROUTERS


@lru_cache(maxsize=_REMEMBERED)
def costs_nothing(target: Target) -> bool:
    """Whether a target is known to be free."""
    return target.price is not None and has_price(target) and is_free(target.price)


def is_free(price: Price) -> bool:
    """Whether nothing costs anything, in any class, band or tier, now or later."""
    others = (*[dearer for _, dearer in price.bands], *price.tiers.values(), *price.later)
    return not (any(_of_input(price, audible=True)) or _of_output(price) or any(price.calls.values())) and all(map(is_free, others))


def text_tokens(text: str) -> int:
    """The most tokens that a text can have."""
    if text.isascii():
        return len(text)
    plain = len(text.encode("utf-8", "surrogatepass"))
    if unicodedata.is_normalized("NFKC", text):
        return plain
    return max(plain, len(unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")))


def _most_output(request: Request, written: list[int]) -> int | None:
    """Output tokens of one answer at most, thoughts included; ``None`` where only the model sets an end."""
    if request.max_tokens is None and not written:
        return None
    if request.max_tokens == 0 and not written:
        return 0  # vectors are asked for
    most = max([request.max_tokens or 0, *written, LEAST_OUTPUT]) + 1
    if request.reasoning_tokens:
        return most + request.reasoning_tokens
    return most + THOUGHTS if request.reasoning_effort not in (None, "none") else most


def _of_input(price: Price, *, audible: bool) -> Iterable[Decimal]:
    yield from (price.input, price.cache_read, price.cache_write, price.cache_write_long, price.image_input)
    if audible:
        yield from (price.audio_input, price.audio_cache_read)


def _of_output(price: Price) -> Decimal:
    return max(price.output, price.reasoning, price.audio_output, price.image_output)


def _of_message(message: Message) -> int:
    calls = sum([_of_part(call) for call in message.tool_calls]) if message.tool_calls else 0
    names = text_tokens(message.name or "") + len(message.tool_call_id or "")
    return PER_MESSAGE + calls + names + (_of_json(message.extra) if message.extra else 0)


def _of_part(part: Any) -> int:
    """Tokens of the text that a part holds."""
    if isinstance(part, TextPart):
        return text_tokens(part.text) + _of_json(part.extra)
    if isinstance(part, ToolCall):
        return PER_TOOL + text_tokens(part.name) + text_tokens(part.arguments) + len(part.id or "") + len(part.signature or "")
    if isinstance(part, ReasoningPart):
        return text_tokens(part.text) + len(part.signature or "") + len(part.encrypted or "") + _of_json(part.extra)
    if isinstance(part, OtherPart):
        return _of_json(part.data)
    if isinstance(part, FilePart):
        return len(part.data or b"") + text_tokens(part.name or "") if _is_text(part) else text_tokens(part.name or "")
    return 0


def _of_tools(tools: Sequence[Tool | VendorTool]) -> int:
    return WITH_TOOLS + sum([PER_TOOL + _of_json(attrs.asdict(tool)) for tool in tools]) if tools else 0


def _of_json(value: Any) -> int:
    """Tokens of what is written as JSON; what JSON cannot hold by its ``repr``."""
    return text_tokens(json.dumps(value, ensure_ascii=False, default=repr)) if value else 0


def _is_text(part: FilePart) -> bool:
    return part.data is not None and (part.media_type or "").startswith("text/")


def _unbounded(part: Any) -> bool:
    """Whether its tokens cannot be told by its bytes; a block of a vendor's own may hold what is encrypted, or stands elsewhere."""
    return isinstance(part, AudioPart | VideoPart | OtherPart) or (isinstance(part, FilePart) and not _is_text(part))


def _uses(tool: VendorTool) -> int:
    most = tool.data.get("max_uses")
    return most if isinstance(most, int) and most > 0 else SEARCHES


def _numbers(value: Any) -> Iterator[tuple[str, int]]:
    """Every whole number in nested mappings, with its name; the largest of a name comes last."""
    found: list[tuple[str, int]] = []
    todo = [value]
    while todo:
        for name, one in todo.pop().items():
            if isinstance(one, Mapping):
                todo.append(one)
            elif isinstance(one, int) and not isinstance(one, bool):
                found.append((name, one))
    yield from sorted(found, key=lambda pair: pair[1])
