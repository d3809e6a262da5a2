"""What must come through a foreign server, in both directions; each check is a function that raises where it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from llmdispatcher import (
    AuthenticationError,
    Config,
    ContextWindowExceeded,
    Dispatcher,
    DispatchError,
    HttpVendor,
    ImagePart,
    InvalidRequest,
    Message,
    ModelNotFound,
    RateLimitError,
    Request,
    RetryPolicy,
    Tool,
    ToolCall,
    VendorUnavailable,
)
from llmdispatcher.testing import OK, Fault, SimulatedResponse, VendorSimulator, faults

TEXT = "Grüße aus Zürich 🏔️\n\n“Quotes”, \\slashes\\ and a tab\t: done"
OSLO = ToolCall(name="get_weather", arguments='{"city": "Oslo", "days": 3}', id="call_one")
LIMA = ToolCall(name="get_weather", arguments='{"city": "Lima ☀", "days": 1}', id="call_two")
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOL = Tool(name="get_weather", description="The weather of a city", parameters=SCHEMA)
PICTURE = bytes.fromhex("89504e470d0a1a0a0000000d49484452")


@attrs.frozen
class Way:
    """One vendor of ours that asks for one model of the server; the simulator is behind that. A stranger's key is wrong."""

    vendor: HttpVendor
    stranger: HttpVendor
    model: str
    simulator: VendorSimulator

    def ask(self, *messages: str | Message, **settings: Any) -> Request:
        """A request on this way."""
        said = [Message.user(message) if isinstance(message, str) else message for message in messages or ("Tell me",)]
        return Request(self.model, said, **{"max_tokens": 400, **settings})

    @contextlib.contextmanager
    def dispatcher(self) -> Iterator[Dispatcher]:
        """A dispatcher that knows only this vendor and never asks twice."""
        with Dispatcher(Config(retry_policy=RetryPolicy(max_retries=0), timeout=40)) as dispatcher:
            dispatcher.register_vendor(self.vendor)
            yield dispatcher

    def send(self, answer: str | SimulatedResponse | Fault, *messages: str | Message, **settings: Any) -> Any:
        """What comes of a request that the simulator answers so."""
        self.simulator.always(answer)
        with self.dispatcher() as dispatcher:
            return dispatcher.send(self.ask(*messages, **settings))

    def stream(self, answer: str | SimulatedResponse | Fault, **settings: Any) -> Any:
        """The same, streamed, as the whole response and how many pieces it came in."""
        self.simulator.always(answer)
        with self.dispatcher() as dispatcher, dispatcher.send_streaming(self.ask(**settings)) as stream:
            count = sum(1 for chunk in stream if chunk.content)
            return stream.response(), count


def same(expected: Any, actual: Any) -> None:
    """Raises unless both are equal."""
    if expected != actual:
        raise AssertionError(f"expected {expected!r}, got {actual!r}")


def text(way: Way) -> None:
    """A text to its last sign, and how it ended."""
    response = way.send(TEXT)
    same((TEXT, "stop", ()), (response.content, response.finish_reason, response.tool_calls))


def usage(way: Way) -> None:
    """What was read and written."""
    response = way.send("four words are said")
    same((5, 5), (response.usage.input_tokens, response.usage.output_tokens))


def length(way: Way) -> None:
    """An answer that was cut is told from one that ended."""
    same("length", way.send(SimulatedResponse("one two three", finish="length")).finish_reason)


def tools(way: Way) -> None:
    """Two calls beside a text."""
    response = way.send(SimulatedResponse("I look it up.", tool_calls=(OSLO, LIMA)), tools=[TOOL])
    same(_called(OSLO, LIMA), _called(*response.tool_calls))
    same(("I look it up.", "tool_calls", True), (response.content, response.finish_reason, all(c.id for c in response.tool_calls)))


def results(way: Way) -> None:
    """Calls and their results go back, each to its own."""
    way.send(
        "It is cold.",
        "How is the weather?",
        Message.assistant(tool_calls=[OSLO, LIMA]),
        Message("tool", "-3 degrees", tool_call_id="call_one"),
        Message("tool", "21 degrees", tool_call_id="call_two"),
        tools=[TOOL],
    )
    sent = str(way.simulator.requests[-1].json)
    same([True] * 4, [word in sent for word in ("-3 degrees", "21 degrees", "Oslo", "Lima")])


def system(way: Way) -> None:
    """Instructions arrive, wherever the format has them."""
    way.send("Yes.", Message.system("Be as brief as Tacitus"), Message.user("Hello"))
    same(True, "Tacitus" in str(way.simulator.requests[-1].json))


def image(way: Way) -> None:
    """A picture arrives."""
    way.send("A dot.", Message.user("What is it?", ImagePart(data=PICTURE, media_type="image/png")))
    same(True, "iVBORw0KGgo" in str(way.simulator.requests[-1].json))


def thoughts(way: Way) -> None:
    """What the model thought is told apart from what it says."""
    response = way.send(
        SimulatedResponse("It is 42.", reasoning="Six times seven makes it."), reasoning_effort="low", max_tokens=4000
    )
    same(("It is 42.", "Six times seven makes it."), (response.content, response.reasoning))


def structured(way: Way) -> None:
    """A JSON schema is asked for, the answer is parsed."""
    response = way.send('{"city": "Oslo", "days": 3}', response_format=SCHEMA)
    same({"city": "Oslo", "days": 3}, response.parsed)


def stream_text(way: Way) -> None:
    """A streamed text, in pieces."""
    response, pieces = way.stream(TEXT)
    same((TEXT, "stop", True), (response.content, response.finish_reason, pieces > 3))


def stream_usage(way: Way) -> None:
    """What was read and written, in a stream."""
    response, _ = way.stream("four words are said")
    same((5, 5), (response.usage.input_tokens, response.usage.output_tokens))


def stream_tools(way: Way) -> None:
    """Two streamed calls beside a text."""
    response, _ = way.stream(SimulatedResponse("I look it up.", tool_calls=(OSLO, LIMA)), tools=[TOOL])
    same(_called(OSLO, LIMA), _called(*response.tool_calls))
    same(("I look it up.", "tool_calls"), (response.content, response.finish_reason))


def stream_thoughts(way: Way) -> None:
    """Streamed thoughts."""
    answer = SimulatedResponse("It is 42.", reasoning="Six times seven makes it.")
    response, _ = way.stream(answer, reasoning_effort="low", max_tokens=4000)
    same(("It is 42.", "Six times seven makes it."), (response.content, response.reasoning))


def stream_error(way: Way) -> None:
    """A stream that fails after three words is an error, never the cut text as if whole."""
    way.simulator.responses = "one two three four five"
    try:
        response, _ = way.stream(faults.error_event(3))
    except DispatchError:
        return
    raise AssertionError(f"no error, but {response.content!r}")


def wrong_key(way: Way) -> None:
    """The server's own refusal of a key; without a database it calls that a wrong request."""
    _raises(attrs.evolve(way, vendor=way.stranger), OK, AuthenticationError, InvalidRequest)


def unknown_model(way: Way) -> None:
    """The server's own refusal of a model; it says 400 or 404."""
    _raises(attrs.evolve(way, model="nothing-of-the-kind"), OK, ModelNotFound, InvalidRequest)


def rate_limit(way: Way) -> None:
    """A vendor's 429 comes through as one."""
    _raises(way, faults.rate_limit(2), RateLimitError)


def context(way: Way) -> None:
    """A conversation that is too long is told from other mistakes."""
    _raises(way, faults.context_overflow(), ContextWindowExceeded)


def overloaded(way: Way) -> None:
    """A vendor's 503 is trouble at the vendor, not a mistake of ours."""
    _raises(way, faults.status(503), VendorUnavailable)


def _raises(way: Way, answer: Fault, *kinds: type[DispatchError]) -> None:
    try:
        response = way.send(answer)
    except kinds:
        return
    except DispatchError as error:
        raise AssertionError(f"expected {kinds[0].__name__}, got {type(error).__name__}: {error}") from error
    raise AssertionError(f"expected {kinds[0].__name__}, got {response.content!r}")


def _called(*calls: ToolCall) -> list[tuple[str, Any]]:
    return [(call.name, call.parsed) for call in calls]


Check = Callable[[Way], None]
_ALL: tuple[Check, ...] = (
    text, usage, length, tools, results, system, image, thoughts, structured, stream_text, stream_usage, stream_tools,
    stream_thoughts, stream_error, wrong_key, unknown_model, rate_limit, context, overloaded,
)  # fmt: skip
CHECKS: Mapping[str, Check] = {check.__name__: check for check in _ALL}
