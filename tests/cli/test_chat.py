"""``chat``: in a pseudo-terminal, as a person sits before it, and from a pipe."""

from __future__ import annotations

import io
import stat
import sys
from contextlib import contextmanager

import pytest

from llmdispatcher import Message
from llmdispatcher.cli.commands.chat import Conversation
from llmdispatcher.cli.terminal import UsageError
from llmdispatcher.testing import faults

from .started import Pty, piped

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start

CHAT = ("chat", "-m", "gpt-4o-mini")


@contextmanager
def talking(*more):
    """A chat at its first prompt; at its last one Ctrl-D ends it, with 0."""
    with Pty(*CHAT, *more) as terminal:
        terminal.until("> ")
        yield terminal
        terminal.until("> ")
        assert 0 == terminal.press("d").ended()


def asked(simulator, number=-1):
    """The contents of the messages of a request."""
    return [message["content"] for message in simulator.requests[number].json["messages"]]


def test_a_talk(openai):
    """Each question comes with all that was said; Ctrl-D ends it with 0."""
    openai.script("Four.", "Yes.")
    with Pty(*CHAT, "-s", "Be brief.") as terminal:
        terminal.until("Talking with gpt-4o-mini; /help tells the commands, Ctrl-D ends")
        terminal.until("> ")
        terminal.type("Two and two?\n").until(r"Four\.")
        terminal.until("> ")
        terminal.type("Sure?\n").until(r"Yes\.")
        terminal.until("> ")
        assert 0 == terminal.press("d").ended()
    assert ["Be brief.", "Two and two?", "Four.", "Sure?"] == asked(openai)


def test_ctrl_c_stops_the_answer_and_not_the_chat(openai):
    """What was stopped is not remembered; /retry asks it again."""
    openai.tokens_per_second = 30
    openai.script("word " * 300, "Short.", "Done.")
    with talking() as terminal:
        terminal.type("Talk long.\n").until("word word")
        terminal.press("c").until(r"\[stopped; /retry asks again\]")
        terminal.until("> ")
        terminal.type("/retry\n").until(r"Short\.")
    assert ["Talk long."] == asked(openai)
    assert "Traceback" not in terminal.text


def test_ctrl_c_at_the_prompt_ends_nothing(openai):
    """It says what does."""
    with talking() as terminal:
        terminal.type("half a questi").until("half a questi")
        terminal.insist("c", "Ctrl-D or /exit ends the chat")
    assert 0 == openai.hits


@pytest.mark.parametrize("marks", [("\x1b[200~", "\x1b[201~"), ("", "")], ids=["bracketed", "plain"])
def test_a_paste_is_one_question(openai, marks):
    """Whatever lines it has, with a terminal that marks pastes and with one that does not."""
    openai.responses = "Seen."
    with talking() as terminal:
        terminal.type(f"{marks[0]}def f():\n    return 1\n\nprint(f()){marks[1]}\n").until(r"Seen\.")

    assert ["def f():\n    return 1\n\nprint(f())"] == asked(openai)
    assert 1 == openai.hits


def test_fences_hold_many_lines(openai):
    """For those who type them."""
    openai.responses = "Seen."
    with talking() as terminal:
        for line in ('"""', "one", "", "two", '"""'):
            terminal.type(f"{line}\n")
        terminal.until(r"Seen\.")

    assert ["one\n\ntwo"] == asked(openai)


def test_commands(openai, away):
    """All that /help lists does what it says."""
    openai.responses = "Yes."
    with Pty(*CHAT) as terminal:
        terminal.until("> ")
        terminal.type("/help\n").until("/retry +ask the last question again")
        terminal.type("/model gpt-4o\n").until("model: gpt-4o\n")
        terminal.type("/system Be brief.\n").until(r"system: Be brief\.\n")
        terminal.until("> ")
        terminal.type("Well?\n").until(r"Yes\.")
        terminal.until("> ")
        terminal.type("/cost\n").until(r"1 answers, \d+ tokens in, \d+ out, US\$ 0\.\d+")
        terminal.type("/save talk.json\n").until(r"saved in talk\.json")
        terminal.type("/clear\n").until("nothing was said")
        terminal.type("/system -\n").until("system: .nothing.")
        terminal.type("/load talk.json\n").until("2 turns with gpt-4o")
        terminal.type("/nonsense\n").until("/nonsense: no such command")
        terminal.type("/save\n").until("/save: which file")
        terminal.type("/load none.json\n").until("none.json: No such file")
        terminal.until("> ")
        terminal.type("Sure?\n").until(r"Yes\.")
        terminal.type("/exit\n")
        assert 0 == terminal.ended()
    assert ["Be brief.", "Well?", "Yes.", "Sure?"] == asked(openai)
    assert "gpt-4o" == openai.requests[-1].model
    assert 0o600 == stat.S_IMODE((away / "talk.json").stat().st_mode)


def test_lines_are_remembered_for_the_owner_alone(openai, away):
    """The next chat finds them with the arrow key."""
    openai.responses = "Seen."
    with talking() as terminal:
        terminal.type("What I typed.\n").until(r"Seen\.")
    history = away / "home" / "chat_history"
    with talking() as terminal:
        terminal.type("\x1b[A").until(r"What I typed\.")
        terminal.type("\n").until(r"Seen\.")

    assert (0o600, 0o700) == tuple(stat.S_IMODE(place.stat().st_mode) for place in (history, history.parent))
    assert 2 == openai.hits


def test_a_failure_does_not_end_the_chat(openai):
    """It is told, and the next question is asked without the failed one."""
    openai.script(faults.bad_request(), "Yes.")
    with talking() as terminal:
        terminal.type("First?\n").until("InvalidRequest")
        terminal.until("> ")
        terminal.type("Second?\n").until(r"Yes\.")
    assert ["Second?"] == asked(openai)


def test_a_model_cannot_steer_the_chat(openai):
    """Control characters are shown as escapes."""
    openai.responses = "a\x1b]0;owned\x07b"
    with talking() as terminal:
        terminal.type("Hello\n").until(r"a\\x1b\]0;owned\\x07b")

    assert "\x1b]0" not in terminal.seen


def test_wide_letters_are_typed_and_shown(openai):
    """As in any terminal."""
    openai.responses = "漢字 😀"
    with talking() as terminal:
        terminal.type("Grüße 東京?\n").until("漢字 😀")

    assert ["Grüße 東京?"] == asked(openai)


def test_a_pipe_talks_too(openai):
    """Each line is a question; nothing but answers comes out."""
    openai.script("One.", "Two.")
    assert (0, "One.\nTwo.\n", "") == piped(*CHAT, said="First?\nSecond?\n")
    assert ["First?", "One.", "Second?"] == asked(openai)


@pytest.mark.parametrize(
    ("lines", "code", "said"),
    [
        ("First?\nSecond?\n", 1, "AuthenticationError"),
        ("/nothing\n", 1, "no such command"),
        ("/load none.json\n", 1, "none.json"),
        ("/cost\n", 0, ""),
    ],
)
def test_a_pipe_hears_of_failures(openai, command, monkeypatch, lines, code, said):
    """By the exit code, since nobody sits before it; the questions after a failure are asked all the same."""
    openai.always(faults.wrong_key())
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    ended = command(*CHAT)

    assert (code, True) == (ended.code, said in ended.err)
    assert lines.count("?") == openai.hits


def test_a_simulated_talk_is_marked(command, monkeypatch):
    """Once, on stderr."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("One?\nTwo?\n"))

    assert 1 == command(*CHAT, "--simulate").err.count("simulated vendors on this machine answer, with made-up text")


def test_a_saved_conversation_is_gone_on_with(openai, away):
    """With its model and its turns."""
    saved = Conversation(model="gpt-4o", system="Be brief.", turns=[Message.user("Well?"), Message.assistant("Yes.")])
    saved.save(away / "talk.json")
    assert 0 == piped("chat", "--load", "talk.json", said="Sure?\n")[0]
    assert ["Be brief.", "Well?", "Yes.", "Sure?"] == asked(openai)
    assert "gpt-4o" == openai.requests[0].model


def test_a_conversation_for_people(away):
    """By the ending of the name; such a file is not loaded, and the error says what is."""
    saved = Conversation(model="gpt-4o", system="Be brief.", turns=[Message.user("Well?"), Message.assistant("Yes.")])
    saved.save(away / "talk.md")

    assert "# gpt-4o\n\n## System\n\nBe brief.\n\n## User\n\nWell?\n\n## Assistant\n\nYes.\n" == (away / "talk.md").read_text()
    with pytest.raises(UsageError, match=r"a \.md file is for people; /save talk\.json"):
        Conversation.load(away / "talk.md")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"messages": 3}', '{"messages": [{"role": "x"}]}', '{"messages": [], "model": 3}']
)
def test_what_is_no_conversation_is_told(away, text):
    """And changes nothing."""
    (away / "talk.json").write_text(text)

    with pytest.raises(UsageError, match="/save has not written this file"):
        Conversation.load(away / "talk.json")


def test_answers_without_a_price_are_counted(openai):
    """The sum says that it is not the whole."""
    with talking("-m", "openai:unheard-of-1") as terminal:
        terminal.type("Hello\n").until(r"\[openai:unheard-of-1.*price unknown")
        terminal.until("> ")
        terminal.type("/cost\n").until("and 1 whose price is not known")
