"""Match the pieces of streamed tool calls of OpenAI's chat API to their calls, whatever a server leaves out or repeats."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...types import ToolCallDelta
from ..decoding import JsonBuffer, arguments_in, entries_in, mapping, number_in, says, text_of, words_of
from .fields import AS, LEGACY, noted, rest

_CALL = frozenset({"id", "type", "function", "index"})
_FUNCTION = frozenset({"name", "arguments", "input"})
_EMPTY = "{}"
_EMPTIES = frozenset({"{}", "null", '""'})
"""What servers write in place of arguments that follow, or of none."""


class _CallSlot:
    """A call under way."""

    __slots__ = ("_arguments", "held", "id", "index", "name", "size")

    def __init__(self, call_id: str, index: int | None) -> None:
        self.id, self.index = call_id, index
        self.name = ""
        self._arguments = JsonBuffer()
        self.size = 0  # of all of them
        self.held = ""  # arguments that say nothing, which others may replace

    @property
    def is_held(self) -> bool:
        """Whether it has no arguments but such."""
        return self.held != ""

    @property
    def arguments(self) -> str:
        """Its arguments so far."""
        return self._arguments.text

    @property
    def is_complete(self) -> bool:
        """Whether its arguments are whole."""
        return self._arguments.is_whole

    def add(self, arguments: str) -> None:
        """Take in a piece, in place of one that said nothing."""
        self.held = ""
        self._arguments.pieces.append(arguments)
        self.size += len(arguments)

    def grown(self, arguments: str, *, is_text: bool) -> str:
        """What a piece adds to the arguments; an empty object at their beginning is held back, all of them again add nothing.

        Where they are a text, an empty object is as good as any other.
        """
        if not is_text and not self.size and "".join(arguments.split()) in _EMPTIES:
            self.held = arguments
            return ""
        if (
            not is_text
            and arguments[:1] == "{"
            and len(arguments) == self.size
            and arguments == self.arguments
            and self.is_complete
        ):
            return ""
        if arguments:
            self.add(arguments)
        return arguments


class CallSlots:
    """Gives each piece of a streamed tool call the place of its call, whatever the server leaves out or repeats.

    Servers omit ``index`` or write it as text, give every call index 0, give two calls one id, or a call a new id with each piece;
    they repeat ids or omit them after the first piece, send whole calls, or an empty object before the arguments. Of a ``whole``
    answer each entry is a call. One that says nothing is none.
    """

    __slots__ = ("_by_id", "_by_index", "_held", "_ids", "_last", "_slots", "_whole")

    def __init__(self, *, whole: bool = False) -> None:
        self._slots: list[_CallSlot] = []
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}
        self._held: dict[int, _CallSlot] = {}  # those whose arguments are held back
        self._ids: dict[int | None, str] = {}  # told before anything else of a call, by index
        self._last = -1
        self._whole = whole

    @property
    def any(self) -> bool:
        """Whether a call was seen."""
        return self._last >= 0

    def deltas(self, delta: Mapping[str, Any]) -> tuple[ToolCallDelta, ...]:
        """The pieces in one delta."""
        begun: set[int] = set()
        found = [
            call
            for piece in entries_in(delta.get("tool_calls"))
            if isinstance(piece, dict) and (call := self._piece(piece, begun)) is not None
        ]
        if not found and isinstance(legacy := delta.get("function_call"), dict):
            call = self._piece({"index": 0, "function": legacy, AS: LEGACY}, begun)
            return (call,) if call is not None else ()
        return tuple(found)

    def _piece(self, piece: Mapping[str, Any], begun: set[int]) -> ToolCallDelta | None:
        """What one piece says; ``begun`` are the calls that this delta named already."""
        custom = "custom" in piece and bool(says(piece["custom"]) or mapping(piece["custom"]).get("input"))
        custom = custom or (piece.get("type") == "custom" and not says(piece.get("function")))
        function = mapping(piece.get("custom") if custom else piece.get("function"))
        if not function and isinstance(piece.get("name"), str):  # a call without an object for its function
            function, piece = piece, {name: value for name, value in piece.items() if name not in _FUNCTION}
        field = "input" if custom else "arguments" if "arguments" in function else "parameters"  # as Llama's templates have it
        name, arguments = text_of(function.get("name")), arguments_in(function.get(field))
        call_id, index = words_of(piece.get("id") or piece.get("call_id") or None), number_in(piece.get("index"))
        further = None if piece.keys() <= _CALL else rest(piece, "custom", *_CALL) or None
        if not (name or says({**(further or {}), AS: None})) and self._is_nothing(call_id, index, arguments, is_text=custom):
            return None
        call_id = call_id or self._ids.pop(index, "")
        slot, place = self._slot(call_id, index, name, arguments, begun)
        if name:
            begun.add(place)
        if not self._whole:
            arguments = slot.grown(arguments, is_text=custom)
            if slot.is_held:
                self._held[place] = slot
        return ToolCallDelta(
            index=place,
            id=call_id or None,
            name=name or None,
            arguments=arguments,
            kind="custom" if custom else None,
            extra=noted(further) if further else None,
        )

    def _is_nothing(self, call_id: str, index: int | None, arguments: str, *, is_text: bool) -> bool:
        """Whether a piece without a name says nothing; an id alone is kept for the call that it may be of.

        A blank is a piece like any other of a call whose arguments have begun, or are a text.
        """
        place = None if self._whole else self._known(call_id, index)
        stripped = arguments.strip()
        if stripped and (stripped != _EMPTY or place is not None):
            return False
        if arguments and place is not None and (is_text or self._slots[place].size):
            return False
        if not call_id or self._whole:
            return True
        if place is None:
            self._ids[index] = call_id
        return place is None or self._slots[place].id != ""

    def rest(self) -> tuple[ToolCallDelta, ...]:
        """The empty objects that nothing replaced."""
        if not self._held:
            return ()
        held = [(place, slot) for place, slot in sorted(self._held.items()) if slot.is_held]
        self._held.clear()
        for _, slot in held:
            slot.add(slot.held)
        return tuple([ToolCallDelta(index=place, arguments=slot.arguments) for place, slot in held])

    def _slot(self, call_id: str, index: int | None, name: str, arguments: str, begun: set[int]) -> tuple[_CallSlot, int]:
        place = None if self._whole else self._known(call_id, index)
        if place is None and not (name or call_id or self._whole) and self.any and not self._slots[self._last].is_complete:
            place = self._last  # an index that counts the pieces, or came late
        if place is None or (
            name and self._is_other(self._slots[place], call_id, index, name, arguments=arguments, is_begun=place in begun)
        ):
            place = len(self._slots)
            self._slots.append(_CallSlot(call_id, index))
        slot = self._slots[place]
        slot.id, slot.name = slot.id or call_id, slot.name or name
        self._last = place
        if call_id:
            self._by_id[call_id] = place
        if index is not None:
            self._by_index[index] = place
        return slot, place

    def _known(self, call_id: str, index: int | None) -> int | None:
        if call_id and call_id in self._by_id:
            place = self._by_id[call_id]
            at_index = self._by_index.get(index, place) if index is not None else place
            return at_index if at_index != place and self._slots[at_index].id == call_id else place
        if index is not None:
            return self._by_index.get(index)
        return self._last if self.any else None

    @staticmethod
    def _is_other(slot: _CallSlot, call_id: str, index: int | None, name: str, *, arguments: str, is_begun: bool) -> bool:
        """Whether a piece with a name begins another call than the one that its id or index lead to."""
        if not slot.name:
            return False
        if slot.id == call_id != "":
            elsewhere = None not in (slot.index, index) and slot.index != index
            return is_begun or elsewhere or bool(arguments.strip() and slot.is_complete and arguments != slot.arguments)
        if is_begun or (slot.is_complete and not slot.is_held):
            return True
        if call_id:
            return name != slot.name or slot.is_held
        return name != slot.name and not slot.size
