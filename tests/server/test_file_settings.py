"""The table ``[server]`` of a configuration file: each setting, mistakes with their places, and a reload."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import ConfigError, Dispatcher
from llmdispatcher.cli.main import main
from llmdispatcher.dispatcher import read_config_file
from llmdispatcher.server import GatewaySettings, ServeOptions, create_app, settings_in
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


def test_a_vendor_that_drains_may_be_spelt_in_any_way():
    """As it may be in all of the file."""
    settings = GatewaySettings(drain_vendors=("OpenAI", "azure-openai"))
    assert [True, True, False, False] == [settings.drains(name) for name in ("openai", "azure", "anthropic", None)]


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


def _checked(tmp_path, capsys, text):
    path = tmp_path / "llm.toml"
    path.write_text(text)
    code = main(["config", "check", str(path)])
    told = capsys.readouterr()
    return code, [line.removeprefix(f"llmdispatcher: {path}: ") for line in told.err.splitlines()], told.out


_WRONG = """
stateful = "yes"
cache_marks = 5
[vendors.openai]
api_key = "sk-test-0000"
connect_timeout = 0
max_concurrent = 0
[server]
patiense = 5
port = 99999
timeout = 0
drain_vendors = ["opnai", "openai", "*"]
[[passthrough]]
path = "/v1/chat/completions"
vendor = "openai"
[[passthrough]]
path = "/v1/models/{id}"
vendor = "opnai"
methods = ["GET"]
[[passthrough]]
path = "/v1/images/generations"
vendor = "openai"
vendr = "openai"
unpriced = "no"
[[passthrough]]
path = "/v1/moderations"
vendor = "openai"
"""


def test_config_check_tells_every_mistake_and_counts_them(tmp_path, capsys):
    """Of each table and row that the gateway reads, with a remedy that a file can have; the last line has their number."""
    code, told, _ = _checked(tmp_path, capsys, _WRONG)
    assert 1 == code
    for place, remedy in {
        "stateful": "write true or false",
        "cache_marks": "write true or false",
        "vendors.openai.connect_timeout": "write inf for no limit",
        "passthrough[0].path": "a path of the gateway itself",
        "passthrough[1].path": "a path of the gateway itself",
        "passthrough[1].vendor": "did you mean 'openai'?",
        "passthrough[2].vendr": "did you mean 'vendor'?",
        "passthrough[2].unpriced": "write 'allow', or leave it out",
        "server": "did you mean 'patience'?",
        "server.port": "from 0 to 65535",
        "server.timeout": "leave it out for the default",
        "server.drain_vendors": "did you mean 'openai'?",
    }.items():
        assert any(line.startswith(f"{place}: ") and remedy in line for line in told), (place, told)
    assert not any("None" in line for line in told)
    assert f"{len(told) - 1} mistakes (4 settings, vendors openai)" in told[-1]


@each(
    "text, told",
    [
        ('[[passthrough]]\npath = "/v1/files/{id}"\nvendor = "openai"\nmethods = ["GET"]\n', "set stateful = true, too"),
        ("[server]\nport = 9090\nmetrics_port = 9090\n", "metrics_port: 9090 is the port of the gateway itself"),
        ('[server]\nserver = "uvicorn"\n', "'uvicorn' is not known; use granian or waitress"),
        ("[server]\nheartbeat = inf\n", "heartbeat: inf is not a number of seconds > 0"),
        ('[server]\ndrain_vendors = ["nobody"]\n', "'nobody' is not registered"),
        ("health_interval = 0\n", "leave it out for no checks"),
    ],
)
def test_config_check_finds(tmp_path, capsys, text, told):
    """What would be refused at the start, or never be asked."""
    code, lines, _ = _checked(tmp_path, capsys, text)
    assert 1 == code
    assert any(told in line for line in lines), lines


def test_config_check_passes_what_serves(tmp_path, capsys):
    """Vendors by the name in their table, or of the catalog where the file has none; all settings are counted."""
    rows = '[[passthrough]]\npath = "/v1/files/{id}"\nvendor = "mine"\nmethods = ["GET"]\n'
    vendor = '[vendors.a]\nkind = "openai"\nname = "mine"\napi_key = "sk-test-0000"\n'
    code, _, out = _checked(tmp_path, capsys, f"stateful = true\n{vendor}{rows}[server]\ndrain_vendors = ['mine']\n")
    assert (0, True) == (code, "nothing is wrong (3 settings, vendors a)" in out)
    assert 0 == _checked(tmp_path, capsys, '[server]\ndrain_vendors = ["anthropic"]\n')[0]


@each(
    "text, told",
    [
        ('[[passthrough]]\npath = "/v1/rerank"\nvendor = "fake"\n', "passthrough.0..vendor: 'fake' is not registered"),
        ('[server]\ndrain_vendors = ["fakke"]\n', "server.drain_vendors: 'fakke' is not registered; did you mean 'fake'"),
    ],
)
def test_a_gateway_refuses_what_config_check_finds(tmp_path, keys, text, told):
    """At its start and at a reload, which changes nothing."""
    settings = _settings(tmp_path, text)
    with Dispatcher() as made, Dispatcher() as other:
        for one in (made, other):
            one.register_vendor(FakeVendor())
        with pytest.raises(ConfigError, match=told):
            create_app(made, keys=keys, settings=settings)
        app = create_app(made, keys=keys)
        with pytest.raises(ConfigError, match=told):
            app.replace_dispatcher(other, settings=settings)
        assert app.dispatcher is made
        app.close(1.0)


_START = {
    "host": "127.0.0.2",
    "port": 9000,
    "workers": 2,
    "threads": 16,
    "server": "waitress",
    "drain": 5,
    "metrics_port": 9001,
    "access_log": True,
    "public_url": "https://llm.example.com",
    "redis": "redis://127.0.0.1:6380",
}


def test_the_options_of_serve_stand_in_the_table(tmp_path, monkeypatch):
    """The line counts before the file, that before the default; an address in the environment before the file, too."""
    monkeypatch.delenv("LLMDISPATCHER_PUBLIC_URL", raising=False)
    path = tmp_path / "llm.toml"
    path.write_text("[server]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in _START.items()))
    config = {"config": str(path)}
    found = ServeOptions.over_file(config)
    assert _START == {name: getattr(found, name) for name in _START}
    said = {"port": 8081, "server": None, "access_log": False}
    found = ServeOptions.over_file({**config, **said})
    assert {**_START, **said} == {name: getattr(found, name) for name in _START}
    monkeypatch.setenv("LLMDISPATCHER_PUBLIC_URL", "https://other.example.com")
    assert ServeOptions.over_file(config).public_url is None
    assert GatewaySettings(timeout=7.0) == settings_in(read_config_file(path), GatewaySettings(timeout=7.0))
    path.write_text("[server]\nworkers = 0\n")
    with pytest.raises(ConfigError, match=r"server\.workers: 0 is not a whole number from 1 to 64"):
        ServeOptions.over_file(config)


def test_serve_listens_where_the_file_says(tmp_path, monkeypatch):
    """As an operator starts it; PORT of the environment counts before the file."""
    heard: list[ServeOptions] = []
    monkeypatch.setattr("llmdispatcher.server.serve.run_server", lambda options, tell, begin: heard.append(options))
    monkeypatch.setenv("LLMDISPATCHER_HOME", str(tmp_path))
    monkeypatch.delenv("PORT", raising=False)
    path = tmp_path / "llm.toml"
    path.write_text('[server]\nport = 9000\nthreads = 16\n[vendors.openai]\napi_key = "sk-test-0000"\n')
    words = ["serve", "--config", str(path)]
    assert 0 == main([*words, "--threads", "32"])
    monkeypatch.setenv("PORT", "9005")
    assert 0 == main(words)
    assert [(9000, 32), (9005, 16)] == [(one.port, one.threads) for one in heard]


def test_config_check_looks_at_it(tmp_path, capsys):
    """Beside what the dispatcher reads; a file without mistakes is told to be one."""
    path = tmp_path / "llm.toml"
    vendor = '[vendors.openai]\napi_key = "sk-test-0000"\n'
    for line, code in {"patience = 5": 0, "patiense = 5": 1}.items():
        path.write_text(f"{vendor}[server]\n{line}\n")
        assert code == main(["config", "check", str(path)])
    assert "server: unknown key 'patiense'; did you mean 'patience'" in capsys.readouterr().err
