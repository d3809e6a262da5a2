"""The LLM proxy service's names over a dispatcher: its programs change their import lines, and lose ``async`` and ``await``.

```python
from llmdispatcher.integrations.llm_proxy import LLMProxyService, create_chat_request      # was: from llm_proxy_service import ...

service = LLMProxyService(cache_size=500)
service.start()
print(service.generate_completion(create_chat_request([{"role": "user", "content": "Why?"}], model="gpt-4o-mini")).content)
service.stop()
```

It is called in process; run as a program it is the gateway, as ``llmdispatcher serve`` is. Its providers are those that are
registered, and the vendors of the environment whose names are free at the first request.
"""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from typing import Any

import attrs

import llmdispatcher as ours
from llmdispatcher import BalanceContext, ConfigError, Dispatcher, Request, StreamChunk, StreamingResponse, Vendor
from llmdispatcher import DispatchError as LLMProxyError
from llmdispatcher.catalog import Target
from llmdispatcher.integrations.llm_proxy_types import (
    AnthropicProvider,
    LLMProvider,
    LLMProviderBase,
    LLMRequest,
    LLMResponse,
    LoadBalanceStrategy,
    MockProvider,
    ModelCapability,
    ModelConfig,
    OpenAIProvider,
    create_chat_request,
    create_completion_request,
    create_function_call_request,
    number_setting,
    strategy_setting,
)
from llmdispatcher.runtime import new_lock
from llmdispatcher.types import choices, suggest
from llmdispatcher.vendors import from_environment as vendors_of_environment

__all__ = ["AnthropicProvider", "LLMProvider", "LLMProviderBase", "LLMProxyError", "LLMProxyService", "LLMRequest", "LLMResponse"]
__all__ += ["LoadBalanceStrategy", "MockProvider", "ModelCapability", "ModelConfig", "OpenAIProvider", "create_chat_request"]
__all__ += ["create_completion_request", "create_function_call_request", "get_llm_service"]

_USUAL_OUTPUT = 500
"""Tokens of an answer, for estimates, where a request has no ``max_tokens``."""


@suggest
class LLMProxyService:
    """The service. What is not given is read from ``LLM_PROXY_CACHE_SIZE``, ``_CACHE_TTL``, ``_MAX_RETRIES`` and ``_LOAD_BALANCE``.

    By default a thousand answers are kept for an hour, of requests at any temperature; a size or time of 0 keeps none. The
    strategy says who is asked first, ``priority`` who comes next; without ``enable_failover`` nobody does.
    """

    def __init__(
        self,
        cache_size: int | None = None,
        cache_ttl: float | None = None,
        load_balance_strategy: str | None = None,
        enable_failover: bool = True,
        max_retries: int | None = None,
    ) -> None:
        size, ttl = number_setting("CACHE_SIZE", cache_size, 1000), number_setting("CACHE_TTL", cache_ttl, 3600)
        self.strategy = strategy_setting(load_balance_strategy)
        self.enable_failover = enable_failover
        self.running = self._has_searched = False
        self._configs: dict[str, ModelConfig] = {}
        self._lock = new_lock()
        kept = ours.ResponseCache(
            enabled=size > 0 and ttl > 0, max_entries=size or 1, ttl=ttl or 1, max_temperature=None, tools=True
        )
        retries = {"max_retries": number_setting("MAX_RETRIES", max_retries, 3)}
        self._config = ours.Config(cache=kept, balance=self._order, retry_policy=retries)
        self._dispatchers = [Dispatcher(self._config)]

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher, with the vendors of the environment."""
        with self._lock:
            made = self._dispatchers[-1]
            for vendor in () if self._has_searched else vendors_of_environment():
                if made.get_vendor(vendor.name) is None:
                    made.register_vendor(vendor)
            self._has_searched = True
            return made

    @property
    def response_cache(self) -> Any:
        """The answers that are kept: ``clear()``, ``stats()``."""
        return self._dispatchers[-1].cache

    def start(self) -> None:
        """Tell that the service runs; idempotent."""
        self.running = True

    def stop(self) -> None:
        """End calls and close connections; the service is of no use afterwards."""
        self.running = False
        for made in self._dispatchers:
            made.close()

    def register_provider(self, name: str, provider: LLMProviderBase | Vendor) -> None:
        """Add a provider, or put it in the place of the one of that name; a request with its name as the model is for it alone."""
        vendor = provider.to_vendor(name) if isinstance(provider, LLMProviderBase) else provider
        own = getattr(vendor, "name", None)
        if own != name:
            told = f"its name is {own!r}, and not {name!r}" if own is not None else f"{type(provider).__name__} is no provider"
            raise ConfigError(f"provider: {told}; give OpenAIProvider(ModelConfig(...)), or a vendor of that name")
        with self._lock:
            made = self._dispatchers[-1]
            taken = made.get_vendor(name)
            if taken is not None:  # calls under way end in the dispatcher that they began in
                others = [made.get_vendor(there) for there in made.get_vendors()]
                self.response_cache.clear()  # nobody reads it any more
                self._dispatchers.append(made := Dispatcher(self._config))
                for other in others:
                    if other is not None and other is not taken:
                        made.register_vendor(other)
            made.register_vendor(vendor)
            self._configs.pop(name, None)
            if isinstance(provider, LLMProviderBase):
                self._configs[name] = provider.config

    def generate_completion(self, request: LLMRequest) -> LLMResponse:
        """Answer a request. Raises :class:`LLMProxyError`, which is :class:`~llmdispatcher.DispatchError`."""
        pinned, asked = self._read(request)
        made = self.dispatcher.send(asked) if pinned is None else self.dispatcher.send_to_vendor(pinned, asked)
        return LLMResponse.of(made, request.id)

    def generate_streaming_completion(self, request: LLMRequest) -> Iterator[StreamChunk]:
        """Answer a request in chunks: ``chunk.content``."""
        pinned, asked = self._read(request)
        ask = self.dispatcher
        return _chunks(ask.send_streaming(asked) if pinned is None else ask.send_streaming_to_vendor(pinned, asked))

    def list_providers(self) -> list[str]:
        """Return the names of the providers."""
        return self.dispatcher.get_vendors()

    def is_provider_available(self, name: str) -> bool:
        """Tell whether a provider is there, and has what it needs to be asked; asks nobody."""
        vendor = self.dispatcher.get_vendor(name)
        return vendor is not None and vendor.is_available()

    def get_rate_limit_status(self, name: str) -> dict[str, Any]:
        """Return ``remaining`` and ``limit`` of the requests in this minute, ``None`` without a limit, and ``reset`` in seconds."""
        status = self.dispatcher.get_rate_limit_status(name)
        return {"remaining": status.requests_remaining, "limit": status.requests_limit, "reset": status.reset}

    def get_provider_metrics(self, name: str) -> dict[str, Any]:
        """Return a provider's requests, their latency (seconds), errors (0 to 1), tokens and cost (US dollars)."""
        if name not in self.list_providers():
            raise ConfigError(f"name: {name!r} is no provider; {choices(name, self.list_providers(), 'there are {}')}")
        each = [stats for made in self._dispatchers if (stats := made.get_stats().vendor_stats.get(name)) is not None]
        count, good = sum([stats.requests for stats in each]), sum([stats.successes for stats in each])
        return {
            "request_count": count,
            "avg_latency": sum([stats.average_latency * stats.successes for stats in each]) / good if good else 0.0,
            "error_rate": sum([stats.failures for stats in each]) / count if count else 0.0,
            "total_tokens": sum([stats.input_tokens + stats.output_tokens for stats in each]),
            "total_cost": float(sum([stats.total_cost for stats in each])),
        }

    def get_service_stats(self) -> dict[str, Any]:
        """Return the counts of all requests; ``total_cost`` is US dollars."""
        each = [made.get_stats() for made in self._dispatchers]
        counts = ("total_requests", "successful_requests", "failed_requests", "cache_hits")
        told: dict[str, Any] = {name: sum([getattr(stats, name) for stats in each]) for name in counts}
        told["cache_hit_ratio"] = told["cache_hits"] / told["total_requests"] if told["total_requests"] else 0.0
        told |= {"total_cost": float(sum([stats.total_cost for stats in each])), "active_providers": len(self.list_providers())}
        return {"running": self.running, "load_balance_strategy": self.strategy.value, **told}

    def health_check(self) -> dict[str, Any]:
        """Ask the providers how they are, without a cost: ``status``, and one for each of ``providers``.

        That is "healthy", "available", "rate_limited" or "error", whose reason is in ``details``; of the service "healthy",
        "degraded", "unhealthy" or "stopped".
        """
        told = self.dispatcher.health_check() if self.running else {}
        states = {name: state.status if state.status in _GOOD else "error" for name, state in told.items()}
        good = [state in _GOOD for state in states.values()]
        status = "degraded" if any(good) else "unhealthy"
        if not self.running:
            status = "stopped"
        elif good and all(good):
            status = "healthy"
        details = {name: f"{state.status}: {state.detail}" if state.detail else state.status for name, state in told.items()}
        return {"status": status, "running": self.running, "providers": states, "details": details}

    def _read(self, request: LLMRequest) -> tuple[str | None, Request]:
        """Who alone is asked, and what."""
        if not isinstance(request, LLMRequest):
            raise ours.InvalidRequest(f"request: {type(request).__name__} is not an LLMRequest; use create_chat_request()")
        asked, config = request.to_request(), self._configs.get(request.model)
        if config is not None:
            return request.model, attrs.evolve(asked, model=config.model_name)
        return request.provider, asked

    def _order(self, now: BalanceContext) -> list[Target]:
        tokens = sum([len(message.text) for message in now.request.messages]) / 4 + (now.request.max_tokens or _USUAL_OUTPUT)
        estimated = now.dollars

        def of(target: Target, field: str, default: Any) -> Any:
            value = getattr(self._configs.get(target.vendor), field, None)
            return default if value is None else value

        def dollars(target: Target) -> float | None:
            per_thousand = of(target, "cost_per_1k_tokens", None)
            return estimated(target) if per_thousand is None else per_thousand * tokens / 1000

        is_weighted = self.strategy is LoadBalanceStrategy.WEIGHTED
        now = attrs.evolve(now, weight=lambda target: of(target, "weight", 1.0) if is_weighted else 1.0, dollars=dollars)
        first, *others = ours.Balance(strategy=self.strategy.value).strategy(now)
        return [first, *sorted(others, key=lambda target: of(target, "priority", 1))] if self.enable_failover else [first]


_GOOD = ("healthy", "available", "rate_limited")
_service: LLMProxyService | None = None
_service_lock = new_lock()


def get_llm_service() -> LLMProxyService:
    """Return the service of this process, which runs."""
    global _service
    with _service_lock:
        if _service is None or not _service.running:
            _service = LLMProxyService()
            _service.start()
        return _service


def _chunks(stream: StreamingResponse) -> Iterator[StreamChunk]:
    with stream:
        yield from stream


if __name__ == "__main__":
    runpy.run_module("llmdispatcher.server", run_name="__main__")
