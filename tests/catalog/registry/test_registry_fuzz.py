"""Whatever somebody publishes: only errors of ours, and whatever passes can be put over the catalog and priced with."""

from __future__ import annotations

import json
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from llmdispatcher import MalformedReply, Usage
from llmdispatcher.catalog import model_facts
from llmdispatcher.catalog.models import apply_registry
from llmdispatcher.catalog.registry.document import read_edition
from llmdispatcher.catalog.registry.status import catalog_rows, compare_editions
from llmdispatcher.types import cost_of as cost

from .conftest import document, row

FIELDS = sorted(
    {
        *row(),
        *(f"dollars_per_million_tokens_{name}" for name in ("cache_read", "cached_input", "cache_write_5m", "cache_write_1h")),
        *(f"dollars_per_million_tokens_{name}_long_context" for name in ("input", "output")),
        "dollars_per_million_tokens_output_thinking",
        "long_context_threshold_tokens",
        "supports_long_context_pricing",
        "model_aliases",
        "api_endpoint",
        "deprecated_date",
        "release_date",
        "supports_anything",
    }
)
NUMBERS = st.one_of(st.floats(), st.integers(), st.floats(0, 10_000), st.integers(0, 10_000))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20), st.sampled_from(["gpt-x", "gpt-4o", "embeddings"]))
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))
MANY = settings(max_examples=30)


def checked(body):
    """What passes the reader, put over the catalog and asked for; ``None`` where nothing does."""
    try:
        edition = read_edition("openai", body)
    except MalformedReply:
        return None
    rows = catalog_rows(edition, "fuzz")
    apply_registry({"openai": rows}, {"openai": "fuzz"})
    usage = Usage(input_tokens=300_000, output_tokens=1_000, cache_read_tokens=5, cache_write_tokens=5)
    for name in rows:
        facts = model_facts("openai", name)
        if facts.price is not None:
            dollars = cost(usage, facts.price)
            assert dollars.is_finite()
            assert 0 <= dollars <= Decimal(100_000)
    str(compare_editions(None, edition))
    return edition


@MANY
@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6))
def test_any_fields(fields):
    """A row with any values in any fields, beside a good one, which stays."""
    broken = {**row(name="gpt-y"), **fields}
    models = {"openai:good": row(name="good"), "openai:gpt-y": broken, "openai:gpt-4o": {**broken, "model_name": "gpt-4o"}}
    edition = checked(json.dumps({**json.loads(document()), "models": models}).encode())

    if edition is not None:  # NaN is no JSON: the whole document is none
        assert "good" in edition.models
        assert edition == read_edition("openai", json.dumps(edition.as_dict()).encode()) or edition.skipped


@MANY
@given(st.dictionaries(st.sampled_from(["provider", "version", "updated_at", "models", "content_sha256_jcs"]), VALUES))
def test_any_document(fields):
    """Any values at the top."""
    checked(json.dumps({**json.loads(document()), **fields}).encode())


@MANY
@given(st.binary(max_size=200))
def test_any_bytes(body):
    """Anything at all."""
    checked(body)


def test_every_cut():
    """A document that ends anywhere is no document."""
    body = document()

    assert [None] * len(body) == [checked(body[:place]) for place in range(len(body))]
