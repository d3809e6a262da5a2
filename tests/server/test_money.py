"""Money where something changes while a call is under way, and where a vendor's figures are odd."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import requests

from llmdispatcher import Message, Request, Usage
from llmdispatcher.errors import BudgetExceeded
from llmdispatcher.server import GatewaySettings, KeyStore, create_app
from llmdispatcher.testing import ManualClock

from ..cases import each
from ..conftest import PATIENCE
from .conftest import HELLO, Passing, dispatcher_over, serving, wait_until
from .test_estimates import MINI, _call
from .test_passing import CHAT_ANSWER
from .upstream import whole

SMALL = Request("gpt-4o-mini", [Message.user("hi")], max_tokens=9)
ODD = [
    {"prompt_tokens": -5, "completion_tokens": -9, "total_tokens": -14},
    {"prompt_tokens": 10**30, "completion_tokens": 5},
    {"prompt_tokens": 10, "completion_tokens": 10**11},
    {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": -500}},
    None,
]


@each("usage", ODD)
def test_an_odd_usage_counts_as_what_was_reserved(vendor, keys, usage):
    """It takes nothing from what was spent before, nor the whole budget."""
    vendor.answers = [whole(json.dumps({**CHAT_ANSWER, "usage": usage}).encode())]
    key, secret = keys.create("a key", budget="5/day", strict=True)
    with dispatcher_over(vendor.url) as made:
        app = create_app(made, keys=keys, settings=GatewaySettings(threads=8))
        with serving(app) as url:
            got = Passing(app, url, secret, vendor).post("/v1/chat/completions", {**HELLO, "max_tokens": 50})
            keys.budgets.close()

    assert 200 == got.status_code
    assert Decimal(got.headers["x-llmdispatcher-reserved"]) == keys.spent([key])[key.id] > 0


@pytest.fixture
def settings():
    """Enough threads that no key has too many requests at once."""
    return GatewaySettings(threads=512)


@pytest.fixture
def clock():
    """Five seconds before the first of the next month."""
    made = ManualClock()
    made.advance((datetime(2026, 2, 1, tzinfo=UTC) - made.now()).total_seconds() - 5)
    return made


@pytest.fixture
def store(tmp_path, clock):
    """Keys in a file."""
    made = KeyStore(tmp_path / "keys.db", clock=clock)
    yield made
    made.close()


def _spend(store, key, held, amount):
    held.answered("openai", "gpt-4o-mini", Usage(input_tokens=1, output_tokens=1), Decimal(amount))
    store.budgets.close()


@pytest.mark.parametrize("period", ["day", "month"])
def test_a_call_counts_in_the_period_in_which_it_began(store, clock, period):
    """Though it ends in the next one, which begins with nothing spent."""
    key, _ = store.create("a key", budget=f"5/{period}", strict=True)
    held = store.budgets.reserve(_call(store, key, SMALL, target=MINI))
    clock.advance(10)
    _spend(store, key, held, 5)
    assert 0 == store.spent([key])[key.id]
    _spend(store, key, store.budgets.reserve(_call(store, key, SMALL, target=MINI)), 1)
    assert 1 == store.spent([key])[key.id]


def test_an_override_that_ends_while_a_call_is_under_way(store, clock):
    """The call counts in full; the next one has the budget, and is refused."""
    until = clock.now() + timedelta(seconds=2)
    key, _ = store.create("a key", budget="1/month", override={"limit": "50", "until": until.isoformat()}, strict=True)
    held = store.budgets.reserve(_call(store, key, SMALL, target=MINI))
    clock.advance(3)
    _spend(store, key, held, 3)
    assert 3 == store.spent([key])[key.id]
    with pytest.raises(BudgetExceeded, match=r"spent \$3 of its budget of \$1"):
        store.budgets.reserve(_call(store, key, SMALL, target=MINI))


def test_a_budget_that_is_cut_while_calls_are_under_way(store):
    """They are paid; the next call is refused, and one after a raise is not."""
    key, _ = store.create("a key", budget="5/day", strict=True)
    held = [store.budgets.reserve(_call(store, key, SMALL, target=MINI)) for _ in range(3)]
    cut = store.change(key.id, key.organization, budget="0.5/day")
    for one in held:
        _spend(store, key, one, 1)
    with pytest.raises(BudgetExceeded):
        store.budgets.reserve(_call(store, cut, SMALL, target=MINI))
    raised = store.change(key.id, key.organization, budget="9/day")
    _spend(store, key, store.budgets.reserve(_call(store, raised, SMALL, target=MINI)), 1)

    assert 4 == store.spent([raised])[key.id]


def test_sixty_four_threads_and_clients_that_leave_at_random(served, simulator):
    """A strict budget is never passed, and what is spent in the end is reserved by nobody."""
    simulator.responses, simulator.tokens_per_second = "word " * 40, 400.0
    key, secret = served.app.keys.create("a key", budget="0.0015/day", strict=True, in_flight=1000)
    chance, statuses = random.Random(7), []
    pieces = [chance.choice((0, 1, 5, 10**6)) for _ in range(64)]

    def ask(most):
        with contextlib.suppress(requests.RequestException):
            answer = served.post("/v1/chat/completions", {**HELLO, "max_tokens": 60, "stream": True}, key=secret, stream=True)
            statuses.append(answer.status_code)
            for number, _ in enumerate(answer.iter_lines()):
                if number >= most:
                    break
            answer.close()

    threads = [threading.Thread(target=ask, args=(most,)) for most in pieces]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE * 3)
    wait_until(served.app.is_idle)
    served.app.keys.budgets.close()
    spent = served.app.keys.spent([key])[key.id]

    assert {200, 402} >= set(statuses)
    assert statuses.count(200) >= 1
    assert 0 < spent <= Decimal("0.0015")


def test_a_key_that_is_rotated_while_its_stream_runs(served, simulator):
    """What the stream costs is the key's, whichever secret it has."""
    simulator.responses, simulator.tokens_per_second = "word " * 30, 20.0
    key, secret = served.app.keys.create("a key", budget="5/day")
    with served.post("/v1/chat/completions", {**HELLO, "stream": True}, key=secret, stream=True) as answer:
        lines = answer.iter_lines()
        next(lines)
        _, fresh = served.app.keys.rotate(key.id, key.organization)
        b"".join(lines)
    wait_until(served.app.is_idle)
    served.app.keys.budgets.close()
    simulator.tokens_per_second = None

    assert 0 < served.app.keys.spent([key])[key.id]
    assert 200 == served.post("/v1/chat/completions", HELLO, key=fresh).status_code
    wait_until(lambda: served.post("/v1/chat/completions", HELLO, key=secret).status_code == 401)
