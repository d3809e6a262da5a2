"""One lockfile, many threads: look-ups see the state before or after a change, and every change is there in the end."""

import threading

from llmdispatcher import Config, Dispatcher, Lockfile, Request
from llmdispatcher.testing import FakeVendor

from ...threads import in_threads

THREADS = 16


def at_once(work):
    """Run ``work`` with a number in each of many threads, begun together; what was raised is raised."""
    gate, raised = threading.Barrier(THREADS), []

    def run(number):
        gate.wait()
        try:
            work(number)
        except BaseException as error:
            raised.append(error)

    in_threads(run, range(THREADS))
    for error in raised:
        raise error


def test_no_change_is_lost():
    """Each thread binds aliases of its own, in the same profile."""
    lock = Lockfile()
    at_once(lambda number: [lock.bind(f"{number}-{turn}", ["x:y"]) for turn in range(20)])

    assert THREADS * 20 == len(lock.aliases())


def test_a_look_up_sees_before_or_after():
    """While an alias changes from one pool to another and back, nothing else is seen, and no half of both."""
    lock = Lockfile()
    pools = [("a:1", "b:2"), ("c:3", "d:4")]
    lock.bind("who", pools[0])
    seen = set()

    def work(number):
        for turn in range(200):
            if number == 0:
                lock.bind("who", pools[turn % 2])
            else:
                seen.add(lock.resolve("who"))

    at_once(work)
    assert seen <= set(pools)


def test_a_lockfile_is_read_once_by_many(here):
    """The first calls of a dispatcher come together; all get the same lockfile, and later changes of it."""
    made = Lockfile.create_default("llmdispatcher.lock")
    made.bind("who", ["x:y"])
    made.save()
    locks = []
    with Dispatcher(Config(lockfile=True)) as dispatcher:
        dispatcher.register_vendor(FakeVendor("hi", name="x"))

        def work(number):
            assert "x:y" == dispatcher.send(Request("who", str(number))).ref
            locks.append(dispatcher.lockfile)

        at_once(work)
    assert 1 == len({id(lock) for lock in locks})


def test_many_saves_leave_a_whole_file(here):
    """Those who save the same object at once do so one after the other; the file is never torn, and nothing is left beside it."""
    path = Lockfile.create_default("llmdispatcher.lock").save()
    lock = Lockfile.load(path)

    def work(number):
        lock.bind(f"alias-{number}", ["x:y"])
        lock.save()
        Lockfile.load(path)

    at_once(work)
    lock.save()
    assert {f"alias-{number}" for number in range(THREADS)} == set(Lockfile.load(path).aliases())
    assert [path.name] == [file.name for file in here.iterdir()]
