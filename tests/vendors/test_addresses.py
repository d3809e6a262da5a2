"""Which address and which key a call gets: by API, by version, from functions and from bare hosts."""

import pytest

from llmdispatcher import (
    AzureOpenAIVendor,
    ConfigError,
    Deadline,
    InvalidRequest,
    OllamaVendor,
    OpenAIVendor,
    Request,
    Tool,
    vendor,
)
from llmdispatcher.testing import VendorSimulator

from ..cases import each

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


@each("base", ["http://h:11434", "http://h:11434/v1", "h:11434", "h"])
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


@each(
    "model, settings, path",
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


@each(
    "kind, base, path, asked",
    [
        ("openai", "http://h/v1/chat/completions", PATH, "http://h/v1/chat/completions"),
        ("openai", "http://h/v1/responses/", PATH, "http://h/v1/chat/completions"),
        ("openai", "HTTP://h/v1/embeddings", PATH, "http://h/v1/chat/completions"),
        ("openai", "http://h/models", PATH, "http://h/models/chat/completions"),
        ("anthropic", "http://h", "/v1/messages", "http://h/v1/messages"),
        ("anthropic", "http://h/v1", "/v1/messages", "http://h/v1/messages"),
        ("anthropic", "http://h/v1/messages", "/v1/messages", "http://h/v1/messages"),
        (
            "google",
            "http://h/v1beta/models/gemini-x:generateContent",
            "/models/g:generateContent",
            "http://h/v1beta/models/g:generateContent",
        ),
        ("ollama", "http://h:11434/api/chat", "/api/chat", "http://h:11434/api/chat"),
        ("ollama", "http://h:11434/api", "/api/chat", "http://h:11434/api/chat"),
        ("ollama", "http://h:11434/v1/chat/completions", "/api/chat", "http://h:11434/api/chat"),
        ("azure", "http://h/openai/deployments/gpt-4o/chat/completions", PATH, "http://h/openai/v1/chat/completions"),
    ],
)
def test_the_address_of_a_whole_call_is_recognised(kind, base, path, asked):
    """As consoles and gateways show it; its path is not doubled."""
    assert asked == url(vendor(kind, api_key=KEY, base_url=base), path)


def test_azures_address_of_a_deployment_keeps_the_classic_form():
    """With a version."""
    made = AzureOpenAIVendor(
        api_key=KEY, base_url="https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions", api_version="2024-10-21"
    )

    assert "https://r.openai.azure.com/openai/deployments/m/chat/completions?api-version=2024-10-21" == url(made)


@each("where", ["base_url", "OPENAI_BASE_URL", "OPENAI_API_BASE"])
def test_an_address_with_a_query_is_refused(where, monkeypatch):
    """Where it was given is named; the older variable counts, too, since a gateway's address may stand there."""
    given = {"base_url": "https://h/v1?key=hunter2"} if where == "base_url" else {}
    if not given:
        monkeypatch.setenv(where, "https://h/v1?key=hunter2")
    with pytest.raises(ConfigError, match=f"^{where}: it has") as caught:
        url(OpenAIVendor(api_key=KEY, **given))
    assert "hunter2" not in str(caught.value)


@each("version", ["2024-10-21&x=1", "2024 HTTP/1.1\r\nX: 1", "2024#", "../x", "a..b", "2024-10-21?", "\ud800"])
def test_a_version_that_no_address_carries_is_refused(version):
    """It is part of every address."""
    made = AzureOpenAIVendor(api_key=KEY, base_url="https://r.openai.azure.com", api_version=version)
    with pytest.raises(ConfigError, match=r"^api_version: "):
        url(made)


@each("model", ["..", "a?key=1", "a#b", "a/../b", "\ud800", "%2e%2e"])
@each("kind", ["google", "azure"])
def test_a_models_name_cannot_leave_its_path(kind, model):
    """Nothing is sent; whoever carries the name in the body may have it."""
    made = vendor(kind, api_key=KEY, base_url="http://127.0.0.1:1", **({"api_version": "2024-10-21"} if kind == "azure" else {}))
    with pytest.raises(InvalidRequest, match=r"^model: "):
        made.send(Request(model, "hi"), Deadline.after(30))


@each("ends", ["\n", "\r\n", " \t\n", "\ufeff"])
@each("how", ["text", "list", "function", "environment"])
def test_a_key_from_a_file_loses_what_stands_around_it(how, ends, monkeypatch):
    """A mounted file ends with a line end."""
    given = {"text": f"{KEY}{ends}", "list": [f"{ends}{KEY}{ends}"], "function": lambda: f"{KEY}{ends}"}
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}{ends.replace(chr(0xFEFF), '')}")
    made = OpenAIVendor(base_url="http://h/v1", **({"api_key": given[how]} if how in given else {}))

    assert f"Bearer {KEY}" == made.call(PATH, b"{}").headers["Authorization"]


@each("blank", ["\n", "  ", ""])
def test_a_variable_with_nothing_but_a_line_end_is_no_key(blank, monkeypatch):
    """It is missing."""
    monkeypatch.setenv("OPENAI_API_KEY", blank)

    assert "no API key" in OpenAIVendor().missing()


def test_a_header_from_a_file_loses_its_line_end():
    """A line end within it is still refused."""
    made = OpenAIVendor(api_key=KEY, base_url="http://127.0.0.1:1", headers={"X-Gateway": "secret-value\n"})

    assert "secret-value" == made.call(PATH, b"{}").headers["X-Gateway"]
