"""Usage as older programs read it: a dict whose keys are attributes too, and that JSON can hold."""

from __future__ import annotations

from typing import Any, Self

from llmdispatcher import Usage

_COUNTS = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cache_read_tokens")


class UsageRecord(dict[str, Any]):
    """Tokens by OpenAI's names and by the library's, and ``cost`` in US dollars, ``None`` where ``cost_status`` says why."""

    @classmethod
    def of(cls, usage: Usage) -> Self:
        """Return a usage of the library's."""
        cost = float(usage.cost) if usage.cost is not None else None
        return cls({name: getattr(usage, name) for name in _COUNTS}, cost=cost, cost_status=usage.cost_status)

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(f"usage has no {name!r}; it has {', '.join(self)}")
