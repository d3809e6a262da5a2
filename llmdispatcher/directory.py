"""The registered vendors, and whom a model name can be asked of."""

from __future__ import annotations

import logging
from fnmatch import fnmatchcase

import attrs

from . import catalog
from .config import Config
from .errors import ConfigError
from .locks import new_lock
from .policy.route import MISSING, NO_MODEL, RULE, Skip, split_ref
from .policy.target import Target
from .vendors import Vendor

logger = logging.getLogger(__name__)

_REMEMBERED_MODELS = 1024
_MEMBERS = ("name", "capabilities", "send", "stream", "is_available")


@attrs.frozen
class Candidates:
    """Where a model name can be asked, and which vendors it cannot be asked of; the same until a vendor is registered."""

    model: str
    targets: tuple[Target, ...]
    skipped: tuple[Skip, ...]


class Directory:
    """Vendors by name; what they answer for a model name is remembered. Safe under threads."""

    def __init__(self, config: Config) -> None:
        self._named = {field: getattr(config, field) for field in ("default_vendor", "fallback_vendor")}
        self._lock = new_lock()
        self._candidates: dict[str, Candidates] = {}
        self.vendors: dict[str, Vendor] = {}
        """In order of registration."""

    def register(self, vendor: Vendor) -> None:
        """Add a vendor; its name must be new. Raises :class:`ConfigError` that names a member it lacks."""
        for member in _MEMBERS:
            if not hasattr(vendor, member):
                raise ConfigError(f"register_vendor: {type(vendor).__name__} has no {member!r}; a vendor has {', '.join(_MEMBERS)}")
        if not isinstance(vendor.name, str) or not vendor.name.strip():
            raise ConfigError(f"register_vendor: the name {vendor.name!r} is not a non-empty string")
        with self._lock:
            if any(catalog.canonical(name) == catalog.canonical(vendor.name) for name in self.vendors):
                raise ConfigError(f"register_vendor: {vendor.name!r} is registered already; give the second one another name=")
            self.vendors[vendor.name] = vendor
            self._candidates = {}

    def known(self, name: str) -> Vendor:
        """The vendor of that name. Raises :class:`ConfigError` that lists those there are."""
        vendor = self.vendors.get(name)
        if vendor is None:
            raise ConfigError(f"vendor: {name!r} is not registered; there are {', '.join(self.vendors) or 'none'}")
        return vendor

    def pinned(self, model: str, name: str) -> Target:
        """The one vendor asked for a model, by its own name for it where it has one."""
        vendor = self.known(name)
        _, bare = split_ref(model, (name,))
        return target_of(name, vendor, model_at(vendor, bare) or bare)

    def candidates(self, model: str) -> Candidates:
        """Who can be asked for a model name now."""
        known = self._candidates.get(model) or self._find(model)
        asleep = [target for target in known.targets if not _awake(self.vendors[target.vendor])]
        if not asleep:
            return known
        skips = [_asleep(target.vendor, self.vendors[target.vendor]) for target in asleep]
        awake = tuple([target for target in known.targets if target not in asleep])
        return Candidates(known.model, awake, (*known.skipped, *skips))

    def _find(self, model: str) -> Candidates:
        """Who can be asked for a model name; remembered, so that vendors without it cost nothing per call."""
        remembered = self._candidates
        pinned, bare = split_ref(model, list(self.vendors))
        targets, skipped = [], []
        for name, vendor in list(self.vendors.items()):
            theirs = model_at(vendor, bare)
            if pinned is not None and name != pinned:
                skipped.append(Skip(name, f"the request names {pinned}"))
            elif theirs is None:
                skipped.append(Skip(name, f"{NO_MODEL} {bare}; give it a model_map or a default_model"))
            else:
                targets.append(target_of(name, vendor, theirs))
        for field, wanted in self._named.items():
            if wanted is not None and catalog.canonical(wanted) not in map(catalog.canonical, self.vendors):
                skipped.append(Skip(wanted, f"the {field} is not registered; there are {', '.join(self.vendors) or 'none'}", RULE))
                logger.warning("%s: %r is not registered", field, wanted)
        found = Candidates(bare, tuple(targets), tuple(skipped))
        with self._lock:
            if self._candidates is remembered:  # else a vendor was registered meanwhile, of which this one knows nothing
                if len(remembered) >= _REMEMBERED_MODELS:
                    self._candidates = remembered = {}
                remembered[model] = found
        return found


def model_at(vendor: Vendor, model: str) -> str | None:
    """The vendor's own name for a model, by its ``model_for`` or by the globs of its capabilities; ``None`` where it has none."""
    own = getattr(vendor, "model_for", None)
    if own is not None:
        name: str | None = own(model)
        return name
    listed = vendor.capabilities.models
    return model if not listed or any(fnmatchcase(model, pattern) for pattern in listed) else None


def target_of(name: str, vendor: Vendor, model: str) -> Target:
    """The pair of vendor and model, with what the catalog or the vendor itself says of it."""
    kind = getattr(vendor, "kind", None)
    facts = catalog.model_facts(kind, model) if kind else None
    able = vendor.capabilities if facts is None else None
    return Target(
        vendor=name,
        model=model,
        kind=kind,
        price=facts.price if facts is not None else None,
        context_window=facts.context_window if facts is not None else (0 if kind or able is None else able.context_window),
        supports_streaming=able.supports_streaming if able is not None else True,
        supports_vision=facts.supports_vision if facts is not None else (able is None or bool(kind) or able.supports_vision),
        supports_tools=facts.supports_tools if facts is not None else (able is None or able.supports_tools),
    )


def _asleep(name: str, vendor: Vendor) -> Skip:
    tell = getattr(vendor, "missing", None)
    lack = tell() if tell is not None else None
    return Skip(name, "is not available: it says so") if lack is None else Skip(name, lack, MISSING)


def _awake(vendor: Vendor) -> bool:
    try:
        return vendor.is_available()
    except Exception:  # a vendor that cannot even say is not available
        logger.warning("vendor %s could not say whether it is available", vendor.name, exc_info=True)
        return False
