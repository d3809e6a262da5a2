"""What vendors say and users name forges no log line, and is one line in errors, plans and traces."""

from __future__ import annotations

import io
import json
import logging

import pytest

from llmdispatcher import CostOptimization, Dispatcher, DispatchError, Observer, OpenAIVendor, Request, RetryPolicy
from llmdispatcher.errors import BudgetExceeded
from llmdispatcher.testing import FakeVendor, VendorSimulator, faults

FORGED = "x\nCRITICAL forged\r\x1b[2J\u202e\x9b\u2028"
KEY = "sk-CANARY-0123456789"


@pytest.fixture
def log():
    """All that the library logs."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("llmdispatcher")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield written
    logger.removeHandler(handler)
    logger.setLevel(before)


class Failing(Observer):
    """Says what it was told."""

    def on_outcome(self, outcome):
        """It fails."""
        raise RuntimeError(outcome.request_model if hasattr(outcome, "request_model") else FORGED)


def _lines(text):
    return [line for line in text.split("\n") if line.startswith("CRITICAL")]


@pytest.mark.parametrize("stream", [False, True])
def test_a_failed_call_forges_no_line(log, stream):
    """Neither by the model's name, the user's, the vendor's words and code, nor by what an observer raises."""
    with VendorSimulator(responses="hello") as simulator:
        body = json.dumps({"error": {"message": f"broken {FORGED} {KEY}", "code": FORGED}}).encode()
        simulator.always(faults.Fault("evil", lambda peer, _context: peer.reply(500, body)))
        with Dispatcher({"retry_policy": RetryPolicy(max_retries=1, initial_delay=0.01)}, observers=[Failing()]) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(name="v", api_key=KEY, base_url=simulator.openai_url, trust_env=False))
            request = Request(f"v:model{FORGED}", "hi", user=FORGED, metadata={"a": FORGED})
            asked = (lambda: dispatcher.send_streaming(request).response()) if stream else (lambda: dispatcher.send(request))
            with pytest.raises(DispatchError) as caught:
                asked()
    told = f"{caught.value}\n{caught.value.trace}\n{caught.value!r}"

    assert "failed after" in log.getvalue()
    assert "an observer failed" in log.getvalue()
    assert [] == _lines(log.getvalue()) + _lines(told)
    assert not set("\x1b\r\u202e\x9b\u2028") & {*log.getvalue(), *told}
    assert KEY not in told + log.getvalue()


def test_a_plan_is_one_line_for_each_target():
    """Whatever a model is called."""
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor(name="v"))
        plan = str(dispatcher.explain(Request(f"v:model{FORGED}", "hi")))

    assert [] == _lines(plan)
    assert not set("\x1b\r\u202e\x9b\u2028") & set(plan)


@pytest.mark.parametrize(
    "params",
    [
        {"n": 500},
        {"max_tokens": 100_000},
        {"max_completion_tokens": 100_000},
        {"max_output_tokens": 100_000},
        {"generationConfig": {"maxOutputTokens": 100_000}},
        {"options": {"num_predict": 100_000}},
        {"generation_config": {"candidate_count": 500}},
    ],
)
def test_a_cap_on_cost_sees_what_extra_params_ask_for(params):
    """Nothing is sent that may cost more."""
    config = {"cost_optimization": CostOptimization(max_cost="0.0001")}
    with VendorSimulator(responses="hello") as simulator, Dispatcher(config) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=simulator.openai_url, trust_env=False))
        dispatcher.send(Request("gpt-4o-mini", "Hi", max_tokens=10))
        with pytest.raises(BudgetExceeded):
            dispatcher.send(Request("gpt-4o-mini", "Hi", max_tokens=10, extra_params=params, wire_format="openai_chat"))
        asked = len(simulator.requests)

    assert 1 == asked
