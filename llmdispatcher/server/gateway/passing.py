"""Same format, same bytes: a request goes as it came to a vendor of its client's own format, and so does the answer.

The request carries its document (:class:`Original`). A vendor that is about to be asked in the document's format sends that, with
the model's name changed, and the values that the gateway hashes; everything else, known or not, stays byte for byte. A codec reads
the answer beside it, so that usage, limits, failover and the end of a stream are those of every call. Where the document cannot
stand for the request any more, it is encoded anew as for any other format: a guard has changed it, the model does not take one of
its settings or turns, or it says one thing twice, which two readers may understand differently.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import attrs

from ...errors import AuthenticationError, DispatchError, MalformedReply
from ...runtime import AttemptMetrics
from ...types import EmbeddingRequest, Fold, Message, ReasoningPart, Request, Response, Secret, StreamChunk, Tool, unfold
from ...wire import (
    ANTHROPIC_MESSAGES,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    Bounds,
    Codec,
    Inbound,
    InboundRequest,
    StreamDecoder,
    StreamWriter,
    request_id,
)
from .checks import is_misspelt, is_name_of, kept_in
from .document import JsonText
from .http import GatewaySettings, Incoming
from .marks import marks_for

_ROUTING = ("model", "metadata", "headers", "cache", "mode", "profile", "origin", "id_at_origin", "failover", "continue_broken")
"""Fields of a request that no body has, but for the model, which each target calls differently."""
_OTHERS = ("drop_params", "reask", "functions", "function_call", "wire_format", *_ROUTING)
_said = attrgetter(*[field.name for field in attrs.fields(Request) if field.name not in _OTHERS])
"""What the body of a request says."""
_answered = attrgetter("content", "tool_calls", "reasoning", "parts", "refusal", "other_choices", "citations")
"""What the body of an answer says that a guard may change."""
_COUNTED = "generateContentRequest"
"""Where Google's counting has a whole request in place of its contents."""
_WRAPPERS = (_COUNTED, "generate_content_request")
"""As Google spells it: of every field it takes both."""
_MADE_ID = "rs_made_"
"""How the ids of thoughts begin that a codec made for another vendor's."""
_LIMIT_NAME = re.compile(r"(?:x-ratelimit|anthropic-ratelimit|anthropic-priority|anthropic-fast)-[a-z0-9-]{1,64}")
_PLAIN = re.compile(r"[ -~]{1,256}")
_MOST_LIMITS = 32
_ID = re.compile(r"[!-~]{1,255}")


class ReplyHead(NamedTuple):
    """What is known of an answer at its head: the vendor's id of it, its rate limits, what of the request was not sent."""

    request_id: str | None
    limits: Mapping[str, str]
    dropped: tuple[str, ...]
    content_type: str = ""


def head_of(meter: AttemptMetrics | None, *, same: bool) -> ReplyHead:
    """The head of the answer to an attempt; ``same`` is whether its limits mean something to the client."""
    if meter is None:
        return ReplyHead(None, {}, ())
    headers = meter.reply_headers
    found, limits = request_id(headers), []
    if same:
        limits = [(name, text) for name, text in headers.items() if _LIMIT_NAME.fullmatch(name) and _PLAIN.fullmatch(text)]
    identity = found if found and _ID.fullmatch(found) else None
    return ReplyHead(identity, dict(limits[:_MOST_LIMITS]), meter.dropped, headers.get("content-type", ""))


@attrs.frozen(kw_only=True, slots=False)
class PassedResponse(Response[Any]):
    """An answer with its head, and its body where it is in the client's format."""

    head: ReplyHead
    body: bytes | None = attrs.field(repr=False)
    answered: tuple[Any, ...] = attrs.field(repr=False)

    @classmethod
    def of(cls, response: Response, head: ReplyHead, body: bytes | None) -> PassedResponse:
        """The response with these."""
        made = object.__new__(cls)
        more = {"head": head, "body": body, "answered": _answered(response)}
        object.__setattr__(made, "__dict__", {**vars(response), **more})
        return made


def body_of(response: Response) -> bytes | None:
    """The body of an answer as the vendor sent it; ``None`` where it is in another format, from a cache, or changed by a guard."""
    if not isinstance(response, PassedResponse) or response.cached or response.answered != _answered(response):
        return None
    return response.body


@attrs.define(kw_only=True)
class PassedChunk(StreamChunk):
    """A piece of a stream with the bytes that it was read from, ``None`` where these are in another format."""

    event: bytes | None = None
    head: ReplyHead | None = None

    @classmethod
    def of(cls, chunk: StreamChunk, event: bytes | None, head: ReplyHead | None = None) -> PassedChunk:
        """The chunk with these."""
        return cls(**{name: getattr(chunk, name) for name in _CHUNK}, event=event, head=head)


_CHUNK = tuple([field.name for field in attrs.fields(StreamChunk)])


# The request


class Original:
    """The document of one request. ``hashed`` are the values to write in place of its own, by their path.

    The ``settings`` say whether it may name
    what a vendor keeps, and whether one of Anthropic's without cache marks gets some; ``beta`` is ``?beta=true`` of its address.
    """

    def __init__(
        self,
        body: bytes,
        asked: Inbound,
        codec: Codec,
        *,
        hashed: Mapping[tuple[str, ...], str],
        settings: GatewaySettings,
        beta: bool,
    ) -> None:
        self._body, self._asked, self._codec = body, asked, codec
        self._hashed, self._stateful, self._beta = hashed, settings.stateful, beta
        self._marks = settings.cache_marks and codec is ANTHROPIC_MESSAGES and b'"cache_control"' not in body
        self._credentials: Mapping[str, str] = {}
        self._hides_usage = codec is OPENAI_CHAT and asked.stream and not asked.stream_usage
        self._said: tuple[Any, ...] = ()
        self.count: tuple[bytes, ReplyHead] | None = None
        """The answer of a vendor that was sent the document to count its tokens."""

    def bind(self, request: Request, credentials: Mapping[str, str]) -> InboundRequest:
        """The request with its document; one that says something else later is encoded anew.

        ``credentials`` are the client's own, for the vendor of its format that is configured to take them, and for no other.
        """
        self._said = _said(request)
        self._credentials = {name: Secret(text) for name, text in credentials.items()}
        return InboundRequest.of(request, self.at_vendor, counted=self._counted)

    def _counted(self, answer: bytes, meter: AttemptMetrics | None) -> None:
        self.count = answer, head_of(meter, same=True)

    def at_vendor(
        self,
        codec: Codec,
        request: Request,
        encode: Callable[[Request], bytes] | None,
        quirks: frozenset[str],
        meter: AttemptMetrics | None,
        *,
        client: bool,
    ) -> tuple[Codec, bytes, Mapping[str, str]]:
        """The codec that reads the answer and keeps it, and the body for this vendor, if it may have the document."""
        headers: Mapping[str, str] = {}
        if client:
            if not self._credentials or family(codec.name) != family(self._codec.name):
                raise own_credentials_missing()
            headers = self._credentials
        same = encode is not None and codec.name == self._codec.name and self._said == _said(request)
        body = None
        if same and encode is not None and not _is_adapted(codec, request, encode, quirks):
            body = self._written(request.model, quirks)
        if body is None:
            return _watching(codec, lambda: head_of(meter, same=False)), b"", headers
        return self._passing(codec, lambda: head_of(meter, same=True)), body, headers

    def _passing(self, codec: Codec, head: Callable[[], ReplyHead]) -> Codec:
        """The codec, whose answers have their bytes."""

        def path(model: str, stream: bool) -> str:
            return f"{codec.path(model, stream)}{'?beta=true' if self._beta else ''}"

        def decode(body: bytes, **bounds: int) -> PassedResponse:
            return PassedResponse.of(codec.decode(body, **bounds), head(), body)

        def decoder() -> PassingDecoder:
            return PassingDecoder(codec.decoder(), head, by_lines=codec is OLLAMA_CHAT, hides_usage=self._hides_usage)

        return attrs.evolve(codec, path=path, decode=decode, decoder=decoder)

    def _written(self, model: str, quirks: frozenset[str]) -> bytes | None:
        """The document for a model; ``None`` where two readers could understand it differently."""
        in_path = self._codec is GEMINI
        document = JsonText.read(self._body, folded=in_path)
        if document is None or (document.refers and not self._stateful and kept_in(document.value)):
            return None
        changes: dict[tuple[str, ...], Any] = dict(self._hashed)
        if document.value.get("model", model) != model:
            if in_path:
                return None
            changes["model",] = model
        if in_path:
            if (named := _models_of_count(document.value, model)) is None:
                return None
            changes |= named
        if self._hides_usage and "no_stream_options" not in quirks:
            options = document.value.get("stream_options")
            changes["stream_options",] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        if self._marks:
            changes |= marks_for(document.value)
        return document.with_changes(changes) if changes else self._body


def _models_of_count(document: Mapping[str, Any], model: str) -> dict[tuple[str, ...], str] | None:
    """What to write as the model of a request that Google's counting has inside; ``None`` where that is not clear."""
    wrapper = next((name for name, inner in document.items() if inner is not None and is_name_of(name, _COUNTED.casefold())), None)
    if wrapper is None:
        return None if is_misspelt(document, "model") else {}
    inner = document[wrapper]
    if document.keys() - {wrapper, "model"} or wrapper not in _WRAPPERS:  # of which the codec has read nothing
        return None
    if not isinstance(inner, dict) or is_misspelt(inner, "model"):
        return None
    name = f"models/{model.removeprefix('models/')}"
    return {(wrapper, "model"): name} if inner.get("model", name) != name else {}


def hashed_values(
    asked: Request | EmbeddingRequest, hash_for: Callable[[str], str]
) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """What vendors get in place of names of a client's users: the fields of the request, and the values by their path in a body."""
    fields: dict[str, Any] = {}
    paths: dict[tuple[str, ...], str] = {}
    for field, name in (("user", _USER.get(asked.wire_format or "", ("user",))), ("prompt_cache_key", ("prompt_cache_key",))):
        value = getattr(asked, field, None)
        if value is not None:
            fields[field] = paths[name] = hash_for(value)
    for extra in (_SAFETY, "prompt_cache_key"):  # the first is OpenAI's new name of "user"; embeddings have no field of the second
        if isinstance(value := asked.extra_params.get(extra), str):
            paths[extra,] = hash_for(value)
            fields["extra_params"] = {**fields.get("extra_params", asked.extra_params), extra: paths[extra,]}
    return fields, paths


def anthropic_headers(incoming: Incoming) -> dict[str, str]:
    """The headers by which a client asks for what its version of Anthropic's API has; no other vendor gets them."""
    found: dict[str, str] = {}
    for name in ("anthropic-beta", "anthropic-version"):
        text = incoming.header(name)
        if text is not None and text != _USUAL_VERSION and _BETAS.fullmatch(text):  # else an agent's request would be refused
            found[name] = text
    return found


_USUAL_VERSION = "2023-06-01"
"""Which our vendor asks for by itself."""
_BETAS = re.compile(r"[A-Za-z0-9._:, -]{1,1024}")
_SAFETY = "safety_identifier"
_USER: Mapping[str, tuple[str, ...]] = {"anthropic_messages": ("metadata", "user_id")}


def family(name: str) -> str:
    """Whose API a format belongs to, such as "openai" of both of its."""
    return name.partition("_")[0]


def own_credentials_missing() -> DispatchError:
    """The error of a vendor that has no key but the clients', where a request has none for it."""
    text = "this vendor is asked with a client's own credentials; send them as its clients do, and our key as x-llmdispatcher-key"
    return AuthenticationError(text, sent=False, code="client_credentials_missing")


def _watching(codec: Codec, head: Callable[[], ReplyHead]) -> Codec:
    """The codec, whose answers have their head."""
    return attrs.evolve(
        codec,
        decode=lambda body, **bounds: PassedResponse.of(codec.decode(body, **bounds), head(), None),
        decoder=lambda: _HeadDecoder(codec.decoder(), head),
    )


_PROBE_MESSAGES = (Message.user("-"),)
_PROBE_FORM = {"type": "json_schema", "json_schema": {"name": "t", "schema": {"type": "object", "properties": {}}}}
_PROBE_TOOL = Tool(name="t", parameters={"type": "object", "properties": {}})


def _is_adapted(codec: Codec, request: Request, encode: Callable[[Request], bytes], quirks: frozenset[str]) -> bool:
    """Whether a model does not take the settings or the turns of a request as they are, so that a codec has to adapt them."""
    if "system_role" in quirks and any(message.role == "developer" for message in request.messages):
        return True
    if any(map(_is_foreign, _thoughts(request.messages))):
        return True
    if "signed_calls" in quirks and any(call.signature is None for message in request.messages for call in message.tool_calls):
        return True
    tools = (_PROBE_TOOL,) if request.tools else ()
    choice = request.tool_choice if isinstance(request.tool_choice, str) else ("required" if request.tool_choice else None)
    form = request.response_format
    form = _PROBE_FORM if isinstance(form, Mapping) and form.get("type") == "json_schema" else form
    probe = _probe_of(request, messages=_PROBE_MESSAGES, tools=tools, tool_choice=choice, response_format=form)
    try:
        return encode(probe) != codec.encode(probe, stream=False)
    except DispatchError:
        return True


def _probe_of(request: Request, **changes: Any) -> Request:
    made = object.__new__(Request)
    object.__setattr__(made, "__dict__", {**{name: vars(request)[name] for name in _FIELDS}, **changes})
    return made


_FIELDS = tuple([field.name for field in attrs.fields(Request)])


def _thoughts(messages: Iterable[Message]) -> Iterable[ReasoningPart]:
    for message in messages:
        if message.role == "assistant" and not isinstance(message.content, str):
            yield from (part for part in message.content if isinstance(part, ReasoningPart))


def _is_foreign(part: ReasoningPart) -> bool:
    """Whether a thought came from a vendor of another format, which its own codec leaves out."""
    if part.encrypted is not None:
        return False
    if part.origin == "anthropic_messages":
        return not part.signature
    return part.origin == "openai_responses" and (part.id or "").startswith(_MADE_ID)


# The answer

_END_OF_EVENT = re.compile(rb"(?:\r\n|\n|\r(?=[^\n]))(?:\r\n|\n|\r(?=[^\n]))+")
"""A CR that comes last may be half of a CR LF."""
_END_OF_LINE = re.compile(rb"\n")
_PINGS = re.compile(rb"(?:event: ?ping\b[^\n]*\r?\n)?(?:data: ?\{ *\"type\" *: *\"ping\"[^\n]*|(?::[^\n]*\r?\n?)+|\s*)\s*\Z")


class _HeadDecoder:
    """A decoder whose first chunk has the head of the answer."""

    _stops = True
    """Whether nothing more is to be read behind the end mark."""

    def __init__(self, inner: StreamDecoder, head: Callable[[], ReplyHead]) -> None:
        self._inner = inner
        self._head: Callable[[], ReplyHead] | None = head
        self.done = self.ended = False
        self.skipped = 0

    @property
    def bounds(self) -> Bounds:
        return self._inner.bounds

    @bounds.setter
    def bounds(self, bounds: Bounds) -> None:
        self._inner.bounds = bounds

    def feed(self, data: bytes) -> list[StreamChunk]:
        return self._with_head(self._inner.feed(data))

    def check(self) -> None:
        self._inner.check()

    def finish(self) -> list[StreamChunk]:
        return self._with_head(self._inner.finish())

    def _with_head(self, chunks: list[StreamChunk]) -> list[StreamChunk]:
        inner = self._inner
        self.done, self.ended, self.skipped = inner.done and self._stops, inner.ended, inner.skipped
        if self._head is not None and chunks:
            first, head, self._head = chunks[0], self._head(), None
            event = first.event if isinstance(first, PassedChunk) else None
            return [PassedChunk.of(first, event, head), *chunks[1:]]
        return chunks


class PassingDecoder(_HeadDecoder):
    """A decoder whose chunks have the bytes of their events.

    Only whole events pass, so that another may be put between them, and none that tells of a failure. One that means nothing to
    the codec passes with the next chunk if it is a ping, else at once. The body is read to its end: more may follow the end mark.
    A body that is no stream of this kind, such as a whole answer, is not passed.
    """

    def __init__(self, inner: StreamDecoder, head: Callable[[], ReplyHead], *, by_lines: bool, hides_usage: bool) -> None:
        super().__init__(inner, head)
        self._end = _END_OF_LINE if by_lines else _END_OF_EVENT
        self._by_lines, self._hides_usage = by_lines, hides_usage
        self._held = bytearray()
        self._waiting = b""
        self._failure: DispatchError | None = None
        self._is_stream: bool | None = None

    def feed(self, data: bytes) -> list[StreamChunk]:
        """The chunks of the events that ``data`` completes."""
        self.check()
        if self._is_stream is None:
            self._is_stream = self._detect(data)
            if self._is_stream is None:
                self._held += data
                return []
            self._stops = not self._is_stream
            if self._stops:
                data, self._held = bytes(self._held) + data, bytearray()
        if not self._is_stream:
            return super().feed(data)
        out: list[StreamChunk] = []
        try:
            for event in self._events(data):
                self._take(event, out)
        except DispatchError as failure:
            if not out:
                raise
            self._failure = failure
        return self._with_head(out)

    def _detect(self, data: bytes) -> bool | None:
        begun = (bytes(self._held) + data).removeprefix(b"\xef\xbb\xbf").lstrip()
        if not begun:
            return None
        if not self._by_lines:
            return begun[:1] not in b"{[<"
        line, end, _rest = begun.partition(b"\n")
        return None if not end and line[:1] == b"{" else line[:1] == b"{" and line.rstrip().endswith(b"}")

    def _events(self, data: bytes) -> list[bytes]:
        held, events = self._held, []
        looked = max(0, len(held) - 4)
        held += data
        at = 0
        for found in self._end.finditer(held, looked):
            events.append(bytes(held[at : found.end()]))
            at = found.end()
        del held[:at]
        if len(held) > self._inner.bounds.size:
            raise MalformedReply(f"an event of the stream is longer than {self._inner.bounds.size:,} bytes", sent=True)
        return events

    def _take(self, event: bytes, out: list[StreamChunk]) -> None:
        chunks = self._inner.feed(event)
        try:
            self._inner.check()
        except DispatchError:
            out += chunks  # without bytes: they tell of the failure, too
            raise
        if not (self._hides_usage and chunks and _is_usage_alone(event, chunks)):
            self._waiting += event
        if chunks:
            out += [PassedChunk.of(chunks[0], self._waiting), *[PassedChunk.of(chunk, b"") for chunk in chunks[1:]]]
        elif not _PINGS.match(self._waiting):
            out.append(PassedChunk(event=self._waiting))
        else:
            return
        self._waiting = b""

    def check(self) -> None:
        """Raise the failure that came behind the chunks of the last :meth:`feed`, if one did."""
        if self._failure is not None:
            raise self._failure
        self._inner.check()

    def finish(self) -> list[StreamChunk]:
        """What is left at the end of the body."""
        self.check()
        if not self._is_stream:
            fed = super().feed(bytes(self._held)) if self._held else []
            return [*fed, *super().finish()]
        rest = bytes(self._held)
        fed = self._inner.feed(rest) if rest else []
        chunks = [*fed, *self._inner.finish()]
        if not (self._hides_usage and chunks and _is_usage_alone(rest, chunks)):
            self._waiting += rest
        passed: list[StreamChunk] = [PassedChunk.of(chunk, b"") for chunk in chunks]
        return self._with_head([PassedChunk(event=self._waiting), *passed] if self._waiting else passed)


def _is_usage_alone(event: bytes, chunks: Sequence[StreamChunk]) -> bool:
    """Whether an event is the one that a client did not ask for: the usage, and no choices."""
    if chunks[-1].usage is None or b"{" not in event:
        return False
    try:
        told = json.loads(event[event.index(b"{") : event.rindex(b"}") + 1])
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("choices") == [] and bool(told.get("usage"))


class PassingWriter:
    """Writes the bytes of chunks that have them, and the others by a codec.

    When these follow those, as where another vendor goes on with a stream, the codec is first told what has passed.
    """

    def __init__(self, codec: Codec, asked: Inbound) -> None:
        self._codec, self._asked = codec, asked
        self._writer: StreamWriter | None = None
        self._passed: Fold | None = None

    def write(self, chunk: StreamChunk) -> bytes:
        """The events of one chunk."""
        if self._writer is None and isinstance(chunk, PassedChunk) and chunk.event is not None:
            if self._passed is None:
                self._passed = Fold()
            self._passed.add(chunk)
            return chunk.event
        return self._encoding().write(chunk)

    def end(self) -> bytes:
        """What is still owed; nothing where the vendor's own end has passed."""
        return b"" if self._writer is None and self._passed is not None else self._encoding().end()

    def keepalive(self) -> bytes:
        """The event by which a stream shows that it lives, of the format that has one; what comes later may still pass."""
        writer: Any = self._writer or self._codec.writer(self._asked)
        event: bytes = writer.keepalive()
        return event

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure."""
        return self._encoding().fail(error)

    def _encoding(self) -> StreamWriter:
        if self._writer is None:
            self._writer = self._codec.writer(self._asked)
            for chunk in unfold(self._passed.response()) if self._passed is not None else ():
                self._writer.write(chunk)
        return self._writer
