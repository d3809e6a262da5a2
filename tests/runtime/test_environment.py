"""Folders of the user, for users who have no home folder, or one that they may not enter or write to."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from llmdispatcher import ConfigError
from llmdispatcher.runtime import data_folder, make_data_folder, own_file, state_folder, user_path


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A user of whom neither the environment nor the system's list of users knows a home."""
    pwd = pytest.importorskip("pwd")

    def unknown(who: object) -> None:
        raise KeyError(f"getpwuid(): uid not found: {who}")

    for name in ("HOME", "XDG_DATA_HOME", "LLMDISPATCHER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    return monkeypatch


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary folder of this test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_without_a_home_there_is_no_folder(homeless):
    """Nothing is kept, and nothing is found."""
    assert (None, None) == (data_folder(), own_file("ledger.db"))


def test_whoever_must_keep_something_is_told_how_to_name_a_folder(homeless, tmp_path):
    """The error has the variable; with it there is a folder."""
    with pytest.raises(ConfigError, match="LLMDISPATCHER_HOME"):
        make_data_folder()
    homeless.setenv("LLMDISPATCHER_HOME", str(tmp_path / "mine"))

    assert tmp_path / "mine" == make_data_folder()


def test_a_folder_that_cannot_be_made_is_named_with_its_variable(monkeypatch, tmp_path):
    """As below a root that is read-only, or a file."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LLMDISPATCHER_HOME", str(tmp_path / "file" / "mine"))

    with pytest.raises(ConfigError, match=r"file/mine: this folder cannot be made \(Not a directory\).*LLMDISPATCHER_HOME"):
        make_data_folder()


def test_a_home_that_may_not_be_entered_has_no_files(monkeypatch, tmp_path):
    """As root's, in a container that runs as somebody else: to look there is no error."""
    monkeypatch.setenv("LLMDISPATCHER_HOME", str(tmp_path))
    (tmp_path / "ledger.db").touch()
    there = own_file("ledger.db")

    def deny(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", deny)

    assert (tmp_path / "ledger.db", None) == (there, own_file("ledger.db"))


def test_a_path_that_begins_at_an_unknown_home_names_its_field(homeless):
    """Instead of a RuntimeError; any other path needs no home."""
    with pytest.raises(ConfigError, match=r"lockfile: '~/my\.lock' begins with a home folder that is not known"):
        user_path("~/my.lock", "lockfile")

    assert Path("my.lock") == user_path("my.lock", "lockfile")


def test_rows_wait_below_the_home(monkeypatch, tmp_path):
    """In the folder that there is for state, which is not made before it is needed."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert (tmp_path / ".local/state/llmdispatcher", []) == (state_folder("spool"), list(tmp_path.iterdir()))


def test_rows_wait_in_the_temporary_folder_where_there_is_no_home(homeless, temporary):
    """In a folder that is this user's alone."""
    folder = state_folder("spool")

    assert (temporary, 0o700) == (folder.parent, stat.S_IMODE(folder.stat().st_mode))


def test_rows_wait_in_the_temporary_folder_where_the_home_is_read_only(temporary, monkeypatch):
    """As in a container with a read-only root; root itself is told so by the system, too."""
    monkeypatch.setenv("HOME", str(temporary / "home"))
    (temporary / "home").mkdir()
    monkeypatch.setattr(os, "access", lambda _path, _how: False)

    assert temporary == state_folder("spool").parent


def open_to_others(folder: Path) -> None:
    """One that anybody may read."""
    folder.mkdir()
    folder.chmod(0o755)


def led_elsewhere(folder: Path) -> None:
    """A link to a folder of somebody else's choice."""
    (folder.parent / "trap").mkdir(mode=0o700)
    folder.symlink_to(folder.parent / "trap")


@pytest.mark.parametrize("prepare", [open_to_others, led_elsewhere])
def test_a_folder_that_somebody_else_has_laid_out_is_not_used(homeless, temporary, prepare):
    """Everybody may write to the temporary folder; the error names the parameter that takes another."""
    prepare(temporary / f"llmdispatcher-{os.getuid()}")

    with pytest.raises(ConfigError, match="name a folder in spool="):
        state_folder("spool")


def test_without_any_folder_the_parameter_is_named(homeless):
    """Neither a home nor a temporary folder can be written to."""

    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    homeless.setattr("tempfile.gettempdir", nowhere)

    with pytest.raises(ConfigError, match=r"spool: .*No usable temporary directory found.*name a folder in spool="):
        state_folder("spool")
