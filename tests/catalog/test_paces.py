"""How fast models write, and which of them think: rows with source and date, the last that says a thing counts."""

import tomllib
from pathlib import Path

import pytest

from llmdispatcher import catalog

ROWS = tomllib.loads((Path(catalog.__file__).parent / "data/paces.toml").read_text())["pace"]
FIELDS = {"tokens_per_second", "usual_tokens", "usual_thinking_tokens", "thinks"}


def test_a_row_is_whole():
    """It is of known vendors, says something, and says from where."""
    known = {"*", *[vendor.name for vendor in catalog.vendor_rows()]}
    for row in ROWS:
        assert {*row["vendors"]} <= known, row
        assert row["models"], row
        assert FIELDS & row.keys() == row.keys() - {"vendors", "models", "source", "date"} != set(), row
        assert row["source"].startswith("https://"), row
        assert len(row["date"]) == len("2026-11-29"), row


def test_the_first_row_is_of_all_models():
    """So that a name that nobody knows has a pace, too."""
    pace = catalog.pace_of("acme", "my-own")

    assert (["*"], ["*"]) == (ROWS[0]["vendors"], ROWS[0]["models"])
    assert (50, 1_000, 8_000, False) == (pace.tokens_per_second, pace.usual_tokens, pace.usual_thinking_tokens, pace.thinks)


@pytest.mark.parametrize(
    ("vendor", "model", "thinks"),
    [
        ("openai", "o3", True),
        ("openai", "gpt-5-mini", True),
        ("azure-openai", "o4-mini", True),
        ("openai", "gpt-4o", False),
        ("openai", "gpt-5-chat-latest", False),
        ("openai", "gpt-5.1", False),
        ("anthropic", "claude-haiku-4-5", False),
        ("google", "models/gemini-2.5-pro", True),
        ("google", "gemini-2.5-flash-lite", False),
        ("xai", "grok-4", True),
        ("xai", "grok-4-fast-non-reasoning", False),
        ("together", "deepseek-ai/DeepSeek-R1", True),
        ("ollama", "llama3.3", False),
    ],
)
def test_who_thinks_without_being_asked_to(vendor, model, thinks):
    """By the families of names, whoever serves them."""
    assert thinks is catalog.pace_of(vendor, model).thinks
