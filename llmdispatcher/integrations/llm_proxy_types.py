"""What programs of the LLM proxy service make and get: providers and their configuration, requests, responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

import attrs

from llmdispatcher import Capabilities, ConfigError, Deadline, HttpVendor, Message, Request, Response, StreamChunk, Usage, Vendor
from llmdispatcher.integrations.usage import UsageRecord
from llmdispatcher.runtime import SYSTEM_CLOCK, from_environment, new_id
from llmdispatcher.types import choices, suggest


class LLMProvider(StrEnum):
    """The kinds of providers; ``LOCAL`` is a server of OpenAI's format at ``api_endpoint``, ``MOCK`` echoes without a network."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    AZURE = "azure"
    HUGGINGFACE = "huggingface"
    OLLAMA = "ollama"
    LOCAL = "local"
    MOCK = "mock"


def _provider(value: str) -> LLMProvider:
    names = [kind.value for kind in LLMProvider]
    if value not in names:
        raise ConfigError(f"provider: {value!r} is no kind of provider; {choices(value, names, 'there are {}')}")
    return LLMProvider(value)


class ModelCapability(StrEnum):
    """What a model is for, as programs write it down."""

    TEXT_GENERATION = "text_generation"
    CHAT_COMPLETION = "chat_completion"
    CODE_COMPLETION = "code_completion"
    FUNCTION_CALLING = "function_calling"
    EMBEDDINGS = "embeddings"
    IMAGE_ANALYSIS = "image_analysis"
    AUDIO_TRANSCRIPTION = "audio_transcription"
    FINE_TUNING = "fine_tuning"


class LoadBalanceStrategy(StrEnum):
    """Who is asked first."""

    ROUND_ROBIN = "round_robin"
    LEAST_LOADED = "least_loaded"
    WEIGHTED = "weighted"
    FASTEST_RESPONSE = "fastest_response"
    COST_OPTIMIZED = "cost_optimized"
    RANDOM = "random"


@suggest
@attrs.frozen(kw_only=True)
class ModelConfig:
    """A provider and its model, which serves the names that the provider does not have.

    ``rate_limit`` is requests a minute, ``rate_limit_tpm`` tokens a minute, ``cost_per_1k_tokens`` US dollars for the strategy
    ``COST_OPTIMIZED``. The lowest ``priority`` comes first after a failure; ``weight`` is for ``WEIGHTED``. ``capabilities``,
    ``max_tokens`` and ``context_window`` are for programs to read: what models can do is in the catalog.
    """

    provider: LLMProvider = attrs.field(converter=_provider)
    model_name: str
    api_key: str | None = attrs.field(default=None, repr=False)
    api_endpoint: str | None = None
    capabilities: Sequence[Any] = ()
    max_tokens: int | None = None
    context_window: int | None = None
    cost_per_1k_tokens: float | None = None
    rate_limit: int | None = None
    rate_limit_tpm: int | None = None
    priority: float = 1
    weight: float = 1.0


class LLMProviderBase:
    """A provider, as it is registered."""

    def __init__(self, config: ModelConfig) -> None:
        self.config = config

    def to_vendor(self, name: str) -> Vendor:
        """Return the vendor of that name."""
        config = self.config
        if config.provider is LLMProvider.MOCK:
            return _Mock(name)
        limits = {"requests_per_minute": config.rate_limit, "tokens_per_minute": config.rate_limit_tpm}
        return HttpVendor(
            kind=config.provider.value,
            name=name,
            api_key=config.api_key,
            base_url=config.api_endpoint,
            default_model=config.model_name,
            models=(config.model_name,) if config.provider in _WITH_ANY_MODEL else (),
            rate_limit=limits if any(limits.values()) else None,
        )


OpenAIProvider = AnthropicProvider = MockProvider = LLMProviderBase


_WITH_ANY_MODEL = (LLMProvider.AZURE, LLMProvider.HUGGINGFACE, LLMProvider.LOCAL, LLMProvider.OLLAMA)
"""Whose models the catalog cannot know."""


class _Mock:
    """Echoes the beginning of a prompt."""

    capabilities = Capabilities(models=("*",))

    def __init__(self, name: str) -> None:
        self.name = name

    def send(self, request: Request, deadline: Deadline) -> Response:
        text = f"Mock response to: {request.messages[-1].text[:50]}..."
        return Response(content=text, model=request.model, vendor=self.name, usage=Usage(input_tokens=10, output_tokens=20))

    def stream(self, request: Request, deadline: Deadline) -> Iterator[StreamChunk]:
        answer = self.send(request, deadline)
        yield StreamChunk(content=answer.content)
        yield StreamChunk(finish_reason="stop", usage=answer.usage)

    def is_available(self) -> bool:
        return True


@suggest
@attrs.define(kw_only=True)
class LLMRequest:
    """A question: ``messages`` or a ``prompt``. ``provider`` is the only one that is asked."""

    model: str = "gpt-3.5-turbo"
    messages: Sequence[Message | Mapping[str, Any]] | None = None
    prompt: str | None = None
    provider: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop_sequences: Sequence[str] | None = None
    functions: Sequence[Mapping[str, Any]] | None = None
    function_call: Any = None
    stream: bool = False
    cache_enabled: bool = True
    metadata: dict[str, Any] = attrs.field(factory=dict)
    id: str = attrs.field(factory=lambda: new_id(SYSTEM_CLOCK))

    def to_request(self) -> Request:
        """Return it as the dispatcher takes it."""
        same = ("temperature", "max_tokens", "top_p", "frequency_penalty", "presence_penalty", "function_call", "metadata")
        return Request(
            self.model,
            self.messages if self.messages is not None else self.prompt or "",
            stop=self.stop_sequences or (),
            functions=self.functions or (),
            cache=None if self.cache_enabled else False,
            **{name: getattr(self, name) for name in same},
        )


@attrs.frozen(kw_only=True)
class LLMResponse:
    """An answer. ``response_time`` is seconds, ``usage`` has tokens and US dollars; ``response`` is the library's own."""

    request_id: str
    provider: str
    model: str
    content: str
    usage: Mapping[str, Any]
    finish_reason: str | None
    function_call: dict[str, str] | None = None
    function_calls: list[dict[str, str]] | None = None
    cached: bool = False
    response_time: float | None = None
    created_at: datetime | None = None
    response: Response | None = attrs.field(default=None, repr=False)

    @classmethod
    def of(cls, response: Response, request_id: str) -> Self:
        """Return the library's response in the service's words."""
        return cls(
            request_id=request_id,
            provider=response.vendor,
            usage=UsageRecord.of(response.usage),
            function_calls=[{"name": call.name, "arguments": call.arguments} for call in response.tool_calls] or None,
            response_time=response.latency,
            response=response,
            **{name: getattr(response, name) for name in _SAME},
        )


_SAME = ("model", "content", "finish_reason", "function_call", "cached", "created_at")


def create_chat_request(messages: Sequence[Message | Mapping[str, Any]], model: str = "gpt-3.5-turbo", **fields: Any) -> LLMRequest:
    """Return a request; ``fields`` are those of :class:`LLMRequest`."""
    return LLMRequest(messages=messages, model=model, **fields)


def create_completion_request(prompt: str, model: str = "gpt-3.5-turbo", **fields: Any) -> LLMRequest:
    """Return a request with a prompt; ``fields`` are those of :class:`LLMRequest`."""
    return LLMRequest(prompt=prompt, model=model, **fields)


def create_function_call_request(
    messages: Sequence[Message | Mapping[str, Any]],
    functions: Sequence[Mapping[str, Any]],
    model: str = "gpt-3.5-turbo",
    **fields: Any,
) -> LLMRequest:
    """Return a request whose answer may be a call of a function, at temperature 0."""
    return LLMRequest(messages=messages, functions=functions, model=model, **{"temperature": 0.0, **fields})


def number_setting(name: str, given: float | None, default: int) -> Any:
    """Return a setting: as given, else of its variable of the environment, else the default."""
    text = from_environment((f"LLM_PROXY_{name}",)) if given is None else None
    try:
        return given if given is not None else int(text) if text is not None else default
    except ValueError:
        raise ConfigError(f"LLM_PROXY_{name}: {text!r} is no whole number; give one, or leave it out") from None


def strategy_setting(given: str | None) -> LoadBalanceStrategy:
    """Return the strategy by its name, in any case: as given, else of the environment."""
    text = given or from_environment(("LLM_PROXY_LOAD_BALANCE",)) or LoadBalanceStrategy.ROUND_ROBIN
    try:
        return LoadBalanceStrategy(str(text).strip().lower())
    except ValueError:
        names = [strategy.value for strategy in LoadBalanceStrategy]
        raise ConfigError(f"load_balance_strategy: {text!r} is no strategy; {choices(text, names, 'there are {}')}") from None
