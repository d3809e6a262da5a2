"""Usage by tag, and calls with a tag: the texts in ``metadata["tags"]``."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from random import Random

import pytest

from llmdispatcher import InvalidRequest, open_ledger

from ..conftest import IN_BOTH
from .made_calls import at, made, put

DAY = at("2026-03-01T00:00")
TAGS = {
    "one": {"tags": ["blue"]},
    "two": {"tags": ["blue", "grün", "blue"]},
    "text": {"tags": "grün"},
    "tuple": {"tags": ["it's", 7, None, "", {"a": "blue"}]},
    "other": {"team": "blue"},
    "table": {"tags": 5},
    "none": None,
}


@IN_BOTH
def test_calls_are_summed_and_found_by_tag(store):
    """A call with two tags is in both buckets, each once; one without is under the empty text; totals count every call once."""
    chance = Random(3)
    facts = {"status": "success", "cost": Decimal(1), "origin": "shop"}
    rows = [made(chance, DAY + timedelta(hours=n), **facts, metadata=tags) for n, tags in enumerate(TAGS.values())]
    ids = dict(zip(TAGS, [row["id"] for row in rows], strict=True))
    with open_ledger(store) as ledger:
        put(ledger, rows, [])
        asked = {"start": DAY, "end": DAY + timedelta(days=2)}
        stats = ledger.get_usage_stats(by="tag", **asked)
        assert {"blue": 2, "grün": 2, "it's": 1, "": 3} == {one.value: one.total_calls for one in stats.buckets}
        assert (7, Decimal(7)) == (stats.total_calls, stats.total_cost)
        grouped = ledger.get_usage_stats(by="tag", group_by="day", origin="shop", **asked)
        assert {("2026-03-01", "blue"): 2} == {(b.period, b.value): b.total_calls for b in grouped.buckets if b.value == "blue"}
        for tag, names in (("blue", {"one", "two"}), ("it's", {"tuple"}), ("nobody's", set()), ("", {"other", "table", "none"})):
            found = {call.id for call in ledger.list_recent_calls(tag=tag)}
            assert {ids[name] for name in names} == found, tag
            assert len(names) == ledger.get_usage_stats(tag=tag, **asked).total_calls
            assert len(names) == len(ledger.export_usage_logs(tag=tag))
        assert ["blue"] == [one.value for one in ledger.get_usage_stats(by="tag", tag="blue", **asked).buckets if one.value < "c"]
        ledger.prune(DAY + timedelta(days=1))
        for by, complete in (("tag", False), ("model", True)):
            assert complete == ledger.get_usage_stats(by=by, **asked).complete
        with pytest.raises(InvalidRequest, match="tag: 7 is no text"):
            ledger.list_recent_calls(tag=7)


def test_tags_are_kept_where_metadata_is_too_much(tmp_path):
    """They are the last that is left out."""
    with open_ledger(tmp_path / "calls.db") as ledger:
        ledger.record(
            "openai",
            "gpt-4o",
            input_tokens=1,
            metadata={"long": "x" * 480, **{f"n{n}": "y" * 480 for n in range(9)}, "tags": ["a"]},
        )
        (call,) = ledger.list_recent_calls(tag="a")
        ledger.record("openai", "gpt-4o", input_tokens=1, metadata={"tags": {"b", "c"}})
        assert 1 == len(ledger.list_recent_calls(tag="c"))
    assert ["a"] == call.metadata["tags"]
    assert "n8" not in call.metadata
