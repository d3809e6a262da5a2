"""Rules: who is asked first, by what the request says, at a cost that does not grow with the rules."""

from fnmatch import fnmatchcase

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmdispatcher import ConfigError, Request, RoutingCondition, RoutingRule
from llmdispatcher.routing import RuleTable
from llmdispatcher.routing import rules as room

from ..turns import best_in_turns

NOTHING = frozenset()


def ask(model="gpt-4o", **settings):
    return Request(model, "Hello", **settings)


def rule(vendor="openai", priority=0, enabled=True, **condition):
    return RoutingRule(condition=condition, vendor=vendor, priority=priority, enabled=enabled)


def vendors(table, request, needs=NOTHING):
    return [matched.vendor for matched in table.matching(request, frozenset(needs))]


def test_an_empty_condition_matches_everything():
    """A rule that asks for nothing holds for every request."""
    assert ["openai"] == vendors(RuleTable([RoutingRule(vendor="openai")]), ask(user="ada", max_tokens=9, temperature=2.0))


@pytest.mark.parametrize(
    ("pattern", "model", "matches"),
    [
        ("claude-*", "claude-opus-5", True),
        ("claude-*", "gpt-4o", False),
        ("gpt-4o", "gpt-4o", True),
        ("gpt-4o", "gpt-4o-mini", False),
        ("gpt-[45]*", "gpt-5", True),
        ("gpt-?", "gpt-5", True),
        ("*", "anything", True),
        ("gpt-4o", " gpt-4o ", True),
        ("gpt.4o", "gpt-4o", False),
    ],
)
def test_a_model_pattern_is_a_glob(pattern, model, matches):
    """Stars, question marks and sets; everything else stands for itself."""
    assert matches == bool(vendors(RuleTable([rule(model_pattern=pattern)]), ask(model)))


@pytest.mark.parametrize(
    ("condition", "settings", "matches"),
    [
        ({"max_tokens": 100}, {"max_tokens": 100}, True),
        ({"max_tokens": 100}, {"max_tokens": 101}, False),
        ({"max_tokens": 100}, {}, True),
        ({"max_tokens": 0}, {"max_tokens": 10_000}, True),
        ({"temperature": 0.5}, {"temperature": 0.5}, True),
        ({"temperature": 0.5}, {"temperature": 0.6}, False),
        ({"temperature": 0.5}, {"temperature": 0.0}, True),
        ({"temperature": 0.5}, {}, True),
        ({"temperature": 0.0}, {"temperature": 2.0}, True),
    ],
)
def test_bounds_are_upper_bounds(condition, settings, matches):
    """What says less, or nothing, is within a bound; a bound of 0 is none."""
    assert matches == bool(vendors(RuleTable([rule(**condition)]), ask(**settings)))


@pytest.mark.parametrize(("user", "matches"), [("ada", True), ("bob", False), (None, False)])
def test_a_user_is_compared_as_a_whole(user, matches):
    """A rule for one user is for nobody else."""
    assert matches == bool(vendors(RuleTable([rule(user="ada")]), ask(user=user)))


@pytest.mark.parametrize(("needs", "matches"), [((), False), (("vision",), True), (("vision", "tools"), True), (("tools",), False)])
def test_a_rule_can_ask_for_a_capability_in_use(needs, matches):
    """``requires`` speaks of what the request uses."""
    assert matches == bool(vendors(RuleTable([rule(requires=["vision"])]), ask(), needs))


@pytest.mark.parametrize(
    ("metadata", "matches"),
    [
        ({"tier": "gold"}, True),
        ({"tier": "gold", "trace": 7}, True),
        ({"tier": "iron"}, False),
        ({"tier": ["gold"]}, False),
        ({}, False),
    ],
)
def test_metadata_must_be_contained(metadata, matches):
    """Other keys of the request do not matter; a key that is absent or has another value does."""
    assert matches == bool(vendors(RuleTable([rule(metadata={"tier": "gold"})]), ask(metadata=metadata)))


def test_an_absent_key_is_not_a_key_that_says_none():
    """``{"tier": None}`` asks for the value None."""
    table = RuleTable([rule(metadata={"tier": None})])

    assert [] == vendors(table, ask())
    assert ["openai"] == vendors(table, ask(metadata={"tier": None}))


def test_the_higher_priority_is_first_and_ties_stay_as_given():
    """Order is priority, then the order of the list."""
    table = RuleTable([rule("a", 1), rule("b", 5), rule("c", 5), rule("d", -1)])

    assert ["b", "c", "a", "d"] == vendors(table, ask())


def test_disabled_rules_are_told_apart():
    """They come along, so that an explanation can name them."""
    assert [False] == [matched.enabled for matched in RuleTable([rule(enabled=False)]).matching(ask(), NOTHING)]


FIELDS = {
    "model_pattern": st.sampled_from(["gpt-*", "claude-*", "gpt-4o", "*"]),
    "max_tokens": st.sampled_from([0, 10, 100]),
    "temperature": st.sampled_from([0.0, 0.5, 1.0]),
    "user": st.sampled_from(["ada", "bob"]),
    "requires": st.sampled_from([["vision"], ["tools", "streaming"]]),
    "metadata": st.dictionaries(st.sampled_from(["tier", "team"]), st.sampled_from([1, "gold", None]), max_size=2),
}
CONDITIONS = st.fixed_dictionaries({}, optional=FIELDS)
REQUESTS = st.builds(
    Request,
    st.sampled_from(["gpt-4o", "gpt-5", "claude-opus-5"]),
    st.just("Hello"),
    max_tokens=st.none() | st.sampled_from([1, 9, 10, 11, 100, 101]),
    temperature=st.none() | st.sampled_from([0.0, 0.5, 0.6, 1.0, 2.0]),
    user=st.none() | st.sampled_from(["ada", "bob", "eve"]),
    metadata=st.dictionaries(st.sampled_from(["tier", "team", "x"]), st.sampled_from([1, "gold", None, "iron"]), max_size=3),
)
NEEDS = st.frozensets(st.sampled_from(["vision", "tools", "streaming"]))


def test_every_condition_is_looked_up_and_judged():
    """The next test has a strategy for each field: a field that is missing in the table's key would match wrong requests."""
    assert set(FIELDS) == {field.name for field in attrs.fields(RoutingCondition)}


@given(conditions=st.lists(CONDITIONS, max_size=6), requests=st.lists(st.tuples(REQUESTS, NEEDS), min_size=1, max_size=6))
def test_looking_up_is_judging(conditions, requests):
    """What the table remembers of one request is right for every other that it takes for the same."""
    table = RuleTable([rule(str(number), **condition) for number, condition in enumerate(conditions)])

    for request, needs in requests:
        judged = [
            matched.vendor
            for matched in table.rules
            if fnmatchcase(request.model, matched.condition.model_pattern or "*") and matched.condition.admits(request, needs)
        ]
        assert judged == vendors(table, request, needs)


def thousand():
    return [
        rule(
            str(n),
            model_pattern=f"acme-{n}-*",
            user=f"user-{n}",
            max_tokens=n + 1,
            temperature=1 + n / 1000,
            metadata={"tenant": n},
        )
        for n in range(1000)
    ]


def test_a_thousand_rules_are_not_read_again():
    """A look-up of what was seen before judges no rule."""
    table = RuleTable(thousand())
    table.matching(ask(), NOTHING)
    table._judge = None

    assert [] == vendors(table, ask(max_tokens=None, user="stranger", metadata={"tenant": "unheard of"}))


def test_a_thousand_rules_cost_what_one_costs():
    """Looking up among 1,000 takes less than 3 times as long as among 1, measured in turns; both are microseconds."""
    few, many = RuleTable(thousand()[:1]), RuleTable(thousand())
    request = ask(max_tokens=5000, user="stranger", temperature=0.7, metadata={"tenant": -5})

    among_many, among_one = best_in_turns(lambda: many.matching(request, NOTHING), lambda: few.matching(request, NOTHING))
    assert among_many < 3 * among_one


def test_what_is_remembered_is_bounded(monkeypatch):
    """Endless different model names do not fill the memory."""
    monkeypatch.setattr(room, "_REMEMBERED", 10)
    table = RuleTable([rule()])
    for number in range(100):
        table.matching(ask(f"model-{number}"), NOTHING)

    assert len(table._matches) <= 10


@pytest.mark.parametrize(
    ("condition", "named"),
    [
        ({"max_tokens": -1}, "max_tokens: -1"),
        ({"max_tokens": True}, "max_tokens: True"),
        ({"temperature": -0.1}, "temperature: -0.1"),
        ({"temperature": float("nan")}, "temperature: nan"),
        ({"requires": ["telepathy"]}, "requires: 'telepathy' is not a capability; use streaming, vision, tools"),
        ({"requires": "vision"}, "requires: 'vision' is not a list"),
        ({"metadata": ["tier"]}, "metadata: list is not a mapping"),
        ({"metadata": {"tier": ["gold"]}}, r"metadata\['tier'\]: a list cannot be compared"),
        ({"user": " "}, "user: ' '"),
        ({"model_pattern": 4}, "model_pattern: 4"),
    ],
)
def test_a_wrong_condition_names_field_and_value(condition, named):
    """Mistakes are found when the rule is made, not when it is used."""
    with pytest.raises(ConfigError, match=named):
        RoutingCondition(**condition)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"vendor": ""}, "vendor: ''"),
        ({"vendor": "a", "priority": "high"}, "priority: 'high'"),
        ({"vendor": "a", "enabled": "false"}, "enabled: 'false'"),
        ({"vendor": "a", "condition": {"modle": "gpt-4o"}}, "condition: unknown key 'modle'"),
        ({"vendor": "a", "condition": "gpt-4o"}, "condition: str is not a RoutingCondition"),
    ],
)
def test_a_wrong_rule_names_field_and_value(fields, named):
    """A text that looks like a truth value is not one."""
    with pytest.raises(ConfigError, match=named):
        RoutingRule(**fields)


def test_a_rule_has_a_label_for_people():
    """Its name, or else what it says."""
    assert "cheap" == RoutingRule(vendor="a", name="cheap").label
    assert "claude-* → a, priority 3" == rule("a", 3, model_pattern="claude-*").label
