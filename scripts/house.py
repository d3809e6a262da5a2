"""``python -m scripts.house``: the structure of the package in figures, each held by a maximum that only falls.

It prints what is forbidden outright (``house_rules``), then the table, and exits 1 where anything is forbidden or a figure is above
its maximum in ``scripts/house.toml``. ``--lower`` writes today's figures there where they are better, never a worse one. Whoever
has to raise a maximum does it by hand, and gives the reason in the commit. A word lists the places behind a figure:
``python -m scripts.house thin``. The word ``send`` measures what one plain call passes, ``calls`` lists it; they run the package.

A circle counts with all its files or rooms, so that cutting it in two lowers the figure; its floors are as many as its rooms.
"""

from __future__ import annotations

import argparse
import ast
import gc
import json
import math
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import attrs

from .house_rules import findings
from .house_tree import NO_ROOMS, PACKAGE, Definition, Function, Import, Place, Source, Tree, circles, members, room_of, walk

SETTINGS = "scripts/house.toml"
LONG, THIN, HEAP = 800, 60, 100
MOST_COMPLEX, MOST_PARAMETERS = 10, 5
FREE_DOORS = ("types", "errors")
STRICT_ROOMS = ("accounting", "catalog")
WHY_LONG = "one file"

Places = Iterable[Place]


@attrs.frozen
class Figure:
    """One figure: the word that lists its places, its name, its value today."""

    word: str
    name: str
    today: int
    places: list[Place] = attrs.field(factory=list, repr=False)
    is_minimum: bool = False


def measure(tree: Tree, apart: Iterable[str]) -> list[Figure]:
    """Every figure but those of ``send``; rooms named in *apart* do not count for the size."""
    main = [source for source in tree.package.values() if source.room not in apart]
    code = {source.path: source.code_lines for source in main}
    documented = (source.at(node.lineno, node.name) for source, node in tree.public().values() if ast.get_docstring(node))
    tests = [source.at(source.lines, f"{source.lines} lines") for source in tree.inside("tests")]
    door, given = widest_door(tree)
    floors, path = floors_of_rooms(tree)
    lengths = sorted(body_lines(function) for source in main for function in source.functions()) or [0]
    counted: list[tuple[str, str, Callable[[Tree], Places]]] = [
        ("circles", "rooms in circles, type checking counted", circles_of_rooms),
        ("circles", "files in circles at run time", circles_of_files),
        ("circles", "files in circles inside accounting and catalog, type checking counted", circles_inside),
        ("inside", "imports that reach into another room", reaching_imports),
        ("reaching", "lines of tests, examples, benchmarks that reach into a room", reaching_tests),
        ("text", "own modules imported by text", by_text),
        ("long", f"files over {LONG} lines that do not say why", long),
        ("thin", f"files under {THIN} lines with one importer", thin),
        ("heaps", "heaps: files of groups that never use each other", heaps),
        ("forwarders", "functions that only forward", forwarders),
        ("protocols", "protocols with fewer than two implementations", protocols),
        ("twice", "class names used more than once", twice),
        ("stateless", "classes with one method and no state", stateless),
        ("complex", f"functions with a complexity over {MOST_COMPLEX}", complicated),
        ("parameters", f"functions with more than {MOST_PARAMETERS} positional parameters", parameters),
    ]
    return [
        Figure("entries", "entries of the package", *listed(entries(tree))),
        Figure("files", "files", *listed(source.at(1, f"{code[source.path]} code lines") for source in main)),
        Figure("rooms", "code lines", sum(code.values()), list(rooms(tree))),
        Figure("docstrings", "public docstrings", *listed(documented), is_minimum=True),
        Figure("tests", "test lines", sum(place.line for place in tests), tests),
        Figure("floors", "floors of rooms", floors, path),
        Figure("doors", "internal names that one door gives to other rooms", door, given),
        Figure("functions", "lines of a function, 90th percentile", lengths[int(0.9 * (len(lengths) - 1))]),
        *(Figure(word, name, *listed(find(tree))) for word, name, find in counted),
    ]


def listed(places: Places) -> tuple[int, list[Place]]:
    """The places in order, and how many they are."""
    found = sorted(set(places), key=lambda place: (place.path, place.line, place.text))
    return len(found), found


def entries(tree: Tree) -> Iterator[Place]:
    """What stands at the top of the package."""
    for entry in (tree.root / PACKAGE).glob("*"):
        if entry.stem not in NO_ROOMS and entry.name not in ("py.typed", "__pycache__"):
            yield Place(f"{PACKAGE}/{entry.name}", 1, "folder" if entry.is_dir() else "module")


def code_of_rooms(tree: Tree) -> dict[str, int]:
    """Code lines of each room."""
    found: dict[str, int] = defaultdict(int)
    for source in tree.package.values():
        if source.room:
            found[source.room] += source.code_lines
    return dict(sorted(found.items()))


def rooms(tree: Tree) -> Iterator[Place]:
    """Each room with its code lines."""
    return (Place(f"{PACKAGE}/{room}", 1, f"{lines} code lines") for room, lines in code_of_rooms(tree).items())


def long(tree: Tree) -> Iterator[Place]:
    """Long files whose docstring does not hold the words "one file", as in "It is one file because ..."."""
    for source in tree.package.values():
        if source.lines > LONG and WHY_LONG not in (ast.get_docstring(source.tree) or "").lower():
            yield source.at(1, f"{source.lines} lines; say in the docstring why it is {WHY_LONG}, or make it two")


def _edges(imports: Iterable[Import], key: Callable[[str], str]) -> dict[str, set[str]]:
    edges: dict[str, set[str]] = defaultdict(set)
    for found in imports:
        start, end = key(found.source.module), key(found.module)
        edges[end] |= set()
        if start != end:
            edges[start].add(end)
    return edges


def _room_graph(tree: Tree) -> dict[str, set[str]]:
    edges = _edges((found for found in tree.imports if found.source.room and room_of(found.module)), room_of)
    return {room: edges.get(room, set()) for room in tree.rooms()}


def floors_of_rooms(tree: Tree) -> tuple[int, list[Place]]:
    """The longest path of imports over rooms, from the top down."""
    graph = _room_graph(tree)
    height: dict[str, int] = {}
    below: dict[str, str] = {}
    for group in circles(graph):
        ground = {room: height[room] for room in set().union(*(graph[room] for room in group)) - group}
        lowest = max(ground, key=lambda room: ground[room], default="")
        for room in group:
            height[room] = len(group) + ground.get(lowest, 0)
            below[room] = lowest
    room = max(height, key=lambda room: height[room], default="")
    path = []
    while room:
        path.append(Place(f"{PACKAGE}/{room}", 1, f"floor {height[room]}"))
        room = below[room]
    return max(height.values(), default=0), path


def circles_of_rooms(tree: Tree) -> Iterator[Place]:
    """Rooms that reach themselves."""
    for group in circles(_room_graph(tree)):
        for room in group if len(group) > 1 else ():
            yield Place(f"{PACKAGE}/{room}", 1, f"one of {len(group)} rooms in a circle")


def circles_of_files(tree: Tree) -> Iterator[Place]:
    """Files that reach themselves at run time; what a door names for type checking it loads at first use."""
    return _circles(tree, (found for found in tree.imports if not found.typing or _is_of_door(found)))


def circles_inside(tree: Tree) -> Iterator[Place]:
    """Files of a strict room that reach themselves within it."""
    for room in STRICT_ROOMS:
        yield from _circles(tree, (found for found in tree.imports if found.source.room == room == room_of(found.module)))


def _is_of_door(found: Import) -> bool:
    return found.source.is_door and found.module.startswith(found.source.module + ".")


def _circles(tree: Tree, imports: Iterable[Import]) -> Iterator[Place]:
    for group in circles(_edges(imports, str)):
        for module in group if len(group) > 1 else ():
            yield tree.package[module].at(1, f"one of {len(group)} files in a circle: {' '.join(sorted(group)[:4])} ...")


def reaching_imports(tree: Tree) -> Iterator[Place]:
    """Imports of what lies behind another room's door, the root's own door included; ``__main__`` starts the command line."""
    for found in tree.imports:
        if found.crosses and found.inside and room_of(found.wanted) and found.source.path != f"{PACKAGE}/__main__.py":
            yield found.source.at(found.line, f"{found.wanted}{' (by text)' if found.text else ''}")


def reaching_tests(tree: Tree) -> Iterator[Place]:
    """The same outside the package, in programs and names within strings too; the tests of a room may know it."""
    dotted = re.compile(rf"\b{PACKAGE}(?:\.\w+){{2,}}")
    for source in tree.inside("tests", "examples", "benchmarks"):
        parts = source.path.split("/")
        own = parts[1] if parts[0] == "tests" and len(parts) > 2 else ""
        seen = [(found.line, found.wanted) for found in tree.imports_of(source) if found.inside]
        for node in source.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and PACKAGE in node.value:
                told = dotted.finditer(node.value)
                seen += [(node.lineno + node.value.count("\n", 0, found.start()), found[0]) for found in told]
        for line, wanted in seen:
            door, _, inner = ".".join(wanted.split(".")[:3]).rpartition(".")
            is_open = door in tree.package and inner in tree.package[door].exported()
            if room_of(wanted) != own and not is_open and (f"{door}.{inner}" in tree.package or inner == "*"):
                yield source.at(line, f"{door}.{inner}")


def widest_door(tree: Tree) -> tuple[int, list[Place]]:
    """The room from which others take most names that are not public, and all such names."""
    public = set(tree.package[PACKAGE].exported()) if PACKAGE in tree.package else set()
    taken: dict[str, dict[str, Place]] = defaultdict(dict)
    for found in tree.imports:
        room = room_of(found.wanted)
        name = found.name or (found.wanted.rpartition(".")[2] if found.inside else "")
        if room and found.source.room and found.crosses and name and name not in public:
            taken[room].setdefault(name, found.source.at(found.line, f"{room}: {name}"))
    most = max((len(names) for room, names in taken.items() if room not in FREE_DOORS), default=0)
    order = sorted(taken.items(), key=lambda item: -len(item[1]))
    return most, [place for room, names in order if room not in FREE_DOORS for place in names.values()]


def by_text(tree: Tree) -> Iterator[Place]:
    """Own modules that no editor finds: ``import_module`` outside a door."""
    return (found.source.at(found.line, found.wanted) for found in tree.imports if found.text and not found.source.is_door)


def thin(tree: Tree) -> Iterator[Place]:
    """Small files that serve one other. What a lazy door only offers serves those who take it there."""
    lazy = [found for found in tree.imports if found.typing and _is_of_door(found)]
    behind = {(found.source.module, found.name): found.module for found in lazy}
    importers: dict[str, set[str]] = defaultdict(set)
    for found in tree.imports:
        if not (found.typing and _is_of_door(found)):
            importers[behind.get((found.module, found.name), found.module)].add(found.source.path)
    for module, source in tree.package.items():
        if source.lines < THIN and len(importers[module] - {source.path}) == 1 and not source.is_door:
            yield source.at(1, f"{source.lines} lines, imported by {min(importers[module])} alone")


def body_lines(function: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def _body(node: Definition) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


def _arguments(function: Function, *, named: bool = True) -> list[str]:
    given = [*function.args.posonlyargs, *function.args.args]
    if named:
        given += [*function.args.kwonlyargs, *(part for part in (function.args.vararg, function.args.kwarg) if part)]
    return [argument.arg for argument in given if argument.arg not in ("self", "cls")]


def forwarders(tree: Tree) -> Iterator[Place]:
    """Functions that hand all they are given, and nothing else, to another."""
    for source in tree.package.values():
        for function in source.functions():
            body = _body(function)
            call = body[0].value if len(body) == 1 and isinstance(body[0], ast.Return | ast.Expr) else None
            if isinstance(call, ast.Call) and not any(isinstance(part, ast.Call) for part in walk(call.func)):
                handed = [_plain(part) for part in (*call.args, *(word.value for word in call.keywords))]
                if sorted(handed) == sorted(_arguments(function)):
                    yield source.at(function.lineno, f"{function.name} -> {ast.unparse(call)}")


def _plain(node: ast.expr) -> str:
    node = node.value if isinstance(node, ast.Starred) else node
    return node.id if isinstance(node, ast.Name) else "(no name)"


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).partition("[")[0].split(".")[-1] == "Protocol" for base in node.bases)


def protocols(tree: Tree) -> Iterator[Place]:
    """Protocols that fewer than two classes fulfil, as far as names tell; a protocol of ``__call__`` alone is a function's type."""
    kinds = [(source, node) for source in tree.package.values() for node in source.classes()]
    offered = [members(kind for _, kind in tree.lineage(source, node)) for source, node in kinds if not _is_protocol(node)]
    for source, node in kinds:
        wanted = members(kind for _, kind in tree.lineage(source, node))
        if _is_protocol(node) and wanted != {"__call__"}:
            count = sum(wanted <= names for names in offered)
            if count < 2:
                yield source.at(node.lineno, f"{node.name}: {count} implementations")


def twice(tree: Tree) -> list[Place]:
    """One place for each name that classes of several files bear; those of integrations are other libraries' names."""
    places: dict[str, set[str]] = defaultdict(set)
    for source in tree.package.values():
        for node in source.classes() if source.room != "integrations" else ():
            places[node.name].add(f"{source.path}:{node.lineno}")
    found = []
    for name, where in places.items():
        if len({place.rpartition(":")[0] for place in where}) > 1:
            path, _, line = min(where).rpartition(":")
            found.append(Place(path, int(line), f"{name}, and {' '.join(sorted(where - {min(where)}))}"))
    return found


def stateless(tree: Tree) -> Iterator[Place]:
    """Classes that are a function: one method, no field, no base."""
    for source in tree.package.values():
        for node in source.classes():
            body = _body(node)
            if len(body) == 1 and isinstance(body[0], Function) and members([node]) == {body[0].name} and not node.bases:
                yield source.at(node.lineno, f"{node.name}.{body[0].name}")


def heaps(tree: Tree) -> Iterator[Place]:
    """Files whose top-level names fall into groups, two of them large, that never use each other."""
    for source in tree.package.values():
        sizes = sorted((size for size in _groups(source) if size > HEAP), reverse=True)
        if len(sizes) > 1:
            yield source.at(1, f"groups of {', '.join(map(str, sizes))} lines")


def _groups(source: Source) -> list[int]:
    """Lines of each group. Loggers, type variables and plain numbers or texts tie nothing together."""
    owner: dict[str, ast.stmt] = {}
    for node in source.tree.body:
        if isinstance(node, Definition):
            owner[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not _ties_nothing(node.value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            owner |= {part.id: node for at in targets for part in walk(at) if isinstance(part, ast.Name) and part.id != "__all__"}
    lines = {str(id(node)): (node.end_lineno or node.lineno) - node.lineno + 1 for node in owner.values()}
    edges: dict[str, set[str]] = {node: set() for node in lines}
    for node in owner.values():
        for part in walk(node):
            name = part.id if isinstance(part, ast.Name) else part.value if isinstance(part, ast.Constant) else None
            if isinstance(name, str) and name in owner and owner[name] is not node:
                edges[str(id(node))].add(str(id(owner[name])))
                edges[str(id(owner[name]))].add(str(id(node)))
    return [sum(lines[node] for node in group) for group in circles(edges)]


def _ties_nothing(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant | None) or (
        isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] in ("getLogger", "TypeVar", "ParamSpec")
    )


def complicated(tree: Tree) -> Iterator[Place]:
    """Functions with many ways through, counted as McCabe and ruff do."""
    for source in tree.package.values():
        for function in source.functions():
            count = 1 + sum(_ways(node) for node in walk(function) if node is not function)
            if count > MOST_COMPLEX:
                yield source.at(function.lineno, f"{function.name}: {count}")


def _ways(node: ast.AST) -> int:
    if isinstance(node, ast.Try | ast.TryStar):
        return len(node.handlers) + bool(node.orelse)
    if isinstance(node, ast.For | ast.While):
        return 1 + bool(node.orelse)
    if isinstance(node, ast.Match):
        return len(node.cases)
    return isinstance(node, ast.If | Function)


def parameters(tree: Tree) -> Iterator[Place]:
    """Functions that take many arguments by position; those that a caller must name explain themselves."""
    for source in tree.package.values():
        for function in source.functions():
            count = len(_arguments(function, named=False))
            if count > MOST_PARAMETERS:
                yield source.at(function.lineno, f"{function.name} takes {count}")


def send() -> list[Figure]:
    """What one plain ``send`` passes on the calling thread, after a first one has loaded everything.

    The shortest of ten, because a socket's time-out is set once more or once less as time goes by.
    """
    from llmdispatcher import Dispatcher, OpenAIVendor, Request
    from llmdispatcher.testing import VendorSimulator

    with VendorSimulator() as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key="sk-of-the-house", base_url=simulator.openai_url))
        request = Request("gpt-4o-mini", "hello")
        dispatcher.send(request)
        folder = Path(sys.modules[PACKAGE].__file__ or "").parent
        runs = [passed(lambda: dispatcher.send(request), folder) for _ in range(10)]
        return min(runs, key=lambda figures: len(figures[0].places))


def passed(act: Callable[[], object], folder: Path) -> list[Figure]:
    """The own Python calls that *act* makes; comprehensions are none, since newer Pythons do not call them."""
    calls: list[Place] = []
    deepest = depth = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal deepest, depth
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(f"{folder}/") or code.co_name in _INLINED:
            return
        depth += 1 if event == "call" else -1
        deepest = max(deepest, depth)
        if event == "call":
            path = f"{folder.name}/{Path(code.co_filename).relative_to(folder).as_posix()}"
            calls.append(Place(path, code.co_firstlineno, f"{'  ' * depth}{code.co_qualname}"))

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    files = {place.path for place in calls}
    entered = {room_of(path.removesuffix(".py").replace("/", ".")) for path in files} - {""}
    return [
        Figure("send", "one send: files", len(files), calls),
        Figure("send", "one send: functions", len({(place.path, place.line) for place in calls})),
        Figure("send", "one send: rooms", len(entered)),
        Figure("send", "one send: own calls", len(calls)),
        Figure("send", "one send: depth", deepest),
    ]


_INLINED = ("<listcomp>", "<dictcomp>", "<setcomp>", "<genexpr>")


@attrs.frozen
class Bounds:
    """What ``house.toml`` holds: maxima, minima and the code lines of rooms, with the slack that some have."""

    maxima: dict[str, int]
    minima: dict[str, int]
    rooms: dict[str, int]
    slack: dict[str, float]

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Bounds:
        """Take the bounds out of the settings."""
        return cls(*(settings.get(name, {}) for name in ("maxima", "minima", "rooms", "slack")))

    def of_figure(self, figure: Figure) -> int | None:
        """The bound of a figure; None before its first ``--lower``."""
        return (self.minima if figure.is_minimum else self.maxima).get(figure.name)

    def best(self, figure: Figure) -> int:
        """The bound that today's figure allows."""
        return figure.today if figure.is_minimum else self._with_slack(figure.name, figure.today)

    def verdict(self, figure: Figure) -> str:
        """Empty where the figure is at its bound; else what to do."""
        bound, best = self.of_figure(figure), self.best(figure)
        if bound is None:
            return "no bound yet: --lower"
        if (figure.today < bound) if figure.is_minimum else (figure.today > bound):
            return "WORSE"
        if (best > bound) if figure.is_minimum else (best < bound):
            return "better: --lower"
        return ""

    def rooms_above(self, today: dict[str, int]) -> list[str]:
        """Rooms that outgrew their maximum; a new room has none."""
        above = (room for room in today if room in self.rooms and today[room] > self.rooms[room])
        return [f"{room}: {today[room]} code lines, maximum {self.rooms[room]}" for room in above]

    def lowered(self, figures: Iterable[Figure], today: dict[str, int]) -> Bounds:
        """The bounds that the figures allow, none of them looser than before; *today* is empty where rooms were not measured."""
        maxima, minima = dict(self.maxima), dict(self.minima)
        for figure in figures:
            best = self.best(figure)
            if figure.is_minimum:
                minima[figure.name] = max(best, minima.get(figure.name, best))
            else:
                maxima[figure.name] = min(best, maxima.get(figure.name, best))
        rooms = {room: min(self._with_slack("rooms", lines), self.rooms.get(room, 10**9)) for room, lines in today.items()}
        return attrs.evolve(self, maxima=maxima, minima=minima, rooms=rooms or self.rooms)

    def write(self, file: Path) -> None:
        """Put the numbers into *file*, behind whatever is written before its table of maxima."""
        written = file.read_text(encoding="utf-8") if file.exists() else ""
        kept = f"\n{written}".partition("\n[maxima]")[0].strip()
        parts = [kept] if kept else []
        for name, bounds in (("maxima", self.maxima), ("minima", self.minima), ("rooms", self.rooms)):
            parts.append("\n".join([f"[{name}]", *(f"{json.dumps(key)} = {value}" for key, value in bounds.items())]))
        file.write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    def _with_slack(self, name: str, today: int) -> int:
        return math.ceil(today * (1 + self.slack.get(name, 0) / 100))


def main(arguments: list[str] | None = None, root: Path = Path()) -> int:
    """Check, print, and tell by the exit code whether everything holds."""
    parser = argparse.ArgumentParser(prog="python -m scripts.house", description="Hold the structure of the package to house.toml.")
    parser.add_argument("word", nargs="?", help="list the places behind a figure (inside, doors, thin, ...), or measure 'send'")
    parser.add_argument("--lower", action="store_true", help="write today's figures to house.toml where they are better")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    settings = tomllib.loads((root / SETTINGS).read_text(encoding="utf-8")) if (root / SETTINGS).exists() else {}
    bounds = Bounds.of(settings)
    wrong: list[Place] = []
    of_rooms: dict[str, int] = {}
    if options.word in ("send", "calls"):
        figures = send()
        if options.word == "calls":
            return show(figures[:1], set())
    else:
        gc.disable()  # a million nodes that live to the end
        tree = Tree.read(root)
        figures = measure(tree, settings.get("apart", ()))
        if options.word is not None:
            return show([figure for figure in figures if figure.word == options.word], {figure.word for figure in figures})
        wrong, of_rooms = findings(tree, settings), code_of_rooms(tree)
    if options.lower:
        bounds = bounds.lowered(figures, of_rooms)
        bounds.write(root / SETTINGS)
    above = bounds.rooms_above(of_rooms)
    if options.json:
        print(as_json(figures, bounds, [*map(str, wrong), *above]))
    else:
        print("\n".join([*map(str, wrong), *above, *table(figures, bounds)]))
    return 1 if wrong or above or any(bounds.verdict(figure).startswith(("WORSE", "no")) for figure in figures) else 0


def show(figures: list[Figure], words: set[str]) -> int:
    """Print the places behind a word; 2 where no figure has it."""
    if not figures:
        print(f"no such word; there are: {' '.join(sorted(words))} send calls", file=sys.stderr)
        return 2
    for figure in figures:
        print("\n".join([*map(str, figure.places), f"{figure.name}: {figure.today}"]))
    return 0


def table(figures: list[Figure], bounds: Bounds) -> Iterator[str]:
    """The figures as people read them."""
    yield f"{'figure':<72}{'today':>8}{'maximum':>9}"
    for figure in figures:
        bound = bounds.of_figure(figure)
        name = f"{figure.name}{' (a minimum)' if figure.is_minimum else ''}"
        yield f"{name:<72}{figure.today:>8}{'-' if bound is None else bound:>9}  {bounds.verdict(figure)}".rstrip()


def as_json(figures: list[Figure], bounds: Bounds, wrong: list[str]) -> str:
    """The figures as programs read them."""
    rows = {
        figure.name: {
            "word": figure.word,
            "today": figure.today,
            "bound": bounds.of_figure(figure),
            "verdict": bounds.verdict(figure),
        }
        for figure in figures
    }
    return json.dumps({"figures": rows, "wrong": wrong}, indent=1)


if __name__ == "__main__":
    sys.exit(main())
