"""``HttpVendor``: a catalog row, the codecs that its models need, and the transport.

A request is first adapted to its model: the nearest reasoning effort that the model knows, sampling settings only where it
takes them, and the limits of its vendor. What a model always refuses is left out when the request is encoded
(``llmdispatcher.wire``). A tool whose name a vendor does not take is sent under another name, and the answer has its own again.
An :class:`Endpoint` has the address, the headers with the key, and the transport.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property, partial
from operator import itemgetter
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, Unpack, cast
from urllib.parse import urljoin, urlsplit

import attrs

from .._text import room_logger
from .._version import __version__
from ..catalog import (
    NameClaim,
    Traits,
    VendorRow,
    canonical,
    claim_on,
    model_facts,
    models_of,
    room_for_thoughts,
    traits_of,
    vendor_row,
    vendor_rows,
)
from ..errors import AuthenticationError, ConfigError, DispatchError, InvalidRequest, MalformedReply, ModelNotFound
from ..resilience import RateLimit
from ..runtime import SYSTEM_CLOCK, Cancellation, Clock, Deadline, new_lock
from ..transport import IoLimits, Transport, clean, fetch_remote
from ..types import (
    EFFORTS,
    Capabilities,
    EmbeddingRequest,
    Embeddings,
    HttpCall,
    HttpReply,
    Message,
    Request,
    Response,
    Secret,
    check_headers,
    choices,
    copy_self,
    is_private_url,
    refuse_pickling,
    replace,
)
from ..wire import (
    COUNTING,
    EMBEDDING_CODECS,
    LISTINGS,
    Bounds,
    Codec,
    InboundRequest,
    ToolNames,
    codec_for,
    fault,
    is_about_model,
    rate_limit_remaining,
    request_id,
    telling_dropped,
    within_limits,
    without_idle_choice,
    without_refused,
)
from .bounds import bounds_of, size_of_vectors
from .chunk_stream import ENDS, ChunkStream, ends_in
from .config import VendorConfig, VendorSettings
from .credentials import Credentials, addresses, check_key, check_version
from .files import ANTHROPIC_BETA, Source, Upload, UploadedFile, files_api
from .headers import CallHeaders, environment_headers, merge_headers, with_beta, with_observed
from .raw import Query, VendorReply, check_size, check_target, encode_body, retry
from .secrets import Secrets, of_header

STREAM_SILENCE, LONGEST_SILENCE = 60.0, 300.0
"""Seconds that a stream may say nothing, and an open-ended one. An answer in one piece is silent until it is whole."""
PROGRESS = 120.0
"""Seconds that a stream may only ping; an open-ended one may do so for ever."""

logger = room_logger("vendors")


@attrs.frozen(kw_only=True)
class Endpoint:
    """Everything about reaching a vendor that stays the same from call to call."""

    transport: Transport
    limits: IoLimits
    stream_limits: IoLimits
    patient_limits: IoLimits
    headers: Mapping[str, str] = attrs.field(repr=False)
    stream_headers: Mapping[str, str] = attrs.field(repr=False)
    address: Callable[[str, str], str]
    """Where a model is asked, given the path that its format wants."""

    @classmethod
    def create(cls, row: VendorRow, config: VendorConfig, key_header: Mapping[str, str], url: str) -> Endpoint:
        """Bring row, settings and key together."""
        transport = Transport(
            url,
            pool_size=config.pool_size,
            proxy=config.proxy,
            ca_bundle=config.ca_bundle,
            client_cert=config.client_cert,
            ssl_context=config.ssl_context,
            trust_env=config.trust_env,
        )
        common = {
            "Content-Type": "application/json",
            "User-Agent": f"llmdispatcher/{__version__}",
            **dict(row.headers),
            **environment_headers(row),
            **key_header,
        }
        common = merge_headers(common, config.headers)
        return cls(
            transport=transport,
            limits=_limits(config, None),
            stream_limits=_limits(config, STREAM_SILENCE),
            patient_limits=_limits(config, LONGEST_SILENCE),
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", **common},
            stream_headers={"Accept": "text/event-stream", "Accept-Encoding": "identity", **common},
            address=addresses(row, config, url),
        )


def _limits(config: VendorConfig, silence: float | None) -> IoLimits:
    """What one attempt may take; ``silence`` is how long it may say nothing where no setting says how long."""
    return IoLimits(
        connect=config.connect_timeout,
        first_byte=silence if isinstance(config.first_byte_timeout, str) else config.first_byte_timeout,
        idle=silence if isinstance(config.idle_timeout, str) else config.idle_timeout,
        total=config.timeout,
        kept=config.keepalive_expiry,
    )


Encoded = tuple[HttpCall, Codec, Bounds, ToolNames, tuple[str, ...]]
"""A call, the format and the bounds of its answer, the names that its tools are sent by, and what was dropped of the request."""


def _body(codec: Codec, request: Request, traits: Traits, stream: bool) -> bytes:
    return codec.encode(fit_to_model(request, traits), stream=stream, quirks=traits.quirks)


def _roomy(request: Request, kind: str) -> Request:
    """The request with room for thoughts in its limit, where the model counts them there."""
    room = room_for_thoughts(request, kind, request.model)
    if not room or request.max_tokens is None:
        return request
    return attrs.evolve(request, max_tokens=request.max_tokens + room, reasoning_tokens=None)


_NO_SAMPLING = frozenset({"no_sampling"})


def fit_to_model(request: Request, traits: Traits) -> Request:
    """The request as this model takes it; the same one where there is nothing to change."""
    if request.tool_choice is not None or request.parallel_tool_calls is not None:
        request = without_idle_choice(request, request.model)
    if traits.limits:
        request = within_limits(request, traits.limits, request.model)
    effort = request.reasoning_effort
    if "sampling_without_effort" in traits.quirks and effort not in (None, "none"):
        request = without_refused(request, _NO_SAMPLING, request.model)
    if effort is None or not traits.efforts:
        return request
    known = nearest_effort(effort, traits.efforts)
    return request if known == effort else attrs.evolve(request, reasoning_effort=known)


def nearest_effort(effort: str, known: tuple[str, ...]) -> str:
    """The level that the model knows and that is nearest to ``effort``; of two as near, the lower."""
    wanted = EFFORTS.index(effort)
    return min(known, key=lambda level: (abs(EFFORTS.index(level) - wanted), EFFORTS.index(level)))


T = TypeVar("T")
_MOST_PAGES = 100
_VERSION = re.compile(r"/v\d")
_NO_PATH = (404, 405)
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_ANY_MESSAGES = (Message.user("-"),)
_MOST_REMEMBERED = 1_000


def _settings(request: Request) -> tuple[Any, ...]:
    """What a vendor may refuse of a request. Of texts that differ from user to user it has only whether they are there."""
    return (request.extra_params or None, request.user is None, request.prompt_cache_key is None, *_stated(vars(request)))


_OF_ONE_CALL = ("messages", "metadata", "extra_params", "headers", "user", "prompt_cache_key", "origin", "id_at_origin", "cache")
_stated = itemgetter(*[field.name for field in attrs.fields(Request) if field.name not in _OF_ONE_CALL])
ANTHROPIC = "anthropic_messages"
_ABSENT = (NameClaim.FOREIGN, NameClaim.CLOSED)
"""Claims on a model that a vendor does not have."""
APIS: Mapping[str, str] = {"chat": "openai_chat", "responses": "openai_responses"}
"""The formats that a vendor of OpenAI's kind can be asked in, by the setting ``api``."""

OPENAI_COMPATIBLE = ("openai_chat", "openai_responses", "ollama_chat")
"""Rows of these formats take the setting ``api``."""


class HttpVendor:
    """A vendor of the catalog, reached over HTTP; safe to share between threads and after a fork.

    ``kind`` names the catalog's row. Settings come from ``config``, from keyword arguments (they win), or, for key and base
    URL, from the row's environment variables, which are read at the first use. Raises :class:`ConfigError` for an unknown
    setting, a key that a header cannot carry, and, at the first use, for a missing key or address.
    """

    __copy__, __reduce__ = copy_self, refuse_pickling

    default_kind: ClassVar[str] = ""

    def __init__(
        self,
        config: VendorConfig | Mapping[str, Any] | None = None,
        *,
        kind: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **settings: Unpack[VendorSettings],
    ) -> None:
        row = vendor_row(kind or self.default_kind)
        if row is None:
            names = [row.name for row in vendor_rows()]
            raise ConfigError(f"vendor: the catalog has no {kind!r}; {choices(kind, names, 'it has {}')}")
        self._row = row
        self._config = VendorConfig.merge(config, cast(Mapping[str, Any], settings))
        if self._config.api is not None and row.codec not in OPENAI_COMPATIBLE:
            raise ConfigError(f"api: {row.name} speaks one format of its own; leave api={self._config.api!r} out")
        self._credentials = Credentials(row, self._config, clock)
        self._clock = clock
        self._lock = new_lock()
        self._endpoint: Endpoint | None = None
        self._objections: dict[tuple[Any, ...], str] = {}
        name = self._config.name or row.name
        self.name: str = row.name if name.strip().lower() != row.name == canonical(name) else name  # "azure-openai" is "azure"
        if isinstance(self._config.api_key, str):
            check_key(self._config.api_key, "api_key")

    @property
    def kind(self) -> str:
        """The catalog's row, which tells prices."""
        return self._row.name

    @property
    def is_free(self) -> bool:
        """Whether its answers cost nothing: a server of one's own, at an address of this machine or of a private network."""
        return self._row.free and is_private_url(self._credentials.url() or "")

    @property
    def base_url(self) -> str | None:
        """The address that it asks, as it was given or as the environment or the catalog has it; ``None`` where there is none."""
        return self._credentials.url()

    @cached_property
    def identity(self) -> tuple[Any, ...]:
        """What its answers depend on beside the request: kind, address, API and its version, and whether it drops fields."""
        config = self._config
        return (self.kind, self._credentials.url(), config.api, config.api_version, config.drop_params)

    @property
    def drops_params(self) -> bool:
        """Whether it leaves out what a model does not take, as configured."""
        return self._config.drop_params

    @property
    def takes_client_credentials(self) -> bool:
        """Whether it has no key of its own, and each client of the gateway shows theirs, as configured."""
        return self._config.credentials is not None

    @property
    def default_model(self) -> str | None:
        """The model that serves names which it does not have, as configured."""
        return self._config.default_model

    @property
    def rate_limit(self) -> RateLimit | None:
        """How much it may be asked, as configured."""
        return self._config.rate_limit

    @property
    def capabilities(self) -> Capabilities:
        """What the catalog knows of this vendor's models, taken together."""
        known = [facts for model in models_of(self.kind) if (facts := model_facts(self.kind, model)) is not None]
        return Capabilities(
            models=self._config.models or tuple(facts.model for facts in known),
            max_tokens=max((facts.max_tokens for facts in known), default=0),
            context_window=max((facts.context_window for facts in known), default=0),
            supports_streaming=True,
            supports_vision=any(facts.supports_vision for facts in known),
            supports_tools=any(facts.supports_tools for facts in known),
        )

    def claim_on(self, model: str) -> NameClaim:
        """What is known about a model's name here: by ``model_map`` and ``models``, else by the catalog.

        A name that is served by ``default_model`` counts as listed, since its user asked for that.
        """
        if any(fnmatchcase(model, pattern) for pattern in self._config.model_map):
            return NameClaim.LISTED
        claim = self._own_claim(model)
        return NameClaim.LISTED if claim in _ABSENT and self._config.default_model is not None else claim

    def model_for(self, model: str) -> str | None:
        """This vendor's own name for a model; ``None`` where it is known not to have it and nothing serves in its place."""
        for pattern, mapped in self._config.model_map.items():
            if fnmatchcase(model, pattern):
                return mapped
        return self._config.default_model if self._own_claim(model) in _ABSENT else model

    def _own_claim(self, model: str) -> NameClaim:
        if self._config.models:
            return NameClaim.LISTED if any(fnmatchcase(model, pattern) for pattern in self._config.models) else NameClaim.CLOSED
        return claim_on(self.kind, model, self.name)

    @property
    def key_count(self) -> int:
        """How many keys it was given as a list."""
        return self._credentials.count

    def awake_keys(self) -> tuple[int, ...]:
        """The numbers of those keys that do not rest, counted from 1; where all do, the one that is awake first."""
        return self._credentials.awake()

    def is_available(self) -> bool:
        """Whether there is a key and an address; sends nothing."""
        return self._endpoint is not None or self.missing() is None

    def missing(self) -> str | None:
        """The setting that it needs before it can be asked, and where to give it; ``None`` when nothing is missing."""
        return self._credentials.missing()

    def mask(self, text: str) -> str:
        """The text without keys that were used lately and other secrets of its settings."""
        return self._credentials.mask(text)

    def send(self, request: Request, deadline: Deadline) -> Response:
        """One answer in one piece."""
        call, codec, bounds, names, dropped = self._encode(request, deadline, stream=False)
        reply = self.open(call, deadline)
        response = self._decode(reply.read(), reply, deadline, partial(codec.decode, members=bounds.members))
        if names.sent:
            response = names.restore(response)
        if response.finish_reason not in ENDS or response.other_choices:
            self._refuse_unusable(response, reply)
        identity, left = request_id(reply.headers), rate_limit_remaining(reply.headers, self._clock.now())
        if identity is not None:
            identity = self._credentials.mask_id(identity, reply.secrets)
        if identity is None and left is None and not dropped:
            return response
        return replace(response, request_id=identity, rate_limit_remaining=left, dropped=dropped)

    def _refuse_unusable(self, response: Response, reply: HttpReply) -> None:
        try:
            ends_in(response.choices)
        except DispatchError as error:
            raise clean(self._complete_error(error, reply)) from None

    def stream(self, request: Request, deadline: Deadline) -> ChunkStream:
        """One answer in pieces."""
        call, codec, bounds, names, dropped = self._encode(request, deadline, stream=True)
        reply = self.open(call, deadline, streamed=True, patient=request.open_ended)
        progress, decoder = self._config.progress_timeout, codec.decoder()
        if isinstance(progress, str):
            progress = None if request.open_ended else PROGRESS
        decoder.bounds = bounds
        stream = ChunkStream(reply, names.wrap(decoder), self._clock, progress, self._complete_error, answers=request.n or 1)
        stream.meter, stream.dropped = deadline.meter, dropped
        return stream

    def takes_prefill(self, request: Request) -> bool:
        """Whether it continues an assistant's text at the end of a conversation; a model that thinks does not.

        Newer models refuse that, so a model that the catalog does not know counts as one of them.
        """
        traits = traits_of(self.kind, request.model)
        thinks = request.reasoning_effort not in (None, "none") or request.reasoning_tokens or "thinking" in request.extra_params
        if thinks or "no_prefill" in traits.quirks or self._format(request, traits) != "anthropic_messages":
            return False
        return model_facts(self.kind, request.model) is not None

    @property
    def can_embed(self) -> bool:
        """Whether its format makes vectors of texts."""
        return self._row.codec in EMBEDDING_CODECS

    def embedding_batches(self, request: EmbeddingRequest) -> int:
        """How many requests :meth:`embed` makes of it, one after the other."""
        codec = EMBEDDING_CODECS.get(self.kind) or EMBEDDING_CODECS.get(self._row.codec)
        return max(1, math.ceil(len(request.texts) / codec.largest)) if codec is not None else 1

    def embed(self, request: EmbeddingRequest, deadline: Deadline) -> Embeddings:
        """The vectors of some texts, asked for in batches of at most as many as the format takes.

        The first batch ends the attempt's share of the deadline; the others may use all of it.
        """
        codec = EMBEDDING_CODECS.get(self.kind) or EMBEDDING_CODECS.get(self._row.codec)
        if codec is None:
            raise InvalidRequest(f"{self.name} makes no vectors; ask another vendor", vendor=self.name, try_elsewhere=True)
        if self._config.drop_params and not request.drop_params:
            request = attrs.evolve(request, drop_params=True)
        pieces = []
        for batch in request.batches(codec.largest):
            size = self._config.max_body or size_of_vectors(batch)
            call = self.call(codec.path(batch.model), codec.encode(batch), model=batch.model, size=size)
            call = self._with_headers(call, request.headers)[0] if request.headers else call
            pieces.append(self._read(call, deadline, partial(codec.decode, request=batch)))
            deadline.widen()
        return Embeddings.join(pieces)

    def count_tokens(self, request: Request, deadline: Deadline) -> int | None:
        """How many tokens a request has, by the vendor's own count; ``None`` where it has no way to ask."""
        traits = traits_of(self.kind, request.model)
        name = self._format(request, traits)
        if self.takes_client_credentials:
            return None
        if name == "openai_chat" and self.kind == "openai":
            name = "openai_responses"  # by which OpenAI itself counts, whichever it is asked by; servers like it count nothing
        counting = COUNTING.get(self.kind) or COUNTING.get(name)
        if counting is None:
            return None
        if self._config.drop_params and not request.drop_params:
            request = attrs.evolve(request, drop_params=True)
        request = ToolNames.of(request, traits.limits.get("tool_name")).rename(request)
        call = self.call(
            counting.path(request.model), counting.encode(fit_to_model(request, traits), traits.quirks), model=request.model
        )
        call = self._with_headers(call, request.headers)[0] if request.headers else call
        if self._row.codec == ANTHROPIC and b'"file_id"' in call.body:
            call = attrs.evolve(call, headers=with_beta(call.headers, ANTHROPIC_BETA))
        return self._read(call, deadline, counting.decode)

    def list_models(self, deadline: Deadline) -> tuple[str, ...]:
        """The names of the models that the vendor says it has; asks it, which costs nothing."""
        listing = LISTINGS[self._row.codec]
        names: tuple[str, ...] = ()
        path: str | None = listing.path
        for _page in range(_MOST_PAGES):
            if path is None:
                break
            found, path = self._read(self.call(path, b""), deadline, lambda body: (listing.decode(body), listing.next(body)))
            names += found
        return names

    def request(  # noqa: PLR0913 - the settings of one request, all by keyword
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        content_type: str | None = None,
        params: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 60.0,
        cancel: Cancellation | None = None,
        max_retries: int = 2,
        max_body: int | None = None,
    ) -> VendorReply:
        """Send a request to any path below the vendor's address, with its key; returns a 2xx answer and raises all others.

        ``timeout`` is seconds for the whole of it, ``max_body`` the most bytes of the answer (8 MiB). It is sent again up to
        ``max_retries`` times after a failure that may pass; one that may have arrived only with GET, HEAD, PUT and DELETE. No
        redirect is followed. It is neither routed nor counted: limits, budgets and the ledger do not see it. Raises
        :class:`InvalidRequest` for a path that would leave the address, and for status 404.
        """
        target, body = check_target(method, path, params), encode_body(json, data)
        check_headers("headers", headers or {})
        check_size(max_body)
        own = CallHeaders(headers or {}, self._row, self._config.headers)
        further = own.sent if content_type is None else {"Content-Type": content_type, **own.sent}
        deadline = self._deadline(timeout, cancel)
        url = (self._endpoint or self._connect()).address("", target)
        call = HttpCall(method=method, url=url, headers=further, body=body, max_body=max_body, secrets=own.secrets)
        return self._exchange(call, deadline, max_retries)

    def upload_file(  # noqa: PLR0913 - as above
        self,
        file: Source,
        *,
        name: str | None = None,
        media_type: str | None = None,
        purpose: str | None = None,
        expires_after: int | None = None,
        timeout: float | None = 300.0,
        cancel: Cancellation | None = None,
    ) -> UploadedFile:
        """Give a file to the vendor, by its Files API; ``uploaded.part`` stands in messages to it.

        ``file`` is a path, bytes, a file open for bytes, or a part with data; of up to 512 MiB, all in memory. ``purpose`` and
        ``expires_after``, in seconds, are OpenAI's; Google deletes files after two days. Raises :class:`InvalidRequest` for a file
        that cannot be read, and for a vendor that keeps none.
        """
        api = files_api(self.kind, self._row.codec)
        upload = Upload.of(file, name, media_type, purpose, expires_after)
        return api.upload(self._ask, upload, self.name, self._deadline(timeout, cancel))

    def delete_file(self, file: UploadedFile | str, *, timeout: float | None = 60.0, cancel: Cancellation | None = None) -> None:
        """Delete a file at the vendor, by what :meth:`upload_file` returned or by its id."""
        api = files_api(self.kind, self._row.codec)
        if not isinstance(file, str | UploadedFile):
            raise InvalidRequest(f"file: {type(file).__name__} is no file of a vendor; give the UploadedFile, or its id")
        path, headers = api.delete(file if isinstance(file, str) else file.id)
        self._ask("DELETE", path, self._deadline(timeout, cancel), headers=headers)

    def _deadline(self, timeout: float | None, cancel: Cancellation | None) -> Deadline:
        if cancel is not None and not isinstance(cancel, Cancellation):
            raise ConfigError(f"cancel: {type(cancel).__name__} is not a Cancellation; make one and call its cancel()")
        return Deadline.after(timeout, clock=self._clock, cancellation=cancel)

    def _ask(
        self,
        method: str,
        path: str,
        deadline: Deadline,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> VendorReply:
        """An exchange of the Files API. Google's uploads go to a place beside its other paths, of the same origin."""
        endpoint = self._endpoint or self._connect()
        place, _, rest = path.rpartition(":")
        url = endpoint.address("", path)
        if place == "upload":
            parts = urlsplit(endpoint.address("", ""))
            head, _, version = parts.path.rpartition("/")
            url = urljoin(url, f"{head}/upload{'/' if version else ''}{version}{rest}")
        elif place == "origin":
            url = urljoin(url, rest)
        call = HttpCall(method=method, url=url, headers=headers, body=encode_body(json, data))
        return self._exchange(call, deadline, max_retries=2)

    def _exchange(self, call: HttpCall, deadline: Deadline, max_retries: int) -> VendorReply:
        """Send a call that has only headers of its own, until it is answered or finally refused."""
        endpoint = self._endpoint or self._connect()

        def once() -> VendorReply:
            key = self._credentials.header() if self._credentials.varies else {}
            headers = merge_headers({**endpoint.headers, **key}, call.headers)
            whole = attrs.evolve(call, headers=headers, max_body=call.max_body or self._config.max_body)
            try:
                reply = self.open(whole, deadline)
                content = reply.read()
            except ModelNotFound as error:
                missing = InvalidRequest(error.message, vendor=self.name, status=error.status, sent=True)
                raise missing.with_facts(request_id=error.request_id, remedy="check the path, and the id in it") from None
            except DispatchError as error:
                raise error.with_facts(vendor=self.name) from None
            identity = request_id(reply.headers)
            identity = None if identity is None else self._credentials.mask_id(identity, reply.secrets)
            return VendorReply(status=reply.status, headers=reply.headers, content=content, request_id=identity)

        return retry(call.method, once, deadline, max_retries)

    def _read(self, call: HttpCall, deadline: Deadline, decode: Callable[[bytes], T]) -> T:
        """One exchange, its body read and decoded."""
        reply = self.open(call, deadline)
        return self._decode(reply.read(), reply, deadline, decode)

    def _decode(self, body: bytes, reply: HttpReply, deadline: Deadline, decode: Callable[[bytes], T]) -> T:
        try:
            answer = decode(body)
            deadline.check()  # the decoding takes time, too
            return answer
        except DispatchError as error:
            failure = clean(self._complete_error(error, reply))
        del body  # what the vendor said may hold the key, and a crash reporter writes the frames of an error down
        raise failure

    def close(self) -> None:
        """Close pooled connections; the vendor opens new ones if it is used again."""
        with self._lock:
            endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.transport.close()

    def _encode(self, request: Request, deadline: Deadline, *, stream: bool) -> Encoded:
        """The call that asks for an answer, and what is needed to read it."""
        kind = self._row.name
        traits = traits_of(kind, request.model)
        codec = codec_for(self._format(request, traits), traits.quirks)
        names = ToolNames.of(request, traits.limits.get("tool_name"))
        body, headers = b"", _NO_HEADERS
        if isinstance(request, InboundRequest):
            codec, body, headers = self._as_it_came(request, codec, traits, names, deadline)
        if self._config.drop_params and not request.drop_params:
            request = attrs.evolve(request, drop_params=True)
        if self._config.fetch_remote is not None:
            request = fetch_remote(request, self._config.fetch_remote, deadline, kind, codec.name, trust_env=self._config.trust_env)
        if request.max_tokens and "max_completion_tokens" in traits.quirks:
            request = _roomy(request, kind)
        named = names.rename(request) if names.sent else request
        dropped: tuple[str, ...] = ()
        as_sent = bool(body)
        if not as_sent and request.wire_format is None and not request.drop_params:
            body = _body(codec, named, traits, stream)
        elif not as_sent:
            body, dropped = telling_dropped(partial(_body, codec, named, traits, stream))
        bounds, most = bounds_of(kind, request, self._config.max_body), self._config.max_body
        size = most or (bounds.streamed if stream else bounds.size)
        call = self.call(codec.path(request.model, stream), body, model=request.model, stream=stream, size=size)
        if request.headers or headers:
            call, foreign = self._with_headers(call, request.headers or {}, headers)
            dropped += foreign
        if not as_sent and self._row.codec == ANTHROPIC and b'"file_id"' in body:
            call = attrs.evolve(call, headers=with_beta(call.headers, ANTHROPIC_BETA))
        if dropped and deadline.meter is not None:
            deadline.meter.dropped = dropped
        return call, codec, bounds, names, dropped

    def _as_it_came(
        self, request: InboundRequest, codec: Codec, traits: Traits, names: ToolNames, deadline: Deadline
    ) -> tuple[Codec, bytes, Mapping[str, str]]:
        """How a request goes that may be sent as it came: not where the settings of this vendor change it."""
        adapts = names.sent or self._config.drop_params or self._config.fetch_remote is not None
        encode = None if adapts else partial(_body, codec, traits=traits, stream=False)
        return request.at_vendor(codec, request, encode, traits.quirks, deadline.meter, client=self.takes_client_credentials)

    def _with_headers(
        self, call: HttpCall, given: Mapping[str, str], ours: Mapping[str, str] = _NO_HEADERS
    ) -> tuple[HttpCall, tuple[str, ...]]:
        """The call with the headers of a request, and what was dropped of them; ``ours`` stand in place of all others."""
        own = CallHeaders(given, self._row, self._config.headers)
        further = [Secret(word) for name, text in ours.items() for word in of_header(name, text)]
        headers = merge_headers(merge_headers(call.headers, own.sent), ours)
        return attrs.evolve(call, headers=headers, secrets=(*own.secrets, *further)), own.dropped

    def objection(self, request: Request) -> str:
        """Why this vendor would refuse the request before, or right after, it is sent; empty where no reason is known.

        It looks at the settings and not at the messages; the result for the same settings is remembered.
        """
        settings = _settings(request)
        try:
            known = self._objections.get(settings)
        except TypeError:  # tools, a form of the answer, parameters of the vendor: nothing that can be looked up
            return self._objection(request)
        if known is None:
            known = self._objection(request)
            if len(self._objections) < _MOST_REMEMBERED:
                self._objections[settings] = known
        return known

    def _objection(self, request: Request) -> str:
        traits = traits_of(self.kind, request.model)
        drops = self._config.drop_params or request.drop_params
        request = replace(request, messages=_ANY_MESSAGES, drop_params=drops)
        try:
            _body(codec_for(self._format(request, traits), traits.quirks), request, traits, stream=False)
        except InvalidRequest as error:
            return error.message
        return ""

    def _format(self, request: Request, traits: Traits) -> str:
        """The wire format: what the user chose, else what this model or this request needs, else the row's."""
        api = self._config.api or traits.api
        if api is None and request.tools and "tools_by_responses" in traits.quirks and request.reasoning_effort != "none":
            api = "responses"
        further = request.wire_format == APIS["responses"] and (request.extra_params or isinstance(request, InboundRequest))
        if api is None and further and self.kind == "openai":
            api = "responses"  # which alone knows these fields
        return self._row.codec if api is None else APIS[api]

    def call(self, path: str, body: bytes, *, model: str = "", stream: bool = False, size: int | None = None) -> HttpCall:
        """A call to a path below the base URL, with this vendor's headers; ``model`` is part of some addresses.

        Its answer may have ``size`` bytes, or those of a text.
        """
        endpoint = self._endpoint or self._connect()
        headers = endpoint.stream_headers if stream else endpoint.headers
        if self._credentials.varies:
            headers = {**headers, **self._credentials.header()}
        url, size = endpoint.address(model, path), size or self._config.max_body
        return HttpCall(url=url, headers=headers, body=body, method="POST" if body else "GET", max_body=size)

    def open(self, call: HttpCall, deadline: Deadline, *, streamed: bool = False, patient: bool = False) -> HttpReply:
        """The answer to a call, its body not yet read. Raises what a refusal stands for, when no other key is left to try."""
        endpoint = self._endpoint or self._connect()
        limits = endpoint.limits
        if streamed:
            limits = endpoint.patient_limits if patient else endpoint.stream_limits
        if deadline.meter is not None and deadline.meter.headers:
            call = with_observed(call, deadline.meter.headers)
        lease = deadline.meter.lease if deadline.meter is not None else None
        if lease is not None and lease.key is not None:
            call = attrs.evolve(call, headers={**call.headers, **self._credentials.header_of(lease.key)})
        while True:
            if deadline.meter is not None and self._credentials.varies:
                deadline.meter.key = self._credentials.number(call.headers)
            reply = endpoint.transport.open(call, deadline, limits)
            reply.secrets = call.secrets
            if 200 <= reply.status < 300:
                if deadline.meter is not None:
                    deadline.meter.reply_headers = reply.headers
                return reply
            error = self._refusal(reply)
            other = self._credentials.replace_key(call.headers, error, lease)
            if other is None:
                raise error
            call = attrs.evolve(call, headers={**call.headers, **other})

    def _refusal(self, reply: HttpReply) -> DispatchError:
        error = fault(reply.status, reply.headers, reply.read(), self._clock.now())
        if isinstance(error, AuthenticationError) and self.takes_client_credentials:
            error = error.with_facts(code="client_credentials_refused")
        if isinstance(error, ModelNotFound) and self._lacks_version():
            hint = "check the model's name; if that is right: " if is_about_model(error) else "nothing is at this path: "
            error.remedy = f"{hint}does base_url lack /v1?"
        elif reply.status in _NO_PATH and self._credentials.url() != self._row.base_url and not is_about_model(error):
            error.remedy = "nothing that can be asked is at this path; check base_url"
        return self._complete_error(error, reply)

    def _lacks_version(self) -> bool:
        """Whether the address is one of the user's that lacks the version which servers of OpenAI's format have in it."""
        usual = self._row.base_url or "/v1"
        is_compatible = self._row.codec.startswith("openai") and self.kind != "azure"
        return is_compatible and _VERSION.search(usual) is not None and _VERSION.search(self._credentials.url() or "/v1") is None

    def _complete_error(self, error: DispatchError, reply: HttpReply) -> DispatchError:
        """The error with the call's id, and without keys and other secrets, which some vendors echo in their text."""
        if type(error) is MalformedReply and error.remedy is None and self._credentials.url() != self._row.base_url:
            error.remedy = "see whether base_url is the address of an API of this format"
        own = Secrets(reply.secrets) if reply.secrets else None
        mask = self._credentials.mask
        return error.with_facts(request_id=request_id(reply.headers)).masked(
            mask if own is None else lambda text: own.mask(mask(text))
        )

    def _connect(self) -> Endpoint:
        """Read what the environment gives and make ready to talk; opens nothing yet."""
        credentials = self._credentials
        url, lack = credentials.url(), credentials.missing()
        if url is None or lack is not None:
            raise ConfigError(lack or "no address", vendor=self.name)
        with self._lock:
            if self._endpoint is None:
                config = attrs.evolve(self._config, api_version=check_version(credentials.version()))
                self._endpoint = Endpoint.create(self._row, config, credentials.header(), url)
                credentials.hide(self._endpoint.transport.proxy_login)
            return self._endpoint

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, kind={self.kind!r})"
