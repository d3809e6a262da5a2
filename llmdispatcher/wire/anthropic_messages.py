"""Anthropic messages. https://platform.claude.com/docs/en/api/messages, version 2023-06-01."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..chunks import StreamChunk, ToolCallDelta, fold
from ..errors import MalformedReply
from ..messages import ReasoningPart
from ..types import Request, Response, Usage
from .anthropic_request import encoded_messages, encoded_tools
from .faults import fault_inside
from .payload import EventDecoder, count, dump, instructions, mapping, parse_object, text_of

DEFAULT_MAX_TOKENS = 4096
"""The format wants a limit; this one is sent where the request has none."""

FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}

_THOUGHTS = ("thinking", "redacted_thinking")


class AnthropicMessages:
    """The codec; without state."""

    name = "anthropic_messages"

    def path(self, model: str, *, stream: bool) -> str:
        """The model travels in the body, so the path is always the same."""
        return "/v1/messages"

    def encode(self, request: Request, *, stream: bool, quirks: frozenset[str] = frozenset()) -> bytes:
        """The JSON body of a request; system messages, wherever they stand, become the top-level ``system``.

        Penalties and the seed have no place in this format and are left out.
        """
        payload: dict[str, Any] = {
            "model": request.model,
            "max_tokens": request.max_tokens if request.max_tokens is not None else DEFAULT_MAX_TOKENS,
            "messages": encoded_messages(request.messages),
            **encoded_tools(request),
        }
        system = instructions(request)
        if system:
            payload["system"] = "\n\n".join(system)
        if "no_sampling" not in quirks:
            for name in ("temperature", "top_p"):
                if getattr(request, name) is not None:
                    payload[name] = getattr(request, name)
        if request.stop:
            payload["stop_sequences"] = list(request.stop)
        if request.user is not None:
            payload["metadata"] = {"user_id": request.user}
        if stream:
            payload["stream"] = True
        return dump(payload, request, self.name)

    def decode(self, body: bytes) -> Response:
        """A whole answer."""
        document = parse_object(body)
        blocks = document.get("content")
        if not isinstance(blocks, list):
            if document.get("error") or document.get("type") == "error":
                raise fault_inside(document)
            raise MalformedReply("the vendor's answer has no content", sent=True)
        decoder = MessagesDecoder()
        return fold(chunk for event in _events(document, blocks) if (chunk := decoder.read_event(event)) is not None)

    def decoder(self) -> MessagesDecoder:
        """A fresh decoder for one stream."""
        return MessagesDecoder()


ANTHROPIC_MESSAGES = AnthropicMessages()


class MessagesDecoder(EventDecoder):
    """message_start … message_stop; complete with a stop reason, over at message_stop. Unknown events are skipped."""

    __slots__ = ("_calls", "_inputs", "_thoughts", "_usage")
    END_MARKER = "message_stop or a stop reason"

    def __init__(self) -> None:
        super().__init__()
        self._calls: dict[int, int] = {}  # content block index → place among the tool calls
        self._inputs: dict[int, Mapping[str, Any]] = {}  # calls whose arguments stood whole in their first event
        self._thoughts: dict[int, dict[str, Any]] = {}  # thinking blocks under way, put together as blocks of a whole answer
        self._usage: dict[str, Any] = {}

    def read_event(self, document: Mapping[str, Any]) -> StreamChunk | None:
        """What one event says."""
        reader = _READERS.get(text_of(document.get("type")))
        return reader(self, document) if reader is not None else None

    def _message_start(self, document: Mapping[str, Any]) -> StreamChunk:
        message = mapping(document.get("message"))
        self._usage.update(mapping(message.get("usage")))
        return StreamChunk(
            model=text_of(message.get("model")) or None,
            response_id=text_of(message.get("id")) or None,
            usage=usage_of(self._usage) if self._usage else None,
        )

    def _block_start(self, document: Mapping[str, Any]) -> StreamChunk | None:
        block, index = mapping(document.get("content_block")), _index(document)
        kind = block.get("type")
        if kind == "tool_use":
            slot = self._calls[index] = len(self._calls)
            self._inputs[index] = mapping(block.get("input"))
            return StreamChunk(
                tool_calls=(
                    ToolCallDelta(index=slot, id=text_of(block.get("id")) or None, name=text_of(block.get("name")) or None),
                )
            )
        text, thought = text_of(block.get("text")), text_of(block.get("thinking"))
        if kind in _THOUGHTS:
            self._thoughts[index] = {**block, "thinking": thought}
        return StreamChunk(content=text, reasoning=thought) if text or thought else None

    def _block_delta(self, document: Mapping[str, Any]) -> StreamChunk | None:
        delta = mapping(document.get("delta"))
        kind = delta.get("type")
        if kind == "text_delta":
            return StreamChunk(content=text_of(delta.get("text")))
        index = _index(document)
        if index in self._thoughts:
            thought = self._thoughts[index]
            thought["thinking"] += text_of(delta.get("thinking"))
            thought["signature"] = text_of(thought.get("signature")) + text_of(delta.get("signature"))
        if kind == "thinking_delta":
            return StreamChunk(reasoning=text_of(delta.get("thinking")))
        if kind == "input_json_delta" and index in self._calls and delta.get("partial_json"):
            self._inputs.pop(index, None)
            return StreamChunk(tool_calls=(ToolCallDelta(index=self._calls[index], arguments=text_of(delta["partial_json"])),))
        return None

    def _block_stop(self, document: Mapping[str, Any]) -> StreamChunk | None:
        index = _index(document)
        thought = self._thoughts.pop(index, None)
        if thought is not None:
            return StreamChunk(parts=(_thought(thought),))
        whole = self._inputs.pop(index, None)
        if whole is None:
            return None
        return StreamChunk(tool_calls=(ToolCallDelta(index=self._calls[index], arguments=json.dumps(whole, ensure_ascii=False)),))

    def _message_delta(self, document: Mapping[str, Any]) -> StreamChunk:
        raw = mapping(document.get("delta")).get("stop_reason")
        # Counts here are cumulative and complete what message_start said; null says nothing.
        self._usage.update({name: value for name, value in mapping(document.get("usage")).items() if value is not None})
        if isinstance(raw, str):
            self.ended = True
        return StreamChunk(
            finish_reason=_finish(raw),
            finish_reason_raw=raw if isinstance(raw, str) else None,
            usage=usage_of(self._usage) if self._usage else None,
        )

    def _message_stop(self, _document: Mapping[str, Any]) -> StreamChunk | None:
        self.ended = self.done = True
        return None

    def read_whole(self, body: bytes) -> Response:
        """A server that ignores ``stream`` answers in one piece."""
        return ANTHROPIC_MESSAGES.decode(body)


_READERS = {
    "message_start": MessagesDecoder._message_start,
    "content_block_start": MessagesDecoder._block_start,
    "content_block_delta": MessagesDecoder._block_delta,
    "content_block_stop": MessagesDecoder._block_stop,
    "message_delta": MessagesDecoder._message_delta,
    "message_stop": MessagesDecoder._message_stop,
}


def usage_of(raw: Mapping[str, Any]) -> Usage:
    """The canonical usage: Anthropic's ``input_tokens`` leaves out what was read from and written to the cache."""
    if not raw:
        return Usage(cost_status="no usage reported")
    read, write = count(raw.get("cache_read_input_tokens")), count(raw.get("cache_creation_input_tokens"))
    by_ttl = mapping(raw.get("cache_creation"))
    output = count(raw.get("output_tokens"))
    return Usage(
        input_tokens=count(raw.get("input_tokens")) + read + write,
        output_tokens=output,
        cache_read_tokens=read,
        cache_write_tokens=write,
        cache_write_long_tokens=min(write, count(by_ttl.get("ephemeral_1h_input_tokens"))),
        reasoning_tokens=min(output, count(mapping(raw.get("output_tokens_details")).get("thinking_tokens"))),
        raw=dict(raw),
    )


def _events(document: Mapping[str, Any], blocks: list[Any]) -> Iterator[Mapping[str, Any]]:
    """The events that a stream would have brought a whole answer in."""
    yield {"type": "message_start", "message": document}
    for index, block in enumerate(blocks):
        yield {"type": "content_block_start", "index": index, "content_block": block}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": document}


def _index(document: Mapping[str, Any]) -> int:
    index = document.get("index")
    return index if isinstance(index, int) else 0


def _finish(raw: Any) -> str | None:
    return FINISH.get(raw, raw) if isinstance(raw, str) else None


def _thought(block: Mapping[str, Any]) -> ReasoningPart:
    return ReasoningPart(
        text=text_of(block.get("thinking")),
        signature=text_of(block.get("signature")) or None,
        encrypted=text_of(block.get("data")) or None,
        origin=ANTHROPIC_MESSAGES.name,
    )
