"""The pages against the code: names, errors, dependencies, links, sizes."""

from __future__ import annotations

import builtins
import configparser
import gc
import inspect
import re
import sys
import types
import weakref
from importlib import import_module

import pytest

import llmdispatcher
import llmdispatcher.testing
from llmdispatcher import errors
from llmdispatcher.testing import VendorSimulator, plugin

from .conftest import ROOT, table

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
CLASSES = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.DispatchError)}


def listed(text):
    """The names that a page lists, as an item or in a sentence of names."""
    lines = [line for line in text.splitlines() if line.startswith(("- `", "See ", "`__version__`"))]
    return {name for line in lines for name in re.findall(r"`(\w+)`", line.partition(":")[0] if line.startswith("- ") else line)}


def names_page():
    """The page of names in its two halves: the package, and its tools for tests."""
    return (ROOT / "docs" / "names.md").read_text(encoding="utf-8").split("## `llmdispatcher.testing`")


def test_public_names_are_documented():
    """The page lists what the package exports, no more and no less."""
    assert listed(names_page()[0]) == set(llmdispatcher.__all__)


def test_public_test_tools_are_documented():
    """The same for the tools for tests."""
    assert listed(names_page()[1]) == set(llmdispatcher.testing.__all__)


@pytest.mark.parametrize("module", [llmdispatcher, llmdispatcher.testing], ids=lambda module: module.__name__)
def test_public_names_exist(module):
    """Each loads at its first use."""
    assert [] == [name for name in module.__all__ if getattr(module, name, None) is None]


def test_the_names_of_doors_that_pages_use_exist_and_are_listed():
    """A page that says ``llmdispatcher.room.name`` names what the room offers, and the page of names has it in its table."""
    rows = {row[0].strip("`") for row in table("docs/names.md", "| name | for")}
    text = (ROOT / "docs" / "registry.md").read_text(encoding="utf-8")
    used = {name for name in re.findall(r"`([\w.]+\.[A-Z]+)`", text) if not name.startswith("LLM")}

    assert {"llmdispatcher.catalog.PUBLISHED"} == used <= rows
    for room, _, name in (row.rpartition(".") for row in rows):
        assert hasattr(import_module(room), name)


def test_the_simulator_s_fixture_tells_of_members_that_are_there():
    """What its text says may be set."""
    said = re.findall(r"``(\w+)``", inspect.getdoc(plugin.vendor_simulator) or "")

    with VendorSimulator() as simulator:
        assert said
        assert [] == [name for name in said if not hasattr(simulator, name)]


def test_an_unknown_name_is_an_attribute_error():
    """Also for what loads late."""
    with pytest.raises(AttributeError, match="no attribute 'Dispatchr'"):
        llmdispatcher.Dispatchr  # noqa: B018  # the look-up is what is tested


def test_readme_explains_every_error():
    """Each class has its row, but for the one that they all are."""
    rows = {row[0].strip("`") for row in table("README.md", "| class | when")}

    assert CLASSES.keys() - {"DispatchError"} == rows


def test_retry_table_is_true():
    """The page says of every class what its attributes say."""
    said = {row[0].strip("`"): (row[1], row[2]) for row in table("docs/errors.md", "| class | same target again")}
    word = {True: "yes", False: "no"}

    assert {name: (word[kind.retry_here], word[kind.try_elsewhere]) for name, kind in CLASSES.items()} == said


def test_other_parents_are_true():
    """Where the page says that an error is also something else, it is."""
    for name, _, _, also in table("docs/errors.md", "| class | same target again"):
        for parent in re.findall(r"`(\w+)`", also):
            kind = CLASSES.get(parent) or getattr(builtins, parent)
            assert issubclass(CLASSES[name.strip("`")], kind)


def test_aliases_lead_somewhere():
    """Every name that the alias table points to exists."""
    for _, here in table("docs/errors.md", "| there | here"):
        assert re.match(r"`(\w+)`", here)[1] in CLASSES


def requirements(section, key):
    """The packages of a list in setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return {re.match(r"[\w-]+", line)[0] for line in config[section][key].split("\n") if line}


def test_dependencies_are_justified():
    """The page has a row for each, and none for what is not needed."""
    assert requirements("options", "install_requires") == {row[0] for row in table("docs/dependencies.md", "| package")}


@pytest.mark.parametrize("extra", ["cli", "redis", "test"])
def test_extras_are_justified(extra):
    """Each package of an extra is named on the page."""
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")

    assert [] == [name for name in sorted(requirements("options.extras_require", extra)) if name not in page]


def test_links_lead_somewhere():
    """Every relative link is to a file."""
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text(encoding="utf-8"))]

    assert [] == [(page.name, link) for page, link in links if not (page.parent / link).exists()]


def test_the_number_of_models_is_about_right():
    """As the page of models tells it, and how many vendors have them."""
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    models, vendors = (
        int(number.replace(",", "")) for number in re.search(r"about ([\d,]+) models of (\d+) vendors", page).groups()
    )
    found = llmdispatcher.list_models(active_only=False)

    assert len({facts.vendor for facts in found}) == vendors
    assert abs(len(found) - models) <= 0.02 * models


def test_the_handler_of_a_worker_s_end_is_kept():
    """Celery's signals keep weak references to their handlers unless told otherwise; what the page shows is called nevertheless."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    code = re.search(r"^```py\n(from celery.*?)^```", page, re.MULTILINE | re.DOTALL)[1]
    handlers, drained = [], []

    class WorkerProcessShutdown:
        """As Celery's own connect does it."""

        def connect(self, *given, weak=True):
            def keep(handler):
                handlers.append(weakref.ref(handler) if weak else lambda: handler)
                return handler

            return keep(*given) if given else keep

    celery, signals = types.ModuleType("celery"), types.ModuleType("celery.signals")
    signals.worker_process_shutdown = WorkerProcessShutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "celery", celery)
        patch.setitem(sys.modules, "celery.signals", signals)
        names = {"dispatcher": types.SimpleNamespace(close=lambda drain: drained.append(drain))}
        exec(code, names)
    names.pop("drain")
    gc.collect()
    for handler in handlers:
        handler()(pid=1, exitcode=0)

    assert [5] == drained


def test_architecture_names_every_room():
    """The page of floors mentions every module at the top of the package."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.stem for path in (ROOT / "llmdispatcher").iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}

    assert [] == sorted(room for room in rooms if not room.startswith("_") and f"`{room}" not in page)


def test_architecture_names_files_that_exist():
    """Each path of a file on the page, which is a path in the package or in the repository."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    paths = re.findall(r"`([a-z_]+/[\w./]*\.\w+)`", page)

    assert len(paths) > 30
    assert [] == [path for path in paths if not ((ROOT / path).exists() or (ROOT / "llmdispatcher" / path).exists())]


def test_architecture_is_one_screen():
    """It stays short enough to be read."""
    assert len((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_a_file_that_a_page_names_exists():
    """Above all the test that shows a promise: a renamed one would show nothing. A bare name is looked for among the tests."""
    missing, tests = [], {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    for page in (*PAGES, ROOT / "benchmarks" / "README.md"):
        text = page.read_text(encoding="utf-8")
        paths = re.findall(r"`((?:tests|benchmarks|docs|scripts|examples|llmdispatcher)/[\w./-]+)(?:::\w+)?`", text)
        missing += [(page.name, path) for path in paths if not (ROOT / path).exists()]
        missing += [(page.name, name) for name in re.findall(r"`(test_\w+\.py)`", text) if name not in tests]

    assert [] == missing
