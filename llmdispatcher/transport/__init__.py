"""HTTP: connections, sockets, DNS, time-outs, cancellation. Only this room opens sockets to vendors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .context import IoLimits as IoLimits
    from .context import clean as clean
    from .fetch import fetch_remote as fetch_remote
    from .proxies import Proxy as Proxy
    from .tls import ClientCert as ClientCert
    from .tls import SslContext as SslContext
    from .transport import Transport as Transport
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "context": ("clean", "IoLimits"),
            "fetch": ("fetch_remote",),
            "proxies": ("Proxy",),
            "tls": ("ClientCert", "SslContext"),
            "transport": ("Transport",),
        },
    )
