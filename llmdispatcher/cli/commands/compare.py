"""``compare``: ask several models the same question at once, and show answers, times and costs side by side."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import attrs
import click

from ... import batch
from ..._text import escaped
from ...errors import Cancelled, DispatchError, ModelNotFound
from ...types import Request, Response
from .. import values
from ..estimates import may_begin, print_estimates, with_price_options
from ..options import COUNT, FILE, SIMULATE, SYSTEM, Number, Positive, make_command, with_attachments
from ..session import Session, VendorChoice, open_session
from ..settings import Settings
from ..signals import Stop, catch_signals
from ..tables import UNKNOWN, cell, money_cells, print_columns, print_rows
from ..terminal import FAILED, OK, USAGE, UsageError, complain, for_commands, for_stream, say, tell_json
from .ask import attachments, prompt_of, report_end, request_of, schema_of

_MOST_AT_ONCE = 16
_TIMEOUT = 300.0
_NARROWEST = 24
"""Columns of the terminal that an answer needs to stand beside others."""
_HEADS = ("model", "answered by", "seconds", "tokens in", "tokens out", "US$")

Answer = Response | DispatchError


@make_command(
    "compare",
    examples=(
        'llmdispatcher compare "Why is the sky blue?" --models gpt-4o-mini,claude-haiku-4-5,gemini-2.5-flash',
        'llmdispatcher compare "Name three primes" -m openai:gpt-4o -m fast --max-tokens 50 --json',
        'llmdispatcher compare --simulate "Hello" --models gpt-4o,gpt-4o-mini',
        'llmdispatcher compare "Hello" --models gpt-4o,claude-opus-4-5 --dry-run',
    ),
    codes=(
        "0 all models answered, 1 one did not, or the price was declined, 2 wrong usage or no model can be asked, 130 interrupted"
    ),
)
@click.argument("prompt", nargs=-1, help="The question, as for `ask`.")
@click.option(
    "-m",
    "--models",
    "--model",
    "models",
    multiple=True,
    metavar="A,B,...",
    shell_complete=values.MODELS,
    help="Models, vendor:model or aliases, with commas between them; may be repeated.",
)
@SYSTEM
@with_attachments
@click.option("--schema", type=FILE, metavar="FILE", help="A file with a JSON schema for the answers.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The limit of each answer's tokens.")
@click.option("--temperature", type=Number(0, 2), metavar="T", help="0 to 2; else each model's default.")
@click.option("--timeout", type=Positive(), metavar="S", help="Seconds for each answer, retries included.  [default: 300]")
@with_price_options
@SIMULATE
def command(settings: Settings, **given: Any) -> int:
    """Ask several models the same question, all at once, and compare answers, times and costs.

    A model that fails is told, and the others answer all the same. On a terminal that is wide enough the answers stand side by
    side, else one below the other.
    """
    names = _names(given["models"])
    request = request_of(
        prompt_of(given["prompt"]),
        attachments(given["files"], given["images"]),
        given["system"],
        model=names[0],
        max_tokens=given["max_tokens"],
        temperature=given["temperature"],
        response_format=schema_of(given["schema"]),
    )
    lines = [batch.Prompt(line, name, attrs.evolve(request, model=name)) for line, name in enumerate(names, 1)]
    choice = VendorChoice(simulate=given["simulate"], timeout=_TIMEOUT, dry_for=tuple(names) if given["dry_run"] else None)
    with open_session(settings, choice) as session:
        session.warn_of_simulation(settings)
        if given["dry_run"]:
            if session.keys_assumed and not settings.quiet:
                say(session.description)
            print_estimates(session, lines, settings)
            return OK
        if not may_begin(session, lines, given):
            return FAILED
        with catch_signals() as stop:
            answers = _ask_all(session, lines, stop, given["timeout"])
    if settings.json:
        _print_json(answers, simulated=session.simulated)
    else:
        _print_answers(answers, settings)
    _report(answers)
    return stop.code if stop.signal is not None else _code_of(answers)


def _names(given: Sequence[str]) -> list[str]:
    """The models, each once, in the order in which they were named."""
    names = list(dict.fromkeys([name.strip() for text in given for name in text.split(",") if name.strip()]))
    if not names:
        raise UsageError("--models: no model is named; give some with commas between them, such as gpt-4o-mini,claude-haiku-4-5")
    return names


def _ask_all(session: Session, lines: Sequence[batch.Prompt], stop: Stop, timeout: float | None) -> dict[str, Answer]:
    """Ask all models at once; what fails is an error in the place of an answer."""

    def ask(line: batch.Prompt) -> Answer:
        assert isinstance(line.request, Request)
        try:
            return session.dispatcher.send(line.request, timeout=timeout, cancel=stop.cancel)
        except DispatchError as error:
            return error

    with ThreadPoolExecutor(min(_MOST_AT_ONCE, len(lines))) as pool:
        return {str(line.id): answer for line, answer in zip(lines, pool.map(ask, lines), strict=True)}


def _code_of(answers: Mapping[str, Answer]) -> int:
    errors = [answer for answer in answers.values() if isinstance(answer, DispatchError)]
    if len(errors) == len(answers) and all(isinstance(error, ModelNotFound) and not error.attempts for error in errors):
        return USAGE
    return FAILED if errors else OK


def _print_json(answers: Mapping[str, Answer], *, simulated: bool) -> None:
    records: list[dict[str, Any]] = []
    for name, answer in answers.items():
        found = batch.response_record(answer) if isinstance(answer, Response) else {"error": batch.error_record(answer)}
        records.append({"asked": name, **found})
    costs = [answer.usage.cost for answer in answers.values() if isinstance(answer, Response) and answer.usage.cost is not None]
    tell_json({"answers": records, "cost": sum(costs, Decimal(0))} | ({"simulated": True} if simulated else {}))


def _print_answers(answers: Mapping[str, Answer], settings: Settings) -> None:
    texts = {name: _text(answer) for name, answer in answers.items()}
    print_columns(texts, narrowest=_NARROWEST, no_color=settings.no_color)
    print()
    found = [answer if isinstance(answer, Response) else None for answer in answers.values()]
    costs, total = money_cells([answer.usage.cost if answer is not None else None for answer in found])
    rows = [_row(name, answer, cost) for name, answer, cost in zip(answers, found, costs, strict=True)]
    tokens = [sum(getattr(one.usage, name) for one in found if one) for name in ("input_tokens", "output_tokens")]
    sums = ("all", "", "", *[f"{count:,}" for count in tokens], total)
    print_rows(_HEADS, rows, no_color=settings.no_color, spare=("answered by", "tokens in", "tokens out"), total=sums)
    sys.stdout.flush()


def _text(answer: Answer) -> str:
    if isinstance(answer, Response):
        return for_stream(answer.content or answer.refusal or "", sys.stdout).strip("\n")
    return f"(failed: {type(answer).__name__})"


def _row(name: str, answer: Response | None, cost: str) -> tuple[str, ...]:
    if answer is None:
        return name, "failed", *[UNKNOWN] * 4
    usage = answer.usage
    return name, answer.ref, cell(answer.latency, ".2f"), f"{usage.input_tokens:,}", f"{usage.output_tokens:,}", cost


def _report(answers: Mapping[str, Answer]) -> None:
    """Tell on stderr what failed and why, and which answers are refusals or were cut off."""
    for name, answer in answers.items():
        if isinstance(answer, Response):
            report_end(answer, f"{name}: ")
        elif not isinstance(answer, Cancelled):
            complain(f"{name}: {type(answer).__name__}: {escaped(for_commands(str(answer)))}")
