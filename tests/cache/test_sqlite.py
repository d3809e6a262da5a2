"""Entries in a file that processes share."""

import logging
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from llmdispatcher.cache import sqlite
from llmdispatcher.cache.sqlite import SqliteStore

from .conftest import ANSWER, PATIENCE, REQUEST, Vendor, cache, cache_request, counts, in_threads


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "answers.db")


@pytest.fixture
def store(path, clock):
    made = SqliteStore(path, 100, 0.25, clock)
    yield made
    made.close()


def in_child(work):
    """The exit status of a forked child: 0 when ``work`` came through."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_an_entry_is_kept(store):
    """Until it is replaced."""
    store.put("k", b"one", 60)
    store.put("k", b"two", 60)

    assert (b"two", None) == (store.get("k"), store.get("other"))


def test_time_to_live(store, clock):
    """By the wall clock, since other processes read it."""
    store.put("k", b"v", 10)
    clock.advance(9.9)
    before = store.get("k")
    clock.advance(0.1)

    assert (b"v", None) == (before, store.get("k"))


def test_nothing_is_opened_before_the_first_use(path, clock):
    """Nor made."""
    SqliteStore(path, 100, 0.25, clock)

    assert not Path(path).exists()


def test_only_the_owner_may_read(store, path):
    """The file, and what SQLite puts beside it."""
    store.put("k", b"v", 60)

    assert {0o600} == {stat.S_IMODE(Path(path + tail).stat().st_mode) for tail in ("", "-wal", "-shm")}


def test_rights_that_somebody_gave_stay(path, clock):
    """A file that is there already is its owner's business."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o640))
    made = SqliteStore(path, 100, 0.25, clock)
    made.put("k", b"v", 60)
    made.close()

    assert 0o640 == stat.S_IMODE(Path(path).stat().st_mode)


def test_what_expires_first_goes(path, clock):
    """When there are more than there may be; what has expired is not counted as put out."""
    store = SqliteStore(path, 2, 0.25, clock)
    store.put("old", b"v", 1)
    clock.advance(2)
    evicted = [store.put(key, b"v", ttl) for key, ttl in (("a", 60), ("b", 30), ("c", 90))]
    left = [store.get(key) is not None for key in "abc"]
    store.close()

    assert ([0, 0, 1], [True, False, True]) == (evicted, left)


def test_many_entries_are_bounded(path, clock):
    """A large store is swept every so often, and holds no more than a thousandth too many."""
    store = SqliteStore(path, 2000, 0.25, clock)
    for number in range(2010):
        store.put(str(number), b"v", 60 + number)
    with sqlite3.connect(path) as connection:
        count = connection.execute("SELECT count(*) FROM llmdispatcher_answers").fetchone()[0]
    connection.close()
    store.close()

    assert 2000 <= count <= 2002


def test_clearing(store):
    """Nothing is left."""
    store.put("k", b"v", 60)
    store.clear()

    assert store.get("k") is None


def test_closing(store):
    """What is closed is opened again when it is needed."""
    store.put("k", b"v", 60)
    store.close()
    idle = list(store._idle)

    assert ([], b"v") == (idle, store.get("k"))


def test_answers_survive_the_process(path, clock):
    """A second cache, as in another process, finds what the first has kept."""
    first, second = (cache(clock, store=path) for _ in range(2))
    first.send(cache_request(), Vendor())
    hit = second.send(cache_request(), Vendor())
    first.close()
    second.close()

    assert (True, "Rayleigh.") == (hit.cached, hit.content)


def test_races_in_a_file(path):
    """32 threads on a new file: no error, every answer is to its question, and few connections stay open."""
    made = cache(store=path, store_timeout=PATIENCE)

    def work(number):
        for step in range(10):
            seed = (number + step) % 16
            request, answer = attrs.evolve(REQUEST, seed=seed), attrs.evolve(ANSWER, content=str(seed))
            assert str(seed) == made.send(cache_request(request), lambda answer=answer: answer).content
        return "done"

    results = in_threads(32, work)
    idle = len(made._store._store._idle)
    made.close()

    assert ["done"] * 32 == results
    assert "errors" not in counts(made)
    assert idle <= sqlite.MOST_IDLE


def test_a_folder_that_is_missing_is_told_with_the_path(path, clock, caplog):
    """And what to do about it."""
    nowhere = str(Path(path).parent / "nowhere" / "cache.db")
    with caplog.at_level(logging.WARNING):
        cache(clock, store=nowhere).send(cache_request(), Vendor())

    said = caplog.records[0].getMessage()
    assert " )" not in said
    assert f"calls go on without; see that {nowhere} is a cache in a folder that is there and can be written" in said


def test_processes_share_a_file(path):
    """Four at once, each with answers of its own and of the others."""
    script = """
import sys
from llmdispatcher.cache.sqlite import SqliteStore
from llmdispatcher.runtime import SYSTEM_CLOCK
store = SqliteStore(sys.argv[1], 1000, 30.0, SYSTEM_CLOCK)
for number in range(200):
    store.put(str(number), str(number).encode() * 100, 60)
    assert store.get(str(number)) == str(number).encode() * 100
store.close()
"""
    running = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(4)]

    assert [0, 0, 0, 0] == [process.wait(60) for process in running]


def test_a_file_that_is_no_database_is_left_alone(path, clock, caplog):
    """It is told once, the file stays as it is, and calls go on without a cache."""
    letters = b"somebody's letters" * 1000
    Path(path).write_bytes(letters)
    made, vendor = cache(clock, store=path), Vendor()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            made.send(cache_request(), vendor)
            clock.advance(100)

    assert (3, {"errors": 1, "misses": 3}) == (vendor.asked, counts(made))
    assert ["its store, for good, fails (StoreBroken SQLITE_NOTADB)"] == [
        record.getMessage().removeprefix("the response cache: ").partition(";")[0] for record in caplog.records
    ]
    assert letters == Path(path).read_bytes()


def test_a_ruined_database_is_given_up(path, clock):
    """As one whose pages somebody wrote over."""
    made, vendor = cache(clock, store=path), Vendor()
    for seed in range(20):
        made.send(cache_request(attrs.evolve(REQUEST, seed=seed)), vendor)
    made.close()
    Path(path).write_bytes(Path(path).read_bytes()[:100].ljust(50_000, b"\xff"))
    again = cache(clock, store=path)
    answers = [again.send(cache_request(attrs.evolve(REQUEST, seed=seed)), vendor).content for seed in range(20)]

    assert (["Rayleigh."] * 20, True) == (answers, again._store._off)


@pytest.mark.parametrize("where", ["missing/answers.db", "."])
def test_a_path_that_cannot_be_opened_costs_no_call(tmp_path, clock, where):
    """A folder that is not there, or one in place of a file."""
    made, vendor = cache(clock, store=str(tmp_path / where)), Vendor()
    made.send(cache_request(), vendor)

    assert (1, False) == (vendor.asked, made.clear())


def test_a_locked_file_holds_up_no_call_for_long(path):
    """Another process writes: the answer is not kept, the call goes on within the store's time."""
    made, vendor = cache(store=path, store_timeout=0.05), Vendor()
    made.send(cache_request(), vendor)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    answer = made.send(cache_request(attrs.evolve(REQUEST, seed=1)), vendor)
    known = made.send(cache_request(), vendor).cached
    other.close()
    made.close()

    assert ("Rayleigh.", True, 1) == (answer.content, known, counts(made)["errors"])


def test_a_connection_that_failed_is_not_used_again(store, path):
    """It may be in the middle of something."""
    store.put("k", b"v", 60)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("DROP TABLE llmdispatcher_answers")
    other.close()
    with pytest.raises(sqlite3.OperationalError):
        store.get("k")
    idle = list(store._idle)

    assert ([], None) == (idle, store.get("k"))


def test_a_child_uses_the_file_and_leaves_its_parents_connections(store):
    """Both go on after a fork, each with connections of its own, and see what the other puts."""
    store.put("before", b"v", 60)

    def work():
        assert [] == store._idle
        assert store.get("before") == b"v"
        store.put("child", b"v", 60)

    assert 0 == in_child(work)
    assert [b"v", b"v"] == [store.get("before"), store.get("child")]


def test_many_children_while_threads_are_at_work(path):
    """Forks amid reads and writes: every child works or leaves the file alone, and the file stays whole.

    In a process of its own, since a measure of coverage holds a lock of its own at a fork.
    """
    script = """
import os, sys, threading
from llmdispatcher.cache import sqlite
from llmdispatcher.runtime import SYSTEM_CLOCK
sqlite.PATIENCE = 30.0  # on a busy machine a query is long; a child that comes amid one leaves the file alone
store, ended = sqlite.SqliteStore(sys.argv[1], 1000, 30.0, SYSTEM_CLOCK), threading.Event()

def churn(number):
    while not ended.is_set():
        store.put(str(number), b"v" * 100, 60)
        store.get(str(number))

def child():
    pid = os.fork()
    if pid == 0:
        for number in range(20):
            store.put(f"child-{number}", b"v", 60)
            assert store.get(f"child-{number}") == b"v"
        store.close()
        os._exit(7)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

threads = [threading.Thread(target=churn, args=(number,), daemon=True) for number in range(4)]
for thread in threads:
    thread.start()
while store._puts < 20:
    threads[0].join(0.01)
codes = [child() for _ in range(12)]
ended.set()
for thread in threads:
    thread.join()
store.close()
print(set(codes))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, path]  # Python 3.12 and later warn of the fork
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    connection = sqlite3.connect(path)
    sound = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()

    assert ("{7}\n", "", ("ok",)) == (done.stdout, done.stderr, sound)


def test_a_fork_amid_a_query_leaves_the_file_to_the_parent(store, monkeypatch):
    """A query that does not end in time: the child has no store, the parent goes on."""
    monkeypatch.setattr(sqlite, "PATIENCE", 0.01)
    store.put("k", b"v", 60)

    def work():
        with pytest.raises(sqlite.StoreBroken, match="open at the fork"):
            store.get("k")

    with store._borrow():
        code = in_child(work)

    assert (0, b"v") == (code, store.get("k"))


def test_a_fork_that_python_is_not_told_of(store):
    """A server written in C forks: the inherited connection is neither used nor closed, and the file left alone."""
    store.put("k", b"v", 60)
    inherited = store._idle[0]
    store._pid = -1  # as if the connections were another process's
    with pytest.raises(sqlite.StoreBroken):
        store.get("k")

    assert inherited is sqlite._inherited.pop()
    assert [] == store._idle
    inherited.close()


def test_during_a_fork_there_is_no_entry(store):
    """Who comes while one is on its way does without, and does not wait."""
    store.put("k", b"v", 60)
    store.before_fork()
    amid = (store.get("k"), store.put("l", b"v", 60), store.clear())
    store.after_fork()

    assert ((None, 0, None), b"v") == (amid, store.get("k"))


def test_a_store_that_is_forgotten_closes_its_connections(path, clock):
    """Without a word from Python about one left open."""
    made = SqliteStore(path, 10, 0.25, clock)
    made.put("k", b"v", 60)
    connection = made._idle[0]
    del made

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
