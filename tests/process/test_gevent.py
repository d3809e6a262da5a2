"""F3: under gevent's monkey patching calls and streams work side by side in one thread; a patch that comes too late is refused."""

from __future__ import annotations

import threading

from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import PATIENCE, SLACK
from .conftest import MADE, run, with_library

SEND = "lambda: dispatcher.send(ASK, timeout=40).content"
STREAM = """lambda: "".join(chunk.content for chunk in dispatcher.send_streaming(ASK, timeout=40))"""


def patched(servers, script, url, before="from gevent import monkey; monkey.patch_all()", after=""):
    """What a script did that begins with the patch."""
    whole = f"import warnings\n{before}\nimport gevent\n{MADE}\n{after}\n{script}"
    return run(whole, url, python=servers / "python", env=with_library())


def test_greenlets_wait_side_by_side(servers):
    """Twenty calls, then streams, in twenty greenlets are answered by a vendor that answers none before all twenty have asked."""
    asked = threading.Barrier(20)

    def answer(_body):
        asked.wait(PATIENCE)
        return "hello there"

    with VendorSimulator(responses=answer) as vendor:
        done = patched(
            servers,
            f"""
for ask in ({SEND}, {STREAM}):
    jobs = [gevent.spawn(ask) for _ in range(20)]
    gevent.joinall(jobs, timeout=40, raise_error=True)
    assert ["hello there"] * 20 == [job.value for job in jobs]
""",
            vendor.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)


def test_deadlines_cancels_and_drains_work(servers):
    """A deadline ends a call, another greenlet cancels one, map and the cache's single flight work, closing drains.

    The three channels of a stream are read as queues, although gevent has a queue of its own.
    """
    with VendorSimulator(responses="hello there", latency=0.3) as vendor, VendorSimulator().always(faults.silent()) as mute:
        done = patched(
            servers,
            f"""
silent = Dispatcher()
silent.register_vendor(OpenAIVendor(api_key="sk-silent", base_url={mute.openai_url!r}, trust_env=False))
def ended(**settings):
    began = time.monotonic()
    try:
        silent.send(ASK, **settings)
    except DispatchError as error:
        return type(error).__name__, time.monotonic() - began < {SLACK}
cancel = Cancellation()
assert ("DeadlineExceeded", True) == ended(timeout=0.1)
gevent.spawn_later(0.1, cancel.cancel)
assert ("Cancelled", True) == ended(cancel=cancel)
assert ["hello there"] * 5 == [response.content for response in dispatcher.map([ASK] * 5)]
with Dispatcher(Config(cache=ResponseCache())) as other:
    other.register_vendor(dispatcher.get_vendor("openai"))
    gevent.joinall([gevent.spawn(other.send, ASK) for _ in range(5)], timeout=40, raise_error=True)
    assert (1, 4) == (other.cache.stats().misses, other.cache.stats().shared)
stream = dispatcher.send_streaming(ASK, timeout=40)
assert stream.done_channel.get(timeout=40) is True
assert stream.error_channel.qsize() == 0 and stream.error_channel.empty()
waiting = stream.content_channel.qsize()
assert 0 < waiting and not stream.content_channel.full()
text = "".join(stream.content_channel.get_nowait().content for _ in range(waiting))
assert text == "hello there", text
stream = dispatcher.send_streaming(ASK)
dispatcher.close(drain=40)
assert stream.response().content == "hello there"
""",
            vendor.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)


def test_a_patch_after_the_import_is_refused(servers):
    """By a ConfigError that says what to do, before anybody is asked, instead of calls that block all greenlets."""
    with VendorSimulator(responses="hello there") as vendor:
        done = patched(
            servers,
            f"""
for ask in ({SEND}, {STREAM}):
    try:
        ask()
    except ConfigError as error:
        assert "before anything is imported" in str(error), error
    else:
        raise AssertionError
""",
            vendor.openai_url,
            before="",
            after='from gevent import monkey; warnings.simplefilter("ignore"); monkey.patch_all()',
        )

    assert (0, "", 0) == (done.returncode, done.stderr, vendor.hits)
