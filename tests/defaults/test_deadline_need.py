"""The need of an answer by the machine's own clock, over real sockets. Here it is short; the default: test_deadline_defaults.py."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

from llmdispatcher import Dispatcher, OpenAIVendor, Request
from llmdispatcher.resilience import Shares
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import SLACK

HONEST, NEED = 1.5, 4.0


def ask(first, second):
    """Ask with untouched settings: who answered, after how long, and the circuits then."""
    with Dispatcher({"default_vendor": "first", "fallback_vendor": "second"}) as dispatcher:
        for name, simulator in (("first", first), ("second", second)):
            dispatcher.register_vendor(OpenAIVendor(name=name, api_key="k", base_url=simulator.openai_url, trust_env=False))
        request, began = Request("gpt-4o-mini", "hi", max_tokens=1), time.monotonic()
        response = dispatcher.send(request)
        plan = dispatcher.explain(request)
        return response.vendor, time.monotonic() - began, [plan.status(target).circuit for target in plan.targets]


def test_an_honest_answer_comes_and_a_silent_vendor_is_given_up_soon_after_the_need(monkeypatch):
    """Silence below the need is asked for once and answered; of a vendor that says nothing the second's answer comes after it."""
    for name, seconds in (("LEAST_NEED", NEED), ("BESIDE", 0.0)):
        monkeypatch.setattr(sys.modules[Shares.__module__], name, seconds)
    with (
        VendorSimulator(latency=HONEST) as slow,
        VendorSimulator() as unasked,
        VendorSimulator().always(faults.silent()) as dead,
        VendorSimulator() as healthy,
        ThreadPoolExecutor(2) as pool,
    ):
        honest, silent = pool.map(ask, (slow, dead), (unasked, healthy))

        assert (1, 0, 1, 1) == (slow.hits, unasked.hits, dead.hits, healthy.hits)
    assert ("first", ["closed", "closed"]) == (honest[0], honest[2])
    assert HONEST <= honest[1] < NEED + SLACK
    assert "second" == silent[0]
    assert NEED <= silent[1] < NEED + SLACK
