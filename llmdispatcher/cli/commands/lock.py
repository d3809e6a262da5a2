"""``lock``, ``bind``, ``aliases``, ``json-refresh``: lockfiles of aliases, and the registry whose versions they pin."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from ... import dispatcher as dispatching  # a door: what it offers is loaded when it is used
from ...catalog import BUNDLED, Lockfile, claim_on, get_model, vendor_row, vendor_rows
from ...errors import ConfigError, DispatchError, LockfileNotFound, ModelNotFound
from ...types import closest_name
from .. import records, values
from ..options import FILE, OVERWRITE, Positive, Suite, make_command
from ..settings import Settings
from ..tables import cell, print_records, print_result
from ..terminal import FAILED, OK, USAGE, UsageError, complain, may_write, tell, tell_json

if TYPE_CHECKING:
    from ...catalog import Registry


DEFAULT_FILE = Path("llmdispatcher.lock")
"""The name of a lockfile if none is given."""

REGISTRY = "LLMDISPATCHER_REGISTRY"
"""The variable that names a registry."""

LOCKFILE_OPTION = click.option(
    "--lockfile", type=FILE, metavar="FILE", help="The lockfile; else the one that applies in this folder."
)
"""The option of every command that uses a lockfile."""

REGISTRY_OPTION = click.option(
    "--registry", metavar="URL|DIR", help=f"The registry; else that of --config, of ${REGISTRY}, or the published one."
)
"""The option of every command that asks a registry."""


_HEADS = ("vendor", "version", "state", "reason")


def find_lockfile(path: Path | None) -> Lockfile:
    """Return the lockfile of the option, else the one that applies in this folder."""
    return Lockfile.load(path) if path is not None else Lockfile.discover()


def own_lockfile(path: Path | None) -> Lockfile:
    """Return a lockfile of the user's own. Raises :class:`UsageError` if there is only the library's."""
    found = find_lockfile(path)
    if path is None and found.is_bundled:
        raise UsageError("there is no lockfile here; `llmdispatcher lock init` makes one, --lockfile names another")
    return found


def registry_of(settings: Settings, given: str | None) -> Registry:
    """Return the registry of the option, the configuration or the environment, else the published one; nothing is asked yet."""
    from ...catalog import PUBLISHED, Registry  # late: only who asks one needs it

    configured: Any = dispatching.read_config_file(settings.config, only=("registry",)).fields.get("registry")
    return Registry(given or configured or os.environ.get(REGISTRY) or PUBLISHED)


def describe(lockfile: Lockfile) -> str:
    """Return the path of the lockfile, for people."""
    return "the lockfile of llmdispatcher itself" if lockfile.is_bundled else str(lockfile.path)


command = Suite(
    "lock",
    help="Make and check a lockfile: which models an alias stands for, profile by profile.",
    examples=("llmdispatcher lock init", "llmdispatcher lock check"),
)


@make_command(
    "init", suite=command, examples=("llmdispatcher lock init", "llmdispatcher lock init config/llmdispatcher.lock --bare")
)
@click.argument("file", type=FILE, required=False, metavar="[FILE]", help="Where; else llmdispatcher.lock, here.")
@click.option("--bare", is_flag=True, help="Write no aliases; else fast, balanced and deep.")
@OVERWRITE
def init(settings: Settings, file: Path | None, bare: bool, force: bool) -> int:
    """Write a new lockfile with the profiles default, prod, staging and dev."""
    path = file or DEFAULT_FILE
    if not may_write(path, force=force):
        return FAILED
    made = Lockfile.create_default(path)
    if not bare:
        bundled = Lockfile.load(BUNDLED)
        for alias, models in bundled.aliases("default").items():
            made.bind(alias, models, profile="default")
    path.unlink(missing_ok=True)
    made.save()
    print_result(
        settings, {"lockfile": str(path), "aliases": made.aliases("default")}, f"{path}: {len(made.aliases('default'))} aliases"
    )
    return OK


@make_command(
    "validate",
    suite=command,
    examples=("llmdispatcher lock validate", "llmdispatcher lock validate --lockfile config/llmdispatcher.lock --json"),
    codes="0 it can be used, 1 something in it is wrong, 2 there is none, 130 interrupted",
)
@LOCKFILE_OPTION
def validate(settings: Settings, lockfile: Path | None) -> int:
    """Read a lockfile and name every mistake in it."""
    try:
        found = own_lockfile(lockfile)
    except LockfileNotFound as error:
        complain(error.message, lines=True)
        return USAGE
    except ConfigError as error:
        _print_mistakes(settings, list(getattr(error, "problems", ()) or [error.message]))
        return FAILED
    if settings.json:
        _print_mistakes(settings, [])
    elif not settings.quiet:
        bindings = [binding for profile in found.contents.profiles.values() for binding in profile.bindings.values()]
        for text in dict.fromkeys(filter(None, [doubt(model) for binding in bindings for model in binding.models])):
            complain(text)
        profiles = {name: len(profile.bindings) for name, profile in found.contents.profiles.items()}
        tell(f"{describe(found)}: nothing is wrong ({', '.join(f'{name}: {count}' for name, count in profiles.items())})")
    return OK


def _print_mistakes(settings: Settings, mistakes: list[str]) -> None:
    if settings.json:
        tell_json({"valid": not mistakes, "mistakes": mistakes})
        return
    for text in mistakes:
        complain(text)


@make_command(
    "check",
    suite=command,
    examples=("llmdispatcher lock check", "llmdispatcher lock check --require summarizer --require chat --profile prod"),
    codes="0 all is there, 1 a package or a required alias is missing, 2 there is no lockfile or it is broken, 130 interrupted",
)
@LOCKFILE_OPTION
@click.option(
    "--require",
    "aliases",
    multiple=True,
    metavar="ALIAS",
    shell_complete=values.ALIAS,
    help="An alias that must exist; may be repeated.",
)
def check(settings: Settings, lockfile: Path | None, aliases: tuple[str, ...]) -> int:
    """Check that the packages that a lockfile extends are installed, and that aliases exist."""
    try:
        found = own_lockfile(lockfile)
    except ConfigError as error:
        for line in filter(str.strip, error.message.splitlines()):
            complain(line)
        return USAGE
    missing = [extension.problem for extension in found.extensions() if extension.problem is not None]
    missing += [
        f"there is not {found.describe_missing(name, settings.profile)}"
        for name in aliases
        if not found.has_alias(name, settings.profile)
    ]
    if settings.json:
        tell_json({"lockfile": str(found.path), "missing": missing})
        return FAILED if missing else OK
    for text in missing:
        complain(text)
    if not missing and not settings.quiet:
        tell(f"{describe(found)}: nothing is missing")
    return FAILED if missing else OK


@make_command(
    "bump-registry",
    suite=command,
    examples=("llmdispatcher lock bump-registry", "llmdispatcher lock bump-registry --vendor openai --profile prod"),
    codes="0 ok, 1 a vendor could not be asked for (the others are pinned), 2 wrong usage, 130 interrupted",
)
@LOCKFILE_OPTION
@REGISTRY_OPTION
@click.option(
    "--vendor",
    "vendors",
    multiple=True,
    metavar="NAME",
    shell_complete=values.VENDOR,
    help="Only this vendor; else all of the profile's models.",
)
def bump(settings: Settings, **given: Any) -> int:
    """Pin a profile to the versions of models and prices that the registry publishes now, and print what changes."""
    lockfile = own_lockfile(given["lockfile"])
    registry = registry_of(settings, given["registry"])
    profile = lockfile.contents.profile(lockfile.profile_in_use(settings.profile))
    pinned: dict[str, dict[str, Any]] = {}
    failed = False
    for vendor in given["vendors"] or _vendors(profile):
        before = profile.registry_versions.get(vendor)
        try:
            now = registry.edition(vendor).version
        except DispatchError as error:
            complain(f"{vendor}: {error.message}")
            failed = True
            continue
        lockfile.pin(vendor, now, profile=profile.name)
        pinned[vendor] = {"before": before, "now": now}
        if not settings.json:
            tell(f"{vendor}: {before if before is not None else 'not pinned'} → {now}")
    lockfile.save()
    if settings.json:
        tell_json({"lockfile": str(lockfile.path), "profile": profile.name, "versions": pinned})
    return FAILED if failed else OK


def _vendors(profile: Any) -> list[str]:
    """The vendors that a profile's models name, and those that it pins."""
    named = {model.partition(":")[0] for binding in profile.bindings.values() for model in binding.models if ":" in model}
    return sorted(named | set(profile.registry_versions))


def doubt(model: str) -> str | None:
    """Return a warning if a reference seems misspelt: its vendor resembles one of the catalog, or its model one of the vendor."""
    head, colon, tail = model.partition(":")
    row = vendor_row(head) if colon else None
    if row is None:
        vendor = closest_name(head, [one.name for one in vendor_rows()]) if colon else None
        if vendor is None or not claim_on(vendor, tail).has_it:  # it may be the tag of a local model, as in llama3:8b
            return None
        return f"{model}: no vendor of the catalog is named {head!r}; did you mean '{vendor}:{tail}'?"
    try:
        if not row.any_model:
            get_model(model)
    except ModelNotFound as error:
        return error.message.removeprefix("ref: ") if "did you mean" in error.message else None
    return None


@make_command(
    "bind",
    examples=(
        'llmdispatcher bind summarizer "openai:gpt-4o-mini,anthropic:claude-haiku-4-5"',
        "llmdispatcher bind summarizer openai:gpt-4o --profile prod",
        "llmdispatcher bind summarizer --remove",
    ),
)
@click.argument("alias", shell_complete=values.ALIAS, help="Its name.")
@click.argument(
    "models",
    required=False,
    metavar="[MODELS]",
    shell_complete=values.MODELS,
    help="Models, the first choice first, with commas between them.",
)
@click.option("--remove", is_flag=True, help="Remove the alias.")
@LOCKFILE_OPTION
def bind(settings: Settings, alias: str, models: str | None, remove: bool, lockfile: Path | None) -> int:
    """Bind an alias to models in a profile of the lockfile; a former binding is replaced, comments stay.

    If this folder has no lockfile, one is made.
    """
    bound: Sequence[str] = ()
    if remove is (models is not None):
        raise UsageError('bind: give models, such as "openai:gpt-4o-mini,anthropic:claude-haiku-4-5", or --remove')
    found = _lockfile_to_change(lockfile)
    if remove:
        if not found.unbind(alias, profile=settings.profile):
            raise UsageError(f"{alias}: there is no such alias in the profile {found.profile_in_use(settings.profile)!r}")
        change = "is gone"
    else:
        bound = found.bind(alias, models or "", profile=settings.profile).models
        change = f"→ {', '.join(bound)}"
        for text in filter(None, map(doubt, bound)):
            complain(text)
    path, profile = found.save(), found.profile_in_use(settings.profile)
    print_result(
        settings,
        {"lockfile": str(path), "profile": profile, "alias": alias, "models": [] if remove else list(bound)},
        f"{path}: {alias} {change} ({profile})",
    )
    return OK


def _lockfile_to_change(path: Path | None) -> Lockfile:
    if path is not None and not path.exists():
        return Lockfile.create_default(path)
    found = find_lockfile(path)
    return Lockfile.create_default(DEFAULT_FILE) if found.is_bundled else found


@make_command("aliases", examples=("llmdispatcher aliases", "llmdispatcher aliases --profile prod --json"))
@LOCKFILE_OPTION
def aliases(settings: Settings, lockfile: Path | None) -> int:
    """List the aliases of a profile, those of extended packages too, and the models they stand for, the first choice first."""
    found = find_lockfile(lockfile)
    pools = found.aliases(settings.profile)
    profile = found.profile_in_use(settings.profile)
    as_json = {"lockfile": str(found.path), "profile": profile, "aliases": pools}
    print_records(settings, as_json, ("alias", "models"), [(name, ", ".join(models)) for name, models in pools.items()])
    if settings.json:
        return OK
    tell(f"{len(pools)} aliases; profile {profile} of {describe(found)}")
    for extension in found.extensions():
        if extension.problem is not None:
            complain(extension.problem)
    return OK


@make_command(
    "json-refresh",
    examples=(
        "llmdispatcher json-refresh",
        "llmdispatcher json-refresh --registry https://registry.example.com --json",
        "llmdispatcher --sqlite calls.db json-refresh",
    ),
    codes="0 all are fresh, 1 a vendor is not (what was known of it counts on), 2 wrong usage, 130 interrupted",
)
@REGISTRY_OPTION
@click.option("--timeout", type=Positive(), default=30.0, show_default=True, metavar="S", help="Seconds for all together.")
def json_refresh(settings: Settings, **given: Any) -> int:
    """Ask the registry now, and keep what it publishes on this machine, for every program that uses the same registry.

    A registry that is unavailable, broken or hostile changes nothing: earlier data still counts. Models and prices as they count
    then are written into the ledger, if there is one, for queries in SQL.
    """
    with records.open_named_ledger(settings, records.configured_ledger(settings)) as ledger:
        registry = registry_of(settings, given["registry"])
        try:
            states = registry.refresh(timeout=given["timeout"])
        finally:
            registry.close()
        written = None
        if ledger is not None:
            report = ledger.refresh_models(registry.models())
            written = {"database": ledger.address.shown, **attrs.asdict(report)}
    rows = [(name, cell(state.version), state.state, state.reason) for name, state in states.items()]
    as_json: dict[str, Any] = {name: state.as_dict() for name, state in states.items()}
    print_records(settings, as_json | ({} if written is None else {"ledger": written}), _HEADS, rows)
    if written is not None and not (settings.json or settings.quiet):
        tell("{database}: {models:,} models, {added:,} of them new and {changed:,} changed; {ended:,} are gone".format(**written))
    return OK if states and all(state.version is not None and state.source == "registry" for state in states.values()) else FAILED
