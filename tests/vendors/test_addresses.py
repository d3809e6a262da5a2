"""Which address and which key a call gets: by API, by version, from functions and from bare hosts."""

import pytest

from llmdispatcher import AzureOpenAIVendor, ConfigError, Deadline, OllamaVendor, OpenAIVendor, Request, Tool, vendor
from llmdispatcher.testing import VendorSimulator

KEY = "sk-address-0123456789"
PATH = "/chat/completions"


def url(made, path=PATH, model="m"):
    return made.call(path, b"{}", model=model).url


def test_azures_versions_are_addresses():
    """Deployments are part of classic addresses, but for the Responses API; v1 has neither."""
    classic = AzureOpenAIVendor(api_key=KEY, base_url="https://r.openai.azure.com", api_version="2024-10-21")
    newer = AzureOpenAIVendor(api_key=KEY, base_url="https://r.openai.azure.com/")

    assert [
        "https://r.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21",
        "https://r.openai.azure.com/openai/deployments/m/embeddings?api-version=2024-10-21",
        "https://r.openai.azure.com/openai/responses?api-version=2024-10-21",
        "https://r.openai.azure.com/openai/v1/chat/completions",
    ] == [url(classic), url(classic, "/embeddings"), url(classic, "/responses"), url(newer)]


@pytest.mark.parametrize("base", ["http://h:11434", "http://h:11434/v1", "h:11434", "h"])
def test_ollama_is_found_by_whatever_names_it(base, monkeypatch):
    """Its own variable holds a bare host; OpenAI's API stands beside its own."""
    monkeypatch.setenv("OLLAMA_HOST", base)
    monkeypatch.delenv("OLLAMA_BASE_URL", raising=False)
    made = OllamaVendor()

    assert ["http://h:11434/api/chat", "http://h:11434/v1/chat/completions"] == [url(made, "/api/chat"), url(made)]


def test_vertex_is_a_place_in_the_address(monkeypatch):
    """Project and location come from the environment, the token from a function."""
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "p1")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    monkeypatch.delenv("VERTEX_BASE_URL", raising=False)
    tokens = iter(["first", "second", "third"])
    made = vendor("vertex", api_key=lambda: next(tokens))
    calls = [made.call("/models/gemini-2.5-pro:generateContent", b"{}") for _ in range(2)]

    assert (
        "https://europe-west4-aiplatform.googleapis.com/v1/projects/p1/locations/europe-west4/publishers/google"
        "/models/gemini-2.5-pro:generateContent"
    ) == calls[0].url
    assert ["Bearer second", "Bearer third"] == [call.headers["Authorization"] for call in calls]


def test_what_a_function_gives_is_checked():
    """A token with a line end in it never gets as far as a header."""
    made = vendor("vertex", api_key=lambda: "bad\ntoken", base_url="https://example.invalid")

    with pytest.raises(ConfigError, match="vertex: the key"):
        made.call("/x", b"{}")


@pytest.mark.parametrize(
    ("model", "settings", "path"),
    [
        ("gpt-4o", {}, "/v1/chat/completions"),
        ("gpt-5", {"tools": True}, "/v1/chat/completions"),
        ("gpt-5-pro", {}, "/v1/responses"),
        ("gpt-5.1-codex", {}, "/v1/responses"),
        ("gpt-5.6", {}, "/v1/chat/completions"),
        ("gpt-5.6", {"tools": True}, "/v1/responses"),
        ("gpt-5.6", {"tools": True, "reasoning_effort": "none"}, "/v1/chat/completions"),
        ("o3-deep-research", {}, "/v1/responses"),
    ],
)
def test_a_model_is_asked_where_it_answers(model, settings, path):
    """OpenAI serves some models, and tools of others, by the Responses API alone."""
    tools = [Tool(name="look")] if settings.pop("tools", False) else []
    with VendorSimulator(responses="hello") as simulator:
        made = OpenAIVendor(api_key=KEY, base_url=simulator.openai_url)
        answer = made.send(Request(model, "hi", tools=tools, **settings), Deadline.after(30))
        made.close()

    assert path == simulator.requests[0].path
    assert "hello" == answer.content
