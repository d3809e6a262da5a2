"""Many requests: batches that can be resumed, with an estimate of their cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .estimate import NOBODY as NOBODY
    from .estimate import ModelEstimate as ModelEstimate
    from .estimate import RunningTotal as RunningTotal
    from .estimate import Tally as Tally
    from .estimate import estimate_cost as estimate_cost
    from .estimate import total_cost as total_cost
    from .files import AnswersFile as AnswersFile
    from .files import Journal as Journal
    from .files import is_complete as is_complete
    from .prompts import STDIN as STDIN
    from .prompts import InvalidLine as InvalidLine
    from .prompts import Prompt as Prompt
    from .prompts import PromptLine as PromptLine
    from .prompts import read_prompts as read_prompts
    from .runner import Advance as Advance
    from .runner import BatchRunner as BatchRunner
    from .runner import error_record as error_record
    from .runner import response_record as response_record
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "estimate": ("estimate_cost", "ModelEstimate", "NOBODY", "RunningTotal", "Tally", "total_cost"),
            "files": ("AnswersFile", "is_complete", "Journal"),
            "prompts": ("InvalidLine", "Prompt", "PromptLine", "read_prompts", "STDIN"),
            "runner": ("Advance", "BatchRunner", "error_record", "response_record"),
        },
    )
