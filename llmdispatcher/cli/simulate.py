"""The simulated vendors in the foreground, for playing."""

from __future__ import annotations

import argparse
import threading

from ..testing import VendorSimulator
from .terminal import UsageError, say


def serve(options: argparse.Namespace) -> int:
    """Serve until Ctrl-C; prints what to put into the environment."""
    simulator = VendorSimulator(
        port=options.port, latency=options.latency, tokens_per_second=options.tokens_per_second, error_rate=options.error_rate
    )
    try:
        simulator.start()
    except OSError as error:
        raise UsageError(f"port {options.port}: {error.strerror}; choose another --port, or 0 for a free one") from None
    with simulator:
        print(_exports(simulator), flush=True)
        say("Serving simulated vendors; any key is good. Ctrl-C ends it.")
        threading.Event().wait()
    return 0


def _exports(simulator: VendorSimulator) -> str:
    addresses = {
        "OPENAI_BASE_URL": simulator.openai_url,
        "OPENAI_API_KEY": "simulated",
        "ANTHROPIC_BASE_URL": simulator.anthropic_url,
        "ANTHROPIC_API_KEY": "simulated",
        "GEMINI_BASE_URL": simulator.google_url,
        "GEMINI_API_KEY": "simulated",
        "AZURE_OPENAI_ENDPOINT": simulator.azure_url,
        "AZURE_OPENAI_API_KEY": "simulated",
    }
    return "\n".join(f"export {name}={value}" for name, value in addresses.items())
