"""Guards: check what is sent and what comes back. A guard may refuse or rewrite both.

A guard is any object with ``before(request)``, which returns the request to send, or ``after(request, response)``, which returns
the response to give to the caller, or both. It refuses by raising, by convention :class:`ContentFiltered`. The guards in this file
are exact rules without a model: length, patterns, kinds of personal data, a JSON schema. :func:`rewritten` finds every text that
would be sent, wherever it is in a request; images, recordings and PDFs cannot be read (docs/reliability.md).
"""

from __future__ import annotations

import base64
import codecs
import json
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import unquote

import attrs

from ..errors import ConfigError, ContentFiltered, DispatchError, InvalidRequest
from ..runtime import Deadline
from ..types import (
    SCHEMA_WORDS,
    AudioPart,
    Citation,
    EmbeddingRequest,
    FilePart,
    Late,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    Response,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    choices,
    data_url,
    detect_media_type,
    mapping,
    media_type_of,
    non_negative_integer,
    parse_text,
    schema_check,
    string_tuple,
    suggest,
)
from .structured import late_by

Change = Callable[[str], str]
"""What a guard makes of one text; it raises to refuse it."""

_T = TypeVar("_T")

ACTIONS = ("refuse", "mask")
PLACES = ("request", "response", "both")
UNREADABLE = ("pass", "refuse")

_NATIONAL = r"\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?!\w)"
"""A number of North America; what follows another number with a country's code is not a part of that."""

PERSONAL: Mapping[str, re.Pattern[str]] = {
    "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
    "iban": re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b"),
    "card": re.compile(r"\b(?:\d[ -]?){12,18}\d\b"),
    "us_ssn": re.compile(r"\b(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}\b"),
    "ipv4": re.compile(r"\b(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)\b"),
    "phone": re.compile(
        rf"(?<!\w)(?:\+\d{{1,3}}[ .-]?{_NATIONAL}|\+\d{{1,3}}(?:[ .-]?(?!{_NATIONAL})\(?\d{{1,4}}\)?){{2,5}}|{_NATIONAL})(?!\w)"
    ),
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
_ISSUED = re.compile(
    r"(?:4\d{3}|5[1-5]\d\d|2[2-7]\d\d|35\d\d|6(?:011|5\d\d|4[4-9]\d))\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}",
)
"""Card numbers as the large networks issue them: the first digits and the length. Others count as well."""
_WORD = re.compile(r"\w+")
_PRINTED = re.compile(
    r"\d{13,19}|\d{8}[ -]\d{8}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{3})?|\d{4}[ -]\d{6}[ -]\d{4,5}|(?:\d{4}[ -]){2}\d{5}"
)
"""The groups that card numbers are printed in. Digits in other groups, such as of phones in a row, are one only by themselves."""
_DIGITS_BEFORE, _DIGITS_BEHIND = re.compile(r"[\d+][ -]?\Z"), re.compile(r"[ -]?\d")


def _is_apart(kind: str, text: str, start: int, end: int) -> bool:
    if kind != "card" or _PRINTED.fullmatch(text, start, end):
        return True
    return not (_DIGITS_BEFORE.search(text[max(start - 2, 0) : start]) or _DIGITS_BEHIND.match(text, end))


def _places(kind: str, text: str) -> list[tuple[int, int]]:
    """Where the confirmed ones of a kind stand, in order: the right ones where digits stand before, between or behind them."""
    pattern, confirmed = PERSONAL[kind], _CONFIRMED[kind]
    found: list[tuple[bool, int, int]] = []
    start = pattern.search(text)
    while start is not None:
        words = list(_WORD.finditer(text, start.start(), start.end()))
        for end in [word.end() for word in reversed(words)]:
            shown = text[start.start() : end]
            if pattern.fullmatch(shown) and _is_apart(kind, text, start.start(), end) and confirmed(shown):
                found.append((_ISSUED.fullmatch(re.sub("[ -]", "", shown)) is None, start.start(), -end))
        start = pattern.search(text, words[1].start() if len(words) > 1 else start.end())
    taken = bytearray(len(text))
    chosen = []
    for _, first, end in sorted(found):
        if not any(taken[first:-end]):
            taken[first:-end] = b"1" * (-end - first)
            chosen.append((first, -end))
    return sorted(chosen)


def _one_of(words: Sequence[str]) -> Any:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise ConfigError(f"{attribute.name}: {value!r} is not known; {choices(value, words, 'use {}')}")

    return check


def refused(what: str) -> ContentFiltered:
    """The error of a guard that says no; ``what`` names the rule and the place, never the text."""
    return ContentFiltered(f"a guard refuses it: {what}", code="guard", sent=False)


def rewritten(request: Request, change: Change, *, unreadable: str = "pass") -> Request:
    """The request with every text that a vendor would be sent changed; the same one where nothing does.

    Texts that others refer to, such as a tool's name, an address or a key in JSON, cannot be changed: where ``change`` would, the
    request is refused. With ``unreadable="refuse"`` so is one with contents that cannot be read: an image, a recording, a PDF, a
    file that the vendor gets elsewhere. The model's name is not read, nor what is not sent (``metadata``, ``origin``).
    """
    return _Texts(change, unreadable).of_request(request)


def rewritten_embedding(asked: EmbeddingRequest, guards: Sequence[Any]) -> EmbeddingRequest:
    """A request for embeddings as all guards let it out; they see its texts as parts of one message of the user."""
    if not guards:
        return asked
    shown = attrs.evolve(asked.as_request(), max_tokens=None, extra_params=asked.extra_params, wire_format=asked.wire_format)
    let = before(guards, shown)
    if let is shown:
        return asked
    turns = [message for message in let.messages if message.role == "user"]
    texts = [part.text for message in turns for part in message.parts if isinstance(part, TextPart)]
    if len(texts) != len(asked.texts):
        raise ConfigError(f"guards: they make {len(texts)} texts to embed of {len(asked.texts)}; return as many as before() gets")
    return attrs.evolve(asked, texts=texts, user=let.user, extra_params=let.extra_params)


_KEYWORDS = frozenset({"auto", "none", "required", "any"})
"""Words of ``tool_choice`` that are no tool's name."""
_FORM_WORDS = frozenset({*SCHEMA_WORDS, "json_schema", "json_object", "text", "name", "schema", "strict"})
_TEXT_TYPES = ("text/", "application/json", "application/xml", "image/svg")


class _Texts:
    """Changes all texts of a request. Everything returns what it was given where nothing changes."""

    def __init__(self, change: Change, unreadable: str) -> None:
        self._change = change
        self._unreadable = unreadable

    def of_request(self, request: Request) -> Request:
        try:
            return _evolved(
                request,
                messages=self._all(request.messages, self._message),
                stop=self._all(request.stop, self._change),
                user=self._text(request.user),
                tools=self._all(request.tools, self._tool),
                tool_choice=self._tool_choice(request.tool_choice),
                response_format=self._form(request.response_format),
                prompt_cache_key=self._text(request.prompt_cache_key),
                service_tier=self._text(request.service_tier),
                extra_params=self._members(request.extra_params),
            )
        except RecursionError:
            raise refused("the request is nested too deeply to be read") from None

    def _message(self, message: Message) -> Message:
        content: Any = message.content
        content = self._change(content) if isinstance(content, str) else self._all(content, self._part)
        return _evolved(
            message,
            content=content,
            name=self._kept(message.name, "the name of a tool") if message.role == "tool" else self._text(message.name),
            tool_calls=self._all(message.tool_calls, self._part),
            tool_call_id=self._text(message.tool_call_id),  # the call's own changes alike
            extra=self._members(message.extra),
        )

    def _part(self, part: Any) -> Any:
        if isinstance(part, OtherPart):
            return _evolved(part, data=self._json(part.data))
        changed: dict[str, Any] = {"extra": self._members(part.extra)}
        if isinstance(part, TextPart):
            changed["text"] = self._change(part.text)
        elif isinstance(part, ReasoningPart):
            changed["text"] = self._change(part.text)
            if changed["text"] != part.text:
                changed["signature"] = None  # it proves another text
        elif isinstance(part, ToolCall):
            self._kept(part.name, "the name of a tool")
            changed |= {"arguments": self._arguments(part), "id": self._text(part.id)}
        else:
            changed |= self._file(part)
        return _evolved(part, **changed)

    def of_choice(self, choice: Any) -> dict[str, Any]:
        """What changes in one choice of an answer. A text found across several parts makes one of them."""
        content = self._change(choice.content)
        parts = tuple(map(self._part_of_response, choice.parts))
        if content != choice.content and parts and content != "".join([one.text for one in parts if isinstance(one, TextPart)]):
            parts = (TextPart(text=content), *[one for one in parts if not isinstance(one, TextPart)])
        fields = {
            "content": content,
            "reasoning": self._change(choice.reasoning),
            "refusal": self._text(choice.refusal),
            "parts": parts,
            "tool_calls": tuple(map(self._part_of_response, choice.tool_calls)),
        }
        if content != choice.content:
            fields["logprobs"] = ()  # they are the same text again
        return _changed(choice, fields)

    def of_citation(self, citation: Citation) -> Citation:
        """A source with its title and text changed, and without the vendor's own record then; addresses stay."""
        changed = _evolved(citation, title=self._text(citation.title), text=self._text(citation.text))
        return citation if changed is citation else attrs.evolve(changed, raw={})

    def _part_of_response(self, part: Any) -> Any:
        """A part of an answer; names and addresses in it are not looked at."""
        if isinstance(part, TextPart):
            return _evolved(part, text=self._change(part.text))
        if isinstance(part, ReasoningPart):
            text = self._change(part.text)
            return part if text == part.text else attrs.evolve(part, text=text, signature=None)
        if isinstance(part, ToolCall):
            return _evolved(part, arguments=self._arguments(part))
        if isinstance(part, AudioPart):
            return _evolved(part, transcript=self._text(part.transcript))
        return _evolved(part, data=self._json(part.data)) if isinstance(part, OtherPart) else part

    def _arguments(self, call: ToolCall) -> str:
        return self._change(call.arguments) if call.kind == "custom" else self._json_text(call.arguments)

    def _file(self, part: Any) -> dict[str, Any]:
        """What changes in a part with bytes or an address."""
        url, file_id = getattr(part, "url", None), getattr(part, "file_id", None)
        self._kept(file_id, "the id of a file")
        changed: dict[str, Any] = {}
        packed = data_url(url) if isinstance(url, str) else None
        if packed is not None:
            media_type, inside = packed
            data = self._data(inside, media_type, None)
            if data is not inside:
                changed["url"] = f"data:{media_type};base64,{base64.b64encode(data).decode()}"
        elif url is not None or file_id is not None:
            self._address(url)
            self._cannot_read(type(part).__name__)
        if part.data is not None:
            changed["data"] = self._data(part.data, getattr(part, "media_type", None), getattr(part, "name", None))
        if isinstance(part, FilePart):
            changed["name"] = self._text(part.name)
        if isinstance(part, AudioPart):
            changed["transcript"] = self._text(part.transcript)
        return changed

    def _data(self, data: bytes, media_type: str | None, name: str | None) -> bytes:
        text, encoding = _decoded(data, media_type)
        if text is None:
            self._cannot_read(media_type or "a file")
            return data
        is_json = "json" in (media_type_of(data, name, media_type) or "")
        changed = self._json_text(text) if is_json else self._change(text)
        return data if changed == text else changed.encode(encoding, "replace")

    def _cannot_read(self, what: str) -> None:
        if self._unreadable == "refuse":
            raise refused(f"{what} cannot be read; leave it out, or give its text")

    def _address(self, url: str | None) -> None:
        self._kept(url, "an address")
        if url is not None and "%" in url:
            self._kept(unquote(url), "an address")

    def _tool(self, tool: Tool | VendorTool) -> Tool | VendorTool:
        if isinstance(tool, VendorTool):
            return _evolved(tool, data=self._json(tool.data))
        self._kept(tool.name, "the name of a tool")
        return _evolved(
            tool,
            description=self._text(tool.description),
            parameters=self._json(tool.parameters, _FORM_WORDS),
            extra=self._members(tool.extra),
        )

    def _tool_choice(self, choice: Any) -> Any:
        if isinstance(choice, str):
            return choice if choice in _KEYWORDS else self._kept(choice, "the name of a tool")
        return self._json(choice)

    def _form(self, form: Any) -> Any:
        changed = self._json(form, _FORM_WORDS)
        if changed is form or not isinstance(form, ResponseFormat):
            return changed
        made = ResponseFormat(changed)
        made.kind = form.kind
        return made

    def _members(self, members: Mapping[str, Any]) -> Mapping[str, Any]:
        """Settings, whose own names are the vendor's."""
        if not members:
            return members
        changed = {name: self._json(value) for name, value in members.items()}
        return members if all(map(operator.is_, changed.values(), members.values())) else changed

    def _json(self, value: Any, known: frozenset[str] = frozenset(), *, own: bool = False) -> Any:
        """JSON with its texts changed but for the ``known`` words. Where it is all our ``own``, its keys and numbers as well."""
        if isinstance(value, str):
            return value if value in known else self._same(value, self._change(value))
        if isinstance(value, Mapping):
            again = partial(self._json, known=known, own=own)
            keys = [again(key) if own else self._key(key, known) for key in value]
            members = [again(inner) for inner in value.values()]
            same = all(map(operator.is_, (*keys, *members), (*value, *value.values())))
            return value if same else dict(zip(keys, members, strict=True))
        if isinstance(value, list | tuple):
            items = [self._json(inner, known, own=own) for inner in value]
            return value if all(map(operator.is_, items, value)) else items
        if own and isinstance(value, int | float) and not isinstance(value, bool):
            text = str(value)
            changed = self._change(text)
            return value if changed == text else changed
        return value

    def _key(self, key: Any, known: frozenset[str]) -> Any:
        return key if not isinstance(key, str) or key in known else self._kept(key, "the name of a field")

    def _json_text(self, text: str) -> str:
        """A text of JSON, in which a letter may be written as its number."""
        try:
            value = parse_text(text)
        except ValueError:
            return self._change(text)
        changed = self._json(value, own=True)
        if changed is not value:
            return json.dumps(changed, ensure_ascii=False)
        masked = self._change(text)  # a name that stands twice hides the first value
        if masked != text:
            try:
                parse_text(masked)
            except ValueError:
                raise refused("JSON has what is to be masked, and is none without it") from None
        return masked

    def _text(self, text: str | None) -> str | None:
        return None if text is None else self._change(text)

    def _kept(self, text: str | None, what: str) -> str | None:
        if text is not None and self._change(text) != text:
            raise refused(f"{what} has what is to be masked, and is of no use without it; change it")
        return text

    @staticmethod
    def _same(old: str, new: str) -> str:
        return old if new == old else new

    @staticmethod
    def _all(items: Any, step: Callable[[Any], Any]) -> Any:
        changed = tuple([step(item) for item in items])
        return items if changed == items else changed


def _decoded(data: bytes, media_type: str | None) -> tuple[str | None, str]:
    """The text that bytes are, and its encoding; no text for an image, a recording or a PDF."""
    begins = detect_media_type(data)
    if begins is not None and not begins.startswith(_TEXT_TYPES):
        return None, ""
    for encoding in ("utf-16",) if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ("utf-8",):
        try:
            return data.decode(encoding), encoding
        except UnicodeDecodeError:
            pass
    is_said_to_be = (media_type or "").startswith(_TEXT_TYPES)
    return (data.decode("latin-1"), "latin-1") if is_said_to_be else (None, "")


def _answer(response: Response, change: Change) -> Response:
    """The response with the texts of all its choices changed, thoughts, sources and the arguments of tool calls included."""
    texts = _Texts(change, "pass")
    others = tuple([attrs.evolve(other, **texts.of_choice(other)) for other in response.other_choices])
    fields = texts.of_choice(response)
    if others != response.other_choices:
        fields["other_choices"] = others
    citations = tuple(map(texts.of_citation, response.citations))
    if citations != response.citations:
        fields["citations"] = citations
    return attrs.evolve(response, **fields) if fields else response


def _changed(value: Any, fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: new for name, new in fields.items() if new is not (old := getattr(value, name)) and new != old}


def _evolved(value: _T, **fields: Any) -> _T:
    old: Any = value
    changed = _changed(value, fields)
    made: _T = attrs.evolve(old, **changed) if changed else value
    return made


def _length(message: Message) -> int:
    documents = [part for part in message.parts if isinstance(part, FilePart) and part.data is not None]
    texts = [_decoded(part.data or b"", part.media_type)[0] or "" for part in documents]
    calls = [call.arguments for call in message.tool_calls]
    return len(message.text) + sum(map(len, (*texts, *calls)))


def _transcripts(parts: Iterable[Any]) -> list[str]:
    return [part.transcript for part in parts if isinstance(part, AudioPart) and part.transcript]


@suggest
@attrs.frozen(kw_only=True)
class MaxLengthGuard:
    """Refuses a conversation, or an answer, of more than so many characters; documents and arguments of tool calls count."""

    request: int | None = attrs.field(default=None, validator=non_negative_integer)
    response: int | None = attrs.field(default=None, validator=non_negative_integer)

    def before(self, request: Request) -> Request:
        """Count the conversation."""
        length = sum([_length(message) for message in request.messages])
        if self.request is not None and length > self.request:
            raise refused(f"the conversation has {length} characters, the limit is {self.request}")
        return request

    def after(self, _request: Request, response: Response) -> Response:
        """Count each choice of the answer."""
        if self.response is None:
            return response
        for choice in response.choices:
            calls = [call.arguments for call in choice.tool_calls]
            length = sum(map(len, (choice.content, *_transcripts(choice.parts), *calls)))
            if length > self.response:
                raise refused(f"the answer has {length} characters, the limit is {self.response}")
        return response


def _pattern(value: str | re.Pattern[str]) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except (re.error, TypeError) as error:
        raise ConfigError(f"pattern: {value!r} is not a regular expression: {error}") from None


class _Searching:
    """A guard that searches texts ``where`` it is told to, and refuses or changes them."""

    __slots__ = ()
    where: str
    unreadable: str

    def before(self, request: Request) -> Request:
        """Search all texts that would be sent."""
        return request if self.where == "response" else rewritten(request, self._applied, unreadable=self.unreadable)

    def after(self, _request: Request, response: Response) -> Response:
        """Search the answer."""
        return response if self.where == "request" else _answer(response, self._applied)

    def _applied(self, text: str) -> str:
        raise NotImplementedError


@suggest
@attrs.frozen(kw_only=True)
class PatternGuard(_Searching):
    """Refuses, or masks with ``replacement``, what a regular expression finds in requests, responses or both; ``name`` is told."""

    pattern: re.Pattern[str] = attrs.field(converter=_pattern)
    name: str = "a pattern"
    action: str = attrs.field(default="refuse", validator=_one_of(ACTIONS))
    where: str = attrs.field(default="both", validator=_one_of(PLACES))
    replacement: str = "[removed]"
    unreadable: str = attrs.field(default="pass", validator=_one_of(UNREADABLE))

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
            raise ConfigError(f"kinds: {kind!r} is not a kind of personal data; {choices(kind, PERSONAL, 'use {}')}")
    return kinds


@suggest
@attrs.frozen(kw_only=True)
class PersonalDataGuard(_Searching):
    """Masks (``[email]``, ``[iban]`` …) or refuses personal data of some ``kinds``: patterns with check digits, no guesses.

    Names and addresses of people are not recognised: no pattern can.
    """

    kinds: tuple[str, ...] = attrs.field(default=tuple(PERSONAL), converter=_kinds)
    action: str = attrs.field(default="mask", validator=_one_of(ACTIONS))
    where: str = attrs.field(default="request", validator=_one_of(PLACES))
    unreadable: str = attrs.field(default="pass", validator=_one_of(UNREADABLE))

    def _applied(self, text: str) -> str:
        for kind in self.kinds:
            if kind not in _CONFIRMED:
                masked = PERSONAL[kind].sub(f"[{kind}]", text)
            else:
                masked = text
                for start, end in reversed(_places(kind, text)):
                    masked = f"{masked[:start]}[{kind}]{masked[end:]}"
            if masked != text and self.action == "refuse":
                raise refused(f"personal data ({kind}) was found")
            text = masked
        return text


def _checkable(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    try:
        schema_check(value, attribute.name)
    except InvalidRequest as error:
        raise ConfigError(error.message) from None


@suggest
@attrs.frozen(kw_only=True)
class SchemaGuard:
    """Refuses an answer with a choice that is not JSON of a schema, whatever was asked for; choices that call tools pass.

    A schema that cannot be checked (docs/structured.md) is a :class:`~llmdispatcher.ConfigError`.
    """

    schema: Mapping[str, Any] = attrs.field(validator=[mapping, _checkable])

    def after(self, _request: Request, response: Response, late: Late | None = None) -> Response:
        """Check the answer; it is refused as soon as ``late()`` is true."""
        check = schema_check(self.schema, "schema")
        for choice in response.choices:
            if choice.tool_calls:
                continue
            try:
                wrong = check(parse_text(choice.content.strip()), "the answer", late)
            except ValueError:
                wrong = "it is not JSON"
            if wrong is not None:
                raise refused(f"the answer does not have its form: {wrong}")
        return response


def check_guards(value: Sequence[Any] | None) -> tuple[Any, ...]:
    """The guards of a configuration; raises :class:`ConfigError` for something that guards nothing."""
    if value is None:
        return ()
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"guards: {type(value).__name__} is not a list of guards; give [MaxLengthGuard(...), ...]")
    for number, guard in enumerate(value):
        if isinstance(guard, type):
            raise ConfigError(f"guards[{number}]: {guard.__name__} is a class; give an object of it: {guard.__name__}(...)")
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
