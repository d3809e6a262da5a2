"""Many cases in one test: every case that fails is reported, and none costs the set-up of a test of its own."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest

Test = Callable[..., None]


def each(names: str, cases: Iterable[Any]) -> Callable[[Test], Test]:
    """Run a test with every case, as ``pytest.mark.parametrize`` does, but as one test, in which all cases share the fixtures.

    The keys of a mapping name its cases; other cases are named by what they are.
    """
    keys = names.split(", ")
    rows = list(cases.items() if isinstance(cases, Mapping) else ((None, case) for case in cases))

    def decorate(test: Test) -> Test:
        @functools.wraps(test, updated=())
        def run(**fixtures: Any) -> None:
            failed = []
            for name, case in rows:
                try:
                    test(**fixtures, **dict(zip(keys, case if len(keys) > 1 else (case,), strict=True)))
                except (Exception, pytest.fail.Exception):
                    failed.append(f"{name or repr(case)[:200]}: {traceback.format_exc()}")
            assert rows, "there are no cases"
            if failed:
                pytest.fail(f"{len(failed)} of {len(rows)} cases failed\n" + "\n".join(failed), pytrace=False)

        signature = inspect.signature(test)
        kept = [parameter for parameter in signature.parameters.values() if parameter.name not in keys]
        vars(run).update(__signature__=signature.replace(parameters=kept), pytestmark=getattr(test, "pytestmark", []))
        return run

    return decorate
