"""Signals inside one process: the first cancels, the second ends; a batch drains first; other threads are left alone."""

from __future__ import annotations

import signal
import threading

import pytest

from llmdispatcher.cli.signals import TerminatedBySignal, catch_signals, catch_termination

from ..conftest import PATIENCE

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}


@pytest.mark.parametrize(("number", "code"), SIGNALS.items(), ids=str)
def test_the_first_signal_cancels(number, code):
    """No exception at an arbitrary place; what is in flight hears of it."""
    with catch_signals() as stop:
        signal.raise_signal(number)

        assert (True, code) == (stop.cancel.cancelled, stop.code)


@pytest.mark.parametrize("number", SIGNALS, ids=str)
def test_with_a_grace_the_first_signal_lets_end_and_the_second_cancels(number):
    """Whichever the second is; the exit code is that of the first."""
    with catch_signals(grace=1000) as stop:
        stop.cancel.busy = True
        signal.raise_signal(number)
        assert (True, False) == (stop.cancel.draining, stop.cancel.cancelled)
        signal.raise_signal(signal.SIGTERM)

        assert (True, SIGNALS[number]) == (stop.cancel.cancelled, stop.code)


def test_a_grace_ends():
    """By itself."""
    cancelled = threading.Event()
    with catch_signals(grace=0.01) as stop:
        stop.cancel.subscribe(cancelled.set)
        stop.cancel.busy = True
        signal.raise_signal(signal.SIGTERM)

        assert cancelled.wait(PATIENCE)


def test_the_third_signal_acts_as_ever():
    """For a run that does not even end when it is cancelled."""
    with catch_termination(), catch_signals(grace=1000):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(TerminatedBySignal):
            signal.raise_signal(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=str)
def test_signals_end_what_does_not_listen(number):
    """A command that waits for something else; main() tells the code."""
    with pytest.raises(TerminatedBySignal) as caught, catch_termination():
        signal.raise_signal(number)

    assert SIGNALS[number] == caught.value.code
    assert signal.SIG_DFL is signal.getsignal(number)


def test_handlers_of_a_program_are_left_alone():
    """Of one that calls main() and has its own; and nohup."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append("TERM"))
    hangup = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with catch_termination():
            signal.raise_signal(signal.SIGTERM)
            with catch_signals() as stop:
                signal.raise_signal(signal.SIGHUP)
                assert not stop.cancel.cancelled
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGHUP, hangup)

    assert ["TERM"] == heard


def test_a_busy_main_thread_does_not_delay_it():
    """Also where the signal comes to another thread while the main one waits for a lock without end."""
    heard, held = threading.Event(), threading.Lock()
    held.acquire()
    with catch_signals() as stop:
        stop.cancel.subscribe(held.release)
        stop.cancel.subscribe(heard.set)
        threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,)).start()
        held.acquire()

    assert heard.is_set()


def test_the_second_ctrl_c_interrupts():
    """As it would have without the command line."""
    with catch_signals():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_is_put_back():
    """A program that calls main() keeps its own."""
    before = signal.getsignal(signal.SIGINT)
    with catch_signals():
        assert before is not signal.getsignal(signal.SIGINT)

    assert before is signal.getsignal(signal.SIGINT)
    assert -1 == signal.set_wakeup_fd(-1)


def test_other_threads_have_no_signals():
    """main() can be called from a thread; then nothing stops it early."""
    stops = []

    def work():
        with catch_signals() as stop:
            stops.append(stop.cancel.cancelled)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert [False] == stops
