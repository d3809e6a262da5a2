"""A chain: what is missing, moved, doubled, replaced or cut off shows, and where; keys hand on to keys."""

from __future__ import annotations

import itertools
import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import InvalidRequest, PublicKeys, Receipt, ReceiptAnchor, SigningKey, verify_receipts
from llmdispatcher.accounting.receipts import receipts as making
from llmdispatcher.accounting.receipts.receipt import sign_document
from llmdispatcher.accounting.receipts.receipts import label_fields
from llmdispatcher.accounting.receipts.rows import ROW_FIELDS
from tests.cases import each

from .conftest import Chain

KEY, OTHER, THIRD = (SigningKey(bytes(range(start, start + 32))) for start in (0, 1, 2))


def filled(key=KEY, count=6):
    """A chain of singles and batches."""
    chain = Chain(key)
    for number in range(count):
        chain.batch(2) if number % 3 == 2 else chain.single()
    return chain


def told(verified):
    """Code and sequence of each problem."""
    return [(one.code, one.sequence) for one in verified.problems]


def test_a_whole_chain_is_valid():
    """As receipts, as their fields, and any number of them from the first on."""
    chain = filled()
    for count in range(1, 7):
        verified = verify_receipts(chain.receipts[:count], KEY.public)

        assert (True, count, chain.receipts[count - 1].anchor) == (verified.valid, verified.receipts, verified.head)
    assert verify_receipts(chain.documents, KEY.public)


@each("gone", range(5))
def test_a_missing_receipt_shows(gone):
    """Whichever it is, but for the last, which only an anchor can miss."""
    documents = filled().documents
    del documents[gone]

    assert [("missing", gone + 1)] == told(verify_receipts(documents, KEY.public))


def test_missing_receipts_are_told_as_runs():
    """From where to where."""
    documents = filled().documents
    (one,) = verify_receipts([documents[0], *documents[3:]], KEY.public).problems

    assert "sequence 2: it and the following up to 3 are missing" == str(one)


@each("order", [order for order in itertools.permutations(range(4)) if order != (0, 1, 2, 3)])
def test_another_order_shows(order):
    """Of all orders of four receipts one is valid."""
    receipts = filled(count=4).receipts
    verified = verify_receipts([receipts[number] for number in order], KEY.public)

    assert {"order"} == {one.code for one in verified.problems}


@each("number", range(6))
def test_a_doubled_receipt_shows(number):
    """Beside itself, and at the end."""
    receipts = filled().receipts
    beside = [*receipts[: number + 1], *receipts[number:]]

    assert [("duplicate", number + 1)] == told(verify_receipts(beside, KEY.public))
    assert [("duplicate", number + 1)] == told(verify_receipts([*receipts, receipts[number]], KEY.public))


@each("number", range(6))
def test_an_altered_receipt_shows_in_the_next_too(number):
    """Its own signature, and the hash that the one behind has of it."""
    documents = filled().documents
    documents[number]["description"] = "December"
    expected = [("signature", number + 1)] + ([("previous", number + 2)] if number < 5 else [])

    assert expected == told(verify_receipts(documents, KEY.public))


def test_a_malformed_receipt_is_not_missing():
    """It is told as what it is."""
    documents = filled().documents
    documents[2]["tags"] = "none"

    assert [("form", 3)] == told(verify_receipts(documents, KEY.public))


@each("number", range(1, 6))
def test_a_receipt_replaced_by_the_signer_shows(number):
    """Who has the key can sign another receipt for a place, but not one that the next follows."""
    chain = filled()
    fields = {name: value for name, value in chain.receipts[number].as_dict().items() if name not in ("signature", "key_id")}
    replaced = sign_document({**fields, "description": "rewritten"}, KEY)
    receipts = [*chain.receipts[:number], replaced, *chain.receipts[number + 1 :]]
    expected = [("previous", number + 2)] if number < 5 else []

    assert expected == told(verify_receipts(receipts, KEY.public))
    assert [*expected, ("anchor", number + 1)] == told(verify_receipts(receipts, KEY.public, anchor=chain.receipts[number].anchor))


def test_a_fork_shows():
    """Two receipts of one number, both well signed."""
    one, other = filled(count=3), filled(count=2)
    other.receipts[:] = one.receipts[:2]
    second = other.single()

    assert [("duplicate", 3)] == told(verify_receipts([*one.receipts, second], KEY.public))


def test_receipts_of_another_ledger_show():
    """A chain cannot be filled up from another one."""
    ours, theirs = filled(), filled()
    verified = verify_receipts([*ours.receipts[:3], *theirs.receipts[3:]], KEY.public)

    assert [("ledger", 4), ("ledger", 5), ("ledger", 6), ("previous", 4)] == told(verified)


@each("left", range(6))
def test_an_anchor_shows_that_the_end_was_cut_off(left):
    """Without it the rest is valid; with it the end is missed."""
    chain = filled()
    anchor = ReceiptAnchor.parse(str(chain.receipts[-1].anchor))
    cut = chain.receipts[:left]

    assert bool(left) == verify_receipts(cut, KEY.public).valid
    assert ("anchor", 6) in told(verify_receipts(cut, KEY.public, anchor=anchor))
    assert verify_receipts(chain.receipts, KEY.public, anchor=anchor)


def test_an_anchor_in_the_middle_is_enough_for_what_is_before():
    """The chain may have grown since it was noted."""
    chain = filled()

    assert verify_receipts(chain.receipts, KEY.public, anchor=chain.receipts[2].anchor)


def test_an_anchor_of_another_ledger_shows():
    """It was noted for somebody else's chain."""
    chain = filled()
    anchor = attrs.evolve(chain.receipts[2].anchor, ledger="ledger_" + "0" * 32)

    assert [("anchor", 3)] == told(verify_receipts(chain.receipts, KEY.public, anchor=anchor))


def test_a_piece_begins_behind_an_anchor():
    """Receipts since the last time are verified with what was noted then; the first missing one shows too."""
    chain = filled()
    noted = chain.receipts[2].anchor

    assert verify_receipts(chain.receipts[3:], KEY.public, after=noted)
    assert [("missing", 1)] == told(verify_receipts(chain.receipts[3:], KEY.public))
    assert [("missing", 4)] == told(verify_receipts(chain.receipts[4:], KEY.public, after=noted))
    assert [("previous", 4)] == told(
        verify_receipts(chain.receipts[3:], KEY.public, after=attrs.evolve(noted, hash="sha256:" + "0" * 64))
    )


@each("text", ["", "x", "ledger_x/1/sha256:00", "ledger_" + "0" * 32 + "/0/sha256:" + "0" * 64, "a/b/c/d"])
def test_what_is_no_anchor(text):
    """It is told how one looks."""
    with pytest.raises(InvalidRequest, match="anchor: "):
        ReceiptAnchor.parse(text)


def test_a_single_receipt_has_no_anchor():
    """Nothing could be said."""
    chain = filled()
    with pytest.raises(InvalidRequest, match="no chain"):
        verify_receipts(chain.receipts[0], KEY.public, anchor=chain.receipts[0].anchor)


def test_no_receipts_prove_nothing():
    """An empty chain is not valid."""
    assert [("missing", None)] == told(verify_receipts([], KEY.public))


def rotated():
    """Three keys, one after the other."""
    chain = Chain(KEY)
    for new in (OTHER, THIRD):
        chain.single()
        chain.rotate(new)
    chain.single()
    return chain


@each("known", [KEY, OTHER, THIRD])
def test_any_key_of_a_chain_leads_to_the_others(known):
    """A rotation is signed by both keys, so that each vouches for the other."""
    assert [] == told(verify_receipts(rotated().receipts, known.public))


def test_old_receipts_verify_by_their_old_key():
    """A receipt by itself, with the keys by id."""
    chain = rotated()
    keys = PublicKeys((THIRD.public, OTHER.public, KEY.public), THIRD.key_id)

    assert all(verify_receipts(receipt, keys) for receipt in chain.receipts)
    assert [("unknown_key", 1)] == told(verify_receipts(chain.receipts[0], THIRD.public))


def test_a_retired_key_signs_no_more():
    """Its signature still holds, but it is not its turn."""
    chain = rotated()
    chain.key = KEY
    chain.single()

    assert [("wrong_key", 6)] == told(verify_receipts(chain.receipts, KEY.public))


def test_a_key_that_nobody_handed_on_to():
    """A new signer without a rotation."""
    chain = filled(count=2)
    chain.key = OTHER
    chain.single()

    assert [("wrong_key", 3), ("unknown_key", 3)] == told(verify_receipts(chain.receipts, KEY.public))
    assert [("wrong_key", 3)] == told(verify_receipts(chain.receipts, [KEY.public, OTHER.public]))


def test_a_rotation_needs_both_keys():
    """Neither can the new key appoint itself, nor the old one a key whose owner knows nothing."""
    chain = filled(count=1)
    place = chain.place()
    forged = making.rotation(place, label_fields(), OTHER, OTHER).as_dict()
    forged |= {"old_key": KEY.public.as_dict(), "key_id": KEY.key_id}
    unasked = {
        name: value for name, value in making.rotation(place, label_fields(), KEY, OTHER).as_dict().items() if name != "signature"
    }
    unasked["new_key"] = THIRD.public.as_dict()

    assert {"sum", "signature"} == {code for code, _ in told(verify_receipts([*chain.receipts, forged], KEY.public))}
    assert [("sum", 2)] == told(verify_receipts([*chain.receipts, sign_document(unasked, KEY)], KEY.public))


def test_a_takeover_is_a_warning_to_who_knows_the_key():
    """Where the old key is lost, the new one must be known from elsewhere."""
    chain = filled(count=2)
    chain.receipts.append(making.rotation(chain.place(), label_fields("the old key is lost"), None, OTHER))
    chain.key = OTHER
    chain.single()
    verified = verify_receipts(chain.receipts, [KEY.public, OTHER.public])

    assert (True, [("took_over", 3)]) == (verified.valid, [(one.code, one.sequence) for one in verified.warnings])
    assert [("unknown_key", 3), ("unknown_key", 4)] == told(verify_receipts(chain.receipts, KEY.public))


def test_a_clock_that_went_back_is_a_warning():
    """The order is that of the numbers, not of the clock."""
    chain = filled(count=2)
    chain.now = chain.now.replace(year=2025)
    chain.single()
    verified = verify_receipts(chain.receipts, KEY.public)

    assert (True, [("clock_back", 3)]) == (verified.valid, [(one.code, one.sequence) for one in verified.warnings])


@each("which", ["altered", "digest", "gone", "added", "swapped"])
def test_rows_that_come_along_are_compared(which):
    """Each kind of difference is named."""
    bundle = filled(count=3).bundles[2]
    rows = bundle["calls"]
    if which == "altered":
        rows[0]["row"] = {**rows[0]["row"], "cost": "7"}
    elif which == "digest":
        rows[0]["digest"] = "sha256:" + "0" * 64
    elif which == "gone":
        del rows[0]
    elif which == "added":
        rows.append({**rows[0], "call_id": "f" * 32})
    else:
        rows[0]["row"], rows[1]["row"] = rows[1]["row"], rows[0]["row"]
    expected = {
        "altered": {"call_altered"},
        "digest": {"call_altered", "calls_digest"},
        "gone": {"calls_digest", "summary"},
        "added": {"call_altered", "calls_digest"},
        "swapped": {"call_altered"},
    }

    assert expected[which] == {one.code for one in verify_receipts(bundle, KEY.public).problems}


@each("name", ROW_FIELDS)
def test_every_column_of_a_row_is_certified(name):
    """Whichever is altered, the row is named; where the receipt shows the column, the column too."""
    bundle = filled(count=1).bundles[0]
    entry = bundle["calls"][0]
    value = entry["row"][name]
    entry["row"] = {**entry["row"], name: not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else None}
    problems = verify_receipts(bundle, KEY.public).problems

    assert problems
    assert any(one.call_id == entry["call_id"] or (one.field or "").endswith(f".{name}") for one in problems)
    if name in bundle["receipt"]["call"] and all(one.code != "form" for one in problems):
        assert f"call.{name}" in [one.field for one in problems]


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from(["drop", "double", "swap", "alter", "none"]), min_size=1, max_size=3),
    st.randoms(use_true_random=False),
)
def test_any_series_of_harm_shows(kinds, chance: random.Random):
    """Whatever is done to a chain, it is not valid unless it ends as it was, or was cut at its end."""
    documents = CHAIN.documents
    for kind in kinds:
        place = chance.randrange(len(documents)) if documents else 0
        if kind == "drop" and documents:
            del documents[place]
        elif kind == "double" and documents:
            documents.insert(place, documents[chance.randrange(len(documents))])
        elif kind == "swap" and documents:
            other = chance.randrange(len(documents))
            documents[place], documents[other] = documents[other], documents[place]
        elif kind == "alter" and documents:
            documents[place] = {**documents[place], "tags": ["other"]}
    harmless = bool(documents) and documents == CHAIN.documents[: len(documents)]

    assert harmless == verify_receipts(documents, KEY.public).valid


CHAIN = filled()
_WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@settings(deadline=None, max_examples=40)
@given(
    _WORDS,
    st.lists(_WORDS, max_size=3),
    st.integers(0, 2**40),
    st.none() | st.decimals(0, 10**9, places=12),
    _WORDS,
    st.none() | _WORDS,
)
def test_round_trip(description, tags, tokens, cost, model, alias):
    """Whatever a receipt says, it is read back as it was, and verifies; its summary is exact."""
    chain = Chain(KEY)
    single = chain.single(input_tokens=tokens, cost=cost, model=model, alias=alias)
    batch = chain.batch(3, input_tokens=tokens, cost=cost, model=model, alias=alias)
    words = label_fields(description, tags)
    fields = {name: value for name, value in single.as_dict().items() if name not in ("signature", "key_id")}
    worded = sign_document({**fields, **words}, KEY)

    for receipt in (single, batch, worded):
        assert receipt == Receipt.from_json(receipt.text) == Receipt.of(receipt.as_dict())
        assert verify_receipts(receipt.text, KEY.public).valid
    assert (description, tuple(tags)) == (worded.description, worded.tags)
    assert batch.summary is not None
    assert (3 * (tokens + 50), 3 * (cost or 0), 3 * (cost is None)) == (
        batch.summary.total_tokens,
        batch.summary.total_cost,
        batch.summary.unpriced_calls,
    )
    assert verify_receipts(chain.bundles, KEY.public).valid
