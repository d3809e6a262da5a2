"""What a batch may cost, before it is asked: an estimate by model, at the vendor that would be asked first."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs

from ..dispatcher import Dispatcher
from ..policy.optimize import CostOptimization, tokens_of
from .prompts import Mistake, Prompt
from .settings import Settings
from .tables import print_rows
from .terminal import complain

if TYPE_CHECKING:
    from .batching import Wanted

_PRICES = CostOptimization(prefer_cheap=False)


@attrs.define(eq=False)
class Line:
    """The prompts for one target; ``cost`` is US dollars of those whose price is known."""

    prompts: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0


def of(dispatcher: Dispatcher, items: Iterable[Prompt | Mistake]) -> dict[str, Line]:
    """By target: what is known beforehand; ``max_tokens`` of output, or 500 where a prompt does not say. Nothing is sent."""
    lines: dict[str, Line] = {}
    for item in items:
        if isinstance(item, Mistake):
            continue
        target = next(iter(dispatcher.explain(item.request).targets), None)
        line = lines.setdefault(str(target or f"nobody has {item.request.model}"), Line())
        tokens = tokens_of(item.request)
        cost = _PRICES.estimate(target, tokens) if target is not None else Decimal(0)
        line.prompts += 1
        line.input_tokens += tokens.input_tokens
        line.output_tokens += tokens.output_tokens
        line.cost += cost or 0
        line.unpriced += cost is None
    return lines


def total(lines: dict[str, Line]) -> Decimal:
    """US dollars in all, as far as prices are known."""
    return sum([line.cost for line in lines.values()], Decimal(0))


def show(lines: dict[str, Line], settings: Settings) -> None:
    """The estimate as a table or as JSON."""
    if settings.json:
        print(json.dumps(_as_json(lines), indent=2, default=str))
        return
    heads = ("model", "prompts", "tokens in", "tokens out at most", "US$ at most")
    print_rows(heads, [(name, *_cells(line)) for name, line in sorted(lines.items())], settings)
    print(
        f"about US$ {total(lines):.4f} for {sum(line.prompts for line in lines.values())} prompts{_doubt(lines)}; nothing was sent"
    )


def agreed(lines: dict[str, Line], wanted: Wanted) -> bool:
    """Whether a batch may begin: it keeps ``max_cost``, or a person says so."""
    amount = total(lines)
    unsure = any(line.unpriced for line in lines.values())
    if wanted.yes or (amount <= Decimal(str(wanted.max_cost)) and not unsure):
        return True
    text = f"this may cost about US$ {amount:.4f}{_doubt(lines)}, and --max-cost is {wanted.max_cost:g}"
    if not sys.stdin.isatty():
        complain(f"{text}; --yes asks it all the same")
        return False
    print(f"llmdispatcher: {text}. Go on? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _doubt(lines: dict[str, Line]) -> str:
    unpriced = sum(line.unpriced for line in lines.values())
    return f", and {unpriced} prompts to models whose price is not known" if unpriced else ""


def _cells(line: Line) -> tuple[str, ...]:
    cost = "unknown" if line.unpriced == line.prompts else f"{line.cost:.4f}"
    return str(line.prompts), f"{line.input_tokens:,}", f"{line.output_tokens:,}", cost


def _as_json(lines: dict[str, Line]) -> dict[str, Any]:
    return {"cost_at_most": total(lines), "models": {name: attrs.asdict(line) for name, line in sorted(lines.items())}}
