"""The other responses of simulated vendors: lists of models, vectors of texts, counts of tokens.

A list has the vendor's models of the catalog that match the simulator's globs, and the models that it names in full. Vectors depend
on the text alone.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from ...catalog import models_of
from ...errors import InvalidRequest
from ...types import EmbeddingRequest, Embeddings, Usage
from ...wire import EMBEDDING_CODECS, Inbound
from ..answers import count_tokens
from .base import ApiError, Format, SimulatedRequest, dumps, parse_json
from .vendors import AnthropicFormat, AzureFormat, GeminiFormat, OllamaFormat, OpenAIFormat, ResponsesFormat

_LOCAL = ("llama3.2", "llama3.1:8b", "qwen3", "gemma3", "mistral", "nomic-embed-text")
"""The models of a local Ollama; the catalog has none."""
_CREATED = 1_700_000_000
"""When every model was made, in seconds since the epoch."""
DIMENSIONS = 256
"""The length of a vector if the request does not say."""
_MOST_DIMENSIONS = 4096


class ListFormat(Format):
    """A list of models of the vendor :attr:`kind`."""

    is_list = True
    kind: ClassVar[str]

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Only the key matters."""
        return None

    def side_response(self, request: SimulatedRequest, models: Sequence[str]) -> bytes:
        """Return the list."""
        known = models_of(self.kind) or _LOCAL
        named = [name for name in models if not any(mark in name for mark in "*?[")]
        names = [name for name in known if any(fnmatchcase(name, glob) for glob in models)]
        return dumps(self.document(list(dict.fromkeys([*names, *named]))))

    def document(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Return the document as OpenAI writes it: https://platform.openai.com/docs/api-reference/models/list"""
        models = [{"id": name, "object": "model", "created": _CREATED, "owned_by": self.kind} for name in names]
        return {"object": "list", "data": models}


class OpenAIModels(ListFormat, OpenAIFormat):
    """``/v1/models``."""

    name = "openai_models"
    kind = "openai"


class AzureModels(ListFormat, AzureFormat):
    """``/openai/models?api-version=`` or ``/openai/v1/models``."""

    name = "azure_models"
    kind = "azure"


class AnthropicModels(ListFormat, AnthropicFormat):
    """``/v1/models``; the headers tell that it is Anthropic's."""

    name = "anthropic_models"
    kind = "anthropic"

    def document(self, names: Sequence[str]) -> Mapping[str, Any]:
        """https://platform.claude.com/docs/en/api/models-list"""
        unknown = {"max_input_tokens": None, "max_tokens": None, "capabilities": None}
        facts = {"type": "model", "created_at": "2023-11-14T22:13:20Z", **unknown}
        models = [{**facts, "id": name, "display_name": name} for name in names]
        ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
        return {"data": models, "has_more": False, **ends}


class GeminiModels(ListFormat, GeminiFormat):
    """``/v1/models``; the headers tell that it is Google's."""

    name = "gemini_models"
    kind = "google"

    def document(self, names: Sequence[str]) -> Mapping[str, Any]:
        """https://ai.google.dev/api/models"""
        return {"models": [{"name": f"models/{name}", "displayName": name} for name in names]}


class OllamaModels(ListFormat, OllamaFormat):
    """``/api/tags``."""

    name = "ollama_models"
    kind = "ollama"

    def document(self, names: Sequence[str]) -> Mapping[str, Any]:
        """https://docs.ollama.com/api/tags"""
        return {"models": [{"name": name, "model": name, "size": 0} for name in names]}


class CountFormat(Format):
    """A count of the tokens of a conversation, in :attr:`count_field`."""

    count_field: ClassVar[str] = "input_tokens"

    def side_response(self, request: SimulatedRequest, models: Sequence[str]) -> bytes:
        """Return the count."""
        return dumps({self.count_field: self._facts(request).input_tokens})


class AnthropicCount(CountFormat, AnthropicFormat):
    """``/v1/messages/count_tokens``."""

    name = "anthropic_count"

    def _missing(self, asked: Mapping[str, Any]) -> ApiError | None:
        return super()._missing({"max_tokens": 1, **asked})


class ResponsesCount(CountFormat, ResponsesFormat):
    """``/v1/responses/input_tokens``."""

    name = "openai_responses_count"


class GeminiCount(CountFormat, GeminiFormat):
    """``:countTokens``, with a conversation or a whole request."""

    name = "gemini_count"
    count_field = "totalTokens"

    def read(self, body: bytes, path: str) -> Inbound | None:
        """Read the conversation in a body."""
        return super().read(dumps(_conversation_in(parse_json(body))), path)

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check the conversation."""
        return self.check_conversation(_conversation_in(request.json))


def _conversation_in(asked: Any) -> Any:
    return asked.get("generateContentRequest", asked) if isinstance(asked, dict) else asked


class VectorFormat(Format):
    """Vectors of texts; :attr:`embeddings` is the name of the codec."""

    embeddings: ClassVar[str]

    def read(self, body: bytes, path: str) -> Inbound | None:
        """Return ``None``: it is no conversation."""
        return None

    def check(self, request: SimulatedRequest) -> ApiError | None:
        """Check JSON, model, texts and length, in this order."""
        try:
            asked = self._read_vector_request(request)
        except InvalidRequest as error:
            return ApiError(400, message=error.message)
        if not request.model:
            return ApiError(400, message="you must provide a model parameter")
        if asked.dimensions is not None and not 1 <= asked.dimensions <= _MOST_DIMENSIONS:
            return ApiError(400, message=f"dimensions: expected a value from 1 to {_MOST_DIMENSIONS}", param="dimensions")
        return None

    def side_response(self, request: SimulatedRequest, models: Sequence[str]) -> bytes:
        """Return the vectors."""
        asked = self._read_vector_request(request)
        texts = asked.texts or tuple(map(repr, _token_lists(asked)))
        found = tuple([vector_of(text, asked.dimensions or DIMENSIONS) for text in texts])
        usage = Usage(input_tokens=sum(count_tokens(text) for text in texts))
        return self.write_vectors(Embeddings(vectors=found, model=request.model, usage=usage), asked, request)

    def write_vectors(self, found: Embeddings, asked: EmbeddingRequest, request: SimulatedRequest) -> bytes:
        """Return the body of the response."""
        return EMBEDDING_CODECS[self.embeddings].write_response(found, asked)

    def _read_vector_request(self, request: SimulatedRequest) -> EmbeddingRequest:
        return EMBEDDING_CODECS[self.embeddings].read_request(dumps(request.json), request.path.partition("?")[0])


def _token_lists(asked: EmbeddingRequest) -> Sequence[Any]:
    """One list of tokens, or several, in the place of texts."""
    given = asked.extra_params.get("input") or asked.extra_params.get("requests") or [asked.extra_params]
    return given if isinstance(given, list) and isinstance(given[0], list | dict) else [given]


def vector_of(text: str, dimensions: int) -> tuple[float, ...]:
    """Return a vector of length 1, the same for the same text."""
    drawn = hashlib.shake_256(text.encode("utf-8", "replace")).digest(2 * dimensions)
    numbers = [number - 32767.5 for number in struct.unpack(f"<{dimensions}H", drawn)]
    length = math.hypot(*numbers)
    return tuple([number / length for number in numbers])


class OpenAIVectors(VectorFormat, OpenAIFormat):
    """``/v1/embeddings``."""

    name = "openai_embeddings"
    embeddings = "openai_chat"


class AzureVectors(VectorFormat, AzureFormat):
    """``/openai/deployments/{name}/embeddings?api-version=`` or ``/openai/v1/embeddings``."""

    name = "azure_embeddings"
    embeddings = "openai_chat"


class GeminiVectors(VectorFormat, GeminiFormat):
    """``:batchEmbedContents``, and ``:embedContent`` of a single text."""

    name = "gemini_embeddings"
    embeddings = "gemini"

    def write_vectors(self, found: Embeddings, asked: EmbeddingRequest, request: SimulatedRequest) -> bytes:
        """Return the body, which has no list for a single text."""
        if ":embedContent" in request.path:
            return dumps({"embedding": {"values": found.vectors[0]}})
        return super().write_vectors(found, asked, request)


class OllamaVectors(VectorFormat, OllamaFormat):
    """``/api/embed``."""

    name = "ollama_embeddings"
    embeddings = "ollama_chat"
