"""JSON in and out: documents are bounded before they are decoded, and read without surrogates that stand alone.

Python's decoder is fast and holds the interpreter's lock from the first byte to the last: a list of ten million lists stops every
thread for seconds. So commas and brackets are counted first.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json import encoder as standard
from typing import Any


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _number(digits: str) -> int | float:
    """A whole number; one with more digits than Python converts is infinite, as one with an exponent would be."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)


_MOST_DIGITS = 4000
_make: Callable[..., Any] | None = getattr(standard, "c_make_encoder", None)
_decoder = json.JSONDecoder(parse_constant=_refuse)
_lenient = json.JSONDecoder(parse_constant=float, parse_int=_number, strict=False)


def json_encoder(
    default: Callable[[Any], Any], *, sort_keys: bool = False, ensure_ascii: bool = True, allow_nan: bool = True
) -> Callable[[Any], str]:
    """What writes a document without blanks; ``default`` gives what JSON can hold of a value that it cannot hold itself.

    Raises what ``json.dumps`` raises, but a ``RecursionError`` for what goes round in a circle. What JSON calls a document is an
    object or a list here.
    """
    settings = json.JSONEncoder(
        default=default,
        sort_keys=sort_keys,
        ensure_ascii=ensure_ascii,
        allow_nan=allow_nan,
        check_circular=False,
        separators=(",", ":"),
    )
    if _make is None:  # an interpreter without the accelerator
        return settings.encode
    quoted = standard.encode_basestring_ascii if ensure_ascii else standard.encode_basestring
    write = _make(None, default, quoted, None, ":", ",", sort_keys, False, allow_nan)
    return lambda document: "".join(write(document, 0))


MOST_MEMBERS = 200_000
"""Members of objects and lists that a document may have in all: the decoder stops every thread while it makes them."""
MOST_OBJECTS = 10_000
"""Objects in an answer: what reads them afterwards takes some 50 µs for each."""
MOST_DEPTH = 100
"""Objects and lists within each other."""
_LEVEL = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class TooMuch(ValueError):
    """A document has more members, or is nested deeper, than it may; the text says which."""


def count_members(text: str, most: int = MOST_MEMBERS, objects: int | None = None) -> int:
    """Return how many members the JSON in ``text`` has, or a few more. Raises :class:`TooMuch` for more than ``most``.

    Also for more than so many ``objects``, and for a nesting deeper than :data:`MOST_DEPTH`. Nothing is decoded: commas and
    brackets are counted, which takes a thousandth of the time; those within strings are left out only where they would make the
    difference.
    """
    opened = text.count("[") + text.count("{")
    members = opened + text.count(",")
    return members if members <= most and opened <= MOST_DEPTH else _count_outside_strings(text, most, objects)


def _count_outside_strings(text: str, most: int, objects: int | None) -> int:
    unescaped = text.replace("\\\\", "").replace('\\"', "")
    if unescaped.count('"') > 4 * (most + 1):  # a member has two strings at most, its name and its value
        raise TooMuch(f"has more than {most:,} members")
    outside = "".join(unescaped.split('"')[::2])
    brackets = outside.encode("ascii", "replace").translate(_LEVEL, _NO_BRACKETS)
    members = outside.count(",") + brackets.count(b"[")
    if members > most:
        raise TooMuch(f"has more than {most:,} members")
    if objects is not None and outside.count("{") > objects:
        raise TooMuch(f"has more than {objects:,} objects")
    for _level in range(MOST_DEPTH):
        shorter = brackets.replace(b"[]", b"")
        if len(shorter) == len(brackets):
            break
        brackets = shorter
    if b"[]" in brackets or brackets.count(b"[") > MOST_DEPTH:
        raise TooMuch(f"is nested deeper than {MOST_DEPTH} levels")
    return members


def parse_text(
    text: str, most: int | None = MOST_MEMBERS, *, objects: int | None = None, lenient: bool = False, halves: bool = False
) -> Any:
    """The document in ``text``; raises ``ValueError`` for anything else, :class:`TooMuch` for one of more than ``most`` members.

    ``objects``, where given, is the most objects. ``None`` for ``most`` is for a text that was counted already. ``lenient`` reads
    the numbers that Python's own JSON writes and JSON does not know (NaN, Infinity), those of thousands of digits, and control
    characters within a string. ``halves`` leaves lone surrogates as they are, for a caller that joins them and then calls
    :func:`mend`.
    """
    if most is not None:
        count_members(text, most, objects)
    try:
        document, end = _decoder.raw_decode(text) if text[:1] in ("{", "[") else (None, -1)
        if end != len(text):  # blanks around it, or no JSON
            document = _decoder.decode(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        if not lenient:
            raise
        document = _lenient.decode(text)
    return mend(document) if not halves and ("\\ud" in text or "\\uD" in text) else document


def parse_several(text: str, most: int | None = None) -> list[Any] | None:
    """The documents that stand one behind another; ``None`` where anything else does, and for more than ``most`` members.

    Without ``most`` the text was counted already. They are read as ``lenient`` says; lone surrogates are left as they are.
    """
    documents: list[Any] = []
    place, end = len(text) - len(text.lstrip()), len(text.rstrip())
    try:
        if most is not None:
            count_members(text, most)
        while place < end:
            document, place = _lenient.raw_decode(text, place)
            documents.append(document)
            while place < end and text[place].isspace():
                place += 1
    except (ValueError, RecursionError):
        return None
    return documents


def mend(value: Any) -> Any:
    """Return a document without surrogates that stand alone, which JSON can name and no encoding can carry."""
    if isinstance(value, str):
        return value if value.isascii() else _replace_in_text(value)
    if isinstance(value, list):
        return [mend(item) for item in value]
    if isinstance(value, dict):
        return {mend(name): mend(item) for name, item in value.items()}
    return value


def _replace_in_text(text: str) -> str:
    """Piece by piece, since the codec stops every thread, and takes long over many surrogates; pairs are joined."""
    pieces = [text[place : place + _PIECE] for place in range(0, len(text), _PIECE)]
    return "".join([piece.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for piece in pieces])


_PIECE = 8192


def has_null(document: Any) -> bool:
    """Return whether a null is anywhere in a document; False for one that contains itself."""
    todo: list[Any] = [document] if type(document) is dict else []
    for one in todo:
        for inner in one.values() if type(one) is dict else one:
            if inner is None:
                return True
            if type(inner) is dict or type(inner) is list:
                todo.append(inner)
        if len(todo) > MOST_MEMBERS:
            return False
    return False


_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^"]+', re.DOTALL)
_ESCAPE = re.compile(r"\\(u[0-9a-fA-F]{4}|.)", re.DOTALL)
_WORD = re.compile(r"[-+]?\b(?:nan|inf|infinity|none|undefined|nil|null)\b|\bTrue\b|\bFalse\b|,(?=\s*[}\]])", re.IGNORECASE)
_PLAIN = frozenset('"\\/bfnrt')
_MOST_RELAXED = 1 << 20


def repair(text: str) -> str | None:
    """Return what a program wrote almost as JSON, as JSON; ``None`` where it cannot be read even so.

    Words of other languages for null, true and false, numbers that are none, commas behind the last member, and escapes that JSON
    does not know.
    """
    if len(text) > _MOST_RELAXED:
        return None
    fixed = "".join([_fix_escapes(token) if token[0] == '"' else _WORD.sub(_word, token) for token in _TOKEN.findall(text)])
    try:
        _lenient.decode(fixed)
    except (ValueError, RecursionError):
        return None
    return fixed


def _fix_escapes(token: str) -> str:
    return _ESCAPE.sub(_escape, token) if "\\" in token else token


def _escape(found: re.Match[str]) -> str:
    sign = found.group(1)
    if sign == "'":
        return sign
    return found.group() if sign in _PLAIN or len(sign) > 1 else "\\" + found.group()


def _word(found: re.Match[str]) -> str:
    word = found.group().lower()
    return word if word in ("true", "false") else "" if word == "," else "null"
