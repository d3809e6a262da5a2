"""Patterns of schemas end in time: with the extra by a linear engine or a limit, without it because costly ones are refused."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from llmdispatcher import InvalidRequest
from llmdispatcher.types import schema_check
from llmdispatcher.types.patterns import Costly, cheap_pattern

from ..cases import each

CATASTROPHIC = {
    "nested": r"^(a+)+$",
    "same alternatives": r"^(a|a)*$",
    "overlapping alternatives": r"(a|aa)+$",
    "any of any": r"^(.*)*$x",
    "nested counts": r"^((a{1,20}){1,20}){1,20}$",
    "adjacent repetitions": r"\s*\s*\s*$x",
    "many free parts": r"(.*)(.*)(.*)(.*)(.*)x$",
    "huge count": r"a{60000}",
    "counts of optional parts": r"(a?){60}a{60}x",
    "unanchored repetition": r"a+b",
    "lookahead": r"(?=a)(a+)+$",
    "reference back": r"^(a+)+\1+$",
    "lookbehind": r"(?<=a)(a*)*c",
}
LENGTH = 50_000
SEARCHING = """
import json, sys, threading
from llmdispatcher import InvalidRequest
from llmdispatcher.types import schema_check
patterns, length = json.load(sys.stdin)
told = {}
for extra in (True, False):
    if not extra:
        sys.modules["jsonschema_rs"] = None
    for name, pattern in patterns.items():
        for text in ("a" * length + "!", " " * length + "!"):
            try:
                check = schema_check({"properties": {"x": {"pattern": pattern}}}, "schema")
            except InvalidRequest as error:
                told[f"{name} {extra}"] = str(error)
                continue
            told[f"{name} {extra}"] = check({"x": text}, "it")
print(json.dumps(told))
"""
ENOUGH = 200
"""Seconds for all of them; they take two. One search of an exponential kind takes longer than the age of the universe."""


@pytest.fixture(scope="module")
def told():
    """What came of each pattern, with the extra and without, in a process that is ended if it does not end."""
    pytest.importorskip("jsonschema_rs")
    command = [sys.executable, "-c", SEARCHING]
    done = subprocess.run(
        command, input=json.dumps([CATASTROPHIC, LENGTH]), capture_output=True, text=True, timeout=ENOUGH, check=True
    )
    return json.loads(done.stdout)


@each("kind", list(CATASTROPHIC))
def test_a_catastrophic_pattern_ends(told, kind):
    """With the extra in a verdict or a word of what is too long; without it in a refusal that names place and extra."""
    assert "schema.properties.x.pattern: " in told[f"{kind} False"]
    assert "llmdispatcher[schema]" in told[f"{kind} False"]
    with_extra = told[f"{kind} True"]
    assert "it.x " in with_extra or "schema.properties.x.pattern: " in with_extra
    assert "aaa" not in with_extra


def test_a_pattern_that_takes_too_long_is_told():
    """It is no mere mismatch."""
    pytest.importorskip("jsonschema_rs")
    check = schema_check({"properties": {"x": {"pattern": CATASTROPHIC["lookahead"]}}}, "schema")

    assert "it.x takes too long to compare with its 'pattern'; simplify the pattern" == check({"x": "a" * 5000 + "!"}, "it")
    assert None is check({"x": "aaa"}, "it")


@each("around", [{"not": {}}, {"anyOf": [{}]}, {"if": {}, "then": False}, {"oneOf": [{}, False]}])
def test_a_search_that_was_given_up_lets_nothing_through(around):
    """Also where its failure would be a success, as in "not"."""
    pytest.importorskip("jsonschema_rs")
    costly = {"pattern": CATASTROPHIC["lookahead"]}
    filled = {
        word: costly if inner == {} else [costly, False] if isinstance(inner, list) else inner for word, inner in around.items()
    }

    assert schema_check(filled, "schema")("a" * 5000 + "!", "it") is not None


def test_a_long_answer_is_not_compared_with_a_pattern_that_needs_more_than_the_linear_engine():
    """The time of one search grows with the text, and other threads wait for it."""
    pytest.importorskip("jsonschema_rs")
    limited, linear = (schema_check({"pattern": pattern}, "schema") for pattern in ("^(?!x)a*$", "^a*$"))

    assert "it has more than 65536 characters, too many for a pattern with lookaround" == limited("a" * 65_537, "it")
    assert None is limited("a" * 65_000, "it")
    assert None is linear("a" * 65_537, "it")


@each(
    "pattern",
    [
        *CATASTROPHIC.values(),
        *["a*", "^a*b*$", "^(ab)*$", "a{1,300}", "^(a{1,50}b{1,50}){1}$", "^a*|b", "(a|b)" * 20, "a{99999}", "(a?b?c?d?){1,1}"],
        *["(a", "a)", "a**", "^*", "[z-a]", "[]", "[^]", "a{2,1}", "{", "\\"],
        *["(?i)a", "(?P<n>a)", r"\A", r"\p{L}", r"\bfoo", r"[\D]", r"[\w-z]", r"\ca"],
    ],
)
def test_what_is_not_known_to_be_cheap_is_refused(pattern):
    """Whether costly, another language's, or no pattern at all."""
    with pytest.raises(Costly):
        cheap_pattern(pattern)


CHEAP = [
    (r"^\d{4}-\d{2}-\d{2}$", ["2026-11-30", "2026-11-3", "2026-11-30\n", "٢٠٢٦-11-30"]),
    (r"^[A-Z]{2,3}$", ["AB", "ABCD", "ab"]),
    (r"^[a-z0-9_-]+$", ["a-b_c", "a b", ""]),
    (r"^(foo|bar)(-\d{1,3})?$", ["foo", "bar-12", "foo-", "foo-1234"]),
    (r"\.json$", ["a.json", "ajson", "a.json\n"]),
    (r"^a.c$", ["abc", "a\nc", "a\u2028c", "a\U0001f600c"]),
    (r"^\s\S$", ["\ufeffa", "\u00a0b", "  ", "\x1fa"]),
    (r"^\w\W$", ["a!", "é!", "_é"]),
    (r"^[^\d\s]+$", ["ab", "a1", "a b", "٣"]),
    (r"^[\w.+\-]{1,64}@$", ["a.b@", "@", "a b@"]),
    (r"^\u0041\x42\/\.$", ["AB/.", "AB/x"]),
    (r"^[[&~|-]$", ["[", "&", "-", "]"]),
    (r"^[+--]$", ["+", ",", "-", "."]),
    (r"^a{2}b{2,}$", ["aabb", "aabbbb", "aab"]),
    (r"a|b|^c", ["xb", "xc", "c"]),
]


@each("pattern, texts", CHEAP)
def test_cheap_patterns_mean_what_the_extra_says(pattern, texts, monkeypatch):
    """The same verdict with the extra and without."""
    pytest.importorskip("jsonschema_rs")
    with_extra = [schema_check({"pattern": pattern}, "schema")(text, "it") is None for text in texts]
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)

    assert with_extra == [schema_check({"pattern": pattern}, "schema")(text, "it") is None for text in texts]


@each("pattern", ["(a{1000}){1000}", "(", "(?<"])
def test_a_pattern_that_no_engine_takes_is_refused_by_its_place(pattern):
    """Too large, or none."""
    pytest.importorskip("jsonschema_rs")
    with pytest.raises(
        InvalidRequest, match=r"^schema\.items\.pattern: the pattern is no regular expression of ECMA-262, or too large"
    ):
        schema_check({"items": {"pattern": pattern}}, "schema")
