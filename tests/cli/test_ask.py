"""``ask``: from a terminal, through pipes, with attachments, as JSON, and what goes wrong."""

from __future__ import annotations

import base64
import json
import signal
import threading

import pytest

from llmdispatcher.cli import keychain, session
from llmdispatcher.cli.settings import Settings
from llmdispatcher.cli.terminal import CommandFailed
from llmdispatcher.testing import faults

from .started import Piped, Pty, piped

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def test_a_terminal_gets_the_answer_as_it_arrives(openai):
    """Words first, while the rest is still to come; then one line that says who answered and for how much."""
    read, openai.responses = threading.Event(), "One two three four five six seven eight nine ten eleven twelve."

    def held(peer, scene):
        pieces = scene.start(peer)
        for piece in (*pieces.opening, *pieces.deltas[:4]):
            peer.chunk(piece)
        read.wait(100)
        for piece in (*pieces.deltas[4:], *pieces.closing, b""):
            peer.chunk(piece)

    openai.always(faults.Fault("held", held))
    with Pty("ask", "-m", "gpt-4o-mini", "Count") as terminal:
        terminal.until("One two")
        assert "twelve" not in terminal.text
        read.set()
        terminal.until(r"eleven twelve\.\n")
        terminal.until(r"\[openai:gpt-4o-mini, \d+ tokens in, \d+ out, US\$ 0\.0+\d\d, \d\.\d s\]")

        assert 0 == terminal.ended()
    assert openai.requests[0].stream


def test_a_pipe_gets_the_answer_whole(openai):
    """And nothing else; stderr is quiet."""
    openai.responses = "Rayleigh."

    assert (0, "Rayleigh.\n", "") == piped("ask", "-m", "gpt-4o-mini", "Why", "is", "the sky blue?")
    assert [{"role": "user", "content": "Why is the sky blue?"}] == openai.requests[0].json["messages"]
    assert not openai.requests[0].stream


def test_the_prompt_is_what_is_typed_and_what_is_piped_in(openai):
    """Either, or both, one below the other."""
    piped("ask", "-m", "gpt-4o-mini", "Shorten this:", said="A long text.\n")
    piped("ask", "-m", "gpt-4o-mini", said="Only this.\n")

    assert ["Shorten this:\n\nA long text.", "Only this."] == [one.json["messages"][0]["content"] for one in openai.requests]


def test_without_a_prompt_it_is_wrong_usage(openai):
    """And nobody is asked."""
    code, out, err = piped("ask", "-m", "gpt-4o-mini")

    assert (2, "") == (code, out)
    assert "there is no prompt" in err
    assert 0 == openai.hits


def test_every_option_reaches_the_vendor(command, openai, away):
    """System, files, images, tokens, temperature."""
    (away / "note.txt").write_text("Grüße 漢字")
    (away / "dot.png").write_bytes(PNG)
    ended = command(
        *("ask", "-m", "gpt-4o", "-s", "Be brief.", "-f", "note.txt", "-i", "dot.png", "-i", "https://example.org/a.png"),
        *("--max-tokens", 50, "--temperature", 0, "What is this?"),
    )
    asked = openai.requests[0].json

    assert 0 == ended.code, ended.err
    assert (0, "Be brief.") == (asked["temperature"], asked["messages"][0]["content"])
    assert 50 in (asked.get("max_tokens"), asked.get("max_completion_tokens"))
    parts = asked["messages"][1]["content"]
    assert ["text", "text", "image_url", "image_url"] == [part["type"] for part in parts]
    assert "note.txt:\n\nGrüße 漢字" == parts[1]["text"]
    assert "https://example.org/a.png" == parts[3]["image_url"]["url"]


@pytest.mark.parametrize("option", ["--json", "--json-output"])
def test_json_holds_answer_usage_cost_and_attempts(command, openai, option):
    """For programs; money is exact text."""
    openai.responses = "漢"
    told = json.loads(command("ask", option, "-m", "gpt-4o-mini", "Hello").out)

    assert ("漢", "openai", "gpt-4o-mini", "stop") == tuple(told[name] for name in ("content", "vendor", "model", "finish_reason"))
    assert isinstance(told["cost"], str)
    assert told["usage"]["input_tokens"] > 0
    assert ["openai"] == [attempt["vendor"] for attempt in told["attempts"]]


def test_a_schema_makes_the_answer_fit(command, openai, away):
    """It is sent along, and what the answer stands for is in the JSON; an answer of another form fails."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
    (away / "city.json").write_text(json.dumps(schema))
    openai.script('{"city": "Lima"}', "Lima.")
    told = command("ask", "-m", "gpt-4o", "--schema", "city.json", "--json", "Capital of Peru?")
    failed = command("ask", "-m", "gpt-4o", "--schema", "city.json", "Capital of Peru?")

    assert {"city": "Lima"} == json.loads(told.out)["parsed"]
    assert schema == openai.requests[0].json["response_format"]["json_schema"]["schema"]
    assert (1, True) == (failed.code, "MalformedReply" in failed.err)


WRONG = {
    "no such file": (["-f", "none.txt"], "none.txt"),
    "no such image": (["-i", "none.png"], "none.png"),
    "no such schema": (["--schema", "none.json"], "none.json: No such file"),
    "a schema in the place of its file": (["--schema", '{"type":'], "--schema: a schema is read from a file; write it into one"),
    "too warm": (["--temperature", "3"], "--temperature"),
    "no tokens": (["--max-tokens", "0"], "--max-tokens"),
    "two databases": (["--db", "sqlite:///a", "--sqlite", "b"], "--db and --sqlite"),
    "no such configuration": (["--config", "none.toml"], "none.toml: No such file"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_of_ask(command, openai, arguments, said):
    """Exit code 2, a text that names what is wrong, and nobody is asked."""
    ended = command("ask", "-m", "gpt-4o", "Hello", *arguments)

    assert (2, "", 0) == (ended.code, ended.out, openai.hits)
    assert said in ended.err


def test_without_a_key_it_says_what_to_do(command):
    """Three ways out."""
    ended = command("ask", "Hello")

    assert 2 == ended.code
    assert all(way in ended.err for way in ("OPENAI_API_KEY", "llmdispatcher keys set", "--simulate"))


def test_a_vendor_that_fails_is_exit_code_1(command, openai):
    """One line that names the error, no traceback, and no key."""
    openai.always(faults.wrong_key())
    ended = command("ask", "-m", "gpt-4o", "Hello")

    assert (1, "") == (ended.code, ended.out)
    assert ended.err.startswith("llmdispatcher: AuthenticationError: ")
    assert "simulated" not in ended.err


def test_made_up_text_is_marked(command):
    """On stderr, so that a pipe has the answer alone; --quiet leaves it out."""
    ended = command("ask", "--simulate", "-m", "gpt-4o-mini", "Hello")

    assert "Nothing is sent anywhere: four simulated vendors on this machine answer, with made-up text.\n" == ended.err
    assert "simulated" not in ended.out
    assert "" == command("ask", "--simulate", "-m", "gpt-4o-mini", "Hello", "--quiet").err


def test_trace_tells_who_was_asked(command):
    """On stderr, with the reasons; the simulated vendors show a failover."""
    ended = command("ask", "--simulate", "--trace", "-m", "gpt-4.1", "Hello")

    assert 0 == ended.code, ended.err
    assert "azure:gpt-4.1" in ended.err
    assert "openai:gpt-4.1" in ended.err


def test_a_pipe_gets_it_as_it_is(openai):
    """A file must hold what the model said."""
    openai.responses = "a\x1b[2Jb\u202e"

    assert (0, "a\x1b[2Jb\u202e\n", "") == piped("ask", "-m", "gpt-4o-mini", "Hello")


def test_ctrl_c_stops_a_stream(openai):
    """At once, with 130, at the beginning of a line."""
    openai.tokens_per_second, openai.responses = 20, "word " * 4_000  # 200 seconds
    with Pty("ask", "-m", "gpt-4o-mini", "Hello") as terminal:
        terminal.until("word word")
        terminal.press("c")

        assert 130 == terminal.ended()
    assert "Traceback" not in terminal.text
    assert terminal.text.endswith("\n")


def test_a_stream_that_breaks_off_keeps_its_words(openai):
    """And is a failure all the same."""
    openai.always(faults.eof_after(9))
    with Pty("ask", "-m", "gpt-4o-mini", "Hello") as terminal:
        terminal.until("StreamInterrupted")

        assert 1 == terminal.ended()


def test_ctrl_c_in_a_pipe(openai):
    """The same code."""
    openai.always(faults.silent())
    with Piped("ask", "-m", "gpt-4o", "Hello") as process:
        assert openai.await_hits(1, timeout=100)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()

        assert (130, False) == (process.returncode, "Traceback" in err)


def test_an_answer_that_was_cut_off_is_told(command, openai):
    """So that nobody takes it for the whole."""
    openai.responses = "word " * 100
    ended = command("ask", "-m", "gpt-4o-mini", "--max-tokens", 5, "Hello")

    assert 0 == ended.code
    assert "--max-tokens allows more" in ended.err


def test_flags_beat_the_environment(command, openai, monkeypatch):
    """The variable names the model until an option does."""
    monkeypatch.setenv("LLMDISPATCHER_MODEL", "gpt-4o")
    command("ask", "Hello")
    command("ask", "-m", "gpt-4o-mini", "Hello")

    assert ["gpt-4o", "gpt-4o-mini"] == [request.model for request in openai.requests]


def test_a_configuration_file_holds(command, openai, away, monkeypatch):
    """Its fields, and its vendors by the names that it gives them."""
    monkeypatch.delenv("OPENAI_API_KEY")
    (away / "app.toml").write_text(
        f'default_vendor = "eu"\n[pools]\nsmart = ["eu:gpt-4o"]\n'
        f'[vendors.eu]\nkind = "openai"\napi_key = "simulated"\nbase_url = "{openai.openai_url}"\n'
    )
    told = command("ask", "--config", "app.toml", "-m", "smart", "--json", "Hello")

    assert ("eu", "gpt-4o") == tuple(json.loads(told.out)[name] for name in ("vendor", "model")), told.err


def test_json_steers_no_terminal(command, openai):
    """What would is written as escapes, so that nothing is lost; letters stay as they are."""
    openai.responses = "a\x1b]0;x\x07\x9b2J\u202e漢"
    out = command("ask", "--json", "-m", "gpt-4o-mini", "Hello").out

    assert "a\x1b]0;x\x07\x9b2J\u202e漢" == json.loads(out)["content"]
    assert "漢" in out
    assert not any(sign in out for sign in "\x1b\x07\x9b\u202e")


@pytest.mark.parametrize(("said", "seconds"), [("", 300.0), ("timeout = 7", 7.0)], ids=["else", "configuration"])
def test_a_person_has_time(openai, away, said, seconds):
    """A long answer is no failure where somebody watches it, unless the configuration says so."""
    (away / "app.toml").write_text(said)
    with session.open_session(Settings(config=away / "app.toml"), session.for_terminal(simulate=False)) as opened:
        assert seconds == opened.dispatcher.config.timeout


def test_a_keychain_that_is_shut_keeps_nobody_from_the_others(command, openai, monkeypatch):
    """It is told, and the environment's keys are used."""
    monkeypatch.setattr(keychain, "list_vendors", lambda: ["anthropic"])
    monkeypatch.setattr(keychain, "key_of", lambda name: (_ for _ in ()).throw(CommandFailed("keychain: locked")))
    ended = command("ask", "-m", "gpt-4o-mini", "Hello")

    assert (0, 1) == (ended.code, openai.hits)
    assert "llmdispatcher: anthropic: keychain: locked" in ended.err
