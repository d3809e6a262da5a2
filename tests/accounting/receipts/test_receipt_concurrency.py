"""Many that sign at once, threads and processes, on SQLite and PostgreSQL: one chain, no fork, no call certified twice."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import pytest

from llmdispatcher import InvalidRequest, verify_receipts

from ..conftest import IN_BOTH
from .conftest import settle

THREADS, PROCESSES, EACH = 4, 2, 2

PROGRAM = f"""
import sys, threading
from llmdispatcher import InvalidRequest, Receipts, SigningKey, open_ledger

place, wish, ids = sys.argv[1], sys.argv[2], sys.argv[3:]
ledger = open_ledger(place, timeout=40.0)
book = Receipts(ledger, SigningKey(bytes(range(32))))
barrier = threading.Barrier({THREADS})
failures = []

def sign(mine):
    barrier.wait()
    for call_id in mine:
        try:
            book.create(call_id if wish == "single" else [call_id]) if wish != "rest" else book.create()
        except InvalidRequest:
            if wish != "rest":
                failures.append(call_id)
        except BaseException as error:
            failures.append(repr(error))

threads = [threading.Thread(target=sign, args=(ids[number::{THREADS}],)) for number in range({THREADS})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
ledger.close()
print(failures)
"""


def run_processes(store, wish, shares):
    """Let each process sign its share with all its threads; what they say."""
    command = [sys.executable, "-c", PROGRAM, store, wish]
    processes = [subprocess.Popen([*command, *ids], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for ids in shares]
    return [process.communicate(timeout=100)[0].strip() for process in processes]


@pytest.mark.timeout(150)
@pytest.mark.parametrize(("wish", "store"), [("single", "postgresql"), ("batch", "sqlite")], indirect=["store"])
def test_threads_and_processes_make_one_chain(store, ledger, book, wish):
    """Four threads in each of two processes sign their calls: every call once, numbers without a gap, all hashes in line."""
    ids = settle(ledger, *range(THREADS * PROCESSES * EACH))
    said = run_processes(store, wish, [ids[number::PROCESSES] for number in range(PROCESSES)])
    chain = book.list(limit=1000)[::-1]

    assert ["[]"] * PROCESSES == said
    assert list(range(1, len(ids) + 1)) == [receipt.sequence for receipt in chain]
    assert Counter(ids) == Counter(call_id for receipt in chain for call_id in book.certified_calls(receipt.id))
    assert verify_receipts(chain, book.public_keys())
    assert book.verify()


@pytest.mark.timeout(150)
@IN_BOTH
def test_the_rest_is_certified_once(store, ledger, book):
    """All ask at once for a receipt of all calls that have none: however they fall, each call is in one."""
    ids = settle(ledger, *range(40))
    said = run_processes(store, "rest", [ids[:THREADS]] * PROCESSES)
    receipts = book.list()

    assert ["[]"] * PROCESSES == said
    assert len(ids) == sum(receipt.summary.total_calls for receipt in receipts)
    assert Counter(ids) == Counter(call_id for receipt in receipts for call_id in book.certified_calls(receipt.id))
    assert book.verify()


@IN_BOTH
def test_one_call_wanted_by_many(ledger, book):
    """One of them signs, the others are told that it has a receipt."""
    (call_id,) = settle(ledger, 1)
    barrier = Barrier(THREADS)

    def sign(_):
        barrier.wait()
        try:
            return book.create(call_id).sequence
        except InvalidRequest as error:
            return str(error)

    with ThreadPoolExecutor(THREADS) as threads:
        told = Counter(threads.map(sign, range(THREADS)))

    assert {1: 1, f"calls: {call_id} has a receipt, sequence 1; leave it out": THREADS - 1} == told


@IN_BOTH
def test_calls_go_on_while_receipts_are_signed(ledger, book):
    """A receipt stands for what was settled when it was made; what comes meanwhile is left for the next."""
    settle(ledger, *range(50))
    writer = Thread(target=lambda: [settle(ledger, number) for number in range(50, 90)])
    writer.start()
    while writer.is_alive():
        if book.uncertified_calls(limit=1):
            book.create()
    writer.join()
    if book.uncertified_calls(limit=1):
        book.create()

    assert 90 == sum(receipt.summary.total_calls for receipt in book.list(limit=1000))
    assert book.verify()
