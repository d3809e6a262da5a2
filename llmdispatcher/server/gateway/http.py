"""What comes in: who asks, from where, and the body, each within bounds and in that order."""

from __future__ import annotations

import os
import re
import select
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote_plus

import attrs

from ...catalog import canonical
from ...errors import ConfigError
from ...runtime import Cancellation, Clock, new_lock, unique_hex
from ..keys import ApiKey
from .formats import CHAT, COMPLETIONS, GOOGLE, MANAGEMENT, MESSAGES, OLLAMA, RESPONSES, ClientFormat, GatewayError, without_keys
from .hosts import HostRules

if TYPE_CHECKING:
    from .limits import CallCharge
    from .record import RequestRecord

Environ = Mapping[str, Any]
_MOST_CREDENTIAL = 255
_CLIENT_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
_PIECE = 1 << 16
BODY_SECONDS = 30.0
"""Seconds within which a body arrives, and a client reads a piece of an answer, where the server lets one say so."""
_LENIENT, _LEAST_RATE = 5.0, 1024.0
"""From the fifth second on a body comes at this many bytes a second or faster."""
AF_INET6 = socket.AF_INET6
GLANCE = 0.25
"""Seconds between two looks whether a client is still there, while the vendor is silent."""
_FAILURES, _WINDOW, _MOST_ADDRESSES = 60, 60.0, 10_000


@attrs.frozen(kw_only=True)
class PassthroughRow:
    """A path that passes to a vendor as it is: ``path`` exactly, where ``{id}`` stands for an id, and the vendor's name.

    ``to`` is the vendor's path, where it is another one. ``unpriced="allow"`` lets keys with a budget use it.
    """

    path: str
    vendor: str
    to: str | None = None
    methods: tuple[str, ...] = ("POST",)
    unpriced: str | None = None


@attrs.frozen(kw_only=True)
class GatewaySettings:
    """Bounds and times, in bytes and seconds.

    A stream's answer begins with its real status within ``patience``, and then with 200 and heartbeats; ``heartbeat`` is the
    silence between these. ``threads`` is how many requests the server works on at a time. ``stateful`` lets requests name what
    vendors keep, each organization its own; ``passthrough`` are paths that pass to a vendor as they are. ``redis`` is the address
    of the server on which limits of keys are counted for all workers and hosts. ``default_max_tokens`` are reserved for an answer
    of which nothing is known, by a key with a budget; more than ``max_max_tokens`` are refused. ``access_log`` writes a line for
    each request on the logger ``llmdispatcher.access``; records of requests are kept for ``record_days``. ``drain_vendors`` are
    those that bill the whole of an answer that is broken off: where a client with a budget leaves, the rest is read, so that its
    cost is known; "*" is all. ``origins`` are those of pages, beside the gateway's own, that may ask for the users of an
    application around it, such as "https://app.example.com". With ``cache_marks`` vendors are asked to cache the beginnings of a
    session whose client has not done so. ``auth_grace`` is how long keys that are known stay good while their database is away, by
    default the time of the store.
    """

    threads: int = 512
    max_body: int = 50 << 20
    bodies_together: int = 256 << 20
    timeout: float = 600.0
    patience: float = 10.0
    heartbeat: float = 15.0
    stateful: bool = False
    passthrough: tuple[PassthroughRow, ...] = ()
    redis: str | None = attrs.field(default=None, repr=False)
    default_max_tokens: int = 4096
    max_max_tokens: int | None = None
    access_log: bool = False
    record_days: int = 30
    rules: HostRules = attrs.field(factory=HostRules)
    drain_vendors: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    cache_marks: bool = True
    auth_grace: float | None = None

    def drains(self, vendor: str | None) -> bool:
        """Whether an answer of a vendor is read to its end though its client has left."""
        return "*" in self.drain_vendors or (vendor is not None and canonical(vendor) in map(canonical, self.drain_vendors))


@attrs.frozen(kw_only=True)
class Incoming:
    """One request before its body is read, from ``address``. ``path`` is decoded once, and has no empty, ``.`` or ``..`` part."""

    method: str
    path: str
    query: str = attrs.field(repr=False)
    request_id: str
    client_request_id: str | None
    environ: Environ = attrs.field(repr=False)
    address: str

    @classmethod
    def of(cls, environ: Environ, rules: HostRules = HostRules()) -> Incoming:  # noqa: B008 - a frozen value
        """Read the first line, the ids and where it comes from."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        return cls(
            method=environ["REQUEST_METHOD"],
            path=environ.get("PATH_INFO") or "/",
            query=environ.get("QUERY_STRING", ""),
            request_id=f"req_{unique_hex(16)}",
            client_request_id=given if _CLIENT_ID.fullmatch(given) and without_keys(given) == given else None,
            environ=environ,
            address=rules.address(environ),
        )

    def header(self, name: str) -> str | None:
        """A header's value; ``None`` where it was not sent, or is empty."""
        return self.environ.get(f"HTTP_{name.upper().replace('-', '_')}") or None


@attrs.define(kw_only=True)
class Task:
    """One request that has its route, its key and its body; ``release`` gives back what it holds, once."""

    incoming: Incoming
    form: ClientFormat
    key: ApiKey | None
    match: re.Match[str]
    body: bytes = attrs.field(repr=False)
    release: Callable[[], None] = attrs.field(repr=False)
    charge: CallCharge | None = attrs.field(default=None, repr=False)
    keep: Callable[[set[str]], None] | None = attrs.field(default=None, repr=False)
    """Notes the ids of what a vendor keeps now, where that is allowed."""
    record: RequestRecord | None = attrs.field(default=None, repr=False)

    @property
    def maker(self) -> ApiKey:
        """Its key, on a route that needs one."""
        assert self.key is not None, "the route has a scope"
        return self.key


OWN_KEY = "x-llmdispatcher-key"
"""Our key, where the other headers have a client's own credentials for a vendor."""
_CLIENT_HEADERS = ("authorization", "x-api-key", "x-goog-api-key")
_MOST_CLIENT_CREDENTIAL = 16_384


def client_credentials(incoming: Incoming) -> dict[str, str]:
    """A client's own credentials: all headers of that kind, where our key comes in a header of its own.

    Raises :class:`GatewayError` for one that no header can carry.
    """
    if incoming.header(OWN_KEY) is None:
        return {}
    found = {name: text for name in _CLIENT_HEADERS if (text := incoming.header(name)) is not None}
    for name, text in found.items():
        if len(text) > _MOST_CLIENT_CREDENTIAL or not text.isascii() or not text.isprintable():
            raise GatewayError(f"{name}: it is too long, or has characters that no key has", status=400, code="malformed_key")
    return found


def credential(incoming: Incoming, *, in_query: bool = False, alone: bool = False) -> str:
    """The key that a request shows, by whichever header its client uses; ``in_query`` allows ``?key=``, as Google's do.

    With ``alone`` it is that of :data:`OWN_KEY`, where that is there, and the others are the client's own.

    Raises :class:`GatewayError` for none, for several that differ, and for one that no key can be.
    """
    bearer, own = incoming.header("authorization") or "", incoming.header(OWN_KEY)
    shown = (
        {own}
        if alone and own is not None
        else {
            own,
            incoming.header("x-api-key"),
            incoming.header("x-goog-api-key"),
            bearer[7:].strip() if bearer[:7].lower() == "bearer " else None,
            *(parse_qs(incoming.query).get("key", []) if in_query else ()),
        }
        - {None, ""}
    )
    if not shown:
        raise GatewayError("a key is needed: Authorization: Bearer KEY, or X-API-Key: KEY", status=401, code="missing_key")
    if len(shown) > 1:
        raise GatewayError("several keys are given, and they differ; give one", status=400, code="ambiguous_credentials")
    key = str(shown.pop())
    if len(key) > _MOST_CREDENTIAL or not key.isascii() or not key.isprintable() or " " in key:
        raise GatewayError("this is no key: it is too long, or has characters that no key has", status=400, code="malformed_key")
    return key


class FailedLogins:
    """Counts refused keys by client address; from :data:`_FAILURES` a minute on the database is not asked for each.

    Good keys from there go on: behind a proxy all clients have one address.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = new_lock()
        self._times: dict[str, deque[float]] = {}

    def wait(self, address: str) -> float:
        """The seconds until keys from there are looked up again; 0 where not too many were refused."""
        times = self._times.get(address)
        if times is None or len(times) < _FAILURES:
            return 0.0
        return max(0.0, _WINDOW - (self._clock.monotonic() - times[0]))

    def note(self, address: str) -> None:
        """Count one more."""
        with self._lock:
            if address not in self._times and len(self._times) >= _MOST_ADDRESSES:
                self._times.pop(next(iter(self._times)))
            self._times.setdefault(address, deque(maxlen=_FAILURES)).append(self._clock.monotonic())


class Bodies:
    """Reads bodies, each of at most ``most`` bytes, and at most ``together`` bytes at a time in this process."""

    def __init__(self, most: int, together: int, clock: Clock) -> None:
        self._most, self._left, self._clock = most, together, clock
        self._lock = new_lock()

    def read(self, environ: Environ, most: int | None = None) -> tuple[bytes, Callable[[], None]]:
        """The body, of at most ``most`` bytes, and what gives its room back.

        Raises :class:`GatewayError` for one that is too long, or not whole."""
        length = environ.get("CONTENT_LENGTH") or None
        if length is not None and not (length.isascii() and length.isdecimal() and len(length) < 19):
            raise GatewayError("Content-Length: it is no number", status=400, code="bad_length")
        most = self._most if most is None else min(most, self._most)
        if length is not None and int(length) > most:
            raise _too_long(most)
        if length is None and not _has_end(environ):
            return b"", _nothing
        limit_silence(environ)
        size = int(length) if length is not None else most
        self._take(size)
        try:
            body = self._pieces(environ["wsgi.input"], None if length is None else size, most)
        except BaseException:
            self._give_back(size)
            raise
        if length is None:
            self._give_back(size - len(body))
            size = len(body)
        return body, once(lambda: self._give_back(size))

    def _pieces(self, source: Any, size: int | None, most: int) -> bytes:
        pieces, left, got = [], most + 1 if size is None else size, 0
        began = self._clock.monotonic()
        while left > 0:
            try:
                piece = source.read(min(left, _PIECE))
            except OSError:
                raise self._too_slow() from None
            except Exception:  # noqa: BLE001 - each server has errors of its own for pieces that are none
                raise GatewayError("the body is not whole, or its pieces are none", status=400, code="incomplete_body") from None
            if not piece:
                break
            pieces.append(piece)
            left, got = left - len(piece), got + len(piece)
            passed = self._clock.monotonic() - began
            if passed > BODY_SECONDS or (passed > _LENIENT and got < _LEAST_RATE * (passed - _LENIENT)):
                raise self._too_slow()
        body = b"".join(pieces)
        if size is None and len(body) > most:
            raise _too_long(most)
        if size is not None and len(body) < size:
            raise GatewayError("the body is shorter than Content-Length says", status=400, code="incomplete_body")
        return body

    @staticmethod
    def _too_slow() -> GatewayError:
        return GatewayError("the body did not come in time, or not whole", status=408, code="body_timeout")

    def _take(self, size: int) -> None:
        with self._lock:
            if size > self._left:
                raise GatewayError("too many large requests at once; try again", status=503, code="overloaded", retry_after=1.0)
            self._left -= size

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._left += size


def _too_long(most: int) -> GatewayError:
    return GatewayError(f"the body is longer than {most:,} bytes; send less at a time", status=413, code="body_too_large")


def skip_body(environ: Environ) -> None:
    """Read a short body that nobody wants: uWSGI resets a connection with bytes left, and the client would see no answer."""
    if "uwsgi.version" in environ:
        with suppress(Exception):  # a length that is none, a client that has left: there is nothing to skip
            environ["wsgi.input"].read(min(int(environ.get("CONTENT_LENGTH") or 0), _PIECE))


def _nothing() -> None:
    pass


def once(work: Callable[[], None]) -> Callable[[], None]:
    """A function that works the first time it is called, and then does nothing."""
    left = [work]
    return lambda: left.pop()() if left else None


class InFlight:
    """How many requests are worked on, in all and by key, so that one key cannot take all threads.

    One key has at most a quarter of the ``threads``, all together seven eighths: health checks always find one.
    """

    def __init__(self, threads: int) -> None:
        self._most_of_a_key, self._most = max(1, threads // 4), max(1, threads * 7 // 8)
        self._lock = new_lock()
        self._by_key: dict[str, int] = {}
        self._all = 0

    def __len__(self) -> int:
        return self._all

    def of(self, key: str) -> int:
        """How many requests of one key are worked on."""
        return self._by_key.get(key, 0)

    def enter(self, key: str) -> Callable[[], None]:
        """Count a request, and return what ends it. Raises :class:`GatewayError` where there are too many."""
        with self._lock:
            mine = self._by_key.get(key, 0)
            if mine >= self._most_of_a_key or self._all >= self._most:
                whose = "this key has" if mine >= self._most_of_a_key else "there are"
                raise GatewayError(f"{whose} too many requests at once; try again", status=503, code="overloaded", retry_after=1.0)
            self._by_key[key] = mine + 1
            self._all += 1
        return once(lambda: self._leave(key))

    def _leave(self, key: str) -> None:
        with self._lock:
            self._all -= 1
            if self._by_key[key] > 1:
                self._by_key[key] -= 1
            else:
                del self._by_key[key]


def has_left(environ: Environ) -> Callable[[], bool]:
    """A function that tells whether the client has closed its connection, as far as the server lets one see it."""
    asked = environ.get("waitress.client_disconnected")
    if callable(asked):
        return lambda: bool(asked())
    sock = environ.get("gunicorn.socket")
    if sock is not None:
        return lambda: _is_closed(sock)
    return lambda: False


def can_tell_leaving(environ: Environ) -> bool:
    """Whether the server lets one see that a client has left; else only a write shows it."""
    return "waitress.client_disconnected" in environ or "gunicorn.socket" in environ


class Leavers:
    """Cancels calls whose client has left, or reads nothing; one thread looks at all of them, while there are any."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._watched: dict[Callable[[], None], Callable[[], bool]] = {}
        self._looking: int | None = None

    @contextmanager
    def watch(self, environ: Environ) -> Iterator[Cancellation | None]:
        """What cancels the calls of a whole answer; ``None`` where the server lets nobody see that a client has left."""
        if not can_tell_leaving(environ):
            yield None
            return
        cancellation = Cancellation()
        cancel = cancellation.cancel
        self.add(cancel, has_left(environ))
        try:
            yield cancellation
        finally:
            self.drop(cancel)

    def add(self, cancel: Callable[[], None], left: Callable[[], bool]) -> None:
        """Call ``cancel`` when ``left`` says so, until :meth:`drop`."""
        with self._lock:
            self._watched[cancel] = left
            if self._looking != os.getpid():  # a thread does not come along through a fork
                self._looking = os.getpid()
                threading.Thread(target=self._look, name="llmdispatcher-leavers", daemon=True).start()

    def drop(self, cancel: Callable[[], None]) -> None:
        """Look at it no more; idempotent."""
        with self._lock:
            self._watched.pop(cancel, None)

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(GLANCE)
            with self._lock:
                watched = list(self._watched.items())
                if not watched:
                    self._looking = None
                    return
            for cancel, left in watched:
                if left():
                    cancel()
                    self.drop(cancel)


def limit_silence(environ: Environ) -> None:
    """Let the server's socket wait for a silent client for a while only, where one can get at it; waitress has its own limits."""
    sock = environ.get("gunicorn.socket")
    if sock is not None:
        sock.settimeout(BODY_SECONDS)


def _has_end(environ: Environ) -> bool:
    """Whether a body without a length has an end that the server tells: in pieces, or in HTTP/2."""
    return "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower() or "HTTP/2" in environ.get("SERVER_PROTOCOL", "")


def _is_closed(sock: Any) -> bool:
    """Whether the other side has closed; of any descriptor, under TLS, and behind bytes that nobody has read."""
    try:
        if hasattr(select, "POLLRDHUP"):
            looking = select.poll()
            looking.register(sock, select.POLLRDHUP)
            return bool(looking.poll(0))
        return not socket.socket.recv(sock, 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except (BlockingIOError, InterruptedError):
        return False
    except (OSError, ValueError):
        return True


_SECRETS = frozenset({"key", "api_key", "api-key", "apikey", "access_token", "token"})


def hide_keys(environ: Environ) -> None:
    """Take keys out of the addresses that a server's or an application's log would write."""
    if "=" not in environ.get("QUERY_STRING", "") or not isinstance(environ, dict):
        return
    for name in ("QUERY_STRING", "RAW_URI", "REQUEST_URI"):
        if isinstance(text := environ.get(name), str):
            environ[name] = _PARAMETER.sub(_hidden, text)


_PARAMETER = re.compile(r"([^?&;=]*)=([^&;]*)")


def _hidden(found: re.Match[str]) -> str:
    return f"{found[1]}=***" if has_a_key(unquote_plus(found[1])) else found[0]


def has_a_key(parameter: str) -> bool:
    """Whether the parameter of an address is one in which clients show their key, by its name."""
    return parameter.strip().lower() in _SECRETS


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[int]:
    """The port, or for 0 a free one, which nobody else gets meanwhile; workers of one user may listen on it together."""
    shares = hasattr(socket, "SO_REUSEPORT")
    with _bound(host, port, socket.SO_REUSEPORT if shares else socket.SO_REUSEADDR) as held:
        found: int = held.getsockname()[1]
        if not shares:
            held.close()
        yield found


def claim_ports(host: str, port: int, metrics_port: int | None = None) -> ExitStack:
    """Keep other gateways that start at this moment from these ports until the stack is closed, when they are held or listened on.

    Raises :class:`ConfigError` for a port that somebody listens on, also one who would share it, as another gateway's workers.
    """
    with ExitStack() as claims:
        for option, number in (("port", port), ("metrics-port", metrics_port)):
            if not number:
                continue
            if sys.platform == "linux":  # its abstract names are apart by network, as ports are, and gone with the process
                claim = claims.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
                _bind(claim, f"\0llmdispatcher/{host}:{number}", host, number, option)
            _bound(host, number, socket.SO_REUSEADDR, option).close()
        return claims.pop_all()


def _bound(host: str, port: int, option: int, name: str = "port") -> socket.socket:
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, option, 1)
    _bind(held, (host, port), host, port, name)
    return held


def _bind(held: socket.socket, place: str | tuple[str, int], host: str, port: int, option: str) -> None:
    try:
        held.bind(place)
    except OSError as error:
        held.close()
        text = f"{option.replace('-', '_')}: {host}:{port} cannot be listened on ({error.strerror})"
        raise ConfigError(f"{text}; end what listens there, or give another --{option}") from None


_GOOGLE_PATH = re.compile(r"/v1/tunedModels/.+")


def form_of(incoming: Incoming) -> ClientFormat:
    """The format in which a client reads errors and lists: by the path, and where several have one path by its headers."""
    path = incoming.path
    if path.startswith("/v1/messages"):
        return MESSAGES
    if path.startswith("/v1beta/") or _GOOGLE_PATH.fullmatch(path):
        return GOOGLE
    if path.startswith("/v1/models"):
        if incoming.method == "POST" or incoming.header("x-goog-api-key") is not None:
            return GOOGLE
        return CHAT if incoming.header("anthropic-version") is None else MESSAGES
    if path.startswith("/proxy/"):
        return MANAGEMENT
    if path.startswith("/api/"):
        return MANAGEMENT if path.startswith("/api/v1/") else OLLAMA
    if path == "/v1/completions":
        return COMPLETIONS
    return RESPONSES if path.startswith("/v1/responses") else CHAT
