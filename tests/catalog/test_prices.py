"""Cost is exact: every token class at its own price, nothing rounded."""

from decimal import Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher.catalog import Price, cost, model_facts
from llmdispatcher.types import Usage

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
