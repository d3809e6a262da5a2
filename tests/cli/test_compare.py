"""``compare``: one question for several models, side by side; and the questions that need no command."""

from __future__ import annotations

import json
import re

import pytest

from llmdispatcher.testing import faults

from .started import Piped, Pty

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start


def test_models_are_compared(command, openai):
    """Each is asked what was asked; below the answers there are times, tokens and costs that add up."""
    openai.responses = lambda asked: f"I am {asked['model']}."
    ended = command("compare", "Who", "are you?", "--models", "gpt-4o-mini, gpt-4o,gpt-4o", "--max-tokens", 9)

    assert (0, 2) == (ended.code, openai.hits)
    assert {"Who are you?"} == {request.json["messages"][-1]["content"] for request in openai.requests}
    assert "gpt-4o-mini\n───────────\nI am gpt-4o-mini.\n\ngpt-4o\n" in ended.out
    costs = [re.search(rf"^{name} .* (0\.\d+)$", ended.out, re.MULTILINE)[1] for name in ("gpt-4o-mini", "gpt-4o", "all")]
    mini, large, both = (int(cost.partition(".")[2]) for cost in costs)
    assert mini + large == both


def test_a_model_that_fails_stops_no_other(command, openai):
    """It is told, and the exit code is 1; where no model can be asked at all it is 2."""
    openai.script(faults.bad_request())
    ended = command("compare", "Hello", "-m", "claude-haiku-4-5", "-m", "gpt-4o-mini", "--json")
    told = json.loads(ended.out)
    openai.responses = "Hello."
    again = command("compare", "Hello", "-m", "gpt-4o,claude-haiku-4-5,gpt-4o-mini")

    assert (1, ["claude-haiku-4-5", "gpt-4o-mini"]) == (ended.code, [one["asked"] for one in told["answers"]])
    assert ["ModelNotFound", "InvalidRequest"] == [one["error"]["class"] for one in told["answers"]]
    assert (1, 2, 1) == (again.code, again.out.count("Hello."), again.out.count("(failed: ModelNotFound)"))
    assert "llmdispatcher: claude-haiku-4-5: ModelNotFound: " in again.err
    assert 2 == command("compare", "Hello", "-m", "claude-haiku-4-5").code


def test_programs_get_all_of_each_answer(command, openai):
    """In the order of the models, with exact costs and their sum; a bad model has its error there."""
    told = json.loads(command("compare", "Hello", "-m", "gpt-4o,claude-haiku-4-5,gpt-4o-mini", "--json").out)
    first, second, third = told["answers"]

    assert ["gpt-4o", "claude-haiku-4-5", "gpt-4o-mini"] == [one["asked"] for one in told["answers"]]
    assert "ModelNotFound" == second["error"]["class"]
    assert {"content", "usage", "cost", "latency", "attempts", "vendor"} <= first.keys() & third.keys()
    assert float(told["cost"]) == pytest.approx(float(first["cost"]) + float(third["cost"]))


WRONG = {
    "no model": ([], "--models: no model is named"),
    "only commas": (["--models", " , "], "--models: no model is named"),
    "a misspelt option": (["--modles", "a"], "Did you mean '--models'?"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(command, openai, words, said):
    """Before anything is sent."""
    ended = command("compare", "Hello", *words)

    assert (2, "", 0) == (ended.code, ended.out, openai.hits)
    assert said in ended.err
    assert 2 == command("compare", "-m", "gpt-4o").code


def test_the_price_comes_first(command, openai, monkeypatch):
    """As for batches: an estimate that needs no key, a cap, and a yes."""
    words = ("compare", "Hello", "--models", "gpt-4o,gpt-4o-mini", "--max-tokens", 10_000)
    estimate = command(*words, "--dry-run")
    capped = command(*words, "--max-cost", 0.01)

    assert (0, 2, 0) == (estimate.code, capped.code, openai.hits)
    assert "for 2 prompts; nothing was sent" in estimate.out
    assert "and --max-cost is 0.01; nobody can be asked, so nothing was done: --yes sends it all the same" in capped.err
    assert 0 == command(*words, "--max-cost", 0.01, "--yes").code
    monkeypatch.delenv("OPENAI_API_KEY")
    assert (0, 2) == (command(*words, "--dry-run").code, command(*words).code)


def test_on_a_terminal_answers_stand_side_by_side():
    """Of simulated vendors, which need no key."""
    with Pty("compare", "--simulate", "Why is the sky blue?", "-m", "gpt-4o-mini,gemini-2.5-flash", NO_COLOR="1") as terminal:
        assert 0 == terminal.ended()
        assert re.search(r"gpt-4o-mini +gemini-2\.5-flash\r?\n", terminal.text)


def test_a_terminal_is_not_steered_by_an_answer(openai):
    """Neither by its text nor by the name of a model; a pipe gets the text as it came."""
    openai.responses = "\x1b[2J\rHi\tthere\u202e"
    with Pty("compare", "Hello", "-m", "gpt-4o-mini,gpt-4o\x1b[31m", NO_COLOR="1") as terminal:
        terminal.ended()
        assert "\\x1b[2J\\x0dHi" in terminal.text.replace("\\r", "\\x0d")
        assert "\x1b" not in terminal.seen
    with Piped("compare", "Hello", "-m", "gpt-4o-mini") as running:
        assert "\x1b[2J" in running.communicate()[0]


def test_ctrl_c_ends_the_comparison(openai):
    """What was answered is shown, and the exit code is that of a signal."""
    openai.always(faults.silent())
    with Piped("compare", "Hello", "-m", "gpt-4o,gpt-4o-mini") as running:
        assert openai.await_hits(2, 100)
        running.send_signal(2)
        out, _ = running.communicate()

        assert 130 == running.returncode
    assert 2 == out.count("(failed: Cancelled)")


QUESTIONS = {
    "a text with a space": (["Why me?"], "Why me?"),
    "more words behind it": (["Why me?", "Why now?"], "Why me? Why now?"),
    "a tab counts": (["Why\tme"], "Why\tme"),
    "global options before it": (["--quiet", "--config", "c.toml", "Why me?"], "Why me?"),
    "a value after =": (["--config=c.toml", "Why me?"], "Why me?"),
    "options of ask before it": (["-m", "gpt-4o-mini", "--system", "Be brief.", "Why me?"], "Why me?"),
    "options of ask behind it": (["Why me?", "-m", "gpt-4o-mini"], "Why me?"),
    "a word behind --": (["--", "usage"], "usage"),
    "what looks like an option": (["--", "--help"], "--help"),
    "options before --": (["-m", "gpt-4o-mini", "--", "天空为什么是蓝色的？"], "天空为什么是蓝色的？"),
}


def test_a_question_needs_no_command(command, openai, away):
    """It is asked as `ask` would."""
    (away / "c.toml").write_text("timeout = 30\n")
    for name, (words, asked) in QUESTIONS.items():
        ended = command(*words)
        assert (0, asked) == (ended.code, openai.requests[-1].json["messages"][-1]["content"]), (name, ended.err)


NO_QUESTIONS = {
    "a misspelt command": (["usaeg"], "Did you mean 'usage'?"),
    "with its options": (["usaeg", "--by", "model"], "Did you mean 'usage'?"),
    "in capitals": (["USAGE"], "Did you mean 'usage'?"),
    "with options of ask before it": (["-m", "gpt-4o-mini", "usaeg"], "llmdispatcher ask -m ..."),
    "one word": (["Why?"], "write: llmdispatcher -- 'Why?'"),
    "words without quotes": (["why", "is", "this"], "put it in quotes, or write: llmdispatcher ask why is this"),
    "nothing": ([""], "No such command ''"),
    "blanks": (["  "], "No such command"),
    "a misspelt option": (["--jsno", "Why me?"], "Did you mean '--json'?"),
}


def test_a_word_is_never_a_question(command, openai):
    """It is sent to nobody, and the error says what was meant and how it would be asked."""
    for name, (words, said) in NO_QUESTIONS.items():
        ended = command(*words)
        assert (2, "", 0) == (ended.code, ended.out, openai.hits), name
        assert said in ended.err, name
