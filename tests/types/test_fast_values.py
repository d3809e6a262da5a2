"""Objects of frozen classes are made in another way, and are what they were."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

from llmdispatcher import AttemptRecord, InvalidRequest, Message, Outcome, Request, Response, StreamChunk, Usage
from llmdispatcher.types import evolved, fast_init

FAST = (AttemptRecord, Message, Outcome, Request, Response, StreamChunk, Usage)


def _positive(_instance: Any, attribute: attrs.Attribute[Any], value: int) -> None:
    if value < 0:
        raise ValueError(attribute.name)


@fast_init
@attrs.frozen(weakref_slot=False)
class Point:
    """All that attrs can do with a field."""

    x: int = attrs.field(validator=_positive, converter=int)
    y: int = 0
    tags: list[str] = attrs.field(factory=list, kw_only=True)
    both: int = attrs.field(kw_only=True)

    @both.default
    def _sum(self) -> int:
        return self.x + self.y

    def __attrs_post_init__(self) -> None:
        if self.x > 100:
            object.__setattr__(self, "x", 100)


class Named(Point):
    """With a dictionary of its own, so that it has another layout."""


@pytest.mark.parametrize("kind", [*FAST, Point])
def test_it_is_in_use(kind: type[Any]) -> None:
    """The classes of which a call makes most are made so with the attrs that is installed."""
    assert kind.__init__.__code__.co_filename.startswith("<fast init of ")


def test_fields_are_filled_as_attrs_fills_them() -> None:
    """Defaults, factories, converters, defaults that look at other fields, and what comes after the fields."""
    point = Point("3", 4)
    assert (point.x, point.y, point.tags, point.both) == (3, 4, [], 7)
    assert Point(1, tags=["a"], both=9) == Point(1, 0, tags=["a"], both=9) != Point(1)
    assert hash(StreamChunk(content="a")) == hash(StreamChunk(content="a"))
    assert Point(1).tags is not Point(1).tags
    assert Point(200).x == 100
    assert repr(Point(1)) == "Point(x=1, y=0, tags=[], both=1)"


def test_they_are_frozen() -> None:
    """Nobody can write to one, or delete of it."""
    for made in (Point(1), Response(content="a"), Request("gpt-4o", "hello")):
        field = attrs.fields(type(made))[0].name
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(made, field, None)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            delattr(made, field)


def test_bad_values_are_refused() -> None:
    """By the validators, and by Python itself in its own words."""
    make: Any = Point
    with pytest.raises(ValueError, match="x"):
        make(-1)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'x'"):
        make()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        make(1, z=2)
    with pytest.raises(InvalidRequest, match="temperature"):
        Request("gpt-4o", "hello", temperature=7)


def test_copies_pickles_and_changes_are_of_the_same_class() -> None:
    """No copy is of the twin class."""
    for made in (Point(1, 2), Response(content="a", usage=Usage(input_tokens=3)), Request("gpt-4o", "hello")):
        for again in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made)), attrs.evolve(made)):
            assert type(again) is type(made)
            assert again == made


def test_evolved_is_evolve() -> None:
    """The same copy, which is frozen, and the original as it was; of a class of any other kind, too."""
    response = Response(content="a", usage=Usage(input_tokens=3))
    for made in (response, Named(1, 2), attrs.evolve(response.usage)):
        field = attrs.fields(type(made))[0].name
        was = getattr(made, field)
        again = evolved(made, **{field: 7})
        assert again == attrs.evolve(made, **{field: 7}) != made
        assert type(again) is type(made)
        assert getattr(made, field) == was
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(again, field, 8)
    with pytest.raises(AttributeError, match="contents"):
        evolved(response, contents="b")


def test_subclasses_are_made_as_before() -> None:
    """Their layout may be another, so that the twin is none of theirs."""
    named = Named(1, 2)
    vars(named)["name"] = "a"
    assert (type(named), named.both) == (Named, 3)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        named.x = 2


def test_a_class_that_cannot_be_made_faster_stays_as_it_is() -> None:
    """One whose objects can be referred to weakly, and one that is not frozen."""

    @fast_init
    @attrs.frozen
    class Referable:
        x: int

    @fast_init
    @attrs.define
    class Open:
        x: int

    assert Referable(1).x == Open(1).x == 1
    for kind in (Referable, Open):
        assert not kind.__init__.__code__.co_filename.startswith("<fast init")
