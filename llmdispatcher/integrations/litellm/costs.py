"""What calls cost and models can do, from the catalog, by LiteLLM's functions; and LiteLLM's budgets of users."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from llmdispatcher import Deadline, Dispatcher, DispatchError, Message, ModelFacts, Price, Request, Usage
from llmdispatcher._text import room_logger
from llmdispatcher.catalog import list_models, model_facts, traits_of
from llmdispatcher.runtime import SYSTEM_CLOCK, from_environment, lock, new_lock, write_file
from llmdispatcher.types import cost_of

from .exceptions import exception_class
from .providers import ProviderModel, litellm_name, target_of
from .settings import SETTINGS

logger = room_logger("integrations")

_PER_TOKEN = Decimal(1_000_000)
_ABILITIES: Mapping[str, str] = {
    "supports_audio_input": "audio",
    "supports_audio_output": "audio_output",
    "supports_computer_use": "computer_use",
    "supports_function_calling": "tools",
    "supports_parallel_function_calling": "tools",
    "supports_pdf_input": "documents",
    "supports_prompt_caching": "prompt_caching",
    "supports_reasoning": "reasoning",
    "supports_response_schema": "json_schema",
    "supports_tool_choice": "tools",
    "supports_vision": "vision",
    "supports_web_search": "web_search",
}
"""LiteLLM's name of an ability, and the catalog's."""
_PARAMS = (
    *("stream", "stream_options", "temperature", "top_p", "n", "stop", "max_tokens", "max_completion_tokens"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "user", "seed", "tools", "tool_choice", "parallel_tool_calls"),
    *("response_format", "logprobs", "top_logprobs", "functions", "function_call", "extra_headers", "reasoning_effort"),
)
_REFUSED: Mapping[str, tuple[str, ...]] = {
    "no_sampling": ("temperature", "top_p", "presence_penalty", "frequency_penalty"),
    "no_penalties": ("presence_penalty", "frequency_penalty"),
    "no_logprobs": ("logprobs", "top_logprobs"),
    "no_stop": ("stop",),
    "no_parallel_tools": ("parallel_tool_calls",),
    "no_effort": ("reasoning_effort",),
    "no_user": ("user",),
}
"""What a model with a quirk does not take."""


def describe(facts: ModelFacts) -> dict[str, Any]:
    """What LiteLLM's table has of a model: tokens, US dollars for each token, abilities."""
    row: dict[str, Any] = {
        "key": facts.model,
        "max_tokens": facts.max_tokens or None,
        "max_input_tokens": facts.context_window or None,
        "max_output_tokens": facts.max_tokens or None,
        "litellm_provider": litellm_name(facts.vendor),
        "mode": "embedding" if facts.kind == "embedding" else "chat",
    }
    price = facts.price
    amounts = dict.fromkeys(_AMOUNTS) if price is None else {name: getattr(price, ours) for name, ours in _AMOUNTS.items()}
    row |= {name: None if amount is None else float(amount / _PER_TOKEN) for name, amount in amounts.items()}
    return row | {name: ability in facts.capabilities for name, ability in _ABILITIES.items()}


_AMOUNTS: Mapping[str, str] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
}


def model_cost() -> dict[str, Any]:
    """Prices and windows by model, LiteLLM's ``model_cost``: made of the catalog at the first use, with what was registered."""
    if SETTINGS._model_cost is None:
        made: dict[str, Any] = {}
        for facts in list_models():
            row = describe(facts)
            made.setdefault(facts.model, row)
            made[f"{litellm_name(facts.vendor)}/{facts.model}"] = row
        SETTINGS._model_cost = {**made, **SETTINGS._custom_prices}
    return SETTINGS._model_cost


def register_model(model_cost: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Set prices and facts of models: ``{"my-model": {"input_cost_per_token": ..., "output_cost_per_token": ..., ...}}``."""
    if not isinstance(model_cost, Mapping):
        raise ValueError(f"model_cost: {type(model_cost).__name__} is no table of models; addresses are not fetched, give a dict")
    for row in model_cost.values():
        check_prices(row)
    for name, row in model_cost.items():
        SETTINGS._custom_prices[name] = {**SETTINGS._custom_prices.get(name, {}), **row}
        if SETTINGS._model_cost is not None:
            SETTINGS._model_cost[name] = {**SETTINGS._model_cost.get(name, {}), **row}
    return dict(model_cost)


def _row_of(model: str, provider: str | None) -> dict[str, Any] | None:
    """What is known of a model: registered rows over the catalog's; ``None`` where there is neither."""
    own = next((row for name, row in SETTINGS._custom_prices.items() if name in (model, f"{provider}/{model}")), None)
    try:
        facts = _facts_of(target_of(model, provider))
    except DispatchError:
        facts = None
    if facts is None and own is None:
        return None
    return {**(describe(facts) if facts is not None else {"key": model}), **(own or {})}


def _facts_of(target: ProviderModel) -> ModelFacts | None:
    return model_facts(target.row, target.model)


def get_model_info(model: str, custom_llm_provider: str | None = None, **_: Any) -> dict[str, Any]:
    """Window, prices in US dollars for each token, and abilities of a model. Raises ``ModelNotMappedError`` where it is unknown."""
    row = _row_of(model, custom_llm_provider)
    if row is None:
        raise exception_class("ModelNotMappedError")(
            f"This model isn't mapped yet. model={model}, custom_llm_provider={custom_llm_provider}; give it to register_model()"
        )
    return row


def get_max_tokens(model: str) -> int | None:
    """The most output tokens of a model; ``None`` where they are not known. Raises ``ModelNotMappedError`` for an unknown model."""
    found: int | None = get_model_info(model).get("max_tokens")
    return found


def supports(ability: str, model: str, custom_llm_provider: str | None = None) -> bool:
    """Tell whether a model is known to have an ability, by LiteLLM's name of it."""
    return bool((_row_of(model, custom_llm_provider) or {}).get(ability))


ABILITIES = tuple(_ABILITIES)


def get_supported_openai_params(model: str, custom_llm_provider: str | None = None, **_: Any) -> list[str] | None:
    """The parameters of OpenAI's chat that a model takes; ``None`` for an unknown vendor."""
    try:
        target = target_of(model, custom_llm_provider)
    except DispatchError:
        return None
    refused = refused_params(target)
    facts = _facts_of(target)
    if facts is not None and "reasoning" not in facts.capabilities:
        refused |= {"reasoning_effort"}
    return [name for name in _PARAMS if name not in refused]


def refused_params(target: ProviderModel) -> frozenset[str]:
    """The parameters of OpenAI's chat that a model is known to refuse."""
    return frozenset(name for quirk in traits_of(target.row, target.model).quirks for name in _REFUSED.get(quirk, ()))


def price_of(target: ProviderModel, settings: Mapping[str, Any] | None = None) -> Price | None:
    """The price that counts for a target where it is not the catalog's own: of the call or deployment, or registered."""
    rows = [settings or {}, SETTINGS._custom_prices.get(target.model, {})]
    rows.append(SETTINGS._custom_prices.get(f"{target.provider}/{target.model}", {}))
    row = next((row for row in rows if row.get("input_cost_per_token") is not None), None)
    if row is not None:
        return _price(row)
    base = (settings or {}).get("base_model")
    if base is None and target.row == "local":
        base = target.model  # a server of OpenAI's format somewhere, which may be another's that costs what the model costs
    facts = _facts_by_name(base) if base and _facts_of(target) is None else None
    return facts.price if facts is not None else None


def _facts_by_name(model: str) -> ModelFacts | None:
    """The facts of a model at the vendor that its name says or, where the catalog has it not there, at its maker."""
    try:
        target = target_of(model)
        return _facts_of(target) or _facts_of(target_of(target.model))
    except DispatchError:
        return None


def _price(row: Mapping[str, Any]) -> Price:
    """A price per million of one that is written by the token; what it does not name costs as in :class:`Price`."""
    given = {ours: _amount(name, row[name]) for name, ours in _AMOUNTS.items() if row.get(name) is not None}
    amounts: dict[str, Any] = {name: amount * _PER_TOKEN for name, amount in {"output": Decimal(0), **given}.items()}
    return Price(**amounts)


def check_prices(row: Mapping[str, Any]) -> None:
    """Raise ``BadRequestError`` for a price by the token that is no amount of money."""
    for name in _AMOUNTS:
        if row.get(name) is not None:
            _amount(name, row[name])


def _amount(name: str, value: Any) -> Decimal:
    try:
        amount = None if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal) else Decimal(str(value))
    except (InvalidOperation, ValueError):
        amount = None
    if amount is None or not amount.is_finite() or not 0 <= amount <= 1:
        told = f"{name}: {str(value)[:40]!r} is no price of a token; give US dollars, such as 0.000002"
        raise exception_class("BadRequestError")(told, None, None)
    return amount


def cost_per_token(  # noqa: PLR0913 - LiteLLM's arguments
    model: str = "",
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
    *,
    custom_llm_provider: str | None = None,
    cache_read_input_tokens: int | None = 0,
    cache_creation_input_tokens: int | None = 0,
    custom_cost_per_token: Mapping[str, float] | None = None,
    **_: Any,
) -> tuple[float, float]:
    """US dollars of so many tokens in and out. Raises ``ModelNotMappedError`` for a model without a known price."""
    target = target_of(model, custom_llm_provider)
    price = price_of(target, custom_cost_per_token)
    if price is None:
        facts = _facts_of(target)
        price = facts.price if facts is not None else None
    if price is None:
        raise exception_class("ModelNotMappedError")(
            f"This model isn't mapped yet. model={model}; give its price to register_model()", target.provider, model
        )
    into = Usage(
        input_tokens=prompt_tokens,
        cache_read_tokens=cache_read_input_tokens or 0,
        cache_write_tokens=cache_creation_input_tokens or 0,
    )
    now = SYSTEM_CLOCK.now()
    whole = cost_of(_with_output(into, completion_tokens), price, at=now)
    sent = cost_of(into, price, at=now)
    return float(sent), float(whole - sent)


def _with_output(usage: Usage, tokens: int) -> Usage:
    return usage + Usage(output_tokens=tokens)


def completion_cost(  # noqa: PLR0913 - LiteLLM's arguments
    completion_response: Any = None,
    model: str | None = None,
    prompt: str = "",
    messages: Sequence[Any] = (),
    completion: str = "",
    *,
    custom_llm_provider: str | None = None,
    custom_cost_per_token: Mapping[str, float] | None = None,
    **_: Any,
) -> float:
    """US dollars of an answer, or of a prompt and a completion. Raises ``ModelNotMappedError`` where the price is not known."""
    hidden: Mapping[str, Any] = getattr(completion_response, "_hidden_params", None) or {}
    if hidden.get("response_cost") is not None and custom_cost_per_token is None and model is None:
        return float(hidden["response_cost"])
    if completion_response is not None:
        usage = completion_response.get("usage") or {}
        named = model or hidden.get("litellm_model_name") or completion_response.get("model") or ""
        details = usage.get("prompt_tokens_details") or {}
        counts = {
            "prompt_tokens": usage.get("prompt_tokens") or 0,
            "completion_tokens": usage.get("completion_tokens") or 0,
            "cache_read_input_tokens": details.get("cached_tokens") or 0,
        }
    else:
        named = model or ""
        sent = token_counter(named, messages=messages) if messages else token_counter(named, text=prompt)
        counts = {"prompt_tokens": sent, "completion_tokens": token_counter(named, text=completion) if completion else 0}
    provider = custom_llm_provider or (hidden.get("custom_llm_provider") if "/" not in named else None)
    return sum(cost_per_token(named, **counts, custom_llm_provider=provider, custom_cost_per_token=custom_cost_per_token))


_counter = cache(Dispatcher)  # without vendors it estimates, and sends nothing


def token_counter(
    model: str = "",
    text: str | Sequence[str] | None = None,
    messages: Sequence[Any] | None = None,
    *,
    tools: Sequence[Any] | None = None,
    **_: Any,
) -> int:
    """How many tokens a text, or messages and tools, have about: counted by tiktoken where it is installed, else by characters."""
    if messages is not None:
        turns: Any = [turn.model_dump() if hasattr(turn, "model_dump") else turn for turn in messages]
        counted = _counter().count_tokens(Request("unknown", turns or "", tools=tuple(tools or ())))
        return counted.tokens if turns else 0
    if text is None:
        raise ValueError("text and messages cannot both be None; give one of the two")
    joined = text if isinstance(text, str) else "".join(text)
    return _tokens([".", joined]) - _tokens([".", "."]) + 1 if joined else 0  # without what each message adds


def _tokens(texts: Sequence[str]) -> int:
    messages = [Message.user(text) for text in texts]
    return _counter().count_tokens(Request("unknown", messages)).tokens


def validate_environment(model: str, api_key: str | None = None, **_: Any) -> dict[str, Any]:
    """Whether the key of a model's vendor is in the environment, and which variables are missing where it is not."""
    from llmdispatcher.catalog import vendor_row

    row = vendor_row(target_of(model).row)
    missing = [] if row is None or row.keyless or api_key or from_environment(row.key_env) else [row.key_env[0]]
    return {"keys_in_environment": not missing, "missing_keys": missing}


def _wait_for(file: int) -> None:
    """Lock a file. Raises :class:`OSError` where another process has it for seconds."""
    for _ in range(_TRIES):
        if lock(file):
            return
        Deadline.after(None).sleep(_PAUSE)
    raise OSError("another process holds it")


_TRIES, _PAUSE = 500, 0.01
_DAYS: Mapping[str, int] = {"daily": 1, "weekly": 7, "monthly": 28, "yearly": 365}


class UserBudgets:
    """LiteLLM's ``BudgetManager``: what each user may spend and has spent, in US dollars, kept in ``user_cost.json``.

    The file lies in the working directory, as LiteLLM's does. A change reads it and writes it whole, while no other process of the
    machine may, so that workers in one folder share it. Where it cannot be written, a warning says so, and this process counts on
    alone. Calls are not refused by it before they are sent: :class:`~llmdispatcher.Budget` does that.
    """

    def __init__(self, project_name: str, client_type: str = "local", api_base: str | None = None, headers: Any = None) -> None:
        if client_type != "local":
            raise ValueError(f"client_type: {client_type!r} is not there; use 'local', or llmdispatcher.Budget with a ledger")
        self.project_name, self.client_type, self.api_base, self.headers = project_name, client_type, api_base, headers
        self._lock = new_lock()
        self._file = Path("user_cost.json").absolute()
        self.user_dict: dict[str, dict[str, Any]] = {}
        self.load_data()

    def load_data(self) -> None:
        """Read the file, if there is one. Raises :class:`ValueError` where it is no JSON."""
        if self._file.is_file():
            self.user_dict = json.loads(self._file.read_text(encoding="utf-8"))

    def save_data(self) -> dict[str, str]:
        """Write the file. Raises :class:`OSError` where it cannot be written."""
        write_file(self._file, json.dumps(self.user_dict, indent=4).encode())
        return {"status": "success"}

    @contextmanager
    def _changed(self) -> Iterator[None]:
        """Have the file for this thread of this process, with what is in it, and write it at the end."""
        with self._lock, ExitStack() as held:
            try:
                gate = held.enter_context(self._file.with_name(f".{self._file.name}.lock").open("a"))
                _wait_for(gate.fileno())
                self.load_data()
                is_shared = True
            except OSError as error:
                is_shared = self._warn(error)
            yield
            if is_shared:
                try:
                    self.save_data()
                except OSError as error:
                    self._warn(error)

    def _warn(self, error: OSError) -> bool:
        logger.warning("%s is not shared with other processes, since it cannot be had: %s", self._file, error.strerror or error)
        return False

    def create_budget(
        self, total_budget: float, user: str, duration: str | None = None, created_at: float | None = None
    ) -> dict[str, Any]:
        """Give a user a budget; with a ``duration`` (daily, weekly, monthly, yearly) it begins anew after that time."""
        if duration is not None and duration not in _DAYS:
            raise ValueError(f"duration: {duration!r} is not known; use one of {', '.join(_DAYS)}")
        made: dict[str, Any] = {"total_budget": total_budget}
        if duration is not None:
            began = created_at if created_at is not None else SYSTEM_CLOCK.now().timestamp()
            made |= {"duration": _DAYS[duration], "created_at": began, "last_updated_at": began}
        with self._changed():
            self.user_dict[user] = made
        return made

    def projected_cost(self, model: str, messages: Sequence[Any], user: str) -> float:
        """What a user will have spent after a prompt, without its answer."""
        sent, _said = cost_per_token(model, prompt_tokens=token_counter(model, messages=messages))
        return sent + self.get_current_cost(user)

    def get_total_budget(self, user: str) -> float:
        """What a user may spend."""
        return float(self._of(user)["total_budget"])

    def update_cost(
        self,
        user: str,
        completion_obj: Any = None,
        model: str | None = None,
        input_text: str | None = None,
        output_text: str | None = None,
    ) -> dict[str, Any]:
        """Add the cost of an answer, or of an input and an output of a model."""
        if model and input_text and output_text:
            cost = completion_cost(model=model, prompt=input_text, completion=output_text)
        elif completion_obj:
            cost, model = completion_cost(completion_obj), completion_obj["model"]
        else:
            raise ValueError("update_cost: give completion_obj, or model, input_text and output_text")
        with self._changed():
            mine = self._of(user)
            mine["current_cost"] = cost + mine.get("current_cost", 0)
            by_model = mine.setdefault("model_cost", {})
            by_model[model] = cost + by_model.get(model, 0)
        return {"user": mine}

    def get_current_cost(self, user: str) -> float:
        """What a user has spent."""
        return float(self._of(user).get("current_cost", 0))

    def get_model_cost(self, user: str) -> Any:
        """What a user has spent, by model."""
        return self._of(user).get("model_cost", 0)

    def is_valid_user(self, user: str) -> bool:
        """Whether the user has a budget."""
        return user in self.user_dict

    def get_users(self) -> list[str]:
        """The users with a budget."""
        return list(self.user_dict)

    def reset_cost(self, user: str) -> dict[str, Any]:
        """Set what a user has spent to nothing."""
        with self._changed():
            mine = self._of(user)
            mine.update(current_cost=0, model_cost={})
        return {"user": mine}

    def reset_on_duration(self, user: str) -> None:
        """Begin a user's budget anew where its time is over."""
        now = SYSTEM_CLOCK.now().timestamp()
        with self._changed():
            mine = self._of(user)
            if now - mine["last_updated_at"] >= mine["duration"] * 86_400:
                mine.update(current_cost=0, model_cost={}, last_updated_at=now)

    def update_budget_all_users(self) -> None:
        """Begin the budgets anew whose time is over."""
        for user in self.get_users():
            if "duration" in self.user_dict[user]:
                self.reset_on_duration(user)

    def _of(self, user: str) -> dict[str, Any]:
        if user not in self.user_dict:
            _no_user(user, self.get_users())
        return self.user_dict[user]


def _no_user(user: str, known: Sequence[str]) -> NoReturn:
    raise KeyError(
        f"user {user!r} has no budget; call create_budget(total_budget=..., user={user!r}); there are {len(known)} users"
    )
