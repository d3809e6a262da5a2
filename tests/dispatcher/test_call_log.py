"""A dispatcher writes its calls down in whatever has the methods of a call log, the ledger or one of your own."""

import pytest

from llmdispatcher import Dispatcher, LedgerError, Request, VendorUnavailable
from llmdispatcher.testing import FakeVendor


class Log:
    """Notes which method was called, and with what."""

    def __init__(self, refuse=False):
        self.heard = []
        self.refuse = refuse

    def began(self, call, attempt):
        if self.refuse:
            raise LedgerError("the log is full", sent=False)
        self.heard.append(("began", attempt.target.vendor))

    def settled(self, record):
        self.heard.append(("settled", record.vendor))

    def ended(self, outcome):
        self.heard.append(("ended", outcome.vendor))

    def flush(self, timeout=10.0):
        self.heard.append(("flush", None))


def test_a_log_hears_each_step_of_a_call():
    """Before a vendor is asked, after it, and the end; flushed where the dispatcher closes."""
    log = Log()
    with Dispatcher(ledger=log) as dispatcher:
        dispatcher.register_vendor(FakeVendor("hello"))

        dispatcher.send(Request("m", "hi"))

        assert dispatcher.ledger is log

    assert [("began", "fake"), ("settled", "fake"), ("ended", "fake"), ("flush", None)] == log.heard


def test_a_log_hears_of_a_call_that_failed():
    """Its attempt is settled, and the call has ended, without a vendor that answered."""
    log = Log()
    with Dispatcher({"retry_policy": {"max_retries": 0}}, ledger=log) as dispatcher:
        dispatcher.register_vendor(FakeVendor(VendorUnavailable("down", status=503)))

        with pytest.raises(VendorUnavailable):
            dispatcher.send(Request("m", "hi"))

    assert [("began", "fake"), ("settled", "fake"), ("ended", None), ("flush", None)] == log.heard


def test_a_log_that_refuses_stops_the_call_unsent():
    """What it raises as a call begins ends the call; the vendor is not asked."""
    vendor = FakeVendor("hello")
    with Dispatcher(ledger=Log(refuse=True)) as dispatcher:
        dispatcher.register_vendor(vendor)

        with pytest.raises(LedgerError, match="the log is full"):
            dispatcher.send(Request("m", "hi"))

    assert 0 == vendor.hits
