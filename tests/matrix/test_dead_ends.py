"""Rows N1, N2, N6, N7: addresses where nobody ever answers, from the caller's side, with the invariants."""

from __future__ import annotations

import threading

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
@pytest.mark.parametrize("streamed", [False, True])
def test_row(row, streamed, log):
    """It ends within its limit, says in which phase and whether anything was sent, once, and leaves nothing behind."""
    base = (threading.active_count(), descriptors())
    with UNREACHABLE[row]() as url:
        result = ask([dead(url, row)], "openai", streamed=streamed)

    assert ("VendorUnavailable", 1) == (result.name, len(result.outcomes))
    assert PHASES[row] == (result.error.phase, result.error.sent)
    assert result.seconds < SLACK
    assert [] == leaks(result.error, log())
    assert (0, 0) == settled(base)


@pytest.mark.parametrize("row", UNREACHABLE)
def test_a_dead_end_costs_its_limit_and_then_the_next_vendor_answers(row):
    """The healthy vendor's answer comes after one limit, without a backoff between different vendors."""
    with UNREACHABLE[row]() as url, VendorSimulator(responses="hello") as healthy:
        clock, second = Hurried(), vendor_at(healthy, "anthropic", default_model=MODELS["anthropic"])
        result = ask([dead(url, row), second], "openai", streamed=False, retries=2, clock=clock)

    assert ("ok", "hello", []) == (result.name, result.text, clock.waits)
    assert result.seconds < SLACK
