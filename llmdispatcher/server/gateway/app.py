"""The gateway as a WSGI callable: its routes, who may use them, and what is written back.

Bodies are bounded and keys checked here; what each route does stands in ``conversations``, ``models``, ``management``, ``service``
and ``usage``.
"""

from __future__ import annotations

import copy
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, update_wrapper
from typing import Any

from ..._text import room_logger
from ...dispatcher import Dispatcher
from ...errors import ConfigError, DispatchError
from ...runtime import SYSTEM_CLOCK, Clock
from ..kept_ids import KeptIds
from ..keys import ApiKey, KeyStore, hash_of
from ..reload import Generations
from . import management, passed_bodies, passthrough
from .access import log_request
from .answers import VENDOR_ID, StreamedAnswer, WholeAnswer, header_text, place_of
from .caching import warn_of_cache
from .checks import MOST_MEMBERS, MOST_OF_EMBEDDINGS, check_members
from .conversations import Conversations, takes_client_credentials
from .formats import (
    CHAT,
    COMPLETIONS,
    GOOGLE,
    MANAGEMENT,
    MESSAGES,
    NO_PATH,
    OLLAMA,
    RESPONSES,
    STATUS_TEXTS,
    ClientFormat,
    GatewayError,
    as_codex_acts,
    error_for_client,
    write_error,
)
from .http import (
    Bodies,
    Environ,
    FailedLogins,
    GatewaySettings,
    Incoming,
    InFlight,
    PassthroughRow,
    Task,
    credential,
    form_of,
    hide_keys,
    once,
    skip_body,
)
from .limits import KeyLimits, charge_of
from .record import RequestRecord
from .revoking import StreamKeys
from .routes import PathRoute, describe
from .service import ProxyService
from .sessions import session_of
from .settings_checks import check_settings
from .shared_limits import SharedKeyLimits
from .unreached import UnreachedVendors
from .usage import UsageDesk
from .users import Users, key_of_user

logger = room_logger("server")

_EMBEDDING = re.compile(r"/embed|[eE]mbedContents?$")


class Gateway(Conversations):
    """Speaks the formats of OpenAI, Anthropic, Google and Ollama over one dispatcher; a WSGI callable, safe under threads.

    ``keys`` decides who may ask, or ``users`` in an application that has its own. Nothing of a request or an answer is stored.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        keys: KeyStore,
        settings: GatewaySettings = GatewaySettings(),  # noqa: B008 - a frozen value
        *,
        users: Users | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(dispatcher, keys, settings, clock)
        self.keys = keys
        self._drains = threading.Event()
        self._users = users
        self._observe()
        self._bodies = Bodies(settings.max_body, settings.bodies_together, clock)
        self._in_flight = InFlight(settings.threads)
        self._failed = FailedLogins(clock)
        self._stream_keys = StreamKeys(keys)
        self._limits = KeyLimits(clock, SharedKeyLimits(settings.redis, clock) if settings.redis is not None else None)
        check_settings(settings, dispatcher, ROUTES)
        self._routes = _routes_with(settings)
        self._grace = keys.grace
        self._tell_stores(settings)
        self._generations = Generations(copy.copy(self))  # the last, since the copy has all that stands before

    def _observe(self) -> None:
        """Have requests recorded, and whoever asks told of them."""
        self.dispatcher.add_observer(self.log)
        unreached = UnreachedVendors(self._clock)
        self.log.listeners.append(lambda record: unreached.hear(record.id, record.attempts))
        if self.settings.access_log:
            self.log.listeners.append(log_request)
        self.at_end: list[Callable[[], None]] = []
        """What is done when no more requests are taken."""
        self.at_reload: list[Callable[[Dispatcher], None]] = []
        """What hears of a new dispatcher."""
        self.desk = UsageDesk(self.dispatcher, self.records, self.keys)
        self.service = ProxyService(
            self.dispatcher, self.records, self._clock, in_flight=self.in_flight, draining=lambda: self.draining
        )
        warn_of_cache(self.dispatcher)

    @property
    def draining(self) -> bool:
        """Whether no more requests are taken."""
        return self._drains.is_set()

    @draining.setter
    def draining(self, value: bool) -> None:
        (self._drains.set if value else self._drains.clear)()

    def replace_dispatcher(self, dispatcher: Dispatcher, drain: float = 600.0, settings: GatewaySettings | None = None) -> None:
        """Have new requests answered over another dispatcher; that before it is closed after its calls, or ``drain`` seconds later.

        Keys, limits of keys, and records stay. Of the ``settings`` those of a configuration file count, as
        :func:`~.file_settings.settings_in` reads them. Raises :class:`ConfigError` for what it cannot have, and goes on as it is.
        """
        takes_own = takes_client_credentials(dispatcher)  # raises, and so before anything has changed
        settings = settings or self.settings
        check_settings(settings, dispatcher, ROUTES)
        dispatcher.add_observer(self.log)
        warn_of_cache(dispatcher)
        dispatcher.take_over(self.dispatcher)
        self.dispatcher = self.service.dispatcher = self.desk.dispatcher = dispatcher
        self._takes_client_credentials = takes_own
        self.settings, self._routes = settings, _routes_with(settings)
        self._tell_stores(settings)
        self._kept = (self._kept or KeptIds(self.keys)) if settings.stateful else None
        for told in self.at_reload:
            told(dispatcher)
        self._generations.replace(copy.copy(self), drain)

    def _tell_stores(self, settings: GatewaySettings) -> None:
        """Have keys and records kept as long as the settings say."""
        self.records.days = settings.record_days
        self.keys.grace = self._grace if settings.auth_grace is None else settings.auth_grace

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        with self._generations.use() as gateway:
            return gateway._respond(environ, start_response)

    def _respond(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        incoming = Incoming.of(environ, self.settings.rules)
        hide_keys(environ)
        form, record = form_of(incoming), self.log.begin(incoming)
        try:
            answer = self._answer(incoming, record)
        except DispatchError as error:
            answer = self._refusal(incoming, error, record)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
            logger.error("%s: a request failed inside the gateway: %s", incoming.request_id, place_of(error))
            told = GatewayError("the gateway failed; tell whoever runs it", status=500, code="internal")
            answer = self._refusal(incoming, told, record)
        if not isinstance(answer, StreamedAnswer):
            record.status = answer.status
            self.log.finish(record)
        headers = {**answer.headers, form.id_header: incoming.request_id, "x-llmdispatcher-request-id": incoming.request_id}
        headers.setdefault("Cache-Control", "no-store")
        if self.settings.rules.origins:
            headers.update(self.settings.rules.cross_origin(environ))
        headers["Vary"] = "Accept-Encoding, X-API-Key, Authorization, Origin"
        if isinstance(answer, StreamedAnswer):
            try:
                start_response("200 OK", list(headers.items()))
            except BaseException:
                answer.events.close()
                raise
            return answer.events
        body = b"" if incoming.method == "HEAD" else answer.body
        headers["Content-Length"] = f"{len(answer.body)}"
        start_response(f"{answer.status} {STATUS_TEXTS.get(answer.status, 'Error')}", list(headers.items()))
        return [body]

    def _answer(self, incoming: Incoming, record: RequestRecord) -> WholeAnswer | StreamedAnswer:
        if (preflight := self._preflight(incoming)) is not None:
            return preflight
        route, match = self._route(incoming)
        record.face = route.face
        key = self._asker(incoming, route.scope) if route.scope is not None else None
        record.key, record.recorded = key, route.scope == "gateway" and route.method == "POST"
        leave = self._in_flight.enter(key.id) if key is not None else lambda: None
        give_back: Callable[[], None] = lambda: None  # noqa: E731 - replaced below
        stop_counting: Callable[[], None] = lambda: None  # noqa: E731 - replaced below
        unwatch: Callable[[], None] = lambda: None  # noqa: E731 - replaced below
        output = self.settings.default_max_tokens
        charge = charge_of(self._limits, self.keys.budgets, key, default_output=output, session=session_of(incoming, None))

        def release() -> None:
            give_back()
            stop_counting()
            unwatch()
            if charge is not None:
                charge.give_back()  # settled before, but for what fails outside the call
            leave()
            if record.open:
                self.log.finish(record)

        try:
            if key is not None and route.scope == "gateway" and (route.method == "POST" or route.passes):
                stop_counting = once(self._limits.enter(key))
            body, give_back = self._body_of(incoming, route)
            task = Task(incoming=incoming, form=route.form, key=key, match=match, body=body, release=release, charge=charge)
            task.record = record
            task.keep = self._keeper(key)
            answer = route.work(self, task)
            record.open, record.status = isinstance(answer, StreamedAnswer), 200
        except BaseException:
            release()
            raise
        if not isinstance(answer, StreamedAnswer):
            release()
        elif key is not None and self._users is None:
            unwatch = self._stream_keys.watch(hash_of(self._secret(incoming)), answer.events.stop)
        if charge is not None:
            answer.headers.update(charge.facts)
            record.facts = charge.facts
        return answer

    def _keeper(self, key: ApiKey | None) -> Callable[[set[str]], None] | None:
        """What notes the ids of what a vendor keeps for a key's organization; ``None`` where nothing may be kept."""
        return partial(self._kept.add, key.organization) if self._kept is not None and key is not None else None

    def _preflight(self, incoming: Incoming) -> WholeAnswer | None:
        """The answer to a browser that asks what it may send. Raises for a request that came by another name than the server's."""
        rules = self.settings.rules
        rules.check(incoming.environ)
        headers = rules.preflight(incoming.environ) if incoming.method == "OPTIONS" else None
        return WholeAnswer(204, b"", headers) if headers is not None else None

    def _body_of(self, incoming: Incoming, route: PathRoute) -> tuple[bytes, Callable[[], None]]:
        """The body of a request, bounded, and what gives its place in memory back."""
        if incoming.method not in ("POST", "PATCH"):
            return b"", lambda: None
        body, give_back = self._bodies.read(incoming.environ, management.MOST_BODY if route.form is MANAGEMENT else None)
        try:
            if not route.passes or passed_bodies.is_json(passthrough.content_type_of(incoming)):
                check_members(body, MOST_OF_EMBEDDINGS if _EMBEDDING.search(incoming.path) else MOST_MEMBERS)
        except BaseException:
            give_back()
            raise
        return body, give_back

    def _route(self, incoming: Incoming) -> tuple[PathRoute, re.Match[str]]:
        path = incoming.path
        if incoming.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            raise GatewayError("there are no WebSockets here; send an ordinary request", status=426, code="upgrade_refused")
        allowed = []
        for route in self._routes:
            match = route.pattern.fullmatch(path)
            if match is None:
                continue
            if incoming.method == route.method or (incoming.method == "HEAD" and route.method == "GET" and not route.passes):
                if route.passes:
                    passthrough.check_as_sent(incoming)
                return route, match
            allowed.append(route.method)
        if allowed:
            raise GatewayError(
                f"this path takes {', '.join(allowed)} alone", status=405, code="method_not_allowed", allow=", ".join(allowed)
            )
        if passthrough.CONFIGURABLE.fullmatch(path):
            text = "this path goes to no vendor here; whoever runs the gateway adds a [[passthrough]] with it to the configuration"
            raise GatewayError(text, status=404, code="not_configured")
        raise GatewayError(NO_PATH, status=404, code="not_found")

    def _asker(self, incoming: Incoming, scope: str) -> ApiKey:
        """The key that asks, or what stands for one, if it has the scope."""
        key = self._key(incoming) if self._users is None else key_of_user(self._users, incoming, self.settings.origins)
        if not any(one in key.scopes for one in scope.split("|")):
            needed = " or ".join(map(repr, scope.split("|")))
            raise GatewayError(f"this key lacks the scope {needed}; ask with one that has it", status=403, code="scope_required")
        return key

    def _secret(self, incoming: Incoming) -> str:
        return credential(incoming, in_query=incoming.path.startswith("/v1beta/"), alone=self._takes_client_credentials)

    def _key(self, incoming: Incoming) -> ApiKey:
        secret = self._secret(incoming)
        if (wait := self._failed.wait(incoming.address)) and not self.keys.lists(secret):
            raise GatewayError("too many wrong keys; try again later", status=429, code="too_many_failures", retry_after=wait)
        key = self.keys.find(secret)
        if key is None:
            self._failed.note(incoming.address)
            text = "this key is not known here, or is not good any more; whoever runs the gateway can make another"
            raise GatewayError(text, status=401, code="invalid_api_key")
        return key

    def _refusal(self, incoming: Incoming, error: DispatchError, record: RequestRecord) -> WholeAnswer:
        if not isinstance(error, GatewayError):
            logger.info("%s: %s", incoming.request_id, type(error).__name__)  # its text may have the client's words
        skip_body(incoming.environ)
        form = form_of(incoming)
        answer = write_error(form, error, incoming.request_id)
        if form is RESPONSES and (incoming.header("originator") or "").startswith("codex"):
            answer = as_codex_acts(error, answer)
        status, headers, body = answer
        if error.request_id is not None and not isinstance(error, GatewayError):  # of which no vendor knows
            headers[VENDOR_ID] = header_text(error.request_id)
        record.failed(error, status, error_for_client(error).code)
        return WholeAnswer(status, body, {"Content-Type": "application/json", **headers})

    def probe(self, _task: Task) -> WholeAnswer:
        """Say that something answers here, as agents ask before they begin."""
        return WholeAnswer(200, b'{"status": "ok"}', {"Content-Type": "application/json"})

    def describe(self, _task: Task) -> WholeAnswer:
        """Describe the paths that are served, as OpenAPI does."""
        return _json_answer(200, describe(self._routes))

    def alive(self, _task: Task) -> WholeAnswer:
        """Say that the process runs."""
        return WholeAnswer(200, b"ok\n", {"Content-Type": "text/plain"})

    def ready(self, _task: Task) -> WholeAnswer:
        """Say whether requests are taken: 503 while the process is stopping, or no vendor has what it needs to be asked."""
        if not self.is_ready():
            body = b"draining\n" if self.draining else b"no vendor can be asked\n"
            return WholeAnswer(503, body, {"Content-Type": "text/plain"})
        return WholeAnswer(200, b"ready\n", {"Content-Type": "text/plain"})

    def is_ready(self) -> bool:
        """Whether requests are taken, and a vendor may answer them; looks at nothing outside of this process."""
        vendors = map(self.dispatcher.get_vendor, self.dispatcher.get_vendors())
        return not self.draining and any(vendor is not None and vendor.is_available() for vendor in vendors)

    def in_flight(self, key: str | None = None) -> int:
        """How many requests with a key are worked on, with any or with one."""
        return len(self._in_flight) if key is None else self._in_flight.of(key)

    def is_idle(self) -> bool:
        """Whether no request with a key is being worked on, so that the process may end."""
        return not len(self._in_flight)

    def close(self, drain: float = 0.0) -> None:
        """Take no more requests, give those under way ``drain`` seconds, and close dispatcher and keys."""
        self.draining = True
        for work in self.at_end:
            work()
        self.dispatcher.close(drain=drain)
        self._generations.join(drain)
        self._limits.close()
        self.log.close()
        self.records.close()
        self.keys.close()


def _routes_with(settings: GatewaySettings) -> tuple[PathRoute, ...]:
    return (*ROUTES, *[route for row in settings.passthrough for route in _passing_routes(row)])


def _passing_routes(row: PassthroughRow) -> list[PathRoute]:
    """The routes of a path that passes."""
    pattern = re.compile(passthrough.pattern_of(row))
    work = partial(Gateway.pass_through, row=row)
    return [PathRoute(method, pattern, CHAT, "gateway", work, "passthrough", passes=True) for method in row.methods]


def _json_answer(status: int, body: Mapping[str, Any]) -> WholeAnswer:
    return WholeAnswer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _routes(rows: Sequence[tuple[str, str, ClientFormat, str | None, Any]]) -> tuple[PathRoute, ...]:
    return tuple(
        [PathRoute(method, re.compile(pattern), form, scope, work, _face(pattern)) for method, pattern, form, scope, work in rows]
    )


def _face(pattern: str) -> str:
    """A short name for a path that is served, for records and metrics: "chat.completions", "models", "google"."""
    plain = pattern.partition("(?")[0].strip("/")
    return plain.removeprefix("v1/").replace("/", ".") if plain not in ("v1", "v1beta") else "google"


def _of_service(work: Callable[[ProxyService, Task], WholeAnswer]) -> Callable[[Gateway, Task], WholeAnswer]:
    return update_wrapper(lambda gateway, task: work(gateway.service, task), work, assigned=("__doc__",), updated=())


def _of_keys(
    work: Callable[..., Mapping[str, Any]], status: int = 200, *, reads: bool = False
) -> Callable[[Gateway, Task], WholeAnswer]:
    """A route of ``management``, which gets the key's id where the path has one, and the body where ``reads``."""

    def answer(gateway: Gateway, task: Task) -> WholeAnswer:
        return _json_answer(status, work(gateway.keys, task.maker, *task.match.groups(), *([task.body] if reads else ())))

    return update_wrapper(answer, work, assigned=("__doc__",), updated=())


def _of_desk(work: Callable[[UsageDesk, Task], WholeAnswer]) -> Callable[[Gateway, Task], WholeAnswer]:
    return update_wrapper(lambda gateway, task: work(gateway.desk, task), work, assigned=("__doc__",), updated=())


_NAME = r"(?P<name>[^/]{1,200})"
_GOOGLE_METHOD = r"/v1(?:beta)?/(?P<kind>models|tunedModels)/(?P<model>.+):(?P<method>[A-Za-z]+)"
ROUTES = _routes(
    [
        ("POST", r"/v1/chat/completions", CHAT, "gateway", Gateway.complete),
        ("POST", r"/v1/completions", COMPLETIONS, "gateway", Gateway.converse),
        ("POST", r"/v1/responses", RESPONSES, "gateway", Gateway.converse),
        ("POST", r"/v1/messages", MESSAGES, "gateway", Gateway.converse),
        ("POST", r"/v1/messages/count_tokens", MESSAGES, "gateway", Gateway.count),
        ("POST", r"/v1/embeddings", CHAT, "gateway", Gateway.embed),
        ("GET", r"/v1/models", CHAT, "gateway", Gateway.models),
        ("GET", r"/v1/models/(?P<model>.+)", CHAT, "gateway", Gateway.model),
        ("POST", _GOOGLE_METHOD, GOOGLE, "gateway", Gateway.generate),
        ("GET", r"/v1beta/models", GOOGLE, "gateway", Gateway.models),
        ("GET", r"/v1beta/models/(?P<model>.+)", GOOGLE, "gateway", Gateway.model),
        ("POST", r"/api/chat", OLLAMA, "gateway", Gateway.converse),
        ("POST", r"/api/embed", OLLAMA, "gateway", Gateway.embed),
        ("GET", r"/api/tags", OLLAMA, "gateway", Gateway.models),
        ("GET", r"/api/v1/keys", MANAGEMENT, "keys", _of_keys(management.list_keys)),
        ("POST", r"/api/v1/keys", MANAGEMENT, "keys", _of_keys(management.make_key, 201, reads=True)),
        ("GET", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", _of_keys(management.show_key)),
        ("PATCH", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", _of_keys(management.change_key, reads=True)),
        ("DELETE", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", _of_keys(management.revoke_key)),
        ("GET", r"/", CHAT, None, Gateway.probe),
        ("POST", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})/rotate", MANAGEMENT, "keys", _of_keys(management.rotate_key)),
        ("GET", r"/openapi\.json", CHAT, None, Gateway.describe),
        ("GET", r"/livez", CHAT, None, Gateway.alive),
        ("GET", r"/readyz", CHAT, None, Gateway.ready),
    ]
)
"""All routes; every one but the probe, the description and the two of health needs a scope."""


_EITHER = "gateway|operator"
ROUTES += _routes(
    [
        ("GET", r"/proxy/stats", MANAGEMENT, _EITHER, _of_service(ProxyService.stats)),
        ("GET", r"/proxy/health", MANAGEMENT, _EITHER, _of_service(ProxyService.health)),
        ("GET", r"/proxy/providers", MANAGEMENT, _EITHER, _of_service(ProxyService.providers)),
        ("GET", rf"/proxy/providers/{_NAME}", MANAGEMENT, _EITHER, _of_service(ProxyService.provider)),
        ("GET", rf"/proxy/providers/{_NAME}/metrics", MANAGEMENT, _EITHER, _of_service(ProxyService.metrics)),
        ("GET", rf"/proxy/providers/{_NAME}/rate-limit", MANAGEMENT, "operator", _of_service(ProxyService.rate_limit)),
        ("GET", r"/proxy/requests/(?P<id>req_[0-9a-f]{1,32})", MANAGEMENT, _EITHER, _of_desk(UsageDesk.request)),
        ("GET", r"/proxy/usage", MANAGEMENT, _EITHER, _of_desk(UsageDesk.usage)),
        ("DELETE", r"/proxy/cache", MANAGEMENT, "operator", _of_service(ProxyService.clear_cache)),
    ]
)


def make_gateway(
    dispatcher: Any, keys: KeyStore, settings: GatewaySettings | None = None, *, users: Users | None = None
) -> Gateway:
    """Return the gateway over a dispatcher. Raises :class:`ConfigError` for anything else."""
    if not isinstance(dispatcher, Dispatcher):
        raise ConfigError(
            f"dispatcher: {type(dispatcher).__name__} is no Dispatcher; make one, or give the path of a configuration"
        )
    return Gateway(dispatcher, keys, settings or GatewaySettings(), users=users)


__all__ = ["ROUTES", "Gateway", "GatewaySettings", "make_gateway"]
