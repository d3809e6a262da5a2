"""The largest answer to a request, by what it asks for and by what its model makes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..catalog import CURRENT, model_facts
from ..types import EmbeddingRequest, Request, VendorTool
from ..wire import Bounds, numbers_in

TEXT = Bounds()
"""What a text may be: its bytes are sixteen times those of the longest that a model writes."""
LOGPROBS = Bounds(size=32 << 20, members=2_000_000)
"""Twenty rivals for each token are two hundred members, of six bytes each."""
MEDIA = 64 << 20
"""Bytes where pictures or sound may come: one picture in base64 has up to 30 MiB."""
VECTORS = 256 << 20
"""The most bytes of vectors."""
_NUMBER = 24
"""Bytes of a number in JSON."""
_MEDIA_NAMES = (
    *("image", "audio", "-tts", "speech", "video", "banana", "dall-e", "flux", "seedream", "diffusion", "sdxl"),
    *("recraft", "ideogram", "cogview", "riverflow", "veo-", "sora-", "lyria"),
)
"""In the names of models that make pictures or sound, where the catalog does not know them."""
_MOST_REMEMBERED = 1024
_MODALITIES = ("modalities", "responseModalities", "response_modalities")
_MEDIA_PARAMS = ("audio", "speechConfig", "speech_config", "imageConfig", "image_config")
_MEDIA_TOOLS = ("image", "code", "audio", "video")
"""In the name of a vendor's own tool whose results may be pictures or files."""


def bounds_of(kind: str, request: Request, most: int | None = None) -> Bounds:
    """The largest answer to a request at a vendor of this kind; ``most`` are the bytes that its settings allow."""
    asks_logprobs = bool(request.logprobs or request.top_logprobs)
    asks_media = bool(request.tools or request.extra_params) and _asks_media(request)
    size = MEDIA if asks_media or _media_models.has(kind, request.model) else LOGPROBS.size if asks_logprobs else TEXT.size
    if not asks_logprobs and (most or size) == TEXT.size:
        return TEXT
    return Bounds(size=most or size, members=LOGPROBS.members if asks_logprobs else TEXT.members)


def size_of_vectors(request: EmbeddingRequest) -> int:
    """Bytes that the answer to a request for vectors may have."""
    return min(VECTORS, TEXT.size + _NUMBER * numbers_in(request))


def _asks_media(request: Request) -> bool:
    if any(isinstance(tool, VendorTool) and _brings_media(tool.data) for tool in request.tools):
        return True
    extra = request.extra_params
    return any(map(_wants_media, (extra, *[inner for inner in extra.values() if isinstance(inner, Mapping)])))


def _wants_media(params: Mapping[str, Any]) -> bool:
    """Whether a vendor's own parameters ask for more than text."""
    asked = [word for name in _MODALITIES if isinstance(params.get(name), list | tuple) for word in params[name]]
    return any(str(word).lower() != "text" for word in asked) or any(params.get(name) for name in _MEDIA_PARAMS)


def _brings_media(tool: Mapping[str, Any]) -> bool:
    named = " ".join([str(tool.get("type", "")), str(tool.get("name", "")), *map(str, tool)]).lower()
    return any(word in named for word in _MEDIA_TOOLS)


class _MediaModels:
    """Which models make media, by the prices that count now; bounded."""

    def __init__(self) -> None:
        self._edition: object = None
        self._found: dict[tuple[str, str], bool] = {}

    def has(self, kind: str, model: str) -> bool:
        """Whether a model is known for pictures or sound: by its price, or by its name."""
        now, found = CURRENT.snapshot, self._found
        if self._edition is not now or len(found) >= _MOST_REMEMBERED:
            found = self._found = {}
            self._edition = now
        known = found.get((kind, model))
        if known is None:
            facts = model_facts(kind, model)
            price = facts.price if facts is not None else None
            priced = price is not None and (price.image_output is not price.output or price.audio_output is not price.output)
            known = found[kind, model] = priced or any(word in model.lower() for word in _MEDIA_NAMES)
        return known


_media_models = _MediaModels()
