"""OpenAI's older completions: a prompt in, its continuation out, of any model that converses.

The prompt is one message of the user, so a model answers it rather than writes on. What a conversation cannot do is refused:
several prompts, prompts as tokens, a suffix, the best of several answers, log probabilities of the prompt.
https://platform.openai.com/docs/api-reference/completions
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from ...errors import DispatchError, InvalidRequest
from ...types import Response, StreamChunk
from ...wire import OPENAI_CHAT, Codec, Inbound

_MOST_LOGPROBS = 5


@attrs.frozen(kw_only=True)
class _CompletionAsked(Inbound):
    """A request whose answer may begin with its prompt."""

    echo: str = ""


def _read_request(body: bytes, path: str = "") -> _CompletionAsked:
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidRequest("body: this is not JSON; send a JSON object with 'model' and 'prompt'") from None
    if not isinstance(fields, dict):
        raise InvalidRequest("body: this is no object; send a JSON object with 'model' and 'prompt'")
    prompt = _prompt_in(fields.pop("prompt", None))
    if fields.pop("suffix", None):
        raise InvalidRequest("suffix: models that converse write no text between two others; leave it out")
    if fields.pop("messages", None):
        raise InvalidRequest("messages: this path takes a prompt; send messages to /v1/chat/completions")
    best_of = fields.pop("best_of", None)
    if best_of not in (None, 1, fields.get("n")):
        raise InvalidRequest(f"best_of: {str(best_of)[:40]} answers are not compared here; leave it out, or ask for them with n")
    echo = fields.pop("echo", None)
    if echo not in (None, True, False):
        raise InvalidRequest(f"echo: {type(echo).__name__} is no flag; give true or false")
    logprobs = fields.pop("logprobs", None)
    if logprobs is not None and logprobs is not False:
        if not isinstance(logprobs, int) or isinstance(logprobs, bool) or not 0 <= logprobs <= _MOST_LOGPROBS:
            raise InvalidRequest(f"logprobs: {str(logprobs)[:40]!r} is no number from 0 to {_MOST_LOGPROBS}")
        if echo:
            raise InvalidRequest("logprobs: those of the prompt are not known, which echo asks for; leave one of them out")
        fields |= {"logprobs": True, **({"top_logprobs": logprobs} if logprobs else {})}
    document = {**fields, "messages": [{"role": "user", "content": prompt}]}
    asked = OPENAI_CHAT.read_request(json.dumps(document).encode(), path)
    return _CompletionAsked(
        request=asked.request, stream=asked.stream, stream_usage=asked.stream_usage, echo=prompt if echo else ""
    )


def _prompt_in(prompt: Any) -> str:
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if isinstance(prompt, list) and prompt and all(isinstance(one, str | list) for one in prompt):
        raise InvalidRequest(f"prompt: these are {len(prompt)} prompts; send a request for each")
    if isinstance(prompt, int | list) and prompt:
        raise InvalidRequest("prompt: these are tokens, which only the model that made them can read; send text")
    if not isinstance(prompt, str) or not prompt:
        raise InvalidRequest("prompt: there is none; give a text")
    return prompt


def _write_response(response: Response, asked: Inbound | None = None) -> bytes:
    document = json.loads(OPENAI_CHAT.write_response(response, asked))
    echo = asked.echo if isinstance(asked, _CompletionAsked) else ""
    document |= {"object": "text_completion", "choices": [_choice(one, "message", echo) for one in document["choices"]]}
    return json.dumps(document).encode()


def _choice(choice: Mapping[str, Any], said: str, echo: str = "") -> dict[str, Any]:
    told = choice.get(said) or {}
    text, reason = f"{echo}{told.get('content') or told.get('refusal') or ''}", choice.get("finish_reason")
    return {
        "text": text,
        "index": choice.get("index", 0),
        "logprobs": _logprobs((choice.get("logprobs") or {}).get("content")),
        "finish_reason": "stop" if reason in ("tool_calls", "function_call") else reason,
    }


def _logprobs(entries: Any, offset: int = 0) -> dict[str, Any] | None:
    """Log probabilities in the older form: lists beside each other, and where each token begins in the text."""
    if not entries:
        return None
    tokens = [entry["token"] for entry in entries]
    offsets = [offset + sum(map(len, tokens[:place])) for place in range(len(tokens))]
    rivals = [{one["token"]: one["logprob"] for one in entry.get("top_logprobs") or ()} for entry in entries]
    return {
        "tokens": tokens,
        "token_logprobs": [entry["logprob"] for entry in entries],
        "top_logprobs": rivals,
        "text_offset": offsets,
    }


class _CompletionWriter:
    """Chunks in, events out."""

    def __init__(self, asked: Inbound | None = None) -> None:
        self._writer = OPENAI_CHAT.writer(asked)
        self._echo = asked.echo if isinstance(asked, _CompletionAsked) else ""
        self._written: dict[int, int] = {}  # characters of each choice

    def write(self, chunk: StreamChunk) -> bytes:
        """The events that one chunk becomes."""
        return self._of_chat(self._writer.write(chunk))

    def end(self) -> bytes:
        """What is still owed, and the end marker."""
        return self._of_chat(self._writer.end())

    def fail(self, error: DispatchError) -> bytes:
        """The event that tells of a failure."""
        return self._writer.fail(error)

    def _of_chat(self, events: bytes) -> bytes:
        return b"".join([self._event(line[6:]) for line in events.split(b"\n\n") if line.startswith(b"data: ")])

    def _event(self, data: bytes) -> bytes:
        if data == b"[DONE]":
            return b"data: [DONE]\n\n"
        document = json.loads(data)
        choices = [made for one in document["choices"] if (made := self._piece(one)) is not None]
        if document["choices"] and not choices:
            return b""
        return b"data: " + json.dumps({**document, "object": "text_completion", "choices": choices}).encode() + b"\n\n"

    def _piece(self, choice: Mapping[str, Any]) -> dict[str, Any] | None:
        index = choice.get("index", 0)
        written = self._written.get(index)
        made = _choice(choice, "delta", self._echo if written is None else "")
        if made["logprobs"] is not None:
            made["logprobs"] = _logprobs(choice["logprobs"]["content"], written or 0)
        self._written[index] = (written or 0) + len(made["text"])
        return made if made["text"] or made["logprobs"] or made["finish_reason"] else None


OPENAI_COMPLETIONS: Codec = attrs.evolve(
    OPENAI_CHAT,
    name="openai_completions",
    read_request=_read_request,
    write_response=_write_response,
    writer=_CompletionWriter,
)
"""How clients of ``/v1/completions`` ask and are answered; no vendor is asked in it."""
