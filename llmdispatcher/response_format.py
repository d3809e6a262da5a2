"""What form an answer is to have: a class or a schema of the user's, in the shape that every codec reads.

The shape is OpenAI's ``{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}``; the class goes along with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .errors import InvalidRequest
from .json_schema import has_fields, is_strict, schema_of

_SCHEMAS = ("object", "array", "string", "integer", "number", "boolean", "null")
_SCHEMA_WORDS = frozenset({"$ref", "anyOf", "properties"})
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


class ResponseFormat(dict[str, Any]):
    """A response format in OpenAI's shape that remembers the class it was made of; ``None`` where it was a schema."""

    kind: type | None = None

    @classmethod
    def of_class(cls, kind: type) -> ResponseFormat:
        """The form of an answer that makes an instance of ``kind``; strict where the vendors' strict modes can take it."""
        made = cls._named(kind.__name__, schema_of(kind, strict=True))
        made.kind = kind
        return made

    @classmethod
    def of_schema(cls, schema: Mapping[str, Any]) -> ResponseFormat:
        """The form of an answer that fits a bare JSON schema."""
        return cls._named(str(schema.get("title") or "answer"), schema)

    @classmethod
    def _named(cls, name: str, schema: Mapping[str, Any]) -> ResponseFormat:
        described: dict[str, Any] = {"name": _NOT_IN_NAMES.sub("_", name)[:64], "schema": schema}
        if is_strict(schema):
            described["strict"] = True
        return cls(type="json_schema", json_schema=described)


def form_of(value: Any) -> Any:
    """A request's ``response_format`` as codecs read it; what is neither class nor schema stays as it is."""
    if value is None or isinstance(value, ResponseFormat):
        return value
    if isinstance(value, Mapping):
        bare = value.get("type") in _SCHEMAS or ("type" not in value and value.keys() & _SCHEMA_WORDS)
        return ResponseFormat.of_schema(value) if bare else value
    if has_fields(value):
        return ResponseFormat.of_class(value)
    raise InvalidRequest(
        f"response_format: {getattr(value, '__name__', type(value).__name__)} is no form of an answer; give a class made with"
        " attrs, dataclasses or TypedDict, a JSON schema, or {'type': 'json_object'}"
    )
