"""What vendors answer to ``openai_script.py``, and what it prints then."""

from __future__ import annotations

from pathlib import Path

from llmdispatcher import ToolCall
from llmdispatcher.testing import OK, SimulatedResponse, VendorSimulator, faults

SCRIPT = Path(__file__).with_name("openai_script.py")
SAID = """\
Hello,| you| there.|
Three lamps.
Report(product='lamp', urgent=True) a lamp
RateLimitError 429 1
BadRequestError 400 None
refused with 503
not reached
too slow
Onward.
"""


def script(simulator: VendorSimulator) -> dict[str, str]:
    """Have the simulator answer one run; return the variables that the script needs."""
    lamps = SimulatedResponse(tool_calls=[ToolCall(id="c1", name="stock", arguments='{"product": "lamp"}')])
    simulator.script("Hello, you there.", lamps, "Three lamps.", '{"product": "lamp", "urgent": true}', OK)
    refusals = faults.rate_limit(1), faults.status(400), faults.status(503)
    simulator.script(*refusals, faults.reset_midway(), faults.silent(), "Onward.")
    return {"OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": simulator.openai_url}
