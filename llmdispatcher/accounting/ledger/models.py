"""The models and prices of the catalog in a ledger's database, beside the calls, for queries in SQL.

They are written by whoever asks for it (``json-refresh``, :meth:`Ledger.refresh_models`), and are a copy: what a call costs is told
by the catalog, which never reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ...catalog import ModelFacts, canonical, list_models
from ...errors import InvalidRequest
from ...runtime import Clock
from ..units import dollars, picodollars
from .connections import insert_into, lock_key
from .figures import LedgerModel, ModelsReport
from .queries import Connectable, reading, writing
from .schema import models

_LOCK = 5_463_789_210_021
"""The key of PostgreSQL's advisory lock: one refresh at a time."""
_KEY = ("vendor", "model")
_AMOUNTS = {"input_price": "input", "output_price": "output", "cache_read_price": "cache_read", "cache_write_price": "cache_write"}

Record = dict[str, Any]


def refresh(ledger: Connectable, clock: Clock, given: Iterable[ModelFacts] | None) -> ModelsReport:
    """Write the models given, else all that the catalog knows; rows that are as they were stay untouched."""
    now = clock.now()
    found = list_models(active_only=False) if given is None else list(given)
    for one in found:
        if not isinstance(one, ModelFacts):
            raise InvalidRequest(f"models: {one!r} is no ModelFacts; give what list_models() or Registry.models() returns")
    with writing(ledger) as connection:
        lock_key(connection, _LOCK)
        known = {(row["vendor"], row["model"]): dict(row) for row in connection.execute(sa.select(models)).mappings()}
        wanted = {(facts.vendor, facts.model): _record(facts, known.get((facts.vendor, facts.model)), now) for facts in found}
        added = [record for key, record in wanted.items() if key not in known]
        changed = [record for key, record in wanted.items() if key in known and _differs(record, known[key])]
        ended = [
            {**record, "inactive_from": now, "updated_at": now}
            for key, record in known.items()
            if key not in wanted and record["inactive_from"] is None
        ]
        late = insert_into(models, connection.dialect.name)
        values = {column.name: late.excluded[column.name] for column in models.c if column.name not in _KEY}
        late = late.on_conflict_do_update(index_elements=list(_KEY), set_=values)
        rows = [*added, *changed, *ended]
        if rows:
            connection.execute(late, rows)
    return ModelsReport(models=len(wanted), added=len(added), changed=len(changed), ended=len(ended))


def _record(facts: ModelFacts, known: Mapping[str, Any] | None, now: datetime) -> Record:
    """The row of a model; what was known of its end stays."""
    price = facts.price
    return {
        "vendor": facts.vendor,
        "model": facts.model,
        "kind": facts.kind,
        "context_window": facts.context_window or None,
        "max_tokens": facts.max_tokens or None,
        "capabilities": sorted(facts.capabilities),
        "lacks": sorted(facts.lacks),
        "aliases": list(facts.aliases),
        **{column: _amount(getattr(price, name, None)) for column, name in _AMOUNTS.items()},
        "price": _plain(facts.price_row) if price is not None else None,
        "price_version": facts.price_version or None,
        "released": _day_text(facts.released),
        "deprecated": _day_text(facts.deprecated),
        "source": facts.source or None,
        "source_date": facts.date or None,
        "inactive_from": _end_of(facts, known, now),
        "created_at": known["created_at"] if known is not None else now,
        "updated_at": now,
    }


def _end_of(facts: ModelFacts, known: Mapping[str, Any] | None, now: datetime) -> datetime | None:
    """When a model ceased to be served: on the day that its vendor named, else when that was first seen here."""
    if facts.is_active(now.date()):
        return None
    if facts.deprecated is not None and facts.deprecated <= now.date():
        return datetime.combine(facts.deprecated, time(), UTC)
    seen: datetime | None = known["inactive_from"] if known is not None else None
    return seen or now


def _differs(record: Record, known: Mapping[str, Any]) -> bool:
    return any(value != known[name] for name, value in record.items() if name not in ("created_at", "updated_at"))


def _amount(price: Decimal | None) -> Decimal | None:
    """A price as the database keeps it."""
    return None if price is None else dollars(picodollars(price))


def _day_text(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _plain(value: Any) -> Any:
    """A value as JSON has it, with exact amounts as texts."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return f"{value:f}" if isinstance(value, Decimal) else value


def list_all(ledger: Connectable, clock: Clock, vendor: str | None, *, active_only: bool) -> list[LedgerModel]:
    """The models in the database, by vendor and name."""
    query = sa.select(models).order_by(models.c.vendor, models.c.model)
    if vendor is not None:
        query = query.where(models.c.vendor == _vendor_name(vendor))
    if active_only:
        now = clock.now()
        is_served = sa.or_(models.c.deprecated.is_(None), models.c.deprecated > now.date().isoformat())
        query = query.where(models.c.inactive_from.is_(None), is_served)
    with reading(ledger) as connection:
        return [_model(dict(row)) for row in connection.execute(query).mappings()]


def find(ledger: Connectable, vendor: str, model: str) -> LedgerModel | None:
    """A model by its name or an alias."""
    if not isinstance(model, str) or not model.strip():
        raise InvalidRequest(f"model: {model!r} names no model; give its name, such as 'gpt-4o'")
    query, name = sa.select(models).where(models.c.vendor == _vendor_name(vendor)), model.strip()
    with reading(ledger) as connection:
        row = connection.execute(query.where(models.c.model == name)).mappings().first()
        if row is None:
            rows = connection.execute(query).mappings()
            row = next((one for one in rows if name in one["aliases"]), None)
    return _model(dict(row)) if row is not None else None


def _vendor_name(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InvalidRequest(f"vendor: {value!r} names no vendor; give its name, such as 'openai'")
    return canonical(value)


def _model(row: Mapping[str, Any]) -> LedgerModel:
    fields = {name: value for name, value in row.items() if name != "price"}
    for name in ("capabilities", "lacks"):
        fields[name] = frozenset(fields[name])
    for name in _AMOUNTS:
        fields[name] = Decimal(f"{fields[name].normalize():f}") if fields[name] is not None else None
    for name in ("released", "deprecated"):
        fields[name] = date.fromisoformat(fields[name]) if fields[name] is not None else None
    return LedgerModel(**{**fields, "aliases": tuple(fields["aliases"])}, price_row=row["price"])
