"""Encode a request for Anthropic's Messages API, with its messages. https://platform.claude.com/docs/en/api/messages"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...errors import InvalidRequest
from ...types import (
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
    data_url,
    media_type,
)
from ..decoding import mapping
from ..encoding import (
    ADAPTIVE,
    EXTRA_CONTENT,
    LEADING_ROLES,
    arguments_of,
    dump,
    encode_choice,
    in_text,
    is_own,
    leave_out,
    only_texts,
    own,
    own_tools,
    present,
    tell_dropped,
    tell_thought,
)
from ..limits import with_ids, with_valid_ids
from ..schemas import ANTHROPIC, NOT_STRICT, fit_schema, object_schema
from ..shaping import adapt_request, cache_control, form_of_object, inline
from .fields import CHOICES, NAME, STRUCTURE

_OWN = (None, NAME)
_TEXTUAL = ("text/", "application/json")
_IDS = re.compile(r"[a-zA-Z0-9_-]+")
_THOUGHTS = ("thinking", "redacted_thinking")


def encode_turns(request: Request, quirks: frozenset[str] = frozenset()) -> list[dict[str, Any]]:
    """The turns without the leading system messages, roles alternating.

    Anthropic wants all results of a round in the turn after it, before anything else that is said there. System messages in the
    middle stay there in a request that was read from this format; else :func:`encode_system` has them.
    """
    native = request.wire_format == NAME
    turns: list[dict[str, Any]] = []
    messages = tuple(turn_messages(request))
    for message in with_ids(messages, _IDS) if native else with_valid_ids(messages, _IDS, orphans=False):
        role, content = _turn(request, message, quirks)
        if content is None:
            continue
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] = [*_as_blocks(turns[-1]["content"]), *_as_blocks(content)]
        else:
            turns.append({"role": role, "content": content, **({} if message.role == "tool" else own(message, NAME))})
    if not turns:
        raise InvalidRequest("messages: Anthropic needs at least one message that is not a system message")
    if turns[-1]["role"] == "assistant":
        if "no_prefill" in quirks:
            raise InvalidRequest("messages: this model does not continue an assistant's turn; end the conversation with the user's")
        turns[-1] = _without_last_blanks(turns[-1])
    for turn in turns if not native else ():
        if not isinstance(turn["content"], str):  # results first, as Anthropic wants them
            turn["content"] = sorted(turn["content"], key=lambda block: block.get("type") != "tool_result")
    return turns


def _without_last_blanks(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn that the model is to go on with; Anthropic refuses one that ends in white space."""
    content = turn["content"]
    if isinstance(content, str):
        return {**turn, "content": content.rstrip()}
    last = content[-1] if content else {}
    if last.get("type") == "text" and isinstance(last.get("text"), str):
        return {**turn, "content": [*content[:-1], {**last, "text": last["text"].rstrip()}]}
    return turn


def turn_messages(request: Request) -> Sequence[Message]:
    """The messages that become turns."""
    if request.wire_format == NAME:
        return request.messages[_leading(request.messages) :]
    return [message for message in request.messages if message.role not in LEADING_ROLES]


def _leading(messages: Sequence[Message]) -> int:
    return next((place for place, message in enumerate(messages) if message.role not in LEADING_ROLES), len(messages))


def encode_system(request: Request) -> Any:
    """The top-level ``system``: text, or blocks where a message was written as blocks; ``None`` for none."""
    native = request.wire_format == NAME
    messages = request.messages[: _leading(request.messages)] if native else request.messages
    found = [message for message in messages if message.role in LEADING_ROLES]
    if not native and not only_texts(found):
        found = in_text(request, NAME, found)
    if all(isinstance(message.content, str) for message in found):
        return "\n\n".join([message.text for message in found if message.text.strip()]) or None
    return [block for message in found for block in _blocks(request, message.parts, frozenset())] or None


def _turn(request: Request, message: Message, quirks: frozenset[str]) -> tuple[str, Any]:
    """Role and content of a message; no content where nothing of it can be sent."""
    if message.role == "tool":
        return "user", [_result(request, message)]
    if isinstance(message.content, str) and not message.tool_calls:
        return message.role, message.content if message.content.strip() else None
    return message.role, _blocks(request, message.parts, quirks) or None


def _as_blocks(content: Any) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content)


def _result(request: Request, message: Message) -> dict[str, Any]:
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": message.tool_call_id}
    if isinstance(message.content, str):
        result["content"] = message.content if message.content.strip() else ""
    elif blocks := _blocks(request, message.content, frozenset()):
        result["content"] = blocks
    if message.is_error is not None:
        result["is_error"] = message.is_error
    return {**result, **own(message, NAME)}


def _blocks(request: Request, parts: Iterable[Part], quirks: frozenset[str]) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    parts = tuple(parts)
    cited = [part for part in parts if isinstance(part, TextPart) and own(part, NAME).get("citations")]
    spaced = request.wire_format == NAME and bool(cited)  # Anthropic's own answer has blanks between its citations
    for part in parts:
        if isinstance(part, ReasoningPart):
            thought = _thought(part, "replay_reasoning" in quirks)
            blocks += thought
            if not thought:
                tell_thought(request, NAME, part)
        elif isinstance(part, OtherPart):
            blocks += [dict(part.data)] if is_own(request, NAME, part) else []
        elif not isinstance(part, TextPart) or part.text.strip() or spaced:
            blocks += _block(request, part)
    return blocks


def _block(request: Request, part: Part) -> list[dict[str, Any]]:
    writer = _WRITERS.get(type(part))
    if isinstance(part, ToolCall):
        given = arguments_of(request, part, "Anthropic")
        block = {"type": "tool_use", "id": part.id, "name": part.name, "input": given}
    elif writer is not None:
        block = writer(part)
        if request.wire_format != NAME and (refused := _refused_type(block)) is not None:
            leave_out(request, NAME, f"message.content: {refused!r}", "is no media type that this format takes")
            return []
    else:
        leave_out(request, NAME, f"message.content: {type(part).__name__}")
        return []
    cache = getattr(part, "cache", None)
    if cache is not None:
        block["cache_control"] = cache_control(cache)
    further = own(part, NAME)
    if EXTRA_CONTENT in further:  # another vendor's, which went through a client of this format
        further = {name: value for name, value in further.items() if name != EXTRA_CONTENT}
    return [{**block, **further}]


def _thought(part: ReasoningPart, unsigned: bool) -> list[dict[str, Any]]:
    """A thought with its proof. One without comes from elsewhere, and Anthropic refuses it; compatible vendors may want it."""
    if part.origin not in _OWN:
        return []
    if part.encrypted is not None:
        return [{"type": "redacted_thinking", "data": part.encrypted, **own(part, NAME)}]
    if part.signature is None and not unsigned:
        return []
    return [{"type": "thinking", "thinking": part.text, "signature": part.signature or "", **own(part, NAME)}]


_TAKEN = {"image": ("image/jpeg", "image/png", "image/gif", "image/webp"), "document": ("application/pdf",)}
"""The media types of bytes in a block. https://platform.claude.com/docs/en/api/messages"""


def _refused_type(block: Mapping[str, Any]) -> str | None:
    """The media type of an image's or a document's bytes where the format knows none such."""
    source = mapping(block.get("source"))
    given = source.get("media_type") if source.get("type") == "base64" else None
    return given if given is not None and given not in _TAKEN.get(block["type"], (given,)) else None


def _document(part: FilePart) -> dict[str, Any]:
    source = _file(part.file_id) or _document_source(part)
    if source.get("media_type", "").startswith("image/"):
        return {"type": "image", "source": source}
    return {"type": "document", "source": source, **present(title=part.name)}


def _document_source(part: FilePart) -> dict[str, Any]:
    """A document's source. Anthropic takes bytes of PDFs only, so all kinds of text are sent as plain text."""
    whole = data_url(part.url) if part.url is not None else None
    kind, data = whole or (part.media_type, part.data)
    if data is not None and kind is not None and media_type(kind).startswith(_TEXTUAL):
        return {"type": "text", "media_type": "text/plain", "data": _as_text(data)}
    return _source(part, "file")


def _as_text(data: bytes) -> str:
    """The text in a file: UTF-8, or what programs of Windows and old servers write."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _file(file_id: str | None) -> dict[str, Any]:
    return {"type": "file", "file_id": file_id} if file_id is not None else {}


def _source(part: ImagePart | FilePart, kind: str) -> dict[str, Any]:
    found = inline(part, kind)
    if found is None:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": found[0], "data": found[1]}


_WRITERS: Mapping[type, Callable[[Any], dict[str, Any]]] = {
    TextPart: lambda part: {"type": "text", "text": part.text},
    ImagePart: lambda part: {"type": "image", "source": _file(part.file_id) or _source(part, "image")},
    FilePart: _document,
}


DEFAULT_MAX_TOKENS = 4096
"""The format wants a limit; this one is sent where the request has none."""

BUDGETS = {"minimal": 1024, "low": 1024, "medium": 4096, "high": 16_384, "xhigh": 32_768, "max": 32_768}
"""The tokens of thought for an effort, where a model goes by tokens."""

_LEAST_BUDGET = 1024
_EFFORTS = {"minimal": "low"}
_TIERS = {"auto": "auto", "default": "standard_only", "standard": "standard_only", "standard_only": "standard_only"}
_NOWHERE = ("seed", "frequency_penalty", "presence_penalty", "logprobs", "top_logprobs")
_JSON_ONLY = "Answer with one JSON object and nothing else."
_BY_TOOL = f"Give your answer by calling the tool {STRUCTURE}."
_FORCED = ("any", "tool")


def encode(request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
    """The JSON body of a request; system messages, wherever they stand, become the top-level ``system``."""
    payload = _payload(request, quirks)
    if request.tools or not only_texts(request.messages):
        _limit_marks(request, payload)
    return dump({**payload, "stream": True} if stream else payload, request, NAME)


def _payload(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    """All fields but ``stream``."""
    if request.response_format is not None:
        request = form_of_object(request)
    request = adapt_request(request, quirks, NAME)
    for name in _NOWHERE:
        if getattr(request, name):
            leave_out(request, NAME, name)
    if (request.n or 1) > 1:
        leave_out(request, NAME, "n")
    turns = encode_turns(request, quirks)
    thoughts = _thinking(request, quirks)
    if thoughts.get("thinking", {}).get("type") == "enabled" and _begins_without_thoughts(turns):
        thoughts = {**thoughts, "thinking": {"type": "disabled"}}
    schema = _schema(request)
    fits = schema is None or request.wire_format == NAME or fit_schema(schema, ANTHROPIC) is not None
    if not fits:  # such as that of an object of any fields
        quirks |= {"no_json_schema"}
    tools = _tools(request, quirks, thinks=_thinks(request, thoughts))
    return {
        **_limits(request, thoughts),
        "messages": turns,
        **_system(request, tools),
        **tools,
        **_sampling(request, thinks=_thinks(request, thoughts)),
        **thoughts,
        **_output(request, thoughts, quirks),
        **_hints(request),
    }


MOST_MARKS = 4
"""Cache marks that Anthropic takes in one request. https://platform.claude.com/docs/en/build-with-claude/prompt-caching"""


def _limit_marks(request: Request, payload: Mapping[str, Any]) -> None:
    """Leave as many cache marks as are taken: the first, whose prompt many conversations share, and the last ones."""
    marked = [tool for tool in payload.get("tools", ()) if _MARK in tool]
    for content in (payload.get("system"), *[turn["content"] for turn in payload["messages"]]):
        if type(content) is list:
            marked += _marked_blocks(content)
    most = MOST_MARKS - (_MARK in payload)
    if len(marked) > most:
        leave_out(request, NAME, f"{_MARK}: {len(marked)} marks", f"are more than the {most} that are taken")
        for block in marked[1 : 1 - most]:
            del block[_MARK]


_MARK = "cache_control"


def _marked_blocks(blocks: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        if block.get("type") == "tool_result" and type(block.get("content")) is list:
            yield from _marked_blocks(block["content"])
        if _MARK in block:
            yield block


def _begins_without_thoughts(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the round of tools under way began with a turn without a thought, which Anthropic wants where a budget is given."""
    place = len(turns)
    while place >= 2 and _has_results(turns[place - 1]):
        place -= 2
    if place == len(turns):
        return False
    content = turns[place]["content"]
    return not content or isinstance(content, str) or content[0].get("type") not in _THOUGHTS


def _has_results(turn: Mapping[str, Any]) -> bool:
    return turn["role"] == "user" and any(block.get("type") == "tool_result" for block in _as_blocks(turn["content"]))


def _limits(request: Request, thoughts: Mapping[str, Any]) -> dict[str, Any]:
    """Model and limit; some clouds have the model in the path, and say the version in its place."""
    model = request.model if request.model and "anthropic_version" not in request.extra_params else None
    if request.wire_format == NAME:
        return present(model=model, max_tokens=request.max_tokens)
    limit = DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens
    budget = thoughts.get("thinking", {}).get("budget_tokens", 0)
    return present(model=model, max_tokens=limit if limit > budget else budget + limit)


def _system(request: Request, tools: Mapping[str, Any]) -> dict[str, Any]:
    """The instructions, with those that stand for a response format that the model does not know."""
    system = encode_system(request)
    added = None
    if (request.response_format or {}).get("type") == "json_object":
        added = _JSON_ONLY
    elif tools.get("tool_choice", {}).get("type") == "auto" and STRUCTURE in [tool.get("name") for tool in tools.get("tools", ())]:
        added = _BY_TOOL
    if added is not None and isinstance(system, list):
        system = [*system, {"type": "text", "text": added}]
    elif added is not None:
        system = "\n\n".join(filter(None, [system, added]))
    return {} if system is None else {"system": system}


def _thinks(request: Request, thoughts: Mapping[str, Any]) -> bool:
    """Whether what Anthropic refuses beside thoughts is to be left out; the author of a request in this format knows better."""
    return request.wire_format != NAME and thoughts.get("thinking", {}).get("type") in ("enabled", "adaptive")


def _thinking(request: Request, quirks: frozenset[str]) -> dict[str, Any]:
    effort, budget = request.reasoning_effort, request.reasoning_tokens
    if request.wire_format == NAME:
        return _thinking_as_read(request)
    if effort is None and budget is None:
        return {}
    if effort == "none" or budget == 0:
        return {"thinking": {"type": "disabled"}}
    if "adaptive_thinking" not in quirks:
        tokens = budget if budget is not None else BUDGETS[effort or "low"]
        return {"thinking": {"type": "enabled", "budget_tokens": max(_LEAST_BUDGET, tokens), **_display(request)}}
    effort = effort or next((word for word, tokens in BUDGETS.items() if budget is not None and budget <= tokens), "max")
    fields: dict[str, Any] = {"thinking": {"type": "adaptive", **_display(request)}}
    return fields if "no_effort" in quirks else {**fields, "output_config": {"effort": _EFFORTS.get(effort, effort)}}


def _thinking_as_read(request: Request) -> dict[str, Any]:
    """The fields as a request in this format had them, where effort and thinking are separate."""
    fields: dict[str, Any] = {}
    if request.reasoning_effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif request.reasoning_effort is not None:
        fields["output_config"] = {"effort": _EFFORTS.get(request.reasoning_effort, request.reasoning_effort)}
    if request.reasoning_tokens is not None:
        fields["thinking"] = {"type": "enabled", "budget_tokens": request.reasoning_tokens, **_display(request)}
    elif request.metadata.get(NAME) == ADAPTIVE:
        fields["thinking"] = {"type": "adaptive", **_display(request)}
    return fields


def _display(request: Request) -> dict[str, str]:
    summary = request.reasoning_summary
    return {} if summary is None else {"display": "omitted" if summary == "none" else "summarized"}


def _sampling(request: Request, *, thinks: bool) -> dict[str, Any]:
    """Sampling settings and stop sequences; with thinking, Anthropic allows only a ``top_p`` near 1."""
    fields = present(temperature=request.temperature, top_p=request.top_p, top_k=request.top_k)
    for name in tuple(fields) if thinks else ():
        if name != "top_p" or fields[name] < 0.95:
            tell_dropped(request, NAME, name, "is refused beside thoughts")
            del fields[name]
    stops = [word for word in request.stop if word.strip()] if request.stop else []  # Anthropic refuses blank ones
    return {**fields, "stop_sequences": stops} if stops else fields


def _hints(request: Request) -> dict[str, Any]:
    """What changes no answer."""
    if request.user is None and request.prompt_cache is None and request.service_tier is None:
        return {}
    user = None if request.user is None else {"user_id": request.user}
    cache = None if request.prompt_cache is None else cache_control(request.prompt_cache)
    tier = request.service_tier if request.wire_format == NAME else _TIERS.get(request.service_tier or "")
    return present(metadata=user, cache_control=cache, service_tier=tier)


def _output(request: Request, thoughts: Mapping[str, Any], quirks: frozenset[str]) -> dict[str, Any]:
    """The form of the answer, beside the effort."""
    schema = _schema(request)
    if schema is None or "no_json_schema" in quirks:
        return {}
    if request.wire_format != NAME:
        schema = fit_schema(schema, ANTHROPIC)
    return {"output_config": {**thoughts.get("output_config", {}), "format": {"type": "json_schema", "schema": schema}}}


def _schema(request: Request) -> Any:
    response_format = request.response_format
    if response_format is None or response_format.get("type") in ("text", "json_object"):
        return None
    kind, described = response_format.get("type"), response_format.get("json_schema")
    if kind == "json_schema" and isinstance(described, Mapping) and "schema" in described:
        return described["schema"]
    leave_out(request, NAME, "response_format", f"has no {kind!r} here; give a 'json_schema' with its 'schema'")
    return None


def _tools(request: Request, quirks: frozenset[str], *, thinks: bool) -> dict[str, Any]:
    """Which tools there are, and which must be used."""
    strict = "no_json_schema" not in quirks
    tools = [_tool(request, tool, strict=strict) for tool in own_tools(request, NAME)] if request.tools else []
    choice = wanted = encode_choice(request, NAME, _CHOICES, lambda name: {"type": "tool", "name": name}) or {}
    schema = _schema(request) if "no_json_schema" in quirks else None
    if schema is not None:
        if choice.get("type") != "tool":
            choice = {"type": "any"} if tools and choice.get("type") != "none" else _STRUCTURED
        tools.append({"name": STRUCTURE, "description": "The one way to give the final answer.", "input_schema": schema})
    if choice.get("type") in _FORCED and (thinks or "no_forced_tools" in quirks):
        if wanted.get("type") in _FORCED:
            leave_out(request, NAME, "tool_choice", "cannot be forced here" + ", beside thoughts" * thinks)
        choice = {"type": "auto"}
    choice = _one_by_one(request, choice, bool(tools))
    return {**({"tools": tools} if tools else {}), **({"tool_choice": choice} if choice else {})}


_CHOICES = {word: {"type": theirs} for word, theirs in CHOICES.items()}
_STRUCTURED = {"type": "tool", "name": STRUCTURE}


def _tool(request: Request, tool: Tool | VendorTool, *, strict: bool) -> dict[str, Any]:
    if isinstance(tool, VendorTool):
        return dict(tool.data)
    schema = tool.parameters
    if request.wire_format != NAME or not schema:
        schema = object_schema(schema)
    fields = {"name": tool.name, "input_schema": schema, **present(description=tool.description)}
    if tool.strict is not None and strict:  # schemas came with it
        fields["strict"] = tool.strict
        if tool.strict and request.wire_format != NAME:
            fit = fit_schema(schema, ANTHROPIC)
            if fit is None:
                leave_out(request, NAME, f"tools: strict of {tool.name!r}", NOT_STRICT)
            fields |= {"strict": False} if fit is None else {"input_schema": fit}
    if tool.cache is not None:
        fields["cache_control"] = cache_control(tool.cache)
    return {**fields, **own(tool, NAME)}


def _one_by_one(request: Request, choice: dict[str, Any], has_tools: bool) -> dict[str, Any]:
    """The choice, with whether several calls may be made at once."""
    parallel = request.parallel_tool_calls
    if parallel is None or choice.get("type") == "none":
        return choice
    if not choice and (parallel or not has_tools):
        return choice
    return {**(choice or {"type": "auto"}), "disable_parallel_tool_use": not parallel}
