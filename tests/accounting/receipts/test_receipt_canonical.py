"""RFC 8785: what is canonical, and what has no canonical form and is refused. The facts are those that the RFC states."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import InvalidRequest
from llmdispatcher.accounting.receipts.format import MOST, canonical, moment_text, money_text, parse_json, parse_moment, parse_money
from tests.cases import each

NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555555": "333333333.3333333",
    "becbf647612f3696": "-0.0000033333333333333333",
}
"""Bits of a double, and how ECMAScript writes it (RFC 8785, appendix B)."""


@each("bits, text", NUMBERS.items())
def test_numbers_are_written_as_ecmascript_does(bits, text):
    """The shortest that reads back, with an exponent from 1e21 on and below 1e-6."""
    (number,) = struct.unpack(">d", bytes.fromhex(bits))

    assert text == canonical(number).decode()


def test_names_are_sorted_by_their_utf_16():
    """A letter beyond the first plane sorts by its surrogates: before one of the last block of that plane."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]

    assert ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"] == list(json.loads(canonical(dict.fromkeys(names, 0))))


def test_texts_are_escaped_as_little_as_can_be():
    """Controls have their short escape where there is one, else four small digits; nothing else is escaped."""
    assert b'"\\b\\t\\n\\f\\r\\u000f\\u0000\\"\\\\/\x7f\xe2\x82\xac"' == canonical('\b\t\n\f\r\x0f\0"\\/\x7f\u20ac')


def test_unicode_is_not_normalised():
    """A letter with its accent beside it stays two characters, and is another text."""
    assert canonical("\u00e9") != canonical("e\u0301")
    assert "e\u0301" == parse_json(canonical("e\u0301"))


@each(
    "value",
    [float("nan"), float("inf"), float("-inf"), MOST + 1, -MOST - 1, "\ud800", {"\udfff": 1}, {1: 2}, Decimal(1), b"x", {"a": {1}}],
)
def test_what_has_no_canonical_form_is_refused(value):
    """Numbers beyond what all readers agree upon, half a surrogate pair, anything that is not JSON."""
    with pytest.raises(InvalidRequest, match=r"receipt: .*RFC 8785"):
        canonical(value)


def test_too_deep_is_refused_both_ways():
    """A nesting without end is an error of ours, not the interpreter's."""
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        canonical(deep)
    with pytest.raises(InvalidRequest, match="nested too deeply"):
        parse_json("[" * 100_000 + "]" * 100_000)
    while deep:  # taken apart by hand: the interpreter would go as deep
        deep = deep.pop()


@each(
    "text, reason",
    [
        ('{"a":1,"a":2}', "'a' twice"),
        ('{"x":{"b":1,"\\u0062":1}}', "'b' twice"),
        ("[NaN]", "NaN"),
        ("[-Infinity]", "-Infinity"),
        ("9007199254740992", "beyond"),
        ("9" * 5000, "beyond"),
        ("{", "JSON"),
        (b"\xff", "utf-8"),
        ("\ufeff{}", "BOM"),
        ("", "Expecting value"),
    ],
)
def test_ambiguous_json_is_refused(text, reason):
    """What one reader would read so and another otherwise."""
    with pytest.raises(InvalidRequest, match=f"receipts: .*{reason}"):
        parse_json(text, "receipts")


_LEAVES = st.none() | st.booleans() | st.integers(-MOST, MOST) | st.floats(allow_nan=False, allow_infinity=False)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None, max_examples=50)
@given(st.recursive(_LEAVES | _TEXTS, lambda inner: st.lists(inner) | st.dictionaries(_TEXTS, inner), max_leaves=20))
def test_canonical_is_stable(value):
    """Read and written again it is the same, and it is one value's only text."""
    text = canonical(value)

    assert text == canonical(json.loads(text, parse_int=float))


@settings(deadline=None, max_examples=50)
@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30)), timezone(-timedelta(hours=9))])))
def test_moments_have_one_form(moment):
    """27 characters whatever the zone, and back to the same moment."""
    try:
        text = moment_text(moment)
    except OverflowError:
        return
    assert 27 == len(text)
    assert moment == parse_moment(text)


@each(
    "text",
    [
        "2026-11-21T16:00:00Z",
        "2026-11-21T16:00:00.000000+00:00",
        "2026-11-21 16:00:00.000000Z",
        "2026-11-21T16:00:00.000000z",
        "2026-02-30T16:00:00.000000Z",
        "2026-11-21T24:00:01.000000Z",
        "٢٠٢٦-11-21T16:00:00.000000Z",
    ],
)
def test_other_forms_of_a_moment_are_refused(text):
    """One form is stored and signed."""
    with pytest.raises(ValueError):
        parse_moment(text)


def test_a_moment_without_a_zone_is_refused():
    """Nobody could say when it was."""
    with pytest.raises(InvalidRequest, match="has no time zone"):
        moment_text(datetime(2026, 11, 21))


@settings(deadline=None, max_examples=50)
@given(st.decimals(min_value=-(10**15), max_value=10**15, places=12))
def test_money_has_one_form(money):
    """Exact, without exponent and without zeros at the end."""
    text = money_text(money)

    assert money == parse_money(text)
    assert "E" not in text
    assert text == money_text(parse_money(text))


@each("text", ["", "1.0", "01", "-0", "1e3", "+1", ".5", "5.", "1,5", "NaN", "0.0000000000001", "٣"])
def test_other_forms_of_money_are_refused(text):
    """Two texts for one amount would be two receipts of one fact."""
    with pytest.raises(ValueError):
        parse_money(text)
