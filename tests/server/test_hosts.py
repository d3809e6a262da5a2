"""By which names the gateway is reached, whose word counts for an address, and which pages of a browser may ask."""

from __future__ import annotations

import re

import pytest
import requests

from llmdispatcher import ConfigError
from llmdispatcher.server import GatewaySettings
from llmdispatcher.server.gateway.hosts import HostRules
from llmdispatcher.server.serve import ServeOptions

from ..cases import each
from .conftest import HELLO

ORIGIN = "https://app.example.com"


@pytest.fixture
def settings():
    """As ``serve`` has them on the loopback."""
    return GatewaySettings(threads=8, rules=HostRules.of("127.0.0.1", "https://gw.example.com", "127.0.0.0/8", ORIGIN))


@each(
    "host, status",
    [
        ("127.0.0.1:8080", 200),
        ("LOCALHOST", 200),
        ("[::1]:8080", 200),
        ("127.0.0.9", 200),
        ("gw.example.com", 200),
        ("gw.example.com.:443", 200),
        ("evil.example.com", 421),
        ("127.0.0.1.evil.example.com", 421),
        ("gw.example.com@evil.example.com", 421),
        ("localhost.evil.example.com:8080", 421),
        ("0.0.0.0", 421),
        ("10.0.0.1", 421),
    ],
)
def test_a_foreign_host_is_refused_on_the_loopback(served, host, status):
    """Whatever the key is: a page of the web may have a name that leads to this machine."""
    asked = requests.post(
        f"{served.url}/v1/chat/completions", json=HELLO, headers={"Host": host, "x-api-key": served.key}, timeout=30
    )
    assert asked.status_code == status
    if status == 421:
        assert asked.json()["error"]["code"] == "misdirected_request"


@each(
    "peer, forwarded, address",
    [
        ("10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("10.0.0.1", "203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.7, 10.0.0.2", "203.0.113.7"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "1.1.1.1, nonsense, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", "203.0.113.7:4711", "203.0.113.7"),
        ("10.0.0.1", "[2001:db8::1]:80", "2001:db8::1"),
        ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
        ("203.0.113.9", "1.1.1.1", "203.0.113.9"),
        ("unix:", "203.0.113.7", "203.0.113.7"),
        ("", "203.0.113.7", "203.0.113.7"),
    ],
)
def test_the_address_behind_proxies(peer, forwarded, address):
    """Is the last that no trusted proxy has; what a client writes itself is not believed."""
    rules = HostRules.of("127.0.0.1", None, "10.0.0.0/8, unix", None)
    environ = {"REMOTE_ADDR": peer, **({} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded})}
    assert rules.address(environ) == address


def test_nobody_is_trusted_unless_it_is_said():
    """The default."""
    rules = HostRules.of("127.0.0.1", None, None, None)
    assert rules.address({"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "1.1.1.1"}) == "127.0.0.1"


def test_wrong_keys_are_counted_by_the_address_behind_the_proxy(served):
    """One client with many wrong keys does not slow down the others."""
    statuses = []
    for address in ("203.0.113.7",) * 61 + ("203.0.113.8",):
        headers = {"X-Forwarded-For": address, "x-api-key": "wrong"}
        statuses.append(requests.get(f"{served.url}/v1/models", headers=headers, timeout=30).status_code)
    assert statuses == [401] * 60 + [429, 401]


def test_pages_that_may_ask(served):
    """A browser's question beforehand is answered to them alone, and so is the answer's header."""
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, x-stainless-os"}
    path = f"{served.url}/v1/chat/completions"
    before = requests.options(path, headers={"Origin": ORIGIN, **asking}, timeout=30)
    foreign = requests.options(path, headers={"Origin": "https://evil.example.com", **asking}, timeout=30)
    answer = served.post("/v1/chat/completions", HELLO, headers={"Origin": ORIGIN})
    refused = served.post("/v1/chat/completions", HELLO, key="wrong", headers={"Origin": ORIGIN})
    other = served.post("/v1/chat/completions", HELLO, headers={"Origin": "https://evil.example.com"})

    assert (before.status_code, before.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN)
    assert before.headers["Access-Control-Allow-Headers"] == "authorization, x-stainless-os"
    assert "Access-Control-Allow-Credentials" not in before.headers
    assert (foreign.status_code, "Access-Control-Allow-Origin" in foreign.headers) == (405, False)
    assert {one.headers["Access-Control-Allow-Origin"] for one in (answer, refused)} == {ORIGIN}
    assert "Access-Control-Allow-Origin" not in other.headers


@each(
    "host, told",
    [("0.0.0.0", "LLMDISPATCHER_PUBLIC_URL"), ("::", "LLMDISPATCHER_PUBLIC_URL"), ("gw.example.com", "LLMDISPATCHER_PUBLIC_URL")],
)
def test_a_server_that_others_reach_needs_its_address(monkeypatch, host, told):
    """The error says how it is told; with it any host is answered."""
    monkeypatch.delenv("LLMDISPATCHER_PUBLIC_URL", raising=False)
    with pytest.raises(ConfigError, match=told):
        ServeOptions(host=host).rules()
    assert ServeOptions(host=host, public_url="https://gw.example.com").rules().hosts is None
    monkeypatch.setenv("LLMDISPATCHER_PUBLIC_URL", "https://gw.example.com")
    assert ServeOptions(host=host).rules().hosts is None


@each(
    "given, told",
    [
        ({"public_url": "gw.example.com"}, "LLMDISPATCHER_PUBLIC_URL: 'gw.example.com' is no address"),
        ({"public_url": "https://u:p@gw.example.com"}, "is no address"),
        ({"public_url": "https://[::1"}, "is no address"),
        ({"proxies": "10.0.0.1/8"}, "LLMDISPATCHER_TRUSTED_PROXIES: '10.0.0.1/8' is no network"),
        ({"proxies": "proxy"}, "is no network"),
        ({"origins": "app.example.com"}, "LLMRING_CORS_ORIGINS: 'app.example.com' is no origin"),
        ({"origins": "https://app.example.com/path"}, "is no origin"),
    ],
)
def test_mistakes_are_told(given, told):
    """By the name of the variable."""
    given = {"public_url": None, "proxies": None, "origins": None, **given}
    with pytest.raises(ConfigError, match=re.escape(told)):
        HostRules.of("127.0.0.1", **given)
