"""Entries in a PostgreSQL database: a real server, also behind PgBouncer, and an application's engine."""

import contextlib
import json
import logging
import os
import threading
import time

import attrs
import pytest

from llmdispatcher import Config, ConfigError, Dispatcher, Request, ResponseCache, open_ledger
from llmdispatcher.cache import inspect_store
from llmdispatcher.cache import postgres as stored
from llmdispatcher.cache.postgres import PostgresStore, StoreResting
from llmdispatcher.cli.main import main
from llmdispatcher.testing import FakeVendor
from tests.cases import each

from .conftest import ANSWER, PATIENCE, REQUEST, Vendor, cache, cache_request, counts, in_threads, until

psycopg = pytest.importorskip("psycopg", reason="the extra 'postgres' is not installed")
sqlalchemy = pytest.importorskip("sqlalchemy", reason="the extra 'postgres' is not installed")
COUNT = "SELECT count(*) FROM llmdispatcher_answers"


@pytest.fixture(scope="session")
def database(postgres):
    """One for the tests that empty the table first."""
    return postgres.database()


@pytest.fixture
def url(database):
    with contextlib.suppress(psycopg.errors.UndefinedTable):
        run(database, "DELETE FROM llmdispatcher_answers")
    return database


@pytest.fixture
def opened(clock):
    """Stores that are closed when the test is over."""
    made = []

    def make(url=None, **settings):
        place = {} if url is None else {"store": url}
        store = PostgresStore(ResponseCache(**{"store_timeout": PATIENCE, **place, **settings}), clock)
        made.append(store)
        return store

    yield make
    for store in made:
        store.close()


def run(url, sql, *values):
    """The rows of a statement, if it gives any."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


def test_an_entry_is_kept_for_its_time(url, opened):
    """Bytes as they are, for all processes; the server's clock counts."""
    first, second = opened(url), opened(url)
    first.put("k", b"\x00\xff", 60)
    first.put("k", b"\x00\xfe", 60.5)
    first.put("short", b"v", 60)
    left = run(url, "SELECT expires - extract(epoch FROM now()) FROM llmdispatcher_answers WHERE key = 'k'")[0][0]
    run(url, "UPDATE llmdispatcher_answers SET expires = expires - 60 WHERE key = 'short'")

    assert (b"\x00\xfe", None, None) == (second.get("k"), second.get("short"), second.get("other"))
    assert 0 < left <= 60.5


def test_surplus_and_expired_entries_go(url, opened):
    """The one that expires first; what has expired is not counted as evicted."""
    store = opened(url, max_entries=3)
    evicted = [store.put(str(number), b"v", 100 + number) for number in range(3)]
    run(url, "UPDATE llmdispatcher_answers SET expires = 0 WHERE key = '1'")
    evicted += [store.put(str(number), b"v", 100 + number) for number in (4, 5)]
    keys = [key for (key,) in run(url, "SELECT key FROM llmdispatcher_answers ORDER BY key")]

    assert ([0, 0, 0, 0, 1], ["2", "4", "5"]) == (evicted, keys)


def test_clearing_deletes_all(url, opened):
    """For all processes, and nothing of others."""
    first, second = opened(url), opened(url)
    first.put("k", b"v", 60)
    run(url, "CREATE TABLE IF NOT EXISTS answers (key text)")
    run(url, "INSERT INTO answers VALUES ('theirs')")
    second.clear()
    theirs = run(url, "SELECT key FROM answers")
    run(url, "DROP TABLE answers")

    assert (None, [("theirs",)]) == (first.get("k"), theirs)


def test_answers_are_shared(url):
    """By a dispatcher whose cache is named by the address alone, or is one of an engine; the command line counts them."""
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    vendor, hits = FakeVendor("Blue.", name="openai"), []
    for settings in (url, {"store": url, "store_timeout": PATIENCE}, ResponseCache(engine=engine, store_timeout=PATIENCE)):
        with Dispatcher(Config(cache=settings)) as made:
            made.register_vendor(vendor)
            until(lambda made=made: made.send(Request("m", "Name a colour.")).cached)
            hits.append(made.cache.stats().errors <= 1)  # the first may have taken too long on a busy machine
    found = inspect_store(ResponseCache(store=url))
    idle = engine.pool.checkedout()
    engine.dispose()

    assert ([True] * 3, (1, 0), 0) == (hits, (found.entries, found.expired), idle)


def test_a_schema_is_made_and_kept_apart(postgres, opened):
    """Beside a ledger and an application's tables, whose owner may use names that need quotes."""
    url = postgres.database(tables=True)
    names = ["llm", 'My "answers" 100%', "it's"]
    stores = [opened(url), *[opened(url, schema=name) for name in names], opened(url, schema="llm")]
    for number, store in enumerate(stores):
        store.put("k", b"%d" % number, 60)
    told = [store.get("k") for store in stores]
    stores[1].clear()
    tables = run(url, "SELECT schemaname FROM pg_tables WHERE tablename = %s", stored.TABLE)
    with open_ledger(url) as ledger:
        foreign = ledger.foreign_tables()

    assert [b"0", b"4", b"2", b"3", b"4"] == told
    assert ([b"0", None, b"2", b"3", None]) == [store.get("k") for store in stores]
    assert {"public", *names} == {schema for (schema,) in tables}
    assert [] == foreign


def test_many_make_the_table_at_once(postgres, opened):
    """Of 16 threads with stores of their own none fails."""
    url = postgres.database()
    stores = [opened(url, schema="llm") for _ in range(8)]
    results = in_threads(16, lambda number: stores[number % 8].put(str(number), b"v", 60))

    assert ([0] * 16, 16) == (results, run(url, "SELECT count(*) FROM llm.llmdispatcher_answers")[0][0])


def test_behind_a_pooler_of_transactions(pgbouncer, opened):
    """With settings in the address, which each transaction makes, and more threads than the pooler has connections."""
    url = pgbouncer.database()
    run(url, "CREATE SCHEMA other")
    store = opened(f"{url}?options=-c%20search_path%3Dother", max_entries=5)
    plain = opened(url)

    def work(number):
        for step in range(5):
            store.put(f"{number}.{step}", b"%d" % number, 60 + step)
            assert store.get(f"{number}.{step}") in (b"%d" % number, None)  # it may have been the first to expire
        return plain.get("0.0")

    results = in_threads(12, work)

    assert [None] * 12 == results
    assert [("other",), ("public",)] == sorted(
        run(url, "SELECT schemaname FROM pg_tables WHERE tablename = 'llmdispatcher_answers'")
    )
    assert 1 <= run(url, "SELECT count(*) FROM other.llmdispatcher_answers")[0][0] <= 5


def test_races_in_a_database(url):
    """24 threads: every answer is to its question."""
    made = cache(store=url, store_timeout=PATIENCE)

    def work(number):
        for step in range(6):
            seed = (number + step) % 12
            request, answer = attrs.evolve(REQUEST, seed=seed), attrs.evolve(ANSWER, content=str(seed))
            assert str(seed) == made.send(cache_request(request), lambda answer=answer: answer).content
        return "done"

    results = in_threads(24, work)
    made.close()

    assert (["done"] * 24, False) == (results, "errors" in counts(made))


def test_the_command_line_counts_and_empties_it(postgres, opened, capsys):
    """Of one schema; where there is no table it says so, and makes none."""
    url = postgres.database()
    opened(url, schema="llm").put("k", b"1234", 60)
    codes = [main(["cache", word, url, "--schema", "llm", *more]) for word, *more in (["info", "--json"], ["clear", "--yes"])]
    out = capsys.readouterr().out
    missing = main(["cache", "info", url.replace("tester@", "tester:geheim@")])
    err = capsys.readouterr().err

    assert ([0, 0], 2) == (codes, missing)
    assert (1, 4, url) == tuple(json.loads(out)[name] for name in ("entries", "size", "store"))
    assert [(0,)] == run(url, "SELECT count(*) FROM llm.llmdispatcher_answers")
    assert "or holds no answers yet (UndefinedTable)" in err
    assert "geheim" not in err


def test_who_may_not_make_tables_uses_one_that_is_there(postgres, opened):
    """And is told what is wrong where there is none; no call fails."""
    url = postgres.database()
    opened(url).put("k", b"v", 60)
    run(url, "DROP ROLE IF EXISTS clerk")
    run(url, "CREATE ROLE clerk LOGIN")
    run(url, "GRANT SELECT, INSERT, UPDATE, DELETE ON llmdispatcher_answers TO clerk")
    theirs = url.replace("tester@", "clerk@")
    found = opened(theirs).get("k")
    refused = cache(store=theirs, schema="llm", store_timeout=PATIENCE)
    answer = refused.send(cache_request(), Vendor()).content
    run(url, "REVOKE ALL ON llmdispatcher_answers FROM clerk")
    run(url, "DROP ROLE clerk")

    assert (b"v", "Rayleigh.") == (found, answer)
    assert counts(refused)["errors"]


def test_a_database_that_goes_and_comes_back(postgres, clock, caplog):
    """Down, it costs misses and is left alone for a while; up again, it is used, by old connections and an engine's too."""
    url = postgres.database()
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    vendor = Vendor()
    places = ({"store": url}, {"engine": engine})
    made = [cache(clock, store_timeout=PATIENCE, **place) for place in places]
    before = [one.send(cache_request(), vendor).cached for one in made]
    postgres.stop()
    try:
        with caplog.at_level(logging.WARNING):
            down = [one.send(cache_request(Request("m", "Down?")), vendor).cached for one in made]
    finally:
        postgres.start()
    clock.advance(stored.REST)
    up = [one.send(cache_request(), vendor).cached for one in made]
    for one in made:
        one.close()
    engine.dispose()

    assert ([False, True], [False, False], [True, True]) == (before, down, up)
    assert f"{url} can be reached" in caplog.text


def test_a_connection_that_the_server_closed_is_made_anew(url, opened):
    """As a pooler or an administrator does; that is no failure."""
    store = opened(url)
    store.put("k", b"v", 60)
    run(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'llmdispatcher cache' AND datname = current_database()",
    )

    assert b"v" == store.get("k")


def test_a_lock_and_a_server_that_says_nothing_hold_up_no_call(url, clock, silent):
    """Longer than the time-out, whatever the driver does meanwhile; then it is left alone."""
    PostgresStore(ResponseCache(store=url, store_timeout=PATIENCE), clock).put("k", b"v", 60)
    waiting = cache(clock, store=url, store_timeout=0.05)
    with psycopg.connect(url) as locking:
        locking.execute("LOCK TABLE llmdispatcher_answers IN ACCESS EXCLUSIVE MODE")
        mute = cache(clock, store=f"postgresql://127.0.0.1:{silent}/name?connect_timeout=600", store_timeout=0.05)
        begun = time.monotonic()
        answers = [one.send(cache_request(Request("m", "Held?")), Vendor()).content for one in (waiting, mute)]
        seconds = time.monotonic() - begun

    assert ["Rayleigh."] * 2 == answers
    assert seconds < PATIENCE / 2  # nothing else would end it
    assert all(counts(one)["errors"] for one in (waiting, mute))
    waiting.close()


def test_a_database_that_failed_rests(clock):
    """It is not even asked; the error that is told has no password."""
    store = PostgresStore(ResponseCache(store="postgresql://me:geheim@127.0.0.1:1/name", store_timeout=PATIENCE), clock)
    with pytest.raises(psycopg.OperationalError) as told:
        store.get("k")
    with pytest.raises(StoreResting):
        store.get("k")

    assert "geheim" not in repr(told.value)


def test_a_database_that_is_not_there_is_named_without_its_password(clock, caplog):
    """The log says where it was looked for, and so does what shows the settings."""
    made, vendor = cache(clock, store="postgresql://me:geheim@127.0.0.1:1/name", store_timeout=PATIENCE), Vendor()
    made.send(cache_request(), vendor)

    assert "see that postgresql://me@127.0.0.1:1/name can be reached" in caplog.text
    assert "geheim" not in caplog.text + repr(made.settings)


def test_a_forked_child_has_connections_of_its_own(url, clock):
    """The parent's are not spoken on, and work on; an engine's too."""
    engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    stores = [
        PostgresStore(ResponseCache(store_timeout=PATIENCE, **place), clock) for place in ({"store": url}, {"engine": engine})
    ]
    for store in stores:
        store.put("k", b"v", 60)
    child = os.fork()
    if child == 0:
        try:
            fine = all(store.get("k") == b"v" for store in stores) and len(stored._inherited) == 2
            stores[0].put("child", b"v", 60)
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [b"v"] * 4 == [store.get(key) for store in stores for key in ("k", "child")]
    stores[0].close()
    engine.dispose()


def askers():
    return {thread for thread in threading.enumerate() if thread.name == "llmdispatcher-timed"}


def test_no_more_threads_and_connections_than_it_may_have(url, opened):
    """However many calls there are, and however long the server takes."""
    store = opened(url)
    store.put("k", b"v", 60)
    before = askers()
    with psycopg.connect(url) as locking:
        locking.execute("LOCK TABLE llmdispatcher_answers IN ACCESS EXCLUSIVE MODE")
        threads = [threading.Thread(target=store.get, args=("k",)) for _ in range(20)]
        for thread in threads:
            thread.start()
        sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'llmdispatcher cache' AND wait_event_type = 'Lock'"
        until(lambda: run(url, sql)[0][0] == stored.MOST)
        asking = askers() - before
    for thread in threads:
        thread.join(PATIENCE)

    assert stored.MOST == len(asking)


@each(
    "settings, words",
    [
        ({"store": "postgresql://me:geheim@host:port/name"}, "store: the address's host cannot be read"),
        ({"store": "postgresql://me:ge/heim@host/name"}, "store: the address cannot be read"),
        ({"store": "mysql://me:geheim@host/name"}, "store: .*is no store; use 'memory'"),
        ({"engine": "postgresql://host"}, "engine: str is no Engine"),
        ({"engine": sqlalchemy.create_engine("sqlite://")}, "engine: 'sqlite' is no database for a cache"),
        ({"engine": sqlalchemy.create_engine("postgresql+psycopg://h/n"), "store": "a.db"}, "engine: another place is given"),
        ({"store": "postgresql://host/name", "schema": " "}, "schema: ' ' is no name"),
        ({"schema": "llm"}, "schema: it is for PostgreSQL"),
        ({"store": "postgresql://host/name", "prefix": "app:"}, "prefix: it stands before keys"),
    ],
)
def test_what_no_database_can_be_is_refused(settings, words):
    """By its field, and without the password."""
    with pytest.raises(ConfigError, match=words) as told:
        ResponseCache(**settings)

    assert "geheim" not in str(told.value)


def test_without_the_extra_it_is_a_mistake_of_the_configuration(monkeypatch, clock):
    """Told before the first call, with what to install."""
    monkeypatch.setattr(stored, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"install llmdispatcher\[postgres\]"):
        cache(clock, store="postgresql://127.0.0.1/name")
