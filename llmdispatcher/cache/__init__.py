"""The response cache: keys, entries, stores, and one call to the vendor for identical requests at the same time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .cache import AnswerCache as AnswerCache
    from .cache import CacheRequest as CacheRequest
    from .entry import cache_target as cache_target
    from .settings import CacheStats as CacheStats
    from .settings import ResponseCache as ResponseCache
    from .single_flight import SingleFlight as SingleFlight
    from .stores import inspect_store as inspect_store
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "cache": ("AnswerCache", "CacheRequest"),
            "entry": ("cache_target",),
            "settings": ("CacheStats", "ResponseCache"),
            "single_flight": ("SingleFlight",),
            "stores": ("inspect_store",),
        },
    )
