"""Several keys of one vendor: the next is used while one is refused, limited or spent, and none is ever told."""

import json
import logging

import pytest

from llmdispatcher import AuthenticationError, ConfigError, Deadline, Dispatcher, OpenAIVendor, RateLimit, RateLimitError, Request
from llmdispatcher.testing import FakeVendor, LoopbackServer, ManualClock

from ..cases import each

KEYS = ("sk-first-0123456789", "sk-second-0123456789", "sk-third-0123456789")
ANSWER = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
STREAMED = (
    b'data: {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}\n\n'
    b"data: [DONE]\n\n"
)


class Server:
    """Refuses some keys, and notes which it was shown."""

    def __init__(self, refusals):
        self.refusals = refusals
        self.shown = []
        self.server = LoopbackServer(self)

    def __call__(self, peer, wire):
        key = wire.headers["authorization"].removeprefix("Bearer ")
        self.shown.append(KEYS.index(key) + 1)
        status, document, *headers = self.refusals.get(key, (200, ANSWER))
        if status == 200 and b'"stream":true' in wire.body.replace(b" ", b""):
            peer.start_stream(*headers)
            peer.chunk(STREAMED)
            peer.chunk(b"")
        else:
            peer.reply(status, json.dumps(document).encode().replace(b"KEY", key.encode()), *headers)


@pytest.fixture
def serve():
    running = []

    def start(**refusals):
        server = Server({KEYS[int(name[1:]) - 1]: refusal for name, refusal in refusals.items()})
        running.append(server.server)
        return server

    yield start
    for server in running:
        server.close()


def asked(server, clock, times=1):
    vendor = OpenAIVendor(api_key=list(KEYS), base_url=server.server.url, trust_env=False, clock=clock)
    try:
        for _ in range(times):
            vendor.send(Request("m", "hi"), Deadline.after(30))
    finally:
        vendor.close()
    return vendor


SPENT = (429, {"error": {"message": "no credit", "code": "insufficient_quota"}})
LIMITED = (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, ("Retry-After", "20"))
REFUSED = (401, {"error": {"message": "Incorrect API key provided: KEY", "code": "invalid_api_key"}})


@each("refusal", [SPENT, LIMITED, REFUSED])
def test_the_next_key_is_tried_at_once(serve, refusal):
    """Within the same attempt, and from then on first."""
    server = serve(k1=refusal)
    asked(server, ManualClock(), times=3)

    assert [1, 2, 2, 2] == server.shown


def test_a_key_comes_back_after_its_rest(serve):
    """As long as the vendor said."""
    server, clock = serve(k1=LIMITED), ManualClock()
    vendor = OpenAIVendor(api_key=list(KEYS), base_url=server.server.url, trust_env=False, clock=clock)
    for wait in (0, 19, 2):
        clock.advance(wait)
        vendor.send(Request("m", "hi"), Deadline.after(30))
    vendor.close()

    assert [1, 2, 2, 1, 2] == server.shown


def test_when_all_are_refused_the_last_refusal_is_told(serve):
    """Without any of the keys in it."""
    server = serve(k1=REFUSED, k2=REFUSED, k3=REFUSED)
    with pytest.raises(AuthenticationError) as caught:
        asked(server, ManualClock())

    assert [1, 2, 3] == server.shown
    assert not any(key in f"{caught.value} {caught.value!r}" for key in KEYS)


def test_a_limit_of_all_keys_is_a_rate_limit(serve):
    """The call fails over or waits, as with one key."""
    server = serve(k1=LIMITED, k2=LIMITED, k3=LIMITED)
    with pytest.raises(RateLimitError):
        asked(server, ManualClock())


def test_other_failures_are_no_fault_of_the_key(serve):
    """Another key would change nothing."""
    server = serve(k1=(503, {"error": {"message": "down"}}))
    with pytest.raises(Exception, match="down"):
        asked(server, ManualClock())

    assert [1] == server.shown


def test_keys_are_in_no_repr():
    """Neither of the vendor nor of its configuration."""
    vendor = OpenAIVendor(api_key=list(KEYS))

    assert not any(key in f"{vendor!r} {vendor._config!r} {vendor._credentials!r}" for key in KEYS)


@each("keys, text", [([], "list of keys is empty"), ([KEYS[0], ""], "api_key"), (["bad key"], "api_key")])
def test_a_wrong_list_is_told(keys, text):
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=text):
        OpenAIVendor(api_key=keys)


USED_UP = (200, ANSWER, ("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "30s"))
REQUEST = Request("m", "hi")


@pytest.fixture
def dispatching(serve):
    """A dispatcher whose vendor counts each of three keys for itself, the server behind it, and a vendor to fail over to."""
    dispatchers = []

    def start(*, other=False, limit=None, **refusals):
        server = serve(**refusals)
        dispatcher = Dispatcher({"default_vendor": "openai", "retry_policy": {"max_retries": 0}})
        limit = {"requests_per_minute": 1} if limit is None else limit
        settings = {"base_url": server.server.url, "trust_env": False, "rate_limit": RateLimit(per_key=True, **limit)}
        dispatcher.register_vendor(OpenAIVendor(api_key=list(KEYS), **settings))
        if other:
            dispatcher.register_vendor(FakeVendor("from the other", name="other"))
        dispatchers.append(dispatcher)
        return dispatcher, server

    yield start
    for dispatcher in dispatchers:
        dispatcher.close()


def left(dispatcher):
    return [key.requests_remaining for key in dispatcher.get_rate_limit_status("openai").keys]


def test_a_key_that_is_used_up_is_changed_before_it_is_refused(dispatching):
    """One request a minute of each; each attempt tells its key's number."""
    dispatcher, server = dispatching(other=True)
    responses = [dispatcher.send(REQUEST) for _ in range(4)]

    assert [1, 2, 3] == server.shown
    assert [1, 2, 3, None] == [response.trace.attempts[0].key for response in responses]
    assert ["openai", "openai", "openai", "other"] == [response.vendor for response in responses]


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_what_an_answer_says_is_left_is_of_its_key(dispatching, streamed):
    """The first has nothing left, by the vendor's own count; the second goes on."""
    dispatcher, server = dispatching(limit={}, k1=USED_UP)
    for _ in range(3):
        if streamed:
            dispatcher.send_streaming(REQUEST).response()
        else:
            dispatcher.send(REQUEST)

    assert [1, 2, 2] == server.shown
    assert [0, None, None] == left(dispatcher)


def test_a_refused_key_is_changed_for_one_that_has_a_place(dispatching):
    """Both are counted: the refused request, and the one that was answered."""
    dispatcher, server = dispatching(limit={"requests_per_minute": 2}, k1=LIMITED)
    response = dispatcher.send(REQUEST)

    assert ([1, 2], 2) == (server.shown, response.trace.attempts[0].key)
    assert [1, 1, 2] == left(dispatcher)


def test_a_refused_key_is_not_changed_for_one_that_is_used_up(dispatching):
    """The call goes to another vendor; no key is shown beyond its limit."""
    dispatcher, server = dispatching(other=True, k3=LIMITED)
    vendors = [dispatcher.send(REQUEST).vendor for _ in range(3)]

    assert ([1, 2, 3], ["openai", "openai", "other"]) == (server.shown, vendors)


def test_a_key_that_was_refused_keeps_its_place_in_flight_no_longer(dispatching):
    """Whichever keys a call has shown, when it has ended nothing is in flight."""
    dispatcher, _ = dispatching(limit={"max_in_flight": 1}, k1=SPENT, k2=REFUSED)
    dispatcher.send(REQUEST)
    status = dispatcher.get_rate_limit_status("openai")

    assert (3, 0, [0, 0, 0]) == (status.in_flight_limit, status.in_flight, [key.in_flight for key in status.keys])


def test_limits_of_keys_tell_their_numbers_alone(dispatching, caplog):
    """No key is in a status, a plan, a trace or a log."""
    caplog.set_level(logging.DEBUG)
    dispatcher, _ = dispatching(k1=LIMITED, k2=REFUSED)
    response = dispatcher.send(REQUEST)
    plan = dispatcher.explain(REQUEST)
    told = [dispatcher.get_rate_limit_status("openai"), plan, plan.as_dict(), response.trace, response.trace.as_dict()]
    told += [dispatcher, dispatcher._attempt_loop.limits._counts, caplog.text]

    assert [] == [key for key in KEYS for each in told if key in f"{each} {each!r}"]
    assert "3" in str(response.trace.as_dict()["attempts"][0]["key"])
