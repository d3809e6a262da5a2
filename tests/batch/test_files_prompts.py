"""Reading prompts: what is a Request, and how a mistake is told."""

from __future__ import annotations

import io
import json
from operator import attrgetter

import pytest

from llmdispatcher import ConfigError, EmbeddingRequest
from llmdispatcher.batch import InvalidLine, Prompt, read_prompts
from llmdispatcher.wire import CODECS
from tests.cases import each
from tests.wire.corpus import needs_corpus, recorded


def test_a_line_is_a_request(prompts):
    """All fields of a Request can be given; the id is the line's own."""
    file = prompts({"id": "a", "temperature": 0, "max_tokens": 5, "stop": "x", "user": "u", "metadata": {"k": 1}})
    (prompt,) = read_prompts(file)

    assert ("a", 1, "Hello") == (prompt.id, prompt.line, prompt.request.messages[0].text)
    assert (0, 5, ("x",), "u", {"k": 1}) == attrgetter("temperature", "max_tokens", "stop", "user", "metadata")(prompt.request)


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
    "long id": ({"id": "x" * 1000}, "id: 1,000 characters are too long for an id; give at most 512"),
    "unknown field": ({"modle": "m"}, "modle: unknown field; did you mean 'model'?"),
    "no messages": ('{"model": "m"}', "messages: missing"),
    "no model": ('{"messages": "x"}', "model: missing; name it in the line, or for all lines with the option --model"),
    "nothing": ("{}", "model: missing"),
    "prompt of another kind": ('{"prompt": 5}', "prompt: 5 is not a prompt; give a text or a list of messages"),
    "empty prompt": ('{"prompt": " "}', "prompt: ' ' is not a prompt"),
    "prompt and messages": ({"prompt": "x"}, "prompt: there are messages too; give one of the two"),
    "another's id": ({"id": 1}, "id: 1 is the id of line 1 too; give each line an id of its own"),
    "no method": (
        '{"custom_id": "a", "method": "GET", "url": "/v1/responses", "body": {"model": "m", "input": "x"}}',
        "method: 'GET' cannot be asked; give POST",
    ),
    "no url": (
        '{"custom_id": "a", "body": {"model": "m"}}',
        "url: None cannot be asked in a batch; give /v1/chat/completions, /v1/responses, /v1/embeddings",
    ),
    "another url": ('{"url": "/v1/moderations", "body": {"input": "x"}}', "url: '/v1/moderations' cannot be asked in a batch"),
    "body of another kind": ('{"url": "/v1/responses", "body": []}', "body: a list is not a request; give an object with model"),
    "body without model": ('{"url": "/v1/responses", "body": {"input": "x"}}', "body.model: missing; name it in the line"),
    "field beside the body": ('{"url": "/v1/responses", "body": {}, "user": "u"}', "user: unknown field; a line of OpenAI's batch"),
    "field of the body": (
        '{"url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "boss", "content": "x"}]}}',
        "body.messages.0.role: 'boss' is not a role",
    ),
    "conversation of another kind": ('{"url": "/chat/completions", "body": {"model": "m", "messages": 5}}', "body.messages: "),
    "no conversation": ('{"url": "/v1/chat/completions", "body": {"model": "m"}}', "body.messages: "),
    "tokens": (
        '{"url": "/v1/embeddings", "body": {"model": "m", "input": [[1, 2]]}}',
        "body.input: lists of tokens cannot be asked",
    ),
    "range": ({"temperature": 3}, "temperature: 3 is not a number from 0 to 2; omit it for the model's default"),
    "empty": ({"messages": []}, "messages: an empty list is no conversation; give at least one message"),
    "role": ({"messages": [{"role": "boss", "content": "x"}]}, "message.role: 'boss' is not a role"),
    "tools": ({"tools": 5}, "tools: int is not a list of tools"),
    "shape": (
        {"messages": [{"role": "assistant", "tool_calls": 5}]},
        "message.tool_calls: int is not a list of calls",
    ),
}


@each("line, text", MISTAKES)
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


def test_a_long_value_does_not_flood_the_terminal(prompts):
    """The error keeps its beginning, which names the field, and its end, which has the remedy."""
    (mistake,) = read_prompts(prompts({"temperature": "x" * 10_000}))

    assert mistake.text.startswith("temperature: 'xxx")
    assert mistake.text.endswith("omit it for the model's default")
    assert len(mistake.text) < 500


LINES = {
    "bare": ('{"prompt": "Why?"}', (2, "auto", "Why?")),
    "bare, with more": ('{"prompt": "Why?", "id": "b", "model": "m", "max_tokens": 5}', ("b", "m", "Why?")),
    "messages in prompt": ('{"prompt": [{"role": "user", "content": "Why?"}]}', (2, "auto", "Why?")),
    "chat": (
        {"url": "/v1/chat/completions", "body": {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}},
        ("a", "m", "Why?"),
    ),
    "responses": ({"url": "/v1/responses", "body": {"model": "m", "input": "Why?"}}, ("a", "m", "Why?")),
    "chat, as Azure has it": (
        {"url": "/chat/completions", "body": {"model": "m", "messages": [{"role": "user", "content": "Why?"}]}},
        ("a", "m", "Why?"),
    ),
}


@each("line, asked", LINES)
def test_other_lines_are_requests_too(prompts, line, asked):
    """A bare prompt, and OpenAI's batch format, whose custom_id is the id; they may stand in one file with requests."""
    raw = line if isinstance(line, str) else json.dumps({"custom_id": "a", "method": "POST", **line})
    prompt = read_prompts(prompts({}, raw))[1]

    assert isinstance(prompt, Prompt), prompt
    assert asked == (prompt.id, prompt.request.model, prompt.request.messages[0].text)


def test_a_body_keeps_its_settings(prompts):
    """In OpenAI's words."""
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 7, "stop": ["a"], "seed": 3}
    (prompt,) = read_prompts(prompts(json.dumps({"custom_id": "a", "url": "/v1/chat/completions", "body": body})))

    assert (7, ("a",), 3) == (prompt.request.max_tokens, prompt.request.stop, prompt.request.seed)


CHAT, RESPONSES, EMBEDDINGS = "/v1/chat/completions", "/v1/responses", "/v1/embeddings"
HELLO = {"messages": [{"role": "user", "content": "x"}]}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "argumants": "{}"}}
MISSPELT = {
    "a setting": (CHAT, {**HELLO, "temprature": 1}, "body.temprature: unknown field; did you mean 'temperature'?"),
    "another case": (CHAT, {**HELLO, "maxTokens": 1}, "body.maxTokens: unknown field; did you mean 'max_tokens'?"),
    "of a server": (CHAT, {**HELLO, "min_pp": 1}, "body.min_pp: unknown field; did you mean 'min_p'?"),
    "like none": (CHAT, {**HELLO, "zzz": 1}, "body.zzz: unknown field; what one vendor alone knows goes into extra_params beside"),
    "responses": (RESPONSES, {"input": "x", "instrutions": "y"}, "body.instrutions: unknown field; did you mean 'instructions'?"),
    "embeddings": (EMBEDDINGS, {"input": "x", "dimension": 4}, "body.dimension: unknown field; did you mean 'dimensions'?"),
    "of a message": (
        CHAT,
        {"messages": [{"role": "user", "contents": "x"}]},
        "body.messages.0.contents: unknown field; did you mean 'content'?",
    ),
    "of a call": (
        CHAT,
        {"messages": [{"role": "assistant", "tool_calls": [CALL]}]},
        "body.messages.0.tool_calls.0.function.argumants: unknown field; did you mean 'arguments'?",
    ),
    "of a function": (
        CHAT,
        {**HELLO, "tools": [{"type": "function", "function": {"name": "f", "paramters": {}}}]},
        "body.tools.0.function.paramters: unknown field; did you mean 'parameters'?",
    ),
    "of a function in responses": (
        RESPONSES,
        {"input": "x", "tools": [{"type": "function", "name": "f", "paramters": {}}]},
        "body.tools.0.paramters: unknown field; did you mean 'parameters'?",
    ),
    "of a group": (
        RESPONSES,
        {"input": "x", "reasoning": {"efort": "low"}},
        "body.reasoning.efort: unknown field; did you mean 'effort'?",
    ),
    "no answers": (CHAT, {**HELLO, "n": 0}, "body.n: 0 is not a whole number ≥ 1; omit it"),
    "no tokens": (CHAT, {**HELLO, "max_completion_tokens": -1}, "body.max_completion_tokens: -1 is not a whole number ≥ 1"),
    "half a token": (RESPONSES, {"input": "x", "max_output_tokens": 1.5}, "body.max_output_tokens: 1.5 is not a whole number ≥ 1"),
    "replaced by extra_params": (CHAT, HELLO, "extra_params: 'model' is what the request itself says", {"model": "other"}),
    "extra_params of another kind": (CHAT, HELLO, "extra_params: list is not a mapping; give an object", []),
}


@each("case", MISSPELT)
def test_a_misspelt_field_of_a_body_is_told(prompts, case):
    """The line is not sent without what its writer meant."""
    url, body, text, *more = case
    line = {"custom_id": "a", "url": url, "body": {"model": "m", **body}} | ({"extra_params": more[0]} if more else {})
    (found,) = read_prompts(prompts(json.dumps(line)))

    assert isinstance(found, InvalidLine)
    assert found.text.startswith(text)


@each(
    "body, more",
    [
        ({"min_p": 0.1, "top_k": 5, "chat_template_kwargs": {"thinking": False}}, {}),
        ({"provider": {"order": ["groq"]}, "transforms": []}, {}),
        ({"reasoning": {"enabled": True}, "search_parameters": {"mode": "on"}}, {}),
        ({"verbosity": "low", "prompt_cache_retention": "24h"}, {"brand_new": 1}),
        ({"prompt_cache_options": {"mode": "explicit"}, "data_sources": [{"type": "azure_search"}]}, {}),
        ({"disable_reasoning": True, "search_settings": {"include_domains": ["a.example"]}, "top_n_sigma": 1}, {}),
        ({"messages": [{"role": "assistant", "content": "x", "thinking": "y", "id": "z"}]}, {}),
    ],
)
def test_what_a_vendor_takes_beside_openais_fields_is_kept(prompts, body, more):
    """Known fields of vendors stand in the body, any others in extra_params beside it."""
    line = {"url": CHAT, "body": {"model": "m", **HELLO, **body}, "extra_params": more}
    (found,) = read_prompts(prompts(json.dumps(line)))
    written = json.loads(CODECS["openai_chat"].encode(found.request, stream=False))

    assert body | more == {name: value for name, value in written.items() if name in body or name in more}


@needs_corpus
def test_no_recorded_request_is_taken_for_a_misspelt_one(prompts):
    """What clients have sent to vendors of OpenAI's formats can be a line."""
    urls = {"chat_completions": CHAT, "responses": RESPONSES, "embeddings": EMBEDDINGS}
    bodies = [(urls[api], one["request"]["json"]) for (api, _), found in recorded().items() if api in urls for one in found]
    lines = [{"url": url, "body": {"model": "m", **body}} for url, body in bodies if isinstance(body, dict)]
    found = read_prompts(prompts(*[json.dumps(line) for line in lines]))

    assert [] == [line.text for line in found if isinstance(line, InvalidLine) and "unknown field" in line.text]


def test_texts_to_be_embedded(prompts):
    """One or several, with the length that is asked for."""
    body = {"model": "text-embedding-3-small", "input": ["a", "b"], "dimensions": 4}
    (prompt,) = read_prompts(prompts(json.dumps({"custom_id": "a", "url": "/v1/embeddings", "body": body})))

    assert isinstance(prompt.request, EmbeddingRequest)
    assert (("a", "b"), 4) == (prompt.request.texts, prompt.request.dimensions)


TEXTS = {
    "lines": (b"Why?\nHow?\n", ["Why?", "How?"]),
    "line ends of Windows, and a mark": (b"\xef\xbb\xbfWhy?\r\n\r\nHow?", ["Why?", "How?"]),
    "numbers": (b"42\nnull\n[1]\n", ["42", "null", "[1]"]),
    "JSON texts": (b'"Why?\\nAnd how?"\nHow?\n', ["Why?\nAnd how?", "How?"]),
    "a set": (b"What is this?\n{x | x > 0}\n", ["What is this?", "{x | x > 0}"]),
}


@each("data, said", TEXTS)
def test_a_file_without_an_object_is_plain_text(data, said):
    """A prompt a line; the model is the given one, else auto. Anything that can be read by lines is a file."""
    found = read_prompts(io.BytesIO(data), model="m")

    assert said == [prompt.request.messages[0].text for prompt in found]
    assert {"m"} == {prompt.request.model for prompt in found}
    assert {"auto"} == {prompt.request.model for prompt in read_prompts(io.BytesIO(data))}


def test_text_beside_objects_is_a_mistake(prompts):
    """It may be what is left of a line."""
    mistake, prompt = read_prompts(prompts("Why?", {}))

    assert isinstance(prompt, Prompt)
    assert mistake.text.startswith("not JSON: Expecting value, column 1; in a file of JSON every line is JSON")


def test_the_given_model_is_for_lines_that_name_none(prompts):
    """And an answer to one is no answer to the same line with another model."""
    file = prompts('{"messages": "x"}', {}, '{"url": "/v1/responses", "body": {"input": "x"}}')
    first, second = read_prompts(file, model="a"), read_prompts(file, model="b")

    assert ["a", "gpt-4o-mini", "a"] == [prompt.request.model for prompt in first]
    assert [True, False, True] == [one.key != other.key for one, other in zip(first, second, strict=True)]


NO_FILES = {
    "UTF-16": ("\ufeffWhy?\n".encode("utf-16-le"), "this is UTF-16; save it as UTF-8"),
    "UTF-16, the other way": ("\ufeffWhy?\n".encode("utf-16-be"), "this is UTF-16; save it as UTF-8"),
    "UTF-32": ("\ufeffWhy?\n".encode("utf-32-le"), "this is UTF-32; save it as UTF-8"),
    "UTF-16 without a mark": ("Why?\n".encode("utf-16-le"), "standard input:1: there is a zero byte in it, so this is no UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "standard input:3: there is a zero byte in it, so this is no UTF-8"),
    "an archive": (b"PK\x03\x04\x14\n\x00\x08", "standard input:2: there is a zero byte in it"),
    "Latin-1": ("Warum blüht es?\n".encode("latin-1"), "standard input:1: not UTF-8 text, at byte 9 of the line; save the prompts"),
    "blank": (b" \n\r\n", "there is no prompt in it; give one JSON object or one text a line"),
}


@each("data, text", NO_FILES)
def test_a_file_that_is_no_text_is_refused_as_a_whole(data, text):
    """A part of it could look like a prompt."""
    with pytest.raises(ConfigError) as caught:
        read_prompts(io.BytesIO(data))

    assert text in caught.value.message


def test_a_folder_is_told(away):
    """With the system's reason."""
    with pytest.raises(ConfigError, match="Is a directory"):
        read_prompts(away)


def test_a_line_has_a_bound():
    """What no vendor takes is not read into memory; what is shorter is a prompt, however long."""
    with pytest.raises(ConfigError, match="standard input:2: the line is longer than 64 MiB, which no vendor takes"):
        read_prompts(io.BytesIO(b"Why?\n" + b"x" * ((64 << 20) + 1)))

    (prompt,) = read_prompts(io.BytesIO(b"x" * (8 << 20)))
    assert 8 << 20 == len(prompt.request.messages[0].text)


def test_ids_of_lines_without_one_count_as_well(prompts):
    """Line 2 is called 2, and so is the first."""
    _, mistake = read_prompts(prompts({"id": 2}, {}))

    assert mistake.text.startswith("id: 2 is the id of line 1 too")
