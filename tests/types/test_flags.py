"""Fields of a request that are True or False."""

from __future__ import annotations

import typing

import attrs
import pytest

from llmdispatcher import InvalidRequest, Request

from ..cases import each

FLAGS = [name for name, hint in typing.get_type_hints(Request).items() if bool in (hint, *typing.get_args(hint))]


def test_every_flag_is_found():
    """So that a new one is looked at, too."""
    assert {"cache", "continue_broken", "drop_params", "failover", "logprobs", "parallel_tool_calls"} <= set(FLAGS)
    assert set(FLAGS) <= set(attrs.fields_dict(Request))


@each("name, value", [(name, value) for name in FLAGS for value in (0, 1, 0.0, 1.0, "true", "")])
def test_a_flag_is_no_number_and_no_text(name, value):
    """The error names the field, the value, and what to do."""
    with pytest.raises(InvalidRequest) as refused:
        Request("m", "Hi", **{name: value})
    assert str(refused.value).startswith(f"{name}: {value!r} is ")
    assert "; omit it" in str(refused.value) or "; use True, False" in str(refused.value)


@each("name, value", [(name, value) for name in FLAGS for value in (True, False)])
def test_a_flag_is_kept(name, value):
    """As it is given."""
    assert getattr(Request("m", "Hi", **{name: value}), name) is value
