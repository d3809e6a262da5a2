"""The values that a shell completes: models, vendors, aliases, capabilities, modes, time zones and profiles.

They come from the catalog, the lockfile that applies here and the ``--config``; nobody is asked anything. Whatever is broken there
gives no values: while somebody types, an error would only disturb.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import click

Completer = Callable[[click.Context, click.Parameter, str], list[Any]]


def _completer(values: Callable[[click.Context, str], Iterable[str]]) -> Completer:
    """What click calls for a value: those that begin with what was typed, each once."""

    def complete(ctx: click.Context, _param: click.Parameter, typed: str) -> list[Any]:
        with contextlib.suppress(Exception):
            return [value for value in dict.fromkeys(values(ctx, typed)) if value.lower().startswith(typed.lower())]
        return []

    return complete


def _list_completer(values: Callable[[click.Context, str], Iterable[str]]) -> Completer:
    """Complete the last of several values that have commas between them."""

    def complete(ctx: click.Context, param: click.Parameter, typed: str) -> list[Any]:
        before, comma, last = typed.rpartition(",")
        taken = before.split(",")
        return [f"{before}{comma}{value}" for value in _completer(values)(ctx, param, last) if value not in taken]

    return complete


def _option_of(ctx: click.Context, name: str) -> Any:
    return (ctx.find_root().obj or {}).get(name)


def _vendors(ctx: click.Context, _typed: str) -> list[str]:
    from ..catalog import vendor_rows  # late: only a shell asks, here and below

    names = [row.name for row in vendor_rows()]
    if _option_of(ctx, "config") is None:
        return names
    from ..dispatcher import read_config_file

    return [*read_config_file(_option_of(ctx, "config"), lenient=True).vendors, *names]


def _keychain_vendors(_ctx: click.Context, _typed: str) -> list[str]:
    from .keychain import list_vendors

    return list_vendors()


def _aliases(ctx: click.Context, _typed: str) -> list[str]:
    from ..catalog import Lockfile

    file = ctx.params.get("lockfile")
    lockfile = Lockfile.load(file) if file is not None else Lockfile.discover()
    return list(lockfile.aliases(_option_of(ctx, "profile")))


def _models(ctx: click.Context, typed: str) -> list[str]:
    """Aliases and names of models, and vendor:model where a vendor's name is begun."""
    from ..catalog import all_models, vendor_rows
    from ..runtime import SYSTEM_CLOCK

    today = SYSTEM_CLOCK.now().date()
    found: list[str] = []
    with contextlib.suppress(Exception):
        found += _aliases(ctx, typed)
    for row in vendor_rows():
        named = bool(typed) and f"{row.name}:".startswith(typed.partition(":")[0].lower())
        facts = [one for one in all_models(row.name) if one.is_active(today) and (one.checked or ":" in typed)]
        found += [one.ref if named else one.listed for one in facts if named or ":" not in typed]
    return ["auto", *found]


def _capabilities(_ctx: click.Context, _typed: str) -> Iterable[str]:
    from ..catalog import ABILITIES

    return ABILITIES


def _modes(_ctx: click.Context, _typed: str) -> Iterable[str]:
    from ..routing import MODES

    return MODES


def _zones(_ctx: click.Context, _typed: str) -> Iterable[str]:
    from zoneinfo import available_timezones

    return sorted(available_timezones())


def _profiles(_ctx: click.Context, _typed: str) -> Iterable[str]:
    from ..catalog import Lockfile

    return Lockfile.discover().contents.profiles


def file_names(_ctx: click.Context, _param: click.Parameter, typed: str) -> list[Any]:
    """Let the shell complete names of files."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(typed, type="file")]


MODEL, MODELS = _completer(_models), _list_completer(_models)
VENDOR, KEYCHAIN_VENDOR = _completer(_vendors), _completer(_keychain_vendors)
ALIAS, CAPABILITY, MODE, ZONE, PROFILE = map(_completer, (_aliases, _capabilities, _modes, _zones, _profiles))
