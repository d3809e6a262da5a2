"""Prices, and the exact cost of a usage."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any

import attrs

from ..types import Usage

EXACT = Context(prec=60)
"""Sums of money are made here: the thread's own decimal context may have a precision that rounds them."""


@attrs.frozen(kw_only=True)
class Price:
    """US dollars per million tokens of each class, as published.

    A class without a price of its own costs what its plainer kind costs: cache reads, writes and audio the input price, long-lived
    writes (an hour and more) the price of writes. Above ``long_above`` input tokens the whole request is billed at ``long``.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal = attrs.field()
    cache_write: Decimal = attrs.field()
    cache_write_long: Decimal = attrs.field()
    audio_input: Decimal = attrs.field()
    long_above: int | None = None
    long: Price | None = None

    @cache_read.default
    @cache_write.default
    @audio_input.default
    def _as_input(self) -> Decimal:
        return self.input

    @cache_write_long.default
    def _as_write(self) -> Decimal:
        return self.cache_write

    @classmethod
    def flat(cls, per_million: Decimal) -> Price:
        """The same price for every token."""
        return cls(input=per_million, output=per_million)

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Price:
        """Read a row of the table: amounts are strings, ``long`` holds the long-context prices and where they begin (``above``)."""
        amounts: dict[str, Any] = {name: Decimal(value) for name, value in row.items() if name not in ("long", "above")}
        long = row.get("long")
        if long is None:
            return cls(**amounts)
        return cls(**amounts, long=cls.from_row(long), long_above=long["above"])


def cost(usage: Usage, price: Price) -> Decimal:
    """US dollars of a usage, exact: each token class at its own price, nothing rounded."""
    if price.long is not None and price.long_above is not None and usage.input_tokens > price.long_above:
        price = price.long
    fresh = max(0, usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens)
    total = EXACT.multiply(usage.output_tokens, price.output)
    if usage.cache_read_tokens:
        total = EXACT.fma(usage.cache_read_tokens, price.cache_read, total)
    if usage.cache_write_tokens:
        long_lived = min(usage.cache_write_long_tokens, usage.cache_write_tokens)
        total = EXACT.fma(usage.cache_write_tokens - long_lived, price.cache_write, total)
        total = EXACT.fma(long_lived, price.cache_write_long, total)
    if usage.audio_input_tokens:
        spoken = min(usage.audio_input_tokens, fresh)
        fresh -= spoken
        total = EXACT.fma(spoken, price.audio_input, total)
    return EXACT.scaleb(EXACT.fma(fresh, price.input, total), -6)
