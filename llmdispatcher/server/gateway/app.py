"""The gateway as a WSGI callable: its routes, who may use them, and what is written back.

Bodies are bounded and keys checked here. The routes stand in ``table``; what each does in the parts of a ``generation``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

from ..._text import room_logger
from ...dispatcher import Dispatcher
from ...errors import ConfigError, DispatchError
from ...runtime import SYSTEM_CLOCK, Clock
from ..keys import ApiKey, KeyStore, hash_of
from ..reload import Generations
from . import management, passed_bodies, passthrough
from .access import log_request
from .answers import VENDOR_ID, StreamedAnswer, WholeAnswer, header_text, place_of
from .checks import MOST_MEMBERS, MOST_OF_EMBEDDINGS, check_members
from .formats import (
    MANAGEMENT,
    NO_PATH,
    RESPONSES,
    STATUS_TEXTS,
    GatewayError,
    as_codex_acts,
    error_for_client,
    when_to_try_again,
    write_error,
)
from .generation import Generation
from .http import (
    Bodies,
    Environ,
    FailedLogins,
    GatewaySettings,
    Incoming,
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
from .routes import PathRoute
from .settings_checks import check_settings
from .shared_limits import SharedKeyLimits
from .state import GatewayState
from .table import ROUTES, passing_routes
from .unreached import UnreachedVendors
from .users import Users, key_of_user

logger = room_logger("server")

_EMBEDDING = re.compile(r"/embed|[eE]mbedContents?$")


class Gateway:
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
        self._state = GatewayState(keys, settings, clock)
        self.keys, self.records, self.log = keys, self._state.records, self._state.log
        self._users = users
        self._bodies = Bodies(settings.max_body, settings.bodies_together, clock)
        self._failed = FailedLogins(clock)
        self._stream_keys = StreamKeys(keys)
        self._limits = KeyLimits(clock, SharedKeyLimits(settings.redis, clock) if settings.redis is not None else None)
        self._grace = keys.grace
        unreached = UnreachedVendors(clock)
        self.log.listeners.append(lambda record: unreached.hear(record.id, record.attempts))
        if settings.access_log:
            self.log.listeners.append(log_request)
        self.at_end: list[Callable[[], None]] = []
        """What is done when no more requests are taken."""
        self.at_reload: list[Callable[[Dispatcher], None]] = []
        """What hears of a new dispatcher."""
        self._generations = Generations(self._generation(dispatcher, settings))
        self._apply(settings)

    @property
    def dispatcher(self) -> Dispatcher:
        """Whom new requests are answered by."""
        return self._generations.current.dispatcher

    @property
    def settings(self) -> GatewaySettings:
        """The settings of new requests."""
        return self._generations.current.settings

    @property
    def draining(self) -> bool:
        """Whether no more requests are taken."""
        return self._state.drains.is_set()

    @draining.setter
    def draining(self, value: bool) -> None:
        (self._state.drains.set if value else self._state.drains.clear)()

    def replace_dispatcher(self, dispatcher: Dispatcher, drain: float = 600.0, settings: GatewaySettings | None = None) -> None:
        """Have new requests answered over another dispatcher; that before it is closed after its calls, or ``drain`` seconds later.

        Keys, limits of keys, and records stay. Of the ``settings`` those of a configuration file count, as
        :func:`~.file_settings.settings_in` reads them. Raises :class:`ConfigError` for what it cannot have, and goes on as it is.
        """
        settings = settings or self.settings
        generation = self._generation(dispatcher, settings)  # raises, and so before anything has changed
        dispatcher.take_over(self.dispatcher)
        self._apply(settings)
        for listener in self.at_reload:
            listener(dispatcher)
        self._generations.replace(generation, drain)

    def _generation(self, dispatcher: Dispatcher, settings: GatewaySettings) -> Generation:
        check_settings(settings, dispatcher, ROUTES)
        return Generation.of(dispatcher, settings, self._state, (*ROUTES, *passing_routes(settings)))

    def _apply(self, settings: GatewaySettings) -> None:
        """Have keys and records kept as long as the settings say."""
        self.records.days = settings.record_days
        self.keys.grace = self._grace if settings.auth_grace is None else settings.auth_grace

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        with self._generations.use() as generation:
            return self._respond(generation, environ, start_response)

    def _respond(self, generation: Generation, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        rules = generation.settings.rules
        incoming = Incoming.of(environ, rules)
        hide_keys(environ)
        form, record = form_of(incoming), self.log.begin(incoming)
        try:
            answer = self._answer(generation, incoming, record)
        except DispatchError as error:
            answer = self._refusal(incoming, error, record)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
            logger.error("%s: a request failed inside the gateway: %s", incoming.request_id, place_of(error))
            failure = GatewayError("the gateway failed; tell whoever runs it", status=500, code="internal")
            answer = self._refusal(incoming, failure, record)
        if not isinstance(answer, StreamedAnswer):
            record.status = answer.status
            self.log.finish(record)
        headers = {**answer.headers, form.id_header: incoming.request_id, "x-llmdispatcher-request-id": incoming.request_id}
        headers.setdefault("Cache-Control", "no-store")
        if rules.cors_origins:
            headers.update(rules.cross_origin(environ))
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

    def _answer(self, generation: Generation, incoming: Incoming, record: RequestRecord) -> WholeAnswer | StreamedAnswer:
        if (preflight := self._preflight(generation, incoming)) is not None:
            return preflight
        route, match = _route(generation.routes, incoming)
        record.face = route.face
        key = self._asker(generation, incoming, route.scope) if route.scope is not None else None
        record.key, record.recorded = key, route.scope == "gateway" and route.method == "POST"
        with ExitStack() as held:  # and given back where the answer is whole, or there is none; a stream does it at its end
            held.callback(lambda: self.log.finish(record) if record.open else None)
            charge = None
            if key is not None:
                held.callback(self._state.in_flight.enter(key.id))
                charge = charge_of(self._limits, self.keys.budgets, key, default_output=generation.settings.default_max_tokens)
                if charge is not None:
                    held.callback(charge.give_back)  # settled before, but for what fails outside the call
                if route.scope == "gateway" and (route.method == "POST" or route.passes):
                    held.callback(once(self._limits.enter(key)))
            body, give_back = self._body_of(incoming, route)
            held.callback(give_back)
            lasting = ExitStack()
            task = Task(incoming=incoming, form=route.form, key=key, match=match, body=body, release=lasting.close, charge=charge)
            task.record, task.keep = record, generation.keeper(key)
            answer = route.work(generation, task)
            record.open, record.status = isinstance(answer, StreamedAnswer), 200
            if isinstance(answer, StreamedAnswer):
                if key is not None and self._users is None:
                    held.callback(self._stream_keys.watch(hash_of(self._secret(generation, incoming)), answer.events.stop))
                lasting.push(held.pop_all())
        if charge is not None:
            answer.headers.update(charge.facts)
            record.facts = charge.facts
        return answer

    @staticmethod
    def _preflight(generation: Generation, incoming: Incoming) -> WholeAnswer | None:
        """The answer to a browser that asks what it may send. Raises for a request that came by another name than the server's."""
        rules = generation.settings.rules
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

    def _asker(self, generation: Generation, incoming: Incoming, scope: str) -> ApiKey:
        """The key that asks, or what stands for one, if it has the scope."""
        if self._users is None:
            key = self._key(generation, incoming)
        else:
            key = key_of_user(self._users, incoming, generation.settings.origins)
        if not any(one in key.scopes for one in scope.split("|")):
            needed = " or ".join(map(repr, scope.split("|")))
            raise GatewayError(f"this key lacks the scope {needed}; ask with one that has it", status=403, code="scope_required")
        return key

    @staticmethod
    def _secret(generation: Generation, incoming: Incoming) -> str:
        return credential(incoming, in_query=incoming.path.startswith("/v1beta/"), alone=generation.takes_client_credentials)

    def _key(self, generation: Generation, incoming: Incoming) -> ApiKey:
        secret = self._secret(generation, incoming)
        if (wait := self._failed.wait(incoming.address)) and not self.keys.lists(secret):
            raise GatewayError(
                f"too many wrong keys; {when_to_try_again(wait)}", status=429, code="too_many_failures", retry_after=wait
            )
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

    def is_ready(self) -> bool:
        """Whether requests are taken, and a vendor may answer them; looks at nothing outside of this process."""
        return not self.draining and self._generations.current.has_vendor()

    def in_flight(self, key: str | None = None) -> int:
        """How many requests with a key are worked on, with any or with one."""
        return len(self._state.in_flight) if key is None else self._state.in_flight.of(key)

    def is_idle(self) -> bool:
        """Whether no request with a key is being worked on, so that the process may end."""
        return not len(self._state.in_flight)

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


def _route(routes: tuple[PathRoute, ...], incoming: Incoming) -> tuple[PathRoute, re.Match[str]]:
    path = incoming.path
    if incoming.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
        raise GatewayError("there are no WebSockets here; send an ordinary request", status=426, code="upgrade_refused")
    allowed = []
    for route in routes:
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
