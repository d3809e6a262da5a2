"""What is built from the tree is all of the package and nothing else, and it works where it is installed by itself.

A folder without ``__init__.py`` is no package for setuptools, and a file of data that ``setup.cfg`` does not name stays behind:
both are seen only in the wheel. It is built offline, from a copy of the tree, so that nothing is left in the checkout.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .surroundings import clean

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "llmdispatcher"
NEEDED = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE")
METADATA = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt"}
SCRIPTS = {
    "[console_scripts]",
    "llmdispatcher = llmdispatcher.cli.main:main",
    "[pytest11]",
    "llmdispatcher = llmdispatcher.testing.plugin",
}
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]

pytestmark = pytest.mark.timeout(300)  # a busy machine builds slowly

USED = """
import sys
import llmdispatcher
from llmdispatcher import Dispatcher, open_ledger
from llmdispatcher.testing import FakeVendor, VendorSimulator

assert llmdispatcher.__file__.startswith(sys.argv[1]), llmdispatcher.__file__
assert len(llmdispatcher.list_models()) > 100
with open_ledger("ledger.db") as ledger, Dispatcher({"lockfile": True}, ledger=ledger) as dispatcher:
    assert dispatcher.lockfile.aliases(), "the bundled lockfile is empty"
    dispatcher.register_vendor(FakeVendor("Hello.", name="other"))
    dispatcher.send(llmdispatcher.Request("m", "Hi"))
    assert ledger.flush(60)
    assert ["success"] == [call.status for call in ledger.list_recent_calls()]
    print(ledger.migrate())
"""


def package_files() -> set[str]:
    """The package's files: those that git tracks or would, and where there is no git all but what Python has compiled."""
    told = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", PACKAGE], cwd=ROOT, capture_output=True, check=False
    )
    listed = told.stdout.decode().split("\0") if told.returncode == 0 else []
    found = [ROOT / name for name in listed if name] or list((ROOT / PACKAGE).rglob("*"))
    return {
        path.relative_to(ROOT).as_posix()
        for path in found
        if path.is_file() and path.suffix != ".pyc" and "__pycache__" not in path.parts
    }


def run(*command: object, cwd: Path, **more: str) -> str:
    """What a program prints; it must end well."""
    environment = clean(cwd) | more
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of a run have together."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "stored-wheel"
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One worker after the other, so that the second finds what the first has made."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="module")
def wheel(shared: Path) -> Path:
    """The wheel, built once from a copy of the tree without asking anybody for anything."""
    pytest.importorskip("setuptools", "77", reason="setuptools 77 is not installed; the extra 'test' has it")
    with alone(shared):
        if not list(shared.glob("*.whl")):
            tree = shared / "tree"
            for name in {*NEEDED, *package_files()}:
                (tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, tree / name)
            run(*PIP, "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir", shared, tree, cwd=shared)
    (found,) = shared.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(shared: Path, wheel: Path) -> Path:
    """A folder that the wheel, and nothing else, is installed in."""
    target = shared / "installed"
    with alone(shared):
        if not target.exists():
            run(*PIP, "install", "--no-index", "--no-deps", "--no-compile", "--target", target, wheel, cwd=shared)
    return target


def in_wheel(wheel: Path) -> tuple[set[str], set[str]]:
    """The files of a wheel, and the names of those of its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    metadata = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    return names - metadata, {name.partition("/")[2] for name in metadata}


def test_the_wheel_has_every_file_of_the_package_and_no_other(wheel):
    """Data, migrations and ``py.typed`` too; what is missing is in no package, or setup.cfg does not name it."""
    files, metadata = in_wheel(wheel)

    assert ([], []) == (sorted(package_files() - files), sorted(files - package_files())), "missing, and too much"
    assert METADATA == metadata


def test_the_wheel_names_its_programs_and_needs(wheel):
    """The command line and pytest's plugin are found by these names."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt")]
        lines = archive.read(name).decode().splitlines()

    assert SCRIPTS == {line for line in lines if line}


def test_every_folder_with_programs_is_a_package():
    """It has an ``__init__.py``; setuptools does not find it otherwise."""
    folders = {Path(name).parent.as_posix() for name in package_files() if name.endswith(".py")}

    assert [] == sorted(folder for folder in folders if not (ROOT / folder / "__init__.py").exists())


def test_what_is_installed_works_by_itself(installed, tmp_path):
    """Names, data, the bundled lockfile, the simulator; a ledger is made by its migrations, and a call is written to it."""
    version = run(sys.executable, "-c", USED, installed, cwd=tmp_path, PYTHONPATH=str(installed))

    assert version


def test_the_installed_command_line_starts(installed, tmp_path):
    """It tells its version."""
    told = run(sys.executable, "-m", PACKAGE, "--version", cwd=tmp_path, PYTHONPATH=str(installed))

    assert told.startswith(f"{PACKAGE} ")
    assert [] == list(tmp_path.iterdir())
