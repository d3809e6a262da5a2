"""A conversation: its turns, its model, what it has cost; to a file and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import attrs

from ..errors import DispatchError
from ..messages import Message
from ..response_values import Response, Usage
from ..types import Request
from .places import private_file
from .terminal import UsageError


@attrs.define(eq=False)
class Conversation:
    """What was said. ``turns`` are messages of the user and of the model in turn; ``usage`` is of all answers."""

    model: str = ""
    system: str | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict)
    turns: list[Message] = attrs.field(factory=list)
    usage: Usage = attrs.field(factory=Usage)
    answers: int = 0
    unpriced: int = 0
    cost: Decimal = Decimal(0)

    def request(self, text: str) -> Request:
        """The next question, after all that was said."""
        before = [Message.system(self.system)] if self.system else []
        return Request(self.model, [*before, *self.turns, Message.user(text)], **self.fields)

    def said(self, text: str, response: Response) -> None:
        """Remember a question and its answer."""
        self.turns += [Message.user(text), response.message]
        self.answers += 1
        self.usage = self.usage + response.usage
        self.cost += response.usage.cost or 0
        self.unpriced += response.usage.cost is None

    def taken_back(self) -> str | None:
        """Forget the last question and its answer; the question, ``None`` where there was none."""
        if len(self.turns) < 2:
            return None
        asked = self.turns[-2].text
        del self.turns[-2:]
        return asked

    def save(self, path: Path) -> None:
        """Write it to a file that only its owner may read."""
        turns = [{"role": turn.role, "content": turn.text} for turn in self.turns]
        told = {"model": self.model, "system": self.system, "messages": turns}
        private_file(path, json.dumps(told, ensure_ascii=False, indent=2) + "\n")

    @classmethod
    def loaded(cls, path: Path) -> Self:
        """Read one that was saved. Raises :class:`UsageError`."""
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            turns = [Message.from_dict(turn) for turn in told["messages"]]
            model, system = told.get("model") or "", told.get("system")
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, DispatchError):
            raise UsageError(f"{path}: this is no conversation that /save has written") from None
        if not isinstance(model, str) or not isinstance(system, str | None):
            raise UsageError(f"{path}: this is no conversation that /save has written")
        return cls(model=model, system=system, turns=turns)
