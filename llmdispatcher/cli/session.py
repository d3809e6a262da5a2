"""The vendors of one run of the command line: those that have a key, or four simulated ones."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from .. import dispatcher as dispatching  # doors: what they offer is loaded when it is used, and not for help or a shell
from .. import resilience, routing, vendors
from ..catalog import owner, vendor_row
from . import keychain, records
from .settings import Settings
from .terminal import CommandFailed, UsageError, complain, say

if TYPE_CHECKING:
    from ..dispatcher import ConfigFile, Dispatcher
    from ..resilience import RateLimit
    from ..vendors import HttpVendor

STAND_INS: Mapping[str, Mapping[str, str]] = {
    "openai": {"claude-haiku-*": "gpt-4o-mini", "claude-*": "gpt-4.1", "gemini-*-pro*": "gpt-4.1", "gemini-*": "gpt-4o-mini"},
    "anthropic": {
        "gpt-*-mini": "claude-haiku-4-5",
        "gpt-*": "claude-sonnet-4-6",
        "gemini-*-pro*": "claude-sonnet-4-6",
        "gemini-*": "claude-haiku-4-5",
    },
    "google": {
        "gpt-*-mini": "gemini-2.5-flash",
        "gpt-*": "gemini-2.5-pro",
        "claude-haiku-*": "gemini-2.5-flash",
        "claude-*": "gemini-2.5-pro",
    },
}
"""By vendor: which of its models answers for one that it does not have. Azure's names are deployments, so it substitutes none."""

_NO_KEY = "no-key"
"""The key of a vendor to which nothing is sent."""

_OWNERS = {"claude-*": "anthropic", "gemini-*": "google", "gpt-*": "openai"}


@attrs.frozen(kw_only=True)
class Character:
    """What a simulated vendor is like: seconds, output tokens a second, the share of requests that fail, and their statuses."""

    kind: str
    latency: float
    tokens_per_second: float
    error_rate: float = 0.0
    errors: tuple[int, ...] = ()
    description: str


CHARACTERS = (
    Character(
        kind="azure",
        latency=0.02,
        tokens_per_second=400,
        error_rate=1,
        errors=(503,),
        description="first for gpt-4.1, and down (503)",
    ),
    Character(
        kind="openai",
        latency=0.12,
        tokens_per_second=500,
        error_rate=0.25,
        errors=(429,),
        description="quick, limits the rate now and then (429)",
    ),
    Character(kind="anthropic", latency=0.3, tokens_per_second=250, description="slow and dear, never fails"),
    Character(
        kind="google",
        latency=0.05,
        tokens_per_second=900,
        error_rate=0.1,
        errors=(500, 529),
        description="fast and cheap, stumbles (500, 529)",
    ),
)


@attrs.frozen(kw_only=True)
class VendorChoice:
    """The vendors that a command asks.

    ``simulate``: simulated ones; ``or_simulate``: simulated ones if no vendor has a key; ``substitute``: a similar model of another
    vendor answers if a model's own vendor is missing or fails.
    """

    simulate: bool = False
    or_simulate: bool = False
    substitute: bool = False
    dry_for: Sequence[str] | None = None
    """The models to plan for without sending, which needs no key; ``None`` for a command that sends."""
    limit: RateLimit | None = None
    failover: bool = True
    """False: only the first target is asked, whatever the configuration says."""
    timeout: float | None = None
    """Seconds for each call unless the call or the configuration says; ``None`` for the library's default."""


def for_terminal(*, simulate: bool, failover: bool = True) -> VendorChoice:
    """For a person at a terminal, who sees the answer arrive and can stop it: it may take long."""
    return VendorChoice(simulate=simulate, failover=failover, timeout=300.0)


@attrs.frozen(kw_only=True)
class Session:
    """A dispatcher; ``description`` tells people which vendors it has, ``simulated`` whether they are simulated."""

    dispatcher: Dispatcher
    description: str
    simulated: bool
    keys_assumed: bool = False
    """No vendor has a key, and nothing is sent: vendors are registered as if they had one."""

    def warn_of_simulation(self, settings: Settings, *, whole: bool = False) -> None:
        """Say on stderr that vendors are simulated, where they are; ``whole`` tells what each of them is like."""
        if self.simulated and not settings.quiet:
            say(self.description if whole else self.description.partition("\n")[0].rstrip(":.") + ".")


@contextmanager
def open_session(settings: Settings, choice: VendorChoice) -> Iterator[Session]:
    """Open the dispatcher of a command, and close everything at the end.

    Raises :class:`UsageError` if there is no vendor to ask.
    """
    file = dispatching.read_config_file(settings.config)
    real = [] if choice.simulate else real_vendors(file, choice)
    simulated = not real and (choice.simulate or choice.or_simulate)
    assumed = not real and not simulated and choice.dry_for is not None
    if assumed:
        real = _vendors_without_keys(file, choice)
    if not real and not simulated:
        raise UsageError(_no_vendor_text())
    with ExitStack() as running:
        names = {one.name for one in real} or {character.kind for character in CHARACTERS}
        fields = _config_fields(file, settings, choice, names, simulated=simulated)
        dispatcher = running.enter_context(dispatching.Dispatcher(file.config(**fields)))
        if simulated:
            description = _register_simulated(dispatcher, running, substitute=choice.substitute)
        else:
            description = _register_real(dispatcher, real, choice)
        if assumed:
            description = f"No vendor has a key. Nothing is sent, so this is as if {', '.join(dispatcher.get_vendors())} had one."
        yield Session(dispatcher=dispatcher, description=description, simulated=simulated, keys_assumed=assumed)


def _config_fields(
    file: ConfigFile, settings: Settings, choice: VendorChoice, names: Container[str], *, simulated: bool
) -> dict[str, Any]:
    """The fields of the configuration that the command line sets.

    The database and the profile that were given precede what the file says; the other fields count where it says nothing. Where
    substitutes may answer, each model goes to its owner first, if that is there. Simulated vendors are asked again soon, and their
    calls, which cost nothing, are logged in a database that was given only.
    """
    unless_said: dict[str, Any] = {"lockfile": True, "origin": "llmdispatcher"}
    if choice.timeout is not None:
        unless_said["timeout"] = choice.timeout
    if simulated or choice.substitute:
        rules = [
            routing.RoutingRule(condition=routing.RoutingCondition(model_pattern=glob), vendor=name)
            for glob, name in _OWNERS.items()
            if name in names
        ]
        azure = routing.RoutingCondition(model_pattern="gpt-4.1*")
        first = routing.RoutingRule(condition=azure, vendor="azure", priority=10, name="gpt-4.1 on Azure first")
        unless_said["routing_rules"] = [first, *rules] if simulated else rules
    if simulated:
        unless_said["retry_policy"] = resilience.RetryPolicy(max_retries=10, initial_delay=0.1, max_delay=1.0)
        unless_said["retry_budget"] = resilience.RetryBudget(enabled=False)
    own: dict[str, Any] = {name: value for name, value in unless_said.items() if name not in file.fields}
    ledger = records.ledger_address(settings, file.fields.get("ledger"))
    if ledger is not None:
        own["ledger"] = None if simulated and not settings.database_given else ledger
    if settings.profile is not None:
        own["profile"] = settings.profile
    if not choice.failover:
        own["failover"] = False
    return own


def real_vendors(file: ConfigFile, choice: VendorChoice) -> list[HttpVendor]:
    """Return the vendors of the file, and those whose keys are in the environment or in the keychain."""
    more: dict[str, Any] = {} if choice.limit is None else {"rate_limit": choice.limit}
    found = {made.name: made for made in file.make_vendors()}
    for known in vendors.from_environment():
        if known.name not in found:
            found[known.name] = vendors.vendor(known.name, **_stand_in(known.name, choice), **more)
    for name in keychain.list_vendors():
        if name not in found and (key := _keychain_key(name)) is not None:
            found[name] = vendors.vendor(name, api_key=key, **_stand_in(name, choice), **more)
    return list(found.values())


def _no_vendor_text() -> str:
    """The text if no vendor can be asked: what a half-configured vendor lacks, else how to give a key."""
    halves = "; ".join(f"{name}: {lack}" for name, lack in vendors.incomplete().items())
    if halves:
        return f"nobody can be asked: {halves}"
    misspelt = "".join([f"{text}; " for text in vendors.misspelt_variables()])
    return (
        f"nobody can be asked: no vendor has a key; {misspelt}set one such as OPENAI_API_KEY, put one into the keychain with"
        " `llmdispatcher keys set openai`, or try it out with --simulate"
    )


def _vendors_without_keys(file: ConfigFile, choice: VendorChoice) -> list[HttpVendor]:
    """Vendors to plan with if none has a key: the makers of the best-known models and of those in ``dry_for``, and the vendors that
    a model's prefix or the configuration names."""
    heads = [model.partition(":")[0] for model in choice.dry_for or ()]
    named = [name for _field, name in file.config().named_vendors()]
    owners = [owner(model.rpartition(":")[2]) or "" for model in choice.dry_for or ()]
    rows = [vendor_row(name) for name in (*STAND_INS, *heads, *named, *owners)]
    kinds = dict.fromkeys([row.name for row in rows if row is not None])
    return [vendors.vendor(kind, api_key=_NO_KEY, **_stand_in(kind, choice)) for kind in kinds]


def _keychain_key(name: str) -> str | None:
    """The key in the keychain; if it cannot be opened, that is reported, and the other vendors are asked."""
    try:
        return keychain.key_of(name)
    except (CommandFailed, UsageError) as error:
        complain(f"{name}: {error}")
        return None


def _stand_in(kind: str, choice: VendorChoice) -> dict[str, Any]:
    return {"model_map": STAND_INS.get(kind, {})} if choice.substitute else {}


def _register_real(dispatcher: Dispatcher, found: list[HttpVendor], choice: VendorChoice) -> str:
    for one in found:
        dispatcher.register_vendor(one)
    dispatcher.check_vendors()  # its warnings are printed
    substitutes = "; where a model's own vendor is missing or fails, a similar model of another answers"
    names = ", ".join(dispatcher.get_vendors())
    return f"Asking {names}{substitutes if choice.substitute else ''}."


def _register_simulated(dispatcher: Dispatcher, running: ExitStack, *, substitute: bool) -> str:
    from ..testing import VendorSimulator, faults  # late: only a run without keys needs them

    for character in CHARACTERS:
        simulator = running.enter_context(
            VendorSimulator(
                latency=character.latency,
                tokens_per_second=character.tokens_per_second,
                error_rate=character.error_rate,
                errors=[faults.rate_limit_ms(400) if status == 429 else faults.status(status) for status in character.errors],
                seed=len(character.kind),
            )
        )
        dispatcher.register_vendor(
            vendors.vendor(
                character.kind,
                api_key="simulated",
                base_url=getattr(simulator, f"{character.kind}_url"),
                model_map=STAND_INS.get(character.kind, {}) if substitute else {},
                models=("gpt-*",) if character.kind == "azure" else (),
                trust_env=False,
            )
        )
    lines = [f"  {character.kind:<10} {character.description}" for character in CHARACTERS]
    return "\n".join(["Nothing is sent anywhere: four simulated vendors on this machine answer, with made-up text.", *lines])
