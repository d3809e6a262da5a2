"""Read the fields of a client's request, whatever format it is in: what is absent, what is of another kind, numbers and bytes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from math import inf
from typing import Any

from ..errors import InvalidRequest
from ..types import TooMuch, parse_text
from .words import words


def read_object(body: bytes, wanted: str) -> dict[str, Any]:
    """The JSON object in a body; ``wanted`` names the fields that one has. Raises :class:`InvalidRequest`."""
    try:
        document = parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff"))
    except TooMuch as much:
        raise InvalidRequest(f"body: the document {much}; send a smaller one") from None
    except ValueError:
        raise InvalidRequest(f"body: this is not JSON; send a JSON object with {wanted}") from None
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: this is no object; send a JSON object with {wanted}")
    return document


def compact(fields: Mapping[str, Any], *counts: str) -> dict[str, Any]:
    """The fields of a request without the empty ones: clients in typed languages write all that they know, most of it empty.

    Zero is a value (of ``temperature``, ``seed``), except in ``counts``, the fields that are at least 1. An empty list is a value,
    except in :data:`_LISTS`. An empty object is none, except in :data:`_WISHES`.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if _is_empty(name, value, counts):
            continue
        if name in _GROUPS and isinstance(value, dict):
            value = {
                inner: inner_value
                for inner, inner_value in value.items()
                if inner_value == [] or inner in _WISHES or not _is_blank(inner_value)
            }
        found[name] = value
    if found.get("tools") == [] or ("function_call" in found and not (found.get("tools") or found.get("functions"))):
        return {name: value for name, value in found.items() if name not in _OF_TOOLS or not _is_idle(value)}
    return found


_OF_TOOLS = frozenset({"function_call", "parallel_tool_calls", "toolConfig", "tool_choice"})
"""Fields that say how tools are called; servers refuse them in a request without tools."""


def _is_idle(value: Any) -> bool:
    """Whether it forces no call."""
    if isinstance(value, dict):
        inner = value.get("functionCallingConfig", value) if len(value) == 1 else value
        value = inner.get("type") or inner.get("mode") if isinstance(inner, dict) else None
    return isinstance(value, bool) or (isinstance(value, str) and value.lower() in ("auto", "none"))


_WISHES = frozenset({"responseJsonSchema", "responseSchema", "systemInstruction", "web_search_options"})
"""Objects that ask for something even if they are empty."""
_SENDERS_OWN = frozenset({"metadata", "labels", "chat_template_kwargs"})
"""Objects whose names and values the sender chose."""
_GROUPS = frozenset(
    words(
        "generationConfig output_config reasoning response_format stream_options text thinking thinkingConfig toolConfig",
        "tool_choice web_search_options",
    )
)
"""Objects of several settings, each of which may say nothing."""
_LISTS = frozenset({"modalities", "responseModalities", "stopSequences", "stop_sequences"})
"""Lists of at least one entry, where there are any."""


def _is_empty(name: str, value: Any, counts: Collection[str]) -> bool:
    if isinstance(value, dict):
        return name not in _WISHES and not (value and name in _SENDERS_OWN) and _is_blank(value)
    if value == []:
        return name in _LISTS
    return value is None or value == "" or (name in counts and type(value) is int and value == 0)


def _is_blank(value: Any) -> bool:
    """Whether it is null, an empty text, or holds nothing else: numbers and flags say something, but in an object of no type."""
    if isinstance(value, dict):
        untyped = value.get("type") == ""
        return all(_is_blank(inner) or (untyped and not inner) for inner in value.values())
    if isinstance(value, list):
        return all(map(_is_blank, value))
    return value is None or value == ""


def nonempty(value: Any) -> Any:
    """A list of texts without those that are empty or null; anything else as it is."""
    return [word for word in value if word is not None and word != ""] if isinstance(value, list) else value


_LABELS = frozenset(words("cache_control detail displayName filename format index media_type mimeType title type"))
"""Fields that describe a medium and do not hold it."""


def is_hollow(value: Any) -> bool:
    """Whether a medium or a call has nothing but labels: no address, no data, no name."""
    if isinstance(value, dict):
        return all(name in _LABELS or is_hollow(inner) for name, inner in value.items())
    if isinstance(value, list):
        return all(map(is_hollow, value))
    return not value or (isinstance(value, str) and value.isspace())


def take_inner(fields: dict[str, Any], name: str, inner: str, fits: Callable[[Any], bool]) -> Any:
    """Take ``inner`` out of the object ``name``; ``None``, and nothing is taken, where its value does not fit."""
    whole = fields.get(name)
    if not isinstance(whole, dict) or not fits(whole.get(inner)):
        return None
    left = {other: value for other, value in whole.items() if other != inner and value is not None and value != ""}
    if left:
        fields[name] = left
    else:
        del fields[name]
    return whole[inner]


def take(fields: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    """Take out a field. Raises :class:`InvalidRequest` for one of another kind."""
    value = fields.pop(name, default)
    if value is not default and not isinstance(value, kind):
        raise InvalidRequest(f"{name}: {type(value).__name__} is not allowed here; give a {kind.__name__}")
    return without_blank(value) if isinstance(value, list) else value


def whole_number(value: Any) -> Any:
    """A whole number that came as a float, as programs in languages without integers write it; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_BOUNDS = {
    "max_tokens": (1, inf),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "seed": (-inf, inf),
}
"""The least and the greatest value that :class:`Request` takes; those of other numbers are 0 and infinity."""
_WHOLE = frozenset({"max_tokens", "top_k", "n", "top_logprobs", "seed"})


def take_numbers(
    fields: dict[str, Any], names: Iterable[tuple[str, str]], where: str = "", *, strict: bool = True
) -> dict[str, Any]:
    """Take out numbers, by our names; ``names`` has pairs of our name and the format's.

    A number out of our bounds stays in the fields, for the vendor to judge. What is no number raises :class:`InvalidRequest`, or
    stays too if not ``strict``.
    """
    found: dict[str, Any] = {}
    for ours, theirs in names:
        value = fields.get(theirs)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            if not strict:
                continue
            raise InvalidRequest(f"{where}{theirs}: {type(value).__name__} is not a number; give one, or leave it out")
        value = whole_number(value) if ours in _WHOLE else value
        least, most = _BOUNDS.get(ours, (0, inf))
        if least <= value <= most and (ours not in _WHOLE or type(value) is int):
            found[ours] = value
            del fields[theirs]
    return found


def take_typed(fields: dict[str, Any], kind: type, *names: str) -> dict[str, Any]:
    """Take out those of the named fields that are of a kind."""
    return {name: fields.pop(name) for name in names if isinstance(fields.get(name), kind)}


def without_null(entries: list[Any]) -> list[Any]:
    """A list without entries that are null; the same one where there are none."""
    return [entry for entry in entries if entry is not None] if None in entries else entries


def without_blank(entries: list[Any]) -> list[Any]:
    """A list without entries that are null, or objects of null, zero and empty fields alone; the same one where there are none."""
    kept = [entry for entry in entries if entry is not None and not (isinstance(entry, dict) and (not entry or _is_zero(entry)))]
    return kept if len(kept) < len(entries) else entries


def _is_zero(value: Any) -> bool:
    """Whether it says nothing, not even by being there, as an empty object in an entry does."""
    return bool(value) and all(map(_is_zero, value.values())) if isinstance(value, dict) else not value
