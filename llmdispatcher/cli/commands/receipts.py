"""``receipts``: create, verify and export signed receipts. The extra ``receipts`` is loaded when it is first used."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ... import accounting
from ...runtime import from_environment, make_data_folder, own_file
from .. import records
from ..options import FILE, OVERWRITE, Suite, WholeNumber, make_command
from ..settings import Settings
from ..tables import print_records, print_result
from ..terminal import FAILED, OK, UsageError, complain, may_write, plain, say, tell, tell_json
from .ask import dollars

if TYPE_CHECKING:
    from ...accounting import Receipt, ReceiptVerification, SigningKey

TIME_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]
"""The forms of a time; without an offset it is UTC."""


KEY_FILE = "receipts.key"
"""The user's own private key, in the user's data folder."""


def signing_key(path: Path | None) -> SigningKey:
    """Return the private key of the option, the environment or the user. Raises :class:`UsageError` if there is none."""
    if path is not None:
        return accounting.SigningKey.load(path)
    if from_environment(accounting.ENVIRONMENT) is not None:
        return accounting.SigningKey.from_environment()
    own = own_file(KEY_FILE)
    if own is not None:
        return accounting.SigningKey.load(own)
    raise UsageError("there is no key; `llmdispatcher receipts new-key` makes one, --key FILE names one")


def make_aware(moment: datetime) -> datetime:
    """Return the time with an offset: UTC if it has none."""
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


command = Suite(
    "receipts",
    help="Sign what calls cost, so that anybody with the public key can verify it.",
    examples=("llmdispatcher receipts create", "llmdispatcher receipts verify"),
)

_KEY = click.option(
    "--key", type=FILE, metavar="FILE", help="The private key; else $LLMDISPATCHER_RECEIPTS_KEY, else the user's own."
)


@make_command(
    "new-key", suite=command, examples=("llmdispatcher receipts new-key", "llmdispatcher receipts new-key keys/receipts.key")
)
@click.argument("file", type=FILE, required=False, metavar="[FILE]", help="Where; else in the user's own folder.")
def new_key(settings: Settings, file: Path | None) -> int:
    """Make a private key that signs receipts, in a file for its owner alone; a key is never overwritten."""
    path = file or make_data_folder() / KEY_FILE
    key_id = accounting.SigningKey.generate(path).key_id
    if settings.json:
        tell_json({"path": str(path), "key_id": key_id})
    else:
        tell(f"{path}: {key_id}")
    return OK


@make_command(
    "create",
    suite=command,
    examples=(
        "llmdispatcher receipts create",
        "llmdispatcher receipts create --origin shop --since 2026-11-01T00:00:00+00:00 --description November",
        "llmdispatcher receipts create 0193a5f2c1d84e0fa0b1c2d3e4f50617 --json",
    ),
)
@click.argument("calls", nargs=-1, metavar="[ID]...", help="These calls; else all that have ended and have no receipt.")
@click.option("--since", type=click.DateTime(TIME_FORMATS), metavar="TIME", help="Only calls that began then or later.")
@click.option("--until", type=click.DateTime(TIME_FORMATS), metavar="TIME", help="Only calls that began before.")
@click.option("--origin", metavar="NAME", help="Only calls of this application.")
@click.option("--description", default="", metavar="TEXT", help="The purpose of the receipt.")
@click.option("--tag", "tags", multiple=True, metavar="TEXT", help="A tag of the receipt; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Show what it would say, and sign nothing.")
@_KEY
def create(settings: Settings, **given: Any) -> int:
    """Sign a receipt for calls of the ledger. A call has at most one."""
    chosen: dict[str, Any] = {name: make_aware(given[name]) for name in ("since", "until") if given[name] is not None}
    chosen |= {"origin": given["origin"]} if given["origin"] is not None else {}
    calls = None if not given["calls"] else given["calls"][0] if len(given["calls"]) == 1 else given["calls"]
    with records.open_ledger(settings) as ledger:
        if given["dry_run"]:
            return _print_preview(accounting.Receipts(ledger).preview(calls, **chosen), settings)
        made = accounting.Receipts(ledger, signing_key(given["key"])).create(
            calls, description=given["description"], tags=given["tags"], **chosen
        )
    if settings.json:
        print(made.text)
    else:
        tell(_line(made))
    return OK


@make_command(
    "verify",
    suite=command,
    examples=(
        "llmdispatcher receipts verify",
        "llmdispatcher receipts verify receipts.jsonl --public-key public-keys.json",
        "llmdispatcher receipts verify --anchor ledger_.../12/sha256:...",
    ),
    codes="0 nothing is wrong, 1 something is, 2 wrong usage, 130 interrupted",
)
@click.argument(
    "file", type=FILE, required=False, metavar="[FILE]", help="Receipts as JSON or JSON Lines; else those of the ledger."
)
@click.option(
    "--public-key", "public", type=FILE, metavar="FILE", help="The keys to trust, JSON or PEM; else the public half of --key."
)
@click.option(
    "--anchor", metavar="TEXT", help="A head of the chain that was noted earlier; shows whether receipts are missing since."
)
@_KEY
def verify(settings: Settings, **given: Any) -> int:
    """Verify receipts. With a FILE and --public-key neither a ledger nor a network is needed."""
    anchor = accounting.ReceiptAnchor.parse(given["anchor"]) if given["anchor"] is not None else None
    trusted = given["public"] or signing_key(given["key"]).public
    if given["file"] is not None:
        found = accounting.verify_receipts(given["file"], trusted, anchor=anchor)
    else:
        with records.open_ledger(settings) as ledger:
            found = accounting.Receipts(ledger).verify(public_keys=trusted, anchor=anchor)
    return _print_verification(found, settings)


@make_command("list", suite=command, examples=("llmdispatcher receipts list", "llmdispatcher receipts list --limit 5 --json"))
@click.option(
    "-n", "--limit", type=WholeNumber(1, 10_000), default=20, show_default=True, metavar="N", help="The number of rows at most."
)
def show(settings: Settings, limit: int) -> int:
    """List receipts, the newest first, and how many calls have none."""
    with records.open_ledger(settings) as ledger:
        found = accounting.Receipts(ledger).list(limit=limit)
    heads = ("number", "receipt", "signed (UTC)", "kind", "says")
    as_json, rows = [receipt.as_dict() for receipt in found], [_row(receipt) for receipt in found]
    if not print_records(settings, as_json, heads, rows, whole=("number", "receipt"), spare=("kind",)):
        say("llmdispatcher: there is no receipt")
    return OK


@make_command(
    "export",
    suite=command,
    examples=("llmdispatcher receipts export receipts.jsonl", "llmdispatcher receipts export all.jsonl --rows"),
)
@click.argument("file", type=FILE, help="Where to; a name that ends in .jsonl or .json.")
@click.option("--rows", is_flag=True, help="Write the certified rows of the calls, too, users included.")
@OVERWRITE
def export(settings: Settings, file: Path, rows: bool, force: bool) -> int:
    """Write the whole chain of receipts, for others to verify."""
    with records.open_ledger(settings) as ledger:
        if not may_write(file, force=force):
            return FAILED
        count = accounting.Receipts(ledger).export(file, rows=rows)
    print_result(settings, {"file": str(file), "receipts": count}, f"{file}: {count} receipts")
    return OK


@make_command(
    "public-key",
    suite=command,
    examples=("llmdispatcher receipts public-key > public-keys.json", "llmdispatcher receipts public-key --pem"),
)
@click.option("--pem", is_flag=True, help="As PEM instead of JSON.")
@_KEY
def public_key(settings: Settings, pem: bool, key: Path | None) -> int:
    """Print the public keys, older ones too where a ledger has them, to be published."""
    own = signing_key(key)
    if records.ledger_address(settings, records.configured_ledger(settings)) is not None:
        with records.open_ledger(settings) as ledger:
            keys = accounting.Receipts(ledger, own).public_keys()
    else:
        keys = accounting.PublicKeys.of(own.public)
    print(keys.pem() if pem else keys.to_json(), end="")
    return OK


def _print_verification(found: ReceiptVerification, settings: Settings) -> int:
    if settings.json:
        tell_json(found.as_dict())
        return OK if found.valid else FAILED
    for problem in found.problems:
        complain(str(problem))
    for warning in found.warnings:
        complain(f"warning: {warning}")
    if not settings.quiet:
        verdict = "nothing is wrong" if found.valid else f"{len(found.problems)} things are wrong"
        tell(f"{found.receipts} receipts, {found.calls} calls: {verdict}")
        tell(f"head: {found.head}" if found.head is not None else "head: none")
    return OK if found.valid else FAILED


def _line(receipt: Receipt) -> str:
    return f"{receipt.receipt_id} (number {receipt.sequence}): {_summary_text(receipt)}"


def _row(receipt: Receipt) -> tuple[str, ...]:
    return (
        str(receipt.sequence),
        receipt.receipt_id,
        f"{receipt.timestamp:%Y-%m-%d %H:%M:%S}",
        receipt.receipt_type,
        _summary_text(receipt),
    )


def _summary_text(receipt: Receipt) -> str:
    summary, call = receipt.summary, receipt.call
    text = f"; {receipt.description}" if receipt.description else ""
    if summary is not None:
        return plain(f"{summary.total_calls} calls, {summary.total_tokens} tokens, {dollars(summary.total_cost)}{text}")
    return plain(f"{_model(call)}{text}") if call is not None else plain(f"another key signs from here on{text}")


def _model(call: Mapping[str, Any]) -> str:
    return f"{call.get('vendor') or ''}:{call.get('model') or ''}, US$ {call.get('cost') or 'unknown'}"


def _print_preview(summary: Any, settings: Settings) -> int:
    if settings.json:
        tell_json({"calls": summary.total_calls, "tokens": summary.total_tokens, "cost": str(summary.total_cost)})
    else:
        tell(f"{summary.total_calls} calls, {summary.total_tokens} tokens, {dollars(summary.total_cost)}; nothing was signed")
    return OK
