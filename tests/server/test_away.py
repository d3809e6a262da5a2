"""What happens while a store is away: each cell of the table in docs/gateway.md, by a killed server and by one that hangs."""

from __future__ import annotations

import contextlib
import threading
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import ConfigError
from llmdispatcher.server import Gateway, GatewaySettings, KeyStore
from llmdispatcher.server.gateway import shared_limits
from llmdispatcher.server.gateway.revoking import StreamKeys
from llmdispatcher.testing import ManualClock

from ..cases import each
from ..conftest import PATIENCE
from .away import HOW, away
from .conftest import HELLO, Served, serving


@attrs.define
class Away:
    """A gateway over servers that can be taken away, and the clock by which it waits."""

    served: Served
    store: KeyStore
    clock: ManualClock

    def ask(self, secret, **more):
        """The status and the code of an answer."""
        answer = self.served.post("/v1/chat/completions", {**HELLO, **more}, key=secret)
        return answer.status_code, answer.json().get("error", {}).get("code")

    def forget(self):
        """Let verdicts grow stale, and rests end."""
        self.clock.advance(6)


@contextlib.contextmanager
def _gateway(dispatcher, simulator, place, **settings):
    clock = ManualClock()
    store = KeyStore(place, clock=clock, grace=settings.pop("grace", 300.0))
    store.budgets.prepare()
    app = Gateway(dispatcher, store, GatewaySettings(threads=8, **settings), clock=clock)
    with serving(app) as url:
        yield Away(Served(app, url, "", simulator), store, clock)
    app._limits.close()
    store.close()


@pytest.fixture
def gateway(dispatcher, simulator, postgres):
    """Over a database of PostgreSQL."""
    with _gateway(dispatcher, simulator, postgres.database()) as made:
        yield made


@pytest.mark.parametrize("how", HOW)
def test_a_known_key_is_good_as_long_as_the_grace_says(gateway, postgres, how):
    """Then it is 503, and an unknown one is 503 from the beginning, never 401; when the database is back all is as before."""
    _, secret = gateway.store.create("a key")
    assert (200, None) == gateway.ask(secret)
    assert (401, "invalid_api_key") == gateway.ask("unknown")
    with away(postgres, how):
        gateway.forget()
        assert [(503, "store_unavailable"), (200, None)] == [gateway.ask("unknown"), gateway.ask(secret)]
        gateway.clock.advance(280)
        assert (200, None) == gateway.ask(secret)
        gateway.clock.advance(20)
        assert (503, "store_unavailable") == gateway.ask(secret)
        assert (503, "store_unavailable") == gateway.ask("unknown")
    gateway.forget()
    assert [(200, None), (401, "invalid_api_key")] == [gateway.ask(secret), gateway.ask("unknown")]


@pytest.mark.parametrize("how", HOW)
def test_without_grace_no_verdict_stands(dispatcher, simulator, postgres, how):
    """A key is 503 as soon as its verdict is two seconds old."""
    with _gateway(dispatcher, simulator, postgres.database(), grace=0.0) as gateway:
        _, secret = gateway.store.create("a key")
        assert (200, None) == gateway.ask(secret)
        with away(postgres, how):
            gateway.forget()
            assert (503, "store_unavailable") == gateway.ask(secret)


@pytest.mark.parametrize("how", HOW)
def test_between_two_probes_nobody_waits(gateway, postgres, how):
    """A database that does not answer is asked again after five seconds, by one call."""
    _, secret = gateway.store.create("a key")
    assert (200, None) == gateway.ask(secret)
    with away(postgres, how):
        gateway.forget()
        assert (200, None) == gateway.ask(secret)
        asked = gateway.store._database._calls.run
        probes = []
        gateway.store._database._calls.run = lambda work, seconds: probes.append(seconds) or asked(work, seconds)
        assert [(200, None)] * 20 == [gateway.ask(secret) for _ in range(20)]
        assert [] == probes
        gateway.forget()
        assert [(200, None)] * 5 == [gateway.ask(secret) for _ in range(5)]
        assert 1 == len(probes)


@pytest.mark.parametrize("how", HOW)
def test_a_budget_spends_its_local_grant(gateway, postgres, how):
    """5 % of what was left, then 503; what was spent is in the account when the database is back."""
    key, secret = gateway.store.create("a key", budget="0.001/day")
    _, strict = gateway.store.create("strict", budget="5/day", strict=True)
    _, unseen = gateway.store.create("unseen", budget="5/day")
    _, free = gateway.store.create("without a budget")
    asked = {"max_tokens": 20}
    for one in (secret, strict, free):
        assert (200, None) == gateway.ask(one, **asked)
    gateway.store.find(unseen)
    before = gateway.served.simulator.hits
    with away(postgres, how):
        gateway.forget()
        answers = [gateway.ask(secret, **asked) for _ in range(30)]
        granted = answers.count((200, None))
        assert 0 < granted < 30
        assert [(200, None)] * granted + [(503, "budget_unavailable")] * (30 - granted) == answers
        assert before + granted == gateway.served.simulator.hits
        assert [(503, "budget_unavailable")] * 2 == [gateway.ask(one, **asked) for one in (strict, unseen)]
        assert (200, None) == gateway.ask(free)
    gateway.forget()
    cost = Decimal(gateway.served.post("/v1/chat/completions", {**HELLO, **asked}, key=free).headers["x-llmdispatcher-cost"])
    waiting = threading.Event()
    for _ in range(int(PATIENCE * 10)):
        if gateway.store.spent([key])[key.id] == cost * (1 + granted):
            break
        waiting.wait(0.1)
    assert cost * (1 + granted) == gateway.store.spent([key])[key.id]


@pytest.mark.parametrize("how", HOW)
def test_a_call_waits_for_the_database_once(gateway, postgres, how):
    """For its key; its budget is then taken out of the grant without asking."""
    _, secret = gateway.store.create("a key", budget="5/day")
    assert (200, None) == gateway.ask(secret, max_tokens=20)
    asked = []
    gateway.store.budgets._open_store().reserve_unless = lambda *given: asked.append(given)
    with away(postgres, how):
        gateway.forget()
        assert (200, None) == gateway.ask(secret, max_tokens=20)
    assert [] == asked


def test_a_revoked_key_with_a_budget_is_refused_at_once(gateway):
    """In the reservation's own transaction, though its verdict is remembered as good."""
    key, secret = gateway.store.create("a key", budget="5/day")
    other = KeyStore(gateway.store._url.render_as_string(hide_password=False))
    team = other.owners.create("team", "research")
    _, of_team = gateway.store.create("a key", team="research", budget="5/day")
    assert [(200, None)] * 2 == [gateway.ask(secret), gateway.ask(of_team)]
    other.revoke(key.id)
    other.owners.change(team.id, suspended=True)
    assert [(401, "invalid_api_key")] * 2 == [gateway.ask(secret), gateway.ask(of_team)]
    other.close()


def _limited(store, **limits):
    return store.create("limited", **limits)[1]


@pytest.fixture
def two(dispatcher, simulator, postgres, redis_server):
    """Two gateways that share a database and a Redis server."""
    place, redis = (
        postgres.database(),
        f"{redis_server.url}?socket_timeout=3&socket_connect_timeout=3",
    )  # a busy machine is no server that hangs
    with (
        _gateway(dispatcher, simulator, place, redis=redis) as one,
        _gateway(dispatcher, simulator, place, redis=redis) as other,
    ):
        yield one, other


def test_requests_a_minute_are_counted_on_the_server(two):
    """By the key and its team, for both gateways."""
    one, other = two
    one.store.owners.create("team", "research", requests_per_minute=4)
    secret = _limited(one.store, requests_per_minute=3, team="research")
    second = _limited(one.store, team="research")
    asked = [gateway.ask(secret)[0] for gateway in (one, other, one, other, one)]
    assert [200, 200, 200, 429, 429] == asked
    assert [200, 429] == [other.ask(second)[0], one.ask(second)[0]]


def test_tokens_a_minute_are_counted_on_the_server(two):
    """As an estimate first, and then as they were used."""
    one, other = two
    secret = _limited(one.store, tokens_per_minute=1000)
    assert [200, 200] == [gateway.ask(secret, max_tokens=600)[0] for gateway in (one, other)]
    assert 429 == one.ask(secret, max_tokens=990)[0]


@each("more", [{"max_tokens": 10**30}, {"n": 10**30}, {"max_tokens": 10**15, "n": 10**15}])
def test_no_numbers_of_a_request_take_the_counts_away_from_others(two, more):
    """They are no failures of Redis or of the database, which are left alone for a while after one."""
    one, other = two
    hostile = _limited(one.store, tokens_per_minute=1000, budget="5/day")
    strict = _limited(one.store, tokens_per_minute=1000, budget="5/day", strict=True)
    secret = _limited(one.store, requests_per_minute=3, budget="5/day", strict=True)
    answers = [one.ask(key, **more) for key in (hostile, strict)]
    assert all(status in (200, 400, 402) for status, _ in answers), answers
    assert [200, 200, 200, 429, 429] == [gateway.ask(secret)[0] for gateway in (one, other, one, other, one)]


def test_calls_in_flight_are_counted_on_the_server(two, simulator):
    """A stream at one gateway has the place at the other, until it ends."""
    one, other = two
    secret = _limited(one.store, in_flight=1)
    simulator.always("word " * 50)
    simulator.tokens_per_second = 5.0
    stream = one.served.post("/v1/chat/completions", {**HELLO, "stream": True}, key=secret, stream=True)
    next(stream.iter_content(1))
    assert 429 == other.ask(secret)[0]
    stream.close()
    simulator.tokens_per_second = None
    waiting = threading.Event()
    for _ in range(int(PATIENCE * 10)):
        if other.ask(secret)[0] == 200:
            return
        waiting.wait(0.1)
    pytest.fail("the place never came back")


def test_the_place_of_a_dead_process_comes_back(two, monkeypatch):
    """Its lease ends."""
    one, other = two
    monkeypatch.setattr(shared_limits, "LEASE", 0.2)
    secret = _limited(one.store, in_flight=1)
    key = one.store.find(secret)
    one.served.app._limits.enter(key)  # and never leaves
    waiting = threading.Event()
    for _ in range(int(PATIENCE * 10)):
        if other.ask(secret)[0] == 200:
            return
        waiting.wait(0.1)
    pytest.fail("the place never came back")


def test_leases_are_renewed_until_the_gateway_is_closed(two, monkeypatch):
    """A place that a closed gateway still held comes back, and its thread asks the server no more."""
    one, _ = two
    monkeypatch.setattr(shared_limits, "_RENEW", 0.02)
    key = one.store.find(_limited(one.store, in_flight=1))
    one.served.app._limits.enter(key)
    (renewing,) = [thread for thread in threading.enumerate() if thread.name == "llmdispatcher-leases"]
    one.served.app._limits.close()
    renewing.join(PATIENCE)
    assert not renewing.is_alive()


@pytest.mark.parametrize("how", HOW)
def test_while_redis_is_away_each_process_counts_alone(two, redis_server, how):
    """Requests go on, to at most so many a process; when it is back they count together again."""
    one, other = two
    secret = _limited(one.store, requests_per_minute=4, in_flight=5, tokens_per_minute=10_000)
    assert [200, 200] == [one.ask(secret)[0], other.ask(secret)[0]]
    with away(redis_server, how):
        one.forget(), other.forget()
        assert [200, 200, 200, 429] == [one.ask(secret)[0] for _ in range(4)]
        assert [200, 200, 200, 429] == [other.ask(secret)[0] for _ in range(4)]
    one.clock.advance(61), other.clock.advance(61)
    fresh = _limited(one.store, requests_per_minute=2)
    assert [200, 200, 429, 429] == [gateway.ask(fresh)[0] for gateway in (one, other, one, other)]


@pytest.mark.parametrize("how", HOW)
def test_one_call_finds_out_that_redis_is_away(two, redis_server, how):
    """The others do not ask it, until five seconds have passed."""
    one, _ = two
    secret = _limited(one.store, requests_per_minute=1000, tokens_per_minute=10**9)
    assert 200 == one.ask(secret)[0]
    shared = one.served.app._limits._shared
    asked, ask = [], shared._clients.ask
    shared._clients.ask = lambda work: asked.append(1) or ask(work)
    with away(redis_server, how):
        assert [200] * 10 == [one.ask(secret)[0] for _ in range(10)]
        assert 1 == len(asked)
        one.forget()
        assert [200] * 10 == [one.ask(secret)[0] for _ in range(10)]
        assert 2 == len(asked)


def test_streams_end_with_their_key(gateway, simulator):
    """With an error in the stream, though the vendor goes on; those of other keys go on, too."""
    key, secret = gateway.store.create("a key")
    _, other = gateway.store.create("another")
    gateway.served.app._stream_keys._every = 0.05
    simulator.always("word " * 2000)
    simulator.tokens_per_second = 20.0
    body = {**HELLO, "stream": True}
    streams = [gateway.served.post("/v1/chat/completions", body, key=one, stream=True) for one in (secret, other)]
    lines = [stream.iter_lines() for stream in streams]
    for one in lines:
        next(one)
    gateway.store.revoke(key.id)
    gateway.forget()
    text = b"\n".join(lines[0]).decode()
    assert "the key of this stream is not good any more" in text
    assert "[DONE]" not in text
    assert any(b"word" in line for line in lines[1])
    streams[1].close()


def test_a_look_at_the_keys_of_streams_that_fails_is_not_the_last(monkeypatch, tmp_path):
    """Whatever it was, the next look is made."""
    looks: list[Exception | set[str]] = [ConfigError("budget: this is none"), {"digest"}]

    def bad_of(_digests):
        found = looks.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    store, ended = KeyStore(tmp_path / "keys.db"), threading.Event()
    monkeypatch.setattr(store, "bad_of", bad_of)
    StreamKeys(store, every=0.01).watch("digest", lambda _error: ended.set())
    assert ended.wait(PATIENCE)
    store.close()
