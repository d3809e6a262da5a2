"""Looking models up: by reference, and by what they can."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from ..clock import SYSTEM_CLOCK
from ..errors import ConfigError, ModelNotFound
from .facts import ABILITIES, ModelFacts
from .models import edition, owner
from .vendors import canonical, vendor_row, vendor_rows

_NEAR = 3
_ALIKE = 0.6


def list_models(vendor: str | None = None, capabilities: Iterable[str] = (), *, active_only: bool = True) -> tuple[ModelFacts, ...]:
    """The models that the catalog knows, each once: of one vendor or of all, that are known to have all the capabilities.

    ``capabilities`` are words of :data:`~llmdispatcher.catalog.ABILITIES`; unless ``active_only`` is False, models that their
    vendor serves no longer are left out. It asks nobody: what a vendor says of itself, ``dispatcher.list_models(vendor)`` tells.
    Raises :class:`ConfigError` for a vendor or a capability that the catalog does not have.
    """
    wanted = _wanted(capabilities)
    vendors = _vendors() if vendor is None else [_known(vendor)]
    today = SYSTEM_CLOCK.now().date()
    found = (facts for name in vendors for facts in edition().listed(name))
    return tuple([facts for facts in found if wanted <= facts.capabilities and (not active_only or facts.is_active(today))])


def get_model(ref: str) -> ModelFacts:
    """What the catalog knows of a model, by ``"vendor:model"`` or by the model's bare name; aliases count.

    A bare name is looked for first at the vendor whose name it is. Raises :class:`ModelNotFound` that tells names that are alike,
    :class:`ConfigError` where ``ref`` is no text.
    """
    if not isinstance(ref, str) or not ref.strip():
        raise ConfigError(f"ref: {ref!r} names no model; give 'vendor:model', such as 'openai:gpt-4o', or a model's name")
    name = ref.strip()
    current, (head, _, tail) = edition(), name.partition(":")
    if tail and canonical(head) in _vendors():
        found = current.find(canonical(head), tail.strip())
        if found is None:
            raise _not_found(ref, [canonical(head)], tail.strip())
        return found
    mine = owner(name)
    for vendor in dict.fromkeys([*([mine] if mine is not None else []), *_vendors()]):
        found = current.find(vendor, name)
        if found is not None:
            return found
    raise _not_found(ref, _vendors(), name)


def _vendors() -> list[str]:
    return [*(row.name for row in vendor_rows()), *edition().vendors()]


def _known(vendor: str) -> str:
    name = canonical(vendor) if isinstance(vendor, str) else ""
    if vendor_row(name) is None and name not in edition().vendors():
        near = difflib.get_close_matches(name, _vendors(), _NEAR, _ALIKE)
        hint = f"did you mean {' or '.join(map(repr, near))}" if near else f"there are {', '.join(_vendors())}"
        raise ConfigError(f"vendor: {vendor!r} is not in the catalog; {hint}")
    return name


def _wanted(capabilities: Iterable[str]) -> frozenset[str]:
    words = frozenset((capabilities,) if isinstance(capabilities, str) else capabilities)
    for word in sorted(words - {*ABILITIES}):
        raise ConfigError(f"capabilities: {word!r} is not one that is known of models; there are {', '.join(ABILITIES)}")
    return words


def _not_found(ref: str, vendors: Iterable[str], name: str) -> ModelNotFound:
    near = difflib.get_close_matches(name, sorted({*_names(vendors)}), _NEAR, _ALIKE)
    hint = f"did you mean {' or '.join(map(repr, near))}" if near else "list_models() tells those that are known"
    return ModelNotFound(f"ref: the catalog has no model {ref!r}; {hint}", try_elsewhere=False)


def _names(vendors: Iterable[str]) -> Iterator[str]:
    for vendor in vendors:
        yield from edition().names(vendor)
