"""Compressed bodies, unpacked piece by piece as they arrive, so that a bomb is noticed before it goes off."""

from __future__ import annotations

import zlib

from ..errors import MalformedReply

PIECE = 262144
"""Most bytes to unpack at once."""

_GZIP = 16 + zlib.MAX_WBITS


class Inflater:
    """Unpacks gzip (several members too) or deflate (with or without its zlib wrapper)."""

    __slots__ = ("_began", "_encoding", "_packed", "_unpack")

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._packed = b""
        self._began = False
        self._unpack = zlib.decompressobj(_GZIP)

    def feed(self, data: bytes) -> None:
        """Take in what came; :meth:`piece` gives it unpacked."""
        if not self._began and data:
            self._began = True
            if self._encoding == "deflate":
                wrapped = data[0] & 0x0F == 8 and data[0] >> 4 <= 7
                self._unpack = zlib.decompressobj(zlib.MAX_WBITS if wrapped else -zlib.MAX_WBITS)
        self._packed += data

    def piece(self) -> bytes:
        """The next unpacked piece, or nothing when more must be fed. Raises :class:`MalformedReply`."""
        while self._packed:
            if self._unpack.eof:
                self._unpack = self._next_member()
            try:
                piece = self._unpack.decompress(self._packed, PIECE)
            except zlib.error:
                raise MalformedReply(f"the answer is labelled {self._encoding} and is not") from None
            self._packed = self._unpack.unconsumed_tail or self._unpack.unused_data
            if piece:
                return piece
        return b""

    def finish(self) -> None:
        """The body has ended; raises where the packing has not."""
        if self._began and not self._unpack.eof:
            raise MalformedReply(f"the answer's {self._encoding} data is cut off")

    def _next_member(self) -> zlib._Decompress:
        if self._encoding == "deflate":
            raise MalformedReply("the answer has data after its end")
        return zlib.decompressobj(_GZIP)


def inflater_for(encoding: str) -> Inflater | None:
    """What unpacks a Content-Encoding, ``None`` for nothing to unpack; refuses all that was not asked for."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return None
    if encoding in ("gzip", "x-gzip", "deflate"):
        return Inflater(encoding)
    raise MalformedReply(
        "the answer has a Content-Encoding other than gzip, deflate or identity, which were all that was asked for"
    )
