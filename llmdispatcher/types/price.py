"""Prices, and the exact cost of a usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import attrs

from .response import EXACT, NOTHING, CostDetails, Usage, exact_sum

TIERS = {"batch": "batch", "batches": "batch", "flex": "flex", "priority": "priority", "fast": "priority"}
"""The tiers that have prices of their own, by the words of requests and answers; every other word is the standard."""
_PLACES = ("bands", "tiers", "calls", "off_peak", "later")


@attrs.frozen
class Hours:
    """A part of the week, UTC: ``weekdays`` (Monday is 1) from ``start`` until ``end``, both in minutes of the day."""

    weekdays: tuple[int, ...]
    start: int
    end: int

    def covers(self, moment: datetime) -> bool:
        """Whether a moment lies in it."""
        now = moment.astimezone(UTC)
        return now.isoweekday() in self.weekdays and self.start <= now.hour * 60 + now.minute < self.end


_AS_INPUT: Any = attrs.Factory(lambda price: price.input, takes_self=True)
_AS_OUTPUT: Any = attrs.Factory(lambda price: price.output, takes_self=True)


@attrs.frozen(kw_only=True)
class Price:
    """US dollars per million tokens of each class, as published; ``calls`` are US dollars for one call of a tool, such as a
    "web_search", or for each "request".

    A class without a price of its own costs what its plainer kind costs: cache reads, writes, audio and images the price of input
    or output, long-lived writes (an hour and more) the price of writes, thoughts the price of output. ``bands`` are (tokens,
    price), ascending: above so many input tokens the whole request is billed at that price. ``tiers`` are the prices of "batch",
    "flex" and "priority". ``off_peak`` holds in the ``hours`` given, ``later`` are prices announced, each from its ``valid_from``.
    """

    input: Decimal
    output: Decimal
    cache_read: Decimal = _AS_INPUT
    cache_write: Decimal = _AS_INPUT
    cache_write_long: Decimal = attrs.Factory(lambda price: price.cache_write, takes_self=True)
    audio_input: Decimal = _AS_INPUT
    audio_output: Decimal = _AS_OUTPUT
    audio_cache_read: Decimal = attrs.Factory(lambda price: price.cache_read, takes_self=True)
    image_input: Decimal = _AS_INPUT
    image_output: Decimal = _AS_OUTPUT
    reasoning: Decimal = _AS_OUTPUT
    calls: Mapping[str, Decimal] = attrs.field(factory=dict)
    bands: tuple[tuple[int, Price], ...] = ()
    tiers: Mapping[str, Price] = attrs.field(factory=dict)
    hours: tuple[Hours, ...] = ()
    off_peak: Price | None = None
    valid_from: date | None = None
    later: tuple[Price, ...] = ()

    @classmethod
    def flat(cls, per_million: Decimal) -> Price:
        """Return a price that is the same for every token, in US dollars per million."""
        return cls(input=per_million, output=per_million)

    @classmethod
    def from_row(cls, row: Mapping[str, Any], base: Mapping[str, Any] | None = None) -> Price:
        """Read a row of the catalog: amounts are texts; a band or tier says only what differs from ``base``, the price around it.

        Its own are ``bands`` (each with ``above``), ``tiers``, ``calls``, ``off_peak`` (with ``windows``) and ``later`` (each with
        ``valid_from``).
        """
        plain = {**(base or {}), **{name: value for name, value in row.items() if name not in _OWN}}
        amounts: dict[str, Any] = {name: Decimal(value) for name, value in plain.items()}
        off_peak, valid_from = row.get("off_peak"), row.get("valid_from")
        return cls(
            **amounts,
            calls={name: Decimal(value) for name, value in row.get("calls", {}).items()},
            bands=tuple([(band["above"], cls.from_row(band, plain)) for band in row.get("bands", ())]),
            tiers={tier: cls.from_row(price, plain) for tier, price in row.get("tiers", {}).items()},
            hours=tuple(_hours(off_peak["windows"])) if off_peak else (),
            off_peak=cls.from_row(off_peak, plain) if off_peak else None,
            valid_from=date.fromisoformat(valid_from) if valid_from else None,
            later=tuple([cls.from_row(price, plain) for price in row.get("later", ())]),
        )

    def at(self, moment: datetime) -> Price:
        """The price that counts at a moment: the latest that is valid by then, and the lower one in the hours that have one."""
        price = self
        for later in self.later:
            if later.valid_from is not None and later.valid_from <= moment.astimezone(UTC).date():
                price = later
        if price.off_peak is not None and any(hours.covers(moment) for hours in price.hours):
            return price.off_peak
        return price

    def of(self, tokens: int, tier: str | None = None) -> Price:
        """The price of a request with so many input tokens at a tier; a tier without a price of its own costs the standard."""
        price = self.tiers.get(TIERS.get(tier, ""), self) if tier and self.tiers else self
        for above, dearer in reversed(price.bands):
            if tokens > above:
                return dearer
        return price


_OWN = frozenset((*_PLACES, "above", "windows", "valid_from"))


def _hours(windows: Iterable[Mapping[str, Any]]) -> list[Hours]:
    spans = [(tuple(window["weekdays"]), *span.split("-")) for window in windows for span in window["hours"]]
    return [Hours(days, _minutes(start), _minutes(end) or _DAY) for days, start, end in spans]


_DAY = 24 * 60


def _minutes(text: str) -> int:
    """The minute of the day that a text such as "04:30" names."""
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def cost_of(usage: Usage, price: Price, *, tier: str | None = None, at: datetime | None = None) -> Decimal:
    """US dollars of a usage, exact: each token class at its own price, each call of a tool at its own, nothing rounded.

    ``tier`` is the service tier as a vendor or a request names it, ``at`` the moment of the request: without it the price of the
    busy hours counts, and none that begins later.
    """
    tokens, other = _amounts(usage, price, tier, at)
    return EXACT.add(EXACT.scaleb(exact_sum(tokens), -6), other)


def cost_details(usage: Usage, price: Price, *, tier: str | None = None, at: datetime | None = None) -> CostDetails:
    """The cost in US dollars by what is paid for; the details add up to it exactly."""
    tokens, other = _amounts(usage, price, tier, at)
    fresh, read, write, kept, output, reasoning = [EXACT.scaleb(amount, -6) if amount else NOTHING for amount in tokens]
    return CostDetails(
        input=fresh, cache_read=read, cache_write=write, cache_write_long=kept, output=output, reasoning=reasoning, other=other
    )


def _amounts(usage: Usage, price: Price, tier: str | None, at: datetime | None) -> tuple[tuple[Decimal, ...], Decimal]:
    """Millionths of dollars by class of tokens, in the order of :class:`CostDetails`; and dollars of what is no token."""
    calls, other = price.calls, NOTHING
    if at is not None and (price.later or price.off_peak is not None):
        price = price.at(at)
    if price.bands or (tier and price.tiers):
        price = price.of(usage.input_tokens, tier)
    if calls:
        other = calls.get("request", NOTHING)
    for tool, times in usage.tool_requests.items() if usage.tool_requests else ():
        other = EXACT.fma(times, calls.get(tool, NOTHING), other)
    return (*_into(usage, price), *_out(usage, price)), other


def _into(usage: Usage, price: Price) -> tuple[Decimal, Decimal, Decimal, Decimal]:
    """Millionths of dollars of what went in: fresh, read from a cache, written to it for minutes, and for longer.

    Counts that contradict each other never make it less than nothing.
    """
    read, write = usage.cache_read_tokens, usage.cache_write_tokens
    fresh = max(0, usage.input_tokens - read - write)
    plain = reads = writes = long = NOTHING
    if read:
        heard = min(usage.audio_cache_read_tokens, read)
        reads = EXACT.fma(read - heard, price.cache_read, EXACT.multiply(heard, price.audio_cache_read))
    if write:
        kept = min(usage.cache_write_long_tokens, write)
        writes, long = EXACT.multiply(write - kept, price.cache_write), EXACT.multiply(kept, price.cache_write_long)
    if usage.audio_input_tokens:
        heard = min(max(0, usage.audio_input_tokens - usage.audio_cache_read_tokens), fresh)
        fresh -= heard
        plain = EXACT.multiply(heard, price.audio_input)
    if usage.image_input_tokens:
        seen = min(usage.image_input_tokens, fresh)
        fresh -= seen
        plain = EXACT.fma(seen, price.image_input, plain)
    return EXACT.fma(fresh, price.input, plain), reads, writes, long


def _out(usage: Usage, price: Price) -> tuple[Decimal, Decimal]:
    """Millionths of dollars of what came out, and of what was thought before."""
    left, total = usage.output_tokens, NOTHING
    if usage.audio_output_tokens and price.audio_output is not price.output:
        said = min(usage.audio_output_tokens, left)
        left -= said
        total = EXACT.multiply(said, price.audio_output)
    if usage.image_output_tokens and price.image_output is not price.output:
        shown = min(usage.image_output_tokens, left)
        left -= shown
        total = EXACT.fma(shown, price.image_output, total)
    thought = min(usage.reasoning_tokens, left)
    return EXACT.fma(left - thought, price.output, total), EXACT.multiply(thought, price.reasoning) if thought else NOTHING
