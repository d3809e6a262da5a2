"""The table of the gateway's routes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from operator import attrgetter
from typing import Any

from . import management
from .answers import StreamedAnswer, WholeAnswer, json_answer
from .conversations import Conversations
from .formats import CHAT, COMPLETIONS, GOOGLE, MANAGEMENT, MESSAGES, OLLAMA, RESPONSES, ClientFormat
from .generation import Generation
from .http import GatewaySettings, Task
from .models import ModelNames
from .passthrough import Passthrough, pattern_of
from .routes import PathRoute
from .service import ProxyService
from .usage import UsageQueries

Work = Callable[[Generation, Task], WholeAnswer | StreamedAnswer]
_Part = Callable[[Any, Task], WholeAnswer | StreamedAnswer]


def _of(name: str, work: _Part) -> Work:
    """A route of a part of the gateway."""
    part = attrgetter(name)
    return update_wrapper(lambda generation, task: work(part(generation), task), work, assigned=("__doc__",), updated=())


_talk, _list, _proxy, _query = [partial(_of, name) for name in ("conversations", "names", "service", "usage")]


def _keys(work: Callable[..., Mapping[str, Any]], status: int = 200, *, reads: bool = False) -> Work:
    """A route of ``management``, which gets the key's id where the path has one, and the body where ``reads``."""

    def answer(generation: Generation, task: Task) -> WholeAnswer:
        given = (*task.match.groups(), *([task.body] if reads else ()))
        return json_answer(work(generation.state.keys, task.maker, *given), status)

    return update_wrapper(answer, work, assigned=("__doc__",), updated=())


_NAME = r"(?P<name>[^/]{1,200})"
_EITHER = "gateway|operator"
_KEY = r"/api/v1/keys/(?P<id>[A-Za-z0-9_-]{1,64})"
_GOOGLE_METHOD = r"/v1(?:beta)?/(?P<kind>models|tunedModels)/(?P<model>.+):(?P<method>[A-Za-z]+)"
_ROWS: tuple[tuple[str, str, ClientFormat, str | None, Work], ...] = (
    ("POST", r"/v1/chat/completions", CHAT, "gateway", _talk(Conversations.complete)),
    ("POST", r"/v1/completions", COMPLETIONS, "gateway", _talk(Conversations.converse)),
    ("POST", r"/v1/responses", RESPONSES, "gateway", _talk(Conversations.converse)),
    ("POST", r"/v1/messages", MESSAGES, "gateway", _talk(Conversations.converse)),
    ("POST", r"/v1/messages/count_tokens", MESSAGES, "gateway", _talk(Conversations.count)),
    ("POST", r"/v1/embeddings", CHAT, "gateway", _talk(Conversations.embed)),
    ("GET", r"/v1/models", CHAT, "gateway", _list(ModelNames.models)),
    ("GET", r"/v1/models/(?P<model>.+)", CHAT, "gateway", _list(ModelNames.model)),
    ("POST", _GOOGLE_METHOD, GOOGLE, "gateway", _talk(Conversations.generate)),
    ("GET", r"/v1beta/models", GOOGLE, "gateway", _list(ModelNames.models)),
    ("GET", r"/v1beta/models/(?P<model>.+)", GOOGLE, "gateway", _list(ModelNames.model)),
    ("POST", r"/api/chat", OLLAMA, "gateway", _talk(Conversations.converse)),
    ("POST", r"/api/embed", OLLAMA, "gateway", _talk(Conversations.embed)),
    ("GET", r"/api/tags", OLLAMA, "gateway", _list(ModelNames.models)),
    ("GET", r"/api/v1/keys", MANAGEMENT, "keys", _keys(management.list_keys)),
    ("POST", r"/api/v1/keys", MANAGEMENT, "keys", _keys(management.make_key, 201, reads=True)),
    ("GET", _KEY, MANAGEMENT, "keys", _keys(management.show_key)),
    ("PATCH", _KEY, MANAGEMENT, "keys", _keys(management.change_key, reads=True)),
    ("DELETE", _KEY, MANAGEMENT, "keys", _keys(management.revoke_key)),
    ("GET", r"/", CHAT, None, Generation.probe),
    ("POST", rf"{_KEY}/rotate", MANAGEMENT, "keys", _keys(management.rotate_key)),
    ("GET", r"/openapi\.json", CHAT, None, Generation.describe),
    ("GET", r"/livez", CHAT, None, Generation.alive),
    ("GET", r"/readyz", CHAT, None, Generation.ready),
    ("GET", r"/proxy/stats", MANAGEMENT, _EITHER, _proxy(ProxyService.stats)),
    ("GET", r"/proxy/health", MANAGEMENT, _EITHER, _proxy(ProxyService.health)),
    ("GET", r"/proxy/providers", MANAGEMENT, _EITHER, _proxy(ProxyService.providers)),
    ("GET", rf"/proxy/providers/{_NAME}", MANAGEMENT, _EITHER, _proxy(ProxyService.provider)),
    ("GET", rf"/proxy/providers/{_NAME}/metrics", MANAGEMENT, _EITHER, _proxy(ProxyService.metrics)),
    ("GET", rf"/proxy/providers/{_NAME}/rate-limit", MANAGEMENT, "operator", _proxy(ProxyService.rate_limit)),
    ("GET", r"/proxy/requests/(?P<id>[A-Za-z0-9._-]{1,128})", MANAGEMENT, _EITHER, _query(UsageQueries.request)),
    ("GET", r"/proxy/usage", MANAGEMENT, _EITHER, _query(UsageQueries.usage)),
    ("DELETE", r"/proxy/cache", MANAGEMENT, "operator", _proxy(ProxyService.clear_cache)),
)


def _face(pattern: str) -> str:
    """A short name for a path that is served, for records and metrics: "chat.completions", "models", "google"."""
    plain = pattern.partition("(?")[0].strip("/")
    return plain.removeprefix("v1/").replace("/", ".") if plain not in ("v1", "v1beta") else "google"


ROUTES = tuple(
    [PathRoute(method, re.compile(pattern), form, scope, work, _face(pattern)) for method, pattern, form, scope, work in _ROWS]
)
"""All routes; every one but the probe, the description and the two of health needs a scope."""


def passing_routes(settings: GatewaySettings) -> list[PathRoute]:
    """The routes of the paths that pass."""
    found = []
    for row in settings.passthrough:
        work = _of("passthrough", update_wrapper(partial(Passthrough.answer, row=row), Passthrough.answer))
        pattern = re.compile(pattern_of(row))
        found += [PathRoute(method, pattern, CHAT, "gateway", work, "passthrough", passes=True) for method in row.methods]
    return found
