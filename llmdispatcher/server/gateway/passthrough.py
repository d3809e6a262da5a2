"""Paths that pass to a vendor as they are: pictures, sound, moderation, files, batches.

A row of ``[[passthrough]]`` in the configuration file names an exact path and its vendor. The body goes there byte for byte,
whatever it is, with the vendor's key and none of the client's headers but those of its content; the answer comes back in the same
way. What such a call costs is not known: a key with a budget may make it only where the row says ``unpriced = "allow"``.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import attrs

from ...dispatcher import StreamingResponse
from ...errors import ConfigError, DispatchError
from ...runtime import AttemptMetrics, ChannelClosed
from ...types import Message, Request, Response, StreamChunk, choices, replace
from ...vendors import HttpVendor
from ...wire import OPENAI_CHAT, Bounds, Codec, InboundRequest
from ..budgets import accounts_of
from ..kept_ids import field_of_reference, made_in, references_in
from ..keys import ApiKey
from . import passed_bodies
from .answers import VENDOR_ID, StreamedAnswer, WholeAnswer, facts_of, hide_own_key
from .checks import kept_in
from .formats import ITS_MODELS, NO_PATH, GatewayError
from .http import GLANCE, GatewaySettings, Incoming, PassthroughRow, Task, has_a_key, has_left
from .models import ModelNames
from .passing import PassedChunk, PassedResponse, head_of
from .sessions import note_request
from .state import GatewayState

_MOST_PASSED = 64 << 20
"""Bytes of an answer that is fetched."""
METHODS = ("POST", "GET", "DELETE")
_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._-]+|\{id\}))+")
_ID = "[A-Za-z0-9_-]{1,128}"
_CONTENT_TYPE = re.compile(r"[!-~][ -~]{0,255}")
_UNSEEN = re.compile(r"text/html|application/xhtml|image/svg|javascript", re.IGNORECASE)
"""Contents that a browser would run as the gateway's own."""
_MOST_QUERY = 2048
CONFIGURABLE = re.compile(
    r"/v1/(?:moderations|images|audio|videos|files|uploads|batches|rerank|vector_stores|messages/batches)(?:/.*)?"
)
"""Paths that clients know and that pass only where they are configured."""


def read_rows(listed: Any) -> tuple[PassthroughRow, ...]:
    """The rows of a configuration. Raises :class:`ConfigError` with the place of the first mistake."""
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise ConfigError("passthrough: this is no list of tables; write [[passthrough]]")
    rows = tuple([read_row(row, f"passthrough[{number}]") for number, row in enumerate(listed)])
    for number, row in enumerate(rows):
        if any(row.path == other.path and set(row.methods) & set(other.methods) for other in rows[:number]):
            raise ConfigError(
                f"passthrough[{number}].path: {row.path!r} stands in a row above, with the same method; leave one out"
            )
    return rows


def read_row(row: Any, place: str) -> PassthroughRow:
    """Read one row, which stands at a place of the file. Raises :class:`ConfigError` with the first mistake."""
    _check_names(place, row)
    for name in ("path", "vendor"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise ConfigError(f"{place}.{name}: it is missing; give a text")
    for name in ("path", "to"):
        if row.get(name) is not None and not _is_exact(row[name]):
            raise ConfigError(
                f"{place}.{name}: {row[name]!r} is no exact path; give one such as '/v1/moderations' or '/v1/files/{{id}}'"
            )
    methods = row.get("methods", ("POST",))
    if isinstance(methods, str) or not isinstance(methods, Sequence) or not methods or not set(methods) <= set(METHODS):
        raise ConfigError(f"{place}.methods: {methods!r} is no list of {', '.join(METHODS)}")
    if "{id}" not in row["path"] and "GET" in methods:
        raise ConfigError(
            f"{place}.methods: GET would list what other organizations keep; leave it out, or give a path with {{id}}"
        )
    if row.get("unpriced") not in (None, "allow"):
        raise ConfigError(f"{place}.unpriced: {row['unpriced']!r} is not known; write 'allow', or leave it out")
    return PassthroughRow(**{**{str(name): value for name, value in row.items()}, "methods": tuple(methods)})


def _check_names(place: str, row: Any) -> None:
    if not isinstance(row, Mapping):
        raise ConfigError(f"{place}: {type(row).__name__} is no table; write [[passthrough]]")
    known = [field.name for field in attrs.fields(PassthroughRow)]
    for name in row:
        if name not in known:
            raise ConfigError(f"{place}.{name}: unknown key; {choices(str(name), known, 'use {}')}")


def _is_exact(path: Any) -> bool:
    return isinstance(path, str) and _PATH.fullmatch(path) is not None and not {".", ".."} & set(path.split("/"))


def pattern_of(row: PassthroughRow) -> str:
    """The pattern of its path; an id has letters, digits, ``_`` and ``-`` alone."""
    head, *rest = [re.escape(part) for part in row.path.split("{id}")]
    return head + "".join([f"(?P<id{number}>{_ID}){part}" for number, part in enumerate(rest)])


def check_as_sent(incoming: Incoming) -> None:
    """Raise :class:`GatewayError` where a path is written otherwise than it reads, as far as the server tells how it was sent."""
    sent = incoming.environ.get("RAW_URI") or incoming.environ.get("REQUEST_URI")
    if not isinstance(sent, str):
        return
    path = sent.partition("?")[0] if sent.startswith("/") else urlsplit(sent).path
    if path != f"{incoming.environ.get('SCRIPT_NAME', '')}{incoming.path}":
        raise GatewayError(NO_PATH, status=404, code="not_found")


class Passthrough:
    """Sends bodies to the vendors that rows name, and their answers back."""

    def __init__(self, names: ModelNames, settings: GatewaySettings, state: GatewayState) -> None:
        self._names, self._dispatcher, self._settings, self._state = names, names.dispatcher, settings, state

    def answer(self, task: Task, row: PassthroughRow) -> WholeAnswer | StreamedAnswer:
        """Send a body to a vendor as it is, and its answer back."""
        key, vendor = task.maker, self._dispatcher.get_vendor(row.vendor)
        assert isinstance(vendor, HttpVendor), "checked at the beginning"
        if row.unpriced != "allow" and accounts_of(key.levels, self._state.clock.now()):
            text = "what calls of this path cost is not known, and this key has a budget"
            text += '; unpriced = "allow" in its [[passthrough]] lets them through'
            raise GatewayError(text, status=403, code="model_unpriced")
        if task.record is not None:  # also where the vendor is not asked, or is not the dispatcher's to ask
            task.record.vendor, task.record.model = vendor.name, row.path.strip("/")
        target = target_of(row, vendor, task)
        self._state.check_kept(task, set(task.match.groups()))
        if task.incoming.method != "POST":
            self._check_model(key, vendor.name, row, [])
            reply = vendor.request(
                task.incoming.method, target, timeout=self._settings.timeout, max_retries=0, max_body=_MOST_PASSED
            )
            _keep_made(task, reply.content, reply.headers.get("content-type", ""))
            told = {"x-llmdispatcher-vendor": vendor.name, **({VENDOR_ID: reply.request_id} if reply.request_id else {})}
            return WholeAnswer(200, reply.content, {**told, **content_headers(reply.headers.get("content-type", ""))})
        content_type = content_type_of(task.incoming)
        models, files = passed_bodies.models_in(task.body, content_type), passed_bodies.named_in_files(task.body, content_type)
        self._check_model(key, vendor.name, row, None if models is None else [*models, *files.models])
        document = passed_bodies.document_in(task.body, content_type)
        passed_bodies.check_whole(row.to or row.path, document)
        named = references_in(document) | passed_bodies.references_in_form(task.body, content_type) | files.ids
        if not self._settings.stateful:
            check_stateless_document(document, named)
        self._state.check_kept(task, named)
        stream = isinstance(document, dict) and (document.get("stream") is True or document.get("stream_format") == "sse")
        request: Request = request_of(row, vendor, task, target)
        if task.record is not None:
            request = replace(request, metadata={**request.metadata, **note_request(task, task.record, request)})
            self._state.log.dispatch(task.record)
        if stream:
            opened = self._dispatcher.send_streaming_to_vendor(vendor.name, request, timeout=self._settings.timeout)
            answer = streamed_answer(opened, task, self._settings.timeout)
            hide_own_key(answer.headers, vendor)
            return answer
        with self._state.leavers.watch(task.incoming.environ) as cancel:
            response = self._dispatcher.send_to_vendor(vendor.name, request, timeout=self._settings.timeout, cancel=cancel)
        if task.record is not None:
            task.record.answered(response)
        passed = whole_answer(response)
        _keep_made(task, passed.body, passed.headers["Content-Type"])
        return passed

    def _check_model(self, key: ApiKey, vendor: str, row: PassthroughRow, named: list[str] | None) -> None:
        """Raise unless a key may use the vendor, by its registered name, and ask for the models that a body names, or the path."""
        if not key.may_use(vendor):
            raise GatewayError(f"this key may not use {vendor}, the vendor of this path", status=403, code="model_not_allowed")
        if not key.limits_models:
            return
        if named is None or not all(self._names.may_name(key, name) for name in named or [f"{vendor}:{row.path.strip('/')}"]):
            raise GatewayError(
                f"model: this key may not ask for it; {ITS_MODELS}", status=403, code="model_not_allowed", param="model"
            )


def _keep_made(task: Task, body: bytes, content_type: str) -> None:
    """Note whose the things are that a vendor says it has made."""
    if task.keep is not None and "json" in content_type:
        with contextlib.suppress(ValueError, RecursionError):
            task.keep(made_in(json.loads(body)))


def target_of(row: PassthroughRow, vendor: HttpVendor, task: Task) -> str:
    """The path below the vendor's address, which may end with the path's version, and the query without keys."""
    path = row.to or row.path
    if row.to is None:
        first = "/" + path.split("/")[1]
        path = path.removeprefix(first) if urlsplit(vendor.base_url or "").path.rstrip("/").endswith(first) else path
    for value in task.match.groups():
        path = path.replace("{id}", value, 1)
    pairs = [(name, value) for name, value in parse_qsl(task.incoming.query) if not has_a_key(name)]
    query = urlencode(pairs)
    if len(query) > _MOST_QUERY:
        raise GatewayError(f"the query is longer than {_MOST_QUERY:,} characters", status=400, code="invalid_request_error")
    return f"{path}?{query}" if query else path


def content_type_of(incoming: Incoming) -> str:
    """What a body says that it is."""
    text = str(incoming.environ.get("CONTENT_TYPE") or "application/json")
    if not _CONTENT_TYPE.fullmatch(text):
        raise GatewayError(
            f"Content-Type: {text[:40]!r} is none; give one such as application/json",
            status=400,
            code="invalid_request_error",
            param="Content-Type",
        )
    return text


def check_stateless_document(document: Any, named: Collection[str]) -> None:
    """Raise :class:`GatewayError` for a document that names what a vendor keeps; ``named`` are ids found in a body."""
    if (found := kept_in(document) or ((field_of_reference(document) or "file_id") if named else None)) is not None:
        text = f"{found}: this gateway keeps nothing at vendors, since their keys are shared"
        raise GatewayError(text, status=400, code="stateful_not_allowed", param=found)


def request_of(row: PassthroughRow, vendor: HttpVendor, task: Task, target: str) -> InboundRequest:
    """The call of the dispatcher that carries a body to its path; it has no messages that anything could be read from."""
    key = task.maker
    tags = {"tags": list(key.tags)} if key.tags else {}
    request = Request(
        f"{vendor.name}:{row.path.strip('/')}",
        [Message.user("-")],
        origin=key.organization,
        id_at_origin=key.id,
        metadata=tags,
        cache=False,
        failover=False,
    )
    headers = {"Content-Type": content_type_of(task.incoming)}
    accept = task.incoming.header("accept")
    headers["Accept"] = accept if accept is not None and _CONTENT_TYPE.fullmatch(accept) else "*/*"

    def at_vendor(
        _codec: Codec, _request: Request, _encode: object, _quirks: frozenset[str], meter: AttemptMetrics | None, *, client: bool
    ) -> tuple[Codec, bytes, Mapping[str, str]]:
        assert not client, "checked at the beginning"

        def decode(body: bytes, **_bounds: int) -> PassedResponse:
            return PassedResponse.of(Response(finish_reason="stop"), head_of(meter, same=True), body)

        codec = attrs.evolve(
            OPENAI_CHAT, name="passthrough", path=lambda _model, _stream: target, decode=decode, decoder=lambda: _AnyDecoder(meter)
        )
        return codec, task.body or b"{}", headers

    return InboundRequest.of(request, at_vendor)


class _AnyDecoder:
    """Passes whatever comes, read by read."""

    def __init__(self, meter: AttemptMetrics | None) -> None:
        self._meter = meter
        self._begun = False
        self.bounds = Bounds()
        self.done = self.ended = False
        self.skipped = 0

    def feed(self, data: bytes) -> list[StreamChunk]:
        """One chunk; the first counts as output, so that the answer begins."""
        if self._begun:
            return [PassedChunk(event=data)]
        self._begun = True
        return [PassedChunk(event=data, content="-", head=head_of(self._meter, same=True))]

    def check(self) -> None:
        """Nothing can be wrong."""

    def finish(self) -> list[StreamChunk]:
        """The end."""
        head = None if self._begun else head_of(self._meter, same=True)
        return [PassedChunk(event=b"", finish_reason="stop", head=head)]


def whole_answer(response: Response) -> WholeAnswer:
    """The answer of a call that passed."""
    assert isinstance(response, PassedResponse)
    headers = {**facts_of(response), **content_headers(response.head.content_type)}
    return WholeAnswer(200, response.body or b"", headers)


def content_headers(content_type: str) -> dict[str, str]:
    """The headers of a content, which no browser takes for a page."""
    known = content_type if _CONTENT_TYPE.fullmatch(content_type) else "application/octet-stream"
    return {
        "Content-Type": "text/plain" if _UNSEEN.search(known) else known,
        "X-Content-Type-Options": "nosniff",
    }


def streamed_answer(stream: StreamingResponse, task: Task, timeout: float) -> StreamedAnswer:
    """The answer as it comes. What fails before its first byte is raised."""
    body = PassedBody(stream, task)
    try:
        head = body.begin(timeout)
    except BaseException:
        body.close()
        raise
    limits = dict(head.limits) if head is not None else {}
    headers = {"X-Accel-Buffering": "no", "x-llmdispatcher-vendor": f"{stream.vendor}", **limits}
    if head is not None and head.request_id is not None:
        headers[VENDOR_ID] = head.request_id
    return StreamedAnswer(body, {**headers, **content_headers(head.content_type if head is not None else "")})


class PassedBody:
    """The bytes of an answer while it comes. One that breaks off raises, so that the client sees that it is not whole."""

    def __init__(self, stream: StreamingResponse, task: Task) -> None:
        self._stream, self._release = stream, task.release
        self._left: Callable[[], bool] = has_left(task.incoming.environ)
        self._first: PassedChunk | None = None
        self._pieces: Iterator[bytes] | None = None

    def begin(self, timeout: float) -> Any:
        """Wait for the first piece, and return the head of the answer."""
        first = self._next(timeout)
        if first is None:
            self._stream.response()
        self._first = first
        return first.head if first is not None else None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._pieces is None:
            self._pieces = self._all()
        return next(self._pieces)

    def close(self) -> None:
        """Stop the vendor, and give back what the request had; idempotent."""
        self._stream.close()
        self._release()

    def stop(self, _error: DispatchError) -> None:
        """End it from another thread; the client sees that it is not whole."""
        self._stream.close()

    def _all(self) -> Iterator[bytes]:
        try:
            chunk = self._first
            while chunk is not None:
                if chunk.event:
                    yield chunk.event
                chunk = self._next(None)
            self._stream.response()  # raises what went wrong
        finally:
            self.close()

    def _next(self, timeout: float | None) -> PassedChunk | None:
        waited = 0.0
        while timeout is None or waited < timeout:
            try:
                chunk = self._stream.content_channel.get(timeout=GLANCE)
                return chunk if isinstance(chunk, PassedChunk) else PassedChunk(event=b"")
            except ChannelClosed:
                return None
            except queue.Empty:
                waited += GLANCE
                if self._left():
                    self._stream.close()
                    return None
        return None
