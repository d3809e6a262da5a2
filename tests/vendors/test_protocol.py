"""What a vendor can do beyond the five members of the protocol."""

from llmdispatcher import Capabilities, Dispatcher, Request
from llmdispatcher.testing import FakeVendor


class Listening:
    """Five members of a vendor; notes which others are looked for."""

    name, capabilities = "mine", Capabilities()

    def __init__(self):
        self.missed = []
        inner = FakeVendor("Hello.", name="mine")
        self.send, self.stream, self.is_available = inner.send, inner.stream, inner.is_available

    def __getattr__(self, name):
        self.missed.append(name)
        raise AttributeError(name)


def test_optional_members_are_looked_for_once():
    """No call looks for a member that the vendor did not have when it was registered; who is free may change, and is asked."""
    vendor, request = Listening(), Request("m", "Hi")
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor)
        assert {"close", "count_tokens", "embed", "kind", "list_models", "missing", "model_for", "rate_limit"} <= {*vendor.missed}
        vendor.missed.clear()
        assert (
            "Hello." == dispatcher.send(request).content == "".join([chunk.content for chunk in dispatcher.send_streaming(request)])
        )
        assert "vendor" != dispatcher.count_tokens(request).source
        assert "available" == dispatcher.health_check()["mine"].status
        assert () == dispatcher.list_models("mine")
        assert [dispatcher.explain(request).targets[0].vendor] == dispatcher.get_vendors()
    assert {*vendor.missed} <= {"is_free"}
