"""What ``check_sizes`` rules: where it looks, which words name nothing, and who may touch the world outside."""

from __future__ import annotations

import attrs

PACKAGE = "llmdispatcher/"
RULED = ("llmdispatcher", "scripts", "benchmarks", "examples", "tests")
BANNED = frozenset({"util", "utils", "helper", "helpers", "manager", "common", "misc"})


@attrs.frozen
class Border:
    """Names that only some rooms of the package may use; ``rooms`` are beginnings of paths inside it."""

    uses: tuple[str, ...]
    rooms: tuple[str, ...]
    why: str


BORDERS = (
    Border(
        ("time", "random", "datetime.now", "datetime.utcnow"), ("clock.py",), "only the clock reads time, sleeps or draws chance"
    ),
    Border(
        ("os.environ", "os.getenv"),
        ("environment.py", "cli/", "transport/outgoing.py", "lockfile/places.py", "registry/places.py"),
        "only its reader, proxies, lockfiles, places of caches and the command line read the environment",
    ),
    Border(("asyncio", "anyio", "trio"), ("nowhere",), "the library is threads and queues, without an event loop"),
    Border(("print()", "input()"), ("cli/",), "only the command line talks to people"),
    Border(("socket", "ssl", "requests", "urllib3"), ("transport/", "testing/"), "only the transport opens connections"),
)
