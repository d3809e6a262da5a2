"""One configuration of the gateway: a dispatcher, and the parts that answer requests over it.

A request has one generation from its first line to the end of its answer, whatever is reloaded meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs

from ...dispatcher import Dispatcher
from ..keys import ApiKey
from .answers import WholeAnswer, json_answer
from .caching import warn_of_cache
from .conversations import Conversations, takes_client_credentials
from .http import GatewaySettings, Task
from .models import ModelNames
from .passthrough import Passthrough
from .routes import PathRoute, describe
from .service import ProxyService
from .state import GatewayState
from .usage import UsageQueries


@attrs.frozen(eq=False, kw_only=True)
class Generation:
    """What answers the requests that began with one configuration."""

    dispatcher: Dispatcher
    settings: GatewaySettings
    state: GatewayState
    routes: tuple[PathRoute, ...]
    takes_client_credentials: bool
    names: ModelNames
    conversations: Conversations
    passthrough: Passthrough
    service: ProxyService
    usage: UsageQueries

    @classmethod
    def of(
        cls, dispatcher: Dispatcher, settings: GatewaySettings, state: GatewayState, routes: tuple[PathRoute, ...]
    ) -> Generation:
        """Make the parts. Raises :class:`ConfigError` for what the gateway cannot have; the dispatcher is as it was then."""
        takes_own = takes_client_credentials(dispatcher)
        dispatcher.add_observer(state.log)
        warn_of_cache(dispatcher)
        names = ModelNames(dispatcher)
        return cls(
            dispatcher=dispatcher,
            settings=settings,
            state=state,
            routes=routes,
            takes_client_credentials=takes_own,
            names=names,
            conversations=Conversations(names, settings, state, own_credentials=takes_own),
            passthrough=Passthrough(names, settings, state),
            service=ProxyService(dispatcher, state),
            usage=UsageQueries(dispatcher, state.records, state.keys),
        )

    def keeper(self, key: ApiKey | None) -> Callable[[set[str]], None] | None:
        """What notes the ids of what a vendor keeps for a key's organization; ``None`` where nothing may be kept."""
        return partial(self.state.kept.add, key.organization) if self.settings.stateful and key is not None else None

    def probe(self, _task: Task) -> WholeAnswer:
        """Say that something answers here, as agents ask before they begin."""
        return WholeAnswer(200, b'{"status": "ok"}', {"Content-Type": "application/json"})

    def describe(self, _task: Task) -> WholeAnswer:
        """Describe the paths that are served, as OpenAPI does."""
        return json_answer(describe(self.routes))

    def alive(self, _task: Task) -> WholeAnswer:
        """Say that the process runs."""
        return WholeAnswer(200, b"ok\n", {"Content-Type": "text/plain"})

    def ready(self, _task: Task) -> WholeAnswer:
        """Say whether requests are taken: 503 while the process is stopping, or no vendor has what it needs to be asked."""
        draining = self.state.drains.is_set()
        if draining or not self.has_vendor():
            return WholeAnswer(503, b"draining\n" if draining else b"no vendor can be asked\n", {"Content-Type": "text/plain"})
        return WholeAnswer(200, b"ready\n", {"Content-Type": "text/plain"})

    def has_vendor(self) -> bool:
        """Whether a vendor has what it needs to be asked; looks at nothing outside of this process."""
        vendors = map(self.dispatcher.get_vendor, self.dispatcher.get_vendors())
        return any(vendor is not None and vendor.is_available() for vendor in vendors)
