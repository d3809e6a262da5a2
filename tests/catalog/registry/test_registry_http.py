"""A registry on the net: asked when due and with its tag, bounded in every way, and whatever it does, nobody is harmed."""

from __future__ import annotations

import gzip
import ssl
import threading
import time
from functools import cache

import pytest
import trustme

from llmdispatcher import DispatchError, MalformedReply, Registry, VendorUnavailable
from llmdispatcher.catalog.registry.document import MOST_BYTES
from llmdispatcher.testing import LoopbackServer

from .conftest import DAY, document, row

CURRENT = "/openai/models.json"


def versions(registry):
    """What counts, by vendor."""
    return {vendor: edition.version for vendor, edition in registry.load().items()}


def test_it_is_asked_once_within_the_ttl(site, make, clock):
    """Then again, with the tag; a 304 confirms it for as long."""
    site.publish(version=7)
    registry = make()
    for seconds in (0, DAY - 1, 1, 1, DAY - 2, 1):
        clock.advance(seconds)
        assert {"openai": 7} == versions(registry)

    tag = site.headers("if-none-match")[1]
    assert 3 == len(site.asked(CURRENT))
    assert [None, tag, tag] == site.headers("if-none-match")
    assert tag is not None


def test_a_new_version_is_taken(site, make, clock):
    """Once the old one is due."""
    site.publish(version=7)
    registry = make()
    registry.load()
    site.publish(version=8, rows=[row(dollars_per_million_tokens_input=1.0)])

    assert {"openai": 7} == versions(registry)
    clock.advance(DAY)
    assert {"openai": 8} == versions(registry)


def test_a_server_without_tags_is_asked_in_full(site, make, clock):
    """Which costs more and means the same."""
    site.etags = False
    site.publish(version=7)
    registry = make()
    registry.load()
    clock.advance(DAY)

    assert {"openai": 7} == versions(registry)
    assert [None, None] == site.headers("if-none-match")


def test_refresh_asks_before_it_is_due(site, make):
    """And tells how everything stands."""
    site.publish(version=7)
    registry = make()
    registry.load()
    site.publish(version=8)
    status = registry.refresh()["openai"]

    assert ("fresh", 8, "registry") == (status.state, status.version, status.source)


def test_the_manifest_lists_the_vendors(site, make):
    """Names that are none are passed over; without a manifest it is the usual three."""
    site.publish("openai", 7)
    site.publish("mistral", 2)
    site.pages["/manifest.json"] = b'{"providers": {"openai": {}, "mistral": {}, "../etc": {}, "A B": {}}}'

    assert {"openai": 7, "mistral": 2} == versions(make(vendors=None))
    assert {"anthropic", "google", "openai"} == set(make(site.url + "/below", vendors=None).status())


def test_a_lower_version_is_not_taken(site, make, clock):
    """A stale server in between, or a rollback of prices: what is held stays, and the status says so."""
    site.publish(version=7)
    registry = make()
    registry.load()
    site.publish(version=6)
    clock.advance(DAY)

    assert {"openai": 7} == versions(registry)
    assert "serves version 6 after 7" in registry.status()["openai"].reason
    registry.clear()
    assert {"openai": 6} == versions(registry)


def test_certificates_are_verified(make, tmp_path):
    """Of a server that nobody vouches for nothing is taken; with its authority it is."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with LoopbackServer(lambda peer, _: peer.reply(200, document(version=7)), tls=context) as server:
        wary = make(server.url)
        assert {} == wary.load()
        assert "packaged" == wary.status()["openai"].state
        assert {"openai": 7} == versions(make(server.url, ca_bundle=str(tmp_path / "ca.pem")))


def stall(peer, _):
    """Say nothing."""
    return peer.wait()


def drip(peer, _):
    """Send a good document, a byte now and then."""
    peer.head(200, ("Content-Length", "1000000"))
    peer.trickle(document() * 50, 0.02)
    return True


def redirect(peer, _):
    """Send the client elsewhere."""
    peer.reply(302, b"", ("Location", "http://127.0.0.1:1/secret"))


def huge(peer, _):
    """Announce more than anybody takes."""
    peer.head(200, ("Content-Length", str(MOST_BYTES + 1)))
    return peer.wait(0.2) or True


def endless(peer, _):
    """Never end."""
    peer.start_stream()
    while not peer.wait(0):
        peer.chunk(b"[" * 1_000_000)
    return True


@cache
def packed():
    """64 megabytes of blanks, which take a while to pack."""
    return gzip.compress(b" " * 64 * 1024 * 1024)


def bomb(peer, _):
    """Unpack to a gigabyte."""
    peer.reply(200, packed() * 16, ("Content-Encoding", "gzip"))


def half(peer, _):
    """Break off in the middle."""
    body = document()
    peer.head(200, ("Content-Length", str(len(body))))
    peer.send(body[:-40])
    return True


def reset(peer, _):
    """Cut the connection."""
    peer.reset()
    return True


def unasked(peer, _):
    """Confirm what nobody has."""
    peer.head(304)


def body(content, status=200):
    """Answer with that."""
    return lambda peer, _: peer.reply(status, content)


ODD = {
    "stall": stall,
    "drip": drip,
    "redirect": redirect,
    "huge": huge,
    "endless": endless,
    "gzip bomb": bomb,
    "half": half,
    "reset": reset,
    "304 unasked": unasked,
    "500": body(b"oops", 500),
    "404": body(b"no", 404),
    "204": body(b"", 204),
    "not HTTP": lambda peer, _: peer.send(b"SSH-2.0-x\r\n") or True,
    "empty": body(b""),
    "web page": body(b"<html>sign in</html>"),
    "cut JSON": body(document()[:-30]),
    "wrong types": body(document(models=[1, 2])),
    "another vendor": body(document("google")),
    "bad rows only": body(document(rows=[row(is_active="perhaps")])),
    "deep": body(b"[" * 2_000_000),
    "bad gzip": lambda peer, _: peer.reply(200, b"not packed", ("Content-Encoding", "gzip")),
    "strange encoding": lambda peer, _: peer.reply(200, b"x", ("Content-Encoding", "br")),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_whatever_it_does_the_catalog_counts(site, make, odd):
    """Without anything held: no error, in time, and the status says why."""
    site.odd[CURRENT] = odd
    registry = make(timeout=0.5)
    began = time.monotonic()

    assert {} == registry.load()
    assert time.monotonic() - began < 15
    status = registry.status()["openai"]
    assert ("packaged", "catalog", None) == (status.state, status.source, status.version)
    assert status.reason.startswith("the packaged catalog counts: ")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_whatever_it_does_what_is_held_counts(site, make, clock, odd):
    """A good copy outlives a registry that goes bad, is called stale, and is healed by the next good answer."""
    site.publish(version=7)
    make().load()
    site.odd[CURRENT] = odd
    registry = make(timeout=0.5)
    clock.advance(3 * DAY)

    assert {"openai": 7} == versions(registry)
    status = registry.status()["openai"]
    if odd is unasked:  # the tag was sent this time: that is a confirmation
        assert "fresh" == status.state
        return
    assert ("stale", 7) == (status.state, status.version)
    assert status.reason.startswith("the registry last confirmed it 3 days ago; ")
    del site.odd[CURRENT]
    assert "fresh" == make().refresh()["openai"].state


def test_trouble_is_logged_once(site, make, caplog):
    """Not at every try."""
    site.odd[CURRENT] = body(b"oops", 500)
    registry = make()
    registry.load()
    registry.load()

    assert 1 == caplog.text.count("status 500")


@pytest.mark.parametrize(("odd", "kind"), [(half, DispatchError), (body(b"x"), MalformedReply), (redirect, VendorUnavailable)])
def test_who_asks_for_an_edition_is_told(site, make, odd, kind):
    """A question of one's own has an answer or an error."""
    site.odd[CURRENT] = odd
    with pytest.raises(kind):
        make(timeout=0.5).edition("openai")


def test_nobody_answers(make, site):
    """A closed port is like every other fault."""
    registry = make()
    site.close()

    assert {} == registry.load()
    status = registry.status()["openai"]
    assert "packaged" == status.state
    assert status.reason.endswith("registry: openai/models.json could not be reached (connect)")


def test_many_threads_ask_once(site, make):
    """They share one request."""
    gate = threading.Event()

    def slow(peer, request):
        gate.wait(30)
        peer.reply(200, document(version=7))

    site.odd[CURRENT] = slow
    registry, found = make(), []
    threads = [threading.Thread(target=lambda: found.append(versions(registry))) for _ in range(16)]
    for thread in threads:
        thread.start()
    while not site.asked():
        time.sleep(0.005)
    gate.set()
    for thread in threads:
        thread.join(30)

    assert [{"openai": 7}] * 16 == found
    assert 1 == len(site.asked(CURRENT))


def test_nothing_personal_is_sent(site, make):
    """No cookies, no credentials, one line about who asks."""
    site.publish()
    make().load()
    sent = {name for request in site._seen for name in request.headers}

    assert {"host", "accept", "accept-encoding", "user-agent", "content-length"} >= sent


def test_a_proxy_is_not_asked_for_the_loopback(site, make, monkeypatch):
    """Whatever the environment says."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    site.publish(version=7)

    assert {"openai": 7} == versions(make())


def test_a_wall_clock_that_was_set_back_is_due(site, tmp_path, clock):
    """A confirmation from the future is none."""
    site.publish(version=7)
    clock.advance(10 * DAY)
    settings = {"cache_dir": tmp_path, "vendors": ["openai"]}
    Registry(site.url, clock=clock, **settings).load()
    earlier = type(clock)()
    registry = Registry(site.url, clock=earlier, **settings)

    assert "stale" == registry.status()["openai"].state
    registry.load()
    assert "fresh" == registry.status()["openai"].state
