"""LiteLLM's ``Router``: several deployments under one name, retries, fallbacks, cooldowns, limits and tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import partial
from itertools import count
from typing import Any, NoReturn, Self

import attrs

from llmdispatcher import DispatchError
from llmdispatcher._text import room_logger
from llmdispatcher.runtime import Clock, new_lock

from .answers import BaseResponse
from .calls import MODULE, CallArguments, ProviderCall, is_retried, metadata_of, pause, wait_before
from .deployments import MINUTE, Allowance, AllowedFailsPolicy, Deployment, RetriesByError, draw, drop_until, model_of, provider_of
from .exceptions import exception_class
from .providers import Endpoints, Settled, place_of, target_of
from .settings import SETTINGS

logger = room_logger("integrations")

_STRATEGIES = (
    *("simple-shuffle", "least-busy", "latency-based-routing", "usage-based-routing", "usage-based-routing-v2"),
    "cost-based-routing",
)
_RETRIES = 2
_MOST_FALLBACKS = 5
_COOLDOWN = 5.0
_SHARE_OF_FAILURES = 0.5
_ENOUGH_CALLS = 5
_COOLED = (401, 402, 404, 408, 429)
"""Statuses of a client's mistake after which a deployment is left alone; of 5xx all."""
_NOT_THERE: Mapping[str, str] = {
    **dict.fromkeys(("assistants_config", "search_tools", "guardrail_list", "plugins"), "only chats and vectors are asked for"),
    **dict.fromkeys(
        ("redis_url", "redis_host", "redis_port", "redis_password", "redis_db"),
        "give configure(limits_storage='redis://...') before the router is made",
    ),
    **dict.fromkeys(("cache_responses", "cache_kwargs", "caching_groups"), "set litellm.cache = Cache()"),
    **dict.fromkeys(("alerting_config", "routing_groups", "model_group_affinity_config"), "leave it out"),
    **dict.fromkeys(("enable_health_check_routing", "background_health_check_model_groups"), "leave it out"),
}
_WITHOUT_EFFECT = frozenset(
    {
        *("client_ttl", "polling_interval", "default_priority", "set_verbose", "debug_level", "enable_pre_call_checks"),
        *("optional_pre_call_checks", "router_general_settings", "deployment_affinity_ttl_seconds", "cache_responses"),
        *("ignore_invalid_deployments", "routing_strategy_args", "fallback_on_unsupported_params", "tag_routing_prefix"),
    }
)
"""Arguments that are taken and change nothing: what they ask for is so, or is of LiteLLM's own working."""


class DeploymentRouter:
    """LiteLLM's ``Router``: asks one of the deployments of a name, another where that fails, and the fallbacks where all do.

    The arguments are LiteLLM's; an unknown one, and one that is not there, is a :class:`ValueError` that names it. ``rpm``, ``tpm``
    and ``max_parallel_requests`` of a deployment are limits: one that has reached them is passed over. ``settled`` is what the
    dispatcher beneath is made with; without it that of ``configure()``.
    """

    def __init__(  # noqa: PLR0913 - LiteLLM's arguments
        self,
        model_list: Iterable[Any] | None = None,
        *,
        num_retries: int | None = None,
        timeout: float | None = None,
        stream_timeout: float | None = None,
        retry_after: float = 0,
        fallbacks: Sequence[Any] | None = None,
        context_window_fallbacks: Sequence[Any] | None = None,
        content_policy_fallbacks: Sequence[Any] | None = None,
        default_fallbacks: Sequence[str] | None = None,
        max_fallbacks: int | None = None,
        model_group_alias: Mapping[str, Any] | None = None,
        allowed_fails: int | None = None,
        allowed_fails_policy: Any = None,
        cooldown_time: float | None = None,
        disable_cooldowns: bool | None = None,
        retry_policy: Any = None,
        model_group_retry_policy: Mapping[str, Any] | None = None,
        routing_strategy: str = "simple-shuffle",
        default_litellm_params: Mapping[str, Any] | None = None,
        default_max_parallel_requests: int | None = None,
        enable_tag_filtering: bool = False,
        tag_filtering_match_any: bool = True,
        provider_budget_config: Mapping[str, Any] | None = None,
        settled: Settled | None = None,
        **further: Any,
    ) -> None:
        _check_further(further)
        strategy = str(getattr(routing_strategy, "value", routing_strategy))
        if strategy not in _STRATEGIES:
            raise ValueError(f"routing_strategy: {strategy!r} is not there; use one of {', '.join(_STRATEGIES)}")
        self.num_retries = _first(num_retries, SETTINGS.num_retries, _RETRIES)
        self.timeout = _first(timeout, SETTINGS.request_timeout)
        self.stream_timeout = stream_timeout
        self.retry_after = retry_after
        defaults = _first(default_fallbacks, SETTINGS.default_fallbacks)
        self.fallbacks = [
            *_chains("fallbacks", _first(fallbacks, SETTINGS.fallbacks)),
            *([{"*": list(defaults)}] if defaults else []),
        ]
        self.context_window_fallbacks = _chains(
            "context_window_fallbacks", _first(context_window_fallbacks, SETTINGS.context_window_fallbacks)
        )
        self.content_policy_fallbacks = _chains(
            "content_policy_fallbacks", _first(content_policy_fallbacks, SETTINGS.content_policy_fallbacks)
        )
        self.max_fallbacks = _first(max_fallbacks, SETTINGS.max_fallbacks, _MOST_FALLBACKS)
        self.model_group_alias = dict(model_group_alias or {})
        self.allowed_fails = _first(allowed_fails, SETTINGS.allowed_fails)
        self._counts_failures = allowed_fails is not None
        self.allowed_fails_policy = _policy(AllowedFailsPolicy, allowed_fails_policy)
        self.cooldown_time = float(_first(cooldown_time, _COOLDOWN))
        self.disable_cooldowns = bool(disable_cooldowns)
        self.retry_policy = _policy(RetriesByError, retry_policy)
        self.model_group_retry_policy = {
            name: _policy(RetriesByError, policy) for name, policy in (model_group_retry_policy or {}).items()
        }
        self.routing_strategy = strategy
        self.default_litellm_params = dict(default_litellm_params or {})
        if default_max_parallel_requests is not None:
            self.default_litellm_params.setdefault("max_parallel_requests", default_max_parallel_requests)
        self.enable_tag_filtering = enable_tag_filtering
        self.tag_filtering_match_any = tag_filtering_match_any
        self.provider_budget_config = {name: Allowance.of(name, row) for name, row in (provider_budget_config or {}).items()}
        self._endpoints = Endpoints(settled or MODULE.settled)
        self._lock = new_lock()
        self._deployments: dict[str, Deployment] = {}
        self.set_model_list(model_list or ())

    def __getattr__(self, name: str) -> NoReturn:
        remedy = (
            "call from threads; there is no event loop here" if name.startswith("a") else "docs/from-litellm.md has what is there"
        )
        raise AttributeError(f"llmdispatcher's Router has no {name!r}; {remedy}")

    @property
    def clock(self) -> Clock:
        """The clock that cooldowns and limits go by."""
        return self._endpoints.clock

    def close(self) -> None:
        """End live calls and close connections."""
        self._endpoints.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # The model list

    def set_model_list(self, model_list: Iterable[Any]) -> None:
        """Have these deployments and no others. Raises :class:`ValueError` with the place of a mistake."""
        made = [Deployment.of(entry, f"model_list[{number}]") for number, entry in enumerate(model_list)]
        for number, deployment in enumerate(made):
            if deployment.id in [other.id for other in made[:number]]:
                deployment.model_info["id"] = f"{deployment.id}-{number}"
        with self._lock:
            self._deployments = {deployment.id: deployment for deployment in made}

    def add_deployment(self, deployment: Any) -> Deployment | None:
        """Add one; ``None`` where one with its id is there."""
        made = Deployment.of(deployment, "deployment")
        with self._lock:
            if made.id in self._deployments:
                return None
            self._deployments[made.id] = made
        return made

    def upsert_deployment(self, deployment: Any) -> Deployment | None:
        """Add one, in the place of that with its id."""
        made = Deployment.of(deployment, "deployment")
        with self._lock:
            self._deployments[made.id] = made
        return made

    def delete_deployment(self, id: str) -> Deployment | None:
        """Take one away; calls that it has go on."""
        with self._lock:
            return self._deployments.pop(str(id), None)

    def get_deployment(self, model_id: str) -> Deployment | None:
        """The deployment with this id."""
        return self._deployments.get(str(model_id))

    @property
    def model_list(self) -> list[dict[str, Any]]:
        """The deployments as entries of a model list."""
        return [deployment.to_dict() for deployment in list(self._deployments.values())]

    @property
    def model_names(self) -> set[str]:
        """The names that calls are made with, without aliases."""
        return {deployment.model_name for deployment in list(self._deployments.values())}

    def get_model_names(self, **_: Any) -> list[str]:
        """The names that calls are made with, and the aliases that are not hidden."""
        shown = [name for name, alias in self.model_group_alias.items() if not (isinstance(alias, Mapping) and alias.get("hidden"))]
        return [*sorted(self.model_names), *shown]

    def get_model_list(self, model_name: str | None = None, **_: Any) -> list[dict[str, Any]]:
        """The deployments of a name, or all."""
        found = self._deployments.values() if model_name is None else self._group(model_name)
        return [deployment.to_dict() for deployment in list(found)]

    def get_model_ids(self, model_name: str | None = None, **_: Any) -> list[str]:
        """The ids of the deployments of a name, or of all."""
        return [entry["model_info"]["id"] for entry in self.get_model_list(model_name)]

    def get_settings(self) -> dict[str, Any]:
        """The settings that :meth:`update_settings` takes, as they are."""
        return {name: getattr(self, name) for name in _SETTINGS}

    def update_settings(self, **settings: Any) -> None:
        """Change settings. Raises :class:`ValueError` for one that cannot be changed."""
        for name in settings:
            if name not in _SETTINGS:
                raise ValueError(f"{name}: it cannot be changed; these can: {', '.join(_SETTINGS)}")
        for name, value in settings.items():
            setattr(self, name, _chains(name, value) if name.endswith("fallbacks") and name != "max_fallbacks" else value)
        self._counts_failures = self._counts_failures or "allowed_fails" in settings

    def flush_cache(self) -> None:
        """Forget cooldowns, failures and times."""
        with self._lock:
            for deployment in self._deployments.values():
                for kept in (deployment.times, deployment.failures, deployment.successes, deployment.used, deployment.spent):
                    kept.clear()
                deployment.cooldown_until = 0.0

    reset = flush_cache

    def get_available_deployment(self, model: str, messages: Any = None, request_kwargs: Any = None, **_: Any) -> dict[str, Any]:
        """The deployment that a call would ask now. Raises as a call would where there is none."""
        return self._choose(model, metadata_of(request_kwargs or {}), ()).to_dict()

    # Calls

    def completion(self, model: str, messages: Sequence[Any] = (), **given: Any) -> Any:
        """Answer a conversation by one of the deployments of ``model``, as :func:`completion` does."""
        return self._call("completion", model, {"messages": messages, **given})

    def text_completion(self, model: str, prompt: str, **given: Any) -> Any:
        """Continue a text."""
        return self._call("text_completion", model, {"messages": [{"role": "user", "content": prompt}], **given})

    def embedding(self, model: str, input: Any = (), **given: Any) -> Any:
        """Make vectors of texts."""
        return self._call("embedding", model, {"input": input, **given})

    def _call(self, call_type: str, model: Any, given: Mapping[str, Any]) -> Any:
        if not isinstance(model, str):
            told = f"model: {type(model).__name__} is no name; give one of {', '.join(self.model_names)}"
            raise exception_class("BadRequestError")(told, None, None)
        return self._with_fallbacks(call_type, model, CallArguments.of(given), 0, (model,))

    def _with_fallbacks(self, call_type: str, model: str, given: CallArguments, depth: int, tried: tuple[str, ...]) -> Any:
        """Ask a group, and after its failure the groups that are its fallbacks for that kind of failure."""
        try:
            _pretend(given.own, model)
            return self._with_retries(call_type, model, given)
        except DispatchError as error:
            first = error
        if given.own.get("disable_fallbacks") or depth >= self.max_fallbacks:
            raise first
        others = [other for other in self._fallbacks_for(model, given.own, first) if _group_of(other) not in tried]
        if not others and (named := self._alias(model)) is not None and _chain_of(self.fallbacks, named):
            first.add_note(f"fallbacks: {named!r} has some, but not its alias {model!r}; name the alias there")
        given = attrs.evolve(given, own={name: value for name, value in given.own.items() if name not in _OF_ONE_GROUP})
        for other in others:
            over = dict(other) if isinstance(other, Mapping) else {"model": other}
            named = over.pop("model", model)
            changed = CallArguments.of(over)
            merged = CallArguments({**given.fields, **changed.fields}, {**given.own, **changed.own})
            tried = (*tried, named)
            logger.info("%s failed with %s; its fallback %s is asked", model, type(first).__name__, named)
            try:
                return self._with_fallbacks(call_type, named, merged, depth + 1, tried)
            except DispatchError as error:
                first.add_note(f"the fallback {named} failed, too: {type(error).__name__}")
        raise first

    def _fallbacks_for(self, model: str, own: Mapping[str, Any], error: DispatchError) -> Sequence[Any]:
        """The fallbacks of a group for one kind of failure; those for all kinds where it has none of its own."""
        if isinstance(error, exception_class("ContextWindowExceededError")):
            special = _first(own.get("context_window_fallbacks"), self.context_window_fallbacks)
        elif isinstance(error, exception_class("ContentPolicyViolationError")):
            special = _first(own.get("content_policy_fallbacks"), self.content_policy_fallbacks)
        else:
            special = ()
        found = _chain_of(special, model) if special else None
        return found if found is not None else _chain_of(_first(own.get("fallbacks"), self.fallbacks), model) or ()

    def _with_retries(self, call_type: str, model: str, given: CallArguments) -> Any:
        tried: list[Deployment] = []
        for turn in count():
            try:
                return self._ask(call_type, model, given, tried)
            except DispatchError as error:
                if turn >= self._retries(model, given.own, error, tried) or not self._goes_on(model, error):
                    raise
                try:
                    other = self._choose(model, metadata_of(given.own), tried)
                except DispatchError:
                    other = None
                if other is None:
                    raise  # all are left alone now: this failure says more than that
                if other in tried:
                    if isinstance(error, exception_class("RateLimitError")) and self._fallbacks_for(model, given.own, error):
                        raise  # the fallbacks, which are not limited, are asked at once
                    pause(max(self.retry_after, wait_before(error, turn, self.clock)), self.clock)
        raise AssertionError("unreachable")

    def _retries(self, model: str, own: Mapping[str, Any], error: DispatchError, tried: Sequence[Deployment]) -> int:
        policy = self.model_group_retry_policy.get(model) or self.retry_policy
        by_kind = policy.number_for(error) if policy is not None else None
        of_last = tried[-1].litellm_params.get("num_retries") if tried else None
        return int(_first(by_kind, own.get("num_retries"), of_last, self.num_retries))

    def _goes_on(self, model: str, error: DispatchError) -> bool:
        """Whether the group is asked again after a failure: not where the same would come of it."""
        if isinstance(error, exception_class("RouterRateLimitError")):
            return False
        if is_retried(error):
            return True
        return error.try_elsewhere and len(self._group(model)) > 1 and not isinstance(error, exception_class("BadRequestError"))

    def _ask(self, call_type: str, model: str, given: CallArguments, tried: list[Deployment]) -> Any:
        deployment = self._choose(model, metadata_of(given.own), tried)
        tried.append(deployment)
        named, asked = model_of(deployment, model), self._arguments(model, given, deployment)
        ended = partial(self._ended, model, deployment, self.clock.monotonic())
        call = ProviderCall(call_type, named, asked, self._endpoints, deployment=deployment.id, tell=ended)
        with self._lock:
            deployment.in_flight += 1
        return call.run()

    def _params(self, deployment: Deployment) -> dict[str, Any]:
        """The parameters of a deployment over those of all; its headers are the vendor's, those of a call are its own."""
        params = {**self.default_litellm_params, **deployment.litellm_params}
        headers = {**(params.pop("headers", None) or {}), **(params.pop("extra_headers", None) or {})}
        return {**params, "deployment_headers": headers} if headers else params

    def _ended(self, model: str, deployment: Deployment, begun: float, ending: BaseResponse | DispatchError | None) -> None:
        with self._lock:
            deployment.in_flight -= 1
        if isinstance(ending, DispatchError):
            self._failed(model, deployment, ending)
        elif ending is not None:
            self._succeeded(deployment, begun, ending)

    def _arguments(self, model: str, given: CallArguments, deployment: Deployment) -> CallArguments:
        """The arguments of a call to a deployment: its own parameters, over them those of the call."""
        params = CallArguments.of({name: value for name, value in self._params(deployment).items() if name != "model"})
        named = model_of(deployment, model)
        timeout = _first(given.own.get("timeout"), params.own.get("timeout"), self.timeout)
        silence = _first(given.own.get("stream_timeout"), params.own.get("stream_timeout"), self.stream_timeout)
        metadata = {
            **metadata_of(given.own),
            "model_group": model,
            "deployment": named,
            "model_info": dict(deployment.model_info),
            "api_base": params.own.get("api_base"),
        }
        own = {
            **{name: value for name, value in params.own.items() if name != "tags"},
            "headers": None,
            "extra_headers": None,
            **given.own,
            "model_info": dict(deployment.model_info),
            "metadata": metadata,
            "timeout": timeout,
            "stream_timeout": silence,
        }
        return CallArguments({**params.fields, **given.fields}, {name: value for name, value in own.items() if value is not None})

    def _succeeded(self, deployment: Deployment, begun: float, answer: BaseResponse) -> None:
        now = self.clock.monotonic()
        tokens = (answer.get("usage") or {}).get("total_tokens") or 0
        cost = answer._hidden_params.get("response_cost")
        with self._lock:
            deployment.times.append(now - begun)
            deployment.successes.append(now)
            deployment.used.append((now, tokens))
            allowances = [one for one in (deployment.allowance, *self.provider_budget_config.values()) if one is not None]
            if cost and allowances:
                deployment.spend(cost, allowances, now)
            drop_until(deployment.successes, now - MINUTE, lambda at: at)
            drop_until(deployment.used, now - MINUTE, lambda one: one[0])

    def _failed(self, model: str, deployment: Deployment, error: DispatchError) -> None:
        """Count a failure, and leave the deployment alone for a time where there are too many."""
        status = getattr(error, "status_code", None)
        if isinstance(error, exception_class("APIConnectionError")) and not isinstance(error, exception_class("Timeout")):
            status = 503  # nobody is there
        if status is None or (400 <= int(status) < 500 and int(status) not in _COOLED):
            return
        now = self.clock.monotonic()
        single = sum(one.model_name == deployment.model_name for one in list(self._deployments.values())) <= 1
        with self._lock:
            deployment.failures.append(now)
            for kept in (deployment.failures, deployment.successes):
                drop_until(kept, now - MINUTE, lambda at: at)
            busy = error.retry_after is not None and status == 429 and not (single and not _chain_of(self.fallbacks, model))
            if self.disable_cooldowns or not (busy or self._is_too_much(model, deployment, error, single=single)):
                return
            rest = float(_first(deployment.litellm_params.get("cooldown_time"), self.cooldown_time))
            if error.retry_after is not None and rest > 0:
                rest = max(rest, min(error.retry_after, MINUTE))
            deployment.cooldown_until = now + rest
        logger.info("deployment %s of %s is left alone for %g s after %s", deployment.id, model, rest, type(error).__name__)

    def _is_too_much(self, model: str, deployment: Deployment, error: DispatchError, *, single: bool) -> bool:
        failures, calls = len(deployment.failures), len(deployment.failures) + len(deployment.successes)
        allowed = self.allowed_fails_policy.number_for(error) if self.allowed_fails_policy is not None else None
        if allowed is None and deployment.litellm_params.get("allowed_fails") is not None:
            allowed = int(deployment.litellm_params["allowed_fails"])
        if allowed is None and self._counts_failures and not (single and not _chain_of(self.fallbacks, model)):
            allowed = int(self.allowed_fails)
        if allowed is not None:
            return bool(failures > allowed)
        if self._counts_failures or single:  # nobody else could be asked instead
            return False
        if getattr(error, "status_code", None) in (401, 404, 429):
            return True
        return calls >= _ENOUGH_CALLS and failures / calls > _SHARE_OF_FAILURES

    # Who is asked

    def _alias(self, model: str) -> str | None:
        """The group that an alias stands for; ``None`` for what is none."""
        alias = self.model_group_alias.get(model)
        found: str | None = alias["model"] if isinstance(alias, Mapping) else alias
        return found

    def _group(self, model: str) -> list[Deployment]:
        """The deployments of a name: a group, an alias, an id, or a pattern. Raises ``BadRequestError`` where it is none."""
        model = self._alias(model) or model
        every = list(self._deployments.values())
        found = [deployment for deployment in every if deployment.model_name == model]
        if not found and model in self._deployments:
            found = [self._deployments[model]]
        if not found:
            matching = [one for one in every if "*" in one.model_name and fnmatchcase(model, one.model_name)]
            longest = max([len(one.model_name) for one in matching], default=0)
            found = [one for one in matching if len(one.model_name) == longest]
        if not found:
            known = ", ".join(sorted({*self.model_names, *self.model_group_alias})) or "none"
            raise exception_class("BadRequestError")(
                f"You passed in model={model}. There are no healthy deployments for this model; there are {known}", model, None
            )
        return found

    def _choose(self, model: str, metadata: Mapping[str, Any], tried: Sequence[Deployment]) -> Deployment:
        """The deployment to ask now, one that was not tried before where there is one. Raises where there is none."""
        group = self._within_budget(model, self._with_tags(model, self._group(model), metadata.get("tags") or ()))
        now = self.clock.monotonic()
        awake = [deployment for deployment in group if deployment.cooldown_until <= now]
        free = [deployment for deployment in awake if not self._is_full(deployment)]
        if not free:
            raise self._nobody(model, group, awake, now)
        fresh = [deployment for deployment in free if deployment not in tried] or free
        first = min(_order(deployment) for deployment in fresh)
        return self._pick([deployment for deployment in fresh if _order(deployment) == first], now)

    def _nobody(self, model: str, group: Sequence[Deployment], awake: Sequence[Deployment], now: float) -> Any:
        if awake:
            rest, why = MINUTE, "they have reached their rpm, tpm or max_parallel_requests"
        else:
            rest, why = max(0.0, min([deployment.cooldown_until for deployment in group]) - now), "they failed and are left alone"
        return exception_class("RouterRateLimitError")(
            message=f"No deployments available for selected model, Try again in {rest:.3g} seconds. Passed model={model}: {why}",
            model=model,
            cooldown_time=rest,
            retry_after=rest,
            cooldown_list=[deployment.id for deployment in group if deployment not in awake],
        )

    def _with_tags(self, model: str, group: list[Deployment], tags: Sequence[str]) -> list[Deployment]:
        if not self.enable_tag_filtering:
            return group
        default = [deployment for deployment in group if "default" in deployment.tags]
        if not tags:
            return default or group
        matches = any if self.tag_filtering_match_any else all
        found = [deployment for deployment in group if matches(tag in deployment.tags for tag in tags)] or default
        if not found:
            raise exception_class("BadRequestError")(
                f"Not allowed to access model due to tags configuration. Passed model={model} and tags={list(tags)}", model, None
            )
        return found

    def _is_full(self, deployment: Deployment) -> bool:
        params = self._params(deployment)
        if not any(params.get(name) for name in ("rpm", "tpm", "max_parallel_requests")):
            return False
        target = target_of(model_of(deployment, deployment.model_name), params.get("custom_llm_provider"))
        dispatcher, vendor = self._endpoints.find(place_of(target, params, deployment=deployment.id))
        status = dispatcher.get_rate_limit_status(vendor.name)
        if status.requests_remaining is not None and status.requests_remaining < 1:
            return True
        if status.tokens_remaining is not None and status.tokens_remaining < 1:
            return True
        return status.in_flight is not None and status.in_flight_limit is not None and status.in_flight >= status.in_flight_limit

    def _within_budget(self, model: str, group: list[Deployment]) -> list[Deployment]:
        """Those of a group whose vendor, and which themselves, have money left."""
        now, every = self.clock.monotonic(), list(self._deployments.values())

        def is_over(deployment: Deployment) -> bool:
            if (own := deployment.allowance) is not None and own.is_spent([deployment], now):
                return True
            provider = provider_of(deployment)
            allowance = self.provider_budget_config.get(provider)
            return allowance is not None and allowance.is_spent([one for one in every if provider_of(one) == provider], now)

        found = [deployment for deployment in group if not is_over(deployment)] if self._has_budgets(group) else group
        if not found:
            raise exception_class("BudgetExceededError")(
                message=f"No deployments available - crossed budget. Passed model={model}", current_cost=None, max_budget=None
            )
        return found

    def _has_budgets(self, group: Sequence[Deployment]) -> bool:
        return bool(self.provider_budget_config) or any(one.allowance is not None for one in group)

    def _pick(self, among: Sequence[Deployment], now: float) -> Deployment:
        """Choose a deployment by the strategy; by chance where it finds no difference."""
        if len(among) == 1:
            return among[0]
        if self.routing_strategy == "simple-shuffle":
            for by in ("weight", "rpm", "tpm"):
                weights = [deployment.weight(by) for deployment in among]
                if any(weights):
                    return draw(among, weights, self.clock)
            return draw(among, [1.0] * len(among), self.clock)
        measure: Mapping[str, Callable[[Deployment], float]] = {
            "least-busy": lambda one: one.in_flight,
            "latency-based-routing": lambda one: one.time(),
            "cost-based-routing": lambda one: one.cost(),
        }
        usage: Callable[[Deployment], float] = lambda one: one.tokens(now)  # noqa: E731 - its type
        with self._lock:
            values = [measure.get(self.routing_strategy, usage)(deployment) for deployment in among]
        best = [deployment for deployment, value in zip(among, values, strict=True) if value == min(values)]
        return draw(best, [1.0] * len(best), self.clock)


_SETTINGS = (
    *(
        "num_retries",
        "timeout",
        "stream_timeout",
        "retry_after",
        "fallbacks",
        "context_window_fallbacks",
        "content_policy_fallbacks",
    ),
    *("max_fallbacks", "model_group_alias", "allowed_fails", "cooldown_time", "routing_strategy", "enable_tag_filtering"),
)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _policy(kind: type[RetriesByError | AllowedFailsPolicy], value: Any) -> Any:
    if value is None or isinstance(value, kind):
        return value
    return kind(**(value.model_dump(exclude_none=True) if hasattr(value, "model_dump") else value))


def _check_further(further: Mapping[str, Any]) -> None:
    for name, value in further.items():
        if name in _WITHOUT_EFFECT or (name in _NOT_THERE and not value):
            continue
        if name in _NOT_THERE:
            raise ValueError(f"{name}: it is not there; {_NOT_THERE[name]}")
        raise ValueError(f"{name}: the Router has no such argument; docs/from-litellm.md has those that it has")


def _chains(field: str, value: Any) -> list[dict[str, Any]]:
    """Fallbacks as a list of ``{"group": ["other", ...]}``. Raises :class:`ValueError` with the place of a mistake."""
    found: list[dict[str, Any]] = []
    for number, row in enumerate(value or ()):
        if not isinstance(row, Mapping) or not all(isinstance(others, list | tuple) for others in row.values()):
            raise ValueError(f"{field}[{number}]: {type(row).__name__} is no fallback; give {{'group': ['another group', ...]}}")
        found += [{name: list(others)} for name, others in row.items()]
    return found


def _chain_of(fallbacks: Sequence[Any], model: str) -> Sequence[Any] | None:
    """The fallbacks of a group; ``None`` where it has none. A list of names, or of dicts with a model, is for every group."""
    if fallbacks and all(isinstance(row, str) or (isinstance(row, Mapping) and "model" in row) for row in fallbacks):
        return list(fallbacks)
    rows = {name: others for row in reversed(fallbacks) for name, others in row.items()}
    bare = model.partition("/")[2]
    found: Sequence[Any] | None = _first(rows.get(model), rows.get(bare) if bare else None, rows.get("*"))
    return found


def _group_of(fallback: Any) -> Any:
    return fallback.get("model") if isinstance(fallback, Mapping) and len(fallback) == 1 else fallback


_OF_ONE_GROUP = frozenset(
    {
        *("mock_testing_fallbacks", "mock_testing_context_fallbacks", "mock_testing_content_policy_fallbacks"),
        *("api_key", "api_base", "base_url", "api_version", "organization", "custom_llm_provider", "headers", "extra_headers"),
    }
)
"""Arguments of a call that do not go to its fallbacks, which may be another vendor's."""
_PRETENDED: Mapping[str, str] = {
    "mock_testing_fallbacks": "InternalServerError",
    "mock_testing_context_fallbacks": "ContextWindowExceededError",
    "mock_testing_content_policy_fallbacks": "ContentPolicyViolationError",
}


def _pretend(own: Mapping[str, Any], model: str) -> None:
    """Fail as ``mock_testing_fallbacks`` and the like ask."""
    for name, kind in _PRETENDED.items():
        if own.get(name):
            raise exception_class(kind)(message=f"this is a mock error, {name}=True", model=model, llm_provider=None)


def _order(deployment: Deployment) -> float:
    order = deployment.litellm_params.get("order")
    return float("inf") if order is None else float(order)


Router, RetryPolicy = DeploymentRouter, RetriesByError
