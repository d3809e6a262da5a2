"""The wire formats as simulated vendors speak them. The path of a request tells which one it uses."""

from __future__ import annotations

import re
from collections.abc import Mapping

from .base import ApiError, Format, Pieces, SimulatedRequest
from .side import (
    AnthropicCount,
    AnthropicModels,
    AzureModels,
    AzureVectors,
    GeminiCount,
    GeminiModels,
    GeminiVectors,
    OllamaModels,
    OllamaVectors,
    OpenAIModels,
    OpenAIVectors,
    ResponsesCount,
)
from .vendors import AnthropicFormat, AzureFormat, GeminiFormat, OllamaFormat, OpenAIFormat, ResponsesFormat

__all__ = ["FORMATS", "ApiError", "Format", "Pieces", "SimulatedRequest", "recognise"]

_MODEL = r"/models/(?P<model>[^/:]+)"
_DEPLOYED = r"/openai/(?:deployments/(?P<model>[^/]+)|v1)"
_POSTED: tuple[tuple[str, Format], ...] = (
    (_DEPLOYED + r"/chat/completions", AzureFormat()),
    (r"/chat/completions", OpenAIFormat()),
    (r"/responses", ResponsesFormat()),
    (r"/messages", AnthropicFormat()),
    (_MODEL + r":(?P<verb>generateContent|streamGenerateContent)", GeminiFormat()),
    (r"/api/chat", OllamaFormat()),
    (r"/responses/input_tokens", ResponsesCount()),
    (r"/messages/count_tokens", AnthropicCount()),
    (_MODEL + r":countTokens", GeminiCount()),
    (_DEPLOYED + r"/embeddings", AzureVectors()),
    (r"/embeddings", OpenAIVectors()),
    (_MODEL + r":(?:batchEmbedContents|embedContent)", GeminiVectors()),
    (r"/api/embed", OllamaVectors()),
)
_PATHS = tuple((re.compile(pattern + "$"), form) for pattern, form in _POSTED)
_OPENAI_MODELS, _AZURE_MODELS, _ANTHROPIC_MODELS = OpenAIModels(), AzureModels(), AnthropicModels()
_GEMINI_MODELS, _OLLAMA_MODELS = GeminiModels(), OllamaModels()
_LISTS = (_OPENAI_MODELS, _AZURE_MODELS, _ANTHROPIC_MODELS, _GEMINI_MODELS, _OLLAMA_MODELS)

FORMATS: dict[str, Format] = {form.name: form for form in (*(form for _, form in _POSTED), *_LISTS)}


def recognise(method: str, target: str, headers: Mapping[str, str]) -> tuple[Format, dict[str, str]] | None:
    """Return the format of a request, and the parts of its path (``model``, ``verb``); ``None`` for an unknown address."""
    path = target.partition("?")[0]
    if method == "GET":
        form = _list_at(path, headers)
        return None if form is None else (form, {})
    for pattern, form in _PATHS if method == "POST" else ():
        found = pattern.search(path)
        if found is not None:
            return form, {name: said for name, said in found.groupdict().items() if said is not None}
    return None


def _list_at(path: str, headers: Mapping[str, str]) -> Format | None:
    """The format of a list of models; three vendors have the same path and differ in their headers."""
    if path.endswith("/api/tags"):
        return _OLLAMA_MODELS
    if not path.endswith("/models"):
        return None
    if "x-goog-api-key" in headers or "/publishers/" in path:  # the latter is Vertex
        return _GEMINI_MODELS
    if "anthropic-version" in headers or "x-api-key" in headers:
        return _ANTHROPIC_MODELS
    return _AZURE_MODELS if "/openai/" in path else _OPENAI_MODELS
