"""From LiteLLM's ``vendor/model``, keys and addresses to vendors of a dispatcher."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

import attrs

from llmdispatcher import (
    Config,
    Dispatcher,
    HttpVendor,
    RateLimit,
    RetryPolicy,
)
from llmdispatcher.catalog import owner, vendor_row, vendor_rows
from llmdispatcher.runtime import SYSTEM_CLOCK, Clock, from_environment, new_lock

from .exceptions import exception_class
from .settings import SETTINGS

_ROWS: Mapping[str, str] = {
    "azure_text": "azure",
    "custom_openai": "local",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "hosted_vllm": "vllm",
    "litellm_proxy": "local",
    "lm_studio": "lmstudio",
    "nvidia_nim": "nvidia",
    "ollama_chat": "ollama",
    "openai_like": "local",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "vertex",
    "vertex_ai_beta": "vertex",
}
"""The row of the catalog for LiteLLM's name of a vendor, where that is another."""
_NAMES: Mapping[str, str] = {
    "fireworks": "fireworks_ai",
    "google": "gemini",
    "lmstudio": "lm_studio",
    "nvidia": "nvidia_nim",
    "together": "together_ai",
    "vertex": "vertex_ai",
    "vllm": "hosted_vllm",
}
"""LiteLLM's name for a row of the catalog, where that is another."""
_KEYS: Mapping[str, tuple[str, ...]] = {
    "azure": ("AZURE_API_KEY",),
    "fireworks": ("FIREWORKS_AI_API_KEY",),
    "huggingface": ("HUGGINGFACE_API_KEY",),
    "local": ("OPENAI_LIKE_API_KEY", "LITELLM_PROXY_API_KEY"),
    "nvidia": ("NVIDIA_NIM_API_KEY",),
    "perplexity": ("PERPLEXITYAI_API_KEY",),
    "together": ("TOGETHERAI_API_KEY", "TOGETHER_AI_API_KEY"),
    "vllm": ("HOSTED_VLLM_API_KEY",),
    "lmstudio": ("LM_STUDIO_API_KEY",),
}
_ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_BASE",),
    "azure": ("AZURE_API_BASE",),
    "deepseek": ("DEEPSEEK_API_BASE",),
    "google": ("GEMINI_API_BASE",),
    "groq": ("GROQ_API_BASE",),
    "lmstudio": ("LM_STUDIO_API_BASE",),
    "local": ("OPENAI_LIKE_API_BASE", "LITELLM_PROXY_API_BASE"),
    "mistral": ("MISTRAL_API_BASE",),
    "ollama": ("OLLAMA_API_BASE",),
    "openai": ("OPENAI_API_BASE",),
    "openrouter": ("OPENROUTER_API_BASE",),
    "together": ("TOGETHER_AI_API_BASE",),
    "vllm": ("HOSTED_VLLM_API_BASE",),
}
"""Variables that LiteLLM reads, beside those of the catalog."""
_MODULE_KEYS: Mapping[str, str] = {"togetherai_api_key": "together"}
_ENVIRONMENT = "os.environ/"
_MOST = 1000
"""Vendors of one dispatcher; with more keys and addresses than that a new one begins."""


def provider_names() -> tuple[str, ...]:
    """LiteLLM's names of the vendors that the catalog has."""
    return tuple(sorted({*_ROWS, *(litellm_name(row.name) for row in vendor_rows())}))


def litellm_name(row: str) -> str:
    """What LiteLLM calls a vendor of the catalog."""
    return _NAMES.get(row, row)


@attrs.frozen
class ProviderModel:
    """A vendor and its model: LiteLLM's name of the vendor, the catalog's, and the model's own name."""

    provider: str
    row: str
    model: str


def target_of(model: Any, provider: Any = None) -> ProviderModel:
    """Read ``vendor/model``, a bare name whose vendor the catalog knows, or a model of ``provider`` (``custom_llm_provider``).

    Raises ``BadRequestError`` for any other name.
    """
    if not isinstance(model, str) or not model.strip():
        raise exception_class("BadRequestError")(f"model: {model!r} names no model; give 'vendor/model'", str(model), None)
    if provider is not None and not isinstance(provider, str):
        told = f"custom_llm_provider: {type(provider).__name__} is no vendor's name; give a text such as 'openai'"
        raise exception_class("BadRequestError")(told, model, None)
    model = SETTINGS.model_alias_map.get(model, model).strip()
    head, slash, tail = model.partition("/")
    if provider is not None:
        found = vendor_row(_ROWS.get(provider, provider))
        bare = tail if slash and head == provider else model
    else:
        found, bare = vendor_row(_ROWS.get(head, head)) if slash and tail else None, tail
        if found is None:
            found, bare = vendor_row(owner(model) or ""), model
    if found is None:
        told = f"custom_llm_provider {provider!r} is not known" if provider is not None else f"no vendor is known to have {model!r}"
        raise exception_class("BadRequestError")(
            f"LLM Provider NOT provided. {told}; give 'vendor/model' with one of {', '.join(provider_names())}; for a server of"
            " OpenAI's format 'openai/model' and api_base=...",
            model,
            provider,
        )
    return ProviderModel(provider or (head if slash and bare == tail else litellm_name(found.name)), found.name, bare)


@attrs.frozen
class Place:
    """Where a target is reached; two calls with the same place share its connections and limits."""

    row: str
    deployment: str = ""
    api_key: Any = attrs.field(default=None, repr=False)
    base_url: str | None = None
    api_version: str | None = None
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), repr=False)
    limit: RateLimit | None = attrs.field(default=None, hash=False)


def place_of(target: ProviderModel, settings: Mapping[str, Any], *, deployment: str = "") -> Place:
    """Where a target is reached by the arguments of a call or a deployment, else by the module's settings and the environment.

    Each deployment of a router is a vendor of its own, with its own limits.
    """
    row = target.row
    given = {
        field: _value(field, settings.get(field)) for field in ("api_key", "api_base", "base_url", "api_version", "organization")
    }
    key = given["api_key"] or _module_key(target) or from_environment(_KEYS.get(row, ()))
    base = given["api_base"] or given["base_url"] or SETTINGS.api_base or from_environment(_ADDRESSES.get(row, ()))
    version = given["api_version"] or SETTINGS.api_version or (from_environment(("AZURE_API_VERSION",)) if row == "azure" else None)
    headers = {**(SETTINGS.headers or {}), **(settings.get("deployment_headers") or {})}
    organization = given["organization"] or SETTINGS.organization
    if organization and row == "openai":
        headers["OpenAI-Organization"] = organization
    return Place(
        row,
        deployment,
        key or None,
        base or None,
        version if row == "azure" else None,
        tuple(sorted((str(head), str(text)) for head, text in headers.items())),
        limit_of(settings) if deployment else None,
    )


def limit_of(settings: Mapping[str, Any]) -> RateLimit | None:
    """The limits of a deployment; ``None`` where it has none."""
    fields = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "max_in_flight": "max_parallel_requests"}
    given: dict[str, Any] = {ours: int(settings[theirs]) for ours, theirs in fields.items() if settings.get(theirs)}
    return RateLimit(**given) if given else None


def _value(field: str, value: Any) -> str | None:
    """A setting, read from the environment where it says ``os.environ/NAME``, as those of LiteLLM's configurations do."""
    if isinstance(value, str) and value.startswith(_ENVIRONMENT):
        variable = value.removeprefix(_ENVIRONMENT)
        found = from_environment((variable,))
        if found is None:
            raise exception_class("AuthenticationError")(f"{field}: the variable {variable} is not set; set it, or write the value")
        return found
    if value is not None and not isinstance(value, str):
        raise exception_class("BadRequestError")(f"{field}: {type(value).__name__} is no text; give a string", None, None)
    return value


def _module_key(target: ProviderModel) -> str | None:
    own = next((name for name, row in _MODULE_KEYS.items() if row == target.row), f"{target.row}_key")
    found: str | None = getattr(SETTINGS, own, None) or SETTINGS.api_key
    return found


@attrs.define
class Settled:
    """What the dispatchers made here are made with; :func:`~llmdispatcher.integrations.litellm.configure` sets it."""

    config: Config = attrs.field(factory=Config)
    observers: tuple[Any, ...] = ()
    ledger: Any = None
    clock: Clock = SYSTEM_CLOCK


class Endpoints:
    """The vendors that calls need, each registered with a dispatcher when it is first needed; safe under threads.

    An attempt asks one vendor once: who is asked next is decided above, as LiteLLM does. So the dispatcher's own retries are off.
    """

    def __init__(self, settled: Settled | None = None) -> None:
        self.settled = settled or Settled()
        self._lock = new_lock()
        self._dispatcher: Dispatcher | None = None
        self._earlier: list[Dispatcher] = []
        self._vendors: dict[Place, HttpVendor] = {}

    @property
    def clock(self) -> Clock:
        """The clock of the dispatcher and of all that waits here."""
        return self.settled.clock

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher that calls go through now."""
        with self._lock:
            return self._current()

    def find(self, place: Place) -> tuple[Dispatcher, HttpVendor]:
        """Return the vendor of a place and the dispatcher that has it. Raises :class:`ConfigError` for a bad address."""
        with self._lock:
            found = self._vendors.get(place)
            if found is None:
                if len(self._vendors) >= _MOST:
                    self._begin_anew()
                dispatcher = self._current()
                found = _vendor(place, dispatcher)
                dispatcher.register_vendor(found)
                self._vendors[place] = found
            return self._current(), found

    def close(self) -> None:
        """End live calls and close connections; the next call makes a new dispatcher."""
        with self._lock:
            closing = [*self._earlier, *([self._dispatcher] if self._dispatcher is not None else [])]
            self._dispatcher, self._earlier, self._vendors = None, [], {}
        for dispatcher in closing:
            dispatcher.close()

    def _current(self) -> Dispatcher:
        if self._dispatcher is None:
            settled = self.settled
            config = attrs.evolve(
                settled.config,
                timeout=None,  # each call says its own
                retry_policy=RetryPolicy(max_retries=0),
            )
            self._dispatcher = Dispatcher(config, observers=settled.observers, ledger=settled.ledger, clock=settled.clock)
        return self._dispatcher

    def _begin_anew(self) -> None:
        """Keep the dispatcher for the calls that it has, and close earlier ones that have none."""
        for dispatcher in [one for one in self._earlier if not one.get_stats().running_requests]:
            self._earlier.remove(dispatcher)
            dispatcher.close()
        if self._dispatcher is not None:
            self._earlier.append(self._dispatcher)
        self._dispatcher, self._vendors = None, {}


def _short(deployment: str) -> str:
    """The id of a deployment in the name of its vendor, the same in all processes: limits are counted by that name."""
    return deployment if _PLAIN.fullmatch(deployment) else hashlib.sha256(deployment.encode()).hexdigest()[:12]


_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,39}")


def _vendor(place: Place, dispatcher: Dispatcher) -> HttpVendor:
    taken = dispatcher.get_vendors()
    name = f"{place.row}-{_short(place.deployment)}" if place.deployment else place.row
    if name in taken:
        name = f"{name}-{len(taken) + 1}"
    settings: dict[str, Any] = {"rate_limit": place.limit, "api_version": place.api_version, "headers": dict(place.headers)}
    if place.base_url is not None and place.row == "openai":
        settings["api"] = "chat"  # which is what servers of OpenAI's format have
    return HttpVendor(kind=place.row, name=name, api_key=place.api_key, base_url=place.base_url, **settings)
