"""Encode requests for embeddings and decode their vectors, which are lists of numbers or bytes in base64.

https://platform.openai.com/docs/api-reference/embeddings, https://ai.google.dev/api/embeddings, https://docs.ollama.com/api/embed
"""

from __future__ import annotations

import base64
import math
import sys
from array import array
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from ..errors import InvalidRequest, MalformedReply
from ..types import MOST_MEMBERS, EmbeddingRequest, Embeddings, Usage, parse_text
from .decoding import Counter, decode_base64, mapping, number_in, parse_object, says, text_of
from .encoding import dump, leave_out_foreign, written
from .errors import fault_inside, tells_of_failure
from .gemini.codec import GEMINI
from .ollama.request import ollama_usage
from .openai_chat.fields import openai_chat_usage

BASE64 = "base64"
_WIDTH = 4
"""Bytes of a number: IEEE 754, little-endian."""


def vectors_in(document: Mapping[str, Any]) -> list[Any]:
    """The raw vectors: of ``data`` in the order of their indices, of ``embeddings``, or the single ``embedding``."""
    listed = next((document[name] for name in ("data", "embeddings") if isinstance(document.get(name), list)), None)
    if listed is None and "embedding" in document:
        listed = [document["embedding"]]
    if listed is None:
        raise MalformedReply("the vendor's answer has no embeddings", sent=True)
    places = [number_in(mapping(entry).get("index", 0)) for entry in listed]  # a zero may be absent where others tell their index
    if None not in places and len({*places}) == len(listed):  # indices that are all the same tell none
        listed = [entry for _place, entry in sorted(zip(places, listed, strict=True), key=lambda pair: pair[0] or 0)]
    return [entry.get("embedding", entry.get("values")) if isinstance(entry, dict) else entry for entry in listed]


def vector(found: Any, encoding: Any = None, dimensions: int | None = None) -> tuple[float, ...]:
    """One vector. Raises :class:`MalformedReply` for what is none.

    Bytes are numbers of four bytes if those were asked for. A vendor that sends bytes unasked (Perplexity) means whole numbers
    from -128 to 127, one byte each, unless the asked length tells otherwise.
    """
    if isinstance(found, str):
        data = decode_base64(found)
        if not data:
            raise MalformedReply("the vendor's answer has an embedding that is no base64", sent=True)
        wide = encoding == BASE64 or (encoding is None and dimensions is not None and len(data) == _WIDTH * dimensions)
        return _wide(data) if wide else tuple([float(number) for number in array("b", data)])
    try:
        numbers = tuple(array("d", found)) if isinstance(found, list) else ()
    except (TypeError, OverflowError):
        numbers = ()
    if not numbers or not all(map(math.isfinite, numbers)):
        raise MalformedReply("the vendor's answer has something else than numbers in an embedding", sent=True)
    return numbers


def _wide(data: bytes) -> tuple[float, ...]:
    if len(data) % _WIDTH:
        raise MalformedReply(f"the vendor's answer has an embedding of {len(data)} bytes, which are no whole numbers", sent=True)
    numbers = array("f", data)
    if sys.byteorder == "big":
        numbers.byteswap()
    if not all(map(math.isfinite, numbers)):
        raise MalformedReply("the vendor's answer has something else than numbers in an embedding", sent=True)
    return tuple(numbers)


def encode_vector(numbers: tuple[float, ...]) -> str:
    """A vector in base64."""
    wide = array("f", numbers)
    if sys.byteorder == "big":
        wide.byteswap()
    return base64.b64encode(wide.tobytes()).decode()


def usage_of(document: Mapping[str, Any], *, output: str = "") -> Usage:
    """The canonical usage; some vendors say what it cost. ``output`` is the name of the count of what was written, if any was."""
    raw = mapping(document.get("usage"))
    if not raw:
        return Usage()
    counter = Counter()
    into = counter.count(raw.get("prompt_tokens"))
    into = into or openai_chat_usage({"usage": raw}).input_tokens or counter.count(raw.get("total_tokens"))
    output_tokens = counter.count(raw.get(output)) if output else 0
    return counter.usage(input_tokens=into, output_tokens=output_tokens, cost=counter.cost(raw.get("cost"), raw), raw=raw)


WIDEST = 8192
"""Numbers of a vector where the request does not say how many; no model is known that gives more."""


def numbers_in(request: EmbeddingRequest) -> int:
    """How many numbers the answer to a request may have."""
    kept = request.extra_params.get("input", request.extra_params.get("requests"))  # of one without texts, such as lists of tokens
    several = isinstance(kept, list) and len(kept) > 0 and not isinstance(kept[0], int)
    return (len(request.texts) or (len(kept) if several else 1)) * (request.dimensions or WIDEST)


class EmbeddingCodec:
    """One format for embeddings, both ways; a value without state. Its base is OpenAI's, which most vendors speak."""

    name = "openai_chat"
    largest = 2048
    """The most texts that one request may have."""
    _dimensions: tuple[str, ...] = ("dimensions", "output_dimension")
    """What their number is called in requests that are read; the second word is Mistral's."""

    def __init__(self, dimensions: str = "dimensions") -> None:
        self._sent_dimensions = dimensions

    def path(self, model: str) -> str:
        """The path below the vendor's base URL."""
        return "/embeddings"

    def encode(self, request: EmbeddingRequest) -> bytes:
        """The JSON body. Raises :class:`InvalidRequest` for what the format cannot express."""
        payload: dict[str, Any] = {"model": request.model} if request.model else {}
        if request.texts:
            payload["input"] = list(request.texts)
        if request.dimensions is not None:
            payload[self._sent_dimensions] = request.dimensions
        if request.user is not None:
            payload["user"] = request.user
        return dump(payload, request, self.name)

    def decode(self, body: bytes, request: EmbeddingRequest) -> Embeddings:
        """The vectors, one for each text. Raises :class:`MalformedReply`, or what an error inside a 200 stands for."""
        answer, raw = self.decode_facts(body, request)
        return attrs.evolve(answer, vectors=tuple([self._vector(found, request) for found in raw]))

    def decode_facts(self, body: bytes, request: EmbeddingRequest) -> tuple[Embeddings, list[Any]]:
        """An answer without its vectors, and these as they were written; as many as there are texts. Raises as :meth:`decode`."""
        document = parse_object(body, MOST_MEMBERS + numbers_in(request))
        if tells_of_failure(document):
            raise fault_inside(document)
        raw = vectors_in(document)
        if request.texts and len(raw) != len(request.texts):
            raise MalformedReply(f"the vendor's answer has {len(raw)} vectors for {len(request.texts)} texts", sent=True)
        return Embeddings(model=self._model(document, request), usage=self._usage(document)), raw

    def _model(self, document: Mapping[str, Any], request: EmbeddingRequest) -> str:
        return text_of(document.get("model"))

    def _vector(self, found: Any, request: EmbeddingRequest) -> tuple[float, ...]:
        return vector(found, request.extra_params.get("encoding_format"), request.dimensions)

    def _usage(self, document: Mapping[str, Any]) -> Usage:
        return usage_of(document)

    def read_request(self, body: bytes, path: str = "") -> EmbeddingRequest:
        """The request in a body; what has no place in ours, such as lists of tokens, is kept in ``extra_params``."""
        fields = _fields(body)
        model, texts = _take_field(fields, "model", str, ""), _texts(fields, "input")
        dimensions = [_take_field(fields, name, int, None) for name in self._dimensions]
        return EmbeddingRequest(
            model,
            texts,
            dimensions=next(filter(None, dimensions), None),
            user=_take_field(fields, "user", str, None) if self.name == "openai_chat" else None,
            extra_params=fields,
            wire_format=self.name,
        )

    def write_response(self, embeddings: Embeddings, request: EmbeddingRequest) -> bytes:
        """The body of an answer to a request that was read, in base64 where that was asked for."""
        short = request.extra_params.get("encoding_format") == BASE64
        data = [
            {"object": "embedding", "index": place, "embedding": encode_vector(each) if short else each}
            for place, each in enumerate(embeddings.vectors)
        ]
        count = embeddings.usage.input_tokens
        usage = {"prompt_tokens": count, "total_tokens": count}
        return written({"object": "list", "data": data, "model": embeddings.model, "usage": usage})


class _GeminiEmbeddings(EmbeddingCodec):
    """Google's batches; each text is a request of its own in them."""

    name = "gemini"
    largest = 100

    def path(self, model: str) -> str:
        return GEMINI.path(model, False).removesuffix(":generateContent") + ":batchEmbedContents"

    def encode(self, request: EmbeddingRequest) -> bytes:
        """The JSON body; further fields go into the request of each text."""
        foreign = request.wire_format not in (None, self.name)
        if foreign and request.extra_params:
            leave_out_foreign(request, self.name)
        further = {} if foreign else dict(request.extra_params)
        if request.dimensions is not None:
            further["outputDimensionality"] = request.dimensions
        if not request.texts:
            return written(further)
        name = request.model if "/" in request.model else f"models/{request.model}"
        entries = [{"model": name, "content": {"parts": [{"text": text}]}, **further} for text in request.texts]
        try:
            return written({"requests": entries})
        except MalformedReply:
            raise InvalidRequest("extra_params: they cannot be written as JSON; use plain values in them") from None

    def _model(self, document: Mapping[str, Any], request: EmbeddingRequest) -> str:
        return request.model

    def _vector(self, found: Any, request: EmbeddingRequest) -> tuple[float, ...]:
        return vector(found)

    def _usage(self, document: Mapping[str, Any]) -> Usage:
        counted = mapping(document.get("usageMetadata"))
        return usage_of({"usage": {"prompt_tokens": counted.get("promptTokenCount"), **counted}} if counted else {})

    def read_request(self, body: bytes, path: str = "") -> EmbeddingRequest:
        """The request in a body, of one text or a batch; one whose texts have settings of their own is kept whole."""
        fields = _fields(body)
        entries = fields.get("requests", [fields])
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise InvalidRequest("requests: this is no list of requests; give [{'model': ..., 'content': {...}}, ...]")
        model = path.rpartition(":")[0].rpartition("/models/")[2] or text_of(entries[0].get("model") if entries else None)
        settings = [_settings(entry) for entry in entries]
        texts = [text for entry in entries if (text := _text(entry.get("content"))) is not None]
        if len(texts) < len(entries) or any(each != settings[0] for each in settings):
            return EmbeddingRequest(model, (), extra_params=fields, wire_format=self.name)
        further = settings[0] if settings else {}
        given = [_take_field(further, name, int, None) for name in ("outputDimensionality", "output_dimensionality")]
        dimensions = next(filter(None, given), None)
        return EmbeddingRequest(model, texts, dimensions=dimensions, extra_params=further, wire_format=self.name)

    def write_response(self, embeddings: Embeddings, request: EmbeddingRequest) -> bytes:
        count = embeddings.usage.input_tokens
        counted = {"usageMetadata": {"promptTokenCount": count}} if count else {}
        return written({"embeddings": [{"values": each} for each in embeddings.vectors], **counted})


class _OllamaEmbeddings(EmbeddingCodec):
    """Ollama's own; the number of texts has no limit but memory, so ours is a guess."""

    name = "ollama_chat"
    largest = 512
    _dimensions = ("dimensions",)

    def path(self, model: str) -> str:
        return "/api/embed"

    def encode(self, request: EmbeddingRequest) -> bytes:
        payload: dict[str, Any] = {"model": request.model, "input": list(request.texts)}
        if request.dimensions is not None:
            payload["dimensions"] = request.dimensions
        return dump(payload, request, self.name)

    def _vector(self, found: Any, request: EmbeddingRequest) -> tuple[float, ...]:
        return vector(found)

    def _usage(self, document: Mapping[str, Any]) -> Usage:
        return ollama_usage(document) or Usage()

    def write_response(self, embeddings: Embeddings, request: EmbeddingRequest) -> bytes:
        count = embeddings.usage.input_tokens
        counted = {"prompt_eval_count": count} if count else {}
        return written({"model": embeddings.model, "embeddings": embeddings.vectors, **counted})


@attrs.frozen
class InboundEmbedding(EmbeddingRequest):
    """A request that knows how it goes to a vendor of the format in which it came, as an :class:`InboundRequest` does.

    ``at_vendor(codec, request, meter, *, adapts, client)`` returns the codec to use in place of a vendor's, and headers to send in
    place of its own. ``adapts`` tells that the vendor's settings change requests, ``client`` that it takes credentials of clients.
    """

    at_vendor: Callable[..., tuple[EmbeddingCodec, Mapping[str, str]]] = attrs.field(kw_only=True, eq=False, repr=False)


OPENAI_EMBEDDINGS, GEMINI_EMBEDDINGS, OLLAMA_EMBEDDINGS = EmbeddingCodec(), _GeminiEmbeddings(), _OllamaEmbeddings()
EMBEDDING_CODECS: Mapping[str, EmbeddingCodec] = {
    "openai_chat": OPENAI_EMBEDDINGS,
    "openai_responses": OPENAI_EMBEDDINGS,
    "gemini": GEMINI_EMBEDDINGS,
    "ollama_chat": OLLAMA_EMBEDDINGS,
    "mistral": EmbeddingCodec("output_dimension"),
}
"""By the format that a vendor chats in, or by its kind where it has a word of its own; Anthropic has none.

https://docs.mistral.ai/api/endpoint/embeddings
"""


_MEDIA = frozenset(("inlineData", "inline_data", "fileData", "file_data"))
_MOST_TOKENS = 500_000
"""Members of a request: its texts may be lists of tokens."""


def _fields(body: bytes) -> dict[str, Any]:
    try:
        document = parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff"), _MOST_TOKENS)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise InvalidRequest("body: this is no JSON object; send one with a 'model' and the texts")
    return {name: value for name, value in document.items() if value is not None}


def _take_field(fields: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = fields.pop(name, default)
    if not says(value):
        return default
    if isinstance(value, bool) or not isinstance(value, kind):
        raise InvalidRequest(f"{name}: {type(value).__name__} is not allowed here; give a {kind.__name__}")
    return value


def _texts(fields: dict[str, Any], name: str) -> Any:
    """The texts; what else can be embedded, such as tokens, stays where it is."""
    given = fields.get(name, "")
    if given in ("", []):
        raise InvalidRequest(f"{name}: there is none; give a text or a list of texts")
    if isinstance(given, str) or (isinstance(given, list) and all(isinstance(text, str) for text in given)):
        return fields.pop(name)
    return ()


def _settings(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name not in ("model", "content") and value is not None}


def _text(content: Any) -> str | None:
    """The text of a content; ``None`` where it is more than that."""
    parts = mapping(content).get("parts")
    if not isinstance(parts, list) or not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        return None
    if any(not _MEDIA.isdisjoint(part) for part in parts):
        return None
    return "".join([part["text"] for part in parts])
