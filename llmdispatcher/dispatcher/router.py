"""The registered vendors, and the targets that a model name can be asked of.

Whether a vendor may be asked is decided by one rule, :func:`~llmdispatcher.routing.may_be_asked`. What it needs to know is found
here: what is known about vendor and name, whom the configuration names, and whether there is only one vendor. It is one file, since
names, references, pools, stand-ins and the words of a refusal go by the same claims.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import attrs

from .._text import room_logger
from ..catalog import (
    CURRENT,
    Alias,
    Aliases,
    NameClaim,
    Target,
    VendorRow,
    answers_prompts,
    canonical,
    claim_on,
    missing_capabilities,
    model_facts,
    model_names,
    owner,
    stand_ins,
    target_facts,
    vendor_row,
)
from ..errors import ConfigError, DeadlineExceeded, InvalidRequest
from ..routing import (
    FALLBACK,
    MISSING,
    MODES,
    NO_MODEL,
    PINNED,
    RULE,
    UNREAD,
    UNREGISTERED,
    Named,
    Reserve,
    Selection,
    SkippedTarget,
    is_any_model,
    may_be_asked,
    several,
    split_ref,
)
from ..runtime import SYSTEM_CLOCK, Deadline, new_lock
from ..types import ANY_MODEL
from ..vendors import Vendor, VendorInfo, how_to_register
from .config import NEAREST, Config, unready
from .model_lists import ModelLists
from .suggestions import Registered, near_names, suggestion

if TYPE_CHECKING:
    from ..catalog import Lockfile


logger = room_logger("dispatcher")

_REMEMBERED_MODELS = 1024
_GLOB = re.compile(r"[*?\[]")
_SIZE, _KIND = r"(\d+x)?[a-z]?\d+(\.\d+)?[bm]", r"i?q\d\w*|b?f16|fp16|f32|instruct|chat|text|mini|base"
_TAG = re.compile(rf"latest|(.*[-_])?({_SIZE}|{_KIND})([-_].*)?", re.IGNORECASE)
_BARE_TAG = re.compile(rf"latest|({_SIZE}|{_KIND})([-_].*)?", re.IGNORECASE)
"""How tags of local models are written: by size, quantization or training, https://ollama.com/library. Bare: without a name."""
_ALIASES_ALIKE = 0.75
"""How much like a pool's name, from 0 to 1, a name is that nobody has: it was meant, as for aliases of a lockfile."""
_NOBODYS = "-"
"""A name that no vendor has; one that claims it takes any."""
_NO_VECTORS = frozenset({"embeddings"})
_DROPPED = frozenset({"reasoning"})
"""What a vendor that may drop parameters leaves out where a model lacks it."""
_registered: set[str] = set()
"""The names that vendors of any dispatcher of this process were registered by: rows of one's own prices are for one of them."""
_MEMBERS = ("name", "capabilities", "send", "stream", "is_available")
_ANY_SERVER = "local"
"""The row of servers that speak OpenAI's format, proxies of other vendors among them."""


@attrs.frozen
class Candidates:
    """Where a model name can be asked, and which vendors it cannot be asked of; the same until a vendor is registered.

    ``undecided`` are local servers whose own lists may tell more. ``later`` are those whose lists are read only when nobody of
    ``targets`` is left to be asked, the ``spare`` among them: the fallback vendor where nobody knows which models it has until its
    list is read. ``cause`` says that nobody has the model, and ``hint`` what may have been meant.
    """

    model: str
    targets: tuple[Target, ...]
    skipped: tuple[SkippedTarget, ...]
    choice: Selection = Selection.VENDORS
    alias: Alias | None = None
    reserve: Reserve | None = None
    undecided: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    spare: str = ""
    cause: str = ""
    hint: str = ""


class Router:
    """Vendors by name; what they answer for a model name is remembered. Safe under threads."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._warned: set[str] = set()
        self._is_checked = False
        self._wanted = {field: getattr(config, field) for field in ("default_vendor", "fallback_vendor")}
        self._default = canonical(config.default_vendor or "")
        self._fallback_model = config.fallback_model
        shares = config.balance
        group = [name for name, weight in shares.weights.items() if weight > 0] + [*shares.priorities] if shares is not None else []
        self._for_all = {canonical(name) for name in (*self._wanted.values(), *group) if name is not None}
        self._in_rules = {canonical(rule.vendor) for rule in config.routing_rules if rule.enabled}
        self._has_modes, self._modes = bool(config.modes), {*MODES, *config.modes}
        self._lists = ModelLists()
        self._pools = {
            name: Alias(name, None, models, config.pools.on.get(name, frozenset())) for name, models in config.pools.items()
        }
        self._aliases = Aliases(config.lockfile, config.profile) if config.lockfile is not False else None
        self._ignores_profiles = self._aliases is None
        """Until it was told."""
        self._lock = new_lock()
        self._candidates: dict[str | Alias, Candidates] = {}
        self._edition: Any = None
        if self._aliases is None and config.profile is not None:
            self._tell_ignored(config.profile)
        self.searched = ""
        """What to say where no vendor is registered: where they were looked for."""
        self.vendors: dict[str, VendorInfo] = {}
        """In order of registration."""

    def mask(self, text: str) -> str:
        """The text without the keys that the vendors have used."""
        for known in list(self.vendors.values()):
            text = known.mask(text)
        return text

    def register(self, vendor: Vendor) -> VendorInfo:
        """Add a vendor; its name must be new. Raises :class:`ConfigError` that names a member it lacks."""
        if isinstance(vendor, str):
            raise ConfigError(f"register_vendor: {vendor!r} is a name; give the vendor itself: vendor({vendor!r})")
        if isinstance(vendor, type):
            raise ConfigError(f"register_vendor: {vendor.__name__} is a class; give an object of it: {vendor.__name__}(...)")
        for member in _MEMBERS:
            if not hasattr(vendor, member):
                raise ConfigError(f"register_vendor: {type(vendor).__name__} has no {member!r}; a vendor has {', '.join(_MEMBERS)}")
        if not isinstance(vendor.name, str) or not vendor.name.strip():
            raise ConfigError(f"register_vendor: the name {vendor.name!r} is not a non-empty string")
        info = VendorInfo.of(vendor)
        with self._lock:
            if self.find(vendor.name) is not None:
                raise ConfigError(f"register_vendor: {vendor.name!r} is registered already; give the second one another name=")
            self.vendors[vendor.name] = info
            self._candidates = {}
            self._is_checked = False
            _registered.add(canonical(vendor.name))
        return info

    def check(self) -> tuple[str, ...]:
        """Which vendors that the configuration names cannot be asked, and why; each is logged once."""
        self._is_checked = True
        told = tuple(map(str, unready(self._config, dict(self.vendors))))
        self.warn(told)
        return told

    def warn(self, texts: Iterable[str]) -> None:
        """Log each text as a warning, once."""
        for text in texts:
            if text not in self._warned:
                self._warned.add(text)
                logger.warning("%s", text)

    def find(self, name: str) -> VendorInfo | None:
        """The vendor of that name, in any spelling."""
        return self.vendors.get(name) or next(
            (self.vendors[each] for each in list(self.vendors) if canonical(each) == canonical(name)), None
        )

    def get_vendor(self, name: str) -> VendorInfo:
        """The vendor of that name, in any spelling. Raises :class:`ConfigError` that says which may be meant."""
        if not isinstance(name, str):
            raise ConfigError(f"vendor: {type(name).__name__} is not a vendor's name; give a name such as 'openai'")
        vendor = self.find(name)
        if vendor is None:
            raise ConfigError(f"vendor: {name!r} is not registered; {self._instead_of(name)}")
        return vendor

    def _instead_of(self, name: str) -> str:
        """What to do about a vendor's name that is not registered: the name that may be meant, or how to register it."""
        near = get_close_matches(canonical(name), {canonical(each): each for each in list(self.vendors)}, 1)
        if near:
            return f"did you mean {near[0]!r}?"
        row = vendor_row(name)
        there = f"there are {several(list(self.vendors)) or 'none'}"
        return f"{there}; {how_to_register(row)}" if row is not None else there

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
        if found is not None and ":" in name and split_ref(name, list(self.vendors))[0] is not None:
            return None
        return found

    def has_alias(self, name: str, profile: str | None = None) -> bool:
        """Whether a name is a pool, or an alias that can be found."""
        lockfile, aliases = self.lockfile, self._aliases
        if aliases is None and profile is not None and self._ignores_profiles:
            self._tell_ignored(profile)
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
            return (split_ref(name, (vendor,))[1],)
        key = canonical(vendor)
        return tuple([target.model for target in self.candidates(name, profile).targets if target.vendor_key == key])

    def pinned(self, model: str, name: str, profile: str | None = None, deadline: Deadline | None = None) -> Candidates:
        """The one vendor asked for a model, by its own name for it where it has one, or for those of a pool that are its own.

        With a ``deadline`` a local vendor may be asked for its list. Raises :class:`InvalidRequest` where the model's name names
        another vendor.
        """
        vendor = self.get_vendor(name)
        if self._edition is not CURRENT.snapshot:
            self._take_prices()
        _, bare = split_ref(model, (vendor.name,))
        if (is_open := is_any_model(bare)) or self.alias(model, profile) is not None:
            found = self.candidates(f"{vendor.name}:{ANY_MODEL}" if is_open else model, profile, deadline, all_lists=True)
            theirs = tuple([target for target in found.targets if target.vendor == vendor.name])
            return attrs.evolve(found, targets=theirs, reserve=None)
        if (other := self._other(bare)) is not None:
            raise InvalidRequest(f"model: {model!r} names {other}, and the call names {vendor.name}; leave one of the two out")
        found = self._for_pin(bare, vendor.name)
        return attrs.evolve(found, skipped=tuple([skip for skip in found.skipped if skip.vendor == vendor.name]))

    def _other(self, bare: str) -> str | None:
        """The vendor that a name refers to, if it is one of this vendor's models that stands behind the colon."""
        head, colon, tail = bare.partition(":")
        vendor = self.find(head) if colon else None
        if vendor is not None:
            return vendor.name if self._has(vendor.name, tail.strip()) else None
        return canonical(head) if colon and claim_on(head, tail.strip()).has_it else None

    def candidates(
        self, model: str, profile: str | None = None, deadline: Deadline | None = None, *, all_lists: bool = False
    ) -> Candidates:
        """Who can be asked for a model name now.

        With a ``deadline`` local vendors are asked for their lists before a name is refused, and with ``all_lists`` those, too,
        whose lists are not needed as long as another can be asked; without a deadline nobody is asked.
        """
        if self._ignores_profiles and profile is not None:
            self._tell_ignored(profile)
        has_aliases = self._pools or self._aliases is not None
        alias = self.alias(model, profile) if has_aliases else None
        key = model if alias is None else alias
        if self._edition is not CURRENT.snapshot:
            self._take_prices()
        found = self._candidates.get(key) or self._find(key)
        if deadline is not None and (found.undecided or found.later):
            found = self._read_lists(key, found, deadline, all_lists=all_lists)
        elif found.undecided:
            found = self._note_unread(found)
        asleep = [target for target in found.targets if not _awake(self.vendors[target.vendor])]
        if found.reserve is not None:
            found, sleeping = self._awake_reserve(found, found.reserve)
            asleep += sleeping
        if not asleep and alias is not None:
            return found
        if not asleep and found.targets:
            return self._refuse_typo(found, model, profile) if has_aliases else found
        if not asleep:
            return self._note_missing_alias(found, profile)
        skips = [_asleep(name, self.vendors[name]) for name in dict.fromkeys(target.vendor for target in asleep)]
        awake = tuple([target for target in found.targets if target not in asleep])
        return attrs.evolve(found, targets=awake, skipped=(*found.skipped, *skips))

    def _tell_ignored(self, profile: str) -> None:
        """Log, once, that a profile changes nothing; the ledger has its name all the same."""
        self._ignores_profiles = False
        self.warn([f"profile: {profile!r} is ignored, since there is no lockfile; give Config(lockfile=True), or its path"])

    def _take_prices(self) -> None:
        """Forget what was remembered under other prices and limits than those that count now.

        Raises :class:`ConfigError` for prices of a vendor that is neither in the catalog nor registered.
        """
        now = CURRENT.snapshot
        unfit = next((name for name in now.accounts() if name not in _registered), None)
        if unfit is not None:
            near = get_close_matches(unfit, map(canonical, list(self.vendors)), 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {several(list(self.vendors)) or 'none'}."
            raise ConfigError(
                f"overlay[{unfit!r}]: no vendor of the catalog has that name, and none that is registered; {hint} Register the"
                " vendor before the first call, or take the row out"
            )
        with self._lock:
            self._edition, self._candidates = now, {}

    def _awake_reserve(self, found: Candidates, reserve: Reserve) -> tuple[Candidates, list[Target]]:
        """Leave out those of the reserve that cannot be asked now; gives the candidates, and the stand-in that cannot be asked."""
        held = [(target, claim) for target, claim in reserve.held if _awake(self.vendors[target.vendor])]
        is_up = bool(reserve.stand_ins) and _awake(self.vendors[reserve.stand_ins[0].vendor])
        awake = Reserve(tuple(held), reserve.stand_ins if is_up else ())
        return attrs.evolve(found, reserve=awake), [] if is_up else list(reserve.stand_ins[:1])

    def keep_list(self, vendor: str, names: Sequence[str], now: float) -> None:
        """Take in which models a vendor says it has; ``now`` is monotonic."""
        self._lists.keep(vendor, names, now)
        self._forget()

    def _read_lists(self, key: str | Alias, found: Candidates, deadline: Deadline, *, all_lists: bool) -> Candidates:
        """Read the lists that are needed, and find the candidates by them; ``later`` then has the lists that may be read now."""
        if self._ask_for_lists(found.undecided, deadline):
            found = self._find(key)
        if all_lists or not any(target.vendor != found.spare and _awake(self.vendors[target.vendor]) for target in found.targets):
            spare = found.spare
            if self._ask_for_lists(found.later, deadline):
                found = self._find(key)
                if spare and found.spare:
                    logger.warning("fallback vendor %s %s", found.spare, self._no_stand_in(found.spare, found.model))
        now = deadline.clock.monotonic()
        due = tuple([name for name in found.later if self._lists.is_due(name, now) and _awake(self.vendors[name])])
        return found if due == found.later else attrs.evolve(found, later=due)

    def _ask_for_lists(self, names: Sequence[str], deadline: Deadline) -> bool:
        """Ask vendors for their lists of models, if it is time to; return whether any vendor was asked."""
        if not self._lists.ask({name: self.vendors[name] for name in names if _awake(self.vendors[name])}, deadline):
            return False
        self._forget()
        return True

    def _note_unread(self, found: Candidates) -> Candidates:
        """Add the local servers whose lists were never read to the skipped, with the reason; sends nothing."""
        names = [name for name in found.undecided if self._lists.is_unread(name) and _awake(self.vendors[name])]
        if not names:
            return found
        members = found.alias.models if found.alias is not None else ()
        open_yet = {*names, *(member for member in members if self._for_model(member).undecided)}
        skips = [SkippedTarget(name, "its list of models has not been read yet; it would be read first", UNREAD) for name in names]
        of = f"The list of {names[0]}" if len(names) == 1 else f"The lists of {len(names)} local servers"
        they = "has not been read yet; it" if len(names) == 1 else "have not been read yet; they"
        others = [skip for skip in found.skipped if skip.vendor not in open_yet]
        is_guess = found.hint.startswith("Did you mean") and ":" not in found.model and "/" not in found.model
        hint = "" if is_guess else found.hint  # the server may have just the name that was written
        return attrs.evolve(found, skipped=(*skips, *others), hint=f"{hint} {of} {they} would be read first.".strip())

    def _forget(self) -> None:
        with self._lock:
            self._candidates = {}

    def _note_missing_alias(self, found: Candidates, profile: str | None) -> Candidates:
        """Add to the skipped, and to the cause, that the name may be an alias that is missing."""
        told = self._aliases.missing(found.model, profile) if self._aliases is not None else None
        if told is None:
            return found
        where, lack = told
        skipped = (*found.skipped, SkippedTarget(where, f"{NO_MODEL} {lack}"))
        cause = f"{found.cause}, and {where} {NO_MODEL} {lack}" if found.cause else ""
        return attrs.evolve(found, skipped=skipped, cause=cause, hint="" if "did you mean" in lack else found.hint)

    def _refuse_typo(self, found: Candidates, model: str, profile: str | None) -> Candidates:
        """Leave no target for a bare name that nobody is known to have and that resembles an alias: it is a typing error."""
        if ":" in model or found.choice is not Selection.VENDORS:
            return found
        claims = {target.vendor: self._claim(target.vendor, self.vendors[target.vendor], model) for target in found.targets}
        has_it = any(claim.has_it or canonical(name) in self._in_rules for name, claim in claims.items())  # a rule may mean it
        hint = "" if has_it else self._near_alias(model, profile)
        if not hint:
            return found
        skips = [SkippedTarget(name, self._lack(name, claim, model)) for name, claim in claims.items()]
        cause = f"nobody is known to have the model {model}"
        name = next(iter(claims))
        hint = f"{hint} Write {f'{name}:{model}'!r} to ask {name} for a model of that name."
        return attrs.evolve(found, targets=(), skipped=(*found.skipped, *skips), reserve=None, cause=cause, hint=hint)

    def _near_alias(self, model: str, profile: str | None) -> str:
        """Return a hint: the pool or alias that a name resembles, or the profile that has it; empty if there is none."""
        pools = {name.lower(): name for name in self._pools}
        near = get_close_matches(model.strip().lower(), pools, 1, _ALIASES_ALIKE)
        if near:
            return f"Did you mean the pool {pools[near[0]]!r}?"
        lack = self._aliases.missing(model, profile) if self._aliases is not None else None
        return f"{lack[0]} lacks {lack[1]}." if lack is not None and lack[1].endswith(")") else ""

    def _find(self, model: str | Alias) -> Candidates:
        """Who can be asked for a model name; remembered, so that vendors without it cost nothing per call."""
        remembered = self._candidates
        found = self._for_pool(model) if isinstance(model, Alias) else self._for_model(model)
        unknown = [*found.skipped]
        for field, wanted in self._wanted.items():
            if wanted is not None and self.find(wanted) is None:
                unknown.append(SkippedTarget(wanted, f"the {field} is not registered; {self._instead_of(wanted)}", RULE))
        if not self._is_checked:
            self.check()
        hint = found.hint if self.vendors else self.searched
        found = attrs.evolve(found, skipped=tuple(unknown), hint=hint)
        with self._lock:
            if self._candidates is remembered:  # else a vendor was registered meanwhile, of which this one knows nothing
                if len(remembered) >= _REMEMBERED_MODELS:
                    self._candidates = remembered = {}
                remembered[model] = found
        return found

    def _for_model(self, model: str) -> Candidates:
        """Return who can be asked for a model's name, or for any model."""
        pinned, bare = split_ref(model, list(self.vendors))
        row = self._not_registered(model) if pinned is None else None
        if is_any_model(bare) and row is None:
            return self._for_any_model(bare, pinned)
        if pinned is None and row is None:
            return self._for_name(bare)
        if pinned is not None and self._has(pinned, bare):
            return self._for_pin(bare, pinned)
        by_lists = row is None or _may_be_a_tag(row, model)
        having = [name for name in list(self.vendors) if name != pinned and self._has(name, model, by_lists=by_lists)]
        if having:
            return self._for_whole_name(model, having)
        return self._for_unregistered(model, row) if row is not None else self._for_reference(model, bare, pinned or "")

    def _not_registered(self, model: str) -> VendorRow | None:
        """The vendor of the catalog that a reference names, where none of that name is registered."""
        head, colon, tail = model.partition(":")
        row = vendor_row(head) if colon and tail.strip() else None
        return None if row is None or self.find(row.name) is not None else row

    def _has(self, name: str, model: str, *, by_lists: bool = True) -> bool:
        """Whether a vendor is known to have this very name, and not since it takes whatever name it is given.

        What vendors list counts only ``by_lists``: for names whose lists are asked for, else the answer would change with what was
        asked before.
        """
        vendor = self.vendors[name]
        if model in vendor.vendor.capabilities.models or model_facts(vendor.kind, model) is not None:
            return True
        if not by_lists:
            return any(":" in pattern and fnmatchcase(model, pattern) for pattern in vendor.vendor.capabilities.models)
        if self._lists.has(name, model):
            return True
        return self._claim(name, vendor, model).has_it and not self._claim(name, vendor, _NOBODYS).has_it

    def _for_whole_name(self, model: str, having: Sequence[str]) -> Candidates:
        """Return the vendors of a model whose own name looks like ``vendor:model``, such as Ollama's ``mistral:7b``."""
        found = self._for_name(model)
        others = [
            SkippedTarget(at.vendor, f"{NO_MODEL} {model}, {having[0]} has") for at in found.targets if at.vendor not in having
        ]
        targets = tuple([target for target in found.targets if target.vendor in having])
        return attrs.evolve(found, targets=targets, skipped=(*found.skipped, *others))

    def _for_unregistered(self, model: str, row: VendorRow) -> Candidates:
        """A reference to a vendor that is not registered, or the name of a model that a local server may have."""
        tail = model.partition(":")[2].strip()
        same = next((f"{name}:{tail}" for name, vendor in list(self.vendors.items()) if vendor.kind == row.name), None)
        remedy = how_to_register(row) if same is None else f"one of its kind is, so write {same!r}"
        local = self._local(list(self.vendors)) if _may_be_a_tag(row, model) else ()
        if local and self._may_be_local(model, local):
            remedy = f"no local server is known to have {model!r} either; write {f'{local[0]}:{model}'!r} to ask {local[0]} for it"
        elif same is None and _is_local_name(model):
            remedy += f"; if it is a model of a local server, register that (OllamaVendor()) and write {f'ollama:{model}'!r}"
        return Candidates(
            tail, (), (SkippedTarget(tail, f"{row.name} is not registered; {remedy}", UNREGISTERED),), undecided=local
        )

    def _for_reference(self, model: str, bare: str, pinned: str) -> Candidates:
        """The vendor that a reference names for a model that it is not known to have.

        The whole may be the name of a local model, whose prompts must not leave the machine: then local servers are asked for
        their lists first, and a name that looks like one of theirs is nobody's.
        """
        found = self._for_pin(bare, pinned)
        is_here = self.vendors[pinned].is_local and self.vendors[pinned].is_free(otherwise=False)
        local = () if is_here else self._local([name for name in list(self.vendors) if name != pinned])
        if not local and (is_here or not _is_local_name(model)):
            return found
        if local and not self._may_be_local(model, local):
            return attrs.evolve(found, undecided=local)
        cause = f"{model!r} may be the name of a local model, or mean {bare!r} of {pinned}, and nobody is known to have either"
        name = local[0] if local else "ollama"
        server = name if local else "a local server that you register, such as OllamaVendor()"
        hint = f"Write {f'{name}:{model}'!r} to ask {server}, or name {bare!r} in the models= of {pinned}."
        skips = [SkippedTarget(name, f"{NO_MODEL} {model}, as far as is known") for name in (*local, pinned)]
        return Candidates(model, (), tuple(skips), undecided=local, cause=cause, hint=hint)

    def _may_be_local(self, model: str, local: Sequence[str]) -> bool:
        """Whether a name is written like a local model with its tag: by the tag, or as other names of these servers begin."""
        head, _colon, tail = model.partition(":")
        head = head.strip().casefold()
        listed = [name.casefold() for server in local for name in (*self._lists.names(server), *CURRENT.snapshot.names("ollama"))]
        return bool(_TAG.fullmatch(tail.strip())) or any(re.split(r"[:-]", name)[0] == head for name in listed)

    def _for_any_model(self, bare: str, pinned: str | None) -> Candidates:
        """Return all models that the vendors, or the pinned one, are known to have."""
        targets, skipped = [], []
        for name, vendor in list(self.vendors.items()):
            if pinned is not None and name != pinned:
                skipped.append(_passed_over(name, pinned))
                continue
            theirs = list(dict.fromkeys(_models(vendor, self._lists.names(name))))
            targets += [_open_target(name, vendor, model) for model in theirs]
            if not theirs:
                skipped.append(SkippedTarget(name, self._no_known_model(name)))
        unknown = [skip.vendor for skip in skipped if skip.code != PINNED]
        return Candidates(bare, tuple(targets), tuple(skipped), Selection.ANY, undecided=() if targets else self._local(unknown))

    def _for_name(self, bare: str) -> Candidates:
        """Return the targets for a model's name (by ``may_be_asked``), the reserve for rules, and the model's stand-ins."""
        vendors = list(self.vendors.items())
        claims = {name: self._claim(name, vendor, bare) for name, vendor in vendors}
        alone = self._is_alone()
        shared = any(claims[name].has_it and not vendor.kind for name, vendor in vendors)
        asked = [name for name in claims if may_be_asked(claims[name], self._named(name), alone=alone, shared=shared)]
        having = [name for name in asked if claims[name].has_it]
        if ":" in bare and any(self.vendors[name].is_local for name in having):
            asked = having  # a local model's tag; a host of any model that is merely named may not hear of it
        spare = self._fallback
        instead: tuple[Target, ...] = ()
        is_unread = False
        others = bool({*asked} - {spare})
        if spare is not None and not claims[spare].has_it and (others or (alone and self._is_anothers(spare, bare))):
            instead = self._stand_ins(spare, bare)
            is_unread = not instead and self._may_list_more(spare, bare)
            is_left_out = bool(instead) or (others and (self._fallback_model is None or is_unread))
            asked = [name for name in asked if name != spare or not is_left_out]
        targets = [target_of(name, vendor, vendor.model_for(bare) or bare) for name, vendor in vendors if name in asked]
        out = {name: claim for name, claim in claims.items() if name not in asked}
        cause, hint = ("", "") if targets or instead else self._refusal(bare, claims)
        may_have = [name for name in out if out[name] is NameClaim.ANY]
        return Candidates(
            bare,
            tuple(targets),
            tuple([self._skip(name, claim, bare, is_unread) for name, claim in out.items() if not (name == spare and instead)]),
            reserve=self._reserve(bare, out, instead),
            later=(spare,) if spare is not None and is_unread else (),
            spare=spare if spare is not None and is_unread else "",
            cause=cause,
            hint=hint,
            undecided=() if (targets or instead) and (having or ":" not in bare) else self._local(may_have),
        )

    def _for_pin(self, bare: str, pinned: str) -> Candidates:
        """The vendor that a reference names, unless it is known not to have the model."""
        vendor = self.vendors[pinned]
        skipped = [_passed_over(name, pinned) for name in list(self.vendors) if name != pinned]
        claim = self._claim(pinned, vendor, bare)
        if may_be_asked(claim, Named.MODEL):
            return Candidates(bare, (target_of(pinned, vendor, vendor.model_for(bare) or bare),), tuple(skipped))
        lack = SkippedTarget(pinned, self._lack(pinned, claim, bare))
        cause, hint = self._refusal(bare, {pinned: claim})
        return Candidates(bare, (), (*skipped, lack), cause=cause, hint=hint)

    def _claim(self, name: str, vendor: VendorInfo, model: str) -> NameClaim:
        """Return what is known about a model's name at a vendor: by the vendor's ``claim_on`` and by its own list."""
        claim = vendor.claim_on(model)
        if claim.has_it and vendor.model_for(model) is None:
            return NameClaim.CLOSED
        return NameClaim.LISTED if claim is not NameClaim.CLOSED and self._lists.has(name, model) else claim

    def _named(self, name: str) -> Named:
        """Whether the configuration names a vendor for whatever is asked."""
        if canonical(name) == self._default:
            return Named.DEFAULT
        return Named.VENDOR if canonical(name) in self._for_all else Named.NOT

    def _is_alone(self) -> bool:
        """Whether there is one vendor only, perhaps by several accounts; of local servers each is its own."""
        rows = {vendor.row for vendor in list(self.vendors.values())}
        row = next(iter(rows)) if len(rows) == 1 else None
        return len(self.vendors) == 1 or (row is not None and not row.keyless)

    @property
    def _fallback(self) -> str | None:
        """The registered name of the fallback vendor."""
        wanted = self._wanted["fallback_vendor"]
        vendor = self.find(wanted) if wanted is not None else None
        return vendor.name if vendor is not None else None

    def _is_anothers(self, name: str, model: str) -> bool:
        """Whether a model's name is known to be another vendor's than this one of the catalog."""
        row = self.vendors[name].row
        return row is not None and owner(model) not in (None, row.name)

    def _may_list_more(self, name: str, model: str) -> bool:
        """Whether a fallback vendor is a local server that no model is known of, and which must not be asked for another's.

        A server of unknown make may have any where it lists none, and any that is nobody else's where it has no list.
        """
        if self._fallback_model != NEAREST or not self._local([name]):
            return False
        is_proxy = self.vendors[name].kind == _ANY_SERVER
        has_no_list = bool(self._lists.failure(name)) and not self._is_anothers(name, model)
        return not (is_proxy and (self._lists.is_read(name) or has_no_list))

    def _skip(self, name: str, claim: NameClaim, bare: str, is_unread: bool) -> SkippedTarget:
        """A vendor that is not asked for a model; ``is_unread`` says that nothing is known of the fallback vendor's own models."""
        if is_unread and name == self._fallback:
            return SkippedTarget(name, self._no_stand_in(name, bare), FALLBACK)
        return SkippedTarget(name, self._lack(name, claim, bare))

    def _no_stand_in(self, name: str, bare: str) -> str:
        """Why none of a local fallback vendor's models can stand in for one."""
        failure = self._lists.failure(name)
        why = "has not been read yet"
        if failure:
            why = f"could not be read ({failure})"
        elif self._lists.is_read(name):
            why = "names none that answers prompts"
        return f"{NO_MODEL} {bare}, and its list of models {why}, so none can stand in; name one by Config(fallback_model=...)"

    def _no_known_model(self, name: str) -> str:
        """Why a vendor has no model to choose from."""
        failure, is_local = self._lists.failure(name), bool(self._local([name]))
        why = "a model that is known here"
        if failure:
            return f"its list of models could not be read ({failure}); name its models in models=, or a default_model"
        if self._lists.is_read(name):
            why = "a model in its list that answers prompts"
        elif is_local:
            why = "a model that is known before its list is read"
        return f"{NO_MODEL} {why}; name its models in models=, or a default_model"

    def _stand_ins(self, name: str, model: str) -> tuple[Target, ...]:
        """What a fallback vendor is asked for in place of a model that it does not have, the best choice first; if it may be."""
        if self._fallback_model is None:
            return ()
        vendor = self.vendors[name]
        if self._fallback_model != NEAREST:
            names = [split_ref(self._fallback_model or "", (name,))[1]]
        elif vendor.default_model is not None:
            names = [vendor.default_model]
        else:
            near = () if vendor.is_local else stand_ins(vendor.kind, model)
            own = [
                *filter(answers_prompts, self._lists.names(name)),
                *[own for own in vendor.vendor.capabilities.models if not _GLOB.search(own)],
            ]
            named = [theirs for theirs in near if self._claim(name, vendor, theirs).has_it] or own
            names = [theirs for each in named if (theirs := vendor.model_for(each)) is not None]
        targets = [attrs.evolve(target_of(name, vendor, each), stands_in_for=model) for each in dict.fromkeys(names)]
        return tuple(sorted(targets, key=lambda target: not target.is_free) if vendor.is_local else targets)

    def _reserve(self, bare: str, claims: Mapping[str, NameClaim], stand_ins: tuple[Target, ...] = ()) -> Reserve | None:
        """Return the vendors left out that a rule, or a mode of the user's own, may still name, and the stand-ins."""
        held = [
            name
            for name, claim in claims.items()
            if canonical(name) in self._in_rules or (self._has_modes and claim is NameClaim.ANY)
        ]
        if not held and not stand_ins:
            return None
        return Reserve(tuple([(target_of(name, self.vendors[name], bare), claims[name]) for name in held]), stand_ins)

    def _local(self, names: Sequence[str]) -> tuple[str, ...]:
        """The local servers among some vendors, whose own lists may tell more."""
        return tuple([name for name in names if self.vendors[name].is_local and self.vendors[name].list_models is not None])

    def _lack(self, name: str, claim: NameClaim, bare: str) -> str:
        """Why a vendor is not asked for a model."""
        if not may_be_asked(claim, Named.MODEL):
            return f"{NO_MODEL} {bare}; give it a model_map or a default_model"
        listed, failure = self._lists.has(name, bare), self._lists.failure(name)
        told = "; its list has not been asked for" if listed is None and self.vendors[name].is_local else ""
        told = f"; its list could not be read: {failure}" if failure else told
        return f"{NO_MODEL} {bare}, as far as is known{told}; write {f'{name}:{bare}'!r} to ask it all the same"

    def _refusal(self, bare: str, claims: Mapping[str, NameClaim]) -> tuple[str, str]:
        """Why none of some vendors is asked for a model, and what to do: a name that may have been meant, or how to be asked."""
        if not claims:
            return "", ""
        names = list(claims)
        cause = f"{names[0]} {NO_MODEL} {bare}"
        if len(names) > 1:
            cause = f"no registered vendor is known to have the model ({several(names)}"
            failed = next(((name, told) for name in names if (told := self._lists.failure(name))), None)
            cause += f"; the list of {failed[0]} could not be read: {failed[1]})" if failed is not None else ")"
        elif may_be_asked(claims[names[0]], Named.MODEL):
            cause += ", as far as is known"
        if bare in self._modes:
            return cause, f"{bare!r} is a mode, no model: write Request('auto', ..., mode={bare!r})."
        meant = suggestion(bare, [self._registered(name) for name in list(self.vendors)], self._pools)
        return cause, str(meant) or self._way_out(bare, claims)

    def _registered(self, name: str) -> Registered:
        """A vendor as suggestions need it: what it serves today, by the catalog, its own list and its capabilities."""
        vendor, today = self.vendors[name], SYSTEM_CLOCK.now().date()
        kind = vendor.kind
        names = [
            model
            for model in (CURRENT.snapshot.names(kind) if not vendor.is_local else ())  # it has what was loaded into it
            if (facts := model_facts(kind, model)) is not None and facts.is_active(today) and vendor.model_for(model) == model
        ]
        listed = [model.removesuffix(":latest") for model in self._lists.names(name)]
        names += [*listed, *[model for model in vendor.vendor.capabilities.models if not _GLOB.search(model)]]

        def takes(model: str) -> bool:
            return may_be_asked(self._claim(name, vendor, model), Named.MODEL)

        return Registered(name, kind, vendor.is_local, names, takes)

    def suggest_models(self, target: Target, deadline: Deadline, sure: bool, profile: str | None) -> str:
        """Return a remedy for a target that says it lacks its model: similar names of its vendor, or the vendor's list.

        Nothing for a model that the vendor is known to have, unless it is ``sure`` that the refusal is about the model. A name that
        is an alias of another profile, or like one of the lockfile, is told as that.
        """
        name, vendor = target.vendor, self.vendors[target.vendor]
        if self._local([name]):
            with contextlib.suppress(DeadlineExceeded):
                self._ask_for_lists((name,), deadline)
        known = self._registered(name).models
        if not sure and target.model in known:
            return ""
        if told := self._near_alias(target.model, profile):
            return told
        if near := near_names(target.model, known):
            return f"did you mean {' or '.join(map(repr, near))}?"
        listed = self._lists.names(name) if vendor.is_local else ()
        return f"its list has {several(listed)}" if listed else ""

    def _way_out(self, bare: str, claims: Mapping[str, NameClaim]) -> str:
        """What to do about a name that is like no other."""
        takers = [name for name, claim in claims.items() if may_be_asked(claim, Named.MODEL)]
        takers.sort(key=lambda name: (claims[name] is not NameClaim.ANY, self._lists.has(name, bare) is False))
        if ":" in bare and not any(self.vendors[name].is_local for name in takers):
            return f"No vendor is named {bare.partition(':')[0]!r}; write 'vendor:model' with a registered vendor."
        if takers:
            return f"Write {f'{takers[0]}:{bare}'!r} to ask {takers[0]} all the same."
        if not any(self.vendors[name].kind for name in claims):
            return "Add the name to the capabilities of the vendor that has it."
        return "Add the name to the models= of the vendor that has it, or map it by model_map."

    def _for_pool(self, alias: Alias) -> Candidates:
        """Who can be asked for the models of a pool, in its order, and what of it cannot be asked at all."""
        targets: dict[tuple[str, str], Target] = {}
        skipped: list[SkippedTarget] = []
        undecided: list[str] = []
        later: list[str] = []
        for member in alias.models:
            found = self._for_model(member)
            (later if targets else undecided).extend(found.undecided)  # who comes first is not passed over for want of a list
            shared = member if len(found.targets) > 1 else ""
            for target in found.targets:
                targets.setdefault(target.key, attrs.evolve(target, member=shared) if shared else target)
            if not found.targets:
                why = f"{NO_MODEL} a registered vendor that can be asked for it; it is of the pool {alias.name!r}"
                absent = next((skip for skip in found.skipped if skip.code == UNREGISTERED), None)
                told = (f"{why}, and {absent.reason}", UNREGISTERED) if absent is not None else (why, "")
                if targets and (unread := [name for name in found.undecided if self._lists.is_unread(name)]):
                    told = (
                        f"{NO_MODEL} a vendor that is known to have it; the list of {several(unread)} is read when it is needed",
                        "",
                    )
                skipped.append(SkippedTarget(member, *told))
        there = {target.vendor for target in targets.values()}
        closed = dict.fromkeys([name for name in list(self.vendors) if name not in there], NameClaim.CLOSED)
        return Candidates(
            alias.name,
            tuple(targets.values()),
            tuple(skipped),
            Selection.POOL,
            alias,
            reserve=self._reserve(alias.name, closed),
            undecided=tuple(dict.fromkeys(undecided)),
            later=tuple([name for name in dict.fromkeys(later) if name not in undecided]),
        )


def _passed_over(name: str, pinned: str) -> SkippedTarget:
    return SkippedTarget(name, f"the request names {pinned}", PINNED)


def _models(vendor: VendorInfo, listed: Sequence[str]) -> Iterator[str]:
    """The models that a vendor is known to have and serves today: its default, those of the catalog, and of its own list."""
    today = SYSTEM_CLOCK.now().date()
    taken = set()
    own = vendor.vendor.capabilities.models
    for model in [vendor.default_model or "", *model_names(vendor.kind), *own, *filter(answers_prompts, listed)]:
        facts = model_facts(vendor.kind, model)
        name = facts.listed if facts is not None else model
        is_gone = facts is not None and not facts.is_active(today)
        theirs = vendor.model_for(model) if model and name not in taken and not is_gone and not _GLOB.search(model) else None
        if theirs is not None:
            taken.add(name)
            yield theirs


def target_of(name: str, vendor: VendorInfo, model: str) -> Target:
    """The pair of vendor and model, with what the catalog or the vendor itself says of it."""
    kind = vendor.kind or None
    told = target_facts(kind, model, name, free=vendor.is_free(otherwise=vendor.row is not None and vendor.row.free))
    if kind is None:
        able = vendor.vendor.capabilities
        told["context_window"] = told["context_window"] or able.context_window
        told["max_output"] = told["max_output"] or able.max_tokens
        told["lacks"] |= missing_capabilities(able)
    if vendor.embed is None:
        told["lacks"] |= _NO_VECTORS
    if vendor.drops_params:
        told["lacks"] -= _DROPPED
    return Target(vendor=name, model=model, kind=kind, **told)


def _open_target(name: str, vendor: VendorInfo, model: str) -> Target:
    """The target of a request that leaves the model open: a local one makes vectors only where its name promises them."""
    target = target_of(name, vendor, model)
    return attrs.evolve(target, lacks=target.lacks | _NO_VECTORS) if vendor.is_local and answers_prompts(model) else target


def _asleep(name: str, vendor: VendorInfo) -> SkippedTarget:
    lack = vendor.missing()
    return SkippedTarget(name, "is not available: it says so") if lack is None else SkippedTarget(name, lack, MISSING)


def _is_local_name(model: str) -> bool:
    """Whether a name is that of a model of Ollama's library with its tag, such as ``mistral:7b``."""
    head, _colon, tail = model.partition(":")
    head, names = head.strip().casefold(), CURRENT.snapshot.names("ollama")
    return bool(_BARE_TAG.fullmatch(tail.strip())) and any(re.split(r"[:-]", name)[0].casefold() == head for name in names)


def _may_be_a_tag(row: VendorRow, model: str) -> bool:
    """Whether a reference to a vendor that is not registered, for no model that it is known to have, may name a local model."""
    return claim_on(row.name, model.partition(":")[2].strip()) in (NameClaim.UNKNOWN, NameClaim.FOREIGN)


def _awake(vendor: VendorInfo) -> bool:
    try:
        return vendor.vendor.is_available()
    except Exception:  # a vendor that cannot even say is not available
        logger.warning("vendor %s could not say whether it is available", vendor.name, exc_info=True)
        return False
