"""``chat``: talk with a model on the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .. import fleet, question
from ..conversation import Conversation
from ..options import COUNT, FILE, Positive, a_command
from ..repl import talk
from ..settings import Settings


@a_command(
    "chat",
    examples=(
        "llmdispatcher chat",
        'llmdispatcher chat --model anthropic:claude-haiku-4-5 --system "Be brief."',
        "llmdispatcher chat --simulate",
    ),
)
@click.option("-m", "--model", help="A model, vendor:model or alias; else $LLMDISPATCHER_MODEL, else whichever fits best.")
@click.option("-s", "--system", metavar="TEXT", help="What the model is told beforehand.")
@click.option("--load", type=FILE, metavar="FILE", help="Go on with a conversation that /save has written.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The most tokens of each answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="0 to 2; else the model's default.")
@click.option("--timeout", type=Positive(), metavar="S", help="Seconds for each answer, retries included.  [default: 300]")
@click.option("--simulate", is_flag=True, help="Ask simulated vendors; nothing is sent.")
def command(settings: Settings, **given: Any) -> int:
    """Talk with a model.

    A line is a question; a text that is pasted is one question, whatever lines it has, and so is what stands between two lines of
    \"\"\". Ctrl-C stops an answer, Ctrl-D ends the chat, /help tells the commands. Lines that were typed are remembered in the
    user's own folder, for the arrow keys; conversations are kept only by /save.
    """
    load: Path | None = given["load"]
    conversation = Conversation.loaded(load) if load is not None else Conversation()
    conversation.model = given["model"] or conversation.model or question.model_of(None)
    conversation.system = given["system"] or conversation.system
    conversation.fields = {name: given[name] for name in ("max_tokens", "temperature") if given[name] is not None}
    with fleet.assembled(settings, fleet.patient(simulate=given["simulate"])) as (dispatcher, _):
        return talk(dispatcher, conversation, settings, given["timeout"])
