"""OpenAI chat completions, as OpenAI, Azure and every compatible server speak it.

https://platform.openai.com/docs/api-reference/chat; deviations of compatible servers as recorded from real traffic.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from ..chunks import StreamChunk, ToolCallDelta
from ..errors import MalformedReply
from ..messages import Tool, ToolCall
from ..types import Request, Response, Usage
from .faults import fault_inside
from .openai_request import encoded_message, encoded_tool
from .payload import EventDecoder, count, dump, mapping, parse_object, text_of

FINISH = {"function_call": "tool_calls", "eos": "stop", "end_turn": "stop", "max_tokens": "length", "model_length": "length"}
_REASONING = frozenset({"reasoning", "reasoning_content", "reasoning_details"})
_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "seed")
_REFUSED_SAMPLING = ("temperature", "top_p", "frequency_penalty", "presence_penalty")


class OpenAIChat:
    """The codec; without state."""

    name = "openai_chat"

    def path(self, model: str, *, stream: bool) -> str:
        """The model travels in the body, so the path is always the same."""
        return "/chat/completions"

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body of a request."""
        payload: dict[str, Any] = {"model": request.model, "messages": [encoded_message(message) for message in request.messages]}
        for name in _SAMPLING:
            value = getattr(request, name)
            if value is not None and not ("no_sampling" in quirks and name in _REFUSED_SAMPLING):
                payload[name] = value
        if request.max_tokens is not None:
            payload["max_completion_tokens" if "max_completion_tokens" in quirks else "max_tokens"] = request.max_tokens
        if request.stop:
            payload["stop"] = list(request.stop)
        if request.user is not None:
            payload["user"] = request.user
        if request.tools:
            payload["tools"] = [encoded_tool(tool) for tool in request.tools if isinstance(tool, Tool)]
        for name in ("tool_choice", "response_format"):
            if getattr(request, name) is not None:
                payload[name] = getattr(request, name)
        if stream:
            payload["stream"] = True
            payload["stream_options"] = {"include_usage": True}
        return dump(payload, request, self.name)

    def decode(self, body: bytes) -> Response:
        """A whole answer, of choice 0."""
        document = parse_object(body)
        if document.get("error"):
            raise fault_inside(document)
        choices = document.get("choices")
        if not isinstance(choices, list) or not choices:
            raise MalformedReply("the vendor's answer has no choices", sent=True)
        choice = mapping(choices[0])
        if choice.get("error"):  # OpenRouter, where its upstream failed
            raise fault_inside(choice)
        message = mapping(choice.get("message"))
        content, thoughts = _content(message.get("content"))
        calls = _tool_calls(message)
        raw = choice.get("finish_reason")
        return Response(
            content=content,
            reasoning=_reasoning(message) or thoughts,
            refusal=text_of(message.get("refusal")) or None,
            tool_calls=calls,
            finish_reason=_finish(raw, bool(calls)),
            finish_reason_raw=raw if isinstance(raw, str) else None,
            usage=usage_of(document),
            model=text_of(document.get("model")),
            response_id=text_of(document.get("id")) or None,
        )

    def decoder(self) -> ChatDecoder:
        """A fresh decoder for one stream."""
        return ChatDecoder()


OPENAI_CHAT = OpenAIChat()


class ChatDecoder(EventDecoder):
    """chat.completion.chunk events; complete at ``[DONE]``, or at the end of the body once a finish reason was seen."""

    __slots__ = ("_calls",)
    END_MARKER = "[DONE] or a finish reason"

    def __init__(self) -> None:
        super().__init__()
        self._calls = CallSlots()

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """One chunk of choice 0; usage is taken from wherever a server puts it."""
        choice = _first_choice(document)
        delta = mapping(choice["delta"] if "delta" in choice else choice.get("message"))
        content, thoughts = delta.get("content") or "", ""
        if type(content) is not str:
            content, thoughts = _content(content)
        if not _REASONING.isdisjoint(delta):
            thoughts = _reasoning(delta) or thoughts
        deltas = self._calls.deltas(delta) if "tool_calls" in delta or "function_call" in delta else ()
        raw, finish = choice.get("finish_reason"), None
        if raw is not None:
            raw, finish = raw if isinstance(raw, str) else None, _finish(raw, self._calls.any)
            self.ended = self.ended or bool(raw)
        usage = document.get("usage") or ("x_groq" in document and mapping(document["x_groq"]).get("usage"))
        model, response_id = document.get("model"), document.get("id")
        return StreamChunk(
            content=content,
            reasoning=thoughts,
            refusal=text_of(delta["refusal"]) or None if "refusal" in delta else None,
            tool_calls=deltas,
            finish_reason=finish,
            finish_reason_raw=raw,
            usage=usage_of({"usage": usage}) if usage else None,
            model=model or None if type(model) is str else None,
            response_id=response_id or None if type(response_id) is str else None,
        )

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return OPENAI_CHAT.decode(body)


def _first_choice(document: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = document.get("choices")
    choice = choices[0] if choices and type(choices) is list else None
    if type(choice) is not dict or choice.get("index"):
        return {}
    if "error" in choice and choice["error"]:  # noqa: RUF019  # the key is almost never there, and this runs for every chunk
        raise fault_inside(choice)
    return choice


class CallSlots:
    """Gives each piece of a streamed tool call the place of its call, whatever the server leaves out or repeats.

    Servers omit ``index``, give every call index 0, repeat ids or omit them after the first piece, or send whole calls.
    """

    __slots__ = ("_arguments", "_by_id", "_by_index", "_last")

    def __init__(self) -> None:
        self._arguments: list[list[str]] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._last = -1

    @property
    def any(self) -> bool:
        """Whether a call was seen."""
        return self._last >= 0

    def deltas(self, delta: Mapping[str, Any]) -> tuple[ToolCallDelta, ...]:
        """The pieces in one delta."""
        listed = delta.get("tool_calls")
        if not isinstance(listed, list):
            legacy = delta.get("function_call")
            listed = [{"index": 0, "function": legacy}] if isinstance(legacy, dict) else []
        return tuple([self._piece(piece) for piece in listed if isinstance(piece, dict)])

    def _piece(self, piece: Mapping[str, Any]) -> ToolCallDelta:
        function = mapping(piece.get("function"))
        name, arguments = text_of(function.get("name")), _arguments(function.get("arguments"))
        call_id, index = text_of(piece.get("id")), piece.get("index")
        slot = self._slot(call_id, index if isinstance(index, int) else None, bool(name))
        self._arguments[slot].append(arguments)
        return ToolCallDelta(index=slot, id=call_id or None, name=name or None, arguments=arguments)

    def _slot(self, call_id: str, index: int | None, named: bool) -> int:
        slot = self._known(call_id, index, named)
        if slot is None:
            slot = len(self._arguments)
            self._arguments.append([])
        self._last = slot
        if call_id:
            self._by_id[call_id] = slot
        if index is not None:
            self._by_index[index] = slot
        return slot

    def _known(self, call_id: str, index: int | None, named: bool) -> int | None:
        if call_id and call_id in self._by_id:
            return self._by_id[call_id]
        slot = self._by_index.get(index) if index is not None else (self._last if self.any else None)
        if slot is None or not named:
            return slot
        # A name opens a call; a server that repeats it without an id is told by the call before not being finished.
        return None if call_id or _complete("".join(self._arguments[slot])) else slot


def _complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def _finish(raw: Any, called: bool) -> str | None:
    if not raw or not isinstance(raw, str):
        return None
    reason = FINISH.get(raw, raw.lower())
    return "tool_calls" if called and reason == "stop" else reason


def _content(content: Any) -> tuple[str, str]:
    """Text and thoughts of a content that is text, a list of parts, or (some servers, for structured output) an object."""
    if isinstance(content, str) or content is None:
        return content or "", ""
    if isinstance(content, dict):
        return json.dumps(content, ensure_ascii=False), ""
    parts = [mapping(part) for part in content] if isinstance(content, list) else []
    text = "".join(text_of(part.get("text")) for part in parts if part.get("type") != "thinking")
    thoughts = "".join(_content(part.get("thinking"))[0] for part in parts if part.get("type") == "thinking")
    return text, thoughts


def _reasoning(message: Mapping[str, Any]) -> str:
    """What the model thought, in the first of the spellings that is there."""
    for name in ("reasoning_content", "reasoning"):
        if name in message and isinstance(message[name], str) and message[name]:
            return str(message[name])
    details = message.get("reasoning_details")
    if isinstance(details, list):
        return "".join(text_of(part.get("text")) or text_of(part.get("summary")) for part in map(mapping, details))
    return ""


def _arguments(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)


def _tool_calls(message: Mapping[str, Any]) -> tuple[ToolCall, ...]:
    listed = message.get("tool_calls")
    if not isinstance(listed, list) or not listed:
        legacy = message.get("function_call")
        listed = [{"function": legacy}] if isinstance(legacy, dict) else []
    return tuple([_tool_call(mapping(call)) for call in listed])


def _tool_call(call: Mapping[str, Any]) -> ToolCall:
    function = mapping(call.get("function") or call.get("custom"))
    return ToolCall(
        id=text_of(call.get("id")) or None,
        name=text_of(function.get("name")),
        arguments=_arguments(function.get("arguments", function.get("input"))),
    )


def usage_of(document: Mapping[str, Any]) -> Usage:
    """The canonical usage; prompt tokens include cached ones, completion tokens reasoning (xAI's do not, as their total shows)."""
    raw = document.get("usage")
    if not isinstance(raw, dict):
        return Usage(cost_status="no usage reported")
    into, out = mapping(raw.get("prompt_tokens_details")), mapping(raw.get("completion_tokens_details"))
    prompt, completion, reasoning = (
        count(raw.get("prompt_tokens")),
        count(raw.get("completion_tokens")),
        count(out.get("reasoning_tokens")),
    )
    if reasoning and count(raw.get("total_tokens")) == prompt + completion + reasoning:
        completion += reasoning
    read = count(into.get("cached_tokens")) or count(raw.get("prompt_cache_hit_tokens"))
    write = count(into.get("cache_write_tokens"))
    cost = _reported_cost(raw.get("cost"))
    return Usage(
        input_tokens=max(prompt, read + write),
        output_tokens=completion,
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=min(reasoning, completion),
        audio_input_tokens=count(into.get("audio_tokens")),
        audio_output_tokens=count(out.get("audio_tokens")),
        cost=cost,
        cost_status="not priced" if cost is None else "reported by the vendor",
        raw=raw,
    )


def _reported_cost(value: Any) -> Decimal | None:
    if isinstance(value, dict):
        value = value.get("total_cost")
    if value is None or isinstance(value, bool):
        return None
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() else None
