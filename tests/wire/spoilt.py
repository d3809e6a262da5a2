"""Single items of answers, each with one field spoilt, as vendors and gateways get them wrong; what is written of them is valid."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.wire.corpus import codec_of, exchanges, listed

_ERROR = "unavailable"
_CALLER = {"type": "code_execution_20260120", "tool_id": "srvtoolu_1"}
_RESULT = {"tool_use_id": "srvtoolu_1", "caller": _CALLER}
_DOCUMENT = {
    "type": "document",
    "source": {"type": "text", "media_type": "text/plain", "data": "A"},
    "citations": {"enabled": True},
}
_CITED = {"cited_text": "It", "document_index": 0, "document_title": "A", "file_id": None}
_RUN = {"stdout": "1", "stderr": "", "return_code": 0}
_CHECKS = [{"id": "c_1", "code": "x", "message": "y"}]
_DONE = {"id": "i_1", "status": "completed"}
_CALLED = {**_DONE, "call_id": "call_1"}
WRITTEN_BY_HAND: dict[str, list[dict[str, Any]]] = {
    "anthropic_messages": [
        {"type": "text", "text": "It rains.", "citations": [{**_CITED, **place}]}
        for place in (
            {"type": "char_location", "start_char_index": 0, "end_char_index": 2},
            {"type": "page_location", "start_page_number": 2, "end_page_number": 3},
            {"type": "content_block_location", "start_block_index": 0, "end_block_index": 1},
            {
                "type": "search_result_location",
                "search_result_index": 0,
                "source": "s",
                "title": "A",
                "start_block_index": 0,
                "end_block_index": 1,
            },
            {"type": "web_search_result_location", "url": "https://a.example/", "title": "A" * 600, "encrypted_index": "e"},
        )
    ]
    + [
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}, "caller": _CALLER},
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "q"}, "caller": _CALLER},
        {"type": "container_upload", "file_id": "f"},
        {"type": "web_fetch_tool_result", **_RESULT, "content": {"type": "web_fetch_tool_result_error", "error_code": _ERROR}},
        {
            "type": "web_fetch_tool_result",
            **_RESULT,
            "content": {"type": "web_fetch_result", "url": "u", "retrieved_at": "t", "content": {**_DOCUMENT, "title": "A" * 600}},
        },
        {"type": "web_search_tool_result", **_RESULT, "content": {"type": "web_search_tool_result_error", "error_code": _ERROR}},
        {
            "type": "web_search_tool_result",
            **_RESULT,
            "content": [{"type": "web_search_result", "url": "u", "title": "A" * 600, "encrypted_content": "e", "page_age": "1"}],
        },
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "f", "server_name": "s", "input": {}},
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "is_error": False, "content": [{"type": "text", "text": "A"}]},
        {
            "type": "code_execution_tool_result",
            **_RESULT,
            "content": {
                "type": "encrypted_code_execution_result",
                "encrypted_stdout": "e",
                "stderr": "",
                "return_code": 0,
                "content": [],
            },
        },
        *[
            {
                "type": f"{kind}_tool_result",
                **_RESULT,
                "content": {"type": f"{kind}_result", **_RUN, "content": [{"type": f"{kind}_output", "file_id": "f"}]},
            }
            for kind in ("code_execution", "bash_code_execution")
        ],
        *[
            {"type": f"{kind}_tool_result", **_RESULT, "content": {"type": f"{kind}_tool_result_error", "error_code": _ERROR}}
            for kind in ("code_execution", "bash_code_execution", "text_editor_code_execution", "tool_search")
        ],
        *[
            {
                "type": "text_editor_code_execution_tool_result",
                **_RESULT,
                "content": {"type": f"text_editor_code_execution_{kind}_result", **fields},
            }
            for kind, fields in (
                ("view", {"content": "A", "file_type": "text", "num_lines": 1, "start_line": 1, "total_lines": 1}),
                ("create", {"is_file_update": False}),
                ("str_replace", {"lines": ["A"], "new_lines": 1, "new_start": 1, "old_lines": 1, "old_start": 1}),
            )
        ],
        {
            "type": "tool_search_tool_result",
            **_RESULT,
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [{"type": "tool_reference", "tool_name": "f"}],
            },
        },
    ],
    "openai_responses": [
        {
            "type": "message",
            "role": "assistant",
            **_DONE,
            "phase": "final_answer",
            "content": [
                {
                    "type": "output_text",
                    "text": "It rains.",
                    "logprobs": [{"token": "It", "logprob": -0.1, "bytes": [73], "top_logprobs": []}],
                    "annotations": [
                        {"type": "url_citation", "url": "u", "title": "A", "start_index": 0, "end_index": 2},
                        {"type": "file_citation", "file_id": "f", "filename": "A", "index": 2},
                        {
                            "type": "container_file_citation",
                            "file_id": "f",
                            "filename": "A",
                            "container_id": "c",
                            "start_index": 0,
                            "end_index": 2,
                        },
                        {"type": "file_path", "file_id": "f", "index": 2},
                    ],
                },
                {"type": "refusal", "refusal": "No."},
            ],
        },
        {"type": "reasoning", **_DONE, "summary": [{"type": "summary_text", "text": "Hm"}], "encrypted_content": "e"},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm"}]},
        {"type": "function_call", **_CALLED, "name": "f", "arguments": "{}", "namespace": "n"},
        {"type": "custom_tool_call", **_CALLED, "name": "f", "input": "x", "namespace": "n"},
        *[
            {"type": "web_search_call", **_DONE, "action": action}
            for action in (
                {"type": "search", "query": "q", "queries": ["q"], "sources": [{"type": "url", "url": "u"}]},
                {"type": "open_page", "url": "u"},
                {"type": "find_in_page", "url": "u", "pattern": "p"},
            )
        ],
        {
            "type": "file_search_call",
            **_DONE,
            "queries": ["q"],
            "results": [{"file_id": "f", "text": "A", "filename": "A", "attributes": {"a": "b"}, "score": 0.5}],
        },
        {
            "type": "code_interpreter_call",
            **_DONE,
            "container_id": "c",
            "code": "1",
            "outputs": [{"type": "logs", "logs": "1"}, {"type": "image", "url": "u"}],
        },
        {"type": "image_generation_call", **_DONE, "result": "aGk="},
        {"type": "computer_call", **_CALLED, "action": {"type": "screenshot"}, "pending_safety_checks": _CHECKS},
        {"type": "computer_call", **_CALLED, "actions": [{"type": "wait"}], "pending_safety_checks": []},
        *[
            {"type": "computer_call", **_CALLED, "action": action, "pending_safety_checks": []}
            for action in (
                {"type": "click", "button": "left", "x": 1, "y": 2, "keys": ["ctrl"]},
                {"type": "drag", "path": [{"x": 1, "y": 2}]},
                {"type": "scroll", "x": 1, "y": 2, "scroll_x": 3, "scroll_y": 4},
                {"type": "type", "text": "A"},
                {"type": "keypress", "keys": ["a"]},
            )
        ],
        {
            "type": "local_shell_call",
            **_CALLED,
            "action": {
                "type": "exec",
                "command": ["ls"],
                "env": {"A": "b"},
                "timeout_ms": 1,
                "user": "u",
                "working_directory": "/",
            },
        },
        {"type": "local_shell_call_output", **_CALLED, "output": "A"},
        {
            "type": "shell_call",
            **_CALLED,
            "action": {"commands": ["ls"], "timeout_ms": 1, "max_output_length": 2},
            "environment": {"type": "container_reference", "container_id": "c"},
        },
        {
            "type": "shell_call_output",
            **_CALLED,
            "max_output_length": 2,
            "output": [
                {"stdout": "A", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}},
                {"stdout": "A", "stderr": "", "outcome": {"type": "timeout"}},
            ],
        },
        *[
            {"type": "apply_patch_call", **_CALLED, "operation": {"type": kind, "path": "p", "diff": "d"}}
            for kind in ("create_file", "delete_file", "update_file")
        ],
        {"type": "apply_patch_call_output", **_CALLED, "output": "A"},
        {
            "type": "mcp_call",
            **_DONE,
            "server_label": "s",
            "name": "f",
            "arguments": "{}",
            "output": "A",
            "error": None,
            "approval_request_id": "a",
        },
        {
            "type": "mcp_list_tools",
            "id": "i_1",
            "server_label": "s",
            "error": None,
            "tools": [{"name": "f", "description": "d", "input_schema": {}, "annotations": {}}],
        },
        {"type": "mcp_approval_request", "id": "i_1", "server_label": "s", "name": "f", "arguments": "{}"},
        {"type": "tool_search_call", **_CALLED, "execution": "server", "arguments": {}},
        {"type": "tool_search_output", **_CALLED, "execution": "client", "tools": [{"type": "function", "name": "f"}]},
        {"type": "compaction", "id": "i_1", "encrypted_content": "e"},
        {"type": "function_call_output", **_CALLED, "output": "A"},
        {"type": "custom_tool_call_output", **_CALLED, "output": [{"type": "input_text", "text": "A"}]},
        {"type": "computer_call_output", **_CALLED, "output": {"type": "computer_screenshot", "image_url": "u"}},
    ],
    "gemini": [
        {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
        for part in (
            {"text": "Hm", "thought": True, "thoughtSignature": "c2ln"},
            {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}, "thoughtSignature": "c2ln"},
            {"inlineData": {"mimeType": "image/png", "data": "aGk="}},
            {"fileData": {"mimeType": "image/png", "fileUri": "u"}},
            {"executableCode": {"language": "PYTHON", "code": "1", "id": "c"}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1", "id": "c"}},
            {"functionResponse": {"name": "f", "response": {"a": 1}, "id": "c"}},
            {"text": "Hi", "videoMetadata": {"fps": 1, "startOffset": "1s"}, "partMetadata": {"a": 1}},
        )
    ],
    "openai_chat": [
        {
            "role": "assistant",
            "content": "It rains.",
            "annotations": [
                {"type": "url_citation", "url_citation": {"url": "u", "title": "A", "start_index": 0, "end_index": 2}},
            ],
            "tool_calls": [{"id": "call_1", "type": "custom", "custom": {"name": "f", "input": "x"}}],
            "audio": {"id": "a", "data": "aGk=", "transcript": "Hi", "expires_at": 1},
            "images": [{"type": "image_url", "image_url": {"url": "u"}}],
        },
    ],
    "ollama_chat": [
        {"role": "assistant", "content": "Hi", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]}
    ],
}
"""An item of every kind that a schema knows; most of them are in no recording."""


@cache
def items(name: str) -> list[dict[str, Any]]:
    """The items of a format's answers, in recordings and written by hand, one of each form."""
    found = [*WRITTEN_BY_HAND[name]]
    for exchange in listed(exchanges()):
        answer = exchange["response"]
        if codec_of(exchange).name != name or answer["status"] != 200:
            continue
        lines = [line.removeprefix("data: ") for line in answer["text"].splitlines()] if "text" in answer else []
        for document in (
            [answer["json"]]
            if "json" in answer
            else [json.loads(line) for line in lines if line.startswith('{"') and line.endswith("}")]
        ):
            found += _items_in(name, document)
    found = json.loads(json.dumps(found).replace('"toolu_REDACTED_1"', '"srvtoolu_1"'))  # no id that Anthropic gives
    return list({repr(_form(item)): item for item in reversed(found) if isinstance(item, dict)}.values())[::-1]


def _items_in(name: str, document: dict[str, Any]) -> list[Any]:
    if name == "openai_responses":
        ended = str(document.get("type")).endswith(".done")
        return [*(document.get("output") or ()), *([document["item"]] if ended and "item" in document else ())]
    if name == "anthropic_messages":
        return [*(document.get("content") or ()), *([document["content_block"]] if "content_block" in document else ())]
    if name == "openai_chat":
        return [choice["message"] for choice in document.get("choices") or () if "message" in choice]
    if name == "gemini":
        return list(document.get("candidates") or ())
    return [document["message"]] if "message" in document else []


def _form(value: Any) -> Any:
    """What an item is made of, without what it says."""
    if isinstance(value, dict):
        words = [value[name] for name in ("type", "role") if name in value]
        return words, sorted([(name, _form(inner)) for name, inner in value.items()], key=repr)
    if isinstance(value, list):
        return sorted({repr(_form(inner)) for inner in value[:3]})
    return type(value).__name__


_ABSENT = object()
_SPOILT = (_ABSENT, None, 0, "", {}, [], "hologram", 5)


def spoilt(item: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The item with one field missing, null, zero, empty, of another kind or unknown: every field, at every depth, in turn."""
    for path in _paths(item):
        for value in _SPOILT:
            changed = copy.deepcopy(item)
            inner: Any = changed
            for step in path[:-1]:
                inner = inner[step]
            if value is not _ABSENT:
                inner[path[-1]] = copy.deepcopy(value)
            elif isinstance(inner, dict):
                del inner[path[-1]]
            if changed != item:
                yield changed


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for name, inner in inside:
        yield (*above, name)
        if name not in _FREE:
            yield from _paths(inner, (*above, name))


_FREE = frozenset({"input", "args", "arguments", "input_schema", "response", "tools", "logprobs", "partMetadata", "attributes"})
"""Whose inside the schemas leave open, or is tried elsewhere."""


def answer_with(name: str, item: dict[str, Any]) -> bytes:
    """An answer of a format with one item in it, beside a text."""
    document: dict[str, Any]
    if name == "openai_responses":
        document = {"id": "r_1", "object": "response", "model": "m", "status": "completed", "output": [item]}
    elif name == "anthropic_messages":
        document = {"id": "m_1", "type": "message", "role": "assistant", "model": "m", "content": [item], "stop_reason": "end_turn"}
    elif name == "openai_chat":
        document = {"id": "c_1", "model": "m", "choices": [{"index": 0, "message": item, "finish_reason": "stop"}]}
    elif name == "gemini":
        document = {"modelVersion": "m", "candidates": [item]}
    else:
        document = {"model": "m", "message": item, "done": True, "done_reason": "stop"}
    return json.dumps(document).encode()


def selection(name: str, most: int) -> list[bytes]:
    """Answers of a format with a spoilt item in each: so many at most, the same in every run, from all items."""
    found = [changed for item in items(name) for changed in spoilt(item)]
    return [answer_with(name, changed) for changed in found[:: max(1, len(found) // most)]]
