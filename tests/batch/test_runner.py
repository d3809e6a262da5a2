"""A batch that a Python program runs, without the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmdispatcher import Config, Dispatcher, InvalidRequest, RateLimitError, RetryPolicy
from llmdispatcher.batch import AnswersFile, BatchRunner, Journal, estimate_cost, read_prompts, total_cost
from llmdispatcher.testing import FakeVendor

from ..cli.conftest import records


def run(dispatcher, file, output, **how):
    """Run the batch, or go on with it; returns its tally."""
    lines = read_prompts(file)
    with (
        AnswersFile.create(output, prompts=file, resume=True) as answers,
        Journal.open(answers, resume=True, warn=print) as journal,
    ):
        return BatchRunner(dispatcher=dispatcher, workers=1, **how).run(lines, answers, journal)


def test_a_program_resumes_a_batch(prompts, away):
    """The second run sends only the prompt that failed; the answers are in the order of the prompts, and the journal is gone."""
    file, output = prompts({"id": "a", "model": "fake:m"}, {"id": "b", "model": "fake:m"}), away / "out.jsonl"
    vendor = FakeVendor("One.", InvalidRequest("no"), "Two.")
    failures = []
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor)
        first = run(dispatcher, file, output, on_failure=lambda line, error: failures.append((line.id, str(error.message))))
        second = run(dispatcher, file, output)

    assert (1, 1, [("b", "no")]) == (first.answered, first.failed, failures)
    assert (2, 1, 0, 3) == (second.answered, second.before, second.failed, vendor.hits)
    assert [("a", "One."), ("b", "Two.")] == [(line["id"], line["content"]) for line in records(output)]
    assert ["out.jsonl", "prompts.jsonl"] == sorted(path.name for path in away.iterdir())


def test_a_journal_that_cannot_be_deleted_while_it_is_open_is_deleted_afterwards(prompts, away, monkeypatch):
    """Windows deletes no open file: a batch that has ended is no failure there, and leaves no journal."""
    real, refused = Path.unlink, []

    def unlink(path, missing_ok=False):
        if any(descriptor.exists() and descriptor.samefile(path) for descriptor in Path("/proc/self/fd").iterdir()):
            refused.append(path.name)
            raise PermissionError(13, "used by another process")
        real(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor("One."))
        tally = run(dispatcher, prompts({"id": "a", "model": "fake:m"}), away / "out.jsonl")

    assert (1, ["out.jsonl.journal"]) == (tally.answered, refused)
    assert ["out.jsonl", "prompts.jsonl"] == sorted(path.name for path in away.iterdir())


def test_a_program_reads_the_streams(prompts, away):
    """In the order of the prompts."""
    heard = []
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(FakeVendor("Hello."))
        run(
            dispatcher,
            prompts({"id": "a", "model": "fake:m"}, {"id": "b", "model": "fake:m"}),
            away / "out.jsonl",
            stream=True,
            on_stream=lambda prompt, stream: heard.append((prompt.id, "".join(chunk.content for chunk in stream))),
        )

    assert [("a", "Hello."), ("b", "Hello.")] == heard


def test_an_estimate_sends_nothing(prompts):
    """What has no price is counted, and adds nothing."""
    vendor = FakeVendor()
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor)
        estimates = estimate_cost(dispatcher, read_prompts(prompts({"model": "fake:m"})))

    assert (0, 0, 1) == (vendor.hits, total_cost(estimates), estimates["fake:m"].unpriced)


@pytest.mark.parametrize(("hint", "failed"), [(7200.0, 5), (3000.0, 8)])
def test_a_rate_that_is_refused_for_over_an_hour_ends_the_batch(prompts, away, hint, failed):
    """After five prompts in a row, as for a spent account; a shorter wait ends nothing."""
    vendor = FakeVendor(*[RateLimitError("slow down", retry_after=hint)] * 8)
    policy = RetryPolicy(max_retries=0, max_cooldown=0)
    with Dispatcher(Config(retry_policy=policy)) as dispatcher:
        dispatcher.register_vendor(vendor)
        tally = run(dispatcher, prompts(*[{"model": "fake:m"}] * 8), away / "out.jsonl", timeout=5)

    assert (failed, 8 - failed) == (tally.failed, tally.missing)
    assert (failed < 8) == any("fake:m refused further requests for over an hour for 5 prompts" in one for one in tally.left_out)
