"""Types as forms of answers and as arguments of tools: classes of every make, lists, unions, enumerations, and mixtures of them."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
import subprocess
import sys
import typing
from datetime import date, time
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import annotated_types
import attrs
import pydantic
import pytest
import typing_extensions

from llmdispatcher import (
    AnthropicVendor,
    Dispatcher,
    GoogleVendor,
    InvalidRequest,
    MalformedReply,
    OllamaVendor,
    OpenAIVendor,
    Request,
    Response,
    ToolCall,
)
from llmdispatcher.dispatcher.structured import Unfit, build_value, to_json_value
from llmdispatcher.testing import FakeVendor, VendorSimulator
from llmdispatcher.types import lacks_object, schema_of

from ..cases import each
from .parts import dispatcher_of

T = TypeVar("T")
Digits = NewType("Digits", int)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(pydantic.BaseModel):
    city: str
    floor: int = 0


class Person(pydantic.BaseModel):
    """Somebody."""

    name: str
    home: Address
    age: Annotated[int, pydantic.Field(gt=0, description="In years.")] = 1
    color: Color | None = None


class Tree(pydantic.BaseModel):
    value: int
    below: list[Tree] = []


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str = pydantic.Field(alias="dogName")


class Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    day: date
    color: Color


class Numbers(pydantic.RootModel[list[int]]):
    pass


class Open(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    name: str


@pydantic.dataclasses.dataclass
class Positive:
    number: int = pydantic.Field(gt=0)


class Point(NamedTuple):
    x: int
    y: int = 2


class Pair(NamedTuple, Generic[T]):
    one: T
    other: T | None = None


class Movie(TypedDict):
    title: str
    year: NotRequired[int]


@attrs.frozen
class Box(Generic[T]):
    item: T
    more: list[T] = attrs.field(factory=list)


@attrs.frozen
class Link(Generic[T]):
    value: T
    further: Link[T] | None = None
    _private: int = 0


@dataclasses.dataclass
class Base(Generic[T]):
    thing: T


@dataclasses.dataclass
class Derived(Base[Color]):
    more: int = 0


class Extended(typing_extensions.TypedDict):
    city: typing_extensions.ReadOnly[str]


Many = typing_extensions.TypeAliasType("Many", list[T], type_params=(T,))


@dataclasses.dataclass
class Team:
    lead: Person
    color: Color
    others: list[Person | Address] = dataclasses.field(default_factory=list)
    since: date | None = None
    votes: dict[Color, int] = dataclasses.field(default_factory=dict)


LEAD = {"name": "Ada", "home": {"city": "Bergen"}}
ADA = Person(name="Ada", home=Address(city="Bergen"))


def ask(form, text, **options):
    return dispatcher_of(FakeVendor(text)).send(Request("m", "Who?", response_format=form, **options)).parsed


@each(
    "form, value, expected",
    [
        (Person, LEAD, ADA),
        (list[Person], [LEAD], [ADA]),
        (dict[str, Person], {"a": LEAD}, {"a": ADA}),
        (Person | None, None, None),
        (Address | Person, LEAD, ADA),
        (Person | Address, {"city": "Oslo"}, Address(city="Oslo")),
        (Address | int, {"city": "Oslo", "floor": "3"}, Address(city="Oslo", floor=3)),
        (list[int | Color], [1, "red"], [1, Color.RED]),
        (Color, "blue", Color.BLUE),
        (Literal["a", 1], 1, 1),
        (int, 7, 7),
        (Tree, {"value": 1, "below": [{"value": 2}]}, Tree(value=1, below=[Tree(value=2)])),
        (list[Tree], [{"value": 1}], [Tree(value=1)]),
        (Numbers, [1, 2], Numbers([1, 2])),
        (Strict, {"day": "2026-12-01", "color": "red"}, Strict(day=date(2026, 12, 1), color=Color.RED)),
        (Positive, {"number": 3}, Positive(3)),
        (Point, {"x": 1}, Point(1)),
        (list[Movie], [{"title": "M"}], [{"title": "M"}]),
        (Box[int], {"item": 1, "more": [2]}, Box(1, [2])),
        (Box[Person], {"item": LEAD}, Box(ADA)),
        (Box[Color], {"item": "red"}, Box(Color.RED)),
        (Annotated[list[Color], "Which?"], ["red"], [Color.RED]),
        (Digits, 7, 7),
        (tuple[int, Color], [1, "red"], (1, Color.RED)),
        (Link[Color], {"value": "red", "further": {"value": "blue"}}, Link(Color.RED, Link(Color.BLUE))),
        (list[Pair[Color]], [{"one": "red"}], [Pair(Color.RED)]),
        (Derived, {"thing": "red"}, Derived(Color.RED)),
        (list[Extended], [{"city": "Oslo"}], [{"city": "Oslo"}]),
        (list[Many[Color]], [["red"]], [[Color.RED]]),
        (typing.List, [1, "a"], [1, "a"]),  # noqa: UP006 - what is tested
        (date | str, "soon", "soon"),
        (date | str, "2026-01-01", date(2026, 1, 1)),
        (
            Annotated[Cat | Dog, pydantic.Field(discriminator="kind")],
            {"kind": "dog", "dogName": "Rex"},
            Dog(kind="dog", dogName="Rex"),
        ),
        (set[int], [1, 2], {1, 2}),
        (Decimal, 1.5, Decimal("1.5")),
        (time, "12:30:00", time(12, 30)),
        (UUID, "00000000-0000-4000-8000-000000000000", UUID("00000000-0000-4000-8000-000000000000")),
        (dict[Color, int], {"red": 1}, {Color.RED: 1}),
        (dict[int, str], {"7": "x"}, {7: "x"}),
        (
            Team,
            {"lead": LEAD, "color": "red", "others": [{"city": "Oslo"}, LEAD], "since": "2026-01-01", "votes": {"blue": 2}},
            Team(ADA, Color.RED, [Address(city="Oslo"), ADA], date(2026, 1, 1), {Color.BLUE: 2}),
        ),
    ],
)
def test_an_answer_becomes_what_the_type_says(form, value, expected):
    """As it stands, and in the object that some vendors are asked for."""
    wrapped = {"answer": value} if lacks_object(schema_of(form)) else value

    for said in (value, wrapped):
        parsed = ask(form, json.dumps(said))
        assert expected == parsed
        assert type(expected) is type(parsed)


@each(
    "form, value, told, detail",
    [
        (Person, {"name": "Ada"}, "the answer.home is refused by Person", "the answer.home: Field required"),
        (Person, {**LEAD, "age": 0}, "the answer.age is refused by Person", "the answer.age: Input should be greater than 0"),
        (
            Team,
            {"lead": {**LEAD, "home": {"city": 7777}}, "color": "red"},
            "the answer.lead.home.city is refused by Team",
            "Input should be a valid string",
        ),
        (Team, {"lead": LEAD, "color": "canary"}, "the answer.color is not one of 'red', 'blue'", ""),
        (
            Team,
            {"lead": LEAD, "color": "red", "others": [LEAD, {"canary": 1}]},
            "the answer.others[1].name is refused by Team",
            "Field required",
        ),
        (Team, {"lead": LEAD, "color": "red", "since": "canary"}, "the answer.since is refused by Team", "isoformat"),
        (dict[Color, int], {"canary": 1}, "the answer.* is refused by dict[Color, int]", "not a valid Color"),
        (list[Person], [LEAD, {}], "the answer[1].name is refused by list[Person]", "the answer[1].name: Field required"),
        (list[int], {"answer": ["canary"]}, "the answer[0] must be an integer, not a string", ""),
        (list[int], {"other": []}, "the answer must be an array, not an object", ""),
        (Box[int], {"item": "canary"}, "the answer.item must be an integer, not a string", ""),
        (Annotated[int, annotated_types.Ge(5)], 3, "the answer is less than 5", ""),
        (Annotated[list[int], annotated_types.Len(2)], [1], "the answer has fewer than 2 items", ""),
        (Annotated[str, pydantic.Field(pattern="^[a-z]+$")], "7777", "the answer does not match", ""),
        (Color, "canary", "the answer is not one of 'red', 'blue'", ""),
        (Positive, {"number": -7777}, "the answer.number is refused by Positive", "greater than 0"),
    ],
)
def test_a_mistake_is_told_by_its_field(form, value, told, detail):
    """The error's own text repeats nothing of the answer; what the model is told may."""
    with pytest.raises(MalformedReply) as caught:
        ask(form, json.dumps(value))
    with pytest.raises(Unfit, match=r"^the answer") as unfit:
        build_value(value.get("answer", value) if isinstance(value, dict) else value, form, "the answer")

    assert str(caught.value).startswith(told)
    assert "canary" not in str(caught.value)
    assert "7777" not in str(caught.value)
    assert detail in unfit.value.detail


def test_a_model_is_told_which_field_is_wrong():
    """And may correct it."""
    vendor = FakeVendor('{"name": "Ada", "home": {"city": "Bergen"}, "age": -1}', json.dumps(LEAD))
    request = Request("m", "Who?", response_format=Person, reask=1)

    assert ADA == dispatcher_of(vendor).send(request).parsed
    assert "the answer.age: Input should be greater than 0" in vendor.seen[-1].messages[-1].text


def wrapped(schema):
    """What a vendor that wants an object is sent for a schema."""
    return {"type": "object", "properties": {"answer": schema}, "required": ["answer"], "additionalProperties": False}


ITEMS = {"type": "array", "items": {"type": "string"}}


def sent_by(make, simulator, form):
    simulator.responses = '{"answer": ["a", "b"]}'
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(make(simulator))
        model = {"AnthropicVendor": "claude-haiku-4-5", "GoogleVendor": "gemini-2.5-flash", "OllamaVendor": "llama3"}
        name = type(dispatcher.get_vendor(dispatcher.get_vendors()[0])).__name__
        response = dispatcher.send(Request(model.get(name, "gpt-4o-mini"), "x", response_format=form))
    return simulator.requests[-1].json, response


VENDORS = {
    "openai": (
        lambda one: OpenAIVendor(base_url=one.openai_url, api_key="k"),
        lambda body: body["response_format"]["json_schema"]["schema"],
        wrapped(ITEMS),
    ),
    "responses": (
        lambda one: OpenAIVendor(base_url=one.openai_url, api_key="k", api="responses"),
        lambda body: body["text"]["format"]["schema"],
        wrapped(ITEMS),
    ),
    "anthropic": (
        lambda one: AnthropicVendor(base_url=one.anthropic_url, api_key="k"),
        lambda body: body["output_config"]["format"]["schema"],
        wrapped(ITEMS),
    ),
    "google": (
        lambda one: GoogleVendor(base_url=one.google_url, api_key="k"),
        lambda body: body["generationConfig"]["responseJsonSchema"],
        ITEMS,
    ),
    "ollama": (lambda one: OllamaVendor(base_url=one.url), lambda body: body["format"], ITEMS),
}


def test_a_list_is_asked_for_in_an_object_where_the_vendor_wants_one(vendor_simulator):
    """A type's list and a schema's alike, and both are unwrapped."""
    for make, schema_in, expected in VENDORS.values():
        for form in (list[str], ITEMS, {"type": "json_schema", "json_schema": {"name": "x", "schema": ITEMS}}):
            body, response = sent_by(make, vendor_simulator, form)
            assert expected == schema_in(body)
            assert ["a", "b"] == response.parsed


def test_references_hold_inside_of_the_object(vendor_simulator):
    """Those to definitions, to places in the schema, and to all of it."""
    schema = {"type": "array", "items": {"anyOf": [{"$ref": "#/$defs/a"}, {"$ref": "#"}]}, "$defs": {"a": {"type": "string"}}}
    make, schema_in, _ = VENDORS["openai"]
    body, response = sent_by(make, vendor_simulator, schema)

    made = schema_in(body)
    assert [{"$ref": "#/$defs/a"}, {"$ref": "#/properties/answer"}] == made["properties"]["answer"]["items"]["anyOf"]
    assert {"a": {"type": "string"}} == made["$defs"]
    assert ["a", "b"] == response.parsed


@each("form", [Person, list[Person], Tree, Positive, Strict, Person | Address, Color, Box[int], Point, Numbers, Address | None])
def test_openais_strict_mode_takes_it(form):
    """Each object names all that it has, requires it and allows nothing else; nothing stands beside a reference."""
    with VendorSimulator() as simulator:
        make, _, _ = VENDORS["openai"]
        with Dispatcher() as dispatcher:
            dispatcher.register_vendor(make(simulator))
            dispatcher.send(Request("gpt-4o-mini", "x", response_format=form))
        described = simulator.requests[-1].json["response_format"]["json_schema"]

    def look(schema):
        if isinstance(schema, list):
            [look(inner) for inner in schema]
        elif isinstance(schema, dict):
            if "properties" in schema:
                assert sorted(schema["properties"]) == sorted(schema["required"])
                assert schema["additionalProperties"] is False
            assert "$ref" not in schema or set(schema) <= {"$ref", "$defs"}
            assert not {"default", "oneOf", "discriminator"} & set(schema)
            [look(inner) for inner in schema.values()]

    assert described["strict"] is True
    assert "object" == described["schema"]["type"]
    look(described["schema"])


def test_a_model_with_free_fields_is_not_strict():
    """Which strict mode would refuse."""
    assert "strict" not in Request("m", "x", response_format=Open).response_format["json_schema"]
    assert "x" == ask(Open, '{"name": "a", "more": "x"}').more


class Both(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(json_schema_extra={"allOf": [{"required": ["name"]}, {"minProperties": 1}]})
    name: str


@each("form", [Both, list[Both]])
def test_what_strict_mode_cannot_say_is_asked_for_without_it(form, vendor_simulator):
    """Nobody has asked for strict mode."""
    make, _, _ = VENDORS["openai"]
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(make(vendor_simulator))
        dispatcher.send(Request("gpt-4o-mini", "x", response_format=form))

    described = vendor_simulator.requests[-1].json["response_format"]["json_schema"]
    assert (False, "object") == (described["strict"], described["schema"]["type"])


def test_two_models_of_one_name_stay_apart():
    """Their definitions get names of their own; equal ones are there once."""

    class Home(pydantic.BaseModel):
        class Address(pydantic.BaseModel):
            street: str

        place: Address

    schema = schema_of(tuple[Person, Home, Person])

    assert {"Address", "Address1", "Color"} == set(schema["$defs"])
    assert {"$ref": "#/$defs/Address1"} == schema["prefixItems"][1]["properties"]["place"]
    assert schema["prefixItems"][0] == schema["prefixItems"][2]


def test_the_type_stays_with_the_request():
    """Through copies, changes and pickles."""
    for form in (list[Person], Person | None, Literal["a"], Box[int]):
        request = Request("m", "x", response_format=form)
        for other in (attrs.evolve(request, model="n"), copy.deepcopy(request), pickle.loads(pickle.dumps(request))):
            assert form == other.response_format.kind


def test_a_stream_is_parsed_too():
    """When it has ended."""
    request = Request("m", "x", response_format=list[Color])
    with dispatcher_of(FakeVendor('["red", "blue"]')).send_streaming(request) as stream:
        assert [Color.RED, Color.BLUE] == stream.response().parsed


def test_a_tool_gets_objects():
    """Of the types of its parameters; what it returns goes back as JSON."""
    given: list[Any] = []

    def hire(person: Person, team: Team | None, colors: list[Color], where: Annotated[int, annotated_types.Ge(0)] = 0) -> Team:
        """Hire somebody."""
        given.extend([person, team, colors, where])
        return Team(person, colors[0])

    arguments = {"person": LEAD, "team": None, "colors": ["blue"]}
    vendor = FakeVendor(Response(tool_calls=(ToolCall(id="1", name="hire", arguments=json.dumps(arguments)),)), "Done.")
    run = dispatcher_of(vendor).run_tools(Request("m", "x"), [hire])

    assert [ADA, None, [Color.BLUE], 0] == given
    assert ["person", "team", "colors"] == vendor.seen[0].tools[0].parameters["required"]
    told = json.loads(run.calls[0].content)
    assert (
        {"name": "Ada", "home": {"city": "Bergen", "floor": 0}, "age": 1, "color": None},
        "blue",
    ) == (told["lead"], told["color"])


@each(
    "changes, told",
    [
        ({"person": {"name": "Ada"}}, "the object.person.home: Field required"),
        ({"person": {**LEAD, "age": -1}}, "the object.person.age: Input should be greater than 0"),
        ({"colors": ["pink"]}, "the object.colors[0] is not one of 'red', 'blue'"),
        ({"where": -1}, "the object.where is less than 0"),
        ({"other": 1}, "the object has a key that is not among"),
        ({"person": None}, "the object.person: Input should be an object"),
    ],
)
def test_a_bad_argument_is_told_to_the_model(changes, told):
    """By its field, as the text of an error."""

    def hire(person: Person, colors: list[Color], where: Annotated[int, annotated_types.Ge(0)] = 0) -> str:
        raise AssertionError

    arguments = {"person": LEAD, "colors": ["blue"], **changes}
    vendor = FakeVendor(Response(tool_calls=(ToolCall(id="1", name="hire", arguments=json.dumps(arguments)),)), "Done.")
    run = dispatcher_of(vendor).run_tools(Request("m", "x"), [hire])

    assert run.calls[0].is_error
    assert f"The arguments do not fit hire: {told}" in run.calls[0].content


def test_values_become_json():
    """Objects of every make, within each other."""
    value = [Team(ADA, Color.RED), Point(1), Positive(3), Box(Decimal("1.20")), time(1, 2), UUID(int=1)]

    told = to_json_value(value)
    assert json.loads(json.dumps(told)) == told
    assert ({"x": 1, "y": 2}, {"number": 3}, {"item": "1.20", "more": []}) == tuple(told[1:4])


@each("form", [Person, list[Person], Person | Address, Color, Team, Box[Person], Tree, Cat | Dog, dict[str, int], Decimal, Point])
def test_every_vendor_is_asked_for_it(form):
    """And what fits the schema that it was sent becomes a value of the type."""
    with VendorSimulator() as simulator, Dispatcher() as dispatcher:
        for make, _schema_in, _expected in VENDORS.values():
            made = make(simulator)
            if made.name not in dispatcher.get_vendors():
                dispatcher.register_vendor(made)
        for model in (
            "openai:gpt-4o",
            "anthropic:claude-haiku-4-5",
            "google:gemini-2.5-flash",
            "ollama:llama3",
            "anthropic:claude-3-haiku-20240307",
        ):
            assert dispatcher.send(Request(model, "x", response_format=form)).parsed is not None


def test_a_class_that_makes_no_schema_is_refused():
    """With the class's own words, before anything is sent."""

    class Odd(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)
        call: complex = 0j
        stream: type(sys.stdout) = None

    with pytest.raises(InvalidRequest, match=r"^response_format: Odd: Odd makes no JSON schema \("):
        Request("m", "x", response_format=Odd)
    with pytest.raises(InvalidRequest, match=r"pattern: '\(a\|aa\)\+\$' cannot be checked"):
        Request("m", "x", response_format=Annotated[str, pydantic.Field(pattern="(a|aa)+$")])


def test_pydantic_is_loaded_by_its_classes_alone():
    """Nobody else needs it."""
    code = (
        "import sys, dataclasses\n"
        "sys.modules['pydantic'] = None\n"
        "from llmdispatcher import Dispatcher, Request\n"
        "from llmdispatcher.testing import FakeVendor\n"
        "@dataclasses.dataclass\n"
        "class Point:\n    x: int\n"
        "dispatcher = Dispatcher(); dispatcher.register_vendor(FakeVendor('[{\"x\": 1}]'))\n"
        "assert [Point(1)] == dispatcher.send(Request('m', 'x', response_format=list[Point])).parsed\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
