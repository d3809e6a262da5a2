"""Why a setting of a LiteLLM proxy is not in the configuration that is made of it, and what there is instead."""

from __future__ import annotations

from collections.abc import Mapping

_OVERLAY = "prices are the catalog's; give others by an overlay, docs/models.md"
_REQUEST = "a request says it itself; nothing is added to requests here"
_GUARDS = "guards are classes of Python here, docs/structured.md"
_OBSERVERS = "observers are classes of Python here, docs/telemetry.md"
_SHELL = "logs are set by Python's logging, docs/telemetry.md"
_PAGES = "there are no pages and no accounts of people here"

REASONS: Mapping[str, str] = {
    "input_cost_per_token": _OVERLAY,
    "output_cost_per_token": _OVERLAY,
    "cache_read_input_token_cost": _OVERLAY,
    "cache_creation_input_token_cost": _OVERLAY,
    "input_cost_per_second": _OVERLAY,
    "base_model": "a deployment is priced as the model that its answer names",
    "access_groups": "name the models in the keys' --models",
    "max_tokens": _REQUEST,
    "max_input_tokens": "windows are the catalog's; give others by an overlay, docs/models.md",
    "max_output_tokens": "windows are the catalog's; give others by an overlay, docs/models.md",
    "temperature": _REQUEST,
    "top_p": _REQUEST,
    "seed": _REQUEST,
    "stop": _REQUEST,
    "max_retries": "retry_policy holds for all vendors",
    "max_budget": "a budget of one deployment is a [[budgets]] with match = { vendor = ... }, docs/budgets.md",
    "budget_duration": "it belongs to max_budget",
    "mock_response": "simulated vendors answer with `serve --simulate`",
    "aws_access_key_id": "bedrock takes a bearer token, docs/vendors.md",
    "aws_secret_access_key": "bedrock takes a bearer token, docs/vendors.md",
    "aws_region_name": "name the region in base_url, docs/vendors.md",
    "vertex_project": "name the project in base_url, docs/vendors.md",
    "vertex_location": "name the location in base_url, docs/vendors.md",
    "vertex_credentials": "vertex takes an access token, docs/vendors.md",
    "azure_ad_token": "give it as api_key",
    "tenant_id": "azure takes a key or a token as api_key, docs/vendors.md",
    "client_id": "azure takes a key or a token as api_key, docs/vendors.md",
    "client_secret": "azure takes a key or a token as api_key, docs/vendors.md",
    "database_url": "give it to `serve --database`; organisations and keys come by --dump",
    "database_connection_pool_limit": "connections are as many as are needed, up to four a process",
    "store_model_in_db": "models are in the file, which is reloaded when it changes",
    "store_prompts_in_spend_logs": "no prompt and no answer is stored",
    "alerting": "alerts are made of the metrics",
    "ui_access_mode": _PAGES,
    "proxy_budget_rescheduler_min_time": "budgets begin anew by the clock",
    "proxy_budget_rescheduler_max_time": "budgets begin anew by the clock",
    "proxy_batch_write_at": "each call is settled in its own transaction",
    "allowed_routes": "paths are what a key's scopes say",
    "pass_through_endpoints": "write [[passthrough]], docs/gateway.md",
    "max_parallel_requests": "give --in-flight to keys",
    "max_request_size_mb": "a body has at most 50 MiB",
    "background_health_checks": "set health_interval",
    "health_check_interval": "set health_interval",
    "guardrails": _GUARDS,
    "post_call_rules": _GUARDS,
    "pre_call_rules": _GUARDS,
    "mcp_servers": "there is no gateway of MCP here",
    "callback_settings": _OBSERVERS,
    "turn_off_message_logging": "no prompt and no answer is logged",
    "redact_user_api_key_info": "no key is logged",
    "set_verbose": _SHELL,
    "json_logs": _SHELL,
    "debug_level": _SHELL,
    "telemetry": "there is none",
    "retry_policy": "which failures are retried is decided by their class, docs/reliability.md",
    "allowed_fails_policy": "circuit_breaker counts failures of a vendor alone, docs/reliability.md",
    "model_group_retry_policy": "retry_policy holds for all models",
    "max_fallbacks": "a pool is asked to its end within the deadline",
    "routing_strategy_args": "docs/routing.md has the strategies and their settings",
    "provider_budget_config": "a budget of one vendor is a [[budgets]] with match = { vendor = ... }, docs/budgets.md",
    "default_team_settings": _OBSERVERS,
    "upperbound_key_generate_params": "a new key never has more than its maker",
    "key_generation_settings": "keys are made by those with the scope `keys`",
    "default_internal_user_params": "give members a default budget, docs/gateway.md",
    "max_internal_user_budget": "give members a default budget, docs/gateway.md",
    "internal_user_budget_duration": "give members a default budget, docs/gateway.md",
    "max_end_user_budget": "spend belongs to keys; a request's user is a tag",
    "callback": _OBSERVERS,
    "callback prometheus": "metrics are served with no setting, docs/operating.md",
    "callback otel": "spans are those of integrations.opentelemetry, docs/telemetry.md",
    "ssl_verify": "certificates are checked; ca_bundle of a vendor names others to trust",
    "cache_params": "the cache is off",
}
"""By the setting's name, wherever it stands."""

STRATEGIES: Mapping[str, tuple[str, str]] = {
    "simple-shuffle": ("weighted", ""),
    "least-busy": ("least_loaded", ""),
    "latency-based-routing": ("fastest", ""),
    "cost-based-routing": ("cheapest", ""),
    "usage-based-routing": ("weighted", "balance: weighted by rpm; the limits themselves keep each vendor below its own"),
    "usage-based-routing-v2": ("weighted", "balance: weighted by rpm; the limits themselves keep each vendor below its own"),
}
"""Ours, and what is different."""
