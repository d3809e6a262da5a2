"""Prometheus: counters and histograms of calls and attempts, for an exporter that the program has already.

```python
dispatcher = Dispatcher.from_env(observers=[Prometheus()])
```

It needs prometheus-client. With several processes its multiprocess mode holds, since only counters and histograms are used.
"""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from llmdispatcher import AttemptRecord, LimitWarning, Observer, Outcome

SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300, 600)
"""The bounds of the histograms."""
MOST_TARGETS = 500
"""Pairs of vendor and model that have labels of their own; all further ones are ``other``."""
_LONGEST_NAME = 200


class Prometheus(Observer):
    """An observer that counts; give it to ``Dispatcher(observers=[...])``. One serves several dispatchers.

    ``vendor`` and ``model`` are those that were asked, ``result`` is "ok" or the class of the error. The number of labels is
    bounded (:data:`MOST_TARGETS`).
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, prefix: str = "llmdispatcher") -> None:
        by_target = ("vendor", "model")
        self._targets: set[tuple[str, str]] = set()
        self._calls = Counter(f"{prefix}_calls", "Calls by how they ended.", (*by_target, "result", "cached"), registry=registry)
        self._attempts = Counter(f"{prefix}_attempts", "Vendors asked, by how it went.", (*by_target, "result"), registry=registry)
        self._retries = Counter(f"{prefix}_retries", "Attempts that were retries.", by_target, registry=registry)
        self._failovers = Counter(f"{prefix}_failovers", "Attempts in place of another target.", by_target, registry=registry)
        self._tokens = Counter(f"{prefix}_tokens", "Tokens of answers.", (*by_target, "kind"), registry=registry)
        self._cost = Counter(f"{prefix}_cost_dollars", "US dollars of all attempts.", by_target, registry=registry)
        self._warnings = Counter(
            f"{prefix}_limit_warnings", "Warnings of limits.", ("source", "name", "unit", "period"), registry=registry
        )
        self._seconds = Histogram(f"{prefix}_call_seconds", "Seconds of a call.", ("vendor",), buckets=SECONDS, registry=registry)
        self._attempt_seconds = Histogram(
            f"{prefix}_attempt_seconds", "Seconds of an attempt.", by_target, buckets=SECONDS, registry=registry
        )
        self._first_token = Histogram(
            f"{prefix}_first_token_seconds", "Seconds to a stream's first output.", by_target, buckets=SECONDS, registry=registry
        )

    def on_attempt(self, record: AttemptRecord) -> None:
        """Count one vendor asked."""
        target = self._label(record.vendor, record.model)
        self._attempts.labels(*target, record.error or "ok").inc()
        self._attempt_seconds.labels(*target).observe(record.latency)
        if record.first_token is not None:
            self._first_token.labels(*target).observe(record.first_token)
        if record.retry:
            self._retries.labels(*target).inc()
        if record.failover:
            self._failovers.labels(*target).inc()
        if record.cost:
            self._cost.labels(*target).inc(float(record.cost))

    def on_outcome(self, outcome: Outcome) -> None:
        """Count one call, with its tokens unless it was answered from the cache."""
        answered = next((record for record in reversed(outcome.attempts) if record.error is None), None)
        target = self._label(answered.vendor, answered.model) if answered is not None else (outcome.vendor or "", "")
        result = type(outcome.error).__name__ if outcome.error is not None else "ok"
        self._calls.labels(*target, result, str(outcome.cached).lower()).inc()
        self._seconds.labels(target[0]).observe(outcome.latency)
        usage = outcome.usage
        if usage is not None and not outcome.cached:
            kinds = {
                "input": usage.input_tokens,
                "output": usage.output_tokens,
                "cache_read": usage.cache_read_tokens,
                "cache_write": usage.cache_write_tokens,
                "reasoning": usage.reasoning_tokens,
            }
            for kind, count in kinds.items():
                if count:
                    self._tokens.labels(*target, kind).inc(count)

    def on_warning(self, warning: LimitWarning) -> None:
        """Count a budget or rate limit of which most is used; whose account it is has no label."""
        name, _ = self._label(warning.name, "")
        self._warnings.labels(warning.source, name, warning.unit, warning.period).inc()

    def _label(self, vendor: str, model: str) -> tuple[str, str]:
        target = _plain(vendor), _plain(model)
        if target not in self._targets:
            if len(self._targets) >= MOST_TARGETS:
                return "other", "other"
            self._targets.add(target)
        return target


def _plain(name: str) -> str:
    """A name as a scrape can write it: half of a surrogate pair in one label would end every scrape with an error."""
    return name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
