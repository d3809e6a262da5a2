"""Addresses are read once: what may be shown of them, what they mean, and which are refused without being quoted."""

from __future__ import annotations

from urllib.parse import quote, urlsplit

import pytest

from llmdispatcher import ConfigError, InvalidRequest, RateLimit, ResponseCache
from llmdispatcher.types import ServerAddress, base_url, name_in_path

from ..cases import each


@each("password", ["hunter2", "a b", "p@ss:w%rd", "h/u?n#t", "[::1]", "ü", "%2F", "'\";--"])
def test_an_escaped_password_is_read_and_never_shown(password):
    """Whoever connects gets it; nobody else sees it."""
    found = ServerAddress.of(f"Redis://app:{quote(password, safe='')}@cache.example:6379/0?password=x", "store")
    parts = urlsplit(found.url)

    assert ("redis", "app", password) == (found.scheme, found.user, found.password)
    assert quote(password, safe="") == parts.password
    assert "redis://app@cache.example:6379/0" == found.shown
    assert password not in repr(found).replace("password", "")


@each("sign", [*list("/?#@[]:%&= "), "//", "@/", "?a=", "#@", ":5432/", "\n", "�"])
@each("scheme", ["redis", "rediss", "unix"])
def test_a_password_that_is_not_escaped_is_shown_nowhere(scheme, sign):
    """It is read as it was meant, or the address is refused without a word of it."""
    address = f"{scheme}://app:hunter2{sign}hunter3@host/db"
    try:
        found = ServerAddress.of(address, "store")
        told = f"{found} {found!r} {found.shown}"
    except ConfigError as error:
        told = f"{error} {error!r}"

    assert "hunter" not in told


@each(
    "address, host, shown",
    [
        ("rediss://u:p@[::1]:6379/0", "[::1]:6379", "rediss://u@[::1]:6379/0"),
        ("redis://:p@host:6379/1", "host:6379", "redis://host:6379/1"),
        ("unix:///run/redis.sock?db=1", "", "unix:///run/redis.sock"),
    ],
)
def test_hosts_and_sockets(address, host, shown):
    """A name, a socket, a number of IPv6."""
    found = ServerAddress.of(address, "store")

    assert (host, shown) == (found.host, found.shown)


@each("address", ["", "host", "redis:/host", "redis://host:port", "redis://host:99999", "redis://a,b", "redis://a b"])
def test_what_is_no_address_is_refused(address):
    """With the name of the setting."""
    with pytest.raises(ConfigError, match=r"^storage: this address cannot be read"):
        ServerAddress.of(address, "storage")


@each("password", ["hunter2/x", "hunter2?x", "hunter2#x", "hunter2[x", "hun@ter2"])
@each("made", [lambda url: ResponseCache(store=url), lambda url: RateLimit(requests_per_minute=1, storage=url)])
def test_caches_and_limits_hide_the_password_of_their_server(made, password):
    """In their repr and in their errors."""
    try:
        told = repr(made(f"REDIS://me:{password}@127.0.0.1:1/0"))
    except ConfigError as error:
        told = f"{error} {error!r}"

    assert "hunter" not in told
    assert "hun@" not in told


def test_a_server_is_a_server_in_upper_case_too():
    """No file of that name is made."""
    assert "redis://host:6379/0" == ResponseCache(store="Redis://host:6379/0").store


@each(
    "given, meant",
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        (" HTTPS://api.example.com/v1/\n", "https://api.example.com/v1"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1//", "http://[::1]:8000/v1"),
        ("https://api.example.com/a..b/v1.0", "https://api.example.com/a..b/v1.0"),
    ],
)
def test_a_base_url_is_read_once(given, meant):
    """Its scheme in lower case, without blanks around it and slashes at its end."""
    assert meant == base_url(given)


@each(
    "given",
    [
        "https://h/v1?api-version=2",
        "https://h/v1?",
        "https://h/v1#x",
        "https://h?x=/v1",
        "https://h#@evil/v1",
        "https://h/v1/../x",
        "https://h/v1/%2e%2E/x",
        "https://h/..",
        "https://h/..;a=1/x",
        "https://h/./x",
        "https://h\\@evil/v1",
        "https://h/a\\b",
        "https://h/v1\r\nX: 1",
        "https://h/v1 HTTP/1.1",
        "https://h/\ud800",
        "https://user:pw@h/v1",
        "https://h@evil/v1",
        "https://h:99999/",
        "https://h:-1/",
        "https://h;x/v1",
        "https://127。0。0。1/v1",
        "https://",
        "https:///v1",
        "//h/v1",
        "file:///etc/passwd",
        "h:8000",
        "",
    ],
)
def test_a_base_url_that_leads_elsewhere_is_refused(given):
    """Before anything is sent, and without quoting what may be a secret."""
    with pytest.raises(ConfigError, match=r"^base_url: ") as caught:
        base_url(given)
    assert "pw" not in str(caught.value)
    assert str(caught.value).isprintable()


@each("model", ["gemini-2.5-flash", "models/gemini-2.5-flash", "projects/p/models/m", "ft:gpt-4o:org::id", "ü"])
def test_a_models_name_may_stand_in_a_path(model):
    """Quoted."""
    assert quote(model) == name_in_path(model)


@each(
    "model",
    [
        *["..", "../../v1/x", "models/../../x", "a/../b", ".", "./x", "..;/x", "models/..%2f..", "%2e%2e", "a%2e%2e/b", "a\\..\\b"],
        *["a?key=1", "a#b", "a\r\nX: 1", "a b", "a\0b", "\ud800", "\u2028", "models/", "/", "//evil.example/x", "", "x" * 100_000],
    ],
)
def test_a_models_name_that_leads_elsewhere_is_refused(model):
    """In a text that can be shown."""
    with pytest.raises(InvalidRequest, match=r"^model: ") as caught:
        name_in_path(model)
    assert len(str(caught.value)) < 300
    assert str(caught.value).isprintable()
