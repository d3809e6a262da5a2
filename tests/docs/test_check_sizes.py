"""The check of sizes, words and borders: what it finds. That it finds nothing here is seen by `scripts/check`."""

from __future__ import annotations

import textwrap

import pytest

from scripts.check_sizes import Source, everything, main, median_lines


def findings(tmp_path, code, name="llmdispatcher/room.py"):
    """What the check says of one file, without the place."""
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(code), encoding="utf-8")
    return [finding.text for finding in everything([Source.read(tmp_path, file)])]


def test_findings_fail_the_check(tmp_path, capsys):
    """A finding is printed with its place, and makes the exit code."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "utils.py").write_text('"""A module."""\n', encoding="utf-8")

    assert 1 == main(tmp_path)
    assert "scripts/utils.py:1: utils: 'utils' says nothing" in capsys.readouterr().out


def test_a_long_median_fails_the_check(tmp_path, capsys):
    """Functions that are all long are too long, even if each is within the bound."""
    (tmp_path / "scripts").mkdir()
    code = '"""A module."""\n\n\ndef act():\n    """Act."""\n' + "    pass\n" * 12
    (tmp_path / "scripts" / "acts.py").write_text(code, encoding="utf-8")

    assert 1 == main(tmp_path)
    assert "the median function has 13 lines" in capsys.readouterr().out


def test_a_docstring_does_not_lengthen_a_function(tmp_path):
    """Only code counts."""
    file = tmp_path / "room.py"
    file.write_text('def act():\n    """One.\n\n    Two.\n    """\n    return 1\n', encoding="utf-8")

    assert 2 == median_lines([Source.read(tmp_path, file)])


CLEAN = '"""A room."""\n\n'
WRONG = {
    "long file": (CLEAN + "A = 1\n" * 350, "the file has 352 lines; the most is 350"),
    "long function": (CLEAN + "def _act():\n" + "    pass\n" * 40, "_act has 41 lines; the most is 40"),
    "many parameters": (CLEAN + "def _act(a, b, c, d, e, f): ...\n", "_act takes 6 positional parameters; the most is 5"),
    "bare noqa": (CLEAN + "A = 1  # noqa  # since it must\n", "noqa without a code"),
    "noqa without reason": (CLEAN + "A = 1  # noqa: E501\n", "noqa without a reason; write it behind, as '# why'"),
    "type ignore": (CLEAN + "A = 1  # type: ignore\n", "type: ignore without a code"),
    "word": (CLEAN + "class _PoolManager: ...\n", "_PoolManager: 'manager' says nothing; name what it does"),
    "module docstring": ("A = 1\n", "the module has no docstring"),
    "class docstring": (CLEAN + "class Room: ...\n", "Room has no docstring"),
    "method docstring": (CLEAN + 'class Room:\n    """A room."""\n    def enter(self): ...\n', "enter has no docstring"),
    "clock": (CLEAN + "import time\n", "time: only the clock reads time, sleeps or draws chance"),
    "chance": (CLEAN + "from random import choice\n", "random.choice: only the clock reads time, sleeps or draws chance"),
    "wall clock": (CLEAN + "A = datetime.now()\n", "datetime.now: only the clock reads time, sleeps or draws chance"),
    "event loop": (CLEAN + "import asyncio\n", "asyncio: the library is threads and queues, without an event loop"),
    "print": (CLEAN + "print('x')\n", "print(): only the command line talks to people"),
}


@pytest.mark.parametrize(("code", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(tmp_path, code, text):
    """Each rule, with its words."""
    assert text in findings(tmp_path, code)


RIGHT = {
    "keyword-only parameters": CLEAN + "def _act(self, a, b, c, d, e, *, f, g): ...\n",
    "reasoned ignores": CLEAN + "A = 1  # type: ignore[misc]  # as the tests do\n",
    "overloads": CLEAN + "@overload\ndef act(): ...\n",
    "relative imports": CLEAN + "from .time import now\n",
}


@pytest.mark.parametrize("code", RIGHT.values(), ids=RIGHT)
def test_what_is_right_is_left_alone(tmp_path, code):
    """No rule goes too far."""
    assert [] == findings(tmp_path, code)


def test_a_room_may_do_its_own_work(tmp_path):
    """The clock reads time."""
    assert [] == findings(tmp_path, CLEAN + "import time\n", "llmdispatcher/clock.py")


def test_tests_must_claim_something(tmp_path):
    """A test without a docstring is found; nothing else is asked of it."""
    code = "import time\ndef test_it(): ...\n"

    assert ["test_it does not say what it claims; write it as its docstring"] == findings(tmp_path, code, "tests/test_room.py")
