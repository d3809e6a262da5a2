"""What the house forbids outright: ignores without a reason, empty names, silent tests, crossed borders, retired words.

Which names, borders and folders is data: ``house.toml`` and ``retired.txt`` beside this file.
"""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from .house_tree import PACKAGE, Definition, Place, Source, Tree

RETIRED = "scripts/retired.txt"

_IGNORE = re.compile(
    r"#\s*(?P<kind>type:\s*ignore|noqa|pragma:\s*no (?:cover|branch))(?P<code>\[[\w, -]+\]|:\s*[A-Z]+\d+[\w, ]*)?(?P<rest>.*)"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_CODE = re.compile(r"^```python\n.*?^```|(`+)[^`\n]+\1", re.MULTILINE | re.DOTALL)


def findings(tree: Tree, settings: dict[str, Any]) -> list[Place]:
    """Everything that fails whatever the figures say, in the order of the files."""
    found = [*undocumented(tree), *retired(tree)]
    banned = frozenset(settings.get("banned", ()))
    for source in tree.sources():
        found += ignores(source)
        if source.path.startswith("tests/"):
            found += claims(source)
        else:
            found += names(source, banned)
        if source.path.startswith(PACKAGE + "/"):
            found += crossings(source, settings.get("borders", ()))
    return sorted(found, key=lambda place: (place.path, place.line, place.text))


def undocumented(tree: Tree) -> Iterator[Place]:
    """Modules, and names that users may use, without a docstring."""
    for source in tree.sources():
        if not source.path.startswith("tests/") and ast.get_docstring(source.tree) is None:
            yield source.at(1, "the module has no docstring")
    for source, node in tree.public().values():
        if ast.get_docstring(node) is None:
            yield source.at(node.lineno, f"{node.name} is public and has no docstring")


def ignores(source: Source) -> Iterator[Place]:
    """Ignores without a code or without a reason."""
    if _IGNORE.search(source.text) is None:
        return
    for token in source.tokens():
        found = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if found is None:
            continue
        kind = found["kind"]
        if found["code"] is None and not kind.startswith("pragma"):
            yield source.at(token.start[0], f"{kind} without a code")
        if len(found["rest"].strip(" #:-")) < 3:
            yield source.at(token.start[0], f"{kind} without a reason; write it behind, as '# why'")


def names(source: Source, banned: frozenset[str]) -> Iterator[Place]:
    """Files, classes and functions with a name that says nothing."""
    named = [(Path(source.path).stem, 1), *((node.name, node.lineno) for node in source.nodes if isinstance(node, Definition))]
    for name, line in named:
        for word in sorted({word.lower() for word in _WORD.findall(name)} & banned):
            yield source.at(line, f"{name}: {word!r} says nothing; name what it does")


def claims(source: Source) -> Iterator[Place]:
    """Tests that do not say what they claim."""
    for function in source.functions():
        if function.name.startswith("test_") and ast.get_docstring(function) is None:
            yield source.at(function.lineno, f"{function.name} does not say what it claims; write it as its docstring")


def crossings(source: Source, borders: list[dict[str, Any]]) -> Iterator[Place]:
    """Uses of what only a few rooms may touch."""
    path = source.path.removeprefix(PACKAGE + "/")
    ruled = [border for border in borders if not path.startswith(tuple(border["rooms"]))]
    for node in source.nodes:
        for name in _used(node):
            for border in ruled:
                if any(f"{name}.".startswith(f"{use}.") for use in border["uses"]):
                    yield source.at(getattr(node, "lineno", 1), f"{name}: {border['why']}")


def _used(node: ast.AST) -> list[str]:
    """The modules or dotted names that a node brings in or calls upon."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [f"{node.module}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return [f"{node.value.id}.{node.attr}"]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return [f"{node.func.id}()"]
    return []


@attrs.frozen
class Retired:
    """Names that went, each with the one that came: identifiers, and names of modules."""

    names: dict[str, str]
    modules: dict[str, str]

    @classmethod
    def read(cls, file: Path) -> Retired:
        """Read lines ``old -> new`` and ``module:old -> new``; raise ``ValueError`` where a line is neither."""
        lists = cls({}, {})
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines() if file.exists() else (), 1):
            said = line.partition("#")[0].strip()
            old, arrow, new = (part.strip() for part in said.partition("->"))
            is_module = old.startswith("module:")
            name = old.removeprefix("module:").strip()
            if said and not (arrow and new and all(part.isidentifier() for part in name.split("."))):
                raise ValueError(f"{file}:{number}: not 'old -> new': {line!r}")
            if said:
                (lists.modules if is_module else lists.names)[name] = new
        return lists

    def said_of_module(self, module: str) -> Iterator[str]:
        """What to say of a dotted name that holds a retired module: ``a.b.c`` holds ``b`` as well as ``b.c``."""
        parts = module.split(".")
        held = (".".join(parts[start:end]) for start in range(len(parts)) for end in range(start + 1, len(parts) + 1))
        return (f"module {name} is retired: {self.modules[name]}" for name in held if name in self.modules)


def retired(tree: Tree) -> Iterator[Place]:
    """Uses of retired names in the package, the documents, the README, the examples and the tests."""
    lists = Retired.read(tree.root / RETIRED)
    if not lists.names and not lists.modules:
        return
    words = re.compile(rf"\b({'|'.join(re.escape(name.split('.')[-1]) for name in [*lists.names, *lists.modules])})\b")
    for source in [*tree.package.values(), *tree.inside("examples", "tests")]:
        if words.search(source.text) or words.search(source.path):
            yield from _retired_in_code(tree, source, lists)
    for file in [tree.root / "README.md", *sorted((tree.root / "docs").rglob("*.md"))]:
        if file.exists():
            path, text = file.relative_to(tree.root).as_posix(), file.read_text(encoding="utf-8")
            yield from (Place(path, line, said) for line, said in _retired_in_words(text, lists))


def _retired_in_code(tree: Tree, source: Source, lists: Retired) -> Iterator[Place]:
    modules = [(found.line, found.wanted) for found in tree.imports_of(source)]
    if source.path.startswith(PACKAGE + "/"):
        modules.append((1, source.module))
    for line, module in modules:
        yield from (source.at(line, said) for said in lists.said_of_module(module))
    for node in source.nodes:
        for name in _named(node):
            if name in lists.names:
                yield source.at(getattr(node, "lineno", 1), f"{name} is retired: {lists.names[name]}")
        if isinstance(node, ast.Module | Definition):
            text = ast.get_docstring(node, clean=False) or ""
            start = node.body[0].lineno if text else 1
            yield from (source.at(start + line - 1, said) for line, said in _retired_in_words(text, lists))


def _retired_in_words(text: str, lists: Retired) -> Iterator[tuple[int, str]]:
    """Retired names within backticks and in examples of Python; modules by their dotted name or as a file."""
    for code in _CODE.finditer(text):
        for word in re.finditer(r"[A-Za-z_][\w./]*", code[0]):
            line = 1 + text.count("\n", 0, code.start() + word.start())
            dotted = word[0].removesuffix(".py").replace("/", ".").strip(".")
            if dotted.startswith(PACKAGE + ".") or word[0].endswith(".py"):
                yield from ((line, said) for said in lists.said_of_module(dotted))
            for name in word[0].split(".") if "/" not in word[0] else ():
                if name in lists.names:
                    yield line, f"{name} is retired: {lists.names[name]}"


def _named(node: ast.AST) -> list[str]:
    """The identifiers that a node holds."""
    match node:
        case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.name]
        case ast.Attribute():
            return [node.attr]
        case ast.Name():
            return [node.id]
        case ast.arg():
            return [node.arg]
        case ast.keyword() if node.arg:
            return [node.arg]
        case ast.alias():
            return [*node.name.split(".")[-1:], *([node.asname] if node.asname else [])]
    return []
