"""Budgets of money as values: the settings of a budget, its periods of time, and its status.

A period is an hour, a day, a week or a month of a time zone, daylight saving time included, or all time; or it slides: the last 24
hours, the last 30 days. ``Budget`` is what a user configures; ``BudgetStatus`` and ``BudgetForecast`` are what the dispatcher
returns about it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from ...catalog import canonical
from ...errors import ConfigError
from ...routing import shown
from ...types import Usd, boolean, build, choices, non_blank, optional_fraction, sliding_length, sliding_text, suggest, usd_amount
from ..units import EPOCH, MOST, MOST_DAYS, account_name, first_day

PERIODS = ("call", "hour", "day", "week", "month", "total")
"""One call; the present hour, day, week or month; all time."""
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

_GRAINS = 240
"""Accounts that a sliding period consists of; what is spent in one counts as if it were spent when its last was."""


@attrs.frozen
class Period:
    """From ``begins`` until before ``ends``; both aware, UTC. ``ends`` is ``None`` for a period without end."""

    begins: datetime
    ends: datetime | None = None


FOR_EVER = Period(EPOCH)


def period_at(kind: str, zone: ZoneInfo, now: datetime, week_start: int = 0) -> Period:
    """Return the period of this kind that ``now`` is in, by the wall clock of ``zone``; weeks begin on ``week_start``, Monday is 0.

    An hour is 60 minutes; a day is as long as the zone makes it, 23 to 25 hours.
    """
    if kind in ("call", "total"):
        return FOR_EVER
    local = now.astimezone(zone)
    if kind == "hour":
        begins = now - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        return Period(begins.astimezone(UTC), begins.astimezone(UTC) + timedelta(hours=1))
    first = first_day(kind, local.date(), week_start)
    after = first_day(kind, first + timedelta(days=MOST_DAYS[kind]), week_start)
    return Period(_midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins. If clocks skip midnight, when they skip it; if they repeat it, the first time (PEP 495)."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


SHARES = ("dispatcher", "vendor", "model", "origin", "user", "key", "id_at_origin")
"""What has an account of its own: all calls together, or each vendor, model, application, user, key or purpose."""

FACTS = SHARES[1:]
"""The facts of a call that ``match`` can test."""


MOST_HELD = Decimal(MOST).scaleb(-12)
"""US dollars that an account can hold, some nine million; larger amounts count as that."""
_MICROSECOND = timedelta(microseconds=1)


def picodollars_up(amount: Decimal) -> int:
    """US dollars as whole picodollars, rounded up."""
    return int(min(amount, MOST_HELD).scaleb(12).to_integral_value(ROUND_CEILING))


def plain_dollars(amount: int) -> Decimal:
    """Picodollars as US dollars, without trailing zeros."""
    money = Decimal(amount).scaleb(-12).normalize()
    return money if money.as_tuple().exponent in range(-12, 1) else Decimal(int(money))


def _limit(value: Usd) -> Decimal:
    return usd_amount("limit", value)


def _one_of(*words: str) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise ConfigError(f"{attribute.name}: {value!r} is not known; {choices(value, words, 'use {}')}")

    return check


def _period(value: str | timedelta) -> str:
    """A period as its text: a name of :data:`PERIODS`, or a number and a unit for one that slides."""
    if isinstance(value, str) and value.strip().lower() in PERIODS:
        return value.strip().lower()
    text = sliding_text("period", value)
    if text is None:
        hint = choices(value, PERIODS, "use {}") if isinstance(value, str) else f"use {', '.join(map(repr, PERIODS))}"
        raise ConfigError(
            f"period: {value!r} is not known; {hint}, or a sliding period: minutes, hours, days or weeks, as '24h', '30d'"
        )
    return text


def _zone(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ConfigError(
            f"{attribute.name}: {value!r} is not a time zone; use a name such as 'Europe/Berlin' (the package tzdata has them all)"
        ) from None


def _patterns(value: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"match: {type(value).__name__} is not a mapping; give a dict such as {{'vendor': 'openai'}}")
    for fact, pattern in value.items():
        if fact not in FACTS:
            raise ConfigError(f"match: {fact!r} is nothing to match; {choices(fact, FACTS, 'use {}')}")
        if not isinstance(pattern, str) or not pattern:
            raise ConfigError(f"match[{fact!r}]: {pattern!r} is not a pattern; give a name, or a glob such as 'gpt-*'")
    return dict(value)


@suggest
@attrs.frozen(kw_only=True)
class Budget:
    """A limit of US dollars in each ``period`` for each ``per``; the most that a call may cost is reserved before it is sent.

    ``limit`` is a Decimal or a text like "5.00". ``period`` is one of ``PERIODS`` on the clocks of ``zone``, weeks from
    ``week_start`` on; or it slides: ``"24h"``, ``"30d"`` (minutes, hours, days or weeks, or a ``timedelta``) are always the last
    24 hours or 30 days. When ``warn_at`` of the limit, a fraction such as 0.8, is spent, observers and the log are told, once in
    each period. ``per`` is one of ``SHARES``; requests that do not say whose they are share one account. ``match`` narrows the
    budget to calls whose facts match globs, such as ``{"vendor": "openai", "user": "guest-*"}``; ``?*`` matches any name that is
    not empty.

    ``on_exceed`` is ``"refuse"``: the call ends with :class:`~llmdispatcher.BudgetExceeded`; or ``"next_target"``: the route
    goes on to a target for which there is money. ``unpriced`` says whether models without a known price may be asked. While the
    budgets' database cannot be used, calls go on with a warning and are booked when it is back; a ``strict`` budget refuses them.
    ``name`` tells budgets apart, in a shared database too; two processes with a budget of the same name share its accounts. Free
    models (price 0) are always allowed.
    """

    limit: Decimal = attrs.field(converter=_limit)
    period: str = attrs.field(default="day", converter=_period)
    per: str = attrs.field(default="dispatcher", validator=_one_of(*SHARES))
    match: Mapping[str, str] = attrs.field(factory=dict, converter=_patterns)
    name: str = attrs.field(validator=non_blank)
    on_exceed: str = attrs.field(default="refuse", validator=_one_of("refuse", "next_target"))
    unpriced: str = attrs.field(default="refuse", validator=_one_of("refuse", "allow"))
    strict: bool = attrs.field(default=False, validator=boolean)
    zone: str = attrs.field(default="UTC", validator=_zone)
    week_start: str = attrs.field(default="monday", validator=_one_of(*WEEKDAYS))
    warn_at: float | None = attrs.field(default=None, validator=optional_fraction)

    def __attrs_post_init__(self) -> None:
        if self.week_start != WEEKDAYS[0] and self.period != "week":
            raise ConfigError(f"week_start: the period is {self.period!r}, which has no weeks; leave it out, or set period='week'")
        if self.warn_at is not None and self.period == "call":
            raise ConfigError("warn_at: a budget of each call has nothing to warn of; leave it out, or set another period")

    @name.default
    def _default_name(self) -> str:
        narrowed = [f"{fact}={pattern}" for fact, pattern in sorted(self.match.items())]
        return " ".join([f"{self.per}/{self.period}", *narrowed])

    @property
    def clocks(self) -> ZoneInfo:
        """The time zone as an object."""
        return ZoneInfo(self.zone)

    @property
    def most(self) -> int:
        """The limit in picodollars."""
        return int(min(self.limit, MOST_HELD).scaleb(12))

    @property
    def warned_from(self) -> int:
        """The picodollars of which a warning is due, at least 1; 0 for no warning."""
        return max(1, int(self.most * Decimal(str(self.warn_at)))) if self.warn_at is not None else 0

    @property
    def slides(self) -> int:
        """The length of a sliding period in microseconds; 0 for any other."""
        length = sliding_length(self.period)
        return length // _MICROSECOND if length is not None else 0

    def grain_at(self, now: int) -> tuple[int, int]:
        """When the account of a sliding period that ``now`` is in begins, and until when what is spent now counts; microseconds."""
        grain = max(1, self.slides // _GRAINS)
        return now // grain * grain, now + self.slides

    def concerns(self, facts: Mapping[str, str]) -> bool:
        """Tell whether a call with these facts counts; a missing fact is an empty text."""
        return all(_matches_fact(fact, facts.get(fact, ""), pattern) for fact, pattern in self.match.items())

    def share(self, facts: Mapping[str, str]) -> str:
        """Return whose account it is; empty for the account of all calls, and for calls that do not say."""
        return account_name(facts.get(self.per, "")) if self.per != "dispatcher" else ""


def _matches_fact(fact: str, value: str, pattern: str) -> bool:
    """Whether a fact matches; a vendor in any spelling, a model with or without its vendor."""
    if fnmatchcase(value, pattern):
        return True
    if fact == "vendor":
        return fnmatchcase(canonical(value), canonical(pattern))
    return fact == "model" and fnmatchcase(value.partition(":")[2], pattern)


def budgets_of(value: Sequence[Budget | Mapping[str, Any]] | None) -> tuple[Budget, ...]:
    """Read the budgets of a configuration. Raises :class:`ConfigError` with the path of a mistake, and for two with one name."""
    if value is None:
        return ()
    if isinstance(value, str | Mapping | Budget) or not isinstance(value, Sequence):
        raise ConfigError(f"budgets: {type(value).__name__} is not a list of budgets; give [Budget(limit='5.00'), ...]")
    built = tuple([build(Budget, one, f"budgets[{number}]") for number, one in enumerate(value)])
    named: dict[str, int] = {}
    for number, budget in enumerate(built):
        if budget.name in named:
            raise ConfigError(
                f"budgets[{number}].name: {budget.name!r} is the name of budgets[{named[budget.name]}], too; give each its own"
            )
        named[budget.name] = number
    return built


@attrs.frozen(kw_only=True)
class BudgetStatus:
    """One account of a budget; money is US dollars, moments are aware, UTC.

    ``share`` is whose it is (a user, a vendor, ...), empty for all calls together and for calls that do not say. ``left`` is what
    the next call may reserve, 0 if a vendor billed more than could be foreseen. ``ends`` is ``None`` for a budget without end, and
    for one that slides: ``period`` is then its length ("24h"), which began at ``begins``.
    """

    budget: str
    share: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal
    begins: datetime
    ends: datetime | None
    period: str = ""

    @property
    def left(self) -> Decimal:
        """US dollars that are neither spent nor reserved; at least 0."""
        return max(Decimal(0), self.limit - self.spent - self.reserved)

    def __str__(self) -> str:
        whose = f" of {self.share}" if self.share else ""
        until = f", until {self.ends:%Y-%m-%d %H:%M} UTC" if self.ends is not None else ""
        if self.period and self.period not in PERIODS:
            until = f", in the last {self.period}"
        held = f", {shown(self.reserved)} reserved" if self.reserved else ""
        return f"{self.budget}{whose}: {shown(self.spent)} of {shown(self.limit)} spent{held}{until}"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them; US dollars and moments are texts."""
        money = {name: f"{getattr(self, name):f}" for name in ("limit", "spent", "reserved", "left")}
        ends = self.ends.isoformat() if self.ends is not None else None
        named = {"budget": self.budget, "share": self.share, "period": self.period}
        return {**named, **money, "begins": self.begins.isoformat(), "ends": ends}


@attrs.frozen(kw_only=True)
class BudgetForecast:
    """What asking one target would reserve now, in US dollars (``None`` if unknown), and why it would not be asked."""

    target: str
    reserves: Decimal | None
    refusal: str = ""

    def __str__(self) -> str:
        if self.refusal:
            return f"{self.target}: {self.refusal}"
        return f"{self.target}: at most {shown(self.reserves)}" if self.reserves is not None else f"{self.target}: price unknown"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them; US dollars are texts."""
        reserves = f"{self.reserves:f}" if self.reserves is not None else None
        return {"target": self.target, "reserves": reserves, "refusal": self.refusal}
