"""The simulator: a server on the loopback that speaks every wire format as its vendor does, and misbehaves on request."""

from __future__ import annotations

import ssl
import threading
from collections import deque
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from hashlib import blake2b
from typing import Any, Self

import attrs

from ..runtime import SYSTEM_CLOCK
from ..types import Response, suggest
from .answers import SimulatedResponse, draw, plausible_text, response_to
from .fault_context import Fault, FaultContext, send_all
from .faults import status
from .formats import FORMATS, recognise
from .formats.base import ApiError, Format, SimulatedRequest, parse_json
from .formats.files import FileStore, SimulatedFile
from .loopback import LoopbackServer, Peer, WireRequest
from .prompt_cache import PromptCache

Said = str | SimulatedResponse | Response
Answers = Said | Callable[[Any], Said] | Sequence[Said | Callable[[Any], Said]]
Scripted = Fault | Said

OK = Fault("ok", lambda _peer, _scene: None)
"""In a script: an ordinary response."""

# Seconds. No thread keeps a finer pace: words that are due within this time are sent together.
_TICK = 0.002


@suggest
@attrs.define(eq=False, kw_only=True)
class VendorSimulator:
    """OpenAI (chat and responses), Azure, Anthropic, Gemini and Ollama behind one port; the path of a request tells which.

    They answer conversations, list models, embed texts, count tokens and keep files as the vendor does.
    ``responses`` is a string, a :class:`SimulatedResponse`, a :class:`~llmdispatcher.Response` (sent as it is),
    a callable that takes the request's JSON and returns one of them, or a list of these that is gone through again and again;
    by default sentences are made from the prompt, and calls and JSON where the request demands them. A callable that raises is a
    500, and shows as its thread's exception. ``latency`` seconds pass before the first byte, ``tokens_per_second`` sets the
    pace of a stream (and the length of a whole answer); ``None`` is at once. ``error_rate`` of the requests get one of
    ``errors``, the same ones for the same ``seed``. ``keys`` are accepted, others get the vendor's 401; by default any key is
    good, but there must be one. With ``prompt_cache`` the usage tells what of a prompt was there before, as each vendor counts it.
    ``models`` are globs of the models that it has. ``tls`` makes the addresses https. ``requests``
    lists the last ``keep`` requests, :attr:`hits` counts all of them. It starts at the first use of an address or of ``with``;
    :meth:`close` ends every connection and thread.
    """

    responses: Answers | None = None
    latency: float = 0.0
    tokens_per_second: float | None = None
    error_rate: float = 0.0
    errors: Sequence[Fault] = (status(503), status(500), status(529))
    seed: int = 0
    keys: Sequence[str] | None = attrs.field(default=None, repr=False)
    models: Sequence[str] = ("*",)
    port: int = 0
    tls: ssl.SSLContext | None = None
    keep: int = 10_000
    prompt_cache: bool = False
    requests: list[SimulatedRequest] = attrs.field(factory=list, init=False, repr=False)
    _prompts: PromptCache = attrs.field(factory=PromptCache, init=False, repr=False)
    _files: FileStore = attrs.field(factory=FileStore, init=False, repr=False)
    _script: deque[Scripted] = attrs.field(factory=deque, init=False, repr=False)
    _always: Scripted | None = attrs.field(default=None, init=False, repr=False)
    _hits: int = attrs.field(default=0, init=False, repr=False)
    _used: set[int] = attrs.field(factory=set, init=False, repr=False)
    _changed: threading.Condition = attrs.field(factory=threading.Condition, init=False, repr=False)
    _server: LoopbackServer | None = attrs.field(default=None, init=False, repr=False)

    def start(self) -> Self:
        """Listen; nothing happens when it does already."""
        with self._changed:
            if self._server is None:
                self._server = LoopbackServer(self._handle, tls=self.tls, backlog=1024, port=self.port)
        return self

    def close(self) -> None:
        """Stop listening, cut every connection, wait for the threads; idempotent, and the addresses stay (refused)."""
        with self._changed:
            server = self._server
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The address without a path; starts the server."""
        self.start()
        assert self._server is not None
        return self._server.url

    @property
    def openai_url(self) -> str:
        """The base URL of an OpenAI client."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """The base URL of an Anthropic client, which adds ``/v1/messages`` itself."""
        return self.url

    @property
    def google_url(self) -> str:
        """The base URL of a Gemini client, with its version."""
        return f"{self.url}/v1"

    @property
    def azure_url(self) -> str:
        """The endpoint of an Azure resource, without ``/openai``."""
        return self.url

    @property
    def files(self) -> list[SimulatedFile]:
        """The files that were uploaded and not deleted."""
        return list(self._files.held.values())

    @property
    def hits(self) -> int:
        """How many requests came in whole, refused ones included."""
        return self._hits

    @property
    def connections(self) -> int:
        """How many connections were accepted."""
        return self._server.connections if self._server is not None else 0

    def script(self, *next_ones: Scripted) -> Self:
        """Give each of the next requests a fault, :data:`OK`, or a response; later requests are answered as before."""
        for one in next_ones:
            _require_made(one)
        with self._changed:
            self._script.extend(next_ones)
        return self

    def always(self, what: Scripted) -> Self:
        """Give this to every request from now on for which nothing is scripted; ``always(OK)`` ends it."""
        _require_made(what)
        with self._changed:
            self._always = None if what is OK else what
        return self

    def await_hits(self, count: int, timeout: float = 5.0) -> bool:
        """Wait until so many requests have come in; False if they did not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._hits >= count, timeout)

    def _handle(self, peer: Peer, wire: WireRequest) -> bool | None:
        if wire.method in ("GET", "HEAD") and wire.target in ("/", "/health"):  # a probe, no request to a vendor
            peer.reply(200, b'{"status":"healthy"}' if wire.method == "GET" else b"")
            return False
        kept = self._files.answer(wire, lambda key: self.keys is None or key in self.keys)
        if kept is not None:
            self._record(wire, None, {})
            peer.reply(kept[0], kept[1], *kept[2])
            return None
        recognised = recognise(wire.method, wire.target, wire.headers)
        form, said = recognised or (FORMATS["openai"], {})
        request, what = self._record(wire, form if recognised else None, said)
        context = FaultContext(request=request, form=form, compose=lambda: self._compose(form, request, None))
        if not recognised:
            context.refuse(peer, ApiError(404, message="Invalid URL"))
            return None
        if not isinstance(what, Fault) or what is OK:
            return self._answer(peer, context, what)
        try:
            return what.act(peer, context)
        except (TypeError, AttributeError, LookupError):
            context.refuse(peer, ApiError(400))  # the request was too odd to make an answer of
            return True

    def _record(self, wire: WireRequest, form: Format | None, said: dict[str, str]) -> tuple[SimulatedRequest, Scripted | None]:
        parsed, asked = parse_json(wire.body), form.read(wire.body, wire.target) if form is not None else None
        fields = parsed if isinstance(parsed, dict) else {}
        cached = (0.0, 0.0)
        if self.prompt_cache and form is not None and asked is not None:
            cached = self._prompts.shares(form.name, fields, form.key(wire.headers) or "")
        with self._changed:
            number = self._hits
            request = SimulatedRequest(
                format=form.name if form is not None else "",
                path=wire.target,
                headers=wire.headers,
                json=parsed,
                model=said.get("model") or str(fields.get("model") or ""),
                stream=asked.stream if asked is not None else _wants_stream(fields, said),
                server_request=asked,
                cached=cached,
                connection=wire.connection,
                reused=wire.connection in self._used,
                number=number,
                id=blake2b(repr((self.seed, number)).encode(), digest_size=12).hexdigest(),
            )
            self._used.add(wire.connection)
            self._hits += 1
            self.requests.append(request)
            del self.requests[: max(0, len(self.requests) - self.keep)]
            self._changed.notify_all()
            scripted = self._script and form is not None and not form.is_list
            return request, (self._script.popleft() if scripted else self._always)

    def _answer(self, peer: Peer, context: FaultContext, scripted: Scripted | None) -> bool | None:
        api_error = self._refusal(context)
        if api_error is not None:
            context.refuse(peer, api_error)
            return False
        if self.latency > 0 and peer.wait(self.latency):
            return True
        number = context.request.number
        if scripted is None and draw(self.seed, number, "fails") < self.error_rate:
            fault = self.errors[int(draw(self.seed, number, "how") * len(self.errors))]
            return fault.act(peer, context)
        aside = context.form.side_response(context.request, self.models)
        if aside is not None:
            peer.reply(200, aside, *context.headers)
            return False
        try:
            answer = self._compose(context.form, context.request, None if scripted is OK else scripted)
        except Exception:
            context.refuse(peer, ApiError(500, message="The simulator's own answer failed."))
            raise
        return self._respond(peer, context, answer)

    def _refusal(self, context: FaultContext) -> ApiError | None:
        key = context.form.key(context.request.headers)
        if not key or (self.keys is not None and key not in self.keys):
            return ApiError(401, "key")
        api_error = _find_mistake(context.form, context.request)
        if (
            api_error is None
            and not context.form.is_list
            and not any(fnmatchcase(context.request.model, pattern) for pattern in self.models)
        ):
            api_error = ApiError(404, "model")
        return api_error

    def _compose(self, form: Format, request: SimulatedRequest, scripted: Scripted | None) -> SimulatedResponse | Response:
        said: Any = self.responses if scripted is None else scripted
        if said is not None and not isinstance(said, Said) and not callable(said):
            said = said[request.number % len(said)]
        if callable(said):
            said = said(request.json)
        if said is None:
            prompt = form.turns(request)[-1]
            asked = request.server_request
            said = plausible_text(prompt, self.seed) if asked is None else response_to(asked.request, prompt, self.seed)
        if isinstance(said, Response):
            return said
        return (SimulatedResponse(said) if isinstance(said, str) else said).truncate(*form.limits(request))

    def _respond(self, peer: Peer, context: FaultContext, answer: SimulatedResponse | Response) -> bool:
        rate = self.tokens_per_second
        seconds = _tokens(answer) / rate if rate else 0.0
        if context.request.stream:
            return self._stream(peer, context, answer, seconds)
        if seconds and peer.wait(seconds):
            return True
        peer.reply(200, context.body(answer), *context.headers)
        return False

    def _stream(self, peer: Peer, context: FaultContext, answer: SimulatedResponse | Response, seconds: float) -> bool:
        pieces = context.pieces(answer)
        peer.start_stream(*context.headers, content_type=pieces.content_type)
        if not seconds:
            send_all(peer, pieces.all)
        elif not _send_paced(peer, pieces.all, seconds):
            return True
        peer.chunk(b"")
        return False


def _require_made(what: object) -> None:
    """Raise ``TypeError`` for a function that makes a fault, in place of the fault."""
    if callable(what) and getattr(what, "__module__", "") == status.__module__:
        name = getattr(what, "__name__", "")
        raise TypeError(f"faults.{name} makes a fault; call it: faults.{name}(...)")


def _tokens(answer: SimulatedResponse | Response) -> int:
    return answer.usage.output_tokens if isinstance(answer, Response) else answer.output_tokens + answer.reasoning_tokens


def _find_mistake(form: Format, request: SimulatedRequest) -> ApiError | None:
    try:
        api_error = form.check(request)
        if api_error is None and form.side_response(request, ()) is None:
            (form.pieces if request.stream else form.body)(request, SimulatedResponse().truncate(*form.limits(request)))
    except (TypeError, AttributeError, LookupError):
        return ApiError(400)
    return api_error


def _wants_stream(fields: dict[str, Any], said: dict[str, str]) -> bool:
    """Whether a request that could not be decoded seems to want a stream."""
    return said["verb"] == "streamGenerateContent" if "verb" in said else fields.get("stream") is True


def _send_paced(peer: Peer, events: Sequence[bytes], seconds: float) -> bool:
    """Send the events evenly over ``seconds``; False if the server is closing."""
    began, each, sent = SYSTEM_CLOCK.monotonic(), seconds / len(events), 0
    while sent < len(events):
        due = min(len(events), 1 + int((SYSTEM_CLOCK.monotonic() - began) / each))
        send_all(peer, events[sent:due])
        sent = max(sent, due)
        if sent < len(events) and peer.wait(max(_TICK, began + sent * each - SYSTEM_CLOCK.monotonic())):
            return False
    return True
