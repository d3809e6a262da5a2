"""The file of example prompts: enough of them, and of every kind."""

from __future__ import annotations

import json

from llmdispatcher.batch import Prompt, read_prompts
from llmdispatcher.cli.commands.batch import EXAMPLES

PROMPTS = read_prompts(EXAMPLES)


def characters(prompt):
    """The length of a conversation."""
    return sum(len(message.text) for message in prompt.request.messages)


def test_there_are_enough():
    """At least sixty, each a valid request with an id of its own."""
    assert all(isinstance(prompt, Prompt) for prompt in PROMPTS)
    assert len({prompt.id for prompt in PROMPTS}) == len(PROMPTS) >= 60


def test_they_are_varied():
    """Three families of models, pinned vendors, system messages, several turns, long inputs."""
    models = {prompt.request.model for prompt in PROMPTS}
    roles = [tuple(message.role for message in prompt.request.messages) for prompt in PROMPTS]

    assert {"gpt", "claude", "gemini"} <= {model.partition("-")[0] for model in models}
    assert any(":" in model for model in models)
    assert 10 <= sum("system" in turns for turns in roles)
    assert 5 <= sum(turns.count("user") > 1 for turns in roles)
    assert 8 <= sum(characters(prompt) > 2_000 for prompt in PROMPTS)


def test_they_are_written_as_text():
    """Other scripts than Latin stand in the file as themselves, so that people can read it."""
    lines = EXAMPLES.read_text(encoding="utf-8").splitlines()

    assert len(PROMPTS) == len(lines)
    assert 5 <= sum(not line.isascii() for line in lines)
    assert all(json.dumps(json.loads(line), ensure_ascii=False) == line for line in lines)
