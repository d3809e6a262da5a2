"""The house: what each figure counts, what is forbidden, that a bound only gets better. `scripts/check` holds the real figures."""

from __future__ import annotations

import importlib.util
import json
import textwrap
import tomllib

import pytest

from scripts.house import SETTINGS, main, measure, passed
from scripts.house_rules import findings
from scripts.house_tree import Tree

from .conftest import ROOT


class Bare(str):
    """A file that brings its own docstring."""


DOC = '"""A room."""\n\n'
RULES = tomllib.loads((ROOT / SETTINGS).read_text(encoding="utf-8"))


@pytest.fixture
def tree(tmp_path):
    """Write files, and read them as a tree; a file of the package needs no folder, docstring or indentation."""

    def write(files):
        for name, text in files.items():
            outside = name.split("/")[0] in ("tests", "examples", "benchmarks", "scripts", "docs", "README.md")
            file = tmp_path / name if outside else tmp_path / "llmdispatcher" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(
                textwrap.dedent(text) if outside or isinstance(text, Bare) else DOC + textwrap.dedent(text), encoding="utf-8"
            )
        return Tree.read(tmp_path)

    return write


@pytest.fixture
def figure(tree):
    """The figure of a name in a tree of files, and the texts of its places."""

    def find(name, files, apart=()):
        figures = measure(tree(files), apart)
        (found,) = [figure for figure in figures if figure.name == name] or [figure for figure in figures if name in figure.name]
        return found.today, [place.text for place in found.places]

    return find


@pytest.fixture
def said(tree):
    """What is forbidden in a tree of files, without the place."""

    def find(files):
        return [place.text for place in findings(tree(files), RULES)]

    return find


def test_entries_are_folders_and_modules(figure):
    """The door, the version and the lazy loader are no entries."""
    files = dict.fromkeys(["__init__.py", "__main__.py", "_version.py", "_lazy.py", "a.py", "b/__init__.py", "b/c.py"], "")

    assert (2, ["module", "folder"]) == figure("entries", files)


def test_code_is_counted_without_words(figure):
    """Docstrings, comments and blank lines are no code."""
    code = '\n# why\nA = (\n    1,\n)\n\n\ndef act():\n    """Do it.\n\n    Now.\n    """\n    return 1\n'

    assert 5 == figure("code lines", {"a.py": code})[0]


def test_a_room_can_stand_apart(figure):
    """Its files and its code do not count."""
    files = {"a.py": "A = 1\n", "server/__init__.py": "B = 1\n"}

    assert 1 == figure("code lines", files, apart=["server"])[0]
    assert 1 == figure("files", files, apart=["server"])[0]


def test_public_docstrings_are_found_through_doors(figure):
    """Exported names count, with the public methods that they have and inherit; internal names do not."""
    files = {
        "__init__.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .a import Out as Out\n__all__ = ['Out']\n",
        "a/__init__.py": "if TYPE_CHECKING:\n    from .inner import Out as Out\n",
        "a/inner.py": '''
            class Base:
                """A base."""

                def run(self):
                    """Run."""

            class Out(Base):
                """Out."""

                def _quiet(self):
                    """Internal."""

            class Other:
                """Internal."""
            ''',
        "errors.py": 'class Wrong(Exception):\n    """Wrong."""\n',
    }

    assert (3, ["Out", "Wrong", "run"]) == (figure("public docstrings", files)[0], sorted(figure("public docstrings", files)[1]))


def test_test_lines_are_all_lines(figure):
    """Of every Python file of the tests."""
    assert 3 == figure("test lines", {"tests/a/test_a.py": "A = 1\n\n", "tests/b.py": "B = 1\n"})[0]


def test_a_long_file_says_why(figure):
    """Its docstring holds the words "one file"."""
    assert 1 == figure("files over", {"a.py": "A = 1\n" * 800})[0]
    why = '"""It is one file since it is one table."""\n'
    assert 0 == figure("files over", {"__init__.py": "", "a.py": Bare(why + "A = 1\n" * 800)})[0]


ABOVE = {"a/__init__.py": "from .x import X\n", "a/x.py": "from ..b import Y\nX = Y\n", "b/__init__.py": "from .y import Y\n"}


def test_floors_are_the_longest_path_of_rooms(figure):
    """However many files there are in a room; an import for type checking counts, the root's door does not."""
    low = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..c import Z\nY = 1\n"
    files = {**ABOVE, "b/y.py": low, "c.py": "Z = 1\n", "d.py": "", "__init__.py": "from .a import X\n"}

    assert (3, ["floor 3", "floor 2", "floor 1"]) == figure("floors", files)


def test_a_circle_of_rooms_has_as_many_floors_as_rooms(figure):
    """So a cut through it never raises the figure."""
    files = {"a.py": "from . import b\n", "b.py": "from . import a\n", "c.py": "from . import b\n"}

    assert 3 == figure("floors", files)[0]


def test_circles_of_rooms_count_type_checking(figure):
    """Every room of a circle counts."""
    files = {**ABOVE, "b/y.py": "if TYPE_CHECKING:\n    from ..a import X\n", "c.py": "from .a import X\n"}

    assert (2, ["one of 2 rooms in a circle"] * 2) == figure("rooms in circles", files)


@pytest.mark.parametrize(
    ("back", "count"),
    {
        "top": ("from .a import A\n", 2),
        "late": ("def act():\n    from .a import A\n", 2),
        "text": ("import_module('.a', __package__)\n", 2),
        "type checking": ("if TYPE_CHECKING:\n    from .a import A\n", 0),
        "without type checking": ("if TYPE_CHECKING:\n    A = 1\nelse:\n    from .a import A\n", 2),
    }.values(),
    ids=["top", "late", "text", "type checking", "without type checking"],
)
def test_circles_of_files_are_those_of_the_running_program(figure, back, count):
    """An import within a function counts, one for type checking does not."""
    assert count == figure("files in circles at run time", {"a.py": "from . import b\n", "b.py": back})[0]


def test_a_door_loads_what_it_names_for_type_checking(figure):
    """A lazy door is part of a circle with the module that imports it."""
    files = {"a/__init__.py": "if TYPE_CHECKING:\n    from .x import X as X\n", "a/x.py": "from . import Other\n"}

    assert 2 == figure("files in circles at run time", files)[0]


def test_two_rooms_are_strict(figure):
    """Within the catalog an import for type checking closes a circle; within another room it does not."""
    back = "if TYPE_CHECKING:\n    from .x import X\n"
    files = {"catalog/x.py": "from .y import Y\n", "catalog/y.py": back, "b/x.py": "from .y import Y\n", "b/y.py": back}

    assert 2 == figure("files in circles inside", files)[0]


INSIDE = {
    "name": "from ..b.y import Y\n",
    "module": "from ..b import y\n",
    "absolute": "import llmdispatcher.b.y\n",
    "late": "def act():\n    from ..b.y import Y\n",
    "type checking": "if TYPE_CHECKING:\n    from ..b.y import Y\n",
    "text": "import_module('llmdispatcher.b.y')\n",
    "relative text": "importlib.import_module('..b.y', __package__)\n",
    "text made up": "import_module(f'...b.{name}', __name__)\n",
}


@pytest.mark.parametrize("code", INSIDE.values(), ids=INSIDE)
def test_an_import_that_reaches_into_a_room_is_found(figure, code):
    """In any form."""
    assert 1 == figure("imports that reach", {"a/x.py": code, "b/__init__.py": "", "b/y.py": "Y = 1\n"})[0]


def test_doors_and_own_modules_may_be_imported(figure):
    """And a submodule that its door offers, and a module that is a room."""
    code = "from ..b import Y, y\nfrom .z import Z\nfrom . import z\nfrom .. import c\nfrom ..c import C\n"
    files = {"a/x.py": code, "a/z.py": "", "b/__init__.py": "__all__ = ['Y', 'y']\n", "b/y.py": "", "c.py": ""}

    assert (0, []) == figure("imports that reach", files)


def test_tests_know_the_inside_of_their_own_room(figure):
    """Other tests, examples and benchmarks do not, nor do the programs and names in their strings."""
    code = "from llmdispatcher.b.y import Y\nimport_text('llmdispatcher.b.y.Y')\nlogger('llmdispatcher.b.none')\n"
    inside = {"b/__init__.py": "", "b/y.py": ""}

    assert (2, ["llmdispatcher.b.y"] * 2) == figure("lines of tests", {**inside, "tests/a/test_a.py": code})
    assert (4, ["llmdispatcher.b.y"] * 4) == figure("lines of tests", {**inside, "tests/b/test_b.py": code, "examples/b.py": code})


def test_a_door_is_as_wide_as_the_names_that_others_take(figure):
    """Public names are free, and so are those of the vocabulary; each name counts once."""
    files = {
        "__init__.py": "__all__ = ['P']\n",
        "a.py": "from .b import P, Q\nfrom .b.y import R\nfrom .types import S, T, U\n",
        "c.py": "from .b import Q\n",
        "b/__init__.py": "",
        "b/y.py": "from . import V, W\n",
        "types.py": "",
    }

    assert (2, ["b: Q", "b: R"]) == figure("internal names", files)


def test_own_modules_are_imported_by_text_in_doors_alone(figure):
    """Modules of others may be."""
    files = {
        "a/__init__.py": "import_module('.x', __name__)\n",
        "a/x.py": "import_module('redis')\nimport_module('.y', __package__)\n",
    }

    assert (1, ["llmdispatcher.a.y"]) == figure("own modules imported by text", files)


def test_a_thin_file_serves_one_other(figure):
    """With two importers, or from sixty lines on, it is none."""
    files = {
        "a.py": "from . import b, c, d\n",
        "b.py": "from . import c\n" * 60,
        "c.py": "",
        "d.py": "",
    }

    assert (1, ["2 lines, imported by llmdispatcher/a.py alone"]) == figure("files under", files)


def test_a_thin_file_behind_a_door_serves_those_who_take_its_names(figure):
    """The door that offers them is none of these."""
    files = {
        "a/__init__.py": "if TYPE_CHECKING:\n    from .x import X as X\n    from .y import Y as Y\n",
        "a/x.py": "X = 1\n",
        "a/y.py": "Y = 1\n",
        "b.py": "from .a import X, Y\n" + "B = 1\n" * 60,
        "c.py": "from .a import Y\n" + "C = 1\n" * 60,
    }

    assert (1, ["3 lines, imported by llmdispatcher/b.py alone"]) == figure("files under", files)


FORWARDS = {
    "method": ("def act(self, a, *, b): return self.it.act(a, b=b)", 1),
    "statement": ("def act(a): 'Act.'; run(a)", 1),
    "stars": ("def act(*a, **b): return run(*a, **b)", 1),
    "nothing": ("def act(self): return self.it.act()", 1),
    "fewer": ("def act(a, b): return run(a)", 0),
    "more": ("def act(a): return run(a, 1)", 0),
    "other": ("def act(a): return run(a.b)", 0),
    "work": ("def act(a):\n    b = a + 1\n    return run(a)", 0),
    "chain": ("def act(a): return run().walk(a)", 0),
}


@pytest.mark.parametrize(("code", "count"), FORWARDS.values(), ids=FORWARDS)
def test_a_forwarder_hands_on_what_it_is_given(figure, code, count):
    """All of it and nothing else."""
    assert count == figure("functions that only forward", {"a.py": code.replace("'Act.'; ", '\n    "Act."\n    ') + "\n"})[0]


def test_a_protocol_has_two_implementations(figure):
    """By the names of its members, inherited ones too; a protocol of a call is a function's type."""
    files = {
        "a.py": """
            class One(Protocol):
                size: int
                def act(self): ...
            class Two(Protocol[T]):
                def act(self): ...
            class Call(Protocol):
                def __call__(self): ...
            class Base:
                def act(self): ...
            class Real(Base):
                def __init__(self):
                    self.size, self.name = 1, ""
            """
    }

    assert (1, ["One: 1 implementations"]) == figure("protocols", files)


def test_a_class_name_stands_for_one_class(figure):
    """Two files that use one are found; two ways to define it in one file are not."""
    files = {
        "a.py": "class A: ...\nclass B: ...\n",
        "b.py": "class A: ...\n",
        "c.py": "if X:\n    class C: ...\nelse:\n    class C: ...\n",
    }

    assert (1, ["A, and llmdispatcher/b.py:3"]) == figure("class names", files)


def test_a_class_with_one_method_and_no_state_is_a_function(figure):
    """A field, a base or a second method makes it a class."""
    code = "class A:\n    def a(self): ...\nclass B:\n    b: int\n    def a(self): ...\nclass C(B):\n    def a(self): ...\n"

    assert (1, ["A.a"]) == figure("classes with one method", {"a.py": code + "class D:\n    def a(self): self.b = 1\n"})


def test_a_heap_holds_groups_that_never_use_each_other(figure):
    """A logger ties nothing together; a use does, and so does a table that both use. The list of exports is no group."""
    one, two = ("def {}():\n" + "    work({})\n" * 101 for _ in range(2))
    heap = "LOG = getLogger()\n" + one.format("one", *["LOG"] * 101) + two.format("two", *["LOG"] * 101)

    assert (1, ["groups of 102, 102 lines"]) == figure("heaps", {"a.py": heap})
    assert 0 == figure("heaps", {"a.py": heap + "def three():\n    one(two)\n"})[0]
    assert 0 == figure("heaps", {"a.py": heap.replace("getLogger()", "{}")})[0]
    assert 0 == figure("heaps", {"a.py": one.format("one", *["1"] * 101) + "__all__ = [\n" + "    'one',\n" * 101 + "]\n"})[0]


WAYS = (
    "def act():\n"
    + "    if a: ...\n" * 4
    + "    for b in c: ...\n    while d: ...\n    try: ...\n    except E: ...\n    match e:\n"
)


@pytest.mark.parametrize(("cases", "count"), [(2, 0), (3, 1)])
def test_complexity_counts_the_ways_through(figure, cases, count):
    """Ten are allowed."""
    code = WAYS + "        case 1: ...\n" * cases

    assert count == figure("functions with a complexity", {"a.py": code})[0]


def test_parameters_are_those_by_position(figure):
    """Five are allowed; what a caller must name is free."""
    code = "def a(self, b, c, d, e, f, *, g): ...\ndef h(b, c, d, e, f, g): ...\n"

    assert (1, ["h takes 6"]) == figure("functions with more", {"a.py": code})


def test_lengths_are_held_at_the_ninetieth_percentile(figure):
    """One long function is none of nine tenths; a docstring does not lengthen one."""
    short = "".join(f'def a{number}():\n    """Act.\n\n    Now.\n    """\n    return 1\n' for number in range(10))

    assert 2 == figure("lines of a function", {"a.py": short + "def long():\n" + "    pass\n" * 50})[0]


def test_a_call_is_followed_through_own_functions(tmp_path):
    """Files, functions, rooms, calls and depth; foreign calls and comprehensions are none."""
    file = tmp_path / "llmdispatcher" / "a" / "x.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import json\ndef act():\n    inner()\n    inner()\n    [i for i in 'ab']\n    json.dumps(1)\ndef inner(): ...\n"
    )
    spec = importlib.util.spec_from_file_location("x", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert [1, 2, 1, 3, 2] == [figure.today for figure in passed(module.act, tmp_path / "llmdispatcher")]


WRONG = {
    "bare noqa": ("A = 1  # noqa  # since it must\n", "noqa without a code"),
    "noqa without reason": ("A = 1  # noqa: E501\n", "noqa without a reason; write it behind, as '# why'"),
    "type ignore": ("A = 1  # type: ignore\n", "type: ignore without a code"),
    "word": ("class _PoolManager: ...\n", "_PoolManager: 'manager' says nothing; name what it does"),
    "clock": ("import time\n", "time: only the clock reads time, sleeps or draws chance"),
    "chance": ("from random import choice\n", "random.choice: only the clock reads time, sleeps or draws chance"),
    "wall clock": ("A = datetime.now()\n", "datetime.now: only the clock reads time, sleeps or draws chance"),
    "event loop": ("import asyncio\n", "asyncio: the library is threads and queues, without an event loop"),
    "print": ("print('x')\n", "print(): only the command line talks to people"),
    "socket": ("import socket\n", "socket: only the transport opens connections"),
}


@pytest.mark.parametrize(("code", "text"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_found(said, code, text):
    """Each rule, with its words."""
    assert text in said({"room.py": code})


RIGHT = {
    "reasoned ignores": "A = 1  # type: ignore[misc]  # as the tests do\n",
    "relative imports": "from .time import now\n",
    "internal names": "class Room:\n    def enter(self): ...\n",
    "length": "def act():\n" + "    pass\n" * 400,
}


@pytest.mark.parametrize("code", RIGHT.values(), ids=RIGHT)
def test_what_is_right_is_left_alone(said, code):
    """No rule goes too far."""
    assert [] == said({"room.py": code})


def test_a_room_may_do_its_own_work(said):
    """The command line prints."""
    assert [] == said({"cli/terminal.py": "print('x')\n"})


def test_the_borders_name_places_that_exist():
    """A border for a room that moved away would forbid its work or guard nothing."""
    rooms = [room for border in RULES["borders"] for room in border["rooms"]]

    assert [] == [room for room in rooms if not (ROOT / "llmdispatcher" / room).exists()]


def test_modules_and_public_names_are_documented(said, tmp_path):
    """Those of the package's exports, of its errors and of its test tools."""
    files = {
        "errors.py": "class Wrong(Exception): ...\n",
        "testing/__init__.py": "from .fake import Fake\n__all__ = ['Fake']\n",
        "testing/fake.py": 'class Fake:\n    """A fake."""\n    def act(self): ...\n    @overload\n    def over(self): ...\n',
        "scripts/run.py": "A = 1\n",
    }

    wanted = ["Wrong is public and has no docstring", "act is public and has no docstring", "the module has no docstring"]
    assert wanted == said(files)


def test_tests_must_claim_something(said):
    """A test without a docstring is found; nothing else is asked of it."""
    code = "import time\ndef test_it(): ...\n"

    assert ["test_it does not say what it claims; write it as its docstring"] == said({"tests/test_room.py": code})


RETIRED = """
# names
Turn -> NextAttempt
told -> reported # a participle
module:desk -> writer
module: ledger.tally -> totals
module:policy -> routing
"""
USES = {
    "class": ("a.py", "class Turn: ...\n", "Turn"),
    "function": ("a.py", "def told(): ...\n", "told"),
    "attribute": ("a.py", "A = b.told\n", "told"),
    "parameter": ("a.py", "def act(told): ...\n", "told"),
    "keyword": ("a.py", "act(told=1)\n", "told"),
    "variable": ("a.py", "told = 1\n", "told"),
    "import": ("a.py", "from b import Turn\n", "Turn"),
    "imported module": ("a.py", "from .policy import retry\n", "module policy"),
    "docstring": ("a.py", 'def act():\n    """See ``Turn``."""\n', "Turn"),
    "test": ("tests/a.py", "told = 1\n", "told"),
    "example": ("examples/a.py", '"""An example."""\ntold = 1\n', "told"),
    "document": ("docs/a.md", "See `plan.Turn(1)`.\n", "Turn"),
    "readme": ("README.md", "```python\na = Turn()\n```\n", "Turn"),
    "file": ("ledger/desk.py", "", "module desk"),
    "room": ("policy/retry.py", "", "module policy"),
    "two parts": ("ledger/tally.py", "", "module ledger.tally"),
    "module in a document": ("docs/a.md", "In `llmdispatcher/ledger/desk.py`.\n", "module desk"),
}


@pytest.mark.parametrize(("name", "text", "word"), USES.values(), ids=USES)
def test_a_retired_word_is_found(said, name, text, word):
    """Once, in code and in documents."""
    (found,) = said({"scripts/retired.txt": RETIRED, name: text})
    assert found.startswith(f"{word} is retired: ")


PLAIN = {
    "prose": ("docs/a.md", "It is told in turn; Turn the page, at the desk.\n"),
    "part of a name": ("a.py", "Turning = untold = 1\n"),
    "text": ("a.py", "A = 'told'\n"),
    "module elsewhere": ("cli/tally.py", ""),
    "name of a module": ("a.py", "desk = 1\n"),
    "script": ("scripts/a.py", '"""A script."""\ntold = 1\n'),
}


@pytest.mark.parametrize(("name", "text"), PLAIN.values(), ids=PLAIN)
def test_a_word_in_its_plain_meaning_is_not_retired(said, name, text):
    """Only exact identifiers and modules are."""
    assert [] == said({"scripts/retired.txt": RETIRED, name: text})


def test_a_line_that_retires_nothing_is_refused(said):
    """With its number."""
    with pytest.raises(ValueError, match=r"retired.txt:2: not 'old -> new'"):
        said({"scripts/retired.txt": "Turn -> NextAttempt\nTurn\n"})


def test_a_line_number_leads_to_the_word(tree):
    """In a document as in a docstring."""
    files = {
        "scripts/retired.txt": RETIRED,
        "docs/a.md": "One.\n\nSee `Turn`.\n",
        "a.py": 'def act():\n    """One.\n\n    `Turn`.\n    """\n',
    }

    assert ["docs/a.md:3", "llmdispatcher/a.py:6"] == [str(place).rpartition(": T")[0] for place in findings(tree(files), {})]


FILES = {
    "__init__.py": "__all__ = []\n",
    "a.py": "A = 1\n",
    "scripts/house.toml": "# why\napart = []\n\n[slack]\n'code lines' = 50\n",
}


def bounds(tmp_path):
    """What house.toml holds."""
    return tomllib.loads((tmp_path / SETTINGS).read_text(encoding="utf-8"))


def test_a_figure_without_a_bound_fails_until_it_is_written(tree, tmp_path, capsys):
    """A first `--lower` writes all, and what stands before is kept."""
    tree(FILES)

    assert 1 == main([], tmp_path)
    assert "no bound yet: --lower" in capsys.readouterr().out
    assert 0 == main(["--lower"], tmp_path)
    assert 0 == main([], tmp_path)
    assert bounds(tmp_path)["maxima"]["files"] == 2
    assert (tmp_path / SETTINGS).read_text().startswith("# why\napart = []\n\n[slack]\n")


def test_bounds_without_settings_before_them_are_written_once(tree, tmp_path):
    """A file that begins with its tables is lowered like any other."""
    tree({"__init__.py": "", "a.py": "", "scripts/house.toml": ""})

    assert [0, 0] == [main(["--lower"], tmp_path) for _ in range(2)]
    assert bounds(tmp_path)["maxima"]["files"] == 2


def test_a_worse_figure_fails_and_is_never_written(tree, tmp_path, capsys):
    """Not even by `--lower`."""
    tree(FILES)
    main(["--lower"], tmp_path)
    tree({"b.py": ""})

    assert 1 == main(["--lower"], tmp_path)
    assert bounds(tmp_path)["maxima"]["files"] == 2
    assert (
        "files                                                                          3        2  WORSE"
        in capsys.readouterr().out
    )


def test_a_better_figure_can_be_lowered(tree, tmp_path, capsys):
    """The table says so, and passes."""
    tree({**FILES, "b.py": ""})
    main(["--lower"], tmp_path)
    (tmp_path / "llmdispatcher" / "b.py").unlink()
    capsys.readouterr()

    assert 0 == main([], tmp_path)
    assert "2        3  better: --lower" in capsys.readouterr().out
    assert 0 == main(["--lower"], tmp_path)
    assert bounds(tmp_path)["maxima"]["files"] == 2


def test_a_minimum_may_not_fall(tree, tmp_path):
    """A public docstring that goes fails; one that comes raises the bound."""
    errors = 'class Wrong(Exception):\n    """Wrong."""\n'
    tree({**FILES, "errors.py": errors})
    main(["--lower"], tmp_path)
    tree({"errors.py": errors + 'class Other(Exception):\n    """Other."""\n'})
    main(["--lower"], tmp_path)
    assert bounds(tmp_path)["minima"] == {"public docstrings": 2}

    tree({"errors.py": errors})
    assert 1 == main(["--lower"], tmp_path)
    assert bounds(tmp_path)["minima"] == {"public docstrings": 2}


def test_sizes_have_slack(tree, tmp_path):
    """A bound on lines is above today's figure by so many per cent."""
    tree({**FILES, "a.py": "A = 1\n" * 9})
    main(["--lower"], tmp_path)

    assert bounds(tmp_path)["maxima"]["code lines"] == 15


def test_a_room_may_not_grow_and_a_new_one_may_come(tree, tmp_path, capsys):
    """Each room has its own maximum of code lines."""
    tree({**FILES, "b.py": "A = 1\n" * 9})
    main(["--lower"], tmp_path)
    (tmp_path / "llmdispatcher" / "b.py").rename(tmp_path / "llmdispatcher" / "c.py")
    assert 0 == main([], tmp_path)

    tree({"a.py": "A = 1\n" * 2})
    assert 1 == main([], tmp_path)
    assert "a: 2 code lines, maximum 1" in capsys.readouterr().out


def test_what_is_forbidden_fails_at_any_figure(tree, tmp_path, capsys):
    """With its place."""
    tree({**FILES, "scripts/utils.py": '"""A module."""\n', "scripts/house.toml": 'banned = ["utils"]\n'})
    main(["--lower"], tmp_path)

    assert 1 == main([], tmp_path)
    assert "scripts/utils.py:1: utils: 'utils' says nothing" in capsys.readouterr().out


def test_a_word_lists_the_places(tree, tmp_path, capsys):
    """As an editor opens them; an unknown word names the known ones."""
    tree({**FILES, "b.py": "from . import a\n"})

    assert 0 == main(["thin"], tmp_path)
    assert "llmdispatcher/a.py:1: 3 lines, imported by llmdispatcher/b.py alone\n" in capsys.readouterr().out
    assert 2 == main(["thinner"], tmp_path)
    assert "no such word; there are: circles" in capsys.readouterr().err


def test_programs_read_json(tree, tmp_path, capsys):
    """Each figure with its bound and the word that lists its places."""
    tree(FILES)
    main(["--lower"], tmp_path)
    capsys.readouterr()
    main(["--json"], tmp_path)

    printed = json.loads(capsys.readouterr().out)
    assert {"word": "files", "today": 2, "bound": 2, "verdict": ""} == printed["figures"]["files"]
    assert [] == printed["wrong"]
