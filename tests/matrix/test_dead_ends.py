"""Rows N1, N2, N6, N7: addresses where nobody ever answers, from the caller's side, with the invariants."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from llmdispatcher import OpenAIVendor
from llmdispatcher.testing import UNREACHABLE, VendorSimulator

from ..conftest import PATIENCE, SLACK
from .conftest import CANARY, LIMIT, MODELS, Hurried, ask, descriptors, leaks, settled, vendor_at

PHASES = {"N1": ("connect", False), "N2": ("connect", False), "N6": ("tls", False), "N7": ("first_byte", True)}


def dead(url, row):
    """A vendor there; only the limit of the phase in which nobody answers is short."""
    limits = {"connect_timeout": PATIENCE, "first_byte_timeout": PATIENCE, "idle_timeout": PATIENCE}
    limits["first_byte_timeout" if PHASES[row][0] == "first_byte" else "connect_timeout"] = LIMIT
    return OpenAIVendor(api_key=CANARY, base_url=url, trust_env=False, **limits)


@pytest.mark.parametrize("row", UNREACHABLE)
def test_row(row, log):
    """A call and a stream end in time, say in which phase and whether anything was sent, once, and leave nothing behind."""
    base = (threading.active_count(), descriptors())
    with UNREACHABLE[row]() as url, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda streamed: ask([dead(url, row)], "openai", streamed=streamed), (False, True)))

    assert [("VendorUnavailable", 1, *PHASES[row])] * 2 == [
        (result.name, len(result.outcomes), result.error.phase, result.error.sent) for result in results
    ]
    assert max(result.seconds for result in results) < SLACK
    assert [] == [leak for result in results for leak in leaks(result.error, log())]
    assert (0, 0) == settled(base)


@pytest.mark.parametrize("row", UNREACHABLE)
def test_a_dead_end_costs_its_limit_and_then_the_next_vendor_answers(row):
    """The healthy vendor's answer comes after one limit, without a backoff between different vendors."""
    with UNREACHABLE[row]() as url, VendorSimulator(responses="hello") as healthy:
        clock, second = Hurried(), vendor_at(healthy, "anthropic", default_model=MODELS["anthropic"])
        result = ask([dead(url, row), second], "openai", streamed=False, retries=2, clock=clock)

    assert ("ok", "hello", []) == (result.name, result.text, clock.waits)
    assert result.seconds < SLACK
