"""The gateway as a WSGI callable: its routes, who may use them, and how each kind of request is answered."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import attrs

from ..._text import room_logger
from ...catalog import Target, canonical, model_names
from ...dispatcher import Dispatcher
from ...errors import ConfigError, DispatchError, InvalidRequest
from ...routing import FORBIDDEN
from ...runtime import SYSTEM_CLOCK, Clock
from ...types import EmbeddingRequest, Request, Response, replace
from ...wire import COUNTING, EMBEDDING_CODECS, Inbound
from ..keys import ApiKey, KeyStore
from . import management
from .answers import StreamedAnswer, WholeAnswer, facts_of, place_of, stream_of
from .checks import MOST_MEMBERS, MOST_OF_EMBEDDINGS, check_media, check_members, check_settings, check_stateless
from .formats import CHAT, GOOGLE, MANAGEMENT, MESSAGES, OLLAMA, RESPONSES, STATUS_TEXTS, ClientFormat, GatewayError, write_error
from .http import Bodies, Environ, FailedLogins, GatewaySettings, Incoming, InFlight, Leavers, Task, credential, hide_keys, once
from .limits import KeyLimits, charge_of, charging
from .sessions import session_of
from .targets import ClientRequest, Grants
from .tenant import TenantHashes

logger = room_logger("server")

_MAX_TIMEOUT = 3600.0
_MOST_BETA = 1024
"""Characters of the betas that a client of Anthropic's asks for."""
_EMBEDDING = re.compile(r"/embed|[eE]mbedContents?$")


class PathRoute(NamedTuple):
    """A row of the table: method, pattern of the path, the format of its answers, the scope that a key needs, and the work."""

    method: str
    pattern: re.Pattern[str]
    form: ClientFormat
    scope: str | None
    work: Callable[[Gateway, Task], WholeAnswer | StreamedAnswer]


class Gateway:
    """Speaks the formats of OpenAI, Anthropic, Google and Ollama over one dispatcher; a WSGI callable, safe under threads.

    ``keys`` decides who may ask. Nothing of a request or an answer is stored.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        keys: KeyStore,
        settings: GatewaySettings = GatewaySettings(),  # noqa: B008 - a frozen value
        *,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.dispatcher = dispatcher
        self.keys = keys
        self.settings = settings
        self.draining = False
        self._clock = clock
        self._bodies = Bodies(settings.max_body, settings.bodies_together, clock)
        self._leavers = Leavers()
        self._in_flight = InFlight(settings.threads)
        self._failed = FailedLogins(clock)
        self._limits = KeyLimits(clock)
        self._tenants = TenantHashes(keys)

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        incoming = Incoming.of(environ)
        hide_keys(environ)
        form = form_of(incoming)
        try:
            answer = self._answer(incoming)
        except DispatchError as error:
            answer = self._refusal(incoming, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the client is answered
            logger.error("%s: a request failed inside the gateway: %s", incoming.request_id, place_of(error))
            answer = self._refusal(incoming, GatewayError("the gateway failed; tell whoever runs it", status=500, code="internal"))
        headers = {**answer.headers, form.id_header: incoming.request_id, "x-llmdispatcher-request-id": incoming.request_id}
        headers.setdefault("Cache-Control", "no-store")
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

    def _answer(self, incoming: Incoming) -> WholeAnswer | StreamedAnswer:
        route, match = self._route(incoming)
        key = self._key(incoming, route.scope) if route.scope is not None else None
        leave = self._in_flight.enter(key.id) if key is not None else lambda: None
        give_back: Callable[[], None] = lambda: None  # noqa: E731 - replaced below
        stop_counting: Callable[[], None] = lambda: None  # noqa: E731 - replaced below
        charge = charge_of(self._limits, self.keys.budgets, key)

        def release() -> None:
            give_back()
            stop_counting()
            if charge is not None:
                charge.give_back()  # settled before, but for what fails outside the call
            leave()

        try:
            if key is not None and route.scope == "gateway" and route.method == "POST":
                stop_counting = once(self._limits.enter(key))
            body = b""
            if incoming.method == "POST":
                body, give_back = self._bodies.read(incoming.environ, management.MOST_BODY if route.form is MANAGEMENT else None)
                check_members(body, MOST_OF_EMBEDDINGS if _EMBEDDING.search(incoming.path) else MOST_MEMBERS)
            task = Task(incoming=incoming, form=route.form, key=key, match=match, body=body, release=release, charge=charge)
            answer = route.work(self, task)
        except BaseException:
            release()
            raise
        if not isinstance(answer, StreamedAnswer):
            release()
        if charge is not None:
            answer.headers.update(charge.facts)
        return answer

    def _route(self, incoming: Incoming) -> tuple[PathRoute, re.Match[str]]:
        path = incoming.path
        if incoming.environ.get("HTTP_UPGRADE", "").lower() == "websocket":
            raise GatewayError("there are no WebSockets here; send an ordinary request", status=426, code="upgrade_refused")
        allowed = []
        for route in ROUTES:
            match = route.pattern.fullmatch(path)
            if match is None:
                continue
            if incoming.method == route.method or (incoming.method == "HEAD" and route.method == "GET"):
                return route, match
            allowed.append(route.method)
        if allowed:
            raise GatewayError("this path takes another method", status=405, code="method_not_allowed", allow=", ".join(allowed))
        raise GatewayError("there is nothing at this path", status=404, code="not_found")

    def _key(self, incoming: Incoming, scope: str) -> ApiKey:
        secret = credential(incoming, in_query=incoming.path.startswith("/v1beta/"))
        if (wait := self._failed.wait(incoming.address)) and not self.keys.lists(secret):
            raise GatewayError("too many wrong keys; try again later", status=429, code="too_many_failures", retry_after=wait)
        key = self.keys.find(secret)
        if key is None:
            self._failed.note(incoming.address)
            raise GatewayError("this key is not known here, or is not good any more", status=401, code="invalid_api_key")
        if scope not in key.scopes:
            raise GatewayError(f"this key lacks the scope {scope!r}", status=403, code="scope_required")
        return key

    def _refusal(self, incoming: Incoming, error: DispatchError) -> WholeAnswer:
        if not isinstance(error, GatewayError):
            logger.info("%s: %s", incoming.request_id, type(error).__name__)  # its text may have the client's words
        status, headers, body = write_error(form_of(incoming), error, incoming.request_id)
        return WholeAnswer(status, body, {"Content-Type": "application/json", **headers})

    # What the routes do

    def converse(self, task: Task) -> WholeAnswer | StreamedAnswer:
        """Answer a conversation, whole or as a stream, whichever vendor is asked."""
        asked = self._asked(task)
        timeout = self._timeout(task.incoming)
        if task.charge is not None:
            seconds = None if asked.stream else timeout or self.settings.timeout
            task.charge.take(asked.request, lambda: self._targets(asked.request, streaming=asked.stream), seconds)
        if not asked.stream:
            with charging(task.charge) as answered, self._leavers.watch(task.incoming.environ) as cancel:
                response = answered(self.dispatcher.send(asked.request, timeout=timeout or self.settings.timeout, cancel=cancel))
            body = task.form.codec.write_response(response, asked)
            return WholeAnswer(200, body, {"Content-Type": "application/json", **facts_of(response)})
        with charging(task.charge):
            stream = self.dispatcher.send_streaming(asked.request, timeout=timeout)
        return stream_of(stream, task, asked, self.settings, self._leavers)

    def _targets(self, request: Request, *, streaming: bool = False) -> Sequence[Target]:
        """Whom the dispatcher would ask."""
        return self.dispatcher.explain(request, streaming=streaming).targets

    def _asked(self, task: Task) -> Inbound:
        """What a body asks for, checked, with the model's name as the dispatcher has it."""
        path = f"{task.incoming.path}?{task.incoming.query}"
        asked = attrs.evolve(task.form.codec.read_request(task.body, path), created_at=self._clock.now())
        request = asked.request
        check_settings(request)
        check_media(request)
        self._check_further_models(task.key, request.extra_params)
        if not self.settings.stateful:
            check_stateless(request)
        changes = {**self._settings_of(task, request.model), **self._told_of(task, request)}
        if task.key is not None and task.key.tags:
            changes["metadata"] = {**request.metadata, "tags": list(task.key.tags)}
        if (beta := task.incoming.header("anthropic-beta")) is not None:
            changes["headers"] = {"anthropic-beta": beta[:_MOST_BETA]}
        changes["allows"] = self._grants(task.key, request, changes["model"])
        changes["endless"] = isinstance(self.dispatcher.config.timeout, str) and self._timeout(task.incoming) is None
        return attrs.evolve(asked, request=ClientRequest.of(request, **changes))

    def _told_of(self, task: Task, request: Request) -> dict[str, Any]:
        """The session of a request, and what vendors are told of it and of its user: hashes, which differ by organization."""
        organization = task.key.organization if task.key is not None else ""
        session = session_of(task.incoming, request)
        told: dict[str, Any] = {
            name: self._tenants.hash_for(organization, value)
            for name in ("user", "prompt_cache_key")
            if (value := getattr(request, name)) is not None
        }
        if session is not None:
            told |= {"session": f"{organization}\0{session}", "cache_key": self._tenants.hash_for(organization, session)}
        return told

    def _grants(self, key: ApiKey | None, request: Request, model: str) -> Grants | None:
        """Whom a key may ask for a model; ``None``: anybody. Raises where there is nobody, be the model known or not."""
        if key is None or key.models is None:
            return None
        grants = Grants(key.models, model, self.dispatcher)
        if not grants.names_it and not self._has_target(grants, replace(request, model=model)):
            text = f"model: this key may not ask for {model[:80]!r}"
            raise GatewayError(text, status=403, code="model_not_allowed", param="model")
        return grants

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
        for field in ("models", "fallbacks"):
            listed = extra.get(field)
            for one in listed if isinstance(listed, list) and key is not None else ():
                name = one.get("model") if isinstance(one, dict) else one
                if key is not None and not (isinstance(name, str) and self._may_ask(key, name)) and key.models is not None:
                    text = f"{field}: this key may not ask for all of these"
                    raise GatewayError(text, status=403, code="model_not_allowed", param=field)

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
        if not asked.texts:
            raise InvalidRequest("input: give a text or a list of texts; tokens are not taken, since each vendor has its own")
        settings = self._settings_of(task, asked.model)
        if asked.user is not None and task.key is not None:
            asked = attrs.evolve(asked, user=self._tenants.hash_for(task.key.organization, asked.user))
        if (grants := self._grants(task.key, asked.as_request(), settings["model"])) is not None:
            settings["model"] = self._first_granted(asked, settings["model"], grants)
        timeout = self._timeout(task.incoming) or self.settings.timeout
        if task.charge is not None:
            request = attrs.evolve(asked, model=settings["model"]).as_request()
            task.charge.take(request, lambda: self._targets(request), timeout)
        with charging(task.charge) as answered, self._leavers.watch(task.incoming.environ) as cancel:
            further = _embedding_settings(asked, settings)
            found = answered(self.dispatcher.embed(settings["model"], asked.texts, timeout=timeout, cancel=cancel, **further))
        body = codec.write_response(found, asked)
        if task.incoming.path.endswith(":embedContent"):
            body = json.dumps({"embedding": json.loads(body)["embeddings"][0]}).encode()
        return WholeAnswer(200, body, {"Content-Type": "application/json", **facts_of(found)})

    def _first_granted(self, asked: EmbeddingRequest, model: str, grants: Grants) -> str:
        """The model, or where a key may not ask all of its targets, the first that it may."""
        request = ClientRequest.of(attrs.evolve(asked, model=model).as_request(), allows=grants)
        plan = self.dispatcher.explain(request)
        return model if all(skip.code != FORBIDDEN for skip in plan.skipped) else str(plan.targets[0])

    def count(self, task: Task) -> WholeAnswer:
        """Answer how many tokens a conversation has."""
        asked = self._asked(task)
        counted = self.dispatcher.count_tokens(asked.request, timeout=self._timeout(task.incoming) or self.settings.timeout)
        counting = next(one for one in COUNTING.values() if one.codec is task.form.codec)
        return WholeAnswer(200, counting.write(counted.tokens), {"Content-Type": "application/json"})

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
        return [name for name in names if key is None or key.models is None or self._is_shown(key.models, name)]

    def _is_shown(self, globs: Sequence[str], name: str) -> bool:
        grants = Grants(globs, name, self.dispatcher)
        return grants.names_it if ":" in name else self._has_target(grants, Request(name, "-"))

    def _has_target(self, grants: Grants, request: Request) -> bool:
        """Whether any target of a request may be asked."""
        try:
            return bool(self._targets(ClientRequest.of(request, allows=grants)))
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
        """Say whether requests are taken: 503 while the process is stopping."""
        if self.draining:
            return WholeAnswer(503, b"draining\n", {"Content-Type": "text/plain"})
        return WholeAnswer(200, b"ready\n", {"Content-Type": "text/plain"})

    def is_idle(self) -> bool:
        """Whether no request with a key is being worked on, so that the process may end."""
        return not len(self._in_flight)

    def close(self, drain: float = 0.0) -> None:
        """Take no more requests, give those under way ``drain`` seconds, and close dispatcher and keys."""
        self.draining = True
        self.dispatcher.close(drain=drain)
        self.keys.close()


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
    if path.startswith("/api/"):
        return MANAGEMENT if path.startswith("/api/v1/") else OLLAMA
    return RESPONSES if path.startswith("/v1/responses") else CHAT


def _routes(rows: Sequence[tuple[str, str, ClientFormat, str | None, Any]]) -> tuple[PathRoute, ...]:
    return tuple([PathRoute(method, re.compile(pattern), form, scope, work) for method, pattern, form, scope, work in rows])


_GOOGLE_PATH = re.compile(r"/v1/tunedModels/.+")
_GOOGLE_METHOD = r"/v1(?:beta)?/(?P<kind>models|tunedModels)/(?P<model>.+):(?P<method>[A-Za-z]+)"
ROUTES = _routes(
    [
        ("POST", r"/v1/chat/completions", CHAT, "gateway", Gateway.converse),
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
        ("DELETE", r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})", MANAGEMENT, "keys", Gateway.revoke_key),
        ("GET", r"/", CHAT, None, Gateway.probe),
        ("GET", r"/livez", CHAT, None, Gateway.alive),
        ("GET", r"/readyz", CHAT, None, Gateway.ready),
    ]
)
"""All routes; every one but the probe and the two of health needs a scope."""


def make_gateway(dispatcher: Any, keys: KeyStore, settings: GatewaySettings | None = None) -> Gateway:
    """Return the gateway over a dispatcher. Raises :class:`ConfigError` for anything else."""
    if not isinstance(dispatcher, Dispatcher):
        raise ConfigError(
            f"dispatcher: {type(dispatcher).__name__} is no Dispatcher; make one, or give the path of a configuration"
        )
    return Gateway(dispatcher, keys, settings or GatewaySettings())


__all__ = ["ROUTES", "Gateway", "GatewaySettings", "Response", "make_gateway"]
