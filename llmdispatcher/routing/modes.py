"""Modes and pools: the kind of model that a request wants, and names that stand for several models in order.

A mode orders the targets that are able to answer, and changes nothing in the request. It is a strategy (a function of a
:class:`~llmdispatcher.BalanceContext`) that looks at what the targets are, while balancing shares calls among equals.
:data:`DEMANDS` is the complete criterion of ``auto``. The aliases of a lockfile are pools.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import attrs

from ..catalog import Target
from ..errors import ConfigError, InvalidRequest
from ..types import ANY_MODEL, AudioPart, FilePart, ImagePart, Request, VideoPart
from .balance import BalanceContext, Strategy
from .optimize import input_tokens, shown, speed_told

SMALL = Decimal(5)
"""US dollars per million output tokens up to which the catalog's model counts as a small one."""
MODERN_WINDOW, MODERN_OUTPUT = 100_000, 16_000
"""Tokens in and out that a model of the present has; one with less is no candidate for the best, whatever it once cost."""
LONG_INPUT, LONG_OUTPUT = 2_000, 2_000
"""Tokens from which on ``auto`` takes a request for a long one."""
EVERY = 7
"""Of so many calls ``fast`` makes one to a target that was not measured lately, so that it becomes known."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{8}")
_NUMBER = re.compile(r"\d+")
_MEDIA = (ImagePart, AudioPart, VideoPart, FilePart)


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
        newer = [-int(number) for number in _NUMBER.findall(_DATE.sub("", target.model))]
        return (0 if modern else 2, -target.price.output, -target.context_window, places[target.vendor], not newer, [*newer, 1])

    return sorted(now.targets, key=rank)


def cost_saving(now: BalanceContext) -> Sequence[Target]:
    """By the estimated price of this request; one without a price last."""
    return sorted(now.targets, key=lambda target: math.inf if (amount := now.dollars(target)) is None else amount)


DEMANDS: tuple[tuple[str, Callable[[Request], bool]], ...] = (
    ("tools", lambda request: bool(request.tools)),
    ("reasoning", lambda request: bool(request.reasoning_tokens) or request.reasoning_effort in ("medium", "high", "xhigh", "max")),
    ("pictures, sound or documents", lambda request: _has_media(request)),
    ("a long conversation", lambda request: input_tokens(request) > LONG_INPUT),
    ("a long answer", lambda request: (request.max_tokens or 0) > LONG_OUTPUT),
)
"""What makes a request one for ``sophisticated``, by name; a request with none of it is one for ``cost_saving``."""


def _has_media(request: Request) -> bool:
    return any(isinstance(part, _MEDIA) for said in request.messages if isinstance(said.content, tuple) for part in said.content)


def demand(request: Request) -> str | None:
    """The first of :data:`DEMANDS` that a request makes; ``None`` for a short and simple one."""
    return next((name for name, holds in DEMANDS if holds(request)), None)


def auto(now: BalanceContext) -> Sequence[Target]:
    """``sophisticated`` for a request that demands it, else ``cost_saving``."""
    return cost_saving(now) if demand(now.request) is None else sophisticated(now)


MODES: Mapping[str, Strategy] = {"fast": fast, "sophisticated": sophisticated, "cost_saving": cost_saving, "auto": auto}


def _key(name: str) -> str:
    return name.strip().lower().replace("-", "_")


def own_modes(value: Any) -> dict[str, Strategy]:
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
        raise ConfigError(f"{attribute.name}: {value!r} is not a mode; use {', '.join({**MODES, **instance.modes})}")


@attrs.frozen
class Chosen:
    """The mode of one request, and what explanations call it."""

    label: str
    order: Strategy


@attrs.frozen(kw_only=True)
class Modes:
    """The modes that there are, and which is used where a request names none."""

    own: Mapping[str, Strategy] = attrs.field(factory=dict)
    default: str | None = None

    def of(self, request: Request) -> Chosen | None:
        """The mode that a request names, or the configuration's. Raises :class:`InvalidRequest` for one that nobody knows."""
        name = request.mode or self.default
        return None if name is None else self.named(name, request)

    def named(self, name: str, request: Request) -> Chosen:
        """The mode of that name. Raises :class:`InvalidRequest`."""
        key = _key(name)
        order = self.own.get(key) or MODES.get(key)
        if order is None:
            raise InvalidRequest(f"mode: {name!r} is not a mode; use {', '.join({**MODES, **self.own})}")
        if order is not auto:
            return Chosen(f"mode {key}", order)
        why = demand(request)
        told = f"sophisticated for {why}" if why is not None else "cost_saving for a short and simple request"
        return Chosen(f"mode auto, {told}", order)


@attrs.frozen(kw_only=True)
class Placing:
    """Why a mode has put a target in its place: estimated US dollars and seconds, ``None`` where unknown."""

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
