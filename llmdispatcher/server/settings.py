"""What ``serve`` is told beside its file: options of its line, then variables of the environment, then the file, then defaults.

The variables are those of the LLM proxy service (``LLM_PROXY_CACHE_SIZE`` and the like), whose tables of vendors are read too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs

from ..cache import ResponseCache
from ..dispatcher import Config, ConfigFile
from ..errors import ConfigError
from ..routing import Balance
from ..runtime import from_environment
from .gateway.caching import apart_by_organization

_MOST_CACHED = 10**7
_MOST_RETRIES = 100
_LONGEST = 10**9
_UNREAD = frozenset({"capabilities", "max_tokens", "context_window", "cost_per_1k_tokens"})
"""Fields of the proxy service's providers that the catalog knows better."""
_WITH_ANY_MODEL = ("azure", "huggingface", "local", "ollama")


@attrs.frozen(kw_only=True)
class ServiceSettings:
    """How the gateway caches, retries and balances; ``None`` is what the file says, or the default."""

    cache_size: int | None = None
    cache_ttl: float | None = None
    max_retries: int | None = None
    load_balance: str | None = None

    @classmethod
    def read(cls, given: ServiceSettings) -> ServiceSettings:
        """What is not given, by the environment. Raises :class:`ConfigError` that names the option, or the variable."""
        size = _number("cache_size", given.cache_size, _MOST_CACHED)
        ttl = _number("cache_ttl", given.cache_ttl, _LONGEST, whole=False)
        retries = _number("max_retries", given.max_retries, _MOST_RETRIES)
        return cls(
            cache_size=None if size is None else int(size),
            cache_ttl=ttl,
            max_retries=None if retries is None else int(retries),
            load_balance=_strategy(given.load_balance),
        )

    def over(self, config: Config, *, said: Mapping[str, Any]) -> Config:
        """The configuration with these settings; ``said`` are the fields that its file has."""
        changes: dict[str, Any] = {}
        if self.max_retries is not None:
            changes["retry_policy"] = attrs.evolve(config.retry_policy, max_retries=self.max_retries)
        if self.load_balance is not None:
            kept = config.balance or Balance()
            changes["balance"] = attrs.evolve(kept, strategy=self.load_balance)
        elif config.balance is None and "balance" not in said:
            changes["balance"] = Balance()
        return apart_by_organization(attrs.evolve(config, cache=self._cache(config.cache), **changes))

    def _cache(self, configured: ResponseCache | None) -> ResponseCache | None:
        if self.cache_size == 0 or self.cache_ttl == 0:
            return None
        if self.cache_size is None and configured is None:
            return None
        changes: dict[str, Any] = {"max_entries": self.cache_size, "ttl": self.cache_ttl}
        return attrs.evolve(configured or ResponseCache(), **{name: value for name, value in changes.items() if value is not None})


def _number(name: str, given: float | None, most: int, *, whole: bool = True) -> float | None:
    variable = f"LLM_PROXY_{name.upper()}"
    text = from_environment((variable,)) if given is None else None
    if given is None and text is None:
        return None
    try:
        value = float(text) if text is not None else float(given or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value <= most or (whole and value != int(value)):
        told = f"{variable}: {text[:40]!r}" if text is not None else f"{name}: {given!r}"
        raise ConfigError(f"{told} is no {'whole number' if whole else 'number of seconds'} from 0 to {most:,}; give one")
    return value


def _strategy(given: str | None) -> str | None:
    text = given or from_environment(("LLM_PROXY_LOAD_BALANCE",))
    if text is None:
        return None
    try:
        Balance(strategy=text)
    except ConfigError as error:
        where = "load_balance" if given else "LLM_PROXY_LOAD_BALANCE"
        raise ConfigError(f"{where}: {error.message.removeprefix('strategy: ')}") from None
    return text


def with_providers(file: ConfigFile) -> ConfigFile:
    """The file with tables of the proxy service's providers (``provider``, ``model_name``, ...) as tables of vendors.

    Their ``weight`` and ``priority`` become those of the balance, where it does not have them.
    """
    found = {name: _vendor(name, table) for name, table in file.vendors.items()}
    shares: dict[str, dict[str, Any]] = {"weights": {}, "priorities": {}}
    for name, table in file.vendors.items():
        for field, share in (("weight", "weights"), ("priority", "priorities")):
            if _is_provider(table) and field in table:
                shares[share][name] = table[field]
    fields = dict(file.fields)
    if any(shares.values()):
        given = fields.get("balance")
        balance = dict(given) if isinstance(given, Mapping) else {"strategy": given} if given is not None else {}
        fields["balance"] = {**{name: value for name, value in shares.items() if value}, **balance}
    return attrs.evolve(file, fields=fields, vendors=found)


def _is_provider(table: Any) -> bool:
    return isinstance(table, Mapping) and ("provider" in table or "model_name" in table)


def _vendor(name: str, table: Any) -> Any:
    if not _is_provider(table):
        return table
    fields = {field: value for field, value in table.items() if field not in _UNREAD and field not in ("weight", "priority")}
    kind = fields.pop("provider", name)
    fields["kind"] = kind.lower() if isinstance(kind, str) else kind
    if (model := fields.pop("model_name", None)) is not None:
        fields["default_model"] = model
        if fields["kind"] in _WITH_ANY_MODEL:
            fields["models"] = [model]
    if (address := fields.pop("api_endpoint", None)) is not None:
        fields["base_url"] = address
    requests, tokens = fields.get("rate_limit"), fields.pop("rate_limit_tpm", None)
    if isinstance(requests, int) or tokens is not None:
        limits = {"requests_per_minute": requests, "tokens_per_minute": tokens}
        fields["rate_limit"] = {unit: limit for unit, limit in limits.items() if limit is not None}
    return fields
