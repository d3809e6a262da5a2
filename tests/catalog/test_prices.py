"""Cost is exact: every token class at its own price, nothing rounded."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher import CostDetails, Price, Usage, get_model
from llmdispatcher.catalog import model_facts, price_at
from llmdispatcher.catalog.facts import FREE_PRICE
from llmdispatcher.types import cost_details
from llmdispatcher.types import cost_of as cost

PRICE = Price(
    input=Decimal(3), output=Decimal(15), cache_read=Decimal("0.3"), cache_write=Decimal("3.75"), cache_write_long=Decimal(6)
)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input_tokens=1_000_000), "3"),
        (Usage(output_tokens=1_000_000), "15"),
        (Usage(input_tokens=1_000_000, cache_read_tokens=1_000_000), "0.3"),
        (Usage(input_tokens=1_000_000, cache_write_tokens=1_000_000), "3.75"),
        (Usage(input_tokens=1_000_000, cache_write_tokens=1_000_000, cache_write_long_tokens=1_000_000), "6"),
        (
            Usage(input_tokens=10, output_tokens=10, cache_read_tokens=3, cache_write_tokens=4, cache_write_long_tokens=1),
            "0.00017715",
        ),
        (Usage(), "0"),
    ],
)
def test_each_class_of_tokens_has_its_price(usage, dollars):
    """Cached tokens are part of the input and billed once, at their own price."""
    assert Decimal(dollars) == cost(usage, PRICE)


def test_classes_without_a_price_cost_what_input_costs():
    """A vendor that lists no cache price bills reads and writes as input."""
    price = Price(input=Decimal(2), output=Decimal(8))
    usage = Usage(
        input_tokens=300, cache_read_tokens=100, cache_write_tokens=100, cache_write_long_tokens=50, audio_input_tokens=50
    )

    assert Decimal("0.0006") == cost(usage, price)


def test_spoken_input_has_a_price_of_its_own():
    """Audio tokens are input tokens at the audio price."""
    price = Price(input=Decimal("0.3"), output=Decimal("2.5"), audio_input=Decimal(1))

    assert Decimal("0.00013") == cost(Usage(input_tokens=200, audio_input_tokens=100), price)


@pytest.mark.parametrize(("tokens", "dollars"), [(200_000, "0.25"), (200_001, "0.5000025")])
def test_above_the_threshold_the_whole_request_is_long(tokens, dollars):
    """Gemini bills every token of a long request at the long price, not only those beyond the mark."""
    assert Decimal(dollars) == cost(Usage(input_tokens=tokens), model_facts("google", "gemini-2.5-pro").price)


def test_long_requests_have_long_prices_for_every_class():
    """Output, cache reads and cache writes of a long request change price too."""
    usage = Usage(input_tokens=300_000, output_tokens=1_000, cache_read_tokens=100_000, cache_write_tokens=100_000)
    price = model_facts("openai", "gpt-6-sol").price

    assert Decimal("0.4") + Decimal("0.04") + Decimal("0.5") + Decimal("0.015") == cost(usage, price)


def test_a_coarse_decimal_context_rounds_nothing():
    """The program's own decimal precision has no part in the cost."""
    with localcontext(Context(prec=2)):
        dollars = cost(Usage(input_tokens=123_457, output_tokens=7), PRICE)

    assert Decimal("0.370476") == dollars


def test_more_cached_than_read_never_costs_less_than_nothing():
    """A vendor whose counts contradict each other cannot make a call earn money."""
    assert Decimal("0.000003") == cost(Usage(input_tokens=5, cache_read_tokens=10), PRICE)


@given(
    counts=st.tuples(*[st.integers(0, 10**9)] * 4),
    output=st.integers(0, 10**9),
    prices=st.tuples(*[st.decimals(0, 999, places=6)] * 5),
)
def test_cost_is_the_exact_sum(counts, output, prices):
    """Whatever the counts and prices: the rational sum, to the last digit."""
    fresh, read, short, long = counts
    into, out, cached, written, kept = prices
    usage = Usage(
        input_tokens=fresh + read + short + long,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=short + long,
        cache_write_long_tokens=long,
    )
    price = Price(input=into, output=out, cache_read=cached, cache_write=written, cache_write_long=kept)
    exact = sum(
        count * Fraction(amount) for count, amount in ((fresh, into), (output, out), (read, cached), (short, written), (long, kept))
    )

    assert exact / 1_000_000 == Fraction(cost(usage, price))


MILLION = 1_000_000


@pytest.mark.parametrize(
    ("field", "usage", "dollars"),
    [
        ("audio_output", Usage(output_tokens=MILLION, audio_output_tokens=MILLION), "70"),
        ("audio_cache_read", Usage(input_tokens=MILLION, cache_read_tokens=MILLION, audio_cache_read_tokens=MILLION), "70"),
        ("image_input", Usage(input_tokens=MILLION, image_input_tokens=MILLION), "70"),
        ("image_output", Usage(output_tokens=MILLION, image_output_tokens=MILLION), "70"),
        ("reasoning", Usage(output_tokens=MILLION, reasoning_tokens=MILLION), "70"),
        ("reasoning", Usage(output_tokens=2 * MILLION, reasoning_tokens=MILLION), "78"),
        ("image_output", Usage(output_tokens=MILLION, reasoning_tokens=MILLION), "8"),
    ],
)
def test_every_class_has_a_place_for_its_price(field, usage, dollars):
    """Tokens of a class of their own are taken out of their plainer kind, never billed twice."""
    price = Price(input=Decimal(2), output=Decimal(8), **{field: Decimal(70)})

    assert Decimal(dollars) == cost(usage, price)


def test_more_of_a_class_than_of_its_kind_is_billed_once():
    """Counts that contradict each other do not bill tokens that nobody used."""
    price = Price(input=Decimal(2), output=Decimal(8), reasoning=Decimal(8), audio_output=Decimal(20))

    assert Decimal("0.00002") == cost(Usage(output_tokens=1, reasoning_tokens=5, audio_output_tokens=5), price)


def test_calls_of_tools_are_billed_by_the_piece():
    """A search costs what it costs, whatever it reads; a tool without a price costs nothing that is known."""
    price = Price(input=Decimal(2), output=Decimal(8), calls={"web_search": Decimal("0.01")})

    assert Decimal("0.030002") == cost(Usage(input_tokens=1, tool_requests={"web_search": 3, "web_fetch": 2}), price)


def test_a_request_may_have_a_fee():
    """Perplexity bills each request beside its tokens."""
    assert Decimal("0.005002") == cost(Usage(input_tokens=1, output_tokens=1), get_model("perplexity:sonar").price)


QWEN = get_model("openrouter:qwen/qwen3-coder-plus").price


@pytest.mark.parametrize("tokens", [1, 32_000, 32_001, 128_000, 128_001, 256_000, 256_001])
def test_of_several_bands_the_highest_that_is_reached_counts(tokens):
    """For the whole request; at the mark itself the lower one still does."""
    reached = [price for above, price in QWEN.bands if tokens > above]
    expected = reached[-1] if reached else QWEN

    assert tokens * expected.input / MILLION == cost(Usage(input_tokens=tokens), QWEN)
    assert len(QWEN.bands) >= 2


GPT, LONG = "gpt-5.6", Usage(input_tokens=300_000, output_tokens=1_000)
SHORT = Usage(input_tokens=100_000, output_tokens=1_000, cache_read_tokens=50_000)


@pytest.mark.parametrize(
    ("model", "usage", "tier", "dollars"),
    [
        (GPT, SHORT, None, "0.24"),
        (GPT, SHORT, "default", "0.24"),
        (GPT, SHORT, "auto", "0.24"),
        (GPT, SHORT, "batch", "0.12"),
        (GPT, SHORT, "flex", "0.12"),
        (GPT, SHORT, "priority", "0.48"),
        (GPT, SHORT, "fast", "0.48"),
        (GPT, LONG, None, "2.43"),
        (GPT, LONG, "flex", "1.215"),
        (GPT, LONG, "priority", "4.86"),
        ("gemini-2.5-pro", LONG, None, "0.765"),
        ("gemini-2.5-pro", LONG, "batch", "0.3825"),
        ("claude-opus-5", SHORT, "standard", "0.3"),
        ("claude-opus-5", SHORT, "batch", "0.15"),
        ("claude-opus-5", SHORT, "priority", "0.3"),
        ("gpt-4o", SHORT, "batch", "0.13"),
    ],
)
def test_tiers_have_prices_of_their_own_in_every_band(model, usage, tier, dollars):
    """A tier without one costs the standard; what a tier says nothing of, such as cached input in a batch, stays as it is."""
    assert Decimal(dollars) == cost(usage, get_model(model).price, tier=tier)


@pytest.mark.parametrize(
    ("usage", "dollars"),
    [
        (Usage(input_tokens=1_000, cache_write_tokens=1_000), "0.00625"),
        (Usage(input_tokens=1_000, cache_write_tokens=1_000, cache_write_long_tokens=1_000), "0.01"),
        (Usage(input_tokens=1_000, cache_write_tokens=600, cache_write_long_tokens=400, cache_read_tokens=400), "0.00545"),
        (Usage(input_tokens=1_000, tool_requests={"web_search": 1}), "0.015"),
    ],
)
def test_cache_writes_are_billed_by_how_long_they_live(usage, dollars):
    """Five minutes and an hour, of Claude Opus 5; and its searches."""
    assert Decimal(dollars) == cost(usage, get_model("claude-opus-5").price)


@pytest.mark.parametrize(
    ("moment", "dollars"),
    [
        (datetime(2026, 11, 20, 0, 30, tzinfo=UTC), "0.15"),
        (datetime(2026, 11, 20, 1, 0, tzinfo=UTC), "0.3"),
        (datetime(2026, 11, 20, 5, 59, tzinfo=UTC), "0.15"),
        (datetime(2026, 11, 20, 6, 0, tzinfo=UTC), "0.3"),
        (datetime(2026, 11, 20, 23, 59, 59, tzinfo=UTC), "0.15"),
        (datetime(2026, 11, 21, 8, 0, tzinfo=UTC), "0.15"),
        (datetime(2026, 11, 20, 16, 0, tzinfo=timezone(timedelta(hours=8))), "0.3"),
        (datetime(2026, 11, 21, 0, 0, tzinfo=timezone(timedelta(hours=8))), "0.15"),
        (None, "0.3"),
    ],
)
def test_quiet_hours_are_cheaper(moment, dollars):
    """DeepSeek's, by hour and weekday in UTC wherever the caller lives; who names no moment is told the full price."""
    assert Decimal(dollars) == cost(Usage(input_tokens=MILLION), get_model("deepseek:deepseek-v4-flash").price, at=moment)


@pytest.mark.parametrize(("day", "dollars"), [(30, "2"), (1, "4")])
def test_an_announced_price_counts_from_its_day(day, dollars):
    """The catalog can know tomorrow's prices today."""
    price = Price.from_row({"input": "2", "output": "10", "later": [{"valid_from": "2026-12-01", "input": "4", "output": "20"}]})
    moment = datetime(2026, 12 if day == 1 else 11, day, tzinfo=UTC)

    assert Decimal(dollars) == cost(Usage(input_tokens=MILLION), price, at=moment)
    assert Decimal(2) == cost(Usage(input_tokens=MILLION), price)


def test_a_model_that_costs_nothing_costs_zero():
    """Known to be free is not unknown."""
    assert Decimal(0) == cost(Usage(input_tokens=MILLION, output_tokens=MILLION), get_model("ollama:llama2").price)


EVERY = Price(
    **{
        name: Decimal(number)
        for number, name in enumerate(
            ("input", "output", "cache_read", "cache_write", "cache_write_long", "audio_input", "audio_output", "reasoning"), 1
        )
    },
    calls={"web_search": Decimal("0.01"), "request": Decimal("0.005")},
)


@pytest.mark.parametrize(
    ("usage", "name", "dollars"),
    [
        (Usage(input_tokens=MILLION), "input", "1"),
        (Usage(input_tokens=MILLION, audio_input_tokens=MILLION), "input", "6"),
        (Usage(input_tokens=MILLION, cache_read_tokens=MILLION), "cache_read", "3"),
        (Usage(input_tokens=MILLION, cache_write_tokens=MILLION), "cache_write", "4"),
        (Usage(input_tokens=MILLION, cache_write_tokens=MILLION, cache_write_long_tokens=MILLION), "cache_write_long", "5"),
        (Usage(output_tokens=MILLION), "output", "2"),
        (Usage(output_tokens=MILLION, audio_output_tokens=MILLION), "output", "7"),
        (Usage(output_tokens=MILLION, reasoning_tokens=MILLION), "reasoning", "8"),
        (Usage(tool_requests={"web_search": 3}), "other", "0.03"),
    ],
)
def test_each_class_has_its_place_in_the_details(usage, name, dollars):
    """All else is zero, but for the fee of the request."""
    found = cost_details(usage, EVERY)
    fee = Decimal("0.005")

    assert Decimal(dollars) == found[name] - (fee if name == "other" else 0)
    assert fee == found.total - Decimal(dollars)


def test_thoughts_without_a_price_of_their_own_are_told_apart():
    """They cost what output costs; the details say how much of it they are."""
    found = cost_details(Usage(output_tokens=10, reasoning_tokens=4), Price(input=Decimal(1), output=Decimal(2)))

    assert (Decimal("0.000012"), Decimal("0.000008")) == (found.output, found.reasoning)


COUNTS = st.integers(0, 10**9)
FIELDS = [name for name in attrs.fields_dict(Usage) if name.endswith("_tokens")]
ROWS_WITH_PLACES = [
    "gpt-5.6",
    "claude-sonnet-4-5",
    "gemini-2.5-flash",
    "deepseek:deepseek-v4-flash",
    "perplexity:sonar",
    "gpt-4o-mini",
]


@given(
    counts=st.fixed_dictionaries(dict.fromkeys(FIELDS, COUNTS)),
    model=st.sampled_from(ROWS_WITH_PLACES),
    tier=st.sampled_from([None, "batch", "flex", "priority"]),
    searches=st.integers(0, 50),
)
def test_the_details_add_up_to_the_cost(counts, model, tier, searches):
    """Whatever the counts, contradictions among them too: exactly, and nothing is below zero."""
    usage, price = Usage(**counts, tool_requests={"web_search": searches}), get_model(model).price
    found = cost_details(usage, price, tier=tier)

    assert cost(usage, price, tier=tier) == found.total == sum(map(Fraction, found.values()))
    assert min(found.values()) >= 0


def test_details_are_fields_and_a_mapping():
    """Seven names, in the order in which a bill has them."""
    found = CostDetails(input=Decimal(1), other=Decimal("0.5"))

    assert ["input", "cache_read", "cache_write", "cache_write_long", "output", "reasoning", "other"] == list(found)
    assert (Decimal(1), Decimal(1), Decimal("1.5")) == (found.input, found["input"], sum(found.values()))
    assert {"input": "1", "other": "0.5"} == {name: text for name, text in found.as_dict().items() if text != "0"}
    with pytest.raises(KeyError):
        found["total"]


TUNED = [
    ("ft:gpt-4o-mini-2024-07-18:acme::abc123", "0.3"),
    ("ft:gpt-4o-mini-2024-07-18:acme:my-suffix:abc123", "0.3"),
    ("ft:gpt-4o-mini-2024-07-18:acme::abc123:ckpt-step-90", "0.3"),
    ("ft:gpt-4o-mini-2024-07-18:personal::A1", "0.3"),
    ("ft:gpt-4o-mini-2024-07-18", "0.3"),
    ("ft:gpt-4o-mini:acme::abc123", "0.3"),
    ("ft:gpt-4o:acme::abc123", "3.75"),
    ("ft:gpt-3.5-turbo-0125:acme::abc123", "3"),
    ("ft:gpt-3.5-turbo:acme::abc123", "3"),
    ("ft:gpt-4.1-2025-04-14:acme::abc123", "3"),
    ("ft:o4-mini-2025-04-16:acme::abc123", "4"),
]


@pytest.mark.parametrize(("name", "dollars"), TUNED)
def test_a_fine_tuned_model_costs_what_its_base_costs_when_tuned(name, dollars):
    """By every spelling of its name; the plain base is cheaper."""
    facts = get_model(name)

    assert (Decimal(dollars), "openai", name) == (facts.price.input, facts.vendor, facts.model)
    assert facts.listed in name or facts.listed.startswith(name.partition(":acme")[0])


@pytest.mark.parametrize("name", ["ft:gpt-99:acme::abc123", "ft::", "ft:", "ft:babbage-002:acme::x", "ft:gpt-4o-2020-01-01:a::b"])
def test_a_fine_tuned_model_of_an_unknown_base_has_no_price(name):
    """The price of the plain model would be too low."""
    assert None is model_facts("openai", name)


GONE = {
    "claude-3-opus": ("15", "75"),
    "claude-3-sonnet": ("3", "15"),
    "claude-3-haiku": ("0.25", "1.25"),
    "claude-3-5-sonnet": ("3", "15"),
    "claude-3-5-haiku": ("0.8", "4"),
    "gemini-1.5-pro": ("1.25", "5"),
    "gemini-1.5-flash": ("0.075", "0.3"),
    "gemini-pro": ("0.5", "1.5"),
    "gemini-pro-vision": ("0.5", "1.5"),
}


@pytest.mark.parametrize("name", GONE)
def test_a_model_that_is_gone_keeps_its_last_price(name):
    """With the day on which it was last known; nobody chooses it unasked."""
    facts = get_model(name)

    assert GONE[name] == (str(facts.price.input), str(facts.price.output))
    assert (True, False) == (facts.retired, facts.checked)
    assert facts.source
    assert "2024-01-01" < facts.date <= "2026-11-21"


@pytest.mark.parametrize("kind", ["ollama", "vllm", "llamacpp", "lmstudio", "local"])
@pytest.mark.parametrize("model", ["llama3", "any/model:7b"])
def test_a_server_of_ones_own_costs_nothing(kind, model):
    """Whatever runs on it; elsewhere nobody knows."""
    assert (FREE_PRICE, "catalog 2026-11-21") == price_at(kind, model)
    assert None is price_at(kind, model, free=False)[0]


@pytest.mark.parametrize("model", ["gpt-oss:120b-cloud", "minimax-m2:cloud", "anything-cloud"])
def test_models_of_ollamas_cloud_are_not_free(model):
    """The server of one's own hands them on."""
    assert None is price_at("ollama", model)[0]
