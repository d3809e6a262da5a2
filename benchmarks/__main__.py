"""``python -m benchmarks``: measure, print a table against the bars, exit 1 when a bar is missed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable

import attrs

from . import aliases, budgets, calls, footprint, gateway, gateway_attack, policies, streams


@attrs.frozen(kw_only=True)
class Row:
    """One figure; ``bar`` is the most it may be, ``None`` where it is only for information."""

    name: str
    value: float
    bar: float | None = None
    unit: str = ""

    @property
    def missed(self) -> bool:
        """Whether the figure is over its bar."""
        return self.bar is not None and self.value > self.bar


GROUPS: dict[str, Callable[[], list[tuple[str, float, float | None, str]]]] = {
    "import": footprint.imports,
    "calls": calls.plain,
    "flat": calls.growth,
    "chunks": lambda: [*streams.chunks(), *policies.chunks()],
    "memory": footprint.memory,
    "lateness": streams.lateness,
    "aliases": aliases.resolution,
    "budgets": budgets.gate,
    "gateway": gateway.gateway,
    "attack": gateway_attack.attack,
}
QUICK = ("import", "calls", "flat", "chunks")


def main() -> int:
    """Run the chosen groups."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("groups", nargs="*", help=f"which of {', '.join(GROUPS)}; default: {', '.join(QUICK)}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no group {sorted(unknown)[0]!r}; there are {', '.join(GROUPS)}")
    rows = [
        Row(name=f"{group}: {name}", value=value, bar=bar, unit=unit)
        for group in options.groups or QUICK
        for name, value, bar, unit in GROUPS[group]()
    ]
    print(json.dumps([attrs.asdict(row) for row in rows], indent=1) if options.json else table(rows))
    return any(row.missed for row in rows)


def table(rows: list[Row]) -> str:
    """The figures in columns, with their bars."""
    width = max(len(row.name) for row in rows)
    lines = []
    for row in rows:
        verdict = "" if row.bar is None else f"  bar {row.bar:g}  {'MISSED' if row.missed else 'ok'}"
        lines.append(f"{row.name:{width}}  {row.value:12,.3f} {row.unit:6}{verdict}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
