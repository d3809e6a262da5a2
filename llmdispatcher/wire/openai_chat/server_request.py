"""Decode a client's request to OpenAI's chat completions API."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import InvalidRequest
from ...types import (
    EFFORTS,
    ROLES,
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    OtherPart,
    Part,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    VideoPart,
)
from ..base import EMPTY_TURN, Inbound, model_in
from ..decoding import arguments_in, decode_base64, mapping, says
from ..server_fields import compact, is_hollow, nonempty, read_object, take, take_inner, take_numbers, take_typed, without_null
from ..shaping import read_data_url, take_cache
from ..words import words
from .fields import AS, BARE, FIELD, LEGACY, NAME, REASONING, SPELLINGS, block_of, noted, rest, thought_of, thoughts_in
from .request import GROUP, REFUSAL, TEXT

_MESSAGE = ("role", "content", "name", "tool_calls", "function_call", "tool_call_id", REFUSAL, *REASONING)


def read_turn(message: Any, where: str) -> Message:
    """One turn."""
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise InvalidRequest(f"{where}: this is no message; give {{'role': ..., 'content': ...}}")
    role = message["role"]
    extra = {name: value for name, value in rest(message, *_MESSAGE).items() if says(value) or value is False}
    if role == "function":  # the result of a call, before calls had ids
        role, extra = "tool", {**extra, "role": role}
    if role not in ROLES:
        raise InvalidRequest(f"{where}.role: {role!r} is not a role; use one of {', '.join(ROLES)}")
    refused, calls = message.get(REFUSAL), _read_calls(message, where)
    content, empty = message.get("content"), None if calls or refused else ""
    if not content and content != empty and content != []:
        extra["content"] = content
    return Message(
        role,
        _read_content(message, content, refused, where),
        name=_read_text(message.get("name"), f"{where}.name"),
        tool_calls=calls,
        tool_call_id=_read_text(message.get("tool_call_id"), f"{where}.tool_call_id"),
        extra=noted(extra),
    )


def _read_text(value: Any, where: str) -> str | None:
    """Read a text; an empty one counts as absent."""
    if not isinstance(value, str | None):
        raise InvalidRequest(f"{where}: {type(value).__name__} is not text; give a string")
    return value or None


def _read_content(message: Mapping[str, Any], content: Any, refused: Any, where: str) -> str | list[Part]:
    """Read a message's content: a text, or parts with the thoughts first."""
    thoughts = thoughts_in(message)
    if message["role"] != "assistant" and not says(thoughts):
        thoughts = {}
    before: list[Part] = [thought_of(thoughts)] if thoughts else []
    after: list[Part] = [TextPart(text=refused, extra={NAME: {AS: FIELD}})] if isinstance(refused, str) and refused else []
    if isinstance(content, list):
        listed = enumerate(without_null(content))
        parts = [read_part(part, f"{where}.content.{place}") for place, part in listed if not _is_empty_medium(part)]
        all_parts = [*before, *parts, *after]
        return all_parts if all_parts or message["role"] in ("assistant", "tool", "function") else list(EMPTY_TURN)
    if not isinstance(content, str | None):
        raise InvalidRequest(f"{where}.content: {type(content).__name__} is not text; give a string or a list of parts")
    empty = not content and message["role"] not in ("assistant", "tool", "function")
    if before or after or empty:
        return [*before, *([TextPart(text=content or "")] if content or empty else []), *after]
    return content or ""


_MEDIA = frozenset({"document_url", "file", "image_url", "input_audio", "video_url"})


def _is_empty_medium(part: Any) -> bool:
    kind = part.get("type") if isinstance(part, dict) else None
    return isinstance(kind, str) and kind in _MEDIA and is_hollow(part)


def _read_calls(message: Mapping[str, Any], where: str) -> list[ToolCall]:
    calls = message.get("tool_calls") or []
    calls = [call for call in calls if says(call)] if isinstance(calls, list) else calls
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise InvalidRequest(f"{where}.tool_calls: this is not a list of calls; give [{{'id': ..., 'function': {{...}}}}]")
    legacy, calls = message.get("function_call"), [call for call in calls if _is_call(call)]
    if isinstance(legacy, dict) and says(legacy) and not calls:
        return [_read_call({"function": legacy, AS: LEGACY}, where)]
    return [_read_call(call, where) for call in calls]


def _is_call(call: Mapping[str, Any]) -> bool:
    return any(says(value) for name, value in call.items() if name not in ("index", "type"))


def _read_call(call: Mapping[str, Any], where: str) -> ToolCall:
    kind = "custom" if call.get("type") == "custom" and (says(call.get("custom")) or not says(call.get("function"))) else "function"
    named = mapping(call.get(kind))
    name, argument = named.get("name"), "input" if kind == "custom" else "arguments"
    if not isinstance(name, str):
        raise InvalidRequest(f"{where}.tool_calls: a call has no name; give {{'id': ..., 'function': {{'name': ...}}}}")
    further, inner = rest(call, "id", "type", kind), rest(named, "name", argument)
    return ToolCall(
        id=_read_text(call.get("id"), f"{where}.tool_calls.id"),
        name=name,
        arguments=arguments_in(named.get(argument)),
        kind=kind,
        extra=noted({**further, kind: inner} if inner else further),
    )


def read_part(part: Any, where: str) -> Part:
    """One part of a content; one of an unknown type is kept whole."""
    if isinstance(part, str):
        return TextPart(text=part, extra={NAME: {AS: BARE}})
    if not isinstance(part, dict):
        raise InvalidRequest(f"{where}: {type(part).__name__} is not a part; give {{'type': 'text', 'text': ...}}")
    if "cache_control" in part and not says(part["cache_control"]):
        part = {name: value for name, value in part.items() if name != "cache_control"}
    kind = part.get("type")
    reader = _PART_READERS.get(kind) if isinstance(kind, str) else None
    read = reader(part) if reader is not None else None
    return OtherPart(origin=NAME, data=part) if read is None else read


def _read_text_part(part: Mapping[str, Any]) -> Part | None:
    if not isinstance(part.get("text"), str):
        return None
    further = rest(part, "type", "text")
    cache = take_cache(further)
    return TextPart(text=part["text"], cache=cache, extra=noted(further))


def _read_refusal(part: Mapping[str, Any]) -> Part | None:
    text = part.get(REFUSAL)
    return TextPart(text=text, extra={NAME: {AS: REFUSAL, **rest(part, "type", REFUSAL)}}) if isinstance(text, str) else None


def _split_inner(part: Mapping[str, Any], kind: str, *known: str) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """The object that a part is about, also where it is only a URL, and the further fields of both."""
    inner, further = part.get(kind), rest(part, "type", kind)
    if isinstance(inner, str):
        return {"url": inner}, {**further, AS: BARE}
    left = rest(mapping(inner), *known)
    return mapping(inner), {**further, kind: left} if left else further


def _read_image(part: Mapping[str, Any]) -> Part | None:
    image, further = _split_inner(part, "image_url", "url", "detail")
    url, detail = image.get("url"), image.get("detail") or None
    if not isinstance(url, str) or not isinstance(detail, str | None):
        return None
    cache = take_cache(further)
    return ImagePart(url=url, detail=detail, cache=cache, extra=noted(further))


def _read_video(part: Mapping[str, Any]) -> Part | None:
    video, further = _split_inner(part, "video_url", "url")
    return VideoPart(url=video["url"], extra=noted(further)) if isinstance(video.get("url"), str) else None


def _read_audio(part: Mapping[str, Any]) -> Part | None:
    """A recording; one that is not exactly what would be written of it is kept whole, such as Mistral's by URL."""
    audio = mapping(part.get("input_audio"))
    data, form = decode_base64(audio.get("data"), exact=True), audio.get("format")
    if data is None or not isinstance(form, str):
        return None
    left, further = rest(audio, "data", "format"), rest(part, "type", "input_audio")
    return AudioPart(data=data, format=form, extra=noted({**further, "input_audio": left} if left else further))


def _read_file(part: Mapping[str, Any]) -> Part | None:
    file, further = _split_inner(part, "file", "file_id", "file_data", "filename")
    file_id, data, name = file.get("file_id") or None, file.get("file_data") or None, file.get("filename") or None
    if AS in further or not isinstance(name, str | None):
        return None
    cache = take_cache(further)
    if isinstance(file_id, str) and data is None:
        return FilePart(file_id=file_id, name=name, cache=cache, extra=noted(further))
    if file_id is not None or not isinstance(data, str) or not data.startswith(("data:", "http://", "https://")):
        return None
    whole = read_data_url(data)
    if whole is None:
        return FilePart(url=data, name=name, cache=cache, extra=noted({AS: "file", **further}))
    return FilePart(data=whole[1], media_type=whole[0], name=name, cache=cache, extra=noted(further))


def _read_document(part: Mapping[str, Any]) -> Part | None:
    """Mistral's documents by their URL."""
    url, name = part.get("document_url"), part.get("document_name") or None
    if not isinstance(url, str) or not isinstance(name, str | None):
        return None
    further = rest(part, "type", "document_url", "document_name")
    return FilePart(url=url, name=name, extra={NAME: {AS: "document_url", **further}})


_PART_READERS: Mapping[str, Callable[[Mapping[str, Any]], Part | None]] = {
    "text": _read_text_part,
    REFUSAL: _read_refusal,
    "image_url": _read_image,
    "video_url": _read_video,
    "input_audio": _read_audio,
    "file": _read_file,
    "document_url": _read_document,
    "thinking": block_of,
}


_IN_PATH = re.compile(r"/deployments/([^/?]+)/")
"""Azure's deployment, which stands for the model."""
_NUMBERS = words("temperature top_p frequency_penalty presence_penalty max_tokens top_k n top_logprobs seed")
_FLAGS = ("logprobs", "parallel_tool_calls")
_TEXTS = ("user", "prompt_cache_key", "service_tier")
_CHOICES = ("auto", "none", "required", "any")


def read_request(body: bytes, path: str = "") -> Inbound:
    """The request in a body; what has no name in ours stays in ``extra_params``."""
    fields = compact(read_object(body, "'model' and 'messages'"), "n", "max_tokens", "max_completion_tokens")
    model = take(fields, "model", str, "") or model_in(path, _IN_PATH)
    stream = take(fields, "stream", bool, False)
    usage = take_inner(fields, "stream_options", "include_usage", lambda value: isinstance(value, bool)) is True
    turns = take(fields, "messages", list, [])
    if not turns:
        raise InvalidRequest("messages: there are none; give a list of at least one {'role': ..., 'content': ...}")
    messages = [read_turn(message, f"messages.{place}") for place, message in enumerate(turns)]
    known: dict[str, Any] = {"metadata": {}}
    for reader in _FIELD_READERS:
        found = reader(fields)
        known |= {**found, "metadata": {**known["metadata"], **found.get("metadata", {})}}
    known["metadata"] = noted(known["metadata"])
    request = Request(model, messages, **known, extra_params=fields, wire_format=NAME)
    return Inbound(request=request, stream=stream, stream_usage=usage)


def _read_numbers(fields: dict[str, Any]) -> dict[str, Any]:
    """Read numbers; the metadata tells which name a server's own spelling had."""
    names = [(name, next((spelling for spelling in SPELLINGS.get(name, ()) if spelling in fields), name)) for name in _NUMBERS]
    found = take_numbers(fields, names)
    return {**found, "metadata": {ours: theirs for ours, theirs in names if ours in found and ours != theirs}}


def _read_words(fields: dict[str, Any]) -> dict[str, Any]:
    """Read flags, texts and ``stop``; a value of another kind stays, since it means something to some server."""
    found = {**take_typed(fields, bool, *_FLAGS), **take_typed(fields, str, *_TEXTS)}
    stop = nonempty(fields.get("stop"))
    if isinstance(stop, str):
        return {**found, "stop": fields.pop("stop"), "metadata": {"stop": TEXT}}
    if fields.get("stop") and isinstance(stop, list) and all(isinstance(word, str) for word in stop):
        del fields["stop"]
        found["stop"] = stop
    return found


def _read_thoughts(fields: dict[str, Any]) -> dict[str, Any]:
    """Read the reasoning effort, from its own field or from OpenRouter's group."""
    if fields.get("reasoning_effort") in EFFORTS:
        return {"reasoning_effort": fields.pop("reasoning_effort")}
    found = {
        "reasoning_effort": take_inner(fields, GROUP, "effort", lambda value: value in EFFORTS),
        "reasoning_tokens": take_inner(fields, GROUP, "max_tokens", lambda value: type(value) is int and value >= 0),
    }
    return {**found, "metadata": {name: GROUP for name, value in found.items() if value is not None}}


def _read_format(fields: dict[str, Any]) -> dict[str, Any]:
    wanted = mapping(fields.get("response_format"))
    kind = wanted.get("type")
    plain = kind in ("text", "json_object") and wanted.keys() == {"type"}
    described = kind == "json_schema" and wanted.keys() == {"type", kind} and "schema" in mapping(wanted[kind])
    return {"response_format": fields.pop("response_format")} if plain or described else {}


def _read_tools(fields: dict[str, Any]) -> dict[str, Any]:
    """Read ``tools`` and ``tool_choice``, or ``functions`` and ``function_call``, their names before there were tools."""
    entries, functions = take(fields, "tools", list, []), take(fields, "functions", list, [])
    tools = [_read_tool(tool, f"tools.{place}") for place, tool in enumerate(entries)]
    older = [_read_function({"function": tool}, f"functions.{place}", {AS: LEGACY}) for place, tool in enumerate(functions)]
    if not older and not tools and "function_call" in fields:  # vendors refuse it without functions
        choice = fields.pop("function_call")
        fields.setdefault("tool_choice", {"type": "function", "function": choice} if isinstance(choice, dict) else choice)
    field = "function_call" if older else "tool_choice"
    if field in fields:
        fields[field] = _plain_choice(fields[field])
    choice = fields.get(field)
    if isinstance(choice, str) and choice in _CHOICES:
        return {"tools": [*tools, *older], "tool_choice": fields.pop(field)}
    name = mapping(choice).get("name") if older else _forced_name(mapping(choice))
    if not isinstance(name, str) or not name:
        return {"tools": [*tools, *older]}
    del fields[field]
    return {"tools": [*tools, *older], "tool_choice": {"type": "function", "function": {"name": name}}}


def _plain_choice(choice: Any) -> Any:
    """Write a choice of another format, ``{"type": "auto"}`` or ``{"type": "tool", "name": ...}``, as this one has it."""
    if not isinstance(choice, dict) or not choice.keys() <= {"type", "name"}:
        return choice
    kind, name = choice.get("type"), choice.get("name")
    if kind in _CHOICES and name is None:
        return kind
    return {"type": "function", "function": {"name": name}} if kind in ("function", "tool") and isinstance(name, str) else choice


def _forced_name(choice: Mapping[str, Any]) -> Any:
    """The name of the function that must be called, if the choice has no other field."""
    function = mapping(choice.get("function"))
    plain = choice.get("type", "function") == "function" and choice.keys() <= {"type", "function"}
    return function.get("name") if plain and function.keys() == {"name"} else None


def _read_tool(tool: Any, where: str) -> Tool | VendorTool:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"{where}: {type(tool).__name__} is not a tool; give {{'type': 'function', 'function': {{...}}}}")
    if tool.get("type") not in (None, "", "function"):
        return VendorTool(origin=NAME, data=tool)
    if isinstance(tool.get("name"), str) and "function" not in tool:  # as the Responses API and Anthropic's have it
        renamed = {"parameters": tool.get("input_schema"), **tool}
        inner = {name: renamed[name] for name in ("name", "description", "parameters", "strict") if renamed.get(name) is not None}
        further = {name: value for name, value in tool.items() if name not in inner and name != "input_schema"}
        tool = {**further, "function": inner}
    return _read_function(tool, where, compact(rest(tool, "type", "function")))


def _read_function(tool: Mapping[str, Any], where: str, extra: dict[str, Any]) -> Tool:
    function = mapping(tool.get("function"))
    name, parameters = function.get("name"), function.get("parameters") or {}
    described = isinstance(function.get("description"), str | None) and isinstance(function.get("strict"), bool | None)
    if not isinstance(name, str) or not name or not isinstance(parameters, dict) or not described:
        raise InvalidRequest(
            f"{where}: a function has no name or a field of a wrong kind; give {{'name': ..., 'parameters': {{...}}}}"
        )
    cache = take_cache(extra)
    further = rest(function, "name", "description", "parameters", "strict")
    further |= {"parameters": {}} if function.get("parameters") == {} else {}  # where none at all would be left out
    return Tool(
        name=name,
        description=function.get("description"),
        parameters=parameters,
        strict=function.get("strict"),
        cache=cache,
        extra=noted({**extra, "function": further} if further else extra),
    )


_FIELD_READERS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    _read_numbers,
    _read_words,
    _read_thoughts,
    _read_format,
    _read_tools,
)
"""Each takes the fields that it knows; the others stay as extra parameters of this format."""
