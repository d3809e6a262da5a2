"""The anomaly loop: for n = 1, 2, 3 … the n-th operation of each kind fails, once or from then on, until there is no n-th.

Every way of a call, every kind of operation that it needs, every error that the real thing raises; the first of them goes on as
well, since what fails for ever is the same for each. After each: I1 in time, I2 one
outcome for each call, which is an answer or an error of ours, I3 threads and descriptors are back, I5 no key and no prompt, I7
nothing is still taken, and the next call of the same dispatcher succeeds. What happened is printed as a table at the end (-s).
"""

from __future__ import annotations

import logging
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import attrs
import pytest
import trustme

from llmdispatcher import Config, Dispatcher, DispatchError, Outcome, RateLimit, Request, RetryPolicy
from llmdispatcher.testing import VendorSimulator, faults
from llmdispatcher.transport import dns

from ..conftest import PATIENCE, SLACK
from ..threads import in_threads
from .anomalies import DATABASE, HOST, OPERATIONS, Error, Saboteur, planted
from .conftest import MODELS, PROMPT, Result, descriptors, leaks, listen, vendor_at
from .insides import residue

ANSWER = "one two three four five six seven eight nine ten eleven twelve."
FIRST, SECOND = "openai", "anthropic"
TIMEOUT = PATIENCE
"""No injection here makes anybody wait: a call that lasts until its deadline hangs."""
MOST = 60
"""More operations of one kind than any way needs."""
ROOMY = RateLimit(requests_per_minute=1_000, tokens_per_minute=10_000_000, max_in_flight=8)
LIMITS = {"first_byte_timeout": TIMEOUT, "idle_timeout": TIMEOUT, "progress_timeout": None, "rate_limit": ROOMY}
CALM: dict[str, Any] = {
    "admission": 8,
    "retry_policy": RetryPolicy(max_retries=1, initial_delay=0.001),
    "balance": {"strategy": "priority", "priorities": {FIRST: 0, SECOND: 1}},
}


@attrs.define
class Stage:
    """A dispatcher, and what became of its calls."""

    dispatcher: Dispatcher
    outcomes: list[Outcome]
    streamed: bool
    seen: list[Result] = attrs.field(factory=list)

    def ask(self) -> None:
        """One call, heard to its end."""
        self._note(lambda: listen(self.dispatcher, _request(), self.outcomes, streamed=self.streamed, timeout=TIMEOUT))

    def leave(self) -> None:
        """One stream, left after its first chunk."""

        def left() -> Result:
            error, began = None, time.monotonic()
            try:
                with self.dispatcher.send_streaming(_request(), timeout=TIMEOUT) as stream:
                    next(iter(stream))
            except DispatchError as failure:
                error = failure
            return Result("", error, time.monotonic() - began, self.outcomes, self.dispatcher)

        self._note(left)

    def _note(self, make: Callable[[], Result]) -> None:
        began = time.monotonic()
        try:
            result = make()
        except Exception as foreign:
            result = Result("", foreign, time.monotonic() - began, self.outcomes, self.dispatcher)
        self.seen.append(result)


def _request() -> Request:
    return Request(model=MODELS[FIRST], messages=PROMPT, max_tokens=200)


def _twice(stage: Stage) -> None:
    stage.ask()
    stage.ask()


def _together(stage: Stage) -> None:
    both = threading.Barrier(2)

    def one() -> None:
        both.wait()
        stage.ask()

    in_threads(one, 2)


NET = ("socket", "connect", "send", "recv", "getaddrinfo", "Thread.start")
FILES = ("open", "sqlite connect", "execute")
HEDGE = {"after": 0.005, "share": 1.0}


def _hedged(outcomes: list[Outcome]) -> bool:
    return any(record.hedge for record in outcomes[0].attempts)


def _failed_over(outcomes: list[Outcome]) -> bool:
    return all(outcome.vendor == SECOND for outcome in outcomes)


def _cached(outcomes: list[Outcome]) -> bool:
    return [False, True] == sorted(outcome.cached for outcome in outcomes[:2])


@attrs.frozen(kw_only=True)
class Way:
    """How a call goes: the settings, the vendors, what is asked, which operations that needs, and what shows that it went so."""

    play: Callable[[Stage], None] = _twice
    streamed: bool = False
    settings: dict[str, Any] = attrs.field(factory=dict)
    first: dict[str, Any] = attrs.field(factory=dict)
    fault: faults.Fault | None = None
    helped: bool = False
    tls: bool = False
    needs: tuple[str, ...] = NET
    shown: Callable[[list[Outcome]], bool] = bool


def _both(name: str, **settings: Any) -> dict[str, Way]:
    return {name: Way(**settings), f"{name} stream": Way(**settings, streamed=True)}


SLOW = {"latency": 0.02}
IN_FILE = {"cache": {"store": DATABASE, "store_timeout": 0.05}}
WAYS: dict[str, Way] = {
    "unary": Way(),
    "stream": Way(streamed=True),
    "stream, left": Way(streamed=True, play=Stage.leave),
    **_both("TLS", play=Stage.ask, tls=True, needs=(*NET, "handshake")),
    **_both("hedged", play=Stage.ask, settings={"hedge": HEDGE}, first=SLOW, helped=True, shown=_hedged),
    **_both("failover", play=Stage.ask, fault=faults.status(503), helped=True, shown=_failed_over),
    **_both("memory", settings={"cache": {}}, shown=_cached),
    **_both("file", settings=IN_FILE, needs=(*NET, *FILES), shown=_cached),
    **_both("shared flight", play=_together, settings={"cache": {}}, first=SLOW, shown=_cached),
}


@attrs.frozen
class Setting:
    """The vendors of one way, and how a dispatcher towards them is made."""

    way: Way
    vendors: dict[str, VendorSimulator]
    saboteur: Saboteur
    folder: Path
    ca_file: str

    def dispatcher(self, outcomes: list[Outcome]) -> Dispatcher:
        """A new one, with nothing open and nothing in its cache."""
        dns.RESOLVER.reset()
        (self.folder / DATABASE).unlink(missing_ok=True)
        settings = dict(self.way.settings)
        if settings.get("cache", {}).get("store"):
            settings["cache"] = settings["cache"] | {"store": str(self.folder / DATABASE)}
        dispatcher = Dispatcher(Config(**CALM | settings), observers=[outcomes.append])
        secure = {"ca_bundle": self.ca_file} if self.way.tls else {}
        for name, simulator in self.vendors.items():
            url = getattr(simulator, f"{name}_url").replace("127.0.0.1", HOST)
            dispatcher.register_vendor(vendor_at(simulator, name, base_url=url, default_model=MODELS[name], **secure, **LIMITS))
        return dispatcher


def back(base: tuple[int, int]) -> tuple[int, int]:
    """Threads and descriptors beyond ``base`` that are left in the end; nothing here may need the garbage collector."""
    end = time.monotonic() + PATIENCE
    while True:
        left = (max(0, threading.active_count() - base[0]), max(0, descriptors() - base[1]))
        if left == (0, 0) or time.monotonic() > end:
            return left
        threading.Event().wait(0.001)


def broken(stage: Stage, log: str, *, left: bool) -> list[str]:
    """The invariants that can be seen before the dispatcher is closed."""
    wrong = [f"I7: {held}" for held in residue(stage.dispatcher)]
    for call in stage.seen:
        if call.seconds > TIMEOUT + SLACK or call.name == "DeadlineExceeded":
            wrong.append(f"I1: {call.seconds:.2f} s, {call.error}")
        if not isinstance(call.error, DispatchError | None):
            wrong.append(f"I2: {call.error!r} is none of ours")
        wrong += [f"I5: {leak}" for leak in leaks(call.error, log + repr(stage.outcomes))]
    ends = [sorted(call.error is None for call in stage.seen), sorted(outcome.error is None for outcome in stage.outcomes)]
    if len(ends[0]) != len(ends[1]) or (ends[0] != ends[1] and not left):
        wrong.append(f"I2: {stage.seen}, but {stage.outcomes}")
    return wrong


@attrs.define
class Loop:
    """One way, on which one operation after the other is failed; ``met`` is what became of the calls."""

    setting: Setting
    base: tuple[int, int]
    log: pytest.LogCaptureFixture
    met: Counter[str] = attrs.field(factory=Counter)
    injections: int = 0
    outcomes: list[Outcome] = attrs.field(factory=list)
    wrong: list[str] = attrs.field(factory=list)

    def over(self, operation: str, name: str, error: Error, *, forever: bool) -> int:
        """Fail the first, the second, … until there is none to fail; gives how many there were."""
        for turn in range(1, MOST):
            where = f"{operation}, {name}, {turn}{' and on' if forever else ''}"
            self.setting.saboteur.plan(operation, error, turn, forever=forever)
            wrong = [f"{where}: {what}" for what in self.trial()]
            self.wrong += wrong
            if not self.setting.saboteur.struck or wrong:
                return turn - 1
            self.injections += 1
        self.wrong.append(f"{operation}, {name}: the injection never ran out")
        return MOST

    def trial(self) -> list[str]:
        """One dispatcher, sabotaged, then left in peace; what broke."""
        self.log.clear()
        self.outcomes = outcomes = []
        left = self.setting.way.play is Stage.leave
        with self.setting.dispatcher(outcomes) as dispatcher:
            stage = Stage(dispatcher, outcomes, self.setting.way.streamed)
            self.setting.way.play(stage)
            wrong = broken(stage, self.log.text, left=left)
            self.setting.saboteur.rest()
            self.met.update(call.name for call in stage.seen)
            stage.ask()
            if stage.seen[-1].error is not None or stage.seen[-1].text != ANSWER:
                wrong.append(f"the next call fails: {stage.seen[-1].error!r}")
        gone = back(self.base)
        return [*wrong, *([f"I3: {gone[0]} threads and {gone[1]} descriptors left"] if gone != (0, 0) else [])]


@pytest.fixture(scope="module")
def table() -> Iterator[dict[tuple[str, str], tuple[int, Counter[str]]]]:
    """What happened, printed in the end."""
    rows: dict[tuple[str, str], tuple[int, Counter[str]]] = {}
    yield rows
    print("\nway               operation        injections   what the callers saw")
    for (way, operation), (injections, met) in rows.items():
        told = ", ".join(f"{name} × {count}" for name, count in sorted(met.items()))
        print(f"{way:17} {operation:15} {injections:11}   {told}")
    print(f"{sum(injections for injections, _ in rows.values())} injections")


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Way], tuple[dict[str, VendorSimulator], str]]]:
    """The simulators of a way, started once, and the file of their certificates' authority."""
    authority, made = trustme.CA(), {}
    ca_file = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    with ExitStack() as stack:

        def of(way: Way) -> tuple[dict[str, VendorSimulator], str]:
            if id(way) not in made:
                tls = context if way.tls else None
                first = VendorSimulator(responses=ANSWER, tls=tls, **way.first)
                if way.fault is not None:
                    first.always(way.fault)
                found = {FIRST: first} | ({SECOND: VendorSimulator(responses=ANSWER, tls=tls)} if way.helped else {})
                for simulator in found.values():
                    stack.enter_context(simulator)
                made[id(way)] = found
            return made[id(way)], str(ca_file)

        yield of


@pytest.mark.parametrize("name", WAYS)
def test_whichever_operation_fails(name, vendors, table, tmp_path, monkeypatch, caplog):
    """The call ends as promised, nothing is left behind, and the next call goes well."""
    caplog.set_level(logging.DEBUG)
    way, unmet = WAYS[name], []
    simulators, ca_file = vendors(way)
    with monkeypatch.context() as patch:
        saboteur = planted(patch)
        loop = Loop(Setting(way, simulators, saboteur, tmp_path, ca_file), (threading.active_count(), descriptors()), caplog)
        loop.trial()  # what is loaded at the first use is no residue
        loop = attrs.evolve(loop, base=(threading.active_count(), descriptors()))
        assert any(loop.trial() == [] and way.shown(loop.outcomes) for _ in range(10)), f"goes another way: {loop.trial()}"
        for operation in way.needs:
            loop.met, loop.injections = Counter(), 0
            first, *_ = errors = OPERATIONS[operation]
            for error, forever in [*((error, False) for error in errors), (first, True)]:
                if not loop.over(operation, error, errors[error], forever=forever):
                    unmet.append(f"{operation}, {error}{', and on' if forever else ''}")
            table[name, operation] = (loop.injections, loop.met)
            if operation in FILES and set(loop.met) != {"ok"}:
                loop.wrong.append(f"{operation}: a store that fails fails no call, but {loop.met}")
    assert not loop.wrong, "\n".join(loop.wrong)
    assert [] == unmet, "never met"
