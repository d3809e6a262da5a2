"""The shell scripts: that they can be read and run, and what they say where Python is missing or too old."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from .conftest import ROOT

SCRIPTS = ["scripts/run", "scripts/test", "scripts/check", ".ci/run"]
TOOLS = ("bash", "dirname", "cksum", "cat")

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="the scripts need bash, which this machine has not")


@pytest.mark.parametrize("script", [*SCRIPTS, "scripts/environment"])
def test_bash_understands_it(script):
    """No syntax error."""
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_can_be_run(script):
    """By its name."""
    assert os.access(ROOT / script, os.X_OK)


PYTHONS = {
    "none": (None, "no Python found; install Python 3.11 or newer"),
    "too old": (
        '[ "$1" = --version ] && echo Python 3.9.2 && exit; exit 1',
        "python3 is Python 3.9.2; Python 3.11 or newer is needed",
    ),
    "no venv": (
        'case "$2" in *ensurepip*) exit 1;; esac',
        "python3 has no venv module; install it (Debian and Ubuntu: apt install",
    ),
}


@pytest.mark.parametrize(("python", "said"), PYTHONS.values(), ids=PYTHONS)
def test_a_machine_without_the_right_python_is_told(tmp_path, python, said):
    """In one line that says what to install; nothing is made."""
    path = tmp_path / "path"
    path.mkdir()
    for tool in TOOLS:
        (path / tool).symlink_to(shutil.which(tool))
    if python is not None:
        (path / "python3").write_text(f"#!{path / 'bash'}\n{python}\n")
        (path / "python3").chmod(0o755)
    shutil.copytree(ROOT / "scripts", tmp_path / "checkout" / "scripts")
    for name in ("setup.cfg", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / "checkout")
    done = subprocess.run(
        [tmp_path / "checkout" / "scripts" / "run"], env={"PATH": str(path)}, capture_output=True, text=True, check=False
    )

    assert 1 == done.returncode
    assert done.stderr.startswith(f"llmdispatcher: {said}")
    assert not (tmp_path / "checkout" / ".venv").exists()
