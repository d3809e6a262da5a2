"""The gateway as a WSGI callable: its routes, who may use them, and how each kind of request is answered.

The table and the work of its routes stand in one file, so that a path can be followed to its answer.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import attrs

from ..._text import room_logger
from ...catalog import Target, canonical, model_names, vendor_row
from ...dispatcher import Dispatcher
from ...errors import ConfigError, DispatchError, InvalidRequest
from ...routing import FORBIDDEN
from ...runtime import SYSTEM_CLOCK, Clock
from ...types import EmbeddingRequest, Request, Response, replace
from ...vendors import HttpVendor
from ...wire import COUNTING, EMBEDDING_CODECS, Inbound
from ..budgets import accounts_of
from ..kept_ids import KeptIds, made_in, references_in
from ..keys import ApiKey, KeyStore, hash_of
from ..records import RequestRecords
from ..reload import Generations
from . import management, passed_bodies, passthrough
from .access import log_request
from .answers import StreamedAnswer, WholeAnswer, facts_of, header_text, place_of, stream_of
from .caching import may_cache, warn_of_cache
from .checks import (
    MOST_MEMBERS,
    MOST_OF_EMBEDDINGS,
    check_media,
    check_members,
    check_output,
    check_settings,
    check_stateless,
    further_models,
)
from .formats import (
    CHAT,
    COMPLETIONS,
    GOOGLE,
    MANAGEMENT,
    MESSAGES,
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
    Leavers,
    PassthroughRow,
    Task,
    client_credentials,
    credential,
    hide_keys,
    once,
    skip_body,
)
from .limits import KeyLimits, charge_of, charging
from .passing import Original, anthropic_headers, body_of, family, hashed_values
from .record import RequestRecord
from .requests import RequestLog
from .revoking import StreamKeys
from .service import ProxyService
from .service_format import in_service_format
from .sessions import session_of
from .shared_limits import SharedKeyLimits
from .targets import ClientRequest, Grants
from .tenant import TenantHashes
from .usage import UsageDesk
from .users import Users, key_of_user

logger = room_logger("server")

_MAX_TIMEOUT = 3600.0
VENDOR_ID = "x-llmdispatcher-vendor-request-id"
_EMBEDDING = re.compile(r"/embed|[eE]mbedContents?$")


class PathRoute(NamedTuple):
    """A row of the table: method, pattern of the path, the format of its answers, the scope that a key needs, and the work."""

    method: str
    pattern: re.Pattern[str]
    form: ClientFormat
    scope: str | None
    work: Callable[[Gateway, Task], WholeAnswer | StreamedAnswer]
    face: str = ""
    passes: bool = False
    """Whether bodies pass as they are, and every method counts."""


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
        self.dispatcher = dispatcher
        self.keys = keys
        self.settings = settings
        self._drains = threading.Event()
        self._users = users
        self._clock = clock
        self._observe()
        self._bodies = Bodies(settings.max_body, settings.bodies_together, clock)
        self._leavers = Leavers()
        self._in_flight = InFlight(settings.threads)
        self._failed = FailedLogins(clock)
        self._stream_keys = StreamKeys(keys)
        self._limits = KeyLimits(clock, SharedKeyLimits(settings.redis, clock) if settings.redis is not None else None)
        self._tenants = TenantHashes(keys)
        self._takes_client_credentials = _takes_client_credentials(dispatcher)
        self._kept = KeptIds(keys) if settings.stateful else None
        passthrough.check_rows(settings.passthrough, dispatcher, stateful=settings.stateful)
        self._routes = (*ROUTES, *[route for row in settings.passthrough for route in _passing_routes(row)])
        self._generations = Generations(copy.copy(self))  # the last, since the copy has all that stands before

    def _observe(self) -> None:
        """Have requests recorded, and whoever asks told of them."""
        self.records = RequestRecords(self.keys.url, clock=self._clock, days=self.settings.record_days)
        self.log = RequestLog(self.records, self._clock)
        self.dispatcher.add_observer(self.log)
        if self.settings.access_log:
            self.log.listeners.append(log_request)
        self.at_end: list[Callable[[], None]] = []
        """What is done when no more requests are taken."""
        self.at_reload: list[Callable[[Dispatcher], None]] = []
        """What hears of a new dispatcher."""
        self.desk = UsageDesk(self.dispatcher, self.records)
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

    def replace_dispatcher(self, dispatcher: Dispatcher, drain: float = 600.0) -> None:
        """Have new requests answered over another dispatcher; that before it is closed after its calls, or ``drain`` seconds later.

        Keys, limits of keys, and records stay. Raises :class:`ConfigError` for one that it cannot have, and goes on as it is.
        """
        takes_client_credentials = _takes_client_credentials(dispatcher)  # raises, and so before anything has changed
        passthrough.check_rows(self.settings.passthrough, dispatcher, stateful=self.settings.stateful)
        dispatcher.add_observer(self.log)
        warn_of_cache(dispatcher)
        self.dispatcher = self.service.dispatcher = self.desk.dispatcher = dispatcher
        self._takes_client_credentials = takes_client_credentials
        for told in self.at_reload:
            told(dispatcher)
        self._generations.replace(copy.copy(self), drain)

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
        session = incoming.header("x-claude-code-session-id")
        charge = charge_of(self._limits, self.keys.budgets, key, default_output=output, session=session)

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
            raise GatewayError("this path takes another method", status=405, code="method_not_allowed", allow=", ".join(allowed))
        if passthrough.CONFIGURABLE.fullmatch(path):
            text = "this path goes to no vendor here; whoever runs the gateway adds a [[passthrough]] with it to the configuration"
            raise GatewayError(text, status=404, code="not_configured")
        raise GatewayError("there is nothing at this path", status=404, code="not_found")

    def _asker(self, incoming: Incoming, scope: str) -> ApiKey:
        """The key that asks, or what stands for one, if it has the scope."""
        key = self._key(incoming) if self._users is None else key_of_user(self._users, incoming, self.settings.origins)
        if not any(one in key.scopes for one in scope.split("|")):
            needed = " or ".join(map(repr, scope.split("|")))
            raise GatewayError(f"this key lacks the scope {needed}", status=403, code="scope_required")
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
            raise GatewayError("this key is not known here, or is not good any more", status=401, code="invalid_api_key")
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
        if error.request_id is not None:
            headers[VENDOR_ID] = header_text(error.request_id)
        record.failed(error, status, error_for_client(error).code)
        return WholeAnswer(status, body, {"Content-Type": "application/json", **headers})

    # What the routes do

    def converse(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer a conversation, whole or as a stream, whichever vendor is asked."""
        asked = self._asked(task)
        if task.record is not None:
            task.record.streamed = asked.stream
            self.log.dispatch(task.record)
        timeout = self._timeout(task.incoming)
        if task.charge is not None:
            seconds = None if asked.stream else timeout or self.settings.timeout
            targets = partial(self._targets, streaming=asked.stream)
            asked = attrs.evolve(asked, request=task.charge.take(asked.request, targets, seconds, partial(self._with_model, task)))
        if not asked.stream:
            with charging(task.charge) as answered, self._leavers.watch(task.incoming.environ) as cancel:
                response = answered(self.dispatcher.send(asked.request, timeout=timeout or self.settings.timeout, cancel=cancel))
            if task.record is not None:
                task.record.answered(response)
            passed = body_of(response)
            if task.keep is not None and not response.cached:
                task.keep(made_in(json.loads(passed) if passed else {"id": response.response_id}))
            body = passed or task.form.codec.write_response(response, asked)
            return WholeAnswer(200, body, {"Content-Type": "application/json", **facts_of(response)})
        with charging(task.charge):
            stream = self.dispatcher.send_streaming(asked.request, timeout=timeout)
        answer = stream_of(stream, task, asked, self.settings, self._leavers)
        vendor = self.dispatcher.get_vendor(stream.vendor) if stream.vendor is not None else None
        if (told := answer.headers.get(VENDOR_ID)) is not None and isinstance(vendor, HttpVendor):
            answer.headers[VENDOR_ID] = vendor.mask(told)
        return answer

    def _with_model(self, task: Task, request: Request, model: str) -> Request:
        """A request for another model, if its key may ask for that."""
        named = self._settings_of(task, model)["model"]
        if not isinstance(request, ClientRequest):
            return replace(request, model=named)
        return replace(request, model=named, allows=self._grants(task.key, request, named))

    def complete(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer a conversation in OpenAI's format, or as the LLM proxy service does where a body asks for that."""
        return in_service_format(task, self.converse)

    def _targets(self, request: Request, *, streaming: bool = False) -> Sequence[Target]:
        """Whom the dispatcher would ask."""
        return self.dispatcher.explain(request, streaming=streaming).targets

    def _asked(self, task: Task) -> Inbound:
        """What a body asks for, checked, with the model's name as the dispatcher has it."""
        incoming, codec = task.incoming, task.form.codec
        asked = codec.read_request(task.body, f"{incoming.path}?{incoming.query}")
        request = asked.request
        check_settings(request)
        check_output(request, self.settings.max_max_tokens)
        check_media(request)
        self._check_further_models(task.key, request.extra_params)
        if self._kept is None:
            check_stateless(request)
        else:
            self._check_kept(task, references_in(json.loads(task.body)))
        organization = task.key.organization if task.key is not None else ""
        session = session_of(task.incoming, request)
        changes = self._settings_of(task, request.model)
        changes["metadata"] = {**request.metadata, **self._known_as(task, request)}
        if self.dispatcher.config.cache is not None and not may_cache(self.dispatcher, request):
            changes["cache"] = False
        if session is not None:
            changes |= {"session": f"{organization}\0{session}", "cache_key": self._tenants.hash_for(organization, session)}
        fields, hashed = hashed_values(request, partial(self._tenants.hash_for, organization))
        if headers := anthropic_headers(incoming):
            changes["headers"] = headers
        changes["allows"] = self._grants(task.key, request, changes["model"])
        changes["marks"] = self.settings.cache_marks
        changes["endless"] = isinstance(self.dispatcher.config.timeout, str) and self._timeout(incoming) is None
        beta = task.form is MESSAGES and "beta=true" in incoming.query.split("&")
        own = client_credentials(incoming) if self._takes_client_credentials else {}
        original = Original(task.body, asked, codec, hashed=hashed, settings=self.settings, beta=beta)
        bound = original.bind(ClientRequest.known(request, **{**changes, **fields}), own)
        return attrs.evolve(asked, created_at=self._clock.now(), request=bound)

    def _check_kept(self, task: Task, ids: set[str]) -> None:
        """Raise unless what a request names of the things that vendors keep is its organization's own."""
        if self._kept is not None and not self._kept.are_of(task.maker.organization, ids):
            text = "the request names an answer, file or conversation that is not here; make one, or leave it out"
            raise GatewayError(text, status=404, code="not_found")

    def _grants(self, key: ApiKey | None, request: Request, model: str) -> Grants | None:
        """Whom a key may ask for a model; ``None``: anybody. Raises where there is nobody, be the model known or not."""
        grants = Grants.of(key, model, self.dispatcher)
        if grants is not None and not grants.is_certain and not self._has_target(grants, replace(request, model=model)):
            text = f"model: neither this key nor a vendor that it may use can be asked for {model[:80]!r}"
            raise GatewayError(text, status=403, code="model_not_allowed", param="model")
        return grants

    @staticmethod
    def _known_as(task: Task, request: Request) -> dict[str, Any]:
        """What observers and a ledger are told of a request beside its fields: the tags of its key, its id, its session."""
        told: dict[str, Any] = {}
        if task.key is not None and (tags := task.key.all_tags):
            told = {"tags": tags, **{f"tag:{tag}": True for tag in tags}}  # which routing rules can compare
        return told if task.record is None else {**told, **_note_request(task, task.record, request)}

    def _settings_of(self, task: Task, model: str) -> dict[str, Any]:
        """The model as the dispatcher names it, and what the headers say. Raises where the key may not ask for it."""
        named = self._model(model)
        incoming = task.incoming
        changes: dict[str, Any] = {"model": named}
        for header, field in (("x-llmdispatcher-mode", "mode"), ("x-llmdispatcher-profile", "profile")):
            if (value := incoming.header(header)) is not None:
                changes[field] = value
        if (incoming.header("x-llmdispatcher-cache") or "").lower() in ("false", "0", "no"):
            changes["cache"] = False
        if task.key is not None:
            changes["origin"] = task.key.organization
            changes["id_at_origin"] = task.key.id
        return changes

    def _check_further_models(self, key: ApiKey | None, extra: Mapping[str, Any]) -> None:
        """Raise for names of models in fields of a vendor's own that a key may not ask for: some vendors fall back to these."""
        if key is None or not key.limits_models:
            return
        if not all(one is not None and self._may_ask(key, one) for one in further_models(extra)):
            text = "models, fallbacks: this key may not ask for all of these"
            raise GatewayError(text, status=403, code="model_not_allowed", param="models")

    def _may_ask(self, key: ApiKey, model: str) -> bool:
        """Whether a key may use a name: as it is written, as ours, or without the registered vendor before it."""
        named = self._model(model)
        vendor, colon, tail = named.partition(":")
        return (
            key.may_ask(model)
            or key.may_ask(named)
            or bool(colon and key.may_ask(tail) and self.dispatcher.get_vendor(canonical(vendor)) is not None)
        )

    def _model(self, name: str) -> str:
        """A name with a slash, as other gateways have it, as ours: ``openai/gpt-4o`` where openai is registered."""
        head, slash, tail = name.partition("/")
        if name in self.dispatcher.config.pools:
            return name
        if slash and tail and ":" not in head and self.dispatcher.get_vendor(canonical(head)) is not None:
            return f"{head}:{tail}"
        return name

    def _timeout(self, incoming: Incoming) -> float | None:
        """The seconds that a client gives a call; they may shorten what the gateway gives."""
        text = incoming.header("x-llmdispatcher-timeout")
        if text is None:
            return None
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not 0 < seconds <= _MAX_TIMEOUT:
            raise GatewayError(
                f"x-llmdispatcher-timeout: {text[:20]!r} is no number of seconds up to {_MAX_TIMEOUT:g}",
                status=400,
                code="bad_timeout",
            )
        return seconds

    def embed(self, task: Task) -> WholeAnswer:
        """Answer a request for vectors."""
        codec = EMBEDDING_CODECS[task.form.codec.name]
        asked = codec.read_request(task.body, task.incoming.path)
        check_settings(asked)
        self._check_further_models(task.key, asked.extra_params)
        if not asked.texts:
            raise InvalidRequest("input: give a text or a list of texts; tokens are not taken, since each vendor has its own")
        metadata = _note_request(task, task.record, asked.as_request()) if task.record is not None else {}
        settings = self._settings_of(task, asked.model)
        if asked.user and task.key is not None:
            asked = attrs.evolve(asked, user=self._tenants.hash_for(task.key.organization, asked.user))
        if (grants := self._grants(task.key, asked.as_request(), settings["model"])) is not None:
            settings["model"] = self._first_granted(asked, settings["model"], grants)
        timeout = self._timeout(task.incoming) or self.settings.timeout
        if task.charge is not None:
            request = attrs.evolve(asked, model=settings["model"]).as_request()
            settings["model"] = task.charge.take(request, self._targets, timeout, partial(self._with_model, task)).model
        with charging(task.charge) as answered, self._leavers.watch(task.incoming.environ) as cancel:
            further = {**_embedding_settings(asked, settings), "metadata": metadata}
            if task.record is not None:
                self.log.dispatch(task.record)
            found = answered(self.dispatcher.embed(settings["model"], asked.texts, timeout=timeout, cancel=cancel, **further))
        if task.record is not None:
            task.record.answered(found)
        body = codec.write_response(found, asked)
        if task.incoming.path.endswith(":embedContent"):
            body = json.dumps({"embedding": json.loads(body)["embeddings"][0]}).encode()
        return WholeAnswer(200, body, {"Content-Type": "application/json", **facts_of(found)})

    def _first_granted(self, asked: EmbeddingRequest, model: str, grants: Grants) -> str:
        """The model, or where a key may not ask all of its targets, the first that it may."""
        request = ClientRequest.known(attrs.evolve(asked, model=model).as_request(), allows=grants)
        plan = self.dispatcher.explain(request)
        return model if all(skip.code != FORBIDDEN for skip in plan.skipped) else str(plan.targets[0])

    def count(self, task: Task) -> WholeAnswer:
        """Answer how many tokens a conversation has."""
        request = self._asked(task).request
        counted = self.dispatcher.count_tokens(request, timeout=self._timeout(task.incoming) or self.settings.timeout)
        counting = next(one for one in COUNTING.values() if one.codec is task.form.codec)
        return WholeAnswer(200, counting.write(counted.tokens), {"Content-Type": "application/json"})

    def pass_through(self, task: Task, row: PassthroughRow) -> WholeAnswer | StreamedAnswer:
        """Send a body to a vendor as it is, and its answer back."""
        key, vendor = task.maker, self.dispatcher.get_vendor(row.vendor)
        assert isinstance(vendor, HttpVendor), "checked at the beginning"
        if row.unpriced != "allow" and accounts_of(key.levels, self._clock.now()):
            text = "what calls of this path cost is not known, and this key has a budget"
            raise GatewayError(text, status=403, code="model_unpriced")
        target = passthrough.target_of(row, vendor, task)
        self._check_kept(task, set(task.match.groups()))
        if task.incoming.method != "POST":
            self._check_passing_model(key, row, [])
            reply = vendor.request(
                task.incoming.method, target, timeout=self.settings.timeout, max_retries=0, max_body=_MOST_PASSED
            )
            self._keep_made(task, reply.content, reply.headers.get("content-type", ""))
            told = {"x-llmdispatcher-vendor": vendor.name, **({VENDOR_ID: reply.request_id} if reply.request_id else {})}
            return WholeAnswer(200, reply.content, {**told, **passthrough.content_headers(reply.headers.get("content-type", ""))})
        content_type = passthrough.content_type_of(task.incoming)
        self._check_passing_model(key, row, passed_bodies.models_in(task.body, content_type))
        document = passed_bodies.document_in(task.body, content_type)
        named = references_in(document) | passed_bodies.references_in_form(task.body, content_type)
        if self._kept is None:
            passthrough.check_stateless_document(document, named)
        self._check_kept(task, named)
        stream = isinstance(document, dict) and (document.get("stream") is True or document.get("stream_format") == "sse")
        request: Request = passthrough.request_of(row, vendor, task, target)
        if task.record is not None:
            request = replace(request, metadata={**request.metadata, **_note_request(task, task.record, request)})
            self.log.dispatch(task.record)
        if stream:
            opened = self.dispatcher.send_streaming_to_vendor(vendor.name, request, timeout=self.settings.timeout)
            return passthrough.streamed_answer(opened, task, self.settings.timeout)
        with self._leavers.watch(task.incoming.environ) as cancel:
            answer = self.dispatcher.send_to_vendor(vendor.name, request, timeout=self.settings.timeout, cancel=cancel)
        if task.record is not None:
            task.record.answered(answer)
        passed = passthrough.whole_answer(answer)
        self._keep_made(task, passed.body, passed.headers["Content-Type"])
        return passed

    @staticmethod
    def _keep_made(task: Task, body: bytes, content_type: str) -> None:
        """Note whose the things are that a vendor says it has made."""
        if task.keep is not None and "json" in content_type:
            with contextlib.suppress(ValueError, RecursionError):
                task.keep(made_in(json.loads(body)))

    def _check_passing_model(self, key: ApiKey, row: PassthroughRow, named: list[str] | None) -> None:
        """Raise unless a key may ask for the model that a body names, or else for the path."""
        if not key.may_use(row.vendor):
            raise GatewayError("this key may not use the vendor of this path", status=403, code="model_not_allowed")
        if not key.limits_models:
            return
        if named is None or not all(self._may_ask(key, name) for name in named or [f"{row.vendor}:{row.path.strip('/')}"]):
            raise GatewayError("model: this key may not ask for it", status=403, code="model_not_allowed", param="model")

    def generate(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer one of the methods of Google's models."""
        works: Mapping[str, Callable[[Task], WholeAnswer | StreamedAnswer]] = {
            "generateContent": self.converse,
            "streamGenerateContent": self.converse,
            "countTokens": self.count,
            "embedContent": self.embed,
            "batchEmbedContents": self.embed,
        }
        work = works.get(task.match["method"])
        if work is None:
            raise GatewayError("there is no such method here", status=404, code="not_found")
        return work(task)

    def models(self, task: Task) -> WholeAnswer:
        """List the names that a key may ask for: pools, ``auto``, and the models of the registered vendors."""
        names, form = self._names(task.key), form_of(task.incoming)
        if form is GOOGLE:
            listed: Any = {"models": [_google_record(name) for name in names]}
        elif form is OLLAMA:
            listed = {"models": [{"name": name, "model": name, "modified_at": _EPOCH, "size": 0, "digest": ""} for name in names]}
        elif form is MESSAGES:
            listed = {
                "data": [_anthropic_record(name) for name in names],
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        else:
            listed = {"object": "list", "data": [_model_record(name) for name in names]}
            if "client_version=" in task.incoming.query:  # Codex reads its own records here, and keeps its own table where none is
                listed["models"] = []
        return WholeAnswer(200, json.dumps(listed).encode(), {"Content-Type": "application/json"})

    def model(self, task: Task) -> WholeAnswer:
        """Show one name, if a key may ask for it."""
        name = task.match["model"]
        named, names = self._model(name), self._names(task.key)
        if named not in names and not (":" not in named and any(one.partition(":")[2] == named for one in names)):
            raise GatewayError("there is no such model here", status=404, code="model_not_found", param="model")
        form = form_of(task.incoming)
        if form is GOOGLE:
            record = _google_record(name)
        elif form is MESSAGES:
            record = _anthropic_record(name)
        else:
            record = _model_record(name)
        return WholeAnswer(200, json.dumps(record).encode(), {"Content-Type": "application/json"})

    def _names(self, key: ApiKey | None) -> list[str]:
        vendors = self.dispatcher.get_vendors()
        kinds = {name: getattr(self.dispatcher.get_vendor(name), "kind", None) for name in vendors}
        pools = list(self.dispatcher.config.pools or ())
        models = [f"{name}:{model}" for name, kind in kinds.items() if kind is not None for model in model_names(kind)]
        names = [*pools, "auto", *models]
        return [name for name in names if self._is_shown(key, name)]

    def _is_shown(self, key: ApiKey | None, name: str) -> bool:
        grants = Grants.of(key, name, self.dispatcher)
        if grants is None:
            return True
        return grants.allows_named(name) if ":" in name else self._has_target(grants, Request(name, "-"))

    def _has_target(self, grants: Grants, request: Request) -> bool:
        """Whether any target of a request may be asked."""
        try:
            return bool(self._targets(ClientRequest.known(request, allows=grants)))
        except DispatchError:
            return False

    def list_keys(self, task: Task) -> WholeAnswer:
        """List the keys of an organization."""
        return _json_answer(200, management.list_keys(self.keys, task.maker))

    def show_key(self, task: Task) -> WholeAnswer:
        """Show one of them."""
        return _json_answer(200, management.show_key(self.keys, task.maker, task.match["id"]))

    def make_key(self, task: Task) -> WholeAnswer:
        """Make a key."""
        return _json_answer(201, management.make_key(self.keys, task.maker, task.body))

    def change_key(self, task: Task) -> WholeAnswer:
        """Change settings of a key."""
        return _json_answer(200, management.change_key(self.keys, task.maker, task.match["id"], task.body))

    def rotate_key(self, task: Task) -> WholeAnswer:
        """Give a key a new secret."""
        return _json_answer(200, management.rotate_key(self.keys, task.maker, task.match["id"]))

    def revoke_key(self, task: Task) -> WholeAnswer:
        """Revoke a key."""
        return _json_answer(200, management.revoke_key(self.keys, task.maker, task.match["id"]))

    def probe(self, _task: Task) -> WholeAnswer:
        """Say that something answers here, as agents ask before they begin."""
        return WholeAnswer(200, b'{"status": "ok"}', {"Content-Type": "application/json"})

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


_MOST_PASSED = 64 << 20
"""Bytes of an answer that is fetched."""


def _passing_routes(row: PassthroughRow) -> list[PathRoute]:
    """The routes of a path that passes."""
    pattern = re.compile(passthrough.pattern_of(row))
    work = partial(Gateway.pass_through, row=row)
    return [PathRoute(method, pattern, CHAT, "gateway", work, "passthrough", passes=True) for method in row.methods]


def _takes_client_credentials(dispatcher: Dispatcher) -> bool:
    """Whether a vendor takes its clients' own. Raises :class:`ConfigError` for two of one format: one would see the other's."""
    found: dict[str, str] = {}
    for name in dispatcher.get_vendors():
        vendor = dispatcher.get_vendor(name)
        if isinstance(vendor, HttpVendor) and vendor.takes_client_credentials:
            row = vendor_row(vendor.kind)
            kind = family(row.codec) if row is not None else name
            if kind in found:
                raise ConfigError(f"vendors.{name}.credentials: {found[kind]} takes those of the same format, too; leave one out")
            found[kind] = name
    return bool(found)


def _note_request(task: Task, record: RequestRecord, request: Request) -> dict[str, str]:
    """Note session and model of a request; returns what observers and a ledger are told of it, in its metadata."""
    record.session, record.asked_model = session_of(task.incoming, request), request.model
    return {"request_id": record.id, **({"session": record.session} if record.session is not None else {})}


def _json_answer(status: int, body: Mapping[str, Any]) -> WholeAnswer:
    return WholeAnswer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def _embedding_settings(asked: EmbeddingRequest, settings: Mapping[str, Any]) -> dict[str, Any]:
    further = {name: value for name, value in asked.extra_params.items() if name != "encoding_format"}
    known = {name: value for name, value in settings.items() if name == "profile"}
    return {"dimensions": asked.dimensions, "user": asked.user, "extra_params": further, **known}


def _model_record(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": name.partition(":")[0] if ":" in name else "llmdispatcher"}


def _google_record(name: str) -> dict[str, Any]:
    methods = ["generateContent", "streamGenerateContent", "countTokens"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods}


def _anthropic_record(name: str) -> dict[str, Any]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _EPOCH}


_EPOCH = "1970-01-01T00:00:00Z"


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


def _routes(rows: Sequence[tuple[str, str, ClientFormat, str | None, Any]]) -> tuple[PathRoute, ...]:
    return tuple(
        [PathRoute(method, re.compile(pattern), form, scope, work, _face(pattern)) for method, pattern, form, scope, work in rows]
    )


def _face(pattern: str) -> str:
    """A short name for a path that is served, for records and metrics: "chat.completions", "models", "google"."""
    plain = pattern.partition("(?")[0].strip("/")
    return plain.removeprefix("v1/").replace("/", ".") if plain not in ("v1", "v1beta") else "google"


def _of_service(work: Callable[[ProxyService, Task], WholeAnswer]) -> Callable[[Gateway, Task], WholeAnswer]:
    return lambda gateway, task: work(gateway.service, task)


def _of_desk(work: Callable[[UsageDesk, Task], WholeAnswer]) -> Callable[[Gateway, Task], WholeAnswer]:
    return lambda gateway, task: work(gateway.desk, task)


_NAME = r"(?P<name>[^/]{1,200})"
_GOOGLE_PATH = re.compile(r"/v1/tunedModels/.+")
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
        ("GET", r"/api/v1/keys", MANAGEMENT, "keys", Gateway.list_keys),
        ("POST", r"/api/v1/keys", MANAGEMENT, "keys", Gateway.make_key),
        ("GET", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", Gateway.show_key),
        ("PATCH", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", Gateway.change_key),
        ("DELETE", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", Gateway.revoke_key),
        ("GET", r"/", CHAT, None, Gateway.probe),
        ("POST", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})/rotate", MANAGEMENT, "keys", Gateway.rotate_key),
        ("GET", r"/livez", CHAT, None, Gateway.alive),
        ("GET", r"/readyz", CHAT, None, Gateway.ready),
    ]
)
"""All routes; every one but the probe and the two of health needs a scope."""


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


__all__ = ["ROUTES", "Gateway", "GatewaySettings", "Response", "make_gateway"]
