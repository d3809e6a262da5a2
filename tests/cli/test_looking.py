"""The commands that look: models, vendors, explain, health, info, config, keys, cache."""

from __future__ import annotations

import io
import json
import logging
import stat
import sys

import keyring
import keyring.backend
import keyring.errors
import pytest

from llmdispatcher import Config, Dispatcher, OpenAIVendor, Request
from llmdispatcher.cli import keychain
from llmdispatcher.testing import LoopbackServer, faults

from .started import Pty

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start

KEY = "sk-test-0123456789abcdefghij"


def test_half_a_vendor_says_what_is_missing(command, monkeypatch):
    """Azure has a key, but no address."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", KEY)
    ended = command("health")

    assert (2, "llmdispatcher: nobody can be asked: azure: no address; pass base_url=... or set AZURE_OPENAI_ENDPOINT\n") == (
        ended.code,
        ended.err,
    )


def test_where_no_vendor_is_ready_that_is_said(command):
    """Instead of an empty table."""
    ended = command("vendors", "--ready")

    assert (0, "") == (ended.code, ended.out)
    assert "no vendor can be asked from here" in ended.err


def test_models_are_listed_with_limits_and_prices(command):
    """By a glob of names and aliases."""
    ended = command("models", "gpt-4o")

    assert 0 == ended.code
    assert any(all(word in line for word in ("openai:gpt-4o", "128,000", "2.5", "10", "vision")) for line in ended.out.splitlines())


def test_models_for_programs(command):
    """Each with all that is known of it; prices are texts as they were published."""
    told = json.loads(command("models", "--vendor", "anthropic", "--capability", "vision", "--json").out)

    assert {"anthropic"} == {row["vendor"] for row in told}
    assert all("vision" in row["capabilities"] for row in told)
    assert all(isinstance(row["price_row"]["input"], str) for row in told if row["price_row"])


def test_no_model_is_exit_code_1(command):
    """And a hint."""
    ended = command("models", "nothing-is-called-so-*")

    assert (1, "") == (ended.code, ended.out)
    assert "--all includes retired models" in ended.err


WRONG_MODELS = {
    "vendor": (["--vendor", "acme"], "no vendor of the catalog has this name"),
    "capability": (["--capability", "smell"], "no such capability; use "),
    "whom to ask": (["--live"], "--live: name the vendor to ask with --vendor"),
    "no key of this vendor": (["--live", "--vendor", "groq"], "--live: groq cannot be asked from here; set GROQ_API_KEY"),
    "no address": (
        ["--live", "--vendor", "ollama"],
        "--live: ollama cannot be asked from here; set OLLAMA_BASE_URL or OLLAMA_HOST",
    ),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG_MODELS.values(), ids=WRONG_MODELS)
def test_wrong_usage_of_models(command, arguments, said):
    """With the words that there are."""
    ended = command("models", *arguments)

    assert 2 == ended.code
    assert said in ended.err


@pytest.fixture
def listing(monkeypatch):
    """A server that lists two models, as the only vendor with a key."""

    def answer(peer, request):
        peer.reply(200, b'{"data": [{"id": "one"}, {"id": "two"}]}')

    with LoopbackServer(answer) as server:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield server


def test_a_vendor_is_asked_for_its_models(command, listing):
    """With --live."""
    assert "one\ntwo\n" == command("models", "--vendor", "openai", "--live").out


def test_health_asks_who_has_a_key(command, listing):
    """One line each, 0 where all are well."""
    ended = command("health")

    assert 0 == ended.code
    assert "healthy" in ended.out
    assert "2 models" in ended.out


def test_ill_health_is_exit_code_1(command, openai):
    """Of a vendor that is down; JSON tells the same."""
    openai.always(faults.status(503))
    ended = command("health", "--json")

    assert 1 == ended.code
    assert {"openai": False} == {name: state["ok"] for name, state in json.loads(ended.out).items()}


def test_a_misspelt_model_gets_a_suggestion(command):
    """Only of names, not of globs."""
    assert "no model matches; did you mean gpt-4o" in command("models", "gpt4o").err
    assert "openai:gpt-4o" in command("models", "openai:gpt4o").err
    assert "did you mean" not in command("models", "gpt4o-*-x").err


def test_simulated_vendors_are_told_to_be_simulated(command):
    """Also where one of them is down; --quiet leaves it out, and JSON has a mark."""
    ended = command("health", "--simulate", "--timeout", 60)

    assert "four simulated vendors on this machine answer, with made-up text" in ended.err
    assert "first for gpt-4.1, and down (503)" in ended.err
    assert "" == command("health", "--simulate", "--timeout", 60, "--quiet").err
    assert json.loads(command("explain", "--simulate", "--json").out)["simulated"]
    assert "simulated vendors" in command("explain", "--simulate").err


def test_simulated_vendors_have_a_health(command):
    """Without a key; one of them is down."""
    ended = command("health", "--simulate", "--json", "--timeout", 60)
    states = json.loads(ended.out)

    assert 1 == ended.code
    assert ("unhealthy", "healthy") == (states["azure"]["status"], states["anthropic"]["status"])
    assert all(state["simulated"] for state in states.values())


def test_vendors_tell_where_a_key_is(command, openai):
    """And never what it is."""
    ended = command("vendors")

    assert any("openai" in line and "environment" in line for line in ended.out.splitlines())
    assert "anthropic" in ended.out
    assert ["openai"] == [row["name"] for row in json.loads(command("vendors", "--ready", "--json").out)]


def test_vendors_tell_where_they_are_asked(command, away, openai, monkeypatch):
    """The address of the environment or of the configuration, none with a password; else that of the catalog."""
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "https://me:hunter2@claude.example")
    (away / "app.toml").write_text(
        '[vendors.mine]\nkind = "ollama"\nbase_url = "http://10.0.0.7:11434"\n'
        '[vendors.mistral]\nbase_url = "https://mistral.example/v1"\napi_key = "k"\n'
    )
    told = {row["name"]: row for row in json.loads(command("--config", "app.toml", "vendors", "--json").out)}

    assert (openai.openai_url, "https://api.x.ai/v1") == (told["openai"]["url"], told["xai"]["url"])
    assert told["anthropic"]["url"] is None
    assert "hunter2" not in json.dumps(told)
    assert ("http://10.0.0.7:11434", "configuration") == (told["mine"]["url"], told["mine"]["key"])
    assert ("https://mistral.example/v1", None) == (told["mistral"]["url"], told["ollama"]["key"])


def test_an_address_that_is_wrong_is_told(command, monkeypatch):
    """The other vendors are listed all the same."""
    monkeypatch.setenv("OPENAI_BASE_URL", "not an address")
    ended = command("vendors", "--json")

    assert 0 == ended.code
    assert "openai: OPENAI_BASE_URL" in ended.err


def test_a_command_names_no_python(command, openai):
    """What to do about a vendor that is missing is said for the shell, in errors, explanations and answers of programs alike."""
    told = [
        command("ask", "-m", "claude-haiku-4-5", "Hello").err,
        command("ask", "-m", "anthropic:claude-haiku-4-5", "Hello").err,
        command("explain", "-m", "claude-haiku-4-5").out,
        command("explain", "-m", "claude-haiku-4-5", "--json").out,
    ]

    assert all("set ANTHROPIC_API_KEY, or run `llmdispatcher keys set anthropic`" in text for text in told), told
    assert not any(word in text for text in told for word in ("Dispatcher", "register_vendor", "lockfile of"))


@pytest.mark.parametrize("model", ["claude-haiku-4-5", "anthropic:claude-haiku-4-5"])
def test_a_model_whose_vendor_has_no_key_is_wrong_usage(command, openai, model):
    """However it is written; a vendor that does not know the model has failed."""
    asked = command("ask", "-m", model, "Hello")
    openai.always(faults.model_missing())

    assert (2, 0) == (asked.code, openai.hits)
    assert 1 == command("ask", "-m", "gpt-4o", "Hello").code


def test_explain_sends_nothing(command, openai):
    """It tells the order and the reasons; 1 where nobody would be asked."""
    ended = command("explain", "-m", "gpt-4o", "Why?")
    told = json.loads(command("explain", "-m", "gpt-4o", "--json").out)

    assert (0, 0) == (ended.code, openai.hits)
    assert "1. openai:gpt-4o" in ended.out
    assert "openai:gpt-4o" == told["candidates"][0]["target"]
    assert 1 == command("explain", "-m", "claude-haiku-4-5").code


@pytest.mark.parametrize(
    ("model", "first"),
    [("gpt-4o", "openai:gpt-4o"), ("groq:any", "groq:any"), ("grok-4", "xai:grok-4"), ("ollama:llama3", "ollama:llama3")],
)
def test_explain_needs_no_key(command, model, first):
    """It says that it takes the vendors as if they had one."""
    ended = command("explain", "--model", model)
    told = json.loads(command("explain", "--model", model, "--json").out)

    assert 0 == ended.code
    assert f"  1. {first}  (" in ended.out
    assert ended.err.startswith("No vendor has a key. Nothing is sent, so this is as if openai, anthropic, google")
    assert (first, True) == (told["candidates"][0]["target"], told["keys_assumed"])
    assert "" == command("explain", "--model", model, "--quiet").err


def test_explain_does_not_judge_what_a_local_server_may_have(command, openai, monkeypatch):
    """Its list of models would be read first; that is no refusal."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    ended = command("explain", "--model", "our-llama")

    assert (0, 0) == (ended.code, openai.hits)
    assert "ollama  skipped: its list of models has not been read yet; it would be read first" in ended.out
    assert "Did you mean" not in ended.out


def test_info_tells_no_secret(command, openai, monkeypatch):
    """Versions, places, extras; not what a database's URL has in it."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    ended = command("--db", "postgresql://me:pa55word@host/calls", "info")
    told = json.loads(command("info", "--json").out)

    assert 0 == ended.code
    assert "pa55word" not in ended.out
    assert KEY not in ended.out
    assert ["openai"] == told["keys"]["environment"]
    assert told["extras"]["cli"].startswith("click ")


def test_a_good_configuration(command, away):
    """Says what is in it."""
    (away / "app.toml").write_text('timeout = 20\n[retry_policy]\nmax_retries = 1\n[vendors.eu]\nkind = "openai"\napi_key = "k"\n')
    ended = command("config", "check", "app.toml")

    assert (0, "app.toml: nothing is wrong (2 settings, vendors eu)\n") == (ended.code, ended.out)


def test_a_variable_that_is_not_set_hides_no_other_mistake(command, away):
    """And is one: the exit code is 1. A command that would ask does not begin."""
    (away / "app.toml").write_text(
        'timeot = 3\ndefault_vendor = "eu"\n[vendors.eu]\nkind = "openai"\nbase_url = "${NO_SUCH_NAME}"\n'
    )
    ended = command("config", "check", "app.toml")

    assert (
        1,
        ["vendors.eu.base_url: the variable NO_SUCH_NAME", "config: unknown key 'timeot'", "2 mistakes (2 settings, vendors eu)"],
    ) == (
        ended.code,
        [line.partition("app.toml: ")[2].partition(" is not set")[0].partition(";")[0] for line in ended.err.splitlines()],
    )
    assert 2 == command("--config", "app.toml", "ask", "Why?").code


def test_every_mistake_of_a_configuration_is_named(command, away):
    """With its path."""
    (away / "app.json").write_text(
        json.dumps({"timeout": -1, "nonsense": 1, "vendors": {"eu": {"kind": "acme"}, "openai": {"timeout": "x"}, "us": 3}})
    )
    ended = command("config", "check", "app.json")
    told = json.loads(command("--config", "app.json", "config", "check", "--json").out)

    assert (1, 6) == (ended.code, len(ended.err.splitlines()))
    assert "app.json: 5 mistakes (" in ended.err.splitlines()[-1]
    assert [
        text in ended.err
        for text in ("timeout: -1", "'nonsense'", "vendors.eu.kind: 'acme'", "vendors.openai.timeout: ", "vendors.us: ")
    ] == [True] * 5
    assert 5 == len(told["mistakes"])


MISTAKES = {
    "a number and a name": (
        'timeout = "30s"\nfallback_vendor = "antropic"',
        ["config.timeout: ", "config.fallback_vendor: 'antropic'"],
    ),
    "a number and a rule": (
        'timeout = "30s"\n[[routing_rules]]\nvendor = "opnai"\n',
        ["config.timeout: ", "config.routing_rules[0].vendor: 'opnai'"],
    ),
    "two rules and a name in a third": (
        '[[routing_rules]]\nvendor = 3\n[[routing_rules]]\nvendor = "opnai"\n[[routing_rules]]\nvendor = "xai"\npriority = "x"\n',
        ["config.routing_rules[0].vendor: ", "config.routing_rules[2].priority: ", "config.routing_rules[1].vendor: 'opnai'"],
    ),
    "two keys of a table": (
        '[retry_policy]\nmax_retries = "x"\ninitial_delay = "y"\n',
        ["config.retry_policy.max_retries: ", "config.retry_policy.initial_delay: "],
    ),
    "two keys of a vendor": (
        '[vendors.eu]\nkind = "openai"\ntimeout = "x"\nnonsense = 1\n',
        ["vendors.eu.timeout: ", "vendors.eu: unknown key 'nonsense'"],
    ),
    "an entry of a pool": ('[pools]\nquick = ["openai:gpt-4o", "opnai:gpt-4o-mini"]\n', ["config.pools['quick'][1]: 'opnai'"]),
}


@pytest.mark.parametrize(("text", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_hides_no_other(command, away, openai, text, said):
    """Each of them is told once."""
    (away / "app.toml").write_text(text)
    ended = command("config", "check", "app.toml")
    *lines, summary = [line for line in ended.err.splitlines() if "no API key" not in line]

    assert (1, len(said)) == (ended.code, len(lines)), ended.err
    assert f"app.toml: {len(said)} mistake" in summary
    assert [True] * len(said) == [any(f"app.toml: {one}" in line for line in lines) for one in said], ended.err


def test_a_tag_of_a_local_model_is_no_misspelt_vendor(command, away, monkeypatch):
    """In a pool, where a local server is registered."""
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    (away / "app.toml").write_text('[pools]\nquick = ["llama3:8b", "mistral:7b"]\n')

    assert 0 == command("config", "check", "app.toml").code


def test_a_vendor_with_a_mistake_is_not_also_unknown(command, away, openai):
    """What names it is right."""
    (away / "app.toml").write_text('default_vendor = "eu"\n[vendors.eu]\nkind = "openai"\ntimeout = "x"\n')
    ended = command("config", "check", "app.toml")

    assert (1, 2) == (ended.code, len(ended.err.splitlines()))
    assert "app.toml: 1 mistake (" in ended.err.splitlines()[-1]


BROKEN = {
    "no such file": (None, "No such file"),
    "no TOML": ("a = ", "not TOML"),
    "vendors": ("vendors = 3", "vendors: int is not a table"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_configuration_that_cannot_be_read(command, away, text, said):
    """Is wrong usage."""
    if text is not None:
        (away / "app.toml").write_text(text)
    ended = command("config", "check", "app.toml")

    assert 2 == ended.code
    assert said in ended.err


def test_which_configuration(command):
    """One must be named."""
    assert 2 == command("config", "check").code


class Keychain(keyring.backend.KeyringBackend):
    """A keychain in memory."""

    priority = 1

    def __init__(self):
        super().__init__()
        self.kept = {}

    def get_password(self, service, username):
        """What is kept."""
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        """Keep it."""
        self.kept[service, username] = password

    def delete_password(self, service, username):
        """Forget it."""
        del self.kept[service, username]


@pytest.fixture
def chain():
    """The system's keychain, as far as keyring knows."""
    before, chain = keyring.get_keyring(), Keychain()
    keyring.set_keyring(chain)
    yield chain
    keyring.set_keyring(before)


def said(monkeypatch, text):
    """Let something be piped in."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_key_is_kept_listed_and_forgotten(command, chain, away, monkeypatch):
    """Its ends are shown, never the whole; the file of names is the owner's."""
    said(monkeypatch, f"{KEY}\n")
    put = command("keys", "set", "OpenAI")
    listed = command("keys", "list")
    told = json.loads(command("keys", "list", "--json").out)

    assert (0, 0) == (put.code, listed.code), put.err
    assert {("llmdispatcher", "openai"): KEY} == chain.kept
    assert [{"vendor": "openai", "key": "sk-t…ghij"}] == told
    assert KEY not in put.out + put.err + listed.out
    assert 0o600 == stat.S_IMODE((away / "home" / "keys.json").stat().st_mode)
    assert 0 == command("keys", "remove", "openai").code
    assert {} == chain.kept
    assert "there is no key in the keychain" in command("keys", "list").err


def test_a_kept_key_is_used(command, chain, openai, monkeypatch):
    """Where the environment has none."""
    monkeypatch.delenv("OPENAI_API_KEY")
    keychain.put("openai", KEY)
    openai.keys = [KEY]
    ended = command("ask", "-m", "gpt-4o-mini", "Hello")

    assert (0, 1) == (ended.code, openai.hits), ended.err


def test_a_key_is_no_argument(command, chain):
    """There it would be seen by others."""
    assert 2 == command("keys", "set", "openai", KEY).code


@pytest.mark.parametrize(
    ("vendor", "text"), [("acme", KEY), ("openai", ""), ("openai", "two words"), ("openai", "ключ-0123456789")]
)
def test_what_is_no_key_is_refused(command, chain, monkeypatch, vendor, text):
    """And nothing is kept."""
    said(monkeypatch, f"{text}\n")

    assert 2 == command("keys", "set", vendor).code
    assert {} == chain.kept


def test_without_anything_to_read_there_is_no_key(command, chain):
    """As where a service manager starts it, with its input closed."""
    assert "there is no key; type it, or pipe it in" in command("keys", "set", "openai").err


def test_a_key_is_typed_without_echo():
    """On a terminal; without a keychain on this machine the error says so."""
    with Pty("keys", "set", "openai", PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring") as terminal:
        terminal.until("Key of openai: ")
        terminal.type(f"{KEY}\n").until("llmdispatcher: keychain: ")

        assert 1 == terminal.ended()
    assert KEY not in terminal.seen


def test_removing_what_is_not_there(command, chain):
    """Is wrong usage."""
    assert 2 == command("keys", "remove", "openai").code


def test_without_keyring_it_says_what_to_install(command, monkeypatch):
    """The extra."""
    monkeypatch.setattr(keychain.importlib.util, "find_spec", lambda name: None if name == "keyring" else True)
    said(monkeypatch, f"{KEY}\n")
    ended = command("keys", "set", "openai")

    assert 2 == ended.code
    assert "pip install 'llmdispatcher[keyring]'" in ended.err


@pytest.fixture
def cached(openai, away):
    """A store with one answer."""
    with Dispatcher(Config(cache={"store": "answers.db", "store_timeout": 5})) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor())
        dispatcher.send(Request("gpt-4o-mini", "Hello"))
    return "answers.db"


def test_a_store_is_counted_and_emptied(command, cached, away):
    """By its name, or by the configuration's."""
    (away / "app.toml").write_text('[cache]\nstore = "answers.db"\n')
    before = json.loads(command("--config", "app.toml", "cache", "info", "--json").out)

    assert ("answers.db", 1, 0) == tuple(before[name] for name in ("store", "entries", "expired"))
    assert before["size"] > 100
    assert "1 answers, 0 of them expired" in command("cache", "info", cached).out
    assert 0 == command("cache", "clear", cached, "--yes").code
    assert 0 == json.loads(command("cache", "info", cached, "--json").out)["entries"]


def test_a_store_is_not_emptied_unasked(command, cached, monkeypatch):
    """Where nobody can be asked."""
    said(monkeypatch, "")

    assert 2 == command("cache", "clear", cached).code
    assert 1 == json.loads(command("cache", "info", cached, "--json").out)["entries"]


@pytest.mark.parametrize("store", ["none.db", "memory", "text.db"])
def test_what_is_no_store_is_told(command, away, store):
    """And none is made."""
    (away / "text.db").write_text("text" * 300)

    assert 2 == command("cache", "info", store).code
    assert not (away / "none.db").exists()


def test_which_store(command):
    """One must be named."""
    assert 2 == command("cache", "info").code


def test_debug_lets_the_library_log(command, openai):
    """On stderr; without it only warnings come."""
    root, level = logging.getLogger(), logging.getLogger("llmdispatcher").level
    before = list(root.handlers)
    try:
        command("--debug", "ask", "-m", "gpt-4o-mini", "Hello")
        assert logging.DEBUG == logging.getLogger("llmdispatcher").level
    finally:
        logging.getLogger("llmdispatcher").setLevel(level)
        root.handlers[:] = before


NAMED = {
    "default": 'default_vendor = "VENDOR"',
    "fallback": 'fallback_vendor = "VENDOR"',
    "rule": '[[routing_rules]]\nvendor = "VENDOR"\n[routing_rules.condition]\nmodel_pattern = "m*"',
    "balance": "[balance]\nweights = { VENDOR = 1 }",
    "pool": '[pools]\nsmart = ["VENDOR:grok-4"]',
}


@pytest.mark.parametrize("text", [NAMED[name] for name in NAMED if name != "pool"])
def test_a_vendor_that_nobody_knows_is_a_mistake(command, away, text):
    """Wherever a configuration names it."""
    (away / "app.toml").write_text(text.replace("VENDOR", "grok"))
    ended = command("config", "check", "app.toml")
    told = json.loads(command("config", "check", "app.toml", "--json").out)

    assert 1 == ended.code
    assert "'grok' is not registered, and the catalog has no vendor of this name; did you mean 'groq'?" in ended.err
    assert 1 == len(told["mistakes"])


@pytest.mark.parametrize("text", NAMED.values(), ids=NAMED)
def test_a_named_vendor_without_a_key_is_told_at_once(command, away, openai, text):
    """By `config check`, which finds no mistake, and at the beginning of a run, with the variable."""
    (away / "app.toml").write_text(text.replace("VENDOR", "xai"))
    checked = command("config", "check", "app.toml")
    told = json.loads(command("config", "check", "app.toml", "--json").out)
    explained = command("--config", "app.toml", "explain", "--model", "gpt-4o")

    assert 0 == checked.code
    assert ([], 1) == (told["mistakes"], len(told["warnings"]))
    for ended in (checked, explained):
        assert 1 == ended.err.count("'xai' is not registered: no API key; pass api_key=... or set XAI_API_KEY")
    assert "" == command("--config", "app.toml", "--quiet", "explain", "--model", "gpt-4o").err


def test_a_vendor_of_the_file_without_a_key_is_told(command, away):
    """Once, by its own name."""
    (away / "app.toml").write_text('default_vendor = "eu"\n[vendors.eu]\nkind = "openai"\n[vendors.us]\nkind = "openai"\n')
    ended = command("config", "check", "app.toml")

    assert 0 == ended.code
    assert ["'eu' cannot be asked: no API key", "vendors.us: no API key"] == [
        next(text for text in ("'eu' cannot be asked: no API key", "vendors.us: no API key") if text in line)
        for line in ended.err.splitlines()
    ]
