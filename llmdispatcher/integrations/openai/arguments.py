"""The arguments of the SDK's methods: which there are, and the body and the timeout that they make."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Literal

import attrs

from llmdispatcher import EmbeddingRequest, InvalidRequest
from llmdispatcher.types import choices
from llmdispatcher.wire import EMBEDDING_CODECS, OPENAI_CHAT


class NotGiven:
    """The value of an argument that is left out of a request, as if it had not been written."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_GIVEN = not_given = omit = NotGiven()
Omit = NotGiven

_OF_CALL = "extra_headers extra_query extra_body timeout"
_SHARED = """metadata model moderation parallel_tool_calls prompt_cache_key prompt_cache_options prompt_cache_retention
    safety_identifier service_tier store stream stream_options temperature tool_choice tools top_logprobs top_p user"""
ARGUMENTS: Mapping[str, frozenset[str]] = {
    name: frozenset(f"{words} {_OF_CALL}".split())
    for name, words in {
        "chat.completions": f"""{_SHARED} audio frequency_penalty function_call functions logit_bias logprobs
            max_completion_tokens max_tokens messages modalities n prediction presence_penalty reasoning_effort response_format
            seed stop verbosity web_search_options""",
        "responses": f"""{_SHARED} access_programs background context_management conversation image include input instructions
            max_output_tokens max_tool_calls previous_response_id prompt reasoning text truncation""",
        "embeddings": "dimensions encoding_format input model user",
        "models": "",
    }.items()
}
"""What each part of the API takes, by openai 3.52.0 (November 2026)."""
Sent = tuple[dict[str, Any], Mapping[str, str] | None, bytes]
"""The settings of a call, its own headers, and its body."""


def check_names(part: str, method: str, fields: Mapping[str, Any]) -> None:
    """Raise ``TypeError`` for an argument that the SDK's method has not got."""
    known = ARGUMENTS[part] if method == "create" else ARGUMENTS[part] - {"stream"}
    wrong = next((name for name in fields if name not in known), None)
    if wrong is not None:
        near = choices(wrong, sorted(known), "").strip()
        hint = " ".join([*([near] if near else []), "What OpenAI's API does not have goes into extra_body={...}"])
        raise TypeError(f"{part}.{method}() got an unexpected keyword argument {wrong!r}; {hint}")


_FORMS: Mapping[str, str] = {"chat.completions": "response_format", "responses": "text_format"}
"""Which argument is the class of a structured answer."""


def take_form(part: str, method: str, fields: dict[str, Any]) -> Any:
    """Take out the class of a structured answer, a model of Pydantic; ``None`` without one. Checks the other names."""
    name = _FORMS[part]
    form = fields.pop(name, None) if name not in ARGUMENTS[part] or isinstance(fields.get(name), type) else None
    check_names(part, method, fields)
    if form is None or isinstance(form, NotGiven):
        return None
    if not hasattr(form, "model_json_schema"):
        raise TypeError(
            f"{name}: {getattr(form, '__name__', form)!r} is no class of Pydantic; give a subclass of pydantic.BaseModel"
        )
    return form


def seconds_of(timeout: Any) -> float | None:
    """Return the seconds of a whole call; ``None`` for no limit. Of an ``httpx.Timeout`` that is the longest of its four."""
    if timeout is None or not hasattr(timeout, "read"):
        return timeout  # type: ignore[no-any-return]  # a number, or what the dispatcher refuses
    limits: list[Any] = [getattr(timeout, name, None) for name in ("connect", "read", "write", "pool")]
    return None if None in limits else max(limits, key=lambda limit: limit if isinstance(limit, int | float) else math.inf)


def split(fields: Mapping[str, Any]) -> Sent:
    """The settings of a call, such as its timeout, where it has one, its headers, and its body as it would have been sent."""
    given = {name: value for name, value in fields.items() if type(value).__name__ not in ("NotGiven", "Omit")}
    if given.pop("extra_query", None):
        raise InvalidRequest("extra_query: the dispatcher chooses who is asked, and how; leave it out")
    headers = given.pop("extra_headers", None) or None
    settings = {"timeout": given.pop("timeout")} if "timeout" in given else {}
    further = given.pop("extra_body", None) or {}
    if not isinstance(further, Mapping):
        raise InvalidRequest(f"extra_body: {type(further).__name__} is not a mapping; give a dict")
    return settings, headers, to_json({**given, **further})


def to_json(fields: Mapping[str, Any], lists: Any = Iterator) -> bytes:
    """The body of a request; objects of the types ``lists`` become lists. Raises :class:`InvalidRequest` for what is no JSON."""
    try:
        return json.dumps(fields, default=partial(_plain, lists), allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"the request is no JSON: {error}") from None


def read_embedding(body: bytes) -> EmbeddingRequest:
    """The request for vectors in a body. Raises :class:`InvalidRequest` for lists of tokens."""
    asked = EMBEDDING_CODECS[OPENAI_CHAT.name].read_request(body)
    further = {name: value for name, value in asked.extra_params.items() if name != "encoding_format"}
    if "input" in further:
        raise InvalidRequest("input: tokens are not taken, since each vendor has its own; give a text or a list of texts")
    return attrs.evolve(asked, extra_params=further)


def _plain(lists: Any, value: Any) -> Any:
    """What JSON can hold of an object of the SDK or of Pydantic."""
    if isinstance(value, type):
        raise TypeError(f"{value.__name__} is a class; give it to parse() or stream(), which answer with an object of it")
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    if isinstance(value, lists):
        return list(value)
    raise TypeError(f"{type(value).__name__} is no JSON; give dicts, lists, texts and numbers")
