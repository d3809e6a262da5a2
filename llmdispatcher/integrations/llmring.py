"""LLMRing's names over a dispatcher: its programs change their import lines, and lose ``async`` and ``await``.

```python
from llmdispatcher.integrations.llmring import LLMRequest, LLMRing, Message      # was: from llmring.service, .schemas import ...

with LLMRing(origin="myapp") as service:
    print(service.chat(LLMRequest(model="fast", messages=[Message(role="user", content="Why?")])).content)
```

What llmring has in several modules is all here. A database is a :class:`~llmdispatcher.Ledger`, a model is a row of the catalog.
:class:`APIService` works in this process, over a ledger. What is not here is told by its name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Self

import attrs

import llmdispatcher as ours
from llmdispatcher import AuthenticationError as ProviderAuthenticationError
from llmdispatcher import CircuitOpen as CircuitBreakerError
from llmdispatcher import ConfigError, Dispatcher, DispatchError, Ledger, Message, Request, Response, StreamChunk, UsageStats
from llmdispatcher import ModelNotFound as ModelNotFoundError
from llmdispatcher import RateLimitError as ProviderRateLimitError
from llmdispatcher import VendorUnavailable as APINetworkError
from llmdispatcher.integrations.errors import Shape, cause_of, errors_shaped
from llmdispatcher.integrations.llmring_database import APIService, LLMDatabase, LLMModel, Records, SQLiteDatabase, cost_of
from llmdispatcher.integrations.usage import UsageRecord
from llmdispatcher.runtime import from_environment
from llmdispatcher.types import Part, suggest

__all__ = ["APIAuthenticationError", "APINetworkError", "APIRateLimitError", "APIService", "AsyncDatabaseManager"]
__all__ += ["CircuitBreakerError", "LLMDatabase", "LLMModel", "LLMRequest", "LLMResponse", "LLMRing", "LLMRingSQLite", "Message"]
__all__ += ["ModelNotFoundError", "ProviderAuthenticationError", "ProviderRateLimitError", "ProviderResponseError"]
__all__ += ["SQLiteDatabase", "StreamChunk", "UsageStats", "analyze_file", "analyze_image"]

APIAuthenticationError = ProviderAuthenticationError
AsyncDatabaseManager = Ledger
"""A place that several share, such as ``AsyncDatabaseManager("postgresql://...", schema="llmring")``."""


class ProviderResponseError(DispatchError):
    """A vendor's failure without a class of its own in llmring: a refusal, a 5xx, an answer that cannot be read."""


class APIRateLimitError(ProviderRateLimitError):
    """Too many calls of the API; never raised in process."""

    reset_time: Any = None


_NAMED = (ProviderAuthenticationError, ProviderRateLimitError, ModelNotFoundError, CircuitBreakerError)
_OWN = (ours.DeadlineExceeded, ours.Cancelled, ConfigError)


def _shape_of(error: DispatchError) -> Shape | None:
    """A vendor's failure is of one of llmring's classes; that of several targets is as the last of them."""
    cause = cause_of(error)
    if cause.vendor is None or isinstance(cause, _OWN):
        return None
    return (next((kind for kind in _NAMED if isinstance(cause, kind)), ProviderResponseError),), {}


_errors = partial(errors_shaped, _shape_of)


def _fields(value: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {} if value is None else value


@suggest
@attrs.frozen(slots=False)
class LLMRequest(Request):
    """A :class:`~llmdispatcher.Request` that says whether it is streamed.

    ``cache`` (``{"enabled": True, "ttl_seconds": 600}``) holds for temperatures up to 0.1; without it nothing is cached.
    """

    metadata: Mapping[str, Any] = attrs.field(default=None, kw_only=True, converter=_fields)
    extra_params: Mapping[str, Any] = attrs.field(default=None, kw_only=True, converter=_fields)
    stream: bool = attrs.field(default=False, kw_only=True)
    json_response: bool | None = attrs.field(default=None, kw_only=True)

    def to_request(self, origin: str | None, id_at_origin: str | None) -> Request:
        """Return the request that the dispatcher is sent."""
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(Request)}
        cold = self.temperature is not None and self.temperature <= 0.1
        fields |= {"origin": self.origin or origin, "id_at_origin": self.id_at_origin or id_at_origin}
        fields["cache"] = self.cache if self.cache and cold else False
        if self.json_response and self.response_format is None:
            fields["response_format"] = {"type": "json_object"}
        return Request(**fields)


@attrs.frozen(kw_only=True)
class LLMResponse:
    """An answer; ``response`` is the library's own, with what it knows beyond this."""

    content: str
    model: str
    usage: Mapping[str, Any]
    finish_reason: str | None
    tool_calls: list[dict[str, Any]] | None = None
    response: Response | None = attrs.field(default=None, repr=False)

    @classmethod
    def of(cls, response: Response) -> Self:
        """Return the library's response in llmring's words."""
        called = [(call.id, {"name": call.name, "arguments": call.arguments}) for call in response.tool_calls]
        return cls(
            content=response.content,
            model=response.model,
            usage=UsageRecord.of(response.usage),
            finish_reason=response.finish_reason,
            tool_calls=[{"id": name, "type": "function", "function": function} for name, function in called] or None,
            response=response,
        )


@suggest
class LLMRing(Records):
    """The service: a dispatcher with the vendors of the environment and the lockfile that holds, or ``dispatcher`` as it is.

    Calls are written down where a database is named: by ``db_connection_string``, ``db_manager`` (used, never closed),
    ``api_service``, or ``api_url`` and ``use_local_db`` (see :class:`APIService`). ``origin`` is told of each call.
    """

    def __init__(  # noqa: PLR0913 - llmring's settings, all by keyword
        self,
        *,
        origin: str = "llmring",
        registry_url: str | None = None,
        lockfile_path: str | None = None,
        db_connection_string: str | None = None,
        db_manager: Ledger | None = None,
        enable_db_logging: bool = True,
        api_url: str | None = None,
        api_key: str | None = None,
        api_service: APIService | None = None,
        use_local_db: bool = False,
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self.origin = origin
        places = {
            "db_connection_string": db_connection_string,
            "db_manager": db_manager,
            "api_url": api_url,
            "api_service": api_service,
        }
        others = {"lockfile_path": lockfile_path, "registry_url": registry_url} if dispatcher is not None else {}
        given = [name for name, value in {**others, **places, "use_local_db": use_local_db or None}.items() if value is not None]
        if len(given) > (dispatcher is None):
            beside = "the dispatcher has them already" if dispatcher is not None else "give one of them"
            raise ConfigError(f"{', '.join(given)}: {beside}")
        api_url = api_url or (from_environment(("LLMRING_API_URL",)) if dispatcher is None and not given else None)
        if enable_db_logging and (api_service is not None or api_url or use_local_db):
            self._owns_ledger = api_service is None
            self.ledger = (api_service or APIService(api_url, api_key)).ledger
        elif enable_db_logging and (db_manager is not None or db_connection_string):
            self._owns_ledger = db_manager is None
            self.ledger = LLMDatabase(db_connection_string, db_manager).ledger
        elif dispatcher is not None and isinstance(dispatcher.ledger, Ledger):
            self.ledger = dispatcher.ledger
        self._owns_dispatcher = dispatcher is None
        path = self.ledger.address.path if self.ledger is not None else None
        store = f"{path}.answers" if path is not None else db_connection_string  # for requests that ask for a cache
        cache = ours.ResponseCache(store=store) if store is not None and enable_db_logging else None
        config = ours.Config(lockfile=lockfile_path or True, registry=registry_url, cache=cache)
        self.dispatcher = dispatcher or Dispatcher.from_env(config, ledger=self.ledger)

    def chat(self, request: LLMRequest, id_at_origin: str | None = None) -> LLMResponse | Iterator[StreamChunk]:
        """Answer a request: whole, or with ``stream=True`` in chunks (``.delta``; the last has the usage)."""
        if not isinstance(request, LLMRequest):
            raise ours.InvalidRequest(
                f"request: {type(request).__name__} is not an LLMRequest; make one, or call complete(model=...)"
            )
        asked = request.to_request(self.origin, id_at_origin)
        with _errors():
            if request.stream:
                return _chunks(self.dispatcher.send_streaming(asked))
            return LLMResponse.of(self.dispatcher.send(asked))

    def complete(self, *, id_at_origin: str | None = None, **fields: Any) -> LLMResponse | Iterator[StreamChunk]:
        """Answer a request by its fields, those of :class:`LLMRequest`."""
        return self.chat(LLMRequest(**fields), id_at_origin)

    complete_async = complete

    def get_provider(self, name: str) -> ours.Vendor:
        """Return a vendor. Raises :class:`ConfigError` for one that is not registered."""
        found = self.dispatcher.get_vendor(name)
        if found is None:
            there = ", ".join(self.dispatcher.get_vendors()) or "none; set a key, such as OPENAI_API_KEY"
            raise ConfigError(f"name: {name!r} is no provider here; there are {there}")
        return found

    def resolve_alias(self, alias: str, profile: str | None = None) -> str:
        """Return the first ``"provider:model"`` that can be asked under a name."""
        with _errors():
            return self.dispatcher.resolve_alias(alias, profile)

    def calculate_cost(self, response: LLMResponse) -> dict[str, float]:
        """Return US dollars: ``input_cost`` and ``output_cost``, their parts, and ``total_cost``.

        Raises :class:`~llmdispatcher.CostUnknown` where nobody knows.
        """
        own = response.response.usage if response.response is not None else None
        details = cost_of(own, response.usage, response.model)
        into = {f"{name}_cost": details[name] for name in ("cache_read", "cache_write", "cache_write_long")}
        total = {"input_cost": details.input + sum(into.values()), "output_cost": details.output + details.reasoning, **into}
        total |= {"reasoning_cost": details.reasoning, "total_cost": details.total}
        return {name: float(amount) for name, amount in total.items()}

    def close(self) -> None:
        """Close what was made here."""
        if self._owns_dispatcher:
            self.dispatcher.close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class LLMRingSQLite(LLMRing):
    """The service with its calls in a file."""

    def __init__(self, db_path: str = "llmring.db", origin: str = "llmring", **settings: Any) -> None:
        super().__init__(db_connection_string=db_path, origin=origin, **settings)


def _chunks(stream: ours.StreamingResponse) -> Iterator[StreamChunk]:
    with _errors(), stream:
        yield from stream


def analyze_image(file_path: str, prompt: str) -> list[Part]:
    """Return the content of a message that asks about an image."""
    return [*ours.analyze_image(file_path, prompt)]


def analyze_file(file_path: str, prompt: str) -> list[Part]:
    """Return the content of a message that asks about a file of any kind."""
    return [*ours.analyze_file(file_path, prompt)]
