"""Unpacking, bounded and complete."""

from __future__ import annotations

import gzip
import zlib

import pytest

from llmdispatcher import MalformedReply
from llmdispatcher.transport.http1 import PIECE, Inflater, inflater_for

from ..cases import each

TEXT = b'{"answer": "' + b"words and more words " * 50 + b'"}'


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = [
    ("gzip", gzip.compress(TEXT)),
    ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
    ("deflate", zlib.compress(TEXT)),
    ("deflate", raw_deflate(TEXT)),
]


def unpacked(inflater: Inflater, data: bytes) -> bytes:
    inflater.feed(data)
    return b"".join(iter(inflater.piece, b""))


@each("encoding, packed", PACKED)
def test_every_cut_unpacks_to_the_same(encoding, packed):
    """Where the network cuts the packed bytes makes no difference."""
    for cut in range(len(packed)):
        inflater = Inflater(encoding)
        assert TEXT == unpacked(inflater, packed[:cut]) + unpacked(inflater, packed[cut:])
        inflater.finish()


@each("encoding, packed", PACKED)
def test_every_truncation_raises(encoding, packed):
    """A body that ends in the middle of its packing is never taken for a whole one."""
    member = len(gzip.compress(TEXT[:100]))
    for cut in {1, 5, len(packed) // 2, min(member + 1, len(packed) - 1), len(packed) - 1}:
        inflater = Inflater(encoding)
        unpacked(inflater, packed[:cut])
        with pytest.raises(MalformedReply):
            inflater.finish()


def test_an_empty_body_needs_no_packing():
    """A label on nothing is no fault."""
    Inflater("gzip").finish()


@each("encoding", ["gzip", "deflate"])
def test_a_false_label_raises(encoding):
    """Plain text that calls itself packed is refused."""
    with pytest.raises(MalformedReply):
        unpacked(Inflater(encoding), b"plainly not packed")


def test_a_bomb_goes_off_in_small_pieces():
    """However well something is packed, one piece of it stays small."""
    inflater = Inflater("gzip")
    inflater.feed(gzip.compress(bytes(10_000_000)))

    assert PIECE >= len(inflater.piece())


@each("encoding", ["", "identity", " Identity ", "none", "UTF-8"])
def test_nothing_to_unpack(encoding):
    """An answer as it is needs no inflater."""
    assert inflater_for(encoding) is None


@each("encoding", ["br", "zstd", "gzip, gzip", "compress", "gzip,deflate"])
def test_what_was_not_asked_for_is_refused(encoding):
    """Other encodings, and chains of them, are no answer to what we accept."""
    with pytest.raises(MalformedReply):
        inflater_for(encoding)
