"""Pools: what is not registered is passed over, and what a pool goes on after beside failures that pass."""

from pathlib import Path

import pytest

from llmdispatcher import (
    AuthenticationError,
    Config,
    ConfigError,
    ContentFiltered,
    ContextWindowExceeded,
    Dispatcher,
    DispatchError,
    InvalidRequest,
    Lockfile,
    LockfileInvalid,
    ModelNotFound,
    QuotaExceeded,
)
from llmdispatcher.testing import FakeVendor

from .parts import asked, made

FAILURES = {
    "context": ContextWindowExceeded("too long", status=400),
    "policy": ContentFiltered("no", status=400),
    "quota": QuotaExceeded("spent", status=429),
    "auth": AuthenticationError("who?", status=401),
}
GOES_ON = tuple(FAILURES)
MODELS = ("gone:a", "openai:gpt-4o", "mistral:mistral-small-latest", "anthropic:claude-haiku-4-5")


def lockfile(models, **constraints):
    lock = Lockfile.create_default("llmdispatcher.lock")
    lock.bind("mine", list(models), constraints=constraints or None)
    return lock


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def configured(where, models, on=()):
    if where == "lockfile":
        return Config(lockfile=lockfile(models, **({"on": list(on)} if on else {})))
    return Config(pools={"mine": {"models": list(models), "on": on} if on else list(models)})


def dispatcher_of(config, *vendors):
    dispatcher = Dispatcher(config)
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher


@pytest.mark.parametrize("where", ["config", "lockfile"])
def test_entries_of_vendors_that_are_not_registered_are_passed_over(where):
    """Whoever is there answers, under the name that stands in the pool; a vendor of any model does not take the others' places."""
    with dispatcher_of(configured(where, MODELS[1:]), FakeVendor(name="any"), FakeVendor(name="anthropic")) as dispatcher:
        assert "anthropic:claude-haiku-4-5" == dispatcher.send(asked("mine")).ref
        assert "anthropic:claude-haiku-4-5" == dispatcher.resolve_alias("mine")


@pytest.mark.parametrize("where", ["config", "lockfile"])
def test_where_none_is_left_the_error_names_them_all(where):
    """Each with what to do."""
    with (
        dispatcher_of(configured(where, MODELS[1:]), FakeVendor(name="any")) as dispatcher,
        pytest.raises(ModelNotFound) as raised,
    ):
        dispatcher.send(asked("mine"))

    for vendor, variable in (("openai", "OPENAI_API_KEY"), ("mistral", "MISTRAL_API_KEY"), ("anthropic", "ANTHROPIC_API_KEY")):
        assert f"{vendor} is not registered; set {variable}" in str(raised.value)


@pytest.mark.parametrize("where", ["config", "lockfile"])
@pytest.mark.parametrize("word", GOES_ON)
def test_a_pool_goes_on_after_what_it_says(where, word):
    """And after no other lasting failure."""
    for on, answers in (({word}, True), (set(GOES_ON) - {word}, False), ((), False)):
        first, second = FakeVendor(FAILURES[word], name="first"), FakeVendor("Here.", name="second")
        with dispatcher_of(configured(where, ["first:a", "second:b"], on), first, second) as dispatcher:
            if answers:
                assert "second" == dispatcher.send(asked("mine")).vendor
                with dispatcher.send_streaming(asked("mine")) as stream:
                    assert "Here." == "".join(chunk.content for chunk in stream)
            else:
                with pytest.raises(type(FAILURES[word])):
                    dispatcher.send(asked("mine"))
                assert 0 == second.hits


def test_a_model_that_is_missing_and_a_faulty_request_end_a_pool():
    """These are mistakes in the pool or in the program."""
    for error in (ModelNotFound("no such model", status=404), InvalidRequest("bad", status=400)):
        first, second = FakeVendor(error, name="first"), FakeVendor(name="second")
        with (
            dispatcher_of(configured("config", ["first:a", "second:b"], set(GOES_ON)), first, second) as dispatcher,
            pytest.raises(type(error)),
        ):
            dispatcher.send(asked("mine"))
        assert 0 == second.hits


def test_an_overflow_goes_to_the_next_larger_window():
    """A target whose window is known to be no larger would refuse as well."""
    pool = ["openai:gpt-4o", "azure:gpt-4o-mini", "other:unknown", "anthropic:claude-sonnet-5"]

    class Of(FakeVendor):
        def __init__(self, *answers, kind):
            super().__init__(*answers, name=kind)
            self.kind = kind

    too_long = ContextWindowExceeded("too long", status=400)
    small, same, unknown = Of(too_long, kind="openai"), Of("no", kind="azure"), FakeVendor(too_long, name="other")
    large = Of("Here.", kind="anthropic")
    with dispatcher_of(configured("config", pool, ["context"]), small, same, unknown, large) as dispatcher:
        assert "anthropic" == dispatcher.send(asked("mine")).vendor

    assert (1, 0, 1, 1) == (small.hits, same.hits, unknown.hits, large.hits)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (
            {"models": ["a:b"], "on": ["timeout"]},
            r"pools\['mine'\].on: \['timeout'\] is not a list of context, policy, quota, auth",
        ),
        ({"models": ["a:b"], "on": "auth"}, r"pools\['mine'\].on: 'auth' is not a list"),
        ({"models": ["a:b"], "onn": ["auth"]}, r"pools\['mine'\]: unknown key 'onn'; did you mean 'on'?"),
        ({"on": ["auth"]}, r"pools\['mine'\]: 'models' is missing"),
        ({"models": "a:b"}, r"pools\['mine'\]: 'a:b' is not a list of models"),
    ],
)
def test_mistakes_have_a_path(told, text):
    """As all mistakes of a configuration."""
    with pytest.raises(ConfigError, match=text):
        made(pools={"mine": told})


def test_mistakes_in_a_lockfile_have_a_line():
    """Read or bound."""
    with pytest.raises(ConfigError, match=r"bind: constraints.on: 'auth' is not a list of context"):
        lockfile(["a:b"], on="auth")
    text = '[profiles.default]\n[[profiles.default.bindings]]\nalias = "a"\nmodels = ["b:c"]\nconstraints = { on = ["x"] }\n'
    Path("broken.lock").write_text(text)
    with pytest.raises(LockfileInvalid, match=r"profiles.default.bindings\[0\].constraints.on: \['x'\] is not a list"):
        Lockfile.load("broken.lock")


def test_a_rule_adds_nobody_to_a_pool_that_is_asked_of_one_vendor():
    """The call names the vendor; a rule that names another one, in the pool or outside it, does not change that."""
    config = {"pools": {"smart": ["openai:gpt-5", "google:gemini-2.5-pro"]}}
    rules = [{"vendor": "anthropic", "model": "claude-sonnet-5"}, {"vendor": "google"}]
    vendors = [FakeVendor(name=name) for name in ("openai", "google", "anthropic")]
    with made(*vendors, routing_rules=rules, **config) as dispatcher:
        assert "anthropic" == dispatcher.send(asked("smart")).vendor
        assert "openai:gpt-5" == dispatcher.send_to_vendor("openai", asked("smart")).ref
        with dispatcher.send_streaming_to_vendor("openai", asked("smart")) as stream:
            assert "openai" == stream.response().vendor
        with pytest.raises(DispatchError):  # of this pool it has no model
            dispatcher.send_to_vendor("anthropic", asked("smart"))

    assert [2, 0, 1] == [vendor.hits for vendor in vendors]
