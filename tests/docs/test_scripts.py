"""The shell scripts: that they can be read and run, and what they say where Python is missing or too old."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from llmdispatcher import catalog

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


def here(*arguments, **environment):
    """Run scripts/run as somebody without a terminal would; the checkout has its environment already."""
    return subprocess.run(
        [ROOT / "scripts" / "run", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.timeout(240)
def test_with_keys_it_tells_the_price_and_asks(tmp_path, monkeypatch, vendors):
    """All seventy prompts by model; without a yes nothing is sent, and no file is written."""
    monkeypatch.chdir(tmp_path)
    done = here()

    assert (2, 0) == (done.returncode, vendors.hits), done.stderr
    assert re.search(r"this may cost about US\$ 0\.\d{4} for 70 prompts; nobody can be asked", done.stderr)
    assert "  openai:gpt-4o-mini: " in done.stderr
    assert [] == list(tmp_path.iterdir())


@pytest.mark.timeout(240)
def test_without_keys_it_simulates(tmp_path, monkeypatch):
    """And says so; every prompt that it is asked for is answered."""
    monkeypatch.chdir(tmp_path)
    for row in catalog.vendor_rows():
        for name in row.key_env:
            monkeypatch.delenv(name, raising=False)
    done = here("--json", "--limit", "7", LLMDISPATCHER_HOME=str(tmp_path / "home"))

    assert 0 == done.returncode, done.stderr
    told = json.loads(done.stdout)
    assert (7, True) == (told["answered"], told["simulated"])


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
