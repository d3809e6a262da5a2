"""CPU per streamed chunk through the channels, and how late chunks are when hundreds of streams run at once."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import statistics
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

import urllib3
from sseclient import SSEClient

from llmdispatcher import Dispatcher, Request

from .calls import BODY, HEADERS, Rows, dispatcher_for
from .measure import cpu_per_call
from .server import REST, STREAM_CHUNKS, vendor

RAW = "urllib3 + sseclient-py + json"
MANY = ((2_000, 150.0), (500, 10.0))
"""And the milliseconds that 99 in 100 chunks may be late. Most first: a heap that has served others is not what a process has."""
PACE = 0.25
SECONDS = 10
"""For which all streams talk."""
SWITCH = 0.05
FUTEXES = 1024
"""Both as docs/reliability.md advises."""
_PR_FUTEX_HASH, _SET_SLOTS = 78, 1
Texts = Callable[[str, int], Callable[[], Iterable[str]]]
"""From the vendor's address and how many streams there will be, what opens one and gives the text of each chunk."""
BAR_RAW, BAR_SDK = 15 / 6.3, 15 / 90
"""15 µs a chunk where raw parsing takes 6.3 and the openai SDK 90: machines differ, so the bars are ratios of one run."""


def chunks() -> Rows:
    """A whole stream of 1,000 chunks, read through the channel by the caller's thread."""
    with vendor() as url:
        dispatcher = dispatcher_for(url)
        clients: dict[str, Callable[[], object]] = {RAW: _raw(url), "llmdispatcher": lambda: _read(dispatcher)}
        clients.update(_sdk(url))
        taken = cpu_per_call(clients, 5)
    rows: Rows = [(f"{name}, CPU per chunk", seconds / STREAM_CHUNKS * 1e6, None, "µs") for name, seconds in taken.items()]
    rows.append((f"llmdispatcher / {RAW}", taken["llmdispatcher"] / taken[RAW], BAR_RAW, "x"))
    if "openai SDK" in taken:
        rows.append(("llmdispatcher / openai SDK", taken["llmdispatcher"] / taken["openai SDK"], BAR_SDK, "x"))
    return rows


def _raw(url: str) -> Callable[[], object]:
    """What a careful person writes with urllib3, sseclient-py and json: no channel, no thread, no deadline, no usage."""
    pool = urllib3.PoolManager()
    body = json.dumps({**BODY, "stream": True}).encode()

    def read() -> int:
        reply = pool.request("POST", f"{url}/v1/chat/completions", body=body, headers=HEADERS, preload_content=False)
        seen = 0
        for event in SSEClient(reply.stream(65536)).events():
            if event.data != "[DONE]":
                choices = json.loads(event.data)["choices"]
                seen += len(choices[0]["delta"].get("content") or "") if choices else 0
        reply.release_conn()
        return seen

    return read


def _read(dispatcher: Dispatcher) -> int:
    with dispatcher.send_streaming(Request(**BODY)) as stream:
        return sum(len(chunk.content) for chunk in stream)


def _sdk(url: str) -> dict[str, Callable[[], object]]:
    try:
        import openai
    except ImportError:
        return {}
    client: Any = openai.OpenAI(api_key="sk-bench", base_url=f"{url}/v1")

    def read() -> int:
        stream = client.chat.completions.create(**BODY, stream=True)
        return sum(len(chunk.choices[0].delta.content or "") for chunk in stream if chunk.choices)

    return {"openai SDK": read}


def lateness() -> Rows:
    """The time from a chunk's sending to its reading, with 2,000 and 500 streams open at once that get 4 chunks/s each."""
    rows: Rows = []
    for streams, bar in MANY:
        for name, texts, most in (("", _ours, bar), (f" by {RAW}", _by_hand, None)):
            with _many_threads():
                late, rate, opening = _late(streams, texts)
            rows.append((f"{streams} streams{name}, p50", statistics.median(late) * 1e3, None, "ms"))
            rows.append((f"{streams} streams{name}, p99", statistics.quantiles(late, n=100)[98] * 1e3, most, "ms"))
            if not name:
                rows.append((f"{streams} streams, chunks sent per second (asked for {streams / PACE:,.0f})", rate, None, ""))
                rows.append((f"{streams} streams, seconds to open them all", opening, None, "s"))
    return rows


@contextlib.contextmanager
def _many_threads() -> Iterator[None]:
    """As docs/reliability.md advises for hundreds of streams in a process; needs Linux."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    policy, given = os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    ctypes.CDLL(None).prctl(_PR_FUTEX_HASH, _SET_SLOTS, FUTEXES, 0, 0)  # Linux 6.16 and later; others refuse, and need it not
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, given)
        sys.setswitchinterval(interval)


def _ours(url: str, streams: int) -> Callable[[], Iterator[str]]:
    dispatcher = dispatcher_for(url, pool_size=streams)
    return lambda: map(attrgetter("content"), dispatcher.send_streaming(Request(**BODY), timeout=120))


def _by_hand(url: str, streams: int) -> Callable[[], Iterator[str]]:
    """What :func:`_raw` does, with a timeout for each read."""
    pool = urllib3.PoolManager(maxsize=streams, timeout=120)
    body = json.dumps({**BODY, "stream": True}).encode()

    def read() -> Iterator[str]:
        reply = pool.request("POST", f"{url}/v1/chat/completions", body=body, headers=HEADERS, preload_content=False)
        for event in SSEClient(reply.stream(65536)).events():
            choices = json.loads(event.data)["choices"] if event.data != "[DONE]" else ()
            yield choices[0]["delta"].get("content", "") if choices else ""

    return read


def _late(streams: int, texts: Texts) -> tuple[list[float], float, float]:
    """The lateness of each chunk in seconds, how many a second the vendor sent, and how long opening took."""
    seen: list[tuple[float, float]] = []
    with vendor(pace=PACE, chunks=int(SECONDS / PACE), crowd=streams) as url:
        read = texts(url, streams)
        readers = [threading.Thread(target=_listen, args=(read, seen), daemon=True) for _ in range(streams)]
        began = time.monotonic()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
    sent = [moment for moment, _ in seen]
    return [late for _, late in seen], len(sent) / (max(sent) - min(sent)), min(sent) - REST - began


def _listen(read: Callable[[], Iterable[str]], seen: list[tuple[float, float]]) -> None:
    """Note when each chunk after the first was sent and read; in an array, since lists would set off the garbage collector."""
    moments = array("d")
    for text in read():
        if text[:1].isdigit():
            moments.extend((float(text), time.monotonic()))
    seen.extend([(sent, came - sent) for sent, came in zip(moments[::2], moments[1::2], strict=True)])
