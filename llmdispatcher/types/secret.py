"""A text that holds a key or a password, as settings keep it."""

from __future__ import annotations

from typing import Any, NoReturn, Self, TypeVar

T = TypeVar("T")

MASK = "***"


class Secret(str):
    """A ``str`` that is used like any other, but whose ``repr`` is that of ``shown``, and that cannot be pickled.

    So what holds one can be printed, and cannot be sent to another process or written to a file by ``pickle``.
    """

    __slots__ = ("shown",)
    shown: str

    def __new__(cls, text: str, shown: str = MASK) -> Self:
        """Make a secret of a text; ``shown`` is what its ``repr`` shows."""
        made = super().__new__(cls, text)
        made.shown = shown
        return made

    def __repr__(self) -> str:
        return repr(self.shown)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: Any) -> Self:
        return self

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise TypeError(
            "a key or a password is not pickled; leave it out and send the name of the environment variable or file that holds it,"
            " which the other process reads (a vendor without api_key= reads its own variable, such as OPENAI_API_KEY)"
        )


def copy_self(thing: T) -> T:
    """Return the object itself: the ``__copy__`` of objects that hold connections, locks and keys."""
    return thing


def refuse_pickling(thing: object) -> NoReturn:
    """Raise :class:`TypeError`: the ``__reduce__`` of objects that hold connections, locks and keys."""
    raise TypeError(
        f"{type(thing).__name__} is not pickled, since it holds connections and may hold keys; make one in each process from its"
        " settings, with keys from that process's environment"
    )
