"""Places of Redis: a cluster, Sentinels, TLS, an application's client, and prefixes; for answers and for limits."""

import logging
import multiprocessing
import shutil
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from llmdispatcher import Config, ConfigError, Dispatcher, RateLimit, Request, ResponseCache
from llmdispatcher.cache import inspect_store, redis
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot
from llmdispatcher.resilience import shared_rate_limit as shared_limits
from llmdispatcher.testing import FakeVendor
from tests.cases import each
from tests.loopback_redis import PASSWORD, QUOTED, Server

from ..threads import in_threads
from .conftest import PATIENCE, Vendor, cache, cache_request, counts, until

driver = pytest.importorskip("redis", reason="the extra 'redis' is not installed")
pytest.importorskip("limits", reason="the extra 'limits' is not installed")
TARGET = Target(vendor="openai", model="m{}}{")
LIMIT = {"requests_per_minute": 3, "tokens_per_minute": 1000}


@pytest.fixture
def patient(monkeypatch):
    """These tests are about places, not about haste."""
    monkeypatch.setattr(shared_limits, "TIMEOUT", PATIENCE)
    monkeypatch.setattr(shared_limits, "PATIENCE", PATIENCE)


def take(place, prefix=""):
    """Whether one more call has a place, by the count of a process of its own."""
    limits = Limits(place, prefix)
    limits.set("openai", RateLimit(**LIMIT))
    taken = limits.take(TARGET, 10, 100.0)
    assert limits.status(TARGET, 100.0).shared
    limits.close()
    return isinstance(taken, RateLimitSlot)


def keys_of(client):
    return sorted(key.decode() for key in client.scan_iter("*"))


def test_a_cluster_has_answers_and_counts(redis_cluster, patient, caplog):
    """By its address, by an application's client, and by one that decodes what it reads; two processes share them."""
    node = driver.cluster.ClusterNode("127.0.0.1", redis_cluster.servers[2].port)
    client = driver.RedisCluster(startup_nodes=[node], password=PASSWORD)
    decoding = driver.RedisCluster(startup_nodes=[node], password=PASSWORD, decode_responses=True)
    client.flushall(target_nodes="primaries")
    places = [{"store": redis_cluster.url}, {"client": client}, {"client": decoding}]
    with caplog.at_level(logging.DEBUG):
        made = [cache(store_timeout=PATIENCE, prefix="app*:", **place) for place in places]
        first = made[0].send(cache_request(), Vendor())
        hits = [one.send(cache_request(), Vendor()) for one in made]
        found = inspect_store(made[1].settings).entries
        taken = [take(place, "app*:") for place in (redis_cluster.url, client, decoding, client)]
        keys = keys_of(client)
        client.set("app-other:llmdispatcher:answer:1:k", "somebody's")
        cleared = made[0].clear()
        left = keys_of(client)
        for one in made:
            one.close()
        client.flushall(target_nodes="primaries")
        client.close()
        decoding.close()

    assert (False, [True] * 3, 1) == (first.cached, [hit.cached for hit in hits], found)
    assert [True, True, True, False] == taken
    assert {"app*:llmdispatcher"} == {key[:18] for key in keys}
    assert cleared
    assert ["app-other:llmdispatcher:answer:1:k", *[key for key in keys if ":limits:" in key]] == sorted(
        left, key=lambda k: "*" in k
    )
    assert PASSWORD not in caplog.text
    assert QUOTED not in caplog.text


def test_keys_of_one_operation_are_in_one_slot(redis_cluster, patient):
    """Both keys of a count of tokens, whatever the model is called, with and without a tag of the user's."""
    client = driver.RedisCluster.from_url(f"redis://:{QUOTED}@127.0.0.1:{redis_cluster.servers[0].port}")
    client.flushall(target_nodes="primaries")
    slots = {}
    for prefix in ("", "app:", "{app}:"):
        take(redis_cluster.url, prefix)
        tokens = [key for key in keys_of(client) if "tokens" in key]
        slots[prefix] = {client.keyslot(key.removesuffix("/-1")) for key in tokens} | {client.keyslot(f"{tokens[0]}/-1")}
        client.flushall(target_nodes="primaries")
    client.close()

    assert {"": 1, "app:": 1, "{app}:": 1} == {prefix: len(found) for prefix, found in slots.items()}


SLIDING = {
    "requests_per_minute": 300,
    "requests_per_day": 25,
    "output_tokens_per_minute": 60,
    "windows": [{"period": "2h", "tokens": 2000}],
}


def _take_many(url, counted):
    limits = Limits(url)
    limits.set("openai", RateLimit(**SLIDING))
    with ThreadPoolExecutor(4) as threads:
        places = list(threads.map(lambda _: limits.take(TARGET, 10, time.monotonic(), output=2), range(30)))
    counted.put(len([place for place in places if isinstance(place, RateLimitSlot)]))
    limits.close()


def test_sliding_periods_are_never_exceeded_on_a_cluster(redis_cluster, patient):
    """Two processes together take what there is, and no more; all of a limit is in one slot; a reset and a status are of all."""
    client = driver.RedisCluster.from_url(f"redis://:{QUOTED}@127.0.0.1:{redis_cluster.servers[0].port}")
    client.flushall(target_nodes="primaries")
    fork = multiprocessing.get_context("fork")
    counted = fork.SimpleQueue()
    children = [fork.Process(target=_take_many, args=(redis_cluster.url, counted)) for _ in range(2)]
    for child in children:
        child.start()
    taken = sum(counted.get() for _ in children)
    for child in children:
        child.join(PATIENCE)
    slots = {client.keyslot(key) for key in keys_of(client) if ":limits:" in key}
    limits = Limits(redis_cluster.url)
    limits.set("openai", RateLimit(**SLIDING))
    left = [(one.unit, one.period, one.remaining) for one in limits.status(TARGET, time.monotonic()).windows]
    limits.reset("openai")
    again = limits.status(TARGET, time.monotonic())
    limits.close()
    client.flushall(target_nodes="primaries")
    client.close()

    assert (25, 1) == (taken, len(slots))
    assert [("output_tokens", "minute", 10), ("requests", "24h", 0), ("tokens", "2h", 1750)] == left
    assert [60, 25, 2000] == [one.remaining for one in again.windows]


def test_a_slot_that_moves_is_followed(redis_cluster, clock):
    """A client that knew its old place is sent to the new one."""
    store = redis.RedisStore(redis.clients_of(ResponseCache(store=redis_cluster.url), PATIENCE), clock)
    store.put("k", b"v", 60)
    store.clear()
    client = store._clients.own()
    slot = client.keyslot(f"{redis.PREFIX}k")
    owner = client.get_node_from_key(f"{redis.PREFIX}k").port
    nodes = {server.port: driver.Redis(port=server.port, password=PASSWORD) for server in redis_cluster.servers}
    ids = {port: node.cluster("myid") for port, node in nodes.items()}
    other = next(port for port in nodes if port != owner)
    nodes[other].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[owner])
    nodes[owner].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[other])
    for port in (other, owner):
        nodes[port].execute_command("CLUSTER SETSLOT", slot, "NODE", ids[other])
    for node in nodes.values():
        node.close()
    store.put("k", b"w", 60)
    found = store.get("k")
    store.close()

    assert b"w" == found


def test_a_node_that_is_gone_costs_misses_and_no_call(redis_cluster, monkeypatch, clock):
    """A cluster without one of its masters serves nothing, or a part; back again, all of it is used."""
    made, vendor = cache(clock, store=redis_cluster.url, store_timeout=PATIENCE), Vendor()
    made.send(cache_request(), vendor)
    redis_cluster.servers[1].stop()
    try:
        answers = [made.send(cache_request(Request("m", f"Question {number}?")), vendor).content for number in range(20)]
    finally:
        redis_cluster.start()
    clock.advance(redis.REST)
    later = [made.send(cache_request(Request("m", "Later?")), vendor).cached for _ in range(2)]
    made.close()

    assert (["Rayleigh."] * 20, [False, True]) == (answers, later)


def test_a_failover_loses_no_call(redis_sentinel, monkeypatch, caplog):
    """Under load the master dies: each call is answered, and the replica has answers and counts when the Sentinel has chosen it."""
    monkeypatch.setattr(redis, "REST", 0.05)
    monkeypatch.setattr(shared_limits, "REST", 0.05)
    monkeypatch.setattr(shared_limits, "TIMEOUT", 5.0)
    monkeypatch.setattr(shared_limits, "PATIENCE", 5.0)
    vendor = FakeVendor("Blue.", name="openai")
    vendor.rate_limit = RateLimit(requests_per_minute=1_000_000)
    config = Config(cache=ResponseCache(store=redis_sentinel.url, store_timeout=5.0), limits_storage=redis_sentinel.url)
    results, over, number = [], threading.Event(), iter(range(10**9))
    with Dispatcher(config) as made, caplog.at_level(logging.INFO):
        made.register_vendor(vendor)

        def ask():
            while not over.is_set():
                try:
                    results.append(made.send(Request("m", f"Question {next(number)}?")).content)
                except Exception as error:
                    results.append(repr(error))
                over.wait(0.02)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            until(lambda: len(results) > 20)
            assert made.get_rate_limit_status("openai").shared
            before = made.cache.stats()
            redis_sentinel.master.stop()
            redis_sentinel.wait("port", redis_sentinel.replica.port)
            until(lambda: made.get_rate_limit_status("openai").shared)
            until(lambda: made.send(Request("m", "Always the same?")).cached)
        finally:
            over.set()
            for thread in threads:
                thread.join(PATIENCE)

    assert (0, {"Blue."}) == (before.errors, set(results))
    assert PASSWORD not in caplog.text


@each("scheme, path", [("redis+cluster", ""), ("redis+sentinel", "/mymaster/0")])
def test_places_that_say_nothing_are_asked_once(clock, scheme, path):
    """For a miss; redis-py by itself would ask again eleven times, with longer and longer pauses."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        listening.setblocking(False)
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        made, vendor = cache(clock, store=f"{scheme}://{host},{host}{path}", store_timeout=1.0), Vendor()
        answers = [made.send(cache_request(), vendor).content for _ in range(3)]
        asked = 0
        with suppress(BlockingIOError):
            while True:
                listening.accept()[0].close()
                asked += 1

    assert (["Rayleigh."] * 3, 3) == (answers, vendor.asked)
    assert 1 <= asked <= 4


def test_a_client_with_its_own_patience_holds_up_no_call(clock, silent):
    """By its defaults redis-py asks a server that says nothing for a minute."""
    client = driver.Redis(port=silent)
    limits = Limits(client)
    limits.set("openai", RateLimit(**LIMIT))
    made = cache(clock, client=client, store_timeout=0.05)
    begun = time.monotonic()
    answer = made.send(cache_request(), Vendor())
    taken = limits.take(TARGET, 10, 100.0)
    seconds = time.monotonic() - begun

    assert ("Rayleigh.", True) == (answer.content, isinstance(taken, RateLimitSlot))
    assert seconds < PATIENCE / 2
    assert (True, False) == (counts(made)["errors"] > 0, limits.status(TARGET, 100.0).shared)


def test_an_application_keeps_its_client(redis_server, redis_sentinel, patient):
    """A client of one server or of a Sentinel's master: prefixes keep applications apart, and closing leaves the client open."""
    sentinel = driver.sentinel.Sentinel([("127.0.0.1", redis_sentinel.sentinel.port)], password=PASSWORD)
    for client in (driver.Redis(port=redis_server.port), sentinel.master_for("mymaster")):
        mine, yours = (cache(client=client, prefix=prefix, store_timeout=PATIENCE) for prefix in ("mine:", "yours:"))
        mine.send(cache_request(), Vendor())
        hits = [one.send(cache_request(), Vendor()).cached for one in (yours, mine, yours)]
        yours.clear()
        kept = mine.send(cache_request(), Vendor()).cached
        counted = [take(client, prefix) for prefix in ("mine:", "mine:", "mine:", "mine:", "yours:")]
        mine.close()
        yours.close()

        assert ([False, True, True], True) == (hits, kept)
        assert [True, True, True, False, True] == counted
        assert "errors" not in counts(mine)
        assert client.ping()
        client.flushall()
        client.close()
    for one in sentinel.sentinels:
        one.close()


def test_tls_is_of_every_kind_of_place(tmp_path, patient):
    """``rediss`` with the certificate that the address names: a server, and a cluster of one."""
    trustme = pytest.importorskip("trustme", reason="the extra 'test' is not installed")
    if shutil.which("redis-server") is None:
        pytest.skip("there is no redis-server on this machine")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    files = ["--tls-cert-file", f"{tmp_path}/server.pem", "--tls-key-file", f"{tmp_path}/server.pem"]
    files += ["--tls-ca-cert-file", f"{tmp_path}/ca.pem", "--tls-auth-clients", "no"]
    server = Server(tmp_path, *files, "--tls-port", "0")
    server.start()
    try:
        admin = driver.Redis(port=server.port)
        secure = Server(tmp_path).port
        admin.config_set("tls-port", secure)
        query = f"?ssl_ca_certs={tmp_path}/ca.pem"
        trusted = cache(store=f"rediss://localhost:{secure}/0{query}", store_timeout=PATIENCE)
        doubted = cache(store=f"rediss://localhost:{secure}/0", store_timeout=PATIENCE)
        sent = [one.send(cache_request(), Vendor()).cached for one in (trusted, trusted, doubted)]
        taken = take(f"rediss://localhost:{secure}/0{query}")
        for one in (trusted, doubted):
            one.close()
        admin.close()
    finally:
        server.stop()

    assert ([False, True, False], True) == (sent, taken)
    assert ({"hits": 1, "misses": 1, "stores": 1}, True) == (counts(trusted), counts(doubted)["errors"] > 0)


def test_sentinels_have_a_login_of_their_own():
    """And what is for the servers does not go to them; with TLS both are asked by it."""
    text = "rediss+sentinel://app:word@s1,s2:99/my%20master/3?sentinel_username=watch&sentinel_password=other&socket_timeout=7"
    clients = redis.clients_of(ResponseCache(store=text), 0.5)
    client = clients.own()
    of_master = client.connection_pool.connection_kwargs
    of_sentinels = [one.connection_pool.connection_kwargs for one in client.sentinel_of.sentinels]
    clients.close()

    assert "my master" == client.connection_pool.service_name
    assert ("app", "word", 3, 7.0) == tuple(of_master[name] for name in ("username", "password", "db", "socket_timeout"))
    assert [("s1", 26379, "watch", "other"), ("s2", 99, "watch", "other")] == [
        tuple(one[name] for name in ("host", "port", "username", "password")) for one in of_sentinels
    ]
    assert all(issubclass(pool.connection_class, driver.SSLConnection) for pool in (client.connection_pool, *pools_of(client)))


def pools_of(client):
    return [one.connection_pool for one in client.sentinel_of.sentinels]


@each(
    "text, words",
    [
        ("redis+sentinel://:geheim@host:26379", "needs the name of the service"),
        ("redis+sentinel://:geheim@host:26379/service/db", "needs the name of the service"),
        ("redis+cluster://:geheim@host:6379/1", "the database 0 alone"),
        ("redis+cluster://:geheim@host?db=2", "the database 0 alone"),
        ("redis+cluster://:geheim@", "a host is missing"),
        ("redis+cluster://:geheim@a:1,,b:2", "a host is missing"),
        ("redis://:geheim@host/name", "number of a database"),
        ("redis://:geheim@a:1,b:2/0", "cannot be read"),
        ("sentinel://:geheim@host:26379/service", "no store|not an address of Redis"),
        ("redis-cluster://:geheim@host:6379", "no store|not an address of Redis"),
    ],
)
def test_what_no_place_can_be_is_told_without_its_password(text, words):
    """By the field; for answers and for limits."""
    for make in (lambda: ResponseCache(store=text), lambda: Config(limits_storage=text), lambda: RateLimit(storage=text)):
        with pytest.raises(ConfigError, match=words) as error:
            make()
        assert "geheim" not in str(error.value)


@each(
    "text",
    [
        "redis://:geheim@host/0?socket_timout=3",
        "redis+cluster://:geheim@host?nonsense=1",
        "redis+sentinel://:geheim@host/service?sentinel_nonsense=1",
        "redis://host/0?sentinel_password=geheim",
        "redis://host/0?socket_timeout=geheim",
    ],
)
def test_a_parameter_that_redis_does_not_know_is_told_at_once(text):
    """Not by misses ever after: of each kind of place, for answers and limits."""
    for make, field in ((lambda: cache(store=text), "cache.store"), (lambda: Limits(text), "storage")):
        with pytest.raises(ConfigError, match=f"^{field}: redis-py does not know a parameter") as error:
            make()
        assert "geheim" not in str(error.value)


CLIENT = driver.Redis()


@each(
    "settings, words",
    [
        ({"client": "redis://host"}, "client: str is no client of Redis"),
        ({"client": driver.asyncio.Redis()}, "client: this is a client for asyncio"),
        ({"client": driver.asyncio.RedisCluster(host="h")}, "client: this is a client for asyncio"),
        ({"client": CLIENT, "store": "redis://host"}, "client: another place is given"),
        ({"client": CLIENT, "prefix": "a b"}, "prefix: 'a b' cannot stand before keys"),
        ({"client": CLIENT, "prefix": "{}"}, "prefix: '{}' cannot stand before keys"),
        ({"client": CLIENT, "prefix": "a{b"}, "prefix: 'a{b' cannot stand before keys"),
        ({"client": CLIENT, "prefix": 7}, "prefix: 7 cannot stand before keys"),
        ({"prefix": "app:"}, "prefix: it stands before keys on a Redis server"),
        ({"store": "answers.db", "prefix": "app:"}, "prefix: it stands before keys on a Redis server"),
    ],
)
def test_what_is_no_client_or_prefix_is_refused(settings, words):
    """Also a client for asyncio, two places at once, and a prefix for what has no keys."""
    with pytest.raises(ConfigError) as error:
        ResponseCache(**settings)

    assert str(error.value).startswith(words)


def test_places_that_are_down_cannot_be_counted():
    """The command line says so, and not what redis-py raises, which is not always its own error."""
    for text in ("redis://127.0.0.1:1/0", "redis+cluster://127.0.0.1:1", "redis+sentinel://127.0.0.1:1/mymaster"):
        with pytest.raises(ConfigError, match=r"^cache.store: the server cannot be asked \("):
            inspect_store(ResponseCache(store=text))


def test_limits_refuse_what_is_no_client_or_prefix():
    """As the cache does."""
    for make in (lambda: Config(limits_storage=driver.asyncio.Redis()), lambda: RateLimit(storage=object())):
        with pytest.raises(ConfigError, match="storage: "):
            make()
    with pytest.raises(ConfigError, match="limits_prefix: 'a b'"):
        Config(limits_prefix="a b")
    assert "redis" not in repr(ResponseCache(client=CLIENT))


def test_a_limit_has_the_prefix_of_its_dispatcher_or_its_own(redis_server, patient):
    """So that two applications on one server do not count together."""
    vendors = [FakeVendor("Blue.", name="a"), FakeVendor("Blue.", name="b")]
    vendors[0].rate_limit = RateLimit(requests_per_minute=5)
    vendors[1].rate_limit = RateLimit(requests_per_minute=5, prefix="own:")
    client = driver.Redis(port=redis_server.port)
    client.flushall()
    with Dispatcher(Config(limits_storage=redis_server.url, limits_prefix="app:")) as made:
        for vendor in vendors:
            made.register_vendor(vendor)
            made.send_to_vendor(vendor.name, Request("m", "Name a colour."))
    keys = keys_of(client)
    client.flushall()
    client.close()

    assert ["app:llmdispatcher:limits:", "own:llmdispatcher:limits:"] == [key[:25] for key in keys]


def test_a_client_is_made_once_by_many_threads(redis_cluster):
    """A cluster's is connected when it is made; of several that are made at once, one is kept and the others are closed."""
    clients = redis.clients_of(ResponseCache(store=redis_cluster.url), PATIENCE)
    barrier, found = threading.Barrier(4), []

    def work():
        barrier.wait(PATIENCE)
        found.append(clients.own())

    in_threads(work, 4)
    clients.close()

    assert (4, 1) == (len(found), len(set(map(id, found))))
