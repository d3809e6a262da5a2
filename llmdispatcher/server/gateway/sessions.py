"""Which session of an agent a request belongs to, as its client says."""

from __future__ import annotations

from ...types import Request
from .http import Incoming

_HEADERS = ("x-claude-code-session-id", "session-id")
"""Headers of Claude Code and of Codex."""
_MOST = 255


def session_of(incoming: Incoming, request: Request | None) -> str | None:
    """The name of the session, by a header of the agent, or by ``prompt_cache_key``; ``None`` where the client tells none.

    It is the client's own word: it counts within its organization alone.
    """
    told = next((value for name in _HEADERS if (value := incoming.header(name)) is not None), None)
    if told is None and request is not None:
        told = request.prompt_cache_key
    if told is None:
        return None
    plain = "".join([letter for letter in told if letter.isprintable()]).encode("utf-8", "replace").decode()
    return plain[:_MOST] or None
