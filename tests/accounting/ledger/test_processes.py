"""One ledger in many threads and processes, before and after a fork, and at the end of a process."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from llmdispatcher import Dispatcher, Ledger, Request, open_ledger
from llmdispatcher.testing import FakeVendor

from ..conftest import IN_BOTH

pytestmark = pytest.mark.timeout(240)  # on a busy machine a process takes a while to start

ASK = Request("m", "hi")
HEAD = """
import os, sys, threading, time
from decimal import Decimal
from llmdispatcher import Dispatcher, Request, Response, Usage
from llmdispatcher.accounting.ledger import process as loading
from llmdispatcher.testing import FakeVendor
loading.PATIENCE = 60.0  # on a busy machine an import takes longer than the 5 s that a fork waits for it
ASK = Request("m", "hi")
dispatcher = Dispatcher(ledger=sys.argv[1])
answer = Response(content="x", usage=Usage(input_tokens=1, cost=Decimal(0)))  # of unknown cost the log would say so
dispatcher.register_vendor(FakeVendor(answer, name="v"))
"""


def made(ledger: Any) -> Dispatcher:
    """A dispatcher that writes there."""
    dispatcher = Dispatcher(ledger=ledger)
    dispatcher.register_vendor(FakeVendor("x", name="v"))
    return dispatcher


def count(place: str) -> tuple[int, int, int]:
    """Calls, attempts, and calls in the sums."""
    with open_ledger(place) as ledger, ledger.engine.connect() as connection:
        assert ledger.flush(30)  # what a process that ended on a busy machine had to leave on disk
        asked = (
            "SELECT count(*) FROM llmdispatcher_calls WHERE status = 'success'",
            "SELECT count(*) FROM llmdispatcher_attempts",
            "SELECT SUM(calls) FROM llmdispatcher_daily",
        )
        found = [int(connection.scalar(text(question)) or 0) for question in asked]
    return found[0], found[1], found[2]


def descriptors() -> set[str]:
    """The files and sockets that this process has open."""
    names = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            names.add(str(link.readlink()))
    return {name for name in names if not name.startswith("/proc/")}


def run(script: str, *arguments: str) -> subprocess.Popen[str]:
    """A process of its own, where every warning is an error."""
    command = [sys.executable, "-W", "error", "-c", HEAD + script, *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def over(process: subprocess.Popen[str]) -> None:
    """It has ended well and said nothing."""
    _out, errors = process.communicate(timeout=200)
    assert ("", 0) == (errors, process.returncode)


@IN_BOTH
def test_threads(store):
    """Eight threads, one ledger, two dispatchers."""
    with Ledger(store) as ledger:
        dispatchers = [made(ledger), made(ledger)]
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda who: [dispatchers[who % 2].send(ASK) for _ in range(20)], range(8)))
        assert ledger.flush()

    assert (160, 160, 160) == count(store)


@IN_BOTH
def test_two_processes_one_place(store):
    """Both write at once, their ends write what is left without a flush or a close, and the sums of the day are of both."""
    both = [run("for _ in range(50): dispatcher.send(ASK)", store) for _ in range(2)]
    for process in both:
        over(process)

    assert (100, 100, 100) == count(store)


FORKS = """
for _ in range(5): dispatcher.send(ASK)
children = []
for _ in range(2):
    pid = os.fork()
    if not pid:
        for _ in range(10): dispatcher.send(ASK)
        assert dispatcher.ledger.flush(50)
        os._exit(0)
    children.append(pid)
    dispatcher.send(ASK)
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
for _ in range(5): dispatcher.send(ASK)
"""


LENT = """
from sqlalchemy import create_engine
from llmdispatcher import Ledger
engine = create_engine(sys.argv[2])
dispatcher = Dispatcher(ledger=Ledger(engine=engine))
dispatcher.register_vendor(FakeVendor(answer, name="v"))
"""


@IN_BOTH
def test_forks_with_an_engine_that_was_handed_in(store):
    """A child leaves its parent's connections alone, which are the application's, and opens its own."""
    url = store.replace("postgresql:", "postgresql+psycopg:") if "://" in store else f"sqlite:///{store}"
    over(run(f"{LENT}{FORKS}\ndispatcher.ledger.close()\nengine.dispose()", store, url))

    assert (32, 32, 32) == count(store)


BUSY = """
def work():
    for _ in range(100): dispatcher.send(ASK)
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads: thread.start()
children = []
for _ in range(3):
    pid = os.fork()
    if not pid:
        dispatcher.send(ASK)
        dispatcher.ledger.close()
        os._exit(0)
    children.append(pid)
    time.sleep(0.02)
for thread in threads: thread.join()
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
"""


@IN_BOTH
def test_forks(store):
    """Children write their own rows and none of their parent's, whatever the writer is doing at that moment; the parent goes on."""
    over(run(FORKS + BUSY, store))
    with Ledger(store) as ledger:
        assert ledger.flush()  # what a child may have had to spool

    assert (235, 235, 235) == count(store)


def test_a_ledger_that_is_dropped_writes_what_is_left(store):
    """Without a close its thread ends with its last row."""
    ledger = Ledger(store)
    dispatcher = made(ledger)
    dispatcher.send(ASK)
    thread = ledger._writer._thread
    assert thread is not None
    del ledger, dispatcher
    while thread.is_alive():  # what it was told refers to itself
        gc.collect()
        thread.join(0.05)

    assert (1, 1, 1) == count(store)


def test_a_closed_ledger_opens_again(store):
    """A call that ends late is written, too."""
    ledger = Ledger(store)
    dispatcher = made(ledger)
    for _ in range(3):
        dispatcher.send(ASK)
        ledger.close()

    assert (3, 3, 3) == count(store)


def test_closing_does_not_wait_for_a_database_that_is_away(tmp_path: Path):
    """It is bounded, and what could not be written waits on disk for the next process."""
    place = tmp_path / "ledger.db"
    open_ledger(place).close()
    ledger = Ledger(place, timeout=50)
    dispatcher = made(ledger)
    with open_ledger(place) as other, other.transaction():
        dispatcher.send(ASK)
        begun = time.monotonic()
        ledger.close(0.3)
        assert time.monotonic() - begun < 15
    with Ledger(place) as ledger:
        assert ledger.flush()

    assert (1, 1, 1) == count(str(place))


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
@IN_BOTH
def test_a_child_has_no_descriptor_of_its_parents_database(store):
    """Neither a line to the server nor a file of SQLite passes a fork; in the parent it was there."""
    before = descriptors()
    with Ledger(store) as ledger:
        made(ledger).send(ASK)
        assert ledger.flush()
        opened = descriptors() - before  # other threads of this process may open others meanwhile
        assert opened
        pid = os.fork()
        if not pid:
            os._exit(bool(descriptors() & opened))
        assert 0 == os.waitpid(pid, 0)[1]
