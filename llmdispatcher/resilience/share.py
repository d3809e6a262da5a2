"""How long one attempt may be silent: its share of a call's deadline, so that the next target is still asked in time.

The rule, while there are targets that were not asked:

- Connecting has half of the time that is left, and so has the first output of a stream. Whoever thinks first and has begun to send
  (a role, pings, empty pieces) has the time that it may honestly need for that, where that is longer.
- An answer in one piece is silent until it is whole. It has the time that it may honestly need: its tokens at the pace of the
  target, twice, plus 20 s, and at least 50 s. Where no more than that is left, it has all of it, and so has a model that thinks.
- A probe of a circuit that opened on time-outs is brief: 5 s for connecting and a stream's first output. For an answer in one piece
  it has twice what whole answers of the target took lately (else those of the target that is asked next), 5 to 25 s.
- Without other targets an attempt has all of the time.

The tokens are the request's ``max_tokens``, or the usual length of an answer. The pace is the 95th percentile of what the target
took for a token lately, or the speed that the catalog tells (``data/paces.toml``).

Times are seconds and passed in.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ..catalog import Pace, Target, pace_of, room_for_thoughts
from ..runtime import new_lock
from ..types import Request, TokenLimits

LEAST_NEED = 50.0
BESIDE = 20.0
"""Seconds for what is not the writing of tokens: a queue at the vendor, a long prompt."""
LEAST_PROBE = 5.0
MOST_PROBE = 25.0
"""The bounds of the seconds of a brief probe."""
SHORTEST_TIMEOUT = 60.0
LONGEST_TIMEOUT = 600.0
"""The bounds of the timeout of a call that has none of its own."""
_REMEMBERED = 128
_ENOUGH = 20
_EVERY = 10
"""Answers after which the percentile is reckoned anew."""
_TELLING = 100
"""Tokens; a shorter answer takes most of its time for other things than writing, and is counted as one of this length."""
_MOST = 10_000
_THINKING = frozenset({"thinking", "reasoning", "reasoning_effort"})
"""Parameters of vendors that have a model think."""


class TimeShare(NamedTuple):
    """What an attempt has: seconds until the answer, or a stream's first event, and for connecting. Infinite: all that is left.

    ``output`` is what a stream that has begun has until its first output.
    """

    answer: float = math.inf
    connect: float = math.inf
    output: float = math.inf


WHOLE = TimeShare()


class Need(NamedTuple):
    """The seconds that a whole answer may need; not ``certain`` where it comes after thoughts of unknown length."""

    seconds: float
    certain: bool


class _Measured:
    """The latest measured times of one target."""

    __slots__ = ("count", "percentile", "taken", "usual")

    def __init__(self, seconds: float) -> None:
        self.usual = seconds
        """Seconds of a whole answer, the latest ones weighing most."""
        self.taken: deque[float] = deque(maxlen=_REMEMBERED)
        self.count = 0
        self.percentile: float | None = None


class Shares:
    """The shares of attempts, by what is measured of each target; safe under threads, bounded."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._measured: dict[tuple[str, str], _Measured] = {}

    def observe(self, target: Target, seconds: float, tokens: int) -> None:
        """Record the seconds and tokens of one whole answer. A short answer never makes a target look quicker."""
        taken = seconds / max(tokens, _TELLING)
        if tokens < _TELLING:
            taken = max(taken, 1 / pace_of(target.kind or target.vendor, target.model).tokens_per_second)
        with self._lock:
            measured = self._measured.get(target.key)
            if measured is None:
                if len(self._measured) >= _MOST:
                    del self._measured[next(iter(self._measured))]
                measured = self._measured[target.key] = _Measured(seconds)
            measured.usual += (seconds - measured.usual) / 5
            measured.taken.append(taken)
            measured.count += 1
            if measured.count >= _ENOUGH and measured.count % _EVERY == 0:
                measured.percentile = sorted(measured.taken)[int(0.95 * (len(measured.taken) - 1))]

    def need(self, request: Request, target: Target) -> Need:
        """Return the seconds that the target may need for the whole answer."""
        return Need(*self._need(request, target, _output_limit(request)))

    def _need(self, request: Request, target: Target, tokens: int | None) -> tuple[float, bool]:
        pace, measured = pace_of(target.kind or target.vendor, target.model), self._measured.get(target.key)
        asked = request.reasoning_effort is not None or request.reasoning_tokens or request.extra_params
        thinks = _thinks(request, pace) if asked else pace.thinks
        if tokens is not None:
            tokens += room_for_thoughts(request, target.kind or "", target.model)
        else:
            tokens = pace.usual_thinking_tokens if thinks else pace.usual_tokens
        percentile = measured.percentile if measured is not None else None
        seconds = 2 * min(tokens, target.max_output or math.inf) * (percentile or 1 / pace.tokens_per_second) + BESIDE
        return max(seconds, LEAST_NEED), not thinks

    def share(
        self, request: Request, target: Target, left: float, others: Sequence[Target], *, streamed: bool, probe: bool = False
    ) -> TimeShare:
        """The share of an attempt at this target, in the ``left`` seconds, while these ``others`` were not asked.

        A ``probe`` of a model that thinks leaves time for the others, too.
        """
        if not others:
            return WHOLE
        if streamed:
            return TimeShare(left / 2, left / 2, self._until_output(request, target, left / 2))
        if left <= LEAST_NEED:
            return TimeShare(math.inf, left / 2)
        seconds, certain = self._need(request, target, _output_limit(request))
        return TimeShare(seconds if (certain or probe) and seconds < left else math.inf, left / 2)

    def _until_output(self, request: Request, target: Target, seconds: float) -> float:
        """What a stream has until its first output: the ``seconds`` of its first event, or more where thoughts come first."""
        thinks = _thinks(request, pace_of(target.kind or target.vendor, target.model))
        return max(seconds, self.need(request, target).seconds) if thinks else seconds

    def brief(self, request: Request, target: Target, left: float, ready: Target, *, streamed: bool) -> TimeShare:
        """The share of a brief probe, while another target is ``ready``."""
        measured = None if streamed else self._measured.get(target.key) or self._measured.get(ready.key)
        seconds = max(LEAST_PROBE, 2 * measured.usual) if measured is not None else LEAST_PROBE
        seconds = min(seconds, MOST_PROBE, left / 2)
        output = self._until_output(request, target, seconds) if streamed else math.inf
        return TimeShare(seconds, min(LEAST_PROBE, left / 2), output)

    def timeout(self, request: Request, targets: Sequence[Target], batches: Sequence[int] = (1, 1)) -> float:
        """The seconds of a call without a timeout: what the first two of its targets may need, within bounds.

        ``batches`` are the numbers of requests that the two are sent, one after the other.
        """
        tokens, need = _output_limit(request), 0.0
        for target, count in zip(targets, batches, strict=False):
            need += self._need(request, target, tokens)[0] * count
        return min(max(need, SHORTEST_TIMEOUT), LONGEST_TIMEOUT)


def _thinks(request: Request, pace: Pace) -> bool:
    """Whether the model thinks for an unknown time before it answers."""
    if request.reasoning_effort is not None:
        return request.reasoning_effort != "none"
    return bool(request.reasoning_tokens) or not _THINKING.isdisjoint(request.extra_params) or pace.thinks


def _output_limit(request: Request) -> int | None:
    return TokenLimits.of(request.extra_params).most(request.max_tokens) if request.extra_params else request.max_tokens
