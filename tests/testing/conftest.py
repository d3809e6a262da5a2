"""What the tests of the simulator ask: one healthy request per format, over a client that has no opinion."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import socket
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

from llmdispatcher.testing import VendorSimulator

PATIENCE = 30.0
"""Seconds that a busy machine may need for what it does at once when it has time."""
NINE_AND_MORE = "one two three four five six seven eight nine ten eleven twelve"
PROMPT = "Tell me about rivers"
HEADERS = {
    "openai": {"Authorization": "Bearer k"},
    "azure": {"api-key": "k"},
    "anthropic": {"x-api-key": "k", "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": "k"},
    "openai_responses": {"Authorization": "Bearer k"},
    "ollama": {},
}
BODIES = {
    "openai": {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]},
    "azure": {"model": "gpt-4o", "messages": [{"role": "user", "content": PROMPT}]},
    "anthropic": {"model": "claude-x", "max_tokens": 500, "messages": [{"role": "user", "content": PROMPT}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]},
    "openai_responses": {"model": "gpt-5", "input": PROMPT},
    "ollama": {"model": "llama", "messages": [{"role": "user", "content": PROMPT}], "stream": False},
}
PATHS = {
    "openai": "/v1/chat/completions",
    "azure": "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
    "anthropic": "/v1/messages",
    "gemini": "/v1/models/gemini-x:generateContent",
    "openai_responses": "/v1/responses",
    "ollama": "/api/chat",
}
FORMATS = tuple(PATHS)


@attrs.frozen
class Reply:
    """A whole HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def events(self):
        """The parsed data of every event, or line of JSON; ``[DONE]`` as it is."""
        if self.headers["content-type"] == "application/x-ndjson":
            return [json.loads(line) for line in self.body.splitlines() if line]
        data = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


def wire_request(form, *, stream=False, path=None, headers=None, **changes):
    """Path, headers and body of a healthy request, with changes; a change to ``...`` removes the key."""
    body = {key: value for key, value in {**BODIES[form], **changes}.items() if value is not ...}
    path = path or PATHS[form]
    if stream and form == "gemini":
        path = path.replace(":generateContent", ":streamGenerateContent?alt=sse")
    elif stream:
        body["stream"] = True
    return path, HEADERS[form] if headers is None else headers, json.dumps(body).encode()


def ask(simulator, form="openai", *, raw=None, **settings):
    """One request on a fresh connection, read to its end."""
    path, headers, body = wire_request(form, **settings)
    connection = http.client.HTTPConnection("127.0.0.1", int(simulator.url.rpartition(":")[2]), timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("POST", path, raw if raw is not None else body, headers)
        response = connection.getresponse()
        return Reply(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())


def _is_at_work(simulator, before):
    """Whether a simulator has yet to read a request, the first after ``before``, or has a thread that neither waits nor reads."""
    if simulator.hits == before:
        return True
    threads = [thread.ident for thread in threading.enumerate() if thread.name == f"loopback-{simulator.url.rpartition(':')[2]}"]
    code = {thread: frame.f_code for thread, frame in sys._current_frames().items()}  # a frame that is kept keeps its sockets
    tops = [code[thread] for thread in threads if thread in code]
    return any(Path(top.co_filename).name not in ("threading.py", "socket.py") and top.co_name != "hang_up" for top in tops)


def bytes_of(simulator, form="openai", *, enough=1 << 21, sign=None, quiet=0.03, at_most=PATIENCE, hasty=False, **settings):
    """All that comes back over a bare socket, and how that ended: closed, reset, open, or enough (or too late).

    It is open when nothing comes from a simulator that was not at work before; ``hasty`` does not look whether it is.
    Enough are so many bytes, or those that ``sign`` is found in.
    """
    path, headers, body = wire_request(form, **settings)
    lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: sim\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode()
    got, before, rests = bytearray(), simulator.hits, hasty
    with socket.create_connection(("127.0.0.1", int(simulator.url.rpartition(":")[2])), timeout=quiet) as sock:
        sock.sendall(head + body)
        end = time.monotonic() + at_most
        while len(got) < enough and not (sign and re.search(sign, got)) and time.monotonic() < end:
            try:
                data = sock.recv(1 << 20)
            except TimeoutError:
                if rests:
                    return bytes(got), "open"
                rests = not _is_at_work(simulator, before)
                continue
            except ConnectionResetError:
                return bytes(got), "reset"
            if not data:
                return bytes(got), "closed"
            got, rests = got + data, hasty
    return bytes(got), "enough"


@pytest.fixture
def sim():
    with VendorSimulator(responses=NINE_AND_MORE) as simulator:
        yield simulator
