"""``simulate``: run the simulated vendors in the foreground, to try things out."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import click

from ..options import Number, Positive, WholeNumber, make_command
from ..settings import Settings
from ..terminal import UsageError, say

if TYPE_CHECKING:
    from ...testing import VendorSimulator


@make_command("simulate", examples=("llmdispatcher simulate", "llmdispatcher simulate --port 0 --error-rate 0.2 --latency 0.5"))
@click.option(
    "--port", type=WholeNumber(0, 65535), default=8100, metavar="N", show_default=True, help="The port; 0 takes a free one."
)
@click.option("--latency", type=Number(min=0), default=0.1, metavar="S", show_default=True, help="Seconds before the first byte.")
@click.option(
    "--tokens-per-second", type=Positive(), default=100.0, metavar="N", show_default=True, help="The speed of the answers."
)
@click.option(
    "--error-rate",
    type=Number(0, 1),
    default=0.0,
    metavar="SHARE",
    show_default=True,
    help="The share of requests that fail.",
)
@click.option("--seed", type=int, default=0, metavar="N", show_default=True, help="The same seed, the same answers and failures.")
def command(settings: Settings, **given: Any) -> int:
    """Serve OpenAI, Azure, Anthropic, Gemini and Ollama, all simulated, on one local port until Ctrl-C.

    Any key is accepted. It prints the environment variables for the program that is to use it.
    """
    from ...testing import VendorSimulator

    simulator = VendorSimulator(**given)
    try:
        simulator.start()
    except OSError as error:
        raise UsageError(f"port {given['port']}: {error.strerror}; choose another --port, or 0 for a free one") from None
    with simulator:
        variables = addresses(simulator)
        print(
            json.dumps(variables) if settings.json else "\n".join(f"export {name}={value}" for name, value in variables.items()),
            flush=True,
        )
        if not settings.quiet:
            say("Serving simulated vendors; any key is good. Ctrl-C ends it.")
        threading.Event().wait()
    return 0


def addresses(simulator: VendorSimulator) -> dict[str, str]:
    """Return the variables that send every vendor's requests to a simulator."""
    return {
        "OPENAI_BASE_URL": simulator.openai_url,
        "OPENAI_API_KEY": "simulated",
        "ANTHROPIC_BASE_URL": simulator.anthropic_url,
        "ANTHROPIC_API_KEY": "simulated",
        "GEMINI_BASE_URL": simulator.google_url,
        "GEMINI_API_KEY": "simulated",
        "AZURE_OPENAI_ENDPOINT": simulator.azure_url,
        "AZURE_OPENAI_API_KEY": "simulated",
    }
