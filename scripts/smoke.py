"""``scripts/smoke 3.13``: import the library, ask a simulated vendor, whole and streamed, and find both calls in the ledger."""

from __future__ import annotations

import platform
import sys
import tempfile
from pathlib import Path

from llmdispatcher import Dispatcher, OpenAIVendor, Request, open_ledger
from llmdispatcher.testing import VendorSimulator


def main() -> int:
    """Take the first steps; returns the exit code."""
    with (
        tempfile.TemporaryDirectory() as folder,
        VendorSimulator(responses="It is blue.") as simulator,
        open_ledger(Path(folder) / "ledger.db") as ledger,
        Dispatcher(ledger=ledger) as dispatcher,
    ):
        dispatcher.register_vendor(OpenAIVendor(api_key="simulated", base_url=simulator.openai_url, trust_env=False))
        request = Request("gpt-4o", "Which colour has the sky?")
        whole = dispatcher.send(request).content
        streamed = "".join(chunk.content for chunk in dispatcher.send_streaming(request))
        written = ledger.flush(30) and len(ledger.list_recent_calls())
    found = (whole, streamed, written)
    worked = found == ("It is blue.", "It is blue.", 2)
    print(f"Python {platform.python_version()}: a call, a stream and the ledger {'work' if worked else f'do not work: {found}'}")
    return 0 if worked else 1


if __name__ == "__main__":
    sys.exit(main())
