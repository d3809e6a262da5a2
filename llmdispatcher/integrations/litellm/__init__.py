"""LiteLLM's names over a dispatcher, so that existing code changes one line of imports.

```python
from llmdispatcher.integrations import litellm            # was: import litellm

answer = litellm.completion(model="anthropic/claude-haiku-4-5", messages=[{"role": "user", "content": "Why?"}])
print(answer.choices[0].message.content, answer._hidden_params["response_cost"])
```

There are ``completion``, ``text_completion``, ``embedding`` and ``Router`` with what belongs to them: streams, callbacks,
exceptions, prices, budgets, the settings of the module. Any other public name of LiteLLM raises :class:`AttributeError`
(imported by name: ``ImportError``) that says what to use; docs/from-litellm.md has them all. :func:`install` lets
``import litellm`` find this package, for libraries that are built on it; :func:`configure` gives the dispatcher beneath a ledger,
budgets, observers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from llmdispatcher import Config, ConfigError
from llmdispatcher.runtime import SYSTEM_CLOCK, Clock
from llmdispatcher.types import closest_name

from .settings import SETTINGS, WITHOUT_EFFECT

if TYPE_CHECKING:
    from .answers import AnswerMessage as Message
    from .answers import (
        Choices,
        Delta,
        EmbeddingResponse,
        ModelResponse,
        ModelResponseStream,
        StreamingChoices,
        TextChoices,
        TextCompletionResponse,
        stream_chunk_builder,
    )
    from .answers import UsageCounts as Usage
    from .caching import Cache, disable_cache, enable_cache
    from .calls import (
        CustomStreamWrapper,
        batch_completion,
        completion,
        completion_with_retries,
        embedding,
        text_completion,
    )
    from .costs import UserBudgets as BudgetManager
    from .costs import (
        completion_cost,
        cost_per_token,
        get_max_tokens,
        get_model_info,
        get_supported_openai_params,
        register_model,
        token_counter,
        validate_environment,
    )
    from .deployments import AllowedFailsPolicy, Deployment
    from .deployments import RetriesByError as RetryPolicy
    from .events import CustomLogger
    from .router import DeploymentRouter as Router

    def __getattr__(name: str) -> Any: ...


_MODULES: Mapping[str, Mapping[str, str]] = {
    "answers": {
        **dict.fromkeys(("BudgetConfig", "LiteLLM_Params", "ModelInfo"), "Answer"),
        **{name: name for name in ("Choices", "Delta", "EmbeddingResponse", "ModelResponse", "ModelResponseStream")},
        **{name: name for name in ("StreamingChoices", "TextChoices", "TextCompletionResponse", "stream_chunk_builder")},
        "ChatCompletionMessageToolCall": "ToolCallRecord",
        "Function": "FunctionCall",
        "Message": "AnswerMessage",
        "Usage": "UsageCounts",
    },
    "caching": {name: name for name in ("Cache", "disable_cache", "enable_cache", "update_cache")},
    "events": {"CustomLogger": "CustomLogger", "StandardLoggingPayload": "StandardLoggingPayload", "verbose_logger": "logger"},
    "calls": {
        name: name
        for name in (
            *("CustomStreamWrapper", "batch_completion", "completion", "completion_with_retries", "embedding"),
            "text_completion",
        )
    },
    "costs": {
        **{name: name for name in ("completion_cost", "cost_per_token", "get_max_tokens", "get_model_info")},
        **{name: name for name in ("get_supported_openai_params", "register_model", "token_counter", "validate_environment")},
        "BudgetManager": "UserBudgets",
    },
    "exceptions": {
        name: name
        for name in (
            *("APIConnectionError", "APIError", "APIResponseValidationError", "AuthenticationError", "BadGatewayError"),
            *("BadRequestError", "BudgetExceededError", "ContentPolicyViolationError", "ContextWindowExceededError"),
            *("InternalServerError", "InvalidRequestError", "JSONSchemaValidationError", "LiteLLMUnknownProvider"),
            *("MidStreamFallbackError", "MockException", "ModelNotMappedError", "NotFoundError", "OpenAIError"),
            *("PaymentRequiredError", "PermissionDeniedError", "RateLimitError", "RejectedRequestError", "RouterRateLimitError"),
            *("ServiceUnavailableError", "Timeout", "UnprocessableEntityError", "UnsupportedParamsError"),
        )
    },
    "deployments": {
        "AllowedFailsPolicy": "AllowedFailsPolicy",
        "Deployment": "Deployment",
        "RetryPolicy": "RetriesByError",
    },
    "router": {"Router": "DeploymentRouter"},
}
_ABILITIES = (
    *("supports_audio_input", "supports_audio_output", "supports_computer_use", "supports_function_calling"),
    *("supports_parallel_function_calling", "supports_pdf_input", "supports_prompt_caching", "supports_reasoning"),
    *("supports_response_schema", "supports_tool_choice", "supports_vision", "supports_web_search"),
)
_ASYNC = ("acompletion", "acompletion_with_retries", "aembedding", "atext_completion")
_SETTINGS = tuple([field.name for field in attrs.fields(type(SETTINGS)) if field.name not in ("_model_cost", "_custom_prices")])
_PLACES = {name: (module, member) for module, names in _MODULES.items() for name, member in names.items()}
_PATHS = (
    *("_logging", "budget_manager", "caching.caching", "cost_calculator", "integrations", "integrations.custom_logger", "main"),
    *("types", "types.router", "types.utils", "utils"),
)
"""LiteLLM's modules that code imports names from; each has those of the package."""
NAMES = frozenset(
    {
        *_PLACES,
        *_ABILITIES,
        *(name for name in _SETTINGS if not name.startswith("_")),
        *WITHOUT_EFFECT,
        *("caching", "exceptions", "router"),
        *(path for path in _PATHS if "." not in path and path[0] != "_"),
        *("get_llm_provider", "model_cost", "model_list", "provider_list", "models_by_provider"),
    }
)
"""The names of LiteLLM's module that are here."""
_ROUTING = (
    *("default_vendor", "fallback_vendor", "fallback_model", "timeout", "retry_policy", "retry_budget", "routing_rules", "hedge"),
    *("continuation", "balance", "modes", "mode", "pools", "cost_optimization", "latency_optimization", "lockfile", "profile"),
)

__all__ = [
    "AllowedFailsPolicy",
    "BudgetManager",
    "Cache",
    "Choices",
    "CustomLogger",
    "CustomStreamWrapper",
    "Delta",
    "Deployment",
    "EmbeddingResponse",
    "Message",
    "ModelResponse",
    "ModelResponseStream",
    "RetryPolicy",
    "Router",
    "StreamingChoices",
    "TextChoices",
    "TextCompletionResponse",
    "Usage",
    "batch_completion",
    "completion",
    "completion_cost",
    "completion_with_retries",
    "configure",
    "cost_per_token",
    "disable_cache",
    "embedding",
    "enable_cache",
    "get_llm_provider",
    "get_max_tokens",
    "get_model_info",
    "get_supported_openai_params",
    "install",
    "register_model",
    "stream_chunk_builder",
    "text_completion",
    "token_counter",
    "validate_environment",
]


def configure(
    config: Config | Mapping[str, Any] | None = None,
    *,
    observers: Sequence[Any] = (),
    ledger: Any = None,
    clock: Clock = SYSTEM_CLOCK,
    **fields: Any,
) -> None:
    """Make the dispatcher of later calls, and of routers made later, with these settings: ``configure(ledger="calls.db")``.

    ``fields`` are those of :class:`~llmdispatcher.Config`: ``budgets``, ``guards``, ``cache``, ``admission``, ...
    Those that choose a vendor, and timeouts and retries, are LiteLLM's arguments here and raise :class:`ConfigError`. Calls
    under way end.
    """
    made = (
        Config(**fields) if config is None else attrs.evolve(Config(**config) if isinstance(config, Mapping) else config, **fields)
    )
    usual = Config()
    for name in _ROUTING:
        if getattr(made, name) != getattr(usual, name):
            raise ConfigError(
                f"{name}: LiteLLM's arguments decide this here, such as fallbacks, num_retries and timeout; leave it out"
            )
    close()
    settled = import_module(f"{__name__}.providers").Settled(config=made, observers=tuple(observers), ledger=ledger, clock=clock)
    import_module(f"{__name__}.calls").MODULE.settled = settled


def close() -> None:
    """End live calls and close the connections of the calls made here; the next call begins anew."""
    import_module(f"{__name__}.calls").MODULE.close()


def install() -> None:
    """Let ``import litellm`` find this package, in this process, for libraries that are built on LiteLLM.

    Call it before they are imported. Raises :class:`ImportError` where LiteLLM itself has been imported.
    """
    other = sys.modules.get("litellm")
    if other is not None and other is not sys.modules[__name__]:
        raise ImportError("litellm is imported already; call install() first, before what imports it")
    for module in ("exceptions", "router", "caching"):
        import_module(f"{__name__}.{module}")
    own = f"{__name__}."
    shown = (*_PATHS, "caching", "exceptions", "router")
    inner = {path: sys.modules[f"{own}{path}"] for path in shown}
    sys.modules["litellm"] = sys.modules[__name__]
    sys.modules.update({f"litellm.{name}": module for name, module in inner.items()})


def get_llm_provider(
    model: str, custom_llm_provider: str | None = None, api_base: str | None = None, api_key: str | None = None, **_: Any
) -> tuple[str, str, str | None, str | None]:
    """The model's own name, LiteLLM's name of its vendor, and the key and the address that were given."""
    found = import_module(f"{__name__}.providers").target_of(model, custom_llm_provider)
    return found.model, found.provider, api_key, api_base


def _refuse(name: str, *_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError(f"{name}: {_remedy(name)}")


def _remedy(name: str) -> str:
    told: str = import_module(f"{__name__}.absent").remedy(name)
    return told


def _load(name: str) -> Any:
    if name in _PLACES:
        module, member = _PLACES[name]
        return getattr(import_module(f"{__name__}.{module}"), member)
    if name in _ABILITIES:
        return partial(import_module(f"{__name__}.costs").supports, name)
    if name in _ASYNC:
        return partial(_refuse, name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(_not_there(name))


def _not_there(name: str) -> str:
    near = closest_name(name, sorted(NAMES))
    meant = f" (did you mean {near!r}?)" if near else ""
    return f"llmdispatcher.integrations.litellm has no {name!r}{meant}: {_remedy(name)}; docs/from-litellm.md has all names"


class _Package(ModuleType):
    """The module; its settings are attributes that are checked when they are set."""

    def __getattr__(self, name: str) -> Any:
        if name in _SETTINGS:
            return getattr(SETTINGS, name)
        if name in WITHOUT_EFFECT:
            return vars(self).get(f"_{name}")
        listed = _listed(name)
        if listed is not None:
            return listed
        if name.startswith("_"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        try:
            value = _load(name)
        except AttributeError as error:
            if sys._getframe(1).f_globals.get("__name__") == "importlib._bootstrap":  # `from litellm import name`
                raise ImportError(f"{error}", name=self.__name__) from None
            raise
        super().__setattr__(name, value)
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SETTINGS:
            setattr(SETTINGS, name, _checked(name, value))
        elif name in WITHOUT_EFFECT:
            super().__setattr__(f"_{name}", value)
        elif name.startswith("_") or name in NAMES or name in vars(self) or isinstance(value, ModuleType):
            super().__setattr__(name, value)
        else:
            raise AttributeError(_not_there(name))

    def __delattr__(self, name: str) -> None:
        if name in _SETTINGS:
            setattr(SETTINGS, name, getattr(type(SETTINGS)(), name))
        else:
            super().__delattr__(name)

    def __dir__(self) -> list[str]:
        return sorted({*vars(self), *NAMES, *_ASYNC})


def _checked(name: str, value: Any) -> Any:
    """A value of a setting. Raises :class:`ValueError` for callbacks that cannot be."""
    if name.endswith("callback") or name == "callbacks":
        import_module(f"{__name__}.events").check_callbacks(name, value)
        return value if isinstance(value, list) else [] if value is None else [*value] if isinstance(value, tuple) else [value]
    return value


def _listed(name: str) -> Any:
    """The tables of models and vendors; ``None`` for any other name."""
    if name == "model_cost":
        return import_module(f"{__name__}.costs").model_cost()
    if name == "provider_list":
        return list(import_module(f"{__name__}.providers").provider_names())
    if name in ("model_list", "models_by_provider"):
        by_provider: dict[str, list[str]] = {}
        for model, row in import_module(f"{__name__}.costs").model_cost().items():
            if "/" not in model:
                by_provider.setdefault(str(row.get("litellm_provider")), []).append(model)
        return by_provider if name == "models_by_provider" else [model for models in by_provider.values() for model in models]
    return None


def _make_paths(package: ModuleType) -> None:
    """Make the modules of LiteLLM that code imports names from."""
    for path in _PATHS:
        made = ModuleType(f"{__name__}.{path}", f"LiteLLM's ``{path}``: names of :mod:`{__name__}`.")
        vars(made).update(__getattr__=partial(getattr, package), __path__=[], __package__=f"{__name__}.{path}")
        sys.modules[made.__name__] = made
        above, _dot, last = path.rpartition(".")
        if not above:
            vars(package)[last] = made
        elif f"{__name__}.{above}" in sys.modules:
            setattr(sys.modules[f"{__name__}.{above}"], last, made)


sys.modules[__name__].__class__ = _Package
_make_paths(sys.modules[__name__])
