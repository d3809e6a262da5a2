"""Rename public names by the table ``renames.tsv``, on whatever layout of the package; deleted when the move is over.

``python -m scripts.rename`` changes files in place, once; running it again changes nothing. A row is: kinds, old, new, where.

Kinds, several with commas: ``name`` (every NAME token, but for the module path of an import, and ``re.X`` and ``typing.X``),
``attr`` (after a dot), ``keyword`` (``x=`` in a call), ``member`` (declared in a class), ``within`` (everywhere in a class),
``string`` (a literal that is that word), ``docs`` (the exact word in code spans and fences of pages, in code spans of docstrings
and comments), ``text`` (an exact piece of text in literals and pages, such as programs in strings).

Where, several with semicolons: ``file=`` a regular expression that the file holds, ``class=`` the class of ``member`` and
``within`` (``*`` is any), ``call=`` a regular expression of the called name, ``on=`` one of what stands before the dot,
``while=`` a class that must still be defined in the package.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "scripts" / "renames.tsv"
OURS = {
    "scripts/rename.py",
    "scripts/rename_hand.py",
    "scripts/rename_texts.py",
    "scripts/renames.tsv",
    "scripts/retired.txt",
    "CHANGELOG.md",
}
FOREIGN = {"re", "typing", "t"}
SPAN = re.compile(r"``[^`]+``|`[^`\n]+`")
SKIPPED = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.COMMENT}


@attrs.frozen
class Row:
    """One row of the table."""

    kinds: frozenset[str]
    old: str
    new: str
    file: re.Pattern[str] | None = None
    classes: frozenset[str] = frozenset()
    call: re.Pattern[str] | None = None
    on: re.Pattern[str] | None = None
    still: str = ""

    @property
    def word(self) -> re.Pattern[str]:
        """The old text as a whole word."""
        before = r"(?<!\w)" if self.old[0].isalnum() or self.old[0] == "_" else ""
        after = r"(?!\w)" if self.old[-1].isalnum() or self.old[-1] == "_" else ""
        return re.compile(before + re.escape(self.old) + after)


def rows() -> list[Row]:
    """Read the table."""
    found = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        kinds, old, new, where = (*line.split("\t"), "")[:4]
        given = dict(one.strip().split("=", 1) for one in where.split(";") if one.strip())
        file, call, on = ([re.compile(given[key])] if key in given else [None] for key in ("file", "call", "on"))
        classes = frozenset(given.get("class", "").split("|")) - {""}
        found.append(Row(frozenset(kinds.split(",")), old, new, file[0], classes, call[0], on[0], given.get("while", "")))
    return found


@attrs.define
class Edits:
    """Spans of a text and what takes their place."""

    text: str
    spans: dict[tuple[int, int], str] = attrs.field(factory=dict)
    used: list[Row] = attrs.field(factory=list)

    def put(self, start: int, end: int, row: Row, new: str | None = None) -> None:
        """Replace a span, unless a row before has replaced some of it."""
        if not any(start < taken_end and taken < end for taken, taken_end in self.spans):
            self.spans[start, end] = row.new if new is None else new
            self.used.append(row)

    def done(self) -> str:
        """Return the changed text."""
        text = self.text
        for (start, end), new in sorted(self.spans.items(), reverse=True):
            text = text[:start] + new + text[end:]
        return text


@attrs.frozen
class Tok:
    """A token with its place in the text."""

    kind: int
    text: str
    start: int
    end: int
    line: int


def tokens_of(text: str) -> list[Tok]:
    """Return the tokens of a program."""
    begins = [0]
    for line in text.splitlines(keepends=True):
        begins.append(begins[-1] + len(line))
    return [
        Tok(one.type, one.string, begins[one.start[0] - 1] + one.start[1], begins[one.end[0] - 1] + one.end[1], one.start[0])
        for one in tokenize.generate_tokens(io.StringIO(text).readline)
    ]


def module_paths(tokens: Sequence[Tok]) -> set[int]:
    """Which tokens are part of the path of a module that is imported."""
    found: set[int] = set()
    at_start, state = True, ""
    for number, token in enumerate(tokens):
        if token.kind in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL) or token.text == ";":
            at_start, state = True, "" if token.kind != tokenize.NL else state
            continue
        if at_start and token.text in ("from", "import"):
            state = "path"
        elif state == "path" and token.text in ("import", "as"):
            state = ""
        elif state == "path":
            found.add(number)
        at_start = False
    return found


def receiver(tokens: Sequence[Tok], dot: int) -> str:
    """The text of what stands before a dot."""
    at, depth = dot - 1, 0
    while at >= 0:
        text = tokens[at].text
        if text in (")", "]"):
            depth += 1
        elif text in ("(", "["):
            if depth == 0:
                break
            depth -= 1
        elif depth == 0:
            word = tokens[at].kind in (tokenize.NAME, tokenize.STRING)
            if not (word or text == ".") or (word and tokens[at + 1].kind == tokenize.NAME):
                break
        at -= 1
    return "".join(token.text for token in tokens[at + 1 : dot])


def calls_of(tokens: Sequence[Tok]) -> list[str | None]:
    """For each token the name that is called where it is an argument, empty for other brackets, ``None`` outside of any."""
    stack: list[str] = []
    found: list[str | None] = []
    for number, token in enumerate(tokens):
        if token.text in (")", "]", "}") and token.kind == tokenize.OP and stack:
            stack.pop()
        found.append(stack[-1] if stack else None)
        if token.text in ("(", "[", "{") and token.kind == tokenize.OP:
            called = token.text == "(" and number > 0 and tokens[number - 1].kind == tokenize.NAME
            defined = called and number > 1 and tokens[number - 2].text in ("def", "class")
            stack.append(tokens[number - 1].text if called and not defined else "")
    return found


def classes_of(text: str) -> Iterator[tuple[str, int, int, set[int]]]:
    """Name, first and last line of each class, and the lines on which its members are declared."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            members = {
                one.lineno
                for one in node.body
                if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.AnnAssign | ast.Assign)
            }
            yield node.name, node.lineno, node.end_lineno or node.lineno, members


def code_spans(edits: Edits, start: int, end: int, row: Row) -> None:
    """Rename in the code spans of a docstring, a comment or a page."""
    for span in SPAN.finditer(edits.text, start, end):
        for word in row.word.finditer(edits.text, span.start(), span.end()):
            edits.put(word.start(), word.end(), row)


def python(text: str, table: Sequence[Row]) -> Edits:
    """Rename in a program."""
    return program(text, [row for row in table if row.file is None or row.file.search(text)])


def program(text: str, meant: Sequence[Row]) -> Edits:
    """Rename by rows that concern this program."""
    edits, tokens = Edits(text), tokens_of(text)
    paths, calls = module_paths(tokens), calls_of(tokens)
    classes = list(classes_of(text))
    strangers = set(re.findall(r"^from (?:re|typing) import (.*)$", text, re.M))
    foreign = {name.strip() for line in strangers for name in line.split(",")}
    for number, token in enumerate(tokens):
        if token.kind in SKIPPED - {tokenize.COMMENT}:
            continue
        at = Place(tokens, number, calls[number], [one for one in classes if one[1] <= token.line <= one[2]])
        if token.kind == tokenize.NAME and number not in paths:
            row = next((row for row in meant if row.old == token.text and row.old not in foreign and at.fits(row)), None)
            if row is not None:
                edits.put(token.start, token.end, row)
        elif token.kind in (tokenize.STRING, tokenize.COMMENT):
            literal(edits, token, meant, at)
    return edits


@attrs.frozen
class Place:
    """Where a token stands."""

    tokens: Sequence[Tok]
    number: int
    call: str | None
    classes: Sequence[tuple[str, int, int, set[int]]]

    def inside(self, row: Row) -> bool:
        """Whether it stands in a class that the row names."""
        return any(name in row.classes for name, *_ in self.classes)

    def fits(self, row: Row) -> bool:
        """Whether the row renames a name that stands here."""
        token, before, after = self.tokens[self.number], self.tokens[self.number - 1].text, self.tokens[self.number + 1].text
        dotted = before == "."
        if "name" in row.kinds and not (dotted and self.tokens[self.number - 2].text in FOREIGN):
            return True
        if "within" in row.kinds and self.inside(row):
            return not dotted or receiver(self.tokens, self.number - 1) in ("self", "cls")
        if "attr" in row.kinds and dotted:
            return row.on is None or row.on.search(receiver(self.tokens, self.number - 1)) is not None
        if "keyword" in row.kinds and after == "=" and self.call and not dotted:
            return row.call is None or row.call.search(self.call) is not None
        if "member" in row.kinds and not dotted:
            return any(
                (name in row.classes or "*" in row.classes) and token.line in members for name, _, _, members in self.classes
            ) and (before in ("def", "", "\n") or self.tokens[self.number - 1].kind in SKIPPED)
        return False


def literal(edits: Edits, token: Tok, table: Sequence[Row], at: Place) -> None:
    """Rename in a string or a comment."""
    prefix = re.match(r"[A-Za-z]*", token.text)
    marks = prefix[0].lower() if prefix and token.kind == tokenize.STRING else ""
    bare = token.text[len(marks) :].strip("\"'") if token.kind == tokenize.STRING else ""
    if "\n" in bare and "import " in bare:
        nested(edits, token, len(marks) + 3, table)
    for row in table:
        if "string" in row.kinds and bare == row.old:
            edits.put(token.start, token.end, row, token.text.replace(row.old, row.new))
        if "docs" in row.kinds or ("within" in row.kinds and at.inside(row)):
            code_spans(edits, token.start, token.end, row)
        if "text" in row.kinds and token.kind == tokenize.STRING:
            for piece in row.word.finditer(edits.text, token.start, token.end):
                edits.put(piece.start(), piece.end(), row)
        if "f" in marks:
            expressions(edits, token, row, at)


def nested(edits: Edits, token: Tok, at: int, table: Sequence[Row]) -> None:
    """Rename in a program that is a string of this one; other texts are no Python and are left alone."""
    inner = re.sub(r"(?<!\{)\{[^{}\n]+\}(?!\})", lambda field: "_" * len(field[0]), token.text[at:-3])
    inner = inner.replace("{{", " {").replace("}}", "} ")
    for ahead in ("", "if True:\n"):
        try:
            found = program(ahead + inner, table)
        except (SyntaxError, tokenize.TokenError):
            continue
        for (start, end), new in found.spans.items():
            edits.spans[token.start + at + start - len(ahead), token.start + at + end - len(ahead)] = new
        edits.used += found.used
        return


def expressions(edits: Edits, token: Tok, row: Row, at: Place) -> None:
    """Names in the replacement fields of an f-string."""
    for field in re.finditer(r"(?<!\{)\{([^{}]+)\}", token.text):
        for word in re.finditer(rf"(?<!\w){re.escape(row.old)}(?!\w)", field[1]):
            dotted = re.search(r"([\w.\[\]()]+)\.$", field[1][: word.start()])
            fits = "name" in row.kinds or ("within" in row.kinds and at.inside(row))
            fits = fits or ("attr" in row.kinds and dotted is not None and (row.on is None or bool(row.on.search(dotted[1]))))
            if fits:
                edits.put(token.start + field.start(1) + word.start(), token.start + field.start(1) + word.end(), row)


def page(text: str, table: Sequence[Row]) -> Edits:
    """Rename in a page of documentation."""
    edits = Edits(text)
    fences = [(one.start(), one.end()) for one in re.finditer(r"^```.*?^```", text, re.M | re.S)]
    for row in table:
        if row.file is not None and not row.file.search(text):
            continue
        if "text" in row.kinds:
            for piece in row.word.finditer(text):
                edits.put(piece.start(), piece.end(), row)
        if "docs" in row.kinds:
            code_spans(edits, 0, len(text), row)
            for start, end in fences:
                for word in row.word.finditer(text, start, end):
                    edits.put(word.start(), word.end(), row)
    return edits


def files() -> Iterator[Path]:
    """Yield the files that may be changed."""
    listed = subprocess.run(["git", "ls-files", "*.py", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in listed.splitlines():
        if name not in OURS and (ROOT / name).is_file():
            yield ROOT / name


def main() -> int:
    """Rename in all files, and print how often each row was used."""
    package = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "llmdispatcher").rglob("*.py"))
    table = [row for row in rows() if not row.still or re.search(rf"^class {row.still}\b", package, re.M)]
    counts: Counter[tuple[str, str]] = Counter()
    for path in files():
        text = path.read_text(encoding="utf-8")
        edits = page(text, table) if path.suffix == ".md" else python(text, table)
        counts.update((row.old, row.new) for row in edits.used)
        if edits.spans:
            path.write_text(edits.done(), encoding="utf-8")
    for row in table:
        print(f"{counts[row.old, row.new]:5}  {row.old} -> {row.new}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
