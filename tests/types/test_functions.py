"""Tools out of functions."""

from __future__ import annotations

import functools
from typing import Annotated, Any, Literal

import pytest

from llmdispatcher import FunctionTool, InvalidRequest, Request, Tool, tool
from llmdispatcher.types.schema import parameter_lines

from ..cases import each


def weather(city: str, unit: Literal["C", "F"] = "C", days: Annotated[int, "From today."] = 1) -> str:
    """The weather in
    a city.

    It is not very reliable.

    Args:
        city: Its name: as people
            write it.
        unit (str): Celsius or Fahrenheit.
        days: Not this one.

    Returns:
        str: a sentence.
    """
    return f"{city} {unit} {days}"


PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "description": "Its name: as people write it."},
        "unit": {"type": "string", "enum": ["C", "F"], "description": "Celsius or Fahrenheit."},
        "days": {"type": "integer", "description": "From today."},
    },
    "required": ["city"],
    "additionalProperties": False,
}


class Thermometer:
    """Measures."""

    def read(self, place: str) -> float:
        """The temperature."""
        return len(place)

    def __call__(self, place: str) -> float:
        return self.read(place)


def test_a_function_becomes_a_tool():
    """Name, description and schema are its own."""
    made = tool(weather)

    assert ("weather", "The weather in a city.", PARAMETERS, None) == (made.name, made.description, made.parameters, made.strict)


def test_a_tool_calls_its_function():
    """So a decorated function is still one."""
    assert "Oslo F 1" == tool(weather)("Oslo", unit="F")


def test_the_decorator_takes_settings():
    """Name, description, strictness."""

    @tool(name="add_up", description="Sum.", strict=True)
    def add(a: int, b: int = 0) -> int:
        return a + b

    assert ("add_up", "Sum.", True, ["a", "b"]) == (add.name, add.description, add.strict, add.parameters["required"])
    assert 5 == add(2, b=3)


def test_a_tool_can_be_made_anew():
    """Under another name, strict, with all else as it was."""
    made = tool(tool(weather), name="forecast", strict=True)

    assert ("forecast", "The weather in a city.", ["city", "unit", "days"]) == (
        made.name,
        made.description,
        made.parameters["required"],
    )


def test_a_request_takes_functions():
    """Beside tools of every other form."""
    plain = Tool(name="other")
    request = Request("m", "Hi", tools=[weather, plain, {"name": "third"}])

    assert (tool(weather), plain, Tool(name="third")) == request.tools
    assert isinstance(request.tools[0], FunctionTool)


def test_methods_are_functions():
    """``self`` is no parameter."""
    assert ["place"] == list(tool(Thermometer().read).parameters["properties"])


def test_objects_and_partials_are_functions():
    """With a name, since they have none."""
    partial = functools.partial(weather, days=3)

    assert ["place"] == list(tool(Thermometer()).parameters["properties"])
    assert ["city"] == tool(partial, name="soon").parameters["required"]
    assert "The weather in a city." == tool(partial, name="soon").description


def test_free_keywords_leave_the_schema_open():
    """Whatever the model adds is passed on."""

    def note(title: str, **more: str) -> None: ...

    assert tool(note).parameters["additionalProperties"] is True
    assert ["title"] == list(tool(note).parameters["properties"])


def test_a_function_without_parameters_has_an_empty_object():
    """Which every vendor takes."""

    def now() -> str:
        return ""

    assert {"type": "object", "properties": {}, "additionalProperties": False} == tool(now).parameters


def unannotated(x):
    """No type."""


def positional(x: int, /) -> None:
    """No name."""


def many(*x: int) -> None:
    """No names."""


async def later(x: int) -> None:
    """No ordinary function."""


def odd(x: complex) -> None:
    """No schema."""


def lost(x: Nowhere) -> None:  # noqa: F821  # what is tested
    """No such type."""


@each(
    "function, word",
    [
        (unannotated, "'x' has no type; annotate it"),
        (positional, "a model names its arguments"),
        (many, "a model names its arguments"),
        (later, "coroutine function"),
        (odd, "odd.x: complex has no JSON schema"),
        (lost, "its annotations cannot be read"),
        (lambda: 1, "'<lambda>' is no name for a tool"),
        (Thermometer, "Thermometer is not a function"),
        (7, "int is not a function"),
        (dict.fromkeys, "a model names its arguments"),
        ({}.update, "does not tell its parameters"),
    ],
)
def test_what_a_model_cannot_call_is_refused(function, word):
    """With the function's name and the remedy."""
    with pytest.raises(InvalidRequest) as caught:
        tool(function)

    assert word in str(caught.value)


@each("hint", [dict[str, int], list[Any], Any])
def test_what_is_open_cannot_be_strict(hint):
    """Vendors would refuse the whole request."""

    def note(values: str) -> None: ...

    note.__annotations__["values"] = hint
    with pytest.raises(InvalidRequest, match="note cannot be strict"):
        tool(note, strict=True)

    assert tool(note).parameters


def test_a_request_refuses_what_is_no_tool():
    """Neither tool, mapping nor function."""
    with pytest.raises(InvalidRequest, match="int is not a tool"):
        Request("m", "Hi", tools=[7])


@each(
    "docstring, expected",
    [
        ("", {}),
        ("Does.\n\nArgs:\n    a: one\n    b (int, optional): two\n      more\n\nRaises:\n    c: no", {"a": "one", "b": "two more"}),
        ("Does.\n\nParameters:\n    *a: one\n    **b: two", {"a": "one", "b": "two"}),
        ("Does.\n\n:param a: one\n    more\n:param int b: two\n:returns: three", {"a": "one more", "b": "two"}),
        ("Does.\n\n:param a:\n:type a: int", {}),
        ("Args are no section: here", {}),
        ("Does.\n\nArgs:\n    a:\n        on the next line", {"a": "on the next line"}),
    ],
)
def test_docstrings_tell_of_parameters(docstring, expected):
    """In Google's form and in reST's; nothing else is taken for one."""
    assert expected == parameter_lines(docstring)
