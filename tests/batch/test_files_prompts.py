"""Reading prompts: what is a Request, and how a mistake is told."""

from __future__ import annotations

import pytest

from llmdispatcher import ConfigError
from llmdispatcher.batch import InvalidLine, Prompt, read_prompts


def test_a_line_is_a_request(prompts):
    """All fields of a Request can be given; the id is the line's own."""
    file = prompts({"id": "a", "temperature": 0, "max_tokens": 5, "stop": "x", "user": "u", "metadata": {"k": 1}})
    (prompt,) = read_prompts(file)

    assert ("a", 1, "Hello") == (prompt.id, prompt.line, prompt.request.messages[0].text)
    assert (0, 5, ("x",), "u", {"k": 1}) == (
        prompt.request.temperature,
        prompt.request.max_tokens,
        prompt.request.stop,
        prompt.request.user,
        prompt.request.metadata,
    )


def test_blank_lines_do_not_count_but_are_numbered(prompts):
    """Where a line has no id, its number in the file is it."""
    assert [1, 4] == [prompt.id for prompt in read_prompts(prompts({}, "", "   ", {}))]


def test_a_byte_order_mark_is_no_mistake(prompts):
    """Editors on Windows write one."""
    assert isinstance(read_prompts(prompts(b'\xef\xbb\xbf{"model": "m", "messages": "x"}'))[0], Prompt)


def test_a_limit_reads_no_further(prompts):
    """The lines behind it are not even looked at."""
    assert [1, 2] == [prompt.id for prompt in read_prompts(prompts({}, {}, "nonsense"), 2)]


MISTAKES = {
    "not json": ('{"model": ', "not JSON: Expecting value, column 10"),
    "not utf-8": (b'{"model": "\xff"}', "not UTF-8 text, at byte 12 of the line"),
    "too deep": ("[" * 100_000, "not JSON: too deep or too large, column ?"),
    "no object": ("[1]", "a JSON list is not a prompt; give an object with model and messages"),
    "id": ({"id": [1]}, "id: a list is not an id; give a text or a whole number"),
    "unknown field": ({"modle": "m"}, "modle: unknown field; a prompt has id, model, messages, temperature"),
    "no messages": ('{"model": "m"}', "messages: missing"),
    "no model": ('{"messages": "x"}', "model: missing"),
    "range": ({"temperature": 3}, "temperature: 3 is not a number from 0 to 2; omit it for the model's default"),
    "empty": ({"messages": []}, "messages: an empty list is no conversation; give at least one message"),
    "role": ({"messages": [{"role": "boss", "content": "x"}]}, "message.role: 'boss' is not a role"),
    "tools": ({"tools": 5}, "tools: int is not a list of tools"),
    "shape": (
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        "message.tool_calls: int is not a list of calls",
    ),
}


@pytest.mark.parametrize(("line", "text"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_names_its_field(prompts, line, text):
    """The line is told with its number, the others are read."""
    before, mistake, after = read_prompts(prompts({}, line, {}))

    assert isinstance(mistake, InvalidLine)
    assert 2 == mistake.line
    assert mistake.text.startswith(text), mistake.text
    assert isinstance(before, Prompt)
    assert isinstance(after, Prompt)


def test_a_mistake_keeps_the_id(prompts):
    """So that the answers can be matched with the prompts."""
    (mistake,) = read_prompts(prompts({"id": "a", "temperature": 3}))

    assert "a" == mistake.id


def test_a_missing_file_is_told(away):
    """With its name and the system's reason."""
    with pytest.raises(ConfigError, match=r"none\.jsonl: No such file"):
        read_prompts(away / "none.jsonl")


def test_an_empty_file_is_told(prompts):
    """Nothing to do is a mistake of the user."""
    with pytest.raises(ConfigError, match="there is no prompt in it"):
        read_prompts(prompts("", "  "))
