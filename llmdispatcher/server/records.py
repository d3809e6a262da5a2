"""Records of requests: a row for each, in the keys' database, written behind the answers.

```
put ── queue ── thread ──► database           a batch every tenth of a second; a row that is written twice is kept once
         │         └────► spool on disk       while the database is away; emptied when it is back
         └──────────────► spool               by the calling thread, when the queue is full
```

A row has facts alone: who asked, what was decided, what it cost; of what was said it has nothing. It is kept for some days. A
killed process loses the rows of the last tenth of a second. The ledger has the calls of a dispatcher, and may be in another
database; it knows nothing of requests that were refused, of their keys and sessions, or of why a target was asked.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import attrs
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from .._text import room_logger
from ..accounting import Spool
from ..errors import VendorUnavailable
from ..runtime import SYSTEM_CLOCK, Clock, TimedCalls, new_id, new_lock, state_folder
from .key_database import make_engine

logger = room_logger("server")

LINGER = 0.1
"""Seconds that rows gather before they are written together."""
MOST_BATCH, MOST_QUEUE = 2000, 20_000
MOST_SPOOL = 256 << 20
DAYS = 30
"""Days for which a row is kept."""
_PRUNE_EVERY = 3600.0
_PRUNED_AT_ONCE = 5000
_RETRY = (0.2, 5.0)
"""Seconds until a database that is away is asked again: at first, and at most."""
MOST_GROUPS = 1000
"""Groups of a sum by something; the rest is told together."""
_PATIENCE = 5.0
"""Seconds that a database may take for a query, or for a batch of rows until further ones go to the disk."""
_MOST_QUERIES = 4
_MOST_PROCESSES = 8
T = TypeVar("T")

_metadata = sa.MetaData()
_requests = sa.Table(
    "llmdispatcher_requests",
    _metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("organization", sa.String(255), nullable=False),
    sa.Column("key_id", sa.String(64)),
    sa.Column("session", sa.String(255)),
    sa.Column("begun_us", sa.BigInteger, nullable=False),
    sa.Column("took_us", sa.BigInteger, nullable=False),
    sa.Column("first_output_us", sa.BigInteger),
    sa.Column("face", sa.String(32), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("error", sa.String(64)),
    sa.Column("code", sa.String(64)),
    sa.Column("asked_model", sa.String(255)),
    sa.Column("vendor", sa.String(255)),
    sa.Column("model", sa.String(255)),
    sa.Column("streamed", sa.Boolean, nullable=False),
    sa.Column("cached", sa.Boolean, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("input_tokens", sa.BigInteger),
    sa.Column("output_tokens", sa.BigInteger),
    sa.Column("cache_read_tokens", sa.BigInteger),
    sa.Column("cache_write_tokens", sa.BigInteger),
    sa.Column("cost_pico", sa.BigInteger),
    sa.Column("saved_pico", sa.BigInteger),
    sa.Column("call_id", sa.String(64)),
    sa.Column("client_request_id", sa.String(128)),
    sa.Column("decision", sa.Text),
    sa.Index("ix_llmdispatcher_requests_time", "organization", "begun_us"),
    sa.Index("ix_llmdispatcher_requests_session", "organization", "session"),
    sa.Index("ix_llmdispatcher_requests_begun", "begun_us"),
)
COLUMNS = tuple([column.name for column in _requests.columns])
"""The columns of a row, in their order."""
_audit = sa.Table(
    "llmdispatcher_looks",
    _metadata,
    sa.Column("id", sa.String(40), primary_key=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("key_id", sa.String(64), nullable=False),
    sa.Column("address", sa.String(64)),
    sa.Column("request_id", sa.String(40), nullable=False),
    sa.Column("organization", sa.String(255), nullable=False),
    sa.Column("object", sa.String(255), nullable=False),
)
"""Whenever an operator looks at another organization's records: whose key, from where, at what."""
Row = tuple[Any, ...]
RowMaker = Callable[[], Row]
"""Makes a row; in the writer's thread, so that it costs the caller nothing."""
_SUMS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cost_pico", "saved_pico")
_GROUPS = {
    "model": _requests.c.model,
    "vendor": _requests.c.vendor,
    "key": _requests.c.key_id,
    "session": _requests.c.session,
    "face": _requests.c.face,
    "status": _requests.c.status,
    "day": _requests.c.begun_us // 86_400_000_000,
}
GROUPS = tuple(_GROUPS)
"""What figures may be told by."""


@attrs.frozen(kw_only=True)
class RecordStats:
    """What became of the rows of this process: ``queued`` are on their way, ``spooled`` went to the disk first.

    ``dropped`` are lost, since the database was away and the spool full, or since no database takes them. ``away`` is whether the
    database is away now.
    """

    queued: int = 0
    written: int = 0
    spooled: int = 0
    dropped: int = 0
    away: bool = False


@attrs.frozen(kw_only=True)
class Looking:
    """An operator who looks at another organization's records, for the audit: the key, its address, and the request."""

    key_id: str
    address: str
    request_id: str


@attrs.frozen(kw_only=True)
class RecordSpan:
    """Which rows count: of an organization, and there of a session, a key, or a time. ``end`` is not in it."""

    organization: str
    session: str | None = None
    key_id: str | None = None
    vendor: str | None = None
    start: datetime | None = None
    end: datetime | None = None

    def conditions(self) -> list[Any]:
        """The conditions of a query."""
        table = _requests.c
        named = {name: getattr(self, name) for name in ("session", "key_id", "vendor")}
        found = [table.organization == self.organization]
        found += [table[name] == value for name, value in named.items() if value is not None]
        found += [table.begun_us >= micros(self.start)] if self.start is not None else []
        found += [table.begun_us < micros(self.end)] if self.end is not None else []
        return found


def micros(moment: datetime) -> int:
    """Microseconds since the epoch."""
    return int(moment.timestamp() * 1_000_000)


class RequestRecords:
    """The records of one database; safe under threads and after a fork. Nothing is opened before the first row or query.

    ``spool`` is the folder for rows that wait. Queries raise :class:`VendorUnavailable` while the database is away; :meth:`put`
    never raises, and never waits for it.
    """

    def __init__(self, url: sa.URL, *, clock: Clock = SYSTEM_CLOCK, days: int = DAYS, spool: Path | None = None) -> None:
        self._url, self._clock, self.days = url, clock, days
        self._folder = spool or _spool_folder(url)
        self._lock = new_lock()
        self._begin()
        _open.add(self)

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._engine: sa.Engine | None = None
        self._spool = Spool(self._folder, MOST_SPOOL, COLUMNS)
        self._queue: deque[RowMaker] = deque()
        self._in_hand: Sequence[Row] = ()
        self._wake, self._idle = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._counts = {"written": 0, "spooled": 0, "dropped": 0}
        self._away = False
        self._retry_at, self._pause, self._prune_at = 0.0, _RETRY[0], 0.0
        self._working_since: float | None = None
        self._queries = TimedCalls(_MOST_QUERIES)

    def put(self, make: RowMaker) -> None:
        """Write a row soon."""
        self._here()
        if len(self._queue) >= MOST_QUEUE or self._hangs():
            self._to_spool(self._made([make]))
            return
        self._queue.append(make)
        self._idle.clear()
        self._wake.set()
        if self._thread is None:
            self._start()

    def _hangs(self) -> bool:
        """Whether the database has taken nothing for so long that what waits is safer on the disk."""
        since = self._working_since
        return since is not None and self._clock.monotonic() - since > _PATIENCE

    def flush(self, seconds: float) -> bool:
        """Whether all rows so far are in the database, or on the disk where it is away, within so many seconds."""
        self._here()
        if self._thread is None and not self._queue:
            return True
        self._wake.set()
        return self._idle.wait(seconds)

    def stats(self) -> RecordStats:
        """The counts of this process."""
        return RecordStats(queued=len(self._queue) + len(self._in_hand), away=self._away, **self._counts)

    def find(self, request_id: str, organization: str | None) -> dict[str, Any] | None:
        """The row of a request, of one organization or (``None``) of any."""
        query = sa.select(_requests).where(_requests.c.id == request_id)
        if organization is not None:
            query = query.where(_requests.c.organization == organization)
        row = self._ask(lambda connection: connection.execute(query).mappings().first())
        return dict(row) if row is not None else None

    def figures(self, span: RecordSpan, by: str | None = None) -> list[dict[str, Any]]:
        """The sums of a span, in all, or by one of :data:`GROUPS`; the dearest groups first, all others as ``None`` last."""
        column = _GROUPS[by] if by is not None else None
        query = sa.select(*_figures(column)).where(*span.conditions())
        if column is not None:
            query = query.group_by(column).order_by(sa.desc("cost_pico"), sa.desc("requests")).limit(MOST_GROUPS + 1)
        in_all = sa.select(*_figures(None)).where(*span.conditions())

        def ask(connection: sa.Connection) -> list[dict[str, Any]]:
            rows = [dict(row) for row in connection.execute(query).mappings()]
            if len(rows) > MOST_GROUPS:
                whole = dict(connection.execute(in_all).mappings().one())
                rows = [*rows[:MOST_GROUPS], _rest(whole, rows[:MOST_GROUPS])]
            return rows

        return self._ask(ask)

    def looked(self, looking: Looking, organization: str, what: str) -> None:
        """Write down that an operator looks at another organization's records, before anything is shown."""
        row = {"id": new_id(self._clock), "at": self._clock.now(), **attrs.asdict(looking)}
        insert = _audit.insert().values(organization=organization, object=what[:255], **row)

        def write(connection: sa.Connection) -> None:
            connection.execute(insert)
            connection.commit()

        self._ask(write)

    def looks(self) -> list[dict[str, Any]]:
        """All that operators have looked at, the newest first."""
        query = sa.select(_audit).order_by(_audit.c.at.desc())
        return self._ask(lambda connection: [dict(row) for row in connection.execute(query).mappings()])

    def close(self, seconds: float = 3.0) -> None:
        """Write what waits, for at most so many seconds, and spool the rest; a later use begins anew."""
        self._here()
        flushed = self.flush(seconds)
        self._stopping = True
        self._wake.set()
        thread = self._thread
        if thread is not None:
            thread.join(10.0 if flushed and not self._away else 0.5)  # one that hangs closes its connections when it ends
        self._to_spool([*self._in_hand, *self._take(MOST_QUEUE)])
        self._spool.close()
        with self._lock:
            engine = self._engine
            if thread is None or not thread.is_alive():
                self._begin()
        if engine is not None and self._thread is None:
            engine.dispose()

    # The thread

    def _here(self) -> None:
        """Begin anew in a forked child: the rows that wait are the parent's."""
        if self._pid != os.getpid():
            self._spool.forget()
            self._begin()

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="llmdispatcher-records", daemon=True)
            try:
                thread.start()
            except (RuntimeError, MemoryError):  # no more threads, or the interpreter is ending
                self._to_spool(self._take(MOST_QUEUE))
                return
            self._thread = thread

    def _run(self) -> None:
        try:
            self._write_until_stopped()
        finally:
            engine = self._engine
            if engine is not None:
                engine.dispose()

    def _write_until_stopped(self) -> None:
        pause = threading.Event()
        while not self._stopping:
            self._wake.wait(self._retry() if self._away else None)
            self._wake.clear()
            if not self._stopping:
                pause.wait(LINGER)
            while True:
                self._in_hand = self._take(MOST_BATCH)
                self._working_since = self._clock.monotonic()
                try:
                    self._work(self._in_hand)
                except Exception:
                    logger.exception("the thread that writes the records of requests has failed; its rows are lost")
                    self._counts["dropped"] += len(self._in_hand)
                self._in_hand, self._working_since = (), None
                if not self._queue:
                    break
            self._idle.set()
            if self._queue:  # it came between the two
                self._idle.clear()

    def _retry(self) -> float:
        return max(0.01, self._retry_at - self._clock.monotonic())

    def _take(self, most: int) -> list[Row]:
        makers: list[RowMaker] = []
        with contextlib.suppress(IndexError):
            while len(makers) < most:
                makers.append(self._queue.popleft())
        return self._made(makers)

    def _made(self, makers: Sequence[RowMaker]) -> list[Row]:
        rows = []
        for make in makers:
            try:
                rows.append(make())
            except Exception as error:  # noqa: BLE001 - it must not cost the others their rows
                logger.error("the record of a request cannot be made: %s", type(error).__name__)
                self._counts["dropped"] += 1
        return rows

    def _work(self, rows: Sequence[Row]) -> None:
        """Write a batch and what waits on the disk; spool the batch while the database is away."""
        if self._away and self._clock.monotonic() < self._retry_at:
            self._to_spool(rows)
            return
        try:
            self._write(rows)
            if self._spool.waits():
                self._spool.empty(lambda found, _writer: self._write(found[0]))
            self._prune()
        except SQLAlchemyError as error:
            self._lost(rows, error)
            return
        except OSError as error:
            logger.error("the spool of records cannot be read: %s", type(error).__name__)
        if self._away:
            logger.warning("the database of the records of requests is back")
        self._away, self._pause = False, _RETRY[0]

    def _lost(self, rows: Sequence[Row], error: SQLAlchemyError) -> None:
        if not self._away:
            logger.error("the database of the records of requests is away (%s); rows wait on the disk", type(error).__name__)
        self._away = True
        self._retry_at = self._clock.monotonic() + self._pause
        self._pause = min(_RETRY[1], self._pause * 2)
        self._to_spool(rows)

    def _to_spool(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        try:
            self._spool.append(rows, (), "records")
            self._counts["spooled"] += len(rows)
        except OSError as error:
            if not self._counts["dropped"]:
                logger.critical("records of requests are lost: their spool fails (%s)", type(error).__name__)
            self._counts["dropped"] += len(rows)

    def _write(self, rows: Sequence[Row]) -> None:
        """Insert rows, but for those that are there; one that the database never takes is dropped, and counted."""
        if not rows:
            return
        values = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        try:
            self._insert(values)
        except sa.exc.DataError:
            for one in values:
                try:
                    self._insert([one])
                except sa.exc.DataError:
                    self._counts["dropped"] += 1
                    self._counts["written"] -= 1
        self._counts["written"] += len(rows)

    def _insert(self, values: Sequence[dict[str, Any]]) -> None:
        with self._ready().begin() as connection:
            dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
            connection.execute(dialect.insert(_requests).on_conflict_do_nothing(index_elements=["id"]), values)

    def _prune(self) -> None:
        """Delete what is too old, once an hour, in small steps."""
        now = self._clock.monotonic()
        if now < self._prune_at:
            return
        self._prune_at = now + _PRUNE_EVERY
        before = micros(self._clock.now() - timedelta(days=self.days))
        old = sa.select(_requests.c.id).where(_requests.c.begun_us < before).limit(_PRUNED_AT_ONCE)
        deleted = _PRUNED_AT_ONCE
        while deleted >= _PRUNED_AT_ONCE:
            with self._ready().begin() as connection:
                deleted = connection.execute(_requests.delete().where(_requests.c.id.in_(old))).rowcount

    def _ask(self, work: Callable[[sa.Connection], T]) -> T:
        """What a query gives, within :data:`_PATIENCE` seconds also of a database that hangs; a few run at a time."""
        self._here()

        def ask() -> T:
            with self._ready().connect() as connection:
                return work(connection)

        try:
            return self._queries.run(ask, _PATIENCE)
        except (SQLAlchemyError, TimeoutError):
            text = "the database of the records cannot be asked; try again"
            raise VendorUnavailable(text, code="store_unavailable", sent=False) from None

    def _ready(self) -> sa.Engine:
        with self._lock:
            if self._engine is None:
                engine = make_engine(self._url, size=2, alone=False)
                with engine.begin() as connection:
                    if connection.dialect.name == "postgresql":
                        connection.execute(sa.text("SELECT pg_advisory_xact_lock(5463789210009)"))
                    _make_tables(connection)
                self._engine = engine
            return self._engine


_open: weakref.WeakSet[RequestRecords] = weakref.WeakSet()


def _at_exit() -> None:
    for records in list(_open):
        records.close()


atexit.register(_at_exit)


def _figures(column: Any) -> list[Any]:
    """The columns of a sum."""
    table = _requests.c
    failed = sa.case((table.status >= 400, 1), else_=0)
    cached = sa.case((table.cached.is_(True), 1), else_=0)
    return [
        *([column.label("group")] if column is not None else []),
        sa.func.count().label("requests"),
        sa.func.coalesce(sa.func.sum(failed), 0).label("failed"),
        sa.func.coalesce(sa.func.sum(cached), 0).label("cached"),
        sa.func.coalesce(sa.func.sum(table.took_us), 0).label("took_us"),
        *[sa.func.coalesce(sa.func.sum(table[name]), 0).label(name) for name in _SUMS],
        sa.func.min(table.begun_us).label("first_us"),
        sa.func.max(table.begun_us).label("last_us"),
    ]


def _rest(whole: dict[str, Any], told: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is in the sum of all, and in none of these groups."""
    counts = ("requests", "failed", "cached", "took_us", *_SUMS)
    left = {name: whole[name] - sum([row[name] for row in told]) for name in counts}
    return {"group": "other", **left, "first_us": whole["first_us"], "last_us": whole["last_us"]}


def decision_of(row: dict[str, Any]) -> dict[str, Any]:
    """The decision in a row; empty where there is none."""
    try:
        found = json.loads(row["decision"] or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _make_tables(connection: sa.Connection) -> None:
    """Make the tables; another process may do so at the same time, which SQLite tells by an error."""
    for _attempt in range(_MOST_PROCESSES):
        try:
            _metadata.create_all(connection)
        except sa.exc.OperationalError:
            if connection.dialect.name == "postgresql":
                raise
        else:
            return
    _metadata.create_all(connection)


def _spool_folder(url: sa.URL) -> Path:
    if url.get_backend_name() == "sqlite" and url.database:
        path = Path(url.database).absolute()
        return path.with_name(f"{path.name}.requests-spool")
    name = hashlib.sha256(url.render_as_string(hide_password=True).encode()).hexdigest()[:16]
    return state_folder("spool") / "requests" / name
