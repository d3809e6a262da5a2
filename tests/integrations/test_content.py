"""What was said in calls, given to a function: switched on, masked, bounded, of some origins; no call feels a slow one."""

from __future__ import annotations

import json
import os
import signal
import threading

import jsonschema_rs
import pytest

from llmdispatcher import (
    ConfigError,
    ContentFiltered,
    Dispatcher,
    DispatchError,
    ImagePart,
    Message,
    OpenAIVendor,
    PatternGuard,
    Request,
    StreamInterrupted,
    Tool,
    ToolCall,
    tool,
)
from llmdispatcher.integrations import content
from llmdispatcher.integrations.content import ContentSink
from llmdispatcher.testing import FakeVendor, VendorSimulator, faults

from ..cases import each

KEY = "Xq7-Vendor-0123456789-secret"
PATIENCE = 60.0

TEXT = {"type": "object", "required": ["type", "content"], "properties": {"type": {"enum": ["text", "reasoning"]}}}
CALL = {"type": "object", "required": ["type", "name"], "properties": {"type": {"const": "tool_call"}, "name": {"type": "string"}}}
RESULT = {"type": "object", "required": ["type", "response"], "properties": {"type": {"const": "tool_call_response"}}}
URI = {"type": "object", "required": ["type", "modality", "uri"], "properties": {"type": {"const": "uri"}}}
OTHER = {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["media", "file", "refusal"]}}}
PARTS = {"type": "array", "items": {"anyOf": [TEXT, CALL, RESULT, URI, OTHER]}}
TURN = {"type": "object", "required": ["role", "parts"], "properties": {"role": {"type": "string"}, "parts": PARTS}}
CONVENTIONS = {
    "gen_ai.system_instructions": PARTS,
    "gen_ai.input.messages": {"type": "array", "items": TURN},
    "gen_ai.output.messages": {"type": "array", "items": {**TURN, "required": ["role", "parts", "finish_reason"]}},
    "gen_ai.tool.definitions": {"type": "array", "items": {"type": "object", "required": ["type", "name", "description"]}},
}
"""What the conventions' schemas of messages and tools require."""


class Told(list):
    """What a sink was given."""

    def words(self, number=-1):
        """What was given of one call, as text."""
        return json.dumps(self[number], ensure_ascii=False)


@pytest.fixture
def told():
    """An empty one."""
    return Told()


def asked(vendor, sink, *requests, **config):
    """A dispatcher's answers, or errors, once the sink has all of them."""
    ends = []
    with Dispatcher(config, observers=[sink]) as dispatcher:
        dispatcher.register_vendor(vendor)
        for request in requests:
            try:
                ends.append(dispatcher.send(request))
            except DispatchError as error:
                ends.append(error)
    assert sink.flush(PATIENCE)
    return ends


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"rain in {city}"


def test_the_names_and_forms_of_the_conventions(told):
    """Instructions, turns with calls, results and images, and tools; media are told by their kind, never by their bytes."""
    png = b"\x89PNG\r\n\x1a\n" + b"\0" * 40
    turns = [
        Message.system("Be terse."),
        Message.user(
            ImagePart(data=png, media_type="image/png"), "What is it?", ImagePart(url="https://example.org/c.png?sig=SIGNED")
        ),
        Message("assistant", tool_calls=[ToolCall(name="weather", arguments='{"city": "Oslo"}', id="c1")]),
        Message("tool", '{"sky": "blue"}', tool_call_id="c1"),
    ]
    sink = ContentSink(told.append, "all")
    with VendorSimulator(responses="A cat.") as simulator:
        vendor = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url)
        [response] = asked(vendor, sink, Request("gpt-4o", turns, tools=[weather], origin="shop"))
    [one] = told

    for name, schema in CONVENTIONS.items():
        jsonschema_rs.validator_for(schema).validate(one[name])
    user, call, result = [turn["parts"] for turn in one["gen_ai.input.messages"]]
    assert [{"type": "text", "content": "Be terse."}] == one["gen_ai.system_instructions"]
    assert [("media", len(png)), ("text", None), ("uri", None)] == [(part["type"], part.get("size")) for part in user]
    assert ("image/png", "image", "https://example.org/c.png") == (user[0]["mime_type"], user[0]["modality"], user[2]["uri"])
    assert {"type": "tool_call", "id": "c1", "name": "weather", "arguments": {"city": "Oslo"}} == call[0]
    assert {"sky": "blue"} == result[0]["response"]
    assert [{"role": "assistant", "parts": [{"type": "text", "content": response.content}], "finish_reason": "stop"}] == one[
        "gen_ai.output.messages"
    ]
    assert ("weather", ["city"]) == (
        one["gen_ai.tool.definitions"][0]["name"],
        one["gen_ai.tool.definitions"][0]["parameters"]["required"],
    )
    assert ("shop", "gpt-4o", None) == (one["origin"], one["gen_ai.request.model"], one["error.type"])


def test_of_which_calls(told):
    """Of those that failed, or of all; of the origins that are named, by the request or the configuration."""
    errors, all_of_shop, default = Told(), Told(), Told()
    vendor = FakeVendor("yes", ContentFiltered("no", status=400), "yes", "yes")
    sinks = [
        ContentSink(errors.append),
        ContentSink(all_of_shop.append, "all", origins=["shop"]),
        ContentSink(default.append, "all", origins={"crm", "intranet"}),
    ]
    with Dispatcher({"origin": "crm", "retry_policy": {"max_retries": 0}}, observers=sinks) as dispatcher:
        dispatcher.register_vendor(vendor)
        dispatcher.send(Request("m", "first", origin="shop"))
        with pytest.raises(ContentFiltered):
            dispatcher.send(Request("m", "second", origin="shop"))
        dispatcher.send(Request("m", "third"))
        dispatcher.send(Request("m", "fourth", origin="other"))
    assert all(sink.flush(PATIENCE) for sink in sinks)

    assert [("ContentFiltered", True)] == [(one["error.type"], "second" in json.dumps(one)) for one in errors]
    assert ["first", "second"] == [one["gen_ai.input.messages"][0]["parts"][0]["content"] for one in all_of_shop]
    assert ["third"] == [one["gen_ai.input.messages"][0]["parts"][0]["content"] for one in default]


def test_a_stream_tells_what_had_come(told):
    """Of a stream that breaks off, and of one that its reader leaves."""
    with VendorSimulator(responses="one two three four") as simulator:
        simulator.script(faults.cut_after(2))
        sink = ContentSink(told.append)
        with Dispatcher({"retry_policy": {"max_retries": 0}}, observers=[sink]) as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=simulator.openai_url))
            with pytest.raises(StreamInterrupted) as caught:
                dispatcher.send_streaming(Request("gpt-4o", "Count.")).response()
        assert sink.flush(PATIENCE)
    [one] = told

    assert caught.value.partial.content
    assert caught.value.partial.content == one["gen_ai.output.messages"][0]["parts"][0]["content"]
    assert "StreamInterrupted" == one["error.type"]


KEYS = {
    "a vendor's own, in the question": KEY,
    "a vendor's own, in pieces of its case": KEY.upper(),
    "OpenAI's shape": "sk-proj-abcdefghijklmnop1234567890",
    "GitHub's": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "AWS's": "AKIAABCDEFGHIJKLMNOP",
    "Google's": "AIzaSyA-abcdefghijklmnopqrstuvwxyz01234",
    "a token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dBjftJeZ4CVP",
    "Google's token": "ya29.a0AfH6SMBx-abcdefghijklmnop",
    "a bearer's": "0123456789abcdef0123456789abcdef",
}


@each("key", KEYS.values())
def test_keys_are_in_no_content(key):
    """Wherever one stands: in a turn, a tool's arguments, its result, its description, and in the answer."""
    told = Told()
    said = f"the key: Bearer {key} and http://u:hunter2@host/"
    call = ToolCall(name="f", arguments=json.dumps({"password": said}), id="c")
    made = Tool(name="f", description=said)
    request = Request(
        "gpt-4o",
        [Message.user(said), Message("assistant", tool_calls=[call]), Message("tool", said, tool_call_id="c")],
        tools=[made],
    )
    with VendorSimulator(responses=said) as simulator:
        [answer] = asked(
            OpenAIVendor(api_key=KEY, base_url=simulator.openai_url),
            ContentSink(told.append, "all"),
            Request("gpt-4o", "x"),
            request,
        )[1:]

    assert said == answer.content  # what the caller gets is as it was
    assert 5 == told.words().count("http://u:***@host/")
    assert (False, False) == (key in told.words(), "hunter2" in told.words())


def test_escapes_hide_no_key(told):
    """JSON in arguments and results is recorded as values, so what is an escape in it is masked, too; keys of objects as well."""
    key = "sk-proj-abcdefghijklmnop1234567890"
    hidden = json.dumps({"a": key, key: 1}).replace("sk-", "\\u0073k\\u002d")
    turns = [
        Message("assistant", tool_calls=[ToolCall(name="f", arguments=hidden, id="c")]),
        Message("tool", hidden, tool_call_id="c"),
    ]
    asked(FakeVendor("ok"), ContentSink(told.append, "all"), Request("m", [Message.user("x"), *turns]))

    assert json.loads(hidden) == {"a": key, key: 1}
    assert (False, False, 4) == (key in told.words(), "u0073" in told.words(), told.words().count("***"))


def test_what_no_exporter_can_write(told):
    """Halves of surrogate pairs are replaced: one of them would cost an exporter its whole batch."""
    asked(FakeVendor("an\ud800swer"), ContentSink(told.append, "all"), Request("m", "que\udfffstion"))

    assert ["an?swer", "que?stion"] == [
        told[0][name][0]["parts"][0]["content"] for name in ("gen_ai.output.messages", "gen_ai.input.messages")
    ]


def test_a_mask_of_ones_own(told, caplog):
    """Gets each text; where it fails, or returns no text, nothing of that text is told."""

    def mask(text):
        if "boom" in text:
            raise RuntimeError(text)
        return None if "nothing" in text else text.replace("Ada", "[name]")

    sink = ContentSink(told.append, "all", mask=mask)
    asked(FakeVendor("Hello Ada"), sink, Request("m", "Ada"))
    asked(FakeVendor("boom secret"), sink, Request("m", "nothing secret"))

    assert ("Ada" in told.words(0), told.words(0).count("[name]")) == (False, 2)
    assert (True, False) == ("RuntimeError" in caplog.text, "secret" in caplog.text)
    assert ("secret" in told.words(1), told.words(1).count("[withheld: the mask failed]")) == (False, 2)


def test_what_guards_change_or_refuse(told):
    """A sink gets what the guards let out and in, nothing else."""
    guards = [PatternGuard(pattern="Ada", action="mask"), PatternGuard(pattern="forbidden", where="response")]
    sink = ContentSink(told.append, "all")
    ends = asked(FakeVendor("Dear Ada", "forbidden words"), sink, Request("m", "I am Ada"), Request("m", "x"), guards=guards)

    assert ("Dear [removed]", "ContentFiltered") == (ends[0].content, type(ends[1]).__name__)
    assert ("Ada" in told.words(0), told.words(0).count("[removed]")) == (False, 2)
    assert ("forbidden" in told.words(1), "gen_ai.output.messages" in told[1]) == (False, False)


def test_content_is_bounded(told):
    """A long conversation keeps its answer and its last turns, a long text its beginning; the form stays."""
    long = [Message.user(f"turn {number} " + "x" * 100) for number in range(5_000)]
    sink = ContentSink(told.append, "all", longest=2_000)
    asked(
        FakeVendor("the answer", "y" * 1_000_000),
        sink,
        Request("m", long),
        Request("m", "z" * 1_000_000, tools=[weather]),
    )

    assert len(told.words(0)) < 8_000
    assert ("the answer" in told.words(0), "turn 4999" in told.words(0), "turn 0 " in told.words(0)) == (True, True, False)
    assert len(told.words(1)) < 8_000
    assert "[cut: 1000000 characters]" in told.words(1)
    for one in told:
        for name in set(one) & set(CONVENTIONS):
            jsonschema_rs.validator_for(CONVENTIONS[name]).validate(one[name])


def test_no_call_feels_a_sink_that_blocks(told):
    """What finds no room is lost and counted; calls go on meanwhile, and the sink gets the rest when it goes on."""
    held, release = threading.Event(), threading.Event()

    def sink_that_blocks(words):
        held.set()
        assert release.wait(PATIENCE)
        told.append(words)

    sink = ContentSink(sink_that_blocks, "all", most_waiting=3)
    with Dispatcher(observers=[sink]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(*["yes"] * 20))
        dispatcher.send(Request("m", "0"))
        assert held.wait(PATIENCE)
        answers = [dispatcher.send(Request("m", f"{number}")).content for number in range(1, 20)]  # while the sink stands still
        blocked = (len(told), sink.lost)
        release.set()
    assert sink.flush(PATIENCE)

    assert (["yes"] * 19, (0, 16)) == (answers, blocked)
    assert ["0", "1", "2", "3"] == [one["gen_ai.input.messages"][0]["parts"][0]["content"] for one in told]


def test_large_calls_that_wait_are_bounded(told, monkeypatch):
    """Beyond so many characters and bytes calls are lost, however few they are; one alone is never too large."""
    monkeypatch.setattr(content, "MOST_HELD", 1_000)
    held, release = threading.Event(), threading.Event()

    def sink_that_blocks(words):
        held.set()
        assert release.wait(PATIENCE)
        told.append(words)

    sink = ContentSink(sink_that_blocks, "all")
    with Dispatcher(observers=[sink]) as dispatcher:
        dispatcher.register_vendor(FakeVendor(*["yes"] * 9))
        dispatcher.send(Request("m", "x" * 900))
        assert held.wait(PATIENCE)
        for size in (90, 900, 900, 5):
            dispatcher.send(Request("m", "x" * size))
        lost = sink.lost
        release.set()
        assert sink.flush(PATIENCE)
        dispatcher.send(Request("m", "x" * 5_000))
    assert sink.flush(PATIENCE)

    assert (2, 2, [900, 90, 5, 5_000]) == (
        lost,
        sink.lost,
        [len(one["gen_ai.input.messages"][0]["parts"][0]["content"]) for one in told],
    )


def test_a_sink_that_raises(told, caplog):
    """Is logged by the class of its error, whose text may hold words of the call, is counted, and gets the next call."""

    def sink_that_raises(words):
        told.append(words)
        raise OSError(f"cannot write {words}") if len(told) > 1 else SystemExit(words)

    sink = ContentSink(sink_that_raises, "all")
    asked(FakeVendor("a", "b", "c"), sink, Request("m", "secret"), Request("m", "secret"), Request("m", "y"))

    assert (3, 3) == (len(told), sink.lost)
    assert (True, False) == ("OSError" in caplog.text, "secret" in caplog.text)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork(told):
    """The child has a thread of its own, though the parent's is in the middle of its work."""
    held, release = threading.Event(), threading.Event()
    parent = os.getpid()

    def collect(words):
        told.append(words)
        if os.getpid() == parent:
            held.set()
            release.wait(PATIENCE)

    sink = ContentSink(collect, "all")
    with Dispatcher(observers=[sink]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("a", "b", "c"))
        dispatcher.send(Request("m", "x"))
        assert held.wait(PATIENCE)
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            told.clear()
            dispatcher.send(Request("m", "of the child"))
            os._exit(0 if sink.flush(30) and "of the child" in told.words() else 1)
        release.set()
        assert 0 == os.waitpid(child, 0)[1]
    assert sink.flush(PATIENCE)


WRONG = {
    "errors alone": ({"content": "error"}, r"content: 'error' is not known; use 'all' or 'errors'"),
    "True": ({"content": True}, r"content: True is not known; use 'all' or 'errors'"),
    "one origin": ({"origins": "shop"}, r"origins: 'shop' is not a list of names; give \['shop'\]"),
    "no name": ({"origins": [None]}, r"origins: None is not the name of an origin"),
    "a mask": ({"mask": "[name]"}, r"mask: str is no function; give one that takes a text"),
    "length": ({"longest": 0}, r"longest: 0 is not a number of characters ≥ 1"),
    "waiting": ({"most_waiting": -1}, r"most_waiting: -1 is not a whole number ≥ 1"),
    "the sink": ({"sink": "out.jsonl"}, r"sink: str is no function; give one that takes a dict"),
}


@each("settings, told", WRONG)
def test_settings_that_cannot_be(settings, told):
    """Are told by name."""
    with pytest.raises(ConfigError, match=told):
        ContentSink(**{"sink": print, **settings})


def test_nothing_is_told_unless_it_is_switched_on():
    """An observer without ``on_content`` gets no words: neither outcomes nor what they hold have any."""
    seen = []
    with Dispatcher(observers=[seen.append]) as dispatcher:
        dispatcher.register_vendor(FakeVendor("a secret answer"))
        dispatcher.send(Request("m", "a secret question"))

    assert "secret" not in repr(seen) + repr(vars(seen[0]))
