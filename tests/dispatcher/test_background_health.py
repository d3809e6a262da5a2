"""Background health: one thread asks the vendors' free lists of models, and calls leave alone who is down before they find out."""

import gc
import json
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from llmdispatcher import Capabilities, Config, ConfigError, Dispatcher, OpenAIVendor, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor, LoopbackServer, VendorSimulator

from ..conftest import PATIENCE

KEY = "sk-background-0123456789"
INTERVAL = 0.05
"""Seconds."""
ANSWER = {"id": "c", "model": "m", "choices": [{"index": 0, "message": {"content": "hi"}, "finish_reason": "stop"}]}
NAME = "llmdispatcher-health"


class Server:
    """A vendor that lists its models and answers, each with the status that it is told; ``None`` is a cut connection."""

    def __init__(self):
        self.listing, self.answering = 200, 200
        self.asked = []
        self.before_listing = lambda: None
        self.server = LoopbackServer(self)

    def __call__(self, peer, wire):
        self.asked.append(wire.method)
        if wire.method == "GET":
            self.before_listing()
        status = self.listing if wire.method == "GET" else self.answering
        if status is None:
            peer.reset()
            return True
        documents = {"GET": {"data": [{"id": "m"}]}, "POST": ANSWER}
        document = documents[wire.method] if status == 200 else {"error": {"message": "no"}}
        peer.reply(status, json.dumps(document).encode())
        return None

    @property
    def looks(self):
        return self.asked.count("GET")

    @property
    def calls(self):
        return self.asked.count("POST")


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """No look is too slow and no finding too old because the machine is busy; and no thread of one test is seen by the next."""
    ended()
    monkeypatch.setattr("llmdispatcher.dispatcher.health.LEAST_PATIENCE", PATIENCE)
    monkeypatch.setattr("llmdispatcher.dispatcher.health.HOLDS", 10_000.0)
    yield
    ended()


def ended():
    if threads():
        gc.collect()
    for thread in threads():
        thread.join(PATIENCE)


@pytest.fixture
def server():
    made = Server()
    with made.server:
        yield made


def made(*vendors, interval=INTERVAL, **settings):
    dispatcher = Dispatcher(Config(health_interval=interval, **settings))
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher


def openai(server, name="openai"):
    return OpenAIVendor(name=name, api_key=KEY, base_url=server.server.url, trust_env=False)


def becomes(claim):
    """Whether it comes true in time."""
    end = time.monotonic() + PATIENCE
    while not claim() and time.monotonic() < end:
        threading.Event().wait(0.005)
    return claim()


def threads():
    return [thread for thread in threading.enumerate() if thread.name == NAME]


def circuit(dispatcher, vendor="openai"):
    plan = dispatcher.explain(Request("gpt-4o", "hi"))
    return next(standing.circuit for standing in plan.statuses if standing.target.vendor == vendor)


def test_nothing_runs_before_the_first_call(server):
    """Neither at construction nor when a vendor is registered."""
    with made(openai(server)) as dispatcher:
        before = (len(threads()), server.looks)
        dispatcher.send(Request("gpt-4o", "hi"))

        assert (0, 0) == before
        assert 1 == len(threads())


def test_without_an_interval_nobody_asks(server):
    """It is a wish of the user's."""
    with made(openai(server), interval=None) as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))

        assert [] == threads()
        assert "unknown" == dispatcher.health()["openai"].status


def test_a_wrong_interval_is_told():
    """By its name."""
    for interval in (0, -1, "5", True, float("inf")):
        with pytest.raises(ConfigError, match="health_interval"):
            Config(health_interval=interval)


def test_the_last_known_health_is_told_with_its_age(server):
    """Without asking again."""
    with made(openai(server), FakeVendor("hi")) as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        assert becomes(lambda: "healthy" == dispatcher.health()["openai"].status)
        health = dispatcher.health()

    assert (True, "1 models") == (health["openai"].ok, health["openai"].detail)
    assert 0 <= health["openai"].age < PATIENCE
    assert ["openai", "fake"] == list(health)


def test_a_health_check_is_remembered(server):
    """Who has asked by himself need not be asked again."""
    with made(openai(server), interval=None) as dispatcher:
        dispatcher.health_check()

        assert ("healthy", 1) == (dispatcher.health()["openai"].status, server.looks)


@pytest.mark.parametrize("trouble", [503, None], ids=["503", "no connection"])
def test_a_vendor_that_is_down_is_left_alone_before_a_call_finds_out(server, trouble):
    """The other one is asked at once, and the first is not asked at all."""
    server.listing = 200
    with made(openai(server), FakeVendor("from the other"), default_vendor="openai") as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        assert becomes(lambda: dispatcher.health()["openai"].status == "healthy")
        server.listing = server.answering = trouble
        assert becomes(lambda: circuit(dispatcher) == "open")
        calls = server.calls
        response = dispatcher.send(Request("gpt-4o", "hi"))

    assert ("from the other", 1, calls) == (response.content, len(response.trace.attempts), server.calls)


def test_it_is_asked_again_as_soon_as_it_answers(server):
    """No open time has to pass."""
    with made(openai(server), FakeVendor("other"), default_vendor="openai") as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        server.listing = None
        assert becomes(lambda: circuit(dispatcher) == "open")
        server.listing = 200
        assert becomes(lambda: circuit(dispatcher) == "closed")

        assert "hi" == dispatcher.send(Request("gpt-4o", "hi")).content


def test_an_open_circuit_is_probed_early_when_its_vendor_answers_again(server):
    """Calls have opened it for five minutes; the vendor was gone and is back."""
    settings = {"circuit_breaker": {"open_time": 300.0, "min_calls": 1}, "default_vendor": "openai"}
    with made(openai(server), FakeVendor("other"), **settings) as dispatcher:
        server.listing = server.answering = None
        dispatcher.send(Request("gpt-4o", "hi"))
        assert becomes(lambda: dispatcher.health()["openai"].status == "unhealthy")
        assert "open" == circuit(dispatcher)
        server.listing = server.answering = 200
        assert becomes(lambda: circuit(dispatcher) == "half-open")

        assert "hi" == dispatcher.send(Request("gpt-4o", "hi")).content
        assert "closed" == circuit(dispatcher)


def test_a_vendor_that_lists_models_all_the_time_is_not_probed_early(server):
    """Its list says nothing of the answers that fail."""
    settings = {"circuit_breaker": {"open_time": 300.0, "min_calls": 1}, "default_vendor": "openai"}
    with made(openai(server), FakeVendor("other"), **settings) as dispatcher:
        server.answering = 503
        dispatcher.send(Request("gpt-4o", "hi"))
        looks = server.looks
        assert becomes(lambda: server.looks > looks + 3)

        assert "open" == circuit(dispatcher)


@pytest.mark.parametrize(
    ("status", "word"), [(401, "unauthorized"), (404, "unhealthy"), (429, "rate_limited"), (501, "unhealthy"), (503, "unhealthy")]
)
def test_a_refusal_is_told_and_holds_nobody_back(server, status, word):
    """It comes from a vendor that is there; a 5xx, too, where the list of models has never worked."""
    server.listing = status
    with made(openai(server)) as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        looks = server.looks
        assert becomes(lambda: server.looks > looks + 3)

        assert ("closed", word) == (circuit(dispatcher), dispatcher.health()["openai"].status)


def test_calls_that_succeed_know_better(server):
    """A list of models that fails alone takes no vendor out of service whose answers come."""
    with made(openai(server), FakeVendor("other"), default_vendor="openai") as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        assert becomes(lambda: dispatcher.health()["openai"].status == "healthy")
        answers, looks, over = [], server.looks, threading.Event()

        def two_answers_later():
            seen = len(answers)
            becomes(lambda: over.is_set() or len(answers) >= seen + 2)

        server.before_listing, server.listing = two_answers_later, 503
        while server.looks < looks + 6:
            answers.append(dispatcher.send(Request("gpt-4o", "hi")).content)
        over.set()

    assert {"hi"} == set(answers)


def test_the_only_vendor_is_asked_although_it_seems_down(server):
    """As with any open circuit; its answer ends the outage."""
    with made(openai(server)) as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        server.listing = None
        assert becomes(lambda: circuit(dispatcher) == "open")

        assert "hi" == dispatcher.send(Request("gpt-4o", "hi")).content


class Own:
    """A vendor of the user's own, whose list of models does what it is told."""

    name = "own"

    def __init__(self, listed):
        self._fake, self._listed = FakeVendor("own"), listed
        self.capabilities, self.send, self.stream = Capabilities(models=("gpt-4o",)), self._fake.send, self._fake.stream
        self.looks, self.at_once, self.most = 0, 0, 0

    def is_available(self):
        return True

    def list_models(self, deadline):
        self.looks, self.at_once = self.looks + 1, self.at_once + 1
        self.most = max(self.most, self.at_once)
        try:
            return self._listed(deadline)
        finally:
            self.at_once -= 1


def raising(error):
    def listed(_deadline):
        raise error

    return listed


@pytest.mark.parametrize("error", [KeyError("secret"), SystemExit(1), VendorUnavailable("down")], ids=repr)
def test_whatever_a_vendor_raises_the_others_are_asked_on(server, error):
    """The thread lives, and the text of a foreign exception is not told."""
    own = Own(raising(error))
    with made(own, openai(server)) as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        assert becomes(lambda: own.looks > 3 and server.looks > 3)
        health = dispatcher.health()["own"]

        assert ("unhealthy", False) == (health.status, "secret" in str(health))


def test_a_vendor_is_asked_by_one_at_a_time():
    """However short the interval and many the callers."""
    own = Own(lambda deadline: deadline.sleep(0.01) or ())
    with made(own, interval=0.001) as dispatcher:
        list(dispatcher.map([Request("gpt-4o", "hi")] * 50))
        assert becomes(lambda: own.looks > 10)

        assert (1, 1) == (own.most, len(threads()))


def test_a_silent_vendor_is_given_up_and_is_down(monkeypatch):
    """Its list does not come within the patience of a check."""
    monkeypatch.setattr("llmdispatcher.dispatcher.health.LEAST_PATIENCE", INTERVAL)
    own = Own(lambda deadline: deadline.sleep(60) or ())
    with made(own, FakeVendor("other")) as dispatcher:
        dispatcher.send(Request("gpt-4o", "hi"))
        assert becomes(lambda: circuit(dispatcher, "own") == "open")

        assert ["fake"] == [dispatcher.send(Request("gpt-4o", "hi")).vendor]


@pytest.mark.parametrize("end", ["close", "drop"])
def test_it_ends_with_the_dispatcher(server, monkeypatch, end):
    """Also in the middle of a check, which would last a minute."""
    monkeypatch.setattr("llmdispatcher.dispatcher.health.LEAST_PATIENCE", 60.0)
    own = Own(lambda deadline: deadline.sleep(60) or ())
    dispatcher = made(own, openai(server), interval=1.0)
    dispatcher.send(Request("gpt-4o", "hi"))
    assert becomes(lambda: own.looks == 1)
    (thread,) = threads()
    if end == "close":
        dispatcher.close()
    del dispatcher
    gc.collect()
    thread.join(PATIENCE)

    assert not thread.is_alive()


def test_a_closed_dispatcher_starts_none(server):
    """Nor does a call that it refuses."""
    dispatcher = made(openai(server))
    dispatcher.close()
    with pytest.raises(ConfigError, match="closed"):
        dispatcher.send(Request("gpt-4o", "hi"))
    dispatcher._health.begin()

    assert [] == threads()


def test_a_thread_that_cannot_start_fails_no_call(server, monkeypatch):
    """A later call tries again."""
    real = threading.Thread.start
    monkeypatch.setattr("llmdispatcher.dispatcher.health._AGAIN", 0.0)

    def start(thread):
        if thread.name == NAME:
            raise RuntimeError("can't start new thread")
        real(thread)

    with made(openai(server)) as dispatcher:
        monkeypatch.setattr(threading.Thread, "start", start)
        contents = [dispatcher.send(Request("gpt-4o", "hi")).content for _ in range(2)]
        none = threads()
        monkeypatch.setattr(threading.Thread, "start", real)
        contents.append(dispatcher.send(Request("gpt-4o", "hi")).content)

        assert (["hi"] * 3, [], 1) == (contents, none, len(threads()))


def test_no_thread_is_tried_for_at_every_call(server, monkeypatch):
    """A process at its limit is left in peace for a second."""
    tried = []

    def start(thread):
        tried.append(thread.name)
        raise RuntimeError("can't start new thread")

    with made(openai(server)) as dispatcher, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(5):
            dispatcher._health.begin()

    assert [NAME] == tried


SCRIPT = """
import os, sys, threading, time
from llmdispatcher import Config, Dispatcher, OpenAIVendor, Request

def threads():
    return [thread.name for thread in threading.enumerate() if thread.name == "llmdispatcher-health"]

dispatcher = Dispatcher(Config(health_interval=0.05))
dispatcher.register_vendor(OpenAIVendor(api_key="sk-background-0123456789", base_url=sys.argv[1], trust_env=False))
dispatcher.send(Request("gpt-4o", "hi"))
assert 1 == len(threads())
"""


def ran(script, url):
    code = SCRIPT + textwrap.dedent(script)
    return subprocess.run([sys.executable, "-W", "error", "-c", code, url], capture_output=True, text=True, timeout=50, check=False)


def test_a_forked_child_has_a_thread_of_its_own():
    """From its own first call on; its end leaves the parent's thread alone."""
    with VendorSimulator(responses="hi") as simulator:
        done = ran(
            """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
            if not child:
                try:
                    assert not threads()
                    dispatcher.send(Request("gpt-4o", "hi"))
                    assert 1 == len(threads())
                    dispatcher.close()
                    end = time.monotonic() + 20
                    while threads() and time.monotonic() < end: time.sleep(0.01)
                    os._exit(len(threads()))
                except BaseException as error:
                    print(repr(error), file=sys.stderr)
                    os._exit(9)
            assert 0 == os.waitpid(child, 0)[1]
            assert 1 == len(threads())
            before, age = 0.0, None
            end = time.monotonic() + 20
            while age is None or age >= before:  # until it grows less: the parent's thread has looked again
                assert time.monotonic() < end
                time.sleep(0.001)
                before, age = age or 0.0, dispatcher.health()["openai"].age
            """,
            simulator.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)


def test_it_keeps_no_process_alive():
    """The interpreter exits in the middle of a look that never ends, without a close and without a word."""
    with VendorSimulator(responses="hi") as simulator:
        done = ran(
            """
            from llmdispatcher.testing import FakeVendor
            looks = threading.Event()

            class Stuck(FakeVendor):
                def list_models(self, deadline):
                    looks.set()
                    threading.Event().wait()

            dispatcher.register_vendor(Stuck("x", name="stuck"))
            assert looks.wait(20)
            """,
            simulator.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)
