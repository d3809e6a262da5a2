"""The calls of the last minute of one vendor or model, and what the vendor itself said is left."""

from __future__ import annotations

import math
from collections import deque

WINDOW = 60.0
"""Seconds."""


class Entry:
    """One call in the window, which it leaves when it is ``past``."""

    __slots__ = ("at", "past", "tokens")

    def __init__(self, at: float, tokens: int) -> None:
        self.at = at
        self.tokens = tokens
        self.past = False


class Window:
    """The calls, oldest first; ``None`` is no limit. Not safe under threads: whoever holds it has the lock."""

    def __init__(self, requests: int | None, tokens: int | None) -> None:
        self.most_requests = requests
        self.most_tokens = tokens
        self.entries: deque[Entry] = deque()
        self.tokens = 0
        self.told: dict[str, tuple[int, float]] = {}

    def forget(self, now: float) -> None:
        """Drop what is older than the window."""
        while self.entries and self.entries[0].at <= now - WINDOW:
            entry = self.entries.popleft()
            entry.past = True
            self.tokens -= entry.tokens
        if self.told:
            self.told = {name: (left, until) for name, (left, until) in self.told.items() if until > now}

    def ready_at(self, tokens: int) -> float:
        """When a call of so many tokens fits; minus infinity, or what is past, where it does already."""
        ready = -math.inf
        most = self.most_requests
        if most is not None and len(self.entries) >= most:
            ready = self.entries[len(self.entries) - most].at + WINDOW
        if self.most_tokens is not None:
            ready = max(ready, self._tokens_ready_at(tokens, self.most_tokens))
        for name, (left, until) in self.told.items():
            if left < (1 if name == "requests" else tokens):
                ready = max(ready, until)
        return ready

    def _tokens_ready_at(self, tokens: int, most: int) -> float:
        over, ready = self.tokens + tokens - most, -math.inf
        for entry in self.entries:  # a call that is larger than the limit goes when it is alone
            if over <= 0:
                break
            over, ready = over - entry.tokens, entry.at + WINDOW
        return ready

    def take(self, tokens: int, now: float) -> Entry:
        """Note a call."""
        entry = Entry(now, tokens)
        self.entries.append(entry)
        self.tokens += tokens
        for name, amount in (("requests", 1), ("tokens", tokens)):
            if name in self.told:
                left, until = self.told[name]
                self.told[name] = (max(0, left - amount), until)
        return entry

    def correct(self, entry: Entry, used: int) -> None:
        """Put what a call really used in the place of its estimate."""
        if not entry.past:  # never look for it: there may be a hundred thousand
            self.tokens += used - entry.tokens
            entry.tokens = used

    def drop(self, entry: Entry) -> None:
        """The call was not made after all; it is among the latest, so they are looked through first."""
        for place in range(len(self.entries) - 1, -1, -1) if not entry.past else ():
            if self.entries[place] is entry:
                del self.entries[place]
                entry.past = True
                self.tokens -= entry.tokens
                return

    def left(self) -> tuple[int | None, int | None]:
        """Requests and tokens that are left; ``None`` is no limit."""
        return (
            _rest(self.most_requests, len(self.entries), self.told.get("requests")),
            _rest(self.most_tokens, self.tokens, self.told.get("tokens")),
        )

    def reset(self, now: float) -> float:
        """Seconds until the oldest call is forgotten."""
        return self.entries[0].at + WINDOW - now if self.entries else 0.0


def _rest(limit: int | None, used: int, told: tuple[int, float] | None) -> int | None:
    amounts = [max(0, limit - used)] if limit is not None else []
    amounts += [told[0]] if told is not None else []
    return min(amounts, default=None)
