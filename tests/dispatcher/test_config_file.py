"""A dispatcher from a file: what it may say, its variables, and whom it names where it is wrong."""

from __future__ import annotations

import pickle
import re
import sys
import traceback
from pathlib import Path

import attrs
import pytest

from llmdispatcher import Config, ConfigError, Dispatcher, LedgerError, Request, VendorConfig
from llmdispatcher.dispatcher import read_config_file
from llmdispatcher.testing import VendorSimulator

WHOLE = """
default_vendor = "work"
timeout = 30
ledger = "{folder}/calls.db"
cache = {{ ttl = 60, max_temperature = 2.0 }}
budgets = [{{ limit = "5.00", name = "price $$5" }}]
routing_rules = [{{ condition = {{ model_pattern = "claude-*" }}, vendor = "anthropic" }}]

[pools]
smart = ["work:gpt-4o", "anthropic:claude-sonnet-4-6"]

[vendors.work]
kind = "openai"
api_key = "${{WORK_KEY}}"
base_url = "${{WORK_URL}}/v1"
rate_limit = {{ requests_per_minute = 100 }}

[vendors.anthropic]
api_key = "sk-ant"
"""


@pytest.fixture
def file(tmp_path):
    """A function that writes a file of this text; returns its path."""

    def write(text: str, name: str = "llmdispatcher.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_whole_configuration(file, tmp_path, monkeypatch):
    """Vendors, rules, limits, budgets, cache, ledger and pools are those of the file; a call is made and written down."""
    with VendorSimulator() as simulator:
        monkeypatch.setenv("WORK_KEY", "sk-of-the-file")
        monkeypatch.setenv("WORK_URL", simulator.openai_url.removesuffix("/v1"))
        with Dispatcher.from_file(file(WHOLE.format(folder=tmp_path))) as dispatcher:
            response = dispatcher.send(Request("smart", "Why?", max_tokens=50))
            claude = dispatcher.explain(Request("claude-haiku-4-5", "Why?")).targets[0].vendor
            budget, limit = dispatcher.get_budgets()[0], dispatcher.get_rate_limit_status("work")

    assert ("work", "gpt-4o", "anthropic") == (response.vendor, response.model.partition("-20")[0], claude)
    assert "Bearer sk-of-the-file" == simulator.requests[0].headers["authorization"]
    assert ("price $5", response.usage.cost, 99) == (budget.budget, budget.spent, limit.requests_remaining)
    assert (tmp_path / "calls.db").is_file()


@pytest.mark.parametrize(("name", "text"), [("c.toml", "\ufefftimeout = 9"), ("c.json", '\ufeff{"timeout": 9}')])
def test_a_byte_order_mark_is_no_mistake(file, name, text):
    """Editors of Windows write one."""
    assert 9 == read_config_file(file(text, name)).config().timeout


def test_json_too(file):
    """By the ending of its name."""
    with Dispatcher.from_file(file('{"timeout": 9, "vendors": {"openai": {"api_key": "sk"}}}', "c.json")) as dispatcher:
        assert (9, ["openai"]) == (dispatcher.config.timeout, dispatcher.get_vendors())


def test_without_vendors_those_of_the_environment(file, monkeypatch):
    """As `from_env` has them; where the file names vendors, they are the only ones."""
    monkeypatch.setenv("GROQ_API_KEY", "gsk")

    assert "groq" in Dispatcher.from_file(file("timeout = 9")).get_vendors()
    assert ["openai"] == Dispatcher.from_file(file('[vendors.openai]\napi_key = "sk"')).get_vendors()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timeout = ", "not TOML"),
        ("timeot = 9", "'timeot'; did you mean 'timeout'?"),
        ('timeout = "soon"', "timeout: 'soon'"),
        ("[vendors.openai]\napi_kei = 'sk'", "vendors.openai: unknown key 'api_kei'; did you mean 'api_key'?"),
        ("[vendors.opnai]\napi_key = 'sk'", "vendors.opnai.kind: 'opnai' is not in the catalog; did you mean 'openai'?"),
        ("[vendor.openai]\napi_key = 'sk'", "write [vendors.NAME]"),
        ("vendors = 3", "vendors: int is not a table"),
        ("[vendors.a]\nkind = 'openai'\nname = 'b'\n[vendors.B]\nkind = 'groq'", "vendors.B: [vendors.a] has this name too"),
        ("[[routing_rules]]\nvendor = 'a'\n[routing_rules.condition]\nmodel = 'x'", "routing_rules[0].condition"),
        ("default_vendor = '${NO_SUCH_NAME}'", "default_vendor: the variable NO_SUCH_NAME is not set"),
        ("default_vendor = '${HOME'", "default_vendor: ${ has no } behind it; close it, or write $$"),
        ("default_vendor = '$HOME'", "default_vendor: a variable is written ${NAME}; write $$ for a dollar sign"),
        ("'${HOME}' = 1", "'${HOME}': variables are read in values, and not in keys"),
        ("[vendors.'${HOME}']\nkind = 'openai'", "vendors.'${HOME}': variables are read in values"),
        ("timeout = " + "{a = " * 40 + "1" + "}" * 40, "timeout.a.a: more than 32 tables and lists within each other"),
        ("guards = " + "[" * 200 + "]" * 200, "guards[0][0]: more than 32 tables and lists"),
        ("a" + ".a" * 300 + " = 1", "a.a.a: more than 32 tables and lists"),
        ("timeout = 3\0", "not TOML: "),
        ("timeout = " + "9" * 400, "timeout: the number has more than 64 bits"),
        ("[vendors.openai]\nbase_url = 'x'", "vendors.openai.base_url: "),
        ("[vendors.openai]\napi_key = 3", "vendors.openai.api_key: "),
        ("ledger = '/no/such/folder/calls.db'", "ledger: the folder '/no/such/folder' is not there"),
        ("guards = ['${}']", "guards[0]: ${} is no variable's name; write $$"),
        ("[vendors.openai.headers]\nx = '${A-B}'", "vendors.openai.headers.x: ${A-B} is no variable's name"),
    ],
)
def test_a_mistake_names_file_place_and_remedy(file, text, told):
    """The whole text that a user sees."""
    path = file(text)
    with pytest.raises(ConfigError) as caught:
        Dispatcher.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_lists_too_deep_for_the_reader_are_told(file):
    """Whatever the process allows to recursion: hypothesis, for one, raises that."""
    allowed = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    try:
        with pytest.raises(ConfigError, match="not TOML: maximum recursion depth"):
            Dispatcher.from_file(file("guards = " + "[" * 5000 + "]" * 5000))
    finally:
        sys.setrecursionlimit(allowed)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"timeout": 3, "timeout": 4}', "not JSON: the key 'timeout' stands twice"),
        ('{"vendors": {"openai": {"api_key": "a", "api_key": "b"}}}', "the key 'api_key' stands twice"),
        ('{"a":' * 900 + "1" + "}" * 900, "a.a.a: more than 32 tables and lists"),
        ("[" * 100_000, "not JSON: "),
        ('{"vendors": {"openai": null}}', "vendors.openai: NoneType is not a table"),
        ("[]", "list is not a configuration"),
        ("", "not JSON: "),
    ],
)
def test_a_mistake_in_json(file, text, told):
    """Is told in the same way, however strange the file."""
    path = file(text, "c.json")
    with pytest.raises(ConfigError) as caught:
        Dispatcher.from_file(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)


def test_other_encodings(tmp_path):
    """A byte order mark of UTF-8, as editors on Windows write it, is no mistake; another encoding is told."""
    path = tmp_path / "c.toml"
    path.write_bytes(b"\xef\xbb\xbftimeout = 9\n")
    with Dispatcher.from_file(path) as dispatcher:
        assert 9 == dispatcher.config.timeout
    for data in ("timeout = 9".encode("utf-16"), bytes(range(256))):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"c\.toml: not UTF-8: invalid start byte at byte \d+; save it as UTF-8"):
            Dispatcher.from_file(path)


def test_every_variable_that_is_missing_is_told_at_once(file):
    """And no value of one that is there."""
    path = file("default_vendor = '${NO_SUCH_A}'\norigin = '${HOME}'\nmode = '${NO_SUCH_B}'")
    with pytest.raises(ConfigError, match=r"default_vendor: .*NO_SUCH_A.*; mode: .*NO_SUCH_B"):
        Dispatcher.from_file(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("timeout = '{}'", "config.timeout: '{}' is not a number"),
        ("default_vendor = ['{}']", "config.default_vendor: ['{}'] is not a name"),
        ("mode = 'x{}'", "config.mode: 'x{}' is not a mode"),
        ("fallback_model = 'openai:{}'", "config.fallback_model: 'openai:{}' is of no use"),
        ("[pools]\nsmart = '{}'", "config.pools['smart']: '{}' is not a list"),
        ("[[routing_rules]]\nvendor = 'openai'\ncondition.requires = ['{}']", "config.routing_rules[0].condition.requires: '{}'"),
        ("[[budgets]]\nlimit = '{}'", "config.budgets[0].limit: '{}'"),
        ("[vendors.openai]\nkind = '{}'", "vendors.openai.kind: '{}' is not in the catalog"),
        ("[vendors.openai]\nmodels = '{}'", "vendors.openai.models: '{}' is not a list"),
        ("[vendors.openai]\napi_key = '{}'\nbase_url = 'ftp://{}'", "vendors.openai.base_url: "),
    ],
)
def test_a_value_of_a_variable_is_in_no_error(file, monkeypatch, text, told):
    """Also where it makes a value wrong: the text of the file stands in its place."""
    monkeypatch.setenv("WORK_KEY", "sk-secret-of-mine")
    path = file(text.format("${WORK_KEY}", "${WORK_KEY}"))
    mistake = read_config_file(path).mistakes()[0]
    with pytest.raises(ConfigError) as caught:
        Dispatcher.from_file(path)
    assert told.format("${WORK_KEY}") in mistake
    assert f"{path}: {mistake}" == str(caught.value)
    assert "sk-secret-of-mine" not in f"{caught.value} {caught.value!r} {mistake}"


@pytest.mark.parametrize("text", ["timeout = '${WORK_KEY}'", "origin = '${WORK_KEY}'\nmode = '${NO_SUCH_NAME}'"])
def test_no_frame_of_an_error_holds_a_value(file, monkeypatch, text):
    """A crash reporter writes the frames of an error down, and those of its causes."""
    monkeypatch.setenv("WORK_KEY", "sk-secret-of-mine")
    with pytest.raises(ConfigError) as caught:
        Dispatcher.from_file(file(text))
    error, frames = caught.value, []
    while error is not None:
        frames += [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "llmdispatcher" in frame.f_globals["__name__"]]
        error = error.__cause__ or error.__context__
    assert frames
    assert [] == [value for frame in frames for value in frame.f_locals.values() if "sk-secret-of-mine" in repr(value)]


def test_what_is_made_of_a_variable_is_plain_text(file, monkeypatch):
    """The configuration can be sent to another process, as one without variables."""
    monkeypatch.setenv("TEAM", "payments")
    with Dispatcher.from_file(file("origin = 'team ${TEAM}'\n[vendors.openai]\napi_key = 'sk'")) as dispatcher:
        assert "team payments" == pickle.loads(pickle.dumps(dispatcher.config)).origin


@pytest.mark.parametrize(
    "field", [*attrs.fields_dict(Config), *(f"vendors.openai.{name}" for name in attrs.fields_dict(VendorConfig))]
)
def test_no_field_shows_a_value_of_a_variable(file, monkeypatch, field):
    """In whichever field it stands, alone, in a longer text, or in a list; the file's own text is shown."""
    monkeypatch.setenv("WORK_KEY", "sk-secret-of-mine")
    for value in ("'${WORK_KEY}'", "'a${WORK_KEY}'", "['${WORK_KEY}', 3]", "{ '' = '${WORK_KEY}' }"):
        found = read_config_file(file(f"{field} = {value}"))
        told = [*found.mistakes(), repr(found)]
        try:
            Dispatcher.from_file(found.path).close()
        except (ConfigError, LedgerError) as error:
            told += [str(error), repr(error)]
        assert [] == [text for text in told if "sk-secret-of-mine" in text]


def test_a_short_value_is_hidden_where_it_is_quoted(file, monkeypatch):
    """And where it happens to be part of a name, the name stays."""
    monkeypatch.setenv("WORK_MODE", "config")
    with pytest.raises(ConfigError, match=r"config\.mode: '\$\{WORK_MODE\}' is not a mode"):
        Dispatcher.from_file(file("mode = '${WORK_MODE}'"))


def test_a_file_that_is_not_there(tmp_path):
    """Its path is told."""
    with pytest.raises(ConfigError, match=r"no\.toml: No such file"):
        Dispatcher.from_file(tmp_path / "no.toml")


def test_a_setting_of_the_file_as_a_keyword(file):
    """Says where it belongs."""
    with pytest.raises(TypeError, match=r"from_file\(\) got an unexpected keyword argument 'timeout'; write timeout in the file"):
        Dispatcher.from_file(file(""), timeout=3)


def test_the_file_in_the_readme_is_right(file, tmp_path, monkeypatch):
    """Its pools, budgets and vendors are taken as they stand."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    monkeypatch.chdir(tmp_path)
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for text in re.findall(r"^```toml\n(.*?)^```", readme, re.MULTILINE | re.DOTALL):
        with Dispatcher.from_file(file(text)) as dispatcher:
            assert ["openai", "eu"] == dispatcher.get_vendors()


def test_all_mistakes_beside_variables_that_are_not_set(file):
    """Each is told once, with its place; a variable that is not set makes no second mistake, and its vendor is known."""
    text = """
default_vendor = "work"
timeout = "${NO_SUCH_A}"
timeot = 3
budgets = [{ limit = "${NO_SUCH_B}", perid = "day" }]
[vendors.work]
kind = "openai"
api_key = "${NO_SUCH_C}"
base_url = "${NO_SUCH_D}"
pool_siz = 3
"""
    found = read_config_file(file(text), lenient=True)
    places = ["timeout", "budgets[0].limit", "vendors.work.api_key", "vendors.work.base_url"]

    assert [f"{place}: the variable NO_SUCH_{letter} is not set" for place, letter in zip(places, "ABCD", strict=True)] == [
        text.partition(";")[0] for text in found.mistakes()[:4]
    ]
    assert ["unknown key 'timeot'", "unknown key 'perid'", "unknown key 'pool_siz'"] == [
        text.partition(": ")[2].partition(";")[0] for text in found.mistakes()[4:]
    ]
