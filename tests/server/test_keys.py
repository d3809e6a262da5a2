"""Keys: made once, shown once, kept as a hash, good until they expire or are revoked; in SQLite and in PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from llmdispatcher import ConfigError, VendorUnavailable
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.server import KeyStore
from llmdispatcher.testing import ManualClock

from ..cases import each


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """A file, and a server."""
    return str(tmp_path / "keys.db") if request.param == "sqlite" else request.getfixturevalue("postgres").database()


@pytest.fixture
def stores(place):
    """Makes stores of that place, and closes them."""
    made = []

    def make(**more):
        made.append(KeyStore(place, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_a_key_is_made_found_listed_and_revoked(stores):
    """And the key itself is nowhere in the database."""
    store = stores()
    made, secret = store.create("the batch team", models=["gpt-*"])

    assert secret.startswith("llmr_pk_")
    assert 72 == len(secret)
    assert made == store.find(secret) == stores().find(secret)
    assert [made] == store.all() == store.all("default")
    assert [] == store.all("somebody else")
    assert not store.revoke(made.id, "somebody else")
    assert store.revoke(made.id)
    assert not store.revoke(made.id)
    assert store.find(secret) is None
    assert ["revoked"] == [key.state(SYSTEM_CLOCK.now()) for key in store.all()]
    assert secret not in repr((store, made, store.all()))


def test_nothing_of_a_key_is_in_the_file(tmp_path):
    """But its hash and its ends."""
    store = KeyStore(tmp_path / "keys.db")
    _, secret = store.create("a")
    store.close()

    assert secret.encode() not in (tmp_path / "keys.db").read_bytes()
    assert 0o600 == Path(tmp_path / "keys.db").stat().st_mode & 0o777


def test_a_revocation_elsewhere_counts_within_two_seconds(stores):
    """Before that the verdict that is remembered stands."""
    clock = ManualClock()
    here, there = stores(clock=clock), stores()
    made, secret = here.create("a")
    assert here.find(secret) is not None
    there.revoke(made.id)
    clock.advance(1.9)
    assert here.find(secret) is not None
    clock.advance(0.2)
    assert here.find(secret) is None


def test_a_key_expires_by_itself(stores):
    """Without a look at the database."""
    clock = ManualClock()
    store = stores(clock=clock)
    _, secret = store.create("a", expires_at=clock.now() + timedelta(seconds=1))
    assert store.find(secret) is not None
    clock.advance(1.1)
    assert store.find(secret) is None


def test_the_first_keys_are_made_once_by_however_many(stores):
    """Of eight that start together one makes them."""
    made = []
    several = [stores() for _ in range(8)]
    workers = [threading.Thread(target=lambda store: made.extend(store.first()), args=(store,)) for store in several]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert ["administrator", "gateway"] == [key.label for key, _ in made]
    assert [] == stores().first()


def test_an_administrator_s_key_from_outside(tmp_path):
    """It is good at once, and a weak one is refused."""
    store = KeyStore(tmp_path / "keys.db")
    strong = "0123456789abcdef0123456789abcdef"
    assert [] == store.first(strong) == store.first(strong)
    assert "administrator" == store.find(strong).label
    store.close()
    for weak in ("admin", "a" * 40, "sk-1234", "0123456789abcdef 0123456789abcdef"):
        with pytest.raises(ConfigError, match="too weak"):
            store.first(weak)


def test_an_administrator_s_key_that_cannot_be_made_is_told(tmp_path, monkeypatch):
    """A start without it would be one that nobody can change anything of."""
    monkeypatch.setattr("llmdispatcher.server.keys.MOST_LIVE_KEYS", 1)
    store = KeyStore(tmp_path / "keys.db")
    store.create("a")
    with pytest.raises(ConfigError, match="has 1 live keys, and may have 1"):
        store.first("0123456789abcdef0123456789abcdef")


def test_while_the_database_is_away_the_last_verdict_stands(tmp_path):
    """For five minutes; an unknown key is told that nobody knows, and not that it is wrong."""
    clock = ManualClock()
    store = KeyStore(tmp_path / "keys.db", clock=clock)
    _, secret = store.create("a")
    assert store.find(secret) is not None
    with sqlite3.connect(tmp_path / "keys.db") as connection:
        connection.execute("ALTER TABLE llmdispatcher_api_keys RENAME TO away")
    clock.advance(290)
    assert store.find(secret) is not None
    with pytest.raises(VendorUnavailable) as caught:
        store.find("another")
    assert "store_unavailable" == caught.value.code
    clock.advance(20)
    with pytest.raises(VendorUnavailable):
        store.find(secret)
    connection.close()
    store.close()


@each(
    "fields, told",
    [
        ({"label": ""}, "label: '' is no name"),
        ({"label": "a\nb"}, "label: "),
        ({"label": "a", "organization": " "}, "organization: "),
        ({"label": "a", "organization": "acne"}, "organization 'acne'.*server org create"),
        ({"label": "a", "scopes": ["everything"]}, "scopes: 'everything' is no scope; use gateway, keys, operator"),
        ({"label": "a", "scopes": []}, "scopes: "),
    ],
)
def test_what_no_key_can_be(tmp_path, fields, told):
    """Is refused by field, value and remedy."""
    with pytest.raises(ConfigError, match=told):
        KeyStore(tmp_path / "keys.db").create(**fields)


def test_an_application_s_own_tables_are_not_in_the_way(postgres):
    """Ours has a name of its own."""
    place = postgres.database()
    engine = sa.create_engine(place.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE api_keys (id int)"))
    store = KeyStore(place)
    _, secret = store.create("a")
    assert store.find(secret) is not None
    engine.dispose()
    store.close()
