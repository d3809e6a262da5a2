"""Faults on the wire, byte for byte where it matters: what a bare socket sees of each."""

import gzip
import json
import re
import socket
import time
import urllib.error
import urllib.request
from email.utils import parsedate_to_datetime

import pytest

from llmdispatcher.testing import FAULTS, PEER_FAULTS, UNREACHABLE, VendorSimulator, faults

from .conftest import FORMATS, NINE_AND_MORE, PATIENCE, ask, bytes_of

ROWS = {"N9", "H1", "H2", "H3", "H4", "H5", "H6", *(f"B{n}" for n in range(1, 11)), *(f"S{n}" for n in range(1, 11))}


def head_of(got):
    return got.partition(b"\r\n\r\n")[0]


def unchunked(got):
    """The body of a chunked answer, as far as it came."""
    rest, body = got.partition(b"\r\n\r\n")[2], b""
    while b"\r\n" in rest:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            break
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


def after(sim, fault, form="openai", **settings):
    sim.script(fault)
    return bytes_of(sim, form, **settings)


def test_the_tables_cover_the_rows():
    """Every row that a server on an accepted connection can do, and all rows of the peers' matrix."""
    assert ROWS | {f"R{n}" for n in range(1, 7)} == set(FAULTS)
    assert 14 == len(PEER_FAULTS)
    assert {"N1", "N2", "N6", "N7"} == set(UNREACHABLE)


@pytest.mark.parametrize("row", [row for row in FAULTS if row not in ("B6", "B8", "S5", "S1")])
def test_every_fault_works_in_every_format(sim, row):
    """Plain and streamed: it does what it does without breaking the simulator, which answers well afterwards."""
    for number, fault in enumerate(FAULTS[row], 1):
        for form in FORMATS:
            for stream in (False, True):
                after(sim, fault, form, stream=stream, quiet=0.01, hasty=True, enough=200)
        assert sim.await_hits(2 * len(FORMATS) * number + number - 1, PATIENCE)
        assert 200 == ask(sim).status, fault.name


@pytest.mark.parametrize("words", [1, 9])
@pytest.mark.parametrize("form", FORMATS)
def test_words_are_counted(sim, form, words):
    """So many words come, and no end marker."""
    body = unchunked(after(sim, faults.eof_after(words), form, stream=True)[0])

    assert words == sum(f'" {word}"'.encode() in body or f'"{word}"'.encode() in body for word in NINE_AND_MORE.split())
    assert not re.search(rb"\[DONE\]|message_stop|finishReason", body)


@pytest.mark.parametrize(
    ("fault", "end", "last"),
    [
        (faults.eof_after(9), "open", b"\r\n0\r\n\r\n"),
        (faults.cut_after(9), "closed", b"\n\n\r\n"),
        (faults.reset_midway(9), "reset", b"\n\n\r\n"),
        (faults.stall_after(9), "open", b"\n\n\r\n"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_an_interrupted_stream_ends_in_its_way(sim, fault, end, last):
    """Clean end, FIN, RST and silence differ after the same words."""
    got, how = after(sim, fault, stream=True)

    assert (end, True) == (how, got.endswith(last))
    assert 9 == unchunked(got).count(b'"content":"') - 1


def test_only_the_role_was_said(sim):
    """Nothing that a reader would see."""
    got, end = after(sim, faults.cut_before_words(), stream=True)

    assert ("closed", 1, 1) == (end, got.count(b'"role":"assistant"'), got.count(b'"content":"'))


@pytest.mark.parametrize("fault", [faults.silent(), faults.reset_before_head(), faults.close_before_head()], ids=lambda f: f.name)
def test_nothing_comes_at_all(sim, fault):
    """Not a byte, and three ways to say it."""
    ends = {"silent": "open", "reset_before_head": "reset", "close_before_head": "closed"}

    assert (b"", ends[fault.name]) == after(sim, fault)


def is_whole(answer):
    """Whether a body is there as long as its head says."""
    head, _, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)", head)
    return length is not None and len(body) == int(length.group(1))


def test_a_stale_connection_dies_on_reuse_only(sim):
    """The first answer is healthy, the second is a FIN, and a fresh connection is healthy again."""
    sim.always(faults.stale())
    line = b"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: %d\r\n\r\n%s"
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    with socket.create_connection(("127.0.0.1", int(sim.url.rpartition(":")[2])), timeout=PATIENCE) as sock:
        sock.sendall(line % (len(body), body))
        first = bytearray()
        while not is_whole(bytes(first)):
            first += sock.recv(65536)
        sock.sendall(line % (len(body), body))
        second = sock.recv(65536)

    assert (True, b"", 200) == (bytes(first).startswith(b"HTTP/1.1 200"), second, ask(sim).status)


@pytest.mark.parametrize("fault", [*FAULTS["H2"], faults.trickled_body(), faults.trickled_chunk_size()], ids=lambda f: f.name)
def test_trickles_beat_a_read_timeout(sim, fault):
    """Bytes keep coming one by one, each in time for a single read, but no answer."""
    sim.script(fault)
    body = b'{"model":"m","messages":[{"role":"user","content":"x"}]}'
    with socket.create_connection(("127.0.0.1", int(sim.url.rpartition(":")[2])), timeout=PATIENCE) as sock:
        sock.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nAuthorization: Bearer k\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )
        reads = [sock.recv(65536) for _ in range(4)]

    assert all(reads)
    assert NINE_AND_MORE.encode() not in b"".join(reads)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_names_its_target(sim, code):
    """Status and Location as asked."""
    got = head_of(after(sim, faults.redirect(code, "https://elsewhere.example/"))[0])

    assert (True, True) == (b" %d " % code in got, b"Location: https://elsewhere.example/" in got)


@pytest.mark.parametrize(
    ("fault", "sign"),
    [
        (faults.long_header(), rb"X-Long: a{70000}"),
        (faults.many_headers(), rb"X-Flood-199: 1"),
        (faults.bad_status_line(), rb"^HTTP/1.1 fine"),
        (faults.http_0_9(), rb"^<html>"),
        (faults.length_and_chunked(), rb"Transfer-Encoding: chunked\r\nContent-Length: 7"),
        (faults.two_lengths(), rb"Content-Length: (\d+)\r\nContent-Length: (?!\1)"),
        (faults.folded_header(), rb"\r\n two\r\n"),
        (faults.bare_return_in_header(), rb"one\rX-Injected"),
        (faults.endless_continue(), rb"(HTTP/1.1 100 Continue\r\n\r\n){5}"),
        (faults.long_chunk_size(), rb"0{70000}5\r\n"),
        (faults.bad_chunk_size(), rb"\r\n\r\nzz\r\n"),
        (faults.empty(), rb"200 OK(.|\n)*Content-Length: 0\r\n"),
        (faults.no_content(), rb"^HTTP/1.1 204 "),
        (faults.html(502), rb"^HTTP/1.1 502 (.|\n)*text/html(.|\n)*<!DOCTYPE html>"),
        (faults.mislabelled("br"), rb"Content-Encoding: br"),
        (faults.not_a_number(), rb"\[NaN,-Infinity\]"),
        (faults.huge_integer(), rb"9{5000}"),
        (faults.lone_surrogate(), rb"\\ud83d one"),
        (faults.invalid_utf8(), rb"\xff\xc3\x28 one"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_fault_shows_on_the_wire(sim, fault, sign):
    """The one thing that is wrong is there."""
    got, _ = after(sim, fault, sign=sign)

    assert re.search(sign, got)


def test_a_short_body_is_half_of_what_was_said(sim):
    """Fewer bytes than the Content-Length, then FIN."""
    got, end = after(sim, faults.short_body())
    announced = int(re.search(rb"Content-Length: (\d+)", got).group(1))

    assert ("closed", announced // 2) == (end, len(got.partition(b"\r\n\r\n")[2]))


def test_a_cut_gzip_fits_its_length(sim):
    """Content-Length agrees with the half that came: only the content is cut."""
    got, _ = after(sim, faults.gzip_cut())
    body = got.partition(b"\r\n\r\n")[2]

    assert int(re.search(rb"Content-Length: (\d+)", got).group(1)) == len(body)
    with pytest.raises(EOFError):
        gzip.decompress(body)


def test_chained_encodings_can_be_undone(sim):
    """Six layers, each said."""
    got, _ = after(sim, faults.chained_encodings(6))
    body = got.partition(b"\r\n\r\n")[2]
    for _ in range(6):
        body = gzip.decompress(body)

    assert (NINE_AND_MORE, 6) == (json.loads(body)["choices"][0]["message"]["content"], head_of(got).count(b"gzip"))


def test_a_bomb_is_small_on_the_wire(sim):
    """Its thousandfold is blanks."""
    got, _ = after(sim, faults.gzip_bomb(16), enough=1 << 22)
    body = got.partition(b"\r\n\r\n")[2]

    assert len(body) < 100_000
    assert b" " * (16 << 20) == gzip.decompress(body)


def test_giant_json_is_as_large_as_said(sim):
    """So many MiB, in chunks."""
    got, _ = after(sim, faults.giant_json(3), enough=1 << 24)

    assert 3 << 20 == got.count(b"a" * 1024) * 1024


@pytest.mark.parametrize("fault", [faults.deep_json(50), faults.duplicate_keys()], ids=lambda f: f.name)
@pytest.mark.parametrize("form", FORMATS)
def test_hostile_json_is_still_json(sim, fault, form):
    """Deep or doubled, the answer is there, streamed too."""
    sim.always(fault)

    assert "one two" in json.dumps(ask(sim, form).json)
    assert len(NINE_AND_MORE.split()) <= len(ask(sim, form, stream=True).events)


@pytest.mark.parametrize("form", FORMATS)
def test_an_error_hides_in_a_200(sim, form):
    """The vendor's own body, as JSON even where a stream was asked for."""
    sim.script(faults.error_in_200())
    reply = ask(sim, form, stream=True)

    assert (200, "application/json", True) == (reply.status, reply.headers["content-type"], bool(reply.json["error"]))


@pytest.mark.parametrize(("fault", "words"), [(faults.error_event(), 0), (faults.error_event(3), 3)])
@pytest.mark.parametrize("form", FORMATS)
def test_an_error_comes_within_the_stream(sim, form, fault, words):
    """After so many words, as the last event."""
    sim.script(fault)
    events = ask(sim, form, stream=True).events

    assert "error" in events[-1] or events[-1]["type"] in ("error", "response.failed")
    assert words == sum(f'{lead}{word}"' in json.dumps(events) for word in NINE_AND_MORE.split() for lead in (' "', '" '))


def test_a_malformed_event_stands_among_good_ones(sim):
    """One does not parse, all others and the end marker do."""
    sim.script(faults.malformed_json(3))
    lines = [line[6:] for line in ask(sim, stream=True).body.decode().splitlines() if line.startswith("data: {")]
    bad = [number for number, line in enumerate(lines) if not parses(line)]

    assert ([4], 15) == (bad, len(lines))


def parses(line):
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("fault", [*FAULTS["S2"], faults.bytewise(), faults.unframed()], ids=lambda f: f.name)
def test_a_respelled_stream_says_the_same(sim, fault):
    """Other line ends, comments, odd fields: the same words and the end marker."""
    healthy = ask(sim, stream=True).events
    sim.script(fault)
    body = ask(sim, stream=True).body.removeprefix(b"\xef\xbb\xbf").decode()
    data = [line[6:] for line in re.split("\r\n|\r|\n", body) if line.startswith("data: ")]

    assert [len(healthy), "[DONE]"] == [len(data), data[-1]]


def test_line_ends_are_respelled(sim):
    """CR LF, bare CR, or a mix, and not a line feed too many."""
    counts = {}
    for fault in (faults.crlf(), faults.cr_only(), faults.mixed_line_ends()):
        sim.script(fault)
        body = ask(sim, stream=True).body
        counts[fault.name] = (body.count(b"\n") > 0, body.count(b"\r") > 0, body.count(b"\n") == body.count(b"\r\n"))

    assert {"crlf": (True, True, True), "cr_only": (False, True, True), "mixed_line_ends": (True, True, False)} == counts


def test_the_last_event_lacks_its_blank_line(sim):
    """Cut within the end marker's own line end."""
    sim.script(faults.truncated_last_event())

    assert ask(sim, stream=True).body.endswith(b"data: [DONE]")


def test_more_comes_after_the_end(sim):
    """Words after the end marker."""
    sim.script(faults.data_after_end())
    events = ask(sim, stream=True).events

    assert 3 == len(events) - 1 - events.index("[DONE]")


def test_the_connection_stays_open_after_the_end(sim):
    """All was said, nothing is closed."""
    got, end = after(sim, faults.kept_open(), stream=True)

    assert ("open", True) == (end, got.endswith(b"data: [DONE]\n\n\r\n"))


@pytest.mark.parametrize(("form", "ping"), [("openai", b": keep-alive"), ("anthropic", b"event: ping"), ("gemini", b": ping")])
def test_pings_are_all_that_comes(sim, form, ping):
    """Signs of life in the format's own way, again and again."""
    got = after(sim, faults.pings_for_ever(0.005), form, stream=True, enough=600)[0]

    assert got.count(ping) >= 3
    assert b"one" not in got


def test_a_slow_stream_arrives_whole(sim):
    """Every event, so many seconds apart."""
    sim.script(faults.trickle(0.005))
    started = time.monotonic()
    reply = ask(sim, stream=True)

    assert ("[DONE]", True) == (reply.events[-1], time.monotonic() - started >= 0.05)


def test_many_small_things(sim):
    """Comments, events and one long line, as many as asked for, before a healthy end."""
    sim.script(faults.many_comments(1000), faults.many_events(1000), faults.giant_line(1))
    bodies = [ask(sim, stream=True).body for _ in range(3)]

    assert [True] * 3 == [body.endswith(b"[DONE]\n\n") for body in bodies]
    assert [True] * 3 == [bodies[0].count(b":\n") == 1000, bodies[1].count(b'"one"') == 1000, len(bodies[2]) > 1 << 20]


@pytest.mark.parametrize(
    ("fault", "headers"),
    [
        (faults.rate_limit(2), {"retry-after": "2"}),
        (faults.rate_limit("abc"), {"retry-after": "abc"}),
        (faults.rate_limit_ms(350), {"retry-after-ms": "350"}),
        (faults.rate_limit_ms(350, retry_after="90"), {"retry-after-ms": "350", "retry-after": "90"}),
        (faults.retry_delay("7s"), {"retry-after": "7"}),
        (faults.status(503, ("x-should-retry", "false")), {"x-should-retry": "false"}),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_hints_stand_in_the_headers(sim, fault, headers):
    """As they were given."""
    sim.script(fault)
    reply = ask(sim)

    assert headers == {key: reply.headers.get(key) for key in headers}


def test_two_hints_are_two_headers(sim):
    """A second Retry-After is a line of its own."""
    got, _ = after(sim, faults.rate_limit("1", ("Retry-After", "90")))

    assert [b"1", b"90"] == re.findall(rb"Retry-After: (\d+)", got)


@pytest.mark.parametrize("seconds", [2, -3600])
def test_a_hint_can_be_a_date(sim, seconds):
    """An HTTP date, so many seconds from the moment of the answer."""
    sim.script(faults.rate_limit_until(seconds))
    ahead = parsedate_to_datetime(ask(sim).headers["retry-after"]).timestamp() - time.time()

    assert seconds - 10 < ahead <= seconds + 1


def test_googles_hint_stands_in_the_body(sim):
    """And nowhere else."""
    sim.script(faults.retry_delay("46s"))
    reply = ask(sim, "gemini")

    assert ("46s", None) == (reply.json["error"]["details"][0]["retryDelay"], reply.headers.get("retry-after"))


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        (faults.overloaded(), 529, "overloaded_error"),
        (faults.wrong_key(), 401, "authentication_error"),
        (faults.bad_request(), 400, "invalid_request_error"),
        (faults.context_overflow(), 400, "too long"),
        (faults.filtered(), 400, "filtering"),
        (faults.model_missing(), 404, "not_found_error"),
        (faults.quota(), 429, "spend_limit"),
        (faults.status(418, message="short and stout"), 418, "short and stout"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_refusals_are_the_vendors(sim, fault, status, words):
    """Status and words, here Anthropic's."""
    sim.script(fault)
    reply = ask(sim, "anthropic")

    assert (status, True) == (reply.status, words in reply.body.decode())


def test_a_fault_survives_an_odd_request(sim):
    """A request of which no answer can be made gets a 400 from a fault that would cut one."""
    sim.script(faults.eof_after(3))

    assert 400 == ask(sim, raw=b"nonsense").status


def test_a_refused_address_refuses():
    """N1: at once."""
    with UNREACHABLE["N1"]() as url, pytest.raises(urllib.error.URLError, match="refused"):
        urllib.request.urlopen(url, timeout=PATIENCE)


@pytest.mark.parametrize("row", ["N2", "N6", "N7"])
def test_a_dead_end_answers_nothing(row):
    """N2, N6, N7: neither accepted nor refused, or accepted and mute."""
    with UNREACHABLE[row]() as url, pytest.raises((TimeoutError, urllib.error.URLError), match="timed out"):
        urllib.request.urlopen(url, b"x" * (1 << 16), timeout=0.1)


def test_names_are_told_apart_within_a_row():
    """Variants of a row have names of their own, but for the same status with another header."""
    twins = {
        row: names
        for row, names in ((row, [f.name for f in variants]) for row, variants in FAULTS.items())
        if len(set(names)) < len(names)
    }

    assert {} == twins


def test_a_closed_simulator_leaves_no_fault_waiting():
    """Endless faults end with the server, not with their client."""
    with VendorSimulator().always(faults.silent()) as sim:
        sock = socket.create_connection(("127.0.0.1", int(sim.url.rpartition(":")[2])), timeout=PATIENCE)
        sock.sendall(b"POST /v1/messages HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        assert sim.await_hits(1, PATIENCE)
    with sock:
        assert b"" == sock.recv(10)
