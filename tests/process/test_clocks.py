"""T1: a wall clock that is moved changes no deadline and no policy; T2: nobody but the clock waits, and not by ``backoff``."""

from __future__ import annotations

import ast
import re
import shutil
import struct
import subprocess
import textwrap
from pathlib import Path

import pytest

import llmdispatcher
from llmdispatcher.testing import VendorSimulator, faults

from ..conftest import SLACK
from .conftest import MADE, run

PACKAGE = Path(llmdispatcher.__file__).parent
SHIM = Path(__file__).with_name("wall_clock.c")

MOVED = f"""{MADE}
import datetime, struct
def move(seconds):
    with open(os.environ["WALL_CLOCK"], "r+b") as file:
        file.write(struct.pack("d", seconds))
began, ticking = time.time(), time.monotonic()
SLACK = {SLACK}
def at(vendor="openai"):
    return dispatcher.get_vendor(vendor)
def ended(dispatcher, **settings):
    began = time.monotonic()
    try:
        dispatcher.send(ASK, **settings)
        error = None
    except DispatchError as failure:
        error = failure
    return type(error).__name__, time.monotonic() - began, error
def later(seconds):
    threading.Timer(seconds, move, (HOURS * 3600,)).start()
"""
"""The beginning of a script that moves its wall clock by ``HOURS``, first back, then forth."""

CHECK = """
assert abs(time.time() - began - HOURS * 3600 - (time.monotonic() - ticking)) < SLACK, "the clock has not moved"
assert abs(datetime.datetime.now(datetime.UTC).timestamp() - time.time()) < SLACK
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """A library that lies about the wall clock."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("there is no C compiler to make the library that moves the wall clock")
    built = tmp_path_factory.mktemp("shim") / "wall_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", built, SHIM], check=True, capture_output=True)
    return built


@pytest.fixture
def moving(shim, tmp_path):
    """Runs a script whose wall clock can be moved."""
    place = tmp_path / "moved"
    place.write_bytes(struct.pack("d", 0.0))

    def go(script, url):
        body = textwrap.indent(f"move(0)\n{script}{CHECK}", "    ")
        return run(f"{MOVED}for HOURS in (-1.0, 1.0):\n{body}", url, env={"LD_PRELOAD": str(shim), "WALL_CLOCK": str(place)})

    return go


def test_deadlines_and_waits_keep_their_length(moving):
    """T1: a call, a stream and a backoff under way when the clock moves end when they should."""
    with VendorSimulator().always(faults.silent()) as simulator:
        done = moving(
            """
later(0.1)
name, seconds, _ = ended(dispatcher, timeout=0.4)
assert ("DeadlineExceeded", True) == (name, 0.4 <= seconds < SLACK), (name, seconds)
move(0)
later(0.1)
began_stream = time.monotonic()
try:
    dispatcher.send_streaming(ASK, timeout=0.4).response()
except DeadlineExceeded:
    assert 0.4 <= time.monotonic() - began_stream < SLACK
else:
    raise AssertionError
move(0)
with Dispatcher(Config(retry_policy=RetryPolicy(max_retries=1, initial_delay=0.3))) as other:
    fake = FakeVendor(VendorUnavailable("down"), "fine")
    fake.kind = "local"  # of a vendor without a price the log would say so
    other.register_vendor(fake)
    later(0.1)
    name, seconds, _ = ended(other)
    assert ("NoneType", True) == (name, 0.3 <= seconds < SLACK), (name, seconds)
""",
            simulator.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)


def test_what_policies_remember_keeps_its_age(moving):
    """T1: an open circuit stays open, a spent limit spent, a parked target parked, a kept answer kept."""
    with VendorSimulator(responses="hello") as simulator:
        done = moving(
            """
def made(vendor, **config):
    dispatcher = Dispatcher(Config(retry_policy=RetryPolicy(max_retries=0), **config))
    dispatcher.register_vendor(vendor)
    return dispatcher
broken = made(FakeVendor(VendorUnavailable("down")), circuit_breaker={"open_time": 600.0, "max_open_time": 600.0})
for _ in range(20):
    ended(broken)
limited = made(OpenAIVendor(api_key="sk-process-0123456789", base_url=sys.argv[1], trust_env=False,
                            rate_limit={"requests_per_minute": 2}))
limited.send(ASK), limited.send(ASK)
parked = made(FakeVendor(RateLimitError("slow down", retry_after=600.0)))
ended(parked)
kept = made(at(), cache=ResponseCache(ttl=600))
kept.send(ASK)
before = [ended(broken, timeout=5)[0], limited.get_rate_limit_status("openai").requests_remaining,
          ended(limited, timeout=5)[0], ended(parked, timeout=5)[0]]
asked = [broken.get_vendor("fake").hits, parked.get_vendor("fake").hits]
move(HOURS * 3600)
after = [ended(broken, timeout=5)[0], limited.get_rate_limit_status("openai").requests_remaining,
         ended(limited, timeout=5)[0], ended(parked, timeout=5)[0]]
assert before == after, (before, after)
assert asked[1] == parked.get_vendor("fake").hits
kept.send(ASK)
assert 1 == kept.cache.stats().hits
""",
            simulator.openai_url,
        )

    assert (0, "") == (done.returncode, done.stderr)


def nodes(pattern, *without):
    """Every node of the syntax of files that have the pattern, with the file, the rooms of faces and tests aside."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name, text = str(file.relative_to(PACKAGE)), file.read_text("utf-8")
        if not name.startswith(("cli/", "testing/")) and name not in without and re.search(pattern, text):
            for node in ast.walk(ast.parse(text)):
                yield name, node


def test_backoff_computes_and_never_waits():
    """T2: of ``backoff`` only generators of delays and a jitter are used, in one place: its decorators sleep by the wall clock."""
    used, importers = set(), set()
    for name, node in nodes("backoff"):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "backoff":
            used.add(node.attr)
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "backoff" for alias in node.names):
            importers.add(name)
        assert not (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "backoff"), name

    assert used <= {"constant", "expo", "fibo", "full_jitter", "random_jitter"}
    assert {"resilience/retry.py"} == importers


def test_only_the_clock_reads_clocks_and_sleeps():
    """T1, T2: no other room has ``time``, or a wall clock without a time zone."""
    found = [
        f"{name}:{node.lineno}"
        for name, node in nodes(r"import.*\btime\b|from time\b|utcnow|today|sleep", "runtime/deadline.py")
        if (isinstance(node, ast.Import) and any(alias.name == "time" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and node.module == "time")
        or (
            isinstance(node, ast.Attribute) and node.attr in ("utcnow", "today", "sleep") and _named(node.value, "datetime", "time")
        )
    ]

    assert [] == found


def _named(node, *names):
    return isinstance(node, ast.Name) and node.id in names
