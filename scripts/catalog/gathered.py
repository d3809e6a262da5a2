"""Reads gathered facts about models (``model_facts.json``, ``registry/``) as rows; who is right is decided elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

Row = dict[str, Any]

HOSTS = {
    "openai": ("openai", ("",)),
    "anthropic": ("anthropic", ("",)),
    "gemini": ("google", ("gemini/", "")),
    "vertex_ai-language-models": ("vertex", ("vertex_ai/", "")),
    "azure": ("azure", ("azure/",)),
    "azure_ai": ("azure", ("azure_ai/",)),
    "groq": ("groq", ("groq/",)),
    "mistral": ("mistral", ("mistral/",)),
    "deepseek": ("deepseek", ("deepseek/", "")),
    "xai": ("xai", ("xai/",)),
    "openrouter": ("openrouter", ("openrouter/",)),
    "together_ai": ("together", ("together_ai/",)),
    "fireworks_ai": ("fireworks", ("fireworks_ai/",)),
    "perplexity": ("perplexity", ("perplexity/",)),
    "cerebras": ("cerebras", ("cerebras/",)),
    "sambanova": ("sambanova", ("sambanova/",)),
    "moonshot": ("moonshot", ("moonshot/",)),
    "bedrock": ("bedrock", ("",)),
    "bedrock_converse": ("bedrock", ("",)),
    "ollama": ("ollama", ("ollama/",)),
}
"""The facts' word for a host: ours, and what stands before a model's name there."""
FLAT = {"openai", "anthropic", "google", "vertex", "azure", "deepseek", "bedrock"}
"""Vendors whose model names hold no slash; one with a slash is the same model in another region, or no model. (Claude on Azure
speaks a format of its own.)"""
CLASSES = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_long",
    "input_cost_per_audio_token": "audio_input",
    "output_cost_per_audio_token": "audio_output",
    "cache_read_input_audio_token_cost": "audio_cache_read",
    "input_cost_per_image_token": "image_input",
    "output_cost_per_image_token": "image_output",
    "output_cost_per_reasoning_token": "reasoning",
}
TIERS = {"batches": "batch", "flex": "flex", "priority": "priority"}
ABLE = {
    "supports_vision": "vision",
    "supports_function_calling": "tools",
    "supports_response_schema": "json_schema",
    "supports_audio_input": "audio",
    "supports_audio_output": "audio_output",
    "supports_pdf_input": "documents",
    "supports_reasoning": "reasoning",
    "supports_prompt_caching": "prompt_caching",
    "supports_web_search": "web_search",
    "supports_video_input": "video",
    "supports_computer_use": "computer_use",
}
LISTED_ABLE = {
    "supports_vision": "vision",
    "supports_function_calling": "tools",
    "supports_json_schema": "json_schema",
    "supports_audio": "audio",
    "supports_documents": "documents",
    "is_reasoning_model": "reasoning",
    "supports_caching": "prompt_caching",
}
OWN_SERVERS = {"ollama"}
"""Vendors that are servers of one's own: the facts' 0 is no price of a model, but the row of the vendor says that all is free."""
ROUTERS = {"openrouter/auto", "openrouter/bodybuilder", "typesafe/jev-router"}
"""Models of OpenRouter that hand a request on and cost what the model costs that answers; the facts say 0."""
_IMPLAUSIBLE = 1000
"""US dollars for a million tokens that nobody asks: whoever gathered it took the price of a thousand for that of one."""
_PRICE = re.compile(rf"({'|'.join(sorted(CLASSES, key=len, reverse=True))})(?:_above_(\d+)k_tokens)?(?:_({'|'.join(TIERS)}))?")
_OTHER_KINDS = re.compile(
    r"realtime|-live|image|tts|transcribe|native-audio|deprecated|whisper|lyria|-omni|davinci|babbage|instruct"
)
_PLAIN = re.compile(r"[a-z0-9.:-]+")
_DAY = re.compile(r"20\d\d-\d\d-\d\d")


def amount(number: float) -> str:
    """US dollars per million tokens as text, of US dollars per token as the facts have them."""
    return plain(Decimal(repr(number)) * 1_000_000)


def plain(number: Decimal) -> str:
    """A number as people write it, without an exponent or idle zeros."""
    return f"{number.normalize():f}"


def facts(document: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, Row]]:
    """Vendor, model and row of all facts about models that talk or make vectors, at vendors of ours."""
    for name, fact in document.items():
        vendor, prefixes = HOSTS.get(fact["provider"], ("", ()))
        prefix = next((prefix for prefix in prefixes if name.startswith(prefix)), None)
        model = name.removeprefix(prefix) if prefix is not None else ""
        if not model or fact["mode"] == "completion" or _unfit(vendor, model, fact):
            continue
        row = _row(fact)
        unpriced = vendor in OWN_SERVERS or (vendor == "openrouter" and model in ROUTERS)
        yield vendor, model, row | {"price": None} if unpriced else row


def _unfit(vendor: str, model: str, fact: Mapping[str, Any]) -> bool:
    other = bool(_OTHER_KINDS.search(model)) and vendor in ("openai", "anthropic", "google", "vertex")
    elsewhere = ("/" in model and vendor in FLAT) or (vendor == "azure" and model.startswith("claude-"))
    return (
        other or elsewhere or "*" in model or model.startswith("together-ai-") or model.endswith("/") or "cost_per_second" in fact
    )


def _row(fact: Mapping[str, Any]) -> Row:
    row: Row = {"kind": fact["mode"], "price": price(fact)}
    row["context_window"], row["max_tokens"] = fact.get("max_input_tokens", 0), fact.get("max_output_tokens", 0)
    row["can"] = sorted(word for name, word in ABLE.items() if fact.get(name) is True)
    row["lacks"] = sorted(word for name, word in ABLE.items() if fact.get(name) is False)
    if fact["mode"] == "embedding":
        row["can"], row["max_tokens"] = ["embeddings"], 0
    day = fact.get("deprecation_date", "")
    row["ends"] = day if _DAY.fullmatch(day) else None
    source = fact.get("source", "")
    row["source"] = source if source.startswith("https://") else ""
    return row


def price(fact: Mapping[str, Any]) -> Row | None:
    """The prices of a fact, or ``None`` where it has none of tokens: standard, then by context band and by tier."""
    found: dict[tuple[str, int], Row] = {}
    for name, number in fact.items():
        match = _PRICE.fullmatch(name)
        if match is not None and isinstance(number, int | float):
            word, thousands, tier = match.groups()
            found.setdefault((TIERS.get(tier, ""), int(thousands or 0)), {})[CLASSES[word]] = amount(number)
    standard = found.get(("", 0))
    if standard is None or "input" not in standard:
        return None
    standard.setdefault("output", "0")
    if any(Decimal(dollars) >= _IMPLAUSIBLE for dollars in standard.values()):
        return None
    row = _banded(standard, "", found)
    tiers = {tier: _tier(found[tier, 0], tier, found) for tier in TIERS.values() if "input" in found.get((tier, 0), {})}
    calls = _calls(fact)
    row |= {"tiers": tiers} if tiers else {}
    row |= {"calls": calls} if calls else {}
    return row | _off_peak(fact)


def _banded(base: Row, tier: str, found: Mapping[tuple[str, int], Row]) -> Row:
    """A price with its bands; a band without an input price of its own is none."""
    bands = sorted((thousands, row) for (of, thousands), row in found.items() if of == tier and thousands and "input" in row)
    return {**base, "bands": [{"above": thousands * 1000, **row} for thousands, row in bands]} if bands else dict(base)


def _tier(base: Row, tier: str, found: Mapping[tuple[str, int], Row]) -> Row:
    """A tier's price; one that is half of the standard, and says nothing of long requests, is half of it there, too."""
    row, standard = _banded(base, tier, found), found["", 0]
    if "bands" in row or any(Decimal(base.get(name, 0)) * 2 != Decimal(standard[name]) for name in ("input", "output")):
        return row
    long = _banded(standard, "", found).get("bands", ())
    bands = [
        {"above": band["above"], **{name: plain(Decimal(band[name]) / 2) for name in ("input", "output") if name in band}}
        for band in long
    ]
    return {**row, "bands": bands} if bands else row


def _calls(fact: Mapping[str, Any]) -> Row:
    """US dollars for one search; where it depends on how much of the web is read, for a request that reads the least."""
    costs = sorted({*fact.get("search_context_cost_per_query", {}).values()})
    maps = fact.get("google_maps_grounding_cost_per_query")
    found = {"web_search" if len(costs) == 1 else "request": plain(Decimal(repr(costs[0])))} if costs else {}
    return found | ({"maps_search": plain(Decimal(repr(maps)))} if maps else {})


def _off_peak(fact: Mapping[str, Any]) -> Row:
    told = fact.get("off_peak_pricing")
    if not told:
        return {}
    windows = [_window(window) for window in told.get("windows", [told])]
    return {"off_peak": {"windows": windows, **{CLASSES[name]: amount(told[name]) for name in CLASSES if name in told}}}


def _window(window: Mapping[str, Any]) -> Row:
    """Hours (UTC) and days (Monday is 1) of a window, whichever way it has them."""
    hours = window["hours_utc"]
    days = [_DAYS.index(day) + 1 if isinstance(day, str) else day for day in window.get("weekdays", range(1, 8))]
    return {"hours": [hours] if isinstance(hours, str) else hours, "weekdays": days}


_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONEY = {
    "dollars_per_million_tokens_input": "input",
    "dollars_per_million_tokens_output": "output",
    "dollars_per_million_tokens_cache_read": "cache_read",
    "dollars_per_million_tokens_cached_input": "cache_read",
    "dollars_per_million_tokens_cache_write_5m": "cache_write",
    "dollars_per_million_tokens_cache_write_1h": "cache_write_long",
}


def listed(document: Mapping[str, Any]) -> Iterator[tuple[str, Row]]:
    """Model and row of a registry's page that talk or make vectors; its names are its own, and some are no names."""
    for fact in document["models"].values():
        name = fact["model_name"]
        if not _PLAIN.fullmatch(name) or _OTHER_KINDS.search(name):
            continue
        money = {word: plain(Decimal(repr(fact[name]))) for name, word in _MONEY.items() if fact.get(name) is not None}
        row: Row = {
            "kind": "embedding" if "embedding" in name else "chat",
            "price": money if {"input", "output"} <= {*money} else None,
        }
        row["context_window"], row["max_tokens"] = fact.get("max_input_tokens") or 0, fact.get("max_output_tokens") or 0
        row["can"] = sorted(word for name, word in LISTED_ABLE.items() if fact.get(name) is True)
        row["lacks"] = []
        if row["kind"] == "embedding":
            row["can"], row["max_tokens"] = ["embeddings"], 0
        row["since"], row["ends"] = fact.get("release_date"), fact.get("deprecated_date")
        row["retired"] = fact.get("is_active") is False
        yield name, row
