"""Nothing in a receipt can be altered unseen: every field of every kind, each in many ways, found by walking the receipts."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from llmdispatcher import Receipt, SigningKey, verify_receipts
from llmdispatcher.accounting.receipts.format import (
    FORMS,
    SIGNATURE,
    Each,
    Many,
    Maybe,
    canonical,
    moment_text,
    money_text,
    parse_moment,
    parse_money,
    signature_text,
)
from tests.cases import each

from .conftest import Chain

Path = tuple[str | int, ...]
KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(range(1, 33)))
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def documents() -> dict[str, dict[str, Any]]:
    """A receipt of each kind, in none of which a field is empty."""
    chain = Chain(KEY)
    chain.single()
    kinds = {"single": chain.single(), "batch": chain.batch(), "rotation": chain.rotate(OTHER)}
    return {kind: receipt.as_dict() for kind, receipt in kinds.items()}


DOCUMENTS = documents()


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every place in a document, objects and lists too."""
    for name, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, name)
        if isinstance(item, dict | list):
            yield from places(item, (*path, name))


def found(document: Any, path: Path) -> Any:
    for name in path:
        document = document[name]
    return document


def altered(document: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    copied = copy.deepcopy(document)
    found(copied, path[:-1])[path[-1]] = value
    return copied


def others(value: Any) -> list[Any]:
    """What could stand there instead; some of it has the field's form, some has not."""
    if value is None:
        return ["", "x", 0, False, [], {}]
    if isinstance(value, int):
        return [value + 1, value - 1, -value, float(value), str(value), None, value + 2**53, value > 0]
    if isinstance(value, list):
        return [[*value, "x"], value[1:], value[::-1], None, {}, "x"] if value else [["x"], None]
    if isinstance(value, dict):
        return [{}, None, [], {**value, "x": 1}, *[{name: value[name] for name in value if name != gone} for gone in value]]
    return [
        None,
        0,
        [value],
        value + " ",
        f"{value}x",
        value[:-1],
        value.swapcase() if value.swapcase() != value else "",
        *like(value),
    ]


def like(text: str) -> list[str]:
    """Texts of the same form: another time, another amount, another hash, another id."""
    if re.fullmatch(r"\d{4}-.*Z", text):
        moment = parse_moment(text)
        return [
            moment_text(moment + timedelta(microseconds=1)),
            moment_text(moment - timedelta(days=1)),
            text.replace("Z", "+00:00"),
        ]
    if re.fullmatch(r"-?[\d.]+", text):
        money = parse_money(text)
        return [money_text(money + Decimal("1e-12")), f"-{text}", f"{text}0", f"0{text}", f"{text}E0"]
    digits = [f"{text[:-1]}{'1' if text[-1] == '0' else '0'}"] if re.search(r"[0-9a-f]$", text) else []
    return [*digits, text.replace("e", "é"), text[::-1] if text[::-1] != text else ""]


PLACES = [(kind, path) for kind, document in DOCUMENTS.items() for path in places(document)]


def test_the_walk_meets_every_field():
    """What the table of forms has, the receipts that are altered have, and nothing in them is empty."""

    def named(form: Any, path: Path = ()) -> Iterator[Path]:
        while isinstance(form, Maybe | Each | Many):
            path = path if isinstance(form, Maybe) else (*path, "*")
            form = form.form
        if isinstance(form, dict):
            for name, inner in form.items():
                yield (*path, name)
                yield from named(inner, (*path, name))

    for kind, document in DOCUMENTS.items():
        met = {
            tuple("*" if isinstance(name, int) or ":" in str(name) or name in ("fast", "deep") else name for name in path)
            for path in places(document)
        }
        assert set() == set(named(FORMS[kind])) - met
        assert [] == [path for path in places(document) if found(document, path) in (None, [], {}, "")]


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_unaltered_receipts_are_valid(kind):
    """As they were signed, they verify; and as JSON of another layout too."""
    document = DOCUMENTS[kind]

    assert verify_receipts(document, KEY.public).valid
    assert verify_receipts(json.dumps(document, indent=4, ensure_ascii=True), KEY.public).valid


@each("kind, path", PLACES)
def test_every_alteration_shows(kind, path):
    """Whatever is put in place of a value, the receipt is not valid; where its form holds, the signature does not."""
    value = found(DOCUMENTS[kind], path)
    for other in others(value):
        if json.dumps(other) == json.dumps(value):
            continue
        problems = verify_receipts(altered(DOCUMENTS[kind], path, other), KEY.public).problems

        assert {one.code for one in problems} & {"form", "signature", "unknown_key"}, other
        malformed = [one.field for one in problems if one.code == "form"]
        named = any(field is None or field.startswith(str(path[0])) for field in malformed)
        assert named or not malformed or path == ("receipt_type",), other


@each("kind, path", PLACES)
def test_every_removal_shows(kind, path):
    """A field that is left out, or an item of a list."""
    copied = copy.deepcopy(DOCUMENTS[kind])
    del found(copied, path[:-1])[path[-1]]

    assert not verify_receipts(copied, KEY.public)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_every_letter_of_the_signature_counts(kind):
    """No letter can be another one, the last not either, of which a decoder ignores four bits."""
    signature = DOCUMENTS[kind]["signature"]
    last = len(signature) - 1
    for place in range(len(SIGNATURE), len(signature)):
        for letter in LETTERS if place == last else "Ab9":
            if letter != signature[place]:
                other = f"{signature[:place]}{letter}{signature[place + 1 :]}"
                assert not verify_receipts({**DOCUMENTS[kind], "signature": other}, KEY.public), (place, letter)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_signing_less_is_not_enough(kind):
    """A signature that leaves out any one field does not hold: there is no field outside of it."""
    document = DOCUMENTS[kind]
    for name in document.keys() - {"signature"}:
        body = {other: value for other, value in document.items() if other not in ("signature", name)}
        forged = {**document, "signature": signature_text(KEY.sign(canonical(body)))}

        assert ["signature"] == [one.code for one in verify_receipts(forged, KEY.public).problems], name


def test_resigned_with_another_key(chain, other_key):
    """Who has no key of ours can sign, but nobody vouches for it; claiming our key's id does not help."""
    document = chain.batch().as_dict()
    body = {**{name: value for name, value in document.items() if name != "signature"}, "description": "cheaper"}
    forged = {**body, "key_id": other_key.key_id}
    forged["signature"] = signature_text(other_key.sign(canonical(forged)))
    disguised = {**body, "signature": signature_text(other_key.sign(canonical(body)))}

    assert ["unknown_key"] == [one.code for one in verify_receipts(forged, chain.key.public).problems]
    assert ["signature"] == [one.code for one in verify_receipts(disguised, chain.key.public).problems]


def test_figures_that_do_not_add_up_show_even_when_signed(chain):
    """The signer himself cannot sign a total that is not the sum of its parts."""
    document = chain.batch().as_dict()
    for path, value in ((("summary", "total_cost"), "7"), (("summary", "total_calls"), 9), (("summary", "total_tokens"), 1)):
        body = altered(document, path, value)
        del body["signature"]
        lie = {**body, "signature": signature_text(chain.key.sign(canonical(body)))}

        assert "sum" in {one.code for one in verify_receipts(lie, chain.key.public).problems}


def test_a_problem_says_where(chain):
    """Sequence, id and field are told, in the text too."""
    chain.single()
    document = {**chain.single().as_dict(), "sequence": "2"}
    (one,) = verify_receipts(document, chain.key.public).problems

    assert ("form", "sequence", document["receipt_id"]) == (one.code, one.field, one.receipt_id)
    assert "sequence: '2' is not a whole number" in str(one)


def test_a_receipt_is_read_only_in_its_form(chain):
    """``Receipt`` refuses what has not the form, and says which field."""
    document = chain.single().as_dict()
    del document["call"]["model"]

    with pytest.raises(ValueError, match=r"receipt: call\.model: it is missing"):
        Receipt.of(document)
