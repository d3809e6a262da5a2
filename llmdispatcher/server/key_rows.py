"""Rows of the keys' database to and from values."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..accounting import Budget
from .policies import BudgetOverride, KeyOwner, ModelBudget, as_json, budget_of, budget_text


def columns_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a key or an owner as their table has them."""
    return {name: value if isinstance(value, datetime) else _column(value) for name, value in fields.items()}


def _column(value: Any) -> Any:
    return budget_text(value) if isinstance(value, Budget) else as_json(value)


def owner_of(row: Mapping[Any, Any]) -> KeyOwner:
    """The owner that a row tells."""
    fields = policy_fields(row)
    del fields["removed_at"]
    member_budget = None if row["member_budget"] is None else budget_of(row["member_budget"])
    return KeyOwner(**{**fields, "team": row["team"] or None, "member_budget": member_budget, "suspended": bool(row["suspended"])})


def policy_fields(row: Mapping[Any, Any]) -> dict[str, Any]:
    """The fields of a row, read as :class:`~llmdispatcher.server.policies.KeyPolicy` has them."""
    return {
        **{str(name): _aware(value) for name, value in row.items()},
        "models": None if row["models"] is None else tuple(row["models"]),
        "vendors": None if row["vendors"] is None else tuple(row["vendors"]),
        "tags": tuple(row["tags"] or ()),
        "budget": None if row["budget"] is None else budget_of(row["budget"]),
        "model_budgets": tuple([ModelBudget.of("model_budgets", one) for one in row["model_budgets"] or ()]),
        "override": None if row["override"] is None else BudgetOverride.of("override", row["override"]),
        "strict": bool(row["strict"]),
    }


def _aware(value: Any) -> Any:
    if isinstance(value, datetime) and value.tzinfo is None:  # SQLite keeps no zone; ours are all UTC
        return value.replace(tzinfo=UTC)
    return value
