"""The talk itself: read, ask, print, again; and what begins with a slash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import attrs

from ..dispatcher import Dispatcher
from ..errors import Cancelled, DispatchError
from .conversation import Conversation
from .lines import Lines
from .settings import Settings
from .speaking import dollars, speak, tell
from .stopping import stoppable
from .terminal import OK, UsageError, complain, plain, say


@attrs.define(eq=False)
class Talk:
    """A chat under way."""

    dispatcher: Dispatcher
    conversation: Conversation
    settings: Settings
    timeout: float | None
    last: str | None = None
    """What was asked last, answered or not."""

    def ask(self, text: str) -> None:
        """Ask, print the answer while it arrives, remember both. Ctrl-C stops the answer, and then it is not remembered."""
        self.last = text
        try:
            with stoppable() as stop:
                response = speak(self.dispatcher, self.conversation.request(text), stop, self.timeout)
        except (Cancelled, KeyboardInterrupt):
            say("[stopped; /retry asks again]")
            return
        except DispatchError as error:
            complain(f"{type(error).__name__}: {error}")
            return
        self.conversation.said(text, response)
        tell(response, self.settings)

    def obey(self, line: str) -> bool:
        """Carry out what begins with a slash; False ends the chat."""
        word, _, rest = line.partition(" ")
        if word in ("/exit", "/quit"):
            return False
        deed = DEEDS.get(word)
        if deed is None:
            complain(f"{word}: no such command; /help tells which there are")
            return True
        try:
            deed[0](self, rest.strip())
        except UsageError as error:
            complain(str(error))
        except OSError as error:
            complain(f"{rest}: {error.strerror}")
        return True


def talk(dispatcher: Dispatcher, conversation: Conversation, settings: Settings, timeout: float | None) -> int:
    """Talk until Ctrl-D, /exit or the end of a pipe; the exit code."""
    under_way = Talk(dispatcher, conversation, settings, timeout)
    with Lines() as lines:
        if lines.interactive and not settings.quiet:
            say(f"Talking with {conversation.model}; /help tells the commands, Ctrl-D ends.")
        while True:
            try:
                line = lines.question()
            except KeyboardInterrupt:
                say("\n[Ctrl-D or /exit ends the chat]")
                continue
            if line is None or (line.startswith("/") and not under_way.obey(line)):
                return OK
            if line and not line.startswith("/"):
                under_way.ask(line)


def _help(_talk: Talk, _rest: str) -> None:
    for name, (_, text) in DEEDS.items():
        print(f"  {name:<10} {text}")
    print(f"  {'/exit':<10} end the chat; so does Ctrl-D")


def _model(talk: Talk, rest: str) -> None:
    talk.conversation.model = rest or talk.conversation.model
    print(plain(f"model: {talk.conversation.model}"))


def _system(talk: Talk, rest: str) -> None:
    if rest:
        talk.conversation.system = None if rest == "-" else rest
    print(plain(f"system: {talk.conversation.system or '(nothing)'}"))


def _save(talk: Talk, rest: str) -> None:
    talk.conversation.save(_named(rest, "/save"))
    print(plain(f"saved in {rest}"))


def _load(talk: Talk, rest: str) -> None:
    loaded = Conversation.loaded(_named(rest, "/load"))
    known = talk.conversation
    known.turns, known.system, known.model = loaded.turns, loaded.system, loaded.model or known.model
    print(plain(f"{len(loaded.turns)} turns with {known.model}"))


def _cost(talk: Talk, _rest: str) -> None:
    known = talk.conversation
    doubt = f", and {known.unpriced} whose price is not known" if known.unpriced else ""
    usage = known.usage
    print(f"{known.answers} answers, {usage.input_tokens} tokens in, {usage.output_tokens} out, {dollars(known.cost)}{doubt}")


def _retry(talk: Talk, _rest: str) -> None:
    turns = talk.conversation.turns
    if talk.last is None:
        raise UsageError("/retry: nothing was asked yet")
    if turns and turns[-2].text == talk.last:
        talk.conversation.taken_back()
    talk.ask(talk.last)


def _clear(talk: Talk, _rest: str) -> None:
    talk.conversation.turns.clear()
    print("nothing was said")


def _named(rest: str, command: str) -> Path:
    if not rest:
        raise UsageError(f"{command}: which file? {command} talk.json")
    return Path(rest).expanduser()


DEEDS: Mapping[str, tuple[Callable[[Talk, str], None], str]] = {
    "/help": (_help, "this list"),
    "/model": (_model, "tell the model, or take another: /model openai:gpt-4o"),
    "/system": (_system, "tell what the model is told beforehand, or change it; - for nothing"),
    "/save": (_save, "write the conversation to a file"),
    "/load": (_load, "go on with one from a file"),
    "/cost": (_cost, "what the answers have cost so far"),
    "/retry": (_retry, "ask the last question again"),
    "/clear": (_clear, "forget what was said"),
}
"""By word: what it does, and the line of /help."""
