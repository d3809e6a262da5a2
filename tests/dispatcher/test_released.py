"""What a finished call or stream leaves behind: nothing, however it ended and whoever still knew its error."""

from __future__ import annotations

import gc
import weakref

import pytest

from llmdispatcher import Dispatcher, DispatchError, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor


def _read(dispatcher):
    """Read a stream to its end, as a caller does who lets its error pass; gives a weak reference to the handle."""
    stream = dispatcher.send_streaming(Request("m", "hi"))
    known = weakref.ref(stream)
    try:
        for _ in stream:
            pass
    except DispatchError:
        pass
    return known


ENDS = {
    "whole": lambda _request: "all is well",
    "broken off": lambda _request: ["it begins", VendorUnavailable("and breaks off")],
    "never begun": lambda _request: VendorUnavailable("it never begins"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_stream_is_forgotten_with_its_reader(end):
    """Its error holds the reader's frames, and these the handle: nothing that lives for ever may hold the error."""
    with Dispatcher({"retry_policy": {"max_retries": 0}}) as dispatcher:
        dispatcher.register_vendor(FakeVendor(ENDS[end]))
        known = _read(dispatcher)
        gc.collect()

        assert known() is None


CONFIGS = {
    "plain": {},
    "everything on": {"balance": {"strategy": "least_loaded"}, "cache": {"max_temperature": 2.0}, "circuit_breaker": {}},
}


class Mark:
    """Something that a request carries, and that can be watched."""


@pytest.mark.parametrize("config", CONFIGS)
def test_an_answered_call_needs_no_collector(config):
    """Objects that refer to each other in a circle stay until a collection, and collections stop every thread."""
    with Dispatcher(CONFIGS[config]) as dispatcher:
        vendors = [FakeVendor(lambda _request: "all is well", name=name) for name in ("first", "second")]
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        gc.disable()
        try:
            mark = Mark()
            known = weakref.ref(mark)
            dispatcher.send(Request("m", "hi", metadata={"mark": mark}))
            del mark
            for vendor in vendors:
                vendor.seen.clear()

            assert known() is None
        finally:
            gc.enable()
