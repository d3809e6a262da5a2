"""What vendors answer, recorded over real connections and replayed without one."""

from __future__ import annotations

import base64
import json
import multiprocessing
import re

import attrs
import pytest

from llmdispatcher import (
    AnthropicVendor,
    Cancellation,
    Cancelled,
    ConfigError,
    Deadline,
    Dispatcher,
    GoogleVendor,
    Message,
    OllamaVendor,
    OpenAIVendor,
    RateLimitError,
    Request,
    StreamInterrupted,
)
from llmdispatcher.testing import Cassette, LoopbackServer, UnmatchedRequest, VendorSimulator, faults
from llmdispatcher.testing.cassette import MODES, _agrees
from llmdispatcher.testing.plugin import _MODES as plugin_modes
from llmdispatcher.transport import Transport
from llmdispatcher.types import HttpCall

from ..cases import each

pytest_plugins = ["pytester"]

KEY = "sk-proj-a9Xb8Yc7Zd6We5Vf4"
HELLO = Request("openai:gpt-4o", "hello")


def dispatcher_for(simulator, key=KEY, **vendor):
    """Every vendor of the simulator, once each."""
    dispatcher = Dispatcher({"retry_policy": {"max_retries": 0}})
    dispatcher.register_vendor(OpenAIVendor(base_url=simulator.openai_url, api_key=key, trust_env=False, **vendor))
    dispatcher.register_vendor(AnthropicVendor(base_url=simulator.anthropic_url, api_key=key, trust_env=False))
    dispatcher.register_vendor(GoogleVendor(base_url=simulator.google_url, api_key=key, trust_env=False))
    dispatcher.register_vendor(OllamaVendor(base_url=simulator.url, trust_env=False))
    return dispatcher


MODELS = ("openai:gpt-4o", "anthropic:claude-haiku-4-5", "google:gemini-2.5-flash", "ollama:llama3")


def everything(dispatcher):
    """What calls of every kind bring."""
    brought = [dispatcher.send(Request(model, "hello")).content for model in MODELS]
    for model in MODELS:
        with dispatcher.send_streaming(Request(model, "hello")) as stream:
            brought.append([chunk.content for chunk in stream])
        brought.append(stream.usage.total_tokens)
    brought.append(dispatcher.embed("openai:text-embedding-3-small", ["a", "b"]).vectors)
    brought.append(dispatcher.list_models("anthropic"))
    brought.append(dispatcher.count_tokens(Request("anthropic:claude-haiku-4-5", "hello")).tokens)
    return brought


def test_what_forked_processes_record_is_in_the_file(simulator, tmp_path):
    """Of several children beside the parent, without their keys; no part of it is left behind."""
    path = tmp_path / "forks.json"

    def ask(number):
        dispatcher_for(simulator, key=f"{KEY}{number}").send(Request("openai:gpt-4o", f"question {number}"))
        with dispatcher_for(simulator).send_streaming(Request("anthropic:claude-haiku-4-5", f"question {number}")) as stream:
            list(stream)

    with Cassette(path) as cassette:
        ask(0)
        children = [multiprocessing.get_context("fork").Process(target=ask, args=(number,)) for number in (1, 2, 3)]
        for child in children:
            child.start()
        for child in children:
            child.join()
    hits = simulator.hits
    with Cassette(path, mode="none") as again:
        for number in range(4):
            ask(number)

    assert ([0] * 3, 8, 8) == ([child.exitcode for child in children], cassette.recorded, again.replayed)
    assert hits == simulator.hits
    assert ["forks.json"] == [file.name for file in tmp_path.iterdir()]
    assert KEY not in path.read_text()


def test_calls_of_every_kind_are_replayed(simulator, tmp_path):
    """Whole, streamed chunk by chunk, vectors, lists and counts; without the server, and with another key."""
    with Cassette(tmp_path / "new" / "one.json") as cassette:
        brought = everything(dispatcher_for(simulator))
    assert (11, 0) == (cassette.recorded, cassette.replayed)
    hits = simulator.hits
    simulator.close()

    with Cassette(tmp_path / "new" / "one.json", mode="none") as cassette:
        assert brought == everything(dispatcher_for(simulator, "no-key-at-all"))
    assert (0, 11, (), hits) == (cassette.recorded, cassette.replayed, cassette.unused, simulator.hits)


def record(simulator, path, *requests, dispatcher=None, **settings):
    with Cassette(path, **{"mode": "all", **settings}) as cassette, dispatcher or dispatcher_for(simulator) as asked:
        for request in requests:
            asked.send(request)
    return cassette


def replay(simulator, path, request=HELLO, **settings):
    with Cassette(path, **{"mode": "none", **settings}), dispatcher_for(simulator) as dispatcher:
        return dispatcher.send(request)


def test_a_request_that_is_not_recorded_is_told_with_the_nearest(simulator, tmp_path):
    """And what is different there; it is not retried, nobody else is asked, and nothing is sent."""
    path = tmp_path / "one.json"
    record(simulator, path, HELLO, Request("openai:gpt-4o-mini", "hello", tools=[{"name": "f"}]))
    with pytest.raises(UnmatchedRequest) as caught:
        replay(simulator, path, Request("openai:gpt-4o", "hallo", temperature=0.5))

    text = str(caught.value)
    assert 2 == simulator.hits
    assert f"the nearest is exchange 1 of 2 in {path}" in text
    assert '\n  body.messages[0].content: recorded "hello", asked "hallo"\n' in text
    assert "\n  body.temperature: asked 0.5, not recorded\n" in text
    assert "pytest --cassette-mode=new" in text
    with pytest.raises(UnmatchedRequest, match=r"body\.messages: recorded 1 entries, asked 2\n  body\.messages\[0\]\.content: "):
        replay(simulator, path, Request("openai:gpt-4o", [Message.user("hi"), Message.assistant("ho")]))
    assert KEY not in text


def test_an_exchange_is_replayed_once(simulator, tmp_path):
    """Two answers to one request come in their order; a third is not made up."""
    path = tmp_path / "one.json"
    simulator.responses = ["first", "second"]
    record(simulator, path, HELLO, HELLO)
    with Cassette(path, mode="none") as cassette, dispatcher_for(simulator) as dispatcher:
        assert ["first", "second"] == [dispatcher.send(HELLO).content for _ in range(2)]
        with pytest.raises(UnmatchedRequest, match="was asked more often than it was recorded"):
            dispatcher.send(HELLO)
    assert 2 == cassette.replayed


def test_what_is_left_is_told(simulator, tmp_path):
    """So that a test can demand that nothing is."""
    path = tmp_path / "one.json"
    record(simulator, path, HELLO, Request("openai:gpt-4o", "more"))
    with Cassette(path, mode="none") as cassette, dispatcher_for(simulator) as dispatcher:
        dispatcher.send(HELLO)

    assert (f"POST {simulator.openai_url}/chat/completions",) == cassette.unused


def test_modes(simulator, tmp_path):
    """What is replayed, what is asked, and what is in the file afterwards."""
    path, other = tmp_path / "one.json", Request("openai:gpt-4o", "other")
    with pytest.raises(UnmatchedRequest, match=r"one\.json does not exist"):
        replay(simulator, path)
    assert 1 == record(simulator, path, HELLO, mode="once").recorded
    with pytest.raises(UnmatchedRequest):
        replay(simulator, path, other, mode="once")
    assert 1 == record(simulator, path, HELLO, other, mode="new").recorded
    assert 2 == simulator.hits
    assert 2 == len(json.loads(path.read_text())["exchanges"])
    assert 1 == record(simulator, path, other, mode="all").recorded
    assert 1 == len(json.loads(path.read_text())["exchanges"])
    assert not list(tmp_path.glob(".*"))


def test_without_calls_there_is_no_file(tmp_path):
    """Nor a folder."""
    for mode in ("none", "once", "new", "all"):
        with Cassette(tmp_path / mode / "one.json", mode=mode):
            pass
    assert not list(tmp_path.iterdir())


def test_refusals_are_replayed(simulator, tmp_path):
    """With their status and what they say about time."""
    path = tmp_path / "one.json"
    simulator.always(faults.rate_limit(retry_after="7"))
    with pytest.raises(RateLimitError):
        record(simulator, path, HELLO)
    simulator.close()
    with pytest.raises(RateLimitError) as caught:
        replay(simulator, path)

    assert (429, 7.0) == (caught.value.status, caught.value.retry_after)


def test_a_stream_that_broke_breaks_again(simulator, tmp_path):
    """Where it broke."""
    path, request = tmp_path / "one.json", Request("openai:gpt-4o", "hello")
    simulator.always(faults.cut_after(3))
    said = []
    for mode in ("once", "none"):
        with Cassette(path, mode=mode), dispatcher_for(simulator) as dispatcher, pytest.raises(StreamInterrupted) as caught:
            list(dispatcher.send_streaming(request))
        said.append(caught.value.partial.content)

    assert said[0] == said[1] != ""


def only_openai(server):
    """A dispatcher over a server of the test's own."""
    dispatcher = Dispatcher({"retry_policy": {"max_retries": 0}})
    dispatcher.register_vendor(OpenAIVendor(base_url=f"{server.url}/v1", api_key=KEY, trust_env=False))
    return dispatcher


def test_a_stream_that_was_left_is_replayed_as_far(simulator, tmp_path):
    """Further on, it says that the recording ends."""
    path = tmp_path / "one.json"

    def answer(peer, _request):
        peer.start_stream(content_type="text/event-stream")
        peer.chunk(b'data: {"choices": [{"index": 0, "delta": {"content": "one"}}]}\n\n')
        peer.wait(60)

    with LoopbackServer(answer) as server:
        for mode in ("once", "none"):
            with Cassette(path, mode=mode), only_openai(server) as dispatcher, dispatcher.send_streaming(HELLO) as stream:
                assert "one" == next(iter(stream)).content
        with (
            Cassette(path, mode="none"),
            only_openai(server) as dispatcher,
            pytest.raises(StreamInterrupted, match="the recording ends here"),
        ):
            list(dispatcher.send_streaming(HELLO))


def test_no_secret_is_in_the_file(simulator, tmp_path):
    """Not of headers, addresses, bodies or answers: as it is, encoded, cut into pieces, or under the name of a key."""
    path, own, named, found = tmp_path / "one.json", "own-header-secret-77", "named-value-12345", "AKIAIOSFODNN7EXAMPLE"
    packed = base64.b64encode(f"x {KEY}".encode()).decode()
    answer = f'key {KEY}, packed {packed}, {{"api_key": "{named}"}} {found} customer-42 end'
    dispatcher = dispatcher_for(simulator, headers={"X-Team": own})
    with Cassette(path, secrets=["customer-42"]), dispatcher:
        simulator.responses = answer
        dispatcher.send(Request("openai:gpt-4o", f"I am {KEY} of customer-42", metadata={}, user=own))
        list(dispatcher.send_streaming(HELLO))
    text = path.read_text()

    for secret in (KEY, own, named, found, packed, "customer-42", "authorization", "x-team"):
        assert secret not in text.lower() if secret.islower() else secret not in text
    assert (
        "end"
        in replay(
            simulator, path, Request("openai:gpt-4o", f"I am {KEY} of customer-42", user=own), secrets=["customer-42"]
        ).content
    )


def test_uploads_of_bytes_are_replayed_and_hold_no_secret(simulator, tmp_path):
    """Of each Files API; a key among bytes that are no text is masked there too."""
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF \xff\xfe api_key=" + KEY.encode() + b" \x00 end")
    for number, (kind, url) in enumerate(
        [
            (OpenAIVendor, simulator.openai_url),
            (AnthropicVendor, simulator.anthropic_url),
            (GoogleVendor, simulator.google_url),
        ]
    ):
        file = tmp_path / f"{number}.json"
        with Cassette(file):
            recorded = kind(api_key=KEY, base_url=url).upload_file(path)
        document = json.loads(file.read_text())
        bodies = [
            base64.b64decode(part["base64"]) if "base64" in part else json.dumps(part).encode()
            for exchange in document["exchanges"]
            for part in exchange.values()
        ]
        with Cassette(file, mode="none"):
            again = kind(api_key=KEY, base_url=url).upload_file(path)
        with Cassette(file, mode="none"), pytest.raises(UnmatchedRequest):
            kind(api_key=KEY, base_url=url).upload_file(b"%PDF \xff other", name="a.pdf")

        assert recorded == again
        assert b"%PDF" in b"".join(bodies)
        assert KEY.encode() not in b"".join(bodies)


def test_a_field_that_is_called_base64_hides_nothing(tmp_path):
    """It is masked as every text of a body."""
    body = json.dumps({"base64": f"it is {KEY}"}).encode()
    with LoopbackServer(lambda peer, _request: peer.reply(200, body)) as server, Cassette(tmp_path / "a.json"):
        OpenAIVendor(api_key=KEY, base_url=f"{server.url}/v1").request("POST", "/other", json={"base64": KEY})

    assert KEY not in (tmp_path / "a.json").read_text()


def test_a_secret_in_the_pieces_of_a_stream_is_masked(tmp_path):
    """No event has it whole."""
    pieces = [KEY[at : at + 5] for at in range(0, len(KEY), 5)]

    def answer(peer, _request):
        peer.start_stream(content_type="text/event-stream")
        for piece in ("Your key: ", *pieces, "."):
            event = {"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]}
            peer.chunk(f"data: {json.dumps(event)}\n\n".encode())
        peer.chunk(b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n')
        peer.chunk(b"")

    path = tmp_path / "one.json"
    said = []
    with LoopbackServer(answer) as server:
        for mode in ("once", "none"):
            with Cassette(path, mode=mode), only_openai(server) as dispatcher, dispatcher.send_streaming(HELLO) as stream:
                said.append("".join([chunk.content for chunk in stream]))

    assert [f"Your key: {KEY}.", "Your key: ***."] == said
    assert not any(piece in path.read_text() for piece in pieces)


def test_masks_stand_for_any_text():
    """However many there are, a text is read once."""
    recorded = f"{' '.join(['***'] * 40)}!"

    assert _agrees(recorded, "a " * 80 + "!")
    assert not _agrees(recorded, "a " * 80)
    assert [True, True, False, False] == [_agrees("a***b***a", asked) for asked in ("aba", "a1b2a", "ab", "abab")]


def test_an_address_is_kept_without_its_keys(tmp_path):
    """Neither a login nor the parameters that are keys; the others stay."""
    path = tmp_path / "one.json"
    call = HttpCall(url=f"http://127.0.0.1:9/v1/a?key={KEY}&api-version=2024&sig=a%2Bb%2Fc12345", headers={}, body=b"{}")
    with LoopbackServer(lambda peer, _request: peer.reply(200, b"{}")) as server, Cassette(path):
        transport = Transport(server.url)
        asked = attrs.evolve(call, url=call.url.replace("http://127.0.0.1:9", server.url))
        assert b"{}" == transport.open(asked, Deadline.after(60)).read()
        transport.close()
    with Cassette(path, mode="none"):
        assert b"{}" == transport.open(attrs.evolve(asked, url=asked.url.replace(KEY, "another")), Deadline.after(60)).read()

    (exchange,) = json.loads(path.read_text())["exchanges"]
    assert {"method": "POST", "url": f"{server.url}/v1/a?key=***&api-version=2024&sig=***", "headers": {}, "json": {}} == exchange[
        "request"
    ]


def test_what_must_agree_can_be_chosen(simulator, tmp_path):
    """Another address, another user."""
    path = tmp_path / "one.json"
    record(simulator, path, Request("openai:gpt-4o", "hello", user="a"))
    with VendorSimulator() as other:
        request = Request("openai:gpt-4o", "hello", user="b")
        with pytest.raises(UnmatchedRequest, match=r"url: recorded .* asked .*\n  body\.user: recorded"):
            replay(other, path, request)
        assert replay(other, path, request, match=["method", "path", "body"], ignore=["user"]).content
        assert replay(other, path, Request("openai:gpt-4o", "else"), match=["path"]).content
        assert 0 == other.hits


@each(
    "settings, told",
    [
        ({"mode": "record"}, "mode: 'record' is not known; use none, once, new, all"),
        ({"match": ["headers"]}, "match: 'headers' is not known; use method, url, path, body"),
        ({"match": "url"}, "match: str is not a list of texts"),
        ({"ignore": "user"}, "ignore: str is not a list of texts"),
        ({"secrets": [3]}, "secrets: list is not a list of texts"),
    ],
)
def test_wrong_settings_are_refused(settings, told):
    """When it is made; the option of pytest takes the same modes."""
    assert MODES == plugin_modes
    with pytest.raises(ConfigError) as caught:
        Cassette("one.json", **settings)
    assert str(caught.value).startswith(told)


@each(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"cassette": 2, "exchanges": []}',
        '{"cassette": 1, "exchanges": [{}]}',
        '{"cassette": 1, "exchanges": [{"request": {}}]}',
        '{"cassette": 1, "exchanges": [{"request": {"method": "GET", "url": "", "base64": 5}, "response": {"status": 200}}]}',
    ],
)
def test_what_is_no_cassette_is_told(text, tmp_path):
    """By its path."""
    path = tmp_path / "one.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"cassette: .*one\.json cannot be read .*; record it anew"), Cassette(path):
        pass
    with Cassette(tmp_path / "two.json", mode="none"):  # nothing is in use
        pass


def test_one_is_in_use_at_a_time(tmp_path):
    """Which leaves the transport as it was."""
    before = Transport.open
    with Cassette(tmp_path / "one.json") as cassette:
        with pytest.raises(ConfigError, match=r"one\.json is in use"), Cassette(tmp_path / "two.json"):
            pass
        assert Transport.open is not before
    assert Transport.open is before
    with pytest.raises(ConfigError, match="a Cassette is used once"), cassette:
        pass


def test_any_text_is_written_and_read(tmp_path):
    """Halves of a character too, which JSON can hold and a file cannot."""
    body = b'{"choices": [{"index": 0, "message": {"content": "a\\ud83d \xe6\x97\xa5"}, "finish_reason": "stop"}]}'
    said = []
    with LoopbackServer(lambda peer, _request: peer.reply(200, body)) as server:
        for mode in ("once", "none"):
            with Cassette(tmp_path / "one.json", mode=mode), only_openai(server) as dispatcher:
                said.append(dispatcher.send(Request("openai:gpt-4o", "日本")).content)

    assert said[0] == said[1] != ""
    assert "日本" in (tmp_path / "one.json").read_text(encoding="utf-8")


def test_threads_share_it(simulator, tmp_path):
    """Each exchange is recorded and replayed once."""
    path = tmp_path / "one.json"
    requests = [Request("openai:gpt-4o", f"number {number % 10}") for number in range(40)]
    brought = []
    for mode in ("once", "none"):
        with Cassette(path, mode=mode) as cassette, dispatcher_for(simulator) as dispatcher:
            brought.append([response.content for response in dispatcher.map(requests, max_workers=8)])
    assert brought[0] == brought[1]
    assert 40 == cassette.replayed
    assert () == cassette.unused


def test_a_cancel_ends_a_replay(simulator, tmp_path):
    """As it ends a call."""
    path, cancel = tmp_path / "one.json", Cancellation()
    record(simulator, path, HELLO)
    cancel.cancel()
    with (
        Cassette(path, mode="none") as cassette,
        dispatcher_for(simulator) as dispatcher,
        pytest.raises(Cancelled),
    ):
        dispatcher.send(HELLO, cancel=cancel)
    assert 0 == cassette.replayed


MODULE = """
    import pytest
    from llmdispatcher import Dispatcher, OpenAIVendor, Request

    def ask(text, url):
        with Dispatcher() as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(base_url=url, api_key="a-key-of-tests"))
            return dispatcher.send(Request("gpt-4o", text)).content

    @pytest.mark.parametrize("text", ["one", "a/b: c"])
    def test_ask(cassette, text):
        assert ask(text, "URL")

    class TestMore:
        @pytest.mark.cassette("shared.json", ignore=["user"])
        def test_shared(self, cassette):
            assert ask("shared", "URL")
"""


def test_the_fixture(simulator, pytester):
    """It replays unless told otherwise; each test has a file of its own, or the one that its marker names."""
    pytester.makepyfile(test_it=MODULE.replace("URL", simulator.openai_url))
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist")
    result.assert_outcomes(failed=3)
    result.stdout.fnmatch_lines(
        ["*UnmatchedRequest: *does not exist; the mode is 'none'; record it with mode='new' (pytest --cassette-mode=new)*"]
    )
    assert 0 == simulator.hits

    pytester.runpytest_inprocess("-p", "no:xdist", "--cassette-mode=once").assert_outcomes(passed=3)
    files = sorted(str(path.relative_to(pytester.path)) for path in pytester.path.rglob("*.json"))
    assert ["cassettes/test_it/test_ask[a_b_c]-", "cassettes/test_it/test_ask[one].json", "shared.json"] == [
        re.sub(r"[0-9a-f]{8}\.json$", "", file) for file in files
    ]
    simulator.close()

    pytester.runpytest_inprocess("-p", "no:xdist").assert_outcomes(passed=3)
    pytester.makeini("[pytest]\ncassette_mode = recrod\n")
    pytester.runpytest_inprocess("-p", "no:xdist", "-k", "one").stdout.fnmatch_lines(["*mode: 'recrod' is not known*"])


FIXTURES = """
    from llmdispatcher import Dispatcher, OpenAIVendor, RateLimitError, Request

    def test_simulators(vendor_simulator, make_vendor_simulator):
        vendor_simulator.responses = "one"
        for simulator, answer in ((vendor_simulator, "one"), (make_vendor_simulator(responses="two"), "two")):
            with Dispatcher() as dispatcher:
                dispatcher.register_vendor(OpenAIVendor(base_url=simulator.openai_url, api_key="a-key-of-tests"))
                assert answer == dispatcher.send(Request("gpt-4o", "hello")).content

    def test_doubles(fake_vendor, manual_clock):
        fake_vendor.script(RateLimitError("slow down", retry_after=7), "now")
        with Dispatcher(clock=manual_clock) as dispatcher:
            dispatcher.register_vendor(fake_vendor)
            assert "now" == dispatcher.send(Request("m", "hello"), timeout=60).content
        assert 7 in manual_clock.sleeps
"""


def test_a_project_of_its_own_has_the_fixtures(pytester):
    """Without a line in its conftest."""
    pytester.makepyfile(test_own=FIXTURES)
    pytester.runpytest_inprocess("-p", "no:cacheprovider", "-p", "no:xdist").assert_outcomes(passed=2)


def test_all_fixtures_are_listed(pytester):
    """With what they are for."""
    listed = pytester.runpytest_inprocess("--fixtures", "-p", "no:xdist")
    listed.stdout.fnmatch_lines(["cassette*", "*A cassette in use*"])
    pytester.runpytest_inprocess("--markers").stdout.fnmatch_lines(["@pytest.mark.cassette(path=None*"])
