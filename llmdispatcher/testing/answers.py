"""The responses of simulated vendors: ``SimulatedResponse``, its tokens, and text made from the prompt if nothing was scripted."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

import attrs

from ..types import ToolCall

_PIECES = re.compile(r"\s*\S+|\s+$")
_WORDS = re.compile(r"[^\W\d_]{4,}")
_COMMON = frozenset(
    re.findall(
        r"\w+",
        """about also been could from have into just like make more most only other over please should some tell than that the their
        them then there these they this those very want what when where which while will with would write your""",
    )
)


def _calls(value: ToolCall | Iterable[ToolCall]) -> tuple[ToolCall, ...]:
    return (value,) if isinstance(value, ToolCall) else tuple(value)


@attrs.frozen
class SimulatedResponse:
    """One whole response, before any format. ``finish`` is ``"stop"``, ``"length"``, ``"tool_calls"`` or ``"content_filter"``.

    ``finish`` is worked out where it is not given; ``stop_sequence`` is the one that ended the text.
    """

    text: str = ""
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True, converter=_calls)
    reasoning: str = attrs.field(default="", kw_only=True)
    finish: str | None = attrs.field(default=None, kw_only=True)
    stop_sequence: str | None = attrs.field(default=None, kw_only=True)

    @property
    def reason(self) -> str:
        """Why it ended."""
        return self.finish or ("tool_calls" if self.tool_calls else "stop")

    @property
    def output_tokens(self) -> int:
        """Tokens of text and tool calls, without reasoning."""
        return count_tokens(self.text) + sum(count_tokens(call.name + call.arguments) for call in self.tool_calls)

    @property
    def reasoning_tokens(self) -> int:
        """Tokens of the reasoning."""
        return count_tokens(self.reasoning)

    def truncate(self, max_tokens: int | None, stops: Sequence[str] = ()) -> SimulatedResponse:
        """The answer as it comes out under a request's limits."""
        found = [(at, stop) for stop in stops if stop and (at := self.text.find(stop)) >= 0]
        answer = self
        if found:
            at, stop = min(found)
            answer = attrs.evolve(answer, text=answer.text[:at], stop_sequence=stop)
        if max_tokens is not None and count_tokens(answer.text) > max_tokens:
            answer = attrs.evolve(answer, text=answer.text[: max_tokens * 4], finish="length", stop_sequence=None)
        return answer


def count_tokens(text: str) -> int:
    """A quarter of the characters, rounded up: what all simulated usage is made of."""
    return -(-len(text) // 4)


def pieces(text: str) -> list[str]:
    """The text word by word, each with the blank before it, as a stream delivers it."""
    return _PIECES.findall(text)


def draw(seed: int, *what: object) -> float:
    """A number in [0, 1) that depends on its arguments alone, so that a run can be repeated whatever its threads do."""
    digest = hashlib.blake2b(repr((seed, what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


_OPENINGS = (
    "Here is a short answer about {0}.",
    "In brief, {0} matters here mostly because of {1}.",
    "Let us look at {0} first, and at {1} after that.",
    "The question turns on {0}.",
    "There are two sides to {0}, and {1} belongs to both.",
    "Good point; {0} is easily mixed up with {1}.",
)
_MIDDLES = (
    "When {0} changes, {1} usually changes with it, though not at the same pace.",
    "A simple way to check this is to write {0} down and compare it with {1}.",
    "Most people start with {1} and only later notice {0}.",
    "If {0} is large, keep {1} small; the reverse works less well.",
    "Three things are worth noting: the size of {0}, the age of {1}, and who decides about both.",
    "Nothing in the text contradicts {1}, but {0} is only hinted at.",
    "I would keep {0} as it is and rewrite the part about {1}.",
    "As an example, take {1}: without {0} it would not have come up at all.",
    "The numbers for {0} look right; those for {1} deserve a second look.",
    "Between {0} and {1} there is a gap that a single sentence can close.",
)
_CLOSINGS = (
    "That is all there is to {0} for now.",
    "Tell me more about {1} and I can be more precise.",
    "So start with {0}, and leave {1} for next week.",
    "In short: {0} first, {1} second.",
    "I hope this helps with {0}.",
)


def plausible(prompt: str, seed: int = 0) -> str:
    """Two to nine sentences on the words of the prompt, the same for the same prompt and seed."""
    words = list(dict.fromkeys(word.lower() for word in _WORDS.findall(prompt) if word.lower() not in _COMMON))[:40]
    topics = words or ["the matter", "its details"]

    def sentence(forms: Sequence[str], number: int) -> str:
        first = int(draw(seed, prompt, number, "topic") * len(topics))
        form = forms[int(draw(seed, prompt, number, "form") * len(forms))]
        return form.format(topics[first], topics[(first + 1) % len(topics)])

    count = int(draw(seed, prompt, "length") * 8)
    middle = [sentence(_MIDDLES, number) for number in range(1, 1 + count)]
    return " ".join([sentence(_OPENINGS, 0), *middle, sentence(_CLOSINGS, -1)])
