"""What a call can cost at most: never below what it does cost, by the dearest price that can come to apply."""

import base64
import json
from decimal import Decimal

import attrs
import pytest

from llmdispatcher import AudioPart, FilePart, ImagePart, Message, Price, Tool, ToolCall, Usage, VendorTool
from llmdispatcher.accounting.budgets import reservation as bounds
from llmdispatcher.accounting.budgets.reservation import bound, costs_nothing, has_price, is_free, measure, text_tokens
from llmdispatcher.catalog import target_facts
from llmdispatcher.types import cost_of as cost
from llmdispatcher.types import replace
from tests.cases import each

from ...wire.corpus import CODEC_OF, CODECS, body_of, codec_of, decode_stream, exchanges, needs_corpus, streamed
from .conftest import REQUEST, moment, target

NOW = moment("2026-11-01")
FLAT = Price(input=Decimal(1), output=Decimal(10))
"""A dollar for a million tokens in, ten for one out."""


def micro(request, price=FLAT, **facts):
    """The bound in millionths of dollars."""
    return int(bound(measure(request), request, target(price=price, **facts), NOW) * 1_000_000)


def tokens_in(request, **facts):
    """Tokens that are reserved for what goes in."""
    return micro(replace(request, max_tokens=0), **facts)


@each("text, tokens", [("", 0), ("hello", 5), ("ünï", 5), ("日本語", 9), ("👩‍👩‍👧", 18), ("\ud800", 3), ("ﷺ", 33), ("ｶﾞ", 6)])
def test_a_text_has_no_more_tokens_than_bytes(text, tokens):
    """In UTF-8, or in what a tokenizer makes of it that normalises first."""
    assert tokens == text_tokens(text)


@each("text", ["a b c d e f g", "}{}{}{][", "\x00\x01\x02", "𐍈𐍈𐍈", "zß水🍌", "\u200b" * 20, "ﬀﬁﬂﬃ"])
def test_odd_texts_count_with_each_tokenizer_at_hand(text):
    """As many tokens as bytes at most, for the encodings of OpenAI where tiktoken and its files are there."""
    tiktoken = pytest.importorskip("tiktoken", reason="the extra 'tokens' is not installed")
    try:
        encoding = tiktoken.get_encoding("o200k_base")
    except Exception:
        pytest.skip("tiktoken has no file of its encoding here, and tests fetch none")

    assert len(encoding.encode(text, disallowed_special=())) <= text_tokens(text)


def test_every_text_of_a_request_counts():
    """Turns, calls and their results, tools, a schema, settings of a vendor's own."""
    plain = tokens_in(REQUEST)
    long = "x" * 10_000
    for changed in (
        attrs.evolve(REQUEST, messages=[Message.user(long)]),
        attrs.evolve(REQUEST, messages=[Message.user("hi"), Message("assistant", tool_calls=[ToolCall(name="f", arguments=long)])]),
        attrs.evolve(REQUEST, messages=[Message.user("hi"), Message("tool", long, tool_call_id="1", name="f")]),
        attrs.evolve(REQUEST, messages=[Message.user(FilePart(data=long.encode(), media_type="text/plain"))]),
        attrs.evolve(REQUEST, tools=[Tool(name="f", parameters={"type": "object", "description": long})]),
        attrs.evolve(REQUEST, response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"title": long}}}),
        attrs.evolve(REQUEST, extra_params={"suffix": long}),
    ):
        assert tokens_in(changed) >= plain + 9_990, changed


def test_images_count_by_what_their_vendor_bills_at_most():
    """And by the dearest model of all where that is not known."""
    seen = attrs.evolve(REQUEST, messages=[Message.user(*[ImagePart(url="https://example.com/a.png")] * 2)])

    assert 2 * 5_000 <= tokens_in(seen, vendor="anthropic") < 2 * bounds.ANY_IMAGE <= tokens_in(seen, vendor="elsewhere")


@each(
    "changed",
    [
        {"messages": [Message.user(AudioPart(data=b"1", format="wav"))]},
        {"messages": [Message.user(FilePart(file_id="f"))]},
        {"messages": [Message.user(FilePart(data=b"%PDF", media_type="application/pdf"))]},
        {"extra_params": {"previous_response_id": "r"}},
        {"extra_params": {"previousResponseId": "r"}},
        {"extra_params": {"extra_body": {"google": {"cached_content": "c"}}}},
        {"tools": [VendorTool(origin="openai_responses", data={"type": "web_search"})]},
        {"extra_params": {"web_search_options": {}}},
    ],
)
def test_what_cannot_be_bounded_counts_as_the_whole_window(changed):
    """As much as the model takes, or any."""
    request = attrs.evolve(REQUEST, **changed)

    assert tokens_in(request, context_window=128_000) >= 128_000
    assert tokens_in(request) >= bounds.ANY_WINDOW


@each(
    "changed, facts, tokens",
    [
        ({}, {}, 101),
        ({"max_tokens": 1}, {}, 17),
        ({"max_tokens": None}, {"max_output": 4096}, 4096),
        ({"max_tokens": None}, {"context_window": 8192}, 8192),
        ({"max_tokens": None}, {}, bounds.ANY_OUTPUT),
        ({"n": 3}, {}, 303),
        ({"extra_params": {"max_completion_tokens": 5000}}, {}, 5001),
        ({"extra_params": {"generationConfig": {"maxOutputTokens": 700, "candidateCount": 2}}}, {}, 1402),
        ({"extra_params": {"max_tokens": 5000, "options": {"max_tokens": 1}}}, {}, 5001),
        ({"extra_params": {"options": {"num_predict": -1}}}, {"max_output": 4096}, 4096),
        ({"max_tokens": None, "extra_params": {"thinking": {"budget_tokens": 900}}}, {"max_output": 4096}, 4096),
        ({"extra_params": {"thinking": {"budget_tokens": 900}}}, {}, 901),
        ({"max_tokens": None, "extra_params": {"reasoning": {"max_tokens": 900}}}, {"max_output": 4096}, 4096),
        ({"reasoning_tokens": 900}, {}, 1001),
        ({"reasoning_effort": "high"}, {}, 101 + bounds.THOUGHTS),
        ({}, {"vendor": "google"}, 202),
    ],
)
def test_output_counts_as_far_as_it_may_go(changed, facts, tokens):
    """``max_tokens``, or all that the model can say; each of several answers; thoughts that come on top."""
    request = attrs.evolve(REQUEST, **changed, wire_format="openai_chat")

    assert 10 * tokens == micro(request, **facts) - tokens_in_alone(request, **facts)


@each("group", [None, "extra_body"])
def test_a_prediction_counts_as_output(group):
    """What of it does not come true is billed as such."""
    params = {"prediction": {"type": "content", "content": "word " * 100}}
    request = attrs.evolve(REQUEST, max_tokens=5, extra_params=params if group is None else {group: params})

    assert measure(request).output >= 5 + text_tokens("word " * 100)


def tokens_in_alone(request, **facts):
    """The share of what goes in: the bound with output for nothing."""
    return micro(request, Price(input=Decimal(1), output=Decimal(0)), **facts)


@each(
    "price, dearest",
    [
        (Price(input=Decimal(1), output=Decimal(0), cache_write=Decimal("1.25"), cache_write_long=Decimal(2)), 2),
        (Price(input=Decimal(1), output=Decimal(0), bands=((500, Price(input=Decimal(3), output=Decimal(0))),)), 3),
        (Price(input=Decimal(1), output=Decimal(0), bands=((5_000_000, Price(input=Decimal(3), output=Decimal(0))),)), 1),
        (Price(input=Decimal(1), output=Decimal(0), tiers={"priority": Price(input=Decimal(4), output=Decimal(0))}), 4),
        (Price(input=Decimal(1), output=Decimal(0), later=(Price(input=Decimal(5), output=Decimal(0), valid_from=NOW.date()),)), 5),
    ],
)
def test_the_dearest_price_that_can_apply_counts(price, dearest):
    """Writes to a cache, a band that can be reached, a tier that the vendor may choose, a price that begins today."""
    assert dearest * tokens_in_alone(REQUEST) == micro(REQUEST, price)


def test_a_tier_that_is_asked_for_is_the_only_one():
    """Beside the standard, which it may fall back to."""
    price = Price(
        input=Decimal(1),
        output=Decimal(0),
        tiers={name: Price(input=Decimal(cost), output=Decimal(0)) for name, cost in (("priority", 4), ("flex", "0.5"))},
    )
    one = tokens_in_alone(REQUEST)

    assert [one, 4 * one] == [micro(attrs.evolve(REQUEST, service_tier=tier), price) for tier in ("flex", "priority")]


def test_searches_of_a_vendors_tool_are_reserved_for():
    """As often as it may, or ten times."""
    price = attrs.evolve(FLAT, calls={"web_search": Decimal("0.01")})

    def searching(**data):
        return attrs.evolve(REQUEST, tools=[VendorTool(origin="anthropic_messages", data={"type": "web_search_20250305", **data})])

    def extra(request):
        return micro(request, price) - micro(request)

    assert [0, 100_000, 20_000] == [extra(REQUEST), extra(searching()), extra(searching(max_uses=2))]


@each(
    "price, free",
    [
        (Price.flat(Decimal(0)), True),
        (FLAT, False),
        (Price(input=Decimal(0), output=Decimal(0), bands=((9, FLAT),)), False),
        (Price(input=Decimal(0), output=Decimal(0), calls={"web_search": Decimal(1)}), False),
        (Price(input=Decimal(0), output=Decimal(0), audio_output=Decimal(1)), False),
    ],
)
def test_free_is_what_costs_nothing_in_any_way(price, free):
    """No class of tokens, no band, no call of a tool."""
    assert free is is_free(price)


def test_a_usage_that_fills_the_bound_costs_no_more():
    """Every token at its dearest."""
    price = Price(
        input=Decimal(1),
        output=Decimal(10),
        cache_write_long=Decimal(2),
        bands=((700, Price(input=Decimal(2), output=Decimal(15), cache_write_long=Decimal(4))),),
    )
    into = tokens_in(REQUEST)
    usage = Usage(input_tokens=into, cache_write_tokens=into, cache_write_long_tokens=into, output_tokens=101)

    assert int(cost(usage, price) * 1_000_000) == micro(REQUEST, price)


def recorded():
    """Each recorded exchange that can be read, whose model has a price and whose answer a usage: id, bound, cost."""
    for (api, vendor), found in exchanges().items():
        for exchange in found:
            asked, codec = exchange["request"], codec_of(exchange)
            if exchange["response"]["status"] != 200:
                continue
            told = target_facts(vendor, str(asked["json"].get("model") or ""))
            request = CODECS[CODEC_OF[api]].read_request(json.dumps(asked["json"]).encode(), asked["path"]).request
            told = target_facts(vendor, request.model)
            answer = decode_stream(codec, [body_of(exchange)])[0] if streamed(exchange) else codec.decode(body_of(exchange))
            if told["price"] is None or not answer.usage.total_tokens:
                continue
            at = target(vendor, request.model, **told)
            true = (
                answer.usage.cost if answer.usage.cost is not None else cost(answer.usage, told["price"], tier=answer.service_tier)
            )
            yield exchange["id"], bound(measure(request), request, at, NOW), true


@needs_corpus
def test_no_recorded_exchange_cost_more_than_its_bound():
    """Over a thousand of them, without an exception."""
    every = list(recorded())

    assert [] == [(name, most, true) for name, most, true in every if true > most]
    assert len(every) > 900


def test_an_inline_file_counts_by_its_bytes_not_by_its_base64():
    """It is text to the model."""
    data = b"word " * 2_000
    inline = attrs.evolve(REQUEST, messages=[Message.user(FilePart(data=data, media_type="text/plain"))])

    assert len(data) <= tokens_in(inline) - tokens_in(REQUEST) + 10 < len(base64.b64encode(data))


@each("model, priced, free", [("openrouter/auto", False, False), ("openrouter/free", True, True), ("x", False, False)])
def test_a_router_has_no_price(model, priced, free):
    """It costs what the model costs that it picks, though a list says 0."""
    price = None if model == "x" else Price.flat(Decimal(0))
    at = target("openrouter", model, price=price)

    assert (priced, free) == (has_price(at), costs_nothing(at))
