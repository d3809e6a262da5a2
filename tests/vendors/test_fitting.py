"""A request is fitted to the model that it goes to."""

from llmdispatcher import Request, catalog
from llmdispatcher.catalog import Traits
from llmdispatcher.types import EFFORTS
from llmdispatcher.vendors.http import fit_to_model, nearest_effort

from ..cases import each


def quirky(*quirks, efforts=()):
    return Traits(quirks=frozenset(quirks), efforts=efforts)


def test_a_request_that_fits_is_not_copied():
    """The usual case costs nothing."""
    request = Request("gpt-4o", "hi", temperature=0.0)

    assert fit_to_model(request, catalog.traits_of("openai", "gpt-4o")) is request


def test_sampling_goes_where_there_is_no_effort():
    """Newer models of OpenAI's take a temperature as long as they are not told to think."""
    quirks = quirky("sampling_without_effort")

    assert [0.5, 0.5, None] == [
        fit_to_model(Request("m", "hi", temperature=0.5, reasoning_effort=effort), quirks).temperature
        for effort in (None, "none", "low")
    ]


@each(
    "asked, known, sent",
    [
        ("none", ("low", "medium", "high"), "low"),
        ("max", ("none", "low", "medium", "high", "xhigh"), "xhigh"),
        ("minimal", ("none", "low", "high"), "none"),
        ("medium", ("low", "medium", "high"), "medium"),
    ],
)
def test_the_effort_is_the_nearest_that_a_model_knows(asked, known, sent):
    """And of two as near the lower, which costs less."""
    assert sent == nearest_effort(asked, known)
    assert sent == fit_to_model(Request("m", "hi", reasoning_effort=asked), quirky(efforts=known)).reasoning_effort


@each("effort", EFFORTS)
def test_any_effort_goes_where_nothing_is_known(effort):
    """A model without traits gets what was asked for."""
    assert effort == fit_to_model(Request("m", "hi", reasoning_effort=effort), Traits()).reasoning_effort
