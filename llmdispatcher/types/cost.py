"""What a call cost, by what it was paid for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Context, Decimal
from operator import attrgetter

import attrs

EXACT = Context(prec=60)
"""Sums of money are made here: the thread's own decimal context may have a precision that rounds them."""
NOTHING = Decimal(0)


@attrs.frozen(kw_only=True)
class CostDetails(Mapping[str, Decimal]):
    """US dollars of one usage by what was paid for; they add up to its cost exactly. Also a mapping of the same names.

    ``input`` is input that no cache held, of any kind; ``cache_write`` is writes that are kept for minutes, ``cache_write_long``
    those kept for an hour or more; ``output`` is without ``reasoning``. ``other`` is what is no token: calls of tools, a fee for
    the request, and all of a cost that a vendor reports as one sum.
    """

    input: Decimal = NOTHING
    cache_read: Decimal = NOTHING
    cache_write: Decimal = NOTHING
    cache_write_long: Decimal = NOTHING
    output: Decimal = NOTHING
    reasoning: Decimal = NOTHING
    other: Decimal = NOTHING

    @property
    def total(self) -> Decimal:
        """The sum of all, exact."""
        return exact_sum(_amounts(self))

    @classmethod
    def of(cls, cost: Decimal, details: CostDetails | None) -> CostDetails:
        """The details of a cost: those given where they add up to it, else all of it as ``other``."""
        return details if details is not None and details.total == cost else cls(other=cost)

    @classmethod
    def join(cls, details: Iterable[CostDetails]) -> CostDetails:
        """Return the sum of several, name by name."""
        several = [_amounts(one) for one in details]
        return cls(**{name: exact_sum([one[place] for one in several]) for place, name in enumerate(_NAMES)})

    def as_dict(self) -> dict[str, str]:
        """Return the amounts for JSON: US dollars as texts."""
        return {name: f"{amount:f}" for name, amount in self.items()}

    def __getitem__(self, name: str) -> Decimal:
        if name not in _NAMES:
            raise KeyError(name)
        amount: Decimal = getattr(self, name)
        return amount

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)


_NAMES = tuple([field.name for field in attrs.fields(CostDetails)])
_amounts = attrgetter(*_NAMES)


def exact_sum(amounts: Iterable[Decimal]) -> Decimal:
    """The sum of amounts of money, nothing rounded."""
    total = NOTHING
    for amount in amounts:
        if amount:
            total = EXACT.add(total, amount) if total else amount
    return total


_MOST_PLACES = 12


def dollars_text(amount: Decimal, places: int = 2) -> str:
    """US dollars as digits for people: ``places`` decimals, and as many more as two significant digits of a small amount need."""
    needed = min(1 - amount.adjusted(), _MOST_PLACES) if amount else 0
    if needed <= places:
        return f"{amount:.{places}f}"
    whole, _, digits = f"{amount:.{needed}f}".partition(".")
    return f"{whole}.{digits.rstrip('0'):0<{places}}"
