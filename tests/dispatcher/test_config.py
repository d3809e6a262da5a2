"""Configuration: values or dicts, checked once, every mistake with its path."""

import attrs
import pytest

from llmdispatcher import (
    BackoffStrategy,
    Config,
    ConfigError,
    CostOptimization,
    LatencyOptimization,
    RetryPolicy,
    RoutingCondition,
    RoutingRule,
    VendorConfig,
)
from llmdispatcher.types import validators as checks


def test_an_empty_configuration_works():
    """Thirty seconds, three retries, no preferences."""
    config = Config()

    assert ("auto", RetryPolicy(), ()) == (config.timeout, config.retry_policy, config.routing_rules)
    assert (None, None, None) == (config.default_vendor, config.cost_optimization, config.latency_optimization)


def test_dicts_are_values():
    """The same configuration in plain data, as a file would give it."""
    values = Config(
        default_vendor="openai",
        timeout=5,
        retry_policy=RetryPolicy(max_retries=1, backoff_strategy=BackoffStrategy.LINEAR),
        routing_rules=[RoutingRule(condition=RoutingCondition(model_pattern="claude-*"), vendor="anthropic", priority=10)],
        cost_optimization=CostOptimization(max_cost="0.05"),
        latency_optimization=LatencyOptimization(max_latency=5.0),
    )
    dicts = {
        "default_vendor": "openai",
        "timeout": 5,
        "retry_policy": {"max_retries": 1, "backoff_strategy": "linear"},
        "routing_rules": [{"condition": {"model_pattern": "claude-*"}, "vendor": "anthropic", "priority": 10}],
        "cost_optimization": {"max_cost": 0.05},
        "latency_optimization": {"max_latency": 5.0},
    }

    assert values == checks.build(Config, dicts, "config")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"timeout": 0}, "timeout: 0 is not a number of seconds > 0; use None for no limit"),
        ({"timeout": "30"}, "timeout: '30' is not a number of seconds > 0"),
        ({"timeout": True}, "timeout: True is not"),
        ({"timeout": float("nan")}, "timeout: nan is not"),
        ({"default_vendor": ""}, "default_vendor: '' is not a name"),
        ({"retry_policy": {"max_retries": -1}}, "retry_policy.max_retries: -1 is not a whole number ≥ 0"),
        ({"retry_policy": {"retries": 1}}, "retry_policy: unknown key 'retries'; did you mean 'max_retries'?"),
        ({"retry_policy": 3}, "retry_policy: int is not a RetryPolicy; give one, or a dict of its fields"),
        ({"routing_rules": {"vendor": "a"}}, "routing_rules: dict is not a list of rules"),
        ({"routing_rules": [{"vendor": "a"}, {}]}, "routing_rules[1]: 'vendor' is missing; a RoutingRule needs it"),
        (
            {"routing_rules": [{"vendor": "a", "condition": {"modle": "x"}}]},
            "routing_rules[0].condition: unknown key 'modle'; did you mean 'model_pattern'?",
        ),
        (
            {"routing_rules": [{"vendor": "a", "condition": {"requires": ["telepathy"]}}]},
            "routing_rules[0].condition.requires: 'telepathy' is not a capability",
        ),
        ({"cost_optimization": {"max_cost": "lots"}}, "cost_optimization.max_cost: 'lots' is not an amount"),
        ({"latency_optimization": {"latency_weights": {"a": -1}}}, "latency_optimization.latency_weights['a']: -1 is not a factor"),
        (
            {"fallback_vendor": "anthropic", "fallback_model": "openai:gpt-4o"},
            "fallback_model: 'openai:gpt-4o' names openai, and the fallback_vendor is 'anthropic'; give a model of 'anthropic'",
        ),
        (
            {"fallback_vendor": "anthropic", "fallback_model": "groq:llama-9"},
            "fallback_model: 'groq:llama-9' names groq, and the fallback_vendor is 'anthropic'; give a model of 'anthropic'",
        ),
        (
            {"fallback_model": "gpt-4o"},
            "fallback_model: 'gpt-4o' is of no use without a fallback_vendor; name that vendor, or leave it out",
        ),
    ],
)
def test_a_mistake_is_reported_with_its_path(settings, message):
    """Where it stands, what stands there, what may stand there."""
    with pytest.raises(ConfigError) as raised:
        Config(**settings)

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("vendor", "model"),
    [
        ("azure", "Azure-OpenAI:gpt-4o"),
        ("anthropic", "claude-opus-5"),
        ("mine", "mine:large"),
        ("ollama", "mistral:7b"),
        ("openai", "ft:gpt-4o-mini:me"),
        ("anthropic", None),
        (None, None),
        (None, False),
    ],
)
def test_a_fallback_model_is_one_of_the_fallback_vendors(vendor, model):
    """By its name alone or with the vendor's; a colon may stand in the name itself. That there is to be none needs no vendor."""
    assert (model or None) == Config(fallback_vendor=vendor, fallback_model=model).fallback_model


def test_no_timeout_is_a_timeout():
    """None means that calls may take for ever."""
    assert None is Config(timeout=None).timeout


def test_none_in_the_place_of_a_part_is_its_default():
    """A file may leave a section empty."""
    assert Config() == Config(retry_policy=None, routing_rules=None)


def test_preferences_are_what_routing_needs():
    """Rules in order of priority, names in their one spelling."""
    config = Config(
        routing_rules=[RoutingRule(vendor="a"), RoutingRule(vendor="b", priority=1)],
        default_vendor="Azure-OpenAI",
        cost_optimization={},
    )
    preferences = config.preferences()

    assert ["b", "a"] == [rule.vendor for rule in preferences.rules.rules]
    assert ("azure", None, CostOptimization()) == (preferences.default_vendor, preferences.fallback_vendor, preferences.cost)


def test_configurations_are_values():
    """Equal when equal, changed by making a copy."""
    assert Config(default_vendor="a", timeout=1) == attrs.evolve(Config(default_vendor="a"), timeout=1)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Config().timeout = 1


def test_a_key_is_not_shown():
    """Nor are headers and proxies, which carry secrets too."""
    config = VendorConfig(api_key="sk-secret", headers={"X-Token": "hush"}, proxy="http://ada:lovelace@proxy.example:3128")

    assert not any(secret in repr(config) for secret in ("sk-secret", "hush", "lovelace"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"api_key": ""}, "api_key: it is empty or no text"),
        ({"base_url": "api.example.com"}, "base_url: 'api.example.com' is not an address"),
        ({"timeout": -1}, "timeout: -1 is not a number of seconds > 0"),
        ({"idle_timeout": 0}, "idle_timeout: 0 is not"),
        ({"headers": {"X-Count": 3}}, "headers['X-Count']: int is not a text"),
        ({"headers": "X: y"}, "headers: str is not a mapping"),
        ({"models": "gpt-*"}, "models: 'gpt-*' is not a list"),
        ({"model_map": {"gpt-*": None}}, "model_map['gpt-*']: NoneType is not a text"),
        ({"api": "completions"}, "api: 'completions' is not an API; use 'chat' or 'responses'"),
        ({"pool_size": 0}, "pool_size: 0 is no room for a connection"),
        ({"trust_env": "no"}, "trust_env: 'no' is neither True nor False"),
        ({"name": " "}, "name: ' ' is not a name"),
    ],
)
def test_a_wrong_vendor_setting_is_named(settings, message):
    """Field, value, remedy."""
    with pytest.raises(ConfigError) as raised:
        VendorConfig(**settings)

    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "ftp://ada:lovelace@x"},
        {"proxy": ["http://ada:lovelace@x"]},
        {"headers": {"X": b"lovelace"}},
        {"api_key": b"lovelace"},
    ],
)
def test_a_mistake_with_a_secret_does_not_tell_it(settings):
    """The error may end up in a log."""
    with pytest.raises(ConfigError) as raised:
        VendorConfig(**settings)

    assert "lovelace" not in str(raised.value)


def test_settings_go_over_the_configuration():
    """Keyword arguments win, the rest stays."""
    merged = VendorConfig.merge(VendorConfig(api_key="k", timeout=5), {"timeout": 9, "name": "eu"})

    assert VendorConfig(api_key="k", timeout=9, name="eu") == merged


@pytest.mark.parametrize("given", [None, {"api_key": "k"}, VendorConfig(api_key="k")])
def test_a_vendor_is_configured_by_value_dict_or_nothing(given):
    """All three are the same door."""
    assert (given is not None) == (VendorConfig.merge(given, {}).api_key == "k")


def test_an_unknown_setting_is_named():
    """A typing mistake is not ignored."""
    with pytest.raises(ConfigError, match="vendor: unknown setting 'api_kye'; did you mean 'api_key'"):
        VendorConfig.merge(None, {"api_kye": "k"})


@pytest.mark.parametrize("field", ["cache", "hedge", "continuation", "cost_optimization", "latency_optimization", "admission"])
def test_a_setting_is_switched_on_and_off(field):
    """True is the default one; False is none, as ``None`` is."""
    assert getattr(Config(**{field: True}), field) == getattr(Config(**{field: {}}), field)
    assert None is getattr(Config(**{field: False}), field) is getattr(Config(**{field: None}), field)
