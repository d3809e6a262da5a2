"""Decode a client's request to Google's generateContent, or to its token counting."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any
from urllib.parse import unquote

from ...errors import InvalidRequest
from ...types import Message, OtherPart, Part, Request, TextPart, Tool, VendorTool, parse_text
from ..base import EMPTY_TURN, Inbound
from ..decoding import mapping, says
from ..server_fields import compact, is_hollow, nonempty, take_numbers, take_typed, without_blank, without_null
from .fields import LEVELS, NAME, RESPONSE_SCHEMA, SETTINGS, THINKING_BUDGET, camel, extra_of, listed, part_of
from .request import json_schema, object_of

_ROLES = {"user": "user", "function": "user", "model": "assistant"}


def read_system(fields: dict[str, Any]) -> list[Message]:
    """The instructions as one message; what is no text stays where it is."""
    instructions = fields.get("systemInstruction")
    instructions = {"parts": [{"text": instructions}]} if isinstance(instructions, str) else instructions
    if not isinstance(instructions, dict):
        return []
    blocks = listed(instructions.get("parts"))
    if not any(blocks):
        del fields["systemInstruction"]
        return []
    parts = [part_of(block) for block in blocks if isinstance(block, dict)]
    if not parts or len(parts) < len(blocks) or not all(isinstance(part, TextPart) for part in parts):
        return []
    del fields["systemInstruction"]
    further = {name: value for name, value in instructions.items() if name != "parts"}
    return [Message("system", _content(parts), extra={NAME: further} if further else {})]


def _content(parts: list[Part]) -> str | tuple[Part, ...]:
    """The parts, or the text alone where there is nothing else."""
    only = parts[0] if len(parts) == 1 else None
    return only.text if isinstance(only, TextPart) and only.text and not only.extra else tuple(parts)


def read_turns(contents: list[Any]) -> list[Message]:
    """All turns; results of functions become messages of their own."""
    turns = [message for place, turn in enumerate(without_blank(contents)) for message in _read_turn(turn, f"contents.{place}")]
    return turns or [Message("user", EMPTY_TURN)]


def _read_turn(turn: Any, where: str) -> Iterator[Message]:
    role = turn.get("role") or "user" if isinstance(turn, dict) else None
    if not isinstance(role, str) or role not in _ROLES:
        raise InvalidRequest(f"{where}: this is no turn; give {{'role': 'user' or 'model', 'parts': [...]}}")
    blocks = without_null(listed(turn.get("parts")))
    if not all(isinstance(block, dict) for block in blocks) or not (blocks or role == "model"):
        raise InvalidRequest(f"{where}.parts: this is no list of parts; give at least one {{'text': ...}}")
    filled = [block for block in blocks if not _is_empty(block)]
    if blocks and not filled:
        return
    further = {name: value for name, value in turn.items() if name not in ("role", "parts")}
    further |= {"role": role} if role == "function" else {}
    extra = {NAME: further} if further else {}
    if role == "model":
        yield Message("assistant", _content([part_of(block) for block in filled]), extra=extra)
        return
    for is_result, run in groupby(filled, key=_is_result):
        if is_result:
            for block in run:
                yield _read_result(block, where, role)
        else:
            yield Message("user", _content([_read_user_part(block) for block in run]), extra=extra)


def _is_empty(block: Mapping[str, Any]) -> bool:
    """Whether a part says no more than what it would be, which Google refuses."""
    if not block.keys() <= _KINDS or not is_hollow(block):
        return False
    return "functionResponse" not in block or "name" in mapping(block["functionResponse"])


_KINDS = frozenset({"fileData", "functionCall", "functionResponse", "inlineData", "thought", "thoughtSignature"})


def _is_result(block: Mapping[str, Any]) -> bool:
    """Whether a part is the result of a function, and no text beside the empty fields of one."""
    result = block.get("functionResponse")
    return isinstance(result, dict) and ("text" not in block or says(result))


def _read_user_part(block: dict[str, Any]) -> Part:
    """A part of a user's turn; a call in one is nothing that another format knows."""
    return OtherPart(origin=NAME, data=block) if says(block.get("functionCall")) else part_of(block)


def _read_result(block: dict[str, Any], where: str, role: str) -> Message:
    result = block["functionResponse"]
    name, call_id, given = result.get("name"), result.get("id") or None, result.get("response", {})
    media = listed(result.get("parts"))
    if not isinstance(name, str) or not (name or call_id) or not isinstance(call_id, str | None) or not isinstance(given, dict):
        raise InvalidRequest(f"{where}: a functionResponse needs the function's 'name' and a 'response', which is an object")
    if not all(isinstance(part, dict) for part in media):
        raise InvalidRequest(f"{where}: the 'parts' of a functionResponse are objects such as {{'inlineData': {{...}}}}")
    text, is_error = _result_text(given)
    extra = extra_of(block, "functionResponse", "name", "id", "response", "parts").get(NAME, {})
    extra |= {"role": role} if role == "function" else {}
    return Message(
        "tool",
        (TextPart(text=text), *[_read_medium(part) for part in media]) if media else text,
        name=name,
        tool_call_id=call_id,
        is_error=is_error,
        extra={NAME: extra} if extra else {},
    )


def _read_medium(block: dict[str, Any]) -> Part:
    """Read a medium of a result; any other block is kept whole."""
    part = part_of(block)
    is_medium = not isinstance(part, TextPart) and "text" not in block and "functionCall" not in block
    return part if is_medium else OtherPart(origin=NAME, data=block)


def _result_text(given: dict[str, Any]) -> tuple[str, bool | None]:
    """The text of a result, and whether it tells of a failure; plain where it is written back as the same object."""
    if given.keys() == {"error"} and isinstance(given["error"], str):
        return given["error"], True
    if given.keys() == {"result"}:
        value = given["result"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if object_of(text, None) == given:
            return text, None
    return json.dumps(given, ensure_ascii=False), None


_IN_PATH = re.compile(r"/?(?:v\d\w*/)?(.+?):(\w+)$")
_STREAM = "streamGenerateContent"
_COUNTED = "generateContentRequest"
_MODES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
_NAME_OF_FORMAT = "answer"
_SCHEMAS = (RESPONSE_SCHEMA, "responseJsonSchema")
_NUMBERS = [setting for setting in SETTINGS if setting[0] != "logprobs"]
_EFFORTS = {level: effort for effort, level in LEVELS.items() if effort != "max"}


def read_request(body: bytes, path: str = "") -> Inbound:
    """The request in a body; model, and whether a stream is wanted, are in the path."""
    fields = _read_body(body)
    if isinstance(fields.get(_COUNTED), dict):
        fields = fields[_COUNTED]
    named, method = _model_and_method(path)
    model = named or _model_of(fields.get("model"))
    fields.pop("model", None)
    fields = compact(fields)
    contents = listed(fields.pop("contents", None))
    if not contents:
        raise InvalidRequest("contents: there are none; give a list of at least one {'role': ..., 'parts': [...]}")
    messages = [*read_system(fields), *read_turns(contents)]
    tier = take_typed(fields, str, "serviceTier").get("serviceTier")
    known: dict[str, Any] = {"service_tier": tier and tier.lower()}
    for reader in _READERS:
        known |= reader(fields)
    return Inbound(request=Request(model, messages, **known, extra_params=fields, wire_format=NAME), stream=method == _STREAM)


def _read_body(body: bytes) -> dict[str, Any]:
    try:
        document = camel(parse_text(body.decode("utf-8", "replace").removeprefix("\ufeff")))
    except (ValueError, RecursionError):
        raise InvalidRequest("body: this is not JSON; send a JSON object with 'contents'") from None
    if not isinstance(document, dict):
        raise InvalidRequest("body: this is no object; send a JSON object with 'contents'")
    return document


def _model_and_method(path: str) -> tuple[str, str]:
    """Model and method in a path; a model of another kind, such as a tuned one, is named with its kind."""
    found = _IN_PATH.match(path.partition("?")[0])
    return (_model_of(unquote(found.group(1))), found.group(2)) if found else ("", "")


def _model_of(name: Any) -> str:
    return name.rpartition("models/")[2] if isinstance(name, str) else ""


def _read_config(fields: dict[str, Any]) -> dict[str, Any]:
    """Sampling, limits, thoughts and the form of the answer; what is out of our bounds is the vendor's to judge."""
    config = fields.pop("generationConfig", {})
    if not isinstance(config, dict):
        raise InvalidRequest(f"generationConfig: {type(config).__name__} is no group of settings; give an object")
    config = compact(config, "maxOutputTokens", "candidateCount")
    marks: dict[str, Any] = {}
    found = {**take_numbers(config, _NUMBERS, strict=False), **_read_format(config, marks), **_read_thoughts(config, marks)}
    if isinstance(config.get("responseLogprobs"), bool):
        found["logprobs"] = config.pop("responseLogprobs")
    stop = nonempty(config.get("stopSequences"))
    if isinstance(stop, list) and all(isinstance(item, str) for item in stop):
        del config["stopSequences"]
        found["stop"] = stop
    if config:
        fields["generationConfig"] = config
    return {**found, "metadata": {NAME: marks}} if marks else found


def _read_format(config: dict[str, Any], marks: dict[str, Any]) -> dict[str, Any]:
    """Read the response format; the marks keep a schema in the OpenAPI dialect as the client wrote it."""
    names = [name for name in _SCHEMAS if name in config]
    if config.get("responseMimeType") != "application/json" or len(names) > 1:
        return {}
    if not names:
        del config["responseMimeType"]
        return {"response_format": {"type": "json_object"}}
    schema = config[names[0]]
    if not isinstance(schema, dict):
        return {}
    del config["responseMimeType"], config[names[0]]
    if names[0] == RESPONSE_SCHEMA:
        marks[RESPONSE_SCHEMA], schema = schema, json_schema(schema)
    return {"response_format": {"type": "json_schema", "json_schema": {"name": _NAME_OF_FORMAT, "schema": schema}}}


def _read_thoughts(config: dict[str, Any], marks: dict[str, Any]) -> dict[str, Any]:
    """How much to think, and whether to tell; a group that says more stays as it is."""
    group = config.get("thinkingConfig")
    if not isinstance(group, dict):
        return {}
    found: dict[str, Any] = {}
    for name, value in group.items():
        if name == THINKING_BUDGET and type(value) is int and value >= -1:
            found |= {"reasoning_tokens": value} if value >= 0 else {}
        elif name == "thinkingLevel" and isinstance(value, str) and value.upper() in _EFFORTS:
            found["reasoning_effort"] = _EFFORTS[value.upper()]
        elif name == "includeThoughts" and isinstance(value, bool):
            found["reasoning_summary"] = "auto" if value else "none"
        else:
            return {}
    del config["thinkingConfig"]
    if group.get(THINKING_BUDGET) == -1:
        marks[THINKING_BUDGET] = -1
    return found


def _read_tools(fields: dict[str, Any]) -> dict[str, Any]:
    """Functions, and each tool of Google's own, however they were grouped."""
    tools: list[Tool | VendorTool] = []
    for place, entry in enumerate(without_blank(listed(fields.pop("tools", None)))):
        if not isinstance(entry, dict):
            raise InvalidRequest(f"tools.{place}: {type(entry).__name__} is not a tool; give {{'functionDeclarations': [...]}}")
        for name, value in entry.items():
            if name == "functionDeclarations":
                tools += [_read_function(declared, f"tools.{place}") for declared in without_null(listed(value))]
            elif value is not None:
                tools.append(VendorTool(origin=NAME, data={name: value}))
    return {"tools": tools}


def _read_function(declared: Any, where: str) -> Tool:
    """A function; parameters in the dialect of OpenAPI are remembered as they were spelt."""
    name = declared.get("name") if isinstance(declared, dict) else None
    if not isinstance(name, str) or not name:
        raise InvalidRequest(f"{where}: a functionDeclaration has no name; give {{'name': ..., 'parametersJsonSchema': {{...}}}}")
    rest = {field: value for field, value in declared.items() if field != "name"}
    known = {"description": rest.pop("description")} if isinstance(rest.get("description"), str) else {}
    schema: Any = rest.get("parametersJsonSchema")
    if isinstance(schema, dict) and schema and "parameters" not in rest:
        del rest["parametersJsonSchema"]
    schema = schema or json_schema(rest.get("parameters", {}))
    if not isinstance(schema, dict):
        raise InvalidRequest(f"{where}: the parameters of {name!r} are no schema; give an object, or leave them out")
    return Tool(name=name, parameters=schema, extra={NAME: rest} if rest else {}, **known)


def _read_choice(fields: dict[str, Any]) -> dict[str, Any]:
    """Which tools must be used; what is not one of our choices stays as it is."""
    config = fields.get("toolConfig")
    calling = config.get("functionCallingConfig") if isinstance(config, dict) else None
    choice = _read_calling(calling) if isinstance(calling, dict) else None
    if choice is None or not isinstance(config, dict):
        return {}
    del fields["toolConfig"]
    rest = {name: value for name, value in config.items() if name != "functionCallingConfig"}
    if rest:
        fields["toolConfig"] = rest
    return {"tool_choice": choice}


def _read_calling(calling: Mapping[str, Any]) -> Any:
    mode, names = calling.get("mode"), calling.get("allowedFunctionNames", [])
    word = _MODES.get(mode.upper()) if isinstance(mode, str) else None
    if word is None or not calling.keys() <= {"mode", "allowedFunctionNames"}:
        return None
    if names == []:
        return word
    if word == "required" and isinstance(names, list) and len(names) == 1 and isinstance(names[0], str) and names[0]:
        return {"type": "function", "function": {"name": names[0]}}
    return None


_READERS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_read_config, _read_tools, _read_choice)
"""Each takes the fields that it knows; the others stay as extra parameters of this format."""
