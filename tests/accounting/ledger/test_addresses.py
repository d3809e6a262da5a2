"""Where a ledger is: every form of address that libpq takes, schemas, and an application's own engine."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine, event, inspect, text
from sqlalchemy.pool import StaticPool

from llmdispatcher import ConfigError, Dispatcher, Ledger, OpenAIVendor, Request, open_ledger
from llmdispatcher.accounting.ledger.address import address
from llmdispatcher.accounting.ledger.schema import VERSION_TABLE, metadata
from llmdispatcher.testing import FakeVendor
from tests.cases import each
from tests.loopback_redis import quiet_port

TABLES = {VERSION_TABLE, *metadata.tables}
DB = {"host": "one", "dbname": "db"}
APP = {"user": "app", "dbname": "db"}
READ = {
    "a socket, as Cloud SQL has it": ("postgresql:///db?host=/cloudsql/p:r:i&user=app", {**APP, "host": "/cloudsql/p:r:i"}),
    "a socket as a host": ("postgres://app@%2Fvar%2Frun:6432/db", {**APP, "host": "/var/run", "port": "6432"}),
    "several hosts": (
        "postgresql://app:p%40w@one:1,two,[::1]:3/db?target_session_attrs=read-write",
        {**APP, "host": "one,two,::1", "port": "1,,3", "password": "p@w", "target_session_attrs": "read-write"},
    ),
    "several hosts behind the ?": ("postgresql://app@/db?host=one:1&host=two:2", {**APP, "host": "one,two", "port": "1,2"}),
    "all behind the ?": (
        "postgresql://?host=one&port=5&dbname=db&user=app&password=x",
        {**DB, "port": "5", "user": "app", "password": "x"},
    ),
    "capitals": ("PostgreSQL+psycopg://one/db", DB),
    "options that only a start can take": (
        "postgresql://one/db?options=-c%20a.b=1%20endpoint%3Dx",
        {**DB, "options": "endpoint=x"},
    ),
}


@each("url, expected", READ)
def test_what_an_address_means(url, expected):
    """It means what it means to libpq."""
    assert expected == address(url).server


OPTIONS = {
    "-csearch_path%3Dllm": {"search_path": "llm"},
    "-c%20search_path=llm,public%20-c%20work_mem%3D1MB": {"search_path": "llm,public", "work_mem": "1MB"},
    "-c+search_path%3D%22My%5C%20Own%22": {"search_path": '"My Own"'},
    "--statement-timeout=7000": {"statement_timeout": "7000"},
}


@each("options, expected", OPTIONS.items())
def test_what_options_set(options, expected):
    """They are said in each transaction; none is left for the start of a connection, which a pooler would refuse."""
    found = address(f"postgresql://one/db?options={options}")

    assert (expected, None) == (found.settings, found.server.get("options"))


def test_two_databases_have_two_spools():
    """What tells them apart may stand behind the ?, and a schema is a ledger of its own; the password tells nothing."""
    urls = [
        "postgresql:///db?host=/a",
        "postgresql:///db?host=/b",
        "postgresql://a/db",
        "postgresql://u:x@a/db",
        "postgresql://u:y@a/db",
    ]
    places = [address(url).spool for url in urls]
    schemas = [address(urls[2], name).spool for name in ("one", "two")]

    assert places[-1] == places[-2]
    assert 6 == len({*places, *schemas})


@pytest.fixture
def folder_of_a_socket(postgres) -> Iterator[Path]:
    """A folder with colons in its name, as Cloud SQL's has, and the server's socket in it."""
    folder = Path("/tmp") / f"lld:{postgres.port}:i"  # a socket's path may have 107 bytes
    folder.mkdir()
    (folder / ".s.PGSQL.5432").symlink_to(postgres.socket)
    yield folder
    shutil.rmtree(folder)


def test_a_socket(folder_of_a_socket, postgres):
    """A folder with a server's socket is a host."""
    name = postgres.database().rpartition("/")[2]
    with open_ledger(f"postgresql:///{name}?host={folder_of_a_socket}&user=tester") as ledger:
        ledger.record("openai", "gpt-4o", id="kept")

        assert ["gpt-4o"] == [call.model for call in ledger.list_recent_calls()]


def test_several_hosts(postgres):
    """The first that answers is used."""
    url = postgres.database()
    with open_ledger(url.replace("@", f"@127.0.0.1:{quiet_port()},")) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=1)

        assert 1 == len(ledger.list_recent_calls())


def tables(url: str, schema: str) -> set[str]:
    """The names of a schema's tables."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", [schema])}


@pytest.mark.parametrize("way", ["schema=", "options"])
def test_a_schema(postgres, way):
    """All tables are in the schema that is named, and the calls are found there."""
    psycopg = pytest.importorskip("psycopg")
    url = postgres.database()
    if way == "options":
        with psycopg.connect(url) as connection:
            connection.execute('CREATE SCHEMA "Llm"')
    given = {"schema": "Llm"} if way == "schema=" else {}
    with open_ledger(url + ("" if given else "?options=-csearch_path%3D%22Llm%22"), **given) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=1)
        count = len(ledger.list_recent_calls())

    assert (TABLES, set(), 1) == (tables(url, "Llm"), tables(url, "public"), count)


def test_a_second_ledger_in_a_database_is_told(postgres, caplog):
    """Up to 0.1.0 the options of an address had no effect: whoever misses calls is to know where they are."""
    psycopg = pytest.importorskip("psycopg")
    url = postgres.database()
    open_ledger(url).close()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA llm")
    open_ledger(f"{url}?options=-csearch_path%3Dllm").close()

    assert ["a new ledger is made; its database has another in the schema public"] == [each.message for each in caplog.records]


def test_a_schema_is_for_postgresql(tmp_path):
    """SQLite has none; and a name is a text."""
    with pytest.raises(ConfigError, match="schema: 'llm' is for PostgreSQL"):
        Ledger(tmp_path / "l.db", schema="llm")
    with pytest.raises(ConfigError, match="schema: '' is no name"):
        Ledger("postgresql://one/db", schema="")


def test_tables_of_an_application_are_not_in_the_way(new_store):
    """Not even those that are called as ours are without their prefix, nor their indexes."""
    engine = create_engine(
        new_store.replace("postgresql:", "postgresql+psycopg:") if "://" in new_store else f"sqlite:///{new_store}"
    )
    with engine.begin() as connection:
        for name in ("calls", "attempts", "daily", "budgets"):
            connection.execute(text(f"CREATE TABLE {name} (id INTEGER CONSTRAINT pk_{name} PRIMARY KEY, caller TEXT)"))
            connection.execute(text(f"CREATE INDEX ix_{name}_begun_at ON {name} (caller)"))
        connection.execute(text("INSERT INTO calls VALUES (1, 'mine')"))
    with open_ledger(new_store) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=1)
        others, count = ledger.foreign_tables(), len(ledger.list_recent_calls())
    with engine.connect() as connection:
        mine = connection.scalar(text("SELECT caller FROM calls"))
    engine.dispose()

    assert (["attempts", "budgets", "calls", "daily"], 1, "mine") == (others, count, mine)


def test_an_applications_file_is_never_put_aside(tmp_path):
    """Nor is it marked as a ledger's: it holds more than calls."""
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE orders (id INTEGER)")
    open_ledger(path).close()
    with path.open("r+b") as file:
        assert b"\0\0\0\0" == file.read(72)[68:]
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    before = path.read_bytes()
    with Ledger(path, timeout=0.3) as ledger:
        dispatcher = Dispatcher(ledger=ledger)  # not closed, which waits longer for its rows
        dispatcher.register_vendor(FakeVendor("x", name="v"))
        dispatcher.send(Request("m", "hi"))
        assert not ledger.flush(0.1)

    assert before == path.read_bytes()
    assert [] == list(tmp_path.glob("*.broken*"))


@pytest.fixture
def engine(new_store):
    """An application's engine."""
    made = create_engine(
        new_store.replace("postgresql:", "postgresql+psycopg:") if "://" in new_store else f"sqlite:///{new_store}"
    )
    yield made
    made.dispose()


@pytest.mark.parametrize("begins", [False, True], ids=["plain", "that begins by itself"])
def test_an_engine_that_was_handed_in(engine, begins, vendor_simulator):
    """Calls, budgets and queries go over it; what the application listens to and sets stays its own, and it is never closed."""
    if begins and engine.dialect.name == "sqlite":  # as SQLAlchemy's documentation has it
        event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    pool = engine.pool
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER)"))
    config = {"budgets": [{"limit": "5", "name": "b"}]}
    for _ in range(2):
        with open_ledger(engine=engine) as ledger, Dispatcher(config, ledger=ledger) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=vendor_simulator.openai_url, trust_env=False))
            dispatcher.send(Request("gpt-4o", "hi", max_tokens=10))
            assert ledger.flush(60)
            count = len(ledger.list_recent_calls())
            (status,) = dispatcher.get_budgets()

    assert 2 == count
    assert (True, 0) == (status.spent > 0, status.reserved)
    assert (pool, 0) == (engine.pool, engine.pool.checkedout())
    with engine.connect() as connection:
        assert TABLES | {"orders"} == set(inspect(connection).get_table_names())
        if engine.dialect.name == "postgresql":
            assert "0" == connection.scalar(text("SHOW lock_timeout"))


def test_an_engine_and_a_schema(postgres):
    """The schema is the ledger's; the application goes on in its own."""
    pytest.importorskip("psycopg")
    url = postgres.database()
    own = {"isolation_level": "AUTOCOMMIT", "schema_translate_map": {None: "tenant"}}
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"), execution_options=own)
    with open_ledger(engine=engine, schema="llm") as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=1)
        count = len(ledger.list_recent_calls())
    engine.dispose()

    assert (TABLES, set(), 1) == (tables(url, "llm"), tables(url, "public"), count)


class _Coroutines:
    class dialect:
        name, driver, is_async = "postgresql", "asyncpg", True

    pool = None


def test_engines_that_cannot_be_used(tmp_path):
    """Without anything to know the database by, of coroutines, in memory, of another kind of database, and what is none."""
    memory = create_engine("sqlite://", poolclass=StaticPool)
    for engine, message in (
        (_Coroutines(), "driver for asyncio"),
        (memory, "database in memory"),
        ("postgresql://one/db", "is no Engine"),
    ):
        with pytest.raises(ConfigError, match=message):
            Ledger(engine=engine)
    with pytest.raises(ConfigError, match="give spool="):
        Ledger(engine=create_engine("postgresql+psycopg://", creator=lambda: None))
    for given in ({}, {"place": tmp_path / "l.db", "engine": memory}):
        with pytest.raises(ConfigError, match="give one place"):
            Ledger(**given)


@each("name", ["a?b.db", "a#b.db", "a%20b.db", "ü b.db"])
def test_a_path_is_taken_as_it_is(tmp_path, name):
    """Nothing in it is part of an address."""
    with open_ledger(tmp_path / name) as ledger:
        ledger.record("openai", "gpt-4o", input_tokens=1)
        assert 1 == len(ledger.list_recent_calls())

    assert (tmp_path / name).is_file()
