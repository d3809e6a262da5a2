"""What every recorded exchange cost, against an independent price list; each difference is explained with the vendor's page.

The two share nothing: they read usage and prices from sources of their own. Prices are those of one moment, in busy hours.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

from genai_prices.data_snapshot import get_snapshot

from llmdispatcher import DispatchError, Usage, catalog
from llmdispatcher.types import cost_of
from llmdispatcher.wire.embeddings import usage_of

from ..cases import each
from .corpus import CODEC_OF, body_of, codec_of, decode_stream, needs_corpus, recorded, streamed

pytestmark = needs_corpus

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
"""A working day, in hours that are nobody's cheap ones."""
EXACTLY = Decimal("1e-12")
THEIR_WORD = {"xai": "x-ai", "moonshot": "moonshotai", "bedrock": "aws"}
FLAVORS = {"chat_completions": "chat", "responses": "responses", "embeddings": "embeddings"}
EXPLAINED = {
    ("azure", "grok-4-1-fast-non-reasoning"): (
        "https://prices.azure.com/api/retail/prices",
        "no price of cached input is listed for it there, so it costs what input costs; theirs has x.AI's own",
    ),
    ("deepseek", "deepseek-chat"): (
        "https://api-docs.deepseek.com/quick_start/pricing",
        "0.28 and 0.42 since V3.2 of September 2025; theirs has the prices of V3",
    ),
    ("deepseek", "deepseek-reasoner"): (
        "https://api-docs.deepseek.com/quick_start/pricing",
        "0.28 and 0.42 since V3.2 of September 2025; theirs has the prices of R1",
    ),
    ("mistral", "magistral-small-latest"): (
        "https://docs.mistral.ai/models/model-cards/mistral-small-4-0-26-03",
        "the name now means Mistral Small 4, 0.15 and 0.6; theirs has the prices of Magistral Small 1",
    ),
    ("mistral", "mistral-large-latest"): (
        "https://docs.mistral.ai/models/mistral-large-3-25-12",
        "the name now means Mistral Large 3, 0.5 and 1.5; theirs has the prices of Large 2",
    ),
    ("openai", "gpt-4o-audio-preview-2025-06-03"): (
        "https://developers.openai.com/api/docs/pricing",
        "spoken input is 40 a million; theirs bills it as text",
    ),
    ("perplexity", "sonar"): (
        "https://docs.perplexity.ai/getting-started/pricing",
        "the fee of a request with little context, as is the default; theirs has the fee with much",
    ),
    ("perplexity", "sonar-pro"): ("https://docs.perplexity.ai/getting-started/pricing", "the same"),
    ("perplexity", "sonar-reasoning-pro"): ("https://docs.perplexity.ai/getting-started/pricing", "the same"),
    ("xai", "grok-code-fast"): (
        "https://api.x.ai/v1/language-models",
        "x.AI's own list has 1 and 2 for the name; theirs has the prices of the model that bore it first",
    ),
    ("openrouter", "*"): (
        "https://openrouter.ai/api/v1/models",
        "its prices follow the cheapest host from day to day; its answers tell their cost, which is what counts",
    ),
}
"""By vendor and model: the page, and why the two differ. Searches that OpenAI bills are explained by arithmetic instead."""
SEARCHES = "searches of the web, which OpenAI bills by the piece and their reader does not count"


def used(exchange: dict[str, Any]) -> tuple[str, Usage] | None:
    """Model and usage of an exchange as we read them, or ``None`` where it has none."""
    if exchange["response"]["status"] != 200 or "error" in exchange["expect"]:
        return None
    if exchange["api"] == "embeddings":
        found = exchange["expect"].get("usage_raw") or {}
        return exchange["expect"].get("model") or "", usage_of({"usage": found})
    codec, body = codec_of(exchange), body_of(exchange)
    try:
        answer = decode_stream(codec, [body])[0] if streamed(exchange) else codec.decode(body)
    except DispatchError:
        return None
    return answer.model, answer.usage


def their_cost(exchange: dict[str, Any], model: str) -> Decimal | None:
    """What they make of the vendor's own record, or ``None`` where they do not know vendor, format or model."""
    vendor = THEIR_WORD.get(exchange["vendor"], exchange["vendor"])
    raw = exchange["expect"].get("usage_raw") or {}
    if raw.keys() == {"message_start", "message_delta"}:
        raw = {**raw["message_start"], **{name: value for name, value in (raw["message_delta"] or {}).items() if value is not None}}
    snapshot = get_snapshot()
    try:
        provider, found = snapshot.find_provider_model(model, None, vendor, None)
        flavors = [extractor.api_flavor for extractor in provider.extractors or ()]
        flavor = FLAVORS.get(exchange["api"], "default")
        document = {"model": model, "usage": raw, "usageMetadata": raw}
        _, theirs = provider.extract_usage(document, api_flavor=flavor if flavor in flavors else "default")
        return snapshot.calc(theirs, model, vendor, None, AT, None).total_price if found is not None else None
    except (LookupError, ValueError):  # they refuse counts that contradict each other, which vendors send
        return None


@cache
def compared() -> tuple[Counter[str], dict[str, list[str]]]:
    """How many exchanges came out in which way, and the unexplained ones by vendor and model."""
    ways: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    for (api, vendor), exchanges in recorded().items():
        for exchange in exchanges if api in CODEC_OF or api == "embeddings" else ():
            way = outcome(exchange, vendor)
            ways[way.partition(":")[0]] += 1
            if way.startswith("unexplained"):
                wrong.setdefault(way, []).append(exchange["id"])
    return ways, wrong


def outcome(exchange: dict[str, Any], vendor: str) -> str:
    """How one exchange came out: equal, explained by a row of the table or by searches, or not to be compared."""
    found = used(exchange)
    if found is None or not found[1].total_tokens:
        return "no usage"
    model, usage = found
    facts = catalog.model_facts(vendor, model)
    if facts is None or facts.price is None:
        return "not known to us"
    theirs = their_cost(exchange, model)
    if theirs is None:
        return "not known to them"
    ours = cost_of(usage, facts.price, at=AT)
    if abs(ours - theirs) <= EXACTLY:
        return "equal"
    searches = usage.tool_requests.get("web_search", 0) * facts.price.calls.get("web_search", Decimal(0))
    if searches and abs(ours - searches - theirs) <= EXACTLY:
        return SEARCHES
    for row in ((vendor, facts.listed), (vendor, "*")):
        if row in EXPLAINED:
            return " ".join(row)
    return f"unexplained: {vendor} {facts.listed}: ours {ours}, theirs {theirs}"


def test_every_cost_that_both_know_is_equal_or_explained():
    """To a trillionth of a dollar, over chat, responses, messages, generateContent and embeddings, plain and streamed."""
    assert {} == compared()[1]


def test_nearly_all_are_equal():
    """What is explained is the exception."""
    ways, _ = compared()

    assert ways["equal"] >= 900
    assert ways["equal"] >= 15 * sum(ways[" ".join(row)] for row in EXPLAINED)


@each("row", [" ".join(row) for row in EXPLAINED] + [SEARCHES])
def test_no_explanation_is_idle(row):
    """A row that explains nothing any more is to go."""
    assert compared()[0][row] > 0


@each("page, why", EXPLAINED.values())
def test_explanations_name_a_page(page, why):
    """Whose word counts, and what it says."""
    assert page.startswith("https://")
    assert why
