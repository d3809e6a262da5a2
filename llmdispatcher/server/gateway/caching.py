"""Whose answers of the cache are whose: apart by organization, and of requests that have one answer alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from ..._text import room_logger
from ...cache import ResponseCache
from ...dispatcher import Config, Dispatcher
from ...types import Request

logger = room_logger("server")

MOST_TEMPERATURE = 0.1
"""A request is answered from the cache where it states a temperature of at most this."""


@attrs.frozen
class OrganizationTenant:
    """The tenant of a request of the gateway: the organization of its key, and a further one where that is configured."""

    further: str | Callable[[Request], Any] | None = None

    def __call__(self, request: Request) -> Any:
        """Return the tenant; ``None``, which is not cached, where it is not known."""
        if self.further is None or not request.origin:
            return request.origin
        further = self.further(request) if callable(self.further) else request.metadata.get(self.further)
        return (request.origin, further) if further not in (None, "") else None


def apart_by_organization(config: Config) -> Config:
    """The configuration whose cache keeps organizations apart, if it has one."""
    cache = config.cache
    if cache is None or isinstance(cache.tenant, OrganizationTenant):
        return config
    return attrs.evolve(config, cache=attrs.evolve(cache, tenant=OrganizationTenant(cache.tenant)))


def may_cache(dispatcher: Dispatcher, request: Request) -> bool:
    """Whether an answer may come from the cache and go into it: never with tools, nor without a stated, low temperature."""
    settings: ResponseCache | None = dispatcher.config.cache
    if settings is None or not isinstance(settings.tenant, OrganizationTenant):
        return False
    return request.temperature is not None and request.temperature <= MOST_TEMPERATURE and not request.tools


def warn_of_cache(dispatcher: Dispatcher) -> None:
    """Log that a dispatcher's cache is not used, since it would show one organization the answers of another."""
    settings = dispatcher.config.cache
    if settings is not None and not isinstance(settings.tenant, OrganizationTenant):
        logger.warning("the cache is not used: it does not keep organizations apart; give create_app() the Config instead")
