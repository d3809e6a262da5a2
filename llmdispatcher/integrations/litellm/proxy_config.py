"""The configuration of a LiteLLM proxy as one of ours: each setting lands, lands changed, or is left out with a reason.

A model group becomes a pool. A deployment becomes a model of a vendor; deployments of one account that have no limits of their own
share a vendor. The vendors of a group with several deployments answer for one name, ``GROUP.any``, and share its calls by weight.
The three kinds of fallbacks are the later models of the pool and the failures after which it goes on. ``os.environ/NAME`` becomes
``${NAME}``. Settings and defaults: https://docs.litellm.ai/docs/proxy/config_settings (2026-11).
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from llmdispatcher import ConfigError, DispatchError
from llmdispatcher.types import Secret

from .providers import target_of
from .proxy_reasons import REASONS, STRATEGIES

MOST_BYTES = 16 << 20
_DEPTH = 24
_ENVIRONMENT = "os.environ/"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_LIMITS = {"rpm": "requests_per_minute", "tpm": "tokens_per_minute", "max_parallel_requests": "max_in_flight"}
_TEXTS = {"api_key": "api_key", "base_url": "base_url", "api_base": "base_url", "api_version": "api_version"}
_FALLBACKS = {"fallbacks": ("quota", "auth"), "context_window_fallbacks": ("context",), "content_policy_fallbacks": ("policy",)}
"""The kinds of fallbacks, and the lasting failures after which a pool with such goes on."""


@attrs.frozen
class ImportLine:
    """What became of one setting: ``outcome`` is "landed", "changed" or "left", and ``text`` says where it is, or why not."""

    place: str
    outcome: str
    text: str


@attrs.frozen
class ImportedConfig:
    """The settings of ours, and a line for each of LiteLLM's. The ``repr`` holds no key."""

    settings: Mapping[str, Any] = attrs.field(repr=False)
    lines: tuple[ImportLine, ...]

    def toml(self, *, hidden: bool = False) -> str:
        """The settings as a configuration file; ``hidden`` leaves out keys that are written out, for a terminal."""
        vendors = {name: _without_keys(table) if hidden else table for name, table in self.settings["vendors"].items()}
        return "\n".join(_toml_lines({**self.settings, "vendors": vendors})) + "\n"


def read_proxy_config(path: str | os.PathLike[str]) -> ImportedConfig:
    """Read a ``config.yaml`` with the files that it includes. Raises :class:`ConfigError` for what is none."""
    path = Path(path)
    return _Importer(_read(path, path.parent, set())).run()


def _read(path: Path, folder: Path, seen: set[Path]) -> dict[str, Any]:
    found = _parse(path)
    seen.add(path.resolve())
    included = found.pop("include", None)
    for name in included if isinstance(included, list) else ():
        other = folder / str(name)
        if other.resolve() in seen:
            raise ConfigError(f"{path}: include: {name!r} is included in itself, or twice")
        for key, value in _read(other, folder, seen).items():
            mine = found.get(key)
            if isinstance(mine, list) and isinstance(value, list):
                found[key] = [*mine, *value]
            elif isinstance(mine, dict) and isinstance(value, dict):
                found[key] = {**mine, **value}
            else:
                found[key] = value
    return found


def _parse(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError:
        raise ConfigError("PyYAML is not installed; pip install 'llmdispatcher[yaml]'") from None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ConfigError(f"{path}: longer than {MOST_BYTES:,} bytes; this is no configuration")
        found = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark is not None else ""
        raise ConfigError(f"{path}: not YAML{where}: {getattr(error, 'problem', None) or type(error).__name__}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path}: {type(found).__name__} is no configuration of LiteLLM; it has model_list and *_settings")
    return found


class _Section:
    """A table of the file, whose settings are taken one by one; what nobody takes is listed at the end."""

    def __init__(self, table: Any, place: str, lines: list[ImportLine]) -> None:
        self._left = dict(table) if isinstance(table, Mapping) else {}
        self.place = place
        self._lines = lines
        if table is not None and not isinstance(table, Mapping):
            self.say("", "left", f"{type(table).__name__} is no table")

    def take(self, key: str) -> Any:
        """The value, or ``None``; it is up to the caller to say what becomes of it."""
        return self._left.pop(key, None)

    def number(self, key: str) -> float | None:
        """A number above 0; anything else is listed as left."""
        value = self.take(key)
        if value is None:
            return None
        try:
            number = float(value) if not isinstance(value, bool) else math.nan
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < 1e15:
            self.say(key, "left", f"{_short(value)} is no number that is written out")
            return None
        return int(number) if number == int(number) else number

    def text(self, key: str) -> str | None:
        """A text as our file has it, with variables; anything else is listed as left."""
        value = self.take(key)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            self.say(key, "left", f"{type(value).__name__} is no text")
            return None
        return text_of(value)

    def say(self, key: str, outcome: str, text: str) -> None:
        """List what became of a setting."""
        place = ".".join([part for part in (self.place, key) if part])
        self._lines.append(ImportLine(place, outcome, text))

    def rest(self) -> None:
        """List what nobody took."""
        for key in list(self._left):
            value = self._left.pop(key)
            if value is not None:
                self.say(str(key)[:80], "left", REASONS.get(str(key), "there is no such setting here"))


def text_of(value: str) -> str:
    """A text of LiteLLM's file in ours: ``os.environ/X`` is ``${X}``, and a dollar sign is two."""
    if value.startswith(_ENVIRONMENT):
        return "${" + value.removeprefix(_ENVIRONMENT).strip() + "}"
    return value.replace("$", "$$")


def _short(value: Any) -> str:
    return repr(value[:40]) if isinstance(value, str) else type(value).__name__


@attrs.define
class _Group:
    """A model group: its deployments by their order, each as (vendor, model)."""

    members: dict[float, list[tuple[str, str]]] = attrs.field(factory=dict)
    further: list[str] = attrs.field(factory=list)
    on: set[str] = attrs.field(factory=set)


class _Importer:
    def __init__(self, found: dict[str, Any]) -> None:
        self._found = found
        self.lines: list[ImportLine] = []
        self._vendors: dict[str, dict[str, Any]] = {}
        self._accounts: dict[str, list[str]] = {}
        """Names of vendors that take further models, by what they are reached with."""
        self._groups: dict[str, _Group] = {}
        self._weights: dict[str, float] = {}
        self._settings: dict[str, Any] = {}
        self._rules: list[dict[str, Any]] = []
        self._credentials: dict[str, Mapping[str, Any]] = {}
        self._for_all: dict[str, Any] = {}
        """Settings of every vendor."""

    def run(self) -> ImportedConfig:
        general, litellm, router = (
            _Section(self._found.pop(name, None), name, self.lines)
            for name in ("general_settings", "litellm_settings", "router_settings")
        )
        self._read_credentials()
        filtering = router.take("enable_tag_filtering")
        if filtering is not None:
            router.say(
                "enable_tag_filtering", "landed" if filtering else "left", "tags become routing rules" if filtering else "off"
            )
        self._read_models(tags=bool(filtering))
        for section in (litellm, router):  # the router's win
            self._read_behaviour(section)
        self._read_fallbacks(litellm, router)
        self._read_aliases(router)
        self._read_router(router)
        self._read_litellm(litellm)
        self._read_general(general)
        for name in self._found.pop("environment_variables", None) or {}:
            self.lines.append(ImportLine(f"environment_variables.{name}", "left", "set it in the environment of `serve`"))
        for section in (general, litellm, router, _Section(self._found, "", self.lines)):
            section.rest()
        return ImportedConfig(self._whole(), tuple(self.lines))

    # Deployments

    def _read_credentials(self) -> None:
        for number, entry in enumerate(self._found.pop("credential_list", None) or ()):
            section = _Section(entry, f"credential_list[{number}]", self.lines)
            name, values = section.take("credential_name"), section.take("credential_values")
            section.take("credential_info")
            if isinstance(name, str) and isinstance(values, Mapping):
                self._credentials[name] = values
                section.say("", "landed", "with the deployments that name it")
            section.rest()

    def _read_models(self, *, tags: bool) -> None:
        entries = self._found.pop("model_list", None) or []
        if not isinstance(entries, list):
            raise ConfigError(f"model_list: {type(entries).__name__} is no list; this is no configuration of LiteLLM")
        numbered = [(number, entry) for number, entry in enumerate(entries)]
        starred = [one for one in numbered if isinstance(one[1], dict) and "*" in str(one[1].get("model_name"))]
        for number, entry in [*starred, *(one for one in numbered if one not in starred)]:
            section = _Section(entry, f"model_list[{number}]", self.lines)
            self._read_deployment(section, tags=tags)
            section.rest()

    def _read_deployment(self, section: _Section, *, tags: bool) -> None:
        name, given = section.take("model_name"), section.take("litellm_params")
        given = dict(given) if isinstance(given, Mapping) else {}
        for limit in ("rpm", "tpm"):
            if (value := section.take(limit)) is not None:
                given.setdefault(limit, value)
        credential = given.pop("litellm_credential_name", None)
        given = {**self._credentials.get(str(credential), {}), **given}
        params = _Section(given, f"{section.place}.litellm_params", self.lines)
        info = _Section(section.take("model_info"), f"{section.place}.model_info", self.lines)
        model, provider = params.take("model"), params.take("custom_llm_provider")
        if not isinstance(name, str) or not name.strip() or not isinstance(model, str):
            section.say("", "left", "model_name or litellm_params.model is missing")
            return
        if credential is not None and str(credential) not in self._credentials:
            section.say("litellm_params.litellm_credential_name", "left", "it is not in credential_list")
        try:
            found = target_of(model if model != "*" else "openai/*", provider)
        except DispatchError as error:
            why = error.message.partition("; give")[0].rpartition("LLM Provider NOT provided. ")[2]
            section.say("", "left", f"{name}: {why}; docs/vendors.md has the vendors that are known")
            return
        vendor = self._vendor_of(params, found.row)
        limited = bool(vendor.get("rate_limit"))
        weight = params.number("weight") or (vendor.get("rate_limit") or {}).get("requests_per_minute")
        order = params.number("order") or 0
        labels = [str(tag) for tag in params.take("tags") or () if isinstance(tag, str | int)]
        if "*" in name:
            self._add_wildcard(section, name, found.model, vendor)
        else:
            at = self._account(found.row, vendor, name, apart=limited or bool(labels and tags) or weight is not None)
            group = self._groups.setdefault(name.strip(), _Group())
            group.members.setdefault(order, []).append((at, found.model))
            models = self._vendors[at].get("models")
            if models is not None and found.model not in models:
                models.append(found.model)
            if weight is not None:
                self._weights[at] = weight
            section.say("", "landed", f"{name}: vendor {at}, model {found.model}")
            self._read_tags(params, labels, name, at, tags=tags)
        info.take("id")
        info.take("mode")
        params.rest()
        info.rest()

    def _read_tags(self, params: _Section, labels: Sequence[str], name: str, at: str, *, tags: bool) -> None:
        if not labels:
            return
        if not tags:
            params.say("tags", "left", "router_settings.enable_tag_filtering is off, so they choose nothing")
            return
        for label in labels:
            if label != "default":
                condition = {"model_pattern": name, "metadata": {f"tag:{label}": True}}
                self._rules.append({"name": f"tag {label}", "vendor": at, "condition": condition})
        params.say("tags", "changed", f"calls of keys with such a tag ask {at} first; they may still fail over to others")

    def _vendor_of(self, params: _Section, row: str) -> dict[str, Any]:
        """The settings of the vendor of a deployment."""
        made: dict[str, Any] = {"kind": row}
        for theirs, ours in _TEXTS.items():
            if (text := params.text(theirs)) is not None:
                made[ours] = text
        if row != "azure" and made.pop("api_version", None) is not None:
            params.say("api_version", "left", f"{row} has none")
        if made.get("base_url") and row == "openai":
            made["api"] = "chat"  # which is what servers of OpenAI's format have
        if headers := self._headers_of(params, row):
            made["headers"] = headers
        if (seconds := params.number("timeout")) is not None:
            made["timeout"] = seconds
        if (seconds := params.number("stream_timeout")) is not None:
            made["first_byte_timeout"] = seconds
            params.say("stream_timeout", "changed", "it counts until the first byte of any answer (first_byte_timeout)")
        if params.take("drop_params"):
            made["drop_params"] = True
        limits: dict[str, int] = {ours: int(value) for theirs, ours in _LIMITS.items() if (value := params.number(theirs))}
        if limits:
            made["rate_limit"] = limits
        return made

    @staticmethod
    def _headers_of(params: _Section, row: str) -> dict[str, str]:
        headers: dict[str, str] = {}
        for field in ("extra_headers", "headers"):
            value = params.take(field)
            headers |= {str(key): text_of(str(text)) for key, text in value.items()} if isinstance(value, Mapping) else {}
        organization = params.text("organization")
        if organization is not None and row == "openai":
            headers["OpenAI-Organization"] = organization
        return headers

    def _account(self, row: str, vendor: dict[str, Any], group: str, *, apart: bool) -> str:
        """The name of the vendor for a deployment: one that is there for its account, unless it has limits or weight of its own."""
        account = json.dumps(vendor, sort_keys=True)
        for name in () if apart else self._accounts.get(account, ()):
            taken = [at for models in self._groups.get(group, _Group()).members.values() for at, _model in models]
            if name not in taken:
                return name
        name = self._free_name(row)
        self._vendors[name] = {**vendor, "models": []}
        if not apart:
            self._accounts.setdefault(account, []).append(name)
        return name

    def _free_name(self, wanted: str) -> str:
        names = [wanted, *(f"{wanted}-{number}" for number in range(2, len(self._vendors) + 3))]
        return next(name for name in names if name not in self._vendors)

    def _add_wildcard(self, section: _Section, name: str, model: str, vendor: dict[str, Any]) -> None:
        """A name with a star: ``P/*`` is a vendor P, ``gpt-*`` a vendor that has such models, ``*`` the default vendor."""
        head, slash, tail = name.rpartition("/")
        if name.count("*") > 1 or (tail != model and name != "*"):
            section.say("", "left", f"{name}: its star stands for another part than that of {model}; name the models one by one")
            return
        wanted = head if slash and _PLAIN.fullmatch(head) else vendor["kind"]
        there = self._vendors.get(wanted)
        if there is not None and {**there, "api_key": None, "models": None} == {**vendor, "api_key": None, "models": None}:
            keys = there.get("api_key")
            keys = keys if isinstance(keys, list) else [keys]
            if vendor.get("api_key") not in keys:
                there["api_key"] = [*keys, vendor.get("api_key")]
            section.say("", "landed", f"{name}: a further key of the vendor {wanted}")
            return
        if there is not None:
            section.say("", "left", f"{name}: the vendor {wanted} is there already, with another address or other settings")
            return
        self._vendors[wanted] = dict(vendor) if tail in ("*", "") else {**vendor, "models": [tail]}
        if tail == "*":
            self._accounts.setdefault(json.dumps(vendor, sort_keys=True), []).append(wanted)
        if name == "*":
            self._settings.setdefault("default_vendor", wanted)
            section.say("", "changed", f"{name}: {wanted} is the default vendor; it is asked for models of its own families")
        else:
            section.say("", "landed", f"{name}: vendor {wanted}")

    # Behaviour

    def _read_behaviour(self, section: _Section) -> None:
        """What LiteLLM's module and its router both have."""
        if (number := section.number("num_retries")) is not None:
            self._settings.setdefault("retry_policy", {})["max_retries"] = int(number)
            section.say("num_retries", "landed", "retry_policy.max_retries")
        for key in ("request_timeout", "timeout"):
            if (seconds := section.number(key)) is not None:
                self._settings["timeout"] = seconds
                section.say(key, "changed", "timeout: it holds for a call with all its attempts, not for each of them")
        if (seconds := section.number("stream_timeout")) is not None:
            self._for_all["first_byte_timeout"] = seconds
            section.say("stream_timeout", "changed", "first_byte_timeout of every vendor")
        if (seconds := section.number("retry_after")) is not None:
            self._settings.setdefault("retry_policy", {})["initial_delay"] = seconds
            section.say("retry_after", "landed", "retry_policy.initial_delay")
        breaker: dict[str, Any] = {}
        if (fails := section.number("allowed_fails")) is not None:
            breaker |= {"min_calls": int(fails) + 1, "window": 60}
            section.say("allowed_fails", "changed", "circuit_breaker.min_calls: so many calls in a minute, half of which failed")
        if (seconds := section.number("cooldown_time")) is not None:
            breaker |= {"open_time": seconds, "max_open_time": max(seconds, 1)}
            section.say("cooldown_time", "landed", "circuit_breaker.open_time")
        if breaker:
            self._settings.setdefault("circuit_breaker", {}).update(breaker)
        if (enabled := section.take("disable_cooldowns")) is not None and enabled:
            self._settings.setdefault("circuit_breaker", {})["enabled"] = False
            section.say("disable_cooldowns", "landed", "circuit_breaker.enabled")

    def _read_fallbacks(self, litellm: _Section, router: _Section) -> None:
        for key, on in _FALLBACKS.items():
            for section in (litellm, router):
                for number, table in enumerate(_listed(section.take(key))):
                    for name, others in table.items() if isinstance(table, Mapping) else ():
                        self._add_fallbacks(section, f"{key}[{number}].{name}", str(name), _listed(others), on)
        default = [name for section in (litellm, router) for name in _listed(section.take("default_fallbacks"))]
        for name, group in self._groups.items() if default else ():
            if not group.further:
                self._add_fallbacks(
                    litellm, f"default_fallbacks ({name})", name, [one for one in default if one != name], ("quota", "auth")
                )

    def _add_fallbacks(self, section: _Section, key: str, name: str, others: Sequence[Any], on: Sequence[str]) -> None:
        group = self._groups.get(name)
        known = []
        for other in others:
            head, slash, tail = str(other).partition("/")
            if isinstance(other, str) and other in self._groups:
                known.append(other)
            elif slash and head in self._vendors:
                known.append(f"{head}:{tail}")
            else:
                section.say(key, "left", f"{_short(other)} is no model group of model_list that landed")
        if group is None:
            section.say(key, "left", "it has no deployment that landed")
        elif known:
            group.further += [other for other in known if other not in group.further]
            group.on |= set(on)
            text = f"pool {name}: then {', '.join(known)}"
            section.say(
                key, "landed" if "auth" in on else "changed", text if "auth" in on else f"{text}; also after passing failures"
            )

    def _read_aliases(self, router: _Section) -> None:
        aliases = router.take("model_group_alias")
        for alias, told in aliases.items() if isinstance(aliases, Mapping) else ():
            name = told.get("model") if isinstance(told, Mapping) else told
            if name in self._groups and alias not in self._groups:
                self._groups[str(alias)] = self._groups[name]
                router.say(f"model_group_alias.{alias}", "landed", f"pool {alias}, as {name}")
            else:
                router.say(f"model_group_alias.{alias}", "left", f"{_short(name)} is no model group, or {alias!r} is one")

    def _read_router(self, router: _Section) -> None:
        told = router.take("routing_strategy") or "simple-shuffle"
        strategy, text = STRATEGIES.get(
            str(told), (None, "there is no such strategy here; docs/routing.md has those that there are")
        )
        if strategy is None:
            router.say("routing_strategy", "left", text)
            strategy = "weighted"
        elif told != "simple-shuffle":
            router.say("routing_strategy", "changed" if text else "landed", text or f"balance: {strategy}")
        self._settings["balance"] = {"strategy": strategy, **({"weights": self._weights} if self._weights else {})}
        if (server := self._redis(router, "redis_")) is not None:
            self._settings["limits_storage"] = server
            router.say("redis_*", "landed", "limits_storage")
        if router.take("enable_pre_call_checks") is not None:
            router.say("enable_pre_call_checks", "landed", "windows and abilities are always checked")

    def _read_litellm(self, litellm: _Section) -> None:
        if litellm.take("drop_params"):
            self._for_all["drop_params"] = True
            litellm.say("drop_params", "landed", "drop_params of every vendor")
        limit, period = litellm.number("max_budget"), litellm.take("budget_duration")
        if limit:
            self._settings["budgets"] = [{"limit": f"{limit}", "period": period_of(period), "name": "litellm"}]
            litellm.say("max_budget", "landed", f"budgets: ${limit}, {period_of(period)}")
        for key in ("callbacks", "success_callback", "failure_callback", "service_callback"):
            for name in _listed(litellm.take(key)):
                outcome = "landed" if name == "prometheus" else "left"
                litellm.say(f"{key} ({str(name)[:60]})", outcome, REASONS.get(f"callback {name}", REASONS["callback"]))
        cache, params = litellm.take("cache"), _Section(litellm.take("cache_params"), "litellm_settings.cache_params", self.lines)
        if cache:
            self._read_cache(litellm, params)
        params.rest()

    def _read_cache(self, litellm: _Section, params: _Section) -> None:
        kind = str(params.take("type") or "redis")
        made: dict[str, Any] = {}
        if (ttl := params.number("ttl")) is not None:
            made["ttl"] = ttl
        if kind == "redis":
            server = self._redis(params, "")
            made["store"] = server or "redis://${REDIS_HOST}:6379"
        elif kind != "local":
            litellm.say("cache_params.type", "left", f"{kind}: there is a cache in memory, SQLite, PostgreSQL and Redis")
            return
        self._settings["cache"] = made or True
        litellm.say("cache", "changed", f"cache ({kind}); by default it keeps no answers with tools, nor above temperature 0.1")

    def _redis(self, section: _Section, prefix: str) -> str | None:
        url, host = section.text(f"{prefix}url"), section.text(f"{prefix}host")
        raw_port, password = section.take(f"{prefix}port"), section.text(f"{prefix}password")
        if url is not None or host is None:
            return url
        port = text_of(str(raw_port)) if raw_port is not None else "6379"
        return f"redis://{f':{password}@' if password else ''}{host}:{port}"

    def _read_general(self, general: _Section) -> None:
        key = general.take("master_key")
        if isinstance(key, str):
            named = f"${key.removeprefix(_ENVIRONMENT)}" if key.startswith(_ENVIRONMENT) else "it"
            general.say("master_key", "left", f"start `serve` with LLMDISPATCHER_ADMIN_KEY={named}; it has 32 characters or more")
        if (most := general.number("global_max_parallel_requests")) is not None:
            self._settings["admission"] = int(most)
            general.say("global_max_parallel_requests", "landed", "admission, in each process")

    # What comes of it

    def _whole(self) -> dict[str, Any]:
        pools: dict[str, Any] = {}
        for name, group in self._groups.items():
            models = [*self._members(name, group)]
            for other in group.further:
                members = self._members(other, self._groups[other]) if other in self._groups else [other]
                models += [member for member in members if member not in models]
            pools[name] = {"models": models, "on": sorted(group.on)} if group.on else {"models": models}
        for vendor in self._vendors.values():
            for field, value in self._for_all.items():
                vendor.setdefault(field, value)
            if vendor.get("models") == []:
                del vendor["models"]
        made: dict[str, Any] = dict(sorted(self._settings.items()))
        if self._rules:
            made["routing_rules"] = self._rules
        return {**made, "pools": pools, "vendors": self._vendors}

    def _members(self, name: str, group: _Group) -> Iterator[str]:
        """The models of a pool: a reference where one vendor has it, else a name that all these vendors take for theirs."""
        for turn, order in enumerate(sorted(group.members)):
            deployments = group.members[order]
            if len(deployments) == 1:
                yield f"{deployments[0][0]}:{deployments[0][1]}"
                continue
            first = next(one for one, other in self._groups.items() if other is group)  # an alias has the names of its group
            shared = f"{first}.any" if turn == 0 else f"{first}.any-{turn + 1}"
            for at, model in deployments:
                vendor = self._vendors[at]
                vendor.setdefault("model_map", {})[shared] = model
                if "models" in vendor and shared not in vendor["models"]:
                    vendor["models"].append(shared)
            yield shared


def _without_keys(table: Mapping[str, Any]) -> dict[str, Any]:
    hidden = {"api_key": "...", "headers": dict.fromkeys(table.get("headers", ()), "...")}
    shown = str(table.get("api_key", "")).startswith("${")
    return {name: hidden[name] if name in hidden and not (name == "api_key" and shown) else one for name, one in table.items()}


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]


def period_of(duration: Any) -> str:
    """The period of a budget for LiteLLM's duration, such as "30d": a calendar's day, week or month, else a sliding one."""
    text = str(duration or "").strip().lower()
    if not text:
        return "total"
    if text in ("1mo", "30d", "31d", "monthly"):
        return "month"
    if text in ("1d", "24h", "daily"):
        return "day"
    if text in ("7d", "1w", "weekly"):
        return "week"
    if text.endswith("mo") and text[:-2].isdecimal():
        return f"{int(text[:-2]) * 30}d"
    if text[-1:] == "s" and text[:-1].isdecimal():
        return f"{max(1, math.ceil(int(text[:-1]) / 60))}m"
    return text


def _toml_lines(settings: Mapping[str, Any]) -> Iterator[str]:
    """TOML: plain values first, then a table for each name in a table of tables."""
    yield "# Made by `llmdispatcher config import-litellm`."
    tables = {name: value for name, value in settings.items() if name in ("pools", "vendors")}
    for name, value in settings.items():
        if name not in tables:
            yield f"{_toml_key(name)} = {_toml(value)}"
    for name, table in tables.items():
        for inner, fields in table.items():
            yield ""
            yield f"[{name}.{_toml_key(inner)}]"
            for key, value in fields.items():
                yield f"{_toml_key(key)} = {_toml(value)}"


def _toml_key(key: str) -> str:
    return key if _PLAIN.fullmatch(key) else _toml(key)


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        inner = ", ".join([f"{_toml_key(str(key))} = {_toml(one)}" for key, one in value.items()])
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join([_toml(one) for one in value])}]"
    if isinstance(value, str):
        text = json.dumps(str.__str__(value) if isinstance(value, Secret) else value, ensure_ascii=False)
        return text.replace("\x7f", "\\u007f")
    return repr(value)
