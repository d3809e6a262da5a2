"""Structured responses: text to JSON, and JSON to what the requested schema or type describes.

cattrs makes the instances, and Pydantic those of its own classes; both are imported when the first one is made.
"""

from __future__ import annotations

import contextvars
import functools
import json
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import time as time_of_day
from decimal import Decimal
from importlib import import_module
from typing import Any, Literal, Union

import attrs

from ..errors import MalformedReply
from ..runtime import Clock, Deadline
from ..types import (
    ROOT,
    Late,
    Message,
    Request,
    Response,
    ResponseFormat,
    bare,
    fields_of,
    form_check,
    has_fields,
    is_alias,
    is_model,
    is_named_tuple,
    is_typed_dict,
    lacks_object,
    mismatch,
    model_adapter,
    parse_text,
    schema_of,
    type_name,
)

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
    return read(request, response, deadline, asked=1 + request.reask)


def read(request: Request, response: Response, deadline: Deadline | None = None, *, asked: int = 1) -> Response:
    """Return the answer with its value in ``parsed``, or unchanged where the request asked for no form, or a tool is called.

    A request that was read from a wire is left alone: whoever sent it reads the answer himself. Raises :class:`MalformedReply`,
    whose ``text`` is the answer's, for another form, a refusal, an answer that was cut off, and one that takes longer to check
    than the ``deadline`` leaves.
    """
    try:
        return _with_parsed(request, response, deadline)
    except Unfit as error:
        again = "give Request(reask=1) to ask again"
        if request.reask:
            again = f"asked {asked} times; raise reask, or say in the prompt what is wanted"
            again = again if asked > 1 else "reask has no effect here: only dispatcher.send() asks again"
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
    described = form.get("json_schema") or {}
    if isinstance(value, dict) and value.keys() == {ROOT} and lacks_object(described.get("schema")):
        try:  # some vendors are asked for an object that has the answer in it
            return _fit(form, value[ROOT], late)
        except Unfit as error:
            failure = error
        try:
            return _fit(form, value, late)
        except Unfit:
            raise failure from None
    return _fit(form, value, late)


def _fit(form: Mapping[str, Any], value: Any, late: Late | None) -> Any:
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
        told = list(_failures(foreign, ""))
        detail = "; ".join([f"{name}{place}: {words}" for place, words in told])
        raise Unfit(f"{name}{_public(told[0][0], hint)} is refused by {type_name(bare(hint)[0])}", detail) from None
    finally:
        _late.reset(before)


def to_json_value(value: Any) -> Any:
    """Return a value as JSON can hold it: instances of classes as dicts, dates and enumerations as texts."""
    return _converter().unstructure(value)


def _failures(foreign: BaseException, place: str) -> Iterator[tuple[str, str]]:
    """The places below ``place`` of what failed, and the words of the checks, without those that cattrs adds."""
    if isinstance(foreign, BaseExceptionGroup):
        for inner in foreign.exceptions:
            yield from _failures(inner, place + _step(inner))
        return
    errors = getattr(foreign, "errors", None)
    if not type(foreign).__module__.startswith("pydantic") or not callable(errors):
        yield place, f"{type(foreign).__name__}: {foreign}"
        return
    for error in errors():  # as Pydantic has them
        steps = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in error["loc"]]
        yield place + "".join(steps), error["msg"]


def _step(inner: BaseException) -> str:
    """The place of a failure in what is around it, by the note that cattrs has made on it."""
    for note in getattr(inner, "__notes__", ()):
        if (name := getattr(note, "name", None)) is not None:
            return f".{name}"
        if (index := getattr(note, "index", None)) is not None:
            return f"[{index}]" if isinstance(index, int) else f".{index}"
    return ""


def _public(place: str, hint: Any) -> str:
    """A place without keys that the schema does not name, which are the answer's own."""
    named = set(_names_in(schema_of(hint)))
    steps = re.findall(r"\[\d+\]|\.[^.\[]+", place)
    return "".join([step if step[0] == "[" or step[1:] in named else ".*" for step in steps])


def _names_in(schema: Any) -> Iterator[str]:
    """The names of all fields in a schema."""
    if isinstance(schema, list):
        for inner in schema:
            yield from _names_in(inner)
    elif isinstance(schema, dict):
        for name, inner in schema.items():
            if name in ("properties", "$defs") and isinstance(inner, dict):
                yield from inner if name == "properties" else ()
                yield from _names_in(list(inner.values()))
            else:
                yield from _names_in(inner)


def _schema(hint: Any, models: Literal["closed", "open"] = "open") -> Any:
    """The schema by which values are checked; what Pydantic checks itself is open in it."""
    try:
        return _schemas(hint, models=models)
    except TypeError:  # a type that cannot be remembered
        return schema_of(hint, models=models)


_schemas = functools.lru_cache(maxsize=256)(schema_of)


@functools.cache
def _converter() -> Any:
    converter = import_module("cattrs.preconf.json").make_converter()
    converter.register_structure_hook_func(lambda hint: hint is object, lambda value, _hint: value)
    converter.register_structure_hook_factory(_is_union, lambda hint: functools.partial(_one_of, typing.get_args(hint)))
    UUID = import_module("uuid").UUID  # noqa: N806 - a class
    for kind, made_of in ((time_of_day, time_of_day.fromisoformat), (UUID, UUID), (Decimal, lambda number: Decimal(str(number)))):
        converter.register_structure_hook(kind, functools.partial(_made_of, made_of))
        converter.register_unstructure_hook(kind, str)
    converter.register_structure_hook_func(lambda hint: _is_generic(hint) or _quotes(hint), _instance_of)
    converter.register_structure_hook_func(is_typed_dict, _dict_of)
    converter.register_structure_hook_func(is_alias, lambda value, hint: converter.structure(value, bare(hint)[0]))
    cols = import_module("cattrs.cols")
    converter.register_structure_hook_factory(is_named_tuple, cols.namedtuple_dict_structure_factory)
    converter.register_unstructure_hook_factory(is_named_tuple, cols.namedtuple_dict_unstructure_factory)
    converter.register_structure_hook_func(is_model, _validate)
    converter.register_unstructure_hook_func(is_model, _dump)
    return converter


def _is_generic(hint: Any) -> bool:
    origin = typing.get_origin(hint) or hint
    has_variables = bool(typing.get_args(hint) or getattr(origin, "__parameters__", ()))
    return has_variables and has_fields(origin) and not is_model(origin) and not is_typed_dict(origin)


def _quotes(hint: Any) -> bool:
    """Whether a class has a field such as ``list["Node"]``, a name in a text within a type, which cattrs does not look up."""
    if is_model(hint):
        return False
    fields: Iterable[Any] = attrs.fields(hint) if attrs.has(hint) else getattr(hint, "__dataclass_fields__", {}).values()
    return any(not isinstance(field.type, str) and _is_quoted(field.type) for field in fields)  # a text is looked up


def _is_quoted(hint: Any) -> bool:
    """Whether a name in a text stands in a type; the texts of ``Literal`` are none."""
    if typing.get_origin(hint) is Literal:
        return False
    return isinstance(hint, str | typing.ForwardRef) or any(map(_is_quoted, typing.get_args(hint)))


def _instance_of(value: Any, hint: Any) -> Any:
    """An instance of a class; cattrs does not see the variables of generic ones, and quoted names, in types within types."""
    origin = typing.get_origin(hint) or hint
    names = {field.name: field.alias for field in attrs.fields(origin)} if attrs.has(origin) else {}
    return origin(**{names.get(name, name): made for name, made in _dict_of(value, hint).items()})


def _dict_of(value: Any, hint: Any) -> dict[str, Any]:
    """A ``TypedDict``; cattrs does not see which keys may be left out where annotations are texts."""
    made, failures = {}, []
    for field in fields_of(hint):
        if field.name in value:
            try:
                made[field.name] = _converter().structure(value[field.name], bare(field.hint)[0])
            except Exception as foreign:  # noqa: BLE001 - as in build_value
                foreign.add_note(import_module("cattrs.errors").AttributeValidationNote("", field.name, field.hint))
                failures.append(foreign)
    if failures:
        raise ExceptionGroup("some fields do not fit", failures)
    return made


def _made_of(make: Callable[[Any], Any], value: Any, _hint: Any) -> Any:
    return make(value)


def _validate(value: Any, kind: Any) -> Any:
    """An instance of a class of Pydantic, by its own rules for JSON."""
    text = json.dumps(value)
    if hasattr(kind, "model_validate_json"):
        return kind.model_validate_json(text)
    return model_adapter(kind).validate_json(text)


def _dump(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    return model_adapter(type(value)).dump_python(value, mode="json", by_alias=True)


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (Union, types.UnionType)


def _one_of(options: tuple[Any, ...], value: Any, _hint: Any) -> Any:
    """The first of several types whose schema the value fits and that takes it; then those that Pydantic can make it fit."""
    late = _late.get()
    failure: Exception | None = None
    tried = []
    for models in ("closed", "open"):
        for option in options:
            if late is not None and late():
                raise Unfit("the check takes too long")
            if option in tried or mismatch(value, _schema(option, models), late=late) is not None:
                continue
            tried.append(option)
            try:
                return None if value is None else _converter().structure(value, bare(option)[0])
            except Exception as foreign:
                if has_fields(bare(option)[0]) and not is_model(bare(option)[0]):  # whose forms may have forms in them again
                    raise
                failure = failure or foreign
    raise failure or Unfit("no form fits")  # in a place whose schema is wider than its type
