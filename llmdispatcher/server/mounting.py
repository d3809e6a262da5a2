"""One WSGI application under a prefix of another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import ConfigError

WSGIApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]


def mount(application: WSGIApplication, prefix: str, mounted: WSGIApplication) -> WSGIApplication:
    """Return a WSGI application that answers what is below ``prefix`` by ``mounted``, and all else by ``application``.

    ``mounted`` sees its own paths, with the prefix in ``SCRIPT_NAME``. Raises :class:`ConfigError` for a prefix that is none.
    """
    if not (isinstance(prefix, str) and prefix.startswith("/") and not prefix.endswith("/") and "//" not in prefix):
        raise ConfigError(f"prefix: {str(prefix)[:80]!r} is no prefix of paths; give one such as '/llm'")

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path != prefix and not path.startswith(f"{prefix}/"):
            return application(environ, start_response)
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix  # in place: keys are taken out of what a server logs
        environ["PATH_INFO"] = path[len(prefix) :]
        return mounted(environ, start_response)

    return answer
