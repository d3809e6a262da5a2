"""What a gateway's process keeps while its configurations come and go."""

from __future__ import annotations

import threading

from ...runtime import Clock
from ..kept_ids import KeptIds
from ..keys import KeyStore
from ..records import RequestRecords
from .formats import GatewayError
from .http import GatewaySettings, InFlight, Leavers, Task
from .requests import RequestLog
from .tenant import TenantHashes


class GatewayState:
    """Keys, records, requests in flight, and the clients that may leave; safe under threads."""

    def __init__(self, keys: KeyStore, settings: GatewaySettings, clock: Clock) -> None:
        self.keys, self.clock, self.began = keys, clock, clock.monotonic()
        self.records = RequestRecords(keys.url, clock=clock, days=settings.record_days)
        self.log = RequestLog(self.records, clock)
        self.in_flight = InFlight(settings.threads)
        self.leavers = Leavers()
        self.tenants = TenantHashes(keys)
        self.kept = KeptIds(keys)
        self.drains = threading.Event()
        """Whether no more requests are taken."""

    def check_kept(self, task: Task, ids: set[str]) -> None:
        """Raise unless what a request names of the things that vendors keep is its organization's own; ``keep`` tells of some."""
        if task.keep is not None and not self.kept.are_of(task.maker.organization, ids):
            text = "the request names an answer, file or conversation that is not here; make one, or leave it out"
            raise GatewayError(text, status=404, code="not_found")
