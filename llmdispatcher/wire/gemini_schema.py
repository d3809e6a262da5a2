"""Schemas in the dialect of OpenAPI that Google's older fields speak, as JSON schemas. https://ai.google.dev/api/caching#Schema"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_WITHIN = frozenset({"items", "anyOf", "additionalProperties", "prefixItems", "not", "oneOf", "allOf"})
_BY_NAME = frozenset({"properties", "$defs", "defs", "definitions", "patternProperties"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_NOT_JSON_SCHEMA = frozenset({"nullable", "propertyOrdering", "property_ordering"})
_NAMES = {
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "prefix_items": "prefixItems",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
}


def json_schema(schema: Any) -> Any:
    """The same in JSON schema: types in lower case, ``nullable`` as a type, counts as numbers."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name not in _NOT_JSON_SCHEMA:
            name = _NAMES.get(name) or name
            found[name] = _value(name, value)
    return _or_null(found) if schema.get("nullable") is True else found


def _value(name: str, value: Any) -> Any:
    if name == "type":
        return _types(value)
    if name in _WITHIN:
        return json_schema(value)
    if name in _BY_NAME and isinstance(value, Mapping):
        return {inner: json_schema(described) for inner, described in value.items()}
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value


def _types(value: Any) -> Any:
    if isinstance(value, list):
        return [_types(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
