"""The window of a minute: exact, and the same work however many calls it holds."""

from collections import deque

from llmdispatcher.resilience.rate_limit import WINDOW, Window


class Unsearched(deque):
    """Entries that nobody may look through to find one."""

    def __contains__(self, entry):
        raise AssertionError("a hundred thousand entries were searched")

    remove = index = __contains__


def full(calls=1000):
    """A window with calls of ten tokens, the first at 0 and the last just now; and these calls."""
    window = Window(None, 10**9)
    window.entries = Unsearched()
    return window, [window.take(10, number / calls) for number in range(calls)]


def test_a_correction_is_not_looked_for():
    """What a call really used takes the place of its estimate."""
    window, calls = full()
    window.correct(calls[500], 25)

    assert (10_015, 25) == (window.tokens, calls[500].tokens)


def test_a_call_that_was_not_made_is_forgotten_once():
    """Its tokens and its place are free; dropping it again, or correcting it, changes nothing."""
    window, calls = full()
    window.drop(calls[-2])
    window.drop(calls[-2])
    window.correct(calls[-2], 99)

    assert (9_990, 999, calls[-1]) == (window.tokens, len(window.entries), window.entries[-1])


def test_what_is_past_is_not_corrected():
    """Nor dropped: it does not count any longer."""
    window, calls = full()
    window.forget(WINDOW + 0.5)
    window.correct(calls[0], 99)
    window.drop(calls[0])

    assert (10 * len(window.entries), 499) == (window.tokens, len(window.entries))
