"""A test with many cases tells of each that fails."""

from __future__ import annotations

import os

import pytest

from .cases import each


def test_every_failing_case_is_named():
    """Those after it run all the same; a failed assertion and any other exception count."""
    ran = []

    @each("text, length", {"short": ("a", 1), "wrong": ("ab", 1), "broken": (None, 1), "long": ("abc", 3)})
    def check(text, length):
        ran.append(text)
        assert length == len(text)

    with pytest.raises(pytest.fail.Exception, match=r"2 of 4 cases failed\nwrong: (.|\n)*\nbroken: ") as caught:
        check()
    assert ["a", "ab", None, "abc"] == ran
    assert "long" not in str(caught.value)


def test_a_patch_ends_with_its_case(monkeypatch):
    """The next case sees nothing of it."""

    @each("name", ["first", "second"])
    def check(name, monkeypatch):
        assert "CASE_OF_A_TEST" not in os.environ
        monkeypatch.setenv("CASE_OF_A_TEST", name)

    check(monkeypatch=monkeypatch)


def test_no_cases_are_a_failure():
    """Nothing was shown."""
    with pytest.raises(AssertionError, match="no cases"):
        each("one", [])(lambda one: None)()
