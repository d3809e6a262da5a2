"""What a body may not have, in whatever format: too many members, a file's path, the ids of what a vendor keeps for somebody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...types import EmbeddingRequest, Request, TokenLimits
from ..kept_ids import is_googles_file
from .formats import GatewayError

FOREIGN_SETTINGS = ("api_base", "base_url", "api_key", "extra_headers", "extra_body", "proxy")
"""Settings of a client library that a body must not have: whom the gateway asks is its own affair."""
STATEFUL = ("previous_response_id", "conversation", "container", "prompt", "cachedContent", "background")
"""Fields that refer to what a vendor keeps: with shared keys anybody could name what another left there."""
_KEPT_INSIDE = frozenset({"file_id", "file_ids", "vector_store_ids", "fileId", "fileIds", "fileSearchStoreNames"})
"""Fields of tools and of parts of a conversation that refer to what a vendor keeps."""
FURTHER = ("models", "fallbacks", "fallbackmodels")
"""Fields of models that some vendors fall back to, as :func:`is_name_of` compares them."""
MOST_DEPTH = 64
"""Objects and lists within each other."""
MOST_MEMBERS, MOST_OF_EMBEDDINGS = 200_000, 500_000
"""Members of objects and lists in one body."""
_ADDRESS = re.compile(r"(?:https?|data|gs):", re.IGNORECASE)
_PIECE = 1 << 18
"""Bytes of a body that are looked at at a time."""
_LEVEL, _NO_BRACKETS = bytes.maketrans(b"{}", b"[]"), bytes(set(range(256)) - set(b"[]{}"))


def check_members(body: bytes, most: int = MOST_MEMBERS) -> None:
    """Raise :class:`GatewayError` for a JSON text of more members, or deeper, than a request may be; nothing is decoded.

    It goes piece by piece, since one operation on all of a large body would hold up every other thread.
    """
    opened = members = 0
    for start in range(0, len(body), _PIECE):
        opened += body.count(b"[", start, start + _PIECE) + body.count(b"{", start, start + _PIECE)
        members += body.count(b",", start, start + _PIECE)
        if opened > MOST_DEPTH or members > most:
            break
    else:
        if opened + members <= most:
            return
    members, levels = 0, []
    for outside in _outside_strings(body):
        brackets = outside.translate(_LEVEL, _NO_BRACKETS)
        members += brackets.count(b"[") + outside.count(b",")
        if members > most:
            raise _refused(f"the document has more than {most:,} members; send a smaller one", "too_many_members")
        levels.append(brackets)
    _check_depth(b"".join(levels))


def _check_depth(brackets: bytes) -> None:
    for _level in range(MOST_DEPTH):
        brackets = brackets.replace(b"[]", b"")
    if b"[]" in brackets or brackets.count(b"[") > MOST_DEPTH:
        raise _refused(f"the document is nested deeper than {MOST_DEPTH} levels; send a flatter one", "too_deep")


def _outside_strings(body: bytes) -> Iterator[bytes]:
    """What of a JSON text stands outside of strings, piece by piece."""
    start, inside = 0, False
    while start < len(body):
        piece = body[start : start + _PIECE]
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # no piece ends within an escape
            piece += body[start + _PIECE : start + _PIECE + 1]
        start += len(piece)
        parts = piece.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        yield b"".join(parts[inside::2])
        inside ^= len(parts) % 2 == 0


def check_settings(asked: Request | EmbeddingRequest) -> None:
    """Raise :class:`GatewayError` for a body without a model, and for a setting of a client library in it, in either spelling."""
    if not asked.model:
        raise _refused("model: no model is named; GET /v1/models lists those that there are", param="model")
    foreign = next((name for name in FOREIGN_SETTINGS if name in asked.extra_params or _camel(name) in asked.extra_params), None)
    if foreign is not None:
        raise _refused(f"{foreign}: this is not taken from a request", "invalid_request_error", foreign)


def is_name_of(name: str, *known: str) -> bool:
    """Whether a field is one of these for a server that takes names in any case, with underscores or without."""
    return name.replace("_", "").removesuffix("[]").casefold() in known


def is_misspelt(fields: Mapping[str, Any], *known: str) -> bool:
    """Whether one of these fields stands there in another spelling, which a vendor may read and we do not."""
    return any(name not in known and is_name_of(name, *map(str.casefold, known)) for name in fields)


def further_models(fields: Mapping[str, Any]) -> list[Any]:
    """The models that some vendors fall back to; ``None`` stands for one that cannot be read."""
    found: list[Any] = []
    for field, listed in fields.items():
        if is_name_of(field, *FURTHER) and listed:
            named = listed if isinstance(listed, list) else [None]
            found += [one.get("model") if isinstance(one, dict) else one for one in named]
    return [one if isinstance(one, str) else None for one in found]


def models_of_tools(tools: Iterable[Any]) -> list[str]:
    """The models that tools of a vendor's own ask, such as the one that paints a picture, or advises."""
    fields = [data for tool in tools if isinstance(data := getattr(tool, "data", None), Mapping)]
    return [value for one in fields for name, value in one.items() if is_name_of(name, "model") and isinstance(value, str)]


def check_output(request: Request, most: int | None) -> None:
    """Raise :class:`GatewayError` for more output than the gateway lets a request ask for, however that is set."""
    if most is None:
        return
    said = TokenLimits.of(request.extra_params)
    wanted = max(
        [limit for limit in (request.max_tokens, said.most(request.max_tokens), *said.others) if limit is not None], default=0
    )
    if wanted > most:
        raise _refused(f"max_tokens: {wanted} is more than the {most} that this gateway allows; ask for less", param="max_tokens")


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join([word.capitalize() for word in tail])


def check_media(request: Request) -> None:
    """Raise :class:`GatewayError` for a picture or file that is named by anything but an address."""
    for part in _parts(request):
        url = getattr(part, "url", None)
        if isinstance(url, str) and not is_address(url):
            raise _refused("url: this is no address of a picture or file; send its bytes, or an address with https:", param="url")


def is_address(url: str) -> bool:
    """Whether a picture or file is named by an address, and not by a path."""
    return _ADDRESS.match(url) is not None


def check_stateless(request: Request) -> None:
    """Raise :class:`GatewayError` for what refers to things that a vendor keeps under the gateway's key."""
    extra = request.extra_params
    found = next((name for name in STATEFUL if extra.get(name)), None) or ("store" if extra.get("store") is True else None)
    found = found or next(filter(None, map(_kept, _parts(request))), None)
    found = found or next(filter(None, [kept_in(getattr(tool, "data", None)) for tool in request.tools]), None)
    if found is not None:
        text = f"{found}: this gateway keeps nothing at vendors, since their keys are shared; send the whole conversation"
        raise _refused(text, "stateful_not_allowed", found)


def _kept(part: Any) -> str | None:
    if getattr(part, "file_id", None) is not None or is_googles_file(getattr(part, "url", None) or ""):
        return "file_id"
    return kept_in(getattr(part, "data", None)) if hasattr(part, "origin") else None


def kept_in(data: Any) -> str | None:
    """The field of a vendor's own block or tool that names what it keeps; what a model is to be shown is not looked into."""
    if isinstance(data, list | tuple):
        return next(filter(None, map(kept_in, data)), None)
    if not isinstance(data, Mapping):
        return None
    if data.get("type") == "item_reference":
        return "item_reference"
    for name, value in data.items():
        if value and (name in _KEPT_INSIDE or (name == "container" and isinstance(value, str))):
            return str(name)
        if name not in ("input", "arguments", "parameters", "input_schema") and (found := kept_in(value)):
            return found
    return None


def _parts(request: Request) -> Iterable[Any]:
    return (part for message in request.messages if not isinstance(message.content, str) for part in message.content)


def _refused(text: str, code: str = "invalid_request_error", param: str | None = None) -> GatewayError:
    return GatewayError(text, status=400, code=code, param=param)
