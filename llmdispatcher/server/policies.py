"""What keys and their owners may do: models, vendors, limits, budgets. The tightest of a key and its owners holds.

An owner is an organization, a team of one, or a member of a team. A key belongs to a member, to a team (a service key), or to the
organization alone. Settings are read here alone, from Python, the command line and ``/api/v1/keys``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

import attrs

from ..accounting import Budget
from ..errors import ConfigError

LEVELS = ("organization", "team", "member")
"""The owners of keys, the largest first."""
LIMITS = ("requests_per_minute", "tokens_per_minute", "in_flight")
MOST_LIMIT = 10**12
MOST_TAGS = 20
MOST_MODEL_BUDGETS = 20
MOST_LIVE_KEYS = 100
"""Keys that one owner may have at a time, where its ``most_keys`` says nothing else."""
PERIODS = ("day", "month", "total")
"""A day or a month of UTC, or all time."""
_AMOUNT = r"\$?(?P<limit>[0-9]{1,9}(?:\.[0-9]{1,12})?)(?:\s*/\s*(?P<period>[a-z]+))?"
_TEXT = re.compile(_AMOUNT)
_MODEL_TEXT = re.compile(r"(?P<models>[^=\s]+)\s*=\s*(?P<budget>[^\s]+)(?:\s+then\s+(?P<then>\S+))?")


def budget_of(text: str, field: str = "budget") -> Budget:
    """Read "5/day", "100/month" or "20", which is in all, in US dollars. Raises :class:`ConfigError` for anything else."""
    found = _TEXT.fullmatch(text.strip()) if isinstance(text, str) else None
    period = (found["period"] or "total") if found is not None else None
    if found is None or period not in PERIODS:
        raise ConfigError(f"{field}: {str(text)[:40]!r} is no budget; give US dollars as in 5/day, 100/month, or 20 in all")
    return Budget(limit=found["limit"], period=period, per="id_at_origin", name=f"key/{period}", strict=True)


def budget_text(budget: Budget) -> str:
    """The text that :func:`budget_of` reads."""
    return f"{budget.limit:f}" if budget.period == "total" else f"{budget.limit:f}/{budget.period}"


@attrs.frozen(kw_only=True)
class ModelBudget:
    """A budget of the models that a glob matches. ``then`` is the model that is asked when it is used up; ``None`` refuses."""

    models: str
    budget: Budget
    then: str | None = None

    @classmethod
    def of(cls, field: str, value: Any) -> ModelBudget:
        """Read a mapping of the fields, or a text: "claude-opus-*=20/day", "claude-opus-*=20/day then claude-haiku-4-5"."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            found = _MODEL_TEXT.fullmatch(value.strip())
            if found is None:
                raise ConfigError(f"{field}: {value[:80]!r} cannot be read; give GLOB=USD/day, or GLOB=USD/day then MODEL")
            value = found.groupdict()
        if not isinstance(value, Mapping) or not {"models", "budget"} <= set(value) <= {"models", "budget", "then"}:
            raise ConfigError(f'{field}: give {{"models": "claude-opus-*", "budget": "20/day"}}, and "then": MODEL if you like')
        models, then = _check_name(f"{field}.models", value["models"]), value.get("then")
        if then is not None and matches_any(_check_name(f"{field}.then", then), [models]):
            raise ConfigError(f"{field}.then: {then[:80]!r} is one of the models {models[:80]!r}; give one outside")
        budget = value["budget"]
        read = budget if isinstance(budget, Budget) else budget_of(budget, f"{field}.budget")
        return cls(models=models, budget=read, then=then)

    def as_json(self) -> dict[str, Any]:
        """The mapping that :meth:`of` reads."""
        return {"models": self.models, "budget": budget_text(self.budget), "then": self.then}


@attrs.frozen(kw_only=True)
class BudgetOverride:
    """Another limit of the budget, in US dollars, until a moment."""

    limit: Decimal
    until: datetime

    @classmethod
    def of(cls, field: str, value: Any) -> BudgetOverride:
        """Read a mapping of ``limit`` and ``until``, which is a datetime, or a text of ISO 8601."""
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping) or set(value) != {"limit", "until"}:
            raise ConfigError(f'{field}: give {{"limit": "50", "until": "2027-01-31T00:00:00Z"}}')
        limit = budget_of(str(value["limit"]), f"{field}.limit")
        if limit.period != "total":
            raise ConfigError(f"{field}.limit: {str(value['limit'])[:40]!r} has a period; give US dollars alone, such as 50")
        until = read_moment(f"{field}.until", value["until"])
        if until is None:
            raise ConfigError(f"{field}.until: it is missing; give a time of ISO 8601")
        return cls(limit=limit.limit, until=until)

    def as_json(self) -> dict[str, Any]:
        """The mapping that :meth:`of` reads."""
        return {"limit": f"{self.limit:f}", "until": self.until.isoformat()}


@attrs.frozen(kw_only=True)
class KeyPolicy:
    """What a key, or all keys of an owner together, may do.

    ``models`` are globs of the names that may be asked for, ``vendors`` the names of registered vendors that may answer; ``None``
    is all, an empty list none. ``tokens_per_minute`` counts input without cache reads, and output; ``in_flight`` is how many calls
    there may be at a time. ``None`` is no limit. With ``strict`` the most that a call can cost is reserved, not an estimate.
    ``override`` replaces the limit of ``budget`` until its date.
    """

    models: tuple[str, ...] | None = None
    vendors: tuple[str, ...] | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    in_flight: int | None = None
    budget: Budget | None = None
    model_budgets: tuple[ModelBudget, ...] = ()
    override: BudgetOverride | None = None
    strict: bool = False
    tags: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether anything is counted in the minute, or at a time."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None or self.in_flight is not None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can hold them."""
        return {name: as_json(value) for name, value in attrs.asdict(self, recurse=False).items()}


@attrs.frozen(kw_only=True)
class KeyOwner(KeyPolicy):
    """An organization, a team or a member: ``level`` says which.

    ``organization`` is the name of the organization (its own for one), ``team`` the id of a member's team. ``member_budget`` is
    the budget of each member that has none of its own; a team's goes before its organization's. ``most_keys`` is how many live
    keys it may have itself. While it is ``suspended`` its keys, and those of its teams and members, are refused.
    """

    id: str
    level: str
    organization: str
    team: str | None = None
    name: str
    created_at: datetime
    member_budget: Budget | None = None
    most_keys: int | None = None
    suspended: bool = False


def a_level(level: str) -> str:
    """A level with its article, for texts."""
    return f"{'an' if level == 'organization' else 'a'} {level}"


def default_budget(owners: Sequence[KeyOwner]) -> Budget | None:
    """The budget of a member without its own, by its owners, the largest first: a team's goes before its organization's."""
    return next((one.member_budget for one in reversed(owners) if one.member_budget is not None), None)


def as_json(value: Any) -> Any:
    """A setting as JSON can hold it."""
    if isinstance(value, Budget):
        return budget_text(value)
    if isinstance(value, ModelBudget | BudgetOverride):
        return value.as_json()
    if isinstance(value, tuple):
        return [as_json(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def matches_any(model: str, globs: Sequence[str]) -> bool:
    """Whether the name of a model matches one of these globs; case does not count."""
    return any(fnmatchcase(model.lower(), glob.lower()) for glob in globs)


def read_settings(given: Mapping[str, Any], known: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Settings of a key as :class:`KeyPolicy` has them; ``known`` are the fields, :data:`OF_KEYS` or :data:`OF_OWNERS`.

    Raises :class:`ConfigError` that names the field, the value and the remedy.
    """
    readers = OF_KEYS if known is None else known
    unknown = next((name for name in given if name not in readers), None)
    if unknown is not None:
        raise ConfigError(f"{str(unknown)[:80]}: there is no such setting; use {', '.join(readers)}")
    return {name: readers[name](name, value) for name, value in given.items()}


def check_name(field: str, value: Any, most: int = 255) -> str:
    """A name as it is given. Raises :class:`ConfigError` for an empty, too long or unprintable one."""
    return _check_name(field, value, most)


def _check_name(field: str, value: Any, most: int = 255) -> str:
    if not (isinstance(value, str) and value.strip() and len(value) <= most and value.isprintable()):
        told = repr(value[:80]) if isinstance(value, str) else type(value).__name__
        raise ConfigError(f"{field}: {told} is no name; give 1 to {most} printable characters")
    return value


def _check_names(field: str, value: Any) -> tuple[str, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"{field}: {type(value).__name__} is no list of texts; give one, such as ['gpt-*']")
    return tuple([_check_name(f"{field}[{number}]", one) for number, one in enumerate(value)])


def _names_or_all(field: str, value: Any) -> tuple[str, ...] | None:
    return None if value is None else _check_names(field, value)


def _tags(field: str, value: Any) -> tuple[str, ...]:
    tags = _check_names(field, value) if value is not None else ()
    if len(tags) > MOST_TAGS:
        raise ConfigError(f"{field}: {len(tags)} are too many; give at most {MOST_TAGS}")
    return tags


def _limit(field: str, value: Any) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_LIMIT):
        return value
    raise ConfigError(f"{field}: {str(value)[:40]!r} is no limit; give a whole number from 1, or none at all")


def _budget(field: str, value: Any) -> Budget | None:
    return None if value is None else budget_of(budget_text(value) if isinstance(value, Budget) else value, field)


def _model_budgets(field: str, value: Any) -> tuple[ModelBudget, ...]:
    if value is None:
        return ()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Sequence):
        raise ConfigError(f"{field}: {type(value).__name__} is no list; give one of objects with models and budget")
    if len(value) > MOST_MODEL_BUDGETS:
        raise ConfigError(f"{field}: {len(value)} are too many; give at most {MOST_MODEL_BUDGETS}")
    read = tuple([ModelBudget.of(f"{field}[{number}]", one) for number, one in enumerate(value)])
    seen: set[tuple[str, str]] = set()
    for number, one in enumerate(read):
        mark = (one.models.lower(), one.budget.period)
        if mark in seen:
            raise ConfigError(f"{field}[{number}]: {one.models[:80]!r} has a budget of that period already; give one")
        seen.add(mark)
    return read


def _override(field: str, value: Any) -> BudgetOverride | None:
    return None if value is None else BudgetOverride.of(field, value)


def _boolean(field: str, value: Any) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    raise ConfigError(f"{field}: {str(value)[:40]!r} is not true or false")


def read_moment(field: str, value: Any) -> datetime | None:
    """An aware datetime in UTC, of one, or of a text of ISO 8601, which is UTC without a zone. Raises :class:`ConfigError`."""
    if value is None:
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{field}: {value[:40]!r} is no time; give ISO 8601, such as 2027-01-31T00:00:00Z") from None
        value = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ConfigError(f"{field}: the time has no zone; give an aware datetime")
    try:
        return value.astimezone(UTC)  # which is what SQLite's times are taken for
    except OverflowError:
        raise ConfigError(f"{field}: {value.isoformat()} is out of range; give an earlier time") from None


_OF_BOTH: Mapping[str, Any] = {
    "models": _names_or_all,
    "vendors": _names_or_all,
    **dict.fromkeys(LIMITS, _limit),
    "budget": _budget,
    "model_budgets": _model_budgets,
    "override": _override,
    "strict": _boolean,
    "tags": _tags,
}
OF_KEYS: Mapping[str, Any] = {"label": _check_name, "expires_at": read_moment, **_OF_BOTH}
"""The settings of a key, and what reads each."""
OF_OWNERS: Mapping[str, Any] = {**_OF_BOTH, "member_budget": _budget, "most_keys": _limit, "suspended": _boolean}
"""The settings of an owner."""
