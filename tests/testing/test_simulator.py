"""The simulator: scripts, records, keys, pace, errors at a rate, and an end that leaves nothing."""

import http.client
import json
import socket
import threading
import time
import urllib.request

import pytest

from llmdispatcher.testing import OK, SimulatedResponse, VendorSimulator, faults

from ..threads import in_threads
from .conftest import FORMATS, HEADERS, NINE_AND_MORE, PATHS, PATIENCE, ask, bytes_of, wire_request


def said(reply):
    return reply.json["choices"][0]["message"]["content"]


def test_answers_go_round():
    """A list is gone through again and again."""
    with VendorSimulator(responses=["a", lambda asked: asked["model"], SimulatedResponse("c")]) as sim:
        assert ["a", "gpt-4o", "c", "a"] == [said(ask(sim)) for _ in range(4)]


def test_by_default_it_talks_about_the_prompt():
    """Sentences, the same for the same prompt, others for another seed."""
    with VendorSimulator() as one, VendorSimulator(seed=1) as other:
        first, second, third = said(ask(one)), said(ask(one)), said(ask(other))

    assert first == second != third
    assert "rivers" in first


def test_a_prompt_without_words_gets_an_answer():
    """Also nothing but signs."""
    with VendorSimulator() as sim:
        assert said(ask(sim, messages=[{"role": "user", "content": "?!"}]))


def test_what_came_in_is_recorded():
    """Parsed body, headers, path, format, model, stream, in order and exactly."""
    with VendorSimulator() as sim:
        for form in FORMATS:
            ask(sim, form, stream=form != "openai")
        seen = [(r.format, r.path.partition("?")[0].rpartition("/")[2], r.model, r.stream, r.number) for r in sim.requests]

    assert [
        ("openai", "completions", "gpt-4o", False, 0),
        ("azure", "completions", "gpt-4o", True, 1),
        ("anthropic", "messages", "claude-x", True, 2),
        ("gemini", "gemini-x:streamGenerateContent", "gemini-x", True, 3),
        ("openai_responses", "responses", "gpt-5", True, 4),
        ("ollama", "chat", "llama", True, 5),
    ] == seen
    assert (6, "k") == (sim.hits, sim.requests[2].headers["x-api-key"])


def test_the_record_is_bounded():
    """All requests are counted, and answered in their order."""
    with VendorSimulator(responses=["a", "b", "c", "d"], keep=2) as sim:
        assert ["a", "b", "c", "d"] == [said(ask(sim)) for _ in range(4)]
        assert (4, [2, 3], True) == (sim.hits, [one.number for one in sim.requests], sim.await_hits(4, 0))


def test_a_script_is_for_the_next_requests():
    """One each, in order; then all is as before."""
    with VendorSimulator(responses="usual") as sim:
        sim.script(faults.status(503), OK, "special", SimulatedResponse("whole"))

        assert [503, "usual", "special", "whole", "usual"] == [
            said(reply) if reply.status == 200 else reply.status for reply in (ask(sim) for _ in range(5))
        ]


def test_always_lasts_until_ok():
    """A script goes first; ``always(OK)`` ends it."""
    with VendorSimulator().always(faults.status(500)) as sim:
        sim.script(faults.status(503))
        seen = [ask(sim).status for _ in range(3)]
        sim.always(OK)

        assert ([503, 500, 500], 200) == (seen, ask(sim).status)


def test_errors_come_at_their_rate():
    """The same requests fail for the same seed, others for another."""

    def failures(seed):
        with VendorSimulator(responses="a", error_rate=0.3, seed=seed, errors=(faults.status(500),)) as sim:
            return [number for number in range(60) if ask(sim).status != 200]

    first = failures(1)

    assert first == failures(1) != failures(2)
    assert 8 <= len(first) <= 30


def test_a_scripted_answer_never_fails_by_chance():
    """What is scripted comes, whatever the rate."""
    with VendorSimulator(responses="a", error_rate=1.0) as sim:
        sim.script(OK, "b")

        assert [200, 200, True] == [ask(sim).status, ask(sim).status, ask(sim).status >= 500]


@pytest.mark.parametrize("form", FORMATS)
def test_a_wrong_key_gets_the_vendors_refusal(form):
    """401 in the vendor's words; Google says 400."""
    with VendorSimulator(keys=["right"]) as sim:
        reply = ask(sim, form)

    assert (400 if form == "gemini" else 401) == reply.status
    assert "right" not in repr(sim)


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "ollama"])
def test_without_a_key_nothing_is_said(form):
    """Any key is good by default, none is not; only Ollama asks for none."""
    headers = {key: value for key, value in HEADERS[form].items() if key == "anthropic-version"}
    with VendorSimulator() as sim:
        assert ask(sim, form, headers=headers).status in (400, 401)


@pytest.mark.parametrize("form", ["azure", "anthropic"])
def test_a_bearer_token_is_a_key_too(form):
    """Azure and Anthropic take both headers."""
    with VendorSimulator(keys=["k"]) as sim:
        assert 200 == ask(sim, form, headers={**HEADERS["anthropic"], "x-api-key": "", "Authorization": "Bearer k"}).status


@pytest.mark.parametrize("form", FORMATS)
def test_an_unknown_model_is_not_found(form):
    """``models`` are globs."""
    with VendorSimulator(models=("other-*",)) as sim:
        assert 404 == ask(sim, form).status


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/nothing"), ("GET", "/v1/chat/completions")])
def test_an_unknown_address_is_not_found(method, path):
    """It is recorded without a format, and leaves the script alone."""
    with VendorSimulator(responses="a") as sim:
        sim.script(faults.status(503))
        connection = http.client.HTTPConnection("127.0.0.1", int(sim.url.rpartition(":")[2]), timeout=PATIENCE)
        connection.request(method, path)
        status = connection.getresponse().status
        connection.close()

        assert (404, "", 503) == (status, sim.requests[0].format, ask(sim).status)


def test_a_callable_that_fails_shows():
    """Its exception is a 500 to the client and not swallowed."""
    caught = []
    before, threading.excepthook = threading.excepthook, lambda args: caught.append(args.exc_type)
    try:
        with VendorSimulator(responses=lambda _: 1 // 0) as sim:
            status = ask(sim).status
    finally:
        threading.excepthook = before

    assert (500, [ZeroDivisionError]) == (status, caught)


@pytest.mark.parametrize("stream", [False, True])
def test_latency_and_rate_make_the_time(stream):
    """The last byte comes after latency and tokens; a stream's first long before."""
    with VendorSimulator(responses="word " * 40, latency=0.05, tokens_per_second=400) as sim:
        started = time.monotonic()
        ask(sim, stream=stream)
        seconds = time.monotonic() - started

    assert 0.15 <= seconds < PATIENCE / 2


def test_a_stream_comes_word_by_word():
    """The first word is there while the last is far away."""
    with VendorSimulator(responses="word " * 40, tokens_per_second=1) as sim:
        got, end = bytes_of(sim, stream=True)

    assert (b"chat.completion.chunk" in got, b"[DONE]" in got, "open") == (True, False, end)


def test_a_connection_is_reused():
    """Keep-alive, and the record says so."""
    with VendorSimulator(responses="a") as sim:
        connection = http.client.HTTPConnection("127.0.0.1", int(sim.url.rpartition(":")[2]), timeout=PATIENCE)
        for _ in range(2):
            path, headers, body = wire_request("openai")
            connection.request("POST", path, body, headers)
            connection.getresponse().read()
        connection.close()

        assert ([False, True], 1) == ([request.reused for request in sim.requests], sim.connections)


def test_base_urls_are_what_clients_take():
    """Each with the version that its client expects."""
    with VendorSimulator() as sim:
        ends = [url.removeprefix(sim.url) for url in (sim.openai_url, sim.anthropic_url, sim.google_url, sim.azure_url)]

    assert ["/v1", "", "/v1", ""] == ends


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/groq/openai/v1x/chat/completions", "openai"),
        ("/openai/v1/chat/completions", "azure"),
        ("/proxy/v1/messages?beta=true", "anthropic"),
    ],
)
def test_any_prefix_will_do(path, form):
    """The end of the path tells the format."""
    with VendorSimulator(responses="a") as sim:
        assert (200, form) == (ask(sim, form, path=path).status, sim.requests[0].format)


def test_fifty_connections_at_once():
    """All are answered, counted once each, and numbered without gaps."""
    with VendorSimulator(responses=NINE_AND_MORE, latency=0.02) as sim:
        barrier, statuses = threading.Barrier(50), []

        def run():
            barrier.wait()
            statuses.extend(ask(sim, stream=number % 2 == 0).status for number in range(4))

        in_threads(run, 50)

    assert ([200] * 200, 200) == (statuses, sim.hits)
    assert list(range(200)) == [request.number for request in sim.requests]


def test_close_ends_everything_at_once():
    """Silent, stalling and slow answers alike: long before the slowest would end, with no thread left."""
    before = set(threading.enumerate())
    sim = VendorSimulator(responses="word " * 500, tokens_per_second=5).start()
    sim.script(faults.silent(), faults.stall_after(2), faults.pings_for_ever(), faults.trickled_head(), OK, OK)
    clients = [
        threading.Thread(target=bytes_of, args=(sim,), kwargs={"stream": number < 5, "quiet": 50, "at_most": 50})
        for number in range(6)
    ]
    for client in clients:
        client.start()
    assert sim.await_hits(6, PATIENCE)
    started = time.monotonic()
    sim.close()
    seconds = time.monotonic() - started
    for client in clients:
        client.join()

    assert seconds < 9, "a thread that does not end is waited for twice, 5 s each"
    assert set() == set(threading.enumerate()) - before


def test_closing_twice_or_never_started_is_fine():
    """And the address stays, refused."""
    VendorSimulator().close()
    sim = VendorSimulator().start().start()
    sim.close()
    sim.close()

    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(sim.url)
    assert 0 == VendorSimulator().connections


def test_missing_hits_are_told():
    """Waiting for requests that do not come ends."""
    assert not VendorSimulator().await_hits(1, timeout=0.01)


def test_a_port_can_be_chosen():
    """For a server that people type the address of."""
    with VendorSimulator() as first:
        port = int(first.url.rpartition(":")[2])
    with VendorSimulator(port=port, responses="a") as second:
        assert f"http://127.0.0.1:{port}" == second.url
        assert 200 == ask(second).status


def test_it_speaks_tls():
    """With a context of one's own the addresses are https."""
    trustme = pytest.importorskip("trustme")
    import ssl

    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    path, headers, body = wire_request("openai")
    with VendorSimulator(tls=server, responses="a") as sim:
        request = urllib.request.Request(sim.url + PATHS["openai"], body, {**headers, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, context=client, timeout=PATIENCE) as response:
            assert "a" == json.load(response)["choices"][0]["message"]["content"]
    assert path == PATHS["openai"]


def test_a_client_that_asks_to_close_is_obeyed():
    """A proxy that forwards such a request reads until the end of the connection."""
    with (
        VendorSimulator() as simulator,
        socket.create_connection(("127.0.0.1", int(simulator.url.rpartition(":")[2])), timeout=PATIENCE) as client,
    ):
        client.sendall(b"GET /v1/models HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer k\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))

    assert answer.startswith(b"HTTP/1.1 200")
