"""JSON as text, by the standard library's own encoder, which is set up once and not anew for each text."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as standard
from typing import Any

_make: Callable[..., Any] | None = getattr(standard, "c_make_encoder", None)


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
