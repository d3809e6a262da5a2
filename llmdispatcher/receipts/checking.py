"""One receipt against itself: its form, what follows from what, its signature; and the rows of calls that it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..errors import InvalidRequest
from .canonical import canonical, money_of, money_text
from .findings import Problem
from .forms import faults, form_of, signature_of, unpadded
from .keys import PublicKey
from .receipt import differences, without
from .rows import Tally, calls_digest, row_digest, shown_call, total_of


@attrs.frozen
class CertifiedCall:
    """A call's row beside the digest that was noted when it was certified; ``facts`` is ``None`` where the row is gone."""

    call_id: str
    digest: str
    facts: Mapping[str, Any] | None = None


def problem(document: Any, position: int, code: str, text: str, **where: Any) -> Problem:
    """A problem of a receipt, with the number and the id that it says it has, where it says them."""
    said = document if isinstance(document, dict) else {}
    sequence, receipt_id = said.get("sequence"), said.get("receipt_id")
    return Problem(
        code=code,
        text=text,
        position=position,
        sequence=sequence if type(sequence) is int else None,
        receipt_id=receipt_id if isinstance(receipt_id, str) else None,
        **where,
    )


def form_problems(document: Any, position: int) -> Iterator[Problem]:
    """Fields without their form; where there are none, fields that do not follow from others."""
    if not isinstance(document, dict):
        yield problem(document, position, "form", "it is no object of JSON")
        return
    found = list(faults(document, form_of(document)))
    try:
        canonical(document)
    except InvalidRequest as error:
        found.append(("", str(error)))
    for path, reason in found:
        yield problem(document, position, "form", reason, field=path or None)
    if not found:
        for path, reason in _broken_sums(document):
            yield problem(document, position, "sum", reason, field=path)


def _broken_sums(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What the fields of a well-formed receipt must come to."""
    if (document["sequence"] == 1) != (document["previous"] is None):
        yield "previous", "only the first receipt of a ledger has none before it"
    if "new_key" in document:
        yield from _broken_rotation(document)
    if "call" in document:
        call = document["call"]
        if call["total_tokens"] != (call["input_tokens"] or 0) + (call["output_tokens"] or 0):
            yield "call.total_tokens", "it is not input and output together"
    if "summary" in document:
        yield from _broken_summary(document["summary"])


def _broken_rotation(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("old_key", "new_key"):
        entry = document[name]
        if entry is not None and PublicKey(unpadded(entry["public_key"], 32)).key_id != entry["key_id"]:
            yield f"{name}.key_id", "it is not the id of this key"
    old = document["old_key"]
    signer = document["new_key"] if old is None else old
    if signer["key_id"] != document["key_id"]:
        yield "key_id", "a rotation is signed by the old key, or where that is lost by the new one"
    if (old is None) != (document["acceptance"] is None) or not (old is None or accepted(document)):
        yield "acceptance", "it is not the new key's signature over this rotation"


def accepted(rotation: Mapping[str, Any]) -> bool:
    """Whether the new key has signed a rotation too, so that each of the two keys vouches for the other."""
    new = PublicKey(unpadded(rotation["new_key"]["public_key"], 32))
    return new.verifies(signature_of(rotation["acceptance"]), canonical(without(rotation, "acceptance", "signature")))


def _broken_summary(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if summary["total_tokens"] != summary["input_tokens"] + summary["output_tokens"]:
        yield "summary.total_tokens", "it is not input and output together"
    if summary["start"] > summary["end"]:
        yield "summary.end", "it is before the start"
    shares = summary["by_model"].values()
    for name, total in (("calls", "total_calls"), ("tokens", "total_tokens")):
        if sum(share[name] for share in shares) != summary[total]:
            yield f"summary.{total}", "the models' shares come to something else"
    if money_text(total_of(money_of(share["cost"]) for share in shares)) != summary["total_cost"]:
        yield "summary.total_cost", "the models' shares come to something else"


def signature_problem(document: dict[str, Any], key: PublicKey, position: int) -> Iterator[Problem]:
    """Whether the key's owner signed all the other fields; the document has its form."""
    if not key.verifies(signature_of(document["signature"]), canonical(without(document, "signature"))):
        text = "it is not what this key signed over these fields: at least one of them was altered"
        yield problem(document, position, "signature", text, field="signature")


def call_problems(document: dict[str, Any], calls: Iterable[CertifiedCall], position: int) -> Iterator[Problem]:
    """What is wrong with the rows that a single or batch receipt stands for; what intact rows come to is compared too."""
    tally, noted, intact = Tally(), [], True
    shown: dict[str, Any] | None = None
    for call in calls:
        noted.append((call.call_id, call.digest))
        if call.facts is None:
            intact = False
            yield problem(document, position, "call_missing", "its row is gone", call_id=call.call_id)
        elif call.facts["id"] != call.call_id or not _digested(call):
            intact = False
            yield _altered(document, position, call)
        else:
            tally.add(call.facts)
            shown = shown_call(call.facts)
    if calls_digest(noted) != document["calls_digest"]:
        text = f"the {len(noted)} certified calls that are noted are not those that were signed"
        yield problem(document, position, "calls_digest", text, field="calls_digest")
    if intact and noted:
        yield from _summary_problems(document, tally, shown, position)


def _digested(call: CertifiedCall) -> bool:
    """Whether the row has its digest; one with values that no receipt can hold has none."""
    try:
        return row_digest(call.facts or {}) == call.digest
    except InvalidRequest:
        return False


def _altered(document: dict[str, Any], position: int, call: CertifiedCall) -> Problem:
    """What of the row differs, where the receipt shows the call itself."""
    said, facts = document.get("call", {}), call.facts or {}
    if said.get("id") != call.call_id:
        text = "its row has been altered since it was certified"
        return problem(document, position, "call_altered", text, call_id=call.call_id)
    found = [name for name in said if name in facts and list(differences(said[name], facts[name]))]
    text = f"its row has been altered: {', '.join(found) or 'a column that the receipt does not show'}"
    return problem(document, position, "call_altered", text, call_id=call.call_id, field=f"call.{found[0]}" if found else None)


def _summary_problems(document: dict[str, Any], tally: Tally, shown: Any, position: int) -> Iterator[Problem]:
    said, is_now = (document["summary"], tally.summary()) if "summary" in document else (document["call"], shown)
    name = "summary" if "summary" in document else "call"
    for path in differences(said, is_now):
        text = f"the receipt says {at(said, path)}, the rows come to {at(is_now, path)}"
        yield problem(document, position, "summary", text, field=f"{name}.{path}")


def at(value: Any, path: str) -> str:
    """What is found there, as text; names that hold dots are taken whole."""
    while path and isinstance(value, dict):
        name = max((name for name in value if path == name or path.startswith(f"{name}.")), key=len, default="")
        if not name:
            return "nothing"
        value, path = value[name], path[len(name) + 1 :]
    return repr(value)
