"""Many requests: batches that can be resumed, with an estimate of their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .estimate import ModelEstimate as ModelEstimate
    from .estimate import RunningTotal as RunningTotal
    from .estimate import Tally as Tally
    from .estimate import estimate_cost as estimate_cost
    from .estimate import total_cost as total_cost
    from .files import AnswersFile as AnswersFile
    from .files import InvalidLine as InvalidLine
    from .files import Journal as Journal
    from .files import Prompt as Prompt
    from .files import PromptLine as PromptLine
    from .files import is_complete as is_complete
    from .files import read_prompts as read_prompts
    from .runner import Advance as Advance
    from .runner import BatchRunner as BatchRunner
    from .runner import response_record as response_record
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "estimate": (
                "estimate_cost",
                "ModelEstimate",
                "RunningTotal",
                "Tally",
                "total_cost",
            ),
            "files": (
                "AnswersFile",
                "InvalidLine",
                "is_complete",
                "Journal",
                "Prompt",
                "PromptLine",
                "read_prompts",
            ),
            "runner": (
                "Advance",
                "BatchRunner",
                "response_record",
            ),
        },
    )
