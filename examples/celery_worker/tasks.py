"""Celery tasks that ask a model. README.md says how to run them."""

import os
from pathlib import Path
from typing import Any

from celery import Celery

from llmdispatcher import Overloaded, RateLimitError, Request, VendorUnavailable
from llmdispatcher.integrations.celery import WorkerDispatcher

REDIS = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")

app: Any = Celery("tasks", broker=REDIS, backend=REDIS)
app.conf.llmdispatcher = os.environ.get("LLM_CONFIG", str(Path(__file__).with_name("llm.toml")))
app.conf.broker_connection_retry_on_startup = True
llm = WorkerDispatcher(app)


@app.task(autoretry_for=(RateLimitError, VendorUnavailable, Overloaded), retry_backoff=True, max_retries=5)  # type: ignore[untyped-decorator]  # Celery has no types
def summarize(text: str, user: str | None = None) -> Any:
    """The summary of a text; the result of the task is a Response."""
    return llm.dispatcher.send(Request("gpt-4o-mini", f"Summarize in one sentence: {text}", user=user, max_tokens=100))
