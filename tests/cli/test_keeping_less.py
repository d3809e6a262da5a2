"""``prune``, ``erase-user``, ``usage --by tag``, ``budgets`` and ``limits``: what is kept and used, and how there is less of it."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal

import pytest

from llmdispatcher import Deadline, Dispatcher, Price, RateLimit, Request, open_ledger
from llmdispatcher.accounting import CallBudget, Reservation
from llmdispatcher.catalog import Target
from llmdispatcher.resilience import Limits, RateLimitSlot
from llmdispatcher.runtime import SYSTEM_CLOCK
from llmdispatcher.vendors import HttpVendor

PRICED = Target(vendor="openai", model="m", price=Price(input=Decimal(1), output=Decimal(1)))


@pytest.fixture
def place(away):
    """A ledger with an old call of ann's and two new ones."""
    now = SYSTEM_CLOCK.now()
    with open_ledger(away / "calls.db") as ledger:
        for days, user, tags in ((100, "ann", ["old"]), (1, "ann", ["blue", "green"]), (0, "bob", ["blue"])):
            facts = {"user": user, "metadata": {"tags": tags}, "input_tokens": 10, "cost": "0.5", "status": "success"}
            ledger.record("openai", "gpt-4o", begun_at=now - timedelta(days=days, hours=1), **facts)
    return away / "calls.db"


def _calls(place):
    with open_ledger(place) as ledger:
        return len(ledger.list_recent_calls())


def test_old_calls_are_deleted_after_a_yes(command, place):
    """A dry run tells, nobody to ask is wrong usage; the sums stay."""
    base = ("--sqlite", place, "prune", "--older-than")
    dry = command(*base, "90d", "--dry-run")
    assert (0, True) == (dry.code, "1 calls and 0 attempts" in dry.out and "would be deleted" in dry.out)
    refused = command(*base, "90d")
    assert (2, 3) == (refused.code, _calls(place))
    assert "--yes does so, --dry-run only tells" in refused.err
    assert 0 == command(*base, "90d", "--yes").code
    assert 2 == _calls(place)
    stats = json.loads(command("--sqlite", place, "usage", "--days", 200, "--json").out)
    assert Decimal("1.5") == Decimal(stats["summary"]["total_cost"])
    for wrong in ("soon", "-3d", "2999-01-01", "999999w"):
        assert (2, True) == ((found := command(*base, wrong)).code, "--older-than" in found.err), wrong
    assert "--older-than: '90' is no age and no day; write it as '90d'" in command(*base, "90").err
    record = json.loads(command(*base, "1h", "--dry-run", "--json").out)
    assert record["dry_run"] is True


def test_the_ledger_is_that_of_the_configuration(command, place, away):
    """Commands that read and delete take it, not the user's own; an option is stronger; init-db makes it."""
    (away / "app.toml").write_text('ledger = "calls.db"\n')
    (away / "new.toml").write_text('ledger = "new.db"\n')
    assert 0 == command("init-db", "--yes").code  # the user's own, which is empty
    base = ("--config", away / "app.toml")

    assert 3 == len(json.loads(command(*base, "calls", "--json").out))
    assert "blue" in command(*base, "usage", "--by", "tag").out
    assert "3 calls" in command(*base, "export", "out.jsonl").err
    assert 0 == command(*base, "prune", "--older-than", "90d", "--yes").code
    assert 2 == _calls(place)
    assert "1 calls" in command(*base, "erase-user", "ann", "--yes").out
    assert [] == json.loads(command(*base, "calls", "--user", "ann", "--json").out)
    refused = command("--config", away / "new.toml", "usage")
    assert (2, True) == (refused.code, "new.db: there is no ledger" in refused.err)
    assert 0 == command("--config", away / "new.toml", "init-db").code
    assert 0 == _calls(away / "new.db")
    assert 0 == len(json.loads(command(*base, "--sqlite", away / "new.db", "calls", "--json").out))


def test_a_user_is_erased_after_a_yes(command, place):
    """With what is left, if there is anything."""
    base = ("--sqlite", place, "erase-user", "ann")
    assert "2 calls and 0 accounts of budgets: would be erased" in command(*base, "--dry-run").out
    assert 2 == command(*base).code
    assert "2 calls and 0 accounts of budgets: erased\n" == command(*base, "--yes").out
    with open_ledger(place) as ledger:
        assert {None, "bob"} == {call.user for call in ledger.list_recent_calls()}
    assert "0 calls" in command(*base, "--yes").out
    assert 2 == command("--sqlite", place, "erase-user", "").code


def test_usage_by_tag(command, place, openai):
    """As a table, as JSON, and of one tag alone."""
    found = json.loads(command("--sqlite", place, "usage", "--by", "tag", "--json").out)
    assert {"blue": 2, "green": 1} == {one["value"]: one["total_calls"] for one in found["buckets"]}
    assert "green" in command("--sqlite", place, "usage", "--by", "tag").out
    calls = json.loads(command("--sqlite", place, "calls", "--tag", "green", "--json").out)
    assert ["ann"] == [call["user"] for call in calls]
    openai.responses = "Hello."
    assert 0 == command("--sqlite", place, "ask", "Hi", "-m", "gpt-4o-mini", "--tag", "typed", "--tag", "green").code
    found = json.loads(command("--sqlite", place, "usage", "--by", "tag", "--json").out)
    assert {"blue": 2, "green": 2, "typed": 1} == {one["value"]: one["total_calls"] for one in found["buckets"]}


BUDGETS = """
ledger = "calls.db"
[[budgets]]
limit = "5.00"
period = "30d"
name = "team"
warn_at = 0.5
[[budgets]]
limit = "1.00"
period = "week"
week_start = "sunday"
per = "user"
name = "each"
"""


def test_budgets_are_shown_and_reset(command, place, away):
    """By the configuration and its ledger; one share alone, or all."""
    (away / "app.toml").write_text(BUDGETS)
    with Dispatcher.from_file(away / "app.toml") as dispatcher:
        spending = dispatcher._attempt_loop.spending
        for user in ("ann", "bob"):
            held = Reservation(CallBudget(Request("m", "hi", max_tokens=1, user=user)), spending)
            assert spending.reserve(held, PRICED, (), Deadline.after(40.0)) is None
            held.settle(None, Decimal("0.3"))
    base = ("--config", "app.toml", "budgets")
    shown = json.loads(command(*base, "show", "--json").out)
    assert [("team", "", "0.6"), ("each", "ann", "0.3"), ("each", "bob", "0.3")] == [_spent(one) for one in shown]
    assert "team" in command(*base, "show").out
    assert 2 == command(*base, "reset", "each").code
    assert "1 accounts reset" in command(*base, "reset", "each", "--share", "ann", "--yes").out
    assert 0 == command(*base, "reset", "team", "--yes").code
    shown = json.loads(command(*base, "show", "--json").out)
    assert [("team", "", "0"), ("each", "ann", "0"), ("each", "bob", "0.3")] == [_spent(one) for one in shown]
    wrong = command(*base, "reset", "teem", "--yes")
    assert (2, True) == (wrong.code, "did you mean 'team'" in wrong.err)
    (away / "memory.toml").write_text(BUDGETS.replace('ledger = "calls.db"', ""))
    assert "kept in the process that spends" in command("--config", "memory.toml", "budgets", "show").err
    assert "there are no budgets" in command("budgets", "show").err


def _spent(one):
    return one["budget"], one["share"], f"{Decimal(one['spent']).normalize():f}"


LIMITS = """
limits_storage = "URL"
[vendors.openai]
api_key = "k"
rate_limit = { requests_per_day = 10, output_tokens_per_minute = 100 }
[vendors.mistral]
api_key = "k"
rate_limit = { windows = [{ period = "30d", requests = 5 }], per_model = true }
[vendors.groq]
api_key = "k"
"""


def test_shared_limits_are_shown_and_reset(command, away, redis_server):
    """For all processes; those of a process alone cannot be."""
    pytest.importorskip("limits", reason="the extra 'limits' is not installed")
    (away / "app.toml").write_text(LIMITS.replace("URL", redis_server.url))
    (away / "alone.toml").write_text(LIMITS.replace('limits_storage = "URL"', ""))
    limits = Limits(redis_server.url)
    limits.set("openai", RateLimit(requests_per_day=10, output_tokens_per_minute=100))
    limits.reset("openai")
    assert isinstance(limits.take(Target(vendor="openai", model="m"), 30, 100.0, output=20), RateLimitSlot)
    base = ("--config", "app.toml", "limits")
    shown = json.loads(command(*base, "show", "--json", "--model", "small").out)
    left = {(one["vendor"], one["unit"], one["period"]): one["remaining"] for one in shown}
    assert {("openai", "requests", "24h"): 9, ("openai", "output_tokens", "minute"): 80, ("mistral", "requests", "30d"): 5} == left
    assert "mistral: each model has its own count" in command(*base, "show").err
    assert 2 == command(*base, "reset", "openai").code
    assert 0 == command(*base, "reset", "openai", "--yes").code
    shown = json.loads(command(*base, "show", "--json").out)
    assert [100, 10] == [one["remaining"] for one in shown]
    assert "each model of 'mistral' has its own count; name the model" in command(*base, "reset", "mistral", "--yes").err
    assert 0 == command(*base, "reset", "mistral", "--model", "small", "--yes").code
    assert "it has no shared limit" in command(*base, "reset", "groq", "--yes").err
    assert "kept in the process that asks" in command("--config", "alone.toml", "limits", "show").err
    limits.close()


def test_limits_are_read_without_making_vendors(command, away, redis_server, monkeypatch):
    """No key needs to be there: the variable of one is not set, and nothing of a vendor is made."""
    pytest.importorskip("limits", reason="the extra 'limits' is not installed")
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    monkeypatch.setenv("LIMITS_URL", redis_server.url)
    text = LIMITS.replace('"k"', '"${NO_SUCH_KEY}"').replace("URL", "${LIMITS_URL}")
    (away / "app.toml").write_text(
        f'{text}[vendors.xai]\napi_key = ["${{NO_SUCH_KEY}}", "b"]\nrate_limit = {{ requests_per_minute = 7, per_key = true }}\n'
    )
    monkeypatch.setattr(HttpVendor, "__init__", None)
    shown = command("--config", "app.toml", "limits", "show", "--json")
    assert 0 == shown.code, shown.err
    left = {(one["vendor"], one["unit"]): one["remaining"] for one in json.loads(shown.out)}
    assert {("openai", "requests"), ("openai", "output_tokens"), ("xai", "requests")} == set(left)
    assert 14 == left["xai", "requests"]
    assert 0 == command("--config", "app.toml", "limits", "reset", "openai", "--yes").code
    wrong = command("--config", "app.toml", "limits", "reset", "openay", "--yes")
    assert (2, True) == (wrong.code, "did you mean 'openai'?" in wrong.err)


def test_ask_without_failover(command, away, openai):
    """The plan has the first target alone."""
    (away / "app.toml").write_text(
        'fallback_vendor = "mistral"\n[vendors.openai]\napi_key = "k"\n[vendors.mistral]\napi_key = "k"\n'
    )
    both = json.loads(command("--config", "app.toml", "explain", "-m", "gpt-4o", "--json").out)
    alone = json.loads(command("--config", "app.toml", "explain", "-m", "gpt-4o", "--no-failover", "--json").out)
    assert (2, 1) == (len(both["candidates"]), len(alone["candidates"]))
    assert ["failover"] == [skip["code"] for skip in alone["skipped"]]
