"""What every simulated format fulfils, and the words between formats, faults and the simulator."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import attrs

from ..answers import Answer


@attrs.frozen(kw_only=True)
class SimulatedRequest:
    """One request as the simulator understood it; ``json`` is ``None`` where the body was none.

    ``format`` is ``"openai"``, ``"azure"``, ``"anthropic"``, ``"gemini"``, or empty for a path that is of no format. ``number``
    counts from 0; equal ``connection`` numbers mean a reused connection. ``id`` depends on seed and number alone.
    """

    format: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    json: Any = attrs.field(repr=False)
    model: str
    stream: bool
    connection: int
    reused: bool
    number: int
    id: str


@attrs.frozen
class Trouble:
    """Why a vendor refuses, before any format.

    ``kind`` picks a special case of the status: ``"key"``, ``"model"``, ``"quota"``, ``"context"``, ``"filter"``; empty is the
    usual one. ``message``, ``param`` and ``code`` replace the usual words. ``delay`` is Google's ``retryDelay``.
    """

    status: int
    kind: str = ""
    message: str = attrs.field(default="", kw_only=True)
    param: str | None = attrs.field(default=None, kw_only=True)
    code: str | None = attrs.field(default=None, kw_only=True)
    delay: str | None = attrs.field(default=None, kw_only=True)


@attrs.frozen
class Pieces:
    """An answer in the parts that a stream sends: what comes before the first word, the words, what ends it."""

    opening: list[bytes]
    deltas: list[bytes]
    closing: list[bytes]
    content_type: str = "text/event-stream; charset=utf-8"

    @property
    def all(self) -> list[bytes]:
        """Every event in order."""
        return [*self.opening, *self.deltas, *self.closing]


class Format(Protocol):
    """How one vendor speaks, seen from the vendor's side."""

    @property
    def name(self) -> str:
        """``"openai"``, ``"azure"``, ``"anthropic"``, ``"gemini"``."""

    @property
    def id_header(self) -> str:
        """The header that bears the request's id."""

    def key(self, headers: Mapping[str, str]) -> str | None:
        """The API key that the request shows."""

    def check(self, request: SimulatedRequest) -> Trouble | None:
        """What is wrong with the request, as a real server would find it."""

    def turns(self, asked: Mapping[str, Any]) -> list[str]:
        """What is said in the conversation, turn by turn, the system's words first."""

    def limits(self, asked: Mapping[str, Any]) -> tuple[int | None, Sequence[str]]:
        """The most output tokens, and the stop sequences."""

    def body(self, request: SimulatedRequest, answer: Answer) -> dict[str, Any]:
        """A whole answer."""

    def pieces(self, request: SimulatedRequest, answer: Answer) -> Pieces:
        """A streamed answer."""

    def error(self, trouble: Trouble) -> tuple[int, dict[str, Any]]:
        """Status and body of a refusal."""

    def error_event(self, trouble: Trouble) -> bytes:
        """A failure in the middle of a stream."""

    def ping(self) -> bytes:
        """A sign of life that says nothing."""


def dumps(value: Any) -> bytes:
    """Compact JSON, with characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def bearer(headers: Mapping[str, str]) -> str | None:
    """The token of an Authorization header."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def input_tokens(turns: Sequence[str]) -> int:
    """A quarter of the characters of all turns, and three tokens for the frame of each."""
    return sum(-(-len(turn) // 4) + 3 for turn in turns)


def out_of_range(asked: Mapping[str, Any], key: str, low: float, high: float) -> bool:
    """Whether a number is there and out of its range."""
    value = asked.get(key)
    return value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high)
