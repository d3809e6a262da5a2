"""Budgets of keys and their owners: reserved before a call in one transaction, settled with what it cost.

The accounts stand in the keys' database, with those of the library's own budgets, so that they hold over threads, workers and
hosts. What is reserved is an estimate (:mod:`llmdispatcher.server.estimates`), or with ``strict`` the most that a call can cost. An
answer that costs more than was reserved counts in full, and the next call is refused.

While the database is away a process spends out of its local grant: :data:`GRANT` of what an account had left when it was last
seen, and nothing of one that is strict.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar
from zoneinfo import ZoneInfo

import attrs
import sqlalchemy as sa

from ..accounting import (
    Account,
    AccountBalance,
    Booking,
    Budget,
    BudgetStoreUnavailable,
    Claim,
    DatabaseBudgetStore,
    Ledger,
    has_price,
    period_at,
    picodollars_up,
    plain_dollars,
)
from ..catalog import Target
from ..errors import BudgetExceeded, DispatchError, VendorUnavailable
from ..routing import input_tokens
from ..runtime import Clock, new_lock
from ..types import Request, Response, Usage, cost_of
from .estimates import CostEstimate, Estimates, PricedCall, writes_cache
from .key_database import keys as _keys
from .key_database import owners as _owners
from .policies import LEVELS, PERIODS, KeyOwner, KeyPolicy, default_budget, matches_any
from .slices import Slices, SliceShare

GRANT = Decimal("0.05")
MARGIN = Decimal("1.1")
"""On what a stream had brought when its client left: the vendor was a little further."""
PATIENCE = 5.0
"""Seconds that a call waits for the database."""
REST = 5.0
"""Seconds for which a database that did not answer is left alone; then one call asks."""
_LEASE = 600.0
"""Seconds after its time when a reservation is taken for one of a dead process, and counts as spent."""
_PREPARING = 60.0
_WITHOUT_LIMIT = 86_400.0
_CHARACTERS_PER_TOKEN = 4
_UTC = ZoneInfo("UTC")
_MOST_SEEN = 50_000
_T = TypeVar("_T")


class KeyBudgetExceeded(BudgetExceeded):
    """A budget of a key or an owner is used up; ``then`` is the model that is asked in its place, if one is."""

    then: str | None = None


@attrs.frozen(kw_only=True)
class BudgetAccount:
    """One budget of a key or an owner: of all its models, or of those that a glob matches.

    ``whose`` is the level, for people. ``then`` is the model that is asked when it is used up.
    """

    level: str
    holder: str
    period: str
    limit: Decimal
    models: str | None = None
    then: str | None = None
    strict: bool = False

    @property
    def name(self) -> str:
        """The name of the budget in the database."""
        return _name(self.level, self.period) if self.models is None else f"{_name(self.level, self.period)}/{self.models.lower()}"

    @property
    def whose(self) -> str:
        """Whose budget it is, in words."""
        return ("this key" if self.level == "key" else f"the {self.level} of this key") + (
            f" for {self.models}" if self.models is not None else ""
        )

    def concerns(self, names: Iterable[str]) -> bool:
        """Whether it counts a call of a model of one of these names."""
        return self.models is None or any(matches_any(name, [self.models]) for name in names)


def accounts_of(levels: Iterable[tuple[str, str, KeyPolicy]], now: datetime) -> list[BudgetAccount]:
    """All budgets of a key and its owners, as ``ApiKey.levels`` has them; members without a budget have their team's default."""
    found = []
    levels = list(levels)
    owners = [policy for _, _, policy in levels if isinstance(policy, KeyOwner)]
    for level, holder, policy in levels:
        budget = policy.budget
        if budget is None and level == "member":
            budget = default_budget(owners)
        if budget is not None:
            raised = policy.override is not None and now < policy.override.until
            limit = policy.override.limit if raised and policy.override is not None else budget.limit
            found.append(BudgetAccount(level=level, holder=holder, period=budget.period, limit=limit, strict=policy.strict))
        for one in policy.model_budgets:
            account = BudgetAccount(
                level=level, holder=holder, period=one.budget.period, limit=one.budget.limit, models=one.models, then=one.then
            )
            found.append(attrs.evolve(account, strict=policy.strict))
    return found


class KeyReservation:
    """What one call of a key has reserved; settled once, later settlements change nothing."""

    def __init__(
        self, budgets: KeyBudgets, call: BudgetedCall, held: Booking | SliceShare | None, estimate: CostEstimate, *, booked: bool
    ) -> None:
        self._budgets, self._call, self._held, self._booked = budgets, call, held, booked
        self.estimate = estimate

    def facts(self) -> dict[str, str]:
        """What was reserved, in US dollars, and the limit of the output that was assumed for it, as headers of the answer."""
        told = {"x-llmdispatcher-reserved": f"{self.estimate.amount:f}"}
        if self.estimate.assumed_output is not None:
            told["x-llmdispatcher-assumed-max-tokens"] = f"{self.estimate.assumed_output}"
        return told

    def answered(self, vendor: str | None, model: str | None, usage: Usage, cost: Decimal | None, *, cached: bool = False) -> None:
        """Count what an answer cost; what was reserved, where nobody knows."""
        target = self._target(vendor, model)
        if cost is None:
            cost = usage.cost if usage.cost is not None else self.estimate.amount
        if not cached:
            self._budgets.estimates.learn(self._call.priced, target, usage)
        self._settle(cost, target)

    def broken(self, vendor: str | None, model: str | None, partial: Response | None) -> None:
        """Count the input, and what had been streamed, of a call that was broken off."""
        target = self._target(vendor, model)
        if target.price is None:
            self._settle(self.estimate.amount, target)
        else:
            usage = broken_usage(self._call.priced.request, partial)
            if (writing := writes_cache(self._call.priced.request, target)) and (partial is None or not partial.usage.input_tokens):
                written, long = usage.input_tokens, usage.input_tokens if writing == "1h" else 0  # nobody has told: the dearest
                usage = attrs.evolve(usage, cache_write_tokens=written, cache_write_long_tokens=long)
            more = attrs.evolve(usage, output_tokens=math.ceil(usage.output_tokens * MARGIN))
            self._settle(cost_of(more, target.price), target)

    def give_back(self) -> None:
        """Count nothing: no vendor has answered."""
        self._settle(Decimal(0), None)

    def _target(self, vendor: str | None, model: str | None) -> Target:
        exact = (one for one in self._call.priced.targets if (one.vendor, one.model) == (vendor, model))
        near = (one for one in self._call.priced.targets if one.vendor == vendor)
        return next(exact, None) or next(near, self.estimate.target)

    def _settle(self, cost: Decimal, target: Target | None) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._budgets.settle(self._call, held, picodollars_up(cost), target, booked=self._booked)


@attrs.frozen(kw_only=True)
class BudgetedCall:
    """A call and the budgets that it counts in. ``seconds`` is how long it may take, ``None`` if nobody knows.

    ``owners`` are the ids of the key's owners.
    """

    priced: PricedCall
    accounts: tuple[BudgetAccount, ...]
    seconds: float | None = None
    owners: tuple[str, ...] = ()


def broken_usage(request: Request, partial: Response | None) -> Usage:
    """The tokens of a call that was broken off: as the vendor has told them until then, and else an estimate."""
    told = partial.usage if partial is not None else Usage()
    streamed = -(-_characters(partial) // _CHARACTERS_PER_TOKEN) if partial is not None else 0
    return Usage(
        input_tokens=told.input_tokens or input_tokens(request),
        output_tokens=max(told.output_tokens, streamed),
        cache_read_tokens=told.cache_read_tokens,
        cache_write_tokens=told.cache_write_tokens,
        cache_write_long_tokens=told.cache_write_long_tokens,
    )


def _characters(partial: Response) -> int:
    texts = [(one.content, one.reasoning, *[call.name + call.arguments for call in one.tool_calls]) for one in partial.choices]
    return sum([len(text or "") for several in texts for text in several])


@attrs.define(eq=False)
class _Seen:
    """What an account had left when it was last seen, and what was granted of it since; picodollars."""

    left: int
    granted: int = 0


class KeyBudgets:
    """The budgets of all keys of one database; safe under threads and after a fork. It is opened at the first use.

    ``is_resting`` tells that the database has not answered somebody else a moment ago.
    """

    def __init__(self, place: str, clock: Clock, is_resting: Callable[[], bool] = lambda: False) -> None:
        self._place, self._clock, self._is_resting = place, clock, is_resting
        self._lock = new_lock()
        self._ledger: Ledger | None = None
        self._store: DatabaseBudgetStore | None = None
        self._periods: dict[str, tuple[int, int]] = {}
        self._seen: dict[tuple[str, str, int], _Seen] = {}
        self._rests_until = 0.0
        self._answered = 0
        self._slices = Slices(self._open_store, clock, self._note)
        self.estimates = Estimates(clock)

    def reserve(self, call: BudgetedCall) -> KeyReservation:
        """Reserve what a call may cost, of all its accounts or of none.

        What is not settled ten minutes after its time belongs to a process that has died, and counts as spent. Raises
        :class:`BudgetExceeded` where there is too little left, or a target has no known price (code ``model_unpriced``), and
        :class:`VendorUnavailable` while the database is away and the local grant is used up; code ``key_revoked`` is a key that
        was revoked in this moment.
        """
        priced = call.priced
        estimate = self.estimates.of(priced)
        if estimate is None:
            raise _unpriced(next((one.model for one in priced.targets if not has_price(one)), priced.request.model))
        now = self._clock.now()
        concerned = [one for one in call.accounts if one.concerns(_names(priced.request, priced.targets))]
        if not concerned:
            return KeyReservation(self, call, None, estimate, booked=True)
        claims = [self._claim(one, now) for one in concerned]
        at, amount = _micros(now), picodollars_up(estimate.amount)
        until = at + int(1e6 * (min(call.seconds or _WITHOUT_LIMIT, _WITHOUT_LIMIT) + _LEASE))
        key = (priced.key, tuple(claims))
        sliced = all(one.models is None for one in concerned)  # else accounts of models that have not answered get theirs back
        if sliced and (share := self._slices.take(key, amount, until)) is not None:
            return KeyReservation(self, call, share, estimate, booked=True)
        wanted = Booking(os.urandom(16).hex(), key[1], amount, until)
        try:
            found = self._ask(lambda store: store.reserve_unless(_revoked(call), wanted, at, PATIENCE))
        except BudgetStoreUnavailable:
            if priced.strict or not self._grant(wanted):
                raise _unavailable() from None
            return KeyReservation(self, call, wanted, estimate, booked=False)
        if isinstance(found, str):
            raise DispatchError("this key is not known here, or is not good any more", code=found, sent=False)
        if isinstance(found, AccountBalance):
            short = next(one for one, claim in zip(concerned, claims, strict=True) if claim.account.key == found.account.key)
            raise _exceeded(short, found, estimate.amount)
        self._note(wanted.claims, found)
        if sliced:
            self._slices.count(key, amount, until, _revoked(call))
        return KeyReservation(self, call, wanted, estimate, booked=True)

    def settle(self, call: BudgetedCall, held: Booking | SliceShare, spent: int, target: Target | None, *, booked: bool) -> None:
        """Replace a reservation by what was spent; accounts of other models than the one that answered get theirs back."""
        if isinstance(held, SliceShare):
            self._slices.settle(held, spent)
            return
        names = _names(call.priced.request, () if target is None else (target,), asked=False)
        others = {(one.name, one.holder) for one in call.accounts if one.models is not None and not one.concerns(names)}
        mine = [claim for claim in held.claims if claim.account.key[:2] not in others]
        rest = [claim for claim in held.claims if claim.account.key[:2] in others]
        store = self._open_store()
        for claims, amount in ((mine, spent), (rest, 0)):
            if claims:
                store.settle(attrs.evolve(held, claims=tuple(claims)), amount, booked=booked)

    def spent(self, holders: Mapping[str, tuple[str, Budget | None]]) -> dict[str, Decimal]:
        """US dollars that keys and owners have spent in the present periods of their budgets, by id; of each its level and budget.

        Raises :class:`VendorUnavailable` while the database is away.
        """
        wanted = {(_name(level, budget.period), one): one for one, (level, budget) in holders.items() if budget is not None}
        if not wanted:
            return {}
        now = self._clock.now()
        names = sorted({name for name, _ in wanted})
        self._slices.flush()
        begins = {name: self._period(name.partition("/")[2], now)[0] for name in names}
        try:
            balances = self._ask(lambda store: store.balances(names, _micros(now), PATIENCE))
        except BudgetStoreUnavailable:
            raise _unavailable() from None
        found = dict.fromkeys(wanted.values(), Decimal(0))
        for one in balances:
            holder = wanted.get(one.account.key[:2])
            if holder is not None and one.account.begins == begins[one.account.budget]:
                found[holder] = plain_dollars(one.spent)
        return found

    def set_spent(self, level: str, holder: str, budget: Budget, amount: Decimal) -> None:
        """Have so much spent of a budget's present period. Raises :class:`VendorUnavailable` while the database is away."""
        account = Account(_name(level, budget.period), holder, *self._period(budget.period, self._clock.now()))
        try:
            self._ask(lambda store: store.set_spent(account, picodollars_up(amount), PATIENCE))
        except BudgetStoreUnavailable:
            raise _unavailable() from None

    def prepare(self) -> None:
        """Make the tables, which may take longer than a call should wait. Raises :class:`VendorUnavailable`."""
        try:
            self._open_store().balances(["key/day"], _micros(self._clock.now()), _PREPARING)
        except BudgetStoreUnavailable:
            raise _unavailable() from None

    def now(self) -> datetime:
        """The time by which periods begin and end."""
        return self._clock.now()

    def close(self) -> None:
        """Write what waits, for at most two seconds, and close the connections; a later use opens new ones."""
        self._slices.close()
        with self._lock:
            ledger, store = self._ledger, self._store
            self._ledger = self._store = None
        if store is not None:
            store.close()
        if ledger is not None:
            ledger.close()

    def _ask(self, work: Callable[[DatabaseBudgetStore], _T]) -> _T:
        """The store's answer. Raises :class:`BudgetStoreUnavailable`, and that at once for a while after it did not answer."""
        with self._lock:
            now = self._clock.monotonic()
            if now < self._rests_until or self._is_resting():
                raise BudgetStoreUnavailable("its database did not answer a moment ago")
            if self._rests_until:
                self._rests_until = now + REST  # this one tries; the others do not wait with it
            answered = self._answered
        try:
            answer = work(self._open_store())
        except BudgetStoreUnavailable:
            if answered == self._answered:  # else it is slow, and answers others
                self._rests_until = self._clock.monotonic() + REST
            raise
        self._rests_until = 0.0
        self._answered += 1
        return answer

    def _claim(self, account: BudgetAccount, now: datetime) -> Claim:
        period = self._period(account.period, now)
        return Claim(Account(account.name, account.holder, *period), picodollars_up(account.limit))

    def _period(self, kind: str, now: datetime) -> tuple[int, int]:
        at, known = _micros(now), self._periods.get(kind)
        if known is None or at < known[0] or 0 < known[1] <= at:
            found = period_at(kind, _UTC, now)
            known = (_micros(found.begins), _micros(found.ends) if found.ends is not None else 0)
            self._periods[kind] = known
        return known

    def _note(self, claims: Sequence[Claim], balances: Sequence[AccountBalance]) -> None:
        """Remember what the accounts have left, which is what a grant is of."""
        limits = {claim.account.key: claim.limit for claim in claims}
        with self._lock:
            if len(self._seen) >= _MOST_SEEN:
                self._seen = {}
            for one in balances:
                self._seen[one.account.key] = _Seen(max(0, limits[one.account.key] - one.spent - one.reserved))

    def _grant(self, wanted: Booking) -> bool:
        """Take the money out of the local grants of all accounts, or of none."""
        with self._lock:
            seen = [self._seen.get(claim.account.key) for claim in wanted.claims]
            if not all(one is not None and one.granted + wanted.amount <= one.left * GRANT for one in seen):
                return False
            for one in seen:
                if one is not None:
                    one.granted += wanted.amount
            return True

    def _open_store(self) -> DatabaseBudgetStore:
        with self._lock:
            if self._store is None:
                self._ledger = Ledger(self._place)
                self._store = DatabaseBudgetStore(self._ledger)
            return self._store


def _name(level: str, period: str) -> str:
    return f"{level}/{period}"


NAMES = tuple([_name(level, period) for level in ("key", *LEVELS) for period in PERIODS])
"""The names of budgets in the database that are not of some models alone."""


def _names(request: Request, targets: Iterable[Target], *, asked: bool = True) -> list[str]:
    """The names by which the models of a call are known."""
    names = [name for one in targets for name in (one.model, str(one))]
    return [request.model, *names] if asked or not names else names


def _revoked(call: BudgetedCall) -> Callable[[sa.Connection], str | None]:
    """What tells, in the reservation's transaction, that the key or one of its owners has been taken away."""
    key = sa.select(_keys.c.id).where(_keys.c.id == call.priced.key, _keys.c.revoked_at.is_not(None))
    gone = sa.or_(_owners.c.removed_at.is_not(None), _owners.c.suspended.is_(True))
    query = key.union_all(sa.select(_owners.c.id).where(_owners.c.id.in_(call.owners), gone)) if call.owners else key
    return lambda connection: "key_revoked" if connection.execute(query).first() is not None else None


def _micros(moment: datetime) -> int:
    return int(moment.timestamp()) * 1_000_000


def _exceeded(account: BudgetAccount, balance: AccountBalance, needed: Decimal) -> KeyBudgetExceeded:
    """The refusal in words for the client, which knows nothing of targets and settings."""
    spent, reserved = plain_dollars(balance.spent), plain_dollars(balance.reserved)
    ends = balance.account.ends
    moment = datetime.fromtimestamp(ends / 1e6, _UTC) if ends else None
    when = f"; it begins anew at {moment:%Y-%m-%d %H:%M} UTC" if moment is not None else ""
    held = f", {_usd(reserved)} are reserved by calls under way" if reserved else ""
    text = (
        f"{account.whose} has spent {_usd(spent)} of its budget of {_usd(account.limit)}{held},"
        f" and this call may cost {_usd(needed)}{when}"
    )
    facts = {"limit": account.limit, "spent": spent, "reserved": reserved, "needed": needed, "ends": moment}
    error = KeyBudgetExceeded(text, code="budget_exceeded", sent=False, budget=account.name, **facts)  # type: ignore[arg-type]  # each has its own type
    error.then = account.then
    return error


def _unpriced(model: str) -> BudgetExceeded:
    text = f"no price of {model[:80]!r} is known, and this key has a budget"
    return BudgetExceeded(text, code="model_unpriced", sent=False)


def _usd(amount: Decimal | None) -> str:
    return f"${(amount or Decimal(0)).normalize():f}"


def _unavailable() -> VendorUnavailable:
    return VendorUnavailable("the database of the budgets cannot be asked; try again", code="budget_unavailable", sent=False)
