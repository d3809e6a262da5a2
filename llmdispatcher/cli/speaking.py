"""An answer on its way to people: words as they arrive, without what would steer a terminal, and what it cost."""

from __future__ import annotations

import sys
from decimal import Decimal

from ..cancellation import Cancellation
from ..dispatcher import Dispatcher
from ..response_values import Response
from ..types import Request
from .settings import Settings
from .terminal import say, shown


def speak(dispatcher: Dispatcher, request: Request, stop: Cancellation, timeout: float | None) -> Response:
    """Print an answer while it arrives; ends its line, whatever happens. Raises what goes wrong."""
    out, last = sys.stdout, "\n"
    try:
        with dispatcher.send_streaming(request, timeout=timeout, cancel=stop) as stream:
            for chunk in stream:
                if chunk.content:
                    out.write(shown(chunk.content, out))
                    out.flush()
                    last = chunk.content
            return stream.response()
    finally:
        if not last.endswith("\n"):
            out.write("\n")
            out.flush()


def write(response: Response) -> None:
    """Print a whole answer."""
    text = response.content
    sys.stdout.write(shown(text, sys.stdout) + ("" if text.endswith("\n") else "\n"))
    sys.stdout.flush()


def tell(response: Response, settings: Settings) -> None:
    """One line beside the answer, where people read it: who answered, and for how much."""
    if response.refusal:
        say(f"llmdispatcher: the model refuses: {response.refusal}")
    if response.finish_reason == "length":
        say("llmdispatcher: the answer was cut off at the most tokens that it may have; --max-tokens allows more")
    if sys.stderr.isatty() and not settings.quiet:
        usage = response.usage
        seconds = "" if response.latency is None else f", {response.latency:.1f} s"
        say(f"[{response.ref}, {usage.input_tokens} tokens in, {usage.output_tokens} out, {dollars(usage.cost)}{seconds}]")


def dollars(amount: Decimal | None) -> str:
    """US dollars for people: as many places as the first two digits that are not 0 need."""
    if amount is None:
        return "price unknown"
    places = max(2, 1 - amount.adjusted()) if amount else 2
    return f"US$ {amount:.{min(places, 12)}f}"
