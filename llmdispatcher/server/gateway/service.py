"""``/proxy``: what the LLM proxy service tells of itself: its figures, its health, its providers.

A key with the scope ``operator`` is shown the figures of this process since its start; any other key is shown its own, of all
processes and the days that records are kept for.
"""

from __future__ import annotations

from typing import Any

import attrs

from ...dispatcher import Dispatcher
from ..records import RecordSpan
from .answers import WholeAnswer, json_answer
from .formats import GatewayError
from .http import Task
from .state import GatewayState
from .usage import PATIENCE, dollars
from .watch import VendorWatch, is_good


class ProxyService:
    """Answers the paths below ``/proxy``, for one dispatcher; it hears of its calls from now on."""

    def __init__(self, dispatcher: Dispatcher, state: GatewayState) -> None:
        self._dispatcher, self._state, self._records = dispatcher, state, state.records
        self.watch = VendorWatch(state.clock)
        dispatcher.add_observer(self.watch)

    def stats(self, task: Task) -> WholeAnswer:
        """The counts of requests, their cost in US dollars, and how the providers are."""
        figures = self._process() if _is_operator(task) else self._own(task)
        total = figures["total_requests"]
        return json_answer(
            {
                **figures,
                "cache_hit_ratio": figures["cache_hits"] / total if total else 0.0,
                "uptime_seconds": self._state.clock.monotonic() - self._state.began,
                "providers": self.watch.states(self._dispatcher),
            }
        )

    def _process(self) -> dict[str, Any]:
        stats = self._dispatcher.get_stats()
        return {
            "total_requests": stats.total_requests,
            "successful_requests": stats.successful_requests,
            "failed_requests": stats.failed_requests,
            "cache_hits": stats.cache_hits,
            "total_cost": float(stats.total_cost),
            "total_cost_text": f"{stats.total_cost:f}",
            "active_requests": stats.running_requests,
            "records": attrs.asdict(self._records.stats()),
        }

    def _own(self, task: Task) -> dict[str, Any]:
        """The figures of the key that asks."""
        sums = self._sums(task)
        cost = dollars(sums["cost_pico"])
        return {
            "total_requests": int(sums["requests"]),
            "successful_requests": int(sums["requests"] - sums["failed"]),
            "failed_requests": int(sums["failed"]),
            "cache_hits": int(sums["cached"]),
            "total_cost": float(cost),
            "total_cost_text": f"{cost:f}",
            "active_requests": self._state.in_flight.of(task.maker.id) - 1,  # without this one
        }

    def _sums(self, task: Task, vendor: str | None = None) -> dict[str, Any]:
        self._records.flush(PATIENCE)
        return self._records.figures(RecordSpan(organization=task.maker.organization, key_id=task.maker.id, vendor=vendor))[0]

    def health(self, _task: Task) -> WholeAnswer:
        """Whether the providers can be asked, by what their last attempts and health checks told; asks nobody.

        Of the service "healthy", "degraded" (one of them fails), "unhealthy" (all of them), or "stopped"; 503 for the last two.
        """
        states = self.watch.states(self._dispatcher)
        good = [is_good(state) for state in states.values()]
        status = "healthy" if good and all(good) else "degraded" if any(good) else "unhealthy"
        if self._state.drains.is_set():
            status = "stopped"
        return json_answer({"status": status, "providers": states}, 503 if status in ("unhealthy", "stopped") else 200)

    def providers(self, _task: Task) -> WholeAnswer:
        """The names of the providers."""
        return json_answer(self._dispatcher.get_vendors())

    def provider(self, task: Task) -> WholeAnswer:
        """One provider, and whether it can be asked."""
        name = self._named(task)
        state = self.watch.state(self._dispatcher, name)
        return json_answer({"name": name, "available": is_good(state), "status": state})

    def metrics(self, task: Task) -> WholeAnswer:
        """The attempts at one provider: how many, their mean latency (s), the share of errors, their cost, and those under way."""
        name = self._named(task)
        if not _is_operator(task):
            return json_answer(self._own_metrics(task, name))
        stats = self._dispatcher.get_stats().vendor_stats.get(name)
        count = stats.requests if stats is not None else 0
        failed = self.watch.last_error_at(name)
        return json_answer(
            {
                "request_count": count,
                "avg_latency": stats.average_latency if stats is not None else 0.0,
                "error_rate": stats.failures / count if stats is not None and count else 0.0,
                "total_cost": float(stats.total_cost) if stats is not None else 0.0,
                "active_requests": self.watch.active(name),
                "last_error_at": failed.isoformat() if failed is not None else None,
            }
        )

    def _own_metrics(self, task: Task, name: str) -> dict[str, Any]:
        """What the key that asks has had of a provider, and nothing of what others have."""
        sums = self._sums(task, name)
        count = int(sums["requests"])
        return {
            "request_count": count,
            "avg_latency": float(sums["took_us"]) / 1_000_000 / count if count else 0.0,
            "error_rate": float(sums["failed"]) / count if count else 0.0,
            "total_cost": float(dollars(sums["cost_pico"])),
            "active_requests": None,
            "last_error_at": None,
        }

    def rate_limit(self, task: Task) -> WholeAnswer:
        """What is left of a provider's own limits in this minute; ``None`` where it has none."""
        status = self._dispatcher.get_rate_limit_status(self._named(task))
        return json_answer(
            {
                "remaining": status.requests_remaining,
                "limit": status.requests_limit,
                "reset_seconds": status.reset,
                "tokens_remaining": status.tokens_remaining,
                "tokens_limit": status.tokens_limit,
            }
        )

    def clear_cache(self, _task: Task) -> WholeAnswer:
        """Forget all answers that are kept; those in the memory of other processes stay."""
        cache = self._dispatcher.cache
        if cache is not None and not cache.clear():
            raise GatewayError("the cache's store cannot be asked; try again", status=503, code="store_unavailable")
        return json_answer({"cleared": True})

    def _named(self, task: Task) -> str:
        name = task.match["name"]
        if name not in self._dispatcher.get_vendors():
            raise GatewayError("there is no such provider; GET /proxy/providers lists them", status=404, code="not_found")
        return str(name)


def _is_operator(task: Task) -> bool:
    return task.key is not None and "operator" in task.key.scopes
