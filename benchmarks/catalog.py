"""``python -m benchmarks.catalog``: what the catalog of models costs, from the first look-up of a process to a call's cost."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

from llmdispatcher import Usage, get_model, list_models
from llmdispatcher.catalog import model_facts, overlay
from llmdispatcher.types import cost_of as cost

from .measure import cpu_per_call

TIMES = 2_000
PROCESSES = 9
FIRST = """
import time, llmdispatcher.catalog as c, llmdispatcher.runtime.deadline, llmdispatcher.errors
begin = time.process_time(); {}; print(time.process_time() - begin)
"""
LOADS = {
    "first get_model('gpt-4o'): vendors, traits, OpenAI's models": "c.get_model('gpt-4o')",
    "first get_model of a name that nobody has: all vendors' models": "[c.edition().names(row.name) for row in c.vendor_rows()]",
    "first list_models(): facts of all models": "c.list_models()",
}


def loads() -> dict[str, float]:
    """Seconds of CPU of the first look-ups of a process, the median of several processes."""
    taken = {}
    for name, statement in LOADS.items():
        command = [sys.executable, "-c", FIRST.format(statement)]
        told = [float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(PROCESSES)]
        taken[name] = median(told)
    return taken


def look_ups() -> dict[str, float]:
    """Seconds of CPU of one look-up, or one cost, once everything is read."""
    price = get_model("gpt-5.6").price
    assert price is not None
    plain = Usage(input_tokens=1000, output_tokens=200)
    rich = Usage(input_tokens=300_000, output_tokens=900, cache_read_tokens=100_000, cache_write_tokens=1000, reasoning_tokens=700)
    asked: dict[str, Callable[[], object]] = {
        "get_model('openai:gpt-4o')": lambda: get_model("openai:gpt-4o"),
        "get_model('gpt-4o')": lambda: get_model("gpt-4o"),
        "model_facts('openai', 'gpt-4o'), what routing does": lambda: model_facts("openai", "gpt-4o"),
        "list_models('openai', ['vision', 'tools'])": lambda: list_models("openai", ["vision", "tools"]),
        "cost of a plain usage": lambda: cost(plain, price),
        "cost of a long request at a tier, with cache and thoughts": lambda: cost(rich, price, tier="priority"),
    }
    taken = cpu_per_call({name: _often(work) for name, work in asked.items()}, 5)
    return {name: seconds / TIMES for name, seconds in taken.items()}


def overlaid() -> float:
    """Seconds of CPU to put 500 rows over the packaged ones and look one up."""
    rows = {"openai": {f"model-{number}": {"price": {"input": "1", "output": "2"}} for number in range(500)}}
    begin = time.process_time()
    overlay(rows, "benchmark")
    get_model("openai:model-7")
    taken = time.process_time() - begin
    overlay(None)
    return taken


def _often(work: Callable[[], object]) -> Callable[[], object]:
    def repeated() -> None:
        for _ in range(TIMES):
            work()

    return repeated


def main() -> None:
    """Print the figures."""
    for name, seconds in loads().items():
        sys.stdout.write(f"{name}: {seconds * 1e3:.1f} ms\n")
    for name, seconds in look_ups().items():
        sys.stdout.write(f"{name}: {seconds * 1e6:.2f} µs\n")
    sys.stdout.write(f"overlay of 500 rows and a look-up: {overlaid() * 1e3:.1f} ms\n")


if __name__ == "__main__":
    main()
