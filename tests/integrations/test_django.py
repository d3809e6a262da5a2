"""Django: a project behind a real server, its checks and its commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from llmdispatcher.testing import VendorSimulator, faults

from ..orphans import mortal

pytest.importorskip("django", reason="Django is not installed; scripts/test installs it")

SERVE = """
from wsgiref.simple_server import WSGIServer, make_server
from socketserver import ThreadingMixIn
from tests.integrations.django_shop import application

class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

with make_server("127.0.0.1", 0, application, Server) as server:
    print(server.server_port, flush=True)
    server.serve_forever()
"""


@pytest.fixture
def simulator():
    """A vendor on the loopback."""
    with VendorSimulator(responses="It is blue.") as running:
        yield running


@pytest.fixture
def environment(simulator, tmp_path):
    """The variables of a process of the project."""
    config = tmp_path / "llm.toml"
    config.write_text(
        f'retry_policy = {{ max_retries = 0 }}\n[vendors.openai]\napi_key = "sk"\nbase_url = "{simulator.openai_url}"\n'
    )
    return {**os.environ, "SHOP_CONFIG": str(config)}


@pytest.fixture
def shop(environment):
    """A function that gets a path of the running project: status, headers and body."""
    command = mortal([sys.executable, "-c", SERVE])
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True) as process:
        port = int(process.stdout.readline())

        def get(path):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=120) as reply:
                    return reply.status, dict(reply.headers), reply.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, dict(error.headers), error.read().decode()

        yield get
        process.kill()


def manage(environment, *words):
    """Exit code, output and errors of a command of the project."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.integrations.django_shop", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def test_views(shop, simulator):
    """A whole answer, its events, and failures with their status."""
    status, _headers, body = shop("ask")
    streamed, headers, text = shop("stream")
    simulator.script(faults.status(429))
    refused = shop("ask")
    unknown = shop("ask?model=anthropic:claude-haiku-4-5")
    simulator.script(faults.status(500))
    broken = shop("stream")

    assert (200, "It is blue.") == (status, body)
    assert (200, "text/event-stream; charset=utf-8") == (streamed, headers["Content-Type"])
    assert "It is blue." == "".join(
        json.loads(line[6:]).get("content", "") for line in text.splitlines() if line.startswith("data: ")
    )
    assert (503, {"error": "RateLimitError"}) == (refused[0], json.loads(refused[2]))
    assert (500, {"error": "ConfigError"}) == (unknown[0], json.loads(unknown[2]))
    assert (502, {"error": "VendorUnavailable"}) == (broken[0], json.loads(broken[2]))


def test_checks_and_commands(environment, tmp_path):
    """`manage.py check` finds a mistake in the setting; the command tells health, and asks."""
    good, health = manage(environment, "check"), manage(environment, "llmdispatcher", "health")
    asked = manage(environment, "llmdispatcher", "ask", "Why?", "--model", "gpt-4o-mini")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text("timeot = 3\n")
    bad = manage({**environment, "SHOP_CONFIG": str(wrong)}, "check")

    assert 0 == good[0], good
    assert (0, True) == (health[0], health[1].startswith("openai "))
    assert (0, "It is blue.\n") == asked[:2]
    assert "openai:gpt-4o-mini" in asked[2]
    assert (1, True) == (bad[0], "did you mean 'timeout'?" in bad[2])
