"""Requests that count tokens, and requests that list a vendor's models, in each format.

Tokens are counted from the same body as a response is requested with, without the settings that concern the output only.
https://platform.claude.com/docs/en/api/messages-count-tokens, https://ai.google.dev/api/tokens,
https://platform.openai.com/docs/api-reference/responses/input-tokens

https://platform.openai.com/docs/api-reference/models/list, https://platform.claude.com/docs/en/api/models-list,
https://ai.google.dev/api/models, https://docs.ollama.com/api/tags
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import attrs

from ..types import MOST_TOKENS, Request, is_model_name, parse_text
from .anthropic.codec import ANTHROPIC_MESSAGES
from .base import Codec
from .decoding import mapping, missing, parse, parse_object, raise_error, text_of
from .encoding import written
from .gemini.codec import GEMINI
from .openai_responses.codec import OPENAI_RESPONSES
from .words import words

_ANTHROPIC_TAKES = frozenset(
    words(
        "model messages system tools tool_choice thinking output_config cache_control context_management mcp_servers",
        "anthropic_version",
    )
)
_OPENAI_TAKES = frozenset(
    words(
        "model input instructions conversation previous_response_id parallel_tool_calls reasoning text tool_choice tools",
        "truncation",
    )
)


@attrs.frozen(kw_only=True)
class Counting:
    """How one vendor's tokens are counted; ``codec`` is the format that the request is written in."""

    codec: Codec
    answered: str
    """The field of the answer that has the number."""
    path: Callable[[str], str]
    """The path below the vendor's base URL, for a model's name."""
    body: Callable[[Request, Mapping[str, Any]], Mapping[str, Any]]
    """What is sent, given the body for an answer."""

    def encode(self, request: Request, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body."""
        payload = parse_text(self.codec.encode(request, stream=False, quirks=quirks).decode())
        return written(self.body(request, payload))

    def decode(self, body: bytes) -> int:
        """The number of tokens. Raises :class:`MalformedReply`, or what an error inside a 200 stands for."""
        document = parse_object(body)
        raise_error(document)
        number = document.get(self.answered)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number <= MOST_TOKENS:
            raise missing(document, self.answered)
        return int(number)

    def write(self, tokens: int) -> bytes:
        """An answer, as that vendor gives it."""
        kind = {"object": "response.input_tokens"} if self.codec is OPENAI_RESPONSES else {}
        return written({**kind, self.answered: tokens})


def _only(names: frozenset[str]) -> Callable[[Request, Mapping[str, Any]], Mapping[str, Any]]:
    return lambda _request, payload: {name: value for name, value in payload.items() if name in names}


def _whole(request: Request, payload: Mapping[str, Any]) -> Mapping[str, Any]:
    name = request.model if "/" in request.model else f"models/{request.model}"
    return {"generateContentRequest": {"model": name, **payload}}


def _in_gemini(model: str) -> str:
    return GEMINI.path(model, False).removesuffix(":generateContent") + ":countTokens"


COUNTING: Mapping[str, Counting] = {
    "anthropic_messages": Counting(
        codec=ANTHROPIC_MESSAGES,
        answered="input_tokens",
        path=lambda model: ANTHROPIC_MESSAGES.path(model, False) + "/count_tokens",
        body=_only(_ANTHROPIC_TAKES),
    ),
    "openai_responses": Counting(
        codec=OPENAI_RESPONSES, answered="input_tokens", path=lambda _model: "/responses/input_tokens", body=_only(_OPENAI_TAKES)
    ),
    "gemini": Counting(codec=GEMINI, answered="totalTokens", path=_in_gemini, body=_whole),
    "vertex": Counting(codec=GEMINI, answered="totalTokens", path=_in_gemini, body=lambda _request, asked: asked),
}
"""By the format of a vendor; Google's cloud has a way of its own."""


@attrs.frozen(kw_only=True)
class Listing:
    """Where a vendor lists its models, and how to ask for the page after one."""

    path: str
    field: str = "data"
    following: tuple[str, str] | None = None
    """The field of an answer that names the next page, and the parameter that asks for it."""

    def decode(self, body: bytes) -> tuple[str, ...]:
        """The names on a page, but for those that can be no model's.

        Raises :class:`MalformedReply`, or what an error inside a 200 stands for.
        """
        document = parse(body)
        raise_error(mapping(document))
        found = document if isinstance(document, list) else mapping(document).get(self.field)
        if found is None and _name(document):  # a model by itself
            found = [document]
        if not isinstance(found, list):
            raise missing(document, "list of models")
        return tuple([name for entry in found if is_model_name(name := _name(entry))])

    def next(self, body: bytes) -> str | None:
        """The path of the page after one; ``None`` after the last."""
        document = mapping(parse(body))
        if self.following is None or document.get("has_more") is False:
            return None
        mark = text_of(document.get(self.following[0]))
        return f"{self.path}{'&' if '?' in self.path else '?'}{self.following[1]}={quote(mark, safe='')}" if mark else None


def _name(entry: Any) -> str:
    fields = mapping(entry)
    return text_of(fields.get("id")) or text_of(fields.get("name")) or text_of(fields.get("model"))


LISTINGS: Mapping[str, Listing] = {
    "openai_chat": Listing(path="/models"),
    "openai_responses": Listing(path="/models"),
    "anthropic_messages": Listing(path="/v1/models?limit=1000", following=("last_id", "after_id")),
    "gemini": Listing(path="/models?pageSize=1000", field="models", following=("nextPageToken", "pageToken")),
    "ollama_chat": Listing(path="/api/tags", field="models"),
}
"""By the format of a vendor."""
