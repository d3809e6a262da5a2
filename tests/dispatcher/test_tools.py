"""The loop with tools: what is called, with what, what the model is told, and how a run ends."""

from __future__ import annotations

import dataclasses
import json
import threading
from decimal import Decimal
from typing import Literal

import attrs
import pytest

from llmdispatcher import (
    AnthropicVendor,
    Cancellation,
    Cancelled,
    Capabilities,
    ConfigError,
    Deadline,
    DeadlineExceeded,
    Dispatcher,
    GoogleVendor,
    ImagePart,
    Message,
    OpenAIVendor,
    ReasoningPart,
    Request,
    Response,
    TextPart,
    Tool,
    ToolCall,
    ToolRoundsExceeded,
    Usage,
    VendorUnavailable,
    run_tools,
    tool,
)
from llmdispatcher.testing import FakeVendor, ManualClock, SimulatedResponse, VendorSimulator


@attrs.frozen
class Place:
    city: str
    country: str = "NO"


@dataclasses.dataclass
class Forecast:
    degrees: float
    sky: str


def weather(city: str, unit: Literal["C", "F"] = "C") -> str:
    """How the weather is."""
    return f"Rain in {city}, 9 {unit}"


def wanting(*calls, **options):
    """An answer that asks for tools."""
    made = [ToolCall(name=name, arguments=arguments, id=f"call_{number}") for number, (name, arguments) in enumerate(calls)]
    return Response(tool_calls=tuple(made), finish_reason="tool_calls", **options)


def running(vendor, *functions, request=None, clock=None, **options):
    dispatcher = Dispatcher(**({} if clock is None else {"clock": clock}))
    dispatcher.register_vendor(vendor)
    return dispatcher.run_tools(request or Request("m", "How is it?", tools=functions), **options)


def outcome(function, arguments="{}", name=None):
    """What one call of a function comes to."""
    vendor = FakeVendor(wanting((name or function.__name__, arguments)), "done", capabilities=Capabilities(supports_vision=True))
    return running(vendor, function).calls[0]


def test_an_answer_without_calls_is_the_run():
    """One round, nothing called."""
    run = running(FakeVendor("Fine."), weather)

    assert ("Fine.", 1, ()) == (run.content, run.rounds, run.calls)
    assert [Message.user("How is it?"), Message.assistant("Fine.")] == list(run.messages)


def test_calls_are_made_and_told():
    """The model's turn, the result under the call's id, and the answer."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Bergen"}')), "Take an umbrella.")
    run = running(vendor, weather)

    assert ("Take an umbrella.", 2) == (run.content, run.rounds)
    assert ["user", "assistant", "tool", "assistant"] == [message.role for message in run.messages]
    assert Message.tool("Rain in Bergen, 9 C", "call_0") == run.messages[2]
    assert run.messages[:3] == vendor.seen[1].messages


def test_functions_may_come_beside_the_request():
    """They are told to the model as if they were among its tools."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Bergen"}')), "done")
    run = running(vendor, request=Request("m", "?"), functions=[weather])

    assert ["weather"] == [entry.name for entry in vendor.seen[0].tools]
    assert "Rain in Bergen, 9 C" == run.calls[0].content


def test_functions_may_stand_for_tools_of_the_users_own():
    """By name; they get what the model wrote, by the schema that the user wrote."""
    own = Tool(name="add", parameters={"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    vendor = FakeVendor(wanting(("add", '{"a": 1}'), ("add", "{}")), "done")
    run = running(vendor, request=Request("m", "?", tools=[own]), functions={"add": lambda a: a + 1})

    assert [("2", False), ("The arguments do not fit add: the object lacks 'a'.", True)] == [
        (result.content, result.is_error) for result in run.calls
    ]
    assert (own,) == vendor.seen[0].tools


def test_a_function_may_have_another_name():
    """That of its key."""
    vendor = FakeVendor(wanting(("forecast", '{"city": "Bergen"}')), "done")

    assert not running(vendor, request=Request("m", "?"), functions={"forecast": weather}).calls[0].is_error


def test_thoughts_go_back_with_their_proof():
    """The model's turn is replayed as it came."""
    thought = ReasoningPart(text="Hm.", signature="sig", origin="anthropic_messages")
    call = ToolCall(name="weather", arguments='{"city": "Bergen"}', id="1")
    vendor = FakeVendor(Response(parts=(thought, call), tool_calls=(call,)), "done")
    running(vendor, weather)

    assert (thought, call) == vendor.seen[1].messages[1].parts


def test_results_are_in_the_order_of_the_calls():
    """Whichever is ready first."""
    first = threading.Event()

    def wait(number: int) -> int:
        if number:
            first.set()
        else:
            first.wait(30)
        return number

    vendor = FakeVendor(wanting(("wait", '{"number": 0}'), ("wait", '{"number": 1}')), "done")

    assert ["0", "1"] == [result.content for result in running(vendor, wait).calls]


def test_calls_of_a_round_run_at_once():
    """Each meets the other."""
    both = threading.Barrier(2, timeout=30)

    def meet() -> int:
        return both.wait()

    vendor = FakeVendor(wanting(("meet", "{}"), ("meet", "{}")), "done")

    assert {"0", "1"} == {result.content for result in running(vendor, meet).calls}


def test_no_more_threads_than_allowed():
    """The third call waits for one of two."""
    names = set()

    def who() -> str:
        names.add(threading.current_thread().name)
        return ""

    running(FakeVendor(wanting(*[("who", "{}")] * 9), "done"), who, max_workers=2)

    assert {"llmdispatcher-tool-0", "llmdispatcher-tool-1"} >= names


def test_with_one_worker_the_caller_calls():
    """In his own thread, one after the other."""
    heard = []

    def note(number: int) -> None:
        heard.append((number, threading.current_thread()))

    calls = [("note", f'{{"number": {number}}}') for number in range(3)]
    running(FakeVendor(wanting(*calls), "done"), note, max_workers=1)

    assert [(number, threading.current_thread()) for number in range(3)] == heard


def test_without_threads_the_caller_calls(monkeypatch):
    """Where the process is at its limit."""

    def start(_self):
        raise RuntimeError("can't start new thread")

    dispatcher = Dispatcher()
    dispatcher.register_vendor(FakeVendor(wanting(("weather", '{"city": "Bergen"}')), "done"))
    monkeypatch.setattr(threading.Thread, "start", start)

    assert "Rain in Bergen, 9 C" == dispatcher.run_tools(Request("m", "?"), [weather]).calls[0].content


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        ("", ""),
        (None, "null"),
        (3, "3"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
        (Forecast(9.5, "grey"), '{"degrees": 9.5, "sky": "grey"}'),
        ([Place("Oslo")], '[{"city": "Oslo", "country": "NO"}]'),
        (Decimal("1.5"), '"1.5"'),
        (ImagePart(url="https://x"), (ImagePart(url="https://x"),)),
        ([TextPart(text="a"), ImagePart(url="https://x")], (TextPart(text="a"), ImagePart(url="https://x"))),
        ([], "[]"),
    ],
    ids=str,
)
def test_results_become_content(value, expected):
    """Text and parts as they are, all else as JSON."""

    def give() -> object:
        return value

    assert (expected, False) == (outcome(give).content, outcome(give).is_error)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('{"place": {"city": "Oslo"}, "days": [1, 2]}', "Place(city='Oslo', country='NO') [1, 2]"),
        ('```json\n{"place": {"city": "Oslo"}}\n```', "Place(city='Oslo', country='NO') []"),
    ],
)
def test_arguments_are_of_the_types_that_were_asked_for(arguments, expected):
    """An instance where a class stands."""

    def look(place: Place, days: list[int] = []) -> str:  # noqa: B006  # nobody changes it
        return f"{place} {days}"

    look.__annotations__["place"] = Place

    assert expected == outcome(look, arguments).content


@pytest.mark.parametrize("arguments", ["", "  ", "{}", "null"])
def test_no_arguments_are_none(arguments):
    """However a model writes that."""

    def now() -> str:
        return "late"

    assert "late" == outcome(now, arguments).content


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ("{", "The arguments do not fit weather: the text is no JSON"),
        ("[1]", "the object must be an object, not an array"),
        ("{}", "the object lacks 'city'"),
        ('{"city": 7}', "the object.city must be a string, not an integer"),
        ('{"city": "Oslo", "unit": "K"}', "the object.unit is not one of 'C', 'F'"),
        ('{"city": "Oslo", "units": "C"}', "the object has a key that is not among 'city', 'unit'"),
    ],
)
def test_wrong_arguments_are_told_to_the_model(arguments, word):
    """It may correct itself; nothing is called."""
    result = outcome(weather, arguments)

    assert result.is_error
    assert word in result.content
    assert True is result.message.is_error


def test_what_a_class_refuses_is_told():
    """In its own words."""

    @attrs.frozen
    class Even:
        number: int = attrs.field()

        @number.validator
        def _even(self, _attribute, value):
            if value % 2:
                raise ValueError("odd")

    Even.__annotations__["number"] = int

    def halve(even: Even) -> int:
        return even.number // 2

    halve.__annotations__["even"] = Even

    assert "The arguments do not fit halve: the object.even: ValueError: odd." == outcome(halve, '{"even": {"number": 3}}').content


def test_an_unknown_function_is_told():
    """With those that there are."""
    result = outcome(weather, name="wether")

    assert ("There is no tool 'wether'; there are weather.", True) == (result.content, result.is_error)


def test_an_exception_is_told():
    """Its class and its words, no traceback."""

    def fail() -> None:
        raise LookupError("no such station")

    result = outcome(fail)

    assert ("LookupError: no such station", True) == (result.content, result.is_error)


def test_a_long_exception_is_cut():
    """A page of HTML helps no model."""

    def fail() -> None:
        raise ValueError("x" * 10_000)

    assert 2000 == len(outcome(fail).content)


@pytest.mark.parametrize("workers", [1, 4])
def test_an_exit_is_no_result(workers):
    """What is not for the program to go on after is raised."""

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        running(FakeVendor(wanting(("leave", "{}")), "done"), leave, max_workers=workers)


def test_a_custom_call_brings_free_text():
    """For the function's only parameter."""

    def execute(code: str) -> str:
        return code.upper()

    call = ToolCall(name="execute", arguments="print(1)", id="1", kind="custom")

    assert "PRINT(1)" == running(FakeVendor(Response(tool_calls=(call,)), "done"), execute).calls[0].content


def test_a_call_without_an_id_is_known_by_its_name():
    """Some servers give none."""
    call = ToolCall(name="weather", arguments='{"city": "Oslo"}')
    run = running(FakeVendor(Response(tool_calls=(call,)), "done"), weather)

    assert ("weather", None) == (run.messages[2].name, run.messages[2].tool_call_id)


def test_usage_and_cost_are_those_of_all_rounds():
    """Not only of the last."""
    priced = {"cost_status": "priced", "cost": Decimal("0.5")}
    vendor = FakeVendor(
        wanting(("weather", '{"city": "Oslo"}'), usage=Usage(input_tokens=10, output_tokens=1, **priced)),
        Response(content="done", usage=Usage(input_tokens=20, output_tokens=2, **priced)),
    )
    run = running(vendor, weather)

    assert (30, 3, Decimal("1.0")) == (run.usage.input_tokens, run.usage.output_tokens, run.usage.cost)


def test_rounds_have_an_end():
    """The error holds the run: its last turn asks for what was not called any more."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')))
    with pytest.raises(ToolRoundsExceeded, match="after 3 rounds; raise max_rounds") as caught:
        running(vendor, weather, max_rounds=3)
    run = caught.value.run

    assert (3, 3, 2) == (vendor.hits, run.rounds, len(run.calls))
    assert run.messages[-1].tool_calls


def test_each_call_is_heard_in_order():
    """When its round is over."""
    heard = []
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}'), ("weather", '{"city": "Bergen"}')), "done")
    run = running(vendor, weather, on_call=heard.append)

    assert list(run.calls) == heard
    assert ["Rain in Oslo, 9 C", "Rain in Bergen, 9 C"] == [result.content for result in heard]


def test_who_hears_may_end_the_run():
    """By raising."""

    class Enough(Exception):
        pass

    def stop(_result):
        raise Enough

    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')))
    with pytest.raises(Enough):
        running(vendor, weather, on_call=stop)
    assert 1 == vendor.hits


@pytest.mark.parametrize(
    ("choice", "after"),
    [
        ("required", None),
        ("weather", None),
        ({"type": "function", "function": {"name": "weather"}}, None),
        ("auto", "auto"),
        ("none", "none"),
    ],
)
def test_a_forced_call_is_forced_once(choice, after):
    """Else the model could never answer."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')), "done")
    running(vendor, request=Request("m", "?", tools=[weather], tool_choice=choice))

    assert [choice, after] == [request.tool_choice for request in vendor.seen]


def test_the_last_answer_has_the_form_that_was_asked_for():
    """Those before it asked for tools."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')), '{"city": "Oslo"}')

    assert Place("Oslo") == running(vendor, request=Request("m", "?", tools=[weather], response_format=Place)).response.parsed


def test_one_deadline_is_over_all_rounds():
    """Each answer has what is left of it."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')), latency=2.0)
    with pytest.raises(DeadlineExceeded):
        running(vendor, weather, clock=ManualClock(), timeout=5.0, max_workers=1)

    assert 3 == vendor.hits


def test_a_tool_that_hangs_ends_with_the_deadline():
    """It is left behind."""
    release = threading.Event()

    def hang() -> None:
        release.wait(50)

    try:
        with pytest.raises(DeadlineExceeded):
            running(FakeVendor(wanting(("hang", "{}"))), hang, timeout=0.2)
    finally:
        release.set()


def test_a_cancel_ends_a_run_at_once():
    """While a tool is at work; what has not begun is not begun."""
    cancel, release, begun = Cancellation(), threading.Event(), []

    def hang() -> None:
        begun.append(1)
        cancel.cancel()
        release.wait(50)

    try:
        with pytest.raises(Cancelled):
            running(FakeVendor(wanting(("hang", "{}"), ("hang", "{}"), ("hang", "{}"))), hang, cancel=cancel, max_workers=2)
    finally:
        release.set()
    assert len(begun) <= 2


def test_a_cancel_between_calls_ends_a_run():
    """With one worker too."""
    cancel = Cancellation()

    def stop() -> None:
        cancel.cancel()

    vendor = FakeVendor(wanting(("stop", "{}"), ("stop", "{}")))
    with pytest.raises(Cancelled):
        running(vendor, stop, cancel=cancel, max_workers=1)
    assert 1 == vendor.hits


def test_a_vendors_failure_is_raised():
    """It is not the model's."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')), VendorUnavailable("down", retry_here=False))
    with pytest.raises(VendorUnavailable):
        running(vendor, weather)


def test_a_bare_vendor_will_do():
    """Without a dispatcher; the form is read as well."""
    vendor = FakeVendor(wanting(("weather", '{"city": "Oslo"}')), '{"city": "Oslo"}')
    run = run_tools(vendor, Request("m", "?", response_format=Place), [weather], timeout=30)

    assert (Place("Oslo"), 2) == (run.response.parsed, run.rounds)


def test_a_vendor_gets_the_runs_deadline():
    """The one over all rounds."""
    seen = []

    class Recording(FakeVendor):
        def send(self, request: Request, deadline: Deadline) -> Response:
            seen.append(deadline)
            return super().send(request, deadline)

    run_tools(Recording(wanting(("weather", '{"city": "Oslo"}')), "done"), Request("m", "?"), [weather], timeout=30)

    assert 1 == len(set(map(id, seen)))
    assert 30 == seen[0].seconds


@pytest.mark.parametrize("setting", [{"max_rounds": 0}, {"max_workers": 0}, {"max_rounds": True}, {"max_workers": 1.5}])
def test_a_wrong_setting_is_named(setting):
    """Before anybody is asked."""
    with pytest.raises(ConfigError, match=f"{next(iter(setting))}: .* is not a whole number"):
        running(FakeVendor("x"), weather, **setting)


@pytest.mark.parametrize(
    ("kind", "address", "model"),
    [
        (OpenAIVendor, "openai_url", "gpt-4o"),
        (AnthropicVendor, "anthropic_url", "claude-sonnet-4-5"),
        (GoogleVendor, "google_url", "gemini-2.5-flash"),
    ],
)
def test_a_run_over_a_socket(kind, address, model):
    """Two calls at once, a second round, an answer, in every vendor's own words."""
    answers = [
        SimulatedResponse(
            tool_calls=[ToolCall(name="weather", arguments=f'{{"city": "{city}"}}', id=f"c{city}") for city in ("Oslo", "Bergen")]
        ),
        SimulatedResponse(tool_calls=ToolCall(name="weather", arguments='{"city": "Oslo", "unit": "F"}', id="c3")),
        SimulatedResponse("Wet everywhere."),
    ]
    with VendorSimulator(responses=answers) as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(kind(base_url=getattr(simulator, address), api_key="simulated", trust_env=False))
        run = dispatcher.run_tools(Request(model, "How is it?"), [tool(weather)])
        said = json.dumps(simulator.requests[2].json)

    assert ("Wet everywhere.", 3, 3) == (run.content, run.rounds, len(run.calls))
    assert said.index("Rain in Oslo, 9 C") < said.index("Rain in Bergen, 9 C") < said.index("Rain in Oslo, 9 F")
    assert run.usage.total_tokens > run.response.usage.total_tokens
