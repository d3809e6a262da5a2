"""``config check`` finds the mistakes of a configuration; ``config import-litellm`` makes one of a LiteLLM proxy's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from ...dispatcher import ConfigFile, read_config_file, unready
from ...errors import ConfigError
from ...runtime import write_file
from ...vendors import VendorInfo
from ..options import FILE, OVERWRITE, Suite, make_command
from ..session import VendorChoice, real_vendors
from ..settings import Settings
from ..terminal import FAILED, OK, UsageError, complain, say, tell, tell_json

if TYPE_CHECKING:
    from ...server import ImportedRow

command = Suite("config", help="Check a configuration, or make one.", examples=("llmdispatcher config check llmdispatcher.toml",))


@make_command(
    "check",
    suite=command,
    examples=("llmdispatcher config check llmdispatcher.toml", "llmdispatcher --config llmdispatcher.toml config check --json"),
    codes="0 nothing is wrong, 1 something is, 2 wrong usage, 130 interrupted",
)
@click.argument("file", type=FILE, required=False, metavar="[FILE]", help="TOML or JSON; else the file of --config.")
def check(settings: Settings, file: Path | None) -> int:
    """Read a configuration and name every mistake with its path.

    Its keys are the fields of Config; a table [vendors.NAME] has the fields of VendorConfig and a `kind`, the vendor's name in the
    catalog, where NAME is not. A vendor that it names and that nobody knows is a mistake; one without a key is only told. Nobody
    is asked anything.
    """
    path = file or settings.config
    if path is None:
        raise UsageError("config check: which file? llmdispatcher config check FILE")
    found = read_config_file(path, lenient=True)
    unknown, warnings = _find_unready(found)
    mistakes = found.mistakes() + unknown + _mistakes_of_gateway(found)
    if settings.json:
        tell_json({"file": str(path), "mistakes": mistakes, "warnings": warnings})
    for text in [*mistakes, *warnings] if not settings.json else ():
        complain(f"{path}: {text}")
    if not settings.json and not settings.quiet:
        _summarize(path, found, mistakes, warnings)
    return FAILED if mistakes else OK


def _summarize(path: Path, found: ConfigFile, mistakes: list[str], warnings: list[str]) -> None:
    vendors = f", vendors {', '.join(found.vendors)}" if found.vendors else ""
    settings = f"({len(found.fields) + len(found.gateway)} settings{vendors})"
    if mistakes:
        more = f", {_count(warnings, 'warning')}" if warnings else ""
        say(f"{path}: {_count(mistakes, 'mistake')}{more} {settings}")
    else:
        tell(f"{path}: {'no mistakes, only warnings' if warnings else 'nothing is wrong'} {settings}")


def _count(listed: list[str], word: str) -> str:
    return f"{len(listed)} {word}{'' if len(listed) == 1 else 's'}"


def _mistakes_of_gateway(found: ConfigFile) -> list[str]:
    """The mistakes of what the gateway alone reads."""
    if not found.gateway:
        return []
    try:
        from ...server import gateway_mistakes
    except ModuleNotFoundError as error:
        return [f"{', '.join(found.gateway)}: {error.name} is not installed; pip install 'llmdispatcher[server]'"]
    return gateway_mistakes(found)


def _find_unready(found: ConfigFile) -> tuple[list[str], list[str]]:
    """The vendors in the valid parts that are unknown, and those that lack a key or an address."""
    unknown: list[str] = []
    lacking: list[str] = []
    for part, number in found.valid_parts():
        made = {vendor.name: VendorInfo.of(vendor) for vendor in real_vendors(part, VendorChoice())}
        problems = [
            one for one in unready(part.config(), made) if one.vendor in made or one.vendor not in found.vendor_names.values()
        ]
        for one in problems:
            text = f"config.{one}" if number is None else f"config.{one}".replace("[0]", f"[{number}]", 1)
            (lacking if one.is_known else unknown).append(text)
        told = [one.vendor for one in problems]
        lacks = {table: made[name].missing() for table, name in part.vendor_names.items() if name not in told}
        lacking += [f"vendors.{name}: {lack}" for name, lack in lacks.items() if lack is not None]
    return unknown, lacking


@make_command(
    "import-litellm",
    suite=command,
    examples=(
        "llmdispatcher config import-litellm config.yaml --dry-run",
        "llmdispatcher config import-litellm config.yaml --output llmdispatcher.toml --dump litellm.sql",
    ),
)
@click.argument("file", type=FILE, metavar="FILE", help="The proxy's config.yaml.")
@click.option(
    "-o", "--output", type=FILE, default=Path("llmdispatcher.toml"), show_default=True, metavar="FILE", help="Where to write it."
)
@click.option("--dump", type=FILE, metavar="FILE", help="A plain dump of the proxy's database, or JSON: its keys and their owners.")
@click.option(
    "--database", metavar="PLACE", help="Where keys go: a file of SQLite, or postgresql://...  [default: in the data folder]"
)
@click.option("--dry-run", is_flag=True, help="Show what would be written; change nothing.")
@OVERWRITE
def import_litellm(settings: Settings, file: Path, output: Path, *, dry_run: bool, force: bool, **given: Any) -> int:
    """Make a configuration of the config.yaml of a LiteLLM proxy, and bring its keys with their owners and budgets.

    Each setting and row lands, lands changed, or is left out; the two latter are listed with the reason. A second run changes
    nothing. Keys come by their SHA-256: those who have them change the address only.
    """
    from ...integrations import read_proxy_config

    try:
        found = read_proxy_config(file)
        content = found.toml()
        before = output.read_text(encoding="utf-8") if output.is_file() else None
        if before not in (None, content) and not force and not dry_run:
            raise UsageError(f"{output} is there, and differs; --force overwrites it, --output names another")
        brought = _bring(given["dump"], given["database"], dry_run=dry_run)
    except ConfigError as error:
        raise UsageError(error.message) from None
    if dry_run and not settings.json:
        tell(*found.toml(hidden=True).splitlines())
    elif not dry_run and before != content:
        write_file(output, content.encode())
    lines = [(line.place, line.outcome, line.text) for line in found.lines]
    lines += [(row.place, row.outcome, row.text) for row in brought]
    if settings.json:
        records = [{"place": place, "outcome": outcome, "text": text} for place, outcome, text in lines]
        tell_json({"output": str(output), "written": not dry_run and before != content, "lines": records})
        return OK
    for place, outcome, text in lines:
        if outcome != "landed":
            say(f"{outcome}: {place}: {text}")
    counts = {kind: sum(outcome == kind for _place, outcome, _text in lines) for kind in ("landed", "changed", "left")}
    say(", ".join([f"{count} {kind}" for kind, count in counts.items()]))
    if not dry_run:
        say(f"{output} {'is as it was' if before == content else 'is written'}; `llmdispatcher config check {output}` reads it")
    return OK


def _bring(dump: Path | None, database: str | None, *, dry_run: bool) -> Sequence[ImportedRow]:
    """Bring the rows of a dump into the keys' database; in a dry run into one that is thrown away."""
    if dump is None:
        return ()
    try:
        from ...server import KeyStore, ServeOptions, import_accounts, read_dump
    except ModuleNotFoundError as error:
        raise UsageError(f"{error.name} is not installed; pip install 'llmdispatcher[server]'") from None
    rows = read_dump(dump)
    if not dry_run:
        with closing(ServeOptions(database=database).store()) as store:
            return import_accounts(rows, store)
    with TemporaryDirectory() as folder, closing(KeyStore(Path(folder) / "keys.db")) as store:
        return import_accounts(rows, store)
