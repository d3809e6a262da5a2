"""A batch that is killed, stopped or failed, and gone on with: nothing is paid twice, nothing is lost, the order stays."""

from __future__ import annotations

import json
import os
import re
import shlex
import threading
from collections import Counter

import pytest

from llmdispatcher.batch.files import journal_path
from llmdispatcher.testing import OK, faults

from .conftest import records
from .started import Piped, Pty, piped

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start

PROMPTS = 40
WORKERS = 4


def echo(asked):
    """The answer to a prompt names it."""
    return f"answer to {asked['messages'][-1]['content']}"


def served(simulator):
    """How often each prompt came to the vendor."""
    return Counter(request.json["messages"][-1]["content"] for request in simulator.requests)


class Tap:
    """Answers that come as far as they are let; who is asked more waits, so that a kill finds some on their way."""

    def __init__(self):
        self._changed = threading.Condition()
        self._left, self._life = 0, 0

    def open(self, answers):
        """Let so many come from now on; those who have waited so far are of a process that is dead."""
        with self._changed:
            self._left, self._life = answers, self._life + 1
            self._changed.notify_all()

    def answer(self, asked):
        """The answer, when it may come."""
        with self._changed:
            life = self._life
            self._changed.wait_for(lambda: self._left > 0 or life != self._life, 200)
            if life == self._life:
                self._left -= 1
        return echo(asked)


@pytest.mark.parametrize("kills", [(1,), (3, 17)], ids=["at the first answer", "twice"])
@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
def test_a_killed_batch_is_gone_on_with(prompts, openai, away, kills, more):
    """SIGKILL at several points: no prompt is served twice but those in flight at a kill, and the file is whole and in order."""
    file = prompts(*({"id": f"p{number}", "messages": f"prompt {number}"} for number in range(PROMPTS)))
    command = ("batch", file, "--output", "out.jsonl", "--resume", "--workers", WORKERS, "--json", *more)
    journal = journal_path(away / "out.jsonl")
    tap = Tap()
    openai.responses = tap.answer
    for lines in kills:
        tap.open(lines + 2)
        with Piped(*command) as process:
            wait_for(journal, lines, process)
    tap.open(1000)
    code, out, err = piped(*command)
    told = json.loads(out)
    count = served(openai)

    assert (0, PROMPTS, 0) == (code, told["answered"], told["failed"]), err
    assert [f"p{number}" for number in range(PROMPTS)] == [line["id"] for line in records(away / "out.jsonl")]
    assert [f"answer to prompt {number}" for number in range(PROMPTS)] == [line["content"] for line in records(away / "out.jsonl")]
    assert {f"prompt {number}" for number in range(PROMPTS)} == set(count)
    assert sum(count.values()) - PROMPTS <= len(kills) * (2 * WORKERS if more else WORKERS)
    assert told["answered_before"] >= max(kills)
    assert not journal.exists()


def wait_for(journal, lines, process):
    """Until a journal has so many lines."""
    waited = threading.Event()
    for _ in range(10_000):
        if journal.exists() and journal.read_bytes().count(b"\n") >= lines:
            return
        if process.returncode is not None:
            raise AssertionError(f"it ended by itself: {process.communicate()}")
        waited.wait(0.01)
    raise AssertionError("the journal did not grow")


@pytest.fixture
def half_done(command, prompts, openai, away):
    """A batch of four prompts of which two have failed; the command that goes on with it."""
    openai.responses = echo
    openai.script("One.", faults.bad_request(), "Three.", faults.bad_request())
    file = prompts(*({"id": number, "messages": f"prompt {number}"} for number in range(4)))
    ended = command("batch", file, "--output", "out.jsonl", "--workers", 1)
    assert 1 == ended.code
    assert f"To ask the rest: llmdispatcher batch {file} --workers 1 --output out.jsonl --resume\n" in ended.err
    return file, "--output", "out.jsonl", "--resume", "--workers", 1


def test_what_failed_is_asked_again(command, half_done, openai, away):
    """And only that; the tally tells both."""
    ended = command("batch", *half_done)

    assert 0 == ended.code, ended.err
    assert 6 == openai.hits
    assert ["One.", "answer to prompt 1", "Three.", "answer to prompt 3"] == [
        line["content"] for line in records(away / "out.jsonl")
    ]
    assert "4 of 4 prompts answered (2 of them before), 0 failed" in ended.out


def test_the_hint_repeats_every_option(command, prompts, openai, away):
    """Whatever was given, before the command or behind it, quoted where the shell wants it; but no password."""
    openai.always(faults.bad_request())
    (away / "my config.toml").write_text("[retry_policy]\nmax_retries = 0\n")
    file = prompts({}, {}, name="my prompts.jsonl")
    given = shlex.split(
        f"--config 'my config.toml' --no-color batch '{file}' --model gpt-4o --substitute --workers 2 --rpm 100 --tpm 100000"
        " --timeout 20 --limit 2 --max-failures 9 --stream --max-cost 2.5 --yes"
        " --sqlite calls.db --profile prod --output out.jsonl --force"
    )
    (away / "llmdispatcher.lock").write_text('version = "1.0"\n[profiles.prod]\nname = "prod"\n')
    hint = command(*given).err.splitlines()[-1].removeprefix("To ask the rest: ")
    words = shlex.split(hint)

    assert ["llmdispatcher", "--sqlite", "calls.db", "--profile", "prod", "--config", "my config.toml", "--no-color"] == words[:8]
    assert given[3 : given.index("--sqlite")] == words[8 : -len(("--output", "out.jsonl", "--resume"))]
    assert ["--output", "out.jsonl", "--resume"] == words[-3:]
    hits = openai.hits
    openai.always(OK)
    assert 0 == command(*words[1:]).code
    assert hits + 2 == openai.hits


def test_what_is_whole_is_not_asked_again(command, half_done, openai):
    """A script may say --resume each time."""
    command("batch", *half_done)
    ended = command("batch", *half_done)

    assert (0, 6) == (ended.code, openai.hits)
    assert "out.jsonl: all is answered" in ended.err


def test_a_changed_prompt_is_asked_anew(command, half_done, openai, away, prompts):
    """An answer belongs to the line that it answers, wherever it stands now; its id is the line's."""
    prompts({"id": 9, "messages": "prompt 9"}, {"id": 0, "messages": "prompt 0"})
    command("batch", *half_done)

    assert ["answer to prompt 9", "One."] == [line["content"] for line in records(away / "out.jsonl")]
    assert {"prompt 9"} == {request.json["messages"][-1]["content"] for request in openai.requests[4:]}


def test_a_torn_line_is_asked_again(command, half_done, openai, away):
    """As a crash leaves it; what stands before it counts."""
    journal = journal_path(away / "out.jsonl")
    journal.write_bytes(journal.read_bytes()[:-20])
    ended = command("batch", *half_done)

    assert 0 == ended.code, ended.err
    assert 7 == openai.hits
    assert 4 == len(records(away / "out.jsonl"))


@pytest.mark.parametrize("junk", [b"junk", b"[]", b"{}", b'{"key": "a"}', b'{"key": "a", "answer": 3}', b"\xff\xfe"])
def test_junk_in_the_journal_is_told_and_passed_over(command, half_done, openai, away, junk):
    """It costs one answer at most."""
    journal = journal_path(away / "out.jsonl")
    journal.write_bytes(junk + b"\n" + journal.read_bytes())
    ended = command("batch", *half_done)

    assert 0 == ended.code, ended.err
    assert 6 == openai.hits
    assert "out.jsonl.journal:1: not a line of a journal" in ended.err


def test_without_resume_nothing_is_overwritten(command, half_done, openai):
    """Neither the answers nor the journal."""
    ended = command("batch", *(word for word in half_done if word != "--resume"))

    assert (2, 4) == (ended.code, openai.hits)
    assert "out.jsonl exists" in ended.err


def test_force_begins_anew(command, half_done, openai, away):
    """Then all is asked."""
    command("batch", *(word if word != "--resume" else "--force" for word in half_done))

    assert 8 == openai.hits


def test_two_runs_do_not_write_one_file(prompts, openai, away, command):
    """The second is told."""
    openai.always(faults.silent())
    file = prompts({"messages": "prompt 0"})
    with Piped("batch", file, "--output", "out.jsonl"):
        assert openai.await_hits(1, timeout=100)
        ended = command("batch", file, "--output", "out.jsonl", "--resume")

    assert 2 == ended.code
    text = "out.jsonl.journal: another run is at work on it; let it end, or choose another --output"
    assert f"llmdispatcher: {text}" == ended.err.splitlines()[-1]


def test_resume_finds_the_file_without_a_name(command, prompts, openai, away):
    """The one begun last."""
    openai.script("One.", faults.bad_request(), "Two.")
    file = prompts({"id": 0}, {"id": 1})
    command("batch", file, "--workers", 1)
    ended = command("batch", file, "--resume")

    assert 0 == ended.code, ended.err
    assert ["One.", "Two."] == [line["content"] for line in records(away / "answers.jsonl")]


def test_a_device_has_no_journal(command, prompts, openai):
    """/dev/null takes answers and keeps none."""
    assert 0 == command("batch", prompts({}), "--output", os.devnull).code


def test_the_journal_is_the_owners(command, half_done, away):
    """It holds answers."""
    assert 0o600 == journal_path(away / "out.jsonl").stat().st_mode & 0o777


def test_progress_tells_the_cost_so_far(prompts, openai, away):
    """On a terminal, with the failures."""
    openai.responses = echo
    openai.script(faults.bad_request())
    with Pty("batch", prompts(*({"id": number} for number in range(4))), "--workers", 1) as terminal:
        assert 1 == terminal.ended()

    assert re.search(r"4/4 1 failed, US\$ 0\.\d{4}", terminal.text)


def test_a_dry_run_sends_nothing(command, prompts, openai, away):
    """It tells what each model may cost, and makes no file."""
    ended = command("batch", prompts({"max_tokens": 1000}, {"model": "gpt-4o", "max_tokens": 1000}), "--dry-run")

    assert (0, 0) == (ended.code, openai.hits)
    assert re.search(r"openai:gpt-4o +1 +\d+ +1,000 +0\.01001", ended.out)
    assert "about US$ 0.01061 for 2 prompts; nothing was sent" in ended.out
    assert not (away / "answers.jsonl").exists()


def test_a_dry_run_needs_no_key(command, prompts, away, monkeypatch):
    """The vendors are taken as if they had one; what only a local server may have is not refused."""
    file = prompts({"max_tokens": 1000}, {"model": "groq:any"}, {"model": "our-llama"})
    ended = command("batch", file, "--dry-run")
    told = json.loads(command("batch", file, "--dry-run", "--json").out)
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")
    local = command("batch", file, "--dry-run")

    assert 0 == ended.code
    assert "No vendor has a key. Nothing is sent, so this is as if openai, anthropic, google, groq had one." in ended.err
    assert {"openai:gpt-4o-mini", "groq:any", "nobody has our-llama"} == {*told["models"]}
    assert told["keys_assumed"]
    assert "prompts for models that nobody has will fail" in ended.err
    assert "ollama:our-llama, if it has it" in local.out
    assert ["prompts.jsonl"] == [path.name for path in away.iterdir()]


def test_a_dry_run_for_programs(command, prompts, openai):
    """The same as JSON; money is exact text."""
    told = json.loads(command("batch", prompts({"max_tokens": 1000}), "--dry-run", "--json").out)

    assert isinstance(told["cost_estimated"], str)
    assert 1 == told["models"]["openai:gpt-4o-mini"]["prompts"]


def test_too_dear_a_batch_is_not_begun(command, prompts, openai, away):
    """Where nobody can be asked; --yes begins it, and so does a cap that it keeps."""
    file = prompts({"model": "gpt-4o", "max_tokens": 10_000})
    refused = command("batch", file, "--max-cost", "0.01")

    assert (2, 0) == (refused.code, openai.hits)
    assert "this may cost about US$ 0.1000 for 1 prompt, and --max-cost is 0.01; nobody can be asked" in refused.err
    assert "so nothing was done: --yes sends it all the same" in refused.err
    assert 0 == command("batch", file, "--max-cost", "0.01", "--yes").code
    assert 0 == command("batch", file, "--max-cost", "1").code


def test_an_unknown_price_keeps_no_cap(command, prompts, openai):
    """Nobody knows what it will be."""
    ended = command("batch", prompts({"model": "openai:unheard-of-1"}), "--max-cost", "100")

    assert (2, 0) == (ended.code, openai.hits)
    assert "1 prompt to models whose price is not known" in ended.err


@pytest.mark.parametrize(("said", "code", "hits"), [("y\n", 0, 1), ("n\n", 1, 0)], ids=["yes", "no"])
def test_a_person_is_asked(prompts, openai, said, code, hits):
    """On a terminal."""
    openai.responses = "Yes."
    with Pty("batch", prompts({"model": "gpt-4o", "max_tokens": 10_000}), "--max-cost", "0.01") as terminal:
        terminal.until(r"Go on\? \[y/N\] ")
        terminal.type(said)

        assert code == terminal.ended()
    assert hits == openai.hits


def test_the_rate_is_kept(command, prompts, openai):
    """No more requests a minute than allowed: the third does not fit into its time."""
    ended = command("batch", prompts({}, {}, {}), "--rpm", 2, "--timeout", 20, "--workers", 1)

    assert 1 == ended.code
    assert 2 == openai.hits


def test_answers_of_prompts_that_were_not_read_are_kept(command, prompts, openai, away):
    """With --limit fewer are read; the paid answers of the others stay in the journal."""
    openai.responses = echo
    openai.script("One.", faults.bad_request(), "Three.")
    file = prompts(*({"id": number, "messages": f"prompt {number}"} for number in range(3)))
    command("batch", file, "--output", "out.jsonl", "--workers", 1)
    first = command("batch", file, "--output", "out.jsonl", "--resume", "--limit", 1)
    command("batch", file, "--output", "out.jsonl", "--resume")

    assert 0 == first.code
    assert 4 == openai.hits
    assert ["One.", "answer to prompt 1", "Three."] == [line["content"] for line in records(away / "out.jsonl")]


def test_a_crash_before_the_journal_is_gone_on_with(command, prompts, openai, away):
    """It leaves an empty file, of which nothing can be lost; a file with something in it is another matter."""
    file = prompts({"id": 0})
    (away / "out.jsonl").touch()
    (away / "precious.jsonl").write_text("precious")

    assert 0 == command("batch", file, "--output", "out.jsonl", "--resume").code
    assert 2 == command("batch", file, "--output", "precious.jsonl", "--resume").code
    assert "precious" == (away / "precious.jsonl").read_text()


def test_a_finished_file_answers_no_other_prompts(command, prompts, openai, away):
    """Its answers belong to the text of their lines, too: what has changed is asked, what has only moved is not."""
    openai.responses = echo
    file = prompts(*({"messages": f"prompt {number}"} for number in range(3)))
    command("batch", file, "--output", "out.jsonl")
    prompts({"messages": "other 0"}, {"messages": "prompt 0"}, {"messages": "other 2"})
    ended = command("batch", file, "--output", "out.jsonl", "--resume")

    assert 0 == ended.code, ended.err
    assert ["answer to other 0", "answer to prompt 0", "answer to other 2"] == [
        line["content"] for line in records(away / "out.jsonl")
    ]
    assert {"prompt 0": 1, "prompt 1": 1, "prompt 2": 1, "other 0": 1, "other 2": 1} == served(openai)
    assert "answer to prompt 1" in journal_path(away / "out.jsonl").read_text(), "what is paid is kept"


def test_a_finished_file_that_does_not_tell_its_prompts_is_left_alone(command, prompts, openai, away):
    """Such as one that an earlier version wrote: it cannot be known which text an answer belongs to."""
    file, output = prompts({"id": 0}), away / "out.jsonl"
    output.write_text('{"id": 0, "content": "of yesterday"}\n')
    ended = command("batch", file, "--output", "out.jsonl", "--resume")

    assert (2, 0) == (ended.code, openai.hits)
    assert "does not tell which prompts its answers belong to; choose another --output, or --force to overwrite it" in ended.err
    assert "of yesterday" in output.read_text()
