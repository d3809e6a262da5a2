"""What each error class promises: its place in the tree, what may be tried again, the facts that it carries."""

from __future__ import annotations

import pickle
from typing import Any

from llmdispatcher import DispatchError

from .shaping import as_text
from .signatures import error_classes, signature

SITUATIONS: dict[str, dict[str, Any]] = {
    "bare": {},
    "never sent": {"sent": False},
    "sent": {"sent": True},
    "refused": {"sent": True, "status": 400},
    "silent": {"sent": True, "phase": "first_byte"},
    "no TLS": {"phase": "tls", "retry_here": False},
}
"""Facts under which an error is asked what it leaves open."""


def errors_told() -> str:
    """All of them as JSON text."""
    found = [one for _, one in error_classes() if issubclass(one, DispatchError)]
    return as_text({one.__name__: _told(one) for one in found})


def _told(kind: type[DispatchError]) -> dict[str, Any]:
    bare = kind("it failed")
    known = sorted(name for name in dir(bare) if not name.startswith("_") and not _foreign(name))
    whole = kind("it failed", vendor="acme", model="m-1", remedy="try again")
    again = pickle.loads(pickle.dumps(whole))
    return {
        "bases": [base.__name__ for base in kind.__mro__[1:-1]],
        "init": signature(kind),
        "attributes": {name: repr(getattr(bare, name)) for name in known if not callable(getattr(bare, name))},
        "methods": [name for name in known if callable(getattr(bare, name))],
        "facts": _facts(bare),
        "retry_here": kind.retry_here,
        "try_elsewhere": kind.try_elsewhere,
        "leaves open": {name: _left_open(kind, facts) for name, facts in SITUATIONS.items()},
        "text": str(whole),
        "pickled": [type(again).__name__, str(again), again.vendor, again.model],
    }


def _foreign(name: str) -> bool:
    """Whether an attribute is one of Python's own exceptions."""
    return any(hasattr(kind, name) for kind in (OSError, ValueError))


def _facts(error: DispatchError) -> str:
    """The facts that an error can be made with, as it names them itself."""
    try:
        type(error)("it failed", no_such_fact=1)
    except TypeError as refused:
        return str(refused)
    raise AssertionError("an error took a fact that there is not")


def _left_open(kind: type[DispatchError], facts: dict[str, Any]) -> str:
    error = kind("it failed", **facts)
    return f"{error.failure_class}, {'possibly billed' if error.possibly_billed else 'not billed'}"
