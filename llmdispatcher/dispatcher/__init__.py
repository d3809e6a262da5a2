"""The path of one request: dispatcher, router, attempts, streaming, tools, structured responses, statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._lazy import door

if TYPE_CHECKING:
    from .call import CallLog as CallLog
    from .call_logging import CallLogging as CallLogging
    from .config import Config as Config
    from .config import Continuation as Continuation
    from .config import unready as unready
    from .config_file import ConfigFile as ConfigFile
    from .config_file import mistakes_of as mistakes_of
    from .config_file import read_config_file as read_config_file
    from .dispatcher import Dispatcher as Dispatcher
    from .guards import MaxLengthGuard as MaxLengthGuard
    from .guards import PatternGuard as PatternGuard
    from .guards import PersonalDataGuard as PersonalDataGuard
    from .guards import SchemaGuard as SchemaGuard
    from .health import VendorHealth as VendorHealth
    from .stats import Stats as Stats
    from .stats import VendorStats as VendorStats
    from .streaming import StreamingResponse as StreamingResponse
    from .tokens import TokenCount as TokenCount
    from .tools import ToolRun as ToolRun
    from .tools import run_tools as run_tools
    from .trace import Plan as Plan
    from .trace import Trace as Trace
else:
    __getattr__, __dir__ = door(
        __name__,
        {
            "call": ("CallLog",),
            "call_logging": ("CallLogging",),
            "config": (
                "Config",
                "Continuation",
                "unready",
            ),
            "config_file": (
                "ConfigFile",
                "mistakes_of",
                "read_config_file",
            ),
            "dispatcher": ("Dispatcher",),
            "guards": (
                "MaxLengthGuard",
                "PatternGuard",
                "PersonalDataGuard",
                "SchemaGuard",
            ),
            "health": ("VendorHealth",),
            "stats": (
                "Stats",
                "VendorStats",
            ),
            "streaming": ("StreamingResponse",),
            "tokens": ("TokenCount",),
            "tools": (
                "run_tools",
                "ToolRun",
            ),
            "trace": (
                "Plan",
                "Trace",
            ),
        },
    )
