"""LiteLLM's ``Cache``: answers from the memory of the dispatcher."""

from __future__ import annotations

from typing import Any

from .settings import SETTINGS


class Cache:
    """Answers that are asked for again come from memory for ``ttl`` seconds; set ``litellm.cache = Cache()``.

    Other stores are the dispatcher's: ``configure(cache=ResponseCache(store="redis://..."))``.
    """

    def __init__(self, type: str | None = "local", *, ttl: float | None = None, **further: Any) -> None:
        kind = str(getattr(type, "value", type))
        if kind != "local":
            raise ValueError(f"type: {kind!r} is not there; use 'local', or configure(cache=ResponseCache(store='redis://...'))")
        given = [name for name, value in further.items() if value is not None and name not in _WITHOUT_EFFECT]
        if given:
            raise ValueError(f"{given[0]}: a cache in memory has none; it has ttl")
        self.type, self.ttl = kind, ttl if ttl is not None else further.get("default_in_memory_ttl")


_WITHOUT_EFFECT = ("mode", "supported_call_types", "default_in_memory_ttl", "namespace")


def enable_cache(type: str | None = "local", **further: Any) -> None:
    """Have a cache from now on."""
    SETTINGS.cache = Cache(type, **further)


update_cache = enable_cache


def disable_cache() -> None:
    """Have none from now on."""
    SETTINGS.cache = None
