"""Structured responses: text to JSON, and JSON to what the requested schema or class describes.

cattrs makes the instances; it is imported when the first one is made.
"""

from __future__ import annotations

import contextvars
import functools
import json
import re
import types
import typing
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Union

import attrs

from ..errors import MalformedReply
from ..runtime import Clock, Deadline
from ..types import Late, Message, Request, Response, ResponseFormat, bare, form_check, mismatch, parse_text, schema_of

_late: contextvars.ContextVar[Late | None] = contextvars.ContextVar("late", default=None)
"""What ends the checks that cattrs asks for while it makes an instance."""
Ask = Callable[[Request, float | None], Response]
"""Sends a request within so many seconds."""

_FENCED = re.compile(r"```[a-zA-Z]*[ \t]*\r?\n(.*?)```", re.DOTALL)
_WHOLLY_FENCED = re.compile(r"\A```[a-zA-Z]*[ \t]*\r?\n(.*)```\Z", re.DOTALL)
_FORMS = ("json_object", "json_schema")


class Unfit(ValueError):
    """A text or value that does not have the wanted form.

    The words of ``str(error)`` are the schema's; ``detail`` is for the model that wrote it, and may repeat what it wrote.
    """

    def __init__(self, text: str, detail: str | None = None) -> None:
        super().__init__(text)
        self.detail = detail or text


def ask_and_parse(ask: Ask, request: Request, seconds: float | None, clock: Clock) -> Response:
    """Return the answer with its value in ``parsed``; ask up to ``request.reask`` times again where it has another form.

    All within ``seconds``; with ``None`` each has the time of a call of its own. Usage and cost of the answers are summed.
    Raises :class:`MalformedReply` with the last text.
    """
    deadline = Deadline.after(seconds, clock=clock)
    response = ask(request, seconds)
    for _ in range(request.reask):
        try:
            return _with_parsed(request, response, deadline)
        except Unfit as error:
            left = None if seconds is None else deadline.check()
            after = ask(_correction(request, response, error), left)
            response = attrs.evolve(after, usage=response.usage + after.usage)
    return read(request, response, deadline)


def read(request: Request, response: Response, deadline: Deadline | None = None) -> Response:
    """Return the answer with its value in ``parsed``, or unchanged where the request asked for no form, or a tool is called.

    A request that was read from a wire is left alone: whoever sent it reads the answer himself. Raises :class:`MalformedReply`,
    whose ``text`` is the answer's, for another form, a refusal, an answer that was cut off, and one that takes longer to check
    than the ``deadline`` leaves.
    """
    try:
        return _with_parsed(request, response, deadline)
    except Unfit as error:
        again = (
            "give Request(reask=1) to ask again"
            if not request.reask
            else f"asked {request.reask + 1} times; raise reask, or say in the prompt what is wanted"
        )
        raise MalformedReply(f"{error}; {again}, error.text holds it", text=response.content) from None


def _with_parsed(request: Request, response: Response, deadline: Deadline | None) -> Response:
    form = request.response_format
    if form is None or form.get("type") not in _FORMS or request.wire_format is not None or response.tool_calls:
        return response
    if response.refusal is not None or response.finish_reason == "content_filter":
        text = "the model refuses to answer in the form that was asked for; error.text holds what it says"
        raise MalformedReply(text, text=response.refusal or response.content)
    try:
        return attrs.evolve(response, parsed=_parsed(form, response.content, late_by(deadline)))
    except Unfit:
        if response.finish_reason == "length":
            text = "the answer was cut off before it was whole; raise max_tokens, error.text holds what there is"
            raise MalformedReply(text, text=response.content) from None
        raise


def late_by(deadline: Deadline | None) -> Late | None:
    """Return a function that says whether the deadline is over; ``None`` without a deadline."""
    return None if deadline is None else lambda: deadline.cancelled or deadline.remaining() <= 0


def _parsed(form: Mapping[str, Any], text: str, late: Late | None) -> Any:
    value = read_json(text)
    kind = form.kind if isinstance(form, ResponseFormat) else None
    if kind is not None:
        return build_value(value, kind, "the answer", late)
    check = form_check(form)
    wrong = check(value, "the answer", late) if check is not None else None
    if wrong is None and form["type"] == "json_object" and not isinstance(value, dict):
        wrong = "the answer is no JSON object"
    if wrong is not None:
        raise Unfit(wrong)
    return value


def _correction(request: Request, response: Response, error: Unfit) -> Request:
    """Return the request with the answer and a message that says what is wrong with it."""
    said = (response.message,) if response.content.strip() else ()
    wish = Message.user(f"This does not have the form that was asked for: {error.detail}. Answer again, with nothing but the JSON.")
    return attrs.evolve(request, messages=(*request.messages, *said, wish), reask=0)


def read_json(text: str, name: str = "the answer") -> Any:
    """The document in a text: all of it, or what a fence around it or the only fence in it holds. Raises :class:`Unfit`."""
    stripped = text.strip()
    fences = _FENCED.findall(stripped)
    why = ""
    for candidate in (stripped, *_WHOLLY_FENCED.findall(stripped), *(fences if len(fences) == 1 else ())):
        try:
            return parse_text(candidate.strip())
        except ValueError as foreign:
            told = isinstance(foreign, json.JSONDecodeError)
            why = why or (f" ({foreign.msg} at character {foreign.pos})" if told else "")  # type: ignore[attr-defined]  # has both
    raise Unfit(f"{name} is {f'no JSON{why}' if stripped else 'empty'}")


def build_value(value: Any, hint: Any, name: str, late: Late | None = None) -> Any:
    """Build what a type hint describes from a JSON value: an instance, a list of them, a date. Raises :class:`Unfit`."""
    wrong = mismatch(value, _schema(hint), name, late)
    if wrong is not None:
        raise Unfit(wrong)
    before = _late.set(late)
    try:
        return _converter().structure(value, bare(hint)[0])
    except Exception as foreign:  # noqa: BLE001 - cattrs passes on whatever the class's own checks raise
        told = "; ".join(_messages_of(foreign))
        raise Unfit(f"{name} is refused by {getattr(hint, '__name__', hint)}", f"{name}: {told}") from None
    finally:
        _late.reset(before)


def to_json_value(value: Any) -> Any:
    """Return a value as JSON can hold it: instances of classes as dicts, dates and enumerations as texts."""
    return _converter().unstructure(value)


def _messages_of(foreign: BaseException) -> list[str]:
    """Return the messages of the checks that failed, without those that cattrs adds."""
    if isinstance(foreign, BaseExceptionGroup):
        return [text for inner in foreign.exceptions for text in _messages_of(inner)]
    return [f"{type(foreign).__name__}: {foreign}"]


def _schema(hint: Any) -> Any:
    try:
        return _schemas(hint)
    except TypeError:  # a type that cannot be remembered
        return schema_of(hint)


_schemas = functools.lru_cache(maxsize=256)(schema_of)


@functools.cache
def _converter() -> Any:
    converter = import_module("cattrs.preconf.json").make_converter()
    converter.register_structure_hook_func(lambda hint: hint is object, lambda value, _hint: value)
    converter.register_structure_hook_factory(_is_union, lambda hint: functools.partial(_one_of, typing.get_args(hint)))
    return converter


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def _one_of(options: tuple[Any, ...], value: Any, _hint: Any) -> Any:
    """The first of several types whose schema the value fits."""
    late = _late.get()
    for option in options:
        if late is not None and late():
            raise Unfit("the check takes too long")
        if mismatch(value, _schema(option), late=late) is None:
            return None if value is None else _converter().structure(value, option)
    raise Unfit("no form fits")  # in a place whose schema is wider than its type
