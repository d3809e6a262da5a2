"""What the client answers with: objects of the API, lists of them, and streams of events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Self

from llmdispatcher import StreamingResponse
from llmdispatcher.integrations.openai.errors import (
    ContentFilterFinishReasonError,
    LengthFinishReasonError,
    errors_of_sdk,
)
from llmdispatcher.wire import Codec, Inbound

_OPTIONAL = frozenset(
    {
        *("annotations", "audio", "code", "conversation", "error", "finish_reason", "function_call", "incomplete_details"),
        *("instructions", "logprobs", "max_output_tokens", "metadata", "output_parsed", "param", "parsed", "previous_response_id"),
        *("prompt", "reasoning", "reasoning_content", "refusal", "role", "service_tier", "status", "system_fingerprint"),
        *("tool_calls", "tool_choice", "type", "usage", "content"),
    }
)
"""Fields that the SDK's objects have as ``None`` where a server did not send them."""


class Record(dict[str, Any]):
    """An object of the API: its fields are attributes and keys; ``model_dump()`` gives plain dicts.

    ``parsed`` and ``output_parsed``, the objects of a structured answer, are attributes alone.
    """

    parsed: Any
    output_parsed: Any

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        if name in _OPTIONAL:
            return None
        raise AttributeError(f"{self.get('object', 'this object')!r} has no {name!r}; it has {', '.join(self)}")

    @property
    def output_text(self) -> str:
        """The texts of a response of the Responses API, joined."""
        if "output" not in self:
            raise AttributeError("only a response of the Responses API has 'output_text'")
        return "".join([part.text for part in _texts(self)])

    def model_dump(self, *, exclude_none: bool = False, **_: Any) -> dict[str, Any]:
        """Return plain dicts and lists."""
        plain: dict[str, Any] = json.loads(json.dumps(self))
        return {name: value for name, value in plain.items() if value is not None} if exclude_none else plain

    to_dict = model_dump

    def model_dump_json(self, *, indent: int | None = None, **_: Any) -> str:
        """Return JSON."""
        return json.dumps(self, indent=indent)

    to_json = model_dump_json


class Page(Record):
    """A list of the API; iterating it gives its objects."""

    def __iter__(self) -> Iterator[Any]:
        return iter(self["data"])


def record(text: str | bytes) -> Record:
    """Read an object of the API."""
    made: Record = json.loads(text, object_hook=Record)
    return made


def _texts(response: Record) -> list[Record]:
    parts = [part for item in response.output if item.type == "message" for part in item.content]
    return [part for part in parts if part.type == "output_text"]


def parse_completion(completion: Record, kind: Any) -> Record:
    """Put an object of the class ``kind`` into each message, as ``parsed``.

    Raises the SDK's errors for an answer that was cut off or filtered, and Pydantic's for one of another form.
    """
    for choice in completion.choices:
        if choice.finish_reason == "length":
            raise LengthFinishReasonError(completion=completion)
        if choice.finish_reason == "content_filter":
            raise ContentFilterFinishReasonError(completion=completion)
        if kind is not None and choice.message.content and not choice.message.refusal:
            choice.message.parsed = kind.model_validate_json(choice.message.content)
    return completion


def parse_response(response: Record, kind: Any) -> Record:
    """Put an object of the class ``kind`` into each text, as ``parsed``, and the first of them into ``output_parsed``."""
    for part in _texts(response) if kind is not None else ():
        part.parsed = kind.model_validate_json(part.text)
        if response.output_parsed is None:
            response.output_parsed = part.parsed
    return response


class Stream:
    """The events of a streamed answer, as objects; closing it stops the vendor."""

    def __init__(self, stream: StreamingResponse, codec: Codec, asked: Inbound) -> None:
        self._stream = stream
        self._codec, self._asked = codec, asked
        self._events = self._read()

    def __iter__(self) -> Iterator[Record]:
        return self._events

    def __next__(self) -> Record:
        return next(self._events)

    def close(self) -> None:
        """Stop the vendor; idempotent."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> Iterator[Record]:
        writer = self._codec.writer(self._asked)
        with errors_of_sdk(), closing(self._stream):
            for chunk in self._stream:
                yield from _records(writer.write(chunk))
            yield from _records(writer.end())


def _records(events: bytes) -> Iterator[Record]:
    for line in events.split(b"\n"):  # and not splitlines(): a text may hold any other line end
        if line.startswith(b"data: {"):
            yield record(line.removeprefix(b"data: "))


class ParsedStream(Stream):
    """What ``.stream()`` of the SDK gives: events, and the whole answer at the end."""

    def __init__(self, stream: StreamingResponse, codec: Codec, asked: Inbound, kind: Any) -> None:
        super().__init__(stream, codec, asked)
        self._kind = kind
        self._whole: Record | None = None

    def until_done(self) -> Self:
        """Read to the end."""
        for _ in self:
            pass
        return self

    def _final(self) -> Record:
        self.until_done()
        if self._whole is None:
            with errors_of_sdk():
                self._whole = record(self._codec.write_response(self._stream.response(), self._asked))
        return self._whole


class ResponseStream(ParsedStream):
    """The events of a response."""

    def get_final_response(self) -> Record:
        """Read to the end, and return the response."""
        return parse_response(self._final(), self._kind)


class ChatCompletionStream(ParsedStream):
    """The events of a chat: each chunk as one of type ``"chunk"``, and beside it what it adds to a text or to a call."""

    def get_final_completion(self) -> Record:
        """Read to the end, and return the completion."""
        return parse_completion(self._final(), self._kind)

    def _read(self) -> Iterator[Record]:
        texts: dict[tuple[str, int], str] = {}
        calls: dict[tuple[int, int], Record] = {}
        for chunk in super()._read():
            yield Record(type="chunk", chunk=chunk)
            for choice in chunk.choices:
                for field in ("content", "refusal"):
                    delta = choice.delta.get(field)
                    if delta:
                        place = field, choice.index
                        texts[place] = texts.get(place, "") + delta
                        yield Record(type=f"{field}.delta", delta=delta, snapshot=texts[place])
                for call in choice.delta.tool_calls or ():
                    yield from _call_delta(calls, choice.index, call)
        for (field, _index), text in texts.items():
            done = Record({"type": f"{field}.done", field: text})
            if field == "content" and self._kind is not None:
                done.parsed = self._kind.model_validate_json(text)
            yield done
        for event in calls.values():
            yield Record({**event, "type": "tool_calls.function.arguments.done"})


def _call_delta(calls: dict[tuple[int, int], Record], choice: int, call: Record) -> Iterator[Record]:
    function = call.get("function") or Record()
    known = calls.setdefault((choice, call.index), Record(name="", index=call.index, arguments=""))
    known["name"] += function.get("name") or ""
    delta = function.get("arguments") or ""
    known["arguments"] += delta
    if delta:
        yield Record({**known, "type": "tool_calls.function.arguments.delta", "arguments_delta": delta})
