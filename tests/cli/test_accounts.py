"""The ledger, receipts, lockfiles and the registry on the command line, as one who begins with them would go."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import sqlite3
import sys
import xml.etree.ElementTree as ET
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from importlib import import_module

import pytest

from llmdispatcher import Ledger, list_models, open_ledger
from llmdispatcher.cli.commands import usage as picture
from llmdispatcher.cli.plots import Plot, ticks_of
from llmdispatcher.cli.records import ledger_address
from llmdispatcher.cli.settings import Settings
from llmdispatcher.testing import faults
from llmdispatcher.types import dollars_text

from ..cases import each
from .started import Pty

pytestmark = pytest.mark.timeout(240)  # on a busy machine a command takes a while to start


@pytest.fixture(scope="module")
def made():
    """The files of the first ledger, which the tests after it begin with."""
    return {}


@pytest.fixture
def ledger(command, openai, away, made):
    """A ledger of the user's own with three calls, one of which failed."""
    home = away / "home"
    if not made:
        assert 0 == command("init-db").code
        openai.script("One.", "Two.", faults.bad_request())
        codes = [command("ask", "-m", model, "Hello").code for model in ("gpt-4o-mini", "gpt-4o", "gpt-4o")]
        assert [0, 0, 1] == codes
        made.update({path.relative_to(home): path.read_bytes() for path in home.rglob("*") if path.is_file()})
    for name, data in made.items():
        (home / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (home / name).write_bytes(data)
    return home / "ledger.db"


CONFIGURED = """
ledger = "{ledger}"
limits_storage = "${{NOT_SET}}"
registry = "https://models.example/"
[cache]
store = "answers.db"
[[budgets]]
name = "team"
limit = 5
period = "day"
[vendors.openai]
api_key = "${{NOT_SET_EITHER}}"
"""


@each(
    "words, code",
    [
        (("usage",), 0),
        (("calls",), 0),
        (("export", "calls.jsonl"), 0),
        (("migrate",), 0),
        (("json-refresh", "--registry", "no-registry"), 1),
        (("cache", "info"), 2),  # it is not there
        (("budgets", "show"), 0),
    ],
)
def test_what_asks_no_vendor_needs_no_key_of_the_configuration(command, ledger, away, words, code):
    """Commands over the ledger, budgets and the cache read the tables that they need."""
    file = away / "app.toml"
    file.write_text(CONFIGURED.format(ledger=ledger))
    ended = command("--config", file, *words)

    assert "NOT_SET" not in ended.err
    assert code == ended.code


def test_a_misspelt_field_is_told_where_few_tables_are_read(command, away):
    """It may be the one that was meant."""
    file = away / "app.toml"
    file.write_text('bugdets = []\n[vendors.openai]\napi_key = "${NOT_SET}"')
    ended = command("--config", file, "budgets", "show")

    assert "did you mean 'budgets'" in ended.err


def test_nothing_is_recorded_without_a_ledger(command, openai, away):
    """And questions say how to make one."""
    command("ask", "-m", "gpt-4o-mini", "Hello")
    ended = command("usage")

    assert 2 == ended.code
    assert "`llmdispatcher init-db` makes one" in ended.err
    assert not (away / "home" / "ledger.db").exists()


def test_usage_counts_what_was_asked(command, ledger):
    """As a table by model, and in one sentence."""
    out = command("usage").out

    assert any("gpt-4o-mini" in line for line in out.splitlines())
    assert "3 calls" in out
    assert "US$ 0.0" in out


@pytest.mark.parametrize(
    ("amount", "two", "four", "six"),
    [
        ("0", "0.00", "0.0000", "0.000000"),
        ("0.0000123", "0.000012", "0.000012", "0.000012"),
        ("0.0000000456", "0.000000046", "0.000000046", "0.000000046"),
        ("0.0006", "0.0006", "0.0006", "0.000600"),
        ("0.0123", "0.012", "0.0123", "0.012300"),
        ("1234.5678", "1234.57", "1234.5678", "1234.567800"),
        ("0.00000000000001", "0.00", "0.0000", "0.000000"),
    ],
)
def test_a_small_cost_is_not_nothing(amount, two, four, six):
    """Two significant digits are shown, down to a picodollar."""
    assert [two, four, six] == [dollars_text(Decimal(amount), places) for places in (2, 4, 6)]


def test_a_small_cost_is_shown_in_tables(command, ledger):
    """Of usage and calls; a call of three cents of a cent costs no US$ 0.0000."""
    usage, calls = command("usage").out, command("calls").out

    assert not re.search(r"gpt-4o-mini.* 0\.0000 ", usage)
    assert not re.search(r"gpt-4o-mini.* 0\.000000 ", calls)


def test_usage_for_programs(command, ledger):
    """JSON with money as text; CSV with a line for each bucket."""
    told = json.loads(command("usage", "--by", "vendor", "--json").out)
    rows = list(csv.DictReader(io.StringIO(command("usage", "--by", "model", "--csv").out)))

    assert (3, 2) == (told["summary"]["total_calls"], told["summary"]["successful_calls"])
    assert Decimal(told["summary"]["total_cost"]) > 0
    assert ["openai"] == [bucket["value"] for bucket in told["buckets"]]
    assert {"gpt-4o", "gpt-4o-mini"} == {row["value"] for row in rows}
    assert 3 == sum(int(row["total_calls"]) for row in rows)


def test_the_command_line_names_itself(command, ledger):
    """As the application that asked; filters narrow."""
    assert 3 == json.loads(command("usage", "--origin", "llmdispatcher", "--json").out)["summary"]["total_calls"]
    assert 0 == json.loads(command("usage", "--origin", "shop", "--json").out)["summary"]["total_calls"]
    assert 1 == json.loads(command("usage", "--model", "gpt-4o-mini", "--json").out)["summary"]["total_calls"]


def test_a_terminal_gets_a_picture(ledger):
    """A row of bars, the last of which is today's."""
    with Pty("usage", "--days", "7") as terminal:
        terminal.until("█ +US\\$ by day")

        assert 0 == terminal.ended()


AMOUNTS = {
    "eight even steps are the eight bars": (range(8), "▁▂▃▄▅▆▇█"),
    "a row without any cost is flat, not full": ([0, 0, 0], "▁▁▁"),
    "a little is not nothing": ([0, 1, 1_000_000], "▁▂█"),
    "the base is 0, not the least amount": ([5, 5], "██"),
    "amounts keep their places, and shares are means": ([0] * 8 + [9] * 4 + [0] * 4, "▁▁▁▁██▁▁"),
    "no amounts, no bars": ([], ""),
}


@pytest.mark.parametrize(("amounts", "bars"), AMOUNTS.values(), ids=AMOUNTS)
def test_amounts_are_bars(amounts, bars):
    """In the order of time, never more than there is room for."""
    assert bars == picture.sparkline(amounts, width=8)


def test_usage_draws_an_svg(command, ledger, away):
    """A line for each model, with a dot for each day whose tooltip is the amount; a second picture needs a yes."""
    ended = command("usage", "--days", 7, "--plot", "usage.svg")
    root = ET.fromstring((away / "usage.svg").read_text())
    lines, dots = (root.findall(f".//{{http://www.w3.org/2000/svg}}{name}") for name in ("polyline", "circle"))

    assert (0, 2, 14) == (ended.code, len(lines), len(dots))
    assert {"gpt-4o", "gpt-4o-mini", "US$ per day", "day (UTC)", "Cost of calls by model"} <= {*root.itertext()}
    assert any(re.search(r"^[0-9-]{10}, gpt-4o-mini: US\$ 0\.0000", text) for text in root.itertext())
    assert 2 == command("usage", "--plot", "usage.svg").code
    assert 0 == command("usage", "--plot", "usage.svg", "--by", "vendor", "--force").code
    assert "openai" in {*ET.fromstring((away / "usage.svg").read_text()).itertext()}


def test_a_png_needs_matplotlib(command, ledger, monkeypatch):
    """Where it is missing the text says what to install, and what else there is."""
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "matplotlib" else found(name, *more))
    ended = command("usage", "--plot", "usage.png")

    assert 2 == ended.code
    assert "pip install 'llmdispatcher[plot]'" in ended.err


def plot(**series):
    """A plot of two days."""
    amounts = {name: [Decimal(text) for text in texts.split()] for name, texts in series.items()}
    more = {"title": 'x < "y"', "subtitle": "", "axis": "day (UTC)", "unit": "US$ per day"}
    return Plot(periods=["2026-11-01", "2026-11-02"], series=amounts, **more)


def test_a_png_has_a_line_for_each_series(away):
    """In the colours of the picture, whatever the names are: neither formulas nor hidden ones."""
    plot(**{"_a$x$": "0 1.5", "b\\alpha": "1 0.000001"}).draw(away / "usage.png")
    pixels = import_module("matplotlib.image").imread(away / "usage.png")
    seen = {tuple(pixel) for pixel in (pixels[:, :, :3] * 255).round().astype(int).reshape(-1, 3).tolist()}

    assert {(0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)} <= seen


def test_a_picture_names_the_dearest_and_sums_the_rest(away):
    """Eight lines by name, one for all others; no name is lost where only one would be left."""
    many = plot(**{f"model-{number}": f"0 {number}" for number in range(12)}).svg()
    nine = plot(**{f"model-{number}": f"0 {number}" for number in range(9)}).svg()

    assert ("4 others" in many, "model-11" in many, ">model-3<" in many) == (True, True, False)
    assert ("others" in nine, "model-0" in nine) == (False, True)


STEPS = {"0": "0 1", "0.0000123": "0 0.000005 0.000010 0.000015", "1": "0 0.2 0.4 0.6 0.8 1.0", "99.9": "0 20 40 60 80 100"}


def test_the_steps_of_an_axis_are_round():
    """And reach the greatest amount."""
    for most, steps in STEPS.items():
        assert [Decimal(step) for step in steps.split()] == ticks_of(Decimal(most)), most


def test_another_kind_of_picture_is_refused(command, ledger):
    """Before anything is asked."""
    assert 2 == command("usage", "--plot", "usage.gif").code


def test_an_svg_holds_any_name():
    """And no amount at all."""
    drawn = plot(**{"<a&b>\x1b": "0 0"}).svg()

    assert "&lt;a&amp;b&gt;\\x1b" in drawn
    ET.fromstring(drawn)


def test_calls_are_listed_and_told(command, ledger):
    """The latest first; one with its attempts; no prompt anywhere."""
    listed = json.loads(command("calls", "--json").out)
    told = json.loads(command("calls", listed[0]["id"], "--json").out)
    failed = json.loads(command("calls", "--status", "error", "--json").out)

    assert ["gpt-4o", "gpt-4o", "gpt-4o-mini"] == [call["model"] for call in listed]
    assert ["InvalidRequest"] == [one["error_class"] for one in told["attempt_records"]]
    assert [listed[0]["id"]] == [call["id"] for call in failed]
    assert "openai:gpt-4o-mini" in command("calls").out
    assert "InvalidRequest" in command("calls", listed[0]["id"]).out
    assert "Hello" not in json.dumps(listed)
    assert 1 == command("calls", "0" * 32).code


def test_calls_go_from_one_ledger_to_another(command, ledger, away):
    """Each once, however often."""
    assert 0 == command("export", "calls.jsonl").code
    first = json.loads(command("--sqlite", "other.db", "import", "calls.jsonl", "--json").out)
    second = json.loads(command("--sqlite", "other.db", "import", "calls.jsonl", "--json").out)

    assert [(3, 0), (0, 3)] == [(report["imported"], report["known"]) for report in (first, second)]
    assert command("usage", "--json").out == command("--sqlite", "other.db", "usage", "--json").out
    assert 2 == command("export", "calls.jsonl").code


NO_FORMAT = {
    "calls": (("export", "calls.xml"), "no format has the suffix '.xml'; use a name that ends in .jsonl"),
    "receipts": (("receipts", "export", "receipts.xml"), "no format has the suffix '.xml'; use a name that ends in .jsonl"),
    "a lockfile": (("lock", "init", "lock.xml"), "no lockfile has the suffix '.xml'; use a name that ends in .lock"),
    "a binding": (("bind", "a", "openai:gpt-4o", "--lockfile", "lock.xml"), "no lockfile has the suffix '.xml'"),
    "a picture": (("usage", "--plot", "usage.xml"), "use a name that ends in .svg or .png"),
    "answers": (
        ("batch", "-", "--simulate", "--output", "answers.xml"),
        "answers are JSON Lines, not XML; choose another --output",
    ),
}


@pytest.mark.parametrize(("words", "text"), NO_FORMAT.values(), ids=NO_FORMAT)
def test_a_file_is_named_for_a_format(command, ledger, away, words, text, monkeypatch):
    """What cannot be written by its name is not written in another format."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Why?")))
    ended = command(*words)

    assert 2 == ended.code
    assert text in ended.err
    assert not list(away.glob("*.xml*"))


def test_export_into_a_pipe(command, ledger):
    """Nothing but rows comes out."""
    lines = command("export", "--format", "csv").out.splitlines()

    assert 4 == len(lines)


def test_rows_that_are_no_calls_are_told(command, ledger, away):
    """With their lines; the exit code says so."""
    (away / "calls.jsonl").write_text('{"nonsense": 1}\n')
    ended = command("import", "calls.jsonl")

    assert 1 == ended.code
    assert "calls.jsonl:1: " in ended.err
    assert 2 == command("import", "none.jsonl").code


def test_migrate_makes_nothing(command, away):
    """It brings up to date what is there."""
    assert 2 == command("migrate").code
    assert 0 == command("init-db", "--sqlite", "mine.db").code
    assert 0 == command("migrate", "--sqlite", "mine.db", "--json").code


PLACES = {
    "an option": (Settings(database="sqlite:///a.db", database_given=True), "b.db", "sqlite:///a.db"),
    "the configuration": (Settings(database="sqlite:///a.db"), "b.db", "b.db"),
    "DATABASE_URL that is no ledger": (Settings(database="sqlite:///a.db"), None, None),
    "nothing": (Settings(), None, None),
}


@pytest.mark.parametrize(("settings", "configured", "expected"), PLACES.values(), ids=PLACES)
def test_where_calls_are_written_to(settings, configured, expected):
    """An option, then the configuration, then the environment; somebody else's database is left alone."""
    assert expected == ledger_address(settings, configured)


def test_a_database_url_that_is_a_ledger_counts(away):
    """It was made one."""
    with Ledger(away / "a.db") as there:
        there.migrate()

    assert f"sqlite:///{away}/a.db" == ledger_address(Settings(database=f"sqlite:///{away}/a.db"))


@pytest.fixture
def signed(command, ledger, away):
    """A receipt for the calls of the ledger."""
    assert 0 == command("receipts", "new-key").code
    ended = command("receipts", "create", "--description", "November", "--json")
    assert 0 == ended.code, ended.err
    return json.loads(ended.out)


def test_a_receipt_is_made_listed_and_verified(command, signed):
    """And a call has one receipt at most."""
    verified = json.loads(command("receipts", "verify", "--json").out)

    assert signed["receipt_id"] in command("receipts", "list").out
    assert "November" in command("receipts", "list").out
    assert (True, 1, 3) == (verified["valid"], verified["receipts"], verified["calls"])
    assert "nothing is wrong" in command("receipts", "verify").out
    assert 0 != command("receipts", "create").code


def test_a_receipt_is_verified_elsewhere(command, signed, away):
    """With the public key alone; one that was altered is not."""
    (away / "keys.json").write_text(command("receipts", "public-key").out)
    (away / "keys.pem").write_text(command("receipts", "public-key", "--pem").out)
    command("receipts", "export", "receipts.jsonl")
    codes = [
        command("--sqlite", "none.db", "receipts", "verify", "receipts.jsonl", "--public-key", f"keys.{kind}").code
        for kind in ("json", "pem")
    ]
    (away / "receipts.jsonl").write_text((away / "receipts.jsonl").read_text().replace("November", "December"))
    altered = command("receipts", "verify", "receipts.jsonl", "--public-key", "keys.json")

    assert [0, 0] == codes
    assert 1 == altered.code
    assert "signature" in altered.err


def test_without_a_key_nothing_is_signed(command, ledger, monkeypatch):
    """It says how to make one; a preview needs none."""
    monkeypatch.delenv("LLMDISPATCHER_RECEIPTS_KEY", raising=False)
    ended = command("receipts", "create")

    assert 2 == ended.code
    assert "`llmdispatcher receipts new-key` makes one" in ended.err
    assert "3 calls" in command("receipts", "create", "--dry-run").out
    assert "there is no receipt" in command("receipts", "list").err


def test_a_key_is_never_overwritten(command, signed):
    """Not even the user's own."""
    assert 2 == command("receipts", "new-key").code


def test_a_lockfile_from_nothing(command, openai, away):
    """Made, bound, listed, checked, and asked by its alias; the profile of the option holds."""
    openai.responses = "Yes."
    assert 0 == command("lock", "init").code
    assert 2 == command("lock", "init").code
    assert 0 == command("bind", "summarizer", "openai:gpt-4o-mini,anthropic:claude-haiku-4-5").code
    assert 0 == command("bind", "summarizer", "openai:gpt-4o", "--profile", "prod").code
    told = json.loads(command("aliases", "--json").out)

    assert ["openai:gpt-4o-mini", "anthropic:claude-haiku-4-5"] == told["aliases"]["summarizer"]
    assert "fast" in command("aliases").out
    assert (0, 0) == (command("lock", "validate").code, command("lock", "check", "--require", "summarizer").code)
    assert 1 == command("lock", "check", "--require", "nobody").code
    asked = [
        json.loads(command(*more, "ask", "-m", "summarizer", "--json", "Hello").out)["model"]
        for more in ((), ("--profile", "prod"))
    ]
    assert ["gpt-4o-mini", "gpt-4o"] == asked
    assert 0 == command("bind", "summarizer", "--remove").code
    assert "summarizer" not in command("aliases").out


def test_a_folder_without_a_lockfile_has_none_to_check(command, away):
    """The one that comes with the library was never meant to be checked; exit code 2, and the way to a lockfile."""
    for name in ("validate", "check", "bump-registry"):
        ended = command("lock", name)
        assert (2, "") == (ended.code, ended.out)
        assert "there is no lockfile here; `llmdispatcher lock init` makes one, --lockfile names another" in ended.err
    assert 2 == command("lock", "check", "--json").code
    assert 0 == command("aliases").code


def test_bind_and_validate_doubt_what_is_misspelt(command, away):
    """A vendor or model that is like one of the catalog is told, and bound all the same; tags and new names are no mistakes."""
    wrong = command("bind", "summarizer", "opnai:gpt-4o-mini,openai:gpt-4o-mni")
    fine = command("bind", "drafts", "llama3:8b,ollama:llama3:8b,openai:gpt-4o,groq:new-model,house:large")

    assert (0, 0) == (wrong.code, fine.code)
    texts = [
        "llmdispatcher: opnai:gpt-4o-mini: no vendor of the catalog is named 'opnai'; did you mean 'openai:gpt-4o-mini'?",
        "llmdispatcher: the catalog has no model 'openai:gpt-4o-mni'; did you mean 'gpt-4o-mini'",
    ]
    assert [line[: len(text)] for line, text in zip(wrong.err.splitlines(), texts, strict=True)] == texts
    assert "" == fine.err
    validated = command("lock", "validate")
    assert (0, 2) == (validated.code, len(validated.err.splitlines()))


def test_bind_makes_the_lockfile(command, away):
    """Where there is none."""
    command("bind", "quick", "openai:gpt-4o-mini")

    assert "quick" in (away / "llmdispatcher.lock").read_text()


def test_flags_beat_the_environment_for_profiles(command, away, monkeypatch):
    """As everywhere."""
    command("bind", "quick", "openai:gpt-4o-mini", "--profile", "prod")
    monkeypatch.setenv("LLMDISPATCHER_PROFILE", "dev")

    assert "quick" in command("aliases", "--profile", "prod").out
    assert "quick" in command("--profile", "prod", "aliases").out


LOCKS = {
    "nothing is missing": ('version = "1.0"\n', 0, 0),
    "a package is missing": ('version = "1.0"\n[extends]\npackages = ["no-such-package-at-all"]\n', 0, 1),
    "broken": ("version = ", 1, 2),
    "wrong": ('version = "1.0"\n[profiles.default]\nname = "default"\nbindings = 3\n', 1, 2),
    "none": (None, 2, 2),
}


@pytest.mark.parametrize(("text", "validated", "checked"), LOCKS.values(), ids=LOCKS)
def test_the_exit_codes_of_lock(command, away, text, validated, checked):
    """0 where all is well, 1 for what is missing or wrong, 2 for no lockfile or a broken one."""
    if text is not None:
        (away / "mine.lock").write_text(text)

    assert validated == command("lock", "validate", "--lockfile", "mine.lock").code
    assert checked == command("lock", "check", "--lockfile", "mine.lock").code


@pytest.mark.parametrize("arguments", [["quick"], ["quick", "openai:gpt-4o", "--remove"], ["quick", ""], ["quick", "--remove"]])
def test_wrong_bindings(command, away, arguments):
    """Nothing is written."""
    assert 2 == command("bind", *arguments).code
    assert not (away / "llmdispatcher.lock").exists()


@pytest.fixture
def registry(away, monkeypatch):
    """A registry in a folder, with one model of one vendor."""
    monkeypatch.setenv("LLMDISPATCHER_CACHE_DIR", str(away / "cache"))
    model = {"model_name": "gpt-next", "dollars_per_million_tokens_input": 1.5, "dollars_per_million_tokens_output": 6}
    document = {
        "provider": "openai",
        "version": 7,
        "updated_at": datetime.now(UTC).isoformat(),
        "models": {"openai:gpt-next": model},
    }
    (away / "registry" / "openai").mkdir(parents=True)
    (away / "registry" / "openai" / "models.json").write_text(json.dumps(document))
    (away / "registry" / "manifest.json").write_text(json.dumps({"providers": {"openai": {}}}))
    return away / "registry"


def test_the_registry_is_fetched(command, registry):
    """One line for each vendor; 1 where there is nothing."""
    ended = command("json-refresh", "--registry", registry)
    told = json.loads(command("json-refresh", "--registry", registry, "--json").out)

    assert 0 == ended.code, ended.out
    assert "fresh" in ended.out
    assert 7 == told["openai"]["version"]
    assert 1 == command("json-refresh", "--registry", registry / "openai").code


def test_what_is_published_is_written_into_the_ledger(command, registry, away):
    """Of ``init-db`` it has what the library knows; only a ledger that is named must be there."""
    assert 2 == command("json-refresh", "--registry", registry, "--sqlite", "calls.db").code
    assert 0 == command("init-db", "--sqlite", "calls.db").code
    with Ledger("calls.db") as ledger:
        before = ledger.get_model("openai", "gpt-4o-mini"), ledger.get_model("openai", "gpt-next")
    told = json.loads(command("json-refresh", "--registry", registry, "--sqlite", "calls.db", "--json").out)["ledger"]
    out = command("json-refresh", "--registry", registry, "--sqlite", "calls.db").out
    assert 0 == command("init-db", "--sqlite", "calls.db").code
    with Ledger("calls.db") as ledger:
        after = ledger.get_model("openai", "gpt-next")

    assert (True, None) == (before[0] is not None, before[1])
    assert (1, str(away / "calls.db")) == (told["added"], told["database"])
    assert "0 of them new and 0 changed; 0 are gone" in out
    assert "registry openai 7" == after.price_version
    assert "ledger" not in json.loads(command("json-refresh", "--registry", registry, "--json").out)
    assert not [facts for facts in list_models("openai") if facts.model == "gpt-next"]


def test_a_profile_is_pinned_to_the_registry(command, registry, away):
    """What there is now; the lockfile says so afterwards."""
    command("bind", "quick", "openai:gpt-4o-mini")
    ended = command("lock", "bump-registry", "--registry", registry)

    assert (0, "openai: not pinned → 7\n") == (ended.code, ended.out)
    assert "openai: 7 → 7\n" == command("lock", "bump-registry", "--registry", registry).out
    assert 1 == command("lock", "bump-registry", "--registry", registry, "--vendor", "anthropic").code


def test_the_bundled_lockfile_is_not_pinned(command, registry):
    """It is not the user's own."""
    assert 2 == command("lock", "bump-registry", "--registry", registry).code


FOREIGN = {
    "another kind": "mysql://u:hunter2@127.0.0.1:1/db",
    "a driver for asyncio": "postgresql+asyncpg://u:hunter2@127.0.0.1:1/db",
    "another driver": "postgresql+psycopg2://u:hunter2@127.0.0.1:1/db",
    "another driver of a file": "sqlite+aiosqlite:////tmp/x.db",
    "a file as others write it": "file:./app.db",
    "a server that is away": "postgresql://u:hunter2@127.0.0.1:1/db",
    "parameters of another library": "postgresql://u:hunter2@127.0.0.1:1/db?schema=public&connection_limit=5",
    "a password that is not encoded": "postgresql://u:hunter2#@127.0.0.1:1/db",
    "an application's file": "sqlite:///app.db",
    "a file that is no database": "sqlite:///notes.txt",
    "a file that is not there": "sqlite:///none.db",
    "no address": "what is this",
}


@pytest.fixture
def applications(away, monkeypatch):
    """An application's files, and a check that they are as they were, with nothing beside them."""
    with closing(sqlite3.connect(away / "app.db")) as app:
        app.execute("CREATE TABLE orders (id INTEGER)")
    (away / "notes.txt").write_text("my notes" * 1000)
    before = {path: path.read_bytes() for path in away.iterdir() if path.is_file()}
    yield
    assert before == {path: path.read_bytes() for path in away.iterdir() if path.is_file() and path.suffix != ".jsonl"}


@pytest.mark.parametrize("url", FOREIGN.values(), ids=FOREIGN)
def test_a_database_url_that_is_no_ledgers_disturbs_no_command(command, away, monkeypatch, openai, applications, url):
    """It is an application's, whatever it says: what asks goes on, what reads takes the user's own, nothing is made there."""
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    asked = [command("ask", *words, "--model", "gpt-4o-mini", "hi") for words in ([], ["--simulate"])]
    none = [command(*words) for words in (["usage"], ["calls"], ["migrate"], ["export"])]
    (away / "calls.jsonl").write_text('{"vendor": "openai", "model": "gpt-4o", "begun_at": "2026-01-01T00:00:00Z"}\n')
    made = command("import", "calls.jsonl")
    told = command("usage", "--json")
    again = command("ask", "--model", "gpt-4o-mini", "hi")
    calls = json.loads(command("calls", "--json").out)

    assert [0, 0] == [ended.code for ended in asked], asked
    assert [2] * 4 == [ended.code for ended in none]
    assert all("there is no ledger" in ended.err and "DATABASE_URL was skipped" in ended.err for ended in none)
    assert "hunter2" not in "".join(ended.err for ended in none)
    assert (0, 0, 0) == (made.code, told.code, again.code)
    assert ["gpt-4o-mini", "gpt-4o"] == [call["model"] for call in calls]


def test_init_db_asks_before_it_writes_beside_other_tables(command, away, monkeypatch):
    """Not before a terminal it refuses, and says what makes it go on; then the tables of both are there."""
    with closing(sqlite3.connect(away / "app.db")) as app:
        app.execute("CREATE TABLE orders (id INTEGER)")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{away}/app.db")
    refused = command("init-db")
    with closing(sqlite3.connect(away / "app.db")) as app:
        before = app.execute("SELECT name FROM sqlite_master").fetchall()
    made, again = command("init-db", "--yes"), command("init-db")

    assert 2 == refused.code
    assert f"{away}/app.db holds 1 table that is not the ledger's (orders)" in refused.err
    assert "--yes" in refused.err
    assert [("orders",)] == before
    assert (0, 0) == (made.code, again.code)
    assert f"{away}/app.db: schema" in made.out
    with closing(sqlite3.connect(away / "app.db")) as app:
        assert {"orders", "llmdispatcher_calls"} <= {name for (name,) in app.execute("SELECT name FROM sqlite_master")}


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1)])
def test_init_db_asks_a_person(command, away, monkeypatch, answer, code):
    """The question names the database and the tables; no is the end of it."""
    with closing(sqlite3.connect(away / "app.db")) as app:
        for name in "abcdef":
            app.execute(f"CREATE TABLE {name} (id INTEGER)")
    stdin = io.StringIO(answer)
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr("sys.stdin", stdin)
    ended = command("init-db", "--sqlite", "app.db")

    assert code == ended.code
    assert (
        "app.db holds 6 tables that are not the ledger's (a, b, c, d, e, ...); the ledger's are made beside them. Go on?"
        in ended.out + ended.err
    )
    with Ledger(away / "app.db") as ledger:
        assert ledger.is_there() is (code == 0)


def test_init_db_with_a_database_url_that_can_hold_no_ledger(command, away, monkeypatch):
    """It makes the user's own, and says which file that is; what an option names is refused."""
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@127.0.0.1:1/db")
    ended = command("init-db")
    refused = command("init-db", "--db", "mysql://u:hunter2@127.0.0.1:1/db")

    assert (0, f"{away}/home/ledger.db: schema") == (ended.code, ended.out.rpartition(" ")[0])
    assert 0 != refused.code
    assert "hunter2" not in refused.err


def test_what_calls_say_does_not_steer_the_terminal(command, away):
    """Users and applications name themselves as they like."""
    with open_ledger(away / "a.db") as there:
        there.record("openai", "gpt-4o", user="a\x1b[2Jb", input_tokens=1, output_tokens=1)
    call = json.loads(command("--sqlite", "a.db", "calls", "--json").out)[0]["id"]
    told = [command("--sqlite", "a.db", *words).out for words in (["calls"], ["calls", call], ["usage", "--by", "user"])]

    assert not any("\x1b[2J" in out for out in told)
    assert "a\\x1b[2Jb" in told[1]
