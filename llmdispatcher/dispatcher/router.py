"""The registered vendors, and the targets that a model name can be asked of."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import attrs

from ..catalog import Alias, Aliases, Target, canonical, edition, known, model_facts, model_names, vendor_row, without
from ..errors import ConfigError
from ..routing import MISSING, NO_MODEL, RULE, Choice, SkippedTarget, is_any_model, split_ref
from ..runtime import new_lock
from ..vendors import Vendor
from .config import Config

if TYPE_CHECKING:
    from ..catalog import Lockfile


logger = logging.getLogger("llmdispatcher.dispatcher")

_REMEMBERED_MODELS = 1024
_GLOB = re.compile(r"[*?\[]")
_NO_VECTORS = frozenset({"embeddings"})
_DROPPED = frozenset({"reasoning"})
"""What a vendor that may drop parameters leaves out where a model lacks it."""
_registered: set[str] = set()
"""The names that vendors of any dispatcher of this process were registered by: rows of one's own prices are for one of them."""
_MEMBERS = ("name", "capabilities", "send", "stream", "is_available")


@attrs.frozen
class Candidates:
    """Where a model name can be asked, and which vendors it cannot be asked of; the same until a vendor is registered."""

    model: str
    targets: tuple[Target, ...]
    skipped: tuple[SkippedTarget, ...]
    choice: Choice = Choice.VENDORS
    alias: Alias | None = None


class Directory:
    """Vendors by name; what they answer for a model name is remembered. Safe under threads."""

    def __init__(self, config: Config) -> None:
        self._named = {field: getattr(config, field) for field in ("default_vendor", "fallback_vendor")}
        self._pools = {name: Alias(name, None, models) for name, models in config.pools.items()}
        self._aliases = Aliases(config.lockfile, config.profile) if config.lockfile is not False else None
        self._lock = new_lock()
        self._candidates: dict[str | Alias, Candidates] = {}
        self._edition: Any = None
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
            if any(canonical(name) == canonical(vendor.name) for name in self.vendors):
                raise ConfigError(f"register_vendor: {vendor.name!r} is registered already; give the second one another name=")
            self.vendors[vendor.name] = vendor
            self._candidates = {}
            _registered.add(canonical(vendor.name))

    def known(self, name: str) -> Vendor:
        """The vendor of that name. Raises :class:`ConfigError` that lists those there are."""
        vendor = self.vendors.get(name)
        if vendor is None:
            raise ConfigError(f"vendor: {name!r} is not registered; there are {', '.join(self.vendors) or 'none'}")
        return vendor

    @property
    def lockfile(self) -> Lockfile | None:
        """The configuration's lockfile, read now if it was not before."""
        return self._aliases.lockfile if self._aliases is not None else None

    def registry_versions(self) -> Mapping[str, int]:
        """The versions of a registry that the configuration's lockfile and profile go by. Raises :class:`ConfigError`."""
        lockfile, aliases = self.lockfile, self._aliases
        if lockfile is None or aliases is None:
            return {}
        profile = lockfile.contents.profiles.get(lockfile.profile_in_use(aliases.profile(None)))
        return profile.registry_versions if profile is not None else {}

    def alias(self, name: str, profile: str | None = None) -> Alias | None:
        """The pool or the alias of that name; ``None`` for a model. What names a registered vendor is no alias of a package.

        Raises :class:`ConfigError` for a lockfile that is not there or broken, and for a profile that it has not got.
        """
        pool = self._pools.get(name.strip())
        if pool is not None or self._aliases is None:
            return pool
        found = self._aliases.find(name, profile)
        if found is not None and ":" in name and split_ref(name, self.vendors)[0] is not None:
            return None
        return found

    def has_alias(self, name: str, profile: str | None = None) -> bool:
        """Whether a name is a pool, or an alias that can be found."""
        lockfile, aliases = self.lockfile, self._aliases
        known = lockfile is not None and aliases is not None and lockfile.has_alias(name, aliases.profile(profile))
        return known or name.strip() in self._pools

    def require_aliases(self, names: Sequence[str], context: str | None, profile: str | None) -> None:
        """Raise one :class:`ConfigError` for all names that are neither pools nor aliases."""
        wanted = [name for name in names if name.strip() not in self._pools]
        lockfile, aliases = self.lockfile, self._aliases
        if lockfile is not None and aliases is not None:
            lockfile.require_aliases(wanted, context=context, profile=aliases.profile(profile))
        elif wanted:
            told = ", ".join(map(repr, dict.fromkeys(wanted)))
            raise ConfigError(f"lockfile: the configuration has none, but {told} are needed; give Config(lockfile=True), or a path")

    def models_at(self, vendor: str, name: str, profile: str | None = None) -> tuple[str, ...]:
        """What a vendor is asked for under a name: the models of an alias that are its own, else the name itself."""
        alias = self.alias(name, profile)
        if alias is None:
            return (name,)
        key = canonical(vendor)
        return tuple([target.model for target in self.candidates(name, profile).targets if target.vendor_key == key])

    def pinned(self, model: str, name: str, profile: str | None = None) -> Candidates:
        """The one vendor asked for a model, by its own name for it where it has one, or for those of a pool that are its own."""
        vendor = self.known(name)
        if self._edition is not edition():
            self._take_prices()
        _, bare = split_ref(model, (name,))
        if is_any_model(bare) or self.alias(model, profile) is not None:
            found = self.candidates(model, profile)
            return attrs.evolve(found, targets=tuple([target for target in found.targets if target.vendor == name]))
        return Candidates(bare, (target_of(name, vendor, model_at(vendor, bare) or bare),), ())

    def candidates(self, model: str, profile: str | None = None) -> Candidates:
        """Who can be asked for a model name now."""
        alias = self.alias(model, profile)
        key = model if alias is None else alias
        if self._edition is not edition():
            self._take_prices()
        known = self._candidates.get(key) or self._find(key)
        asleep = [target for target in known.targets if not _awake(self.vendors[target.vendor])]
        if not asleep:
            return known if known.targets or self._aliases is None or alias is not None else self._unnamed(known, profile)
        skips = [_asleep(name, self.vendors[name]) for name in dict.fromkeys(target.vendor for target in asleep)]
        awake = tuple([target for target in known.targets if target not in asleep])
        return attrs.evolve(known, targets=awake, skipped=(*known.skipped, *skips))

    def _take_prices(self) -> None:
        """Forget what was remembered under other prices and limits than those that count now.

        Raises :class:`ConfigError` for prices of a vendor that is neither in the catalog nor registered.
        """
        now = edition()
        unfit = next((name for name in now.accounts() if name not in _registered), None)
        if unfit is not None:
            near = get_close_matches(unfit, map(canonical, self.vendors), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(self.vendors) or 'none'}."
            raise ConfigError(
                f"overlay[{unfit!r}]: no vendor of the catalog has that name, and none that is registered; {hint} Register the"
                " vendor before the first call, or take the row out"
            )
        with self._lock:
            self._edition, self._candidates = now, {}

    def _unnamed(self, known: Candidates, profile: str | None) -> Candidates:
        """The same for a name that nobody has, which may be an alias that is missing."""
        told = self._aliases.missing(known.model, profile) if self._aliases is not None else None
        return (
            known
            if told is None
            else attrs.evolve(known, skipped=(*known.skipped, SkippedTarget(told[0], f"{NO_MODEL} {told[1]}")))
        )

    def _find(self, model: str | Alias) -> Candidates:
        """Who can be asked for a model name; remembered, so that vendors without it cost nothing per call."""
        remembered = self._candidates
        found = self._pool(model) if isinstance(model, Alias) else self._one(model)
        unknown = [*found.skipped]
        for field, wanted in self._named.items():
            if wanted is not None and canonical(wanted) not in map(canonical, self.vendors):
                unknown.append(
                    SkippedTarget(wanted, f"the {field} is not registered; there are {', '.join(self.vendors) or 'none'}", RULE)
                )
                logger.warning("%s: %r is not registered", field, wanted)
        found = attrs.evolve(found, skipped=tuple(unknown))
        with self._lock:
            if self._candidates is remembered:  # else a vendor was registered meanwhile, of which this one knows nothing
                if len(remembered) >= _REMEMBERED_MODELS:
                    self._candidates = remembered = {}
                remembered[model] = found
        return found

    def _one(self, model: str) -> Candidates:
        """Who can be asked for a model, or for whichever they have."""
        pinned, bare = split_ref(model, list(self.vendors))
        open_, targets, skipped = is_any_model(bare), [], []
        for name, vendor in list(self.vendors.items()):
            if pinned is not None and name != pinned:
                skipped.append(SkippedTarget(name, f"the request names {pinned}"))
                continue
            theirs = list(_models(vendor)) if open_ else [model_at(vendor, bare)]
            targets += [target_of(name, vendor, known) for known in dict.fromkeys(theirs) if known is not None]
            if open_ and not theirs:
                skipped.append(
                    SkippedTarget(name, f"{NO_MODEL} a model that is known here; name its models in models=, or a default_model")
                )
            elif not open_ and theirs[0] is None:
                skipped.append(SkippedTarget(name, f"{NO_MODEL} {bare}; give it a model_map or a default_model"))
        return Candidates(bare, tuple(targets), tuple(skipped), Choice.ANY if open_ else Choice.VENDORS)

    def _pool(self, alias: Alias) -> Candidates:
        """Who can be asked for the models of a pool, in its order, and what of it cannot be asked at all."""
        targets: dict[tuple[str, str], Target] = {}
        skipped = []
        for member in alias.models:
            found = self._one(member).targets
            for target in found:
                targets.setdefault(target.key, target)
            if not found:
                why = f"{NO_MODEL} a registered vendor that can be asked for it; it is of the pool {alias.name!r}"
                skipped.append(SkippedTarget(member, why))
        return Candidates(alias.name, tuple(targets.values()), tuple(skipped), Choice.POOL, alias)


def _models(vendor: Vendor) -> Iterator[str]:
    """The models that a vendor is known to have: those that it was given by name, else those of the catalog."""
    kind = getattr(vendor, "kind", None) or ""
    listed = model_names(kind)
    taken = set()
    for model in [*listed, *vendor.capabilities.models, getattr(vendor, "default_model", None) or ""]:
        facts = model_facts(kind, model)
        name = facts.listed if facts is not None else model
        theirs = model_at(vendor, model) if model and name not in taken and not _GLOB.search(model) else None
        if theirs is not None:
            taken.add(name)
            yield theirs


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
    kind = getattr(vendor, "kind", None) or None
    row = vendor_row(kind) if kind is not None else None
    told = known(kind, model, name, free=bool(getattr(vendor, "is_free", row is not None and row.free)))
    if kind is None:
        able = vendor.capabilities
        told["context_window"] = told["context_window"] or able.context_window
        told["max_output"] = told["max_output"] or able.max_tokens
        told["lacks"] |= without(able)
    if not embeds(vendor):
        told["lacks"] |= _NO_VECTORS
    if getattr(vendor, "drops_params", False):
        told["lacks"] -= _DROPPED
    return Target(vendor=name, model=model, kind=kind, **told)


def embeds(vendor: Vendor) -> bool:
    """Whether a vendor makes vectors of texts."""
    return hasattr(vendor, "embed") and bool(getattr(vendor, "can_embed", True))


def _asleep(name: str, vendor: Vendor) -> SkippedTarget:
    tell = getattr(vendor, "missing", None)
    lack = tell() if tell is not None else None
    return SkippedTarget(name, "is not available: it says so") if lack is None else SkippedTarget(name, lack, MISSING)


def _awake(vendor: Vendor) -> bool:
    try:
        return vendor.is_available()
    except Exception:  # a vendor that cannot even say is not available
        logger.warning("vendor %s could not say whether it is available", vendor.name, exc_info=True)
        return False
