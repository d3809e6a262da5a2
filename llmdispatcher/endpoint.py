"""Where and how a vendor is reached: address, headers with the key, and the transport that carries the calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import attrs

from ._version import __version__
from .catalog import VendorRow
from .config import VendorConfig
from .transport import Limits, Transport
from .wire.base import ClientCodec


@attrs.frozen(kw_only=True)
class Endpoint:
    """Everything about reaching a vendor that stays the same from call to call."""

    transport: Transport
    headers: Mapping[str, str] = attrs.field(repr=False)
    stream_headers: Mapping[str, str] = attrs.field(repr=False)
    address: Callable[[str, bool], str]

    @classmethod
    def made(cls, row: VendorRow, config: VendorConfig, key: str | None, url: str, codec: ClientCodec) -> Endpoint:
        """Bring row, settings and key together."""

        limits = Limits(
            connect=config.connect_timeout, first_byte=config.first_byte_timeout, idle=config.idle_timeout, total=config.timeout
        )
        transport = Transport(
            url,
            limits=limits,
            pool_size=config.pool_size,
            proxy=config.proxy,
            ca_bundle=config.ca_bundle,
            trust_env=config.trust_env,
        )
        common = {
            "Content-Type": "application/json",
            "User-Agent": f"llmdispatcher/{__version__}",
            **dict(row.headers),
            **({} if key is None else {row.key_header: f"{row.key_prefix}{key}"}),
            **config.headers,
        }
        return cls(
            transport=transport,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", **common},
            stream_headers={"Accept": "text/event-stream", "Accept-Encoding": "identity", **common},
            address=_addresses(row, config, url, codec),
        )


def _addresses(row: VendorRow, config: VendorConfig, url: str, codec: ClientCodec) -> Callable[[str, bool], str]:
    """Where a model is asked, for plain calls and for streams."""
    if row.name == "azure":
        url, version = _azure(url, config)
        if version is not None:
            return lambda model, stream: f"{url}/{quote(model, safe='')}{codec.path(model, stream=stream)}?api-version={version}"
    return lambda model, stream: url + codec.path(model, stream=stream)


def _azure(url: str, config: VendorConfig) -> tuple[str, str | None]:
    """Azure's two kinds of address: classic deployments with an api-version, or v1 without.

    https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    version = config.api_version
    if url.endswith("/openai/v1") or version in (None, "v1", "preview"):
        return (url if url.endswith("/v1") else f"{url.removesuffix('/openai')}/openai/v1"), None
    return f"{url.removesuffix('/openai')}/openai/deployments", version
