"""What a body names that passes as it is: models, and what vendors keep.

A vendor may read a body otherwise than its type says, and a form more leniently than its standard does. So JSON is read whatever it
calls itself, and a form that could be read in two ways is refused.
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs

from ...errors import InvalidRequest
from ..kept_ids import REFERENCES
from .checks import further_models, is_name_of

_MOST_FIELDS = 1000
_MOST_OF_A_HEAD = 4096
_MOST_OF_A_VALUE = 256
_NO_CONTENT = b" \t\r\n\0\xef\xbb\xbf\xff\xfe"
"""Blanks and the marks of encodings that may stand before JSON."""
_PARAMETER = re.compile(r'[ \t]*;[ \t]*([A-Za-z*]{1,40})[ \t]*=[ \t]*(?:"([^"\\]*)"|([^ \t;"\\]+))')
_END = re.compile(rb"\r\n|--")


def is_form(content_type: str) -> bool:
    """Whether a body says that it is a form with parts."""
    return _kind(content_type).startswith("multipart/")


def is_json(content_type: str) -> bool:
    """Whether a body says that it is JSON."""
    return "json" in _kind(content_type)


def document_in(body: bytes, content_type: str) -> Any:
    """The JSON in a body, where it is that, or the lists of a form in one line; ``None`` for anything else.

    Raises :class:`InvalidRequest` for one that is not whole, or has a name twice.
    """
    if is_form(content_type):
        return None
    if not is_json(content_type):
        if _kind(content_type) == "application/x-www-form-urlencoded":
            return _urlencoded(body)
        if body[:256].translate(None, _NO_CONTENT)[:1] not in (b"{", b"["):
            return None
    try:
        return json.loads(body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise InvalidRequest("body: this is not JSON, or has a name twice; send a JSON object") from None


def models_in(body: bytes, content_type: str) -> list[str] | None:
    """The models that a body names, be it JSON or a form; ``None`` for a body that cannot be read."""
    if is_form(content_type):
        return [value for name, value in form_fields(body, content_type) if is_name_of(name, "model", "models", "fallbacks")]
    document = document_in(body, content_type)
    if not isinstance(document, dict):
        return None
    named: list[Any] = [value for name, value in document.items() if is_name_of(name, "model") and value is not None]
    named += further_models(document)
    return named if all(isinstance(one, str) for one in named) else None


def references_in_form(body: bytes, content_type: str) -> set[str]:
    """The ids in the fields of a form that name what a vendor keeps."""
    if not is_form(content_type):
        return set()
    fields = [(name.partition("[")[0], value) for name, value in form_fields(body, content_type)]
    return {value for name, value in fields if name in REFERENCES - {"prompt"}}


def form_fields(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """Names and values of a form with parts. Raises :class:`InvalidRequest` for one that two readers may understand differently."""
    if not body:
        return []
    boundary = _parameters(content_type.partition(";")[1] + content_type.partition(";")[2]).get("boundary", "")
    mark = b"\r\n--" + boundary.encode()
    if not boundary or not body.startswith(mark[2:] + b"\r\n"):
        raise _unclear()
    fields: list[tuple[str, str]] = []
    at = len(mark)
    while len(fields) <= _MOST_FIELDS:
        end = body.find(mark, at - 2)
        head_end = body.find(b"\r\n\r\n", at, min(at + _MOST_OF_A_HEAD, max(end, at)))
        if end < 0 or head_end < 0:
            raise _unclear()
        value = body[head_end + 4 : min(end, head_end + 4 + _MOST_OF_A_VALUE)]
        fields.append((_name_in(body[at:head_end]), value.decode("utf-8", "replace").strip()))
        at = end + len(mark) + 2
        closing = _END.match(body, at - 2)
        if closing is None:
            raise _unclear()
        if closing[0] == b"--":
            if body[at:].strip(b"\r\n"):
                raise _unclear()
            return fields
    raise InvalidRequest(f"body: the form has more than {_MOST_FIELDS} fields; send fewer")


def _name_in(head: bytes) -> str:
    """The name of a part, whose only line of that kind is its ``Content-Disposition``."""
    found = ""
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, text = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name) or re.search(r"[\r\n\0]", text):
            raise _unclear()
        if name.lower() == "content-disposition":
            kind, semicolon, rest = text.partition(";")
            if found or kind.strip().lower() != "form-data":
                raise _unclear()
            found = _parameters(semicolon + rest).get("name", "")
    if not found:
        raise _unclear()
    return found


def _parameters(text: str) -> dict[str, str]:
    """What stands behind the first semicolon of a header, each once."""
    found: dict[str, str] = {}
    at = 0
    text = text.rstrip("; \t")
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None or match[1].lower() in (*found, "name*", "boundary*"):
            raise _unclear()
        found[match[1].lower()] = match[2] if match[2] is not None else match[3]
        at = match.end()
    return found


def _urlencoded(body: bytes) -> dict[str, Any]:
    try:
        found = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise _unclear() from None
    if any(len(values) > 1 for values in found.values()):
        raise InvalidRequest("body: the form has a name twice; give each once")
    return {name: values[0] for name, values in found.items()}


def _kind(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands twice")
    return made


def _unclear() -> InvalidRequest:
    text = 'body: this form can be read in several ways; write each part as Content-Disposition: form-data; name="..."'
    return InvalidRequest(text)
