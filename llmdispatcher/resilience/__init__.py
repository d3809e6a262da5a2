"""When a target may be asked: retries, circuit breaker, rate limits, concurrency, admission, hedging."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .admission import Admission as Admission
    from .admission import AdmissionController as AdmissionController
    from .admission import admission_of as admission_of
    from .breaker import FREE as FREE
    from .breaker import Breakers as Breakers
    from .breaker import CircuitBreaker as CircuitBreaker
    from .breaker import Permit as Permit
    from .concurrency import AdaptiveConcurrency as AdaptiveConcurrency
    from .hedge import Hedge as Hedge
    from .hedge import Hedges as Hedges
    from .limits import Limits as Limits
    from .limits import RateLimitSlot as RateLimitSlot
    from .rate_limit import RateLimit as RateLimit
    from .rate_limit import RateLimitStatus as RateLimitStatus
    from .rate_limit import RateWindow as RateWindow
    from .rate_limit import RateWindowStatus as RateWindowStatus
    from .rate_limit import Window as Window
    from .rate_limit import WindowEntry as WindowEntry
    from .rate_limit import server as server
    from .rate_limit import shared_address as shared_address
    from .retry import BackoffStrategy as BackoffStrategy
    from .retry import Budgets as Budgets
    from .retry import Cooldowns as Cooldowns
    from .retry import NextAttempt as NextAttempt
    from .retry import RetryBudget as RetryBudget
    from .retry import RetryPolicy as RetryPolicy
    from .retry import RetrySchedule as RetrySchedule
    from .retry import Wakes as Wakes
    from .share import SHORTEST_TIMEOUT as SHORTEST_TIMEOUT
    from .share import Shares as Shares
    from .share import TimeShare as TimeShare
    from .status import HedgePlan as HedgePlan
    from .status import TargetStatus as TargetStatus
    from .status import hedge_plan as hedge_plan
    from .status import standing as standing
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "admission": ("Admission", "admission_of", "AdmissionController"),
            "breaker": ("Breakers", "CircuitBreaker", "FREE", "Permit"),
            "concurrency": ("AdaptiveConcurrency",),
            "hedge": ("Hedge", "Hedges"),
            "limits": ("Limits", "RateLimitSlot"),
            "rate_limit": (
                "RateLimit",
                "RateLimitStatus",
                "RateWindow",
                "RateWindowStatus",
                "server",
                "shared_address",
                "Window",
                "WindowEntry",
            ),
            "retry": (
                "BackoffStrategy",
                "Budgets",
                "Cooldowns",
                "RetryBudget",
                "RetryPolicy",
                "RetrySchedule",
                "NextAttempt",
                "Wakes",
            ),
            "share": ("SHORTEST_TIMEOUT", "TimeShare", "Shares"),
            "status": ("hedge_plan", "HedgePlan", "standing", "TargetStatus"),
        },
    )
