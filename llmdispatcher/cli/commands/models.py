"""``models``: list what the catalog knows of models."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

import attrs
import click

from ... import dispatcher as dispatching  # a door: what it offers is loaded when it is used
from ...catalog import ABILITIES, ModelFacts, all_models, canonical, vendor_row, vendor_rows
from ...runtime import SYSTEM_CLOCK
from ...types import choices
from .. import values
from ..keychain import vendor_name
from ..options import Positive, make_command
from ..session import VendorChoice, open_session, real_vendors
from ..settings import Settings
from ..tables import print_rows
from ..terminal import FAILED, OK, UsageError, say, tell, tell_json

_HEADS = ("model", "context", "output", "US$/M in", "US$/M out", "can")


@make_command(
    "models",
    examples=(
        "llmdispatcher models --vendor anthropic",
        'llmdispatcher models "gpt-*" --capability vision --capability tools',
        "llmdispatcher models --vendor ollama --live",
        "llmdispatcher models --json",
    ),
    codes="0 ok, 1 no model matches, 2 wrong usage, 130 interrupted",
)
@click.argument(
    "pattern", required=False, metavar="[GLOB]", shell_complete=values.MODEL, help="Only models whose names or aliases match."
)
@click.option("--vendor", metavar="NAME", shell_complete=values.VENDOR, help="Only models of this vendor.")
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="WORD",
    shell_complete=values.CAPABILITY,
    help="Only models with this capability, such as vision; may be repeated.",
)
@click.option("--all", "everything", is_flag=True, help="Retired models, and those of resellers, too.")
@click.option("--live", is_flag=True, help="Ask the --vendor itself for its models; costs nothing.")
@click.option("--timeout", type=Positive(), default=15.0, show_default=True, metavar="S", help="Seconds for --live.")
def command(settings: Settings, **given: Any) -> int:
    """List the models of the catalog: limits, prices per million tokens, and what they can.

    The facts come with the package; the last line has their date.
    """
    if given["live"]:
        return _list_live(settings, given["vendor"], given)
    vendor = vendor_name(given["vendor"]) if given["vendor"] else None
    unknown = sorted(set(given["capabilities"]) - set(ABILITIES))
    if unknown:
        raise UsageError(f"--capability {unknown[0]}: no such capability; {choices(unknown[0], ABILITIES, 'use {}')}")
    found = list(_select(vendor, given))
    if settings.json:
        tell_json([_as_json(facts) for facts in found])
    elif found:
        print_rows(_HEADS, [_row(facts) for facts in found], no_color=settings.no_color, spare=("can", "output", "context"))
        tell(f"{len(found)} models, {found[0].price_version}")
    if not found:
        near = _similar_names(given["pattern"] or "")
        meant = f"; did you mean {' or '.join(near)}?" if near else "; --all includes retired models and those of resellers"
        say(f"llmdispatcher: no model matches{meant}")
    return OK if found else FAILED


def _select(vendor: str | None, given: dict[str, Any]) -> Iterator[ModelFacts]:
    today = SYSTEM_CLOCK.now().date()
    pattern = (given["pattern"] or "*").lower()
    for row in vendor_rows():
        if vendor not in (None, row.name):
            continue
        for facts in all_models(row.name):
            names = (facts.listed, facts.ref, *facts.aliases)
            wanted = any(fnmatchcase(name.lower(), pattern) for name in names) and set(given["capabilities"]) <= facts.capabilities
            known = facts.checked or vendor is not None or given["pattern"] is not None
            if wanted and (given["everything"] or (known and facts.is_active(today))):
                yield facts


def _similar_names(name: str) -> list[str]:
    """Names of models like a name without wildcards."""
    if not name or any(letter in name for letter in "*?["):
        return []
    today = SYSTEM_CLOCK.now().date()
    there = [facts for row in vendor_rows() for facts in all_models(row.name) if facts.checked and facts.is_active(today)]
    return get_close_matches(name.lower(), dict.fromkeys([facts.ref if ":" in name else facts.listed for facts in there]), 3, 0.75)


def _row(facts: ModelFacts) -> tuple[str, ...]:
    price = facts.price
    paid = (_dollars(price.input), _dollars(price.output)) if price is not None else ("–", "–")
    return facts.ref, _tokens(facts.context_window), _tokens(facts.max_tokens), *paid, " ".join(sorted(facts.capabilities))


def _dollars(amount: Decimal) -> str:
    return f"{amount.normalize():f}" if amount else "0"


def _tokens(count: int) -> str:
    return f"{count:,}" if count else "–"


def _as_json(facts: ModelFacts) -> dict[str, Any]:
    record = attrs.asdict(facts, recurse=False)
    return record | {name: sorted(record[name]) for name in ("capabilities", "lacks", "quirks")} | {"ref": facts.ref}


def _list_live(settings: Settings, vendor: str | None, given: dict[str, Any]) -> int:
    if vendor is None:
        raise UsageError("--live: name the vendor to ask with --vendor")
    ready = {canonical(one.name) for one in real_vendors(dispatching.read_config_file(settings.config), VendorChoice())}
    if canonical(vendor) not in ready:
        raise UsageError(f"--live: {_remedy(vendor)}")
    with open_session(settings, VendorChoice()) as session:
        found = session.dispatcher.list_models(vendor, timeout=given["timeout"])
        names = [name for name in found if fnmatchcase(name, given["pattern"] or "*")]
    if settings.json:
        tell_json(names)
    else:
        tell(*names)
    return OK if names else FAILED


def _remedy(vendor: str) -> str:
    """How to make a vendor available."""
    row = vendor_row(vendor_name(vendor))
    assert row is not None
    return f"{row.name} cannot be asked from here; set {' or '.join(row.url_env if row.keyless else row.key_env)}"
