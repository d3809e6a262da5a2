"""A Celery application whose tasks ask a vendor; a worker of the tests runs it."""

import os
import threading

from celery import Celery

from llmdispatcher import Request
from llmdispatcher.integrations.celery import WorkerDispatcher

app = Celery("shop", broker=os.environ["SHOP_REDIS"], backend=os.environ["SHOP_REDIS"])
app.conf.update(llmdispatcher=os.environ["SHOP_CONFIG"], broker_connection_retry_on_startup=True, worker_hijack_root_logger=False)
llm = WorkerDispatcher(app)


@app.task
def ask(question):
    return llm.dispatcher.send(Request("gpt-4o-mini", question))


@app.task
def made_by():
    """The process, and the number of the dispatcher's calls in it."""
    return os.getpid(), threading.get_native_id(), id(llm.dispatcher), llm.dispatcher.get_stats().successful_requests
