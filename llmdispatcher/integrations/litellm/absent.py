"""What to use instead of the names of LiteLLM that are not here."""

from __future__ import annotations

import re

_RULES: tuple[tuple[str, str], ...] = (
    (
        r"(?i)responses?_?api|^a?responses|_responses$|^Response(?!Text)|compact_responses|InputTokensDetails|OutputTokensDetails",
        "responses",
    ),
    (r"(?i)image|video|bfl_", "pictures"),
    (r"(?i)speech|transcri|audio|realtime|sound", "sound"),
    (r"(?i)assistant|thread(?!ing)|_runs?$|agent|evals?$|^eval|skill|container|sandbox|run_code|code_interpreter", "other"),
    (r"(?i)rerank|ocr$|ocr_|moderation|search|^a?ingest|^a?query$|extraction|decisions|systemone|rag$", "other"),
    (r"(?i)file|batch|fine_?tun|vector_?store|interaction|generate_content|anthropic_messages|passthrough|adapter", "files"),
    (r"(?i)guardrail|presidio|llamaguard|llm_guard|_call_rules|redact|banned_keywords|secret_detection", "guards"),
    (r"(?i)prometheus|datadog|langfuse|langsmith|otel|opentelemetry|newrelic|zerobus|pointfive|_callback_params", "observers"),
    (
        r"(?i)callback|logger|logging|_log(s|_|$)|^log_|argilla|lunary|opik|posthog|helicone|mlflow|arize|tracer|traceloop",
        "observers",
    ),
    (r"^(trim_messages|process_messages|shorten_message_to_fit_limit)$", "trimming"),
    (r"(?i)cach|redis", "cache"),
    (r"(?i)tokeniz|^encode$|^decode$|^encoding$|count_tokens|token_count", "tokens"),
    (r"(?i)secret|credential|key_management|wif_|azure_ad|aws_s", "keys"),
    (r"(?i)^ssl_|proxy_auth|http2|force_ipv4|user_url|aiohttp|httpx|HTTPHandler|module_level_a?client", "network"),
    (r"(?i)budget|priority_reservation|spend", "budgets"),
    (r"(?i)_models$|_models?_(set|list)$|^LITELLM_CHAT_PROVIDERS|(_endpoints|_providers|model_set|_llms)$|valid_models", "models"),
    (r"_key$|_token$|^token$|^api_|_api_base$|_tenant_id$", "vendors"),
    (r"(?i)mcp|^public_|key_generation|ui_session|internal_user|end_user|team|blocked_user|audit_log|proxy|upperbound", "proxy"),
    (r"(?i)prompt(?!Tokens)", "prompts"),
    (r"CustomLLM|custom_provider", "own vendors"),
    (
        r"Config$|_config$|Handler$|(Chat|Text)?Completions?$|Embeddings?$|LLM$|_chat_completions?s?$|_embed(ding)?$|Models?$",
        "vendors",
    ),
    (r"(Error|Exception)$", "errors"),
    (
        r"(Param|Params|Object|Event|TypedDict|Details|Chunk|Block|Info|Message|Request|Response|Item|Enum|Policy|Logprobs|Tool)s?$",
        "types",
    ),
)
"""Patterns of names, the first that fits counts, each with a word of :data:`_REMEDIES`."""
_REMEDIES = {
    "async": "call {sync} from threads; there is no event loop here",
    "budgets": "use configure(budgets=[Budget(...)]), docs/budgets.md, or Router(provider_budget_config=...)",
    "cache": "use litellm.cache = Cache(), or configure(cache=ResponseCache(...)), docs/caching.md",
    "errors": "it is never raised here; docs/from-litellm.md has those that are",
    "files": "ask the vendor's own SDK; for many requests there is batch_completion, and `llmdispatcher batch`",
    "guards": "use configure(guards=[...]), docs/structured.md",
    "keys": "set the variables of the environment; api_key may be os.environ/NAME",
    "models": "use llmdispatcher.list_models(vendor), or litellm.model_list",
    "network": "connections are the dispatcher's: set SSL_CERT_FILE, HTTPS_PROXY",
    "observers": "use CustomLogger, or configure(observers=[...]) with llmdispatcher.integrations.opentelemetry or another",
    "other": "ask the vendor's own SDK",
    "own": "it is of LiteLLM's own working, and nothing here has it",
    "own vendors": "write a vendor of your own: llmdispatcher.Vendor, five members, and ask it by a Dispatcher",
    "pictures": "ask the vendor's own SDK; pictures in a request are parts of its messages",
    "prompts": "give the messages; servers have their own templates",
    "proxy": "it is a setting of LiteLLM's proxy",
    "responses": "use llmdispatcher.integrations.openai: OpenAI().responses.create",
    "trimming": "count with token_counter and leave out turns; what is too long raises ContextWindowExceededError, "
    "for which Router(context_window_fallbacks=...) asks a larger model",
    "sound": "ask the vendor's own SDK; sound in a request is a part of its messages",
    "tokens": "use token_counter; a vendor counts by Dispatcher.count_tokens(request)",
    "types": "it is a type; answers are ModelResponse, requests are dicts",
    "vendors": "vendors are in the catalog: name the model 'vendor/model', give api_key and api_base, docs/vendors.md",
}
_BY_NAME = {
    "client": "decorate nothing: completion tells the callbacks itself",
    "enable_json_schema_validation": "a Dispatcher checks the form of answers, docs/structured.md",
    "exception_type": "exceptions are made by the calls",
    "include_cost_in_streaming_usage": "the cost is in _hidden_params['response_cost'] of a stream and of its last piece",
    "max_tokens": "give max_tokens to the call",
    "model_fallbacks": "give fallbacks to the call, or to Router",
    "num_retries_per_request": "set litellm.num_retries",
    "retry": "set litellm.num_retries",
    "return_response_headers": "answers have no headers of the vendor",
    "turn_on_debug": "set litellm.set_verbose = True",
    "use_litellm_proxy": "name the model 'litellm_proxy/model' and give api_base",
}
_SYNC = frozenset({"batch_completion", "completion", "completion_with_retries", "embedding", "text_completion"})


def remedy(name: str) -> str:
    """What to use instead of a name of LiteLLM's."""
    sync = name.removeprefix("a")
    if sync in _SYNC and sync != name:
        return _REMEDIES["async"].format(sync=sync)
    if name in _BY_NAME:
        return _BY_NAME[name]
    word = next((word for pattern, word in _RULES if re.search(pattern, name)), "own")
    return _REMEDIES[word]
