"""What simulated vendors answer beside conversations: lists of models, vectors, counts of tokens; asked by the library itself."""

from __future__ import annotations

import math

import pytest

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    AzureOpenAIVendor,
    Dispatcher,
    GoogleVendor,
    InvalidRequest,
    ModelNotFound,
    OllamaVendor,
    OpenAIVendor,
    Request,
    vendor,
)
from llmdispatcher.testing import faults

KEY = "simulated-key"


def every_vendor(simulator, key=KEY):
    """A vendor of each format, by name."""
    common = {"api_key": key, "trust_env": False}
    return {
        "openai": OpenAIVendor(base_url=simulator.openai_url, **common),
        "responses": OpenAIVendor(name="responses", api="responses", base_url=simulator.openai_url, **common),
        "anthropic": AnthropicVendor(base_url=simulator.anthropic_url, **common),
        "google": GoogleVendor(base_url=simulator.google_url, **common),
        "azure": AzureOpenAIVendor(base_url=simulator.azure_url, **common),
        "deployments": AzureOpenAIVendor(name="deployments", base_url=simulator.azure_url, api_version="2024-10-21", **common),
        "ollama": OllamaVendor(base_url=simulator.url, **common),
        "vllm": vendor("vllm", base_url=simulator.openai_url, **common),
        "vertex": vendor("vertex", base_url=f"{simulator.url}/v1/projects/p/locations/l/publishers/google", **common),
    }


NAMES = ("openai", "responses", "anthropic", "google", "azure", "deployments", "ollama", "vllm", "vertex")


@pytest.fixture
def dispatcher(simulator):
    """Every vendor, all simulated."""
    with Dispatcher({"retry_policy": {"max_retries": 0}}) as made:
        for one in every_vendor(simulator).values():
            made.register_vendor(one)
        yield made


def test_every_vendor_is_healthy(dispatcher):
    """It lists models, as the vendor itself would."""
    found = dispatcher.health_check(timeout=60)

    assert dict.fromkeys(NAMES, "healthy") == {name: state.status for name, state in found.items()}, found
    assert [] == [name for name in NAMES if not dispatcher.list_models(name)]


def test_the_list_has_what_the_simulator_has(simulator):
    """Of the catalog what its globs admit, and what they name."""
    simulator.models = ("gpt-4o*", "my-own-model")
    with Dispatcher() as made:
        made.register_vendor(every_vendor(simulator)["openai"])
        names = made.list_models("openai")

    assert {"gpt-4o", "gpt-4o-mini", "my-own-model"} <= set(names)
    assert [] == [name for name in names if not name.startswith(("gpt-4o", "my-own"))]


@pytest.mark.parametrize("fault", [faults.status(503), faults.silent()], ids=["503", "silent"])
def test_a_vendor_that_is_down_lists_nothing(simulator, fault):
    """What holds always holds for lists too."""
    simulator.always(fault)
    with Dispatcher() as made:
        made.register_vendor(every_vendor(simulator)["openai"])

        assert "unhealthy" == made.health_check(timeout=0.3)["openai"].status


@pytest.mark.parametrize("made", [faults.silent, faults.status, faults.rate_limit, faults.cut_after])
def test_a_fault_that_was_not_made_is_refused(simulator, made):
    """Where it is scripted, and not by a traceback in the server's thread."""
    for script in (simulator.always, simulator.script):
        with pytest.raises(TypeError, match=rf"faults\.{made.__name__} makes a fault; call it: faults\.{made.__name__}\("):
            script(made)


def test_a_list_takes_nothing_of_a_script(simulator, dispatcher):
    """A health check in between does not disturb a test."""
    simulator.script("First.")
    dispatcher.health_check(timeout=60)

    assert "First." == dispatcher.send(Request("openai:gpt-4o", "Hello")).content


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ollama"])
def test_a_wrong_key_is_refused_here_too(simulator, name):
    """In the vendor's words."""
    simulator.keys = ("another",)
    with Dispatcher() as made:
        made.register_vendor(every_vendor(simulator)[name])
        with pytest.raises(AuthenticationError):
            made.list_models(name)


COUNTED = {
    "openai": "gpt-4o-mini",
    "responses": "gpt-4o-mini",
    "anthropic": "claude-haiku-4-5",
    "google": "gemini-2.5-flash",
    "vertex": "gemini-2.5-flash",
}


@pytest.mark.parametrize(("name", "model"), COUNTED.items(), ids=COUNTED)
def test_tokens_are_counted_as_an_answer_would_count_them(dispatcher, name, model):
    """Where the vendor counts; a request and its answer agree."""
    request = Request(f"{name}:{model}", "How many tokens has this?", max_tokens=20)
    counted = dispatcher.count_tokens(request)

    assert ("vendor", name) == (counted.source, counted.vendor)
    assert dispatcher.send(request).usage.input_tokens == counted.tokens


EMBEDDED = {
    "openai": "text-embedding-3-small",
    "responses": "text-embedding-3-small",
    "google": "gemini-embedding-001",
    "azure": "text-embedding-3-small",
    "deployments": "text-embedding-3-small",
    "ollama": "nomic-embed-text",
    "vllm": "my-embedder",
}


@pytest.mark.parametrize(("name", "model"), EMBEDDED.items(), ids=EMBEDDED)
def test_texts_become_vectors(dispatcher, name, model):
    """Of length 1, one for each text, the same for the same text, as long as was asked for."""
    found = dispatcher.embed(f"{name}:{model}", ["rivers", "hills", "rivers"], dimensions=5)
    first, second, third = found.vectors

    assert first == third != second
    assert [5, 5, 5] == [len(each) for each in found.vectors]
    assert [1, 1, 1] == [pytest.approx(math.hypot(*each)) for each in found.vectors]


def test_vectors_in_base64_and_of_many_texts(dispatcher):
    """As OpenAI gives them on request, and in batches."""
    plain = dispatcher.embed("openai:text-embedding-3-small", "rivers")
    encoded = dispatcher.embed("openai:text-embedding-3-small", "rivers", extra_params={"encoding_format": "base64"})

    assert [pytest.approx(number, abs=1e-6) for number in plain.vectors[0]] == list(encoded.vectors[0])
    assert 205 == len(dispatcher.embed("google:gemini-embedding-001", ["x"] * 205, dimensions=2).vectors)


def test_side_calls_are_scripted_and_refused_like_others(simulator, dispatcher):
    """A fault, a model that is not there, a length that no model has."""
    simulator.script(faults.bad_request())
    with pytest.raises(InvalidRequest):
        dispatcher.embed("openai:text-embedding-3-small", "x")
    with pytest.raises(InvalidRequest, match="dimensions"):
        dispatcher.embed("openai:text-embedding-3-small", "x", dimensions=100_000)
    simulator.models = ("gpt-*",)
    with pytest.raises(ModelNotFound):
        dispatcher.embed("openai:text-embedding-3-small", "x")
