"""Celery: tasks in real workers over a real Redis, one dispatcher a process, responses as results."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from decimal import Decimal
from pathlib import Path

import pytest

from llmdispatcher import BudgetExceeded, Embeddings, Response, Usage
from llmdispatcher.testing import SimulatedResponse, VendorSimulator

from ..orphans import mortal

pytest.importorskip("celery", reason="Celery is not installed; scripts/test installs it")

PATIENCE = 120.0


@pytest.fixture
def simulator():
    """A vendor on the loopback."""
    with VendorSimulator(responses="It is blue.") as running:
        yield running


@pytest.fixture
def shop(redis_server, simulator, tmp_path, monkeypatch):
    """The application, and a function that starts a worker of it."""
    config = tmp_path / "llm.toml"
    config.write_text(f'[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n')
    monkeypatch.setenv("SHOP_REDIS", redis_server.url.removesuffix("/0") + "/1")  # others look at all keys of the first database
    monkeypatch.setenv("SHOP_CONFIG", str(config))
    monkeypatch.delitem(sys.modules, "tests.integrations.celery_shop", raising=False)
    from . import celery_shop

    workers = []

    def start(*options, app="tests.integrations.celery_shop", folder="."):
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-l", "INFO", *options]
        path = tmp_path / f"worker{len(workers)}.log"
        environment = {**os.environ, "C_FORCE_ROOT": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        with path.open("wb") as log:
            workers.append(subprocess.Popen(mortal(command), cwd=folder, stdout=log, stderr=log, env=environment))
        return workers[-1], path

    yield celery_shop, start
    for worker in workers:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_worker(shop, simulator, pool):
    """A response is the result; each process has one dispatcher for all of its tasks, and ends in order."""
    tasks, start = shop
    worker, log = start("--pool", pool, "--concurrency", "2")
    answers = [task.get(timeout=PATIENCE) for task in [tasks.ask.delay(f"Why? {number}") for number in range(6)]]
    made = [task.get(timeout=PATIENCE) for task in [tasks.made_by.delay() for _ in range(6)]]
    worker.send_signal(signal.SIGTERM)
    code = worker.wait(PATIENCE)

    assert [("It is blue.", "openai", True)] * 6 == [(one.content, one.vendor, one.usage.cost > 0) for one in answers]
    assert len({pid for pid, *_ in made}) == len({(pid, made_id) for pid, _, made_id, _ in made})
    assert (0, 6) == (code, len(simulator.requests))
    assert "closing the dispatcher" in log.read_text()


def test_calls_under_way_end(shop, simulator, monkeypatch, tmp_path):
    """At a warm shutdown of the example's worker the answer of a call that has begun still comes; a spent budget is not retried."""
    _, start = shop
    example = Path(__file__).parents[2] / "examples" / "celery_worker"
    text = (example / "llm.toml").read_text().replace("http://127.0.0.1:8100/v1", simulator.openai_url)
    (tmp_path / "example.toml").write_text(text.replace("calls.db", f"{tmp_path}/calls.db").replace("0.0006", "0.0000001"))
    monkeypatch.setenv("LLM_CONFIG", str(tmp_path / "example.toml"))
    monkeypatch.setenv("REDIS_URL", os.environ["SHOP_REDIS"])
    monkeypatch.syspath_prepend(str(example))
    tasks = importlib.import_module("tasks")
    release = threading.Event()

    def answer(_asked):
        release.wait(PATIENCE)
        return SimulatedResponse(text="It is late.")

    simulator.responses = answer
    worker, _log = start("--pool", "threads", "--concurrency", "2", app="tasks", folder=example)
    with pytest.raises(BudgetExceeded):
        tasks.summarize.delay("A long text", user="ada").get(timeout=PATIENCE)
    task = tasks.summarize.delay("A long text")
    assert simulator.await_hits(1, PATIENCE)
    worker.send_signal(signal.SIGTERM)
    release.set()

    assert "It is late." == task.get(timeout=PATIENCE).content
    assert 0 == worker.wait(PATIENCE)


def test_a_result_is_json():
    """What a task returns comes back as it was, within other values too."""
    from kombu.utils import json

    import llmdispatcher.integrations.celery  # noqa: F401 - it registers the type

    response = Response(content="x", model="m", vendor="v", usage=Usage(input_tokens=3))
    embeddings = Embeddings(
        vectors=((0.5, -1.0), (0.25, 2.0)), model="m", vendor="v", usage=Usage(input_tokens=3, cost=Decimal("0.02"))
    )
    returned = {"answers": [response], "vectors": embeddings}

    assert returned == json.loads(json.dumps(returned))
