"""Flask: one dispatcher for an application, answers as responses and as streams, errors with their statuses.

```python
llm = LLMDispatcher(app)               # app.config["LLMDISPATCHER"]: a file, or fields of Config; else the environment

@app.get("/ask")
def ask():
    return llm.stream(Request("gpt-4o-mini", flask.request.args["q"], user=current_user.id))
```
"""

from __future__ import annotations

import os
from typing import Any

import flask

from llmdispatcher import Dispatcher, DispatchError, Request
from llmdispatcher.integrations.events import HEADERS, error_body, error_headers, error_status, stream_events

SETTING = "LLMDISPATCHER"
"""The key of the application's configuration, and in lower case of its extensions."""


class LLMDispatcher:
    """The extension. One object serves several applications; each has a dispatcher of its own.

    It is ``dispatcher`` where one is given. Else ``app.config["LLMDISPATCHER"]`` says which: the path of a configuration file
    (:meth:`Dispatcher.from_file`), a :class:`Config` or its fields, with the vendors of the environment, or a :class:`Dispatcher`.
    Where it is not set, the vendors of the environment count. Raises :class:`ConfigError` at once for a mistake in it. A
    :class:`DispatchError` that a view does not catch becomes a response with the status of
    :func:`~llmdispatcher.integrations.events.error_status`, and is logged.
    """

    def __init__(self, app: flask.Flask | None = None, *, dispatcher: Dispatcher | None = None) -> None:
        self._given = dispatcher
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Give an application its dispatcher."""
        made = self._given if self._given is not None else _dispatcher(app.config.get(SETTING))
        app.extensions[SETTING.lower()] = made
        app.register_error_handler(DispatchError, _answer_error)

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the current application."""
        made: Dispatcher = flask.current_app.extensions[SETTING.lower()]
        return made

    def stream(
        self, request: Request, *, timeout: float | None = None, heartbeat: float = 15.0, patience: float = 10.0
    ) -> flask.Response:
        """Answer a request by server-sent events (:func:`~llmdispatcher.integrations.events.stream_events`).

        What fails before the first output is raised. A client that leaves stops the vendor.
        """
        stream = self.dispatcher.send_streaming(request, timeout=timeout)
        return flask.Response(stream_events(stream, heartbeat=heartbeat, patience=patience), headers=dict(HEADERS))


def _dispatcher(setting: Any) -> Dispatcher:
    if isinstance(setting, str | os.PathLike):
        return Dispatcher.from_file(setting)
    return setting if isinstance(setting, Dispatcher) else Dispatcher.from_env(setting)


def _answer_error(error: DispatchError) -> tuple[flask.Response, int, dict[str, str]]:
    flask.current_app.logger.warning("%s: %s", type(error).__name__, error)
    return flask.jsonify(error_body(error)), error_status(error), error_headers(error)
