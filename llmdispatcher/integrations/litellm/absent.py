"""What to use instead of the names of LiteLLM that are not here."""

from __future__ import annotations

import re

_RULES: tuple[tuple[str, str], ...] = tuple(
    (re.compile(pattern).pattern, remedy)
    for pattern, remedy in (
        (
            r"responses|Responses|Response(Created|Completed|Failed|InProgress|Incomplete|APIUsage|Includable|Input|Output)",
            "use llmdispatcher.integrations.openai: OpenAI().responses.create",
        ),
        (r"(?i)image|video", "ask the vendor's own SDK; pictures in a request are parts of its messages"),
        (r"(?i)speech|transcri|audio|realtime", "ask the vendor's own SDK; sound in a request is a part of its messages"),
        (r"(?i)rerank|ocr|moderation|search|rag_|^ingest|^query$|extraction|decisions|systemone", "ask the vendor's own SDK"),
        (r"(?i)assistant|thread|_run$|_runs$|agent|^eval|_evals?$|skill|container|sandbox|run_code", "ask the vendor's own SDK"),
        (
            r"(?i)file|batch|fine_?tun|vector_?store|interaction|generate_content|anthropic_messages|passthrough|adapter",
            "ask the vendor's own SDK; `llmdispatcher batch` asks many requests",
        ),
        (r"(?i)cach|redis", "use configure(cache=ResponseCache(...)), docs/caching.md"),
        (r"(?i)tokeniz|^encode$|^decode$|^encoding$", "use token_counter; a vendor counts with dispatcher.count_tokens(request)"),
        (
            r"(?i)guardrail|presidio|moderat|llamaguard|llm_guard|pre_call_rules|post_call_rules|redact",
            "use configure(guards=[...]), docs/structured.md",
        ),
        (
            r"(?i)prometheus|datadog|langfuse|langsmith|otel|newrelic|zerobus|pointfive|_callback_params|logger|logging|tracer|argilla",
            "use configure(observers=[...]) with llmdispatcher.integrations: opentelemetry, prometheus, logging; or a CustomLogger",
        ),
        (r"(?i)secret|credential|key_management|wif", "set the variables of the environment; api_key may be os.environ/NAME"),
        (r"(?i)^ssl_|proxy_auth|http2|^disable_aiohttp|^force_ipv4|user_url|aiohttp", "set SSL_CERT_FILE, HTTPS_PROXY"),
        (r"(?i)budget|priority_reservation", "use configure(budgets=[Budget(...)]), docs/budgets.md, or Router's max_budget"),
        (
            r"(_models|_endpoints|_providers|model_set|^model_list.*|models_by.*|provider_list)$",
            "use llmdispatcher.list_models(vendor)",
        ),
        (r"_key$|_api_key$|_token$|_key_.*|token$|^api_", "the catalog has no such vendor; give api_key= to the call"),
        (r"(?i)mcp|public_|key_generation|ui_session|internal_user|end_user|team", "it is a setting of LiteLLM's proxy"),
        (r"(?i)prompt", "give the messages; servers have their own templates"),
        (
            r"^[A-Z]\w*(Config|Handler|Completion|Embedding|API|LLM|Models|Base)$|_chat_completions?s?$|_config$",
            "vendors are in the catalog",
        ),
    )
)
_ASYNC = re.compile(r"^_?a(?=[a-z])(?!dd|ll|pi|lert|ssem|ctual|dmi|zure|nthropic|i21|rguments|ws|ggreg|ttach|rize|leph|mazon)")
_LEFT = "it is of LiteLLM's own working"


def remedy(name: str, is_here: frozenset[str]) -> str:
    """What to use instead of a name."""
    sync = name[1:]
    if _ASYNC.match(name) is not None and (sync in is_here or sync.startswith(_VERBS)):
        return f"call {sync} from threads; there is no event loop here" if sync in is_here else _by_rule(sync)
    return _by_rule(name)


_VERBS = (
    "completion",
    "create",
    "delete",
    "get",
    "list",
    "retrieve",
    "run",
    "cancel",
    "file",
    "image",
    "video",
    "vector",
    "upload",
)


def _by_rule(name: str) -> str:
    return next((told for pattern, told in _RULES if re.search(pattern, name)), _LEFT)
