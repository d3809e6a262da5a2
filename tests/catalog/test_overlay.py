"""Rows of a registry go over the packaged ones, count at once, and can be taken away again."""

import threading
from decimal import Decimal

import pytest

from llmdispatcher import ConfigError, Dispatcher, Request, Response, Usage, get_model, list_models
from llmdispatcher.catalog import model_facts, model_names
from llmdispatcher.catalog.models import apply_registry, overlay, owner
from llmdispatcher.testing import FakeVendor
from llmdispatcher.types import cost_of as cost

DEARER = {"openai": {"gpt-4o": {"price": {"input": "5", "output": "20"}}}}
NEW = {
    "openai": {
        "gpt-77": {"price": {"input": "1", "output": "2"}, "can": ["tools"], "context_window": 1000, "aliases": ["gpt-77-x"]}
    }
}


@pytest.fixture(autouse=True)
def _without():
    yield
    overlay(None)
    apply_registry({}, {})


def price(ref):
    return get_model(ref).price.input


def test_a_row_counts_from_now_on_and_can_be_undone():
    """A look-up before, one under the overlay, one after it."""
    before = get_model("gpt-4o")
    overlay(DEARER, "openai v7 registry")
    under = get_model("gpt-4o")
    overlay(None)

    assert (Decimal("2.5"), Decimal(5)) == (before.price.input, under.price.input)
    assert ("catalog 2026-11-21", "openai v7 registry") == (before.price_version, under.price_version)
    assert before == get_model("gpt-4o")


def test_what_a_row_does_not_say_stays():
    """Limits, capabilities and names are those of the package; the price is another, so its tiers are gone."""
    overlay(DEARER, "v7")
    facts = model_facts("openai", "gpt-4o-2024-08-06")

    assert (128000, 16384, True, {}) == (facts.context_window, facts.max_tokens, facts.supports_vision, facts.price.tiers)
    assert "gpt-4o" in model_names("openai")


def test_a_price_that_agrees_keeps_what_the_package_knows_beside_it():
    """A registry lists less than there is; batch and long requests stay priced."""
    overlay({"openai": {"gpt-5.4": {"price": {"input": "2.5", "output": "15", "cache_read": "0.3"}}}}, "v7")
    facts = get_model("gpt-5.4").price

    assert Decimal("0.3") == facts.cache_read
    assert Decimal("1.25") == facts.tiers["batch"].input
    assert [272000] == [above for above, _ in facts.bands]


def test_a_row_may_be_of_another_name_of_a_model():
    """A dated name gets a row of its own; the plain one keeps what it had."""
    overlay({"openai": {"gpt-4o-2024-08-06": {"price": {"input": "9", "output": "9"}}}}, "v7")

    assert [Decimal(9), Decimal("2.5")] == [price("openai:gpt-4o-2024-08-06"), price("openai:gpt-4o")]
    assert "gpt-4o-2024-08-06" == get_model("gpt-4o-2024-08-06").listed
    assert 128000 == get_model("gpt-4o-2024-08-06").context_window


def test_new_models_and_new_vendors_are_known():
    """By name, alias, vendor and capability; nobody chooses them unasked, since nobody checked them."""
    overlay({**NEW, "acme": {"acme-1": {"price": {"input": "1", "output": "1"}}}}, {"openai": "openai v8", "acme": "acme v1"})

    assert "gpt-77" == get_model("openai:gpt-77-x").listed
    assert ["acme-1"] == [facts.model for facts in list_models("acme")]
    assert "gpt-77" in [facts.model for facts in list_models("openai", ["tools"])]
    assert ("acme v1", "openai v8") == (get_model("acme:acme-1").price_version, get_model("gpt-77").price_version)
    assert "gpt-77" not in model_names("openai")


def test_only_the_last_overlay_counts():
    """A registry hands over all that it has, each time."""
    overlay(DEARER, "v7")
    overlay(NEW, "v8")

    assert Decimal("2.5") == price("gpt-4o")


def test_whom_a_name_belongs_to_is_asked_anew():
    """Nothing of another edition is remembered."""
    assert owner("gpt-77") == "openai"
    overlay({"anthropic": {"gpt-77": {"price": {"input": "1", "output": "1"}, "checked": True}}}, "v1")
    assert owner("gpt-77") == "anthropic"
    overlay(None)
    assert owner("gpt-77") == "openai"


def test_a_dispatcher_bills_by_the_rows_that_count_now():
    """Targets that it knows already get the new prices, too."""
    usage = Usage(input_tokens=1_000_000)
    fake = FakeVendor(Response(content="x", usage=usage), name="openai")
    fake.kind = "openai"
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(fake)

        def ask():
            found = dispatcher.send(Request("gpt-4o", "hi")).usage
            return found.cost, found.price_version

        asked = [ask()]
        overlay(DEARER, "openai v7 registry")
        asked.append(ask())
        overlay(None)
        asked.append(ask())

    packaged = (Decimal("2.5"), "catalog 2026-11-21")
    assert [packaged, (Decimal(5), "openai v7 registry"), packaged] == asked


def test_threads_see_one_edition_or_the_other():
    """Never a price of one under the version of the other."""
    seen, stop = set(), threading.Event()

    def look():
        while not stop.is_set():
            facts = get_model("gpt-4o")
            seen.add((facts.price_version, cost(Usage(input_tokens=1_000_000), facts.price)))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        overlay(DEARER, "v7")
        get_model("gpt-4o")
        overlay(None)
    stop.set()
    for thread in threads:
        thread.join()

    assert seen <= {("v7", Decimal(5)), ("catalog 2026-11-21", Decimal("2.5"))}
    assert seen


MILLION = Usage(input_tokens=1_000_000)
OWN = {"price": {"input": "100", "output": "200"}}


class Of(FakeVendor):
    """A vendor of a kind, registered by a name."""

    def __init__(self, kind, name):
        super().__init__(Response(content="x", usage=MILLION), name=name)
        if kind is not None:
            self.kind = kind


def costs(request, *vendors):
    """What a call costs, and by which prices."""
    with Dispatcher() as dispatcher:
        for vendor in vendors:
            dispatcher.register_vendor(vendor)
        usage = dispatcher.send(Request(request, "hi")).usage
    return usage.cost, usage.cost_status, usage.price_version


@pytest.mark.parametrize("kind", ["local", "vllm", "openai", "openrouter", None])
def test_a_vendor_of_ones_own_name_has_its_own_prices(kind):
    """Whatever it is made of, and whether or not the catalog has the model."""
    overlay({"mine": {"my-model": OWN}})

    assert (Decimal(100), "priced", "overlay") == costs("mine:my-model", Of(kind, "mine"))


def test_a_second_account_has_its_own_prices_and_the_first_those_of_the_catalog():
    """The row is of the account alone; what it does not say is that of the model."""
    overlay({"openai-eu": {"gpt-4o": OWN}}, {"openai-eu": "contract"})
    both = [Of("openai", "openai"), Of("openai", "openai-eu")]

    assert (Decimal(100), "priced", "contract") == costs("openai-eu:gpt-4o", *both)
    assert (Decimal("2.5"), "priced", "catalog 2026-11-21") == costs("openai:gpt-4o", *both)
    assert (128000, Decimal(100)) == ((facts := model_facts("openai", "gpt-4o", "openai-eu")).context_window, facts.price.input)


def test_an_account_goes_by_the_rows_of_its_kind_where_it_has_none():
    """Both are of one overlay: the account's own first, then those of its vendor."""
    overlay({"openai": DEARER["openai"], "openai-eu": {"gpt-4o-mini": OWN}})

    assert (Decimal(5), "priced", "overlay") == costs("openai-eu:gpt-4o", Of("openai", "openai-eu"))
    assert (Decimal(100), "priced", "overlay") == costs("openai-eu:gpt-4o-mini", Of("openai", "openai-eu"))
    assert (Decimal("0.15"), "priced", "catalog 2026-11-21") == costs("openai:gpt-4o-mini", Of("openai", "openai"))


def test_vendors_are_named_by_any_of_their_spellings():
    """Case, blanks and aliases are those of registered names and references."""
    overlay({" Azure-OpenAI ": {"my-deployment": OWN}, "OpenAI-EU": {"gpt-4o": OWN}}, {"Azure-OpenAI": "a", "openai-EU": "b"})

    assert (Decimal(100), "priced", "a") == costs("azure:my-deployment", Of("azure", "azure"), Of("openai", "OpenAI-eu"))
    assert (Decimal(100), "priced", "b") == costs("OpenAI-eu:gpt-4o", Of("openai", "OpenAI-eu"))


def test_a_deployment_is_priced_by_the_row_of_its_name():
    """Azure's names are one's own, and the answer's model is not looked at where the name has a price."""
    overlay({"azure": {"ours": OWN}})
    vendor = Of("azure", "azure")

    assert Decimal(100) == costs("azure:ours", vendor)[0]


def test_ones_own_rows_stay_over_those_of_a_registry():
    """A registry that is refreshed takes nothing away of them."""
    overlay(DEARER, "ours")
    apply_registry(
        {"openai": {"gpt-4o": {"price": {"input": "7", "output": "7"}}, **NEW["openai"]}}, {"openai": "registry openai 7"}
    )

    assert ("ours", Decimal(5)) == (get_model("gpt-4o").price_version, price("gpt-4o"))
    assert "registry openai 7" == get_model("gpt-77").price_version
    overlay(None)
    assert Decimal(7) == price("gpt-4o")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (
            {"openai": {"gpt-4o": {"prise": {"input": "1"}}}},
            r"overlay\['openai'\]\['gpt-4o'\]: unknown field 'prise'; did you mean 'price'",
        ),
        ({"openai": {"gpt-4o": {"contxt_window": 1}}}, "'contxt_window'; did you mean 'context_window'"),
        ({"openai": {"gpt-4o": {"price": {"inptu": "1", "output": "1"}}}}, "price: unknown field 'inptu'; did you mean 'input'"),
        ({"openai": {"gpt-4o": {"price": {"input": "1"}}}}, "price.output: it is missing"),
        ({"openai": {"gpt-4o": {"price": {"input": "1", "output": "-1"}}}}, "price.output: '-1' is not an amount"),
        ({"openai": {"gpt-4o": {"price": {"input": "1", "output": "NaN"}}}}, "price.output: 'NaN' is not an amount"),
        ({"openai": {"gpt-4o": {"price": {"input": True, "output": "1"}}}}, "price.input: True is not an amount"),
        ({"openai": {"gpt-4o": {"price": {"input": "2500000", "output": "1"}}}}, "price.input: '2500000' is over a dollar"),
        ({"openai": {"gpt-4o": {"price": {"input": "1", "output": "1", "tiers": {"bacth": {}}}}}}, "'bacth'; did you mean 'batch'"),
        (
            {"openai": {"gpt-4o": {"price": {"input": "1", "output": "1", "bands": [{"input": "2"}]}}}},
            r"bands\[0\].above: it is missing",
        ),
        (
            {"openai": {"gpt-4o": {"price": {"input": "1", "output": "1", "calls": {"web_search": "x"}}}}},
            r"calls\['web_search'\]: 'x'",
        ),
        (
            {"openai": {"gpt-4o": {"price": {"input": "1", "output": "1", "later": [{"valid_from": "soon"}]}}}},
            r"later\[0\].valid_from: 'soon'",
        ),
        ({"openai": {"gpt-4o": {"price": "1"}}}, "price: str is not a mapping"),
        ({"openai": {"gpt-4o": {"max_tokens": "many"}}}, "max_tokens: 'many' is not a whole number"),
        ({"openai": {"gpt-4o": {"can": ["visoin"]}}}, r"can\[0\]: 'visoin' is not known; did you mean 'vision'"),
        ({"openai": {"gpt-4o": {"lacks": "vision"}}}, "lacks: 'vision' is not a list"),
        ({"openai": {"gpt-4o": {"kind": "chatt"}}}, "kind: 'chatt' is not known; did you mean 'chat'"),
        ({"openai": {"gpt-4o": {"ends": "31.12.2026"}}}, "ends: '31.12.2026' is not a day"),
        ({"openai": {"gpt-4o": {"retired": "no"}}}, "retired: 'no' is neither"),
        ({"openai": {"gpt-4o": None}}, "NoneType is not a mapping"),
        ({"openai": {"openai:gpt-4o": OWN}}, "the vendor is named already; write 'gpt-4o'"),
        ({"openai": {"": OWN}}, "this is no model's name"),
        ({"opnai": {"gpt-4o": OWN}}, r"overlay\['opnai'\]: no vendor is named 'opnai'; did you mean 'openai'"),
        ({"antropic": {"claude-haiku-4-5": OWN}}, "did you mean 'anthropic'"),
        ({"": {"gpt-4o": OWN}}, "this is no vendor's name"),
        ([], "overlay: list is not a mapping"),
    ],
)
def test_a_mistake_is_named_with_its_path(rows, told):
    """And nothing of such an overlay counts: the one before stays."""
    overlay(DEARER)
    with pytest.raises(ConfigError, match=told):
        overlay(rows)

    assert Decimal(5) == price("gpt-4o")


def test_a_whole_price_can_be_given():
    """Every place that a packaged price has, numbers as texts, decimals or as they are written."""
    overlay(
        {
            "openai": {
                "gpt-4o": {
                    "price": {
                        "input": 0.1,
                        "output": 3,
                        "cache_read": Decimal("0.05"),
                        "bands": [{"above": 1000, "input": "7"}],
                        "tiers": {"batch": {"input": "0.5", "bands": [{"above": 1000, "input": "6"}]}},
                        "calls": {"web_search": "0.02"},
                        "off_peak": {"windows": [{"hours": ["16:30-24:00"], "weekdays": [1, 2]}], "input": "0.01"},
                        "later": [{"valid_from": "2027-01-01", "input": "2", "output": "2"}],
                    },
                    "can": ["vision"],
                    "lacks": ["tools"],
                    "aliases": ["gpt-4o-ours"],
                    "since": "2024-05-13",
                }
            }
        }
    )
    found = get_model("openai:gpt-4o-ours").price

    assert (Decimal("0.1"), Decimal(3), Decimal("0.05")) == (found.input, found.output, found.cache_read)
    assert [(1000, Decimal(7))] == [(above, band.input) for above, band in found.bands]
    assert (Decimal("0.5"), Decimal("0.01"), Decimal(2)) == (found.tiers["batch"].input, found.off_peak.input, found.later[0].input)
    assert {"web_search": Decimal("0.02")} == found.calls


@pytest.mark.parametrize("ask", ["send", "explain", "send_to_vendor"])
def test_a_row_of_a_vendor_that_nobody_registered_is_an_error(ask):
    """At the first use of a dispatcher, until the vendor is registered or the row is taken out."""
    overlay({"nobody": {"gpt-4o": OWN}})
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(Of("openai", "openai"))
        arguments = ("openai",) if ask == "send_to_vendor" else ()
        for _ in range(2):
            with pytest.raises(ConfigError, match=r"overlay\['nobody'\]: no vendor of the catalog has that name"):
                getattr(dispatcher, ask)(*arguments, Request("gpt-4o", "hi"))
        overlay(None)
        getattr(dispatcher, ask)(*arguments, Request("gpt-4o", "hi"))


def test_the_vendor_may_be_of_another_dispatcher():
    """Rows are of the process: some dispatchers have the one account, some the other."""
    overlay({"account-of-another": {"gpt-4o": OWN}})
    assert Decimal(100) == costs("account-of-another:gpt-4o", Of("openai", "account-of-another"))[0]

    assert Decimal("2.5") == costs("openai:gpt-4o", Of("openai", "openai"))[0]


def test_rows_of_a_registry_need_no_vendor():
    """Whatever it publishes beside what is used keeps nobody from calling."""
    apply_registry({"somebody-else": {"x-1": OWN}}, {"somebody-else": "registry 1"})

    assert Decimal("2.5") == costs("openai:gpt-4o", Of("openai", "openai"))[0]


def test_a_fine_tuned_model_can_have_a_row_by_its_base_or_by_its_name():
    """Its own counts for more."""
    tuned = "ft:gpt-4o-mini-2024-07-18:acme::abc123"
    overlay({"openai": {"ft:gpt-4o-mini-2024-07-18": OWN}})
    assert Decimal(100) == price(f"openai:{tuned}")
    overlay({"openai": {"ft:gpt-4o-mini-2024-07-18": OWN, tuned: {"price": {"input": "9", "output": "9"}}}})

    assert [Decimal(9), Decimal(100)] == [price(f"openai:{tuned}"), price("openai:ft:gpt-4o-mini-2024-07-18:acme::other")]
    assert 128000 == get_model(f"openai:{tuned}").context_window


@pytest.mark.parametrize("row", [{"price": {"input": "2", "output": "8"}}, {"context_window": 8_000}], ids=str)
def test_a_pattern_fits_nothing(row):
    """It would have no effect, so that it is refused."""
    for vendor in ("openai", "vllm", "openai-eu"):
        for name in ("gpt-*", "gpt-4?", "gpt-[45]"):
            with pytest.raises(ConfigError, match="this is a pattern, and fits nothing"):
                overlay({vendor: {name: row}})


def test_a_row_of_no_known_model_needs_a_price():
    """As a new model has; at a vendor that may have any model a row may say anything."""
    with pytest.raises(ConfigError, match=r"\['gpt-4o-mimi'\]: no model is known by that name; did you mean 'gpt-4o-mini'\?"):
        overlay({"openai": {"gpt-4o-mimi": {"context_window": 8_000}}})
    try:
        overlay({"openai": {"gpt-99": {"price": {"input": "2", "output": "8"}}}, "vllm": {"our-llama": {"context_window": 8_000}}})
    finally:
        overlay(None)
