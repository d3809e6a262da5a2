"""Regular expressions of JSON schemas that Python's ``re`` can search in a time that is known beforehand.

``re`` tries one way after another, holds the interpreter's lock meanwhile, and for some patterns there are more ways than seconds.
So only those are taken whose ways can be counted: one repetition without an end at most, and that one behind ``^``; no repeated
groups; no lookaround, no references back. They mean what ECMA-262 says: ``\\d`` and ``\\w`` are ASCII, ``$`` is the very end.
https://json-schema.org/draft/2020-12/json-schema-core#section-6.4
"""

from __future__ import annotations

import functools
import re

import attrs

_MOST_PER_CHARACTER = 200
"""Steps of the search for each character of a text."""
_MOST_AT_BEGINNING = 100_000
"""Steps of a search that looks at the beginning of a text only."""
_TOKEN = re.compile(
    r"""(?P<open>\((?:\?:)?(?!\?)) | (?P<close>\)) | (?P<or>\|) | (?P<begin>\^) | (?P<end>\$)
    | (?P<any>\.) | \[(?P<not>\^?+)(?P<set>(?:[^\]\\]|\\.)+)\]
    | (?P<one>[^\\\[\](){}|^$*+?.]|\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.))""",
    re.VERBOSE | re.DOTALL,
)
_TIMES = re.compile(r"(?:([*+?])|\{(\d{1,5})(?:(,)(\d{1,5})?)?\})\??")
_MEMBER = re.compile(r"\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\.|.", re.DOTALL)
_BLANKS = "\\t\\n\\v\\f\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"
_SETS = {"\\d": "0-9", "\\w": "A-Za-z0-9_", "\\s": _BLANKS}
_OTHERS = {"\\D": "0-9", "\\W": "A-Za-z0-9_", "\\S": _BLANKS}
_CONTROLS = {"\\t": "\t", "\\n": "\n", "\\v": "\v", "\\f": "\f", "\\r": "\r"}


class Costly(ValueError):
    """A pattern may take longer than can be said beforehand, or has a form that is not known here; the text says why."""


@functools.lru_cache(maxsize=256)
def cheap_pattern(pattern: str) -> re.Pattern[str]:
    """The compiled pattern; a search takes a few hundred steps at most for each character of a text. Raises :class:`Costly`."""
    reading = _Reading(pattern)
    while reading.at < len(pattern):
        reading.take()
    reading.check()
    return re.compile("".join(reading.output))


@attrs.define
class _Reading:
    """A pattern as far as it was read: what it is for ``re``, and how many ways and steps a search may need."""

    pattern: str
    at: int = 0
    output: list[str] = attrs.field(factory=list)
    depth: int = 0
    anchored: bool = False
    ways: int = 1
    steps: int = 1
    endless: int = 0

    def take(self) -> None:
        """Read one token and how often it is repeated."""
        found = _TOKEN.match(self.pattern, self.at)
        if found is None:
            raise Costly(f"what begins at character {self.at + 1} is not known here")
        self.anchored = self.anchored or (found["begin"] is not None and self.at == 0)
        self.at = found.end()
        self.depth += (found["open"] is not None) - (found["close"] is not None)
        if self.depth < 0:
            raise Costly("a parenthesis is closed that was not opened")
        if found["or"] is not None:
            self.ways *= 2
            self.anchored = self.anchored and self.depth > 0
        self.output.append(_translate(found))
        times = _TIMES.match(self.pattern, self.at)
        if times is not None:
            self._repeat(found, times)
        self.steps += 1

    def _repeat(self, found: re.Match[str], times: re.Match[str]) -> None:
        least, most = _bounds(times)
        if found.lastgroup in ("open", "or", "begin", "end"):
            raise Costly(f"what is repeated at character {times.start() + 1} cannot be repeated")
        if found["close"] is not None and (least, most) != (0, 1):
            raise Costly("a group is repeated")
        if most is None:
            self.endless += 1
        elif most < least:
            raise Costly(f"the repetition at character {times.start() + 1} ends before it begins")
        else:
            self.ways *= most - least + 1
        self.steps += least if most is None else most
        self.output.append(times[0])
        self.at = times.end()

    def check(self) -> None:
        """Raise :class:`Costly` where a search takes too long."""
        if self.depth:
            raise Costly("a parenthesis is not closed")
        if self.endless > 1:
            raise Costly("more than one part is repeated without an end")
        if self.endless and not self.anchored:
            raise Costly("a part is repeated without an end, and the pattern does not begin with ^")
        bounded = self.anchored and not self.endless
        if self.ways * self.steps > (_MOST_AT_BEGINNING if bounded else _MOST_PER_CHARACTER):
            raise Costly("its repetitions can be combined in too many ways")


def _bounds(times: re.Match[str]) -> tuple[int, int | None]:
    sign, least, comma, most = times.groups()
    if sign is not None:
        return {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
    if comma is None:
        return int(least), int(least)
    return int(least), int(most) if most is not None else None


def _translate(found: re.Match[str]) -> str:
    """A token as ``re`` writes it."""
    if found["any"] is not None:
        return "[^\\n\\r\\u2028\\u2029]"
    if found["set"] is not None:
        return f"[{found['not']}{_members(_MEMBER.findall(found['set']))}]"
    one = found["one"]
    if one is not None:
        return f"[{_SETS[one]}]" if one in _SETS else f"[^{_OTHERS[one]}]" if one in _OTHERS else _escape(one)
    return (
        "(?:"
        if found["open"] is not None
        else "\\A"
        if found["begin"] is not None
        else "\\Z"
        if found["end"] is not None
        else found[0]
    )


def _members(members: list[str]) -> str:
    """The inside of a set in brackets."""
    output, place = [], 0
    while place < len(members):
        first = members[place]
        if place + 2 < len(members) and members[place + 1] == "-":
            least, most = _character(first), _character(members[place + 2])
            if most < least:
                raise Costly(f"the range {least}-{most} ends before it begins")
            output.append(f"{_escape(first)}-{_escape(members[place + 2])}")
            place += 3
        else:
            output.append(_SETS[first] if first in _SETS else _escape(first))
            place += 1
    return "".join(output)


def _escape(sign: str) -> str:
    return f"\\U{ord(_character(sign)):08x}"


def _character(sign: str) -> str:
    """The character that a plain one or an escape stands for."""
    if sign in _CONTROLS:
        return _CONTROLS[sign]
    if sign[0] != "\\":
        return sign
    if sign[1] in "ux" and len(sign) > 2:
        return chr(int(sign[2:], 16))
    if sign[1].isalnum() or not sign.isascii():
        raise Costly(f"{sign} is not known here")
    return sign[1]
