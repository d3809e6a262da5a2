"""Which addresses are public, and what a permission to fetch means."""

from __future__ import annotations

import pytest

from llmdispatcher import ConfigError, RemoteFetch
from llmdispatcher.types.remote import is_private_url, is_public

from ..cases import each

REFUSED = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "192.88.99.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::1",
    "100::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "2606:4700::1%eth0",
    "fec0::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:a9fe:a9fe::",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "localhost",
    "0x7f000001",
    "",
]


@each("address", REFUSED)
def test_special_addresses_are_not_public(address):
    """This machine, its networks, clouds' metadata, multicast, and every way to carry IPv4 in IPv6."""
    assert not is_public(address)


@each("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "172.15.255.255", "223.255.255.255", "2606:4700:4700::1111"])
def test_ordinary_addresses_are_public(address):
    """Neighbours of special blocks included."""
    assert is_public(address)


@each(
    "host",
    [
        "localhost",
        "LOCALHOST:8000",
        "app.localhost",
        "127.0.0.1:11434",
        "0.0.0.0",
        "10.1.2.3",
        "192.168.0.9:1234",
        "172.20.0.2",
        "100.101.102.103",
        "169.254.1.1",
        "[::1]:8000",
        "[fd00::1]",
        "[fe80::1]",
        "[::ffff:10.0.0.1]",
        "vllm:8000",
        "ollama",
        "gpu.local",
        "gpu.local.",
        "host.docker.internal",
        "vllm.models.svc",
        "vllm.models.svc.cluster.local",
        "box.lan",
        "nas.home.arpa",
    ],
)
def test_servers_of_a_private_network_are_told_by_their_address(host):
    """By number, by a name without a dot, or by one that no public domain has; nobody is asked."""
    assert is_private_url(f"http://{host}")
    assert is_private_url(f"HTTPS://{host}/v1")


@each(
    "url",
    [
        "https://api.example.com/v1",
        "https://ollama.com",
        "https://8.8.8.8/v1",
        "https://[2606:4700:4700::1111]/v1",
        "https://[::ffff:8.8.8.8]",
        "https://local.example.com",
        "https://localhost.example.com",
        "http://134744072",
        "http://",
        "",
        "no address",
        "http://[broken",
    ],
)
def test_other_addresses_are_not_private(url):
    """Names that may be anybody's, public numbers, and what is no address."""
    assert not is_private_url(url)


@each("setting, expected", [(True, RemoteFetch()), (False, None), (None, None), ({}, RemoteFetch())])
def test_a_setting_becomes_a_permission(setting, expected):
    """True is the defaults, False is none."""
    assert expected == RemoteFetch.of(setting)


def test_a_permission_is_itself():
    """It may be shared by vendors."""
    allow = RemoteFetch(hosts=["example.com"])

    assert allow is RemoteFetch.of(allow)


def test_hosts_are_globs_in_lower_case():
    """None means all."""
    allow = RemoteFetch(hosts=["*.Example.com", "example.com"])

    assert [True, True, False] == [allow.allows_host(host) for host in ("a.example.com", "example.com", "example.com.evil.org")]
    assert RemoteFetch().allows_host("anything.org")


def test_networks_are_allowed_besides():
    """A server of one's own, and nothing else that is not public."""
    allow = RemoteFetch(networks=["10.1.2.0/24"])

    assert [True, False, True] == [allow.allows_address(address) for address in ("10.1.2.3", "10.1.3.3", "8.8.8.8")]
    assert not allow.allows_address("no address")


@each(
    "setting, word",
    [
        ("yes", "str is no permission"),
        ({"host": []}, "unknown key 'host'"),
        ({"hosts": "example.com"}, "is not a list"),
        ({"hosts": ["https://example.com"]}, "is not a host"),
        ({"hosts": [1]}, "is not a host"),
        ({"networks": "10.0.0.0/8"}, "is not a list"),
        ({"networks": ["10.0.0.1/8"]}, "has host bits set"),
        ({"max_bytes": 0}, "max_bytes: 0 is not a number > 0"),
        ({"timeout": True}, "timeout: True is not a number > 0"),
    ],
)
def test_a_wrong_setting_is_named(setting, word):
    """With its path and what to give."""
    with pytest.raises(ConfigError) as caught:
        RemoteFetch.of(setting)

    assert "fetch_remote" in str(caught.value)
    assert word in str(caught.value)
