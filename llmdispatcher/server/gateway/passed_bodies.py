"""What a body names that passes as it is: models, and what vendors keep.

A vendor may read a body otherwise than its type says, and a form more leniently than its standard does. So JSON is read whatever it
calls itself, and a form that could be read in two ways is refused. A file of requests (JSON Lines, as batches have them) is read
line by line, and refused where that cannot be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from ...errors import InvalidRequest
from ..kept_ids import ARGUMENTS, REFERENCES, references_in
from .checks import FURTHER, check_members, further_models, is_name_of

_MOST_FIELDS = 1000
_MOST_OF_A_HEAD = 4096
_MOST_OF_A_VALUE = 256
_MOST_LINES = 50_000
"""Requests in one file, which is what OpenAI takes."""
_MOST_NAMES = 1000
_JSON_BEGINS = re.compile(rb"[ \t\r\n\0\xef\xbb\xbf\xff\xfe]*[{\[]")
"""JSON behind blanks and the marks of encodings."""
_LINE = re.compile(rb"[^\r\n]+")
_OF_LINES = (".jsonl", ".ndjson", ".json")
_NO_REQUESTS = frozenset({"fine-tune", "evals", "assistants", "user_data", "vision"})
"""Purposes of a file whose lines no vendor takes for requests."""
_PARAMETER = re.compile(r'[ \t]*;[ \t]*([A-Za-z*]{1,40})[ \t]*=[ \t]*(?:"([^"\\]*)"|([^ \t;"\\]+))')
_END = re.compile(rb"\r\n|--")


def is_form(content_type: str) -> bool:
    """Whether a body says that it is a form with parts."""
    return _kind(content_type).startswith("multipart/")


def is_json(content_type: str) -> bool:
    """Whether a body says that it is one JSON document."""
    return "json" in _kind(content_type) and not _is_lines(content_type)


def document_in(body: bytes, content_type: str) -> Any:
    """The JSON in a body, where it is that, or the lists of a form in one line; ``None`` for anything else.

    Raises :class:`InvalidRequest` for one that is not whole, or has a name twice, and :class:`GatewayError` for one that is too
    deep, or has too many members.
    """
    if is_form(content_type) or _is_lines(content_type):
        return None
    if not is_json(content_type):
        if _kind(content_type) == "application/x-www-form-urlencoded":
            return _urlencoded(body)
        if _JSON_BEGINS.match(body) is None:
            return None
        check_members(body)  # as it was where the body says that it is JSON
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_once)  # the bounds are counted in UTF-8
    except (ValueError, RecursionError):
        raise InvalidRequest("body: this is not JSON, or has a name twice; send a JSON object") from None


class NamedInFiles(NamedTuple):
    """What the requests in the files of a body name: models, and ids of what vendors keep."""

    models: frozenset[str]
    ids: frozenset[str]


def named_in_files(body: bytes, content_type: str) -> NamedInFiles:
    """What the lines of a body, or of the files in a form, name.

    Raises :class:`InvalidRequest` for lines that are not JSON objects, or name something that cannot be read.
    """
    models: set[str] = set()
    ids: set[str] = set()
    for start, end in _files_of_lines(body, content_type):
        for number, line in enumerate(_lines(body, start, end), 1):
            named = _models_within(line)
            if named is None or number > _MOST_LINES:
                raise _unread_line(number)
            models.update(named)
            ids |= references_in(line)
            if len(models) + len(ids) > _MOST_NAMES:
                raise InvalidRequest(f"body: its lines name more than {_MOST_NAMES:,} models and ids; send several files")
    return NamedInFiles(frozenset(models), frozenset(ids))


def _files_of_lines(body: bytes, content_type: str) -> Iterator[tuple[int, int]]:
    """Where the files of lines stand in a body."""
    if _is_lines(content_type):
        yield 0, len(body)
    if not is_form(content_type):
        return
    parts = _parts(body, content_type)
    purposes = [part.text(body) for part in parts if is_name_of(part.name, "purpose")]
    if len(purposes) == 1 and purposes[0] in _NO_REQUESTS:
        return
    for part in parts:
        named = part.file is not None and part.file.lower().endswith(_OF_LINES)
        begins = (part.file is not None or purposes) and _JSON_BEGINS.match(body, part.start, part.end)
        if named or begins or (purposes and (part.file is not None or part.name in ("file", "data"))):
            yield part.start, part.end


def _lines(body: bytes, start: int, end: int) -> Iterator[dict[str, Any]]:
    """The objects in the lines of a text, or the one object that all of it is. Only one is in memory at a time."""
    at = start + 3 if body.startswith(b"\xef\xbb\xbf", start, end) else start
    number = 0
    for found in _LINE.finditer(body, at, end):
        if not found[0].strip(b" \t"):
            continue
        number += 1
        line = _object(found[0])
        if line is None and number == 1:
            line, at = _object(body[at:end]), end  # written over several lines
        if line is None:
            raise _unread_line(number)
        yield line
        if at == end:
            return


def _object(text: bytes) -> dict[str, Any] | None:
    check_members(text)
    try:
        found = json.loads(text.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _unread_line(number: int) -> InvalidRequest:
    text = f"body: line {number} of the file cannot be looked into; send one JSON object a line, {_MOST_LINES:,} lines at most"
    return InvalidRequest(text)


def check_whole(path: str, document: Any) -> None:
    """Raise :class:`InvalidRequest` for the beginning of a file of requests that comes in parts: nobody could read its lines."""
    if re.search(r"/uploads(?:/|$)", path) and isinstance(document, Mapping):
        purposes = [value for name, value in document.items() if is_name_of(str(name), "purpose")]
        if any(one not in _NO_REQUESTS for one in purposes):
            raise InvalidRequest("purpose: a file of requests is looked into here; send it whole, to the path of files")


def models_in(body: bytes, content_type: str) -> list[str] | None:
    """The models that a body names, be it JSON or a form; ``None`` for a body that cannot be read."""
    if is_form(content_type):
        fields = [(name.partition("[")[0], value) for name, value in form_fields(body, content_type)]
        return [value for name, value in fields if is_name_of(name, "model", *FURTHER)]
    if _is_lines(content_type):
        return []
    document = document_in(body, content_type)
    if not isinstance(document, dict):
        return None
    named: list[Any] = [value for name, value in document.items() if is_name_of(name, "model") and value is not None]
    return _models_within(document) if all(isinstance(one, str) for one in named) else None


def _models_within(document: Any) -> list[str] | None:
    """The models that a document names at any place where a vendor may read one; ``None`` where one cannot be read."""
    found: list[str | None] = []
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, Mapping):
            found += [value for name, value in one.items() if is_name_of(name, "model") and isinstance(value, str)]
            found += further_models(one)
            waiting += [
                inner
                for name, inner in one.items()
                if name != "metadata" and not (name in ARGUMENTS and isinstance(inner, Mapping))
            ]
    named = [one for one in found if one is not None]
    return named if len(named) == len(found) else None


def references_in_form(body: bytes, content_type: str) -> set[str]:
    """The ids in the fields of a form that name what a vendor keeps."""
    if not is_form(content_type):
        return set()
    fields = [(name.partition("[")[0], value) for name, value in form_fields(body, content_type)]
    return {value for name, value in fields if name in REFERENCES - {"prompt"}}


def form_fields(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """Names and values of a form with parts. Raises :class:`InvalidRequest` for one that two readers may understand differently."""
    return [(part.name, part.text(body)) for part in _parts(body, content_type)]


class _Part(NamedTuple):
    """A part of a form: its name, the name of its file, and where its content stands."""

    name: str
    file: str | None
    start: int
    end: int

    def text(self, body: bytes) -> str:
        """The beginning of its content."""
        return body[self.start : min(self.end, self.start + _MOST_OF_A_VALUE)].decode("utf-8", "replace").strip()


def _parts(body: bytes, content_type: str) -> list[_Part]:
    if not body:
        return []
    boundary = _parameters(content_type.partition(";")[1] + content_type.partition(";")[2]).get("boundary", "")
    mark = b"\r\n--" + boundary.encode()
    if not boundary or not body.startswith(mark[2:] + b"\r\n"):
        raise _unclear()
    parts: list[_Part] = []
    at = len(mark)
    while len(parts) <= _MOST_FIELDS:
        end = body.find(mark, at - 2)
        head_end = body.find(b"\r\n\r\n", at, min(at + _MOST_OF_A_HEAD, max(end, at)))
        if end < 0 or head_end < 0:
            raise _unclear()
        parts.append(_Part(*_names_in(body[at:head_end]), head_end + 4, end))
        at = end + len(mark) + 2
        closing = _END.match(body, at - 2)
        if closing is None:
            raise _unclear()
        if closing[0] == b"--":
            if body[at:].strip(b"\r\n"):
                raise _unclear()
            return parts
    raise InvalidRequest(f"body: the form has more than {_MOST_FIELDS} fields; send fewer")


def _names_in(head: bytes) -> tuple[str, str | None]:
    """The name of a part and of its file, whose only line of that kind is its ``Content-Disposition``."""
    found: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n"):
        name, colon, text = line.partition(":")
        if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name) or re.search(r"[\r\n\0]", text):
            raise _unclear()
        if name.lower() == "content-transfer-encoding" and text.strip().lower() not in ("binary", "8bit", "7bit"):
            raise _unclear()
        if name.lower() == "content-disposition":
            kind, semicolon, rest = text.partition(";")
            if found or kind.strip().lower() != "form-data":
                raise _unclear()
            found = _parameters(semicolon + rest)
    if not found.get("name"):
        raise _unclear()
    return found["name"], found.get("filename", found.get("filename*"))


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


def _is_lines(content_type: str) -> bool:
    return re.search(r"jsonl|ndjson|json-?lines|json-seq", _kind(content_type)) is not None


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
