"""``explain``: show which targets a request would be sent to, and why."""

from __future__ import annotations

from typing import Any

import click

from ..options import COUNT, make_command
from ..session import VendorChoice, open_session
from ..settings import Settings
from ..terminal import FAILED, OK, for_commands, say, tell, tell_json
from . import ask


@make_command(
    "explain",
    examples=('llmdispatcher explain "Why is the sky blue?"', "llmdispatcher explain --model gpt-4o --json Hello"),
    codes="0 somebody would be asked, if only for a list of models, 1 nobody, 2 wrong usage, 130 interrupted",
)
@click.argument("prompt", nargs=-1, help="The question, as for `ask`; optional.")
@click.option("-m", "--model", help="A model, vendor:model or alias; else $LLMDISPATCHER_MODEL, else whichever fits best.")
@click.option("--mode", metavar="NAME", help='A mode of routing, such as "fast" or "cost_saving".')
@click.option("--user", metavar="NAME", help="Whose question it is, for rules and sticky balancing.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The limit of the answer's tokens.")
@click.option("--stream", is_flag=True, help="Explain a streamed call.")
@click.option("--simulate", is_flag=True, help="Use simulated vendors.")
def command(settings: Settings, **given: Any) -> int:
    """Show which vendors and models would be asked, in which order and why, and why others would not.

    Nothing is sent, so no key is needed: where there is none, the vendors of the model are taken as if they had one. A local server
    such as Ollama is not asked for its list of models either, and the explanation says that it would be.
    """
    request = ask.request_of(
        " ".join(given["prompt"]) or "Hello",
        (),
        None,
        model=ask.model_of(given["model"]),
        mode=given["mode"],
        user=given["user"],
        max_tokens=given["max_tokens"],
    )
    with open_session(settings, VendorChoice(simulate=given["simulate"], dry_for=(request.model,))) as session:
        session.warn_of_simulation(settings)
        plan = session.dispatcher.explain(request, streaming=given["stream"])
    if session.keys_assumed and not settings.quiet:
        say(session.description)
    if settings.json:
        marks = {"keys_assumed": session.keys_assumed, "simulated": session.simulated}
        record = plan.as_dict()
        tell_json(
            record | {"hint": for_commands(record["hint"] or "") or None} | {name: True for name, holds in marks.items() if holds}
        )
    else:
        tell(*str(plan).split("\n"))
    return OK if plan.targets or plan.unread else FAILED
