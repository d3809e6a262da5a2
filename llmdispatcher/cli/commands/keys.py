"""``keys``: manage vendors' keys in the system's keychain."""

from __future__ import annotations

import sys

import click

from .. import keychain, values
from ..options import Suite, make_command
from ..settings import Settings
from ..tables import print_records, print_result
from ..terminal import OK, UsageError, is_typed, say

command = Suite(
    "keys",
    help="Keep keys of vendors in the system's keychain; the environment comes before it.",
    examples=("llmdispatcher keys set openai", "llmdispatcher keys list"),
)


@make_command("set", suite=command, examples=("llmdispatcher keys set openai", "pass show openai | llmdispatcher keys set openai"))
@click.argument("vendor", shell_complete=values.VENDOR, help="A vendor of the catalog.")
def put(settings: Settings, vendor: str) -> int:
    """Ask for a vendor's key, without showing it, and store it.

    A key is typed, pasted or piped in, and never an argument, where other users and the shell's history would see it.
    """
    name = keychain.vendor_name(vendor)
    piped = sys.stdin.readline() if sys.stdin is not None and not is_typed() else ""
    key = click.prompt(f"Key of {name}", hide_input=True, err=True) if is_typed() else piped
    if not key.strip():
        raise UsageError("there is no key; type it, or pipe it in")
    keychain.put(name, key.strip())
    print_result(
        settings,
        {"vendor": name, "key": keychain.mask(key.strip())},
        f"kept in the keychain: {name} {keychain.mask(key.strip())}",
        say,
    )
    return OK


@make_command("list", suite=command, examples=("llmdispatcher keys list", "llmdispatcher keys list --json"))
def show(settings: Settings) -> int:
    """List the vendors that have a key in the keychain, and the ends of the keys."""
    rows = [(name, keychain.mask(keychain.key_of(name) or "")) for name in keychain.list_vendors()]
    if not print_records(settings, [{"vendor": name, "key": key} for name, key in rows], ("vendor", "key"), rows):
        say("there is no key in the keychain; `llmdispatcher keys set VENDOR` puts one there")
    return OK


@make_command("remove", suite=command, examples=("llmdispatcher keys remove openai",))
@click.argument("vendor", shell_complete=values.KEYCHAIN_VENDOR, help="A vendor whose key is in the keychain.")
def remove(settings: Settings, vendor: str) -> int:
    """Delete a vendor's key."""
    name = keychain.vendor_name(vendor)
    keychain.remove(name)
    print_result(settings, {"vendor": name, "removed": True}, f"forgotten: {name}", say)
    return OK
