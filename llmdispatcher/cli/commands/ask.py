"""``ask`` and ``explain``: ask one question and print the response, or tell whom it would be asked.

The question is what was typed, piped in and attached. The answer is printed as it arrives, without characters that would control
the terminal; the cost follows.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ... import batch  # a door: what it offers is loaded when it is used
from ..._text import escaped
from ...errors import Cancelled, InvalidRequest
from ...types import ANY_MODEL, Message, Part, Request, Response, TextPart, analyze_file, dollars_text, image
from .. import values
from ..options import (
    ASKED_MODEL,
    COUNT,
    FILE,
    NO_FAILOVER,
    SIMULATE,
    SYSTEM,
    Number,
    Positive,
    make_command,
    model_option,
    with_attachments,
)
from ..session import VendorChoice, for_terminal, open_session
from ..settings import Settings
from ..signals import Stop, catch_signals
from ..terminal import FAILED, OK, UsageError, complain, for_commands, for_stream, is_typed, say, tell, tell_json

if TYPE_CHECKING:
    from ...dispatcher import Dispatcher

MODEL = "LLMDISPATCHER_MODEL"
"""The variable that names the model if no option does."""

NO_PROMPT = 'there is no prompt; write it behind the command ("Why is the sky blue?"), or pipe it in'


def named_model(given: str | None) -> str | None:
    """Return the model that an option or the environment names."""
    return given or os.environ.get(MODEL) or None


def model_of(given: str | None) -> str:
    """Return the model to ask: the option's, the environment's, else "auto"."""
    return named_model(given) or ANY_MODEL


def prompt_of(words: Sequence[str]) -> str:
    """Return what was typed and what was piped in, one below the other."""
    piped = "" if sys.stdin is None or is_typed() else _read_stdin()
    return "\n\n".join(text for text in (" ".join(words), piped) if text.strip())


def _read_stdin() -> str:
    data = sys.stdin.buffer.read()
    try:
        return data.decode().removeprefix("\ufeff").rstrip("\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"stdin: not UTF-8 text, at byte {error.start + 1}; attach what is no text with --file") from None


def attachments(files: Sequence[str], images: Sequence[str]) -> list[Part]:
    """Return the files and images as parts of a message; text files become text. Raises :class:`UsageError`."""
    try:
        return [*(_file(name) for name in files), *(image(name) for name in images)]
    except InvalidRequest as error:
        raise UsageError(error.message) from None


def _file(name: str) -> Part:
    text = _text(Path(name))
    return TextPart(text=f"{Path(name).name}:\n\n{text}") if text is not None else analyze_file(name, "")[1]


def _text(path: Path) -> str | None:
    """The content of a file of text; ``None`` for any other kind."""
    try:
        data = path.read_bytes() if path.is_file() else b"\0"
        return None if b"\0" in data or data.startswith(b"%PDF") or not data else data.decode()
    except (OSError, UnicodeDecodeError):
        return None


def schema_of(path: Path | None) -> Any:
    """Read a JSON schema. Raises :class:`UsageError`."""
    if path is None:
        return None
    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        if str(path).lstrip().startswith("{"):
            raise UsageError("--schema: a schema is read from a file; write it into one and give the file's name") from None
        raise UsageError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not JSON: {error}") from None
    if not isinstance(schema, dict):
        raise UsageError(f"{path}: {type(schema).__name__} is not a JSON schema; give an object")
    return schema


def request_of(prompt: str, parts: Sequence[Part], system: str | None, **fields: Any) -> Request:
    """Make the request. Raises :class:`UsageError`, which names the field that is wrong."""
    if not prompt and not parts:
        raise UsageError(NO_PROMPT)
    asked = Message.user(prompt, *parts) if prompt else Message.user(*parts)
    try:
        return Request(messages=[*([Message.system(system)] if system else []), asked], **fields)
    except InvalidRequest as error:
        raise UsageError(error.message) from None


def print_stream(dispatcher: Dispatcher, request: Request, stop: Stop, timeout: float | None) -> Response:
    """Print an answer while it arrives, and end its line even if it fails."""
    out, last = sys.stdout, "\n"
    try:
        with dispatcher.send_streaming(request, timeout=timeout, cancel=stop.cancel) as stream:
            for chunk in stream:
                if chunk.content:
                    out.write(for_stream(chunk.content, out))
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
    sys.stdout.write(for_stream(text, sys.stdout) + ("" if text.endswith("\n") else "\n"))
    sys.stdout.flush()


def report_end(response: Response, name: str = "") -> None:
    """Tell on stderr if the answer is a refusal or was cut off, after the ``name`` of a model if given."""
    if response.refusal:
        complain(f"{name}the model refuses: {response.refusal}")
    if response.finish_reason == "length":
        complain(f"{name}the answer was cut off where its tokens ended; a higher --max-tokens allows more")


def report_response(response: Response, settings: Settings) -> None:
    """Tell on stderr if the answer is a refusal or was cut off, and on a terminal who answered, and for how much."""
    report_end(response)
    if sys.stderr.isatty() and not settings.quiet:
        usage = response.usage
        seconds = "" if response.latency is None else f", {response.latency:.1f} s"
        say(f"[{escaped(response.ref)}, {usage.input_tokens} tokens in, {usage.output_tokens} out, {dollars(usage.cost)}{seconds}]")


def dollars(amount: Decimal | None) -> str:
    """The text for an amount of US dollars."""
    return "price unknown" if amount is None else f"US$ {dollars_text(amount)}"


@make_command(
    "ask",
    examples=(
        'llmdispatcher ask "Why is the sky blue?"',
        'git diff | llmdispatcher ask --system "You review code." What is wrong here',
        "llmdispatcher ask --image photo.png What is this --model openai:gpt-4o",
        'llmdispatcher ask --schema city.json "The capital of Peru" --json',
        'llmdispatcher ask --simulate --trace "Hello"',
    ),
    codes="0 it was answered, 1 a vendor or a call failed, 2 wrong usage or nobody has the model, 130 interrupted",
)
@click.argument("prompt", nargs=-1, help="The question; words need no quotes unless the shell wants them.")
@model_option(ASKED_MODEL)
@SYSTEM
@with_attachments
@click.option("--schema", type=FILE, metavar="FILE", help="A file with a JSON schema for the answer.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The limit of the answer's tokens.")
@click.option("--temperature", type=Number(0, 2), metavar="T", help="0 to 2; else the model's default.")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="A tag of the call in the ledger; may be repeated.")
@click.option("--timeout", type=Positive(), metavar="S", help="Seconds for everything, retries included.  [default: 300]")
@NO_FAILOVER
@click.option("--no-stream", is_flag=True, help="Print the answer when it is complete, as through a pipe.")
@click.option("--json-output", is_flag=True, help="Print the answer as JSON, with usage, cost and attempts; so does --json.")
@click.option("--trace", is_flag=True, help="Print on stderr which models were asked, in which order, and why.")
@SIMULATE
def command(settings: Settings, **given: Any) -> int:
    """Ask one question and print the answer.

    The question is what is written behind the command, what is piped in, or both, one below the other. On a terminal the answer is
    printed while it arrives, without control characters; a pipe gets it whole and as it is.
    """
    request = request_of(
        prompt_of(given["prompt"]),
        attachments(given["files"], given["images"]),
        given["system"],
        model=model_of(given["model"]),
        max_tokens=given["max_tokens"],
        temperature=given["temperature"],
        response_format=schema_of(given["schema"]),
        metadata={"tags": list(given["tags"])} if given["tags"] else {},
    )
    as_json = settings.json or given["json_output"]
    whole = as_json or given["no_stream"] or request.response_format is not None or not sys.stdout.isatty()
    choice = for_terminal(simulate=given["simulate"], failover=not given["no_failover"])
    with catch_signals() as stop, open_session(settings, choice) as session:
        session.warn_of_simulation(settings)
        try:
            if whole:
                response = session.dispatcher.send(request, timeout=given["timeout"], cancel=stop.cancel)
            else:
                response = print_stream(session.dispatcher, request, stop, given["timeout"])
        except Cancelled:
            return stop.code
    if as_json:
        tell_json(batch.response_record(response) | ({"simulated": True} if session.simulated else {}))
    elif whole:
        write(response)
    if given["trace"]:
        say(str(response.trace))
    report_response(response, settings)
    return OK


@make_command(
    "explain",
    examples=('llmdispatcher explain "Why is the sky blue?"', "llmdispatcher explain --model gpt-4o --json Hello"),
    codes="0 somebody would be asked, if only for a list of models, 1 nobody, 2 wrong usage, 130 interrupted",
)
@click.argument("prompt", nargs=-1, help="The question, as for `ask`; optional.")
@model_option(ASKED_MODEL)
@click.option("--mode", metavar="NAME", shell_complete=values.MODE, help='A mode of routing, such as "fast" or "cost_saving".')
@click.option("--user", metavar="NAME", help="Whose question it is, for rules and sticky balancing.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The limit of the answer's tokens.")
@click.option("--stream", is_flag=True, help="Explain a streamed call.")
@NO_FAILOVER
@click.option("--simulate", is_flag=True, help="Use simulated vendors.")
def explain(settings: Settings, **given: Any) -> int:
    """Show which vendors and models would be asked, in which order and why, and why others would not.

    Nothing is sent, so no key is needed: where there is none, the vendors of the model are taken as if they had one. A local server
    such as Ollama is not asked for its list of models either, and the explanation says that it would be.
    """
    request = request_of(
        " ".join(given["prompt"]) or "Hello",
        (),
        None,
        model=model_of(given["model"]),
        mode=given["mode"],
        user=given["user"],
        max_tokens=given["max_tokens"],
    )
    choice = VendorChoice(simulate=given["simulate"], failover=not given["no_failover"], dry_for=(request.model,))
    with open_session(settings, choice) as session:
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
