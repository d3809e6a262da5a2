"""What one attempt has moved over the network: the transport writes it down as it goes, whoever settles the attempt reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .errors import DispatchError


class Lease(Protocol):
    """Which of several keys an attempt is to show, counted from 1, and another where it is refused."""

    @property
    def key(self) -> int | None:
        """Its number."""

    def move(self, awake: Sequence[int], error: DispatchError) -> int | None:
        """The number of another of these keys to show; ``None`` where none of them has a place in its limits."""


class Meter:
    """Bytes and connections of one attempt; hung on the deadline that every room is handed.

    ``wired`` tells that the library's own transport was asked, so that the counts mean something. ``sent`` and ``received`` are
    bytes of HTTP, as handed to and taken from the connection. ``reused`` tells whether that had served before, ``resent``
    how often the request was sent once more since the vendor had closed a kept connection. ``key`` counts the vendor's keys from 1.
    ``lease``, where there is one, says which of them to show.
    """

    __slots__ = ("key", "lease", "received", "resent", "reused", "sent", "wired")

    def __init__(self) -> None:
        self.wired = False
        self.sent = self.received = self.resent = 0
        self.reused: bool | None = None
        self.key: int | None = None
        self.lease: Lease | None = None
