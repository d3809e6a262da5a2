"""Aliases that are missing: one error for all, with the whole text that mends it, which then does."""

import json
import tomllib

import pytest

from llmdispatcher import ConfigError, Lockfile

PLAIN = '[profiles.default]\n[[profiles.default.bindings]]\nalias = "other"\nmodels = ["x:y"]\n'
SHAPES = {
    "with bindings": PLAIN,
    "empty": "",
    "an empty list": "[profiles.default]\nbindings = []\nname = 'default'\n[profiles.prod]\nbindings = []\n",
    "no bindings": "[profiles.default]\nname = 'default'\n",
    "inline": '[profiles.default]\nbindings = [{alias = "other", models = ["x:y"]}]\n',
}


def told(lock, *names, **settings):
    with pytest.raises(ConfigError) as raised:
        lock.require_aliases(names, **settings)
    return str(raised.value)


def toml_of(text):
    """The remedy in an error's text."""
    return text[text.index("\n\n") + 2 :]


def test_all_missing_aliases_are_in_one_error(here):
    """With the file, the profile and who needs them; those that are there are not named."""
    (here / "a.lock").write_text(PLAIN, encoding="utf-8")
    text = told(Lockfile.load("a.lock"), "fast", "other", "nobody knows", "fast", context="MyApp")

    told_first = "the profile 'default' has no alias 'fast', 'nobody knows'; MyApp needs them. Add at its end:"
    assert text.startswith(f"{here / 'a.lock'}: {told_first}\n\n")


def test_nothing_is_missing(here):
    """Then nothing is raised; a single name may be given as such."""
    lock = Lockfile()
    lock.bind("other", ["x:y"])

    lock.require_aliases(["other"])
    lock.require_aliases("other")
    lock.require_aliases([])


@pytest.mark.parametrize("profile", ["default", "prod"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_remedy_mends_it(here, shape, profile):
    """Done as it says, the same call is content, and what was there is still there."""
    path = here / "a.lock"
    path.write_text(SHAPES[shape] + ("" if "profiles.prod" in SHAPES[shape] else "[profiles.prod]\n"), encoding="utf-8")
    lock = Lockfile.load(path)
    before = lock.aliases(profile)
    text = told(lock, "fast", "nobody knows", profile=profile)

    old = path.read_text(encoding="utf-8")
    if f"take 'bindings' out of [profiles.{profile}]" in text:
        head, _, rest = old.partition(f"[profiles.{profile}]\n")
        old = (
            head
            + f"[profiles.{profile}]\n"
            + "\n".join(
                [line for number, line in enumerate(rest.splitlines()) if not (number == 0 and line.startswith("bindings"))]
            )
        )
    path.write_text(f"{old}\n{toml_of(text)}", encoding="utf-8")
    mended = Lockfile.load(path)

    mended.require_aliases(["fast", "nobody knows"], profile=profile)
    assert before.items() <= mended.aliases(profile).items()
    assert ("vendor:model",) == mended.resolve("nobody knows", profile)
    assert Lockfile.discover().resolve("fast") != ("vendor:model",) == mended.resolve("nobody knows", profile)


def test_the_remedy_for_json_is_json(here):
    """With the place where it belongs."""
    (here / "a.json").write_text("{}", encoding="utf-8")
    text = told(Lockfile.load("a.json"), "nobody knows")

    assert 'Add in the list "bindings" of "profiles" → "default":' in text
    assert {"alias": "nobody knows", "models": ["vendor:model"]} == json.loads(toml_of(text))


def test_without_a_file_of_ones_own_it_is_a_whole_file(here):
    """Written where it says, it is found, and mends it."""
    text = told(Lockfile.discover(), "summarizer", 'deep "er"')

    assert ". Write llmdispatcher.lock:\n\nversion = " in text
    assert "1.0" == tomllib.loads(toml_of(text))["version"]
    (here / "llmdispatcher.lock").write_text(toml_of(text), encoding="utf-8")
    Lockfile.discover().require_aliases(["summarizer", 'deep "er"'])


def test_likely_reasons_are_told(here):
    """Another profile has it; it is spelled otherwise; its package is not there."""
    lock = Lockfile()
    lock.bind("summarizer", ["x:y"])
    lock.bind("drafts", ["x:y"], profile="dev")
    lock.extend("lib-a")
    text = told(lock, "drafts", "sumarizer", "lib-a:x")

    assert "('drafts' is bound in 'dev'; did you mean 'summarizer'?)" in text
    assert "the package 'lib-a' is not installed; pip install lib-a" in text


def test_what_is_wrong_with_the_profile_is_not_hidden():
    """An unknown one is an error of its own, and no alias that is missing."""
    lock = Lockfile()
    lock.bind("a", ["x:y"])
    with pytest.raises(ConfigError, match="there is no 'prd'"):
        lock.require_aliases(["a"], profile="prd")


def test_resolve_tells_the_same():
    """For one alias."""
    with pytest.raises(ConfigError, match=r"the profile 'default' has no alias 'fast'\. Write llmdispatcher\.lock:"):
        Lockfile().resolve("fast")
