"""Entries on a Redis server, a real one where there is one."""

import logging
import os
import time

import attrs
import pytest

from llmdispatcher import ConfigError, ResponseCache
from llmdispatcher.cache import redis
from llmdispatcher.cache.redis import RedisStore, StoreResting
from llmdispatcher.runtime import redis as clients

from .conftest import ANSWER, PATIENCE, REQUEST, Vendor, cache, cache_request, counts, in_threads


def store_at(url, clock, seconds=PATIENCE):
    return RedisStore(redis.clients_of(ResponseCache(store=url), seconds), clock)


@pytest.fixture
def store(redis_server, clock):
    made = store_at(redis_server.url, clock)
    made.clear()
    yield made
    made.close()


def test_an_entry_is_kept(store):
    """Bytes as they are."""
    store.put("k", b"\x00\xff", 60)

    assert (b"\x00\xff", None) == (store.get("k"), store.get("other"))


def test_the_server_counts_the_time(store, monkeypatch):
    """In thousandths of a second."""
    client, told = store._clients.own(), []
    keep = client.set
    monkeypatch.setattr(client, "set", lambda *what, **when: told.append(when) or keep(*what, **when))
    store.put("k", b"v", 100.25)
    left = client.pttl(redis.PREFIX + "k")

    assert [{"px": 100_250}] == told
    assert 50_000 < left <= 100_250


def test_clearing_touches_nothing_else(store):
    """However many there are: only what begins as ours does."""
    client = store._clients.own()
    client.set("somebody's", "v")
    for number in range(redis._PAGE + 10):
        store.put(str(number), b"v", 60)
    store.clear()
    left = client.keys()
    client.delete("somebody's")

    assert [b"somebody's"] == left


def test_answers_are_shared(store, redis_server, clock):
    """A second cache, as on another machine, finds what the first has kept."""
    first, second = (cache(clock, store=redis_server.url, store_timeout=PATIENCE) for _ in range(2))
    first.send(cache_request(), Vendor())
    hit = second.send(cache_request(), Vendor())
    first.close()
    second.close()

    assert (True, "Rayleigh.", {"hits": 1}) == (hit.cached, hit.content, counts(second))


def test_races_on_a_server(store, redis_server):
    """32 threads: every answer is to its question."""
    made = cache(store=redis_server.url, store_timeout=PATIENCE)

    def work(number):
        for step in range(10):
            seed = (number + step) % 16
            request, answer = attrs.evolve(REQUEST, seed=seed), attrs.evolve(ANSWER, content=str(seed))
            assert str(seed) == made.send(cache_request(request), lambda answer=answer: answer).content
        return "done"

    results = in_threads(32, work)
    made.close()

    assert (["done"] * 32, False) == (results, "errors" in counts(made))


def test_a_forked_child_has_a_client_of_its_own(store):
    """The parent's is not spoken on, and works on."""
    store.put("k", b"v", 60)
    parents = store._clients.own()
    child = os.fork()
    if child == 0:
        try:
            fine = store.get("k") == b"v" and store._clients.own() is not parents and clients._inherited == [parents]
            store.put("child", b"v", 60)
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert [b"v", b"v"] == [store.get("k"), store.get("child")]
    assert parents is store._clients.own()


def test_a_forked_child_that_closes_first_keeps_the_parents_client(store):
    """A client that nobody holds is collected, and its connections, which the parent uses, with it."""
    store.put("k", b"v", 60)
    parents = store._clients.own()
    child = os.fork()
    if child == 0:
        try:
            store.close()
            fine = store.get("k") == b"v" and clients._inherited == [parents]
            os._exit(0 if fine else 1)
        finally:
            os._exit(2)

    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_server_that_comes_back_is_used_again(store, redis_server, clock):
    """Down, it is left alone for a while and every call goes on; up again, it is asked."""
    made, vendor = cache(clock, store=redis_server.url, store_timeout=PATIENCE), Vendor()
    made.send(cache_request(), vendor)
    redis_server.stop()
    try:
        down = [made.send(cache_request(), vendor).cached for _ in range(2)]
    finally:
        redis_server.start()
    clock.advance(redis.REST)
    up = [made.send(cache_request(), vendor).cached for _ in range(2)]
    made.close()

    assert ([False, False], [False, True]) == (down, up)


def test_a_connection_that_the_server_closed_is_made_anew(store):
    """A server closes what is idle; that is no failure."""
    store.put("k", b"v", 60)
    killer = store._clients._connect()
    killer.client_kill_filter(_type="normal", skipme=True)
    killer.close()

    assert b"v" == store.get("k")


def test_a_server_that_is_down_is_told_once_a_minute(clock, caplog):
    """By class alone, and felt by no call."""
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    made, vendor = cache(clock, store="redis://user:geheim@127.0.0.1:1/0"), Vendor()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            made.send(cache_request(), vendor)
            clock.advance(10)

    assert (3, 1) == (vendor.asked, len(caplog.records))
    assert "geheim" not in caplog.text
    assert 3 <= counts(made)["errors"]


def test_a_server_that_says_nothing_holds_up_no_call_for_long(clock, silent):
    """One time-out, then it is left alone."""
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    made, vendor = cache(clock, store=f"redis://127.0.0.1:{silent}/0", store_timeout=0.1), Vendor()
    begun = time.monotonic()
    made.send(cache_request(), vendor)

    assert time.monotonic() - begun < PATIENCE / 2  # nothing else would end it


def test_a_server_that_is_not_there_is_named_without_its_password(clock, caplog):
    """The log says where it was looked for."""
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    made, vendor = cache(clock, store="redis://:secret-word@127.0.0.1:1/0"), Vendor()
    made.send(cache_request(), vendor)

    assert "see that a Redis server answers at redis://" in caplog.text
    assert "127.0.0.1:1" in caplog.text
    assert "secret-word" not in caplog.text


def test_a_server_that_failed_rests(clock):
    """It is not even asked."""
    pytest.importorskip("redis", reason="the extra 'redis' is not installed")
    made = store_at("redis://127.0.0.1:1/0", clock, 0.2)
    with pytest.raises(Exception, match=r"127\.0\.0\.1"):
        made.get("k")

    with pytest.raises(StoreResting):
        made.get("k")


def test_without_the_extra_it_is_a_mistake_of_the_configuration(monkeypatch, clock):
    """Told before the first call, with what to install."""
    monkeypatch.setattr(redis, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"install llmdispatcher\[redis\]"):
        cache(clock, store="redis://127.0.0.1/0")
