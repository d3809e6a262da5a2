"""Tool calls of OpenAI's chat format, read: pieces of a stream find their call, whatever a server leaves out or repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..chunks import ToolCallDelta
from .openai_words import AS, LEGACY, noted, rest
from .payload import mapping, text_of

_CALL = frozenset({"id", "type", "function", "index"})


class CallSlots:
    """Gives each piece of a streamed tool call the place of its call, whatever the server leaves out or repeats.

    Servers omit ``index``, give every call index 0, repeat ids or omit them after the first piece, or send whole calls. Of a
    ``whole`` answer each entry is a call.
    """

    __slots__ = ("_arguments", "_by_id", "_by_index", "_last", "_whole")

    def __init__(self, *, whole: bool = False) -> None:
        self._arguments: list[list[str]] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._last = -1
        self._whole = whole

    @property
    def any(self) -> bool:
        """Whether a call was seen."""
        return self._last >= 0

    def deltas(self, delta: Mapping[str, Any]) -> tuple[ToolCallDelta, ...]:
        """The pieces in one delta."""
        listed = delta.get("tool_calls")
        if isinstance(listed, list) and (listed or "function_call" not in delta):
            return tuple([self._piece(piece) for piece in listed if isinstance(piece, dict)])
        legacy = delta.get("function_call")
        return (self._piece({"index": 0, "function": legacy, AS: LEGACY}),) if isinstance(legacy, dict) else ()

    def _piece(self, piece: Mapping[str, Any]) -> ToolCallDelta:
        custom = piece.get("type") == "custom" or "custom" in piece
        function = mapping(piece.get("custom") if custom else piece.get("function"))
        name, arguments = text_of(function.get("name")), arguments_in(function.get("input" if custom else "arguments"))
        call_id, index = text_of(piece.get("id")), piece.get("index")
        slot = self._slot(call_id, index if isinstance(index, int) else None, bool(name))
        self._arguments[slot].append(arguments)
        return ToolCallDelta(
            index=slot,
            id=call_id or None,
            name=name or None,
            arguments=arguments,
            kind="custom" if custom else None,
            extra=None if piece.keys() <= _CALL else noted(rest(piece, "custom", *_CALL)) or None,
        )

    def _slot(self, call_id: str, index: int | None, named: bool) -> int:
        slot = None if self._whole else self._known(call_id, index, named)
        if slot is None:
            slot = len(self._arguments)
            self._arguments.append([])
        self._last = slot
        if call_id:
            self._by_id[call_id] = slot
        if index is not None:
            self._by_index[index] = slot
        return slot

    def _known(self, call_id: str, index: int | None, named: bool) -> int | None:
        if call_id and call_id in self._by_id:
            return self._by_id[call_id]
        slot = self._by_index.get(index) if index is not None else (self._last if self.any else None)
        if slot is None or not named:
            return slot
        # A name opens a call; a server that repeats it without an id is told by the call before not being finished.
        return None if call_id or _complete("".join(self._arguments[slot])) else slot


def _complete(arguments: str) -> bool:
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        return False
    return True


def arguments_in(value: Any) -> str:
    """Arguments as text; some servers send the object that they mean."""
    return value if isinstance(value, str) else "" if value is None else json.dumps(value, ensure_ascii=False)
