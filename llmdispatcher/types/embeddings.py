"""Requests for embeddings, and their results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import attrs

from ..errors import InvalidRequest
from . import request_fields
from .extra_params import check_agreement
from .keywords import suggest
from .message import Message, TextPart
from .request import Request
from .response import Usage, from_json, json_converter, replace

Vector = tuple[float, ...]


def _texts(value: str | Sequence[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(text, str) for text in value):
        return tuple(value)
    raise InvalidRequest(f"texts: {type(value).__name__} is no list of texts; give ['...', ...]")


def _model(instance: Any, _attribute: Any, value: str) -> None:
    if not isinstance(value, str) or not (value.strip() or instance.wire_format):
        raise InvalidRequest(f"model: {value!r} names no model; give a name such as 'text-embedding-3-small'")
    request_fields.check_reference(value)


def _dimensions(_instance: Any, _attribute: Any, value: int | None) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidRequest(f"dimensions: {value!r} is not a whole number > 0; omit it for the model's default")


class EmbeddingSettings(TypedDict, total=False):
    """The fields of :class:`EmbeddingRequest` beside model and texts, as keywords of a call."""

    dimensions: int | None
    user: str | None
    metadata: Mapping[str, Any]
    extra_params: Mapping[str, Any]
    headers: Mapping[str, str] | None
    drop_params: bool
    profile: str | None
    wire_format: str | None


@suggest
@attrs.frozen
class EmbeddingRequest:
    """Texts to be made vectors of; there may be more than a vendor takes at once (:meth:`batches`).

    ``dimensions`` is the length of a vector where the model leaves a choice. ``extra_params`` is merged last into the vendor's
    JSON, such as Google's ``taskType``; ``headers`` are what they are in a :class:`Request`. ``profile`` is that of the lockfile,
    where ``model`` is an alias. ``drop_params`` leaves out what a vendor has no place for; ``wire_format`` is the one that a
    request was read from.
    """

    model: str = attrs.field(validator=_model)
    texts: tuple[str, ...] = attrs.field(converter=_texts)
    dimensions: int | None = attrs.field(default=None, kw_only=True, validator=_dimensions)
    user: str | None = attrs.field(default=None, kw_only=True)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=request_fields.mapping)
    extra_params: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True, validator=request_fields.further)
    headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False, validator=request_fields.headers)
    drop_params: bool = attrs.field(default=False, kw_only=True, validator=request_fields.flag)
    profile: str | None = attrs.field(default=None, kw_only=True)
    wire_format: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.texts and not (self.wire_format and self.extra_params):  # some formats take lists of tokens as well
            raise InvalidRequest("texts: there are none; give at least one")
        if self.extra_params and self.wire_format is None:
            check_agreement(self, self.extra_params)

    def as_request(self) -> Request:
        """The request by which its targets are chosen: one that has these texts and no output."""
        texts = [Message("user", [TextPart(text=text) for text in self.texts])]
        made = Request(self.model, texts, user=self.user, metadata=self.metadata, profile=self.profile)
        return replace(made, max_tokens=0)  # which no request of a user's may say

    def batches(self, largest: int) -> tuple[EmbeddingRequest, ...]:
        """Yield requests of at most so many of the texts, otherwise alike."""
        if len(self.texts) <= largest:
            return (self,)
        starts = range(0, len(self.texts), largest)
        return tuple([attrs.evolve(self, texts=self.texts[start : start + largest]) for start in starts])


@suggest
@attrs.frozen(kw_only=True)
class Embeddings:
    """The vectors of a request's texts, in their order."""

    vectors: tuple[Vector, ...] = attrs.field(default=(), repr=False)
    model: str = ""
    vendor: str = ""
    usage: Usage = attrs.field(factory=Usage)
    request_id: str | None = None
    latency: float | None = None

    @classmethod
    def join(cls, pieces: Iterable[Embeddings]) -> Embeddings:
        """Several batches as one; what differs between them is that of the first."""
        first, *others = pieces
        return attrs.evolve(
            first,
            vectors=sum([piece.vectors for piece in others], first.vectors),
            usage=sum([piece.usage for piece in others], first.usage),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of it, for a queue or a store: the fields not at their default; US dollars are texts."""
        written: dict[str, Any] = json_converter().unstructure(self)
        return written

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Embeddings:
        """Read what :meth:`as_dict` gave. Raises :class:`InvalidRequest` with the paths of the mistakes."""
        embeddings: Embeddings = from_json(fields, Embeddings, "Embeddings")
        return embeddings
