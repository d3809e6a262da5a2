"""Budgets of money as settings: how much may be spent in which time, by whom, and what happens to a call that would be too much."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import attrs

from ..catalog import canonical
from ..errors import ConfigError
from ..policy import checks
from .periods import PERIODS

SHARES = ("dispatcher", "vendor", "model", "origin", "user", "key", "id_at_origin")
"""Whom a budget counts for: all together, or each vendor, model, application, user, key or purpose for itself."""

FACTS = SHARES[1:]
"""What ``match`` can look at."""

PICO = 10**12
"""A dollar, as it is counted: in whole numbers of a trillionth, so that sums are exact everywhere."""


def picodollars(amount: Decimal) -> int:
    """US dollars as a whole number of picodollars; a broken one counts as a whole one."""
    return int(amount.scaleb(12).to_integral_value(ROUND_CEILING))


def dollars(amount: int) -> Decimal:
    """The other way round, without noughts at the end."""
    money = Decimal(amount).scaleb(-12).normalize()
    return money if money.as_tuple().exponent in range(-12, 1) else Decimal(int(money))


def _limit(value: Any) -> Decimal:
    return checks.dollars("limit", value)


def _one_of(*words: str) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    def check(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
        if value not in words:
            raise ConfigError(f"{attribute.name}: {value!r} is not known; use {', '.join(words)}")

    return check


def _zone(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        raise ConfigError(
            f"{attribute.name}: {value!r} is not a time zone; use a name such as 'Europe/Berlin' (the package tzdata has them all)"
        ) from None


def _patterns(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"match: {type(value).__name__} is not a mapping; give a dict such as {{'vendor': 'openai'}}")
    for fact, pattern in value.items():
        if fact not in FACTS:
            raise ConfigError(f"match: {fact!r} is nothing to match; use {', '.join(FACTS)}")
        if not isinstance(pattern, str) or not pattern:
            raise ConfigError(f"match[{fact!r}]: {pattern!r} is not a pattern; give a name, or a glob such as 'gpt-*'")
    return dict(value)


@attrs.frozen(kw_only=True)
class Budget:
    """So many US dollars in each ``period`` for each ``per``; what a call may cost at most is reserved before it is sent.

    ``limit`` is a Decimal or a text like "5.00". ``period`` is one of :data:`~llmdispatcher.spending.periods.PERIODS` on the clocks
    of ``zone``, ``per`` one of :data:`SHARES`; requests that do not say whose they are share one account. ``match`` narrows the
    budget to calls whose facts fit globs, such as ``{"vendor": "openai", "user": "guest-*"}``; ``?*`` matches any name but none.

    ``on_exceed`` is ``"refuse"``: the call ends with :class:`~llmdispatcher.errors.BudgetExceeded`; or ``"next_target"``: the route
    goes on to a target for which there is money. ``unpriced`` says whether models without a known price may be asked, ``on_error``
    whether any may while the budgets' database is away. ``name`` tells budgets apart, in a shared database too; two processes with
    a budget of the same name share its accounts. Free models (price 0) are always allowed.
    """

    limit: Decimal = attrs.field(converter=_limit)
    period: str = attrs.field(default="day", validator=_one_of(*PERIODS))
    per: str = attrs.field(default="dispatcher", validator=_one_of(*SHARES))
    match: Mapping[str, str] = attrs.field(factory=dict, converter=_patterns)
    name: str = attrs.field(validator=checks.name)
    on_exceed: str = attrs.field(default="refuse", validator=_one_of("refuse", "next_target"))
    unpriced: str = attrs.field(default="refuse", validator=_one_of("refuse", "allow"))
    on_error: str = attrs.field(default="refuse", validator=_one_of("refuse", "allow"))
    zone: str = attrs.field(default="UTC", validator=_zone)

    @name.default
    def _described(self) -> str:
        narrowed = [f"{fact}={pattern}" for fact, pattern in sorted(self.match.items())]
        return " ".join([f"{self.per}/{self.period}", *narrowed])

    @property
    def clocks(self) -> ZoneInfo:
        """The zone itself."""
        return ZoneInfo(self.zone)

    @property
    def most(self) -> int:
        """The limit in picodollars."""
        return int(self.limit.scaleb(12))

    def concerns(self, facts: Mapping[str, str]) -> bool:
        """Whether a call of these facts counts; a missing fact is an empty text."""
        return all(_fits(fact, facts.get(fact, ""), pattern) for fact, pattern in self.match.items())

    def share(self, facts: Mapping[str, str]) -> str:
        """Whose account it is; empty for the one of all together, and for those who do not say."""
        return facts.get(self.per, "") if self.per != "dispatcher" else ""


def _fits(fact: str, value: str, pattern: str) -> bool:
    """A vendor fits in any spelling, a model with or without its vendor."""
    if fnmatchcase(value, pattern):
        return True
    if fact == "vendor":
        return fnmatchcase(canonical(value), canonical(pattern))
    return fact == "model" and fnmatchcase(value.partition(":")[2], pattern)


def budgets(value: Any) -> tuple[Budget, ...]:
    """The budgets of a configuration; raises :class:`ConfigError` with the path of a mistake, and for two of one name."""
    if value is None:
        return ()
    if isinstance(value, str | Mapping | Budget) or not isinstance(value, Sequence):
        raise ConfigError(f"budgets: {type(value).__name__} is not a list of budgets; give [Budget(limit='5.00'), ...]")
    built = tuple([checks.build(Budget, one, f"budgets[{number}]") for number, one in enumerate(value)])
    named: dict[str, int] = {}
    for number, budget in enumerate(built):
        if budget.name in named:
            raise ConfigError(
                f"budgets[{number}].name: {budget.name!r} is the name of budgets[{named[budget.name]}], too; give each its own"
            )
        named[budget.name] = number
    return built
