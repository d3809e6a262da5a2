"""Fixtures of this room's tests."""

import itertools

import pytest

FORMATS = (
    "anthropic.server_response",
    "ollama.response",
    "decoding",
    "openai_chat.server_response",
    "openai_responses.server_response",
)


@pytest.fixture
def numbered_ids(monkeypatch):
    """The ids that we make are numbered instead of unique; calling it begins to count anew."""
    numbers = itertools.count()

    def again():
        nonlocal numbers
        numbers = itertools.count()

    for name in FORMATS:
        monkeypatch.setattr(f"llmdispatcher.wire.{name}.made_id", lambda kind: f"{kind}{next(numbers)}")
    return again
