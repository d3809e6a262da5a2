"""Two promises of the documents: what ``from_env`` lacks, and a cache for one request."""

import pytest

from llmdispatcher import ConfigError, Dispatcher, OpenAIVendor
from llmdispatcher.catalog import vendor_rows
from llmdispatcher.testing import FakeVendor

from .parts import asked, made, read


@pytest.fixture
def bare(monkeypatch):
    """An environment without any vendor's variables."""
    for row in vendor_rows():
        for name in (*row.key_env, *row.url_env):
            monkeypatch.delenv(name, raising=False)


def test_without_a_key_the_variables_are_named(bare):
    """The usual ones, in one line, by the error of a call and by the explanation; a vendor that is registered later is asked."""
    with Dispatcher.from_env() as dispatcher:
        with pytest.raises(ConfigError, match="no vendor is registered") as raised:
            dispatcher.send(asked("gpt-4o"))
        for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "OLLAMA_HOST", "docs/vendors.md"):
            assert name in str(raised.value)
        assert len(str(raised.value)) < 300
        assert "OPENAI_API_KEY" in str(dispatcher.explain(asked("gpt-4o")))
        dispatcher.register_vendor(FakeVendor("hi"))
        assert "hi" == dispatcher.send(asked("gpt-4o")).content


@pytest.mark.parametrize("model", ["gpt-4o", "azure:gpt-4o"])
def test_a_key_without_an_address_is_told(bare, monkeypatch, model):
    """Azure's key alone makes no vendor."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k" * 20)
    with Dispatcher.from_env() as dispatcher, pytest.raises(ConfigError, match=r"no address; .*AZURE_OPENAI_ENDPOINT"):
        dispatcher.send(asked(model))


@pytest.mark.parametrize("wish", [True, {"enabled": True}, {"enabled": True, "ttl_seconds": 300}, {"ttl_seconds": 300}])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_request_may_want_a_cache_that_nobody_configured(wish, streamed):
    """It is in memory, and for requests that want it alone."""
    fake = FakeVendor("one", "two", "three")
    with made(fake) as dispatcher:
        assert dispatcher.cache is None
        first = read(dispatcher, asked("m", cache=wish), streamed=streamed)
        again = read(dispatcher, asked("m", cache=wish), streamed=streamed)
        others = [read(dispatcher, asked("m", cache=other), streamed=streamed).content for other in (None, False)]
        assert (1, 1) == (dispatcher.cache.stats().hits, dispatcher.cache.stats().stores)

    assert ("one", "one", ["two", "three"]) == (first.content, again.content, others)


def test_a_cache_that_was_switched_off_stays_off():
    """The configuration's word is the last."""
    fake = FakeVendor("one", "two")
    with made(fake, cache={"enabled": False}) as dispatcher:
        assert ["one", "two"] == [dispatcher.send(asked("m", cache={"enabled": True})).content for _ in range(2)]


def test_the_time_that_a_request_gives_holds():
    """Then the vendor is asked again."""
    fake = FakeVendor("one", "two")
    with made(fake) as dispatcher:
        request = asked("m", cache={"enabled": True, "ttl_seconds": 300})
        first = dispatcher.send(request).content
        dispatcher._clock.advance(301)
        assert ("one", "two") == (first, dispatcher.send(request).content)


@pytest.mark.parametrize(
    "config",
    [
        {"default_vendor": "anthropic"},
        {"fallback_vendor": "anthropic"},
        {"routing_rules": [{"vendor": "anthropic", "condition": {"model_pattern": "m*"}}]},
        {"balance": {"weights": {"anthropic": 1}}},
        {"pools": {"smart": ["anthropic:claude-haiku-4-5"]}},
    ],
    ids=lambda config: next(iter(config)),
)
def test_a_named_vendor_without_a_key_is_told_at_construction(bare, caplog, config):
    """With the variable; once, and no more when it is registered."""
    with Dispatcher.from_env(config) as dispatcher:
        before = [record.getMessage() for record in caplog.records]
        dispatcher.register_vendor(FakeVendor("hi"))
        dispatcher.send(asked("m"))
        told = dispatcher.check_vendors()
        dispatcher.register_vendor(FakeVendor("hi", name="anthropic"))

        assert [*told] == before == [record.getMessage() for record in caplog.records if "anthropic" in record.getMessage()]
        assert "is not registered: no API key; pass api_key=... or set ANTHROPIC_API_KEY" in told[0]
        assert () == dispatcher.check_vendors()


def test_a_registered_vendor_without_a_key_is_told(bare, monkeypatch, caplog):
    """At the first call, if the configuration names it."""
    with made(FakeVendor("hi"), OpenAIVendor(), default_vendor="openai") as dispatcher:
        dispatcher.send(asked("fake:m"))

        assert ("default_vendor: 'openai' cannot be asked: no API key; pass api_key=... or set OPENAI_API_KEY",) == (
            dispatcher.check_vendors()
        )
    assert 1 == caplog.text.count("'openai' cannot be asked")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("OPEN_AI_API_KEY", "OPENAI_API_KEY"),
        ("openai_api_key", "OPENAI_API_KEY"),
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("ANTHROPIC_KEY", "ANTHROPIC_API_KEY"),
        ("CLAUDE_API_KEY", "ANTHROPIC_API_KEY"),
        ("GROK_API_KEY", "XAI_API_KEY"),
        ("AZURE_OPENAI_KEY", "AZURE_OPENAI_API_KEY"),
    ],
)
def test_misspelt_variable_is_named_where_no_vendor_is_found(bare, monkeypatch, wrong, right):
    """The error of a call names the variable that is set and the one that is read, and never the value."""
    monkeypatch.setenv(wrong, "sk-" + "a" * 20)
    dispatcher = Dispatcher.from_env()
    with pytest.raises(ConfigError, match=rf"{wrong} is not read \(did you mean {right}\?\)") as caught:
        dispatcher.send(asked("gpt-4o"))
    assert "aaaa" not in str(caught.value)


def test_misspelt_address_is_a_warning(bare, monkeypatch, caplog):
    """A prompt that is meant for a gateway would go to the vendor itself, so the log tells it, once."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "a" * 20)
    monkeypatch.setenv("OPENAI_BASEURL", "http://127.0.0.1:9/v1")
    dispatcher = Dispatcher.from_env()
    dispatcher.check_vendors()
    assert [record.getMessage() for record in caplog.records] == ["OPENAI_BASEURL is not read (did you mean OPENAI_BASE_URL?)"]


def test_variables_of_others_are_no_typing_errors(bare, monkeypatch, caplog):
    """A variable that is merely like one, or one beside the right one, is not told in the log."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "a" * 20)
    for name in ("OPENAI_APIKEY", "OPENAI_API_KEY_OLD", "GITHUB_TOKEN", "NPM_TOKEN", "DATABASE_URL"):
        monkeypatch.setenv(name, "x")
    Dispatcher.from_env()
    assert caplog.records == []


def test_vendor_without_a_key_names_the_misspelt_variable(bare, monkeypatch):
    """Also a vendor that is registered by hand tells which variable was meant."""
    monkeypatch.setenv("OPENAI_APIKEY", "sk-" + "a" * 20)
    assert OpenAIVendor().missing() == (
        "no API key; pass api_key=... or set OPENAI_API_KEY; OPENAI_APIKEY is not read (did you mean OPENAI_API_KEY?)"
    )
