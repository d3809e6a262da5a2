"""The source files as the house reads them: parsed once, with the imports between them and the definitions that names lead to.

A *room* is a top-level entry of the package, a folder or a module. The modules in a folder are its *inside*, its ``__init__``
is the *door*.
"""

from __future__ import annotations

import ast
import functools
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

import attrs

PACKAGE = "llmdispatcher"
FOLDERS = (PACKAGE, "scripts", "benchmarks", "examples", "tests")
NO_ROOMS = frozenset({"__init__", "__main__", "_version", "_lazy", "_text"})

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef
_NO_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@attrs.frozen
class Place:
    """One thing to look at, where an editor can open it."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@attrs.define(eq=False)
class Source:
    """One parsed file, its path relative to the root and with slashes."""

    path: str
    text: str
    tree: ast.Module
    nodes: list[ast.AST]

    @classmethod
    def read(cls, root: Path, file: Path) -> Source:
        """Parse *file* and list its nodes."""
        text = file.read_text(encoding="utf-8")
        tree = ast.parse(text)
        return cls(file.relative_to(root).as_posix(), text, tree, walk(tree))

    @property
    def module(self) -> str:
        """The dotted name."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @property
    def is_door(self) -> bool:
        """Whether this is a folder's ``__init__``."""
        return self.path.endswith("/__init__.py")

    @property
    def folder(self) -> str:
        """The dotted name of the package it stands in: ``__package__``."""
        return self.module if self.is_door else self.module.rpartition(".")[0]

    @property
    def room(self) -> str:
        """The room of the package it belongs to; empty for the root door and the files beside it."""
        return room_of(self.module)

    @property
    def lines(self) -> int:
        """All lines, blank ones too."""
        return len(self.text.splitlines())

    def functions(self) -> Iterator[Function]:
        """All functions and methods, nested ones too."""
        return (node for node in self.nodes if isinstance(node, Function))

    def classes(self) -> Iterator[ast.ClassDef]:
        """All classes, nested ones too."""
        return (node for node in self.nodes if isinstance(node, ast.ClassDef))

    def at(self, line: int, text: str) -> Place:
        """A place in this file."""
        return Place(self.path, line, text)

    def tokens(self) -> Iterator[tokenize.TokenInfo]:
        """The tokens, comments among them."""
        return tokenize.generate_tokens(io.StringIO(self.text).readline)

    @functools.cached_property
    def code_lines(self) -> int:
        """Lines that hold a token that is no comment and no docstring."""
        counted: set[int] = set()
        for token in self.tokens():
            if token.type not in _NO_CODE:
                counted.update(range(token.start[0], token.end[0] + 1))
        for node in self.nodes:
            if isinstance(node, ast.Module | Definition) and ast.get_docstring(node, clean=False) is not None:
                counted.difference_update(_span(node.body[0]))
        return len(counted)

    def exported(self) -> list[str]:
        """The names in ``__all__``; without one, the public classes and functions."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and any(isinstance(at, ast.Name) and at.id == "__all__" for at in node.targets):
                return [str(part.value) for part in walk(node.value) if isinstance(part, ast.Constant)]
        return [node.name for node in self.tree.body if isinstance(node, Definition) and not node.name.startswith("_")]


@attrs.frozen
class Import:
    """One import of an own module. *wanted* is the dotted name as written (``*`` where only the running program knows it)."""

    source: Source
    line: int
    module: str
    wanted: str
    name: str = ""
    typing: bool = False
    text: bool = False

    @property
    def crosses(self) -> bool:
        """Whether it leads into another room."""
        return self.source.room != room_of(self.wanted)

    @property
    def inside(self) -> bool:
        """Whether it names what lies behind a door."""
        return self.wanted.count(".") > 1


@attrs.define(eq=False)
class Tree:
    """The package and what stands beside it."""

    root: Path
    package: dict[str, Source]
    beside: list[Source]

    @classmethod
    def read(cls, root: Path) -> Tree:
        """Parse every Python file of the folders that are ruled."""
        sources = [Source.read(root, file) for folder in FOLDERS for file in sorted((root / folder).rglob("*.py"))]
        own = {source.module: source for source in sources if source.path.startswith(PACKAGE + "/")}
        return cls(root, own, [source for source in sources if source.module not in own])

    def sources(self) -> list[Source]:
        """All files, the package's first."""
        return [*self.package.values(), *self.beside]

    def inside(self, *folders: str) -> list[Source]:
        """The files beside the package in these folders."""
        return [source for source in self.beside if source.path.split("/")[0] in folders]

    @functools.cached_property
    def imports(self) -> list[Import]:
        """All imports within the package."""
        return [found for source in self.package.values() for found in self.imports_of(source)]

    def imports_of(self, source: Source) -> Iterator[Import]:
        """The own modules that a file imports: at the top, late, for type checking, by text."""
        typing = {id(part) for node in source.nodes if _is_type_checking(node) for branch in node.body for part in walk(branch)}
        for node in source.nodes:
            if isinstance(node, ast.ImportFrom):
                base = _base(source, node)
                for alias in node.names if _is_own(base) else ():
                    yield self._import(source, node, base, alias.name, typing=id(node) in typing)
            elif isinstance(node, ast.Import):
                for alias in node.names:
                    if _is_own(alias.name):
                        yield self._import(source, node, alias.name, "", typing=id(node) in typing)
            elif isinstance(node, ast.Call) and _called(node.func) in ("import_module", "__import__"):
                wanted = _import_text(source, node)
                if _is_own(wanted):
                    yield attrs.evolve(self._import(source, node, wanted, "", typing=False), text=True)

    def _import(self, source: Source, node: ast.stmt | ast.Call, base: str, name: str, *, typing: bool) -> Import:
        inner = f"{base}.{name}"
        if name and inner in self.package and not (base in self.package and name in self.package[base].exported()):
            base, name = inner, ""
        module = base
        while module not in self.package and "." in module:
            module = module.rpartition(".")[0]
        return Import(source, node.lineno, module, base, name, typing)

    def rooms(self) -> list[str]:
        """The entries of the package, sorted."""
        return sorted({source.room for source in self.package.values()} - {""})

    def definition(self, module: str, name: str, seen: frozenset[str] = frozenset()) -> tuple[Source, Definition] | None:
        """The class or function that *name* in *module* leads to, through any doors."""
        source = self.package.get(module)
        if source is None or module in seen:
            return None
        for node in source.tree.body:
            if isinstance(node, Definition) and node.name == name and not is_overload(node):
                return source, node
        for imported in source.nodes:
            for alias in imported.names if isinstance(imported, ast.ImportFrom) else ():
                if isinstance(imported, ast.ImportFrom) and name == (alias.asname or alias.name):
                    return self.definition(_base(source, imported), alias.name, seen | {module})
        return None

    def lineage(self, source: Source, node: ast.ClassDef) -> list[tuple[Source, ast.ClassDef]]:
        """The class and its bases in the package."""
        found = [(source, node)]
        for base in node.bases:
            name = _called(base.value if isinstance(base, ast.Subscript) else base)
            above = self.definition(source.module, name) if name != node.name else None
            if above is not None and isinstance(above[1], ast.ClassDef):
                found += self.lineage(above[0], above[1])
        return found

    def public(self) -> dict[int, tuple[Source, Definition]]:
        """What a user may name: the exports of the package, its errors and its test tools, with their public methods."""
        found: dict[int, tuple[Source, Definition]] = {}
        for module in (PACKAGE, f"{PACKAGE}.errors", f"{PACKAGE}.testing"):
            for name in self.package[module].exported() if module in self.package else ():
                defined = self.definition(module, name)
                if defined is not None:
                    found |= {id(node): (source, node) for source, node in self._with_methods(*defined)}
        return found

    def _with_methods(self, source: Source, node: Definition) -> Iterator[tuple[Source, Definition]]:
        yield source, node
        for above, kind in self.lineage(source, node) if isinstance(node, ast.ClassDef) else ():
            public = kind is node or not kind.name.startswith("_")
            yield from ((above, part) for part in kind.body if isinstance(part, Definition) and public and _is_public(part))


def walk(node: ast.AST) -> list[ast.AST]:
    """The node and all below it, in the order of the text; without the ``Load()`` and ``Add()`` that ``ast.walk`` gives too."""
    found: list[ast.AST] = []
    stack = [node]
    while stack:
        node = stack.pop()
        found.append(node)
        below: list[ast.AST] = []
        for name in node._fields:
            value = None if name in ("ctx", "op", "ops") else getattr(node, name, None)
            if isinstance(value, list):
                below += [part for part in value if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST):
                below.append(value)
        stack += reversed(below)
    return found


def room_of(module: str) -> str:
    """The room that a dotted name lies in; empty for the package itself, what is no room, and modules of others."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == PACKAGE and parts[1] not in NO_ROOMS else ""


def is_overload(node: Definition) -> bool:
    """Whether it is one of several signatures, or the setter of a property."""
    return any(_called(mark) in ("overload", "setter") for mark in node.decorator_list)


def circles(edges: dict[str, set[str]]) -> list[set[str]]:
    """The groups of nodes that reach each other, single nodes as groups of one; what is below comes first."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[set[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for below in edges.get(node, ()):
            if below not in index:
                visit(below)
                low[node] = min(low[node], low[below])
            elif below in stack:
                low[node] = min(low[node], index[below])
        if low[node] == index[node]:
            at = stack.index(node)
            groups.append(set(stack[at:]))
            del stack[at:]

    for node in sorted(edges):
        if node not in index:
            visit(node)
    return groups


def members(nodes: Iterable[ast.ClassDef]) -> set[str]:
    """The names of methods and fields, those that a method sets on ``self`` too."""
    found: set[str] = set()
    for node in nodes:
        for part in walk(node):
            if isinstance(part, Function):
                found.add(part.name)
            elif isinstance(part, ast.AnnAssign | ast.Assign):
                for at in part.targets if isinstance(part, ast.Assign) else [part.target]:
                    found |= {_called(each) for each in (at.elts if isinstance(at, ast.Tuple) else [at])}
    return found - {""}


def _is_public(node: Definition) -> bool:
    return not node.name.startswith("_") and not is_overload(node)


def _is_own(module: str) -> bool:
    return module.split(".")[0] == PACKAGE


def _is_type_checking(node: ast.AST) -> TypeGuard[ast.If]:
    return isinstance(node, ast.If) and _called(node.test) == "TYPE_CHECKING"


def _called(node: ast.AST) -> str:
    """The last part of a dotted name; empty for anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _span(node: ast.stmt) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _base(source: Source, node: ast.ImportFrom) -> str:
    """The module that names are imported from."""
    return _upwards(source.folder, node.level, node.module or "") if node.level else node.module or ""


def _upwards(folder: str, level: int, name: str) -> str:
    """What *level* dots and a name lead to from a folder."""
    parts = folder.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([name] if name else [])])


def _import_text(source: Source, node: ast.Call) -> str:
    """The module that ``import_module(...)`` is told, with ``*`` for what only the running program knows."""
    text = _text(source, node.args[0]) if node.args else ""
    if not text.startswith("."):
        return text
    folder = _text(source, node.args[1]) if len(node.args) > 1 else source.folder
    return _upwards(folder, len(text) - len(text.lstrip(".")), text.lstrip("."))


def _text(source: Source, node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(source, part) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _text(source, node.value)
    if isinstance(node, ast.Name) and node.id == "__name__":
        return source.module
    if isinstance(node, ast.Name) and node.id == "__package__":
        return source.folder
    return "*"
