"""The tool loop: ask, call the tools that the model asks for, send their results, until it answers.

An error of a tool is sent to the model instead of being raised, since the model may correct it. Only the model's own failures, the
deadline and the caller's cancel end a run early.
"""

from __future__ import annotations

import contextlib
import contextvars
import json
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypedDict

import attrs

from ..errors import ConfigError, InvalidRequest, ToolRoundsExceeded
from ..runtime import SYSTEM_CLOCK, Cancellation, Clock, Deadline
from ..types import (
    Content,
    FunctionTool,
    Late,
    Listeners,
    Message,
    Part,
    Request,
    Response,
    Tool,
    ToolCall,
    ToolResult,
    ToolStart,
    Usage,
    check_request,
    mismatch,
    split_observers,
    suggest,
    tell,
    tool,
)
from ..vendors import Vendor
from .structured import Unfit, build_value, late_by, read, read_json, to_json_value

Functions = Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]]
"""Python functions, or functions by the names of tools."""

_GLANCE = 1.0
"""Seconds; CPython can miss a signal that comes just as a wait without end begins, so no wait is without end."""
_LONGEST_ERROR = 2000
_FREE = (None, "auto", "none")
"""Choices that leave it to the model whether it calls anything."""
_NOBODY = split_observers(())


class Sender(Protocol):
    """Whoever answers requests as a dispatcher does."""

    def send(self, request: Request, *, timeout: float | None = None, cancel: Cancellation | None = None) -> Response:
        """Answer a request."""


@attrs.frozen(kw_only=True)
class ToolRun:
    """A conversation with tools: the last answer, all turns up to it, what was called, and what all rounds used together."""

    response: Response
    messages: tuple[Message, ...]
    rounds: int
    usage: Usage
    calls: tuple[ToolResult, ...] = ()

    @property
    def content(self) -> str:
        """The text of the last answer."""
        return self.response.content


class RunSettings(TypedDict, total=False):
    """The settings of a run; see :func:`run_tools`."""

    max_rounds: int
    timeout: float | None
    cancel: Cancellation | None
    on_call: Callable[[ToolResult], object] | None
    max_workers: int


@suggest
def run_tools(  # noqa: PLR0913 - a run's settings, all by keyword
    who: Sender | Vendor,
    request: Request,
    functions: Functions = (),
    *,
    max_rounds: int = 8,
    timeout: float | None = None,
    cancel: Cancellation | None = None,
    on_call: Callable[[ToolResult], object] | None = None,
    max_workers: int = 8,
    clock: Clock = SYSTEM_CLOCK,
) -> ToolRun:
    """Ask ``who``, a dispatcher or a vendor, until the answer wants no more tools, but at most ``max_rounds`` times.

    The request's own tools that are functions are called too. The calls of one round run in up to ``max_workers`` threads,
    with 1 in the caller's, one after the other. ``timeout`` is seconds for all rounds; without it each answer has the dispatcher's
    own. A tool that is still at work when the time is over is left behind: a thread cannot be ended. ``on_call`` hears of each call
    when its round is over, in the order of the calls. A ``tool_choice`` that forces a call holds for the first round.

    Raises what ``who`` raises, :class:`DeadlineExceeded`, :class:`Cancelled`, or :class:`ToolRoundsExceeded` with the run so far.
    """
    check_request(request)
    _check_count("max_rounds", max_rounds)
    _check_count("max_workers", max_workers)
    known, tools = _prepare(request, functions)
    cancellation = Cancellation()
    if cancel is not None:
        cancellation.follow(cancel)
    loop = _Loop(who, known, Deadline.after(timeout, clock=clock, cancellation=cancellation), max_workers)
    loop.listeners = getattr(who, "listeners", _NOBODY)
    loop.origin = request.origin if request.origin is not None else getattr(getattr(who, "config", None), "origin", None)
    run = loop.ask(attrs.evolve(request, tools=tools), None)
    choice = request.tool_choice if request.tool_choice in _FREE else None
    while run.response.tool_calls:
        if run.rounds >= max_rounds:
            text = f"the model still asks for tools after {run.rounds} rounds; raise max_rounds (error.run holds the conversation)"
            raise ToolRoundsExceeded(text, run=run)
        results = loop.call(run.response.tool_calls)
        for result in results if on_call is not None else ():
            on_call(result)  # type: ignore[misc]  # not None here
        messages = (*run.messages, *[result.message for result in results])
        run = attrs.evolve(run, messages=messages, calls=(*run.calls, *results))
        run = loop.ask(attrs.evolve(request, tools=tools, tool_choice=choice, messages=messages), run)
    return run


def _check_count(name: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{name}: {value!r} is not a whole number ≥ 1")


def _check_functions(value: Any) -> None:
    if isinstance(value, str) or not isinstance(value, Iterable):
        name = getattr(value, "__name__", None)
        raise InvalidRequest(f"functions: {type(value).__name__} is not a list of functions; give [{name or 'function, ...'}]")


def _prepare(request: Request, functions: Functions) -> tuple[dict[str, FunctionTool], tuple[Any, ...]]:
    """What can be called, by name, and the tools to tell the model: the request's, and the functions that are not among them."""
    told = {entry.name: entry for entry in request.tools if isinstance(entry, Tool)}
    known = {name: entry for name, entry in told.items() if isinstance(entry, FunctionTool)}
    _check_functions(functions)
    named = functions.items() if isinstance(functions, Mapping) else [(None, function) for function in functions]
    for name, function in named:
        own = told.get(name) if name is not None else None
        made = tool(function, name=name) if own is None else _describe(own, function)
        known[made.name] = made
    return known, (*request.tools, *[made for name, made in known.items() if name not in told])


def _describe(own: Tool, function: Callable[..., Any]) -> FunctionTool:
    """A tool whose schema the user wrote: the function gets what JSON gives."""
    return FunctionTool(name=own.name, description=own.description, parameters=own.parameters, function=function)


class _Loop:
    """What stays the same from round to round."""

    def __init__(self, who: Sender | Vendor, known: Mapping[str, FunctionTool], deadline: Deadline, workers: int) -> None:
        self._who = who
        self._known = known
        self._deadline = deadline
        self._workers = workers
        self.listeners: Listeners = _NOBODY
        self.origin: str | None = None

    def ask(self, request: Request, before: ToolRun | None) -> ToolRun:
        """The run with one more answer."""
        left = self._deadline.check()
        if isinstance(self._who, Vendor):
            response = read(request, self._who.send(request, self._deadline), self._deadline)
        else:
            seconds = None if self._deadline.seconds is None else left
            response = self._who.send(request, timeout=seconds, cancel=self._deadline.cancellation)
        return ToolRun(
            response=response,
            messages=(*request.messages, response.message),
            rounds=1 if before is None else before.rounds + 1,
            usage=response.usage if before is None else before.usage + response.usage,
            calls=() if before is None else before.calls,
        )

    def call(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """The results, in the order of the calls."""
        if self._workers > 1:
            return _Round(calls, self._one).run(self._deadline, self._workers)
        results = []
        for call in calls:
            self._deadline.check()
            results.append(self._one(call))
        return results

    def _one(self, call: ToolCall) -> ToolResult:
        tell(self.listeners.tool_start, self._start(call))
        now = self._deadline.clock.monotonic
        began = now()
        content: Content = ""
        is_error = True  # unless it returns: what no tool should raise, such as SystemExit, is passed on
        try:
            content, is_error = self._outcome(call)
        finally:
            result = ToolResult(call=call, content=content, is_error=is_error, latency=now() - began)
            tell(self.listeners.tool, result)
        return result

    def _start(self, call: ToolCall) -> ToolStart:
        known = self._known.get(call.name)
        description = known.description if known is not None else None
        return ToolStart(call=call, description=description, origin=self.origin, mask=self.listeners.mask)

    def _outcome(self, call: ToolCall) -> tuple[Content, bool]:
        """What the model is told, and whether it is of a failure."""
        wanted = self._known.get(call.name)
        if wanted is None:
            return f"There is no tool {call.name!r}; there are {', '.join(self._known) or 'none'}.", True
        try:
            arguments = arguments_of(wanted, call, late_by(self._deadline))
        except Unfit as error:
            return f"The arguments do not fit {call.name}: {error.detail}.", True
        try:
            return _to_content(wanted.function(**arguments)), False
        except Exception as foreign:  # noqa: BLE001 - whatever a tool raises, the model hears of it and may do better
            return f"{type(foreign).__name__}: {foreign}"[:_LONGEST_ERROR], True


def arguments_of(wanted: FunctionTool, call: ToolCall, late: Late | None = None) -> dict[str, Any]:
    """Return the function's arguments: the model's JSON, converted to the types of its parameters. Raises :class:`Unfit`."""
    if call.kind == "custom":  # free text, for a function of one parameter
        return dict.fromkeys(list(wanted.parameters.get("properties") or ("input",))[:1], call.arguments)
    value = read_json(call.arguments, "the text") if call.arguments.strip() else {}
    types = wanted.arguments
    told = wanted.parameters.get("properties") or {}
    checked = {name: {} if name in types else schema for name, schema in told.items()}  # the others are checked by their types
    schema = {"type": "object", **wanted.parameters, "properties": checked}
    wrong = mismatch({} if value is None else value, schema, "the object", late)
    if wrong is not None:
        raise Unfit(wrong)
    given = (value or {}).items()
    return {name: build_value(one, types[name], f"the object.{name}", late) if name in types else one for name, one in given}


def _to_content(value: Any) -> Content:
    """A result as a message holds it: text as it is, parts as they are, everything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Part):
        return (value,)
    if isinstance(value, list | tuple) and value and all(isinstance(item, Part) for item in value):
        return tuple(value)
    return json.dumps(to_json_value(value), ensure_ascii=False, default=str)


class _Round:
    """The calls of one round, worked off by a few threads while the caller waits for the last of them, or for the deadline."""

    def __init__(self, calls: Sequence[ToolCall], one: Callable[[ToolCall], ToolResult]) -> None:
        self._one = one
        self._calls = calls
        self._results: dict[int, ToolResult] = {}
        self._failure: BaseException | None = None
        self._todo: queue.SimpleQueue[tuple[int, ToolCall]] = queue.SimpleQueue()
        for pair in enumerate(calls):
            self._todo.put(pair)
        self._over = threading.Lock()
        self._over.acquire()

    def run(self, deadline: Deadline, workers: int) -> list[ToolResult]:
        """All results in order; raises what ended the wait, and what no tool should raise."""
        for number in range(min(workers, len(self._calls))):
            self._start(number)
        key = deadline.cancellation.subscribe(self._open)
        try:
            while self._failure is None and len(self._results) < len(self._calls):
                deadline.clock.wait(self._over, min(deadline.check(), _GLANCE))
        finally:
            deadline.cancellation.unsubscribe(key)
            with contextlib.suppress(queue.Empty):  # after an early end nothing more is begun
                while True:
                    self._todo.get_nowait()
        if self._failure is not None:
            raise self._failure
        return [self._results[number] for number in range(len(self._calls))]

    def _start(self, number: int) -> None:
        """Start one more thread; a process at its limit goes on with those it has, or in the caller's own."""
        context = contextvars.copy_context()
        try:
            threading.Thread(target=context.run, args=(self._work,), name=f"llmdispatcher-tool-{number}", daemon=True).start()
        except (RuntimeError, MemoryError):
            if number == 0:
                self._work()

    def _work(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                number, call = self._todo.get_nowait()
                try:
                    self._results[number] = self._one(call)
                except BaseException as failure:  # noqa: BLE001 - such as SystemExit: it is raised where the run was begun
                    self._failure = failure
                if self._failure is not None or len(self._results) == len(self._calls):
                    self._open()

    def _open(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is open already
            self._over.release()
