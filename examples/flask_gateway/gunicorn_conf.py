"""Workers of gunicorn that let their streams end when they are told to stop: ``gunicorn -c gunicorn_conf.py app:app``."""

from typing import Any

from llmdispatcher.integrations import drain_on_sigterm

worker_class = "gthread"
workers = 2
threads = 32
graceful_timeout = 30


def post_worker_init(worker: Any) -> None:
    """Calls under way have most of the time that gunicorn gives; the rest is for their last events."""
    drain_on_sigterm(worker.wsgi.extensions["llmdispatcher"], graceful_timeout - 2)
