"""Keys: one byte of difference is another key, the same question is the same key."""

import string

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmdispatcher import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    OtherPart,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    VideoPart,
    tool,
)
from llmdispatcher.cache import cache_target
from llmdispatcher.cache.entry import CacheTarget, RequestKeys, Unkeyable


def key_of(request, where, tenant=None):
    return RequestKeys(request, tenant).at(where)


PLACE = CacheTarget("openai", "gpt-4o", ("openai", "https://api.example.com/v1"))
CALL = ToolCall(name="look", arguments='{"at": 1}', id="c1", signature="s", kind="function", extra={"x": {"a": 1}})
FULL = Request(
    "gpt-4o",
    [
        Message("system", "Be brief.", name="boss"),
        Message.user(
            TextPart(text="What is it?", cache="5m", extra={"f": {"k": "v"}}),
            ImagePart(data=b"\x89PNG", media_type="image/png", detail="low"),
            ImagePart(url="https://example.com/a.png"),
            FilePart(data=b"%PDF", media_type="application/pdf", name="a.pdf"),
            AudioPart(data=b"RIFF", format="wav"),
            VideoPart(data=b"mp4!", media_type="video/mp4"),
            OtherPart(origin="gemini", data={"code": "1+1"}),
        ),
        Message.assistant(ReasoningPart(text="hm", signature="sig", encrypted="e", id="r", origin="o"), "Wait.", tool_calls=[CALL]),
        Message("tool", "42", tool_call_id="c1", is_error=False),
    ],
    temperature=0.1,
    max_tokens=100,
    top_p=0.5,
    top_k=4,
    frequency_penalty=0.5,
    presence_penalty=0.25,
    seed=7,
    n=2,
    logprobs=True,
    top_logprobs=2,
    stop=["END"],
    user="u-1",
    headers={"X-Tenant": "t-1"},
    tools=[
        Tool(
            name="look", description="Look.", parameters={"type": "object", "properties": {"at": {"type": "integer"}}}, strict=True
        ),
        VendorTool(origin="openai_responses", data={"type": "web_search"}),
    ],
    tool_choice={"type": "function", "function": {"name": "look"}},
    parallel_tool_calls=False,
    response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    reask=1,
    reasoning_effort="low",
    reasoning_tokens=64,
    reasoning_summary="auto",
    prompt_cache="5m",
    prompt_cache_key="k",
    service_tier="flex",
    metadata={"tenant": "acme"},
    extra_params={"verbosity": "low", "deep": {"er": [1, 2.5, None, True]}},
    drop_params=True,
    cache=True,
    continue_broken=True,
    failover=False,
    mode="fast",
    origin="shop",
    id_at_origin="order 7",
    profile="prod",
    wire_format="openai_chat",
)
UNSENT = {"model", "metadata", "origin", "id_at_origin", "cache", "continue_broken", "failover", "mode", "profile"}


def leaves(value, path=()):
    """Where in a request something stands that can be changed, and what."""
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            if path or field.name not in UNSENT:
                yield from leaves(getattr(value, field.name), (*path, field.name))
    elif isinstance(value, dict):
        for key in value:
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, tuple | list):
        for number, item in enumerate(value):
            yield from leaves(item, (*path, number))
    elif value is not None and value is not True and value is not False:
        yield path, value


def changed(value, path, change):
    """A copy of a value with one leaf changed; validation is left out, since a key must not rely on it."""
    if not path:
        return change(value)
    step, rest = path[0], path[1:]
    if attrs.has(type(value)):
        copy = object.__new__(type(value))
        for field in attrs.fields(type(value)):
            given = getattr(value, field.name)
            object.__setattr__(copy, field.name, changed(given, rest, change) if field.name == step else given)
        return copy
    items = dict(value) if isinstance(value, dict) else list(value)
    items[step] = changed(items[step], rest, change)
    return items if isinstance(value, dict | list) else tuple(items)


LEAVES = list(leaves(FULL))


def other(value, byte):
    """The same with one byte more, or the next number."""
    if isinstance(value, str):
        return value + byte
    return value + byte.encode() if isinstance(value, bytes) else value + 1


def test_each_field_counts():
    """Whatever is changed, the key is another."""
    keys = {path: key_of(changed(FULL, path, lambda leaf: other(leaf, "x")), PLACE) for path, _ in LEAVES}

    assert [] == [path for path, key in keys.items() if key == key_of(FULL, PLACE)]


@given(st.sampled_from(LEAVES), st.data())
def test_each_byte_counts(leaf, data):
    """A byte changed, put in or taken away, anywhere in a text or in bytes, gives another key."""
    path, value = leaf
    assume(isinstance(value, str | bytes))
    spot = data.draw(st.integers(0, len(value)))
    put = data.draw(st.sampled_from([*string.printable, "é", "\ud800", "\x00", ""]))
    put = put.encode("utf-8", "surrogatepass") if isinstance(value, bytes) else put
    new = value[:spot] + put + value[spot + data.draw(st.integers(0, 1)) :]
    assume(new != value)

    assert key_of(FULL, PLACE) != key_of(changed(FULL, path, lambda _leaf: new), PLACE)


@given(st.lists(st.text(max_size=4), min_size=1, max_size=4), st.lists(st.text(max_size=4), min_size=1, max_size=4))
def test_texts_do_not_run_into_each_other(one, two):
    """Only equal lists of texts give equal keys: what ends one message cannot begin the next."""
    keys = [key_of(Request("m", [Message("assistant", text) for text in texts]), PLACE) for texts in (one, two)]

    assert (one == two) == (keys[0] == keys[1])


def test_every_field_is_set():
    """The full request leaves out nothing, so that a field that is new to Request must be thought of here.

    The older words for tools are empty in every request.
    """
    names = [field.name for field in attrs.fields(Request) if getattr(FULL, field.name) in (None, field.default)]
    assert ["functions", "function_call"] == names


@pytest.mark.parametrize("field", ["parallel_tool_calls", "drop_params", "logprobs"])
def test_switches_count(field):
    """True and False are two questions."""
    keys = {key_of(attrs.evolve(FULL, **{field: value}), PLACE) for value in (True, False)}

    assert 2 == len(keys)


def test_what_is_not_sent_does_not_count():
    """Metadata, the cache's own switches and the name that the model was asked by."""
    same = attrs.evolve(
        FULL,
        metadata={"trace": 2},
        cache=False,
        continue_broken=False,
        failover=None,
        mode=None,
        profile=None,
        model="openai:gpt-4o",
    )

    assert key_of(FULL, PLACE) == key_of(same, PLACE)


@pytest.mark.parametrize(
    "where",
    [
        CacheTarget("azure", *PLACE[1:]),
        CacheTarget("openai", "gpt-4o-mini", PLACE.identity),
        CacheTarget("openai", "gpt-4o", ("openai", "https://eu.example.com/v1")),
        CacheTarget("openai", "gpt-4o"),
    ],
)
def test_the_target_counts(where):
    """Vendor, model, and what tells the vendor from another of its name."""
    assert key_of(FULL, PLACE) != key_of(FULL, where)


def test_the_tenant_counts():
    """Also against its look-alikes."""
    tenants = [None, "", "1", 1, 1.5, True, "None", ["1"], {"id": "1"}]

    assert len(tenants) == len({key_of(FULL, PLACE, tenant) for tenant in tenants})


def test_order_of_a_mapping_does_not_count():
    """Nor whether a whole number is written as a float, nor how a part or a list came."""
    one = Request("m", [{"role": "user", "content": "hi"}], temperature=1, extra_params={"a": 1, "b": (1, 2)}, stop="x")
    two = Request("m", "hi", temperature=1.0, extra_params={"b": [1, 2], "a": 1}, stop=["x"])

    assert key_of(one, PLACE) == key_of(two, PLACE)


def test_a_python_function_counts_as_the_tool_it_is():
    """The function itself is not sent."""

    def look(at: int) -> int:
        """Look."""
        return at

    made = tool(look)
    plain = Tool(name=made.name, description=made.description, parameters=made.parameters, strict=made.strict)

    assert key_of(Request("m", "hi", tools=[made]), PLACE) == key_of(Request("m", "hi", tools=[plain]), PLACE)


def endless():
    """A list that holds itself."""
    made = []
    made.append(made)
    return made


@pytest.mark.parametrize("value", [object(), {1, 2}, {1: "a", "b": 2}, endless()], ids=["object", "set", "keys", "endless"])
def test_what_is_no_json_has_no_key(value):
    """It could not be sent either; the error does not show it."""
    with pytest.raises(Unkeyable, match="no canonical form"):
        key_of(Request("m", "hi", extra_params={"x": value}), PLACE)


def test_a_key_tells_nothing():
    """It is a digest."""
    key = key_of(FULL, PLACE)

    assert (64, True) == (len(key), set(key) <= set(string.hexdigits))


class Plain:
    """A vendor of the user's own."""


class Telling(Plain):
    """One that says what its answers depend on."""

    kind = "openai"
    identity = ("openai", "https://api.example.com/v1", True)


def test_a_vendor_says_what_tells_it_apart():
    """By its identity, or by its kind and class."""
    assert CacheTarget("a", "m", Telling.identity) == cache_target(Telling(), "a", "m")
    assert CacheTarget("a", "m", (None, "Plain")) == cache_target(Plain(), "a", "m")
