"""Count the tokens of a request: as its vendor counts them, or else by an estimate that says that it is one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from typing import Any

import attrs

from .._text import room_logger
from ..types import Message, Request, TextPart, Tool, ToolCall, texts_in

logger = room_logger("dispatcher")

CHARACTERS_PER_TOKEN = 4
PER_MESSAGE = 4
"""Tokens that frame a turn, about."""
ENCODING = "o200k_base"
"""Of OpenAI's models since gpt-4o; other vendors' differ by a tenth or two."""


@attrs.frozen(kw_only=True)
class TokenCount:
    """A count of input tokens.

    ``source`` is ``"vendor"`` for its own word, else the estimate's method: ``"tiktoken"``, which counts
    words as OpenAI's models do, or ``"characters"``, a quarter of them. Estimates know nothing of pictures and files.
    """

    tokens: int
    source: str
    vendor: str | None = None
    model: str = ""


def estimate_tokens(request: Request) -> TokenCount:
    """Estimate the input tokens of a request: of the texts of all turns, calls, tools and ``extra_params``."""
    texts = [text for message in request.messages for text in _texts(message)]
    texts += [_tool_text(tool) for tool in request.tools if isinstance(tool, Tool)]
    texts += texts_in(request.extra_params)
    length, source = _counter()
    frames = PER_MESSAGE * len(request.messages)
    try:
        tokens = sum(map(length, texts))
    except Exception as foreign:  # noqa: BLE001 - an estimate is nothing that a foreign tokenizer may fail
        logger.warning("%s cannot count (%s); tokens are estimated from characters", source, type(foreign).__name__)
        tokens, source = sum(map(_quarter, texts)), "characters"
    return TokenCount(tokens=tokens + frames, source=source, model=request.model)


def _texts(message: Message) -> list[str]:
    found = [part.text for part in message.parts if isinstance(part, TextPart)]
    return found + [call.name + call.arguments for call in message.parts if isinstance(call, ToolCall)]


def _tool_text(tool: Tool) -> str:
    schema: Mapping[str, Any] = dict(tool.parameters)
    return f"{tool.name} {tool.description or ''} {json.dumps(schema, default=str)}"


@cache
def _counter() -> tuple[Callable[[str], int], str]:
    """How a text is counted: by tiktoken where it is installed and has its table, else by characters."""
    try:
        encoding = import_module("tiktoken").get_encoding(ENCODING)
    except ImportError:
        return _quarter, "characters"
    except Exception as error:  # noqa: BLE001 - tiktoken loads its table from the network, and may raise anything
        logger.warning("tiktoken has no table for %s (%s); tokens are estimated from characters", ENCODING, type(error).__name__)
        return _quarter, "characters"
    return lambda text: len(encoding.encode(text, disallowed_special=())), "tiktoken"


def _quarter(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
