"""Text made safe to show: what steers a terminal, reorders, hides or forges becomes an escape, passwords are left out.

Escaped are control characters (C0, C1), marks that reorder text, characters without width, tags, fillers, line and paragraph
separators, and halves of surrogate pairs. https://www.unicode.org/reports/tr36/
"""

from __future__ import annotations

import contextlib
import logging
import re
import traceback
from functools import partial

UNSEEN = (
    "\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\ud800-\udfff\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Those characters, as the inside of a class of a regular expression."""

_UNSEEN = re.compile(f"[{UNSEEN}]")
_JOINERS = "\u200c\u200d"
"""They form letters of some scripts, and emoji; between letters beyond ASCII they stay."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_MOST = 20
_LINKS = {
    True: "The above exception was the direct cause of the following exception:",
    False: "During handling of the above exception, another exception occurred:",
}


def escaped(text: str, *, keep: str = "") -> str:
    """The text with those characters written as escapes; those in ``keep``, such as line feeds, stay."""
    if _UNSEEN.search(text) is None:
        return text
    if "\n" in keep:
        text = text.replace("\r\n", "\n")
    return _UNSEEN.sub(partial(_escape, keep), text)


def _escape(keep: str, found: re.Match[str]) -> str:
    sign = found[0]
    if sign in keep or (sign in _JOINERS and _joins(found.string, found.start())):
        return sign
    code = ord(sign)
    return _SHORT.get(sign) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")


def _joins(text: str, place: int) -> bool:
    sides = (text[place - 1 : place], text[place + 1 : place + 2])
    return all(side and not side.isascii() and _UNSEEN.match(side) is None for side in sides)


_PASSWORD = re.compile(r"([A-Za-z][A-Za-z0-9+.-]{0,40}://[^\s/?#@:]*:)\S*@")
_PASSWORDS = re.compile(r"([?&](?:password|sslpassword)=)[^&\s]*", re.IGNORECASE)


def without_passwords(text: str) -> str:
    """The text with the passwords of addresses left out, also of those that are not written as they should be."""
    if "://" not in text:
        return text
    return _PASSWORDS.sub(r"\1***", _PASSWORD.sub(r"\1***@", text))


_KEYS = (
    r"(?<![A-Za-z0-9])(?:[spr]k[-_]|gsk_|xai-|hf_|pplx-|r8_|nvapi-|gh[pousr]_|github_pat_|glpat-|xox[abprs]-)[A-Za-z0-9_-]{16,}"
    r"|\bAIza[0-9A-Za-z_-]{30,}|\bya29\.[\w-]{20,}|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+|(?<=Bearer )[A-Za-z0-9._~+/-]{16,}=*"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)
"""The shapes that vendors, GitHub, GitLab, Slack, AWS and Google give their keys, JSON Web Tokens, PEM."""


def without_keys(text: str) -> str:
    """The text with three stars in place of what has the shape of a key."""
    return re.sub(_KEYS, "***", text)  # compiled at the first use, since most processes have none


def traced(error: BaseException) -> str:
    """The traceback of an exception and of those behind it; what an exception says stays in one line."""
    parts: list[str] = []
    behind: BaseException | None = error
    while behind is not None and len(parts) < _MOST:
        frames = "".join(traceback.format_tb(behind.__traceback__))
        kind = type(behind)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        parts.append(f"Traceback (most recent call last):\n{frames}{name}: {escaped(without_passwords(str(behind)))}")
        caused = behind.__cause__ is not None
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
        if behind is not None:
            parts.append(_LINKS[caused])
    return "\n\n".join(reversed(parts))


class _Escaping(logging.Filter):
    """Makes what a record says safe, its traceback included, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        with contextlib.suppress(Exception):  # a value of the user's may refuse to be a text; the handler tells of that
            told = record.getMessage()
            safe = escaped(without_passwords(told))
            if safe != told:
                record.msg, record.args = safe, ()
            if record.exc_info and record.exc_info[1] is not None and not record.exc_text:
                record.exc_text = traced(record.exc_info[1])
        return True


_ESCAPING = _Escaping()

TOP = logging.getLogger("llmdispatcher")
"""The logger above those of all rooms."""
TOP.addHandler(logging.NullHandler())  # else Python prints warnings where no logging is set up


def room_logger(room: str) -> logging.Logger:
    """The logger ``llmdispatcher.{room}``, whose lines cannot be forged by what they quote."""
    logger = logging.getLogger(f"llmdispatcher.{room}")
    logger.addFilter(_ESCAPING)
    return logger
