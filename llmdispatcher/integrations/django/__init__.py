"""Django: one dispatcher for each process, made of ``settings.LLMDISPATCHER``; streamed answers, statuses for errors, checks.

```python
INSTALLED_APPS = [..., "llmdispatcher.integrations.django"]
MIDDLEWARE = [..., "llmdispatcher.integrations.django.ErrorMiddleware"]
LLMDISPATCHER = "llmdispatcher.toml"      # or the fields of Config; without it the environment counts
```

A view calls ``get_dispatcher().send(request)`` or returns ``stream(request)``. It needs Django ≥ 5.2, under WSGI.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.db import close_old_connections
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from llmdispatcher import ConfigError, Dispatcher, DispatchError, Request
from llmdispatcher.integrations import make_dispatcher
from llmdispatcher.integrations.events import HEADERS, error_body, error_headers, error_status, stream_events
from llmdispatcher.runtime import new_lock

SETTING = "LLMDISPATCHER"
logger = logging.getLogger("llmdispatcher.integrations")
_lock = new_lock()
_made: dict[int, Dispatcher] = {}
"""The dispatcher of this process, by its number: a forked child makes its own."""


def get_dispatcher() -> Dispatcher:
    """Return the dispatcher of this process. Raises :class:`ConfigError` for a mistake in the setting."""
    made = _made.get(os.getpid())
    if made is not None:
        return made
    with _lock:
        if os.getpid() not in _made:
            made = make_dispatcher(getattr(settings, SETTING, None), SETTING)
            _made.clear()
            _made[os.getpid()] = made
        return _made[os.getpid()]


def get_ledger() -> Any:
    """Return the ledger of this process's dispatcher. Raises :class:`ConfigError` where it has none that can be asked."""
    ledger: Any = get_dispatcher().ledger
    if not hasattr(ledger, "get_usage_stats"):
        raise ConfigError(f'{SETTING}: calls are not written down; name a ledger, such as ledger = "calls.db"')
    return ledger


def stream(
    request: Request, *, timeout: float | None = None, heartbeat: float = 15.0, patience: float = 10.0
) -> StreamingHttpResponse:
    """Answer a request by server-sent events (:func:`~llmdispatcher.integrations.events.stream_events`).

    What fails before the first output is raised. A client that leaves stops the vendor.
    """
    opened = get_dispatcher().send_streaming(request, timeout=timeout)
    return StreamingHttpResponse(stream_events(opened, heartbeat=heartbeat, patience=patience), headers=dict(HEADERS))


def signed_in_user(environ: dict[str, Any]) -> Any:
    """The user whom the session of a request names, ``None`` for nobody; for WSGI applications that are mounted beside Django's.

    It needs Django's sessions and ``django.contrib.auth``. The database's connection is handled as after a request of Django's.
    """
    from django.contrib.auth import get_user  # where the applications are loaded

    request = WSGIRequest(dict(environ))  # it writes into what it is given
    close_old_connections()
    try:
        request.session = import_module(settings.SESSION_ENGINE).SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
        user = get_user(request)
        return user if user.is_authenticated else None
    finally:
        close_old_connections()


class ErrorMiddleware:
    """Answers a :class:`DispatchError` that a view does not catch with its status, and logs it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Pass on."""
        return self._get_response(request)

    def process_exception(self, _request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer an error of the library."""
        if not isinstance(error, DispatchError):
            return None
        logger.warning("%s: %r", type(error).__name__, str(error))
        return JsonResponse(error_body(error), status=error_status(error), headers=error_headers(error))
