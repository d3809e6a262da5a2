"""What a process runs out of: threads (P3), descriptors (P4), memory (P5). A call fails, typed, and the next one works."""

from __future__ import annotations

import threading

import pytest

from llmdispatcher import Config, Dispatcher, Hedge, OpenAIVendor, Overloaded, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor, VendorSimulator
from llmdispatcher.transport import dns

from ..conftest import PATIENCE
from .conftest import KEY, MADE, run

ASK = Request("gpt-4o", "hi")


@pytest.fixture
def scarce(monkeypatch):
    """Lets ``scarce(n)`` threads of the library start from now on, and no more; gives the names of those that could not."""
    real, refused = threading.Thread.start, []
    left = [None]

    def start(thread):
        if left[0] is not None and thread.name.startswith("llmdispatcher"):
            if left[0] <= 0:
                refused.append(thread.name)
                raise RuntimeError("can't start new thread")
            left[0] -= 1
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)

    def allow(count):
        left[0] = count
        return refused

    return allow


def made(*vendors, **config):
    outcomes = []
    dispatcher = Dispatcher(Config(**config), observers=[outcomes.append])
    for vendor in vendors:
        dispatcher.register_vendor(vendor)
    return dispatcher, outcomes


def read(stream):
    return "".join([chunk.content for chunk in stream])


def test_a_stream_without_a_thread_is_overloaded(scarce):
    """P3: typed, with one outcome, nothing left under way; where threads are to be had again the next one works."""
    dispatcher, outcomes = made(FakeVendor("fine"))
    scarce(0)
    with pytest.raises(Overloaded):
        read(dispatcher.send_streaming(ASK))
    scarce(None)

    assert "fine" == read(dispatcher.send_streaming(ASK))
    assert ["Overloaded", None] == [outcome.error and type(outcome.error).__name__ for outcome in outcomes]
    assert [] == dispatcher._in_flight._here()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_hedging_without_threads_asks_alone(scarce, count):
    """P3: as many ways as threads can be had, none of them needed: the answer comes all the same, with one outcome."""
    slow = FakeVendor("slow", name="a", latency=30.0 if count == 2 else 0.1)  # nobody waits for it where another is asked as well
    quick = FakeVendor("quick", name="b")
    dispatcher, outcomes = made(slow, quick, hedge=Hedge(after=0.02, share=1.0))
    scarce(count)
    answer = dispatcher.send(ASK, timeout=45)

    assert ("quick" if count == 2 else "slow", 1) == (answer.content, len(outcomes))
    assert [] == dispatcher._in_flight._here()


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_job_goes_on_with_the_threads_it_has(scarce, count):
    """P3: without a single one it is Overloaded, with one it is slower; all answers come in order."""
    dispatcher, outcomes = made(FakeVendor(lambda request: request.messages[0].text))
    requests = [Request("m", str(number)) for number in range(20)]
    scarce(count)
    if count:
        assert [str(number) for number in range(20)] == [answer.content for answer in dispatcher.map(requests, max_workers=8)]
        assert 20 == len(outcomes)
    else:
        with pytest.raises(Overloaded):
            list(dispatcher.map(requests, max_workers=8))
        with pytest.raises(Overloaded):
            dispatcher.health_check()


def test_a_name_is_not_resolved_without_a_thread(scarce, monkeypatch):
    """P3: the call is Overloaded and was not sent; the pool's place and the resolver's come back, and the next call works."""
    with VendorSimulator(responses="fine") as simulator:
        place = simulator.openai_url.replace("127.0.0.1", "vendor.test")
        real = dns.socket.getaddrinfo
        monkeypatch.setattr(dns.socket, "getaddrinfo", lambda host, *rest, **named: real("127.0.0.1", *rest, **named))
        dns.RESOLVER.reset()
        vendor = OpenAIVendor(api_key=KEY, base_url=place, trust_env=False, pool_size=1)
        dispatcher, outcomes = made(vendor, retry_policy={"max_retries": 0})
        for _ in range(3):
            scarce(0)
            with pytest.raises(Overloaded) as caught:
                dispatcher.send(ASK, timeout=PATIENCE)
            assert ("dns", False) == (caught.value.phase, caught.value.sent)
        scarce(None)

        assert "fine" == dispatcher.send(ASK, timeout=PATIENCE).content
        assert (4, 0) == (len(outcomes), len(dns.RESOLVER._asked))
        dispatcher.close()
        dns.RESOLVER.reset()


def test_a_process_that_can_start_no_thread(hello):
    """P3: where the system really gives no more threads, calls work, streams are Overloaded, and work again when it gives some."""
    done = run(
        f"""{MADE}
import resource
dispatcher.send(ASK)
dispatcher.send_streaming(ASK).response()
most = resource.getrlimit(resource.RLIMIT_AS)
threading.stack_size(1 << 30)
with open("/proc/self/statm") as statm:
    size = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + (256 << 20), most[1]))
for _ in range(20):
    try:
        dispatcher.send_streaming(ASK).response()
        raise AssertionError
    except Overloaded:
        pass
    try:
        next(dispatcher.map([ASK]))
        raise AssertionError
    except Overloaded:
        pass
    assert "hello" == dispatcher.send(ASK).content
resource.setrlimit(resource.RLIMIT_AS, most)
threading.stack_size(0)
assert "hello" == dispatcher.send_streaming(ASK).response().content
assert not dispatcher._in_flight._here()
assert 43 == dispatcher.get_stats().total_requests
""",
        hello,
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_a_process_without_descriptors(hello, tmp_path):
    """P4: a call, a stream and a cache that can open nothing fail with our error, unsent, or do without; then all work again."""
    done = run(
        f"""{MADE}
import resource
made = []
def fresh(**config):
    made.append(Dispatcher(Config(retry_policy=RetryPolicy(max_retries=0), **config)))
    made[-1].register_vendor(OpenAIVendor(api_key="{KEY}", base_url=sys.argv[1], trust_env=False))
    return made[-1]
dispatcher.send(ASK)
dispatcher.send_streaming(ASK).response()
new, cached, resting = fresh(), fresh(cache=ResponseCache(store=sys.argv[2])), fresh()
resting.register_vendor(FakeVendor("other", name="other"))
before = len(os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
held = []
try:
    while True:
        held.append(open("/dev/null"))
except OSError:
    pass
for ask in (new.send, lambda request: new.send_streaming(request).response(), cached.send):
    try:
        ask(ASK)
        raise AssertionError
    except VendorUnavailable as error:
        assert (False, "connect") == (error.sent, error.phase), (error.sent, error.phase)
assert "hello" == dispatcher.send(ASK).content, "a kept connection needs no new descriptor"
assert "other" == resting.send(ASK).content
for file in held:
    file.close()
for each in (new, cached, resting):
    assert "hello" == each.send(ASK).content
    assert "hello" == each.send_streaming(ASK).response().content
    each.close()
del cached
import gc; gc.collect()
assert before == len(os.listdir("/proc/self/fd")), os.listdir("/proc/self/fd")
""",
        hello,
        str(tmp_path / "answers.db"),
    )

    assert 0 == done.returncode, done.stderr
    known = ("the response cache: its store fails", "the cost of calls of 'other:gpt-4o' is not known")
    assert all(line.startswith(known) for line in done.stderr.splitlines())


def test_a_process_without_memory():
    """P5: an answer that there is no room for fails its call or stream, not the process; small ones go on, threads come back."""
    huge = "x" * (6 << 20)
    with VendorSimulator(responses=lambda body: huge if body["messages"][0]["content"] == "much" else "hello") as simulator:
        done = run(
            f"""{MADE}
import resource
threading.stack_size(256 << 10)
much = Request("gpt-4o", "much", max_tokens=1_000_000)
alone = Dispatcher(Config(retry_policy=RetryPolicy(max_retries=0)))
alone.register_vendor(dispatcher.get_vendor("openai"))
alone.send(ASK)
alone.send_streaming(ASK).response()
most = resource.getrlimit(resource.RLIMIT_AS)
ends = []
for ask in (alone.send, lambda request: alone.send_streaming(request).response()) * 2:
    with open("/proc/self/statm") as statm:
        size = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (8 << 20), most[1]))
    try:
        ask(much)
        ends.append("answered")
    except (MemoryError, DispatchError):
        ends.append("failed")
    resource.setrlimit(resource.RLIMIT_AS, most)
    assert "hello" == alone.send(ASK).content
assert ends.count("failed") >= 2, ends
assert "hello" == alone.send_streaming(ASK).response().content
assert not alone._in_flight._here()
assert 2 + 8 + 1 == alone.get_stats().total_requests, alone.get_stats()
deadline = time.monotonic() + {PATIENCE}
while threading.active_count() > 1 and time.monotonic() < deadline:
    time.sleep(0.01)
assert 1 == threading.active_count(), threading.enumerate()
""",
            simulator.openai_url,
            env={"MALLOC_ARENA_MAX": "1"},
        )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("kind", [MemoryError, RecursionError])
def test_a_vendor_that_runs_out_of_memory_fails_its_attempt(kind):
    """P5: another vendor answers, with one outcome."""
    dispatcher, outcomes = made(FakeVendor(kind(), name="a"), FakeVendor("fine", name="b"))

    assert ("fine", "fine") == (dispatcher.send(ASK).content, read(dispatcher.send_streaming(ASK)))
    assert [VendorUnavailable.__name__] * 2 == [outcome.attempts[0].error for outcome in outcomes]
