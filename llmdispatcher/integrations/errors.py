"""The library's errors in the shape of other libraries' errors: one object that handlers of either catch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from llmdispatcher import AllTargetsFailed, DispatchError

Shape = tuple[tuple[type[Exception], ...], Mapping[str, Any]]
"""Classes of another library, and further attributes."""


@contextmanager
def errors_shaped(shape_of: Callable[[DispatchError], Shape | None]) -> Iterator[None]:
    """Raise each error in the shape that the function gives for it, or as it is."""
    try:
        yield
    except DispatchError as error:
        shape = shape_of(error)
        made = raised_as(error, *shape[0], **shape[1]) if shape is not None else error
        raise made from made.__cause__


def cause_of(error: DispatchError) -> DispatchError:
    """Return the failure that decides how an error is handled: of several targets that of the last, else the error itself."""
    return error.__cause__ if isinstance(error, AllTargetsFailed) and isinstance(error.__cause__, DispatchError) else error


def raised_as(error: DispatchError, *shapes: type[Exception], **facts: Any) -> DispatchError:
    """Return the same failure as an object of its own class and of other libraries' ``shapes``, for handlers of either.

    ``facts`` are further attributes.
    """
    if isinstance(error, shapes[0]):
        vars(error).update(facts)
        return error
    made = _again(type(error), shapes, error.args, {**vars(error), **facts})
    made.__cause__, made.__suppress_context__ = error.__cause__, error.__suppress_context__
    return made.with_traceback(error.__traceback__)


@cache
def _joined(kind: Any, *shapes: Any) -> Any:
    return type(shapes[0].__name__, (*shapes, kind), {"__reduce__": _reduce, "__module__": shapes[0].__module__})


def _reduce(error: DispatchError) -> tuple[Any, ...]:
    """A pickle finds no class that was made at run time, but those that it was made of."""
    *shapes, kind = type(error).__bases__
    return _again, (kind, shapes, error.args, {name: value for name, value in vars(error).items() if name != "_whole"})


def _again(kind: Any, shapes: Iterable[Any], args: tuple[Any, ...], fields: dict[str, Any]) -> DispatchError:
    joined = _joined(kind, *shapes)
    made: DispatchError = joined.__new__(joined, *args)
    vars(made).update(fields)
    return made
