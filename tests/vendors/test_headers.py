"""Headers of one call: who gets them, what they may not be, and that no error tells them; OpenAI's organization and project."""

import json
from contextlib import closing

import attrs
import pytest

from llmdispatcher import (
    AnthropicVendor,
    Config,
    ConfigError,
    Deadline,
    Dispatcher,
    DispatchError,
    EmbeddingRequest,
    GoogleVendor,
    InvalidRequest,
    Observer,
    OpenAICompatibleVendor,
    OpenAIVendor,
    Request,
    vendor,
)
from llmdispatcher.testing import LoopbackServer, VendorSimulator

from ..cases import each

KEY = "sk-test-0123456789"
SECRET = "tenant-token-8f2c91d7"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
MODELS = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-6", "google": "gemini-2.5-flash"}
MAKERS = {"openai": OpenAIVendor, "anthropic": AnthropicVendor, "google": GoogleVendor}


@pytest.fixture(scope="module")
def simulator():
    with VendorSimulator(responses="hello") as running:
        yield running


@pytest.fixture
def of(simulator):
    """Makes a vendor of a kind at the simulator."""
    made = []

    def make(kind, **settings):
        made.append(MAKERS[kind](api_key=KEY, base_url=getattr(simulator, f"{kind}_url"), **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()


def last(simulator):
    return simulator.requests[-1].headers


@each("kind", [*MODELS])
@each("streamed", [False, True])
def test_headers_of_a_request_are_sent(of, simulator, kind, streamed):
    """To each vendor, whole and in pieces, and to no later request."""
    asked, made = Request(MODELS[kind], "hi", headers={"X-Tenant": SECRET, "x-trace": " 1 "}), of(kind)
    list(made.stream(asked, Deadline.after(30))) if streamed else made.send(asked, Deadline.after(30))
    assert (SECRET, "1") == (last(simulator)["x-tenant"], last(simulator)["x-trace"])
    made.send(Request(MODELS[kind], "hi"), Deadline.after(30))
    assert "x-tenant" not in last(simulator)
    assert SECRET not in repr(asked)


def test_side_calls_have_them_too(of, simulator):
    """Vectors and counts of tokens."""
    of("openai").embed(EmbeddingRequest("text-embedding-3-small", "hi", headers={"X-Tenant": "t"}), Deadline.after(30))
    assert "t" == last(simulator)["x-tenant"]
    of("anthropic").count_tokens(Request(MODELS["anthropic"], "hi", headers={"X-Tenant": "u"}), Deadline.after(30))
    assert "u" == last(simulator)["x-tenant"]


@each(
    "header, right",
    [("anthropic-beta", {"anthropic"}), ("OpenAI-Beta", {"openai"}), ("x-goog-user-project", {"google"}), ("X-Any", set(MODELS))],
)
def test_headers_of_one_api_go_there_alone(of, simulator, header, right):
    """Others refuse or misread them; what was dropped is told."""
    for kind in MODELS:
        response = of(kind).send(Request(MODELS[kind], "hi", headers={header: "x"}), Deadline.after(30))
        assert (header.lower() in last(simulator)) == (kind in right), kind
        assert (() if kind in right else (f"headers: {header!r}",)) == response.dropped


def test_a_request_replaces_what_is_no_credential(of, simulator):
    """In any case of its name: the version, the agent and public headers of the settings; not those that may be secret."""
    made = of("anthropic", headers={"X-Gateway": "g", "User-Agent": "app/1"})
    asked = Request(MODELS["anthropic"], "hi", headers={"Anthropic-Version": "2026-10-21", "user-agent": "app/2"})
    made.send(asked, Deadline.after(30))
    assert ("2026-10-21", "app/2", "g", KEY) == tuple(
        last(simulator)[name] for name in ("anthropic-version", "user-agent", "x-gateway", "x-api-key")
    )
    with pytest.raises(InvalidRequest, match="'x-gateway' is among the settings of this vendor"):
        made.send(attrs.evolve(asked, headers={"x-gateway": "other"}), Deadline.after(30))


@each(
    "headers, told",
    [
        *[({name: SECRET}, "is a credential") for name in ("Authorization", "x-api-key", "API-KEY", "X-Goog-Api-Key", "cookie")],
        *[
            ({name: SECRET}, "belongs to the connection")
            for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "te", "proxy-authorization", "Content-Type")
        ],
        ({"X-A": SECRET, "x-a": "b"}, "is there twice"),
        ({"X A": SECRET}, "is no name"),
        ({"": SECRET}, "is no name"),
        ({1: SECRET}, "is no name"),
        ({"X-A": SECRET + "\r\nX-B: c"}, "no text that a header can carry"),
        ({"X-A": SECRET + "\u0430"}, "no text that a header can carry"),
        ({"X-A": 5}, "no text that a header can carry"),
        ({"X-A": None}, "no text that a header can carry"),
        ({f"X-{number}": SECRET for number in range(33)}, "more than 32"),
        ({"X-A": SECRET * 1000}, "more than 16,384 characters"),
        ([("X-A", SECRET)], "list is not a mapping"),
        (SECRET, "str is not a mapping"),
    ],
)
def test_what_a_request_may_not_send_is_refused(headers, told):
    """When the request is made, by the name of the field, without the value."""
    for kind in (Request, EmbeddingRequest):
        with pytest.raises(InvalidRequest, match=r"^headers") as caught:
            kind("m", "hi", headers=headers)
        assert told in str(caught.value), str(caught.value)
        assert SECRET not in f"{caught.value} {caught.value!r}"


@each("streamed", [False, True])
@each("status", [200, 400, 500])
def test_a_vendor_that_echoes_a_header_is_not_quoted(streamed, status):
    """Neither its error, nor an answer that cannot be read, nor the id of the call shows the value."""

    def echo(peer, request):
        said = json.dumps({"error": {"message": f"bad tenant {request.headers['x-tenant']}"}}).encode()
        peer.reply(status, said, ("X-Request-Id", request.headers["x-tenant"]))

    with LoopbackServer(echo) as server, closing(OpenAIVendor(api_key=KEY, base_url=f"{server.url}/v1")) as made:
        asked = Request("gpt-4o", "hi", headers={"X-Tenant": SECRET})
        with pytest.raises(DispatchError) as caught:
            list(made.stream(asked, Deadline.after(30))) if streamed else made.send(asked, Deadline.after(30))
    assert "bad tenant ***" in str(caught.value)
    assert SECRET not in f"{caught.value!r} {vars(caught.value)}"


@each("streamed", [False, True])
@each("status", [200, 400, 500])
def test_a_vendor_that_echoes_a_header_of_an_observer_is_not_quoted(streamed, status):
    """What may be secret is masked as in the headers of a request; the id of a trace stays, since ids of calls are made of it."""

    class Tenants(Observer):
        def on_attempt_start(self, start):
            start.headers.update({"X-Tenant": SECRET, "traceparent": TRACE})

    def echo(peer, request):
        said = json.dumps({"error": {"message": f"bad tenant {request.headers['x-tenant']}"}}).encode()
        peer.reply(status, said, ("X-Request-Id", request.headers["traceparent"]))

    asked = Request("gpt-4o", "hi")
    with LoopbackServer(echo) as server, Dispatcher({"retry_policy": {"max_retries": 0}}, observers=[Tenants()]) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=f"{server.url}/v1"))
        with pytest.raises(DispatchError) as caught:
            list(dispatcher.send_streaming(asked, timeout=30)) if streamed else dispatcher.send(asked, timeout=30)
    assert "bad tenant ***" in str(caught.value)
    assert TRACE == caught.value.request_id
    assert SECRET not in f"{caught.value!r} {vars(caught.value)}"


def test_failover_keeps_the_headers_of_the_request(simulator):
    """The vendor that answers in place of another gets them, but for those that are not its own."""
    with (
        LoopbackServer(lambda peer, _request: peer.reply(500, b"{}")) as broken,
        Dispatcher(Config(fallback_vendor="anthropic", retry_policy={"max_retries": 0})) as dispatcher,
    ):
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=f"{broken.url}/v1"))
        dispatcher.register_vendor(AnthropicVendor(api_key=KEY, base_url=simulator.anthropic_url))
        answer = dispatcher.send(Request("gpt-4o", "hi", headers={"X-Tenant": "t", "OpenAI-Beta": "b"}), timeout=30)
    assert "anthropic" == answer.vendor
    assert "t" == last(simulator)["x-tenant"]
    assert "openai-beta" not in last(simulator)
    assert ("t", "b") == (broken.requests[0].headers["x-tenant"], broken.requests[0].headers["openai-beta"])


def test_organization_and_project_go_to_openai_alone(simulator, monkeypatch):
    """From the environment; settings of the vendor and headers of a request stand before them."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1\n")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")

    def sent(made, **fields):
        with closing(made):
            made.send(Request("gpt-4o", "hi", **fields), Deadline.after(30))
        return last(simulator).get("openai-organization"), last(simulator).get("openai-project")

    url = simulator.openai_url
    assert ("org-1", "proj-1") == sent(OpenAIVendor(api_key=KEY, base_url=url))
    assert ("org-2", "proj-1") == sent(OpenAIVendor(api_key=KEY, base_url=url, headers={"openai-organization": "org-2"}))
    assert ("org-1", "proj-3") == sent(OpenAIVendor(api_key=KEY, base_url=url), headers={"OpenAI-Project": "proj-3"})
    assert (None, None) == sent(OpenAICompatibleVendor(name="mine", api_key=KEY, base_url=url))
    assert (None, None) == sent(vendor("groq", api_key=KEY, base_url=url))
    monkeypatch.setenv("OPENAI_ORG_ID", "org 1")
    with pytest.raises(ConfigError, match="OPENAI_ORG_ID: "):
        sent(OpenAIVendor(api_key=KEY, base_url=url))
    monkeypatch.setenv("OPENAI_ORG_ID", " ")
    assert (None, "proj-1") == sent(OpenAIVendor(api_key=KEY, base_url=url))
