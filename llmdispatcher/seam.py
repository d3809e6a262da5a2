"""The seam between a text that broke off and what goes on with it: a repetition is cut, whatever pieces it comes in."""

from __future__ import annotations

_SURE = 8
"""Characters; a shorter repetition counts only if it begins with a word, since single letters meet by chance."""


class Seam:
    """Cuts off what repeats the end of ``said``; the longest repetition counts.

    Fed with pieces, it gives what is new. Pieces are held back as long as they may yet turn out to repeat. With ``blanks_only``
    nothing but blanks is cut: for a model that was given ``said`` without those at its end.
    """

    def __init__(self, said: str, most: int, *, blanks_only: bool = False) -> None:
        self.clear = False
        self.cut = 0
        self._held = ""
        length = min(most, len(said) - len(said.rstrip()) if blanks_only else len(said))
        self._tail = said[len(said) - length :]
        first = len(said) - length
        self._starts = [at for at in range(length) if blanks_only or _counts(said, first + at)]

    def feed(self, piece: str) -> str:
        """What is new of everything that has come."""
        if self.clear:
            return piece
        self._held += piece
        held, tail = self._held, self._tail
        self._starts = [at for at in self._starts if held.startswith(tail[at : at + len(held)])]
        undecided = any(len(tail) - at > len(held) for at in self._starts)
        return "" if undecided else self.flush()

    def flush(self) -> str:
        """What is held back and does not repeat; nothing more is cut from now on."""
        held, self._held = self._held, ""
        if not self.clear:
            self.clear = True
            self.cut = max([len(self._tail) - at for at in self._starts if held.startswith(self._tail[at:])], default=0)
        return held[self.cut :] if held else ""


def _counts(said: str, at: int) -> bool:
    """Whether a repetition of ``said`` from ``at`` to its end is one, and no chance."""
    return len(said) - at >= _SURE or at == 0 or not (said[at - 1].isalnum() and said[at].isalnum())
