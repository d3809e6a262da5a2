"""Entries: whole answers as bytes and back."""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher import (
    AudioPart,
    Choice,
    Citation,
    FilePart,
    ImagePart,
    OtherPart,
    RateLimitRemaining,
    ReasoningPart,
    Response,
    TextPart,
    ToolCall,
    Usage,
    VideoPart,
)
from llmdispatcher.cache.entry import Entry, as_hit, decode_hit, dump, load

from .conftest import ANSWER

CALL = ToolCall(name="f", arguments='{"a": 1}', id="c", signature="s", kind="custom", extra={"openai_chat": {"x": [1]}})
PARTS = (
    ReasoningPart(text="hm", signature="sig", encrypted="e", id="r", origin="anthropic_messages"),
    TextPart(text="héllo \ud800", extra={"gemini": {"y": None}}),
    ImagePart(data=bytes(range(256)), media_type="image/png"),
    FilePart(data=b"", name="empty"),
    AudioPart(data=b"RIFF", format="wav"),
    VideoPart(url="https://example.com/film"),
    OtherPart(origin="gemini", data={"code": {"": "odd"}}),
    CALL,
)
FULL = Response(
    content="héllo \ud800",
    model="m-2026",
    vendor="openai",
    usage=Usage(
        input_tokens=1, output_tokens=2, cost=Decimal("0.00000012345"), cost_status="priced", raw={"a": {"b": [1.5, None]}}
    ),
    finish_reason="stop",
    finish_reason_raw="end_turn",
    tool_calls=(CALL,),
    reasoning="hm",
    parts=PARTS,
    citations=(Citation(url="https://example.com", start=0, end=3, raw={"k": 1}),),
    logprobs=({"token": "h", "logprob": -0.1},),
    other_choices=(Choice(index=1, content="two", parts=(TextPart(text="two"),), tool_calls=(CALL,), logprobs=({"t": 1},)),),
    service_tier="flex",
    response_id="resp",
    request_id="req",
    created_at=datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
)


def test_an_answer_comes_back_whole():
    """Parts, calls, bytes, money, moments: all of it, of the same types."""
    assert FULL == load(dump(FULL))


def test_an_entry_is_json():
    """Nothing in it is run when it is read."""
    assert "Response" == json.loads(dump(FULL))[0]


def test_what_belongs_to_the_call_is_left_out():
    """What it stood for, how long it took, who was asked, what was left of a limit then."""
    call = attrs.evolve(
        FULL, parsed=object(), trace=("t",), rate_limit_remaining=RateLimitRemaining(requests=1), latency=2.0, cached=True
    )

    assert FULL == load(dump(call))


@given(
    st.builds(
        Response,
        content=st.text(),
        usage=st.builds(
            Usage, cost=st.none() | st.decimals(allow_nan=False, allow_infinity=False), raw=st.dictionaries(st.text(), st.text())
        ),
        parts=st.lists(st.builds(ImagePart, data=st.binary()) | st.builds(TextPart, text=st.text())).map(tuple),
    )
)
def test_any_answer_comes_back(response):
    """Whatever the texts, bytes and amounts."""
    assert response == load(dump(response))


def test_a_hit_is_marked_and_costs_nothing():
    """Its tokens are those of the first time, and what it cost then is told."""
    hit = decode_hit(dump(FULL))

    assert (True, Decimal(0), "priced", 1, 2) == (
        hit.response.cached,
        hit.response.usage.cost,
        hit.response.usage.cost_status,
        hit.response.usage.input_tokens,
        hit.response.usage.output_tokens,
    )
    assert Decimal("0.00000012345") == hit.saved
    assert hit == as_hit(FULL)


def test_a_hit_of_unknown_cost_costs_nothing_either():
    """Nobody was asked."""
    hit = decode_hit(dump(Response(content="x")))

    assert (Decimal(0), None) == (hit.response.usage.cost, hit.saved)


def test_hits_share_nothing_that_can_be_changed():
    """A caller who changes what was raw changes it for nobody else."""
    entry = dump(ANSWER)
    decode_hit(entry).response.usage.raw["n"] = 2

    assert {"n": 1} == decode_hit(entry).response.usage.raw


def test_read_only_mappings_are_kept():
    """As plain ones."""
    assert {"a": 1} == load(dump(Response(content="x", usage=Usage(raw=MappingProxyType({"a": 1}))))).usage.raw


def test_what_is_no_json_is_refused():
    """A vendor of the user's own may put anything there."""
    with pytest.raises(TypeError):
        dump(Response(content="x", usage=Usage(raw={"a": object()})))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'["Usage", {}]',
        b'["os.system", {}]',
        b'["Response", {"contents": "x"}]',
        b"\xff",
        b'["Response", 3]',
    ],
)
@pytest.mark.parametrize("read", [load, decode_hit])
def test_junk_is_no_answer(data, read):
    """Whatever a store gives, only an answer is made of it, or an exception."""
    with pytest.raises(Exception):  # noqa: B017 - any will do; who reads catches them all
        read(data)


@pytest.mark.parametrize("response", [ANSWER, FULL, Response(content="x"), attrs.evolve(FULL, parts=(), citations=())])
def test_an_entry_says_the_same_whenever_it_is_written(response):
    """At once or when somebody wants it, and however often."""
    entry = Entry(response)

    assert [load(dump(response))] * 2 == [load(bytes(entry)), load(bytes(entry))]
    assert decode_hit(dump(response)) == decode_hit(bytes(entry))


def test_whoever_has_the_answer_cannot_change_its_entry():
    """What holds more than text and numbers is written before the caller sees it."""
    call = ToolCall(name="f", arguments="{}", extra={"openai_chat": {"x": 1}})
    response = Response(tool_calls=(call,))
    entry = Entry(response)
    call.extra["openai_chat"]["x"] = 2

    assert 1 == load(bytes(entry)).tool_calls[0].extra["openai_chat"]["x"]


def test_nor_the_record_of_what_it_consumed():
    """Which every answer has."""
    response = Response(content="x", usage=Usage(input_tokens=1, raw={"n": 1, "details": {"k": 1}}))
    entry = Entry(response)
    response.usage.raw["n"] = response.usage.raw["details"]["k"] = 2

    assert {"n": 1, "details": {"k": 1}} == load(bytes(entry)).usage.raw


def test_an_entry_is_written_by_many_at_once():
    """Whoever looks while another writes it gets the same bytes."""
    whole, interval = bytes(Entry(ANSWER)), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(200):
                assert {whole} == set(pool.map(bytes, [Entry(ANSWER)] * 8))
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.parametrize("raw", [{"x": object()}, {"x": {"y": {"z": object()}}}, {"x": [object()]}, {(): 1}, {"x": {(): 1}}])
def test_what_is_no_json_is_refused_at_once(raw):
    """Before somebody counts on the entry."""
    with pytest.raises(TypeError):
        Entry(Response(content="x", usage=Usage(raw=raw)))


@pytest.mark.parametrize("field", ["response_id", "finish_reason_raw", "service_tier", "request_id"])
def test_so_is_an_odd_fact_of_the_answer(field):
    """A vendor of the user's own may put anything there."""
    with pytest.raises(TypeError):
        Entry(attrs.evolve(ANSWER, **{field: object()}))


@pytest.mark.parametrize("text", ["short", "a" * 90_000, "é" * 90_000, "𝄞" * 90_000])
def test_an_entry_knows_whether_it_fits(text):
    """To the byte, whether it is written to be counted or not."""
    size = len(bytes(Entry(Response(content=text))))

    assert [True, False] == [Entry(Response(content=text)).fits(size), Entry(Response(content=text)).fits(size - 1)]
    assert Entry(Response(content=text)).fits(10_000_000)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("input_tokens", -1),
        ("output_tokens", 10**14),
        ("input_tokens", "x"),
        ("reasoning_tokens", 1.5),
        ("tool_requests", {"w": -1}),
    ],
)
def test_an_entry_of_absurd_numbers_is_none(field, value):
    """Whoever else writes to the store cannot make an answer that used what none can use."""
    pair = json.loads(dump(ANSWER))
    pair[1]["usage"][1][field] = value
    with pytest.raises(ValueError, match="does not use so much"):
        decode_hit(json.dumps(pair).encode())


@pytest.mark.parametrize("cost", ["-1", "NaN", "1e999999", "Infinity", 1e308, "x", [], True])
def test_an_absurd_cost_saves_nothing(cost):
    """What it cost the first time is only told."""
    pair = json.loads(dump(ANSWER))
    pair[1]["usage"][1]["cost"] = cost
    hit = decode_hit(json.dumps(pair).encode())

    assert (Decimal(0), None) == (hit.response.usage.cost, hit.saved)
