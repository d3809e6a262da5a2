"""The many ways to write the same in TOML: each can be changed, saved again and again, and says what was said last."""

import pytest

from llmdispatcher import Lockfile
from llmdispatcher.catalog.lockfile import commented

BOUND = 'alias = "a"\nmodels = ["x:1"]\n'
USUAL = {
    "quoted keys": '# kept\n[profiles."de fault"]\n[["profiles"."de fault".bindings]]\n"alias" = "a"\nmodels = [\n "x:1",\n]\n',
    "line ends of Windows": "# kept\r\n[profiles.default]\r\n[[profiles.default.bindings]]\r\nalias = 'a'\r\nmodels = ['x:1']\r\n",
    "no line end": '[profiles.default]\nname = "default" # kept',
    "an empty list, not last": "# kept\n[profiles.default]\nbindings = []\nregistry_versions = {openai = 3}\nname = 'default'\n",
    "nothing but a header": "# kept\n[profiles]\n",
    "nothing but a comment": "# kept\n",
    "all in one line": '# kept\nprofiles = {default = {name = "default", bindings = [{alias = "a", models = ["x:1"]}]}}\n',
}
RARE = {
    "dotted keys": 'profiles.default.name = "default" # c\nprofiles.default.registry_versions.openai = 7\n',
    "bindings in two places": f'# c\n[[profiles.default.bindings]]\n{BOUND}[profiles.prod]\nname = "prod"\n'
    '[[profiles.default.bindings]]\nalias = "b"\nmodels = ["x:2"]\n',
    "a profile behind its parts": "# c\n[profiles.default.registry_versions]\nopenai = 1\n[[profiles.default.bindings]]\n"
    f"{BOUND}[profiles.default]\nname = 'default'\n",
}


def changed_and_saved(path):
    """Bound, pinned, unbound, with a save after each; what the file says in the end is what was said."""
    lock = Lockfile.load(path)
    profile = next(iter(lock.contents.profiles), "default")
    lock.bind("new", ["y:1"], profile=profile, constraints={"a": {"b": 1}})
    lock.bind("a", ["y:2"], profile=profile)
    lock.pin("openai", 9, profile=profile)
    lock.pin("google", 2, profile=profile)
    lock.bind("z", ["y:3"], profile="another")
    lock.extend("lib-a")
    lock.save()
    assert lock.contents == Lockfile.load(path).contents
    lock.unbind("a", profile=profile)
    lock.pin("google", None, profile=profile)
    lock.save()
    assert lock.contents == Lockfile.load(path).contents
    assert ("y:1",) == Lockfile.load(path).resolve("new", profile)


@pytest.mark.parametrize("shape", USUAL)
def test_a_usual_shape_keeps_its_comments(here, shape):
    """However it is written."""
    path = here / "a.lock"
    path.write_bytes(USUAL[shape].encode())
    changed_and_saved(path)

    assert "# kept" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", RARE)
def test_a_rare_shape_keeps_its_values(here, shape):
    """Where the comments cannot be kept, nothing else is lost."""
    path = here / "a.lock"
    path.write_bytes(f"unknown = 1\n{RARE[shape]}".encode())
    changed_and_saved(path)

    assert "unknown = 1" in path.read_text(encoding="utf-8")


def test_the_loss_of_comments_is_logged(here, caplog, monkeypatch):
    """Once for each save that loses them."""
    path = here / "a.lock"
    path.write_text(f"# c\n[[profiles.default.bindings]]\n{BOUND}", encoding="utf-8")
    monkeypatch.setattr(commented, "_edit", lambda _source, _contents: None)
    lock = Lockfile.load(path)
    lock.bind("b", ["x:2"])
    lock.save()

    assert ["its comments cannot be kept" in record.message for record in caplog.records] == [True]
    assert {"a": ("x:1",), "b": ("x:2",)} == Lockfile.load(path).aliases()
