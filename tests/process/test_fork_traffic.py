"""A dispatcher that was used before a fork, used by parent and children at once: nobody hears another's answer, nobody fails.

The peers' own measure: a server says what it was asked, so that an answer that went to the wrong process is seen.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import threading

import pytest

from llmdispatcher import Balance, Config, Dispatcher, Hedge, OpenAIVendor, RateLimit, Request, ResponseCache
from llmdispatcher.testing import VendorSimulator

ROUNDS, CALLS, CHILDREN = 3, 50, 3
PATIENCE = 30
KEY = "sk-fork-0123456789"

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
    pytest.mark.usefixtures("unlogged", "untraced"),
]


def _echo(body):
    return body["messages"][0]["content"]


def _serve(pipe):
    with VendorSimulator(responses=_echo) as simulator:
        pipe.send(simulator.openai_url)
        pipe.recv()


@pytest.fixture(scope="module")
def echo():
    """The address of a server in a process of its own: a fork of this one must not hold its sockets."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    yield ours.recv()
    ours.send(None)
    process.join(10)


def _plain(url):
    """Nothing but a vendor."""
    dispatcher = Dispatcher()
    dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=url, trust_env=False))
    return dispatcher


def _everything(url):
    """All policies that keep something between calls; the questions differ, so that the cache never answers."""
    settings = {"hedge": Hedge(after=5.0), "balance": Balance(strategy="least_loaded"), "cache": ResponseCache(max_entries=50)}
    dispatcher = Dispatcher(Config(**settings))
    limit = RateLimit(requests_per_minute=1_000_000, tokens_per_minute=1_000_000_000)
    for name in ("first", "second"):
        dispatcher.register_vendor(OpenAIVendor(name=name, api_key=KEY, base_url=url, trust_env=False, rate_limit=limit))
    return dispatcher


def _call(dispatcher, who, calls, heard):
    """Ask so many different things, one in ten as a stream; puts down what went wrong."""
    for number in range(calls):
        text = f"{who} asks question number {number}"
        try:
            if number % 10:
                said = dispatcher.send(Request("gpt-4o", text)).content
            else:
                with dispatcher.send_streaming(Request("gpt-4o", text)) as stream:
                    said = "".join([chunk.content for chunk in stream])
        except Exception as error:
            heard.append(f"{who}: {type(error).__name__}: {error}")
        else:
            if said != text:
                heard.append(f"{who}: asked {text!r}, heard {said!r}")


def _child(dispatcher, who, out):
    """All calls of a child; what went wrong goes through the pipe."""
    heard = []
    _call(dispatcher, who, CALLS, heard)
    os.write(out, json.dumps(heard).encode()[:60_000])
    os.close(out)


def _forked(dispatcher, who):
    """A child by ``os.fork``: the pipe to read from, and how to wait for it."""
    into, out = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _child(dispatcher, who, out)
        finally:
            os._exit(0)
    os.close(out)
    return into, lambda: os.waitpid(pid, 0)


def _processed(dispatcher, who):
    """A child by multiprocessing."""
    into, out = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(dispatcher, who, out))
    process.start()
    os.close(out)
    return into, lambda: (process.join(PATIENCE), process.kill())


def _result(into):
    """What a child said: nothing at all is a crash."""
    with os.fdopen(into, "rb") as pipe:
        text = pipe.read()
    return json.loads(text) if text else ["a child ended without a word"]


@pytest.mark.parametrize("made", [_plain, _everything], ids=["plain", "all policies on"])
@pytest.mark.parametrize("begin", [_forked, _processed], ids=["os.fork", "multiprocessing"])
def test_parent_and_children_each_hear_their_own_answers(echo, made, begin):
    """Three rounds of 50 calls in the parent and in each child at once, forked amid calls: all are right."""
    heard = []
    with made(echo) as dispatcher:
        _call(dispatcher, "before", 5, heard)
        for turn in range(ROUNDS):
            callers = [
                threading.Thread(target=_call, args=(dispatcher, f"parent-{turn}-{number}", CALLS // 2, heard))
                for number in range(2)
            ]
            for caller in callers:
                caller.start()
            children = [begin(dispatcher, f"child-{turn}-{number}") for number in range(CHILDREN)]
            for caller in callers:
                caller.join()
            for into, wait in children:
                heard += _result(into)
                wait()

    assert [] == heard
