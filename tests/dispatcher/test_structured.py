"""Answers of a form: classes, schemas, what models make of them, and what they are told."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
import subprocess
import sys
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Optional, TypedDict

import attrs
import pytest

from llmdispatcher import (
    AnthropicVendor,
    ConfigError,
    DeadlineExceeded,
    Dispatcher,
    DispatchError,
    GoogleVendor,
    InvalidRequest,
    MalformedReply,
    Message,
    OpenAIVendor,
    Request,
    Response,
    SchemaGuard,
    ToolCall,
    Usage,
)
from llmdispatcher.dispatcher.structured import Unfit, build_value, late_by, read, read_json, to_json_value
from llmdispatcher.runtime import SYSTEM_CLOCK, Deadline
from llmdispatcher.testing import FakeVendor, ManualClock, VendorSimulator
from llmdispatcher.types import schema_check

from ..cases import each
from .parts import dispatcher_of


@attrs.frozen
class Person:
    """Somebody."""

    name: str
    age: Annotated[int, "In years."] = 0


@dataclasses.dataclass
class Event:
    title: str
    day: date
    guests: list[Person] = dataclasses.field(default_factory=list)


@attrs.frozen
class Chain:
    inner: int | Chain


class Place(TypedDict):
    city: str


class Color(enum.Enum):
    RED = "red"


@attrs.frozen
class Positive:
    number: int = attrs.field()

    @number.validator
    def _positive(self, _attribute, value):
        if value <= 0:
            raise ValueError(f"{value} is not positive")


SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
ADA = '{"name": "Ada", "age": 36}'


def asking(form, **options):
    return Request("m", "Who?", response_format=form, **options)


def ask(vendor, request, **options):
    return dispatcher_of(vendor, clock=options.pop("clock", SYSTEM_CLOCK)).send(request, **options)


def refused(vendor, request, **options):
    with pytest.raises(MalformedReply) as caught:
        ask(vendor, request, **options)
    return caught.value


def test_a_class_becomes_openais_shape():
    """With its name, its schema, and strict, which every field is required for."""
    described = asking(Person).response_format["json_schema"]

    assert ("Person", True, ["name", "age"]) == (described["name"], described["strict"], described["schema"]["required"])
    assert "json_schema" == asking(Person).response_format["type"]


def test_a_bare_schema_becomes_openais_shape():
    """Strict where it is, named by its title."""
    expected = {
        "type": "json_schema",
        "json_schema": {"name": "A_place", "schema": {**SCHEMA, "title": "A place!"[:-1]}, "strict": True},
    }

    assert expected == asking({**SCHEMA, "title": "A place"}).response_format
    assert {"name": "answer", "schema": {"type": "object"}} == asking({"type": "object"}).response_format["json_schema"]


@pytest.mark.parametrize("form", [{"type": "json_object"}, {"type": "text"}, {"type": "grammar", "grammar": "x"}, None])
def test_other_forms_stay_as_they_are(form):
    """They may be a vendor's own."""
    assert form is asking(form).response_format


@pytest.mark.parametrize(
    ("form", "told"),
    [
        (7, "int is no form of an answer; give a class"),
        ("json", "str is no form of an answer; give a class"),
        (complex, "complex: complex has no JSON schema; use str"),
        (list[complex], r"list\[complex\]\[\]: complex has no JSON schema"),
        (object, "object is any answer; leave it out"),
        (Positive(1), "it is an object of Positive; give the class itself"),
    ],
)
def test_what_is_no_form_is_refused(form, told):
    """With what to give."""
    with pytest.raises(InvalidRequest, match=f"^response_format: {told}"):
        asking(form)


def test_the_class_stays_with_the_request():
    """Through copies, changes and pickles."""
    request = asking(Person)

    for other in (attrs.evolve(request, model="n"), copy.deepcopy(request), pickle.loads(pickle.dumps(request))):
        assert Person is other.response_format.kind


@pytest.mark.parametrize(
    ("form", "text", "expected"),
    [
        (Person, ADA, Person("Ada", 36)),
        (Person, '{"name": "Ada"}', Person("Ada")),
        (
            Event,
            '{"title": "Tea", "day": "2026-12-01", "guests": [{"name": "Ada"}]}',
            Event("Tea", date(2026, 12, 1), [Person("Ada")]),
        ),
        (Place, '{"city": "Oslo"}', {"city": "Oslo"}),
        (SCHEMA, '{"city": "Oslo"}', {"city": "Oslo"}),
        ({"type": "array", "items": {"type": "integer"}}, "[1, 2]", [1, 2]),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}, '{"city": "Oslo"}', {"city": "Oslo"}),
        ({"type": "json_object"}, '{"a": 1}', {"a": 1}),
        ({"type": "text"}, "Ada", None),
    ],
    ids=str,
)
def test_an_answer_is_parsed(form, text, expected):
    """An instance for a class, plain values for a schema, nothing where no form was asked for."""
    assert expected == ask(FakeVendor(text), asking(form)).parsed


@pytest.mark.parametrize(
    "text",
    [
        f"  \n{ADA}\n ",
        f"```json\n{ADA}\n```",
        f"```\n{ADA}```",
        f"```JSON\r\n{ADA}\r\n```\n",
        f"Here you are:\n```json\n{ADA}\n```\nAnything else?",
    ],
)
def test_fences_and_blanks_are_tolerated(text):
    """Models like them."""
    assert Person("Ada", 36) == ask(FakeVendor(text), asking(Person)).parsed


def test_a_fence_within_the_answer_is_text():
    """Whatever surrounds the whole."""
    value = {"code": "```py\nx\n```"}

    assert value == read_json(json.dumps(value, indent=1))
    assert value == read_json(f"```json\n{json.dumps(value)}\n```")


@pytest.mark.parametrize(
    ("form", "text", "word"),
    [
        (Person, "Ada, 36", "the answer is no JSON (Expecting value at character 0)"),
        (Person, "", "the answer is empty"),
        (Person, '{"name": NaN}', "the answer is no JSON"),
        (Person, f"```\n{ADA}\n```\n```\n{ADA}\n```", "the answer is no JSON"),
        (Person, '{"age": 36}', "the answer lacks 'name'"),
        (Person, '{"name": "Ada", "age": "secret"}', "the answer.age must be an integer, not a string"),
        (Person, '{"name": "Ada", "secret": 1}', "the answer has a key that is not among 'name', 'age'"),
        (SCHEMA, "{}", "city"),
        ({"type": "json_object"}, "[1]", "the answer is no JSON object"),
        (Event, '{"title": "secret", "day": "soon"}', "the answer.day is refused by Event"),
        (Positive, '{"number": -42}', "the answer is refused by Positive"),
    ],
)
def test_another_form_is_an_error(form, text, word):
    """What is wrong is told by the schema's words; what was said is kept beside them, not in them."""
    error = refused(FakeVendor(text), asking(form))

    assert str(error).startswith(f"{word}") or word in str(error)
    assert text == error.text
    assert "secret" not in str(error)
    assert "-42" not in str(error)
    assert error.__cause__ is None


@pytest.fixture(params=["jsonschema_rs", None])
def extra(request, monkeypatch):
    """Once with the extra that checks schemas, once without."""
    if request.param is None:
        monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    else:
        pytest.importorskip(request.param)
    return request.param


@pytest.mark.parametrize(
    ("schema", "text", "told"),
    [
        (SCHEMA, '{"city": "canary"}', None),
        (SCHEMA, '{"city": 7777}', "the answer.city "),
        (SCHEMA, '{"city": "", "canary": 1}', "the answer "),
        ({"additionalProperties": {"type": "integer"}, "type": "object"}, '{"canary": "canary"}', "the answer.* "),
        ({"type": "object", "properties": {"a": {"enum": ["x"]}}}, '{"a": "canary"}', "the answer.a "),
        ({"type": "array", "items": {"type": "string", "pattern": "^[A-Z]{3}$"}}, '["ABC", "canary"]', "the answer[1] "),
        ({"type": "object", "properties": {"a": {"not": {"const": 7777}}}}, '{"a": 7777}', "the answer.a "),
    ],
)
def test_an_answer_is_checked_with_the_extra_and_without(extra, schema, text, told):
    """The place is told, never a value or a key of the answer's own."""
    if told is None:
        assert json.loads(text) == ask(FakeVendor(text), asking(schema)).parsed
        return
    error = refused(FakeVendor(text), asking(schema))

    assert str(error).startswith(told)
    assert "canary" not in str(error)
    assert "is 7777" not in str(error)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"properties": {"a": {"type": "text"}}}, r"response_format\.properties\.a\.type"),
        ({"properties": {"a": {"pattern": "("}}}, r"response_format\.properties\.a\.pattern"),
        ({"properties": {"a": {"$ref": "https://example.com/a"}}}, "response_format.* followed"),
        ({"properties": {"a": {"$ref": "file:///etc/hosts"}}}, "response_format.* followed"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, "response_format"),
        ({"properties": {"a": {"minimum": float("nan")}}}, "response_format: it cannot be written as JSON"),
    ],
)
def test_a_schema_that_cannot_be_checked_is_refused_before_anything_is_sent(extra, schema, told):
    """By its place; addresses and files are never read."""
    for form in (schema, {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}):
        with pytest.raises(InvalidRequest, match=told):
            asking(form)


@pytest.mark.parametrize(
    ("schema", "keyword"),
    [
        ({"uniqueItems": True}, "uniqueItems"),
        ({"properties": {"a": {"if": {}, "then": {}}}}, "if"),
        ({"properties": {"a": {"nullable": True}}}, "nullable"),
        ({"properties": {"a": {"pattern": "^(a|aa)+$"}}}, "pattern"),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "properties": {}}, "draft-07"),
    ],
)
def test_what_needs_the_extra_is_refused_without_it(monkeypatch, schema, keyword):
    """With what to install; no keyword is passed over in silence."""
    asking({"type": "array", **schema})
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(InvalidRequest, match=rf"response_format\..*{keyword}.*install llmdispatcher\[schema\]"):
        asking({"type": "array", **schema})


def test_a_schema_that_came_over_a_wire_is_left_alone(monkeypatch):
    """Whoever sent the request reads the answer."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    request = asking({"type": "array", "uniqueItems": True}, wire_format="openai_chat")

    assert None is ask(FakeVendor("[1, 1]"), request).parsed


QuotedList = attrs.make_class("QuotedList", {"kids": attrs.field(type=list["QuotedList"])})
QuotedChoice = attrs.make_class("QuotedChoice", {"kids": attrs.field(type=Optional["QuotedChoice"], default=None)})
QuotedDict = attrs.make_class("QuotedDict", {"kids": attrs.field(type=dict[str, "QuotedDict"])})


@pytest.mark.parametrize(
    ("kind", "value", "inner"),
    [
        (QuotedList, {"kids": [{"kids": []}]}, lambda made: made.kids[0]),
        (QuotedChoice, {"kids": {"kids": None}}, lambda made: made.kids),
        (QuotedDict, {"kids": {"a": {"kids": {}}}}, lambda made: made.kids["a"]),
    ],
)
def test_a_class_may_name_itself_in_quotes_within_a_type(kind, value, inner):
    """As ``list["Node"]``, which is how recursive classes are written where annotations are no texts."""
    assert kind is type(inner(build_value(value, kind, "it")))


def test_a_recursive_schema_is_checked_in_time(extra, monkeypatch):
    """Each level doubles the ways to look at a deep value; nobody waits for all of them."""
    monkeypatch.setattr(sys.modules[schema_check.__module__], "_MOST_STEPS", 5_000)
    leaf = {"items": {"$ref": "#/$defs/a"}, "minItems": 1}
    form = {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{**leaf, "type": "array"}, {**leaf, "maxItems": 9}]}}}

    assert "the answer fits none of its 2 forms" in str(refused(FakeVendor("[" * 60 + "]" * 60), asking(form)))


_KINDS = ("add", "mul", "neg", "sub")
EXPRESSION = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "anyOf": [
                *[
                    {
                        "type": "object",
                        "properties": {"args": {"type": "array", "items": {"$ref": "#/$defs/node"}}, "op": {"const": kind}},
                        "required": ["op"],
                    }
                    for kind in _KINDS
                ],
                {"type": "integer"},
            ]
        }
    },
}


def test_a_wide_answer_is_checked_in_few_steps(extra, monkeypatch):
    """Each place of it is compared once with each form, however often forms refer to forms."""
    monkeypatch.setattr(sys.modules[schema_check.__module__], "_MOST_STEPS", 60_000)
    for leaf in ("a", {"op": "no"}, {"op": "mul", "args": ["a"]}):
        answer = {"op": "add", "args": [{"op": "mul", "args": [leaf] * 40}] * 40}
        assert "the answer fits none of its 5 forms" in str(refused(FakeVendor(json.dumps(answer)), asking(EXPRESSION)))


@pytest.mark.parametrize("word", ["anyOf", "oneOf", "allOf"])
def test_forms_that_refer_to_forms_are_checked_in_few_steps(word, extra, monkeypatch):
    """There are 2 ** 40 ways to the last of them."""
    monkeypatch.setattr(sys.modules[schema_check.__module__], "_MOST_STEPS", 1_000)
    forms = {f"d{n}": {word: [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)}
    wrong = schema_check({"$ref": "#/$defs/d0", "$defs": {**forms, "d40": {"type": "string"}}}, "schema")(1, "it")

    assert wrong in ("it fits none of its 2 forms", "it must be a string, not an integer")


def test_forms_that_only_the_extra_knows_and_that_never_end_are_refused():
    """Before anything is sent, and before jsonschema-rs compiles them, which takes as long."""
    pytest.importorskip("jsonschema_rs")
    forms = {
        f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}], "unevaluatedProperties": False}
        for n in range(40)
    }

    with pytest.raises(InvalidRequest, match="refer to forms so often that no answer can be checked"):
        asking({"$ref": "#/$defs/d0", "$defs": {**forms, "d40": {"type": "string"}}})


def test_a_check_ends_with_the_deadline(extra, monkeypatch):
    """Its clock is looked at every thousand steps."""
    looks = []
    answer = {"op": "add", "args": [{"op": "mul", "args": list(range(40))}] * 40}
    value = json.loads(json.dumps(answer))

    assert "it takes too long to check" in schema_check(EXPRESSION, "schema")(value, "it", lambda: bool(looks.append(1)) or True)
    assert [1] == looks
    clock = ManualClock()
    over = Deadline.after(1, clock=clock)
    clock.advance(2)
    with pytest.raises(MalformedReply, match="the answer takes too long to check"):
        read(asking(EXPRESSION), Response(content=json.dumps(answer)), over)


def test_instances_are_made_until_the_deadline():
    """Each union in a class compares what is in it again."""
    over = Deadline.after(1, clock=ManualClock())
    over.cancellation.cancel()
    value = {"inner": {"inner": 7}}

    assert 7 == build_value(value, Chain, "it").inner.inner
    with pytest.raises(Unfit, match=r"it\.inner is refused by Chain") as caught:
        build_value(value, Chain, "it", late_by(over))
    assert "the check takes too long" in caught.value.detail


def test_a_value_is_found_among_many_lists_in_few_steps(extra, monkeypatch):
    """Lists are compared whole, each of them once."""
    monkeypatch.setattr(sys.modules[schema_check.__module__], "_MOST_STEPS", 2_000)  # lists by lists would be 40,000
    check = schema_check({"items": {"enum": [[0] * 100 + [n] for n in range(200)]}}, "schema")

    assert check([[0] * 100 + [199] for _ in range(200)], "it") is None
    assert check([[0] * 100 + [-1]] * 200, "it").startswith("it[0] is not one of [0, 0")
    assert "it[0] " in schema_check({"items": {"enum": [[1]]}}, "schema")([[True]], "it")


def test_names_of_a_schema_are_escaped(monkeypatch):
    """They may be anything."""
    schema = {"type": "object", "properties": {"a\0": {"type": "string"}}}
    assert "it.a\\x00 does not fit" in schema_check(schema, "schema")({"a\0": 1}, "it") if "jsonschema_rs" in sys.modules else True
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    assert "it.a\\x00 must be a string, not an integer" == schema_check(schema, "schema")({"a\0": 1}, "it")
    with pytest.raises(InvalidRequest, match=r"schema\.properties\.a\\x00\.if"):
        schema_check({"properties": {"a\0": {"if": {}}}}, "schema")


def test_the_text_survives_a_pickle():
    """As all facts of an error do."""
    assert "x" == pickle.loads(pickle.dumps(MalformedReply("no", text="x"))).text


def test_the_vendor_did_answer():
    """It is asked once, and the call counts as a success: it was paid for."""
    vendor = FakeVendor("no")
    dispatcher = dispatcher_of(vendor)
    with pytest.raises(MalformedReply):
        dispatcher.send(asking(Person))

    assert (1, 1) == (vendor.hits, dispatcher.get_stats().successful_requests)


@each(
    "answer, text, told",
    {
        "refused": (Response(content="", refusal="I won't.", finish_reason="stop"), "I won't.", "the model refuses to answer"),
        "cut off": (Response(content='{"name": "A', finish_reason="length"), '{"name": "A', "raise max_tokens"),
    },
)
def test_an_answer_that_would_end_the_same_way_is_told(answer, text, told):
    """With what the model says; it is not asked again."""
    vendor = FakeVendor(answer)
    error = refused(vendor, asking(Person, reask=3))

    assert (text, 1, True) == (error.text, vendor.hits, told in str(error))


def test_a_whole_answer_at_the_limit_is_good():
    """Where all of it is there."""
    vendor = FakeVendor(Response(content=ADA, finish_reason="length"))

    assert Person("Ada", 36) == ask(vendor, asking(Person)).parsed


def test_calls_come_before_the_answer():
    """A turn that asks for tools is not read yet."""
    response = Response(content="Let me see.", tool_calls=(ToolCall(name="look"),), finish_reason="tool_calls")

    assert ask(FakeVendor(response), asking(Person)).parsed is None


def test_what_came_over_a_wire_is_passed_on():
    """A gateway's client reads the answer himself."""
    response = Response(content="no JSON")

    assert response is read(asking({"type": "json_object"}, wire_format="openai_chat"), response)


def test_a_model_is_told_what_is_wrong():
    """Its answer and the mistake follow the conversation; the second answer counts, the usage of both is summed."""
    vendor = FakeVendor('{"age": "x"}', ADA)
    response = ask(vendor, asking(Person, reask=1))
    first, second = vendor.seen
    turns = second.messages[len(first.messages) :]

    assert Person("Ada", 36) == response.parsed
    assert ["assistant", "user"] == [turn.role for turn in turns]
    assert '{"age": "x"}' == turns[0].text
    assert "the answer lacks 'name'" in turns[1].text
    assert 1 + 1 + len(second.messages[0].text) // 4 < response.usage.input_tokens


def test_the_words_of_a_class_are_for_the_model():
    """It hears why its number was refused."""
    vendor = FakeVendor('{"number": -42}', '{"number": 42}')

    assert Positive(42) == ask(vendor, asking(Positive, reask=1)).parsed
    assert "ValueError: -42 is not positive" in vendor.seen[1].messages[-1].text


def test_an_empty_answer_is_not_repeated():
    """Vendors refuse empty turns."""
    vendor = FakeVendor("", ADA)
    ask(vendor, asking(Person, reask=1))

    assert ["user", "user"] == [turn.role for turn in vendor.seen[1].messages]


def test_asking_again_has_an_end():
    """So many times and not more."""
    vendor = FakeVendor("no", "nor", "neither", ADA)

    error = refused(vendor, asking(Person, reask=2))
    assert error.text == "neither"
    assert "asked 3 times; raise reask" in str(error)
    assert 3 == vendor.hits


def test_a_stream_says_that_it_is_not_asked_again():
    """Its words are out already."""
    vendor = FakeVendor("no", ADA)
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor)
        with pytest.raises(DispatchError, match=r"reask has no effect here: only dispatcher\.send"):
            list(dispatcher.send_streaming(asking(Person, reask=1)))
    assert 1 == vendor.hits


def test_all_asking_is_under_one_deadline():
    """The second call has what the first one left."""
    clock = ManualClock()
    vendor = FakeVendor("no", latency=2.0)
    with pytest.raises(DeadlineExceeded):
        ask(vendor, asking(Person, reask=9), clock=clock, timeout=5.0)

    assert 3 == vendor.hits
    assert 5.0 == pytest.approx(sum(clock.sleeps), abs=1.5)


def test_a_pinned_vendor_answers_in_the_form_too():
    """By its name."""
    dispatcher = dispatcher_of(FakeVendor("no", ADA))

    assert Person("Ada", 36) == dispatcher.send_to_vendor("fake", asking(Person, reask=1)).parsed


def test_many_answers_have_the_form():
    """As those of one."""
    dispatcher = dispatcher_of(FakeVendor(ADA))

    assert [Person("Ada", 36)] * 3 == [response.parsed for response in dispatcher.map([asking(Person)] * 3)]


def test_a_stream_is_parsed_at_its_end():
    """``response()`` holds the instance."""
    dispatcher = dispatcher_of(FakeVendor(ADA))
    with dispatcher.send_streaming(asking(Person)) as stream:
        assert ADA == "".join(chunk.content for chunk in stream)
        assert Person("Ada", 36) == stream.response().parsed


def test_a_stream_of_another_form_ends_with_the_error():
    """After all of it was delivered; what came is there as ``partial``."""
    dispatcher = dispatcher_of(FakeVendor("Ada, 36"))
    with dispatcher.send_streaming(asking(Person)) as stream:
        heard = []
        with pytest.raises(MalformedReply, match="no JSON"):
            heard.extend(chunk.content for chunk in stream)
        with pytest.raises(MalformedReply):
            stream.response()

        assert "Ada, 36" == "".join(heard) == stream.partial.content


@pytest.mark.parametrize(
    ("kind", "address", "model"),
    [
        (OpenAIVendor, "openai_url", "gpt-4o"),
        (AnthropicVendor, "anthropic_url", "claude-sonnet-4-5"),
        (GoogleVendor, "google_url", "gemini-2.5-flash"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_every_vendor_is_asked_for_the_form(kind, address, model, streamed):
    """Over a socket, in its own words; the answer is an instance."""
    with VendorSimulator(responses=ADA) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(kind(base_url=getattr(simulator, address), api_key="simulated", trust_env=False))
        request = Request(model, [Message.user("Who?")], response_format=Person)
        response = dispatcher.send_streaming(request).response() if streamed else dispatcher.send(request)

        assert Person("Ada", 36) == response.parsed
        assert '"In years."' in json.dumps(simulator.requests[0].json)


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (3, float, 3.0),
        ("red", Color, Color.RED),
        ("2026-12-01T10:00:00+00:00", datetime, datetime.fromisoformat("2026-12-01T10:00:00+00:00")),
        ([1, "a"], list[int | str], [1, "a"]),
        ({"name": "Ada"}, Person | list[Person], Person("Ada")),
        ([{"name": "Ada"}], Person | list[Person], [Person("Ada")]),
        (None, Person | None, None),
        ({"name": "Ada"}, Person | None, Person("Ada")),
        ([1, "a"], tuple[int, str], (1, "a")),
        ([1, 1], set[int], {1}),
        ({"a": {"name": "Ada"}}, dict[str, Person], {"a": Person("Ada")}),
        ({"x": [1]}, object, {"x": [1]}),
        (3, Annotated[int, ["what cannot be remembered"]], 3),
    ],
    ids=str,
)
def test_values_are_built_by_their_type(value, hint, expected):
    """Unions by the first type that fits."""
    made = build_value(value, hint, "it")

    assert expected == made
    assert type(expected) is type(made)


@pytest.mark.parametrize(("value", "hint"), [("3", int), (3, str), (True, int), (1.5, int), ("blue", Color), ([1], Person | None)])
def test_nothing_is_bent_to_fit(value, hint):
    """A text of digits is no number."""
    with pytest.raises(Unfit):
        build_value(value, hint, "it")


def test_values_become_plain():
    """What JSON can hold."""
    event = Event("Tea", date(2026, 12, 1), [Person("Ada")])

    assert {"title": "Tea", "day": "2026-12-01", "guests": [{"name": "Ada", "age": 0}]} == to_json_value(event)


def test_cattrs_waits_for_its_first_use():
    """A program that wants no instances does not load it."""
    code = "import sys, llmdispatcher; llmdispatcher.Dispatcher(); print('cattrs' in sys.modules)"

    assert "False" == subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("one", "other", "cost", "status"),
    [
        (
            Usage(input_tokens=1, cost=Decimal(1), cost_status="priced"),
            Usage(output_tokens=2, cost=Decimal(2), cost_status="priced"),
            3,
            "priced",
        ),
        (
            Usage(input_tokens=1, cost=Decimal(1), cost_status="priced"),
            Usage(input_tokens=1, cost_status="no_price"),
            None,
            "no_price",
        ),
        (Usage(), Usage(input_tokens=1, cost=Decimal(1), cost_status="priced"), 1, "priced"),
        (Usage(), Usage(), None, "no_usage"),
    ],
)
def test_usages_add_up(one, other, cost, status):
    """The cost is known where both are, or where one consumed nothing."""
    both = one + other

    assert one.total_tokens + other.total_tokens == both.total_tokens
    assert (cost, status) == (both.cost, both.cost_status)


@pytest.mark.parametrize(
    ("form", "told"),
    [
        ({}, "it is empty"),
        ({"type": "objct"}, "type 'objct' is not known; did you mean 'object'"),
        ({"type": "json_shema"}, "did you mean 'json_schema'"),
        ({"type": "json"}, "type 'json' is not known"),
        ({"type": None}, "type None is not known"),
        ({"type": 3}, "type 3 is not known"),
        ({"typ": "object"}, "'typ' says no form; did you mean 'type'"),
        ({"type": "json_schema"}, "json_schema: it has no schema"),
        ({"type": "json_schema", "json_schema": {"name": "a"}}, "json_schema: it has no schema"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": "object"}}, "json_schema: it has no schema"),
        ({"type": "json_schema", "schema": {"type": "object"}}, "json_schema: it has no schema"),
        ({"type": "json_schema", "json_schema": {"name": "a", "schema": {"typ": "object"}}}, "none of its keys"),
        ({"type": ["object", "nul"]}, r"\.type: "),
    ],
    ids=str,
)
def test_what_is_no_form_is_refused_when_the_request_is_made(form, told):
    """With the word that was meant."""
    with pytest.raises(InvalidRequest, match=rf"^response_format.*{told}"):
        asking(form)


@pytest.mark.parametrize("schema", [{"enum": ["a"]}, {"const": 1}, {"allOf": [{"type": "string"}]}, {"type": ["object", "null"]}])
def test_every_schema_is_one_without_a_name_too(schema):
    """By whichever of its words."""
    assert schema == asking(schema).response_format["json_schema"]["schema"]


def test_a_guards_schema_has_a_word_of_json_schema():
    """One that has none would let every JSON through."""
    with pytest.raises(ConfigError, match="schema: none of its keys"):
        SchemaGuard(schema={"typ": "object"})


@pytest.mark.parametrize(
    ("schema", "helps"),
    [
        ({"$ref": "http://x/y"}, False),
        ({"$ref": "other.json"}, False),
        ({"$ref": "file:///etc/hosts"}, False),
        ({"properties": {"a": {"$ref": "http://x/y"}}}, False),
        ({"$dynamicRef": "http://x/y"}, False),
        ({"$schema": "http://x/y"}, False),
        ({"$ref": "#name"}, True),
        ({"$ref": "http://x/y", "$defs": {"a": {"$id": "http://x/y"}}}, True),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, True),
        ({"multipleOf": 2}, True),
    ],
    ids=str,
)
def test_the_extra_is_named_only_where_it_would_help(monkeypatch, schema, helps):
    """What it refuses as well is no reason to install it."""
    monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    with pytest.raises(InvalidRequest) as caught:
        asking(schema)

    assert helps == ("install llmdispatcher[schema]" in str(caught.value))
