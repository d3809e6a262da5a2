"""Documents: bounded in every direction; one bad row costs itself, a bad document is refused whole."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest

from llmdispatcher import MalformedReply
from llmdispatcher.catalog.registry.document import MOST_BYTES, checksum_holds, parse_time, read_edition

from .conftest import document, row


def test_good_rows_stay(caplog):
    """What is wrong is left out with its reason, in the log and in the edition."""
    rows = [row(name="good"), row(name="bad", dollars_per_million_tokens_input=-1)]
    edition = read_edition("openai", document(rows=rows))

    assert ["good"] == list(edition.models)
    assert "'openai:bad': dollars_per_million_tokens_input" in edition.skipped[0]
    assert "1 rows are left out" in caplog.text


def test_of_many_bad_rows_few_are_logged(caplog):
    """A hostile registry cannot fill the log."""
    rows = [row(name="good"), *[row(name=f"{number}", is_active="x" * 1000) for number in range(500)]]
    edition = read_edition("openai", document(rows=rows))

    assert 500 == len(edition.skipped)
    assert len(caplog.text) < 1_000


def test_the_largest_name_has_the_alias():
    """Of two models that claim it; nobody has another's own name."""
    rows = [row(name="m-1", model_aliases=["m", "m-2"]), row(name="m-2", model_aliases=["m"])]
    edition = read_edition("openai", document(rows=rows))

    assert "m-2" == edition.find("m").name
    assert "m-2" == edition.find("openai:m-2").name
    assert edition.find("m-3") is None


BAD = {
    "empty": b"",
    "half": document()[:-20],
    "a list": b"[]",
    "text": b'"models"',
    "a web page": b"<html>503</html>",
    "not UTF-8": b'{"provider": "\xff\xfe"}',
    "NaN": document().replace(b"2.0", b"NaN"),
    "deep": b"[" * 100_000 + b"]" * 100_000,
    "another vendor": document("anthropic"),
    "no version": document(version=None),
    "version as text": document(version="7"),
    "version as flag": document(version=True),
    "version 0": document(version=0),
    "version without end": document(version=10**30),
    "no models": document(models=None),
    "models as list": document(models=[row()]),
    "empty models": document(models={}),
    "too many models": document(models={f"openai:{number}": {} for number in range(5_001)}),
    "only bad models": document(models={"openai:x": None}),
    "too large": b" " * (MOST_BYTES + 1),
    "small values without end": b"[" + b"0," * 1_100_000 + b"0]",
    "a number without end": document().replace(b"2.0", b"9" * 5_000),
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_a_bad_document_is_refused(body):
    """With an error of ours, whatever it is."""
    with pytest.raises(MalformedReply):
        read_edition("openai", body)


def test_a_pin_is_exact():
    """Where version 7 should be, version 8 is not it."""
    with pytest.raises(MalformedReply, match="version 8 is published where 7 should be"):
        read_edition("openai", document(version=8), 7)


TIMES = {
    "2026-08-18T17:29:16.542543": datetime(2026, 8, 18, 17, 29, 16, 542543, tzinfo=UTC),
    "2026-08-18T17:29:16Z": datetime(2026, 8, 18, 17, 29, 16, tzinfo=UTC),
    "2026-08-18T19:29:16+02:00": datetime(2026, 8, 18, 17, 29, 16, tzinfo=UTC),
    "2026-08-18": datetime(2026, 8, 18, tzinfo=UTC),
    "yesterday": None,
    "0001-01-01T00:00:00+14:00": None,
}


@pytest.mark.parametrize(("text", "expected"), TIMES.items())
def test_times_are_aware(text, expected):
    """One without a zone is UTC; what is none is unknown."""
    assert expected == parse_time(text)


@pytest.mark.parametrize("value", [None, 5, ["2026-08-18"], True])
def test_other_things_are_no_times(value):
    """Wrong types too."""
    assert parse_time(value) is None


def test_an_edition_is_written_and_read_again():
    """The published layout both ways."""
    edition = read_edition("openai", document(version=3, rows=[row(name="a", model_aliases=["b"]), row(name="c")]))

    assert edition == read_edition("openai", json.dumps(edition.as_dict()).encode())


def chained(version, before, **fields):
    """A document whose checksum is over itself with the checksum of the one before."""
    plain = json.loads(document(version=version, **fields))
    summed = plain if before is None else {**plain, "content_sha256_jcs": before}
    text = json.dumps(summed, sort_keys=True, separators=(",", ":"))
    return json.dumps({**plain, "content_sha256_jcs": hashlib.sha256(text.encode()).hexdigest()}).encode()


def test_checksums_are_a_chain():
    """Each holds over the one before; a change shows; without the one before nothing can be said."""
    first = read_edition("openai", chained(1, None))
    second = read_edition("openai", chained(2, first.checksum))
    altered = read_edition("openai", second.body.replace(b"128000", b"128001"))

    assert checksum_holds(first, None) is True
    assert checksum_holds(second, first.checksum) is True
    assert checksum_holds(second, None) is None
    assert checksum_holds(altered, first.checksum) is False
    assert 128_001 == altered.models["gpt-x"].max_input_tokens, "it is advice, and rejects nothing"
