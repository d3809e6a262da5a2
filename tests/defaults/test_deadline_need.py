"""Once for real: untouched settings, real sockets and the machine's own clock. It takes fifty seconds, all of them of waiting."""

import threading
import time

import pytest

from llmdispatcher import Dispatcher, OpenAIVendor, Request
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import SLACK

HONEST = 45.0
NEED = 50.0


def ask(first, second, told):
    """Ask with untouched settings, and note who was asked and how long it took."""
    with Dispatcher({"default_vendor": "first", "fallback_vendor": "second"}) as dispatcher:
        for name, simulator in (("first", first), ("second", second)):
            dispatcher.register_vendor(OpenAIVendor(name=name, api_key="k", base_url=simulator.openai_url, trust_env=False))
        request, began = Request("gpt-4o-mini", "hi"), time.monotonic()
        response = dispatcher.send(request)
        plan = dispatcher.explain(request)
        told.append((response.vendor, time.monotonic() - began, [plan.status(target).circuit for target in plan.targets]))


@pytest.mark.timeout(240)
def test_an_honest_answer_comes_and_a_silent_vendor_is_given_up_soon_after_the_need():
    """45 s of silence are asked for once and answered; of a vendor that says nothing the second's answer comes after 50 s."""
    honest, silent = [], []
    with (
        VendorSimulator(latency=HONEST) as slow,
        VendorSimulator() as unasked,
        VendorSimulator().always(faults.silent()) as dead,
        VendorSimulator() as healthy,
    ):
        threads = [
            threading.Thread(target=ask, args=(slow, unasked, honest)),
            threading.Thread(target=ask, args=(dead, healthy, silent)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert (1, 0, 1, 1) == (slow.hits, unasked.hits, dead.hits, healthy.hits)
    assert ("first", ["closed", "closed"]) == (honest[0][0], honest[0][2])
    assert HONEST <= honest[0][1] < NEED + SLACK
    assert "second" == silent[0][0]
    assert NEED <= silent[0][1] < NEED + SLACK
