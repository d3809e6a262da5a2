"""Many requests at once: order, bounds, errors as values."""

import itertools
import threading

import pytest

from llmdispatcher import ConfigError, Dispatcher, InvalidRequest, Request
from llmdispatcher.testing import FakeVendor

from ..conftest import PATIENCE


def asks(count=None):
    numbers = itertools.count() if count is None else range(count)
    return (Request(model="m", messages=str(number)) for number in numbers)


def echo(request):
    return request.messages[0].text


def dispatcher_of(*answers):
    dispatcher = Dispatcher()
    dispatcher.register_vendor(FakeVendor(*answers))
    return dispatcher


def test_results_come_in_the_order_of_the_requests():
    """Whoever finishes first."""
    assert [str(number) for number in range(50)] == [answer.content for answer in dispatcher_of(echo).map(asks(50), max_workers=8)]


def test_endless_requests_are_taken_a_few_at_a_time():
    """Reading three answers of an endless job takes no more than a window of requests."""
    taken = []

    def counted():
        for request in asks():
            taken.append(request)
            yield request

    answers = dispatcher_of(echo).map(counted(), max_workers=2)
    first = [next(answers).content for _ in range(3)]
    answers.close()

    assert (["0", "1", "2"], True) == (first, len(taken) <= 3 + 4)


def test_the_first_error_is_raised():
    """A job stops at its first failure, unless errors are asked for as values."""
    with pytest.raises(InvalidRequest):
        list(dispatcher_of("ok", InvalidRequest("no")).map(asks(4), max_workers=1))


def test_errors_are_values_on_request():
    """Each failure stands in its place."""
    answers = list(dispatcher_of("ok", InvalidRequest("no"), "ok").map(asks(3), max_workers=1, return_errors=True))

    assert ["Response", "InvalidRequest", "Response"] == [type(answer).__name__ for answer in answers]


def test_a_bug_is_never_a_value():
    """What is no DispatchError is raised in any case."""
    with pytest.raises(KeyboardInterrupt):
        list(dispatcher_of(KeyboardInterrupt()).map(asks(1), return_errors=True))


def test_workers_end_with_the_job():
    """No thread is left when the last answer was read, nor when the reader stopped early."""
    list(dispatcher_of(echo).map(asks(10), max_workers=4))
    stopped = dispatcher_of(echo).map(asks(), max_workers=4)
    next(stopped)
    stopped.close()
    for thread in threading.enumerate():
        if thread.name.startswith("llmdispatcher-map"):
            thread.join(PATIENCE)

    assert [] == [thread.name for thread in threading.enumerate() if thread.name.startswith("llmdispatcher-map")]


@pytest.mark.parametrize("workers", [0, -1, 1.5, True])
def test_a_job_needs_a_worker(workers):
    """A senseless number is named at once."""
    with pytest.raises(ConfigError, match="max_workers"):
        dispatcher_of(echo).map(asks(1), max_workers=workers)


def test_what_was_not_begun_is_not_asked_after_the_end():
    """Nobody pays for requests that were taken in advance for a reader who has left."""
    seen, hold = [], threading.Event()

    def answer(request):
        seen.append(request)
        if len(seen) > 1:
            hold.wait(PATIENCE)
        return "ok"

    job = dispatcher_of(answer).map(asks(), max_workers=1)
    next(job)
    job.close()
    hold.set()
    for thread in threading.enumerate():
        if thread.name.startswith("llmdispatcher-map"):
            thread.join(PATIENCE)

    assert len(seen) <= 2


def test_answers_come_as_they_become_ready():
    """A slow source does not hold back what is answered already, although the window is not full."""
    taken, seen = [], []

    def slowly():
        while not seen and len(taken) < 2_000:
            taken.append(None)
            yield Request(model="m", messages="hi")
            threading.Event().wait(0.01)

    job = dispatcher_of(echo).map(slowly(), max_workers=2_000)
    seen.append(next(job))
    job.close()

    assert ("hi", True) == (seen[0].content, len(taken) < 2_000)
