"""``run``: prompts in, answers out, over simulated vendors and over those of the environment."""

from __future__ import annotations

import json

import pytest

from llmdispatcher import catalog
from llmdispatcher.cli.commands import batch
from llmdispatcher.testing import faults

from .conftest import records


def test_answers_are_in_the_order_of_the_prompts(command, prompts, openai, away):
    """Whoever answers first."""
    ended = command("run", prompts(*({"id": number, "messages": f"Say {number}"} for number in range(20))))

    assert 0 == ended.code, ended.err
    assert list(range(20)) == [line["id"] for line in records(away / "answers.jsonl")]
    assert "20 of 20 prompts answered, 0 failed" in ended.out


def test_without_a_key_simulated_vendors_answer(command, prompts, away):
    """Four of them, one of which is down; the run says so and all prompts are answered nevertheless."""
    ended = command("run", prompts({"model": "gpt-4.1"}, {"model": "claude-haiku-4-5"}, {"model": "gemini-2.5-flash"}))

    assert 0 == ended.code, ended.err
    assert "Nothing is sent anywhere: four simulated vendors" in ended.err
    assert ["openai", "anthropic", "google"] == [line["vendor"] for line in records(away / "answers.jsonl")]
    assert ["azure", "openai"] == [attempt["vendor"] for attempt in records(away / "answers.jsonl")[0]["attempts"]]
    assert "azure: 1 × VendorUnavailable" in ended.out


def test_simulate_leaves_the_keys_alone(command, prompts, openai):
    """No request reaches the vendor of the environment."""
    ended = command("run", prompts({}), "--simulate")

    assert "simulated vendors" in ended.err
    assert 0 == openai.hits


def test_the_vendors_of_the_environment_are_named(command, prompts, openai):
    """Before anything is sent."""
    assert "Asking openai, whose keys are known" in command("run", prompts({})).err


def test_a_stand_in_answers_for_a_vendor_without_a_key(command, prompts, openai, away):
    """So that one key is enough for the examples; the file tells which model it was."""
    command("run", prompts({"model": "claude-sonnet-4-6"}))

    assert [("openai", "gpt-4.1")] == [(line["vendor"], line["model"]) for line in records(away / "answers.jsonl")]


def test_exact_forbids_stand_ins(command, prompts, openai, away):
    """Then the prompt fails, and nobody is asked."""
    ended = command("run", prompts({"model": "claude-sonnet-4-6"}), "--exact")

    assert 1 == ended.code
    assert ["ModelNotFound"] == [line["error"]["class"] for line in records(away / "answers.jsonl")]
    assert 0 == openai.hits


def test_a_bad_line_is_told_and_the_rest_goes_on(command, prompts, openai, away):
    """On stderr with file, line and field; in its place in the file; in the exit code."""
    file = prompts({"id": "a"}, {"id": "b", "temperature": 3}, {"id": "c"})
    ended = command("run", file)

    assert 1 == ended.code
    assert f"llmdispatcher: {file}:2: temperature: 3 is not a number from 0 to 2" in ended.err
    assert [False, True, False] == ["error" in line for line in records(away / "answers.jsonl")]
    assert "2 of 3 prompts answered, 1 failed" in ended.out


def test_a_failed_prompt_is_told(command, prompts, openai, away):
    """With its id and class; the others are answered."""
    openai.script(faults.bad_request())
    ended = command("run", prompts({"id": "a"}, {"id": "b"}), "--workers", 1)

    assert 1 == ended.code
    assert "llmdispatcher: a: InvalidRequest: " in ended.err
    assert ["a", "b"] == [line["id"] for line in records(away / "answers.jsonl")]
    assert "openai: 1 × InvalidRequest" in ended.out


def test_only_the_first_failures_are_told(command, prompts, openai):
    """A run in which all fails does not flood the terminal."""
    openai.always(faults.bad_request())

    assert 10 == command("run", prompts(*[{}] * 15)).err.count("InvalidRequest")


def test_a_timeout_is_for_each_prompt(command, prompts, openai, away):
    """A silent vendor costs no more than it."""
    openai.always(faults.silent())
    command("run", prompts({}), "--timeout", 0.2)

    assert "DeadlineExceeded" == records(away / "answers.jsonl")[0]["error"]["class"]


def test_json_is_for_programs(command, prompts, openai):
    """Stdout holds one JSON document, in which money is exact text."""
    told = json.loads(command("run", prompts({}, {}), "--json").out)

    assert (2, 2, 0, "answers.jsonl") == (told["prompts"], told["answered"], told["failed"], told["answers"])
    assert 2 == told["stats"]["vendor_stats"]["openai"]["requests"]
    assert isinstance(told["stats"]["total_cost"], str)


def test_limit_and_output(command, prompts, openai, away):
    """Only so many prompts, into the file of the user's choice."""
    command("run", prompts({}, {}, {}), "--limit", 2, "--output", "mine.jsonl")

    assert 2 == len(records(away / "mine.jsonl"))


def test_an_output_that_exists_is_wrong_usage(command, prompts, openai, away):
    """Found before anything is sent."""
    (away / "mine.jsonl").write_text("precious")
    ended = command("run", prompts({}), "--output", "mine.jsonl")

    assert 2 == ended.code
    assert "llmdispatcher: mine.jsonl exists" in ended.err
    assert 0 == openai.hits


def test_streamed_answers_are_printed_in_order(command, prompts, openai, away):
    """Each with its id, and written down like any other, with the time to its first word."""
    openai.script("One.", "Two.", "Three.")
    ended = command("run", prompts({"id": "a"}, {"id": "b"}, {"id": "c"}), "--stream", "--workers", 1)

    assert 0 == ended.code, ended.err
    assert ended.out.startswith("[a] One.\n\n[b] Two.\n\n[c] Three.\n\n")
    assert all("first_token" in line["attempts"][-1] for line in records(away / "answers.jsonl"))


def test_streams_run_ahead_of_their_reader(command, prompts, openai, away):
    """With several workers the order stays."""
    ended = command("run", prompts(*({"id": number} for number in range(9))), "--stream", "--workers", 4)

    assert list(range(9)) == [line["id"] for line in records(away / "answers.jsonl")]
    assert 0 == ended.code, ended.err


def test_a_broken_stream_fails_its_prompt(command, prompts, openai, away):
    """After its first words; the next one is streamed as if nothing had been."""
    openai.script(faults.eof_after(9))
    ended = command("run", prompts({"id": "a"}, {"id": "b"}), "--stream", "--workers", 1)

    assert 1 == ended.code
    assert ["StreamInterrupted", None] == [line.get("error", {}).get("class") for line in records(away / "answers.jsonl")]


def test_streaming_with_json_prints_json_only(command, prompts, openai):
    """The answers are in the file."""
    assert 1 == json.loads(command("run", prompts({}), "--stream", "--json").out)["answered"]


def test_streaming_keeps_bad_lines_and_refusals_in_place(command, prompts, openai, away):
    """What cannot be asked at all is told like in a plain run."""
    command("run", prompts("nonsense", {"model": "claude-haiku-4-5"}, {"id": "c"}), "--stream", "--exact")

    assert ["InvalidRequest", "ModelNotFound", None] == [
        line.get("error", {}).get("class") for line in records(away / "answers.jsonl")
    ]


def test_every_simulated_vendor_is_in_the_catalog():
    """What the demonstration pretends to be exists."""
    from llmdispatcher.cli.session import CHARACTERS

    assert all(catalog.vendor_row(character.kind) is not None for character in CHARACTERS)


REFUSED = {
    "exists": ("precious.jsonl", "precious.jsonl exists; choose another --output, or --force to overwrite it"),
    "prompts": ("prompts.jsonl", "prompts.jsonl: these are the prompts; choose another --output"),
    "no folder": ("output/force.jsonl", "output/force.jsonl: No such file or directory"),
}


@pytest.mark.parametrize(("output", "text"), REFUSED.values(), ids=REFUSED)
def test_an_output_that_cannot_be_written_is_told(command, prompts, openai, away, output, text):
    """In one line, which names the options that mend it."""
    (away / "precious.jsonl").write_text("precious")
    ended = command("batch", prompts({}), "--output", output)

    assert (2, "", 0) == (ended.code, ended.out, openai.hits)
    assert f"llmdispatcher: {text}" == ended.err.splitlines()[-1]


def test_a_folder_that_takes_no_file_is_told(command, prompts, openai, monkeypatch):
    """Also for the name that nobody chose."""

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(batch.AnswersFile, "_open", refuse)
    ended = command("batch", prompts({}))

    assert (2, "llmdispatcher: answers.jsonl: Permission denied; choose an --output") == (ended.code, ended.err.splitlines()[-1])


def test_without_a_file_the_examples_are_read(command):
    """Those of the checkout."""
    assert batch.EXAMPLES == batch.choose_prompts(None)
    assert batch.EXAMPLES.is_file()


def test_an_installed_package_has_no_examples(command, monkeypatch, away):
    """It asks for a file."""
    monkeypatch.setattr(batch, "EXAMPLES", away / "none.jsonl")
    ended = command("batch")

    text = "which file? the example prompts come with the sources only: llmdispatcher batch FILE.jsonl"
    assert (2, f"llmdispatcher: {text}\n") == (ended.code, ended.err)
