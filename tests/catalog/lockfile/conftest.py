"""A working directory of its own, and an environment that names no lockfile and no profile."""

import pytest

from llmdispatcher.testing import ManualClock

VARIABLES = ("LLMDISPATCHER_LOCKFILE", "LLMRING_LOCKFILE_PATH", "LLMDISPATCHER_PROFILE", "LLMRING_PROFILE")


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """The working directory."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def clock():
    """Time that is moved by hand."""
    return ManualClock()
