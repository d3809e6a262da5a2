"""Several keys of one vendor: the next is used while one is refused, limited or spent, and none is ever told."""

import json

import pytest

from llmdispatcher import AuthenticationError, ConfigError, OpenAIVendor, RateLimitError, Request
from llmdispatcher.clock import Deadline
from llmdispatcher.testing import ManualClock
from llmdispatcher.testing.loopback import LoopbackServer

KEYS = ("sk-first-0123456789", "sk-second-0123456789", "sk-third-0123456789")
ANSWER = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}


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
            vendor.send(Request("m", "hi"), Deadline.after(10))
    finally:
        vendor.close()
    return vendor


SPENT = (429, {"error": {"message": "no credit", "code": "insufficient_quota"}})
LIMITED = (429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, ("Retry-After", "20"))
REFUSED = (401, {"error": {"message": "Incorrect API key provided: KEY", "code": "invalid_api_key"}})


@pytest.mark.parametrize("refusal", [SPENT, LIMITED, REFUSED], ids=["spent", "limited", "refused"])
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
        vendor.send(Request("m", "hi"), Deadline.after(10))
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


@pytest.mark.parametrize(("keys", "text"), [([], "list of keys is empty"), ([KEYS[0], ""], "api_key"), (["bad key"], "api_key")])
def test_a_wrong_list_is_told(keys, text):
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=text):
        OpenAIVendor(api_key=keys)
