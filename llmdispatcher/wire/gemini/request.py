"""Encode a request for Google's generateContent. https://ai.google.dev/api/generate-content

Schemas in the OpenAPI dialect of Google's older fields become JSON schemas. https://ai.google.dev/api/caching#Schema
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ...errors import InvalidRequest
from ...types import Message, OtherPart, Part, ReasoningPart, Request, TextPart, Tool, ToolCall, parse_text
from ..encoding import (
    LEADING_ROLES,
    arguments_of,
    dump,
    encode_choice,
    in_text,
    is_own,
    leave_out,
    merge_fields,
    own,
    own_tools,
    present,
    tell_thought,
)
from ..limits import with_names
from ..schemas import GEMINI, ensure_object, fit_schema
from ..shaping import adapt_request, describe_form, without_effort
from .fields import BUDGETS, LEVELS, NAME, RESPONSE_SCHEMA, SETTINGS, THINKING_BUDGET, encoded_part

_WITHIN = frozenset({"items", "anyOf", "additionalProperties", "prefixItems", "not", "oneOf", "allOf"})
_BY_NAME = frozenset({"properties", "$defs", "defs", "definitions", "patternProperties"})
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})
_NOT_JSON_SCHEMA = frozenset({"nullable", "propertyOrdering", "property_ordering"})
_NAMES = {
    "any_of": "anyOf",
    "additional_properties": "additionalProperties",
    "prefix_items": "prefixItems",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_length": "minLength",
    "max_length": "maxLength",
    "min_properties": "minProperties",
    "max_properties": "maxProperties",
}


def json_schema(schema: Any) -> Any:
    """Return a schema of Google's as JSON schema: types in lower case, ``nullable`` as a type, counts as numbers."""
    if isinstance(schema, list):
        return [json_schema(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    for name, value in schema.items():
        if name not in _NOT_JSON_SCHEMA:
            name = _NAMES.get(name) or name
            found[name] = _value(name, value)
    return _or_null(found) if schema.get("nullable") is True else found


def _value(name: str, value: Any) -> Any:
    if name == "type":
        return _types(value)
    if name in _WITHIN:
        return json_schema(value)
    if name in _BY_NAME and isinstance(value, Mapping):
        return {inner: json_schema(described) for inner, described in value.items()}
    if name in _COUNTS and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        return int(value)
    return value


def _types(value: Any) -> Any:
    if isinstance(value, list):
        return [_types(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if isinstance(kind, str):
        return {**schema, "type": [kind, "null"]}
    if isinstance(schema.get("anyOf"), list):
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema


_OWN = (None, NAME)
_ROLES = {"user": "user", "assistant": "model"}
_MODES = {"auto": {"mode": "AUTO"}, "none": {"mode": "NONE"}, "required": {"mode": "ANY"}, "any": {"mode": "ANY"}}
_TIERS = {"flex": "FLEX", "priority": "PRIORITY", "standard": "STANDARD", "default": "STANDARD"}
_SCHEMAS = ("parametersJsonSchema", "parameters")


def encode(request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
    """The JSON body of a request; the path says whether a stream is wanted."""
    shaped = without_effort(adapt_request(_prepare(request, quirks), quirks, NAME), quirks)
    if shaped.parallel_tool_calls is False:
        leave_out(shaped, NAME, "parallel_tool_calls")
    payload: dict[str, Any] = {
        "contents": _turns(shaped, quirks),
        **(_tools(shaped) if shaped.tools else {}),
        **_choice(shaped, quirks),
    }
    system = _system(shaped)
    settings = {**_format(shaped), **_settings(shaped), **_thinking(shaped, quirks)}
    tier = shaped.service_tier or ""
    tier = tier.upper() if shaped.wire_format == NAME else _TIERS.get(tier, "")
    payload |= present(systemInstruction=system or None, generationConfig=settings or None, serviceTier=tier or None)
    return dump(payload, request, NAME)


def _prepare(request: Request, quirks: frozenset[str]) -> Request:
    """Describe the response format in words, where the model takes none, or none together with functions."""
    beside = "no_form_beside_tools" in quirks and any(isinstance(tool, Tool) for tool in request.tools)
    return describe_form(request, instead=None) if beside or "no_json_schema" in quirks else request


def _settings(request: Request) -> dict[str, Any]:
    settings: dict[str, Any] = {theirs: value for name, theirs in SETTINGS if (value := getattr(request, name)) is not None}
    if request.top_logprobs and request.logprobs is None and request.wire_format != NAME:
        settings["responseLogprobs"] = True
    if request.stop:
        settings["stopSequences"] = list(request.stop)
    return settings


def _thinking(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """How much to think: a level, or a budget of tokens where the model goes by that, or the request names one."""
    effort, budget = request.reasoning_effort, request.reasoning_tokens
    config: dict[str, Any] = {}
    if effort == "none" or budget == 0:
        config["thinkingBudget"] = 0
    elif budget is not None and (effort is None or "thinking_budget" in quirks or request.wire_format == NAME):
        config["thinkingBudget"] = budget
    elif effort is not None and "thinking_budget" in quirks and request.wire_format != NAME:
        config["thinkingBudget"] = BUDGETS[effort]
    if effort in LEVELS and (not config or request.wire_format == NAME):
        config["thinkingLevel"] = LEVELS[effort]
    config |= _as_read(request, THINKING_BUDGET)
    if request.reasoning_summary is not None:
        config["includeThoughts"] = request.reasoning_summary != "none"
    return {"thinkingConfig": config} if config else {}


def _as_read(request: Request, name: str) -> dict[str, Any]:
    """What only this format can say, remembered by its reader."""
    marks = request.metadata.get(NAME) if request.wire_format == NAME else None
    return {name: marks[name]} if isinstance(marks, Mapping) and name in marks else {}


def _format(request: Request) -> dict[str, Any]:
    """The settings that make the answer JSON, of a schema if there is one."""
    wanted = request.response_format
    if wanted is None or wanted.get("type") == "text":
        return {}
    kind, described = wanted.get("type"), wanted.get("json_schema")
    if kind == "json_object":
        return {"responseMimeType": "application/json"}
    if kind == "json_schema" and isinstance(described, Mapping) and "schema" in described:
        original = _as_read(request, RESPONSE_SCHEMA)
        same = bool(original) and json_schema(original[RESPONSE_SCHEMA]) == described["schema"]
        schema = described["schema"] if request.wire_format == NAME else fit_schema(described["schema"], GEMINI)
        fields = original if same else {"responseJsonSchema": described["schema"] if schema is None else schema}
        return {"responseMimeType": "application/json", **fields}
    leave_out(request, NAME, "response_format", f"has no {kind!r} here; use 'json_object' or 'json_schema' with a schema")
    return {}


def _system(request: Request) -> dict[str, Any]:
    """All instructions, each text a part of its own."""
    found = in_text(request, NAME, [message for message in request.messages if message.role in LEADING_ROLES])
    parts = [encoded_part(part) for message in found for part in message.parts]
    fields = {name: value for message in found for name, value in own(message, NAME).items()}
    return {"parts": parts, **fields} if found else {}


def _turns(request: Request, quirks: frozenset[str]) -> list[dict[str, Any]]:
    """The turns without the system's. Results of tools become parts of one user turn, which name the function that was called."""
    turns: list[dict[str, Any]] = []
    results: dict[str, Any] | None = None
    for message in with_names(request.messages):
        if message.role == "tool":
            role = own(message, NAME).get("role", "user")
            if results is None or results["role"] != role:
                results = {"role": role, "parts": []}
                turns.append(results)
            results["parts"].append(_result(request, message))
        elif message.role not in LEADING_ROLES:
            results = None
            parts = _parts(request, message.parts)
            if message.tool_calls and "signed_calls" in quirks:
                _sign(parts)
            if parts or request.wire_format == NAME:
                turns.append({"role": _ROLES[message.role], "parts": parts, **own(message, NAME)})
    if not turns:
        raise InvalidRequest("messages: Google needs at least one message that is not a system message")
    return turns


UNSIGNED = "skip_thought_signature_validator"
"""What Google documents in place of the signature of a call that another model made."""


def _sign(parts: list[dict[str, Any]]) -> None:
    """Give a step's first call a signature, where it has none."""
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None and not first.get("thoughtSignature"):
        first["thoughtSignature"] = UNSIGNED


def _parts(request: Request, parts: tuple[Part, ...]) -> list[dict[str, Any]]:
    """Parts as they are written, without foreign thoughts; those of another format's own are refused or dropped."""
    written = []
    for part in parts:
        if isinstance(part, OtherPart) and not is_own(request, NAME, part):
            continue
        if isinstance(part, ReasoningPart) and part.origin not in _OWN:
            tell_thought(request, NAME, part)
        elif request.wire_format == NAME or not isinstance(part, TextPart) or part.text or own(part, NAME):  # no empty text
            written.append(_call(request, part) if isinstance(part, ToolCall) else encoded_part(part))
    return written


def _call(request: Request, call: ToolCall) -> dict[str, Any]:
    try:
        return encoded_part(call)
    except InvalidRequest:  # not JSON, or NaN in it
        given = arguments_of(request, call, "Google")
    block = encoded_part(attrs.evolve(call, arguments=""))
    return {**block, "functionCall": {**block["functionCall"], "args": given}}


def _result(request: Request, message: Message) -> dict[str, Any]:
    name = message.name or None
    if name is None and request.wire_format is not None:  # its vendor keeps the call
        name = message.tool_call_id
    if name is None:
        raise InvalidRequest("message.name: a tool message to Google names its function, or the id of an earlier call")
    response = {"name": name, "response": object_of(message.text, message.is_error), **present(id=message.tool_call_id)}
    media = _parts(request, tuple([part for part in message.parts if not isinstance(part, TextPart | ToolCall | ReasoningPart)]))
    if media:
        response["parts"] = media
    further = {field: value for field, value in own(message, NAME).items() if field != "role"}
    return merge_fields({"functionResponse": response}, further)


def object_of(text: str, is_error: bool | None) -> dict[str, Any]:
    """A result as the object that the format wants."""
    if is_error:
        return {"error": text}
    try:
        value = parse_text(text)
    except ValueError:
        value = text
    return value if isinstance(value, dict) else {"result": value}


def _tools(request: Request) -> dict[str, Any]:
    """All functions in one entry, which is what Google asks for; each tool of its own in another."""
    functions: list[dict[str, Any]] = []
    entries: list[dict[str, Any]] = []
    for tool in own_tools(request, NAME):
        if isinstance(tool, Tool):
            if not functions:
                entries.append({"functionDeclarations": functions})
            functions.append(_declaration(request, tool))
        else:
            entries.append(dict(tool.data))
    return present(tools=entries or None)


def _declaration(request: Request, tool: Tool) -> dict[str, Any]:
    """A function; parameters that were read in the dialect of OpenAPI go out as they came, unless they are others by now."""
    declaration: dict[str, Any] = {"name": tool.name, **present(description=tool.description)}
    further = own(tool, NAME)
    original = further.keys() & _SCHEMAS
    same = bool(original) and (further.get(_SCHEMAS[0]) or json_schema(further.get(_SCHEMAS[1], {}))) == tool.parameters
    if tool.parameters and not same:
        declaration[_SCHEMAS[0]] = tool.parameters if request.wire_format == NAME else ensure_object(tool.parameters)
    return {**declaration, **{name: value for name, value in further.items() if same or name not in original}}


def _choice(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """Which tools must be used."""
    config = encode_choice(request, NAME, _MODES, lambda name: {"mode": "ANY", "allowedFunctionNames": [name]})
    if config is None:
        return {}
    if "no_forced_tools" in quirks and config.get("mode") == "ANY":
        leave_out(request, NAME, "tool_choice", "cannot be forced here")
        config = {"mode": "AUTO"}
    return {"toolConfig": {"functionCallingConfig": config}}
