"""Which lockfile holds, which profile of it, and how a file is replaced."""

import os
import stat
from datetime import timedelta

import pytest

from llmdispatcher import ConfigError, Lockfile, LockfileNotFound


def made(path, model):
    """A lockfile with the alias ``who``."""
    lock = Lockfile.create_default(path)
    lock.bind("who", [model], profile="default")
    return lock.save()


@pytest.fixture
def everywhere(here, monkeypatch):
    """One in each place, that says where it is."""
    (here / "elsewhere").mkdir()
    for variable in ("LLMDISPATCHER_LOCKFILE", "LLMRING_LOCKFILE_PATH"):
        monkeypatch.setenv(variable, str(made(here / "elsewhere" / variable, f"v:{variable}")))
    for name in ("llmdispatcher.lock", "llmring.lock"):
        made(here / name, f"v:{name}")
    return here


def who():
    return Lockfile.discover().resolve("who", "default")[0]


def test_the_order_of_places(everywhere, monkeypatch):
    """Ours before the other name, the environment before the working directory, the bundled one last."""
    found = [who()]
    monkeypatch.delenv("LLMDISPATCHER_LOCKFILE")
    found.append(who())
    monkeypatch.setenv("LLMRING_LOCKFILE_PATH", " ")
    found.append(who())
    (everywhere / "llmdispatcher.lock").unlink()
    found.append(who())
    (everywhere / "llmring.lock").unlink()

    assert ["v:LLMDISPATCHER_LOCKFILE", "v:LLMRING_LOCKFILE_PATH", "v:llmdispatcher.lock", "v:llmring.lock"] == found
    assert Lockfile.discover().is_bundled


@pytest.mark.parametrize("variable", ["LLMDISPATCHER_LOCKFILE", "LLMRING_LOCKFILE_PATH"])
def test_a_file_that_the_environment_names_must_be_there(here, monkeypatch, variable):
    """No other one is taken in its place; the variable is named."""
    made(here / "llmdispatcher.lock", "v:here")
    monkeypatch.setenv(variable, "gone.lock")

    with pytest.raises(LockfileNotFound, match=rf"{variable}: gone\.lock: there is no such file"):
        Lockfile.discover()


def test_another_folder(here):
    """Instead of the working directory."""
    (here / "app").mkdir()
    made(here / "app" / "llmring.lock", "v:app")

    assert ("v:app",) == Lockfile.discover(here / "app").resolve("who")


def test_the_order_of_profiles(here, monkeypatch):
    """The argument, our variable, the other variable, the file's default; blank ones are none."""
    lock = Lockfile()
    for name in ("given", "ours", "theirs", "default"):
        lock.bind("who", [f"v:{name}"], profile=name)

    found = [lock.resolve("who")]
    monkeypatch.setenv("LLMRING_PROFILE", "theirs")
    found.append(lock.resolve("who"))
    monkeypatch.setenv("LLMDISPATCHER_PROFILE", " ours ")
    found += [lock.resolve("who"), lock.resolve("who", ""), lock.resolve("who", " given ")]
    monkeypatch.setenv("LLMDISPATCHER_PROFILE", "")
    found.append(lock.resolve("who"))

    assert ["v:default", "v:theirs", "v:ours", "v:ours", "v:given", "v:theirs"] == [models[0] for models in found]


def test_a_profile_is_not_remembered_for_another(here, monkeypatch):
    """What was found for the default does not answer for the profile that the environment names now."""
    lock = Lockfile()
    lock.bind("who", ["v:one"])
    lock.bind("who", ["v:two"], profile="prod")

    assert [("v:one",), ("v:one",)] == [lock.resolve("who"), lock.resolve("who", "default")]
    monkeypatch.setenv("LLMDISPATCHER_PROFILE", "prod")
    assert [("v:two",), ("v:one",)] == [lock.resolve("who"), lock.resolve("who", "default")]
    assert lock.find("who") is lock.find(" who ", "prod")


@pytest.mark.parametrize(("variable", "told"), [(None, "profile: "), ("LLMDISPATCHER_PROFILE", "LLMDISPATCHER_PROFILE: ")])
def test_an_unknown_profile_is_named(here, monkeypatch, variable, told):
    """With where it was named, and those there are; it is asked for only when an alias is."""
    lock = Lockfile.load(made(here / "a.lock", "v:m"))
    if variable is not None:
        monkeypatch.setenv(variable, "prd")

    assert lock.find("no alias", "prd") is None
    with pytest.raises(ConfigError) as raised:
        lock.resolve("who", "prd" if variable is None else None)
    assert f"{told}there is no 'prd' in {here / 'a.lock'}; there are default, prod, staging, dev" == str(raised.value)


def test_names_are_exact_but_for_blanks():
    """Case counts in aliases and profiles; a near miss is guessed at."""
    lock = Lockfile()
    lock.bind(" Fast ", ["x:y"])

    assert [True, True, False] == [lock.has_alias(name) for name in ("Fast", " Fast", "fast")]
    with pytest.raises(ConfigError, match="has no alias 'fast' \\(did you mean 'Fast'\\?\\)"):
        lock.resolve("fast")
    with pytest.raises(ConfigError, match="there is no 'Default'"):
        lock.resolve("Fast", "Default")


def test_only_vendors_that_are_available():
    """In the order of the pool; "azure-openai" and "azure" are one."""
    lock = Lockfile()
    lock.bind("who", ["openai:a", "azure:b", "bare", "Anthropic:c"])

    assert ("azure:b", "bare", "Anthropic:c") == lock.resolve("who", available=["azure-openai", "anthropic"])
    lock.bind("who", ["openai:a"])
    with pytest.raises(ConfigError, match="alias 'who': it stands for openai:a; available are google"):
        lock.resolve("who", available=["google"])


def test_times_of_a_save(here, clock):
    """``updated_at`` is now, ``created_at`` is never changed."""
    path = Lockfile.create_default("a.lock", clock=clock).save()
    born = clock.now()
    clock.advance(60)
    lock = Lockfile.load(path, clock=clock)
    before = lock.digest
    lock.save()

    assert (born, born + timedelta(seconds=60)) == (lock.contents.created_at, lock.contents.updated_at)
    assert lock.contents == Lockfile.load(path).contents
    assert before != lock.digest == Lockfile.load(path).digest


def test_a_default_lockfile_has_four_empty_profiles(here):
    """To be filled."""
    path = Lockfile.create_default("a.lock").save()

    assert ["default", "prod", "staging", "dev"] == list(Lockfile.load(path).contents.profiles)
    assert {} == Lockfile.load(path).aliases("prod")


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664])
def test_the_mode_stays(here, mode):
    """Whatever the umask says."""
    path = made(here / "a.lock", "v:m")
    path.chmod(mode)
    Lockfile.load(path).save()

    assert mode == stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_mode_of_new_files(here):
    """The umask's."""
    old = os.umask(0o027)
    try:
        path = made(here / "a.lock", "v:m")
    finally:
        os.umask(old)

    assert 0o640 == stat.S_IMODE(path.stat().st_mode)


def test_a_link_stays_a_link(here):
    """Its target is replaced, and nothing is left beside either."""
    (here / "real").mkdir()
    (here / "a.lock").symlink_to(made(here / "real" / "b.lock", "v:m"))
    lock = Lockfile.load("a.lock")
    lock.bind("who", ["v:new"])
    lock.save()

    assert (here / "a.lock").is_symlink()
    assert ("v:new",) == Lockfile.load(here / "real" / "b.lock").resolve("who")
    assert ["b.lock"] == [path.name for path in (here / "real").iterdir()]


def test_a_save_that_fails_leaves_the_old_file(here, monkeypatch):
    """And no other one; the text says why."""
    path = made(here / "a.lock", "v:old")
    lock = Lockfile.load(path)
    lock.bind("who", ["v:new"])

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match=r"a\.lock: it cannot be written: No space left on device"):
        lock.save()
    assert ("v:old",) == Lockfile.load(path).resolve("who")
    assert ["a.lock"] == [file.name for file in here.iterdir()]


def test_what_others_have_changed_is_not_overwritten(here):
    """Of two who have read the same file the second is told to read it again."""
    path = made(here / "a.lock", "v:m")
    one, other = Lockfile.load(path), Lockfile.load(path)
    one.bind("mine", ["v:1"])
    one.save()
    other.bind("mine", ["v:2"])

    with pytest.raises(ConfigError, match="it has been changed since it was read; load it again"):
        other.save()
    one.bind("mine", ["v:3"])
    one.save()
    assert ("v:3",) == Lockfile.load(path).resolve("mine")


def test_a_new_lockfile_does_not_overwrite_one(here):
    """Unless the path is given to the save itself; the same object may be saved again."""
    path = made(here / "a.lock", "v:old")
    new = Lockfile.create_default(path)

    with pytest.raises(ConfigError, match=r"a\.lock: there is a file already; load it and change it, or take it away first"):
        new.save()
    assert ("v:old",) == Lockfile.load(path).resolve("who")
    new.save(path)
    new.save()
    assert {} == Lockfile.load(path).aliases()


def test_another_working_directory_does_not_move_the_file(here, monkeypatch):
    """It is saved where it was read from."""
    made(here / "llmdispatcher.lock", "v:old")
    lock, new = Lockfile.discover(), Lockfile.create_default("new.lock")
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    lock.bind("who", ["v:new"])
    lock.save()
    new.save()

    assert ("v:new",) == Lockfile.load(here / "llmdispatcher.lock").resolve("who")
    assert (here / "new.lock", []) == (new.path, list((here / "other").iterdir()))


def test_the_bundled_lockfile_is_not_written():
    """It belongs to the package."""
    with pytest.raises(ConfigError, match="give a path"):
        Lockfile.discover().save()


def test_a_copy_goes_elsewhere_in_either_form(here):
    """With its comments where the form is the same."""
    lock = Lockfile.discover()

    assert "# Hard problems." in lock.save("mine.lock").read_text(encoding="utf-8")
    lock.save("mine.json")
    assert Lockfile.load("mine.lock").aliases() == Lockfile.load("mine.json").aliases()


@pytest.mark.parametrize("name", ["lock.yaml", "lock.yml", "lock.xml"])
def test_a_lockfile_has_a_name_of_its_format(here, name):
    """Another is refused, for a new one and for a copy, and nothing is written."""
    with pytest.raises(ConfigError, match=r"no lockfile has the suffix '\.\w+'; use a name that ends in \.lock, \.toml or \.json"):
        Lockfile.create_default(name).save()
    lock = Lockfile.load(made(here / "llmdispatcher.lock", "v:m"))
    with pytest.raises(ConfigError, match="no lockfile has the suffix"):
        lock.save(name)
    assert not (here / name).exists()
