"""``VendorConfig``: how one vendor is reached. Every mistake is reported with its path."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

import attrs

from ..errors import ConfigError
from ..resilience import RateLimit
from ..transport import ClientCert, Proxy, SslContext
from ..types import (
    RemoteFetch,
    Secret,
    Texts,
    at_least,
    base_url,
    boolean,
    build,
    choices,
    integer,
    mapping,
    optional_non_blank,
    optional_seconds,
    seconds_or_auto,
    secret_address,
    string_tuple,
    suggest,
)
from .raw import check_size
from .secrets import PUBLIC_HEADERS


def _rate_limit(value: RateLimit | Mapping[str, Any] | None) -> RateLimit | None:
    return None if value is None else build(RateLimit, value, "rate_limit")


def _globs(value: Texts) -> tuple[str, ...]:
    return string_tuple("models", value)


def _address(value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ConfigError(f"base_url: {type(value).__name__} is not an address; it begins with https:// (or http://) and a host")
    return base_url(value)


def without_ends(key: str) -> str:
    """A key without what files put around it: line ends, blanks, a byte-order mark."""
    return key.strip().strip("\ufeff").strip()


def _keys(value: _Keys | None) -> Any:
    if isinstance(value, list | tuple):
        return tuple([Secret(without_ends(key)) if isinstance(key, str) else key for key in value])
    return Secret(without_ends(value)) if isinstance(value, str) else value


def _key(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value == ():
        raise ConfigError(f"{attribute.name}: the list of keys is empty; give at least one, or leave it out")
    for key in value if isinstance(value, tuple) else (value,):
        if not callable(key):
            _secret(instance, attribute, key)


def _secret(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigError(f"{attribute.name}: it is empty or no text; leave it out to read the environment")


def _words(instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    mapping(instance, attribute, value)
    for key, text in value.items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise ConfigError(f"{attribute.name}[{key!r}]: {type(text).__name__} is not a text; names and values are strings")


def _header(name: Any, text: str) -> str:
    return text.strip() if str(name).lower() in PUBLIC_HEADERS else Secret(text.strip())


def _headers(value: Mapping[str, str]) -> Mapping[str, str]:
    if isinstance(value, Mapping):
        value = {name: _header(name, text) if isinstance(text, str) else text for name, text in value.items()}
    return value  # the validator reports mistakes


def _api(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value not in (None, "chat", "responses"):
        raise ConfigError(f"{attribute.name}: {value!r} is not an API; use 'chat' or 'responses', or leave the choice to the model")


def _size(_instance: Any, _attribute: attrs.Attribute[Any], value: Any) -> None:
    check_size(value)


def _fetch(value: RemoteFetch | Mapping[str, Any] | bool | None) -> RemoteFetch | None:
    return RemoteFetch.of(value)


_Path = str | os.PathLike[str]
_Cert = _Path | Sequence[_Path]


def _path(value: _Path | None) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _cert(value: _Cert | None) -> Any:
    parts = value if isinstance(value, list | tuple) else () if value is None else (value,)
    return None if value is None else tuple([_path(part) for part in parts[:2]] + [_secret_text(part) for part in parts[2:]])


def _secret_text(value: Any) -> Any:
    return Secret(value) if isinstance(value, str) else value


def _certificate(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not (1 <= len(value) <= 3 and all(isinstance(part, str) and part.strip() for part in value)):
        raise ConfigError(
            f"{attribute.name}: this is no certificate; give a PEM file, (certificate, key), or (certificate, key, password)"
        )


def _tls(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not hasattr(value, "wrap_bio"):
        raise ConfigError(
            f"{attribute.name}: {type(value).__name__} is not an ssl.SSLContext; for files use ca_bundle and client_cert"
        )


def _proxy_address(value: str | Literal[False] | None) -> Any:
    return secret_address(value) if isinstance(value, str) else value


def _proxy(_instance: Any, attribute: attrs.Attribute[Any], value: Any) -> None:
    if value is not False and value is not None and (not isinstance(value, str) or not value.strip()):
        raise ConfigError(
            f"{attribute.name}: it is empty or no text; give an address, False for none, or leave it out to read the environment"
        )
    if value:
        Proxy.of(value, attribute.name)


_Keys = str | Callable[[], str] | Sequence[str | Callable[[], str]]


class VendorSettings(TypedDict, total=False):
    """The fields of :class:`VendorConfig`, as keywords of a vendor."""

    api_key: _Keys | None
    base_url: str | None
    timeout: float | None
    headers: Mapping[str, str]
    name: str | None
    models: Texts
    model_map: Mapping[str, str]
    default_model: str | None
    api: str | None
    api_version: str | None
    connect_timeout: float | None
    first_byte_timeout: float | Literal["auto"] | None
    idle_timeout: float | Literal["auto"] | None
    progress_timeout: float | Literal["auto"] | None
    max_body: int | None
    drop_params: bool
    rate_limit: RateLimit | Mapping[str, Any] | None
    pool_size: int
    keepalive_expiry: float | None
    fetch_remote: RemoteFetch | Mapping[str, Any] | bool | None
    trust_env: bool
    ca_bundle: str | os.PathLike[str] | None
    client_cert: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None
    ssl_context: SslContext | None
    proxy: str | Literal[False] | None


@suggest
@attrs.frozen(kw_only=True)
class VendorConfig:
    """How one vendor is reached. Times are seconds, ``None`` for no limit of its own beside the call's deadline.

    ``timeout`` is one whole attempt at this vendor; ``connect_timeout`` covers name, TCP and TLS; ``first_byte_timeout`` the
    silence before an answer's head, ``idle_timeout`` the silence within it, ``progress_timeout`` a stream that only pings. The
    default of the two silences, "auto", is 60 s for a stream (300 s for one of the gateway), and none for an answer in one piece,
    which is silent until it is whole; "auto" pings are 120 s, and no limit for the gateway.
    ``keepalive_expiry`` is how long a connection may lie idle and be used again.
    ``model_map`` maps globs of asked names to this vendor's names, ``default_model`` serves names that it does not have,
    ``models`` (globs), where given, are the only names that it is asked for.
    ``max_body`` is the most bytes that an answer may have, a stream in all; without it 8 MiB, more where pictures, sound, vectors
    or log probabilities are asked for, and for a stream, whose every piece comes in an envelope of its own.
    ``api_key`` may be a list of keys, of which the next is used while one is refused, limited or spent, or a function that gives
    a fresh token for each call. ``api`` is "chat" or "responses" for vendors of OpenAI's
    kind; without it each model is asked by the one that it needs. ``drop_params`` leaves out, with a log line, what the vendor
    cannot express. ``fetch_remote`` (True, or a :class:`~llmdispatcher.RemoteFetch`) lets what a request names by address
    be fetched where the vendor cannot. ``api_version`` is Azure's; ``trust_env`` reads proxy and CA bundle from the standard
    environment variables. ``proxy`` is the address of an HTTP or SOCKS proxy; False is none, whatever the environment says.
    ``ca_bundle`` is a PEM file, or a folder, with the CAs to trust; ``client_cert`` a PEM file with certificate and key,
    (certificate, key), or (certificate, key, password). ``ssl_context``, an :class:`ssl.SSLContext`, stands in for both, and is
    not changed.
    """

    api_key: str | tuple[str, ...] | Callable[[], str] | None = attrs.field(
        default=None, repr=False, converter=_keys, validator=_key
    )
    base_url: str | None = attrs.field(default=None, converter=_address)
    timeout: float | None = attrs.field(default=None, validator=optional_seconds)
    headers: Mapping[str, str] = attrs.field(factory=dict, repr=False, converter=_headers, validator=_words)
    name: str | None = attrs.field(default=None, validator=optional_non_blank)
    models: tuple[str, ...] = attrs.field(default=(), converter=_globs)
    model_map: Mapping[str, str] = attrs.field(factory=dict, validator=_words)
    default_model: str | None = attrs.field(default=None, validator=optional_non_blank)
    api: str | None = attrs.field(default=None, validator=_api)
    api_version: str | None = attrs.field(default=None, validator=optional_non_blank)
    connect_timeout: float | None = attrs.field(default=5.0, validator=optional_seconds)
    first_byte_timeout: float | Literal["auto"] | None = attrs.field(default="auto", validator=seconds_or_auto)
    idle_timeout: float | Literal["auto"] | None = attrs.field(default="auto", validator=seconds_or_auto)
    progress_timeout: float | Literal["auto"] | None = attrs.field(default="auto", validator=seconds_or_auto)
    max_body: int | None = attrs.field(default=None, validator=_size)
    drop_params: bool = attrs.field(default=False, validator=boolean)
    rate_limit: RateLimit | None = attrs.field(default=None, converter=_rate_limit)
    pool_size: int = attrs.field(default=128, validator=integer)
    keepalive_expiry: float | None = attrs.field(default=60.0, validator=at_least(0))
    fetch_remote: RemoteFetch | None = attrs.field(default=None, converter=_fetch)
    trust_env: bool = attrs.field(default=True, validator=boolean)
    ca_bundle: str | None = attrs.field(default=None, converter=_path, validator=optional_non_blank)
    client_cert: ClientCert | None = attrs.field(default=None, converter=_cert, validator=_certificate)
    ssl_context: SslContext | None = attrs.field(default=None, validator=_tls)
    proxy: str | Literal[False] | None = attrs.field(default=None, repr=False, converter=_proxy_address, validator=_proxy)

    @pool_size.validator
    def _some(self, _attribute: Any, value: int) -> None:
        if value < 1:
            raise ConfigError(f"pool_size: {value!r} is no room for a connection; give 1 or more")

    def __attrs_post_init__(self) -> None:
        both = [name for name in ("ca_bundle", "client_cert") if getattr(self, name) is not None]
        if self.ssl_context is not None and both:
            raise ConfigError(f"ssl_context: it stands in for {both[0]}; load that into the context, or leave one of them out")

    @classmethod
    def merge(cls, config: VendorConfig | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> VendorConfig:
        """``config`` with ``settings`` over it; an unknown setting is named."""
        if isinstance(config, str):
            raise ConfigError("vendor: a text is not a VendorConfig; give a key as api_key=..., an address as base_url=...")
        base = build(cls, {} if config is None else config, "vendor")
        known = [field.name for field in attrs.fields(cls)]
        for key in settings:
            if key not in known:
                raise ConfigError(f"vendor: unknown setting {key!r}; {choices(key, known)}")
        return attrs.evolve(base, **settings) if settings else base
