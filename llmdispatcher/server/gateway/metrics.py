"""The gateway's own metrics, beside those of its calls (:mod:`llmdispatcher.integrations.prometheus`). It needs prometheus-client.

Labels are faces, vendors, models that vendors were asked for, and statuses: no key, user or text of a client, and their number is
bounded. With several processes the counters are sums, and the gauges what the processes that live tell together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ..._text import room_logger
from ...dispatcher import Dispatcher
from ...integrations.prometheus import MOST_TARGETS, SECONDS, Prometheus
from ..records import RequestRecords
from .answers import place_of
from .record import RequestRecord

logger = room_logger("server")

EVERY = 2.0
"""Seconds between two looks at circuits, limits and queues."""
_PREFIX = "llmdispatcher_gateway"
_LONGEST_LABEL = 200


class GatewayMetrics:
    """Counts requests, and keeps gauges fresh by a thread of its own until it is closed.

    ``ready`` tells whether requests are taken, ``in_flight`` how many are worked on.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        dispatcher: Dispatcher,
        records: RequestRecords,
        *,
        ready: Callable[[], bool],
        in_flight: Callable[[], int],
    ) -> None:
        self.dispatcher, self._records, self._ready, self._flying = dispatcher, records, ready, in_flight
        self._targets: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._requests = Counter(
            f"{_PREFIX}_requests", "Requests by how they ended.", ("face", "vendor", "model", "status"), registry=registry
        )
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds", "Seconds of a request.", ("face",), buckets=SECONDS, registry=registry
        )
        self._first_output = Histogram(
            f"{_PREFIX}_first_output_seconds", "Seconds to a stream's first output.", ("face",), buckets=SECONDS, registry=registry
        )

        def gauge(name: str, told: str, labels: tuple[str, ...] = (), *, mode: str = "livesum") -> Gauge:
            wanted: Any = mode
            return Gauge(f"{_PREFIX}_{name}", told, labels, registry=registry, multiprocess_mode=wanted)

        self._is_ready = gauge("ready", "Whether a process takes requests.", mode="livemax")
        self._in_flight = gauge("in_flight", "Requests with a key under way.")
        self._waiting = gauge("waiting", "Calls that wait for admission.")
        self._open = gauge("circuits_open", "Processes in which a target's circuit is not closed.", ("vendor", "model"))
        self._left = gauge("limit_remaining", "What is left of a vendor's limits this minute.", ("vendor", "unit"), mode="livemin")
        self._rows = gauge("records", "Records of requests by what became of them.", ("state",))
        self._calls = Prometheus(registry)
        self.follow(dispatcher)
        self.refresh()
        threading.Thread(target=self._run, name="llmdispatcher-metrics", daemon=True).start()

    def follow(self, dispatcher: Dispatcher) -> None:
        """Tell of this dispatcher from now on."""
        self.dispatcher = dispatcher
        dispatcher.add_observer(self._calls)

    def observe(self, record: RequestRecord) -> None:
        """Count a request that is complete."""
        vendor, model = self._label(record.vendor or "", record.model or "")
        face = record.face or "none"
        self._requests.labels(face, vendor, model, f"{record.status}").inc()
        self._seconds.labels(face).observe(record.took)
        if record.streamed and record.first_output is not None:
            self._first_output.labels(face).observe(record.first_output)

    def refresh(self) -> None:
        """Look at everything that is no count of requests."""
        self._is_ready.set(float(self._ready()))
        self._in_flight.set(self._flying())
        self._waiting.set(self.dispatcher.get_stats().waiting_requests)
        for (vendor, model), state in self.dispatcher.get_circuits().items():
            self._open.labels(*self._label(vendor, model)).set(float(state != "closed"))
        for vendor in self.dispatcher.get_vendors()[:MOST_TARGETS]:
            status = self.dispatcher.get_rate_limit_status(vendor)
            for unit, left in (("requests", status.requests_remaining), ("tokens", status.tokens_remaining)):
                if left is not None:
                    self._left.labels(vendor[:_LONGEST_LABEL], unit).set(left)
        stats = self._records.stats()
        for state in ("queued", "written", "spooled", "dropped"):
            self._rows.labels(state).set(getattr(stats, state))

    def close(self) -> None:
        """Tell that no requests are taken, and end the thread."""
        self._stop.set()
        self._is_ready.set(0.0)

    def _run(self) -> None:
        while not self._stop.wait(EVERY):
            try:
                self.refresh()
            except Exception as error:  # noqa: BLE001 - the next look may be better
                logger.error("the metrics cannot be brought up to date: %s", place_of(error))

    def _label(self, vendor: str, model: str) -> tuple[str, str]:
        target = _plain(vendor), _plain(model)
        if target not in self._targets:
            if len(self._targets) >= MOST_TARGETS:
                return "other", "other"
            self._targets.add(target)
        return target


def _plain(name: str) -> str:
    """A name that a scrape can write: half of a surrogate pair would end every scrape with an error."""
    return name[:_LONGEST_LABEL].encode("utf-8", "replace").decode()
