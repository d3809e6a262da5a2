"""The words of calls for who debugs them: what was asked and answered, off unless it is switched on, masked and bounded.

```python
sink = ContentSink(collect, "errors", origins=["shop"], mask=hide_names)
dispatcher = Dispatcher.from_env(observers=[sink])
```

``collect`` gets a dict for each call, in a thread of its own. Its keys are those of the semantic conventions for generative AI,
as are the attributes that ``OpenTelemetry(content=...)`` writes. A sink that is slow loses what finds no room, which is counted in
``lost``; no call waits for it.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/#capturing-instructions-inputs-and-outputs
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import re
import threading
import traceback
import weakref
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from llmdispatcher import CallContent, Choice, ConfigError, FilePart, Message, Observer, OtherPart, Request, Tool, ToolCall
from llmdispatcher.runtime import new_lock
from llmdispatcher.types import Part, ReasoningPart, TextPart

from .._text import room_logger, without_keys, without_passwords

Record = Literal["all", "errors"]
RECORDS = ("all", "errors")
LONGEST = 20_000
"""Characters of the words of one call that are recorded, unless ``longest`` says otherwise; the rest is cut."""
MOST_WAITING = 1_000
"""Calls that wait for a sink, unless ``most_waiting`` says otherwise; what comes then is lost."""
MOST_HELD = 64 * 1024 * 1024
"""Characters and bytes of all calls that wait; what comes then is lost, too, unless nothing waits."""
WITHHELD = "[withheld: the mask failed]"
"""What stands in place of a text of which ``mask`` made none."""
_LINGER = 1.0
_AT_EXIT = 2.0
_FRAME = 16
"""Characters that each value counts besides its text, so that there cannot be too many."""
_MARGIN = 200
"""Characters beyond a cut that are masked with the rest, so that no key is cut in two before it is looked for."""
_T = TypeVar("_T")
logger = room_logger("integrations")


def _mask_secrets(text: str) -> str:
    return without_keys(without_passwords(text))


def _place(error: BaseException) -> str:
    """The class of an error and where it was raised, without its text."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"


class BackgroundQueue:
    """Work for one daemon thread, of which so much may wait; what finds no room is lost and counted.

    The thread starts with the first work and ends a second after the last; a forked child has a thread and a queue of its own.
    """

    def __init__(self, most: int) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 1:
            raise ConfigError(f"most_waiting: {most!r} is not a whole number ≥ 1")
        self._most = most
        self._lock = new_lock()
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._thread: threading.Thread | None = None
        self._work: queue.SimpleQueue[tuple[Callable[[], object], int]] = queue.SimpleQueue()
        self._held = 0
        self.lost = 0
        """How much found no room, or could not be done."""

    def put(self, work: Callable[[], object], size: int = 0, *, even_if_full: bool = False) -> bool:
        """Have work done later that holds so many bytes; False where it is lost."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset()
            is_full = self._work.qsize() >= self._most or (self._held > 0 and self._held + size > MOST_HELD)
            if is_full and not even_if_full:
                self.lost += 1
                return False
            self._held += size
            self._work.put((work, size))
            if self._thread is None:
                self._start()
        return True

    def _start(self) -> None:
        if self not in _open:
            atexit.unregister(_flush_at_exit)
            atexit.register(_flush_at_exit)  # late, since what was registered last runs first: an SDK ends after that
        _open.add(self)
        thread = threading.Thread(target=self._run, args=(self._work,), name="llmdispatcher-telemetry", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):  # the next work tries again
            return
        self._thread = thread

    def flush(self, timeout: float) -> bool:
        """Wait until all work so far is done, so many seconds at most; whether it is."""
        done = threading.Event()
        self.put(done.set, even_if_full=True)
        return done.wait(timeout)

    def _run(self, works: queue.SimpleQueue[tuple[Callable[[], object], int]]) -> None:
        while True:
            try:
                work, size = works.get(timeout=_LINGER)
            except queue.Empty:
                with self._lock:
                    if works.empty():
                        self._thread = None
                        return
                continue
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - a sink may raise anything, with words of the call in it
                with self._lock:
                    self.lost += 1
                logger.error("the content of a call was lost: %s", _place(error))
            del work  # with the call that it holds
            with self._lock:
                self._held -= size


_open: weakref.WeakSet[BackgroundQueue] = weakref.WeakSet()


def _flush_at_exit() -> None:
    for one in list(_open):
        if one._thread is not None:
            one.flush(_AT_EXIT)


def size_of(content: CallContent) -> int:
    """Return how many characters and bytes of what was asked a call holds."""
    size = 0
    for message in content.request.messages:
        if isinstance(message.content, str):
            size += len(message.content)
        else:
            held = [getattr(part, name, None) for part in message.content for name in ("text", "data", "url", "arguments")]
            size += sum([len(one) for one in held if isinstance(one, str | bytes)])
    return size


def _origins(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(f"origins: {value!r} is not a list of names; give [{value!r}]")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str) or not name:
            raise ConfigError(f"origins: {name!r} is not the name of an origin; give those of Request(origin=...)")
    return names


def _record(_instance: Any, _attribute: Any, value: Any) -> None:
    if value not in RECORDS:
        raise ConfigError(f"content: {value!r} is not known; use 'all' or 'errors', and leave it out for none")


def _callable(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not callable(value):
        raise ConfigError(
            f"{attribute.name}: {type(value).__name__} is no function; give one that takes a text and returns it masked"
        )


def _length(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{attribute.name}: {value!r} is not a number of characters ≥ 1")


@attrs.frozen
class ContentPolicy:
    """Which words are recorded, and how: of all calls or of those that failed, of all origins or of some."""

    record: Record = attrs.field(validator=_record)
    origins: tuple[str, ...] | None = attrs.field(default=None, converter=_origins)
    mask: Callable[[str], str] | None = attrs.field(default=None, validator=_callable)
    longest: int = attrs.field(default=LONGEST, validator=_length)

    def wants(self, *, origin: str | None, failed: bool) -> bool:
        """Whether the words of a call are recorded."""
        return (failed or self.record == "all") and (self.origins is None or origin in self.origins)

    def describe(self, content: CallContent) -> dict[str, list[Any]]:
        """Return the words of a call by the names of the conventions; those that say nothing are left out."""
        words = self.words(content.masked)
        request, response = content.request, content.response()
        instructions, turns = _split(request)
        output = words.some(response.choices if response is not None else (), words.choice)
        found = {
            "gen_ai.output.messages": output,
            "gen_ai.input.messages": words.some(turns[::-1], words.message)[::-1],  # where there is no room, the last turns stay
            "gen_ai.system_instructions": words.some([part for one in instructions for part in one.parts], words.part),
            "gen_ai.tool.definitions": words.some(request.tools, words.tool),
        }
        return {name: value for name, value in found.items() if value}

    def words(self, mask: Callable[[str], str] = str) -> Words:
        """Return what masks and bounds the texts of one call."""
        return Words(self, mask)


def _split(request: Request) -> tuple[list[Message], list[Message]]:
    """The instructions that stand first, and the turns; instructions between turns stay where they are."""
    count = next((number for number, one in enumerate(request.messages) if one.role not in ("system", "developer")), None)
    messages = list(request.messages)
    return (messages[:count], messages[count:]) if count is not None else (messages, [])


def _finish_reason(reason: str | None) -> str:
    """The conventions' word for the end of a choice; one that has none was cut short."""
    return {"tool_calls": "tool_call", None: "error"}.get(reason, reason or "error")


class Words:
    """The texts of one call as they are recorded: masked, and together no longer than the policy allows."""

    def __init__(self, policy: ContentPolicy, mask: Callable[[str], str]) -> None:
        self._policy = policy
        self._mask = mask
        self._left = policy.longest

    def some(self, things: Iterable[_T], describe: Callable[[_T], Any]) -> list[Any]:
        """Return what is told of things, as many as the call has room for."""
        told = []
        for thing in things:
            if self._left <= 0:
                break
            told.append(describe(thing))
        return told

    def text(self, text: str) -> str:
        """Return a text masked, and cut where the call has no room left."""
        room = max(self._left, 0)
        masked = self._masked(text[: room + _MARGIN]) if text else ""
        self._left -= len(masked) + _FRAME
        if len(text) <= room + _MARGIN and len(masked) <= room:
            return masked
        return f"{masked[:room]}[cut: {len(text)} characters]"

    def _masked(self, text: str) -> str:
        text = _mask_secrets(self._mask(text.encode("utf-8", "replace").decode()))  # halves of surrogate pairs cannot be exported
        if self._policy.mask is None:
            return text
        try:
            masked = self._policy.mask(text)
        except Exception as error:  # noqa: BLE001 - a mask may raise anything, with the text in it
            logger.error("the mask of content failed, and the text is withheld: %s", _place(error))
            return WITHHELD
        return masked if isinstance(masked, str) else WITHHELD

    def value(self, value: Any, deep: int = 20) -> Any:
        """Return a value of JSON with its texts masked; keys of objects stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            pairs = self.some(
                value.items() if deep else (), lambda pair: (_mask_secrets(self._mask(str(pair[0]))), self.value(pair[1], deep - 1))
            )
            return dict(pairs)
        if isinstance(value, list | tuple):
            return self.some(value if deep else (), lambda one: self.value(one, deep - 1))
        self._left -= _FRAME
        return value if value is None or isinstance(value, bool | int | float) else self.text(str(value))

    def json_text(self, text: str) -> Any:
        """Return a text of JSON as its value, any other text as it is. Both are masked, since JSON has escapes."""
        if len(text) <= self._left:
            with contextlib.suppress(ValueError, RecursionError):
                return self.value(json.loads(self._masked(text)))
        return self.text(text)

    def _id(self, name: str | None) -> str | None:
        return self.text(name) if name is not None else None

    def message(self, message: Message) -> dict[str, Any]:
        """Return a turn as the conventions' ChatMessage."""
        if message.role == "tool":
            said = self.json_text(message.text) if message.text else self.some(message.parts, self.part)
            part = {"type": "tool_call_response", "id": self._id(message.tool_call_id), "response": said}
            return {"role": "tool", "parts": [part]}
        return {"role": message.role, "parts": self.some(message.parts, self.part)}

    def choice(self, choice: Choice) -> dict[str, Any]:
        """Return a choice of an answer as the conventions' OutputMessage."""
        parts: list[dict[str, Any]] = []
        if choice.reasoning:
            parts.append({"type": "reasoning", "content": self.text(choice.reasoning)})
        if choice.content:
            parts.append({"type": "text", "content": self.text(choice.content)})
        if choice.refusal:
            parts.append({"type": "refusal", "content": self.text(choice.refusal)})
        parts += self.some([one for one in choice.parts if not isinstance(one, TextPart | ReasoningPart | ToolCall)], self.part)
        parts += self.some(choice.tool_calls, self.part)
        return {"role": "assistant", "parts": parts, "finish_reason": _finish_reason(choice.finish_reason)}

    def part(self, part: Part) -> dict[str, Any]:
        """Return a part; of media their kind and size alone, never their bytes, of addresses nothing behind the path."""
        if isinstance(part, TextPart):
            return {"type": "text", "content": self.text(part.text)}
        if isinstance(part, ReasoningPart):
            return {"type": "reasoning", "content": self.text(part.text)}
        if isinstance(part, ToolCall):
            return {
                "type": "tool_call",
                "id": self._id(part.id),
                "name": self.text(part.name),
                "arguments": self.json_text(part.arguments),
            }
        if isinstance(part, OtherPart):
            return {"type": self.text(str(part.data.get("type") or "other")), "origin": part.origin}
        modality = "document" if isinstance(part, FilePart) else type(part).__name__.removesuffix("Part").lower()
        self._left -= _FRAME
        kind = getattr(part, "media_type", None) or getattr(part, "format", None)
        told: dict[str, Any] = {"modality": modality, "mime_type": self._id(kind)}
        url, file_id, data = (getattr(part, name, None) for name in ("url", "file_id", "data"))
        if url is not None and url[:5].lower() != "data:":
            return {"type": "uri", **told, "uri": self.text(re.split(r"[?#]", url, maxsplit=1)[0])}
        if file_id is not None:
            return {"type": "file", **told, "file_id": self.text(file_id)}
        return {"type": "media", **told, "size": len(data if data is not None else url or "")}

    def tool(self, tool: Any) -> dict[str, Any]:
        """Return the definition of a tool, with its description and the schema of its arguments."""
        if not isinstance(tool, Tool):
            return {"type": self.text(str(tool.data.get("type") or "other")), "name": self.text(str(tool.data.get("name") or ""))}
        named = {"type": "function", "name": self.text(tool.name), "description": self.text(tool.description or "")}
        return {**named, "parameters": self.value(tool.parameters)}


class ContentSink(Observer):
    """An observer that gives the words of calls to a function; give it to ``Dispatcher(observers=[...])``.

    ``content`` is "all", or "errors" for calls that failed. ``origins`` names the origins (of :class:`Request` or :class:`Config`)
    whose calls are recorded; without it all are. ``mask`` gets each text, without keys, and returns what may be recorded of it; a
    text that it fails for is withheld. Of one call ``longest`` characters are kept. At most ``most_waiting`` calls wait for the
    function. Raises :class:`ConfigError` for a setting that cannot be.
    """

    def __init__(
        self,
        sink: Callable[[dict[str, Any]], object],
        content: Record = "errors",
        *,
        origins: Iterable[str] | None = None,
        mask: Callable[[str], str] | None = None,
        longest: int = LONGEST,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        if not callable(sink):
            raise ConfigError(f"sink: {type(sink).__name__} is no function; give one that takes a dict")
        self._sink = sink
        self._policy = ContentPolicy(content, origins, mask, longest)
        self._queue = BackgroundQueue(most_waiting)

    @property
    def lost(self) -> int:
        """How many calls found no room, or could not be told."""
        return self._queue.lost

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until the sink has had all calls so far, so many seconds at most; whether it has. The process's end does so, too."""
        return self._queue.flush(timeout)

    def on_content(self, content: CallContent) -> None:
        """Have the words of a call told."""
        if self._policy.wants(origin=content.origin, failed=content.error is not None):
            self._queue.put(partial(self._tell, content), size_of(content))

    def _tell(self, content: CallContent) -> None:
        facts = {
            "call_id": content.call_id,
            "origin": content.origin,
            "gen_ai.request.model": content.request.model,
            "error.type": type(content.error).__name__ if content.error is not None else None,
        }
        self._sink({**facts, **self._policy.describe(content)})
