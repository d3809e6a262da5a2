"""JSON is written as the standard library writes it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llmdispatcher.types import json_text as json_text

from ..cases import each

DOCUMENTS: list[Any] = [
    {},
    [],
    {"b": 1, "a": [None, True, 1.5, -0.0, 10**30, 'ä\n"\\\u2028😀'], "c": {"x": {}, "y": []}},
    [[1, [2, (3, "four")]], {"1": 2, 3: 4, None: 5, True: 6, 1.5: 7}],
    [float("inf"), float("nan")],
    {"object": {1, 2}},
]


def plain(value: Any) -> Any:
    """Sets become lists."""
    if isinstance(value, set):
        return sorted(value)
    raise TypeError(type(value).__name__)


@each("accelerated", [True, False])
@each("ensure_ascii", [True, False])
@each("document", DOCUMENTS)
def test_it_is_what_json_dumps_writes(
    document: Any, ensure_ascii: bool, accelerated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the letter, with the accelerator and without."""
    if not accelerated:
        monkeypatch.setattr(json_text, "_make", None)
    write = json_text.json_encoder(plain, ensure_ascii=ensure_ascii)
    expected = json.dumps(document, default=plain, ensure_ascii=ensure_ascii, separators=(",", ":"))
    assert [write(document), write(document)] == [expected, expected]


def test_keys_are_sorted_where_asked_for() -> None:
    """At every level."""
    assert json_text.json_encoder(plain, sort_keys=True)({"b": 1, "a": {"d": 2, "c": 3}}) == '{"a":{"c":3,"d":2},"b":1}'


def test_what_is_no_json_is_refused() -> None:
    """By the errors of ``json.dumps``."""
    write = json_text.json_encoder(plain, allow_nan=False)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write([float("nan")])
    with pytest.raises(TypeError, match="object"):
        write([object()])
    with pytest.raises(TypeError, match="keys must be"):
        write({(1, 2): 3})
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(RecursionError):
        write(circle)
