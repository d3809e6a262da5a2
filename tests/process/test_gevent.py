"""F3: under gevent's monkey patching calls and streams work side by side in one thread; a patch that comes too late is refused."""

from __future__ import annotations

import pytest

from llmdispatcher.testing import VendorSimulator

from .conftest import MADE, run, with_library

SEND = "lambda: dispatcher.send(ASK, timeout=5).content"
STREAM = """lambda: "".join(chunk.content for chunk in dispatcher.send_streaming(ASK, timeout=5))"""


@pytest.fixture(scope="module")
def slow():
    """The address of a vendor that takes 0.3 s for an answer."""
    with VendorSimulator(answers="hello there", latency=0.3) as simulator:
        yield simulator.openai_url


def patched(servers, script, url, before="from gevent import monkey; monkey.patch_all()", after=""):
    """What a script did that begins with the patch."""
    whole = f"import warnings\n{before}\nimport gevent\n{MADE}\n{after}\n{script}"
    return run(whole, url, python=servers / "python", env=with_library())


@pytest.mark.parametrize("ask", [SEND, STREAM], ids=["send", "stream"])
def test_greenlets_wait_side_by_side(servers, slow, ask):
    """Twenty calls of 0.3 s in twenty greenlets take less than 2 s together."""
    done = patched(
        servers,
        f"""
began = time.monotonic()
jobs = [gevent.spawn({ask}) for _ in range(20)]
gevent.joinall(jobs, timeout=10, raise_error=True)
assert ["hello there"] * 20 == [job.value for job in jobs]
assert time.monotonic() - began < 2, time.monotonic() - began
""",
        slow,
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_deadlines_cancels_and_drains_work(servers, slow):
    """A deadline ends a call, another greenlet cancels one, map and the cache's single flight work, closing drains."""
    done = patched(
        servers,
        """
def ended(**settings):
    began = time.monotonic()
    try:
        dispatcher.send(ASK, **settings)
    except DispatchError as error:
        return type(error).__name__, time.monotonic() - began < 0.25
cancel = Cancellation()
assert ("DeadlineExceeded", True) == ended(timeout=0.1)
gevent.spawn_later(0.1, cancel.cancel)
assert ("Cancelled", True) == ended(cancel=cancel)
assert ["hello there"] * 5 == [response.content for response in dispatcher.map([ASK] * 5)]
with Dispatcher(Config(cache=ResponseCache())) as other:
    other.register_vendor(dispatcher.get_vendor("openai"))
    gevent.joinall([gevent.spawn(other.send, ASK) for _ in range(5)], timeout=5, raise_error=True)
    assert (1, 4) == (other.cache.stats().misses, other.cache.stats().shared)
stream = dispatcher.send_streaming(ASK)
dispatcher.close(drain=5)
assert stream.response().content == "hello there"
""",
        slow,
    )

    assert (0, "") == (done.returncode, done.stderr)


def test_a_channel_is_read_as_a_queue(servers, slow):
    """The three channels of a stream, although gevent has a queue of its own."""
    done = patched(
        servers,
        """
stream = dispatcher.send_streaming(ASK, timeout=5)
assert stream.done_channel.get(timeout=5) is True
assert stream.error_channel.qsize() == 0 and stream.error_channel.empty()
waiting = stream.content_channel.qsize()
assert 0 < waiting and not stream.content_channel.full()
text = "".join(stream.content_channel.get_nowait().content for _ in range(waiting))
assert text == "hello there", text
""",
        slow,
    )

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("ask", [SEND, STREAM], ids=["send", "stream"])
def test_a_patch_after_the_import_is_refused(servers, slow, ask):
    """Within a second, by a ConfigError that says what to do, instead of calls that block all greenlets."""
    done = patched(
        servers,
        f"""
began = time.monotonic()
try:
    ({ask})()
except ConfigError as error:
    assert "before anything is imported" in str(error), error
    assert time.monotonic() - began < 1
else:
    raise AssertionError
""",
        slow,
        before="",
        after='from gevent import monkey; warnings.simplefilter("ignore"); monkey.patch_all()',
    )

    assert (0, "") == (done.returncode, done.stderr)
