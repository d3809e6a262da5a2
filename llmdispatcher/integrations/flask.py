"""Flask: one dispatcher for an application, answers as responses and as streams, errors with their statuses.

```python
llm = LLMDispatcher(app)               # app.config["LLMDISPATCHER"]: a file, or fields of Config; else the environment

@app.get("/ask")
def ask():
    return llm.stream(Request("gpt-4o-mini", flask.request.args["q"], user=current_user.id))
```
"""

from __future__ import annotations

import flask

from llmdispatcher import ConfigError, Dispatcher, DispatchError, Request
from llmdispatcher.integrations import make_dispatcher
from llmdispatcher.integrations.events import HEADERS, error_body, error_headers, error_status, stream_events

SETTING = "LLMDISPATCHER"
"""The key of the application's configuration, and in lower case of its extensions."""


class LLMDispatcher:
    """The extension. One object serves several applications; each has a dispatcher of its own.

    ``dispatcher`` is used as it is; without it one is made of ``app.config["LLMDISPATCHER"]``: the path of a configuration file
    (:meth:`Dispatcher.from_file`), the fields of :class:`Config`, a dispatcher, or nothing, with the vendors of the environment.
    Raises :class:`ConfigError` at once for a mistake in it. A :class:`DispatchError` that a view does not catch becomes a response
    with the status of :func:`~llmdispatcher.integrations.events.error_status`, and is logged.
    """

    def __init__(self, app: flask.Flask | None = None, *, dispatcher: Dispatcher | None = None) -> None:
        self._given = dispatcher
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Give an application its dispatcher."""
        made = self._given if self._given is not None else make_dispatcher(app.config.get(SETTING), f"app.config[{SETTING!r}]")
        app.extensions[SETTING.lower()] = made
        app.register_error_handler(DispatchError, _answer_error)

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of the current application. Raises :class:`ConfigError` where :meth:`init_app` had none."""
        made: Dispatcher | None = flask.current_app.extensions.get(SETTING.lower())
        if made is None:
            raise ConfigError(f"the application {flask.current_app.name!r} has no dispatcher; call init_app(app)")
        return made

    def stream(
        self, request: Request, *, timeout: float | None = None, heartbeat: float = 15.0, patience: float = 10.0
    ) -> flask.Response:
        """Answer a request by server-sent events (:func:`~llmdispatcher.integrations.events.stream_events`).

        What fails before the first output is raised. A client that leaves stops the vendor.
        """
        stream = self.dispatcher.send_streaming(request, timeout=timeout)
        return flask.Response(stream_events(stream, heartbeat=heartbeat, patience=patience), headers=dict(HEADERS))


def _answer_error(error: DispatchError) -> tuple[flask.Response, int, dict[str, str]]:
    flask.current_app.logger.warning("%s: %s", type(error).__name__, error)
    return flask.jsonify(error_body(error)), error_status(error), error_headers(error)
