"""A dispatcher in an office's network: proxies, certificates and headers from a file, the environment and the constructor."""

from __future__ import annotations

import ssl

import pytest
import trustme

from llmdispatcher import (
    AnthropicVendor,
    Config,
    ConfigError,
    Dispatcher,
    DispatchError,
    FilePart,
    ImagePart,
    InvalidRequest,
    Message,
    OpenAIVendor,
    RemoteFetch,
    Request,
    VendorConfig,
    VendorUnavailable,
)
from llmdispatcher.testing import VendorSimulator

from ..cases import each
from ..transport.loopback_proxies import LOGIN, RunningProxy

KEY = "sk-test-0123456789"
NO_RETRY = {"max_retries": 0}


@pytest.fixture(scope="module")
def office(tmp_path_factory):
    """A folder with a CA's and a client's certificates, and contexts of servers by whether they want the client's."""
    folder, authority = tmp_path_factory.mktemp("office"), trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    robot = authority.issue_cert("robot@example.org")
    robot.private_key_pem.write_to_path(str(folder / "robot.key"))
    robot.cert_chain_pems[0].write_to_path(str(folder / "robot.pem"))

    def context(mutual):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(made)
        if mutual:
            made.verify_mode = ssl.CERT_REQUIRED
            authority.configure_trust(made)
        return made

    return folder, {mutual: context(mutual) for mutual in (False, True)}


@pytest.fixture
def proxy_of(office):
    """Starts proxies; those with ``login`` want it."""
    running = []

    def start(kind, **options):
        running.append(RunningProxy(kind, **options))
        running[-1].start(office[1][False])
        return running[-1]

    yield start
    for proxy in running:
        proxy.server.close()


@pytest.fixture(autouse=True)
def bare(monkeypatch):
    """No setting of the machine's own."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@each("kind", ["https", "socks5h"])
def test_a_file_has_it_all(office, proxy_of, tmp_path, monkeypatch, kind):
    """Proxy with a login from a variable, CAs, client certificate and headers: whole and streamed, over one connection each."""
    folder, contexts = office
    proxy = proxy_of(kind, login=True)
    with VendorSimulator(responses="hello", tls=contexts[True]) as simulator:
        monkeypatch.setenv("PROXY_PASSWORD", LOGIN[1].replace(" ", "%20").replace(":", "%3A"))
        (tmp_path / "llmdispatcher.toml").write_text(f"""
            [vendors.openai]
            api_key = "{KEY}"
            base_url = "{simulator.openai_url}"
            proxy = "{kind}://app:${{PROXY_PASSWORD}}@127.0.0.1:{proxy.server.port}"
            ca_bundle = '{folder / "ca.pem"}'
            client_cert = ['{folder / "robot.pem"}', '{folder / "robot.key"}']
            headers = {{ "X-Office" = "berlin" }}
            fetch_remote = {{ proxy = "http://127.0.0.1:1", proxy_resolves = true }}
            """)
        with Dispatcher.from_file(tmp_path / "llmdispatcher.toml") as dispatcher:
            for _ in range(2):
                assert "hello" == dispatcher.send(Request("gpt-4o-mini", "hi"), timeout=30).content
            with dispatcher.send_streaming(Request("gpt-4o-mini", "hi"), timeout=30) as stream:
                assert "hello" == "".join(chunk.content for chunk in stream)
        assert {"berlin"} == {one.headers["x-office"] for one in simulator.requests}
        assert 1 == simulator.connections == len(proxy.asked)
    assert {":".join(LOGIN)} == set(proxy.logins)


@each(
    "line, told",
    [
        ("client_cert = []", "vendors.openai.client_cert: this is no certificate"),
        ('client_cert = ["a", "b", "c", "d"]', "vendors.openai.client_cert: this is no certificate"),
        ("client_cert = 5", "vendors.openai.client_cert: this is no certificate"),
        ('client_cert = ["a", ""]', "vendors.openai.client_cert: this is no certificate"),
        (
            'ssl_context = "default"',
            "vendors.openai.ssl_context: str is not an ssl.SSLContext; for files use ca_bundle and client_cert",
        ),
        ("proxy = 5", "vendors.openai.proxy: "),
        ("proxy = true", "vendors.openai.proxy: it is empty or no text; give an address, False for none"),
        ('proxy = ""', "vendors.openai.proxy: it is empty or no text; give an address, False for none"),
        ('proxy = "socks6://proxy.test"', "vendors.openai.proxy: a proxy's address begins with http://, https://, socks5://"),
        ('proxy = "http://proxy.test:99999"', "vendors.openai.proxy: its address cannot be read"),
        ('client_cert = "/nowhere/robot.pem"', "vendors.openai.client_cert: '/nowhere/robot.pem' is not there; correct the path"),
        ('client_cert = ["/dev/null", "/nowhere/robot.key"]', "vendors.openai.client_cert: '/nowhere/robot.key' is not there"),
        ('client_cert = "/tmp"', "vendors.openai.client_cert: '/tmp' is a folder"),
        ('ca_bundle = "~/nowhere.pem"', "vendors.openai.ca_bundle: '~/nowhere.pem' is not there"),
        ('ca_bundle = "~nobody-of-this-name/ca.pem"', "vendors.openai.ca_bundle: '~nobody-of-this-name/ca.pem' is no path"),
        ('fetch_remote = { ca_bundle = "/nowhere.pem" }', "fetch_remote.ca_bundle: '/nowhere.pem' is not there"),
        ("fetch_remote = { ca_bundle = 5 }", "fetch_remote.ca_bundle: it is empty or no text"),
        ('fetch_remote = { proxy = "socks6://proxy.test" }', "fetch_remote.proxy: a proxy's address begins with http://"),
        ('fetch_remote = { proxy = "http://proxy.test:99999" }', "fetch_remote.proxy: its address cannot be read"),
        ('fetch_remote = { proxy = "" }', "fetch_remote.proxy: it is empty"),
        ('fetch_remote = { proxy_resolves = "yes" }', "fetch_remote.proxy_resolves: 'yes' is neither True nor False"),
    ],
)
def test_mistakes_in_a_file_are_told_with_their_place(tmp_path, line, told):
    """Before anything is asked."""
    (tmp_path / "llmdispatcher.toml").write_text(f"[vendors.openai]\n{line}\n")
    with pytest.raises(ConfigError) as caught:
        Dispatcher.from_file(tmp_path / "llmdispatcher.toml")
    assert told in str(caught.value), str(caught.value)


def test_a_context_beside_certificates_is_a_contradiction():
    """Which of them counts could not be told."""
    for name in ("ca_bundle", "client_cert"):
        with pytest.raises(ConfigError, match=f"ssl_context: it stands in for {name}"):
            VendorConfig(ssl_context=ssl.create_default_context(), **{name: "a.pem"})


def test_settings_show_no_password(tmp_path):
    """Of a proxy or a key, in a repr."""
    files = tmp_path / "a.pem", tmp_path / "b.pem"
    for file in files:
        file.touch()
    config = VendorConfig(
        client_cert=(*files, "hunter22"),
        proxy="socks5h://app:hunter22@proxy.test",
        fetch_remote=RemoteFetch(proxy="https://app:hunter22@proxy.test"),
    )
    assert "hunter22" not in f"{config!r} {OpenAIVendor(config)!r} {config.fetch_remote!r}"
    assert (*map(str, files), "hunter22") == config.client_cert


@each("kind, variable", [("socks5h", "ALL_PROXY"), ("https", "HTTPS_PROXY"), ("http", "https_proxy"), ("socks5", "all_proxy")])
def test_from_env_goes_by_the_environments_proxy(office, proxy_of, monkeypatch, kind, variable):
    """Address, key, proxy and CAs, all of variables; NO_PROXY leaves a host out."""
    proxy = proxy_of(kind)
    with VendorSimulator(responses="hello", tls=office[1][False]) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.openai_url)
        monkeypatch.setenv(variable, proxy.url().replace("socks5h", "socks"))
        monkeypatch.setenv("SSL_CERT_FILE", str(office[0] / "ca.pem"))
        for asked in (1, 1):
            with Dispatcher.from_env() as dispatcher:
                assert "hello" == dispatcher.send(Request("openai:gpt-4o-mini", "hi"), timeout=30).content
            assert asked == len(proxy.asked)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.delenv("NO_PROXY")
        with Dispatcher() as dispatcher:
            dispatcher.register_vendor(OpenAIVendor(proxy=False))
            assert "hello" == dispatcher.send(Request("gpt-4o-mini", "hi"), timeout=30).content
        assert 1 == len(proxy.asked)


@each("kind, secure", [("http", True), ("http", False), ("https", True), ("https", False), ("socks5h", True)])
@each("streamed", [False, True])
def test_a_vendor_without_that_proxy_answers_in_place_of_one_behind_it(office, proxy_of, kind, secure, streamed):
    """A proxy that wants a login is told by name, is asked once, and the call fails over."""
    folder, contexts = office
    proxy = proxy_of(kind, login=True)
    behind, direct = VendorSimulator(tls=contexts[False] if secure else None), VendorSimulator(responses="hello")
    with behind, direct, Dispatcher(Config(fallback_vendor="anthropic")) as dispatcher:
        ca, url = str(folder / "ca.pem"), behind.openai_url
        dispatcher.register_vendor(OpenAIVendor(api_key=KEY, base_url=url, proxy=proxy.url(), ca_bundle=ca))
        dispatcher.register_vendor(AnthropicVendor(api_key=KEY, base_url=direct.anthropic_url))
        asked = Request("gpt-4o", "hi")
        if streamed:
            with dispatcher.send_streaming(asked, timeout=30) as stream:
                answer = stream.response()
        else:
            answer = dispatcher.send(asked, timeout=30)
        assert ("hello", "anthropic") == (answer.content, answer.vendor)
        first = answer.trace.attempts[0]
        assert ("openai", "VendorUnavailable") == (first.vendor, first.error)
        assert 2 == len(answer.trace.attempts)
        assert 1 == proxy.server.connections
        assert [] == behind.requests
        with pytest.raises(VendorUnavailable, match="write them into proxy, as"):
            dispatcher.send_to_vendor("openai", asked, timeout=30)


def test_a_file_that_another_vendor_has_is_not_asked_for_here():
    """Where nobody else is left, the error says who has it."""
    with VendorSimulator(responses="hello") as simulator, Dispatcher() as dispatcher:
        dispatcher.register_vendor(AnthropicVendor(api_key=KEY, base_url=simulator.anthropic_url))
        for part in (FilePart(file_id="file-1", vendor="openai"), ImagePart(file_id="file-1", vendor="openai")):
            for send in (dispatcher.send, lambda asked: dispatcher.send_to_vendor("anthropic", asked)):
                with pytest.raises(DispatchError, match="a file that openai has") as caught:
                    send(Request("claude-sonnet-4-6", [Message.user("What?", part)]))
                assert isinstance(caught.value, InvalidRequest), type(caught.value)
        assert [] == simulator.requests
        own = FilePart(file_id="file_1", media_type="application/pdf", vendor="Anthropic")
        assert "hello" == dispatcher.send(Request("claude-sonnet-4-6", [Message.user("What?", own)]), timeout=30).content
