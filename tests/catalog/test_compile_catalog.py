"""The catalog's data is what the script makes of the facts: the same bytes, small, and quickly read."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest

from scripts.catalog.gathered import facts, listed, price
from scripts.compile_catalog import TARGET, compiled, main

WIRE = os.environ.get("LLMDISPATCHER_WIRE_CORPUS")
FOLDER = (Path(WIRE).parent if WIRE else Path(__file__).resolve().parents[3] / "shared") / "data"
needs_facts = pytest.mark.skipif(not (FOLDER / "model_facts.json").is_file(), reason=f"no gathered facts at {FOLDER}")
FACT = {
    "provider": "openai",
    "mode": "chat",
    "input_cost_per_token": 2e-06,
    "output_cost_per_token": 8e-06,
    "cache_read_input_token_cost": 5e-07,
    "supports_vision": True,
    "supports_pdf_input": False,
    "source": "https://example.org/prices",
}


def in_a_folder(tmp_path, documents, pages=()):
    (tmp_path / "model_facts.json").write_text(json.dumps(documents))
    for vendor, page in pages:
        (tmp_path / "registry" / "pages" / vendor).mkdir(parents=True)
        (tmp_path / "registry" / "pages" / vendor / "models.json").write_text(json.dumps(page))
    return {vendor: json.loads(text) for vendor, text in compiled(tmp_path).items()}


@needs_facts
def test_the_committed_data_is_what_the_script_makes():
    """Byte for byte: nobody edits it by hand, and running it again changes nothing."""
    made = compiled(FOLDER)

    assert made.keys() == {path.stem for path in TARGET.glob("*.json")}
    assert [] == [vendor for vendor, text in made.items() if (TARGET / f"{vendor}.json").read_text("utf-8") != text]
    assert made == compiled(FOLDER)


def test_without_a_folder_it_says_what_it_wants(capsys):
    """Exit code 2, as of any command that is called wrongly."""
    assert 2 == main([])
    assert "usage: python -m scripts.compile_catalog FOLDER" in capsys.readouterr().err


def test_the_data_is_small():
    """It is in every installation."""
    assert sum(path.stat().st_size for path in TARGET.glob("*.json")) < 400_000


def test_prices_are_exact_decimals():
    """0.1 + 0.2 has no place in a bill: the digits are those that were published."""
    row = price({"input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07, "cache_read_input_token_cost": 2.8e-08})

    assert {"input": "0.15", "output": "0.6", "cache_read": "0.028"} == row


def test_bands_tiers_and_calls_are_read():
    """Each dimension of a price has its place in the row."""
    row = price(
        {
            "input_cost_per_token": 2e-06,
            "output_cost_per_token": 8e-06,
            "input_cost_per_token_above_200k_tokens": 4e-06,
            "output_cost_per_token_above_200k_tokens": 1.2e-05,
            "input_cost_per_token_batches": 1e-06,
            "output_cost_per_token_batches": 4e-06,
            "input_cost_per_token_priority": 4e-06,
            "output_cost_per_token_priority": 1.6e-05,
            "input_cost_per_token_above_200k_tokens_priority": 8e-06,
            "search_context_cost_per_query": {"low": 0.01, "high": 0.01},
        }
    )

    assert {"above": 200_000, "input": "4", "output": "12"} == row["bands"][0]
    assert {"input": "1", "output": "4", "bands": [{"above": 200_000, "input": "2", "output": "6"}]} == row["tiers"]["batch"]
    assert {"input": "4", "output": "16", "bands": [{"above": 200_000, "input": "8"}]} == row["tiers"]["priority"]
    assert {"web_search": "0.01"} == row["calls"]


def test_a_fact_without_prices_of_tokens_has_none():
    """A model that bills by the second, or that nobody knows a price of, is not free."""
    assert None is price({"input_cost_per_second": 0.1})


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("gpt-x-realtime", {}),
        ("gpt-x", {"mode": "completion"}),
        ("eu/gpt-x", {}),
        ("gpt-x", {"provider": "somebody"}),
        ("gpt-x", {"cost_per_second": 1}),
    ],
)
def test_what_does_not_talk_or_is_not_ours_is_left_out(name, change):
    """Other modes, other regions, other hosts, machines by the second."""
    assert [] == list(facts({name: {**FACT, **change}}))


def test_checked_rows_win_and_keep_what_they_do_not_say(tmp_path):
    """The price that was read on the vendor's page counts; the tiers of a price that agrees stay."""
    told = {**FACT, "input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 9e-06}
    batch = {"input_cost_per_token_batches": 1.25e-06, "output_cost_per_token_batches": 5e-06}
    row = in_a_folder(tmp_path, {"gpt-4o": {**told, **batch}})["openai"]["models"]["gpt-4o"]

    assert ("1.25", {"batch": {"input": "1.25", "output": "5"}}) == (row["price"]["cache_read"], row["price"]["tiers"])
    assert (True, 128000) == (row["checked"], row["context_window"])


def test_a_price_that_disagrees_takes_nothing_over(tmp_path):
    """Tiers of another standard price are those of another price."""
    row = in_a_folder(tmp_path, {"gpt-4o": {**FACT, "input_cost_per_token_batches": 1e-06, "output_cost_per_token_batches": 1e-06}})

    assert "tiers" not in row["openai"]["models"]["gpt-4o"]["price"]


def test_dated_names_with_the_same_facts_are_aliases(tmp_path):
    """One row where nothing differs, two where something does."""
    rows = in_a_folder(
        tmp_path, {"nova-1": FACT, "nova-1-2026-01-01": FACT, "nova-1-2026-02-02": {**FACT, "output_cost_per_token": 9e-06}}
    )["openai"]["models"]

    assert ["nova-1-2026-01-01"] == rows["nova-1"]["aliases"]
    assert "9" == rows["nova-1-2026-02-02"]["price"]["output"]


def test_a_registry_adds_models_and_days(tmp_path):
    """Models that the facts have not, under the page's date; of the others only when they came and go."""
    known = {"model_name": "nova-1", "dollars_per_million_tokens_input": 7.0, "dollars_per_million_tokens_output": 7.0}
    known |= {"release_date": "2026-01-02", "deprecated_date": None}
    other = {**known, "model_name": "nova-0", "is_active": False, "dollars_per_million_tokens_cache_read": 0.7}
    page = {"provider": "openai", "updated_at": "2026-08-18T17:29:16", "models": {"a": known, "b": other}}
    rows = in_a_folder(tmp_path, {"nova-1": FACT}, [("openai", page)])["openai"]["models"]

    assert ("2", "2026-01-02") == (rows["nova-1"]["price"]["input"], rows["nova-1"]["since"])
    assert {"input": "7", "output": "7", "cache_read": "0.7"} == rows["nova-0"]["price"]
    assert ("2026-08-18", True) == (rows["nova-0"]["date"], rows["nova-0"]["retired"])


def test_names_that_are_none_are_not_taken_from_a_registry():
    """Pages that were read by a machine have headings among their names."""
    row = {"model_name": "GPT 4", "dollars_per_million_tokens_input": 1.0, "dollars_per_million_tokens_output": 1.0}

    assert [] == list(listed({"models": {"a": row}}))


def test_the_catalog_is_read_in_no_time():
    """The first look-up of a process, files and all, takes less than twice the CPU of starting Python; the best, in turns."""
    program = (
        "import time; from llmdispatcher.catalog import get_model\n"
        "begin = time.process_time(); get_model('gpt-4o'); get_model('claude-opus-5'); print(time.process_time() - begin)"
    )
    bare = "import time; print(time.process_time())"  # which counts from the beginning of the process
    looked_up, started = [], []
    while len(started) < 40 and not (started and min(looked_up) < 2 * min(started)):
        for times, code in ((looked_up, program), (started, bare)):
            told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
            times.append(Decimal(told))

    assert min(looked_up) < 2 * min(started)
