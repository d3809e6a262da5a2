"""Every mistake in a lockfile is told at once: the file, the path, what stands there and what may."""

import pickle

import pytest

from llmdispatcher import ConfigError, DispatchError, Lockfile, LockfileInvalid, LockfileNotFound

HEAD = '[profiles.default]\nname = "default"\n'
BOUND = '\n[[profiles.default.bindings]]\nalias = "a"\n'


def problems(folder, text, name="llmdispatcher.lock"):
    """What is told of a file with this text, without the file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LockfileInvalid) as raised:
        Lockfile.load(path)
    assert str(raised.value).startswith(f"{path}: ")
    return list(raised.value.problems)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('version = "2.0"', "version: '2.0' is not a version that is known here; this reads 1.0"),
        ('\ncreated_at = "yesterday"', "created_at: 'yesterday' is no date and time; write it as '2026-11-01T12:00:00+00:00'"),
        ("updated_at = 3", "updated_at: 3 is no date and time; write it as '2026-11-01T12:00:00+00:00'"),
        ("default_profile = 3", "default_profile: 3 is no name of a profile; give a text in one line"),
        ('metadata = "x"', "metadata: str is no table"),
        ("profiles = []", "profiles: list is no table"),
        ("[profiles]\ndefault = 1", "profiles.default: int is no table"),
        ('[profiles.prod]\nname = "dev"', "profiles.prod.name: 'dev' is not the profile's own name; write 'prod', or leave it out"),
        (HEAD + 'bindings = "a"', "profiles.default.bindings: 'a' is no list"),
        (HEAD + "bindings = [3]", "profiles.default.bindings[0]: 3 is no table; write alias = '...' and models = ['vendor:model']"),
        (
            HEAD + '\n[[profiles.default.bindings]]\nmodels = ["x:y"]',
            "profiles.default.bindings[0].alias: None is no name for an alias; give a text in one line, other than 'auto'",
        ),
        (
            HEAD + '\n[[profiles.default.bindings]]\nalias = "Auto"\nmodels = ["x:y"]',
            "profiles.default.bindings[0].alias: 'Auto' is no name for an alias; give a text in one line, other than 'auto'",
        ),
        (
            HEAD + BOUND,
            "profiles.default.bindings[0].models: None is no list of models; write ['vendor:model', ...], the first choice first",
        ),
        (
            HEAD + BOUND + 'models = "x:y"',
            "profiles.default.bindings[0].models: 'x:y' is no list of models; write ['vendor:model', ...], the first choice first",
        ),
        (
            HEAD + BOUND + 'models = [\n  "x:y",\n  3,\n]',
            "profiles.default.bindings[0].models[1]: 3 is no model's name; give 'vendor:model'",
        ),
        (
            HEAD + BOUND + 'models = ["openai:"]',
            "profiles.default.bindings[0].models[0]: 'openai:' names no model behind its vendor; give 'vendor:model'",
        ),
        (
            HEAD + BOUND + 'models = ["x:y"]\n' + BOUND + 'models = ["x:z"]',
            "profiles.default.bindings[1].alias: 'a' is bound above already; keep one of the two",
        ),
        (
            HEAD + BOUND + 'models = ["x:y"]\n\n[[profiles.default.bindings]]\nalias = "b"\nmodels = ["a"]',
            "profiles.default.bindings[1].models[0]: 'a' is an alias itself; an alias holds models, such as 'vendor:model'",
        ),
        (HEAD + BOUND + 'models = ["x:y"]\nconstraints = 3', "profiles.default.bindings[0].constraints: int is no table"),
        (
            HEAD + "[profiles.default.registry_versions]\nopenai = -1",
            "profiles.default.registry_versions.openai: -1 is no whole number ≥ 0; write the vendor's version",
        ),
        (
            HEAD + "[profiles.default.registry_versions]\nopenai = true",
            "profiles.default.registry_versions.openai: True is no whole number ≥ 0; write the vendor's version",
        ),
        *[
            (
                f"[extends]\npackages = [{name}]",
                f"extends.packages[0]: {eval(name)!r} is no package's name;"
                " give that of an installed distribution, such as 'my-library'",
            )
            for name in ('"lib\\n"', '""', '"---"', '"a b"', '"-lib"', '"lib."', "3")
        ],
        ("[extends]\npackages = 'lib'", "extends.packages: 'lib' is no list"),
    ],
)
def test_a_mistake_is_told_with_its_path(here, text, told):
    """One file, one mistake, one line of text."""
    assert [told] == problems(here, text)


def test_all_mistakes_are_told_at_once(here):
    """Nobody corrects a file ten times."""
    told = problems(here, 'version = "9"\n' + HEAD + BOUND + 'models = ["openai:"]\n' + BOUND)

    assert ["version", *[f"profiles.default.bindings[{place}" for place in ("0].models[0]", "1].models", "1].alias")]] == [
        one.partition(":")[0] for one in told
    ]


@pytest.mark.parametrize(("name", "text"), [("a.lock", 'version = "1.0\n'), ("a.json", '{"version": }'), ("b.lock", "{\n]")])
def test_what_cannot_be_parsed_has_a_line(here, name, text):
    """The parser's own word for it."""
    (told,) = problems(here, text, name)

    assert "line 1" in told or "line 2" in told


@pytest.mark.parametrize("text", ["[1, 2]", '"text"', "null", "3"])
def test_json_that_is_no_object(here, text):
    """It is said what a lockfile is."""
    assert problems(here, text, "a.json")[0].endswith("is no table; a lockfile is one, with 'profiles' in it")


def test_what_is_no_utf_8(here):
    """The place of the first byte that is not."""
    (here / "a.lock").write_bytes(b'version = "\xff"')

    with pytest.raises(LockfileInvalid, match=r"a\.lock: this is no UTF-8, from byte 11 on; save it as UTF-8"):
        Lockfile.load("a.lock")


def test_deep_json_is_a_mistake(here):
    """And no RecursionError."""
    assert problems(here, "[" * 100_000, "a.json")


def test_a_file_that_is_not_there(here):
    """It is said how to make one."""
    with pytest.raises(LockfileNotFound) as raised:
        Lockfile.load("x.lock")

    assert "x.lock: there is no such file; write one with Lockfile.create_default('x.lock').save()" == str(raised.value)


def test_a_folder_is_no_file(here):
    """Nor is it read."""
    with pytest.raises(LockfileNotFound, match="there is no such file"):
        Lockfile.load(here)


def test_the_errors_are_of_the_one_tree(here):
    """They are caught as a ConfigError, and survive a pickle with their problems."""
    (here / "a.lock").write_text("version = 3", encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        Lockfile.load("a.lock")
    copy = pickle.loads(pickle.dumps(raised.value))

    assert isinstance(raised.value, DispatchError)
    assert (str(raised.value), raised.value.problems) == (str(copy), copy.problems)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lock: lock.bind("", ["x:y"]), "bind: '' is no name for an alias"),
        (lambda lock: lock.bind("a\nb", ["x:y"]), "bind: 'a\\nb' is no name for an alias"),
        (lambda lock: lock.bind("a", []), "bind: 'a' needs a model; give 'vendor:model', or a list of them"),
        (lambda lock: lock.bind("a", "x:y,"), "bind: '' is no model's name; give 'vendor:model'"),
        (lambda lock: lock.bind("a", ["x:"]), "bind: 'x:' names no model behind its vendor"),
        (lambda lock: lock.bind("a", ["fast"]), "bind: 'fast' is an alias itself"),
        (lambda lock: lock.bind("a", ["a"]), "bind: 'a' is an alias itself"),
        (lambda lock: lock.pin("openai", -1), "pin: -1 is no whole number ≥ 0"),
        (lambda lock: lock.pin("openai", "7"), "pin: '7' is no whole number ≥ 0"),
        (lambda lock: lock.extend("a b"), "extend: 'a b' is no package's name"),
        (lambda lock: lock.save(), "save: this lockfile has no file of its own; give a path, such as 'llmdispatcher.lock'"),
    ],
)
def test_a_change_that_is_none(change, told):
    """Nothing is changed, and it is said why."""
    lock = Lockfile()
    lock.bind("fast", ["x:y"])
    before = lock.contents

    with pytest.raises(ConfigError) as raised:
        change(lock)
    assert str(raised.value).startswith(told)
    assert before == lock.contents
