"""What every row of the fault matrix needs: a dispatcher towards a simulator, and the invariants afterwards."""

from __future__ import annotations

import gc
import logging
import pickle
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import pytest

from llmdispatcher import (
    AnthropicVendor,
    AzureOpenAIVendor,
    Config,
    Dispatcher,
    DispatchError,
    GoogleVendor,
    HttpVendor,
    OpenAIVendor,
    Outcome,
    Request,
    RetryPolicy,
)
from llmdispatcher.dispatcher import streaming
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.runtime.deadline import SystemClock
from llmdispatcher.testing import Fault, VendorSimulator

from ..conftest import PATIENCE

CANARY = "sk-canary-5d1f0c7e9b"
PROMPT = "whispered-prompt-71c4"
LIMIT = 0.2
"""Seconds of every single limit of a vendor that hangs, so that it is given up soon; any other has :data:`PATIENCE`."""

_BEAT, _STANDSTILL = 0.01, 0.03

MODELS = {"openai": "gpt-4o", "azure": "gpt-4o", "anthropic": "claude-sonnet-4-6", "google": "gemini-2.5-flash"}
_KINDS = {"openai": OpenAIVendor, "azure": AzureOpenAIVendor, "anthropic": AnthropicVendor, "google": GoogleVendor}
_URLS = {"openai": "openai_url", "azure": "azure_url", "anthropic": "anthropic_url", "google": "google_url"}


def vendor_at(simulator: VendorSimulator, kind: str, *, each: float = PATIENCE, **settings: Any) -> HttpVendor:
    """A vendor of that kind whose address is the simulator's; ``each`` of its limits is so many seconds."""
    limits = {"connect_timeout": PATIENCE, "first_byte_timeout": each, "idle_timeout": each, "progress_timeout": 2 * each}
    return _KINDS[kind](
        **{"api_key": CANARY, "base_url": getattr(simulator, _URLS[kind]), "trust_env": False, **limits, **settings}
    )


def hangs(fault: Fault) -> bool:
    """Whether nothing but a limit ends it soon; no other is held to a limit that a busy machine could miss."""
    return fault.endless or fault.name == "trickled_body"


@attrs.define
class Result:
    """How one call ended, as the caller saw it and as an observer did."""

    text: str
    error: BaseException | None
    seconds: float
    outcomes: list[Outcome]
    dispatcher: Dispatcher

    @property
    def name(self) -> str:
        """``"ok"`` or the error's class."""
        return "ok" if self.error is None else type(self.error).__name__


class Hurried(SystemClock):
    """The machine's clock, on which what a call waits of its own accord passes at once, and is noted."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self._ahead = 0.0

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic() + self._ahead

    def wait(self, gate: threading.Lock, seconds: float) -> bool:
        """Put the clock forward instead."""
        self.waits.append(seconds)
        self._ahead += seconds
        return gate.acquire(blocking=False)


def ask(
    vendors: list[HttpVendor],
    kind: str,
    *,
    streamed: bool,
    timeout: float = 2 * PATIENCE,
    retries: int = 0,
    clock: SystemClock = SYSTEM_CLOCK,
) -> Result:
    """One call, from a fresh dispatcher that is closed afterwards."""
    outcomes: list[Outcome] = []
    request = Request(model=MODELS[kind], messages=PROMPT, max_tokens=200)
    config = Config(retry_policy=RetryPolicy(max_retries=retries, initial_delay=0.05))
    with Dispatcher(config, observers=[outcomes.append], clock=clock) as dispatcher:
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        return listen(dispatcher, request, outcomes, streamed=streamed, timeout=timeout)


def listen(dispatcher: Dispatcher, request: Request, outcomes: list[Outcome], *, streamed: bool, timeout: float) -> Result:
    """One call, heard to its end; ``outcomes`` is where an observer of the dispatcher writes."""
    text, error = "", None
    started = time.monotonic()
    try:
        if streamed:
            with dispatcher.send_streaming(request, timeout=timeout) as stream:
                text = "".join([chunk.content for chunk in stream])
        else:
            text = dispatcher.send(request, timeout=timeout).content
    except DispatchError as failure:
        error = failure
    return Result(text, error, time.monotonic() - started, outcomes, dispatcher)


def leaks(error: BaseException | None, records: str) -> list[str]:
    """Where the canary key or the prompt can be found: text, repr, arguments, causes, pickle, traceback, DEBUG logs."""
    places = {"log": records}
    seen = 0
    while error is not None and seen < 10:
        places |= {
            f"str {seen}": str(error),
            f"repr {seen}": repr(error),
            f"args {seen}": repr(error.args),
            f"dict {seen}": repr(error.__dict__),
            f"pickle {seen}": repr(pickle.dumps(error)),
            f"traceback {seen}": "".join(traceback.format_exception_only(error)),
        }
        error, seen = error.__cause__ or error.__context__, seen + 1
    return [f"{secret[:9]}… in {place}" for place, text in places.items() for secret in (CANARY, PROMPT) if secret in text]


def descriptors() -> int:
    """Open file descriptors of this process."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def workers() -> int:
    """The threads, without the one that watches streams: it stays a moment after the last, for the next."""
    return sum(thread.name != "llmdispatcher-reaper" for thread in threading.enumerate())


def settled(base: tuple[int, int], *, threads: Callable[[], int] = threading.active_count) -> tuple[int, int]:
    """Threads and descriptors beyond ``base`` that are left in the end."""
    start = time.monotonic()
    while True:
        left = (max(0, threads() - base[0]), max(0, descriptors() - base[1]))
        passed = time.monotonic() - start
        if left == (0, 0) or passed > PATIENCE:
            return left
        if passed > 0.2:  # what must wait for the collector is the exception, and a collection takes longer than most calls
            gc.collect()
        threading.Event().wait(0.002)


def together(trials: Sequence[Callable[[], list[str]]], *, at_once: int) -> list[str]:
    """What is found wrong in trials that go on side by side, since most of a trial is waiting."""
    with ThreadPoolExecutor(at_once) as pool:
        return [what for found in pool.map(lambda trial: trial(), trials) for what in found]


class _Pulse:
    """How late the machine was at most in waking a thread that sleeps for a moment."""

    def __init__(self) -> None:
        self.latest = 0.0
        self._gate = threading.Lock()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> _Pulse:
        self._gate.acquire()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gate.release()
        self._thread.join()

    def _beat(self) -> None:
        due = time.monotonic() + _BEAT
        while not self._gate.acquire(timeout=_BEAT):
            self.latest = max(self.latest, time.monotonic() - due)
            due = time.monotonic() + _BEAT


def undisturbed(trial: Callable[[float], list[str]]) -> list[str]:
    """What is wrong in a trial with limits of so many seconds.

    Where the machine itself stood still it is made again with longer ones: a defect is there each time.
    """
    wrong: list[str] = []
    for times in (1, 3, 9):
        with _Pulse() as pulse:
            wrong = trial(times * LIMIT)
        if not wrong or pulse.latest < _STANDSTILL:
            break
    return wrong


@pytest.fixture(scope="package", autouse=True)
def _no_linger() -> Iterator[None]:
    """The thread that watches streams ends with the last of them, and does not wait for the next: no thread may be left (I3)."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "_LINGER", 0.002)
        yield


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """All that is logged, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        yield lambda: caplog.text
