"""The table ``[server]`` of a configuration file: each setting, mistakes with their places, and a reload."""

from __future__ import annotations

import pytest

from llmdispatcher import ConfigError, Dispatcher
from llmdispatcher.cli.main import main
from llmdispatcher.dispatcher import read_config_file
from llmdispatcher.server import GatewaySettings, create_app, settings_in
from llmdispatcher.testing import FakeVendor

from ..cases import each

_ALL = {
    "timeout": 60.0,
    "patience": 2.5,
    "heartbeat": 5,
    "auth_grace": 0,
    "default_max_tokens": 1000,
    "max_max_tokens": 8000,
    "record_days": 7,
    "drain_vendors": ["openai", "*"],
}


def _settings(tmp_path, text, settings=None):
    path = tmp_path / "llm.toml"
    path.write_text(text)
    return settings_in(read_config_file(path), settings or GatewaySettings())


def test_each_setting_of_the_table_counts(tmp_path):
    """And what the file does not say stays."""
    found = _settings(tmp_path, "[server]\n" + "".join(f"{name} = {value}\n" for name, value in _ALL.items()))

    assert {**_ALL, "drain_vendors": ("openai", "*")} == {name: getattr(found, name) for name in _ALL}
    assert GatewaySettings().threads == found.threads
    kept = GatewaySettings(max_max_tokens=5, stateful=True)
    assert kept == _settings(tmp_path, "[server]\n", kept)


@each(
    "line, told",
    [
        ("max_tokens = 5", "server: unknown key 'max_tokens'; did you mean 'max_max_tokens'"),
        ("timeout = 0", "server.timeout: 0 is not a number of seconds > 0"),
        ("auth_grace = -1", "server.auth_grace: -1 is not a number ≥ 0"),
        ("record_days = 0", "server.record_days: 0 is not a whole number ≥ 1"),
        ("max_max_tokens = true", "server.max_max_tokens: True is not a whole number ≥ 1"),
        ("drain_vendors = [5]", r"server.drain_vendors: \[5\] is no list of vendors' names"),
    ],
)
def test_mistakes_name_their_place(tmp_path, line, told):
    """And the remedy."""
    with pytest.raises(ConfigError, match=told):
        _settings(tmp_path, f"[server]\n{line}\n")


def test_a_table_that_is_none(tmp_path):
    """A number in its place."""
    with pytest.raises(ConfigError, match="server: int is not a ServerTable"):
        _settings(tmp_path, "server = 5\n")


def test_a_reload_takes_it_over_and_back(keys):
    """Keys and records are kept by the new settings, and without a table by those of before."""
    before = keys.grace
    with Dispatcher() as first, Dispatcher() as second, Dispatcher() as third:
        for one in (first, second, third):
            one.register_vendor(FakeVendor())
        app = create_app(first, keys=keys)
        app.replace_dispatcher(second, settings=GatewaySettings(auth_grace=7.0, record_days=3))
        assert (7.0, 3) == (keys.grace, app.records.days)
        app.replace_dispatcher(third, settings=GatewaySettings())
        assert (before, GatewaySettings().record_days) == (keys.grace, app.records.days)
        app.close(1.0)


def test_config_check_looks_at_it(tmp_path, capsys):
    """Beside what the dispatcher reads; a file without mistakes is told to be one."""
    path = tmp_path / "llm.toml"
    vendor = '[vendors.openai]\napi_key = "sk-test-0000"\n'
    for line, code in {"patience = 5": 0, "patiense = 5": 1}.items():
        path.write_text(f"{vendor}[server]\n{line}\n")
        assert code == main(["config", "check", str(path)])
    assert "server: unknown key 'patiense'; did you mean 'patience'" in capsys.readouterr().err
