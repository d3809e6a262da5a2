"""The configuration of a LiteLLM proxy as one of ours: what lands, what is listed, and that calls go where they went."""

from __future__ import annotations

import copy
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from llmdispatcher import ConfigError, Dispatcher, Request
from llmdispatcher.integrations import read_proxy_config
from llmdispatcher.integrations.litellm.proxy_config import period_of
from llmdispatcher.testing import VendorSimulator

from ..cases import each

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed; scripts/test installs it")
PROXY = Path(__file__).parent / "litellm_proxy.yaml"
VARIABLES = ("OPENAI_API_KEY", "AZURE_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY", "REDIS_HOST", "REDIS_PASSWORD")


@pytest.fixture
def imported():
    return read_proxy_config(PROXY)


@pytest.fixture
def written(tmp_path, imported, monkeypatch):
    """The file, with its variables set."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "localhost" if name == "REDIS_HOST" else f"value-of-{name}")
    path = tmp_path / "llmdispatcher.toml"
    path.write_text(imported.toml())
    return path


def _convert(tmp_path, table):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(table))
    return read_proxy_config(path)


def test_the_file_is_read_by_ours(written):
    """Without a mistake, and its pools have the targets of the groups."""
    with Dispatcher.from_file(written) as dispatcher:
        targets = {
            name: {str(target) for target in dispatcher.explain(Request(name, "Hello")).targets}
            for name in ("smart", "gpt-4", "small", "long", "tiny", "own", "groq:llama-9", "claude-opus-5")
        }
    both = {"openai:gpt-4o", "azure:my-gpt", "anthropic-2:claude-haiku-4-5"}
    assert targets == {
        "smart": both,
        "gpt-4": both,
        "small": {"openai-2:gpt-4o-mini", "google:gemini-2.5-pro"},
        "long": {"google:gemini-2.5-pro"},
        "tiny": {"openai-2:gpt-4.1-nano"},
        "own": {"openai-3:llama"},
        "groq:llama-9": {"groq:llama-9"},
        "claude-opus-5": {"anthropic:claude-opus-5"},
    }


def test_what_lands(imported):
    """Limits, fallbacks with their failures, variables, weights, cooldowns, tags."""
    found = tomllib.loads(imported.toml())
    smart, openai, azure = found["pools"]["smart"], found["vendors"]["openai"], found["vendors"]["azure"]
    assert smart == {"models": ["smart.any", "anthropic-2:claude-haiku-4-5"], "on": ["auth", "policy", "quota"]}
    assert found["pools"]["small"]["on"] == ["context"]
    assert (openai["api_key"], openai["rate_limit"]) == (
        "${OPENAI_API_KEY}",
        {"requests_per_minute": 900, "tokens_per_minute": 90000},
    )
    assert (azure["rate_limit"], azure["timeout"], azure["api_version"]) == ({"requests_per_minute": 100}, 60, "2024-10-21")
    assert found["balance"] == {"strategy": "weighted", "weights": {"openai": 900, "azure": 100}}
    assert found["circuit_breaker"]["open_time"] == 30
    assert found["retry_policy"]["max_retries"] == 2  # the router's wins
    assert found["limits_storage"] == "redis://:${REDIS_PASSWORD}@${REDIS_HOST}:6379"
    assert found["budgets"][0] == {"limit": "100", "period": "month", "name": "litellm"}
    assert found["routing_rules"][0]["condition"]["metadata"] == {"tag:paid": True}
    assert found["vendors"]["google"]["api_key"] == "lit$$eral"


def test_what_is_left_out_has_a_reason(imported):
    """Each with its place."""
    told = {line.place: line.text for line in imported.lines if line.outcome == "left"}
    assert "no vendor is known to have 'sagemaker/thing'" in told["model_list[9]"]
    assert "star" in told["model_list[8]"]
    assert told["router_settings.fallbacks[1].nobody"] == "it has no deployment that landed"
    assert "LLMDISPATCHER_ADMIN_KEY=$LITELLM_MASTER_KEY" in told["general_settings.master_key"]
    assert "litellm_settings.callbacks (langfuse)" in told
    assert told["general_settings.unheard_of"] == "there is no such setting here"


def _places(value, place=()):
    """The places of all tables in which settings stand."""
    if isinstance(value, dict):
        yield place
        for key, part in value.items():
            if key not in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "model_group_alias"):
                yield from _places(part, (*place, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _places(part, (*place, number))


def test_no_setting_is_lost(tmp_path):
    """One that nobody knows is listed wherever it stands, but in a deployment that is left out as a whole."""
    whole = yaml.safe_load(PROXY.read_text())
    left_out = (("model_list", 8), ("model_list", 9))
    for place in [place for place in _places(whole) if place[:2] not in left_out or len(place) == 2]:
        changed = copy.deepcopy(whole)
        at = changed
        for key in place:
            at = at[key]
        at["zz_invented"] = 1
        assert any("zz_invented" in line.place for line in _convert(tmp_path, changed).lines), place


def test_calls_are_shared_by_weight(tmp_path):
    """Among the deployments of a group; when one is down the other answers, and then the fallback."""
    with VendorSimulator() as simulator:
        deployments = [
            ("smart", "gpt-4o", {"weight": 3}),
            ("smart", "gpt-4.1", {"weight": 1}),
            ("spare", "gpt-4o-mini", {}),
        ]
        table = {
            "model_list": [
                {
                    "model_name": name,
                    "litellm_params": {"model": f"openai/{model}", "api_base": simulator.openai_url, "api_key": "k", **more},
                }
                for name, model, more in deployments
            ],
            "litellm_settings": {"fallbacks": [{"smart": ["spare"]}], "num_retries": 0},
        }
        path = tmp_path / "llmdispatcher.toml"
        path.write_text(_convert(tmp_path, table).toml())
        with Dispatcher.from_file(path) as dispatcher:
            asked = Counter(dispatcher.send(Request("smart", f"Hello {number}")).model for number in range(200))
    assert set(asked) == {"gpt-4o", "gpt-4.1"}
    assert asked["gpt-4o"] > asked["gpt-4.1"]  # 150 to 50; by chance less than once in 10^12


def test_a_second_account_for_a_wildcard_is_a_second_key(tmp_path):
    """Where all else is the same."""
    table = {
        "model_list": [
            {"model_name": "openai/*", "litellm_params": {"model": "openai/*", "api_key": f"os.environ/KEY_{number}"}}
            for number in (1, 2)
        ]
    }
    assert _convert(tmp_path, table).settings["vendors"]["openai"]["api_key"] == ["${KEY_1}", "${KEY_2}"]


def test_credentials_and_included_files(tmp_path):
    """Are read where deployments name them."""
    (tmp_path / "models.yaml").write_text(
        "model_list: [{model_name: a, litellm_params: {model: azure/dep, litellm_credential_name: c}}]"
    )
    (tmp_path / "config.yaml").write_text(
        "include: [models.yaml]\n"
        "credential_list: [{credential_name: c, credential_values: {api_key: os.environ/K, api_base: https://x.openai.azure.com}}]"
    )
    assert read_proxy_config(tmp_path / "config.yaml").settings["vendors"]["azure"] == {
        "kind": "azure",
        "api_key": "${K}",
        "base_url": "https://x.openai.azure.com",
        "models": ["dep"],
    }


def test_no_key_is_shown(imported):
    """In the file for a terminal, and in the repr."""
    assert "lit$$eral" in imported.toml()
    assert "lit$" not in imported.toml(hidden=True) + repr(imported)
    assert "${OPENAI_API_KEY}" in imported.toml(hidden=True)


@each(
    "text, told",
    [
        ("- a\n", "list is no configuration of LiteLLM"),
        ("a: [", "not YAML at line"),
        ("model_list: 3", "model_list: int is no list"),
        ("include: [config.yaml]", "included in itself"),
        ("a: &a [*a", "not YAML"),
        ("!!python/object/apply:os.system [ls]", "not YAML"),
    ],
)
def test_what_is_no_configuration(tmp_path, text, told):
    """Is told with its place."""
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(told)):
        read_proxy_config(tmp_path / "config.yaml")


@each(
    "value",
    [
        None,
        0,
        "",
        [],
        {},
        "text",
        {"model_name": None},
        {"model_name": "a", "litellm_params": {"model": None}},
        {"model_name": "a", "litellm_params": {"model": "openai/x", "rpm": "many", "tags": None, "headers": 3, "api_key": 7}},
        {"model_name": "*", "litellm_params": {"model": "*"}},
    ],
)
def test_odd_deployments(tmp_path, value):
    """Are listed, and the others land."""
    good = {"model_name": "b", "litellm_params": {"model": "openai/gpt-4o"}}
    found = _convert(tmp_path, {"model_list": [value, good], "litellm_settings": None, "router_settings": {"fallbacks": 3}})
    assert found.settings["pools"]["b"]
    assert any(line.place.startswith("model_list[0]") for line in found.lines)


@each(
    "text, period", [("30d", "month"), ("1d", "day"), ("7d", "week"), (None, "total"), ("3mo", "90d"), ("90s", "2m"), ("5h", "5h")]
)
def test_durations(text, period):
    """As periods of a budget."""
    assert period_of(text) == period
