"""The doors of the rooms: what they offer, and what they do where an extra is not installed."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import llmdispatcher
from llmdispatcher import testing

PACKAGE = Path(llmdispatcher.__file__).parent
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py"))

WITHOUT_EXTRAS = """
import sys
from importlib.machinery import PathFinder
EXTRAS = {"sqlalchemy", "alembic", "psycopg", "cryptography", "rfc8785", "redis", "limits", "tomlkit", "click", "rich", "keyring",
          "pyarrow", "matplotlib", "tiktoken"}
class Plain:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.partition(".")[0] in EXTRAS else PathFinder.find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Plain
import llmdispatcher
from llmdispatcher import *
from llmdispatcher.errors import ConfigError
import inspect
assert hasattr(llmdispatcher, "Receipts")
assert {"Receipts", "Ledger", "open_ledger"} <= {name for name, _ in inspect.getmembers(llmdispatcher)}
assert not EXTRAS & set(sys.modules), EXTRAS & set(sys.modules)
for make in (SigningKey.generate, lambda: SigningKey(bytes(32)), lambda: PublicKey(bytes(32)), lambda: Receipts(None),
             lambda: verify_receipts("[]", "x"), lambda: Ledger("x.db"), lambda: PublicKeys.of("-----BEGIN PUBLIC KEY-----"),
             lambda: Dispatcher(Config(cache=ResponseCache(store="redis://127.0.0.1")))):
    try:
        make()
    except ConfigError as error:
        assert "llmdispatcher[" in error.message, error
    else:
        raise AssertionError(make)
"""


def test_without_extras_every_public_name_loads_and_constructors_say_what_to_install(tmp_path):
    """A door raises no error for a missing extra; what needs the extra names it when it is made."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_EXTRAS], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "" == done.stderr


@pytest.mark.parametrize("room", ROOMS)
def test_a_door_offers_what_it_lists_and_nothing_else(room):
    """Each name of a door loads; any other name is an ``AttributeError``."""
    door = import_module(f"llmdispatcher.{room}")

    assert [] == [name for name in dir(door) if not hasattr(door, name)]
    with pytest.raises(AttributeError, match=f"module 'llmdispatcher.{room}' has no attribute 'nothing'"):
        _ = door.nothing


def tables(folder):
    """What a door tells type checkers, and what it loads: modules and names, twice."""
    nodes = list(ast.walk(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))))
    imports = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1]
    imports = [node for node in imports if node.module is not None and node.module != "_lazy"]
    told = {(node.module, alias.name) for node in imports for alias in node.names}
    loaded = [ast.literal_eval(node) for node in nodes if isinstance(node, ast.Dict)]
    return told, {(module, name) for table in loaded for module, names in table.items() for name in names}


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_a_door_loads_what_it_tells_type_checkers(room):
    """The same names from the same modules: a type checker sees the one table, the program runs by the other."""
    told, loaded = tables(PACKAGE / room)

    assert told == loaded


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_no_module_takes_the_place_of_a_name(room):
    """A module becomes an attribute of its package when it is imported, so a door offers no name that a module beside it has."""
    modules = {path.stem for path in (PACKAGE / room).iterdir()}

    assert [] == sorted(name for _, name in tables(PACKAGE / room)[1] if name in modules)


def test_a_module_that_cannot_be_loaded_says_why(tmp_path):
    """An ``AttributeError`` in a module is not taken for a name that the door does not have."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").write_text(
        "from llmdispatcher._lazy import door\n__getattr__, __dir__ = door(__name__, {'goods': ('Tea',)})\n", encoding="utf-8"
    )
    (tmp_path / "shop" / "goods.py").write_text("import os\nos.no_such_call()\n", encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", "from shop import Tea"], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert "ImportError: shop.goods cannot be loaded: module 'os' has no attribute 'no_such_call'" == done.stderr.splitlines()[-1]


@pytest.mark.parametrize("module", [llmdispatcher, testing], ids=["top", "testing"])
def test_a_public_module_offers_what_it_lists(module):
    """``dir`` and ``__all__`` agree, and each name loads."""
    assert [] == [name for name in module.__all__ if name not in dir(module) or not hasattr(module, name)]
