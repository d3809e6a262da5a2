"""``python -m scripts.compile_catalog FOLDER``: compiles facts about models into ``llmdispatcher/catalog/data/``, a file a vendor.

FOLDER holds ``model_facts.json`` and ``registry/pages/*/models.json``. Who wins, field by field: ``scripts/catalog/checked.json``,
whose rows were read from the vendors' own pages, those under ``last_known`` before the vendor took the model away; then the facts;
then the registry's pages, which only add models that neither has, and days. The same input gives the same bytes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .catalog.gathered import Row, facts, listed

GATHERED = "2026-11-21"
"""When the facts were gathered: the date of the catalog, and of each row that has no other."""
ROOT = Path(__file__).resolve().parent.parent
CHECKED = ROOT / "scripts" / "catalog" / "checked.json"
TARGET = ROOT / "llmdispatcher" / "catalog" / "data"
REGISTRY = "https://llmring.github.io/registry/"
_ORDER = (
    "checked",
    "kind",
    "price",
    "context_window",
    "max_tokens",
    "can",
    "lacks",
    "aliases",
    "since",
    "ends",
    "retired",
    "source",
    "date",
)
_SAME = ("kind", "price", "context_window", "max_tokens", "can", "lacks", "ends", "retired", "date")

Rows = dict[str, dict[str, Row]]


def compiled(folder: Path) -> dict[str, str]:
    """The text of each vendor's file, by the vendor's name."""
    checked = json.loads(CHECKED.read_text("utf-8"))
    rows: Rows = {}
    pages = {vendor: told["source"] for vendor, told in checked["vendors"].items()}
    for vendor, model, row in facts(json.loads((folder / "model_facts.json").read_text("utf-8"))):
        rows.setdefault(vendor, {}).setdefault(model, row)
    for page in sorted((folder / "registry" / "pages").glob("*/models.json")):
        _add_listed(rows.setdefault(page.parent.name, {}), json.loads(page.read_text("utf-8")))
    for vendor, told in checked["vendors"].items():
        rows[vendor] = _checked(told, rows.get(vendor, {}), checked["date"])
    return {vendor: _text(_grouped(found), pages.get(vendor, "")) for vendor, found in sorted(rows.items())}


def _add_listed(rows: dict[str, Row], document: Mapping[str, Any]) -> None:
    """Models of a registry's page that the facts have not, and the days of those that they have."""
    day = document["updated_at"][:10]
    for model, row in listed(document):
        known = rows.get(model)
        if known is None:
            rows[model] = {**row, "source": f"{REGISTRY}{document['provider']}/models.json", "date": day}
        else:
            known["since"] = row["since"]
            known["ends"] = known["ends"] or row["ends"]


def _checked(told: Mapping[str, Any], rows: dict[str, Row], date: str) -> dict[str, Row]:
    """The rows of a vendor with those on top that were read on its own pages; what these do not say stays as it was gathered.

    Models that the vendor has taken away are under ``last_known``: nobody checks them any more, and ``date`` is the last day on
    which their price was known.
    """
    gone = told.get("last_known", {})
    rows = rows | {model: {"lacks": [], **rows.get(model, {}), **row, "retired": True} for model, row in gone.items()}
    names = {alias for row in told["models"].values() for alias in row.get("aliases", ())}
    found = {}
    for model, row in told["models"].items():
        base = rows.get(model, {})
        able = {word for word in ("vision", "tools") if row.get(word)}
        found[model] = {
            **base,
            "checked": True,
            "kind": "chat",
            "price": _price(row["price"], base.get("price") or {}),
            "context_window": row["context_window"],
            "max_tokens": row["max_tokens"],
            "can": sorted({*base.get("can", ())} - {"vision", "tools"} | able),
            "lacks": sorted({"vision", "tools"} - able),
            "aliases": row.get("aliases", []),
            "source": row.get("source", told["source"]),
            "date": row.get("date", date),
        }
    found |= {model: row for model, row in rows.items() if model not in found and model not in names}
    for row in found.values():
        if row["price"] and "calls" in told:
            row["price"] = {**row["price"], "calls": {**told["calls"], **row["price"].get("calls", {})}}
    for model, more in told.get("prices", {}).items():
        if model in found:
            found[model]["price"] = {**found[model]["price"], **more}
    return found


def _price(row: Mapping[str, Any], base: Mapping[str, Any]) -> Row:
    """A checked price over a gathered one; tiers that were gathered stay only where both say the same of plain tokens."""
    long = row.get("long")
    price = {name: value for name, value in row.items() if name != "long"}
    if any(price[name] != base.get(name) for name in ("input", "output")):
        base = {}
    bands = [{**next((band for band in base.get("bands", ()) if band["above"] == long["above"]), {}), **long}] if long else []
    return {**{name: value for name, value in base.items() if name != "bands"}, **price, **({"bands": bands} if bands else {})}


def _grouped(rows: dict[str, Row]) -> dict[str, Row]:
    """The rows with dated names as aliases of the plain one where nothing differs."""
    kept: dict[str, Row] = {}
    for model in sorted(rows, key=lambda name: (not rows[name].get("checked"), len(name))):
        row = rows[model]
        plain = next((name for name in kept if model.startswith(f"{name}-") and _alike(kept[name], row)), None)
        if plain is None or row.get("checked"):
            kept[model] = row
        else:
            kept[plain] = {**kept[plain], "aliases": sorted({*kept[plain].get("aliases", ()), model})}
    order = [name for name in rows if name in kept]
    return {name: kept[name] for name in order}


def _alike(one: Row, other: Row) -> bool:
    return not one.get("checked") and all(one.get(name) == other.get(name) for name in _SAME)


def _text(rows: Mapping[str, Row], page: str) -> str:
    """One vendor's file: a model a line, which names its source and what it can by their places in the lists at the top."""
    sources = sorted({row["source"] for row in rows.values() if row["source"]} | ({page} if page else set()))
    able = sorted({" ".join(row["can"]) for row in rows.values() if row["can"]})
    lines = [f"{_json(model)}:{_json(_slim(row, sources, able, page))}" for model, row in rows.items()]
    body = ",\n".join(lines)
    return f'{{"date":"{GATHERED}",\n"sources":{_json(sources)},\n"able":{_json(able)},\n"models":{{\n{body}\n}}}}\n'


def _slim(row: Row, sources: list[str], able: list[str], page: str) -> Row:
    """A row without what goes without saying: a chat model, nothing, no, and what is unknown."""
    full = {name: row.get(name) for name in _ORDER if row.get(name) not in (None, "", [], 0, False, {}, "chat")}
    if row["source"] or page:
        full["source"] = sources.index(row["source"] or page)
    if row["can"]:
        full["can"] = able.index(" ".join(row["can"]))
    return full


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def main(arguments: Iterable[str]) -> int:
    """Write the files; exits 2 where no folder was given."""
    given = list(arguments)
    if len(given) != 1:
        sys.stderr.write("usage: python -m scripts.compile_catalog FOLDER\n")
        return 2
    texts = compiled(Path(given[0]))
    TARGET.mkdir(exist_ok=True)
    for stale in {path.stem for path in TARGET.glob("*.json")} - {*texts}:
        (TARGET / f"{stale}.json").unlink()
    for vendor, text in texts.items():
        (TARGET / f"{vendor}.json").write_text(text, "utf-8")
    sys.stdout.write(f"{len(texts)} vendors, {sum(map(len, texts.values())):,} bytes\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
