"""What a dispatcher tells without a call: its vendors, their models, limits and health, and what an alias stands for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .checkups import Checkups
from .clock import Clock, Deadline
from .conductor import Conductor
from .config import Config
from .directory import Directory
from .health import VendorHealth
from .policy.rate_limit import RateLimitStatus
from .policy.route import Route, dead_end
from .policy.target import Target
from .spending.status import BudgetStatus
from .vendors import Vendor

if TYPE_CHECKING:
    from .lockfile import Lockfile


class Lookups:
    """The half of a dispatcher that looks things up; none of it is a call, and none of it costs money."""

    config: Config
    _clock: Clock
    _directory: Directory
    _conductor: Conductor
    _checkups: Checkups

    def get_vendors(self) -> list[str]:
        """The names of the registered vendors, in order of registration."""
        return list(self._directory.vendors)

    def get_vendor(self, name: str) -> Vendor | None:
        """The vendor of that name, or ``None``."""
        return self._directory.vendors.get(name)

    @property
    def lockfile(self) -> Lockfile | None:
        """The lockfile of the configuration, read now if it was not before; ``None`` where there is none."""
        return self._directory.lockfile

    def resolve_alias(self, alias: str, profile: str | None = None) -> str:
        """The first ``"vendor:model"`` that can be asked now under a name, be it an alias, a pool or a model's own.

        Raises :class:`ConfigError` for a broken lockfile, and otherwise what a call for that name would raise before it is sent.
        """
        found = self._directory.candidates(alias, profile)
        if not found.targets:
            raise dead_end(Route(alias, (), found.skipped))
        return str(found.targets[0])

    def has_alias(self, alias: str, profile: str | None = None) -> bool:
        """Whether a name is an alias of the lockfile or a pool of the configuration."""
        return self._directory.has_alias(alias, profile)

    def require_aliases(self, names: str | Iterable[str], *, context: str | None = None, profile: str | None = None) -> None:
        """Raise one :class:`ConfigError` for all aliases that are missing; what a program does first. ``context`` says who asks."""
        self._directory.require_aliases([names] if isinstance(names, str) else list(names), context, profile)

    def list_models(self, vendor: str, *, timeout: float | None = None) -> tuple[str, ...]:
        """The models that a vendor says it has, or, for a vendor of one's own, those of its capabilities. Costs nothing."""
        asked = self._directory.known(vendor)
        listed = getattr(asked, "list_models", None)
        return tuple(listed(self._deadline(timeout))) if listed is not None else asked.capabilities.models

    def health_check(self, *, timeout: float = 5.0) -> dict[str, VendorHealth]:
        """How each vendor is, asked at the same time and without spending money; takes at most ``timeout`` seconds."""
        return self._checkups.ask(timeout)

    def health(self) -> dict[str, VendorHealth]:
        """How each vendor was when it was last asked, by ``health_check`` or ``Config(health_interval=...)``; asks nobody."""
        return self._checkups.known()

    def get_rate_limit_status(self, vendor: str, model: str = "") -> RateLimitStatus:
        """What is left of a vendor's limits in this minute; name the model where each has limits of its own."""
        return self._conductor.limits.status(
            Target(vendor=self._directory.known(vendor).name, model=model), self._clock.monotonic()
        )

    def get_budgets(self) -> tuple[BudgetStatus, ...]:
        """How every account of every budget stands in its present period, in the order of the configuration.

        Budgets that count by call have none. Raises :class:`BudgetExceeded` where the place that they are kept in is away.
        """
        spending = self._conductor.spending
        return spending.statuses() if spending is not None else ()

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline.after(timeout if timeout is not None else self.config.timeout, clock=self._clock)
