"""The canary: after every kind of fault neither the key nor the prompt is found in anything that is shown, logged, kept or pickled.

Looked for in plain and as any program might write them down: base64, URL-encoded, JSON-escaped, hexadecimal, as a ``repr``. What a
frame of the library holds is looked at too, since crash reporters write that down; the prompt may be there, and is in frames of the
caller anyhow, the key may not. What a vendor says back of a prompt is its own text; what it says back of a key is taken out.
"""

from __future__ import annotations

import base64
import copy
import http.client
import json
import logging
import pickle
import traceback
import urllib.parse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest

import llmdispatcher
from llmdispatcher import (
    Cancellation,
    Config,
    Dispatcher,
    DispatchError,
    Observer,
    Request,
    ResponseCache,
    RetryPolicy,
    VendorConfig,
)
from llmdispatcher.testing import FAULTS, Fault, VendorSimulator, faults

from ..conftest import PATIENCE
from .conftest import LIMIT, MODELS, vendor_at

KEY = 'sk-canary/5d1f+0c7e"9b\\z=='
PROMPT = 'whispered "prompt" 71c4/+ \\ é'
ANSWER = "one two three four five six seven eight."
HEAVY = {"B6", "B8", "S5"}
KINDS = ("openai", "azure", "anthropic", "google")
PACKAGE = Path(llmdispatcher.__file__).parent


def forms(secret):
    """A secret as programs write it down. Of base64 the part that is the same whatever stands before and after."""
    data = secret.encode()
    shifted = [base64.b64encode(b"\0" * before + data)[4 * (before > 0) :].rstrip(b"=")[:-1] for before in range(3)]
    written = {
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        repr(data)[2:-1],
        urllib.parse.quote(secret, safe=""),
        urllib.parse.quote_plus(secret),
        urllib.parse.quote(secret),
        data.hex(),
        data.hex().upper(),
        *(part.decode() for part in shifted),
        *(part.decode().translate(str.maketrans("+/", "-_")) for part in shifted),
    }
    return {*written, *(repr(form)[1:-1] for form in written)}


SECRETS = {"key": forms(KEY), "prompt": forms(PROMPT)}


def found(place, told, *names):
    """What of the secrets stands in a text, or in bytes."""
    text = told.decode("utf-8", "replace") if isinstance(told, bytes) else told
    return [f"{name} in {place}: {form!r}" for name in names or SECRETS for form in SECRETS[name] if form in text]


def shown(thing):
    """A value as a program may write it down."""
    return "\n".join([repr(thing), str(thing), repr(copy.copy(thing)), *_pickled(thing)])


def _pickled(thing):
    try:
        data = pickle.dumps(thing)
    except Exception:
        return []  # what cannot be pickled tells nobody
    return [data.decode("latin-1"), data.decode("utf-8", "replace"), repr(data)]


def chain(error):
    """An exception, and all that it came from or holds."""
    seen, waiting = [], [error]
    while waiting:
        one = waiting.pop()
        if one is not None and not any(one is other for other in seen):
            seen.append(one)
            waiting += [one.__cause__, one.__context__, *getattr(one, "failures", ())]
    return seen


def of_error(error):
    """Where an exception tells a secret."""
    wrong = []
    for one in chain(error):
        name = type(one).__name__
        wrong += found(name, "\n".join([shown(one), repr(one.args), repr(vars(one)), *traceback.format_exception(one)]))
        told = traceback.TracebackException.from_exception(one, capture_locals=True)
        for frame in told.stack:
            if PACKAGE in Path(frame.filename).parents:
                wrong += found(f"{name}, locals of {Path(frame.filename).name}:{frame.name}", repr(frame.locals), "key")
    return wrong


WRITTEN = {
    "plain": lambda key: f"Bearer {key}",
    "repr": lambda key: repr({"Authorization": f"Bearer {key}"}),
    "bytes": lambda key: repr(f"Bearer {key}".encode()),
    "JSON": lambda key: json.dumps({"key": [key]}),
    "JSON in JSON": lambda key: json.dumps({"body": json.dumps({"key": key})}),
    "base64 of a header": lambda key: base64.b64encode(f"Bearer {key}; x".encode()).decode(),
    "base64 of a pair": lambda key: base64.urlsafe_b64encode(f"me:{key}".encode()).decode(),
    "address": lambda key: f"http://host/?{urllib.parse.urlencode({'key': key})}",
    "hex": lambda key: f"Bearer {key}".encode().hex(),
    "pickle": lambda key: shown([key]),
}


def test_the_search_finds_what_is_there():
    """In each form; a search that finds nothing shows nothing."""
    secrets = {"key": KEY, "prompt": PROMPT}

    assert [] == [how for how, write in WRITTEN.items() for name in secrets if not found("here", write(secrets[name]), name)]


class Ears(Observer):
    """Hears attempts and outcomes."""

    def __init__(self):
        self.heard = []

    def on_attempt(self, record):
        self.heard.append(record)

    def on_outcome(self, outcome):
        self.heard.append(outcome)


@pytest.fixture
def everything(caplog, capfd, monkeypatch):
    """All that was logged at DEBUG, by anybody, and printed, with http.client's own debugging on."""
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "urllib3"):
        yield lambda: "\n".join([caplog.text, *(repr(vars(record)) for record in caplog.records), *capfd.readouterr()])


def asked(dispatcher, kind, *, streamed, **settings):
    """One call; the answer, or the error that it ended with."""
    request = Request(MODELS[kind], PROMPT, max_tokens=200)
    try:
        if streamed:
            with dispatcher.send_streaming(request, **settings) as stream:
                list(stream)
                return stream.response()
        return dispatcher.send(request, **settings)
    except DispatchError as error:
        return error


def told_by(dispatcher, ears, result, kind):
    """Where one finished call has left a secret."""
    request = Request(MODELS[kind], PROMPT, max_tokens=200)
    vendors = [dispatcher.get_vendor(name) for name in dispatcher.get_vendors()]
    places = {
        "explain()": dispatcher.explain(request),
        "stats": dispatcher.get_stats(),
        "dispatcher": dispatcher,
        "config": dispatcher.config,
        **{f"vendor {vendor.name}": vendor for vendor in vendors},
        **{f"observer {number}": thing for number, thing in enumerate(ears.heard)},
    }
    wrong = (
        of_error(result) if isinstance(result, Exception) else found("trace", shown(result.trace)) + found("answer", shown(result))
    )
    for place, thing in places.items():
        wrong += found(place, shown(thing))
    for outcome in ears.heard:
        wrong += of_error(outcome.error) if isinstance(getattr(outcome, "error", None), Exception) else []
    return wrong


def dispatcher_at(simulator, kind, ears, each=PATIENCE, **settings):
    dispatcher = Dispatcher(Config(retry_policy=RetryPolicy(max_retries=1, initial_delay=0.01), **settings), observers=[ears])
    dispatcher.register_vendor(vendor_at(simulator, kind, api_key=KEY, each=each))
    return dispatcher


def told_at(fault, kind, streamed, *, each=PATIENCE, timeout=PATIENCE):
    """How a call of a vendor with this fault ends, and where it has left a secret."""
    ears = Ears()
    with (
        VendorSimulator(responses=ANSWER).always(fault) as simulator,
        dispatcher_at(simulator, kind, ears, each=each) as dispatcher,
    ):
        result = asked(dispatcher, kind, streamed=streamed, timeout=timeout)
        return result, [f"{fault.name}, {kind}: {hit}" for hit in told_by(dispatcher, ears, result, kind)]


def test_no_fault_tells_a_secret(everything):
    """Every class of fault, plain and streamed: errors and causes, frames, logs, traces, stats, outcomes and reprs are clean."""
    rows = [row for row in FAULTS if row not in HEAVY]
    calls = [(FAULTS[row][0], KINDS[(number + streamed) % 4], streamed) for number, row in enumerate(rows) for streamed in (0, 1)]
    with ThreadPoolExecutor(8) as pool:
        told = list(pool.map(lambda call: told_at(*call, each=LIMIT, timeout=2 * LIMIT), calls))

    assert [] == [hit for _, hits in told for hit in hits] + found("log or output", everything())


def _echo(write):
    """A vendor that says the key back, where ``write`` puts it."""

    def act(peer, scene):
        key = next(value for value in scene.request.headers.values() if KEY in value)
        write(peer, key)
        return True

    return Fault("echo", act)


ECHOES = {
    "in an error": lambda peer, key: peer.reply(401, json.dumps({"error": {"message": f"no key {key}!", "code": key}}).encode()),
    "in an error, escaped twice": lambda peer, key: peer.reply(
        400, json.dumps({"error": {"message": json.dumps({"key": key})}}).encode()
    ),
    "in an error, URL-encoded": lambda peer, key: peer.reply(
        400, json.dumps({"error": {"message": f"/v1?key={urllib.parse.quote(key, safe='')}"}}).encode()
    ),
    "on a page": lambda peer, key: peer.reply(502, f"<html>{key}</html>".encode(), content_type="text/html"),
    "in JSON that is none": lambda peer, key: peer.reply(500, b'{"headers": ' + json.dumps(key).encode()),
    "in a 200": lambda peer, key: peer.reply(200, json.dumps({"error": {"message": key, "type": key}}).encode()),
    "in a 200 that is no JSON": lambda peer, key: peer.reply(200, f"{key} is not JSON".encode()),
    "as the request's id": lambda peer, key: peer.reply(503, b"{}", ("x-request-id", key), ("request-id", key)),
    "as the status line": lambda peer, key: peer.send(f"HTTP/1.1 {key}\r\n\r\n".encode()),
    "as a hint": lambda peer, key: peer.reply(429, b"{}", ("retry-after", key), ("x-ratelimit-reset-requests", key)),
    "as the coding": lambda peer, key: peer.reply(200, b"{}", ("content-encoding", key)),
    "in a stream": lambda peer, key: (
        peer.start_stream(),
        peer.chunk(f"data: {json.dumps({'error': {'message': key, 'type': 'server_error'}})}\n\n".encode()),
        peer.chunk(b""),
    ),
    "in a stream, as junk": lambda peer, key: (peer.start_stream(), peer.chunk(f"data: {key}\n\n".encode()), peer.chunk(b"")),
}


@pytest.mark.parametrize("where", ECHOES)
def test_a_key_that_a_vendor_says_back_is_taken_out(where, everything):
    """Wherever a vendor repeats the key of the request, nobody else gets to see it, of a call or a stream."""
    told = [told_at(_echo(ECHOES[where]), kind, streamed) for kind in KINDS for streamed in (False, True)]

    assert [] == [result for result, _ in told if not isinstance(result, DispatchError)]
    assert [] == [hit for _, hits in told for hit in hits] + found("log or output", everything())


@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("end", ["answered", "deadline", "cancelled", "refused", "closed"])
def test_no_end_of_a_call_tells_a_secret(end, streamed, everything):
    """A good end, and those that the caller or the machine makes, are as clean as those of the vendors."""
    ears, cancel = Ears(), Cancellation()
    with VendorSimulator(responses=ANSWER) as simulator, dispatcher_at(simulator, "openai", ears) as dispatcher:
        if end in ("deadline", "cancelled"):
            simulator.always(faults.silent())
        if end == "refused":
            simulator.close()
        if end == "cancelled":
            cancel.cancel("changed my mind")
        if end == "closed":
            dispatcher.close()
        result = asked(dispatcher, "openai", streamed=streamed, timeout=0.2 if end == "deadline" else PATIENCE, cancel=cancel)
        wrong = told_by(dispatcher, ears, result, "openai")

    assert (end == "answered") == (not isinstance(result, Exception))
    assert [] == sorted(set(wrong + found("log or output", everything())))


def test_settings_hide_the_key():
    """A key given once, as one of several, as a function, in a header or in a proxy's address: no repr, copy or merge shows it."""
    settings = [
        VendorConfig(api_key=KEY),
        VendorConfig(api_key=[KEY, f"{KEY}2"]),
        VendorConfig(headers={"X-Key": KEY}),
        VendorConfig(proxy=f"http://user:{urllib.parse.quote(KEY, safe='')}@proxy.invalid:8080"),
        attrs.evolve(VendorConfig(api_key=KEY), timeout=3.0),
        VendorConfig.merge({"api_key": KEY}, {"name": "x"}),
        Config(cache=ResponseCache(store=f"redis://user:{urllib.parse.quote(KEY, safe='')}@localhost:6379/0")),
    ]

    assert [] == [hit for thing in settings for hit in found(type(thing).__name__, repr(thing) + str(thing), "key")]


@pytest.mark.parametrize(
    "bad", [f"{KEY}\n{KEY}", f"{KEY} {KEY}", f"{KEY}\0", f"{KEY}…", KEY * 400], ids=["newline", "blank", "NUL", "…", "long"]
)
def test_a_key_that_cannot_be_sent_is_refused_without_being_shown(bad):
    """The message shows its last characters at most."""
    with pytest.raises(DispatchError) as caught:
        llmdispatcher.OpenAIVendor(api_key=bad)

    assert [] == found("text", shown(caught.value) + repr(vars(caught.value)), "key")


def _calls_with_cache(store, everything):
    """Answers, failures and a hit through a cache; gives what else told a secret."""
    wrong = []
    for kind, streamed in (("openai", False), ("anthropic", True)):
        ears = Ears()
        with (
            VendorSimulator(responses=ANSWER).script(faults.status(503), faults.error_in_200()) as simulator,
            dispatcher_at(simulator, kind, ears, cache=ResponseCache(store=store)) as dispatcher,
        ):
            results = [asked(dispatcher, kind, streamed=streamed, timeout=PATIENCE) for _ in range(4)]
            wrong += [hit for result in results for hit in told_by(dispatcher, ears, result, kind)]
            assert dispatcher.get_stats().cache_hits >= 1
    return wrong + found("log or output", everything())


def test_a_cache_file_holds_answers_only(tmp_path, everything):
    """Of a prompt a cache knows no more than a digest: neither it nor the key is in the file or its log; the answer is."""
    wrong = _calls_with_cache(str(tmp_path / "answers.db"), everything)
    files = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    wrong += [hit for name, data in files.items() for hit in found(name, data)]

    assert [] == sorted(set(wrong))
    assert any(ANSWER.encode() in data for data in files.values())


def test_a_redis_server_is_told_answers_only(redis_server, everything):
    """The same of a server: its keys and its values."""
    wrong = _calls_with_cache(redis_server.url, everything)
    with pytest.importorskip("redis").Redis.from_url(redis_server.url) as client:
        kept = {name: client.get(name) for name in client.scan_iter()}
    wrong += [hit for name, value in kept.items() for hit in found("a key", name) + found("a value", value)]

    assert [] == sorted(set(wrong))
    assert any(ANSWER.encode() in value for value in kept.values())
