"""Ctrl-C inside one process: the first cancels, the second ends; other threads are left alone."""

from __future__ import annotations

import signal
import threading

import pytest

from llmdispatcher import Dispatcher, OpenAIVendor, Request, RetryPolicy
from llmdispatcher.cli.terminal import stoppable
from llmdispatcher.testing import LoopbackServer, faults

from .conftest import records


def test_the_first_ctrl_c_cancels():
    """No exception at an arbitrary place; what is in flight hears of it."""
    with stoppable() as stop:
        signal.raise_signal(signal.SIGINT)

        assert stop.cancelled


def test_a_busy_main_thread_does_not_delay_it():
    """Also where the signal comes to another thread while the main one waits for a lock without end."""
    heard, held = threading.Event(), threading.Lock()
    held.acquire()
    with stoppable() as stop:
        stop.subscribe(held.release)
        stop.subscribe(heard.set)
        threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,)).start()
        held.acquire()

    assert heard.is_set()


def test_the_second_ctrl_c_interrupts():
    """As it would have without the command line."""
    with stoppable():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_the_handler_is_put_back():
    """A program that calls main() keeps its own."""
    before = signal.getsignal(signal.SIGINT)
    with stoppable():
        assert before is not signal.getsignal(signal.SIGINT)

    assert before is signal.getsignal(signal.SIGINT)
    assert -1 == signal.set_wakeup_fd(-1)


def test_other_threads_have_no_signals():
    """main() can be called from a thread; then nothing stops it early."""
    stops = []

    def work():
        with stoppable() as stop:
            stops.append(stop.cancelled)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert [False] == stops


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
def test_a_stopped_run_keeps_its_answers(command, prompts, openai, away, more):
    """What was answered is in the file; what was in flight or waiting is neither answered nor failed."""
    openai.script("One.").always(faults.silent())
    watcher = threading.Thread(target=_interrupt_after, args=(openai, 2))
    watcher.start()
    ended = command("run", prompts(*({"id": number} for number in range(6))), "--workers", 1, *more)
    watcher.join()

    assert 130 == ended.code
    assert [0] == [line["id"] for line in records(away / "answers.jsonl")]
    assert "1 of 6 prompts answered, 0 failed, 5 not asked to the end" in ended.out
    assert "6 of 6 done" not in ended.err


def _interrupt_after(simulator, hits):
    simulator.await_hits(hits, timeout=30)
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_simulate_ends_with_ctrl_c(command):
    """It serves any key until then."""
    with LoopbackServer(lambda peer, request: None) as free:
        port = free.port
    answers = []
    watcher = threading.Thread(target=_ask_and_interrupt, args=(port, answers))
    watcher.start()
    ended = command("simulate", "--port", port, "--latency", 0.001)
    watcher.join()

    assert 130 == ended.code
    assert 1 == len(answers)
    assert f"export ANTHROPIC_BASE_URL=http://127.0.0.1:{port}\n" in ended.out


def _ask_and_interrupt(port, answers):
    patient = {"retry_policy": RetryPolicy(max_retries=2000, backoff_strategy="fixed", initial_delay=0.02)}
    try:
        with Dispatcher(patient) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key="any", base_url=f"http://127.0.0.1:{port}/v1", trust_env=False))
            answers.append(dispatcher.send(Request("gpt-4o", "Hello", max_tokens=5)))
    finally:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
