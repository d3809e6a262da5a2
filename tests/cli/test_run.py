"""``run``: prompts in, answers out, over simulated vendors and over those of the environment."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections import Counter
from contextlib import ExitStack

import pytest

from llmdispatcher import catalog
from llmdispatcher.cli.commands import batch
from llmdispatcher.testing import VendorSimulator, faults

from .conftest import records
from .started import piped


def test_answers_are_in_the_order_of_the_prompts(command, prompts, openai, away):
    """Whoever answers first."""
    ended = command("run", prompts(*({"id": number, "messages": f"Say {number}"} for number in range(20))))

    assert 0 == ended.code, ended.err
    assert list(range(20)) == [line["id"] for line in records(away / "answers.jsonl")]
    assert "20 of 20 prompts answered, 0 failed" in ended.out


SIMULATED = [{"model": "gpt-4.1"}, {"model": "claude-haiku-4-5"}, {"model": "gemini-2.5-flash"}]


@pytest.mark.parametrize("option", ["--simulate", "--or-simulate"])
def test_simulated_vendors_answer(command, prompts, away, option):
    """Four of them, one of which is down; all prompts are answered nevertheless, and each answer says that it is made up."""
    ended = command("run", prompts(*SIMULATED), option)
    answers = records(away / "answers.jsonl")

    assert 0 == ended.code, ended.err
    assert "Nothing is sent anywhere: four simulated vendors" in ended.err
    assert "answers in answers.jsonl, made up by simulated vendors" in ended.out
    assert ["openai", "anthropic", "google"] == [line["vendor"] for line in answers]
    assert {"azure", "openai"} == {attempt["vendor"] for attempt in answers[0]["attempts"]}
    assert [True] * 3 == [line["simulated"] for line in answers]
    assert "azure: 1 × VendorUnavailable" in ended.out


def test_a_simulated_failure_says_so_too(command, prompts, away):
    """An error that nobody has had."""
    ended = command("batch", prompts({"model": "openai:o9-not-there", "temperature": 3}, {"model": "mistral-large"}), "--simulate")

    assert 1 == ended.code
    assert [True, True] == [line["simulated"] for line in records(away / "answers.jsonl")]
    assert json.loads(command("batch", prompts(*SIMULATED), "--simulate", "--json").out)["simulated"]


def test_lines_that_cannot_be_read_are_to_be_corrected_first(command, prompts, away):
    """Where nothing else is left, the last line does not offer to ask again what would fail again, and nothing counts as asked."""
    ended = command("batch", prompts({"temprature": 1}, {}), "--simulate")

    assert 1 == ended.code
    assert "temprature: unknown field; did you mean 'temperature'?" in ended.err
    assert "To ask the lines that cannot be read, correct them; then: llmdispatcher batch" in ended.err
    assert "To ask the rest" not in ended.err


@pytest.mark.parametrize("option", ["--confirm", "--resume", "--yes"])
def test_without_a_key_nothing_is_asked(command, prompts, away, option):
    """Nothing is made up unasked, and no file is written."""
    ended = command("batch", prompts({}), option)

    assert (2, "") == (ended.code, ended.out)
    assert "nobody can be asked: no vendor has a key; set one such as OPENAI_API_KEY" in ended.err
    assert "--simulate" in ended.err
    assert ["prompts.jsonl"] == [path.name for path in away.iterdir()]


@pytest.mark.parametrize(("option", "hits"), [("--simulate", 0), ("--or-simulate", 1)])
def test_simulate_leaves_the_keys_alone(command, prompts, openai, away, option, hits):
    """No request reaches the vendor of the environment; the other option is for those who have no key."""
    command("run", prompts({}), option)

    assert hits == openai.hits
    assert [not hits] == ["simulated" in line for line in records(away / "answers.jsonl")]


def test_made_up_answers_are_none_for_a_real_run(command, prompts, openai, away):
    """Whoever tried a batch out and then goes on with it is answered by the vendor."""
    openai.responses = "Really."
    file = prompts({"id": "a"}, {"id": "b", "max_tokens": 0})
    command("batch", file, "--output", "out.jsonl", "--simulate")
    assert [False, True] == ["error" in line for line in records(away / "out.jsonl")]
    command("batch", file, "--output", "out.jsonl", "--resume")

    assert 0 < openai.hits
    first = records(away / "out.jsonl")[0]
    assert ("Really.", False) == (first["content"], "simulated" in first)


@pytest.mark.parametrize("real", [(), ("--or-simulate",)])
def test_a_file_of_made_up_answers_is_not_done(command, prompts, openai, away, real):
    """Unless made-up answers are what this run makes: with a key, ``--or-simulate`` makes none."""
    file = prompts({"id": "a"})
    command("batch", file, "--output", "out.jsonl", "--simulate")

    assert "all is answered" in command("batch", file, "--output", "out.jsonl", "--resume", "--simulate").err
    assert "all is answered" not in command("batch", file, "--output", "out.jsonl", "--resume", *real).err
    assert 0 < openai.hits
    assert "simulated" not in records(away / "out.jsonl")[0]


def test_the_vendors_of_the_environment_are_named(command, prompts, openai):
    """Before anything is sent."""
    assert "Asking openai.\n" in command("run", prompts({})).err


def test_a_batch_asks_what_it_was_told_to_ask(command, prompts, openai, away):
    """A model of a vendor without a key is nobody's, and nobody is asked."""
    ended = command("run", prompts({"model": "claude-sonnet-4-6"}))

    assert 1 == ended.code
    assert ["ModelNotFound"] == [line["error"]["class"] for line in records(away / "answers.jsonl")]
    assert 0 == openai.hits


def test_a_failure_is_no_reason_for_another_model(command, prompts, openai, monkeypatch, away):
    """Also where another vendor is well."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "simulated")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", openai.anthropic_url)
    openai.always(faults.bad_request())
    command("batch", prompts({"model": "claude-haiku-4-5"}, {}))

    assert {"claude-haiku-4-5", "gpt-4o-mini"} == {request.model for request in openai.requests}


def test_substitutes_answer_where_they_are_wanted(command, prompts, openai, away):
    """So that one key is enough for all prompts; the file tells which model it was."""
    ended = command("run", prompts({"model": "claude-sonnet-4-6"}), "--substitute")

    assert "a similar model of another answers" in ended.err
    assert [("openai", "gpt-4.1")] == [(line["vendor"], line["model"]) for line in records(away / "answers.jsonl")]


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
    command("run", prompts("nonsense", {"model": "claude-haiku-4-5"}, {"id": "c"}), "--stream")

    assert ["InvalidRequest", "ModelNotFound", None] == [
        line.get("error", {}).get("class") for line in records(away / "answers.jsonl")
    ]


def test_prompts_come_through_a_pipe(away, openai):
    """A line each; the hint how to go on says what it needs."""
    openai.responses = "Yes."
    openai.script("Yes.", faults.bad_request())
    code, _, err = piped("batch", "-", "--model", "gpt-4o-mini", "--workers", 1, said="Why?\nHow?\n")

    assert 1 == code, err
    assert ["Why?", "How?"] == [request.json["messages"][-1]["content"] for request in openai.requests]
    assert [1, 2] == [line["id"] for line in records(away / "answers.jsonl")]
    hint = "llmdispatcher batch - --model gpt-4o-mini --workers 1 --output answers.jsonl --resume"
    assert f"To ask the rest, with the same prompts on standard input: {hint}\n" in err


def test_lines_of_openai_s_batch_format_are_asked(command, prompts, openai, away):
    """Chats, responses and vectors, each with its custom_id, plain and streamed; the key of a line is its text as ever."""
    openai.responses = "Yes."
    said = [{"role": "user", "content": "Why?"}]
    bodies = {
        "/v1/chat/completions": {"model": "gpt-4o-mini", "messages": said, "max_tokens": 5},
        "/v1/responses": {"model": "gpt-4o-mini", "input": "Why?", "store": False},
        "/v1/embeddings": {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 3},
    }
    lines = [json.dumps({"custom_id": url, "method": "POST", "url": url, "body": body}) for url, body in bodies.items()]
    for more in ((), ("--stream",)):
        ended = command("batch", prompts(*lines), "--output", "out.jsonl", "--force", *more)
        chat, response, vectors = records(away / "out.jsonl")

        assert 0 == ended.code, ended.err
        assert list(bodies) == [chat["id"], response["id"], vectors["id"]]
        assert ("Yes.", "Yes.", [3, 3]) == (chat["content"], response["content"], [len(each) for each in vectors["embeddings"]])
        assert vectors["usage"]["input_tokens"] > 0
    assert {"openai", "openai_responses", "openai_embeddings"} == {request.format for request in openai.requests}
    assert [False, False] == [request.json["store"] for request in openai.requests if request.format == "openai_responses"]
    assert 0 == command("batch", prompts(*lines), "--dry-run").code


@pytest.mark.parametrize("more", [[], ["--force"], ["--resume"], ["--stream"]], ids=str)
def test_a_file_of_mistakes_writes_nothing(command, prompts, openai, away, more):
    """Neither an answers file nor a journal, and what is there stays; the first mistakes are told."""
    (away / "out.jsonl").write_text("precious")
    ended = command("batch", prompts(*["{}"] * 12), "--output", "out.jsonl", *more)

    assert (2, "", 0) == (ended.code, ended.out, openai.hits)
    assert 10 == ended.err.count("model: missing")
    assert "prompts.jsonl: 2 more lines are invalid" in ended.err
    assert ended.err.endswith(
        "prompts.jsonl: every line is invalid, so nothing was sent and no file was written; correct the lines\n"
    )
    assert ("precious", ["out.jsonl", "prompts.jsonl"]) == (
        (away / "out.jsonl").read_text(),
        sorted(one.name for one in away.iterdir()),
    )


def test_the_output_is_no_dash(command, prompts, openai, away):
    """A file of that name would be a surprise, since - is standard input."""
    ended = command("batch", prompts({"id": "a"}), "--output", "-")

    assert (2, 0, False) == (ended.code, openai.hits, (away / "-").exists())
    assert "/dev/stdout" in ended.err


def test_a_model_that_is_no_name_is_wrong_usage(command, openai, away):
    """Of plain text, whose lines have no mistakes of their own; and so is a file that is not there."""
    (away / "questions.txt").write_text("Why?\n")
    ended = command("batch", "questions.txt", "--model", " ")

    assert (2, 0) == (ended.code, openai.hits)
    assert "llmdispatcher: model: ' '" in ended.err
    assert 2 == command("batch", "none.jsonl").code


REFUSALS = {
    "wrong key": faults.status(401),
    "forbidden": faults.status(403),
    "no credit": faults.status(402),
    "quota spent": faults.quota(),
    "no rate for hours": faults.rate_limit(7200),
}


@pytest.mark.parametrize("more", [[], ["--stream"]], ids=["plain", "streamed"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_key_that_is_refused_stops_after_a_few(command, prompts, openai, away, refusal, more):
    """The rest is not sent, neither answered nor failed, and the reason is told with the way to go on."""
    openai.always(refusal)
    ended = command("batch", prompts(*[{}] * 300), "--workers", 4, *more)

    assert 1 == ended.code
    assert 1 <= openai.hits <= 5 + 2 * 4  # a spent quota is not even asked for again
    assert len(records(away / "answers.jsonl")) <= 5 + 2 * 4
    often = "" if refusal is REFUSALS["wrong key"] else " for 5 prompts in a row"
    refused = r"llmdispatcher: openai\S* refused (the key|the account|further requests for over an hour)"
    assert re.search(rf"{refused}{often} \(\w+: .*\); it was asked no more, and", ended.err)
    assert re.search(r"0 of 300 prompts answered, \d+ failed, 2\d\d not asked to the end", ended.out)
    assert "--max-failures" not in ended.err
    assert "To ask the rest: llmdispatcher batch " in ended.err


def test_where_nothing_is_left_nothing_was_stopped(command, prompts, openai):
    """All five prompts were sent, and all have failed."""
    openai.always(faults.status(403))
    ended = command("batch", prompts(*[{}] * 5), "--workers", 1)

    assert (1, 5) == (ended.code, openai.hits)
    assert "were not sent" not in ended.err


def test_a_key_that_is_revoked_in_the_middle_stops_it_as_well(command, prompts, openai, away):
    """What was answered before stays."""
    openai.responses = "Yes."
    openai.script(*["Yes."] * 40).always(faults.wrong_key())
    ended = command("batch", prompts(*[{}] * 300), "--workers", 4)

    assert 1 == ended.code
    assert 45 <= openai.hits <= 45 + 2 * 4
    assert "40 of 300 prompts answered" in ended.out


def test_a_refusal_now_and_then_stops_nothing(command, prompts, openai):
    """An answer shows that key and account are good."""
    openai.responses = "Yes."
    openai.script("Yes.", *[faults.wrong_key(), faults.wrong_key(), "Yes."] * 5)
    ended = command("batch", prompts(*[{}] * 20), "--workers", 1)

    assert "10 of 20 prompts answered, 10 failed;" in ended.out
    assert 20 == openai.hits


def test_of_several_vendors_only_the_one_with_the_wrong_key_is_left_out(command, prompts, openai, monkeypatch, away):
    """The prompts of the other are answered."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", openai.anthropic_url)
    openai.keys = ("simulated",)
    ended = command("batch", prompts(*[{"model": "claude-haiku-4-5"}, {}] * 100), "--workers", 4)
    asked = Counter(request.model for request in openai.requests)

    assert 1 == ended.code
    assert 100 == asked["gpt-4o-mini"]
    assert 1 <= asked["claude-haiku-4-5"] <= 4
    assert 1 == ended.err.count("anthropic refused the key (AuthenticationError: ")
    assert re.search(r"100 of 200 prompts answered, \d+ failed, \d+ not asked to the end", ended.out)


SUBSTITUTED = {
    "wrong key": (faults.wrong_key(), 1, "anthropic refused the key (AuthenticationError, status 401)"),
    "forbidden": (faults.status(403), 5, "anthropic:claude-haiku-4-5 refused the key for 5 prompts in a row (AuthenticationError"),
}


@pytest.mark.parametrize("more", [[], ["--stream"], ["--max-failures", 3]], ids=["plain", "streamed", "max failures"])
@pytest.mark.parametrize(("fault", "most", "said"), SUBSTITUTED.values(), ids=SUBSTITUTED)
def test_who_refuses_is_asked_no_more_where_a_substitute_answers(command, prompts, openai, monkeypatch, fault, most, said, more):
    """All is answered by the other vendor, and the reason is told once."""
    with VendorSimulator() as refusing:
        refusing.always(fault)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "wrong")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", refusing.anthropic_url)
        ended = command("batch", prompts(*[{"model": "claude-haiku-4-5"}] * 30), "--substitute", "--workers", 1, *more)

        assert (0, most, 30) == (ended.code, refusing.hits, openai.hits)
    assert 1 == ended.err.count(said)
    assert "it was asked no more\n" in ended.err
    assert "is not registered" not in ended.err, "the rules of --substitute name nobody who is not there"
    assert "were not sent" not in ended.err


@pytest.mark.parametrize(("fault", "most"), [(faults.bad_request(), 3), (faults.wrong_key(), 12)], ids=["any failure", "a key"])
def test_max_failures_is_the_user_s_word(command, prompts, openai, fault, most):
    """For failures of any kind; without it only key and account count."""
    openai.always(fault)
    ended = command("batch", prompts(*[{}] * 60), "--workers", 1, "--max-failures", most)

    assert (1, True) == (ended.code, most <= openai.hits <= most + 2)
    assert f"{most} prompts failed, and max_failures is {most}" in ended.err


def test_faulty_prompts_alone_stop_nothing(command, prompts, openai):
    """Each is a mistake of its own."""
    openai.always(faults.bad_request())
    command("batch", prompts(*[{}] * 30))

    assert 30 == openai.hits


def test_the_price_is_told_before_it_is_spent(command, prompts, openai, monkeypatch, away):
    """With --confirm, by model; where nobody can say yes nothing is sent, and --yes says it."""
    file = prompts({"max_tokens": 1000}, {"model": "claude-haiku-4-5"})
    refused = command("batch", file, "--confirm")

    assert (2, "", 0) == (refused.code, refused.out, openai.hits)
    assert re.search(r"  openai:gpt-4o-mini: 1 prompt, about US\$ 0\.0006\n", refused.err)
    assert "  nobody has claude-haiku-4-5: 1 prompt\n" in refused.err
    assert "this may cost about US$ 0.0006 for 2 prompts; nobody can be asked, so nothing was done" in refused.err
    assert ["prompts.jsonl"] == [path.name for path in away.iterdir()]
    command("batch", file, "--confirm", "--yes")
    assert 1 == openai.hits


def test_simulated_vendors_cost_nothing(command, prompts):
    """So nobody is asked."""
    assert 0 == command("batch", prompts({}), "--confirm", "--or-simulate", "--max-cost", "0.0000001").code


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:pass#w?rd@127.0.0.1:1/x",
        "postgresql://me:p@ss[wrd@127.0.0.1:1/x",
        "postgresql://me@127.0.0.1:1/x?password=secret&connect_timeout=1",
    ],
)
def test_the_hint_hides_a_password(url):
    """It goes to a terminal, and into logs."""
    name, shown = batch._option_words(batch.GLOBALS[0], url)

    assert "--db" == name
    assert "***" in shown
    assert shown.startswith("postgresql://me")
    assert [] == [part for part in ("pass#", "wrd", "p@ss", "secret") if part in shown]


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


def test_without_a_file_the_examples_are_read(command):
    """Those of the checkout."""
    assert batch.EXAMPLES == batch.choose_prompts(None)
    assert batch.EXAMPLES.is_file()


@pytest.fixture
def given(monkeypatch):
    """Make standard input a pipe that holds some bytes and has ended, or a file."""
    with ExitStack() as opened:

        def give(data):
            if isinstance(data, bytes):
                reading, writing = os.pipe()
                os.write(writing, data)
                os.close(writing)
            else:
                reading = os.open(data, os.O_RDONLY)
            monkeypatch.setattr(sys, "stdin", opened.enter_context(os.fdopen(reading, encoding="utf-8")))

        yield give


def test_a_pipe_is_read_without_a_dash(command, openai, given):
    """And the examples are not asked."""
    given(b"Why?\nWhen?\n")
    ended = command("batch", "-m", "gpt-4o-mini")

    assert (0, 2) == (ended.code, openai.hits), ended.err
    assert ["Why?", "When?"] == sorted((request.json["messages"][0]["content"] for request in openai.requests), reverse=True)


def test_a_file_on_standard_input_is_read_without_a_dash(command, openai, prompts, given):
    """As with the shell's `<`; the way to go on says that standard input is read."""
    openai.always(faults.bad_request())
    given(prompts({}))
    ended = command("batch")

    assert (1, 1) == (ended.code, openai.hits)
    assert "with the same prompts on standard input: llmdispatcher batch - --output answers.jsonl --resume" in ended.err


def test_an_empty_pipe_asks_nothing(command, openai, given):
    """A filter that has found nothing does not mean the examples."""
    given(b"")
    ended = command("batch")

    assert (2, 0) == (ended.code, openai.hits)
    assert "there is no prompt in it" in ended.err


def test_the_null_device_is_no_pipe(given):
    """What is started by another program gets the examples, as before."""
    given(os.devnull)

    assert batch.EXAMPLES == batch.choose_prompts(None)


def test_a_guess_is_told_as_one(command, prompts, openai):
    """Without max_tokens nothing limits an answer, so no number is a cap."""
    file = prompts({}, {}, {"max_tokens": 10})
    ended = command("batch", file, "--dry-run")
    told = json.loads(command("batch", file, "--dry-run", "--json").out)["models"]["openai:gpt-4o-mini"]
    asked = command("batch", file, "--confirm")

    note = "2 prompts without max_tokens: 1,000 tokens of output are assumed, and longer answers cost more"
    assert "at most" not in ended.out + ended.err + asked.err
    assert note in ended.err
    assert note in asked.err
    assert (2, 1000, 1010) == (told["unlimited"], told["assumed_tokens"], told["output_tokens"])


def test_a_small_cap_is_told_without_an_exponent(command, prompts, openai):
    """As it was typed."""
    assert "and --max-cost is 0.0000001;" in command("batch", prompts({}), "--max-cost", "0.0000001").err


def test_lines_of_progress_are_written_whole(monkeypatch):
    """Workers tell them at once; a line and its end in two writes would be parted."""
    written = []
    stream = io.StringIO()
    stream.write = written.append
    monkeypatch.setattr(sys, "stderr", stream)
    with batch.progress(1) as advance:
        advance()

    assert ["1 of 1 done, US$ 0.0000\n"] == written


def test_an_installed_package_has_no_examples(command, monkeypatch, away):
    """It asks for a file."""
    monkeypatch.setattr(batch, "EXAMPLES", away / "none.jsonl")
    ended = command("batch")

    text = "which file? the example prompts come with the sources only: llmdispatcher batch FILE.jsonl"
    assert (2, f"llmdispatcher: {text}\n") == (ended.code, ended.err)
