"""``/proxy/requests/{id}`` and ``/proxy/usage``: why a request went where it did, and what requests cost.

A key is shown what its organization has, and nothing else is there. An operator may look at another organization's, which is
written down before anything is shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

from ...dispatcher import Dispatcher
from ...errors import DispatchError
from ...types import choices
from ..keys import KeyStore
from ..records import GROUPS, Looking, RecordSpan, RequestRecords, decision_of
from .answers import WholeAnswer, json_answer
from .formats import GatewayError
from .http import Task
from .unreached import without_causes

PATIENCE = 1.0
"""Seconds that a query waits for the rows of this process that are on their way."""
_MOST_DAYS = 400
_MOST_TOLD = _MOST_GIVEN = 20
_PARAMETERS = ("session", "key", "start", "end", "by", "organization")
_DAY_MICROS = 86_400_000_000
_MONEY = ("cost", "saved")


class UsageQueries:
    """Answers what requests were and what they cost."""

    def __init__(self, dispatcher: Dispatcher, records: RequestRecords, keys: KeyStore) -> None:
        self._dispatcher, self._records, self._keys = dispatcher, records, keys

    def request(self, task: Task) -> WholeAnswer:
        """One request with its decision, by its id. Raises :class:`GatewayError` with 404 for another organization's."""
        self._records.flush(PATIENCE)
        key, request_id = task.maker, task.match["id"]
        row = self._records.find(request_id, None if "operator" in key.scopes else key.organization)
        if row is None:
            text = "there is no such request of your organization, or it has not ended; x-llmdispatcher-request-id has its id"
            raise GatewayError(text, status=404, code="not_found")
        if row["organization"] != key.organization:
            self._records.looked(_looking(task), row["organization"], f"request {request_id}")
        decision = decision_of(row)
        if "operator" not in key.scopes:
            decision = without_causes(decision)
        return json_answer({**_request(row), **decision, "receipt": self._receipt(row["call_id"])})

    def _receipt(self, call_id: str | None) -> str | None:
        """The id of the receipt that has its call, where the dispatcher's ledger has one."""
        ledger: Any = self._dispatcher.ledger
        if call_id is None or not hasattr(ledger, "reading"):
            return None
        from ...accounting import Receipts  # late: where there is a ledger

        try:
            found = Receipts(ledger).of_call(call_id)
        except DispatchError:
            return None
        return found.receipt_id if found is not None else None

    def usage(self, task: Task) -> WholeAnswer:
        """What the requests of a session, a key or a time cost, in all and by something. A session without any is 404."""
        given = _query(task.incoming.query)
        by = given.get("by")
        if by is not None and by not in GROUPS:
            raise _wrong("by", f"{by[:40]!r} is none; give one of {', '.join(GROUPS)}")
        span = self._span(task, given)
        self._records.flush(PATIENCE)
        whole = self._records.figures(span)[0]
        if not whole["requests"] and span.organization != task.maker.organization:
            self._require_organization(span.organization)
        if not whole["requests"] and span.session is not None:
            raise GatewayError("there are no requests of such a session", status=404, code="not_found")
        told = {
            "session": span.session,
            "start": span.start.isoformat() if span.start is not None else None,
            "end": span.end.isoformat() if span.end is not None else None,
            **_figures(whole),
        }
        if by is not None:
            groups = self._records.figures(span, by)
            told[f"by_{by}"] = [{by: _group(by, row["group"]), **_figures(row)} for row in groups]
        return json_answer(told)

    def _require_organization(self, name: str) -> None:
        """Raise :class:`GatewayError` where no key and no owner is of that organization: the name is mistyped."""
        known = {one.name for one in self._keys.owners.all("organization")} | {one.organization for one in self._keys.all()}
        if name not in known:
            hint = choices(name, sorted(known)[:_MOST_TOLD], "there are {}")
            raise GatewayError(
                f"organization: there is no {name[:80]!r}; {hint}", status=404, code="not_found", param="organization"
            )

    def _span(self, task: Task, given: Mapping[str, str]) -> RecordSpan:
        key = task.maker
        organization = given.get("organization", key.organization)
        if organization != key.organization:
            if "operator" not in key.scopes:
                raise GatewayError("there is no such organization", status=404, code="not_found")
            self._records.looked(_looking(task), organization[:255], "usage")
        start, end = _moment("start", given.get("start")), _moment("end", given.get("end"), last=True)
        if start is not None and end is not None and not timedelta(0) < end - start <= timedelta(days=_MOST_DAYS):
            raise _wrong("end", f"it is not behind start, or more than {_MOST_DAYS} days behind it")
        return RecordSpan(organization=organization, session=given.get("session"), key_id=given.get("key"), start=start, end=end)


def dollars(pico: Any) -> Decimal:
    """US dollars of so many picodollars, which databases give as different kinds of numbers."""
    return Decimal(int(pico)).scaleb(-12)


def _request(row: Mapping[str, Any]) -> dict[str, Any]:
    cost, saved = [None if row[f"{name}_pico"] is None else dollars(row[f"{name}_pico"]) for name in _MONEY]
    first = row["first_output_us"]
    return {
        "id": row["id"],
        "client_request_id": row["client_request_id"],
        "organization": row["organization"],
        "key": row["key_id"],
        "session": row["session"],
        "begun_at": _time(row["begun_us"]),
        "seconds": row["took_us"] / 1_000_000,
        "first_output_seconds": first / 1_000_000 if first is not None else None,
        "face": row["face"],
        "status": row["status"],
        "error": row["error"],
        "code": row["code"],
        "asked_model": row["asked_model"],
        "vendor": row["vendor"],
        "model": row["model"],
        "streamed": row["streamed"],
        "cached": row["cached"],
        "usage": {name: row[name] for name in ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")},
        **_money("cost", cost),
        **_money("prompt_caching_saved", saved),
        "call_id": row["call_id"],
    }


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    count = int(row["requests"])
    reads, tokens = int(row["cache_read_tokens"]), int(row["input_tokens"])
    return {
        "requests": count,
        "failed_requests": int(row["failed"]),
        "cache_hits": int(row["cached"]),
        "average_seconds": float(row["took_us"]) / 1_000_000 / count if count else 0.0,
        "input_tokens": tokens,
        "output_tokens": int(row["output_tokens"]),
        "cache_read_tokens": reads,
        "cache_write_tokens": int(row["cache_write_tokens"]),
        "cached_share": reads / tokens if tokens else 0.0,
        **_money("cost", dollars(row["cost_pico"])),
        **_money("prompt_caching_saved", dollars(row["saved_pico"])),
        "first_at": _time(row["first_us"]) if count else None,
        "last_at": _time(row["last_us"]) if count else None,
    }


def _money(name: str, amount: Decimal | None) -> dict[str, Any]:
    if amount is None:
        return {name: None, f"{name}_text": None}
    return {name: float(amount), f"{name}_text": f"{amount.normalize():f}"}


def _group(by: str, value: Any) -> Any:
    if by == "day" and value not in (None, "other"):
        return (date(1970, 1, 1) + timedelta(days=int(value))).isoformat()
    return value


def _time(micros: Any) -> str:
    return datetime.fromtimestamp(int(micros) / 1_000_000, UTC).isoformat()


def _query(query: str) -> dict[str, str]:
    try:
        found = parse_qs(query, max_num_fields=_MOST_GIVEN, errors="replace")
    except ValueError:
        raise _wrong("query", f"it has more than {_MOST_GIVEN} parameters; use {', '.join(_PARAMETERS)}") from None
    unknown = next((name for name in found if name not in _PARAMETERS), None)
    if unknown is not None:
        raise _wrong(unknown[:40], f"there is no such parameter; use {', '.join(_PARAMETERS)}")
    several = next((name for name, values in found.items() if len(values) > 1), None)
    if several is not None:
        raise _wrong(several, "it is given several times; give it once")
    return {name: values[0].replace("\0", "")[:255] for name, values in found.items()}


def _moment(name: str, text: str | None, *, last: bool = False) -> datetime | None:
    """A day or a time, UTC unless it says otherwise; a day as the end belongs whole."""
    if text is None:
        return None
    try:
        if len(text) == len("2027-01-31"):
            day = date.fromisoformat(text) + timedelta(days=1 if last else 0)
            return datetime.combine(day, time(), UTC)
        found = datetime.fromisoformat(text.replace(" ", "+"))  # a plus sign is a blank in an address
        return (found if found.tzinfo is not None else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(name, f"{text[:40]!r} is no time; give a day, such as 2027-01-31, or ISO 8601") from None


def _looking(task: Task) -> Looking:
    return Looking(key_id=task.maker.id, address=task.incoming.address[:64], request_id=task.incoming.request_id)


def _wrong(field: str, text: str) -> GatewayError:
    return GatewayError(f"{field}: {text}", status=400, code="invalid_request", param=field)
