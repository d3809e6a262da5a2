"""Aliases of installed packages: found without importing them, as ``pkg:alias``, one level deep; the consumer decides."""

import sys

import pytest

from llmdispatcher import Config, ConfigError, Dispatcher, Lockfile, LockfileInvalid, LockfileNotFound, Request
from llmdispatcher.testing import FakeVendor

THEIRS = """
[extends]
packages = ["deeper"]

[profiles.default]
[[profiles.default.bindings]]
alias = "summarizer"
models = ["theirs:default"]

[[profiles.default.bindings]]
alias = "only-default"
models = ["theirs:only"]

[profiles.prod]
[[profiles.prod.bindings]]
alias = "summarizer"
models = ["theirs:prod"]
"""


@pytest.fixture
def site(here, monkeypatch):
    """A folder of installed packages that this process sees."""
    folder = here / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def installed(site, name, module, files, *, record=True, top_level=None):
    """A distribution whose import fails the test: ``files`` by name, listed in its RECORD unless told otherwise."""
    info = site / f"{name.replace('-', '_').replace('.', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    package = site / module
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('a lockfile is looked for without importing its package')\n")
    for file, text in files.items():
        (package / file).parent.mkdir(exist_ok=True)
        (package / file).write_text(text)
    if record:
        (info / "RECORD").write_text("".join([f"{module}/{file},,\n" for file in ["__init__.py", *files]]))
    if top_level is not None:
        (info / "top_level.txt").write_text(f"{top_level}\n")


def lock_with(*packages):
    lock = Lockfile()
    lock.extend(*packages)
    for profile in ("default", "prod", "dev"):
        lock.bind("mine", ["x:y"], profile=profile)
    return lock


@pytest.mark.parametrize("file", ["llmdispatcher.lock", "llmring.lock"])
def test_a_package_brings_its_aliases(site, file):
    """Under its name; under its bare name an alias is not to be found, and the package is not imported."""
    installed(site, "libA", "liba", {file: THEIRS})
    lock = lock_with("libA")

    assert ("theirs:default",) == lock.resolve("libA:summarizer")
    assert not lock.has_alias("summarizer")
    assert "liba" not in sys.modules
    assert {"mine", "libA:summarizer", "libA:only-default"} == set(lock.aliases())


def test_its_profile_is_the_one_in_use_or_its_own_default(site):
    """A profile that it has not got, or in which it has not got the alias, is its default."""
    installed(site, "libA", "liba", {"llmring.lock": THEIRS})
    lock = lock_with("libA")

    assert ("theirs:prod",) == lock.resolve("libA:summarizer", "prod")
    assert ("theirs:default",) == lock.resolve("libA:summarizer", "dev")
    assert ("theirs:only",) == lock.resolve("libA:only-default", "prod")


def test_the_consumer_decides(site):
    """A binding of ``pkg:alias`` in the consumer's own file wins, in its profile; other spellings of the package are the same."""
    installed(site, "lib-A.x", "lib_a_x", {"llmring.lock": THEIRS})
    lock = lock_with("lib-A.x")
    lock.bind("Lib_a-X:summarizer", ["mine:own"], profile="prod")

    assert ("mine:own",) == lock.resolve("lib-A.x:summarizer", "prod")
    assert ("mine:own",) == lock.resolve("LIB_A_X:summarizer", "prod")
    assert ("theirs:default",) == lock.resolve("lib.a.x:summarizer")


def test_what_a_package_extends_does_not_count(site):
    """One level, so that nobody far away decides."""
    installed(site, "libA", "liba", {"llmring.lock": THEIRS})
    installed(site, "deeper", "deeper", {"llmring.lock": THEIRS.replace("theirs", "deeper")})
    lock = lock_with("libA")

    assert [False, False, False] == [lock.has_alias(name) for name in ("deeper:summarizer", "libA:deeper:summarizer", "libA:mine")]


def test_a_lockfile_nearer_to_the_root_is_the_one(site):
    """Ours before the other name; test data deep inside is not taken for it."""
    files = {"tests/llmring.lock": THEIRS.replace("theirs", "deep"), "llmring.lock": THEIRS}
    installed(site, "one", "one", files)
    installed(site, "two", "two", files | {"llmdispatcher.lock": THEIRS.replace("theirs", "ours")})

    assert ("theirs:default",) == lock_with("one").resolve("one:summarizer")
    assert ("ours:default",) == lock_with("two").resolve("two:summarizer")


@pytest.mark.parametrize("top_level", [None, "other_name"])
def test_one_that_is_linked_to_its_sources(site, top_level):
    """Without a list of files, as an editable installation is, its packages are searched, which imports nothing."""
    module = top_level or "lib_a"
    installed(site, "lib-a", module, {"llmring.lock": THEIRS}, record=False, top_level=top_level)

    assert ("theirs:default",) == lock_with("lib-a").resolve("lib-a:summarizer")
    assert module not in sys.modules


def test_a_package_that_is_not_installed(site):
    """Its aliases are not there, which is said where one is asked for; all others work."""
    lock = lock_with("libA")

    assert (("x:y",), False) == (lock.resolve("mine"), lock.has_alias("libA:summarizer"))
    with pytest.raises(LockfileNotFound) as raised:
        lock.resolve("libA:summarizer")
    assert "alias 'libA:summarizer': the package 'libA' is not installed; pip install libA" == str(raised.value)
    assert ["the package 'libA' is not installed; pip install libA"] == [each.problem for each in lock.extensions()]

    installed(site, "libA", "liba", {"llmring.lock": THEIRS})
    assert lock.has_alias("libA:summarizer")


def test_a_package_without_a_lockfile(site):
    """It is said which names it may have."""
    installed(site, "libA", "liba", {})

    with pytest.raises(LockfileNotFound, match=r"the package 'libA' has no llmdispatcher\.lock or llmring\.lock in it"):
        lock_with("libA").resolve("libA:summarizer")


def test_a_package_with_a_broken_lockfile(site):
    """The mistake is told with the path of that file."""
    installed(site, "libA", "liba", {"llmring.lock": "version = 9"})

    with pytest.raises(LockfileInvalid, match=r"alias 'libA:x': .*liba/llmring\.lock: 1 mistake\n  version: 9 is not"):
        lock_with("libA").resolve("libA:x")
    assert not lock_with("libA").has_alias("libA:x")


def test_a_registered_vendor_is_no_package(site):
    """``vendor:model`` is stronger than an alias of a package of that name."""
    installed(site, "libA", "liba", {"llmring.lock": THEIRS.replace("theirs:default", "other:m")})
    with Dispatcher(Config(lockfile=lock_with("libA"))) as dispatcher:
        dispatcher.register_vendor(FakeVendor("other", name="other"))
        assert "other:m" == dispatcher.send(Request("libA:summarizer", "hi")).ref
        dispatcher.register_vendor(FakeVendor("lib", name="liba"))
        assert "liba:summarizer" == dispatcher.send(Request("libA:summarizer", "hi")).ref


def test_the_error_of_a_call_for_a_missing_package(site):
    """It is a ConfigError like any other, before anybody is asked."""
    with Dispatcher(Config(lockfile=lock_with("libA"))) as dispatcher:
        vendor = FakeVendor("hi")
        dispatcher.register_vendor(vendor)
        with pytest.raises(ConfigError, match="the package 'libA' is not installed"):
            dispatcher.send(Request("libA:summarizer", "hi"))
        assert 0 == vendor.hits
