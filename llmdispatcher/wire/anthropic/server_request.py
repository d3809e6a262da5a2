"""Decode a client's request to Anthropic's Messages API, or to its token counting.

A content block that is unknown, or has fields that a part cannot hold, is kept whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from ...errors import InvalidRequest
from ...types import FilePart, ImagePart, Message, OtherPart, Part, ReasoningPart, Request, TextPart, Tool, ToolCall, VendorTool
from ..base import EMPTY_TURN, Inbound, model_in
from ..decoding import decode_base64, mapping
from ..encoding import ADAPTIVE
from ..server_fields import compact, is_hollow, nonempty, read_object, take, take_inner, take_numbers, take_typed, without_null
from ..shaping import cache_of, take_cache
from .fields import NAME, WEB

_ROLES = ("user", "assistant", "system")


def read_turns(turns: Sequence[Any]) -> list[Message]:
    """All turns; results of tools become messages of their own."""
    return [message for place, turn in enumerate(turns) for message in _read_turn(turn, f"messages.{place}")]


def _read_turn(turn: Any, where: str) -> list[Message]:
    role = turn.get("role") if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequest(f"{where}: this is no message; give {{'role': 'user' or 'assistant', 'content': ...}}")
    content = turn.get("content")
    content = "" if content is None and role == "assistant" else without_null(content) if isinstance(content, list) else content
    extra = {name: value for name, value in turn.items() if name not in ("role", "content") and value is not None}
    if isinstance(content, str):
        text = content if content or role == "assistant" else EMPTY_TURN
        return [Message(role, text, extra={NAME: extra} if extra else {})]
    if role != "user":
        return [Message(role, read_parts(content, where), extra={NAME: extra} if extra else {})]
    messages = []
    for is_result, blocks in groupby(_filled_blocks(content, where), key=lambda block: block["type"] == "tool_result"):
        if is_result:
            messages += [_read_result(block, where) for block in blocks]
        else:
            messages.append(Message("user", tuple([_read_part(block, where) for block in blocks])))
    return messages or [Message("user", EMPTY_TURN)]


def _blocks_in(content: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        raise InvalidRequest(f"{where}.content: {type(content).__name__} is no content; give text or a list of blocks")
    for block in content:
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest(f"{where}.content: there is no block without a type; give {{'type': 'text', 'text': ...}}")
    return content


def _filled_blocks(content: Any, where: str) -> list[dict[str, Any]]:
    """The blocks but for media, calls and results that say nothing."""
    return [block for block in _blocks_in(content, where) if block["type"] not in _FILLED or len(block) < 2 or not is_hollow(block)]


_FILLED = frozenset({"image", "document", "tool_use", "tool_result"})


def _read_result(block: dict[str, Any], where: str) -> Message:
    known, extra = _split_block(block, "tool_use_id", "content", "is_error")
    content, answered, error = known.get("content", ()), known.get("tool_use_id"), known.get("is_error")
    if not isinstance(answered, str) or not isinstance(error, bool | None):
        raise InvalidRequest(f"{where}: a tool_result needs the tool_use_id of the call that it answers")
    return Message(
        "tool",
        content if isinstance(content, str | tuple) else read_parts(content, where),
        tool_call_id=answered,
        is_error=error,
        extra=extra,
    )


def read_parts(content: Any, where: str) -> tuple[Part, ...]:
    """The parts that a list of blocks stands for."""
    return tuple([_read_part(block, where) for block in _filled_blocks(content, where)])


def _read_part(block: dict[str, Any], where: str) -> Part:
    reader = _PART_READERS.get(block["type"])
    part = reader(block) if reader is not None else None
    if part is None and block["type"] in ("text", "tool_use"):
        raise InvalidRequest(f"{where}.content: a block of type {block['type']!r} lacks what it is made of, or has it malformed")
    return part if part is not None else OtherPart(origin=NAME, data=block)


def _split_block(block: Mapping[str, Any], *names: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The known fields of a block, and the others as this format's own."""
    known = {name: block[name] for name in names if block.get(name) is not None}
    extra = compact({name: value for name, value in block.items() if name not in ("type", *names)})
    return known, {NAME: extra} if extra else {}


def _split_marked(block: Mapping[str, Any], *names: str) -> tuple[dict[str, Any], str | None, dict[str, dict[str, Any]]]:
    """Split a block into its fields, its cache mark, and what else stands in it."""
    cache = cache_of(block.get("cache_control"))
    known, extra = _split_block({name: value for name, value in block.items() if name != "cache_control" or cache is None}, *names)
    return known, cache, extra


def _read_text(block: dict[str, Any]) -> Part | None:
    known, cache, extra = _split_marked(_without_foreign_sources(block), "text")
    text = known.get("text")
    return TextPart(text=text, cache=cache, extra=extra) if isinstance(text, str) else None


def _without_foreign_sources(block: dict[str, Any]) -> dict[str, Any]:
    """A block without the sources that another vendor named: Anthropic takes back only those that it can prove."""
    cited = block.get("citations")
    if not isinstance(cited, list) or not any(_is_foreign(citation) for citation in cited):
        return block
    return {**block, "citations": [citation for citation in cited if not _is_foreign(citation)] or None}


def _is_foreign(citation: Any) -> bool:
    return isinstance(citation, dict) and citation.get("type") == WEB and not citation.get("encrypted_index")


def _read_image(block: dict[str, Any]) -> Part | None:
    _, cache, extra = _split_marked(block, "source")
    source = _read_source(block.get("source"))
    return ImagePart(**source, cache=cache, extra=extra) if source is not None else None


def _read_document(block: dict[str, Any]) -> Part | None:
    known, cache, extra = _split_marked(block, "source", "title")
    source, title = _read_source(block.get("source")), known.get("title") or None
    if source is None or not isinstance(title, str | None) or (source.get("media_type") or "").startswith("text/"):
        source = _read_plain_text(block.get("source"))
    if source is None or not isinstance(title, str | None):
        return None
    return FilePart(**source, name=title, cache=cache, extra=extra)


def _read_source(source: Any) -> dict[str, Any] | None:
    """Where bytes are, as the fields of a part; ``None`` for what these cannot say."""
    kind = source.get("type") if isinstance(source, dict) else None
    fields = {name: value for name, value in source.items() if name != "type"} if isinstance(kind, str) else {}
    if not all(isinstance(value, str) for value in fields.values()):
        return None
    if kind == "base64" and fields.keys() == {"data", "media_type"}:
        data = decode_base64(fields["data"], exact=True)
        if data is None:  # sent on as it is; the vendor may be less strict
            return {"url": f"data:{fields['media_type']};base64,{fields['data']}"}
        return {"data": data, "media_type": fields["media_type"]}
    if (kind, *fields) in (("url", "url"), ("file", "file_id")):
        return fields
    return None


def _read_plain_text(source: Any) -> dict[str, Any] | None:
    if not isinstance(source, dict) or source.keys() != {"type", "media_type", "data"} or source["type"] != "text":
        return None
    if source["media_type"] != "text/plain" or not isinstance(source["data"], str):
        return None
    return {"data": source["data"].encode("utf-8", "replace"), "media_type": "text/plain"}


def _read_thinking(block: dict[str, Any]) -> Part | None:
    known, extra = _split_block(block, "thinking", "signature")
    text, signature = known.get("thinking", ""), known.get("signature", "")
    if not isinstance(text, str) or not isinstance(signature, str):
        return None
    return ReasoningPart(text=text, signature=signature or None, origin=NAME, extra=extra)


def _read_redacted(block: dict[str, Any]) -> Part | None:
    known, extra = _split_block(block, "data")
    data = known.get("data")
    return ReasoningPart(encrypted=data, origin=NAME, extra=extra) if isinstance(data, str) else None


def _read_call(block: dict[str, Any]) -> Part | None:
    known, extra = _split_block(block, "id", "name", "input")
    name, given, call_id = known.get("name"), known.get("input", {}), known.get("id")
    if not isinstance(name, str) or not isinstance(given, dict) or not isinstance(call_id, str | None):
        return None
    return ToolCall(name=name, arguments=json.dumps(given, ensure_ascii=False), id=call_id or None, extra=extra)


_PART_READERS: Mapping[str, Callable[[dict[str, Any]], Part | None]] = {
    "text": _read_text,
    "image": _read_image,
    "document": _read_document,
    "thinking": _read_thinking,
    "redacted_thinking": _read_redacted,
    "tool_use": _read_call,
}


_IN_PATH = re.compile(r"/models?/(.+?)(?::\w*[rR]awPredict|/(?:invoke|converse)\S*)(?:\?|$)")
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_CHOICES = {"auto": "auto", "none": "none", "any": "required"}
_DISPLAYS = {"summarized": "auto", "omitted": "none"}
_NUMBERS = [(name, name) for name in ("temperature", "top_p", "max_tokens", "top_k")]
_NAME_OF_FORMAT = "answer"


def read_request(body: bytes, path: str = "") -> Inbound:
    """The request in a body; some clouds have the model in the path."""
    fields = compact(read_object(body, "'model', 'max_tokens' and 'messages'"))
    model = take(fields, "model", str, "") or model_in(path, _IN_PATH)
    stream = take(fields, "stream", bool, False)
    turns = take(fields, "messages", list, None)
    if not turns:
        raise InvalidRequest("messages: there are none; give a list of at least one {'role': ..., 'content': ...}")
    messages = [*_read_system(fields), *read_turns(turns)]
    known = take_numbers(fields, _NUMBERS)
    for reader in _FIELD_READERS:
        known |= reader(fields)
    request = Request(model, messages, **known, extra_params=fields, wire_format=NAME)
    return Inbound(request=request, stream=stream)


def _read_system(fields: dict[str, Any]) -> list[Message]:
    system = fields.pop("system", None)
    if not system:
        return []
    return [Message("system", system if isinstance(system, str) else read_parts(system, "system"))]


def _read_words(fields: dict[str, Any]) -> dict[str, Any]:
    """Where to stop, for whom, how fast, and what to remember."""
    stop = nonempty(fields.pop("stop_sequences", []))
    if not isinstance(stop, list) or not all(isinstance(item, str) for item in stop):
        raise InvalidRequest("stop_sequences: this is not a list of strings; give one, or leave it out")
    user = take_inner(fields, "metadata", "user_id", lambda value: isinstance(value, str))
    return {**take_typed(fields, str, "service_tier"), "stop": stop, "user": user, "prompt_cache": take_cache(fields)}


def _read_thoughts(fields: dict[str, Any]) -> dict[str, Any]:
    """How much to think. An effort may come with adaptive thinking or alone, which the metadata remember."""
    rest = {name: value for name, value in mapping(fields.get("thinking")).items() if value is not None}
    kind, found = rest.pop("type", None), dict[str, Any]()
    if kind == "disabled":
        found["reasoning_effort"] = "none"
    elif kind == "enabled":
        budget = rest.pop("budget_tokens", None)
        if type(budget) is not int or budget < 0:
            give = "give one, or {'type': 'adaptive'}"
            raise InvalidRequest(f"thinking.budget_tokens: {budget!r} is not a whole number; {give}")
        found["reasoning_tokens"] = budget
    elif kind == "adaptive":
        found["metadata"] = {NAME: ADAPTIVE}
    if found:
        del fields["thinking"]
        if kind != "disabled" and isinstance(rest.get("display"), str) and rest["display"] in _DISPLAYS:
            found["reasoning_summary"] = _DISPLAYS[rest.pop("display")]
        if rest:
            fields["thinking"] = rest
    if "reasoning_effort" not in found:
        found["reasoning_effort"] = take_inner(fields, "output_config", "effort", lambda value: value in _EFFORTS)
    return found


def _read_format(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = take_inner(fields, "output_config", "format", _is_schema)
    if wanted is None:
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": _NAME_OF_FORMAT, "schema": wanted["schema"]}}}


def _is_schema(value: Any) -> bool:
    return isinstance(value, dict) and value.get("type") == "json_schema" and value.keys() == {"type", "schema"}


def _read_choice(fields: dict[str, Any]) -> dict[str, Any]:
    choice = fields.get("tool_choice")
    if not isinstance(choice, dict):
        return {}
    found: dict[str, Any] = {}
    rest = {name: value for name, value in choice.items() if value is not None}
    alone = rest.pop("disable_parallel_tool_use", None)
    if rest.keys() == {"type", "name"} and rest["type"] == "tool" and rest["name"]:
        found["tool_choice"] = {"type": "function", "function": {"name": rest["name"]}}
    elif rest.keys() == {"type"} and isinstance(rest["type"], str) and rest["type"] in _CHOICES:
        found["tool_choice"] = _CHOICES[rest["type"]]
    if not found or not isinstance(alone, bool | None):
        return {}
    del fields["tool_choice"]
    return {**found, "parallel_tool_calls": None if alone is None else not alone}


def _read_tools(fields: dict[str, Any]) -> dict[str, Any]:
    return {"tools": [_read_tool(tool, f"tools.{place}") for place, tool in enumerate(take(fields, "tools", list, ()))]}


def _read_tool(tool: Any, where: str) -> Tool | VendorTool:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{where}: {type(tool).__name__} is not a tool; give {{'name': ..., 'input_schema': ...}}")
    if tool.get("type") not in (None, "", "custom"):
        return VendorTool(origin=NAME, data=tool)
    rest = compact(tool)
    name, schema = rest.pop("name", ""), rest.pop("input_schema", {})
    if not isinstance(name, str) or not name or not isinstance(schema, dict):
        raise InvalidRequest(f"{where}: a tool needs a name and an input_schema; give {{'name': ..., 'input_schema': {{...}}}}")
    cache = take_cache(rest)
    known = {key: tool[key] for key, kind in (("description", str), ("strict", bool)) if isinstance(tool.get(key), kind)}
    rest = {key: value for key, value in rest.items() if key not in known}
    return Tool(name=name, parameters=schema, cache=cache, extra={NAME: rest} if rest else {}, **known)


_FIELD_READERS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    _read_words,
    _read_thoughts,
    _read_format,
    _read_choice,
    _read_tools,
)
"""Each takes the fields that it knows; the others stay as extra parameters of this format."""
