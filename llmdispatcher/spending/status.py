"""How budgets stand, as values."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import attrs

from ..policy.optimize import shown


@attrs.frozen(kw_only=True)
class BudgetStatus:
    """One account of a budget; money is US dollars, moments are aware, UTC.

    ``share`` is whose it is (a user, a vendor, ...), empty for all together and for those who do not say. ``left`` is what the next
    call may reserve, 0 where a vendor billed more than could be foreseen. ``ends`` is ``None`` for a budget without end.
    """

    budget: str
    share: str
    limit: Decimal
    spent: Decimal
    reserved: Decimal
    begins: datetime
    ends: datetime | None

    @property
    def left(self) -> Decimal:
        """What is neither spent nor reserved."""
        return max(Decimal(0), self.limit - self.spent - self.reserved)

    def __str__(self) -> str:
        whose = f" of {self.share}" if self.share else ""
        until = f", until {self.ends:%Y-%m-%d %H:%M} UTC" if self.ends is not None else ""
        held = f", {shown(self.reserved)} reserved" if self.reserved else ""
        return f"{self.budget}{whose}: {shown(self.spent)} of {shown(self.limit)} spent{held}{until}"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it; US dollars and moments are texts."""
        money = {name: f"{getattr(self, name):f}" for name in ("limit", "spent", "reserved", "left")}
        ends = self.ends.isoformat() if self.ends is not None else None
        return {"budget": self.budget, "share": self.share, **money, "begins": self.begins.isoformat(), "ends": ends}


@attrs.frozen(kw_only=True)
class BudgetForecast:
    """What asking one target would reserve now, in US dollars (``None`` if unknown), and why it would not be asked."""

    target: str
    reserves: Decimal | None
    refusal: str = ""

    def __str__(self) -> str:
        if self.refusal:
            return f"{self.target}: {self.refusal}"
        return f"{self.target}: at most {shown(self.reserves)}" if self.reserves is not None else f"{self.target}: price unknown"

    def as_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it; US dollars are texts."""
        reserves = f"{self.reserves:f}" if self.reserves is not None else None
        return {"target": self.target, "reserves": reserves, "refusal": self.refusal}
