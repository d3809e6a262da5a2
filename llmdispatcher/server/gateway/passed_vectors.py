"""Same format, same bytes, for embeddings: their documents and answers pass as those of conversations do (``passing``).

What is no text, such as a list of tokens, only a vendor of the document's own format understands; any other refuses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from ...errors import InvalidRequest
from ...runtime import AttemptMetrics
from ...types import EmbeddingRequest, Embeddings, Request, Secret, parse_text
from ...wire import EmbeddingCodec, InboundEmbedding
from ..kept_ids import references_in
from .checks import FOREIGN_SETTINGS, further_models, is_address, is_misspelt, is_name_of, kept_in
from .document import JsonText
from .formats import GatewayError
from .passing import ReplyHead, family, head_of, own_credentials_missing
from .targets import ClientRequest

_BATCH, _SINGLE = ":batchEmbedContents", ":embedContent"
_ONE_TOKEN = "0000"  # noqa: S105 - no secret
"""A text that counts as one token."""
_MOST_SHOWN = 40
_SETTINGS = frozenset(
    {
        *("model", "taskType", "task_type", "outputDimensionality", "output_dimensionality"),
        *("dimensions", "output_dimension", "encoding_format", "user"),
    }
)
_USUAL = frozenset(("input", "requests", "content", "parts", "text", "role", "title"))
"""Names that stand in every document, and that no vendor counts."""
_MOST_OF_SETTING = 256


@attrs.frozen(kw_only=True)
class PassedEmbeddings(Embeddings):
    """An answer with its head, and its body in place of its vectors."""

    head: ReplyHead
    body: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class ClientEmbedding(InboundEmbedding):
    """A client's request; ``known`` are the fields by which its targets are chosen, as :class:`ClientRequest` has them."""

    known: Mapping[str, Any] = attrs.field(factory=dict, eq=False, repr=False)

    def as_reserved(self, body: bytes) -> Request:
        """The request by which a budget reserves: as long as all that stands in its body, of which any may pass to the vendor."""
        made = EmbeddingRequest.as_request(attrs.evolve(self, texts=(_all_of(body),)))
        return ClientRequest.known(made, at_vendor=_never_sent, **self.known)

    def as_request(self) -> Request:
        """The request by which its targets are chosen, as long as what is to be embedded is."""
        made = EmbeddingRequest.as_request(attrs.evolve(self, texts=self.texts or counted_texts(self)))
        return ClientRequest.known(made, at_vendor=_never_sent, **self.known)


def _never_sent(*_: Any, **__: Any) -> Any:
    raise AssertionError("it chooses targets, and is not sent")


class VectorsDocument:
    """The document of one request for embeddings, and the codec that has read it; ``hashed`` as in :class:`~.passing.Original`."""

    def __init__(
        self,
        body: bytes,
        codec: EmbeddingCodec,
        *,
        path: str,
        hashed: Mapping[tuple[str, ...], str],
        credentials: Mapping[str, str],
        stateful: bool,
    ) -> None:
        self._stateful = stateful
        self._body, self._codec, self._hashed = body, codec, hashed
        self._is_single = path.endswith(_SINGLE)
        self._credentials = {name: Secret(text) for name, text in credentials.items()}
        self._bound_fields: tuple[Any, ...] = ()

    def bind(self, asked: EmbeddingRequest, known: Mapping[str, Any]) -> ClientEmbedding:
        """The request with its document; one that says something else later is encoded anew."""
        fields = {field.name: getattr(asked, field.name) for field in attrs.fields(EmbeddingRequest)}
        bound = ClientEmbedding(**fields, at_vendor=self.at_vendor, known=known)
        self._bound_fields = _sent_fields(bound)
        return bound

    def at_vendor(
        self, codec: EmbeddingCodec, request: EmbeddingRequest, meter: AttemptMetrics | None, *, adapts: bool, client: bool
    ) -> tuple[EmbeddingCodec, Mapping[str, str]]:
        """The codec that sends the document and keeps the answer, if this vendor may have it, and the client's own credentials."""
        if client and not (self._credentials and family(codec.name) == family(self._codec.name)):
            raise own_credentials_missing()
        body = None
        if (
            not adapts
            and codec.name == self._codec.name
            and self._bound_fields == _sent_fields(request)
            and _is_alike(codec, self._codec, request)
        ):
            body = self._written(request.model)
        if body is None and not request.texts:
            raise no_texts(request)
        headers = self._credentials if client else {}
        return codec if body is None else _PassingVectors(codec, body, meter, is_single=self._is_single), headers

    def _written(self, model: str) -> bytes | None:
        document = JsonText.read(self._body, folded=self._codec.name == "gemini")
        if document is None or (document.refers and not self._stateful and kept_in(document.value)):
            return None
        if self._codec.name == "gemini" and (_has_more(document.value) or (not self._stateful and references_in(document.value))):
            return None  # beside the requests, where the codec has not looked
        changes: dict[tuple[str, ...], Any] = dict(self._hashed)
        name = model
        if self._codec.name == "gemini":
            name = f"models/{model.removeprefix('models/')}"
            entries = document.value.get("requests") or []
            if any(entry.get("model", name) != name for entry in entries):  # another than the address has
                return None
        if document.value.get("model", name) != name:
            changes["model",] = name
        return document.with_changes(changes) if changes else self._body


def _has_more(document: Mapping[str, Any]) -> bool:
    """Whether Google's document has, in whatever spelling, what chooses a model or a server and was not looked at."""
    entries = [document, *(document.get("requests") or [])]
    settings = {name.replace("_", "") for name in FOREIGN_SETTINGS}
    return any(
        further_models(one) or is_misspelt(one, "model", "requests", "content") or any(is_name_of(name, *settings) for name in one)
        for one in entries
    )


def _sent_fields(request: EmbeddingRequest) -> tuple[Any, ...]:
    return (request.texts, request.dimensions, request.user, request.extra_params)


def _is_alike(codec: EmbeddingCodec, other: EmbeddingCodec, request: EmbeddingRequest) -> bool:
    """Whether two formats of one name write the request alike, and one call takes all of its texts."""
    if len(request.texts) > codec.largest:
        return False
    probe = EmbeddingRequest(request.model, ("-",), dimensions=request.dimensions)
    return codec is other or codec.encode(probe) == other.encode(probe)


class _PassingVectors(EmbeddingCodec):
    """Sends a document as it is, and keeps the answer."""

    def __init__(self, codec: EmbeddingCodec, body: bytes, meter: AttemptMetrics | None, *, is_single: bool) -> None:
        super().__init__()
        self.name, self.largest = codec.name, codec.largest
        self._inner, self._body, self._meter, self._is_single = codec, body, meter, is_single

    def path(self, model: str) -> str:
        path = self._inner.path(model)
        return path.replace(_BATCH, _SINGLE) if self._is_single else path

    def encode(self, _request: EmbeddingRequest) -> bytes:
        return self._body

    def decode(self, body: bytes, request: EmbeddingRequest) -> PassedEmbeddings:
        facts, _vectors = self._inner.decode_facts(body, request)
        fields = {field.name: getattr(facts, field.name) for field in attrs.fields(Embeddings)}
        return PassedEmbeddings(**fields, head=head_of(self._meter, same=True), body=body)


def no_texts(asked: EmbeddingRequest) -> InvalidRequest:
    """The error of a request that a vendor of another format cannot be sent, since it has more than texts."""
    if "input" in asked.extra_params:
        shown = json.dumps(asked.extra_params["input"])
        shown = shown if len(shown) <= _MOST_SHOWN else f"{shown[:_MOST_SHOWN]}..."
        text = f"input: {shown} is no text, and tokens mean something to a vendor of this API's own format alone"
        text += "; send the text itself, or ask a model of such a vendor"
    else:
        text = "requests: some have more than a text, or settings that differ, which a vendor of another format does not take"
        text += "; send texts alone, and a batch for each setting"
    return InvalidRequest(text, sent=False, try_elsewhere=True)


def counted_texts(asked: EmbeddingRequest) -> tuple[str, ...]:
    """Texts that are as long as what a request has in place of texts: of tokens one for each, of Google's parts their own."""
    given = asked.extra_params.get("input")
    if given is not None:
        count = sum(1 for one in _flat(given) if not isinstance(one, str))
        return (_ONE_TOKEN * max(1, count), *[one for one in _flat(given) if isinstance(one, str)])
    return tuple([part["text"] for part in _parts(asked) if isinstance(part.get("text"), str)]) or (_ONE_TOKEN,)


def _all_of(body: bytes) -> str:
    """A text as long as all texts of a document and its names, where a short text, a number and an empty content are a token."""
    document = parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff"), None)
    entries = document.get("requests")
    found: list[str] = [_ONE_TOKEN]
    waiting: list[Any] = []
    for one in (document, *(entries if isinstance(entries, list) else ())):
        waiting += [inner for name, inner in one.items() if name != "requests" and not _is_setting(name, inner)]
        found += [name for name in one if name not in _SETTINGS and name not in _USUAL]
    while waiting:
        inner = waiting.pop()
        if isinstance(inner, str):
            found.append(inner.ljust(len(_ONE_TOKEN), "0"))
        elif isinstance(inner, Mapping):
            waiting += inner.values()
            found += [name for name in inner if name not in _USUAL]
        elif isinstance(inner, list):
            waiting += inner or [""]
        elif inner is not None:
            found.append(_ONE_TOKEN)
    return "".join(found)


def _is_setting(name: str, value: Any) -> bool:
    """Whether it is a setting whose value nobody embeds."""
    return name in _SETTINGS and (isinstance(value, int | float) or (isinstance(value, str) and len(value) <= _MOST_OF_SETTING))


def is_countable(asked: EmbeddingRequest) -> bool:
    """Whether it has nothing but texts and tokens, so that what it costs can be told before."""
    if asked.texts:
        return True
    if "input" in asked.extra_params:
        return all(isinstance(one, str | int) for one in _flat(asked.extra_params["input"]))
    return all(part.keys() <= {"text", "thought"} for part in _parts(asked))


def check_parts(asked: EmbeddingRequest) -> None:
    """Raise :class:`GatewayError` for a picture or file that is named by anything but an address."""
    for part in _parts(asked) if not asked.texts else ():
        for data in part.values():
            url = data.get("fileUri", data.get("file_uri")) if isinstance(data, Mapping) else None
            if isinstance(url, str) and not is_address(url):
                text = "fileUri: this is no address of a picture or file; send its bytes, or an address with https:"
                raise GatewayError(text, status=400, code="invalid_request_error", param="fileUri")


def _flat(given: Any) -> Iterable[Any]:
    return [inner for one in given for inner in (one if isinstance(one, list) else [one])] if isinstance(given, list) else [given]


def _parts(asked: EmbeddingRequest) -> Iterable[Mapping[str, Any]]:
    entries = asked.extra_params.get("requests", [asked.extra_params])
    contents = [entry.get("content") for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
    for content in contents:
        parts = content.get("parts") if isinstance(content, Mapping) else None
        yield from [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
