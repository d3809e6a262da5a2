"""Budgets as settings: what they take, what they refuse, whom they concern."""

from decimal import Decimal

import pytest

from llmdispatcher import Budget, Config, ConfigError
from llmdispatcher.accounting.budgets.budget import picodollars_up, plain_dollars
from tests.cases import each

FACTS = {"vendor": "Azure-OpenAI", "model": "Azure-OpenAI:gpt-4o", "user": "ann", "origin": "shop"}


@each(
    "settings, told",
    [
        ({}, "'limit' is missing"),
        ({"limit": "-1"}, "limit: '-1' is not an amount"),
        ({"limit": "much"}, "limit: 'much'"),
        ({"limit": 1, "period": "year"}, "period: 'year' is not known; use call, hour"),
        ({"limit": 1, "per": "team"}, "per: 'team' is not known"),
        ({"limit": 1, "zone": "Mars/Base"}, "zone: 'Mars/Base' is not a time zone"),
        ({"limit": 1, "zone": "../etc"}, "zone: '../etc' is not a time zone"),
        ({"limit": 1, "match": {"team": "x"}}, "match: 'team' is nothing to match"),
        ({"limit": 1, "match": {"user": 7}}, r"match\['user'\]: 7 is not a pattern"),
        ({"limit": 1, "match": "user"}, "match: str is not a mapping"),
        ({"limit": 1, "on_exceed": "wait"}, "on_exceed: 'wait'"),
        ({"limit": 1, "unpriced": True}, "unpriced: True"),
        ({"limit": 1, "strict": "yes"}, "strict: 'yes'"),
        ({"limit": 1, "name": " "}, "name: ' ' is not a name"),
        ({"limit": 1, "limits": 2}, "unknown key 'limits'"),
    ],
)
def test_a_mistake_is_told_with_its_path(settings, told):
    """Which budget, which field, and what it may be."""
    with pytest.raises(ConfigError, match=rf"^budgets\[1\].*{told}"):
        Config(budgets=[Budget(limit=1), settings])


@each("value", ["5.00", {"limit": 5}, Budget(limit=5), 5])
def test_budgets_are_a_list(value):
    """One alone is not."""
    with pytest.raises(ConfigError, match=r"^budgets: .* is not a list of budgets"):
        Config(budgets=value)


def test_two_budgets_of_one_name_are_refused():
    """They would share their accounts."""
    with pytest.raises(ConfigError, match=r"budgets\[1\]\.name: 'dispatcher/day' is the name of budgets\[0\]"):
        Config(budgets=[{"limit": "5"}, {"limit": "6"}])


def test_a_budget_without_a_name_is_called_by_what_it_is():
    """So that the same setting finds its accounts again."""
    assert "user/month vendor=openai" == Budget(limit=1, per="user", period="month", match={"vendor": "openai"}).name


@each(
    "match, concerned",
    [
        ({}, True),
        ({"user": "*"}, True),
        ({"user": "a*", "origin": "shop"}, True),
        ({"user": "b*"}, False),
        ({"vendor": "azure-openai"}, True),
        ({"vendor": "azure*"}, True),
        ({"vendor": "openai"}, False),
        ({"model": "gpt-4*"}, True),
        ({"model": "Azure-OpenAI:gpt-4o"}, True),
        ({"model": "claude*"}, False),
        ({"id_at_origin": "*"}, True),
        ({"id_at_origin": "?*"}, False),
    ],
)
def test_a_budget_concerns_calls_whose_facts_fit(match, concerned):
    """Globs; a fact that a request does not tell is an empty text."""
    assert concerned is Budget(limit=1, match=match).concerns(FACTS)


@each("per, share", [("dispatcher", ""), ("user", "ann"), ("model", "Azure-OpenAI:gpt-4o"), ("id_at_origin", "")])
def test_a_share_has_an_account_of_its_own(per, share):
    """Those who do not tell whose they are share one."""
    assert share == Budget(limit=1, per=per).share(FACTS)


@each("amount", ["0", "0.000000000001", "5", "12.5", "100", "1234567.123456789012"])
def test_money_is_counted_exactly(amount):
    """In picodollars and back."""
    assert Decimal(amount) == plain_dollars(picodollars_up(Decimal(amount)))


def test_a_part_of_a_picodollar_counts_as_a_whole_one():
    """So that no sum is too small."""
    assert 2 == picodollars_up(Decimal("0.0000000000011"))
