"""The upstream of a session: a simulated vendor that plays the script, and caches prompts as the vendor does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from llmdispatcher import ReasoningPart, Request, Response, TextPart, Usage
from llmdispatcher.testing import Fault, SimulatedResponse, VendorSimulator
from llmdispatcher.testing.answers import count_tokens, response_to
from llmdispatcher.testing.fault_context import FaultContext, send_all
from llmdispatcher.testing.formats.base import ApiError
from llmdispatcher.testing.loopback import Peer

from .script import SUMMARY, Answer, Tools, Turn, answer_to, turn_of

_BILLING = "x-anthropic-billing-header"
_SIGNED = {"anthropic": "anthropic_messages"}
LARGE = 190_000
"""Input tokens that a full window is told to have."""


@attrs.define
class Seen:
    """One request of a session."""

    step: str
    kind: str
    input_tokens: int = 0
    cached_tokens: int = 0


class Session:
    """What one client does on one upstream: :attr:`seen`, :attr:`wrong`, and events for the interrupt.

    After the step ``full_after`` the usage tells of a window that is nearly full, for clients that go by that.
    """

    def __init__(self, simulator: VendorSimulator, folder: str, *, full_after: str = "") -> None:
        self.seen: list[Seen] = []
        self.wrong: list[str] = []
        self.interrupting, self.left = threading.Event(), threading.Event()
        self._folder, self._full_after = folder, full_after
        self._cache = PromptCache()
        self._refusals: dict[str, list[ApiError]] = {
            "limit": [ApiError(429), ApiError(529)],
            "overflow": [ApiError(400, "context")] * 20,
        }
        self._lock = threading.Lock()
        simulator.requests.clear()
        simulator.always(Fault("session", self._act))

    @property
    def answered(self) -> set[str]:
        """The steps that were answered."""
        return {one.step for one in self.seen if one.kind == "answer"}

    @property
    def cached_share(self) -> float:
        """The share of the input that came out of the prompt cache, without the first request."""
        counted = [one for one in self.seen if one.kind == "answer"][1:]
        read, whole = sum(one.cached_tokens for one in counted), sum(one.input_tokens for one in counted)
        return read / whole if whole else 0.0

    def _act(self, peer: Peer, context: FaultContext) -> bool | None:
        aside = context.form.side_response(context.request, ("*",))
        if aside is not None:
            peer.reply(200, aside, *context.headers)
            return None
        if context.request.server_request is None:
            self.wrong.append("a request cannot be decoded")
            context.refuse(peer, ApiError(400))
            return None
        request = context.request.server_request.request
        turn, tools = turn_of(request), Tools(request.tools, self._folder)
        summing_up = turn.summed_up or not turn.step or not tools
        with self._lock:
            refusal = None if summing_up else self._refusal(turn)
            usage = self._cache.usage(context.request.json)
        if refusal is not None:
            self.seen.append(Seen(turn.step, "refused"))
            context.refuse(peer, refusal, (("Retry-After", "1"),) if refusal.status == 429 else ())
            return None
        if summing_up:  # a title gets a summary too
            self.seen.append(Seen(turn.step, "summary"))
            answer = Answer(SUMMARY)
        else:
            self.seen.append(Seen(turn.step, "answer", usage.input_tokens, usage.cache_read_tokens))
            answer = _forced(request) or answer_to(turn, tools)
        if answer.wrong:
            self.wrong.append(f"{turn.step}: {answer.wrong}")
        if turn.step == self._full_after and not answer.calls:
            usage = attrs.evolve(usage, input_tokens=LARGE)
        response = _response(answer, usage, context)
        if turn.step == "interrupt" and not summing_up and not self.interrupting.is_set():
            return self._drag(peer, context)
        return _send(peer, context, response)

    def _refusal(self, turn: Turn) -> ApiError | None:
        if turn.step == "overflow" and SUMMARY in turn.told:
            return None
        waiting = self._refusals.get(turn.step)
        return waiting.pop(0) if waiting else None

    def _drag(self, peer: Peer, context: FaultContext) -> bool:
        """A story that goes on until nobody listens."""
        pieces = context.pieces(SimulatedResponse("once more " * 1500))
        try:
            peer.start_stream(*context.headers, content_type=pieces.content_type)
            send_all(peer, [*pieces.opening, *pieces.deltas[:20]])
            self.interrupting.set()
            for piece in pieces.deltas[20:]:
                if peer.wait(0.1):
                    return True
                send_all(peer, [piece])
        except OSError:
            self.left.set()
        else:
            self.wrong.append("interrupt: the upstream was read to its end")
        return True


def _forced(request: Request) -> Answer | None:
    """The call that a request demands."""
    if request.tool_choice in (None, "auto", "none"):
        return None
    made = response_to(request, "the file")
    return Answer(made.text, calls=made.tool_calls)


def _send(peer: Peer, context: FaultContext, response: Response) -> bool:
    if not context.request.stream:
        peer.reply(200, context.body(response), *context.headers)
        return False
    pieces = context.pieces(response)
    peer.start_stream(*context.headers, content_type=pieces.content_type)
    send_all(peer, pieces.all)
    peer.chunk(b"")
    return False


def _response(answer: Answer, usage: Usage, context: FaultContext) -> Response:
    form, number = context.form, context.request.number
    calls = tuple([attrs.evolve(call, id=_call_id(form.names.call, number, at)) for at, call in enumerate(answer.calls)])
    if form.names.call_proof is not None and calls:
        calls = (attrs.evolve(calls[0], signature=f"{form.names.call_proof}{number:08x}"), *calls[1:])
    written = count_tokens(answer.text) + count_tokens(answer.thoughts) + sum(count_tokens(call.arguments) for call in calls)
    thoughts: tuple[ReasoningPart, ...] = ()
    if answer.thoughts and form.names.thought_proof is not None:
        signature = f"{form.names.thought_proof}{number:08x}"
        thoughts = (ReasoningPart(text=answer.thoughts, signature=signature, origin=form.names.origin),)
    said = (TextPart(text=answer.text),) if answer.text else ()
    return Response(
        content=answer.text,
        reasoning=answer.thoughts,
        tool_calls=calls,
        parts=(*thoughts, *said, *calls) if thoughts else (),
        usage=attrs.evolve(usage, output_tokens=max(1, written), reasoning_tokens=count_tokens(answer.thoughts)),
    )


def _call_id(prefix: str | None, number: int, at: int) -> str | None:
    return f"{prefix}{number:012x}{at}" if prefix is not None else None


class PromptCache:
    """Knows the beginnings of earlier prompts: those that a client marked with ``cache_control``, else all of them.

    A fourth of the characters are tokens, and the header that a vendor takes out before it looks does not count.
    """

    def __init__(self) -> None:
        self._known: set[int] = set()

    def usage(self, asked: Any) -> Usage:
        """The usage of a prompt; it is known from now on."""
        blocks = list(_blocks(asked))
        tools = asked.get("tools") if isinstance(asked, dict) else None
        marked_only = (isinstance(tools, list) and any("input_schema" in one for one in tools)) or any(
            '"cache_control"' in one for one in blocks
        )
        whole, read, written, state = 0, 0, 0, 0
        new = set()
        for block in blocks:
            plain = _without_mark(block)
            whole += len(plain)
            state = hash((state, plain))
            if state in self._known:
                read = whole
            if not marked_only or plain != block:
                new.add(state)
                written = whole
        self._known |= new
        writes = max(0, written - read) // 4 if marked_only else 0
        return Usage(input_tokens=max(1, whole // 4), cache_read_tokens=read // 4, cache_write_tokens=writes)


def _without_mark(block: str) -> str:
    value = json.loads(block)
    parts = value.get("content") if isinstance(value, dict) else None
    for one in (value, *(parts if isinstance(parts, list) else ())):
        if isinstance(one, dict):
            one.pop("cache_control", None)
    return json.dumps(value)


def _blocks(asked: Any) -> Iterator[str]:
    """Tools, system and turns of a prompt, one after another, as JSON."""
    if not isinstance(asked, dict):
        return
    system = asked.get("system") or asked.get("systemInstruction") or asked.get("instructions")
    turns: Sequence[Any] = asked.get("messages") or asked.get("contents") or asked.get("input") or ()
    for one in [*(asked.get("tools") or ()), *(system if isinstance(system, list) else [system] if system else ())]:
        text = json.dumps(one)
        if _BILLING not in text[:200]:
            yield text
    for turn in turns:
        content = turn.get("content") if isinstance(turn, dict) else None
        if isinstance(content, list):
            yield from [json.dumps(part) for part in content]
        else:
            yield json.dumps(turn)
