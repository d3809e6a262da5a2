"""The wire formats from the vendor's side; a request's path tells which one it speaks."""

from __future__ import annotations

import re

from .anthropic import AnthropicFormat
from .base import Format, Pieces, SimulatedRequest, Trouble
from .gemini import GeminiFormat
from .openai import AzureFormat, OpenAIFormat

__all__ = ["FORMATS", "Format", "Pieces", "SimulatedRequest", "Trouble", "recognise"]

_AZURE, _OPENAI, _ANTHROPIC, _GEMINI = AzureFormat(), OpenAIFormat(), AnthropicFormat(), GeminiFormat()

FORMATS: dict[str, Format] = {form.name: form for form in (_OPENAI, _AZURE, _ANTHROPIC, _GEMINI)}

_PATHS: tuple[tuple[re.Pattern[str], Format], ...] = (
    (re.compile(r"/openai/deployments/(?P<model>[^/]+)/chat/completions$"), _AZURE),
    (re.compile(r"/openai/v1/chat/completions$"), _AZURE),
    (re.compile(r"/chat/completions$"), _OPENAI),
    (re.compile(r"/messages$"), _ANTHROPIC),
    (re.compile(r"/models/(?P<model>[^/:]+):(?P<verb>generateContent|streamGenerateContent)$"), _GEMINI),
)


def recognise(target: str) -> tuple[Format, dict[str, str]] | None:
    """The format of a request target, and what its path says (``model``, ``verb``); ``None`` for an unknown address."""
    path = target.partition("?")[0]
    for pattern, form in _PATHS:
        found = pattern.search(path)
        if found is not None:
            return form, found.groupdict()
    return None
