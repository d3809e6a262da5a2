"""The gateway under load, beside others: requests a second, CPU, memory, late answers, the first event, and 500 streams at once.

``wrk`` asks with 16 connections, in turns. Ours has everything on: key check, limits, a budget, a ledger. The others are as they
start: ``LLM_BENCH_PORTKEY`` is the folder in which ``npm i @portkey-ai/gateway`` was run, ``LLM_BENCH_LITELLM`` the program
``litellm`` of an environment of its own, ``LLM_BENCH_POSTGRESQL`` the URL of an empty database.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs

from .calls import Rows
from .gateway_servers import Server, litellm, ours, portkey
from .server import vendor

ROUNDS = 5
SECONDS = 6
EVENTS = 800
FIRSTS = 30
"""Requests of an agent in a turn."""
STREAMS, PACE, TALK = 500, 0.25, 10.0
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
QUESTION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Why is the sky blue?"}], "max_tokens": 100}
_SCRIPT = """wrk.method = "POST"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
file:close()
%s
"""
_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def agent_request(*, anthropic: bool = False) -> dict[str, Any]:
    """What an agent sends in the middle of its work: 24 tools and a conversation, 117 kB."""
    words = "Reads a file from the local filesystem; the path must be absolute, and long lines are cut. " * 18
    properties = {f"field_{n}": {"type": "string", "description": f"Field number {n} of this tool. " * 3} for n in range(8)}
    schema = {"type": "object", "properties": properties, "required": ["field_0"], "additionalProperties": False}
    tools: list[dict[str, Any]] = []
    for number in range(24):
        about = {"name": f"tool_{number}", "description": words}
        own = {**about, "input_schema": schema}
        tools.append(own if anthropic else {"type": "function", "function": {**about, "parameters": schema}})
    turns: list[dict[str, Any]] = []
    for number in range(24):
        turns.append({"role": "user", "content": f"Step {number}: " + "look at the next file and tell what it does. " * 24})
        turns.append({"role": "assistant", "content": f"Step {number}: " + "it has three functions, none of them long. " * 24})
    turns.append({"role": "user", "content": "Go on."})
    return {"model": "gpt-4o", "max_tokens": 32_000, "stream": True, "tools": tools, "messages": turns}


@attrs.define
class Figures:
    """What the turns of one server have shown."""

    rate: list[float] = attrs.field(factory=list)
    cpu: list[float] = attrs.field(factory=list)
    p99: list[float] = attrs.field(factory=list)
    rss: list[float] = attrs.field(factory=list)


def gateway() -> Rows:
    """Everything."""
    if shutil.which("wrk") is None:
        raise SystemExit("wrk is not installed; apt-get install wrk")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return [*_plain(folder), *_agents(folder), *_many(folder)]


def _peers(url: str, folder: Path, stack: contextlib.ExitStack) -> dict[str, Server]:
    found = {}
    if place := os.environ.get("LLM_BENCH_PORTKEY"):
        found["Portkey"] = stack.enter_context(portkey(url, folder, Path(place)))
    if place := os.environ.get("LLM_BENCH_LITELLM"):
        found["LiteLLM"] = stack.enter_context(litellm(url, folder, Path(place)))
    return found


def _plain(folder: Path) -> Rows:
    """A question and its answer, under wrk."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(vendor())
        servers = {"SQLite": stack.enter_context(ours(url, folder, name="SQLite"))}
        servers["SQLite, two workers"] = stack.enter_context(ours(url, folder, workers=2))
        if database := os.environ.get("LLM_BENCH_POSTGRESQL"):
            servers["PostgreSQL"] = stack.enter_context(ours(url, folder, database=database))
        servers |= _peers(url, folder, stack)
        figures = {name: Figures() for name in servers}
        for each in servers.values():
            _wrk(each, folder, 2)
        for _ in range(ROUNDS):
            for name in random.sample(list(servers), len(servers)):
                _measure(servers[name], folder, figures[name])
    return _compared({name: _medians(one) for name, one in figures.items()})


def _measure(server: Server, folder: Path, figures: Figures) -> None:
    before = server.cpu()
    count, rate, p99 = _wrk(server, folder, SECONDS)
    figures.cpu.append((server.cpu() - before) / max(1, count))
    figures.rate.append(rate)
    figures.p99.append(p99)
    figures.rss.append(server.rss())


def _wrk(server: Server, folder: Path, seconds: int, body: Mapping[str, Any] = QUESTION) -> tuple[int, float, float]:
    """Requests, requests a second, and the seconds within which 99 of 100 were answered."""
    text, script = folder / "body.json", folder / "ask.lua"
    text.write_text(json.dumps(body))
    headers = {"Content-Type": "application/json", **server.headers}
    script.write_text(_SCRIPT % (text, "\n".join([f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items()])))
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", "--latency", "--timeout", "30s", "-s", str(script), server.url + CHAT]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in told or "Socket errors" in told:
        raise OSError(f"{server.name}: {told}")
    count = re.search(r"(\d+) requests in", told)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", told)
    late = re.search(r"99%\s+([\d.]+)(us|ms|s|m)\b", told)
    if count is None or rate is None or late is None:
        raise OSError(f"{server.name}: {told}")
    return int(count[1]), float(rate[1]), float(late[1]) * _UNITS[late[2]]


def _medians(figures: Figures) -> dict[str, float]:
    return {name: statistics.median(values) for name, values in attrs.asdict(figures).items()}


def _compared(found: Mapping[str, Mapping[str, float]]) -> Rows:
    rows: Rows = []
    for name, one in found.items():
        rows.append((f"{name}, requests/s", one["rate"], None, ""))
        rows.append((f"{name}, CPU a request", one["cpu"] * 1e6, None, "us"))
        rows.append((f"{name}, p99", one["p99"] * 1e3, None, "ms"))
        rows.append((f"{name}, RSS of a worker", one["rss"], None if name in ("Portkey", "LiteLLM") else 80.0, "MB"))
    two, one = found["SQLite, two workers"], found["SQLite"]
    rows.append(("CPU a request, two workers / one", two["cpu"] / one["cpu"], 1.1, "x"))
    for name in {"SQLite", "PostgreSQL"} & set(found):
        mine = found[name]
        if "Portkey" in found:
            theirs = found["Portkey"]
            rows.append((f"{name}, requests/s of Portkey / ours", theirs["rate"] / mine["rate"], 0.5, "x"))
            rows.append((f"{name}, CPU a request / Portkey's", mine["cpu"] / theirs["cpu"], 0.6, "x"))
            rows.append((f"{name}, p99 / Portkey's", mine["p99"] / theirs["p99"], 1.0, "x"))
        if "LiteLLM" in found:
            rows.append((f"{name}, requests/s of LiteLLM / ours", found["LiteLLM"]["rate"] / mine["rate"], 0.05, "x"))
    return rows


def _agents(folder: Path) -> Rows:
    """The time until the first event of an answer of 800, beyond that of the vendor itself."""
    with contextlib.ExitStack() as stack:
        url = stack.enter_context(vendor(chunks=EVENTS))
        mine = stack.enter_context(ours(url, folder))
        chat, messages = json.dumps(agent_request()).encode(), json.dumps(agent_request(anthropic=True)).encode()
        lanes = {"the vendor itself": (url, {}, CHAT, chat), "chat to chat": (mine.url, mine.headers, CHAT, chat)}
        lanes["Anthropic to chat"] = (mine.url, mine.headers, MESSAGES, messages)
        for name, server in _peers(url, folder, stack).items():
            lane = (server.url, server.headers, CHAT, chat)
            try:
                _first_event(*lane)
            except OSError as error:
                print(f"{name} is left out, since it does not stream here: {error}", file=sys.stderr)
            else:
                lanes[f"{name}, chat to chat"] = lane
        firsts: dict[str, list[float]] = {name: [] for name in lanes}
        wholes: dict[str, list[float]] = {name: [] for name in lanes}
        for turn in range(ROUNDS + 1):
            for name in random.sample(list(lanes), len(lanes)):
                for _ in range(FIRSTS if turn else 5):
                    first, whole = _first_event(*lanes[name])
                    if turn:
                        firsts[name].append(first)
                        wholes[name].append(whole)
    base = statistics.median(firsts["the vendor itself"])
    rows: Rows = [
        ("an agent's request (117 kB), bytes", float(len(chat)), None, ""),
        ("first event, the vendor", base * 1e3, None, "ms"),
    ]
    for name in firsts:
        if name != "the vendor itself":
            rows.append((f"first event, added by {name}", (statistics.median(firsts[name]) - base) * 1e3, None, "ms"))
            rows.append((f"whole stream of {EVENTS} events, {name}", statistics.median(wholes[name]) * 1e3, None, "ms"))
    return rows


def request_head(url: str, headers: Mapping[str, str], path: str, body: bytes) -> bytes:
    """The head of a POST of a body."""
    told = {"Host": urlsplit(url).netloc, "Content-Type": "application/json", "Content-Length": f"{len(body)}", **headers}
    return (f"POST {path} HTTP/1.1\r\n" + "".join([f"{name}: {value}\r\n" for name, value in told.items()]) + "\r\n").encode()


def connect(url: str) -> socket.socket:
    """A connection to an address."""
    parts = urlsplit(url)
    sock = socket.create_connection((parts.hostname, parts.port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _first_event(url: str, headers: Mapping[str, str], path: str, body: bytes) -> tuple[float, float]:
    """Seconds until the first event, and until the end, of one request on a connection of its own."""
    with connect(url) as sock:
        began = time.perf_counter()
        sock.sendall(request_head(url, headers, path, body) + body)
        seen = b""
        while b"\ndata: " not in seen:
            piece = sock.recv(65536)
            if not piece:
                raise OSError(f"{url}: {seen[:300]!r}")
            seen += piece
        first = time.perf_counter() - began
        tail = seen[-8192:]
        while not tail.endswith(b"0\r\n\r\n"):
            piece = sock.recv(65536)
            if not piece:
                break
            tail = (tail + piece)[-16:]
        return first, time.perf_counter() - began


def _many(folder: Path) -> Rows:
    """500 streams of five keys in one worker: how late events are, and how long the first takes."""
    with (
        vendor(pace=PACE, chunks=int(TALK / PACE), crowd=STREAMS) as url,
        ours(url, folder, threads=600) as server,
    ):
        late, firsts = _listen(server)
        rss = server.rss()
    return [
        (f"{STREAMS} streams, lateness p50", statistics.median(late) * 1e3, None, "ms"),
        (f"{STREAMS} streams, lateness p99", statistics.quantiles(late, n=100)[98] * 1e3, 100.0, "ms"),
        (f"{STREAMS} streams, first event p50", statistics.median(firsts) * 1e3, None, "ms"),
        (f"{STREAMS} streams, first event p99", statistics.quantiles(firsts, n=100)[98] * 1e3, 500.0, "ms"),
        (f"{STREAMS} streams, RSS of the worker", rss, None, "MB"),
    ]


def _listen(server: Server) -> tuple[list[float], list[float]]:
    """Open all streams, 50 a second, and read them in one thread; the lateness of each event, and the wait for each first one."""
    body = json.dumps({**QUESTION, "stream": True}).encode()
    selector = selectors.DefaultSelector()
    late: list[float] = []
    firsts: list[float] = []
    begun: dict[socket.socket, float] = {}
    left, opened, next_at = STREAMS, 0, time.monotonic()
    while left:
        while opened < STREAMS and time.monotonic() >= next_at:
            sock = connect(server.url)
            key = server.keys[opened % len(server.keys)]
            begun[sock] = time.monotonic()
            sock.sendall(request_head(server.url, {"Authorization": f"Bearer {key}"}, CHAT, body) + body)
            selector.register(sock, selectors.EVENT_READ)
            opened, next_at = opened + 1, next_at + 0.02
        for ready, _ in selector.select(0.01 if opened < STREAMS else 1.0):
            left -= _read(ready.fileobj, begun, late, firsts)  # type: ignore[arg-type]  # all of them are sockets
            if ready.fileobj not in begun:
                selector.unregister(ready.fileobj)
                ready.fileobj.close()  # type: ignore[union-attr]  # likewise
    return late, firsts


def _read(sock: socket.socket, begun: dict[socket.socket, float], late: list[float], firsts: list[float]) -> int:
    """Note what has come of one stream; 1 at its end."""
    piece = sock.recv(65536)
    now = time.monotonic()
    if begun[sock] and b"data: " in piece:
        firsts.append(now - begun[sock])
        begun[sock] = 0.0
    late.extend([now - float(stamp) for stamp in re.findall(rb'"content":\s?"(\d+\.\d+)"', piece)])
    if piece and b"[DONE]" not in piece:
        return 0
    if not piece:
        raise OSError("a stream was broken off")
    del begun[sock]
    return 1


def turns_of(servers: Mapping[str, Server], folder: Path) -> Iterator[tuple[str, dict[str, float]]]:
    """One turn of each, for a look by hand."""
    for name, server in servers.items():
        figures = Figures()
        _measure(server, folder, figures)
        yield name, _medians(figures)
