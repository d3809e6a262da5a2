"""Which address and which key a call gets: by API, by version, from functions and from bare hosts."""

import pytest

from llmdispatcher import AzureOpenAIVendor, ConfigError, OllamaVendor, vendor

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
