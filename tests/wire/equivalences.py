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


_GOOGLES_VERBATIM = frozenset(
    {
        "args",
        "response",
        "parameters",
        "parametersJsonSchema",
        "responseSchema",
        "responseJsonSchema",
        "_responseJsonSchema",
        "labels",
        "headers",
        "partMetadata",
    }
)


def gemini(request: Any) -> Any:
    """snake_case for camelCase, one thing for a list of it, null or empty for absent, ``thought: false`` and a user's role are the
    defaults, and so are empty instructions; the words of an enumeration in either case, base64 in either alphabet; turns of one
    role are one turn; tools are a set of functions and a list of others, however grouped.
    """
    fields = _camel(request)
    fields.pop("model", None)  # the path names it
    turns: list[dict[str, Any]] = []
    for turn in _as_googles_list(fields.pop("contents", None)):
        turn = {"role": "user", **turn, "parts": [_googles_part(part) for part in _as_googles_list(turn.get("parts"))]}
        if turns and turns[-1]["role"] == turn["role"]:
            turns[-1]["parts"] += turn["parts"]
        else:
            turns.append(turn)
    if isinstance(fields.get("systemInstruction"), dict):
        parts = _as_googles_list(fields["systemInstruction"].get("parts"))
        fields["systemInstruction"] = {**fields["systemInstruction"], "parts": [_googles_part(part) for part in parts]}
        if all(part == {"text": ""} for part in parts):
            del fields["systemInstruction"]
    entries = [entry for tool in _as_googles_list(fields.pop("tools", None)) for entry in tool.items()]
    functions = [each for name, listed in entries if name == "functionDeclarations" for each in _as_googles_list(listed)]
    others = [entry for entry in entries if entry[0] != "functionDeclarations"]
    found = {**_upper(fields), "contents": turns, "functions": functions, "tools": others}
    return {name: value for name, value in found.items() if value not in ({}, [], None)}


def _camel(value: Any) -> Any:
    if isinstance(value, dict):
        named = [(_in_camel(name), inner) for name, inner in value.items() if inner is not None]
        return {name: inner if name in _GOOGLES_VERBATIM else _camel(inner) for name, inner in named}
    return [_camel(item) for item in value] if isinstance(value, list) else value


def _in_camel(name: str) -> str:
    first, *others = name.split("_")
    return name if not first else first + "".join([word[:1].upper() + word[1:] for word in others])


def _as_googles_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _googles_part(part: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in part.items() if (name, value) != ("thought", False)}
    if "data" in found.get("inlineData", {}):
        data = found["inlineData"]["data"].translate(str.maketrans("-_", "+/")).rstrip("=")
        found["inlineData"] = {**found["inlineData"], "data": data}
    if "functionCall" in found:
        found["functionCall"] = {"args": {}, **found["functionCall"]}
    if "parts" in found.get("functionResponse", {}):
        parts = [_googles_part(inner) for inner in _as_googles_list(found["functionResponse"]["parts"])]
        found["functionResponse"] = {**found["functionResponse"], "parts": parts}
    return found


def _upper(value: Any) -> Any:
    """The words of the enumerations that Google takes in either case, and without what is empty."""
    if not isinstance(value, dict):
        return value
    words, groups = ("mode", "thinkingLevel", "serviceTier"), ("stopSequences", "allowedFunctionNames", "thinkingConfig")
    told = {name: inner for name, inner in value.items() if inner or name not in groups}
    return {
        name: inner if name in _GOOGLES_VERBATIM else inner.upper() if name in words and isinstance(inner, str) else _upper(inner)
        for name, inner in told.items()
    }


def openai_chat(request: Any) -> Any:
    """Null, or an empty list of tools, for absent; ``stream: false`` and a cache of five minutes are the defaults, and a function
    is what tools and calls are.

    ``include_usage`` is no part of what is asked for: a client of ours always counts, a server of ours tells what was wished.
    """
    fields = _without_default_times(_without_absent(request))
    fields = {name: value for name, value in fields.items() if (name, value) not in (("stream", False), ("tools", []))}
    options = {name: value for name, value in fields.pop("stream_options", {}).items() if name != "include_usage"}
    fields |= {"stream_options": options} if options else {}
    fields["messages"] = [_as_turn(message) for message in fields.get("messages", ())]
    choice = fields.get("tool_choice")
    return {
        **fields,
        **({"tools": [{"type": "function", **tool} for tool in fields["tools"]]} if "tools" in fields else {}),
        **({"tool_choice": {"type": "function", **choice}} if isinstance(choice, dict) else {}),
    }


def _as_turn(message: dict[str, Any]) -> dict[str, Any]:
    """Text is a list of one part; an empty list of calls or annotations is none."""
    content, calls = message.get("content"), message.get("tool_calls")
    turn = {name: value for name, value in message.items() if name != "tool_calls" or value}
    turn |= {"content": [{"type": "text", "text": content}]} if isinstance(content, str) else {}
    return {**turn, "tool_calls": [{"type": "function", **call} for call in calls]} if calls else turn
