"""The deployments of a router: entries of a model list with how they have done, and LiteLLM's policies."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from llmdispatcher import DispatchError
from llmdispatcher.runtime import Clock
from llmdispatcher.types import Secret

from .answers import Answer
from .costs import check_prices, get_model_info
from .exceptions import exception_class
from .providers import litellm_name, target_of

MINUTE = 60.0
_REMEMBERED = 10
_PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class _Policy(Answer):
    """How often, by the kind of the failure; a field is named as LiteLLM names it, such as ``RateLimitErrorRetries``."""

    _suffix = ""

    def __init__(self, **numbers: int | None) -> None:
        known = [f"{kind}{self._suffix}" for kind in _KINDS]
        for name in numbers:
            if name not in known:
                raise ValueError(f"{type(self).__name__}: {name!r} is not there; it has {', '.join(known)}")
        super().__init__(**{name: numbers.get(name) for name in known})

    def number_for(self, error: BaseException) -> Any:
        """The number for a failure; ``None`` where the policy says nothing of it."""
        for kind, name in _KINDS.items():
            number: int | None = self[f"{kind}{self._suffix}"]
            if number is not None and isinstance(error, exception_class(name)):
                return number
        return None


_KINDS: Mapping[str, str] = {
    "ContentPolicyViolationError": "ContentPolicyViolationError",
    "AuthenticationError": "AuthenticationError",
    "TimeoutError": "Timeout",
    "RateLimitError": "RateLimitError",
    "InternalServerError": "InternalServerError",
    "BadRequestError": "BadRequestError",
}


class RetriesByError(_Policy):
    """LiteLLM's ``RetryPolicy``: ``TimeoutErrorRetries=2``, ``RateLimitErrorRetries=3``, ..."""

    _suffix = "Retries"


class AllowedFailsPolicy(_Policy):
    """How many failures of a kind in a minute a deployment may have before it is left alone: ``RateLimitErrorAllowedFails=10``."""

    _suffix = "AllowedFails"


def _dict_of(value: Any) -> dict[str, Any]:
    """A dict, or an object of Pydantic, without what is ``None``."""
    if value is not None and hasattr(value, "model_dump"):
        value = value.model_dump(exclude_none=True)
    made = {name: one for name, one in dict(value or {}).items() if one is not None}
    if isinstance(made.get("api_key"), str):
        made["api_key"] = Secret(made["api_key"])
    return made


@attrs.define(eq=False)
class Deployment:
    """One entry of a model list, and how it has done: its calls under way, its last times, what it spent."""

    model_name: str
    litellm_params: dict[str, Any] = attrs.field(converter=_dict_of, repr=False)
    model_info: dict[str, Any] = attrs.field(factory=dict, converter=_dict_of)
    in_flight: int = attrs.field(default=0, init=False)
    times: deque[float] = attrs.field(factory=lambda: deque(maxlen=_REMEMBERED), init=False, repr=False)
    failures: deque[float] = attrs.field(factory=deque, init=False, repr=False)
    successes: deque[float] = attrs.field(factory=deque, init=False, repr=False)
    used: deque[tuple[float, int]] = attrs.field(factory=deque, init=False, repr=False)
    spent: deque[tuple[float, float]] = attrs.field(factory=deque, init=False, repr=False)
    cooldown_until: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        self.model_info["id"] = str(self.model_info.get("id") or _id_of(self.model_name, self.litellm_params))

    @classmethod
    def of(cls, entry: Any, place: str) -> Deployment:
        """Read an entry. Raises :class:`ValueError` with its place and what is wrong."""
        if isinstance(entry, Deployment):
            return entry
        if hasattr(entry, "model_dump") and not isinstance(entry, Mapping):
            entry = entry.model_dump(exclude_none=True)
        if not isinstance(entry, Mapping):
            raise ValueError(f"{place}: {type(entry).__name__} is no deployment; give {{'model_name', 'litellm_params'}}")
        name, params = entry.get("model_name"), entry.get("litellm_params")
        if not isinstance(name, str) or not name:
            raise ValueError(f"{place}.model_name: {name!r} is no name; give the name that calls are made with")
        params = _dict_of(params) if isinstance(params, Mapping) or hasattr(params, "model_dump") else {}
        if not isinstance(params.get("model"), str):
            raise ValueError(f"{place}.litellm_params: give a dict with 'model', such as {{'model': 'openai/gpt-4o'}}")
        for limit in ("rpm", "tpm"):
            if entry.get(limit) is not None:
                params.setdefault(limit, entry[limit])
        made = cls(name, params, entry.get("model_info") or {})
        check_prices({**made.model_info, **params})
        return made

    @property
    def id(self) -> str:
        """What it is told apart by."""
        return str(self.model_info["id"])

    @property
    def tags(self) -> Sequence[str]:
        """The tags of its parameters."""
        return self.litellm_params.get("tags") or ()

    def weight(self, by: str) -> float:
        """How much of the calls it gets, by one of its parameters."""
        return float(self.litellm_params.get(by) or 0)

    def time(self) -> float:
        """Its mean seconds lately; 0 where none are known, so that it is tried."""
        return sum(self.times) / len(self.times) if self.times else 0.0

    @property
    def allowance(self) -> Allowance | None:
        """What it may spend by its ``max_budget``; ``None`` without one."""
        limit = self.litellm_params.get("max_budget")
        period = self.litellm_params.get("budget_duration") or "1d"
        return None if limit is None else Allowance.of(self.id, {"budget_limit": limit, "time_period": period})

    def spend(self, cost: float, allowances: Sequence[Allowance], now: float) -> None:
        """Add US dollars to what it has spent in the periods of these; what comes in a 240th of the shortest counts together."""
        at = now
        if self.spent and now - self.spent[-1][0] < min([one.seconds for one in allowances]) / 240:
            at, before = self.spent.pop()
            cost += before
        self.spent.append((at, cost))
        drop_until(self.spent, now - max([one.seconds for one in allowances]), lambda one: one[0])

    def tokens(self, now: float) -> int:
        """The tokens of the last minute."""
        drop_until(self.used, now - MINUTE, lambda one: one[0])
        return sum([tokens for _at, tokens in self.used])

    def cost(self) -> float:
        """US dollars of a token in and one out, by its own prices or the catalog's; infinite where they are not known."""
        params = {**self.model_info, **self.litellm_params}
        if params.get("input_cost_per_token") is None:
            try:
                params = get_model_info(params["model"], params.get("custom_llm_provider"))
            except DispatchError:
                return float("inf")
        into, out = params.get("input_cost_per_token"), params.get("output_cost_per_token")
        return float("inf") if into is None else float(into) + float(out or 0)

    def to_dict(self) -> dict[str, Any]:
        """The entry as it was given, with its id."""
        return {"model_name": self.model_name, "litellm_params": dict(self.litellm_params), "model_info": dict(self.model_info)}


def _id_of(name: str, params: Mapping[str, Any]) -> str:
    params = {key: value for key, value in params.items() if key != "api_key"}
    return hashlib.sha256(json.dumps([name, params], sort_keys=True, default=str).encode()).hexdigest()


def drop_until(kept: deque[Any], past: float, at: Callable[[Any], float]) -> None:
    """Drop the entries until this moment."""
    while kept and at(kept[0]) <= past:
        kept.popleft()


@attrs.frozen
class Allowance:
    """US dollars that a vendor or a deployment may spend in so many seconds."""

    limit: float
    seconds: float

    @classmethod
    def of(cls, name: str, row: Any) -> Allowance:
        """Read ``{"budget_limit": 1.0, "time_period": "1d"}``. Raises :class:`ValueError` with the name and what is wrong."""
        row = row.model_dump() if hasattr(row, "model_dump") else row
        limit = row.get("budget_limit", row.get("max_budget"))
        period = str(row.get("time_period", row.get("budget_duration")) or "1d")
        if limit is None or period[-1:] not in _PERIODS or not period[:-1].isdigit():
            raise ValueError(
                f"budget of {name!r}: {row!r} is none; give {{'budget_limit': 10.0, 'time_period': '1d'}} with s, m, h, d or w"
            )
        return cls(float(limit), int(period[:-1]) * _PERIODS[period[-1]])

    def is_spent(self, deployments: Sequence[Deployment], now: float) -> bool:
        """Whether these have spent it in the time that ends now."""
        return sum(cost for one in deployments for at, cost in list(one.spent) if at > now - self.seconds) >= self.limit


def model_of(deployment: Deployment, model: str) -> str:
    """The model that a deployment is asked for; the star of ``openai/*`` is what the name has in its place."""
    named: str = deployment.litellm_params["model"]
    if "*" not in named or "*" not in deployment.model_name:
        return named
    before, _star, after = deployment.model_name.partition("*")
    return named.replace("*", model.removeprefix(before).removesuffix(after), 1)


def provider_of(deployment: Deployment) -> str:
    params = deployment.litellm_params
    found = target_of(model_of(deployment, deployment.model_name), params.get("custom_llm_provider"))
    return found.provider or litellm_name(found.row)


def draw(among: Sequence[Deployment], weights: Sequence[float], clock: Clock) -> Deployment:
    """Draw a deployment by chance, in proportion to the weights."""
    mark = clock.random() * sum(weights)
    for deployment, weight in zip(among, weights, strict=True):
        mark -= weight
        if mark < 0 and weight > 0:
            return deployment
    return next(one for one, weight in zip(reversed(among), reversed(weights), strict=True) if weight > 0)
