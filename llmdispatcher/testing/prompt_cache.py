"""Prompt caching as vendors do it: what of a request's beginning was there before, and what is kept of it now.

Anthropic keeps what ends at a cache mark, and at a mark finds what ended up to 20 blocks before it; the others keep every
beginning, apart by ``prompt_cache_key``. Less than 1,024 tokens are not kept.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

LEAST = 4 * 1024
"""Characters of the shortest beginning that is kept."""
_BACK = 20
_MARK = "cache_control"


class PromptCache:
    """The beginnings of all requests to a simulated vendor; safe under threads."""

    def __init__(self) -> None:
        self._kept: set[str] = set()
        self._lock = threading.Lock()

    def shares(self, form: str, body: Mapping[str, Any], key: str) -> tuple[float, float]:
        """The shares of a request that are read from the cache, and written into it; they are kept from now on."""
        blocks = list(_blocks(body))
        by_marks = form == "anthropic"
        said, size, ends = hashlib.sha256(repr((form, key, body.get("model"), body.get("prompt_cache_key"))).encode()), 0, []
        for block, is_marked in blocks:
            said.update(block)
            size += len(block)
            ends.append((said.hexdigest(), size, is_marked))
        if by_marks and ends and body.get(_MARK):
            ends[-1] = (*ends[-1][:2], True)
        places = [place for place, (_end, length, mark) in enumerate(ends) if length >= LEAST and (mark or not by_marks)]
        with self._lock:
            read = max([self._found(ends, place, _BACK if by_marks else 1) for place in places], default=0)
            self._kept.update([ends[place][0] for place in places])
        written = max([ends[place][1] for place in places], default=0)
        return (read / size, max(0, written - read) / size) if size else (0.0, 0.0)

    def _found(self, ends: list[tuple[str, int, bool]], place: int, back: int) -> int:
        for one in range(place, max(-1, place - back), -1):
            if ends[one][0] in self._kept:
                return ends[one][1]
        return 0


def _blocks(body: Mapping[str, Any]) -> Iterator[tuple[bytes, bool]]:
    """The blocks of a request in the order in which a model reads them, and whether each has a mark behind it."""
    for name in ("tools", "instructions", "system", "systemInstruction", "messages", "input", "contents"):
        value = body.get(name)
        for one in value if isinstance(value, list) else [value] if value else []:
            content = one.get("content") if isinstance(one, dict) and name == "messages" else None
            if isinstance(content, list):
                head = {key: inner for key, inner in one.items() if key != "content"}
                yield _written([name, head]), False
                yield from [(_written(block), _is_marked(block)) for block in content]
            elif isinstance(content, str):
                head = {key: inner for key, inner in one.items() if key != "content"}
                yield _written([name, head]), False
                yield _written({"type": "text", "text": content}), False
            else:
                yield _written([name, one]), _is_marked(one)


def _is_marked(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    inner = block.get("content")
    return _MARK in block or (isinstance(inner, list) and any(isinstance(one, dict) and _MARK in one for one in inner))


def _written(value: Any) -> bytes:
    return json.dumps(_without_marks(value), sort_keys=True).encode()


def _without_marks(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_marks(inner) for name, inner in value.items() if name != _MARK}
    return [_without_marks(inner) for inner in value] if isinstance(value, list) else value
