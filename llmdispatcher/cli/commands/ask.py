"""``ask``: one question, one answer."""

from __future__ import annotations

import sys
from typing import Any

import click

from ...batch import response_record
from ...cancellation import Cancellation
from ...dispatcher import Dispatcher
from ...errors import Cancelled
from ...response_values import Response
from ...types import Request
from .. import fleet, question, speaking
from ..options import COUNT, FILE, Positive, a_command
from ..settings import Settings
from ..stopping import stoppable
from ..terminal import INTERRUPTED, OK, json_text, say


@a_command(
    "ask",
    examples=(
        'llmdispatcher ask "Why is the sky blue?"',
        'git diff | llmdispatcher ask --system "You review code." What is wrong here',
        "llmdispatcher ask --image photo.png What is this --model openai:gpt-4o",
        'llmdispatcher ask --schema city.json "The capital of Peru" --json',
        'llmdispatcher ask --simulate --trace "Hello"',
    ),
)
@click.argument("prompt", nargs=-1, help="The question; words need no quotes unless the shell wants them.")
@click.option("-m", "--model", help="A model, vendor:model or alias; else $LLMDISPATCHER_MODEL, else whichever fits best.")
@click.option("-s", "--system", metavar="TEXT", help="What the model is told beforehand.")
@click.option(
    "-f", "--file", "files", multiple=True, metavar="FILE", help="Attach a text, document, recording or film; any number."
)
@click.option("-i", "--image", "images", multiple=True, metavar="FILE|URL", help="Attach an image; any number.")
@click.option("--schema", type=FILE, metavar="FILE", help="A JSON schema that the answer has to fit.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The most tokens of the answer.")
@click.option("--temperature", type=click.FloatRange(0, 2), metavar="T", help="0 to 2; else the model's default.")
@click.option("--timeout", type=Positive(), metavar="S", help="Seconds for everything, retries included.  [default: 300]")
@click.option("--no-stream", is_flag=True, help="Print the answer when it is whole; so does a pipe.")
@click.option("--json-output", is_flag=True, help="Print the answer as JSON, with usage, cost and attempts; so does --json.")
@click.option("--trace", is_flag=True, help="Tell on stderr who was asked, in which order, and why.")
@click.option("--simulate", is_flag=True, help="Ask simulated vendors; nothing is sent.")
def command(settings: Settings, **given: Any) -> int:
    """Ask one question and print the answer.

    The question is what is written behind the command, what is piped in, or both, one below the other. On a terminal the answer is
    printed while it arrives, without control characters; a pipe gets it whole and as it is.
    """
    request = question.request_of(
        question.prompt_of(given["prompt"]),
        question.attached(given["files"], given["images"]),
        given["system"],
        model=question.model_of(given["model"]),
        max_tokens=given["max_tokens"],
        temperature=given["temperature"],
        response_format=question.schema_of(given["schema"]),
    )
    as_json = settings.json or given["json_output"]
    whole = as_json or given["no_stream"] or request.response_format is not None or not sys.stdout.isatty()
    with (
        stoppable() as stop,
        fleet.assembled(settings, fleet.patient(simulate=given["simulate"])) as (
            dispatcher,
            _,
        ),
    ):
        try:
            response = _asked(dispatcher, request, stop, given["timeout"], whole=whole)
        except Cancelled:
            return INTERRUPTED
    _print(response, whole=whole, as_json=as_json)
    if given["trace"]:
        say(str(response.trace))
    speaking.tell(response, settings)
    return OK


def _asked(dispatcher: Dispatcher, request: Request, stop: Cancellation, timeout: float | None, *, whole: bool) -> Response:
    if whole:
        return dispatcher.send(request, timeout=timeout, cancel=stop)
    return speaking.speak(dispatcher, request, stop, timeout)


def _print(response: Response, *, whole: bool, as_json: bool) -> None:
    if as_json:
        print(json_text(response_record(response)))
    elif whole:
        speaking.write(response)
