"""Shape a request to what a model or vendor takes, before it is encoded; what it means stays the same.

Quirks (``QUIRKS``, from the catalog's tables) name what is refused. One place serves all formats. A setting that only tunes a
response is left out, since the model accepts nothing but its absence. One that decides what the response is (``stop``,
``logprobs``) raises an error that says so, unless the request allows dropping it.
"""

from __future__ import annotations

import base64
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from ..errors import InvalidRequest
from ..types import (
    AudioPart,
    FilePart,
    ImagePart,
    Message,
    Part,
    ReasoningPart,
    Request,
    ResponseFormat,
    TextPart,
    Tool,
    ToolCall,
    VendorTool,
    VideoPart,
    closest_name,
    data_url,
    detect_media_type,
    lacks_object,
    media_type,
    put_into_object,
)
from .decoding import mapping
from .encoding import LEADING_ROLES, leave_out, logger, only_texts, own, tell_dropped, update, written
from .schemas import NOT_STRICT, OPENAI_STRICT, fit_schema, object_schema, type_schema, with_items, without_nulls


def results_of_text(request: Request) -> Request:
    """Results of tools as text; what else is in them follows in a user's message after all results of the round."""
    for message in request.messages:
        if message.role == "tool" and _media_in(message):
            return attrs.evolve(request, messages=list(_as_text(request.messages)))
    return request


def _media_in(message: Message) -> list[Part]:
    if isinstance(message.content, str):
        return []
    return [part for part in message.content if not isinstance(part, TextPart | ReasoningPart | ToolCall)]


def _as_text(messages: Iterable[Message]) -> Iterator[Message]:
    apart: list[Part] = []
    for message in messages:
        media = _media_in(message) if message.role == "tool" else []
        if message.role != "tool" and apart:
            yield Message("user", apart)
            apart = []
        if media:
            apart += [TextPart(text=f"From the result of {message.name or message.tool_call_id or 'the tool'}:"), *media]
            content = "\n\n".join(filter(None, [message.text, "(More of this result is in the next user message.)"]))
            message = attrs.evolve(message, content=content)
        yield message
    if apart:
        yield Message("user", apart)


def system_in_first_turn(request: Request) -> Request:
    """The instructions at the beginning of the first user's message, for models that know no system."""
    instructions = [message for message in request.messages if message.role in LEADING_ROLES]
    if not instructions:
        return request
    first = Message("user", instructions[0].content)
    for message in instructions[1:]:
        first = _join(first, Message("user", message.content))
    rest = [message for message in request.messages if message.role not in LEADING_ROLES]
    if rest and rest[0].role == "user":
        return attrs.evolve(request, messages=[_join(first, rest[0]), *rest[1:]])
    return attrs.evolve(request, messages=[first, *rest])


def alternate_turns(request: Request) -> Request:
    """Put instructions first and join successive messages of the same role, so that user and assistant alternate."""
    messages: list[Message] = [message for message in request.messages if message.role in LEADING_ROLES]
    leading = len(messages)
    for message in request.messages:
        if message.role in LEADING_ROLES:
            continue
        last = messages[-1] if len(messages) > leading else None
        if last is not None and message.role != "tool" and last.role == message.role:
            messages[-1] = _join(last, message)
        else:
            messages.append(message)
    return request if messages == list(request.messages) else attrs.evolve(request, messages=messages)


def _join(first: Message, second: Message) -> Message:
    """Two messages of the same role as one."""
    if not second.text and not second.parts:
        return first
    if isinstance(first.content, str) and isinstance(second.content, str):
        content: Any = "\n\n".join([text for text in (first.content, second.content) if text])
    else:
        between = [TextPart(text="\n\n")] if first.text and second.text else []
        content = [*_content_parts(first), *between, *_content_parts(second)]
        if all(type(part) is TextPart and not part.cache and not part.extra for part in content):
            content = "".join([part.text for part in content])
    return attrs.evolve(
        first, content=content, tool_calls=(*first.tool_calls, *second.tool_calls), extra={**second.extra, **first.extra}
    )


def _content_parts(message: Message) -> tuple[Part, ...]:
    if isinstance(message.content, str):
        return (TextPart(text=message.content),) if message.content else ()
    return message.content


def without_empty_turns(request: Request) -> Request:
    """Without turns of the assistant that say nothing and call nothing."""
    kept = [
        message
        for message in request.messages
        if message.role != "assistant" or message.text.strip() or not all(isinstance(part, TextPart) for part in message.parts)
    ]
    return request if len(kept) in (0, len(request.messages)) else attrs.evolve(request, messages=kept)


def assistant_after_results(request: Request) -> Request:
    """A word of the assistant between results of tools and the user's next message."""
    messages: list[Message] = []
    for message in request.messages:
        if messages and messages[-1].role == "tool" and message.role == "user":
            messages.append(Message("assistant", "I have the results."))
        messages.append(message)
    return request if len(messages) == len(request.messages) else attrs.evolve(request, messages=messages)


def describe_form(request: Request, *, instead: Mapping[str, Any] | None) -> Request:
    """Describe the response format in a system message; ``instead`` replaces it in the request."""
    form = request.response_format
    kind = None if form is None else form.get("type")
    if kind not in ("json_schema", "json_object"):
        return request
    text = "Answer with one JSON document, and nothing else."
    if kind == "json_schema":
        schema = written(mapping(mapping(form).get("json_schema")).get("schema", {})).decode()
        text = f"Answer with one JSON document, and nothing else, that fits this JSON schema: {schema}"
    return attrs.evolve(request, response_format=instead, messages=(Message.system(text), *request.messages))


def form_of_object(request: Request) -> Request:
    """Ask for an object that has the answer in it, where the form is none of an object and the vendor wants one."""
    form = request.response_format
    described = mapping(mapping(form).get("json_schema"))
    if request.wire_format is not None or not lacks_object(described.get("schema")):
        return request
    made = ResponseFormat({**mapping(form), "json_schema": {**described, "schema": put_into_object(described["schema"])}})
    made.kind = getattr(form, "kind", None)
    return update(request, response_format=made)


_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]+")


def named_form(request: Request) -> Request:
    """Give the schema of an answer a name that servers take: letters, digits, ``_`` and ``-``, 64 at most."""
    if request.response_format is None:
        return request
    form = mapping(request.response_format)
    described = form.get("json_schema")
    if form.get("type") != "json_schema" or not isinstance(described, Mapping):
        return request
    name = described.get("name") or "response"
    plain = _NOT_IN_NAMES.sub("_", str(name))[:64]
    if plain == described.get("name"):
        return request
    return attrs.evolve(request, response_format={**form, "json_schema": {**described, "name": plain}})


def one_of_sampling(request: Request) -> Request:
    """Without ``top_p`` where there is a temperature."""
    if request.temperature is None or request.top_p is None:
        return request
    logger.info("top_p is not sent to %s, which takes it or a temperature", request.model)
    tell_dropped(request, request.model, "top_p", "is not taken beside a temperature")
    return attrs.evolve(request, top_p=None)


def check_schemas(request: Request) -> Request:
    """Write schemas as OpenAI checks them: arguments are objects, and strict schemas name and require all their fields.

    A strict schema that cannot be written so raises :class:`InvalidRequest`, or is sent without ``strict`` where the request allows
    dropping fields.
    """
    form = request.response_format
    if not request.tools and form is None:
        return request
    tools = tuple([_check_tool(request, tool) if isinstance(tool, Tool) else tool for tool in request.tools])
    described = mapping(mapping(form).get("json_schema"))
    if described.get("strict") is True:
        fit = fit_schema(described.get("schema"), OPENAI_STRICT)
        if fit is None and getattr(form, "kind", None) is None:  # nobody asked for strict mode with a type
            leave_out(request, "strict", "response_format: strict", NOT_STRICT)
        changed = {"strict": False} if fit is None else {"schema": fit}
        form = {**mapping(form), "json_schema": {**described, **changed}}
    return update(request, tools=tools, response_format=form)


_OPENAI = ("openai_chat", "openai_responses")


def _check_tool(request: Request, tool: Tool) -> Tool:
    schema = tool.parameters
    if not schema and request.wire_format in _OPENAI:
        return tool
    fit: Any = with_items(object_schema(schema))
    if tool.strict:
        fit = fit_schema(fit, OPENAI_STRICT)
        if fit is None:
            leave_out(request, "strict", f"tools: strict of {tool.name!r}", NOT_STRICT)
            return attrs.evolve(tool, strict=False)
    return tool if fit == schema else attrs.evolve(tool, parameters=fit)


def type_schemas(request: Request) -> Request:
    """Write schemas as Moonshot takes them: an object at the root, types within choices, nothing beside a reference."""
    form = request.response_format
    tools = tuple([_type_tool(tool) if isinstance(tool, Tool) else tool for tool in request.tools])
    described = mapping(mapping(form).get("json_schema"))
    if isinstance(described.get("schema"), Mapping):
        fit = type_schema(described["schema"])
        form = form if fit == described["schema"] else {**mapping(form), "json_schema": {**described, "schema": fit}}
    return update(request, tools=tools, response_format=form)


def _type_tool(tool: Tool) -> Tool:
    fit = type_schema(object_schema(tool.parameters))
    return tool if fit == tool.parameters else attrs.evolve(tool, parameters=fit)


SHAPES: Mapping[str, Callable[[Request], Request]] = {
    "checked_schemas": check_schemas,
    "typed_schemas": type_schemas,
    "one_of_sampling": one_of_sampling,
    "text_results": results_of_text,
    "no_empty_turns": without_empty_turns,
    "no_system": system_in_first_turn,
    "alternating_turns": alternate_turns,
    "assistant_after_results": assistant_after_results,
}
"""What a quirk makes of a request, in this order."""

_TUNES: Mapping[str, tuple[str, ...]] = {
    "no_sampling": ("temperature", "top_p", "top_k", "frequency_penalty", "presence_penalty"),
    "no_penalties": ("frequency_penalty", "presence_penalty"),
    "no_user": ("user",),
    "no_prompt_cache_key": ("prompt_cache_key",),
    "no_parallel_tools": ("parallel_tool_calls",),
}
_DECIDES: Mapping[str, tuple[str, ...]] = {
    "no_stop": ("stop",),
    "no_logprobs": ("logprobs", "top_logprobs"),
    "no_top_k": ("top_k",),
}
_EFFORT = ("reasoning_effort", "reasoning_tokens", "reasoning_summary")
_REFUSED = "is refused by this model"
_REFUSING = frozenset({*_TUNES, *_DECIDES})
_SHAPING = frozenset(SHAPES)
_BESIDE_TEXT = frozenset({"checked_schemas", "typed_schemas", "text_results"})
"""Those that change nothing of texts without tools and a form."""


def adapt_request(request: Request, quirks: frozenset[str], codec: str) -> Request:
    """The request as a model with these quirks takes it; the same one where there is nothing to change."""
    only_text = only_texts(request.messages)
    request = without_nothings(request)
    if not only_text:
        request = _with_transcripts(request, codec)
    if not _REFUSING.isdisjoint(quirks):
        request = without_refused(request, quirks, codec)
    wanted = _SHAPING & quirks
    if only_text and not request.tools and request.response_format is None:
        wanted -= _BESIDE_TEXT
    if wanted:
        for quirk, shape in SHAPES.items():
            request = shape(request) if quirk in wanted else request
    return request


def without_refused(request: Request, quirks: frozenset[str], codec: str) -> Request:
    """The request without what the quirks refuse; the same one where there is nothing of it."""
    left_out: list[str] = []
    for quirk in _REFUSING.intersection(quirks):
        for name in _TUNES.get(quirk, ()):
            if getattr(request, name) is not None:
                tell_dropped(request, codec, name, _REFUSED)
                left_out.append(name)
        for name in _DECIDES.get(quirk, ()):
            value = getattr(request, name)
            if value:
                leave_out(request, codec, name, _REFUSED)
            if value not in (None, ()):  # no and 0 ask for nothing, and their field is refused all the same
                left_out.append(name)
    return update(request, **{name: () if name == "stop" else None for name in left_out}) if left_out else request


def _with_transcripts(request: Request, codec: str) -> Request:
    """Replace sound of the assistant and of tools by its transcript."""
    return update(request, messages=tuple([_transcribe(message, codec) for message in request.messages]))


def _transcribe(message: Message, codec: str) -> Message:
    """The message with transcripts for its sound; an assistant's stays where its vendor knows it by its id."""
    if message.role not in ("assistant", "tool") or isinstance(message.content, str):
        return message
    content = [
        TextPart(text=part.transcript)
        if isinstance(part, AudioPart) and part.transcript is not None and (message.role == "tool" or "id" not in own(part, codec))
        else part
        for part in message.content
    ]
    return update(message, content=tuple(content))


def without_effort(request: Request, quirks: frozenset[str]) -> Request:
    """The request without reasoning settings, for formats that have no other word for them than what ``no_effort`` refuses."""
    if "no_effort" not in quirks:
        return request
    for name in _EFFORT:
        if getattr(request, name) is not None:
            tell_dropped(request, request.model, name, _REFUSED)
    return update(request, **dict.fromkeys(_EFFORT))


def without_idle_choice(request: Request, codec: str) -> Request:
    """Without a choice among no tools, which servers refuse.

    Raises :class:`InvalidRequest` for one that would force a call, and for a choice of a tool that is not among the tools.
    """
    choice = request.tool_choice
    if choice is None and request.parallel_tool_calls is None:
        return request
    if not _SAYS_TOOLS.isdisjoint(name for name, value in request.extra_params.items() if value):
        return request
    if request.tools:
        return _with_known_choice(request, codec)
    if choice not in (None, "auto", "none"):
        leave_out(request, codec, f"tool_choice: {choice!r}", "asks for a call, and the request has no tools")
    return attrs.evolve(request, tool_choice=None, parallel_tool_calls=None)


def _with_known_choice(request: Request, codec: str) -> Request:
    """The request, unless it forces a tool that it does not have; its sender's own words are left to the vendor."""
    chosen, known = _forced_name(request.tool_choice), list(filter(None, map(_tool_name, request.tools)))
    if chosen is None or request.wire_format is not None or chosen in known or len(known) < len(request.tools):
        return request
    why = f"it is none of the request's tools ({', '.join(map(repr, known))})"
    if request.drop_params:
        tell_dropped(request, codec, f"tool_choice: {chosen!r}", why)
        return attrs.evolve(request, tool_choice=None)
    near = closest_name(chosen, known)
    todo = f"did you mean {near!r}?" if near is not None else "choose one of them, 'auto', 'none' or 'required'"
    raise InvalidRequest(f"tool_choice: {chosen!r}: {why}; {todo}")


_CHOICE_WORDS = ("auto", "none", "required", "any")


def _forced_name(choice: Any) -> str | None:
    """The name of the tool that a choice forces, in the words of any format; ``None`` for another choice."""
    if isinstance(choice, str):
        return None if choice in _CHOICE_WORDS else choice
    given = mapping(choice)
    kind = given.get("type", "function")
    if kind not in ("function", "tool", "custom"):
        return None
    name = mapping(given.get(kind)).get("name", given.get("name"))
    return name if isinstance(name, str) and name else None


def _tool_name(tool: Tool | VendorTool) -> str | None:
    """The name by which a tool is chosen: a vendor's own may have one at the top, or in the group of its type.

    ``None`` for a vendor's own that has no name or is a group of tools, such as an MCP server: it may bring tools of any name.
    """
    if isinstance(tool, Tool):
        return tool.name
    inner = mapping(tool.data.get(str(tool.data.get("type"))))
    name = tool.data.get("name", inner.get("name"))
    return name if isinstance(name, str) and "tools" not in tool.data else None


def without_nothings(request: Request) -> Request:
    """Leave out fields without content: zero answers, empty names, null keywords of schemas."""
    changes: dict[str, Any] = {}
    if request.n == 0:
        changes["n"] = None
    if request.top_logprobs == 0 and not request.logprobs:
        changes["top_logprobs"] = None
    if request.tools:
        tools = [_without_nulls(tool) if isinstance(tool, Tool) else tool for tool in request.tools]
        if not all(map(operator.is_, tools, request.tools)):
            changes["tools"] = tools
    for name in ("user", "prompt_cache_key", "service_tier", "tool_choice"):
        if getattr(request, name) == "":
            changes[name] = None
    if "" in request.stop:
        changes["stop"] = tuple([word for word in request.stop if word])
    form = request.response_format
    if form is not None and (plain := _form_without_nulls(form)) is not form:
        changes["response_format"] = plain
    if [message for message in request.messages if message.name == "" or message.tool_call_id == ""]:
        changes["messages"] = [
            attrs.evolve(message, name=message.name or None, tool_call_id=message.tool_call_id or None)
            for message in request.messages
        ]
    return attrs.evolve(request, **changes) if changes else request


def _without_nulls(tool: Tool) -> Tool:
    schema = without_nulls(tool.parameters) if tool.has_nulls else tool.parameters
    return tool if schema is tool.parameters else attrs.evolve(tool, parameters=schema)


def _form_without_nulls(form: Mapping[str, Any]) -> Mapping[str, Any]:
    described = mapping(form.get("json_schema"))
    schema = described.get("schema")
    if getattr(form, "kind", None) is not None or (fit := without_nulls(schema)) is schema:
        return form
    return {**form, "json_schema": {**described, "schema": fit}}


_SAYS_TOOLS = frozenset({"tools", "functions", "prompt", "conversation", "mcp_servers", "cachedContent"})
"""What may bring tools that the request itself does not name."""


def inline(part: ImagePart | FilePart | VideoPart, kind: str) -> tuple[str, str] | None:
    """Media type and base64 of what a part holds itself, as data or as a data URL; ``None`` for what is somewhere else.

    An image has the type that its first bytes show, since vendors compare them, and so has a file of no particular type.
    Raises :class:`InvalidRequest` for a part that holds nothing.
    """
    held = _held(part, kind)
    if held is None or not (isinstance(part, ImagePart) or held[0] in _VAGUE):
        return held
    shown = _shown_type(held[1])
    return (shown, held[1]) if shown is not None and (held[0] in _VAGUE or shown.startswith("image/")) else held


_VAGUE = frozenset({"", "application/octet-stream", "binary/octet-stream", "application/unknown"})


def _shown_type(encoded: str) -> str | None:
    try:
        return detect_media_type(base64.b64decode(encoded[:_LOOKED_AT]))
    except ValueError:
        return None


_LOOKED_AT = 64
"""Characters of base64, with the marks of all images in them."""


def _held(part: ImagePart | FilePart | VideoPart, kind: str) -> tuple[str, str] | None:
    if part.url is not None:
        if part.url[:5].lower() != "data:":
            return None
        head, _, encoded = part.url[5:].partition(",")
        clean = len(encoded) % 4 == 0 and not any(sign in encoded for sign in "%\r\n ")
        if clean and head == media_type(head.removesuffix(";base64")) + ";base64":
            return head.removesuffix(";base64"), encoded
        whole = data_url(part.url)
        if whole is None:  # for the vendor to judge
            return media_type(head), encoded
        return media_type(whole[0]), base64.b64encode(whole[1]).decode()
    if getattr(part, "file_id", None) is not None and part.data is None:
        return None
    if part.data is None or part.media_type is None:
        raise InvalidRequest(f"message.content: the {kind} has neither a url nor data with a media_type; give one of them")
    return media_type(part.media_type), base64.b64encode(part.data).decode()


def inline_url(part: ImagePart | FilePart | VideoPart, kind: str) -> str | None:
    """What a part holds itself as a data URL with base64; ``None`` for what is somewhere else."""
    found = inline(part, kind)
    return None if found is None else f"data:{found[0]};base64,{found[1]}"


def cache_control(cache: str) -> dict[str, str]:
    """A cache mark; five minutes, the default, are not written."""
    return {"type": "ephemeral"} if cache == "5m" else {"type": "ephemeral", "ttl": cache}


def cache_of(mark: Any) -> str | None:
    """The cache time of a mark; ``None`` for one that says more or something else."""
    if not isinstance(mark, Mapping) or mark.get("type") != "ephemeral" or not mark.keys() <= {"type", "ttl"}:
        return None
    time = mark.get("ttl", "5m")
    return time if time in ("5m", "1h") else None


def take_cache(fields: dict[str, Any]) -> str | None:
    """Take a cache mark out of the fields, and return its time; a mark that says more, or something else, stays."""
    cache = cache_of(fields.get("cache_control"))
    if cache is not None:
        del fields["cache_control"]
    return cache


def read_data_url(url: Any) -> tuple[str, bytes] | None:
    """Media type and bytes of a data URL; ``None`` for any other, and for one that would be written otherwise."""
    found = data_url(url) if isinstance(url, str) else None
    return found if found and url == f"data:{found[0]};base64,{base64.b64encode(found[1]).decode()}" else None
