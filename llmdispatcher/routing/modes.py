"""Modes and pools: the kind of model that a request wants, and names that stand for several models in order.

A mode orders the targets that are able to answer, and changes nothing in the request. It is a strategy (a function of a
:class:`~llmdispatcher.BalanceContext`) that looks at what the targets are, while balancing shares calls among equals.
The aliases of a lockfile are pools.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from ..catalog import Target, newer_first, parse_failures
from ..errors import ConfigError, InvalidRequest
from ..types import ANY_MODEL, build, choices, has_both_parts
from .balance import BalanceContext, Strategy
from .optimize import shown, speed_told

SMALL = Decimal(5)
"""US dollars per million output tokens up to which the catalog's model counts as a small one."""
MODERN_WINDOW, MODERN_OUTPUT = 100_000, 16_000
"""Tokens in and out that a model of the present has; one with less is no candidate for the best, whatever it once cost."""
EVERY = 7
"""Of so many calls ``fast`` makes one to a target that was not measured lately, so that it becomes known."""


def fast(now: BalanceContext) -> Sequence[Target]:
    """By observed time; those not measured lately after them, small models first; those that only failed last."""
    times = {target: now.seconds(target) for target in now.targets}
    cold = sorted([target for target in now.targets if times[target] is None], key=_size)
    known = sorted([target for target in now.targets if target not in cold], key=lambda target: times[target] or 0.0)
    measured = [target for target in known if times[target] != math.inf]
    failed = known[len(measured) :]
    if now.turn % EVERY == 1 and cold and measured:
        return [cold[0], *measured, *cold[1:], *failed]
    return [*measured, *cold, *failed]


def _size(target: Target) -> tuple[bool, Decimal]:
    output = target.price.output if target.price is not None else Decimal(math.inf)
    return (output > SMALL, output)


def sophisticated(now: BalanceContext) -> Sequence[Target]:
    """The dearest output first, which is what a vendor takes for its best; then the larger window, then the newer version."""
    places = {vendor: place for place, vendor in enumerate(dict.fromkeys(target.vendor for target in now.targets))}

    def rank(target: Target) -> tuple[Any, ...]:
        if target.price is None:
            return (1,)
        modern = target.context_window >= MODERN_WINDOW and target.max_output >= MODERN_OUTPUT
        return (0 if modern else 2, -target.price.output, -target.context_window, places[target.vendor], newer_first(target.model))

    return sorted(now.targets, key=rank)


def cost_saving(now: BalanceContext) -> Sequence[Target]:
    """By the estimated price of this request; one without a price last. Only what is able is among the targets."""
    return sorted(now.targets, key=lambda target: math.inf if (amount := now.dollars(target)) is None else amount)


MODES: Mapping[str, Strategy] = {"fast": fast, "sophisticated": sophisticated, "cost_saving": cost_saving, "auto": cost_saving}
"""The presets; ``auto`` takes the cheapest that is able, and the dearest only where the request names ``sophisticated``."""


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def own_modes(value: Mapping[str, Strategy] | None) -> dict[str, Strategy]:
    """The modes of a configuration, by name. Raises :class:`ConfigError`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"modes: {type(value).__name__} is not a mapping; give {{'mine': function_of_a_situation}}")
    for name, mode in value.items():
        if not isinstance(name, str) or not name.strip() or not callable(mode):
            raise ConfigError(
                f"modes[{name!r}]: {type(mode).__name__} is not a mode; give a name and a function of a BalanceContext"
            )
    return {_key(name): mode for name, mode in value.items()}


def known_mode(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    """A mode's name, one of the configuration's own included, or ``None``."""
    if value is not None and not (isinstance(value, str) and _key(value) in {**MODES, **instance.modes}):
        raise ConfigError(f"{attribute.name}: {value!r} is not a mode; {choices(value, {**MODES, **instance.modes}, 'use {}')}")


@attrs.frozen
class Chosen:
    """The mode of one request, and what explanations call it; ``own`` where it is the user's own function."""

    label: str
    order: Strategy
    own: bool = False


@attrs.frozen(kw_only=True)
class Modes:
    """The modes that there are, and which is used where a request names none."""

    own: Mapping[str, Strategy] = attrs.field(factory=dict)
    default: str | None = None

    def named(self, name: str) -> Chosen:
        """The mode of that name. Raises :class:`InvalidRequest`."""
        key = _key(name)
        order = self.own.get(key) or MODES.get(key)
        if order is None:
            raise InvalidRequest(f"mode: {name!r} is not a mode; {choices(name, {**MODES, **self.own}, 'use {}')}")
        return Chosen(f"mode {key}", order, own=key in self.own)


@attrs.frozen(kw_only=True)
class Placing:
    """The reason of a target's place in a mode: estimated US dollars and seconds, ``None`` where unknown."""

    target: Target
    mode: str
    cost: Decimal | None
    seconds: float | None

    def __str__(self) -> str:
        price = self.target.price
        figures = [f"about {shown(self.cost)}" if self.cost is not None else "price unknown", speed_told(self.seconds)]
        if price is not None:
            figures.append(f"{shown(price.output)} per million output tokens")
        return f"{self.mode}: {', '.join(figures)}"


def is_any_model(model: str) -> bool:
    """Whether a bare name leaves the choice of the model to the mode."""
    return model.strip().lower() in ("", ANY_MODEL)


@attrs.frozen
class Pool:
    """One pool: its ``models``, the first choice first, and after which lasting failures it goes on, words of ``GOES_ON``."""

    models: Sequence[str]
    on: Collection[str] = ()


@attrs.frozen
class Pools(Mapping[str, tuple[str, ...]]):
    """Ordered models by the name of their pool: ``"vendor:model"``, or a model's bare name for every vendor that has it.

    The next one is asked after a transient failure (silence, 429, 5xx, no connection), and after no other but those that ``on``
    names for the pool, words of ``GOES_ON``.
    """

    members: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    on: Mapping[str, frozenset[str]] = attrs.field(factory=dict)

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self.members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def __len__(self) -> int:
        return len(self.members)


def pools(value: Mapping[str, Sequence[str] | Mapping[str, Any]] | None) -> Pools:
    """Pools from a mapping of names to lists, or to ``{"models": [...], "on": [...]}``. Raises :class:`ConfigError`."""
    if value is None or isinstance(value, Pools):
        return value or Pools()
    if not isinstance(value, Mapping):
        raise ConfigError(f"pools: {type(value).__name__} is not a mapping; give {{'smart': ['openai:gpt-4o', 'claude-sonnet-5']}}")
    made = {_name(name): _pool(f"pools[{name!r}]", told, value) for name, told in value.items()}
    return Pools({name: models for name, (models, _on) in made.items()}, {name: on for name, (_models, on) in made.items() if on})


def _pool(path: str, told: Any, all_pools: Mapping[Any, Any]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the models of a pool, and the lasting failures after which it goes on."""
    given = build(Pool, told if isinstance(told, Pool | Mapping) else {"models": told}, path)
    try:
        on = parse_failures(given.on)
    except ValueError as error:
        raise ConfigError(f"{path}.on: {error}") from None
    return _members(path, given.models, all_pools), on


def _name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or name.strip().lower() == ANY_MODEL:
        raise ConfigError(f"pools[{name!r}]: this is no name for a pool; give a text other than {ANY_MODEL!r}")
    return name.strip()


def _members(path: str, models: Any, all_pools: Mapping[Any, Any]) -> tuple[str, ...]:
    if isinstance(models, str) or not isinstance(models, Sequence) or not models:
        raise ConfigError(f"{path}: {models!r} is not a list of models; give ['openai:gpt-4o', ...], the first choice first")
    for place, model in enumerate(models):
        if not isinstance(model, str) or not model.strip() or not has_both_parts(model):
            raise ConfigError(f"{path}[{place}]: {model!r} is not a model's name; give 'vendor:model' or a bare name")
        if model.strip() in all_pools:
            raise ConfigError(f"{path}[{place}]: {model!r} is a pool itself; a pool holds models")
    return tuple(model.strip() for model in models)
