"""The fixtures of the plugin, and that loading it costs nothing."""

import subprocess
import sys

from llmdispatcher import Deadline, Request

from .conftest import ask


def test_a_simulator_is_at_hand(vendor_simulator):
    """Running, with an answer for everybody."""
    assert 200 == ask(vendor_simulator).status


def test_simulators_can_be_made(make_vendor_simulator):
    """Any number, each with settings of its own."""
    one, other = make_vendor_simulator(responses="a"), make_vendor_simulator(keys=["x"])

    assert [200, 401] == [ask(one).status, ask(other).status]


def test_a_fake_vendor_is_at_hand(fake_vendor, manual_clock):
    """With a clock to go with it."""
    fake_vendor.script("hello")
    fake_vendor.latency = 5

    assert "hello" == fake_vendor.send(Request("m", "hi"), Deadline.after(9, clock=manual_clock)).content
    assert [5] == manual_clock.sleeps


def test_loading_the_plugin_loads_little():
    """Neither requests nor a simulator, before a fixture is used."""
    code = (
        "import sys; import pytest; before = set(sys.modules); import llmdispatcher.testing.plugin; "
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('llmdispatcher') or 'testing.' in name))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert "requests" not in output
    assert "['llmdispatcher.testing.plugin']" == output.strip()
