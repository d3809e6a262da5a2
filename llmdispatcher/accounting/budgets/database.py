"""Budgets that processes share, in the database of a ledger (SQLite or PostgreSQL), and the thread that talks to that database.

An account is a row with what is spent and what is reserved. Money is reserved by one UPDATE that succeeds only if there is room.
Each transaction locks all budgets from its beginning (SQLite: BEGIN IMMEDIATE; PostgreSQL: an advisory lock), so two transactions
that touch several accounts never deadlock. A reservation whose process has died counts as spent, in full, once it expires; if it is
settled later, the difference is corrected.

Each process has one thread (:class:`BudgetWorker`) that uses the database. It puts what many calls want at the same time into one
transaction. A call waits for a limited time. A settlement is retried until the database is back; a reservation that fails is
reported to the call, and one that succeeds after the call has given up is undone.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from sqlalchemy import Connection, bindparam, text
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from ..._text import room_logger
from ...errors import LedgerError
from ...runtime import new_lock
from ..ledger.connections import lock_key
from ..units import BUDGETS_LOCK, MOST_SUM
from .store import Account, AccountBalance, Booking, BudgetStoreUnavailable, Claim, Warned

if TYPE_CHECKING:
    from ..ledger.ledger import Ledger

T = TypeVar("T")
logger = room_logger("accounting")

PATIENCE = 5.0
"""Seconds after which a database that has answered before counts as unavailable; making its tables may take longer."""
RETRY_AFTER = 1.0
"""Seconds between two tries of a job that failed."""
MOST_WAITING = 10_000
"""Jobs that are kept while the database is unavailable; of more the oldest are given up, and their reservations expire."""
_BATCH = 64

Work = Callable[[Any], Any]
"""What is done with a connection, in a transaction that others share."""


@attrs.frozen(eq=False)
class Job:
    """Work for the database. ``undo`` takes it back if its caller has given up; a ``lasting`` job is tried until it succeeds.

    ``together`` does the jobs of one batch that have it, each with its ``wanted``, in fewer statements; it returns their results.
    """

    work: Work
    undo: Work | None = None
    lasting: bool = attrs.field(default=False, kw_only=True)
    together: Callable[[list[Any], Any], list[Any]] | None = attrs.field(default=None, kw_only=True)
    wanted: Any = attrs.field(default=None, kw_only=True)
    future: Future[Any] = attrs.field(factory=Future, init=False)
    """Done once the transaction is; cancelled by a caller that gives up."""


class BudgetWorker:
    """One thread that does jobs in transactions of ``writing``; it starts with the first job, and again after a fork."""

    def __init__(self, writing: Callable[[], AbstractContextManager[Any]], prepare: Callable[[], object]) -> None:
        self._writing = writing
        self._prepare = prepare
        self._prepared = False
        self._failure = ""
        self._lock = new_lock()
        self._reset()

    def _reset(self) -> None:
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._retries: deque[Job] = deque(maxlen=MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def run(self, job: Job, patience: float) -> Any:
        """Do a job and return its result.

        Raises :class:`BudgetStoreUnavailable` if that takes longer than ``patience``, or :data:`PATIENCE`, seconds.
        """
        if self._prepared:
            patience = min(patience, PATIENCE)
        if threading.current_thread() is self._thread:  # an observer that was told of a warning asks
            self._run_transaction([job])
        else:
            self.submit(job)
        try:
            return job.future.result(max(0.0, patience))
        except TimeoutError:
            if job.future.cancel():
                raise BudgetStoreUnavailable(f"its database does not answer within {patience:.1f} s") from None
            return job.future.result()  # it was done in this moment

    def submit(self, job: Job) -> None:
        """Queue a job. Raises :class:`BudgetStoreUnavailable` if no thread can be started for it, unless it is lasting."""
        with self._lock:
            if self._pid != os.getpid():
                self._reset()
            self._queue.put(job)
            if self._thread is None:
                try:
                    self._thread = self._start()
                except (RuntimeError, MemoryError):
                    if not job.lasting:
                        job.future.cancel()
                        raise BudgetStoreUnavailable("no thread can be started for it") from None

    def close(self, patience: float) -> None:
        """Do what waits, for at most ``patience`` seconds, and end the thread; it starts again with the next job."""
        with self._lock:
            thread = self._thread if self._pid == os.getpid() else None
            self._thread = None
            if thread is not None:
                self._queue.put(None)
        if thread is not None:
            thread.join(patience)

    def _start(self) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(self._queue,), name="llmdispatcher-budgets", daemon=True)
        thread.start()
        return thread

    def _run(self, jobs: queue.SimpleQueue[Job | None]) -> None:
        while True:
            try:
                first = jobs.get(timeout=RETRY_AFTER if self._retries else None)
            except queue.Empty:
                self._run_jobs([])
                continue
            batch, last = [first], first is None
            while not last and len(batch) < _BATCH and not jobs.empty():
                batch.append(jobs.get())
                last = batch[-1] is None
            self._run_jobs([job for job in batch if job is not None])
            if last:
                return

    def _run_jobs(self, batch: list[Job]) -> None:
        """Do a batch, and before it what could not be done before."""
        waiting = [self._retries.popleft() for _ in range(min(_BATCH, len(self._retries)))]
        batch = [*waiting, *[job for job in batch if not job.future.cancelled()]]
        if batch:
            self._run_transaction(batch)

    def _run_transaction(self, batch: Sequence[Job]) -> None:
        """Do jobs in one transaction; if the values of one of them are at fault, each in its own."""
        try:
            if not self._prepared:
                self._prepare()
                self._prepared = True
            with self._writing() as connection:
                results = _results(batch, connection)
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, and the thread must live on
            if not _is_value_error(error):
                self._note_failure(batch, error)
            elif len(batch) == 1:
                # given up, so that it stops nobody else; its reservation will count when it expires
                logger.error("budgets: their database refuses a job (%s), which is given up", _error_text(error))
                _fail(batch[0], error)
            else:
                for job in batch:
                    self._run_transaction([job])
            return
        if self._failure:
            self._failure = ""
            logger.warning("budgets: their database can be used again")
        for job, result in zip(batch, results, strict=True):
            try:
                job.future.set_result(result)
            except InvalidStateError:  # its caller has given up
                if job.undo is not None:
                    self._retries.append(Job(job.undo, lasting=True))

    def _note_failure(self, batch: Sequence[Job], error: Exception) -> None:
        why = _error_text(error)
        if why != self._failure:
            self._failure = why
            logger.warning("budgets: their database cannot be used (%s)", why)
        for job in batch:
            if not job.lasting:
                _fail(job, error)
                continue
            if len(self._retries) == MOST_WAITING:
                logger.error("budgets: too many settlements wait; the oldest is given up, and will count at its bound")
            self._retries.append(job)


def _results(batch: Sequence[Job], connection: Any) -> list[Any]:
    """What the jobs of a batch return; jobs that can be done together are done when the first of them is due."""
    results: dict[int, Any] = {}
    for number, job in enumerate(batch):
        if number in results:
            continue
        same = [other for other in range(number, len(batch)) if job.together is not None and batch[other].together == job.together]
        if job.together is None or len(same) == 1:
            results[number] = job.work(connection)
        else:
            results.update(zip(same, job.together([batch[other].wanted for other in same], connection), strict=True))
    return [results[number] for number in range(len(batch))]


def _fail(job: Job, error: Exception) -> None:
    unavailable = BudgetStoreUnavailable(f"its database cannot be used ({_error_text(error)})")
    cause = error if isinstance(error, LedgerError) else getattr(error, "orig", None) or error
    unavailable.__cause__ = cause.with_traceback(None)  # whose frames hold the connection's settings
    with contextlib.suppress(InvalidStateError):  # its caller has given up
        job.future.set_exception(unavailable)


def _is_value_error(error: Exception) -> bool:
    """Whether the values are at fault, not the database."""
    foreign = isinstance(error, StatementError) and not isinstance(error, DBAPIError)
    return foreign or isinstance(error, DataError | IntegrityError | OverflowError | ValueError | TypeError)


def _error_text(error: Exception) -> str:
    """The class of an error, or the text of a :class:`LedgerError`; the text of a driver's may hold what was to be written."""
    return str(error) if isinstance(error, LedgerError) else type(getattr(error, "orig", None) or error).__name__


SWEEP = 60_000_000
"""Microseconds between two searches for expired reservations."""
KEPT = 400 * 86_400_000_000
"""Microseconds for which the accounts of past periods are kept."""
_SLID_KEPT = 86_400_000_000
"""Microseconds for which accounts are kept that a sliding period has left; there are many of them."""
_CLOSING = 2.0

_WHERE = "name = :name AND share = :share AND begins = :begins"
_OPEN_ACCOUNT = text(
    "INSERT INTO llmdispatcher_budgets (name, share, begins, ends, spent, reserved) VALUES (:name, :share, :begins, :ends, 0, 0)"
    " ON CONFLICT DO NOTHING"
)
# Sums are made in NUMERIC: an account that is full must refuse, and not overflow.
_RESERVE = text(
    f"UPDATE llmdispatcher_budgets SET reserved = reserved + :amount WHERE {_WHERE}"  # noqa: S608 - constants of ours
    " AND CAST(spent AS NUMERIC) + reserved + :amount <= :most RETURNING spent, reserved"
)
_UPDATE_ACCOUNT = text(
    f"UPDATE llmdispatcher_budgets SET spent = CASE WHEN CAST(spent AS NUMERIC) + :spent > {MOST_SUM} THEN {MOST_SUM}"  # noqa: S608 - as above
    f" ELSE spent + :spent END, reserved = reserved - :amount WHERE {_WHERE}"
)
_SET_SPENT = text(f"UPDATE llmdispatcher_budgets SET spent = :spent WHERE {_WHERE}")  # noqa: S608 - as above
_SELECT_BALANCE = text(f"SELECT spent, reserved FROM llmdispatcher_budgets WHERE {_WHERE}")  # noqa: S608 - as above
_INSERT_RESERVATION = text(
    "INSERT INTO llmdispatcher_reservations (id, name, share, begins, amount, expires_at, expired)"
    " VALUES (:id, :name, :share, :begins, :amount, :until, :no)"
)
_DELETE_RESERVATION = text(f"DELETE FROM llmdispatcher_reservations WHERE id = :id AND {_WHERE} RETURNING amount, expired")  # noqa: S608 - as above
_SELECT_RESERVATION = text("SELECT amount FROM llmdispatcher_reservations WHERE id = :id")
_DELETE_RESERVATIONS = text(
    "DELETE FROM llmdispatcher_reservations WHERE id IN :ids RETURNING id, name, share, begins, amount, expired"
).bindparams(bindparam("ids", expanding=True))
_EXPIRE = text(
    "UPDATE llmdispatcher_reservations SET expired = :yes WHERE expired = :no AND expires_at < :now"
    " RETURNING name, share, begins, amount"
)
_DELETE_PAST = (
    text("DELETE FROM llmdispatcher_budgets WHERE ends > 0 AND ends < :old AND reserved = 0"),
    text("DELETE FROM llmdispatcher_reservations WHERE expired = :yes AND expires_at < :old"),
)
_SELECT_SLIDING = text(
    "SELECT begins, ends, spent, reserved, warned FROM llmdispatcher_budgets"
    " WHERE name = :name AND share = :share AND ends > :since"
)
_DELETE_SLID = text(
    "DELETE FROM llmdispatcher_budgets WHERE name = :name AND share = :share AND ends > 0 AND ends < :old AND reserved = 0"
)
_RESERVE_SLIDING = text(
    "UPDATE llmdispatcher_budgets SET reserved = reserved + :amount,"  # noqa: S608 - as above
    f" ends = CASE WHEN ends < :ends THEN :ends ELSE ends END WHERE {_WHERE}"
)
_SELECT_WARNED = text(f"SELECT begins, ends, spent, reserved, warned FROM llmdispatcher_budgets WHERE {_WHERE}")  # noqa: S608 - as above
_SET_WARNED = text(f"UPDATE llmdispatcher_budgets SET warned = :yes WHERE {_WHERE}")  # noqa: S608 - as above
_OF_RESET = "name = :name AND (:any = 1 OR share = :share)"
_FORGET_EXPIRED = text(f"DELETE FROM llmdispatcher_reservations WHERE expired = :yes AND {_OF_RESET}")  # noqa: S608 - as above
_RUNNING = f"{_OF_RESET} AND (ends = 0 OR ends > :now)"
_RESET = text(f"UPDATE llmdispatcher_budgets SET spent = 0, warned = :no WHERE {_RUNNING}")  # noqa: S608 - as above
_COUNT_SHARES = text(f"SELECT count(DISTINCT share) FROM llmdispatcher_budgets WHERE {_RUNNING}")  # noqa: S608 - as above
_SELECT_RUNNING = text(
    "SELECT name, share, begins, ends, spent, reserved FROM llmdispatcher_budgets"
    " WHERE name IN :names AND (ends = 0 OR ends > :now)"
).bindparams(bindparam("names", expanding=True))


SHARE = 100
"""An exchange reserves at most one in so many picodollars of what the accounts have left."""


@attrs.frozen(kw_only=True)
class BookingExchange:
    """A reservation, and the one that follows it.

    ``spent`` is what calls have cost meanwhile. The amount of ``following`` is reserved in any case, ``more`` as far as it is at
    most a hundredth of what is left, and ``refuses`` returns nothing.
    """

    held: Booking
    following: Booking
    spent: int
    more: int
    refuses: Callable[[Connection], object | None]


class DatabaseBudgetStore:
    """Accounts and reservations of all processes that use one database; a ``BudgetStore``.

    Safe under threads and after a fork. Settlements that wait when the interpreter ends are written then, if possible.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._worker = BudgetWorker(partial(_locked, ledger), ledger.migrate)
        self._swept_at = 0
        self.on_warning: Warned | None = None
        weakref.finalize(self, self._worker.close, _CLOSING)

    def reserve(self, wanted: Booking, now: int, patience: float) -> AccountBalance | None:
        """Take the money, or return the account that has too little."""
        found = self.reserve_unless(None, wanted, now, patience)
        return found if isinstance(found, AccountBalance) else None

    def reserve_unless(
        self, refuses: Callable[[Connection], T | None] | None, wanted: Booking, now: int, patience: float
    ) -> T | AccountBalance | list[AccountBalance]:
        """Take the money and return what the accounts hold then; or the account that has too little, or what ``refuses`` returns.

        ``refuses`` reads in the same transaction; where it returns anything nothing is taken. It raises nothing but what the
        database does. Raises :class:`BudgetStoreUnavailable`.
        """
        undo = partial(_settle, wanted, 0, True)
        job = Job(partial(self._reserve, refuses, wanted, now), undo, together=self._reserve_many, wanted=(refuses, wanted, now))
        found: T | AccountBalance | list[AccountBalance] = self._worker.run(job, patience)
        return found

    def set_spent(self, account: Account, spent: int, patience: float) -> None:
        """Have so much spent in an account; what is reserved stays. Raises :class:`BudgetStoreUnavailable`."""
        self._worker.run(Job(partial(_set_spent, account, spent)), patience)

    def settle(self, held: Booking, spent: int, *, booked: bool = True) -> None:
        """Replace a reservation by what was spent, soon."""
        job = Job(partial(_settle, held, spent, booked), lasting=True, together=_settle_many, wanted=(held, spent, booked))
        if self.on_warning is not None:
            job.future.add_done_callback(self._tell)
        self._worker.submit(job)

    def _tell(self, settled: Future[Any]) -> None:
        """Report the warnings of a settlement, when its transaction is done."""
        if not settled.cancelled() and settled.exception() is None and self.on_warning is not None:
            for claim, balance in settled.result():
                self.on_warning(claim, balance)

    def exchange(self, wanted: BookingExchange) -> Future[tuple[int, list[AccountBalance]]]:
        """Replace one reservation by another, soon; what is reserved then, and what the accounts hold."""
        job = Job(partial(_exchange, wanted), lasting=True)
        self._worker.submit(job)
        return job.future

    def reset(self, budget: str, share: str | None, now: int, patience: float) -> int:
        """Have nothing spent in the running accounts of a budget."""
        done: int = self._worker.run(Job(partial(_reset, budget, share, now)), patience)
        return done

    def balances(self, budgets: Sequence[str], now: int, patience: float) -> list[AccountBalance]:
        """Return the accounts of these budgets whose period has not ended."""
        found: list[AccountBalance] = self._worker.run(Job(partial(self._balances, list(budgets), now)), patience)
        return found

    def close(self) -> None:
        """Write waiting settlements, for at most two seconds; the connections belong to the ledger."""
        self._worker.close(_CLOSING)

    def _reserve(
        self, refuses: Callable[[Connection], T | None] | None, wanted: Booking, now: int, connection: Connection
    ) -> T | AccountBalance | list[AccountBalance]:
        if refuses is not None and (refusal := refuses(connection)) is not None:
            return refusal
        if now - self._swept_at >= SWEEP:
            self._sweep(now, connection)
        taken: list[Claim] = []
        held: list[AccountBalance] = []
        for claim in wanted.claims:
            short = (
                _take_sliding(claim, wanted.amount, now, connection)
                if claim.since
                else _take(claim, wanted.amount, connection, held)
            )
            if short is not None:
                for other in taken:
                    connection.execute(_UPDATE_ACCOUNT, {**_key_of(other.account), "spent": 0, "amount": wanted.amount})
                return short
            taken.append(claim)
        for claim in taken:
            row = {"id": wanted.id, "amount": wanted.amount, "until": wanted.until, "no": False}
            connection.execute(_INSERT_RESERVATION, {**_key_of(claim.account), **row})
        return held

    def _reserve_many(self, wanted: list[tuple[Any, Booking, int]], connection: Connection) -> list[Any]:
        """Reserve for several: those of the same accounts take their sum at once, and one by one where there is no room for it."""
        results: list[Any] = [None if refuses is None else refuses(connection) for refuses, _, _ in wanted]
        alike: dict[tuple[Claim, ...], list[int]] = {}
        for number, (_, booking, _) in enumerate(wanted):
            if results[number] is None:
                alike.setdefault(booking.claims, []).append(number)
        for claims, numbers in alike.items():
            several = [wanted[number][1:] for number in numbers]
            held = self._reserve_sum(claims, several, connection) if len(several) > 1 else None
            for number, (booking, now) in zip(numbers, several, strict=True):
                results[number] = held if held is not None else self._reserve(None, booking, now, connection)
        return results

    def _reserve_sum(
        self, claims: tuple[Claim, ...], wanted: list[tuple[Booking, int]], connection: Connection
    ) -> list[AccountBalance] | None:
        """Take what several bookings want of the same accounts; take nothing and return ``None`` if there is no room for all."""
        if any(claim.since for claim in claims):
            return None
        now, amount = max([at for _, at in wanted]), sum([booking.amount for booking, _ in wanted])
        if now - self._swept_at >= SWEEP:
            self._sweep(now, connection)
        held: list[AccountBalance] = []
        for number, claim in enumerate(claims):
            if _take(claim, amount, connection, held) is not None:
                for other in claims[:number]:
                    connection.execute(_UPDATE_ACCOUNT, {**_key_of(other.account), "spent": 0, "amount": amount})
                return None
        rows = [
            {**_key_of(claim.account), "id": booking.id, "amount": booking.amount, "until": booking.until, "no": False}
            for booking, _ in wanted
            for claim in claims
        ]
        if rows:
            connection.execute(_INSERT_RESERVATION, rows)
        return held

    def _balances(self, budgets: list[str], now: int, connection: Connection) -> list[AccountBalance]:
        self._sweep(now, connection)
        rows = connection.execute(_SELECT_RUNNING, {"names": budgets, "now": now}).all()
        return [AccountBalance(Account(name, share, begins, ends), spent, held) for name, share, begins, ends, spent, held in rows]

    def _sweep(self, now: int, connection: Connection) -> None:
        """Count expired reservations as spent, and delete what is long past."""
        self._swept_at = now
        for name, share, begins, amount in connection.execute(_EXPIRE, {"yes": True, "no": False, "now": now}).all():
            connection.execute(_UPDATE_ACCOUNT, {"name": name, "share": share, "begins": begins, "spent": amount, "amount": amount})
        connection.execute(_DELETE_PAST[0], {"old": now - KEPT})
        connection.execute(_DELETE_PAST[1], {"old": now - KEPT, "yes": True})


@contextlib.contextmanager
def _locked(ledger: Ledger) -> Iterator[Connection]:
    """A transaction that no other process's overlaps; all jobs in it have one lock."""
    with ledger.transaction() as connection:
        lock_key(connection, BUDGETS_LOCK)
        yield connection


def _key_of(account: Account) -> dict[str, Any]:
    return {"name": account.budget, "share": account.share, "begins": account.begins}


def _take(claim: Claim, amount: int, connection: Connection, held: list[AccountBalance]) -> AccountBalance | None:
    """Reserve if there is room, and open an account that is not there; return what the account holds where there is none.

    What it holds with the reservation goes to ``held``.
    """
    wanted = {**_key_of(claim.account), "amount": amount, "most": claim.limit}
    row = connection.execute(_RESERVE, wanted).one_or_none()
    if row is None and connection.execute(_OPEN_ACCOUNT, {**_key_of(claim.account), "ends": claim.account.ends}).rowcount > 0:
        row = connection.execute(_RESERVE, wanted).one_or_none()
    if row is not None:
        held.append(AccountBalance(claim.account, *row))
        return None
    found = connection.execute(_SELECT_BALANCE, _key_of(claim.account)).one_or_none()
    return AccountBalance(claim.account, *(found or (0, 0)))


def _take_sliding(claim: Claim, amount: int, now: int, connection: Connection) -> AccountBalance | None:
    """Reserve in a sliding period, whose accounts are added up; the lock keeps others from adding to them meanwhile."""
    key = _key_of(claim.account)
    rows = connection.execute(_SELECT_SLIDING, {"name": key["name"], "share": key["share"], "since": claim.since}).all()
    whole = AccountBalance.join(claim, [(ends, spent, held) for _, ends, spent, held, _ in rows], amount)
    if whole.spent + whole.reserved + amount > claim.limit:
        return whole
    if key["begins"] not in [row[0] for row in rows]:
        connection.execute(_OPEN_ACCOUNT, {**key, "ends": claim.account.ends})
        connection.execute(_DELETE_SLID, {"name": key["name"], "share": key["share"], "old": now - _SLID_KEPT})
    connection.execute(_RESERVE_SLIDING, {**key, "ends": claim.account.ends, "amount": amount})
    return None


def _due(claim: Claim, connection: Connection) -> AccountBalance | None:
    """What is spent, if that asks for a warning which no process has given in this period; it counts as given from now on."""
    key = _key_of(claim.account)
    query, facts = (_SELECT_SLIDING, {**key, "since": claim.since}) if claim.since else (_SELECT_WARNED, key)
    facts = {name: value for name, value in facts.items() if name != "begins" or not claim.since}
    rows = connection.execute(query, facts).all()
    if any(row[4] for row in rows):
        return None
    balance = AccountBalance.join(claim, [(ends, spent, held) for _, ends, spent, held, _ in rows])
    if balance.spent < claim.warn:
        return None
    connection.execute(_SET_WARNED, {**key, "yes": True})
    return balance


def _reset(budget: str, share: str | None, now: int, connection: Connection) -> int:
    """Have nothing spent in the running accounts; what had expired is forgotten, so that a late settlement changes nothing."""
    facts = {"name": budget, "share": share or "", "any": int(share is None)}
    connection.execute(_FORGET_EXPIRED, {**facts, "yes": True})
    connection.execute(_RESET, {**facts, "now": now, "no": False})
    return int(connection.execute(_COUNT_SHARES, {**facts, "now": now}).scalar_one())


def _settle_many(settled: list[tuple[Booking, int, bool]], connection: Connection) -> list[list[tuple[Claim, AccountBalance]]]:
    """Settle several as :func:`_settle` does one: their reservations are deleted at once, and each account is changed once."""
    rows = connection.execute(_DELETE_RESERVATIONS, {"ids": [held.id for held, _, _ in settled]}).all()
    found = {(name, share, begins, own): (amount, expired) for own, name, share, begins, amount, expired in rows}
    changes: dict[tuple[str, str, int], list[int]] = {}
    for held, spent, booked in settled:
        for claim in held.claims:
            before, expired = found.pop((*claim.account.key, held.id), (None, False))
            if before is None and booked:
                continue
            if before is None:
                connection.execute(_OPEN_ACCOUNT, {**_key_of(claim.account), "ends": claim.account.ends})
            change = changes.setdefault(claim.account.key, [0, 0])
            change[0] += spent - before if expired and before is not None else spent
            change[1] += before if not expired and before is not None else 0
    for (name, share, begins), (spent, amount) in changes.items():
        connection.execute(_UPDATE_ACCOUNT, {"name": name, "share": share, "begins": begins, "spent": spent, "amount": amount})
    return [_all_due(held, connection) for held, _, _ in settled]


def _exchange(wanted: BookingExchange, connection: Connection) -> tuple[int, list[AccountBalance]]:
    """BookingExchange reservations; a second try of one that was done, though nobody heard of it, changes nothing."""
    claims, after = wanted.following.claims, wanted.following
    known = connection.execute(_SELECT_RESERVATION, {"id": after.id}).first()
    if known is not None:
        return known[0], []
    balances, more = [], wanted.more if wanted.refuses(connection) is None else 0
    for claim in claims:
        names = _key_of(claim.account)
        row = (
            connection.execute(_DELETE_RESERVATION, {"id": wanted.held.id, **names}).one_or_none()
            if wanted.held.amount
            else (0, False)
        )
        if row is None:
            return 0, []
        before, expired = row
        change = (wanted.spent - before, 0) if expired else (wanted.spent, before)
        connection.execute(_UPDATE_ACCOUNT, {**names, "spent": change[0], "amount": change[1] - after.amount})
        balances.append(AccountBalance(claim.account, *(connection.execute(_SELECT_BALANCE, names).one_or_none() or (0, 0))))
        more = max(0, min(more, (claim.limit - balances[-1].spent - balances[-1].reserved) // SHARE))
    for claim in claims if after.amount + more else ():
        names = _key_of(claim.account)
        new = {**names, "id": after.id, "amount": after.amount + more, "until": after.until, "no": False}
        connection.execute(_UPDATE_ACCOUNT, {**names, "spent": 0, "amount": -more})
        connection.execute(_INSERT_RESERVATION, new)
    return after.amount + more, balances


def _set_spent(account: Account, spent: int, connection: Connection) -> None:
    connection.execute(_OPEN_ACCOUNT, {**_key_of(account), "ends": account.ends})
    connection.execute(_SET_SPENT, {**_key_of(account), "spent": spent})


def _settle(held: Booking, spent: int, booked: bool, connection: Connection) -> list[tuple[Claim, AccountBalance]]:
    """Settle each claim that is still held; an expired one counts as spent already. Return the warnings that are due."""
    for claim in held.claims:
        names = _key_of(claim.account)
        row = connection.execute(_DELETE_RESERVATION, {"id": held.id, **names}).one_or_none()
        if row is not None:
            before, expired = row
            connection.execute(
                _UPDATE_ACCOUNT, {**names, "spent": spent - before if expired else spent, "amount": 0 if expired else before}
            )
        elif not booked:
            connection.execute(_OPEN_ACCOUNT, {**names, "ends": claim.account.ends})
            connection.execute(_UPDATE_ACCOUNT, {**names, "spent": spent, "amount": 0})
    return _all_due(held, connection)


def _all_due(held: Booking, connection: Connection) -> list[tuple[Claim, AccountBalance]]:
    """The warnings that are due after a settlement."""
    return [(claim, balance) for claim in held.claims if claim.warn and (balance := _due(claim, connection)) is not None]
