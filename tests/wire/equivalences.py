"""Ways to say the same in a request: what is told apart here by nobody, and may differ between what was read and what is written.

One function for each format; it takes the JSON of a request and gives the form that all equal requests have in common.
"""

from __future__ import annotations

from typing import Any

_VERBATIM = ("input", "input_schema", "schema")
"""What is not the format's own: its nulls are said on purpose."""


def without_nulls(value: Any) -> Any:
    """A null says nothing."""
    if isinstance(value, dict):
        return {name: inner if name in _VERBATIM else without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def anthropic_messages(request: Any) -> Any:
    """Null or empty for absent; ``stream: false`` and a cache of five minutes are the defaults; turns of one role are one turn."""
    fields = without_nulls(request)
    fields = {name: value for name, value in fields.items() if (name, value) != ("stream", False)}
    fields = {name: value for name, value in fields.items() if name not in ("tools", "system", "stop_sequences") or value}
    turns: list[dict[str, Any]] = []
    for turn in fields.get("messages", ()):
        if turns and isinstance(turn, dict) and turns[-1].get("role") == turn.get("role"):
            turns[-1] = {**turns[-1], "content": [*_blocks(turns[-1]["content"]), *_blocks(turn["content"])]}
        else:
            turns.append(turn)
    return _without_default_times({**fields, "messages": turns})


def _blocks(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _without_default_times(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get("type") == "ephemeral":
            return {name: inner for name, inner in value.items() if (name, inner) != ("ttl", "5m")}
        return {name: _without_default_times(inner) for name, inner in value.items()}
    return [_without_default_times(item) for item in value] if isinstance(value, list) else value


def openai_responses(request: Any) -> Any:
    """Null or empty for absent; ``stream: false`` is the default; text is a list of one part; a message need not say it is one."""
    fields = _without_absent(request)
    fields = {name: value for name, value in fields.items() if value not in ([], "") and (name, value) != ("stream", False)}
    if isinstance(fields.get("input"), str):
        fields["input"] = [{"role": "user", "content": fields["input"]}]
    return {**fields, "input": [_as_list(item) for item in fields.get("input", ())]}


def _without_absent(value: Any) -> Any:
    """Without nulls, and without lists of annotations and logprobs that are empty; schemas are left as they are."""
    if isinstance(value, dict):
        return {
            name: inner if name in ("schema", "parameters") else _without_absent(inner)
            for name, inner in value.items()
            if inner is not None and not (name in ("annotations", "logprobs") and inner == [])
        }
    return [_without_absent(item) for item in value] if isinstance(value, list) else value


def _as_list(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type", "message") != "message":
        return item
    content, kind = item["content"], "output_text" if item["role"] == "assistant" else "input_text"
    return {**item, "type": "message", "content": [{"type": kind, "text": content}] if isinstance(content, str) else content}


def ollama_chat(request: Any) -> Any:
    """Null or empty for absent; a stream is the default."""
    fields = {name: value for name, value in without_nulls(request).items() if (name, value) != ("stream", True)}
    return {name: value for name, value in fields.items() if name not in ("format", "options", "tools") or value}
