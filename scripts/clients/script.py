"""What an upstream answers in a session: the steps, and the calls of a client's own tools that each of them takes.

A prompt names its step, so that the script needs no order of requests: titles, summaries and retries may come in between.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from llmdispatcher import ImagePart, Message, Request, Tool, ToolCall

STEPS: Mapping[str, str] = {
    "read": "Read the file notes.txt and say what it holds.",
    "edit": "Mend the function add in calc.py.",
    "run": "Run calc.py with Python.",
    "two": "Read notes.txt and run calc.py, both at once.",
    "picture": "Look at the file picture.png.",
    "think": "Think about calc.py, then say whether it is right.",
    "interrupt": "Tell a long story about the file.",
    "limit": "Say in one word whether all is well.",
    "overflow": "Say what was done so far.",
    "resume": "Go on: add a last line to calc.py.",
}
"""By name, in order: what the user asks for."""
NOTES = "The word of the day is ptarmigan."
BROKEN = "def add(a, b):\n    return a - b\n\n\nprint(add(2, 3))\n"
MENDED = BROKEN.replace("a - b", "a + b")
LAST = "# checked by a stranger\n"
THOUGHT = "Two and three are five, and that is what it prints."
SUMMARY = "SUMMARY: calc.py adds now; notes.txt was read."
_MARK = re.compile(r"\[step:(\w+)\]")
_SUMMING_UP = re.compile(r"summar|compact|snapshot|handoff|checkpoint", re.IGNORECASE)


def prompt(step: str) -> str:
    """What a client is given to send."""
    return f"[step:{step}] {STEPS[step]}"


@attrs.frozen
class Turn:
    """Where a conversation is: its step, and what came after the prompt. ``step`` is empty beside the session."""

    step: str
    since: Sequence[Message]
    summed_up: bool
    """Whether a summary is asked for."""
    told: str
    """All text of the conversation."""

    @property
    def rounds(self) -> int:
        """How many answers with calls there were since the prompt."""
        kinds = [bool(message.tool_calls) for message in self.since if message.tool_calls or message.role == "tool"]
        return sum(1 for at, calls in enumerate(kinds) if calls and not (at and kinds[at - 1]))

    @property
    def results(self) -> str:
        """The text of all results since the prompt."""
        return "\n".join([message.text for message in self.since if message.role != "assistant"])

    @property
    def has_picture(self) -> bool:
        """Whether a picture came since the prompt."""
        return any(isinstance(part, ImagePart) for message in self.since for part in message.parts)


def turn_of(request: Request) -> Turn:
    """Where a request's conversation is."""
    messages = request.messages
    told = "\n".join([message.text for message in messages])
    at, step = next(_marks(messages), (-1, ""))
    since = messages[at:]
    later = [message.text for message in since[1:] if message.role == "user" and message.text.strip()]
    asks = bool(later) and _SUMMING_UP.search(later[-1]) is not None and messages[-1].role != "tool"
    if not step or asks:
        last = messages[-1].text if messages else ""
        return Turn(step, since, asks or _SUMMING_UP.search(last) is not None or _system_sums_up(messages), told)
    return Turn(step, since, False, told)


def _system_sums_up(messages: Sequence[Message]) -> bool:
    return any(
        _SUMMING_UP.search(message.text[:400]) is not None for message in messages if message.role in ("system", "developer")
    )


def _marks(messages: Sequence[Message]) -> Iterator[tuple[int, str]]:
    """The prompts with a step, the last first."""
    for at in range(len(messages) - 1, -1, -1):
        found = _MARK.findall(messages[at].text) if messages[at].role == "user" else []
        if found and found[-1] in STEPS:
            yield at, found[-1]


class Tools:
    """A client's tools by what they do; a call of one that is not there is made with the shell."""

    def __init__(self, tools: Iterable[Any], folder: str) -> None:
        self._tools = {tool.name: tool for tool in tools if isinstance(tool, Tool)}
        self._folder = folder

    def __len__(self) -> int:
        return len(self._tools)

    def read(self, name: str) -> ToolCall:
        """Read a file."""
        path = f"{self._folder}/{name}"
        tool = self._named("read", "read_file", "view_image" if name.endswith(".png") else "read_file")
        if tool is None:
            return self.run(f"cat {name}")
        return _call(tool, {"file_path": path, "filePath": path, "path": path, "absolute_path": path})

    def edit(self, name: str, old: str, new: str) -> ToolCall:
        """Put a text in the place of another."""
        path = f"{self._folder}/{name}"
        tool = self._named("edit", "replace", "edit_file")
        if tool is None:
            text = f"import pathlib; p = pathlib.Path({name!r}); p.write_text(p.read_text().replace({old!r}, {new!r}))"
            return self.run(f"python3 -c {json.dumps(text)}")
        words = {"file_path": path, "filePath": path, "path": path}
        return _call(tool, {**words, "old_string": old, "oldString": old, "new_string": new, "newString": new})

    def run(self, command: str) -> ToolCall:
        """Run a command."""
        tool = self._named("bash", "shell", "exec_command", "run_shell_command", "shell_command")
        if tool is None:
            raise LookupError(f"no shell among the tools {sorted(self._tools)}")
        kind = tool.parameters.get("properties", {}).get("command", {}).get("type")
        return _call(tool, {"command": ["bash", "-c", command] if kind == "array" else command, "cmd": command})

    def _named(self, *names: str) -> Tool | None:
        lower = {name.lower(): tool for name, tool in self._tools.items()}
        return next((lower[name] for name in names if name in lower), None)


_DEFAULTS: Mapping[str, Any] = {"boolean": False, "integer": 1, "number": 1, "array": [], "object": {}}


def _call(tool: Tool, values: Mapping[str, Any]) -> ToolCall:
    """A call with those of the values that the tool takes, and something for what it needs besides."""
    fields = tool.parameters.get("properties", {})
    given = {name: value for name, value in values.items() if name in fields}
    for name in tool.parameters.get("required", ()):
        kind = fields.get(name, {}).get("type")
        given.setdefault(name, _DEFAULTS.get(kind, "as asked") if isinstance(kind, str) else "as asked")
    return ToolCall(name=tool.name, arguments=json.dumps(given))


@attrs.frozen
class Answer:
    """What a model says: a text, thoughts, calls. ``wrong`` is what the request lacks that the session should have brought."""

    text: str = ""
    thoughts: str = ""
    calls: tuple[ToolCall, ...] = ()
    wrong: str = ""


def answer_to(turn: Turn, tools: Tools) -> Answer:
    """The next answer of a session."""
    if turn.rounds < len(plan := _plan(turn, tools)):
        return Answer("I look.", calls=plan[turn.rounds]())
    if turn.step == "think":
        return Answer("It is right.", thoughts=THOUGHT)
    missing = [word for word in _RESULTS.get(turn.step, ()) if word not in turn.results]
    wrong = f"no result with {missing[0]!r} came back" if missing else ""
    if turn.step == "picture" and not turn.has_picture:
        wrong = "no picture came"
    return Answer(f"Done: {turn.step}.", wrong=wrong)


_RESULTS: Mapping[str, Sequence[str]] = {"read": (NOTES,), "run": ("5",), "two": (NOTES, "5")}
"""What results hold at the end of a step."""
Round = Callable[[], tuple[ToolCall, ...]]


def _plan(turn: Turn, tools: Tools) -> Sequence[Round]:
    """The calls of each round of a step."""
    notes: Round = lambda: (tools.read("notes.txt"),)  # noqa: E731 - a table of these
    look: Round = lambda: (tools.read("calc.py"),)  # noqa: E731 - as above
    run: Round = lambda: (tools.run("python3 calc.py"),)  # noqa: E731 - as above
    plans: Mapping[str, Sequence[Round]] = {
        "read": [notes],
        "edit": [look, lambda: (tools.edit("calc.py", "a - b", "a + b"),)],
        "run": [run],
        "two": [lambda: (*notes(), *run())],
        "picture": [] if turn.has_picture and not turn.rounds else [lambda: (tools.read("picture.png"),)],
        "resume": [look, lambda: (tools.edit("calc.py", "print(add(2, 3))\n", "print(add(2, 3))\n" + LAST),)],
    }
    return plans.get(turn.step, [])
