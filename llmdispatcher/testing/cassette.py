"""Record what vendors answer over the real transport, and replay it: a cassette is a JSON file of HTTP exchanges.

While a :class:`Cassette` is in use, every call of the library's transport goes through it, of every vendor, dispatcher and thread
of the process. A request is replayed where its method, its address and its body are those of an exchange that was not replayed yet.
No key reaches the file: of headers only those that hold no secret are kept, the values of the others are masked wherever they
appear, in all encodings in which vendors echo them, and so are fields and parameters with names of keys.
"""

from __future__ import annotations

import base64
import json
import operator
import os
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from .._text import without_keys
from ..errors import ConfigError, DispatchError, VendorUnavailable
from ..runtime import Deadline, new_lock
from ..transport import Transport
from ..types import MASK, HttpCall, HttpReply, parse_text
from ..vendors import PUBLIC_HEADERS, Secrets, of_header

Mode = Literal["none", "once", "new", "all"]
MODES: tuple[Mode, ...] = ("none", "once", "new", "all")
MATCHED = ("method", "url", "path", "body")
MaskText = Callable[[str], str]

_KEPT = re.compile(
    r"content-type|date|retry-after(-ms)?|(x-|anthropic-)?ratelimit-.*|x-ratelimit-.*|(x-)?request-id|openai-(version|processing-ms)"
    r"|x-should-retry|apim-request-id|x-ms-region|x-goog-upload-url"
)
"""The headers of answers that are kept: those that say something and hold no account."""
_STREAMS = ("text/event-stream", "application/x-ndjson", "application/vnd.amazon.eventstream")
_KEY_NAMES = (
    r"(?:x-)?(?:goog-)?api[-_]?key|(?:access|refresh|id|session|security)[-_]?token|client[-_]?secret|(?:secret|private)[-_]?key"
)
_PARAMETER = re.compile(
    rf"(?:{_KEY_NAMES}|key|token|sig|signature|x-amz-(?:signature|credential|security-token)|code)", re.IGNORECASE
)
_FIELD = re.compile(rf"(?:{_KEY_NAMES}|authorization)", re.IGNORECASE)
_NAMED = re.compile(
    rf"""((?<![\w-])(?:{_KEY_NAMES}|authorization)\\*["']?\s*[:=]\s*\\*["']?(?:bearer\s+|basic\s+)?)([^"'\s\\,;}}&<]{{6,}})""",
    re.IGNORECASE,
)
"""A field of a key's name and its value in a text, quoted or not, as in JSON within JSON."""
_LONE = re.compile("[\ud800-\udfff]")
"""Halves of a character, which JSON can hold and UTF-8 cannot."""
_MOST_DIFFERENCES = 5
_LONGEST_VALUE = 80


class UnmatchedRequest(DispatchError):
    """A request that the cassette has no exchange for; its text shows the nearest one, and what is different there."""

    _kept: ClassVar[str] = "\n"


@attrs.define(eq=False)
class _Exchange:
    """A request and its answer, as the file has them; ``chunks`` grow while the answer is read."""

    request: dict[str, Any]
    status: int
    headers: Mapping[str, str]
    chunks: list[bytes] = attrs.field(factory=list)
    complete: bool = False
    replayed: bool = False


class Cassette:
    """Records the exchanges with vendors in a file, and replays them; a context manager, once for each object.

    ``mode``: ``"none"`` replays alone and never opens a connection; ``"once"`` does so where the file exists, and records where it
    does not; ``"new"`` replays what the file has and records the rest; ``"all"`` records everything anew. ``match`` names what must
    agree: of ``"method"``, ``"url"`` (scheme, host, path and query), ``"path"`` (without scheme and host), ``"body"``. ``ignore``
    names fields of JSON bodies that need not agree, such as ``"user"``. ``secrets`` are texts to mask besides the keys.

    One is in use at a time in a process. The file is written when the ``with`` block ends, whatever ended it, and replaced in one
    step. What a forked process records is in the file where its answers were read before the block ends.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: Mode = "once",
        match: Sequence[str] = ("method", "url", "body"),
        ignore: Sequence[str] = (),
        secrets: Sequence[str] = (),
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"mode: {mode!r} is not known; use {', '.join(MODES)}")
        for name, given in (("match", match), ("ignore", ignore), ("secrets", secrets)):
            if isinstance(given, str) or not all(isinstance(one, str) for one in given):
                raise ConfigError(f"{name}: {type(given).__name__} is not a list of texts; give ['...', ...]")
        if unknown := [one for one in match if one not in MATCHED]:
            raise ConfigError(f"match: {unknown[0]!r} is not known; use {', '.join(MATCHED)}")
        self.path = Path(path)
        self.mode = mode
        self._match = tuple(match)
        self._ignore = frozenset(ignore)
        self._hidden = set(secrets)
        self._exchanges: list[_Exchange] = []
        self._recorded: list[_Exchange] = []
        self._records = mode in ("new", "all")
        self._lock = new_lock()
        self._pid = 0

    @property
    def recorded(self) -> int:
        """How many exchanges were recorded since it is in use."""
        return len(self._recorded)

    @property
    def replayed(self) -> int:
        """How many exchanges were replayed."""
        return sum(exchange.replayed for exchange in self._exchanges)

    @property
    def unused(self) -> tuple[str, ...]:
        """Which exchanges of the file were not replayed, each as its method and address."""
        return tuple([_title(exchange.request) for exchange in self._exchanges if not exchange.replayed])

    def __enter__(self) -> Self:
        if self._pid:
            raise ConfigError("a Cassette is used once; make another one")
        if self.mode != "all" and self.path.exists():
            self._exchanges = _read(self.path)
        elif self.mode == "once":
            self._records = True
        self._pid = os.getpid()
        _plug_in(self)
        return self

    def __exit__(self, *_: object) -> None:
        _pull_out(self)
        if os.getpid() != self._pid:
            return
        for part in self.path.parent.glob(".*.part"):
            if part.name.startswith(self._part_prefix):
                self._recorded += _read(part)
                part.unlink()
        if self._recorded:
            self._write()

    def exchange(self, ask: Callable[[], HttpReply], call: HttpCall, deadline: Deadline) -> HttpReply:
        """Replay the answer to a call, or get it by ``ask()`` and record it. Raises :class:`UnmatchedRequest`."""
        deadline.check()
        asked, secrets = _plain_request(call), _secrets_of(call)
        with self._lock:
            found = self._find(asked)
            if found is not None:
                found.replayed = True
        if found is not None:
            return HttpReply(status=found.status, headers=found.headers, chunks=_replay(found, deadline))
        if not self._records:
            raise UnmatchedRequest(self._tell(_clean_content(asked, Secrets((*self._hidden, *secrets)).mask)))
        reply = ask()
        made = _Exchange(request=asked, status=reply.status, headers={k: v for k, v in reply.headers.items() if _KEPT.fullmatch(k)})
        with self._lock:
            self._hidden.update(secrets)
            self._recorded.append(made)
        return HttpReply(
            status=reply.status, headers=reply.headers, chunks=self._tee(made, reply.chunks), close=reply.close, hurry=reply.hurry
        )

    def _tee(self, exchange: _Exchange, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            for chunk in chunks:
                exchange.chunks.append(bytes(chunk))
                yield chunk
            exchange.complete = True
        finally:
            if os.getpid() != self._pid:
                self._leave_to_parent(exchange)

    def _leave_to_parent(self, exchange: _Exchange) -> None:
        """Put what a forked process has recorded where the one that began finds it."""
        self._write_file(self.path.with_name(f"{self._part_prefix}{uuid.uuid4().hex}.part"), [exchange])

    @property
    def _part_prefix(self) -> str:
        return f".{self.path.name}.{self._pid}."

    def _find(self, asked: Mapping[str, Any]) -> _Exchange | None:
        """The first exchange of this request that was not replayed; what is masked in the file may be anything."""
        wanted = self._key(asked)
        left = [(self._key(exchange.request), exchange) for exchange in self._exchanges if not exchange.replayed]
        for agrees in (operator.eq, _agrees):
            for key, exchange in left:
                if agrees(key, wanted):
                    return exchange
        return None

    def _key(self, request: Mapping[str, Any]) -> list[Any]:
        """What must agree of a request."""
        parts = {"method": request["method"], "url": request["url"], "path": _path_of(request["url"])}
        return [_without(request, self._ignore) if name == "body" else parts[name] for name in self._match]

    def _tell(self, asked: Mapping[str, Any]) -> str:
        """Why nothing is replayed for a request, and which exchange is nearest to it."""
        title = _title(asked)
        again = f"the mode is {self.mode!r}; record it with mode='new' (pytest --cassette-mode=new), or all of them with 'all'"
        if not self._exchanges:
            what = "has no exchanges" if self.path.exists() else "does not exist"
            return f"{title} is not in the cassette: {self.path} {what}; {again}"
        told = [(self._differences(exchange.request, asked), exchange) for exchange in self._exchanges]
        differences, nearest = min(told, key=lambda entry: (len(entry[0]), entry[1].replayed))
        number = self._exchanges.index(nearest) + 1
        place = f"exchange {number} of {len(self._exchanges)} in {self.path}, {_title(nearest.request)}"
        if not differences:
            return f"{title} was asked more often than it was recorded; {place}, was replayed already; {again}"
        shown = "\n  ".join(differences[:_MOST_DIFFERENCES])
        more = len(differences) - _MOST_DIFFERENCES
        further = f"\n  and {more} more" if more > 0 else ""
        return f"{title} is not in the cassette; the nearest is {place}:\n  {shown}{further}\n{again}"

    def _differences(self, recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
        pairs = zip(self._match, self._key(recorded), self._key(asked), strict=True)
        return [text for name, old, new in pairs for text in _compare(old, new, name)]

    def _write(self) -> None:
        """Replace the file by one with what it had and what was recorded."""
        self._write_file(self.path, self._recorded, self._exchanges if self.mode != "all" else ())

    def _write_file(self, path: Path, recorded: Sequence[_Exchange], kept: Sequence[_Exchange] = ()) -> None:
        mask = Secrets(self._hidden).mask
        entries = [_to_json(exchange, None) for exchange in kept] + [_to_json(one, mask) for one in recorded]
        text = json.dumps({"cassette": 1, "exchanges": entries}, ensure_ascii=False, indent=1) + "\n"
        text = _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)
        path.parent.mkdir(parents=True, exist_ok=True)
        written = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            written.write_text(text, encoding="utf-8")
            written.replace(path)
        finally:
            written.unlink(missing_ok=True)

    def __repr__(self) -> str:
        return f"Cassette({str(self.path)!r}, mode={self.mode!r}, recorded={self.recorded}, replayed={self.replayed})"


_plug = threading.Lock()
_inserted: list[Cassette] = []
_real_open = Transport.open


def _plug_in(cassette: Cassette) -> None:
    with _plug:
        if _inserted:
            raise ConfigError(f"cassette: {_inserted[0].path} is in use; one cassette is used at a time")
        _inserted.append(cassette)

        def open_recorded(transport: Transport, call: HttpCall, deadline: Deadline, *rest: Any, **named: Any) -> HttpReply:
            return cassette.exchange(partial(_real_open, transport, call, deadline, *rest, **named), call, deadline)

        Transport.open = open_recorded  # type: ignore[method-assign,assignment]  # calls without a cassette pay nothing for it


def _pull_out(cassette: Cassette) -> None:
    with _plug:
        if cassette in _inserted:
            _inserted.remove(cassette)
            Transport.open = _real_open  # type: ignore[method-assign]  # as above


def _replay(exchange: _Exchange, deadline: Deadline) -> Iterator[bytes]:
    for chunk in exchange.chunks:
        deadline.check()
        yield chunk
    if not exchange.complete and 200 <= exchange.status < 300:
        raise VendorUnavailable("the recording ends here: the answer was not read to its end", phase="body", sent=True)


def _plain_request(call: HttpCall) -> dict[str, Any]:
    """A call as the file has it, its secrets not yet masked but in headers and address."""
    headers = {name.lower(): value for name, value in call.headers.items() if name.lower() in PUBLIC_HEADERS}
    headers.pop("user-agent", None)
    url = urlsplit(call.url)
    host = url.netloc.rpartition("@")[2]
    query = urlencode(
        [(name, MASK if _PARAMETER.fullmatch(name) else value) for name, value in parse_qsl(url.query, True)], safe="*"
    )
    address = urlunsplit((url.scheme, host, url.path, query, ""))
    return {"method": call.method, "url": address, "headers": headers, **_content(call.body)}


def _content(body: bytes) -> dict[str, Any]:
    """A body under the name of its form: ``json``, ``text`` or ``base64``; nothing for an empty one.

    Bytes with a secret among them become ``latin-1``, a text in which it is masked, when they are written.
    """
    if not body:
        return {}
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}
    try:
        value = parse_text(text)
        return {"json": value} if isinstance(value, dict | list) and json.loads(json.dumps(value)) == value else {"text": text}
    except (ValueError, RecursionError):
        return {"text": text}


def _bytes_of(content: Mapping[str, Any]) -> bytes:
    if "json" in content:
        return json.dumps(content["json"], separators=(",", ":")).encode()
    if "base64" in content:
        return base64.b64decode(content["base64"])
    if "latin-1" in content:
        return str(content["latin-1"]).encode("latin-1")
    return str(content.get("text", "")).encode()


def _to_json(exchange: _Exchange, mask: MaskText | None) -> dict[str, Any]:
    """An exchange for the file, its secrets masked."""
    stream = exchange.headers.get("content-type", "").partition(";")[0].strip().lower() in _STREAMS
    whole = b"".join(exchange.chunks)
    content = {"chunks": _pieces(exchange.chunks, whole, mask)} if stream else _clean_content(_content(whole), mask)
    ended = {} if exchange.complete else {"complete": False}
    response = {"status": exchange.status, "headers": _clean(dict(exchange.headers), mask), **content, **ended}
    return {"request": _clean_content(exchange.request, mask), "response": response}


def _pieces(chunks: Sequence[bytes], whole: bytes, mask: MaskText | None) -> list[Any]:
    """The chunks of a stream as they came; one with a secret in it, which may be cut in two, is cut anew at the ends of lines."""
    try:
        text = whole.decode()
    except UnicodeDecodeError:
        content = _clean_content({"base64": base64.b64encode(whole).decode()}, mask)
        return [content] if "latin-1" in content else [_chunk(chunk) for chunk in chunks]
    masked = text if mask is None else _clean_events(_clean_text(text, mask), mask)
    if masked == text:
        return [_chunk(chunk) for chunk in chunks]
    return masked.splitlines(keepends=True)


_EVENT = re.compile(r"^(data: ?)?(\{.*\})(\r?)$", re.MULTILINE)


def _clean_events(text: str, mask: MaskText) -> str:
    """The events of a stream, where what is said piece by piece is no secret either: all of it is in the first piece then."""
    events = [(found, _content(found[2].encode()).get("json")) for found in _EVENT.finditer(text)]
    leaves: dict[str, list[tuple[Any, Any]]] = {}
    for _found, value in events:
        _collect(value, "", leaves)
    told = False
    for places in leaves.values():
        whole = "".join([holder[key] for holder, key in places])
        masked = _clean_text(whole, mask)
        if masked != whole and len(places) > 1:
            told = True
            for number, (holder, key) in enumerate(places):
                holder[key] = "" if number else masked
    if not told:
        return text
    values = iter(events)

    def again(found: re.Match[str]) -> str:
        _, value = next(values)
        return found[0] if value is None else f"{found[1] or ''}{_bytes_of({'json': value}).decode()}{found[3]}"

    return _EVENT.sub(again, text)


def _collect(value: Any, path: str, leaves: dict[str, list[tuple[Any, Any]]]) -> None:
    """Add the texts in a JSON value to those that other events have at the same place, each as what holds it and its key."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        if isinstance(inner, str):
            leaves.setdefault(f"{path}/{key}", []).append((value, key))
        else:
            _collect(inner, f"{path}/{key}", leaves)


def _chunk(chunk: bytes) -> Any:
    try:
        return chunk.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(chunk).decode()}


def _agrees(recorded: Any, asked: Any) -> bool:
    """Whether two values are equal, where a mask in the recorded one stands for any text."""
    if isinstance(recorded, str) and isinstance(asked, str) and MASK in recorded:
        return _fits(recorded.split(MASK), asked)
    if isinstance(recorded, dict) and isinstance(asked, dict):
        return recorded.keys() == asked.keys() and all(_agrees(recorded[name], asked[name]) for name in recorded)
    if isinstance(recorded, list) and isinstance(asked, list):
        return len(recorded) == len(asked) and all(map(_agrees, recorded, asked))
    return bool(recorded == asked)


def _fits(pieces: Sequence[str], text: str) -> bool:
    """Whether a text begins with the first piece, ends with the last one, and has the others in between, in their order."""
    first, *between, last = pieces
    place, end = len(first), len(text) - len(last)
    if not text.startswith(first) or not text.endswith(last):
        return False
    for piece in between:
        found = text.find(piece, place, end)
        if found < 0:
            return False
        place = found + len(piece)
    return place <= end


def _secrets_of(call: HttpCall) -> list[str]:
    """What is secret in a call."""
    parts = urlsplit(call.url)
    found = [secret for name, value in call.headers.items() for secret in of_header(name, value)]
    found += [text for text in (parts.username, parts.password) if text]
    return found + [value for name, value in parse_qsl(parts.query) if _PARAMETER.fullmatch(name)]


def _clean(value: Any, mask: MaskText | None) -> Any:
    """A JSON value without secrets; without a mask, which is for what was read from a file, the value itself."""
    if mask is None:
        return value
    if isinstance(value, str):
        return _clean_text(value, mask)
    if isinstance(value, list):
        return [_clean(inner, mask) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {}
    for name, inner in value.items():
        secret = isinstance(inner, str) and inner and _FIELD.fullmatch(name) is not None
        made[_clean_text(name, mask)] = MASK if secret else _clean(inner, mask)
    return made


def _clean_content(fields: Mapping[str, Any], mask: MaskText | None) -> dict[str, Any]:
    """The fields of a request or an answer, a body of bytes among them, without secrets."""
    data = fields.get("base64")
    made = {name: _clean(value, mask) for name, value in fields.items() if name != "base64"}
    if data is None:
        return made
    text = base64.b64decode(data).decode("latin-1")
    masked = text if mask is None else _clean_text(text, mask)
    return {**made, "base64": data} if masked == text else {**made, "latin-1": masked}


def _clean_text(text: str, mask: MaskText) -> str:
    return without_keys(_NAMED.sub(rf"\g<1>{MASK}", mask(text)))


def _read(path: Path) -> list[_Exchange]:
    """The exchanges of a file. Raises :class:`ConfigError` for one that is no cassette."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return [_exchange_of(entry) for entry in _entries(document)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ConfigError(f"cassette: {path} cannot be read ({type(error).__name__}: {error}); record it anew") from None


def _entries(document: Any) -> Iterable[Any]:
    if document["cassette"] != 1:
        raise ValueError(f"version {document['cassette']!r}, this library reads version 1")
    entries: Iterable[Any] = document["exchanges"]
    return entries


def _exchange_of(entry: Mapping[str, Any]) -> _Exchange:
    request, response = dict(entry["request"]), entry["response"]
    _path_of(request["url"]), request["method"], _bytes_of(request)
    if "chunks" in response:
        chunks = [piece.encode() if isinstance(piece, str) else _bytes_of(piece) for piece in response["chunks"]]
    else:
        chunks = [body] if (body := _bytes_of(response)) else []
    complete = response.get("complete", True) is True
    return _Exchange(request, int(response["status"]), dict(response.get("headers", {})), chunks, complete)


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(("", "", parts.path, parts.query, ""))


def _title(request: Mapping[str, Any]) -> str:
    return f"{request['method']} {request['url']}"


def _without(request: Mapping[str, Any], ignored: frozenset[str]) -> Any:
    """The body of a request, without the fields that need not agree."""
    if "base64" in request:
        return base64.b64decode(request["base64"]).decode("latin-1")
    value = next((request[name] for name in ("json", "text", "latin-1") if name in request), None)
    return {name: inner for name, inner in value.items() if name not in ignored} if isinstance(value, dict) else value


def _compare(old: Any, new: Any, place: str) -> Iterator[str]:
    """What differs between two values, each difference with its place."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in dict.fromkeys((*old, *new)):
            inner = f"{place}.{name}"
            if name not in new:
                yield f"{inner}: recorded {_shown(old[name])}, not asked"
            elif name not in old:
                yield f"{inner}: asked {_shown(new[name])}, not recorded"
            else:
                yield from _compare(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            yield f"{place}: recorded {len(old)} entries, asked {len(new)}"
        for number, (one, other) in enumerate(zip(old, new, strict=False)):
            yield from _compare(one, other, f"{place}[{number}]")
    elif not _agrees(old, new):
        yield f"{place}: recorded {_shown(old)}, asked {_shown(new)}"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}... ({len(text)} characters)"
