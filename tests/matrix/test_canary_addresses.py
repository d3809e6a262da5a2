"""The canary in an address: a password in any form of address is in no repr, error, log, pickle or file name, plain or encoded."""

from __future__ import annotations

import base64
import copy
import json
import logging
import os
import pickle
import pprint
import traceback
from functools import partial
from pathlib import Path
from urllib.parse import quote

import attrs
import pytest

from llmdispatcher import (
    Config,
    ConfigError,
    Dispatcher,
    DispatchError,
    Ledger,
    OpenAIVendor,
    RateLimit,
    Request,
    ResponseCache,
    VendorConfig,
)
from llmdispatcher.testing import LoopbackServer
from tests.loopback_redis import quiet_port

KEY = "sk-canary-0123456789"
PASSWORDS = [
    *[f"canary1{sign}canary2" for sign in ["", *"#?[]@%/:&= ", "//", "\\"]],
    *[quote(f"canary1{sign}canary2", safe="") for sign in "#?[@%/"],
    "canary%001",
    "canary%ED%A0%80",
]
PLAIN = PASSWORDS[:2]


def canary_in(told: str) -> bool:
    """Whether any of it is found: as it is, escaped once or twice, or within base64 at any of the three offsets."""
    starts = [base64.b64encode(b"x" * pad + b"canary")[(pad * 4 + 2) // 3 : 8].decode() for pad in range(3)]
    return any(part in told.lower() for part in ("canary", "%63%61")) or any(part[:6] in told for part in starts)


SERVERS = {
    "address": "{scheme}://app:{password}@127.0.0.1:{port}/{name}",
    "several hosts": "{scheme}://app:{password}@127.0.0.1:{port},127.0.0.1:{port}/{name}",
    "a parameter": "{scheme}://app@127.0.0.1:{port}/{name}?password={password}",
    "a parameter behind &": "{scheme}://app@127.0.0.1:{port}/{name}&password={password}",
    "a parameter behind ;": "{scheme}://app@127.0.0.1:{port}/{name};password={password}",
    "no host": "{scheme}://app:{password}/{name}",
    "no @": "{scheme}://app:{password}:{port}/{name}",
    "no user": "{scheme}://:{password}@127.0.0.1:{port}/{name}",
    "a bad port": "{scheme}://app:{password}@127.0.0.1:none/{name}",
    "a large port": "{scheme}://app:{password}@127.0.0.1:99999999/{name}",
    "the port as a parameter": "{scheme}://app@127.0.0.1/{name}?port={password}",
    "a socket": "{scheme}://app:{password}@/{name}?host=/there/is/none",
    "another driver": "{scheme}+none://app:{password}@127.0.0.1:{port}/{name}",
    "another database": "mysql://app:{password}@127.0.0.1:{port}/{name}",
    "another database, its user alone": "mongodb+srv://{password}@127.0.0.1:{port}/{name}",
    "for Java": "jdbc:{scheme}://app:{password}@127.0.0.1:{port}/{name}",
    "in quotes": '"{scheme}://app:{password}@127.0.0.1:{port}/{name}"',
    "a variable": "DATABASE_URL={scheme}://app:{password}@127.0.0.1:{port}/{name}",
    "one slash": "{scheme}:/app:{password}@127.0.0.1:{port}/{name}",
    "three slashes": "{scheme}:///app:{password}@127.0.0.1:{port}/{name}",
    "no slash": "{scheme}:app:{password}@127.0.0.1:{port}/{name}",
    "no scheme": "//app:{password}@127.0.0.1:{port}/{name}",
    "neither scheme nor slash": "app:{password}@127.0.0.1:{port}/{name}",
    "a password and a port": "{password}@127.0.0.1:{port}",
    "of SQLite": "sqlite://app:{password}@127.0.0.1/{name}",
    "of SQLite, three slashes": "sqlite:///app:{password}@127.0.0.1/{name}",
    "keywords": "host=127.0.0.1 port={port} user=app password={password} dbname={name}",
    "keywords in another order": "sslmode=disable user=app host=127.0.0.1 password='{password}'",
    "keywords of .NET": "Server=127.0.0.1;Database={name};User Id=app;Password={password};",
    "keywords in an address": "{scheme}://host=127.0.0.1 user=app password={password} port={port}/{name}",
    "keywords as a user": "{scheme}://user=app password={password}@127.0.0.1:{port}/{name}",
    "keywords as a name": "{scheme}://app@127.0.0.1:{port}/{name} password={password}",
    "keywords as a name's parameter": "{scheme}://app@127.0.0.1:{port}/?dbname=host%3Dx%20password%3D{password}",
    "a line of .pgpass": "127.0.0.1:{port}:{name}:app:{password}",
}
LOGINS_ALONE = {
    "a user alone": "{scheme}://{password}@127.0.0.1:{port}/0",
    "an empty password": "{scheme}://{password}:@h:{port}/0",
}


def forms(table, password):
    """Those in which a password can be told from the rest: part of it may be what a host or a user looks like."""
    sign = {"no host": "@", "no @": "@", "another database, its user alone": ":", "a user alone": ":", "an empty password": ":"}
    return [form for name, form in table.items() if sign.get(name, "\0") not in password]


def told_of(make, *uses):
    """All that is told of what ``make`` gives, and of the error that it or a use of it raises."""
    try:
        made = make()
    except DispatchError as error:
        return told_of_error(error)
    shown = [repr(made), str(made), f"{made}", f"{made!r}", pprint.pformat(made), json.dumps([made], default=str)]
    shown += [repr(vars(made))] if hasattr(made, "__dict__") else []
    if attrs.has(type(made)):
        shown += [repr(attrs.asdict(made)), repr(attrs.evolve(made)), repr(made.__getstate__()), repr(copy.deepcopy(made))]
    try:
        shown.append(repr(pickle.dumps(made)))
    except TypeError as error:
        shown.append(told_of_error(error))
    for use in uses:
        try:
            use(made)
        except DispatchError as error:
            shown.append(told_of_error(error))
    return "\n".join(shown)


def told_of_error(error):
    """Its text, cargo, causes, and its traceback with locals; those of the test hold the address."""
    told, waiting, seen = [], [error], []
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        told += [str(one), repr(one), repr(vars(one)), repr(getattr(one, "pgconn", None))]
        told += [repr(value) for frame, _ in traceback.walk_tb(one.__traceback__) for value in locals_below(frame)]
        waiting += [one.__cause__, one.__context__]
    return "\n".join(told)


def locals_below(frame):
    """Of a frame that runs when a setting has been read; before, the address is what is read."""
    name = frame.f_globals.get("__name__", "")
    settings = ("types.", "accounting.ledger.address", "cache.settings", "dispatcher.config")
    reads = ("tests.", *[f"llmdispatcher.{module}" for module in settings])
    constructs = frame.f_code.co_name in ("__init__", "build", "evolve", "merge")
    return [] if name.startswith(reads) or constructs or "attrs generated" in frame.f_code.co_filename else frame.f_locals.values()


@pytest.fixture
def nothing_told(caplog, tmp_path, monkeypatch):
    """Look at what was told, at the log at DEBUG, and at the names of files."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)

    def look(told: str) -> None:
        names = "\n".join(map(str, tmp_path.rglob("*")))
        assert [] == [line[:2000] for line in f"{names}\n{caplog.text}\n{told}".splitlines() if canary_in(line)]
        caplog.clear()

    return look


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_ledger_tells_no_password(password, nothing_told, tmp_path):
    """In no form of address, whichever way it fails."""
    port = quiet_port()
    for form in forms(SERVERS, password):
        for scheme in ("postgresql", "postgres", "PostgreSQL+psycopg")[: 3 if password in PLAIN else 1]:
            address = form.format(scheme=scheme, password=password, port=port, name="db")
            uses = () if form != SERVERS["address"] else (Ledger.is_there, Ledger.migrate, Ledger.list_recent_calls)
            there = partial(Ledger, spool=tmp_path / "spool")
            told = told_of(partial(there, address, timeout=1), *uses) + told_of(partial(Config, ledger=address))
            told += told_of(partial(there, Path(address))) + told_of(partial(there, quote(address, safe="")))
            if "{scheme}:" in form:  # what begins with a slash and has no scheme is a path
                told += told_of(partial(there, Path(address).absolute()))
            nothing_told(told)


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_cache_and_limits_tell_no_password(password, nothing_told):
    """Nor who a user without a password is, since that is often the password."""
    port = quiet_port()
    for form in forms({**SERVERS, **LOGINS_ALONE}, password):
        for scheme in ("redis", "rediss", "unix", "http")[: 4 if password in PLAIN else 1]:
            address = form.format(scheme=scheme, password=password, port=port, name="0")
            told = [told_of(partial(ResponseCache, store=where)) for where in (address, Path(address), address.encode())]
            told.append(told_of(partial(Config, limits_storage=address, cache={"store": address})))
            told.append(told_of(partial(RateLimit, requests_per_minute=1, storage=address)))
            nothing_told("\n".join(told))


def test_a_cache_whose_server_is_away_tells_no_password(nothing_told):
    """In the log neither, and nor does a dispatcher that uses it."""
    pytest.importorskip("redis")
    with Dispatcher({"cache": {"store": f"redis://app:canary@127.0.0.1:{quiet_port()}/0"}}) as dispatcher:
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=f"http://127.0.0.1:{quiet_port()}", trust_env=False))
        nothing_told(told_of(lambda: dispatcher, lambda made: made.send(Request("gpt-4o-mini", "hi"), timeout=1)))


@pytest.mark.parametrize("given", ["argument", "environment"])
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("password", ["canary", "canary-and-longer", "canary#?[@%/:"])
def test_a_proxy_tells_no_password(password, scheme, given, nothing_told, monkeypatch):
    """Not in its own words either, whatever of the login it echoes."""
    login = base64.b64encode(f"app:{password}".encode()).decode()

    def refuse(peer, _request):
        echo = f"denied: Basic {login} {password} {quote(password, safe='')}"
        peer.reply(407, json.dumps({"error": {"message": echo}}).encode(), ("X-Request-Id", login), ("Proxy-Authenticate", echo))
        return True

    with LoopbackServer(refuse) as server:
        proxy = server.url.replace("//", f"//app:{quote(password, safe='')}@")
        if given == "environment":
            for name in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(name, proxy)
            monkeypatch.setenv("no_proxy", "")
        settings = {"proxy": proxy, "trust_env": False} if given == "argument" else {}
        with Dispatcher({"retry_policy": {"max_retries": 0}}) as dispatcher:
            vendor = OpenAIVendor(api_key=KEY, base_url=f"{scheme}://vendor.test/v1", **settings)
            dispatcher.register_vendor(vendor)
            told = told_of(lambda: dispatcher, lambda made: made.send(Request("gpt-4o-mini", "hi"), timeout=60))

    assert "vendor.test" in told or "denied" in told
    nothing_told(told + told_of(lambda: vendor) + told_of(lambda: VendorConfig(proxy=proxy)))


@pytest.mark.parametrize(
    "proxy", ["http://app:can%D0%B0ry@127.0.0.1:1", "http://canary@h:none", "socks6://app:canary@h", "app:canary@h/x"]
)
@pytest.mark.parametrize("given", ["argument", "environment"])
def test_a_proxy_that_cannot_be_used_is_not_shown(proxy, given, nothing_told, monkeypatch):
    """It is refused by a ConfigError: when the vendor is made, or where the environment names it when the first call is made."""
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", proxy if given == "environment" else "")

    def ask():
        with Dispatcher() as dispatcher:
            settings = {"proxy": proxy} if given == "argument" else {}
            dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url="http://vendor.test", **settings))
            dispatcher.send(Request("gpt-4o-mini", "hi"))

    with pytest.raises(ConfigError, match=r"(?i)proxy: ") as raised:
        ask()
    nothing_told(told_of_error(raised.value).replace("can%D0%B0ry", "canary"))


KEEPERS = {
    "a key": lambda: VendorConfig(api_key="canary-0123456789"),
    "a short key": lambda: VendorConfig(api_key="canary"),
    "several keys": lambda: VendorConfig(api_key=["canary-0123456789", "canary-9876543210"]),
    "a header": lambda: VendorConfig(headers={"X-Secret": "canary"}),
    "a proxy": lambda: VendorConfig(proxy="canary:x@proxy:3128"),
    "a proxy of what is fetched": lambda: VendorConfig(fetch_remote={"proxy": "socks5h://app:canary@proxy:3128"}),
    "the password of a client's key": lambda: VendorConfig(client_cert=(os.devnull, os.devnull, "canary")),
    "a vendor": lambda: OpenAIVendor(api_key="canary-0123456789", headers={"X-Secret": "canary"}),
    "a limit": lambda: RateLimit(requests_per_minute=1, storage="redis://:canary@h/0"),
    "a cache": lambda: ResponseCache(store="redis://:canary@h/0"),
    "a configuration": lambda: Config(ledger="postgresql://u:canary@h/d"),
    "a ledger": lambda: Ledger("postgresql://u:canary@h/d"),
    "a dispatcher": lambda: Dispatcher({"limits_storage": "redis://canary@h/0"}),
}


@pytest.mark.parametrize("make", KEEPERS.values(), ids=KEEPERS)
def test_what_holds_a_secret_is_not_pickled(make, nothing_told):
    """The error says what to send instead; in every view of it the secret is not there."""
    kept = make()
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="environment"):
            pickle.dumps(kept, protocol)

    nothing_told(told_of(make))


def test_a_used_vendor_tells_no_key(nothing_told, monkeypatch, vendor_simulator):
    """Nor what it has made of a key from the environment: headers, connections, what it masks."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary-0123456789")
    vendor = OpenAIVendor(base_url=vendor_simulator.openai_url, trust_env=False)
    with Dispatcher() as dispatcher:
        dispatcher.register_vendor(vendor)
        dispatcher.send(Request("gpt-4o-mini", "hi"))
    parts = [*vars(vendor).values()]
    states = [part.__getstate__() for part in parts if attrs.has(type(part))]

    nothing_told(told_of(lambda: vendor) + repr(parts) + repr(states))


@pytest.mark.parametrize(
    "made",
    [
        VendorConfig(
            base_url="https://api.example.com/v1", headers={"HTTP-Referer": "https://example.com"}, proxy="http://proxy:3128"
        ),
        Config(
            ledger="postgresql://app@a:1,b:2/calls", limits_storage="redis://cache:6379/0", cache={"store": "redis://cache:6379/0"}
        ),
        Config(ledger="calls.db", cache={"store": "answers.db"}),
        RateLimit(requests_per_minute=1, storage="rediss://cache/0"),
    ],
)
def test_settings_without_a_secret_are_pickled(made):
    """A worker makes its vendors of them, with keys from its own environment."""
    assert made == pickle.loads(pickle.dumps(made))


def test_a_key_is_a_text_like_any_other():
    """It is equal to what was given, has its hash, and can be copied and changed with the rest."""
    config = VendorConfig(api_key=KEY, headers={"X-Secret": "canary"})

    assert (KEY, hash(KEY), KEY.encode()) == (config.api_key, hash(config.api_key), config.api_key.encode())
    assert config == copy.deepcopy(config) == copy.copy(config) == attrs.evolve(config)
    assert f"Bearer {KEY}" == f"Bearer {config.api_key}"
    assert "'***'" == repr(config.api_key)


@pytest.mark.parametrize(
    "key", ["sk-canary-0123456789", "canary.0123456789abcdef0123", "AIzacanary_0123456789", "canary0123456789/+=="]
)
def test_a_key_in_place_of_an_address_is_not_shown(key):
    """Settings may be mixed up."""
    with pytest.raises(ConfigError, match="base_url: the value is not an address") as raised:
        VendorConfig(base_url=key)

    assert "canary" not in str(raised.value)
