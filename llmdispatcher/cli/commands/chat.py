"""``chat``: talk with a model in the terminal.

A conversation has its turns, its model and its cost, and can be saved to a file and loaded. Lines that begin with a slash are
commands.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import attrs
import click

from ... import batch  # a door: what it offers is loaded when it is used
from ..._text import escaped
from ...errors import Cancelled, ConfigError, DispatchError
from ...runtime import user_path, write_file
from ...types import Message, Request, Response, Usage
from ..options import ASKED_MODEL, COUNT, FILE, NO_FAILOVER, SIMULATE, SYSTEM, Number, Positive, make_command, model_option
from ..session import for_terminal, open_session
from ..settings import Settings
from ..signals import Stop, TerminatedBySignal, catch_signals
from ..terminal import FAILED, OK, QuestionReader, UsageError, complain, may_write, say, tell, tell_json
from . import ask
from .ask import dollars, print_stream, report_response

if TYPE_CHECKING:
    from ...dispatcher import Dispatcher

_FOR_PEOPLE = (".md", ".txt")
"""Endings of files that are written to be read, and cannot be loaded again."""


@attrs.define(eq=False)
class Conversation:
    """The conversation so far. ``turns`` alternate between user and model; ``usage`` is the sum of all answers."""

    model: str = ""
    system: str | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    turns: list[Message] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    answers: int = 0
    unpriced: int = 0
    cost: Decimal = Decimal(0)

    def request(self, text: str) -> Request:
        """Return the request for the next question, with all turns before it."""
        before = [Message.system(self.system)] if self.system else []
        return Request(self.model, [*before, *self.turns, Message.user(text)], **self.fields)

    def add(self, text: str, response: Response) -> None:
        """Add a question and its answer."""
        self.turns += [Message.user(text), response.message]
        self.answers += 1
        self.usage = self.usage + response.usage
        self.cost += response.usage.cost or 0
        self.unpriced += response.usage.cost is None

    def save(self, path: Path) -> None:
        """Write the conversation to a file that only its owner may read: JSON, or Markdown where its name ends in .md or .txt."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = self._transcript() if path.suffix.lower() in _FOR_PEOPLE else self._record()
        write_file(path, f"{text}\n".encode("utf-8", "backslashreplace"))

    def _record(self) -> str:
        turns = [{"role": turn.role, "content": turn.text} for turn in self.turns]
        return json.dumps({"model": self.model, "system": self.system, "messages": turns}, ensure_ascii=False, indent=2)

    def _transcript(self) -> str:
        """The turns in Markdown, each under the name of who speaks."""
        turns = [("System", self.system), *[(turn.role.title(), turn.text) for turn in self.turns]]
        return "\n\n".join([f"# {self.model}", *[f"## {who}\n\n{text}" for who, text in turns if text]])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a conversation that was saved. Raises :class:`UsageError`."""
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            turns = [Message.from_dict(turn) for turn in record["messages"]]
            model, system = record.get("model") or "", record.get("system")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DispatchError):
            if path.suffix.lower() in _FOR_PEOPLE:
                raise UsageError(f"{path}: a {path.suffix} file is for people; /save talk.json keeps what can be loaded") from None
            raise UsageError(f"{path}: /save has not written this file; give one that it has written") from None
        if not isinstance(model, str) or not isinstance(system, str | None):
            raise UsageError(f"{path}: /save has not written this file; give one that it has written")
        return cls(model=model, system=system, turns=turns)


@attrs.define(eq=False)
class Chat:
    """A chat under way."""

    dispatcher: Dispatcher
    conversation: Conversation
    settings: Settings
    timeout: float | None
    last: str | None = None
    """The last question, answered or not."""
    failed: bool = False
    """Whether a question or a command has failed."""
    simulated: bool = False
    own_files: set[Path] = attrs.field(factory=set)
    """The files that this chat was loaded from or saved in, which it may overwrite."""

    def complain(self, text: str) -> None:
        """Print an error; the chat goes on."""
        self.failed = True
        complain(text)

    def ask(self, text: str) -> None:
        """Ask, print the answer while it arrives, and add both. An answer that Ctrl-C stops is not added."""
        self.last = text
        stop = Stop()
        try:
            with catch_signals() as stop:
                response = self._answer(text, stop)
        except (Cancelled, KeyboardInterrupt):
            if stop.signal not in (None, signal.SIGINT):
                raise TerminatedBySignal(stop.signal) from None
            say("[stopped; /retry asks again]")
            return
        except DispatchError as error:
            self.complain(f"{type(error).__name__}: {error}")
            return
        self.conversation.add(text, response)
        if self.settings.json:
            tell_json(batch.response_record(response) | ({"simulated": True} if self.simulated else {}), line=True)
        report_response(response, self.settings)

    def _answer(self, text: str, stop: Stop) -> Response:
        """The answer, which is printed while it arrives; with --json a line is printed when it is complete."""
        request = self.conversation.request(text)
        if self.settings.json:
            return self.dispatcher.send(request, timeout=self.timeout, cancel=stop.cancel)
        return print_stream(self.dispatcher, request, stop, self.timeout)

    def tell(self, text: str) -> None:
        """Print what a command says; with --json stdout has answers alone."""
        if self.settings.json:
            say(text)
        else:
            tell(text)

    def run(self, line: str) -> bool:
        """Carry out a command; False ends the chat."""
        word, _, rest = line.partition(" ")
        if word in ("/exit", "/quit"):
            return False
        action = SLASH_COMMANDS.get(word)
        if action is None:
            self.complain(f"{word}: no such command; /help lists them")
            return True
        try:
            action[0](self, rest.strip())
        except (UsageError, ConfigError) as error:
            self.complain(str(error))
        except OSError as error:
            self.complain(f"{rest}: {error.strerror}")
        return True


def run_chat(chat: Chat) -> int:
    """Chat until Ctrl-D, /exit or the end of a pipe; returns the exit code, which tells of failures unless a person types."""
    with QuestionReader() as lines:
        if lines.interactive and not chat.settings.quiet:
            say(f"Talking with {escaped(chat.conversation.model)}; /help tells the commands, Ctrl-D ends.")
        while True:
            try:
                line = lines.read()
            except KeyboardInterrupt:
                say("\n[Ctrl-D or /exit ends the chat]")
                continue
            if line is None or (line.startswith("/") and not chat.run(line)):
                return FAILED if chat.failed and not lines.interactive else OK
            if line and not line.startswith("/"):
                chat.ask(line)


def _help(chat: Chat, _rest: str) -> None:
    for name, (_, text) in SLASH_COMMANDS.items():
        chat.tell(f"  {name:<10} {text}")
    chat.tell(f"  {'/exit':<10} end the chat; so does Ctrl-D")


def _model(chat: Chat, rest: str) -> None:
    chat.conversation.model = rest or chat.conversation.model
    chat.tell(f"model: {chat.conversation.model}")


def _system(chat: Chat, rest: str) -> None:
    if rest:
        chat.conversation.system = None if rest == "-" else rest
    chat.tell(f"system: {chat.conversation.system or '(nothing)'}")


def _save(chat: Chat, rest: str) -> None:
    path = _path_of(rest.removesuffix("--force").strip(), "/save")
    if not may_write(path, force=rest.endswith("--force") or path in chat.own_files, option=f"/save {path} --force"):
        say("not saved")
        return
    chat.conversation.save(path)
    chat.own_files.add(path)
    chat.tell(f"saved in {path}")


def _load(chat: Chat, rest: str) -> None:
    path = _path_of(rest, "/load")
    loaded = Conversation.load(path)
    chat.own_files.add(path)
    now = chat.conversation
    now.turns, now.system, now.model = loaded.turns, loaded.system, loaded.model or now.model
    chat.tell(f"{len(loaded.turns)} turns with {now.model}")


def _cost(chat: Chat, _rest: str) -> None:
    now, usage = chat.conversation, chat.conversation.usage
    doubt = f", and {now.unpriced} whose price is not known" if now.unpriced else ""
    chat.tell(f"{now.answers} answers, {usage.input_tokens} tokens in, {usage.output_tokens} out, {dollars(now.cost)}{doubt}")


def _retry(chat: Chat, _rest: str) -> None:
    turns = chat.conversation.turns
    if chat.last is None:
        raise UsageError("/retry: nothing was asked yet")
    if len(turns) > 1 and turns[-2].text == chat.last:
        del turns[-2:]
    chat.ask(chat.last)


def _clear(chat: Chat, _rest: str) -> None:
    chat.conversation.turns.clear()
    chat.tell("nothing was said")


def _path_of(rest: str, command: str) -> Path:
    if not rest:
        raise UsageError(f"{command}: which file? {command} chat.json")
    return user_path(rest, command)


SLASH_COMMANDS: Mapping[str, tuple[Callable[[Chat, str], None], str]] = {
    "/help": (_help, "this list"),
    "/model": (_model, "tell the model, or take another: /model openai:gpt-4o"),
    "/system": (_system, "tell what the model is told beforehand, or change it; - for nothing"),
    "/save": (_save, "write the conversation to a file; --force overwrites one"),
    "/load": (_load, "go on with one from a file"),
    "/cost": (_cost, "what the answers have cost so far"),
    "/retry": (_retry, "ask the last question again"),
    "/clear": (_clear, "forget what was said"),
}
"""By name: the function, and the line of /help."""


@make_command(
    "chat",
    examples=(
        "llmdispatcher chat",
        'llmdispatcher chat --model anthropic:claude-haiku-4-5 --system "Be brief."',
        "llmdispatcher chat --simulate",
    ),
    codes="0 ok, 1 from a pipe: a question or a command failed, 2 wrong usage, 130 interrupted",
)
@model_option(ASKED_MODEL)
@SYSTEM
@click.option("--load", type=FILE, metavar="FILE", help="Continue a conversation that /save has written.")
@click.option("--max-tokens", type=COUNT, metavar="N", help="The limit of each answer's tokens.")
@click.option("--temperature", type=Number(0, 2), metavar="T", help="0 to 2; else the model's default.")
@click.option("--timeout", type=Positive(), metavar="S", help="Seconds for each answer, retries included.  [default: 300]")
@NO_FAILOVER
@SIMULATE
def command(settings: Settings, **given: Any) -> int:
    """Chat with a model.

    A line is a question; a text that is pasted is one question, whatever lines it has, and so is what stands between two lines of
    \"\"\". Ctrl-C stops an answer, Ctrl-D ends the chat, /help tells the commands. Lines that were typed are remembered in the
    user's own folder, for the arrow keys; conversations are kept only by /save.
    """
    load: Path | None = given["load"]
    conversation = Conversation.load(load) if load is not None else Conversation()
    conversation.model = given["model"] or conversation.model or ask.model_of(None)
    conversation.system = given["system"] or conversation.system
    conversation.fields = {name: given[name] for name in ("max_tokens", "temperature") if given[name] is not None}
    with open_session(settings, for_terminal(simulate=given["simulate"], failover=not given["no_failover"])) as session:
        session.warn_of_simulation(settings)
        own_files = {load} if load is not None else set()
        return run_chat(
            Chat(session.dispatcher, conversation, settings, given["timeout"], simulated=session.simulated, own_files=own_files)
        )
