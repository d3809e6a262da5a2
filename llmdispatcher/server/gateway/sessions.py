"""Which session of an agent a request belongs to, by the headers and fields that agents send."""

from __future__ import annotations

import json
import re

from ...types import Request
from .formats import without_keys
from .http import Incoming, Task
from .record import RequestRecord

MOST_OF_A_NAME = 256
_MOST_OF_A_USER = 4096
"""Characters of a user's id that is looked into."""
_HEADERS = (
    "x-llmdispatcher-session",
    "x-claude-code-session-id",
    "session-id",  # Codex, with a hyphen or an underline (codex-rs/codex-api/src/requests/headers.rs), and opencode
    "conversation-id",  # older versions of Codex
    "thread-id",
)
_IN_USER = re.compile(r"_session_([0-9A-Za-z-]{8,64})$")


def session_of(incoming: Incoming, request: Request | None) -> str | None:
    """The name that a client gives its session; ``None`` where it gives none.

    A header comes first, then OpenAI's ``prompt_cache_key``, then what Claude Code writes into ``metadata.user_id``. It is a
    client's own word: it is the key of nothing without the organization, and no permission. Without a request the headers tell.
    """
    for name in _HEADERS:
        if (value := incoming.header(name)) is not None:
            return _bounded(value)
    return None if request is None else _bounded(request.prompt_cache_key) or _bounded(_in_user(request.user))


def note_request(task: Task, record: RequestRecord, request: Request) -> dict[str, str]:
    """Note session and model of a request; returns what observers and a ledger are told of it, in its metadata."""
    session = session_of(task.incoming, request)
    record.session, record.asked_model = session and without_keys(session), without_keys(request.model)
    return {"request_id": record.id, **({"session": record.session} if record.session is not None else {})}


def _in_user(user: str | None) -> str | None:
    """The session that Claude Code names in the user's id: in a JSON object, or behind ``_session_``."""
    if user is None or len(user) > _MOST_OF_A_USER:
        return None
    if user.startswith("{"):
        try:
            told = json.loads(user)
        except (ValueError, RecursionError):
            return None
        named = told.get("session_id") if isinstance(told, dict) else None
        return named if isinstance(named, str) else None
    found = _IN_USER.search(user)
    return found[1] if found is not None else None


def _bounded(value: str | None) -> str | None:
    value = (value or "").strip()
    return value if value and len(value) <= MOST_OF_A_NAME and value.isprintable() else None
