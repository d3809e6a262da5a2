"""What vendors are asked beside answers: vectors, counts of tokens, lists of models; over real sockets."""

import json

import pytest

from llmdispatcher import (
    AnthropicVendor,
    AuthenticationError,
    AzureOpenAIVendor,
    Deadline,
    DeadlineExceeded,
    Dispatcher,
    GoogleVendor,
    InvalidRequest,
    MalformedReply,
    OllamaVendor,
    OpenAIVendor,
    Request,
    Tool,
)
from llmdispatcher.dispatcher import tokens
from llmdispatcher.testing import FakeVendor, LoopbackServer

from ..cases import each

KEY = "sk-side-0123456789"
MAKERS = {"openai": OpenAIVendor, "google": GoogleVendor, "ollama": OllamaVendor, "anthropic": AnthropicVendor}


class Side:
    """A server that answers each path as it is told, and remembers what it was asked."""

    def __init__(self, answers, delay):
        self.answers = answers
        self.delay = delay
        self.asked = []

    def __call__(self, peer, wire):
        self.asked.append((wire.method, wire.target, json.loads(wire.body) if wire.body else None))
        answer = self.answers(wire, self.asked[-1][2])
        if peer.wait(self.delay):
            return
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        peer.reply(status, json.dumps(document).encode())


@pytest.fixture
def serve():
    running = []

    def start(answers, delay=0.0):
        side = Side(answers, delay)
        running.append(LoopbackServer(side))
        side.url = running[-1].url
        return side

    yield start
    for server in running:
        server.close()


def dispatcher(kind, side, *, config=None, **settings):
    made = Dispatcher(config)
    made.register_vendor(MAKERS[kind](api_key=KEY, base_url=side.url, trust_env=False, **settings))
    return made


def as_openai(_wire, asked):
    data = [{"index": place, "embedding": [float(len(text)), 1.0]} for place, text in enumerate(asked["input"])]
    return {"data": data[::-1], "model": "e-1", "usage": {"prompt_tokens": len(data), "total_tokens": len(data)}}


def as_google(_wire, asked):
    texts = [entry["content"]["parts"][0]["text"] for entry in asked["requests"]]
    return {"embeddings": [{"values": [float(len(text)), 1.0]} for text in texts]}


def as_ollama(_wire, asked):
    return {"model": "e-1", "embeddings": [[float(len(text)), 1.0] for text in asked["input"]], "prompt_eval_count": 7}


@pytest.mark.parametrize(
    ("kind", "answers", "path", "largest"),
    [
        ("openai", as_openai, "/embeddings", 2048),
        ("google", as_google, "/models/e-1:batchEmbedContents", 100),
        ("ollama", as_ollama, "/api/embed", 512),
    ],
)
def test_texts_become_vectors_in_batches(serve, kind, answers, path, largest):
    """In the order of the texts, in as many requests as the format needs, with the usage of all."""
    side = serve(answers)
    texts = ["x" * (number % 7) for number in range(largest + 1)]
    with dispatcher(kind, side) as made:
        found = made.embed("e-1", texts)
        stats = made.get_stats()

    assert [(float(len(text)), 1.0) for text in texts] == list(found.vectors)
    assert [("POST", path)] * 2 == [asked[:2] for asked in side.asked]
    assert (kind, 1, 1) == (found.vendor, stats.total_requests, stats.successful_requests)


def test_a_single_text_is_a_list_of_one(serve):
    """And the dimensions go along."""
    side = serve(as_openai)
    with dispatcher("openai", side) as made:
        found = made.embed("e-1", "hello", dimensions=2)

    assert ((5.0, 1.0),) == found.vectors
    assert {"model": "e-1", "input": ["hello"], "dimensions": 2} == side.asked[0][2]
    assert found.latency > 0


def test_a_vendor_that_makes_none_is_passed_over(serve):
    """Anthropic has no vectors; another vendor of the model is asked."""
    side = serve(as_openai)
    with Dispatcher() as made:
        made.register_vendor(AnthropicVendor(api_key=KEY, base_url=side.url))
        chats = FakeVendor("hi")
        chats.can_embed = False
        made.register_vendor(chats)
        with pytest.raises(InvalidRequest, match="no registered vendor of 'text-embedding-9' makes vectors"):
            made.embed("text-embedding-9", ["a"])
        made.register_vendor(OpenAIVendor(api_key=KEY, base_url=side.url, trust_env=False))
        assert "openai" == made.embed("text-embedding-9", ["a"]).vendor


def test_an_answer_with_too_few_vectors_is_malformed(serve):
    """A vector for another's text would be worse than none."""
    side = serve(lambda _wire, _asked: {"data": [{"index": 0, "embedding": [1.0]}], "model": "e-1"})
    once = {"retry_policy": {"max_retries": 0}}
    with dispatcher("openai", side, config=once) as made, pytest.raises(MalformedReply, match="1 vectors for 2 texts"):
        made.embed("e-1", ["a", "b"], timeout=30.0)


def test_a_refusal_is_our_error_without_the_key(serve):
    """As for any call."""
    side = serve(
        lambda _wire, _asked: (401, {"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}})
    )
    with dispatcher("openai", side) as made, pytest.raises(AuthenticationError) as caught:
        made.embed("e-1", ["a"])

    assert KEY not in str(caught.value)


@each(
    "kind, answer, path",
    [
        ("openai", {"object": "response.input_tokens", "input_tokens": 12}, "/responses/input_tokens"),
        ("anthropic", {"input_tokens": 12}, "/v1/messages/count_tokens"),
        ("google", {"totalTokens": 12}, "/models/m-1:countTokens"),
    ],
)
def test_tokens_are_counted_by_the_vendor(serve, kind, answer, path):
    """Where it has a way to ask; nothing of the answer is asked for."""
    side = serve(lambda _wire, _asked: answer)
    with dispatcher(kind, side) as made:
        counted = made.count_tokens(Request("m-1", "hello", max_tokens=5))

    assert (12, "vendor", kind) == (counted.tokens, counted.source, counted.vendor)
    assert [("POST", path)] == [asked[:2] for asked in side.asked]


def test_tokens_are_counted_without_what_the_vendor_leaves_out(serve):
    """``drop_params`` of a vendor holds for its counts as for its answers."""
    side = serve(lambda _wire, _asked: {"input_tokens": 12})
    with dispatcher("anthropic", side, drop_params=True) as made:
        assert made.count_tokens(Request("m-1", "hello", frequency_penalty=0.5)).source == "vendor"


def test_tokens_are_estimated_where_nobody_counts(serve, monkeypatch):
    """And the estimate says that it is one."""
    side = serve(lambda _wire, _asked: {})
    tokens._counter.cache_clear()
    monkeypatch.setattr(tokens, "import_module", _not_installed)
    request = Request("m-1", "x" * 40, tools=[Tool(name="look", parameters={"type": "object"})])
    with dispatcher("ollama", side) as made:
        counted = made.count_tokens(request)
    tokens._counter.cache_clear()

    assert ("characters", []) == (counted.source, side.asked)
    assert 10 + 4 < counted.tokens < 30


def _not_installed(name):
    raise ImportError(name)


@each(
    "kind, pages, paths",
    [
        ("openai", [{"data": [{"id": "a"}, {"id": "b"}]}], ["/models"]),
        (
            "anthropic",
            [{"data": [{"id": "a"}], "has_more": True, "last_id": "a"}, {"data": [{"id": "b"}], "has_more": False, "last_id": "b"}],
            ["/v1/models?limit=1000", "/v1/models?limit=1000&after_id=a"],
        ),
        (
            "google",
            [{"models": [{"name": "a"}], "nextPageToken": "t"}, {"models": [{"name": "b"}]}],
            ["/models?pageSize=1000", "/models?pageSize=1000&pageToken=t"],
        ),
        ("ollama", [{"models": [{"name": "a"}, {"name": "b"}]}], ["/api/tags"]),
    ],
)
def test_models_are_listed_page_by_page(serve, kind, pages, paths):
    """All of them, in the vendor's order."""
    left = list(pages)
    side = serve(lambda _wire, _asked: left.pop(0))
    with dispatcher(kind, side) as made:
        assert ("a", "b") == made.list_models(kind)

    assert [("GET", path, None) for path in paths] == side.asked


def test_azure_lists_the_models_of_the_resource(serve):
    """Not those of a deployment, which has no name here."""
    side = serve(lambda _wire, _asked: {"data": [{"id": "gpt-4o"}]})
    with Dispatcher() as made:
        made.register_vendor(AzureOpenAIVendor(api_key=KEY, base_url=side.url, api_version="2024-10-21", trust_env=False))
        assert ("gpt-4o",) == made.list_models("azure")

    assert [("GET", "/openai/models?api-version=2024-10-21", None)] == side.asked


def test_a_list_without_end_ends(serve):
    """A vendor that names a next page for ever is asked a bounded number of times."""
    side = serve(lambda _wire, _asked: {"models": [{"name": "a"}], "nextPageToken": "again"})
    with dispatcher("google", side) as made:
        assert 100 == len(made.list_models("google"))


def test_a_vendor_of_ones_own_lists_its_capabilities():
    """It has no address to ask."""
    with Dispatcher() as made:
        made.register_vendor(FakeVendor("hi"))
        assert () == made.list_models("fake")


def test_the_deadline_holds_for_all_batches(serve):
    """One over the whole call, not one for each request."""
    side = serve(as_openai, delay=0.2)
    with dispatcher("openai", side) as made, pytest.raises(DeadlineExceeded):
        made.embed("e-1", ["a"] * 2048 * 5, timeout=0.5)

    assert len(side.asked) < 4, "three took 0.6 s"


class Encoding:
    """What tiktoken gives, as far as it is used."""

    def encode(self, text, disallowed_special):
        return text.split()


@each("found, source", [(Encoding(), "tiktoken"), (OSError("no network"), "characters")])
def test_a_tokenizer_counts_where_it_is_installed(monkeypatch, found, source):
    """And one that cannot load its table is no failure."""

    class Installed:
        @staticmethod
        def get_encoding(name):
            if isinstance(found, Exception):
                raise found
            return found

    tokens._counter.cache_clear()
    monkeypatch.setattr(tokens, "import_module", lambda name: Installed)
    counted = tokens.estimate_tokens(Request("m-1", "three little words"))
    tokens._counter.cache_clear()

    assert source == counted.source
    assert (3 if source == "tiktoken" else 5) + 4 == counted.tokens


@each("word", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_a_call_that_google_could_not_read_is_no_answer(serve, word):
    """Whole and streamed, also where tokens were counted: an empty answer would look like a success."""
    ended = {"candidates": [{"finishReason": word, "index": 0}], "usageMetadata": {"promptTokenCount": 9, "totalTokenCount": 9}}
    side = serve(lambda _wire, _asked: ended)
    made = GoogleVendor(api_key=KEY, base_url=side.url, trust_env=False)
    try:
        for ask in (made.send, lambda *args: list(made.stream(*args))):
            with pytest.raises(MalformedReply, match="cannot be used"):
                ask(Request("gemini-2.5-flash", "hi"), Deadline.after(30))
    finally:
        made.close()
