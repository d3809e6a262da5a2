"""The doors of the rooms: what they offer, and what they do where an extra is not installed."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import llmdispatcher

ROOMS = sorted(path.parent.name for path in Path(llmdispatcher.__file__).parent.glob("*/__init__.py"))

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


def test_the_top_offers_what_it_lists():
    """``dir`` and ``__all__`` agree, and each name loads."""
    assert [] == [name for name in llmdispatcher.__all__ if name not in dir(llmdispatcher) or not hasattr(llmdispatcher, name)]
