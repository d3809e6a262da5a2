"""How an app lets streams end when gunicorn is told to stop; docs/reliability.md has the same lines."""

import os
import signal
import threading

DRAIN = float(os.environ.get("DRAIN", "1"))


def post_worker_init(worker):
    """Close the dispatcher as soon as the worker is told to stop: gunicorn's hooks at its end come when all is over."""
    from wsgi_app import dispatcher

    stop = signal.getsignal(signal.SIGTERM)

    def drain(number, frame):
        threading.Thread(target=dispatcher.close, kwargs={"drain": DRAIN}, daemon=True).start()
        stop(number, frame)

    signal.signal(signal.SIGTERM, drain)
    worker.log.info("Worker %s is ready to drain", worker.pid)
