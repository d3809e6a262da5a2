"""Lockfiles as they are found in the world load, save, and load equal; comments, order and unknown keys stay."""

import hashlib
import json
import sys
import tomllib
from datetime import UTC, datetime

import attrs
import pytest

from llmdispatcher import ConfigError, Lockfile

SAMPLE = """# Who is asked for what.
version = "1.0"
created_at = "2025-09-27T10:00:00+00:00"
updated_at = "2026-08-19T00:52:11.620824+00:00"
default_profile = "default"
reviewed_by = "the platform team"  # a key that nobody knows

[metadata]
description = "..."

[extends]
packages = ["libA", "libB"]  # theirs as libA:name

[profiles.default]
name = "default"

# Thinks about the others.
[[profiles.default.bindings]]
alias = "advisor"
models = [ "openai:gpt-5-2025-08-07", "google:gemini-2.5-pro", "anthropic:claude-opus-5",]  # the dearest last
note = "keep me"

[[profiles.default.bindings]]
alias = "fast"
models = ["openai:gpt-5-mini"]

[profiles.default.bindings.constraints]
max_cost = 0.01

[profiles.default.registry_versions]
openai = 7  # pinned in August
"""

EARLIER = """version = "1.0"
created_at = "2025-08-20T10:00:52.134398+00:00"
updated_at = "2025-08-20T10:00:52.142349+00:00"
default_profile = "default"

[profiles.default]
name = "default"
[[profiles.default.bindings]]
alias = "long_context"
provider = "openai"
model = "gpt-4-turbo-preview"

[[profiles.default.bindings]]
alias = "deep"
provider = "anthropic"
model = "claude-3-opus-20240229"

[profiles.prod]
name = "prod"
bindings = []

[profiles.dev]
bindings = []
name = "dev"

[profiles.default.registry_versions]

[profiles.prod.registry_versions]
"""

AS_JSON = {
    "version": "1.0",
    "created_at": "2025-09-27T10:00:00Z",
    "updated_at": "2026-08-19T00:52:11.620824Z",
    "default_profile": "default",
    "metadata": {"description": "..."},
    "extends": {"packages": ["libA", "libB"]},
    "reviewed_by": "the platform team",
    "profiles": {
        "default": {
            "name": "default",
            "bindings": [
                {
                    "alias": "advisor",
                    "models": ["openai:gpt-5-2025-08-07", "google:gemini-2.5-pro", "anthropic:claude-opus-5"],
                    "note": "keep me",
                },
                {"alias": "fast", "models": ["openai:gpt-5-mini"], "constraints": {"max_cost": 0.01}},
            ],
            "registry_versions": {"openai": 7},
        }
    },
}


def written(folder, name, text):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "text"), [("llmdispatcher.lock", SAMPLE), ("llmring.lock", AS_JSON), ("lock.json", AS_JSON)])
def test_the_sample_is_read(here, name, text):
    """Aliases with their pools, pinned versions, packages, times; a ``.lock`` may hold JSON too."""
    lock = Lockfile.load(written(here, name, text))

    assert ("openai:gpt-5-2025-08-07", "google:gemini-2.5-pro", "anthropic:claude-opus-5") == lock.resolve("advisor")
    assert {"openai": 7} == lock.contents.profiles["default"].registry_versions
    assert {"max_cost": 0.01} == lock.contents.profiles["default"].bindings["fast"].constraints
    assert ("libA", "libB") == lock.contents.packages
    assert datetime(2025, 9, 27, 10, tzinfo=UTC) == lock.contents.created_at


def test_both_forms_say_the_same(here):
    """TOML and JSON of one lockfile have the same contents, and so the same digest."""
    one, other = Lockfile.load(written(here, "a.lock", SAMPLE)), Lockfile.load(written(here, "a.json", AS_JSON))

    assert (one.contents, one.digest) == (other.contents, other.digest)


@pytest.mark.parametrize("text", [SAMPLE, EARLIER])
def test_a_save_changes_nothing_but_the_time(here, clock, text):
    """Every other line of a TOML file is as it was, byte for byte."""
    path = written(here, "llmring.lock", text)
    Lockfile.load(path, clock=clock).save()

    old, new = text.splitlines(), path.read_text(encoding="utf-8").splitlines()
    assert [f'updated_at = "{clock.now().isoformat()}"'] == [line for line in new if line not in old]
    assert len(old) == len(new)


@pytest.mark.parametrize(("name", "text"), [("a.lock", SAMPLE), ("a.lock", EARLIER), ("a.json", AS_JSON)])
def test_saved_and_loaded_it_is_equal(here, clock, name, text):
    """With all that was changed before."""
    lock = Lockfile.load(written(here, name, text), clock=clock)
    lock.bind("advisor", ["anthropic:claude-opus-5-5"])
    lock.bind("new", "openai:gpt-5.4, google:gemini-3.8-flash", constraints={"region": "eu"})
    for profile in ("prod", "dev", "made up"):
        lock.bind("new", "openai:gpt-5-nano", profile=profile)
    lock.pin("openai", 8)
    lock.pin("google", 5, profile="prod")
    lock.extend("lib-c")
    path = lock.save()

    assert lock.contents == Lockfile.load(path).contents
    assert ("openai:gpt-5.4", "google:gemini-3.8-flash") == Lockfile.load(path).resolve("new")


def test_comments_and_unknown_keys_stay_where_they_are(here):
    """Also those in and behind what is changed."""
    lock = Lockfile.load(written(here, "a.lock", SAMPLE))
    lock.bind("advisor", ["openai:gpt-5.6"])
    lock.bind("new", ["openai:gpt-5.4"])
    lock.pin("openai", 8)
    lock.unbind("fast")
    text = lock.save().read_text(encoding="utf-8")

    for kept in (
        "# Who is asked for what.\n",
        'reviewed_by = "the platform team"  # a key that nobody knows\n',
        'packages = ["libA", "libB"]  # theirs as libA:name\n',
        "# Thinks about the others.\n[[profiles.default.bindings]]\n",
        'models = ["openai:gpt-5.6"]  # the dearest last\nnote = "keep me"\n',
        "openai = 8  # pinned in August\n",
    ):
        assert kept in text
    assert "gpt-5-mini" not in text


def test_unknown_keys_of_json_stay(here):
    """In the file and in a binding that is changed."""
    lock = Lockfile.load(written(here, "a.json", AS_JSON))
    lock.bind("advisor", ["openai:gpt-5.6"])
    tree = json.loads(lock.save().read_text(encoding="utf-8"))

    assert "the platform team" == tree["reviewed_by"]
    assert {"alias": "advisor", "models": ["openai:gpt-5.6"], "note": "keep me"} == tree["profiles"]["default"]["bindings"][0]


def test_an_earlier_binding_is_rewritten_only_when_it_changes(here):
    """``provider`` and ``model`` are read as a pool of one; of the two that the file has, one is bound anew."""
    lock = Lockfile.load(written(here, "a.lock", EARLIER))
    assert (("openai:gpt-4-turbo-preview",), ("anthropic:claude-3-opus-20240229",)) == tuple(lock.aliases().values())
    lock.bind("deep", ["anthropic:claude-opus-5"])
    bindings = tomllib.loads(lock.save().read_text(encoding="utf-8"))["profiles"]["default"]["bindings"]

    assert {"alias": "long_context", "provider": "openai", "model": "gpt-4-turbo-preview"} == bindings[0]
    assert {"alias": "deep", "models": ["anthropic:claude-opus-5"]} == bindings[1]


def test_lists_of_inline_tables_are_changed_in_place(here):
    """Another way to write the same in TOML."""
    text = '[profiles.default]\nbindings = [{alias = "a", models = ["x:1"]}, {alias = "b", models = ["x:2"]}] # both\n'
    lock = Lockfile.load(written(here, "a.lock", text))
    lock.bind("a", ["y:1"])
    lock.bind("c", ["y:3"])
    lock.unbind("b")
    path = lock.save()

    assert {"a": ("y:1",), "c": ("y:3",)} == Lockfile.load(path).aliases()
    assert "# both" in path.read_text(encoding="utf-8")


def test_native_dates_of_toml_are_times(here):
    """A naive one is UTC."""
    lock = Lockfile.load(written(here, "a.lock", "created_at = 2025-09-27T12:00:00+02:00\nupdated_at = 2025-09-27T10:00:00\n"))

    assert lock.contents.created_at == lock.contents.updated_at == datetime(2025, 9, 27, 10, tzinfo=UTC)


def test_without_tomlkit_toml_is_read_and_not_changed(here, monkeypatch):
    """A new file can be written; one that has comments is left alone, and the text says what to install."""
    monkeypatch.setitem(sys.modules, "tomlkit", None)
    monkeypatch.delitem(sys.modules, "llmdispatcher.catalog.lockfile.commented", raising=False)
    path = written(here, "a.lock", SAMPLE)
    lock = Lockfile.load(path)
    lock.bind("fast", ["openai:gpt-5-nano"])

    with pytest.raises(ConfigError, match=r"pip install 'llmdispatcher\[lockfile\]'"):
        lock.save()
    assert SAMPLE == path.read_text(encoding="utf-8")
    assert "gpt-5-nano" in lock.save("b.json").read_text(encoding="utf-8")
    assert "gpt-5-nano" in Lockfile(lock.contents).save("c.lock").read_text(encoding="utf-8")


def test_the_digest_is_that_of_the_canonical_form(here):
    """Every field, sorted, compact, with the times; what a receipt names is one state of the file."""
    text = 'created_at = "2025-01-01T00:00:00Z"\n[profiles.p]\nbindings = [{alias = "a", models = ["x:1"]}]\n'
    lock = Lockfile.load(written(here, "a.lock", text))
    canonical = (
        '{"created_at":"2025-01-01T00:00:00+00:00","default_profile":"default","extends":{"packages":[]},"metadata":{},'
        '"profiles":{"p":{"bindings":[{"alias":"a","constraints":null,"models":["x:1"]}],"name":"p","registry_versions":{}}},'
        '"updated_at":null,"version":"1.0"}'
    )
    assert hashlib.sha256(canonical.encode()).hexdigest() == lock.digest
    assert lock.digest != Lockfile(attrs.evolve(lock.contents, default_profile="p")).digest


def test_the_bundled_lockfile_is_whole():
    """Each of its models is one that the catalog knows, and its aliases are what new users are told of."""
    lock = Lockfile.discover()

    assert lock.is_bundled
    assert {"advisor", "balanced", "deep", "fast"} == set(lock.aliases())
