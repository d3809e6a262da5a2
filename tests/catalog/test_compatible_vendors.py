"""The rows: whole, documented, and each of those that speak OpenAI's format answers through nothing but its row."""

import re
from pathlib import Path

import pytest

from llmdispatcher import (
    Deadline,
    Dispatcher,
    HttpVendor,
    HuggingFaceVendor,
    OllamaVendor,
    OpenAICompatibleVendor,
    Request,
    catalog,
    vendor,
)
from llmdispatcher.testing import VendorSimulator
from llmdispatcher.wire.codecs import CODECS

ROWS = catalog.vendor_rows()
COMPATIBLE = [row for row in ROWS if row.codec == "openai_chat" and row.name != "azure"]
KEY = "sk-row-0123456789"
PAGE = Path(__file__).parents[2] / "docs" / "vendors.md"
ASKED_FOR = """
    openai azure anthropic google ollama huggingface groq mistral deepseek xai openrouter together fireworks perplexity cerebras
    sambanova moonshot zai nvidia databricks venice bedrock vertex llamacpp vllm lmstudio local
"""


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    """No key or address of the machine's own."""
    for row in ROWS:
        for name in (*row.key_env, *row.url_env, *row.version_env, "AWS_REGION", "DATABRICKS_HOST"):
            monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def simulator():
    with VendorSimulator(responses="hello") as running:
        yield running


def test_every_vendor_that_was_asked_for_is_there():
    """Two dozen and two."""
    assert sorted(ASKED_FOR.split()) == sorted(row.name for row in ROWS)


def test_a_row_is_whole():
    """It speaks a format that there is, is reached by TLS unless it is one's own, and says where its facts are from."""
    for row in ROWS:
        assert row.codec in CODECS, row.name
        assert row.base_url is None or row.base_url.startswith("http://localhost:" if row.keyless else ("https://", "{")), row.name
        assert all([row.base_url or row.url_env, row.key_env]), row.name
        assert row.source.startswith("https://"), row.name
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", row.date), row.name


def test_a_row_is_documented():
    """Name, address and key stand on the page as they stand in the row."""
    lines = PAGE.read_text("utf-8").splitlines()
    for row in ROWS:
        line = next(line for line in lines if line.startswith(f"| `{row.name}` |"))
        words = (row.base_url or row.url_env[0], *row.key_env, row.source)
        assert [] == [word for word in words if word not in line], row.name


@pytest.mark.parametrize("row", COMPATIBLE, ids=lambda row: row.name)
def test_a_row_is_all_that_a_compatible_vendor_needs(row, simulator):
    """Plain and streamed, with its own name on the answer, the key in its header."""
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor(row.name, api_key=KEY, base_url=simulator.openai_url, trust_env=False))
        request = Request(f"{row.name}:some-model", "hi")
        answer = dispatcher.send(request)
        with dispatcher.send_streaming(request) as stream:
            streamed = stream.response()

    assert ("hello", "hello", row.name) == (answer.content, streamed.content, answer.vendor)
    assert f"Bearer {KEY}" == simulator.requests[-1].headers["authorization"]
    assert "some-model" == simulator.requests[-1].json["model"]


def test_a_server_of_ones_own_needs_no_key():
    """No key, no header."""
    seen = []
    with VendorSimulator(responses="hello", keys=None) as simulator:
        made = OpenAICompatibleVendor(name="mine", base_url=simulator.openai_url, trust_env=False)
        assert made.is_available()
        try:
            made.send(Request("any", "hi"), Deadline.after(10))
        except Exception as error:  # the simulator wants a key, as a public vendor does
            seen.append(type(error).__name__)
        made.close()

        assert "authorization" not in simulator.requests[0].headers
    assert ["AuthenticationError"] == seen


def test_addresses_are_filled_from_the_environment(monkeypatch):
    """A region or a workspace is part of some addresses; without it the vendor is not available."""
    assert not vendor("bedrock", api_key=KEY).is_available()
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("DATABRICKS_HOST", "https://dbc-1.cloud.databricks.com/")

    assert vendor("bedrock", api_key=KEY).is_available()
    assert "https://dbc-1.cloud.databricks.com/serving-endpoints" == vendor("databricks", api_key=KEY)._credentials.url()


def test_the_environment_registers_keys_and_own_addresses(monkeypatch):
    """A key registers its vendor; a server that needs none is registered by its address."""
    monkeypatch.setenv("GROQ_API_KEY", KEY)
    assert ["groq"] == Dispatcher.from_env().get_vendors()
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://localhost:11434/v1")
    assert ["groq", "ollama"] == Dispatcher.from_env().get_vendors()


def test_the_named_makers_are_rows():
    """The classes of the public face."""
    assert ["ollama", "huggingface", "local"] == [
        made.kind for made in (OllamaVendor(), HuggingFaceVendor(), OpenAICompatibleVendor())
    ]
    assert isinstance(vendor("groq"), HttpVendor)


def test_hosts_of_all_makers_are_asked_for_any_model():
    """A host takes every name, a maker only its own and those that nobody bears."""
    assert ["claude-sonnet-4-6"] * 3 == [vendor(name).model_for("claude-sonnet-4-6") for name in ("groq", "openrouter", "ollama")]
    assert [None, None, "something-new"] == [
        vendor("deepseek").model_for("gpt-4o"),
        vendor("openai").model_for("grok-4"),
        vendor("xai").model_for("something-new"),
    ]
    assert "mistral:7b" == vendor("ollama").model_for("mistral:7b")
