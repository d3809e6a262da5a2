"""Schemas of Python's types."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal, NewType, NotRequired, Optional, TypedDict

import attrs
import pytest

from llmdispatcher import InvalidRequest
from llmdispatcher.types import mismatch, schema_of
from llmdispatcher.types.schema import has_fields, is_strict

from ..cases import each

Celsius = NewType("Celsius", float)


class Unit(enum.Enum):
    METRIC = "metric"
    IMPERIAL = "imperial"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Mixed(enum.Enum):
    NONE = None
    ONE = 1


class Odd(enum.Enum):
    PAIR = (1, 2)


@attrs.frozen
class Point:
    """Where it is.

    More of it.
    """

    x: int
    y: Annotated[int, "Upwards."] = 0
    label: str = attrs.field(default="", metadata={"description": "Its name."})
    hidden: int = attrs.field(init=False, default=7)


@dataclasses.dataclass
class Box:
    corner: Point
    sides: list[float] = dataclasses.field(default_factory=list)
    area: float = dataclasses.field(init=False, default=0.0)


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@attrs.frozen
class Tree:
    value: int
    children: list[Tree]


@attrs.frozen
class Forest:
    trees: list[Tree]


STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
POINT = {
    "type": "object",
    "properties": {"x": INTEGER, "y": {**INTEGER, "description": "Upwards."}, "label": {**STRING, "description": "Its name."}},
    "required": ["x"],
    "additionalProperties": False,
    "description": "Where it is.",
}


@each(
    "hint, expected",
    [
        (str, STRING),
        (int, INTEGER),
        (float, NUMBER),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (datetime, {"type": "string", "format": "date-time"}),
        (date, {"type": "string", "format": "date"}),
        (list, {"type": "array", "items": {}}),
        (dict, {"type": "object"}),
        (list[str], {"type": "array", "items": STRING}),
        (set[int], {"type": "array", "items": INTEGER}),
        (Sequence[str], {"type": "array", "items": STRING}),
        (dict[str, int], {"type": "object", "additionalProperties": INTEGER}),
        (Mapping[str, list[int]], {"type": "object", "additionalProperties": {"type": "array", "items": INTEGER}}),
        (tuple[int, ...], {"type": "array", "items": INTEGER}),
        (tuple[int, str], {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2}),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
        (Literal["a", 1], {"enum": ["a", 1]}),
        (Literal[True], {"type": "boolean", "enum": [True]}),
        (Literal[Unit.METRIC], {"type": "string", "enum": ["metric"]}),
        (Unit, {"type": "string", "enum": ["metric", "imperial"]}),
        (Level, {"type": "integer", "enum": [1, 2]}),
        (Mixed, {"enum": [None, 1]}),
        (Optional[int], {"anyOf": [INTEGER, {"type": "null"}]}),  # noqa: UP045  # the old spelling too
        (int | str, {"anyOf": [INTEGER, STRING]}),
        (Annotated[str, "A name."], {**STRING, "description": "A name."}),
        (Celsius, NUMBER),
        (Point, POINT),
        (
            Movie,
            {
                "type": "object",
                "properties": {"title": STRING, "year": INTEGER},
                "required": ["title"],
                "additionalProperties": False,
            },
        ),
    ],
)
def test_each_type_has_a_schema(hint, expected):
    """As JSON Schema says it."""
    assert expected == schema_of(hint)


def test_a_dataclass_has_the_fields_that_a_caller_gives():
    """Those with a default need not be there; its made-up docstring describes nothing."""
    expected = {
        "type": "object",
        "properties": {"corner": POINT, "sides": {"type": "array", "items": NUMBER}},
        "required": ["corner"],
        "additionalProperties": False,
    }

    assert expected == schema_of(Box)


def test_a_class_that_contains_itself_is_defined_once():
    """And referred to from there on, also where it is the whole."""
    node = {
        "type": "object",
        "properties": {"value": INTEGER, "children": {"type": "array", "items": {"$ref": "#/$defs/Tree"}}},
        "required": ["value", "children"],
        "additionalProperties": False,
    }

    assert {**node, "$defs": {"Tree": node}} == schema_of(Tree)
    assert {"Tree": node} == schema_of(Forest)["$defs"]


def test_two_classes_of_one_name_stay_apart():
    """Each contains itself, so both have a definition."""

    def made():
        kind = attrs.make_class("Node", {"next": attrs.field(default=None)})
        kind.__annotations__ = {"next": kind | None}
        return kind

    both = attrs.make_class("Both", ["a", "b"])
    both.__annotations__ = {"a": made(), "b": made()}

    assert {"Node", "Node1"} == set(schema_of(both)["$defs"])


def test_strict_requires_every_field():
    """As OpenAI's strict mode wants it, and no places within a list."""
    strict = schema_of(Point, strict=True)

    assert ["x", "y", "label"] == strict["required"]
    assert is_strict(strict)
    assert {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2} == schema_of(tuple[int, int], strict=True)
    assert {"anyOf": [INTEGER, STRING]} == schema_of(tuple[int, str], strict=True)["items"]


@each("hint", [Tree, Box, Forest, Unit, Point | None])
def test_strict_schemas_are_strict(hint):
    """Whatever is nested in what."""
    assert is_strict(schema_of(hint, strict=True))


@each("hint", [dict[str, int], Any, list[Any], Movie, tuple[int, str], dict])
def test_open_schemas_are_not_strict(hint):
    """Free keys, anything at all, what may be left out, places."""
    assert not is_strict(schema_of(hint))


@each("hint", [complex, bytes, Callable[[], int], dict[float, str], Odd, tuple[complex], list[complex]])
def test_a_type_without_a_schema_is_named(hint):
    """Before anything is sent."""
    with pytest.raises(InvalidRequest):
        schema_of(hint)


def test_the_error_tells_the_place():
    """The field within the class."""
    kind = attrs.make_class("Wave", ["phase"])
    kind.__annotations__ = {"phase": list[complex]}
    with pytest.raises(InvalidRequest, match=r"Wave\.phase\[\]: complex has no JSON schema"):
        schema_of(kind)


def test_an_annotation_that_leads_nowhere_is_told():
    """With the name that is missing."""
    kind = attrs.make_class("Lost", ["x"])
    kind.__annotations__ = {"x": "Nowhere"}
    with pytest.raises(InvalidRequest, match=r"Lost: its annotations cannot be read .*Nowhere"):
        schema_of(kind)


def test_classes_with_fields_are_known():
    """Instances of others, an object in JSON cannot stand for."""
    assert [True, True, True, False, False] == [has_fields(kind) for kind in (Point, Box, Movie, Unit, list[int])]


@each(
    "value, schema, expected",
    [
        ("a", STRING, None),
        (1, STRING, "it must be a string, not an integer"),
        (1.5, INTEGER, "it must be an integer, not a number"),
        (2.0, INTEGER, None),
        (True, INTEGER, "it must be an integer, not a boolean"),
        (True, NUMBER, "it must be a number, not a boolean"),
        (None, {"type": ["string", "null"]}, None),
        (1, {"type": ["string", "null"]}, "it must be a string or null, not an integer"),
        ("c", {"enum": ["a", "b"]}, "it is not one of 'a', 'b'"),
        (True, {"enum": [1]}, "it is not one of 1"),
        (2, {"const": 1}, "it is not 1"),
        ({}, POINT, "it lacks 'x'"),
        ({"x": "1"}, POINT, "it.x must be an integer, not a string"),
        ({"x": 1, "secret": 2}, POINT, "it has a key that is not among 'x', 'y', 'label'"),
        ({"secret": "x"}, {"additionalProperties": INTEGER}, "it.* must be an integer, not a string"),
        ([1, "a"], {"items": INTEGER}, "it[1] must be an integer, not a string"),
        ([1, "a"], {"prefixItems": [INTEGER, STRING]}, None),
        ([1, 2], {"prefixItems": [INTEGER], "items": False}, "it[1] must not be there"),
        ([], {"minItems": 1}, "it has fewer than 1 items"),
        ("abc", {"maxLength": 2}, "it has more than 2 characters"),
        ("abc", {"pattern": "^b"}, "it does not match '^b'"),
        (1, {"minimum": 2}, "it is less than 2"),
        (2, {"exclusiveMaximum": 2}, "it is not less than 2"),
        ("a", {"minimum": 2}, None),
        (1, {"anyOf": [STRING, {"type": "null"}]}, "it fits none of its 2 forms"),
        ({"x": "1"}, {"anyOf": [POINT, {"type": "null"}]}, "it.x must be an integer, not a string"),
        (1, {"oneOf": [INTEGER, NUMBER]}, "it fits 2 of its 2 forms, not one"),
        (1, {"allOf": [INTEGER, {"minimum": 2}]}, "it is less than 2"),
        (1, {"not": INTEGER}, "it has a form that it must not have"),
        (1, True, None),
        (1, False, "it must not be there"),
        (1, {"unknown": 1}, None),
        (1, {"$ref": "#/nowhere"}, None),
        ("x", {"$ref": "#/$defs/a~1b", "$defs": {"a/b": INTEGER}}, "it must be an integer, not a string"),
        (1, {"$ref": "#"}, "it or its schema is nested too deeply"),
        ("a", {"pattern": "("}, None),
        ("a", {"minLength": "x"}, None),
        ({"a": 1}, {"properties": []}, None),
    ],
)
def test_a_value_is_checked(value, schema, expected):
    """The first thing that is wrong is told with its place, without the value; what is no schema demands nothing."""
    assert expected == mismatch(value, schema, "it")


@each("broken", [3, "x", {"children": [{"value": "x", "children": []}]}, {"value": 1, "children": [3]}])
def test_references_are_followed(broken):
    """To any depth."""
    assert mismatch(broken, schema_of(Tree)) is not None
    assert mismatch({"value": 1, "children": [{"value": 2, "children": []}]}, schema_of(Tree)) is None


def test_too_deep_a_value_is_told():
    """It is no RecursionError."""
    value: list = []
    for _ in range(10_000):
        value = [value]

    assert "it or its schema is nested too deeply" == mismatch(
        value, {"$ref": "#/$defs/l", "$defs": {"l": {"items": {"$ref": "#/$defs/l"}}}}, "it"
    )
