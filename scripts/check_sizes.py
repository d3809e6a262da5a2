"""``python -m scripts.check_sizes``: sizes, words and borders that no linter knows; prints what is wrong, exits 1 if anything is.

Sizes count like this. A file: its lines. A function: from ``def`` to its last line, without the docstring. Parameters: the
positional ones without ``self`` and ``cls``; those that a caller must name explain themselves, and ruff (PLR0913) bounds the sum.
"""

from __future__ import annotations

import ast
import io
import re
import statistics
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from .words import BANNED, BORDERS, PACKAGE, RULED, Border

MOST_LINES = 350
MOST_FUNCTION_LINES = 40
MOST_MEDIAN = 8
MOST_PARAMETERS = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef

_IGNORE = re.compile(
    r"#\s*(?P<kind>type:\s*ignore|noqa|pragma:\s*no (?:cover|branch))(?P<code>\[[\w, -]+\]|:\s*[A-Z]+\d+[\w, ]*)?(?P<rest>.*)"
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@attrs.frozen
class Finding:
    """One thing that is wrong, at a place that an editor can open."""

    path: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


@attrs.frozen
class Source:
    """One parsed file."""

    path: str
    text: str
    tree: ast.Module

    @classmethod
    def read(cls, root: Path, file: Path) -> Source:
        """The file, with its path as people write it."""
        text = file.read_text(encoding="utf-8")
        return cls(file.relative_to(root).as_posix(), text, ast.parse(text))

    @property
    def in_tests(self) -> bool:
        """Whether only the rules for tests hold."""
        return self.path.startswith("tests/")

    def functions(self) -> Iterator[Function]:
        """All functions and methods, nested ones too."""
        return (node for node in ast.walk(self.tree) if isinstance(node, Function))


def main(root: Path = Path()) -> int:
    """Check every file that is ruled; the number of findings decides."""
    sources = [Source.read(root, file) for folder in RULED for file in sorted((root / folder).rglob("*.py"))]
    findings = sorted(everything(sources), key=lambda finding: (finding.path, finding.line))
    for finding in findings:
        print(finding)
    ours = [source for source in sources if not source.in_tests]
    middle = median_lines(ours)
    if middle > MOST_MEDIAN:
        print(f"the median function has {middle:g} lines; the most is {MOST_MEDIAN}")
    print(f"{len(sources)} files, median function {middle:g} lines, {len(findings)} findings")
    return 1 if findings or middle > MOST_MEDIAN else 0


def everything(sources: Iterable[Source]) -> Iterator[Finding]:
    """What each rule finds in each file."""
    for source in sources:
        yield from ignores(source)
        if source.in_tests:
            yield from claims(source)
            continue
        yield from lengths(source)
        yield from parameters(source)
        yield from names(source)
        yield from docstrings(source)
        if source.path.startswith(PACKAGE):
            for border in BORDERS:
                yield from crossings(source, border)


def body_lines(function: Function) -> int:
    """Lines of a function without its docstring."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def median_lines(sources: Iterable[Source]) -> float:
    """The length of the function in the middle."""
    return statistics.median([body_lines(function) for source in sources for function in source.functions()] or [0])


def lengths(source: Source) -> Iterator[Finding]:
    """Files and functions that are too long to see across."""
    count = len(source.text.splitlines())
    if count > MOST_LINES:
        yield Finding(source.path, MOST_LINES, f"the file has {count} lines; the most is {MOST_LINES}")
    for function in source.functions():
        lines = body_lines(function)
        if lines > MOST_FUNCTION_LINES:
            yield Finding(source.path, function.lineno, f"{function.name} has {lines} lines; the most is {MOST_FUNCTION_LINES}")


def parameters(source: Source) -> Iterator[Finding]:
    """Functions with too many positional parameters."""
    for function in source.functions():
        given = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
        count = len([name for name in given if name not in ("self", "cls")])
        if count > MOST_PARAMETERS:
            text = f"{function.name} takes {count} positional parameters; the most is {MOST_PARAMETERS}"
            yield Finding(source.path, function.lineno, text)


def ignores(source: Source) -> Iterator[Finding]:
    """Ignores without a code or without a reason."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        found = _IGNORE.search(token.string) if token.type == tokenize.COMMENT else None
        if found is None:
            continue
        kind = found["kind"]
        if found["code"] is None and not kind.startswith("pragma"):
            yield Finding(source.path, token.start[0], f"{kind} without a code")
        if len(found["rest"].strip(" #:-")) < 3:
            yield Finding(source.path, token.start[0], f"{kind} without a reason; write it behind, as '# why'")


def names(source: Source) -> Iterator[Finding]:
    """Files, classes and functions with a name that says nothing."""
    named = [(Path(source.path).stem, 1)]
    named += [(node.name, node.lineno) for node in ast.walk(source.tree) if isinstance(node, Definition)]
    for name, line in named:
        words = {word.lower() for word in _WORD.findall(name)}
        for word in sorted(words & BANNED):
            yield Finding(source.path, line, f"{name}: {word!r} says nothing; name what it does")


def docstrings(source: Source) -> Iterator[Finding]:
    """Public modules, classes and functions that say nothing of themselves."""
    if ast.get_docstring(source.tree) is None:
        yield Finding(source.path, 1, "the module has no docstring")
    for node in _public(source.tree.body):
        if ast.get_docstring(node) is None:
            yield Finding(source.path, node.lineno, f"{node.name} has no docstring")


def _public(body: Iterable[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_") and not _is_overload(node):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)


def _is_overload(node: Definition) -> bool:
    return any(isinstance(mark, ast.Name) and mark.id == "overload" for mark in node.decorator_list)


def claims(source: Source) -> Iterator[Finding]:
    """Tests that do not say what they claim."""
    for function in source.functions():
        if function.name.startswith("test_") and ast.get_docstring(function) is None:
            yield Finding(source.path, function.lineno, f"{function.name} does not say what it claims; write it as its docstring")


def crossings(source: Source, border: Border) -> Iterator[Finding]:
    """Uses of what only a few rooms may touch."""
    if source.path.removeprefix(PACKAGE).startswith(border.rooms):
        return
    for node in ast.walk(source.tree):
        used = _used(node)
        if any(name == use or name.startswith(use + ".") for name in used for use in border.uses):
            yield Finding(source.path, getattr(node, "lineno", 1), f"{'/'.join(used)}: {border.why}")


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


if __name__ == "__main__":
    sys.exit(main())
