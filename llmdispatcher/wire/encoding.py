"""What encoders share: JSON output, and the refusal or dropping of fields that have no place in a format."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from typing import Any, TypeVar, cast

import attrs

from .._text import room_logger
from ..errors import InvalidRequest, MalformedReply
from ..types import (
    EmbeddingRequest,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    check_written,
    json_encoder,
    parse_text,
)
from .decoding import mapping, text_of

T = TypeVar("T")
Thing = TypeVar("Thing")
LEADING_ROLES = ("system", "developer")
EXTRA_CONTENT = "extra_content"
"""The field of a call for its thought signature, at Google's chat endpoint and in answers of ours in other formats than Google's.

https://ai.google.dev/gemini-api/docs/thought-signatures#openai
"""
NO_CHOICE = "is not a choice; use auto, none, required or a function's name"
_DROPPED: ContextVar[dict[str, None] | None] = ContextVar("dropped", default=None)
ADAPTIVE: Mapping[str, str] = {"thinking": "adaptive"}
"""In the ``metadata`` of a request that was read from Anthropic's format: the model decides how much it thinks."""
_UNSENT: Mapping[str, tuple[str, ...]] = {
    "anthropic_messages": ("prompt_cache_key",),
    "gemini": ("user", "prompt_cache", "prompt_cache_key"),
    "ollama_chat": ("user", "service_tier", "prompt_cache", "prompt_cache_key", "reasoning_summary"),
    "openai_chat": ("prompt_cache", "reasoning_summary"),
    "openai_responses": ("prompt_cache",),
}
"""Fields without a place in a format that do not change the answer: they are dropped, never refused, and clients are told."""
_MARKING = ("anthropic_messages", "openai_chat")
"""Formats with cache marks; the codec knows whether a server takes them."""
_THEIR_WORDS: Mapping[tuple[str | None, str], str] = {
    ("anthropic_messages", "prompt_cache"): "cache_control",
    ("anthropic_messages", "reasoning_effort"): "output_config",
    ("anthropic_messages", "reasoning_tokens"): "thinking",
    ("anthropic_messages", "stop"): "stop_sequences",
    ("anthropic_messages", "user"): "metadata",
    ("gemini", "frequency_penalty"): "frequencyPenalty",
    ("gemini", "logprobs"): "responseLogprobs",
    ("gemini", "n"): "candidateCount",
    ("gemini", "presence_penalty"): "presencePenalty",
    ("gemini", "reasoning_effort"): "thinkingConfig",
    ("gemini", "reasoning_summary"): "thinkingConfig",
    ("gemini", "reasoning_tokens"): "thinkingConfig",
    ("gemini", "service_tier"): "serviceTier",
    ("gemini", "stop"): "stopSequences",
    ("gemini", "top_k"): "topK",
    ("gemini", "top_logprobs"): "logprobs",
    ("gemini", "top_p"): "topP",
    ("ollama_chat", "reasoning_effort"): "think",
    ("openai_responses", "reasoning_effort"): "reasoning",
    ("openai_responses", "reasoning_summary"): "reasoning",
}
"""The sender's names for fields that we call otherwise."""
_NONE: Mapping[str, Any] = {}
logger = room_logger("wire")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")


_encode = json_encoder(_plain, ensure_ascii=False, allow_nan=False)


AnyRequest = Request | EmbeddingRequest


def dump(payload: Mapping[str, Any], request: AnyRequest, codec: str) -> bytes:
    """The body of a call, with the request's ``extra_params``; those of a request that was read from another format are dropped."""
    document = dict(payload)
    if request.wire_format not in (None, codec):
        _tell_foreign(request, codec)
    elif request.extra_params:
        check_written(request.extra_params, document)
        merge_fields(document, request.extra_params)
    try:
        try:
            return _encode(document).encode("utf-8", "replace")
        except ValueError:  # a model wrote NaN or 1e999 into a call, or a tool into a result
            conversation = {name: _in_words(document[name]) for name in _CONVERSATION if name in document}
            return _encode({**document, **conversation}).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request cannot be written as JSON: {error}; use plain values in it") from None


_CONVERSATION = ("messages", "contents", "input")
"""The fields of the formats that hold the conversation."""


def _in_words(value: Any) -> Any:
    """Write numbers that JSON cannot carry, such as NaN, as text, at any depth."""
    if isinstance(value, dict):
        return {name: _in_words(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_in_words(inner) for inner in value]
    return json.dumps(value) if isinstance(value, float) and not math.isfinite(value) else value


def arguments_of(request: AnyRequest, call: ToolCall, vendor: str) -> dict[str, Any]:
    """A call's arguments as an object, for formats that want one; a custom call's text is its ``input``.

    Raises :class:`InvalidRequest` for other arguments that are no object. If the request was read from a wire format they are the
    ``input`` too: a client cannot take back what a model wrote.
    """
    if call.kind == "custom":
        return {"input": call.arguments}
    try:
        arguments = call.parsed
    except (ValueError, RecursionError):
        fault, arguments = "not JSON", call.arguments
    else:
        fault = "no object"
    if isinstance(arguments, dict | None):
        return arguments or {}
    if request.wire_format is None:
        raise InvalidRequest(f"message.tool_calls: the arguments of {call.name!r} are {fault}, as {vendor} wants them")
    return {"input": arguments}


def written(document: Any) -> bytes:
    """An answer as JSON. Raises :class:`MalformedReply` where a vendor's values are none, such as an infinite number."""
    try:
        return _encode(document).encode("utf-8", "replace")
    except (TypeError, ValueError, RecursionError):
        raise MalformedReply("the vendor's answer has values that JSON cannot carry", sent=True) from None


def leave_out(request: AnyRequest, codec: str, field: str, why: str = "has no place in this format") -> None:
    """Refuse what a format cannot express, or drop it and tell so where the request allows that.

    It does with ``drop_params``, and where it was read from a wire format: its sender does not know who is asked.
    """
    if not request.drop_params and request.wire_format is None:
        raise InvalidRequest(f"{field}: {why} ({codec}); leave it out, ask another vendor, or set drop_params=True")
    tell_dropped(request, codec, field, why)


def tell_dropped(request: AnyRequest, codec: str, field: str, why: str = "has no place in this format") -> None:
    """Record for :func:`telling_dropped` that a field is not sent. Requests made in code are neither refused nor told."""
    if request.wire_format is None and not request.drop_params:
        return
    word = _THEIR_WORDS.get((request.wire_format, field), field)
    if _note(word):
        logger.info("%s is not sent to %s: it %s (%s)", word, request.model, why, codec)


def tell_unwritten(part: Any) -> None:
    """Note for :func:`telling_dropped` that a part or record of a vendor's answer is not written: clients could not read it."""
    kind = text_of(part.get("type")) if isinstance(part, Mapping) else part_kind(part)
    word = f"answer: {kind if kind.isidentifier() and len(kind) < _LONGEST else 'a part'!r}"
    if _note(word):
        logger.info("%s is not written: it has no place in this format, or lacks what clients count on", word)


def tell_others(parts: Iterable[Any], *kinds: type) -> None:
    """Note each part that is of none of these kinds, as :func:`tell_unwritten` does."""
    for part in parts:
        if not isinstance(part, kinds):
            tell_unwritten(part)


_LONGEST = 64


def _note(word: str) -> bool:
    """Note a word for :func:`telling_dropped`; whether it is new, and so to be logged."""
    dropped = _DROPPED.get()
    if dropped is None:
        return True
    is_new = word not in dropped
    dropped[word] = None
    return is_new


def tell_thought(request: AnyRequest, codec: str, part: ReasoningPart) -> None:
    """Note that a thought is not sent, which another vendor made."""
    kind = "encrypted reasoning" if part.encrypted is not None else "reasoning"
    tell_dropped(request, codec, f"message.content: {kind}", f"is known to {part.origin} alone")


def leave_out_foreign(request: AnyRequest, codec: str) -> None:
    """Leave out the ``extra_params``, which another format knows. Raises :class:`InvalidRequest` where nothing else is said."""
    why = f"is known to {request.wire_format} alone"
    if request.extra_params and not (getattr(request, "messages", ()) or getattr(request, "texts", ())):
        raise InvalidRequest(f"{', '.join(request.extra_params)}: {why} ({codec}), and nothing else is asked; ask another vendor")
    for name in request.extra_params:
        leave_out(request, codec, name, why)


def _tell_foreign(request: AnyRequest, codec: str) -> None:
    """Tell which fields of a request that was read from another format have no place in this one."""
    why = f"is known to {request.wire_format} alone"
    leave_out_foreign(request, codec)
    for name in _UNSENT.get(codec, ()):
        if getattr(request, name, None) is not None:
            tell_dropped(request, codec, name)
    if isinstance(request, Request):
        if request.metadata.get(str(request.wire_format)) == ADAPTIVE and request.reasoning_effort is None:
            tell_dropped(request, codec, "thinking", why)
        if codec not in _MARKING and _has_marks(request):
            tell_dropped(request, codec, "cache_control")


def _has_marks(request: Request) -> bool:
    parts = [part for message in request.messages if not isinstance(message.content, str) for part in message.content]
    return any(getattr(part, "cache", None) is not None for part in (*parts, *request.tools))


def telling_dropped(encode: Callable[[], T]) -> tuple[T, tuple[str, ...]]:
    """What ``encode`` gives, and what it left out of the request or, where it writes one, of the answer; each name once."""
    dropped: dict[str, None] = {}
    token = _DROPPED.set(dropped)
    try:
        return encode(), tuple(dropped)
    finally:
        _DROPPED.reset(token)


def only_texts(messages: Iterable[Message]) -> bool:
    """Whether all messages are plain texts, as in most conversations: no parts, calls, results, names or further fields."""
    for message in messages:
        if type(message.content) is not str or message.tool_calls or message.role == "tool" or message.name is not None:
            return False
        if message.extra:
            return False
    return True


def own(part: Any, codec: str) -> Mapping[str, Any]:
    """The further fields of a part, call, tool or message that are of this format."""
    return part.extra.get(codec, _NONE) if part.extra else _NONE


def with_signature(signature: str | None) -> dict[str, Any]:
    """The further fields of a call that carry its thought signature through a client of another format."""
    return {EXTRA_CONTENT: {"google": {"thought_signature": signature}}} if signature else {}


def signature_of(call: Any) -> str | None:
    """A call's thought signature, its own or one that it carried through a client of another format."""
    if call.signature is not None:
        return str(call.signature)
    for further in call.extra.values() if call.extra else ():
        if EXTRA_CONTENT in further:
            return text_of(mapping(mapping(further[EXTRA_CONTENT]).get("google")).get("thought_signature")) or None
    return None


def is_own(request: AnyRequest, codec: str, thing: OtherPart | VendorTool) -> bool:
    """Whether a part or tool that only one format knows is of this one; one of another is refused, or left out."""
    if thing.origin == codec:
        return True
    if isinstance(thing, VendorTool):
        leave_out(request, codec, f"tools: {part_kind(thing)!r}", f"is a tool of {thing.origin}")
    else:
        leave_out(request, codec, f"message.content: {part_kind(thing)!r}", f"is known to {thing.origin} alone")
    return False


def own_tools(request: Request, codec: str) -> Iterator[Tool | VendorTool]:
    """The tools of a request that the format has a place for."""
    return (tool for tool in request.tools if isinstance(tool, Tool) or is_own(request, codec, tool))


def encode_choice(
    request: Request, codec: str, words: Mapping[str, dict[str, Any]], forced: Callable[[str], dict[str, Any]]
) -> dict[str, Any] | None:
    """The tool choice in a format's terms; ``None`` where the request has none, or the format cannot express it.

    ``words`` has the format's term for each choice word; ``forced`` makes its term for a function that must be called.
    """
    choice = request.tool_choice
    if choice is None:
        return None
    if isinstance(choice, str):
        if choice in words:
            return dict(words[choice])
        if any(isinstance(tool, Tool) and tool.name == choice for tool in request.tools):
            return forced(choice)
        leave_out(request, codec, f"tool_choice: {choice!r}", NO_CHOICE)
        return None
    function = choice.get("function")
    if isinstance(function, Mapping) and function.get("name"):
        return forced(function["name"])
    if request.wire_format not in (None, codec):
        leave_out(request, codec, "tool_choice", NO_CHOICE)
        return None
    return dict(choice)


def merge_fields(block: dict[str, Any], further: Mapping[str, Any]) -> dict[str, Any]:
    """Add fields to a block, and return it; the fields of a mapping go into the mapping of that name, one level deep."""
    for name, value in further.items():
        known = block.get(name)
        block[name] = {**known, **value} if isinstance(known, Mapping) and isinstance(value, Mapping) else value
    return block


def update(thing: Thing, **values: Any) -> Thing:
    """Change some values of a frozen thing; the thing itself where they are the same objects, or tuples of the same objects."""
    changes = {name: value for name, value in values.items() if not _is_same(getattr(thing, name), value)}
    changed: Any = attrs.evolve(cast(Any, thing), **changes) if changes else thing
    return cast(Thing, changed)


def _is_same(old: Any, new: Any) -> bool:
    if old is new:
        return True
    return type(old) is type(new) is tuple and len(old) == len(new) and all(map(operator.is_, old, new))


def present(**fields: Any) -> dict[str, Any]:
    """The fields that are not ``None``."""
    for name, value in tuple(fields.items()):
        if value is None:
            del fields[name]
    return fields


def in_text(request: Request, codec: str, messages: list[Message]) -> list[Message]:
    """System messages for formats that want them as text; other parts are left out, or refused."""
    return [message if isinstance(message.content, str) else _texts_of(request, codec, message) for message in messages]


def _texts_of(request: Request, codec: str, message: Message) -> Message:
    kept = tuple([part for part in message.content if isinstance(part, TextPart)])
    for part in message.content if len(kept) < len(message.content) else ():
        if not isinstance(part, TextPart):
            what = f"message.content: {part_kind(part)!r}"
            leave_out(request, codec, what, f"has no place in a {message.role} message, which must be text here")
    return message if len(kept) == len(message.content) else attrs.evolve(message, content=kept or " ")


def part_kind(part: Any) -> str:
    """What a part is, in its sender's word where it has one."""
    if isinstance(part, OtherPart | VendorTool):
        return str(part.data.get("type") or next(iter(part.data), "a part"))
    return type(part).__name__


def arguments_object(arguments: str, kind: str | None) -> dict[str, Any]:
    """Arguments as the object that some formats want. Raises ``ValueError`` for a text that is not JSON."""
    value: Any = arguments
    if kind != "custom":
        value = parse_text(arguments) if arguments.strip() else {}
    return value if isinstance(value, dict) else {} if value is None else {"input": value}


def input_of(arguments: str, kind: str | None) -> dict[str, Any]:
    """Arguments as such an object, also those that are not JSON."""
    try:
        return arguments_object(arguments, kind)
    except ValueError:
        return {"input": arguments}
