"""``python -m scripts.interop_run --proxy COMMAND``: run every check on every way, print a table, exit 1 when one fails."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

from llmdispatcher import AnthropicVendor, HttpVendor, OpenAIVendor
from llmdispatcher.testing import VendorSimulator

from .interop_checks import CHECKS, Way
from .interop_proxy import ROUTES, Proxy, proxy

Results = dict[str, dict[str, str]]


def main() -> int:
    """Run it."""
    parser = argparse.ArgumentParser(prog="scripts/interop", description=__doc__)
    parser.add_argument("--proxy", required=True, help="the command that starts the server")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    with VendorSimulator() as simulator, proxy(options.proxy, simulator) as server:
        results = {name: _run(way) for name, way in _ways(server, simulator).items()}
    failed = sum(outcome != "ok" for outcomes in results.values() for outcome in outcomes.values())
    total = len(results) * len(CHECKS)
    told = subprocess.run([options.proxy, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    if options.json:
        print(json.dumps({"server": told, "passed": total - failed, "failed": failed, "results": results}, indent=1))
    else:
        print(f"{told}\n{_table(results)}\n{total - failed} passed, {failed} failed")
    return 1 if failed else 0


def _ways(server: Proxy, simulator: VendorSimulator) -> dict[str, Way]:
    friends, strangers = _vendors(server.url, server.key), _vendors(server.url, "sk-wrong")
    return {
        f"{ours}, {route}": Way(vendor, strangers[ours], route, simulator) for ours, vendor in friends.items() for route in ROUTES
    }


def _vendors(url: str, key: str) -> dict[str, HttpVendor]:
    return {
        "chat": OpenAIVendor(base_url=f"{url}/v1", api_key=key, api="chat"),
        "responses": OpenAIVendor(base_url=f"{url}/v1", api_key=key, api="responses"),
        "messages": AnthropicVendor(base_url=url, api_key=key),
    }


def _run(way: Way) -> dict[str, str]:
    outcomes = {}
    for name, check in CHECKS.items():
        try:
            check(way)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this check's outcome
            outcomes[name] = f"{type(error).__name__}: {error}"
        else:
            outcomes[name] = "ok"
    return outcomes


def _table(results: Results) -> str:
    names = list(results)
    lines = [f"{name:>16}  {' '.join('ok  ' if results[way][name] == 'ok' else 'FAIL' for way in names)}" for name in CHECKS]
    heads = [f"{'':>16}  {'     ' * number}{way}" for number, way in enumerate(names)]
    failures = [f"{way}: {name}: {outcome[:300]}" for way in names for name, outcome in results[way].items() if outcome != "ok"]
    return "\n".join([*heads, *lines, "", *failures])


if __name__ == "__main__":
    sys.exit(main())
