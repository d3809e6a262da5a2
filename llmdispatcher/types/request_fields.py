"""Converters and validators of the fields of ``Request``. Each error names the field, the value and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from ..errors import InvalidRequest
from . import schema
from .extra_params import check_params
from .message import Message, Tool, VendorTool


def bounded(low: float, high: float) -> Any:
    """A number within bounds, or ``None``."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: float | None) -> None:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and low <= value <= high):
            raise InvalidRequest(
                f"{attribute.name}: {value!r} is not a number from {low:g} to {high:g}; omit it for the model's default"
            )

    return check


def count(_instance: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    """A whole number of at least 0, or ``None``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        todo = "for the model's default" if attribute.default is None else f"for {attribute.default}"
        raise InvalidRequest(f"{attribute.name}: {value!r} is not a whole number ≥ 0; omit it {todo}")


def positive(instance: Any, attribute: attrs.Attribute[Any], value: int | None) -> None:
    """A whole number of at least 1, or ``None``; a wire format may have a meaning for 0."""
    least = 1 if instance.wire_format is None else 0
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidRequest(f"{attribute.name}: {value!r} is not a whole number ≥ {least}; omit it for the model's default")


ANY_MODEL = "auto"
"""The name of no model and of all: whichever a mode finds best among those that the registered vendors are known to have."""


def has_both_parts(name: str) -> bool:
    """Whether a name has no colon, or something on both sides of the first one, as ``"vendor:model"`` has."""
    head, colon, tail = name.partition(":")
    return not colon or bool(head.strip() and tail.strip())


_LONGEST_NAME = 512


def is_model_name(name: Any) -> bool:
    """Whether something that others have written can be a model's name: printable text, not blank, and of no absurd length."""
    return isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable() and name == name.strip()


def check_reference(name: str) -> str:
    """The name, if it is a model's or ``"vendor:model"``. Raises :class:`InvalidRequest`."""
    if not has_both_parts(name):
        raise InvalidRequest(f"model: {name!r} lacks a part; write 'vendor:model', such as 'openai:gpt-4o', or a model's bare name")
    return name


def model(instance: Any, _attribute: Any, value: str) -> None:
    """A model's name; an empty one where a mode chooses."""
    if not isinstance(value, str) or not (value.strip() or instance.wire_format or instance.mode):
        raise InvalidRequest(
            f"model: {value!r} names no model; give a name such as 'gpt-4o' or 'anthropic:claude-sonnet-5', or a mode=\"fast\""
        )
    check_reference(value)


def messages_of(value: str | Sequence[Message | Mapping[str, Any]]) -> tuple[Message, ...]:
    """A conversation from messages, dicts, or one text of the user."""
    if isinstance(value, str):
        return (Message.user(value),)
    if not isinstance(value, (list, tuple, Sequence)):  # the common ones first: an abstract class takes its time
        raise InvalidRequest(f"messages: {type(value).__name__} is no conversation; {_instead_of(value)}")
    return tuple([message if isinstance(message, Message) else _message(message) for message in value])


def _instead_of(value: Any) -> str:
    one = isinstance(value, Message | Mapping)
    return "put it into a list: [message]" if one else "give a text, or a list of messages"


def _message(value: Any) -> Message:
    if isinstance(value, (dict, Mapping)):
        return Message.from_dict(value)
    raise InvalidRequest(
        f"messages: {type(value).__name__} is not a message; use Message.user(...) or {{'role': ..., 'content': ...}}"
    )


def check_results(messages: Sequence[Message]) -> None:
    """Raise :class:`InvalidRequest` for a tool's result that does not tell which call it answers.

    It names the call by its id, or the function by its name, or follows a call that has no id either: those answer in order.
    """
    are_named = True
    for place, message in enumerate(messages):
        if message.tool_calls:
            are_named = all(call.id for call in message.tool_calls)
        elif message.role == "tool" and are_named and not message.tool_call_id and not message.name:
            raise InvalidRequest(
                f"messages[{place}].tool_call_id: {message.tool_call_id!r} names no call; a tool message gives the id of the call"
                " that it answers: Message.tool(content, call.id)"
            )


def stops(value: str | Sequence[str] | None) -> tuple[str, ...]:
    """Stop sequences from one or several."""
    if value is None or value == ():
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise InvalidRequest(f"stop: {value!r} is not a string or a list of strings")


def tools_of(value: Sequence[Tool | VendorTool | Mapping[str, Any] | Callable[..., Any]] | None) -> tuple[Tool | VendorTool, ...]:
    """Tools from tools, dicts and Python functions."""
    if value is None or value == ():
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise InvalidRequest(f"tools: {type(value).__name__} is not a list of tools; give [Tool(...), ...]")
    return tuple([tool if isinstance(tool, Tool | VendorTool) else _tool(tool) for tool in value])


def _tool(value: Any) -> Tool:
    if isinstance(value, Mapping):
        return Tool.from_dict(value)
    if callable(value):
        return schema.tool(value)
    raise InvalidRequest(
        f"tools: {type(value).__name__} is not a tool; use Tool(...), {{'name': ..., 'parameters': ...}} or a Python function"
    )


def mapping(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A dict or the like."""
    if not isinstance(value, (dict, Mapping)):
        raise InvalidRequest(f"{attribute.name}: {type(value).__name__} is not a mapping; give a dict")


def further(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A mapping that replaces nothing of the request; one that was read from a wire format may hold what has no place elsewhere."""
    mapping(instance, attribute, value)
    if value and instance.wire_format is None:
        check_params(value)


MOST_HEADERS = 32
MOST_HEADER_TEXT = 16 << 10
"""Characters of all headers of a request together."""
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_HEADER_VALUE = re.compile(r"[\t -~\x80-\xff]*")
_HEADERS_OF_HTTP = frozenset(
    {
        *("accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("http2-settings", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "range", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
_CREDENTIALS = frozenset({"api-key", "authorization", "cookie", "x-api-key", "x-goog-api-key"})


def headers(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """Headers that a call may have of its own, or ``None``."""
    if value is not None:
        check_headers(attribute.name, value)


def check_headers(field: str, value: Any) -> None:
    """Raise :class:`InvalidRequest` for headers that no call may have of its own. No value is in an error."""
    if not isinstance(value, (dict, Mapping)):
        raise InvalidRequest(f"{field}: {type(value).__name__} is not a mapping; give a dict")
    names = [name.lower() if isinstance(name, str) else name for name in value]
    if len(names) > MOST_HEADERS:
        raise InvalidRequest(f"{field}: {len(names)} headers are more than {MOST_HEADERS}; leave some out")
    for name, text in value.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise InvalidRequest(f"{field}: {str(name)[:80]!r} is no name of a header; give one such as 'X-Trace'")
        if name.lower() in _HEADERS_OF_HTTP:
            raise InvalidRequest(f"{field}: {name!r} belongs to the connection or the format; leave it out")
        if name.lower() in _CREDENTIALS:
            raise InvalidRequest(f"{field}: {name!r} is a credential, which a request has none of; give the vendor its api_key")
        if names.count(name.lower()) > 1:
            raise InvalidRequest(f"{field}: {name!r} is there twice; its case makes no difference")
        if not isinstance(text, str) or not _HEADER_VALUE.fullmatch(text):
            raise InvalidRequest(f"{field}[{name!r}]: the value is no text that a header can carry; give latin-1 in one line")
    if sum(len(name) + len(text) for name, text in value.items()) > MOST_HEADER_TEXT:
        raise InvalidRequest(f"{field}: they have more than {MOST_HEADER_TEXT:,} characters; send such data in the messages")


def kinds(*kinds: type, remedy: str) -> Any:
    """A value of one of these types, or ``None``; ``remedy`` says what to give instead."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value is not None and (isinstance(value, bool) or not isinstance(value, kinds)):
            raise InvalidRequest(f"{attribute.name}: {type(value).__name__} is not allowed here; {remedy}")

    return check


def one_of(*words: str | None) -> Any:
    """Return a check that refuses every word but these."""

    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise InvalidRequest(f"{attribute.name}: {value!r} is not known; use {', '.join(map(str, words))}")

    return check


def flag(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """True, False or ``None``."""
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"{attribute.name}: {value!r} is neither True nor False; omit it for the model's default")
