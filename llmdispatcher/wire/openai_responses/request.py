"""Encode a request for OpenAI's Responses API; convert items to parts of a message and back.

https://platform.openai.com/docs/api-reference/responses/create. An item is a message, reasoning, a tool call, the result of one, or
a block that only this format knows. What a message item says besides its text (id, status, phase) is kept on each of its text parts
as ``item``: parts with the same one were one item.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

import attrs

from ...types import (
    AudioPart,
    Extra,
    FilePart,
    ImagePart,
    Message,
    OtherPart,
    Part,
    ReasoningPart,
    Request,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
)
from ..decoding import arguments_in, mapping, says, text_of, words_of
from ..encoding import (
    EXTRA_CONTENT,
    dump,
    is_own,
    leave_out,
    own,
    own_tools,
    part_kind,
    present,
    tell_thought,
    with_signature,
)
from ..limits import with_ids, with_valid_ids
from ..openai_chat.fields import written_audio
from ..schemas import ensure_object
from ..shaping import adapt_request, form_of_object, inline_url, without_effort

NAME = "openai_responses"
CALLS: Mapping[str, tuple[str, str]] = {"function_call": ("function", "arguments"), "custom_tool_call": ("custom", "input")}
"""Items that are calls: what kind of call, and where its arguments stand."""
SAID = {"output_text": "text", "input_text": "text", "text": "text", "refusal": "refusal"}
"""What an assistant's message is made of: where each part has its text."""
MADE_UP = "rs_made_"
"""How the ids of thoughts begin that came from another format: clients send them back, vendors know nothing of them."""
THEIRS = ("_output", "_response")
"""How the types of items end that answer what the assistant asked for."""

_ITEM_OF = {kind: (item, field) for item, (kind, field) in CALLS.items()}
_EMPTY_UNLESS_SAID = ("annotations", "logprobs")


def rest(data: Mapping[str, Any], *known: str) -> dict[str, Any]:
    """The fields that are not known, null and empty lists of annotations left out."""
    return {
        name: value
        for name, value in data.items()
        if name not in known and value is not None and (value or name not in _EMPTY_UNLESS_SAID)
    }


def noted(fields: Mapping[str, Any]) -> Extra:
    """Further fields as ``extra`` of a part."""
    return {NAME: fields} if fields else {}


def read_item(item: Mapping[str, Any]) -> list[Part]:
    """What an item of the assistant's is in our words; one of an unknown type is kept whole."""
    kind = text_of(item.get("type")) or "message"
    if kind == "message":
        return read_message(item)
    if kind == "reasoning":
        return [read_thought(item)]
    return [read_call(item) if kind in CALLS else OtherPart(origin=NAME, data=item)]


def read_message(item: Mapping[str, Any]) -> list[Part]:
    """The texts of an assistant's message; content of another type becomes a message of its own, kept whole."""
    content, about = item.get("content"), rest(item, "type", "role", "content")
    if isinstance(content, str | int | float):
        return [TextPart(text=words_of(content), extra=noted({"item": about} if about else {}))]
    parts: list[Part] = []
    for entry in content if isinstance(content, list) else ():
        if words_of(entry):  # a bare text
            entry = {"type": "output_text", "text": entry}
        if not (isinstance(entry, dict) and says(entry)):
            continue
        if not text_of(entry.get("type")) and words_of(entry.get("text")):
            entry = {**entry, "type": "output_text"}
        field = SAID.get(text_of(entry.get("type")))
        if field is not None and not (isinstance(entry.get(field), dict | list) and says(entry[field])):
            parts.append(_text({**entry, field: words_of(entry.get(field))}, field, about))
        else:
            parts.append(OtherPart(origin=NAME, data={**item, "content": [entry]}))
    return parts


def _text(entry: Mapping[str, Any], field: str, about: Mapping[str, Any]) -> TextPart:
    fields = rest(entry, field, *(("type",) if entry["type"] == "output_text" else ()))
    for name in _EMPTY_UNLESS_SAID:
        given = fields.pop(name, None)
        entries = [each for each in given if isinstance(each, dict)] if isinstance(given, list) else None
        if entries or given == []:
            fields[name] = entries  # whatever else that was
    return TextPart(text=entry[field], extra=noted({**fields, "item": about} if about else fields))


def read_thought(item: Mapping[str, Any]) -> ReasoningPart:
    """A reasoning item; how its text is divided is kept where it is not one summary."""
    text, fields = thought_text(item), rest(item, "type", "id", "encrypted_content", "summary")
    if item.get("summary") != _summary(text):
        fields["summary"] = item.get("summary") or []
    encrypted, item_id = text_of(item.get("encrypted_content")) or None, text_of(item.get("id")) or None
    return ReasoningPart(text=text, encrypted=encrypted, id=item_id, origin=NAME, extra=noted(fields))


def thought_text(item: Mapping[str, Any]) -> str:
    """The text of a thought: its summaries, and what it says in full where a vendor tells that."""
    lists = [item.get("summary"), item.get("content")]
    return "".join([words_of(mapping(entry).get("text")) for entries in lists if isinstance(entries, list) for entry in entries])


def read_call(item: Mapping[str, Any]) -> ToolCall:
    """A call of a function or of a tool that takes free text."""
    kind, field = CALLS[item["type"]]
    arguments = item.get(field)
    return ToolCall(
        name=text_of(item.get("name")),
        arguments=arguments_in(arguments),
        id=words_of(item.get("call_id") or item.get("id") or None) or None,
        kind=kind,
        extra=noted(rest(item, "type", "call_id", "name", field)),
    )


def written_items(parts: Iterable[Part]) -> list[dict[str, Any]]:
    """The items of an assistant's turn, in order; parts that have no place in one are left to the caller."""
    items: list[dict[str, Any]] = []
    for about, run in groupby(parts, key=lambda part: _item_fields(part) if isinstance(part, TextPart) else None):
        if about is not None:
            items.append(_message_item([part for part in run if isinstance(part, TextPart)]))
            continue
        for part in run:
            if isinstance(part, ReasoningPart):
                items.append(written_thought(part))
            elif isinstance(part, ToolCall):
                items.append(written_call(part))
            elif isinstance(part, OtherPart):
                items.append(dict(part.data))
    return items


def _item_fields(part: TextPart) -> Mapping[str, Any]:
    return mapping(own(part, NAME).get("item"))


def _message_item(texts: Sequence[TextPart]) -> dict[str, Any]:
    about = _item_fields(texts[0])
    if len(texts) == 1 and not own(texts[0], NAME):
        return {"role": "assistant", "content": texts[0].text}
    return {"type": "message", "role": "assistant", "content": [written_text(part, "output_text") for part in texts], **about}


def written_text(part: TextPart, kind: str) -> dict[str, Any]:
    """A text part of a message."""
    fields = rest(own(part, NAME), "item")
    kind = fields.pop("type", kind)
    return {"type": kind, SAID.get(kind, "text"): part.text, **fields}


def written_thought(part: ReasoningPart) -> dict[str, Any]:
    """A reasoning item."""
    proof = rest({"id": part.id, "encrypted_content": part.encrypted})
    return {"type": "reasoning", **proof, "summary": _summary(part.text), **own(part, NAME)}


def _summary(text: str) -> list[dict[str, Any]]:
    return [{"type": "summary_text", "text": text}] if text else []


def written_call(call: ToolCall) -> dict[str, Any]:
    """A call."""
    kind, field = _ITEM_OF.get(call.kind, _ITEM_OF["function"])
    return {
        "type": kind,
        "call_id": call.id,
        "name": call.name,
        field: call.arguments,
        **with_signature(call.signature),
        **own(call, NAME),
    }


LOGPROBS = "message.output_text.logprobs"
"""What ``include`` names to get logprobs."""

_ABSENT = ("top_k", "frequency_penalty", "presence_penalty", "seed", "reasoning_tokens")
_PLAIN = {
    "temperature": "temperature",
    "top_p": "top_p",
    "user": "user",
    "max_tokens": "max_output_tokens",
    "top_logprobs": "top_logprobs",
    "service_tier": "service_tier",
    "prompt_cache_key": "prompt_cache_key",
}
_ITEMS = frozenset({"message", "item_reference", "compaction", "additional_tools"})
_CHOICES = {"any": "required", "auto": "auto", "none": "none", "required": "required"}
_IDS = re.compile(r".{1,64}", re.DOTALL)
_FORCED = "is refused by this model"


def encode(request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
    """The JSON body of a request. Stop sequences, seed, penalties, ``n`` and ``top_k`` have no place in this format."""
    if request.response_format is not None:
        request = form_of_object(request)
    request = without_effort(adapt_request(request, quirks - {"text_results"}, NAME), quirks)  # pictures have a place in results
    messages = (with_ids if request.wire_format == NAME else with_valid_ids)(request.messages, _IDS)
    if messages is not request.messages:
        request = attrs.evolve(request, messages=messages)
    _refuse_absent(request)
    payload: dict[str, Any] = {"model": request.model} if request.model else {}
    payload |= _input(request, quirks)
    payload |= {field: value for name, field in _PLAIN.items() if (value := getattr(request, name)) is not None}
    if request.tools or request.tool_choice is not None or request.parallel_tool_calls is not None:
        payload |= _tools(request, quirks)
    if request.reasoning_effort is not None or request.reasoning_summary is not None:
        payload |= _reasoning(request)
    if request.response_format is not None:
        payload["text"] = {"format": _format(request.response_format)}
    if stream:
        payload["stream"] = True
    if request.logprobs:
        request = _include_logprobs(request, payload)
    return dump(payload, request, NAME)


def _refuse_absent(request: Request) -> None:
    absent = [name for name in _ABSENT if getattr(request, name) is not None]
    absent += ["stop"] * bool(request.stop) + ["n"] * ((request.n or 1) > 1)
    for name in absent:
        leave_out(request, NAME, name)


def _reasoning(request: Request) -> dict[str, Any]:
    summary = request.reasoning_summary if request.reasoning_summary != "none" else None
    fields = rest({"effort": request.reasoning_effort, "summary": summary})
    return {"reasoning": fields} if fields else {}


def _include_logprobs(request: Request, payload: dict[str, Any]) -> Request:
    """Ask for logprobs in ``include``, beside the request's own entries."""
    wanted = request.extra_params.get("include") if request.wire_format in (None, NAME) else None
    if isinstance(wanted, Sequence) and LOGPROBS not in wanted:
        return attrs.evolve(request, extra_params={**request.extra_params, "include": [*wanted, LOGPROBS]})
    payload["include"] = [LOGPROBS]
    return request


def _format(wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    schema = wanted.get("json_schema")
    if wanted.get("type") != "json_schema" or not isinstance(schema, Mapping):
        return wanted
    return {"type": "json_schema", "name": "response", **schema}


def _tools(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    tools = [_tool(tool, native=request.wire_format == NAME) for tool in own_tools(request, NAME)]
    choice = _choice(request, quirks) if request.tool_choice is not None else {}
    return {**present(tools=tools or None), **choice, **present(parallel_tool_calls=request.parallel_tool_calls)}


def _tool(tool: Tool | VendorTool, *, native: bool) -> dict[str, Any]:
    if isinstance(tool, VendorTool):
        return dict(tool.data)
    parameters = tool.parameters if native or not tool.parameters else ensure_object(tool.parameters)
    described = rest({"description": tool.description, "strict": tool.strict})
    return {"type": "function", "name": tool.name, "parameters": parameters, **described, **own(tool, NAME)}


def _choice(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    choice = request.tool_choice
    if isinstance(choice, str):
        wanted: Any = _CHOICES.get(choice, {"type": "function", "name": choice})
    else:
        function = choice.get("function") if choice is not None else None
        wanted = {"type": "function", "name": function.get("name")} if isinstance(function, Mapping) else choice
    if "no_forced_tools" in quirks and wanted not in ("auto", "none"):
        leave_out(request, NAME, "tool_choice", _FORCED)
        return {}
    return {"tool_choice": wanted}


def _input(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """Instructions and items."""
    instructions = [message for message in request.messages if own(message, NAME).get("instructions")]
    fields: dict[str, Any] = {"instructions": "\n\n".join([message.text for message in instructions])} if instructions else {}
    conversation = _Conversation(request, quirks)
    items = [item for message in request.messages if message not in instructions for item in conversation.items(message)]
    if items or (not instructions and request.messages):
        fields["input"] = items
    return fields


class _Conversation:
    """The turns of one request, which know of the calls before them."""

    def __init__(self, request: Request, quirks: frozenset[str]) -> None:
        self._request = request
        self._roles = {"developer": "system"} if "system_role" in quirks else {}
        self._custom: set[str | None] = set()

    def items(self, message: Message) -> list[dict[str, Any]]:
        """The items of one turn."""
        if message.name is not None and message.role != "tool":
            leave_out(self._request, NAME, "message.name")
        if message.role == "assistant":
            return written_items([fit for part in message.parts if (fit := self._assistant_part(part)) is not None])
        if message.role == "tool":
            call = message.tool_call_id
            kind = "custom_tool_call_output" if call in self._custom else "function_call_output"
            return [{"type": kind, "call_id": call, "output": self._content(message.content), **own(message, NAME)}]
        if isinstance(message.content, tuple) and all(map(_whole_item, message.content)):
            items = [part for part in message.content if isinstance(part, OtherPart)]
            return [dict(item.data) for item in items if is_own(self._request, NAME, item)]
        role = self._roles.get(message.role, message.role)
        return [{"role": role, "content": self._content(message.content), **own(message, NAME)}]

    def _assistant_part(self, part: Part) -> Part | None:
        """A part of an assistant's turn, if it has a place there."""
        if isinstance(part, ToolCall):
            return self._call(part)
        if isinstance(part, ReasoningPart):
            passed = part.encrypted is None and (part.id or "").startswith(MADE_UP)
            if part.origin in (None, NAME) and not passed:
                return part
            tell_thought(self._request, NAME, part)
            return None
        if isinstance(part, OtherPart):
            return part if is_own(self._request, NAME, part) else None
        if isinstance(part, TextPart):
            return part
        leave_out(self._request, NAME, f"message.content: {part_kind(part)!r}")
        return None

    def _call(self, call: ToolCall) -> ToolCall:
        if call.kind == "custom":
            self._custom.add(call.id)
        if call.signature is not None or EXTRA_CONTENT in own(call, NAME):  # another vendor's, which OpenAI refuses
            further = {name: value for name, value in own(call, NAME).items() if name != EXTRA_CONTENT}
            call = attrs.evolve(call, signature=None, extra={**call.extra, NAME: further})
        return call

    def _content(self, content: str | Sequence[Part]) -> Any:
        if isinstance(content, str):
            return content
        return [entry for part in content if (entry := self._entry(part)) is not None]

    def _entry(self, part: Part) -> dict[str, Any] | None:
        """A part of a user's or the system's turn, or of a result."""
        if isinstance(part, TextPart):
            return written_text(part, "input_text")
        if isinstance(part, OtherPart):
            return dict(part.data) if is_own(self._request, NAME, part) else None
        if isinstance(part, ReasoningPart) and part.origin not in (None, NAME):
            tell_thought(self._request, NAME, part)
            return None
        writer = _ENTRIES.get(type(part))
        if writer is None:
            leave_out(self._request, NAME, f"message.content: {part_kind(part)!r}")
            return None
        return {**writer(part), **own(part, NAME)}


def _whole_item(part: Part) -> bool:
    """Whether it is an item of its own, and no content of a message."""
    kind = str(part.data.get("type")) if isinstance(part, OtherPart) else ""
    return kind in _ITEMS or kind.endswith(THEIRS)


def _image(part: ImagePart) -> dict[str, Any]:
    is_held = part.url is not None or part.data is not None or part.file_id is None
    url = inline_url(part, "image") or part.url if is_held else None
    return {"type": "input_image", **rest({"file_id": part.file_id, "image_url": url, "detail": part.detail})}


def _file(part: FilePart) -> dict[str, Any]:
    if part.file_id is None and part.url is None and part.data is None and "file_data" in own(part, NAME):
        return {"type": "input_file", **rest({"filename": part.name})}
    data = inline_url(part, "file")
    url = part.url if part.url is None or part.url[:5].lower() != "data:" else None
    entry = {"type": "input_file", **rest({"filename": part.name, "file_id": part.file_id, "file_url": url})}
    if data is None and part.data is not None:
        data = inline_url(attrs.evolve(part, url=None), "file")
    return entry if data is None else {**entry, "file_data": data}


_ENTRIES: Mapping[type, Any] = {ImagePart: _image, FilePart: _file, AudioPart: written_audio}
