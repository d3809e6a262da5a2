"""Fetching for vendors that cannot, over real sockets, against servers that misbehave and a name server that lies."""

from __future__ import annotations

import base64
import json
import socket

import attrs
import pytest

from llmdispatcher import (
    Cancellation,
    Cancelled,
    Deadline,
    DeadlineExceeded,
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    OllamaVendor,
    RemoteFetch,
    Request,
    TextPart,
    VendorConfig,
    VideoPart,
)
from llmdispatcher.testing import VendorSimulator
from llmdispatcher.transport import fetch_remote
from llmdispatcher.transport.dns import RESOLVER
from llmdispatcher.transport.fetch import MAX_ADDRESSES

from ..cases import each
from .loopback_proxies import LOGIN, RunningProxy

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
HOST = "vendor.test"
URL = f"https://{HOST}/photo.png?size=large&q=a b".replace(" ", "%20")


class LyingResolver:
    """Stands in for the system's: gives scripted addresses, one list for each question, the last one again and again."""

    def __init__(self) -> None:
        self.script = [["127.0.0.1"]]
        self.port = 443
        self.asked = []
        self.system = socket.getaddrinfo

    def __call__(self, host, port, **options):
        if host == "127.0.0.1":
            return self.system(host, port, **options)
        self.asked.append(host)
        found = self.script[min(len(self.asked), len(self.script)) - 1]
        return [(self.family(address), socket.SOCK_STREAM, 6, "", self.where(address)) for address in found]

    def family(self, address):
        return socket.AF_INET6 if ":" in address else socket.AF_INET

    def where(self, address):
        return (address, self.port, 0, 0) if ":" in address else (address, self.port)


@pytest.fixture
def resolver(monkeypatch):
    """The lying one, in place of the system's, with nothing remembered."""
    lying = LyingResolver()
    RESOLVER.reset()
    monkeypatch.setattr(socket, "getaddrinfo", lying)
    yield lying
    RESOLVER.reset()


@pytest.fixture
def files(serve, resolver):
    """A server that the name leads to; ``answer`` is what it does."""

    class Files:
        requests: list

        def __init__(self) -> None:
            self.answer = lambda peer, _request: peer.reply(200, PNG, content_type="image/png")
            self.line = serve(lambda peer, request: self.answer(peer, request), secure=True)
            self.requests = self.line.server.requests
            resolver.port = self.line.server.port

    return Files()


@pytest.fixture
def allow(ca_file):
    """The loopback is allowed as a network of one's own."""
    return RemoteFetch(networks=["127.0.0.0/8"], ca_bundle=ca_file)


def asking(*parts):
    """A request that shows these."""
    return Request("m", [Message.user("What?", *parts)])


def refusal(allow, *parts, speaks=("ollama",), seconds=30.0):
    """The text of the InvalidRequest that fetching ends with."""
    with pytest.raises(InvalidRequest) as caught:
        fetch_remote(asking(*parts or (ImagePart(url=URL),)), allow, Deadline.after(seconds), *speaks)
    assert caught.value.try_elsewhere
    return str(caught.value)


def test_an_image_is_fetched(files, allow):
    """Its address is replaced by its bytes; everything else stays as it is."""
    request = asking(ImagePart(url=URL, detail="low", cache="5m"))

    fetched = fetch_remote(request, allow, Deadline.after(30.0), "ollama")

    expected = ImagePart(data=PNG, media_type="image/png", detail="low", cache="5m")
    assert (TextPart(text="What?"), expected) == fetched.messages[0].content


def test_the_server_is_asked_plainly(files, allow):
    """Path and query as they were, the host's name, and nothing that identifies the user."""
    fetch_remote(asking(ImagePart(url=URL)), allow, Deadline.after(30.0), "ollama")
    request = files.requests[0]

    assert ("GET", "/photo.png?size=large&q=a%20b", HOST) == (request.method, request.target, request.headers["host"])
    assert {"host", "accept", "accept-encoding", "user-agent", "content-length"} == set(request.headers)


def test_letters_beyond_ascii_in_a_path_are_encoded(files, allow):
    """As every browser does."""
    fetch_remote(asking(ImagePart(url=f"https://{HOST}/grün.png")), allow, Deadline.after(30.0), "ollama")

    assert "/gr%C3%BCn.png" == files.requests[0].target


def test_an_address_named_twice_is_fetched_once(files, allow):
    """Both parts get the bytes."""
    fetched = fetch_remote(asking(ImagePart(url=URL), ImagePart(url=URL)), allow, Deadline.after(30.0), "ollama")

    assert 1 == len(files.requests)
    assert [PNG, PNG] == [part.data for part in fetched.messages[0].content[1:]]


@each(
    "body, told, path, expected",
    [
        (b"%PDF-1.4 x", "application/octet-stream", "/x", "application/pdf"),
        (b"a,b\n", "text/csv; charset=utf-8", "/x", "text/csv"),
        (b"# Hi", "text/plain", "/x.md", "text/markdown"),
    ],
)
def test_a_document_is_of_the_kind_that_it_is(files, allow, body, told, path, expected):
    """The bytes tell, then the name, then the server."""
    files.answer = lambda peer, _request: peer.reply(200, body, content_type=told)
    part = FilePart(url=f"https://{HOST}{path}", name="x")

    fetched = fetch_remote(asking(part), allow, Deadline.after(30.0), "openai_chat")

    assert FilePart(data=body, media_type=expected, name="x") == fetched.messages[0].content[1]


@each("speaks", ["anthropic_messages", "openai_responses"])
def test_who_takes_addresses_gets_them(speaks, allow):
    """Nothing is fetched, the request is the same one."""
    request = asking(ImagePart(url=URL), FilePart(url=URL))

    assert request is fetch_remote(request, allow, Deadline.after(30.0), speaks)


def test_nothing_is_fetched_unless_allowed(resolver):
    """The default."""
    request = asking(ImagePart(url=URL))

    assert request is fetch_remote(request, None, Deadline.after(30.0), "ollama")
    assert [] == resolver.asked


@each(
    "speaks, part",
    [
        ("openai_chat", ImagePart(url=URL)),
        ("openai_chat", VideoPart(url=URL)),
        ("gemini", VideoPart(url="https://www.youtube.com/watch?v=x")),
        ("gemini", FilePart(url="https://generativelanguage.googleapis.com/v1beta/files/x")),
        ("gemini", FilePart(url="gs://bucket/x.pdf")),
        ("ollama", ImagePart(url="data:image/png;base64,AAAA")),
        ("ollama", ImagePart(data=PNG, media_type="image/png")),
    ],
)
def test_what_a_format_takes_by_address_stays(speaks, part, allow, resolver):
    """Images for OpenAI, Google's own places for Gemini, and what is no address at all."""
    request = asking(part)

    assert request is fetch_remote(request, allow, Deadline.after(30.0), speaks)
    assert [] == resolver.asked


def test_the_vendor_kind_goes_before_its_format(files, allow):
    """Ollama takes no address, although the format that it is asked in has a place for one."""
    fetched = fetch_remote(asking(ImagePart(url=URL)), allow, Deadline.after(30.0), "ollama", "openai_chat")

    assert PNG == fetched.messages[0].content[1].data


@each("address", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe", "fd00:ec2::254"])
def test_a_name_that_leads_inside_is_refused(address, files, resolver, ca_file):
    """Nobody is connected to."""
    resolver.script = [[address]]

    assert f"{HOST} leads to an address that is not public" in refusal(RemoteFetch(ca_bundle=ca_file))
    assert 0 == files.line.server.connections


def test_one_inner_address_among_public_ones_is_enough(files, resolver, ca_file):
    """Whoever mixes them wants the second attempt to go astray."""
    resolver.script = [["8.8.8.8", "127.0.0.1"]]

    assert "not public" in refusal(RemoteFetch(ca_bundle=ca_file))
    assert 0 == files.line.server.connections


def test_a_name_is_resolved_once(files, resolver, allow):
    """A server that answers with another address a moment later is not asked: the judged address is the one connected to."""
    resolver.script = [["127.0.0.1"], ["10.0.0.1"]]

    fetch_remote(asking(ImagePart(url=URL)), allow, Deadline.after(30.0), "ollama")

    assert [HOST] == resolver.asked


def test_a_rebound_name_is_judged_again(files, resolver, allow):
    """What was good for one call is not for the next one, if the name has moved inside meanwhile."""
    resolver.script = [["127.0.0.1"], ["10.0.0.1"]]
    fetch_remote(asking(ImagePart(url=URL)), allow, Deadline.after(30.0), "ollama")
    RESOLVER.reset()

    assert "not public" in refusal(allow)


@each("host", ["127.0.0.1", "[::1]", "169.254.169.254", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
def test_spellings_of_inner_addresses_are_refused(host):
    """Judged after the system has read them, whatever they look like."""
    assert "not public" in refusal(RemoteFetch(), ImagePart(url=f"https://{host}/a.png"))


@each(
    "url, word",
    [
        (f"http://{HOST}/a.png", "only https://"),
        (f"https://{HOST}:8443/a.png", "at the usual port"),
        (f"https://{HOST}:x/a.png", "cannot be read"),
        (f"https://user:pass@{HOST}/a.png", "an address with a user"),
        (f"https://evil.test\\@{HOST}/a.png", "an address with a user"),
        (f"https://{HOST}/a.png\r\nX: y", "control characters"),
        (f"https://{HOST}/a b.png", "blanks"),
        ("https://bücher.test/a.png", "beyond ASCII"),
        ("https:///a.png", "only https://"),
        ("https://[::1/a.png", "cannot be read"),
    ],
)
def test_odd_addresses_are_refused_unasked(url, word, resolver, allow):
    """No name is resolved for them."""
    assert word in refusal(allow, ImagePart(url=url))
    assert [] == resolver.asked


def test_the_usual_port_may_be_spelt_out(files, allow):
    """443 is what https means."""
    fetched = fetch_remote(asking(ImagePart(url=f"https://{HOST}:443/a.png")), allow, Deadline.after(30.0), "ollama")

    assert PNG == fetched.messages[0].content[1].data


def test_other_hosts_than_allowed_are_refused(resolver, ca_file):
    """The list is a list."""
    told = refusal(RemoteFetch(hosts=["*.example.com"], networks=["127.0.0.0/8"], ca_bundle=ca_file))

    assert f"{HOST} is not among the hosts" in told
    assert [] == resolver.asked


def test_a_redirect_is_not_followed(files, allow):
    """Where it leads was not judged."""
    files.answer = lambda peer, _request: peer.reply(302, b"", ("Location", "https://127.0.0.1/"))

    assert f"{HOST} answered with status 302; give the address that it leads to" in refusal(allow)
    assert 1 == len(files.requests)


def test_a_missing_file_is_told(files, allow):
    """By its status, without the rest of the address, which may hold a signature."""
    files.answer = lambda peer, _request: peer.reply(404, b"no")
    told = refusal(allow)

    assert f"{HOST} answered with status 404" in told
    assert "photo" not in told
    assert "size" not in told


@each("honest", [True, False])
def test_too_much_is_cut_off(files, ca_file, honest):
    """Announced or not."""

    def answer(peer, _request):
        if honest:
            peer.reply(200, PNG * 100)
        else:
            peer.head(200)
            peer.send(PNG * 100)
        return True

    files.answer = answer

    assert "longer than 1000 bytes" in refusal(RemoteFetch(networks=["127.0.0.0/8"], ca_bundle=ca_file, max_bytes=1000))


def test_nothing_is_no_file(files, allow):
    """An empty answer is told."""
    files.answer = lambda peer, _request: peer.reply(200, b"")

    assert f"{HOST} sent nothing" in refusal(allow)


@each(
    "part, body, word",
    [
        (ImagePart(url=URL), b"<!doctype html><p>Log in", "sent text/html where an image was asked for"),
        (VideoPart(url=URL), PNG, "sent image/png where a video was asked for"),
        (FilePart(url=URL), b"\0\1\2", "sent bytes of no known kind where a document was asked for"),
    ],
)
def test_another_kind_is_refused(files, allow, part, body, word):
    """A page where a picture should be never reaches the model."""
    files.answer = lambda peer, _request: peer.reply(200, body)

    assert word in refusal(allow, part)


def test_a_trickle_ends_with_the_time_for_fetching(files, ca_file):
    """However slowly it goes on, and although the call's own deadline is far away."""

    def answer(peer, _request):
        peer.head(200, ("Content-Length", "1000000"))
        peer.trickle(PNG * 100, 0.01)
        return True

    files.answer = answer
    allow = RemoteFetch(networks=["127.0.0.0/8"], ca_bundle=ca_file, timeout=0.2)

    assert "not fetched within 0.2 s" in refusal(allow)


def test_the_calls_deadline_is_the_calls_error(files, allow):
    """It ends fetching as it ends everything."""
    files.answer = lambda peer, _request: peer.wait()
    with pytest.raises(DeadlineExceeded):
        fetch_remote(asking(ImagePart(url=URL)), allow, Deadline.after(0.2), "ollama")


def test_a_cancelled_call_fetches_nothing(files, allow, resolver):
    """It is the caller's own end."""
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(Cancelled):
        fetch_remote(asking(ImagePart(url=URL)), allow, Deadline.after(30.0, cancellation=cancel), "ollama")


def test_a_certificate_must_be_good(files, resolver):
    """The usual CAs do not know this one."""
    assert f"the answer of {HOST} failed (tls)" in refusal(RemoteFetch(networks=["127.0.0.0/8"]))


def test_an_unknown_name_is_told(allow, resolver, monkeypatch):
    """As failed, not as refused."""

    def unknown(*_arguments, **_options):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    assert f"the answer of {HOST} failed (dns)" in refusal(allow)


def test_a_request_may_not_name_too_many(allow, resolver):
    """Nobody is made to fetch the whole net."""
    parts = [ImagePart(url=f"https://{HOST}/{number}.png") for number in range(MAX_ADDRESSES + 1)]

    assert f"more than {MAX_ADDRESSES}" in refusal(allow, *parts)
    assert [] == resolver.asked


def test_results_of_tools_are_filled_as_well(files, allow):
    """Not only what the user says."""
    request = Request("m", [Message.user("Hi"), Message("tool", [ImagePart(url=URL)], tool_call_id="1")])

    assert PNG == fetch_remote(request, allow, Deadline.after(30.0), "ollama").messages[1].content[0].data


@each("streamed", [False, True])
def test_a_vendor_fetches_what_it_is_allowed(files, allow, streamed):
    """Ollama is sent the bytes, in the call itself."""
    with VendorSimulator(responses="A cat.") as simulator:
        vendor = OllamaVendor(base_url=simulator.openai_url, api_key="simulated", fetch_remote=allow, trust_env=False)
        if streamed:
            list(vendor.stream(asking(ImagePart(url=URL)), Deadline.after(30.0)))
        else:
            vendor.send(asking(ImagePart(url=URL)), Deadline.after(30.0))
        vendor.close()

    assert base64.b64encode(PNG).decode() in json.dumps(simulator.requests[0].json)
    assert URL not in json.dumps(simulator.requests[0].json)


def test_a_vendor_fetches_nothing_by_itself():
    """The permission is the user's to give, in whichever form."""
    assert VendorConfig().fetch_remote is None
    assert RemoteFetch() == VendorConfig(fetch_remote=True).fetch_remote
    assert RemoteFetch(hosts=["x.test"]) == VendorConfig(fetch_remote={"hosts": ["x.test"]}).fetch_remote


@pytest.fixture
def behind_proxy(files, server_tls):
    """Proxies before the server of the files, by kind."""
    running = []

    def start(kind, **options):
        proxy = RunningProxy(kind, **options)
        proxy.ports[443] = files.line.server.port
        proxy.start(server_tls)
        running.append(proxy)
        return proxy

    yield start
    for proxy in running:
        proxy.server.close()


@each("kind", ["http", "https", "socks5", "socks5h", "socks4"])
def test_a_proxy_gets_an_address_that_was_checked_here(files, behind_proxy, allow, resolver, kind):
    """Each kind: the name is resolved and judged here, and the certificate is still that of the name."""
    resolver.asked.clear()
    RESOLVER.reset()
    proxy = behind_proxy(kind)
    given = attrs.evolve(allow, proxy=proxy.url(LOGIN if kind != "socks4" else None))
    resolver.port = 443
    fetched = fetch_remote(asking(ImagePart(url=URL)), given, Deadline.after(30.0), "ollama")

    assert PNG == fetched.messages[0].content[1].data
    assert ["127.0.0.1:443"] == proxy.asked
    assert [HOST] == resolver.asked


def test_a_name_that_leads_inside_is_refused_before_a_proxy_too(files, behind_proxy, ca_file, resolver):
    """The proxy is not asked, whatever it could reach."""
    resolver.script = [["93.184.216.34", "10.0.0.5"]]
    proxy = behind_proxy("http")
    assert "not public" in refusal(RemoteFetch(ca_bundle=ca_file, proxy=proxy.url()))
    assert [] == proxy.asked


@each("url, right", [(URL, True), ("https://127.0.0.1/x", False), ("https://10.0.0.5/x", False), ("https://[::1]/x", False)])
def test_a_trusted_proxy_resolves_names(files, behind_proxy, ca_file, resolver, url, right):
    """It gets the name; an address that is not public is refused all the same."""
    resolver.script, resolver.asked, hosts = [[]], [], [HOST] if right else []
    proxy = behind_proxy("http")
    given = RemoteFetch(hosts=hosts, ca_bundle=ca_file, proxy=proxy.url(), proxy_resolves=True)
    if right:
        fetch_remote(asking(ImagePart(url=url)), given, Deadline.after(30.0), "ollama")
        assert [f"{HOST}:443"] == proxy.asked
    else:
        assert "not public" in refusal(given, ImagePart(url=url))
        assert [] == proxy.asked
    assert [] == resolver.asked


@each(
    "host", ["localhost", "metadata.google.internal", "printer", "127.1", "0x7f000001", "2130706433", "intranet.corp", "1.2.3.0x04"]
)
def test_a_trusted_proxy_is_not_asked_for_inner_names(files, behind_proxy, ca_file, host):
    """Names of this machine and of private networks, and numbers in other spellings; hosts= can allow a name."""
    proxy = behind_proxy("http", refusal=403)
    given = RemoteFetch(ca_bundle=ca_file, proxy=proxy.url(), proxy_resolves=True)
    assert "not public" in refusal(given, ImagePart(url=f"https://{host}/x.png"))
    assert "(403)" in refusal(attrs.evolve(given, hosts=(host,)), ImagePart(url=f"https://{host}/x.png"))


def test_what_a_proxy_refuses_is_told(files, behind_proxy, allow, resolver):
    """That it decides by name may be the reason; a login that it wants is told with the field."""
    proxy = behind_proxy("http", refusal=403)
    assert "fetch_remote.proxy_resolves=True gives it the name" in refusal(attrs.evolve(allow, proxy=proxy.url()))
    proxy.login = True
    assert "write them into fetch_remote.proxy" in refusal(attrs.evolve(allow, proxy=proxy.url()))


def test_the_environments_proxy_is_used_where_the_vendor_trusts_it(files, behind_proxy, allow, resolver, monkeypatch):
    """HTTPS_PROXY and NO_PROXY count for what is fetched as they do for the vendor."""
    proxy = behind_proxy("http")
    resolver.port = 443
    monkeypatch.setenv("HTTPS_PROXY", proxy.url())
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with VendorSimulator() as simulator:
        for trust_env in (True, False):
            vendor = OllamaVendor(base_url=f"{simulator.url}", fetch_remote=allow, trust_env=trust_env)
            resolver.port = 443 if trust_env else files.line.server.port
            RESOLVER.reset()
            vendor.send(asking(ImagePart(url=URL)), Deadline.after(30.0))
            vendor.close()
    assert ["127.0.0.1:443"] == proxy.asked
