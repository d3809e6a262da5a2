"""JSON as text, by the standard library's own encoder and decoder, which are set up once and not anew for each text."""

from __future__ import annotations

import json
from collections.abc import Callable
from json import encoder as standard
from typing import Any


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


_make: Callable[..., Any] | None = getattr(standard, "c_make_encoder", None)
_decoder = json.JSONDecoder(parse_constant=_refuse)


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


def parse_text(text: str) -> Any:
    """The document in ``text``; raises ``ValueError`` for anything else, too deep a nesting included."""
    try:
        document, end = _decoder.raw_decode(text) if text[:1] in ("{", "[") else (None, -1)
        if end != len(text):  # blanks around it, or no JSON
            document = _decoder.decode(text)
        return _mended(document) if "\\ud" in text or "\\uD" in text else document
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _mended(value: Any) -> Any:
    """The same without halves of characters, which JSON can name and no encoding can carry."""
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(item) for item in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(item) for name, item in value.items()}
    return value
