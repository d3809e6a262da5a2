"""Decide which addresses may be fetched on a user's behalf. No I/O.

Otherwise a user who names a URL could make this machine ask what only this machine can reach: its own ports, its network's
services, the metadata of its cloud. The tables are IANA's registries of special addresses, not ``ipaddress.is_global``, which
differs between versions of Python and knows nothing of IPv4 inside of IPv6.
https://www.iana.org/assignments/iana-ipv4-special-registry https://www.iana.org/assignments/iana-ipv6-special-registry
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import attrs

from ..errors import ConfigError
from .addresses import secret_address
from .keywords import choices, suggest
from .validators import Texts, check_file

_NOT_PUBLIC_V4 = tuple(
    map(
        IPv4Network,
        (
            *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
            *("192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"),
            *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
            "168.63.129.16/32",  # Azure's host, asked from inside of its machines
        ),
    )
)
_UNICAST_V6 = IPv6Network("2000::/3")
"""All that is public in IPv6, less what follows."""
_NOT_PUBLIC_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
"""Among these Teredo and 6to4, which carry IPv4; mapped addresses and NAT64 lie outside of 2000::/3."""

_PRIVATE_V6 = IPv6Network("fc00::/7")
_PRIVATE_NAMES = (
    *(".localhost", ".local", ".internal", ".home.arpa", ".test"),
    *(".intranet", ".private", ".corp", ".home", ".lan", ".svc"),
)

Network = IPv4Network | IPv6Network


def is_public(address: str) -> bool:
    """Whether an address, as a resolver gives it, belongs to the open internet."""
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, IPv4Address):
        return not any(ip in network for network in _NOT_PUBLIC_V4)
    return _is_public_v6(ip)


def _is_public_v6(ip: IPv6Address) -> bool:
    return ip.scope_id is None and ip in _UNICAST_V6 and not any(ip in network for network in _NOT_PUBLIC_V6)


def is_private_url(url: str) -> bool:
    """Whether the host of an address is this machine or one of a private network, by its name or number; no name is resolved.

    Names without a dot are, and those under the names that no public domain has (RFC 6761, 6762, 8375, ICANN's "internal").
    """
    try:
        name = (urlsplit(url).hostname or "none.invalid").strip(".")
    except ValueError:
        return False
    try:
        ip = ip_address(name)
    except ValueError:
        return ("." not in name and not name.isdigit()) or name.endswith(_PRIVATE_NAMES)
    if isinstance(ip, IPv6Address) and ip.ipv4_mapped is None:
        return ip.is_loopback or ip.is_link_local or ip in _PRIVATE_V6
    return not is_public(str(ip.ipv4_mapped if isinstance(ip, IPv6Address) else ip))


def _hosts(value: Texts) -> tuple[str, ...]:
    if not isinstance(value, list | tuple | set | frozenset):
        raise ConfigError(f"fetch_remote.hosts: {value!r} is not a list; give a list such as ['*.example.com']")
    for host in value:
        if not isinstance(host, str) or not host or "/" in host or ":" in host:
            raise ConfigError(f"fetch_remote.hosts: {host!r} is not a host; give names or globs such as '*.example.com'")
    return tuple([host.lower() for host in value])


def _networks(value: Sequence[Network | str]) -> tuple[Network, ...]:
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise ConfigError(f"fetch_remote.networks: {value!r} is not a list; give a list such as ['10.1.2.0/24']")
    try:
        return tuple([ip_network(network) for network in value])
    except ValueError as foreign:
        raise ConfigError(f"fetch_remote.networks: {foreign}; give networks such as '10.1.2.0/24'") from None


def _number(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ConfigError(f"fetch_remote.{attribute.name}: {value!r} is not a number > 0")


def _path(value: str | os.PathLike[str] | None) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _proxy(_instance: Any, _attribute: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigError("fetch_remote.proxy: it is empty or no text; give an address such as 'http://proxy.example:3128'")
    if value is not None:
        from .proxies import proxy_parts  # late: it needs urllib3

        proxy_parts(value, "fetch_remote.proxy")


def _bundle(_instance: Any, _attribute: Any, value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigError("fetch_remote.ca_bundle: it is empty or no text; give the path of a PEM file, or of a folder of them")
    if value is not None:
        check_file("fetch_remote.ca_bundle", value, or_folder=True)


def _flag(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, bool):
        raise ConfigError(f"fetch_remote.{attribute.name}: {value!r} is neither True nor False")


@suggest
@attrs.frozen(kw_only=True)
class RemoteFetch:
    """What may be fetched for a vendor that takes no addresses, as ``VendorConfig(fetch_remote=...)``.

    ``hosts`` are names or globs; none means every host of the open internet. ``networks`` may be reached although they are not
    public, such as that of a server of one's own. ``max_bytes`` is the most that one address may bring, ``timeout`` the seconds
    for all that a request names, within its deadline. ``ca_bundle`` is a PEM file in place of the usual CAs. ``proxy`` is the
    address of an HTTP or SOCKS proxy; without it the one of the environment is used, where the vendor's ``trust_env`` is on. The
    proxy gets an address that was resolved and checked here; with ``proxy_resolves`` it gets the name, and has to refuse what
    must not be reached.
    """

    hosts: tuple[str, ...] = attrs.field(default=(), converter=_hosts)
    networks: tuple[Network, ...] = attrs.field(default=(), converter=_networks)
    max_bytes: int = attrs.field(default=8 * 1024 * 1024, validator=_number)
    timeout: float = attrs.field(default=20.0, validator=_number)
    ca_bundle: str | None = attrs.field(default=None, converter=_path, validator=_bundle)
    proxy: str | None = attrs.field(default=None, repr=False, converter=secret_address, validator=_proxy)
    proxy_resolves: bool = attrs.field(default=False, validator=_flag)

    @classmethod
    def of(cls, value: Any) -> RemoteFetch | None:
        """What a setting means: True is the defaults, False and ``None`` nothing, a dict its fields."""
        if value is None or value is False or isinstance(value, RemoteFetch):
            return value or None
        if value is True:
            return cls()
        if not isinstance(value, Mapping):
            raise ConfigError(f"fetch_remote: {type(value).__name__} is no permission; give True, or a dict of {_FIELDS}")
        unknown = next((key for key in value if key not in _FIELDS), None)
        if unknown is not None:
            raise ConfigError(f"fetch_remote: unknown key {unknown!r}; {choices(unknown, _FIELDS)}")
        return cls(**value)

    def allows_host(self, host: str) -> bool:
        """Whether a host may be asked at all."""
        return not self.hosts or any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def allows_address(self, address: str) -> bool:
        """Whether a resolved address may be connected to."""
        if is_public(address):
            return True
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self.networks)


_FIELDS = tuple([field.name for field in attrs.fields(RemoteFetch)])
