"""What LiteLLM keeps as attributes of its module, such as ``litellm.drop_params``; the package reads and writes them here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

WITHOUT_EFFECT: Mapping[str, str] = {
    "add_function_to_prompt": "tools are told in words where a vendor has none for them",
    "client_session": "connections are kept by the dispatcher",
    "in_memory_llm_clients_cache": "connections are kept by the dispatcher",
    "json_logs": "llmdispatcher.integrations.logging writes lines of JSON",
    "log_level": "set the level of the logger 'llmdispatcher'",
    "modify_params": "requests are always fitted to their vendor",
    "redact_messages_in_exceptions": "errors hold no messages",
    "suppress_debug_info": "nothing is printed",
    "suppress_startup_output": "nothing is printed",
    "telemetry": "nothing is reported to anybody",
    "use_aiohttp_transport": "connections are kept by the dispatcher",
    "use_client": "nothing is reported to anybody",
}
"""Settings that may be set, since what they change is so already or does not exist here, each with what is so."""


@attrs.define(kw_only=True)
class ModuleSettings:
    """The settings that count, by LiteLLM's names, with LiteLLM's defaults."""

    api_key: str | None = None
    api_base: str | None = None
    api_version: str | None = None
    organization: str | None = None
    headers: Mapping[str, str] | None = None
    openai_key: str | None = None
    azure_key: str | None = None
    anthropic_key: str | None = None
    groq_key: str | None = None
    openrouter_key: str | None = None
    huggingface_key: str | None = None
    togetherai_api_key: str | None = None
    ollama_key: str | None = None
    databricks_key: str | None = None
    xai_key: str | None = None
    drop_params: bool = False
    set_verbose: bool = False
    turn_off_message_logging: bool = False
    num_retries: int | None = None
    request_timeout: float | None = None
    max_budget: float = 0.0
    allowed_fails: int = 3
    max_fallbacks: int | None = None
    default_fallbacks: list[Any] | None = None
    fallbacks: list[Any] | None = None
    context_window_fallbacks: list[Any] | None = None
    content_policy_fallbacks: list[Any] | None = None
    model_alias_map: dict[str, str] = attrs.field(factory=dict)
    callbacks: list[Any] = attrs.field(factory=list)
    success_callback: list[Any] = attrs.field(factory=list)
    failure_callback: list[Any] = attrs.field(factory=list)
    input_callback: list[Any] = attrs.field(factory=list)
    cache: Any = None
    _current_cost: float = 0.0
    _model_cost: dict[str, Any] | None = None
    _custom_prices: dict[str, dict[str, Any]] = attrs.field(factory=dict)


SETTINGS = ModuleSettings()
