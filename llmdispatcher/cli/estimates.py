"""What prompts may cost: the options of the commands that ask many at once, the estimate, and the question whether to begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import attrs
import click

from .. import batch
from ..types import dollars_text
from .options import Positive
from .session import Session
from .settings import Settings
from .tables import money_cells, print_rows, tell_wrapped
from .terminal import confirm, say, tell_json

_MOST_MODELS = 20
"""Models whose estimates are printed before the question whether to go on."""

_Function = TypeVar("_Function")


def with_price_options(function: _Function) -> _Function:
    """Add ``--dry-run``, ``--max-cost``, ``--confirm`` and ``--yes``."""
    options = [
        click.option("--dry-run", is_flag=True, help="Show what it may cost, by model, and send nothing; needs no key."),
        click.option(
            "--max-cost", type=Positive(), metavar="USD", help="Ask before what may cost more; refuse where nobody can be asked."
        ),
        click.option("--confirm", is_flag=True, help="Show what it may cost, and ask before anything is sent to a real vendor."),
        click.option("-y", "--yes", is_flag=True, help="Do not ask about the price."),
    ]
    made: Any = function
    for option in reversed(options):
        made = option(made)
    return made  # type: ignore[no-any-return]  # click's options return what they are given


def print_estimates(session: Session, lines: Sequence[batch.PromptLine], settings: Settings) -> None:
    """Print what prompts may cost, by model."""
    estimates = batch.estimate_cost(session.dispatcher, lines)
    if settings.json:
        models = {name: attrs.asdict(estimate) for name, estimate in sorted(estimates.items())}
        assumed = {"keys_assumed": True} if session.keys_assumed else {}
        tell_json({"cost_estimated": batch.total_cost(estimates), "models": models} | assumed)
        return
    heads = ("model", "prompts", "tokens in", "tokens out", "US$ about")
    found = sorted(estimates.items())
    costs, amount = money_cells([estimate.cost for _, estimate in found])
    rows = [(name, *_cells(estimate, cost)) for (name, estimate), cost in zip(found, costs, strict=True)]
    print_rows(heads, rows, no_color=settings.no_color, spare=("tokens out", "tokens in"))
    prompts = sum(estimate.prompts for estimate in estimates.values())
    tell_wrapped(f"about US$ {amount} for {_prompts_text(prompts)}{_unpriced_text(estimates)}; nothing was sent")
    _tell_limits(estimates)


def _cells(estimate: batch.ModelEstimate, cost: str) -> tuple[str, ...]:
    cost = "unknown" if estimate.unpriced == estimate.prompts else cost
    return str(estimate.prompts), f"{estimate.input_tokens:,}", f"{estimate.output_tokens:,}", cost


def may_begin(session: Session, lines: Sequence[batch.PromptLine], given: Mapping[str, Any]) -> bool:
    """Whether prompts may be sent: no option asks for a confirmation, ``--max-cost`` suffices, or a person confirms.

    ``given`` are the options by name. Raises :class:`UsageError` where nobody can be asked.
    """
    cap: float | None = given["max_cost"]
    if given["yes"] or session.simulated or not (given["confirm"] or cap is not None):
        return True
    estimates = batch.estimate_cost(session.dispatcher, lines)
    amount = batch.total_cost(estimates)
    unsure = any(estimate.unpriced for estimate in estimates.values())
    over = cap is not None and (unsure or amount > Decimal(str(cap)))
    if not given["confirm"] and not over:
        return True
    if given["confirm"]:
        _tell_estimates(estimates)
    prompts = sum(estimate.prompts for estimate in estimates.values())
    capped = f", and --max-cost is {plain_number(cap)}" if over and cap is not None else ""
    text = f"this may cost about US$ {dollars_text(amount, 4)} for {_prompts_text(prompts)}{_unpriced_text(estimates)}{capped}"
    return confirm(text, otherwise="--yes sends it all the same")


def _tell_estimates(estimates: Mapping[str, batch.ModelEstimate]) -> None:
    for name, estimate in sorted(estimates.items())[:_MOST_MODELS]:
        cost = _cells(estimate, dollars_text(estimate.cost, 4))[-1]
        say(f"  {name}: {_prompts_text(estimate.prompts)}" + ("" if name.startswith(batch.NOBODY) else f", about US$ {cost}"))
    _tell_limits(estimates)


def _tell_limits(estimates: Mapping[str, batch.ModelEstimate]) -> None:
    unlimited = sum(estimate.unlimited for estimate in estimates.values())
    if unlimited:
        assumed = sum(estimate.assumed_tokens for estimate in estimates.values())
        say(
            f"  {_prompts_text(unlimited)} without max_tokens: {assumed:,} tokens of output are assumed, and longer answers cost"
            " more; max_tokens limits an answer"
        )
    if any(name.startswith(batch.NOBODY) for name in estimates):
        say("  prompts for models that nobody has will fail; batch --substitute lets a similar model of another vendor answer it")


def plain_number(number: float) -> str:
    """Return the number as people write it, without an exponent."""
    return f"{Decimal(str(number)):f}".removesuffix(".0")


def _prompts_text(prompts: int) -> str:
    return f"{prompts} prompt{'' if prompts == 1 else 's'}"


def _unpriced_text(estimates: Mapping[str, batch.ModelEstimate]) -> str:
    unpriced = sum(estimate.unpriced for estimate in estimates.values())
    return f", and {_prompts_text(unpriced)} to models whose price is not known" if unpriced else ""
