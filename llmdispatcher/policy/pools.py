"""Pools: names that stand for several models, asked in the order given. A lockfile's aliases are such names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs

from ..errors import ConfigError
from ..request_fields import ANY_MODEL


@attrs.frozen
class Pools(Mapping[str, tuple[str, ...]]):
    """Ordered models by the name of their pool: ``"vendor:model"``, or a model's bare name for every vendor that has it.

    The next one is asked after a transient failure (silence, 429, 5xx, no connection), and after no other.
    """

    members: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def pools(value: Any) -> Pools:
    """Pools from a mapping of names to lists. Raises :class:`ConfigError` with the path of a mistake."""
    if value is None or isinstance(value, Pools):
        return value or Pools()
    if not isinstance(value, Mapping):
        raise ConfigError(f"pools: {type(value).__name__} is not a mapping; give {{'smart': ['openai:gpt-4o', 'claude-sonnet-5']}}")
    return Pools({_name(name): _members(f"pools[{name!r}]", models, value) for name, models in value.items()})


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or name.strip().lower() == ANY_MODEL:
        raise ConfigError(f"pools[{name!r}]: this is no name for a pool; give a text other than {ANY_MODEL!r}")
    return name.strip()


def _members(path: str, models: Any, all_pools: Mapping[Any, Any]) -> tuple[str, ...]:
    if isinstance(models, str) or not isinstance(models, Sequence) or not models:
        raise ConfigError(f"{path}: {models!r} is not a list of models; give ['openai:gpt-4o', ...], the first choice first")
    for place, model in enumerate(models):
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"{path}[{place}]: {model!r} is not a model's name; give 'vendor:model' or a bare name")
        if model.strip() in all_pools:
            raise ConfigError(f"{path}[{place}]: {model!r} is a pool itself; a pool holds models")
    return tuple(model.strip() for model in models)
