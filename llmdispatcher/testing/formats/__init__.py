"""The wire formats as simulated vendors speak them. The path of a request tells which one it uses."""

from __future__ import annotations

import re

from .base import ApiError, Format, Pieces, SimulatedRequest
from .vendors import (
    AnthropicCount,
    AnthropicFormat,
    AzureFormat,
    GeminiCount,
    GeminiFormat,
    OllamaFormat,
    OpenAIFormat,
    ResponsesFormat,
)

__all__ = ["FORMATS", "ApiError", "Format", "Pieces", "SimulatedRequest", "recognise"]

_AZURE, _OPENAI, _ANTHROPIC, _GEMINI = AzureFormat(), OpenAIFormat(), AnthropicFormat(), GeminiFormat()
_RESPONSES, _OLLAMA = ResponsesFormat(), OllamaFormat()
_ANTHROPIC_COUNT, _GEMINI_COUNT = AnthropicCount(), GeminiCount()
_ALL: tuple[Format, ...] = (_OPENAI, _RESPONSES, _AZURE, _ANTHROPIC, _ANTHROPIC_COUNT, _GEMINI, _GEMINI_COUNT, _OLLAMA)

FORMATS: dict[str, Format] = {form.name: form for form in _ALL}

_PATHS: tuple[tuple[re.Pattern[str], Format], ...] = (
    (re.compile(r"/openai/deployments/(?P<model>[^/]+)/chat/completions$"), _AZURE),
    (re.compile(r"/openai/v1/chat/completions$"), _AZURE),
    (re.compile(r"/chat/completions$"), _OPENAI),
    (re.compile(r"/responses$"), _RESPONSES),
    (re.compile(r"/messages$"), _ANTHROPIC),
    (re.compile(r"/messages/count_tokens$"), _ANTHROPIC_COUNT),
    (re.compile(r"/models/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent)$"), _GEMINI),
    (re.compile(r"/models/(?P<model>[^/:]+):countTokens$"), _GEMINI_COUNT),
    (re.compile(r"/api/chat$"), _OLLAMA),
)


def recognise(target: str) -> tuple[Format, dict[str, str]] | None:
    """The format of a request target, and what its path says (``model``, ``verb``); ``None`` for an unknown address."""
    path = target.partition("?")[0]
    for pattern, form in _PATHS:
        found = pattern.search(path)
        if found is not None:
            return form, found.groupdict()
    return None
