"""What people see: plain lines on stderr, and text of models without the characters that would steer a terminal."""

from __future__ import annotations

import json
import re
import sys
from typing import Any, TextIO

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes: the last is what shells expect after Ctrl-C."""

# C0 and C1 controls but for tab and line feed, and the marks that reorder text.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class UsageError(Exception):
    """The user can mend this; the text says how."""


class Failed(Exception):
    """What was asked for cannot be done; the text says why. Exit code 1."""


def complain(text: str) -> None:
    """One line of trouble."""
    say(f"llmdispatcher: {text}")


def say(text: str) -> None:
    """One line beside the output."""
    print(plain(text), file=sys.stderr, flush=True)


def plain(text: str) -> str:
    """The text without control characters."""
    return _STEERING.sub("", text)


def json_text(value: Any) -> str:
    """JSON that people can read, with what would steer a terminal written as escapes; money is text."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(text: str, stream: TextIO) -> str:
    """The text as a stream may get it: cleaned for a terminal, untouched for a file or a pipe."""
    return plain(text) if stream.isatty() else text
