"""Limits and budgets of keys: counted before anything is sent, settled with what it cost, and held by all processes."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from decimal import Decimal

import pytest

from llmdispatcher import Config, Dispatcher, Observer, OpenAIVendor, Response, Usage
from llmdispatcher.server import Gateway, GatewaySettings, KeyStore
from llmdispatcher.testing import ManualClock, faults

from ..cases import each
from ..conftest import PATIENCE
from .conftest import HELLO, Served, serving


@pytest.fixture
def hello_cost(served):
    """What the simulator's answer to HELLO costs."""
    return Decimal(served.post("/v1/chat/completions", HELLO).headers["x-llmdispatcher-cost"])


def _new(served, **settings):
    return served.app.keys.create("limited", **settings)


def _spent(served, key):
    """What is spent when nothing is on its way any more."""
    served.app.keys.budgets.close()
    return served.app.keys.spent([key])[key.id]


@each(
    "path, body, told",
    [
        ("/v1/chat/completions", HELLO, lambda body: body["error"]["code"] == "rate_limit_exceeded"),
        ("/v1/messages", {**HELLO, "max_tokens": 9}, lambda body: body["error"]["type"] == "rate_limit_error"),
        (
            "/v1beta/models/gpt-4o-mini:generateContent",
            {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
            lambda body: body["error"]["status"] == "RESOURCE_EXHAUSTED",
        ),
        ("/api/chat", {**HELLO, "stream": False}, lambda body: "2 requests per minute" in body["error"]),
    ],
)
def test_requests_per_minute(served, path, body, told):
    """The third is refused in the client's format, with the time to wait, and reaches no vendor."""
    _, secret = _new(served, requests_per_minute=2)
    before = served.simulator.hits
    assert [200, 200] == [served.post(path, body, key=secret).status_code for _ in range(2)]
    refused = served.post(path, body, key=secret)
    assert 429 == refused.status_code
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert f"try again in {refused.headers['Retry-After']}s" in refused.text
    assert told(refused.json()), refused.text
    assert before + 2 == served.simulator.hits
    assert 200 == served.get("/v1/models", key=secret).status_code
    assert 200 == served.post(path, body).status_code


def test_a_minute_later_a_key_may_ask_again(dispatcher, keys, simulator):
    """The minute slides; a limit that was changed counts from then on."""
    clock = ManualClock()
    store = KeyStore(keys._url.database, clock=clock)
    key, secret = store.create("limited", requests_per_minute=1)
    app = Gateway(dispatcher, store, GatewaySettings(threads=8), clock=clock)
    with serving(app) as url:
        served = Served(app, url, secret, simulator)
        assert [200, 429] == [served.post("/v1/chat/completions", HELLO).status_code for _ in range(2)]
        clock.advance(61)
        assert [200, 429] == [served.post("/v1/chat/completions", HELLO).status_code for _ in range(2)]
        store.change(key.id, requests_per_minute=None)
        assert [200, 200] == [served.post("/v1/chat/completions", HELLO).status_code for _ in range(2)]
    store.close()


def test_tokens_per_minute(served):
    """Are taken as an estimate, and corrected by the answer; too many are refused before the vendor hears of it."""
    _, secret = _new(served, tokens_per_minute=600)
    asked = {**HELLO, "max_tokens": 100}
    assert [200] * 4 == [served.post("/v1/chat/completions", asked, key=secret).status_code for _ in range(4)]
    before = served.simulator.hits
    refused = served.post("/v1/chat/completions", {**HELLO, "max_tokens": 590}, key=secret)
    assert 429 == refused.status_code
    assert "600 tokens per minute" in refused.text
    assert before == served.simulator.hits
    assert 200 == served.post("/v1/chat/completions", asked, key=secret).status_code


def test_cache_reads_are_no_tokens_of_the_minute(served):
    """Input without them, and output, replace the estimate."""
    key, secret = _new(served, tokens_per_minute=1000)
    usage = Usage(input_tokens=900, cache_read_tokens=880, output_tokens=40)
    served.simulator.always(Response(content="hi", model="gpt-4o-mini", vendor="openai", finish_reason="stop", usage=usage))
    for _ in range(10):
        assert 200 == served.post("/v1/chat/completions", {**HELLO, "max_tokens": 300}, key=secret).status_code
    assert 600 == served.app._limits._counts[key.id].tokens.tokens


def test_calls_in_flight(served, simulator):
    """A stream counts until its end, and then no more."""
    _, secret = _new(served, in_flight=1)
    simulator.always("word " * 50)
    simulator.tokens_per_second = 5.0
    stream = served.post("/v1/chat/completions", {**HELLO, "stream": True}, key=secret, stream=True)
    next(stream.iter_content(1))
    refused = served.post("/v1/chat/completions", HELLO, key=secret)
    assert 429 == refused.status_code
    assert "1" == refused.headers["Retry-After"]
    stream.close()
    simulator.tokens_per_second = None
    finished = threading.Event()
    for _ in range(int(PATIENCE * 20)):
        if served.post("/v1/chat/completions", HELLO, key=secret).status_code == 200:
            break
        finished.wait(0.05)
    else:
        pytest.fail("the place never came back")


@each("stream", [False, True])
def test_a_budget_is_settled_with_the_real_cost(served, hello_cost, stream):
    """Of whole answers and of streams; nothing stays reserved."""
    key, secret = _new(served, budget="1/day")
    for _ in range(2):
        body = {**HELLO, "stream": stream}
        answer = served.post("/v1/chat/completions", body, key=secret)
        assert 200 == answer.status_code
        assert "4096" == answer.headers["x-llmdispatcher-assumed-max-tokens"]
        assert hello_cost < Decimal(answer.headers["x-llmdispatcher-reserved"])
    assert 2 * hello_cost == _spent(served, key)


@each(
    "path, body, told",
    [
        ("/v1/chat/completions", HELLO, lambda body: body["error"]["code"] == "budget_exceeded"),
        ("/v1/chat/completions", {**HELLO, "stream": True}, lambda body: body["error"]["code"] == "budget_exceeded"),
        ("/v1/messages", {**HELLO, "max_tokens": 9}, lambda body: body["type"] == "error"),
        ("/v1/embeddings", {"model": "text-embedding-3-small", "input": "hi"}, lambda body: "$0.0000" in body["error"]["message"]),
    ],
)
def test_a_budget_that_is_used_up(served, path, body, told):
    """Is 402, which no SDK tries again, and reaches no vendor."""
    key, secret = _new(served, budget="0.000000001/month")
    before = served.simulator.hits
    refused = served.post(path, body, key=secret)
    assert 402 == refused.status_code
    assert "false" == refused.headers["x-should-retry"]
    assert told(refused.json()), refused.text
    assert before == served.simulator.hits
    assert Decimal(0) == _spent(served, key)


@each("model", ["openai:gpt-nobody-knows", "no-such-model-anywhere"])
def test_a_model_without_a_price(served, model):
    """Is refused for a key with a budget alone."""
    _, secret = _new(served, budget="5")
    refused = served.post("/v1/chat/completions", {**HELLO, "model": model}, key=secret)
    assert 403 == refused.status_code
    assert "model_unpriced" == refused.json()["error"]["code"]
    assert "false" == refused.headers["x-should-retry"]
    assert 403 != served.post("/v1/chat/completions", {**HELLO, "model": model}).status_code


def test_a_failure_gives_everything_back(served, simulator):
    """A refusal of the vendor costs nothing, whole or streamed, and counts no tokens."""
    key, secret = _new(served, budget="0.01/day", tokens_per_minute=5000)
    simulator.always(faults.status(400))
    for stream in (False, True) * 3:
        refused = served.post("/v1/chat/completions", {**HELLO, "stream": stream}, key=secret)
        assert 400 == refused.status_code, refused.text
    assert Decimal(0) == _spent(served, key)
    simulator.always("whole")
    assert 200 == served.post("/v1/chat/completions", {**HELLO, "max_tokens": 4900}, key=secret).status_code


def test_a_client_that_leaves_pays_for_what_was_streamed(served, simulator):
    """Neither nothing nor all that was reserved."""
    key, secret = _new(served, budget="0.01/day")
    simulator.always("word " * 400)
    simulator.tokens_per_second = 50.0
    body = {**HELLO, "stream": True, "max_tokens": 4000}
    stream = served.post("/v1/chat/completions", body, key=secret, stream=True)
    for line in stream.iter_lines():
        if b"word" in line:
            break
    stream.close()
    reserved = Decimal("0.0024")  # the limit of its output alone
    ended = threading.Event()
    spent = Decimal(0)
    for _ in range(int(PATIENCE * 20)):
        spent = served.app.keys.spent([key])[key.id]
        if spent:
            break
        ended.wait(0.05)
    assert 0 < spent < reserved / 4


def test_a_key_without_limits_is_not_counted(served):
    """Its calls open no database of budgets, and look at no window."""
    assert 200 == served.post("/v1/chat/completions", HELLO).status_code
    assert served.app.keys.budgets._store is None
    assert {} == served.app._limits._counts


def test_while_the_budgets_cannot_be_looked_at(served, dispatcher, simulator, tmp_path):
    """A key with a budget is told 503 with a time to wait, and nothing is sent; others go on."""
    _, secret = _new(served, budget="5/day")
    served.app.keys.budgets._place = str(tmp_path / "no folder" / "there.db")
    (tmp_path / "no folder").write_text("a file")
    before = served.simulator.hits
    refused = served.post("/v1/chat/completions", HELLO, key=secret)
    assert (503, "budget_unavailable") == (refused.status_code, refused.json()["error"]["code"])
    assert "Retry-After" in refused.headers
    assert 503 == served.post("/v1/messages", {**HELLO, "max_tokens": 9}, key=secret).status_code
    assert before == served.simulator.hits
    assert 200 == served.post("/v1/chat/completions", HELLO).status_code


class _Starts(Observer):
    """Keeps the metadata of all calls."""

    def __init__(self):
        self.seen = []

    def on_call_start(self, start):
        self.seen.append(start.request.metadata)


def test_a_key_s_tags_are_in_the_record(keys, simulator):
    """As metadata of the request, which no vendor is sent."""
    observer = _Starts()
    _, secret = keys.create("limited", tags=["nightly", "ci"])
    with Dispatcher(Config(default_vendor="openai"), observers=[observer]) as made:
        made.register_vendor(OpenAIVendor(api_key="sk-of-the-gateway", base_url=simulator.openai_url))
        app = Gateway(made, keys, GatewaySettings(threads=8))
        with serving(app) as url:
            assert 200 == Served(app, url, secret, simulator).post("/v1/chat/completions", HELLO).status_code
    assert [["nightly", "ci"]] == [metadata["tags"] for metadata in observer.seen]
    assert "nightly" not in json.dumps(simulator.requests[-1].json)


_WORKER = """
import json, sys, threading
from decimal import Decimal
from llmdispatcher import BudgetExceeded, Message, Request, VendorUnavailable
from llmdispatcher.catalog import Target
from llmdispatcher.server import KeyStore
from llmdispatcher.server.budgets import BudgetedCall, accounts_of
from llmdispatcher.server.estimates import PricedCall
from llmdispatcher.types import Price, Usage

place, secret = json.loads(sys.stdin.readline())
store = KeyStore(place)
key = store.find(secret)
target = Target(vendor="openai", model="a-model", kind="openai", price=Price.flat(Decimal(1000)), max_output=100)
request = Request("a-model", [Message("user", "hi")], max_tokens=1)
priced = PricedCall(key.id, None, request, [target])
call = BudgetedCall(priced=priced, accounts=tuple(accounts_of(key.levels, store.clock.now())))
made, refused = [], []
start = threading.Barrier(64)
def reserved():
    while True:
        try:
            return store.budgets.reserve(call)
        except VendorUnavailable:  # a busy machine
            pass
def ask():
    start.wait()
    for _ in range(3):
        try:
            held = reserved()
        except BudgetExceeded:
            refused.append(1)
        else:
            held.answered(None, None, Usage(), Decimal("0.2"))
            made.append(1)
print("ready", flush=True)
sys.stdin.readline()
threads = [threading.Thread(target=ask) for _ in range(64)]
[one.start() for one in threads]
[one.join() for one in threads]
store.close()
print(json.dumps([len(made), len(refused)]))
"""


@pytest.fixture(params=["sqlite", "postgres"])
def place(request, tmp_path):
    """A file, and a server."""
    return str(tmp_path / "keys.db") if request.param == "sqlite" else request.getfixturevalue("postgres").database()


def _start_worker(running):
    worker = subprocess.Popen([sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    running.enter_context(worker)
    running.callback(worker.kill)
    return worker


def test_64_threads_in_2_processes_never_exceed_a_budget(place):
    """384 calls want 76 dollars; 10 are there, and each that was let in has counted with what it cost."""
    store = KeyStore(place)
    key, secret = store.create("many", budget="10/day")
    store.budgets.prepare()
    with contextlib.ExitStack() as running:
        workers = [_start_worker(running) for _ in range(2)]
        for worker in workers:
            worker.stdin.write(json.dumps([place, secret]) + "\n")
            worker.stdin.flush()
        assert ["ready\n"] * 2 == [worker.stdout.readline() for worker in workers]
        for worker in workers:
            worker.stdin.write("\n")
            worker.stdin.flush()
        counts = [json.loads(worker.stdout.readline()) for worker in workers]
    made, refused = map(sum, zip(*counts, strict=True))
    assert 384 == made + refused
    assert 44 <= made <= 50  # so many reservations fit, and so many answers
    assert made * Decimal("0.2") == store.spent([key])[key.id]
    store.close()
