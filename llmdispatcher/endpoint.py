"""Where and how a vendor is reached: address, headers with the key, and the transport that carries the calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import quote

import attrs

from ._version import __version__
from .catalog import VendorRow
from .transport import Limits, Transport
from .vendor_config import VendorConfig


@attrs.frozen(kw_only=True)
class Endpoint:
    """Everything about reaching a vendor that stays the same from call to call."""

    transport: Transport
    headers: Mapping[str, str] = attrs.field(repr=False)
    stream_headers: Mapping[str, str] = attrs.field(repr=False)
    address: Callable[[str, str], str]
    """Where a model is asked, given the path that its format wants."""

    @classmethod
    def made(cls, row: VendorRow, config: VendorConfig, key_header: Mapping[str, str], url: str) -> Endpoint:
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
            **key_header,
            **config.headers,
        }
        return cls(
            transport=transport,
            headers={"Accept": "application/json", "Accept-Encoding": "gzip", **common},
            stream_headers={"Accept": "text/event-stream", "Accept-Encoding": "identity", **common},
            address=_addresses(row, config, url),
        )


def _addresses(row: VendorRow, config: VendorConfig, url: str) -> Callable[[str, str], str]:
    """Where a model is asked."""
    if row.name == "azure":
        root, version = _azure(url, config)
        return _Deployments(root, version) if version is not None else lambda _model, path: root + path
    if row.codec == "ollama_chat":  # its own API and OpenAI's stand side by side
        root = url.removesuffix("/v1")
        return lambda _model, path: root + (path if path.startswith("/api/") else f"/v1{path}")
    return lambda _model, path: url + path


@attrs.frozen
class _Deployments:
    """Azure's classic addresses: a deployment is part of most paths, the version of all."""

    root: str
    version: str

    def __call__(self, model: str, path: str) -> str:
        deployed = "" if path.startswith("/responses") else f"/deployments/{quote(model, safe='')}"
        return f"{self.root}{deployed}{path}?api-version={self.version}"


def _azure(url: str, config: VendorConfig) -> tuple[str, str | None]:
    """Azure's two kinds of address: classic deployments with an api-version, or v1 without.

    https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle
    """
    version = config.api_version
    if url.endswith("/openai/v1") or version in (None, "v1", "preview"):
        return (url if url.endswith("/v1") else f"{url.removesuffix('/openai')}/openai/v1"), None
    return f"{url.removesuffix('/openai')}/openai", version
