"""Doors: packages that load the names they offer from their modules at the first use."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any


def door(package: str, modules: Mapping[str, tuple[str, ...]]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for *package*; *modules* are its modules and the names that each offers."""
    module_of = {name: module for module, names in modules.items() for name in names}

    def load(name: str) -> Any:
        if name in module_of:
            value = getattr(_imported(f"{package}.{module_of[name]}"), name)
        elif name in modules:
            value = _imported(f"{package}.{name}")
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return load, lambda: sorted({*vars(sys.modules[package]), *module_of})


def _imported(module: str) -> ModuleType:
    """The module; an ``AttributeError`` in it would become a bare "cannot import name" of ``from package import name``."""
    try:
        return import_module(module)
    except AttributeError as error:
        raise ImportError(f"{module} cannot be loaded: {error}", name=module) from error
