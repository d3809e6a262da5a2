"""Celery: one dispatcher for each worker process, drained when it ends, and responses as results of tasks.

```python
app = Celery("shop", broker=..., backend=...)
app.conf.llmdispatcher = "llmdispatcher.toml"     # or the fields of Config; without it the environment counts
llm = WorkerDispatcher(app)

@app.task
def summarize(text):
    return llm.dispatcher.send(Request("gpt-4o-mini", f"Summarize: {text}"))
```

With the serializer "json", which is Celery's own default, a :class:`Response` is a result as it stands, without its ``parsed``
and ``trace``; so are :class:`Embeddings`. It needs celery ≥ 5.5.
"""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery, signals
from kombu.utils.json import register_type

from llmdispatcher import Dispatcher, Embeddings, Response
from llmdispatcher.integrations import make_dispatcher
from llmdispatcher.runtime import new_lock

logger = logging.getLogger("llmdispatcher.integrations")
DRAIN = 30.0
"""Seconds that calls under way have at the end of a worker process, unless ``drain`` says otherwise."""

register_type(Response, "llmdispatcher.Response", Response.as_dict, Response.from_dict)
register_type(Embeddings, "llmdispatcher.Embeddings", Embeddings.as_dict, Embeddings.from_dict)


class WorkerDispatcher:
    """The dispatcher of an application's worker processes; each makes one at its first use, after the fork.

    ``drain`` is the seconds that calls under way have when a worker process ends. Raises :class:`ConfigError` at the first use for
    a mistake in ``app.conf.llmdispatcher``; call :attr:`dispatcher` when the program starts to hear of it then.
    """

    def __init__(self, app: Celery, *, drain: float = DRAIN) -> None:
        self._app = app
        self._drain = drain
        self._lock = new_lock()
        self._made: Dispatcher | None = None
        self._pid = 0
        signals.worker_process_shutdown.connect(self._close, weak=False)  # of prefork's children
        signals.worker_shutdown.connect(self._close, weak=False)  # of the pools that are threads

    @property
    def dispatcher(self) -> Dispatcher:
        """The dispatcher of this process."""
        made = self._made
        if made is not None and self._pid == os.getpid():
            return made
        with self._lock:
            if self._made is None or self._pid != os.getpid():
                self._made, self._pid = make_dispatcher(self._app.conf.get("llmdispatcher"), "app.conf.llmdispatcher"), os.getpid()
            return self._made

    def _close(self, **_: Any) -> None:
        made, self._made = self._made, None
        if made is not None and self._pid == os.getpid():
            logger.info("closing the dispatcher; calls under way have %g s", self._drain)
            made.close(drain=self._drain)
