"""What differs between two versions of a vendor's models: for people, and as a dict for machines."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any

import attrs

from .edition import Edition
from .rows import DOLLARS, TOKENS, RegistryModel

_PRICES = tuple(DOLLARS)
_LIMITS = tuple(TOKENS)
Value = Decimal | int | date | str | None


@attrs.frozen(kw_only=True)
class Change:
    """One field of one model that differs; ``kind`` is "price", "limit", "capability" or "date"."""

    model: str
    field: str
    kind: str
    before: Value
    after: Value

    def as_dict(self) -> dict[str, Any]:
        """Amounts and dates as texts."""
        told = {"model": self.model, "field": self.field, "kind": self.kind}
        return told | {"before": _plain(self.before), "after": _plain(self.after)}

    def __str__(self) -> str:
        return f"{self.model} {self.field}: {_told(self.before)} → {_told(self.after)}"


@attrs.frozen(kw_only=True)
class Changes:
    """What came between two versions of a vendor's models; ``updated_at`` of the later one is among its facts, as ISO text.

    ``deactivated`` are models that were offered and are not any more, ``removed`` those that are not even listed.
    """

    vendor: str
    before: int
    after: int
    updated_at: str | None = None
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    deactivated: tuple[str, ...] = ()
    reactivated: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.deactivated or self.reactivated or self.changed)

    def as_dict(self) -> dict[str, Any]:
        """Lists and texts."""
        told: dict[str, Any] = {"vendor": self.vendor, "before": self.before, "after": self.after, "updated_at": self.updated_at}
        told |= {name: list(getattr(self, name)) for name in _MOVES}
        return told | {"changed": [change.as_dict() for change in self.changed]}

    def __str__(self) -> str:
        lines = [f"{self.vendor} {self.before} → {self.after}{': nothing differs' if not self else ''}"]
        lines += [f"  {name}: {', '.join(models)}" for name in _MOVES if (models := getattr(self, name))]
        return "\n".join([*lines, *[f"  {change}" for change in self.changed]])


_MOVES = ("added", "removed", "deactivated", "reactivated")


@attrs.frozen(kw_only=True)
class Drift:
    """How far pinned versions are from what is published now; ``unknown`` says of which vendors that cannot be told, and why."""

    vendors: Mapping[str, Changes]
    unknown: Mapping[str, str]

    def __bool__(self) -> bool:
        return any(changes.before != changes.after or changes for changes in self.vendors.values())

    def as_dict(self) -> dict[str, Any]:
        """Dicts, lists and texts."""
        return {"vendors": {name: changes.as_dict() for name, changes in self.vendors.items()}, "unknown": dict(self.unknown)}

    def __str__(self) -> str:
        lines = [str(changes) for changes in self.vendors.values()] + [f"{name}: {why}" for name, why in self.unknown.items()]
        return "\n".join(lines) or "nothing is pinned"


def changes(before: Edition | None, after: Edition) -> Changes:
    """What differs; before the first edition there was nothing."""
    old, new = (before.models if before is not None else {}), after.models
    both = sorted(old.keys() & new.keys())
    return Changes(
        vendor=after.vendor,
        before=before.version if before is not None else 0,
        after=after.version,
        updated_at=after.updated_at.isoformat() if after.updated_at is not None else None,
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        deactivated=tuple([name for name in both if old[name].active and not new[name].active]),
        reactivated=tuple([name for name in both if new[name].active and not old[name].active]),
        changed=tuple([change for name in both for change in _changed(old[name], new[name])]),
    )


def _changed(old: RegistryModel, new: RegistryModel) -> list[Change]:
    kinds = [*[(name, "price") for name in _PRICES], *[(name, "limit") for name in _LIMITS], ("deprecated", "date")]
    found = [(name, kind, getattr(old, name), getattr(new, name)) for name, kind in kinds]
    found += [(name, "capability", _able(old, name), _able(new, name)) for name in sorted(_known(old) & _known(new))]
    return [Change(model=old.name, field=name, kind=kind, before=a, after=b) for name, kind, a, b in found if a != b]


def _known(model: RegistryModel) -> frozenset[str]:
    return model.supports | model.lacks


def _able(model: RegistryModel, name: str) -> str:
    return "yes" if name in model.supports else "no"


def _plain(value: Value) -> str | int | None:
    return value if value is None or isinstance(value, int | str) else _told(value)


def _told(value: Value) -> str:
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return "none" if value is None else value.isoformat() if isinstance(value, date) else str(value)
