"""What a key with a budget reserves: an estimate that agents can live with, or with ``strict`` the most that a call can cost."""

from __future__ import annotations

import json
import threading
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import Message, Request, Response, Tool, Usage
from llmdispatcher.accounting import bound, measure
from llmdispatcher.catalog import Target, target_facts
from llmdispatcher.errors import BudgetExceeded
from llmdispatcher.server import GatewaySettings, KeyStore
from llmdispatcher.server.budgets import BudgetedCall, accounts_of
from llmdispatcher.server.estimates import ENOUGH, Estimates, PricedCall
from llmdispatcher.testing import ManualClock, faults
from llmdispatcher.types import TextPart, VendorTool
from llmdispatcher.wire import ANTHROPIC_MESSAGES

from ..cases import each
from ..conftest import PATIENCE
from .conftest import HELLO, wait_until

OPUS = Target(vendor="anthropic", model="claude-opus-4-5", kind="anthropic", **target_facts("anthropic", "claude-opus-4-5"))
MINI = Target(vendor="openai", model="gpt-4o-mini", kind="openai", **target_facts("openai", "gpt-4o-mini"))
TOOLS = [
    Tool(name=f"tool_{number}", description=f"Does what number {number} does. " * 20, parameters={"type": "object"})
    for number in range(24)
]


def _agents_request(further=(), **more):
    """A request of an agent: 310 kB, 24 tools, an answer of up to 32,000 tokens."""
    messages = [Message("system", "You are an agent. " * 1000), Message("user", "def f(x): return x + 1\n" * 11_000), *further]
    return Request("claude-opus-4-5", messages, tools=TOOLS, max_tokens=32_000, **more)


def _amount(estimates, request, target=OPUS, **facts):
    call = PricedCall(facts.pop("key", "a key"), facts.pop("session", "a session"), request, [target], **facts)
    return estimates.of(call).amount


@pytest.fixture
def clock():
    """Moved by hand."""
    return ManualClock()


@pytest.fixture
def estimates(clock):
    """Of a process that has seen nothing."""
    return Estimates(clock)


def test_an_agent_s_request_reserves_little(estimates, clock):
    """Its text once, and an answer of 4,096 tokens; strict is the upper bound, many times as much."""
    request = _agents_request()
    amount = _amount(estimates, request)
    assert Decimal("0.4") < amount < Decimal("0.62")
    assert bound(measure(request), request, OPUS, clock.now()) == _amount(estimates, request, strict=True) > 6 * amount


def test_a_prefix_that_the_session_has_cached_is_cheap(estimates, clock):
    """At the price of cache reads, as long as the vendor keeps it; not for another session, key or model, nor for another text."""
    request = _agents_request()
    fresh = _amount(estimates, request)
    call = PricedCall("a key", "a session", request, [OPUS])
    estimates.learn(call, OPUS, Usage(input_tokens=80_000, cache_write_tokens=79_900, output_tokens=100))
    longer = _agents_request([Message("assistant", "Done."), Message("user", "And now?")])
    reads = _amount(estimates, longer)
    assert reads < Decimal("0.15")  # 4,096 tokens of output are 0.10 of it
    for facts in ({"session": "another"}, {"session": None}, {"key": "another"}):
        assert fresh <= _amount(estimates, longer, **facts)
    other = attrs.evolve(longer, messages=[Message("system", "Another. " * 2000), *longer.messages[1:]])
    assert _amount(estimates, other) > Decimal("0.4")
    marked = [attrs.evolve(one, content=(TextPart(text=one.content, cache="5m"),)) for one in longer.messages]
    assert reads == _amount(estimates, attrs.evolve(longer, messages=marked))
    clock.advance(301)
    assert fresh <= _amount(estimates, longer)


def test_what_was_not_cached_is_not_cheap(estimates):
    """Of a prefix the part that the vendor says to have cached."""
    request = _agents_request()
    fresh = _amount(estimates, request)
    call = PricedCall("a key", "a session", request, [OPUS])
    estimates.learn(call, OPUS, Usage(input_tokens=80_000, cache_write_tokens=8_000, output_tokens=100))
    assert Decimal("0.8") * fresh < _amount(estimates, request) < fresh


def test_output_is_what_answers_of_the_model_were_lately(estimates):
    """19 in 20 of the key's last, and never more than the request allows."""
    request = attrs.evolve(_agents_request(), messages=[Message("user", "hi")], tools=[])
    call = PricedCall("a key", "a session", request, [OPUS])
    first = _amount(estimates, request)
    for number in range(100):
        estimates.learn(call, OPUS, Usage(input_tokens=9, output_tokens=200 if number < 96 else 20_000))
    assert _amount(estimates, request) < first / 10
    assert first <= _amount(estimates, request, key="another")
    for _ in range(100):
        estimates.learn(call, OPUS, Usage(input_tokens=9, output_tokens=50_000))
    most = _amount(estimates, request)
    assert Decimal("0.8") < most < Decimal("0.81")  # 32,000 tokens, and not 50,000
    assert ENOUGH < 100


@each(
    "more, least",
    [
        ({"n": 3}, 2.9),
        ({"extra_params": {"n": 3}}, 2.9),
        (
            {
                "tools": [
                    VendorTool(
                        origin="anthropic-messages", data={"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
                    )
                ]
            },
            1.5,
        ),
    ],
)
def test_what_makes_a_call_dearer_is_reserved(estimates, more, least):
    """Several answers, and the searches of a vendor's own tool."""
    request = Request("claude-opus-4-5", [Message("user", "hi")], max_tokens=1000)
    assert _amount(estimates, attrs.evolve(request, **more)) >= Decimal(str(least)) * _amount(estimates, request)


MARK = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
LONG = {
    "of a text": {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi " * 9000, **MARK}]}]},
    "of the instructions": {"system": [{"type": "text", "text": "Be short. " * 9000, **MARK}]},
    "of a tool": {"tools": [{"name": "read", "description": "Reads. " * 9000, "input_schema": {"type": "object"}, **MARK}]},
    "of a tool of the vendor's": {"tools": [{"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 1, **MARK}]},
    "of a result": {
        "messages": [
            {"role": "user", "content": "hi " * 9000},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "read", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "short", **MARK}]},
        ]
    },
    "of all": MARK,
}


@each("name", list(LONG))
def test_a_mark_for_an_hour_is_reserved_at_the_price_of_an_hour(estimates, name):
    """Wherever Anthropic takes it: writing costs twice the input, and 1.25 times for five minutes."""
    body = {"model": "claude-opus-4-5", "max_tokens": 1, "messages": [{"role": "user", "content": "hi " * 9000}], **LONG[name]}
    amounts = []
    for text in (json.dumps(body), json.dumps(body).replace('"1h"', '"5m"')):
        request = ANTHROPIC_MESSAGES.read_request(text.encode(), "/v1/messages").request
        amounts.append(_amount(estimates, request))

    assert Decimal("1.5") < amounts[0] / amounts[1] <= Decimal("1.6")


@each("partial", [None, Response(content="so", model="claude-opus-4-5", vendor="anthropic", finish_reason="stop")])
def test_a_call_that_breaks_off_before_it_tells_counts_what_it_writes(store, partial):
    """At the price of the marks: the vendor bills the input that it has read."""
    key, _ = store.create("a key", budget="5/day")
    spent = []
    for ttl in ("5m", "1h"):
        content = (TextPart(text="hi " * 9000, cache=ttl),)
        request = Request("claude-opus-4-5", [Message("user", content)], max_tokens=9)
        store.budgets.reserve(_call(store, key, request)).broken("anthropic", "claude-opus-4-5", partial)
        store.budgets.close()
        spent.append(store.spent([key])[key.id] - sum(spent))

    assert Decimal("1.55") < spent[1] / spent[0] <= Decimal("1.6")


@pytest.fixture
def store(tmp_path, clock):
    """Keys in a file."""
    made = KeyStore(tmp_path / "keys.db", clock=clock)
    yield made
    made.close()


def _call(store, key, request, target=OPUS, session="a session"):
    accounts = tuple(accounts_of(key.levels, store.clock.now()))
    strict = any(one.strict for one in accounts)
    return BudgetedCall(priced=PricedCall(key.id, session, request, (target,), strict=strict), accounts=accounts)


def test_eight_sub_agents_at_once(store):
    """On a key of $5 with $0.10 spent none is refused, whether the session's prefix is cached or not; strictly some are."""
    for strict, granted in ((False, 8), (True, 1)):
        key, _ = store.create("agents", budget="5/day", strict=strict)
        store.set_spent(key, Decimal("0.10"))
        calls = [_call(store, key, _agents_request([Message("user", f"Look at part {number}.")])) for number in range(8)]
        held = []
        for call in calls:
            try:
                held.append(store.budgets.reserve(call))
            except BudgetExceeded:
                break
        assert granted == len(held)


def test_over_by_no_more_than_the_overshoot_and_then_refused(store):
    """What calls under way cost more than they have reserved is the most by which a budget is passed."""
    key, _ = store.create("a key", budget="1/day")
    request = attrs.evolve(_agents_request(), messages=[Message("user", "hi")], tools=[])
    held = []
    for _ in range(100):
        try:
            held.append(store.budgets.reserve(_call(store, key, request)))
        except BudgetExceeded:
            break
    assert 5 < len(held) < 100
    overshoot = sum([Decimal("0.8") - one.estimate.amount for one in held])
    for one in held:
        one.answered("anthropic", "claude-opus-4-5", Usage(input_tokens=9, output_tokens=32_000), Decimal("0.8"))
    spent = store.spent([key])[key.id]
    assert 1 < spent <= 1 + overshoot
    with pytest.raises(BudgetExceeded):
        store.budgets.reserve(_call(store, key, request))


def test_strict_is_never_over(store):
    """Whatever the answers cost, within what was asked for."""
    key, _ = store.create("a key", budget="5/day", strict=True)
    request = attrs.evolve(_agents_request(), messages=[Message("user", "hi")], tools=[])
    for _ in range(100):
        try:
            held = store.budgets.reserve(_call(store, key, request))
        except BudgetExceeded:
            break
        held.answered("anthropic", "claude-opus-4-5", Usage(input_tokens=9, output_tokens=32_000), Decimal("0.8001"))
    assert Decimal("3") < store.spent([key])[key.id] <= 5


def _spent_at_last(served, key, reached):
    """What is spent when no call is under way, and as much as is awaited, or patience is over."""
    waiting = threading.Event()
    spent = Decimal(0)
    for _ in range(int(PATIENCE * 10)):
        spent = served.app.keys.spent([key])[key.id]
        if reached(spent):
            break
        waiting.wait(0.1)
    return spent


@pytest.mark.parametrize(
    ("path", "model", "count"), [("/v1/chat/completions", "gpt-4o-mini", 50), ("/v1/messages", "claude-haiku-4-5", 10)]
)
def test_interrupted_streams(served, simulator, path, model, count):
    """What is spent is within a tenth of the vendor's bill: the input, and what it had written when its client left."""
    key, secret = served.app.keys.create("a key", budget="5/day", in_flight=100)
    body = {"model": model, "max_tokens": 4000, "stream": True, "messages": [{"role": "user", "content": "Tell me all. " * 400}]}
    bill, price, waiting = Decimal(0), _price(model), threading.Event()
    simulator.responses = "word and word " * 2000
    for number in range(count):
        words = 20 + 7 * number
        simulator.script(faults.stall_after(words=words))
        stream = served.post(path, body, key=secret, stream=True)
        assert 200 == stream.status_code, stream.text
        text = ""
        for line in stream.iter_lines():
            text += _text(line)
            if len(text.split()) >= words:
                break
        stream.close()
        for _ in range(int(PATIENCE * 100)):
            if served.app.is_idle():
                break
            waiting.wait(0.01)
        asked = simulator.requests[-1].server_request.request
        bill += (price.input * _tokens(asked.messages[-1].text) + price.output * -(-len(text) // 4)) / 1_000_000
    spent = _spent_at_last(served, key, lambda spent: spent >= bill)
    assert Decimal("0.9") * bill <= spent <= Decimal("1.1") * bill


def _price(model):
    vendor = "openai" if model.startswith("gpt") else "anthropic"
    return target_facts(vendor, model)["price"]


def _tokens(text):
    return -(-len(text) // 4) + 3


def _text(line):
    if not line.startswith(b"data: {"):
        return ""
    event = json.loads(line[6:])
    if "choices" in event:
        return "".join([choice["delta"].get("content") or "" for choice in event["choices"]])
    return event.get("delta", {}).get("text", "")


SESSION_HEADERS = ("X-llmdispatcher-Session", "X-Claude-Code-Session-Id", "Session-Id", "Conversation-Id", "Thread-Id")


@each("named", [*[{"headers": {name: "one"}} for name in SESSION_HEADERS], {"body": {"prompt_cache_key": "one"}}, {}])
def test_a_session_of_the_gateway_reserves_less_when_it_is_cached(served, simulator, named):
    """By the session that the client names; without one nothing is taken to be cached."""
    _, secret = served.app.keys.create("a key", budget="5/day")
    usage = Usage(input_tokens=50_000, cache_read_tokens=49_000, output_tokens=9)
    simulator.always(Response(content="hi", model="gpt-4o-mini", vendor="openai", finish_reason="stop", usage=usage))
    body = {"model": "gpt-4o-mini", "max_tokens": 9, "messages": [{"role": "user", "content": "Why? " * 40_000}]}
    reserved = []
    for _ in range(2):
        answer = served.post(
            "/v1/chat/completions", {**body, **named.get("body", {})}, key=secret, headers=named.get("headers", {})
        )
        reserved.append(Decimal(answer.headers["x-llmdispatcher-reserved"]))
    assert (reserved[1] < Decimal("0.6") * reserved[0]) == bool(named)


class TestDraining:
    """Vendors that bill the whole of an answer that is broken off."""

    @pytest.fixture
    def settings(self):
        """The gateway reads such answers to their end."""
        return GatewaySettings(threads=8, drain_vendors=("openai",))

    def test_the_rest_is_read_and_its_cost_is_counted(self, served, simulator):
        """Though the client has left after the first word."""
        key, secret = served.app.keys.create("a key", budget="5/day")
        simulator.always("word " * 200)
        whole = served.post("/v1/chat/completions", {**HELLO, "max_tokens": 4000}, key=secret)
        cost = Decimal(whole.headers["x-llmdispatcher-cost"])
        simulator.tokens_per_second = 500.0
        stream = served.post("/v1/chat/completions", {**HELLO, "max_tokens": 4000, "stream": True}, key=secret, stream=True)
        next(line for line in stream.iter_lines() if b"word" in line)
        stream.close()
        assert 2 * cost == _spent_at_last(served, key, lambda spent: spent >= 2 * cost)

    def test_a_client_that_leaves_while_the_vendor_is_silent(self, served, simulator):
        """Its answer is closed twice, by itself and by the server; the rest is read all the same."""
        key, secret = served.app.keys.create("a key", budget="5/day")
        simulator.always("word " * 8)
        whole = served.post("/v1/chat/completions", HELLO, key=secret)
        cost = Decimal(whole.headers["x-llmdispatcher-cost"])
        simulator.tokens_per_second = 2.0
        stream = served.post("/v1/chat/completions", {**HELLO, "stream": True}, key=secret, stream=True)
        next(line for line in stream.iter_lines() if b"word" in line)
        stream.close()
        wait_until(served.app.is_idle)
        assert 2 * cost == served.app.keys.spent([key])[key.id]


class TestMostOutput:
    """A gateway that bounds what a request may ask for."""

    @pytest.fixture
    def settings(self):
        """At most 1,000 tokens."""
        return GatewaySettings(threads=8, max_max_tokens=1000, default_max_tokens=500)

    def test_more_is_refused(self, served):
        """400, before anything is sent, however a format says it."""
        before = served.simulator.hits
        for path, more in (
            ("/v1/chat/completions", {**HELLO, "max_tokens": 1001}),
            ("/v1/chat/completions", {**HELLO, "max_completion_tokens": 1001}),
            ("/v1/messages", {**HELLO, "max_tokens": 1001}),
            ("/v1/responses", {"model": "gpt-4o-mini", "input": "hi", "max_output_tokens": 1001}),
        ):
            refused = served.post(path, more)
            assert 400 == refused.status_code, refused.text
            assert "1000" in refused.text
        assert before == served.simulator.hits

    def test_the_assumption_is_told(self, served):
        """Of a request that sets no limit."""
        _, secret = served.app.keys.create("a key", budget="5/day")
        answer = served.post("/v1/chat/completions", HELLO, key=secret)
        assert "500" == answer.headers["x-llmdispatcher-assumed-max-tokens"]
        assert 200 == served.post("/v1/chat/completions", {**HELLO, "max_tokens": 1000}, key=secret).status_code
