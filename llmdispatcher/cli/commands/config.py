"""``config check``: find the mistakes of a configuration before a program starts with it."""

from __future__ import annotations

from pathlib import Path

import click

from ...dispatcher import ConfigFile, read_config_file, unready
from ...vendors import VendorInfo
from ..options import FILE, Suite, make_command
from ..session import VendorChoice, real_vendors
from ..settings import Settings
from ..terminal import FAILED, OK, UsageError, complain, tell, tell_json

command = Suite("config", help="Look at a configuration.", examples=("llmdispatcher config check llmdispatcher.toml",))


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
    mistakes = found.mistakes() + unknown
    if settings.json:
        tell_json({"file": str(path), "mistakes": mistakes, "warnings": warnings})
    for text in [*mistakes, *warnings] if not settings.json else ():
        complain(f"{path}: {text}")
    if not mistakes and not settings.json and not settings.quiet:
        vendors = f", vendors {', '.join(found.vendors)}" if found.vendors else ""
        tell(f"{path}: {'no mistakes, only warnings' if warnings else 'nothing is wrong'} ({len(found.fields)} settings{vendors})")
    return FAILED if mistakes else OK


def _find_unready(found: ConfigFile) -> tuple[list[str], list[str]]:
    """The vendors in the valid parts that are unknown, and those that lack a key or an address."""
    unknown: list[str] = []
    lacking: list[str] = []
    for part, number in found.valid_parts():
        made = {vendor.name: VendorInfo.of(vendor) for vendor in real_vendors(part, VendorChoice())}
        problems = [one for one in unready(part.config(), made) if one.vendor in made or one.vendor not in found.vendors]
        for one in problems:
            text = f"config.{one}" if number is None else f"config.{one}".replace("[0]", f"[{number}]", 1)
            (lacking if one.is_known else unknown).append(text)
        lacks = {name: made[name].missing() for name in part.vendors if name not in [one.vendor for one in problems]}
        lacking += [f"vendors.{name}: {lack}" for name, lack in lacks.items() if lack is not None]
    return unknown, lacking
