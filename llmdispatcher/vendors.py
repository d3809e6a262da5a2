"""Vendors: the protocol that any object may fulfil, and HttpVendor = a catalog row + a codec + the transport."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, ClassVar, Protocol, runtime_checkable

import attrs

from . import catalog
from .chunks import StreamChunk
from .clock import SYSTEM_CLOCK, Clock, Deadline
from .config import VendorConfig
from .endpoint import Endpoint
from .errors import ConfigError, DispatchError, MalformedReply, VendorUnavailable
from .locks import new_lock
from .types import Capabilities, Request, Response
from .wire.base import HttpCall, HttpReply, StreamDecoder
from .wire.codecs import CODECS
from .wire.faults import fault, request_id


@runtime_checkable
class Vendor(Protocol):
    """Who can be asked; any object with these five members, no base class.

    Optional members that the dispatcher uses where they exist: ``kind`` (a catalog vendor, for prices), ``model_for(model)``
    (the vendor's own name for a model, or ``None`` where it does not have it), ``missing()`` (what it was not told, for the error)
    and ``close()``.
    """

    @property
    def name(self) -> str:
        """What rules and ``send_to_vendor`` call it; unique in a dispatcher."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""

    def send(self, request: Request, deadline: Deadline) -> Response:
        """Answer, within ``deadline.remaining()`` seconds; raises a :class:`DispatchError`."""

    def stream(self, request: Request, deadline: Deadline) -> Iterable[StreamChunk]:
        """Answer in pieces; a normal end of the iteration means a complete answer."""

    def is_available(self) -> bool:
        """Whether it makes sense to ask it now; cheap, never spends money."""


Explain = Callable[[DispatchError, HttpReply], DispatchError]


class ChunkStream:
    """The chunks of one HTTP answer: iterate them, or take all that one read brought with :meth:`batches`."""

    def __init__(self, reply: HttpReply, decoder: StreamDecoder, clock: Clock, progress: float | None, explained: Explain) -> None:
        self._explained = explained
        self._reply = reply
        self._decoder = decoder
        self._clock = clock
        self._progress = progress

    def batches(self) -> Generator[list[StreamChunk]]:
        """Lists of chunks as they arrive; closes the reply at the end, whatever the end is.

        Raises :class:`VendorUnavailable` with phase ``"idle"`` when only pings come for longer than the progress limit.
        """
        reply, decoder = self._reply, self._decoder
        try:
            last = self._clock.monotonic()
            for data in self._arrivals():
                chunks = decoder.feed(data)
                if chunks:
                    yield chunks
                    decoder.check()
                    last = self._clock.monotonic()
                if decoder.done:
                    return
                if not chunks:
                    self._check_progress(last)
            rest = decoder.finish()
            if rest:
                yield rest
        except DispatchError as error:
            self._explained(error, reply)
            raise
        finally:
            reply.close()

    def _arrivals(self) -> Iterator[bytes]:
        """What the transport reads; losing the connection after the answer is complete loses nothing."""
        try:
            yield from self._reply.chunks
        except (VendorUnavailable, MalformedReply):
            if not self._decoder.ended:
                raise

    def _check_progress(self, last: float) -> None:
        if self._progress is not None and self._clock.monotonic() - last > self._progress:
            text = (
                f"the stream is alive but has said nothing for {self._progress:g} s; raise progress_timeout or ask another vendor"
            )
            raise VendorUnavailable(text, phase="idle", sent=True)

    def __iter__(self) -> Iterator[StreamChunk]:
        for batch in self.batches():
            yield from batch


_PLACES = re.compile(r"{(\w+)}")
_CARRIED = re.compile(r"[\x21-\x7e]{1,4096}")
"""What an HTTP header can carry as a key: printable ASCII without blanks, of a sane length."""


def checked_key(key: str, field: str) -> str:
    """The key, if a header can carry it; the error shows no more than its last four characters."""
    if not _CARRIED.fullmatch(key):
        tail = key[-4:] if len(key) >= 12 and key[-4:].isprintable() else ""
        raise ConfigError(
            f"{field}: the key ending in {tail!r} has blanks, line ends or characters that are not ASCII, or is over 4,096 long;"
            " copy it again without what surrounds it"
        )
    return key


class HttpVendor:
    """A vendor of the catalog, reached over HTTP; safe to share between threads and after a fork.

    ``kind`` names the catalog's row. Settings come from ``config``, from keyword arguments (they win), or, for key and base
    URL, from the row's environment variables, which are read at the first use. Raises :class:`ConfigError` for an unknown
    setting, a key that a header cannot carry, and, at the first use, for a key or address that nobody gave.
    """

    default_kind: ClassVar[str] = ""

    def __init__(
        self,
        config: VendorConfig | Mapping[str, Any] | None = None,
        *,
        kind: str | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **settings: Any,
    ) -> None:
        row = catalog.vendor_row(kind or self.default_kind)
        if row is None:
            raise ConfigError(f"vendor: the catalog has no {kind!r}; it has {', '.join(row.name for row in catalog.vendor_rows())}")
        self._row = row
        self._config = VendorConfig.merged(config, settings)
        if self._config.api != "chat":
            raise ConfigError(f"api: {self._config.api!r} is not spoken yet; use 'chat'")
        self._clock = clock
        self._codec = CODECS[row.codec]
        self._lock = new_lock()
        self._endpoint: Endpoint | None = None
        self.name: str = self._config.name or row.name
        if self._config.api_key is not None:
            checked_key(self._config.api_key, "api_key")

    @property
    def kind(self) -> str:
        """The catalog's row, which tells prices."""
        return self._row.name

    @property
    def capabilities(self) -> Capabilities:
        """What the catalog knows of this vendor's models, taken together."""
        known = [facts for model in catalog.models(self.kind) if (facts := catalog.model_facts(self.kind, model)) is not None]
        return Capabilities(
            models=self._config.models or tuple(facts.model for facts in known),
            max_tokens=max((facts.max_tokens for facts in known), default=0),
            context_window=max((facts.context_window for facts in known), default=0),
            supports_streaming=True,
            supports_vision=any(facts.supports_vision for facts in known),
            supports_tools=any(facts.supports_tools for facts in known),
        )

    def model_for(self, model: str) -> str | None:
        """This vendor's own name for a model; ``None`` where it is known not to have it and nothing serves in its place."""
        for pattern, mapped in self._config.model_map.items():
            if fnmatchcase(model, pattern):
                return mapped
        if self._config.models:
            listed = any(fnmatchcase(model, pattern) for pattern in self._config.models)
        else:
            listed = not catalog.knows_not(self.kind, model)
        return model if listed else self._config.default_model

    def is_available(self) -> bool:
        """Whether there is a key and an address; asks nobody."""
        if self._endpoint is not None:
            return True
        return self.missing() is None

    def missing(self) -> str | None:
        """What it needs to be told before it can be asked, and where to say it; ``None`` when nothing is missing."""
        if self._given_key() is None and not self._row.keyless:
            return f"no API key; pass api_key=... or set {' or '.join(self._row.key_env)}"
        if self._given_url() is None:
            return f"no address; pass base_url=... or set {' or '.join(self._row.url_env)}"
        return None

    def send(self, request: Request, deadline: Deadline) -> Response:
        """One answer in one piece."""
        reply = self._open(request, deadline, stream=False)
        body = reply.read()
        try:
            response = self._codec.decode(body)
        except DispatchError as error:
            raise self._explained(error, reply) from None
        identity = request_id(reply.headers)
        return response if identity is None else attrs.evolve(response, request_id=identity)

    def stream(self, request: Request, deadline: Deadline) -> ChunkStream:
        """One answer in pieces."""
        reply = self._open(request, deadline, stream=True)
        return ChunkStream(reply, self._codec.decoder(), self._clock, self._config.progress_timeout, self._explained)

    def close(self) -> None:
        """Close pooled connections; the vendor opens new ones if it is used again."""
        with self._lock:
            endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.transport.close()

    def _open(self, request: Request, deadline: Deadline, *, stream: bool) -> HttpReply:
        endpoint = self._endpoint or self._connect()
        facts = catalog.model_facts(self.kind, request.model)
        quirks = facts.quirks if facts is not None else frozenset()
        call = HttpCall(
            url=endpoint.address(request.model, stream),
            headers=endpoint.stream_headers if stream else endpoint.headers,
            body=self._codec.encode(request, stream=stream, quirks=quirks),
        )
        reply = endpoint.transport.open(call, deadline)
        if reply.ok:
            return reply
        key, body = self._given_key(), reply.read()
        if key and len(key) >= 12:  # before an excerpt cuts an echoed key in two; a shorter one may be a word of the format
            body = body.replace(key.encode(), b"***")
        raise self._explained(fault(reply.status, reply.headers, body, self._clock.now()), reply)

    def _explained(self, error: DispatchError, reply: HttpReply) -> DispatchError:
        """The error with the call's id, and without the key, which some vendors echo in their text."""
        error.with_facts(request_id=request_id(reply.headers))
        key = self._given_key()
        if key and key in f"{error.message} {error.code} {error.request_id}":
            error.args = (error.message.replace(key, "***"),)
            for field in ("message", "code", "request_id"):
                said = getattr(error, field)
                setattr(error, field, said and said.replace(key, "***"))
        return error

    def _connect(self) -> Endpoint:
        """Read what the environment gives and make ready to talk; opens nothing yet."""
        key, url, lack = self._given_key(), self._given_url(), self.missing()
        if url is None or lack is not None:
            raise ConfigError(lack or "no address", vendor=self.name)
        with self._lock:
            if self._endpoint is None:
                config = attrs.evolve(
                    self._config, api_version=self._config.api_version or _from_environment(self._row.version_env)
                )
                self._endpoint = Endpoint.made(self._row, config, key and checked_key(key, self.name), url, self._codec)
            return self._endpoint

    def _given_key(self) -> str | None:
        return self._config.api_key or _from_environment(self._row.key_env)

    def _given_url(self) -> str | None:
        url = self._config.base_url or _from_environment(self._row.url_env) or _filled(self._row.base_url)
        return url.rstrip("/") if url else None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r}, kind={self.kind!r})"


def _from_environment(names: tuple[str, ...]) -> str | None:
    return next((os.environ[name] for name in names if os.environ.get(name)), None)


def _filled(url: str | None) -> str | None:
    """An address whose {NAME}s are taken from the environment; ``None`` where one is not there."""
    for name in _PLACES.findall(url or ""):
        if not os.environ.get(name):
            return None
        url = (url or "").replace(f"{{{name}}}", os.environ[name].rstrip("/"))
    return url


class OpenAIVendor(HttpVendor):
    """OpenAI; the key comes from ``OPENAI_API_KEY`` unless given."""

    default_kind = "openai"


class AnthropicVendor(HttpVendor):
    """Anthropic; the key comes from ``ANTHROPIC_API_KEY`` unless given."""

    default_kind = "anthropic"


class GoogleVendor(HttpVendor):
    """Google's Gemini API; the key comes from ``GEMINI_API_KEY`` or ``GOOGLE_API_KEY`` unless given."""

    default_kind = "google"


class AzureOpenAIVendor(HttpVendor):
    """Azure OpenAI; key and address come from ``AZURE_OPENAI_API_KEY`` and ``AZURE_OPENAI_ENDPOINT`` unless given.

    A model's name is a deployment's name. With ``api_version`` (or ``AZURE_OPENAI_API_VERSION``) the classic addresses
    are used, else v1.
    """

    default_kind = "azure"


class OllamaVendor(HttpVendor):
    """An Ollama server, by default the one on this machine; it needs no key."""

    default_kind = "ollama"


class HuggingFaceVendor(HttpVendor):
    """Hugging Face's router; the key comes from ``HF_TOKEN`` unless given. Models are ``org/name`` or ``org/name:provider``."""

    default_kind = "huggingface"


class OpenAICompatibleVendor(HttpVendor):
    """Any server that speaks OpenAI's format: give ``base_url``, and a ``name`` of your own; a key only if it wants one."""

    default_kind = "local"


def vendor(kind: str, config: VendorConfig | Mapping[str, Any] | None = None, **settings: Any) -> HttpVendor:
    """The catalog's vendor of that name: ``vendor("anthropic", api_key="...")``."""
    return HttpVendor(config, kind=kind, **settings)


def from_environment() -> list[HttpVendor]:
    """Every vendor of the catalog whose key, and address where it has none of its own, is in the environment."""
    given = [row for row in catalog.vendor_rows() if _from_environment(row.url_env if row.keyless else row.key_env) is not None]
    return [made for row in given if (made := HttpVendor(kind=row.name)).is_available()]
