"""The texts that ``scripts.rename_hand`` replaces: where, the old one as the table leaves it, the new one; deleted with it."""

# ruff: noqa: E501  # the texts are those of the pages, line for line

from __future__ import annotations

SKIPPED_TARGET = '''class SkippedTarget:
    """A target that is not asked, and why.

    ``code`` is ``"cost"``, ``"price"``, ``"window"``, ``"output"``, ``"rule"``, ``"missing"`` or the capability that it lacks;
    empty for other reasons. ``model`` and ``at``, the seconds from the beginning of the call, are given for a target of the route
    that was skipped when its turn came; a vendor that is not on the route has neither.
    """

    vendor: str
    reason: str
    code: str = ""
    model: str | None = None
    at: float | None = None

    @property
    def target(self) -> str:
        """``"vendor:model"``, or the vendor where there is no model."""
        return f"{self.vendor}:{self.model}" if self.model is not None else self.vendor

    def as_dict(self) -> dict[str, Any]:
        """Return the same as JSON can hold it."""
        return {"target": self.target, **attrs.asdict(self)}
'''

CALL_LOG = '''class CallLog(Protocol):
    """Where a dispatcher writes its calls down while they happen; a :class:`~llmdispatcher.Ledger` is one.

    Its methods are called in the thread of the call, so they must be quick. Only one that is asked to be strict may raise, a
    :class:`~llmdispatcher.errors.LedgerError`.
    """
'''

EDITS: list[tuple[str, str, str]] = [
    # one class for what was Skip and PassedOver
    (
        "llmdispatcher",
        '''class SkippedTarget:
    """A vendor that is not on the route, and why.

    ``code`` is ``"cost"``, ``"price"``, ``"window"``, ``"output"``, ``"rule"``, ``"missing"`` or the capability that it lacks;
    empty for other reasons.
    """

    vendor: str
    reason: str
    code: str = ""
''',
        SKIPPED_TARGET,
    ),
    (
        "llmdispatcher",
        '''@attrs.frozen
class SkippedTarget:
    """A target whose turn it was and that was not asked then; ``at`` counts seconds from the beginning of the call."""

    target: str
    why: str
    at: float


''',
        "",
    ),
    (
        "llmdispatcher",
        '''    """One call: its plan and, as a sequence, its attempts in the order in which they ended. ``str()`` is for people."""
''',
        '''    """One call: its plan and, as a sequence, its attempts in the order in which they ended. ``str()`` is for people.

    ``skipped`` has the targets whose turn came and that were not asked then; those that were no candidates are in ``plan.skipped``.
    """
''',
    ),
    (
        "llmdispatcher",
        "{passed.target} passed over: {passed.reason}",
        "{passed.target} skipped: {passed.reason}",
    ),
    ("llmdispatcher", "told = [(passed.at, f", "told = [(passed.at or 0.0, f"),
    (
        "llmdispatcher",
        '            "skipped": [attrs.asdict(skip) for skip in self.skipped],\n            "budgets"',
        '            "skipped": [skip.as_dict() for skip in self.skipped],\n            "budgets"',
    ),
    (
        "llmdispatcher",
        '            "skipped": [attrs.asdict(passed) for passed in self.skipped],\n',
        '            "skipped": [skip.as_dict() for skip in (*self.plan.skipped, *self.skipped)],\n',
    ),
    (
        "llmdispatcher",
        "            self.skipped.append(SkippedTarget(str(target), why, self.deadline.clock.monotonic() - self.started))\n",
        "            at = self.deadline.clock.monotonic() - self.started\n"
        "            self.skipped.append(SkippedTarget(target.vendor, why, model=target.model, at=at))\n",
    ),
    (
        "llmdispatcher",
        'told.append(f"parked for another {self.cooldown:.1f} s")',
        'told.append(f"cooling down for another {self.cooldown:.1f} s")',
    ),
    (
        "llmdispatcher",
        "``cooldown`` tells how long\n    the target asked to be left alone",
        "``cooldown`` tells for how\n    many seconds the target asked to be left alone",
    ),
    ("tests", '"parked for another 30.0 s; 9 of 10 requests left"', '"cooling down for another 30.0 s; 9 of 10 requests left"'),
    # the protocol of what writes calls down
    (
        "llmdispatcher",
        '''class CallLog(Protocol):
    """Told in the thread of the call, so it must be quick; only one that is asked to be strict may raise, a ``LedgerError``."""
''',
        CALL_LOG,
    ),
    (
        "llmdispatcher",
        '''    def ended(self, outcome: Outcome) -> None:
        """A call has its outcome, which nobody has been given yet. What it raises is raised instead of the answer."""
''',
        '''    def ended(self, outcome: Outcome) -> None:
        """A call has its outcome, which nobody has been given yet. What it raises is raised instead of the answer."""

    def flush(self, timeout: float = 10.0) -> object:
        """Write what is left, within so many seconds; a dispatcher that closes calls it, and leaves the log open for others."""
''',
    ),
    ("llmdispatcher", "        self.ledger: Ledger | None = None\n", "        self.ledger: CallLog | None = None\n"),
    (
        "llmdispatcher",
        "            if self._owned:\n                self.ledger.close()\n",
        "            if self._owned:\n                made: Any = self.ledger  # a Ledger\n                made.close()\n",
    ),
    (
        "llmdispatcher",
        "        ledger: Ledger | str | os.PathLike[str] | None = None,\n",
        "        ledger: CallLog | str | os.PathLike[str] | None = None,\n",
    ),
    ("llmdispatcher", "    def ledger(self) -> Ledger | None:\n", "    def ledger(self) -> CallLog | None:\n"),
    (
        "llmdispatcher",
        "every call is written down: a :class:`~llmdispatcher.ledger.Ledger`, or the path or URL of one. No thread is started and\n    nothing is opened before the first call.",
        "every call is written down: a :class:`~llmdispatcher.Ledger` or another :class:`~llmdispatcher.CallLog`, or the path or URL of\n    a ledger. No thread is started and nothing is opened before the first call.",
    ),
    # the observer
    (
        "llmdispatcher",
        "``observers`` hear the :class:`~llmdispatcher.outcome.Outcome` of every call, and as a\n    :class:`~llmdispatcher.outcome.Observer` every attempt; one that raises is logged and felt by nobody.",
        "``observers`` hear the :class:`~llmdispatcher.Outcome` of every call, and as an :class:`~llmdispatcher.Observer` every\n    attempt; one that raises is logged and felt by nobody.",
    ),
    (
        "llmdispatcher",
        'class Observer:\n    """What an observer may hear; override one or both.',
        'class Observer:\n    """Hears attempts, outcomes or both; override one method or both.',
    ),
    (
        "llmdispatcher",
        '"""Hears every outcome, or as a :class:`Observer` every attempt as well; any object with one of its two methods will do."""',
        '"""A function that hears every outcome, an :class:`Observer`, or any object with one of its two methods."""',
    ),
    (
        "llmdispatcher",
        '"""What a simulated vendor says: an Answer, its tokens',
        '"""What a simulated vendor says: a SimulatedResponse, its tokens',
    ),
    (
        "llmdispatcher",
        "``responses`` is a string, an :class:`SimulatedResponse`",
        "``responses`` is a string, a :class:`SimulatedResponse`",
    ),
    (
        "llmdispatcher",
        'class SimulatedResponse:\n    """One whole answer, before',
        'class SimulatedResponse:\n    """One whole response, before',
    ),
    (
        "llmdispatcher",
        "An answer is a string, a :class:`Response`, an exception",
        "A response is a string, a :class:`Response`, an exception",
    ),
    # prose that would read like a name
    (
        "llmdispatcher",
        '"""Verification with nothing but the receipts and public keys: no ledger, no network."""',
        '"""Verify receipts with nothing but them and public keys: no ledger, no network."""',
    ),
    (
        "llmdispatcher",
        '"""What a call tells of itself: the plan, who was passed over on the way, and every attempt; for people and for machines."""',
        '"""What a call tells of itself: the plan, the targets that were skipped, and every attempt; for people and for machines."""',
    ),
    ("tests", '"""Trouble with one takes nothing from another."""', '"""A failure of one takes nothing from another."""'),
    # AnswerCache is no public name
    ("llmdispatcher", '    "AnswerCache",\n    "AnthropicVendor",\n', '    "AnthropicVendor",\n'),
    # pages
    (
        "docs/names.md",
        "- `RateLimitRemaining`: what its vendor says is left of the limits",
        "- `RateLimitRemaining`: what its vendor says is left of its rate limits, as `response.rate_limit_remaining`",
    ),
    (
        "docs/names.md",
        "- `BudgetStatus`, `BudgetForecast`: what is spent and left of it, and what a call would reserve",
        "- `BudgetStatus`, `BudgetForecast`: what is spent and left of a budget, and what a call would reserve",
    ),
    (
        "docs/names.md",
        "- `AnswerCache`, `CacheStats`: what a dispatcher makes of it, and how often it served",
        "- `CacheStats`: how often the cache served, from `dispatcher.cache.stats()`",
    ),
    (
        "docs/names.md",
        "- `TargetStatus`: circuit, parking and limits of one candidate",
        "- `TargetStatus`: circuit, cooldown and rate limits of one candidate",
    ),
    (
        "docs/names.md",
        "- `Observer`: what an observer may hear of calls and attempts",
        "- `Observer`: hears of calls and attempts; override what you need",
    ),
    (
        "docs/names.md",
        "- `SkippedTarget`: whose turn it was, and why it was not asked",
        "- `SkippedTarget`: who was not asked, and why: no candidate (`plan.skipped`), or skipped in its turn (`trace.skipped`)",
    ),
    (
        "docs/names.md",
        "- `LedgerStats`: what became of the rows of this process",
        "- `LedgerStats`: what became of the rows of this process\n- `CallLog`: the protocol of what writes calls down; a `Ledger` is one",
    ),
    ("docs/names.md", "- `SimulatedResponse`: what it says", "- `SimulatedResponse`: a response that it gives"),
    ("docs/names.md", "- `UNREACHABLE`: addresses where nobody answers", "- `UNREACHABLE`: addresses where nothing answers"),
    (
        "docs/names.md",
        "- `ApiError`: a refusal, before any format",
        "- `ApiError`: an error that a vendor answers with, before any format",
    ),
    (
        "docs",
        "`AnswerCache` is what a dispatcher makes of the settings: `clear()` forgets everything for all that share the store, `stats()` gives `hits`, `misses`, `shared`,\n",
        "`dispatcher.cache` is what a dispatcher makes of the settings: `clear()` forgets everything for all that share the store, `stats()` gives `hits`, `misses`, `shared`,\n",
    ),
    (
        "docs",
        """from llmdispatcher.caching import AnswerCache, Inquiry, Place, ResponseCache
from llmdispatcher import Deadline, Request, Response
from llmdispatcher.clock import SYSTEM_CLOCK

cache = AnswerCache(ResponseCache(), SYSTEM_CLOCK)
for _ in range(3):
    inquiry = Inquiry(request=Request("m", "Why?"), places=[Place("mine", "m")], deadline=Deadline.after(5))
    print(cache.send(inquiry, lambda: Response(content="Because.", vendor="mine", model="m")).cached)
print(cache.stats().hits, cache.stats().hit_rate)
cache.clear()
""",
        """from llmdispatcher import Config, Dispatcher, Request, ResponseCache
from llmdispatcher.testing import FakeVendor

with Dispatcher(Config(cache=ResponseCache(max_temperature=None))) as dispatcher:
    dispatcher.register_vendor(FakeVendor("Because."))
    for _ in range(3):
        print(dispatcher.send(Request("m", "Why?")).cached)
    print(dispatcher.cache.stats().hits, dispatcher.cache.stats().hit_rate)
    dispatcher.cache.clear()
""",
    ),
]

# docstrings that the longer names make too long
LINES: list[tuple[str, str, str]] = [
    (
        "llmdispatcher",
        """    functions of a :class:`~llmdispatcher.policy.balance.BalanceContext`) orders the targets of requests that name none. ``pools`` gives
    names to ordered lists""",
        """    functions of a :class:`~llmdispatcher.BalanceContext`) orders the targets of requests that name none. ``pools`` gives
    names to ordered lists""",
    ),
    (
        "llmdispatcher",
        "A transaction that may write: ``with ledger.transaction() as connection``. In SQLite it has the file's only pen at once.",
        "A transaction that may write: ``with ledger.transaction() as connection``. In SQLite it is the only writer at once.",
    ),
    (
        "llmdispatcher",
        """``torn`` are lines of a spool that could not be read. ``unavailable`` is why the database is
    not written to now. ``aside``""",
        """``torn`` are lines of a spool that could not be read. ``unavailable`` is why the
    database is not written to now. ``aside``""",
    ),
    (
        "llmdispatcher",
        "(a function of a :class:`~llmdispatcher.policy.balance.BalanceContext`) that looks",
        "(a function of a :class:`~llmdispatcher.BalanceContext`) that looks",
    ),
    (
        "llmdispatcher",
        """``limits`` what may still be asked in this minute; ``None`` where that was not looked at.
    \"\"\"""",
        """``limits`` what may still be asked in this minute; ``None`` where that was
    not looked at.
    \"\"\"""",
    ),
    (
        "llmdispatcher",
        """where that is little. ``parsed`` is the object that a
    structured answer stands for.""",
        """where that is little. ``parsed`` is the object
    that a structured answer stands for.""",
    ),
]

# layouts where the door of the package names modules as they stand today
FLAT: list[tuple[str, str, str]] = [
    (
        "llmdispatcher/__init__.py",
        "    from .caching import AnswerCache, CacheStats, ResponseCache\n",
        "    from .caching import CacheStats, ResponseCache\n",
    ),
    (
        "llmdispatcher/__init__.py",
        '    "caching": ("AnswerCache", "CacheStats", "ResponseCache"),\n',
        '    "caching": ("CacheStats", "ResponseCache"),\n',
    ),
    (
        "llmdispatcher/__init__.py",
        "    from .http_vendor import HttpVendor\n",
        "    from .http_vendor import HttpVendor\n    from .journal import CallLog\n",
    ),
    (
        "llmdispatcher/__init__.py",
        '    "http_vendor": ("HttpVendor",),\n',
        '    "http_vendor": ("HttpVendor",),\n    "journal": ("CallLog",),\n',
    ),
    (
        "llmdispatcher/__init__.py",
        '    "CacheStats",\n    "Cancellation",\n',
        '    "CacheStats",\n    "CallLog",\n    "Cancellation",\n',
    ),
]
