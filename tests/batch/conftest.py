"""The empty folder and the files of prompts are those of the command line's tests."""

from __future__ import annotations

from ..cli.conftest import away, prompts

__all__ = ["away", "prompts"]
