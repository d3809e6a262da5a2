"""Which targets are asked, in which order: rules, modes, price and speed, balance. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .balance import Balance as Balance
    from .balance import BalanceContext as BalanceContext
    from .balance import Balancer as Balancer
    from .balance import Strategy as Strategy
    from .eligible import Named as Named
    from .eligible import Reserve as Reserve
    from .eligible import may_be_asked as may_be_asked
    from .modes import MODES as MODES
    from .modes import Modes as Modes
    from .modes import Placing as Placing
    from .modes import Pools as Pools
    from .modes import is_any_model as is_any_model
    from .modes import known_mode as known_mode
    from .modes import own_modes as own_modes
    from .modes import pools as pools
    from .optimize import CostOptimization as CostOptimization
    from .optimize import Latencies as Latencies
    from .optimize import LatencyOptimization as LatencyOptimization
    from .optimize import Ranking as Ranking
    from .optimize import input_tokens as input_tokens
    from .optimize import output_tokens as output_tokens
    from .optimize import shown as shown
    from .optimize import tokens_of as tokens_of
    from .planner import ANY_WINDOW as ANY_WINDOW
    from .planner import plan as plan
    from .route import FAILOVER as FAILOVER
    from .route import FALLBACK as FALLBACK
    from .route import FORBIDDEN as FORBIDDEN
    from .route import MISSING as MISSING
    from .route import NO_MODEL as NO_MODEL
    from .route import OVER_COST as OVER_COST
    from .route import PINNED as PINNED
    from .route import RULE as RULE
    from .route import UNFIT as UNFIT
    from .route import UNPRICED as UNPRICED
    from .route import UNREAD as UNREAD
    from .route import UNREGISTERED as UNREGISTERED
    from .route import WINDOW as WINDOW
    from .route import Preferences as Preferences
    from .route import Route as Route
    from .route import RoutingContext as RoutingContext
    from .route import Selection as Selection
    from .route import SkippedTarget as SkippedTarget
    from .route import Step as Step
    from .route import dead_end as dead_end
    from .route import several as several
    from .route import split_ref as split_ref
    from .rules import RoutingCondition as RoutingCondition
    from .rules import RoutingRule as RoutingRule
    from .rules import RuleTable as RuleTable
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "balance": (
                "Balance",
                "BalanceContext",
                "Balancer",
                "Strategy",
            ),
            "eligible": (
                "may_be_asked",
                "Named",
                "Reserve",
            ),
            "modes": (
                "MODES",
                "is_any_model",
                "known_mode",
                "Modes",
                "own_modes",
                "Placing",
                "Pools",
                "pools",
            ),
            "optimize": (
                "CostOptimization",
                "input_tokens",
                "output_tokens",
                "Latencies",
                "LatencyOptimization",
                "Ranking",
                "shown",
                "tokens_of",
            ),
            "planner": ("ANY_WINDOW", "plan"),
            "route": (
                "FALLBACK",
                "MISSING",
                "OVER_COST",
                "PINNED",
                "RULE",
                "SkippedTarget",
                "FAILOVER",
                "FORBIDDEN",
                "UNFIT",
                "UNPRICED",
                "UNREAD",
                "UNREGISTERED",
                "WINDOW",
                "Selection",
                "dead_end",
                "RoutingContext",
                "NO_MODEL",
                "Preferences",
                "Route",
                "several",
                "split_ref",
                "Step",
            ),
            "rules": (
                "RoutingCondition",
                "RoutingRule",
                "RuleTable",
            ),
        },
    )
