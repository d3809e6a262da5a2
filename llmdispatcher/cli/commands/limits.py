"""``budgets`` and ``limits``: show what is used of shared budgets and rate limits, and reset one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

import attrs
import click

from ...catalog import Target
from ...dispatcher import Dispatcher, read_config_file
from ...resilience import Limits, RateLimit
from ...runtime import SYSTEM_CLOCK
from ...types import build, choices, dollars_text
from .. import records
from ..options import Suite, make_command
from ..settings import Settings
from ..tables import cell, print_records, print_result
from ..terminal import FAILED, OK, CommandFailed, UsageError, confirm, plain, say, tell

budgets = Suite("budgets", help="Show budgets, or reset one.", examples=("llmdispatcher --config app.toml budgets show",))


@contextmanager
def _open_budgets(settings: Settings) -> Iterator[Dispatcher]:
    """A dispatcher with the budgets of the configuration, and the ledger that keeps them."""
    file = read_config_file(settings.config, only=("budgets", "ledger"))
    config = file.config()
    if not config.budgets:
        raise UsageError("there are no budgets: name the file that has [[budgets]] with --config")
    ledger = records.ledger_address(settings, file.fields.get("ledger"))
    if ledger is None:
        raise UsageError(
            "budgets without a ledger are kept in the process that spends; --db, --sqlite or `ledger` in the file names a database"
        )
    with Dispatcher(file.config(ledger=ledger)) as dispatcher:
        yield dispatcher


@make_command("show", suite=budgets, examples=("llmdispatcher --config app.toml budgets show",))
def show_budgets(settings: Settings) -> int:
    """Show how every account of every budget in the ledger's database stands."""
    with _open_budgets(settings) as dispatcher:
        found = dispatcher.get_budgets()
    rows = [
        (
            plain(one.budget),
            plain(one.share) or "–",
            dollars_text(one.spent),
            dollars_text(one.reserved),
            dollars_text(one.limit),
            one.period,
            f"{one.ends:%Y-%m-%d %H:%M}" if one.ends is not None else "–",
        )
        for one in found
    ]
    heads = ("budget", "whose", "US$ spent", "reserved", "limit", "period", "until (UTC)")
    if not print_records(settings, [one.as_dict() for one in found], heads, rows):
        tell("no account is in use")
    return OK


@make_command(
    "reset",
    suite=budgets,
    examples=("llmdispatcher --config app.toml budgets reset team", "llmdispatcher budgets reset daily --share ann --yes"),
)
@click.argument("name", help="The name of the budget.")
@click.option("--share", metavar="NAME", help="Only the account of this user, vendor, ...; else all.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset_budget(settings: Settings, name: str, share: str | None, yes: bool) -> int:
    """Have nothing spent in the present period of a budget, for all processes that share it.

    What calls under way have reserved stays reserved.
    """
    with _open_budgets(settings) as dispatcher:
        whose = f" of {plain(share)}" if share is not None else ""
        if not (yes or confirm(f"Reset the budget {plain(name)!r}{whose}", otherwise="--yes does so")):
            return FAILED
        count = dispatcher.reset_budget(name, share)
    print_result(settings, {"budget": name, "share": share, "accounts": count}, f"{plain(name)}: {count:,} accounts reset")
    return OK


limits = Suite("limits", help="Show shared rate limits, or reset one.", examples=("llmdispatcher --config app.toml limits show",))


@attrs.frozen
class _KeyNumbers:
    """The keys of a vendor by their numbers, which is all that its limits need of them."""

    key_count: int

    def awake_keys(self) -> Sequence[int]:
        """All of them."""
        return range(1, self.key_count + 1)


@contextmanager
def _open_limits(settings: Settings) -> Iterator[tuple[Limits, list[tuple[str, bool]]]]:
    """The counts of the file's vendors that have a shared limit, and whether each is one of each model.

    No vendor is made: no key needs to be there, and nothing but the storage is connected to.
    """
    config = read_config_file(settings.config, only=("limits_storage", "limits_prefix")).config()
    file = read_config_file(settings.config, lenient=True, only=("vendors",))
    with closing(Limits(config.limits_storage, config.limits_prefix)) as limits:
        shared = []
        for table, name in file.vendor_names.items():
            given = file.vendors[table]
            limit = _limit_of(table, given)
            if limit is not None and (limit.storage or config.limits_storage):
                keys = given.get("api_key")
                limits.set(name, limit, _KeyNumbers(len(keys)) if isinstance(keys, list) else None)
                shared.append((name, limit.per_model))
        if not shared:
            raise UsageError(
                "there are no shared limits: name the file that has vendors with a rate_limit, and limits_storage, with --config;"
                " limits without a storage are kept in the process that asks"
            )
        yield limits, shared


def _limit_of(table: str, given: Any) -> RateLimit | None:
    if not isinstance(given, Mapping):
        raise UsageError(f"vendors.{table}: {type(given).__name__} is not a table; write [vendors.{table}]")
    value = given.get("rate_limit")
    return None if value is None else build(RateLimit, value, f"vendors.{table}.rate_limit")


_MODEL = click.option("-m", "--model", metavar="MODEL", help="The model, where each has a count of its own.")


@make_command("show", suite=limits, examples=("llmdispatcher --config app.toml limits show",))
@_MODEL
def show_limits(settings: Settings, model: str | None) -> int:
    """Show what is left of the rate limits that processes share, by vendor."""
    found: list[dict[str, Any]] = []
    with _open_limits(settings) as (limits_of, shared):
        for name, per_model in shared:
            if per_model and model is None:
                say(f"{name}: each model has its own count; --model names one")
                continue
            status = limits_of.status(Target(vendor=name, model=model or ""), SYSTEM_CLOCK.monotonic())
            if status.shared is False:
                raise CommandFailed(f"{name}: the Redis server of its limits fails")
            facts = {"vendor": name, "model": model if per_model else None}
            minute = (
                ("requests", status.requests_limit, status.requests_remaining),
                ("tokens", status.tokens_limit, status.tokens_remaining),
            )
            found += [
                {**facts, "unit": unit, "period": "minute", "limit": most, "remaining": left} for unit, most, left in minute if most
            ]
            found += [
                {**facts, "unit": one.unit, "period": one.period, "limit": one.limit, "remaining": one.remaining}
                for one in status.windows
            ]
    rows = [
        (plain(one["vendor"]), one["unit"], one["period"], cell(one["remaining"], ","), cell(one["limit"], ",")) for one in found
    ]
    if not print_records(settings, found, ("vendor", "what", "in any", "left", "limit"), rows):
        tell("there is nothing to show")
    return OK


@make_command(
    "reset",
    suite=limits,
    examples=(
        "llmdispatcher --config app.toml limits reset openai",
        "llmdispatcher --config app.toml limits reset eu -m gpt-4o --yes",
    ),
)
@click.argument("vendor", help="The vendor's name in the file.")
@_MODEL
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
def reset_limit(settings: Settings, vendor: str, model: str | None, yes: bool) -> int:
    """Forget what was asked of a vendor, for all processes that share its limits.

    What the vendor itself has counted it has counted.
    """
    with _open_limits(settings) as (limits_of, shared):
        names = [name for name, _ in shared]
        if vendor not in names:
            raise UsageError(f"{vendor}: it has no shared limit; {choices(vendor, names, 'give {}')}")
        if not (yes or confirm(f"Reset the rate limits of {plain(vendor)}", otherwise="--yes does so")):
            return FAILED
        limits_of.reset(vendor, model)
    print_result(settings, {"vendor": vendor, "model": model}, f"{plain(vendor)}: its limits begin anew")
    return OK
