"""F1: a fork in the middle of everything: calls under way, warm pools, held locks, an open cache. Both sides go on, apart."""

from __future__ import annotations

import pytest

from llmdispatcher.testing import VendorSimulator

from ..conftest import SLACK
from .conftest import MADE, run, run_together

FORKED = f"""
import contextlib, gc, json, multiprocessing, warnings
from pathlib import Path
warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks with threads alive
outcomes, SLACK, STORE = [], {SLACK}, f"{{sys.argv[2]}}-{{os.getpid()}}"
dispatcher = Dispatcher(Config(cache=ResponseCache(store=STORE, store_timeout=5)), observers=[outcomes.append])
dispatcher.register_vendor(OpenAIVendor(api_key="sk-process-0123456789", base_url=sys.argv[1], trust_env=False))
def asked(text, **settings):
    return Request("gpt-4o", text, max_tokens=100_000, **settings)
def sockets():
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.add(os.readlink(entry))
    return {{name for name in found if name.startswith("socket:")}}
def files():
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(os.readlink(entry))
    return [name for name in found if name.startswith(STORE)]
def in_child(work):
    '''What work gives in a forked child, which is waited for.'''
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except BaseException as error:
            said = repr(error)
        os.write(writing, json.dumps(said).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = json.loads(pipe.read())
    os.waitpid(child, 0)
    return said
def work():
    '''A call, a stream, a cached call, in a child; gives the seconds they took, what was wrong, and the sockets at its begin.'''
    inherited = sorted(sockets())
    began = time.monotonic()
    before = len(outcomes)
    wrong = []
    for text in ("one", "two", "two"):
        if dispatcher.send(asked(f"{{text}}-{{os.getpid()}}")).content != f"{{text}}-{{os.getpid()}}":
            wrong.append(text)
    if dispatcher.send_streaming(asked("three")).response().content != "three":
        wrong.append("three")
    return [round(time.monotonic() - began, 3), wrong, inherited, len(outcomes) - before]
"""
"""The beginning of a script with a cached dispatcher, and ``in_child(work)``; a child that must not wait has ``SLACK`` seconds."""


def answer(body):
    text = body["messages"][0]["content"]
    return "word " * 300 if text == "long" else text


SCRIPTS = {
    "with_a_stream_and_calls_under_way": """
stream = dispatcher.send_streaming(asked("long"))
reader = iter(stream)
first = next(reader).content
answers = []
def call(number):
    answers.append(dispatcher.send(asked(f"long")).content)
threads = [threading.Thread(target=call, args=(number,)) for number in range(3)]
for thread in threads: thread.start()
while len(sockets()) < 2: time.sleep(0.01)
mine = sockets()
children = [in_child(work) for _ in range(3)]
for thread in threads: thread.join()
text = first + "".join(chunk.content for chunk in reader)
assert text.split() == ["word"] * 300, text[-100:]
assert [answer.split() for answer in answers] == [["word"] * 300] * 3
for seconds, wrong, inherited, count in children:
    assert seconds < SLACK and not wrong and count == 4, (seconds, wrong, count)
    assert not mine & set(inherited), (mine, inherited)
assert 4 == len(outcomes), outcomes
assert not dispatcher._in_flight._here()
""",
    "with_warm_pools_and_an_open_cache": """
for number in range(5):
    dispatcher.send(asked(f"warm-{number}"))
threads = [threading.Thread(target=dispatcher.send, args=(asked(f"more-{number}"),)) for number in range(5)]
for thread in threads: thread.start()
for thread in threads: thread.join()
mine = sockets()
assert mine and files()
def looked():
    open_files, inherited = files(), sorted(sockets())
    hits = dispatcher.cache.stats().hits
    dispatcher.send(asked("warm-1"))
    dispatcher.send(asked("of the child"))
    return [open_files, inherited, dispatcher.cache.stats().hits - hits, dispatcher.cache.stats().errors]
for _ in range(2):
    open_files, inherited, hits, errors = in_child(looked)
    assert ([], 0) == (open_files, errors), (open_files, errors)
    assert not mine & set(inherited)
    assert hits >= 1
before = dispatcher.cache.stats().hits
dispatcher.send(asked("of the child"))
assert before + 1 == dispatcher.cache.stats().hits
assert 0 == dispatcher.cache.stats().errors
""",
    "with_every_lock_held": """
from llmdispatcher.runtime import forks as locks
dispatcher.send(asked("warm"))
dispatcher.send_streaming(asked("warm too")).response()
held, go_on = threading.Event(), threading.Event()
def hold():
    with contextlib.ExitStack() as stack:
        for lock in list(locks._locks):
            if lock not in spared:
                stack.enter_context(lock)
        held.set()
        go_on.wait()
from llmdispatcher.cache import sqlite
spared = {dispatcher.cache._store._store._lock, sqlite._turn}  # a fork takes them itself, and waits for whoever has them
thread = threading.Thread(target=hold)
thread.start()
held.wait()
def worked():
    seconds, wrong, _, _ = work()
    dispatcher.get_stats()
    dispatcher.explain(asked("x"))
    dispatcher.close()
    return [seconds, wrong]
seconds, wrong = in_child(worked)
go_on.set()
thread.join()
assert (True, []) == (seconds < SLACK, wrong), (seconds, wrong)
assert "parent" == dispatcher.send(asked("parent")).content
""",
    "by_multiprocessing_and_from_a_thread": """
def echoed(number):
    said = dispatcher.send(asked(f"m{number}-{os.getpid()}")).content
    return said == f"m{number}-{os.getpid()}"
def pooled():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return pool.map(echoed, range(10), chunksize=1)
ends = pooled()
stop = threading.Event()
def call():
    number = 0
    while not stop.is_set():
        number += 1
        ends.append(dispatcher.send(asked(f"t{number}")).content == f"t{number}")
def fork_in_thread():
    for _ in range(3):
        seconds, wrong, _, count = in_child(work)
        ends.append(not wrong and count == 4)
threads = [threading.Thread(target=call), threading.Thread(target=fork_in_thread)]
for thread in threads: thread.start()
ends.extend(pooled())
assert "deep" == in_child(lambda: in_child(lambda: dispatcher.send(asked("deep")).content))
threads[1].join()
stop.set()
threads[0].join()
assert all(ends) and len(ends) > 20, ends
""",
    "a_drain_in_a_child_waits_for_none_of_the_parents_calls": """
stream = dispatcher.send_streaming(asked("long"))
reader = iter(stream)
next(reader)
def closed():
    began = time.monotonic()
    dispatcher.close(drain=45)
    return time.monotonic() - began
assert in_child(closed) < SLACK
assert 299 <= len("".join(chunk.content for chunk in reader).split())
assert stream.response().content.split() == ["word"] * 300
""",
}


@pytest.fixture(scope="module")
def forked(tmp_path_factory):
    """What became of all scripts; their vendor says what it is told, and of ``long`` three hundred words."""
    folder = tmp_path_factory.mktemp("forked")
    with VendorSimulator(responses=answer, tokens_per_second=300) as simulator:
        scripts = {name: FORKED + script for name, script in SCRIPTS.items()}
        return run_together(folder, scripts, simulator.openai_url, str(folder / "answers.db"))


def assert_well(done):
    assert (0, "") == (done.returncode, done.stderr)


def test_with_a_stream_and_calls_under_way(forked):
    """The child works at once, on sockets of its own; the parent's stream and calls end as if nothing had been."""
    assert_well(forked["with_a_stream_and_calls_under_way"])


def test_with_warm_pools_and_an_open_cache(forked):
    """The child shares neither a connection nor an open file of the cache, finds the parent's answers there, and adds its own."""
    assert_well(forked["with_warm_pools_and_an_open_cache"])


def test_with_every_lock_held(forked):
    """Whatever lock of the library another thread holds at the fork, the child calls, streams, counts and closes."""
    assert_well(forked["with_every_lock_held"])


def test_by_multiprocessing_and_from_a_thread(forked):
    """A pool of multiprocessing's fork context works, from a thread in the middle of calls too; so do grandchildren."""
    assert_well(forked["by_multiprocessing_and_from_a_thread"])


def test_a_drain_in_a_child_waits_for_none_of_the_parents_calls(forked):
    """What is under way in the parent is the parent's: the child closes at once, and the parent's stream goes on."""
    assert_well(forked["a_drain_in_a_child_waits_for_none_of_the_parents_calls"])


def test_no_call_loads_a_module(tmp_path):
    """A fork in the middle of an import leaves the child an import lock that nobody opens: a made dispatcher has all it needs."""
    script = """
before = set(sys.modules)
dispatcher.send(asked("one"))
dispatcher.send(asked("one"))
dispatcher.send_streaming(asked("two")).response()
list(dispatcher.map([asked("three")]))
dispatcher.explain(asked("x")), dispatcher.get_stats(), dispatcher.close()
print(*sorted(set(sys.modules) - before))
"""
    with VendorSimulator(responses=answer) as simulator:
        done = run(MADE + FORKED + script, simulator.openai_url, str(tmp_path / "answers.db"))

    assert (0, "", "") == (done.returncode, done.stderr, done.stdout.strip())
