"""What it costs to find out which models a name stands for: aliases of a lockfile, of a package, and names that are none."""

from __future__ import annotations

from collections.abc import Callable

from llmdispatcher import Lockfile
from llmdispatcher.catalog import Aliases
from llmdispatcher.catalog.lockfile.lockfile import Extension
from llmdispatcher.catalog.lockfile.reading import Contents

from .measure import cpu_per_call

Rows = list[tuple[str, float, float | None, str]]
ALIASES = 200
TIMES = 4_000
BAR = 5.0
"""Microseconds."""


def resolution() -> Rows:
    """CPU of one look-up in a lockfile of 200 aliases in each of four profiles."""
    lock = Lockfile.create_default()
    for profile in lock.contents.profiles:
        for number in range(ALIASES):
            lock.bind(f"alias-{number}", ["openai:gpt-5.4", "anthropic:claude-sonnet-5-5"], profile=profile)
    lock.extend("lib-a")
    theirs = Lockfile(Contents())
    theirs.bind("summarizer", ["openai:gpt-5.4"])
    lock._extensions._known["lib-a"] = Extension("lib-a", contents=theirs.contents)
    find = Aliases(lock, None).find
    asked: dict[str, Callable[[], object]] = {
        "an alias, its profile given": lambda: find("alias-77", "prod"),
        "an alias, its profile the environment's or the default": lambda: find("alias-77"),
        "an alias of a package": lambda: find("lib-a:summarizer"),
        "a model's own name": lambda: find("openai:gpt-5.4"),
        "Lockfile.resolve": lambda: lock.resolve("alias-77"),
    }
    taken = cpu_per_call({name: _often(work) for name, work in asked.items()}, 5)
    return [(name, seconds / TIMES * 1e6, BAR, "µs") for name, seconds in taken.items()]


def _often(work: Callable[[], object]) -> Callable[[], object]:
    def repeated() -> None:
        for _ in range(TIMES):
            work()

    return repeated
