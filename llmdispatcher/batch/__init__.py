"""Many requests: a file of prompts, sent once each, that goes on where it was stopped, with an estimate of its cost."""

from __future__ import annotations

from .estimate import ModelEstimate, RunningTotal, Tally, estimate_cost, total_cost
from .files import AnswersFile, InvalidLine, Journal, Prompt, PromptLine, is_complete, journal_path, read_prompts
from .runner import Advance, BatchRunner, response_record, result_record

__all__ = [
    "Advance",
    "AnswersFile",
    "BatchRunner",
    "InvalidLine",
    "Journal",
    "ModelEstimate",
    "Prompt",
    "PromptLine",
    "RunningTotal",
    "Tally",
    "estimate_cost",
    "is_complete",
    "journal_path",
    "read_prompts",
    "response_record",
    "result_record",
    "total_cost",
]
