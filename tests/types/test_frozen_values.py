"""Values that callers hold are frozen, whatever copies them."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

from llmdispatcher import AttemptRecord, Message, Outcome, Request, Response, Usage
from llmdispatcher.types import replace

from ..cases import each

VALUES: list[Any] = [
    AttemptRecord(vendor="openai", model="m", started=0.0, latency=0.1),
    Message.user("hello"),
    Outcome(vendor=None, model="m", error=None, attempts=(), usage=None, latency=0.1, first_token=None, streamed=False),
    Request("gpt-4o", "hello"),
    Response(content="a", usage=Usage(input_tokens=3)),
    Usage(input_tokens=3),
]


@each("value", VALUES)
def test_values_and_their_copies_are_frozen(value: Any) -> None:
    """No field can be set or deleted, no other attribute added; copies, pickles and changed copies are equal and frozen, too."""
    name = attrs.fields(type(value))[0].name
    copies = [copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value)), attrs.evolve(value), replace(value)]

    for one in (value, *copies):
        assert (type(one), one) == (type(value), value)
        for change in (
            lambda one=one: setattr(one, name, 7),
            lambda one=one: setattr(one, "more", 7),
            lambda one=one: delattr(one, name),
        ):
            with pytest.raises(attrs.exceptions.FrozenInstanceError):
                change()


@each("value", VALUES)
def test_replace_changes_the_copy_alone(value: Any) -> None:
    """The fields that are named, and nothing of the original; nothing is converted or validated."""
    name = attrs.fields(type(value))[0].name
    was = getattr(value, name)

    assert (7, was) == (getattr(replace(value, **{name: 7}), name), getattr(value, name))
