"""What one call knows of its budgets, and what one attempt has reserved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

import attrs

from ..errors import DispatchError
from ..meter import Lease
from ..types import Request
from .book import Book, Reservation
from .bound import Measure, measured, text_tokens
from .budget import dollars, picodollars
from .memory import MemoryBook


class Purse:
    """One call's own accounts, for budgets that count by call, and the measure of its request; legs of a call share it."""

    __slots__ = ("_measure", "_more", "book", "facts", "request")

    def __init__(self, request: Request, origin: str | None = None, book: MemoryBook | None = None) -> None:
        self.request = request
        self.book = book
        self.facts = {
            "origin": request.origin or origin or "",
            "user": request.user or "",
            "id_at_origin": request.id_at_origin or "",
        }
        self._measure: Measure | None = None
        self._more = 0

    @property
    def measure(self) -> Measure:
        """What the request holds, and what was added since."""
        if self._measure is None:
            self._measure = measured(self.request)
        return attrs.evolve(self._measure, text=self._measure.text + self._more) if self._more else self._measure

    def goes_on(self, text: str, around: str) -> None:
        """From now on the request is asked with a beginning of the answer, and words around that."""
        self._more = text_tokens(text) + text_tokens(around)


class PaidLease:
    """The key of a reservation, and where that goes when the key is refused; a :class:`~llmdispatcher.meter.Lease`."""

    def __init__(self, hold: Hold, move: Callable[[Sequence[int]], int | None], other: Lease | None) -> None:
        self._hold = hold
        self._move = move
        self._other = other

    @property
    def key(self) -> int | None:
        """Its number."""
        return self._hold.key

    def move(self, awake: Sequence[int], error: DispatchError) -> int | None:
        """Reserve for another of these keys, after a refusal; ``None`` where none has a place and money."""
        if self._other is None:
            return self._move(awake)
        number = self._other.move(awake, error)
        return None if number is None else self._move([number])


class Hold:
    """What one attempt has reserved; settled by whoever comes first, and the rest are not heard.

    How an attempt ends decides what counts as spent. An answer: its cost, by the vendor's word or by usage and price; the whole
    bound where neither is known. A request that certainly never reached the vendor, or that the vendor refused: nothing beside a
    cost that is known. Anything else (broken off, cancelled, timed out, overtaken) may be billed by a sum that nobody can know: the
    whole bound.
    """

    __slots__ = ("_book", "_purse", "booked", "key", "move", "of_call", "shared")

    def __init__(self, purse: Purse, book: Book) -> None:
        self._purse = purse
        self._book = book
        self.of_call: Reservation | None = None
        self.shared: Reservation | None = None
        self.booked = True
        self.key: int | None = None
        self.move: Callable[[Sequence[int]], int | None] | None = None

    def lease(self, other: Lease | None) -> Lease | None:
        """Which of several keys to show: the one whose money is reserved, and where it is refused another with money.

        ``other`` is the lease of the limits, which comes first.
        """
        return other if self.key is None or self.move is None else PaidLease(self, self.move, other)

    @property
    def amount(self) -> Decimal | None:
        """US dollars that are reserved; ``None`` where nothing is."""
        held = self.shared or self.of_call
        return dollars(held.amount) if held is not None else None

    def give_back(self) -> None:
        """Nothing was sent."""
        self._spend(0)

    def settle(self, error: DispatchError | None, cost: Decimal | None) -> None:
        """The attempt has ended, with this error if any; ``cost`` is what is known of what it cost."""
        held = self.shared or self.of_call
        if held is None:
            return
        spent = picodollars(cost) if cost is not None else 0
        if (error is None and cost is None) or (error is not None and error.possibly_billed):
            spent = max(spent, held.amount)
        self._spend(spent)

    def _spend(self, spent: int) -> None:
        of_call, shared, booked = self.of_call, self.shared, self.booked
        if of_call is not None and self._purse.book is not None:
            self._purse.book.settle(of_call, spent)
            self.of_call = None
        if shared is not None:
            self._book.settle(shared, spent, booked=booked)
            self.shared = None
