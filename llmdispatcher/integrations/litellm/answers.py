"""The objects that LiteLLM answers with: responses, their choices and messages, pieces of streams, vectors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from llmdispatcher.integrations.openai import Record
from llmdispatcher.runtime import SYSTEM_CLOCK, new_id

from .costs import token_counter

_FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
}


class Answer(Record):
    """An object of LiteLLM's: its fields are attributes and items, both to read and to set; ``_hidden_params`` is beside them.

    ``model_dump()``, ``dict()`` and ``json()`` give plain dicts, ``model_dump_json()`` a text.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            object.__setattr__(self, name, value)
        else:
            self[name] = value

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
        else:
            object.__delattr__(self, name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        dict.update(made, {name: copy.deepcopy(value, memo) for name, value in self.items()})
        vars(made).update(copy.deepcopy(vars(self), memo))
        return made

    json = Record.model_dump  # and no text, as LiteLLM's
    dict = Record.model_dump


def answer_of(value: Any) -> Any:
    """A value of JSON whose objects are :class:`Answer`."""
    if isinstance(value, Answer):
        return value
    if hasattr(value, "model_dump") and not isinstance(value, Mapping):
        value = value.model_dump()
    if isinstance(value, Mapping):
        return Answer({name: answer_of(one) for name, one in value.items()})
    return [answer_of(one) for one in value] if isinstance(value, list | tuple) else value


class UsageCounts(Answer):
    """Tokens of an answer: ``prompt_tokens``, ``completion_tokens``, ``total_tokens``, and details."""

    def __init__(
        self,
        prompt_tokens: int | None = None,
        completion_tokens: int | None = None,
        total_tokens: int | None = None,
        **further: Any,
    ) -> None:
        sent, said = prompt_tokens or 0, completion_tokens or 0
        total = total_tokens if total_tokens is not None else sent + said
        details = dict.fromkeys(("completion_tokens_details", "prompt_tokens_details"))
        further = {name: answer_of(value) for name, value in further.items()}
        super().__init__(completion_tokens=said, prompt_tokens=sent, total_tokens=total, **{**details, **further})


class FunctionCall(Answer):
    """The name and the arguments, a JSON text, of a function that the model calls."""


class ToolCallRecord(Answer):
    """A call of a tool: ``id``, ``type``, ``function.name``, ``function.arguments``."""

    def __init__(self, function: Any = None, id: str | None = None, type: str | None = "function", **further: Any) -> None:
        super().__init__(id=id, type=type, function=FunctionCall(function or {}), **{k: answer_of(v) for k, v in further.items()})


def _calls_of(calls: Iterable[Any] | None) -> list[Any] | None:
    return [call if isinstance(call, ToolCallRecord) else ToolCallRecord(**call) for call in calls] if calls else None


class AnswerMessage(Answer):
    """What the model says: ``content``, ``role``, ``tool_calls``, ``function_call``, and ``reasoning_content`` where it thinks."""

    def __init__(
        self,
        content: Any = None,
        role: str = "assistant",
        function_call: Any = None,
        tool_calls: Iterable[Any] | None = None,
        **further: Any,
    ) -> None:
        called = FunctionCall(function_call) if function_call else None
        given = {name: answer_of(value) for name, value in further.items() if value is not None}
        super().__init__(content=content, role=role, tool_calls=_calls_of(tool_calls), function_call=called, **given)


class Delta(Answer):
    """A piece of a message: what of ``content``, ``role``, ``tool_calls``, ``reasoning_content`` is new."""

    def __init__(
        self, content: Any = None, role: str | None = None, function_call: Any = None, tool_calls: Any = None, **further: Any
    ) -> None:
        calls = [_piece_of_call(call) for call in tool_calls] if tool_calls else None
        given = {name: answer_of(value) for name, value in further.items() if value is not None}
        super().__init__(content=content, role=role, function_call=answer_of(function_call), tool_calls=calls, **given)


def _piece_of_call(call: Mapping[str, Any]) -> Answer:
    function = {"arguments": "", "name": None, **(call.get("function") or {})}
    return Answer({"id": None, "type": "function", "index": 0, **call, "function": FunctionCall(function)})


class Choices(Answer):
    """One answer of a response: ``message``, ``finish_reason``, ``index``."""

    def __init__(self, finish_reason: str | None = None, index: int = 0, message: Any = None, **further: Any) -> None:
        made = message if isinstance(message, AnswerMessage) else AnswerMessage(**(message or {}))
        given = {name: answer_of(value) for name, value in further.items() if value is not None}
        reason = _FINISH.get(finish_reason or "", finish_reason) or "stop"
        super().__init__(finish_reason=reason, index=index, message=made, **given)


class StreamingChoices(Answer):
    """A piece of one answer: ``delta``, ``finish_reason`` in the last, ``index``."""

    def __init__(self, finish_reason: str | None = None, index: int = 0, delta: Any = None, logprobs: Any = None, **_: Any) -> None:
        made = delta if isinstance(delta, Delta) else Delta(**(delta or {}))
        super().__init__(finish_reason=finish_reason, index=index, delta=made, logprobs=answer_of(logprobs))


class BaseResponse(Answer):
    """A whole answer with ``_hidden_params`` (``response_cost`` in US dollars, ``None`` where unknown) and ``response_ms``."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__(fields)
        self._hidden_params: dict[str, Any] = {}
        self._response_headers: dict[str, str] = {}
        self._response_ms: float | None = None


def _identified(kind: str, prefix: str, id: str | None, created: int | None, model: str | None) -> dict[str, Any]:
    at = created if created is not None else int(SYSTEM_CLOCK.now().timestamp())
    return {"id": id or f"{prefix}{new_id(SYSTEM_CLOCK)}", "created": at, "model": model, "object": kind}


class ModelResponse(BaseResponse):
    """A whole answer of a chat: ``choices[0].message.content``, ``usage``, ``model``, ``id``, ``created``."""

    def __init__(
        self,
        id: str | None = None,
        choices: Sequence[Any] | None = None,
        created: int | None = None,
        model: str | None = None,
        usage: Any = None,
        **further: Any,
    ) -> None:
        given = [one if isinstance(one, Answer) else Choices(**one) for one in choices] if choices is not None else [Choices()]
        counts = usage if isinstance(usage, UsageCounts) else UsageCounts(**(usage or {}))
        hidden = further.pop("hidden_params", None) or further.pop("_hidden_params", None)
        further.pop("object", None)
        made = _identified("chat.completion", "chatcmpl-", id, created, model)
        rest = {name: answer_of(value) for name, value in further.items() if value is not None}
        super().__init__({**made, "system_fingerprint": None, "choices": given, "usage": counts, **rest})
        self._hidden_params.update(hidden or {})


class ModelResponseStream(BaseResponse):
    """A piece of a streamed answer: ``choices[0].delta.content``; ``usage`` in the last where ``stream_options`` ask for it."""

    def __init__(
        self,
        choices: Sequence[Any] | None = None,
        id: str | None = None,
        created: int | None = None,
        model: str | None = None,
        usage: Any = None,
        **further: Any,
    ) -> None:
        given = [one if isinstance(one, Answer) else StreamingChoices(**one) for one in choices or ()]
        made = _identified("chat.completion.chunk", "chatcmpl-", id, created, model)
        further.pop("object", None)
        rest = {name: answer_of(value) for name, value in further.items() if value is not None}
        counts = {"usage": usage if isinstance(usage, UsageCounts) else UsageCounts(**usage)} if usage else {}
        super().__init__({**made, "system_fingerprint": None, "choices": given, **rest, **counts})


class TextChoices(Answer):
    """One text of a text completion."""

    def __init__(self, finish_reason: str | None = None, index: int = 0, text: str | None = None, logprobs: Any = None) -> None:
        super().__init__(finish_reason=finish_reason, index=index, text=text, logprobs=answer_of(logprobs))


class TextCompletionResponse(BaseResponse):
    """The answer to a text completion, or a piece of it: ``choices[0].text``."""

    def __init__(self, choices: Sequence[Any] | None = None, usage: Any = None, **further: Any) -> None:
        id, created, model = [further.get(name) for name in ("id", "created", "model")]
        given = [one if isinstance(one, TextChoices) else TextChoices(**one) for one in choices or ()]
        counts = usage if isinstance(usage, UsageCounts | None) else UsageCounts(**usage)
        made = _identified("text_completion", "cmpl-", id, created, model)
        super().__init__({**made, "choices": given, **({"usage": counts} if counts is not None else {})})


class EmbeddingResponse(BaseResponse):
    """Vectors: ``data[0]["embedding"]``, in the order of the texts, and ``usage``."""

    def __init__(self, model: str | None = None, data: Any = None, usage: Any = None, **_: Any) -> None:
        counts = usage if isinstance(usage, UsageCounts) else UsageCounts(**(usage or {}))
        super().__init__({"model": model, "data": [answer_of(one) for one in data or ()], "object": "list", "usage": counts})


Message, Usage, Function, ChatCompletionMessageToolCall = AnswerMessage, UsageCounts, FunctionCall, ToolCallRecord
for _name in ("Message", "Usage", "Function", "ChatCompletionMessageToolCall"):
    globals()[_name].__name__ = globals()[_name].__qualname__ = _name  # as LiteLLM's are called, in a repr and by who looks


def stream_chunk_builder(chunks: Sequence[Any], messages: Sequence[Any] | None = None, **_: Any) -> Any:
    """Make the whole answer of the pieces of a stream; ``None`` where there are none.

    The usage is the one that a piece tells, else counted by :func:`token_counter` from the texts, and the input's of ``messages``.
    """
    if not chunks:
        return None
    pieces = [chunk if isinstance(chunk, Mapping) else answer_of(chunk) for chunk in chunks]
    if any(choice.get("text") is not None for piece in pieces for choice in piece.get("choices") or ()):
        return _whole_text(pieces)
    indices = sorted({choice.get("index") or 0 for piece in pieces for choice in piece.get("choices") or ()})
    choices = [_whole_choice(pieces, index) for index in indices or [0]]
    usage = next((piece["usage"] for piece in reversed(pieces) if piece.get("usage")), None)
    if usage is None:
        usage = _counted(str(pieces[0].get("model") or ""), choices, messages)
    first = pieces[0]
    made = ModelResponse(first.get("id"), choices, first.get("created"), first.get("model"), usage)
    hidden: Mapping[str, Any] = getattr(chunks[-1], "_hidden_params", None) or {}
    made._hidden_params.update(hidden)
    return made


def _whole_choice(pieces: Sequence[Mapping[str, Any]], index: int) -> Choices:
    mine = [choice for piece in pieces for choice in piece.get("choices") or () if (choice.get("index") or 0) == index]
    deltas = [choice.get("delta") or {} for choice in mine]
    texts = {
        name: "".join([delta[name] for delta in deltas if isinstance(delta.get(name), str)])
        for name in ("content", "reasoning_content", "refusal")
    }
    calls: dict[int, dict[str, Any]] = {}
    for piece in [call for delta in deltas for call in delta.get("tool_calls") or ()]:
        call = calls.setdefault(
            piece.get("index") or 0, {"id": None, "type": "function", "function": {"name": "", "arguments": ""}}
        )
        function = piece.get("function") or {}
        call["id"] = call["id"] or piece.get("id")
        call["function"]["name"] = call["function"]["name"] or function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
    reason = next((choice["finish_reason"] for choice in reversed(mine) if choice.get("finish_reason")), None)
    message = AnswerMessage(
        content=texts["content"] or None,
        tool_calls=[calls[place] for place in sorted(calls)],
        reasoning_content=texts["reasoning_content"] or None,
        refusal=texts["refusal"] or None,
    )
    return Choices(reason, index, message)


def _whole_text(pieces: Sequence[Mapping[str, Any]]) -> TextCompletionResponse:
    choices = [choice for piece in pieces for choice in piece.get("choices") or ()]
    text = "".join([choice.get("text") or "" for choice in choices])
    reason = next((choice["finish_reason"] for choice in reversed(choices) if choice.get("finish_reason")), None)
    first, usage = pieces[0], next((piece["usage"] for piece in reversed(pieces) if piece.get("usage")), None)
    return TextCompletionResponse(
        [TextChoices(reason, 0, text)], usage, **{name: first.get(name) for name in ("id", "created", "model")}
    )


def _counted(model: str, choices: Sequence[Choices], messages: Sequence[Any] | None) -> UsageCounts:
    said = [text for choice in choices for text in (choice.message.content, choice.message.reasoning_content) if text]
    said += [call.function.name + call.function.arguments for choice in choices for call in choice.message.tool_calls or ()]
    return UsageCounts(token_counter(model, messages=messages) if messages else 0, token_counter(model, text=said) if said else 0)
