"""Encode a request for OpenAI's chat completions API, with its messages.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from operator import attrgetter
from typing import Any, cast

import attrs

from ...errors import InvalidRequest
from ...types import (
    AudioPart,
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
    VideoPart,
)
from ..decoding import says
from ..encoding import (
    NO_CHOICE,
    Thing,
    dump,
    is_own,
    leave_out,
    only_texts,
    own,
    own_tools,
    part_kind,
    present,
    tell_dropped,
    tell_thought,
    update,
)
from ..limits import with_ids, with_valid_ids
from ..schemas import ensure_object
from ..shaping import (
    adapt_request,
    cache_control,
    describe_form,
    form_of_object,
    inline_url,
    named_form,
    results_of_text,
    without_effort,
)
from ..words import words
from .fields import AS, BARE, FIELD, LEGACY, NAME, REASONING, SOUND, how, is_legacy, with_own, written_audio

REFUSAL = "refusal"
_IDS = re.compile(r".+", re.DOTALL)
_TEXT_ALONE = frozenset({"type", "text"})
_DOCUMENT = "document_url"
"""How Mistral calls a file by its URL."""


class Turns:
    """The turns of one request."""

    def __init__(self, request: Request, quirks: frozenset[str]) -> None:
        self._request = request
        self._native = request.wire_format == NAME
        open_minded = self._native and "strict_fields" not in quirks  # who writes this format knows what its server takes
        self._replays = open_minded or "replay_reasoning" in quirks
        self._blocks = self._replays or "thinking_blocks" in quirks
        self._marks = open_minded or "cache_marks" in quirks
        self._null_content = "no_null_content" not in quirks
        self._always_thinks = "thoughts_beside_tools" in quirks and _thinks_beside_tools(request)
        self._roles = {"developer": "system"} if "system_role" in quirks else {}

    def encode_turn(self, message: Message) -> dict[str, Any]:
        """One turn. Raises :class:`InvalidRequest` for a part that the format has no place for."""
        fields: dict[str, Any] = {"role": self._roles.get(message.role, message.role), "content": message.content}
        unthought = {REASONING[0]: _UNKNOWN_THOUGHT} if self._always_thinks and message.role == "assistant" else {}
        if _is_text(message):
            return {**fields, **unthought} if unthought else fields
        thoughts = joined_thoughts(message.parts) if self._replays else {}
        fields |= thoughts if says(thoughts) or not unthought else unthought
        fields["content"] = self._content(message)
        refusals = [part.text for part in message.parts if isinstance(part, TextPart) and how(part) == FIELD]
        if refusals:
            fields[REFUSAL] = "".join(refusals)
        if message.tool_calls:
            first = message.tool_calls[0]
            if len(message.tool_calls) == 1 and how(first) == LEGACY:
                fields["function_call"] = {"name": first.name, "arguments": first.arguments}
            else:
                fields["tool_calls"] = [written_call(call) for call in message.tool_calls]
        spoken = [own(part, NAME)["id"] for part in message.parts if isinstance(part, AudioPart) and how(part) == SOUND]
        if spoken:
            fields["audio"] = {"id": spoken[-1]}
        if not fields["content"]:
            empty = None if (message.tool_calls or refusals or spoken) and self._null_content else ""
            fields["content"] = own(message, NAME).get("content", empty)
        if message.name is not None:
            fields["name"] = message.name
        if message.role == "tool":
            fields |= {} if own(message, NAME).get("role") else {"tool_call_id": message.tool_call_id}
        return {**fields, **{name: value for name, value in own(message, NAME).items() if name != "content"}}

    def _content(self, message: Message) -> Any:
        if isinstance(message.content, str):
            return message.content
        parts = [part for part in message.content if self._has_place_among_content(part)]
        if len(parts) > 1 and not self._native:  # some servers refuse an empty text among others
            parts = [part for part in parts if not isinstance(part, TextPart) or part.text] or parts[:1]
        blocks = [block for part in parts if (block := self._part(part)) is not None]
        plain = all(type(block) is dict and block.keys() == _TEXT_ALONE and block["type"] == "text" for block in blocks)
        beside = len(parts) < len(message.content)
        if plain and (beside or [block["text"] for block in blocks] == [""]):  # many servers want an answer's text as text
            return "".join([block["text"] for block in blocks])
        return blocks

    def _has_place_among_content(self, part: Part) -> bool:
        if isinstance(part, ReasoningPart):
            if self._blocks and is_block(part):
                return True
            if not self._replays or not thought_fields(part):
                tell_thought(self._request, NAME, part)
            return False
        if isinstance(part, OtherPart) and not is_own(self._request, NAME, part):
            return False
        return not isinstance(part, ToolCall) and how(part) not in (FIELD, SOUND)

    def _part(self, part: Part) -> Any:
        if how(part) == BARE and isinstance(part, TextPart):
            return part.text
        if not self._marks and getattr(part, "cache", None) is not None:
            tell_dropped(self._request, NAME, "cache_control")
        if self._request.wire_format is not None and not has_place(part):
            leave_out(self._request, NAME, f"message.content: {part_kind(part)!r}")
            return None
        block = written_part(part, marks=self._marks)
        if isinstance(part, FilePart) and self._native and part.name is None:
            block.get("file", {}).pop("filename", None)
        return block


_UNKNOWN_THOUGHT = " "
"""Stands for a thought that is not known; servers refuse an empty text. https://github.com/theopenco/llmgateway/pull/2093"""


def _thinks_beside_tools(request: Request) -> bool:
    """Whether tools are in play and thoughts are not turned off."""
    return request.reasoning_effort != "none" and (bool(request.tools) or any(message.tool_calls for message in request.messages))


def written_call(call: ToolCall) -> dict[str, Any]:
    """One call of a whole turn."""
    named = {"name": call.name, "input" if call.kind == "custom" else "arguments": call.arguments}
    return with_own({"id": call.id, "type": call.kind, call.kind: named}, call)


def is_block(part: ReasoningPart) -> bool:
    """Whether a thought stands among the content."""
    return part.origin == NAME and own(part, NAME).get("type") == "thinking"


def thought_fields(part: ReasoningPart) -> Mapping[str, Any]:
    """The fields of a message for a thought of this format or without an origin; empty for one of another format."""
    if part.origin is None:
        return {"reasoning_content": part.text} if part.text else {}
    return own(part, NAME) if part.origin == NAME else {}


def joined_thoughts(parts: Iterable[Part]) -> dict[str, Any]:
    """The fields of a message for all thoughts that stand beside its content."""
    fields: dict[str, Any] = {}
    for part in parts:
        for name, value in thought_fields(part).items() if isinstance(part, ReasoningPart) and not is_block(part) else ():
            grows = isinstance(value, str | list) and type(fields.get(name)) is type(value)
            fields[name] = fields[name] + value if grows else value
    return fields


def written_part(part: Part, *, marks: bool = True) -> dict[str, Any]:
    """A part of a message's content, with its cache mark if those are taken.

    Raises :class:`InvalidRequest` for one that the format has no place for.
    """
    writer = _WRITERS.get(type(part))
    block = writer(part) if writer is not None else None
    if block is None:
        what = "a file by URL" if isinstance(part, FilePart) else f"this {type(part).__name__}"
        raise InvalidRequest(
            f"message.content: OpenAI's chat format does not carry {what}; send text, images, audio, or a file's data or id"
        )
    block = with_own(block, part)
    cache = getattr(part, "cache", None)
    return block if cache is None or not marks else {**block, "cache_control": cache_control(cache)}


def has_place(part: Part) -> bool:
    """Whether the format carries a part."""
    writer = _WRITERS.get(type(part))
    return writer is not None and writer(part) is not None


def _text(part: TextPart) -> dict[str, Any]:
    kind = REFUSAL if how(part) == REFUSAL else "text"
    return {"type": kind, kind: part.text}


def _image(part: ImagePart) -> dict[str, Any] | None:
    if part.url is None and part.file_id is not None:
        return None
    url = inline_url(part, "image") or part.url
    if how(part) == BARE:
        return {"type": "image_url", "image_url": url}
    return {"type": "image_url", "image_url": {"url": url, **present(detail=part.detail)}}


def _video(part: VideoPart) -> dict[str, Any]:
    url = inline_url(part, "video") or part.url
    return {"type": "video_url", "video_url": url if how(part) == BARE else {"url": url}}


def _file(part: FilePart) -> dict[str, Any] | None:
    if part.file_id is not None:
        return {"type": "file", "file": {"file_id": part.file_id, **({"filename": part.name} if part.name else {})}}
    if how(part) == _DOCUMENT and part.url is not None:
        return {"type": _DOCUMENT, _DOCUMENT: part.url, **present(document_name=part.name)}
    data = inline_url(part, "file")
    if data is None and how(part) != "file":
        return None
    return {"type": "file", "file": {"filename": part.name or "file", "file_data": data or part.url or ""}}


_WRITERS: Mapping[type, Callable[[Any], dict[str, Any] | None]] = {
    TextPart: _text,
    ImagePart: _image,
    AudioPart: written_audio,
    VideoPart: _video,
    FilePart: _file,
    OtherPart: lambda part: dict(part.data),
    ReasoningPart: lambda part: dict(own(part, NAME)),
}


def _is_text(message: Message) -> bool:
    """Whether a turn is nothing but a text, as most are."""
    more = message.tool_calls or message.name is not None or message.extra or message.role == "tool"
    return type(message.content) is str and message.content != "" and not more


_PLAIN = words(
    "temperature top_p top_k frequency_penalty presence_penalty seed n logprobs top_logprobs max_tokens user parallel_tool_calls",
    "response_format reasoning_effort prompt_cache_key service_tier",
)
_plain = attrgetter(*_PLAIN)
_CHOICES = ("auto", "none", "required")
GROUP, TEXT = "reasoning", "text"
"""Marks of how a request was written: its effort in OpenRouter's ``reasoning``, its stop as one text."""


def encode(request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
    """The JSON body of a request.

    The names of some fields are those that the request had when it was read in this format, if the quirks name none.
    """
    shaped = _prepare(request, quirks)
    if "no_effort" in quirks:
        shaped = without_effort(shaped, quirks)
    original, names = shaped.metadata.get(NAME, {}), _field_names(quirks)
    names = {**original, **names} if original else names
    payload: dict[str, Any] = {"model": shaped.model} if shaped.model else {}
    if shaped.messages:
        turns = Turns(shaped, quirks)
        payload["messages"] = [turns.encode_turn(message) for message in shaped.messages]
    for name, value in zip(_PLAIN, _plain(shaped), strict=True):
        if value is not None and names.get(name) != GROUP:
            payload[names.get(name, name)] = value
    if shaped.stop:
        payload["stop"] = shaped.stop[0] if original.get("stop") == TEXT else list(shaped.stop)
    if original or shaped.reasoning_tokens is not None:
        payload |= _reasoning(shaped, grouped=GROUP in original.values())
    if shaped.tools or shaped.tool_choice is not None:
        payload |= _tools(shaped, quirks) | _choice(shaped, quirks)
    if stream:
        payload["stream"] = True
        if "no_stream_options" not in quirks:
            payload["stream_options"] = {"include_usage": True}
    return dump(payload, request, NAME)


def _prepare(request: Request, quirks: frozenset[str]) -> Request:
    """The request as this format's servers take it. Vendors that know no JSON schemas get a schema as text, in a message."""
    if request.response_format is not None:
        request = form_of_object(request)
    if "no_json_schema" in quirks and (request.response_format or {}).get("type") == "json_schema":
        request = describe_form(request, instead={"type": "json_object"})
    request = adapt_request(request, quirks, NAME)
    if only_texts(request.messages) and not request.tools:
        return named_form(request) if request.response_format is not None and request.wire_format != NAME else request
    if request.wire_format != NAME:
        request = named_form(results_of_text(request))
        request = update(request, messages=with_valid_ids(request.messages, _IDS))
    elif "no_functions" in quirks:
        request = modernise(request)
    else:
        request = update(request, messages=with_ids(request.messages, _IDS))
    return keep_standard_fields(request) if "strict_fields" in quirks else request


def modernise(request: Request) -> Request:
    """The request with its functions as tools, and their calls and results with ids."""
    messages = tuple([_modernise_message(message) for message in request.messages])
    messages = with_valid_ids(messages, _IDS)
    tools = tuple([_drop_legacy_mark(tool) if isinstance(tool, Tool) else tool for tool in request.tools])
    return update(request, messages=messages, tools=tools)


def _modernise_message(message: Message) -> Message:
    if own(message, NAME).get("role") == "function":
        kept = {name: value for name, value in own(message, NAME).items() if name != "role"}
        return attrs.evolve(message, extra={**message.extra, NAME: kept})
    return update(message, tool_calls=tuple(map(_drop_legacy_mark, message.tool_calls)))


def _drop_legacy_mark(thing: Any) -> Any:
    """The tool or call without the mark of the legacy fields."""
    if how(thing) != LEGACY:
        return thing
    kept = {name: value for name, value in own(thing, NAME).items() if name != AS}
    return attrs.evolve(thing, extra={**thing.extra, NAME: kept})


STANDARD = frozenset({AS, *words("audio content custom file function parameters prefix prompt_cache_breakpoint role")})
"""What may stand further in messages, parts, calls and tools at servers that refuse fields which they do not know."""


def keep_standard_fields(request: Request) -> Request:
    """The request without further fields that only some servers of this format know."""
    messages = tuple([_keep_standard_message(message) for message in request.messages])
    tools = tuple([_keep_standard(tool) for tool in request.tools])
    return update(request, messages=messages, tools=tools)


def _keep_standard_message(message: Message) -> Message:
    message = _keep_standard(message)
    content = message.content
    if isinstance(content, str) and not message.tool_calls:
        return message
    if not isinstance(content, str):
        content = tuple([part if isinstance(part, ReasoningPart) else _keep_standard(part) for part in content])
    return update(message, content=content, tool_calls=tuple(map(_keep_standard, message.tool_calls)))


def _keep_standard(thing: Thing) -> Thing:
    further = own(thing, NAME) if getattr(thing, "extra", None) else {}
    kept = {name: value for name, value in further.items() if name in STANDARD}
    for name, value in kept.items():
        if isinstance(value, Mapping):
            kept[name] = {inner: value[inner] for inner in value if inner in STANDARD}
    if kept == further:
        return thing
    return update(thing, extra={**cast(Any, thing).extra, NAME: kept})


@lru_cache(maxsize=256)
def _field_names(quirks: frozenset[str]) -> Mapping[str, str]:
    names = {"max_tokens": "max_completion_tokens"} if "max_completion_tokens" in quirks else {}
    names |= {"max_tokens": "max_tokens"} if "no_max_completion_tokens" in quirks else {}
    return {**names, "seed": "random_seed"} if "random_seed" in quirks else names


def _reasoning(request: Request, *, grouped: bool) -> dict[str, Any]:
    """OpenRouter's group of settings, where the request was written so; a budget of tokens has a place nowhere else."""
    if not grouped:
        if request.reasoning_tokens is not None:
            leave_out(request, NAME, "reasoning_tokens")
        return {}
    return {GROUP: present(effort=request.reasoning_effort, max_tokens=request.reasoning_tokens)}


def _tools(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """The tools as ``tools``, and those that came as ``functions`` as those."""
    marks = "cache_marks" in quirks or (request.wire_format == NAME and "strict_fields" not in quirks)
    kept = list(own_tools(request, NAME))
    legacy = [tool for tool in kept if isinstance(tool, Tool) and how(tool) == LEGACY]
    tools = [_tool(request, tool, marks=marks) for tool in kept if tool not in legacy]
    functions = [_tool(request, tool, marks=marks)["function"] for tool in legacy]
    return present(functions=functions or None, tools=tools or None)


def _tool(request: Request, tool: Tool | VendorTool, *, marks: bool) -> dict[str, Any]:
    """A function that the model may call, or a tool of the vendor's own."""
    if isinstance(tool, VendorTool):
        return dict(tool.data)
    function: dict[str, Any] = {"name": tool.name}
    if request.wire_format != NAME:
        function["parameters"] = ensure_object(tool.parameters)
    elif tool.parameters:
        function["parameters"] = tool.parameters
    function |= present(description=tool.description, strict=tool.strict)
    entry = with_own({"type": "function", "function": function}, tool)
    if tool.parameters:  # also where it came with an empty schema
        entry["function"]["parameters"] = function["parameters"]
    if tool.cache is not None and not marks:
        tell_dropped(request, NAME, "cache_control")
    return entry if tool.cache is None or not marks else {**entry, "cache_control": cache_control(tool.cache)}


def _choice(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    choice = request.tool_choice
    if choice is None:
        return {}
    wanted = _resolve_choice(request, choice) if isinstance(choice, str) else choice
    if wanted is None:
        return {}
    if "no_forced_tools" in quirks and wanted not in ("auto", "none"):
        leave_out(request, NAME, "tool_choice", "cannot be forced here")
        wanted = "auto"
    if is_legacy(tool for tool in request.tools if isinstance(tool, Tool)):
        return {"function_call": wanted if isinstance(wanted, str) else wanted.get("function", wanted)}
    return {"tool_choice": wanted}


def _resolve_choice(request: Request, choice: str) -> str | Mapping[str, Any] | None:
    """A word, or the one tool that is meant by its name; ``any`` is Mistral's word, which only a request from there keeps."""
    if choice in _CHOICES or (choice == "any" and request.wire_format == NAME):
        return choice
    if choice == "any":
        return "required"
    for tool in request.tools:
        custom = tool.data.get("custom") if isinstance(tool, VendorTool) else None
        if isinstance(tool, Tool) and tool.name == choice:
            return {"type": "function", "function": {"name": choice}}
        if isinstance(custom, Mapping) and custom.get("name") == choice:
            return {"type": "custom", "custom": {"name": choice}}
    leave_out(request, NAME, f"tool_choice: {choice!r}", NO_CHOICE)
    return None
