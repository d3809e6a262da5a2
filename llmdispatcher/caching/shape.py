"""The fields of a frozen class, read in one go: those that say something, as opposed to those at their default."""

from __future__ import annotations

from collections.abc import Callable, Collection
from operator import attrgetter
from typing import Any

import attrs


class Shape:
    """Which fields of a class count; made once for each class."""

    __slots__ = ("_defaults", "_names", "values")

    def __init__(self, kind: type[attrs.AttrsInstance], leave_out: Collection[str] = ()) -> None:
        fields = [field for field in attrs.fields(kind) if field.name not in leave_out]
        self._names = tuple([field.name for field in fields])
        self._defaults = tuple([_default(field) for field in fields])
        self.values: Callable[[Any], tuple[Any, ...]] = attrgetter(*self._names)

    def said(self, value: Any) -> dict[str, Any]:
        """The fields that are not at their default."""
        return self.named(self.values(value))

    def named(self, values: tuple[Any, ...]) -> dict[str, Any]:
        """Those of the values of all fields that are not at their default, by name."""
        if values == self._defaults:
            return {}
        return {
            name: given
            for name, given, default in zip(self._names, values, self._defaults, strict=True)
            if given is not default and given != default
        }


def _default(field: attrs.Attribute[Any]) -> Any:
    factory = getattr(field.default, "factory", None)
    if factory is not None and field.default.takes_self:  # type: ignore[union-attr]  # a factory has it
        return _NO_DEFAULT
    return factory() if factory is not None else field.default


_NO_DEFAULT = object()
"""What nothing equals: a default that depends on the value's other fields is always written."""
