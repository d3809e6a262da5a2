"""Find keys and other secrets in what a vendor says, whole, in parts, and in the encodings in which they are echoed.

A part has at least :data:`PART` characters. It is found in plain, whatever the case and direction, and behind escapes (of
addresses, JSON, HTML and Python), invisible characters, base64 and hexadecimal digits, one within another too. A secret that is
shorter than a part is found as a word of its own only: as a piece of other words it would take an error's sense away.
"""

from __future__ import annotations

import binascii
import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from string import ascii_lowercase, ascii_uppercase

from .._text import UNSEEN
from ..types import MASK

PART = 8

_PROBE = 4
_STEP = PART - _PROBE + 1
_LONGEST_ID = 40
_DEEP = 3
"""Encodings within each other."""
_HIDING = re.compile(
    r"%(?:25){0,9}[0-9A-Fa-f]{2}|\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|U[0-9A-Fa-f]{8}|u\{[0-9A-Fa-f]{1,6}\}|[\\/\"'])"
    rf"|&(?:#0{{0,20}}\d{{1,7}};?|#[xX]0{{0,20}}[0-9A-Fa-f]{{1,6}};?|[A-Za-z]{{2,8}};)"
    rf"|(?:\b0[xX]|\b[uU]\+00)(?=[0-9A-Fa-f]{{2}}\b)|[{UNSEEN}]+"
)
_NAMES = (
    "amp apos ast bsol colon comma commat dollar equals excl gt lowbar lt num percnt period plus quest quot semi sol verbar vert"
)
_NAMED = dict(zip([f"&{name};" for name in _NAMES.split()], "&'*\\:,@$=!>_<#%.+?\";/||", strict=True))
"""HTML's names of signs that keys have. https://html.spec.whatwg.org/multipage/named-characters.html"""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{11,}")
_URL_SAFE = str.maketrans("-_", "+/")
_LOWER = str.maketrans(ascii_uppercase, ascii_lowercase)
"""Keys are ASCII, and what stands around them keeps its length."""
_HEX = re.compile(r"[0-9A-Fa-f](?:[ :,._-]{0,2}[0-9A-Fa-f]){15,}")
_BETWEEN = " :,._-"
_PRINTED = re.compile(rf"[!-~]{{{PART},}}|(?:[!-~]\0){{{PART - 1},}}[!-~]\0?")
"""What of a decoded text, in UTF-16 too, may hold a part, or an encoding of one."""
_ENCODED = re.compile(
    r"(?:[I-Za-f][C-HS-Xi-nyz0-3][ABEFIJMNQRUVYZcdghklopstwx014589][\w+/-]){2}"
    r"|[AQgw][AB][\w+/-]A[C-H]|(?:[2-7][ :,._-]{0,2}[0-9A-Fa-f][ :,._-]{0,2}){8}",
    re.ASCII,
)
"""What printed characters look like in base64, and in hexadecimal digits.

A part of eight has two whole groups of three in base64, and four in UTF-16, where each second byte is 0.
The first bit of each byte is 0, and one of the next two is 1.
"""
PUBLIC_HEADERS = frozenset(
    {
        *("accept", "accept-encoding", "accept-language", "anthropic-beta", "anthropic-version", "cache-control"),
        *("content-type", "http-referer", "openai-beta", "origin", "referer", "user-agent", "x-title"),
    }
)
"""Headers that hold no secret; their values are words that errors need."""


def of_header(name: str, value: str) -> list[str]:
    """What of a header's value is secret: not the name of its scheme, and of user and password both forms."""
    if name.lower() in PUBLIC_HEADERS:
        return []
    scheme, _, rest = value.strip().partition(" ")
    words = value.split() if not (rest and scheme.isalpha()) else rest.split()
    if scheme.lower() == "basic" and rest:
        with contextlib.suppress(binascii.Error):  # then it is not what it says, and the word itself is looked for
            words += binascii.a2b_base64(rest.strip()).decode("latin-1").split(":", 1)
    return [word for word in words if len(word) >= PART]


class _View:
    """A text behind an encoding; character ``i`` of it stands for ``starts[i]`` to ``ends[i]`` of the text that was given."""

    def __init__(self, text: str, starts: Sequence[int], ends: Sequence[int]) -> None:
        self.text = text
        self.starts = starts
        self.ends = ends

    def within(self) -> Iterator[_View]:
        """The texts that this one may hold."""
        if _HIDING.search(self.text) is not None:
            yield self._without_escapes()
        for run in _BASE64.finditer(self.text):
            for start in range(run.start(), min(run.start() + 4, run.end() - 10)):
                yield from self._from_base64(start, run.end())
        for run in _HEX.finditer(self.text):
            digits = [place for place in range(run.start(), run.end()) if self.text[place] not in _BETWEEN]
            yield from self._from_hex(digits)
            yield from self._from_hex(digits[1:])

    def _without_escapes(self) -> _View:
        """Without escapes and invisible characters."""
        letters: list[str] = []
        starts: list[int] = []
        ends: list[int] = []
        last = 0
        for found in _HIDING.finditer(self.text):
            meant = _decode_escape(found[0])
            letters += [self.text[last : found.start()], meant]
            starts += [*self.starts[last : found.start()], *[self.starts[found.start()]] * len(meant)]
            ends += [*self.ends[last : found.start()], *[self.ends[found.end() - 1]] * len(meant)]
            last = found.end()
        return _View("".join([*letters, self.text[last:]]), [*starts, *self.starts[last:]], [*ends, *self.ends[last:]])

    def _from_base64(self, start: int, end: int) -> Iterator[_View]:
        size = (end - start) // 4 * 4 + (0, 0, 2, 3)[(end - start) % 4]
        packed = self.text[start : start + size].translate(_URL_SAFE)
        for found in _PRINTED.finditer(binascii.a2b_base64(packed + "=" * (-size % 4)).decode("latin-1")):
            places = [start + place // 3 * 4 + place % 3 for place in range(*found.span())]
            yield _View(found[0], [self.starts[place] for place in places], [self.ends[place + 1] for place in places])

    def _from_hex(self, digits: Sequence[int]) -> Iterator[_View]:
        even = len(digits) // 2 * 2
        for found in _PRINTED.finditer(bytes.fromhex("".join([self.text[place] for place in digits[:even]])).decode("latin-1")):
            pairs = range(2 * found.start(), 2 * found.end(), 2)
            starts, ends = [self.starts[digits[one]] for one in pairs], [self.ends[digits[one + 1]] for one in pairs]
            yield _View(found[0], starts, ends)


def _decode_escape(escape: str) -> str:
    """The character of an escape; none for what is invisible, and for the sign of a hexadecimal number."""
    if escape[0] == "%":
        return chr(int(escape[-2:], 16))  # "%2573" is "%73" behind one more encoding
    if escape[0] == "&" and escape[1] != "#":
        return _NAMED.get(escape, escape)
    if escape[0] == "\\" and len(escape) == 2:
        return escape[1]
    if escape[0] not in "&\\":
        return ""
    decimal = escape[0] == "&" and escape[2] not in "xX"
    code = int(escape.lstrip("&#\\uUxX").strip("{};"), 10 if decimal else 16)
    return chr(code) if code < 0x110000 else ""


class Secrets:
    """Some secrets, ready to be looked for."""

    def __init__(self, secrets: Iterable[str]) -> None:
        known = list(secrets)
        self._parts = _pieces([text for secret in known if len(secret) >= PART for text in (secret, secret[::-1])], PART)
        self._probes = _pieces(self._parts, _PROBE)
        short = [re.escape(secret) for secret in known if len(secret) < PART and any(map(str.isalnum, secret))]
        self._words = re.compile(rf"(?<![\w-])(?:{'|'.join(short)})(?![\w-])") if short else None

    def may_be_in(self, identity: str) -> bool:
        """Whether :meth:`mask` may find something in the id of a call; fast, since each answer has one."""
        if len(identity) > _LONGEST_ID or not identity.isascii() or "%" in identity or "&" in identity or "\\" in identity:
            return True
        small = identity.lower()
        if not self._probes.isdisjoint([small[place : place + _PROBE] for place in range(0, len(small) - _PROBE + 1, _STEP)]):
            return True
        return _ENCODED.search(identity) is not None or (self._words is not None and self._words.search(identity) is not None)

    def mask(self, text: str) -> str:
        """The text with three stars in place of what is secret."""
        marks = bytearray(len(text))
        if self._parts:
            self._search(_View(text, range(len(text)), range(1, len(text) + 1)), marks, _DEEP)
        if self._words is not None:
            for word in self._words.finditer(text):
                marks[word.start() : word.end()] = b"\1" * len(word[0])
        return _with_stars(text, marks) if any(marks) else text

    def _search(self, view: _View, marks: bytearray, deep: int) -> None:
        for place in self._find(view.text):
            start, end = view.starts[place], view.ends[place + PART - 1]
            marks[start:end] = b"\1" * (end - start)
        if deep:
            for other in view.within():
                self._search(other, marks, deep - 1)

    def _find(self, text: str) -> Iterator[int]:
        """Where parts begin. In each part a probe begins at a multiple of :data:`_STEP`, so no other place needs a look."""
        text = text.translate(_LOWER)
        for probe in range(0, len(text) - _PROBE + 1, _STEP):
            if text[probe : probe + _PROBE] in self._probes:
                for place in range(max(0, probe - PART + _PROBE), probe + 1):
                    if text[place : place + PART] in self._parts:
                        yield place


def _pieces(texts: Iterable[str], size: int) -> frozenset[str]:
    """All pieces of that size, in lower case."""
    return frozenset([text[place : place + size].translate(_LOWER) for text in texts for place in range(len(text) - size + 1)])


def _with_stars(text: str, marks: bytearray) -> str:
    """The text with three stars for each stretch of marks."""
    kept: list[str] = []
    last = 0
    for found in re.finditer(b"\1+", marks):
        kept += [text[last : found.start()], MASK]
        last = found.end()
    return "".join([*kept, text[last:]])
