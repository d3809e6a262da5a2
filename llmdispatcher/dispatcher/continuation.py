"""Continue a stream at another target where it broke off, for callers who have asked for it.

Only plain text is continued: not if a tool call had begun, a form was requested, or the model refused. The next target gets the
conversation and the text so far, but no reasoning, which belongs to its own vendor. If no target can continue, the reader gets the
first error. :class:`OverlapTrimmer` removes text that the next target repeats, however it is divided into chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from decimal import Decimal

import attrs

from ..errors import Cancelled, DeadlineExceeded, DispatchError
from ..routing import CostOptimization, Route, Step, input_tokens, tokens_of
from ..types import Citation, Fold, Message, ReasoningPart, Request, Response, StreamChunk, TextPart, Usage, stored_param
from ..vendors import VendorInfo
from . import guards
from .call import Call
from .config import Continuation
from .streaming import interrupted
from .vendor_call import ActiveStream

_SURE = 8
"""Characters; a shorter repetition counts only if it begins with a word, since single letters meet by chance."""


class OverlapTrimmer:
    """Cuts off what repeats the end of the text ``said`` so far; the longest repetition counts.

    Fed with pieces, it gives what is new. Pieces are held back as long as they may yet turn out to repeat. With ``blanks_only``
    nothing but blanks is cut: for a model that was given ``said`` without those at its end.
    """

    def __init__(self, said: str, most: int, *, blanks_only: bool = False) -> None:
        self.clear = False
        self.cut = 0
        self._held = ""
        length = min(most, len(said) - len(said.rstrip()) if blanks_only else len(said))
        self._tail = said[len(said) - length :]
        first = len(said) - length
        self._starts = [at for at in range(length) if blanks_only or _counts(said, first + at)]

    def feed(self, piece: str) -> str:
        """Return the new text of a chunk; text that may repeat is held back."""
        if self.clear:
            return piece
        self._held += piece
        held, tail = self._held, self._tail
        self._starts = [at for at in self._starts if held.startswith(tail[at : at + len(held)])]
        undecided = any(len(tail) - at > len(held) for at in self._starts)
        return "" if undecided else self.flush()

    def flush(self) -> str:
        """Return the text held back that does not repeat; nothing more is cut from now on."""
        held, self._held = self._held, ""
        if not self.clear:
            self.clear = True
            self.cut = max([len(self._tail) - at for at in self._starts if held.startswith(self._tail[at:])], default=0)
        return held[self.cut :] if held else ""


def _counts(said: str, at: int) -> bool:
    """Whether repeating ``said`` from ``at`` to its end is a real repetition, not chance."""
    return len(said) - at >= _SURE or at == 0 or not (said[at - 1].isalnum() and said[at].isalnum())


GO_ON = (
    "Your answer above was cut off by a technical fault. Go on exactly where it stops, in the middle of the word if need be, "
    "and with a blank first where one is due. Repeat nothing of it, and say nothing about the interruption."
)
"""What a model is told that does not go on with a turn of its own."""

Batches = Generator[list[StreamChunk]]
Reword = Callable[[VendorInfo, Request], Request]
Resume = Callable[[Call, Route, Reword], ActiveStream]
_NOTHING = StreamChunk()
_NO_USAGE = Usage()


class ResumedStream:
    """A stream that another target may continue. Its reader sees one stream, with one end and the usage of all targets."""

    def __init__(
        self,
        opened: ActiveStream,
        route: Route,
        continuation: Continuation,
        *,
        vendors: Mapping[str, VendorInfo],
        resume: Resume,
        cost: CostOptimization | None,
    ) -> None:
        self.vendor = opened.vendor
        self.model = opened.model
        self.dropped = opened.dropped
        self.movable = opened.movable and all(vendors[target.vendor].is_http for target in route.targets)
        self.batches: Batches = self._read()
        self.close = self.batches.close
        self._resume = resume
        self._cost = cost
        self._call = opened.call
        self._route = route
        self._policy = continuation
        self._first = self._last = opened
        self._fold = Fold()
        self._before = Usage()
        self._own: Usage | None = None
        self._broken: DispatchError | None = None
        self._failure: DispatchError | None = None
        self._times = 0
        self._settled = False
        self._said_by: tuple[str | None, str | None] = (None, None)
        self._seam = OverlapTrimmer("", 0)
        self._length = 0

    def finish(self, response: Response) -> Response:
        """Settle as a success of the vendor that ended the stream."""
        last = self._last
        if not self._times:
            return last.finish(response)
        own = attrs.evolve(
            response,
            usage=self._own or _NO_USAGE,
            model=self._said_by[0] or last.model,
            response_id=self._said_by[1],
        )
        return last.finish(own, self._before)

    def fail(self, error: DispatchError, partial: Response) -> None:
        """Settle as a failure of the vendor that began, unless the caller ended the stream."""
        self._last.close()
        if not self._times:
            self._last.fail(error, partial)
            return
        if not self._settled:
            self._settle(self._failure or error)
        error.with_facts(vendor=self.vendor, model=self.model)
        self._call.fail(error, self._first.attempt, self._before, partial)

    def _read(self) -> Batches:
        """Yield the chunks of all targets, one after the other."""
        batches = self._pass_on(self._last.batches)
        while True:
            try:
                yield from batches
            except DispatchError as error:
                failure = error
            else:
                return
            batches = self._after(failure)

    def _pass_on(self, batches: Iterable[list[StreamChunk]]) -> Batches:
        """Yield the chunks, and record their text and usage."""
        add = self._fold.add
        for batch in batches:
            for chunk in batch:
                add(chunk)
            yield batch

    def _after(self, failure: DispatchError) -> Batches:
        """Yield the chunks after a break. Raises the first break where no target continues, and the caller's own end as it is."""
        if isinstance(failure, Cancelled | DeadlineExceeded):
            raise self._add_cause(failure)
        question = self._prompt() if failure.try_elsewhere else None
        route = self._rest(question) if question is not None else None
        if self._times:
            self._failure = interrupted(failure, self._fold.response())
        if question is None or route is None:
            raise self._broken or failure
        self._failure = interrupted(failure, self._fold.response())
        self._broken = self._broken or self._failure
        self._settle(self._failure)
        if not self._open_next(question, route):
            raise self._broken
        return self._pass_on(self._trimmed_chunks())

    def _add_cause(self, end: DispatchError) -> DispatchError:
        """Return the error by which the caller ended the stream, with the break before it as its cause."""
        if self._broken is not None:
            end.__cause__ = self._broken
        return end

    def _prompt(self) -> Request | None:
        """Return the conversation with the text so far as its last turn; ``None`` where it cannot be continued."""
        said, request = self._fold.response(), self._call.request
        if self._times >= self._policy.max_times or not (_is_plain(said) and _wants_plain(request)):
            return None
        left = request.max_tokens
        if left is not None:
            left -= max(said.usage.output_tokens, _tokens_in(said.content))
            if left <= 0:
                return None
        messages = (*request.messages, Message.assistant(said.content))
        try:
            return guards.before(self._call.guards, attrs.evolve(request, messages=messages, max_tokens=left))
        except Exception:  # noqa: BLE001 - a guard that refuses, or fails, lets nothing out; the break is what the reader hears of
            return None

    def _rest(self, question: Request) -> Route | None:
        """Return the route of targets not asked yet whose window and price allow it; ``None`` if none is left."""
        asked = {target.key for target in self._call.asked} | {(record.vendor, record.model) for record in self._call.attempts}
        steps = [step for step in self._route.steps if step.target.key not in asked and self._allows(question, step)]
        return attrs.evolve(self._route, steps=tuple(steps)) if steps else None

    def _allows(self, question: Request, step: Step) -> bool:
        target, cost = step.target, self._cost
        if 0 < target.context_window < input_tokens(question):
            return False
        return cost is None or cost.objection(target, tokens_of(question, target), self._spent(cost)) is None

    def _spent(self, cost: CostOptimization) -> Decimal:
        """Return the US dollars of this call so far; the usage that the last target did not report is estimated."""
        last, said = self._last.attempt.target, self._fold.response().content
        used = self._used() or Usage(input_tokens=input_tokens(self._call.request), output_tokens=_tokens_in(said))
        return (self._before.cost or Decimal(0)) + (cost.estimate(last, used) or Decimal(0))

    def _open_next(self, question: Request, route: Route) -> bool:
        """Open a continuation at another target; return whether one answers. Raises where the caller ends the call meanwhile."""
        said = self._fold.response().content
        prefilled = False

        def reword(vendor: VendorInfo, request: Request) -> Request:
            nonlocal prefilled
            asked = attrs.evolve(question, model=request.model)
            prefilled = vendor.takes_prefill(asked)
            return _phrase(asked, prefilled=prefilled)

        self._times += 1
        if self._call.budget is not None:
            self._call.budget.continue_with(said, GO_ON)
        try:
            self._last = self._resume(self._call, route, reword)
        except (Cancelled, DeadlineExceeded) as end:
            self._add_cause(end)
            raise
        except Exception:  # noqa: BLE001 - its attempts tell; the reader hears of the first break
            return False
        self._settled, self._failure, self._said_by = False, None, (None, None)
        self._seam, self._length = OverlapTrimmer(said, self._policy.max_overlap, blanks_only=prefilled), len(said)
        return True

    def _settle(self, error: DispatchError) -> None:
        """Settle the last attempt as failed, and count what it used."""
        self._settled = True
        self._before += self._last.fail_attempt(error, self._used() or _NO_USAGE)
        self._own = None

    def _used(self) -> Usage | None:
        """Return the usage that the last target has reported."""
        return self._own if self._times else self._fold.usage

    def _trimmed_chunks(self) -> Batches:
        """Yield the chunks of the continuation, without what they repeat."""
        for batch in self._last.batches:
            fitted = [chunk for chunk in map(self._trim, batch) if chunk is not None]
            if fitted:
                yield fitted
        rest = self._seam.flush()
        if rest:
            yield [StreamChunk(content=rest)]

    def _trim(self, chunk: StreamChunk) -> StreamChunk | None:
        """Return a chunk without what it repeats, with the usage of all targets; ``None`` where nothing is left of it."""
        seam, clear = self._seam, self._seam.clear
        if chunk.model or chunk.response_id:
            self._said_by = (self._said_by[0] or chunk.model, self._said_by[1] or chunk.response_id)
        if clear and not (chunk.usage or chunk.parts or chunk.citations):
            return chunk
        text = seam.feed(chunk.content)
        if chunk.finish_reason or chunk.finish_reason_raw or chunk.tool_calls or chunk.refusal:
            text += seam.flush()
        self._own = chunk.usage or self._own
        fitted = attrs.evolve(
            chunk,
            content=text,
            parts=tuple([part for part in chunk.parts if not isinstance(part, TextPart)]),  # its text is in ``content``
            usage=self._before + chunk.usage if chunk.usage is not None else None,
            citations=tuple([_shift(citation, self._length - seam.cut) for citation in chunk.citations]),
        )
        return fitted if fitted != _NOTHING else None


def _is_plain(said: Response) -> bool:
    """Whether the response is unfinished text, and has nothing else that a reader may act on."""
    more = said.tool_calls or said.refusal or said.other_choices or said.finish_reason or said.finish_reason_raw
    return bool(said.content.strip()) and not more and all(isinstance(part, TextPart | ReasoningPart) for part in said.parts)


def _wants_plain(request: Request) -> bool:
    """Whether the request wants one text, and no part of the conversation is stored at a vendor."""
    if not request.messages or stored_param(request.extra_params):
        return False
    return request.response_format is None and request.n in (None, 1) and not request.logprobs


def _tokens_in(text: str) -> int:
    """Estimate the tokens of a text."""
    return len(text) // 4


def _phrase(question: Request, *, prefilled: bool) -> Request:
    """Return the request as the model takes it: its last turn is the text without trailing blanks, or asks to continue."""
    if not prefilled:
        return attrs.evolve(question, messages=(*question.messages, Message.user(GO_ON)))
    *before, said = question.messages
    return attrs.evolve(question, messages=(*before, attrs.evolve(said, content=said.text.rstrip())))


def _shift(citation: Citation, characters: int) -> Citation:
    """Return a citation of the continuation with its places counted from the beginning of the whole text."""
    places = {name: at + characters for name in ("start", "end") if (at := getattr(citation, name)) is not None}
    return attrs.evolve(citation, **places) if places else citation
