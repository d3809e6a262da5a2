"""LLMRing's databases and its API over a :class:`~llmdispatcher.Ledger`, the catalog and receipts; names are in ``llmring``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from types import SimpleNamespace
from typing import Any, NoReturn, Self

import attrs

import llmdispatcher as ours
from llmdispatcher import ConfigError, Ledger, LedgerCall, LedgerModel, Receipt, Receipts, SigningKey, Usage, UsageStats
from llmdispatcher.runtime import make_data_folder, own_file
from llmdispatcher.types import CostDetails, cost_details

logger = logging.getLogger("llmdispatcher.integrations")

_WORDS: Mapping[str, str] = {"function_calling": "tools", "json_mode": "json_schema", "parallel_tool_calls": "tools"}
"""Capabilities that the catalog has other words for."""
_SETTINGS = frozenset(
    {
        *("temperature", "max_tokens", "top_p", "stream", "stop_sequences", "tools_used", "json_mode", "response_format"),
        *("seed", "tool_choice", "parallel_tool_calls"),
    }
)
"""What llmring writes down of a request."""


@attrs.frozen(kw_only=True)
class LLMModel:
    """A model. Prices are US dollars per million tokens; ``None`` is unknown."""

    provider: str
    model_name: str
    display_name: str | None = None
    description: str | None = None
    max_context: int | None = None
    max_output_tokens: int | None = None
    supports_vision: bool = False
    supports_function_calling: bool = False
    supports_json_mode: bool = False
    supports_parallel_tool_calls: bool = False
    tool_call_format: str | None = None
    dollars_per_million_tokens_input: Decimal | None = None
    dollars_per_million_tokens_output: Decimal | None = None
    inactive_from: date | None = None
    created_at: date | None = None
    updated_at: date | None = None

    @classmethod
    def of(cls, facts: ours.ModelFacts | LedgerModel) -> Self:
        """Return a row of the catalog, or of a database, in llmring's words."""
        price, tools = facts.price, "tools" in facts.capabilities
        return cls(
            provider=facts.vendor,
            model_name=facts.model,
            display_name=facts.model,
            max_context=facts.context_window or None,
            max_output_tokens=facts.max_tokens or None,
            supports_vision="vision" in facts.capabilities,
            supports_function_calling=tools,
            supports_json_mode="json_schema" in facts.capabilities,
            supports_parallel_tool_calls=tools,
            dollars_per_million_tokens_input=price.input if price is not None else None,
            dollars_per_million_tokens_output=price.output if price is not None else None,
            inactive_from=facts.deprecated,
            created_at=facts.released,
        )


def cost_of(known: Usage | None, usage: Mapping[str, Any], model: str) -> CostDetails:
    """Return the cost of a usage of the dispatcher's, else of counts of tokens by the catalog's price.

    Raises :class:`~llmdispatcher.CostUnknown`.
    """
    if known is not None and known.cost_details is not None:
        return known.cost_details
    price = ours.get_model(model).price if known is None else None
    if price is None or not {"prompt_tokens", "completion_tokens"} <= usage.keys():
        why = known.cost_status if known is not None else "no_price" if price is None else "no_usage"
        raise ours.CostUnknown(f"{model}: the cost is not known ({why})", cost_status=why)
    return cost_details(Usage(input_tokens=usage["prompt_tokens"], output_tokens=usage["completion_tokens"]), price)


def _several(words: Iterable[str]) -> list[str]:
    return [words] if isinstance(words, str) else [*words]


class Records:
    """The catalog's models, and the calls of a ledger, which is up to date when it is asked."""

    ledger: Ledger | None = None
    _owns_ledger = _has_tables = _has_models = False

    def list_models(
        self,
        provider: str | None = None,
        active_only: bool = True,
        *,
        providers: Iterable[str] = (),
        capabilities: Iterable[str] = (),
    ) -> list[LLMModel]:
        """Return the models of these vendors, or of all, that have all the capabilities, in llmring's words or the catalog's."""
        words = [_WORDS.get(word, word) for word in _several(capabilities)]
        vendors = [name for name in (provider, *_several(providers)) if name is not None]
        found = [ours.list_models(name, words, active_only=active_only) for name in vendors or (None,)]
        return [LLMModel.of(facts) for several in found for facts in several]

    def get_model(self, model: str) -> LLMModel:
        """Return a model by its name or by ``"provider:model"``. Raises :class:`~llmdispatcher.ModelNotFound`."""
        return LLMModel.of(ours.get_model(model))

    def get_usage_stats(
        self, origin: str | None = None, id_at_origin: str | None = None, days: int = 30, **asked: Any
    ) -> UsageStats:
        """Return the usage, as :meth:`llmdispatcher.Ledger.get_usage_stats` does: ``start_date``, ``end_date``, ``group_by``..."""
        return self._calls("get_usage_stats").get_usage_stats(origin, id_at_origin, days, **asked)

    def list_recent_calls(
        self, origin: str | None = None, id_at_origin: str | None = None, limit: int = 100, offset: int = 0, **asked: Any
    ) -> list[LedgerCall]:
        """Return the latest calls, as :meth:`llmdispatcher.Ledger.list_recent_calls` does."""
        return self._calls("list_recent_calls").list_recent_calls(origin, id_at_origin, limit, offset, **asked)

    get_recent_calls = list_recent_calls

    def export_usage_logs(self, target: Any = None, format: str | None = None, **asked: Any) -> Any:
        """Return the calls as a list of dicts, or write them to a file (:meth:`llmdispatcher.Ledger.export_usage_logs`)."""
        return self._calls("export_usage_logs").export_usage_logs(target, format, **asked)

    def import_usage_logs(self, usage_logs: Any) -> Any:
        """Write down calls that were exported; each is kept once."""
        return self._calls("import_usage_logs").import_usage_logs(usage_logs)

    def close(self) -> None:
        """Close a database that was opened here, and write down what is left for another."""
        if self.ledger is not None and self._owns_ledger:
            self.ledger.close()
        elif self.ledger is not None:
            self.ledger.flush()

    def _calls(self, method: str) -> Ledger:
        if self.ledger is None:
            raise ConfigError(f"{method}: there is no database; give db_connection_string, or use LLMRingSQLite")
        if not self._has_tables:
            self.ledger.migrate()
            self._has_tables = True
        self.ledger.flush()
        return self.ledger


class LLMDatabase(Records):
    """A database by its address, or ``db_manager``, which is used and never closed."""

    def __init__(self, connection_string: str | None = None, db_manager: Ledger | None = None, schema: str | None = None) -> None:
        if db_manager is not None and not isinstance(db_manager, Ledger):
            raise ConfigError(
                f"db_manager: {type(db_manager).__name__} is no database here; give a Ledger, such as AsyncDatabaseManager"
            )
        self._owns_ledger = db_manager is None
        self.ledger = db_manager if db_manager is not None else Ledger(connection_string, schema=schema)

    def initialize(self) -> None:
        """Make the tables, and write the catalog's models into them."""
        self._calls("initialize").refresh_models()
        self._has_models = True

    def list_models(
        self,
        provider: str | None = None,
        active_only: bool = True,
        *,
        providers: Iterable[str] = (),
        capabilities: Iterable[str] = (),
    ) -> list[LLMModel]:
        """Return the models in the database."""
        words = {_WORDS.get(word, word) for word in _several(capabilities)}
        vendors = [name for name in (provider, *_several(providers)) if name is not None]
        found = [self._models("list_models").list_models(name, active_only=active_only) for name in vendors or (None,)]
        return [LLMModel.of(model) for several in found for model in several if words <= model.capabilities]

    def get_model(self, provider: str, model_name: str | None = None) -> LLMModel | None:  # type: ignore[override]  # llmring's own
        """Return a model in the database, or ``None`` for one that is not there."""
        vendor, _, model = provider.partition(":") if model_name is None else (provider, "", model_name)
        found = self._models("get_model").get_model(vendor, model)
        return LLMModel.of(found) if found is not None else None

    def _models(self, method: str) -> Ledger:
        if not self._has_models:
            self.initialize()
        return self._calls(method)

    def record_api_call(
        self,
        *,
        provider: str,
        model_name: str,
        prompt_tokens: int = 0,
        completion_tokens: int = 0,
        response_time_ms: float | None = None,
        estimated_cost: Any = None,
        **facts: Any,
    ) -> str:
        """Write down a call, and return its id; further facts are those of :meth:`llmdispatcher.Ledger.record`.

        A missing cost is computed from the catalog. Settings such as ``temperature`` become metadata; an error's text is not kept.
        """
        latency = response_time_ms / 1000 if response_time_ms is not None else None
        facts.pop("error_message", None)
        known = {"latency": latency, "cost": estimated_cost, "error_class": facts.pop("error_type", None)}
        settings = {name: facts.pop(name) for name in _SETTINGS & facts.keys()}
        known["metadata"] = {**settings, **(facts.pop("metadata", None) or {})}
        tokens = {"input_tokens": prompt_tokens, "output_tokens": completion_tokens}
        return self._calls("record_api_call").record(provider, model_name, **{**known, **tokens, **facts}).id


class SQLiteDatabase(LLMDatabase):
    """A database in a file."""

    def __init__(self, db_path: str = "llmring.db") -> None:
        super().__init__(db_path)


class APIService(Records):
    """The API, in this process: usage in a ledger, models of the catalog, receipts. No address is asked, which the log says.

    The ledger is the user's own, which the command line reads too, or ``db_manager``; ``signing_key`` signs the receipts, by
    default the one of the environment.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        debug: bool = False,
        db_manager: Ledger | None = None,
        signing_key: SigningKey | None = None,
    ) -> None:
        self._owns_ledger, self._key = db_manager is None, signing_key
        self.ledger = db_manager if db_manager is not None else Ledger(own_file("ledger.db") or make_data_folder() / "ledger.db")
        if base_url is not None:
            logger.warning(
                "llmring: no service is asked yet, so nothing is sent to %.200r: usage is kept by %r", base_url, self.ledger
            )

    def get_registry(self, version: str | None = None) -> SimpleNamespace:
        """Return the catalog: ``version`` (YYYY.MM.DD), ``models`` by ``"provider:model"``, ``providers``."""
        today = max([facts.date for facts in ours.list_models()]).replace("-", ".")
        if version not in (None, today):
            raise ConfigError(f"version: there is {today} alone; LLMRing(registry_url=...) has others, by the lockfile's pins")
        models = {f"{model.provider}:{model.model_name}": model for model in self.list_models()}
        providers = {model.provider: {"name": model.provider} for model in models.values()}
        return SimpleNamespace(version=today, models=models, providers=providers)

    def log_usage(
        self, model: str, provider: str, input_tokens: int, output_tokens: int, cached_input_tokens: int = 0, **facts: Any
    ) -> SimpleNamespace:
        """Write down a call at once, and return its ``log_id``, ``cost`` and ``timestamp``.

        Further facts are ``latency_ms``, and those of :meth:`llmdispatcher.Ledger.record`, such as ``cost`` and ``metadata``.
        """
        latency = facts.pop("latency_ms", None)
        facts |= {"latency": latency / 1000} if latency is not None else {}
        tokens = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cache_read_tokens": cached_input_tokens}
        made = self._calls("log_usage").record(provider, model, **{**tokens, **facts})
        return SimpleNamespace(log_id=made.id, cost=made.cost, timestamp=made.begun_at)

    def create_receipt(self, model: str, input_tokens: int, output_tokens: int, cost: Any = None) -> Receipt:
        """Write down a call that was made elsewhere, and sign a receipt of it: ``.id``, ``.signature``."""
        return self._receipts().create_receipt(model, input_tokens, output_tokens, cost)

    def get_receipt(self, receipt_id: str) -> Receipt | None:
        """Return a receipt by its id."""
        return self._receipts().get(receipt_id)

    def register_webhook(self, url: str, events: Iterable[str] = ()) -> NoReturn:
        """Raise: nobody is told of models from here."""
        raise ConfigError("register_webhook: there is no service that would call it; see Registry(...).changelog(vendor)")

    def _receipts(self) -> Receipts:
        return Receipts(self._calls("create_receipt"), self._key if self._key is not None else SigningKey.from_environment())
