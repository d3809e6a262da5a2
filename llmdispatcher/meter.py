"""What one attempt has moved over the network: the transport writes it down as it goes, whoever settles the attempt reads it."""

from __future__ import annotations


class Meter:
    """Bytes and connections of one attempt; hung on the deadline that every room is handed.

    ``wired`` tells that the library's own transport was asked, so that the counts mean something. ``sent`` and ``received`` are
    bytes of HTTP, as handed to and taken from the connection. ``reused`` tells whether that had served before, ``resent``
    how often the request was sent once more since the vendor had closed a kept connection. ``key`` counts the vendor's keys from 1.
    """

    __slots__ = ("key", "received", "resent", "reused", "sent", "wired")

    def __init__(self) -> None:
        self.wired = False
        self.sent = self.received = self.resent = 0
        self.reused: bool | None = None
        self.key: int | None = None
