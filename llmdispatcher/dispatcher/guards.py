"""Guards: check what is sent and what comes back. A guard may refuse or rewrite both.

A guard is any object with ``before(request)``, which returns the request to send, or ``after(request, response)``, which returns
the response to give to the caller, or both. It refuses by raising, by convention :class:`ContentFiltered`. The guards in this file
are exact rules without a model: length, patterns, kinds of personal data, a JSON schema. They look at text, not at images or audio.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import attrs

from ..errors import ConfigError, ContentFiltered, DispatchError, InvalidRequest
from ..runtime import Deadline
from ..types import (
    Late,
    Message,
    Request,
    Response,
    TextPart,
    mapping,
    non_negative_integer,
    parse_text,
    schema_check,
    string_tuple,
)
from .structured import late_by

ACTIONS = ("refuse", "mask")
PLACES = ("request", "response", "both")

PERSONAL: Mapping[str, re.Pattern[str]] = {
    "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
    "card": re.compile(r"\b(?:\d[ -]?){12,18}\d\b"),
    "us_ssn": re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"),
    "ipv4": re.compile(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
    "phone": re.compile(r"(?<!\w)(?:\+\d{1,3}(?:[ .-]?\(?\d{1,4}\)?){2,5}|\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4})(?!\w)"),
}
"""Patterns of personal data; a card number counts only if its check digit is right, an IBAN only if its remainder is."""


def _luhn(text: str) -> bool:
    """Whether the check digit of a card number is right (ISO/IEC 7812-1)."""
    digits = [int(sign) for sign in reversed(text) if sign.isdigit()]
    doubled = [digit if place % 2 == 0 else sum(divmod(digit * 2, 10)) for place, digit in enumerate(digits)]
    return sum(doubled) % 10 == 0


def _mod97(text: str) -> bool:
    """Whether an IBAN's check digits are right (ISO 13616)."""
    plain = text.replace(" ", "")
    return int("".join([str(int(sign, 36)) for sign in plain[4:] + plain[:4]])) % 97 == 1


_CONFIRMED: Mapping[str, Callable[[str], bool]] = {"card": _luhn, "iban": _mod97}


def _one_of(words: Sequence[str]) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise ConfigError(f"{attribute.name}: {value!r} is not known; use {', '.join(words)}")

    return check


def refused(what: str) -> ContentFiltered:
    """The error of a guard that says no; ``what`` names the rule and the place, never the text."""
    return ContentFiltered(f"a guard refuses it: {what}", code="guard", sent=False)


def rewritten(request: Request, change: Callable[[str], str]) -> Request:
    """The request with every text of its messages changed; the same one where nothing does."""
    messages = tuple([_rewritten(message, change) for message in request.messages])
    same = all(new is old for new, old in zip(messages, request.messages, strict=True))
    return request if same else attrs.evolve(request, messages=messages)


def _rewritten(message: Message, change: Callable[[str], str]) -> Message:
    if isinstance(message.content, str):
        text = change(message.content)
        return message if text == message.content else attrs.evolve(message, content=text)
    parts = tuple([attrs.evolve(part, text=change(part.text)) if isinstance(part, TextPart) else part for part in message.content])
    return message if parts == message.content else attrs.evolve(message, content=parts)


def _answer(response: Response, change: Callable[[str], str]) -> Response:
    text = change(response.content)
    if text == response.content:
        return response
    kept = [part for part in response.parts if not isinstance(part, TextPart)]
    return attrs.evolve(response, content=text, parts=(TextPart(text=text), *kept) if response.parts else ())


@attrs.frozen(kw_only=True)
class MaxLengthGuard:
    """Refuses a conversation, or an answer, of more than so many characters."""

    request: int | None = attrs.field(default=None, validator=non_negative_integer)
    response: int | None = attrs.field(default=None, validator=non_negative_integer)

    def before(self, request: Request) -> Request:
        """Count the conversation."""
        length = sum([len(message.text) for message in request.messages])
        if self.request is not None and length > self.request:
            raise refused(f"the conversation has {length} characters, the limit is {self.request}")
        return request

    def after(self, _request: Request, response: Response) -> Response:
        """Count the answer."""
        if self.response is not None and len(response.content) > self.response:
            raise refused(f"the answer has {len(response.content)} characters, the limit is {self.response}")
        return response


def _pattern(value: Any) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except (re.error, TypeError) as error:
        raise ConfigError(f"pattern: {value!r} is not a regular expression: {error}") from None


@attrs.frozen(kw_only=True)
class PatternGuard:
    """Refuses, or masks with ``replacement``, what a regular expression finds in requests, responses or both; ``name`` is told."""

    pattern: re.Pattern[str] = attrs.field(converter=_pattern)
    name: str = "a pattern"
    action: str = attrs.field(default="refuse", validator=_one_of(ACTIONS))
    where: str = attrs.field(default="both", validator=_one_of(PLACES))
    replacement: str = "[removed]"

    def before(self, request: Request) -> Request:
        """Search the conversation."""
        return request if self.where == "response" else rewritten(request, self._applied)

    def after(self, _request: Request, response: Response) -> Response:
        """Search the answer."""
        return response if self.where == "request" else _answer(response, self._applied)

    def _applied(self, text: str) -> str:
        if self.action == "mask":
            return self.pattern.sub(lambda _found: self.replacement, text)
        if self.pattern.search(text):
            raise refused(f"{self.name} was found")
        return text


def _kinds(value: Iterable[str]) -> tuple[str, ...]:
    kinds = string_tuple("kinds", value)
    for kind in kinds:
        if kind not in PERSONAL:
            raise ConfigError(f"kinds: {kind!r} is not a kind of personal data; use {', '.join(PERSONAL)}")
    return kinds


@attrs.frozen(kw_only=True)
class PersonalDataGuard:
    """Masks (``[email]``, ``[iban]`` …) or refuses personal data of some ``kinds``: patterns with check digits, no guesses.

    Names and addresses of people are not recognised: no pattern can.
    """

    kinds: tuple[str, ...] = attrs.field(default=tuple(PERSONAL), converter=_kinds)
    action: str = attrs.field(default="mask", validator=_one_of(ACTIONS))
    where: str = attrs.field(default="request", validator=_one_of(PLACES))

    def before(self, request: Request) -> Request:
        """Search the conversation."""
        return request if self.where == "response" else rewritten(request, self._applied)

    def after(self, _request: Request, response: Response) -> Response:
        """Search the answer."""
        return response if self.where == "request" else _answer(response, self._applied)

    def _applied(self, text: str) -> str:
        for kind in self.kinds:
            text = PERSONAL[kind].sub(lambda found, kind=kind: self._found(kind, found[0]), text)  # type: ignore[misc]  # mypy cannot infer a lambda with a default
        return text

    def _found(self, kind: str, text: str) -> str:
        confirmed = _CONFIRMED.get(kind)
        if confirmed is not None and not confirmed(text):
            return text
        if self.action == "refuse":
            raise refused(f"personal data ({kind}) was found")
        return f"[{kind}]"


def _checkable(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    try:
        schema_check(value, attribute.name)
    except InvalidRequest as error:
        raise ConfigError(error.message) from None


@attrs.frozen(kw_only=True)
class SchemaGuard:
    """Refuses an answer that is not JSON of a schema, whatever the request asked for; answers that call tools are let through.

    A schema that cannot be checked (docs/structured.md) is a :class:`~llmdispatcher.ConfigError`.
    """

    schema: Mapping[str, Any] = attrs.field(validator=[mapping, _checkable])

    def after(self, _request: Request, response: Response, late: Late | None = None) -> Response:
        """Check the answer; it is refused as soon as ``late()`` is true."""
        if response.tool_calls:
            return response
        try:
            wrong = schema_check(self.schema, "schema")(parse_text(response.content.strip()), "the answer", late)
        except ValueError:
            wrong = "it is not JSON"
        if wrong is not None:
            raise refused(f"the answer does not have its form: {wrong}")
        return response


def check_guards(value: Any) -> tuple[Any, ...]:
    """The guards of a configuration; raises :class:`ConfigError` for something that guards nothing."""
    if value is None:
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"guards: {type(value).__name__} is not a list of guards; give [MaxLengthGuard(...), ...]")
    for number, guard in enumerate(value):
        if not (callable(getattr(guard, "before", None)) or callable(getattr(guard, "after", None))):
            raise ConfigError(f"guards[{number}]: {type(guard).__name__} has neither before(request) nor after(request, response)")
    return tuple(value)


def before(guards: Iterable[Any], request: Request) -> Request:
    """The request as all guards let it out."""
    for guard in guards:
        step = getattr(guard, "before", None)
        request = step(request) if step is not None else request
    return request


def after(guards: Iterable[Any], request: Request, response: Response, deadline: Deadline | None = None) -> Response:
    """The response as all guards let it in; a schema is compared until the deadline."""
    for guard in guards:
        step = getattr(guard, "after", None)
        if isinstance(guard, SchemaGuard):
            step = partial(guard.after, late=late_by(deadline))
        try:
            response = step(request, response) if step is not None else response
        except DispatchError as error:
            error.sent = True  # it is an answer that is refused
            raise
    return response
